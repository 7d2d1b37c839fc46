"""A service whose page or certificates are missing reads its machines all the same, says so, and opens them once they are there."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from gateway.cli import running
from parts.gateway import Gateway, StoreProcess, gateway
from parts.libmodbus import Libmodbus
from parts.mosquitto import Mosquitto
from parts.ports import free_port
from parts.process import wait_until
from parts.tls import Authority

GARBAGE = "no certificate at all\n"
STORE = "gateway: {{data_dir: data}}\nmqtt: {{url: '{url}'}}\nstore: {{kind: historian{more}}}\n"


class Service(Gateway):
    """`gateway run --safe-mode`, with whatever page its text says."""

    def __init__(self, text: str) -> None:
        super().__init__(text, page=False)

    def command(self) -> list[str]:
        return [*super().command(), "--safe-mode"]

    def ready(self) -> bool:
        try:
            return bool(self.asked)
        except running.NotRunningError:
            return False

    @property
    def asked(self) -> dict[str, Any]:
        found: dict[str, Any] = running.ask_at(self.file, "status")
        return found

    def reads(self) -> None:
        """Wait until the machine has brought another ten readings."""
        read = self.asked["flow"]["read"]
        wait_until(lambda: self.asked["flow"]["read"] > read + 10, 20, "the machine to be read")
        assert self.asked["machines"][0]["state"] == "online"


@contextmanager
def service(more: str, broker: str = "mqtt: {url: 'mqtt://127.0.0.1:1'}\n") -> Iterator[Service]:
    with Libmodbus({(1, "holding", 0): [7]}) as press:
        made = Service(
            "version: 1\ngateway: {id: edge-01, data_dir: data}\nbuffer: {max_size: 64MiB}\n"
            f"connections: {{panel: {{protocol: modbus-tcp, host: 127.0.0.1, port: {press.port}}}}}\n"
            "machines: {press: {connection: panel, poll: 50ms, signals: {a: {holding: 0, type: uint16}}}}\n"
            f"{broker}{more}"
        )
        with made:
            yield made


def told_everywhere(made: Service, fault: str) -> None:
    """In the log once, in the events, in `gateway status`, in the faults, and in the metrics."""
    assert made.asked["page_state"]["state"] == "offline"
    assert made.asked["page_state"]["fault"] == fault
    assert made.log.count("there is no page") == 1
    assert f"[{fault}]" in made.log
    assert [row["fault"] for row in running.ask_at(made.file, "faults") if row["kind"] == "page"] == [fault]
    (event,) = [e for e in running.ask_at(made.file, "events") if e["text"].startswith("there is no page")]
    assert (event["kind"], event["state"], event["fault"]) == ("gateway", "degraded", fault)
    done = gateway("status", "-c", str(made.file))
    assert done.returncode == 1
    assert "page     offline since" in done.stdout
    assert f"[{fault}]" in done.stdout
    row = json.loads(gateway("status", "--json", "-c", str(made.file)).stdout.splitlines()[0])
    assert "page" in row["troubles"]
    text = gateway("metrics", "-c", str(made.file)).stdout
    assert "gateway_page_up 0.0" in text
    assert f'gateway_link_fault{{fault="{fault}",link="page"}} 1.0' in text


def opened(made: Service) -> None:
    """The state ends, and is said to have ended."""
    wait_until(lambda: made.asked["page_state"]["state"] == "online", 30, "the page")
    assert made.asked["page"]
    assert "gateway_page_up 1.0" in gateway("metrics", "-c", str(made.file)).stdout
    newest = next(e for e in running.ask_at(made.file, "events") if e["text"].startswith("status page: http"))
    assert newest["state"] == "online"


def test_a_port_that_is_taken_and_becomes_free():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with service(f"web: {{listen: '127.0.0.1:{port}'}}\n") as made:
            made.reads()
            told_everywhere(made, "port-taken")
            taken.close()
            opened(made)
            with urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5) as answer:
                assert answer.status == 200


def test_without_safe_mode_it_is_told_at_once():
    with socket.create_server(("127.0.0.1", 0)) as taken, Libmodbus({(1, "holding", 0): [7]}) as press:
        made = Service("")
        made.folder.mkdir(exist_ok=True)
        made.file.write_text(
            f"gateway: {{data_dir: data}}\nconnections: {{c: {{protocol: modbus-tcp, host: 127.0.0.1, port: {press.port}}}}}\n"
            "machines: {m: {connection: c, signals: {a: {holding: 0, type: uint16}}}}\n"
            f"web: {{listen: '127.0.0.1:{taken.getsockname()[1]}'}}\n"
        )
        done = gateway("run", str(made.file))
        assert done.returncode == 1
        assert "another program uses this port" in done.stderr


def test_an_address_that_this_box_does_not_have():
    """203.0.113.0/24 is for documentation only (RFC 5737): nobody has it."""
    with service(f"web: {{listen: '203.0.113.5:{free_port()}', login: required}}\n") as made:
        made.reads()
        told_everywhere(made, "page-not-open")
        attempts = made.log.count("set-up code")
        made.reads()
        assert made.log.count("set-up code") == attempts == 0, "not with each attempt"
        # Another address, by a reload: the page is there, and nothing is tried any more.
        port = free_port()
        made.file.write_text(made.config.partition("web:")[0] + f"web: {{listen: '127.0.0.1:{port}'}}\n")
        assert running.ask_at(made.file, "reload", who="test")["errors"] == []
        opened(made)
        made.reads()


def test_a_certificate_of_the_page_that_comes_later(tmp_path: Path):
    port = free_port()
    cert, key = tmp_path / "page.pem", tmp_path / "page.key"
    web = f"web: {{listen: '127.0.0.1:{port}', login: required, cert: '{cert}', key: '{key}'}}\n"
    with service(web) as made:
        made.reads()
        told_everywhere(made, "page-not-open")
        authority = Authority(tmp_path / "ca")
        for source, target in zip(authority.issue("localhost"), (cert, key), strict=True):
            shutil.copy(source, target)
            target.chmod(0o600)
        opened(made)
        context = ssl.create_default_context(cafile=str(authority.ca_path))
        with urlopen(f"https://localhost:{port}/healthz", timeout=5, context=context) as answer:
            assert answer.status == 200


@pytest.mark.parametrize("content", [None, GARBAGE])
def test_a_ca_of_the_broker_that_comes_later(tmp_path: Path, content: str | None):
    ca = tmp_path / "ca.pem"
    if content is not None:
        ca.write_text(content)
    with Mosquitto(tls=True) as broker:
        mqtt = f"mqtt: {{url: 'mqtts://localhost:{broker.tls_port}', ca: '{ca}'}}\n"
        with service("store: {kind: historian}\n", mqtt) as made:
            made.reads()
            assert made.asked["broker"]["state"] == "offline"
            assert made.asked["broker"]["fault"] == "broker-certificate-files"
            assert str(ca) in made.asked["broker"]["reason"]
            assert made.asked["buffer"]["records"] > 10, "what is read waits"
            shutil.copy(broker.ca_path, ca)
            wait_until(lambda: made.asked["broker"]["state"] == "online", 30, "the broker")
            wait_until(lambda: made.asked["buffer"]["records"] < 5, 30, "what has waited to be stored")


def test_without_safe_mode_a_certificate_is_told_at_once(tmp_path: Path):
    (tmp_path / "gateway.yaml").write_text(
        "connections: {c: {protocol: modbus-tcp, host: 127.0.0.1}}\n"
        "machines: {m: {connection: c, signals: {a: {holding: 0, type: uint16}}}}\n"
        "mqtt: {url: 'mqtts://localhost', ca: gone.pem}\n"
    )
    done = gateway("run", cwd=tmp_path)
    assert done.returncode == 5
    assert "gone.pem" in done.stderr


# --- the store writer alone ------------------------------------------------------------------------------------------


class SafeStore(StoreProcess):
    """`gateway store --safe-mode`."""

    broken = ""

    def command(self) -> list[str]:
        made = super().command()
        if self.broken:
            self.file.write_text(self.broken)
        return [*made, "--safe-mode"]

    def ready(self) -> bool:
        try:
            return bool(running.ask_at(self.file, "status"))
        except running.NotRunningError:
            return False

    def writer(self) -> dict[str, Any]:
        with suppress(running.NotRunningError):  # between waiting and running
            found: dict[str, Any] = running.ask_at(self.file, "status").get("writer") or {}
            return found
        return {}


def test_a_store_writer_goes_on_with_the_last_good_version():
    with Mosquitto() as broker:
        right = STORE.format(url=broker.url, more="")
        with SafeStore(right) as made:
            wait_until(lambda: made.writer().get("ok"), 20, "the writer")
            made.stop()
            made.broken = STORE.format(url=broker.url, more=", retention: 30x")
            made.file.write_text(made.broken)
            assert gateway("store", str(made.file)).returncode == 3, "the control"
            made.start()
            wait_until(lambda: made.writer().get("ok"), 20, "the writer, all the same")
            done = gateway("status", "-c", str(made.file))
            assert done.returncode == 1
            assert "safe mode: " in done.stdout
            assert "30x" in done.stdout
            made.file.write_text(right.replace("historian", "historian, retention: 30d"))
            wait_until(lambda: not running.ask_at(made.file, "status")["safe_mode"], 15, "the end of safe mode")
            assert gateway("status", "-c", str(made.file)).returncode == 0


def test_a_store_writer_without_a_version_waits_and_starts():
    with Mosquitto() as broker:
        made = SafeStore(STORE.format(url=broker.url, more=""))
        made.broken = STORE.format(url=broker.url, more=", retention: 30x")
        with made:
            assert "nothing is stored until" in made.log
            assert "30x" in running.ask_at(made.file, "status")["safe_mode"][0]
            made.file.write_text(STORE.format(url=broker.url, more=""))
            wait_until(lambda: made.writer().get("ok"), 20, "the writer")


def test_a_store_that_cannot_be_opened_is_tried_again():
    with Mosquitto() as broker:
        made = SafeStore(STORE.format(url=broker.url, more=", path: store.sqlite"))
        (made.folder / "store.sqlite").write_bytes(b"this is no data base, and never was\n" * 100)
        with made:
            assert not running.ask_at(made.file, "status")["writer"]
            assert "what is sent waits, and it is tried again" in made.log
            (made.folder / "store.sqlite").unlink()
            wait_until(lambda: made.writer().get("ok"), 40, "the writer")


# --- the audit ---------------------------------------------------------------------------------------------------------


def test_reloads_by_a_signal_and_by_a_file_are_in_the_audit():
    with service("") as made:
        made.reads()
        text = made.file.read_text()

        def entries() -> list[tuple[str, str, str]]:
            done = gateway("web", "audit", "--json", "-c", str(made.file))
            rows = [json.loads(line) for line in done.stdout.splitlines()]
            return [(row["who"], row["what"], row["outcome"]) for row in rows if row.get("what") == "reload"]

        assert made.process is not None
        made.file.write_text(text.replace("data_dir: data", "data_dir: data, watch: true"))
        os.kill(made.process.pid, signal.SIGHUP)
        wait_until(lambda: entries() == [("signal", "reload", "done")], 20, "the signal")
        made.file.write_text(text.replace("data_dir: data", "data_dir: data, watch: yes please"))
        wait_until(lambda: entries()[1:] == [("file", "reload", "refused")], 20, "the file")
        assert gateway("web", "audit", "-c", str(made.file)).returncode == 0, "the chain is whole"
