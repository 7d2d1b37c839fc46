"""Reload, in one process: what goes on, what is carried over, and what happens when the new configuration cannot be had."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.adapter import Context
from gateway.clock import SystemClock
from gateway.config import load
from gateway.errors import GatewayError
from gateway.mqtt.local import LocalBroker
from gateway.runtime.app import App
from gateway.runtime.edge import edge as edge_module
from gateway.runtime.edge.poller import Poller
from gateway.runtime.registry import plugins, protocols
from gateway.web.access.audit import verify
from parts.ports import free_port
from simulators.behaviour.scenario import read_scenario
from simulators.plant import simulate

# The byte goes round at 256, within a second: the total that goes on behind it is known to us only.
BEHAVIOUR = """
machines:
  press: {signals: {bags: {wave: counter, first: 200, period: 10ms}, power: {wave: sine, mean: 50, amplitude: 10, period: 1s}}}
  saw: {signals: {bags: {wave: counter, first: 200, period: 10ms}, power: {wave: sine, mean: 50, amplitude: 10, period: 1s}}}
"""
MACHINE = """\
    connection: {c}
    poll: 50ms
    signals:
      bags: {{holding: 0, type: uint8, byte: low, kind: counter, max_rate: 200}}
      power: {{holding: 1, type: uint16, unit: kW}}
      {more}
    computed:
      energy: {{value: "total(power)"}}
"""


def plant(ports: list[int], *names: str, **more: str) -> str:
    lines = ["version: 1", "gateway: {id: edge-01, data_dir: data}", "connections:"]
    lines += [
        f"  {c}: {{protocol: modbus-tcp, host: 127.0.0.1, port: {port}}}" for c, port in zip("ab", ports, strict=True)
    ]
    lines += ["machines:"]
    for name in names:
        lines += [f"  {name}:", MACHINE.format(c="a" if name == "press" else "b", more=more.get(name, ""))]
    return "\n".join([*lines, "store: {kind: historian}", ""])


EXTRA = "more: {holding: 2, type: uint16}"


async def until(condition: Callable[[], object], what: str, timeout: float = 15) -> None:
    async with asyncio.timeout(timeout):
        while not condition():
            await asyncio.sleep(0.02)
    assert condition(), what


@asynccontextmanager
async def running(folder: Path, ports: list[int], text: str, broker: LocalBroker | None = None) -> AsyncIterator[App]:
    whole = folder / "whole.yaml"
    whole.write_text(plant(ports, "press", "saw", press=EXTRA, saw=EXTRA))
    file = folder / "gateway.yaml"
    file.write_text(text)
    scenario = folder / "scenario.yaml"
    scenario.write_text(BEHAVIOUR)
    broker = broker or LocalBroker()

    def links(*_: object) -> Any:
        return lambda *_: broker.link()

    configuration = load(file, protocols())
    async with simulate(load(whole, protocols()), read_scenario(scenario)):
        app = App(configuration, links(), SystemClock(), relink=links)
        task = asyncio.create_task(app.run())
        try:
            await until(lambda: task.done() or (app.edge and app.edge.running.is_set()), "it runs")
            await until(
                lambda: task.done() or all(app.counters.of(name).polls > 3 for name in configuration.machines), "polls"
            )
            yield app
            assert not task.done()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def value(app: App, machine: str, signal: str) -> Any:
    assert app.edge is not None
    rows = app.edge.board.machines[machine].latest.snapshot(0) + app.edge.board.machines[machine].worked_out(0)
    return next(row["value"] for row in rows if row["name"] == signal)


async def reload(app: App, text: str) -> dict[str, Any]:
    (app.configuration.path).write_text(text)
    assert app.control is not None
    return await app.control.reload("test")


async def test_totals_and_what_is_worked_out_go_on_in_the_machine_that_changes_and_in_the_other(tmp_path: Path):
    ports = [free_port(), free_port()]
    async with running(tmp_path, ports, plant(ports, "press", "saw")) as app:
        assert app.edge is not None
        await until(
            lambda: min(value(app, name, "bags") or 0 for name in ("press", "saw")) > 300, "the byte went round"
        )
        energy = {name: value(app, name, "energy") for name in ("press", "saw")}
        poller, derived = app.edge.pollers[1], app.edge.deriving._made["saw"]
        adapter = poller._adapter
        answer = await reload(app, plant(ports, "press", "saw", press=EXTRA))
        assert answer["errors"] == []
        assert answer["touched"] == ["connections.a"]
        # Of the other one nothing was made anew, down to the objects.
        assert app.edge.pollers[0] is poller
        assert poller._adapter is adapter
        assert app.edge.deriving._made["saw"] is derived
        polls = app.counters.of("press").polls
        await until(lambda: app.counters.of("press").polls > polls + 3, "polls of the one that changed")
        assert value(app, "press", "more") is not None
        for name in ("press", "saw"):
            assert value(app, name, "bags") > 300, name  # the device shows 255 at the most
            assert value(app, name, "energy") >= energy[name] > 0, name
        # A machine that goes and returns has its total again.
        total = value(app, "press", "bags")
        assert (await reload(app, plant(ports, "saw")))["errors"] == []
        assert list(app.edge.board.machines) == ["saw"]
        assert (await reload(app, plant(ports, "press", "saw")))["errors"] == []
        await until(lambda: value(app, "press", "bags"), "its total")
        assert value(app, "press", "bags") >= total
        assert value(app, "press", "energy") >= energy["press"]


@pytest.mark.parametrize("where", ["build", "prepare"])
async def test_a_connection_that_cannot_be_made_leaves_all_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
):
    """`build`: before anything is touched. `prepare`: in the middle, when the old ones have ended."""
    ports = [free_port(), free_port()]
    text = plant(ports, "press", "saw")
    async with running(tmp_path, ports, text) as app:
        assert app.edge is not None
        before, pollers = app.configuration, list(app.edge.pollers)
        adapters, topics = [poller._adapter for poller in pollers], set(app.edge._data_topics.values())

        class Refusing:
            def build(self, context: Context) -> Any:
                if context.name == "b":
                    raise GatewayError("this adapter cannot be built")
                return plugins()["modbus-tcp"].build(context)

        def prepare(poller: Poller) -> None:
            if poller.name == "b":
                raise ZeroDivisionError("a mistake of ours")
            real(poller)

        real = Poller.prepare
        with monkeypatch.context() as patch:
            if where == "build":
                patch.setattr(edge_module, "plugins", lambda: {"modbus-tcp": Refusing()})
            else:
                patch.setattr(Poller, "prepare", prepare)
            answer = await reload(app, plant(ports, "press", "saw", press=EXTRA, saw=EXTRA))
        assert not answer["changed"]
        assert ("cannot be built" if where == "build" else "ZeroDivisionError") in answer["errors"][0]
        assert "the one before goes on" in answer["errors"][0]
        assert app.configuration is before
        assert [poller.name for poller in app.edge.pollers] == ["a", "b"]
        assert set(app.edge._data_topics.values()) == topics
        if where == "build":
            assert [poller._adapter for poller in app.edge.pollers] == adapters
        polls = {name: app.counters.of(name).polls for name in ("press", "saw")}
        for name, count in polls.items():
            await until(lambda name=name, count=count: app.counters.of(name).polls > count + 3, "polls go on")
            assert app.edge.board.machines[name].condition.state == "online"
            assert [each.name for each in app.edge.board.machines[name].latest.header.signals] == ["bags", "power"]
        assert [event.state for event in app.events if event.kind == "config"] == ["failed"]
        # And what can be made is taken over, afterwards as before.
        answer = await reload(app, plant(ports, "press", "saw", press=EXTRA, saw=EXTRA))
        assert answer["errors"] == []
        await until(lambda: value(app, "saw", "more") is not None, "the new signal")


async def test_a_store_that_cannot_be_opened_leaves_the_one_there_is(tmp_path: Path):
    ports = [free_port(), free_port()]
    text = plant(ports, "press", "saw")
    (tmp_path / "blocked").write_text("a file where a folder should be")
    async with running(tmp_path, ports, text) as app:
        answer = await reload(app, text.replace("historian}", f'historian, path: "{tmp_path}/blocked/x.sqlite"}}'))
        assert not answer["changed"]
        assert answer["errors"]
        stored = app.counters.stored
        await until(lambda: app.counters.stored > stored + 5, "it stores on")


async def test_what_is_asked_at_once_is_done_one_after_the_other(tmp_path: Path):
    ports = [free_port(), free_port()]
    async with running(tmp_path, ports, plant(ports, "press")) as app:
        assert app.control is not None
        (tmp_path / "gateway.yaml").write_text(plant(ports, "press", press=EXTRA))
        answers = await asyncio.gather(*(app.control.reload(f"test {i}") for i in range(5)))
        assert [answer["changed"] for answer in answers] == [True, False, False, False, False]


async def test_a_version_that_cannot_be_loaded_any_more_is_not_put_back(tmp_path: Path):
    ports = [free_port(), free_port()]
    text = plant(ports, "press")
    secret = tmp_path / "secrets" / "broker"
    secret.parent.mkdir()
    secret.write_text("hidden")
    secret.chmod(0o600)
    async with running(tmp_path, ports, text + "mqtt: {user: u, password: {secret: broker}}\n") as app:
        assert app.control is not None
        await until(lambda: app.control and app.control.versions(), "the first version")
        assert (await reload(app, text))["errors"] == []
        secret.unlink()
        answer = await app.control.rollback(1, "test")
        assert "the secret 'broker' is nowhere to be found" in answer["errors"][0]
        assert (tmp_path / "gateway.yaml").read_text() == text
        with pytest.raises(GatewayError, match="there is no version 7; kept are 2, 1"):
            await app.control.rollback(7, "test")


async def ask(path: Path, line: bytes) -> Any:
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(line)
    answer = await reader.readline()
    writer.close()
    return json.loads(answer)


async def test_the_control_socket_answers_whatever_it_is_asked(tmp_path: Path):
    ports = [free_port(), free_port()]
    async with running(tmp_path, ports, plant(ports, "press")):
        path = tmp_path / "data" / "control.sock"
        assert path.stat().st_mode & 0o777 == 0o600
        found = await ask(path, b'{"do": "status"}\n')
        assert found["ok"]
        assert [machine["name"] for machine in found["result"]["machines"]] == ["press"]
        assert (await ask(path, b'{"do": "faults"}\n"'))["result"] == []
        assert "gateway" in (await ask(path, b'{"do": "metrics"}\n'))["result"]
        for line, error in [
            (b"no json\n", "one line of JSON"),
            (b"[]\n", "says what to do"),
            (b'{"do": "shut down"}\n', "nothing this gateway can do"),
            (b'{"do": "reload", "whom": 1}\n', "unexpected keyword"),
            (b'{"do": "rollback"}\n', "missing"),
            (b'{"do": "rollback", "version": 99}\n', "there is no version 99"),
            (b"x" * 100_000 + b"\n", "at most 65536 bytes"),
        ]:
            answer = await ask(path, line)
            assert not answer["ok"]
            assert error in answer["error"], line[:40]
        assert (await ask(path, b'{"do": "reload", "who": "me"}\n'))["result"]["changed"] is False
    assert not path.exists()


async def test_who_changes_something_at_the_box_stands_in_the_audit(tmp_path: Path):
    """Beside those who do it on the page: one chain says who did what."""
    ports = [free_port(), free_port()]
    async with running(tmp_path, ports, plant(ports, "press")):
        path = tmp_path / "data" / "control.sock"
        await ask(path, b'{"do": "reload", "who": "gateway reload by anna"}\n')
        await ask(path, b'{"do": "rollback", "version": 99, "who": "otto"}\n')
        (tmp_path / "gateway.yaml").write_text("nonsense: true\n")
        assert (await ask(path, b'{"do": "reload"}\n'))["result"]["errors"]
        await ask(path, b'{"do": "versions"}\n')  # changes nothing
    verdict = verify(tmp_path / "data" / "web")
    assert verdict.problems == ()
    assert [(each["who"], each["what"], each["outcome"]) for each in verdict.entries] == [
        ("gateway reload by anna, at the box", "reload", "done"),
        ("otto, at the box", "rollback", "failed"),
        ("gateway reload, at the box", "reload", "refused"),
    ]
    assert verdict.entries[1]["version"] == 99


async def test_a_folder_with_a_long_name_has_a_control_socket_as_well(tmp_path: Path):
    from gateway.cli import running as client
    from gateway.runtime.asked.control import ControlSocket

    folder = tmp_path / ("x" * 120)
    folder.mkdir()
    (folder / "control.sock").touch()  # left behind
    control = ControlSocket(folder, {"status": lambda: {"fine": True}})
    await control.start()
    file = folder / "gateway.yaml"
    file.write_text("gateway: {data_dir: .}\n")
    assert await asyncio.to_thread(client.ask_at, file, "status") == {"fine": True}
    # Another process with the same folder does not take it away.
    other = ControlSocket(folder, {})
    await other.start()
    await other.stop()
    assert await asyncio.to_thread(client.ask_at, file, "status") == {"fine": True}
    await control.stop()
    with pytest.raises(client.NotRunningError, match="no gateway runs with this configuration"):
        await asyncio.to_thread(client.ask_at, file, "status")
    assert [each.name for each in folder.iterdir()] == ["gateway.yaml"]
