"""The marks of the publisher: what was sent, what is stored, what is sent again."""

import asyncio
from collections.abc import Callable

import pytest

from gateway.buffer import Limits, SegmentLog
from gateway.buffer.contract import NotReadableError
from gateway.counters import FlowCounters
from gateway.errors import NotConnectedError
from gateway.mqtt.link import Message
from gateway.mqtt.local import LocalBroker
from gateway.mqtt.payload import Stored, encode_loss, encode_stored
from gateway.mqtt.topics import Topics
from gateway.publisher import Publisher

T = 1_763_789_123_000_000_000
TOPICS = Topics("plant")


class Clock:
    """Time that a test moves."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def now(self) -> int:
        return T

    def monotonic(self) -> float:
        return self.seconds

    def trusted(self) -> bool:
        return True


class Subscriber:
    """Somebody at the other end of the broker."""

    def __init__(self) -> None:
        self.payloads: list[bytes] = []

    def on_connected(self) -> None: ...
    def on_disconnected(self, reason: str) -> None: ...
    def on_published(self, mid: int, reason_code: int) -> None: ...
    def on_message(self, message: Message) -> None:
        self.payloads.append(message.payload)


class Edge:
    """A buffer, a publisher, a broker and a subscriber."""

    def __init__(
        self, delivery: str = "store", window: int = 3, rate: float | None = None, hold: bool = True,
        writer: Callable[[], str | None] = lambda: None,
    ) -> None:  # fmt: skip
        self.clock, self.counters, self.broker = Clock(), FlowCounters(), LocalBroker()
        self.buffer = SegmentLog(
            None, Limits(10**6, 3600.0), lambda loss, seq: ("loss", encode_loss(loss, "edge", seq)), self.clock
        )
        self.link = self.broker.link()
        self.retained: list[str] = []  # topics of which the broker has the newest
        self.publisher = Publisher(
            self.link, self.buffer, TOPICS, "edge", self.clock, self.counters,
            delivery=delivery, window=window, births=lambda: [("plant/_gateway/edge/status", b"born")],
            rate=rate, hold=hold, on_retained=self.retained.append, writer=writer,
        )  # fmt: skip
        self.store = Subscriber()
        self.store_link = self.broker.link()

    async def start(self, subscribed: bool = True) -> None:
        await self.store_link.start(self.store)
        if subscribed:
            self.store_link.subscribe(["plant/+/data"])
        await self.link.start(self.publisher)
        await self.settled()

    async def settled(self) -> None:
        """Until nothing more is called: every step of the in-process broker is one turn of the loop."""
        for _ in range(200):
            await asyncio.sleep(0)

    def append(self, *payloads: bytes, machine: str = "m") -> None:
        for payload in payloads:
            self.buffer.append(f"plant/{machine}/data", lambda _, payload=payload: payload, 1, T, T)
        self.publisher.wake()

    def append_without_broker(self, *payloads: bytes) -> None:
        """Records that wait when the link is there again."""
        self.publisher.on_disconnected("cut")
        self.link.connected = False
        self.append(*payloads)
        self.link.connected = True
        self.publisher.on_connected()

    def acknowledge(self, *ranges: tuple[int, int], epoch: str | None = None) -> None:
        stored = Stored("edge", epoch or self.buffer.epoch, ranges)
        self.store_link.publish(TOPICS.stored("w1", "edge"), encode_stored(stored, T), retain=True)


@pytest.fixture
async def edge() -> Edge:
    each = Edge()
    await each.start()
    return each


async def test_what_the_broker_took_is_sent_but_not_stored(edge):
    edge.append(b"1", b"2", b"3", b"4", b"5")
    await edge.settled()
    assert edge.store.payloads == [b"1", b"2", b"3", b"4", b"5"]
    assert (edge.buffer.sent, edge.buffer.stored, edge.buffer.usage.records) == (5, 0, 5)


async def test_the_store_frees_what_it_has(edge):
    edge.append(b"1", b"2", b"3")
    await edge.settled()
    edge.acknowledge((1, 1), (3, 3))
    await edge.settled()
    assert edge.buffer.stored == 1
    edge.acknowledge((1, 3))
    await edge.settled()
    assert (edge.buffer.stored, edge.buffer.usage.records, edge.counters.stored) == (3, 0, 3)


async def test_an_acknowledgement_of_another_epoch_or_of_nonsense_frees_nothing(edge):
    edge.append(b"1")
    edge.acknowledge((1, 1), epoch="00000000")
    edge.store_link.publish(TOPICS.stored("w2", "edge"), b'{"v": 1, "ranges": "all"}', retain=True)
    await edge.settled()
    assert edge.buffer.stored == 0
    assert "cannot be read" in edge.publisher.alarm


async def test_the_window_is_never_exceeded():
    edge = Edge(window=2)
    most = 0
    publish = edge.link.publish

    def counted(*args: object, **kwargs: object) -> int:
        nonlocal most
        mid = publish(*args, **kwargs)  # type: ignore[arg-type]
        most = max(most, len(edge.publisher._in_flight) + len(edge.publisher._owed) + 1)
        return mid

    edge.link.publish = counted  # type: ignore[method-assign]
    await edge.start()
    edge.append(*(b"%d" % i for i in range(50)))
    await edge.settled()
    assert len(edge.store.payloads) == 50
    assert most == 2


async def test_nobody_subscribes_so_nothing_counts_as_sent_until_somebody_does():
    edge = Edge()
    await edge.start(subscribed=False)
    edge.append(b"1", b"2")
    for _ in range(3):  # at first it may only be a store that is a moment late
        await edge.settled()
        assert edge.buffer.sent == 0
        edge.clock.seconds += 6
        edge.publisher.tick()
    await edge.settled()
    assert "is `gateway store` running" in edge.publisher.reason
    edge.store_link.subscribe(["plant/+/data"])
    edge.clock.seconds += 6
    edge.publisher.tick()
    await edge.settled()
    assert edge.store.payloads == [b"1", b"2"]
    assert (edge.buffer.sent, edge.publisher.reason) == (2, "")


async def test_a_new_connection_starts_over_after_the_sent_mark(edge):
    edge.append(b"1", b"2")
    await edge.settled()
    edge.buffer.append("plant/m/data", lambda _: b"3", 1, T, T)
    edge.publisher.on_disconnected("cut")
    edge.publisher.on_connected()
    await edge.settled()
    assert edge.store.payloads == [b"1", b"2", b"3"]


async def test_a_store_that_does_not_acknowledge_gets_everything_again_then_one_probe_at_a_time(edge):
    edge.append(b"1", b"2", b"3")
    await edge.settled()
    for _ in range(2):
        edge.clock.seconds += 31
        edge.publisher.tick()
        await edge.settled()
    # First all of it; as that brought no answer, then only the oldest, so that a store that is away is not flooded.
    assert edge.store.payloads == [b"1", b"2", b"3", b"1", b"2", b"3", b"1"]
    assert "has not acknowledged 3 messages" in edge.publisher.alarm
    edge.acknowledge((1, 3))
    await edge.settled()
    assert (edge.buffer.stored, edge.publisher.alarm) == (3, "")


async def test_only_the_hole_is_sent_again(edge):
    edge.append(b"1", b"2", b"3", b"4")
    await edge.settled()
    edge.acknowledge((1, 1), (3, 4))
    await edge.settled()
    edge.clock.seconds += 31
    edge.publisher.tick()
    await edge.settled()
    assert edge.store.payloads[4:] == [b"2"]


async def test_without_a_store_the_broker_is_the_end():
    edge = Edge(delivery="broker")
    await edge.start()
    edge.append(b"1", b"2")
    await edge.settled()
    assert (edge.buffer.stored, edge.publisher.busy) == (2, False)


async def test_births_come_first(edge):
    listener = Subscriber()
    link = edge.broker.link()
    await link.start(listener)
    link.subscribe(["plant/#"])
    await edge.settled()
    assert listener.payloads == [b"born"]


async def test_what_cannot_be_said_of_one_machine_holds_up_nothing(edge, caplog):
    edge.publisher.retain("plant/m/meta", lambda: encode_stored(Stored("edge", 2**70, ()), T))  # type: ignore[arg-type]
    edge.append(b"1")
    edge.publisher.retain("plant/n/meta", lambda: b"meta")
    await edge.settled()
    assert edge.store.payloads == [b"1"]
    assert edge.broker._retained["plant/n/meta"] == b"meta"
    assert "plant/m/meta cannot be said" in caplog.text


@pytest.mark.parametrize("code", [0x87, 0x97])
async def test_a_refusal_by_the_broker_holds_and_says_so(edge, code, monkeypatch):
    publish: Callable[..., int] = edge.broker._publish
    monkeypatch.setattr(edge.broker, "_publish", lambda *a: code)
    edge.append(b"1")
    for _ in range(3):
        await edge.settled()
        edge.clock.seconds += 6
        edge.publisher.tick()
    await edge.settled()
    assert f"reason code {code}" in edge.publisher.reason
    assert edge.buffer.sent == 0
    monkeypatch.setattr(edge.broker, "_publish", publish)
    edge.clock.seconds += 6
    edge.publisher.tick()
    await edge.settled()
    assert edge.store.payloads == [b"1"]


@pytest.mark.parametrize("order", ["ab", "ba"])
async def test_a_topic_nobody_takes_does_not_hold_up_the_others(order):
    edge = Edge(delivery="broker")
    await edge.start(subscribed=False)
    edge.store_link.subscribe(["plant/a/data"])
    for i in range(30):
        for machine in order:
            edge.append(f"{machine}{i}".encode(), machine=machine)
        await edge.settled()
    assert edge.store.payloads == [f"a{i}".encode() for i in range(30)]
    assert edge.buffer.sent == (order == "ab")  # never past what waits
    edge.store_link.subscribe(["plant/b/data"])
    edge.clock.seconds += 6
    edge.publisher.tick()
    await edge.settled()
    assert edge.store.payloads[30:] == [f"b{i}".encode() for i in range(30)]  # all of them, in order
    assert (edge.buffer.stored, edge.publisher.busy, edge.publisher.reason) == (60, False, "")


async def test_what_was_never_sent_cannot_be_stored(edge):
    """Everybody may publish at a broker: an acknowledgement of the future frees nothing that has not been sent."""
    edge.link.connected = False
    edge.append(b"1", b"2", b"3")
    edge.link.connected = True
    edge.publisher.on_message(
        Message("plant/_store/w/edge", encode_stored(Stored("edge", edge.buffer.epoch, [(1, 10**12)]), T), True)
    )
    await edge.settled()
    assert edge.store.payloads == [b"1", b"2", b"3"]


async def test_too_large_for_the_broker_is_given_up_and_declared(edge, monkeypatch):
    publish: Callable[..., int] = edge.broker._publish
    monkeypatch.setattr(edge.broker, "_publish", lambda t, p, r: 0x95 if p == b"big" else publish(t, p, r))
    edge.append(b"1", b"big", b"3")
    await edge.settled()
    assert edge.store.payloads == [b"1", b"3"]
    (loss,) = [r for r in edge.buffer.read(0, 10) if r.is_loss]
    assert b"too-large" in loss.payload


async def test_the_window_holds_after_a_rewind_too():
    """A broker may end a connection with more under way than it allows (MQTT 5.0, 3.3.4)."""
    edge = Edge(window=2)
    await edge.start()
    under_way: list[int] = []
    edge.link.publish = lambda *a, **k: under_way.append(1) or len(under_way) + 100  # type: ignore[method-assign]
    edge.append(b"1", b"2", b"3")
    assert len(under_way) == 2
    edge.publisher._rewind(0)
    edge.publisher.wake()
    assert len(under_way) == 2
    edge.publisher.on_published(101, 0)
    assert len(under_way) == 3
    assert edge.buffer.sent == 0


async def test_a_link_that_breaks_while_it_is_asked_again_ends_nothing(edge):
    edge.append(b"1")
    await edge.settled()

    def broken(*_: object, **__: object) -> int:
        raise NotConnectedError("gone")

    edge.link.publish = broken  # type: ignore[method-assign]
    for _ in range(3):
        edge.clock.seconds += 31
        edge.publisher.tick()


# --- what waited, beside what is new -----------------------------------------------------------------------------------


def seen(edge: Edge) -> list[int]:
    return [int(payload) for payload in edge.store.payloads]


async def test_what_is_new_goes_before_what_waited():
    edge = Edge(window=10)
    await edge.start()
    edge.append_without_broker(*(b"%d" % i for i in range(1, 1001)))
    edge.append(b"1001")
    await edge.settled()
    order = seen(edge)
    assert order.index(1001) < 20
    assert [n for n in order if n <= 1000] == sorted(n for n in order if n <= 1000)
    for _ in range(40):
        edge.acknowledge((1, max(n for n in order if n <= 1000)), (1001, 1001))
        await edge.settled()
        order = seen(edge)
    assert order == [*dict.fromkeys(order)], "nothing twice"
    assert set(order) == set(range(1, 1002))
    assert (edge.buffer.stored, edge.publisher.backlog) == (1001, 0)


async def test_history_waits_for_the_store():
    """What is sent faster than it is stored would wait in the broker, in front of what is new."""
    edge = Edge(window=50)
    await edge.start()
    edge.append_without_broker(*(b"%d" % i for i in range(1, 2001)))
    for _ in range(5):
        await edge.settled()
    assert len(seen(edge)) == 256
    edge.acknowledge((1, 200))
    await edge.settled()
    assert 400 <= len(seen(edge)) <= 600


async def test_a_poor_link_limits_history_and_nothing_else():
    edge = Edge(window=50, rate=100.0)
    await edge.start()
    edge.append_without_broker(*(b"%050d" % i for i in range(1, 101)))
    await edge.settled()
    assert len(seen(edge)) <= 3
    for _ in range(10):
        edge.clock.seconds += 1
        edge.publisher.tick()
        await edge.settled()
    assert 15 <= len(seen(edge)) <= 25  # two of fifty bytes each second
    edge.append(*(b"%d" % i for i in range(500, 540)))
    await edge.settled()
    assert set(range(500, 540)) <= set(seen(edge))


async def test_a_broker_that_is_too_slow_gets_what_is_new_first():
    edge = Edge(window=10)
    await edge.start()
    publish = edge.link.publish
    under_way: list[tuple[object, ...]] = []
    edge.link.publish = lambda *a, **k: under_way.append(a) or 5000 + len(under_way)  # type: ignore[method-assign]
    edge.append(*(b"%d" % i for i in range(100)))
    edge.link.publish = publish  # type: ignore[method-assign]
    for mid in range(5001, 5011):
        edge.publisher.on_published(mid, 0)
    edge.append(b"100")
    await edge.settled()
    assert seen(edge).index(100) < 15
    assert set(seen(edge)) == {*range(90), 100}  # the rest is under way


async def test_a_message_nobody_subscribes_to_is_taken_where_that_is_wanted():
    edge = Edge(delivery="broker", hold=False)
    await edge.start(subscribed=False)
    edge.append(b"1", b"2")
    await edge.settled()
    assert (edge.buffer.stored, edge.publisher.reason) == (2, "")


async def test_records_of_an_epoch_before_are_acknowledged_by_their_own_numbers():
    edge = Edge()
    edge.append(b"1", b"2", b"3")
    edge.buffer._begin_epoch()  # as a start after a kill does
    edge.append(b"4", b"5")
    before, now = (each.name for each in edge.buffer._numbering.epochs)
    await edge.start()
    await edge.settled()
    edge.acknowledge((1, 2), epoch=now)
    await edge.settled()
    assert edge.buffer.stored == 0
    edge.acknowledge((1, 3), epoch=before)
    await edge.settled()
    assert edge.buffer.stored == 5


async def test_what_follows_a_message_that_has_to_wait_is_only_sent_once_that_is_safe(edge, monkeypatch):
    """Or after a crash what follows would be in the store, and the one before nowhere, without a word."""
    publish: Callable[..., int] = edge.broker._publish
    monkeypatch.setattr(edge.broker, "_publish", lambda t, p, r: 0x97 if "/b/" in t else publish(t, p, r))
    monkeypatch.setattr(SegmentLog, "firm", property(lambda self: self.accepted))  # as with a disk
    edge.append(b"1", machine="b")
    await edge.settled()
    edge.append(b"2")
    await edge.settled()
    assert seen(edge) == []
    edge.buffer.accepted = 2
    edge.publisher.tick()
    await edge.settled()
    assert seen(edge) == [2]


async def test_what_is_true_now_is_retained_while_older_readings_follow():
    edge = Edge(window=10)
    edge.publisher._latest = lambda: [("plant/m/latest", b"newest")]
    await edge.start()
    edge.store_link.subscribe(["plant/+/latest"])
    edge.append_without_broker(*(b"%d" % i for i in range(1, 301)))
    await edge.settled()
    assert edge.store.payloads[0] == b"newest"
    assert edge.broker._retained["plant/m/latest"] == b"newest"
    edge.acknowledge((1, 256))
    for _ in range(5):
        await edge.settled()
    assert edge.publisher.backlog == 0
    assert "plant/m/latest" not in edge.broker._retained  # it would be old soon
    assert edge.store.payloads[-1] == b""


async def test_without_a_backlog_nothing_is_retained_but_births():
    edge = Edge(window=10)
    edge.publisher._latest = lambda: [("plant/m/latest", b"newest")]
    await edge.start()
    edge.append(b"1", b"2")
    await edge.settled()
    assert list(edge.broker._retained) == ["plant/_gateway/edge/status"]


async def test_a_refused_topic_stops_no_history_of_others(monkeypatch):
    edge = Edge(window=50)
    publish: Callable[..., int] = edge.broker._publish
    monkeypatch.setattr(edge.broker, "_publish", lambda t, p, r: 0x87 if "/bad/" in t else publish(t, p, r))
    edge.append(b"0", machine="bad")
    edge.append(*(b"%d" % i for i in range(1, 2001)))
    await edge.start()
    for _ in range(40):
        if edge.store.payloads:
            edge.acknowledge((2, max(seen(edge)) + 1))
        edge.clock.seconds += 0.5
        edge.publisher.tick()
        await edge.settled()
    assert set(seen(edge)) == set(range(1, 2001))
    assert (edge.publisher.backlog, edge.buffer.stored) == (0, 0)


async def test_what_a_store_has_missed_is_sent_again_although_a_topic_is_refused(monkeypatch):
    edge = Edge(window=50)
    publish: Callable[..., int] = edge.broker._publish
    monkeypatch.setattr(edge.broker, "_publish", lambda t, p, r: 0x87 if "/bad/" in t else publish(t, p, r))
    await edge.start()
    edge.append(b"0", machine="bad")
    edge.append(*(b"%d" % i for i in range(1, 11)))
    await edge.settled()
    edge.acknowledge((2, 5), (7, 11))  # the fifth is missing
    await edge.settled()
    assert seen(edge).count(5) == 1
    edge.clock.seconds += 40
    edge.publisher.tick()
    await edge.settled()
    assert seen(edge).count(5) == 2
    assert seen(edge).count(6) == 1


@pytest.mark.parametrize(("window", "allowed"), [(100, 20), (50, 10), (50, 1)])
async def test_a_broker_that_allows_little_gets_history_too(window, allowed):
    edge = Edge(window=window)
    edge.link.receive_maximum = allowed
    edge.append(*(b"%d" % i for i in range(1, 101)))
    await edge.start()
    assert seen(edge) == list(range(1, 101))


async def test_what_a_brokers_word_did_not_deliver_is_sent_when_that_is_all_there_is():
    """`delivery` was `store` before: what the broker took then, and no store has, is sent once more."""
    edge = Edge(delivery="broker")
    edge.append(b"1", b"2", b"3")
    edge.buffer.mark_sent(3)
    await edge.start()
    assert edge.store.payloads == [b"1", b"2", b"3"]
    assert edge.buffer.stored == 3


@pytest.mark.parametrize("delivery", ["store", "broker"])
async def test_a_disk_that_does_not_give_out_what_waits_is_asked_again(delivery, monkeypatch):
    edge = Edge(delivery=delivery)
    edge.append(b"1", b"2", b"3")
    read = edge.buffer.read

    def ill(after: int, limit: int) -> object:
        raise NotReadableError("a bad sector")

    monkeypatch.setattr(edge.buffer, "read", ill)
    await edge.start()
    edge.publisher.tick()
    await edge.settled()
    assert edge.store.payloads == []
    monkeypatch.setattr(edge.buffer, "read", read)
    edge.publisher.tick()
    await edge.settled()
    assert edge.store.payloads == [b"1", b"2", b"3"]


async def test_a_loss_record_that_is_refused_for_good_is_held(edge, monkeypatch):
    """Or it would be declared lost by another one, which is refused, too."""
    topic = TOPICS.loss("edge")
    publish: Callable[..., int] = edge.broker._publish
    monkeypatch.setattr(edge.broker, "_publish", lambda t, p, r: 0x90 if t == topic else publish(t, p, r))
    edge.buffer.append(topic, lambda _: b"lost", 0, T, T)
    edge.publisher.wake()
    await edge.settled()
    assert edge.buffer.last == 1
    assert edge.buffer.stored == 0


async def test_what_a_store_has_missed_is_sent_again_while_it_stores_everything_else(edge):
    """A plant is never quiet: what is new is acknowledged all the time, and must not hide what is missing."""
    edge.append(*(b"%d" % i for i in range(1, 6)))
    await edge.settled()
    for n in range(6, 90):
        edge.append(b"%d" % n)
        await edge.settled()
        edge.acknowledge((1, 2), (4, n))
        await edge.settled()
        edge.clock.seconds += 0.5
        edge.publisher.tick()
        await edge.settled()
    assert seen(edge).count(3) >= 2
    assert seen(edge).count(4) == 1


async def test_the_broker_has_what_is_retained_when_it_took_the_newest(edge, monkeypatch):
    edge.retained.clear()
    mids: list[int] = []
    monkeypatch.setattr(edge.link, "publish", lambda *_, **__: mids.append(100 + len(mids)) or mids[-1])
    edge.publisher.retain("plant/m/meta", b"first")
    edge.publisher.retain("plant/m/meta", b"second")
    edge.publisher.on_published(mids[0], 0x00)
    assert edge.retained == []  # the second is on its way
    edge.publisher.on_published(mids[1], 0x87)  # not authorized: MQTT 5.0, 3.4.2.1
    assert edge.retained == []
    edge.publisher.retain("plant/m/meta", b"third")
    edge.publisher.on_published(mids[2], 0x10)  # nobody subscribes, and it is retained all the same
    assert edge.retained == ["plant/m/meta"]
    # One that finds no room in the window waits, and is newer than what is answered.
    edge.retained.clear()
    for machine in "abc":
        edge.publisher.retain(f"plant/{machine}/meta", b"x")
    edge.publisher.retain("plant/a/meta", b"")
    assert len(mids) == 6
    monkeypatch.setattr(edge.publisher, "_room", lambda: 0)
    edge.publisher.on_published(mids[3], 0x00)
    assert edge.retained == []
    edge.publisher.on_published(mids[4], 0x00)
    assert edge.retained == ["plant/b/meta"]


async def test_that_nobody_is_there_is_said_once_however_many_machines_there_are(edge, caplog):
    edge.store_link._filters.clear()
    for machine in "abcdefgh":
        edge.append(b"1", b"2", machine=machine)
    for _ in range(60):
        edge.clock.seconds += 1.0
        edge.publisher.tick()
        await edge.settled()
    said = [record.getMessage() for record in caplog.records if "nobody to give" in record.getMessage()]
    assert len(said) == 1
    assert "is `gateway store` running?" in said[0]
    assert "nobody to give" in edge.publisher.reason
    edge.store_link.subscribe(["plant/+/data"])
    for _ in range(20):
        edge.clock.seconds += 1.0
        edge.publisher.tick()
        await edge.settled()
    assert edge.publisher.reason == ""
    assert len(edge.store.payloads) >= 16


@pytest.mark.parametrize(
    ("says", "told"),
    [
        ("", "the store writer of this gateway: it has not subscribed yet"),
        ("mqtt://b:1: nothing listens there", "the store writer of this gateway: mqtt://b:1: nothing listens there"),
    ],
)
async def test_the_own_writer_is_named(says, told):
    edge = Edge(writer=lambda: says)
    await edge.start(subscribed=False)
    edge.append(b"1")
    for _ in range(20):
        edge.clock.seconds += 1.0
        edge.publisher.tick()
        await edge.settled()
    assert edge.publisher.reason.endswith(told)


async def test_who_listens_hears_that_the_broker_is_there(edge):
    heard = []
    edge.publisher.on_reached = lambda: heard.append(edge.publisher.reason)
    edge.publisher.on_disconnected("cut")
    edge.publisher.on_connected()
    assert heard == [""]
