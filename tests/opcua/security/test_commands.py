"""gateway opcua endpoints | trust | certificate as a person types them."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from adapters.opcua.security.certificates import parse
from opcua.security.helpers import make
from parts.gateway import COMMAND, Simulated, gateway
from parts.node_opcua import NodeOpcua
from parts.ports import free_port

CONFIG = """
gateway: {{id: edge-01}}
connections:
  cnc: {{protocol: opcua, url: "{url}", allow: [wrong-host]{more}}}
machines:
  lathe: {{connection: cnc, namespaces: {{m: "urn:shop:cnc"}}, signals: {{door: {{node: "m:s=CNC1.DoorOpen"}}}}}}
"""


@pytest.fixture
def home(tmp_path: Path, cnc: NodeOpcua) -> Path:
    (tmp_path / "gateway.yaml").write_text(CONFIG.format(url=cnc.url, more=""))
    return tmp_path


def opcua(*arguments: str, cwd: Path) -> Any:
    return gateway("opcua", *arguments, cwd=cwd)


def rows(done: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_endpoints(home: Path, cnc: NodeOpcua) -> None:
    done = opcua("endpoints", "cnc", cwd=home)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^None +user and password, .*anonymous", done.stdout, re.M)
    assert re.search(r"^Aes256_Sha256_RsaPss/SignAndEncrypt .*would be used", done.stdout, re.M)
    assert len(re.findall("would be used", done.stdout)) == 1
    assert "To trust it: gateway opcua trust cnc" in done.stdout
    found = rows(opcua("endpoints", cnc.url, "--json", cwd=home))
    assert {each["security"] for each in found} == {
        "None", "Basic256Sha256/Sign", "Basic256Sha256/SignAndEncrypt", "Aes128_Sha256_RsaOaep/Sign",
        "Aes128_Sha256_RsaOaep/SignAndEncrypt", "Aes256_Sha256_RsaPss/Sign", "Aes256_Sha256_RsaPss/SignAndEncrypt",
    }  # fmt: skip
    (best,) = [each for each in found if each["chosen"]]
    assert best["certificate"]["trusted"] is False
    own = (cnc.folder / "pki" / "own" / "certs" / "certificate.pem").read_bytes()
    assert best["certificate"]["sha256"] == parse(own).fingerprint.replace(":", "").lower()
    assert not (home / "data" / "opcua" / "pki" / "rejected").exists(), "to look is not to be refused"


def test_trusting_step_by_step(home: Path, cnc: NodeOpcua) -> None:
    refused = gateway("read", "lathe", cwd=home)
    assert refused.returncode == 4
    assert "gateway opcua trust cnc" in refused.stderr
    shown = opcua("trust", "cnc", cwd=home)
    assert shown.returncode == 1, "nobody is there to be asked"
    command = shown.stdout.splitlines()[-1].split()
    assert command[:4] == ["gateway", "opcua", "trust", "cnc"]
    wrong = opcua("trust", "cnc", "--fingerprint", "00" * 32, cwd=home)
    assert wrong.returncode == 1
    assert "another fingerprint" in wrong.stderr
    assert gateway("read", "lathe", cwd=home).returncode == 4
    done = opcua(*command[2:], cwd=home)
    assert done.returncode == 0, done.stderr
    read = gateway("read", "lathe", "--json", cwd=home)
    assert [row["value"] for row in rows(read)] == [False], read.stderr
    again = opcua("trust", "cnc", cwd=home)
    assert again.returncode == 0
    assert "trusted already" in again.stdout


def test_list_and_remove(home: Path) -> None:
    assert "nothing is trusted yet" in opcua("trust", "--list", cwd=home).stdout
    (shown,) = rows(opcua("trust", "cnc", "--json", cwd=home))
    assert shown["trusted"] is False
    (done,) = rows(opcua("trust", "cnc", "--json", "--fingerprint", shown["sha1"].upper(), cwd=home))
    assert done["trusted"] is True
    (row,) = rows(opcua("trust", "--list", "--json", cwd=home))
    assert (row["place"], row["kind"], row["sha256"], row["file"]) == (
        "trusted",
        "server",
        shown["sha256"],
        done["file"],
    )
    assert opcua("trust", "--remove", shown["sha256"][:7], cwd=home).returncode == 2, "too short to be sure"
    assert opcua("trust", "--remove", "0123456789", cwd=home).returncode == 2
    removed = opcua("trust", "--remove", shown["sha256"][:8], cwd=home)
    assert removed.stdout == f"removed: {done['file']}\n"
    assert gateway("read", "lathe", cwd=home).returncode == 4


def test_a_ca_in_a_file(home: Path) -> None:
    ca = make("Plant CA", ca=True, uri="", hosts=())
    (home / "ca.der").write_bytes(ca.der)
    (home / "ca.crl").write_bytes(ca.crl(make()))
    assert opcua("trust", "--add", "ca.der", cwd=home).returncode == 0
    assert opcua("trust", "--add", "ca.crl", cwd=home).returncode == 0
    listed = opcua("trust", "--list", cwd=home).stdout
    assert "trusted (a CA: all that it issues): CN=Plant CA" in listed
    assert "revocation list of CN=Plant CA" in listed
    missing = opcua("trust", "--add", "missing", cwd=home)
    assert missing.returncode != 0
    assert "there is no missing" in missing.stderr


def test_pinned_is_accepted_for_this_connection(home: Path, cnc: NodeOpcua) -> None:
    (home / "gateway.yaml").write_text(CONFIG.format(url=cnc.url, more=", trust: pinned"))
    assert gateway("read", "lathe", cwd=home).returncode == 0
    pin = home / "data" / "opcua" / "pki" / "pinned" / "certs" / "cnc.der"
    pin.write_bytes(make("before").der)
    changed = gateway("read", "lathe", cwd=home)
    assert changed.returncode == 4
    assert "another certificate than the one that is pinned" in changed.stderr
    (shown,) = rows(opcua("trust", "cnc", "--json", cwd=home))
    assert [problem["kind"] for problem in shown["problems"]] == ["changed", "wrong-host"]
    assert opcua("trust", "cnc", "--fingerprint", shown["sha256"], cwd=home).returncode == 0
    assert gateway("read", "lathe", cwd=home).returncode == 0
    assert not (home / "data" / "opcua" / "pki" / "trusted").exists(), "not for others"


def test_the_one_that_was_refused_while_the_server_is_away(home: Path, cnc: NodeOpcua) -> None:
    assert opcua("trust", "cnc", cwd=home).returncode == 1
    gateway("read", "lathe", cwd=home)
    (home / "gateway.yaml").write_text(CONFIG.format(url=f"opc.tcp://127.0.0.1:{free_port()}", more=""))
    away = opcua("trust", "cnc", cwd=home)
    assert "does not answer now. This is the certificate that was refused at" in away.stdout
    fingerprint = away.stdout.splitlines()[-1].split()[-1]
    assert opcua("trust", "cnc", "--fingerprint", fingerprint, cwd=home).returncode == 0
    (home / "gateway.yaml").write_text(CONFIG.format(url=cnc.url, more=""))
    assert gateway("read", "lathe", cwd=home).returncode == 0
    (home / "gateway.yaml").write_text(CONFIG.format(url=f"opc.tcp://127.0.0.1:{free_port()}", more=""))
    nothing = opcua("trust", "cnc", cwd=home)
    assert nothing.returncode == 4
    assert "connection refused" in nothing.stderr


def test_a_person_is_asked(home: Path) -> None:
    for answer, code in (("n\n", 1), ("y\n", 0)):
        said, status = _typed(["opcua", "trust", "cnc"], answer, home)
        assert "Is this the fingerprint that the server itself shows? Trust it?" in said
        assert status == code, said
    assert gateway("read", "lathe", cwd=home).returncode == 0


def test_who_is_asked_can_stop(home: Path) -> None:
    said, status = _typed(["opcua", "trust", "cnc"], "\x03", home)
    assert ("Aborted" in said, status) == (True, 1), said
    assert gateway("read", "lathe", cwd=home).returncode == 4


def test_the_gateways_own_certificate(home: Path) -> None:
    (shown,) = rows(opcua("certificate", "--json", cwd=home))
    file = home / shown["file"]
    assert parse(file.read_bytes()).fingerprint.replace(":", "").lower() == shown["sha256"]
    assert shown["application"] == ["urn:shopfloor-gateway:edge-01"]
    for_people = opcua("certificate", cwd=home).stdout
    assert parse(file.read_bytes()).thumbprint in for_people
    assert shown["file"] in for_people
    key = (file.with_name("gateway.key")).read_text()
    assert "PRIVATE KEY" in key
    assert "PRIVATE" not in for_people
    assert key.splitlines()[1] not in for_people


@pytest.mark.parametrize("arguments", [[], ["cnc", "--list"], ["--fingerprint", "00"], ["--list", "--remove", "0" * 8]])
def test_what_cannot_be_meant(home: Path, arguments: list[str]) -> None:
    done = opcua("trust", *arguments, cwd=home)
    assert done.returncode == 2
    assert "one of: TARGET" in done.stderr


@pytest.fixture
def simulated(tmp_path: Path) -> Iterator[Path]:
    text = CONFIG.format(url=f"opc.tcp://127.0.0.1:{free_port()}", more="").replace(", allow: [wrong-host]", "")
    (tmp_path / "gateway.yaml").write_text(text)
    with Simulated(text):
        yield tmp_path


def test_a_simulated_plant_with_encryption(simulated: Path) -> None:
    """`simulate`, `trust`, and then `run` or `read`: what a person tries first."""
    (shown,) = rows(opcua("trust", "cnc", "--json", cwd=simulated))
    assert [problem["kind"] for problem in shown["problems"]] == ["untrusted"], "made out for where it is"
    assert opcua("trust", "cnc", "--fingerprint", shown["sha256"], cwd=simulated).returncode == 0
    done = gateway("read", "lathe", "--json", cwd=simulated)
    assert done.returncode == 0, done.stderr
    assert [row["quality"] for row in rows(done)] == ["good"]


def _typed(arguments: list[str], answer: str, cwd: Path) -> tuple[str, int]:
    """Run a command in a terminal, and answer its question. What it said, and its exit code."""
    process, terminal = pty.fork()
    if process == 0:
        os.chdir(cwd)
        os.execv(COMMAND, ["gateway", *arguments])
    said, until, answered = "", time.monotonic() + 30, False
    while time.monotonic() < until:
        if not select.select([terminal], [], [], 0.5)[0]:
            if answered and answer == "\x03":  # it came between the question and the reading of the answer
                os.write(terminal, answer.encode())
            continue
        try:
            said += os.read(terminal, 65536).decode(errors="replace")
        except OSError:  # it has ended
            break
        if not answered and "[y/N]: " in said:
            answered = True
            os.write(terminal, answer.encode())
    else:
        os.kill(process, signal.SIGKILL)
    status = os.waitpid(process, 0)[1]
    os.close(terminal)
    return said, os.waitstatus_to_exitcode(status)
