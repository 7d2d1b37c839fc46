"""The wheel, built and run where nothing of this checkout is."""

import shutil
import stat
import subprocess
import sys
import tarfile
import time
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    shutil.rmtree(ROOT / "build", ignore_errors=True)  # what an earlier build left would be packed along
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    return next(folder.glob("*.whl"))


def test_the_wheel_holds_what_it_needs_and_no_tests(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {"gateway/py.typed", "adapters/py.typed", "simulators/py.typed"} <= names
    assert {"adapters/modbus/profiles/eastron-sdm630.yaml", "simulators/demo/scenario.yaml"} <= names
    assert "adapters/opcua/profiles/packml-unit.yaml" in names
    assert {"gateway/web/pages/index.html", "gateway/web/pages/style.css"} <= names
    tops = {name.split("/")[0] for name in names}
    assert {t for t in tops if not t.endswith(".dist-info")} == {"gateway", "adapters", "simulators"}


def profiles_of(adapter: str) -> dict[str, bytes]:
    """What comes along with an adapter: the profiles of its protocols, but the one of the plant in config/."""
    files = (file for file in (ROOT / "config" / "profiles").glob("*.yaml") if file.name != "oven.yaml")
    found = {file.name: file.read_bytes() for file in files}
    return {name: data for name, data in found.items() if f"\nprotocol: {adapter}\n".encode() in data}


@pytest.mark.parametrize(("adapter", "count"), [("modbus", 16), ("opcua", 3)])
def test_the_wheel_holds_the_profiles_themselves(wheel, adapter, count):
    """In the checkout there are links to config/profiles; what is installed has nothing to link to."""
    inside = f"adapters/{adapter}/profiles/"
    with zipfile.ZipFile(wheel) as archive:
        found = {i.filename.removeprefix(inside): i for i in archive.infolist() if i.filename.startswith(inside)}
        profiles = profiles_of(adapter)
        assert found.keys() == profiles.keys()
        assert len(found) >= count
        for name, info in found.items():
            assert stat.S_ISREG(info.external_attr >> 16), name
            assert archive.read(info) == profiles[name]


def test_the_sources_hold_the_profiles_themselves(tmp_path):
    command = [sys.executable, "-m", "build", "--sdist", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    with tarfile.open(next(tmp_path.glob("*.tar.gz"))) as archive:
        found = [m for m in archive if "/profiles/" in m.name and "/adapters/" in m.name and m.name.endswith(".yaml")]
    assert len(found) == len(profiles_of("modbus")) + len(profiles_of("opcua"))
    assert all(member.isreg() for member in found)


@pytest.mark.timeout(400)
def test_it_runs_in_a_fresh_environment(wheel, tmp_path):
    """Installed by the lock file, the demo runs; and a bare installation says what is missing."""
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--require-hashes", "-r", ROOT / "requirements.lock"], check=True)
    subprocess.run([*pip, "--no-deps", wheel], check=True)
    command = str(tmp_path / "venv" / "bin" / "gateway")
    done = subprocess.run(
        [command, "demo", "--seconds", "3", "--port", "0"], capture_output=True, text=True, timeout=60, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert "first reading stored" in done.stdout
    assert " 0 lost" in done.stdout
    (tmp_path / "gateway.yaml").write_text(
        'connections: {c: {protocol: opcua, url: "opc.tcp://127.0.0.1:1", security: None}}\nmachines: {m: {connection: c, signals: {a: {node: "i=2258"}}}}\n'
    )
    subprocess.run([python, "-m", "pip", "uninstall", "--quiet", "--yes", "asyncua"], check=True)
    done = subprocess.run([command, "read", "m"], capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert done.returncode == 1
    assert "pip install 'shopfloor-gateway[opcua]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_help_answers_at_once():
    """300 ms of CPU, and no library that only some commands need."""
    code = "import sys, time\nfrom gateway.cli.app import app\nimport typer\ntyper.main.get_command(app).get_command(None, 'modbus').get_short_help_str()\nloaded = {'adapters.modbus', 'pymodbus', 'asyncua', 'paho', 'influxdb_client', 'starlette', 'pydantic', 'yaml'} & set(sys.modules)\nassert not loaded, loaded"
    subprocess.run([sys.executable, "-c", code], check=True)
    best = min(_cpu([str(Path(sys.executable).with_name("gateway")), "--help"]) for _ in range(3))
    assert best < 0.3


def _cpu(command: list[str]) -> float:
    import resource

    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.monotonic()
    subprocess.run(command, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert time.monotonic() - began < 10
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
