"""The profiles for companion models, read from servers that have these models: what leaves has common names.

PackML is imported by the server as it is published. The others cannot be (their nodesets are too much for asyncua), so
the objects and variables of their types are made one by one, with the browse names of the published nodesets.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any

import asyncua.ua
import pytest
from asyncua.server.server import Server

from conftest import SHARED
from parts.gateway import gateway
from parts.ports import free_port
from profiles.nodesets import ANALOG, UA, Found, Node, Nodesets

pytestmark = pytest.mark.shared

ua: Any = asyncua.ua
T = ua.VariantType
NODESETS = SHARED / "nodesets"
OWN = "urn:acme:plant"
KINDS = {"bool": T.Boolean, "int": T.UInt32, "float": T.Double, "string": T.String, "enum": T.Int32}
USUAL = {"bool": True, "int": 7, "float": 1.5, "string": "text", "enum": 0}  # what is not told otherwise


@cache
def nodesets() -> Nodesets:
    return Nodesets(NODESETS)


@asynccontextmanager
async def server() -> AsyncIterator[tuple[Any, str]]:
    """A server without encryption, and its address."""
    logging.getLogger("asyncua").setLevel(logging.CRITICAL)
    made: Any = Server()
    await made.init()
    url = f"opc.tcp://127.0.0.1:{free_port()}"
    made.set_endpoint(url)
    made.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    async with made:
        yield made, url


async def readings(folder: Path, url: str, profile: str, parameters: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What `gateway read` has of such a machine, by signal."""
    config = {
        "connections": {"u": {"protocol": "opcua", "url": url, "security": "None", "publishing": "50ms"}},
        "machines": {"m": {"connection": "u", "profile": profile, "parameters": {"namespace": OWN, **parameters}}},
    }
    (folder / "gateway.yaml").write_text(json.dumps(config))  # which is YAML, too
    done = await asyncio.to_thread(gateway, "read", "m", "--json", "-c", str(folder / "gateway.yaml"))
    assert done.returncode == 0, done.stderr
    return {row["signal"]: row for row in map(json.loads, done.stdout.splitlines())}


# --- a space with the names of a model -------------------------------------------------------------------------------


class Space:
    """What stands below a type, made of nothing but its names. `values` by path; `called`: names for what is in <…>."""

    def __init__(self, made: Any, called: Mapping[str, list[str]], values: Mapping[str, Any]) -> None:
        self.server, self.called, self.left = made, called, dict(values)
        self._index: dict[str, int] = {UA: 0}

    async def index(self, uri: str) -> int:
        if uri not in self._index:
            self._index[uri] = await self.server.register_namespace(uri)
        return self._index[uri]

    async def fill(self, parent: Any, node: Node, path: tuple[str, ...] = (), depth: int = 0) -> None:
        model = nodesets()
        for member in model.members(node):
            names = self.called.get(member.name[1], []) if member.is_placeholder else [member.name[1]]
            for name in names:
                at = (*path, name)
                uri = OWN if member.name[1] in ("<MonitoredElement>",) else member.name[0]
                here = await self._add(parent, member, name, uri, at)
                if here is not None and member.kind == "UAObject" and depth < 6:
                    await self.fill(here, member, at, depth + 1)

    async def _add(self, parent: Any, node: Node, name: str, uri: str, path: tuple[str, ...]) -> Any:
        index = await self.index(uri)
        id_ = ua.NodeId("/".join((str(parent.nodeid.Identifier), name)), await self.index(OWN))
        if node.kind == "UAObject":
            made = await parent.add_object(id_, ua.QualifiedName(name, index))
            if node.notifies:
                await made.write_attribute(ua.AttributeIds.EventNotifier, ua.DataValue(ua.Variant(1, T.Byte)))
            return made
        model = nodesets()
        kind = "bool" if node.data_type is None else _kind(node)
        value = self.left.pop("/".join(path), USUAL.get(kind))
        if kind not in KINDS or value is None:
            return None
        variant = T.LocalizedText if node.data_type == (UA, "i=21") else KINDS[kind]
        given = ua.LocalizedText(value) if variant == T.LocalizedText else [value] if node.is_array else value
        made = await parent.add_variable(id_, ua.QualifiedName(name, index), given, variant)
        if model.type_of(node) in ANALOG:
            unit = ua.EUInformation("http://www.opcfoundation.org/UA/units/un/cefact", 4408652, ua.LocalizedText("°C"))
            await made.add_property(ua.NodeId(f"{id_.Identifier}/unit", id_.NamespaceIndex), "0:EngineeringUnits", unit)
        return made


def _kind(node: Node) -> str:
    return nodesets().value_type(Found([node])) if node.data_type != (UA, "i=29") else "enum"


async def test_an_injection_moulding_machine(tmp_path):
    """OPC 40077: mode 1 is AUTOMATIC, production status 4 PRODUCTION, job status 6 JOB_IN_PRODUCTION; times in ms."""
    zones = "TemperatureZones/TemperatureZone_"
    values = {
        "MachineStatus/MachineMode": 1, "MachineStatus/IsPresent": True,
        "MachineMESStatus/ProductionControl/ProductionStatus": 4, "MachineMESStatus/StandstillReasonId": "",
        "MachineMESStatus/StandstillMessage/Id": "A0117", "MachineMESStatus/StandstillMessage/Message": "Mould protection",
        "Jobs/ActiveJob/JobName": "4711-2", "Jobs/ActiveJob/ProductName": "lid 80 mm", "Jobs/ActiveJob/NumCavities": 8,
        "Jobs/ActiveJob/ExpectedCycleTime": 12_000.0, "Jobs/ActiveJobValues/JobStatus": 6,
        "Jobs/ActiveJobValues/LastCycleTime": 12_340.0, "Jobs/ActiveJobValues/JobPartsCounter": 8000,
        "Jobs/ActiveJobValues/JobGoodPartsCounter": 7990, "Jobs/ActiveJobValues/JobBadPartsCounter": 10,
        "Jobs/ActiveJobValues/MachineCycleCounter": 1_234_567, "PowerUnits/PowerUnit_1/ActualTemperature": 44.5,
        f"InjectionUnits/InjectionUnit_1/{zones}1/ActualTemperature": 231.0,
        f"InjectionUnits/InjectionUnit_1/{zones}2/ActualTemperature": 232.0,
        f"InjectionUnits/InjectionUnit_1/{zones}3/ActualTemperature": 233.0,
        f"InjectionUnits/InjectionUnit_1/{zones}1/NominalTemperature": 230.0,
        f"Moulds/Mould_1/{zones}1/ActualTemperature": 61.25,
    }  # fmt: skip
    called = {
        "InjectionUnit_<Nr>": ["InjectionUnit_1"], "Mould_<Nr>": ["Mould_1"], "PowerUnit_<Nr>": ["PowerUnit_1"],
        "<TemperatureZone_Nr>": [f"TemperatureZone_{i}" for i in (1, 2, 3)],
    }  # fmt: skip
    async with server() as (made, url):
        space = Space(made, called, values)
        devices = await made.nodes.objects.add_object(
            ua.NodeId("DeviceSet", await space.index(OWN)), ua.QualifiedName("DeviceSet", await space.index(f"{UA}DI/"))
        )
        machine = await devices.add_object(
            ua.NodeId("imm", await space.index(OWN)), ua.QualifiedName("IMM_MES_Acme_4711", await space.index(OWN))
        )
        await space.fill(machine, nodesets().type(f"{UA}PlasticsRubber/IMM2MES/", "IMM_MES_InterfaceType"))
        assert not space.left, "names that the model does not have"
        rows = await readings(tmp_path, url, "euromap77-imm", {"machine": "di:DeviceSet/own:IMM_MES_Acme_4711"})
    assert {name: row["quality"] for name, row in rows.items() if row["quality"] != "good"} == {}
    assert {name: rows[name]["value"] for name in rows if name in EXPECTED_OF_IMM} == EXPECTED_OF_IMM
    assert set(rows) >= {"power_on", "job", "material", "mould", "lot", "parts_planned", "parts_sample"}
    assert rows["barrel_temperature_1"]["unit"] == "Cel"
    assert rows["cycle_time"]["unit"] == "s"
    assert rows["standstill_message"]["value"] == "Mould protection"
    assert rows["state"]["value"] == "running"  # it produces, so that message is an old one


EXPECTED_OF_IMM = {
    "present": True, "mode": "automatic", "production_status": "production", "job": "4711-2", "product": "lid 80 mm",
    "cavities": 8, "job_status": "job-in-production", "cycle_time": 12.34, "cycle_time_expected": 12.0, "parts_total": 8000,
    "parts_good": 7990, "parts_reject": 10, "cycle_count": 1_234_567, "oil_temperature": 44.5, "barrel_temperature_1": 231.0,
    "barrel_temperature_2": 232.0, "barrel_temperature_3": 233.0, "barrel_setpoint_1": 230.0, "mould_temperature_1": 61.25,
}  # fmt: skip


async def test_a_machine_tool(tmp_path):
    """OPC 40501-1: OperationMode 1 is Automatic, ChannelState 0 Active, ChannelMode 0 Automatic."""
    values = {
        "Monitoring/MachineTool/OperationMode": 1, "Monitoring/MachineTool/FeedOverride": 80.0,
        "Monitoring/MachineTool/MachineryItemState/CurrentState": "OutOfService", "Monitoring/MachineTool/PowerOnDuration": 9876,
        "Monitoring/MachineTool/IsWarmUp": False,
        "Monitoring/Main/IsRotating": True, "Monitoring/Main/Override": 95.0, "Monitoring/Ch1/ChannelState": 0,
        "Monitoring/Ch1/ChannelMode": 0, "Production/ActiveProgram/Name": "flange.mpf",
        "Production/ActiveProgram/NumberInList": 2, "Production/ActiveProgram/State/CurrentState": "Running",
        "Production/Statistics/PartsProducedInLifetime": 54_321, "Equipment/Tools/NodeVersion": "17",
    }  # fmt: skip
    async with server() as (made, url):
        space = Space(made, {"<MonitoredElement>": ["Main", "Ch1"]}, values)
        machines = await made.nodes.objects.add_object(
            ua.NodeId("Machines", await space.index(OWN)),
            ua.QualifiedName("Machines", await space.index(f"{UA}Machinery/")),
        )
        machine = await machines.add_object(
            ua.NodeId("mill", await space.index(OWN)), ua.QualifiedName("Mill", await space.index(OWN))
        )
        await space.fill(machine, nodesets().type(f"{UA}MachineTool/", "MachineToolType"))
        assert not space.left, "names that the model does not have"
        parameters = {"machine": "machinery:Machines/own:Mill", "spindle": "own:Main", "channel": "own:Ch1"}
        rows = await readings(tmp_path, url, "machinetool-40501", parameters)
    bad = {name for name, row in rows.items() if row["quality"] != "good" and not name.startswith("alarm_")}
    assert bad == set()
    expected = {
        "mode": "automatic", "feed_override": 80.0, "power_on_hours": 9876, "warm_up": False, "spindle_rotating": True,
        "spindle_override": 95.0, "channel_state": "active", "channel_mode": "automatic", "program": "flange.mpf",
        "program_number": 2, "program_state": "Running", "parts_total": 54_321, "tools_version": "17",
    }  # fmt: skip
    assert {name: rows[name]["value"] for name in expected} == expected
    assert rows["state"]["value"] == "fault"


async def test_a_packaging_unit(tmp_path):
    """OPC 30050 as it is published: the type instantiated by the server itself."""
    async with server() as (made, url):
        await made.import_xml(str(NODESETS / "20_PackML.xml"))
        packml = await made.get_namespace_index(f"{UA}PackML/")
        own = await made.register_namespace(OWN)
        await made.load_data_type_definitions()
        folder = await made.nodes.objects.get_child(f"{packml}:PackMLObjects")
        unit = await folder.add_object(
            ua.NodeId("filler", own), ua.QualifiedName("Filler", own), objecttype=ua.NodeId(6, packml)
        )

        async def say(path: str, value: Any, kind: Any = None) -> None:
            node = await unit.get_child([step if step[1:2] == ":" else f"{packml}:{step}" for step in path.split("/")])
            await node.write_value(ua.Variant(value, kind) if kind else value)

        for path, text in (
            ("BaseStateMachine", "Cleared"),
            ("BaseStateMachine/MachineState", "Running"),
            ("BaseStateMachine/MachineState/ExecuteState", "Execute"),
        ):
            await say(f"{path}/0:CurrentState", ua.LocalizedText(text), T.LocalizedText)
        await say("Status/UnitModeCurrent", 1, T.Int32)
        await say("Status/CurMachSpeed", 118.5, T.Float)
        await say("Status/MachSpeed", 120.0, T.Float)
        await say("Status/EquipmentBlocked", False)
        await say("Status/EquipmentStarved", True)
        # What is optional in Admin is left out by the server, and is made here.
        admin = await unit.get_child(f"{packml}:Admin")
        await admin.add_variable(ua.NodeId("design", own), f"{packml}:MachDesignSpeed", 150.0, T.Float)
        for name, total in (("Processed", 100_040), ("Defective", 17), ("Consumed", 100_060)):
            counts = [ua.PackMLCountDataType(ID=i, Name=f"{i}", Count=1, AccCount=total + i) for i in range(2)]
            await admin.add_variable(ua.NodeId(name, own), f"{packml}:Prod{name}Count", counts)
        machine = "packml:PackMLObjects/own:Filler"
        rows = await readings(tmp_path, url, "packml-unit", {"machine": machine})
        (tmp_path / "second").mkdir()
        second = await readings(tmp_path / "second", url, "packml-unit", {"machine": machine, "product": 1})
    expected = {
        "base_state": "Cleared", "machine_state": "Running", "execute_state": "Execute", "mode": "produce", "speed": 118.5,
        "speed_setpoint": 120.0, "speed_design": 150.0, "blocked": False, "starved": True, "parts_total": 100_040,
        "parts_reject": 17, "parts_consumed": 100_060,
    }  # fmt: skip
    assert {name: (row["value"], row["quality"]) for name, row in rows.items() if name in expected} == {
        name: (value, "good") for name, value in expected.items()
    }
    assert second["parts_total"]["value"] == 100_041
