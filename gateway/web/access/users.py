"""Who has a password: {data_dir}/web/users.json, and the set-up code of the first start.

There is no password anybody could know beforehand. As long as there is no user, a code waits in the log and in a file;
whoever can read one of them sets the password of the first engineer. A file that is damaged, or that others can read,
lets nobody in.
"""

from __future__ import annotations

import contextlib
import hmac
import json
import re
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from gateway.errors import GatewayError
from gateway.web.access.files import folder_of, locked, open_to_others, write_private
from gateway.web.access.passwords import Hashed

Role = Literal["viewer", "engineer"]
ROLES: tuple[Role, ...] = ("viewer", "engineer")

MAX_USERS = 200
MAX_SIZE = 256 * 1024
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,63}")
_LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"  # none that look alike


class UsersError(GatewayError):
    """The file of users cannot be believed; the text says what to do."""


class OutdatedError(UsersError):
    """Meanwhile somebody was removed or has another password, or there is somebody."""


@dataclass(frozen=True, slots=True)
class User:
    """Somebody with a password."""

    name: str
    role: Role
    password: Hashed
    since: int = 0  # ms since 1970, when the password was set


class Users:
    """The file, read anew when it has changed: `gateway web user add` works beside a running gateway."""

    def __init__(self, data_dir: Path) -> None:
        self.file = folder_of(data_dir) / "users.json"
        self.code_file = folder_of(data_dir) / "setup-code"
        self._stamp: tuple[int, ...] | None = None
        self._users: dict[str, User] = {}

    def all(self) -> Mapping[str, User]:
        """By name. Raises UsersError."""
        try:
            there = self.file.stat()
        except FileNotFoundError:
            self._stamp, self._users = None, {}
            return self._users
        except OSError as exc:
            raise UsersError(f"{self.file}: {exc.strerror}: it belongs to the user the gateway runs as") from exc
        stamp = (there.st_ino, there.st_mtime_ns, there.st_size, there.st_mode, there.st_ctime_ns)
        if stamp != self._stamp:
            self._users, self._stamp = self._read(), stamp
        return self._users

    def _read(self) -> dict[str, User]:
        if wrong := open_to_others(self.file):
            raise UsersError(f"{wrong}, and set new passwords: somebody may have copied it")
        try:
            with self.file.open("rb") as opened:
                content = opened.read(MAX_SIZE + 1)
            return _users_of(content)
        except OSError as exc:
            raise UsersError(f"{self.file}: {exc.strerror}: it belongs to the user the gateway runs as") from exc
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as exc:
            raise UsersError(
                f"{self.file} is damaged ({exc}): take it from a backup; or delete it, and the next start gives "
                "a set-up code for the first engineer"
            ) from exc

    def put(self, user: User, *, instead_of: Hashed | None = None, first: bool = False) -> User:
        """Add somebody, or a new password; the user as written. Raises UsersError.

        `instead_of`: only if the user has that very password now, with the role of now: to make a password takes a while,
        in which the user may be removed or demoted. `first`: only while there is nobody. Raises OutdatedError else.
        """
        if not _NAME.fullmatch(user.name):
            raise UsersError(
                f"{user.name[:70]!r} cannot be the name of a user: letters, digits and . _ - @, 64 at the most"
            )
        with self._locked():
            there = self.all()
            if first and there:
                raise OutdatedError("there is a user already: log in")
            if instead_of is not None:
                now = there.get(user.name)
                if now is None or now.password != instead_of:
                    raise OutdatedError(f"{user.name} was removed or has another password by now")
                user = replace(user, role=now.role)
            users = {**there, user.name: user}
            if len(users) > MAX_USERS:
                raise UsersError(f"there are {MAX_USERS} users already; remove one: gateway web user remove NAME")
            self._write(users)
            self.code_file.unlink(missing_ok=True)
        return user

    def remove(self, name: str) -> None:
        """Raises UsersError, also for the last engineer, without whom nobody could add one on the page."""
        with self._locked():
            users = dict(self.all())
            if name not in users:
                raise UsersError(f"there is no user '{name}'; gateway web user list")
            del users[name]
            if users and not any(user.role == "engineer" for user in users.values()):
                raise UsersError(f"'{name}' is the last engineer: add another one first, or remove the viewers")
            self._write(users)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            with locked(self.file.parent, "users"):
                yield
        except OSError as exc:
            raise UsersError(f"{self.file} cannot be written: {exc.strerror}") from exc

    def _write(self, users: Mapping[str, User]) -> None:
        data = {
            "v": 1,
            "users": {
                u.name: {"role": u.role, "since": u.since, "password": u.password.as_json()} for u in users.values()
            },
        }
        try:
            write_private(self.file, json.dumps(data, indent=1).encode() + b"\n")
        except OSError as exc:
            raise UsersError(f"{self.file} cannot be written: {exc.strerror}") from exc
        self._stamp = None

    # --- the first start -----------------------------------------------------------------------------------------------

    def code(self) -> str:
        """The set-up code, made where there is none; empty as soon as there is a user. Raises UsersError."""
        if self.all():
            self.code_file.unlink(missing_ok=True)
            return ""
        try:
            if self.code_file.exists() and not open_to_others(self.code_file):
                code = self.code_file.read_text(encoding="ascii", errors="replace").strip()[:100]
                if len(_bare(code)) >= 16:
                    return code
            letters = "".join(secrets.choice(_LETTERS) for _ in range(16))  # 80 bits
            code = "-".join(letters[i : i + 4] for i in range(0, 16, 4))
            write_private(self.code_file, code.encode() + b"\n")
        except OSError as exc:
            raise UsersError(f"{self.code_file} cannot be written: {exc.strerror}") from exc
        return code

    def is_code(self, given: str) -> bool:
        """Whether this is the set-up code; with or without dashes, in any case. Raises UsersError."""
        code = _bare(self.code())
        return bool(code) and hmac.compare_digest(code.encode(), _bare(given[:100]).encode("utf-8", "replace"))


def _bare(code: str) -> str:
    return re.sub(r"[\s-]", "", code).upper()


def _users_of(content: bytes) -> dict[str, User]:
    if len(content) > MAX_SIZE:
        raise ValueError("far too large")
    data: Any = json.loads(content)
    if data["v"] != 1:
        raise ValueError("written by another version")
    users = {}
    for name, each in data["users"].items():
        if not _NAME.fullmatch(name) or each["role"] not in ROLES:
            raise ValueError(f"user {name[:70]!r}")
        users[name] = User(name, each["role"], Hashed.from_json(each["password"]), int(each.get("since", 0)))
    return users
