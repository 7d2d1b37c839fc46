"""What no server can be made to do at will: answers that overtake each other, numbers that are missing at the very first.

The client is a script: what it publishes, in the order of the requests, and what it can send again.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import cast

import pytest

from adapters.opcua.client import Client
from adapters.opcua.items import Notification
from adapters.opcua.publishing import Publishing
from adapters.opcua.wire import Published, Values
from gateway.clock import SystemClock

LAST = 2**32 - 1  # Part 4, 7.21: is followed by 1
SUBSCRIPTION = 7


def data(number: int) -> Published:
    """A notification whose only value is its own number."""
    values = Values()
    values.add(0, 8, number, 0, 0)
    return Published(0, SUBSCRIPTION, number, values=values)


def alive(number: int) -> Published:
    """A keep-alive: the number is that of the notification that comes next (Part 4, 5.14.1.1)."""
    return Published(0, SUBSCRIPTION, number)


class Script:
    """A client that has said some things, keeps some of them, and answers no more after that."""

    def __init__(self, *says: Published, kept: Sequence[int] = ()) -> None:
        self.says, self.kept = list(says), set(kept)
        self.seen: list[int] = []  # what was acknowledged
        self.asked: list[int] = []  # what was to be sent again

    async def published(self, seen: Sequence[tuple[int, int]]) -> Published:
        self.seen += [number for _, number in seen]
        while not self.says:
            await asyncio.sleep(3600)
        return self.says.pop(0)

    async def republished(self, _: int, number: int) -> Published | None:
        self.asked.append(number)
        return data(number) if number in self.kept else None


async def arrived(script: Script, begin: int = 0) -> list[Notification]:
    """All that comes of it."""
    publishing = Publishing(cast("Client", script), "cnc", SystemClock())
    publishing.add(SUBSCRIPTION, 10.0)
    publishing._subscriptions[SUBSCRIPTION].sequence = begin
    found: list[Notification] = []
    try:
        while True:
            publishing.ask()
            done, _ = await asyncio.wait(publishing.asked, timeout=0.05, return_when=asyncio.FIRST_COMPLETED)
            if not done:
                return found
            found += await publishing.take(1)
    finally:
        await publishing.stop()


def said(notifications: Sequence[Notification]) -> list[int]:
    return [each.values.value[0] for each in notifications if each.values is not None]


def lost(notifications: Sequence[Notification]) -> Mapping[int, int]:
    """How many are missing, by the number before which they are."""
    return {each.values.value[0] if each.values else 0: each.missing for each in notifications if each.missing}


async def test_the_very_first_can_be_the_one_that_is_lost() -> None:
    script = Script(data(2), data(3), kept=[1])
    found = await arrived(script)
    assert said(found) == [1, 2, 3]
    assert not lost(found)


@pytest.mark.parametrize("next", [data, alive])
async def test_the_first_that_is_lost_for_good_is_counted(next: Callable[[int], Published]) -> None:
    found = await arrived(Script(next(2), *([data(2)] if next is alive else [])))
    assert sum(each.missing for each in found) == 1


async def test_a_server_that_begins_with_another_number_has_lost_nothing() -> None:
    script = Script(data(4711), data(4712))
    assert not lost(await arrived(script))
    assert not script.asked, "hundreds of requests for nothing"


async def test_an_answer_that_was_overtaken_is_not_handed_on_twice() -> None:
    """A server with several threads answers the second request first: what seems lost is sent again, and comes."""
    script = Script(data(1), data(3), data(2), data(4), data(5), kept=[2, 4])
    found = await arrived(script)
    assert said(found) == [1, 2, 3, 4, 5]
    assert script.asked == [2]
    assert not lost(found)


async def test_an_answer_that_was_overtaken_and_is_not_kept_comes_late() -> None:
    found = await arrived(Script(data(1), data(3), data(2), data(4)))
    assert said(found) == [1, 3, 2, 4]
    assert lost(found) == {3: 1}, "and none of what comes after"


async def test_a_keep_alive_with_the_number_of_the_last_one_changes_nothing() -> None:
    """Some servers do that."""
    script = Script(data(1), data(2), alive(2), data(3), kept=[1, 2])
    found = await arrived(script)
    assert said(found) == [1, 2, 3]
    assert not script.asked


async def test_numbers_that_begin_again_are_followed() -> None:
    found = await arrived(Script(data(1), data(2), alive(1), data(5)), begin=5000)
    assert lost(found) == {5: 2}


async def test_after_the_last_number_comes_the_first() -> None:
    script = Script(data(LAST), alive(1), data(1), data(2), kept=[1])
    found = await arrived(script, begin=LAST - 1)
    assert said(found) == [LAST, 1, 2]
    assert not lost(found)
    assert not script.asked


async def test_what_is_lost_where_the_numbers_begin_again_is_noticed() -> None:
    script = Script(data(LAST), data(2), kept=[1])
    assert said(await arrived(script, begin=LAST - 1)) == [LAST, 1, 2]
    assert script.asked == [1]


async def test_a_loss_stands_where_it_was() -> None:
    """Of 2 to 6 only 4 is kept: the gaps are before 4, and between it and 7."""
    script = Script(data(1), data(7), kept=[4])
    found = await arrived(script)
    assert said(found) == [1, 4, 7]
    assert lost(found) == {4: 2, 7: 2}
    assert not any(each.again for each in found), "it is in its place: nothing newer was handed on before"


async def test_everything_that_came_is_acknowledged_once() -> None:
    script = Script(data(1), data(3), data(4), *(alive(5) for _ in range(4)), kept=[2])
    await arrived(script)
    assert sorted(script.seen) == [1, 2, 3, 4]
