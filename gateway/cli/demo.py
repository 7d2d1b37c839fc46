"""gateway demo: a simulated plant, broker, store and page on this machine, in one command.

simulated machines ◀─ Modbus, OPC UA ─▶ gateway ─▶ Mosquitto ─▶ historian
                                           └─▶ status page
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.common import run
from gateway.cli.run import Verbose
from gateway.cli.simulate import ListScenarios, Scenario, Speed
from gateway.logs import set_up

if TYPE_CHECKING:
    from gateway.config import Configuration
    from gateway.runtime.app import App, MakeLink

FIRST_PORT = 8080


def demo(
    port: Annotated[
        int | None,
        typer.Option("--port", min=0, max=65535, help="Port of the status page.", show_default="8080, or a free one"),
    ] = None,
    data: Annotated[
        Path | None, typer.Option("--data", metavar="FOLDER", help="Keep the readings there.", show_default=False)
    ] = None,
    seconds: Annotated[
        float | None, typer.Option("--seconds", min=0, max=1e9, help="End by itself after so long.", show_default=False)
    ] = None,
    in_process: Annotated[bool, typer.Option("--in-process", help="Do without Mosquitto.")] = False,
    scenario: Scenario = None,
    list_scenarios: ListScenarios = False,
    speed: Speed = 1.0,
    verbose: Verbose = False,
) -> None:
    """Run a small plant on this machine: simulated machines, broker, gateway, store and status page. Ctrl-C ends it."""
    if list_scenarios:
        from simulators.behaviour.catalogue import listing

        print(listing())
        return
    set_up("text", verbose=verbose, quiet=True)
    run(_demo(port, data, seconds, in_process, scenario, speed))


async def _demo(
    port: int | None, data: Path | None, seconds: float | None, in_process: bool, scenario: str | None, speed: float
) -> None:
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - began:5.1f} s  {text}", flush=True)

    from gateway.config import load
    from gateway.runtime.app import App, paho_links, system_clock
    from gateway.runtime.registry import protocols
    from simulators.behaviour.catalogue import scenario_of
    from simulators.plant import simulate

    folder = Path(sys.modules["simulators"].__file__ or "").parent / "demo"
    plan = load(folder / "gateway.yaml", protocols())
    async with contextlib.AsyncExitStack() as stack:
        kept = data or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gateway-demo-")))
        behaviour = scenario_of(scenario or "quiet-day")
        plant = await stack.enter_async_context(simulate(plan, behaviour, port_base=0, speed=speed, report=say))
        say(f"{sum(map(len, plant.machines.values()))} simulated machines: " + ", ".join(plan.machines))
        for connection, why in plant.left_out.items():
            say(f"{connection}: left out: {why}")
        for place, note in plant.notes.items():
            say(f"scenario: {place}: {note}")
        broker_port, links = await stack.enter_async_context(_broker(None if in_process else _mosquitto()))
        if broker_port:
            say(f"Mosquitto on 127.0.0.1:{broker_port}")
        else:
            why = "as told" if in_process else "there is no Mosquitto here: apt install mosquitto"
            say(f"broker and store are linked inside this process ({why})")
        configuration = _settings(plant.redirect(plan), broker_port, _page_port(port), kept)
        clock = system_clock(configuration)
        app = App(configuration, links or paho_links(configuration, clock), clock, fixed=True)
        running = asyncio.create_task(app.run(), name="gateway")
        stack.callback(lambda: say(_summary(app)))
        stack.push_async_callback(_end, running)
        await _first_value(app, running)
        say("first reading stored")
        say(
            f"status page: {app.page}    "
            + (f"readings: {kept / 'historian.sqlite'}" if data else "Ctrl-C ends the demo")
        )
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await running


def _settings(plan: Configuration, broker_port: int, page_port: int, data: Path) -> Configuration:
    """The demo plant's configuration, with what is free on this machine."""
    from gateway.config.settings import MqttSettings, StoreSettings, WebSettings

    gateway = plan.settings.gateway.model_copy(update={"data_dir": data.resolve()})
    settings = plan.settings.model_copy(
        update={
            "gateway": gateway,
            "mqtt": MqttSettings(url=f"mqtt://127.0.0.1:{broker_port or 1883}"),
            "store": StoreSettings(kind="historian"),
            "web": WebSettings(listen=f"127.0.0.1:{page_port}"),
        }
    )
    return replace(plan, settings=settings)


def _mosquitto() -> str | None:
    return shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")


@asynccontextmanager
async def _broker(program: str | None) -> AsyncIterator[tuple[int, MakeLink | None]]:
    """Mosquitto on a free loopback port, or a broker inside this process."""
    if program is None:
        from gateway.mqtt.local import LocalBroker

        local = LocalBroker()
        yield 0, lambda *_: local.link()
        return
    port = _free_port()
    with tempfile.TemporaryDirectory(prefix="gateway-demo-broker-") as folder:
        conf = Path(folder) / "mosquitto.conf"
        conf.write_text(
            f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\nmax_queued_messages 10000\n"
        )
        with (Path(folder) / "log").open("wb") as log:
            # A session of its own, so that Ctrl-C in the terminal reaches us alone and the broker ends last.
            process = await asyncio.create_subprocess_exec(
                program, "-c", str(conf), stdout=log, stderr=log, start_new_session=True
            )
            try:
                yield port, None
            finally:
                await _terminate(process)


async def _terminate(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
        try:
            await asyncio.wait_for(process.wait(), 5)
        except TimeoutError:
            process.kill()
            await process.wait()


async def _first_value(app: App, running: asyncio.Task[None]) -> None:
    """Until a reading has made its way into the store. Raises what ended the gateway, if something did."""
    while not running.done():
        if app.edge is not None and app.edge.buffer.stored and app.page:
            return
        await asyncio.sleep(0.02)
    await running


async def _end(running: asyncio.Task[None]) -> None:
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running


def _summary(app: App) -> str:
    total, buffer = app.counters.total(), app.edge.buffer if app.edge else None
    waiting = buffer.usage.records if buffer else 0
    return f"{total.read} readings, {app.counters.stored} messages stored, {waiting} on their way, {app.counters.lost} lost"


def _page_port(wanted: int | None) -> int:
    """The port that was asked for, else 8080, else any that is free."""
    if wanted is not None:
        return wanted
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", FIRST_PORT))
        except OSError:
            return _free_port()
    return FIRST_PORT


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
