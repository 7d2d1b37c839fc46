"""Structures, enumerations and arrays of servers that others have written: learnt, read, and reported."""

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import pytest
from asyncua import Server, ua
from asyncua.common.structures104 import new_enum, new_struct, new_struct_field

from adapters.opcua.client import Client
from adapters.opcua.config import OpcuaConnection
from adapters.opcua.items import Limit, in_batches
from adapters.opcua.nodes import NodeId
from adapters.opcua.structures import learning
from adapters.opcua.structures.definitions import Definitions, Enumeration, Form, Structure
from gateway.model import CONFIG_ERROR, GOOD, NOT_AVAILABLE, Value
from opcua.helpers import Reader
from parts.node_opcua_types import NodeOpcuaTypes
from parts.ports import free_port

_HAS_SUBTYPE, _DEFINITION = 45, 23


@pytest.fixture(scope="module")
def types() -> Iterator[NodeOpcuaTypes]:
    with NodeOpcuaTypes() as server:
        yield server


def reader(server: NodeOpcuaTypes, signals: Mapping[str, Any]) -> Reader:
    return Reader(server.url, signals, {"namespaces": {"m": server.namespace}})


# --- learning --------------------------------------------------------------------------------------------------------


class Source:
    """A session of its own, and nothing but what types need. An old server has no DataTypeDefinition."""

    def __init__(self, client: Client, old: bool) -> None:
        self.client, self._old = client, old
        self.asked = 0

    async def attribute(self, attribute: int, nodes: Sequence[NodeId]) -> list[Any]:
        if self._old and attribute == _DEFINITION:
            return [None] * len(nodes)
        return await self._ask(partial(self.client.attribute, attribute), nodes)

    async def references(self, type: int, inverse: bool, nodes: Sequence[NodeId]) -> list[list[tuple[NodeId, str]]]:
        return await self._ask(partial(self.client.references, type, inverse), nodes)

    async def properties(self, name: str, nodes: Sequence[NodeId]) -> list[NodeId | None]:
        return await self._ask(partial(self.client.properties, name), nodes)

    async def _ask(self, call: Callable[..., Any], nodes: Sequence[NodeId]) -> list[Any]:
        self.asked += bool(nodes)
        return await in_batches(nodes, Limit(100), call)

    async def namespace(self, uri: str) -> int:
        (uris,) = await self.attribute(13, [NodeId(0, "i", 2255)])
        return int(uris.index(uri))

    async def subtypes(self, type: NodeId) -> list[NodeId]:
        """All below a data type."""
        found, below = [], [type]
        while below:
            below = [node for each in await self.references(_HAS_SUBTYPE, False, below) for node, _ in each]
            found += below
        return found


@pytest.fixture(params=["definitions", "dictionaries"])
async def source(types: NodeOpcuaTypes, request: pytest.FixtureRequest) -> AsyncIterator[Source]:
    client = Client(
        OpcuaConnection.model_validate({"protocol": "opcua", "url": types.url, "security": "None"}), "types"
    )
    await client.dial()
    await client.log_in()
    yield Source(client, request.param == "dictionaries")
    await client.log_out()
    client.hang_up()


def named(definitions: Definitions, type: NodeId) -> list[str]:
    """The fields of a structure, without those a dictionary has for itself."""
    definition = definitions.definition(type)
    assert isinstance(definition, Structure)
    lengths = {field.length for field in definition.fields}
    return [f.name for f in definition.fields if not f.bits and f.name not in lengths and f.name != "SwitchField"]


async def test_every_structure_of_a_server_is_learnt(source: Source) -> None:
    """The standard's, Devices' and ISA-95 Job Control's, and our own; by definitions, and by dictionaries alone."""
    all_types = await source.subtypes(NodeId(0, "i", 22))
    assert len(all_types) > 150
    definitions = Definitions()
    await learning.learn(source, definitions, all_types)
    assert definitions.refused == {}
    assert source.asked < 200, "in batches"
    structures = [type for type in all_types if isinstance(definitions.definition(type), Structure)]
    assert len(structures) > 130
    for type in structures:
        definitions.layout(type)
    namespace = await source.namespace("urn:shop:types")
    station = NodeId(namespace, "i", 3005)
    assert named(definitions, station) == [
        "Mode", "Flags", "Axes", "Best", "Recipe", "Result", "Any", "When", "Raw", "Big", "Tool.Life",
    ]  # fmt: skip
    assert named(definitions, NodeId(namespace, "i", 3003)) == ["Id", "Speed", "Comment"]
    assert named(definitions, NodeId(0, "i", 884)) == ["Low", "High"]


async def test_what_is_learnt_reads_what_the_server_sends(source: Source) -> None:
    namespace = await source.namespace("urn:shop:types")
    nodes = [NodeId(namespace, "s", "Station"), NodeId(namespace, "s", "Any"), NodeId(0, "i", 2256)]
    definitions = Definitions()
    station, any_, status = await source.attribute(13, nodes)
    # Only of the first one the data type is known; the others say by their encoding what they are.
    await learning.learn(source, definitions, [NodeId(namespace, "i", 3005)], [any_.encoding, status.encoding])
    record = definitions.decode(station)
    fields = dict(zip(record.layout.names, record.values, strict=True))
    assert (fields["Mode"], fields["When"], fields["Raw"]) == (3, "2024-02-29T06:30:00.250000Z", "01fe")
    assert (fields["Big"], fields["Tool.Life"], fields["Flags"]) == (2**64 - 1, 12.5, 17)
    assert [axis.values[axis.layout.places["Name"]] for axis in fields["Axes"]] == ["axis 1", "axis 2"]
    assert definitions.decode(any_).values[0] == 9
    assert "State" in definitions.decode(status).layout.names


async def test_texts_of_states_are_learnt_from_variables_and_types(source: Source) -> None:
    namespace = await source.namespace("urn:shop:types")
    mode, flags, server_state = NodeId(namespace, "i", 3001), NodeId(namespace, "i", 3006), NodeId(0, "i", 852)
    definitions = Definitions()
    await learning.learn(source, definitions, [mode, flags, NodeId(namespace, "i", 3005), NodeId(0, "i", 19)])
    wanted: list[tuple[NodeId, NodeId | None, tuple[str | int, ...]]] = [
        (NodeId(namespace, "s", name), type, path)
        for name, type, path in (
            ("Door", NodeId(0, "i", 1), ()),
            ("Lamp", NodeId(0, "i", 28), ()),
            ("Gear", NodeId(0, "i", 26), ()),
            ("Mode", mode, ()),
            ("Modes", mode, (1,)),
            ("Station", NodeId(namespace, "i", 3005), ("Mode",)),
            ("Flags", flags, ()),
            ("Numbers", NodeId(0, "i", 11), ()),
        )
    ]
    texts = await learning.texts(source, definitions, wanted)
    modes = {0: "Aus", 3: "Automatik"}
    assert [dict(each) for each in texts[:3]] == [
        {0: "shut", 1: "open"},
        {0: "dark", 1: "green", 2: "red"},
        {10: "low", 20: "high"},
    ]
    assert all(modes.items() <= each.items() for each in texts[3:5])
    # In a dictionary the type of a field has a name, and nothing leads to the node with the texts for people.
    assert dict(texts[5]) == ({0: "Off", 3: "Auto", -1: "Fault"} if source._old else dict(texts[3]))
    assert texts[6:] == [{}, {}], "options are no states, and numbers have none"
    assert isinstance(definitions.definition(server_state), Enumeration)


async def test_what_nobody_defines_is_refused_with_a_reason(source: Source) -> None:
    definitions = Definitions()
    gone = NodeId(0, "s", "NoSuchType")
    await learning.learn(source, definitions, [gone], [NodeId(0, "s", "NoSuchEncoding")])
    assert definitions.refused == {
        NodeId(0, "s", "NoSuchEncoding"): "the server does not say of which data type it is",
        gone: "the server does not say what s=NoSuchType is",
    }
    asked = source.asked
    await learning.learn(source, definitions, [gone], [NodeId(0, "s", "NoSuchEncoding")])
    assert source.asked == asked, "asking again is useless"


async def test_options_and_unions_of_a_dictionary(source: Source) -> None:
    """What a dictionary says with bits and switches, a definition says with its form."""
    namespace = await source.namespace("urn:shop:types")
    definitions = Definitions()
    await learning.learn(source, definitions, [NodeId(namespace, "i", number) for number in (3003, 3004)])
    forms = [definitions.definition(NodeId(namespace, "i", number)) for number in (3003, 3004)]
    old = source._old
    assert [f.form for f in forms if isinstance(f, Structure)] == (
        [Form.DICTIONARY] * 2 if old else [Form.OPTIONAL, Form.UNION]
    )


# --- through the adapter ---------------------------------------------------------------------------------------------

PARTS: Mapping[str, tuple[Mapping[str, Any], str, Value, int]] = {
    "second": ({"node": "m:s=Numbers", "index": 1}, "float", -2.25, GOOD),
    "beyond": ({"node": "m:s=Numbers", "index": 3}, "float", None, NOT_AVAILABLE),
    "text": ({"node": "m:s=Texts", "index": 0}, "string", "a", GOOD),
    "no_text": ({"node": "m:s=Texts", "index": 1}, "string", None, NOT_AVAILABLE),
    "cell": ({"node": "m:s=Matrix", "field": "[1][2]"}, "int", 6, GOOD),
    "second_axis": ({"node": "m:s=Axes", "index": 1, "field": "Position"}, "float", 20.0, GOOD),
    "limit": ({"node": "m:s=Axes", "field": "[0].Limits[1]"}, "float", 10.0, GOOD),
    "best": ({"node": "m:s=Station", "field": "Best.Position"}, "float", -0.25, GOOD),
    "best_name": ({"node": "m:s=Station", "field": "Best.Name"}, "string", "axis 7", GOOD),
    "big": ({"node": "m:s=Station", "field": "Big"}, "int", 2**64 - 1, GOOD),
    "when": ({"node": "m:s=Station", "field": "When"}, "string", "2024-02-29T06:30:00.250000Z", GOOD),
    "raw": ({"node": "m:s=Station", "field": "Raw"}, "string", "01fe", GOOD),
    "life": ({"node": "m:s=Station", "field": "Tool&.Life"}, "float", 12.5, GOOD),
    "mode": ({"node": "m:s=Station", "field": "Mode"}, "int", 3, GOOD),
    "comment": ({"node": "m:s=Station", "field": "Recipe.Comment"}, "string", "schnell", GOOD),
    "left_out": ({"node": "m:s=Station", "field": "Recipe.Speed"}, "float", None, NOT_AVAILABLE),
    "member": ({"node": "m:s=Station", "field": "Result.Text"}, "string", "ok", GOOD),
    "other_member": ({"node": "m:s=Station", "field": "Result.Number"}, "int", None, NOT_AVAILABLE),
    "anything": ({"node": "m:s=Station", "field": "Any[1]"}, "float", 0.75, GOOD),
    "by_encoding": ({"node": "m:s=Any", "field": "Position"}, "float", 90.0, GOOD),
    "misspelt": ({"node": "m:s=Station", "field": "Bst.Position"}, "float", None, CONFIG_ERROR),
    "vendor": ({"node": "i=2260", "field": "SoftwareVersion"}, "string", "2.182.2", GOOD),
}


async def test_parts_are_readings(types: NodeOpcuaTypes, caplog: pytest.LogCaptureFixture) -> None:
    async with reader(types, {name: settings for name, (settings, *_) in PARTS.items()}) as it:
        await it.read()
        assert {name: it.last(name)[1:] for name in PARTS} == {
            name: (value, quality) for name, (_, _, value, quality) in PARTS.items()
        }
        assert it.types == {name: type for name, (_, type, *_) in PARTS.items()}
        times = {it.last(name)[0] for name in ("best", "big", "mode", "left_out")}
        assert len(times) == 1, "one structure, one time stamp"
    said = [record.message for record in caplog.records if "misspelt" in record.message]
    assert len(said) == 1
    assert "Station has no field 'Bst'; did you mean 'Best'?" in said[0]


async def test_changes_of_parts_are_reported(types: NodeOpcuaTypes) -> None:
    signals = {
        "best": {"node": "m:s=Station", "field": "Best.Position"},
        "text": {"node": "m:s=Station", "field": "Result.Text"},
        "number": {"node": "m:s=Station", "field": "Result.Number"},
        "n": {"node": "m:s=Numbers", "count": 3},
    }
    names = ["best", "text", "number", "n_0", "n_1", "n_2"]
    it = reader(types, signals)
    it.got = {name: [] for name in names}
    async with it:
        await it.read()
        types.ask("position", value=0.5)
        await it.until(lambda: it.last("best")[1] == 0.5)
        types.ask("result", value=42)
        await it.until(lambda: it.last("number")[1] == 42)
        assert it.last("text")[1:] == (None, NOT_AVAILABLE)
        types.ask("numbers", value=[4, 5])
        await it.until(lambda: it.last("n_0")[1] == 4)
        assert [it.last(f"n_{i}")[1:] for i in range(3)] == [(4.0, GOOD), (5.0, GOOD), (None, NOT_AVAILABLE)]
        types.ask("numbers", value=[1.5, -2.25, 300])
        types.ask("position", value=-0.25)
        await it.until(lambda: it.last("n_2")[1:] == (300.0, GOOD) and it.last("best")[1] == -0.25)


async def test_texts_of_states_are_in_the_header(types: NodeOpcuaTypes) -> None:
    signals = {
        name: {"node": f"m:s={node}", "enum": "from-server", **more}
        for name, node, more in (
            ("door", "Door", {}),
            ("lamp", "Lamp", {}),
            ("gear", "Gear", {}),
            ("mode", "Mode", {}),
            ("part", "Station", {"field": "Mode"}),
            ("element", "Modes", {"index": 1}),
            ("none", "Numbers", {"index": 0}),
        )
    }
    async with reader(types, signals) as it:
        await it.read()
        (header,) = it.adapter.headers
        states = {signal.name: dict(signal.states) for signal in header.signals}
        mode = {0: "Aus", 3: "Automatik", -1: "Fault"}  # of the last one node-opcua has the name only
        assert states == {
            "door": {0: "shut", 1: "open"},
            "lamp": {0: "dark", 1: "green", 2: "red"},
            "gear": {10: "low", 20: "high"},
            "mode": mode,
            "part": mode,
            "element": mode,
            "none": {},
        }
        assert [it.last(name)[1] for name in ("door", "lamp", "gear", "mode", "part", "element")] == [
            True, 2, 20, 3, 3, 3,
        ]  # fmt: skip


@pytest.fixture
async def asyncuas() -> AsyncIterator[str]:
    """A server on asyncua with types of its own: an enumeration, and structures with optional fields and a union."""
    server = Server()
    await server.init()
    port = free_port()
    server.set_endpoint(f"opc.tcp://127.0.0.1:{port}")
    server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    index = await server.register_namespace("urn:shop:asyncua")
    await new_enum(server, index, "Gear", ["Neutral", "First", "Second"])
    gear = ua.enums_datatypes[(await server.load_data_type_definitions())["Gear"]]
    tool, _ = await new_struct(
        server, index, "Tool",
        [
            new_struct_field("Number", ua.VariantType.Int64),
            new_struct_field("Wear", ua.VariantType.Double, optional=True),
            new_struct_field("Gear", gear),
        ],
    )  # fmt: skip
    rack, _ = await new_struct(
        server,
        index,
        "Rack",
        [new_struct_field("Tools", tool, array=True), new_struct_field("Name", ua.VariantType.String)],
    )
    await server.load_data_type_definitions()
    tools = [ua.Tool(Number=-(2**63), Gear=ua.Gear.Second), ua.Tool(Number=7, Wear=0.25, Gear=ua.Gear.First)]
    objects = server.nodes.objects
    value = ua.Variant(ua.Rack(Tools=tools, Name="left"), ua.VariantType.ExtensionObject)
    await objects.add_variable(ua.NodeId("Rack", index), "Rack", value, datatype=rack.nodeid)
    await objects.add_variable(ua.NodeId("Gear", index), "Gear", ua.Gear.First, datatype=gear)
    async with server:
        yield f"opc.tcp://127.0.0.1:{port}"


async def test_types_of_a_server_on_asyncua(asyncuas: str) -> None:
    signals = {
        "number": {"node": "m:s=Rack", "field": "Tools[0].Number"},
        "wear": {"node": "m:s=Rack", "field": "Tools[1].Wear"},
        "unworn": {"node": "m:s=Rack", "field": "Tools[0].Wear"},
        "name": {"node": "m:s=Rack", "field": "Name"},
        "in_tool": {"node": "m:s=Rack", "field": "Tools[0].Gear", "enum": "from-server"},
        "gear": {"node": "m:s=Gear", "enum": "from-server"},
    }
    async with Reader(asyncuas, signals, {"namespaces": {"m": "urn:shop:asyncua"}}) as it:
        await it.read()
        assert {name: it.last(name)[1:] for name in signals} == {
            "number": (-(2**63), GOOD),
            "wear": (0.25, GOOD),
            "unworn": (None, NOT_AVAILABLE),
            "name": ("left", GOOD),
            "in_tool": (2, GOOD),
            "gear": (1, GOOD),
        }
        (header,) = it.adapter.headers
        texts = {0: "Neutral", 1: "First", 2: "Second"}
        assert [dict(signal.states) for signal in header.signals] == [{}, {}, {}, {}, texts, texts]
        assert it.types["unworn"] == "float", "known without a value"


async def test_two_sessions_in_a_row_learn_the_same(types: NodeOpcuaTypes) -> None:
    async with reader(types, {"best": {"node": "m:s=Station", "field": "Best.Position"}}) as it:
        await it.read()
        await it.adapter.connect()
        await it.read()
        assert it.values("best") == [-0.25, -0.25]
