"""Who is logged in. The browser has 256 random bits in a cookie; we keep their hash, in memory only.

A restart of the gateway therefore logs everybody out, and a copy of our memory logs nobody in.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field

from gateway.web.access.passwords import Hashed
from gateway.web.access.users import Role

IDLE = 3600.0  # seconds without a request or an open page
MAX_SESSIONS = 1000


@dataclass(slots=True)
class Session:
    """One browser of one user. Times are monotonic seconds."""

    user: str
    role: Role
    password: Hashed  # the one that was shown: the session ends when the user has another
    began: float
    seen: float


@dataclass(slots=True)
class Sessions:
    """All of them, by the hash of their token."""

    longest: float
    _sessions: dict[bytes, Session] = field(default_factory=dict)
    _key: bytes = field(default_factory=lambda: secrets.token_bytes(32))

    def begin(self, user: str, role: Role, password: Hashed, now: float) -> str:
        """A new session; the token for its cookie. Where there are too many, that which was idle longest ends."""
        if len(self._sessions) >= MAX_SESSIONS:
            self._sessions = {key: each for key, each in self._sessions.items() if self._alive(each, now)}
        if len(self._sessions) >= MAX_SESSIONS:
            del self._sessions[min(self._sessions, key=lambda key: self._sessions[key].seen)]
        token = new_token()
        self._sessions[_hash(token)] = Session(user, role, password, now, now)
        return token

    def find(self, token: str, now: float) -> Session | None:
        """The session of this token, if it has not ended; from now on it is not idle."""
        key = _hash(token)
        session = self._sessions.get(key)
        if session is None:
            return None
        if not self._alive(session, now):
            del self._sessions[key]
            return None
        session.seen = now
        return session

    def end(self, token: str) -> None:
        self._sessions.pop(_hash(token), None)

    def csrf(self, token: str) -> str:
        """What a page has to show beside this cookie. A stranger's page cannot read it, nor work it out."""
        return hmac.new(self._key, b"csrf " + token.encode(), hashlib.sha256).hexdigest()

    def is_csrf(self, token: str, given: str) -> bool:
        return hmac.compare_digest(self.csrf(token).encode(), given.encode("utf-8", "replace"))

    def _alive(self, session: Session, now: float) -> bool:
        return now - session.began < self.longest and now - session.seen < IDLE

    def __len__(self) -> int:
        return len(self._sessions)


def new_token() -> str:
    """256 bits nobody can guess."""
    return secrets.token_urlsafe(32)


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()
