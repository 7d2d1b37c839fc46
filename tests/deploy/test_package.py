"""The Debian package: installed, updated, removed and purged on a box, with what waits in the buffer."""

from __future__ import annotations

import itertools
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.plant import GATEWAY, TEXT, UNIT, audit, configure, install, wait_for_more
from gateway.config import load
from gateway.runtime.registry import protocols
from parts.process import wait_until
from parts.systemd import Box

ROOT = Path(__file__).parents[2]
DEBIAN = ROOT / "deploy" / "debian"
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


@pytest.fixture(scope="module")
def newer(deb, tmp_path_factory) -> Path:
    """The same package with the next version, and something in it that can be told apart."""
    folder = tmp_path_factory.mktemp("newer")
    subprocess.run(["dpkg-deb", "-R", deb, folder / "tree"], check=True)
    control = folder / "tree" / "DEBIAN" / "control"
    control.write_text(control.read_text().replace(f"Version: {VERSION}", f"Version: {VERSION}+next"))
    (found,) = (folder / "tree" / "opt").glob("*/lib/*/site-packages/gateway/cli/app.py")
    found.write_text(found.read_text().replace('print(f"gateway {__version__}")', 'print("gateway next")'))
    for compiled in found.parent.glob("__pycache__/app.*.pyc"):
        compiled.unlink()
    file = folder / "newer.deb"
    command = ["dpkg-deb", "--root-owner-group", "-Zgzip", "-z1", "--build", folder / "tree", file]
    subprocess.run(command, check=True, capture_output=True)
    return file


@pytest.fixture(scope="module")
def box(deb) -> Iterator[Box]:
    with Box() as box:
        install(box, deb)
        yield box


# In the order of a life: each begins where the one before ended.


@pytest.mark.systemd
@pytest.mark.timeout(240)
def test_it_is_enabled_and_waits_for_a_configuration(box):
    assert box("systemctl", "is-enabled", UNIT).stdout.strip() == "enabled"
    assert box.show(UNIT, "ActiveState") == "inactive"
    assert box.show(UNIT, "Result") == "success"
    assert box("gateway", "--version").stdout.strip() == f"gateway {VERSION}"
    assert box("gateway", "modbus", "--help").returncode == 0
    assert box("gateway", "opcua", "--help").returncode == 0


@pytest.mark.systemd
@pytest.mark.timeout(240)
def test_nothing_of_the_builder_is_in_it_and_nothing_is_written_beside_it(box):
    """Every module is there compiled; no path of the computer it was built on is left in a script."""
    code = "import gateway.runtime.app, gateway.cli.app, asyncua, influxdb_client, uvicorn, pymodbus"
    said = box("/opt/shopfloor-gateway/bin/python3", "-v", "-c", code, timeout=120).stderr
    compiled = [line for line in said.splitlines() if line.startswith("# code object from") and line.endswith(".py")]
    assert [line for line in compiled if "/opt/" in line] == [], "it was not there compiled"
    assert "# wrote " not in said
    assert (
        (box.root / "opt/shopfloor-gateway/bin/gateway")
        .read_text()
        .startswith("#!/opt/shopfloor-gateway/bin/python3\n")
    )
    assert not box("grep", "-rlIF", str(ROOT), "/opt/shopfloor-gateway", check=False).stdout


@pytest.mark.systemd
@pytest.mark.timeout(240)
def test_an_update_keeps_what_there_is(box, newer):
    """While it runs, with the broker away: buffer, configuration and passwords are as they were, and no message is missing."""
    configure(box)
    box("systemctl", "start", UNIT)
    wait_for_more(box)
    box("systemctl", "stop", "mosquitto")
    wait_until(
        lambda: sum(row["count"] for row in audit(box) if row["kind"] == "pending") > 20, 40, "messages that wait"
    )
    before = max(row["last"] for row in audit(box))
    process = box.show(UNIT, "MainPID")
    install(box, newer)
    assert box("gateway", "--version").stdout.strip() == "gateway next"
    assert box.show(UNIT, "MainPID") not in ("0", process)
    assert (box.root / GATEWAY.lstrip("/")).read_text() == TEXT
    assert (box.root / "etc/gateway/secrets/mqtt_password").stat().st_mode & 0o777 == 0o600
    box("systemctl", "start", "mosquitto")
    stored = lambda: [row for row in audit(box) if row["kind"] == "stored"]  # noqa: E731
    wait_until(lambda: max(row["last"] for row in stored()) > before, 60, "what waited to be stored")
    assert not [row for row in audit(box) if row["kind"] == "loss"]
    assert len({row["epoch"] for row in stored()}) == 1
    ranges = sorted((row["first"], row["last"]) for row in stored())
    assert ranges[0][0] == 1
    assert all(after[0] <= before[1] + 1 for before, after in itertools.pairwise(ranges)), ranges


@pytest.mark.systemd
@pytest.mark.timeout(240)
def test_one_can_go_back_and_what_was_disabled_stays_so(box, deb):
    box("systemctl", "disable", "--now", UNIT)
    install(box, deb)
    assert box("gateway", "--version").stdout.strip() == f"gateway {VERSION}"
    assert box("systemctl", "is-enabled", UNIT, check=False).stdout.strip() == "disabled"
    assert box.show(UNIT, "ActiveState") == "inactive"
    box("systemctl", "enable", "--now", UNIT)
    wait_for_more(box)


def test_what_instances_have_of_their_own_is_purged(tmp_path):
    """The script itself, with the folders of another root: links of `systemctl enable` and drop-ins of `systemctl edit`."""
    units = tmp_path / "etc" / "systemd" / "system"
    ours = [
        units / "multi-user.target.wants" / "shopfloor-gateway@line2.service",
        units / "shopfloor-gateway@line2.service.d" / "override.conf",
        units / "shopfloor-gateway@.service.d" / "override.conf",
        units / "shopfloor-gateway.service.d" / "serial.conf",
        units / "gateway-fleet.service.d" / "override.conf",
        tmp_path / "etc" / "gateway" / "line2" / "gateway.yaml",
        tmp_path / "var" / "lib" / "private" / "gateway@line2" / "historian.sqlite",
    ]
    others = [units / "multi-user.target.wants" / "mosquitto.service", units / "mosquitto.service.d" / "override.conf"]
    for file in (*ours, *others):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    text = re.sub(r"(?<![\w/])/(etc|var)/", rf"{tmp_path}/\1/", (DEBIAN / "postrm").read_text())
    script = tmp_path / "postrm"
    script.write_text(
        text.replace("/run/systemd/system", str(tmp_path / "none")).replace("deb-systemd-helper", "no-such")
    )
    subprocess.run(["sh", script, "remove"], check=True)
    assert all(file.exists() for file in (*ours, *others)), "removed is not purged"
    subprocess.run(["sh", script, "purge"], check=True)
    assert [file for file in ours if file.exists()] == []
    assert all(file.exists() for file in others)
    assert "gateway" not in " ".join(each.name for each in units.rglob("*"))


@pytest.mark.systemd
@pytest.mark.timeout(240)
def test_removed_it_leaves_configuration_and_readings(box):
    box("dpkg", "--remove", "shopfloor-gateway")
    assert box.show(UNIT, "ActiveState") == "inactive"
    assert not (box.root / "opt/shopfloor-gateway").exists()
    assert (box.root / GATEWAY.lstrip("/")).read_text() == TEXT
    assert (box.root / "var/lib/private/gateway/historian.sqlite").exists()


@pytest.mark.systemd
@pytest.mark.timeout(240)
def test_purged_it_leaves_nothing(box):
    box("dpkg", "--purge", "shopfloor-gateway")
    left = box("find", "/etc", "/usr", "/var/lib", "-name", "*gateway*", check=False).stdout.splitlines()
    ours = [path for path in left if "/dpkg/" not in path and not path.startswith("/etc/mosquitto/")]
    assert ours == []
    assert not (box.root / "opt" / "shopfloor-gateway").exists()


# --- the package as a file ---------------------------------------------------------------------------------------------


@pytest.mark.debian
@pytest.mark.timeout(240)
def test_what_it_needs_is_what_it_was_built_with(deb):
    fields = subprocess.run(["dpkg-deb", "-f", deb], check=True, capture_output=True, text=True).stdout
    assert re.search(
        r"^Depends: python3 \(>= 3\.(\d+)\), python3 \(<< 3\.(\d+)\), libc6 \(>= 2\.\d+\)", fields, re.MULTILINE
    )
    assert f"Version: {VERSION}\n" in fields
    assert "Conffiles" not in fields


@pytest.mark.debian
@pytest.mark.timeout(300)
def test_lintian_finds_no_error(deb):
    """But for what lintian-overrides explains."""
    done = subprocess.run(
        ["lintian", "--allow-root", "--no-cfg", "--fail-on", "error,warning", deb],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_the_example_is_a_configuration_without_a_warning():
    loaded = load(DEBIAN / "gateway.yaml", protocols(), env={})
    assert loaded.machines
    assert not loaded.warnings
    assert str(loaded.settings.gateway.data_dir) == "/var/lib/gateway"


def test_the_versions_are_one():
    assert (DEBIAN / "changelog").read_text().startswith(f"shopfloor-gateway ({VERSION}) ")


@pytest.mark.parametrize("script", ["build.sh", "postinst", "prerm", "postrm"])
def test_scripts_are_ones_that_a_shell_takes(script):
    shell = "bash" if script.endswith(".sh") else "sh"
    assert subprocess.run([shell, "-n", DEBIAN / script], capture_output=True, check=False).returncode == 0
