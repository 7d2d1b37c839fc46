"""A poller outlives whatever its adapter does, and says what happened once."""

import asyncio
import logging
from collections.abc import Sequence

import pytest

from gateway.clock import SystemClock
from gateway.config import MachineSettings, SignalSettings
from gateway.counters import FlowCounters
from gateway.errors import NotConnectedError
from gateway.model import NOT_CONNECTED, Batch, Gap, Header, MachinePath, Signal
from gateway.runtime.edge.poller import Poller
from gateway.schedule import Backoff

HEADER = Header(MachinePath("m"), (Signal("a", "int"),))
SETTINGS = MachineSettings(connection="c", signals={"a": SignalSettings()})


class Script:
    """An adapter that does what each step says: a value, an error, or the end of the test."""

    left: Sequence[object] = ()  # what it has in hand when it ends

    def __init__(self, steps: list[object], done: asyncio.Event) -> None:
        self.steps, self.done = steps, done
        self.headers = [HEADER]
        self.closed = 0

    async def connect(self) -> None:
        if self.steps and self.steps[0] == "refuse":
            self.steps.pop(0)
            raise NotConnectedError("nobody there")

    async def read(self) -> Sequence[Batch]:
        await asyncio.sleep(0)
        if not self.steps:
            self.done.set()
            await asyncio.Event().wait()
        step = self.steps.pop(0)
        if isinstance(step, Exception):
            raise step
        if isinstance(step, Gap | Batch):
            return [step]
        return [Batch(HEADER, HEADER.order, (1,), (step,), None)]

    async def write(self, command: object) -> None: ...
    async def close(self) -> Sequence[object]:
        self.closed += 1
        return self.left


class Sink:
    """Remembers what it is told."""

    full = False

    def __init__(self) -> None:
        self.readings: list[tuple[object, int]] = []
        self.states: list[tuple[str, str]] = []
        self.gaps: list[Gap] = []

    def lost(self, gap: Gap) -> None:
        self.gaps.append(gap)

    def accept(self, batch: Batch) -> None:
        self.readings += zip(batch.value, batch.quality or [0] * len(batch), strict=True)

    def types(self, path: MachinePath) -> dict[str, str]:
        return {}

    def show(self, batch: Batch) -> None: ...
    def refuse(self, path: MachinePath, types: dict[str, str]) -> None: ...
    def announce(self, header: Header) -> None: ...
    def state(self, path: MachinePath, state: str, since: int, reason: str) -> None:
        self.states.append((state, reason))


async def play(*steps: object, sink: Sink | None = None, backoff: Backoff | None = None) -> tuple[Sink, list[Script]]:
    """Run a poller until the steps are used up."""
    sink, done, made = sink or Sink(), asyncio.Event(), []
    remaining = list(steps)

    def build() -> Script:
        made.append(Script(remaining, done))
        return made[-1]

    poller = Poller("c", build, {"m": SETTINGS}, sink, SystemClock(), FlowCounters(), backoff or Backoff(0.001, 0.002))
    poller.prepare()
    task = asyncio.create_task(poller.run())
    await asyncio.wait_for(done.wait(), 10)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert len(poller._machines) == 1  # nothing is kept of adapters that were built anew
    return sink, made


async def test_a_lost_link_is_one_bad_reading_and_then_goes_on():
    sink, made = await play(1, NotConnectedError("cut"), "refuse", "refuse", 2)
    assert sink.readings == [(1, 0), (None, NOT_CONNECTED), (2, 0)]
    assert sink.states == [
        ("offline", "not read yet"),
        ("online", ""),
        ("offline", "cut"),
        ("offline", "nobody there"),
        ("online", ""),
    ]
    assert [each.closed for each in made] == [1]


async def test_what_a_machine_remembers_is_handed_on_and_what_it_lost_is_declared():
    """Neither is what is true now: the next reading is compared with the last one that was."""
    past = Batch(HEADER, (0, 0), (10, 11), (7, 8), None, historical=True)
    gap = Gap(HEADER, (0,), 5, 10, 0, "link-lost")
    sink, _ = await play(1, past, gap, 2)
    assert [value for value, _ in sink.readings] == [1, 7, 8, 2]
    assert sink.gaps == [gap]


async def test_what_an_adapter_has_in_hand_when_it_ends_is_handed_on():
    past = Batch(HEADER, (0,), (10,), (7,), None, historical=True)
    now, gap = Batch(HEADER, (0,), (11,), (8,), None), Gap(HEADER, (0,), 5, 10, 0, "server-queue-overflow")
    Script.left = (past, now, gap)
    try:
        sink, _ = await play(1, 2)
    finally:
        Script.left = ()
    assert [value for value, _ in sink.readings] == [1, 2, 7], "what is true now is read anew"
    assert sink.gaps == [gap]


async def test_an_error_nobody_expected_is_logged_and_the_adapter_built_anew(caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.ERROR):
        sink, made = await play(1, ZeroDivisionError("a bug"), 2)
    assert sink.readings == [(1, 0), (None, NOT_CONNECTED), (2, 0)]
    assert [each.closed for each in made] == [1, 1]
    assert "ZeroDivisionError: a bug" in caplog.text


class Failing(Sink):
    """Has no room for the first three batches."""

    refusing = 3

    def accept(self, batch: Batch) -> None:
        if self.refusing:
            self.refusing -= 1
            raise OSError(28, "No space left on device")
        super().accept(batch)


async def test_a_sink_that_fails_does_not_end_the_poller(caplog: pytest.LogCaptureFixture):
    """A full disk under the buffer is no reason to stop reading: it may have room again."""
    sink, _ = await play(1, 2, 3, 4, sink=Failing())
    assert sink.readings[-1] == (4, 0)
    assert "No space left on device" in caplog.text


async def test_a_machine_that_answers_once_and_goes_away_is_not_hammered():
    backoff = Backoff(0.001, 0.01)
    await play(*(each for i in range(6) for each in (i, NotConnectedError("gone again"))), backoff=backoff)
    assert backoff.attempts == 6  # still growing


class Narrow(Sink):
    """Has no room for a while, once something was read."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    @property
    def full(self) -> bool:  # type: ignore[override]
        if not self.readings:
            return False
        self.asked += 1
        return 2 <= self.asked <= 6


async def test_machines_are_not_read_while_there_is_no_room(monkeypatch, caplog):
    """And what they said meanwhile is a gap, with its cause."""
    monkeypatch.setattr("gateway.runtime.edge.poller.FULL", 0.01)
    sink = Narrow()
    await play(1, 2, 3, 4, sink=sink)
    assert [value for value, _ in sink.readings][:4] == [1, 2, 3, 4]
    (gap,) = sink.gaps
    assert (gap.cause, gap.count, gap.signal) == ("buffer-full: not read", 0, ())
    assert gap.end - gap.start >= 30_000_000
    assert "not read any more: the buffer is full" in caplog.text
    assert "read again" in caplog.text
