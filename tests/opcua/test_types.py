"""Parts of arrays and structures: how a path is written, what is picked, and what becomes of what is not there."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic_core import PydanticCustomError

from adapters.opcua import decode
from adapters.opcua.config import OpcuaMachine
from adapters.opcua.nodes import NodeId
from adapters.opcua.signals import OpcuaSignal
from adapters.opcua.structures import picking
from adapters.opcua.structures.definitions import Definitions, Enumeration, Field, Form, Structure
from adapters.opcua.structures.field_path import parse_field, path_of, path_text
from adapters.opcua.structures.picking import picked
from adapters.opcua.wire import ARRAY, Body, Stamped, Tagged, Unreadable, Values
from gateway.errors import ConfigErrors
from gateway.model import (
    CONFIG_ERROR,
    GOOD,
    INVALID_DATA,
    NOT_A_NUMBER,
    NOT_AVAILABLE,
    UNKNOWN_STATE,
    Batch,
    Header,
    MachinePath,
    Signal,
    ValueType,
)
from gateway.normalizer.plan import Plan
from opcua.test_config import GOOD as CONFIGURATION
from opcua.test_config import loaded

# --- how a path is written -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("Position", ("Position",)),
        ("Axes[1].Position", ("Axes", 1, "Position")),
        ("[1]", (1,)),
        ("[1][2]", (1, 2)),
        ("[1, 2].Name", (1, 2, "Name")),
        ("A.B.C[0]", ("A", "B", "C", 0)),
        ("Tool&.Life", ("Tool.Life",)),
        ("x&[0&].y", ("x[0]", "y")),
        ("a&&b", ("a&b",)),
        ('"Motor 1".Ist-Wert', ('"Motor 1"', "Ist-Wert")),
        ("Größe[12]", ("Größe", 12)),
    ],
)
def test_a_path_is_read_and_written(text: str, path: tuple[str | int, ...]) -> None:
    assert parse_field(text) == path
    assert parse_field(path_text(path)) == path


@pytest.mark.parametrize(
    ("field", "index", "path"),
    [
        (None, None, ()),
        (None, 3, (3,)),
        ("Position", 3, (3, "Position")),
        ("Axes[].Position", 3, ("Axes", 3, "Position")),
        ("[1][]", 3, (1, 3)),
        ("Axes[1].Position", None, ("Axes", 1, "Position")),
        ("Limits[0]", 3, (3, "Limits", 0)),
    ],
)
def test_field_and_index_together(field: str | None, index: int | None, path: tuple[str | int, ...]) -> None:
    assert path_of(field, index) == path
    assert OpcuaSignal(node="m:s=x", field=field, index=index).place == path


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("A..B", "is not the path of a field"),
        (".A", "is not the path of a field"),
        ("A.", "is not the path of a field"),
        ("A[1]B", "is not the path of a field"),
        ("A[x]", "is not the path of a field"),
        ("A[-1]", "is not the path of a field"),
        ("A[1", "is not the path of a field"),
        ("A]", "is not the path of a field"),
        ("A&", "is not the path of a field"),
        (" A", "begins or ends with a blank"),
        ("A\n", "begins or ends with a blank"),
        ("A[1,]", "'' in 'A[1,]' is not the number of an element"),
        ("A[4294967296]", "is not the number of an element"),
        ("A[][]", "has [] twice"),
        ("A[]", "which element of 'A[]'?"),
    ],
)
def test_a_mistake_in_a_path_is_explained(text: str, says: str) -> None:
    with pytest.raises(PydanticCustomError) as caught:
        path_of(text, None)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ('field: "A[x]"', [":10:", "signals.speed.field", "'A[x]' is not the path of a field", "Axes[1].Position"]),
        ('field: "A[]"', [":10:", "signals.speed.field", "which element of 'A[]'?", "`index` or `count`"]),
        ('field: "A[][]", count: 2', ["signals.speed.field", "has [] twice"]),
        ("index: -1", ["signals.speed.index", "0"]),
        ("enum: from-srver", ["signals.speed.enum", "did you mean 'from-server'?"]),
        ("enum: {x: text}", ["signals.speed.enum.x", "is not a whole number"]),
        ("enum: from-server, scale: 2", ["is text and has no scale"]),
    ],
)
def test_a_mistake_in_a_signal_is_explained_at_its_line(tmp_path: Path, settings: str, says: list[str]) -> None:
    right = '{node: "m:s=Speed"}'
    assert right in CONFIGURATION
    with pytest.raises(ConfigErrors) as caught:
        loaded(tmp_path, CONFIGURATION.replace(right, f'{{node: "m:s=Speed", {settings}}}'))
    for text in says:
        assert text in str(caught.value)
    assert len(caught.value.errors) == 1


def test_count_goes_where_the_brackets_are() -> None:
    machine = OpcuaMachine.model_validate(
        {
            "connection": "cnc",
            "namespaces": {"m": "urn:x"},
            "signals": {
                "a": {"node": "m:s=a", "count": 2},
                "b": {"node": "m:s=b", "count": 2, "field": "Axes[].Position"},
                "c": {"node": "m:s=c", "count": 2, "field": "Position"},
            },
        }
    )
    assert {name: signal.place for name, signal in machine.signals.items()} == {
        "a_0": (0,),
        "a_1": (1,),
        "b_0": ("Axes", 0, "Position"),
        "b_1": ("Axes", 1, "Position"),
        "c_0": (0, "Position"),
        "c_1": (1, "Position"),
    }


# --- what is picked --------------------------------------------------------------------------------------------------

AXIS, MACHINE, CHOICE, PART = (NodeId(3, "i", number) for number in (1, 2, 3, 4))
STATUS, TIME = 0x00960000, 123
NOW = 1_800_000_000_000_000_000


def types() -> Definitions:
    """Axis: Id, Position, Mode; Machine: its axes, a part of a choice, anything."""
    definitions = Definitions()
    fields: dict[NodeId, tuple[Form, Mapping[str, tuple[NodeId, int, bool]]]] = {
        AXIS: (
            Form.PLAIN,
            {"Id": (b(3), -1, False), "Position": (b(11), -1, False), "Mode": (NodeId(3, "i", 9), -1, False)},
        ),
        MACHINE: (
            Form.OPTIONAL,
            {
                "Axes": (AXIS, 1, False),
                "Speed": (b(11), -1, True),
                "Part": (CHOICE, -1, True),
                "Any": (b(24), -1, True),
            },
        ),
        CHOICE: (Form.UNION, {"Number": (b(8), -1, False), "Text": (b(12), -1, False)}),
    }
    for type, (form, of) in fields.items():
        made = tuple(Field(name, part, rank, optional) for name, (part, rank, optional) in of.items())
        encoding = NodeId(3, "i", 100 + int(type.identifier))  # type: ignore[arg-type]
        definitions.define(
            type, Structure({1: "Axis", 2: "Machine", 3: "Choice"}[type.identifier], form, made, encoding)
        )  # type: ignore[index]
    definitions.define(NodeId(3, "i", 9), Enumeration({0: "off", 3: "auto"}))
    return definitions


def b(code: int) -> NodeId:
    return NodeId(0, "i", code)


def body(type: NodeId, hex: str) -> Body:
    return Body(NodeId(3, "i", 100 + int(type.identifier)), bytes.fromhex(hex))  # type: ignore[arg-type]


X, Y = "01 000000000000f83f 03000000", "02 000000000000f0bf 00000000"  # axes at 1.5 and -1.0
WITHOUT = body(MACHINE, f"00000000 02000000 {X} {Y}")
WITH = body(MACHINE, f"07000000 01000000 {X} 000000000000f07f 02000000 02000000 6f6b 8b 01000000 000000000000f03f")


def one(path: str, code: int, value: Any, status: int = STATUS) -> tuple[int, Any, int, str]:
    """Type, value and status of what a single signal picks, and what is the matter with it."""
    values = Values([7], [code], [value], [status], [TIME])
    found, troubles = picked(values, {7: [(2, parse_field(path)), (3, parse_field(path))]}, types())
    assert (found.signal, found.time) == ([2, 3], [TIME, TIME])
    first, second = (
        (found.type[row], found.value[row], found.status[row], troubles.get(2 + row, "")) for row in (0, 1)
    )
    assert first == second, "the second one finds structures that have been read"
    return first


@pytest.mark.parametrize(
    ("path", "code", "value", "expected"),
    [
        ("[0]", 11 | ARRAY, [1.5, 2.5], (11, 1.5)),
        ("[1]", 9 | ARRAY, [0, 2**64 - 1], (9, 2**64 - 1)),
        ("[1]", 12 | ARRAY, ["a", None], (12, None)),
        ("[1][2]", 6 | ARRAY, [[1, 2, 3], [4, 5, 6]], (6, 6)),
        ("[0]", 24 | ARRAY, [Tagged(8, -(2**63)), Tagged(0, None)], (8, -(2**63))),
        ("[0][1]", 24 | ARRAY, [Tagged(6 | ARRAY, [1, 2])], (6, 2)),
        ("[1]", 15, "01fe", (3, 254)),
        ("Position", 22, body(AXIS, X), (11, 1.5)),
        ("[1].Position", 22 | ARRAY, [body(AXIS, X), body(AXIS, Y)], (11, -1.0)),
        ("Axes[1].Position", 22, WITHOUT, (11, -1.0)),
        ("Axes[0].Mode", 22, WITHOUT, (6, 3)),
        ("Speed", 22, WITH, (11, math.inf)),
        ("Part.Text", 22, WITH, (12, "ok")),
        ("Any[0]", 22, WITH, (11, 1.0)),
        ("Axes[0].Id", 23, Stamped(22, WITH, 0, 5), (3, 1)),
    ],
)
def test_a_part_has_its_own_type_and_the_rest_of_the_whole(
    path: str, code: int, value: Any, expected: tuple[int, Any]
) -> None:
    assert one(path, code, value) == (*expected, STATUS, "")


@pytest.mark.parametrize(
    ("path", "code", "value", "status", "says"),
    [
        # What is not there now.
        ("[2]", 11 | ARRAY, [1.5, 2.5], NOT_AVAILABLE, "the value has 2 elements, and [2] is none of them"),
        ("[0]", 11 | ARRAY, [], NOT_AVAILABLE, "the value has 0 elements"),
        ("[0]", 11 | ARRAY, None, NOT_AVAILABLE, "the value is null"),
        ("[2]", 15, "01fe", NOT_AVAILABLE, "the value has 2 elements"),
        ("Speed", 22, Body(NodeId(3, "i", 102), None), NOT_AVAILABLE, "the value is null"),
        ("Axes[2].Id", 22, WITHOUT, NOT_AVAILABLE, "Axes has 2 elements, and [2] is none of them"),
        ("Speed", 22, WITHOUT, NOT_AVAILABLE, "Machine comes without its field 'Speed'"),
        ("Part.Number", 22, WITH, NOT_AVAILABLE, "Choice comes without its field 'Number'"),
        # What can never be.
        ("[0]", 11, 1.5, CONFIG_ERROR, "the value is one value and has no element [0]"),
        ("Speed", 11, 1.5, CONFIG_ERROR, "the value is one value and has no field 'Speed'"),
        ("[1]", 6 | ARRAY, [[1, 2], [3, 4]], CONFIG_ERROR, "[1] is an array of 2 elements"),
        ("Axes", 22, WITHOUT, CONFIG_ERROR, "Axes is an array of 2 elements: `index`, `count` or [0] picks from it"),
        (
            "Axes[0]",
            22,
            WITHOUT,
            CONFIG_ERROR,
            "Axes[0] is a structure (Axis): `field` picks one of Id, Position, Mode",
        ),
        ("Axes.Id", 22, WITHOUT, CONFIG_ERROR, "Axes is an array of 2 elements"),
        ("Sped", 22, WITHOUT, CONFIG_ERROR, "Machine has no field 'Sped'; did you mean 'Speed'?"),
        ("Axes[0].Id.x", 22, WITHOUT, CONFIG_ERROR, "Axes[0].Id is one value and has no field 'x'"),
        ("A", 22, Body(NodeId(9, "i", 9), b"\0"), CONFIG_ERROR, "(encoding ns=9;i=9)"),
        ("A", 22, Body(NodeId(3, "i", 101), b"<a/>", xml=True), CONFIG_ERROR, "XML"),
        # What contradicts itself.
        ("Id", 22, body(AXIS, X + "00"), INVALID_DATA, "Axis has 14 bytes, and its definition 13 of them"),
        ("Id", 22, body(AXIS, "01"), INVALID_DATA, "Axis ends too early"),
        ("[0][0]", 6 | ARRAY, Unreadable("4 values in an array of 2x3"), INVALID_DATA, "an array of 2x3"),
    ],
)
def test_what_cannot_be_picked_says_why(path: str, code: int, value: Any, status: int, says: str) -> None:
    _, found, quality, why = one(path, code, value)
    assert (found, quality) == (None, status)
    assert says in why


def test_a_bad_whole_is_bad_in_all_parts() -> None:
    assert one("[0]", 0, None, 0x808C0000) == (0, None, 0x808C0000, "")
    assert one("Speed", 22, WITH, 0x808C0000)[1:] == (None, 0x808C0000, "")
    assert one("Axes[0].Id", 23, Stamped(0, None, 0x80310000, 5))[1:] == (None, 0x80310000, "")


def test_one_row_for_each_signal_in_the_order_they_came() -> None:
    """Several values of one node between those of others: none is left out, none changes places."""
    picks = {
        10: [(0, (0,)), (3, (1,))],
        11: [(1, ("Axes", 0, "Position")), (2, ("Axes", 1, "Position")), (5, ("Sped",))],
    }
    values = Values(
        [4, 10, 11, 10, 4, 6],
        [11, 6 | ARRAY, 22, 6 | ARRAY, 11, 22],
        [0.5, [1, 2], WITHOUT, [3], 0.75, WITHOUT],
        [0, 0x480, 0, 0, 0x40900000, 0],
        [1, 2, 3, 4, 5, 6],
    )
    found, troubles = picked(values, picks, types())
    rows = list(zip(found.signal, found.type, found.value, found.status, found.time, strict=True))
    assert rows == [
        (4, 11, 0.5, 0, 1),
        (0, 6, 1, 0x480, 2),
        (3, 6, 2, 0x480, 2),
        (1, 11, 1.5, 0, 3),
        (2, 11, -1.0, 0, 3),
        (5, 22, None, CONFIG_ERROR, 3),
        (0, 6, 3, 0, 4),
        (3, 6 | ARRAY, None, NOT_AVAILABLE, 4),
        (4, 11, 0.75, 0x40900000, 5),
        (6, 22, WITHOUT, 0, 6),
    ]
    assert troubles.keys() == {3, 5}


def test_a_structure_is_read_once_for_all_its_signals(monkeypatch: pytest.MonkeyPatch) -> None:
    reads = []
    decoded = Definitions.decode
    monkeypatch.setattr(Definitions, "decode", lambda self, body: reads.append(body) or decoded(self, body))
    picks = {7: [(i, ("Axes", i % 2, "Position")) for i in range(20)]}
    for value in (WITHOUT, body(MACHINE, "00")):
        reads.clear()
        picked(Values([7], [22], [value], [0], [0]), picks, types())
        assert reads == [value]


def test_what_is_declared_is_known_without_a_value() -> None:
    definitions = types()

    def code(*path: str | int) -> int:
        type = picking.declared(MACHINE, path, definitions)
        return picking.declared_code(type, definitions) if type else -1

    assert code("Axes", 0, "Position") == 11
    assert code("Axes", 0, "Mode") == 6
    assert code("Part", "Text") == 12
    assert code("Any") == 0, "anything can come"
    assert code("Axes", 0) == 0, "a structure is no value"
    assert code("Sped") == -1
    mode = picking.declared(MACHINE, ("Axes", 0, "Mode"), definitions)
    assert mode
    assert definitions.texts(mode) == {0: "off", 3: "auto"}


# --- to readings -----------------------------------------------------------------------------------------------------


def readings(types: list[ValueType], values: Values) -> Batch:
    header = Header(MachinePath("m"), tuple(Signal(f"s{i}", t) for i, t in enumerate(types)))
    return decode.batch(header, types, values, NOW)


@pytest.mark.parametrize(
    ("code", "value", "expected", "quality"),
    [
        (23, Stamped(11, 2.5, 0, 5), 2.5, GOOD),
        (23, Stamped(11, 2.5, 0x40900000, 5), 2.5, 0x40900000),
        (23, Stamped(11, None, 0x80310000, 5), None, 0x80310000),
        (23, Stamped(0, None, 0, 5), None, NOT_AVAILABLE),
        (24, Tagged(11, 2.5), 2.5, GOOD),
        (11 | ARRAY, [1.5], None, CONFIG_ERROR),
        (11 | ARRAY, Unreadable("no"), None, INVALID_DATA),
        (22, WITH, None, CONFIG_ERROR),
    ],
)
def test_a_whole_value_without_a_path(code: int, value: Any, expected: float | None, quality: int) -> None:
    batch = readings(["float", "float"], Values([0, 1], [code, 11], [value, 7.5], [0, 0], [0, 0]))
    assert list(batch.value) == [expected, 7.5]
    assert (batch.quality or [GOOD, GOOD]) == [quality, GOOD]


def normalized(settings: Mapping[str, Any], signal: Signal, value: Any) -> tuple[Any, int, str]:
    """What leaves: value, quality, type."""
    s = OpcuaSignal.model_validate({"node": "m:s=x", **settings})
    header = Header(MachinePath("m"), (signal,))
    plan = Plan(header, {signal.name: s})
    batch = plan.apply(Batch(header, header.order, [NOW], [value], None), 0.0, NOW)
    assert batch
    return batch.value[0], (batch.quality or [GOOD])[0], plan.header.signals[0].type


def test_nan_and_infinity_of_elements_and_fields_are_quality() -> None:
    """They are ordinary readings of their own signal by the time the normalizer sees them."""
    for path, code, value in (("[1]", 11 | ARRAY, [1.0, math.nan]), ("Speed", 22, WITH)):
        values = Values([7], [code], [value], [0], [0])
        found, _ = picked(values, {7: [(0, parse_field(path))]}, types())
        (number,) = readings(["float"], found).value
        assert not math.isfinite(number)  # type: ignore[arg-type]
        assert normalized({}, Signal("s", "float"), number) == (None, NOT_A_NUMBER, "float")


def test_texts_of_the_server_are_used_where_they_are_wanted() -> None:
    states = {0: "off", 3: "auto"}
    learnt = Signal("s", "int", states=states)
    assert normalized({"enum": "from-server"}, learnt, 3) == ("auto", GOOD, "string")
    assert normalized({"enum": "from-server"}, learnt, 4) == ("4", UNKNOWN_STATE, "string")
    assert normalized({}, learnt, 3) == (3, GOOD, "int"), "not wanted"
    assert normalized({"enum": "from-server"}, Signal("s", "int"), 3) == (3, GOOD, "int"), "the server has none"
    assert normalized({"enum": {3: "run"}}, learnt, 3) == ("run", GOOD, "string"), "ours before theirs"
    assert normalized({"enum": "from-server"}, Signal("s", "bool", states={0: "shut", 1: "open"}), True)[0] == "open"
