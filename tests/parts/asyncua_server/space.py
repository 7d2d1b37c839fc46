"""An OPC UA server on asyncua with whatever names, types and references an address space may have, and many variables.

Its options are its last argument, as JSON: port, many (variables in one folder). It ends with its parent.
"""

import asyncio
import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import asyncua.ua
from asyncua.common.structures104 import new_enum, new_struct, new_struct_field
from asyncua.server.server import Server

ua: Any = asyncua.ua
logging.getLogger("asyncua").setLevel(logging.CRITICAL + 1)
T = ua.VariantType
ORGANIZES = ua.NodeId(ua.ObjectIds.Organizes)

# Identifiers and browse names of variables that hold their own number.
ODD = [
    ('"DB_Prozess"."Füllstand"[3]', '"Füllstand"'),
    ("a;b;ns=2;s=c", "semi;colon"),
    (" blank before", " blank before"),
    ("# no comment", "a/b:c&d<e>"),
    ("{curly: [brackets]}", "{curly}"),
    ("back\\slash", "back\\slash"),
    ("${VAR}", "${VAR}"),
    ("%41", "100 %"),
    ("温度", "温度"),
    ("emoji 🏭", "emoji 🏭"),
    ("yes", "yes"),
    ("null", "~"),
    ("x" * 300, "y" * 200),
]
# What YAML or our rules cannot hold, and so is left out.
IMPOSSIBLE = [("newline\n", "newline"), ("tab\tinside", "tab"), ("blank behind ", "blank behind")]


async def build(server: Server, many: int) -> None:
    index = await server.register_namespace("urn:odd; 100%:space")
    objects = server.nodes.objects

    def name(text: str) -> Any:
        return ua.QualifiedName(text, index)

    def id(identifier: Any) -> Any:
        return ua.NodeId(identifier, index)

    odd = await objects.add_object(id("Odd"), name("Odd names"))
    for i, (identifier, browse_name) in enumerate([*ODD, *IMPOSSIBLE]):
        await odd.add_variable(id(identifier), name(browse_name), i, T.Int32)
    await odd.add_variable(ua.NodeId(UUID("72962b91-fa75-4ae6-8d28-b404dc7daf63"), index), name("guid"), 100, T.Int32)
    await odd.add_variable(ua.NodeId(b"\x00\xff;", index), name("bytes"), 101, T.Int32)
    await odd.add_variable(id(4_000_000_000), name("number"), 102, T.Int32)
    for i in (1, 2):
        await odd.add_variable(id(f"twin {i}"), name("twin"), 200 + i, T.Int32)

    values = await objects.add_object(id("Values"), name("Values"))
    mode = await new_enum(server, index, "Mode", ["Off", "Manual", "Auto"])
    axis, _ = await new_struct(
        server, index, "Axis",
        [new_struct_field("Position", T.Double), new_struct_field("Name", T.String), new_struct_field("Mode", mode)],
    )  # fmt: skip
    head, _ = await new_struct(
        server, index, "Head",
        [new_struct_field("Axes", axis, array=True), new_struct_field("Count", T.UInt64), new_struct_field("Limits", T.Float, array=True)],
    )  # fmt: skip
    types = await server.load_data_type_definitions()
    make, make_head = types["Axis"], types["Head"]
    axes = [make(1.5, "X", ua.Mode.Auto), make(-2.5, "Y", ua.Mode.Off)]

    async def add(text: str, value: Any, kind: Any, data_type: Any = None) -> Any:
        return await values.add_variable(id(f"Values.{text}"), name(text), value, kind, data_type)

    await add("Scalar", 21.5, T.Double)
    await add("Array", [1.0, 2.0, 3.0], T.Double)
    await add("Texts", ["a", "b"], T.String)
    await add("Long", list(range(1000)), T.Int32)
    await add("Empty", [], T.Int32)
    await add("Matrix", ua.Variant([[1, 2, 3], [4, 5, 6]], T.Int32, [2, 3]), None)
    await add("Localized", ua.LocalizedText("ready", "en"), T.LocalizedText)
    await add("Date", datetime(2024, 2, 29, 6, 30, tzinfo=UTC), T.DateTime)
    await add("Bytes", b"\x01\xff", T.ByteString)
    await add("Mode", ua.Mode.Manual, T.Int32, mode.nodeid)
    await add("Axis", axes[0], T.ExtensionObject, axis.nodeid)
    await add("Axes", axes, T.ExtensionObject, axis.nodeid)
    await add("Head", make_head(axes, 2**63, [0.5, 1.5]), T.ExtensionObject, head.nodeid)
    await add("NotANumber", float("nan"), T.Double)
    await add("Huge", 2**64 - 1, T.UInt64)
    hidden = await add("Hidden", 1, T.Int32)
    for attribute in (ua.AttributeIds.AccessLevel, ua.AttributeIds.UserAccessLevel):
        await hidden.write_attribute(attribute, ua.DataValue(ua.Variant(0, T.Byte)))
    switch = await add("Switch", True, T.Boolean)
    await switch.add_property(ua.NodeId(), ua.QualifiedName("FalseState", 0), ua.LocalizedText("closed"))
    await switch.add_property(ua.NodeId(), ua.QualifiedName("TrueState", 0), ua.LocalizedText("open"))
    steps = await add("Step", 2, T.UInt16)
    texts = [ua.LocalizedText(text) for text in ("idle", "", "fill")]
    await steps.add_property(ua.NodeId(), ua.QualifiedName("EnumStrings", 0), texts)
    analog = await add("Outside", 300.0, T.Double)
    await analog.add_property(ua.NodeId(), ua.QualifiedName("EURange", 0), ua.Range(0.0, 100.0))
    await analog.add_property(ua.NodeId(), ua.QualifiedName("InstrumentRange", 0), ua.Range(-50.0, 400.0))
    unit = ua.EUInformation("http://www.opcfoundation.org/UA/units/un/cefact", 4408652, ua.LocalizedText("°C"))
    await analog.add_property(ua.NodeId(), ua.QualifiedName("EngineeringUnits", 0), unit)

    # Round and round.
    a = await objects.add_object(id("Cycle.a"), name("a"))
    b = await a.add_object(id("Cycle.b"), name("b"))
    await b.add_reference(a, ORGANIZES)
    await b.add_reference(objects, ORGANIZES)
    await b.add_variable(id("Cycle.value"), name("value"), 1, T.Int32)

    # asyncua looks at all the others for each one it adds: many small folders are made sooner than a large one.
    for at in range(0, many, 100):
        folder = await objects.add_folder(id(f"Many.{at // 100}"), name(f"Many{at // 100}"))
        for i in range(at, min(at + 100, many)):
            await folder.add_variable(id(f"Many.Value{i}"), name(f"Value{i}"), float(i), T.Double)


async def main() -> None:
    options = json.loads(sys.argv[-1])
    server = Server()
    await server.init()
    server.set_endpoint(f"opc.tcp://127.0.0.1:{options['port']}")
    server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    await build(server, options["many"])
    async with server:
        print(json.dumps({"ready": True}), flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


asyncio.run(main())
