"""A running gateway takes over what `gateway fleet pull` puts into place, and keeps what it has when that is refused."""

from __future__ import annotations

import json
from pathlib import Path

from fleet.repository import Repository
from parts.gateway import COMMAND, Gateway, gateway
from parts.libmodbus import Libmodbus
from parts.mosquitto import Mosquitto
from parts.process import wait_until

PLANT = """\
version: 1
gateway: {{id: edge-01, data_dir: {data}}}
mqtt: {{url: "mqtt://127.0.0.1:{broker}", hold_unheard: false}}
web: {{listen: "127.0.0.1:{page}"}}
connections: {{panel: {{protocol: modbus-tcp, host: 127.0.0.1, port: {press}}}}}
"""
MACHINE = "connection: panel\npoll: 100ms\nsignals: {temp: {holding: 0, type: int16}}\n"


class FleetGateway(Gateway):
    """`gateway run FOLDER/current`."""

    def __init__(self, current: Path) -> None:
        super().__init__("")
        self.current = current

    def command(self) -> list[str]:
        return [COMMAND, "run", str(self.current)]

    def machines(self) -> list[str]:
        return sorted(machine["name"] for machine in self.status()["machines"])


def test_from_the_repository_to_the_machines(tmp_path):
    repository, box = Repository(tmp_path / "git", tmp_path / "data"), tmp_path / "box"
    with Mosquitto() as broker, Libmodbus({(1, "holding", 0): [7]}) as press:
        edge = FleetGateway(box / "current")
        text = PLANT.format(data=tmp_path / "data", broker=broker.port, page=edge.port, press=press.port)
        repository.write("gateways/edge-01/gateway.yaml", text)
        repository.write("common/machines/press.yaml", MACHINE)
        repository.commit()
        pull = ["fleet", "pull", "--settings", str(repository.settings(box)), "--json"]
        assert json.loads(gateway(*pull).stdout)["reload"] == ""  # none runs yet
        with edge:
            wait_until(lambda: edge.machine("press")["state"] == "online", 20, "the press")
            repository.write("gateways/edge-01/machines/oven.yaml", MACHINE)
            repository.commit()
            done = gateway(*pull)
            assert done.returncode == 0, done.stdout + done.stderr
            assert "the gateway has taken it over" in json.loads(done.stdout)["reload"]
            wait_until(lambda: edge.machines() == ["oven", "press"], 20, "the new machine")
            repository.write("gateways/edge-01/machines/mill.yaml", MACHINE.replace("int16", "int23"))
            repository.commit()
            assert gateway(*pull).returncode == 3
            repository.write("gateways/edge-01/machines/mill.yaml", MACHINE)
            repository.commit("mallory")
            assert gateway(*pull).returncode == 1
            assert edge.machines() == ["oven", "press"]
            assert json.loads(gateway("status", "--json", "-c", str(box / "current")).stdout.splitlines()[0])["ok"]
