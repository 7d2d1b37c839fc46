"""The OPC UA adapter: one session for all machines behind a connection, one subscription for each of them.

connect ── new session ── namespaces ── values, types ── subscription per machine ──▶ read ── notifications ── batches
   ▲                                                                                     │
   └── old session closed, on a new line if need be ◀──────────── NotConnectedError ─────┘
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Sequence

from adapters.opcua.config import OpcuaConnection, OpcuaMachine
from adapters.opcua.machine import Machine
from adapters.opcua.plan import publishing
from adapters.opcua.session import Session
from gateway.adapter import Command, Context, WriteResult
from gateway.errors import NotConnectedError
from gateway.model import Batch, Header

LOOK_AGAIN = 60.0  # seconds until nodes that the server does not have are looked for again

_log = logging.getLogger(__name__)


class OpcuaAdapter:
    """Fulfils `gateway.adapter.Adapter`."""

    def __init__(self, context: Context) -> None:
        assert isinstance(context.connection, OpcuaConnection)
        self._context, self._connection = context, context.connection
        self._machines: list[Machine] = []
        for path, settings in context.machines.items():
            assert isinstance(settings, OpcuaMachine)
            counters = context.counters.of(path.machine)
            self._machines.append(Machine(path, settings, publishing(context, settings), counters))
            _warn_of_indexes(path.machine, settings)
        self._session: Session | None = None
        self._dead: Session | None = None  # one that the server may still have
        self._ready: list[Batch] = []
        self._kept_alive = False  # a machine without news said that it lives, and that was not returned yet
        self._look_again = math.inf

    @property
    def headers(self) -> Sequence[Header]:
        """Types are those of the configuration, or float, until connect() has learnt them."""
        return [machine.header for machine in self._machines]

    async def connect(self) -> None:
        """Start from scratch: whatever an earlier session knew may be wrong in this one."""
        await self._hang_up()
        if self._dead:
            await self._dead.bury()
            self._dead = None
        context = self._context
        label = f"{context.name} {self._connection.host}:{self._connection.port}"
        session = Session(self._connection, label, f"{context.gateway_id} {context.name}", context.clock)
        await session.open()
        self._session = session
        try:
            self._ready = [await machine.start(session, context.clock.now()) for machine in self._machines]
        except BaseException:
            await self._hang_up()
            raise
        self._plan_look()

    async def read(self) -> Sequence[Batch]:
        """What has arrived, one batch per machine at most. Empty: the server only said that it lives."""
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
            wait = self._look_again - clock.monotonic()
            if wait <= 0:
                if found := await self._look(session):
                    return found
                continue
            if arrived := await session.notifications(wait):
                machines = {machine.subscription: machine for machine in self._machines}
                batches = [machines[notification.subscription].batch(notification) for notification in arrived]
                if math.isinf(self._look_again):
                    self._plan_look()
                news = [batch for batch in batches if batch]
                self._kept_alive = 0 < len(news) < len(batches)
                return news

    async def write(self, command: Command) -> WriteResult:  # noqa: ARG002
        return WriteResult(False, "writing is not enabled")

    async def close(self) -> None:
        await self._hang_up()
        if self._dead:
            dead, self._dead = self._dead, None
            try:
                await asyncio.wait_for(dead.bury(), self._connection.timeout)
            except (NotConnectedError, TimeoutError) as exc:
                _log.debug("%s: %s", self._context.name, exc)

    async def _hang_up(self) -> None:
        session, self._session = self._session, None
        self._ready, self._kept_alive = [], False
        if session and not await session.end():
            self._dead = session

    def _plan_look(self) -> None:
        incomplete = any(machine.incomplete for machine in self._machines)
        self._look_again = self._context.clock.monotonic() + LOOK_AGAIN if incomplete else math.inf

    async def _look(self, session: Session) -> list[Batch]:
        """Look for missing nodes, and for missing namespaces first."""
        await session.read_namespaces()
        found = []
        for machine in self._machines:
            if machine.incomplete and (batch := await machine.look_again(session, self._context.clock.now())):
                found.append(batch)
        self._plan_look()
        return found


def _warn_of_indexes(machine: str, settings: OpcuaMachine) -> None:
    """An index is taken as it is written, but 0 and 1 are the only ones that stay what they are."""
    risky = [name for name in settings.signals if settings.address_of(name).namespace not in (0, 1)]
    risky = [name for name in risky if isinstance(settings.address_of(name).namespace, int)]
    if risky:
        _log.warning(
            "%s: %d nodes are named by namespace index, such as %s (%s): it can change when the server restarts, and "
            "another machine be read. Use `namespaces:` with the URI",
            machine, len(risky), risky[0], settings.signals[risky[0]].node,
        )  # fmt: skip
