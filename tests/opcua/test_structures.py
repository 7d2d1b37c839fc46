"""Structures by their definitions: those that asyncua writes, and the forms it does not know, by hand from Part 6, 5.2."""

import struct
from typing import Any

import pytest
from asyncua import ua
from asyncua.common.structures104 import make_structure
from asyncua.common.utils import Buffer
from asyncua.ua.ua_binary import extensionobject_from_binary, struct_to_binary, variant_to_binary
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.opcua import wire
from adapters.opcua.nodes import NodeId
from adapters.opcua.structures import standard
from adapters.opcua.structures.definitions import (
    ABSENT,
    Definitions,
    Enumeration,
    Field,
    Form,
    MisfitError,
    Record,
    Simple,
    Structure,
    UndefinedError,
    definition_of,
)
from opcua.test_wire import SCALARS, same, seen

V = ua.VariantType

TYPE, ENCODING = NodeId(3, "i", 1), NodeId(3, "i", 2)


def built_in(code: int) -> NodeId:
    return NodeId(0, "i", code)


def defined(*structures: Structure) -> Definitions:
    """Of these, the first one with the ids above; the others are ns=3;i=10, 11, …"""
    definitions = Definitions()
    for number, structure in enumerate(structures):
        type = NodeId(3, "i", 9 + number) if number else TYPE
        definitions.define(type, structure if number else structure._replace(encoding=ENCODING))
    return definitions


def read(definitions: Definitions, hex: str) -> list[Any]:
    return plain(definitions.decode(wire.Body(ENCODING, bytes.fromhex(hex))))


def plain(value: Any) -> Any:
    """Records as lists of their values."""
    if isinstance(value, Record):
        return [plain(each) for each in value.values]
    return [plain(each) for each in value] if isinstance(value, list) else value


# --- the forms, by hand ----------------------------------------------------------------------------------------------


def test_a_plain_structure_has_its_fields_one_after_another() -> None:
    definitions = defined(
        Structure(
            "Axis",
            Form.PLAIN,
            (
                Field("Id", built_in(4)),
                Field("Homed", built_in(1)),
                Field("Position", built_in(11)),
                Field("Name", built_in(12)),
                Field("Limits", built_in(10), 1),
                Field("Load", built_in(3)),
            ),
        )
    )
    body = "ff7f 01 000000000000f83f 01000000 58 02000000 0000803f000000c0 07"
    assert same(read(definitions, body), [32767, True, 1.5, "X", [1.0, -2.0], 7])
    record = definitions.decode(wire.Body(ENCODING, bytes.fromhex(body)))
    assert record.layout.names == ("Id", "Homed", "Position", "Name", "Limits", "Load")
    assert record.layout.codes == [4, 1, 11, 12, 10 | wire.ARRAY, 3]


def test_structures_in_structures_have_neither_type_nor_length() -> None:
    definitions = defined(
        Structure("Machine", Form.PLAIN, (Field("First", NodeId(3, "i", 10)), Field("All", NodeId(3, "i", 10), 1))),
        Structure("Axis", Form.PLAIN, (Field("Id", built_in(3)), Field("Name", built_in(12)))),
    )
    axis = "05 01000000 58"
    assert read(definitions, axis + "02000000" + axis + "06 ffffffff") == [[5, "X"], [[5, "X"], [6, None]]]
    assert read(definitions, axis + "ffffffff") == [[5, "X"], None]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("00000000 07", [7, ABSENT, ABSENT, ABSENT]),
        ("01000000 07 0100", [7, 1, ABSENT, ABSENT]),
        ("02000000 07 ffffffff", [7, ABSENT, None, ABSENT]),
        ("05000000 07 0100 01000000 09", [7, 1, ABSENT, [9]]),
        ("07000000 07 0100 00000000 00000000", [7, 1, "", []]),
    ],
)
def test_optional_fields_have_a_bit_each(body: str, expected: list[Any]) -> None:
    fields = (
        Field("Always", built_in(3)),
        Field("Count", built_in(4), optional=True),
        Field("Text", built_in(12), optional=True),
        Field("List", built_in(3), 1, optional=True),
    )
    assert read(defined(Structure("O", Form.OPTIONAL, fields)), body) == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("00000000", [ABSENT, ABSENT]),
        ("01000000 0700", [7, ABSENT]),
        ("02000000 01000000 58", [ABSENT, "X"]),
    ],
)
def test_a_union_says_which_field_is_there(body: str, expected: list[Any]) -> None:
    union = Structure("U", Form.UNION, (Field("Number", built_in(4)), Field("Text", built_in(12))))
    assert read(defined(union), body) == expected


def test_a_matrix_has_its_lengths_first() -> None:
    """Part 6, 5.2.5: all dimensions, then the values without a length."""
    definitions = defined(Structure("M", Form.PLAIN, (Field("Map", built_in(3), 2), Field("After", built_in(3)))))
    assert read(definitions, "02000000 02000000 03000000 010203040506 09") == [[[1, 2, 3], [4, 5, 6]], 9]
    assert read(definitions, "02000000 00000000 03000000 09") == [[], 9]
    assert read(definitions, "ffffffff 09") == [None, 9]
    with pytest.raises(MisfitError, match="3 elements announced"):
        read(definitions, "03000000 01000000 01000000 09")
    for garbled in ("02000000 ffffffff 03000000 09", "02000000 ffffff7f ffffff7f 09"):
        with pytest.raises(MisfitError, match=r"an array of -?\d+x\d+"):
            read(definitions, garbled)


def test_fields_of_any_subtype_say_what_they_are() -> None:
    """Part 6, 5.2.6: an abstract structure comes as an extension object, an abstract number as a Variant."""
    definitions = defined(
        Structure(
            "S",
            Form.SUBTYPED,
            (
                Field("Any", built_in(24)),
                Field("Number", built_in(26)),
                Field("Structure", built_in(22)),
                Field("Axis", NodeId(3, "i", 10), optional=True),
                Field("Double", built_in(11), optional=True),
                Field("Own", NodeId(3, "i", 10)),
            ),
        ),
        Structure("Axis", Form.PLAIN, (Field("Id", built_in(3)),)),
    )
    found = read(definitions, "06 07000000 03 08 0072 00 02 0300 02000000 01 01000000 05 0a 0000803f 09")
    assert found == [
        wire.Tagged(6, 7),
        wire.Tagged(3, 8),
        wire.Body(NodeId(0, "i", 114), None),
        wire.Body(NodeId(3, "i", 2), b"\5"),
        wire.Tagged(10, 1.0),
        [9],
    ]


def test_enumerations_are_int32_and_options_what_they_are_made_of() -> None:
    definitions = defined(
        Structure(
            "E",
            Form.PLAIN,
            (Field("Mode", NodeId(3, "i", 50)), Field("Flags", NodeId(3, "i", 51)), Field("Name", NodeId(3, "i", 52))),
        )
    )
    definitions.define(NodeId(3, "i", 50), Enumeration({0: "Off", 3: "Auto"}))
    definitions.define(NodeId(3, "i", 51), Enumeration({0: "A", 4: "B"}, 3))
    definitions.define(NodeId(3, "i", 52), Simple(12))
    assert read(definitions, "03000000 11 01000000 58") == [3, 0x11, "X"]
    assert definitions.texts(NodeId(3, "i", 50)) == {0: "Off", 3: "Auto"}
    assert definitions.texts(NodeId(3, "i", 51)) == {}, "bits are not numbers"


def test_a_structure_can_hold_itself() -> None:
    tree = Structure("Tree", Form.PLAIN, (Field("Id", built_in(3)), Field("Below", TYPE, 1)))
    definitions = defined(tree)
    assert read(definitions, "01 02000000 02 00000000 03 01000000 04 00000000") == [1, [[2, []], [3, [[4, []]]]]]
    with pytest.raises(MisfitError, match="more than 100 deep"):
        definitions.decode(wire.Body(ENCODING, struct.pack("<Bi", 1, 1) * 100_000))


def test_fields_of_old_dictionaries_depend_on_those_before_them() -> None:
    """Part 5, annex D: bits that say what is there, lengths, and values of a switch."""
    definitions = defined(
        Structure(
            "Old",
            Form.DICTIONARY,
            (
                Field("HasSpeed", built_in(1), bits=1),
                Field("Spare", built_in(9), bits=3),
                Field("Level", built_in(9), bits=4),
                Field("Reserved", built_in(9), bits=24),
                Field("Speed", built_in(11), switch="HasSpeed"),
                Field("Kind", built_in(7)),
                Field("AsNumber", built_in(4), switch="Kind", switch_value=1),
                Field("AsText", built_in(12), switch="Kind", switch_value=2),
                Field("NoOfLoads", built_in(6)),
                Field("Loads", built_in(3), length="NoOfLoads"),
            ),
        )
    )
    there = read(definitions, "b1 000000 000000000000f83f 02000000 01000000 58 02000000 0506")
    assert same(there, [True, 0, 11, 0, 1.5, 2, ABSENT, "X", 2, [5, 6]])
    without = read(definitions, "b0 000000 01000000 ffff ffffffff")
    assert same(without, [False, 0, 11, 0, ABSENT, 1, -1, ABSENT, -1, None])
    with pytest.raises(MisfitError):
        read(definitions, "b0 000000 00000000 ffffff7f 00")


def test_a_field_that_depends_on_a_later_one_is_refused() -> None:
    late = (Field("Loads", built_in(3), length="NoOfLoads"), Field("NoOfLoads", built_in(6)))
    with pytest.raises(UndefinedError, match=r"Old\.Loads depends on NoOfLoads"):
        read(defined(Structure("Old", Form.DICTIONARY, late)), "00 00000000")


# --- what does not fit -----------------------------------------------------------------------------------------------

PAIR = Structure("Pair", Form.PLAIN, (Field("A", built_in(5)), Field("B", built_in(12))))


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("", "Pair ends too early"),
        ("01", "Pair ends too early"),
        ("0100 05000000 58", "5 bytes announced"),
        ("0100 01000000 58 00", "Pair has 8 bytes, and its definition 7 of them"),
    ],
)
def test_a_body_that_does_not_fit_is_refused(body: str, says: str) -> None:
    assert read(defined(PAIR), "0100 01000000 58") == [1, "X"]
    with pytest.raises(MisfitError, match=says):
        read(defined(PAIR), body)


def test_what_is_not_defined_is_named() -> None:
    with pytest.raises(UndefinedError, match=r"encoding ns=3;i=2"):
        read(Definitions(), "00")
    hole = Structure("Hole", Form.PLAIN, (Field("A", built_in(5)), Field("B", NodeId(3, "s", "DT_X"))))
    with pytest.raises(UndefinedError, match=r"Hole\.B: the server does not define the data type ns=3;s=DT_X"):
        read(defined(hole), "00")
    with pytest.raises(UndefinedError, match="XML"):
        defined(PAIR).decode(wire.Body(ENCODING, b"<a/>", xml=True))


def test_a_body_of_unknown_encoding_is_remembered_until_it_is_known() -> None:
    definitions = Definitions()
    for _ in range(2):
        with pytest.raises(UndefinedError):
            definitions.decode(wire.Body(ENCODING, b"\1\0\0\0\0\0"))
    assert definitions.unknown == {ENCODING}
    definitions.define(TYPE, PAIR)
    definitions.encoded(ENCODING, TYPE)
    assert definitions.unknown == set()
    assert read(definitions, "0100 00000000") == [1, ""]


def test_a_hole_in_one_structure_does_not_spoil_those_it_was_met_by() -> None:
    """B holds A, which holds B and something undefined; once that is defined, both can be read."""
    a = Structure("A", Form.PLAIN, (Field("Bs", NodeId(3, "i", 10), 1), Field("X", NodeId(3, "i", 99))))
    b = Structure("B", Form.PLAIN, (Field("As", TYPE, 1), Field("Id", built_in(3))))
    definitions = defined(a, b)
    definitions.encoded(NodeId(3, "i", 200), NodeId(3, "i", 10))
    for encoding in (ENCODING, NodeId(3, "i", 200), ENCODING):
        with pytest.raises(UndefinedError):
            definitions.decode(wire.Body(encoding, bytes(5)))
    definitions.define(NodeId(3, "i", 99), Simple(3))
    assert read(definitions, "01000000 00000000 07 09") == [[[[], 7]], 9]


def test_an_array_of_structures_that_is_not_there_is_not_made() -> None:
    empty = Structure("Empty", Form.PLAIN, ())
    definitions = defined(Structure("S", Form.PLAIN, (Field("All", NodeId(3, "i", 10), 1),)), empty)
    with pytest.raises(MisfitError, match="announced"):
        read(definitions, "ffffff7f")


@given(st.binary(max_size=60), st.sampled_from(list(Form)))
def test_random_bodies_are_refused_in_one_way(data: bytes, form: Form) -> None:
    fields = (
        Field("A", built_in(24)),
        Field("B", NodeId(3, "i", 10), 1),
        Field("C", built_in(11), 2, optional=True),
        Field("D", built_in(22)),
        Field("E", TYPE, 1, optional=True),
    )
    definitions = defined(Structure("S", form, fields), PAIR)
    try:
        definitions.decode(wire.Body(ENCODING, data))
    except MisfitError:
        return


# --- definitions, as a server sends them -----------------------------------------------------------------------------


def body_of(value: Any) -> Any:
    """A value that asyncua encodes, as we get it."""
    return wire.Reader(variant_to_binary(ua.Variant(value, V.ExtensionObject))).variant()[1]


def test_a_definition_is_read() -> None:
    sdef = ua.StructureDefinition(
        DefaultEncodingId=ua.NodeId("E", 4),
        BaseDataType=ua.NodeId(22),
        StructureType=ua.StructureType.StructureWithOptionalFields,
        Fields=[
            ua.StructureField("Position", ua.LocalizedText("where"), ua.NodeId(11), -1, [], 0, IsOptional=True),
            ua.StructureField("Loads", DataType=ua.NodeId("DT", 4), ValueRank=1, ArrayDimensions=[0], IsOptional=False),
        ],
    )
    assert definition_of(body_of(sdef), "Axis") == Structure(
        "Axis",
        Form.OPTIONAL,
        (Field("Position", built_in(11), -1, True), Field("Loads", NodeId(4, "s", "DT"), 1, False)),
        NodeId(4, "s", "E"),
    )
    edef = ua.EnumDefinition([ua.EnumField(0, ua.LocalizedText("aus"), Name="Off"), ua.EnumField(3, Name="Auto")])
    assert definition_of(body_of(edef)) == Enumeration({0: "aus", 3: "Auto"})
    assert definition_of(None) is None
    assert definition_of(body_of(ua.Range(0, 1))) is None
    with pytest.raises(MisfitError, match="of Axis that cannot be read"):
        definition_of(wire.Body(NodeId(0, "i", 122), b"\0\0\0\0\x09\0\0\0\0\0\0\0"), "Axis")


def test_the_standards_own_are_what_asyncua_has() -> None:
    """asyncua's classes are made from the Foundation's own files."""
    assert len(standard.structures()) > 20
    for row in standard.structures():
        cls = getattr(ua, row.name)
        assert (row.id, row.encoding) == (
            getattr(ua.ObjectIds, row.name),
            getattr(ua.ObjectIds, f"{row.name}_Encoding_DefaultBinary"),
        )
        assert [name for name, _, _ in row.fields] == [name for name in cls.__dataclass_fields__ if name != "Encoding"]
        written = wire.Body(NodeId(0, "i", row.encoding), struct_to_binary(cls()))
        Definitions().decode(written)
    for name, id in standard.ENUMERATIONS.items():
        assert getattr(ua.ObjectIds, name) == id
    for id, code in standard.SIMPLE.items():
        name = ua.ObjectIdNames[id]
        base = getattr(ua, name).__mro__[0].__name__
        assert base == ua.VariantType(code).name, name


def test_a_value_of_the_standards_own() -> None:
    unit = ua.EUInformation("http://x", 4408652, ua.LocalizedText("°C"), ua.LocalizedText("degree", "en"))
    assert plain(Definitions().decode(body_of(unit))) == ["http://x", 4408652, "°C", "degree"]
    assert plain(Definitions().decode(body_of(ua.Range(-5, 1.5)))) == [-5.0, 1.5]


# --- any structure that asyncua can write ----------------------------------------------------------------------------

# asyncua writes no null for these, and reads no matrix.
_KINDS = [k for k in SCALARS if k not in (V.DiagnosticInfo, V.XmlElement, V.ExpandedNodeId, V.ExtensionObject)]


@st.composite
def structures(draw: Any) -> tuple[Any, list[Any]]:
    """A definition as a server has it, and a value for each of its fields; no value: not there."""
    form = draw(st.sampled_from([ua.StructureType.Structure, ua.StructureType.StructureWithOptionalFields]))
    fields, values = [], []
    for number in range(draw(st.integers(1, 6))):
        kind = draw(st.sampled_from(_KINDS))
        rank = draw(st.sampled_from([-1, -1, 1]))
        optional = form == ua.StructureType.StructureWithOptionalFields and draw(st.booleans())
        field = ua.StructureField(f"F{number}", DataType=ua.NodeId(kind.value), ValueRank=rank, IsOptional=optional)
        one = SCALARS[kind].filter(lambda v: v is not None)
        value = draw(one if rank < 0 else st.lists(one, max_size=3))
        fields.append(field)
        values.append((kind, None if optional and draw(st.booleans()) else value))
    sdef = ua.StructureDefinition(ua.NodeId(2, 3), ua.NodeId(22), form, fields)
    return sdef, values


@settings(max_examples=150)
@given(structures())
def test_every_structure_is_what_asyncua_wrote(drawn: tuple[Any, list[Any]]) -> None:
    sdef, values = drawn
    (cls,) = make_structure(ua.NodeId(1, 3), "Drawn", sdef).values()
    ua.register_extension_object("Drawn", ua.NodeId(2, 3), cls, ua.NodeId(1, 3))
    written = cls(**{field.Name: value for field, (_, value) in zip(sdef.Fields, values, strict=True)})

    definition = definition_of(body_of(sdef), "Drawn")
    assert isinstance(definition, Structure)
    definitions = Definitions()
    definitions.define(TYPE, definition)
    body = body_of(written)
    assert body.encoding == ENCODING
    found = definitions.decode(body).values
    expected = [
        ABSENT
        if value is None
        else [seen(kind, each) for each in value]
        if isinstance(value, list)
        else seen(kind, value)
        for kind, value in values
    ]
    assert same(found, expected), "what was written"

    theirs = extensionobject_from_binary(Buffer(variant_to_binary(ua.Variant(written))[1:]))
    again = [getattr(theirs, field.Name) for field in sdef.Fields]
    read_by_both = [
        ABSENT
        if value is None
        else [seen(kind, each) for each in value]
        if isinstance(value, list)
        else seen(kind, value)
        for (kind, _), value in zip(values, again, strict=True)
    ]
    assert same(found, read_by_both), "what asyncua reads"
