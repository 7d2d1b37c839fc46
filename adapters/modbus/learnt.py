"""What devices were found not to have, and where they have their SunSpec models: kept from one start to the next.

One small file per connection. It only makes reading cheaper: without it everything is found out again.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from adapters.modbus.signals import ADDRESSES, BIT_TABLES, LAST_MODEL, MAX_BITS, TABLES, Table
from adapters.modbus.sunspec import BASES, HEAD, MOST, Chain, Model

log = logging.getLogger(__name__)

_MOST = 4 * 2**20  # bytes of a file that is still believed to be ours

Place = tuple[Table, int, int]  # table, first address, how many


@dataclass(slots=True)
class Learnt:
    """Of one device."""

    unit_id: int
    refused: dict[Place, int] = field(default_factory=dict)  # of single signals: the exception code
    holes: set[Place] = field(default_factory=set)  # across which it answers nothing: unused addresses, or a border
    max_registers: int | None = None  # the most it answers at once, where that is less than it was asked for
    max_bits: int | None = None
    chain: Chain | None = None  # of SunSpec models; None: nobody has looked yet

    def __bool__(self) -> bool:
        return bool(self.refused or self.holes or self.max_registers or self.max_bits or self.marked)

    @property
    def marked(self) -> Chain | None:
        """Its SunSpec models, if it has the marker in front of them."""
        return self.chain if self.chain is not None and self.chain.base is not None else None

    def moved(self, chain: Chain) -> None:
        """Its SunSpec models stand elsewhere, so which holding registers it lacks is to be found out again."""
        if self.chain is not None:
            self.refused = {place: code for place, code in self.refused.items() if place[0] != "holding"}
            self.holes = {place for place in self.holes if place[0] != "holding"}
        self.chain = chain

    def limit(self, table: Table, most: int) -> None:
        """It answers `most` at once and no more."""
        if table in BIT_TABLES:
            self.max_bits = min(most, self.max_bits or most)
        else:
            self.max_registers = min(most, self.max_registers or most)

    def lines(self) -> list[str]:
        """For people."""
        found = [f"refuses {_range(place)} (exception {code})" for place, code in sorted(self.refused.items())]
        found += [f"answers nothing across {_range(place)}" for place in sorted(self.holes)]
        for most, what in ((self.max_registers, "registers"), (self.max_bits, "bits")):
            if most:
                found.append(f"answers {most} {what} at once at most")
        if self.marked:
            found.append(f"has SunSpec from holding {self.marked.base} on: model {self.marked}")
        return found


def file_of(data_dir: Path, connection: str) -> Path:
    """Where it is kept."""
    return data_dir / "modbus" / f"{connection}.json"


def load(path: Path) -> dict[str, Learnt]:
    """By machine. Nothing where there is no file, or one that makes no sense: that is said, and the file put aside."""
    try:
        if path.exists() and not path.is_file():
            raise ValueError("it is not a file")
        with path.open("rb") as file:
            content = file.read(_MOST + 1)
        if len(content) > _MOST:
            raise ValueError("it is too large")
        machines = orjson.loads(content)["machines"]
        return {str(name): _learnt(of) for name, of in machines.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, LookupError, ArithmeticError, TypeError, AttributeError) as exc:
        log.warning("%s: cannot be read (%s); what devices refuse is found out again", path, exc)
        _try(lambda: path.replace(path.with_suffix(".broken")))
        return {}


def save(path: Path, machines: dict[str, Learnt]) -> None:
    """All at once or not at all. A disk that does not take it is said, and costs nothing but learning it again."""
    content = {
        "v": 1,
        "machines": {
            name: {
                "unit_id": of.unit_id,
                "refused": [[*place, code] for place, code in sorted(of.refused.items())],
                "holes": sorted(of.holes),
                "max_registers": of.max_registers,
                "max_bits": of.max_bits,
                **(
                    {"sunspec": {"base": of.marked.base, "models": [*map(list, of.marked.models)]}} if of.marked else {}
                ),
            }
            for name, of in machines.items()
            if of
        },
    }
    temporary = path.with_suffix(".new")

    def write() -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(orjson.dumps(content, option=orjson.OPT_INDENT_2))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)

    _try(write)


def forget(path: Path, machine: str | None) -> list[str]:
    """Drop what was learnt of one machine, or of all; the names of those of which there was something."""
    known = load(path)
    names = [name for name in known if machine in (None, name)]
    if names:
        save(path, {name: of for name, of in known.items() if name not in names})
    return names


def _range(place: Place) -> str:
    table, first, count = place
    return f"{table} {first}" if count == 1 else f"{table} {first}–{first + count - 1}"


def _learnt(of: dict[str, Any]) -> Learnt:
    places = [*(_place(row[:3]) for row in of["refused"]), *map(_place, of["holes"])]
    codes = [int(row[3]) for row in of["refused"]]
    return Learnt(
        int(of["unit_id"]),
        dict(zip(places, codes, strict=False)),
        set(places[len(codes) :]),
        _most(of["max_registers"]),
        _most(of["max_bits"]),
        _chain(of["sunspec"]) if "sunspec" in of else None,
    )


def _place(row: list[Any]) -> Place:
    table, first, count = row
    if table not in TABLES or not 0 <= int(first) < int(first) + int(count) <= ADDRESSES:
        raise ValueError(f"{row} is no range of addresses")
    return table, int(first), int(count)


def _most(value: Any) -> int | None:
    if value is not None and not 1 <= int(value) <= MAX_BITS:
        raise ValueError(f"{value} is no limit")
    return None if value is None else int(value)


def _chain(of: dict[str, Any]) -> Chain:
    models = tuple(Model(*map(int, row)) for row in of["models"][:MOST])
    at = int(of["base"]) + HEAD
    for model in models:
        if model.address != at or not 0 < model.id <= LAST_MODEL or not 0 < model.length <= ADDRESSES - at - HEAD:
            raise ValueError(f"{model} does not follow the one before")
        at = model.end
    if of["base"] not in BASES:
        raise ValueError(f"{of['base']} is no place of a marker")
    return Chain(int(of["base"]), models)


def _try(step: Callable[[], object]) -> None:
    try:
        step()
    except OSError as exc:
        log.warning("what was learnt about devices cannot be kept: %s", exc)
