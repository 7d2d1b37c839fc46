"""The broker's files, beside a gateway and in a container, do what they are for in a real Mosquitto."""

import re
import socket
import ssl
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from parts.gateway import Gateway, StoreProcess
from parts.libmodbus import Libmodbus
from parts.mosquitto import Mosquitto
from parts.ports import free_port
from parts.process import Part, accepts, program, wait_until

DEPLOY = Path(__file__).parents[2] / "deploy"
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
            assert refused(publish(broker.port, topic, user, "pw"))


def publish(port: int, topic: str, user: str, password: str, *more: str) -> "subprocess.CompletedProcess[str]":
    """One message with QoS 1; what came of it is in its output."""
    command = [program("mosquitto_pub"), "-h", "localhost", "-p", str(port), "-V", "mqttv5", "-q", "1", "-d", *more]
    login = ["-u", user, "-P", password] if user else []
    return subprocess.run(
        [*command, *login, "-t", f"shopfloor/v1/{topic}", "-m", "{}"],
        capture_output=True, text=True, check=False, timeout=20,
    )  # fmt: skip


def refused(done: "subprocess.CompletedProcess[str]") -> bool:
    said = (done.stdout + done.stderr).lower()
    return "(rc135)" in said.replace(" ", "") or "not authorized" in said


# /etc/mosquitto/mosquitto.conf of Debian's package mosquitto (2.0.11-1.2 in Debian 12), without its comments.
DEBIAN = """\
pid_file {etc}/mosquitto.pid

persistence true
persistence_location {etc}/lib/

log_dest file {etc}/mosquitto.log

include_dir {etc}/conf.d
"""


def test_the_configuration_is_one_that_the_broker_takes_beside_that_of_debian(tmp_path):
    (tmp_path / "lib").mkdir()
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "mosquitto.conf").write_text(DEBIAN.format(etc=tmp_path) + "user root\n")
    port, shipped = free_port(), (DEPLOY / "mosquitto.conf").read_text()
    assert "listener 1883 127.0.0.1" in shipped
    (tmp_path / "conf.d" / "gateway.conf").write_text(shipped.replace("listener 1883", f"listener {port}"))
    command = [program("mosquitto"), "-c", str(tmp_path / "mosquitto.conf")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            wait_until(lambda: process.poll() is not None or accepts(port), 10, "the broker")
            assert process.poll() is None, process.communicate()[1]
            done = subprocess.run(
                [program("mosquitto_pub"), "-h", "127.0.0.1", "-p", str(port), "-q", "1", "-t", "a", "-m", "1"],
                capture_output=True, text=True, check=False, timeout=20,
            )  # fmt: skip
            assert (done.returncode, done.stderr) == (0, "")
        finally:
            process.terminate()
            process.wait(10)
    assert (tmp_path / "lib" / "mosquitto.db").exists()  # what waits for a session is kept over a restart


# --- the one of compose.yaml -----------------------------------------------------------------------------------------


class ComposeBroker(Part):
    """Mosquitto with the files of deploy/docker, and what setup.sh made: only the paths are those of this computer."""

    def __init__(self) -> None:
        super().__init__()
        self.port = free_port()
        subprocess.run(["bash", DEPLOY / "docker" / "setup.sh", self.folder], check=True, capture_output=True)
        self.ca = self.folder / "tls" / "ca.pem"

    def password(self, user: str) -> str:
        return (self.folder / "secrets" / f"mqtt_{user}").read_text().strip()

    def command(self) -> list[str]:
        passwords = self.folder / "passwords"
        passwords.write_bytes((self.folder / "secrets" / "mosquitto_users").read_bytes())
        passwords.chmod(0o600)
        subprocess.run([program("mosquitto_passwd"), "-U", passwords], check=True)
        (self.folder / "data").mkdir(exist_ok=True)
        text = (DEPLOY / "docker" / "mosquitto.conf").read_text()
        for there, here in (
            ("/run/mosquitto/passwords", passwords),
            ("/mosquitto/config/mosquitto.acl", DEPLOY / "docker" / "mosquitto.acl"),
            ("/run/secrets/ca", self.ca),
            ("/run/secrets/broker_certificate", self.folder / "tls" / "broker.pem"),
            ("/run/secrets/broker_key", self.folder / "tls" / "broker.key"),
            ("/mosquitto/data/", f"{self.folder}/data/"),
            ("listener 8883", f"listener {self.port}"),
        ):
            assert there in text
            text = text.replace(there, str(here))
        path = self.folder / "mosquitto.conf"
        path.write_text(text + "\nuser root\n")
        return [program("mosquitto"), "-c", str(path)]

    def ready(self) -> bool:
        return accepts(self.port)


@pytest.fixture(scope="module")
def compose() -> Iterator[ComposeBroker]:
    with ComposeBroker() as broker:
        yield broker


def test_a_reading_gets_through_with_what_the_script_made(compose):
    secret = compose.password("gateway")
    text = TEXT.format(port="{port}", broker=compose.port, user="edge-01").replace(
        "password: pw", f"password: '{secret}', ca: {compose.ca}"
    )
    text = text.replace("mqtt://127.0.0.1", "mqtts://localhost").replace("{port}", "{}")
    store = "store: {kind: historian, writer: edge-01}\n"
    press = Libmodbus({(1, "holding", 0): [7]})
    text = text.replace("port: {}", f"port: {press.port}") + store
    with press, Gateway(text) as gateway:
        wait_until(lambda: gateway.status()["flow"]["stored"] > 10, 30, "the flow")


def test_who_has_no_right_is_refused(compose):
    tls = ("--cafile", str(compose.ca))
    assert not refused(publish(compose.port, "acme/press/data", "edge-01", compose.password("gateway"), *tls))
    assert refused(publish(compose.port, "acme/press/data", "reader", compose.password("reader"), *tls))
    assert refused(publish(compose.port, "_store/edge-01/edge-01", "reader", compose.password("reader"), *tls))
    assert refused(publish(compose.port, "acme/press/data", "edge-01", "wrong", *tls))
    assert refused(publish(compose.port, "acme/press/data", "", "", *tls))


def test_without_tls_there_is_nobody(compose):
    assert publish(compose.port, "acme/press/data", "edge-01", compose.password("gateway")).returncode != 0


def test_another_authority_is_not_believed(compose):
    context = ssl.create_default_context()
    with (
        socket.create_connection(("localhost", compose.port), timeout=10) as line,
        pytest.raises(ssl.SSLCertVerificationError),
    ):
        context.wrap_socket(line, server_hostname="localhost")


def test_what_the_script_made_is_for_nobody_else_and_stays(compose):
    for name in ("tls", "secrets"):
        assert stat.S_IMODE((compose.folder / name).stat().st_mode) == 0o700
    files = [file for name in ("tls", "secrets") for file in (compose.folder / name).iterdir()]
    before = {file: file.read_bytes() for file in files}
    subprocess.run(["bash", DEPLOY / "docker" / "setup.sh", compose.folder], check=True, capture_output=True)
    assert {file: file.read_bytes() for file in files} == before
    secrets = [file.read_text() for file in (compose.folder / "secrets").iterdir() if file.name != "mosquitto_users"]
    assert len(set(secrets)) == len(secrets)
    assert all(len(secret.strip()) == 32 for secret in secrets)
