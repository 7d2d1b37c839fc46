"""What is in a file that can be replayed: recordings of machines, told by its beginning, not by its name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from gateway.errors import RecordingError
from gateway.recording import Entry, Head, is_recording, read


class Recording(Protocol):
    """What was recorded of one machine, from whatever file."""

    @property
    def head(self) -> Head: ...

    @property
    def damage(self) -> list[str]: ...

    def __iter__(self) -> Iterator[Entry]: ...


def recorded_in(path: Path, unit: Callable[[], int]) -> Sequence[Recording] | None:
    """The recorded machines; None for a series of values. `unit`: of registers that do not say theirs. Raises RecordingError."""
    from gateway.recording.capture_file import is_capture

    try:
        with path.open("rb") as file:
            begins = file.read(4096)
        if is_recording(path):
            return [read(path)]
        if is_capture(path):
            return _captured(path)
    except OSError as exc:
        raise RecordingError(f"{path} cannot be read: {exc.strerror}") from exc
    first = begins.decode("utf-8-sig", "replace").lstrip().partition("\n")[0]
    if first.startswith("{"):
        if '"req"' in first or '"table"' not in first:
            from gateway.recording.conversation_json import read_conversation

            return read_conversation(path)
        return [_registers(path, unit())]
    columns = [column.strip().lower() for column in first.replace(";", ",").replace("\t", ",").split(",")]
    if {"table", "address"} <= set(columns):
        return [_registers(path, unit())]
    if len(columns) > 1 and b"\0" not in begins:
        return None
    raise RecordingError(
        f"{path}: cannot be replayed: it is neither a recording of `gateway record`, nor a packet capture, nor JSON lines with "
        "`req` and `resp`, nor CSV with table, address, value, nor CSV with a series of values"
    )


def _captured(path: Path) -> Sequence[Recording]:
    from gateway.recording.pcap import read_pcap

    found = read_pcap(path)
    if not found.machines:
        found = read_pcap(path, None)
    if not found.machines:
        why = f": {found.short}" if found.short else ""
        raise RecordingError(f"{path}: nobody speaks Modbus TCP in the {found.packets} packets of this capture{why}")
    return found.machines


def _registers(path: Path, unit: int) -> Recording:
    from simulators.modbus.replay.registers import read_registers

    return read_registers(path, unit)
