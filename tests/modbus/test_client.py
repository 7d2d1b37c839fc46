"""The link: whatever the other side does, never a wrong value. Each fault is shown to fool pymodbus alone, where it does."""

from __future__ import annotations

import asyncio
import logging
import socket
import struct

import pytest
from pymodbus.client import AsyncModbusTcpClient

from adapters.modbus.connections import ModbusTcp
from adapters.modbus.link import Link
from adapters.modbus.link import Request as Ask
from adapters.modbus.links import link_of
from adapters.modbus.signals import Table
from gateway.errors import NotConnectedError
from modbus.hostile import WRONG, Request, Server
from parts.jsmodbus import Jsmodbus
from parts.libmodbus import Libmodbus
from parts.mbpoll import mbpoll
from parts.ports import free_port
from parts.proxy import Proxy

TIMEOUT = 0.3
SETTINGS: dict[str, int] = {}
TRUE = struct.pack(">2H", 10, 11)  # what holding 10 and 11 hold


class TroubleError(Exception):
    """An answer with trouble, for `pytest.raises`."""


class SilentError(TroubleError):
    """Nothing came."""


@pytest.fixture(params=["pymodbus", "pipelined"], autouse=True)
def links(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test is run with both clients."""
    monkeypatch.setitem(SETTINGS, "max_in_flight", 4 if request.param == "pipelined" else 1)


def link(port: int, timeout: float = TIMEOUT, host: str = "127.0.0.1") -> Link:
    settings = {"protocol": "modbus-tcp", "host": host, "port": port, "timeout": f"{timeout}s", **SETTINGS}
    return link_of(ModbusTcp.model_validate(settings))


async def connected(port: int, timeout: float = TIMEOUT) -> Link:
    client = link(port, timeout)
    await client.open()
    return client


async def read(client: Link, unit: int, table: Table, address: int, size: int) -> bytes | int:
    """The data of one answer, or its exception code."""
    [answer] = await client.exchange([Ask(unit, table, address, size)])
    if answer.trouble:
        raise (SilentError if answer.silent else TroubleError)(answer.trouble)
    assert answer.time
    return answer.code if answer.data is None else answer.data


async def plain(port: int) -> list[int]:
    """What pymodbus alone makes of the answer to the same question; empty where it sees the mistake."""
    async with AsyncModbusTcpClient("127.0.0.1", port=port, timeout=TIMEOUT, retries=0, reconnect_delay=0) as client:
        try:
            answer = await client.read_holding_registers(10, count=2, device_id=7)
        except Exception:
            return []
        return [] if answer.isError() else list(answer.registers)


# --- right answers ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("table", "function"), [("coil", 1), ("discrete", 2), ("holding", 3), ("input", 4)])
async def test_reads_each_table(server: Server, table: str, function: int) -> None:
    client = await connected(server.port)
    data = await read(client, 7, table, 10, 2)
    assert data == (TRUE if function > 2 else b"\xff")
    assert server.requests == [Request(1, 7, function, 10, 2)]
    client.close()


@pytest.mark.parametrize("unit", [0, 1, 255])
async def test_reads_125_registers_and_2000_bits_of_any_unit(server: Server, unit: int) -> None:
    client = await connected(server.port)
    assert await read(client, unit, "input", 0, 125) == struct.pack(">125H", *range(125))
    assert await read(client, unit, "coil", 0, 2000) == b"\xff" * 250
    assert await read(client, unit, "holding", 65535, 1) == b"\xff\xff"
    client.close()


@pytest.mark.parametrize("code", [1, 2, 3, 4, 6, 10, 11, 99])
async def test_a_refusal_is_an_exception_code(server: Server, code: int) -> None:
    server.answer = lambda request: request.refusal(code)
    client = await connected(server.port)
    assert await read(client, 7, "holding", 10, 2) == code
    server.answer = Request.answer
    assert await read(client, 7, "holding", 10, 2) == TRUE
    assert server.connections == 1
    client.close()


async def test_an_answer_may_come_byte_by_byte(server: Server) -> None:
    async def drop_by_drop(request: Request) -> bytes:
        frame = request.answer()
        for byte in frame[:-1]:
            server.writers[-1].write(bytes([byte]))
            await server.writers[-1].drain()
            await asyncio.sleep(0.001)
        return frame[-1:]

    server.answer = drop_by_drop
    client = await connected(server.port, 5)
    assert await read(client, 7, "holding", 10, 2) == TRUE
    client.close()


# --- wrong answers ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", WRONG)
async def test_a_wrong_answer_is_never_a_value(server: Server, fault: str, caplog: pytest.LogCaptureFixture) -> None:
    send, complaint, _ = WRONG[fault]
    server.answer = send
    client = await connected(server.port)
    with pytest.raises(TroubleError, match=complaint) as caught:
        await read(client, 7, "holding", 10, 2)
    assert str(caught.value).startswith(f"127.0.0.1:{server.port}: unit 7: ")
    assert not isinstance(caught.value, SilentError)
    assert not client.connected
    assert not caplog.records
    server.answer = Request.answer
    await client.open()
    assert await read(client, 7, "holding", 10, 2) == TRUE
    client.close()


@pytest.mark.parametrize("fault", [fault for fault, (_, _, fools) in WRONG.items() if fools])
async def test_pymodbus_alone_takes_it_for_good(server: Server, fault: str) -> None:
    server.answer = WRONG[fault][0]
    assert await plain(server.port)


async def test_a_late_answer_with_the_newest_id_is_never_a_value(server: Server) -> None:
    """A bridge that is one answer behind, and stamps each with the id of the newest request."""
    last: dict[int, Request] = {}  # per connection

    def late(request: Request) -> bytes | None:
        before = last.get(server.connections)
        last[server.connections] = request
        return request.answer(struct.pack(">H", before.address)) if before else None

    server.answer = late
    async with AsyncModbusTcpClient("127.0.0.1", port=server.port, timeout=TIMEOUT, retries=0) as alone:
        with pytest.raises(Exception, match="No response"):
            await alone.read_holding_registers(100, count=1, device_id=7)
        assert (await alone.read_holding_registers(200, count=1, device_id=7)).registers == [100]  # of another register

    client = link(server.port)
    for address in (100, 200, 300):
        await client.open()
        with pytest.raises(SilentError, match=r"unit 7 does not answer within 0\.3 s"):
            await read(client, 7, "holding", address, 1)
        assert not client.connected
    client.close()


async def test_an_answer_after_the_timeout_finds_nobody(server: Server) -> None:
    gate = asyncio.Event()

    async def slow(request: Request) -> bytes:
        await gate.wait()
        return request.answer(b"\xde\xad\xbe\xef")

    server.answer = slow
    client = await connected(server.port)
    with pytest.raises(SilentError):
        await read(client, 7, "holding", 10, 2)
    server.answer = Request.answer
    gate.set()
    await client.open()
    assert await read(client, 7, "holding", 10, 2) == TRUE
    client.close()


async def test_what_comes_unasked_closes_the_link(server: Server) -> None:
    client = await connected(server.port)
    assert await read(client, 7, "holding", 10, 2) == TRUE
    server.writers[0].write(Request(2, 7, 3, 10, 2).answer(b"\xde\xad\xbe\xef"))
    async with asyncio.timeout(5):
        while client.connected:
            await asyncio.sleep(0.001)
    with pytest.raises(TroubleError):
        await read(client, 7, "holding", 10, 2)
    client.close()


# --- connections that break ------------------------------------------------------------------------------------------


async def test_a_closed_connection_is_noticed_at_once(server: Server) -> None:
    server.answer = lambda request: b""
    client = await connected(server.port, timeout=30)
    async with asyncio.timeout(5):
        with pytest.raises(TroubleError, match="closed the connection"):
            await read(client, 7, "holding", 10, 2)
    client.close()


async def test_half_a_frame_and_then_nothing_is_silence(server: Server) -> None:
    server.answer = lambda request: request.answer()[:-1]
    client = await connected(server.port)
    with pytest.raises(SilentError):
        await read(client, 7, "holding", 10, 2)
    assert not client.connected


async def test_a_byte_now_and_then_is_no_answer(server: Server) -> None:
    async def drip(request: Request) -> bytes | None:
        for byte in request.answer()[:-1]:
            server.writers[-1].write(bytes([byte]))
            await asyncio.sleep(0.6 * TIMEOUT)
        return None

    server.answer = drip
    client = await connected(server.port)
    async with asyncio.timeout(3 * TIMEOUT):
        with pytest.raises(SilentError, match="answers by half"):
            await read(client, 7, "holding", 10, 2)
    client.close()


async def test_a_frozen_line_costs_one_timeout() -> None:
    with Libmodbus({(1, "holding", 0): [5]}) as peer, Proxy(peer.port) as proxy:
        client = await connected(proxy.port)
        assert await read(client, 1, "holding", 0, 1) == b"\0\5"
        proxy.freeze()
        with pytest.raises(SilentError):
            await read(client, 1, "holding", 0, 1)
        assert not client.connected
        proxy.resume()
        await client.open()
        assert await read(client, 1, "holding", 0, 1) == b"\0\5"
        client.close()


async def test_says_why_it_cannot_connect() -> None:
    port = free_port()
    with pytest.raises(NotConnectedError, match=f"127.0.0.1:{port}: it refuses the connection; check the port"):
        await connected(port)
    with pytest.raises(NotConnectedError, match=r"nowhere.invalid:502: .*; check the address"):
        await link(502, 5, "nowhere.invalid").open()


async def test_a_server_that_does_not_take_the_connection_is_a_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as deaf:
        filling = [socket.socket() for _ in range(2)]  # nobody accepts, and these take the places in the queue
        for each in filling:
            each.setblocking(False)
            each.connect_ex(deaf.getsockname())
        with pytest.raises(NotConnectedError, match=r"no connection within 0.3 s; check"):
            await connected(deaf.getsockname()[1])
        for each in filling:
            each.close()


async def test_close_is_safe_at_any_time(server: Server) -> None:
    client = link(server.port)
    client.close()
    await client.open()
    client.close()
    client.close()
    with pytest.raises(TroubleError, match="not connected"):
        await read(client, 1, "holding", 0, 1)
    async with asyncio.timeout(5):
        while server.writers and not server.writers[0].is_closing():
            await asyncio.sleep(0.001)


async def test_pymodbus_stays_silent(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    server.answer = lambda request: None
    client = await connected(server.port)
    with pytest.raises(SilentError):
        await read(client, 1, "holding", 0, 1)
    assert not caplog.records


# --- real peers ------------------------------------------------------------------------------------------------------


async def test_reads_from_libmodbus_what_mbpoll_reads() -> None:
    image = {(1, "holding", 0): [1, 2, 65535], (1, "input", 5): [7], (1, "coil", 0): [1, 0, 1], (1, "discrete", 9): [1]}
    with Libmodbus(image) as peer:
        client = await connected(peer.port, 5)
        assert await read(client, 1, "holding", 0, 3) == bytes.fromhex("00010002ffff")
        assert mbpoll(peer.port, "holding", 0, 3) == {0: 1, 1: 2, 2: 65535}
        assert await read(client, 1, "input", 5, 1) == b"\0\7"
        assert await read(client, 1, "coil", 0, 3) == b"\5"
        assert await read(client, 1, "discrete", 9, 1) == b"\1"
        assert await read(client, 1, "holding", 2, 2) == 2
        assert await read(client, 9, "holding", 0, 1) == 11
        client.close()


async def test_a_short_answer_of_jsmodbus_is_caught() -> None:
    with Jsmodbus({"holding": [1, 2, 3]}) as peer:
        client = await connected(peer.port, 5)
        assert await read(client, 1, "holding", 1, 2) == bytes.fromhex("00020003")
        with pytest.raises(TroubleError, match="byte count 2 instead of 4"):
            await read(client, 1, "holding", 2, 2)
        async with AsyncModbusTcpClient("127.0.0.1", port=peer.port) as alone:
            assert (await alone.read_holding_registers(2, count=2)).registers == [3]
        client.close()
