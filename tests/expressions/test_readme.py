"""Every example of the page on the language is worked out, and comes to what the page says."""

import re
from pathlib import Path
from typing import Any

import pytest

import gateway.expressions
from expressions.material import MINUTE
from gateway.expressions import Kind, parse
from gateway.expressions.functions import FUNCTIONS
from gateway.model import BAD, GOOD, NO_COMMUNICATION, Value, quality_code, quality_text
from gateway.units import parse as unit

PAGE = Path(gateway.expressions.__file__).with_name("README.md").read_text(encoding="utf-8")


def table(header: str) -> list[list[str]]:
    """The rows of all tables with this header."""
    found = re.findall(rf"^\| {re.escape(header)} \|\n\|[-|]+\|\n((?:\|.*\|\n)+)", PAGE, re.MULTILINE)
    assert found
    return [[cell.strip() for cell in row.strip("|").split("|")] for block in found for row in block.splitlines()]


def value_of(text: str) -> Value:
    if text in ("true", "false"):
        return text == "true"
    if text.startswith("'"):
        return text.strip("'")
    return int(text) if re.fullmatch(r"-?\d+", text) else float(text)


def signals() -> dict[str, tuple[Kind, Value, int]]:
    found = {}
    for name, value, code, quality in table("Signal | Value | Unit | Quality"):
        match = re.fullmatch(r"`(.*?)`(?:: (.*))?", name)
        assert match
        is_ = value_of(value) if value else None
        kind = Kind(
            {float: "float", int: "int", bool: "bool", str: "string", type(None): "float"}[type(is_)],  # type: ignore[arg-type]
            unit(code) if code else None,
            frozenset(match[2].split(", ")) if match[2] else None,
        )
        found[match[1]] = (kind, is_, quality_code(quality))
    return found


SIGNALS = signals()


def result(value: Value, quality: int) -> str:
    """As the page writes it."""
    if quality >= BAD:
        assert value is None
        return quality_text(quality)
    shown = f"'{value}'" if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else repr(value)
    return shown if quality == GOOD else f"{shown}, {quality_text(quality)}"


def run(text: str) -> tuple[str, Any]:
    expression = parse(text)
    kind = expression.check(lambda r: SIGNALS[str(r)][0])
    columns = [SIGNALS[str(r)] for r in expression.references]
    return result(*expression.program().run([c[1] for c in columns], [c[2] for c in columns], 0)), kind.unit


@pytest.mark.parametrize(("text", "expected"), table("Expression | Result"))
def test_an_example(text, expected):
    assert run(text.strip("`"))[0] == expected


@pytest.mark.parametrize(("text", "expected", "code"), table("Expression | Result | Unit"))
def test_an_example_with_a_unit(text, expected, code):
    found, its_unit = run(text.strip("`"))
    if isinstance(value_of(expected), float):
        assert float(found) == pytest.approx(value_of(expected), rel=1e-12)
    else:
        assert found == expected
    if code:
        assert (its_unit.code if its_unit else "not known") == code


def series() -> tuple[list[int], dict[str, tuple[Kind, list[Value]]]]:
    (header,) = re.findall(r"^\| minute \|(.*)\|$", PAGE, re.MULTILINE)
    columns = {}
    for name, *cells in table("minute |" + header.rstrip()):
        match = re.fullmatch(r"`(\w+)`(?:, (\S+))?", name)
        assert match
        if match[1] == "mode":
            columns[match[1]] = Kind("string"), list(cells)
        else:
            values = [None if cell == "–" else value_of(cell) for cell in cells]
            kind = Kind("float", unit(match[2])) if match[2] else Kind("bool")
            columns[match[1]] = kind, values
    return [int(cell) for cell in header.split("|")], columns


MINUTES, SERIES = series()


@pytest.mark.parametrize(("text", "expected"), table("Expression | Result at minute 10"))
def test_an_example_over_time(text, expected):
    expression = parse(text.strip("`"))
    expression.check(lambda r: SERIES[str(r)][0])
    program = expression.program()
    columns = [SERIES[str(r)][1] for r in expression.references]
    for at, minute in enumerate(MINUTES):
        values = [column[at] for column in columns]
        quality = [NO_COMMUNICATION if value is None else GOOD for value in values]
        value, found = program.run(values, quality, minute * MINUTE)
    assert minute == 10
    assert found == GOOD
    wanted = value_of(expected)
    assert type(value) is type(wanted)
    assert value == (pytest.approx(wanted, rel=1e-12) if isinstance(wanted, float) else wanted)


def test_every_function_is_on_the_page_and_every_operator():
    for name in FUNCTIONS:
        assert re.search(rf"^\| `.*\b{name}\(.*` \| ", PAGE, re.MULTILINE), name
    for operator in ("or", "and", "not", "==", "!=", "<", "<=", ">", ">=", "+", "-", "*", "/", "%", "**"):
        assert f"`{operator}`" in PAGE or f"`{operator}x`" in PAGE, operator
