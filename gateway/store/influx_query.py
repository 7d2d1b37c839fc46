"""Readings of a v1 data base by InfluxQL, in the shape in which the historian gives them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gateway.errors import StoreError
from gateway.model import Value
from gateway.store.contract import Columns
from gateway.store.downsample import down_sample
from gateway.store.line_protocol import field_name

_LEVELS = ("enterprise", "site", "area", "line", "machine")


def query_v1(
    ask: Callable[[str], Any], measurement: str, machine: str, signal: str, start: int, end: int, points: int | None
) -> Columns:
    """`ask` sends a statement and returns the parsed answer. Raises StoreError."""
    kinds = dict(_rows(ask(f"SHOW FIELD KEYS FROM {_quoted(measurement)}")))
    name = field_name(signal)
    fields = [field for field in (name, f"{signal}_quality", f"{signal}_big") if field in kinds]
    if not fields:
        raise StoreError(f"the data base has no signal '{signal}': check its name, and store.measurement")
    columns = Columns()
    asked = ", ".join(f"{_quoted(field)}::field" for field in fields)
    where = f"machine = {_text(machine.rpartition('/')[2])} AND time >= {start} AND time <= {end}"
    levels = ", ".join(_LEVELS)
    rows = _rows(ask(f"SELECT {asked} FROM {_quoted(measurement)} WHERE {where} GROUP BY {levels}"), machine)  # noqa: S608
    for time, *given in rows:
        row = dict(zip(fields, given, strict=True))
        columns.time.append(time)
        columns.value.append(_value(row.get(name), row.get(f"{signal}_big"), kinds.get(name, "")))
        columns.quality.append(row.get(f"{signal}_quality") or 0)
    return columns if points is None else down_sample([columns], start, end, points)


def _value(value: Value, big: str | None, kind: str) -> Value:
    if value is None:
        return None if big is None else int(big)
    return float(value) if kind == "float" else value  # 5.0 comes back as 5


def _rows(answer: Any, machine: str = "") -> list[Any]:
    """The rows of a single series: two machines of the same name must not be mixed."""
    result = answer["results"][0]
    if "error" in result:
        raise StoreError(f"the data base does not answer: {result['error']}", fault="store-busy")
    found = {}
    for series in result.get("series", ()):
        tags = series.get("tags", {})
        found["/".join(filter(None, map(tags.get, _LEVELS)))] = series["values"]
    if "/" in machine:
        found = {path: rows for path, rows in found.items() if path == machine}
    if len(found) > 1:
        raise StoreError(f"there are several machines '{machine}': say {' or '.join(sorted(found))}")
    return next(iter(found.values()), [])


def _quoted(name: str) -> str:
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _text(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
