"""The OPC UA adapter: one session for all machines behind a connection, one subscription for each of them.

connect ── session ── values, types ── subscription per machine ──▶ read ── notifications, polls ── batches and gaps
   ▲                                                                 │
   └── the same session on a new line, else a new one ◀── NotConnectedError
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace

from adapters.opcua.config import OpcuaConnection, OpcuaMachine
from adapters.opcua.items import Notification
from adapters.opcua.machine import Machine
from adapters.opcua.overheard import Overheard
from adapters.opcua.security.secure import Security
from adapters.opcua.session import Session
from adapters.opcua.wire import Values
from gateway.adapter import Command, Context, WriteResult
from gateway.errors import NotConnectedError
from gateway.model import Batch, Gap, Header
from gateway.schedule import Ticks

LOOK_AGAIN = 60.0  # seconds until nodes that the server does not have are looked for again
_LONGEST = 60.0  # seconds to wait for anything

_log = logging.getLogger(__name__)


class OpcuaAdapter:
    """Fulfils `gateway.adapter.Adapter`."""

    def __init__(self, context: Context) -> None:
        assert isinstance(context.connection, OpcuaConnection)
        self._context, self._connection = context, context.connection
        self._machines: list[Machine] = []
        for path, settings in context.machines.items():
            assert isinstance(settings, OpcuaMachine)
            self._machines.append(Machine(path, settings, self._connection, context.counters.of(path.machine)))
            _warn_of_indexes(path.machine, settings)
        self._security = Security.of(context)
        self._overheard = Overheard(context.tap) if context.tap is not None else None
        self._sizes: dict[str, int] = {}  # of requests that the server was found to take
        self._session: Session | None = None
        self._left_behind: Session | None = None  # one that was ended, and could not be closed
        self._ready: list[Batch | Gap] = []  # found, and not returned yet
        self._kept_alive = False  # a machine without news said that it lives, and that was not returned yet
        self._look_again = math.inf
        self._polls: list[tuple[Machine, Sequence[int]]] = []  # what is due at each tick, as are
        self._periods: list[float] = []
        self._ticks = Ticks((), 0.0)
        self._looking_back: tuple[Machine, AsyncGenerator[Values]] | None = None  # whose history is read
        self._page: asyncio.Task[Values | None] | None = None  # of it, on its way

    @property
    def headers(self) -> Sequence[Header]:
        """Types are those of the configuration, or float, until connect() has learnt them."""
        return [machine.header for machine in self._machines]

    async def connect(self) -> None:
        """Go on with the session there was, if the server still has it; else start from scratch.

        From scratch means everything: whatever an earlier session knew may be wrong in another one.
        """
        try:
            await self._connect()
        except NotConnectedError as exc:
            self._tell_lost(exc)
            raise

    async def _connect(self) -> None:
        await self._stop_looking_back()
        self._kept_alive = False
        self._polls = []  # everything is read now
        self._ready = self._as_it_was()  # how it is, is read anew
        before = self._session
        if before and before.resumable and (missed := await before.resume()) is not None:
            await self._go_on(before, missed, anew=False)
        else:
            if before:
                await before.end()
            await self._begin(before)
        headers = {machine.header.path: machine.header for machine in self._machines}  # types may have been learnt
        self._ready = [replace(part, header=headers[part.header.path]) for part in self._ready]
        self._plan()

    async def _begin(self, before: Session | None) -> None:
        await self._bury()
        context = self._context
        label = f"{context.name} {self._connection.host}:{self._connection.port}"
        self._session = session = Session(
            self._connection, label, f"{context.gateway_id} {context.name}", context.clock, self._security, self._sizes,
            self._overheard,
        )  # fmt: skip
        try:
            await session.open()
            if before and (missed := await session.inherit(before)) is not None:
                await self._go_on(session, missed, anew=True)
                return
            for machine in self._machines:
                self._ready += await machine.start(session, context.clock)
        except BaseException:
            await self._hang_up()
            raise

    async def _go_on(self, session: Session, missed: Sequence[Notification], anew: bool) -> None:
        """Nothing was lost that the server could keep: what was missed, then the values as they are now."""
        self._take(missed)
        for machine in self._machines:
            self._ready += await machine.taken_over(session, self._context.clock, anew)

    async def read(self) -> Sequence[Batch | Gap]:
        """What has arrived. Empty: the server only said that it lives."""
        while not self._ready and not self._kept_alive:
            if self._session is None:
                raise NotConnectedError(f"{self._context.name}: not connected", fault="not-connected")
            try:
                await self._go_round(self._session)
            except _AnewError:
                raise
            except NotConnectedError as exc:
                self._tell_lost(exc)
                raise
        ready, self._ready = self._ready, []
        if not ready:
            self._kept_alive = False
        return ready

    async def _go_round(self, session: Session) -> None:
        """All that is due, and what arrives until something is. It is in hand at once: what fails behind it takes nothing along."""
        clock = self._context.clock
        for i in self._ticks.due(clock.monotonic()):
            machine, handles = self._polls[i]
            self._ready += await machine.poll(session, handles, clock)
        if self._look_again <= clock.monotonic():
            await self._look(session)
        self._look_back(session)
        now = clock.monotonic()
        until = now if self._ready else min(self._look_again, self._ticks.next(), now + _LONGEST)
        self._take(await session.notifications(max(0.0, until - now), self._page))
        self._kept_alive |= session.pinged
        self._turn_page()
        await self._reread(session)

    def _take(self, arrived: Sequence[Notification]) -> None:
        machines = {machine.subscription: machine for machine in self._machines if machine.subscription}
        for notification in arrived:
            if (machine := machines.get(notification.subscription)) is not None:
                found = machine.arrived(notification)
                self._ready += found
                self._kept_alive |= not found
        if math.isinf(self._look_again):
            self._plan_look()

    async def _reread(self, session: Session) -> None:
        """Where notifications were lost: the values as they are now."""
        for machine in self._machines:
            if await machine.give_up(session):
                self._plan()
            if machine.outdated:
                self._ready += await machine.resumed(session, self._context.clock)

    def _as_it_was(self) -> list[Batch | Gap]:
        """What was not returned before the line was lost."""
        return [part if isinstance(part, Gap) else replace(part, historical=True) for part in self._ready]

    # --- what was missed, from servers that remember ----------------------------------------------------------------

    def _look_back(self, session: Session) -> None:
        """Have the next page on its way, of one machine at a time."""
        machine = next((machine for machine in self._machines if machine.backfill), None)
        if self._page is None and machine is not None and machine.backfill:
            pages = session.history(machine.backfill)
            self._looking_back = machine, pages
            self._page = asyncio.create_task(anext(pages, None), name=f"history[{self._context.name}]")

    def _turn_page(self) -> None:
        """The page that has come, if one has."""
        if self._page is None or not self._page.done() or self._looking_back is None:
            return
        machine, pages = self._looking_back
        values = self._page.result()
        if values is None:
            self._page = self._looking_back = None
            self._ready += machine.filled()
            return
        self._page = asyncio.create_task(anext(pages, None), name=f"history[{self._context.name}]")
        self._ready.append(machine.remembered(values, self._context.clock.now()))

    async def _stop_looking_back(self) -> None:
        """It goes on in the next session."""
        page, looking_back = self._page, self._looking_back
        self._page = self._looking_back = None
        if page:
            page.cancel()
            await asyncio.gather(page, return_exceptions=True)
        if looking_back:
            machine, pages = looking_back
            await pages.aclose()
            if machine.backfill:
                machine.backfill.lost_session()

    async def write(self, command: Command) -> WriteResult:  # noqa: ARG002
        return WriteResult(False, "writing is not enabled")

    async def close(self) -> Sequence[Batch | Gap]:
        left, self._ready = self._as_it_was(), []
        await self._hang_up()
        if self._overheard is not None:
            self._overheard.closed()
        try:
            await asyncio.wait_for(self._bury(), self._connection.timeout)
        except (NotConnectedError, TimeoutError) as exc:
            _log.debug("%s: %s", self._context.name, exc)
        now = self._context.clock.now()
        return [*left, *(gap for machine in self._machines for gap in machine.last_words(now))]

    def _tell_lost(self, exc: NotConnectedError) -> None:
        if self._overheard is not None:
            self._overheard.lost(str(exc))

    async def _hang_up(self) -> None:
        session, self._session = self._session, None
        self._kept_alive = False
        await self._stop_looking_back()
        if session and not await session.end():
            self._left_behind = session

    async def _bury(self) -> None:
        """Close the session that the server still has although we are done with it. Raises NotConnectedError."""
        if self._left_behind:
            await self._left_behind.bury()
            self._left_behind = None

    # --- what is done in turn ----------------------------------------------------------------------------------------

    def _plan(self) -> None:
        """Polls that are planned already go on at their ticks."""
        polls = [(machine, handles) for machine in self._machines for handles in machine.polls.values()]
        periods = [period for machine in self._machines for period in machine.polls]
        if (polls, periods) != (self._polls, self._periods):
            self._polls, self._periods = polls, periods
            self._ticks = Ticks(periods, self._context.clock.monotonic() + min(periods, default=0.0))
        self._plan_look()

    def _plan_look(self) -> None:
        incomplete = any(machine.incomplete for machine in self._machines)
        self._look_again = self._context.clock.monotonic() + LOOK_AGAIN if incomplete else math.inf

    async def _look(self, session: Session) -> None:
        """Look for missing nodes, and for missing namespaces first."""
        await session.read_namespaces()
        for machine in self._machines:
            if machine.incomplete:
                before = machine.header
                self._ready += await machine.look_again(session, self._context.clock)
                if machine.header is not before:  # which is announced by connect() only; the session goes on
                    if self._overheard is not None:
                        self._overheard.closed()
                    raise _AnewError(f"{self._context.name}: a missing node is there now: connecting again")
        self._plan()


class _AnewError(NotConnectedError):
    """Nothing is lost: what has changed is announced by connecting again."""


def _warn_of_indexes(machine: str, settings: OpcuaMachine) -> None:
    """An index is taken as it is written, but 0 and 1 are the only ones that stay what they are."""
    indexes = {
        n: [each for each in settings.address_of(n).namespaces if isinstance(each, int)] for n in settings.signals
    }
    risky = [name for name, used in indexes.items() if max(used, default=0) > 1]
    if risky:
        signal = settings.signals[risky[0]]
        _log.warning(
            "%s: %d nodes are named by namespace index, such as %s (%s): it can change when the server restarts, and "
            "another machine be read. Use `namespaces:` with the URI",
            machine, len(risky), risky[0], signal.node or signal.path,
        )  # fmt: skip
