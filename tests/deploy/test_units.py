"""The units of systemd, as files: what systemd says about them, and that they give what the gateway needs."""

from __future__ import annotations

import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path

import pytest

from gateway.config.fields import find_secret
from gateway.runtime import service
from gateway.runtime.edge import edge, poller
from parts.process import program

SYSTEMD = Path(__file__).parents[2] / "deploy" / "systemd"
UNITS = sorted(SYSTEMD.glob("*.service"))
UNIT = SYSTEMD / "shopfloor-gateway.service"
SERIAL = SYSTEMD / "serial.conf"


def with_drop_in(unit: str, drop_in: str) -> str:
    """One file that says what both say: later lines win."""
    head, install, tail = unit.partition("[Install]")
    return head + drop_in.partition("[Service]")[2] + install + tail


def complaints(text: str, name: str, folder: Path) -> list[str]:
    """What systemd says about a unit, whose program is one that exists here. It exits with 0 all the same."""
    copy = folder / name
    copy.write_text(text.replace("/usr/bin/gateway", sys.executable))
    named = str(copy).replace("@.", "@x.")  # a template is looked at as one of its instances
    command = [program("systemd-analyze"), "verify", "--man=no", named]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return [line for line in (done.stdout + done.stderr).splitlines() if "shopfloor-" in line]


def exposure(text: str, folder: Path) -> float:
    """`systemd-analyze security`: 0 is shut in, 10 may do everything."""
    copy = folder / UNIT.name
    copy.write_text(text)
    command = [program("systemd-analyze"), "security", "--offline=true", "--no-pager", str(copy)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    (line,) = [line for line in done.stdout.splitlines() if "Overall exposure level" in line]
    return float(line.split(":")[1].split()[0])


def told(file: Path) -> dict[str, str]:
    unit = ConfigParser(strict=False, interpolation=None, delimiters="=")
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(file)
    return dict(unit["Service"])


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_has_nothing_to_say_about_a_unit(unit, tmp_path):
    assert complaints(unit.read_text(), unit.name, tmp_path) == []


def test_systemd_has_nothing_to_say_about_the_drop_in(tmp_path):
    assert complaints(with_drop_in(UNIT.read_text(), SERIAL.read_text()), UNIT.name, tmp_path) == []


def test_systemd_would_say_it(tmp_path):
    """Negative control."""
    text = UNIT.read_text().replace("WatchdogSec=30", "WatchdogSecs=30").replace("AF_NETLINK", "AF_NETLUNK")
    said = "\n".join(complaints(text, UNIT.name, tmp_path))
    assert "Unknown key" in said
    assert "AF_NETLUNK" in said


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_unit_is_shut_in(unit, tmp_path):
    assert exposure(unit.read_text(), tmp_path) <= 1.2


def test_serial_ports_cost_little_of_that(tmp_path):
    with_ports = exposure(with_drop_in(UNIT.read_text(), SERIAL.read_text()), tmp_path)
    assert exposure(UNIT.read_text(), tmp_path) < with_ports <= 1.6


def test_the_unit_of_a_fleet_is_shut_in_as_well(tmp_path):
    """It has no serial ports, and a part that others have written: the repository."""
    assert exposure((SYSTEMD.parent / "fleet" / "gateway-fleet.service").read_text(), tmp_path) <= 1.2


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_unit_may_ask_whether_the_clock_is_kept_and_not_set_it(unit):
    """ProtectClock= forbids adjtimex(2) also to those who only ask (systemd.exec(5)): the answer would never be yes."""
    said = told(unit)
    assert said["ProtectClock"] == "no"
    assert said["CapabilityBoundingSet"] == "", "without CAP_SYS_TIME nobody sets it"
    assert "SystemCallFilter=adjtimex clock_adjtime clock_adjtime64\n" in unit.read_text()


def test_services_do_not_end_because_of_their_files():
    for unit in UNITS:
        assert "--safe-mode" in told(unit)["ExecStart"], unit.name


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_unit_gives_what_the_gateway_needs(unit):
    said = told(unit)
    # Debian 12 has systemd 252, which does not know notify-reload: an unknown type is taken for `simple` there.
    assert said["Type"] == "notify"
    assert int(said["TimeoutStopSec"]) > poller.CLOSING + edge.DRAIN + 1
    assert int(said["WatchdogSec"]) >= 4 * service.LOOK
    assert {"AF_INET", "AF_INET6", "AF_UNIX"} <= set(said["RestrictAddressFamilies"].split())
    # TCP, and who says READY=1: what would take them away is not there.
    assert not {"PrivateNetwork", "IPAddressDeny", "NotifyAccess"} & said.keys()


def test_the_drop_in_gives_serial_ports_back():
    said = told(SERIAL)
    assert (said["PrivateDevices"], said["ProtectClock"], said["DevicePolicy"]) == ("no", "no", "auto")
    assert said["SupplementaryGroups"] == "dialout"
    assert "DeviceAllow" not in said


def test_the_template_is_the_service_with_a_name_in_its_paths():
    plain, template = told(UNIT), told(SYSTEMD / "shopfloor-gateway@.service")
    assert plain.keys() == template.keys()
    assert {key for key in plain if plain[key] != template[key]} == {
        "ExecStart", "ExecReload", "User", "StateDirectory", "LoadCredential",
    }  # fmt: skip
    assert all("%i" in template[key] for key in plain if plain[key] != template[key])


def test_the_store_writer_is_shut_in_like_the_service():
    plain, store = told(UNIT), told(SYSTEMD / "shopfloor-store.service")
    assert plain.keys() == store.keys()
    assert {key for key in plain if plain[key] != store[key]} == {
        "ExecStart", "ExecReload", "User", "StateDirectory", "LoadCredential",
    }  # fmt: skip


def test_secrets_of_a_folder_are_found_under_their_own_names(tmp_path):
    """systemd.exec(5), LoadCredential=ID:FOLDER: each file becomes ID_FILE."""
    (tmp_path / "secrets_mqtt_password").write_text("pw\n")
    env = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert find_secret("mqtt_password", tmp_path / "etc", env) == "pw"
    (tmp_path / "mqtt_password").write_text("its own\n")
    assert find_secret("mqtt_password", tmp_path / "etc", env) == "its own"
