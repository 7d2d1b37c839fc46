"""The adapter at a server that others have written: node-opcua as the control of a CNC machine."""

import asyncio
import logging
import time
from datetime import UTC, datetime
from typing import Any

import pytest

from adapters.opcua import adapter as adapter_module
from adapters.opcua import client, servers, session
from adapters.opcua.adapter import OpcuaAdapter
from adapters.opcua.wire import Values
from gateway.adapter import Command
from gateway.errors import NotConnectedError
from gateway.model import BAD, CONFIG_ERROR, GOOD, NODE_UNKNOWN, SENSOR_FAILURE, WRONG_TYPE
from opcua.helpers import MACHINE, Reader, context
from parts.node_opcua import PASSWORD, USER, NodeOpcua
from parts.process import wait_until

ALL = {
    name: f"m:s=CNC1.{name}"
    for name in (
        "SpindleSpeed", "CoolantTemperature", "PartCount", "Program", "DoorOpen", "Mode", "Int64Min", "Int64Max",
        "UInt64Max", "Broken", "Doubtful", "LastService", "SerialNumber",
    )
}  # fmt: skip


async def test_it_reads_what_the_server_says(cnc: NodeOpcua) -> None:
    async with Reader(cnc.url, ALL) as it:
        await it.read()
        assert {name: it.values(name) for name in ALL if name not in ("SpindleSpeed", "PartCount")} == {
            "CoolantTemperature": [21.5],
            "Program": ['O1234 "façade" №5'],
            "DoorOpen": [False],
            "Mode": [3],
            "Int64Min": [-(2**63)],
            "Int64Max": [2**63 - 1],
            "UInt64Max": [2**64 - 1],
            "Broken": [None],
            "Doubtful": [17.5],
            "LastService": ["2024-02-29T06:30:00.250000Z"],
            "SerialNumber": ["SN-4711"],
        }
        assert it.types == {
            "SpindleSpeed": "float",
            "CoolantTemperature": "float",
            "PartCount": "int",
            "Program": "string",
            "DoorOpen": "bool",
            "Mode": "int",
            "Int64Min": "int",
            "Int64Max": "int",
            "UInt64Max": "int",
            "Broken": "float",
            "Doubtful": "float",
            "LastService": "string",
            "SerialNumber": "string",
        }
        assert it.last("Broken")[2] == SENSOR_FAILURE
        assert it.last("Doubtful")[2] == 0x40900000
        made = datetime(2004, 5, 6, 7, 8, 9, 125_000, tzinfo=UTC)
        assert it.last("SerialNumber")[0] == int(made.timestamp() * 1000) * 1_000_000
        assert cnc.sessions() == 1
    assert (cnc.sessions(), cnc.subscriptions()) == (0, 0)


async def test_changes_arrive_once_and_in_order(cnc: NodeOpcua) -> None:
    signals = {"doubt": "m:s=CNC1.Doubtful", "temp": "m:s=CNC1.CoolantTemperature"}
    async with Reader(cnc.url, signals) as it:
        await it.read()
        for n in range(8):
            cnc.set("s=CNC1.Doubtful", n)
            await it.until(lambda n=n: it.last("doubt")[1] == n)
        cnc.set("s=CNC1.CoolantTemperature", 22.5, time=datetime(2026, 1, 2, tzinfo=UTC))
        await it.until(lambda: it.last("temp")[1] == 22.5)
        assert it.values("doubt") == [17.5, *range(8)]
        assert it.values("temp") == [21.5, 22.5]
        assert it.last("temp")[0] == 1_767_312_000_000_000_000
        cnc.set("s=CNC1.Doubtful", 17.5, status="UncertainLastUsableValue")
        cnc.set("s=CNC1.CoolantTemperature", 21.5)


async def test_bad_is_sent_on_the_change_and_without_a_value(cnc: NodeOpcua) -> None:
    async with Reader(cnc.url, {"door": "m:s=CNC1.DoorOpen"}) as it:
        await it.read()
        cnc.set("s=CNC1.DoorOpen", status="BadNoCommunication")
        await it.until(lambda: it.last("door")[2] >= BAD)
        cnc.set("s=CNC1.DoorOpen", False)
        await it.until(lambda: it.last("door")[2] == GOOD)
        assert [(value, quality) for _, value, quality in it.got["door"]] == [
            (False, GOOD),
            (None, 0x80310000),
            (False, GOOD),
        ]


async def test_silence_of_the_machine_is_a_sign_of_life(cnc: NodeOpcua, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "KEEP_ALIVE", 0.1)
    async with Reader(cnc.url, {"door": "m:s=CNC1.DoorOpen"}) as it:
        await it.until(lambda: it.returns == 6)
        assert it.values("door") == [False]


async def test_a_machine_without_news_is_not_forgotten_over_the_others(
    cnc: NodeOpcua, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Reader(cnc.url, {"door": "m:s=CNC1.DoorOpen"}) as it:
        await it.read()
        busy = session.Notification(
            it.adapter._machines[0].subscription, 1, 1, Values([0], [1], [True], [0], [0]), None
        )
        silent = session.Notification(busy.subscription, 1, 1, None, None)

        async def arrive(*_: object) -> list[session.Notification]:
            return [busy, silent]

        monkeypatch.setattr(session.Session, "notifications", arrive)
        assert [len(await it.adapter.read()) for _ in range(4)] == [1, 0, 1, 0]


async def test_units_and_ranges_come_from_the_server_where_that_is_wanted(cnc: NodeOpcua) -> None:
    signals = {
        "speed": {"node": "m:s=CNC1.SpindleSpeed", "unit": "from-server"},
        "temp": {"node": "m:s=CNC1.CoolantTemperature", "unit": "from-server", "range": [0, 90]},
        "own": {"node": "m:s=CNC1.SpindleSpeed", "unit": "Hz"},
        "none": {"node": "m:s=CNC1.PartCount", "unit": "from-server"},
    }
    async with Reader(cnc.url, signals) as it:
        (header,) = it.adapter.headers
        assert [(s.unit, s.low, s.high) for s in header.signals] == [
            ("/min", 0.0, 12000.0),
            ("Cel", 0.0, 90.0),
            ("Hz", None, None),
            ("", None, None),
        ]


async def test_a_type_can_be_pinned_and_then_stays(cnc: NodeOpcua) -> None:
    signals = {
        "count": {"node": "m:s=CNC1.PartCount", "type": "float"},
        "program": {"node": "m:s=CNC1.Program", "type": "float"},
    }
    async with Reader(cnc.url, signals) as it:
        await it.read()
        assert isinstance(it.last("count")[1], float)
        assert it.last("program")[1:] == (None, WRONG_TYPE)


async def test_a_missing_node_is_the_trouble_of_its_signal_alone(
    cnc: NodeOpcua, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(adapter_module, "LOOK_AGAIN", 0.3)
    signals = {"door": "m:s=CNC1.DoorOpen", "late": {"node": 'm:s="DB1"."Temp[0]"'}, "gone": "x:i=1"}
    with caplog.at_level(logging.INFO, "adapters.opcua"):
        async with Reader(cnc.url, signals, {"namespaces": {"m": "urn:shop:cnc", "x": "urn:nobody"}}) as it:
            await it.read()
            assert it.values("door") == [False]
            assert [it.last(name)[1:] for name in ("late", "gone")] == [(None, NODE_UNKNOWN)] * 2
            before = it.adapter.headers[0]
            cnc.add('s="DB1"."Temp[0]"', "Float", 1.5)
            await it.until(lambda: it.last("late")[1] == 1.5)
            cnc.set('s="DB1"."Temp[0]"', 2.5)
            await it.until(lambda: it.last("late")[1] == 2.5)
            assert it.values("late") == [None, 1.5, 2.5]
            assert it.adapter.headers[0] is before
            assert len(it.got["gone"]) == 1
            cnc.remove('s="DB1"."Temp[0]"')
    lines = [record.getMessage() for record in caplog.records]
    assert len([line for line in lines if "lathe/late" in line]) == 2, lines


async def test_a_missing_node_of_another_type_is_learnt_in_a_new_session(
    cnc: NodeOpcua, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapter_module, "LOOK_AGAIN", 0.3)
    async with Reader(cnc.url, {"door": "m:s=CNC1.DoorOpen", "late": "m:s=Late"}) as it:
        before = it.adapter.headers[0]
        cnc.add("s=Late", "String", "here")
        assert "a missing node is there now" in await it.lost()
        await it.reconnect()
        assert it.adapter.headers[0] is not before
        await it.until(lambda: it.values("late")[-1:] == ["here"])
        assert it.types == {"door": "bool", "late": "string"}
        assert cnc.sessions() == 1
        cnc.remove("s=Late")


async def test_arrays_are_not_carried_yet_and_that_is_said_once(
    cnc: NodeOpcua, caplog: pytest.LogCaptureFixture
) -> None:
    async with Reader(cnc.url, {"axes": "m:s=CNC1.AxisPositions", "door": "m:s=CNC1.DoorOpen"}) as it:
        await it.read()
        cnc.set("s=CNC1.AxisPositions", [2.5, 3, 4])
        await it.until(lambda: len(it.got["axes"]) == 2)
        cnc.set("s=CNC1.AxisPositions", [1.5, -2.25, 300])
        assert [(value, quality) for _, value, quality in it.got["axes"]] == [(None, CONFIG_ERROR)] * 2
    assert len([record for record in caplog.records if "an array" in record.getMessage()]) == 1


async def test_the_server_s_own_nodes_can_be_read(cnc: NodeOpcua) -> None:
    async with Reader(cnc.url, {"clock": "i=2258"}) as it:
        await it.until(lambda: len(it.got["clock"]) > 1)
        assert str(it.last("clock")[1]).startswith("20")


# ---- logging in


# Whoever answers first is believed, whatever host its certificate is made out for.
PROTECTED: dict[str, Any] = {"security": "auto", "trust": "pinned", "allow": ["wrong-host"]}


async def test_user_and_password(cnc: NodeOpcua) -> None:
    async with Reader(cnc.url, {"door": "m:s=CNC1.DoorOpen"}, user=USER, password=PASSWORD, **PROTECTED) as it:
        await it.read()
        assert it.values("door") == [False]


async def test_a_wrong_password_is_named(cnc: NodeOpcua) -> None:
    with pytest.raises(NotConnectedError, match=r"cnc 127.0.0.1:.*wrong user or password"):
        async with Reader(cnc.url, {"door": "m:s=CNC1.DoorOpen"}, user=USER, password="guess", **PROTECTED):
            pass
    wait_until(lambda: cnc.sessions() == 0)


async def test_encryption_is_never_left_out_silently(cnc: NodeOpcua) -> None:
    with pytest.raises(NotConnectedError, match=r"cnc 127.0.0.1.*not trusted.*gateway opcua trust cnc"):
        async with Reader(cnc.url, {"door": "m:s=CNC1.DoorOpen"}, security="auto"):
            pass
    assert cnc.sessions() == 0


async def test_all_sessions_taken_is_named() -> None:
    with NodeOpcua(tick_ms=0, options={"serverCapabilities": {"maxSessions": 1}}) as server:
        async with Reader(server.url, {"door": "m:s=CNC1.DoorOpen"}):
            with pytest.raises(NotConnectedError, match="all its sessions are taken"):
                async with Reader(server.url, {"door": "m:s=CNC1.DoorOpen"}):
                    pass


async def test_nobody_there_is_named() -> None:
    with pytest.raises(NotConnectedError, match=r"cnc 127.0.0.1:1: connection refused"):
        async with Reader("opc.tcp://127.0.0.1:1", {"door": "m:s=CNC1.DoorOpen"}):
            pass
    with pytest.raises(NotConnectedError, match="this name is not known"):
        async with Reader("opc.tcp://no.such.host.invalid", {"door": "m:s=CNC1.DoorOpen"}):
            pass


# ---- the rest of the contract


async def test_it_writes_nothing_and_closes_twice(cnc: NodeOpcua) -> None:
    it = OpcuaAdapter(context(cnc.url, {"door": "m:s=CNC1.DoorOpen"}))
    await it.close()
    await it.connect()
    assert not (await it.write(Command(MACHINE, "door", True))).ok
    await it.close()
    await it.close()
    assert cnc.sessions() == 0
    with pytest.raises(NotConnectedError):
        await it.read()
    assert not [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]


async def test_cancelled_while_it_waits_it_closes_cleanly(cnc: NodeOpcua) -> None:
    async with Reader(cnc.url, {"door": "m:s=CNC1.DoorOpen"}) as it:
        await it.read()
        reading = asyncio.create_task(it.until(lambda: False))
        await it.adapter.write(Command(MACHINE, "door", True))
        await asyncio.sleep(0)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
    assert (cnc.sessions(), cnc.subscriptions()) == (0, 0)


async def test_many_nodes_in_requests_of_the_size_the_server_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = {"maxNodesPerRead": 7, "maxMonitoredItemsPerCall": 5, "maxNodesPerTranslateBrowsePathsToNodeIds": 3}
    with NodeOpcua(tick_ms=0, options={"serverCapabilities": {"operationLimits": limits}}) as server:
        signals = {f"s{n}": {"node": "m:s=CNC1.SpindleSpeed", "unit": "from-server"} for n in range(40)}
        for told in (True, False):
            if not told:  # a server that does not say what it takes: what it refuses is halved
                monkeypatch.setattr(servers, "TOLD", {"sessions": 24095})
            async with Reader(server.url, signals) as it:
                await it.read()
                assert [it.values(name) for name in signals] == [[0.0]] * 40
                assert {s.unit for s in it.adapter.headers[0].signals} == {"/min"}
                server.tick()
                await it.until(lambda it=it: all(len(it.got[name]) == 2 for name in signals))
                for _ in range(3):
                    server.set("s=CNC1.SpindleSpeed", 0)


async def test_the_channel_is_renewed_again_and_again(cnc: NodeOpcua, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "CHANNEL_LIFETIME", 1.0)
    async with Reader(cnc.url, {"speed": "m:s=CNC1.SpindleSpeed"}) as it:
        renewed = it.adapter._session._client  # type: ignore[union-attr]
        count, renew = 0, renewed.renew_channel

        async def counting() -> None:
            nonlocal count
            await renew()
            count += 1

        monkeypatch.setattr(renewed, "renew_channel", counting)
        while count < 4:
            seen = len(it.got["speed"])
            cnc.tick()
            await it.until(lambda seen=seen: len(it.got["speed"]) > seen)


async def test_it_is_quick_to_connect(cnc: NodeOpcua) -> None:
    start = time.monotonic()
    async with Reader(cnc.url, ALL):
        assert time.monotonic() - start < 2
