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
from adapters.opcua.machine import Arrived, Machine
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
        self._sizes: dict[str, int] = {}  # of requests that the server was found to take
        self._session: Session | None = None
        self._ready: list[Batch | Gap] = []
        self._kept_alive = False  # a machine without news said that it lives, and that was not returned yet
        self._look_again = math.inf
        self._polls: list[tuple[Machine, Sequence[int]]] = []  # what is due at each tick
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
        await self._stop_looking_back()
        self._kept_alive = False
        # Of what an earlier try has found, what is true now is read anew; what was, and what is missing, stays so.
        self._ready = [part for part in self._ready if isinstance(part, Gap) or part.historical]
        before = self._session
        if before and before.resumable and (missed := await before.resume()) is not None:
            await self._go_on(before, missed)
        else:
            if before:
                await before.end()
            await self._begin(before)
        headers = {machine.header.path: machine.header for machine in self._machines}  # types may have been learnt
        self._ready = [replace(part, header=headers[part.header.path]) for part in self._ready]
        self._plan()

    async def _begin(self, before: Session | None) -> None:
        context = self._context
        label = f"{context.name} {self._connection.host}:{self._connection.port}"
        self._session = None
        session = Session(
            self._connection, label, f"{context.gateway_id} {context.name}", context.clock, self._security, self._sizes
        )
        await session.open()
        self._session = session
        try:
            if before and (missed := await session.inherit(before)) is not None:
                await self._go_on(session, missed)
                return
            for machine in self._machines:
                self._ready += await machine.start(session, context.clock)
        except BaseException:
            await self._hang_up()
            raise

    async def _go_on(self, session: Session, missed: Sequence[Notification]) -> None:
        """Nothing was lost that the server could keep: what was missed, then the values as they are now."""
        machines = self._by_subscription()
        for notification in missed:
            if notification.subscription in machines:
                self._ready += machines[notification.subscription].arrived(notification)
        for machine in self._machines:
            self._ready += await machine.resumed(session, self._context.clock.now())

    async def read(self) -> Sequence[Batch | Gap]:
        """What has arrived. Empty: the server only said that it lives."""
        if self._ready:
            ready, self._ready = self._ready, []
            return ready
        if self._kept_alive:
            self._kept_alive = False
            return ()
        session, clock = self._session, self._context.clock
        if session is None:
            raise NotConnectedError(f"{self._context.name}: not connected")
        while True:
            now = clock.monotonic()
            if self._ticks.next() <= now:
                return await self._poll(session, now)
            if self._look_again <= now:
                if found := await self._look(session):
                    return found
                continue
            until = min(self._look_again, self._ticks.next(), now + _LONGEST)
            self._look_back(session)
            arrived = await session.notifications(until - now, self._page)
            news = [*self._take(arrived), *self._turn_page()]
            self._ready += await self._reread(session)
            if arrived or news:
                return news

    def _take(self, arrived: Sequence[Notification]) -> Sequence[Batch | Gap]:
        machines, news, silent = self._by_subscription(), list[Batch | Gap](), 0
        for notification in arrived:
            found = machines[notification.subscription].arrived(notification)
            silent += not found
            news += found
        if math.isinf(self._look_again):
            self._plan_look()
        self._kept_alive = bool(news and silent)
        return news

    async def _reread(self, session: Session) -> list[Batch | Gap]:
        """Where notifications were lost: the values as they are now."""
        found: list[Batch | Gap] = []
        for machine in self._machines:
            if await machine.give_up(session):
                self._plan()
            if machine.outdated:
                found += await machine.resumed(session, self._context.clock.now())
        return found

    async def _poll(self, session: Session, now: float) -> Sequence[Batch | Gap]:
        found: list[Batch | Gap] = []
        for i in self._ticks.due(now):
            machine, handles = self._polls[i]
            found += await machine.poll(session, handles, self._context.clock)
        return found

    # --- what was missed, from servers that remember ----------------------------------------------------------------

    def _look_back(self, session: Session) -> None:
        """Have the next page on its way, of one machine at a time."""
        machine = next((machine for machine in self._machines if machine.backfill), None)
        if self._page is None and machine is not None and machine.backfill:
            pages = session.history(machine.backfill)
            self._looking_back = machine, pages
            self._page = asyncio.create_task(anext(pages, None), name=f"history[{self._context.name}]")

    def _turn_page(self) -> Arrived:
        """The page that has come, if one has."""
        if self._page is None or not self._page.done() or self._looking_back is None:
            return ()
        machine, pages = self._looking_back
        values = self._page.result()
        if values is None:
            self._page = self._looking_back = None
            return machine.filled()
        self._page = asyncio.create_task(anext(pages, None), name=f"history[{self._context.name}]")
        return (machine.remembered(values, self._context.clock.now()),)

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

    async def close(self) -> None:
        session, self._ready = self._session, []
        if await self._hang_up() or session is None:
            return
        try:
            await asyncio.wait_for(session.bury(), self._connection.timeout)
        except (NotConnectedError, TimeoutError) as exc:
            _log.debug("%s: %s", self._context.name, exc)

    async def _hang_up(self) -> bool:
        """False: the server may still have the session."""
        session, self._session = self._session, None
        self._kept_alive = False
        await self._stop_looking_back()
        return session is None or await session.end()

    def _by_subscription(self) -> dict[int, Machine]:
        return {machine.subscription: machine for machine in self._machines if machine.subscription}

    # --- what is done in turn ----------------------------------------------------------------------------------------

    def _plan(self) -> None:
        self._polls = [(machine, handles) for machine in self._machines for handles in machine.polls.values()]
        periods = [period for machine in self._machines for period in machine.polls]
        self._ticks = Ticks(periods, self._context.clock.monotonic() + min(periods, default=0.0))
        self._plan_look()

    def _plan_look(self) -> None:
        incomplete = any(machine.incomplete for machine in self._machines)
        self._look_again = self._context.clock.monotonic() + LOOK_AGAIN if incomplete else math.inf

    async def _look(self, session: Session) -> Arrived:
        """Look for missing nodes, and for missing namespaces first."""
        await session.read_namespaces()
        found: list[Batch | Gap] = []
        for machine in self._machines:
            if machine.incomplete:
                before = machine.header
                found += await machine.look_again(session, self._context.clock.now())
                if machine.header is not before:  # which is announced by connect() only
                    session.give_up()
                    raise NotConnectedError(f"{self._context.name}: a missing node is there now: connecting again")
        self._plan()
        return found


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
