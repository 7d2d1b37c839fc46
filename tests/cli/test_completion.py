"""Completion as it is used: in a real bash, zsh and fish, and fast enough for a key."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest
import typer

from gateway.cli import completion
from gateway.cli.app import app
from gateway.cli.completion import Names, candidates
from gateway.config import find_config
from parts.gateway import COMMAND, gateway

CONFIG = """\
gateway: {id: edge-01}
connections:
  panel: {protocol: modbus-tcp, host: 10.0.0.1}
  hall: {protocol: modbus-tcp, host: 10.0.0.2}
machines:
  press-07:
    connection: panel
    signals: {melt_temp: {holding: 0, type: int16}, mode: {holding: 1, type: int16}}
  press-08: {connection: hall, profile: eastron-sdm72-v2}
"""


def names() -> Names:
    return Names({"press-07": ["melt_temp", "mode"], "oven": ["temp"]}, ["panel"])


def complete(line: str) -> list[str]:
    words = line.split(" ")
    found = candidates(typer.main.get_command(app), *completion._joined(words, len(words) - 1), names)
    return [value for value, _ in found]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("gateway conf", ["config"]),
        ("gateway config ch", ["check"]),
        ("gateway read ", ["press-07", "oven"]),
        ("gateway read press-07/m", ["press-07/melt_temp", "press-07/mode"]),
        ("gateway read press-07 ", ["melt_temp", "mode"]),
        ("gateway read --json press-07 mo", ["mode"]),
        ("gateway query o", ["oven/temp"]),
        ("gateway events --machine p", ["press-07"]),
        ("gateway events --machine=p", []),  # as one word, a shell that splits at = asks otherwise
        ("gateway events --machine = p", ["press-07"]),  # as bash does
        ("gateway modbus scan pa", ["panel"]),
        ("gateway modbus sc", ["scan"]),
        ("gateway top --sort fa", ["failures"]),
        ("gateway status --j", ["--json"]),
        ("gateway status -c ", []),  # files
        ("gateway nonsense ", []),
        ("gateway run ", []),
        ("gateway explain modbus-no-a", ["modbus-no-answer"]),
        ("gateway explain al", ["all"]),
        ("gateway explain modbus-no-answer --language ", ["en", "vi"]),
        ("gateway doctor --explain broker-tls", ["broker-tls", "broker-tls-name"]),
        ("gateway doctor --language v", ["vi"]),
        ("gateway profiles show eastron-sdm72", ["eastron-sdm72-v2"]),
        ("gateway profiles show packml", ["packml-unit"]),
        ("gateway simulate --scenario bad", ["bad-line"]),
        ("gateway demo --scenario bad", ["bad-line"]),
        ("gateway simulate --scenario ./", []),  # a file
        ("gateway run --log-format j", ["json", "journal"]),
        ("gateway web user add anna --role ", ["engineer", "viewer"]),
    ],
)
def test_what_fits(line, expected):
    assert complete(line) == expected


def test_versions_and_users_of_the_configuration_that_is_meant(tmp_path):
    """Also while it is broken; nothing is loaded for it."""
    (tmp_path / "gateway.yaml").write_text("gateway: {data_dir: kept}\nbroken: [\n")
    for folder in ("versions", "web"):
        (tmp_path / "kept" / folder).mkdir(parents=True)
    for number in (9, 10):
        version = {"v": 1, "version": number, "t": 1_796_000_000_000, "who": "anna", "summary": "", "files": {}}
        (tmp_path / "kept" / "versions" / f"{number:08}.json").write_text(json.dumps(version))
    users = {"v": 1, "users": {name: {"role": "viewer", "since": 1, "password": {}} for name in ("anna", "binh")}}
    (tmp_path / "kept" / "web" / "users.json").write_text(json.dumps(users))
    for line, expected in (
        ("config rollback ", ["10", "9"]),
        ("config rollback 1", ["10"]),
        ("config diff --against ", ["10", "9"]),
        ("web user remove b", ["binh"]),
        ("web user add ", []),
    ):
        words = line.split(" ")
        said = gateway("completion", "words", str(len(words)), "--", "gateway", *words, cwd=tmp_path)
        assert [each.split("\t")[0] for each in said.stdout.splitlines()] == expected, (line, said.stderr)


def test_no_names_are_asked_for_where_none_fit():
    def never() -> Names:
        raise AssertionError

    assert candidates(typer.main.get_command(app), ["gateway", ""], 1, never)


@pytest.fixture
def plant(tmp_path, monkeypatch) -> Path:
    (tmp_path / "gateway.yaml").write_text(CONFIG)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", f"{Path(COMMAND).parent}:{os.environ['PATH']}")
    monkeypatch.delenv("GATEWAY_CONFIG", raising=False)
    return tmp_path


def test_the_configuration_is_found_as_every_command_finds_it(plant, monkeypatch):
    monkeypatch.chdir(plant)
    assert completion.find(None) == find_config()
    (plant / "machines").mkdir()
    assert completion.find(None) == find_config()
    monkeypatch.setenv("GATEWAY_CONFIG", str(plant))
    assert completion.find(None) == find_config()


def test_names_follow_the_files_and_outlive_a_mistake(plant):
    file = plant / "gateway.yaml"
    assert {*completion.names_of(file).machines} == {"press-07", "press-08"}
    assert "voltage_l1" in completion.names_of(file).machines["press-08"]  # of the profile
    file.write_text(CONFIG.replace("press-08", "press-09"))
    assert {*completion.names_of(file).machines} == {"press-07", "press-09"}
    file.write_text("machines: [\n")
    assert {*completion.names_of(file).machines} == {"press-07", "press-09"}
    assert completion.names_of(plant / "nowhere").machines == {}


def typed(shell: str, line: str, cwd: Path) -> list[str]:
    """What a real shell offers for a line."""
    if shell == "bash":
        script = (
            'source <(gateway completion bash); COMP_LINE=$1; read -ra COMP_WORDS <<<"$1"; '
            '[[ $1 == *" " ]] && COMP_WORDS+=(""); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); COMP_POINT=${#1}; '
            'f=$(complete -p gateway | sed "s/.*-F \\([^ ]*\\) .*/\\1/"); "$f" gateway; printf "%s\\n" "${COMPREPLY[@]}"'
        )
        command = ["bash", "--norc", "-c", script, "bash", line]
    elif shell == "zsh":
        script = (
            "compdef() { :; }; _files() { print -r -- files; }; _describe() { print -rl -- ${(P)2%%:*}; }; "
            'eval "$(gateway completion zsh)"; words=("${(@s: :)1}"); CURRENT=${#words}; _gateway'
        )
        command = ["zsh", "-f", "-c", script, "zsh", line]
    else:
        script = "gateway completion fish | source; complete -C $argv[1] | string split -f1 \\t"
        command = ["fish", "--no-config", "-c", script, line]
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=60, check=False)
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_in_a_real_shell(plant, shell):
    if shell != "bash" and shutil.which(shell) is None:
        pytest.fail(f"{shell} is not installed: run tests/parts/setup.sh")
    assert typed(shell, "gateway sta", plant) == ["status"]
    assert typed(shell, "gateway read press-0", plant) == ["press-07", "press-08"]
    assert typed(shell, "gateway read press-07 m", plant) == ["melt_temp", "mode"]
    assert typed(shell, "gateway opcua tr", plant) == ["trust"]
    assert typed(shell, "gateway query press-07/me", plant) == ["press-07/melt_temp"]


def test_files_where_nothing_of_ours_fits(plant):
    (plant / "my.yaml").touch()
    script = "source <(gateway completion bash); complete -p gateway"
    said = subprocess.run(["bash", "--norc", "-c", script], capture_output=True, text=True, check=True).stdout
    assert "-o default" in said
    assert "my.yaml" in typed("fish", "gateway run my", plant)
    assert typed("zsh", "gateway run my", plant) == ["files"]


def test_it_is_fast_and_imports_nothing_heavy(plant):
    """A person notices 300 ms. Processor time, as this computer has other work."""
    line = ["completion", "words", "2", "--", "gateway", "read", "pre"]
    gateway(*line, cwd=plant)  # the names are kept
    used = []
    for _ in range(5):
        before = os.times()
        assert "press-07" in gateway(*line, cwd=plant).stdout
        after = os.times()
        used.append(after.children_user - before.children_user + after.children_system - before.children_system)
    assert min(used) < 0.3
    code = (
        "import sys; sys.argv = ['gateway', *sys.argv[1:]]; from gateway.cli import main; main(); "
        "print([m for m in ('pydantic', 'yaml', 'rich', 'asyncua', 'pymodbus', 'paho', 'uvicorn') if m in sys.modules])"
    )
    done = subprocess.run(
        [str(Path(COMMAND).with_name("python")), "-c", code, *line],
        capture_output=True,
        text=True,
        cwd=plant,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_first_time_it_loads_the_configuration(plant):
    begin = time.monotonic()
    assert "press-08" in gateway("completion", "words", "2", "--", "gateway", "read", "", cwd=plant).stdout
    assert time.monotonic() - begin < 10
