"""Every command as a person types it: output, and exit codes 0, 2, 3, 4 and 5."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from parts.gateway import COMMAND, gateway
from parts.libmodbus import Libmodbus
from parts.mosquitto import Mosquitto
from parts.ports import free_port
from parts.process import wait_until

PRESS = """\
connections: {{panel: {{protocol: modbus-tcp, host: 127.0.0.1, port: {port}}}}}
machines:
  press-07:
    connection: panel
    signals:
      melt_temp: {{holding: 0, type: int16, scale: 0.1, unit: Cel}}
      mode: {{holding: 1, type: uint16, enum: {{0: "off", 3: auto}}}}
      gone: {{holding: 900, type: uint16}}
"""


@pytest.fixture(scope="module")
def press() -> Iterator[Libmodbus]:
    with Libmodbus({(1, "holding", 0): [2135, 3]}) as server:
        yield server


@pytest.fixture
def plant(press, tmp_path) -> Path:
    (tmp_path / "gateway.yaml").write_text(PRESS.format(port=press.port))
    return tmp_path


def test_config_check(plant):
    done = gateway("config", "check", cwd=plant)
    assert (done.returncode, done.stdout) == (0, "gateway.yaml: ok, 1 connection, 1 machine, 3 signals\n")
    (plant / "gateway.yaml").write_text("machnes: {}\n")
    done = gateway("config", "check", cwd=plant)
    assert done.returncode == 3
    assert done.stderr.startswith("gateway.yaml:1:1: error: machnes: 'machnes' is not a key here\n")
    done = gateway("config", "check", "--json", cwd=plant)
    assert done.returncode == 3
    assert json.loads(done.stdout)["hint"] == "did you mean 'machines'?"


def test_config_show_has_what_is_in_force_and_no_secret(plant):
    with (plant / "gateway.yaml").open("a") as file:
        file.write('mqtt: {user: edge, password: "hunter2"}\n')
    done = gateway("config", "show", cwd=plant)
    assert "password: '***'" in done.stdout
    assert "hunter2" not in done.stdout


def test_config_explain(plant):
    assert "mqtt.window: whole number = 50" in gateway("config", "explain", "mqtt.window").stdout
    done = gateway("config", "explain", "press-07/melt_temp", cwd=plant)
    assert re.search(r"scale +0\.1 +gateway\.yaml:6:44\n", done.stdout)
    assert re.search(r"poll +1s +default\n", done.stdout)
    assert gateway("config", "explain", "windw").returncode == 2


def test_read(plant):
    done = gateway("read", "press-07", "--json", cwd=plant)
    assert done.returncode == 0, done.stderr
    rows = {row["signal"]: row for row in map(json.loads, done.stdout.splitlines())}
    assert (rows["melt_temp"]["value"], rows["melt_temp"]["unit"], rows["melt_temp"]["quality"]) == (
        213.5,
        "Cel",
        "good",
    )
    assert (rows["gone"]["value"], rows["gone"]["quality"]) == (None, "bad:illegal-address")
    assert "auto" in gateway("read", "press-07/mode", cwd=plant).stdout


def test_names_that_are_wrong(plant):
    done = gateway("read", "pres-07", cwd=plant)
    assert (done.returncode, done.stderr) == (2, "there is no machine 'pres-07'; did you mean 'press-07'?\n")
    done = gateway("read", "press-07", "melt", cwd=plant)
    assert (done.returncode, done.stderr) == (2, "press-07 has no signal 'melt'; did you mean 'melt_temp'?\n")


def test_a_machine_that_is_not_there(tmp_path):
    (tmp_path / "gateway.yaml").write_text(PRESS.format(port=free_port()))
    done = gateway("read", "press-07", cwd=tmp_path)
    assert done.returncode == 4
    assert "refuses the connection" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_unit_that_does_not_answer(plant):
    text = (plant / "gateway.yaml").read_text()
    (plant / "gateway.yaml").write_text(
        text.replace("    connection: panel\n", "    connection: panel\n    unit_id: 9\n")
    )
    done = gateway("read", "press-07", cwd=plant)
    assert done.returncode == 4
    assert "bad:no-communication" in done.stdout
    assert "press-07 does not answer" in done.stderr


def test_plan(plant):
    done = gateway("plan", "--json", cwd=plant)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(row["what"], row["signals"], row["size"]) for row in rows if row["kind"] == "request"] == [
        ("holding 0–1", 2, 2),
        ("holding 900", 1, 1),
    ]
    assert "2 requests" in gateway("plan", "press-07", cwd=plant).stdout


def test_plan_says_what_was_learnt_and_forgets_it(plant):
    done = gateway("read", "press-07", cwd=plant)  # holding 900 is not there
    assert "illegal-address" in done.stdout
    learnt = "learnt: press-07 refuses holding 900 (exception 2)"
    shown = gateway("plan", cwd=plant).stdout
    assert learnt in shown
    assert "panel: 1 request, 1.0 a second, 2 registers of which 0 unused" in shown
    done = gateway("plan", "--forget", cwd=plant)
    assert "press-07: forgotten what was learnt" in done.stderr
    assert learnt not in done.stdout
    assert learnt not in gateway("plan", cwd=plant).stdout


def test_once_and_query(plant):
    with Mosquitto() as broker:
        with (plant / "gateway.yaml").open("a") as file:
            file.write(f'mqtt: {{url: "mqtt://127.0.0.1:{broker.port}"}}\nstore: {{kind: historian}}\n')
        done = gateway("run", "--once", cwd=plant)
        assert done.returncode == 0, done.stderr
    done = gateway("query", "press-07/melt_temp", "--since", "5min", "--json", cwd=plant)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert {(r["machine"], r["signal"], r["value"], r["quality"]) for r in rows} == {
        ("press-07", "melt_temp", 213.5, "good")
    }
    assert abs(rows[0]["t"] / 1000 - time.time()) < 60
    assert "213.5" in gateway("query", "press-07/melt_temp", cwd=plant).stdout
    assert gateway("query", "melt_temp", cwd=plant).returncode == 2
    assert gateway("query", "press-07/melt_temp", "--since", "yesterday", cwd=plant).returncode == 2
    done = gateway("query", "press-07/melt_temp", "--since", "9999999d", cwd=plant)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False)
    assert gateway("query", "press-07/melt_temp", "--since", "1h", "--until", "2h", cwd=plant).returncode == 2


def test_exit_codes_of_broker_and_store(plant):
    with (plant / "gateway.yaml").open("a") as file:
        file.write(f'mqtt: {{url: "mqtt://127.0.0.1:{free_port()}", delivery: store}}\nstore: {{kind: historian}}\n')
    done = gateway("query", "press-07/melt_temp", cwd=plant)
    assert done.returncode == 5, done.stderr
    assert "Traceback" not in done.stderr
    done = gateway("run", "--once", cwd=plant)
    assert done.returncode == 5
    assert "nothing listens there" in done.stderr


def test_store_without_a_store(plant):
    done = gateway("store", cwd=plant)
    assert done.returncode == 3
    assert "there is no `store:` to write to" in done.stderr


def test_watch_prints_lines_where_nobody_looks(plant):
    with subprocess.Popen(
        [COMMAND, "watch", "press-07/melt_temp", "--json"], stdout=subprocess.PIPE, cwd=plant
    ) as process:
        assert process.stdout is not None
        rows = [json.loads(process.stdout.readline()) for _ in range(3)]
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
    assert [row["value"] for row in rows] == [213.5] * 3


def test_watch_is_a_live_table_in_a_terminal(plant):
    main, other = pty.openpty()
    process = subprocess.Popen(
        [COMMAND, "watch", "press-07"], stdout=other, stdin=other, cwd=plant, env={**os.environ, "TERM": "xterm"}
    )
    os.close(other)
    seen = b""

    def updated() -> bool:
        nonlocal seen
        while select.select([main], [], [], 0)[0]:
            seen += os.read(main, 65536)
        return seen.count(b"213.5") >= 2

    try:
        wait_until(updated, 20, "the table to be drawn again")
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
    finally:
        process.kill()
        os.close(main)
    assert b"bad:illegal-address" in seen
    assert b"\x1b[" in seen  # drawn in place
