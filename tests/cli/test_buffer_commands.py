"""gateway buffer status | verify and gateway audit, beside a gateway that runs and after it has ended."""

import json
from collections.abc import Iterator

import pytest

from flow.plants import modbus_plant
from parts.gateway import Gateway, Simulated, gateway
from parts.mosquitto import Mosquitto
from parts.ports import free_port
from parts.process import wait_until


@pytest.fixture(scope="module")
def ran() -> Iterator[Gateway]:
    """A gateway that was killed once, whose broker went away, and that was stopped with messages waiting."""
    text = modbus_plant([free_port()], 10, "100ms")
    with Mosquitto() as broker, Simulated(text):
        more = f'gateway: {{id: edge-01, data_dir: data}}\nmqtt: {{url: "mqtt://127.0.0.1:{broker.port}"}}\n'
        with Gateway(text + more + "store: {kind: historian}\n") as edge:
            wait_until(lambda: edge.status()["flow"]["stored"] > 20, 30, "the flow")
            edge.kill()
            edge.start()
            wait_until(lambda: edge.status()["flow"]["stored"] > 20, 30, "the flow")
            broker.stop()
            before = edge.status()["flow"]["messages"]
            wait_until(lambda: edge.status()["flow"]["messages"] > before + 20, 30, "messages that wait")
            beside = gateway("buffer", "status", "-c", str(edge.file))
            assert "in use by a running gateway" in beside.stdout
            assert gateway("buffer", "verify", "-c", str(edge.file)).returncode == 0
            edge.stop()
            yield edge


def rows(*arguments: str) -> list[dict[str, object]]:
    done = gateway(*arguments, "--json")
    assert not done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_status(ran):
    done = gateway("buffer", "status", "-c", str(ran.file))
    assert done.returncode == 0
    assert "not in use" in done.stdout
    assert "0 declared lost" in done.stdout
    (told,) = rows("buffer", "status", "-c", str(ran.file))
    assert told["messages"] >= 20  # type: ignore[operator]
    assert told["max_bytes"] == 2 * 2**30
    assert told["in_use"] is False


def test_audit_explains_every_message(ran):
    found = rows("audit", "-c", str(ran.file))
    assert {row["kind"] for row in found} == {"stored", "pending"}
    assert list(found[0]) == ["kind", "gateway", "epoch", "first", "last", "count", "from", "to", "cause"]
    assert len({row["epoch"] for row in found}) == 2
    for row in found:
        assert row["count"] == (row["last"] - row["first"] + 1) * 10  # type: ignore[operator]
        assert row["from"] <= row["to"]  # type: ignore[operator]
    said = gateway("audit", "-c", str(ran.file))
    assert said.returncode == 0
    assert said.stdout.splitlines()[-1].endswith("silent 0 messages")


def test_control_what_is_missing_in_the_store_is_found(ran, tmp_path):
    """A buffer that is thrown away without a word: what waited in it is nowhere."""
    (ran.folder / "data" / "buffer").rename(tmp_path / "aside")
    try:
        pending_alone = rows("audit", "-c", str(ran.file))
        assert {row["kind"] for row in pending_alone} == {"stored"}
    finally:
        (tmp_path / "aside").rename(ran.folder / "data" / "buffer")
    import sqlite3

    copy = tmp_path / "historian.sqlite"
    copy.write_bytes((ran.folder / "data" / "historian.sqlite").read_bytes())
    with sqlite3.connect(copy) as db:
        epoch = db.execute("SELECT epoch FROM stored LIMIT 1").fetchone()[0]
        db.execute("UPDATE stored SET ranges = '[[1,5],[9,20]]' WHERE epoch = ?", (epoch,))
        db.execute("DELETE FROM stretch WHERE epoch = ?", (epoch,))
    db.close()
    config = tmp_path / "gateway.yaml"
    config.write_text(ran.file.read_text().replace("kind: historian", f"kind: historian, path: {copy}"))
    done = gateway("audit", "-c", str(config))
    assert done.returncode == 1
    assert f"{epoch} 6–8" in done.stdout
    assert "silent 3 messages" in done.stdout.splitlines()[-1]
    assert "3 messages are neither stored nor waiting" in done.stderr
    assert "support-bundle" in done.stderr


def test_verify_names_damage(ran):
    files = sorted((ran.folder / "data" / "buffer").glob("*.segment"))
    whole = {file: file.read_bytes() for file in files}
    try:
        for file, data in whole.items():
            if (at := data.rfind(b'"frames"')) > 0:
                file.write_bytes(data[:at] + b"X" + data[at + 1 :])
        done = gateway("buffer", "verify", "-c", str(ran.file))
        assert done.returncode == 1
        assert "damaged: messages" in done.stdout
        assert "declared lost when the gateway comes to them" in done.stdout
    finally:
        for file, data in whole.items():
            file.write_bytes(data)


@pytest.mark.parametrize("command", [["buffer", "status"], ["buffer", "verify"]])
def test_no_buffer_yet(command, tmp_path):
    (tmp_path / "gateway.yaml").write_text("version: 1\ngateway: {data_dir: data}\n")
    done = gateway(*command, "-c", str(tmp_path / "gateway.yaml"))
    assert done.returncode == 1
    assert "there is no buffer yet: it is made by `gateway run`" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_edge_whose_store_is_elsewhere(ran, tmp_path):
    config = tmp_path / "gateway.yaml"
    text = (
        ran.file.read_text()
        .replace("store: {kind: historian}\n", "")
        .replace("data_dir: data", f"data_dir: {ran.folder / 'data'}")
    )
    config.write_text(text)
    done = gateway("audit", "-c", str(config))
    assert "only what waits in the buffer is shown" in done.stderr
    assert "pending" in done.stdout
