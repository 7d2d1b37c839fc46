"""gateway web …, and the page of a real `gateway run`, as people type and open them."""

import asyncio
import contextlib
import json
import os
import pty
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.web.access.audit import verify
from gateway.web.access.users import Users
from web.browser import Browser, trusting

GATEWAY = [sys.executable, "-m", "gateway"]


@pytest.fixture
def box(tmp_path: Path) -> Path:
    (tmp_path / "gateway.yaml").write_text(
        'gateway: {id: edge-01, data_dir: data}\nweb: {listen: "0.0.0.0:8443", login: required, hosts: [edge-01.lan]}\n'
    )
    return tmp_path


def web(box: Path, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*GATEWAY, "web", *words], cwd=box, input=stdin, capture_output=True, text=True, timeout=60, check=False
    )


def test_users(box: Path) -> None:
    assert "nobody has a password yet" in web(box, "user", "list").stderr
    added = web(box, "user", "add", "anna", "--role", "engineer", stdin="a long sentence\n")
    assert (added.returncode, added.stdout) == (0, "anna is engineer\n")
    assert web(box, "user", "add", "victor", stdin="another sentence").returncode == 0
    rows = [json.loads(line) for line in web(box, "user", "list", "--json").stdout.splitlines()]
    assert [(row["user"], row["role"]) for row in rows] == [("anna", "engineer"), ("victor", "viewer")]
    assert Users(box / "data").all()["anna"].password.matches("a long sentence")
    assert web(box, "user", "remove", "victor").returncode == 0
    last = web(box, "user", "add", "anna", "--role", "viewer", stdin="a third sentence\n")
    assert "anna is viewer now, with a new password" in last.stdout


@pytest.mark.parametrize(
    ("words", "stdin", "code", "says"),
    [
        (["add", "anna"], "short\n", 1, "10 characters at least"),
        (["add", "anna"], "", 2, "on standard input"),
        (["add", "anna", "--role", "root"], "a long sentence\n", 2, "engineer or viewer"),
        (["add", "../anna"], "a long sentence\n", 1, "cannot be the name"),
        (["remove", "otto"], "", 1, "no user 'otto'"),
    ],
)
def test_users_that_cannot_be(box: Path, words: list[str], stdin: str, code: int, says: str) -> None:
    said = web(box, "user", *words, stdin=stdin)
    assert said.returncode == code
    assert says in said.stderr
    assert "Traceback" not in said.stderr


def test_a_password_is_not_shown_at_a_terminal(box: Path) -> None:
    parent, child = pty.openpty()
    process = subprocess.Popen(
        [*GATEWAY, "web", "user", "add", "anna"], cwd=box, stdin=child, stdout=child, stderr=child, start_new_session=True,
        preexec_fn=lambda: __import__("fcntl").ioctl(0, __import__("termios").TIOCSCTTY, 0),
    )  # fmt: skip
    os.close(child)
    shown = b""
    for prompt in (b"Password for anna", b"Once more"):
        while prompt not in shown:
            shown += os.read(parent, 1000)
        os.write(parent, b"a long sentence\n")
    try:
        while True:
            shown += os.read(parent, 1000)
    except OSError:
        pass
    assert process.wait(30) == 0
    assert b"anna is viewer" in shown
    assert b"a long sentence" not in shown


def test_a_damaged_file_is_refused_with_what_to_do(box: Path) -> None:
    web(box, "user", "add", "anna", "--role", "engineer", stdin="a long sentence\n")
    users = box / "data" / "web" / "users.json"
    users.chmod(0o644)
    said = web(box, "user", "list")
    assert said.returncode == 1
    assert "chmod 600" in said.stderr
    users.chmod(0o600)
    users.write_text("{")
    said = web(box, "user", "add", "otto", stdin="a long sentence\n")
    assert said.returncode == 1
    assert "take it from a backup; or delete it" in said.stderr


def test_certificate(box: Path) -> None:
    first = web(box, "certificate")
    assert "it was made just now for" in first.stdout
    assert "edge-01.lan" in first.stdout
    told = json.loads(web(box, "certificate", "--json").stdout)
    openssl = subprocess.run(
        ["openssl", "x509", "-in", "data/web/page.pem", "-noout", "-fingerprint", "-sha256"],
        cwd=box, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert openssl.stdout.strip().endswith(told["sha256"])
    assert told["sha256"] in first.stdout
    renewed = json.loads(web(box, "certificate", "--renew", "--json").stdout)
    assert renewed["sha256"] != told["sha256"]
    (box / "gateway.yaml").write_text("web: {}\n")
    said = web(box, "certificate")
    assert said.returncode == 1
    assert "not served with TLS" in said.stderr


def test_audit(box: Path) -> None:
    assert web(box, "audit").returncode == 0
    web(box, "user", "add", "anna", "--role", "engineer", stdin="a long sentence\n")
    web(box, "user", "add", "victor", stdin="a long sentence\n")
    said = web(box, "audit")
    assert said.returncode == 0
    assert "2 entries, the chain is whole" in said.stderr
    assert "password set" in said.stdout
    assert [json.loads(line)["n"] for line in web(box, "audit", "--json").stdout.splitlines()] == [1, 2]
    file = box / "data" / "web" / "audit.jsonl"
    file.write_bytes(file.read_bytes().replace(b"anna", b"otto"))
    said = web(box, "audit")
    assert said.returncode == 1
    assert "audit.jsonl:1: this line was changed" in said.stderr
    assert verify(box / "data" / "web").problems


@pytest.mark.root
@pytest.mark.parametrize("name", [".users.lock", ".audit.lock", "audit.jsonl"])
def test_root_is_not_led_out_of_the_folder_of_the_service(box: Path, name: str) -> None:
    """The service owns data_dir, below a folder only root may enter (as /var/lib/private), and has put a link there."""
    box.chmod(0o700)
    folder, victim = box / "data" / "web", box / "victim"
    folder.mkdir(parents=True)
    (folder / name).symlink_to(victim)
    for each in (box / "data", folder):
        os.chown(each, 65534, 65534)
    web(box, "user", "add", "anna", "--role", "engineer", stdin="a long sentence\n")
    assert not victim.exists()
    (folder / name).unlink()
    said = web(box, "user", "add", "anna", "--role", "engineer", stdin="a long sentence\n")
    assert (said.returncode, said.stdout[:16], said.stderr) == (0, "anna is engineer", "")
    assert {each.stat().st_uid for each in folder.iterdir()} == {65534}
    assert "password set" in web(box, "audit").stdout
    assert "anna" in web(box, "user", "list").stdout
    assert web(box, "certificate").stdout.startswith("data/web/page.pem\nSHA-256 ")
    assert web(box, "certificate").stdout.count("SHA-256") == 1
    (folder / "users.json").chmod(0o644)
    assert f"{folder / 'users.json'} is open to other users" in web(box, "user", "list").stderr
    assert {each.stat().st_uid for each in (box / "data").rglob("*")} == {65534}


@pytest.mark.root
def test_a_folder_of_the_service_that_is_a_link(box: Path) -> None:
    """Root works with the rights of whom data_dir belongs to; what those may not write, stays as it is."""
    data, other = box / "data", box / "other"
    data.mkdir()
    other.mkdir(mode=0o700)
    os.chown(data, 65534, 65534)
    (data / "web").symlink_to(other)
    said = web(box, "user", "add", "anna", "--role", "engineer", stdin="a long sentence\n")
    assert said.returncode == 1
    assert "Traceback" not in said.stderr
    assert list(other.iterdir()) == []


def test_a_gateway_that_runs(box: Path) -> None:
    """As a service on uvloop: set-up code, first engineer, reload over TLS; then a stop, and the audit of it."""
    port = free_port()
    (box / "gateway.yaml").write_text(
        f"gateway: {{id: edge-01, data_dir: data}}\nweb: {{listen: '0.0.0.0:{port}', login: required}}\n"
        "connections: {c: {protocol: modbus-tcp, host: 127.0.0.1, port: 9}}\n"
        "machines: {m: {connection: c, signals: {a: {holding: 0, type: uint16}}}}\n"
    )
    log = (box / "log").open("w")
    process = subprocess.Popen([*GATEWAY, "run", "gateway.yaml"], cwd=box, stdout=log, stderr=log)
    try:
        asyncio.run(asyncio.wait_for(set_up(box, port), 60))
    finally:
        process.terminate()
        process.wait(30)
        log.close()
    said = (box / "log").read_text()
    assert "Traceback" not in said
    assert "sentence" not in said
    done = [json.loads(line) for line in web(box, "audit", "--json").stdout.splitlines()]
    assert [(entry["who"], entry["what"]) for entry in done] == [("anna", "password set"), ("anna", "reload")]


async def set_up(box: Path, port: int) -> None:
    browser = Browser(port, trusting())
    while True:
        with contextlib.suppress(ConnectionError):
            if (await browser.open())["setup"]:
                break
        await asyncio.sleep(0.1)
    code = (box / "data" / "web" / "setup-code").read_text()
    assert code.strip() in (box / "log").read_text()
    answer = await browser.post("/api/v1/password", {"code": code, "user": "anna", "password": "a long sentence"})
    assert answer.status == 200
    answer = await browser.post("/api/v1/config/reload")
    assert (answer.status, answer.data["changed"]) == (200, False)


def test_safe_mode_lets_in_nobody_else(box: Path) -> None:
    """A configuration that is broken elsewhere opens no door: the same login, the same TLS."""
    port = free_port()
    (box / "secrets").mkdir()
    (box / "secrets" / "scrape").write_text("0123456789abcdef")
    (box / "secrets" / "scrape").chmod(0o600)
    (box / "gateway.yaml").write_text(
        "gateway: {id: edge-01, data_dir: data}\nnonsense: true\n"
        f"web: {{listen: '0.0.0.0:{port}', login: required, metrics_token: {{secret: scrape}}}}\n"
    )
    log = (box / "log").open("w")
    process = subprocess.Popen([*GATEWAY, "run", "gateway.yaml", "--safe-mode"], cwd=box, stdout=log, stderr=log)
    try:
        asyncio.run(asyncio.wait_for(look_in(port), 60))
    finally:
        process.terminate()
        process.wait(30)
        log.close()
    assert "Traceback" not in (box / "log").read_text()


async def look_in(port: int) -> None:
    browser = Browser(port, trusting())
    while True:
        with contextlib.suppress(ConnectionError):
            if (await browser.open())["role"] is None:
                break
        await asyncio.sleep(0.1)
    assert (await browser.get("/api/v1/plant")).status == 401
    assert (await browser.get("/readyz", Authorization="Bearer 0123456789abcdef")).status == 503


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as asked:
        return int(asked.getsockname()[1])
