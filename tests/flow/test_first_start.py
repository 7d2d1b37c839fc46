"""The first minutes of a gateway: a disk that is full, another one that is there already, a broker that comes and goes."""

import asyncio
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from flow.plants import modbus_plant
from gateway.clock import SystemClock
from gateway.config import load
from gateway.mqtt.local import LocalBroker, LocalLink
from gateway.runtime.app import App
from gateway.runtime.registry import protocols
from parts.gateway import Gateway, Simulated, StoreProcess, gateway
from parts.mosquitto import Mosquitto
from parts.ports import free_port
from parts.process import wait_until

TEXT = """\
gateway: {{id: edge-01, data_dir: data}}
mqtt: {{url: "mqtt://127.0.0.1:{broker}"}}
store: {{kind: historian{path}}}
"""


@pytest.fixture(scope="module")
def plant():
    text = modbus_plant([free_port()], 3, "100ms")
    with Simulated(text):
        yield text


def test_machines_are_read_though_the_store_cannot_be_opened_and_it_is_opened_as_soon_as_it_can(plant, tmp_path):
    """A file where its folder has to be stands for a disk without room: it cannot be made, until somebody makes room."""
    in_the_way = tmp_path / "disk"
    in_the_way.write_text("")
    with Mosquitto() as broker:
        path = f', path: "{in_the_way}/historian.sqlite"'
        with Gateway(plant + TEXT.format(broker=broker.port, path=path)) as edge:
            wait_until(lambda: edge.status()["flow"]["accepted"] > 20, 20, "readings in the buffer")
            wait_until(lambda: edge.status()["broker"]["state"] != "offline", 20, "the broker")
            wait_until(lambda: "cannot be opened" in edge.status()["store"]["reason"], 20, "the reason")
            assert edge.status()["store"]["state"] == "offline"
            assert "machines are read" in edge.log
            in_the_way.unlink()
            edge.catch_up()
            assert edge.status()["store"]["reason"] == ""
            before = edge.status()["flow"]["read"]
            wait_until(lambda: edge.status()["flow"]["read"] > before, 10, "more readings")


def test_a_store_writer_alone_has_nothing_else_to_do(tmp_path):
    (tmp_path / "disk").write_text("")
    (tmp_path / "gateway.yaml").write_text(TEXT.format(broker=free_port(), path=f', path: "{tmp_path}/disk/h.sqlite"'))
    done = gateway("store", str(tmp_path / "gateway.yaml"))
    assert done.returncode == 5
    assert "h.sqlite" in done.stderr


@pytest.mark.parametrize("more", [[], ["--once"]])
def test_a_second_gateway_with_the_same_data_dir_is_told_so(plant, more):
    with Mosquitto() as broker, Gateway(plant + TEXT.format(broker=broker.port, path="")) as edge:
        wait_until(lambda: edge.status()["flow"]["stored"] > 5, 20, "the flow")
        done = gateway("run", *more, str(edge.file))
        assert done.returncode == 1
        assert f"a gateway already runs with data_dir {edge.folder}/data (control socket " in done.stderr
        assert "historian" not in done.stderr
        assert edge.status()["broker"]["reason"] == ""


def test_a_quiet_start_and_a_broker_that_is_started_anew(plant):
    with Mosquitto() as broker, Gateway(plant + TEXT.format(broker=broker.port, path="")) as edge:
        wait_until(lambda: edge.status()["flow"]["stored"] > 5, 20, "the flow")
        assert "storing again" not in edge.log
        assert "not read yet" not in edge.log
        for _ in range(3):
            broker.kill()
            wait_until(lambda: edge.status()["broker"]["state"] == "offline", 20, "the broker to be missed")
            broker.start()
            wait_until(lambda: edge.status()["broker"]["state"] != "offline", 40, "the broker")
            # The writer was woken by it: it is there in a moment, whatever its own pause would have been.
            wait_until(lambda: edge.status()["store"]["state"] == "online", 2, "the store")
        edge.catch_up()
        assert len(re.findall("storing again", edge.log)) == 3
        assert len(re.findall("nobody to give", edge.log)) <= 3


def test_a_store_writer_alone_says_when_it_has_begun(tmp_path):
    with Mosquitto() as broker, StoreProcess(TEXT.format(broker=broker.port, path="")) as writer:
        assert writer.log.count("storing") == 1


async def test_who_reaches_the_broker_wakes_the_other(tmp_path: Path):
    """Each on a link of its own, with a pause of its own that has grown: whichever is there first spares the other the rest."""
    file, broker, woken = tmp_path / "gateway.yaml", LocalBroker(), Counter[str]()
    file.write_text(modbus_plant([free_port()], 1, "1s") + TEXT.format(broker=1, path=""))
    made: dict[str, LocalLink] = {}

    class Link(LocalLink):
        name = ""

        def try_now(self) -> None:
            woken[self.name] += 1

    def links(name: str, *_: object) -> Any:
        link = made[name] = Link(broker)
        link.name = name
        return link

    app = App(load(file, protocols()), links, SystemClock())
    task = asyncio.create_task(app.run())
    try:
        async with asyncio.timeout(20):
            while not (app.edge and app.edge.publisher.connected and woken["store-edge-01"]):
                await asyncio.sleep(0.01)
        edge, store = made["gateway-edge-01"], made["store-edge-01"]
        for one, other in ((edge, store), (store, edge)):
            before = woken[other.name]
            assert one._listener is not None
            one._listener.on_disconnected("gone")
            one._listener.on_connected()
            assert woken[other.name] == before + 1
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
