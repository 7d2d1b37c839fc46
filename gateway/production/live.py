"""The figures of one machine as time goes by: what runs, what is over, and what late data corrects. Pure.

states, totals ─▶ History ─ every `update` ─▶ of the interval that runs, at the time of now
                     ▲     └─ at its end ───▶ of the interval that is over, at its end: `complete`
                     └─ late data ─────────▶ the same again, as readings of the past
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from math import inf, isfinite
from typing import Any

from gateway.config.production import IntervalKind, KpiSettings
from gateway.config.references import Place
from gateway.expressions import Kind
from gateway.model import Value, is_bad
from gateway.production.calendar import NS, Interval, WorkCalendar, intervals_of
from gateway.production.energy import energy, load_profile
from gateway.production.history import DAYS_KEPT, NAMES, History
from gateway.production.inputs import Inputs
from gateway.production.kpi import figures
from gateway.production.power import PowerMeter, refilled
from gateway.production.report import demand_values, figure_signals, interval_values
from gateway.production.states import State
from gateway.units import Unit, UnitError, conversion
from gateway.units import parse as unit_of

GRACE = 60 * NS  # how long the figures of an interval wait for readings of its end
_GAP = 120.0  # seconds: readings of a total further apart have a gap between them
_KEPT = round(DAYS_KEPT * 86400) * NS
_MOST_TOLD = 4  # intervals whose figures are compared with those that were told
_LONG = 86400 * NS  # what has not come by then is not waited for

Leaving = tuple[int, list[tuple[int, Value, int]], bool]
"""A time, readings of it (signal, value, quality), and whether they correct the past."""


class LiveFigures:
    """Of one machine."""

    def __init__(
        self,
        settings: KpiSettings,
        calendar: WorkCalendar,
        machine: str,
        inputs: Inputs,
        kind_of: Callable[[Place], Kind | None],
        poll_of: Callable[[Place], float],
        step_of: Callable[[Place], float] = lambda _: inf,
    ) -> None:
        """`poll_of`: seconds between two readings of a signal. `step_of`: the least it can rise by, in its unit; inf: not known."""
        self._settings, self._calendar, self._inputs = settings, calendar, inputs
        self.signals = figure_signals(settings)
        self._width = len(self.signals) // len(settings.intervals)  # of one interval; demand comes behind all of them
        if settings.energy is not None:
            self._width = (len(self.signals) - 2) // len(settings.intervals)
        every = [900.0] if settings.energy is None else [900.0, settings.energy.interval]
        named = [(machine, name) for name in (settings.good, settings.reject, settings.total) if name is not None]
        if settings.energy is not None:
            named.append(_place(settings.energy.counter or settings.energy.power or "", machine))
        gap = max([_GAP, *(2 * poll_of(place) for place in named)])
        self.history = History(NAMES, calendar=calendar, every=every, gap=gap)
        self.slots: dict[int, list[str]] = {}  # of the totals, each with what it is to the figures
        for name in ("good", "reject", "total"):
            if (signal := getattr(settings, name)) is not None:
                self.slots.setdefault(inputs.slot((machine, signal)), []).append(name)
        self._to_kwh = (1.0, 0.0)
        self._power: PowerMeter | None = None
        self._power_at: tuple[Place, int] | None = None  # the signal, and its slot
        self._resolution = inf  # kWh
        if settings.energy is not None:
            self._measure(settings.energy.counter, settings.energy.power, machine, kind_of, step_of)
        self._over: dict[str, int] = dict.fromkeys((*settings.intervals, "demand"), 0)  # ns: up to where all is told
        self.corrections = 0  # times the past was corrected
        self._again: list[tuple[int, int]] = []  # times whose figures have changed
        self._told: dict[tuple[str, int], list[tuple[int, Value, int]]] = {}  # of the last intervals that are over
        self._unread: set[int] = set()  # ends of intervals that were told before all readings of them had come
        self._next = 0  # ns: when what runs is told again
        self._quiet_until = 0  # ns: nothing is due before
        self._phase = zlib.crc32(machine.encode()) / 2**32

    def _measure(
        self, counter: str | None, power: str | None, machine: str,
        kind_of: Callable[[Place], Kind | None], step_of: Callable[[Place], float],
    ) -> None:  # fmt: skip
        text = counter or power
        assert text is not None
        place = _place(text, machine)
        kind = kind_of(place)
        unit = kind.unit if kind is not None and kind.unit is not None else unit_of("kW.h" if counter else "kW")
        if counter is not None:
            self.slots.setdefault(self._inputs.slot(place), []).append("energy")
            self._to_kwh = _kwh(unit)
            self._resolution = step_of(place) * self._to_kwh[0]
        else:
            self._power_at = place, self._inputs.slot(place)
            self._power = PowerMeter(_kwh(unit * unit_of("s"))[0])
            self._resolution = 0.0

    # --- what happens ------------------------------------------------------------------------------------------------

    @property
    def measured(self) -> frozenset[int]:
        """The slots of all it has to be told: totals, and a power."""
        return frozenset(self.slots) | (frozenset() if self._power_at is None else {self._power_at[1]})

    @property
    def power(self) -> int | None:
        """The slot of the power that energy is made of."""
        return None if self._power_at is None else self._power_at[1]

    def state(self, since: int, word: str, reason: str) -> None:
        """The machine has been doing this since then: found out after a debounce, so perhaps in an interval that is over."""
        self.history.state(since, word, reason)
        if since < max(self._over.values()):
            self._again.append((since, max(self._over.values())))

    def take(self, inputs: Inputs, touched: set[int], time: int) -> None:
        """Readings have come."""
        for slot in touched & self.slots.keys():
            value = inputs.value[slot]
            if not is_bad(inputs.quality[slot]) and isinstance(value, int | float):
                for name in self.slots[slot]:
                    self.history.total(name, time, self.converted(name, value))
        if (power := self.power) is not None and power in touched:
            self._meter(power_of(inputs.value[power], inputs.quality[power]), time)

    def _meter(self, power: float | None, time: int) -> None:
        if self._power is not None:
            for at, kwh, unknown in self._power.step(power, time):
                self.history.total("energy", at, kwh, unknown=unknown)

    def paused(self, begin_ns: int) -> None:
        """The gateway stood still from then on: what the machine did, and what it took, nobody knows."""
        self._meter(None, begin_ns)
        self.state(begin_ns, "unknown", "")

    def converted(self, name: str, value: float) -> float:
        """Energy in kWh."""
        return value * self._to_kwh[0] if name == "energy" else value

    def unknown(self, start_ns: int, end_ns: int) -> list[tuple[int, int, int]]:
        """When it is not known what the machine did, within [start, end): since when, from, to."""
        pieces = (piece for piece in self.history.pieces(start_ns, end_ns) if piece.word == "unknown")
        return [(self.history.since(p.start_ns, ("unknown",)), p.start_ns, p.end_ns) for p in pieces]

    def correct(
        self,
        spans: Sequence[tuple[int, int, Sequence[State]]],
        totals: Mapping[str, Sequence[tuple[int, float]]],
        unsure: Mapping[str, Collection[int]],
    ) -> None:
        """What the machine did in times of which nothing was known: (start, end, its states), and readings of its totals."""
        if not spans and not totals:
            return
        self.corrections += 1
        for start, end, states in spans:
            changes = [(state.since, state.word, state.reason) for state in states]
            self._again.append(self.history.replace(start, end, changes))
        times = [t for each in totals.values() for t, _ in each]
        if times:
            self._again.append(self.history.replace(min(times), max(times) + 1, totals=totals, unsure=unsure))

    def unmeasured(self, start_ns: int, end_ns: int) -> list[tuple[int, int | None]]:
        """When the power was unknown, as (from, to); without an end where it still is."""
        if self._power is None or (meter := self.history.readings("energy")) is None:
            return []
        found: list[tuple[int, int | None]] = [*meter.unknown.whole(start_ns, end_ns)]
        return found if self._power.known else [*found, (meter.time[-1], None)]

    def refill(
        self, unmeasured: Sequence[tuple[int, int | None]], readings: Sequence[tuple[int, float | None]]
    ) -> None:
        """What was consumed in times of which the power was not known, from readings of it (None: bad) in their order."""
        meter = self.history.readings("energy")
        if self._power is None or meter is None or not readings:
            return
        self.corrections += 1
        breaks, before = {each.begin: each for each in self._power.breaks}, 0
        for begin, end in unmeasured:
            known = breaks.get(begin)
            if end is None and known is None and self._power.known:
                continue  # from before a restart, and over meanwhile: when is not remembered
            if end is None:  # it is known again meanwhile, or up to the last reading
                end = readings[-1][0] if known is None or known.end is None else known.end
            of_it = [(t, power) for t, power in readings if before < t <= end]
            before = end
            if of_it and begin < end:
                power = next((p for t, p in reversed(of_it) if t <= begin), None if known is None else known.power)
                found = refilled(begin, end, power, of_it, self._power.factor)
                self._again.append(self.history.reshape("energy", begin, end, *found))

    # --- what leaves -------------------------------------------------------------------------------------------------

    def due(self, now_ns: int, timeless: bool) -> Iterator[Leaving]:
        """What has to be told by now. Before the time is known nothing is: it would be of another year."""
        if timeless or (now_ns < self._quiet_until and not self._again and not self._unread):
            return
        for kind, upto in self._over.items():
            # What is older than all that is remembered has no figures.
            self._over[kind] = max(upto, now_ns - _KEPT) if upto else now_ns
        again = self._changed(now_ns)
        running = now_ns >= self._next
        for at, kind in enumerate(self._settings.intervals):
            waits = False
            for interval in intervals_of(kind, self._calendar, self._over[kind], now_ns):
                if not self._over[kind] < interval.end_ns <= now_ns:
                    continue
                if waits := not self._is_over(interval.end_ns, now_ns):
                    break
                yield interval.end_ns, self._readings(at, interval, interval.end_ns, True), False
                self._over[kind] = interval.end_ns
            for interval in self._touched(kind, again):
                told = self._told.get((kind, interval.end_ns))
                if (readings := self._readings(at, interval, interval.end_ns, True)) != told:
                    yield interval.end_ns, readings, True
            if running and not waits:
                for interval in intervals_of(kind, self._calendar, now_ns, now_ns + 1):
                    if interval.start_ns < now_ns:
                        yield now_ns, self._readings(at, interval, now_ns, False), False
        yield from self._demand(again, now_ns)
        if running:
            # Machines that began at the same moment are told at different ones.
            self._next = now_ns + round(self._settings.update * NS * (self._phase if not self._next else 1.0))
        self._quiet_until = min(self._next, *self._ends(now_ns))

    def _ends(self, now_ns: int) -> Iterator[int]:
        """When the next of its intervals is over; now, while one that is over waits."""
        for kind in self._settings.intervals:
            for interval in intervals_of(kind, self._calendar, self._over[kind], now_ns + 1):
                if interval.end_ns > self._over[kind]:
                    yield interval.end_ns
        if self._settings.energy is not None:
            step = round(self._settings.energy.interval)
            yield next(until for _, until in self._calendar.steps(step, self._over["demand"], now_ns + 1))
        yield self._calendar.next_boundary(now_ns)

    def _is_over(self, end_ns: int, now_ns: int) -> bool:
        """Whether all readings up to an end have come; what does not come in time is told when it does."""
        read = self.history.read_ns
        if read is not None and read < end_ns and now_ns < end_ns + GRACE:
            return False
        if read is None or read < end_ns:
            self._unread.add(end_ns)
        if self._settings.micro_stop:  # a standstill at the end may turn out to be one
            self._again.append((end_ns - 1, end_ns))
        return True

    def _changed(self, now_ns: int) -> list[tuple[int, int]]:
        """Times whose figures are others now, and will not change again in a moment."""
        read = self.history.read_ns
        come = {end for end in self._unread if read is not None and read >= end}
        self._unread = {end for end in self._unread - come if end > now_ns - _LONG}
        self._again += [(end - 1, end) for end in come]
        settled = now_ns - round(self._settings.micro_stop * NS)
        again = [(start, end) for start, end in self._again if end <= settled]
        self._again = [(start, end) for start, end in self._again if end > settled]
        return again

    def _touched(self, kind: IntervalKind, again: Sequence[tuple[int, int]]) -> list[Interval]:
        """The intervals that are over, and are not what was told of them."""
        found: dict[int, Interval] = {}
        for start, end in again:
            for interval in intervals_of(kind, self._calendar, start, max(end, start + 1)):
                if interval.end_ns <= self._over[kind]:
                    found[interval.start_ns] = interval
        return [found[start] for start in sorted(found)]

    def _readings(self, at: int, interval: Interval, end_ns: int, complete: bool) -> list[tuple[int, Value, int]]:
        begin, late = interval.start_ns, ""
        if (first := self.history.first_ns) is not None and begin < first < end_ns:
            # The very first interval: what was before anybody looked is nobody's loss.
            begin, late = first, f"begins with the first reading, {(first - begin) / 60e9:.0f} min late"
        given = figures(self.history, begin, end_ns, self._calendar, self._settings)
        used = None
        if self._settings.energy is not None:
            used = energy(self.history, begin, end_ns, self._calendar, self._settings.energy, self._resolution)
        values = interval_values(interval, given, used, complete, late)
        readings = [(at * self._width + i, value, quality) for i, (value, quality) in enumerate(values)]
        if complete:
            self._told[interval.kind, end_ns] = readings
            while len(self._told) > _MOST_TOLD:
                del self._told[next(iter(self._told))]
        return readings

    def _demand(self, again: Sequence[tuple[int, int]], now_ns: int) -> Iterator[Leaving]:
        """The load profile: each interval of demand once it is over."""
        meter = self.history.readings("energy")
        if self._settings.energy is None or meter is None:
            return
        step, at = round(self._settings.energy.interval), len(self.signals) - 2
        over = self._over["demand"]
        patience = max(GRACE, self.history.gap_ns)  # a meter that is read every five minutes is not one that is gone
        for begin, until in self._calendar.steps(step, over, now_ns):
            if until > now_ns or until <= over or (meter.time[-1] < until and now_ns < until + patience):
                continue
            if meter.time[-1] < until:
                self._unread.add(until)  # it is told when the meter is read again
            yield from self._load(at, begin, until, False)
            self._over["demand"] = until
        touched = {span for start, end in again for span in self._calendar.steps(step, start, end)}
        for begin, until in sorted(touched):
            if until <= over:
                yield from self._load(at, begin, until, True)

    def _load(self, at: int, begin: int, until: int, historical: bool) -> Iterator[Leaving]:
        """One bar of the load profile, where there are readings from its beginning to its end; of which nothing is known is none."""
        meter = self.history.readings("energy")
        assert meter is not None
        assert self._settings.energy is not None
        for load in load_profile(meter, begin, until, self._calendar, self._settings.energy.interval):
            if (load.start_ns, load.end_ns) == (begin, until) and load.unknown_ns < until - begin:
                values = demand_values(load)
                yield until, [(at + i, value, quality) for i, (value, quality) in enumerate(values)], historical

    # --- over restarts -----------------------------------------------------------------------------------------------

    def dump(self) -> dict[str, Any]:
        """What must outlive a restart, for JSON."""
        power = None if self._power is None else self._power.dump()
        return {"history": self.history.dump(), "over": self._over, "power": power}

    def take_over(self, before: LiveFigures) -> None:
        """Go on where another one ends: same settings, other signals behind them."""
        self.history, self._over, self._again = before.history, before._over, before._again
        self._unread, self._next, self._told, self.corrections = (
            before._unread,
            before._next,
            before._told,
            before.corrections,
        )
        if before._power_at is not None and self._power_at is not None and before._power_at[0] == self._power_at[0]:
            self._power = before._power

    def rewind(self, now_ns: int) -> None:
        """The clock was set back: what is later than now never was."""
        self.history.cut(now_ns)
        if self._power is not None:
            self._power.rewind(now_ns)
        self._over = {kind: min(upto, now_ns) for kind, upto in self._over.items()}
        self._again, self._unread, self._next, self._quiet_until = [], set(), 0, 0
        self.corrections += 1

    def recent(self, since_ns: int) -> dict[str, Any]:
        """What came after an instant, for JSON: much shorter."""
        power = None if self._power is None else self._power.dump()
        return {"history": self.history.newer(since_ns), "over": dict(self._over), "power": power}

    def catch_up(self, recent: Mapping[str, Any]) -> None:
        """The way back of `recent`, in their order, after `load`. Raises ValueError, TypeError, KeyError."""
        self.history.append(recent["history"])
        self._tell_from(recent)

    def ended(self, at_ns: int) -> None:
        """The gateway ended then: what the machine did since is not known."""
        self.history.state(at_ns, "unknown")

    def load(self, saved: Mapping[str, Any]) -> None:
        """The way back. Raises ValueError, TypeError, KeyError."""
        self.history.load(saved["history"])
        self._tell_from(saved)

    def _tell_from(self, saved: Mapping[str, Any]) -> None:
        for kind, upto in saved["over"].items():
            if kind in self._over:
                self._over[kind] = int(upto)
        if self._power is not None and saved["power"] is not None:
            self._power.load(saved["power"])


def power_of(value: Value, quality: int) -> float | None:
    """A reading of a power; None where it is not known."""
    return float(value) if not is_bad(quality) and isinstance(value, int | float) and isfinite(value) else None


def _place(text: str, machine: str) -> Place:
    """`meter-01/energy`, or `energy` of the machine itself."""
    other, _, signal = text.rpartition("/")
    return other or machine, signal


def _kwh(unit: Unit) -> tuple[float, float]:
    try:
        return conversion(unit, unit_of("kW.h"))
    except UnitError:  # a server says another unit than was thought: as it is
        return 1.0, 0.0
