"""Stores that may lose what they took: gateways learn of it when it is safe. VictoriaMetrics and vmauth, real."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.clock import SystemClock
from gateway.errors import StoreError
from gateway.mqtt.local import LocalBroker
from gateway.mqtt.payload import Ranges
from gateway.store import influx_store as influx_module
from gateway.store.contract import Origin
from gateway.store.historian import Historian
from gateway.store.writer import StoreWriter
from parts.influxdb1 import InfluxDB1
from parts.mosquitto import Mosquitto
from parts.process import wait_until
from parts.victoria_metrics import VictoriaMetrics
from store.material import PRESS, SECOND, HandClock, encoded, eventually, influx_store, simple
from store.test_writer import TOPICS, Gateway

NOW = SystemClock().now() // SECOND * SECOND


@pytest.fixture
def vm() -> Iterator[VictoriaMetrics]:
    with VictoriaMetrics() as part:
        yield part


def points(vm: VictoriaMetrics) -> list[int]:
    """Which seconds it has."""
    return sorted({(ms * 10**6 - NOW) // SECOND for _, found in vm.export("machine_temp") for ms, _ in found})


def batch(first: int, last: int) -> list[Any]:
    return [simple(seq, at=NOW + seq * SECOND) for seq in range(first, last + 1)]


def ranges(*pairs: tuple[int, int]) -> dict[Origin, Ranges]:
    return {("edge-01", "e1"): [*pairs]}


# --- the store -------------------------------------------------------------------------------------------------------


def test_what_it_took_is_safe_after_a_while(vm: VictoriaMetrics, tmp_path: Path) -> None:
    clock = HandClock(NOW)
    store = influx_store(vm.url, tmp_path, bucket="b", clock=clock)
    store.write(batch(1, 10))
    assert store.settles == 15
    clock.time += 10 * SECOND
    store.write(batch(11, 20))
    assert store.settled() == {}
    clock.time += 5 * SECOND
    assert store.settled() == ranges((1, 10))
    assert store.settled() == {}
    clock.time += 10 * SECOND
    assert store.settled() == ranges((11, 20))
    store.close()


def test_after_an_interruption_the_time_starts_anew(vm: VictoriaMetrics, tmp_path: Path) -> None:
    """Also when nothing is written meanwhile: whoever asks finds out that it is another process."""
    clock = HandClock(NOW)
    store = influx_store(vm.url, tmp_path, bucket="b", clock=clock)
    store.write(batch(1, 10))
    clock.time += 14 * SECOND
    vm.kill()
    vm.start()
    clock.time += 2 * SECOND
    assert store.settled() == {}
    wait_until(lambda: points(vm) == [*range(1, 11)], 30, "the points to be there again")
    clock.time += 14 * SECOND
    assert store.settled() == {}
    clock.time += SECOND
    assert store.settled() == ranges((1, 10))
    store.close()


def test_while_it_is_away_nothing_becomes_safe(vm: VictoriaMetrics, tmp_path: Path) -> None:
    clock = HandClock(NOW)
    store = influx_store(vm.url, tmp_path, bucket="b", clock=clock)
    store.write(batch(1, 10))
    vm.kill()
    clock.time += 20 * SECOND
    for _ in range(2):
        with pytest.raises(StoreError, match="cannot be reached"):
            store.settled()
        with pytest.raises(StoreError, match="cannot be reached"):
            store.write(batch(11, 11))
    vm.start()
    store.write(batch(11, 11))
    assert store.settled() == {}
    clock.time += 15 * SECOND
    assert store.settled() == ranges((1, 11))
    wait_until(lambda: points(vm) == [*range(1, 12)], 30, "the points to be there again")
    store.close()


def test_an_interruption_behind_vmauth_is_seen_while_it_is_asked(tmp_path: Path) -> None:
    clock = HandClock(NOW)
    with VictoriaMetrics(token="t") as part:
        store = influx_store(part.auth_url, tmp_path, bucket="b", token="t", clock=clock)
        store.write(batch(1, 10))
        clock.time += 14 * SECOND
        part.kill()
        with pytest.raises(StoreError, match="502"):
            store.settled()
        part.start()
        clock.time += 2 * SECOND
        assert store.settled() == {}
        clock.time += 15 * SECOND
        assert store.settled() == ranges((1, 10))
        wait_until(lambda: points(part) == [*range(1, 11)], 30, "the points to be there again")
        store.close()


def test_what_was_written_in_several_pieces_is_written_again_as_a_whole(
    vm: VictoriaMetrics, tmp_path: Path, monkeypatch: Any
) -> None:
    """The store ends between two pieces of one batch, and nobody notices."""
    store = influx_store(vm.url, tmp_path, bucket="b")
    store.write(batch(1, 1))
    real, calls = store._connection.post, 0

    def post(body: bytes) -> None:
        nonlocal calls
        calls += 1
        if calls == 3:  # all of it is refused, its first half is taken
            vm.kill()
            vm.start()
        real(body)

    monkeypatch.setattr(store._connection, "post", post)
    ahead = simple(99, at=NOW + 90 * 86400 * SECOND)
    (lost,) = store.write([*batch(2, 9), ahead])
    assert lost.seq == 99
    wait_until(lambda: points(vm) == [*range(1, 10)], 30, "the points")
    wait_until(lambda: len(vm.export("loss_count")) == 1, 30, "the loss")
    store.close()


def test_more_than_can_be_kept_comes_again_from_its_gateway(
    vm: VictoriaMetrics, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr(influx_module, "MAX_UNSETTLED", 3000)
    clock = HandClock(NOW)
    store = influx_store(vm.url, tmp_path, bucket="b", clock=clock)
    for first in range(1, 101, 10):
        store.write(batch(first, first + 9))
    assert store._unsettled_bytes <= 3000
    assert store._unsettled_bytes == sum(len(each.lines or b"") for each in store._unsettled)
    clock.time += 15 * SECOND
    assert store.settled() == ranges((1, 100))  # without an interruption nothing is missing
    for first in range(101, 201, 10):
        store.write(batch(first, first + 9))
    vm.kill()
    vm.start()
    assert store.settled() == {}
    clock.time += 15 * SECOND
    (told,) = store.settled()["edge-01", "e1"]
    assert told[0] > 150  # of those before nobody says that they are stored
    assert told[1] == 200
    assert store._unsettled_bytes == 0
    wait_until(lambda: points(vm) and set(range(told[0], 201)) <= set(points(vm)), 30, "the points that are told")
    store.close()


def test_influxdb_is_believed_unless_it_is_said_otherwise(tmp_path: Path) -> None:
    clock = HandClock(NOW)
    with InfluxDB1() as influx:
        influx.query("CREATE DATABASE shop")
        for seconds, safe in ((None, {}), (5.0, ranges((1, 10)))):
            store = influx_store(influx.url, tmp_path, database="shop", clock=clock, resend_after_outage=seconds)
            store.write(batch(1, 10))
            assert store.settles == (seconds or 0)
            clock.time += 5 * SECOND
            assert store.settled() == safe
            store.write(batch(11, 20))
            influx.kill()
            influx.start()
            assert store.settled() == {}  # for v1 it is found out as well
            clock.time += 4 * SECOND
            assert store.settled() == {}
            store.close()


# --- the writer ------------------------------------------------------------------------------------------------------


class Lagging(Historian):
    """Says that something is safe when it is told to."""

    remembers = False
    settles = 1.0
    safe: Mapping[Origin, Ranges] = {}
    away = False

    def settled(self) -> Mapping[Origin, Ranges]:
        if self.away:
            raise StoreError("the store is away: is it running?")
        safe, self.safe = self.safe, {}
        return safe


@asynccontextmanager
async def over_local(store: Any) -> Any:
    broker = LocalBroker()
    gateway = Gateway(0)
    gateway.link = broker.link()  # type: ignore[assignment]
    writer = StoreWriter(broker.link(), TOPICS, store, "w1")
    await writer.start()
    async with gateway:
        await eventually(lambda: writer.status.ok, "the writer")
        yield writer, gateway
        await writer.stop()


async def test_gateways_learn_of_it_when_it_is_safe_and_the_broker_at_once(tmp_path: Path) -> None:
    store = Lagging(tmp_path / "h.sqlite")
    async with over_local(store) as (writer, gateway):
        await gateway.send(range(1, 31))
        await eventually(lambda: writer.status.messages == 30, "the writes")
        await asyncio.sleep(1.5)
        assert gateway.heard == {}
        store.safe = ranges((1, 20))
        await eventually(lambda: gateway.stored() == [(1, 20)], "what is safe")
        store.away = True
        await eventually(lambda: writer.status.reason == "the store is away: is it running?", "the alarm")
        store.away = False
        store.safe = ranges((21, 30))
        await eventually(lambda: gateway.stored() == [(1, 30)], "the rest")
        assert writer.status.ok
    store.close()


# --- killed together -------------------------------------------------------------------------------------------------

WRITER = """
import asyncio, sys
from pathlib import Path
sys.path[:0] = sys.argv[4:6]
from gateway.mqtt.client import Endpoint, PahoLink
from gateway.mqtt.topics import Topics
from gateway.store.influx import InfluxConnection
from gateway.store.influx_store import InfluxStore
from gateway.store.writer import StoreWriter

async def main():
    link = PahoLink(Endpoint("127.0.0.1", int(sys.argv[1]), "store-w1", persistent=True))
    seconds = None if sys.argv[6] == "default" else float(sys.argv[6])
    store = InfluxStore(InfluxConnection(sys.argv[2], bucket="b"), Path(sys.argv[3]), resend_after_outage=seconds)
    await StoreWriter(link, Topics(), store, "w1").start()
    while not link.connected:
        await asyncio.sleep(0.01)
    print("ready", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


class Writer:
    """A writer in a process of its own, to be killed."""

    def __init__(self, broker: Mosquitto, vm: VictoriaMetrics, folder: Path, seconds: str) -> None:
        folders = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]
        self._command = [sys.executable, "-c", WRITER, str(broker.port), vm.url, str(folder), *folders, seconds]
        self._vm = vm
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"ready\n"

    def kill_with_store(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._vm.kill()
        self._process.wait()

    def power_cut(self) -> None:
        """Both at once, and both come back."""
        self.kill_with_store()
        self._vm.start()
        self.start()


def acknowledged(gateway: Gateway) -> set[int]:
    """What a gateway believes to be stored, and gives up: all that it ever heard."""
    return {seq for stored in gateway.all for first, last in stored.ranges for seq in range(first, last + 1)}


async def send(gateway: Gateway, seqs: Any) -> None:
    for seq in seqs:
        payload = encoded("edge-01", "e1", seq, [(NOW + seq * SECOND, {"temp": float(seq)}, {})])
        gateway.owed.add(gateway.link.publish(TOPICS.data(PRESS), payload))
    await eventually(lambda: not gateway.owed, "the broker to take the messages")


@pytest.mark.parametrize("seconds", ["default", "0"])
async def test_writer_and_store_killed_at_once(vm: VictoriaMetrics, tmp_path: Path, seconds: str) -> None:
    """Twice: before anything is acknowledged, and right when everything is.

    Negative control: with 0 seconds the gateway gives up at once what the store has only in its memory.
    """
    with Mosquitto() as broker:
        writer = await asyncio.to_thread(Writer, broker, vm, tmp_path, seconds)
        try:
            async with Gateway(broker.port) as gateway:
                everything = set(range(1, 101))
                await send(gateway, range(1, 101))
                if seconds == "0":
                    await eventually(lambda: acknowledged(gateway) == everything, "all to be acknowledged")
                else:
                    await asyncio.to_thread(wait_until, lambda: points(vm) == [*range(1, 101)], 30, "all to be there")
                    assert acknowledged(gateway) == set()
                await asyncio.to_thread(writer.power_cut)
                missing = everything - set(points(vm))
                assert missing  # it was not on its disk
                began = time.monotonic()
                await send(gateway, sorted(everything - acknowledged(gateway)))
                await eventually(lambda: acknowledged(gateway) == everything, "all to be acknowledged", 40)
                if seconds == "default":
                    assert 14 < time.monotonic() - began < 25
                    await asyncio.to_thread(writer.power_cut)
            if seconds == "default":
                assert points(vm) == [*range(1, 101)]
            else:
                await asyncio.sleep(1)
                assert set(points(vm)) == everything - missing  # and nobody will send them again
        finally:
            writer.kill_with_store()
