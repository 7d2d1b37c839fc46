"""One plan per header: what the configuration says is worked out before the first poll.

    Batch ─▶ Steps: counters, scaling, range, states ─▶ what is news ─▶ Batch, or None when there is nothing to say

Bad readings are sent once, when they begin; everything else as `report` says. Batches of the same shape (the same signals in
the same order) share a `_Shape`, which also remembers what came last: the very same values are not worked out again.
A subscription brings what has changed, so any signals at all: a list of them is remembered when it comes again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gateway.config import SignalSettings
from gateway.model import GOOD, STALE, Batch, Header, Signal, Value, ValueType, is_bad
from gateway.normalizer.door import Door, Point
from gateway.normalizer.memory import Memory
from gateway.normalizer.rules import Needs, Rule, held_to, needs_of, rule_of
from gateway.normalizer.steps import Pick, Steps, picker, power_of_ten
from gateway.shared import once_per_object

_MAX_SHAPES = 64  # a machine has one per combination of poll rates; an adapter that makes more gets no more cached
_MISSED = 2  # polls a machine may miss before a value counts as one it does not repeat
_LOOK = 30.0  # seconds between two looks for what is due, at the most: something may have come meanwhile
_MAX_LISTS = 8  # of all its signals, in the lists of signals that are remembered


@dataclass(frozen=True, slots=True)
class _Reports:
    """When the signals of a batch are sent."""

    bands: Sequence[tuple[int, int, float | None]] = ()  # position, signal and deadband; None: always sent
    doors: Sequence[tuple[int, int]] = ()  # position and signal of those with a swinging door
    beats: Sequence[tuple[int, int]] = ()  # of those that are always sent, and again at their heartbeat
    only_changes: bool = False  # all are sent only when they change

    @property
    def any_changes(self) -> bool:
        return bool(self.doors) or any(band is not None for _, _, band in self.bands)


_ALL = _Reports()


@dataclass(slots=True)
class _Shape:
    """What is known of all batches with these signals, and of the last one."""

    signal: Sequence[int]  # kept, so that its identity stays taken
    steps: Steps
    reports: _Reports
    changes: bool  # some are sent only when they change
    # The last batch: as it came, and what became of it.
    raw: Sequence[Value] | None = None
    raw_quality: Sequence[int] | None = None
    factors: int = -1  # version of the scale factors it was worked out with
    values: list[Value] = field(default_factory=list)
    quality: list[int] | None = None
    # So that a signal that stays bad costs its neighbours nothing:
    version: int = -1  # of the plan's bad signals
    sent_quality: list[int] | None = None
    good: Pick | None = None  # what is left of a column without the bad ones; None: all of it
    # While all is well, only changes have to be looked for:
    calm: int = -1  # the version at which every signal here was good, and had been sent
    quiet_until: float = 0.0  # no heartbeat is due before


class Plan:
    """Normalizes the batches of one machine. `header` is the one that leaves; keeps what was sent last."""

    def __init__(
        self,
        raw: Header,
        settings: Mapping[str, SignalSettings],
        locked: Mapping[str, ValueType] | None = None,
        noted: list[int] | None = None,
    ) -> None:
        """`raw`: as the adapter made it, with the types before scaling. `settings`: by the name of the signal.

        `locked`: types that signals have had when they left, which they keep. `noted`: one number, shared by several plans:
        how many times a count began anew.
        """
        self._rules, self._needs, signals = _rules(raw.signals, _ByIdentity(settings))
        self.refused: Mapping[str, ValueType] = {}  # types that signals would have, but for those that are locked
        if locked and any(locked.get(rule.signal.name, rule.signal.type) != rule.signal.type for rule in self._rules):
            wanted = [rule.signal for rule in self._rules]
            self._rules = [held_to(rule, locked.get(rule.signal.name)) for rule in self._rules]
            self.refused = {
                signal.name: signal.type
                for rule, signal in zip(self._rules, wanted, strict=True)
                if rule.held_to is not None and (rule.held_to, signal.type) != ("float", "int")
            }
            self._needs, signals = needs_of(self._rules), tuple(rule.signal for rule in self._rules)
        self._raw = raw
        self.header = Header(raw.path, signals)
        self._shortest = min((rule.stale_after for rule in self._rules), default=0.0)
        self._shapes: dict[int, _Shape] = {}  # by the identity of a tuple
        self._lists: dict[tuple[int, ...], _Shape] = {}  # of lists that came again
        self._listed = 0  # signals in them
        self._came_once: set[int] = set()  # hashes of lists
        # The signals that have a value as long as nobody says otherwise; events have not.
        self._lasting = [i for i, rule in enumerate(self._rules) if rule.signal.kind != "event"]
        n = len(self._rules)
        self._bad: dict[int, int] = {}  # signals whose last reading sent was bad, and its quality
        self._version = 0  # counts the changes of _bad
        self._marked: dict[int, int] = {}  # signals that we declared bad ourselves, and the time of that
        self._sent_value: list[Value] = [None] * n  # with `report: change`
        self._sent_quality: list[int] = [-1] * n  # -1: nothing sent yet
        self._sent_at = [0.0] * n
        self._memory = Memory(self._rules, noted)
        self._doors = {i: Door(rule.deadband or 0.0) for i, rule in enumerate(self._rules) if rule.door}
        self._beating = [i for i in self._lasting if self._rules[i].deadband is not None or self._rules[i].beats]
        self._shortest_beat = min((self._rules[i].heartbeat for i in self._beating), default=_LOOK)
        self._beat_at = 0.0  # no heartbeat is due before, as far as a machine does not repeat itself
        self._factors: dict[int, int | None] = {}  # powers of ten by the signal that holds them
        self._factors_version = 0
        self._alive = 0.0
        self.seen: Batch | None = None  # the last batch, normalized, before what was said already was taken out

    def apply(self, batch: Batch, now: float, now_ns: int) -> Batch | None:
        """The readings to send. `now` is Clock.monotonic(), `now_ns` Clock.now()."""
        self._alive = now
        shape = self._shape_of(batch.signal)
        same = (
            batch.value is shape.raw and batch.quality == shape.raw_quality and shape.factors == self._factors_version
        )
        if not same:
            self._work_out(shape, batch)
        signal = self.header.order if shape.signal is self._raw.order else shape.signal
        time = self._after_marks(batch, now_ns) if self._marked else batch.time
        self.seen = everything = Batch(self.header, signal, time, shape.values, shape.quality)
        for at, i in shape.reports.beats:
            self._sent_value[i], self._sent_at[i] = shape.values[at], now
            self._sent_quality[i] = GOOD if shape.quality is None else shape.quality[at]
        return self._changes(shape, everything, same, now) if shape.changes else self._all(shape, everything, now)

    def past(self, batch: Batch) -> Batch:
        """Readings of the past, normalized. What is true now does not depend on them, so nothing is remembered."""
        shape = self._shape_of(batch.signal)
        values = list(batch.value)
        quality = None if batch.quality is None else list(batch.quality)
        quality = shape.steps.run(values, quality, self._factors, self._memory, batch.time, past=True)
        return Batch(self.header, batch.signal, batch.time, values, quality, historical=True)

    def lost(self, quality: int, now: float, now_ns: int) -> Batch | None:
        """The link is gone: every signal is bad from now on, until a reading arrives."""
        self._memory.lose()
        return self._mark([i for i in self._lasting if self._bad.get(i) != quality], quality, now, now_ns)

    def flush(self) -> Batch | None:
        """At the end: what swinging doors hold back."""
        return self._ahead([(i, point) for i, door in self._doors.items() if (point := door.end())], None)

    def beat(self, now: float, now_ns: int) -> Batch | None:
        """Values that hold on, though the machine has not repeated them for a heartbeat: a server sends what changes.

        Not of what is polled: there the next reading tells. To be asked about twice a second.
        """
        if now < self._beat_at or now - self._alive > self._shortest:
            return None
        due, beat_at = [], float("inf")
        for i in self._beating:
            rule = self._rules[i]
            at = self._sent_at[i] + rule.heartbeat + _MISSED * rule.poll
            if self._sent_quality[i] < 0 or i in self._bad:
                continue
            if at <= now:
                due.append(i)
                self._sent_at[i] = now - _MISSED * rule.poll
                at = now + rule.heartbeat
            beat_at = min(beat_at, at)
        self._beat_at = min(beat_at, now + self._shortest_beat)
        if not due:
            return None
        early: list[tuple[int, Point]] = []
        for i in due:
            if (door := self._doors.get(i)) is not None and (newest := door.held or door.pivot) is not None:
                early += [(i, point) for point in door.restart(now_ns, newest[1])[:-1]]
                self._sent_value[i] = newest[1]
            self._marked[i] = now_ns
        n, quality = len(due), [self._sent_quality[i] for i in due]
        self.seen = beat = Batch(
            self.header, due, [now_ns] * n, [self._sent_value[i] for i in due], quality if any(quality) else None
        )
        return self._ahead(early, beat)

    def take_over(self, before: Plan) -> None:
        """Go on where another plan of this machine ends, whose signals were others: after its `flush`."""
        places = {signal.name: i for i, signal in enumerate(self.header.signals)}
        for i, time in before._marked.items():
            if (mine := places.get(before.header.signals[i].name)) is not None:
                self._marked[mine] = time
        self._memory.take_over(before._memory)

    def dump(self) -> dict[str, Any]:
        """What must outlive a restart, for JSON: counters."""
        return self._memory.dump()

    def load(self, saved: Mapping[str, Any]) -> Sequence[str]:
        """The way back, before the first reading; the signals whose state could not be used."""
        return self._memory.load(saved)

    @property
    def counts(self) -> bool:
        """Whether there are counters, which have to be remembered."""
        return bool(self._memory.counters)

    def catch_up(self, signal: str, total: float, time: int) -> None:
        """A total that had left after the state was saved."""
        self._memory.catch_up(signal, total, time)

    def alive(self, now: float) -> None:
        """The link gave a sign of life, without readings."""
        self._alive = now

    def stale(self, now: float, now_ns: int) -> Batch | None:
        """What has gone stale since it was last asked: bad from now on, until a reading arrives."""
        silent = now - self._alive
        if not self._alive or silent <= self._shortest:
            return None
        gone = [i for i in self._lasting if silent > self._rules[i].stale_after and i not in self._bad]
        return self._mark(gone, STALE, now, now_ns)

    def _mark(self, signals: list[int], quality: int, now: float, now_ns: int) -> Batch | None:
        if not signals:
            return None
        self._version += 1
        early: list[tuple[int, Point]] = []
        for i in signals:
            self._bad[i] = self._sent_quality[i] = quality
            self._sent_value[i], self._sent_at[i] = None, now
            self._marked[i] = now_ns
            if (door := self._doors.get(i)) is not None and (held := door.end()) is not None:
                early.append((i, held))
        n = len(signals)
        whole = n == len(self._rules)
        self.seen = Batch(self.header, self.header.order if whole else signals, [now_ns] * n, [None] * n, [quality] * n)
        return self._ahead(early, self.seen)

    def _after_marks(self, batch: Batch, now_ns: int) -> Sequence[int]:
        """The times of a batch, of which the first after a mark of ours must not lie before it.

        A server repeats an unchanged value with its old stamp, and clocks of machines are behind: the store would then
        have the mark as the newest reading, and the signal would stay bad there. It was confirmed when it arrived.
        """
        time, marks = list(batch.time), self._marked
        for at, i in enumerate(batch.signal):
            if time[at] <= marks.get(i, -1):
                time[at] = now_ns
        for i in set(batch.signal):
            marks.pop(i, None)
        return time

    def forget(self) -> None:
        """After a reconnect: everything is sent again, changed or not."""
        self._sent_quality = [-1] * len(self._rules)
        self._version += 1

    def follow(self, raw: Header) -> bool:
        """Go on with a header that an adapter made anew. False if it is another one, which needs another plan."""
        if raw.signals != self._raw.signals or raw.path != self._raw.path:
            return False
        self._raw = raw
        self._shapes.clear()
        self._lists.clear()
        self._listed = 0
        return True

    @property
    def lasting(self) -> int:
        """How many signals can be bad: all but events."""
        return len(self._lasting)

    @property
    def bad(self) -> Mapping[int, int]:
        """The signals that are bad now, by their index, with their quality."""
        return self._bad

    # --- steps -------------------------------------------------------------------------------------------------------

    def _shape_of(self, signal: Sequence[int]) -> _Shape:
        if not isinstance(signal, tuple):
            return self._shape_of_list(tuple(signal))
        shape = self._shapes.get(id(signal))
        if shape is None:
            if len(self._shapes) >= _MAX_SHAPES:
                return _Shape(signal, *_compile(self._rules, self._needs, signal))
            shape = self._shapes[id(signal)] = _Shape(signal, *_compiled(self._rules, self._needs, signal))
        return shape

    def _shape_of_list(self, signal: tuple[int, ...]) -> _Shape:
        """Remembered from the second time on: most lists never come again, and putting a shape together is cheap."""
        shape = self._lists.get(signal)
        if shape is None:
            shape = _Shape(signal, *_compile(self._rules, self._needs, signal))
            if (value := hash(signal)) in self._came_once:
                self._remember(shape)
            else:
                if len(self._came_once) >= _MAX_SHAPES:
                    self._came_once.clear()
                self._came_once.add(value)
        return shape

    def _remember(self, shape: _Shape) -> None:
        signal = tuple(shape.signal)
        if len(set(signal)) < len(signal):
            return  # bad and good again in one batch: what it said is not what is true after it
        if self._listed + len(signal) > _MAX_LISTS * len(self._rules):
            self._lists.clear()  # others come now
            self._listed = 0
        self._lists[signal] = shape
        self._listed += len(signal)

    def _work_out(self, shape: _Shape, batch: Batch) -> None:
        values: list[Value] = list(batch.value)
        for at, i in shape.steps.factors:
            if self._factors.get(i, ...) != (power := power_of_ten(values[at])):
                self._factors[i] = power
                self._factors_version += 1
        quality = None if batch.quality is None else list(batch.quality)
        shape.quality = shape.steps.run(values, quality, self._factors, self._memory, batch.time)
        shape.values, shape.factors = values, self._factors_version
        # A list could be filled anew by its owner; a tuple stays what it is.
        lasts = isinstance(batch.value, tuple) and not shape.steps.timed
        shape.raw, shape.raw_quality = (batch.value, batch.quality) if lasts else (None, None)

    def _all(self, shape: _Shape, everything: Batch, now: float) -> Batch | None:
        """Where every reading is sent: without the bad ones that were sent before."""
        quality = shape.quality
        if quality is None and not self._bad:
            return everything if shape.values else None
        if shape.version == self._version and shape.sent_quality == quality:
            return everything if shape.good is None else self._without_bad(shape, everything)
        return self._news(shape, everything, now)

    def _changes(self, shape: _Shape, everything: Batch, same: bool, now: float) -> Batch | None:
        """Where some are sent only when they change."""
        if shape.calm != self._version or shape.quality is not None or now >= shape.quiet_until:
            return self._news(shape, everything, now)
        if same and shape.reports.only_changes and not shape.reports.doors:
            return None
        values, sent, sent_at = shape.values, self._sent_value, self._sent_at
        keep = []
        for at, i, band in shape.reports.bands:
            if band is not None:
                value, last = values[at], sent[i]
                if value == last or (band and -band <= value - last <= band):  # type: ignore[operator]
                    continue
                sent[i], sent_at[i] = value, now
            keep.append(at)
        if not shape.reports.doors:
            return _kept(everything, keep)
        early: list[tuple[int, Point]] = []
        for at, i in shape.reports.doors:
            if points := self._doors[i].offer(everything.time[at], values[at]):
                sent_at[i] = now
                early += [(i, point) for point in points]
        return self._ahead(early, _kept(everything, keep))

    def _news(self, shape: _Shape, everything: Batch, now: float) -> Batch | None:
        """Signal by signal: what was not said before."""
        values, quality = shape.values, shape.quality
        column = quality or [GOOD] * len(values)
        early: list[tuple[int, Point]] = []
        keep = [
            at
            for at, i in enumerate(shape.signal)
            if self._is_news(i, values[at], column[at], everything.time[at], now, early)
        ]
        good = [at for at, q in enumerate(column) if not is_bad(q)]
        shape.version, shape.sent_quality = self._version, quality
        shape.good = None if len(good) == len(values) else picker(good)
        if shape.changes:
            shape.calm = -1 if quality else self._version
            quiet = [i for _, i, band in shape.reports.bands if band is not None] + [i for _, i in shape.reports.doors]
            shape.quiet_until = min(self._sent_at[i] + self._rules[i].heartbeat for i in quiet)
        return self._ahead(early, _kept(everything, keep))

    def _ahead(self, early: Sequence[tuple[int, Point]], batch: Batch | None) -> Batch | None:
        """Readings that were held back, in front of those of now."""
        if not early:
            return batch
        held = Batch(self.header, [i for i, _ in early], [t for _, (t, _) in early], [v for _, (_, v) in early], None)
        if batch is None:
            return held
        quality = None if batch.quality is None else [*[GOOD] * len(early), *batch.quality]
        return Batch(
            self.header, [*held.signal, *batch.signal], [*held.time, *batch.time], [*held.value, *batch.value], quality
        )

    def _without_bad(self, shape: _Shape, batch: Batch) -> Batch | None:
        """What is bad was said before."""
        pick = shape.good
        assert pick is not None
        if not (signal := pick(batch.signal)):
            return None
        quality = pick(batch.quality) if batch.quality is not None else None
        return Batch(self.header, signal, pick(batch.time), pick(batch.value), quality)

    def _is_news(
        self, i: int, value: Value, quality: int, time: int, now: float, early: list[tuple[int, Point]]
    ) -> bool:
        """Whether this reading of signal i says something new; if so, it counts as sent.

        What has to be sent before it goes to `early`.
        """
        rule = self._rules[i]
        if is_bad(quality):
            again = self._bad.get(i) == quality
            if again and (rule.deadband is None or now - self._sent_at[i] < rule.heartbeat):
                return False
            if not again:
                self._bad[i] = quality
                self._version += 1
        elif self._bad.pop(i, None) is not None:
            self._version += 1
        if rule.deadband is None:
            return True
        if rule.door:
            return self._door_opens(i, value, quality, time, now, early)
        if quality == self._sent_quality[i] and now - self._sent_at[i] < rule.heartbeat:
            last = self._sent_value[i]
            if value == last or (rule.deadband and abs(value - last) <= rule.deadband):  # type: ignore[operator]
                return False
        self._sent_value[i], self._sent_quality[i], self._sent_at[i] = value, quality, now
        return True

    def _door_opens(
        self, i: int, value: Value, quality: int, time: int, now: float, early: list[tuple[int, Point]]
    ) -> bool:
        """As `_is_news`, behind a swinging door: lines go through good readings only."""
        door = self._doors[i]
        same = quality == self._sent_quality[i] and quality == GOOD
        if same and now - self._sent_at[i] < self._rules[i].heartbeat:
            points = door.offer(time, value)
            early += [(i, point) for point in points]
            if points:
                self._sent_at[i] = now
            return False
        if quality == GOOD:
            early += [(i, point) for point in door.restart(time, value)[:-1]]
        elif (held := door.end()) is not None:
            early.append((i, held))
        self._sent_value[i], self._sent_quality[i], self._sent_at[i] = value, quality, now
        return True


@dataclass(frozen=True, slots=True, eq=False)
class _ByIdentity:
    """A mapping that is hashed by its identity."""

    of: Mapping[str, SignalSettings]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _ByIdentity) and other.of is self.of

    def __hash__(self) -> int:
        return id(self.of)


@once_per_object
def _rules(raw: tuple[Signal, ...], settings: _ByIdentity) -> tuple[Sequence[Rule], Needs, tuple[Signal, ...]]:
    """The rules of these signals, and what they are when they leave. Machines with equal settings share them."""
    places = {signal.name: i for i, signal in enumerate(raw)}
    rules = [rule_of(signal, settings.of[signal.name], places) for signal in raw]
    return rules, needs_of(rules), tuple(rule.signal for rule in rules)


def _compile(rules: Sequence[Rule], needs: Needs, signal: Sequence[int]) -> tuple[Steps, _Reports, bool]:
    """What a shape is made of."""
    steps = Steps(rules, needs, signal)
    if not needs.deadbands:
        return steps, _ALL, False
    reports = _Reports(
        [(at, i, rules[i].deadband) for at, i in enumerate(signal) if not rules[i].door],
        [(at, i) for at, i in enumerate(signal) if rules[i].door],
        [(at, i) for at, i in enumerate(signal) if rules[i].beats],
        all(rules[i].deadband is not None for i in signal),
    )
    return steps, reports, reports.any_changes


_compiled = once_per_object(_compile)


def _kept(batch: Batch, keep: list[int]) -> Batch | None:
    """What is left of a batch."""
    if not keep:
        return None
    if len(keep) == len(batch):
        return batch
    signal, time, values, quality = batch.signal, batch.time, batch.value, batch.quality
    return Batch(
        batch.header,
        [signal[at] for at in keep],
        [time[at] for at in keep],
        [values[at] for at in keep],
        [quality[at] for at in keep] if quality else None,
    )
