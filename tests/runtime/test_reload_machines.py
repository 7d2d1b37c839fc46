"""Machines that come, go and move by a reload: what leaves for them, what is counted, and what brokers retain of them."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from gateway.cli.reload import tell
from gateway.model import Batch, MachinePath
from gateway.mqtt.local import LocalBroker
from gateway.publisher import publisher as publisher_module
from gateway.runtime.app import App
from gateway.runtime.edge import edge as edge_module
from gateway.runtime.edge import retained as retained_module
from gateway.runtime.edge.deriving import Deriving
from gateway.runtime.edge.edge import Edge
from gateway.runtime.edge.memory import Memory
from gateway.store.open import historian_path
from gateway.store.reader import HistorianReader
from parts.ports import free_port
from runtime.test_reload import EXTRA, plant, reload, running, until, value

ROOT = "shopfloor/v1"
PRESS = "  press:\n    connection: a\n"
ENERGY = '    computed:\n      energy: {value: "total(power)"}\n'


def both(ports: list[int], *, place: str = "", computed: str = ENERGY) -> str:
    """Press and saw; of the press, where it stands and what is worked out."""
    text = plant(ports, "press", "saw").replace(ENERGY, computed, 1)
    assert PRESS in text
    return text.replace(PRESS, f"{PRESS}    {place}\n")


def edge_of(app: App) -> Edge:
    assert app.edge is not None
    return app.edge


async def ticks(app: App, count: int = 3) -> None:
    """The watch of the edge went round so many times."""
    before = edge_of(app).publisher.turns
    await until(lambda: edge_of(app).publisher.turns >= before + count, "ticks")


# --- what is worked out ----------------------------------------------------------------------------------------------

DOOR = ENERGY.replace(')"}', ')", report: swinging-door, deadband: 1000000}')


@pytest.mark.parametrize("fails", [False, True])
async def test_what_a_swinging_door_holds_back_leaves_before_its_machine_moves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: bool
):
    """A door that wide never opens by itself. `fails`: the move, at its end, so that all is put back."""
    ports = [free_port(), free_port()]
    async with running(tmp_path, ports, both(ports, computed=DOOR)) as app:
        edge, held, left = edge_of(app), [], []
        change, accept = Deriving.change, edge.accept

        def noted(deriving: Deriving, *args: Any) -> None:
            doors = deriving._made["press"]._plan._doors.values()
            held.extend((deriving._made["press"].header.path, door.held[0]) for door in doors if door.held)
            change(deriving, *args)

        def seen(batch: Batch) -> None:
            accept(batch)
            left.extend((batch.header.path, time) for time in batch.time if batch.header.signals[0].name == "energy")

        def failing(deriving: Deriving) -> None:
            once.undo()
            deriving.settle()
            raise ZeroDivisionError("a mistake of ours")

        await until(lambda: any(d.held for d in edge.deriving._made["press"]._plan._doors.values()), "a reading held")
        with monkeypatch.context() as patch, monkeypatch.context() as once:
            patch.setattr(Deriving, "change", noted)
            patch.setattr(edge, "accept", seen)
            if fails:
                once.setattr(Deriving, "settle", failing)
            answer = await reload(app, both(ports, place="line: L1", computed=DOOR))
        assert bool(answer["errors"]) is fails, answer
        old, new = MachinePath("press"), MachinePath("press", line="L1")
        assert held[0][0] == old
        assert held[0] in left
        here, gone = (old, new) if fails else (new, old)
        assert edge.board.machines["press"].latest.header.path == here
        assert {header.path for header in edge._data_topics} == {here, MachinePath("saw")}
        polls = app.counters.of("press").polls
        await until(lambda: app.counters.of("press").polls > polls + 3, "polls go on")
        energy = value(app, "press", "energy")
        await until(lambda: value(app, "press", "energy") > energy > 0, "and what is worked out")
        retained = edge._link._broker._retained  # type: ignore[attr-defined]
        await until(lambda: f"{ROOT}/{'/'.join(gone.levels())}/meta" not in retained, "the other place is taken back")
        assert f"{ROOT}/{'/'.join(here.levels())}/meta" in retained


async def test_what_is_not_worked_out_any_more_is_not_shown_and_goes_on_when_it_returns(tmp_path: Path):
    ports, broker = [free_port(), free_port()], LocalBroker()

    def described() -> dict[str, Any]:
        meta: dict[str, Any] = json.loads(broker._retained[f"{ROOT}/press/meta"])
        return meta

    async with running(tmp_path, ports, both(ports), broker) as app:
        edge = edge_of(app)
        await until(lambda: value(app, "press", "energy"), "energy")
        assert "energy" in described()["signals"]  # the control
        energy, version = value(app, "press", "energy"), described()["version"]
        poller = edge.pollers[0]
        answer = await reload(app, both(ports, computed=""))
        assert (answer["errors"], edge.pollers[0]) == ([], poller)
        assert edge.board.machines["press"].derived is None
        await until(lambda: "energy" not in described()["signals"], "it is not described")
        assert described()["version"] == version + 1
        assert {header.signals[0].name for header in edge._data_topics if header.path.machine == "press"} == {"bags"}
        assert not edge._locked - edge._data_topics.keys()
        # In one go with its own signals it is one other version, too.
        answer = await reload(app, both(ports))
        assert answer["errors"] == []
        await until(lambda: edge.board.machines["press"].worked_out(0), "it is worked out again")
        await until(lambda: value(app, "press", "energy") > energy, "it goes on")
        version = described()["version"]
        answer = await reload(
            app, both(ports, computed="").replace("type: uint16, unit: kW", "type: uint16, unit: W", 1)
        )
        assert answer["errors"] == []
        await until(lambda: "energy" not in described()["signals"], "it is not described")
        assert described()["version"] == version + 1
        assert edge.board.machines["press"].derived is None


# --- counts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["machine", "signal"])
async def test_a_count_that_was_removed_goes_on_after_two_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
):
    """The device shows a byte: what is more than 255 is known to the gateway only."""
    ports = [free_port(), free_port()]
    whole = plant(ports, "press", "saw")
    less, other = (
        plant(ports, "saw")
        if what == "machine"
        else plant(ports, "press", "saw", press=more).replace("bags:", "boxes:", 1)
        for more in ("", EXTRA)
    )
    async with running(tmp_path, ports, whole) as app:
        await until(lambda: (value(app, "press", "bags") or 0) > 300, "the byte went round")
        total = value(app, "press", "bags")
        assert (await reload(app, less))["errors"] == []
        assert (await reload(app, other))["errors"] == []
    read: list[str] = []
    saved = Memory.saved
    monkeypatch.setattr(Memory, "saved", lambda memory, name: (read.append(name), saved(memory, name))[1])
    async with running(tmp_path, ports, less):
        assert read.count("counters") == 1
    async with running(tmp_path, ports, less) as app:
        read.clear()
        assert (await reload(app, whole))["errors"] == []
        assert read.count("counters") == 0
        await until(lambda: value(app, "press", "bags"), "its total")
        assert value(app, "press", "bags") >= total


# --- what brokers retain ---------------------------------------------------------------------------------------------


async def test_what_was_taken_back_is_not_taken_back_again_with_the_next_connection(tmp_path: Path):
    """Another gateway may read the machine by now."""
    ports, broker = [free_port(), free_port()], LocalBroker()
    topics = [f"{ROOT}/press/{kind}" for kind in ("meta", "status")]
    async with running(tmp_path, ports, plant(ports, "press", "saw"), broker) as app:
        edge = edge_of(app)
        edge._link.connected = False  # type: ignore[misc]
        edge.publisher.on_disconnected("cut")
        assert (await reload(app, plant(ports, "saw")))["errors"] == []
        edge._link.connected = True  # type: ignore[misc]
        assert all(topic in broker._retained for topic in topics)
        edge.publisher.on_connected()
        await until(lambda: not any(topic in broker._retained for topic in topics), "they are taken back")
        await until(lambda: not edge.retained.leaving, "the broker's word")
        for topic in topics:
            broker._publish(topic, b"of another gateway", True)
        edge.publisher.on_disconnected("cut")
        edge.publisher.on_connected()
        await until(lambda: not edge.publisher.saying, "all that is retained to be said again")
        assert [broker._retained[topic] for topic in topics] == [b"of another gateway"] * 2


async def test_an_area_that_becomes_a_line_has_the_same_topics_and_they_stay(tmp_path: Path):
    ports, broker = [free_port(), free_port()], LocalBroker()
    async with running(tmp_path, ports, both(ports, place="area: L1", computed=""), broker) as app:
        assert (await reload(app, both(ports, place="line: L1", computed="")))["errors"] == []
        await ticks(app)
        assert json.loads(broker._retained[f"{ROOT}/L1/press/meta"])["path"] == {"line": "L1", "machine": "press"}
        assert json.loads(broker._retained[f"{ROOT}/L1/press/status"])["state"] == "online"
        assert edge_of(app)._at(f"{ROOT}/L1/press/data")


@pytest.mark.parametrize("restarted", [False, True])
async def test_a_machine_stays_described_until_all_that_came_of_it_is_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, restarted: bool
):
    """A store that starts meanwhile could but guess where it stood: a line alone looks like an enterprise."""
    monkeypatch.setattr(edge_module, "DRAIN", 0.3)
    monkeypatch.setattr(publisher_module, "STALL", 1.0)  # what the store took and never acknowledged is sent again
    ports, broker = [free_port(), free_port()], LocalBroker()
    whole, less = both(ports, place="line: L1"), plant(ports, "saw")
    meta, status = f"{ROOT}/L1/press/meta", f"{ROOT}/L1/press/status"
    again = less.replace("historian}", f'historian, path: "{tmp_path}/other.sqlite"}}')

    def told() -> str:
        return str(json.loads(broker._retained[status])["state"])

    async def stored_and_gone(app: App) -> None:
        await until(lambda: meta not in broker._retained and status not in broker._retained, "it is taken back")
        assert not dict(edge_of(app).retained.births()).keys() & {meta}
        store = app.configuration.settings.store
        assert store is not None
        reader = HistorianReader(historian_path(store, tmp_path / "data"))
        try:
            places = {path for path, _ in reader.latest() if path.machine == "press"}
        finally:
            reader.close()
        assert places == {MachinePath("press", line="L1")}

    async with running(tmp_path, ports, whole, broker) as app:
        assert app.writer is not None
        await app.writer.stop()
        polls = app.counters.of("press").polls
        await until(lambda: app.counters.of("press").polls > polls + 5, "readings that wait")
        assert (await reload(app, less))["errors"] == []
        assert list(edge_of(app).board.machines) == ["saw"]
        await ticks(app)
        assert meta in broker._retained
        assert told() == "offline"
        if not restarted:
            assert (await reload(app, again))["errors"] == []
            await stored_and_gone(app)
    if restarted:
        assert meta in broker._retained
        async with running(tmp_path, ports, again, broker) as app:
            await stored_and_gone(app)
        async with running(tmp_path, ports, again, broker) as app:
            assert not edge_of(app).retained.leaving


async def test_a_machine_that_returns_before_it_was_taken_back_stays(tmp_path: Path):
    ports, broker = [free_port(), free_port()], LocalBroker()
    async with running(tmp_path, ports, plant(ports, "press", "saw"), broker) as app:
        assert app.writer is not None
        await app.writer.stop()
        edge = edge_of(app)
        polls = app.counters.of("press").polls
        await until(lambda: app.counters.of("press").polls > polls + 3, "readings that wait")
        assert (await reload(app, plant(ports, "saw")))["errors"] == []
        assert edge.retained.leaving
        assert (await reload(app, plant(ports, "press", "saw", press=EXTRA)))["errors"] == []
        assert not edge.retained.leaving
        await until(lambda: edge.board.machines["press"].condition.state == "online", "it is back")
        await ticks(app)
        assert "more" in json.loads(broker._retained[f"{ROOT}/press/meta"])["signals"]


async def test_readings_of_a_machine_that_is_gone_have_a_rank(tmp_path: Path):
    """It is asked in a thread, when the buffer keeps less, also in the middle of a change."""
    ports = [free_port(), free_port()]
    text = plant(ports, "press", "saw")
    async with running(tmp_path, ports, text) as app:
        edge = edge_of(app)
        normal = edge._rank(f"{ROOT}/saw/data")
        before = edge._configuration
        machines = {name: machine for name, machine in before.machines.items() if name == "saw"}
        edge._configuration = type("Gone", (), {"machines": machines})()  # type: ignore[assignment]
        try:
            assert edge._rank(f"{ROOT}/press/data") == normal
        finally:
            edge._configuration = before
        await asyncio.sleep(0)


@pytest.mark.parametrize("asked", [True, False])
async def test_what_another_gateway_says_of_a_machine_by_now_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: bool
):
    """It moved, and the other gateway was told first. The control is one that does not ask."""
    if not asked:
        monkeypatch.setattr(retained_module, "gateway_of", lambda _: "edge-01")
    ports, broker = [free_port(), free_port()], LocalBroker()
    topics = [f"{ROOT}/press/{kind}" for kind in ("meta", "status")]
    async with running(tmp_path, ports, plant(ports, "press", "saw"), broker) as app:
        await until(lambda: all(topic in broker._retained for topic in topics), "the machine is told")
        theirs = {topic: json.dumps({**json.loads(broker._retained[topic]), "gateway": "other"}) for topic in topics}
        for topic, payload in theirs.items():
            broker._publish(topic, payload.encode(), True)
        assert (await reload(app, plant(ports, "saw")))["errors"] == []
        await until(lambda: not edge_of(app).retained.leaving, "the question to be settled")
        await ticks(app)
        there = {topic: broker._retained[topic].decode() for topic in topics if topic in broker._retained}
        assert there == (theirs if asked else {})


@pytest.mark.parametrize("moved", [False, True])
async def test_a_machine_that_was_taken_out_while_the_gateway_was_stopped(tmp_path: Path, moved: bool):
    """What brokers retain of it goes; unless another gateway says it by now."""
    ports, broker = [free_port(), free_port()], LocalBroker()
    topics = [f"{ROOT}/press/{kind}" for kind in ("meta", "status")]
    async with running(tmp_path, ports, plant(ports, "press", "saw"), broker) as app:
        await until(lambda: all(topic in broker._retained for topic in topics), "the machine is told")
    if moved:
        for topic in topics:
            said = {**json.loads(broker._retained[topic]), "gateway": "other"}
            broker._publish(topic, json.dumps(said).encode(), True)
    async with running(tmp_path, ports, plant(ports, "saw"), broker) as app:
        await until(lambda: not edge_of(app).retained.leaving, "the question to be settled")
        await ticks(app)
        assert [topic in broker._retained for topic in topics] == [moved, moved]
    async with running(tmp_path, ports, plant(ports, "saw"), broker) as app:
        await ticks(app)
        assert not edge_of(app).retained.leaving


# --- types -----------------------------------------------------------------------------------------------------------


async def test_a_type_that_no_store_can_take_is_named_in_the_answer(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """A whole number that becomes a float is taken over, and bad from then on: whoever asked for it has to hear why."""
    ports = [free_port(), free_port()]
    text = both(ports)
    async with running(tmp_path, ports, text) as app:
        await until(lambda: value(app, "press", "bags"), "a count has left")
        other = text.replace("kind: counter", "kind: counter, scale: 0.5", 1)
        assert other != text
        answer = await reload(app, other)
        told = [
            each for each in answer["warnings"] if each.startswith("press/bags: is float now and was int in the store")
        ]
        assert len(told) == 1
        assert "gateway config types --accept press/bags" in told[0]
        event = next(each for each in app.events.newest(50) if each.state == "reloaded")
        assert "press/bags: is float now" in event.text
        tell(answer, json=False)
        said = capsys.readouterr()
        assert "taken over" in said.out
        assert f"warning: {told[0]}" in said.err
        # Of what is not touched nothing is said again; and nothing once it is as it was.
        answer = await reload(app, other.replace("saw:", "saw:\n    description: new", 1))
        assert answer["warnings"] == []
        assert (await reload(app, text))["warnings"] == []
