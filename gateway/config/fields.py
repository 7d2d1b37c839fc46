"""The kinds of values our YAML knows: durations, sizes, names, secrets, ranges. Each explains what it refuses."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator, ValidationInfo, WithJsonSchema
from pydantic_core import PydanticCustomError


class Section(BaseModel):
    """A part of the configuration: unknown keys are mistakes, and nothing changes after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


def mistake(message: str, hint: str = "", key: str = "", span: tuple[int, int] | None = None) -> PydanticCustomError:
    """What a validator raises. `key`: the key below this place that is meant. `span`: the part of the text that is meant.

    Braces in the texts are kept.
    """
    return PydanticCustomError("mistake", "{message}", {"message": message, "hint": hint, "key": key, "span": span})


# --- durations and sizes ---------------------------------------------------------------------------------------------

_TIME_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_SIZE_UNITS = {"B": 1, "kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_SIZE_UNITS |= {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_QUANTITY = re.compile(r"\s*([0-9]{1,18}(?:\.[0-9]{1,18})?)\s*([A-Za-zµ]*)\s*")


def _quantity(text: Any, units: Mapping[str, float], what: str, example: str) -> float:
    """A number with one of `units`. Raises a mistake that names the likely cure."""
    if isinstance(text, bool) or not isinstance(text, (str, int, float)):
        raise mistake(f"a {what} is a number with a unit", f"for example {example}")
    match = _QUANTITY.fullmatch(str(text))
    if match is None:
        raise mistake(f"'{text}' is not a {what}", f"write a number with a unit, for example {example}")
    number, unit = match.groups()
    if not unit:
        if float(number) == 0:
            return 0.0
        guess = example.lstrip("0123456789.")
        raise mistake(f"'{text}' has no unit", f"did you mean '{number}{guess}'? units: {', '.join(units)}")
    known = {name.lower(): name for name in units}
    if unit not in units and unit.lower() in known:
        raise mistake(f"'{unit}' is not a unit of a {what}", f"did you mean '{number}{known[unit.lower()]}'?")
    if unit not in units:
        raise mistake(f"'{unit}' is not a unit of a {what}", f"units: {', '.join(units)}")
    return float(number) * units[unit]


def parse_duration(text: Any) -> float:
    """`500ms`, `1s`, `14d` in seconds. Raises a mistake (PydanticCustomError)."""
    return _quantity(text, _TIME_UNITS, "duration", "5s")


def parse_size(text: Any) -> int:
    """`64KiB`, `2GiB` in bytes. Raises a mistake (PydanticCustomError)."""
    return int(_quantity(text, _SIZE_UNITS, "size", "64MiB"))


def _at_least(least: float, text: str) -> Callable[[float], float]:
    def check(value: float) -> float:
        if value < least:
            raise mistake(f"has to be {text} at least")
        return value

    return check


# `$comment` tells the reference in schema.py what kind of text this is.
_DURATION_SCHEMA = {"type": "string", "pattern": r"^[0-9.]+\s*(us|ms|s|min|m|h|d|w)$", "$comment": "duration"}
_SIZE_SCHEMA = {"type": "string", "pattern": r"^[0-9.]+\s*(B|[kK]B|MB|GB|TB|KiB|MiB|GiB|TiB)$", "$comment": "size"}


def with_unit(value: float, what: str) -> str:
    """A duration in seconds or a size in bytes as one would write it: the largest unit that leaves a whole number."""
    units: Mapping[str, float] = {"d": 86400, "h": 3600, "min": 60, "s": 1, "ms": 1e-3, "us": 1e-6}
    if what == "size":
        units = {"TiB": 2**40, "GiB": 2**30, "MiB": 2**20, "KiB": 2**10, "B": 1}
    unit = next((u for u, size in units.items() if value >= size and (value / size).is_integer()), list(units)[-1])
    return f"{value / units[unit]:g}{unit}" if value else "0s"


def _duration(least: float, text: str) -> Any:
    return BeforeValidator(lambda value: _at_least(least, text)(parse_duration(value)))


Duration = Annotated[float, _duration(0, "0s"), WithJsonSchema(_DURATION_SCHEMA)]
"""Seconds."""
Period = Annotated[float, _duration(0.01, "10ms"), WithJsonSchema(_DURATION_SCHEMA)]
"""Seconds between two ticks: never so short that a machine would be flooded."""
Size = Annotated[int, BeforeValidator(parse_size), WithJsonSchema(_SIZE_SCHEMA)]
"""Bytes."""


class Percent(float):
    """A number that was written with a % sign: of a range."""


def _deadband(value: Any) -> Any:
    if isinstance(value, str) and value.strip().endswith("%"):
        number = value.strip()[:-1].strip()
        if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", number) or not 0 < float(number) <= 100:
            raise mistake(f"'{value}' is not a percentage of a range", "for example 1% or 0.5%")
        return Percent(number)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
        raise mistake("a deadband is a number that is not negative", "for example 0.5, or 1% of the range")
    return value if isinstance(value, Percent) else float(value)


Deadband = Annotated[
    float,
    PlainValidator(_deadband),
    WithJsonSchema({"anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": r"^[0-9.]+\s*%$"}]}),
]
"""In the unit of a signal, or `Percent` of its range."""

# --- names -----------------------------------------------------------------------------------------------------------

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,128}")
NAME_PATTERN = f"^{_NAME.pattern}$"


def _name(value: Any) -> str:
    if not isinstance(value, str):
        raise mistake(f"a name is text, not {value!r}", f'write "{value}" with quotes')
    if not _NAME.fullmatch(value):
        bad = next((c for c in value if not _NAME.fullmatch(c)), None)
        raise mistake(
            f"{value[:140]!r} cannot be a name" + (f": {bad!r} is not allowed" if bad else ""),
            "names have letters, digits, '_', '-' and '.', 1 to 128 of them",
        )
    return value


Name = Annotated[str, BeforeValidator(_name), WithJsonSchema({"type": "string", "pattern": NAME_PATTERN})]
"""A machine, signal, connection or level of the plant: it becomes a topic level, so no `/`, `+`, `#` or blanks."""


def _level(value: Any) -> str:
    name = _name(value)
    if name.startswith("_"):
        raise mistake(f"{name!r} may not begin with '_'", "such topics belong to the gateway")
    return name


LEVEL_PATTERN = "^[A-Za-z0-9.-][A-Za-z0-9_.-]{0,127}$"
Level = Annotated[str, BeforeValidator(_level), WithJsonSchema({"type": "string", "pattern": LEVEL_PATTERN})]
"""A name that stands in the place of a plant, machine included: topics that begin with `_` belong to the gateway."""

# --- secrets ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Secret:
    """A password or token, which prints as its name only."""

    name: str
    value: str

    def __repr__(self) -> str:
        return f"Secret({self.name or 'written in the file'})"

    __str__ = __repr__


def find_secret(name: str, folder: Path, env: Mapping[str, str]) -> str:
    """Look a secret up: systemd's credentials, `secrets/name` beside the configuration, GATEWAY_SECRET_NAME.

    Raises a mistake (PydanticCustomError) that names the three places.
    """
    if not _NAME.fullmatch(name) or name.startswith("."):
        raise mistake(f"{name!r} cannot be the name of a secret", "letters, digits, '_', '-' and '.'")
    variable = "GATEWAY_SECRET_" + re.sub(r"[^A-Za-z0-9]", "_", name).upper()
    if credentials := env.get("CREDENTIALS_DIRECTORY"):
        for file in (name, f"secrets_{name}"):  # the second: LoadCredential=secrets:FOLDER
            path = Path(credentials) / file
            if path.is_file():
                return _secret_text(path)
    path = folder / "secrets" / name
    if os.access(path, os.F_OK) and path.is_file():  # the folder may be one that only root can look into
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o077:
            raise mistake(f"the secret file {path} can be read by others (mode {mode:04o})", f"chmod 600 {path}")
        return _secret_text(path)
    if variable in env:
        return env[variable]
    raise mistake(
        f"the secret '{name}' is nowhere to be found",
        f"put it into {path} (mode 0600), into the variable {variable}, or give it with systemd's LoadCredential",
    )


def _secret_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as exc:
        raise mistake(f"the secret file {path} cannot be read: {exc}") from exc


def _secret(value: Any, info: ValidationInfo) -> Secret:
    if isinstance(value, Secret):
        return value
    if isinstance(value, str):
        return Secret("", value)
    if isinstance(value, dict) and set(value) == {"secret"} and isinstance(value["secret"], str):
        find: Callable[[str], str] = (info.context or {})["secret"]
        return Secret(value["secret"], find(value["secret"]))
    raise mistake("a password is {secret: name}, or text in quotes", "{secret: name} keeps it out of this file")


_SECRET_SCHEMA = {
    "anyOf": [
        {
            "type": "object",
            "properties": {"secret": {"type": "string"}},
            "required": ["secret"],
            "additionalProperties": False,
        },
        {"type": "string"},
    ]
}
SecretText = Annotated[
    Secret,
    BeforeValidator(_secret),
    WithJsonSchema(_SECRET_SCHEMA),
]
"""A password or token: `{secret: name}`, or the text itself."""


# --- ranges ----------------------------------------------------------------------------------------------------------


def _range(value: Any) -> tuple[float, float]:
    numbers = isinstance(value, (list, tuple)) and all(
        isinstance(v, (int, float)) and not isinstance(v, bool) for v in value
    )
    if not numbers or len(value) != 2:
        raise mistake("a range is two numbers", "for example [0, 400]")
    low, high = value
    if not low < high:
        raise mistake(
            f"the range [{low}, {high}] is empty", f"the smaller number first: [{high}, {low}]" if low > high else ""
        )
    return low, high


Range = Annotated[
    tuple[float, float],
    BeforeValidator(_range),
    WithJsonSchema({"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2}),
]
"""The lowest and the highest plausible value."""


def _raw_number(value: Any) -> Any:
    """Keys are text in our trees; manuals give masks and codes in hexadecimal."""
    return int(value, 16) if isinstance(value, str) and re.fullmatch(r"0x[0-9a-fA-F]{1,16}", value) else value


RawNumber = Annotated[int, BeforeValidator(_raw_number)]
"""A number as it stands in a register: 16 or 0x10."""

Port = Annotated[int, Field(ge=1, le=65535)]
