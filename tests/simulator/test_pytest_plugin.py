"""The fixtures for users, used by a project that is not ours: a folder with its configuration and its tests."""

from __future__ import annotations

import asyncio
import re
import socket
import subprocess
import sys
import threading
import tomllib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from gateway.errors import UsageError
from simulators import rig

pytest_plugins = ["pytester"]

ROOT = Path(__file__).parents[2]
README = ROOT / "simulators" / "README.md"
# Until the package is installed again, the entry point of the source is not there yet.
INSTALLED = bool(entry_points(group="pytest11", name="shopfloor"))
PLUGIN = () if INSTALLED else ("-p", "simulators.pytest_plugin")

CONFIG = """\
version: 1
gateway: {id: edge-01, data_dir: /var/lib/nobody-may-write-here}
site: {enterprise: acme, site: hanoi}
connections:
  panel: {protocol: modbus-tcp, host: 10.20.0.11, port: 502}
machines:
  press-07:
    connection: panel
    poll: 100ms
    signals:
      melt_temp: {holding: 10, type: int16, scale: 0.1, unit: Cel}
      mode: {holding: 20, type: uint16, enum: {0: "off", 1: auto}}
      cycle_count: {holding: 0, type: uint32, order: CDAB, kind: counter}
mqtt: {url: "mqtts://broker.acme.lan:8883", user: edge-01, password: {secret: mqtt_password}, root: acme/v1}
store: {kind: influx, url: "http://influx.acme.lan:8086", org: acme, bucket: shopfloor, token: {secret: token}}
"""
SCENARIO = """\
machines:
  press-07:
    signals:
      melt_temp: {wave: sine, mean: 210, amplitude: 4, period: 3s}
      mode: auto
"""


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    """Of a user: secrets beside the configuration, tests beside both."""
    folder = pytester.mkdir("config")
    (folder / "gateway.yaml").write_text(CONFIG)
    (folder / "secrets").mkdir()
    for name in ("mqtt_password", "token"):
        (folder / "secrets" / name).write_text("hush")
        (folder / "secrets" / name).chmod(0o600)
    (folder / "shift.yaml").write_text(SCENARIO)
    return pytester


def run(project: pytest.Pytester, test: str, *arguments: str) -> pytest.RunResult:
    project.makepyfile(test_plant=test)
    return project.runpytest_subprocess(*PLUGIN, "-p", "no:cacheprovider", "-q", "--tb=short", *arguments)


def test_a_configuration_that_is_right_and_one_with_a_wrong_address(project: pytest.Pytester):
    """The device as its maker describes it, and a configuration in which somebody took a number from another page."""
    wrong = CONFIG.replace("holding: 10", "holding: 910")
    (project.path / "config" / "wrong.yaml").write_text(wrong)
    found = run(
        project,
        """
        def test_right(simulated_machine, store):
            press = simulated_machine("config/gateway.yaml", "config/shift.yaml")
            stored = store(press)
            reading = stored.wait("press-07/melt_temp", lambda value: value > 208)
            assert 206 <= reading.value <= 214
            assert stored.wait("press-07/mode", "auto").quality == "good"
            assert stored.last("press-07/melt_temp").time >= reading.time
            assert reading.value in stored.values("press-07/melt_temp")
            verdict = stored.verify(settle=0.5)
            assert verdict.judged == 3 and verdict.total("stored") > 0

        def test_wrong(simulated_machine, store):
            press = simulated_machine("config/gateway.yaml")
            store(press, "config/wrong.yaml").wait("press-07/melt_temp", timeout=5)
        """,
    )
    found.assert_outcomes(passed=1, failed=1)
    said = "\n".join(found.outlines)
    assert "press-07/melt_temp: no good reading is stored: not within 5 s" in said
    assert re.search(r"1 readings are stored, the newest: None, bad:illegal-address", said)
    assert "---- the log of gateway ends with" in said


def test_what_the_machine_is_and_where(project: pytest.Pytester):
    """Its configuration leads to it, and to nothing of the plant; it can be broken; it is gone when the test is over."""
    found = run(
        project,
        """
        import json, socket, subprocess, sys
        import pytest
        kept = []

        def test_it(simulated_machine, tmp_path):
            press = simulated_machine("config")
            kept.append(press)
            text = press.configuration_path.read_text()
            assert str(press.ports["panel"]) in text
            assert str(tmp_path) in text
            for foreign in ("10.20.0.11", "acme.lan", "nobody-may", "hush"):
                assert foreign not in text
            command = [sys.executable, "-m", "gateway", "read", "press-07", "--json", "-c", str(press.configuration_path)]
            done = subprocess.run(command, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
            rows = [json.loads(line) for line in done.stdout.splitlines()]
            assert rows
            assert press.served()[0].machine == "press-07"
            press.servers["panel"].faults.refuse = True
            press.call(press.servers["panel"].drop)
            assert subprocess.run(command, capture_output=True).returncode == 4

        def test_two_beside_each_other(simulated_machine):
            a, b = simulated_machine("config"), simulated_machine("config/gateway.yaml")
            assert a.ports != b.ports

        def test_then_it_is_gone():
            with pytest.raises(OSError):
                socket.create_connection(("127.0.0.1", kept[0].ports["panel"]), timeout=1)
        """,
    )
    found.assert_outcomes(passed=3)


def test_secrets_of_the_plant_are_not_there_and_a_scenario_is_one_line(project: pytest.Pytester):
    """CI has no passwords, and a line of YAML is a scenario, too."""
    for secret in (project.path / "config" / "secrets").iterdir():
        secret.unlink()
    text = CONFIG.replace("machines:\n", SECURED, 1)
    (project.path / "config" / "gateway.yaml").write_text(text)
    found = run(
        project,
        """
        def test_it(simulated_machine, store):
            press = simulated_machine("config", "machines: {press-07: {signals: {melt_temp: 77}}}")
            stored = store(press)
            assert stored.wait("press-07/melt_temp", 77)
        """,
    )
    found.assert_outcomes(passed=1)


SECURED = """\
  cnc: {protocol: opcua, url: "opc.tcp://10.20.0.12", security: Basic256Sha256/Sign, user: op, password: {secret: pw}}
machines:
  lathe: {connection: cnc, signals: {speed: {node: "nsu=urn:x;s=Speed"}}}
"""


def test_a_fault_is_found_by_the_judge(project: pytest.Pytester):
    """A row is taken out of the store: the test of the user fails, with the table."""
    found = run(
        project,
        """
        import json, sqlite3, time

        def test_it(simulated_machine, store):
            stored = store(simulated_machine("config", "config/shift.yaml"))
            while len(stored.readings("press-07/melt_temp")) < 30:
                time.sleep(0.1)
            stored.stop()
            assert stored.verify(settle=1)
            with sqlite3.connect(stored.historian) as db:
                db.execute("DELETE FROM message WHERE id = (SELECT min(id) + 8 FROM message)")
            stored.verify(settle=1)
        """,
    )
    found.assert_outcomes(failed=1)
    said = "\n".join(found.outlines)
    assert re.search(r"signal +served +stored +missing +wrong +late +duplicated", said)
    assert "Not sound: of " in said
    assert " 3 missing" in said  # one message with three signals


def test_a_machine_that_was_recorded(project: pytest.Pytester):
    """What was recorded says by itself how it was configured; another configuration may be given."""
    found = run(
        project,
        """
        import subprocess, sys
        import pytest

        @pytest.fixture
        def recording(simulated_machine, tmp_path):
            press = simulated_machine("config", "config/shift.yaml")
            file = tmp_path / "press.rec"
            command = [sys.executable, "-m", "gateway", "record", "press-07", "--for", "3s", "-o", str(file), "-c"]
            done = subprocess.run([*command, str(press.configuration_path)], capture_output=True, text=True)
            assert file.exists(), done.stderr
            press.stop()
            return file

        @pytest.mark.parametrize("config", [None, "config"])
        def test_it(recording, config, recorded_machine, store):
            press = recorded_machine(recording, config, loop=True)
            stored = store(press)
            assert 206 <= stored.wait("press-07/melt_temp").value <= 214
            assert stored.wait("press-07/mode", "auto")
            assert press.served()
            assert stored.verify(settle=1).judged == 3
        """,
    )
    found.assert_outcomes(passed=2)


def test_a_folder_with_a_file_for_each_machine(project: pytest.Pytester):
    folder = project.path / "config"
    head, _, body = CONFIG.partition("machines:\n  press-07:\n")
    machine, _, rest = body.partition("mqtt:")
    (folder / "gateway.yaml").write_text(f"{head}mqtt:{rest}")
    (folder / "machines").mkdir()
    (folder / "machines" / "press-07.yaml").write_text("\n".join(line[4:] for line in machine.splitlines()))
    found = run(
        project,
        """
        def test_it(simulated_machine, store):
            press = simulated_machine("config")
            assert press.configuration_path.is_dir()
            assert store(press).wait("press-07/cycle_count")
        """,
    )
    found.assert_outcomes(passed=1)


def test_a_serial_line_and_an_opcua_server_are_led_to(project: pytest.Pytester):
    (project.path / "config" / "gateway.yaml").write_text(
        """\
version: 1
connections:
  bus: {protocol: modbus-rtu, port: /dev/ttyS99, baud: 19200, parity: none}
  cnc: {protocol: opcua, url: "opc.tcp://10.20.0.31:4840/plc", security: None}
machines:
  oven: {connection: bus, unit_id: 3, poll: 200ms, signals: {temp: {holding: 0, type: int16}}}
  lathe:
    connection: cnc
    namespaces: {m: "urn:shop:cnc"}
    signals: {speed: {node: "m:s=Speed", type: float, sampling: 100ms, range: [0, 6000]}}
"""
    )
    found = run(
        project,
        """
        def test_it(simulated_machine, store):
            plant = simulated_machine("config")
            assert "ttyS99" not in plant.configuration_path.read_text()
            assert f"opc.tcp://127.0.0.1:{plant.ports['cnc']}/plc" in plant.configuration_path.read_text()
            stored = store(plant)
            stored.wait("oven/temp", timeout=20)
            stored.wait("lathe/speed", timeout=20)
            stored.verify(settle=1)
        """,
    )
    found.assert_outcomes(passed=1)


def test_mistakes_are_told_where_they_are_made(project: pytest.Pytester):
    found = run(
        project,
        """
        def test_no_such_signal(simulated_machine, store):
            store(simulated_machine("config")).wait("press-07/melt_tmp")

        def test_a_scenario_that_does_not_fit(simulated_machine):
            simulated_machine("config", "machines:\\n  press-08: {}\\n")
        """,
    )
    found.assert_outcomes(failed=2)
    said = "\n".join(found.outlines)
    assert "press-07 has no signal 'melt_tmp'" in said
    assert "melt_temp" in said
    assert "the configuration has no machine 'press-08'" in said


def test_without_mosquitto_it_is_said_what_to_install(project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch):
    project.makeconftest("import shutil\nshutil.which = lambda *_, **__: None\n")
    found = run(project, "def test_it(broker): pass\n")
    found.assert_outcomes(errors=1)
    assert "mosquitto is not installed: apt-get install mosquitto" in "\n".join(found.outlines)


def test_another_failure_of_the_broker_is_told_as_it_is(project: pytest.Pytester):
    project.makeconftest(
        "import simulators.rig\n"
        "def fails(*_): raise AssertionError('no free port was found')\n"
        "simulators.rig.Broker.__init__ = fails\n"
    )
    found = run(project, "def test_it(broker): pass\n")
    found.assert_outcomes(errors=1)
    said = "\n".join(found.outlines)
    assert "no free port was found" in said
    assert "not installed" not in said


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG.partition("mqtt:")[0])
    return path


def test_machines_that_cannot_be_led_to_do_not_go_on(config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Neither their thread nor their port."""
    machine = rig.simulated(config, None, tmp_path / "machine")
    ports: list[int] = []

    def fails(path: Path) -> None:
        ports.extend(machine.ports.values())
        socket.create_connection(("127.0.0.1", ports[0]), timeout=1).close()
        raise UsageError(f"{path} leads nowhere")

    monkeypatch.setattr(machine, "leads", fails)
    with pytest.raises(UsageError, match="leads nowhere"), machine:
        pass
    assert f"machine[{machine.folder.name}]" not in {thread.name for thread in threading.enumerate()}
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", ports[0]), timeout=1)


def test_machines_that_are_never_ready_say_so_and_end(config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    @asynccontextmanager
    async def never(*_: object) -> AsyncIterator[None]:
        await asyncio.Event().wait()
        yield

    monkeypatch.setattr(rig, "PATIENCE", 1.0)
    machine = rig.Machine(rig.copied(config, tmp_path / "machine"), tmp_path / "machine", never)
    with pytest.raises(AssertionError, match=r"the machines of .*gateway\.yaml were not ready within 1 s"), machine:
        pass
    assert "machine[machine]" not in {thread.name for thread in threading.enumerate()}


def test_the_example_in_the_readme(project: pytest.Pytester):
    """As it stands there."""
    part = README.read_text().partition("## In your own tests")[2].partition("\n## ")[0]
    blocks = dict(re.findall(r"`([\w./]+)`:?\n+```\w+\n(.*?)```", part, re.DOTALL))
    assert set(blocks) == {"config/gateway.yaml", "tests/test_press.py"}
    for name, text in blocks.items():
        path = project.path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    found = project.runpytest_subprocess(*PLUGIN, "-p", "no:cacheprovider", "-q", "--tb=short", "tests")
    found.assert_outcomes(passed=blocks["tests/test_press.py"].count("def test_"))


def test_it_costs_nothing_where_it_is_not_used():
    """Nothing of ours is imported with it; 20 ms at most, of the fastest of five."""
    code = (
        "import sys, time, pytest, pathlib, typing, contextlib\n"
        "began = time.perf_counter()\n"
        "import simulators.pytest_plugin\n"
        "took = time.perf_counter() - began\n"
        "print(took, *sorted(name for name in sys.modules if name.split('.')[0] in ('gateway', 'adapters', 'simulators')))\n"
    )
    runs = [
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
        ).stdout.split()
        for _ in range(5)
    ]
    assert runs[0][1:] == ["simulators", "simulators.pytest_plugin"]
    assert min(float(words[0]) for words in runs) < 0.020


def test_it_comes_with_the_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["pytest11"] == {"shopfloor": "simulators.pytest_plugin"}
