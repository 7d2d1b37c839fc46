"""What is exposed, in Prometheus' text format; prometheus_client is known nowhere else.

Nothing is counted here: it is all read at the scrape, from the counters, the board and the buffer that are there anyway. Names and
units follow https://prometheus.io/docs/practices/naming: seconds, bytes, `_total`. Labels are per machine, never per signal:
what a signal says is in the store.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import repeat
from math import isfinite
from typing import Any, Protocol

from gateway.clock import Clock, artificial, synchronization
from gateway.errors import PartMissingError
from gateway.metrics.happened import Happened
from gateway.metrics.lag import Lag
from gateway.model import Batch, is_bad
from gateway.web.snapshot import Board, Condition, Machine

try:
    from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
    from prometheus_client.metrics_core import Metric
    from prometheus_client.parser import text_string_to_metric_families
    from prometheus_client.registry import Collector
except ImportError as exc:
    raise PartMissingError("metrics need prometheus_client: pip install 'shopfloor-gateway[web]'") from exc

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
STATES = ("online", "degraded", "offline")
CHANGES = ("reloaded", "refused", "rolled back", "failed")  # of the configuration: events of this kind, by their state
# Of what was lost, so that `increase()` sees the first of them; what stands before the colon of a cause (gateway/buffer).
CAUSES = (
    "buffer-full", "disk-full", "disk-cannot-be-written", "damaged", "too-old", "too-large", "topic-refused", "payload-refused",
)  # fmt: skip
INTERVALS = ("shift", "hour", "day", "demand")  # of figures

Row = tuple[str, str, str]
"""Name of a counter, of its metric, and what it counts."""

OF_READINGS: tuple[Row, ...] = (
    ("read", "gateway_readings_read", "Readings that machines brought."),
    ("bad", "gateway_readings_bad", "Readings without a value, of those that machines brought."),
    ("derived", "gateway_readings_derived", "Readings worked out from others."),
    ("suppressed", "gateway_readings_suppressed", "Readings that said nothing new."),
    ("accepted", "gateway_readings_accepted", "Readings handed to the buffer."),
)
OF_MACHINES: tuple[Row, ...] = (
    *OF_READINGS,
    ("polls", "gateway_polls", "Times readings came from the machine."),
    ("overruns", "gateway_overruns", "Polls left out because the one before took too long."),
    ("requests", "gateway_requests", "Requests sent to the machine."),
    ("failures", "gateway_request_failures", "Requests without a usable answer."),
    ("reconnects", "gateway_reconnects", "Times the link to the machine was lost."),
    ("gaps", "gateway_gaps", "Stretches of time of which nobody will bring the readings; each is a loss record."),
    ("overflows", "gateway_overflows", "Times the machine said that it dropped readings."),
    ("faults", "gateway_derivation_errors", "Errors of the gateway itself while it worked something out."),
)
OF_FLOW: tuple[Row, ...] = (
    ("sent", "gateway_messages_sent", "Messages that the broker acknowledged."),
    ("refused", "gateway_broker_refusals", "Times the broker did not take a message: each attempt counts."),
    (
        "thinned",
        "gateway_readings_thinned",
        "Readings left out because the buffer was full, others of the signal being kept.",
    ),
    ("rewinds", "gateway_publisher_rewinds", "Times everything not stored was sent again."),
)
OF_WRITER: tuple[Row, ...] = (
    ("messages", "gateway_store_messages", "Messages written to the store."),
    ("readings", "gateway_store_readings", "Readings in them."),
    ("losses", "gateway_store_losses", "Loss records written to the store."),
    ("refused", "gateway_store_readings_refused", "Readings that the store will never take."),
    ("rejected", "gateway_store_messages_rejected", "Messages that were not of our format."),
)


class WriterStatus(Protocol):
    """How the store writer is; `gateway.store.writer.StoreStatus` is one."""

    @property
    def ok(self) -> bool: ...
    @property
    def lag(self) -> float | None: ...
    @property
    def last(self) -> int | None: ...


class Exposition(Collector):
    """Made once; called for each scrape. What is not there in this process is left out."""

    def __init__(
        self,
        *,
        clock: Clock,
        board: Callable[[], Board | None] = lambda: None,
        happened: Happened | None = None,
        writer: Callable[[], WriterStatus | None] = lambda: None,
        waits: Callable[[], float | None] = lambda: None,
        certificates: Callable[[], Mapping[str, float]] = dict,
        lag: Lag | None = None,
        safe_mode: Callable[[], object] = lambda: (),
        page: Callable[[], Condition | None] = lambda: None,
        synchronized: Callable[[], bool | None] = synchronization,
    ) -> None:
        """`waits`: seconds that the oldest message has waited. `certificates`: when each ends, in seconds since 1970.

        `safe_mode`: the mistakes for which the configuration in the files is not in force. `synchronized`: the kernel's word,
        None where it may not be asked.
        """
        self._clock, self._board, self._writer, self._waits = clock, board, writer, waits
        self._certificates, self._lag, self._happened, self._safe_mode = certificates, lag, happened, safe_mode
        self._page, self._synchronized = page, synchronized
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def __call__(self) -> bytes:
        """All of it as text."""
        return generate_latest(self._registry)

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterator[Metric]:
        now = self._clock.now()
        if (board := self._board()) is not None:
            yield _about(board)
            yield from self._flow(board)
            yield from _links(board, self._page())
            yield from _machines(board, now)
        yield GaugeMetricFamily(
            "gateway_safe_mode",
            "Whether the configuration is broken: an earlier one is in force, or none.",
            bool(self._safe_mode()),
        )
        yield from self._time()
        if (status := self._writer()) is not None:
            yield from _store_writer(status)
        yield from self._ends()

    def _flow(self, board: Board) -> Iterator[Metric]:
        usage = board.usage()
        for attribute, name, text in OF_FLOW:
            yield CounterMetricFamily(name, text, getattr(board.counters, attribute))
        stored = CounterMetricFamily(
            "gateway_messages_stored",
            "Messages acknowledged for good: by the store, or with `delivery: broker` by the broker, whatever becomes of them.",
            labels=("by",),
        )
        stored.add_metric((board.delivery,), board.counters.stored)
        yield stored
        lost = CounterMetricFamily(
            "gateway_readings_lost",
            "Readings that were here and are lost, each in a loss record; not those that were thinned out.",
            labels=("cause",),
        )
        for cause, count in (dict.fromkeys(CAUSES, 0) | board.counters.causes).items():
            lost.add_metric((cause,), count)
        yield lost
        yield CounterMetricFamily(
            "gateway_messages",
            "Messages handed to the buffer.",
            sum(c.messages for c in board.counters.machines.values()),
        )
        yield GaugeMetricFamily("gateway_buffer_bytes", "What the buffer takes.", usage.bytes)
        yield GaugeMetricFamily("gateway_buffer_limit_bytes", "What it may take.", usage.max_bytes)
        yield GaugeMetricFamily("gateway_buffer_messages", "Messages that are not stored yet.", usage.records)
        yield GaugeMetricFamily("gateway_buffer_unsafe_messages", "Messages that are in memory only.", usage.unsafe)
        yield CounterMetricFamily(
            "gateway_buffer_dropped_messages", "Messages dropped to make room; each is in a loss record.", usage.dropped
        )
        yield GaugeMetricFamily("gateway_buffer_disk_ok", "Whether the disk takes what is written.", not usage.trouble)
        waits = self._waits() if usage.records else 0.0
        if waits is not None:
            yield GaugeMetricFamily(
                "gateway_buffer_oldest_age_seconds", "How long the oldest message has waited that is not stored.", waits
            )

    def _time(self) -> Iterator[Metric]:
        if (synchronized := self._synchronized()) is not None:
            text = "Whether something on this box answers for its time: NTP, PTP. Where nothing does, it drifts."
            yield GaugeMetricFamily("gateway_clock_synchronized", text, synchronized)
        text = "Whether the time of this box can be right and is believed: readings have its stamps."
        yield GaugeMetricFamily("gateway_clock_trusted", text, self._clock.trusted())
        if self._happened is not None:
            steps, changes = self._happened.of("clock"), self._happened.by_state("config")
            yield CounterMetricFamily("gateway_clock_steps", "Times the clock was set.", steps)
            reloads = CounterMetricFamily("gateway_config_reloads", "Changes of the configuration.", labels=("result",))
            for state, count in (dict.fromkeys(CHANGES, 0) | changes).items():
                reloads.add_metric((state,), count)
            yield reloads
        if self._lag is not None:
            yield GaugeMetricFamily(
                "gateway_event_loop_lag_seconds",
                "How late work began, at the most in the last minute.",
                self._lag.worst,
            )

    def _ends(self) -> Iterator[Metric]:
        family = GaugeMetricFamily(
            "gateway_certificate_expiry_timestamp_seconds", "When a certificate ends.", labels=("certificate",)
        )
        for name, end in self._certificates().items():
            family.add_metric((name,), end)
        yield family


def rows(text: str) -> Iterator[dict[str, Any]]:
    """What was exposed, series by series, for JSON: name, type, labels, and a value that is a number or None."""
    for family in text_string_to_metric_families(text):
        for name, labels, value, *_ in family.samples:
            yield {"name": name, "type": family.type, "labels": labels, "value": value if isfinite(value) else None}


def _about(board: Board) -> Metric:
    labels = {"version": board.version, "gateway": board.gateway, "delivery": board.delivery}
    return InfoMetricFamily("gateway", "This gateway.", value=labels)


def _links(board: Board, page: Condition | None) -> Iterator[Metric]:
    text = "What is wrong with broker, store or page: 1."
    fault = GaugeMetricFamily("gateway_link_fault", text, labels=("link", "fault"))
    for name, condition, text in (
        ("broker", board.broker, "Whether the broker takes what is sent."),
        ("store", board.store, "Whether the store takes what is sent."),
        ("page", page, "Whether the page is open."),
    ):
        if condition is not None and condition.state != "unused":
            yield GaugeMetricFamily(f"gateway_{name}_up", text, condition.state != "offline")
            _add_fault(fault, name, condition)
    yield fault


def _store_writer(status: WriterStatus) -> Iterator[Metric]:
    yield GaugeMetricFamily("gateway_store_writer_up", "Whether the store writer of this process writes.", status.ok)
    for attribute, name, text in OF_WRITER:
        yield CounterMetricFamily(name, text, getattr(status, attribute))
    if status.lag is not None:
        yield GaugeMetricFamily(
            "gateway_store_lag_seconds", "From the newest reading of the last commit to that commit.", status.lag
        )
    if status.last is not None:
        yield GaugeMetricFamily(
            "gateway_store_last_commit_timestamp_seconds", "When something was last stored.", status.last / 1e9
        )


def _machines(board: Board, now: int) -> Iterator[Metric]:
    machines = board.machines
    counters = {name: board.counters.of(name) for name in machines}
    for attribute, metric, text in OF_MACHINES:
        family = CounterMetricFamily(metric, text, labels=("machine",))
        for machine_name, of_machine in counters.items():
            family.add_metric((machine_name,), getattr(of_machine, attribute))
        yield family

    about = InfoMetricFamily("gateway_machine", "Where a machine stands (ISA-95).", labels=("machine",))
    up = GaugeMetricFamily("gateway_machine_up", "Whether a machine answers, at least in part.", labels=("machine",))
    state = GaugeMetricFamily("gateway_machine_state", "1 for the state a machine is in.", labels=("machine", "state"))
    since = GaugeMetricFamily(
        "gateway_machine_state_since_timestamp_seconds", "When it came into that state.", labels=("machine",)
    )
    fault = GaugeMetricFamily("gateway_machine_fault", "What is wrong with a machine: 1.", labels=("machine", "fault"))
    age = GaugeMetricFamily(
        "gateway_machine_newest_reading_age_seconds", "Age of the newest reading that is not bad.", labels=("machine",)
    )
    signals = GaugeMetricFamily(
        "gateway_machine_signals",
        "Signals of a machine by quality; without events that have not happened.",
        labels=("machine", "quality"),
    )
    doing = GaugeMetricFamily("gateway_machine_doing", "1 for what a machine is doing.", labels=("machine", "doing"))
    kpi = GaugeMetricFamily(
        "gateway_kpi", "Figures of the interval that runs, such as OEE; its unit as UCUM code.",
        labels=("machine", "interval", "figure", "unit"),
    )  # fmt: skip
    for name, machine in machines.items():
        path, condition = machine.latest.header.path, machine.condition
        levels = {"enterprise": path.enterprise, "site": path.site, "area": path.area, "line": path.line}
        about.add_metric((name,), {level: value for level, value in levels.items() if value})
        up.add_metric((name,), condition.state != "offline")
        for each in STATES:
            state.add_metric((name, each), condition.state == each)
        if not artificial(condition.since):
            since.add_metric((name,), condition.since / 1e9)
        _add_fault(fault, name, condition)
        newest = machine.latest.newest_ns
        for quality, count in machine.latest.counts().items():
            signals.add_metric((name, quality), count)
        if newest:
            age.add_metric((name,), max(0, now - newest) / 1e9)
        _add_figures(machine, name, doing, kpi)
    yield from (about, up, state, since, fault, signals, age, doing, kpi)


def _add_fault(family: GaugeMetricFamily, name: str, condition: Condition) -> None:
    if condition.fault:
        family.add_metric((name, condition.fault), 1)


def _add_figures(machine: Machine, name: str, doing: GaugeMetricFamily, kpi: GaugeMetricFamily) -> None:
    """What is worked out for a machine: what it is doing, and the figures that people ask for."""
    if machine.derived is None:
        return
    batch: Batch = machine.derived.newest
    for i, value, quality in zip(batch.signal, batch.value, batch.quality or repeat(0), strict=False):
        if i not in machine.shown or value is None or is_bad(quality):
            continue
        signal = batch.header.signals[i]
        interval, dot, figure = signal.name.partition(".")
        if dot and interval in INTERVALS and isinstance(value, int | float):
            kpi.add_metric((name, interval, figure, signal.unit or "1"), value)
        elif signal.name == "state" and isinstance(value, str):
            doing.add_metric((name, value), 1)
