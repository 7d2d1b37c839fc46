"""What is worked out for one machine, live: deltas of counters, computed signals, its state, its figures.

    batches of the machines it looks at ─▶ slots ─▶ programs ─▶ rules ─▶ state ─▶ history ─▶ figures
                                                       └───────────┴───────┴───────────────────┴─▶ a plan of its own

It is to the rest of the gateway what an adapter is: its readings have a header, go through a plan (ranges, deadbands,
counters, quality) and leave beside those of the machine. It is told every reading that is seen, not only what is sent. Pure:
time is handed in.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache
from itertools import repeat
from math import inf
from typing import Any

import orjson

from gateway.clock import artificial
from gateway.config import MachineSettings, SignalSettings
from gateway.config.references import DELTA, STATE_SIGNALS, Place, kind_of
from gateway.config.signals import FROM_SERVER, Report
from gateway.expressions import Expression, ExpressionError, Kind, parse
from gateway.model import (
    GOOD,
    NOT_CONNECTED,
    WRONG_TYPE,
    Batch,
    Header,
    MachinePath,
    Signal,
    Value,
    ValueType,
    is_bad,
)
from gateway.normalizer import Plan
from gateway.production.calendar import WorkCalendar
from gateway.production.doing import NOW, Doing, state_signals
from gateway.production.inputs import Computed, Inputs, Looking
from gateway.production.late import Late, Past, Reading
from gateway.production.live import LiveFigures
from gateway.production.pulse import Pause, Pulse
from gateway.units import UnitError, conversion
from gateway.units import parse as unit_of

log = logging.getLogger(__name__)

_DAY = 86_400 * 10**9
_OVERLAP = 600 * 10**9  # what is written down often reaches back so far: stamps of machines are behind
_AT_ONCE = 500  # readings of the past in one batch
_SHORT = 500  # bytes of the state of a program that is written down often: no windows

Out = list[tuple[Batch | None, Batch]]
"""What has to be sent, and what is true now: as of a plan."""


class Derived:
    """Of one machine. Made again when the signals of a machine it looks at turn out to be others than was thought."""

    def __init__(
        self,
        path: MachinePath,
        machines: Mapping[str, MachineSettings],
        calendar: WorkCalendar,
        headers: Mapping[str, Header],
        locked: Mapping[str, ValueType] | None = None,
        noted: list[int] | None = None,
        pulse: Pulse | None = None,
    ) -> None:
        """`headers`: what is known of the signals of each machine, as they leave. Works with what is not known yet, too.

        `locked` and `noted`: as of a plan. `pulse`: that of the gateway; one of its own where it is alone.
        """
        self._path, self._settings = path, machines[path.machine]
        self._machines, self._calendar = machines, calendar
        self._inputs = Inputs()
        self._positions: dict[Header, Sequence[tuple[int, int]]] = {}  # signal and slot, of each machine it looks at
        self._time = 0  # of what was worked out last
        self._deltas: dict[int, tuple[float | int, int]] = {}  # by slot of the counter: its last total, and when
        self._signals: list[Signal] = []
        self._places: dict[str, int] = {}  # of them, by name
        self._rules: dict[str, SignalSettings] = {}  # what is said of them
        self._headers = headers
        self._named: dict[str, dict[str, Signal]] = {}  # signals of the machines it looks at, by name
        own = path.machine
        self._delta_of = [
            (self._inputs.slot((own, name)), self._add_delta(name, s))
            for name, s in self._settings.signals.items()
            if s.delta
        ]
        self._computed = [self._add_computed(name) for name in self._in_order()]
        self._doing: Doing | None = None
        if (settings := self._settings.state) is not None:
            self._doing = Doing(settings, own, self._inputs, self._checked)
            self._state_at = len(self._signals)
            for signal in state_signals():
                # An event is told each time, all else when it changes and at its heartbeat.
                self._add(signal, _settings_of(signal, "all" if signal.kind == "event" else "change"))
        self._figures: LiveFigures | None = None
        if self._settings.kpi is not None:
            self._figures = LiveFigures(
                self._settings.kpi, calendar, own, self._inputs, self._kind, self._poll, self._step
            )
            self._figures_at = len(self._signals)
            for signal in self._figures.signals:
                self._add(signal, _settings_of(signal))
        self._raw = Header(path, tuple(self._signals))
        self._plan = Plan(self._raw, self._rules, locked, noted)
        self._totals = self._figures.slots if self._figures else {}
        self._measured = self._figures.measured if self._figures else frozenset()
        made = {signal.name for signal in self._signals} - set(self._settings.computed)
        self._own = {
            slot for (machine, name), slot in self._inputs.slots.items() if machine == path.machine and name in made
        }
        self._own -= {self._inputs.slots.get((path.machine, self._signals[at].name), -1) for _, at in self._delta_of}
        self._late: Late | None = None
        if self._doing is not None and self._figures is not None:
            self._late = Late(self._doing, self._figures, self._computed, self._inputs)
        self._now = 0  # of the last tick
        self._pulse = Pulse() if pulse is None else pulse
        self._pauses = self._pulse.count  # of those that are known of
        self._stood = False  # since a pause nothing has been read of the machine
        self._away = False  # its link is broken
        self._noted = 0  # ns: up to where what is worked out was written down
        self._timed = [each for each in self._computed if each.looking.program.timed]

    @property
    def header(self) -> Header:
        """What leaves beside the signals of the machine."""
        return self._plan.header

    @property
    def looks_at(self) -> frozenset[str]:
        """The machines whose readings it has to be told."""
        return frozenset(machine for machine, _ in self._inputs.slots)

    # --- what it is told ---------------------------------------------------------------------------------------------

    def take(self, batch: Batch, now: float, now_ns: int) -> Out:
        """Readings of a machine it looks at, also those that say nothing new."""
        positions = self._positions.get(batch.header)
        if positions is None:
            positions = self._positions[batch.header] = self._positions_of(batch.header)
        if not positions:
            return []
        self._note_time(now, now_ns)
        out: Out = []
        for part in _one_by_one(batch):
            out += self._take(part, positions, now, now_ns)
        return out

    def _take(self, batch: Batch, positions: Sequence[tuple[int, int]], now: float, now_ns: int) -> Out:
        touched = self._put(batch, positions)
        if not touched:
            return []
        self._time = max(self._time, min(now_ns, max(batch.time)))
        if self._figures is not None:
            self._figures.take(self._inputs, touched, self._time)
        own = batch.header.path == self._path
        found = list(self._work_out_deltas(touched)) if own else []
        found += self._work_out_all(touched, self._time, now)
        out = self._leave(found, self._time, now, now_ns)
        return out + self._judge(now, now_ns)

    def _work_out_all(self, touched: set[int], time: int, now: float) -> list[tuple[int, Value, int]]:
        """The computed signals that look at what was touched, and those that look at them."""
        return [
            self._work_out(each, time, touched, now)
            for each in self._computed
            if not touched.isdisjoint(each.looking.places)
        ]

    def tick(self, now: float, now_ns: int) -> Out:
        """What the passing of time brings. To be called about twice a second."""
        self._plan.alive(now)
        self._note_time(now, now_ns)
        past = [] if self._late is None else self._late.tick(now, now_ns)
        found = []
        for each in self._timed:
            if now - each.ran >= each.poll:
                found.append(self._work_out(each, max(self._time, now_ns), set(), now))
        out = self._leave(found, max(self._time, now_ns), now, now_ns) if found else []
        out += self._tell_past(past)
        out += self._judge(now, now_ns)
        if self._figures is not None:
            for time, values, historical in self._figures.due(now_ns, artificial(now_ns)):
                out += self._leave(
                    [(self._figures_at + at, value, quality) for at, value, quality in values], time, now, now_ns, historical=historical,
                )  # fmt: skip
        # While a state may turn out to have ended before now, nothing says that it goes on: the next one begins back then.
        waits = self._doing is not None and self._doing.waits
        if not waits and (beat := self._plan.beat(now, now_ns)) is not None:
            self._note_told(beat)
            out.append((beat, beat))
        return out

    def past(self, batch: Batch, now: float, now_ns: int) -> None:
        """Readings of the past: they correct what was not known of it. Of other machines only what figures are made from does."""
        if self._late is None:
            return
        self._note_time(now, now_ns)
        own = batch.header.path == self._path
        slots = dict(self._positions.get(batch.header) or self._positions_of(batch.header))
        if not own:
            slots = {i: slot for i, slot in slots.items() if slot in self._measured}
        columns = zip(batch.time, batch.signal, batch.value, batch.quality or repeat(GOOD), strict=False)
        self._late.add([Reading(t, slots[i], value, q, own) for t, i, value, q in columns if i in slots], now)

    def _note_time(self, now: float, now_ns: int) -> None:
        if now_ns < self._now - _DAY:
            self._rewind(now_ns)
        self._now = now_ns
        self._pulse.note(now, now_ns)
        if self._pauses != self._pulse.count:
            for pause in self._pulse.since(self._pauses):
                self._note_pause(pause)
            self._pauses = self._pulse.count

    def _note_pause(self, pause: Pause) -> None:
        """The gateway stood still, or the clock was set forward: what was meanwhile nobody knows."""
        begin, end, _ = pause
        if begin >= end or (artificial(begin) and not artificial(end)):
            return  # the wall did not move, or has become known: how long it has been so is told by nothing
        for each in self._computed:
            each.looking.program.pause(begin)
        if self._late is not None and not self._away:
            self._late.note_break(begin, self._inputs.value, self._inputs.quality)
            self._stood = True
        if self._doing is not None:
            self._doing.paused(begin)
        if self._figures is not None and not artificial(begin):
            self._figures.paused(begin)

    def _rewind(self, now_ns: int) -> None:
        """The clock was set back by days: what seemed to be later than now never was."""
        log.warning("%s: the clock was set back: states and figures begin anew from here", self._path.machine)
        self._time = now_ns
        if self._doing is not None:
            self._doing.restart(now_ns)
        if self._figures is not None:
            self._figures.rewind(now_ns)
            if self._doing is not None and (state := self._doing.state) is not None:
                self._figures.state(now_ns, state.word, state.reason)

    def flush(self) -> Batch | None:
        """At the end: what swinging doors hold back."""
        return self._plan.flush()

    # --- steps -------------------------------------------------------------------------------------------------------

    def _positions_of(self, header: Header) -> Sequence[tuple[int, int]]:
        machine, slots = header.path.machine, self._inputs.slots
        named = ((i, slots.get((machine, signal.name))) for i, signal in enumerate(header.signals))
        return [(i, slot) for i, slot in named if slot is not None]

    def _put(self, batch: Batch, positions: Sequence[tuple[int, int]]) -> set[int]:
        """Take over what is looked at; the slots that were touched."""
        inputs, value, quality = self._inputs, batch.value, batch.quality
        if batch.signal is batch.header.order:
            places: Sequence[tuple[int, int]] = positions
        else:
            slot_of = dict(positions)
            places = [(at, slot_of[i]) for at, i in enumerate(batch.signal) if i in slot_of]
        if (
            self._late is not None
            and batch.header is not self._plan.header
            and batch.header.path == self._path
            and places
        ):
            if quality is not None and not is_bad(inputs.quality[places[0][1]]) and not self._stood:
                self._note_break(min(batch.time), [quality[at] for at, _ in places])
            # Where the link broke in a pause, what was known before the pause counts.
            self._stood = False
            self._away = quality is not None and all(quality[at] == NOT_CONNECTED for at, _ in places)
        for at, slot in places:
            inputs.put(slot, value[at], GOOD if quality is None else quality[at])
        return {slot for _, slot in places}

    def _note_break(self, time: int, quality: Sequence[int]) -> None:
        """What was known when the link of the machine broke: what comes of that time later begins with it."""
        if self._late is not None and all(q == NOT_CONNECTED for q in quality):
            self._late.note_break(time, self._inputs.value, self._inputs.quality)

    def _work_out_deltas(self, touched: set[int]) -> Iterator[tuple[int, Value, int]]:
        for slot, at in self._delta_of:
            if slot not in touched:
                continue
            total, quality = self._inputs.value[slot], self._inputs.quality[slot]
            delta: Value = None
            if not is_bad(quality) and isinstance(total, int | float):
                before = self._deltas.get(slot)
                self._deltas[slot] = total, self._time
                if before is None:
                    continue
                delta = total - before[0]
            mine = self._inputs.slots.get((self._path.machine, self._signals[at].name))
            if mine is not None:
                self._inputs.put(mine, delta, quality)
                touched.add(mine)
            yield at, delta, quality

    def _work_out(self, each: Computed, time: int, touched: set[int], now: float) -> tuple[int, Value, int]:
        each.ran = now
        value, quality = each.looking.run(time)
        value = each.converted(value)
        if value is not None and type(value) is not _CLASSES[each.type]:
            value, quality = None, WRONG_TYPE
        self._inputs.put(each.slot, value, quality)
        touched.add(each.slot)
        return each.at, value, quality

    def _leave(
        self, found: Sequence[tuple[int, Value, int]], time: int, now: float, now_ns: int, *, historical: bool = False
    ) -> Out:
        """Through the plan."""
        if not found:
            return []
        quality = [q for _, _, q in found]
        batch = Batch(
            self._raw, [at for at, _, _ in found], [time] * len(found), [value for _, value, _ in found],
            quality if any(quality) else None, historical,
        )  # fmt: skip
        if historical:
            past = self._plan.past(batch)
            return [(past, past)]
        news = self._plan.apply(batch, now, now_ns)
        assert self._plan.seen is not None
        if news is not None:
            self._note_told(news)
        seen, out = self._plan.seen, [(news, self._plan.seen)]
        touched = self._feed(seen)
        if not touched.isdisjoint(self._own):  # its state, or a figure
            out += self._leave(self._work_out_all(touched, time, now), time, now, now_ns)
        return out

    def _note_told(self, news: Batch) -> None:
        """When the state was told as unknown: what comes later of that time is told again at these times."""
        if self._late is None or self._doing is None or (state := self._doing.state) is None or state.word != "unknown":
            return
        first = self._state_at
        self._late.note_told(
            sorted(
                {
                    t
                    for t, i in zip(news.time, news.signal, strict=False)
                    if first <= i < first + NOW and t >= state.since
                }
            )
        )

    def _tell_past(self, past: Sequence[Past]) -> Out:
        """States that were found out later, as readings of the past."""
        found = [(t, self._state_at + i, value, q) for t, readings in past for i, value, q in readings]
        out: Out = []
        for at in range(0, len(found), _AT_ONCE):
            times, signals, values, quality = zip(*found[at : at + _AT_ONCE], strict=True)
            batch = Batch(self._raw, signals, times, values, quality if any(quality) else None, historical=True)
            told = self._plan.past(batch)
            out.append((told, told))
        return out

    def _feed(self, seen: Batch) -> set[int]:
        """Those of its own that are looked at, as they leave; the slots that were touched.

        Computed signals are there already, but for counters, which are corrected now, and what figures are made from.
        """
        places = self._positions.get(seen.header)
        if places is None:
            own = {each.slot for each in self._computed} - self._measured - self._totals.keys()
            places = [(i, slot) for i, slot in self._positions_of(seen.header) if slot not in own]
            self._positions[seen.header] = places
        if not places:
            return set()
        touched = self._put(seen, places)
        if self._figures is not None and not self._measured.isdisjoint(touched):
            self._figures.take(self._inputs, touched & self._measured, max(seen.time))
        return touched

    def _judge(self, now: float, now_ns: int) -> Out:
        """What the machine is doing now."""
        out: Out = []
        if self._doing is None:
            return out
        for time, readings, began in self._doing.step(now_ns):
            if began is not None and self._figures is not None and not artificial(began.since):
                self._figures.state(began.since, began.word, began.reason)
            out += self._leave([(self._state_at + i, value, q) for i, value, q in readings], time, now, now_ns)
        return out

    # --- putting together --------------------------------------------------------------------------------------------

    def _kind(self, place: Place) -> Kind | None:
        """What is known of a signal: from its machine, else from its settings."""
        machine, name = place
        if machine not in self._named:
            header = self._headers.get(machine)
            self._named[machine] = {} if header is None else {signal.name: signal for signal in header.signals}
        if (signal := self._named[machine].get(name)) is not None:
            return _kind_of_signal(signal)
        settings = self._machines.get(machine)
        if settings is None:
            return None
        if machine == self._path.machine and (mine := self._places.get(name)) is not None:
            return _kind_of_signal(self._signals[mine])
        if name in settings.signals:
            return kind_of(settings.signals[name])
        if name in settings.computed:
            return kind_of(settings.computed[name])
        return STATE_SIGNALS.get(name, Kind(None, None, None))

    def _poll(self, place: Place) -> float:
        """Seconds between two readings of a signal; 0 where that is not known."""
        settings = self._machines[place[0]]
        signal = settings.signals.get(place[1]) or settings.computed.get(place[1])
        return 0.0 if signal is None else signal.poll

    def _step(self, place: Place) -> float:
        """The least a count of whole numbers can rise by, in the unit in which it leaves; inf where that is not known."""
        settings = self._machines[place[0]].signals.get(place[1])
        if settings is None or getattr(settings, "value_type", None) != "int":
            return inf
        if settings.raw_range is not None or settings.scale_from is not None:
            return inf
        step = abs(settings.scale or 1.0)
        if settings.store_as and settings.unit and settings.unit != FROM_SERVER:
            step *= conversion(unit_of(settings.unit), unit_of(settings.store_as))[0]
        return step

    def _add(self, signal: Signal, settings: SignalSettings) -> int:
        self._places[signal.name] = len(self._signals)
        self._signals.append(signal)
        self._rules[signal.name] = settings
        return len(self._signals) - 1

    def _add_delta(self, name: str, settings: SignalSettings) -> int:
        kind = self._kind((self._path.machine, name)) or kind_of(settings)
        text = f"What {name} has counted since its reading before"
        type_: ValueType = "float" if kind.type is None else kind.type
        unit = settings.store_as or ("" if settings.unit == FROM_SERVER else settings.unit)
        signal = Signal(name + DELTA, type_, description=text, made_of=(name,), formula=f"{name} - its reading before")
        return self._add(signal, SignalSettings(unit=unit))

    def _add_computed(self, name: str) -> Computed:
        settings, machine = self._settings.computed[name], self._path.machine
        expression, kind = self._expression(settings.value)
        type_: ValueType = "float" if kind.type is None else kind.type
        factor = None
        unit = settings.unit or (kind.unit.code if kind.unit is not None else "")
        if settings.unit and kind.unit is not None:
            factor = conversion(kind.unit, unit_of(settings.unit))
            factor = None if factor == (1.0, 0.0) else factor
        if factor is not None and type_ == "int":
            type_ = "float"
        made_of = tuple(f"{r.machine}/{r.signal}" if r.machine else r.signal for r in expression.references)
        at = self._add(
            Signal(name, type_, unit, made_of=made_of, formula=settings.value, guessed=kind.type is None),
            settings if settings.unit or not unit else settings.model_copy(update={"unit": unit}),
        )
        looking = Looking(expression, machine, self._inputs)
        slot = self._inputs.slot((machine, name))
        return Computed(at, type_, looking, slot, settings.poll, factor, settings.value)

    def _checked(self, text: str) -> Expression:
        return self._expression(text)[0]

    def _expression(self, text: str) -> tuple[Expression, Kind]:
        """An expression for the signals there are, and what it yields: units are converted for these."""
        machine, expression = self._path.machine, parse(text)
        try:
            return expression, expression.check(lambda r: self._kind((r.machine or machine, r.signal)))
        except ExpressionError as exc:  # what a server says fits less than what was known when it was loaded
            log.warning("%s: '%s': %s", machine, text, exc.message)
            return expression, Kind(None, None, None)

    def _in_order(self) -> list[str]:
        """The computed signals, each behind those it is made from."""
        machine, ordered = self._path.machine, list[str]()

        def add(name: str) -> None:
            for r in parse(self._settings.computed[name].value).references:
                if r.machine in ("", machine) and r.signal in self._settings.computed and r.signal not in ordered:
                    add(r.signal)
            if name not in ordered:
                ordered.append(name)

        for name in self._settings.computed:
            add(name)
        return ordered

    # --- over restarts -----------------------------------------------------------------------------------------------

    def dump(self, now_ns: int) -> dict[str, Any]:
        """All that must outlive a restart, for JSON."""
        programs = {self._name(each): [each.text, each.looking.program.dump()] for each in self._computed}
        figures = None if self._figures is None else self._figures.dump()
        return {**self._counts(now_ns), "programs": programs, "figures": figures}

    def recent(self, now_ns: int) -> dict[str, Any]:
        """What came since the last time, for JSON: short enough to be written down often. Windows are left out."""
        since, self._noted = self._noted - _OVERLAP, now_ns
        programs = {}
        for each in self._computed:
            if len(orjson.dumps(state := each.looking.program.dump())) <= _SHORT:
                programs[self._name(each)] = [each.text, state]
        figures = None if self._figures is None else self._figures.recent(since)
        return {**self._counts(now_ns), "programs": programs, "figures": figures}

    @property
    def corrections(self) -> int:
        """How many times its past was corrected: what came before is another one then."""
        return 0 if self._figures is None else self._figures.corrections

    def load(self, saved: Mapping[str, Any], recent: Sequence[Mapping[str, Any]] = ()) -> list[str]:
        """The way back, before the first reading: from a dump, and what was written down after it; what could not be used.

        What was between then and now is not known.
        """
        unusable: set[str] = set()
        for i, part in enumerate([saved, *recent]):
            try:
                unusable.update(self._load(part, whole=i == 0))
                if type(ended := part.get("t", 0)) is int:
                    self._noted = max(self._noted, ended)
            except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError):
                unusable.add("all of it")
        if self._noted:
            if self._doing is not None:
                self._doing.ended(self._noted)
            if self._figures is not None:
                self._figures.ended(self._noted)
        return sorted(unusable)

    def _load(self, saved: Mapping[str, Any], *, whole: bool) -> Iterator[str]:
        """The names of what could not be used. Raises whatever a broken file makes it."""
        yield from self._plan.load(saved.get("counters", {}))
        if self._doing is not None and saved.get("state") is not None:
            self._doing.load(saved["state"])
        programs = saved.get("programs", {})
        for each in self._computed:
            text, state = programs.get(self._name(each), (None, None))
            if text == each.text:
                try:
                    each.looking.program.load(state)
                except ValueError:
                    yield self._name(each)
        for name, (total, time) in saved.get("deltas", {}).items():
            slot = self._inputs.slots.get((self._path.machine, name))
            if slot is not None and isinstance(total, int | float) and isinstance(time, int):
                self._deltas[slot] = total, time
        if self._figures is not None and saved.get("figures") is not None:
            try:
                (self._figures.load if whole else self._figures.catch_up)(saved["figures"])
            except (ValueError, TypeError, KeyError):
                yield "figures"

    def take_over(self, before: Derived) -> None:
        """Go on where another one ends, that was made for signals as they were thought to be; nothing has been missed."""
        for place, slot in before._inputs.slots.items():
            if place in self._inputs.slots:
                self._inputs.put(self._inputs.slots[place], before._inputs.value[slot], before._inputs.quality[slot])
        programs = {before._name(each): each for each in before._computed}
        for each in self._computed:
            same = programs.get(self._name(each))
            if same is not None and same.text == each.text:
                with suppress(ValueError):  # of other units
                    each.looking.program.load(same.looking.program.dump(), stopped=False)
        own = {slot: place for place, slot in before._inputs.slots.items()}
        self._deltas = {
            self._inputs.slots[own[slot]]: last
            for slot, last in before._deltas.items()
            if own[slot] in self._inputs.slots
        }
        self._plan.take_over(before._plan)
        self._time, self._now, self._noted = before._time, before._now, before._noted
        self._pulse, self._pauses = before._pulse, before._pauses
        self._stood, self._away = before._stood, before._away
        if self._late is not None and before._late is not None:
            self._late.take_over(before._late)
        if self._doing is not None and before._doing is not None:
            self._doing.take_over(before._doing)
        if self._figures is not None and before._figures is not None:
            self._figures.take_over(before._figures)

    @property
    def refused(self) -> Mapping[str, ValueType]:
        """Types that its signals would have, but for those that are locked."""
        return self._plan.refused

    def _counts(self, now_ns: int) -> dict[str, Any]:
        names = {slot: name for (_, name), slot in self._inputs.slots.items()}
        return {
            "t": now_ns,
            "state": None if self._doing is None else self._doing.dump(),
            "counters": self._plan.dump(),
            "deltas": {names[slot]: list(last) for slot, last in self._deltas.items()},
        }

    def _name(self, computed: Computed) -> str:
        return self._signals[computed.at].name

    def catch_up(self, signal: str, value: Value, time: int) -> None:
        """A reading that had left after the state was saved."""
        if not isinstance(value, int | float):
            return
        self._plan.catch_up(signal, value, time)
        slot = self._inputs.slots.get((self._path.machine, signal.removesuffix(DELTA)))
        if signal.endswith(DELTA) and slot is not None and (last := self._deltas.get(slot)) and time > last[1]:
            self._deltas[slot] = last[0] + value, time


_CLASSES: Mapping[ValueType, type] = {"float": float, "int": int, "bool": bool, "string": str}


def _kind_of_signal(signal: Signal) -> Kind:
    try:
        unit = unit_of(signal.unit) if signal.unit else None
    except UnitError:  # as a server wrote it
        unit = None
    if signal.guessed:
        return Kind(None, None, None)
    return Kind(signal.type, unit, frozenset(signal.states.values()) if signal.states else None)


def _settings_of(signal: Signal, report: Report = "all") -> SignalSettings:
    return _settings(signal.unit, report)


@cache  # all machines have the same ones
def _settings(unit: str, report: Report) -> SignalSettings:
    return SignalSettings(unit=unit, report=report)


def _one_by_one(batch: Batch) -> Sequence[Batch]:
    """A batch in which a signal stands several times, as several: each of its readings counts."""
    if batch.signal is batch.header.order or len(set(batch.signal)) == len(batch):
        return (batch,)
    quality = batch.quality or [GOOD] * len(batch)
    passes: list[list[int]] = []
    times: dict[int, int] = {}
    for at, i in enumerate(batch.signal):
        nth = times[i] = times.get(i, -1) + 1
        if nth == len(passes):
            passes.append([])
        passes[nth].append(at)
    return [
        Batch(
            batch.header, [batch.signal[at] for at in part], [batch.time[at] for at in part],
            [batch.value[at] for at in part], [quality[at] for at in part],
        )
        for part in passes
    ]  # fmt: skip
