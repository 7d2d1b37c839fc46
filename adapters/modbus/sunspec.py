"""SunSpec: where the models of a device stand. Talks through `ask` only.

    40000  "SunS"           the marker, at one of three places
    40002  1, 66, …         the first model: its ID, how many registers follow, and these
    40070  103, 50, …       the next one
    40122  0xFFFF, 0        no more

A signal with `sunspec: 103` and `holding: 14` is the register 14 behind that ID. What is read of a model is believed only
if its ID and length were read along with it, or right after it, and are those that were found: devices put their models
elsewhere with new firmware, another meter, or an option that is switched on, and what stands there then looks as good.

What stands where: SunSpec Device Information Model Specification V1.1, and the models in sunspec/models, json/.
"""

from __future__ import annotations

import struct
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from adapters.modbus.link import Answer
from adapters.modbus.signals import ADDRESSES, LAST_MODEL, MODEL_LENGTHS, ModbusSignal

MARKER = b"SunS"
BASES = (40000, 50000, 0)
HEAD = 2  # registers of ID and length
MOST = 100  # models; a list that goes on is none
_ABSENT = (1, 2, 3)  # exception codes by which a device says that it has no such registers

Ask = Callable[[int, int], Awaitable[Answer]]
"""One request for holding registers: address, number."""


class Model(NamedTuple):
    """A model in a device."""

    id: int
    address: int  # of its ID
    length: int  # registers behind ID and length

    @property
    def end(self) -> int:
        return self.address + HEAD + self.length

    @property
    def head(self) -> bytes:
        """ID and length, as they stand in their registers."""
        return struct.pack(">HH", self.id, self.length)


@dataclass(frozen=True, slots=True)
class Chain:
    """The models of a device in their order. Without a marker there is no base, and no model."""

    base: int | None = None
    models: tuple[Model, ...] = ()

    def __str__(self) -> str:
        return ", ".join(f"{model.id} at {model.address}" for model in self.models) or "none"


class PlacedSignal(ModbusSignal):
    """A signal of a model, at its address in the device."""

    within: Model


async def find(ask: Ask, first: int = 0) -> Chain | None:
    """Look for the marker, the place number `first` before the others, and follow the models from there to their end.

    None where the device did not answer, or could not just now. Whatever it says, there are at most MOST + 4 requests.
    """
    for base in (*BASES[first:], *BASES[:first]):
        answer = await ask(base, HEAD)
        if answer.data is None and answer.code not in _ABSENT:
            return None
        if answer.data == MARKER:
            models = await _follow(ask, base + HEAD)
            return None if models is None else Chain(base, models)
    return Chain()


async def _follow(ask: Ask, at: int) -> tuple[Model, ...] | None:
    models: list[Model] = []
    while len(models) < MOST and at + HEAD <= ADDRESSES:
        answer = await ask(at, HEAD)
        if answer.data is None:
            if answer.code not in _ABSENT:
                return None
            break  # some devices have nothing where the end should be
        number, length = struct.unpack(">HH", answer.data)
        model = Model(number, at, length)
        if not 0 < model.id <= LAST_MODEL or not model.length or model.end > ADDRESSES:
            break
        models.append(model)
        at = model.end
    return tuple(models)


# --- signals and models ----------------------------------------------------------------------------------------------


def model_of(signal: ModbusSignal, models: Iterable[Model]) -> Model | None:
    """The one a signal is in, if the device has it."""
    alike = [model for model in models if model.id in signal.sunspec]
    return alike[signal.occurrence - 1] if len(alike) >= signal.occurrence else None


def place(signal: ModbusSignal, models: Iterable[Model]) -> PlacedSignal | None:
    """A signal at its address on the wire; None where the device has no such model, or a shorter one."""
    model = model_of(signal, models)
    if model is None or signal.address + signal.size > HEAD + model.length:
        return None
    return _placed(signal, model, signal.address)


def head_of(model: Model, poll: float) -> PlacedSignal:
    """ID and length of a model, to be read along with what is in it."""
    return _placed(ModbusSignal.model_construct(type="uint32", poll=poll), model, 0)


def _placed(signal: ModbusSignal, model: Model, offset: int) -> PlacedSignal:
    address = {"holding": model.address + offset, "numbering": "zero-based"}
    return PlacedSignal.model_construct(None, **{**dict(signal), **address, "within": model})


def usual(signals: Mapping[str, ModbusSignal]) -> tuple[Model, ...]:
    """Where models stand before anybody has looked: the common one first, then the others by ID, the first of each list."""
    needed = {(1, 1): 1}  # registers behind the head, by ID and occurrence
    for signal in signals.values():
        for nth in range(1, signal.occurrence + 1) if signal.sunspec else ():
            which = signal.sunspec[0], nth
            needed[which] = max(needed.get(which, 1), signal.address + signal.size - HEAD)
    at, models = BASES[0] + HEAD, []
    for (number, _), least in sorted(needed.items()):
        models.append(Model(number, at, MODEL_LENGTHS.get(number, least)))
        at = models[-1].end
    return tuple(models)


def missing(signals: Mapping[str, ModbusSignal], chain: Chain) -> list[str]:
    """What a device has not of what its signals need, for people."""
    wanted = {name: signal for name, signal in signals.items() if signal.sunspec}
    if chain.base is None:
        places = ", ".join(map(str, BASES))
        return (
            [f'there is no "SunS" at holding {places}; is SunSpec switched on, and `unit_id` right?'] if wanted else []
        )
    lacking: dict[str, None] = {}
    short: dict[Model, list[str]] = {}
    for name, signal in wanted.items():
        if (model := model_of(signal, chain.models)) is None:
            lacking[_spoken(signal)] = None
        elif place(signal, chain.models) is None:
            short.setdefault(model, []).append(name)
    found = []
    if lacking:
        has = ", ".join(str(model.id) for model in chain.models) or "none"
        verb = "is" if len(lacking) == 1 else "are"
        found.append(f"the device has the SunSpec models {has}; {', '.join(lacking)} {verb} not among them")
    for model, names in short.items():
        found.append(f"its SunSpec model {model.id} has {model.length} registers; behind its end: {_few(names)}")
    return found


def _spoken(signal: ModbusSignal) -> str:
    ids = " or ".join(map(str, signal.sunspec))
    return ids if signal.occurrence == 1 else f"{ids} for the {signal.occurrence}. time"


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
