"""A store that speaks line protocol: what it refuses, and what it forgets.

    batch ─▶ lines ─▶ post ─▶ taken ─▶ unsettled, until the store has had it for so long that it is on its disk
                        │    ▶ refused: halved down to the line: recorded as lost, kept as a dead letter
                        └─── ▶ StoreError: all of it held back

A point written twice is the same point, so nothing has to be remembered of what was stored. After an interruption what
is not settled is written again, and waits anew. Should we end with the store, its gateway does the same.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn
from zlib import crc32

import orjson

from gateway.clock import Clock, SystemClock
from gateway.errors import StoreError, StoreRefusedError
from gateway.model import MachinePath
from gateway.mqtt.payload import Loss, Meta, Ranges, milliseconds
from gateway.store.contract import Columns, Entry, Lost, Origin, Readings
from gateway.store.dead_letters import DeadLetters
from gateway.store.identities import Identities, identities_of
from gateway.store.influx import InfluxConnection
from gateway.store.influx_query import query_v1
from gateway.store.line_protocol import Line, LineBuilder, Odd

SETTLES = 15.0  # seconds: VictoriaMetrics acknowledges what it writes to its disk up to 12 s later
MAX_UNSETTLED = 64 * 2**20  # bytes of lines kept; what is beyond comes again from its gateway, should it be lost
AHEAD = 47 * 3600 * 10**9  # ns: VictoriaMetrics silently drops what lies more than two days ahead


@dataclass(slots=True)
class _Unsettled:
    """What was taken a moment ago."""

    since: float  # monotonic
    identities: Mapping[Origin, Ranges]
    lines: bytes | None  # None: too much to be kept


class InfluxStore:
    """Writes to one bucket or data base; see gateway/store/contract.py for the contract."""

    remembers = False

    def __init__(
        self,
        connection: InfluxConnection,
        folder: Path,
        *,
        measurement: str = "machine",
        resend_after_outage: float | None = None,
        clock: Clock | None = None,
    ) -> None:
        """`folder` takes dead letters and what has to outlive a restart.

        `resend_after_outage`: seconds for which the store may still lose what it took; None: as long as it is known to.
        """
        self._settles = resend_after_outage
        self._connection, self._measurement = connection, measurement
        self._clock = clock or SystemClock()
        self._builder = LineBuilder(measurement)
        self._dead_letters = DeadLetters(folder / "dead-letters.jsonl")
        self._odd_path = folder / "not-good.json"
        self._odd: Odd = _read_odd(self._odd_path)
        self._unsettled: deque[_Unsettled] = deque()
        self._unsettled_bytes = 0
        self._again = False  # what is unsettled has to be written once more
        self._declared: dict[str, int] = {}  # by refused line: the time of its loss record, if it comes once more

    def close(self) -> None:
        self._connection.close()

    def stored(self) -> Mapping[Origin, Ranges]:
        return {}

    def tidy(self) -> bool:
        return False

    @property
    def settles(self) -> float:
        if self._settles is not None:
            return self._settles
        return SETTLES if self._connection.forgetful else 0.0

    def settled(self) -> Mapping[Origin, Ranges]:
        if not self._unsettled:
            return {}
        now = self._clock.monotonic()
        # What it took before it may be gone unless it still is the same process now.
        self._connection.probe()
        self._send_again()
        found: dict[Origin, Identities] = {}
        while self._unsettled and self._unsettled[0].since <= now - self.settles:
            oldest = self._unsettled.popleft()
            self._unsettled_bytes -= len(oldest.lines or b"")
            for origin, ranges in oldest.identities.items():
                found.setdefault(origin, Identities()).update(ranges)
        return {origin: identities.ranges() for origin, identities in found.items()}

    def write(self, batch: Sequence[Entry]) -> Sequence[Lost]:
        self._connection.detect()
        odd = {path: set(signals) for path, signals in self._odd.items()}
        owners: list[tuple[Line, Readings | Lost]] = []
        for entry in batch:
            if isinstance(entry, Meta):
                self._builder.describe(entry)
            elif isinstance(entry, Lost):
                owners.append(
                    (self._builder.loss(entry.gateway, entry.loss, self._apart(entry.loss.end, entry.seq)), entry)
                )
            else:
                owners += [(line, entry) for line in self._builder.lines(entry.path, entry.data, odd)]
        taken: list[bytes] = []
        losses = self._put(owners, taken) if owners else []
        self._remember(batch, taken)
        self._send_again()
        self._declared.clear()
        if odd != self._odd:
            self._odd = odd
            _write_odd(self._odd_path, odd)
        return losses

    def query(self, machine: str, signal: str, start: int, end: int, points: int | None = None) -> Columns:
        """See gateway/store/contract.py; v1 only. Raises StoreError."""
        return query_v1(self._connection.ask, self._measurement, machine, signal, start, end, points)

    # --- refusals ----------------------------------------------------------------------------------------------------

    def _put(self, owners: list[tuple[Line, Readings | Lost]], taken: list[bytes]) -> list[Lost]:
        """Write all of them; what is refused for good comes back as lost, the lines that were not in `taken`."""
        try:
            if self._connection.forgetful and any(line.time > self._clock.now() + AHEAD for line, _ in owners):
                raise StoreRefusedError(
                    "VictoriaMetrics drops what lies more than two days ahead: set the machine's clock",
                    fault="clock-wrong",
                )
            lines = "\n".join(line.text for line, _ in owners).encode()
            self._connection.post(lines)
        except StoreRefusedError as exc:
            if len(owners) == 1:
                return self._give_up(*owners[0], str(exc), taken)
            half = len(owners) // 2
            return self._put(owners[:half], taken) + self._put(owners[half:], taken)
        taken.append(lines)
        return []

    def _give_up(self, line: Line, entry: Readings | Lost, reason: str, taken: list[bytes]) -> list[Lost]:
        if isinstance(entry, Lost):
            self._refuses_everything(reason)
        data = entry.data
        loss = Loss(
            data.epoch, data.seq, data.seq, line.readings, line.time, line.time, f"refused by the store: {reason}",
            entry.path.machine,
        )  # fmt: skip
        try:
            # First the record, then the dead letter: a store that takes not even this is not refusing a reading.
            # At the latest now: VictoriaMetrics would drop the record of what lies ahead as well.
            now = self._declared.setdefault(line.text, self._clock.now())
            time = self._apart(min(line.time, now), crc32(line.text.encode()))
            record = self._builder.loss(data.gateway, loss, time).text.encode()
            self._connection.post(record)
        except StoreRefusedError as exc:
            self._refuses_everything(str(exc))
        taken.append(record)
        self._dead_letters.add(
            [
                {
                    "t": milliseconds(self._clock.now()), "reason": reason, "gateway": data.gateway, "epoch": data.epoch,
                    "seq": data.seq, "line": line.text,
                }
            ]
        )  # fmt: skip
        return [Lost(data.gateway, data.seq, loss)]

    def _apart(self, time: int, number: int) -> int:
        """Loss records of one moment must not replace each other, and the same one comes to the same place again."""
        step = 10**6 if self._connection.forgetful else 1  # VictoriaMetrics keeps milliseconds; stamps are microseconds
        return time // 1000 * 1000 + number % 1000 * step

    def _refuses_everything(self, reason: str) -> NoReturn:
        raise StoreError(
            f"{self._connection.url} refuses every line: {reason}: check store.token, store.bucket and the store's log",
            fault="store-refuses",
        )

    # --- what may still be lost ----------------------------------------------------------------------------------------

    def _remember(self, batch: Sequence[Entry], taken: Sequence[bytes]) -> None:
        identities = identities_of(batch)
        if not self.settles or not identities:
            return
        lines = b"\n".join(taken)
        self._unsettled.append(_Unsettled(self._clock.monotonic(), identities, lines))
        self._unsettled_bytes += len(lines)
        for each in self._unsettled:
            if self._unsettled_bytes <= MAX_UNSETTLED:
                break
            self._unsettled_bytes -= len(each.lines or b"")
            each.lines = None

    def _send_again(self) -> None:
        self._again = self._connection.was_interrupted() or self._again
        if not self._again:
            return
        kept = deque(each for each in self._unsettled if each.lines is not None)
        for each in kept:
            with suppress(StoreRefusedError):  # it was taken once, and is what it was
                self._connection.post(each.lines or b"")
        self._unsettled = kept  # of the others no gateway hears that they are stored
        now = self._clock.monotonic()
        for each in self._unsettled:
            each.since = now
        self._again = False


def _read_odd(path: Path) -> Odd:
    """Which signals were not good when we ended: else a quality that returned meanwhile would look bad for ever."""
    try:
        return {MachinePath(*machine): set(signals) for machine, signals in orjson.loads(path.read_bytes())}
    except (OSError, ValueError, TypeError):
        return {}


def _write_odd(path: Path, odd: Odd) -> None:
    rows = [
        [[p.machine, p.enterprise, p.site, p.area, p.line], sorted(signals)] for p, signals in odd.items() if signals
    ]
    new = path.with_name(path.name + ".new")
    with suppress(OSError):  # it only spares a wrong colour after a restart
        path.parent.mkdir(parents=True, exist_ok=True)
        new.write_bytes(orjson.dumps(rows))
        new.replace(path)
