"""What the runtime makes of what an OPC UA adapter brings that no polled machine does: events, history, gaps; and its end."""

import asyncio
import itertools
from collections.abc import Mapping, Sequence

from gateway.buffer import Limits, SegmentLog
from gateway.clock import SystemClock
from gateway.config import MachineSettings, SignalSettings
from gateway.counters import FlowCounters
from gateway.errors import NotConnectedError
from gateway.model import Batch, Gap, Header, MachinePath, Signal, ValueType
from gateway.mqtt.payload import Loss, decode_loss, encode_loss
from gateway.runtime.edge.edge import _end
from gateway.runtime.edge.poller import Poller
from gateway.schedule import Backoff

T = 1_795_000_000_000_000_000
EVENTS = Header(MachinePath("lathe"), (Signal("alarm", "string", kind="event"),))
SPEED = Header(MachinePath("lathe"), (Signal("speed", "float"),))
Step = Sequence[Batch | Gap] | NotConnectedError


class Adapter:
    """It brings what each step says, and then waits."""

    def __init__(self, header: Header, *steps: Step, goodbye: float = 0.0) -> None:
        self.headers, self.steps, self.goodbye = [header], list(steps), goodbye
        self.waiting = asyncio.Event()
        self.closed = False

    async def connect(self) -> None: ...

    async def read(self) -> Sequence[Batch | Gap]:
        if not self.steps:
            self.waiting.set()
            await asyncio.Event().wait()
        step = self.steps.pop(0)
        if isinstance(step, Exception):
            raise step
        return step

    async def write(self, command: object) -> None: ...

    async def close(self) -> None:
        await asyncio.sleep(self.goodbye)
        self.closed = True


class Sink:
    """Remembers what it is told."""

    full = False

    def __init__(self) -> None:
        self.batches: list[Batch] = []
        self.states: list[str] = []

    def accept(self, batch: Batch) -> None:
        self.batches.append(batch)

    def lost(self, gap: Gap) -> None: ...
    def show(self, batch: Batch) -> None: ...
    def announce(self, header: Header) -> None: ...

    def types(self, path: MachinePath) -> Mapping[str, ValueType]:
        return {}

    def refuse(self, path: MachinePath, types: Mapping[str, ValueType]) -> None: ...
    def state(self, path: MachinePath, state: str, since: int, reason: str) -> None:
        self.states.append(state)


def started(adapter: Adapter) -> tuple[Sink, asyncio.Task[None]]:
    sink, made = Sink(), itertools.count()

    def build() -> Adapter:
        assert not next(made), "it was built anew: something was raised that nobody expected"
        return adapter

    (header,) = adapter.headers
    settings = MachineSettings(connection="cnc", signals={s.name: SignalSettings() for s in header.signals})
    poller = Poller(
        "cnc",
        build,
        {"lathe": settings},
        sink,
        SystemClock(),
        FlowCounters(),
        Backoff(0.001, 0.002),  # type: ignore[arg-type]
    )
    poller.prepare()
    return sink, asyncio.create_task(poller.run())


async def test_a_machine_that_has_only_events_is_online_before_the_first_of_them() -> None:
    alive: Step = ()
    adapter = Adapter(EVENTS, alive, NotConnectedError("the line is lost"), alive)
    sink, running = started(adapter)
    await asyncio.wait_for(adapter.waiting.wait(), 5)
    await _end([running])
    assert sink.states == ["offline", "online", "offline", "online"]


async def test_a_batch_without_readings_is_none() -> None:
    adapter = Adapter(
        SPEED, [Batch(SPEED, [], [], [], None, historical=True)], [Batch(SPEED, [], [], [], None)],
        [Batch(SPEED, [0], [T], [1.0], None)],
    )  # fmt: skip
    sink, running = started(adapter)
    await asyncio.wait_for(adapter.waiting.wait(), 5)
    await _end([running])
    assert [list(batch.value) for batch in sink.batches] == [[1.0]]


async def test_a_slow_machine_is_given_the_time_for_its_good_bye() -> None:
    """Or its session stays at the server, and is missing when the gateway starts again."""
    adapter = Adapter(SPEED, [Batch(SPEED, [0], [T], [1.0], None)], goodbye=1.0)
    _, running = started(adapter)
    await asyncio.wait_for(adapter.waiting.wait(), 5)
    await asyncio.wait_for(_end([running]), 5)
    assert adapter.closed


# --- gaps in a buffer that is full -----------------------------------------------------------------------------------


def test_a_gap_that_is_dropped_with_messages_declares_no_others_lost() -> None:
    """The numbers of messages and the time of a gap are two things: one must not widen the other."""
    declared: list[Loss] = []

    def declare(loss: Loss, seq: int) -> tuple[str, bytes]:
        declared.append(loss)
        return "loss", encode_loss(loss, "edge", seq)

    buffer = SegmentLog(None, Limits(20_000, 3600.0), declare, SystemClock())
    for n in range(100):
        buffer.append("data", lambda seq: b"x" * 100, 1, T + n, T + n)
        if buffer.usage.records > 10:
            buffer.mark_stored(buffer.epoch, [(1, buffer.last - 5)], buffer.last)
    stored = buffer.stored
    assert stored >= 90
    start, end = T - 3600 * 10**9, T - 3500 * 10**9
    buffer.declare(Loss(buffer.epoch, 0, 0, 0, start, end, "link-lost", "lathe"))
    declared.clear()
    for n in range(200):
        buffer.append("data", lambda seq: b"x" * 100, 1, T + n, T + n)
    first = [loss for loss in declared if loss.last]
    assert first
    assert all(loss.first > stored for loss in first), "the store has those before"
    gaps = [loss for loss in declared if not loss.last]
    assert gaps, "it is still declared"
    assert (gaps[0].start, gaps[0].end, gaps[0].cause, gaps[0].machine) == (start, end, "link-lost", "lathe")


def test_many_gaps_in_a_full_buffer_do_not_fill_it() -> None:
    """Each time it is full one record for the gaps and one for the messages, and they cover all of them."""
    declared: list[Loss] = []

    def declare(loss: Loss, seq: int) -> tuple[str, bytes]:
        declared.append(loss)
        return "loss", encode_loss(loss, "edge", seq)

    buffer = SegmentLog(None, Limits(20_000, 3600.0), declare, SystemClock())
    for n in range(500):
        buffer.declare(Loss(buffer.epoch, 0, 0, 0, T + n * 1000, T + n * 1000 + 1000, "link-lost", "lathe"))
        buffer.append("data", lambda seq: b"x" * 100, 1, T + n, T + n)
    kept = [decode_loss(r.payload)[2] for r in buffer.read(0, 1000) if r.topic == "loss"]
    gaps = [loss for loss in kept if not loss.last]
    assert min(loss.start for loss in gaps) == T
    assert max(loss.end for loss in gaps) == T + 500_000
    assert buffer.usage.bytes <= 20_000
    assert sum(r.topic == "data" for r in buffer.read(0, 1000)) >= 8
