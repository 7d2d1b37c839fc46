"""Every folder in adapters/modbus/testcases: what is asked for, and what the answers mean; or what is wrong.

machine.yaml   a machine, on the connection `line`
blocks.csv     table, address and data (hex) of each request that has to be made, in this order
expected.csv   signal, raw value and quality (empty: good) in the order of the batch
error.txt      instead of both: what the user is told
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from adapters import modbus
from adapters.modbus.config import ModbusMachine
from adapters.modbus.connections import ModbusTcp
from adapters.modbus.decode import Layout
from adapters.modbus.plan import Limits, polls
from gateway.config import load
from gateway.errors import ConfigErrors
from gateway.model import quality_text

FOLDER = Path(modbus.__file__).parent / "testcases"
CASES = sorted(path.name for path in FOLDER.iterdir() if path.is_dir())


@pytest.fixture
def case(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A case, and a configuration around its machine in the current folder."""
    folder = FOLDER / request.param
    (tmp_path / "gateway.yaml").write_text("connections: {line: {protocol: modbus-tcp, host: 10.0.0.1}}\n")
    (tmp_path / "machines").mkdir()
    (tmp_path / "machines" / "machine.yaml").write_text((folder / "machine.yaml").read_text())
    monkeypatch.chdir(tmp_path)
    return folder


def rows(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as lines:
        return list(csv.DictReader(lines))


def text(value: Any) -> str:
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


@pytest.mark.parametrize("case", CASES, indirect=True)
def test_case(case: Path) -> None:
    if (case / "error.txt").exists():
        with pytest.raises(ConfigErrors) as caught:
            load(Path(), {p.name: p for p in modbus.PROTOCOLS}, env={})
        assert str(caught.value) + "\n" == (case / "error.txt").read_text()
        return
    configuration = load(Path(), {p.name: p for p in modbus.PROTOCOLS}, env={})
    machine, link = configuration.machines["machine"], configuration.connections["line"]
    assert isinstance(machine, ModbusMachine)
    assert isinstance(link, ModbusTcp)
    blocks = [block for poll in polls(machine, Limits.of(link, machine)) for block in poll.blocks]
    answers = rows(case / "blocks.csv")
    assert [(b.table, str(b.address)) for b in blocks] == [(row["table"], row["address"]) for row in answers]
    found = []
    for block, row in zip(blocks, answers, strict=True):
        data = bytes.fromhex(row["data"])
        assert len(data) == block.payload, block
        values, qualities = Layout(block).decode(data)
        for name, value, quality in zip(block.names, values, qualities or [0] * len(values), strict=True):
            found.append({"signal": name, "value": text(value), "quality": quality_text(quality) if quality else ""})
    assert found == rows(case / "expected.csv")
