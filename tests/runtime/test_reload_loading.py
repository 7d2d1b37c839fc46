"""A configuration that is loaded in a process of its own is the same as one that is loaded here, mistakes included."""

from __future__ import annotations

import gc
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from flow.plants import EVERY_SETTING
from gateway.config import load
from gateway.config.difference import difference
from gateway.errors import ConfigErrors
from gateway.runtime.changes import loading
from gateway.runtime.changes.loading import LARGE, load_aside
from gateway.runtime.registry import protocols

TEXT = EVERY_SETTING.format(modbus=1502, opcua=1503) + 'mqtt: {user: u, password: "hidden"}\n'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "gateway.yaml"
    made.write_text(TEXT)
    return made


@pytest.mark.parametrize("size", [LARGE - 1, LARGE])
def test_it_is_the_same(file: Path, size: int):
    here, there = load(file, protocols()), load_aside(file, size)
    assert not difference(here, there)
    assert there.tree.plain() == here.tree.plain()
    assert str(there.tree.find(("mqtt", "user"))) == str(here.tree.find(("mqtt", "user")))
    assert (there.path, there.warnings) == (here.path, here.warnings)
    # The control: what is different is seen.
    file.write_text(TEXT.replace("hidden", "another").replace("poll: 100ms", "poll: 200ms"))
    lines = difference(here, load_aside(file, size)).lines()
    assert sorted(lines) == ["machines.press.poll: 100ms → 200ms", "mqtt.password: changed"]


def test_mistakes_are_the_same(file: Path):
    file.write_text(TEXT.replace("float32", "float33").replace("int16", "int17"))
    told = []
    for size in (0, LARGE):
        with pytest.raises(ConfigErrors) as caught:
            load_aside(file, size)
        told.append(str(caught.value))
    assert told[0] == told[1]
    assert "float33" in told[0]


def test_where_there_can_be_no_other_process_it_is_done_here(
    file: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr(loading.sys, "executable", "/nowhere/python")
    interval = sys.getswitchinterval()
    assert not difference(load(file, protocols()), load_aside(file, LARGE))
    assert "polls may be late" in caplog.text
    assert sys.getswitchinterval() == interval


def test_two_at_once_leave_the_interpreter_as_it_was():
    """The one who came second would take what the first has set for what there was."""
    interval = sys.getswitchinterval()
    assert interval > loading.SWITCH
    loading._politely.__enter__()
    loading._politely.__enter__()
    assert sys.getswitchinterval() == pytest.approx(loading.SWITCH)
    assert not gc.isenabled()
    loading._politely.__exit__()  # the first one ends
    assert sys.getswitchinterval() == pytest.approx(loading.SWITCH)
    loading._politely.__exit__()
    assert sys.getswitchinterval() == interval
    assert gc.isenabled()


def test_many_at_once_do_as_well(file: Path):
    interval = sys.getswitchinterval()
    with ThreadPoolExecutor(4) as threads:
        assert len(list(threads.map(lambda _: load_aside(file, 0), range(8)))) == 8
    assert sys.getswitchinterval() == interval
    assert gc.isenabled()
