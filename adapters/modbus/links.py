"""Which client serves which link."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from adapters.modbus.connections import ModbusConnection, ModbusTcp
from adapters.modbus.link import Link, Request
from gateway.adapter import Tap


def link_of(
    settings: ModbusConnection,
    folder: Path = Path(),
    now: Callable[[], int] = time.time_ns,
    allowed: Callable[[Request], bool] = lambda _: True,
    tap: Tap | None = None,
) -> Link:
    """A link, not yet open. `folder`: where the paths in the configuration start. `now`: ns since 1970.

    `allowed`: whether the link may ask that by itself, to find out whether a late answer has come.
    `tap`: is told of every byte.
    """
    if isinstance(settings, ModbusTcp) and settings.max_in_flight > 1:
        from adapters.modbus.pipeline import PipelinedLink

        return PipelinedLink(settings, now, tap)
    from adapters.modbus.client import PymodbusLink

    return PymodbusLink(settings, folder, now, allowed, tap)
