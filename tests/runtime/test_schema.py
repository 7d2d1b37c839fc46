"""Versions of what `meta` says, and types that stay what they were."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from gateway.model import Signal
from gateway.runtime.edge.schema import Schema

TEMP, MODE = Signal("temp", "float", "Cel", made_of=("a", "b")), Signal("mode", "string", states={0: "off"})


def again(schema: Schema) -> Schema:
    """After a restart."""
    return Schema(orjson.loads(orjson.dumps(schema.dump())))


def test_a_version_counts_what_changes_and_nothing_else():
    schema = Schema()
    assert [schema.version("acme/press", [TEMP, MODE]) for _ in range(2)] == [1, 1]
    assert schema.changes == 1
    schema = again(schema)
    assert schema.version("acme/press", [TEMP, MODE]) == 1
    assert schema.changes == 0
    other = Signal("temp", "float", "K", made_of=("a", "b"))
    assert schema.version("acme/press", [other, MODE]) == 2
    assert schema.version("acme/oven", [TEMP]) == 1


def test_a_new_version_is_announced_with_what_is_new_about_it(caplog):
    caplog.set_level("INFO")
    schema = Schema()
    schema.version("press", [TEMP, MODE])
    assert not caplog.text
    schema.version("press", [Signal("temp", "float", "K"), Signal("speed", "int")])
    assert "version now, 2: 1 new (speed); 1 gone (mode); 1 changed (temp)" in caplog.text


def test_other_rules_are_another_version_though_nothing_else_shows_it(caplog):
    """A scale that changed: type, unit and range are what they were."""
    caplog.set_level("INFO")
    schema = Schema()
    assert schema.version("press", [TEMP], "d1") == 1
    schema = again(schema)
    assert schema.version("press", [TEMP], "d1") == 1
    assert schema.changes == 0
    assert schema.version("press", [TEMP], "d2") == 2
    assert "version now, 2: what is done to their readings has changed" in caplog.text
    assert again(schema).version("press", [TEMP], "d2") == 2
    assert schema.version("press", [Signal("temp", "float", "K")], "d3") == 3  # both at once are one version


def test_what_was_written_before_there_were_digests_is_no_other_version():
    """The file of an earlier gateway: its signals are known, its rules are learnt now."""
    signals = {"temp": {"type": "float", "kind": "gauge", "unit": "Cel", "inputs": ["a", "b"]}}
    schema = Schema({"press": {"version": 7, "signals": signals, "types": {"temp": "float"}, "wanted": {}}})
    assert schema.version("press", [TEMP], "d1") == 7
    assert schema.changes == 1
    assert again(schema).version("press", [TEMP], "d1") == 7
    assert again(schema).version("press", [TEMP], "d2") == 8


def test_a_guess_is_no_version():
    """A server that could not be asked yet: the types are those of the last time, as far as anybody knows."""
    schema = Schema()
    schema.version("press", [TEMP])
    assert schema.version("press", [Signal("temp", "float", guessed=True)]) == 1
    assert schema.version("press", [TEMP]) == 1


def test_a_type_is_locked_when_it_leaves_and_kept_over_restarts():
    schema = Schema()
    schema.version("press", [TEMP, MODE])
    assert schema.types("press") == {}
    schema.lock("press", [TEMP])
    schema.lock("press", [Signal("temp", "string")])  # too late
    assert again(schema).types("press") == {"temp": "float"}


def test_another_type_is_a_conflict_until_it_is_accepted(caplog):
    schema = Schema()
    schema.lock("press", [TEMP, MODE])
    schema.want("press", {"mode": "int"})
    schema.want("press", {"mode": "int"})
    assert caplog.text.count("press/mode: is int now and was string in the store") == 1
    schema = again(schema)
    assert schema.conflicts() == [("press", "mode", "string", "int")]
    assert schema.accept("press", "mode") == ["mode"]
    assert schema.accept("press", "speed") == []
    assert again(schema).conflicts() == []
    assert again(schema).types("press") == {"temp": "float"}


@pytest.mark.parametrize(
    "saved",
    [
        {"m": {}}, {"m": 7}, {"m": {"version": True, "signals": {}, "types": {}}},
        {"m": {"version": 1, "signals": {}, "types": {"a": "complex"}}},
        {"m": {"version": -1, "signals": {}, "types": {}}}, {"m": {"version": 1, "signals": [], "types": {}}},
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_no_reason_not_to_start(saved: dict[str, Any], caplog):
    assert Schema(saved).version("press", [TEMP]) == 1
    assert "cannot be used" in caplog.text
