"""The way of the data, stage by stage: how much, how fast, how far behind, and what waits in the buffer.

read ─▶ normalized ─▶ accepted ─▶ sent ─▶ stored
└────── readings ────────────┘   └── messages ──┘
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gateway.web.snapshot import Board, Rate, disk_row, known_ms, loss_row
from gateway.web.sources import Sources, Way

_UNITS = {
    "read": "readings",
    "normalized": "readings",
    "accepted": "readings",
    "sent": "messages",
    "stored": "messages",
}
FEW = 20  # records that are no backlog
MOMENTS = 10.0  # seconds in which what comes is none either
_MOST = 10 * 365 * 86400.0  # seconds: what takes longer will not come


class Flow:
    """Remembers what was counted before: a rate is a difference. One for all who look on."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._rates = {stage: Rate() for stage in _UNITS}
        self._counters: object = None

    def __call__(self) -> dict[str, Any]:
        """As it is now."""
        sources, board = self._sources, self._sources.board
        now_ns, monotonic = sources.clock.now(), sources.clock.monotonic()
        way = None if sources.way is None else sources.way()
        if self._counters is not board.counters:
            self._counters, self._rates = board.counters, {stage: Rate() for stage in _UNITS}
        totals, lags = _totals(board), dict(_lags(board, way, now_ns, monotonic))
        letters = None if way is None or way.dead_letters is None else way.dead_letters
        return {
            "t": now_ns / 1e6,
            "stages": [
                {
                    "name": stage,
                    "unit": unit,
                    "total": totals[stage],
                    "per_s": self._rates[stage](totals[stage], monotonic, board.slowest),
                    "lag_s": lags.get(stage),
                }
                for stage, unit in _UNITS.items()
            ],
            "buffer": _buffer(board, way, now_ns, monotonic),
            "losses": [loss_row(loss, declared) for declared, loss in board.losses],
            "dead_letters": None if letters is None else {"count": letters[0], "file": letters[1]},
            "bad": board.counters.total().bad,
            "suppressed": board.counters.total().suppressed,
            "lost": board.counters.lost,
            "thinned": board.counters.thinned,
            "refused": board.counters.refused,
            "rewinds": board.counters.rewinds,
            "broker": board.broker.snapshot(),
            "store": board.store.snapshot(),
        }


def _totals(board: Board) -> dict[str, int]:
    total = board.counters.total()
    return {
        "read": total.read,
        "normalized": total.read + total.marks + total.derived,
        "accepted": total.accepted,
        "sent": board.counters.sent,
        "stored": board.counters.stored,
    }


def _lags(board: Board, way: Way | None, now_ns: int, monotonic: float) -> Iterator[tuple[str, float | None]]:
    """Seconds by which each stage is behind: the age of the newest reading, then of the oldest record that waits for it."""
    newest = max((machine.latest.newest_ns for machine in board.machines.values()), default=0)
    read = round(max(0.0, (now_ns - newest) / 1e9), 3) if newest else None
    yield from (("read", read), ("normalized", read))
    if way is None:
        return
    for stage, mark in (("accepted", way.accepted), ("sent", way.sent), ("stored", way.stored)):
        lag = _since(way, monotonic, mark + 1, now_ns)
        yield stage, None if lag is None else round(lag, 3)


def _since(way: Way, monotonic: float, position: int, now_ns: int) -> float | None:
    """How long the record at a position has been here."""
    lag = way.trail.since(monotonic, position)
    if lag is None and way.oldest_ns is not None and position == way.stored + 1:
        lag = max(0.0, (now_ns - way.oldest_ns) / 1e9)
    return lag


def _buffer(board: Board, way: Way | None, now_ns: int, monotonic: float) -> dict[str, Any]:
    usage = board.usage()
    growth = None if way is None else way.trail.growth(monotonic)
    waited = None if way is None or not usage.records else _since(way, monotonic, way.stored + 1, now_ns)
    size = None if way is None else way.record_bytes
    fills, drains = forecast(usage.records, usage.max_bytes - usage.bytes, size, growth)
    return {
        **disk_row(usage),
        "oldest_ms": None if waited is None else known_ms(now_ns - round(waited * 1e9)),
        "growth_per_s": None if growth is None else round(growth[0], 2),
        "fills_in_s": fills,
        "drains_in_s": drains,
    }


def forecast(
    records: int, room: int, size: float | None, growth: tuple[float, float] | None
) -> tuple[float | None, float | None]:
    """Seconds until it is full, and until it is empty, if it goes on like this; None for what will not happen.

    `room`: bytes; `size`: of a record; `growth`: records per second, and how many come. What came in the last moments and
    waits for its acknowledgement is no backlog.
    """
    if growth is None or records < max(FEW, MOMENTS * growth[1]):
        return None, None
    if growth[0] > 0 and size:
        seconds = max(0, room) / (size * growth[0])
        return (round(seconds, 1) if seconds < _MOST else None), None
    return None, round(records / -growth[0], 1) if growth[0] < 0 and records < -growth[0] * _MOST else None
