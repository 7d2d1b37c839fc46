"""Somebody in a hurry, with a server and the README: each mistake is told where it is, and what to do about it."""

import json
import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from parts.gateway import gateway
from parts.hostile import Hostile, ua
from parts.node_opcua import NodeOpcua
from parts.ports import free_port

PLANT = """\
version: 1
connections: {{cnc: {{protocol: opcua, url: "{url}", security: {security}}}}}
machines:
  lathe:
    connection: cnc
    namespaces: {{m: "urn:shop:cnc"}}
    signals:
      speed: {{node: "m:s=CNC1.SpindleSpeed"}}
      beyond: {{node: "m:s=CNC1.AxisPositions", index: 7}}
      several: {{node: "m:s=CNC1.AxisPositions", count: 4}}
      machine: {{node: "m:s=CNC1"}}
"""


@pytest.fixture(scope="module")
def cnc() -> Iterator[NodeOpcua]:
    with NodeOpcua(tick_ms=0) as server:
        yield server


@pytest.fixture
def plant(cnc: NodeOpcua, tmp_path: Path) -> Path:
    (tmp_path / "gateway.yaml").write_text(PLANT.format(url=cnc.url, security="None"))
    return tmp_path


@contextmanager
def somebody(says: bytes, wait: bool) -> Iterator[int]:
    """A port where something else listens: it says this, after it was spoken to or before, and hangs up."""
    listening = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        with suppress(OSError):
            while True:
                line, _ = listening.accept()
                with line:
                    if wait:
                        line.recv(1000)
                    line.sendall(says)
                    if says:  # read before the line is broken off
                        line.recv(1000)

    threading.Thread(target=answer, daemon=True).start()
    try:
        yield listening.getsockname()[1]
    finally:
        with suppress(OSError):
            listening.shutdown(socket.SHUT_RDWR)
        listening.close()


@pytest.mark.parametrize(
    ("typed", "code", "said"),
    [
        (["browse", "@", "--security", "none"], 2, "--security: 'none' is not known; reading without encryption is"),
        (["browse", "@", "--security", "Basic256sha256/Sign"], 2, "did you mean 'Basic256Sha256'?"),
        (["browse", "@", "--timeout", "1"], 2, "--timeout: '1' has no unit; did you mean '1s'?"),
        (["browse", "@", "--allow", "host"], 2, "--allow: Input should be 'expired', 'wrong-host' or 'wrong-uri'"),
        (
            ["browse", "@", "--security", "None", "--user", "me"],
            2,
            "--security: nobody logs in over an unprotected line",
        ),
        (["browse", "@", "--user", "me"], 2, "goes into the variable GATEWAY_OPCUA_PASSWORD"),
        (["browse", "@", "--security", "None", "CNC2"], 2, "has nothing that is called CNC2\n"),
        (
            ["browse", "@", "--security", "None", "ns=2"],
            2,
            "the shell ends a command at a ;, so put node ids into quotes",
        ),
        (["read", "@", "--security", "None", "s=CNC1.Mode"], 2, "has no namespace; did you mean"),
        (["read", "@", "--security", "None", "x:s=CNC1.Mode"], 2, "'x' is not in `namespaces`"),
        (["read", "@", "--security", "None"], 2, "a TARGET with node ids or paths"),
        (["import", "@", "--security", "None", "-o", "no/cnc.yaml"], 2, "there is no folder no to write cnc.yaml into"),
        (["import", "@", "--security", "None", "--each", "Nope*"], 2, "--each Nope*: nothing there is called so"),
        (["watch", "@", "--publishing", "1ms", "i=2258"], 2, "--publishing: 10ms at least"),
        (["endpoints", "127.0.0.1:99999"], 2, "has no valid port; for example opc.tcp://"),
        (["endpoints", "http://127.0.0.1"], 2, "is not the address of an OPC UA server"),
        (["trust", "--remove", "1e08"], 2, "8 digits at least"),
        (
            ["trust", "--add", "gateway.yaml"],
            1,
            "gateway.yaml is neither a certificate nor a revocation list (PEM or DER)",
        ),
        (["trust", "lath"], 2, "did you mean 'lathe'?"),
    ],
)
def test_mistakes(cnc: NodeOpcua, plant: Path, typed: list[str], code: int, said: str) -> None:
    done = gateway("opcua", *(cnc.url if word == "@" else word for word in typed), cwd=plant)
    assert said in done.stderr
    assert (done.returncode, "Traceback" in done.stderr) == (code, False)


def test_none_of_these_is_a_mistake(cnc: NodeOpcua, plant: Path) -> None:
    """The control. A namespace may also be named by its number, as other tools show it."""
    number = gateway("opcua", "read", cnc.url, "--security", "None", "i=2255", "--json", cwd=plant)
    index = json.loads(number.stdout)["value"].index("urn:shop:cnc")
    for node in ("nsu=urn:shop:cnc;s=CNC1.Mode", "CNC1/Mode", f"{index}:CNC1/{index}:Mode", f"ns={index};s=CNC1.Mode"):
        done = gateway("opcua", "read", cnc.url, "--security", "None", node, "--json", cwd=plant)
        assert (done.returncode, json.loads(done.stdout)["text"]) == (0, "Auto"), done.stderr


@pytest.mark.parametrize(
    ("says", "wait", "said"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", True, "this is HTTP, not OPC UA: is this the port of the OPC UA server?"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", False, "this is SSH, not OPC UA"),
        (b"\x00\x01\x00\x00\x00\x03\x01\x84\x01", True, "this is something else, not OPC UA"),
        (b"", True, "breaks it off at once: is this the port of the OPC UA server?"),
    ],
)
def test_something_else_listens_there(tmp_path: Path, says: bytes, wait: bool, said: str) -> None:
    with somebody(says, wait) as port:
        done = gateway("opcua", "endpoints", f"127.0.0.1:{port}", "--timeout", "2s", cwd=tmp_path)
    assert done.returncode == 4
    assert f"127.0.0.1:{port}: " in done.stderr
    assert said in done.stderr


def test_nobody_listens_there(tmp_path: Path) -> None:
    done = gateway("opcua", "endpoints", f"127.0.0.1:{free_port()}", cwd=tmp_path)
    assert (done.returncode, "connection refused: is the OPC UA server running" in done.stderr) == (4, True)


def test_what_is_not_in_a_value_is_not_good(plant: Path) -> None:
    done = gateway("opcua", "read", "lathe", "--json", cwd=plant)
    rows = {row["name"]: (row["value"], row["quality"]) for row in map(json.loads, done.stdout.splitlines())}
    assert rows["beyond"] == rows["several_3"] == (None, "bad:not-available")
    assert rows["several_2"] == (300, "good")
    assert "(no variable)" in gateway("opcua", "read", "lathe", cwd=plant).stdout


def test_the_folder_for_data(cnc: NodeOpcua, tmp_path: Path) -> None:
    (tmp_path / "gateway.yaml").write_text(PLANT.format(url=cnc.url, security="auto"))
    (tmp_path / "data").write_text("no folder")
    done = gateway("opcua", "certificate", cwd=tmp_path)
    assert (done.returncode, "`gateway: {data_dir: …}` can name another folder" in done.stderr) == (1, True), (
        done.stderr
    )
    assert gateway("read", "lathe", cwd=tmp_path).returncode == 4
    (tmp_path / "data").unlink()
    assert gateway("opcua", "certificate", cwd=tmp_path).returncode == 0
    key = tmp_path / "data/opcua/pki/own/gateway.key"
    key.chmod(0o644)
    done = gateway("opcua", "certificate", cwd=tmp_path)
    assert (done.returncode, f"chmod 600 {key.relative_to(tmp_path)}" in done.stderr) == (1, True)
    shutil.rmtree(tmp_path / "data")


# --- what a machine says ------------------------------------------------------------------------------------------------

WICKED = "\x1b[31mred\x07\n2026-01-01 00:00:00 ERROR forged\r\x00\u202e"


def _refers(name: str, id: str) -> object:
    return ua.ReferenceDescription(
        ReferenceTypeId=ua.NodeId(35), NodeId=ua.ExpandedNodeId(id, 1, ua.NodeIdType.String),
        BrowseName=ua.QualifiedName(name, 1), DisplayName=ua.LocalizedText(name), NodeClass=ua.NodeClass.Variable,
        TypeDefinition=ua.ExpandedNodeId(63, 0, ua.NodeIdType.Numeric),
    )  # fmt: skip


@pytest.fixture
def wicked() -> Iterator[Hostile]:
    """Names and values that would move the cursor, forge a line, or are no text at all."""

    def browse(line, request):
        below = [_refers(WICKED, "A"), _refers("\udce4lone", "\udce4lone"), _refers("../../etc", "B")]
        found = [below if each.NodeId == ua.NodeId(85) else [] for each in request.Parameters.NodesToBrowse]
        line.answer(ua.BrowseResponse(Results=[ua.BrowseResult(References=each) for each in found]))

    with Hostile({"BrowseRequest": browse}) as server:
        for name in ("A", "\udce4lone"):
            server.values[name] = ua.DataValue(ua.Variant(WICKED + "\udcff", ua.VariantType.String))
        yield server


def test_what_a_machine_says_cannot_change_the_terminal_or_the_configuration(wicked: Hostile, tmp_path: Path) -> None:
    (tmp_path / "gateway.yaml").write_text(
        f'connections: {{c: {{protocol: opcua, url: "{wicked.url}", security: None}}}}\n'
        'machines: {m: {connection: c, namespaces: {m: "urn:shop:cnc"}, signals: {a: {node: "m:s=A"}}}}\n'
    )
    for typed in (["read", "m"], ["opcua", "read", "m"], ["opcua", "read", "c", "m:s=A"], ["opcua", "browse", "c"]):
        done = gateway(*typed, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert "forged" in done.stdout
        assert all(c.isprintable() or c == "\n" for c in done.stdout + done.stderr)
        assert not any(line.startswith("2026-01-01") for line in done.stdout.splitlines())
        rows = [json.loads(line) for line in gateway(*typed, "--json", cwd=tmp_path).stdout.splitlines()]
        assert any(str(row.get("value", "")).startswith("\x1b[31mred\x07\n2026") for row in rows)
    done = gateway("opcua", "import", "c", "-o", "m2.yaml", cwd=tmp_path)
    assert (done.returncode, "1 with a node id that cannot be written" in done.stderr) == (0, True), done.stderr
    text = (tmp_path / "m2.yaml").read_text()
    assert all(c.isprintable() or c == "\n" for c in text)
    (tmp_path / "all.yaml").write_text((tmp_path / "gateway.yaml").read_text().partition("machines:")[0] + text)
    done = gateway("config", "check", "all.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
