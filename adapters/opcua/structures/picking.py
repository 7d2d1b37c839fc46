"""Parts of arrays and structures: what `index` and `field` pick. Pure.

    values of a node: [1.5, 2.5, 300.0]      picks: handle 1000 ─▶ [(signal 4, (0,)), (signal 7, (2,))]
                   └──────── picked ────────▶ values of signals: 4 = 1.5, 7 = 300.0; same status and time stamp

Several signals share one monitored item, so a structure goes over the line and is read once. A part that is not there
costs its own signal only:

    CONFIG_ERROR   what can never be: a field that the structure does not have, an element of what is no array, a path
                   that ends at an array or structure, a structure that the server does not describe
    NOT_AVAILABLE  what is not there now: an element beyond the end, an optional field left out, the other member of a
                   union, null
    INVALID_DATA   bytes that do not fit the definition
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any

from adapters.opcua.nodes import NodeId
from adapters.opcua.structures.definitions import (
    ABSENT,
    Definitions,
    Enumeration,
    MisfitError,
    Record,
    Simple,
    Structure,
    UndefinedError,
)
from adapters.opcua.structures.field_path import Path, path_text
from adapters.opcua.wire import ARRAY, BODY, DATA_VALUE, VARIANT, Body, Stamped, Tagged, Unreadable, Values
from gateway.config.explain import did_you_mean
from gateway.model import CONFIG_ERROR, INVALID_DATA, NOT_AVAILABLE, is_bad

# --- picking ---------------------------------------------------------------------------------------------------------

Picks = Mapping[int, Sequence[tuple[int, Path]]]
"""Client handle -> the signals that pick from its node, and what."""


def picked(values: Values, picks: Picks, definitions: Definitions) -> tuple[Values, dict[int, str]]:
    """The same values, those of handles in `picks` taken apart: one row per signal, in the order they came.

    Also says what is the matter with signals of which a part could not be picked; the last word on each.
    """
    found, troubles = Values(), dict[int, str]()
    for row in zip(values.signal, values.type, values.value, values.status, values.time, strict=True):
        handle, code, value, status, time = row
        wanted = picks.get(handle)
        if wanted is None:
            found.add(*row)
        elif is_bad(status):
            _fill(found, wanted, [0] * len(wanted), [None] * len(wanted), status, time)
        elif (elements := _elements(wanted, code, value)) is not None:
            _fill(found, wanted, [code & ~ARRAY] * len(wanted), elements, status, time)
        else:
            records: _Opened = {}
            for signal, path in wanted:
                if (quick := _quick(path, code, value, records)) is not None:
                    found.add(signal, *quick, status, time)
                    continue
                try:
                    leaf = _pick(path, code, value, status, definitions, records)
                except _NothingError as exc:
                    leaf = code, None, exc.status
                    troubles[signal] = exc.why
                found.add(signal, *leaf, time)
    return found, troubles


def _fill(
    found: Values, wanted: Sequence[tuple[int, Path]], codes: list[int], values: Any, status: int, time: int
) -> None:
    found.signal += [signal for signal, _ in wanted]
    found.type += codes
    found.value += values
    found.status += [status] * len(wanted)
    found.time += [time] * len(wanted)


def _elements(wanted: Sequence[tuple[int, Path]], code: int, value: Any) -> Sequence[Any] | None:
    """The usual case, fast: elements of an array of plain values that has them all."""
    if not code & ARRAY or code & ~ARRAY in (BODY, DATA_VALUE, VARIANT) or not isinstance(value, list) or not value:
        return None
    if isinstance(value[0], list):
        return None
    try:
        if len(wanted) == 1:
            ((_, (index,)),) = wanted
            return [value[index]]  # type: ignore[index]
        return itemgetter(*[index for _, (index,) in wanted])(value)  # type: ignore[no-any-return]
    except (ValueError, IndexError, TypeError):
        return None


BYTE, BYTE_STRING = 3, 15


class _NothingError(Exception):
    """There is nothing at the end of a path."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status, self.why = status, why


_Opened = dict[int, Record | _NothingError]  # what became of each body of one value, which several signals look into


_INDIRECT = (list, Record, Body, Tagged, Stamped, Unreadable)


def _quick(path: Path, code: int, value: Any, records: _Opened) -> tuple[int, Any] | None:
    """Type and value of a part, where nothing is in the way and the structures on it have been read before."""
    try:
        for step in path:
            if type(value) is Body:
                value = records[id(value)]
            if isinstance(step, str):
                layout, values = value
                place = layout.places[step]
                code, value = layout.codes[place], values[place]
            elif type(value) is list:
                code, value = code & ~ARRAY, value[step]
            else:
                return None
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
        return None
    return None if value is ABSENT or isinstance(value, _INDIRECT) else (code, value)


def _pick(
    path: Path, code: int, value: Any, status: int, definitions: Definitions, records: _Opened
) -> tuple[int, Any, int]:
    """Type, value and status of a part. Raises _NothingError."""
    for done, step in enumerate((*path, None)):
        code, value, status = _open(code, value, status, definitions, records)
        if step is None or is_bad(status):
            break
        here = path_text(path[:done]) or "the value"
        if value is None:
            raise _NothingError(NOT_AVAILABLE, f"{here} is null")
        if isinstance(step, int):
            code, value = _element(here, code, value, step)
        else:
            code, value = _field(here, value, step)
    if isinstance(value, (list, Record)):
        raise _NothingError(CONFIG_ERROR, f"{path_text(path) or 'it'} is {what(value)}")
    return code, None if is_bad(status) else value, status


def _open(code: int, value: Any, status: int, definitions: Definitions, records: _Opened) -> tuple[int, Any, int]:
    """What is in a Variant, a DataValue, an extension object."""
    while isinstance(value, (Tagged, Stamped)):
        if isinstance(value, Stamped):
            status = max(status, value.status, key=lambda s: s & 0xC0000000)
        code, value = value.type, value.value
    if isinstance(value, Unreadable):
        raise _NothingError(INVALID_DATA, value.why)
    if isinstance(value, Body):
        if value.data is None:
            return code, None, status
        record = records.get(id(value))
        if record is None:
            record = records[id(value)] = _decoded(value, definitions)
        if isinstance(record, _NothingError):
            raise record
        return code, record, status
    return code, value, status


def _decoded(body: Body, definitions: Definitions) -> Record | _NothingError:
    try:
        return definitions.decode(body)
    except UndefinedError as exc:
        return _NothingError(CONFIG_ERROR, f"a structure that cannot be read: {exc}")
    except MisfitError as exc:
        return _NothingError(INVALID_DATA, f"a structure that does not fit its definition: {exc}")


def _element(here: str, code: int, value: Any, index: int) -> tuple[int, Any]:
    if code == BYTE_STRING and isinstance(value, str):  # as arrays of bytes are sent (Part 3, 8.59)
        code, value = BYTE | ARRAY, list(bytes.fromhex(value))
    if not isinstance(value, list):
        raise _NothingError(CONFIG_ERROR, f"{here} is {what(value)} and has no element [{index}]")
    if index >= len(value):
        raise _NothingError(NOT_AVAILABLE, f"{here} has {len(value)} elements, and [{index}] is none of them")
    value = value[index]
    return code if isinstance(value, list) else code & ~ARRAY, value


def _field(here: str, value: Any, name: str) -> tuple[int, Any]:
    if not isinstance(value, Record):
        hint = f", such as {here}[0].{name}" if isinstance(value, list) and here != "the value" else ""
        raise _NothingError(CONFIG_ERROR, f"{here} is {what(value)} and has no field '{name}'{hint}")
    layout = value.layout
    place = layout.places.get(name)
    if place is None:
        raise _NothingError(
            CONFIG_ERROR, f"{layout.name or here} has no field '{name}'; {did_you_mean(name, layout.names)}"
        )
    if value.values[place] is ABSENT:
        raise _NothingError(NOT_AVAILABLE, f"{layout.name or here} comes without its field '{name}'")
    return layout.codes[place], value.values[place]


def what(value: Any) -> str:
    """What a value is that cannot be sent as it is, and how to pick from it."""
    if isinstance(value, list):
        return f"an array of {len(value)} elements: `index`, `count` or [0] picks from it"
    if isinstance(value, Record):
        names = ", ".join(value.layout.names[:8]) + (" …" if len(value.layout.names) > 8 else "")
        return f"a structure ({value.layout.name}): `field` picks one of {names}"
    return "one value"


# --- what is declared ------------------------------------------------------------------------------------------------


def declared(type: NodeId, path: Path, definitions: Definitions) -> NodeId | None:
    """The data type of a part of a value; None where only the value itself can tell."""
    for step in path:
        if isinstance(step, int):
            continue
        definition = definitions.definition(type)
        if not isinstance(definition, Structure):
            return None
        found = next((field.type for field in definition.fields if field.name == step), None)
        if found is None:
            return None
        type = found
    return type


def declared_code(type: NodeId, definitions: Definitions) -> int:
    """The built-in type of a data type; 0 where that is not known, or any can come."""
    definition = definitions.definition(type)
    code = definition.code if isinstance(definition, (Simple, Enumeration)) else 0
    return 0 if code in (BODY, DATA_VALUE, VARIANT) else code
