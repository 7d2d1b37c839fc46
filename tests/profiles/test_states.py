"""What machines of the profiles are doing, by their rules: from what they say to the word, without any machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from conftest import SHARED
from gateway.config import check_profile
from gateway.model import NODE_UNKNOWN, Batch, Header, MachinePath, Signal, Value
from gateway.production.calendar import WorkCalendar
from gateway.production.derived import Derived
from gateway.runtime.registry import protocols
from profiles.nodesets import UA, Nodesets

PROFILES = Path(__file__).parents[2] / "config" / "profiles"
MISSING = object()  # what a machine does not have: bad, unknown-node


def doing(profile: str, said: dict[str, Any]) -> tuple[Value, Value]:
    """State and reason of a machine that says this; of what it does not say nothing is known."""
    machine = check_profile(PROFILES / f"{profile}.yaml", protocols(), env={}).machine
    assert machine.state is not None
    path = MachinePath("m")
    types = {str: "string", bool: "bool", int: "int", float: "float", object: "string"}
    signals = tuple(Signal(name, types[type(value)]) for name, value in said.items())  # type: ignore[arg-type]
    assert said.keys() <= machine.signals.keys(), "the profile has such signals"
    header = Header(path, signals)
    derived = Derived(path, {"m": machine}, WorkCalendar(), {"m": header})
    now = 1_700_000_000 * 10**9
    values = [None if value is MISSING else value for value in said.values()]
    quality = [NODE_UNKNOWN if value is MISSING else 0 for value in said.values()]
    found: dict[str, Value] = {}
    derived.tick(0.0, now)
    out = derived.take(Batch(header, header.order, [now] * len(signals), values, quality), 0.0, now)
    for _, seen in out + derived.tick(1.0, now + 10**9):
        found |= {seen.header.signals[i].name: value for i, value in zip(seen.signal, seen.value, strict=True)}
    return found["state"], found["state_reason"]


# EUROMAP 77: StandstillMessage is the fault that has stopped the machine; its Id is empty where there is none.
IMM = {
    "present": True, "production_status": "production", "mode": "automatic", "standstill_reason": "", "standstill_alarm": "",
    "standstill_message": "",
}  # fmt: skip
STOPPED = {"production_status": "no-production"}
ALARM = {"standstill_alarm": "A0117", "standstill_message": "Mould protection"}
MILL = {"mode": "automatic", "program_state": "Running", "machinery_state": "Executing"}
# Word 2100 of a Vacon 10: run is bit 1; ready, reverse, alarm and others beside it.
VACON = {"ready": True, "run": False, "fault": False, "alarm": False, "fault_code": 0}
DANFOSS = {"control_ready": True, "drive_ready": True, "drive_alarm": False, "drive_running": False, "alarm_word": 0}


@pytest.mark.parametrize(
    ("profile", "said", "expected"),
    [
        ("euromap77-imm", IMM, ("running", "")),
        ("euromap77-imm", IMM | STOPPED, ("stopped", "")),
        ("euromap77-imm", IMM | STOPPED | ALARM, ("fault", "Mould protection")),
        # As the operator says why it stands, and the control does not.
        ("euromap77-imm", IMM | STOPPED | {"standstill_reason": "material"}, ("stopped", "material")),
        ("euromap77-imm", IMM | STOPPED | ALARM | {"mode": "setup"}, ("setup", "")),
        # An old message while it produces again is no fault.
        ("euromap77-imm", IMM | ALARM, ("running", "")),
        # Nor does one that cannot be read hide the others.
        ("euromap77-imm", IMM | STOPPED | {"standstill_alarm": MISSING}, ("stopped", "")),
        ("euromap77-imm", IMM | ALARM | {"present": False}, ("off", "")),
        ("machinetool-40501", MILL, ("running", "")),
        ("machinetool-40501", MILL | {"machinery_state": "OutOfService"}, ("fault", "")),
        ("machinetool-40501", MILL | {"machinery_state": "OutOfService", "mode": "service"}, ("maintenance", "")),
        ("machinetool-40501", MILL | {"machinery_state": "NotExecuting", "program_state": "Ended"}, ("idle", "")),
        ("machinetool-40501", MILL | {"machinery_state": MISSING}, ("running", "")),  # a machine without it
        ("machinetool-40501", MILL | {"machinery_state": MISSING, "program_state": "Aborted"}, ("stopped", "program aborted")),
        ("vacon-10", VACON, ("idle", "")),
        ("vacon-10", VACON | {"run": True}, ("running", "")),
        ("vacon-10", VACON | {"run": True, "alarm": True}, ("running", "")),
        ("vacon-10", VACON | {"ready": False, "fault": True, "fault_code": 9}, ("fault", "9")),
        ("vacon-10", VACON | {"ready": False}, ("stopped", "")),
        ("danfoss-fc51", DANFOSS, ("idle", "")),
        ("danfoss-fc51", DANFOSS | {"drive_running": True}, ("running", "")),
        ("danfoss-fc51", DANFOSS | {"drive_ready": False, "drive_alarm": True, "alarm_word": 0x4000}, ("fault", "16384")),
        ("danfoss-fc51", DANFOSS | {"drive_ready": False}, ("stopped", "")),
        ("cryomech-cpa", {"operating_state": "running"}, ("running", "")),
        ("cryomech-cpa", {"operating_state": "idle"}, ("idle", "")),
        ("cryomech-cpa", {"operating_state": "starting"}, ("idle", "starting")),
        ("cryomech-cpa", {"operating_state": "stopping"}, ("stopped", "")),
        ("cryomech-cpa", {"operating_state": "lockout"}, ("fault", "lockout")),
        ("cryomech-cpa", {"operating_state": "power error"}, ("fault", "power error")),
        ("cryomech-cpa", {"operating_state": "recovered"}, ("idle", "")),
        *[
            (name, {"St": st, "Evt1": 0x20}, expected)
            for name in ("sunspec-inverter", "sunspec-inverter-103")
            for st, expected in (
                ("mppt", ("running", "")), ("throttled", ("running", "throttled")), ("standby", ("idle", "")),
                ("sleeping", ("waiting", "sleeping")), ("starting", ("idle", "")), ("shutting down", ("stopped", "")),
                ("off", ("off", "")), ("fault", ("fault", "32")),
            )
        ],
    ],
)  # fmt: skip
def test_what_it_is_doing(profile, said, expected):
    assert doing(profile, said) == expected


@pytest.mark.parametrize("profile", ["vacon-10", "danfoss-fc51", "cryomech-cpa", "sunspec-inverter"])
def test_the_rules_look_at_what_the_profile_reads(profile):
    """A drive whose word cannot be read is doing nobody knows what."""
    names = {
        "vacon-10": VACON,
        "danfoss-fc51": DANFOSS,
        "cryomech-cpa": ["operating_state"],
        "sunspec-inverter": ["St"],
    }
    assert doing(profile, dict.fromkeys(names[profile], MISSING))[0] == "unknown"


DRIVES_SAY = {
    ("vacon-10", 2100): {"ready": 0, "run": 1, "reverse": 2, "fault": 3, "alarm": 4},
    ("danfoss-fc51", 50199): {"control_ready": 0, "drive_ready": 1, "drive_alarm": 3, "remote_control": 9, "drive_running": 11},
}  # fmt: skip


@pytest.mark.parametrize(("profile", "address"), DRIVES_SAY)
def test_the_bits_of_a_status_word_are_those_of_the_source(profile, address):
    """wirenboard/wb-mqtt-serial, config-vacon10.json and config-danfoss-fc51.json."""
    signals = check_profile(PROFILES / f"{profile}.yaml", protocols(), env={}).machine.signals
    bits = {name: s.bit for name, s in signals.items() if s.bit is not None and s.address == address}
    assert DRIVES_SAY[profile, address].items() <= bits.items()


# --- what they are in a companion model ------------------------------------------------------------------------------

# What of a device without OPC UA has a name in the model for devices: IVendorNameplateType and IOperationCounterType.
DI = {
    "danfoss-fc51": {"operating_hours": "PowerOnDuration", "running_hours": "OperationDuration"},
    "cryomech-cpa": {
        "hours": "OperationDuration", "serial": "SerialNumber", "model": "Model", "software_rev": "SoftwareRevision",
    },
    "sunspec-inverter": {"Mn": "Manufacturer", "Md": "Model", "SN": "SerialNumber"},
}  # fmt: skip


@pytest.mark.shared
def test_semantic_ids_of_devices_are_in_the_published_model():
    model = Nodesets(SHARED / "nodesets")
    uri = f"{UA}DI/"
    names = {
        node.name[1]
        for type_ in ("IVendorNameplateType", "IOperationCounterType")
        for node in model.members(model.type(uri, type_))
    }
    for file in PROFILES.glob("*.yaml"):
        if "\nprotocol: modbus\n" not in file.read_text():
            continue  # those of OPC UA are held to their own models
        signals = check_profile(file, protocols(), env={}).machine.signals
        found = {name: s.semantic for name, s in signals.items() if s.semantic}
        assert found == {name: f"nsu={uri};{each}" for name, each in DI.get(file.stem, {}).items()}
        assert set(DI.get(file.stem, {}).values()) <= names
