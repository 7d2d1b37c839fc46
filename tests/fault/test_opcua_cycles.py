"""Random faults between gateway and OPC UA server, again and again, with a ledger of what the server has had.

Afterwards: the client is connected again within a bound; no number is wrong, and none comes with two times; what is
missing is declared as a gap; the server has one session of ours, and none when it is closed.

FAULT_SEED takes a seed that a failure has printed, FAULT_CYCLES how many cycles there are in all (100 for the long form).
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from adapters.opcua.missed import Missed
from adapters.opcua.session import Session
from fault.opcua_ledger import Account, Client, Numbers, account, stretches
from gateway.model import Batch, Gap, Header, MachinePath, Signal
from parts.asyncua_server import AsyncuaServer
from parts.cnc import Cnc
from parts.node_opcua import NodeOpcua
from parts.open62541 import Open62541
from parts.process import wait_until
from parts.proxy import Proxy

CYCLES = int(os.environ.get("FAULT_CYCLES", "27"))  # of all servers together
SEED = int(os.environ.get("FAULT_SEED", "0")) or random.randrange(1, 1_000_000)
SETTLED = 30  # numbers after which whatever was on its way has arrived
BOUND = 20.0  # seconds until new numbers arrive after the last trouble
PEERS: dict[str, type[Cnc]] = {"node-opcua": NodeOpcua, "asyncua": AsyncuaServer, "open62541": Open62541}

Fault = Callable[["Stage"], Awaitable[None]]


class Stage:
    """Server, line and dice."""

    def __init__(self, server: Cnc, proxy: Proxy, dice: random.Random) -> None:
        self.server, self.proxy, self.dice = server, proxy, dice

    async def a_while(self, least: float, most: float) -> None:
        await asyncio.sleep(self.dice.uniform(least, most))  # this is what is tested: any moment


# --- what can go wrong ------------------------------------------------------------------------------------------------


async def closed(on: Stage) -> None:
    on.proxy.cut()


async def reset(on: Stage) -> None:
    on.proxy.reset()


async def unreachable(on: Stage) -> None:
    on.proxy.refuse()
    on.proxy.cut()
    await on.a_while(0.5, 3)
    on.proxy.resume()


async def half_open(on: Stage) -> None:
    on.proxy.freeze()
    await on.a_while(0.5, 9)
    if on.dice.random() < 0.5:
        on.proxy.cut()
    on.proxy.resume()


async def delayed(on: Stage) -> None:
    on.proxy.delay = on.dice.uniform(0.05, 0.4)
    await on.a_while(1, 2)
    on.proxy.delay = 0.0


async def trickling(on: Stage) -> None:
    on.proxy.trickle = on.dice.randrange(1, 60)
    await on.a_while(0.5, 2)
    on.proxy.trickle = 0


async def truncated(on: Stage) -> None:
    keep = on.dice.random()
    on.proxy.spoil(lambda data: data[: int(len(data) * keep)], on.dice.choice(("client", "target")), cut=True)
    await on.a_while(0.5, 1)


async def swallowed(on: Stage) -> None:
    """A piece is gone, and the line goes on as if nothing had happened."""
    on.proxy.spoil(lambda data: b"", on.dice.choice(("client", "target")))
    await on.a_while(0.5, 1)


async def garbage(on: Stage) -> None:
    """Bytes that are no message, instead of one."""
    on.proxy.spoil(lambda data: b"\xff" + on.dice.randbytes(len(data) + 7), on.dice.choice(("client", "target")))
    await on.a_while(0.5, 1)


async def killed(on: Stage) -> None:
    on.server.kill()
    await on.a_while(0, 1)
    await asyncio.to_thread(on.server.start)


async def moved(on: Stage) -> None:
    """Killed, and back with other namespaces before ours."""
    on.server.namespaces = [f"urn:shop:robot:{n}" for n in range(on.dice.randrange(4))]
    await killed(on)


async def hung(on: Stage) -> None:
    os.kill(on.server.pid, signal.SIGSTOP)
    await on.a_while(0.5, 8)
    os.kill(on.server.pid, signal.SIGCONT)


async def sessions_killed(on: Stage) -> None:
    await asyncio.to_thread(on.server.kill_sessions)


async def subscriptions_deleted(on: Stage) -> None:
    await asyncio.to_thread(on.server.ask, "delete_subscriptions")


async def one_subscription_deleted(on: Stage) -> None:
    await asyncio.to_thread(on.server.ask, "delete_subscription")


async def sockets_closed(on: Stage) -> None:
    await asyncio.to_thread(on.server.ask, "close_sockets")


FAULTS: list[Fault] = [
    closed, reset, unreachable, half_open, delayed, trickling, truncated, swallowed, garbage, killed, moved, hung,
    sessions_killed,
]  # fmt: skip
MORE: dict[str, list[Fault]] = {
    "node-opcua": [subscriptions_deleted, one_subscription_deleted, sockets_closed],
    "asyncua": [subscriptions_deleted],
    "open62541": [],
}


# --- the cycles -------------------------------------------------------------------------------------------------------


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "peer", ["node-opcua", "asyncua", pytest.param("open62541", marks=pytest.mark.open62541)], ids=str
)
async def test_after_random_faults_nothing_is_missing_that_is_not_declared(peer: str) -> None:
    order = _order(FAULTS + MORE[peer], CYCLES // len(PEERS), random.Random(f"{SEED} {peer}"))
    accounts, numbers, story = await _through(peer, order)
    for name, found in accounts.items():
        assert found.clean, "\n".join([*story, *_what(found, numbers[name])])


async def test_control_a_gap_that_nobody_declares_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same, with the declaration switched off."""
    monkeypatch.setattr(Missed, "outage", lambda *_, **__: [])
    accounts, _, _ = await _through("asyncua", [subscriptions_deleted])
    assert all(found.undeclared and not found.wrong for found in accounts.values())


async def test_control_a_session_that_is_always_begun_anew_loses_what_was_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cut line costs nothing because the session is taken over; without that it does."""
    monkeypatch.setattr(Session, "resumable", False)
    monkeypatch.setattr(Session, "inherit", _never)
    accounts, _, _ = await _through("asyncua", [unreachable], tidy=False)
    assert all(found.missing and found.clean for found in accounts.values())


async def _never(*_: object) -> None:
    return None


LINE: list[Fault] = [closed, reset, unreachable, half_open, delayed, trickling, truncated, swallowed, garbage, hung]


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "peer", ["node-opcua", "asyncua", pytest.param("open62541", marks=pytest.mark.open62541)], ids=str
)
async def test_a_line_that_fails_costs_nothing_the_server_could_keep(peer: str) -> None:
    """Whatever the line does: the server has the session, its subscriptions and what it has queued."""
    accounts, numbers, story = await _through(peer, LINE)
    for name, found in accounts.items():
        lost = f"missing: {stretches(found.missing)}"
        assert (found.missing, found.wrong) == ([], []), "\n".join([*story, lost, *_what(found, numbers[name])])
        assert numbers[name].gaps == [], "\n".join([*story, *_what(found, numbers[name])])


async def _through(
    peer: str, faults: list[Fault], tidy: bool = True
) -> tuple[dict[str, Account], dict[str, Numbers], list[str]]:
    """One fault after the other; what became of the numbers, and the story. `tidy`: one session in the end, then none."""
    dice = random.Random(f"{SEED} {peer} {len(faults)}")
    story = [f"FAULT_SEED={SEED} {peer}: {', '.join(fault.__name__ for fault in faults)}"]
    print(story[0])
    with PEERS[peer](count_ms=50, sampling_ms=10, tick_ms=0) as server, Proxy(server.port) as proxy:
        client = Client(server.url.replace(str(server.port), str(proxy.port)))
        running = asyncio.create_task(client.run())
        try:
            await _reaches(client, running, 10, "the first numbers")
            for fault in faults:
                losses, start = len(client.losses), time.monotonic()
                await fault(Stage(server, proxy, dice))
                took = time.monotonic() - start
                await _reaches(client, running, max(server.counted()) + 5, f"new numbers after '{fault.__name__}'")
                story.append(f"{fault.__name__} {took:.1f} s, back after {time.monotonic() - start - took:.1f} s: ")
                story[-1] += "; ".join(client.losses[losses:][:3])
            last = client.newest()  # what is newer may still be on its way
            await _reaches(client, running, last + SETTLED, "the numbers after that")
            if tidy:
                await asyncio.to_thread(wait_until, lambda: server.sessions() <= 1, 10, "one session")
            ledger = {number: t for number, t in server.counted().items() if number <= last}
            found = {name: account(ledger, numbers, until=last) for name, numbers in client.numbers.items()}
        except BaseException as error:
            error.add_note("\n".join([*story, "losses:", *client.losses[-10:]]))
            raise
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await client.adapter.close()
        if tidy:
            await asyncio.to_thread(wait_until, lambda: server.sessions() == 0, 5, "no session")
    for name, numbers in client.numbers.items():
        print(
            f"{peer} {name}: {len(numbers.seen)} numbers, {numbers.twice} twice, {len(found[name].missing)} missing, "
            f"{len(numbers.gaps)} gaps, {found[name].overdeclared} declared and brought, {client.connects} connects"
        )
    return found, client.numbers, story


def _order(faults: list[Fault], cycles: int, dice: random.Random) -> list[Fault]:
    """Each kind once before any comes twice."""
    order: list[Fault] = []
    while len(order) < cycles:
        order += dice.sample(faults, len(faults))
    return order[:cycles]


async def _reaches(client: Client, running: asyncio.Task[None], number: int, what: str) -> None:
    deadline = time.monotonic() + BOUND
    while client.newest() < number:
        if running.done():
            running.result()
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {BOUND:g} s; the newest is {client.newest()} of {number}")
        await asyncio.sleep(0.02)


def _what(found: Account, numbers: Numbers) -> list[str]:
    lines = [f"missing: {stretches(found.missing)}", f"not declared: {stretches(found.undeclared)}"]
    lines += [f"gap: {gap.start} to {gap.end}, {gap.count}: {gap.cause}" for gap in numbers.gaps]
    return lines + [f"wrong: {count} x {what}" for what, count in Counter(found.wrong).items()][:20]


# --- the account itself -----------------------------------------------------------------------------------------------

HEADER = Header(MachinePath("a"), (Signal("count", "int"),))
MS = 1_000_000


def brought(*readings: tuple[int, Any], gaps: list[Gap] | None = None) -> Numbers:
    numbers = Numbers(gaps=gaps or [])
    for time_ms, value in readings:
        numbers.take(Batch(HEADER, [0], [time_ms * MS], [value], None))
    return numbers


def test_the_account_notices_what_is_missing_declared_or_wrong() -> None:
    ledger = {n: n * 100 * MS for n in range(1, 8)}
    assert account(ledger, brought((200, 2), (300, 3), (300, 3), (400, 4))) == Account([], [], [], 0)
    assert account(ledger, brought((200, 2), (500, 5), (600, 6))) == Account([], [], [], 0)
    assert account(ledger, brought((100, 1), (200, 2), (500, 5))).undeclared == [3, 4]
    gap = Gap(HEADER, [], 200 * MS, 500 * MS, 0, "cut")
    assert account(ledger, brought((100, 1), (200, 2), (500, 5), gaps=[gap])) == Account([3, 4], [], [], 0)
    assert account(ledger, brought((100, 1), (200, 2), (500, 5), gaps=[gap]), gaps=()).undeclared == [3, 4]
    short = Gap(HEADER, [], 200 * MS, 300 * MS, 0, "cut")
    assert account(ledger, brought((100, 1), (200, 2), (500, 5), gaps=[short])).undeclared == [4]
    assert account(ledger, brought((200, 2), (300, 3), (400, 4), gaps=[gap])).overdeclared == 2
    assert account(ledger, brought((200, 2), (300, 9))).wrong == ["9: the server has never had it"]
    assert account(ledger, brought((200, 2), (300, 2))).wrong == ["2 at 200000000 and at 300000000"]
    assert account(ledger, brought((250, 2))).wrong == ["2: at 250000000 instead of 200000000"]
    assert stretches([7, 1, 2, 3]) == "1–3, 7"
