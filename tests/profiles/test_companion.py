"""The profiles for companion models, held against the nodesets as the OPC Foundation publishes them."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

from adapters.opcua.config import OpcuaMachine, OpcuaSignal
from adapters.opcua.nodes import PathAddress
from conftest import SHARED
from gateway.config import check_profile
from gateway.runtime.registry import protocols
from profiles.nodesets import ANALOG, DURATION, UA, Found, Nodesets

pytestmark = pytest.mark.shared

PROFILES = Path(__file__).parents[2] / "config" / "profiles"
# The type a machine of each profile is of, by OPC 40077, OPC 40501-1 and OPC 30050.
ROOTS = {
    "euromap77-imm": (f"{UA}PlasticsRubber/IMM2MES/", "IMM_MES_InterfaceType"),
    "machinetool-40501": (f"{UA}MachineTool/", "MachineToolType"),
    "packml-unit": (f"{UA}PackML/", "PackMLBaseObjectType"),
}
PREFIX = 2  # steps of a path that lead to the machine itself
# What a model says in words only: OPC 40501-1, 8.3.9, PowerOnDuration counts full hours.
UNITS = {("machinetool-40501", "power_on_hours"): "h"}
# What rises and is never counted down, by browse name, as the specifications describe it.
COUNTERS = {
    "MachineCycleCounter", "JobCycleCounter", "JobPartsCounter", "JobGoodPartsCounter", "JobBadPartsCounter",
    "JobTestSamplesCounter", "PowerOnDuration", "PartsProducedInLifetime", "AccCount",
}  # fmt: skip


@cache
def nodesets() -> Nodesets:
    return Nodesets(SHARED / "nodesets")


def machine_of(file: Path) -> OpcuaMachine:
    machine = check_profile(file, protocols()).machine
    assert isinstance(machine, OpcuaMachine)
    return machine


def words(text: str) -> str:
    """SEMI_AUTOMATIC, MdaMdi: as a profile writes it."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "-", text).replace("_", "-").lower()


def mistakes(file: Path) -> list[str]:
    """All in which a profile differs from its model."""
    uri, root = ROOTS[file.stem]
    machine, model, found = machine_of(file), nodesets(), []
    for name, signal in machine.signals.items():
        reference = re.fullmatch(r"nsu=([^;]+);(.+)", signal.semantic or "")
        if reference is None or reference[1] != uri:
            found.append(f"{name}: semantic {signal.semantic}")
            continue
        try:
            meant = model.find(model.type(uri, root), reference[2])
        except LookupError as exc:
            found.append(f"{name}: semantic: {exc}")
            continue
        found += [f"{name}: {problem}" for problem in differences(file.stem, name, machine, signal, meant)]
    return found


def differences(profile: str, name: str, machine: OpcuaMachine, signal: OpcuaSignal, meant: Found) -> list[str]:
    model, found = nodesets(), []
    address = machine.address_of(name)
    assert isinstance(address, PathAddress)
    steps = address.steps[PREFIX:]
    if len(steps) != len(meant.steps):
        found.append(f"path of {len(steps)} names, the model has {len(meant.steps)}")
    for (namespace, step), node in zip(steps, meant.steps, strict=False):
        if not node.may_be_called((str(namespace) if namespace else UA, step)):
            found.append(f"path: {step} of {namespace or UA}, the model has {node.name}")
    if signal.events:
        return found if meant.node.notifies else [*found, "the model has no events there"]
    if (signal.index is not None) is not meant.node.is_array:
        found.append("index: the model has " + ("an array" if meant.node.is_array else "no array"))
    if (signal.field or "") != meant.field:
        found.append(f"field {signal.field}, the model has {meant.field}")
    type_ = model.value_type(meant)
    if type_ == "enum":
        texts = {int(number): words(text) for text, number in model.fields(meant.node).items()}
        # UnitModeCurrent may be any enumeration; that of ISA-TR88.00.02 is the one of the nodeset.
        modes = model.type(f"{UA}PackML/", "ProductionMaintenanceModeEnum").fields
        texts = texts or {int(number): words(text) for text, number in modes.items()}
        if signal.enum != texts:
            found.append(f"enum {signal.enum}, the model has {texts}")
    elif signal.type != type_:
        found.append(f"type {signal.type}, the model has {type_}")
    analog = model.type_of(meant.node) in ANALOG
    unit = "from-server" if analog else "ms" if meant.node.data_type == DURATION else UNITS.get((profile, name), "")
    if signal.unit != unit:
        found.append(f"unit {signal.unit}, the model has {unit}")
    if (signal.kind == "counter") is not ((meant.field or meant.node.name[1]) in COUNTERS):
        found.append(f"kind {signal.kind}")
    return found


@pytest.mark.parametrize("profile", sorted(ROOTS))
def test_every_signal_is_what_its_model_says(profile):
    assert mistakes(PROFILES / f"{profile}.yaml") == []


def test_every_profile_for_opc_ua_is_held_to_a_model():
    of_opcua = {file.stem for file in PROFILES.glob("*.yaml") if "\nprotocol: opcua\n" in file.read_text()}
    assert of_opcua == set(ROOTS)


@pytest.mark.parametrize(
    ("profile", "written", "instead", "said"),
    [
        ("euromap77-imm", ";MachineStatus/MachineMode", ";MachineStatus/Mode", "mode: semantic: Mode is not below MachineStatus"),
        ("euromap77-imm", "gt:MachineMode", "gt:Mode", "mode: path: Mode of"),
        ("euromap77-imm", "gt:MachineMode", "imm:MachineMode", "mode: path: MachineMode of"),
        ("euromap77-imm", "2: semi-automatic", "2: manual", "mode: enum"),
        ("euromap77-imm", "gt:JobPartsCounter\n    type: int", "gt:JobPartsCounter\n    type: float", "parts_total: type float"),
        ("euromap77-imm", "gt:ProductName\n    index: 0", "gt:ProductName", "product: index: the model has an array"),
        ("euromap77-imm", "gt:LastCycleTime\n    type: float\n    unit: ms", "gt:LastCycleTime\n    type: float\n    unit: min", "cycle_time: unit min"),
        ("euromap77-imm", '"gt:Mould_1"', '"gt:Tool_1"', "mould_temperature_1: path: Tool_1 of"),
        ("machinetool-40501", "mt:ActiveProgram/NumberInList", "mt:ActiveProgram/mt:NumberInList", "program_number: path: NumberInList"),
        ("machinetool-40501", ";Monitoring/<MonitoredElement>/IsRotating", ";Monitoring/<MonitoredElement>/IsTurning", "spindle_rotating: semantic: IsTurning"),
        ("machinetool-40501", "    unit: h\n    kind: counter\n", "    unit: h\n", "power_on_hours: kind gauge"),
        ("packml-unit", "packml:CurMachSpeed\n    type: float\n    unit: from-server", "packml:CurMachSpeed\n    type: float", "speed: unit"),
        ("packml-unit", "packml:ExecuteState/CurrentState", "packml:ExecuteState/packml:CurrentState", "execute_state: path: CurrentState"),
    ],
)  # fmt: skip
def test_and_a_mistake_would_be_found(tmp_path, profile, written, instead, said):
    """The control: one word is another one."""
    text = (PROFILES / f"{profile}.yaml").read_text()
    assert text.count(written) == 1
    (tmp_path / f"{profile}.yaml").write_text(text.replace(written, instead))
    found = mistakes(tmp_path / f"{profile}.yaml")
    assert [each for each in found if each.startswith(said)], found


# --- states ----------------------------------------------------------------------------------------------------------


def literals(machine: OpcuaMachine, signal: str) -> set[str]:
    """What the rules compare a signal with."""
    assert machine.state is not None
    return {text for rule in machine.state.rules for text in re.findall(rf"\b{signal} == '([^']+)'", rule.when)}


def states_of(profile: str, signal: OpcuaSignal) -> set[str]:
    """The states of the state machine whose CurrentState this is."""
    uri, root = ROOTS[profile]
    path = (signal.semantic or "").partition(";")[2]
    return nodesets().states(nodesets().find(nodesets().type(uri, root), path).steps[-2])


@pytest.mark.parametrize(
    ("profile", "signal", "not_asked_for"),
    [
        ("packml-unit", "base_state", {"Cleared"}),  # in it machine_state counts
        ("packml-unit", "machine_state", {"Running"}),  # in it execute_state counts
        ("packml-unit", "execute_state", set()),
        ("machinetool-40501", "program_state", {"Initializing", "Ended"}),  # it is idle
    ],
)
def test_the_rules_name_the_states_of_the_model(profile, signal, not_asked_for):
    machine = machine_of(PROFILES / f"{profile}.yaml")
    assert literals(machine, signal) == states_of(profile, machine.signals[signal]) - not_asked_for


def test_a_machine_out_of_service_is_a_state_of_the_model():
    machine = machine_of(PROFILES / "machinetool-40501.yaml")
    states = states_of("machinetool-40501", machine.signals["machinery_state"])
    assert states == {"NotAvailable", "OutOfService", "NotExecuting", "Executing"}
    assert machine.state is not None
    [rule] = [rule for rule in machine.state.rules if "machinery_state" in rule.when]
    assert re.findall(r"== '([^']+)'", rule.when) == ["OutOfService"]


def test_a_packml_state_is_the_one_that_holds():
    machine = machine_of(PROFILES / "packml-unit.yaml")
    assert machine.state is not None
    for rule in machine.state.rules:
        [name] = re.findall(r"_state == '([^']+)'", rule.when)
        assert rule.packml_state == name
