"""The link on every transport, against servers of other makes; and what is said when a transport is not what it should be."""

from __future__ import annotations

import asyncio
import os
import ssl
import struct
import tempfile
import time
import tty
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import serial
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from adapters import modbus
from adapters.modbus.adapter import ModbusAdapter
from adapters.modbus.config import ModbusMachine
from adapters.modbus.connections import (
    ModbusAscii,
    ModbusConnection,
    ModbusRtu,
    ModbusRtuOverTcp,
    ModbusTcp,
    ModbusTls,
    ModbusUdp,
)
from adapters.modbus.link import Answer, Link, Request
from adapters.modbus.links import link_of
from gateway.adapter import Context
from gateway.clock import SystemClock
from gateway.counters import FlowCounters
from gateway.errors import NotConnectedError
from gateway.model import MachinePath
from gateway.schedule import Backoff
from modbus.hostile import Request as Asked
from modbus.hostile import RtuServer, Server
from modbus.standard import framed
from modbus.test_explore import shown
from parts.libmodbus import Libmodbus
from parts.modbus_serial import ModbusSerial
from parts.ports import free_port
from parts.serial_pair import SerialPair
from parts.tls import Authority
from simulators.ledger import Ledger
from simulators.modbus import ModbusServer
from simulators.modbus.framing import ASCII, MBAP, RTU
from simulators.modbus.server import Transport
from simulators.modbus.transports import SerialTransport, TcpTransport, UdpTransport

IMAGE = {
    (7, "coil", 0): [1, 0, 1, 1, 0, 0, 0, 0, 0, 1],
    (7, "discrete", 3): [0, 1, 1],
    (7, "holding", 10): list(range(1000, 1120)),
    (7, "input", 0): [65535, 1],
}
QUESTIONS: list[tuple[Request, bytes | int]] = [
    (Request(7, "coil", 0, 10), b"\x0d\x02"),
    (Request(7, "discrete", 3, 3), b"\x06"),
    (Request(7, "holding", 10, 2), struct.pack(">2H", 1000, 1001)),
    (Request(7, "holding", 10, 120), struct.pack(">120H", *range(1000, 1120))),
    (Request(7, "input", 0, 2), b"\xff\xff\0\1"),
    (Request(7, "input", 40, 1), 2),
    (Request(7, "holding", 12, 2), struct.pack(">2H", 1002, 1003)),
]


class Unit:
    """The image, as a unit of the simulated server."""

    def __init__(self) -> None:
        functions = {"coil": 1, "discrete": 2, "holding": 3, "input": 4}
        self.cells = {
            (functions[table], at): value
            for (_, table, first), values in IMAGE.items()
            for at, value in enumerate(values, first)
        }

    def read(self, function: int, address: int, count: int, t: float) -> tuple[bytes, list[Any]] | None:
        cells = [self.cells.get((function, at)) for at in range(address, address + count)]
        if any(cell is None for cell in cells):
            return None
        if function > 2:
            return struct.pack(f">{count}H", *cells), []
        bits = sum(bool(cell) << i for i, cell in enumerate(cells))
        return bits.to_bytes((count + 7) // 8, "little"), []


@asynccontextmanager
async def simulated(transport: Transport) -> AsyncIterator[ModbusServer]:
    server = ModbusServer({7: Unit()}, Ledger(), SystemClock(), 0, transport)
    await server.listen()
    try:
        yield server
    finally:
        await server.stop()


async def told(link: Link, *requests: Request) -> list[bytes | int]:
    """The data or the exception code of each answer."""
    answers = await link.exchange(requests)
    assert not [answer.trouble for answer in answers if answer.trouble]
    return [answer.code if answer.data is None else answer.data for answer in answers]


async def trouble(link: Link, request: Request = QUESTIONS[2][0]) -> Answer:
    [answer] = await link.exchange([request])
    assert answer.trouble
    assert not link.connected
    return answer


async def holds_the_image(settings: ModbusConnection, folder: Path = Path()) -> None:
    link = link_of(settings, folder)
    await link.open()
    try:
        for _ in range(2):
            assert await told(link, *(request for request, _ in QUESTIONS)) == [answer for _, answer in QUESTIONS]
        assert link.connected
        assert not link.faults
    finally:
        link.close()


def rtu(port: str, **keys: Any) -> ModbusRtu:
    return ModbusRtu.model_validate({"protocol": "modbus-rtu", "port": port, "parity": "none", "timeout": "1s", **keys})


def rtu_over_tcp(port: int, **keys: Any) -> ModbusRtuOverTcp:
    return ModbusRtuOverTcp.model_validate(
        {"protocol": "modbus-rtu-over-tcp", "host": "127.0.0.1", "port": port, "timeout": "1s", **keys}
    )


# --- servers of other makes -------------------------------------------------------------------------------------------


async def test_a_serial_line_to_libmodbus() -> None:
    with Libmodbus(IMAGE, rtu=True) as peer, SerialPair(tcp=peer.port) as pair:
        await holds_the_image(rtu(pair.a))


async def test_a_serial_line_to_modbus_serial() -> None:
    with SerialPair() as pair, ModbusSerial(IMAGE, pair.b):
        link = link_of(rtu(pair.a))
        await link.open()
        for request, expected in QUESTIONS:
            if request.size < 120:
                assert await told(link, request) == [expected]
        link.close()


async def test_rtu_over_tcp_to_libmodbus() -> None:
    with Libmodbus(IMAGE, rtu=True) as peer:
        await holds_the_image(rtu_over_tcp(peer.port))


SIMULATED: dict[str, tuple[Callable[[], Transport], type[ModbusConnection], dict[str, Any]]] = {
    "modbus-rtu": (lambda: SerialTransport(RTU), ModbusRtu, {"parity": "none"}),
    "modbus-ascii": (lambda: SerialTransport(ASCII), ModbusAscii, {"parity": "none", "data_bits": 8}),
    "modbus-ascii over tcp": (lambda: TcpTransport("127.0.0.1", 0, ASCII), ModbusAscii, {}),
    "modbus-rtu-over-tcp": (lambda: TcpTransport("127.0.0.1", 0, RTU), ModbusRtuOverTcp, {}),
    "modbus-udp": (lambda: UdpTransport("127.0.0.1", 0), ModbusUdp, {}),
    "modbus-tcp": (lambda: TcpTransport("127.0.0.1", 0), ModbusTcp, {}),
    "modbus-tcp four at a time": (lambda: TcpTransport("127.0.0.1", 0), ModbusTcp, {"max_in_flight": 4}),
}


def connection(kind: str, server: ModbusServer, **keys: Any) -> ModbusConnection:
    _, model, more = SIMULATED[kind]
    address = {k: v for k, v in server.address.items() if k in ("host", "port") and v is not None}
    return model.model_validate({"protocol": kind.split()[0], **address, "timeout": "1s", **more, **keys})


each_transport = pytest.mark.parametrize("kind", SIMULATED)


@each_transport
async def test_each_transport_to_the_simulator(kind: str) -> None:
    async with simulated(SIMULATED[kind][0]()) as server:
        await holds_the_image(connection(kind, server))


@each_transport
async def test_silence_is_silence_on_each_transport(kind: str) -> None:
    """And the link can be opened and used again, with what was late dropped."""
    async with simulated(SIMULATED[kind][0]()) as server:
        link = link_of(connection(kind, server, timeout="60ms"))
        await link.open()
        server.faults.silent.add(7)
        begin = time.monotonic()
        answer = await trouble(link)
        assert answer.silent
        assert 0.05 < time.monotonic() - begin < 0.3
        assert "does not answer within 0.06 s" in answer.trouble
        server.faults.silent.clear()
        await link.open()
        assert await told(link, QUESTIONS[2][0]) == [QUESTIONS[2][1]]
        link.close()


@each_transport
async def test_opened_and_closed_over_and_over(kind: str) -> None:
    async with simulated(SIMULATED[kind][0]()) as server:
        link = link_of(connection(kind, server))
        before = len([*Path("/proc/self/fd").iterdir()])
        for _ in range(20):
            await link.open()
            assert await told(link, QUESTIONS[0][0]) == [QUESTIONS[0][1]]
            link.close()
            assert not link.connected
        for _ in range(3):
            await asyncio.sleep(0)
        assert len([*Path("/proc/self/fd").iterdir()]) <= before + 2  # the server's own ends go in their own time
        assert not await link.exchange([])
        [answer] = await link.exchange([QUESTIONS[0][0]])
        assert answer.trouble.endswith(": not connected")


# --- serial ports -----------------------------------------------------------------------------------------------------


async def test_a_port_that_does_not_exist(tmp_path: Path) -> None:
    link = link_of(rtu(str(tmp_path / "ttyUSB7")))
    with pytest.raises(NotConnectedError, match=r"ttyUSB7: there is no such port; is the converter plugged in\?"):
        await link.open()
    assert not link.connected
    link.close()


async def test_a_port_that_is_no_port(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    link = link_of(rtu(str(tmp_path / "file")))
    with pytest.raises(NotConnectedError, match="check the converter"):
        await link.open()


async def test_a_port_that_another_program_uses() -> None:
    with Libmodbus(IMAGE, rtu=True) as peer, SerialPair(tcp=peer.port) as pair:
        link = link_of(rtu(pair.a))
        with serial.Serial(pair.a, exclusive=True):
            with pytest.raises(NotConnectedError, match="another program uses the port"):
                await link.open()
            assert not link.connected
        await link.open()
        assert await told(link, QUESTIONS[0][0]) == [QUESTIONS[0][1]]
        link.close()


@pytest.mark.parametrize("keys", [{"parity": "even"}, {"parity": "odd"}])
async def test_settings_that_the_port_does_not_know(keys: dict[str, Any]) -> None:
    """A pseudo terminal knows no parity. The port is free again after that."""
    with Libmodbus(IMAGE, rtu=True) as peer, SerialPair(tcp=peer.port) as pair:
        link = link_of(rtu(pair.a, **keys))
        for _ in range(2):
            with pytest.raises(NotConnectedError, match="does not know these settings; check `baud`, `parity`"):
                await link.open()
        with serial.Serial(pair.a, exclusive=True):
            pass


async def test_an_unplugged_converter_is_noticed_at_once_and_found_again(tmp_path: Path) -> None:
    path = tmp_path / "converter"
    with Libmodbus(IMAGE, rtu=True) as peer:
        with SerialPair(tcp=peer.port) as pair:
            path.symlink_to(pair.a)
            link = link_of(rtu(str(path), timeout="5s"))
            await link.open()
            assert await told(link, QUESTIONS[0][0]) == [QUESTIONS[0][1]]
            pair.kill()
            async with asyncio.timeout(2):
                while link.connected:
                    await asyncio.sleep(0.005)
            answer = await trouble(link)
            assert "the port is gone; was the converter unplugged?" in answer.trouble
            with pytest.raises(NotConnectedError, match="no such port"):
                await link.open()
        with SerialPair(tcp=peer.port) as pair:
            path.unlink()
            path.symlink_to(pair.a)
            await link.open()
            assert await told(link, QUESTIONS[0][0]) == [QUESTIONS[0][1]]
            link.close()


async def test_a_converter_unplugged_while_a_question_is_on_its_way() -> None:
    with SerialPair() as pair:  # nobody at the other end
        link = link_of(rtu(pair.a, timeout="20s"))
        await link.open()
        asking = asyncio.create_task(trouble(link))
        await asyncio.sleep(0.02)
        pair.kill()
        async with asyncio.timeout(3):
            answer = await asking
        assert "the port is gone" in answer.trouble
        assert not answer.silent


class Line:
    """The other end of a serial port: `answer` makes of each request (8 bytes) what is sent."""

    def __init__(self, answer: Callable[[bytes], bytes]) -> None:
        self.answer = answer
        self.requests: list[bytes] = []
        self._ours, self._theirs = os.openpty()
        tty.setraw(self._theirs)
        self.port = os.ttyname(self._theirs)
        self._data = b""

    def __enter__(self) -> Line:
        asyncio.get_running_loop().add_reader(self._ours, self._read)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.get_running_loop().remove_reader(self._ours)
        os.close(self._ours)
        os.close(self._theirs)

    def _read(self) -> None:
        self._data += os.read(self._ours, 256)
        while len(self._data) >= 8:
            request, self._data = self._data[:8], self._data[8:]
            self.requests.append(request)
            os.write(self._ours, self.answer(request))


RIGHT = framed("rtu", bytes.fromhex("07 03 04 03e8 03e9"))


def right(request: bytes) -> bytes:
    """Holding registers from 10 on hold 1000, 1001 …"""
    unit, function, address, count = struct.unpack(">BBHH", request[:6])
    data = struct.pack(f">{count}H", *range(address + 990, address + 990 + count))
    return framed("rtu", bytes((unit, function, len(data))) + data)


async def test_a_converter_that_sends_back_what_it_is_given() -> None:
    with Line(lambda request: request + right(request)) as line:
        link = link_of(rtu(line.port, quirks={"local_echo": True}))
        await link.open()
        for _ in range(3):
            assert await told(link, QUESTIONS[2][0]) == [QUESTIONS[2][1]]
        assert not link.faults
        link.close()
        plain = link_of(rtu(line.port))
        await plain.open()
        assert "local_echo" in (await trouble(plain)).trouble


async def test_an_echo_that_does_not_come_costs_nothing() -> None:
    with Line(right) as line:
        link = link_of(rtu(line.port, quirks={"local_echo": True}))
        await link.open()
        for _ in range(3):
            assert await told(link, QUESTIONS[2][0]) == [QUESTIONS[2][1]]
        link.close()


async def test_an_echo_alone_is_silence() -> None:
    with Line(lambda request: request) as line:
        link = link_of(rtu(line.port, quirks={"local_echo": True}, timeout="50ms"))
        await link.open()
        assert (await trouble(link)).silent
        line.answer = lambda request: request + right(request)
        await link.open()
        assert await told(link, QUESTIONS[2][0]) == [QUESTIONS[2][1]]
        link.close()


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        (b"\xff" * 3, "by half"),
        (bytes(9), "function code 0"),
        (RIGHT[:-1] + b"\0", "checksum of its answer is wrong; check cable, termination, speed and parity"),
        (framed("rtu", bytes.fromhex("08 03 04 03e8 03e9")), "unit id 8 instead of 7"),
        (framed("rtu", bytes.fromhex("07 04 04 03e8 03e9")), "function code 4 instead of 3"),
        (framed("rtu", bytes.fromhex("07 03 02 03e8")), "byte count 2 instead of 4"),
        (b"\0" + RIGHT, "function code 7|checksum"),
    ],
)
async def test_what_a_line_makes_of_an_answer_is_never_a_value(wrong: bytes, text: str) -> None:
    with Line(lambda request: wrong) as line:
        link = link_of(rtu(line.port, timeout="300ms"))
        await link.open()
        [answer] = await link.exchange([QUESTIONS[2][0]])
        assert answer.data is None
        assert [each for each in text.split("|") if each in answer.trouble]
        link.close()


# --- transaction ids that are not given back --------------------------------------------------------------------------


def tcp(port: int, **keys: Any) -> ModbusTcp:
    return ModbusTcp.model_validate(
        {"protocol": "modbus-tcp", "host": "127.0.0.1", "port": port, "timeout": "100ms", **keys}
    )


async def test_transaction_ids_that_are_ignored(server: Server) -> None:
    ids = iter([0, 0, 77, 0, 1, 2, 3] * 10)
    server.answer = lambda r: r.answer(transaction=next(ids))
    link = link_of(tcp(server.port, quirks={"transaction_ids": "ignored"}))
    await link.open()
    for at in range(20):
        assert await told(link, Request(7, "holding", at, 2)) == [struct.pack(">2H", at, at + 1)]
    assert server.connections == 1
    link.close()


async def test_a_late_answer_without_an_id_is_no_value(server: Server) -> None:
    """The answer to the first question comes after its timeout, in place of that to the second one."""
    queue: list[bytes] = []

    def late(r: Asked) -> bytes | None:
        queue.append(r.answer(transaction=0))
        return None if len(queue) == 1 else queue.pop(0)

    server.answer = late
    link = link_of(tcp(server.port, quirks={"transaction_ids": "ignored"}))
    seen = []
    for at in range(0, 40, 2):
        if not link.connected:
            await link.open()
        [answer] = await link.exchange([Request(7, "holding", at, 2)])
        assert answer.data in (None, struct.pack(">2H", at, at + 1)), at
        seen.append(answer.data)
    link.close()


# --- forbidden addresses ----------------------------------------------------------------------------------------------


def adapter(settings: ModbusConnection, **machines: dict[str, Any]) -> ModbusAdapter:
    models = {}
    for name, body in machines.items():
        signals = {key: {"poll": "10ms", **signal} for key, signal in body["signals"].items()}
        models[MachinePath(name)] = ModbusMachine.model_validate({"connection": "c", **body, "signals": signals})
    made = modbus.build(Context("c", settings, models, SystemClock(), FlowCounters(), Path(tempfile.mkdtemp()), "edge"))
    assert isinstance(made, ModbusAdapter)
    for each in made._machines:
        each.backoff = Backoff(0.02, 0.05)
    return made


async def test_a_forbidden_address_is_not_touched_when_answers_are_late(rtu_server: RtuServer) -> None:
    """A question of another shape tells whether a late answer has come; it must not reach into what is forbidden."""
    rtu_server.answer = lambda r: None if len(rtu_server.requests) in (1, 3, 4) else r.answer()
    it = adapter(
        rtu_over_tcp(rtu_server.port, timeout="30ms"),
        m={
            "unit_id": 7,
            "signals": {"a": {"holding": 10, "type": "uint16"}, "b": {"coil": 3}},
            "quirks": {"forbidden": ["holding:11", "coil:4-20"]},
        },
    )
    await it.connect()
    async with asyncio.timeout(5):
        while shown((await it.read())[0]) != {"a": 10, "b": True}:
            pass
    touched = {(r.function, at) for r in rtu_server.requests for at in range(r.address, r.address + r.count)}
    assert touched == {(3, 10), (1, 3)}
    await it.close()


async def test_a_device_that_refuses_all_and_loses_one_answer_is_soon_understood(rtu_server: RtuServer) -> None:
    """A refusal could be the late one of another question: that doubt has to end, and costs the others nothing."""
    rtu_server.answer = lambda r: r.answer() if r.unit == 8 else None if len(rtu_server.requests) < 2 else r.refusal(2)
    it = adapter(
        rtu_over_tcp(rtu_server.port, timeout="30ms"),
        m={"unit_id": 7, "signals": {"a": {"holding": 10, "type": "uint16"}}},
        n={"unit_id": 8, "signals": {"a": {"holding": 20, "type": "uint16"}}},
    )
    await it.connect()
    begin = time.monotonic()
    async with asyncio.timeout(5):
        while True:
            [batch] = await it.read()
            if batch.header.path.machine == "n":
                assert shown(batch) == {"a": 20}
            elif shown(batch) == {"a": "bad:illegal-address"}:
                break
    assert time.monotonic() - begin < 4
    await it.close()


# --- TLS --------------------------------------------------------------------------------------------------------------


@contextmanager
def secured(folder: Path, until: datetime | None = None) -> Iterator[TcpTransport]:
    """A TLS server on this machine, which asks for a certificate of the authority in the folder."""
    authority = Authority(folder)
    cert, key = authority.issue("device") if until is None else expired(authority, until)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=authority.ca_path)
    context.load_cert_chain(cert, key)
    context.verify_mode = ssl.CERT_REQUIRED
    authority.issue("client")
    yield TcpTransport("127.0.0.1", 0, MBAP, context)


def expired(authority: Authority, until: datetime) -> tuple[Path, Path]:
    """The same as `issue`, but it ended then."""
    cert, key = authority.issue("expired")
    before = x509.load_pem_x509_certificate(cert.read_bytes())
    builder = (
        x509.CertificateBuilder(before.issuer, before.subject, before.public_key(), before.serial_number)
        .not_valid_before(until - timedelta(hours=1))
        .not_valid_after(until)
    )
    for extension in before.extensions:
        builder = builder.add_extension(extension.value, extension.critical)
    cert.write_bytes(builder.sign(authority._key, SHA256()).public_bytes(Encoding.PEM))
    return cert, key


def tls(port: int | None, **keys: Any) -> ModbusTls:
    files = {"ca": "ca.pem", "cert": "client.pem", "key": "client.key"}
    settings = {"protocol": "modbus-tls", "host": "127.0.0.1", "port": port, "timeout": "2s", **files, **keys}
    return ModbusTls.model_validate({key: value for key, value in settings.items() if value is not None})


async def test_tls_with_a_certificate_on_both_sides(tmp_path: Path) -> None:
    with secured(tmp_path) as transport:
        async with simulated(transport) as server:
            await holds_the_image(tls(server.port), tmp_path)
            await holds_the_image(tls(server.port, server_name="localhost"), tmp_path)
            await holds_the_image(tls(server.port, host="localhost"), tmp_path)


async def refused(server: ModbusServer, folder: Path, **keys: Any) -> str:
    """Why the link cannot be opened, or be used."""
    link = link_of(tls(server.port, **keys), folder)
    try:
        await link.open()
        return (await trouble(link)).trouble
    except NotConnectedError as exc:
        assert not link.connected
        return str(exc)
    finally:
        link.close()


async def test_tls_with_the_certificate_of_another_authority(tmp_path: Path) -> None:
    with secured(tmp_path / "theirs") as transport, secured(tmp_path / "ours"):
        async with simulated(transport) as server:
            text = await refused(server, tmp_path / "ours")
            assert "its certificate is not accepted" in text
            assert "check `ca`, `server_name` and the clock" in text
            text = await refused(server, tmp_path / "ours", ca=None, cert=None, key=None)
            assert "its certificate is not accepted" in text
            text = await refused(server, tmp_path / "ours", ca="../theirs/ca.pem")
            assert "check that it trusts our certificate" in text


async def test_tls_without_the_certificate_the_device_asks_for(tmp_path: Path) -> None:
    with secured(tmp_path) as transport:
        async with simulated(transport) as server:
            text = await refused(server, tmp_path, cert=None, key=None)
            assert "check that it trusts our certificate (`cert`, `key`)" in text


async def test_tls_with_another_name_in_the_certificate(tmp_path: Path) -> None:
    with secured(tmp_path) as transport:
        async with simulated(transport) as server:
            text = await refused(server, tmp_path, server_name="plc-01.acme.lan")
            assert "is not valid for 'plc-01.acme.lan'" in text
            assert "check `ca`, `server_name`" in text


async def test_tls_with_a_certificate_that_has_expired(tmp_path: Path) -> None:
    yesterday = datetime.now(UTC) - timedelta(minutes=5)
    with secured(tmp_path, until=yesterday) as transport:
        async with simulated(transport) as server:
            text = await refused(server, tmp_path)
            assert "certificate has expired" in text
            assert "the clock" in text


async def test_tls_with_files_that_are_not_there_or_no_certificates(tmp_path: Path) -> None:
    with secured(tmp_path) as transport:
        async with simulated(transport) as server:
            assert "a certificate is missing" in await refused(server, tmp_path, ca="nowhere.pem")
            assert "a certificate is missing" in await refused(server, tmp_path, cert="nowhere.pem")
            (tmp_path / "text.pem").write_text("hello")
            assert "check `ca`, `cert` and `key`" in await refused(server, tmp_path, ca="text.pem")
            assert "check `ca`, `cert` and `key`" in await refused(server, tmp_path, cert="text.pem")
            assert "check `ca`, `cert` and `key`" in await refused(server, tmp_path, key="device.key")


async def test_tls_with_a_key_that_needs_a_password(tmp_path: Path) -> None:
    """Nobody is there to be asked for it."""
    with secured(tmp_path) as transport:
        key = load_pem_private_key((tmp_path / "client.key").read_bytes(), None)
        locked = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
        (tmp_path / "locked.key").write_bytes(locked)
        async with simulated(transport) as server:
            assert "check `ca`, `cert` and `key`" in await refused(server, tmp_path, key="locked.key")


async def test_tls_to_a_port_without_it_and_the_other_way_round(tmp_path: Path) -> None:
    with secured(tmp_path) as transport:
        async with simulated(TcpTransport("127.0.0.1", 0)) as plain:
            text = await refused(plain, tmp_path, timeout="300ms")
            assert "check that the port is the one for TLS" in text
        async with simulated(transport) as server:
            assert server.port
            link = link_of(tcp(server.port, timeout="1s"))
            await link.open()
            assert await trouble(link)
            link.close()


# --- several requests on their way ------------------------------------------------------------------------------------


@pytest.mark.parametrize("in_flight", [1, 4])
async def test_a_unit_the_bridge_cannot_reach_is_not_asked_for_more(server: Server, in_flight: int) -> None:
    server.answer = lambda r: r.refusal(11) if r.address == 20 else r.answer()
    link = link_of(tcp(server.port, max_in_flight=in_flight))
    await link.open()
    requests = [Request(7, "holding", at, 2) for at in range(0, 200, 10)]
    answers = await link.exchange(requests)
    assert [answer.code for answer in answers[:3]] == [0, 0, 11]
    assert len(answers) <= 2 + in_flight
    assert len(server.requests) <= 2 + in_flight
    assert link.connected
    assert await told(link, requests[0]) == [b"\0\0\0\1"]
    link.close()


async def test_a_long_exchange_leaves_no_timers(server: Server) -> None:
    async def slow(r: Asked) -> bytes:
        await asyncio.sleep(0.012)
        return r.answer()

    server.answer = slow
    link = link_of(tcp(server.port, max_in_flight=2, timeout="50ms"))
    await link.open()
    loop = asyncio.get_running_loop()
    for _ in range(8):
        assert len(await link.exchange([Request(7, "holding", at, 1) for at in range(8)])) == 8
    timers = [each for each in loop._scheduled if not each.cancelled()]  # type: ignore[attr-defined]
    assert len(timers) <= 2
    link.close()


async def test_what_comes_unasked_is_said_once(server: Server) -> None:
    link = link_of(tcp(server.port, max_in_flight=2))
    await link.open()
    assert await told(link, Request(7, "holding", 0, 1)) == [b"\0\0"]
    server.writers[0].write(b"\0" * 20)
    async with asyncio.timeout(2):
        while link.connected:
            await asyncio.sleep(0.001)
    answer = await trouble(link)
    assert answer.trouble.count("127.0.0.1") == 1
    assert free_port()
