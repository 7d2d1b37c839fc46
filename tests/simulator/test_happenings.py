"""When faults happen, worked out by hand; chance, which is the same for the same seed; and mistakes at their place."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

import simulators
from adapters.modbus.config import ModbusMachine
from adapters.modbus.connections import ModbusRtu, ModbusTcp, ModbusUdp
from adapters.opcua.config import OpcuaConnection, OpcuaMachine
from gateway.config import Configuration, Protocol, load
from gateway.errors import ConfigErrors
from simulators import modbus, opcua
from simulators.behaviour import written
from simulators.behaviour.fault_settings import FAULTS, ON_THE_WIRE, STATUS_CODES, Drop, Exceptional
from simulators.behaviour.faults import happenings
from simulators.behaviour.happenings import Happenings, Moments
from simulators.behaviour.scenario import Scenario, make_faults, make_machines, read_scenario
from simulators.behaviour.wave_settings import WAVES
from simulators.modbus import KINDS

# --- moments -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("t", "latest", "active", "next_change"),
    [(-1, -1, False, 10), (9.9, -1, False, 10), (10, 0, True, 13), (12.9, 0, True, 13), (13, 0, False, math.inf)],
)
def test_once(t: float, latest: int, active: bool, next_change: float) -> None:
    moments = Moments(10, 3)
    assert (moments.latest(t), moments.active(t), moments.next_change(t)) == (latest, active, next_change)


@pytest.mark.parametrize(
    ("t", "latest", "active", "next_change", "last_end"),
    [
        (9, -1, False, 10, None),
        (11, 0, True, 13, None),
        (13, 0, False, 110, 13),
        (110, 1, True, 113, 13),
        (115, 1, False, 210, 113),
        (10 + 100 * 315_360 + 1, 315_360, True, 10 + 100 * 315_360 + 3, 10 + 100 * 315_359 + 3),
    ],
)
def test_every_so_often(t: float, latest: int, active: bool, next_change: float, last_end: float | None) -> None:
    moments = Moments(10, 3, 100)
    assert (moments.latest(t), moments.active(t)) == (latest, active)
    assert (moments.next_change(t), moments.last_end(t)) == (next_change, last_end)


def test_what_is_over_at_once_and_what_is_for_good() -> None:
    at_once, for_good = Moments(10, 0), Moments(10)
    assert [at_once.active(t) for t in (9, 10, 11)] == [False, False, False]
    assert [at_once.latest(t) for t in (9, 10, 11)] == [-1, 0, 0]
    assert [for_good.active(t) for t in (9, 10, 1e9)] == [False, True, True]
    assert (for_good.next_change(0), for_good.next_change(10), for_good.last_end(1e9)) == (10, math.inf, None)


def test_every_change_is_later_than_the_moment_it_is_asked_at() -> None:
    """Else whoever sleeps until then would never get past it: 0.1 * 3 is more than 0.3."""
    moments, t = Moments(0.1, 0.05, 0.1), 0.0
    for _ in range(2000):
        later = moments.next_change(t)
        assert later > t
        t = later
    assert t == pytest.approx(0.1 + 999 * 0.1 + 0.05)


# --- which requests ------------------------------------------------------------------------------------------------------

CONFIG = """
connections:
  press: {protocol: modbus-tcp, host: 127.0.0.1}
  bus: {protocol: modbus-rtu, port: /dev/ttyUSB0}
  radio: {protocol: modbus-udp, host: 127.0.0.1}
  cnc: {protocol: opcua, url: "opc.tcp://127.0.0.1:4840", security: None}
  spare: {protocol: modbus-tcp, host: 127.0.0.2}
machines:
  press-07: {connection: press, unit_id: 7, signals: {shots: {holding: 0, type: uint32, kind: counter}, mode: {holding: 3, type: uint16, enum: {0: "off", 1: auto}}}}
  press-08: {connection: press, unit_id: 8, signals: {shots: {holding: 0, type: uint32, kind: counter}}}
  meter: {connection: bus, signals: {energy: {holding: 0, type: uint32, unit: kW.h, kind: counter}}}
  tank: {connection: radio, signals: {level: {holding: 0, type: uint16}}}
  lathe: {connection: cnc, signals: {speed: {node: "nsu=urn:x;s=Speed"}, program: {node: "nsu=urn:x;s=Program", type: string}}}
"""
PROTOCOLS = {
    "modbus-tcp": Protocol("modbus-tcp", ModbusTcp, ModbusMachine),
    "modbus-rtu": Protocol("modbus-rtu", ModbusRtu, ModbusMachine),
    "modbus-udp": Protocol("modbus-udp", ModbusUdp, ModbusMachine),
    "opcua": Protocol("opcua", OpcuaConnection, OpcuaMachine),
}
Read = Callable[..., Scenario]


@pytest.fixture
def plan(tmp_path: Path) -> Configuration:
    (tmp_path / "gateway.yaml").write_text(CONFIG)
    return load(tmp_path / "gateway.yaml", PROTOCOLS)


@pytest.fixture
def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Read:
    monkeypatch.chdir(tmp_path)

    def make(*faults: str, seed: int = 1) -> Scenario:
        path = tmp_path / "scenario.yaml"
        path.write_text("\n".join([f"seed: {seed}", "faults:", *(f"  - {{{fault}}}" for fault in faults)]) + "\n")
        return read_scenario(path)

    return make


def of_press(plan: Configuration, scenario: Scenario) -> Happenings:
    made = happenings(
        "press",
        make_faults(plan, scenario),
        {"press": ["press-07", "press-08"]},
        scenario.settings.seed,
        Counter(),
        print,
    )
    assert made is not None
    return made


def met(it: Happenings, machine: str, *times: float) -> list[str]:
    return [fault.kind if (fault := it.judge((machine,), t)) else "" for t in times]


def test_the_nth_request_to_a_place(plan: Configuration, read: Read) -> None:
    of_all = of_press(plan, read("fault: drop, request: 3", "fault: silence, request: 2, machine: press-08"))
    asked = ["press-07", "press-08", "press-07", "press-07", "press-08", "press-08"]
    assert [met(of_all, machine, 0)[0] for machine in asked] == ["", "", "drop", "", "silence", ""]


def test_every_request_within_a_time(plan: Configuration, read: Read) -> None:
    it = of_press(plan, read("fault: exception, code: 6, at: 10s, for: 5s, every: 60s, machine: press-07"))
    assert met(it, "press-07", 9, 10, 14.9, 15, 70) == ["", "exception", "exception", "", "exception"]
    assert met(it, "press-08", 10, 70) == ["", ""]
    ((settings,),) = {(fault.settings,) for fault in it.faults}
    assert isinstance(settings, Exceptional)
    assert settings.code == 6


def test_the_first_one_that_is_written_happens(plan: Configuration, read: Read) -> None:
    it = of_press(plan, read("fault: silence, at: 10s, for: 5s", "fault: drop, request: 2"))
    assert met(it, "press-07", 9, 11) == ["", "silence"]


def test_chance_is_the_same_for_the_same_seed(plan: Configuration, read: Read) -> None:
    def drawn(scenario: Scenario) -> list[str]:
        return met(of_press(plan, scenario), "press-07", *range(2000))

    ten = drawn(read("fault: corrupted, chance: 10%"))
    assert ten == drawn(read("fault: corrupted, chance: 10%"))
    assert ten != drawn(read("fault: corrupted, chance: 10%", seed=2))
    # 200 are expected, with a standard deviation of 13.4.
    assert 140 < ten.count("corrupted") < 260
    # What stands beside it changes nothing about it.
    beside = drawn(read("fault: corrupted, chance: 10%", "fault: late, by: 1s, request: 1"))
    assert beside[1:] == ten[1:]


def test_chance_within_a_time(plan: Configuration, read: Read) -> None:
    it = of_press(plan, read("fault: corrupted, chance: 50%, at: 1000s, for: 1000s"))
    kinds = met(it, "press-07", *range(3000))
    assert not any(kinds[:1000] + kinds[2000:])
    assert 420 < kinds[1000:2000].count("corrupted") < 580  # 500, standard deviation 16


# --- what happens by itself ----------------------------------------------------------------------------------------------


def test_a_connection_is_cut_once_and_a_new_one_lives(plan: Configuration, read: Read) -> None:
    it = of_press(plan, read("fault: drop, at: 10s, every: 1min"))
    assert it.cut(0, 9) is None
    lost = it.cut(0, 11)
    assert lost is not None
    assert isinstance(lost.settings, Drop)
    assert it.cut(10.5, 69) is None
    assert it.cut(10.5, 70) is lost
    assert met(it, "press-07", 9, 10, 11) == ["", "", ""], "not with a request"


def test_nobody_gets_in_while_it_is_unreachable(plan: Configuration, read: Read) -> None:
    it = of_press(plan, read("fault: unreachable, at: 10s, for: 5s"))
    assert [it.away(t) is not None for t in (9, 10, 14, 15)] == [False, True, True, False]
    assert it.cut(12, 16) is None
    assert it.cut(9, 16) is not None
    one = of_press(plan, read("fault: unreachable, at: 10s, for: 5s, machine: press-07"))
    assert one.away(11) is None, "its neighbour behind the same gateway answers"
    assert one.absent(("press-07",), 11) is not None
    assert one.absent(("press-08",), 11) is None
    assert one.cut(9, 11) is None


def test_a_moment_counts_once_however_often_it_is_noticed(plan: Configuration, read: Read) -> None:
    it = of_press(plan, read("fault: drop, at: 10s, every: 10s", "fault: drop, request: 1"))
    first, second = it.faults
    for t in (10, 11, 12, 20, 21):
        it.count(first, t)
    it.count(second)
    assert it.happened == {"drop": 3}


def test_what_was_over_before_the_start_has_not_happened(plan: Configuration, read: Read) -> None:
    it = of_press(plan, read("fault: drop, at: 10s", "fault: unreachable, at: 50s, for: 20s", "fault: drop, at: 90s"))
    it.begin(60)
    it.count_all(61)
    assert it.happened == {"unreachable": 1}
    it.count_all(91)
    assert it.happened == {"unreachable": 1, "drop": 1}


# --- where ---------------------------------------------------------------------------------------------------------------


def machines_of(plan: Configuration, scenario: Scenario) -> list[list[str]]:
    return [list(meant.machines) for meant in make_faults(plan, scenario)]


def test_without_a_name_it_happens_wherever_it_can(plan: Configuration, read: Read) -> None:
    found = machines_of(
        plan,
        read(
            "fault: unreachable, at: 1s, for: 1s",
            "fault: corrupted, chance: 1%",
            "fault: id-wrong, chance: 1%",  # where there are transaction ids
            "fault: late-overtaken, chance: 1%",  # on a line
            "fault: drop, at: 1s",  # where there are connections
            "fault: clock-jump, by: 1h, at: 1s",  # where there are time stamps
            "fault: silence, connection: press, chance: 1%",
            "fault: silence, machine: press-08, chance: 1%",
        ),
    )
    assert found == [
        ["press-07", "press-08", "meter", "tank", "lathe"],
        ["press-07", "press-08", "meter", "tank"],
        ["press-07", "press-08", "tank"],
        ["meter"],
        ["press-07", "press-08", "lathe"],
        ["lathe"],
        ["press-07", "press-08"],
        ["press-08"],
    ]


def test_the_kinds_are_those_of_the_protocols() -> None:
    assert {*ON_THE_WIRE, "silence", "half-open", "late"} == set(KINDS)
    tcp, secure = ModbusTcp(protocol="modbus-tcp", host="x"), {"protocol": "opcua", "url": "opc.tcp://x"}
    everything = {
        *modbus.possible_faults(tcp),
        *modbus.possible_faults(ModbusRtu(protocol="modbus-rtu", port="/dev/ttyUSB0")),
        *opcua.possible_faults(OpcuaConnection.model_validate({**secure, "security": "auto"})),
    }
    assert everything == set(FAULTS)
    assert "certificate-change" not in opcua.possible_faults(
        OpcuaConnection.model_validate({**secure, "security": "None"})
    )


def test_status_codes_are_those_of_the_standard() -> None:
    from asyncua.ua import StatusCodes

    assert {name: getattr(StatusCodes, name) for name in STATUS_CODES} == STATUS_CODES


# --- what a reboot does to the values ------------------------------------------------------------------------------------


def test_counters_start_at_0_after_a_reboot_and_a_meter_keeps_its_energy(plan: Configuration, tmp_path: Path) -> None:
    path = tmp_path / "scenario.yaml"
    path.write_text("""
machines:
  press-07: {signals: {shots: {wave: counter, period: 10s, first: 100}, mode: auto}}
  press-08: {signals: {shots: {wave: counter, period: 10s, first: 100}}}
  meter: {signals: {energy: {wave: energy, power: 3600000, first: 5}}}
faults:
  - {fault: reboot, at: 100s, for: 20s, every: 1000s, machine: press-07, sets: {mode: "off"}}
  - {fault: reboot, at: 500s, for: 20s, machine: press-07}
  - {fault: reboot, at: 100s, for: 20s, machine: press-08, resets: []}
  - {fault: reboot, at: 100s, for: 20s, machine: meter}
""")
    made = make_machines(plan, read_scenario(path))
    press, other = made["press"]
    # Down from 100 s to 120 s: then it has made none. 28 more up to 400 s; and 0 again at 520 s and at 1120 s.
    times = (0, 99, 119, 120, 400, 519, 520, 1119, 1120, 1145)
    assert [press.value_at("shots", t) for t in times] == [100, 109, 111, 0, 28, 39, 0, 59, 0, 2]
    assert [press.value_at("mode", t) for t in (0, 119, 120, 2000)] == ["auto", "auto", "off", "off"]
    assert [other.value_at("shots", t) for t in (99, 130)] == [109, 113]
    assert made["bus"][0].value_at("energy", 130) == pytest.approx(5 + 130)


# --- mistakes ------------------------------------------------------------------------------------------------------------

MISTAKES = [
    ("fault: corupted, chance: 1%", "faults.0.fault: the fault 'corupted' is not known", "did you mean 'corrupted'?"),
    ("fault: [drop], chance: 1%", "faults.0.fault: a list is not the name of a fault", "did you mean 'drop'?"),
    ("fault: drop, connection: spare, chance: 1%", "faults.0.connection: there is no machine behind 'spare'", ""),
    ("chance: 1%", "faults.0.fault: 'fault' is missing", "known: certificate-change, "),
    ("fault: drop", "faults.0: when does drop happen?", "say at: 10min, request: 25 or chance: 1%"),
    ("fault: unreachable", "faults.0: when does unreachable happen?", "say at: 10min"),
    ("fault: unreachable, at: 1min", "faults.0: how long does unreachable last?", "for example for: 40s"),
    (
        "fault: reboot, chance: 1%",
        "faults.0.chance: reboot comes at a time, not with a request",
        "for example at: 10min",
    ),
    ("fault: drop, request: 2, chance: 1%", "faults.0.chance: request 2 meets it, whenever that is", "leave out"),
    ("fault: drop, chance: 1%, for: 1min", "faults.0.for: `for` goes with a time", "say `at`, for example at: 10min"),
    (
        "fault: unreachable, at: 1min, for: 2min, every: 1min",
        "faults.0.for: it would still last when it comes again",
        "`for` is no more than `every`",
    ),
    ("fault: drop, chance: 5", "faults.0.chance: '5' is no chance", "a percentage of all requests, for example 1%"),
    ("fault: late, chance: 1%", "faults.0.by: 'by' is missing", "How much longer"),
    (
        "fault: drop, request: 1, conection: press",
        "faults.0.conection: 'conection' is not a key here",
        "did you mean 'connection'?",
    ),
    (
        "fault: drop, request: 1, connection: pres",
        "faults.0.connection: the configuration has no connection 'pres'",
        "did you mean 'press'?",
    ),
    (
        "fault: drop, request: 1, machine: press-7",
        "faults.0.machine: the configuration has no machine 'press-7'",
        "did you mean 'press-07'?",
    ),
    (
        "fault: drop, request: 1, machine: lathe, connection: cnc",
        "faults.0.connection: a machine has one connection",
        "say either",
    ),
    (
        "fault: exception, chance: 1%, connection: cnc",
        "faults.0.fault: cnc is opcua, and has no fault 'exception'",
        "it can have clock-jump, drop, half-open,",
    ),
    (
        "fault: clock-jump, by: 1h, at: 1s, machine: press-07",
        "faults.0.fault: press is modbus-tcp, and has no fault 'clock-jump'",
        "it can have corrupted, drop,",
    ),
    (
        "fault: id-zero, chance: 1%, machine: meter",
        "faults.0.fault: bus is modbus-rtu, and has no fault 'id-zero'",
        "it can have corrupted,",
    ),
    (
        "fault: certificate-change, at: 1min",
        "faults.0.fault: no connection here can have the fault 'certificate-change'",
        "",
    ),
    (
        "fault: status, at: 1s, signals: [sped], code: BadSensorFailure",
        "faults.0.signals.0: no machine that is meant has a signal 'sped'",
        "did you mean 'speed'?",
    ),
    (
        "fault: status, at: 1s, signals: [speed], code: BadSensor",
        "faults.0.code: 'BadSensor' is no status code known here",
        "did you mean 'BadSensorFailure'?",
    ),
    ("fault: limit, at: 1s", "faults.0: which limit?", "one of max_nodes_per_read,"),
    (
        "fault: reboot, at: 1s, for: 1s, machine: press-07, sets: {mode: atuo}",
        "faults.0.sets.mode: 'atuo' is not a state of this signal",
        "did you mean 'auto'?",
    ),
    (
        "fault: reboot, at: 1s, for: 1s, machine: press-07, resets: [press-08/shots]",
        "faults.0.resets.0: no machine that is meant has a signal 'press-08/shots'",
        "",
    ),
]


@pytest.mark.parametrize(("fault", "expected", "hint"), MISTAKES, ids=[e[:60] for _, e, _ in MISTAKES])
def test_a_mistake_is_shown_at_its_place(plan: Configuration, read: Read, fault: str, expected: str, hint: str) -> None:
    for making in (make_faults, make_machines):
        with pytest.raises(ConfigErrors) as caught:
            making(plan, read(fault))
        (error,) = caught.value.errors
        assert f"{error.field}: {error.message}" == expected
        assert (error.file, error.line) == ("scenario.yaml", 3)
        assert (error.hint == hint == "") or error.hint.startswith(hint or "-")


def test_what_a_catalogue_names_that_is_not_there_is_left_out_with_a_note(
    plan: Configuration, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "scenario.yaml"
    path.write_text("""
machines:
  press-99: {cycle: 3s}
  press-07: {signals: {shots: {wave: counter}, pressure: 4}}
faults:
  - {fault: drop, connection: panel, at: 1s}
  - {fault: certificate-change, at: 1s}
  - {fault: vanish, machine: lathe, signals: [feed], at: 1s}
  - {fault: drop, at: 1s}
""")
    with pytest.raises(ConfigErrors) as caught:
        make_machines(plan, read_scenario(path))
    assert len(caught.value.errors) == 5
    monkeypatch.setattr(written, "_OURS", path.parent)  # as if it came along
    lenient = read_scenario(path)
    make_machines(plan, lenient)
    assert [meant.settings.fault for meant in make_faults(plan, lenient)] == ["drop"]
    assert lenient.notes == {
        "machines.press-99": "the configuration has no machine 'press-99'",
        "machines.press-07.signals.pressure": "press-07 has no signal 'pressure'",
        "faults.0": "the configuration has no connection 'panel'",
        "faults.1": "no connection here can have the fault 'certificate-change'",
        "faults.2": "no machine that is meant has a signal 'feed'",
    }


# --- the README ----------------------------------------------------------------------------------------------------------

README = Path(simulators.__file__).parent / "README.md"
SHOWN = """
connections: {press: {protocol: modbus-tcp, host: 127.0.0.1}}
machines:
  press-07:
    connection: press
    signals:
      melt_temp: {holding: 0, type: float32}
      cycle_count: {holding: 2, type: uint32, kind: counter}
      clamp_position: {holding: 4, type: float32}
      mode: {holding: 6, type: uint16, enum: {0: "off", 1: setup, 2: manual, 3: auto}}
      power: {holding: 8, type: float32, unit: kW}
      energy: {holding: 10, type: float32, unit: kW.h, kind: counter}
      program: {holding: 20, type: string, length: 16}
"""


def test_what_the_readme_shows_can_be_used(tmp_path: Path) -> None:
    (tmp_path / "gateway.yaml").write_text(SHOWN)
    plan = load(tmp_path / "gateway.yaml", PROTOCOLS)
    blocks = re.findall(r"```yaml\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    shown = [block for block in blocks if block.startswith(("machines:", "seed:"))]
    assert len(shown) == 2
    for block in shown:
        (tmp_path / "scenario.yaml").write_text(block)
        scenario = read_scenario(tmp_path / "scenario.yaml")
        press = make_machines(plan, scenario)["press"][0]
        make_faults(plan, scenario)
    (tmp_path / "scenario.yaml").write_text(shown[0])
    press = make_machines(plan, read_scenario(tmp_path / "scenario.yaml"))["press"][0]
    assert [press.value_at("mode", 60 * t) for t in (10, 27.9, 30, 400)] == ["setup", "manual", "auto", "off"]


def test_the_readme_names_every_fault_and_wave() -> None:
    text = README.read_text(encoding="utf-8")
    assert not [name for name in (*FAULTS, *WAVES) if f"`{name}`" not in text]
