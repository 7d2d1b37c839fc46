"""gateway support-bundle: what is in it, and above all what is not."""

import base64
import io
import json
import os
import subprocess
import zipfile
from pathlib import Path
from urllib.parse import quote

import pytest
import yaml

from gateway.doctor import Case, bundle
from gateway.doctor.redact import redacted, suspected, variants
from parts.gateway import COMMAND, Gateway
from parts.mosquitto import Mosquitto
from parts.ports import free_port
from parts.process import wait_until
from parts.tls import Authority

CANARIES = {
    "mqtt": "c4nary-Mqtt-8812", "store": "c4nary-Token=7731", "file": "c4nary File 5519", "environment": "c4naryEnv6620",
    "opcua": 'c4nary-Opc"ua\\3307', "user info": "c4nary-Url-4471", "key": "c4naryKeyMIIE9024", "log": "c4nary-log-1180",
    "web": "c4nary-Web-2245", "metrics": "c4nary-Metrics-6634", "bearer": "c4naryBearer0099xyz", "named": "c4nary-named-7777",
    "set-up": "c4nary-Setup-5588",
}  # fmt: skip

PLANT = f"""\
gateway: {{{{id: edge}}}}
site: {{{{enterprise: acme}}}}
connections:
  panel: {{{{protocol: modbus-tcp, host: 127.0.0.1, port: {{machine}}}}}}
  cnc: {{{{protocol: opcua, url: "opc.tcp://127.0.0.1:{{machine}}", user: op, password: '{CANARIES["opcua"]}'}}}}
machines:
  m: {{{{connection: panel, unit_id: 1, signals: {{{{token_count: {{{{holding: 0, type: uint16}}}}}}}}}}}}
  c: {{{{connection: cnc, signals: {{{{x: {{{{node: "i=2258"}}}}}}}}}}}}
mqtt: {{{{url: "mqtt://127.0.0.1:{{broker}}", user: edge, password: "{CANARIES["mqtt"]}"}}}}
store: {{{{kind: influx, url: "http://127.0.0.1:{{broker}}", bucket: b, org: o, token: {{{{secret: influx}}}}}}}}
"""

LOG = f"""\
2026-11-18T06:00:00 edge gateway[1]: mqtt: connecting as edge, password={CANARIES["log"]}
2026-11-18T06:00:01 edge gateway[1]: GET http://u:{CANARIES["user info"]}@10.20.0.5/ping
2026-11-18T06:00:02 edge gateway[1]: headers: {{"Authorization": "Bearer {CANARIES["bearer"]}", "x": 1}}
2026-11-18T06:00:03 edge gateway[1]: a stray word of the file {CANARIES["file"]} in a message
2026-11-18T06:00:04 edge gateway[1]: -----BEGIN PRIVATE KEY-----\\n{CANARIES["key"]}\\n-----END PRIVATE KEY-----
2026-11-18T06:00:05 edge gateway[1]: {json.dumps({"password": CANARIES["opcua"]})} {quote(CANARIES["opcua"], safe="")}
2026-11-18T06:00:05 edge gateway[1]: open it and use the set-up code {CANARIES["set-up"]} (it is in data/web/setup-code, too)
2026-11-18T06:00:05 edge gateway[1]: and before that ABCD-2345-WXYZ-6789, on another box
2026-11-18T06:00:06 edge gateway[1]: the end [modbus-no-answer]
"""


def everything(file: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(file) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def forms(canary: str) -> list[bytes]:
    """A secret as it may be written."""
    texts = {canary, json.dumps(canary)[1:-1], quote(canary, safe=""), base64.b64encode(canary.encode()).decode()}
    return [text.encode() for text in texts]


def assert_none_is_found(members: dict[str, bytes]) -> None:
    for name, data in members.items():
        for what, canary in CANARIES.items():
            assert not [form for form in forms(canary) if form in data], f"{what} in {name}"
        assert b"c4nary" not in data, f"a part of one in {name}"


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a configuration and all kinds of secrets; a journal with more of them."""
    (tmp_path / "gateway.yaml").write_text(PLANT.format(machine=free_port(), broker=free_port()))
    place = tmp_path / "secrets"
    place.mkdir()
    for name, canary in (("influx", "store"), ("unused", "file")):
        (place / name).touch(mode=0o600)
        (place / name).write_text(CANARIES[canary] + "\n")
    web = tmp_path / "data" / "web"
    web.mkdir(parents=True)
    (web / "setup-code").write_text(CANARIES["set-up"] + "\n")
    (web / "users.json").write_text(json.dumps({"anna": {"hash": CANARIES["web"]}}))
    own = tmp_path / "data" / "opcua" / "pki" / "own"
    own.mkdir(parents=True)
    _, key = Authority(own).issue("gateway")
    key.write_bytes(b"-----BEGIN PRIVATE KEY-----\n" + CANARIES["key"].encode() + b"\n-----END PRIVATE KEY-----\n")
    (tmp_path / "data" / "events.jsonl").write_text(
        json.dumps({"t": 4 * 10**18, "kind": "access", "text": f"login with token {CANARIES['named']}", "token": CANARIES["named"]})
        + "\n" + json.dumps({"t": 1, "kind": "gateway", "text": "long ago"}) + "\n"
    )  # fmt: skip
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "journalctl").write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/asked\ncat {tmp_path}/journal\n')
    (programs / "journalctl").chmod(0o755)
    (tmp_path / "journal").write_text(LOG)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("PLANT_PASSWORD", CANARIES["environment"])
    monkeypatch.setenv("PLANT_METRICS_TOKEN", CANARIES["metrics"])
    monkeypatch.setenv("SOMETHING", CANARIES["named"])
    return tmp_path


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [COMMAND, "support-bundle", "-o", "b.zip", "--force", "--no-network", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)


def test_no_secret_is_in_it_and_the_rest_is(box: Path) -> None:
    done = make(box)
    assert done.returncode == 0, done.stderr
    members = everything(box / "b.zip")
    # `named` stands in a free text, and is known by no name: that its key says `token` is enough for the other place.
    members["events.json"] = members["events.json"].replace(b"login with token " + CANARIES["named"].encode(), b"")
    assert_none_is_found(members)
    assert "c4nary" not in done.stdout + done.stderr
    shown = yaml.safe_load(members["configuration.yaml"])
    assert shown["mqtt"] | {"url": ""} == {"url": "", "user": "edge", "password": "***"}
    assert shown["machines"]["m"]["signals"]["token_count"]["type"] == "uint16"
    assert shown["site"] == {"enterprise": "acme"}
    log = members["log.txt"].decode()
    assert "the end [modbus-no-answer]" in log
    assert "connecting as edge, password=***" in log
    assert "and before that ***, on another box" in log
    assert len(log.splitlines()) == len(LOG.splitlines())
    assert json.loads(members["versions.json"])["packages"]["pydantic"]
    assert {"configuration", "disk", "broker"} <= {row["check"] for row in json.loads(members["doctor.json"])}
    assert json.loads(members["plan.json"]).keys() == {"panel", "cnc"}
    assert b"long ago" not in members["events.json"]
    assert set(members) == {
        "MANIFEST.txt", "versions.json", "system.json", "doctor.json", "configuration.yaml", "events.json", "log.txt",
        "losses.json", "plan.json",
    }  # fmt: skip


def test_the_manifest_says_what_is_in_it_and_what_is_not(box: Path) -> None:
    done = make(box)
    members = everything(box / "b.zip")
    manifest = members["MANIFEST.txt"].decode()
    assert done.stdout.startswith(manifest)
    assert "look through it, then send it" in done.stdout
    for name in members.keys() - {"MANIFEST.txt"}:
        assert f"  {name}" in manifest
    assert "secrets, private keys, users of the page: nobody needs them" in manifest
    assert "buffer.json: there is none" in manifest
    assert (box / "b.zip").stat().st_mode & 0o777 == 0o600


BROKEN = f"""\
gateway: {{{{id: edge}}}}
mqtt:
  user: edge
  pasword: "{CANARIES["mqtt"]}"
  password: ${{{{SOMETHING}}}}
  url: mqtt://edge:{CANARIES["user info"]}@10.20.0.5
store:
  kind: influx
  token: |
    {CANARIES["bearer"]}
connections:
  cnc: {{{{protocol: opcua, url: "opc.tcp://h", user: op, password: {CANARIES["log"]}, password: {CANARIES["web"]}}}}}
"""


@pytest.mark.parametrize("end", ["", "broken: [\n", 'mqtt: {user: "x, password: c4nary-Mqtt-8812\n', "- c\n\t- d\n"])
def test_a_broken_configuration_does_not_tell_its_secrets(box: Path, end: str) -> None:
    (box / "gateway.yaml").write_text(BROKEN.format() + end)
    log = "\n".join(line for line in LOG.splitlines() if "T06:00:05" not in line)  # of a secret that is in no file now
    (box / "journal").write_text(log + f"\nand once more {CANARIES['mqtt']} {CANARIES['bearer']} {CANARIES['web']}\n")
    done = make(box)
    assert done.returncode == 0, done.stderr
    members = everything(box / "b.zip")
    assert_none_is_found(members)
    assert "configuration.yaml" not in members
    assert "configuration.yaml: it cannot be loaded" in members["MANIFEST.txt"].decode()
    rows = json.loads(members["doctor.json"])
    assert ("wrong", "config-refused") in [(row["state"], row["fault"]) for row in rows]


def test_a_gateway_that_runs() -> None:
    text = """\
gateway: {{id: edge}}
connections: {{panel: {{protocol: modbus-tcp, host: 127.0.0.1, port: {machine}}}}}
machines: {{m: {{connection: panel, unit_id: 1, signals: {{x: {{holding: 0, type: uint16}}}}}}}}
mqtt: {{url: "mqtt://127.0.0.1:{broker}", user: edge, password: "c4nary-Mqtt-8812"}}
store: {{kind: historian}}
"""
    with Mosquitto() as broker, Gateway(text.format(machine=free_port(), broker=broker.port)) as running:
        wait_until(lambda: running.machine("m")["state"] == "offline")
        assert make(running.folder).returncode == 0
        members = everything(running.folder / "b.zip")
    assert json.loads(members["status.json"])["machines"][0]["fault"] == "connection-refused"
    assert json.loads(members["buffer.json"])["in_use"] is True
    assert json.loads(members["losses.json"]) == []
    assert b"c4nary" not in b"".join(members.values())


def test_a_gateway_that_runs_on_with_a_broken_file() -> None:
    """Nothing of it is missing: the last good version stands for the file, and the bundle says so."""
    text = """\
gateway: {{id: edge-7, data_dir: kept}}
connections: {{panel: {{protocol: modbus-tcp, host: 127.0.0.1, port: {machine}}}}}
machines: {{m: {{connection: panel, unit_id: 1, signals: {{x: {{holding: 0, type: uint16}}}}}}}}
mqtt: {{url: "mqtt://127.0.0.1:{machine}", user: edge, password: "c4nary-Mqtt-8812"}}
"""
    with Gateway(text.format(machine=free_port())) as running:
        wait_until(lambda: running.machine("m")["state"] == "offline")
        wait_until(lambda: any((running.folder / "kept" / "versions").glob("*.json")), 20, "the first version")
        running.file.write_text(running.file.read_text() + "token: c4nary-of-the-broken-file\nbroken: [\n")
        done = make(running.folder)
        assert done.returncode == 0, done.stderr
        members = everything(running.folder / "b.zip")
        running.stop()
        assert make(running.folder).returncode == 0
        later = everything(running.folder / "b.zip")
    assert json.loads(members["status.json"])["machines"][0]["fault"] == "connection-refused"
    assert [row for row in json.loads(members["events.json"]) if row["machine"] == "m"]
    assert b'"machine":"m"' in later["events.json"], "out of the file it left, in the data_dir of the broken file"
    for each in (members, later):
        assert yaml.safe_load(each["configuration.yaml"])["mqtt"]["password"] == "***"
        assert "version 1, as the files are broken" in each["MANIFEST.txt"].decode()
        assert each.keys() >= {"plan.json", "losses.json", "buffer.json", "doctor.json"}
        assert b"c4nary" not in b"".join(each.values())


def test_words_of_our_own_are_no_secrets(box: Path) -> None:
    """`gateway init` explains in a comment how a password is written; what stands there is none, and `secret` least of all."""
    (box / "gateway.yaml").unlink()
    done = subprocess.run([COMMAND, "init", "--yes"], cwd=box, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    file = box / "gateway.yaml"
    assert "password: {secret: mqtt_password}" in file.read_text()
    file.write_text(
        file.read_text() + 'store: {kind: influx, password: {secret: influx_pw}, token: "c4nary-Mqtt-8812"\nbroken: [\n'
    )
    (box / "journal").write_text("user edge reads mqtt_password and influx_pw; c4nary-Mqtt-8812\n")
    (box / "secrets" / "common").write_text("secret\n")
    assert make(box).returncode == 0
    members = everything(box / "b.zip")
    assert members["log.txt"] == b"user edge reads mqtt_password and influx_pw; ***\n"
    manifest = members["MANIFEST.txt"].decode()
    assert "  secrets, private keys, users of the page: nobody needs them to help\n" in manifest
    assert "Passwords, tokens and keys were taken out" in manifest
    assert manifest.count("***") == 1, "where it says what *** means"
    assert '"check": "secrets"' in members["doctor.json"].decode()


def test_comments_may_have_an_old_password_in_them() -> None:
    assert suspected("# password: hunter2, of 2019\n# the token is c4nary\n# a secret: {secret: name_of_it}\n") == {
        "hunter2", "c4nary",
    }  # fmt: skip
    assert suspected("mqtt: {password: hunter2, secret: {secret: of_mqtt}}") == {"hunter2"}


def test_it_is_a_zip_file_and_called_like_one(box: Path) -> None:
    done = make(box, "-o", "x.txt")
    assert (done.returncode, (box / "x.txt").exists()) == (2, False)
    assert "x.zip" in done.stderr


def test_since_is_asked_of_the_journal(box: Path) -> None:
    assert make(box, "--since", "2026-11-18T06:00:00+00:00").returncode == 0
    asked = (box / "asked").read_text()
    assert "--since @1794981600" in asked  # date -d 2026-11-18T06:00:00Z +%s
    assert "-u shopfloor-gateway" in asked


def test_it_stays_below_its_bound_and_keeps_the_newest_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle, "LARGEST", 200 * 1024)
    it = bundle.Bundle([])
    it.add("log.txt", "the log", "".join(f"line {i}\n" for i in range(20_000)), newest=True)
    it.add("first.txt", "x", "x\n" * 10, 4)
    it.add("more.txt", "y", "y" * 500_000)
    assert it.size <= 200 * 1024
    assert it.members["log.txt"].startswith(b"line ")
    assert it.members["log.txt"].endswith(b"line 19999\n")
    assert it.members["first.txt"] == b"x\nx\n"
    assert "more.txt: " in it.manifest()
    assert len(it.zipped()) < 200 * 1024
    assert zipfile.ZipFile(io.BytesIO(it.zipped())).testzip() is None


def test_what_cannot_be_had_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise RuntimeError("a mistake of ours")

    monkeypatch.setattr(bundle, "_versions", fail)
    monkeypatch.setattr(bundle, "_findings", lambda _: [])
    monkeypatch.setenv("PATH", "")
    made = bundle.collect(Case(), 0)
    assert ("versions.json", "a mistake of ours") in made.left_out
    assert "there is no journal on this box" in dict(made.left_out)["log.txt"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("password: hunter2", "password: ***"),
        ('"mqtt_password": "hunter2", "x": 1', '"mqtt_password": "***", "x": 1'),
        ("token=hunter2&db=shop", "token=***&db=shop"),
        ("GET mqtt://edge:hunter2@broker/x", "GET mqtt://***@broker/x"),
        ("Authorization: Basic aHVudGVyMg==", "Authorization: ***"),
        ("mosquitto_pub -u edge -P hunter2 -t x", "mosquitto_pub -u edge -P *** -t x"),
        ("the password is hunter2", "the password is ***"),
        ("mật khẩu MAT_KHAU=hunter2", "mật khẩu MAT_KHAU=***"),
        ("API-Key: hunter2", "API-Key: ***"),
        ("use the set-up code ABCD-EFGH-2345-WXYZ (it is in", "use the set-up code *** (it is in"),
        ("serial ABCD-1010-2345-WXYZ of 2026-11-18", "serial ABCD-1010-2345-WXYZ of 2026-11-18"),
        ("unit 7 does not answer: check `unit_id`", "unit 7 does not answer: check `unit_id`"),
        ("http://10.20.0.5:8086/ping", "http://10.20.0.5:8086/ping"),
        ("by anna@acme.vn", "by anna@acme.vn"),
    ],
)
def test_redacted_by_how_it_is_written(text: str, shown: str) -> None:
    assert redacted(text, []) == shown


def test_redacted_by_value() -> None:
    known = variants(["se cret/ü", "abc", ""])
    assert redacted("x se cret/ü y", known) == "x *** y"
    assert redacted("x se%20cret%2F%C3%BC se+cret%2F%C3%BC y", known) == "x *** *** y"
    assert redacted(json.dumps("se cret/ü"), known) == '"***"'
    assert redacted("abc", known) == "abc", "too short to be found without spoiling the rest"


def test_suspected() -> None:
    found = suspected("a: 1\npassword: hunter2 # x\ntoken:\n  - one-two\n  - three\nb: fine\nurl: x://u:pw99@h\n")
    assert {"hunter2", "one-two", "three", "pw99"} <= found
    assert "fine" not in found
    assert suspected("password: ${X}", {"X": "hunter2"}) == {"hunter2"}
