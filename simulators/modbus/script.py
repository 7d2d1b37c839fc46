"""What the scenario does to a Modbus server, request by request. Asked at the time of each, so any clock will do.

Channel ─ opened, each request ─▶ Script ─ Happenings ─▶ Met: refused, cut, silent, an exception, late, a kind of wire fault
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

from simulators.behaviour.fault_settings import Exceptional, Late, OnTheWire
from simulators.behaviour.happenings import Fault, Happenings
from simulators.machine import SimulatedMachine
from simulators.modbus.faults import Failure
from simulators.modbus.framing import Framing
from simulators.modbus.wire_faults import kinds

_TARGET_FAILED = 11  # what a gateway answers for a device that keeps silent: Application Protocol V1.1b3, 7
_NOBODY: frozenset[str] = frozenset()
_LATER = 1.5  # timeouts: when what is late comes, where nothing is said

_WITH_REQUESTS = ("exception", "silence", "late", "unreachable", "reboot")
_OF_STREAMS = ("drop", "half-open")  # there has to be a connection


def possible(framing: Framing, stream: bool) -> Collection[str]:
    """The kinds of faults on a transport. `stream`: there are connections, which can be cut."""
    on_the_wire = set(kinds(framing)) - {"silence", "half-open", "late"}
    return {*_WITH_REQUESTS, *on_the_wire, *(_OF_STREAMS if stream else ())}


class Met(NamedTuple):
    """What a request meets."""

    failure: Failure | None = None  # instead of the answer
    delay: float = 0.0  # seconds before it
    kind: str = ""  # of a fault on its way
    late: float | None = None  # seconds until what is late of it
    fault: Fault | None = None  # to be counted where it is done to the answer


NOTHING = Met()


class Script:
    """The faults of one server."""

    def __init__(
        self,
        happenings: Happenings,
        machines: Sequence[SimulatedMachine],
        framing: Framing,
        stream: bool,
        timeout: float,
        seconds: Callable[[], float],
    ) -> None:
        """`timeout`: how long the client waits. `seconds`: the time of the scenario, now."""
        self.happenings, self.seconds = happenings, seconds
        self._stream, self._timeout = stream, timeout
        self._absent: Failure = "silence" if framing.serial else _TARGET_FAILED
        self._machines: Mapping[int, frozenset[str]] = _by_unit(machines)

    def refuses(self) -> bool:
        """Whether a connection that is opened now is refused."""
        t = self.seconds()
        if (fault := self.happenings.away(t)) is None:
            return False
        self.happenings.count(fault, t)
        return self._stream

    def lost(self, opened: float) -> Fault | None:
        """What has taken a connection that was opened then."""
        t = self.seconds()
        fault = self.happenings.cut(opened, t) or self.happenings.away(t)
        if fault is not None:
            self.happenings.count(fault, t)
        return fault

    def meets(self, opened: float, unit: int) -> Met:
        """What a request to this unit meets, over a connection that was opened then."""
        t, happenings = self.seconds(), self.happenings
        machines = self._machines.get(unit, _NOBODY)
        fault = happenings.judge(machines, t)  # first, as each of them counts the requests
        if self._stream:
            if (lost := self.lost(opened)) is not None:
                return Met("silence" if lost.kind == "half-open" else "drop")
        elif (away := happenings.away(t)) is not None:
            happenings.count(away, t)
            return Met("silence")
        if (absent := happenings.absent(machines, t)) is not None:
            happenings.count(absent, t)
            return Met(self._absent)
        return self._met(fault) if fault is not None else NOTHING

    def _met(self, fault: Fault) -> Met:
        settings = fault.settings
        if isinstance(settings, OnTheWire) or fault.kind == "half-open":
            by = getattr(settings, "by", None) or _LATER * self._timeout
            return Met(kind=fault.kind, late=by, fault=fault)
        if isinstance(settings, Late) and settings.by >= self._timeout:
            return Met(kind="late", late=settings.by, fault=fault)  # it comes when nobody waits for it any more
        self.happenings.count(fault)
        if isinstance(settings, Late):
            return Met(delay=settings.by)
        return Met(
            settings.code if isinstance(settings, Exceptional) else "drop" if fault.kind == "drop" else "silence"
        )


def _by_unit(machines: Sequence[SimulatedMachine]) -> dict[int, frozenset[str]]:
    units: dict[int, set[str]] = {}
    for machine in machines:
        units.setdefault(int(getattr(machine.settings, "unit_id", 1)), set()).add(machine.path.machine)
    return {unit: frozenset(names) for unit, names in units.items()}
