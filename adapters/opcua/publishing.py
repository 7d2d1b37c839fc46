"""The notifications of all subscriptions of a session: asked for, acknowledged, none left out, silence noticed.

    requests wait at the server ─▶ responses ─▶ in order? ─▶ Notification, at most one of each subscription at a time
                                                   └ a number is missing: sent again, or counted as lost

Notifications are asked for only while somebody waits for them. So the server keeps what we are too slow for, and its
overflow bit says so when it had to drop something; nothing piles up here. Raises what the client raises; `Session`
translates.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from adapters.opcua.client import Client
from adapters.opcua.decode import nanoseconds
from adapters.opcua.items import Notification
from adapters.opcua.wire import Published
from gateway.clock import Clock
from gateway.errors import NotConnectedError

_MOST_REPUBLISHED = 1000  # notifications: what a server keeps for us is far less
_LAST_SEQUENCE = 2**32 - 1  # is followed by 1: Part 4, 7.21
_LATE = 100  # notifications: further back, or ahead at the very first, is a server that counts from somewhere else


class SilentError(NotConnectedError):
    """A subscription says nothing any more, while the server still answers: it has deleted it."""


@dataclass(slots=True)
class _Subscription:
    patience: float  # seconds without a sign of life
    seen: float  # monotonic
    sequence: int = 0  # of its last notification; the first one has 1
    again: set[int] = field(default_factory=set)  # were sent again, and may still come by themselves

    def missing_before(self, number: int) -> int:
        """How many notifications are between the last one and this; below 0: it comes late."""
        between = (number - 1 - self.sequence) % _LAST_SEQUENCE
        if between >= _LAST_SEQUENCE - _LATE:
            return between - _LAST_SEQUENCE
        begins = between > _LAST_SEQUENCE // 2 or (not self.sequence and between > _LATE)
        return 0 if begins else between


class Publishing:
    """What the server publishes to one session."""

    requests = 8  # that wait at the server at most: some allow only 10

    def __init__(self, client: Client, label: str, clock: Clock) -> None:
        self._client, self._label, self._clock = client, label, clock
        self._subscriptions: dict[int, _Subscription] = {}
        self._asked: list[asyncio.Task[Published]] = []
        self._seen: list[tuple[int, int]] = []  # notifications to be acknowledged
        self._held: list[Notification] = []  # that have arrived and were not handed on yet

    @property
    def ids(self) -> list[int]:
        """The subscriptions, in the order they were added."""
        return list(self._subscriptions)

    @property
    def asked(self) -> Sequence[asyncio.Task[Published]]:
        """The requests that wait at the server, to wait for."""
        return self._asked

    @property
    def held(self) -> bool:
        """Whether something has arrived that was not returned yet."""
        return bool(self._held)

    def add(self, id: int, silence: float) -> None:
        """Listen to a subscription that keeps itself alive after `silence` seconds."""
        self._subscriptions[id] = _Subscription(max(1.0, 3 * silence), self._clock.monotonic())

    def adopt(self, other: Publishing) -> None:
        """Go on with the subscriptions of a session that is no more."""
        self._held += other._held
        for id, subscription in other._subscriptions.items():
            self._subscriptions[id] = _Subscription(
                subscription.patience, self._clock.monotonic(), subscription.sequence
            )

    def ask(self) -> None:
        """Have as many requests wait at the server as there are subscriptions, and one more."""
        while self._subscriptions and len(self._asked) < min(self.requests, len(self._subscriptions) + 1):
            seen, self._seen = self._seen, []
            self._asked.append(asyncio.create_task(self._client.published(seen), name=f"publish[{self._label}]"))

    async def stop(self) -> None:
        """Forget the requests that wait. The subscriptions stay."""
        asked, self._asked = self._asked, []
        for task in asked:
            task.cancel()
        await asyncio.gather(*asked, return_exceptions=True)
        self._seen.clear()

    def excuse(self, seconds: float) -> None:
        """While we did not listen we could not hear."""
        for subscription in self._subscriptions.values():
            subscription.seen += seconds

    @property
    def due(self) -> float | None:
        """When (monotonic) the first subscription should have said something; None where there is none."""
        return min((s.seen + s.patience for s in self._subscriptions.values()), default=None)

    def check(self, heard: float) -> None:
        """Raises SilentError if the server has answered, at `heard`, since a subscription should have said something."""
        for subscription in self._subscriptions.values():
            if heard > subscription.seen + subscription.patience:
                raise SilentError(
                    f"no sign of life of a subscription for {subscription.patience:.0f} s: the server has deleted it"
                )

    async def hold(self, arrival: int) -> None:
        """Keep what has arrived for later, and ask for more. What has failed is raised when it is taken."""
        with suppress(Exception):
            self._held += await self._arrived(arrival)
        self.ask()

    # --- what arrived ----------------------------------------------------------------------------------------------

    async def take(self, arrival: int) -> list[Notification]:
        """What has arrived: the next notification of each subscription, after those that were missing before it."""
        held, self._held = self._held, []
        return held or await self._arrived(arrival)

    async def _arrived(self, arrival: int) -> list[Notification]:
        """What is returned counts as received, and nothing else: an error behind it is raised the next time."""
        arrived: list[Notification] = []
        for task in [task for task in self._asked if task.done()]:
            try:
                if (error := task.exception()) is not None:
                    self._bear(error)
                    self._asked.remove(task)
                    continue
                published = task.result()
                if any(published.subscription == notification.subscription for notification in arrived):
                    break  # that one is for the next time
                if published.ended:
                    raise SilentError(f"the server has ended the subscription (0x{published.ended:08X})")
                if (subscription := self._subscriptions.get(published.subscription)) is not None:
                    arrived += await self._in_order(subscription, published, arrival)
            except Exception:
                if not arrived:
                    raise
                break
            self._asked.remove(task)
        return arrived

    async def _in_order(self, subscription: _Subscription, published: Published, arrival: int) -> list[Notification]:
        id, number = published.subscription, published.sequence
        subscription.seen = self._clock.monotonic()
        news = published.values is not None or published.events is not None
        # A keep-alive has the number of the notification that comes next: Part 4, 5.14.1.1.
        missing = subscription.missing_before(number)
        before: dict[int, Notification] = {}
        if missing < 0:  # overtaken by one that was asked for later
            if news and number in subscription.again:  # it was handed on then
                published = Published(published.result, id, number, published.time)
                news = False
            notification = _notification(published, arrival)
        else:
            before, lost = await self._send_again(id, number, missing, arrival)
            notification = _notification(published, arrival, missing=lost)
            subscription.sequence = number if news else number - 1
            if missing:
                subscription.again = set(before)
        if news:
            self._seen.append((id, number))
        return [*before.values(), notification]

    async def _send_again(
        self, id: int, number: int, missing: int, arrival: int
    ) -> tuple[dict[int, Notification], int]:
        """So many notifications before this one that did not come, as far as the server still has them.

        By their number, in their place: what is lost for good is counted in the one that follows it, or returned.
        """
        found, lost = dict[int, Notification](), max(0, missing - _MOST_REPUBLISHED)
        for back in range(missing - lost, 0, -1):
            earlier = (number - back - 1) % _LAST_SEQUENCE + 1
            published = await self._client.republished(id, earlier)
            if published is None:
                lost += 1
                continue
            found[earlier] = _notification(published, arrival, missing=lost)
            self._seen.append((id, earlier))
            lost = 0
        return found, lost

    async def catch_up(self, arrival: int) -> list[Notification]:
        """After the line was lost: what the server sent into the void."""
        for id, subscription in self._subscriptions.items():
            for _ in range(_MOST_REPUBLISHED):
                number = subscription.sequence % _LAST_SEQUENCE + 1
                published = await self._client.republished(id, number)
                if published is None:
                    break
                subscription.sequence = number
                self._seen.append((id, number))
                self._held.append(_notification(published, arrival, again=True))
            subscription.seen = self._clock.monotonic()
        held, self._held = self._held, []
        return held

    def _bear(self, error: BaseException) -> None:
        """A request that failed. Raises it, unless it is about the request itself."""
        name = type(error).__name__
        if name == "BadTooManyPublishRequests" and self.requests > 1:
            self.requests -= 1
        elif name not in ("BadTimeout", "BadRequestTimeout"):
            raise error


def _notification(published: Published, arrival: int, missing: int = 0, again: bool = False) -> Notification:
    time = nanoseconds(published.time, arrival)
    return Notification(published.subscription, arrival, time, published.values, published.events, missing, again)
