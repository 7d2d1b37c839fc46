"""Reload where it goes wrong, or comes at the wrong moment: what is said, and what is there afterwards."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.adapter import Context
from gateway.clock import SystemClock
from gateway.config import load
from gateway.config.difference import Difference, named_files, with_contents
from gateway.errors import GatewayError, StoreError
from gateway.events import Event, Events
from gateway.mqtt.local import LocalBroker
from gateway.runtime import app as app_module
from gateway.runtime.app import App
from gateway.runtime.changes import versions
from gateway.runtime.changes.reload import STOPPING
from gateway.runtime.changes.versions import read_whole
from gateway.runtime.edge import edge as edge_module
from gateway.runtime.happenings import event_file, kept, read_events
from gateway.runtime.registry import plugins, protocols
from gateway.schedule import Backoff
from gateway.store import open as open_module
from gateway.store.historian import Historian
from parts.ports import free_port
from runtime.test_reload import EXTRA, plant, reload, running, until


@contextmanager
def no_store(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """For a while no store can be opened, whichever it is."""

    def refuse(*_: object) -> Any:
        raise StoreError("the disk has gone")

    with monkeypatch.context() as patch:
        patch.setattr(open_module, "open_store", refuse)
        yield


def config_events(app: App) -> list[tuple[str, str]]:
    return [(event.state, event.text) for event in app.events if event.kind == "config"]


async def first_version(app: App) -> None:
    await until(lambda: app.control and app.control.versions(), "the first version")


@pytest.mark.parametrize("again", ["by itself", "by a reload"])
async def test_a_store_that_can_be_opened_neither_new_nor_old_is_said_and_opened_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, again: str
):
    """Where nobody asks, it is the pauses that end it; where they are endless, a reload of the same files does."""
    pause = 0.05 if again == "by itself" else 1e6
    monkeypatch.setattr(app_module, "Backoff", lambda: Backoff(pause, pause))
    ports = [free_port(), free_port()]
    text = plant(ports, "press", "saw")
    async with running(tmp_path, ports, text) as app:
        await first_version(app)
        edge = app.edge
        assert edge is not None
        await until(lambda: edge.board.store.state == "online", "the store")
        with no_store(monkeypatch):
            answer = await reload(app, text.replace("historian}", "historian, retention: 7d}"))
            (told,) = answer["errors"]
            assert "the one before goes on" not in told.replace("not all of the one before goes on", "")
            assert "the store is not what it was before: it cannot be opened either (the disk has gone)" in told
            assert "the store: what was before cannot be put back" in caplog.text
            assert config_events(app)[-1][0] == "failed"
            assert "not what it was before" in config_events(app)[-1][1]
            assert app.writer is None
            assert app.store_reason() == "the store cannot be opened: the disk has gone"
            await until(lambda: edge.board.store.state == "offline", "the page says so")
            assert edge.board.store.reason == "the store cannot be opened: the disk has gone"
            # What cannot be opened by a reload of the same files either is said again.
            answer = await reload(app, text)
            assert "the disk has gone" in answer["errors"][0]
        if again == "by a reload":
            assert (await reload(app, text))["errors"] == []
        await until(lambda: app.writer is not None, "a writer")
        stored = app.counters.stored
        await until(lambda: app.counters.stored > stored + 5, "it stores")
        await until(lambda: edge.board.store.state == "online", "the page says so, too")
        assert app.store_reason() == ""


async def test_the_parts_that_are_watched_are_those_that_were_put_back(tmp_path: Path):
    ports = [free_port(), free_port()]
    text = plant(ports, "press")
    (tmp_path / "blocked").write_text("a file where a folder should be")
    async with running(tmp_path, ports, text) as app:
        await first_version(app)
        assert (await reload(app, text.replace("historian}", f'historian, path: "{tmp_path}/blocked/x.sqlite"}}')))[
            "errors"
        ]
        done: Any = app._progress._stages["store"].done
        assert done.args[0] is app.writer  # else nothing moves on in what is watched, and the watchdog ends the gateway


class Refusing:
    """An adapter that cannot be built behind connection `a`."""

    def build(self, context: Context) -> Any:
        if context.name == "a":
            raise GatewayError("this adapter cannot be built")
        return plugins()["modbus-tcp"].build(context)


@pytest.mark.parametrize("undone", [True, False])
async def test_a_way_back_that_is_not_taken_over_leaves_the_files_as_they_were_or_says_what_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, undone: bool
):
    ports = [free_port(), free_port()]
    first, second = plant(ports, "press"), plant(ports, "press", press=EXTRA)
    async with running(tmp_path, ports, first) as app:
        await first_version(app)
        assert app.control is not None
        assert (await reload(app, second))["errors"] == []
        monkeypatch.setattr(edge_module, "plugins", lambda: {"modbus-tcp": Refusing()})
        writes = 0

        def put_back(*given: Any) -> list[str]:
            nonlocal writes
            writes += 1
            if writes == 2 and not undone:
                raise GatewayError("gateway.yaml cannot be written")
            return real(*given)

        real = versions.put_back
        monkeypatch.setattr(versions, "put_back", put_back)
        answer = await app.control.rollback(1, "test")
        assert not answer["changed"]
        assert "cannot be built" in answer["errors"][0]
        assert app.configuration.path.read_text() == (second if undone else first)
        assert len(answer["errors"]) == (1 if undone else 2)
        if not undone:
            assert (
                answer["errors"][1] == "the files are version 1, in force is version 2: gateway.yaml cannot be written"
            )


async def test_the_way_back_is_not_taken_where_what_is_there_cannot_be_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    ports = [free_port(), free_port()]
    first = plant(ports, "press")
    async with running(tmp_path, ports, first) as app:
        await first_version(app)
        assert app.control is not None
        app.configuration.path.write_text("what somebody has written for hours, and not taken over yet\n")

        def full(path: Path, *_: object) -> None:
            raise OSError(28, "No space left on device", str(path))

        monkeypatch.setattr(versions, "write_whole", full)
        with pytest.raises(GatewayError, match=r"cannot be kept in .*versions: nothing was changed"):
            await app.control.rollback(1, "test")
        assert app.configuration.path.read_text().startswith("what somebody has written")


async def test_a_reload_that_comes_while_the_gateway_stops_is_not_carried_out(tmp_path: Path):
    ports = [free_port(), free_port()]
    async with running(tmp_path, ports, plant(ports, "press")) as app:
        await first_version(app)
        control, before = app.control, app.configuration
        assert control is not None
        app.configuration.path.write_text(plant(ports, "press", press=EXTRA))
        async with control._lock:  # another one is under way, and this one waits
            waits = asyncio.create_task(control.reload("test"))
            await until(lambda: control._tasks, "it waits")
            await control.stop()
        assert (await waits)["errors"] == [STOPPING]
        assert (await control.reload("test"))["errors"] == [STOPPING]
        assert (await control.rollback(1, "test"))["errors"] == [STOPPING]
        assert app.configuration is before


async def test_what_is_saved_between_loading_and_the_start_is_a_change_and_no_version(tmp_path: Path):
    """The file is written when it was read and nothing runs yet: it is taken over, and version 1 is what was in force."""
    ports = [free_port(), free_port()]
    first, second = plant(ports, "press"), plant(ports, "press", press=EXTRA)
    first, second = (text.replace("data_dir: data", "data_dir: data, watch: true") for text in (first, second))
    file, broker = tmp_path / "gateway.yaml", LocalBroker()
    file.write_text(first)
    configuration, read = read_whole(file, lambda _: load(file, protocols()))
    file.write_text(second)

    def links(*_: object) -> Any:
        return lambda *_: broker.link()

    app = App(configuration, links(), SystemClock(), relink=links, read=read)
    task = asyncio.create_task(app.run())
    try:
        await until(lambda: "more" in app.configuration.machines["press"].signals, "the change to be noticed")
        assert app.control is not None
        assert app.control.stored.get(1).data == {"gateway.yaml": first.encode()}
        await until(lambda: len(app.control.versions()) == 2, "the second version")  # type: ignore[union-attr]
        assert app.control.stored.get(2).data == {"gateway.yaml": second.encode()}
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_files_that_change_while_they_are_loaded_are_loaded_again(tmp_path: Path):
    file = tmp_path / "gateway.yaml"
    file.write_text(plant([1, 2], "press"))
    changed = plant([1, 2], "press", press=EXTRA)
    loads = 0

    def loaded(files: Any) -> Any:
        nonlocal loads
        loads += 1
        found = load(file, protocols())
        if loads == 1:
            file.write_text(changed)
        return found

    found, read = read_whole(file, loaded)
    assert "more" in found.machines["press"].signals
    assert read.files == {"gateway.yaml": changed.encode()}


async def test_asking_for_the_difference_does_not_hide_it_from_the_watch(tmp_path: Path):
    ports = [free_port(), free_port()]
    async with running(tmp_path, ports, plant(ports, "press")) as app:
        await first_version(app)
        assert app.control is not None
        app.configuration.path.write_text(plant(ports, "press", press=EXTRA))
        seen = app.control.seen
        assert (await app.control.difference())["difference"] == ["machines.press.signals.more: added"]
        assert app.control.seen == seen
        # The control: what is taken over is seen.
        assert (await app.control.reload("test"))["changed"]
        assert app.control.seen != seen


async def test_a_second_gateway_with_this_data_dir_writes_no_end_of_the_first(tmp_path: Path):
    ports = [free_port(), free_port()]
    text = plant(ports, "press").replace("store: {kind: historian}", "")
    async with running(tmp_path, ports, text) as app:
        await first_version(app)
        file = event_file(app.configuration)
        await until(file.exists, "the first events")
        second = App(app.configuration, app.links, SystemClock(), relink=app.relink)
        with pytest.raises(GatewayError):
            await second.run()
        events = list(read_events(file))
        assert [event.text for event in events if event.state == "started"]
        assert [event.text for event in events if event.state == "stopped"] == []


async def test_other_content_of_a_certificate_is_a_difference(tmp_path: Path):
    """The YAML is what it was; whoever renews a certificate writes the file it names."""
    ports = [free_port(), free_port()]
    text = plant(ports, "press") + 'mqtt: {url: "mqtts://127.0.0.1", ca: ca.pem}\n'
    ca = tmp_path / "ca.pem"
    ca.write_text("one")
    async with running(tmp_path, ports, text) as app:
        await first_version(app)
        assert app.control is not None
        assert (await app.control.reload("test"))["difference"] == []
        ca.write_text("another")
        links = app.links
        answer = await app.control.reload("test")
        assert answer["difference"] == ["mqtt.ca: ca.pem → ca.pem (other content)"]
        assert (answer["changed"], answer["touched"]) == (True, ["mqtt"])
        assert app.links is not links
        assert (await app.control.reload("test"))["difference"] == []


def test_a_certificate_of_a_connection_builds_that_connection_anew(tmp_path: Path):
    file = tmp_path / "gateway.yaml"
    file.write_text("""\
version: 1
connections:
  line: {protocol: opcua, url: "opc.tcp://10.0.0.1:4840", security: auto, user_certificate: u.der, user_key: u.key}
  spare: {protocol: opcua, url: "opc.tcp://10.0.0.2:4840", security: auto, user_certificate: u.der, user_key: u.key}
machines: {m: {connection: line, signals: {x: {node: "ns=1;s=x"}}}}
store: {kind: historian, path: /var/lib/x.sqlite}
web: {listen: "127.0.0.1:8443", cert: p.pem, key: p.key}
""")
    configuration = load(file, protocols())
    named = named_files(configuration)
    assert named == {
        "connections.line.user_certificate": tmp_path / "u.der", "connections.line.user_key": tmp_path / "u.key",
        "connections.spare.user_certificate": tmp_path / "u.der", "connections.spare.user_key": tmp_path / "u.key",
        "web.cert": tmp_path / "p.pem", "web.key": tmp_path / "p.key",
    }  # fmt: skip
    found = with_contents(Difference(), configuration, {where: named[where] for where in ("connections.line.user_key", "connections.spare.user_key", "web.cert")})  # fmt: skip
    assert found.touched == ["connections.line", "web"]  # nobody reads `spare`
    assert found.needs == {"connection", "nothing"}  # the page takes a new certificate by itself


async def test_what_goes_wrong_beside_a_reload_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    ports = [free_port(), free_port()]

    def listener(_: object) -> None:
        raise ZeroDivisionError("a mistake of ours")

    async def broken() -> None:
        raise KeyError("another")

    async with running(tmp_path, ports, plant(ports, "press")) as app:
        await first_version(app)
        app.events.listeners.append(listener)
        assert (await reload(app, plant(ports, "press", press=EXTRA)))["changed"]
        app.events.listeners.remove(listener)
        assert "an event could not be told to everybody" in caplog.text
        await asyncio.gather(app._spawn(broken(), "a task of ours"), return_exceptions=True)
        await until(lambda: "a task of ours" in caplog.text, "it is logged")
        assert [r.levelno for r in caplog.records if "a task of ours" in r.message] == [logging.ERROR]


async def test_a_page_that_was_opened_is_closed_when_the_gateway_stops_before_it_is_used(tmp_path: Path):
    class Page:
        stopped = False

        async def stop(self) -> None:
            self.stopped = True

    ports, page = [free_port(), free_port()], Page()
    async with running(tmp_path, ports, plant(ports, "press")) as app:
        app.move_page(page, None)  # type: ignore[arg-type]
        assert not page.stopped
    assert page.stopped


async def test_a_historian_is_closed_beside_the_event_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    threads: list[int] = []

    def close(historian: Historian) -> None:
        threads.append(threading.get_ident())
        real(historian)

    real = Historian.close
    monkeypatch.setattr(Historian, "close", close)
    ports = [free_port(), free_port()]
    async with running(tmp_path, ports, plant(ports, "press")):
        pass
    assert threads
    assert threading.get_ident() not in threads


async def test_what_is_lost_at_the_start_is_in_the_file_of_events(tmp_path: Path):
    """The buffer is looked through before the file is opened."""
    events, clock = Events(), SystemClock()
    events.add(Event(clock.now(), "loss", "press", "lost", "", "found at the start"))
    async with kept(tmp_path / "events.jsonl", events, clock, "1"):
        pass
    assert [event.text for event in read_events(tmp_path / "events.jsonl") if event.kind == "loss"] == [
        "found at the start"
    ]
    assert [event.text for event in events if event.kind == "loss"] == ["found at the start"]
