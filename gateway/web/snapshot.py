"""What the status page shows, worked out from what passes by. Pure: no I/O, and time is an argument.

    Board.update(batch)    keeps the columns of the batch        at every poll: O(1) where it holds every signal
    Condition.set(…)       machine, broker or store: a change    when it happens
    Board.lost(loss)       keeps the newest loss records         when one is declared
    Board.snapshot(…)      all of it as one dict for JSON        once a second, and only while somebody looks

An old value must never look fresh: every reading goes out with its age, and one that is not good with its quality and
since when it has been so.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Container, Sequence
from dataclasses import asdict, dataclass, field
from itertools import compress, islice, repeat
from typing import Any, Literal, Protocol

from gateway.clock import artificial
from gateway.counters import FlowCounters
from gateway.faults import fault_of
from gateway.model import BAD, GOOD, UNCERTAIN, WAITING_FOR_DATA, Batch, Header, Value, is_bad, is_good, quality_text
from gateway.mqtt.payload import Loss

State = Literal["online", "degraded", "offline", "unused"]

STARTING = "starting"  # the reason before anything was heard; the page has words for it
LOSSES = 20  # the newest ones that are shown
CLOSE = 0.1  # seconds by which two looks may be nearer to each other than they should
SLOWEST = 60.0  # seconds: what is polled less often than that would keep a rate unknown for too long
TAKEN_OUT = ("thinned:", "buffer-full: of low priority")  # causes of gateway/buffer/reduce.py
SAFE = 2**53 - 1  # JavaScript's Number.MAX_SAFE_INTEGER: what lies beyond leaves as text


class Usage(Protocol):
    """How full the buffer is, and how it stands with its disk; `gateway.buffer.Usage` is one."""

    @property
    def records(self) -> int: ...
    @property
    def bytes(self) -> int: ...
    @property
    def max_bytes(self) -> int: ...
    @property
    def dropped(self) -> int: ...
    @property
    def unsafe(self) -> int: ...
    @property
    def trouble(self) -> str: ...


@dataclass(slots=True)
class Condition:
    """How something stands, since when (ns since 1970), and why."""

    state: State
    since: int
    reason: str = ""
    fault: str = ""  # the code of the reason, where it has one

    def set(self, state: State, now_ns: int, reason: str = "", fault: str = "") -> None:
        """Note how it stands now. `since` moves only when the state changes, the reason may change within it.

        `fault` is taken from a reason that knows it.
        """
        if state != self.state:
            self.state, self.since = state, now_ns
        self.reason, self.fault = reason, fault or fault_of(reason)

    def snapshot(self) -> dict[str, Any]:
        return {
            "state": self.state, "since_ms": self.since // 1_000_000, "reason": self.reason, "fault": self.fault,
        }  # fmt: skip


class Latest:
    """The newest reading of every signal of one machine."""

    def __init__(self, header: Header, now_ns: int) -> None:
        """Every signal waits for its first value, from `now_ns` on."""
        n = len(header.signals)
        self.header = header
        self._time: Sequence[int] = (0,) * n  # 0: never
        self._value: Sequence[Value] = (None,) * n
        self._quality: Sequence[int] | None = (WAITING_FOR_DATA,) * n
        self._own: tuple[list[int], list[Value], list[int]] | None = None  # the three, where they are not of a batch
        self._since = dict.fromkeys(header.order, now_ns)  # of those that are not good: when they became so
        self._news = [i for i, signal in enumerate(header.signals) if signal.kind == "event"]
        self._known: dict[int, tuple[int, Value]] = {}  # of those that are bad: the last value they had, and when

    def update(self, batch: Batch) -> None:
        """Take over what is new. The columns of a batch with every signal are kept, not copied: nobody changes them."""
        if batch.signal is self.header.order:
            self._note_changes(batch)
            self._time, self._value, self._quality = batch.time, batch.value, batch.quality
            self._own = None
            return
        time, value, quality = self._own or self._copies()
        for i, t, v, q in zip(batch.signal, batch.time, batch.value, batch.quality or repeat(GOOD), strict=False):
            if q != quality[i]:
                self._note_change(i, t, q)
                self._keep_known(i, q, time[i], value[i])
            time[i], value[i], quality[i] = t, v, q

    @property
    def newest(self) -> Batch:
        """The newest reading of every signal that has one, oldest first."""
        quality = self._quality or (GOOD,) * len(self._time)
        there = sorted((t, i) for i, t in enumerate(self._time) if t)
        order = [i for _, i in there]
        return Batch(
            self.header, order, [t for t, _ in there], [self._value[i] for i in order], [quality[i] for i in order]
        )

    def _copies(self) -> tuple[list[int], list[Value], list[int]]:
        """Columns of our own: those of a batch belong to others as well."""
        quality = [GOOD] * len(self.header.signals) if self._quality is None else list(self._quality)
        self._own = own = list(self._time), list(self._value), quality
        self._time, self._value, self._quality = own
        return own

    def _note_changes(self, batch: Batch) -> None:
        """The usual cases cost nothing: all good as before, or the same column of qualities as before."""
        if batch.quality == self._quality:
            return
        if batch.quality is None:
            self._since, self._known = {}, {}
            return
        for i, t, was, q in zip(
            batch.signal, batch.time, self._quality or repeat(GOOD), batch.quality or repeat(GOOD), strict=False
        ):
            if was != q:
                self._note_change(i, t, q)
                self._keep_known(i, q, self._time[i], self._value[i])

    def _note_change(self, signal: int, time_ns: int, quality: int) -> None:
        if is_good(quality):
            self._since.pop(signal, None)
        else:
            self._since[signal] = time_ns

    def _keep_known(self, signal: int, quality: int, time_ns: int, value: Value) -> None:
        """The last value stays known when there is none any more, apart from what is true now."""
        if not is_bad(quality):
            self._known.pop(signal, None)
        elif value is not None and signal not in self._known:
            self._known[signal] = time_ns, value

    def snapshot(self, now_ns: int, only: Container[int] | None = None) -> list[dict[str, Any]]:
        """One entry per signal, or of `only` these, in the order of the header. `last`: of one that has no value now."""
        return [self.row(i, now_ns) for i in self.header.order if only is None or i in only]

    def row(self, i: int, now_ns: int) -> dict[str, Any]:
        """The entry of one signal."""
        signal, t, value = self.header.signals[i], self._time[i], self._value[i]
        quality = GOOD if self._quality is None else self._quality[i]
        if is_bad(quality):
            value = None
        row: dict[str, Any] = {
            "name": signal.name,
            "type": signal.type,
            "unit": signal.unit,
            "value": json_value(value),
            "text": text_of(value),
            "quality": quality_text(quality),
            "t": t / 1e6 if t else None,
            "age_s": round((now_ns - t) / 1e9, 3) if t else None,
        }
        if i in self._since:
            row["since_ms"] = self._since[i] // 1_000_000
        if i in self._known:
            known_at, known = self._known[i]
            row["last"] = {"value": json_value(known), "text": text_of(known), "t": known_at / 1e6}
        return row

    def reading(self, i: int) -> tuple[int, Value, int]:
        """Time (0: never), value and quality of one signal; there is no value where it is bad."""
        quality = GOOD if self._quality is None else self._quality[i]
        return self._time[i], None if is_bad(quality) else self._value[i], quality

    def counts(self) -> dict[str, int]:
        """How many signals are good, uncertain and bad. An event that has not happened yet is none of them."""
        n = len(self.header.signals)
        if self._quality is None:
            return {"good": n, "uncertain": 0, "bad": 0}
        bad = sum(map(BAD.__le__, self._quality))
        uncertain = sum(map(UNCERTAIN.__le__, self._quality)) - bad
        good = n - uncertain - bad
        return {"good": good, "uncertain": uncertain, "bad": bad - sum(not self._time[i] for i in self._news)}

    @property
    def newest_ns(self) -> int:
        """The time of the newest reading that is not bad; 0 where there is none. Of those that are bad the last one counts that was not.

        A poll without an answer makes readings, too: of a machine that is silent they are always fresh.
        """
        known = max((time for time, _ in self._known.values()), default=0)
        if self._quality is None:
            return max(known, max(self._time, default=0))
        return max(known, max(compress(self._time, map(BAD.__gt__, self._quality)), default=0))


def json_value(value: Value) -> Value:
    """As it can be read back exactly from JSON by a browser: an integer beyond 2^53 as text."""
    return str(value) if isinstance(value, int) and not -SAFE <= value <= SAFE else value


def text_of(value: Value) -> str | None:
    """For people: integers whole, floats with six digits but never with less than their integer part.

    Text without line ends and whatever else would move the cursor or change the terminal: a machine says what it likes.
    """
    match value:
        case None:
            return None
        case str():
            return value if value.isprintable() else "".join(c if c.isprintable() else " " for c in value)
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
    text = f"{value:.6g}"
    if "e+" in text and abs(value) < 1e15:  # an energy meter reads 12345678, not 1.23457e+07
        text = f"{value:.0f}"
    return "0" if text == "-0" else text


def loss_row(loss: Loss, declared_ns: int) -> dict[str, Any]:
    """A loss record. What never had a message, such as what a machine dropped, has no `messages`.

    Neither has what was taken out of some: between the first and the last of them are those of other machines.
    """
    apart = not loss.first or loss.cause.startswith(TAKEN_OUT)
    return {
        "t": known_ms(declared_ns),
        "from_ms": known_ms(loss.start),
        "to_ms": known_ms(loss.end),
        "count": loss.count,
        "messages": 0 if apart else loss.last - loss.first + 1,
        "machine": loss.machine,
        "signal": loss.signal,
        "cause": loss.cause,
    }


def known_ms(time_ns: int) -> int | None:
    """None for no time at all, and for one of a boot in which the time was not known: it would be shown as 1990."""
    return None if not time_ns or artificial(time_ns) else time_ns // 1_000_000


def disk_row(usage: Usage) -> dict[str, Any]:
    """The buffer as it stands with its disk."""
    return {
        "records": usage.records,
        "bytes": usage.bytes,
        "max_bytes": usage.max_bytes,
        "dropped": usage.dropped,
        "unsafe": usage.unsafe,
        "trouble": usage.trouble,
        "fault": fault_of(usage.trouble),
    }


class Rate:
    """How fast a total grows, over about the last ten seconds, from looking at it now and then.

    What is read comes in lumps, one for each poll: half of a poll more or less would be a third of a lump too much or
    nothing at all. So it is measured over whole polls, as many as fit.
    """

    WINDOW = 10.0
    LEAST = 2.0  # seconds: in less than that one lump is half of all

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def __call__(self, total: int, monotonic: float, whole: float = 1.0) -> float | None:
        """Per second; None as long as there is nothing recent to compare with. `whole`: seconds between two lumps."""
        self.note(total, monotonic, whole)
        seen, window = self._seen, self._window(whole)
        now, total = seen[-1]  # two looks that are no whole number of polls apart would be of one too many or too few
        age = now - seen[0][0]
        if age < max(self.LEAST, whole) - CLOSE:
            return None
        if age < window:
            window = whole * max(1.0, (age + CLOSE) // whole)
        # Of the looks before the newest: where nobody looked for longer than the window, that one is the nearest to it.
        since, before = min(islice(seen, len(seen) - 1), key=lambda each: abs(now - each[0] - window))
        return round((total - before) / (now - since), 1)

    def note(self, total: int, monotonic: float, whole: float = 1.0) -> None:
        """A look that nobody asked for: so that the first who asks has an answer."""
        seen, window = self._seen, self._window(whole)
        while len(seen) > 1 and monotonic - seen[1][0] >= window:
            seen.popleft()
        if seen and monotonic - seen[0][0] > 3 * window:  # nobody looked for a while
            seen.clear()
        if not seen or monotonic - seen[-1][0] >= 0.4:
            seen.append((monotonic, total))

    def _window(self, whole: float) -> float:
        """As many whole polls as it takes to come to ten seconds."""
        return whole * max(1.0, -(-self.WINDOW // whole))


_INTERVALS = ("shift", "hour", "day", "demand")
_FIGURES = (
    "availability", "performance", "quality", "oee", "good", "reject", "energy", "energy_per_part", "co2e", "power",
)  # fmt: skip


def _asked_for(name: str) -> bool:
    """Of the figures those that people ask for; all that is no figure."""
    interval, dot, figure = name.partition(".")
    return not dot or interval not in _INTERVALS or figure in _FIGURES


@dataclass(slots=True, eq=False)
class Machine:
    """One tile of the page."""

    latest: Latest
    condition: Condition
    derived: Latest | None = None  # of the signals that are worked out
    shown: Container[int] = ()  # those of them that people ask for

    def worked_out(self, now_ns: int) -> list[dict[str, Any]]:
        """What is worked out and has a value; of the figures those that people ask for."""
        rows = self.derived.snapshot(now_ns, self.shown) if self.derived is not None else []
        return [row for row in rows if row["value"] is not None]

    def signals(self, now_ns: int) -> dict[str, Any]:
        """A row for each."""
        return {"signals": self.latest.snapshot(now_ns) + self.worked_out(now_ns)}

    def in_short(self, now_ns: int) -> dict[str, Any]:
        """What a tile says of them."""
        newest = self.latest.newest_ns
        return {"counts": self.latest.counts(), "age_s": round((now_ns - newest) / 1e9, 3) if newest else None}

    @property
    def newest(self) -> list[Batch]:
        """The newest readings of its signals."""
        return [latest.newest for latest in (self.latest, self.derived) if latest is not None]


@dataclass(slots=True, eq=False)
class Board:
    """All that the page shows. Kept up to date by the runtime, on the event loop."""

    gateway: str
    version: str
    delivery: Literal["store", "broker"]
    counters: FlowCounters
    usage: Callable[[], Usage]
    started_ns: int
    started: float  # monotonic
    machines: dict[str, Machine] = field(default_factory=dict)
    losses: deque[tuple[int, Loss]] = field(default_factory=lambda: deque(maxlen=LOSSES))  # when declared; newest first
    broker: Condition = field(init=False)
    store: Condition = field(init=False)
    rate: Rate = field(default_factory=Rate, init=False)  # of readings
    slowest: float = field(default=1.0, init=False)  # seconds between two polls of what is polled least often

    def __post_init__(self) -> None:
        self.broker = Condition("offline", self.started_ns, STARTING)
        self.store = (
            Condition("offline", self.started_ns, STARTING)
            if self.delivery == "store"
            else Condition("unused", self.started_ns)
        )

    def add(self, header: Header, now_ns: int, part: str = "machine") -> Machine:
        """Show a machine, or the new signals of one that is shown. Until something is heard it is offline.

        `part`: `derived` for signals that are worked out, beside those of the machine itself, which come first.
        """
        name = header.path.machine
        known = self.machines.get(name)
        if part == "derived" and known is not None:
            known.derived = Latest(header, now_ns)
            known.shown = {i for i, signal in enumerate(header.signals) if _asked_for(signal.name)}
            return known
        condition = known.condition if known else Condition("offline", now_ns, STARTING)
        derived, shown = (known.derived, known.shown) if known else (None, ())
        machine = self.machines[name] = Machine(Latest(header, now_ns), condition, derived, shown)
        return machine

    def update(self, batch: Batch) -> None:
        """Show what a batch brought, of a machine that was added. A header may be replaced when types are learnt."""
        machine = self.machines[batch.header.path.machine]
        if machine.derived is not None and machine.derived.header is batch.header:
            machine.derived.update(batch)
            return
        if machine.latest.header is not batch.header:
            machine.latest = Latest(batch.header, max(batch.time, default=self.started_ns))
        machine.latest.update(batch)

    def note(self, monotonic: float, slowest: float) -> None:
        """About twice a second, whether anybody looks or not: `slowest` are the seconds between two polls at the most."""
        self.slowest = min(SLOWEST, max(1.0, slowest))
        self.rate.note(sum(each.read for each in self.counters.machines.values()), monotonic, self.slowest)

    def lost(self, loss: Loss, now_ns: int) -> None:
        """Show a loss record that was declared."""
        self.losses.appendleft((now_ns, loss))

    def snapshot(self, now_ns: int, monotonic: float, signals: bool = True) -> dict[str, Any]:
        """Everything, ready for JSON. Times are ms since 1970, ages seconds.

        Without `signals` a machine has `counts` of them by quality, and the `age_s` of the newest reading, in their place: of
        100,000 signals the rows are 12 MB.
        """
        counters, total = self.counters, self.counters.total()
        return {
            "v": 1,
            "t": now_ns / 1e6,
            "gateway": {
                "id": self.gateway,
                "version": self.version,
                "delivery": self.delivery,
                "uptime_s": round(monotonic - self.started, 1),
            },
            "flow": {
                "readings_per_s": self.rate(total.read, monotonic, self.slowest),
                "read": total.read,
                "bad": total.bad,
                "suppressed": total.suppressed,
                "accepted": total.accepted,
                "messages": total.messages,
                "sent": counters.sent,
                "refused": counters.refused,
                "stored": counters.stored,
                "rewinds": counters.rewinds,
                "lost": counters.lost,
                "thinned": counters.thinned,
            },
            "buffer": disk_row(self.usage()),
            "losses": [loss_row(loss, declared) for declared, loss in self.losses],
            "broker": self.broker.snapshot(),
            "store": self.store.snapshot(),
            "machines": [
                {
                    "name": name,
                    "path": machine.latest.header.path.levels(),
                    **machine.condition.snapshot(),
                    "counters": asdict(counters.of(name)),
                    **(machine.signals(now_ns) if signals else machine.in_short(now_ns)),
                }
                for name, machine in self.machines.items()
            ],
        }

    def troubles(self) -> list[str]:
        """What is not connected or cannot be written, in words; empty when all is well."""
        trouble = self.usage().trouble
        all_of = {"broker": self.broker, "store": self.store}
        all_of |= {name: machine.condition for name, machine in self.machines.items()}
        return [
            f"{name}: offline" + (f": {condition.reason}" if condition.reason else "")
            for name, condition in all_of.items()
            if condition.state == "offline"
        ] + ([f"buffer: {trouble}"] if trouble else [])
