"""Safe mode: a service whose configuration is broken goes on with the last good one, or at least says what is wrong.

files ─ broken ─▶ the newest version that was in force and still can be ─▶ runs, with the mistakes on page and log
                              └ none ─▶ the page and the control socket alone, until the files are right
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from gateway import __version__
from gateway.buffer import Usage
from gateway.clock import SystemClock
from gateway.config import Configuration, load
from gateway.config.fields import find_secret
from gateway.config.settings import WebSettings
from gateway.config.yaml_file import read_yaml
from gateway.counters import FlowCounters
from gateway.errors import ConfigErrors, GatewayError
from gateway.events import Event, Events
from gateway.metrics.happened import Happened
from gateway.runtime.app import App, on_hangup, paho_links, serve_page, system_clock
from gateway.runtime.asked.answers import clock, events
from gateway.runtime.asked.control import ControlSocket
from gateway.runtime.changes.checks import check_work, doubts
from gateway.runtime.changes.places import data_dirs_of, main_file
from gateway.runtime.changes.versions import AsRead, Versions, finish, load_files, read_whole
from gateway.runtime.changes.watch import Stamps, stamps_of, watch
from gateway.runtime.registry import protocols
from gateway.runtime.service import Notifier, Progress, keep_fed
from gateway.schedule import Backoff
from gateway.web.snapshot import Board
from gateway.web.sources import Sources

if TYPE_CHECKING:
    from gateway.web.server import WebServer

log = logging.getLogger(__name__)


async def run_whatever_happens(path: Path, *, store_only: bool = False) -> None:
    """The service, until cancelled: with the configuration at `path`, or the best there is until it is right.

    `store_only`: the store writer alone, as `gateway store`. What cannot be opened or reached is tried again, and is no reason
    to end. Raises GatewayError for what neither files nor time can mend.
    """
    while True:
        try:
            await asyncio.to_thread(finish, path)
        except GatewayError as exc:
            log.error("%s", exc)
        errors: Sequence[str] = ()
        stamps = await asyncio.to_thread(stamps_of, path)
        configuration: Configuration | None
        try:
            configuration, read = await asyncio.to_thread(read_whole, path, lambda _: _checked(path, store_only))
        except ConfigErrors as exc:
            errors = [str(error) for error in exc.errors]
            log.error("the configuration is broken:\n%s", "\n".join(errors))
            configuration, files = await asyncio.to_thread(last_good, path, store_only=store_only)
            read = AsRead(files, stamps)
        if configuration is not None:
            for warning in (*configuration.warnings, *doubts(configuration)):
                log.warning("%s", warning)
            clock = system_clock(configuration)
            links = paho_links(configuration, clock, patient=True)
            app = App(configuration, links, clock, safe_mode=errors, read=read, patient=True)
            await app.run(edge=not store_only)
            return
        await Waiting(path, errors, stamps, store_only=store_only).run()
        log.info("safe mode is over: the configuration is right")


def last_good(path: Path, *, store_only: bool = False) -> tuple[Configuration | None, Mapping[str, bytes]]:
    """The newest version that a gateway has run with and that can be loaded, and its files."""
    for data_dir in data_dirs_of(path):
        for version in Versions(data_dir).good():
            try:
                configuration = load_files(path, version.data)
                check_work(configuration, store_only=store_only)
            except (ConfigErrors, GatewayError, OSError) as exc:
                log.warning("version %d of the configuration cannot be used either: %s", version.number, exc)
                continue
            log.warning("safe mode: running with version %d of the configuration", version.number)
            return configuration, version.data
    return None, {}


def _checked(path: Path, store_only: bool = False) -> Configuration:
    """Raises ConfigErrors."""
    configuration = load(path, protocols())
    check_work(configuration, store_only=store_only)
    return configuration


class Waiting:
    """There is nothing to run with: says so on the page and the control socket, until the files are right."""

    def __init__(self, path: Path, errors: Sequence[str], stamps: Stamps, *, store_only: bool = False) -> None:
        """`stamps`: of the files in which these errors are. `store_only`: a store writer, which has no page."""
        self._path, self._errors, self._seen, self._store_only = path, list(errors), stamps, store_only
        self._lock, self._page = asyncio.Lock(), ""
        self._clock, self._events, self._notifier = SystemClock(), Events(), Notifier()
        self._happened = Happened(self._events)
        self._right = asyncio.Event()
        now = self._clock.now()
        self._board = Board(
            gateway="", version=__version__, delivery="broker", counters=FlowCounters(),
            usage=lambda: Usage(0, 0, 0, 0), started_ns=now, started=self._clock.monotonic(),
        )  # fmt: skip
        self._board.broker.set("offline", now, "the configuration is broken")

    async def run(self) -> None:
        """Returns once they are."""
        what = "stored" if self._store_only else "read"
        log.error(
            "safe mode, and no earlier configuration to run with: nothing is %s until %s is right", what, self._path
        )
        self._tell()
        tasks: list[asyncio.Task[None]] = []
        async with AsyncExitStack() as stack:
            control = ControlSocket(data_dirs_of(self._path)[0], self._answers())
            await control.start()
            stack.push_async_callback(control.stop)
            if not self._store_only:
                tasks.append(asyncio.create_task(self._keep_page(stack), name="page"))
            stack.enter_context(on_hangup(lambda: tasks.append(asyncio.create_task(self._look_again()))))
            look = watch(lambda: stamps_of(self._path), lambda: self._seen, lambda: True, self._reload)
            feed = keep_fed(self._notifier, Progress(self._clock), lambda: "safe mode: the configuration is broken")
            self._notifier.ready()
            tasks += [asyncio.create_task(look, name="watch files"), asyncio.create_task(feed, name="watchdog")]
            try:
                await self._right.wait()
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _keep_page(self, stack: AsyncExitStack) -> None:
        """The page, as soon as it can be opened."""
        backoff, told = Backoff(first=1.0, cap=60.0), ""
        while not self._page:
            try:
                server = await self._serve()
            except Exception as exc:  # the files are looked at all the same
                if str(exc) != told:
                    unexpected = None if isinstance(exc, (GatewayError, OSError)) else exc
                    log.error("there is no page, which is tried again: %s", exc, exc_info=unexpected)
                told = str(exc)
                await asyncio.sleep(backoff.pause())
            else:
                stack.push_async_callback(server.stop)
                self._page = server.url
                log.info("status page: %s", server.url)

    async def _serve(self) -> WebServer:
        web = web_of(self._path)
        sources = Sources(self._board, self._clock, self._events, metrics=self._scrape, safe_mode=lambda: self._errors)
        folder = self._path if self._path.is_dir() else self._path.parent
        data_dir = data_dirs_of(self._path)[0]
        return await serve_page(sources, web, folder, data_dir)

    def _answers(self) -> dict[str, Any]:
        return {
            "where": lambda: {
                "configuration": str(main_file(self._path)), "data_dir": str(data_dirs_of(self._path)[0].absolute()),
            },
            "status": lambda signals=True: {
                **self._board.snapshot(self._clock.now(), self._clock.monotonic(), bool(signals)), "safe_mode": self._errors,
                "page": self._page, "clock": clock(self._clock),
            },
            "faults": lambda: [
                {"kind": "gateway", "machine": "", "state": "offline", "since_ms": 0, "reason": error, "fault": "config-refused"}
                for error in self._errors
            ],
            "events": partial(events, self._events),
            "versions": list,
            "metrics": lambda: self._scrape().decode(),
            "reload": self._reload,
        }  # fmt: skip

    def _scrape(self) -> bytes:
        """The metrics of a gateway that does not run: above all, that. Raises PartMissingError."""
        return self._exposition()

    @cached_property
    def _exposition(self) -> Callable[[], bytes]:
        from gateway.metrics.exposition import Exposition

        return Exposition(clock=self._clock, happened=self._happened, safe_mode=lambda: self._errors)

    async def _look_again(self) -> None:
        await self._reload("SIGHUP")

    async def _reload(self, who: str = "a file has changed") -> dict[str, Any]:
        async with self._lock:
            log.info("the configuration is looked at again (%s)", who)
            self._notifier.reloading()
            try:
                await self._look()
            finally:
                self._notifier.ready()
        right = not self._errors
        lines = ["the files are right: the gateway starts"] if right else []
        return {"changed": right, "difference": lines, "touched": [], "errors": self._errors, "restart": []}

    async def _look(self) -> None:
        self._seen = await asyncio.to_thread(stamps_of, self._path)
        before = self._errors
        try:
            await asyncio.to_thread(_checked, self._path, self._store_only)
            self._errors = []
            asyncio.get_running_loop().call_later(0.1, self._right.set)  # once who asked has his answer
        except ConfigErrors as exc:
            self._errors = [str(error) for error in exc.errors]
        if self._errors and self._errors != before:
            log.error("the configuration is still broken:\n%s", "\n".join(self._errors))
            self._tell()

    def _tell(self) -> None:
        text = f"safe mode, nothing is read: {self._errors[0]}" if self._errors else "safe mode"
        self._events.add(Event(self._clock.now(), "config", "", "safe mode", "config-refused", text))


def web_of(path: Path) -> WebSettings:
    """What the page is to be like. Where that cannot be read: for this machine only, and never without a login, as nobody knows
    whether one was asked for."""
    folder = path if path.is_dir() else path.parent
    doubt = ""
    for file in (folder / "gateway.yaml" if path.is_dir() else path, *sorted((folder / "machines").glob("*.yaml"))):
        try:
            section = read_yaml(file).get("web")
            if section is not None:
                secrets = {"secret": partial(find_secret, folder=folder, env=os.environ)}
                return WebSettings.model_validate(section.plain(), context=secrets)
        except (ConfigErrors, ValidationError, OSError):
            doubt = doubt or f"what {file} says of the page (web:) cannot be read"
    if not doubt:
        return WebSettings()
    settings = WebSettings(login="required")
    log.warning("%s: it is at %s only, with a login", doubt, settings.listen)
    return settings
