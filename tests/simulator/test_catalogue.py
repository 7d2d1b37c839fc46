"""Each scenario of the catalogue, in fast motion, against a gateway that runs: what it says happens, and all is well again.

simulate(demo plant, scenario, speed) ─ loopback ─▶ gateway run ─▶ Mosquitto ─▶ historian
        └─▶ ledger, plant.happened                     └─▶ status page
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import simulators
from gateway.cli.verify import verdict_of
from gateway.config import load
from gateway.errors import ConfigErrors, UsageError
from gateway.runtime.registry import protocols
from parts.gateway import Gateway, Simulated, gateway
from parts.mosquitto import Mosquitto
from parts.ports import free_port
from parts.process import wait_until
from simulators.behaviour.catalogue import catalogue, listing, scenario_of
from simulators.behaviour.scenario import make_faults, make_machines
from simulators.behaviour.written import comes_along
from simulators.judge import Bounds, Verdict
from simulators.judge.verdict import SignalVerdict
from simulators.ledger import Ledger, read_events
from simulators.machine import SimulatedMachine
from simulators.plant import Plant, simulate

DEMO = Path(simulators.__file__).parent / "demo" / "gateway.yaml"


PORTS = {"panel": 15020, "press": 15021, "cnc": 15022}  # as they stand in the demo's configuration


@dataclass(slots=True)
class Shift:
    """A plant that goes through a scenario, and the gateway that reads it."""

    plant: Plant
    gateway: Gateway
    ledger: Path
    signals: Mapping[str, Collection[str]]  # by machine

    async def until(self, condition: Callable[[], object], what: str, timeout: float = 20) -> None:
        """Wait; the plant goes on meanwhile."""
        await asyncio.to_thread(wait_until, condition, timeout, what)

    def tiles(self) -> dict[str, dict[str, Any]]:
        return {tile["name"]: tile for tile in self.gateway.status()["machines"]}

    async def verdict(self) -> Verdict:
        """Whether all that was served is stored. The gateway is stopped."""
        assert self.gateway.running
        settled = time.time_ns() - 2_000_000_000
        await asyncio.to_thread(self.gateway.catch_up)
        await asyncio.to_thread(self.gateway.stop)
        self.plant.ledger.flush()
        historian = self.gateway.folder / "data" / "historian.sqlite"
        return verdict_of(self.ledger, historian, load(self.gateway.file, protocols()), Bounds(settled=settled))[0]

    def newest(self) -> dict[str, float]:
        """Stamp of the newest reading of each machine, in seconds since 1970."""
        return {
            name: max(s["t"] or 0 for s in tile["signals"] if s["name"] in self.signals[name]) / 1000
            for name, tile in self.tiles().items()
        }

    def not_good(self) -> dict[str, str]:
        """The signals of the machines that are not good. What is worked out from them takes its time.

        A counter that began anew is uncertain until it counts: the scrap of the demo's lathe after half an hour.
        """
        return {
            f"{name}/{s['name']}": s["quality"]
            for name, tile in self.tiles().items()
            for s in tile["signals"]
            if s["quality"] not in ("good", "uncertain:counter-reset") and s["name"] in self.signals[name]
        }


Start = Callable[..., AbstractAsyncContextManager[Shift]]


@pytest.fixture(scope="module")
def broker() -> Iterator[Mosquitto]:
    with Mosquitto() as running:
        yield running


@pytest.fixture
def start(broker: Mosquitto, tmp_path: Path) -> Start:
    @asynccontextmanager
    async def started(
        name: str, speed: float, begin: float, change: Callable[[str], str] = lambda text: text
    ) -> AsyncIterator[Shift]:
        text = change(DEMO.read_text()).replace("poll: 1s", "poll: 200ms").replace("poll: 500ms", "poll: 100ms")
        (tmp_path / "gateway.yaml").write_text(text)
        plan = load(tmp_path / "gateway.yaml", protocols())
        path = tmp_path / "ledger.jsonl"
        path.unlink(missing_ok=True)
        with Ledger(path) as ledger:
            async with simulate(plan, scenario_of(name), ledger, 0, speed=speed, start_at=begin) as plant:
                for connection, port in PORTS.items():
                    text = text.replace(str(port), str(plant.ports[connection]))
                text = text.replace("gateway: {id: demo, data_dir: demo-data}", "gateway: {id: demo, data_dir: data}")
                more = f'mqtt: {{url: "{broker.url}", root: {name}}}\nstore: {{kind: historian}}\n'
                edge = Gateway(text + more)
                try:
                    await asyncio.to_thread(edge.start)
                    yield Shift(plant, edge, path, {name: machine.signals for name, machine in plan.machines.items()})
                    assert "Traceback" not in edge.log
                finally:
                    await asyncio.to_thread(edge.close)

    return started


@dataclass(frozen=True)
class Case:
    """How to see a scenario in a few seconds."""

    speed: float
    begin: float  # minutes into it
    kinds: set[str]  # that have to happen
    over: float  # minutes into it when nothing happens any more
    cost: float  # share of what was served that its faults may cost, while they and what they leave behind last


CASES = {  # nothing happens in the first five seconds, in which the gateway starts
    "quiet-day": Case(60, 0, set(), 8, 0.2),
    "busy-shift": Case(600, 0, set(), 90, 0.2),
    "bad-line": Case(120, 55, {"corrupted", "truncated", "silence"}, 85.2, 0.5),
    "flaky-bridge": Case(180, 48, {"exception", "late", "drop", "half-open", "unreachable"}, 93, 0.5),
    "power-cut": Case(30, 7.5, {"reboot"}, 12.4, 0.5),
    "plc-download": Case(60, 5, {"reboot", "namespace-change", "vanish"}, 15.4, 0.5),
    "wrong-clock": Case(180, 230, {"clock-jump"}, 270.2, 0.3),
    "small-server": Case(60, 0, {"limit", "drop", "status"}, 10.2, 0.3),
}


EARLIER = (0, 10, 30)  # seconds that a slow computer is given to start the gateway, one after the other


def test_the_table_has_all_of_them() -> None:
    assert {*CASES, "certificate-change"} == set(catalogue())


@pytest.mark.parametrize("name", CASES)
async def test_a_scenario_happens_and_all_is_well_again(start: Start, name: str) -> None:
    for earlier in EARLIER:
        case = replace(CASES[name], begin=max(0.0, CASES[name].begin - earlier / 60 * CASES[name].speed))
        async with start(name, case.speed, case.begin * 60) as shift:
            assert not shift.plant.notes
            await shift.until(
                lambda: {t["state"] for t in shift.tiles().values()} == {"online"}, "the machines to be online", 40
            )
            if not shift.plant.happened:
                await _to_the_end(shift, case)
                return
    pytest.fail("the machine that the test runs on is too slow for it")


async def _to_the_end(shift: Shift, case: Case) -> None:
    await shift.until(lambda: _minutes(shift.plant, case) >= case.over, "the end of it")
    assert set(shift.plant.happened) >= case.kinds
    over = time.time() + 1
    await shift.until(lambda: not shift.not_good(), "all to be well again")
    # A session that is being taken over leaves its last values good: there have to be new ones of each machine.
    await shift.until(lambda: min(shift.newest().values()) > over, "values of all machines")
    assert bool(shift.plant.happened) is bool(case.kinds)
    verdict = await shift.verdict()
    assert {event.about["kind"] for event in read_events(shift.ledger)} == set(shift.plant.happened)
    assert verdict.total("served") > 200
    assert verdict.sound, str(verdict)
    # A gateway that declares everything lost, or does not listen, is sound as well.
    excused = sum(verdict.total(why) for why in ("declared", "marked", "unread"))
    assert excused <= case.cost * verdict.total("served"), verdict.table()
    assert min(_heard(each) for each in verdict.signals if each.served > 20 and not each.not_judged) > 0, (
        verdict.table()
    )


@pytest.mark.slow
def test_one_through_the_command_line(broker: Mosquitto) -> None:
    """`gateway simulate` runs on uvloop: its lines end otherwise. The cut comes after 12 s, the last fault ends after 20 s."""
    text = DEMO.read_text().replace("gateway: {id: demo, data_dir: demo-data}", "gateway: {id: demo, data_dir: data}")
    more = f'mqtt: {{url: "{broker.url}", root: simulated}}\nstore: {{kind: historian}}\n'
    for port in PORTS.values():
        text = text.replace(str(port), str(free_port()))
    with (
        Simulated(text, arguments=["--scenario", "small-server", "--speed", "30"]) as machines,
        Gateway(text + more) as edge,
    ):

        def lathe() -> dict[str, Any]:
            return next(tile for tile in edge.status()["machines"] if tile["name"] == "lathe-02")

        wait_until(lambda: lathe()["state"] == "online", 11, "the lathe, before its line is cut")
        wait_until(lambda: "cnc: drop" in machines.log, 20, "the cut")
        wait_until(lambda: "cnc: status" in machines.log, 20, "an uncertain value")
        back = time.time() + 4
        wait_until(lambda: max(s["t"] or 0 for s in lathe()["signals"]) / 1000 > back, 20, "new values of the lathe")
        settled = time.time_ns() - 2_000_000_000
        edge.catch_up()
        edge.stop()
        machines.stop()
        historian = edge.folder / "data" / "historian.sqlite"
        plan = load(edge.file, protocols())
        verdict = verdict_of(machines.ledger, historian, plan, Bounds(settled=settled))[0]
        assert verdict.sound, str(verdict)
        (speed,) = (each for each in verdict.signals if each.name == "lathe-02/spindle_speed")
        # A subscription that ended with the cut is gone for 7 s at the least, until the gateway has made another one.
        assert speed.declared == 0
        assert _heard(speed) > 10


def _heard(found: SignalVerdict) -> int:
    """How many of its readings are stored, or need not be."""
    return found.served - found.declared - found.marked - found.unread - found.coming


def _minutes(plant: Plant, case: Case) -> float:
    """How far it is into the scenario."""
    return case.begin + (time.time_ns() - plant.start) / 60e9 * case.speed


@pytest.mark.slow
async def test_a_new_certificate_is_refused_until_somebody_trusts_it(start: Start) -> None:
    def secured(text: str) -> str:
        return text.replace("security: None}", "security: Basic256Sha256/SignAndEncrypt, trust: pinned}")

    async with start("certificate-change", 60, 5 * 60, secured) as shift:

        def lathe() -> dict[str, Any]:
            return shift.tiles()["lathe-02"]

        await shift.until(lambda: lathe()["state"] == "online", "the lathe")
        await shift.until(lambda: shift.plant.happened, "another certificate")
        # The gateway tries five times to take over its session before it looks who is there.
        await shift.until(
            lambda: "another certificate than the one that is pinned" in lathe()["reason"], "the refusal", 40
        )
        shown = lathe()["reason"].rpartition("thumbprint ")[2].partition(",")[0]
        trust = ("opcua", "trust", "cnc", "--fingerprint", shown, "-c", str(shift.gateway.file))
        trusted = await asyncio.to_thread(gateway, *trust)
        assert trusted.returncode == 0, trusted.stderr
        await shift.until(lambda: lathe()["state"] == "online", "the lathe to be back", 40)
        assert shift.plant.happened == {"certificate-change": 1}
        assert shift.gateway.running


# --- the catalogue as such -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", catalogue())
def test_each_fits_the_demo_plant_and_says_what_it_is(name: str) -> None:
    plan = load(DEMO, protocols())
    scenario = scenario_of(name)
    make_machines(plan, scenario)
    make_faults(plan, scenario)
    lacking = {"faults.0": "no connection here can have the fault 'certificate-change'"}
    assert scenario.notes == (lacking if name == "certificate-change" else {})
    assert any(line.startswith(f"{name} ") and len(line) < 200 for line in listing().splitlines())


@pytest.mark.parametrize("name", catalogue())
def test_each_can_be_played_with_another_plant(name: str, tmp_path: Path) -> None:
    (tmp_path / "gateway.yaml").write_text("""
connections: {c: {protocol: modbus-tcp, host: 127.0.0.1}, o: {protocol: opcua, url: "opc.tcp://127.0.0.1", security: auto}}
machines:
  saw: {connection: c, signals: {cuts: {holding: 0, type: uint32, kind: counter}}}
  robot: {connection: o, signals: {speed: {node: "nsu=urn:x;s=Speed"}}}
""")
    plan = load(tmp_path / "gateway.yaml", protocols())
    scenario = scenario_of(name)
    machines = make_machines(plan, scenario)
    faults = {meant.settings.fault: list(meant.machines) for meant in make_faults(plan, scenario)}
    assert bool(faults) is (name not in ("quiet-day", "busy-shift"))
    assert {place.partition(".")[0] for place in scenario.notes} <= {"machines", "faults"}
    if name == "power-cut":
        assert faults == {"reboot": ["saw", "robot"]}
    if name == "busy-shift":
        # The first 25 minutes are set-up: then a cycle of 10 s, and the micro-stops come after more than 7 minutes.
        saw, t = machines["c"][0], 25 * 60
        first = saw.value_at("cuts", 0)
        assert [saw.value_at("cuts", x) for x in (t, t + 60)] == [first, first + 6]  # type: ignore[operator]


def test_a_plant_with_the_names_of_the_demo_and_other_signals(tmp_path: Path) -> None:
    """What does not fit is left out with a note; what fits is as it is written."""
    (tmp_path / "gateway.yaml").write_text("""
connections: {c: {protocol: modbus-tcp, host: 127.0.0.1}}
machines:
  press-07:
    connection: c
    signals:
      mode: {holding: 0, type: uint16, enum: {0: stop, 1: run}}
      cycle_count: {holding: 2, type: uint32, kind: counter}
""")
    plan = load(tmp_path / "gateway.yaml", protocols())
    for name in catalogue():
        scenario = scenario_of(name)
        (machine,) = make_machines(plan, scenario)["c"]
        make_faults(plan, scenario)
        assert "is not a state" in scenario.notes["machines.press-07.signals.mode"]
        assert machine.value_at("mode", 0.0) in (0, 1, "stop", "run")


def test_faults_of_one_s_own_on_a_day_of_the_catalogue(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("like: quiet-day\nfaults: [{fault: drop, request: 5, connection: press}]\n")
    scenario = scenario_of(str(tmp_path / "mine.yaml"))
    plan = load(DEMO, protocols())
    assert [meant.settings.fault for meant in make_faults(plan, scenario)] == ["drop"]
    assert make_machines(plan, scenario)["press"][0].waves.keys() >= {"mode", "cycle_count"}
    (tmp_path / "wrong.yaml").write_text("like: quiet-day\nmachines: {press-7: {}}\n")
    with pytest.raises(ConfigErrors, match=r"wrong.yaml:2:12: error: machines.press-7: .*\n.*\n.*\n.*press-07"):
        make_machines(plan, scenario_of(str(tmp_path / "wrong.yaml")))
    (tmp_path / "none.yaml").write_text("like: quiet-dai\n")
    with pytest.raises(ConfigErrors, match="did you mean 'quiet-day'"):
        scenario_of(str(tmp_path / "none.yaml"))


def test_a_name_that_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError) as caught:
        scenario_of("powercut")
    assert "did you mean 'power-cut'?" in str(caught.value)
    assert "\nflaky-bridge        A bridge between" in str(caught.value)
    assert comes_along(scenario_of("power-cut").tree, ("faults",))
    (tmp_path / "power-cut").write_text("machines: {}\n")
    assert not comes_along(scenario_of("power-cut").tree, ("faults",)), "a file of one's own comes first"


def test_a_scenario_is_like_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from gateway.errors import ConfigErrors
    from simulators.behaviour.scenario import read_scenario

    monkeypatch.chdir(tmp_path)
    (tmp_path / "day.yaml").write_text(
        "seed: 7\nmachines: {m: {cycle: 3s, signals: {a: {wave: toggle, share: 0.2}, b: 1}}}\nfaults: [{fault: drop, at: 1s}]\n"
    )
    (tmp_path / "night.yaml").write_text("like: day.yaml\nmachines: {m: {signals: {a: 2}}, n: {cycle: 4s}}\n")
    night = read_scenario(Path("night.yaml")).settings
    assert (night.seed, night.machines["m"].cycle, night.machines["n"].cycle) == (7, 3, 4)
    assert night.machines["m"].signals == {"a": 2, "b": 1}
    assert len(night.faults) == 1
    for text, message in (
        ("like: night.yaml\n", "night.yaml:1:7: error: like: a scenario cannot be like itself"),
        ("like: noon.yaml\n", "night.yaml:1:7: error: like: there is no file 'noon.yaml' beside this one"),
    ):
        (tmp_path / "night.yaml").write_text(text)
        with pytest.raises(ConfigErrors) as caught:
            read_scenario(Path("night.yaml"))
        assert str(caught.value.errors[0]).startswith(message)


def test_a_busy_shift_agrees_with_itself() -> None:
    """Its energy is what its power adds up to, its counts are those of its cycles, and a break makes none."""
    made = make_machines(load(DEMO, protocols()), scenario_of("busy-shift"))
    machines = {machine.path.machine: machine for each in made.values() for machine in each}
    meter, press = machines["meter-01"], machines["press-07"]

    def number(machine: SimulatedMachine, signal: str, t: float) -> float:
        value = machine.value_at(signal, t)
        assert isinstance(value, int | float)
        return value

    hours = [3600.0 * hour for hour in range(9)]
    energy = [number(meter, "energy_import", t) for t in hours]
    for began, before, after in zip(hours, energy, energy[1:], strict=False):
        added = sum(number(meter, "active_power_total", began + t) for t in range(0, 3600, 3)) * 3 / 3.6e6
        assert after - before == pytest.approx(added, rel=0.05)
    assert max(b - a for a, b in pairwise(energy)) > 1.1 * min(b - a for a, b in pairwise(energy))
    # Eight hours: 408 minutes of production, less 36 s after every 7 min 24 s; a cycle takes 12 s.
    cycles = number(press, "cycle_count", hours[8]) - number(press, "cycle_count", 0)
    assert cycles == (408 * 60 - 51 * 36) // 12
    assert cycles == sum(number(press, s, hours[8]) - number(press, s, 0) for s in ("parts_good", "parts_reject"))
    in_break = [60 * minute for minute in (120, 125, 134.9)]  # after 25 min of set-up and 95 of production
    assert len({press.value_at("cycle_count", t) for t in in_break}) == 1
    assert {press.value_at("mode", t) for t in in_break} == {"off"}
