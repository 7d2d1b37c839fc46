"""Readings of a box that does not know the time yet: kept, held, and given their real time."""

from dataclasses import dataclass

import pytest

from buffer.material import T, opened
from gateway.buffer import Disk, SegmentLog, known_time
from gateway.clock import ERA
from gateway.model import Batch, Header, MachinePath, Signal, quality_text
from gateway.mqtt.payload import DataEncoder, Loss, decode_data, decode_loss

HEADER = Header(MachinePath("press"), (Signal("a", "int"),))
S = 10**9


@dataclass
class Box:
    """A clock that is set when a test says so."""

    since_boot: int = 30 * S
    real: int | None = None  # ns that the box was started at, once it is known

    def now(self) -> int:
        return (ERA if self.real is None else self.real) + self.since_boot

    def monotonic(self) -> float:
        return self.since_boot / S

    def trusted(self) -> bool:
        return self.real is not None

    def shift(self) -> int | None:
        return None if self.real is None else self.real - ERA

    def steps(self) -> list[object]:
        return []


def put(buffer: SegmentLog, box: Box, value: int, time: int | None = None) -> None:
    box.since_boot += S
    t = box.now() if time is None else time
    batch = Batch(HEADER, HEADER.order, [t], [value], None)
    encode = DataEncoder("edge", buffer.epoch)
    buffer.append("press", lambda seq: encode(batch, seq), 1, t, t)


def times(buffer: SegmentLog) -> list[tuple[int, object, str]]:
    """Seconds since T, value and quality of what may be sent."""
    return [
        ((frame.time - T) // S, frame.values["a"], quality_text(frame.quality.get("a", 0)))
        for record in buffer.read(0, 100)
        if record.position <= buffer.ready and not record.is_loss
        for frame in decode_data(record.payload).frames
    ]


def test_it_waits_for_the_time_and_gets_it(tmp_path):
    box = Box()
    buffer = opened(Disk(tmp_path / "b"), clock=box)  # type: ignore[arg-type]
    for value in range(3):
        put(buffer, box, value)
    assert buffer.ready == 0
    assert times(buffer) == []
    box.real = T
    put(buffer, box, 3)
    assert times(buffer) == [(31, 0, "good"), (32, 1, "good"), (33, 2, "good"), (34, 3, "good")]
    record = buffer.read(0, 1)[0]
    assert (record.first, record.last) == (T + 31 * S, T + 31 * S)


@pytest.mark.parametrize("clean", [True, False])
def test_a_gateway_that_is_started_again_in_the_same_boot(tmp_path, clean):
    box = Box()
    buffer = opened(Disk(tmp_path / "b"), clock=box)  # type: ignore[arg-type]
    put(buffer, box, 0)
    end(buffer, clean)
    buffer = opened(Disk(tmp_path / "b"), clock=box)  # type: ignore[arg-type]
    put(buffer, box, 1)
    assert buffer.ready == 0
    box.real = T
    assert times(buffer) == [(31, 0, "good"), (32, 1, "good")]
    end(buffer, clean)
    # The time that was learnt is remembered: sent twice, it says the same, whatever the clock says by then.
    box.real = T + 5 * S
    buffer = opened(Disk(tmp_path / "b"), clock=box)  # type: ignore[arg-type]
    assert times(buffer) == [(31, 0, "good"), (32, 1, "good")]


def test_a_boot_that_never_learnt_the_time(tmp_path, monkeypatch):
    """After what was known before, and marked: a guess is not given out as the truth."""
    box = Box(real=T)
    buffer = opened(Disk(tmp_path / "b"), clock=box)  # type: ignore[arg-type]
    put(buffer, box, 0)
    buffer.close()
    known = known_time(tmp_path / "b")
    assert known == T + 31 * S
    box = Box(since_boot=5 * S)
    in_boot("second", monkeypatch)
    buffer = opened(Disk(tmp_path / "b"), clock=box)  # type: ignore[arg-type]
    put(buffer, box, 1)
    assert times(buffer) == [(31, 0, "good")]
    end(buffer, clean=False)
    box = Box(since_boot=5 * S, real=T + 1000 * S)
    in_boot("third", monkeypatch)
    buffer = opened(Disk(tmp_path / "b"), clock=box)  # type: ignore[arg-type]
    put(buffer, box, 2)
    assert times(buffer) == [(31, 0, "good"), (37, 1, "uncertain:clock-not-set"), (1006, 2, "good")]


def test_stamps_of_machines_with_a_clock_of_their_own_are_left_alone(tmp_path):
    box = Box()
    buffer = opened(Disk(tmp_path / "b"), clock=box)  # type: ignore[arg-type]
    put(buffer, box, 0)
    put(buffer, box, 1, time=T + 500 * S)
    assert buffer.ready == 0
    box.real = T
    assert times(buffer) == [(31, 0, "good"), (500, 1, "good")]


def test_losses_get_their_time_too(tmp_path):
    box = Box()
    buffer = opened(Disk(tmp_path / "b"), clock=box)  # type: ignore[arg-type]
    buffer.declare(Loss(buffer.epoch, 0, 0, 1, ERA + 10 * S, ERA + 20 * S, "link-lost", "press"))
    assert buffer.ready == 0
    box.real = T
    assert buffer.ready == 1
    loss = decode_loss(buffer.read(0, 1)[0].payload)[2]
    assert (loss.start, loss.end) == (T + 10 * S, T + 20 * S)


def end(buffer: SegmentLog, clean: bool) -> None:
    if clean:
        buffer.close()
    else:
        buffer.commit()
        assert buffer._disk is not None
        buffer._disk.close()


def in_boot(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the box had been started anew: the one thing no test can really do."""
    monkeypatch.setattr("gateway.buffer.timeless._this_boot", lambda: name)
