"""The files in deploy/ do what they are for, with the broker they are made for."""

import re
import subprocess
from pathlib import Path

from parts.gateway import Gateway, StoreProcess
from parts.libmodbus import Libmodbus
from parts.mosquitto import Mosquitto
from parts.process import program, wait_until

DEPLOY = Path(__file__).parents[1] / "deploy"
TEXT = """\
gateway: {{id: edge-01, data_dir: data}}
site: {{enterprise: acme}}
connections: {{panel: {{protocol: modbus-tcp, host: 127.0.0.1, port: {port}}}}}
machines: {{press: {{connection: panel, poll: 100ms, signals: {{a: {{holding: 0, type: uint16}}}}}}}}
mqtt: {{url: "mqtt://127.0.0.1:{broker}", user: {user}, password: pw, delivery: store}}
"""


def settings() -> list[str]:
    """Those of the shipped file that do not name a place of this machine."""
    lines = (DEPLOY / "mosquitto.conf").read_text().splitlines()
    return [line for line in lines if re.match(r"(autosave|max_)", line)]


def test_the_flow_works_with_the_access_rules_and_nobody_else_can_acknowledge():
    users = {"edge-01": "pw", "store-01": "pw", "reader": "pw"}
    acl = (DEPLOY / "mosquitto.acl").read_text()
    with Mosquitto(users=users, acl=acl, conf=settings()) as broker, Libmodbus({(1, "holding", 0): [7]}) as press:
        common = {"port": press.port, "broker": broker.port}
        store = "store: {kind: historian, writer: store-01}\n"
        with StoreProcess(TEXT.format(**common, user="store-01") + store) as writer:
            with Gateway(TEXT.format(**common, user="edge-01")) as gateway:
                wait_until(lambda: gateway.status()["flow"]["stored"] > 20, 20, "the flow")
                assert gateway.status()["broker"]["reason"] == ""
            assert {row["value"] for row in writer.query("acme/press/a") if row["quality"] == "good"} == {7}
        for user, topic in (
            ("reader", "_store/store-01/edge-01"),
            ("edge-01", "_store/store-01/edge-01"),
            ("reader", "acme/press/data"),
        ):
            command = [
                program("mosquitto_pub"),
                "-p",
                str(broker.port),
                "-u",
                user,
                "-P",
                "pw",
                "-V",
                "mqttv5",
                "-q",
                "1",
                "-d",
            ]
            done = subprocess.run(
                [*command, "-t", f"shopfloor/v1/{topic}", "-m", "{}"], capture_output=True, text=True, check=False
            )
            assert (
                "(rc135)" in done.stdout.lower().replace(" ", "")
                or "not authorized" in (done.stdout + done.stderr).lower()
            ), done


def test_the_configuration_is_one_that_the_broker_takes(tmp_path):
    text = (DEPLOY / "mosquitto.conf").read_text()
    text = text.replace("listener 1883 127.0.0.1", "listener 0 127.0.0.1").replace(
        "/var/lib/mosquitto/", f"{tmp_path}/"
    )
    (tmp_path / "m.conf").write_text(text + "user root\n")
    process = subprocess.Popen(
        [program("mosquitto"), "-c", str(tmp_path / "m.conf")], stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stderr is not None
        said = [process.stderr.readline() for _ in range(3)]
        assert any("Config loaded" in line for line in said), said
    finally:
        process.terminate()
        process.wait(10)
