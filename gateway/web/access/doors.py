"""Who somebody is, and the four questions about it: session, login, logout, password.

GET  /api/v1/session    {user, role, csrf, login: none|password|certificate, language, setup}; gives every browser a cookie
POST /api/v1/login      {"user", "password"}
POST /api/v1/logout     {}
POST /api/v1/password   {"current", "password"}, or at the first start {"code", "user", "password"}
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ipaddress
import json
import logging
import math
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from starlette.responses import JSONResponse, Response
from starlette.types import Scope

from gateway.clock import Clock
from gateway.events import Event, Events
from gateway.web.access.audit import Audit
from gateway.web.access.backoff import BackOff, group_of, is_here
from gateway.web.access.budget import Budget
from gateway.web.access.passwords import NOBODY, BusyError, Hashed, Kitchen, wrong_with
from gateway.web.access.sessions import Session, Sessions, new_token
from gateway.web.access.users import OutdatedError, Role, User, Users, UsersError

log = logging.getLogger(__name__)

STRANGER = "an unknown user"  # what was typed instead of a name may be a password; no name has a blank
_TOKEN = re.compile(r"[A-Za-z0-9_-]{20,64}")
STREAMS_OF_SESSION = 5  # open pages
STREAMS_OF_ADDRESS = 10  # without a login

Headers = Mapping[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Visitor:
    """Whom a request comes from."""

    address: str
    secure: bool  # nobody on the way reads it
    user: str | None = None
    role: Role | None = None
    login: str = "password"  # none: there is no need; or how they logged in, or could
    token: str = ""  # what is in the cookie: a session, or only this browser
    session: Session | None = None

    @property
    def who(self) -> str:
        """For the audit, the log and versions of the configuration."""
        if self.login == "certificate":
            return f"certificate {self.user}"
        return self.user or ("local" if self.login == "none" else "nobody")

    @property
    def place(self) -> tuple[str, int]:
        """Whose pages are counted together, and how many may be open."""
        if self.session is not None:
            return f"session {id(self.session)}", STREAMS_OF_SESSION
        return f"{self.user or ''} {group_of(self.address)}", STREAMS_OF_ADDRESS


def _failures() -> Budget:
    return Budget(of_one=20, of_all=100, within=600.0)


def _repeated() -> Budget:
    return Budget(of_one=20, of_all=500, within=3600.0)


def _visits() -> Budget:
    return Budget(of_one=1, of_all=100, within=3600.0)


@dataclass(slots=True)
class Doors:
    """Everything that is known about who may come in. Without users (and `required`), this machine's page."""

    clock: Clock
    names: frozenset[str]  # we answer to, as in `Host` without a port
    reached: bool = False  # ... and to whatever address of ours somebody reached
    required: bool = False  # a login is
    tls: bool = False
    proxied: bool = False  # a proxy on this machine says whom it asks for
    users: Users | None = None
    certificates: Mapping[str, Role] = field(default_factory=dict)
    longest: float = 12 * 3600.0
    metrics_token: bytes = b""  # SHA-256 of it
    audit: Audit | None = None
    events: Events = field(default_factory=Events)
    back_off: BackOff = field(default_factory=BackOff)
    sessions: Sessions = field(init=False)
    kitchen: Kitchen = field(default_factory=Kitchen)
    _failures: Budget = field(default_factory=_failures)  # wrong passwords, by address
    _repeated: Budget = field(default_factory=_repeated)  # what a user may do as often as they like, by user
    _visits: Budget = field(default_factory=_visits)  # by certificate and address
    _trouble: str = ""

    def __post_init__(self) -> None:
        self.sessions = Sessions(self.longest)

    # --- who is it? ----------------------------------------------------------------------------------------------------

    def visitor(self, scope: Scope, headers: Headers) -> Visitor:
        """Whom this request comes from, by certificate, cookie, or because it can only be from here."""
        address = (scope.get("client") or ("", 0))[0]
        secure = self.tls
        if self.proxied and is_here(address):
            secure = secure or headers.get(b"x-forwarded-proto", b"").strip().lower() == b"https"
            # The last one is what our own proxy saw; those before it anybody can write.
            said = headers.get(b"x-forwarded-for", b"").decode("latin-1").rpartition(",")[2].strip().partition("%")[0]
            # Nobody comes to a proxy from its own loopback but who is here anyway: no reason to wait less.
            address = said if _is_address(said) and not is_here(said) else address
        token = _cookie(headers, cookie_name(secure))
        if not self.required:
            return Visitor(address, secure, None, "engineer", "none", token)
        if name := scope.get("state", {}).get("certificate", ""):
            visitor = Visitor(address, secure, name, self.certificates.get(name, "viewer"), "certificate", token)
            self._note_often(
                self._visits, f"{name} {group_of(address)}", visitor, visitor.who, "visit", role=visitor.role
            )
            return visitor
        session = self._session(token)
        if session is None:
            return Visitor(address, secure, token=token)
        return Visitor(address, secure, session.user, session.role, "password", token, session)

    def _session(self, token: str) -> Session | None:
        """The session of a token, as long as the user is there with the same password; the role is that of now."""
        session = self.sessions.find(token, self.clock.monotonic()) if token else None
        if session is None:
            return None
        user = self._known_users().get(session.user)
        if user is None or user.password != session.password:
            self.sessions.end(token)
            return None
        session.role = user.role
        return session

    def still(self, visitor: Visitor) -> bool:
        """Whether one whom something is being sent to may still have it: the session may have ended meanwhile."""
        if visitor.session is None:
            return True
        now = self._session(visitor.token)
        return now is visitor.session and now.role == visitor.role

    def has_token(self, headers: Headers) -> bool:
        """Whether a program shows the token for /metrics."""
        kind, _, token = headers.get(b"authorization", b"").partition(b" ")
        if not self.metrics_token or kind.lower() != b"bearer":
            return False
        return hmac.compare_digest(hashlib.sha256(token.strip()).digest(), self.metrics_token)

    def _known_users(self) -> Mapping[str, User]:
        """Nobody, where the file cannot be believed: the log says why."""
        if self.users is None:
            return {}
        try:
            users = self.users.all()
        except UsersError as exc:
            if str(exc) != self._trouble:
                log.error("nobody can log in at the page: %s", exc)
            self._trouble = str(exc)
            return {}
        self._trouble = ""
        return users

    # --- the four questions --------------------------------------------------------------------------------------------

    def question(self, method: str, path: str) -> Callable[..., Awaitable[Response]] | None:
        """What answers this path, if it is one of the four."""
        found = {
            "/api/v1/session": (("GET", "HEAD"), self._about),
            "/api/v1/login": (("POST",), self._login),
            "/api/v1/logout": (("POST",), self._logout),
            "/api/v1/password": (("POST",), self._password),
        }.get(path)
        if found is None:
            return None
        methods, answer = found
        return answer if method in methods else _not_so(methods)

    async def _about(self, visitor: Visitor, headers: Headers, _body: bytes) -> Response:
        token = visitor.token or new_token()
        return self._told(visitor, token, headers)

    def _told(self, visitor: Visitor, token: str, headers: Headers) -> Response:
        users = self._known_users() if self.required else {}
        response = JSONResponse(
            {
                "user": visitor.user,
                "role": visitor.role,
                "csrf": self.sessions.csrf(token),
                "login": visitor.login,
                "language": language(headers.get(b"accept-language", b"").decode("latin-1")),
                "setup": self.required and self.users is not None and not users and not self._trouble,
            },
            headers=NEVER_KEEP,
        )
        if token != visitor.token:
            response.set_cookie(
                cookie_name(visitor.secure), token, path="/", secure=visitor.secure, httponly=True, samesite="strict",
            )  # fmt: skip
        return response

    async def _login(self, visitor: Visitor, headers: Headers, body: bytes) -> Response:
        given = _texts(body, "user", "password")
        if given is None:
            return error(400, "user and password are needed", '{"user": "…", "password": "…"}')
        if not self.required or self.users is None:
            return error(409, "no login is needed here", "the page is for this machine only")
        name, password = given
        users = await asyncio.to_thread(self._known_users)
        if self._trouble:
            return error(503, "nobody can log in: the file of users cannot be believed", "the log says what to do")
        user = users.get(name)
        made = NOBODY if user is None else user.password
        if (refused := await self._tried(visitor, name, password, made, user is not None)) is not None:
            return refused
        assert user is not None
        return self._let_in(visitor, user, headers, "login")

    async def _logout(self, visitor: Visitor, headers: Headers, _body: bytes) -> Response:
        if visitor.session is not None:
            self.sessions.end(visitor.token)
            if self._note_often(self._repeated, f"{visitor.who} out", visitor, visitor.who, "logout"):
                self._happened(visitor.who, "logged-out", f"{visitor.who} logged out")
            visitor = Visitor(visitor.address, visitor.secure)
        return self._told(visitor, new_token(), headers)

    async def _password(self, visitor: Visitor, headers: Headers, body: bytes) -> Response:
        if not self.required or self.users is None:
            return error(409, "no login is needed here", "the page is for this machine only")
        if visitor.session is not None:
            return await self._change(visitor, headers, body)
        if visitor.user is not None:
            return error(409, "you came with a certificate", "it has no password")
        return await self._set_up(visitor, headers, body)

    async def _change(self, visitor: Visitor, headers: Headers, body: bytes) -> Response:
        given = _texts(body, "current", "password")
        if given is None:
            return error(400, "the password of now and the new one are needed", '{"current": "…", "password": "…"}')
        current, password = given
        assert self.users is not None
        assert visitor.session is not None
        name = visitor.session.user
        refused = await self._tried(visitor, name, current, visitor.session.password, True)
        shown = visitor.session.password
        return refused or await self._set(visitor, headers, name, visitor.session.role, password, shown)

    async def _set_up(self, visitor: Visitor, headers: Headers, body: bytes) -> Response:
        """The password of the first engineer, by whoever has the code that is in the log."""
        assert self.users is not None
        given = _texts(body, "code", "user", "password")
        if given is None:
            return error(401, "log in first", "POST /api/v1/login")
        code, name, password = given
        wait = self.back_off.wait("", visitor.address, self.clock.monotonic())
        if wait > 0:
            return _too_soon(wait)
        self.back_off.begin("", visitor.address, self.clock.monotonic())
        try:
            right = await asyncio.to_thread(self.users.is_code, code)
        except UsersError:
            return error(503, "nobody can log in: the file of users cannot be believed", "the log says what to do")
        if not right:
            self._failed(visitor, "set-up")
            text = "this is not the set-up code, or there is a user already"
            return error(401, text, f"the code is in the log of the gateway and in {self.users.code_file.name}")
        self.back_off.right("", visitor.address)
        return await self._set(visitor, headers, name, "engineer", password)

    async def _set(
        self, visitor: Visitor, headers: Headers, name: str, role: Role, password: str, shown: Hashed | None = None
    ) -> Response:
        """Instead of the one that was `shown`; None: the first of all, while there is nobody."""
        if wrong := wrong_with(password, name):
            return error(400, wrong, "a sentence of a few words is long and can be remembered")
        assert self.users is not None
        try:
            user = User(name, role, await self.kitchen.hashed(password), self.clock.now() // 1_000_000)
            user = await asyncio.to_thread(partial(self.users.put, user, instead_of=shown, first=shown is None))
        except BusyError:
            return _busy()
        except OutdatedError as exc:
            return error(409, str(exc), "log in")
        except UsersError as exc:
            return error(400, str(exc), "")
        # All sessions of the old password have ended by this: each remembers which one was shown.
        self._note(visitor, name, "password set")
        self._happened(name, "password-set", f"the password of {name} was set")
        return self._let_in(visitor, user, headers, "")

    def _let_in(self, visitor: Visitor, user: User, headers: Headers, noted: str) -> Response:
        if visitor.session is not None:
            self.sessions.end(visitor.token)
        # Always a new token: one that was planted before is worth nothing.
        now = self.clock.monotonic()
        token = self.sessions.begin(user.name, user.role, user.password, now)
        key = f"{user.name} in"
        if noted and self._note_often(self._repeated, key, visitor, user.name, noted, role=user.role):
            self._happened(user.name, "logged-in", f"{user.name} logged in from {visitor.address}")
        session = self.sessions.find(token, now)
        inside = Visitor(visitor.address, visitor.secure, user.name, user.role, "password", visitor.token, session)
        return self._told(inside, token, headers)

    async def _tried(self, visitor: Visitor, name: str, password: str, made: Hashed, exists: bool) -> Response | None:
        """None where the password is right. It is worked out in any case: the time tells nothing."""
        now, address = self.clock.monotonic(), visitor.address
        wait = self.back_off.wait(name, address, now)
        if wait > 0:
            return _too_soon(wait)
        self.back_off.begin(name, address, now)
        try:
            right = await self.kitchen.matches(password, made)
        except BusyError:
            self.back_off.untried(name, address)
            return _busy()
        if not (right and exists):
            self._failed(visitor, name if exists else STRANGER)
            return error(401, "user or password is wrong", "")
        self.back_off.right(name, address)
        if (wait := self.back_off.often(name, now)) > 0:
            return _too_soon(wait, "logged in too often")
        return None

    # --- what is remembered of it ----------------------------------------------------------------------------------------

    def _note(self, visitor: Visitor, who: str, what: str, **about: Any) -> None:
        if self.audit is not None:
            self.audit.note(who, what, address=visitor.address, **about)

    def note_action(self, visitor: Visitor, what: str, status: int, **about: Any) -> None:
        """Somebody used the page to do something."""
        self._note(visitor, visitor.who, what, status=status, login=visitor.login, **about)

    def note_refused(self, visitor: Visitor, what: str) -> None:
        """Somebody tried what their role may not."""
        key = f"{visitor.who} refused"
        self._note_often(self._repeated, key, visitor, visitor.who, what, status=403, login=visitor.login)

    def _note_often(self, budget: Budget, key: str, visitor: Visitor, who: str, what: str, **about: Any) -> bool:
        """A note of what anybody may do over and over: false where it is only counted, for the next one to tell."""
        left_out = budget.take(key, self.clock.monotonic())
        if left_out is None:
            return False
        self._note(visitor, who, what, more=left_out or None, **about)
        return True

    def _happened(self, user: str, state: str, text: str) -> None:
        log.info("%s", text)
        self.events.add(Event(self.clock.now(), "access", user, state, text=text))

    def _failed(self, visitor: Visitor, name: str) -> None:
        """Noted, but not so often that guessing would fill the disk or the list of events. `name`: of a user there is."""
        if self._note_often(self._failures, group_of(visitor.address), visitor, name, "failed login"):
            self._happened(name, "refused", f"a wrong password for {name} from {visitor.address}")


NEVER_KEEP = {"Cache-Control": "no-store"}


def cookie_name(secure: bool) -> str:
    """`__Host-`: browsers take it over TLS only, from us alone, for all our paths (RFC 6265bis, 4.1.3.2)."""
    return "__Host-gateway" if secure else "gateway"


def error(status: int, text: str, hint: str, headers: Mapping[str, str] | None = None) -> Response:
    """As every error of the API."""
    return JSONResponse({"error": text, "hint": hint}, status, {**NEVER_KEEP, **(headers or {})})


def language(accepted: str) -> str:
    """`vi` or `en`, by Accept-Language."""
    best, weight = "en", 0.0
    for part in accepted[:200].split(","):
        tag, _, quality = part.partition(";")
        code = tag.strip().lower()[:2]
        try:
            value = float(quality.strip().removeprefix("q=") or 1)
        except ValueError:
            continue
        if code in ("en", "vi") and value > weight:
            best, weight = code, value
    return best


def _busy() -> Response:
    return error(503, "many are logging in just now", "try again in a few seconds", {"Retry-After": "3"})


def _too_soon(wait: float, why: str = "too many wrong passwords") -> Response:
    seconds = max(1, math.ceil(wait))
    return error(429, f"{why}: wait {seconds} s", "", {"Retry-After": str(seconds)})


def _not_so(methods: tuple[str, ...]) -> Callable[..., Awaitable[Response]]:
    async def answer(*_: object) -> Response:
        return error(405, f"this is asked with {methods[0]}", "", {"Allow": ", ".join(methods)})

    return answer


def _cookie(headers: Headers, name: str) -> str:
    """One value as we make them; empty where there is none, or two. Other programs at this name have cookies of any form.

    Not http.cookies: what that takes grows with the square of a hostile one (CVE-2024-7592), and it drops all for one.
    """
    values = re.findall(rf"(?:^|;)[ \t]*{name}=([^;]*)", headers.get(b"cookie", b"").decode("latin-1"))
    return values[0].strip() if len(values) == 1 and _TOKEN.fullmatch(values[0].strip()) else ""


def _texts(body: bytes, *keys: str) -> list[str] | None:
    """These texts of a JSON object, each at most 2,000 characters; None where one is missing."""
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(data, dict):
        return None
    found = [data.get(key) for key in keys]
    texts = [each for each in found if isinstance(each, str) and len(each) <= 2000]
    return texts if len(texts) == len(keys) else None


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
