"""Every key that the adapter knows is simulated: what it reads is what the waves say, and what the ledger has."""

import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from asyncua import Client as AsyncuaClient
from asyncua import ua

from gateway.config import Configuration, load
from gateway.model import GOOD, NODE_UNKNOWN, Value
from gateway.runtime.registry import protocols
from opcua.helpers import MACHINE, Reader
from opcua.test_simulator import simulated
from parts.node_opcua import NAMESPACE
from simulators.behaviour import waves
from simulators.behaviour.scenario import make_machines, read_scenario
from simulators.behaviour.waves import Wave
from simulators.ledger import columns
from simulators.machine import Context, Told
from simulators.opcua import server as server_module
from simulators.opcua.server import OpcuaServer
from simulators.plant import simulate


@pytest.fixture
def configuration(tmp_path: Path) -> Callable[[str], Configuration]:
    """A configuration from its text."""

    def make(text: str) -> Configuration:
        (tmp_path / "gateway.yaml").write_text(text)
        return load(tmp_path / "gateway.yaml", protocols())

    return make


@asynccontextmanager
async def serving(plant: Context, before: tuple[str, ...] = ()) -> AsyncIterator[str]:
    """The address of its server."""
    server = OpcuaServer(plant, before)
    await server.start()
    try:
        yield f"opc.tcp://127.0.0.1:{server.port}"
    finally:
        await server.stop()


def compare(it: Reader, plant: Context, *signals: str) -> None:
    """What arrived of these signals is a part of the ledger without a hole in it."""
    served = columns(plant.ledger.entries())
    for name in signals:
        column = served[MACHINE, name]
        said = list(zip(column.time, column.value, column.quality, strict=True))
        got = it.got[name]
        assert got, name
        start = said.index(got[0])
        assert got == said[start : start + len(got)], name


# --- parts of arrays and structures ----------------------------------------------------------------------------------

PARTS: Mapping[str, tuple[dict[str, Any], Value]] = {
    "axis_0": ({"node": "m:s=Axes", "index": 0}, 1.5),
    "axis_3": ({"node": "m:s=Axes", "index": 3}, -300.25),
    "text": ({"node": "m:s=Texts", "index": 1}, "b"),
    "flag": ({"node": "m:s=Flags", "index": 2}, True),
    "corner": ({"node": "m:s=Matrix", "field": "[1][2]"}, 12),
    "middle": ({"node": "m:s=Matrix", "field": "[0, 1]"}, 2**60),
    "mixed_0": ({"node": "m:s=Mixed", "index": 0, "type": "int"}, 7),
    "mixed_1": ({"node": "m:s=Mixed", "index": 1, "type": "string"}, "seven"),
    "position": ({"node": "m:s=Head", "field": "Axes[1].Position"}, 42.125),
    "name": ({"node": "m:s=Head", "field": "Axes[0].Name"}, "X"),
    "count": ({"node": "m:s=Head", "field": "Count"}, -(2**62)),
    "limit": ({"node": "m:s=Head", "field": "Limits[]", "index": 2}, 0.5),
    "grid": ({"node": "m:s=Head", "field": "Grid[1][2]"}, 9),
    "odd": ({"node": "m:s=Head", "field": "Motor&.1.class"}, False),
    "wear": ({"path": "m:CNC1/m:Tools", "field": "Wear", "index": 2}, 0.75),
    "worn": ({"path": "m:CNC1/m:Tools", "field": "Worn.Since", "index": 1}, "2026"),
}


async def test_parts_of_arrays_and_structures_are_where_the_signals_say() -> None:
    signals = {name: settings for name, (settings, _) in PARTS.items()}
    plant = simulated(signals, {name: waves.constant(value) for name, (_, value) in PARTS.items()})
    async with serving(plant) as url, Reader(url, signals) as it:
        assert not plant.left_out
        await it.read()
        assert {name: it.last(name)[1:] for name in PARTS} == {name: (v, GOOD) for name, (_, v) in PARTS.items()}
        compare(it, plant, *PARTS)


async def test_another_client_reads_the_same_structures() -> None:
    """asyncua makes its own classes from the DataTypeDefinition, so that our definitions and bytes agree."""
    names = ("position", "name", "count", "limit", "wear", "worn", "axis_0", "axis_3", "corner", "middle")
    signals = {name: PARTS[name][0] for name in names}
    plant = simulated(signals, {name: waves.constant(PARTS[name][1]) for name in names})
    async with serving(plant) as url, AsyncuaClient(url) as client:
        await client.load_data_type_definitions()
        index = await client.get_namespace_index(NAMESPACE)
        head = await client.get_node(ua.NodeId("Head", index)).read_value()
        assert [(axis.Name, axis.Position) for axis in head.Axes] == [("X", 0.0), ("", 42.125)]
        assert (head.Count, head.Limits) == (-(2**62), [0.0, 0.0, 0.5])
        tools = await client.nodes.objects.get_child([f"{index}:CNC1", f"{index}:Tools"])
        assert [tool.Wear for tool in await tools.read_value()] == [0.0, 0.0, 0.75]
        assert [tool.Worn.Since for tool in await tools.read_value()] == ["", "2026", ""]
        assert await client.get_node(ua.NodeId("Axes", index)).read_value() == [1.5, 0.0, 0.0, -300.25]
        matrix = client.get_node(ua.NodeId("Matrix", index))
        assert await matrix.read_value() == [[0, 2**60, 0], [0, 0, 12]]
        assert (await matrix.read_value_rank(), await matrix.read_array_dimensions()) == (2, [2, 3])


async def test_all_parts_of_a_variable_change_together_and_have_one_status() -> None:
    signals = {
        "x": {"node": "m:s=Head", "field": "X", "sampling": "50ms"},
        "y": {"node": "m:s=Head", "field": "Y", "type": "float"},
        "a": {"node": "m:s=Pair", "count": 2, "sampling": "50ms", "type": "float"},
    }
    gap: Wave = lambda t: None if t % 1 < 0.3 else 1.0  # noqa: E731
    shapes = {"x": waves.sine(0, 10, 3), "y": gap, "a_0": waves.constant(3), "a_1": waves.toggle(0.4)}
    plant = simulated(signals, shapes)
    async with serving(plant) as url, Reader(url, signals) as it:
        await it.until(lambda: len(it.got["x"]) > 30)
        assert {(1.0, GOOD), (None, 0x80310000)} == {reading[1:] for reading in it.got["y"]}
        assert any(status for _, _, status in it.got["x"]), "its structure has no value where a part has none"
        assert it.values("a_0") == [3.0] * len(it.got["a_1"])
        compare(it, plant, "x", "y", "a_0", "a_1")


async def test_two_signals_of_one_variable_are_one_variable() -> None:
    signals = {"speed": "m:s=Speed", "tenths": {"node": "m:s=Speed", "scale": 10, "sampling": "50ms"}}
    plant = simulated(signals, {"speed": waves.ramp(0, 100, 100), "tenths": waves.constant(-1.0)})
    async with serving(plant) as url, Reader(url, signals) as it:
        await it.until(lambda: len(it.got["speed"]) > 5)
        assert min(it.values("tenths")) >= 0  # type: ignore[type-var]
        compare(it, plant, "speed")
    served = columns(plant.ledger.entries())
    assert served[MACHINE, "tenths"].value == [10 * value for value in served[MACHINE, "speed"].value]  # type: ignore[operator]


async def test_what_has_no_place_is_left_out_and_told() -> None:
    signals = {
        "whole": "m:s=A",
        "element": {"node": "m:s=A", "index": 1},
        "flat": {"node": "m:s=B", "index": 1},
        "deep": {"node": "m:s=B", "field": "[1][1]"},
        "large": {"node": "m:s=C", "index": 2**31 - 1},
        "strange": "i=4711",
        "alarm": {"node": "m:s=D", "events": True},
        "alarmed": "m:s=D",
        "stateless": {"node": "m:s=E", "events": True},
    }
    shapes = {name: waves.constant(1) for name in signals}
    shapes |= {f"{name}_{part}": waves.constant("event") for name in ("alarm", "stateless") for part in
               ("severity", "source", "message", "state")}  # fmt: skip
    shapes["stateless_state"] = waves.steps([(0, "active"), (0.5, "tripped")], 10)
    plant = simulated(signals, shapes)
    async with serving(plant) as url, Reader(url, signals) as it:
        told = {name.partition("/")[2]: why for name, why in plant.left_out.items()}
        assert set(told) == {"element", "deep", "large", "strange", "alarmed", "stateless"}
        assert told["element"] == "the value would be a single value and an array"
        assert told["deep"] == "the value would be an array of 1 and 2 dimensions"
        assert "100000 is the most" in told["large"]
        assert "'tripped'" in told["stateless"]
        assert "unacknowledged" in told["stateless"]
        await it.read()
        assert (it.last("whole")[1:], it.last("flat")[1:]) == ((1, GOOD), (1, GOOD))
        assert it.last("strange")[2] == NODE_UNKNOWN


async def test_what_is_left_out_is_named_where_the_plant_is_started(
    configuration: Callable[[str], Configuration],
) -> None:
    signals = 'signals: {a: {node: "m:s=A"}, b: {node: "m:s=A", index: 1}}\n'
    loaded = configuration(FROM_SERVER.partition("signals:")[0] + signals)
    async with simulate(loaded, port_base=0) as plant:
        assert plant.left_out == {"lathe/b": "the value would be a single value and an array"}


# --- browse paths ------------------------------------------------------------------------------------------------------


async def test_objects_stand_along_browse_paths_and_the_servers_own_stay() -> None:
    signals = {
        "speed": {"path": "m:CNC1/m:Spindle/m:Speed", "sampling": "50ms"},
        "load": {"path": "m:CNC1/m:Spindle/o:Load", "sampling": "50ms"},
        "limit": {"path": "m:CNC1/m:Spindle/m:Speed/o:Limit"},
        "beside": {"node": "m:s=CNC1/Spindle/Speed"},
        "bare": {"path": "Plant/Hall"},
        "old": {"path": "2:Index"},
        "state": {"path": "Server/ServerStatus/State"},
        "time": {"node": "i=2258"},
        "extra": {"path": "Server/m:Extra"},
    }
    machine = {"namespaces": {"m": NAMESPACE, "o": "urn:other"}}
    shapes = dict.fromkeys(signals, waves.constant(4))
    shapes |= {"speed": waves.sine(1000, 100, 5), "load": waves.ramp(0, 100, 5)}
    plant = simulated(signals, shapes, machine=machine)
    async with serving(plant, before=("urn:first",)) as url, Reader(url, signals, machine) as it:
        assert not plant.left_out
        await it.until(lambda: len(it.got["time"]) > 1)
        for name in ("limit", "beside", "bare", "old", "extra"):
            assert it.last(name)[1:] == (4, GOOD), name
        assert it.last("state")[1:] == (0, GOOD)
        compare(it, plant, "speed", "load", "limit", "beside", "extra")
    assert not {"state", "time"} & next(iter(plant.ledger.entries())).values.keys()


# --- what the server tells ---------------------------------------------------------------------------------------------

FROM_SERVER = """
site: {enterprise: acme, site: hanoi}
connections: {cnc: {protocol: opcua, url: "opc.tcp://127.0.0.1:4840", security: None, publishing: 100ms}}
machines:
  lathe:
    connection: cnc
    namespaces: {m: "urn:shop:cnc"}
    signals:
      mode: {node: "m:s=Mode", enum: from-server}
      guessed: {node: "m:s=Guessed", enum: from-server}
      door: {node: "m:s=Door", type: bool, enum: from-server}
      valve: {node: "m:s=Valves", count: 2, enum: from-server}
      axis: {node: "m:s=Axis", field: State, enum: from-server}
      melt_temp: {node: "m:s=Temp", unit: from-server}
      amp: {node: "m:s=Amp", unit: from-server, range: [0, 16]}
      bar: {node: "m:s=Bar", unit: bar, range: [0, 10]}
      raw: {node: "m:s=Raw", unit: Cel, scale: 0.1, offset: -40, type: int, range: [-40, 160]}
"""
SCENARIO = """
machines:
  lathe:
    signals:
      mode: {wave: steps, points: [[0, warm-up], [0.5, cutting]], period: 1s}
      door: {wave: toggle, period: 1s}
      valve_0: closed
      valve_1: {wave: steps, points: [[0, open], [0.5, closed]], period: 1s}
      axis: {wave: steps, points: [[0, homing], [0.5, held]], period: 1s}
      amp: 12
"""


async def test_texts_units_and_ranges_come_from_the_server(
    configuration: Callable[[str], Configuration], tmp_path: Path
) -> None:
    loaded = configuration(FROM_SERVER)
    (tmp_path / "scenario.yaml").write_text(SCENARIO)
    settings = loaded.machines["lathe"].model_dump(exclude={"connection"}, exclude_unset=True)
    async with simulate(loaded, read_scenario(tmp_path / "scenario.yaml"), port_base=0) as plant:
        link = plant.redirect(loaded).connections["cnc"]
        async with Reader(link.url, settings.pop("signals"), settings) as it:  # type: ignore[attr-defined]
            await it.until(lambda: len(it.got["mode"]) > 3)
            (header,) = it.adapter.headers
            said = {signal.name: signal for signal in header.signals}
            assert said["mode"].states == {0: "warm-up", 1: "cutting"}
            assert said["guessed"].states == {0: "stopped", 1: "setup", 2: "running", 3: "fault"}
            assert said["valve_0"].states == said["valve_1"].states == {0: "closed", 1: "open"}
            assert said["axis"].states == {0: "homing", 1: "held"}
            assert said["door"].states == {0: "stopped", 1: "setup"}
            assert {0, 1} == set(it.values("mode")) == set(it.values("axis")) == set(it.values("valve_1"))
            assert {True, False} == set(it.values("door"))
            assert it.values("valve_0")[0] == 0
            temp, amp = said["melt_temp"], said["amp"]
            assert (temp.unit, temp.low, temp.high) == ("Cel", 0, 150)
            assert (amp.unit, amp.low, amp.high) == ("A", 0, 16)
            assert it.values("amp") == [12]
            assert 0 < it.last("melt_temp")[1] < 150  # type: ignore[operator]
        async with AsyncuaClient(link.url) as client:  # type: ignore[attr-defined]
            index = await client.get_namespace_index("urn:shop:cnc")
            raw, bar = (client.get_node(ua.NodeId(name, index)) for name in ("Raw", "Bar"))
            span = await (await raw.get_child("0:EURange")).read_value()
            assert (span.Low, span.High) == (0, 2000), "of the variable, not of the signal"
            assert [await node.read_browse_name() for node in await raw.get_properties()] == [
                ua.QualifiedName("EURange", 0)
            ]
            unit = await (await bar.get_child("0:EngineeringUnits")).read_value()
            assert (unit.UnitId, unit.DisplayName.Text) == (0x424152, "bar")


def test_a_state_of_the_server_can_have_any_text_but_one_of_the_configuration_cannot(
    configuration: Callable[[str], Configuration], tmp_path: Path
) -> None:
    (tmp_path / "scenario.yaml").write_text(SCENARIO)
    ((machine,),) = make_machines(configuration(FROM_SERVER), read_scenario(tmp_path / "scenario.yaml")).values()
    assert machine.told["mode"] == Told(states=("warm-up", "cutting"))
    assert machine.told["melt_temp"] == Told("Cel", (0, 150))
    assert "bar" not in machine.told


# --- scaling, polling, deadbands ---------------------------------------------------------------------------------------


async def test_a_power_of_ten_of_another_signal_scales() -> None:
    signals = {
        "volt": {"node": "m:s=V", "type": "int", "scale_from": "v_sf"},
        "watt": {"node": "m:s=W", "type": "int", "scale_from": "w_sf", "scale": 0.5, "offset": 10},
        "v_sf": {"node": "m:s=VSF", "type": "int"},
        "w_sf": {"node": "m:s=WSF", "type": "int"},
    }
    shapes = {"volt": 230.14, "watt": 7260, "v_sf": -1, "w_sf": 2}
    plant = simulated(signals, {name: waves.constant(value) for name, value in shapes.items()})
    async with serving(plant) as url, Reader(url, signals) as it:
        await it.read()
        assert [it.last(name)[1] for name in signals] == [2301, 145, -1, 2]
    assert next(plant.ledger.entries()).values == {"volt": 230.1, "watt": 7260.0, "v_sf": -1, "w_sf": 2}


async def test_polled_signals_change_as_often_as_they_are_read() -> None:
    signals = {
        "fast": {"node": "m:s=Fast", "mode": "poll", "poll": "50ms"},
        "slow": {"node": "m:s=Slow", "mode": "poll", "poll": "400ms"},
        "sent": "m:s=Sent",
    }
    shapes = dict.fromkeys(signals, waves.ramp(0, 100, 100))
    plant = simulated(signals, shapes)
    async with serving(plant) as url, Reader(url, signals) as it:
        await it.until(lambda: len(it.got["slow"]) > 4)
        assert len(set(it.values("fast"))) > 2 * len(set(it.values("slow")))
    served = columns(plant.ledger.entries())
    for name in ("fast", "slow"):
        column = served[MACHINE, name]
        since = dict(zip(column.value, column.time, strict=True))
        assert set(it.values(name)) <= since.keys()
        assert all(since[value] <= time for time, value, _ in it.got[name])  # type: ignore[index]


DEADBANDS: Mapping[str, Any] = {
    "all": {"node": "m:s=Slow", "sampling": "50ms"},
    "near": {"node": "m:s=Slow", "report": "change", "deadband": 1, "sampling": "50ms"},
    "percent": {"node": "m:s=Slow", "report": "change", "deadband": "1%", "unit": "from-server", "sampling": "50ms"},
}


@pytest.mark.parametrize("ours", [True, False])
async def test_a_slow_drift_gets_through_a_deadband(ours: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """0.1 at a time: asyncua's filter lets none of it through, and knows no percent."""
    if not ours:
        monkeypatch.setattr(server_module, "install", lambda _: None)
    shapes = dict.fromkeys(DEADBANDS, waves.ramp(0, 100, 50))
    plant = simulated(DEADBANDS, shapes)
    (machine,) = plant.machines
    machine.told.update({"all": Told("%", (0, 200))})  # type: ignore[attr-defined]
    async with serving(plant) as url, Reader(url, DEADBANDS) as it:
        await it.until(lambda: len(it.got["all"]) > 100)
        near, percent = it.values("near"), it.values("percent")
    # The first one was read, the second is the first of the subscription.
    if not ours:
        assert len(near) <= 2
        assert len(percent) > 90
        return
    steps = [b - a for a, b in pairwise(near[1:])]  # type: ignore[operator]
    assert len(steps) > 5
    assert all(1 < step < 2 for step in steps), steps
    steps = [b - a for a, b in pairwise(percent[1:])]  # type: ignore[operator]
    assert len(steps) > 2
    assert all(2 < step < 3 for step in steps), steps


async def test_a_deadband_of_text_is_refused_and_ours_remains(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    signals = {"text": {"node": "m:s=Text", "report": "change", "deadband": 1}}
    plant = simulated(signals, {"text": waves.steps([(0, "a"), (0.5, "b")], 0.6)})
    async with serving(plant) as url, Reader(url, signals) as it:
        await it.until(lambda: {"a", "b"} <= set(it.values("text")))
    assert "the server has no deadband" in caplog.text


# --- events --------------------------------------------------------------------------------------------------------------


def events(name: str, severity: Wave, message: Wave, state: Value = "event", source: str = "CNC1") -> dict[str, Wave]:
    return {
        f"{name}_severity": severity,
        f"{name}_message": message,
        f"{name}_source": waves.constant(source),
        f"{name}_state": state if callable(state) else waves.constant(state),
    }


async def test_an_object_raises_an_event_when_a_part_of_it_changes() -> None:
    signals = {
        "alarm": {"node": "m:s=CNC1", "events": True, "sampling": "50ms"},
        "severe": {"node": "m:s=CNC1", "events": True, "severity": 500},
        "door": {"path": "m:CNC2/m:Door", "events": True, "sampling": "50ms"},
        "all": {"node": "i=2253", "events": True},
    }
    severity = waves.steps([(0, 100), (0.5, 700)], 1.2)
    message = waves.steps([(0, "a"), (0.25, "b"), (0.5, "c"), (0.75, "d")], 1.2)
    shapes = {
        **events("alarm", severity, message),
        **events("severe", waves.constant(1), waves.constant("not shown")),
        **events("door", waves.constant(5), waves.toggle(1.0)),
        **events("all", waves.constant(5), waves.constant("nothing")),
    }
    plant = simulated(signals, shapes)
    parts = ("severity", "source", "message", "state")
    async with serving(plant) as url, Reader(url, signals) as it:
        assert not plant.left_out
        await it.until(lambda: len(it.got["alarm_message"]) > 8 and len(it.got["all_message"]) > 12)
        compare(it, plant, *[f"{name}_{part}" for name in signals for part in parts])
        messages = "".join(map(str, it.values("alarm_message")))
        assert messages in "abcd" * 20
        told = dict(zip(it.values("alarm_message"), it.values("alarm_severity"), strict=True))
        assert told == {"a": 100, "b": 100, "c": 700, "d": 700}
        assert set(it.values("severe_message")) == {"c", "d"}
        assert set(it.values("door_message")) == {"True", "False"}
        assert {"a", "c", "True", "False"} <= set(it.values("all_message")), "the Server has the events of all"
        assert set(it.values("alarm_state")) == {"event"}
        assert set(it.values("alarm_source")) == {"CNC1"}


async def test_an_alarm_has_the_states_of_its_wave() -> None:
    states = ["active, unacknowledged", "active, acknowledged", "inactive, unconfirmed", "inactive, acknowledged",
              "disabled", "suppressed, active", "event"]  # fmt: skip
    wave = waves.steps([(i / len(states), state) for i, state in enumerate(states)], 0.2 * len(states))
    signals = {"alarm": {"node": "m:s=CNC1", "events": True, "sampling": "50ms"}}
    plant = simulated(signals, events("alarm", waves.constant(300), waves.constant("too fast"), wave, "CNC1/OverSpeed"))
    async with serving(plant) as url, Reader(url, signals) as it:
        await it.until(lambda: len(it.got["alarm_state"]) > len(states) + 2)
        assert set(it.values("alarm_state")) == {*states[:5], "active, suppressed", "event"}
        assert set(it.values("alarm_source")) == {"CNC1/OverSpeed"}
        compare(it, plant, "alarm_state", "alarm_source", "alarm_severity", "alarm_message")


async def test_events_happen_without_a_scenario(configuration: Callable[[str], Configuration]) -> None:
    text = FROM_SERVER.partition("signals:")[0] + 'signals: {alarm: {node: "m:s=CNC1", events: true}}\n'
    ((machine,),) = make_machines(configuration(text)).values()
    seen = {tuple(machine.value_at(f"alarm_{p}", t / 4) for p in ("severity", "source", "state")) for t in range(80)}
    assert seen == {(100, "lathe", "event"), (200, "lathe", "event"), (400, "lathe", "event"), (700, "lathe", "event")}
    changes = [machine.value_at("alarm_message", t) != machine.value_at("alarm_message", t + 1) for t in range(60)]
    assert 8 <= sum(changes) <= 15, "every few seconds"
