"""gateway opcua browse | read | watch | import as a person types them, against real servers."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import time
from pathlib import Path

import pytest
import yaml

from parts.gateway import COMMAND, gateway

NONE = ("--security", "None")


def opcua(*arguments: str, cwd: Path | None = None):
    return gateway("opcua", *arguments, cwd=cwd)


def rows(done) -> list[dict]:
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def by_name(done) -> dict[str, dict]:
    return {row["name"]: row for row in rows(done)}


@pytest.fixture
def known(cnc, tmp_path) -> Path:
    """A configuration with this server, a machine, and a prefix of its own."""
    (tmp_path / "gateway.yaml").write_text(f"""
version: 1
connections:
  cnc: {{protocol: opcua, url: "{cnc.url}", security: None}}
  panel: {{protocol: modbus-tcp, host: 127.0.0.1}}
machines:
  lathe:
    connection: cnc
    namespaces: {{m: "urn:shop:cnc"}}
    signals:
      speed: {{node: "m:s=CNC1.SpindleSpeed", unit: from-server}}
      mode: {{node: "m:s=CNC1.Mode", enum: {{0: "off", 3: auto}}}}
      axis: {{node: "m:s=CNC1.AxisPositions", index: 2, unit: mm}}
      by_path: {{path: "m:CNC1/m:PartCount"}}
""")
    return tmp_path


# --- browse ----------------------------------------------------------------------------------------------------------


def test_browse_shows_a_tree_with_everything_about_each_node(cnc):
    cnc.set("s=CNC1.SpindleSpeed", 0)  # whatever other tests have left
    done = opcua("browse", cnc.url, *NONE)
    assert done.returncode == 0, done.stderr
    lines = {line.split()[0]: line.split() for line in done.stdout.splitlines() if line.strip()}
    assert lines["cnc:SpindleSpeed"][:6] == ["cnc:SpindleSpeed", "Double", "rwh", "0", "/min", "[0"]
    assert lines["cnc:SpindleSpeed"][-1] == "cnc:s=CNC1.SpindleSpeed"
    assert lines["cnc:Mode"][1:5] == ["CncMode", "rw", "Auto", "(3)"]
    assert lines["cnc:AxisPositions"][1] == "Double[3]"
    assert lines["cnc:CNC1"][1:3] == ["object", "events"]
    assert done.stdout.index("cnc:CNC1 ") < done.stdout.index("  cnc:SpindleSpeed")
    assert yaml.safe_load(done.stdout[done.stdout.index("namespaces:") :]) == {"namespaces": {"cnc": "urn:shop:cnc"}}


def test_browse_as_json(cnc):
    found = by_name(opcua("browse", cnc.url, *NONE, "--json"))
    speed = found["SpindleSpeed"]
    assert speed["path"] == "cnc:CNC1/cnc:SpindleSpeed"
    assert speed["node"] == "cnc:s=CNC1.SpindleSpeed"
    assert speed["nsu"] == "nsu=urn:shop:cnc;s=CNC1.SpindleSpeed"
    assert (speed["class"], speed["type"], speed["access"]) == ("variable", "Double", "rwh")
    assert (speed["unit"], speed["range"], speed["quality"]) == ("/min", [0, 12000], "good")
    assert found["Mode"]["enum"] == {"0": "Off", "1": "Setup", "2": "Manual", "3": "Auto"}
    assert found["Mode"]["text"] == "Auto"
    assert found["UInt64Max"]["value"] == 2**64 - 1
    assert found["Int64Min"]["value"] == -(2**63)
    assert found["AxisPositions"]["value"] == [1.5, -2.25, 300]
    assert found["Broken"]["value"] is None
    assert found["Broken"]["quality"] == "bad:sensor-failure"
    assert found["LastService"]["value"] == "2024-02-29T06:30:00.250000Z"
    assert found["SerialNumber"]["t"] == 1083827289125.0  # 2004-05-06T07:08:09.125Z
    assert "EURange" not in found, "it stands with its variable"
    assert "Server" not in found


def test_browse_everything_shows_the_server_too(cnc):
    found = opcua("browse", cnc.url, *NONE, "--all", "--depth", "2", "--list", "--json")
    names = [row["name"] for row in rows(found)]
    assert "Server" in names
    assert "ServerStatus" in names


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["**/Spindle*"], ["SpindleSpeed"]),
        (["CNC1/*Max"], ["Int64Max", "UInt64Max"]),
        (["cnc:CNC1/cnc:Mode"], ["Mode"]),
        (["cnc:s=CNC1.Mode"], ["Mode"]),
        (["nsu=urn:shop:cnc;s=CNC1.Mode"], ["Mode"]),
        (["--depth", "1"], ["CNC1"]),
        (["CNC1", "--type", "object", "--depth", "1"], ["CNC1"]),
        (["Server/ServerStatus/State"], ["State"]),
        (["i=2259"], ["State"]),
    ],
)
def test_browse_finds_what_is_meant(cnc, arguments, expected):
    assert [row["name"] for row in rows(opcua("browse", cnc.url, *arguments, *NONE, "--json"))] == expected


def test_the_way_to_a_node_id_is_found(cnc):
    (row,) = rows(opcua("browse", cnc.url, "cnc:s=CNC1.Mode", *NONE, "--json"))
    assert row["path"] == "cnc:CNC1/cnc:Mode"


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("Nothing/Here", "has nothing that is called Nothing/Here"),
        ("x:Nothing", "'x' is no namespace here; known:"),
        ("cnc:s=Nope", "the server has no node cnc:s=Nope"),
        ("nsu=urn:other;s=x", "the server has no namespace urn:other"),
        ("x:s=Nope", "'x' is not in `namespaces`"),
    ],
)
def test_what_is_not_there_is_said(cnc, path, message):
    done = opcua("browse", cnc.url, path, *NONE)
    assert done.returncode == 2
    assert message in done.stderr


def test_the_prefixes_of_the_configuration_are_used(known):
    (row,) = rows(opcua("browse", "lathe", "m:CNC1/m:Mode", "--json", cwd=known))
    assert row["node"] == "m:s=CNC1.Mode"
    (row,) = rows(opcua("browse", "cnc", "**/Mode", "--json", cwd=known))
    assert row["path"] == "m:CNC1/m:Mode"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["browse", "cmc"], "there is no connection or machine 'cmc'; did you mean 'cnc'?"),
        (["browse", "panel"], "panel speaks modbus-tcp, not OPC UA"),
        (
            ["browse", "cnc", "--user", "me"],
            "--user, --user-certificate, --user-key, --trust and --allow are for an address",
        ),
        (["read", "lathe/sped"], "lathe has no signal 'sped'; did you mean 'speed'?"),
        (["read", "cnc"], "a TARGET with node ids or paths"),
        (["browse", "cnc", "--type", "thing"], "--type thing: variable, object or method"),
        (["browse", "http://10.0.0.1"], "is not the address of an OPC UA server"),
        (["watch", "cnc", "i=2258", "--publishing", "5"], "--publishing"),
        (["import", "cnc", "--machine", "a b"], "'a b' cannot be a name"),
    ],
)
def test_what_is_typed_wrongly_is_explained(known, arguments, message):
    done = opcua(*arguments, cwd=known)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr


def test_nobody_there_is_exit_code_4(known):
    done = opcua("browse", "opc.tcp://127.0.0.1:1", *NONE)
    assert done.returncode == 4
    assert "connection refused" in done.stderr


def test_a_password_never_goes_over_an_unprotected_line(cnc, monkeypatch):
    monkeypatch.setenv("GATEWAY_OPCUA_PASSWORD", "op-secret")
    done = opcua("browse", cnc.url, *NONE, "--user", "operator")
    assert done.returncode == 2
    assert "nobody logs in over an unprotected line" in done.stderr
    assert "op-secret" not in done.stderr + done.stdout


def test_an_address_alone_is_never_read_without_protection_unless_told_so(cnc, tmp_path):
    done = opcua("browse", cnc.url, cwd=tmp_path)
    assert done.returncode == 4
    assert "certificate" in done.stderr


def test_an_encrypted_session_browses_as_well(cnc, tmp_path, monkeypatch):
    monkeypatch.setenv("GATEWAY_OPCUA_PASSWORD", "op-secret")
    secure = ("--trust", "pinned", "--allow", "wrong-host", "--user", "operator", "--json")
    (row,) = rows(opcua("browse", cnc.url, "CNC1/Mode", *secure, cwd=tmp_path))
    assert row["value"] == 3


def test_ctrl_c_shows_what_was_found_and_says_that_it_is_incomplete(space_with_many):
    terminal, theirs = pty.openpty()
    command = [COMMAND, "opcua", "browse", space_with_many.url, *NONE, "--json", "--max-nodes", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs, text=True) as browsing:
        os.close(theirs)
        said = ""
        while "50 requests" not in said:
            assert select.select([terminal], [], [], 30)[0], said
            said += os.read(terminal, 10_000).decode()
        browsing.send_signal(signal.SIGINT)
        out, _ = browsing.communicate(timeout=30)
        while select.select([terminal], [], [], 0)[0]:
            try:
                said += os.read(terminal, 10_000).decode()
            except OSError:
                break
    os.close(terminal)
    assert browsing.returncode == 130
    assert "incomplete" in said
    assert len(out.splitlines()) > 10


# --- read, watch -----------------------------------------------------------------------------------------------------


def test_read_nodes_that_nobody_configured(cnc):
    done = opcua(
        "read", cnc.url, "cnc:s=CNC1.SpindleSpeed", "CNC1/Mode", "cnc:s=CNC1.Broken", "i=2256", "cnc:s=Nope", "cnc:s=CNC1",
        *NONE, "--json",
    )  # fmt: skip
    speed, mode, broken, status, nope, machine = rows(done)
    assert (speed["name"], speed["type"], speed["unit"], speed["quality"]) == (
        "cnc:s=CNC1.SpindleSpeed", "Double", "/min", "good",
    )  # fmt: skip
    assert speed["t"] > 1.7e12
    assert speed["server_t"] > 1.7e12
    assert (mode["value"], mode["text"], mode["node"]) == (3, "Auto", "cnc:s=CNC1.Mode")
    assert (broken["value"], broken["quality"], broken["status"]) == (None, "bad:sensor-failure", "0x808C0000")
    assert status["value"]["BuildInfo"]["ManufacturerName"]
    assert (nope["value"], nope["quality"]) == (None, "bad:unknown-node")
    assert machine["status"] == "0x80350000", "an object has no value: BadAttributeIdInvalid"


def test_read_for_people(cnc):
    done = opcua("read", cnc.url, "cnc:s=CNC1.CoolantTemperature", *NONE)
    head, line = done.stdout.splitlines()
    assert head.split() == ["node", "value", "unit", "type", "quality", "source", "time", "server", "time"]
    assert line.split()[:5] == ["cnc:s=CNC1.CoolantTemperature", "21.5", "Cel", "Float", "good"]


def test_read_the_signals_of_a_machine(known):
    found = by_name(opcua("read", "lathe", "--json", cwd=known))
    assert list(found) == ["speed", "mode", "axis", "by_path"]
    assert (found["axis"]["value"], found["axis"]["unit"]) == (300, "mm")
    assert found["speed"]["unit"] == "/min"
    assert found["by_path"]["node"] == "m:s=CNC1.PartCount"
    (row,) = rows(opcua("read", "lathe/mode", "--json", cwd=known))
    assert row["text"] == "Auto"


def test_read_where_nothing_is_there_fails(cnc):
    assert opcua("read", cnc.url, "cnc:s=Nope", *NONE).returncode == 1


def test_watch_prints_every_change_and_leaves_no_session(cnc):
    before = cnc.sessions()
    command = [COMMAND, "opcua", "watch", cnc.url, "CNC1/Part*", *NONE, "--publishing", "20ms", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as watching:
        assert watching.stdout is not None
        first = json.loads(watching.stdout.readline())
        assert first["name"] == "cnc:CNC1/cnc:PartCount"
        for value in (first["value"] + 1, first["value"] + 5):
            cnc.set("s=CNC1.PartCount", value)
            row = json.loads(watching.stdout.readline())
            assert (row["value"], row["quality"]) == (value, "good")
        cnc.set("s=CNC1.PartCount", status="BadSensorFailure")
        assert json.loads(watching.stdout.readline())["quality"] == "bad:sensor-failure"
        watching.send_signal(signal.SIGINT)
        assert watching.wait(20) == 0
    cnc.set("s=CNC1.PartCount", 0)
    deadline = time.monotonic() + 10
    while cnc.sessions() > before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert cnc.sessions() == before


def test_structures_are_opened_when_read_and_when_watched(space):
    (row,) = rows(opcua("read", space.url, "space:s=Values.Head", *NONE, "--json"))
    axes = [{"Position": 1.5, "Name": "X", "Mode": 2}, {"Position": -2.5, "Name": "Y", "Mode": 0}]
    assert row["value"] == {"Axes": axes, "Count": 2**63, "Limits": [0.5, 1.5]}
    command = [COMMAND, "opcua", "watch", space.url, "space:s=Values.Head", *NONE, "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as watching:
        assert watching.stdout is not None
        assert json.loads(watching.stdout.readline())["value"] == row["value"]
        watching.send_signal(signal.SIGTERM)
        assert watching.wait(20) == 0


# --- import ----------------------------------------------------------------------------------------------------------


def test_what_is_imported_runs_as_it_is(cnc, tmp_path):
    done = opcua("import", cnc.url, *NONE, "-o", "gateway.yaml", "--connection", "cnc", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "gateway.yaml: 16 signals" in done.stderr
    checked = gateway("config", "check", "gateway.yaml", cwd=tmp_path)
    assert checked.returncode == 0, checked.stderr
    read = {row["signal"]: row for row in rows(gateway("read", "CNC1", "--json", cwd=tmp_path))}
    assert read["CoolantTemperature"]["value"] == 21.5
    assert read["CoolantTemperature"]["unit"] == "Cel"
    assert read["Mode"]["value"] == "Auto"
    assert read["AxisPositions_2"]["value"] == 300
    assert int(read["UInt64Max"]["value"]) == 2**64 - 1
    assert {name for name, row in read.items() if row["quality"] != "good"} == {"Broken", "Doubtful"}
    written = yaml.safe_load((tmp_path / "gateway.yaml").read_text())
    assert written["connections"] == {"cnc": {"protocol": "opcua", "url": cnc.url, "security": "None"}}
    speed = written["machines"]["CNC1"]["signals"]["SpindleSpeed"]
    assert speed == {"node": "cnc:s=CNC1.SpindleSpeed", "type": "float", "unit": "/min", "range": [0, 12000]}


def test_import_by_path_reads_the_same(cnc, tmp_path):
    done = opcua("import", cnc.url, "CNC1/*Count*", *NONE, "--paths", "-o", "gateway.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    written = yaml.safe_load((tmp_path / "gateway.yaml").read_text())
    assert written["machines"]["CNC1"]["signals"]["PartCount"]["path"] == "cnc:CNC1/cnc:PartCount"
    (row,) = rows(gateway("read", "CNC1/PartCount", "--json", cwd=tmp_path))
    assert row["quality"] == "good"


def test_import_of_a_known_connection_writes_machines_only(known):
    done = opcua("import", "cnc", "**/Mode", "--machine", "lathe-2", "-o", "machines.yaml", cwd=known)
    assert done.returncode == 0, done.stderr
    written = yaml.safe_load((known / "machines.yaml").read_text())
    assert list(written) == ["machines"]
    assert written["machines"]["lathe-2"]["namespaces"] == {"m": "urn:shop:cnc"}
    (known / "machines").mkdir()
    (known / "machines.yaml").rename(known / "machines" / "lathe-2.yaml")
    assert gateway("config", "check", ".", cwd=known).returncode == 0


def test_a_file_that_is_there_is_kept(cnc, tmp_path):
    (tmp_path / "x.yaml").write_text("mine")
    done = opcua("import", cnc.url, *NONE, "-o", "x.yaml", cwd=tmp_path)
    assert done.returncode == 2
    assert "--force replaces it" in done.stderr
    assert (tmp_path / "x.yaml").read_text() == "mine"
    assert opcua("import", cnc.url, *NONE, "-o", "x.yaml", "--force", cwd=tmp_path).returncode == 0


def test_events_of_objects_that_have_some(cnc, tmp_path):
    done = opcua("import", cnc.url, *NONE, "--events", "-o", "gateway.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    written = yaml.safe_load((tmp_path / "gateway.yaml").read_text())
    assert written["machines"]["CNC1"]["signals"]["events"] == {"node": "cnc:s=CNC1", "events": True}
    assert gateway("config", "check", "gateway.yaml", cwd=tmp_path).returncode == 0


def test_nothing_to_import_says_what_was_left_out(cnc):
    done = opcua("import", cnc.url, "Server/ServerStatus/BuildInfo/NoSuchThing", *NONE)
    assert done.returncode == 2
    assert "has nothing that is called" in done.stderr
