"""No secret in what is said of a mistake, wherever somebody has written it. The canaries are what nobody may read."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.config import load
from gateway.errors import ConfigError, ConfigErrors
from gateway.hiding import is_secret_key, speaks_of_secrets, starred, starred_lines, unquoted, unsaid
from gateway.runtime.asked.configuring import mistake
from gateway.runtime.registry import protocols

CANARY = "canary"
VALUES = (
    "canary horse battery", "canary,canary", "a,canary", "[a, canary]", "{canary: a, canary: b}", "a: canary", "x: canary: y",
    '"canary', "'it''s canary", '"a\\x62 canary"', "!canary x", "*canary", "&canary canary", "%canary", "@canary", "`canary`",
    "${X PW:-canary}", '"${canary PW:-canary}"', "${PW:-canary}", '{secret: "the canary itself"}', "{secret: the canary}", "[canary",
    "{canary", "a} canary", "canary # canary", "1234 canary", "| canary", ">-", "",
)  # fmt: skip
KEYS = (
    "password", "passwrod", "pasword", "pssword", "tokne", "metrics_token", "token", "mqtt_password", "PASSWORD", '"password"',
    "'passwd'", "pwd",
)  # fmt: skip
# Where a value stands: what is before it in its line, behind it, and in the lines below.
LINES = (
    "mqtt: {{url: 'mqtt://h:1', usr: u, {key}: {value}}}",
    "mqtt:\n  usr: u\n  {key}: {value}",
    "mqtt:\n  {key}: {value}\n  {key}: {value}",
    "mqtt:\n  {key}:\n    canary: x\n    canary: y",
    "mqtt:\n  {key}:\n  canary",
    "mqtt:\n  {key}:\n  - canary\n  - canary: x",
    "mqtt:\n  {key}: {value}\n    canary: b\n      canary",
    'mqtt:\n  {key}: "a\ncanary: b\n  {value}',
    "mqtt: {{\n  {key}: a\n  canary, b: {value}\n  }}",
    "mqtt: {{usr: u, {key}:\n  {value}, url: x}}",
    "connections: {{cnc: {{protocol: opcua, url: 'opc.tcp://h', usr: u, {key}: {value}}}}}",
    "store: {{kind: influx, url: 'http://h', bcket: b, {key}: {value}}}",
    "web:\n  - {key}: {value}\n    liste: x",
    "web: {{metrics_token: *t, x: &t canary, {key}: {value}}}",
    "x: &t canary canary\nweb:\n  metrics_token: *t\n  {key}: {value}",
    "mqtt:\n  {key} = {value}\n  url: x",
    "mqtt:\n  usr: u\n  {key} canary\n  url: x",
    "mqtt:\n  ? {key}\n  : canary {value}",
    "mqtt: {{url: 'mqtt://u:a/canary@host', {key}: {value}}}",
    "mqtt: {{url: mqtt://u:canary@canary@host, {key}: {value}}}",
    "mqtt:\n  url: mqtt://u:canary horse@host:1x\n  {key}: {value}",
    "mqtt: {{url: \"${{X PW:-canary}}\", port: \"${{MQTT_PW:-canary}}\", {key}: {value}}}",
    "mqtt:\n\t{key}: {value}",
)  # fmt: skip


def mistakes_of(text: str, folder: Path) -> list[ConfigError]:
    file = folder / "gateway.yaml"
    file.write_bytes(text.encode())
    try:
        load(file, protocols(), env={})
    except ConfigErrors as exc:
        return list(exc.errors)
    return []


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hiding")


@given(
    st.sampled_from(LINES),
    st.sampled_from(KEYS),
    st.sampled_from(VALUES),
    st.sampled_from(("", "nonsense: 1\n", "a: b: c\n")),
)
@settings(max_examples=200, deadline=None)
@example(LINES[0], "password", VALUES[0], "")
@example(LINES[2], "password", "{canary: a, canary: b}", "")
def test_no_mistake_tells_a_secret(folder: Path, line: str, key: str, value: str, more: str) -> None:
    text = f"version: 1\n{more}{line.format(key=key, value=value)}\n"
    for error in mistakes_of(text, folder):
        for told in (str(error), error.message, error.hint, error.source, error.field, json.dumps(mistake(error))):
            assert CANARY not in told, text


def test_every_line_is_hidden_whichever_of_them_is_wrong(folder: Path) -> None:
    """All combinations, line by line, as if the mistake were just there."""
    for line in LINES:
        for value in VALUES:
            for key in KEYS:
                text = line.format(key=key, value=value)
                shown = starred_lines(text.split("\n"))
                assert CANARY not in "\n".join(shown), text
                assert [len(each) for each in shown] == [len(each.rstrip()) if "*" in new else len(each) for each, new in zip(text.split("\n"), shown, strict=True)]  # fmt: skip


def test_a_mistake_stays_useful(folder: Path) -> None:
    text = "version: 1\ngateway: {id: a, data_dir: d}\nmqtt: {url: 'mqtt://h:1', usr: u, password: correct horse battery}\n"
    (error,) = mistakes_of(text, folder)
    assert (error.line, error.column, error.message) == (3, 27, "'usr' is not a key here")
    assert error.hint == "did you mean 'user'?"
    lines = str(error).splitlines()
    assert lines[1] == "    3 | mqtt: {url: 'mqtt://h:1', usr: u, password: " + "*" * len("correct horse battery") + "}"
    assert lines[2].index("^") - lines[2].index("|") == 2 + 26


@pytest.mark.parametrize(
    "line",
    [
        "mqtt: {user: u, password: {secret: mqtt}, url: x}", 'token: {secret: "influx.token"}', "  url: opc.tcp://host:4840",
        "secret: mqtt", "poll: ${POLL:-500ms}", "description: who passes here", "a: 1  # me@example.com",
    ],
)  # fmt: skip
def test_what_is_no_secret_stays(line: str) -> None:
    assert starred(line) == line


def test_what_follows_a_value_is_shown_again() -> None:
    lines = [
        "mqtt:",
        "  password: a",
        "  url: b",
        "  token: {secret: t}",
        "  c: d",
        "  password:",
        "    secret: name",
        "e: f",
    ]
    assert starred_lines(lines) == [lines[0], "  password: *", *lines[2:]]


def test_what_a_message_quotes() -> None:
    assert unquoted("'the password' cannot be a name") == "'***' cannot be a name"
    assert unsaid("'mqtt://u:a/b@c@host' has no valid port") == "'mqtt://***@host' has no valid port"
    assert unsaid("'${X PW:-secret}' is not a variable") == "'${X PW:-***}' is not a variable"
    assert unsaid("'${HOST:-10.0.0.1}' is not a port") == "'${HOST:-10.0.0.1}' is not a port"


def test_what_the_environment_says_is_not_told(tmp_path: Path) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_text("version: 1\ngateway: {id: a, data_dir: d}\nmqtt: {keepalive: '${KEEP}', url: '${URL}/x'}\n")
    with pytest.raises(ConfigErrors) as raised:
        load(file, protocols(), env={"KEEP": "canary", "URL": "canary://host"})
    assert CANARY not in str(raised.value)
    assert "'${URL}/x'" in str(raised.value)


@pytest.mark.parametrize(
    "key", ["password", "passwrod", "pssword", "apssword", "tokne", "metrics_token", "client_secret", "PWD"]
)
def test_keys_of_secrets(key: str) -> None:
    assert is_secret_key(key)


@pytest.mark.parametrize("key", ["user", "url", "poll", "address", "word", "broken", "pressure", "port", "taste"])
def test_keys_of_others(key: str) -> None:
    assert not is_secret_key(key)


def test_comments_that_speak_of_secrets() -> None:
    assert speaks_of_secrets("# the old Passwort is x")
    assert speaks_of_secrets("# mật khẩu: x")
    assert speaks_of_secrets("# ma\u0323\u0302t kha\u0302\u0309u x")  # the same letters, composed otherwise
    assert not speaks_of_secrets("# the panel")


@pytest.mark.parametrize("line", ["x" * 10**6, "${" * 10**5, "//" * 10**5, "a: " * 10**5, "'" * 10**5, "pass" * 10**5, " " * 10**5, "- " * 10**5, "{,[ " * 10**5, "key! " * 10**5])  # fmt: skip
def test_a_long_line_costs_no_more_than_its_length(line: str) -> None:
    begin = time.process_time()
    starred_lines([line, line])
    assert time.process_time() - begin < 3
