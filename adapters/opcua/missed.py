"""What a machine had and we have not: while nobody listened, and where its server's queues were full.

    signs of life ─▶ an outage ─┬─ signals with history ─▶ Backfill ─▶ what stays missing ─┐
                                └─ the others ────────────────────────────────────────────┴─▶ Gap
    overflow bits ─▶ put together for some seconds ─▶ Gap

Times are ns since 1970: by our clock in a Gap, by the server's where its history is asked for.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from adapters.opcua import history
from adapters.opcua.history import Backfill, Wanted
from adapters.opcua.nodes import NodeId
from gateway.model import Gap, Header, quality_text

_WINDOW = 60_000_000_000  # ns in which two clocks are compared: they drift, and somebody sets them
_NEVER = -(2**63)
_TOGETHER = 10_000_000_000  # ns for which overflows are put into one loss record


class Missed:
    """Of one machine."""

    def __init__(self, longest: float) -> None:
        """`longest`: seconds of an outage that are fetched from a server with history."""
        self.alive = 0  # the last sign of life of what is subscribed to; 0: none yet
        self.backfill: Backfill | None = None
        self._longest = longest
        self._ahead = 0  # of the server's clock before ours
        self._best = self._best_before = _NEVER  # of it in this window and the one before
        self._since = 0  # when this window began
        self._lost: tuple[int, int] | None = None  # the outage whose history is fetched, by our clock
        self._last: dict[int, int] = {}  # signal with history -> time of its last value
        self._remembering: Mapping[int, NodeId] = {}
        self._overflow: tuple[set[int], int, int] | None = None
        self._told = 0  # when overflows were declared last
        self._overwritten = 0  # until when it was declared that values were written over

    def heard(self, arrival: int, server: int) -> None:
        """A sign of life: when it arrived, and when it was sent by the server's clock.

        It tells nothing of the time it was on its way, which a bad line makes long. How far the clocks are apart is
        told best by the sign that took least; where both times are the same, nothing is known of the server's.
        """
        if server == arrival:
            self.alive, self._ahead = arrival, 0
            return
        if not 0 <= arrival - self._since < _WINDOW:
            self._best_before, self._best, self._since = self._best, _NEVER, arrival
        self._best = max(self._best, server - arrival)
        self._ahead = max(self._best, self._best_before)
        self.alive = server - self._ahead

    def began(self, now: int) -> None:
        """Somebody listens from now on. Until the server's clock is seen, it is what it was."""
        self.alive, self._best, self._best_before, self._since = now, _NEVER, _NEVER, 0

    def delivered(self, signal: Iterable[int], time: Iterable[int]) -> None:
        """Values that were handed on."""
        if self._remembering:
            remembering, last = self._remembering, self._last
            last.update((i, t) for i, t in zip(signal, time, strict=True) if i in remembering)

    # --- overflows ---------------------------------------------------------------------------------------------------

    def overflowed(self, signals: Iterable[int], since: int, until: int) -> None:
        """The server dropped values of these signals, somewhere in between."""
        before, start, _ = self._overflow or (set[int](), since, until)
        before.update(signals)
        self._overflow = before, start, until

    def overflows(self, header: Header, now: int, last: bool = False) -> list[Gap]:
        """What is to be declared of them by now; all of it, if nothing comes after."""
        if self._overflow is None or (0 <= now - self._told < _TOGETHER and not last):  # a clock may be set back
            return []
        (signals, start, end), self._overflow, self._told = self._overflow, None, now
        return [Gap(header, sorted(signals), start, end, 0, "server-queue-overflow: the server kept too few values")]

    def overwritten(self, header: Header, signals: Sequence[int], now: int) -> list[Gap]:
        """Nobody asked until now, and of these signals the server has kept one value only, which it need not say."""
        start, self._overwritten = max(self.alive, self._overwritten), now
        cause = "link-lost: the server keeps only the newest value"
        return [Gap(header, signals, start, now, 0, cause)] if signals else []

    # --- outages -----------------------------------------------------------------------------------------------------

    def outage(
        self,
        header: Header,
        now: int,
        subscribed: Sequence[int],
        remembering: Mapping[int, NodeId],
        first: Mapping[int, int],
    ) -> list[Gap]:
        """Nobody listened until now: what is missing for good; the rest is in `backfill`.

        `remembering`: the signals with history, and their nodes. `first`: the time of their first value since.
        """
        rest = self.backfill.rest() if self.backfill else []
        wanted = [each._replace(node=remembering[each.signal]) for each in rest if each.signal in remembering]
        gaps = [
            self._gap(header, [each.signal], each.after, each.before, "no longer kept by the server")
            for each in rest
            if each.signal not in remembering
        ]
        start, self._remembering = self.alive, remembering
        if start:
            for i, node in remembering.items():
                lost, found = start + self._ahead, now + self._ahead
                if (span := history.gap(self._last.get(i, 0), first.get(i, 0), lost, found, self._longest)) is not None:
                    wanted.append(Wanted(i, node, *span))
                    if span[0] > max(self._last.get(i, 0), lost):
                        gaps.append(self._gap(header, [i], lost, span[0], "longer ago than `history` reaches"))
            without = [i for i in subscribed if i not in remembering] if self._longest else subscribed
            if without:
                signals = [] if len(without) == len(header.signals) else list(without)
                gaps.append(Gap(header, signals, start, now, 0, "link-lost: what changed meanwhile was not kept"))
        self.backfill = Backfill(wanted) if wanted else None
        return gaps

    def filled(self, header: Header) -> list[Gap]:
        """The backfill is done: what it could not bring."""
        backfill, self.backfill = self.backfill, None
        alike: dict[tuple[int, int, int], list[int]] = defaultdict(list)
        for each in backfill.unfilled() if backfill else ():
            alike[each.after, each.before, each.status].append(each.signal)
        return [
            self._gap(
                header, signals, after, before, quality_text(status) if status else "more than is fetched at once"
            )
            for (after, before, status), signals in alike.items()
        ]

    def _gap(self, header: Header, signals: Sequence[int], after: int, before: int, why: str) -> Gap:
        start, end = after - self._ahead, before - self._ahead
        return Gap(header, signals, start, end, 0, f"link-lost: the server's history has not all of it ({why})")
