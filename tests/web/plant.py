"""A small plant on a board, with every kind of trouble, for the tests of the page and a look at it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from gateway.counters import FlowCounters
from gateway.model import (
    GOOD,
    NO_COMMUNICATION,
    NOT_CONNECTED,
    OUT_OF_RANGE,
    STALE,
    Batch,
    Header,
    MachinePath,
    Signal,
    Value,
    ValueType,
)
from gateway.mqtt.payload import Loss
from gateway.web import Board

S = 1_000_000_000
NOW = 1_790_000_000 * S  # 2026-09-21T14:13:20Z


@dataclass(slots=True)
class ManualClock:
    """Both clocks stand until they are moved."""

    at: float = 0.0

    def now(self) -> int:
        return NOW + int(self.at * S)

    def monotonic(self) -> float:
        return self.at

    def trusted(self) -> bool:
        return True


@dataclass(slots=True)
class Used:
    records: int = 12
    bytes: int = 41_000_000
    max_bytes: int = 134_217_728
    dropped: int = 0
    unsafe: int = 0
    trouble: str = ""


def all_bad(header: Header, quality: int, time_ns: int) -> Batch:
    """Every signal of a machine bad at once, as when its link breaks."""
    n = len(header.signals)
    return Batch(header, header.order, (time_ns,) * n, (None,) * n, (quality,) * n)


def header(machine: str, *signals: Signal, line: str = "L1") -> Header:
    return Header(MachinePath(machine, "acme", "hanoi", "moulding", line), signals)


def signal(name: str, type: ValueType = "float", unit: str = "") -> Signal:
    return Signal(name, type, unit)


def full(header: Header, values: Sequence[Value], qualities: Sequence[int] | None = None, t: int = NOW) -> Batch:
    """A batch with every signal once."""
    return Batch(header, header.order, [t] * len(values), list(values), qualities)


def empty_board() -> Board:
    return Board("edge-01", "0.1.0", "store", FlowCounters(), Used, started_ns=NOW, started=0.0)


def lost(board: Board, cause: str, count: int = 0, machine: str = "", signal: str = "", messages: int = 0) -> None:
    """A loss of the last hundred seconds, declared now."""
    now = time.time_ns()
    first = 11 if messages else 0
    last = first + messages - 1 if messages else 0
    board.lost(Loss("8f2c9a4e", first, last, count, now - 100 * S, now - 40 * S, cause, machine, signal), now)


def plant(now: int = NOW) -> Board:
    """Six machines: one offline, one degraded, one that brings odd texts and numbers."""
    board = Board("edge-01", "0.1.0", "store", FlowCounters(), Used, started_ns=now - 93_000 * S, started=-93_000.0)

    def online(head: Header, values: Sequence[Value], qualities: Sequence[int] | None = None, ago: float = 0.4) -> None:
        board.add(head, now - 93_000 * S).condition.set("online", now - 7_500 * S)
        board.update(full(head, values, qualities, now - int(ago * S)))
        counters = board.counters.of(head.path.machine)
        counters.polls, counters.read, counters.accepted = 93_000, 93_000 * len(values), 93_000 * len(values)

    press = header(
        "press-07",
        signal("cycle_count", "int"),
        signal("melt_temp", unit="Cel"),
        signal("hold_pressure", unit="bar"),
        signal("mode", "string"),
        signal("alarm", "bool"),
    )
    online(press, [1_204_511, 231.4, None, "auto", False], [GOOD, GOOD, NO_COMMUNICATION, GOOD, GOOD])
    board.machines["press-07"].condition.set("degraded", now - 310 * S, "1 of 5 signals does not answer")

    names = ["voltage_l1", "voltage_l2", "voltage_l3", "current_l1", "current_l2", "current_l3", "power", "frequency"]
    units = ["V", "V", "V", "A", "A", "A", "kW", "Hz"]
    more = [signal(f"thd_{n}", unit="%") for n in range(1, 9)]
    meter = header(
        "meter-01",
        *(signal(n, unit=u) for n, u in zip(names, units, strict=True)),
        signal("energy_total", unit="kW.h"),
        signal("pulses", "int"),
        *more,
    )
    values = [230.41, 229.87, 231.02, 12.5, 11.98, 12.77, 8.412, 50.01, 48_231_775.25, 2**60 + 1]
    online(meter, [*values, *(1.5 + n / 7 for n in range(8))])

    lathe = header(
        "lathe-02",
        signal("spindle_speed", unit="/min"),
        signal("part_count", "int", "{parts}"),
        signal("program", "string"),
        signal("coolant_temp", unit="Cel"),
        line="L2",
    )
    online(lathe, [2400.0, 18_532, "O1207 HOUSING", 61.9], [GOOD, GOOD, GOOD, OUT_OF_RANGE], ago=2.2)

    oven = header(
        "oven-03", signal("zone_1", unit="Cel"), signal("zone_2", unit="Cel"), signal("door_open", "bool"), line="L2"
    )
    online(oven, [181.5, 180.25, True])
    board.update(Batch(oven, [1], [now - 64 * S], [None], [STALE]))

    robot = header("robot-11", signal("cycle_time", unit="s"), signal("part_count", "int"), line="L3")
    online(robot, [14.2, 991], ago=1_264)
    board.update(all_bad(robot, NOT_CONNECTED, now - 1_260 * S))
    board.machines["robot-11"].condition.set(
        "offline", now - 1_260 * S, "10.20.0.44:502: no answer within 1 s; is the machine switched on?"
    )

    pump = header("pump-04", signal("flow", unit="m3/h"), signal("pressure", unit="bar"), line="L3")
    online(pump, [12.061, 4.2])

    board.counters.sent, board.counters.stored = 557_988, 557_976
    board.broker.set("online", now - 90_000 * S)
    board.store.set("online", now - 90_000 * S)
    return board
