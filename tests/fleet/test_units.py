"""The units of systemd in deploy/fleet: they say what systemd knows, and the settings beside them are read."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from gateway.fleet import read_settings
from parts.process import program

FLEET = Path(__file__).parents[2] / "deploy" / "fleet"


@pytest.mark.parametrize("unit", ["gateway-fleet.service", "gateway-fleet.timer"])
def test_units(unit, tmp_path):
    text = (FLEET / unit).read_text().replace("/usr/bin/gateway ", "/bin/true ")  # it has to be there to be verified
    (tmp_path / unit).write_text(text)
    (tmp_path / "gateway-fleet.service").write_text(
        (FLEET / "gateway-fleet.service").read_text().replace("/usr/bin/gateway ", "/bin/true ")
    )
    done = subprocess.run(
        [program("systemd-analyze"), "verify", str(tmp_path / unit)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")  # an unknown key is only said on stderr


def test_what_it_may_do_is_little():
    done = subprocess.run(
        [program("systemd-analyze"), "security", "--offline=true", "--threshold=25", str(FLEET / "gateway-fleet.service")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-300:]


def test_the_user_and_the_folder_are_those_of_the_gateway():
    fleet = (FLEET / "gateway-fleet.service").read_text()
    drop_in = (FLEET / "shopfloor-gateway.conf").read_text()
    assert "User=shopfloor-gateway\n" in fleet  # as systemd calls that of shopfloor-gateway.service
    states = {re.search(r"^StateDirectory=(.*)$", text, re.M)[1] for text in (fleet, drop_in)}
    assert states == {"gateway gateway-fleet"}
    unit = (FLEET.parent / "systemd" / "shopfloor-gateway.service").read_text()
    program_and_options = re.search(r"^ExecStart=(.*) /etc/gateway$", unit, re.M)[1]
    assert f"ExecStart={program_and_options} /var/lib/gateway-fleet/current\n" in drop_in


def test_the_settings(tmp_path):
    (tmp_path / "allowed_signers").write_text('anna namespaces="git" ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI\n')
    text = (FLEET / "fleet.yaml").read_text().replace("/etc/gateway/", f"{tmp_path}/")
    (tmp_path / "fleet.yaml").write_text(text)
    assert read_settings(tmp_path / "fleet.yaml").ref == "refs/heads/main"
