"""`gateway verify-flow`, with a plant of every setting: sound as it is; what is taken out of the store or altered is found.

gateway simulate --ledger ─▶ gateway run ─▶ Mosquitto ─▶ historian ─▶ copies, spoilt row by row
       └────────────────────────────────────────────────────────── verify-flow ──┘
"""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from flow.plants import EVERY_SETTING, MOVING
from gateway.cli.verify import verdict_of
from gateway.mqtt.payload import Loss
from gateway.store.contract import Lost
from gateway.store.historian import Historian
from parts.gateway import Gateway, Simulated, gateway
from parts.influxdb1 import InfluxDB1
from parts.mosquitto import Mosquitto
from parts.ports import free_port
from parts.process import wait_until
from simulators.ledger import Ledger
from store.material import PRESS, T0, simple


@dataclass
class Ran:
    ledger: Path
    historian: Path
    config: Path


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    text = EVERY_SETTING.format(modbus=free_port(), opcua=free_port())
    with Mosquitto(conf=["max_queued_messages 10000"]) as broker, Simulated(text, MOVING) as machines:
        wait_until(lambda: machines.log.count("127.0.0.1:") == 2, 20, "the machines")
        more = f'mqtt: {{url: "mqtt://127.0.0.1:{broker.port}"}}\nstore: {{kind: historian}}\n'
        with Gateway(text + more) as running:
            wait_until(lambda: running.status()["flow"]["stored"] > 160, 60, "messages to be stored")
            while_it_runs = verify(machines.ledger, running.folder)
            running.stop()
            machines.stop()
            folder = tmp_path_factory.mktemp("ran")
            ran = Ran(folder / "ledger.jsonl", folder / "historian.sqlite", folder / "gateway.yaml")
            shutil.copy(machines.ledger, ran.ledger)
            copy(running.folder / "data" / "historian.sqlite", ran.historian)
            shutil.copy(running.file, ran.config)
            assert while_it_runs[0] == 0, while_it_runs[2]
            yield ran


def copy(historian: Path, to: Path) -> None:
    with sqlite3.connect(historian) as source, sqlite3.connect(to) as target:
        source.backup(target)


def verify(ledger: Path, store: Path, *more: str) -> tuple[int, dict[str, dict[str, Any]], str]:
    """Exit code, what is said of each signal (that of all under ""), and all of it as text."""
    done = gateway("verify-flow", str(ledger), "--store", str(store), "--json", *more)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    return done.returncode, {row.get("signal", ""): row for row in rows}, done.stdout + done.stderr


def spoil(ran: Ran, folder: Path, change: Callable[[int, dict[str, Any]], Any]) -> Path:
    """A copy of the historian in which `change` has had each frame of what was read of the press; what it returns is one more."""
    path = folder / "historian.sqlite"
    shutil.copy(ran.historian, path)
    with sqlite3.connect(path) as db:
        found = db.execute("SELECT id, payload FROM message ORDER BY id").fetchall()
        rows = [(id_, payload) for id_, payload in found if b'"temp"' in payload]
        assert len(rows) > 45, "they are folded already: nothing to change by hand"
        for number, (id_, payload) in enumerate(rows):
            data = json.loads(payload)
            again = change(number, next(frame for frame in data["frames"] if "temp" in frame["values"]))
            data["frames"] += [again] if again else []
            db.execute("UPDATE message SET payload = ? WHERE id = ?", (json.dumps(data).encode(), id_))
    return path


def test_all_that_was_served_is_stored(ran: Ran):
    code, found, text = verify(ran.ledger, ran.historian, "-c", str(ran.config))
    assert code == 0, text
    every = found[""]
    assert (every["missing"], every["wrong"], every["late"], every["duplicated"]) == (0, 0, 0, 0), text
    assert every["served"] > 500
    assert every["coming"] < every["served"] / 2
    assert {name for name, row in found.items() if name and row["not_judged"]} == {"twice", "bag_delta"}
    for signal in ("ramp", "door", "alarm"):
        assert found[signal]["unchanged"] > 10, signal
        assert found[signal]["stored"] > 0, signal
    assert found["polled"]["unread"] > 0
    assert "judged by what it can have added" in (found["bag"]["note"] or ""), text  # it goes round at 256


def test_a_configuration_names_the_store_and_tells_the_rules(ran: Ran, tmp_path: Path):
    (tmp_path / "data").mkdir()
    shutil.copy(ran.historian, tmp_path / "data")
    shutil.copy(ran.config, tmp_path)
    for place in (tmp_path, tmp_path / "gateway.yaml", tmp_path / "data"):
        more = ["-c", str(ran.config)] if place.name == "data" else []
        code, found, text = verify(ran.ledger, place, *more)
        assert (code, found[""]["missing"]) == (0, 0), text


def test_readings_taken_out_of_the_store_are_missing(ran: Ran, tmp_path: Path):
    """Ten of a signal that is polled; the others are as they were."""
    taken: list[float] = []

    def take(number: int, frame: dict[str, Any]) -> None:
        if 10 <= number < 20:
            taken.append(frame["values"].pop("temp"))

    code, found, text = verify(ran.ledger, spoil(ran, tmp_path, take), "-c", str(ran.config))
    assert code == 1
    assert (found["temp"]["missing"], found[""]["missing"], found[""]["wrong"]) == (10, 10, 0), text
    assert [each["value"] for each in found["temp"]["first_missing"]] == taken[:5]


def test_altered_readings_are_wrong(ran: Ran, tmp_path: Path):
    def alter(number: int, frame: dict[str, Any]) -> None:
        if number in (12, 17, 23):
            frame["values"]["temp"] += 77
        if number in (14, 15):
            frame["values"]["name"] = "not mine"

    code, found, text = verify(ran.ledger, spoil(ran, tmp_path, alter), "-c", str(ran.config))
    assert code == 1
    assert (found["temp"]["wrong"], found["name"]["wrong"]) == (3, 2), text
    assert (found[""]["wrong"], found[""]["missing"]) == (5, 0), text
    assert found["temp"]["first_wrong"][0]["value"] > 270


def test_readings_stored_twice_are_duplicated(ran: Ran, tmp_path: Path):
    def double(number: int, frame: dict[str, Any]) -> dict[str, Any] | None:
        return {"t": frame["t"] + 40, "values": {"temp": frame["values"]["temp"]}} if number in (12, 17) else None

    code, found, text = verify(ran.ledger, spoil(ran, tmp_path, double), "-c", str(ran.config))
    assert (code, found["temp"]["duplicated"], found[""]["duplicated"]) == (1, 2, 2), text
    assert (found[""]["wrong"], found[""]["missing"]) == (0, 0), text


def test_the_table_and_what_it_comes_to(ran: Ran, tmp_path: Path):
    def take(number: int, frame: dict[str, Any]) -> None:
        if number == 20:
            frame["values"].pop("temp")

    spoilt = spoil(ran, tmp_path, take)
    done = gateway("verify-flow", str(ran.ledger), "--store", str(spoilt), "-c", str(ran.config))
    lines = done.stdout.splitlines()
    assert done.returncode == 1
    assert lines[0].split()[:7] == ["signal", "served", "stored", "missing", "wrong", "late", "duplicated"]
    assert lines[1].split()[0] == "press/temp"  # the worst first
    assert "not judged, it is computed: press/twice" in done.stdout
    assert "press/temp 20" in done.stdout
    assert ": served, and not stored" in done.stdout
    assert lines[-1].startswith("Not sound: of ")
    assert " 1 missing" in lines[-1]
    done = gateway("verify-flow", str(ran.ledger), "--store", str(ran.historian), "-c", str(ran.config))
    assert done.stdout.splitlines()[-1].startswith("Sound: of ")


def test_a_time_without_the_fault(ran: Ran, tmp_path: Path):
    gone: list[float] = []

    def take(number: int, frame: dict[str, Any]) -> None:
        if number == 20:
            frame["values"].pop("temp")
            gone.append(frame["t"] / 1000)

    spoilt = spoil(ran, tmp_path, take)
    before, after = (datetime.fromtimestamp(gone[0] + by).isoformat() for by in (-0.5, 0.5))
    for limits, code in ((("--since", before), 1), (("--since", after), 0), (("--until", before), 0)):
        assert verify(ran.ledger, spoilt, "-c", str(ran.config), *limits)[0] == code, limits


def test_without_a_configuration_it_is_said_what_is_not_known(ran: Ran):
    done = gateway("verify-flow", str(ran.ledger), "--store", str(ran.historian))
    assert "Judged without a configuration (-c)" in done.stdout


def test_a_data_base_as_the_store():
    text = EVERY_SETTING.format(modbus=free_port(), opcua=free_port())
    with Mosquitto() as broker, InfluxDB1() as influx, Simulated(text, MOVING) as machines:
        influx.query("CREATE DATABASE shopfloor")
        wait_until(lambda: machines.log.count("127.0.0.1:") == 2, 20, "the machines")
        store = f'store: {{kind: influx, api: v1, url: "{influx.url}", database: shopfloor}}\n'
        with Gateway(text + f'mqtt: {{url: "mqtt://127.0.0.1:{broker.port}"}}\n{store}') as running:
            wait_until(lambda: running.status()["flow"]["stored"] > 100, 60, "messages to be stored")
            running.stop()
            machines.stop()
            code, found, text = verify(machines.ledger, running.file)
            assert (code, found[""]["missing"], found[""]["wrong"]) == (0, 0, 0), text
            assert found[""]["judged"] == 22, text
            (row, *_) = influx.query("SELECT temp FROM machine WHERE machine = 'press' LIMIT 1 OFFSET 12", "shopfloor")
            place = "machine,enterprise=acme,site=hanoi,machine=press"
            write = Request(f"{influx.url}/write?db=shopfloor", f"{place} temp=7.0 {row['time']}".encode())
            with urlopen(write, timeout=5):
                pass
            code, found, text = verify(machines.ledger, running.file)
            assert (code, found["temp"]["wrong"], found[""]["wrong"]) == (1, 1, 1), text


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nothing.jsonl", "--store", "{historian}"], "there is no ledger nothing.jsonl"),
        (["{ledger}", "--store", "nowhere"], "there is no file or folder nowhere"),
        (["{ledger}", "--store", "empty"], "holds neither a historian.sqlite nor a gateway.yaml"),
        (["{ledger}"], "--store says where the readings are"),
        (["{ledger}", "--store", "{historian}", "--late", "soon"], "--late"),
        (["empty.jsonl", "--store", "{historian}"], "tells of no reading"),
    ],
)
def test_what_was_typed_wrong_is_explained(ran: Ran, tmp_path: Path, arguments: list[str], says: str):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty.jsonl").touch()
    names = {"ledger": ran.ledger, "historian": ran.historian}
    done = gateway("verify-flow", *(each.format(**names) for each in arguments), cwd=tmp_path)
    assert done.returncode == 2
    assert says in done.stderr


def test_a_file_that_is_no_ledger(ran: Ran, tmp_path: Path):
    (tmp_path / "other.jsonl").write_text('{"t": 1, "machine": "press", "values": {}}\nhello\n')
    done = gateway("verify-flow", str(tmp_path / "other.jsonl"), "--store", str(ran.historian))
    assert done.returncode == 1
    assert "other.jsonl:2: is no line of a ledger" in done.stderr


def test_a_ledger_is_not_written_behind_something_else(ran: Ran, tmp_path: Path):
    """A recording, say: it is as it was."""
    (tmp_path / "press.rec").write_bytes(b"not a ledger\nnor is this")
    done = gateway("simulate", str(ran.config), "--port-base", "0", "--ledger", str(tmp_path / "press.rec"))
    assert done.returncode == 2
    assert "press.rec is there already, and is no ledger" in done.stderr
    assert (tmp_path / "press.rec").read_bytes() == b"not a ledger\nnor is this"


@pytest.mark.parametrize(
    ("losses", "says"),
    [
        ([(2, 2)], "20004 messages of a gateway are not in the store"),  # of 3 to 20,006
        ([(2, 2), (3, 20_006)], ""),
        ([(2, 10), (5, 20_006), (11, 30)], ""),  # told twice
        ([(2, 20_005)], "1 messages of a gateway are not in the store"),
        ([(0, 0)], "20005 messages of a gateway are not in the store"),
    ],
)
def test_messages_that_were_declared_lost_are_not_on_their_way(
    tmp_path: Path, losses: list[tuple[int, int]], says: str
):
    """Messages 1 and 20,007 are stored, and behind them the records of what was lost between."""
    with Ledger(tmp_path / "ledger.jsonl") as ledger:
        ledger.served(PRESS.machine, T0 + 1_000_000_000, {"temp": 1.5})
    with closing(Historian(tmp_path / "historian.sqlite")) as historian:
        records = [
            Lost("edge-01", 20_008 + number, Loss("e1", first, last, 7, T0, T0, "overflow"))
            for number, (first, last) in enumerate(losses)
        ]
        historian.write([simple(1), simple(20_007, at=T0 + 2_000_000_000), *records])
    _, notes = verdict_of(tmp_path / "ledger.jsonl", tmp_path / "historian.sqlite")
    assert [note.partition(":")[0] for note in notes if "messages" in note] == ([says] if says else [])
