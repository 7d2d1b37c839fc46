"""Node ids as they are written."""

from uuid import UUID

import pytest
from pydantic_core import PydanticCustomError

from adapters.opcua.nodes import NodeAddress, NodeId, parse, resolve

PREFIXES = {"m": "urn:shop:cnc", "di": "http://opcfoundation.org/UA/DI/"}


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("m:s=CNC1.SpindleSpeed", NodeAddress("urn:shop:cnc", "s", "CNC1.SpindleSpeed")),
        ('m:s="DB1"."Temp [0]";x', NodeAddress("urn:shop:cnc", "s", '"DB1"."Temp [0]";x')),
        ("di:i=6", NodeAddress("http://opcfoundation.org/UA/DI/", "i", 6)),
        ("nsu=urn:x;s=a;i=5", NodeAddress("urn:x", "s", "a;i=5")),
        ("nsu=http://x/%3B%25;i=7", NodeAddress("http://x/;%", "i", 7)),
        ("ns=2;s=a:s=b", NodeAddress(2, "s", "a:s=b")),
        ("i=2258", NodeAddress(0, "i", 2258)),
        ("ns=0;i=2258", NodeAddress(0, "i", 2258)),
        (
            "m:g=72962B91-FA75-4ae6-8d28-b404dc7daf63",
            NodeAddress("urn:shop:cnc", "g", UUID("72962b91-fa75-4ae6-8d28-b404dc7daf63")),
        ),
        ("m:b=AQIDBA==", NodeAddress("urn:shop:cnc", "b", b"\1\2\3\4")),
    ],
)
def test_every_form_is_understood(text: str, address: NodeAddress) -> None:
    assert parse(text, PREFIXES) == address


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("CNC1.SpindleSpeed", "is not a node id", "nsu=urn:"),
        ("s=CNC1.SpindleSpeed", "has no namespace", '"m:s=CNC1.SpindleSpeed"'),
        ("n:s=a", "'n' is not in `namespaces`", "known: di, m"),
        ("m:i=12x", "'12x' is not a number", "i= number"),
        ("m:i=4294967296", "is not a number below 2^32", ""),
        ("m:g=123", "is not a GUID", ""),
        ("m:b=a", "is not base64", ""),
        ("m:s=a\n", "begins or ends with a blank", ""),
        ("m:s= ", "begins or ends with a blank", ""),
        ("m:s=", "is not a node id", ""),
    ],
)
def test_mistakes_are_explained(text: str, message: str, hint: str) -> None:
    with pytest.raises(PydanticCustomError) as caught:
        parse(text, PREFIXES)
    context = caught.value.context
    assert context
    assert message in context["message"]
    assert hint in context["hint"]


def test_an_address_is_another_node_when_the_namespaces_have_moved() -> None:
    address = parse("m:s=a", PREFIXES)
    assert resolve(address, ["", "urn:server", "urn:shop:cnc"]) == NodeId(2, "s", "a")
    assert resolve(address, ["", "urn:server", "urn:robot", "urn:shop:cnc"]) == NodeId(3, "s", "a")
    assert resolve(address, ["", "urn:server"]) is None
    assert resolve(parse("ns=2;s=a", {}), []) == NodeId(2, "s", "a")
