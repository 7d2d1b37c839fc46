"""An OPC UA server to which the faults of a scenario happen. What it should be at a time is worked out, then brought about.

Happenings at t ─▶ certificate, namespaces ──────────▶ the server that was, or another one at its port
                └▶ reachable, status, nodes, limits ─▶ switched at that server
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from math import inf
from typing import NamedTuple

from simulators.behaviour.fault_settings import (
    CertificateChange,
    ClockJump,
    Drop,
    FaultSettings,
    HalfOpen,
    Limited,
    NamespaceChange,
    Reboot,
    Status,
    Vanish,
)
from simulators.behaviour.faults import signals_of
from simulators.behaviour.happenings import Fault, Happenings
from simulators.machine import Context
from simulators.opcua.absence import Absence
from simulators.opcua.cells import Moment
from simulators.opcua.gate import Gate
from simulators.opcua.limits import Limits
from simulators.opcua.server import OpcuaServer

_SUDDEN: Sequence[type[FaultSettings]] = (Reboot, Drop, HalfOpen)

_log = logging.getLogger(__name__)


class _Kind(NamedTuple):
    """What makes another server of it."""

    certificate: int = 0
    namespaces: int = 0  # before those of the configuration


class ScriptedServer:
    """Fulfils `simulators.machine.Server`."""

    def __init__(self, context: Context, happenings: Happenings) -> None:
        self.status: dict[tuple[str, str], int] = {}  # as in OpcuaServer
        self._context, self._happenings = context, happenings
        self._settings = {machine.path.machine: machine.settings for machine in context.machines}
        for fault in happenings.faults:
            if fault.settings.cuts or fault.settings.with_requests:
                fault.machines = None  # there is one way to all machines behind a server
        self._begun: dict[type[FaultSettings], int] = {}  # how often, up to now
        self._ours: set[tuple[str, str]] = set()  # whose status is one of the scenario
        self._kind = _Kind()
        self._server: OpcuaServer
        self._gate: Gate | None = None  # of a server that was started
        self._open = False
        self._port, self._place = 0, ""
        self._address: Mapping[str, object] = {}
        self._acting: asyncio.Task[None] | None = None

    @property
    def port(self) -> int:
        return self._port

    @property
    def address(self) -> Mapping[str, object]:
        return self._address

    @property
    def place(self) -> str:
        return self._place

    async def start(self) -> None:
        """Raises OSError where the port cannot be had."""
        t = self._seconds()
        self._happenings.begin(t)
        self._kind = self._kind_at(t)
        for kind in _SUDDEN:
            self._has_begun(kind, t)
        self._server = self._made(self._context)
        await self._server.build()
        self._equip()
        await self._listen()
        self._port, self._address, self._place = self._server.port, self._server.address, self._server.place
        await self._apply(t)
        self._acting = asyncio.create_task(self._act(t), name=f"faults[{self._context.name}]")

    async def stop(self) -> None:
        """Safe to call twice."""
        acting, self._acting = self._acting, None
        if acting is None:
            return
        acting.cancel()
        with suppress(asyncio.CancelledError):
            await acting
        await self._server.stop()

    # --- in time -----------------------------------------------------------------------------------------------------

    def _seconds(self) -> float:
        return self._context.pace.seconds(self._context.clock.now())

    async def _act(self, t: float) -> None:
        try:
            while (due := self._happenings.next_change(t)) < inf:
                await asyncio.sleep(max(0.0, due - self._seconds()) / self._context.pace.speed)
                if (now := self._seconds()) >= due:
                    await self._apply(now)
                    t = now
        except Exception:
            _log.exception("%s: nothing more happens from now on", self._context.name)
            raise

    async def _apply(self, t: float) -> None:
        """Bring about what should be the case."""
        happenings = self._happenings
        happenings.count_all(t)
        kind = self._kind_at(t)
        rebooted, dropped, hushed = (self._has_begun(each, t) for each in _SUDDEN)
        away = happenings.away(t) is not None
        if away or rebooted or kind != self._kind:
            self._close()
        elif dropped and self._gate is not None:
            self._gate.cut()
        elif hushed and self._gate is not None:
            self._gate.hush()
        self._server.paused = bool(happenings.active(Reboot, t))  # the machine is off
        if kind != self._kind:
            await self._replace(kind)
        elif rebooted:
            await self._forget()
        await self._switch(t)
        if not away and not self._open:
            await self._listen()

    def _kind_at(self, t: float) -> _Kind:
        return _Kind(
            sum(number for number, _ in self._happenings.begun(CertificateChange, t)),
            sum(number * change.by for number, change in self._happenings.begun(NamespaceChange, t)),
        )

    def _has_begun(self, kind: type[FaultSettings], t: float) -> bool:
        """Whether one of these has begun since it was last asked."""
        begun = sum(number for number, _ in self._happenings.begun(kind, t))
        before, self._begun[kind] = self._begun.get(kind, 0), begun
        return begun > before

    async def _switch(self, t: float) -> None:
        """Status, nodes and limits."""
        happenings = self._happenings
        given = {
            (machine, signal): settings.code
            for fault, settings in happenings.active(Status, t)
            for machine, signal in self._signals(fault, settings.signals)
        }
        for key in self._ours - given.keys():
            self.status.pop(key, None)
        self.status.update(given)
        self._ours = set(given)
        limits: dict[str, int] = {}
        for _, limited in happenings.active(Limited, t):
            for name, most in limited.limits.items():
                limits[name] = min(most, limits.get(name, most))
        self._limits.now = limits
        gone = {
            each for fault, settings in happenings.active(Vanish, t) for each in self._signals(fault, settings.signals)
        }
        moment = Moment(self._context.clock.now() // 1000 * 1000)
        for placed in self._server.variables:
            is_gone = placed.node in self._absence.nodes
            wanted = any((point.machine, point.signal) in gone for point in placed.variable.points)
            if wanted and not is_gone:
                await self._absence.hide(placed, moment)
            elif is_gone and not wanted:
                self._absence.show(placed)

    def _signals(self, fault: Fault, names: Sequence[str]) -> list[tuple[str, str]]:
        machines = self._settings.keys() if fault.machines is None else fault.machines
        return [each for name in names for each in signals_of(name, self._settings, machines)]

    def _shift(self, machine: str, t: float) -> int:
        """ns by which the clock of a machine is wrong."""
        jumps = self._happenings.active(ClockJump, t)
        return round(sum(jump.by for fault, jump in jumps if fault.of((machine,))) * 1e6) * 1000

    # --- another server, or the same one anew -------------------------------------------------------------------------

    def _made(self, context: Context) -> OpcuaServer:
        before = [f"urn:shopfloor-gateway:simulator:before:{i}" for i in range(self._kind.namespaces)]
        server = OpcuaServer(context, before, self._kind.certificate)
        server.status = self.status
        server.shift = self._shift
        return server

    def _equip(self) -> None:
        """A server that was built."""
        inside = self._server.server.iserver
        self._absence, self._limits = Absence(inside.aspace), Limits(self._server.server)
        self._server.hidden = self._absence.nodes

    async def _replace(self, kind: _Kind) -> None:
        """Another server, in the place of this one."""
        if self._gate is not None:
            await self._server.stop()
        self._kind, self._gate = kind, None
        self._server = self._made(replace(self._context, port=self._port))
        await self._server.build(in_background=True)
        self._equip()

    async def _forget(self) -> None:
        """What a server does not know any more after it was off: sessions, and all values until they are taken anew."""
        inside = self._server.server.iserver
        for session in list(inside._external_sessions.values()):
            await session.close_session(True)
        for placed in self._server.variables:
            placed.variable.shown = None

    async def _listen(self) -> None:
        if self._gate is None:
            await self._server.listen()
            self._gate = Gate(self._server.server, self._happenings, list(self._settings), self._seconds)
        await self._gate.open()
        self._open = True

    def _close(self) -> None:
        if self._gate is not None:
            self._gate.close()
        self._open = False
