"""What breaks between gateway and server, and how the data comes back: node-opcua behind a line that can be cut."""

import asyncio
from dataclasses import replace

import pytest

from adapters.opcua import nodes, session
from gateway.model import Signal
from opcua.helpers import Reader
from parts.node_opcua import NodeOpcua
from parts.process import wait_until
from parts.proxy import Proxy

SPEED = {"speed": "m:s=CNC1.SpindleSpeed"}


def through(proxy: Proxy, cnc: NodeOpcua) -> str:
    return cnc.url.replace(str(cnc.port), str(proxy.port))


def known(it: Reader) -> list[Signal]:
    """What is known of the signals, learnt or only guessed."""
    return [replace(signal, guessed=False) for signal in it.adapter.headers[0].signals]


async def test_after_a_restart_the_right_node_is_read_although_its_index_has_moved() -> None:
    with NodeOpcua(tick_ms=20) as server:
        async with Reader(server.url, {**SPEED, "fixed": "ns=2;s=CNC1.SpindleSpeed"}) as it:
            await it.until(lambda: len(it.got["speed"]) > 3)
            assert set(it.values("fixed")) <= set(it.values("speed")), "index 2 is ours, for now"
            before = known(it)
            server.kill()
            assert "cnc 127.0.0.1" in await it.lost()
            server.namespaces = ["urn:shop:robot"]
            await asyncio.to_thread(server.start)
            await it.reconnect()
            for column in it.got.values():
                column.clear()
            await it.until(lambda: len(it.got["speed"]) > 3)
            assert -1 not in it.values("speed")
            assert it.values("fixed") == [-1], "without the URI another machine is read, with status good"
            assert known(it) == before
            assert (server.sessions(), server.subscriptions()) == (1, 1)
        assert server.sessions() == 0


async def test_an_index_that_is_kept_reads_another_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: with the protection switched off the false value arrives."""
    with NodeOpcua(tick_ms=20) as server:
        async with Reader(server.url, SPEED) as it:
            await it.until(lambda: len(it.got["speed"]) > 3)
            monkeypatch.setattr(nodes, "resolve", lambda address, _: nodes.NodeId(2, address.kind, address.identifier))
            server.kill()
            await it.lost()
            server.namespaces = ["urn:shop:robot"]
            await asyncio.to_thread(server.start)
            await it.reconnect()
            await it.until(lambda: -1 in it.values("speed"))


async def test_a_line_that_is_cut(cnc: NodeOpcua) -> None:
    with Proxy(cnc.port) as proxy:
        async with Reader(through(proxy, cnc), SPEED) as it:
            await it.read()
            for n in range(3):
                proxy.cut()
                cnc.set("s=CNC1.SpindleSpeed", 1000 + n)  # while nobody listens
                assert "connection" in await it.lost()
                await it.reconnect()
                await it.until(lambda n=n: it.last("speed")[1] == 1000 + n)
                assert (cnc.sessions(), cnc.subscriptions()) == (1, 1), "the session of the broken line was closed"
    assert cnc.sessions() == 0


async def test_a_line_that_is_dead_but_not_closed(cnc: NodeOpcua, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "KEEP_ALIVE", 0.4)
    with Proxy(cnc.port) as proxy:
        async with Reader(through(proxy, cnc), SPEED) as it:
            await it.read()
            proxy.freeze()
            assert "no sign of life" in await it.lost()
            proxy.cut()
            proxy.resume()
            await it.reconnect()
            cnc.set("s=CNC1.SpindleSpeed", 77)
            await it.until(lambda: it.last("speed")[1] == 77.0)
            wait_until(lambda: cnc.sessions() == 1)
    assert cnc.sessions() == 0


async def test_a_session_that_is_not_taken_over_stays(cnc: NodeOpcua, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: without that the sessions pile up."""
    with Proxy(cnc.port) as proxy:
        async with Reader(through(proxy, cnc), SPEED) as it:
            left = it.adapter._session
            assert left
            monkeypatch.setattr(session.Session, "resumable", False)
            proxy.cut()
            await it.lost()
            await it.reconnect()
            assert cnc.sessions() == 2
            await left.bury()
            assert cnc.sessions() == 1


async def test_a_subscription_that_the_server_deletes(cnc: NodeOpcua) -> None:
    async with Reader(cnc.url, SPEED) as it:
        await it.read()
        cnc.delete_subscriptions()
        assert "cnc 127.0.0.1" in await it.lost()
        await it.reconnect()
        cnc.set("s=CNC1.SpindleSpeed", 5)
        await it.until(lambda: it.last("speed")[1] == 5.0)
        assert (cnc.sessions(), cnc.subscriptions()) == (1, 1)


async def test_a_session_that_the_server_closes(cnc: NodeOpcua) -> None:
    async with Reader(cnc.url, SPEED) as it:
        await it.read()
        cnc.kill_sessions()
        assert "the server has closed the session" in await it.lost()
        await it.reconnect()
        await it.until(lambda: it.returns > 1)
        assert cnc.sessions() == 1


async def test_a_pause_of_ours_is_not_a_silence_of_the_server(cnc: NodeOpcua, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "KEEP_ALIVE", 0.3)
    async with Reader(cnc.url, SPEED) as it:
        await it.read()
        await asyncio.sleep(1.3)  # longer than its patience
        cnc.set("s=CNC1.SpindleSpeed", 6)
        await it.until(lambda: it.last("speed")[1] == 6.0)
