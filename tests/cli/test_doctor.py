"""gateway doctor as a person types it: against real brokers and stores, and against ones that never answer."""

import json
import os
import re
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.config import load
from gateway.doctor import Case, Finding
from gateway.doctor.checks import broker, store
from gateway.doctor.checks import broker as broker_check
from gateway.faults import codes
from gateway.mqtt.topics import Topics
from gateway.runtime.registry import protocols
from parts.gateway import COMMAND, Gateway, gateway
from parts.influxdb1 import InfluxDB1
from parts.libmodbus import Libmodbus
from parts.mosquitto import Mosquitto
from parts.ports import free_port
from parts.process import wait_until
from parts.tls import Authority

WELL_ACL = "user edge\ntopic readwrite shopfloor/v1/#\n"


def visit(folder: Path, mqtt: str, more: str = "") -> Finding:
    file = folder / "gateway.yaml"
    file.write_text(f"gateway: {{id: edge, data_dir: {folder / 'data'}}}\nmqtt: {mqtt}\n{more}")
    [finding] = broker.look(Case(load(file, protocols()), path=file))
    return finding


@contextmanager
def silent_server() -> Iterator[int]:
    """Takes every connection and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        kept = []

        def serve() -> None:
            with_error = False
            while not with_error:
                try:
                    kept.append(server.accept())
                except OSError:
                    with_error = True

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        for connection, _ in kept:
            connection.close()


# --- the broker ------------------------------------------------------------------------------------------------------


def test_a_broker_with_users_and_an_acl(tmp_path: Path) -> None:
    with Mosquitto(users={"edge": "right"}, acl=WELL_ACL) as part:
        url = f"url: 'mqtt://127.0.0.1:{part.port}'"
        well = visit(tmp_path, f"{{{url}, user: edge, password: right}}")
        assert (well.state, well.fault) == ("ok", "")
        assert "a message was taken and came back" in well.text
        wrong = visit(tmp_path, f"{{{url}, user: edge, password: wrong-canary}}")
        assert (wrong.state, wrong.fault) == ("wrong", "broker-refuses-password")
        assert "wrong-canary" not in json.dumps([wrong.text, wrong.to_do()])
        anonymous = visit(tmp_path, f"{{{url}}}")
        assert (anonymous.state, anonymous.fault) == ("wrong", "broker-refuses-password")
        other = visit(tmp_path, f"{{{url}, user: edge, password: right, root: plant}}")
        assert (other.state, other.fault) == ("wrong", "broker-refuses-topic")
        assert "reason code 135" in other.text, "MQTT 5.0, 2.4: not authorized"
        assert "plant/_gateway/edge/doctor" in other.to_do()[0]


def test_a_broker_that_lets_write_and_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker_check, "ANSWER", 0.5)
    with Mosquitto(users={"edge": "right"}, acl="user edge\ntopic write shopfloor/v1/#\n") as part:
        found = visit(tmp_path, f"{{url: 'mqtt://127.0.0.1:{part.port}', user: edge, password: right}}")
    assert (found.state, found.fault) == ("warning", "broker-gives-not-back")
    assert "does not give it back: readings leave" in found.text
    assert found.to_do()[0] == "in the broker's ACL, let user 'edge' read shopfloor/v1/_gateway/edge/doctor"


ACL = Path(__file__).parents[2] / "deploy" / "mosquitto.acl"
PRESS = (
    "site: {enterprise: acme, line: L1}\nconnections: {c: {protocol: modbus-tcp, host: 127.0.0.1}}\n"
    "machines: {press: {connection: c, signals: {a: {holding: 0, type: int16}}}}\n"
)


def visits(folder: Path, port: int, more: str, gateway_id: str = "edge-01") -> list[Finding]:
    file = folder / "gateway.yaml"
    mqtt = f"mqtt: {{url: 'mqtt://127.0.0.1:{port}', user: edge-01, password: pw, delivery: store}}\n"
    file.write_text(f"gateway: {{id: {gateway_id}, data_dir: {folder / 'data'}}}\n{mqtt}{more}")
    return list(broker.look(Case(load(file, protocols()), path=file)))


@pytest.mark.parametrize("shipped", [ACL, ACL.parent / "docker" / "mosquitto.acl"], ids=["acl", "docker"])
def test_the_access_rules_that_come_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shipped: Path) -> None:
    """With a user of their own in a real Mosquitto: nothing is wrong, and no consumer of readings is disturbed."""
    monkeypatch.setattr(broker_check, "ANSWER", 1.0)
    with Mosquitto(users={"edge-01": "pw"}, acl=shipped.read_text()) as part:
        [well] = visits(tmp_path, part.port, PRESS)
        assert (well.state, well.fault) == ("ok", ""), well.text
        assert "a message of the gateway and of 1 machines was taken and came back" in well.text
        # Another plant than the one in the rules: its readings would be refused.
        [wrong] = visits(tmp_path, part.port, PRESS.replace("acme", "other"))
        assert (wrong.state, wrong.fault) == ("wrong", "broker-refuses-topic")
        assert "'shopfloor/v1/other/L1/press/doctor' (reason code 135)" in wrong.text
    assert Topics().levels_of("shopfloor/v1/acme/L1/press/doctor")
    assert not any(
        each.endswith(("/#", "/doctor")) for kind in ("data", "meta", "status") for each in Topics().every(kind)
    )


def test_rules_that_let_the_gateway_say_how_it_is_and_no_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broker_check, "ANSWER", 0.5)
    machines = PRESS.replace("}}}}", "}}}, mill: {connection: c, signals: {a: {holding: 9, type: int16}}}}")
    with Mosquitto(
        users={"edge-01": "pw"}, acl="user edge-01\ntopic readwrite shopfloor/v1/_gateway/edge-01/#\n"
    ) as part:
        [wrong] = visits(tmp_path, part.port, machines)
    assert (wrong.state, wrong.fault) == ("wrong", "broker-refuses-topic")
    assert "/acme/L1/press/doctor' and those of 1 more machines (reason code 135)" in wrong.text


def test_rules_of_before_let_machines_write_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker_check, "ANSWER", 0.5)
    rules = ACL.read_text().replace("topic readwrite shopfloor/v1/acme/#", "topic write shopfloor/v1/acme/#")
    with Mosquitto(users={"edge-01": "pw"}, acl=rules) as part:
        [found] = visits(tmp_path, part.port, PRESS)
    assert (found.state, found.fault) == ("warning", "broker-gives-not-back")
    assert found.to_do()[0] == "in the broker's ACL, let user 'edge-01' read shopfloor/v1/acme/L1/press/#"


def test_a_broker_with_tls(tmp_path: Path) -> None:
    with Mosquitto(tls=True) as part:
        url = f"url: 'mqtts://localhost:{part.tls_port}'"
        assert visit(tmp_path, f"{{{url}, ca: '{part.ca_path}'}}").state == "ok"
        assert visit(tmp_path, f"{{{url}}}").fault == "broker-tls", "the CA is not one of the system's"
        plain = visit(tmp_path, f"{{url: 'mqtts://localhost:{part.port}', ca: '{part.ca_path}'}}")
        assert plain.fault == "broker-tls"
        missing = visit(tmp_path, f"{{{url}, ca: '{tmp_path / 'none.pem'}'}}")
        assert missing.fault == "broker-certificate-files"


def test_a_broker_whose_certificate_has_another_name(tmp_path: Path) -> None:
    part = Mosquitto(tls=True)
    part.authority = Authority(part.folder / "other", ("broker.lan",))
    part.ca_path = part.authority.ca_path
    with part:
        found = visit(tmp_path, f"{{url: 'mqtts://localhost:{part.tls_port}', ca: '{part.ca_path}'}}")
    assert (found.state, found.fault) == ("wrong", "broker-tls-name")


def test_nobody_listens(tmp_path: Path) -> None:
    port = free_port()
    found = visit(tmp_path, f"{{url: 'mqtt://127.0.0.1:{port}'}}")
    assert (found.state, found.fault) == ("wrong", "broker-not-running")
    assert f"nc -vz 127.0.0.1 {port}" in found.to_do()[0]


def test_the_message_is_not_kept_by_the_broker(tmp_path: Path) -> None:
    import paho.mqtt.client as paho
    from paho.mqtt.enums import CallbackAPIVersion

    with Mosquitto() as part:
        assert visit(tmp_path, f"{{url: 'mqtt://127.0.0.1:{part.port}'}}").state == "ok"
        heard: list[str] = []
        client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
        client.on_message = lambda _c, _u, message: heard.append(message.topic)
        client.connect("127.0.0.1", part.port)
        client.loop_start()
        client.subscribe("#", qos=1)
        client.publish("end", b"x", qos=1).wait_for_publish(5)
        wait_until(lambda: "end" in heard)
        client.loop_stop()
    assert heard == ["end"]


# --- the data base ---------------------------------------------------------------------------------------------------


def test_influx(tmp_path: Path) -> None:
    def look(text: str) -> Finding:
        file = tmp_path / "gateway.yaml"
        file.write_text(f"store: {text}\n")
        [finding] = store.look(Case(load(file, protocols()), path=file))
        return finding

    with InfluxDB1() as part:
        found = look(f"{{kind: influx, url: '{part.url}', database: no-such}}")
        assert (found.state, found.fault) == ("wrong", "store-database-missing")
        part.query("CREATE DATABASE shop")
        assert look(f"{{kind: influx, url: '{part.url}', database: shop}}").state == "ok"
        assert part.query("SHOW MEASUREMENTS", "shop") == [], "nothing was written"


# --- the command -----------------------------------------------------------------------------------------------------

PLANT = """\
gateway: {{id: edge}}
connections: {{panel: {{protocol: modbus-tcp, host: 127.0.0.1, port: {machine}}}}}
machines: {{m: {{connection: panel, unit_id: 1, signals: {{x: {{holding: 0, type: int16}}}}}}}}
mqtt: {{url: "mqtt://127.0.0.1:{broker}"}}
store: {{kind: historian}}
"""


def rows(text: str) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for line in text.splitlines():
        row = json.loads(line)
        found.setdefault(row["check"], []).append(row)
    return found


def test_the_command(tmp_path: Path) -> None:
    with Mosquitto() as part, Libmodbus({(1, "holding", 0): [7]}) as machine:
        (tmp_path / "gateway.yaml").write_text(PLANT.format(machine=machine.port, broker=part.port))
        done = gateway("doctor", "--json", cwd=tmp_path)
        found = rows(done.stdout)
        assert done.returncode == 0, done.stdout
        assert found["machines"][0]["state"] == found["broker"][0]["state"] == "ok"
        assert {row["fault"] for each in found.values() for row in each} <= {"", *codes()}
        text = gateway("doctor", "--language", "vi", cwd=tmp_path).stdout
        assert "Không có gateway nào chạy với cấu hình này" in text
        assert "[gateway-not-running]" in text
        assert "thường do: Dịch vụ chưa được khởi động, hoặc đã bị dừng." in text
    done = gateway("doctor", cwd=tmp_path)
    assert done.returncode == 1
    assert re.search(r"^WRONG +broker .*\[broker-not-running\]$", done.stdout, re.M)
    assert "likely: The broker is not running, or was not started after the last reboot." in done.stdout
    done = gateway("doctor", "--no-network", "--json", cwd=tmp_path)
    assert done.returncode == 0
    assert {rows(done.stdout)[name][0]["state"] for name in ("machines", "broker", "names")} == {"skipped"}


def test_a_broken_configuration_is_a_finding_and_the_rest_goes_on(tmp_path: Path) -> None:
    (tmp_path / "gateway.yaml").write_text("mqtt: {windw: 7}\n")
    done = gateway("doctor", "--json", cwd=tmp_path)
    found = rows(done.stdout)
    assert done.returncode == 1
    assert found["configuration"][0]["text"] == "gateway.yaml:1:8: mqtt.windw: 'windw' is not a key here"
    assert found["configuration"][0]["to_do"][0] == "did you mean 'window'?"
    assert found["memory"][0]["state"] == "ok"
    assert found["disk"][0]["state"] == "skipped"
    (tmp_path / "gateway.yaml").unlink()
    assert gateway("doctor", "--no-network", cwd=tmp_path).returncode == 1


def test_a_broken_file_is_no_reason_to_look_at_nothing() -> None:
    """The last good version is looked at, and the gateway that runs is asked; then without it."""
    port = free_port()
    with Gateway(PLANT.format(machine=port, broker=port)) as running:
        wait_until(lambda: running.machine("m")["state"] == "offline")
        wait_until(lambda: any((running.folder / "data" / "versions").glob("*.json")), 20, "the first version")
        running.file.write_text(running.file.read_text() + "broken: [\n")
        while_it_runs = rows(gateway("doctor", "--json", "-c", str(running.file)).stdout)
        running.stop()
        afterwards = rows(gateway("doctor", "--json", "-c", str(running.file)).stdout)
    for found in (while_it_runs, afterwards):
        assert [row["state"] for row in found["configuration"]] == ["wrong", "warning"]
        assert "version 1, the last one that a gateway has run with" in found["configuration"][1]["text"]
        assert found["machines"][0]["fault"] == "connection-refused"
        assert found["broker"][0]["fault"] == "broker-not-running"
        assert found["store"][0]["state"] == "ok"
    assert "0 of 1 machines online" in while_it_runs["service"][-1]["text"]
    assert [row["fault"] for row in afterwards["service"]] == ["gateway-not-running"]


@pytest.mark.root
@pytest.mark.parametrize("runs", [True, False])
def test_who_may_not_look_is_told_once_what_to_do(runs: bool) -> None:
    with Gateway(PLANT.format(machine=free_port(), broker=free_port())) as made:
        wait_until(lambda: any((made.folder / "data" / "versions").glob("*.json")), 20, "the first version")
        (made.folder / "data" / "opcua").mkdir()
        if not runs:
            made.stop()
        (made.folder / "data").chmod(0o700)
        os.chown(made.folder / "data", 54321, 54321)
        without = "-dac_override,-dac_read_search"  # so root is a user as others are, see capabilities(7)
        command = ["setpriv", f"--bounding-set={without}", f"--inh-caps={without}"]
        command += [COMMAND, "doctor", "--json", "--no-network", "-c", str(made.file)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        os.chown(made.folder / "data", 0, 0)
    found = rows(done.stdout)
    assert done.returncode == 1, done.stderr
    denied = [row for each in found.values() for row in each if row["fault"] == "disk-no-rights"]
    assert [row["check"] for row in denied] == ["rights"], done.stdout
    assert "run it as the gateway's user or with sudo" in denied[0]["to_do"][0]
    for name in ("service", "disk", "data folder", "secrets", "store"):
        assert [row["state"] for row in found[name]] == ["skipped"], name
    assert "unexpected-error" not in done.stdout
    assert found["clock"][0]["state"] != "skipped"


def test_servers_that_take_a_connection_and_never_answer_do_not_hold_it_up(tmp_path: Path) -> None:
    with silent_server() as port:
        text = PLANT.format(machine=port, broker=port)
        text = text.replace("{kind: historian}", f"{{kind: influx, database: shop, url: 'http://127.0.0.1:{port}'}}")
        (tmp_path / "gateway.yaml").write_text(text)
        began = time.monotonic()
        done = gateway("doctor", "--json", cwd=tmp_path)
        took = time.monotonic() - began
        found = rows(done.stdout)
        assert done.returncode == 1
        assert found["broker"][0]["fault"] == "broker-silent"
        assert found["store"][0]["fault"] == "store-unreachable"
        assert found["machines"][0]["state"] == "ok"
        assert took < 30


def test_a_gateway_that_runs_is_asked_and_left_alone() -> None:
    with Mosquitto() as part:
        port = free_port()
        with Gateway(PLANT.format(machine=port, broker=part.port)) as running:
            wait_until(lambda: running.machine("m")["state"] == "offline")
            wait_until(
                lambda: {running.status()[name]["state"] for name in ("broker", "store")} == {"online"}, 20, "both"
            )
            found = rows(gateway("doctor", "-c", str(running.file), "--json", cwd=running.file.parent).stdout)
    said = [row for row in found["service"] if row["state"] == "wrong"]
    assert [(row["text"].split(":")[0], row["fault"]) for row in said] == [("m", "connection-refused")]
    assert found["service"][-1]["text"].endswith("0 of 1 machines online")
    assert found["page"][0]["state"] == "ok"
    assert found["store"][0]["state"] == "ok"


def test_explain() -> None:
    done = gateway("explain", "modbus-no-answer")
    assert done.stdout.splitlines()[0] == "The Modbus device does not answer"
    assert "  2. On RS-485: wires A and B are swapped; makers do not agree which is which.\n" in done.stdout
    assert gateway("explain", "[modbus-no-answer]").stdout == done.stdout
    assert gateway("doctor", "--explain", "modbus-no-answer").stdout == done.stdout
    assert gateway("explain", "modbus-no-answer", "--language", "vi").stdout.startswith(
        "Thiết bị Modbus không trả lời\n"
    )
    row = json.loads(gateway("explain", "modbus-no-answer", "--json").stdout)
    assert (row["severity"], len(row["causes"]), len(row["checks"])) == ("error", 5, 5)
    assert len(gateway("explain", "all").stdout.splitlines()) == len(codes())
    wrong = gateway("explain", "modbus-no-anser")
    assert (wrong.returncode, "did you mean 'modbus-no-answer'?" in wrong.stderr) == (2, True)
    assert gateway("explain", "modbus-no-answer", "--language", "xx").returncode == 2
