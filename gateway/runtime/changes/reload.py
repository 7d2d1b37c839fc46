"""Changes the configuration of a running gateway: what changed is touched, nothing else.

    files ─ in a thread: load, check, compare ─▶ difference ─▶ link made, adapters made, page opened     may fail: nothing happened
                │                                          └─▶ store writer ─▶ link ─▶ machines ─▶ all else  fails: put back,
                │                                                            and what cannot be put back is said, and tried again
                └ mistakes: log, event, answer; nothing changes

One change at a time, whoever asks: the control socket, the page, SIGHUP, a file that changed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.config import Configuration
from gateway.config.difference import Difference, difference, in_force, named_files, with_contents
from gateway.errors import ConfigErrors, GatewayError
from gateway.events import Event
from gateway.runtime.asked.answers import noted
from gateway.runtime.changes.loading import load_aside
from gateway.runtime.changes.versions import (
    AsRead,
    Versions,
    WayBack,
    checksum_of,
    files_of,
    read_whole,
    roll_back,
    rows_of,
)
from gateway.runtime.changes.watch import Stamps, contents_of, stamps_of, watch

if TYPE_CHECKING:
    from gateway.runtime.app import App

log = logging.getLogger(__name__)

LINES = 20  # of a difference, in the log
STOPPING = "the gateway is stopping: nothing was taken over, what is in the files counts from the next start on"


class NotUndoneError(GatewayError):
    """Something could not be taken over, and something else could not be put back."""


class Reload:
    """Keeps gateway/web/sources.py's contract of a Control."""

    def __init__(self, app: App) -> None:
        self._app = app
        settings = app.configuration.settings
        self.stored = Versions(app.configuration.resolve(settings.gateway.data_dir))
        self._lock = asyncio.Lock()
        self._tasks: set[asyncio.Task[Any]] = set()
        self.seen: Stamps = {}  # of the files, when they were last read
        self._stopping = False
        self._checksum = ""  # of the files in force
        self._contents: Mapping[str, str] = {}  # of the certificates in force
        self._rows: list[dict[str, Any]] = []
        self.errors: list[str] = []  # of the last attempt, as `gateway config check` prints them
        self.restart: tuple[str, ...] = ()  # what waits for a restart

    @property
    def configuration(self) -> Configuration:
        return self._app.configuration

    async def begin(self, who: str = "start", read: AsRead | None = None) -> None:
        """Keep what is in force now; `read`: what it was read from, where that is known."""

        def look() -> AsRead:
            self._contents = contents_of(named_files(self.configuration))
            return AsRead(files_of(path), stamps_of(path)) if read is None else read

        path = self.configuration.path
        async with self._lock:
            found = await asyncio.to_thread(look)
            self.seen = found.stamps
            await asyncio.to_thread(self._keep, found.files, who, "")

    async def watch(self) -> None:
        """For ever: take over files that changed, where that is wanted; in safe mode always."""

        def wanted() -> bool:
            return self.configuration.settings.gateway.watch or bool(self._app.safe_mode)

        path = self.configuration.path

        def changed() -> Awaitable[object]:
            return noted(self._app, "reload", "file", self.reload("a file has changed"))

        await watch(lambda: stamps_of(path), lambda: self.seen, wanted, changed)

    async def stop(self) -> None:
        """End what is under way, and begin nothing more. Safe to call twice."""
        self._stopping = True
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def reload(self, who: str) -> dict[str, Any]:
        return await self._alone(lambda: self._reload(who))

    async def rollback(self, version: int, who: str) -> dict[str, Any]:
        return await self._alone(lambda: self._rollback(version, who))

    def versions(self) -> list[dict[str, Any]]:
        return self._rows

    async def difference(self, path: str | None = None) -> dict[str, Any]:
        """What a reload would take over now. Raises GatewayError with what is wrong."""
        found = (await asyncio.to_thread(self._look, path))[2]
        return {"difference": found.lines(), **found.as_json()}

    # --- one at a time -----------------------------------------------------------------------------------------------

    async def _alone(self, change: Callable[[], Awaitable[dict[str, Any]]]) -> dict[str, Any]:
        """To its end, even if who asked for it has gone meanwhile; but not while the gateway stops."""

        async def run() -> dict[str, Any]:
            async with self._lock:
                self._app.notifier.reloading()
                try:
                    return await change()
                finally:
                    self._app.notifier.ready()

        if self._stopping:
            return _answer(errors=[STOPPING])
        task = asyncio.create_task(run(), name="reload")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if self._stopping and task.cancelled():  # and not who asked
                return _answer(errors=[STOPPING])
            raise

    async def _reload(self, who: str, done: str = "reloaded") -> dict[str, Any]:
        try:
            self.seen = await asyncio.to_thread(stamps_of, self.configuration.path)  # a broken file is read once
            wanted, read, found, contents = await asyncio.to_thread(self._look)
        except ConfigErrors as exc:
            return self._refused(who, [str(error) for error in exc.errors])
        except Exception as exc:
            log.exception("the configuration cannot be read")
            return self._refused(who, [f"{type(exc).__name__}: {exc}"])
        for warning in wanted.warnings:
            log.warning("%s", warning)
        self.restart = found.restart
        self.seen = read.stamps
        if found.alive or self._app.store_missing(wanted):
            try:
                await self._apply(in_force(self.configuration, wanted), found)
            except Exception as exc:
                if not isinstance(exc, GatewayError):
                    log.exception("unexpected error while the configuration was taken over")
                return self._failed(who, exc)
        else:
            self._app.configuration = in_force(self.configuration, wanted)
        self._contents = contents
        refused = self._refused_types(found)
        lines = found.lines()
        await asyncio.to_thread(self._keep, read.files, who, _summary(lines))
        self.errors = []
        left = self._app.leave_safe_mode()
        self._say(who, done, found, left, refused)
        return _answer(
            changed=found.alive, difference=lines, touched=found.touched, restart=list(found.restart),
            warnings=[*wanted.warnings, *refused],
        )  # fmt: skip

    async def _rollback(self, number: int, who: str) -> dict[str, Any]:
        told = f"{who}, back to version {number}"
        try:
            way = await asyncio.to_thread(self._roll_back, number, who)
        except ConfigErrors as exc:  # a secret or a profile that came along is not what it was
            return self._refused(told, [str(error) for error in exc.errors])
        answer = await self._reload(told, "rolled back")
        if answer["errors"]:
            answer["errors"] += await asyncio.to_thread(self._undo, way, number)
        return answer

    # --- in a thread -------------------------------------------------------------------------------------------------

    def _look(self, path: str | None = None) -> tuple[Configuration, AsRead, Difference, Mapping[str, str]]:
        """The configuration in the files, what it was read from, what is different, and its certificates. Raises ConfigErrors."""
        at = self.configuration.path if path is None else Path(path)
        wanted, read = read_whole(at, lambda files: load_aside(at, sum(map(len, files.values()))))
        self._app.check(wanted)
        named = named_files(wanted)
        contents = contents_of(named)
        others = {
            where: file
            for where, file in named.items()
            if where in self._contents and contents[where] != self._contents[where]
        }
        return wanted, read, with_contents(difference(self.configuration, wanted), wanted, others), contents

    def _roll_back(self, number: int, who: str) -> WayBack:
        """Raises GatewayError, ConfigErrors, with nothing changed."""
        try:
            path, app = self.configuration.path, self._app
            return roll_back(path, self.stored, number, who, app.clock.now(), app.check)
        finally:
            self._rows = rows_of(self.stored.all(), self._checksum)  # what was there is kept first

    def _undo(self, way: WayBack, number: int) -> list[str]:
        """The files as they were, as the gateway goes on with what it had; what is wrong where that is not possible."""
        try:
            way.undo()
        except GatewayError as exc:
            log.error("the files are version %d, which is not in force: %s", number, exc)
            current = next((row["version"] for row in self._rows if row["current"]), None)
            in_force = "another one" if current is None else f"version {current}"
            return [f"the files are version {number}, in force is {in_force}: {exc}"]
        self.seen = stamps_of(way.path)
        return []

    def _keep(self, files: Mapping[str, bytes], who: str, summary: str) -> None:
        self._checksum = checksum_of(files)
        self.stored.keep(files, who, summary, self._app.clock.now(), in_force=True)
        self._rows = rows_of(self.stored.all(), self._checksum)

    # --- taking over -------------------------------------------------------------------------------------------------

    async def _apply(self, wanted: Configuration, found: Difference) -> None:
        """Raises what prevents it; all is as before then. Raises NotUndoneError where it is not."""
        app, edge, before = self._app, self._app.edge, self._app.configuration
        if edge is not None:
            await edge.running.wait()
        undo: list[tuple[str, Callable[[], Awaitable[None]]]] = []
        relink = "link" in found.needs
        old_links = app.links
        links = app.relink(wanted, app.clock) if relink else old_links
        link = app.edge_link(links, wanted) if relink and edge is not None else None
        pollers = [] if edge is None else edge.build(wanted, found.connections)
        page = await app.open_page(wanted.settings.web) if "page" in found.needs else None
        try:
            if page is not None:
                undo.append(("the page", page.stop))
            if relink or "writer" in found.needs or app.store_missing(wanted):
                undo.append(("the store", partial(app.store_again, before, old_links)))
                await app.change_store(wanted, links)
            if link is not None and edge is not None:
                undo.append(("the link", lambda: edge.change_link(before, app.edge_link(old_links, before))))
                await edge.change_link(wanted, link)
            if edge is not None:
                if found.connections or found.added or found.removed or found.changed or found.derived:
                    await edge.change_machines(wanted, found, pollers)
                edge.change_settings(wanted)
        except BaseException as exc:
            left = []
            for what, step in reversed(undo):
                try:
                    await step()
                except Exception as another:
                    log.error(
                        "%s: what was before cannot be put back", what, exc_info=not isinstance(another, GatewayError)
                    )
                    left.append(f"{what} is not what it was before: {_told(another)}")
            app.watch_parts()  # some of them were made anew
            if left and isinstance(exc, Exception):
                raise NotUndoneError(f"{_told(exc)}; {'; '.join(left)}") from exc
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

    def _failed(self, who: str, why: Exception) -> dict[str, Any]:
        goes_on = (
            "but not all of the one before goes on" if isinstance(why, NotUndoneError) else "and the one before goes on"
        )
        text = f"the configuration could not be taken over, {goes_on}: {_told(why)}"
        self.errors = [text]
        log.error("%s (%s)", text, who)
        self._event("failed", "config-refused", f"{who}: {text}")
        return _answer(errors=[text])

    def _refused_types(self, found: Difference) -> list[str]:
        """Signals of the machines that changed which cannot be sent, as a store has had another type of them."""
        if self._app.edge is None:
            return []
        names = {"/".join(self.configuration.path_of(name).levels()): name for name in found.changed | found.added}
        return [
            f"{names[at]}/{signal}: is {now} now and was {before} in the store, so it is bad (config-error): take it back, or "
            f"end the gateway and say `gateway config types --accept {names[at]}/{signal}`"
            for at, signal, before, now in self._app.edge.schema.conflicts()
            if at in names
        ]

    def _say(self, who: str, done: str, found: Difference, left: bool, refused: list[str]) -> None:
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
        if refused:
            text += f"; not sent: {_summary(refused)}"
        self._event(done, "", f"{who}: {text}")

    def _event(self, state: str, fault: str, text: str) -> None:
        try:
            self._app.events.add(Event(self._app.clock.now(), "config", "", state, fault, text))
        except Exception:  # whoever listens must not raise; the configuration is in force all the same
            log.exception("an event could not be told to everybody")


def _told(exc: Exception) -> str:
    return f"{exc}" if isinstance(exc, GatewayError) else f"{type(exc).__name__}: {exc}"


def _summary(lines: list[str]) -> str:
    """In one line."""
    return "; ".join(lines[:3]) + (f"; and {len(lines) - 3} more" if len(lines) > 3 else "")


def _answer(**found: Any) -> dict[str, Any]:
    return {"changed": False, "difference": [], "touched": [], "errors": [], "restart": [], "warnings": [], **found}
