"""How long a poll takes, worked out by hand from the standards; and what is really measured."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from adapters.modbus.config import ModbusMachine
from adapters.modbus.connections import ModbusAscii, ModbusConnection, ModbusRtu, ModbusRtuOverTcp, ModbusTcp
from adapters.modbus.forecast import forecast
from adapters.modbus.learnt import Learnt, file_of, save
from gateway.adapter import Context, Forecast
from gateway.counters import FlowCounters
from gateway.model import MachinePath
from modbus.test_transports import adapter, simulated
from simulators.modbus.framing import RTU
from simulators.modbus.transports import TcpTransport

TEN = {"v": {"holding": 0, "type": "uint16", "count": 10}}
ASSUMED = 0.010  # that a device thinks
MODELS: dict[str, type[ModbusConnection]] = {
    "modbus-rtu": ModbusRtu,
    "modbus-ascii": ModbusAscii,
    "modbus-tcp": ModbusTcp,
    "modbus-rtu-over-tcp": ModbusRtuOverTcp,
}


def connection(protocol: str, **keys: Any) -> ModbusConnection:
    serial = protocol in ("modbus-rtu", "modbus-ascii") and "host" not in keys
    where = {"port": "/dev/ttyS0"} if serial else {"host": "10.0.0.1"}
    return MODELS[protocol].model_validate({"protocol": protocol, **where, **keys})


def machine(signals: dict[str, Any] | None = None, poll: str = "1s", **keys: Any) -> ModbusMachine:
    signals = {name: {"poll": poll, **signal} for name, signal in (signals or TEN).items()}
    return ModbusMachine.model_validate({"connection": "c", "signals": signals, **keys})


def told(link: ModbusConnection, machines: dict[str, ModbusMachine], data_dir: Path = Path("/nowhere")) -> Forecast:
    paths = {MachinePath(name): each for name, each in machines.items()}
    clock: Any = SimpleNamespace()
    return forecast(Context("c", link, paths, clock, FlowCounters(), data_dir, "edge"))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("link", "size", "seconds"),
    [
        # RTU, ten registers: 8 characters there, 5 + 20 back; a character is start, 8 data, parity, stop: 11 bits.
        # Between two requests 3.5 characters, and 5 ms at least.
        (connection("modbus-rtu", baud=9600), 33, 33 * 11 / 9600 + ASSUMED + 0.005),
        (connection("modbus-rtu", baud=19200), 33, 33 * 11 / 19200 + ASSUMED + 0.005),
        (connection("modbus-rtu", baud=115200), 33, 33 * 11 / 115200 + ASSUMED + 0.005),
        (connection("modbus-rtu", baud=1200), 33, 36.5 * 11 / 1200 + ASSUMED),
        (connection("modbus-rtu", baud=9600, parity="none"), 33, 33 * 10 / 9600 + ASSUMED + 0.005),
        (connection("modbus-rtu", baud=9600, parity="none", stop_bits=2), 33, 33 * 11 / 9600 + ASSUMED + 0.005),
        (
            connection("modbus-rtu", baud=9600, quirks={"pause_between_requests": "20ms"}),
            33,
            33 * 11 / 9600 + ASSUMED + 0.020,
        ),
        # ASCII: a colon, two digits for each of 6 bytes and the LRC, CR LF: 17 characters there, 11 + 40 back, 10 bits.
        (connection("modbus-ascii", baud=9600), 68, 68 * 10 / 9600 + ASSUMED + 0.005),
        (connection("modbus-ascii", baud=19200), 68, 68 * 10 / 19200 + ASSUMED + 0.005),
        (connection("modbus-ascii", baud=115200), 68, 68 * 10 / 115200 + ASSUMED + 0.005),
        (connection("modbus-ascii", baud=9600, data_bits=8), 68, 68 * 11 / 9600 + ASSUMED + 0.005),
        # Over a network: MBAP header of 7 bytes each way; 2 ms there and back.
        (connection("modbus-tcp"), 12 + 9 + 20, 0.002),
        (connection("modbus-tcp", max_in_flight=4), 12 + 9 + 20, 0.0005),
        # A bridge, behind which the frames are RTU
        (connection("modbus-tcp", baud=9600), 12 + 9 + 20, 33 * 11 / 9600 + ASSUMED + 0.002),
        (connection("modbus-rtu-over-tcp", baud=9600), 33, 33 * 11 / 9600 + ASSUMED + 0.002),
    ],
)
def test_a_request_by_hand(link: ModbusConnection, size: int, seconds: float) -> None:
    [row] = told(link, {"m": machine()}).requests
    assert (row.what, row.signals, row.size, row.unused, row.bits) == ("holding 0–9", 10, 10, 0, False)
    assert row.bytes == size
    assert row.seconds == pytest.approx(seconds, rel=1e-9)


def test_bits_are_packed() -> None:
    [row] = told(connection("modbus-rtu", baud=9600), {"m": machine({"c": {"coil": 0, "count": 19}})}).requests
    assert (row.bits, row.size, row.bytes) == (True, 19, 8 + 5 + 3)
    assert row.seconds == pytest.approx(16 * 11 / 9600 + ASSUMED + 0.005)


def test_who_comes_too_late() -> None:
    """Three machines of 52.8 ms each: 158.4 ms a round."""
    link = connection("modbus-rtu", baud=9600)
    cost = 33 * 11 / 9600 + 0.015
    fine = told(link, {name: machine(poll="160ms") for name in "abc"})
    assert fine.busy == pytest.approx(3 * cost / 0.16)
    assert not fine.late
    tight = told(link, {name: machine(poll="100ms") for name in "abc"})
    assert tight.busy == pytest.approx(3 * cost / 0.1)
    assert [each.machine for each in tight.late] == ["a", "b", "c"]
    for each in tight.late:
        assert each.period == 0.1
        assert 0.1 < each.reached < 0.21  # every tick is kept, or every second one
        assert len(each.signals) == 10
    assert sum(cost / each.reached for each in tight.late) == pytest.approx(1, rel=0.01)  # the line is never idle


def test_one_that_is_too_long_for_its_own_rate() -> None:
    signals = {"fast": {"holding": 0, "type": "uint16", "poll": "20ms"}, "slow": {"input": 0, "type": "uint16"}}
    link = connection("modbus-rtu", baud=9600)
    found = told(link, {"m": machine(signals, poll="10s")})
    cost = (8 + 7) * 11 / 9600 + 0.015
    [late] = found.late
    assert list(late.signals) == ["fast"]
    assert late.reached == pytest.approx(cost, rel=0.3)
    assert found.busy == pytest.approx(cost / 0.02 + cost / 10)


def test_a_slow_poll_among_fast_ones_is_not_late() -> None:
    signals = {"fast": {"holding": 0, "type": "uint16", "poll": "100ms"}, "slow": {"input": 0, "type": "uint16"}}
    found = told(connection("modbus-rtu", baud=9600), {name: machine(signals, poll="1h") for name in "abc"})
    assert 0.9 < found.busy < 1
    assert not found.late


def test_what_was_learnt_counts(tmp_path: Path) -> None:
    link = connection("modbus-rtu", baud=9600)
    learnt = Learnt(1, {("holding", 3, 1): 2}, max_registers=4)
    save(file_of(tmp_path, "c"), {"m": learnt, "n": Learnt(9, max_registers=1)})
    found = told(link, {"m": machine(), "n": machine()}, tmp_path)
    rows = [(row.machine, row.what) for row in found.requests]
    assert rows == [("m", "holding 0–2"), ("m", "holding 4–7"), ("m", "holding 8–9"), ("n", "holding 0–9")]
    assert list(found.learnt) == [("m", line) for line in learnt.lines()]


async def test_a_line_is_as_fast_as_was_foretold() -> None:
    """Three blocks of different lengths, asked for over and over at 19200 bit/s."""
    signals = {
        "a": {"holding": 0, "type": "uint16", "count": 10},
        "b": {"holding": 100, "type": "uint16", "count": 20},
        "c": {"input": 0, "type": "uint16", "count": 60},
    }
    image = _Registers()
    async with simulated(TcpTransport("127.0.0.1", 0, RTU)) as server:
        server._units = {1: image}  # type: ignore[dict-item]
        server.baud, server.faults.delay = 19200, ASSUMED
        link = connection("modbus-rtu-over-tcp", host="127.0.0.1", port=server.port, baud=19200)
        [late] = told(link, {"m": machine(signals, poll="10ms")}).late
        it = adapter(link, m={"signals": signals})
        await it.connect()
        await it.read()
        begin, rounds = time.monotonic(), 8
        for _ in range(rounds):
            await it.read()
        measured = (time.monotonic() - begin) / rounds
        await it.close()
    assert measured == pytest.approx(late.reached, rel=0.2)


class _Registers:
    def read(self, function: int, address: int, count: int, t: float) -> tuple[bytes, list[Any]]:
        return bytes(2 * count), []
