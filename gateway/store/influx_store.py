"""A store that speaks line protocol: what it refuses, and what it forgets.

    batch ─▶ lines ─▶ post ─▶ taken
                        │    ▶ refused: halved down to the line: recorded as lost, kept as a dead letter
                        └─── ▶ StoreError: all of it held back

A point written twice is the same point, so nothing has to be remembered of what was stored.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import orjson

from gateway.clock import Clock, SystemClock
from gateway.errors import StoreError, StoreRefusedError
from gateway.model import MachinePath
from gateway.mqtt.payload import Loss, Meta, Ranges, milliseconds
from gateway.store.contract import Columns, Entry, Lost, Origin, Readings
from gateway.store.dead_letters import DeadLetters
from gateway.store.influx import InfluxConnection
from gateway.store.influx_query import query_v1
from gateway.store.line_protocol import Line, LineBuilder, Odd

RESEND = 30.0  # seconds: VictoriaMetrics acknowledges what it writes to its disk up to 12 s later
RESEND_BYTES = 32 * 2**20
AHEAD = 47 * 3600 * 10**9  # ns: VictoriaMetrics silently drops what lies more than two days ahead


class InfluxStore:
    """Writes to one bucket or data base; see gateway/store/contract.py for the contract."""

    remembers = False

    def __init__(
        self, connection: InfluxConnection, folder: Path, *, measurement: str = "machine", clock: Clock | None = None
    ) -> None:
        """`folder` takes dead letters and what has to outlive a restart."""
        self._connection, self._measurement = connection, measurement
        self._clock = clock or SystemClock()
        self._builder = LineBuilder(measurement)
        self._dead_letters = DeadLetters(folder / "dead-letters.jsonl")
        self._odd_path = folder / "not-good.json"
        self._odd: Odd = _read_odd(self._odd_path)
        self._recent: deque[tuple[float, bytes]] = deque()

    def close(self) -> None:
        self._connection.close()

    def stored(self) -> Mapping[Origin, Ranges]:
        return {}

    def tidy(self) -> bool:
        return False

    def write(self, batch: Sequence[Entry]) -> Sequence[Lost]:
        self._connection.detect()
        odd = {path: set(signals) for path, signals in self._odd.items()}
        owners: list[tuple[Line, Readings | Lost]] = []
        for entry in batch:
            if isinstance(entry, Meta):
                self._builder.describe(entry)
            elif isinstance(entry, Lost):
                owners.append((self._builder.loss(entry.gateway, entry.loss), entry))
            else:
                owners += [(line, entry) for line in self._builder.lines(entry.path, entry.data, odd)]
        losses = self._put(owners) if owners else []
        self._send_again()
        self._remember(owners)
        if odd != self._odd:
            self._odd = odd
            _write_odd(self._odd_path, odd)
        return losses

    def query(self, machine: str, signal: str, start: int, end: int, points: int | None = None) -> Columns:
        """See gateway/store/contract.py; v1 only. Raises StoreError."""
        return query_v1(self._connection.ask, self._measurement, machine, signal, start, end, points)

    # --- refusals ----------------------------------------------------------------------------------------------------

    def _put(self, owners: list[tuple[Line, Readings | Lost]]) -> list[Lost]:
        """Write all of them; what is refused for good comes back as lost."""
        try:
            if self._connection.forgetful and any(line.time > self._clock.now() + AHEAD for line, _ in owners):
                raise StoreRefusedError(
                    "VictoriaMetrics drops what lies more than two days ahead: set the machine's clock"
                )
            self._connection.post("\n".join(line.text for line, _ in owners).encode())
        except StoreRefusedError as exc:
            if len(owners) == 1:
                return self._give_up(*owners[0], str(exc))
            half = len(owners) // 2
            return self._put(owners[:half]) + self._put(owners[half:])
        return []

    def _give_up(self, line: Line, entry: Readings | Lost, reason: str) -> list[Lost]:
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
            record = self._builder.loss(data.gateway, loss, min(line.time, self._clock.now()))
            self._connection.post(record.text.encode())
        except StoreRefusedError as exc:
            self._refuses_everything(str(exc))
        self._dead_letters.add(
            [
                {
                    "t": milliseconds(self._clock.now()), "reason": reason, "gateway": data.gateway, "epoch": data.epoch,
                    "seq": data.seq, "line": line.text,
                }
            ]
        )  # fmt: skip
        return [Lost(data.gateway, data.seq, loss)]

    def _refuses_everything(self, reason: str) -> NoReturn:
        raise StoreError(
            f"{self._connection.url} refuses every line: {reason}: check store.token, store.bucket and the store's log"
        )

    # --- VictoriaMetrics: what was acknowledged just before it ended ---------------------------------------------------

    def _remember(self, owners: Sequence[tuple[Line, Readings | Lost]]) -> None:
        if not self._connection.forgetful:
            return
        now = self._clock.monotonic()
        self._recent.append((now, "\n".join(line.text for line, _ in owners).encode()))
        while self._recent and (
            self._recent[0][0] < now - RESEND or sum(len(body) for _, body in self._recent) > RESEND_BYTES
        ):
            self._recent.popleft()

    def _send_again(self) -> None:
        if self._connection.forgetful and self._connection.was_interrupted():
            for _, text in self._recent:
                with suppress(StoreRefusedError):  # was dealt with when it was new
                    self._connection.post(text)


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
