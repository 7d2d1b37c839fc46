"""Services that were refused, or not answered, while the line was there: told once more to whoever asks for the same then.

    recording ─▶ Refused ─▶ Refusals, in turn for each service ─▶ its line: a ServiceFault with that status, or silence

Each is told once, to the first request of its service that comes at its time or in the seconds after it.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from typing import Any

import asyncua.ua
from asyncua.server.binary_server_asyncio import BinaryServer
from asyncua.ua.ua_binary import nodeid_from_binary, struct_from_binary

from simulators.opcua.line import Line, listen
from simulators.opcua.replay.services import Refused, service_of

ua: Any = asyncua.ua  # the types it declares are not those it takes

_FORGOTTEN = 5 * 10**9  # ns of the recording after which it is too late: nobody has asked


class Refusals:
    """Of one round of a replay."""

    def __init__(self, refused: Iterable[Refused], now: Callable[[], int]) -> None:
        """`now`: ns into the recording."""
        self._all, self._now = sorted(refused, key=lambda each: each.at), now
        self.told = 0
        self.begin(0)

    def __bool__(self) -> bool:
        return bool(self._all)

    def begin(self, at: int) -> None:
        """From there on, as if nothing had been told."""
        self._waiting: defaultdict[str, deque[Refused]] = defaultdict(deque)
        for each in self._all:
            if each.at >= at:
                self._waiting[each.service].append(each)

    def meets(self, service: str) -> Refused | None:
        """What a request meets that comes now; None: it is answered."""
        waiting, now = self._waiting[service], self._now()
        while waiting and waiting[0].at < now - _FORGOTTEN:
            waiting.popleft()
        if not waiting or waiting[0].at > now:
            return None
        self.told += 1
        return waiting.popleft()


async def look_through(bserver: BinaryServer, refusals: Refusals) -> None:
    """Have the lines of a server that was just started look for them. Raises OSError where somebody has taken the port."""

    def line() -> _Refusing:
        made = _Refusing.of(bserver)
        made.refusals = refusals
        return made

    await listen(bserver, line)


class _Refusing(Line):
    refusals: Refusals

    async def meet(self, process: Any, sequence: Any, body: Any) -> Any:
        looked = body.copy()
        met = self.refusals.meets(service_of(nodeid_from_binary(looked)))
        if met is None:
            return await process(sequence, body)
        if met.status is not None:
            header, fault = struct_from_binary(ua.RequestHeader, looked), ua.ServiceFault()
            fault.ResponseHeader.ServiceResult = ua.StatusCode(met.status)
            processor: Any = self.processor
            processor.send_response(header.RequestHandle, sequence, fault)
        return True
