"""YAML 1.2 as its specification has it (10.3.2, core schema), and no input that ends in anything but a ConfigError."""

import math

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.config import load
from gateway.config.yaml_file import parse_yaml
from gateway.errors import ConfigErrors
from gateway.runtime.registry import protocols


def value_of(text: str, env: dict[str, str] | None = None) -> object:
    return parse_yaml(f"v: {text}\n".encode(), "f.yaml", env=env or {}).plain()["v"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("off", "off"), ("NO", "NO"), ("yes", "yes"), ("y", "y"), ("12:30", "12:30"), ("1:30:00", "1:30:00"),
        ("2026-11-22", "2026-11-22"), ("true", True), ("False", False), ("null", None), ("~", None), ("", None),
        ("0123", 123), ("0o17", 15), ("0x8000", 0x8000), ("-7", -7), ("+5", 5), ("1_000", "1_000"), ("0b11", "0b11"),
        ("1e3", 1000.0), (".5", 0.5), ("5.", 5.0), ("1.5.0", "1.5.0"), (".inf", math.inf), ("-.inf", -math.inf),
        ('"5"', "5"), ("'off'", "off"), ("1" * 60, "1" * 60), ("18446744073709551615", 2**64 - 1),
    ],
)  # fmt: skip
def test_plain_scalars(text, value):
    found = value_of(text)
    assert found == value
    assert type(found) is type(value)


def test_variables():
    env = {"HOST": "10.0.0.1", "PORT": "502"}
    assert value_of("${HOST}", env) == "10.0.0.1"
    assert value_of('{host: "${HOST}", port: "${PORT}"}', env) == {"host": "10.0.0.1", "port": "502"}
    assert value_of("mqtt://${HOST}:${PORT}", env) == "mqtt://10.0.0.1:502"
    assert value_of("${NOPE:-5s}") == "5s"
    assert value_of("${NOPE:-}") == ""
    assert value_of("$${HOST} costs 5$", env) == "${HOST} costs 5$"


def test_positions_count_characters_and_all_line_breaks():
    tree = parse_yaml("a: 1\r\nnhiệt: {độ: 5}\r\n".encode(), "f.yaml")
    mark = tree.find(("nhiệt", "độ"))
    assert (mark.line, mark.column) == (2, 13)


def test_aliases_are_followed_and_a_bomb_is_not():
    assert value_of("{a: &x [1, 2], b: *x}") == {"a": [1, 2], "b": [1, 2]}
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 10)]
    with pytest.raises(ConfigErrors, match="more than 2000000 values"):
        parse_yaml("\n".join(lines).encode(), "bomb.yaml")


def test_deep_nesting_is_refused_not_fatal():
    for text in ("[" * 100_000, "{a: " * 100_000, "- " * 100_000, "? " * 50_000):
        with pytest.raises(ConfigErrors):
            parse_yaml(text.encode(), "deep.yaml")


def test_an_alias_to_itself():
    with pytest.raises(ConfigErrors):
        parse_yaml(b"a: &a [*a]", "self.yaml")


YAMLISH = st.text(st.sampled_from("abc:{}[],&*!|>-?#%@`'\"\n\t ${}0.9éđ\x00\x85\u2028\ufeff~<"), max_size=200)


@settings(max_examples=400, deadline=None)
@given(st.one_of(st.binary(max_size=300), YAMLISH.map(lambda s: s.encode("utf-8", "surrogatepass"))))
@example(b"\xff\xfe")
@example(b"? [a]\n: b")
@example(b"&a a: *a\n*a : b")
@example(b"? \n")
@example(b"a: b\n...\nc")
@example(b"%YAML 9.9\n---\na: b")
def test_whatever_the_bytes_are(data):
    try:
        parse_yaml(data, "f.yaml", env={}).plain()
    except ConfigErrors as exc:
        assert str(exc)


GOOD = """\
version: 1
gateway: {id: edge-01, data_dir: data}
site: {enterprise: acme, site: hanoi, timezone: Asia/Ho_Chi_Minh}
defaults: {poll: 1s, timeout: 1s, stale_after: 10s}
connections:
  panel: {protocol: modbus-tcp, host: 10.20.0.11, port: 502, quirks: {pause_between_requests: 20ms}}
machines:
  press-07:
    connection: panel
    unit_id: 7
    signals:
      cycle_count: {holding: 0, type: uint32, order: CDAB, kind: counter}
      melt_temp: {holding: 10, type: int16, scale: 0.1, unit: Cel, range: [0, 400]}
      mode: {holding: 20, type: uint16, enum: {0: "off", 1: setup}}
mqtt: {url: "mqtts://broker.acme.lan:8883", user: edge-01, root: shopfloor/v1}
store: {kind: historian, retention: 30d}
web: {listen: "127.0.0.1:8080"}
"""
JUNK = [
    "",
    "[]",
    "{}",
    "null",
    "-1",
    "1e400",
    ".nan",
    "''",
    "{a: 1}",
    "[1, [2]]",
    "true",
    "'\\0'",
    "x" * 300,
    "9" * 30,
    "*x",
    "!!int 5",
    "'",
]


@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_a_configuration_with_anything_put_in_anywhere(data, tmp_path_factory):
    """Any value, key or stretch of a good configuration replaced: a Configuration or ConfigErrors, no traceback."""
    start = data.draw(st.integers(0, len(GOOD)))
    end = data.draw(st.integers(start, min(len(GOOD), start + 20)))
    text = GOOD[:start] + data.draw(st.sampled_from(JUNK)) + GOOD[end:]
    path = tmp_path_factory.mktemp("fuzz") / "gateway.yaml"
    path.write_text(text, encoding="utf-8")
    try:
        load(path, protocols(), env={})
    except ConfigErrors as exc:
        assert str(exc)
        assert all(e.line for e in exc.errors)
