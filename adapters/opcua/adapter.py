"""The OPC UA adapter: one session for all machines behind a connection, one subscription for each of them.

connect ── session ── values, types ── subscription per machine ──▶ read ── notifications, polls ── batches and gaps
   ▲                                                                 │
   └── the same session on a new line, else a new one ◀── NotConnectedError
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Sequence

from adapters.opcua.config import OpcuaConnection, OpcuaMachine
from adapters.opcua.items import Notification
from adapters.opcua.machine import Arrived, Machine
from adapters.opcua.security.secure import Security
from adapters.opcua.session import Session
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
        self._session: Session | None = None
        self._ready: list[Batch | Gap] = []
        self._kept_alive = False  # a machine without news said that it lives, and that was not returned yet
        self._look_again = math.inf
        self._polls: list[tuple[Machine, Sequence[int]]] = []  # what is due at each tick
        self._ticks = Ticks((), 0.0)

    @property
    def headers(self) -> Sequence[Header]:
        """Types are those of the configuration, or float, until connect() has learnt them."""
        return [machine.header for machine in self._machines]

    async def connect(self) -> None:
        """Go on with the session there was, if the server still has it; else start from scratch.

        From scratch means everything: whatever an earlier session knew may be wrong in another one.
        """
        self._ready, self._kept_alive = [], False
        before = self._session
        if before and before.resumable and (missed := await before.resume()) is not None:
            await self._go_on(before, missed)
        else:
            if before:
                await before.end()
            await self._begin(before)
        self._plan()

    async def _begin(self, before: Session | None) -> None:
        context = self._context
        label = f"{context.name} {self._connection.host}:{self._connection.port}"
        self._session = None
        application = f"{context.gateway_id} {context.name}"
        session = Session(self._connection, label, application, context.clock, self._security)
        await session.open()
        self._session = session
        try:
            if before and (missed := await session.inherit(before)) is not None:
                await self._go_on(session, missed)
                return
            for machine in self._machines:
                self._ready += await machine.start(session, context.clock.now())
                if gap := machine.take_gap():
                    self._ready.append(gap)
        except BaseException:
            await self._hang_up()
            raise

    async def _go_on(self, session: Session, missed: Sequence[Notification]) -> None:
        """Nothing was lost that the server could keep: the values as they are now, then those that were missed."""
        for machine in self._machines:
            self._ready += await machine.resumed(session, self._context.clock.now())
        machines = self._by_subscription()
        for notification in missed:
            if notification.subscription in machines:
                self._ready += machines[notification.subscription].arrived(notification)

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
            if arrived := await session.notifications(until - now):
                return self._take(arrived)

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

    async def _poll(self, session: Session, now: float) -> Sequence[Batch | Gap]:
        found: list[Batch | Gap] = []
        for i in self._ticks.due(now):
            machine, handles = self._polls[i]
            found += await machine.poll(session, handles, self._context.clock)
        return found

    async def write(self, command: Command) -> WriteResult:  # noqa: ARG002
        return WriteResult(False, "writing is not enabled")

    async def close(self) -> None:
        session = self._session
        if await self._hang_up() or session is None:
            return
        try:
            await asyncio.wait_for(session.bury(), self._connection.timeout)
        except (NotConnectedError, TimeoutError) as exc:
            _log.debug("%s: %s", self._context.name, exc)

    async def _hang_up(self) -> bool:
        """False: the server may still have the session."""
        session, self._session = self._session, None
        self._ready, self._kept_alive = [], False
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
