"""Asks the gateway that runs with a configuration, over its control socket; see gateway/runtime/asked/control.py.

running.ask(configuration, "status")              what the page shows
running.ask(configuration, "reload", who="anna")
running.ask_at(path, "reload", who="anna")        where the configuration cannot be loaded, too
running.line_to(given).ask("status")              with the mistakes on stderr, where it is broken and a gateway runs on

One that was started while `gateway.data_dir` was another one answers, too: it is known by the path of its configuration.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.errors import ConfigErrors, GatewayError

if TYPE_CHECKING:
    from gateway.config import Configuration

PATIENCE = 60.0  # seconds: a reload waits until machines have said good-bye
QUICK = 5.0  # seconds for all other questions
_SLOW = ("reload", "rollback", "difference")
MOST = 512 * 2**20  # bytes of an answer
BRIEFLY = 2.0  # seconds, for one that may be somebody else's
_SOCKETS = Path("/proc/net/unix")
_SERVICES = (
    range(1, 1000),
    range(61184, 65520),
)  # users of services; the second are those of DynamicUser=, systemd.exec(5)


class NotRunningError(GatewayError):
    """No gateway runs with this configuration."""


class NotAllowedError(GatewayError):
    """One runs, and answers its own user and root only."""


def ask(configuration: Configuration, do: str, **arguments: Any) -> Any:
    """What the running gateway answers. Raises NotRunningError, and GatewayError with what it says it cannot do."""
    data_dir = configuration.resolve(configuration.settings.gateway.data_dir)
    return _ask([data_dir], configuration.path, do, arguments)


def ask_at(path: Path, do: str, **arguments: Any) -> Any:
    """The same by the path of a configuration, which may be broken just now."""
    from gateway.runtime.changes.places import data_dirs_of

    return _ask(data_dirs_of(path), path, do, arguments)


@dataclass(frozen=True, slots=True)
class Line:
    """To the gateway of a configuration. None: that is broken just now."""

    path: Path
    configuration: Configuration | None = None

    def ask(self, do: str, **arguments: Any) -> Any:
        """As `ask`."""
        if self.configuration is None:
            return ask_at(self.path, do, **arguments)
        return ask(self.configuration, do, **arguments)


def line_to(given: Path | None) -> Line:
    """To whoever runs with a configuration; the mistakes of a broken one go to stderr. Raises ConfigErrors where none runs."""
    from gateway.cli.common import load_config
    from gateway.config import find_config

    path = find_config(given)
    try:
        return Line(path, load_config(given))
    except ConfigErrors as exc:
        _tell_broken(path, exc)
        return Line(path)


def configuration_of(given: Path | None) -> Configuration:
    """The configuration; the last good one where it is broken and a gateway runs on. Raises ConfigErrors where none runs."""
    from gateway.cli.common import load_config
    from gateway.config import find_config

    path = find_config(given)
    try:
        return load_config(given)
    except ConfigErrors as exc:
        found = last_good(path)
        if found is None:
            raise
        _tell_broken(path, exc)
        return found[0]


def data_dir_of(given: Path | None) -> Path:
    """Where the files of a gateway are; asked of the gateway where the configuration is broken. Raises ConfigErrors where none
    runs."""
    line = line_to(given)
    if line.configuration is not None:
        return line.configuration.resolve(line.configuration.settings.gateway.data_dir)
    return Path(line.ask("where")["data_dir"])


def last_good(path: Path) -> tuple[Configuration, int] | None:
    """The newest version that was in force and can still be loaded, and its number."""
    from gateway.runtime.changes.places import data_dirs_of
    from gateway.runtime.changes.versions import Versions, load_files

    for data_dir in data_dirs_of(path):
        for version in Versions(data_dir).good():
            with suppress(GatewayError, OSError):
                return load_files(path, version.data), version.number
    return None


def _tell_broken(path: Path, mistakes: ConfigErrors) -> None:
    """Above what a running gateway answers. Raises them where none runs."""
    try:
        ask_at(path, "where")
    except NotRunningError:
        raise mistakes from None
    except GatewayError:
        pass  # it is there; whatever it does not want is told when it is asked for something
    print(f"{mistakes}\nthe configuration is broken, and the gateway runs on without it:", file=sys.stderr)


def _ask(data_dirs: Sequence[Path], configuration: Path, do: str, arguments: dict[str, Any]) -> Any:
    from gateway.runtime.asked.control import NAME

    for data_dir in data_dirs:
        with suppress(FileNotFoundError, NotADirectoryError, ConnectionRefusedError):
            return _result(data_dir / NAME, do, arguments)
    if (moved := _elsewhere(configuration)) is not None:
        _tell_moved(moved.parent)
        return _result(moved, do, arguments)
    raise NotRunningError(
        f"no gateway runs with this configuration ({configuration}); start it: gateway run -c {configuration}"
    )


def _result(path: Path, do: str, arguments: dict[str, Any]) -> Any:
    """What it answers. Raises FileNotFoundError, NotADirectoryError, ConnectionRefusedError where nobody listens."""
    import orjson

    patience = PATIENCE if do in _SLOW else QUICK
    try:
        line = _answer(path, orjson.dumps({"do": do, **arguments}) + b"\n", patience)
    except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError):
        raise
    except PermissionError as exc:
        raise NotAllowedError(f"{path} may be opened by the user of the gateway only: try it with sudo") from exc
    except TimeoutError as exc:
        raise GatewayError(
            f"a gateway runs, but does not answer within {patience:.0f} s: it hangs, is stopped, or has far too much to do; "
            f"see its log ({path})", fault="check-hung",
        ) from exc  # fmt: skip
    except OSError as exc:
        raise GatewayError(f"{path}: {exc.strerror or exc}") from exc
    try:
        answer = orjson.loads(line)
    except ValueError as exc:
        raise GatewayError("the gateway ended while it was asked: see its log") from exc
    if answer["ok"]:
        return answer["result"]
    hint = answer.get("hint")
    raise GatewayError(answer["error"] + (f"; {hint}" if hint else ""))


# --- one whose data_dir was changed ----------------------------------------------------------------------------------

_told: set[Path] = set()


def _tell_moved(data_dir: Path) -> None:
    """Once."""
    if data_dir not in _told:
        _told.add(data_dir)
        print(
            f"the gateway runs with data_dir {data_dir}, and gateway.data_dir is another one now: restart it",
            file=sys.stderr,
        )


def _elsewhere(configuration: Path) -> Path | None:
    """The socket of a gateway that was started with this configuration; found among all that are open on this box."""
    import orjson

    from gateway.runtime.changes.places import main_file

    wanted = str(main_file(configuration))
    try:
        table = _SOCKETS.read_text("utf-8", "replace")
    except OSError:
        return None
    for path in sockets_of(table):
        with suppress(OSError, ValueError, KeyError, TypeError):
            answer = orjson.loads(_answer(path, b'{"do": "where"}\n', BRIEFLY, trusted=_users_of(configuration)))
            if answer["ok"] and answer["result"]["configuration"] == wanted:
                return path
    return None


def sockets_of(table: str) -> Iterator[Path]:
    """Control sockets in /proc/net/unix, see proc(5): the path is the eighth column."""
    from gateway.runtime.asked.control import NAME

    for line in table.splitlines():
        parts = line.split(maxsplit=7)
        if len(parts) == 8 and parts[7].startswith("/") and parts[7].endswith(f"/{NAME}"):
            yield Path(parts[7])


def _users_of(configuration: Path) -> set[int]:
    """Who may answer for this configuration: any user could open a socket of that name."""
    users = {0, os.geteuid()}
    with suppress(OSError):
        users.add(configuration.stat().st_uid)
    if os.geteuid() == 0:
        users.update(*_SERVICES)
    return users


def _answer(path: Path, request: bytes, patience: float = PATIENCE, trusted: set[int] | None = None) -> bytes:
    """`trusted`: the users that may listen there; else whoever may write into that folder. Raises OSError."""
    from gateway.runtime.asked.control import address_of

    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
        line.settimeout(min(patience, QUICK))
        with address_of(path) as address:
            line.connect(address)
        if trusted is not None:
            told = line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
            if struct.unpack("3i", told)[1] not in trusted:  # struct ucred, see unix(7)
                raise PermissionError(f"{path} is somebody else's")
        line.sendall(request)
        parts: list[bytes] = []
        size = 0
        while size < MOST and (part := _received(line, patience, first=not parts)):
            parts.append(part)
            size += len(part)
            if part.endswith(b"\n"):
                break
    return b"".join(parts)


def _received(line: socket.socket, patience: float, *, first: bool) -> bytes:
    """The next part of an answer; who has to wait for the first one is told that it is waited for. Raises OSError."""
    if not first or patience <= QUICK:
        return line.recv(2**20)
    try:
        return line.recv(2**20)
    except TimeoutError:
        print(f"the gateway has not answered yet: it is waited for, {patience:.0f} s at the most", file=sys.stderr)
        line.settimeout(patience - QUICK)
        return line.recv(2**20)
