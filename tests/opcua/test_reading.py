"""How values get here: polled, filtered, several at a time, parts of them, events, by browse path."""

import asyncio
import logging

import pytest

from adapters.opcua import adapter as adapter_module
from gateway.model import CONFIG_ERROR, GOOD, NODE_UNKNOWN, NOT_AVAILABLE
from opcua.helpers import Reader
from parts.node_opcua import NodeOpcua


@pytest.fixture(autouse=True)
def at_rest(cnc: NodeOpcua) -> None:
    """What other tests have left."""
    cnc.set("s=CNC1.PartCount", 0)
    cnc.set("s=CNC1.SpindleSpeed", 0)


async def test_polling_reads_every_time_and_needs_no_subscription(cnc: NodeOpcua) -> None:
    signals = {"speed": {"node": "m:s=CNC1.SpindleSpeed", "poll": "100ms"}, "door": "m:s=CNC1.DoorOpen"}
    async with Reader(cnc.url, signals, mode="poll", machine={"poll": "200ms"}) as it:
        await it.until(lambda: len(it.got["speed"]) > 5)
        assert cnc.subscriptions() == 0
        assert len(it.got["door"]) < len(it.got["speed"])
        times = [time for time, _, _ in it.got["speed"]]
        assert times == sorted(set(times)), "an unchanged value was seen each time: each has a time of its own"
        cnc.set("s=CNC1.SpindleSpeed", 4321)
        await it.until(lambda: it.last("speed")[1] == 4321.0)


async def test_one_machine_is_subscribed_and_some_of_it_polled(cnc: NodeOpcua) -> None:
    signals = {"speed": "m:s=CNC1.SpindleSpeed", "door": {"node": "m:s=CNC1.DoorOpen", "mode": "poll", "poll": "100ms"}}
    async with Reader(cnc.url, signals) as it:
        await it.until(lambda: len(it.got["door"]) > 4)
        assert len(it.got["speed"]) == 1
        assert cnc.subscriptions() == 1


async def test_a_polled_node_that_is_missing_is_found_again(cnc: NodeOpcua, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapter_module, "LOOK_AGAIN", 0.3)
    signals = {"late": {"node": "m:s=LatePoll", "type": "int"}, "door": "m:s=CNC1.DoorOpen"}
    async with Reader(cnc.url, signals, mode="poll", machine={"poll": "50ms"}) as it:
        await it.read()
        assert it.last("late")[2] == NODE_UNKNOWN
        cnc.add("s=LatePoll", "Int32", 5)
        await it.until(lambda: it.last("late")[1:] == (5, GOOD))
        cnc.remove("s=LatePoll")
        await it.until(lambda: it.last("late")[2] == NODE_UNKNOWN)


@pytest.mark.parametrize("refused", [None, "BadMonitoredItemFilterUnsupported", "BadFilterNotAllowed"])
async def test_the_server_filters_where_it_can(cnc: NodeOpcua, refused: str | None) -> None:
    """Absolute, in the unit after scaling, and percent of the range the server names (0 to 12000 and -20 to 120)."""
    common = {"report": "change"}
    signals = {
        "plain": {"node": "m:s=CNC1.SpindleSpeed"},
        "near": {"node": "m:s=CNC1.SpindleSpeed", "deadband": 1, "scale": 0.1, **common},
        "percent": {"node": "m:s=CNC1.SpindleSpeed", "deadband": "1%", "unit": "from-server", **common},
    }
    with cnc.misbehaving(no_filter=refused):
        async with Reader(cnc.url, signals) as it:
            await it.read()
            for value in (9, 109, 130, 260, 5):
                cnc.set("s=CNC1.SpindleSpeed", value)
                await it.until(lambda value=value: it.last("plain")[1] == value)
            everything = [0, 9, 109, 130, 260, 5]
            assert it.values("plain") == everything
            # 10 of the raw value is 1 of the scaled one; 120 is one hundredth of the range.
            assert it.values("near") == (everything if refused else [0, 109, 130, 260, 5])
            assert it.values("percent") == (everything if refused else [0, 130, 260, 5])
    cnc.set("s=CNC1.SpindleSpeed", 0)


async def count_to(last: int, cnc: NodeOpcua) -> None:
    """Each number as soon as another client, which samples as often, has got the one before."""
    async with Reader(cnc.url, {"count": {"node": "m:s=CNC1.PartCount", "sampling": "50ms"}}, publishing="150ms") as it:
        for n in range(1, last + 1):
            cnc.set("s=CNC1.PartCount", n)
            await it.until(lambda n=n: it.got["count"] and it.last("count")[1] == n)


async def test_all_values_of_one_notification_are_kept_in_their_order(cnc: NodeOpcua) -> None:
    signal = {"node": "m:s=CNC1.PartCount", "sampling": "50ms", "queue": 100}
    async with Reader(cnc.url, {"count": signal}, publishing="5s") as it:
        await it.read()
        await count_to(8, cnc)
        await it.until(lambda: it.last("count")[1] == 8)
        values = it.values("count")
        assert values == list(range(9))
        times = [time // 1000 for time, _, _ in it.got["count"]]
        assert len(set(times)) == len(times), "the store keeps one value for each time"
        assert not it.gaps


async def test_what_the_server_had_no_room_for_is_declared(cnc: NodeOpcua) -> None:
    signal = {"node": "m:s=CNC1.PartCount", "sampling": "50ms", "queue": 2}
    async with Reader(cnc.url, {"count": signal}, publishing="5s") as it:
        await it.read()
        await count_to(8, cnc)
        await it.until(lambda: it.last("count")[1] == 8)
        assert it.values("count") == [0, 7, 8]
        await it.until(lambda: it.gaps)
        (gap,) = it.gaps
        assert gap.cause.startswith("server-queue-overflow")
        assert [gap.header.signals[i].name for i in gap.signal] == ["count"]
        first, seventh = it.got["count"][0][0], it.got["count"][1][0]
        assert gap.start <= seventh
        assert gap.end >= first


async def test_the_newest_can_be_dropped_instead(cnc: NodeOpcua) -> None:
    signal = {"node": "m:s=CNC1.PartCount", "sampling": "50ms", "queue": 3, "discard": "newest"}
    async with Reader(cnc.url, {"count": signal}, publishing="5s") as it:
        await it.read()
        await count_to(8, cnc)
        await it.until(lambda: it.last("count")[1] == 8)
        assert it.values("count") in ([0, 1, 8], [0, 1, 2, 8]), "the last one takes the newest place: Part 4, 7.21"
        await it.until(lambda: it.gaps)


async def test_elements_of_an_array(cnc: NodeOpcua, caplog: pytest.LogCaptureFixture) -> None:
    signals = {
        "axis": {"node": "m:s=CNC1.AxisPositions", "count": 3},
        "last": {"node": "m:s=CNC1.AxisPositions", "index": 2, "scale": 0.1},
        "beyond": {"node": "m:s=CNC1.AxisPositions", "index": 9},
        "whole": "m:s=CNC1.AxisPositions",
    }
    async with Reader(cnc.url, signals) as it:
        await it.read()
        assert [it.last(f"axis_{i}")[1:] for i in range(3)] == [(1.5, GOOD), (-2.25, GOOD), (300.0, GOOD)]
        assert it.last("last")[1] == 300.0
        assert it.last("beyond")[1:] == (None, NOT_AVAILABLE)
        assert it.last("whole")[1:] == (None, CONFIG_ERROR)
        cnc.set("s=CNC1.AxisPositions", [2.5, 3, 4])
        await it.until(lambda: it.last("axis_0")[1] == 2.5)
        assert [it.values(f"axis_{i}")[-1] for i in range(3)] == [2.5, 3.0, 4.0]
        cnc.set("s=CNC1.AxisPositions", [1.5, -2.25, 300])
    assert [r.getMessage() for r in caplog.records if "index:" in r.getMessage()]


async def test_a_browse_path_leads_to_a_node_of_this_session(cnc: NodeOpcua) -> None:
    signals = {"speed": {"path": "m:CNC1/m:SpindleSpeed"}, "state": {"path": "Server/ServerStatus/State"}}
    signals["gone"] = {"path": "m:CNC1/m:Nothing"}
    async with Reader(cnc.url, signals) as it:
        await it.read()
        assert it.last("speed")[1:] == (0.0, GOOD)
        assert it.last("state")[1:] == (0, GOOD)
        assert it.last("gone")[2] == NODE_UNKNOWN
        cnc.set("s=CNC1.SpindleSpeed", 3)
        await it.until(lambda: it.last("speed")[1] == 3.0)


async def test_a_path_is_followed_anew_when_the_node_has_another_id(
    cnc: NodeOpcua, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a download into a PLC does: the variable is there under the same name, and has another node id."""
    monkeypatch.setattr(adapter_module, "LOOK_AGAIN", 0.3)
    cnc.add("s=CNC1.Moved", "Int32", 1)
    async with Reader(cnc.url, {"moved": {"path": "m:CNC1/m:Moved", "type": "int"}}) as it:
        await it.read()
        assert it.last("moved")[1:] == (1, GOOD)
        cnc.remove("s=CNC1.Moved")
        await it.until(lambda: it.last("moved")[2] == NODE_UNKNOWN)
        cnc.add_named("Moved", "b=TW92ZWQ=", "Int32", 2)
        await it.until(lambda: it.last("moved")[1:] == (2, GOOD))
        cnc.remove("b=TW92ZWQ=")


async def test_the_text_of_a_state_comes_from_the_server(cnc: NodeOpcua) -> None:
    async with Reader(cnc.url, {"mode": {"node": "m:s=CNC1.Mode", "enum": "from-server"}}) as it:
        await it.read()
        (signal,) = it.adapter.headers[0].signals
        assert signal.states == {0: "Off", 1: "Setup", 2: "Manual", 3: "Auto"}
        assert it.last("mode")[1] == 3


async def test_events_are_readings(cnc: NodeOpcua, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with Reader(cnc.url, {"alarm": {"node": "m:s=CNC1", "events": True}, "speed": "m:s=CNC1.SpindleSpeed"}) as it:
        await it.read()
        cnc.raise_event(300, "the door was opened")
        await it.until(lambda: it.got["alarm_message"])
        assert it.last("alarm_message")[1:] == ("the door was opened", GOOD)
        assert it.last("alarm_severity")[1] == 300
        assert it.last("alarm_source")[1] == "CNC1"
        assert it.last("alarm_state")[1] == "event"
        cnc.set("s=CNC1.SpindleSpeed", 950)  # above the limit of the alarm OverSpeed
        await it.until(lambda: it.last("alarm_state")[1] == "active, unacknowledged")
        assert str(it.last("alarm_source")[1]).endswith("CNC1/OverSpeed")
        cnc.set("s=CNC1.SpindleSpeed", 0)
        await it.until(lambda: str(it.last("alarm_state")[1]).startswith("inactive"))
        times = {
            signal: [time for time, _, _ in it.got[f"alarm_{signal}"]] for signal in ("state", "message", "source")
        }
        assert times["state"] == times["message"] == times["source"], "the parts of an event have one time"
        kinds = {signal.name: signal.kind for signal in it.adapter.headers[0].signals}
        assert kinds["alarm_state"] == "event"
        assert kinds["speed"] == "gauge"


async def test_what_a_server_has_no_room_for_is_polled(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    capabilities = {"maxSubscriptionsPerSession": 1, "maxMonitoredItemsPerSubscription": 3}
    with NodeOpcua(tick_ms=0, options={"serverCapabilities": capabilities}) as server:
        signals = {f"s{n}": "m:s=CNC1.SpindleSpeed" for n in range(5)}
        async with Reader(server.url, signals) as it:
            await it.read()
            server.set("s=CNC1.SpindleSpeed", 8)
            await it.until(lambda: all(it.last(name)[1] == 8.0 for name in signals))
            assert "no room for 2 more monitored items" in caplog.text
            await asyncio.wait_for(it.until(lambda: len(it.got["s4"]) > len(it.got["s0"])), 10)
