"""Of a line with a secret only the secret is hidden, once the file could be parsed; what may be a part of it, too."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.config import load
from gateway.config.yaml_file import parse_yaml
from gateway.errors import ConfigError, ConfigErrors
from gateway.runtime.registry import protocols

CANARY = "canary"


def mistakes_of(text: str, folder: Path) -> list[ConfigError]:
    file = folder / "gateway.yaml"
    file.write_bytes(text.encode())
    try:
        load(file, protocols(), env={})
    except ConfigErrors as exc:
        return list(exc.errors)
    return []


def shown(text: str) -> list[str]:
    """All lines as an error would show them."""
    source = parse_yaml(text.encode(), "a.yaml", env={}).mark.source
    return [source.shown(i + 1) for i in range(len(source.lines))]


def test_a_mistake_behind_a_secret_keeps_its_key_and_its_hint(tmp_path: Path) -> None:
    text = "version: 1\ngateway: {id: a}\nmqtt: {url: 'mqtt://h:1', user: u, password: canary, keep: 3}\n"
    (error,) = mistakes_of(text, tmp_path)
    assert (error.field, error.message, error.hint) == (
        "mqtt.keep", "'keep' is not a key here", "did you mean 'keepalive'?",
    )  # fmt: skip
    assert error.source == "mqtt: {url: 'mqtt://h:1', user: u, password: ******, keep: 3}"
    assert (error.line, error.column, error.width) == (3, 54, 4)


def test_several_mistakes_behind_secrets(tmp_path: Path) -> None:
    text = (
        "version: 1\ngateway: {id: a, data_dir: d}\n"
        "mqtt: {password: 'canary, x', keep: 3, tokne: canary, usr: u, url: 'mqtt://h:1', url: 'mqtt://h:2'}\n"
    )
    (twice,) = mistakes_of(text, tmp_path)  # what the file's form is wrong in is told first
    assert twice.message == "'url' stands twice in this mapping"
    found = mistakes_of(text.replace(", url: 'mqtt://h:2'", ""), tmp_path)
    assert {error.field for error in found} == {"mqtt.keep", "mqtt.tokne", "mqtt.usr"}
    assert [error.hint for error in found if error.field == "mqtt.usr"] == ["did you mean 'user'?"]
    assert all(CANARY not in str(error) for error in found)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("mqtt: {password: canary, keep: 3}", "mqtt: {password: ******, keep: 3}"),
        ("mqtt: {password: \"a, 'canary\", keep: 'b c'}", "mqtt: {password: ************, keep: 'b c'}"),
        ("mqtt: {password: 'it''s canary: 1', keep: [1, 2]}", "mqtt: {password: *****************, keep: [1, 2]}"),
        ("mqtt: {password: [a, canary], keep: {x: y}}", "mqtt: {password: ***********, keep: {x: y}}"),
        ("mqtt: {password: {canary: a}, keep: 3}", "mqtt: {password: ***********, keep: 3}"),
        ("mqtt: {password: {secret: name}, keep: 3}", "mqtt: {password: {secret: name}, keep: 3}"),
        (
            'mqtt: {password: {secret: "the canary"}, keep: 3}',
            "mqtt: {password: **********************, keep: 3}",
        ),
        ("mqtt: {password: a, token: canary, keep: 3}", "mqtt: {password: *, token: ******, keep: 3}"),
        ("x: [{password: canary}, b, {c: d}]", "x: [{password: ******}, b, {c: d}]"),
        # What may be the rest of a password, and all behind it.
        ("mqtt: {password: a,canary, keep: 3}", "mqtt: {password: ******************"),
        ("mqtt: {password: a, canary}", "mqtt: {password: **********"),
        ("x: [password: a, canary]", "x: [password: **********"),
        # Comments of such a line, addresses with a password, texts that only look like a key.
        ("mqtt: {password: a, keep: 3} # canary", "mqtt: {password: *, keep: 3} ********"),
        (
            "mqtt: {url: 'mqtt://u:canary@h', password: a, keep: 3}",
            "mqtt: {url: 'mqtt://********@h', password: *, keep: 3}",
        ),
        ("mqtt: {password: a, keep: token = canary, x: y}", "mqtt: {password: *, keep: token = ******, x: y}"),
        ("x: [&t canary, {token: *t, keep: 3}]", "x: [*********, {token: **, keep: 3}]"),
        ("x: &t {a: canary}\ny: {token: *t, keep: 3}", "x: **************\ny: {token: **, keep: 3}"),
        # Over several lines.
        ("mqtt: {password: 'a\n  canary', keep: 3}", "mqtt: {password: **\n  *******, keep: 3}"),
        ("mqtt: {password: a\n  canary, keep: 3}", "mqtt: {password: *\n  ****************"),
        ("mqtt:\n  password: |\n    canary\n  keep: 3", "mqtt:\n  password: *\n    ******\n  keep: 3"),
        ("mqtt:\n  password:\n    canary: x\n  keep: 3", "mqtt:\n  password:\n    *********\n  keep: 3"),
    ],
)
def test_what_is_shown(line: str, told: str) -> None:
    assert shown(line) == told.split("\n")


WORDS = st.text("ab ,:'\"{}[]#&*!|>\\@/=-\té", max_size=8)
STYLES = st.sampled_from(('"{}"', "'{}'", "{}", "[x, '{}']", "{{a: '{}'}}", "!t '{}'", "&a '{}'"))


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(("mqtt: {{x: y, password: {0}, keep: 3}}", "mqtt:\n  password: {0}\n  keep: 3", "- {{token: {0}}}\n- keep: 3")),
    STYLES, WORDS, WORDS,
)  # fmt: skip
def test_a_secret_is_never_shown_however_it_is_written(line: str, style: str, before: str, behind: str) -> None:
    """A canary within any signs that YAML has a meaning for: whether it can be parsed or not."""
    text = line.format(style.format(f"{before}{CANARY}{behind}"))
    try:
        told = "\n".join(shown(text))
    except ConfigErrors as exc:
        told = str(exc)
    assert CANARY not in told
