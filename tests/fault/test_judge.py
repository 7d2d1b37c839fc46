"""The judge finds what there is to be found: each kind of fault once, made by hand, and none where there is none."""

from array import array

import pytest

from fault.judge import LATE, MS, SLOW, Absence, Verdict, judge
from gateway.mqtt.payload import Loss
from gateway.store.contract import Columns, Lost
from simulators.ledger import Column

T = 1_763_789_123_000_000_000
STEP = 50 * MS
SIGNAL = "press", "count"
ORIGIN = "edge", "00000001"
BAD = 0x80000000


def served(count: int = 10, pause_after: int = 99, pause: int = 0) -> Column:
    """The values 0, 1, 2 …, 50 ms apart; after one of them nobody asked for a while."""
    times = [T + i * STEP + (pause if i > pause_after else 0) for i in range(count)]
    return Column(array("q", times), list(range(count)), array("I", [0] * count))


def stored(said: Column) -> Columns:
    """All of it, stamped half a millisecond after it was served."""
    return Columns([t + MS // 2 for t in said.time], list(said.value), [0] * len(said.value))


def judged(said: Column, found: Columns, **more: object) -> Verdict:
    return judge({SIGNAL: said}, {SIGNAL: found}, **{"ranges": {ORIGIN: [(1, 10)]}, **more})  # type: ignore[arg-type]


def without(found: Columns, *values: int) -> Columns:
    keep = [i for i, value in enumerate(found.value) if value not in values]
    return Columns([found.time[i] for i in keep], [found.value[i] for i in keep], [0] * len(keep))


def test_nothing_is_wrong_where_all_is_well():
    verdict = judged(served(), stored(served()))
    assert verdict.sound
    assert (verdict.served, verdict.stored, verdict.unaccepted, verdict.findings) == (10, 10, 0, "")


def test_bad_readings_are_no_values():
    found = stored(served())
    found.time.append(T + 60 * STEP)
    found.value.append(None)
    found.quality.append(BAD)
    assert judged(served(), found).sound


def test_a_reading_that_is_missing_is_lost():
    verdict = judged(served(), without(stored(served()), 4))
    assert [(each.value, each.time) for each in verdict.lost] == [(4, T + 4 * STEP)]
    assert not verdict.sound
    assert "press/count = 4" in verdict.findings


def test_a_signal_that_is_not_there_at_all_is_lost():
    assert len(judge({SIGNAL: served()}, {}, ranges={}).lost) == 10


def test_what_was_served_just_before_a_kill_was_never_accepted():
    said = served(pause_after=4, pause=1000 * MS)
    kill = Absence(T + 4 * STEP + 20 * MS, T + 4 * STEP + 800 * MS)
    verdict = judged(said, without(stored(said), 3, 4), absences=[kill])
    assert verdict.sound
    assert (verdict.unaccepted, verdict.oldest, verdict.late) == (2, STEP + 20 * MS, set())


def test_what_was_served_into_an_absence_was_never_accepted():
    said = served(pause_after=4, pause=1000 * MS)
    kill = Absence(T + 4 * STEP - MS, T + 4 * STEP + 800 * MS)
    assert judged(said, without(stored(said), 4), absences=[kill]).unaccepted == 1


def test_what_was_served_long_before_a_kill_is_lost():
    said = served(pause_after=4, pause=1000 * MS)
    kill = Absence(T + 4 * STEP + 20 * MS, T + 4 * STEP + 800 * MS)
    verdict = judged(said, without(stored(said), 2, 3, 4), absences=[kill])
    assert [each.value for each in verdict.lost] == [2]
    assert "120 ms before the next kill" in verdict.findings


def test_a_slow_disk_is_excused_and_counted():
    said = served(pause_after=4, pause=1000 * MS)
    kill = Absence(T + 4 * STEP + 20 * MS, T + 4 * STEP + 800 * MS)
    verdict = judged(said, without(stored(said), 2, 3, 4), absences=[kill], unaccepted=SLOW)
    assert verdict.sound
    assert (verdict.unaccepted, verdict.late) == (3, {kill.begin})


def test_what_is_missing_before_something_that_is_stored_is_lost_also_just_before_a_kill():
    said = served(pause_after=4, pause=1000 * MS)
    kill = Absence(T + 4 * STEP + 20 * MS, T + 4 * STEP + 800 * MS)
    verdict = judged(said, without(stored(said), 3), absences=[kill])
    assert [each.value for each in verdict.lost] == [3]


def test_what_is_missing_after_a_kill_is_lost():
    said = served(pause_after=4, pause=1000 * MS)
    kill = Absence(T + 4 * STEP + 20 * MS, T + 4 * STEP + 800 * MS)
    assert [each.value for each in judged(said, without(stored(said), 5), absences=[kill]).lost] == [5]


def test_a_reading_that_is_stored_twice_is_duplicated():
    found = stored(served())
    found.time.insert(4, found.time[3] + 2 * MS)
    found.value.insert(4, 3)
    found.quality.insert(4, 0)
    verdict = judged(served(), found)
    assert [each.value for each in verdict.duplicated] == [3]
    assert not verdict.lost
    assert not verdict.wrong


@pytest.mark.parametrize("value", [77, 3.0, "3", None])
def test_a_value_that_was_never_served_is_wrong(value):
    found = stored(served())
    found.value[3] = value
    verdict = judged(served(), found)
    assert [each.value for each in verdict.wrong] == [value]
    assert not verdict.sound


@pytest.mark.parametrize("shift", [-2 * MS, STEP + LATE + MS, -3 * STEP])
def test_a_stamp_of_another_moment_is_wrong(shift):
    found = stored(served())
    found.time[3] += shift
    verdict = judged(served(), found)
    assert [each.value for each in verdict.wrong] == [3]
    assert "ms from when it was served" in verdict.findings


def test_a_stamp_a_little_late_is_not_wrong():
    found = stored(served())
    found.time[3] = T + 4 * STEP
    assert judged(served(), found).sound


def test_two_values_that_changed_places_are_wrong():
    found = stored(served())
    found.value[3], found.value[4] = found.value[4], found.value[3]
    assert len(judged(served(), found).wrong) == 2


def test_material_with_equal_values_is_refused():
    said = served()
    said.value[3] = 2
    with pytest.raises(ValueError, match="same value twice"):
        judged(said, stored(said))


@pytest.mark.parametrize(
    ("ranges", "gaps"),
    [
        ([(1, 10)], []),
        ([(1, 4), (6, 10)], [(5, 5)]),
        ([(3, 4), (8, 10)], [(1, 2), (5, 7)]),
        ([], []),
    ],
)
def test_a_seq_that_is_missing_is_an_undeclared_gap(ranges, gaps):
    verdict = judged(served(), stored(served()), ranges={ORIGIN: ranges})
    assert verdict.undeclared == [(ORIGIN, *gap) for gap in gaps]
    assert verdict.sound == (not gaps)


def loss(first: int, last: int, epoch: str = ORIGIN[1], gateway: str = "edge") -> Lost:
    return Lost(gateway, 1, Loss(epoch, first, last, 3, T, T, "damaged"), "00000002")


def test_a_gap_that_a_loss_record_declares_is_none():
    ranges = {ORIGIN: [(1, 4), (8, 10)], (ORIGIN[0], "00000002"): [(1, 1)]}
    verdict = judged(served(), stored(served()), ranges=ranges, losses=[loss(5, 7)])
    assert verdict.sound
    assert (verdict.declared, verdict.epochs) == (3, 2)


def test_what_is_declared_lost_and_stored_is_counted():
    verdict = judged(served(), stored(served()), losses=[loss(5, 7), loss(7, 11)])
    assert verdict.sound
    assert verdict.contradicted == 6


def test_a_loss_record_declares_no_more_than_it_says():
    ranges = {ORIGIN: [(1, 4), (8, 10)]}
    for declared in (loss(5, 6), loss(5, 7, epoch="00000003"), loss(5, 7, gateway="other"), loss(0, 0)):
        assert judged(served(), stored(served()), ranges=ranges, losses=[declared]).undeclared


def test_a_gap_that_is_still_on_its_way_is_none():
    ranges = {ORIGIN: [(1, 4), (8, 10)]}
    assert judged(served(), stored(served()), ranges=ranges, pending={ORIGIN: [(5, 7)]}).sound
    assert judged(served(), stored(served()), ranges=ranges, pending={ORIGIN: [(5, 6)]}).undeclared == [(ORIGIN, 7, 7)]
