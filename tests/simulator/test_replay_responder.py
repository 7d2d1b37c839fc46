"""What a recorded machine says to whom, and when: by the times of the recording, and never made up."""

from __future__ import annotations

import tracemalloc
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import RecordingError
from simulators.modbus.replay import responder as responder_module
from simulators.modbus.replay.conversation import Away, Came, Cut, End, Exchange, Item
from simulators.modbus.replay.responder import Responder, Said

S = 1_000_000_000
MS = 1_000_000


def read(function: int, first: int, count: int) -> bytes:
    return bytes((function,)) + first.to_bytes(2, "big") + count.to_bytes(2, "big")


def words(function: int, *values: int) -> bytes:
    return bytes((function, 2 * len(values))) + b"".join(value.to_bytes(2, "big") for value in values)


ASK = read(3, 0, 1)


def asked(at: float, answer: bytes | None, request: bytes = ASK, unit: int = 1, delay: int = 5 * MS) -> Exchange:
    return Exchange(round(at * S), 0, unit, request, (Came(delay, answer),) if answer else ())


def counting(count: int, every: float = 1.0) -> list[Item]:
    """Register 0 is 0, 1, 2 … at 0, 1, 2 … times `every` seconds."""
    return [asked(i * every, words(3, i)) for i in range(count)] + [End(round((count - 1) * every * S) + 10 * MS)]


def value(said: Said) -> int:
    (came,) = said.came
    return int.from_bytes(came.pdu[2:4], "big")


def answers(responder: Responder, times: list[float], request: bytes = ASK) -> list[int]:
    return [value(responder.answer(1, request, round(t * S))) for t in times]


# --- in turn, and by time --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("late", [0.0, 0.3, 0.5, 0.8, 0.99])
def test_who_asks_in_the_same_rhythm_gets_each_answer_once(late: float) -> None:
    """A tenth of an interval of jitter, as long as it stays on one side of the boundary, and beside the recorded moments."""
    random = Random(1)
    jitter = 0.1 if late in (0.0, 0.3, 0.8) else 0.005
    times = [i + late + random.uniform(-jitter, jitter) for i in range(50)]
    found = answers(Responder(counting(60)), [max(0.0, t) for t in times])
    assert all(after - before == 1 for before, after in pairwise(found[1:]))


def test_by_time_alone_jitter_would_repeat_and_leave_out_some() -> None:
    """The control: the last answer by then, for the same times."""
    random = Random(1)
    times = [i + random.uniform(-0.1, 0.1) for i in range(50)]
    by_time = [int(t) if t > 0 else 0 for t in times]
    assert any(after - before != 1 for before, after in pairwise(by_time))
    assert answers(Responder(counting(60)), times) == list(range(50))


def test_who_asks_less_often_or_after_a_pause_gets_what_was_true_then() -> None:
    assert answers(Responder(counting(60)), [0, 10.2, 20.4, 20.9, 21.9, 50.7]) == [0, 10, 20, 21, 22, 50]


def test_who_asks_more_often_gets_it_again() -> None:
    assert answers(Responder(counting(60)), [i / 10 for i in range(31)])[::10] == [0, 1, 2, 3]


def test_before_its_first_answer_it_says_that() -> None:
    items = [asked(10, words(3, 7)), asked(20, words(3, 8)), End(30 * S)]
    assert answers(Responder(items), [0, 1, 10, 20]) == [7, 7, 7, 8]


def test_exceptions_and_silences_come_again_at_their_times() -> None:
    items = [asked(0, words(3, 1)), asked(1, b"\x83\x04"), asked(2, None), asked(3, words(3, 2)), End(4 * S)]
    responder = Responder(items)
    said = [responder.answer(1, ASK, t * S) for t in range(4)]
    assert [[came.pdu.hex() for came in each.came] for each in said] == [["03020001"], ["8304"], [], ["03020002"]]
    assert said[0].came[0].delay == 5 * MS


def test_what_came_beside_the_answer_comes_again() -> None:
    odd = Exchange(0, 0, 1, ASK, (Came(1, raw=b"\xff"), Came(2, words(3, 1)), Came(3, raw=b"\xfe")), 77, None)
    cut = Exchange(S, 0, 1, ASK, (), 78, 12)
    responder = Responder([odd, cut, End(2 * S)])
    assert responder.answer(1, ASK, 0) == Said(odd.came, "", 77, None)
    assert responder.answer(1, ASK, S) == Said((), "", 78, 12)


def test_the_same_question_of_another_unit_is_another_question() -> None:
    responder = Responder([asked(0, words(3, 1)), asked(0, words(3, 2), unit=2), End(S)])
    assert [value(responder.answer(unit, ASK, 0)) for unit in (1, 2)] == [1, 2]
    assert responder.units == [1, 2]


def test_a_write_that_was_recorded_gets_its_answer_and_changes_nothing() -> None:
    write = bytes.fromhex("06 0000 0063")
    responder = Responder([asked(0, words(3, 1)), asked(0.5, write, write), End(S)])
    assert responder.answer(1, write, 0).came[0].pdu == write
    assert answers(responder, [0.9]) == [1]


# --- composed ----------------------------------------------------------------------------------------------------------


def test_other_spans_of_known_registers_are_composed() -> None:
    items = [
        asked(0, words(3, 10, 11, 12), read(3, 0, 3), delay=20 * MS),
        asked(1, words(3, 21, 22), read(3, 1, 2), delay=40 * MS),
        asked(2, words(3, 33, 34), read(3, 3, 2), delay=60 * MS),
        End(3 * S),
    ]
    responder = Responder(items)
    for time, expected in [(0, [10, 11, 12, 33, 34]), (1, [10, 21, 22, 33, 34]), (5, [10, 21, 22, 33, 34])]:
        said = responder.answer(1, read(3, 0, 5), time * S)
        assert (said.came[0].pdu, said.kind) == (words(3, *expected), "composed")
    assert responder.answer(1, read(3, 0, 5), 0).came[0].delay == 40 * MS  # the median of the unit
    assert responder.composed == 4


def test_of_what_was_said_only_later_the_first_counts() -> None:
    items = [asked(5, words(3, 1, 2), read(3, 0, 2)), asked(9, words(3, 7), read(3, 1, 1)), End(10 * S)]
    assert Responder(items).answer(1, read(3, 0, 3), 0).kind == "address"
    assert Responder(items).read(1, 3, 0, 2, 0) == bytes.fromhex("0001 0002")
    assert Responder(items).read(1, 3, 0, 2, 9 * S) == bytes.fromhex("0001 0007")


def test_bits_are_composed_bit_by_bit() -> None:
    """Coils 20 to 38 of the example in the Application Protocol V1.1b3, 6.1: CD 6B 05, the first the lowest bit of CD."""
    items = [asked(0, bytes.fromhex("01 03 cd6b05"), read(1, 19, 19)), End(S)]
    said = Responder(items).answer(1, read(1, 22, 10), 0)
    # 1100 1101, 0110 1011 from the lowest: 1 0 1 1 0 0 1 1, 1 1 0 1 0 1 1 0; from the fourth on: 1 0 0 1 1 1 1 0, 1 0
    assert said.came[0].pdu == bytes.fromhex("01 02 7901")


def test_exceptions_and_garbage_are_no_values() -> None:
    items = [
        asked(0, words(3, 5, 6), read(3, 0, 2)), asked(1, b"\x83\x04", read(3, 0, 2)), asked(2, None, read(3, 0, 2)),
        Exchange(3 * S, 0, 1, read(3, 0, 2), (Came(1, raw=words(3, 9, 9)),)), End(4 * S),
    ]  # fmt: skip
    assert value(Responder(items).answer(1, read(3, 1, 1), 3 * S)) == 6


# --- what is not known -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("unit", "request_pdu", "code", "kind"),
    [
        (1, read(3, 1, 1), 2, "address"),
        (1, read(3, 0, 2), 2, "address"),
        (1, read(3, 0, 126), 3, "value"),
        (1, read(3, 0, 0), 3, "value"),
        (1, b"\x03\x00", 3, "value"),
        (1, read(4, 0, 1), 1, "function"),
        (1, bytes.fromhex("06 0000 0001"), 1, "write"),
        (1, bytes.fromhex("10 0000 0001 02 0001"), 1, "write"),
        (1, bytes.fromhex("2b 0e 01 00"), 1, "function"),
        (2, ASK, 11, "unit"),
    ],
)
def test_an_honest_exception(unit: int, request_pdu: bytes, code: int, kind: str) -> None:
    """2, illegal address; 1, illegal function; 3, illegal value; 11, nobody there: Application Protocol V1.1b3, 7."""
    said = Responder([asked(0, words(3, 1)), End(S)]).answer(unit, request_pdu, 0)
    assert said.came[0].pdu == bytes((request_pdu[0] | 0x80, code))
    assert said.kind == kind


def test_an_empty_recording_knows_nobody() -> None:
    assert Responder([]).answer(1, ASK, 0).kind == "unit"
    assert Responder([End(0)], loop=True).answer(1, ASK, 5 * S).kind == "unit"


# --- the end, from the beginning again, at its best ----------------------------------------------------------------------------


def test_after_its_end_the_last_values_stay_and_nothing_is_wrong_any_more() -> None:
    items = [
        asked(0, words(3, 1)),
        asked(1, words(3, 2)),
        asked(2, None),
        Away(round(2.5 * S), None, "gone"),
        End(3 * S),
    ]
    responder = Responder(items)
    assert responder.answer(1, ASK, 2 * S).came == ()
    assert (responder.over(3 * S), responder.away(3 * S)) == (False, True)
    assert (responder.over(4 * S), responder.away(4 * S)) == (True, False)
    assert answers(responder, [4, 100]) == [2, 2]


def test_in_a_loop_it_begins_again() -> None:
    items = [*counting(5)[:-1], End(5 * S)]
    found = answers(Responder(items, loop=True), [i + 0.01 for i in range(14)])
    assert found == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1, 2, 3]
    assert answers(Responder(items), [i + 0.01 for i in range(8)]) == [0, 1, 2, 3, 4, 4, 4, 4]  # the control
    assert not Responder(items, loop=True).over(100 * S)


def test_in_a_loop_what_was_said_last_may_be_of_the_round_before() -> None:
    items = [asked(2, words(3, 1, 2), read(3, 0, 2)), asked(4, words(3, 8), read(3, 1, 1)), End(5 * S)]
    responder = Responder(items, loop=True)
    assert [responder.read(1, 3, 0, 2, t * S) for t in (3, 4, 6, 7)] == [
        bytes.fromhex(each) for each in ("00010002", "00010008", "00010008", "00010002")
    ]


def test_it_begins_anywhere() -> None:
    assert answers(Responder(counting(60)), [30.02, 30.97, 32.01]) == [30, 31, 32]
    assert answers(Responder(counting(60)), [29.97, 31.02, 31.98]) == [30, 31, 32]


def test_at_its_best_there_is_no_delay_no_silence_and_no_refusal() -> None:
    items = [
        asked(0, words(3, 1)), asked(1, b"\x83\x04"), asked(2, None), asked(3, words(3, 2)),
        Exchange(4 * S, 0, 1, ASK, (Came(1, raw=b"\xff"), Came(2, words(3, 3)))),
        asked(0, None, read(4, 0, 1)), asked(1, b"\x84\x02", read(4, 5, 1)),
        Away(S, 2 * S, "gone"), Cut(3 * S, 0), End(5 * S),
    ]  # fmt: skip
    responder = Responder(items, ideal=True)
    said = [responder.answer(1, ASK, t * S) for t in range(5)]
    assert [value(each) for each in said] == [1, 1, 1, 2, 3]
    assert {came.delay for each in said for came in each.came} == {0}
    assert not responder.away(round(1.5 * S))
    assert not responder.leaves
    assert not responder.cut(2 * S, 4 * S)
    # What never had an answer has none.
    assert responder.answer(1, read(4, 0, 1), 0).came == ()
    assert responder.answer(1, read(4, 5, 1), 0).came == (Came(0, b"\x84\x02"),)


# --- away ----------------------------------------------------------------------------------------------------------------


def test_when_it_cannot_be_reached() -> None:
    items = [asked(0, words(3, 1)), Away(2 * S, 3 * S, "gone"), Cut(5 * S, 0), End(10 * S)]
    for loop, rounds in ((False, 1), (True, 3)):
        responder = Responder(items, loop=loop)
        for start in (10 * S * i for i in range(rounds)):
            times = [round(t * S) + start for t in (1.9, 2, 2.9, 3)]
            assert [responder.away(t) for t in times] == [False, True, True, False]
            cuts = [(4, 4.9), (4, 5), (5, 6), (4, 9)]
            found = [responder.cut(round(a * S) + start, round(b * S) + start) for a, b in cuts]
            assert found == [False, True, False, True]
    assert responder.cut(6 * S, 16 * S)  # that of the next round


# --- whatever was recorded ---------------------------------------------------------------------------------------------------

PDUS = st.one_of(
    st.none(),
    st.just(b"\x83\x02"),
    st.builds(lambda values: words(3, *values), st.lists(st.integers(0, 9), min_size=2, max_size=2)),
)
ITEMS: st.SearchStrategy[list[Item]] = st.lists(
    st.one_of(
        st.builds(asked, st.integers(0, 20), PDUS, st.just(read(3, 0, 2)), st.integers(1, 2)),
        st.builds(lambda a, b: Away(a * S, (a + b) * S, ""), st.integers(0, 20), st.integers(0, 5)),
        st.builds(lambda a: Cut(a * S, 0), st.integers(0, 20)),
    ),
    max_size=20,
)


@settings(max_examples=200, deadline=None)
@given(ITEMS, st.booleans(), st.booleans(), st.lists(st.integers(0, 60 * 10), max_size=30))
def test_nothing_is_said_that_was_not_recorded(items: list[Item], loop: bool, ideal: bool, times: list[int]) -> None:
    responder = Responder([*items, End(20 * S)], loop=loop, ideal=ideal)
    recorded = {(each.unit, each.answer) for each in items if isinstance(each, Exchange)}
    for t in sorted(times):
        responder.away(t * S // 10)
        said = responder.answer(1, read(3, 0, 2), t * S // 10)
        pdu = said.came[0].pdu if said.came else None
        assert (1, pdu) in recorded or said.kind == "unit"


# --- more than there should be ---------------------------------------------------------------------------------------------


def test_more_exchanges_than_can_be_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(responder_module, "MOST_REPLAYED", 60)
    assert Responder(counting(60)).exchanges == 60
    with pytest.raises(
        RecordingError, match="more than 60 exchanges: play parts of it, for example the first with --from 0s --for 60s"
    ):
        Responder(counting(61))


def test_a_part_of_it_takes_the_memory_of_the_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 1000 exchanges, one a second, those from 500 s on for a minute; before it the last answer of each question."""
    monkeypatch.setattr(responder_module, "MOST_REPLAYED", 62)
    once = asked(3, words(3, 77), read(3, 9, 1))
    until = [each for each in (*counting(1000), once) if each.at < 560 * S]
    with pytest.raises(RecordingError, match="more than 62"):
        Responder(until)
    responder = Responder([*until, End(560 * S)], begin=500 * S)
    assert (responder.exchanges, responder.length) == (62, 60 * S)
    assert responder.answer(1, ASK, 10 * S + MS).came[0].pdu == words(3, 510)
    assert responder.answer(1, read(3, 9, 1), S).came[0].pdu == words(3, 77), "as it was told before"
    looped = Responder([*until, End(560 * S)], begin=500 * S, loop=True)
    assert looped.answer(1, ASK, 70 * S + MS).came[0].pdu == words(3, 510), "the part is what is repeated"


def test_a_part_is_away_when_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    items = [*counting(40), Away(15 * S, 25 * S, ""), Cut(12 * S, 0), Cut(30 * S, 0), End(40 * S)]
    responder = Responder(items, begin=20 * S)
    assert [responder.away(t * S) for t in (0, 4, 6)] == [True, True, False]
    assert [responder.cut(t * S, (t + 2) * S) for t in (0, 9)] == [False, True]


@pytest.mark.parametrize(
    "items",
    [
        [asked(i, None, read(3, i, 1)) for i in range(5000)],
        [asked(i, words(3, *range(i % 100, i % 100 + 100), i)) for i in range(40_000)],
        [Away(i, i, "") for i in range(25_000)],
        [Exchange(i, 0, 1, ASK, (Came(1, raw=bytes(9000)),)) for i in range(1000)],
    ],
    ids=["requests", "answers", "outages", "garbage"],
)
def test_more_than_the_memory_may_hold(monkeypatch: pytest.MonkeyPatch, items: list[Item]) -> None:
    monkeypatch.setattr(responder_module, "_MOST_MEMORY", 8_000_000)
    with pytest.raises(RecordingError, match="too much for the memory: play parts of it"):
        Responder(items)
    Responder(items[: len(items) // 2])


@pytest.mark.parametrize("answer", [None, words(3, 7)])
def test_an_exchange_takes_few_bytes(answer: bytes | None) -> None:
    tracemalloc.start()
    responder = Responder(asked(i, answer) for i in range(20_000))
    size = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert responder.exchanges == 20_000
    assert size < 20_000 * 60


@pytest.mark.parametrize("ideal", [False, True])
def test_exchanges_are_put_in_order(ideal: bool) -> None:
    """They are told when nothing can be added to them: a late answer behind those to later questions."""
    items = counting(20)
    odd = Exchange(5 * S, 0, 1, ASK, (Came(MS, raw=b"?"), Came(2 * MS, words(3, 5))))
    mixed = [items[7], *items[10:-1], *items[6:5:-1], items[8], items[9], *items[:5], odd, items[-1]]
    responder = Responder(mixed, ideal=ideal)
    assert answers(responder, [float(i) for i in range(5)]) == list(range(5))
    assert len(responder.answer(1, ASK, 5 * S).came) == (1 if ideal else 2)
    assert answers(responder, [float(i) for i in range(6, 20)]) == list(range(6, 20))


def test_outages_may_overlap() -> None:
    items = [asked(0, words(3, 1)), Away(2 * S, 9 * S, "a"), Away(3 * S, 4 * S, "b"), End(10 * S)]
    assert [Responder(items).away(t * S) for t in (1, 2, 3, 5, 8, 9)] == [False, True, True, True, True, False]
