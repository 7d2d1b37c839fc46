"""What the tests of the buffer share."""

from gateway.buffer import Disk, Limits, SegmentLog
from gateway.mqtt.payload import Loss, decode_loss, encode_loss

T = 1_763_789_123_000_000_000


class Clock:
    """Time that a test moves."""

    now_ns = T
    running = 1000.0

    def now(self) -> int:
        return self.now_ns

    def monotonic(self) -> float:
        return self.running

    def wait(self, seconds: float) -> None:
        self.now_ns += round(seconds * 1e9)
        self.running += seconds

    def trusted(self) -> bool:
        return True


def declare(loss: Loss, seq: int) -> tuple[str, bytes]:
    return "loss", encode_loss(loss, "edge", seq)


def opened(
    disk: Disk | None, *, max_bytes: int = 10**6, max_age: float = 3600.0, clock: Clock | None = None, **more: object
) -> SegmentLog:
    limits = Limits(max_bytes, max_age, reserve=0, **more)  # type: ignore[arg-type]
    return SegmentLog(disk, limits, declare, clock or Clock())


def fill(buffer: SegmentLog, count: int, size: int = 10) -> None:
    for _ in range(count):
        buffer.append("t", lambda seq: b"%d " % seq + b"x" * size, 3, T, T + 1)


def seqs(buffer: SegmentLog, after: int = 0, limit: int = 1000) -> list[int]:
    return [r.seq for r in buffer.read(after, limit)]


def losses(buffer: SegmentLog) -> list[Loss]:
    return [decode_loss(r.payload)[2] for r in buffer.read(0, 10**6) if r.is_loss]
