"""Our simulator and our adapter: what arrived is what the machine said."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from adapters import opcua
from gateway.adapter import Context as AdapterContext
from gateway.clock import SystemClock
from gateway.config import load
from gateway.counters import FlowCounters
from gateway.errors import NotConnectedError
from gateway.model import GOOD, Batch, Value
from gateway.runtime.registry import protocols
from opcua.helpers import MACHINE, Reader, context
from simulators.behaviour import waves
from simulators.behaviour.waves import Wave
from simulators.ledger import Ledger, columns
from simulators.machine import Context, SimulatedMachine
from simulators.opcua import serve
from simulators.opcua.server import OpcuaServer
from simulators.plant import simulate

SIGNALS: Mapping[str, Any] = {
    "speed": {"node": "m:s=Speed", "sampling": "50ms"},
    "count": {"node": "m:i=7", "kind": "counter", "sampling": "50ms"},
    "running": {"node": "m:g=72962b91-fa75-4ae6-8d28-b404dc7daf63"},
    "program": {"node": "nsu=urn:other;b=AQID"},
    "fixed": {"node": "m:s=Fixed", "type": "float"},
}
WAVES: Mapping[str, Wave] = {
    "speed": waves.sine(100, 10, 3),
    "count": waves.counter(0.1, 2**60),
    "running": waves.toggle(1),
    "program": waves.constant("O1234"),
    "fixed": waves.constant(7),
}


def simulated(signals: Mapping[str, Any], shapes: Mapping[str, Wave], **connection: Any) -> Context:
    made = context("opc.tcp://127.0.0.1/plant", signals, **connection)
    ((path, settings),) = made.machines.items()
    machine = SimulatedMachine(path, settings, shapes)
    clock = SystemClock()
    return Context("cnc", made.connection, [machine], Ledger.memory(), clock, clock.now(), port=0)


async def test_what_arrives_is_what_was_served() -> None:
    plant = simulated(SIGNALS, WAVES)
    server = await serve(plant)
    try:
        async with Reader(f"opc.tcp://127.0.0.1:{server.port}/plant", SIGNALS) as it:
            assert it.types == {
                "speed": "float",
                "count": "int",
                "running": "bool",
                "program": "string",
                "fixed": "float",
            }
            await it.until(lambda: len(it.got["running"]) > 3)
    finally:
        await server.stop()
    served = columns(plant.ledger.entries())
    for name in SIGNALS:
        column = served[MACHINE, name]
        said = list(zip(column.time, column.value, column.quality, strict=True))
        got = it.got[name]
        start = said.index(got[0])
        assert got == said[start : start + len(got)], name
        assert len(said) - start - len(got) <= 20, "no more than the last publishing interval is missing"
    assert it.values("fixed") == [7.0]


async def test_scale_and_states_are_turned_round() -> None:
    signals = {
        "temp": {"node": "m:s=Temp", "type": "int", "scale": 0.1},
        "mode": {"node": "m:s=Mode", "enum": {0: "off", 3: "auto"}},
    }
    plant = simulated(signals, {"temp": waves.constant(21.34), "mode": waves.constant("auto")})
    server = await serve(plant)
    try:
        async with Reader(f"opc.tcp://127.0.0.1:{server.port}", signals) as it:
            await it.read()
            assert (it.values("temp"), it.values("mode")) == ([213], [3]), "raw: the normalizer does the rest"
    finally:
        await server.stop()
    (entry,) = plant.ledger.entries()
    assert entry.values == {"temp": 21.3, "mode": "auto"}


async def test_a_bad_status_and_a_wave_without_value() -> None:
    gap: Wave = lambda t: None if t % 0.4 < 0.2 else 1.0  # noqa: E731
    plant = simulated({"a": {"node": "m:s=a", "type": "float"}, "b": "m:s=b"}, {"a": gap, "b": waves.constant(2)})
    server = OpcuaServer(plant)
    await server.start()
    try:
        async with Reader(f"opc.tcp://127.0.0.1:{server.port}", {"a": "m:s=a", "b": "m:s=b"}) as it:
            await it.until(lambda: {(1.0, GOOD), (None, 0x80310000)} <= {r[1:] for r in it.got["a"]})
            server.status[MACHINE, "b"] = 0x808C0000
            await it.until(lambda: it.last("b")[1:] == (None, 0x808C0000))
    finally:
        await server.stop()


async def test_user_and_password_of_the_configuration() -> None:
    login: dict[str, Any] = {"user": "gateway", "password": "a secret with ümlauts, 1/2"}
    first: dict[str, Any] = {"security": "auto", "trust": "pinned"}
    plant = simulated({"a": "m:s=a"}, {"a": waves.constant(2)}, **first, **login)
    server = await serve(plant)
    url = f"opc.tcp://127.0.0.1:{server.port}"
    try:
        async with Reader(url, {"a": "m:s=a"}, **first, **login) as it:
            await it.read()
            assert it.values("a") == [2]
        for wrong, said in (
            ({}, "takes user and password"),
            ({"user": "gateway", "password": "x"}, "check `user` and `password`"),
            ({"user": "other", "password": login["password"]}, "check `user` and `password`"),
        ):
            with pytest.raises(NotConnectedError, match=said):
                async with Reader(url, {"a": "m:s=a"}, **first, **wrong):
                    pass
    finally:
        await server.stop()


@pytest.mark.parametrize(
    "security", ["Basic256Sha256/Sign", "Aes128_Sha256_RsaOaep/SignAndEncrypt", "Basic256/Sign", "None"]
)
async def test_it_offers_what_the_configuration_asks_for(security: str) -> None:
    server = await serve(simulated({"a": "m:s=a"}, {"a": waves.constant(2)}, security=security))
    url, signals = f"opc.tcp://127.0.0.1:{server.port}", {"a": "m:s=a"}
    try:
        async with Reader(url, signals, security=security, trust="pinned") as it:
            await it.read()
            assert it.values("a") == [2]
        with pytest.raises(NotConnectedError, match=rf"the server offers {security}\b"):
            async with Reader(url, signals, security="Aes256_Sha256_RsaPss/Sign", trust="pinned"):
                pass
    finally:
        await server.stop()


async def test_a_certificate_is_trusted_once(tmp_path: Path) -> None:
    """The same at the next start, and made out for wherever it is reached."""
    shown = []
    for _ in range(2):
        plant = simulated({"a": "m:s=a"}, {"a": waves.constant(2)}, security="auto")
        server = await serve(replace(plant, keep=tmp_path))
        async with Reader(f"opc.tcp://localhost:{server.port}", {"a": "m:s=a"}, security="auto", trust="pinned") as it:
            (pin,) = it.adapter._security.store.entries("pinned")
            shown.append(pin.certificate)
        await server.stop()
    assert shown[0] == shown[1]
    assert (tmp_path / "opcua" / "cnc.pem").stat().st_mode & 0o777 == 0o600


async def test_a_port_that_is_taken_is_an_os_error() -> None:
    plant = simulated({"a": "m:s=a"}, {"a": waves.constant(2)})
    listener = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    taken = Context(plant.name, plant.connection, plant.machines, plant.ledger, plant.clock, plant.start, port=port)
    with pytest.raises(OSError, match="address already in use"):
        await serve(taken)
    listener.close()


def test_values_are_cast_to_what_the_variable_is() -> None:
    from simulators.opcua.points import Point

    def raw(value: Value, **settings: Any) -> Value:
        made = context("opc.tcp://127.0.0.1", {"a": {"node": "m:s=a", **settings}})
        (machine,) = made.machines.values()
        return Point(MACHINE, "a", machine.signals["a"], {"a": lambda _: value}).raw(0.0)  # type: ignore[arg-type]

    assert raw(2.6, type="int") == 3
    assert raw(True) is True
    assert raw(2, type="float") == 2.0
    assert raw(20.0, offset=5) == 15.0


async def test_the_example_runs_against_its_simulator() -> None:
    configuration = load(Path(opcua.__file__).parent / "example.yaml", protocols())
    ledger = Ledger.memory()
    async with simulate(configuration, ledger=ledger, port_base=0) as plant:
        running = plant.redirect(configuration)
        machines = {running.path_of(name): machine for name, machine in running.machines.items()}
        link = running.connections["cnc"]
        adapter = opcua.build(
            AdapterContext("cnc", link, machines, SystemClock(), FlowCounters(), Path("data"), "edge")
        )
        try:
            await adapter.connect()
            read: dict[str, Value] = {}
            async with asyncio.timeout(20):
                while not any(name.startswith("alarm") for name in read):
                    for batch in await adapter.read():
                        assert isinstance(batch, Batch)
                        assert batch.quality is None
                        names = [batch.header.signals[i].name for i in batch.signal]
                        read |= zip(names, batch.value, strict=True)
        finally:
            await adapter.close()
    assert not plant.left_out
    assert read.keys() == running.machines["lathe-02"].signals.keys()
    assert read.keys() == {signal for entry in ledger.entries() for signal in entry.values}
