"""A session that looks around: Browse with its continuation points, and attributes in batches, whatever a server can bear.

One request is under way at a time, and after each the server rests half as long as it worked. A batch that is refused for its
size, or takes too long, is halved; one with an answer that cannot be decoded is divided until that node stands alone.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import suppress
from typing import TypeVar

from adapters.opcua.browsing import Attribute, Browsed
from adapters.opcua.client import Client
from adapters.opcua.items import TOO_MUCH, Limit
from adapters.opcua.nodes import NodeId
from adapters.opcua.session import Session

BROWSE, LOOK = 100, 400  # nodes and attributes in one request at most
REFERENCES = 1000  # of one node in one answer
MOST_REST = 0.05  # seconds

NO_CONTINUATION_POINTS, CONTINUATION_POINT_INVALID = 0x804B0000, 0x804A0000
DECODING_ERROR = 0x80070000
_MAX_BROWSE, _MAX_READ = NodeId(0, "i", 11710), NodeId(0, "i", 11705)
_VALUE = 13

T = TypeVar("T")


class _SmallerError(Exception):
    """Too much for one request."""


class _GarbledError(Exception):
    """An answer that cannot be decoded."""


class Explorer(Session):
    """Fills nothing, remembers nothing but what the server can bear. Raises NotConnectedError, as every Session."""

    on_request: Callable[[], None] = staticmethod(lambda: None)
    browse_limit: Limit
    look_limit: Limit
    _points: set[bytes]  # continuation points that the server keeps for us

    def begin(self) -> None:
        """Nothing is known of what the server can bear, but what the configuration says."""
        most = self._connection.max_nodes
        self._points = set()
        self.browse_limit, self.look_limit = Limit(min(BROWSE, most or BROWSE)), Limit(min(LOOK, most or LOOK))

    async def open(self) -> None:
        """Log in, and learn what the server can bear."""
        await super().open()
        self.begin()
        told = await self.look([(_MAX_BROWSE, _VALUE), (_MAX_READ, _VALUE)])
        for limit, attribute in zip((self.browse_limit, self.look_limit), told, strict=True):
            if attribute.good and isinstance(attribute.value, int) and attribute.value > 0:  # 0: not told
                limit.size = min(limit.size, attribute.value)

    @property
    def client(self) -> Client:
        """The line itself."""
        return self._client

    async def ask(self, call: Callable[[Sequence[NodeId]], Awaitable[list[T]]], nodes: Sequence[NodeId]) -> list[T]:
        """Something else about nodes; fewer of them are answered where they are too many. Raises NotConnectedError."""
        while True:
            try:
                return list(await self._request(call(nodes), len(nodes) > 1))
            except _SmallerError:
                nodes = nodes[: (len(nodes) + 1) // 2]
            except _GarbledError as exc:
                with self._told():
                    raise exc.__cause__ or exc from exc

    # --- browsing --------------------------------------------------------------------------------------------------

    async def browse(self, nodes: Sequence[NodeId], inverse: bool = False) -> AsyncGenerator[tuple[int, Browsed], None]:
        """What each node leads to, in parts as they come; the number is that of the node. A part may come twice."""
        left, size, most = deque(range(len(nodes))), len(nodes), REFERENCES
        while left:
            part = [left.popleft() for _ in range(min(len(left), size, self.browse_limit.size))]
            try:
                answers = await self._request(
                    self._client.browse([nodes[i] for i in part], most, self.uris, inverse), len(part) > 1
                )
            except _SmallerError:
                self.browse_limit.size = (len(part) + 1) // 2
                left.extendleft(reversed(part))
                continue
            except _GarbledError:
                if len(part) == 1:
                    yield part[0], Browsed(DECODING_ERROR, ())
                    continue
                middle = len(part) // 2
                for half in (part[:middle], part[middle:]):
                    async for i, browsed in self.browse([nodes[j] for j in half], inverse):
                        yield half[i], browsed
                continue
            left.extendleft(reversed(part[len(answers) :]))
            self._points.update(answer.rest for answer in answers if answer.rest)
            again, points = [], []
            for i, answer in zip(part, answers, strict=False):
                if answer.status == NO_CONTINUATION_POINTS:
                    again.append(i)
                    continue
                if answer.rest:
                    points.append((i, answer.rest))
                yield i, answer
            async for i, answer in self._rest_of(points, again):
                yield i, answer
            if again and len(part) == 1 and most == 0:  # not even one, whatever is asked for
                yield again[0], Browsed(NO_CONTINUATION_POINTS, ())
                most = REFERENCES
            elif again:
                # Fewer nodes at a time need fewer points; where one alone is too many, all in one answer needs none.
                most = REFERENCES if len(part) > 1 else 0
                size = max(1, len(part) // 2)
                left.extendleft(reversed(again))
            else:
                most = REFERENCES

    async def _rest_of(
        self, points: list[tuple[int, bytes]], again: list[int]
    ) -> AsyncGenerator[tuple[int, Browsed], None]:
        """What stands behind continuation points. `again` gets the nodes whose point the server has dropped."""
        while points:
            part = points[: self.browse_limit.size]
            call = self._client.browse_next([point for _, point in part], self.uris, False)
            try:
                answers = await self._request(call, len(part) > 1)
            except _SmallerError:
                self.browse_limit.size = (len(part) + 1) // 2
                continue
            except _GarbledError:
                del points[: len(part)]
                for i, _ in part:
                    yield i, Browsed(DECODING_ERROR, ())
                continue
            del points[: len(part)]
            points += part[len(answers) :]
            self._points.difference_update(point for _, point in part[: len(answers)])
            self._points.update(answer.rest for answer in answers if answer.rest)
            for (i, _), answer in zip(part, answers, strict=False):
                if answer.status in (NO_CONTINUATION_POINTS, CONTINUATION_POINT_INVALID):
                    again.append(i)
                    continue
                if answer.rest:
                    points.append((i, answer.rest))
                yield i, answer

    async def release(self) -> None:
        """Give up the continuation points of a browsing that was left early: small servers have few."""
        points, self._points = list(self._points), set()
        for at in range(0, len(points), self.browse_limit.size):
            part = points[at : at + self.browse_limit.size]
            with suppress(_GarbledError):
                await self._request(self._client.browse_next(part, self.uris, True), False)

    # --- reading ---------------------------------------------------------------------------------------------------

    async def look(self, wanted: Sequence[tuple[NodeId, int]]) -> list[Attribute]:
        """Attributes of nodes. One that cannot be decoded costs no other."""
        found: list[Attribute] = []
        while len(found) < len(wanted):
            part = wanted[len(found) : len(found) + self.look_limit.size]
            try:
                answers = await self._request(self._client.look(part), len(part) > 1)
            except _SmallerError:
                self.look_limit.size = (len(part) + 1) // 2
                continue
            except _GarbledError:
                if len(part) == 1:
                    found.append(Attribute(DECODING_ERROR))
                    continue
                middle = len(part) // 2
                found += [*await self.look(part[:middle]), *await self.look(part[middle:])]
                continue
            found += answers[: len(part)]
        return found

    async def _request(self, call: Awaitable[Sequence[T]], divisible: bool) -> Sequence[T]:
        """One request, and a rest after it. Raises _SmallerError, _GarbledError, NotConnectedError."""
        self.on_request()
        began = time.monotonic()
        try:
            answers = await call
        except Exception as exc:
            if divisible and (type(exc).__name__ in TOO_MUCH or isinstance(exc, TimeoutError)):
                raise _SmallerError from exc
            if isinstance(exc, ValueError) and self._client.connected:
                raise _GarbledError from exc
            with self._told():
                raise
        if not answers:
            raise _GarbledError
        await asyncio.sleep(min(MOST_REST, (time.monotonic() - began) / 2))
        return answers
