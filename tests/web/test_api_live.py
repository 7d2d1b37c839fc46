"""The API of a real gateway: a simulated machine, Mosquitto and the historian, each answer checked against the document."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from jsonschema import Draft202012Validator

from flow.plants import modbus_plant
from gateway.web.openapi import ENDPOINTS, document
from parts.gateway import Gateway, Simulated
from parts.mosquitto import Mosquitto
from parts.ports import free_port
from parts.process import wait_until

DOCUMENT = document()


class Asked(Gateway):
    def get(self, path: str) -> tuple[int, bytes]:
        try:
            with urlopen(self.url + path, timeout=20) as answer:
                return answer.status, answer.read()
        except HTTPError as exc:
            return exc.code, exc.read()

    def view(self, path: str) -> Any:
        status, content = self.get(path)
        assert status == 200, content
        return json.loads(content)

    def states(self, machine: str) -> list[str]:
        return [event["state"] for event in self.view(f"/api/v1/events?machine={machine}")["events"]]


@pytest.fixture
def plant() -> Iterator[tuple[Asked, Simulated]]:
    port = free_port()
    text = modbus_plant([port], 20, "200ms")
    with Mosquitto() as broker, Simulated(text) as machines:
        more = f'gateway: {{id: edge-01, data_dir: data}}\nmqtt: {{url: "mqtt://127.0.0.1:{broker.port}"}}\n'
        with Asked(text + more + "store: {kind: historian}\n") as gateway:
            wait_until(lambda: gateway.view("/api/v1/plant")["machines"][0]["state"] == "online", 30, "the machine")
            yield gateway, machines


def test_every_answer_is_as_the_document_says(plant: tuple[Asked, Simulated]) -> None:
    gateway, _ = plant
    gateway.catch_up()
    signal = gateway.view("/api/v1/machines/m00")["signals"][0]["name"]
    for endpoint in ENDPOINTS:
        if endpoint.method != "GET" or endpoint.media != "application/json":
            continue
        query = f"?machine=m00&signal={signal}" if endpoint.name == "history" else ""
        status, content = gateway.get(endpoint.path.replace("{name}", "m00") + query)
        assert status in (200, 503 if endpoint.name == "ready" else 200), endpoint.path
        operation = DOCUMENT["paths"][endpoint.path]["get"]["responses"][str(status)]
        schema = {**operation["content"]["application/json"]["schema"], "components": DOCUMENT["components"]}
        errors = [
            f"{endpoint.path} {list(e.path)}: {e.message}"
            for e in Draft202012Validator(schema).iter_errors(json.loads(content))
        ]
        assert errors == []


def test_a_machine_with_all_that_is_known_of_it(plant: tuple[Asked, Simulated]) -> None:
    gateway, _ = plant
    gateway.catch_up()
    view = gateway.view("/api/v1/machines/m00")
    assert view["connection"]["name"] == "c0"
    assert view["connection"]["protocol"] == "modbus-tcp"
    assert "127.0.0.1" in view["connection"]["endpoint"]
    row = view["signals"][0]
    assert row["address"].split()[0] in ("holding", "input")
    assert row["poll_s"] == 0.2
    found = gateway.view(f"/api/v1/history?machine=m00&signal={row['name']}")["points"]
    assert found
    assert all(quality == "good" for _, _, quality in found)
    values = [value for _, value, _ in found]

    def known() -> bool:
        shown = gateway.view("/api/v1/machines/m00")["signals"][0]
        return shown["min"] is not None and shown["min"] <= min(values) and shown["max"] >= max(values)

    wait_until(known, 30, "the smallest and the largest value")
    flow = gateway.view("/api/v1/flow")
    assert [stage["name"] for stage in flow["stages"]] == ["read", "normalized", "accepted", "sent", "stored"]
    assert all(stage["total"] > 0 for stage in flow["stages"])
    assert all(stage["lag_s"] is not None and stage["lag_s"] < 30 for stage in flow["stages"])
    shown = gateway.view("/api/v1/config?machine=m00")
    assert shown["in_force"] is True
    assert "m00" in shown["effective"]


def test_events_of_a_machine_that_goes_and_of_a_gateway_that_is_killed(plant: tuple[Asked, Simulated]) -> None:
    gateway, machines = plant
    assert gateway.states("m00") == ["online"]
    machines.kill()
    wait_until(lambda: gateway.states("m00") == ["offline", "online"], 30, "the machine to be gone")
    event = gateway.view("/api/v1/events?machine=m00&limit=1")["events"][0]
    assert event["fault"]
    assert gateway.view("/api/v1/plant")["machines"][0]["doing"] is None
    file = gateway.folder / "data" / "events.jsonl"
    wait_until(lambda: b'"state":"offline"' in file.read_bytes(), 10, "the file")
    gateway.kill()
    gateway.start()
    of_gateway = [e["state"] for e in gateway.view("/api/v1/events")["events"] if e["kind"] == "gateway"]
    assert of_gateway == ["started", "stopped", "started"]
    strip = [state for _, state in gateway.view("/api/v1/strips")["machines"]["m00"]]
    assert strip[:4] == ["unknown", "online", "offline", "unknown"]
    wait_until(lambda: gateway.states("m00")[0] == "offline", 30, "the machine is away all the same")
    machines.start()
    wait_until(lambda: gateway.states("m00")[0] == "online", 60, "the machine")
    gateway.stop()
    words = [json.loads(line)["state"] for line in file.read_text().splitlines()]
    assert words.count("started") == 2
    assert words[-1] == "stopped"
