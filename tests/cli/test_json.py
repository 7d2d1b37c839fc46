"""What holds for every command, those of the adapters too: --json or a reason, no colours in a pipe, and help at once."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any

import pytest
import typer

from cli.control_stub import Stub, machine, snapshot
from gateway.cli.app import app
from parts.gateway import gateway

# What prints no rows: why it has no --json.
WITHOUT = {
    "run": "a service; --log-format json",
    "store": "a service; --log-format json",
    "demo": "for people",
    "init": "asks; --answers",
    "simulate": "a server; its ledger is JSON",
    "record": "writes a file",
    "replay": "a server",
    "config schema": "is JSON",
    "metrics": "is Prometheus' text format",
    "support-bundle": "writes a file",
    "profiles new": "writes YAML",
    "modbus import": "writes YAML",
    "opcua import": "writes YAML",
    "web user add": "asks for a password",
    "web user remove": "says nothing but that it is done",
    "completion bash": "a script",
    "completion zsh": "a script",
    "completion fish": "a script",
}


def commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """All of them, by what is typed."""
    group = group.real() if hasattr(group, "real") else group
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield " ".join((*path, name)), command


ALL = dict(commands(typer.main.get_command(app)))
GROUPS = sorted({name.rpartition(" ")[0] for name in ALL} - {""})


@pytest.mark.parametrize("name", ALL)
def test_json_or_a_reason(name):
    has = any("--json" in parameter.opts for parameter in ALL[name].params)
    assert has is not (name in WITHOUT), f"gateway {name}: give it --json, or say here why not"


def test_the_list_has_only_what_there_is():
    assert WITHOUT.keys() <= ALL.keys()


@pytest.mark.parametrize("name", ALL)
def test_help_has_no_colours_in_a_pipe(name):
    done = gateway(*name.split(), "--help", env={**os.environ, "TERM": "xterm-256color"})
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Usage: gateway")
    assert "\x1b" not in done.stdout + done.stderr


PLANT = """\
connections: {panel: {protocol: modbus-tcp, host: 127.0.0.1, port: 1, timeout: 100ms}}
machines: {press: {connection: panel, signals: {temp: {holding: 0, type: int16}}}}
store: {kind: historian}
"""


@pytest.mark.parametrize(
    "line",
    [
        "plan", "config check", "config show", "config explain mqtt.url", "profiles list",
        "profiles show abb-b23", "buffer status", "query press/temp", "audit", "read press", "status", "events", "top",
        "status --jsn", "nonsense", "config check /nowhere",
    ],
)  # fmt: skip
def test_no_escape_codes_in_a_pipe(tmp_path, line):
    """Whatever they print, mistakes too; also where a terminal of colours is promised."""
    (tmp_path / "gateway.yaml").write_text(PLANT)
    env = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor"}
    done = gateway(*line.split(), env=env, cwd=tmp_path)
    assert done.stdout + done.stderr
    assert "\x1b" not in done.stdout + done.stderr


def test_no_escape_codes_of_a_gateway_that_runs(tmp_path):
    with Stub(tmp_path, snapshot(machine("press-07", "offline", "gone", "connection-refused"))):
        for line in ("status", "top --interval 100ms", "events"):
            done = gateway(*line.split(), env={**os.environ, "TERM": "xterm-256color"}, cwd=tmp_path)
            assert "\x1b" not in done.stdout + done.stderr


@pytest.mark.parametrize("group", ["", *GROUPS])
def test_help_comes_at_once(group):
    """300 ms of processor time; this computer has other work, so the best of five."""
    used = []
    for _ in range(5):
        before = os.times()
        assert gateway(*group.split(), "--help").returncode == 0
        after = os.times()
        used.append(sum(after[2:4]) - sum(before[2:4]))
    assert min(used) < 0.3, used


def test_json_is_one_object_a_line(tmp_path):
    """Of all that need neither machine nor broker."""
    (tmp_path / "gateway.yaml").write_text(PLANT)
    for line in ("plan", "config check", "config show", "profiles list", "config explain mqtt"):
        done = gateway(*line.split(), "--json", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert all(re.fullmatch(r"\{.*\}", row) for row in done.stdout.splitlines())
