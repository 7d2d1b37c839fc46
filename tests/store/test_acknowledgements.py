"""What gateways are told, with as many epochs as power cuts make."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count

import pytest

from gateway.errors import NotConnectedError
from gateway.mqtt.link import Message
from gateway.mqtt.payload import Loss, Stored, decode_stored, encode_stored
from gateway.mqtt.topics import Topics
from gateway.store import acknowledgements as module
from gateway.store.acknowledgements import Acknowledgements
from gateway.store.contract import Lost, Readings
from gateway.store.identities import identities_of
from store.material import SECOND, T0, HandClock, simple

TOPICS = Topics()


class Line:
    """A link that keeps what is published and, like a broker, what is retained."""

    def __init__(self, receive_maximum: int = 65535) -> None:
        self.connected, self.receive_maximum = True, receive_maximum
        self.told: list[Stored] = []
        self.retained: dict[str, Stored] = {}
        self.under_way: list[int] = []
        self._mids = count(1)

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> int:
        if not self.connected:
            raise NotConnectedError("gone")
        stored = decode_stored(payload)
        self.told.append(stored)
        if retain:
            self.retained[topic.split("/")[-1]] = stored
        self.under_way.append(next(self._mids))
        return self.under_way[-1]


class Writer:
    """As StoreWriter uses it."""

    def __init__(self, line: Line, remembers: bool = True, shared: bool = False) -> None:
        self.line, self.clock = line, HandClock(T0 + 10**6 * SECOND)
        self.acks = Acknowledgements(line, TOPICS, "w1", self.clock, shared=shared)  # type: ignore[arg-type]
        self.acks.begin({}, remembers)

    def store(self, *entries: Readings | Lost) -> list[tuple[str, list[tuple[int, int]]]]:
        """What is told after a commit of these."""
        before = len(self.line.told)
        self.acks.note(entries)
        self.acks.stored(identities_of(entries))
        return said(self.line.told[before:])

    def answer(self) -> None:
        """The broker answers all that is under way."""
        mids, self.line.under_way = self.line.under_way, []
        for mid in mids:
            assert self.acks.published(mid, 0) == ""


def said(told: Sequence[Stored]) -> list[tuple[str, list[tuple[int, int]]]]:
    return [(each.epoch, [*each.ranges]) for each in told]


def of(epoch: str, *seqs: int, at: int = 0) -> list[Readings]:
    return [simple(seq, at=T0 + at * SECOND, epoch=epoch) for seq in seqs]


def test_the_epoch_of_the_newest_readings_is_retained_whatever_comes_in_between() -> None:
    writer = Writer(Line())
    assert writer.store(*of("e1", 1, 2, at=100)) == [("e1", [(1, 2)])]
    assert writer.store(*of("e2", 1, at=200)) == [("e2", [(1, 1)])]
    # Old history alone: told, and not retained.
    assert writer.store(*of("e1", 3, at=101)) == [("e1", [(1, 3)])]
    assert writer.line.retained["edge-01"].epoch == "e2"
    # Both in one commit: the current one last.
    assert writer.store(*of("e2", 2, at=201), *of("e1", 4, at=102)) == [("e1", [(1, 4)]), ("e2", [(1, 2)])]
    assert writer.line.retained["edge-01"].epoch == "e2"
    # A loss record has no readings: it does not decide.
    lost = Lost("edge-01", 1, Loss("e0", 0, 0, 5, T0, T0 + 900 * SECOND, "overflow"))
    assert writer.store(lost) == [("e0", [(1, 1)])]
    assert writer.line.retained["edge-01"].epoch == "e2"


def test_a_clock_that_is_ahead_does_not_keep_an_epoch_current_for_years() -> None:
    writer = Writer(Line())
    writer.store(*of("e1", 1, at=10**9))
    writer.clock.time += SECOND
    writer.store(*of("e2", 1, at=10**6 + 1))
    assert writer.line.retained["edge-01"].epoch == "e2"


def test_dozens_of_epochs_are_complete() -> None:
    """More than there ever were power cuts in one outage; an old one that goes on is told with all it has."""
    writer = Writer(Line())
    for n in range(200):
        writer.store(*of(f"e{n}", 1, 2, 3, at=n))
    assert writer.store(*of("e0", 4), *of("e77", 4, at=77)) == [("e0", [(1, 4)]), ("e77", [(1, 4)])]


@pytest.mark.parametrize("asked", [True, False])
def test_an_epoch_of_long_ago_is_asked_from_the_store(asked: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control: without asking, the gateway would have to send again what was stored long ago."""
    monkeypatch.setattr(module, "MAX_EPOCHS", 8)
    writer = Writer(Line())
    remembered: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for n in range(20):
        writer.store(*of(f"e{n}", 1, 2, 3, at=n))
        remembered["edge-01", f"e{n}"] = [(1, 3)]
    entries = of("e0", 4)
    missing = writer.acks.missing(identities_of(entries))
    assert missing == [("edge-01", "e0")]
    if asked:
        writer.acks.recall(remembered, missing)
        assert writer.acks.missing(missing) == []
    assert writer.store(*entries) == [("e0", [(1, 4)] if asked else [(4, 4)])]


def test_the_current_epoch_is_never_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_EPOCHS", 4)
    writer = Writer(Line())
    writer.store(*of("live", 1, at=1000))
    for n in range(20):
        writer.store(*of(f"e{n}", 1, at=n))
    assert writer.store(*of("live", 2, at=1001)) == [("live", [(1, 2)])]


def test_a_new_connection_tells_what_there_was_and_the_current_epoch_last() -> None:
    line = Line()
    writer = Writer(line)
    for n in range(100):
        writer.store(*of(f"e{n}", n + 1, at=n))
    writer.store(*of("e50", 7, at=500))  # the live one, as its clock says
    line.told.clear()
    line.retained.clear()
    writer.acks.publish_all()
    told = said(line.told)
    assert len(told) == module.TOLD
    assert [epoch for epoch, _ in told] == [*(f"e{n}" for n in range(36, 100) if n != 50), "e50"]
    assert line.retained["edge-01"] == line.told[-1]


def test_a_gateway_that_comes_back_is_told_all_of_its_own() -> None:
    line = Line()
    writer = Writer(line)
    writer.store(*of("e1", 1), *of("e2", 1, at=2), simple(1, gateway="edge-02"))
    line.told.clear()
    writer.acks.publish("edge-01")
    writer.acks.publish("edge-99")  # nothing is known of it
    assert [(s.gateway, s.epoch) for s in line.told] == [("edge-01", "e1"), ("edge-01", "e2")]


def test_no_more_than_the_broker_takes_is_under_way_and_each_epoch_waits_once() -> None:
    line = Line(receive_maximum=5)
    writer = Writer(line)
    entries = [entry for n in range(30) for entry in of(f"e{n}", 1, at=n)]
    writer.store(*entries)
    for _ in range(3):  # asked for again and again, as after a storm
        writer.acks.publish("edge-01")
    assert len(line.under_way) == 5
    while line.under_way:
        assert len(line.under_way) <= 5
        writer.answer()
    assert {s.epoch for s in line.told} == {f"e{n}" for n in range(30)}
    assert len(line.told) <= 40
    assert (line.told[-1].epoch, line.retained["edge-01"].epoch) == ("e29", "e29")


def test_what_was_not_told_when_the_connection_broke_is_told_on_the_next() -> None:
    line = Line(receive_maximum=3)
    writer = Writer(line)
    writer.store(*(entry for n in range(100) for entry in of(f"e{n}", 1, at=n)))
    line.connected = False
    writer.acks.forget_sent()
    writer.store(*of("e0", 2))
    line.connected, line.receive_maximum, line.told = True, 1000, []
    writer.acks.publish_all()
    assert {s.epoch for s in line.told} == {f"e{n}" for n in range(100)}
    assert [*next(s.ranges for s in line.told if s.epoch == "e0")] == [(1, 2)]


def test_without_a_memory_the_retained_message_is_where_it_goes_on() -> None:
    writer = Writer(Line(), remembers=False)
    payload = encode_stored(Stored("edge-01", "e1", [(1, 9)]), T0)
    writer.acks.heard(Message(TOPICS.stored("w1", "edge-01"), payload, retained=True))
    assert writer.acks.missing([("edge-01", "e1")]) == []
    assert writer.store(*of("e1", 10)) == [("e1", [(1, 10)])]


def test_what_others_have_is_told_of_each_epoch() -> None:
    writer = Writer(Line(), shared=True)
    for epoch in ("e1", "e2"):
        payload = encode_stored(Stored("edge-01", epoch, [(1, 4)]), T0)
        writer.acks.heard(Message(TOPICS.stored("w2", "edge-01"), payload, retained=False))
    assert writer.store(*of("e1", 5), *of("e2", 6, at=1)) == [("e1", [(1, 5)]), ("e2", [(1, 4), (6, 6)])]
