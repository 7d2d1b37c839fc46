"""The same machines on every transport: what pymodbus and mbpoll read from them, and how a configuration is led there."""

from __future__ import annotations

import asyncio
import os
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvloop
from pymodbus import FramerType
from pymodbus.client import (
    AsyncModbusSerialClient,
    AsyncModbusTcpClient,
    AsyncModbusTlsClient,
    AsyncModbusUdpClient,
    ModbusBaseClient,
)
from pymodbus.exceptions import ModbusIOException

from gateway.config import Configuration, load
from gateway.runtime.registry import protocols
from parts.mbpoll import mbpoll_serial
from parts.tls import Authority
from simulators.ledger import Ledger
from simulators.machine import TlsFiles
from simulators.modbus import ModbusServer
from simulators.plant import Plant, simulate

CONNECTIONS = {
    "modbus-tcp": "host: 10.0.0.1",
    "modbus-rtu": "port: {folder}/ttyUSB0, parity: even",
    "modbus-rtu-over-tcp": "host: 10.0.0.1, port: 4001",
    "modbus-ascii": "port: {folder}/ttyUSB0",
    "modbus-ascii over tcp": "host: 10.0.0.1, port: 4001",
    "modbus-udp": "host: 10.0.0.1",
    "modbus-tls": "host: 10.0.0.1, server_name: press.acme.lan",
}
LINES = ("modbus-rtu", "modbus-rtu-over-tcp", "modbus-ascii", "modbus-ascii over tcp")
MACHINES = """
machines:
  press: {connection: c, unit_id: 7, signals: {count: {holding: 100, type: uint32, kind: counter}, lamp: {coil: 3}}}
  lathe: {connection: c, unit_id: 8, signals: {count: {holding: 100, type: uint32, kind: counter}}}
"""

Make = Callable[[str], Configuration]
each_transport = pytest.mark.parametrize("transport", CONNECTIONS)


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """The configuration with one of the connections."""

    def config(transport: str) -> Configuration:
        path = tmp_path / "gateway.yaml"
        connection = CONNECTIONS[transport].format(folder=tmp_path)
        path.write_text(f"connections: {{c: {{protocol: {transport.split()[0]}, {connection}}}}}{MACHINES}")
        return load(path, protocols())

    return config


def client_of(settings: Any, timeout: float = 2) -> ModbusBaseClient:
    """pymodbus' client for a connection."""
    more: dict[str, Any] = {"timeout": timeout, "retries": 0, "reconnect_delay": 0}
    ascii = {"framer": FramerType.ASCII} if settings.protocol == "modbus-ascii" else {}
    match settings.protocol:
        case "modbus-rtu-over-tcp":
            return AsyncModbusTcpClient(settings.host, port=settings.port, framer=FramerType.RTU, **more)
        case "modbus-udp":
            return AsyncModbusUdpClient(settings.host, port=settings.port, **more)
        case "modbus-tls":
            context = ssl.create_default_context(cafile=settings.ca)
            context.load_cert_chain(settings.cert, settings.key)
            return AsyncModbusTlsClient(settings.host, port=settings.port, sslctx=context, **more)
        case "modbus-rtu" | "modbus-ascii" if not getattr(settings, "host", None):
            assert settings.parity == "none"
            return AsyncModbusSerialClient(settings.port, baudrate=settings.baud, parity="N", **ascii, **more)
    return AsyncModbusTcpClient(settings.host, port=settings.port, **ascii, **more)


@asynccontextmanager
async def reading(plant: Plant, config: Configuration, timeout: float = 2) -> AsyncIterator[ModbusBaseClient]:
    client = client_of(plant.redirect(config).connections["c"], timeout)
    assert await client.connect()
    try:
        yield client
    finally:
        client.close()


def server_of(plant: Plant) -> ModbusServer:
    server = plant.servers["c"]
    assert isinstance(server, ModbusServer)
    return server


# --- all of them -------------------------------------------------------------------------------------------------------


@each_transport
async def test_pymodbus_reads_all_units_and_the_ledger_has_it(make: Make, transport: str) -> None:
    config, ledger = make(transport), Ledger.memory()
    async with simulate(config, None, ledger, 0) as plant, reading(plant, config) as client:
        read = []
        for unit in (7, 8, 7, 8):
            answer = await client.read_holding_registers(100, count=2, device_id=unit)
            read.append((unit, client.convert_from_registers(answer.registers, client.DATATYPE.UINT32)))
        assert len((await client.read_coils(0, count=13, device_id=7)).bits) == 16
        assert (await client.read_holding_registers(3, count=1, device_id=7)).exception_code == 2
        assert (await client.read_holding_registers(90, count=100, device_id=7)).exception_code == 2
        assert (await client.write_register(100, 1, device_id=7)).exception_code == 1
        served = [
            (7 if e.machine == "press" else 8, e.values["count"]) for e in ledger.entries() if "count" in e.values
        ]
        assert served == read
        assert plant.servers["c"].place.split()[0].rstrip(",") in (
            f"127.0.0.1:{plant.ports.get('c')}", plant.servers["c"].address["port"]
        )  # fmt: skip


@each_transport
async def test_a_unit_that_is_not_there(make: Make, transport: str) -> None:
    """On a serial line nobody answers for it; a gateway does."""
    config = make(transport)
    async with simulate(config, port_base=0) as plant, reading(plant, config, 0.2) as client:
        if transport in LINES:
            with pytest.raises(ModbusIOException):
                await client.read_holding_registers(100, count=2, device_id=9)
        else:
            assert (await client.read_holding_registers(100, count=2, device_id=9)).exception_code == 11
        assert (await client.read_holding_registers(100, count=2, device_id=8)).registers


@each_transport
async def test_an_answer_takes_as_long_as_on_a_slow_line(make: Make, transport: str) -> None:
    config = make(transport)
    async with simulate(config, port_base=0) as plant, reading(plant, config) as client:
        server_of(plant).baud = 9600
        began = time.monotonic()
        for _ in range(2):
            await client.read_holding_registers(90, count=20, device_id=7)
        took = (time.monotonic() - began) / 2
    # By hand: request and answer of 8 and 45 characters of 11 bits (RTU), 17 and 91 of 10 bits (ASCII), and twice the
    # silence of 3.5 characters; else 12 and 49 bytes.
    characters, bits = (115, 10) if "ascii" in transport else (60, 11) if "rtu" in transport else (68, 10)
    assert took >= characters * bits / 9600


@each_transport
async def test_a_client_may_go_and_come_back(make: Make, transport: str) -> None:
    config = make(transport)
    async with simulate(config, port_base=0) as plant:
        for _ in range(3):
            async with reading(plant, config) as client:
                assert (await client.read_holding_registers(100, count=2, device_id=7)).registers
        server_of(plant).drop()
        async with reading(plant, config) as client:
            assert (await client.read_holding_registers(100, count=2, device_id=7)).registers


@each_transport
def test_on_uvloop_too(make: Make, transport: str) -> None:
    async def read() -> int:
        config = make(transport)
        async with simulate(config, port_base=0) as plant, reading(plant, config) as client:
            return len((await client.read_holding_registers(100, count=2, device_id=7)).registers)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(read()) == 2


# --- the serial line ---------------------------------------------------------------------------------------------------


async def test_mbpoll_reads_the_serial_line(make: Make) -> None:
    ledger = Ledger.memory()
    async with simulate(make("modbus-rtu"), None, ledger, 0) as plant:
        port = str(plant.servers["c"].address["port"])
        read = await asyncio.to_thread(mbpoll_serial, port, "holding", 100, 2, 7)
        assert [e.values for e in ledger.entries()] == [{"count": read[100] << 16 | read[101]}]


async def test_the_line_is_found_where_the_configuration_says(make: Make, tmp_path: Path) -> None:
    config, link = make("modbus-rtu"), tmp_path / "ttyUSB0"
    async with simulate(config) as plant:
        assert plant.servers["c"].address["port"] == str(link)
        assert link.resolve().is_relative_to("/dev/pts")
        assert plant.servers["c"].place == f"{link} (parity: none)"
        async with reading(plant, config) as client:
            assert (await client.read_holding_registers(100, count=2, device_id=7)).registers
    assert not os.path.lexists(link)


async def test_what_is_already_there_is_left_alone(make: Make, tmp_path: Path) -> None:
    config, link = make("modbus-rtu"), tmp_path / "ttyUSB0"
    link.touch()
    async with simulate(config) as plant:
        path = str(plant.servers["c"].address["port"])
        assert path.startswith("/dev/pts/")
        assert plant.servers["c"].place == f"{path} (parity: none; {link} is there already)"
    assert link.read_bytes() == b""


async def test_a_link_that_leads_nowhere_is_replaced(make: Make, tmp_path: Path) -> None:
    link = tmp_path / "ttyUSB0"
    link.symlink_to("/dev/pts/no-longer-there")
    async with simulate(make("modbus-rtu")) as plant:
        assert plant.servers["c"].address["port"] == str(link)


async def test_a_place_that_is_not_ours(make: Make, tmp_path: Path) -> None:
    config = make("modbus-rtu")
    link = tmp_path / "by-id" / "usb-FTDI"
    connection = config.connections["c"].model_copy(update={"port": str(link)})
    config.connections["c"] = connection  # type: ignore[index]
    async with simulate(config) as plant:
        assert plant.servers["c"].place.endswith(f"(parity: none; {link} cannot be made)")


# --- TLS ---------------------------------------------------------------------------------------------------------------


async def test_a_device_with_tls_asks_for_a_certificate(make: Make) -> None:
    config = make("modbus-tls")
    async with simulate(config, port_base=0) as plant:
        settings: Any = plant.redirect(config).connections["c"]
        assert settings.server_name == "press.acme.lan"
        folder = settings.ca.parent
        context = ssl.create_default_context(cafile=settings.ca)

        async def first_byte() -> bytes:
            reader, _ = await asyncio.open_connection(
                "127.0.0.1", settings.port, ssl=context, server_hostname="press.acme.lan"
            )
            return await reader.readexactly(1)

        with pytest.raises((ssl.SSLError, OSError, asyncio.IncompleteReadError)):
            await first_byte()
        context.load_cert_chain(settings.cert, settings.key)
        for name in ("press.acme.lan", "127.0.0.1", "10.0.0.1"):
            _, writer = await asyncio.open_connection("127.0.0.1", settings.port, ssl=context, server_hostname=name)
            writer.close()
    assert not folder.exists()


async def test_certificates_can_be_given(make: Make, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    files = TlsFiles(*authority.issue("device"), authority.ca_path)
    config = make("modbus-tls")
    cert, key = authority.issue("gateway")
    known = config.connections["c"].model_copy(update={"ca": authority.ca_path, "cert": cert, "key": key})
    config.connections["c"] = known  # type: ignore[index]
    async with simulate(config, port_base=0, tls=files) as plant, reading(plant, config) as client:
        assert (await client.read_holding_registers(100, count=2, device_id=7)).registers
