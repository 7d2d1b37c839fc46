"""Readings as InfluxDB line protocol: one line per frame. Pure.

    machine,enterprise=acme,site=hanoi,machine=press-07 melt_temp=212.5,cycle_count=10421i,mode="auto",mode_code=3i 1763…

    float            melt_temp=212.5        a float stays a float: 5.0
    int              cycle_count=10421i     beyond 64 bits with sign: cycle_count_big="…", as there is no such integer
    bool, text       alarm=true, mode="auto"
    a named state    mode_code=3i as well, because VictoriaMetrics keeps only numbers
    quality          melt_temp_quality=1083441152i when it is not good, and 0i once when it returns

Line protocol has no newline within a text: it becomes backslash and n.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from gateway.model import MachinePath, Value, is_good
from gateway.mqtt.payload import Data, Loss, Meta
from gateway.store.frames import separate

LOSS = "loss"  # measurement of the loss records
_LEVELS = ("enterprise", "site", "area", "line", "machine")
_INT64 = 2**63
_RESERVED = {"time": "time_"}  # InfluxDB keeps this name for itself

Odd = dict[MachinePath, set[str]]
"""Signals whose last written quality was not good."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line, and how many readings it holds."""

    text: str
    time: int  # ns
    readings: int


@dataclass(frozen=True, slots=True)
class _Shape:
    """Frames with the same names and types: made once, filled often."""

    template: str
    plain: Callable[[Mapping[str, Value]], list[Value]]  # what orjson formats at once
    texts: tuple[str, ...]
    integers: bool


class LineBuilder:
    """Remembers what is the same in every line of a machine."""

    def __init__(self, measurement: str = "machine") -> None:
        self._measurement = _escape_measurement(measurement)
        self._prefixes: dict[MachinePath, str] = {}
        self._shapes: dict[Any, _Shape] = {}
        self._states: dict[MachinePath, Mapping[str, Mapping[str, int]]] = {}

    def describe(self, meta: Meta) -> None:
        """Learn the numbers behind the texts of a machine."""
        self._states[meta.path] = meta.states

    def lines(self, path: MachinePath, data: Data, odd: Odd) -> list[Line]:
        """The lines of a message. `odd` is carried from message to message and changed here."""
        prefix = self._prefixes.get(path)
        if prefix is None:
            prefix = self._prefixes[path] = self._measurement + _tags(
                {level: getattr(path, level) for level in _LEVELS}
            )
        lines = []
        for time, frame in separate(data.frames):
            fields = self._fields(path, frame.values)
            if frame.quality or odd.get(path):
                fields += _qualities(frame.values, frame.quality, odd.setdefault(path, set()))
            if fields:
                count = len(frame.values) + len(frame.quality.keys() - frame.values.keys())
                lines.append(Line(f"{prefix} {','.join(fields)} {time}", time, count))
        return lines

    def loss(self, gateway: str, loss: Loss, time: int | None = None) -> Line:
        """A gap with its cause, at the time of its end. What follows a colon in the cause is not worth a series."""
        cause = loss.cause.partition(":")[0]
        tags = _tags({"gateway": gateway, "machine": loss.machine, "signal": loss.signal, "cause": cause})
        time = loss.end if time is None else time
        fields = (
            f"epoch={_text(loss.epoch)},first={loss.first}i,last={loss.last}i,count={loss.count}i,"
            f"from={loss.start}i,to={loss.end}i,detail={_text(loss.cause)}"
        )
        return Line(f"{LOSS}{tags} {fields} {time}", time, 0)

    def _fields(self, path: MachinePath, values: Mapping[str, Value]) -> list[str]:
        if not values:
            return []
        key = tuple(values), tuple(map(type, values.values()))
        shape = self._shapes.get(key)
        if shape is None:
            if len(self._shapes) > 10_000:  # `report: change` makes many; start over rather than grow
                self._shapes.clear()
            shape = self._shapes[key] = _shape(values)
        fields = []
        if shape.template:
            plain = shape.plain(values)
            if shape.integers and any(type(v) is int and not -_INT64 <= v < _INT64 for v in plain):
                big = {name: v for name, v in values.items() if type(v) is int and not -_INT64 <= v < _INT64}
                rest = {name: v for name, v in values.items() if name not in big}
                return [*self._fields(path, rest), *(f'{_escape(name + "_big")}="{v}"' for name, v in big.items())]
            fields.append(shape.template % tuple(orjson.dumps(plain).decode()[1:-1].split(",")))
        if shape.texts:
            states = self._states.get(path, {})
            for name in shape.texts:
                text = str(values[name])
                fields.append(f"{_escape(field_name(name))}={_text(text)}")
                code = states.get(name, {}).get(text)
                if code is not None:
                    fields.append(f"{_escape(name + '_code')}={code}i")
        return fields


def field_name(signal: str) -> str:
    """The field a signal's values are in."""
    return _RESERVED.get(signal, signal)


def _shape(values: Mapping[str, Value]) -> _Shape:
    plain = [name for name, v in values.items() if v is not None and not isinstance(v, str)]
    suffix = {name: "i" if type(values[name]) is int else "" for name in plain}
    everything = len(plain) == len(values)
    return _Shape(
        ",".join(f"{_escape(field_name(name)).replace('%', '%%')}=%s{suffix[name]}" for name in plain),
        (lambda given: list(given.values())) if everything else (lambda given: [given[name] for name in plain]),
        tuple(name for name, v in values.items() if isinstance(v, str)),
        "i" in suffix.values(),
    )


def _qualities(values: Mapping[str, Value], quality: Mapping[str, int], odd: set[str]) -> list[str]:
    returned = [name for name in odd & values.keys() if is_good(quality.get(name, 0))]
    now_odd = {name: code for name, code in quality.items() if not is_good(code)}
    odd.difference_update(returned)
    odd.update(now_odd)
    fields = [*now_odd.items(), *((name, 0) for name in sorted(returned))]
    return [f"{_escape(name + '_quality')}={code}i" for name, code in fields]


def _tags(tags: Mapping[str, str]) -> str:
    return "".join(f",{key}={_escape(value)}" for key, value in tags.items() if value)


def _escape(text: str) -> str:
    """Tag keys and values, field keys. A backslash at the end would escape what follows, so it goes."""
    text = text.replace("\n", "\\n").rstrip("\\")
    return text.replace(",", r"\,").replace("=", r"\=").replace(" ", r"\ ")


def _escape_measurement(text: str) -> str:
    return text.replace("\n", "\\n").rstrip("\\").replace(",", r"\,").replace(" ", r"\ ")


def _text(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\r", "\\r").replace("\n", "\\n")
    return f'"{escaped}"'
