"""Asks the gateway that runs with a configuration, over its control socket; see gateway/runtime/control.py.

running.ask(configuration, "status")              what the page shows
running.ask(configuration, "reload", who="anna")
running.ask_at(path, "reload", who="anna")        where the configuration cannot be loaded, too
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.errors import GatewayError

if TYPE_CHECKING:
    from gateway.config import Configuration

PATIENCE = 60.0  # seconds: a reload waits until machines have said good-bye
MOST = 512 * 2**20  # bytes of an answer


class NotRunningError(GatewayError):
    """No gateway runs with this configuration."""


def ask(configuration: Configuration, do: str, **arguments: Any) -> Any:
    """What the running gateway answers. Raises NotRunningError, and GatewayError with what it says it cannot do."""
    data_dir = configuration.resolve(configuration.settings.gateway.data_dir)
    return _ask([data_dir], configuration.path, do, arguments)


def ask_at(path: Path, do: str, **arguments: Any) -> Any:
    """The same by the path of a configuration, which may be broken just now."""
    from gateway.runtime.places import data_dirs_of

    return _ask(data_dirs_of(path), path, do, arguments)


def _ask(data_dirs: Sequence[Path], configuration: Path, do: str, arguments: dict[str, Any]) -> Any:
    import orjson

    from gateway.runtime.control import NAME

    for data_dir in data_dirs:
        try:
            line = _answer(data_dir / NAME, orjson.dumps({"do": do, **arguments}) + b"\n")
        except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError):
            continue
        except PermissionError as exc:
            raise GatewayError(
                f"{data_dir / NAME} may be opened by the user of the gateway only: try it with sudo"
            ) from exc
        except TimeoutError as exc:
            raise GatewayError(f"the gateway does not answer within {PATIENCE:.0f} s: see its log") from exc
        except OSError as exc:
            raise GatewayError(f"{data_dir / NAME}: {exc.strerror or exc}") from exc
        try:
            answer = orjson.loads(line)
        except ValueError as exc:
            raise GatewayError("the gateway ended while it was asked: see its log") from exc
        if answer["ok"]:
            return answer["result"]
        hint = answer.get("hint")
        raise GatewayError(answer["error"] + (f"; {hint}" if hint else ""))
    raise NotRunningError(
        f"no gateway runs with this configuration ({configuration}); start it: gateway run -c {configuration}"
    )


def _answer(path: Path, request: bytes) -> bytes:
    from gateway.runtime.control import address_of

    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
        line.settimeout(PATIENCE)
        with address_of(path) as address:
            line.connect(address)
        line.sendall(request)
        parts: list[bytes] = []
        size = 0
        while size < MOST and (part := line.recv(2**20)):
            parts.append(part)
            size += len(part)
            if part.endswith(b"\n"):
                break
    return b"".join(parts)
