"""What breaks is said clearly, shown on the page, and mended without a restart; and no reading is lost on the way.

Every test of "nothing is missing" has a control beside it, in which the protection is switched off and something is.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from flow.plants import modbus_plant
from flow.verdicts import verdict_at_the_end
from parts.gateway import Gateway, Simulated, StoreProcess
from parts.mosquitto import Mosquitto
from parts.node_opcua import NodeOpcua
from parts.ports import free_port
from parts.process import wait_until
from parts.victoria_metrics import VictoriaMetrics
from simulators.ledger import columns, read_ledger

SIGNALS = 10


def until(condition: Callable[[], object], what: str, timeout: float = 30) -> None:
    wait_until(condition, timeout, what)


def stored_messages(gateway: Gateway) -> int:
    return gateway.status()["flow"]["stored"]


def missing(ledger: Path, data: Path, machine: str = "m00") -> list[str]:
    """Signals of which something was served and is not in the store, or something else is."""
    verdict = verdict_at_the_end(ledger, data / "historian.sqlite")
    mine = [each for each in verdict.signals if each.machine == machine]
    assert len(mine) == SIGNALS
    return [f"{each.signal}: {each.missing} missing, {each.wrong} wrong" for each in mine if not each.sound]


@contextmanager
def simulated(poll: str = "100ms") -> Iterator[tuple[Simulated, str]]:
    text = modbus_plant([free_port()], SIGNALS, poll)
    with Simulated(text) as machines:
        yield machines, text


def mqtt(broker: Mosquitto, more: str = "") -> str:
    return f'gateway: {{id: edge-01, data_dir: data}}\nmqtt: {{url: "mqtt://127.0.0.1:{broker.port}"{more}}}\n'


HISTORIAN = "store: {kind: historian}\n"


# --- what is said, shown and mended ----------------------------------------------------------------------------------


def test_a_machine_that_is_off():
    with Mosquitto() as broker, simulated() as (machines, text), Gateway(text + mqtt(broker) + HISTORIAN) as gateway:
        until(lambda: gateway.machine("m00")["state"] == "online", "the machine to be online")
        machines.kill()
        until(lambda: "refuses the connection" in gateway.machine("m00")["reason"], "the machine to be offline")
        tile = gateway.machine("m00")
        assert tile["state"] == "offline"
        assert {s["quality"] for s in tile["signals"].values()} == {"bad:not-connected"}
        assert {s["value"] for s in tile["signals"].values()} == {None}
        machines.start()
        until(lambda: gateway.machine("m00")["state"] == "online", "the machine to be back", 60)
        until(lambda: gateway.query("m00/s000")[-1]["quality"] == "good", "new readings")
        bad = [row for row in gateway.query("m00/s000") if row["quality"] != "good"]
        assert {row["value"] for row in bad} == {None}
        qualities = [row["quality"] for row in bad]
        if qualities[0] == "bad:no-communication":  # it ended in the middle of an answer
            del qualities[0]
        assert qualities == ["bad:not-connected"]  # once, not per poll
        # One line for each change, and nothing else.
        assert [line.partition("INFO ")[2] for line in gateway.log.splitlines() if "m00: online" in line] == [
            "m00: online"
        ] * 2


def test_one_dead_machine_does_not_hold_up_its_neighbour():
    port = free_port()
    with Mosquitto() as broker, simulated() as (_, text):
        dead = f"  dead: {{protocol: modbus-tcp, host: 127.0.0.1, port: {port}}}\n"
        text = text.replace("machines:\n", dead + "machines:\n  gone: {connection: dead, signals: {a: {coil: 0}}}\n")
        with Gateway(text + mqtt(broker) + HISTORIAN) as gateway:
            until(lambda: gateway.machine("gone")["reason"].count(str(port)), "the dead machine to be noticed")
            began, before = time.monotonic(), gateway.machine("m00")["counters"]["polls"]
            until(lambda: gateway.machine("m00")["counters"]["polls"] >= before + 30, "thirty more polls")
            assert (gateway.machine("m00")["counters"]["polls"] - before) / (time.monotonic() - began) > 9.5


def test_a_wrong_password_at_the_broker():
    with Mosquitto(users={"edge": "right"}) as broker, simulated() as (_, text):
        broker.users = {"edge": "changed"}
        broker.restart()
        with Gateway(text + mqtt(broker, ", user: edge, password: right") + HISTORIAN) as gateway:
            until(lambda: "refuses user 'edge'" in gateway.status()["broker"]["reason"], "the refusal on the page")
            status = gateway.status()
            assert status["broker"]["state"] == "offline"
            assert "check mqtt.user, mqtt.password" in status["broker"]["reason"]
            assert "right" not in gateway.log
            until(lambda: gateway.status()["buffer"]["records"] > 5, "readings to be kept meanwhile")
            broker.users = {"edge": "right"}
            broker.restart()
            until(lambda: gateway.status()["broker"]["state"] == "online", "the broker to be back")
            gateway.catch_up(60)


def test_a_broker_that_is_not_there():
    broker = Mosquitto()
    with simulated() as (machines, text), Gateway(text + mqtt(broker) + HISTORIAN) as gateway:
        until(lambda: gateway.status()["buffer"]["records"] > 10, "readings to be kept meanwhile")
        assert "nothing listens there: is the broker running" in gateway.status()["broker"]["reason"]
        with broker:
            until(lambda: stored_messages(gateway) > 10, "the readings to be stored", 60)
            gateway.stop()
            machines.stop()
            assert not missing(machines.ledger, gateway.folder / "data")


def test_a_wrong_password_at_an_opcua_server():
    with Mosquitto() as broker, NodeOpcua(anonymous=False) as cnc:
        text = f"""\
connections:
  cnc: {{protocol: opcua, url: "{cnc.url}", trust: pinned, allow: [wrong-host], user: operator, password: open-sesame}}
machines:
  lathe: {{connection: cnc, namespaces: {{m: "urn:shop:cnc"}}, signals: {{n: {{node: "m:s=CNC1.PartCount"}}}}}}
"""
        with Gateway(text + mqtt(broker) + HISTORIAN) as gateway:
            until(lambda: "password" in gateway.machine("lathe")["reason"], "the reason on the page")
            assert gateway.machine("lathe")["state"] == "offline"
            assert "open-sesame" not in gateway.log


def test_a_store_that_refuses_the_token_gets_everything_once_it_does_not():
    with Mosquitto() as broker, VictoriaMetrics(token="right") as metrics, simulated() as (machines, text):
        assert metrics.guard is not None
        good = metrics.guard.users
        metrics.guard.stop()
        metrics.guard.users = {"users": [{"bearer_token": "other", "url_prefix": metrics.url}]}
        metrics.guard.start()
        store = f'store: {{kind: influx, url: "{metrics.auth_url}", org: o, bucket: b, token: right}}\n'
        with Gateway(text + mqtt(broker) + store) as gateway:
            until(
                lambda: (
                    gateway.status()["store"]["state"] == "offline" and "token" in gateway.status()["store"]["reason"]
                ),
                "the reason",
            )
            until(lambda: gateway.status()["flow"]["read"] > 30 * SIGNALS, "readings to be kept meanwhile")
            assert stored_messages(gateway) == 0
            metrics.guard.stop()
            metrics.guard.users = good
            metrics.guard.start()
            until(lambda: stored_messages(gateway) > 30, "the readings to be stored", 60)
            machines.stop()
            gateway.catch_up(60)
        served = columns(read_ledger(machines.ledger))["m00", "s002"]

        def found() -> int:
            series = metrics.export('machine_s002{machine="m00"}')
            return len(series[0][1]) if series else 0

        until(lambda: found() >= len(served.value) - 1, "all points to be readable")
        assert found() <= len(served.value)


# --- nothing is lost -------------------------------------------------------------------------------------------------


def killed_broker(delivery: str) -> list[str]:
    """A broker killed in the middle with what it had acknowledged, and a store that was away meanwhile."""
    with Mosquitto(conf=["max_queued_messages 10000"]) as broker, simulated("50ms") as (machines, text):
        common = text + mqtt(broker, f", delivery: {delivery}")
        writer = StoreProcess(common + HISTORIAN)
        with writer, Gateway(common) as gateway:
            until(lambda: gateway.status()["flow"]["sent"] > 20, "the flow")
            writer.stop()  # its session stays: the broker keeps what comes, in memory
            sent = gateway.status()["flow"]["sent"]
            until(lambda: gateway.status()["flow"]["sent"] > sent + 20, "messages only the broker has")
            broker.kill()
            until(lambda: gateway.status()["broker"]["state"] == "offline", "the broker to be missed")
            broker.start()
            writer.start()
            machines.stop()
            until(lambda: gateway.machine("m00")["state"] == "offline", "the machines to be gone")
            if delivery == "store":
                gateway.catch_up(90)
            else:
                until(lambda: gateway.status()["buffer"]["records"] == 0, "the buffer to be empty", 60)
            gateway.stop()
            writer.stop()
            return missing(machines.ledger, writer.folder / "data")


@pytest.mark.timeout(200)
def test_a_killed_broker_loses_nothing_when_the_store_acknowledges():
    assert killed_broker("store") == []


@pytest.mark.timeout(200)
def test_control_the_brokers_word_alone_is_not_enough():
    assert len(killed_broker("broker")) == SIGNALS


@pytest.mark.timeout(200)
def test_a_killed_writer_goes_on_where_it_was():
    with Mosquitto(conf=["max_queued_messages 10000"]) as broker, simulated("50ms") as (machines, text):
        common = text + mqtt(broker, ", delivery: store")
        with StoreProcess(common + HISTORIAN) as writer, Gateway(common) as gateway:
            for _ in range(3):
                before = stored_messages(gateway)
                until(lambda before=before: stored_messages(gateway) > before + 20, "the flow", 60)
                writer.kill()
                writer.start()
            machines.stop()
            until(lambda: gateway.machine("m00")["state"] == "offline", "the machines to be gone")
            gateway.catch_up(90)
            writer.stop()
            assert missing(machines.ledger, writer.folder / "data") == []


@pytest.mark.parametrize("moment", [0.0, 0.1, 0.2, 0.4, 0.8])
def test_a_stop_at_any_moment_is_a_clean_one(moment):
    """Also while it connects, where libraries are known to swallow the cancellation."""
    with Mosquitto() as broker, simulated() as (_, text), Gateway(text + mqtt(broker) + HISTORIAN) as gateway:
        time.sleep(moment)  # this is what is tested: any moment
        gateway.stop()
        assert gateway.process is not None
        assert gateway.process.returncode == 0
        assert "Traceback" not in gateway.log
        assert "ERROR" not in gateway.log
