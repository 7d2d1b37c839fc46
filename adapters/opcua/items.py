"""What the parts of this adapter hand to each other, besides columns; and requests in parts a server can take."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from adapters.opcua.nodes import NodeId
from adapters.opcua.wire import Event, GarbledError, Values

T = TypeVar("T")
R = TypeVar("R")

TOO_MUCH = (
    "BadTooManyOperations",
    "BadEncodingLimitsExceeded",
    "BadRequestTooLarge",
    "BadResponseTooLarge",
    "BadTcpMessageTooLarge",
)


class Deadband(NamedTuple):
    """Changes the server need not report."""

    value: float
    percent: bool = False  # of the range the server names (EURange), instead of in its unit


@dataclass(slots=True)
class Item:
    """A monitored item to be made, and what became of it."""

    handle: int
    node: NodeId
    sampling: float  # seconds
    queue: int
    discard_oldest: bool = True
    deadband: Deadband | None = None
    status: int = 0
    id: int = 0
    revised_queue: int = 0
    revised_sampling: float = 0.0


@dataclass(slots=True)
class Notification:
    """What a subscription had to say; without values and events, that it lives."""

    subscription: int
    arrival: int  # ns since 1970
    time: int  # the same by the server's clock
    values: Values | None
    events: list[Event] | None
    missing: int = 0  # notifications before this one that never came
    again: bool = False  # sent for the second time: there may be more of them


@dataclass(slots=True)
class Limit:
    """How many things a server takes in one request. It shrinks when the server proves to take fewer."""

    size: int


async def in_batches(
    things: Sequence[T], limit: Limit, call: Callable[[Sequence[T]], Awaitable[Sequence[R]]]
) -> list[R]:
    """One result per thing. A part that is refused for its size is halved; one that is answered in part goes on there."""
    results: list[R] = []
    while len(results) < len(things):
        part = things[len(results) : len(results) + limit.size]
        try:
            answers = await call(part)
        except Exception as exc:
            if type(exc).__name__ not in TOO_MUCH or len(part) == 1:
                raise
            limit.size = (len(part) + 1) // 2
            continue
        if not answers:
            raise GarbledError(f"no answer about {len(part)} nodes")
        results += answers[: len(part)]
    return results
