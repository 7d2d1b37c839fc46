"""Two values of a signal with one stamp, in one notification or in two: none takes the place of the other."""

from datetime import UTC, datetime

from adapters.opcua.decode import Stamps
from gateway.model import BAD, GOOD, Batch, Header, MachinePath, Signal
from opcua.helpers import Reader
from parts.node_opcua import NodeOpcua

T, US = 1_795_000_000_000_000_000, 1000
HEADER = Header(MachinePath("lathe"), (Signal("speed", "float"), Signal("count", "int")))
SPEED, COUNT = 0, 1


def batch(*readings: tuple[int, int, object]) -> Batch:
    """Signal, time in µs after T, value."""
    signal, time, value = zip(*readings, strict=True)
    return Batch(HEADER, list(signal), [T + t * US for t in time], list(value), None)


def times(batch: Batch) -> list[int]:
    return [(t - T) // US for t in batch.time]


def test_as_they_are_where_each_has_its_own() -> None:
    stamps = Stamps()
    for n in range(3):
        given = batch((SPEED, n, 1.0), (COUNT, n, 2))
        assert stamps.apart(given) is given


def test_in_one_notification() -> None:
    assert times(Stamps().apart(batch((SPEED, 5, 1.0), (COUNT, 5, 1), (SPEED, 5, 2.0), (SPEED, 5, 3.0)))) == [
        5,
        5,
        6,
        7,
    ]


def test_in_one_after_the_other() -> None:
    stamps = Stamps()
    assert times(stamps.apart(batch((SPEED, 5, 1.0), (COUNT, 5, 1)))) == [5, 5]
    assert times(stamps.apart(batch((SPEED, 5, 2.0)))) == [6]
    assert times(stamps.apart(batch((SPEED, 5, 3.0), (COUNT, 5, 1)))) == [7, 5]
    assert times(stamps.apart(batch((SPEED, 9, 1.0)))) == [9]


def test_the_same_reading_again_is_the_same_reading() -> None:
    """As it is read when a session is taken over."""
    stamps = Stamps()
    stamps.apart(batch((SPEED, 5, 1.0)))
    stamps.apart(batch((SPEED, 5, 2.0)))
    assert times(stamps.apart(batch((SPEED, 5, 2.0)))) == [6]


def test_another_quality_is_another_reading() -> None:
    stamps = Stamps()
    stamps.apart(Batch(HEADER, [SPEED], [T], [None], [BAD]))
    assert times(stamps.apart(Batch(HEADER, [SPEED], [T], [None], [BAD | 0x10000]))) == [1]
    assert times(stamps.apart(Batch(HEADER, [SPEED], [T], [1.0], [GOOD]))) == [2]


def test_a_stamp_that_stands_still_costs_no_value() -> None:
    stamps = Stamps()
    given = [stamps.apart(batch((SPEED, 0, float(n)), (COUNT, n, n))) for n in range(50)]
    assert [times(each)[0] for each in given] == list(range(50))
    assert [times(each)[1] for each in given] == list(range(50))


def test_stamps_within_a_microsecond_are_one() -> None:
    """All that a payload keeps."""
    stamps = Stamps()
    stamps.apart(Batch(HEADER, [SPEED], [T + 100], [1.0], None))
    assert times(stamps.apart(Batch(HEADER, [SPEED], [T + 900], [2.0], None))) == [1]


def test_a_clock_that_goes_back_is_believed() -> None:
    stamps = Stamps()
    stamps.apart(batch((SPEED, 100, 1.0)))
    assert times(stamps.apart(batch((SPEED, 50, 2.0)))) == [50]


async def test_a_server_with_a_clock_of_seconds(cnc: NodeOpcua) -> None:
    second = datetime.now(UTC).replace(microsecond=0)
    async with Reader(cnc.url, {"count": {"node": "m:s=CNC1.PartCount", "sampling": "50ms"}}) as it:
        for n in range(1, 6):
            cnc.set("s=CNC1.PartCount", n, time=second)
            await it.until(lambda n=n: it.got["count"] and it.last("count")[1] == n)
        found = {time: value for time, value, _ in it.got["count"] if time // 10**9 == int(second.timestamp())}
        assert [value for value in found.values() if value] == [1, 2, 3, 4, 5]
