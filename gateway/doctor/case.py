"""What the doctor is shown: the configuration, and the gateway that runs with it, if one does."""

from __future__ import annotations

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
    mistake: GatewayError | None = None  # why there is none
    path: Path | None = None  # where it is, or should be
    status: Mapping[str, Any] | None = None  # what the running gateway says of itself; None: none runs
    silent: str = ""  # why one that seems to run says nothing
    network: bool = True
    now_ns: int = field(default_factory=time.time_ns)
    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))

    @property
    def runs(self) -> bool:
        return self.status is not None or bool(self.silent)

    @property
    def data_dir(self) -> Path | None:
        if self.configuration is None:
            return None
        return self.configuration.resolve(self.configuration.settings.gateway.data_dir)


def take(path: Path | None, *, network: bool = True, patience: float = 5.0) -> Case:
    """Load a configuration, or note why it cannot be; and ask the gateway that runs with it. Raises nothing."""
    from gateway.cli import running
    from gateway.config import find_config, load
    from gateway.doctor.timing import HUNG, within
    from gateway.runtime.registry import protocols

    case = Case(network=network)
    try:
        case.path = find_config(path)
        case.configuration = configuration = load(case.path, protocols())
    except GatewayError as exc:
        case.mistake = exc
        return case

    def ask() -> Any:
        try:
            return running.ask(configuration, "status")
        except running.NotRunningError:
            return None
        except GatewayError as exc:
            return exc

    answer = within(patience, ask)
    if answer is HUNG:
        case.silent = f"it does not answer within {patience:.0f} s"
    elif isinstance(answer, GatewayError):
        case.silent = str(answer)
    else:
        case.status = answer
    return case
