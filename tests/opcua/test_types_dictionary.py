"""Binary dictionaries: what is understood, what is refused, and types that stand in another dictionary."""

import re
import tracemalloc
from collections.abc import Sequence
from typing import Any

import pytest

from adapters.opcua.nodes import NodeId
from adapters.opcua.structures import learning
from adapters.opcua.structures.definitions import (
    Definitions,
    Enumeration,
    Field,
    Form,
    Record,
    Simple,
    Structure,
    UndefinedError,
)
from adapters.opcua.structures.dictionary import named, parse_dictionary
from adapters.opcua.wire import Body

HEAD = (
    '<opc:TypeDictionary xmlns:opc="http://opcfoundation.org/BinarySchema/" xmlns:ua="http://opcfoundation.org/UA/" '
    'xmlns:tns="urn:a" xmlns:other="urn:b" TargetNamespace="urn:a">'
)


def dictionary(*types: str, head: str = HEAD) -> bytes:
    return (head + "".join(types) + "</opc:TypeDictionary>").encode()


def structured(name: str, *fields: str) -> str:
    return (
        f'<opc:StructuredType Name="{name}">{"".join(f"<opc:Field {field}/>" for field in fields)}</opc:StructuredType>'
    )


def test_what_is_understood() -> None:
    uri, types = parse_dictionary(
        dictionary(
            structured(
                "S",
                'Name="Bit" TypeName="opc:Bit"',
                'Name="Bits" TypeName="opc:Bit" Length="7"',
                'Name="N" TypeName="opc:Int32"',
                'Name="All" TypeName="tns:T" LengthField="N"',
                'Name="There" TypeName="opc:Float" SwitchField="Bit"',
                'Name="Two" TypeName="opc:CharArray" SwitchField="N" SwitchValue="2"',
                'Name="Unit" TypeName="ua:EUInformation"',
                'Name="Else" TypeName="other:X"',
                'Name="Body" TypeName="ua:ExtensionObject"',
            ),
            '<opc:EnumeratedType Name="E"><opc:EnumeratedValue Name="On" Value="1"/></opc:EnumeratedType>',
            '<opc:EnumeratedType Name="O" LengthInBits="32" IsOptionSet="true"></opc:EnumeratedType>',
            '<opc:EnumeratedType Name="B" LengthInBits="8"></opc:EnumeratedType>',
            '<opc:OpaqueType Name="Picture"/>',
        )
        + b"\0\0"  # as some servers end it
    )
    assert uri == "urn:a"
    assert types == {
        "S": Structure(
            "S",
            Form.DICTIONARY,
            (
                Field("Bit", NodeId(0, "i", 1), bits=1),
                Field("Bits", NodeId(0, "i", 9), bits=7),
                Field("N", NodeId(0, "i", 6)),
                Field("All", named("urn:a", "T"), length="N"),
                Field("There", NodeId(0, "i", 10), switch="Bit"),
                Field("Two", NodeId(0, "i", 12), switch="N", switch_value=2),
                Field("Unit", NodeId(0, "i", 887)),
                Field("Else", named("urn:b", "X")),
                Field("Body", NodeId(0, "i", 22)),
            ),
        ),
        "E": Enumeration({1: "On"}, 6),
        "O": Enumeration({}, 7),
        "B": Enumeration({}, 3),
        "Picture": Simple(15),
    }


BOMB = (
    '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaaaaaaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">'
    '<!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;">]>'
)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"", "no XML"),
        (b"<a>", "no XML"),
        (b"\xff\xfe", "no XML"),
        (BOMB.encode() + b"<x>&c;</x>", "entities"),
        (b'<!DOCTYPE x SYSTEM "file:///etc/passwd"><x/>', "entities"),
        (dictionary(head=HEAD.replace(" Target", ' DefaultByteOrder="BigEndian" Target')), "big-endian"),
        (dictionary(structured("S", 'Name="A" TypeName="opc:WideString"')), r"S\.A: WideString is not read"),
        (dictionary(structured("S", 'Name="A" TypeName="opc:Char" Terminator="00"')), r"S\.A: Terminator is not read"),
        (dictionary(structured("S", 'Name="A" TypeName="opc:Byte" Length="8"')), r"S\.A: an array of fixed length"),
        (dictionary(structured("S", 'Name="A" TypeName="opc:Bit" Length="99999"')), r"S\.A has 99999 bits"),
        (dictionary(structured("S", 'Name="A" TypeName="opc:Bit" Length="x"')), "a Length of 'x'"),
    ],
)
def test_what_is_refused(text: bytes, says: str) -> None:
    with pytest.raises(UndefinedError, match=says):
        parse_dictionary(text)


def test_a_dictionary_of_any_size_is_not_read() -> None:
    text = dictionary(" " * (17 * 2**20))
    tracemalloc.start()
    try:
        with pytest.raises(UndefinedError, match="are the most that is read"):
            parse_dictionary(text)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


# --- a server in a few tables ----------------------------------------------------------------------------------------

TYPE, ENCODING, DESCRIPTION, OURS, THEIRS, FOLDER = (
    NodeId(3, "i", 1), NodeId(3, "i", 2), NodeId(3, "i", 3), NodeId(3, "i", 4), NodeId(3, "i", 5), NodeId(0, "i", 93),
)  # fmt: skip


class Tables:
    """One type S, described in a dictionary that needs another; nothing has a DataTypeDefinition."""

    def __init__(self, ours: bytes, theirs: bytes) -> None:
        self._values = {DESCRIPTION: "S", OURS: ours.hex(), THEIRS: theirs.hex()}
        self._references = {
            (45, True, TYPE): [(NodeId(0, "i", 22), "Structure")],
            (38, False, TYPE): [(NodeId(3, "i", 9), "Default XML"), (ENCODING, "Default Binary")],
            (39, False, ENCODING): [(DESCRIPTION, "S")],
            (47, True, DESCRIPTION): [(OURS, "ours")],
            (47, False, FOLDER): [(OURS, "ours"), (THEIRS, "theirs")],
        }

    async def attribute(self, attribute: int, nodes: Sequence[NodeId]) -> list[Any]:
        return [self._values.get(node) if attribute == 13 else None for node in nodes]

    async def references(self, type: int, inverse: bool, nodes: Sequence[NodeId]) -> list[list[tuple[NodeId, str]]]:
        return [self._references.get((type, inverse, node), []) for node in nodes]

    async def properties(self, name: str, nodes: Sequence[NodeId]) -> list[NodeId | None]:
        return [None for _ in nodes]


OUR_S = structured("S", 'Name="A" TypeName="opc:Byte"', 'Name="B" TypeName="other:T"', 'Name="C" TypeName="tns:U"')
OUR_U = structured("U", 'Name="D" TypeName="opc:Boolean"')
THEIR_HEAD = re.sub("urn:a", "urn:b", HEAD.replace("urn:b", "urn:c"))
THEIR_T = structured("T", 'Name="E" TypeName="opc:UInt16"')


async def test_types_of_another_dictionary_are_found() -> None:
    definitions = Definitions()
    await learning.learn(Tables(dictionary(OUR_S, OUR_U), dictionary(THEIR_T, head=THEIR_HEAD)), definitions, [TYPE])
    assert definitions.refused == {}
    record = definitions.decode(Body(ENCODING, b"\7\x34\x12\1"))
    assert record.layout.names == ("A", "B", "C")
    assert [v.values if isinstance(v, Record) else v for v in record.values] == [7, [0x1234], [True]]


@pytest.mark.parametrize(
    ("ours", "theirs", "says"),
    [
        (dictionary(OUR_U), b"", "the server's dictionary has no S"),
        (b"<a>", b"", "its dictionary is no XML"),
        (BOMB.encode() + b"<x>&c;</x>", b"", "its dictionary has a document type or entities"),
    ],
)
async def test_a_dictionary_that_is_of_no_use_is_the_reason(ours: bytes, theirs: bytes, says: str) -> None:
    definitions = Definitions()
    await learning.learn(Tables(ours, theirs), definitions, [TYPE])
    assert says in definitions.refused[TYPE]


async def test_a_type_that_no_dictionary_has_is_named() -> None:
    definitions = Definitions()
    await learning.learn(Tables(dictionary(OUR_S, OUR_U), b"<broken"), definitions, [TYPE])
    with pytest.raises(UndefinedError, match=r"S\.B: the server does not define the data type .*urn:b#T"):
        definitions.decode(Body(ENCODING, b"\7\x34\x12\1"))
