"""`gateway config check` says what `run`, `store`, a reload and the page would say, and looks at the files that are named."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest

from gateway.config import load
from gateway.errors import ConfigErrors
from gateway.runtime.asked import configuring
from gateway.runtime.changes.checks import check_any_work, check_work, doubts
from gateway.runtime.registry import protocols
from parts.gateway import gateway

PLANT = """\
version: 1
connections: {panel: {protocol: modbus-tcp, host: 127.0.0.1}}
machines: {press: {connection: panel, signals: {temp: {holding: 0, type: int16}}}}
"""
PEM = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"


@pytest.mark.parametrize("text", ["", "version: 1\n", "machines: {}\n", "mqtt: {url: 'mqtt://broker'}\n"])
def test_nothing_to_do_is_a_mistake_everywhere(tmp_path: Path, text: str) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_text(text)
    for command in (("config", "check"), ("run",)):
        done = gateway(*command, cwd=tmp_path)
        assert (done.returncode, "there are no machines to read" in done.stderr) == (3, True), command
    done = gateway("config", "check", "--json", cwd=tmp_path)
    assert (done.returncode, json.loads(done.stdout)["message"]) == (3, "there are no machines to read")
    file.write_text(PLANT)
    found = configuring.check(load(file, protocols()), text, "gateway.yaml", {})
    assert (found["ok"], found["errors"][0]["message"]) == (False, "there are no machines to read")


def test_a_store_writer_needs_no_machines(tmp_path: Path) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_text("store: {kind: historian}\n")
    done = gateway("config", "check", cwd=tmp_path)
    assert (done.returncode, "ok, for `gateway store` only" in done.stdout) == (0, True)
    configuration = load(file, protocols())
    check_any_work(configuration)
    check_work(configuration, store_only=True)
    with pytest.raises(ConfigErrors, match="no machines"):
        check_work(configuration)


NAMED = """\
mqtt: {url: 'mqtts://broker', ca: ca.pem}
web:
  cert: tls/page.pem
  key: tls/page.key
connections:
  line.1: {protocol: modbus-tls, host: 127.0.0.1, ca: device.pem}
machines: {press: {connection: line.1, signals: {temp: {holding: 0, type: int16}}}}
"""


def warnings(folder: Path) -> list[str]:
    file = folder / "gateway.yaml"
    file.write_text(NAMED)
    configuration = load(file, protocols())
    return [each.replace(f"{folder}/", "") for each in doubts(configuration)]


def test_files_that_are_named_and_not_there(tmp_path: Path) -> None:
    assert warnings(tmp_path) == [
        "gateway.yaml:1:35: warning: mqtt.ca: there is no file ca.pem",
        "gateway.yaml:3:9: warning: web.cert: there is no file tls/page.pem",
        "gateway.yaml:4:8: warning: web.key: there is no file tls/page.key",
        "gateway.yaml:6:55: warning: connections.line.1.ca: there is no file device.pem",
    ]
    done = gateway("config", "check", cwd=tmp_path)
    assert (done.returncode, done.stderr.count("there is no file")) == (0, 4), "what is not there may come"
    row = json.loads(gateway("config", "check", "--json", cwd=tmp_path).stdout)
    assert (row["ok"], len(row["warnings"])) == (True, 4)


def test_files_that_are_there_and_of_no_use(tmp_path: Path) -> None:
    (tmp_path / "tls").mkdir()
    (tmp_path / "tls" / "page.pem").write_text(PEM)
    (tmp_path / "tls" / "page.key").mkdir()
    (tmp_path / "ca.pem").write_text("<html>404</html>")
    (tmp_path / "device.pem").write_bytes(b"0\x82 of DER")
    assert warnings(tmp_path) == [
        "gateway.yaml:1:35: warning: mqtt.ca: ca.pem has no certificate or key in it: a file in PEM is needed",
        "gateway.yaml:4:8: warning: web.key: tls/page.key cannot be read by this user: Is a directory",
    ]


def test_files_that_this_user_may_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the kernel says it; root, who runs the tests, may read everything."""
    opened = Path.open

    def refuse(path: Path, *arguments: Any, **more: Any) -> Any:
        if path.suffix == ".pem":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return opened(path, *arguments, **more)

    monkeypatch.setattr(Path, "open", refuse)
    assert "cannot be read by this user: Permission denied" in warnings(tmp_path)[0]


def test_the_page_tells_the_same_and_nothing_of_other_folders(tmp_path: Path) -> None:
    """Who may have a text checked is not told what there is on the box."""
    file = tmp_path / "gateway.yaml"
    file.write_text(PLANT)
    configuration = load(file, protocols())
    text = PLANT + "mqtt: {url: 'mqtts://broker', ca: ca.pem}\n"
    assert configuring.check(configuration, text, "gateway.yaml", {})["warnings"] == [
        f"gateway.yaml:4:35: warning: mqtt.ca: there is no file {tmp_path / 'ca.pem'}"
    ]
    for path in ("/etc/shadow", "/no/such/file", "../../x"):
        found = configuring.check(configuration, text.replace("ca: ca.pem", f"ca: '{path}'"), "gateway.yaml", {})
        assert (found["ok"], found["warnings"]) == (True, [])
