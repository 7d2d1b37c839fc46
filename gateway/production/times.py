"""How the time of a machine divides, by ISO 22400-2: exact to the nanosecond, nothing counted twice, nothing left out.

    the window ───────────────────────────────────────────────────────────────────────────────
    off shift │ breaks │ planned operation time (POT)
                         planned downtime (PDOT) │ planned busy time (PBT)
                         words in `planned`        production (APT)   running, and micro-stops
                                                   setup (AUST)       setup
                                                   delay (ADET)       waiting, held, stopped, fault
                                                   down (ADOT)        idle, off, maintenance
                                                   unknown            nobody was told

The calendar says what is planned, the states say what happened; only within the planned operation time the two are laid
over each other. What a machine does in a break or off shift is told apart (`outside`), and changes no figure.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from gateway.production.calendar import Span, SpanKind, WorkCalendar
from gateway.production.history import History, Piece

# Where time of the planned busy time belongs. ADET is what delays an order that is being worked on ("malfunction-caused
# interrupts, minor stoppages, and other unplanned time intervals"), ADOT the time in which a work unit does not work on an
# order although it could: ISO 22400-2:2014, clause 5; OPC 40001-1, Annex C.2, reads it in the same way.
CLASSES: Mapping[str, str] = {
    "running": "production",
    "setup": "setup",
    "waiting": "delay",
    "held": "delay",
    "stopped": "delay",
    "fault": "delay",
    "idle": "down",
    "off": "down",
    "maintenance": "down",
    "unknown": "unknown",
}
# What can be a micro-stop: not setup, maintenance or off, which somebody decides on, and never what is not known.
STOPS = ("idle", "waiting", "held", "stopped", "fault")


@dataclass(slots=True)
class Times:
    """The times of one window in ns. These sums always hold:

    window = off_shift + breaks + operation;  operation = planned_down + busy;
    busy = production + setup + delay + down + unknown;  window = sum(by_state)
    """

    window: int
    off_shift: int = 0
    breaks: int = 0
    operation: int = 0  # POT
    planned_down: int = 0  # PDOT
    busy: int = 0  # PBT
    production: int = 0  # APT, micro-stops included
    setup: int = 0  # AUST, as far as it is not planned
    delay: int = 0  # ADET
    down: int = 0  # ADOT
    unknown: int = 0
    micro: int = 0  # part of production
    micro_stops: int = 0  # whose first time to work is here
    failure: int = 0  # `fault`, part of delay: TTR
    failures: int = 0  # whose first time to work is here: FE
    outside: int = 0  # running in breaks and off shift
    by_state: dict[str, int] = field(default_factory=dict)  # of the whole window, micro-stops as what they were
    lost_by_state: dict[str, int] = field(default_factory=dict)  # of setup, delay and down
    lost_by_reason: dict[tuple[str, str], int] = field(default_factory=dict)  # by state and reason


def sweep(pieces: Iterable[Piece], spans: Sequence[Span]) -> Iterator[tuple[int, int, Piece, SpanKind]]:
    """Both laid over each other, from the start to the end of both: (start, end, piece, kind of span)."""
    i = 0
    for piece in pieces:
        at, piece_end = piece.start_ns, piece.end_ns
        while at < piece_end:
            end = min(piece_end, spans[i].end_ns)
            yield at, end, piece, spans[i].kind
            at = end
            if end == spans[i].end_ns:
                i += 1


def micro_stops(
    history: History, start_ns: int, end_ns: int, longest_ns: int, planned: Collection[str] = ()
) -> list[tuple[int, int]]:
    """Standstills between two `running` that are not longer, and have a part in [start, end): whole, in their order."""
    if longest_ns <= 0:
        return []
    found: list[tuple[int, int]] = []
    began: int | None = None  # of a standstill that follows `running`
    # One that reaches into the window begins less than `longest` before it, and is over less than that behind it.
    for piece in history.pieces(start_ns - longest_ns, end_ns + longest_ns):
        if piece.word == "running":
            over = piece.start_ns
            if began is not None and began < min(over, end_ns) and over > start_ns and over - began <= longest_ns:
                found.append((began, over))
            began = piece.end_ns
        elif piece.word not in STOPS or piece.word in planned:
            began = None
    return found


def times_of(
    history: History,
    start_ns: int,
    end_ns: int,
    calendar: WorkCalendar,
    *,
    planned: Collection[str] = (),
    micro_ns: int = 0,
) -> Times:
    """How the time from start to end divides. `planned`: states that are planned downtime within a shift."""
    times = Times(end_ns - start_ns)
    micro = micro_stops(history, start_ns, end_ns, micro_ns, planned)
    by_state, lost = defaultdict[str, int](int), defaultdict[tuple[str, str], int](int)
    in_plan = defaultdict[str, int](int)  # by class
    stop = 0  # the micro-stop that is next
    # A failure or a micro-stop counts once: where its first time to work is.
    counted = _counted_before(history, start_ns, calendar, micro)
    for begin, end, piece, kind in sweep(history.pieces(start_ns, end_ns), calendar.spans(start_ns, end_ns)):
        word, length = piece.word, end - begin
        by_state[word] += length
        while stop < len(micro) and micro[stop][1] <= begin:
            stop += 1
        small = stop < len(micro) and micro[stop][0] <= begin
        if word == "running" or (word != "fault" and not small):
            counted = False
        if kind != "work":
            times.breaks += length if kind == "break" else 0
            times.outside += length if word == "running" else 0
            continue
        times.operation += length
        if word in planned:
            times.planned_down += length
            continue
        if small:
            in_plan["production"] += length
            times.micro += length
            times.micro_stops += not counted
            counted = True
            continue
        in_plan[CLASSES[word]] += length
        if word == "fault":
            times.failure += length
            times.failures += not counted
            counted = True
        if word not in ("running", "unknown"):
            lost[word, piece.reason] += length
    times.off_shift = times.window - times.operation - times.breaks
    times.busy = times.operation - times.planned_down
    for name, length in in_plan.items():
        setattr(times, name, length)
    times.by_state, times.lost_by_reason = dict(by_state), dict(lost)
    for (word, _), length in lost.items():
        times.lost_by_state[word] = times.lost_by_state.get(word, 0) + length
    return times


def _counted_before(history: History, start_ns: int, calendar: WorkCalendar, micro: Sequence[tuple[int, int]]) -> bool:
    """Whether the micro-stop or the failure that the window begins with had time to work before it: it counts there."""
    began = micro[0][0] if micro and micro[0][0] < start_ns else history.since(start_ns, ("fault",))
    return began < start_ns and calendar.works_within(began, start_ns)
