"""What the doctor is shown: the configuration, and the gateway that runs with it, if one does."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.errors import GatewayError

if TYPE_CHECKING:
    from gateway.config import Configuration


@dataclass(slots=True)
class Case:
    """One box, one configuration. Nothing here changes while the checks look at it."""

    configuration: Configuration | None = None
    mistake: GatewayError | None = None  # why what is in the files cannot be loaded
    version: int = 0  # of the configuration, where that is not the one in the files, but the last good one
    path: Path | None = None  # where it is, or should be
    status: Mapping[str, Any] | None = None  # what the running gateway says of itself; None: none runs
    silent: str = ""  # why one that seems to run says nothing
    denied: str = ""  # why this user cannot ask the one that runs
    network: bool = True
    now_ns: int = field(default_factory=time.time_ns)
    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))

    @property
    def runs(self) -> bool:
        return self.status is not None or bool(self.silent or self.denied)

    @property
    def data_dir(self) -> Path | None:
        if self.configuration is not None:
            return self.configuration.resolve(self.configuration.settings.gateway.data_dir)
        return next((each for each in self.data_dirs if each.is_dir()), None)

    @property
    def data_dirs(self) -> list[Path]:
        """Where the files of the gateway may be, the likeliest first; also where the configuration is broken."""
        from gateway.runtime.changes.places import data_dirs_of

        configuration = self.configuration
        first = [] if configuration is None else [configuration.resolve(configuration.settings.gateway.data_dir)]
        return list(dict.fromkeys([*first, *(data_dirs_of(self.path) if self.path is not None else ())]))

    def check_rights(self) -> None:
        """Raises PermissionError where the data folder is another user's: how it is for that one, nobody else can tell."""
        folder = self.data_dir
        if folder is None or not folder.exists():
            return
        if os.geteuid() not in (0, folder.stat().st_uid) or not os.access(folder, os.R_OK | os.X_OK):
            raise PermissionError(errno.EACCES, "belongs to another user", str(folder))


def take(path: Path | None, *, network: bool = True, patience: float = 5.0) -> Case:
    """Load a configuration, or note why it cannot be, and take the last good one; and ask the gateway that runs with it.

    Raises nothing.
    """
    from gateway.cli import running
    from gateway.config import find_config, load
    from gateway.doctor.timing import HUNG, within
    from gateway.runtime.registry import protocols

    case = Case(network=network)
    try:
        case.path = find_config(path)
        case.configuration = load(case.path, protocols())
    except GatewayError as exc:
        case.mistake = exc
        if case.path is None:
            return case
        if (found := running.last_good(case.path)) is not None:
            case.configuration, case.version = found
    line = running.Line(case.path, case.configuration if case.mistake is None else None)

    def ask() -> Any:
        try:
            return line.ask("status")
        except running.NotRunningError:
            return None
        except GatewayError as exc:
            return exc

    answer = within(patience, ask)
    if answer is HUNG:
        case.silent = f"it does not answer within {patience:.0f} s"
    elif isinstance(answer, running.NotAllowedError):
        case.denied = str(answer)
    elif isinstance(answer, GatewayError):
        case.silent = str(answer)
    else:
        case.status = answer
    return case
