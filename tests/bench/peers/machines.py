"""The machines of the Modbus benchmarks: their signals, what their registers hold, and the configuration that reads them. Pure."""

from __future__ import annotations

import random
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

BLOCK = 125  # registers in one request
SIZE = 65536  # registers of a unit


class Word(NamedTuple):
    """One register: at the k-th request it holds base + (k * step & mask)."""

    base: int = 0
    step: int = 0
    mask: int = 0


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of signal. With every poll it changes by more than its deadband, and never leaves its range."""

    type: str
    more: str
    words: tuple[Word, ...]  # most significant first
    deadband: float | None = None


_LOW = Word(0, 40503, 0xFFFF)  # any digits: what a measured float has
KINDS = {
    "uint16": Kind("uint16", "scale: 0.1, unit: Cel, range: [0, 400]", (Word(1000, 37, 0x3FF),), 0.5),
    "int16": Kind("int16", "scale: 0.01, unit: bar, range: [-100, 100]", (Word(0xFE00, 41, 0x3FF),), 0.05),
    "uint32": Kind("uint32", "kind: counter", (Word(1), Word(0, 101, 0xFFFF))),
    "int32": Kind("int32", "scale: 0.001, unit: mm, range: [-1000, 1000]", (Word(2), Word(0, 211, 0x7FFF)), 0.05),
    # 96 to 128, in steps of 0.5 and more
    "float32": Kind("float32", "unit: kW, range: [0, 1000]", (Word(0x42C0, 3, 0x3F), _LOW), 0.2),
    "uint64": Kind("uint64", "kind: counter", (Word(), Word(), Word(3), Word(0, 977, 0xFFFF))),
    # the same, in steps of 4
    "float64": Kind("float64", "unit: kW.h, range: [0, 1000]", (Word(0x4058, 1, 7), _LOW, _LOW, _LOW), 0.5),
}
# 66 signals in 125 registers: decoding, scaling, range and deadband all have something to do.
_MIX = {"uint16": 12, "int16": 11, "uint32": 9, "int32": 9, "float32": 17, "uint64": 4, "float64": 4}
# 7 signals in 10 registers, and no value across the limit of a request.
_PAIRS = ("float32", "uint16", "float32", "uint16", "float32", "uint16", "uint16")


@dataclass(frozen=True, slots=True)
class Register:
    """A signal, where it stands and how."""

    name: str
    kind: Kind
    address: int
    swapped: bool = False  # least significant word first

    @property
    def words(self) -> Sequence[Word]:
        return self.kind.words[::-1] if self.swapped else self.kind.words

    @property
    def end(self) -> int:
        return self.address + len(self.kind.words)


def mixed(blocks: int) -> list[Register]:
    """66 signals of 7 kinds in each block; of those with several words every other one, a third of all, is swapped."""
    kinds = [kind for kind, count in _MIX.items() for _ in range(count)]
    rng = random.Random(1)
    found: list[Register] = []
    for block in range(blocks):
        rng.shuffle(kinds)
        address, several = block * BLOCK, 0
        for kind in map(KINDS.__getitem__, kinds):
            several += len(kind.words) > 1
            register = Register(f"s{len(found):03}", kind, address, len(kind.words) > 1 and several % 2 == 0)
            found.append(register)
            address = register.end
    return found


def pairs(count: int) -> list[Register]:
    """float32 and uint16 in turn: 700 signals in 1,000 registers."""
    found: list[Register] = []
    for i in range(count):
        found.append(Register(f"s{i:03}", KINDS[_PAIRS[i % 7]], found[-1].end if found else 0))
    return found


def clocks(count: int) -> list[Register]:
    """Each the moment of the last change; see `CLOCK` in server.c."""
    kind = Kind("uint32", "unit: us", (Word(), Word()))
    return [Register(f"s{i:03}", kind, 2 * i) for i in range(count)]


def image(registers: Iterable[Register]) -> bytes:
    """What server.c wants to know of them."""
    base, step, mask = (array("H", bytes(2 * SIZE)) for _ in range(3))
    for register in registers:
        for address, word in enumerate(register.words, register.address):
            base[address], step[address], mask[address] = word
    return base.tobytes() + step.tobytes() + mask.tobytes()


def blocks_of(registers: Sequence[Register]) -> int:
    """Requests that a poll takes."""
    return -(-registers[-1].end // BLOCK)


PROFILE = "bench"


def profile(registers: Iterable[Register], report: str) -> str:
    """All machines are of one model. A deadband has a meaning with `report: change` only."""
    lines = ["description: a machine of the benchmarks", "protocol: modbus", "signals:"]
    for r in registers:
        order = ", order: CDAB" if r.swapped else ""
        deadband = f", deadband: {r.kind.deadband}" if r.kind.deadband and report == "change" else ""
        lines.append(f"  {r.name}: {{holding: {r.address}, type: {r.kind.type}{order}, {r.kind.more}{deadband}}}")
    return "\n".join([*lines, ""])


def plant(ports: Sequence[int], machines: int, *, poll: str, report: str, max_in_flight: int, broker: int) -> str:
    """The configuration: `machines` machines, divided evenly among links to `ports`."""
    return "\n".join(_plant(ports, machines, poll, report, max_in_flight, broker))


def _plant(
    ports: Sequence[int], machines: int, poll: str, report: str, max_in_flight: int, broker: int
) -> Iterator[str]:
    more = f", max_in_flight: {max_in_flight}" if max_in_flight > 1 else ""
    yield "version: 1"
    yield "gateway: {id: bench, data_dir: data}"
    yield f'mqtt: {{url: "mqtt://127.0.0.1:{broker}", delivery: broker}}'
    yield f"defaults: {{poll: {poll}, report: {report}, timeout: 5s}}"
    yield "connections:"
    for i, port in enumerate(ports):
        yield f"  c{i}: {{protocol: modbus-tcp, host: 127.0.0.1, port: {port}{more}}}"
    yield "machines:"
    for i in range(machines):
        link, unit = i % len(ports), 1 + i // len(ports)
        yield f"  m{i:03}: {{connection: c{link}, unit_id: {unit}, profile: {PROFILE}}}"
    yield ""
