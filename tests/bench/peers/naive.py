"""The gateway one writes first: pymodbus converts each value, pydantic makes a model of each, paho a message of each.

    python naive.py MODBUS_PORT MQTT_PORT MACHINES BLOCKS PERIOD SECONDS

Prints the number of readings and the CPU seconds they took. PERIOD in seconds; 0: one poll follows the other.
"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Literal

import paho.mqtt.client as paho
from pydantic import BaseModel
from pymodbus.client import AsyncModbusTcpClient
from pymodbus.client.mixin import ModbusClientMixin

from bench.peers.machines import BLOCK, Register, mixed

TYPES = ModbusClientMixin.DATATYPE
MOST_QUEUED = 2000  # messages: it publishes no faster than they are acknowledged
WARM_UP = 1.0


class Reading(BaseModel):
    """One value."""

    machine: str
    signal: str
    time: float
    value: float | int | None
    unit: str = ""
    quality: Literal["good", "uncertain", "bad"] = "good"


class Broker:
    """A link to the broker, in a thread of its own."""

    def __init__(self, port: int) -> None:
        self.published = self.acknowledged = 0
        self.client = paho.Client(paho.CallbackAPIVersion.VERSION2)
        self.client.max_queued_messages_set(0)
        self.client.on_publish = self._on_publish
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()

    def publish(self, topic: str, payload: str) -> None:
        self.client.publish(topic, payload, qos=1)
        self.published += 1

    def _on_publish(self, *_: object) -> None:
        self.acknowledged += 1


class Machine:
    """One machine with a connection of its own."""

    def __init__(self, name: str, port: int, registers: list[Register], broker: Broker) -> None:
        self.name, self.registers, self.broker = name, registers, broker
        self.client = AsyncModbusTcpClient("127.0.0.1", port=port)
        self.scale = {"uint16": 0.1, "int16": 0.01, "int32": 0.001}
        self.readings = 0

    async def poll(self) -> None:
        registers: list[int] = []
        for address in range(0, self.registers[-1].end, BLOCK):
            answer = await self.client.read_holding_registers(address, count=BLOCK, device_id=1)
            registers += answer.registers
        now = time.time()
        for r in self.registers:
            value = self.client.convert_from_registers(
                registers[r.address : r.end],
                TYPES[r.kind.type.upper()],
                word_order="little" if r.swapped else "big",
            )
            if scale := self.scale.get(r.kind.type):
                value *= scale  # type: ignore[operator]
            reading = Reading(machine=self.name, signal=r.name, time=now, value=value)  # type: ignore[arg-type]
            self.broker.publish(f"naive/{self.name}/{r.name}", reading.model_dump_json())
            self.readings += 1

    async def run(self, offset: float, period: float) -> None:
        await self.client.connect()
        start = time.monotonic() + offset
        tick = 0
        while True:
            await asyncio.sleep(max(0.0, start + tick * period - time.monotonic()))
            while self.broker.published - self.broker.acknowledged > MOST_QUEUED:
                await asyncio.sleep(0.002)
            await self.poll()
            tick += 1


async def main() -> None:
    port, mqtt, count, blocks = map(int, sys.argv[1:5])
    period, seconds = map(float, sys.argv[5:7])
    broker = Broker(mqtt)
    registers = mixed(blocks)
    machines = [Machine(f"m{i}", port, registers, broker) for i in range(count)]
    tasks = [asyncio.create_task(m.run(i * period / count, period)) for i, m in enumerate(machines)]
    await asyncio.sleep(WARM_UP)
    before, cpu = sum(m.readings for m in machines), time.process_time()
    await asyncio.sleep(seconds)
    print(sum(m.readings for m in machines) - before, time.process_time() - cpu, flush=True)
    for task in tasks:
        task.cancel()
    broker.client.loop_stop()


if __name__ == "__main__":
    asyncio.run(main())
