"""What the answers of a recorded machine carry: its signals, decoded as those of a simulated one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import cast

from adapters.modbus.config import ModbusMachine
from gateway.model import Value
from simulators.machine import Replaying, SimulatedMachine
from simulators.modbus.image import HOLDING, Image, Point, Served
from simulators.modbus.points import images
from simulators.modbus.replay.responder import Responder
from simulators.modbus.sunspec import Arrangement

_SUNSPEC_BASES = (40000, 50000, 0)  # SunSpec Information Model Specification V1.9, 6.2
_SUNS = b"SunS"
_MOST_MODELS = 100


class Carried:
    """What the recorded answers mean: signals that lie in them."""

    def __init__(self, replaying: Replaying, responder: Responder) -> None:
        self._replaying, self._responder = replaying, responder
        machines = [] if replaying.configuration is None else [self._machine(name) for name in replaying.machines]
        units = {cast("ModbusMachine", machine.settings).unit_id for machine in machines}
        arrangements = {unit: found for unit in units if (found := self._arrangement(unit))}
        self._images: Mapping[int, Image] = images(machines, arrangements)
        self._points: dict[tuple[str, str], tuple[int, Point]] = {
            (point.machine, point.signal): (unit, point)
            for unit, image in self._images.items()
            for point in image.points
        }

    def by(self, unit: int, request: bytes, answer: bytes, now: int) -> Served:
        """Nothing where it is no answer to a read, or no machine is known."""
        image = self._images.get(unit)
        if image is None or not 1 <= answer[0] <= 4 or len(request) != 5:
            return ()
        address, count = int.from_bytes(request[1:3], "big"), int.from_bytes(request[3:5], "big")
        served = image.carried(answer[0], address, count, answer[2:], (now - self._replaying.start) / 1e9)
        return [(machine, values) for machine, values in served if values]

    def _machine(self, name: str) -> SimulatedMachine:
        configuration = self._replaying.configuration
        assert configuration is not None
        settings = configuration.machines[name]
        # Only the powers of ten of other signals are ever asked for.
        waves = {signal: self._wave(name, signal) for signal in settings.signals}
        return SimulatedMachine(configuration.path_of(name), settings, waves)

    def _wave(self, machine: str, signal: str) -> Callable[[float], Value]:
        """What the machine said last of a signal, by the time of the replay."""

        def wave(t: float) -> Value:
            if (found := self._points.get((machine, signal))) is None:
                return 0  # of a model that the device does not have
            unit, point = found
            time = self._replaying.at(self._replaying.start + round(t * 1e9))
            data = self._responder.read(unit, point.function, point.address, point.size, time)
            return 0 if data is None else point.take(data, 0, t)

        return wave

    def _arrangement(self, unit: int) -> Arrangement | None:
        """Where the device has its SunSpec models, as its answers tell; None where it has none."""
        for base in _SUNSPEC_BASES:
            if self._words(unit, base, 2) != _SUNS:
                continue
            at = base + 2
            models: list[tuple[int, int]] = []
            while len(models) < _MOST_MODELS and (head := self._words(unit, at, 2)) is not None:
                number, length = int.from_bytes(head[:2], "big"), int.from_bytes(head[2:], "big")
                if number == 0xFFFF:
                    break
                models.append((number, length))
                at += 2 + length
            return Arrangement(base, models)
        return None

    def _words(self, unit: int, address: int, count: int) -> bytes | None:
        return self._responder.read(unit, HOLDING, address, count, 0)
