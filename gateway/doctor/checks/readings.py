"""Whether machines behind a link answer, and not only the link: one signal of each is read, once, while no gateway runs.

    no connection ─▶ address, port, cable          a connection and no answer ─▶ unit id, parity, baud rate
                                                   an answer that says no     ─▶ address, table

Modbus only: an OPC UA session has certificates and subscriptions, and leaves a trace at the server.
"""

from __future__ import annotations

import asyncio
import logging
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.doctor.finding import Finding
from gateway.errors import GatewayError, NotConnectedError
from gateway.faults import fault_of, fault_of_quality
from gateway.model import GOOD, Batch, Gap, is_bad, quality_text

if TYPE_CHECKING:
    from gateway.config import Configuration
    from gateway.config.settings import MachineSettings

PATIENCE = 12.0  # seconds for all machines of one connection
AGAIN = 1.0  # until a device that takes one connection has forgotten the one before
POLL = 1.0  # seconds: the first reading comes at once then
_OF_ADAPTER = "adapters.modbus.adapter"


def can_be_read(configuration: Configuration, connection: str) -> bool:
    """Whether reading is tried at all."""
    machines = configuration.machines_of(connection).values()
    modbus = configuration.connections[connection].protocol.startswith("modbus")
    return modbus and any(machine.signals for machine in machines)


def read_each(name: str, configuration: Configuration, connection: str) -> list[Finding]:
    """What came of it. `name`: of the check."""
    behind = configuration.machines_of(connection).items()
    machines = {machine: _one_signal(settings) for machine, settings in behind if settings.signals}
    with _said(machines) as said, tempfile.TemporaryDirectory(prefix="gateway-doctor-") as folder:
        try:
            heard = asyncio.run(_read(configuration, connection, machines, Path(folder)))
        except GatewayError as exc:
            return [Finding(name, "wrong", f"{connection}: cannot be read: {exc}", exc.fault)]
    found, well = [], []
    for machine, settings in machines.items():
        signal = next(iter(settings.signals))
        quality = heard.get(machine)
        if quality is not None and not is_bad(quality):
            well.append(f"{machine}/{signal}")
            continue
        text, fault = said.get(machine, ("", ""))
        if not text and quality is None:
            text, fault = f"was not read within {PATIENCE:.0f} s", "check-hung"
        elif not text:
            text, fault = quality_text(quality or 0), fault_of_quality(quality_text(quality or 0))
        found.append(Finding(name, "wrong", f"{machine}/{signal}: {text}", fault))
    if well:
        more = f" and {len(well) - 1} more" if len(well) > 1 else ""
        found.append(Finding(name, "ok", f"{connection}: {well[0]}{more} could be read"))
    return found


def _one_signal(settings: MachineSettings) -> MachineSettings:
    """The machine with one signal, the one that needs the least, and the one which that is scaled by."""
    names = sorted(
        settings.signals,
        key=lambda each: [getattr(settings.signals[each], key, None) not in (None, ()) for key in ("sunspec", "scale_from")],
    )  # fmt: skip
    scale = str(getattr(settings.signals[names[0]], "scale_from", None))
    wanted = [names[0], *([scale] if scale in settings.signals else [])]
    signals = {each: settings.signals[each].model_copy(update={"poll": POLL}) for each in wanted}
    return settings.model_copy(update={"signals": signals})


async def _read(
    configuration: Configuration, connection: str, machines: Mapping[str, MachineSettings], folder: Path
) -> dict[str, int]:
    """The quality of the first reading of each machine, as far as there was one. Raises NotConnectedError, PartMissingError."""
    from gateway.cli.common import context_of
    from gateway.runtime.registry import plugins

    paths = {configuration.path_of(name): settings for name, settings in machines.items()}
    # What is learnt of a device belongs to the gateway, and to its user.
    context = replace(context_of(configuration, connection), machines=paths, data_dir=folder)
    adapter = plugins()[configuration.connections[connection].protocol].build(context)
    heard: dict[str, int] = {}
    try:
        async with asyncio.timeout(PATIENCE):
            try:
                await adapter.connect()
            except NotConnectedError:
                await asyncio.sleep(AGAIN)
                await adapter.connect()
            while len(heard) < len(machines):
                _note(await adapter.read(), machines, heard)
    except TimeoutError:
        pass
    finally:
        with suppress(Exception):
            async with asyncio.timeout(2.0):
                await adapter.close()
    return heard


def _note(batches: object, machines: Mapping[str, MachineSettings], heard: dict[str, int]) -> None:
    assert isinstance(batches, list | tuple)
    for batch in batches:
        if isinstance(batch, Gap):
            continue
        assert isinstance(batch, Batch)
        machine = batch.header.path.machine
        wanted = next(iter(machines[machine].signals))
        for place, index in enumerate(batch.signal):
            if batch.header.signals[index].name == wanted:
                heard.setdefault(machine, batch.quality[place] if batch.quality is not None else GOOD)


@contextmanager
def _said(machines: Mapping[str, object]) -> Iterator[dict[str, tuple[str, str]]]:
    """What the adapter says of these machines, and the fault: told by a finding, and not by the log."""
    said: dict[str, tuple[str, str]] = {}

    def keep(record: logging.LogRecord) -> bool:
        name = getattr(record, "machine", "")
        if name not in machines:
            return True
        fault = fault_of(record)
        # `press-07: why [code]`, or `press-07/cycle_count: why [code]`
        said.setdefault(name, (record.getMessage().partition(": ")[2].removesuffix(f" [{fault}]"), fault))
        return False

    logger = logging.getLogger(_OF_ADAPTER)
    logger.addFilter(keep)
    try:
        yield said
    finally:
        logger.removeFilter(keep)
