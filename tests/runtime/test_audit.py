"""The comparison of what was accepted, stored, declared lost: what is left over is lost without a word."""

from array import array

from gateway.buffer.inspect import Waiting
from gateway.mqtt.payload import Loss
from gateway.runtime.audit import Row, audit
from gateway.store.contract import Lost, Stretch

T = 1_763_789_123_000_000_000
S = 10**9


def stretch(first: int, last: int, epoch: str = "e1", gateway: str = "edge") -> Stretch:
    return Stretch(gateway, epoch, first, last, (last - first + 1) * 10, T + first * S, T + last * S)


def waiting(first: int, last: int, epoch: str = "e1") -> Waiting:
    n = last - first + 1
    return Waiting(epoch, first, last, n * 10, T + first * S, T + last * S, array("I", [10] * n))


def lost(first: int, last: int, epoch: str = "e1", cause: str = "buffer-full") -> Lost:
    count = (last - first + 1) * 10 if first else 0
    return Lost("edge", 1000 + first, Loss(epoch, first, last, count, T + first * S, T + last * S, cause))


def compared(stretches: list[Stretch], losses: list[Lost] = [], pending: list[Waiting] = []) -> list[Row]:  # noqa: B006
    stored: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for each in stretches:
        stored.setdefault((each.gateway, each.epoch), []).append((each.first, each.last))
    return audit(stored, stretches, losses, pending, "edge")


def kinds(rows: list[Row]) -> list[tuple[str, int, int]]:
    return [(row.kind, row.first, row.last) for row in rows]


def test_everything_is_explained():
    rows = compared([stretch(1, 10), stretch(14, 20)], [lost(11, 13)], [waiting(21, 25)])
    assert kinds(rows) == [("stored", 1, 10), ("loss", 11, 13), ("stored", 14, 20), ("pending", 21, 25)]
    assert [row.count for row in rows] == [100, 30, 70, 50]
    assert rows[1].cause == "buffer-full"


def test_what_is_nowhere_is_silent_with_the_time_it_must_have_been():
    rows = compared([stretch(1, 10), stretch(14, 20)])
    assert kinds(rows) == [("stored", 1, 10), ("silent", 11, 13), ("stored", 14, 20)]
    assert (rows[1].start, rows[1].end, rows[1].count) == (T + 10 * S, T + 14 * S, None)


def test_the_beginning_counts_too():
    assert kinds(compared([stretch(5, 10)])) == [("silent", 1, 4), ("stored", 5, 10)]
    assert kinds(compared([], [], [waiting(3, 4)])) == [("silent", 1, 2), ("pending", 3, 4)]


def test_epochs_and_gateways_are_counted_by_themselves():
    rows = compared([stretch(1, 10), stretch(1, 3, "e2"), stretch(2, 2, "e2", "other")], [], [waiting(11, 12)])
    assert [(r.gateway, r.epoch, r.kind, r.first, r.last) for r in rows] == [
        ("edge", "e1", "stored", 1, 10), ("edge", "e1", "pending", 11, 12), ("edge", "e2", "stored", 1, 3),
        ("other", "e2", "silent", 1, 1), ("other", "e2", "stored", 2, 2),
    ]  # fmt: skip


def test_gaps_of_machines_explain_no_messages():
    rows = compared([stretch(1, 3), stretch(5, 6)], [lost(0, 0, cause="link-lost")])
    assert ("silent", 4, 4) in kinds(rows)
    assert ("loss", 0, 0) in kinds(rows)


def test_messages_whose_stretches_have_expired_are_not_missing():
    rows = audit({("edge", "e1"): [(1, 20)]}, [stretch(11, 20)], [], [], "edge")
    assert kinds(rows) == [("stored", 11, 20)]


def test_a_message_that_waits_although_it_is_stored_is_no_contradiction():
    rows = compared([stretch(1, 10)], [], [waiting(8, 12)])
    assert kinds(rows) == [("stored", 1, 10), ("pending", 11, 12)]
    assert [row.count for row in rows] == [100, 20]


def test_every_message_counts_once():
    rows = compared([stretch(1, 10)], [lost(5, 6), lost(11, 14), lost(9, 22)], [waiting(8, 10), waiting(15, 20)])
    assert kinds(rows) == [("stored", 1, 10), ("loss", 11, 14), ("pending", 15, 20), ("loss", 21, 22)]


def test_what_is_stored_but_has_expired_does_not_wait():
    rows = audit({("edge", "e1"): [(1, 20)]}, [], [], [waiting(18, 22)], "edge")
    assert kinds(rows) == [("pending", 21, 22)]


def test_a_loss_whose_record_still_waits_is_no_silence():
    declared = [Loss("e1", 11, 13, 30, T, T, "buffer-full"), Loss("e1", 1, 3, 30, T, T, "too-old")]
    stored = {("edge", "e1"): [(4, 10), (14, 20)]}
    rows = audit(stored, [stretch(4, 10), stretch(14, 20)], [lost(1, 3, cause="too-old")], [], "edge", declared)
    assert kinds(rows) == [("loss", 1, 3), ("stored", 4, 10), ("loss", 11, 13), ("stored", 14, 20)]
