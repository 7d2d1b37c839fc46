"""Structures of a server nobody knows yet, opened by what the server says of its data types; and their parts.

The same definitions and the same decoder as the gateway uses when it runs, so that what is shown here is what it will read.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from adapters.opcua.browsing import Attribute, Range, Structure
from adapters.opcua.items import Limit
from adapters.opcua.nodes import NodeId
from adapters.opcua.structures.definitions import ABSENT, Definitions, MisfitError, Record, UndefinedError
from adapters.opcua.structures.field_path import Path
from adapters.opcua.structures.learning import learn
from adapters.opcua.tools.explorer import Explorer
from adapters.opcua.wire import Body, Tagged
from gateway.errors import NotConnectedError

T = TypeVar("T")


class Structures:
    """What is known of the structures of one server."""

    def __init__(self, explorer: Explorer) -> None:
        self.definitions = Definitions()
        self._source = _Source(explorer)

    async def open(self, values: Sequence[Attribute], types: Sequence[NodeId]) -> list[Attribute]:
        """The same values, with their structures decoded where that can be done. Raises NotConnectedError."""
        bodies = [body for value in values for body in _bodies(value.value)]
        if bodies:
            await learn(self._source, self.definitions, types, dict.fromkeys(body.encoding for body in bodies))
        return [value._replace(value=self._opened(value.value)) for value in values]

    def why_not(self, structure: Structure) -> str:
        """Why one could not be opened."""
        return self.definitions.refused.get(structure.encoding, "it does not fit what the server says of its type")

    def _opened(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._opened(each) for each in value]
        if not isinstance(value, Structure) or value.body is None:
            return value
        try:
            return self._inner(self.definitions.decode(Body(value.encoding, value.body)))
        except (UndefinedError, MisfitError):
            return value

    def _inner(self, value: Any) -> Any:
        """Structures in a structure whose type is only known by the value."""
        if isinstance(value, Record):
            return Record(value.layout, [self._inner(each) for each in value.values])
        if isinstance(value, list):
            return [self._inner(each) for each in value]
        if isinstance(value, Tagged):
            return self._inner(value.value)
        if isinstance(value, Body):
            return self._opened(Structure(value.encoding, value.data))
        return value


def _bodies(value: Any) -> Iterator[Structure]:
    if isinstance(value, Structure):
        yield value
    elif isinstance(value, list):
        for each in value:
            yield from _bodies(each)


def leaves(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """The scalars of a value, each with the way to it."""
    if isinstance(value, Record):
        for name, each in zip(value.layout.names, value.values, strict=True):
            yield from leaves(each, (*path, name))
    elif isinstance(value, Range):
        yield from leaves({"Low": value.low, "High": value.high}, path)
    elif isinstance(value, Mapping):
        for name, each in value.items():
            yield from leaves(each, (*path, name))
    elif isinstance(value, list):
        for i, each in enumerate(value):
            yield from leaves(each, (*path, i))
    elif value is not ABSENT:
        yield path, value


class _Source:
    """Fulfils `learning.Source`, in batches."""

    def __init__(self, explorer: Explorer) -> None:
        self._explorer = explorer

    async def attribute(self, attribute: int, nodes: Sequence[NodeId]) -> list[Any]:
        client = self._explorer.client
        return await self._parts(nodes, self._explorer.look_limit, lambda part: client.attribute(attribute, part))

    async def references(self, type: int, inverse: bool, nodes: Sequence[NodeId]) -> list[list[tuple[NodeId, str]]]:
        client = self._explorer.client
        limit = self._explorer.browse_limit
        return await self._parts(nodes, limit, lambda part: client.references(type, inverse, part))

    async def properties(self, name: str, nodes: Sequence[NodeId]) -> list[NodeId | None]:
        client = self._explorer.client
        return await self._parts(nodes, self._explorer.browse_limit, lambda part: client.properties(name, part))

    async def _parts(
        self, nodes: Sequence[NodeId], limit: Limit, call: Callable[[Sequence[NodeId]], Awaitable[list[T]]]
    ) -> list[T]:
        found: list[T] = []
        while len(found) < len(nodes):
            part = nodes[len(found) : len(found) + limit.size]
            answers = await self._explorer.ask(call, part)
            if not answers:
                raise NotConnectedError(f"the server gave no answer about {len(part)} nodes", fault="opcua-garbled")
            found += answers[: len(part)]
        return found
