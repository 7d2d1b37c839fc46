"""Passwords, as scrypt makes them (RFC 7914): 32 MiB and a tenth of a second for each guess, for whoever gets the file, too.

At most two are worked out at a time, in threads, and few wait: nobody can make this box busy by guessing.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import secrets
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MIN_LENGTH = 10
MAX_LENGTH = 1024  # bytes; nobody types more
AT_ONCE = 2
MAX_WAITING = 6

_LENGTH = 32


class BusyError(Exception):
    """More people log in than are served at a time."""


@dataclass(frozen=True, slots=True)
class Hashed:
    """A password that nobody can read, with what it was made with."""

    salt: bytes
    key: bytes
    n: int = 2**15
    r: int = 8
    p: int = 1

    def matches(self, password: str) -> bool:
        """In a time that does not tell how much of it is right. Takes a tenth of a second."""
        return hmac.compare_digest(scrypt(password, self.salt, self.n, self.r, self.p), self.key)

    def as_json(self) -> dict[str, Any]:
        return {
            "kind": "scrypt", "n": self.n, "r": self.r, "p": self.p,
            "salt": base64.b64encode(self.salt).decode(), "key": base64.b64encode(self.key).decode(),
        }  # fmt: skip

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Hashed:
        """Raises ValueError for what cannot be one, or would take this box hours."""
        if data.get("kind") != "scrypt":
            raise ValueError("not a password made with scrypt")
        n, r, p = (data.get(name) for name in ("n", "r", "p"))
        if n not in (2**14, 2**15, 2**16, 2**17) or r != 8 or p not in (1, 2, 3, 4):
            raise ValueError("a password with parameters that are not ours")
        try:
            salt, key = (base64.b64decode(str(data.get(name)), validate=True) for name in ("salt", "key"))
        except binascii.Error as exc:
            raise ValueError("a password that is not base64") from exc
        if len(salt) < 16 or len(key) != _LENGTH:
            raise ValueError("a password that is too short")
        return cls(salt, key, n, r, p)


def prepared(password: str) -> str:
    """As it is hashed and compared: "mật khẩu" is one password, whichever way a keyboard composes its letters.

    RFC 8265, 4.2.2 (OpaqueString): spaces that are not ASCII become U+0020, then normalization form C.
    """
    spaced = "".join(" " if unicodedata.category(c) == "Zs" else c for c in password)
    return unicodedata.normalize("NFC", spaced)


def scrypt(password: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    """The key of a password. Half a surrogate pair is a character like any other."""
    secret = prepared(password).encode("utf-8", "surrogatepass")
    return hashlib.scrypt(secret, salt=salt, n=n, r=r, p=p, maxmem=256 * n * r, dklen=_LENGTH)


def hashed(password: str) -> Hashed:
    """For the file. Takes a tenth of a second."""
    salt = secrets.token_bytes(16)
    made = Hashed(salt, b"")
    return Hashed(salt, scrypt(password, salt, made.n, made.r, made.p))


def wrong_with(password: str, user: str = "") -> str:
    """Why this cannot be a password; empty where it can."""
    password = prepared(password)
    if len(password) < MIN_LENGTH:
        return f"a password has {MIN_LENGTH} characters at least"
    if len(password.encode("utf-8", "surrogatepass")) > MAX_LENGTH:
        return f"a password has {MAX_LENGTH} bytes at most"
    if user and user.lower() in password.lower() and len(password) < len(user) + MIN_LENGTH:
        return "a password that is little more than the name is guessed first"
    if len(set(password)) < 4:
        return "a password of so few different characters is guessed first"
    return ""


# What an unknown user is compared with, so that nobody learns from the time whether there is such a user.
NOBODY = Hashed(b"\0" * 16, b"\0" * _LENGTH)


class Kitchen:
    """Where passwords are worked out, off the event loop."""

    def __init__(self) -> None:
        self._places = asyncio.Semaphore(AT_ONCE)
        self._here = 0

    async def matches(self, password: str, made: Hashed) -> bool:
        """Raises BusyError."""
        return bool(await self._cook(made.matches, password))

    async def hashed(self, password: str) -> Hashed:
        """Raises BusyError."""
        made: Hashed = await self._cook(hashed, password)
        return made

    async def _cook(self, what: Any, *given: Any) -> Any:
        if self._here >= AT_ONCE + MAX_WAITING:
            raise BusyError
        self._here += 1
        try:
            async with self._places:
                return await asyncio.to_thread(what, *given)
        finally:
            self._here -= 1
