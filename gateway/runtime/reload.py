"""Changes the configuration of a running gateway: what changed is touched, nothing else.

    files ─ in a thread: load, check, compare ─▶ difference ─▶ link made, adapters made, page opened     may fail: nothing happened
                │                                          └─▶ store writer ─▶ link ─▶ machines ─▶ all else  fails: put back
                └ mistakes: log, event, answer; nothing changes

One change at a time, whoever asks: the control socket, the page, SIGHUP, a file that changed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from gateway.config import Configuration
from gateway.config.difference import Difference, difference, in_force
from gateway.errors import ConfigErrors, GatewayError
from gateway.events import Event
from gateway.runtime.loading import load_aside
from gateway.runtime.versions import Versions, checksum_of, files_of, load_files, put_back, rows_of
from gateway.runtime.watch import Stamps, stamps_of, watch

if TYPE_CHECKING:
    from gateway.runtime.app import App

log = logging.getLogger(__name__)

TRIES = 3  # to read files that change while they are read
LINES = 20  # of a difference, in the log


class Reload:
    """Keeps gateway/web/sources.py's contract of a Control."""

    def __init__(self, app: App) -> None:
        self._app = app
        settings = app.configuration.settings
        self.stored = Versions(app.configuration.resolve(settings.gateway.data_dir))
        self._lock = asyncio.Lock()
        self._tasks: set[asyncio.Task[Any]] = set()
        self.seen: Stamps = {}  # of the files, when they were last read
        self._checksum = ""  # of the files in force
        self._rows: list[dict[str, Any]] = []
        self.errors: list[str] = []  # of the last attempt, as `gateway config check` prints them
        self.restart: tuple[str, ...] = ()  # what waits for a restart

    @property
    def configuration(self) -> Configuration:
        return self._app.configuration

    async def begin(self, who: str = "start", files: Mapping[str, bytes] | None = None) -> None:
        """Keep what is in force now; `files`: what it was read from, where that is not what there is."""
        async with self._lock:
            self.seen = await asyncio.to_thread(stamps_of, self.configuration.path)
            await asyncio.to_thread(self._keep, files_of(self.configuration.path) if files is None else files, who, "")

    async def watch(self) -> None:
        """For ever: take over files that changed, where that is wanted; in safe mode always."""

        def wanted() -> bool:
            return self.configuration.settings.gateway.watch or bool(self._app.safe_mode)

        path = self.configuration.path
        await watch(lambda: stamps_of(path), lambda: self.seen, wanted, lambda: self.reload("a file has changed"))

    async def stop(self) -> None:
        """End what is under way. Safe to call twice."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def reload(self, who: str) -> dict[str, Any]:
        return await self._alone(self._reload(who))

    async def rollback(self, version: int, who: str) -> dict[str, Any]:
        return await self._alone(self._rollback(version, who))

    def versions(self) -> list[dict[str, Any]]:
        return self._rows

    async def difference(self, path: str | None = None) -> dict[str, Any]:
        """What a reload would take over now. Raises GatewayError with what is wrong."""
        _, _, found = await asyncio.to_thread(self._look, path)
        return {"difference": found.lines(), **found.as_json()}

    # --- one at a time -----------------------------------------------------------------------------------------------

    async def _alone(self, change: Awaitable[dict[str, Any]]) -> dict[str, Any]:
        """To its end, even if who asked for it has gone meanwhile."""

        async def run() -> dict[str, Any]:
            async with self._lock:
                self._app.notifier.reloading()
                try:
                    return await change
                finally:
                    self._app.notifier.ready()

        task = asyncio.create_task(run(), name="reload")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return await asyncio.shield(task)

    async def _reload(self, who: str, done: str = "reloaded") -> dict[str, Any]:
        try:
            wanted, files, found = await asyncio.to_thread(self._look)
        except ConfigErrors as exc:
            return self._refused(who, [str(error) for error in exc.errors])
        except Exception as exc:
            log.exception("the configuration cannot be read")
            return self._refused(who, [f"{type(exc).__name__}: {exc}"])
        for warning in wanted.warnings:
            log.warning("%s", warning)
        self.restart = found.restart
        if found.alive:
            try:
                await self._apply(in_force(self.configuration, wanted), found)
            except Exception as exc:
                if not isinstance(exc, GatewayError):
                    log.exception("unexpected error while the configuration was taken over")
                return self._failed(who, f"{exc}" if isinstance(exc, GatewayError) else f"{type(exc).__name__}: {exc}")
        else:
            self._app.configuration = in_force(self.configuration, wanted)
        lines = found.lines()
        await asyncio.to_thread(self._keep, files, who, _summary(lines))
        self.errors = []
        left = self._app.leave_safe_mode()
        self._say(who, done, found, left)
        return _answer(
            changed=found.alive, difference=lines, touched=found.touched, restart=list(found.restart),
            warnings=list(wanted.warnings),
        )  # fmt: skip

    async def _rollback(self, number: int, who: str) -> dict[str, Any]:
        version = await asyncio.to_thread(self.stored.get, number)
        try:
            self._app.check(await asyncio.to_thread(load_files, self.configuration.path, version.data))
        except ConfigErrors as exc:  # a secret or a profile that came along is not what it was
            return self._refused(f"{who}, back to version {number}", [str(error) for error in exc.errors])
        await asyncio.to_thread(self.put_back, version.data, who, number)
        return await self._reload(f"{who}, back to version {number}", "rolled back")

    def put_back(self, files: Mapping[str, bytes], who: str, number: int) -> None:
        """In a thread: what there is is kept first. Raises GatewayError, with nothing changed."""
        path = self.configuration.path
        now = self._app.clock.now()
        self.stored.keep(files_of(path), who, f"before the way back to version {number}", now, in_force=False)
        put_back(path, files)

    # --- in a thread -------------------------------------------------------------------------------------------------

    def _look(self, path: str | None = None) -> tuple[Configuration, dict[str, bytes], Difference]:
        """The configuration as it stands in the files, those files, and what is different. Raises ConfigErrors."""
        from pathlib import Path

        at = self.configuration.path if path is None else Path(path)
        if path is None:
            self.seen = stamps_of(at)
        files = files_of(at)
        for _ in range(TRIES):
            wanted = load_aside(at, sum(map(len, files.values())))
            if files == (files := files_of(at)):
                break
        self._app.check(wanted)
        return wanted, files, difference(self.configuration, wanted)

    def _keep(self, files: Mapping[str, bytes], who: str, summary: str) -> None:
        self._checksum = checksum_of(files)
        self.stored.keep(files, who, summary, self._app.clock.now(), in_force=True)
        self._rows = rows_of(self.stored.all(), self._checksum)

    # --- taking over -------------------------------------------------------------------------------------------------

    async def _apply(self, wanted: Configuration, found: Difference) -> None:
        """Raises what prevents it; all is as before then."""
        app, edge, before = self._app, self._app.edge, self._app.configuration
        if edge is not None:
            await edge.running.wait()
        undo: list[Callable[[], Awaitable[None]]] = []
        relink = "link" in found.needs
        old_links = app.links
        links = app.relink(wanted, app.clock) if relink else old_links
        link = app.edge_link(links, wanted) if relink and edge is not None else None
        pollers = [] if edge is None else edge.build(wanted, found.connections)
        page = await app.open_page(wanted.settings.web) if "page" in found.needs else None
        try:
            if page is not None:
                undo.append(page.stop)
            if relink or "writer" in found.needs:
                undo.append(partial(app.change_store, before, old_links))
                await app.change_store(wanted, links)
            if link is not None and edge is not None:
                undo.append(lambda: edge.change_link(before, app.edge_link(old_links, before)))
                await edge.change_link(wanted, link)
            if edge is not None:
                if found.connections or found.added or found.removed or found.changed or found.derived:
                    await edge.change_machines(wanted, found, pollers)
                edge.change_settings(wanted)
        except BaseException:
            for step in reversed(undo):
                try:
                    await step()
                except Exception:
                    log.exception("what was before cannot be put back")
            raise
        app.configuration, app.links = wanted, links
        app.watch_parts()
        if "page" in found.needs:
            app.move_page(page, before.settings.web)

    # --- telling -----------------------------------------------------------------------------------------------------

    def _refused(self, who: str, errors: list[str]) -> dict[str, Any]:
        self.errors = errors
        log.error("the configuration is not taken over, nothing has changed (%s):\n%s", who, "\n".join(errors))
        first = errors[0].partition("\n")[0]
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        self._event("refused", "config-refused", f"{who}: {first}{more}")
        return _answer(errors=errors)

    def _failed(self, who: str, why: str) -> dict[str, Any]:
        text = f"the configuration could not be taken over, and the one before goes on: {why}"
        self.errors = [text]
        log.error("%s (%s)", text, who)
        self._event("failed", "config-refused", f"{who}: {text}")
        return _answer(errors=[text])

    def _say(self, who: str, done: str, found: Difference, left: bool) -> None:
        lines = found.lines()
        if not lines and not left:
            log.info("the configuration is what it was (%s)", who)
            return
        text = _summary(lines) or "the files are right again"
        shown = [*lines[:LINES], *([f"… and {len(lines) - LINES} more"] if len(lines) > LINES else [])]
        log.info("the configuration was %s (%s):\n%s", done, who, "\n".join(f"  {line}" for line in shown or [text]))
        if found.restart:
            log.warning("only a restart takes over: %s", "; ".join(found.restart))
            text += f"; only a restart takes over: {'; '.join(found.restart)}"
        self._event(done, "", f"{who}: {text}")

    def _event(self, state: str, fault: str, text: str) -> None:
        with suppress(Exception):  # whoever listens must not raise; the configuration is in force all the same
            self._app.events.add(Event(self._app.clock.now(), "config", "", state, fault, text))


def _summary(lines: list[str]) -> str:
    """In one line."""
    return "; ".join(lines[:3]) + (f"; and {len(lines) - 3} more" if len(lines) > 3 else "")


def _answer(**found: Any) -> dict[str, Any]:
    return {"changed": False, "difference": [], "touched": [], "errors": [], "restart": [], "warnings": [], **found}
