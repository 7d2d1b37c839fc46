"""Every unit in what we ship is one: configurations, profiles, the demo, and the tables of the adapters."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.units import UnitError, doubt, parse

ROOT = Path(__file__).parents[2]
FILES = sorted(
    file
    for folder in ("config", "simulators/demo", "adapters")
    for file in (ROOT / folder).rglob("*.yaml")
    if "testcases" not in file.parts
)
NOT_CODES = {"from-server"}  # stands for what the server says


def units(node: Any) -> Iterator[str]:
    """What stands behind `unit:` and `store_as:`, wherever that is."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key in ("unit", "store_as") and isinstance(value, str):
                yield value
            yield from units(value)
    elif isinstance(node, list):
        for each in node:
            yield from units(each)


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_units_of_a_file(file):
    documents = yaml.safe_load_all(file.read_text(encoding="utf-8"))
    for code in {code for document in documents for code in units(document)} - NOT_CODES:
        parse(code)
        assert not doubt(code)


def test_there_are_units_in_the_files():
    found = {code for file in FILES for code in units(yaml.safe_load(file.read_text(encoding="utf-8")))}
    assert {"Cel", "kW.h", "kvar.h", "V.A", "var", "bar", "%", "1/min", "mm/min"} <= found


def test_units_of_opcua_servers():
    from adapters.opcua.units import _UCUM

    wrong = {}
    for common, code in _UCUM.items():
        try:
            parse(code)
        except UnitError as exc:
            wrong[common] = exc.hint
    # Rates of temperature are differences (UCUM §22): these belong in kelvins.
    known = {"H12": "did you mean 'K/h'?", "H13": "did you mean 'K/min'?", "H14": "did you mean 'K/s'?"}
    assert {k: v for k, v in wrong.items() if k not in known} == {}


def test_units_of_register_lists():
    from adapters.modbus.tools.vocabulary import UNITS

    for code in UNITS.values():
        parse(code)
