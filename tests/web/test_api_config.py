"""The configuration on the page: what is in force and where it comes from, a check of a text, and no secret in either."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.config import Configuration, load
from gateway.config.yaml_file import blanked, parse_yaml
from gateway.errors import ConfigErrors, GatewayError
from gateway.runtime.asked import configuring
from gateway.runtime.asked.configuring import ConfigFiles, check, view, without_secret_values
from gateway.runtime.changes import loading
from gateway.runtime.changes.versions import Versions, files_of
from gateway.runtime.registry import protocols

ENV = {"PANEL_HOST": "10.20.0.99", "CANARY": "canary-of-the-environment", "PATH": "/bin"}

GATEWAY = """\
# password: canary-in-a-comment
version: 1
gateway: {id: edge-01, data_dir: data}
connections:
  panel: {protocol: modbus-tcp, host: "${PANEL_HOST}"}
  cnc:
    protocol: opcua
    url: opc.tcp://10.20.0.31:4840
    user: gateway
    password: canary-in-the-file
mqtt:
  url: mqtts://broker.lan:8883
  user: edge-01
  password: {secret: mqtt_password}
store: {kind: influx, url: "http://127.0.0.1:8086", bucket: b, token: "canary-of-influx"}
"""
PRESS = """\
connection: panel
poll: 500ms
profile: mine
signals:
  melt_temp: {holding: 10, type: int16, scale: 0.1, unit: Cel}
"""
PROFILE = """\
protocol: modbus
description: A press of ours
signals:
  alarm: {discrete: 4}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "machines").mkdir()
    (tmp_path / "profiles").mkdir()
    (tmp_path / "secrets").mkdir()
    (tmp_path / "gateway.yaml").write_text(GATEWAY)
    (tmp_path / "machines" / "press-07.yaml").write_text(PRESS)
    (tmp_path / "profiles" / "mine.yaml").write_text(PROFILE)
    secret = tmp_path / "secrets" / "mqtt_password"
    secret.write_text("canary-of-the-secret-file")
    secret.chmod(0o600)
    return tmp_path


@pytest.fixture
def in_force(folder: Path) -> Configuration:
    try:
        return load(folder, protocols(), env=ENV)
    except ConfigErrors as exc:
        pytest.fail(str(exc))


def no_canary(content: Any) -> None:
    assert "canary" not in json.dumps(content)


# --- what is in force ------------------------------------------------------------------------------------------------


def test_files_effective_and_origins(in_force: Configuration) -> None:
    shown = view(in_force, "press-07", ENV)
    no_canary(shown)
    assert shown["in_force"] is True
    assert shown["errors"] == []
    files = {each["name"]: each["text"] for each in shown["files"]}
    assert list(files) == ["gateway.yaml", "machines/press-07.yaml", "profiles/mine.yaml"]
    assert files["machines/press-07.yaml"] == PRESS
    assert files["gateway.yaml"].splitlines()[9] == "    password: ***"
    assert files["gateway.yaml"].count("\n") == GATEWAY.count("\n")
    assert "{secret: mqtt_password}" in files["gateway.yaml"]
    assert 'host: "${PANEL_HOST}"' in files["gateway.yaml"]
    assert "host: ${PANEL_HOST}" in shown["effective"]
    assert "10.20.0.99" not in json.dumps(shown)
    origins = {
        each["path"]: (each["value"], Path(each["file"]).name, each["line"], each["from"]) for each in shown["origins"]
    }
    assert origins["connections.panel.host"] == ("${PANEL_HOST}", "gateway.yaml", 5, "environment")
    assert origins["connections.cnc.password"] == ("***", "gateway.yaml", 10, "file")
    assert origins["machines.press-07.signals.melt_temp.scale"] == ("0.1", "press-07.yaml", 5, "file")
    assert origins["machines.press-07.signals.alarm.discrete"] == ("4", "mine.yaml", 4, "profile")
    assert origins["connections.panel.port"] == ("502", "", 0, "default")
    assert origins["mqtt.root"][-1] == "default"
    assert shown["origins_left_out"] == 0


def test_signals_of_other_machines_are_counted(in_force: Configuration) -> None:
    shown = view(in_force, "", ENV)
    paths = [each["path"] for each in shown["origins"]]
    assert "machines.press-07.poll" in paths
    assert not any(path.startswith("machines.press-07.signals.") for path in paths)
    assert shown["origins_left_out"] > 0


def test_files_are_named_as_they_lie_in_the_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever looks at the page need not know where on the machine it is; a profile may come with the gateway."""
    meter = "connection: panel\nprofile: eastron-sdm630\n"
    (folder / "machines" / "meter.yaml").write_text(meter)
    for here in (folder, folder.parent, Path("/")):
        monkeypatch.chdir(here)
        shown = view(load(folder, protocols(), env=ENV), "meter", ENV)
        files = {(each["file"], each["from"]) for each in shown["origins"]}
        assert files == {
            ("gateway.yaml", "file"), ("gateway.yaml", "environment"), ("machines/press-07.yaml", "file"),
            ("machines/meter.yaml", "file"), ("profiles/mine.yaml", "profile"), ("eastron-sdm630.yaml", "shipped"), ("", "default"),
        }  # fmt: skip
    (folder / "gateway.yaml").write_text(GATEWAY.replace("version: 1", "versoin: 1"))
    (error,) = view(load_before(folder), "", ENV)["errors"]
    assert error["file"] == "gateway.yaml"
    assert error["text"].startswith("gateway.yaml:2:")
    assert str(folder) not in json.dumps(error)


def load_before(folder: Path) -> Configuration:
    """What ran before somebody broke the file."""
    text = (folder / "gateway.yaml").read_text()
    (folder / "gateway.yaml").write_text(GATEWAY)
    try:
        return load(folder, protocols(), env=ENV)
    finally:
        (folder / "gateway.yaml").write_text(text)


async def test_a_configuration_that_does_not_stand_in_files_as_it_is(in_force: Configuration, folder: Path) -> None:
    """As that of the demo: its ports are other ones, and nobody has changed a file."""
    runs = replace(in_force, connections={})
    assert (await ConfigFiles(lambda: runs, ENV).view(""))["in_force"] is False
    shown = await ConfigFiles(lambda: runs, ENV, fixed=True).view("")
    assert (shown["fixed"], shown["in_force"]) == (True, True)
    assert (await ConfigFiles(lambda: in_force, ENV).view(""))["fixed"] is False


def test_files_that_were_changed_since(in_force: Configuration, folder: Path) -> None:
    (folder / "machines" / "press-07.yaml").write_text(PRESS.replace("500ms", "2s"))
    shown = view(in_force, "", ENV)
    assert shown["in_force"] is False
    assert "poll: 2s" in shown["effective"]


def test_files_that_are_broken_since(in_force: Configuration, folder: Path) -> None:
    (folder / "gateway.yaml").write_text(GATEWAY.replace("version: 1", "versoin: 1") + "mqtt: {password: [canary\n")
    shown = view(in_force, "", ENV)
    no_canary(shown)
    assert shown["in_force"] is False
    assert shown["errors"][0]["line"] > 0
    assert "edge-01" in shown["effective"]  # what runs, as far as it is known
    assert "not YAML" in shown["files"][0]["text"]


SECRETS = [
    "password: canary", 'password: "canary"', "password: 'canary'", "password: |\n  canary\n  canary\nuser: a",
    "password: >-\n  canary", "token:\n  canary", "token: &t canary\nother: *t", "x: &t canary\ntoken: *t",
    "metrics_token: canary", "mqtt_password: canary", "passwords: [canary, {a: b}, canary]", "PASSWORD: canary",
    "pasword: canary", "{password: canary, user: máy}", "password: 1234canary", "# máy\nü: ü\npassword: canary",
    "url: mqtt://u:canary@host", "x: [http://u:canary@host/a]", "# token = canary", "a: 1 # the password: canary",
    "user: ${MQTT_PW:-canary}", "x: {secret: the canary}", "url: mqtt://u:a/canary@b@host", "url: mqtt://u:a\n  canary@host",
    "password: x # canary", "password: {secret: mqtt}  # was canary", "a: 1  # pwd canary", "# m\u1eadt kh\u1ea9u c\u0169: canary",
    "# Password of the broker:\n#   canary\n#canary\na: 1", "description: | # token canary\n  text", "# ma\u0323\u0302t kha\u0302\u0309u canary",
    "a: 'it''s # x'  # secret: canary", "b: |\n  text\n# token canary\nc: 1", "a: b\n  c # token canary\nd: 1", "a:\n# token canary\nb: 1", "pssword: canary", "password: ${X:-canary}", "? password\n: canary", "password: !!str canary", "a:\n- password: canary\n  b: 1",
    '"pass\\u0077ord": canary',
]  # fmt: skip


@pytest.mark.parametrize("text", SECRETS)
def test_no_secret_of_a_file_is_shown(text: str) -> None:
    shown = without_secret_values(text)
    assert "canary" not in shown
    assert shown.count("\n") == text.count("\n")


@pytest.mark.parametrize(
    "text",
    [
        "password: {secret: name}", "# of line 3\na: 1 # the panel", "a: '# the password'", "b: |\n  # the token\n  text", "host: ${HOST:-10.0.0.1}", "signals:\n  token_count: {holding: 4, type: int16}", "host: 10.20.0.11 # the panel",
        "url: mqtt://host:1883", "a: 'x # password'", "user: anna", "tokens:\n  a: {b: c}",
    ],
)  # fmt: skip
def test_what_is_no_secret_stays(text: str) -> None:
    assert without_secret_values(text) == text


@pytest.mark.parametrize(
    "text", ["password: [canary", "a: b: canary", "\0canary", "password: 'canary", "\tpassword: canary"]
)
def test_nothing_of_what_is_not_yaml_is_shown(text: str) -> None:
    assert "canary" not in without_secret_values(text)


@given(st.dictionaries(st.sampled_from(["password", "host", "token", "user", "ü"]), st.text(max_size=30), max_size=4))
@settings(max_examples=150)
def test_only_secrets_are_blanked(content: dict[str, str]) -> None:
    text = json.dumps(content, ensure_ascii=False)  # JSON is YAML
    try:
        parse_yaml(text.encode("utf-8", "replace"), "x", env={})
    except ConfigErrors:
        return
    shown = parse_yaml(blanked(text, lambda key: key in ("password", "token"), '"*"').encode(), "x", env={}).plain()
    for key, value in shown.items():
        assert key in content
        if key in ("password", "token"):
            assert value == ("*" if content[key] else "")
    assert set(shown) == set(content)


def test_a_parameter_may_come_from_the_environment(folder: Path) -> None:
    """Below the profile it has another place, and its value is as little shown there."""
    (folder / "profiles" / "mine.yaml").write_text(
        "protocol: modbus\nparameters: {place: {default: hall}}\ndescription: A press in $(place), really\nsignals:\n  alarm: {discrete: 4}\n"
    )
    (folder / "machines" / "press-07.yaml").write_text(f"{PRESS}parameters: {{place: '${{CANARY}}'}}\n")
    shown = view(load(folder, protocols(), env=ENV), "press-07", ENV)
    no_canary(shown)
    assert "description: A press in ${CANARY}, really" in shown["effective"]


def test_what_is_shown_can_be_loaded_again(in_force: Configuration, folder: Path) -> None:
    (folder / "machines" / "press-07.yaml").write_text(PRESS + "description: '$${x}'\n")
    shown = view(in_force, "", ENV)
    assert "$${x}" in shown["effective"]
    again = parse_yaml(shown["effective"].encode(), "x", env=ENV).plain()
    assert again["connections"]["panel"]["host"] == "10.20.0.99"


def test_a_mistake_does_not_tell_what_the_environment_says(in_force: Configuration, folder: Path) -> None:
    (folder / "gateway.yaml").write_text(GATEWAY.replace("mqtts://broker.lan:8883", "${CANARY}"))
    shown = view(in_force, "", ENV)
    no_canary(shown)
    assert "'${CANARY}'" in shown["errors"][0]["message"]
    assert "10.20.0.99" not in json.dumps(shown)


# --- what it costs -----------------------------------------------------------------------------------------------------


def many(folder: Path) -> None:
    signals = "".join(
        f"  s{i:04}: {{holding: {i}, type: int16, description: nothing to be said of it}}\n" for i in range(1200)
    )
    (folder / "machines" / "press-07.yaml").write_text(PRESS + signals)


def test_much_is_worked_out_in_another_process(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    many(folder)
    monkeypatch.setenv("PANEL_HOST", ENV["PANEL_HOST"])
    runs = load(folder, protocols())
    here = view(runs, "press-07", ENV)
    calls = list[tuple[str, ...]]()

    def elsewhere(*command: str) -> bytes:
        calls.append(command)
        return loading.elsewhere(*command)

    monkeypatch.setattr(configuring, "elsewhere", elsewhere)
    monkeypatch.setattr(configuring, "load", lambda *_, **__: pytest.fail("loaded beside the event loop"))
    assert view(runs, "press-07", os.environ) == here
    assert calls == [("gateway.runtime.asked.configuring", str(folder), "press-07")]
    assert here["in_force"] is True
    (folder / "gateway.yaml").write_text(GATEWAY.replace("version: 1", "versoin: 1"))
    broken = view(runs, "press-07", os.environ)
    assert broken["errors"][0]["line"] == 2
    assert "edge-01" in broken["effective"]
    no_canary(broken)


async def test_it_is_kept_as_long_as_no_file_changes(
    in_force: Configuration, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs, made = [in_force], list[str]()

    def counted(configuration: Configuration, machine: str, *more: Any, **how: Any) -> dict[str, Any]:
        made.append(machine)
        return view(configuration, machine, *more, **how)

    monkeypatch.setattr(configuring, "view", counted)
    files = ConfigFiles(lambda: runs[0], ENV)
    first = await files.view("press-07")
    assert await files.view("press-07") == first
    await files.view("")
    assert made == ["press-07", ""]
    (folder / "machines" / "press-07.yaml").write_text(PRESS.replace("500ms", "2s"))
    assert (await files.view("press-07"))["in_force"] is False
    runs[0] = load(folder, protocols(), env=ENV)
    assert (await files.view("press-07"))["in_force"] is True
    assert made == ["press-07", "", "press-07", "press-07"]


# --- a check ---------------------------------------------------------------------------------------------------------


def test_a_text_that_is_right_says_what_would_change(in_force: Configuration) -> None:
    found = check(in_force, PRESS.replace("500ms", "2s"), "machines/press-07.yaml", ENV)
    assert found["ok"] is True
    assert found["difference"] == ["machines.press-07.poll: 500ms → 2s"]
    assert check(in_force, GATEWAY, "gateway.yaml", ENV) == {"ok": True, "errors": [], "warnings": [], "difference": []}


def test_what_the_environment_says_is_in_neither_side_of_a_difference(in_force: Configuration) -> None:
    """What ran was loaded with it; what is compared is not, and is no other for that."""
    assert check(in_force, GATEWAY, "gateway.yaml", ENV)["difference"] == []
    for new, line in (
        ("10.20.0.98", "connections.panel.host: ${PANEL_HOST} → 10.20.0.98"),
        ("${CANARY}", "connections.panel.host: ${PANEL_HOST} → ${CANARY}"),
    ):
        found = check(in_force, GATEWAY.replace("${PANEL_HOST}", new), "gateway.yaml", ENV)
        assert found["difference"] == [line]
        assert "10.20.0.99" not in json.dumps(found)


def test_nor_where_the_file_is_broken_now(in_force: Configuration, folder: Path) -> None:
    (folder / "gateway.yaml").write_text("a: [\n")
    found = check(
        in_force, GATEWAY.replace("${PANEL_HOST}", "10.20.0.98").replace("edge-01\n", "e\n"), "gateway.yaml", ENV
    )
    assert "connections.panel.host: changed" in found["difference"]
    assert "10.20.0.99" not in json.dumps(found)
    no_canary(found)


def test_what_is_in_force_is_compared_where_it_was_kept(in_force: Configuration, folder: Path) -> None:
    Versions(folder / "data").keep(files_of(folder), "start", "", 0, in_force=True)
    (folder / "gateway.yaml").write_text("a: [\n")
    (folder / "gateway.yaml").write_text(GATEWAY.replace("${PANEL_HOST}", "10.20.0.97"))
    found = check(in_force, GATEWAY.replace("${PANEL_HOST}", "10.20.0.98"), "gateway.yaml", ENV)
    assert found["difference"] == ["connections.panel.host: ${PANEL_HOST} → 10.20.0.98"]


def test_a_mistake_is_shown_at_its_line(in_force: Configuration) -> None:
    found = check(in_force, PRESS.replace("int16", "int61"), "machines/press-07.yaml", ENV)
    assert found["ok"] is False
    (error,) = found["errors"]
    assert (error["line"], Path(error["file"]).name) == (5, "press-07.yaml")
    assert "int16" in error["hint"]
    assert error["text"].splitlines()[0].endswith(error["message"])


def test_which_file_is_meant(in_force: Configuration) -> None:
    new = "connection: panel\nsignals: {a: {holding: 1, type: int16}}\n"
    assert check(in_force, new, "", ENV)["difference"] == ["machines.new: added"] or check(in_force, new, "", ENV)["ok"]
    same = f"machines:\n  press-07:\n{''.join('    ' + line for line in PRESS.splitlines(True))}"
    assert check(in_force, same, "", ENV) == {"ok": True, "errors": [], "warnings": [], "difference": []}
    assert check(in_force, GATEWAY.replace("edge-01", "edge-02"), "", ENV)["difference"][0].startswith("gateway.id")
    found = check(in_force, PRESS, "machines/../../etc/passwd", ENV)
    assert found["errors"][0]["message"].startswith("there is no file 'machines/../../etc/passwd'")


@pytest.mark.parametrize(
    "change",
    [
        ("port: 502", "port: ${CANARY}"), ("edge-01", "${CANARY}"), ("10.20.0.31:4840", "${CANARY}:4840"),
        ("poll: 500ms", "poll: ${CANARY}"), ("version: 1", "${CANARY}: 1"), ("{secret: mqtt_password}", "{secret: cnc}"),
        ("{secret: mqtt_password}", "canary-typed-in"), ("{secret: mqtt_password}", "{secret: ../secrets/mqtt_password}"),
    ],
)  # fmt: skip
def test_neither_environment_nor_secrets_get_into_the_answer(in_force: Configuration, change: tuple[str, str]) -> None:
    for name, text in (("gateway.yaml", GATEWAY), ("machines/press-07.yaml", PRESS)):
        found = check(in_force, text.replace("host:", "port: 502, host:").replace(*change), name, ENV)
        told = json.dumps([{k: v for k, v in error.items() if k != "text"} for error in found["errors"]])
        assert "canary-of" not in json.dumps(found)
        assert "canary-in-the-file" not in json.dumps(found)
        assert "canary-typed" not in told + json.dumps(found["difference"])


def test_secrets_are_not_looked_up(in_force: Configuration, folder: Path) -> None:
    (folder / "secrets" / "mqtt_password").unlink()
    assert check(in_force, GATEWAY, "gateway.yaml", ENV)["ok"] is True


def test_a_variable_that_is_not_set_is_a_mistake(in_force: Configuration) -> None:
    found = check(in_force, GATEWAY.replace("PANEL_HOST", "NOBODY_HAS_SET_THIS"), "gateway.yaml", ENV)
    assert found["errors"][0]["message"] == "the environment variable NOBODY_HAS_SET_THIS is not set"


BOMB = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 10)}]\n" for i in range(12)
)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\0",
        "[",
        "[" * 100_000,
        "a: " + "x" * 200_000,
        "- 1\n- 2",
        "null",
        "a: !!python/object/apply:os.system [x]",
        BOMB,
    ],
)
def test_whatever_is_pasted_is_answered(in_force: Configuration, text: str) -> None:
    found = check(in_force, text, "gateway.yaml", ENV)
    assert found["ok"] is False
    assert 1 <= len(found["errors"]) <= configuring.MAX_ERRORS
    assert len(json.dumps(found)) < 100_000


async def test_one_check_at_a_time_and_none_for_ever(in_force: Configuration, monkeypatch: pytest.MonkeyPatch) -> None:
    go, running = threading.Event(), list[int]()

    def slow(*_: Any) -> dict[str, Any]:
        running.append(1)
        go.wait(20)
        return {}

    monkeypatch.setattr(configuring, "check", slow)
    monkeypatch.setattr(configuring, "TIMEOUT", 0.1)
    files = ConfigFiles(lambda: in_force, ENV)
    for _ in range(3):
        with pytest.raises(GatewayError, match=r"longer than 0\.1 s"):
            await files.check("a", "")
    assert running == [1]
    go.set()
    monkeypatch.setattr(configuring, "TIMEOUT", 20.0)
    async with asyncio.timeout(20):
        assert await files.check("a", "") == {}


async def test_in_a_thread(in_force: Configuration) -> None:
    files = ConfigFiles(lambda: in_force, ENV)
    assert files.configuration is in_force
    assert (await files.view("press-07"))["in_force"] is True
    assert (await files.check(GATEWAY, "gateway.yaml"))["ok"] is True
