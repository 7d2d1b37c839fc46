"""The writer between a real Mosquitto and real stores."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import StoreError
from gateway.model import Header, MachinePath, Signal, Value
from gateway.mqtt.client import Endpoint, PahoLink
from gateway.mqtt.link import Message
from gateway.mqtt.local import LocalBroker
from gateway.mqtt.payload import Loss, Stored, decode_stored, encode_loss, encode_meta, encode_status
from gateway.mqtt.topics import Topics
from gateway.schedule import Backoff
from gateway.store import acknowledgements
from gateway.store import writer as writer_module
from gateway.store.contract import Readings, Store
from gateway.store.historian import Historian
from gateway.store.writer import StoreWriter
from parts.influxdb1 import InfluxDB1
from parts.mosquitto import Mosquitto
from store.material import PRESS, SECOND, T0, encoded, eventually, influx_store

TOPICS = Topics()
EVER = 2**62


@pytest.fixture
def broker() -> Iterator[Mosquitto]:
    with Mosquitto(conf=["max_queued_messages 10000"]) as part:
        yield part


def link(port: int, name: str, **more: Any) -> PahoLink:
    return PahoLink(Endpoint("127.0.0.1", port, name, **more), backoff=Backoff(0.05, 0.2))


@asynccontextmanager
async def writing(
    broker: Mosquitto, store: Store, name: str = "w1", share: str | None = None
) -> AsyncIterator[StoreWriter]:
    """A writer at work."""
    writer = StoreWriter(
        link(broker.port, f"store-{name}", persistent=True), TOPICS, store, name, share, backoff=Backoff(0.05, 0.2)
    )
    await writer.start()
    await eventually(lambda: "broker" not in writer._troubles, "the connection")
    try:
        yield writer
    finally:
        await writer.stop()


class Gateway:
    """The sending side: publishes what it is told to, and hears what is stored."""

    def __init__(self, port: int, **more: Any) -> None:
        self.link = link(port, "edge-01", **more)
        self.heard: dict[str, Stored] = {}  # by writer
        self.all: list[Stored] = []
        self.owed: set[int] = set()

    async def __aenter__(self) -> Gateway:
        await self.link.start(self)
        await eventually(lambda: self.link.connected, "the gateway's connection")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.link.stop()

    def on_connected(self) -> None:
        self.link.subscribe([TOPICS.stored("+", "edge-01")])

    def on_disconnected(self, reason: str) -> None: ...

    def on_published(self, mid: int, reason_code: int) -> None:
        self.owed.discard(mid)

    def on_message(self, message: Message) -> None:
        stored = decode_stored(message.payload)
        self.heard[message.topic.split("/")[-2]] = stored
        self.all.append(stored)
        self.link.ack([message])

    async def send(
        self, seqs: Sequence[int], epoch: str = "e1", path: MachinePath = PRESS, value: Value = None
    ) -> None:
        """One message for each seq, and wait until the broker has them."""
        for seq in seqs:
            frames = [(T0 + seq * SECOND, {"temp": float(seq) if value is None else value}, {})]
            self.owed.add(self.link.publish(TOPICS.data(path), encoded("edge-01", epoch, seq, frames)))
        await eventually(lambda: not self.owed, "the broker to take the messages")

    def stored(self, writer: str = "w1") -> list[tuple[int, int]]:
        return [*self.heard[writer].ranges] if writer in self.heard else []


def times(path: Path) -> list[int]:
    """Which seconds of `temp` a historian has."""
    try:
        reader = Historian.open_read_only(path)
    except StoreError:
        return []
    try:
        return [(t - T0) // SECOND for t in reader.query("press-07", "temp", 0, EVER).time]
    except StoreError:
        return []
    finally:
        reader.close()


# --- the way of the data ---------------------------------------------------------------------------------------------


async def test_what_is_published_is_stored_and_acknowledged(broker: Mosquitto, tmp_path: Path) -> None:
    path = tmp_path / "h.sqlite"
    store = Historian(path)
    async with Gateway(broker.port) as gateway, writing(broker, store) as writer:
        await gateway.send(range(1, 501))
        await eventually(lambda: gateway.stored() == [(1, 500)], "all to be acknowledged")
        status = writer.status
    assert times(path) == list(range(1, 501))
    assert (status.ok, status.messages, status.readings, status.rejected) == (True, 500, 500, 0)
    assert status.lag is not None
    store.close()


async def test_what_is_not_ours_is_counted_and_does_not_hold_up_the_rest(
    broker: Mosquitto, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "h.sqlite"
    store = Historian(path)
    good = encoded("edge-01", "e1", 1, [(T0, {"temp": 1.0}, {})])
    async with Gateway(broker.port) as gateway, writing(broker, store) as writer:
        for payload in (b"", b"hello", b"[]", b'{"v":2}', good.replace(b"edge-01", b"edge/+/#"), good[:-5]):
            for _ in range(2):
                gateway.owed.add(gateway.link.publish(TOPICS.data(PRESS), payload))
        gateway.owed.add(
            gateway.link.publish(TOPICS.loss("edge-02"), encode_loss(Loss("e1", 1, 1, 1, T0, T0, "x"), "edge-01", 3))
        )
        gateway.owed.add(gateway.link.publish(TOPICS.meta(PRESS), encode_meta(MachinePath("x"), (), "edge-01")))
        gateway.owed.add(gateway.link.publish(TOPICS.stored("w9", "edge-09"), b"nonsense"))
        await gateway.send([5])
        await eventually(lambda: gateway.stored() == [(5, 5)], "the good one")
        assert writer.status.rejected == 15
        # One that has an identity but not a readable time is dealt with too: it is recorded as lost.
        late = encoded("edge-01", "e1", 6, [(T0, {"temp": 1.0}, {})]).replace(str(T0 // 10**9).encode(), b"99999999999")
        gateway.owed.add(gateway.link.publish(TOPICS.data(PRESS), late))
        await eventually(lambda: gateway.stored() == [(5, 6)], "the refused one")
        assert writer.status.ok
        # Nothing is left with the broker: it would come for ever.
    async with writing(broker, store) as writer, Gateway(broker.port) as gateway:
        await gateway.send([7])
        await eventually(lambda: gateway.stored() == [(5, 7)], "the next one")
        assert writer.status.rejected == 0
    complaints = [record.message for record in caplog.records if record.message.startswith("not stored")]
    assert len(complaints) == len(set(complaints)) == 10
    store.close()


async def test_losses_and_meta_are_stored(broker: Mosquitto, tmp_path: Path) -> None:
    path = tmp_path / "h.sqlite"
    store = Historian(path)
    loss = Loss("e1", 1, 9, 90, T0, T0 + SECOND, "buffer full")
    header = Header(PRESS, (Signal("temp", "float", unit="Cel"),))
    async with Gateway(broker.port) as gateway, writing(broker, store):
        gateway.link.publish(TOPICS.meta(PRESS), encode_meta(header.path, header.signals, "edge-01"), retain=True)
        gateway.link.publish(TOPICS.loss("edge-01"), encode_loss(loss, "edge-01", 10))
        await gateway.send([11])
        await eventually(lambda: gateway.stored() == [(10, 11)], "both to be acknowledged")
    reader = Historian.open_read_only(path)
    assert [(lost.gateway, lost.seq, lost.loss) for lost in reader.losses(0, EVER)] == [("edge-01", 10, loss)]
    assert [(s.machine, s.signal, s.unit) for s in reader.signals()] == [(PRESS, "temp", "Cel")]
    reader.close()
    store.close()


async def test_a_machines_place_comes_from_its_meta(broker: Mosquitto, tmp_path: Path) -> None:
    place = MachinePath("press-07", enterprise="acme", line="L1")  # the topic alone does not tell a line from a site
    store = Historian(tmp_path / "h.sqlite")
    async with Gateway(broker.port) as gateway:
        gateway.link.publish(TOPICS.meta(place), encode_meta(place, (), "edge-01"), retain=True)
        async with writing(broker, store):
            await gateway.send([1], path=place)
            await eventually(lambda: gateway.stored() == [(1, 1)], "the message")
    reader = Historian.open_read_only(tmp_path / "h.sqlite")
    assert {s.machine for s in reader.signals()} == {place}
    reader.close()
    store.close()


async def test_data_that_waited_for_the_writer_is_placed_by_the_meta_that_comes_after_it(
    broker: Mosquitto, tmp_path: Path
) -> None:
    """The broker sends what it kept for a session before anything is subscribed; a series with a guessed place stays."""
    place = MachinePath("press-07", enterprise="acme", line="L1")
    with InfluxDB1() as influx:
        influx.query("CREATE DATABASE shop")
        store = influx_store(influx.url, tmp_path, database="shop")
        async with Gateway(broker.port) as gateway:
            async with writing(broker, store):
                pass  # the session is there
            gateway.link.publish(TOPICS.meta(place), encode_meta(place, (), "edge-01"), retain=True)
            await gateway.send(range(1, 18), path=place)  # enough not to be waited for
            async with writing(broker, store):
                await eventually(lambda: gateway.stored() == [(1, 17)], "the messages")
        places = influx.query("SELECT * FROM machine GROUP BY *", "shop")
        assert [(row.get("line"), row.get("site")) for row in places] == [("L1", None)] * 17
        store.close()


async def test_data_waits_a_moment_for_the_meta_of_its_machine(tmp_path: Path) -> None:
    place = MachinePath("press-07", enterprise="acme", line="L1")
    broker = LocalBroker()
    with InfluxDB1() as influx:
        influx.query("CREATE DATABASE shop")
        store = influx_store(influx.url, tmp_path, database="shop")
        gateway = Gateway(0)
        gateway.link = broker.link()  # type: ignore[assignment]
        writer = StoreWriter(broker.link(), TOPICS, store, "w1")
        await writer.start()
        async with gateway:
            await eventually(lambda: writer.status.ok, "the writer")
            await gateway.send(range(1, 18), path=place)
            for _ in range(100):  # time enough to take them up
                await asyncio.sleep(0)
            gateway.link.publish(TOPICS.meta(place), encode_meta(place, (), "edge-01"))
            await eventually(lambda: gateway.stored() == [(1, 17)], "the messages")
        await writer.stop()
        places = influx.query("SELECT * FROM machine GROUP BY *", "shop")
        assert [(row.get("line"), row.get("site")) for row in places] == [("L1", None)] * 17
        store.close()


async def test_of_two_epochs_in_one_commit_the_newer_one_is_retained(tmp_path: Path) -> None:
    store, broker = Historian(tmp_path / "h.sqlite"), LocalBroker()
    gateway = Gateway(0)
    gateway.link = broker.link()  # type: ignore[assignment]
    writer = StoreWriter(broker.link(), TOPICS, store, "w1")
    await writer.start()
    async with gateway:
        await eventually(lambda: writer.status.ok, "the writer")
        for first, second in (("e1", "e2"), ("e4", "e3")):
            newer = max(first, second)
            for epoch in (first, second):
                at = T0 + int(epoch[1]) * SECOND
                payload = encoded("edge-01", epoch, 1, [(at, {"temp": 1.0}, {})])
                gateway.link.publish(TOPICS.data(PRESS), payload)
            await eventually(lambda newer=newer: any(s.epoch == newer for s in gateway.all), "both")  # type: ignore[misc]
            assert [s.epoch for s in gateway.all[-2:]] == sorted((first, second))
    await writer.stop()
    store.close()


async def test_a_new_epoch_takes_over(broker: Mosquitto, tmp_path: Path) -> None:
    store = Historian(tmp_path / "h.sqlite")
    async with Gateway(broker.port) as gateway, writing(broker, store):
        await gateway.send(range(1, 6))
        await eventually(lambda: gateway.stored() == [(1, 5)], "the first epoch")
        await gateway.send([100], epoch="e2")
        await eventually(lambda: gateway.heard["w1"].epoch == "e2", "the second epoch")
        assert gateway.stored() == [(100, 100)]
        await gateway.send([6], epoch="e1")  # a straggler is acknowledged …
        await eventually(lambda: any(s.epoch == "e1" and s.ranges == [(1, 6)] for s in gateway.all), "the straggler")
        await gateway.send([101], epoch="e2")  # … and does not stay what is retained
        await eventually(lambda: gateway.heard["w1"].epoch == "e2" and gateway.stored() == [(100, 101)], "e2 again")
    store.close()


def epochs_heard(gateway: Gateway) -> dict[str, list[tuple[int, int]]]:
    return {stored.epoch: [*stored.ranges] for stored in gateway.all}


@pytest.mark.parametrize("greeted", [True, False])
async def test_a_gateway_that_comes_back_learns_of_all_its_epochs_without_sending(
    broker: Mosquitto, tmp_path: Path, greeted: bool
) -> None:
    """Only one epoch is retained: without a word of its own (negative control) it would have to send the others again."""
    expected = {f"e{n}": [(1, n)] for n in range(1, 31)}
    store = Historian(tmp_path / "h.sqlite")
    async with writing(broker, store):
        async with Gateway(broker.port) as gateway:
            for n in range(1, 31):
                await gateway.send(range(1, n + 1), epoch=f"e{n}")
            await eventually(lambda: epochs_heard(gateway) == expected, "all to be acknowledged")
        async with Gateway(broker.port) as gateway:
            await eventually(lambda: bool(gateway.all), "what is retained")
            assert epochs_heard(gateway) == {"e30": [(1, 30)]}
            if greeted:
                status = encode_status("online", T0, "", gateway="edge-01")
                gateway.link.publish(TOPICS.gateway_status("edge-01"), status, retain=True)
                await eventually(lambda: epochs_heard(gateway) == expected, "the others")
                assert gateway.all[-1].epoch == "e30"
            else:
                await asyncio.sleep(0.5)
                assert epochs_heard(gateway) == {"e30": [(1, 30)]}
        async with Gateway(broker.port) as gateway:
            await eventually(lambda: bool(gateway.all), "what is retained")
            assert epochs_heard(gateway) == {"e30": [(1, 30)]}  # still the current one
    # The writer goes and comes back: those that are there are told, without a word of theirs.
    async with Gateway(broker.port) as gateway, writing(broker, store) as writer:
        await eventually(lambda: epochs_heard(gateway) == expected, "all of them")
        await gateway.send([31], epoch="e30")
        await eventually(lambda: gateway.stored() == [(1, 31)], "the next one")
        assert (writer.status.ok, writer.status.rejected) == (True, 0)
    store.close()


async def test_an_epoch_from_before_the_writers_memory_is_acknowledged_in_full(
    broker: Mosquitto, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr(acknowledgements, "MAX_EPOCHS", 4)
    store = Historian(tmp_path / "h.sqlite")
    async with Gateway(broker.port) as gateway, writing(broker, store):
        for n in range(1, 13):
            await gateway.send([1, 2], epoch=f"e{n}")
        await eventually(lambda: "e12" in epochs_heard(gateway), "all")
        await gateway.send([3], epoch="e1")
        await eventually(lambda: epochs_heard(gateway)["e1"] == [(1, 3)], "the old one, complete")
    async with Gateway(broker.port) as gateway, writing(broker, store):
        await gateway.send([4], epoch="e2")
        await gateway.send([3], epoch="e2")
        await eventually(lambda: epochs_heard(gateway).get("e2") == [(1, 4)], "the same after a restart")
    store.close()


async def test_history_and_live_readings_of_many_epochs_in_turns(broker: Mosquitto, tmp_path: Path) -> None:
    store = Historian(tmp_path / "h.sqlite")
    expected = {f"e{n}": [(1, 8)] for n in range(40)} | {"live": [(1, 8)]}
    async with Gateway(broker.port) as gateway, writing(broker, store):
        for seq in range(1, 9):
            for n in range(40):
                await gateway.send([seq], epoch=f"e{n}")
            at = T0 + (1000 + seq) * SECOND
            gateway.link.publish(TOPICS.data(PRESS), encoded("edge-01", "live", seq, [(at, {"temp": 1.0}, {})]))
        await eventually(lambda: epochs_heard(gateway) == expected, "all to be acknowledged")
    async with Gateway(broker.port) as gateway:
        await eventually(lambda: bool(gateway.all), "what is retained")
        assert epochs_heard(gateway) == {"live": [(1, 8)]}
    with closing(Historian.open_read_only(tmp_path / "h.sqlite")) as reader:
        assert {s.epoch: (s.first, s.last, s.readings) for s in reader.stretches()} == dict.fromkeys(
            expected, (1, 8, 8)
        )
    store.close()


async def test_after_a_restart_it_says_at_once_what_it_has(broker: Mosquitto, tmp_path: Path) -> None:
    store = Historian(tmp_path / "h.sqlite")
    async with Gateway(broker.port) as gateway, writing(broker, store):
        await gateway.send(range(1, 6))
        await eventually(lambda: gateway.stored() == [(1, 5)], "the acknowledgement")
    broker.restart()  # has forgotten everything
    async with Gateway(broker.port) as gateway, writing(broker, store):
        await eventually(lambda: gateway.stored() == [(1, 5)], "the acknowledgement of before")
    store.close()


async def test_a_store_without_memory_goes_on_from_its_retained_acknowledgement(
    broker: Mosquitto, tmp_path: Path
) -> None:
    with InfluxDB1() as influx:
        influx.query("CREATE DATABASE shop")
        for seqs, ranges in (([1, 2], [(1, 2)]), ([3, 5], [(1, 3), (5, 5)])):
            store = influx_store(influx.url, tmp_path, database="shop")
            async with Gateway(broker.port) as gateway, writing(broker, store):
                await gateway.send(seqs)
                await eventually(lambda ranges=ranges, gateway=gateway: gateway.stored() == ranges, "the ranges")
            store.close()


async def test_over_the_broker_within_the_process(tmp_path: Path) -> None:
    store = Historian(tmp_path / "h.sqlite")
    local = LocalBroker()
    writer = StoreWriter(local.link(), TOPICS, store, "w1")
    await writer.start()
    gateway = Gateway(0)
    gateway.link = local.link()  # type: ignore[assignment]
    async with gateway:
        await eventually(lambda: writer.status.ok, "the writer")
        await gateway.send(range(1, 301))
        await eventually(lambda: gateway.stored() == [(1, 300)], "all to be acknowledged")
    await writer.stop()
    await writer.stop()
    store.close()


# --- several writers -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("merging", [True, False])
async def test_writers_that_share_divide_the_work(broker: Mosquitto, tmp_path: Path, merging: bool) -> None:
    """Each message goes to one of them. Without merging what others have (negative control) the ranges fall to pieces."""
    paths = [tmp_path / "1.sqlite", tmp_path / "2.sqlite"]
    stores = [Historian(path) for path in paths]
    async with (
        Gateway(broker.port) as gateway,
        writing(broker, stores[0], "w1", "plant") as one,
        writing(broker, stores[1], "w2", "plant") as two,
    ):
        if not merging:
            one._acks._shared = two._acks._shared = False
        for first in range(1, 400, 40):
            await gateway.send(range(first, first + 40))
        everything = set(range(1, 401))

        def known() -> set[int]:
            return {n for writer in ("w1", "w2") for a, b in gateway.stored(writer) for n in range(a, b + 1)}

        await eventually(lambda: known() == everything, "all to be acknowledged")
        # The last word of each has seen what the other said before it.
        await gateway.send([401, 402, 403, 404])
        await eventually(lambda: known() == everything | {401, 402, 403, 404}, "the rest")
        pieces = max(len(gateway.stored(writer)) for writer in ("w1", "w2"))
    first, second = map(times, paths)
    assert not set(first) & set(second)
    assert set(first) | set(second) == set(range(1, 405))
    assert min(len(first), len(second)) > 100
    assert (pieces < 20) == merging
    for store in stores:
        store.close()


async def test_writers_that_do_not_share_store_everything_each(broker: Mosquitto, tmp_path: Path) -> None:
    paths = [tmp_path / "1.sqlite", tmp_path / "2.sqlite"]
    stores = [Historian(path) for path in paths]
    async with Gateway(broker.port) as gateway, writing(broker, stores[0], "w1"), writing(broker, stores[1], "w2"):
        await gateway.send(range(1, 101))
        await eventually(lambda: gateway.stored("w1") == gateway.stored("w2") == [(1, 100)], "both")
    assert times(paths[0]) == times(paths[1]) == list(range(1, 101))
    for store in stores:
        store.close()


# --- what goes wrong -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protected", [True, False])
async def test_a_store_that_is_down_loses_nothing(
    broker: Mosquitto, tmp_path: Path, protected: bool, monkeypatch: Any
) -> None:
    """Negative control: a writer that acknowledges although the store was down loses what came meanwhile."""
    with InfluxDB1() as influx:
        influx.query("CREATE DATABASE shop")
        store = influx_store(influx.url, tmp_path, database="shop", timeout=2)
        if not protected:
            real = store.write

            def careless(batch: Any) -> Any:
                try:
                    return real(batch)
                except StoreError:
                    return ()

            monkeypatch.setattr(store, "write", careless)
        async with Gateway(broker.port) as gateway, writing(broker, store) as writer:
            await gateway.send(range(1, 11))
            await eventually(lambda: gateway.stored() == [(1, 10)], "the first ones")
            influx.kill()
            await gateway.send(range(11, 301))
            if protected:
                await eventually(lambda: "cannot be reached" in writer.status.reason, "the status to say why")
                assert gateway.stored() == [(1, 10)]
                assert not writer.status.ok
            else:
                await eventually(lambda: gateway.stored() == [(1, 300)], "the false acknowledgement")
            await asyncio.to_thread(influx.start)
            await gateway.send([301])
            await eventually(lambda: gateway.stored() == [(1, 301)], "all of them")
            assert writer.status.ok
        found = {(t - T0) // SECOND for t in store.query("press-07", "temp", 0, EVER).time}
        assert found == (set(range(1, 302)) if protected else {*range(1, 11), 301})
        store.close()


async def test_a_person_who_puts_the_store_right_loses_nothing(broker: Mosquitto, tmp_path: Path) -> None:
    with InfluxDB1() as influx:
        store = influx_store(influx.url, tmp_path, database="shop")
        async with Gateway(broker.port) as gateway, writing(broker, store) as writer:
            await gateway.send(range(1, 31))
            await eventually(lambda: "no data base 'shop' there" in writer.status.reason, "the status to say why")
            assert not writer.status.ok
            await asyncio.sleep(1)
            assert gateway.heard == {}
            influx.query("CREATE DATABASE shop")
            await eventually(lambda: gateway.stored() == [(1, 30)], "all of them")
            assert writer.status.ok
        assert len(store.query("press-07", "temp", 0, EVER)) == 30
        assert not (tmp_path / "dead-letters.jsonl").exists()
        store.close()


KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
sys.path[:0] = sys.argv[3:5]
from gateway.mqtt.client import Endpoint, PahoLink
from gateway.mqtt.topics import Topics
from gateway.store.historian import Historian
from gateway.store.writer import StoreWriter

class Dying(Historian):
    def write(self, batch):
        if "before" in sys.argv:
            os.kill(os.getpid(), signal.SIGKILL)
        super().write(batch)
        os.kill(os.getpid(), signal.SIGKILL)

class Hasty(PahoLink):
    def _on_message(self, client, userdata, message):
        client.ack(message.mid, message.qos)
        super()._on_message(client, userdata, message)

async def main():
    kind = Hasty if "hasty" in sys.argv else PahoLink
    link = kind(Endpoint("127.0.0.1", int(sys.argv[2]), "store-w1", persistent=True))
    await StoreWriter(link, Topics(), Dying(Path(sys.argv[1])), "w1").start()
    while not link.connected:
        await asyncio.sleep(0.01)
    print("ready", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.mark.parametrize(("when", "lost"), [("before", 0), ("after", 0), ("before hasty", 5)])
async def test_a_writer_killed_before_it_acknowledges(broker: Mosquitto, tmp_path: Path, when: str, lost: int) -> None:
    """Killed before the commit or after it: both come again. Acknowledging on arrival (negative control) loses them."""
    path = tmp_path / "h.sqlite"
    folders = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]
    arguments = [sys.executable, "-c", KILLED, str(path), str(broker.port), *folders, *when.split()]
    async with Gateway(broker.port) as gateway:
        process = await asyncio.create_subprocess_exec(*arguments, stdout=subprocess.PIPE)
        assert process.stdout is not None
        await process.stdout.readline()
        await eventually(lambda: process.returncode is None, "the writer")
        await gateway.send(range(1, 6))
        assert await process.wait() == -signal.SIGKILL
        assert gateway.heard == {}
        store = Historian(path)
        async with writing(broker, store):
            await gateway.send([6])
            await eventually(lambda: (6, 6) in gateway.stored() or gateway.stored() == [(1, 6)], "the next one")
            if not lost:
                await eventually(lambda: gateway.stored() == [(1, 6)], "all of them")
        assert times(path) == ([6] if lost else [1, 2, 3, 4, 5, 6])
        reader = Historian.open_read_only(path)
        assert reader._db.execute("SELECT count(*) FROM message").fetchone() == (6 - lost,)  # none of them twice
        reader.close()
        store.close()


async def test_a_broker_that_goes_and_comes_back(tmp_path: Path) -> None:
    store = Historian(tmp_path / "h.sqlite")
    with Mosquitto(persistence=True) as broker:
        async with Gateway(broker.port) as gateway, writing(broker, store) as writer:
            await gateway.send(range(1, 11))
            await eventually(lambda: gateway.stored() == [(1, 10)], "the first ones")
            broker.stop()
            await eventually(lambda: not writer.status.ok and bool(writer.status.reason), "the status to say why")
            await asyncio.to_thread(broker.start)
            await eventually(lambda: writer.status.ok and gateway.link.connected, "the connections")
            await gateway.send(range(11, 21))
            await eventually(lambda: gateway.stored() == [(1, 20)], "the rest")
    store.close()


async def test_stopping_waits_for_the_write_in_progress(broker: Mosquitto, tmp_path: Path) -> None:
    begun, go_on = threading.Event(), threading.Event()

    class Slow(Historian):
        def write(self, batch: Any) -> Any:
            begun.set()
            assert go_on.wait(30)
            return super().write(batch)

    store = Slow(tmp_path / "h.sqlite")
    async with Gateway(broker.port) as gateway:
        async with writing(broker, store) as writer:
            await gateway.send([1])
            await eventually(begun.is_set, "the write to begin")
            stopping = asyncio.create_task(writer.stop())
            await asyncio.sleep(0)
            assert not stopping.done()
            go_on.set()
            await stopping
        await eventually(lambda: gateway.stored() == [(1, 1)], "its acknowledgement")
    assert times(tmp_path / "h.sqlite") == [1]
    store.close()


async def test_one_message_that_breaks_the_store_costs_only_itself(broker: Mosquitto, tmp_path: Path) -> None:
    class Fragile(Historian):
        def write(self, batch: Any) -> Any:
            if any(isinstance(entry, Readings) and entry.data.seq == 7 for entry in batch):
                raise KeyError("a mistake of ours")
            return super().write(batch)

    store = Fragile(tmp_path / "h.sqlite")
    async with Gateway(broker.port) as gateway, writing(broker, store) as writer:
        await gateway.send(range(1, 21))
        # Recorded as lost, and so dealt with: its gateway need not send it for ever.
        await eventually(lambda: gateway.stored() == [(1, 20)], "all of them")
        assert writer.status.rejected == 1
    with closing(Historian.open_read_only(tmp_path / "h.sqlite")) as reader:
        (lost,) = reader.losses(0, 2**62)
    assert (lost.gateway, lost.seq) == ("edge-01", 7)
    assert "a mistake of ours" in lost.loss.cause
    store.close()


async def test_the_loss_of_a_message_waits_for_a_store_that_is_away(broker: Mosquitto, tmp_path: Path) -> None:
    """Neither the data nor its loss is stored: then it is not acknowledged, but tried again."""

    class Fragile(Historian):
        away = 3

        def write(self, batch: Any) -> Any:
            if any(isinstance(entry, Readings) and entry.data.seq == 2 for entry in batch):
                raise KeyError("a mistake of ours")
            if self.away and not any(isinstance(entry, Readings) for entry in batch):
                self.away -= 1
                raise StoreError("no room")
            return super().write(batch)

    store = Fragile(tmp_path / "h.sqlite")
    async with Gateway(broker.port) as gateway, writing(broker, store) as writer:
        await gateway.send(range(1, 4))
        await eventually(lambda: gateway.stored() == [(1, 3)], "all of them")
        assert (store.away, writer.status.rejected) == (0, 1)
    with closing(Historian.open_read_only(tmp_path / "h.sqlite")) as reader:
        assert [lost.seq for lost in reader.losses(0, 2**62)] == [2]
    store.close()


async def test_a_broker_that_refuses_the_acknowledgement_is_named(tmp_path: Path) -> None:
    acl = f"user gw\ntopic readwrite {TOPICS.root}/#\nuser w\ntopic read {TOPICS.root}/#\n"
    with Mosquitto(users={"gw": "g", "w": "w"}, acl=acl) as broker:
        store = Historian(tmp_path / "h.sqlite")
        writer = StoreWriter(link(broker.port, "store", user="w", password="w"), TOPICS, store, "w1")
        await writer.start()
        async with Gateway(broker.port, user="gw", password="g") as gateway:
            await eventually(lambda: writer.status.ok, "the connection")
            await gateway.send([1])
            await eventually(lambda: "broker's ACL" in writer.status.reason, "the status to say it")
        await writer.stop()
        store.close()


async def test_in_memory_is_never_more_than_the_broker_sends_unacknowledged(
    broker: Mosquitto, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr(writer_module, "MAX_BATCH", 5)
    store = Historian(tmp_path / "h.sqlite", reserve=10**18)  # takes nothing
    async with Gateway(broker.port) as gateway, writing(broker, store) as writer:
        await gateway.send(range(1, 1001))
        await eventually(lambda: "left on this disk" in writer.status.reason, "the status to say why")
        assert len(writer._pending) <= 200
        store._reserve = 0
        await eventually(lambda: gateway.stored() == [(1, 1000)], "all of them")
    store.close()
