"""Address spaces with odd names, all kinds of types, cycles, many nodes; machines of companion specifications.

What is imported has to pass `gateway config check`, and `gateway read` has to show what the server was told to hold.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from parts.gateway import gateway
from parts.node_opcua_plant import NodeOpcuaPlant

NONE = ("--security", "None")
SHARED = Path(__file__).parents[4] / "shared"


def imported(url: str, folder: Path, *arguments: str) -> tuple[dict[str, Any], str]:
    """The machines that were written, and what was said."""
    done = gateway("opcua", "import", url, *NONE, "-o", "gateway.yaml", "--force", *arguments, cwd=folder)
    assert done.returncode == 0, done.stderr
    checked = gateway("config", "check", "gateway.yaml", cwd=folder)
    assert checked.returncode == 0, checked.stderr
    machines: dict[str, Any] = yaml.safe_load((folder / "gateway.yaml").read_text())["machines"]
    return machines, done.stderr


def read(folder: Path, machine: str) -> dict[str, dict[str, Any]]:
    done = gateway("read", machine, "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    return {row["signal"]: row for row in map(json.loads, done.stdout.splitlines())}


# --- odd names, types, cycles ----------------------------------------------------------------------------------------


def test_whatever_a_node_is_called_its_own_value_is_read(space, tmp_path):
    machines, said = imported(space.url, tmp_path, "Odd names")
    # Each variable holds its own number; those whose ids cannot be written are told about.
    assert [row["value"] for row in read(tmp_path, "Odd_names").values()] == [*range(13), 100, 101, 102, 201, 202]
    assert "left out: 3 with a node id that cannot be written" in said
    signals = machines["Odd_names"]["signals"]
    assert signals["Fuellstand"]["node"] == 'space:s="DB_Prozess"."Füllstand"[3]'
    assert signals["signal"]["description"] == "温度"
    assert max(map(len, signals)) <= 64


def test_paths_are_read_as_well_and_twins_keep_their_ids(space, tmp_path):
    machines, _ = imported(space.url, tmp_path, "Odd names", "--paths")
    signals = machines["Odd_names"]["signals"]
    assert signals["a_b_c_d_e"]["path"] == "space:Odd names/space:a&/b&:c&&d<e>"
    assert signals["twin"] == {"node": "space:s=twin 1", "type": "int"}
    # Those whose ids cannot be written have ordinary names, and so a path.
    assert [row["value"] for row in read(tmp_path, "Odd_names").values()] == [*range(16), 100, 101, 102, 201, 202]


def test_all_kinds_of_values(space, tmp_path):
    machines, said = imported(space.url, tmp_path, "Values")
    signals, rows = machines["Values"]["signals"], read(tmp_path, "Values")
    values = {name: row["value"] for name, row in rows.items() if row["quality"] == "good"}
    assert {name for name, row in rows.items() if row["quality"] != "good"} == {"NotANumber"}
    assert values["Scalar"] == 21.5
    assert [values[f"Array_{i}"] for i in range(3)] == [1, 2, 3]
    assert (values["Texts_0"], values["Texts_1"]) == ("a", "b")
    assert [values[f"Matrix_{i}_{j}"] for i in range(2) for j in range(3)] == [1, 2, 3, 4, 5, 6]
    assert (values["Mode"], values["Switch"], values["Step"]) == ("Manual", "open", "fill")
    assert (values["Axis.Position"], values["Axis.Name"], values["Axis.Mode"]) == (1.5, "X", "Auto")
    assert (values["Axes_1.Position"], values["Head.Axes_1.Name"], values["Head.Limits_1"]) == (-2.5, "Y", 1.5)
    assert (int(values["Head.Count"]), int(values["Huge"])) == (2**63, 2**64 - 1)
    assert values["Localized"] == "ready"
    assert values["Bytes"] == "01ff"
    assert values["Date"].startswith("2024-02-29T06:30:00")
    assert signals["Head.Axes_1.Position"] == {
        "node": "space:s=Values.Head", "field": "Axes[1].Position", "type": "float",
    }  # fmt: skip
    assert signals["Step"]["enum"] == {0: "idle", 2: "fill"}, "one without a text has none"
    # Its value is outside of EURange, which it may be: that of the instrument is the plausible one.
    assert (signals["Outside"]["range"], signals["Outside"]["unit"]) == ([-50, 400], "Cel")
    for what in ("1 arrays that are too long", "1 arrays without an element", "1 that cannot be read"):
        assert f"left out: {what}" in said
    assert (
        imported(space.url, tmp_path, "Values/Long", "--max-elements", "1000")[0]["Values"]["signals"]["Long"]["count"]
        == 1000
    )


def test_the_same_is_written_every_time(space, tmp_path):
    imported(space.url, tmp_path)
    first = (tmp_path / "gateway.yaml").read_text()
    imported(space.url, tmp_path)
    assert (tmp_path / "gateway.yaml").read_text() == first


def test_each_object_a_machine(space, tmp_path):
    machines, _ = imported(space.url, tmp_path, "--each", "*")
    assert list(machines) == ["Odd_names", "Values", "a"]
    assert machines["a"]["signals"] == {"b.value": {"node": "space:s=Cycle.value", "type": "int"}}


def test_a_thousand_variables(space_with_many, tmp_path):
    machines, _ = imported(space_with_many.url, tmp_path, "Many*/*", "--machine", "many")
    signals = machines["many"]["signals"]
    assert len(signals) == 1000
    rows = read(tmp_path, "many")
    assert [row["value"] for row in rows.values()] == [float(i) for i in range(1000)]


# --- companion specifications ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def of_plant(plant, tmp_path_factory) -> tuple[Path, dict[str, Any], str]:
    folder = tmp_path_factory.mktemp("plant")
    return folder, *imported(plant.url, folder, "--connection", "plant")


def test_machines_are_recognised_and_named(of_plant):
    _, machines, said = of_plant
    assert set(machines) == {"Lathe-01", "LaserCutter-02", "Press-03", "Filler", "Robot-05"}
    assert "Lathe-01: MachineTool (OPC 40501-1), Machinery (OPC 40001-1), 8 signals" in said
    assert "Press-03: Machinery (OPC 40001-1), Machinery states (OPC 40001-1), 4 signals" in said
    assert "Filler: PackML (OPC 30050)" in said
    assert "Robot-05: Robotics (OPC 40010-1)" in said
    assert machines["Lathe-01"]["description"] == "Acme Werkzeugbau TurnMaster 400, serial number SN-1001"
    assert machines["Press-03"]["description"] == "Presto P 2000, serial number P-77"


def test_of_a_machine_tool_what_is_measured_and_produced(of_plant):
    folder, machines, _ = of_plant
    signals = machines["Lathe-01"]["signals"]
    assert set(signals) == {
        "Monitoring.MachineTool.OperationMode", "Monitoring.MachineTool.FeedOverride", "Monitoring.MachineTool.IsWarmUp",
        "Monitoring.MachineTool.PowerOnDuration", "Production.ActiveProgram.Name", "Production.ActiveProgram.NumberInList",
        "Production.ActiveProgram.JobIdentifier", "Production.ActiveProgram.State.CurrentState",
    }  # fmt: skip
    assert signals["Monitoring.MachineTool.PowerOnDuration"]["kind"] == "counter"
    assert signals["Monitoring.MachineTool.OperationMode"]["enum"][1] == "Automatic"
    rows = read(folder, "Lathe-01")
    assert rows["Monitoring.MachineTool.OperationMode"]["value"] == "Automatic"
    assert rows["Production.ActiveProgram.Name"]["value"] == "O1234.nc"


def test_of_machinery_its_states_counters_and_the_values_of_the_manufacturer(of_plant):
    folder, machines, _ = of_plant
    signals = machines["Press-03"]["signals"]
    assert set(signals) == {
        "MachineryItemState.CurrentState", "OperationCounters.OperationCycleCounter", "OperationCounters.PowerOnDuration",
        "HoldPressure",
    }  # fmt: skip
    assert signals["OperationCounters.PowerOnDuration"] == {
        "node": "hall:s=Press-03.PowerOnDuration", "type": "float", "unit": "ms", "kind": "counter",
    }  # fmt: skip
    assert signals["HoldPressure"]["description"] == "Pressure after the gate has frozen"
    rows = read(folder, "Press-03")
    assert rows["MachineryItemState.CurrentState"]["value"] == "Executing"
    assert rows["OperationCounters.OperationCycleCounter"]["value"] == 123456
    assert (rows["HoldPressure"]["value"], rows["HoldPressure"]["unit"]) == (87.5, "bar")


def test_of_packml_its_status_and_counts(of_plant):
    folder, machines, _ = of_plant
    signals = machines["Filler"]["signals"]
    assert signals["Admin.ProdProcessedCount_0.AccCount"] == {
        "node": "hall:s=Filler-Admin-ProdProcessedCount", "field": "[0].AccCount", "type": "int", "kind": "counter",
        "unit": "L",
    }  # fmt: skip
    assert "kind" not in signals["Admin.ProdProcessedCount_0.Count"]
    assert not [name for name in signals if "Unit." in name], "the unit stands with its number"
    rows = read(folder, "Filler")
    assert rows["Admin.ProdProcessedCount_0.AccCount"]["value"] == 100040
    assert rows["Status.CurMachSpeed"]["value"] == 118.5
    assert rows["BaseStateMachine.CurrentState"]["value"] == "Running"


@pytest.mark.shared
def test_the_example_of_the_specification_itself(of_plant, tmp_path):
    """ExampleMachine01 of OPC 40001-1, as the OPC Foundation publishes it."""
    with NodeOpcuaPlant(nodesets=[SHARED / "nodesets" / "90_Machinery_Examples.xml"]) as server:
        machines, _ = imported(server.url, tmp_path, "--connection", "plant")
    example = machines.pop("ExampleMachine01")
    assert machines == of_plant[1]
    assert example["description"] == "ENGEL AUSTRIA GMBH Viper 6, serial number 235223, built 2020"
    assert set(example["signals"]) == {"MachineryItemState.CurrentState", "MachineryOperationMode.CurrentState"}


def test_alarms_and_settings_are_left_out_unless_asked_for(of_plant, plant, tmp_path):
    _, machines, said = of_plant
    assert not [name for machine in machines.values() for name in machine["signals"] if "PressureHigh" in name]
    assert "alarms and conditions" in said
    assert "identification and settings" in said
    everything, _ = imported(plant.url, tmp_path, "**/Press-03", "--all")
    assert "PressureHigh.HighLimit" in everything["Press-03"]["signals"]
    assert "Identification.SerialNumber" in everything["Press-03"]["signals"]


def test_a_server_with_two_continuation_points_and_small_limits(of_plant, tmp_path):
    """Four folders with more than comes at once: node-opcua refuses with BadNoContinuationPoints."""
    limits = {"maxBrowseContinuationPoints": 2, "operationLimits": {"maxNodesPerBrowse": 5, "maxNodesPerRead": 300}}
    with NodeOpcuaPlant({"serverCapabilities": limits}, wide=4) as server:
        machines, _ = imported(server.url, tmp_path, "--connection", "plant")
    wide = machines.pop("plant")["signals"]
    assert machines == of_plant[1]
    assert len(wide) == 4 * 1100
    assert wide["Wide3.Value1099"] == {"node": "hall:s=Wide3.Value1099", "type": "float"}
