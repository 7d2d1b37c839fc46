"""What the faults of a scenario are to a Modbus client: the link of our adapter, over loopback. Time is moved by hand.

Each has its control: without the entry, or outside of its time, everything is answered.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import cast

import pytest

from adapters.modbus.config import ModbusMachine
from adapters.modbus.connections import ModbusConnection, ModbusRtuOverTcp, ModbusTcp, ModbusUdp
from adapters.modbus.link import Answer, Link, Request
from adapters.modbus.links import link_of
from flow.compressed import HandClock
from gateway.clock import Clock, SystemClock
from gateway.config import Configuration, Protocol, load
from gateway.errors import NotConnectedError
from simulators.behaviour.scenario import read_scenario
from simulators.ledger import Ledger
from simulators.modbus import ModbusServer, kinds, server
from simulators.modbus.framing import MBAP, RTU
from simulators.plant import Plant, simulate

SECOND = 10**9
TIMEOUT = "60ms"
PROTOCOLS = {
    "modbus-tcp": Protocol("modbus-tcp", ModbusTcp, ModbusMachine),
    "modbus-rtu-over-tcp": Protocol("modbus-rtu-over-tcp", ModbusRtuOverTcp, ModbusMachine),
    "modbus-udp": Protocol("modbus-udp", ModbusUdp, ModbusMachine),
}
CONFIG = """
connections: {{c: {{protocol: {protocol}, host: 127.0.0.1, timeout: {timeout}}}, idle: {{protocol: modbus-tcp, host: 10.0.0.1}}}}
machines:
  press: {{connection: c, unit_id: 7, signals: {{count: {{holding: 0, type: uint32, kind: counter}}}}}}
  lathe: {{connection: c, unit_id: 8, signals: {{count: {{holding: 0, type: uint32, kind: counter}}}}}}
  other: {{connection: idle, signals: {{count: {{holding: 0, type: uint32, kind: counter}}}}}}
"""
PRESS, LATHE = Request(7, "holding", 0, 2), Request(8, "holding", 0, 2)
MACHINES = "machines: {press: {signals: {count: {wave: counter, period: 1s}}}}\n"


class Line:
    """A plant, a link to it, and the clock of the plant."""

    def __init__(self, plant: Plant, link: Link, hand: HandClock) -> None:
        self.plant, self.link, self.hand = plant, link, hand

    async def ask(self, request: Request = PRESS) -> Answer:
        if not self.link.connected:
            await self.link.open()
        [answer] = await self.link.exchange([request])
        return answer

    async def said(self, request: Request = PRESS) -> str:
        """What came of it, for people."""
        try:
            answer = await self.ask(request)
        except NotConnectedError:
            return "refused"
        if answer.code:
            return f"exception {answer.code}"
        return "silent" if answer.silent else answer.trouble.rpartition(": ")[2] or "answered"

    def at(self, seconds: float) -> None:
        """It is so many seconds after the start of the plant."""
        self.hand.move_to(self.plant.start + round(seconds * SECOND))


Start = Callable[..., "asynccontextmanager[Line]"]


@pytest.fixture
def start(tmp_path: Path) -> Callable[..., object]:
    @asynccontextmanager
    async def started(
        *faults: str,
        protocol: str = "modbus-tcp",
        timeout: str = TIMEOUT,
        clock: Clock | None = None,
        speed: float = 1.0,
    ) -> AsyncIterator[Line]:
        (tmp_path / "gateway.yaml").write_text(CONFIG.format(protocol=protocol, timeout=timeout))
        listed = "".join(f"  - {{{fault}}}\n" for fault in faults)
        (tmp_path / "scenario.yaml").write_text(MACHINES + (f"faults:\n{listed}" if faults else ""))
        plan: Configuration = load(tmp_path / "gateway.yaml", PROTOCOLS)
        hand = HandClock(1_800_000_000 * SECOND)
        scenario = read_scenario(tmp_path / "scenario.yaml")
        async with simulate(plan, scenario, Ledger.memory(), 0, clock=clock or hand, speed=speed) as plant:
            connection = plant.redirect(plan).connections["c"]
            assert isinstance(connection, ModbusConnection)
            link = link_of(connection)
            try:
                yield Line(plant, link, hand)
            finally:
                link.close()

    return started


async def test_the_control_without_faults_everything_is_answered(start: Start) -> None:
    async with start() as line:
        for t in (0, 10, 1000):
            line.at(t)
            assert [await line.said(), await line.said(LATHE)] == ["answered"] * 2
        assert not line.plant.happened


async def test_exceptions_for_a_while(start: Start) -> None:
    async with start("fault: exception, code: 6, at: 10s, for: 5s, machine: press") as line:
        found = []
        for t in (9, 10, 14, 15):
            line.at(t)
            found.append((await line.said(), await line.said(LATHE)))
        assert found == [
            ("answered", "answered"),
            ("exception 6", "answered"),
            ("exception 6", "answered"),
            ("answered", "answered"),
        ]
        assert line.plant.happened == {"exception": 2}
        values = [entry.values["count"] for entry in line.plant.ledger.entries() if entry.machine == "press"]
        assert values == [9, 15], "what was an exception was not served"


async def test_the_nth_request_is_not_answered(start: Start) -> None:
    async with start("fault: silence, request: 3") as line:
        assert [await line.said() for _ in range(5)] == ["answered", "answered", "silent", "answered", "answered"]
        assert line.plant.happened == {"silence": 1}


async def test_a_connection_is_cut_at_a_request(start: Start) -> None:
    async with start("fault: drop, request: 2") as line:
        assert await line.said() == "answered"
        assert "clos" in await line.said() or not line.link.connected
        assert await line.said() == "answered", "a new connection is welcome"
        assert line.plant.happened == {"drop": 1}


async def test_a_connection_is_cut_at_a_time(start: Start) -> None:
    """By a clock that is moved by hand: nothing has woken up meanwhile, and the next request finds it cut."""
    async with start("fault: drop, at: 10s, every: 1min") as line:
        found = []
        for t in (0, 9, 10, 11, 69, 70, 71):
            line.at(t)
            found.append((await line.said()) == "answered")
        assert found == [True, True, False, True, True, False, True]
        assert line.plant.happened == {"drop": 2}


async def test_a_half_open_connection_is_dead_until_it_is_opened_anew(start: Start) -> None:
    async with start("fault: half-open, at: 10s") as line:
        assert await line.said() == "answered"
        line.at(11)
        assert await line.said() == "silent"
        line.link.close()
        assert await line.said() == "answered"
        assert line.plant.happened == {"half-open": 1}


async def test_unreachable_is_cut_and_refused(start: Start) -> None:
    async with start("fault: unreachable, at: 10s, for: 5s") as line:
        assert await line.said() == "answered"
        line.at(10)
        assert await line.said() != "answered"
        assert await line.said() != "answered"
        line.at(15)
        assert await line.said() == "answered"
        assert line.plant.happened["unreachable"] == 1


async def test_a_port_that_is_taken_meanwhile_is_tried_again(
    start: Start, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """By the clock: somebody else has it for three tries. It is said once, and nothing ends with it."""
    monkeypatch.setattr(server, "_TRY_INTERVAL", 0.01)
    async with start("fault: unreachable, at: 50ms, for: 50ms", clock=SystemClock()) as line:
        transport = cast("ModbusServer", line.plant.servers["c"]).transport
        accept, tries = transport.accept, [OSError(98, "Address already in use")] * 3

        async def taken() -> None:
            if tries:
                raise tries.pop()
            await accept()

        monkeypatch.setattr(transport, "accept", taken)
        async with asyncio.timeout(10):
            while tries or await line.said() != "answered":
                await asyncio.sleep(0.01)
        assert line.plant.happened["unreachable"]
    (said,) = [record for record in caplog.records if record.levelname == "WARNING"]
    assert "it should be reached again: [Errno 98] Address already in use" in said.getMessage()


@pytest.mark.parametrize(
    ("protocol", "expected"),
    [("modbus-tcp", "exception 11"), ("modbus-rtu-over-tcp", "silent")],
)
async def test_one_of_several_machines_is_away(start: Start, protocol: str, expected: str) -> None:
    """The gateway to them says so, where it can: exception 11 (Application Protocol V1.1b3, 7); a line keeps silent."""
    async with start("fault: unreachable, at: 10s, for: 5s, machine: press", protocol=protocol) as line:
        line.at(11)
        assert [await line.said(), await line.said(LATHE)] == [expected, "answered"]
        line.at(15)
        assert await line.said() == "answered"
        assert line.plant.happened == {"unreachable": 1}


async def test_over_udp_nobody_can_be_cut_and_all_is_silent(start: Start) -> None:
    async with start("fault: unreachable, at: 10s, for: 5s, connection: c", protocol="modbus-udp") as line:
        assert await line.said() == "answered"
        line.at(11)
        assert await line.said() == "silent"
        line.at(15)
        assert await line.said() == "answered"


async def test_after_a_reboot_counters_begin_anew(start: Start) -> None:
    async with start("fault: reboot, at: 100s, for: 20s, connection: c") as line:
        found = []
        for t in (90, 119, 120, 125):
            line.at(t)
            answer = await line.ask()
            found.append(answer.data and int.from_bytes(answer.data, "big"))
        assert found == [90, None, 0, 5]
        assert line.plant.happened == {"reboot": 1}


async def test_a_late_answer_within_the_timeout_is_one(start: Start) -> None:
    async with start("fault: late, by: 100ms, request: 2", timeout="2s") as line:
        loop, took = asyncio.get_running_loop(), []
        for _ in range(3):
            began = loop.time()
            assert await line.said() == "answered"
            took.append(loop.time() - began)
        assert took[1] >= 0.1
        assert max(took[0], took[2]) < 0.1
        assert len(list(line.plant.ledger.entries())) == 3


async def test_a_later_one_is_none_and_was_not_served(start: Start) -> None:
    async with start("fault: late, by: 100ms, request: 2") as line:
        assert [await line.said() for _ in range(3)] == ["answered", "silent", "answered"]
        assert len(list(line.plant.ledger.entries())) == 2
        assert line.plant.happened == {"late": 1}


WIRE = sorted(set(kinds(MBAP)) - {"silence", "half-open", "late"})


@pytest.mark.parametrize("kind", WIRE)
async def test_each_kind_on_the_wire_happens_and_no_wrong_value_comes_of_it(start: Start, kind: str) -> None:
    async with start(f"fault: {kind}, at: 10s, for: 10s, connection: c") as line:
        line.at(3)
        assert (await line.ask()).data == bytes((0, 0, 0, 3))
        for t in range(10, 14):
            line.at(t)
            answer = await line.ask()
            assert answer.data in (None, bytes((0, 0, 0, t))), kind
        assert line.plant.happened[kind] >= 1
        happened = line.plant.happened.copy()
        line.link.close()
        line.at(21)
        for _ in range(3):
            await line.ask()
        assert (await line.ask()).data == bytes((0, 0, 0, 21))
        assert line.plant.happened == happened, "its time is over"


@pytest.mark.parametrize("kind", sorted(set(kinds(RTU)) - set(kinds(MBAP))))
async def test_the_kinds_of_serial_lines(start: Start, kind: str) -> None:
    async with start(f"fault: {kind}, request: 2, connection: c", protocol="modbus-rtu-over-tcp") as line:
        for _ in range(4):
            await line.ask()
        assert line.plant.happened == {kind: 1}


async def test_chance_makes_the_same_faults_again(start: Start) -> None:
    async def run() -> list[str]:
        async with start("fault: exception, chance: 20%", "fault: drop, chance: 5%") as line:
            return [await line.said() for _ in range(60)]

    first = await run()
    assert {"answered", "exception 4"} <= set(first)
    assert await run() == first


# --- in real time, and faster -------------------------------------------------------------------------------------------


async def test_an_idle_connection_is_cut_in_time_and_the_port_is_closed(start: Start) -> None:
    """60 times as fast: at 30 s, half a second from the start, for 15 s of the scenario."""
    from gateway.clock import SystemClock

    async with start("fault: unreachable, at: 30s, for: 30s, connection: c", clock=SystemClock(), speed=60) as line:
        reader, writer = await asyncio.open_connection("127.0.0.1", line.plant.ports["c"])
        async with asyncio.timeout(5):
            with suppress(ConnectionResetError):  # an end or a reset: both are a cut
                assert not await reader.read()
        writer.close()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", line.plant.ports["c"])
        _, other = await asyncio.open_connection("127.0.0.1", line.plant.ports["idle"])
        other.close()
        async with asyncio.timeout(5):
            while await line.said() != "answered":
                await asyncio.sleep(0.02)
        answer = await line.ask()
        assert answer.data is not None
        # A shot a second of the scenario, which is over 60 s by now.
        assert int.from_bytes(answer.data, "big") >= 60
        assert line.plant.happened == {"unreachable": 1}
