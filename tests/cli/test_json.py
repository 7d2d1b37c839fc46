"""What holds for every command, those of the adapters too: --json or a reason, no colours in a pipe, and help at once."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import typer

from cli.control_stub import Stub, machine, snapshot
from gateway.cli.app import app
from parts.gateway import COMMAND, gateway
from parts.ports import free_port

# What prints no rows: why it has no --json.
WITHOUT = {
    "run": "a service; --log-format json",
    "store": "a service; --log-format json",
    "demo": "for people",
    "config schema": "is JSON",
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
    (tmp_path / "list.csv").write_text("name,address,type,unit\nvoltage,0,float32,V\ncount,4,uint32,\n")
    for line in (
        "plan", "config check", "config show", "profiles list", "config explain mqtt", "simulate --list-scenarios",
        "support-bundle --no-network -o all.zip", "init new --yes", "modbus import list.csv --table holding",
        "modbus import list.csv --table holding -o meter.yaml", "profiles new meter --from-csv list.csv --table holding",
    ):  # fmt: skip
        done = gateway(*line.split(), "--json", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert all(re.fullmatch(r"\{.*\}", row) for row in done.stdout.splitlines())


def json_of(*arguments: str, cwd: Path, **more: Any) -> list[dict[str, Any]]:
    done = subprocess.run(
        [COMMAND, *arguments, "--json"], capture_output=True, text=True, timeout=60, cwd=cwd, check=False, **more
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_what_the_rows_say(tmp_path):
    (tmp_path / "gateway.yaml").write_text(PLANT)
    (tmp_path / "list.csv").write_text("name,address,type,unit\nvoltage,0,float32,V\ncount,4,uint32,\n")
    (bundle,) = json_of("support-bundle", "--no-network", "-o", "all.zip", cwd=tmp_path)
    assert (bundle["file"], bundle["bytes"]) == ("all.zip", (tmp_path / "all.zip").stat().st_size)
    with zipfile.ZipFile(tmp_path / "all.zip") as zipped:
        assert bundle["members"].keys() <= set(zipped.namelist())
    (made,) = json_of("init", "new", "--yes", cwd=tmp_path)
    assert [
        Path(each).name for each in made["files"] if (tmp_path / each).is_file() or (tmp_path / "new" / each).is_file()
    ]
    assert made["next"][0].startswith("gateway ")
    (imported,) = json_of("modbus", "import", "list.csv", "--table", "holding", cwd=tmp_path)
    assert imported["signals"] == 2
    assert imported["yaml"]["signals"]["voltage"]["holding"] == 0
    (user,) = json_of("web", "user", "add", "anna", cwd=tmp_path, input="a sentence of a few words\n")
    assert user == {"user": "anna", "role": "viewer", "replaced": False}
    assert json_of("web", "user", "remove", "anna", cwd=tmp_path) == [{"user": "anna", "removed": True}]
    done = gateway("init", "other", "--json", cwd=tmp_path)
    assert (done.returncode, "--yes" in done.stderr) == (2, True), "nobody can be asked"


def test_servers_and_recordings_have_rows(tmp_path):
    """`gateway simulate`, `record` from it, and `replay` of that."""
    port = free_port()
    (tmp_path / "gateway.yaml").write_text(PLANT.replace("port: 1,", f"port: {port},").replace("100ms", "1s"))
    with served(tmp_path, "simulate", "--json") as rows:
        assert rows[0] == {
            "kind": "server", "connection": "panel", "place": f"127.0.0.1:{port}", "machines": ["press"]
        }  # fmt: skip
        (recorded,) = json_of("record", "press", "-o", "press.rec", "--for", "2s", cwd=tmp_path)
    assert (recorded["file"], recorded["machines"], recorded["full"]) == ("press.rec", ["press"], False)
    assert recorded["received"] > 0
    assert recorded["bytes"] == (tmp_path / "press.rec").stat().st_size
    with served(tmp_path, "replay", "press.rec", "--listen", f"127.0.0.1:{port}", "--json") as rows:
        assert (rows[0]["kind"], rows[0]["machines"], rows[0]["protocol"]) == ("server", ["press"], "modbus-tcp")


@contextmanager
def served(folder: Path, *arguments: str) -> Iterator[list[dict[str, Any]]]:
    """A server that runs, and the first row it has printed."""
    with subprocess.Popen([COMMAND, *arguments], stdout=subprocess.PIPE, text=True, cwd=folder) as process:
        try:
            assert process.stdout is not None
            yield [json.loads(process.stdout.readline())]
        finally:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=20)
