"""Gaps and clocks: what is declared covers the time in question and little more, whatever the clocks do."""

from adapters.opcua.history import gap
from adapters.opcua.missed import Missed
from adapters.opcua.nodes import NodeId
from gateway.model import Gap, Header, MachinePath, Signal

S, MINUTE = 1_000_000_000, 60_000_000_000
T = 1_795_000_000 * S
HEADER = Header(MachinePath("lathe"), (Signal("speed", "float"), Signal("count", "int")))
SPEED, COUNT = 0, 1
NODE = NodeId(2, "s", "Speed")


def listening(missed: Missed, since: int, seconds: int, ahead: int = 0, step: int = 0) -> None:
    """A sign of life a second, each 10 ms on its way. The server's clock is `ahead`, and runs `step` wrong each second."""
    for n in range(seconds):
        sent = since + n * S
        missed.heard(sent + 10_000_000, sent + ahead + n * step)


def outage(missed: Missed, now: int) -> Gap:
    (gap,) = missed.outage(HEADER, now, [SPEED, COUNT], {}, {})
    return gap


# --- when it was last heard of ---------------------------------------------------------------------------------------


def test_an_outage_begins_with_the_last_sign_of_life() -> None:
    missed = Missed(0.0)
    listening(missed, T, 10, ahead=-5 * MINUTE)
    gap = outage(missed, T + MINUTE)
    assert (gap.start, gap.end) == (T + 9 * S + 10_000_000, T + MINUTE)


def test_a_sign_that_was_long_on_its_way_tells_of_the_time_it_was_sent() -> None:
    missed = Missed(0.0)
    listening(missed, T, 10, ahead=-5 * MINUTE)
    missed.heard(T + 20 * S, T + 10 * S - 5 * MINUTE)  # ten seconds
    assert outage(missed, T + MINUTE).start == T + 10 * S + 10_000_000


def test_a_clock_of_the_server_that_is_set_back_makes_no_longer_outages() -> None:
    missed = Missed(0.0)
    listening(missed, T, 100)
    listening(missed, T + 100 * S, 200, ahead=-60 * MINUTE)
    assert T + 298 * S <= outage(missed, T + 400 * S).start <= T + 300 * S


def test_our_clock_that_is_set_forward_makes_no_longer_outages() -> None:
    """A box without a clock battery, as soon as it has the time."""
    missed = Missed(0.0)
    listening(missed, T, 100)
    listening(missed, T + 60 * MINUTE, 200, ahead=-60 * MINUTE)
    assert outage(missed, T + 70 * MINUTE).start >= T + 60 * MINUTE + 198 * S


def test_a_clock_that_runs_slow_makes_no_longer_outages() -> None:
    """By 100 ppm, for two days: 17 seconds."""
    missed = Missed(0.0)
    for n in range(0, 2 * 86400, 5):
        missed.heard(T + n * S, T + n * S - 3 * S - n * 100_000)
    last = T + (2 * 86400 - 5) * S
    assert last - S <= outage(missed, last + MINUTE).start <= last


def test_the_clock_of_the_server_is_not_forgotten_while_connecting_fails() -> None:
    """What is missing of a history is told by our clock, in the first session that lasts."""
    missed = Missed(3600.0)
    listening(missed, T, 10, ahead=-5 * MINUTE)
    missed.outage(HEADER, T + MINUTE, [SPEED], {SPEED: NODE}, {SPEED: T + 50 * S - 5 * MINUTE})
    missed.began(T + MINUTE)  # connecting fails behind it
    gaps = missed.outage(HEADER, T + 2 * MINUTE, [SPEED], {}, {})
    (kept_no_more,) = [gap for gap in gaps if "history" in gap.cause]
    assert T + 8 * S <= kept_no_more.start <= T + 10 * S
    assert T + 59 * S <= kept_no_more.end <= T + 61 * S


# --- overflows -------------------------------------------------------------------------------------------------------


def test_overflows_are_declared_although_our_clock_was_set_back() -> None:
    missed = Missed(0.0)
    missed.overflowed([SPEED], T, T + S)
    assert missed.overflows(HEADER, T + S)
    missed.overflowed([SPEED], T - 60 * MINUTE, T - 60 * MINUTE + S)
    assert missed.overflows(HEADER, T - 60 * MINUTE + S)


# --- stamps that are ahead -------------------------------------------------------------------------------------------


def test_a_machine_whose_clock_is_ahead_has_a_gap_all_the_same() -> None:
    """Its stamps are a minute later than the server's clock; the outage takes 20 seconds."""
    assert gap(T + MINUTE, T + MINUTE + 20 * S, T, T + 20 * S, 3600.0) == (T + MINUTE, T + MINUTE + 20 * S)


def test_a_machine_whose_clock_is_ahead_and_at_rest_is_asked_for_its_own_time() -> None:
    """It may have gone and come again."""
    assert gap(T + MINUTE, T + MINUTE, T, T + 20 * S, 3600.0) == (T + MINUTE, T + MINUTE + 20 * S)


def test_a_last_stamp_of_the_far_future_is_not_the_begin_of_a_gap() -> None:
    assert gap(T + 10**9 * S, 0, T, T + 20 * S, 3600.0) == (T - 1, T + 20 * S)


def test_a_machine_whose_clock_was_set_back_is_asked_for_the_time_of_the_outage() -> None:
    assert gap(T + 60 * MINUTE, T + 15 * S, T, T + 20 * S, 3600.0) == (T - 1, T + 20 * S)


def test_stamps_of_the_far_future_are_not_the_end_of_a_gap() -> None:
    assert gap(T - S, T + 10**9 * S, T, T + 20 * S, 3600.0) == (T - S, T + 20 * S)
