"""The messages and their JSON: what DESIGN fixes for `data`, `meta`, `status`, `loss` and the store's ranges. Pure.

A payload is made once, when the batch enters the buffer; those who read it check everything, because anybody may
write to a broker.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Literal

import orjson

from gateway.clock import artificial
from gateway.errors import PayloadError
from gateway.faults import fault_of
from gateway.model import (
    CLOCK_NOT_SET,
    EARLIEST,
    LATEST,
    Batch,
    Header,
    MachinePath,
    Signal,
    Value,
    is_bad,
    quality_code,
    quality_text,
)

VERSION = 1
MAX_BYTES = 16 * 2**20
MAX_SETTLES = 3600
State = Literal["online", "offline", "degraded"]
_VALUE_TYPES = {float, int, bool, str, type(None)}
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,128}")
_LEVELS = ("enterprise", "site", "area", "line", "machine")


def milliseconds(time_ns: int) -> float:
    """Milliseconds since 1970 with decimals to the microsecond, as `t` has them."""
    return time_ns // 1000 / 1000


def nanoseconds(t: float) -> int:
    """The way back, exact to the microsecond."""
    return round(t * 1000) * 1000


# --- data ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Frame:
    """Readings of one moment. A bad signal has no value; `quality` has only what is not good."""

    time: int  # ns since 1970, UTC
    values: Mapping[str, Value]
    quality: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Data:
    """A message of readings, with its identity (gateway, epoch, seq)."""

    gateway: str
    epoch: str
    seq: int
    frames: Sequence[Frame]


class DataEncoder:
    """Batches of one gateway and epoch become payloads. Names are prepared once per header."""

    def __init__(self, gateway: str, epoch: str) -> None:
        self._gateway, self._epoch = gateway, epoch
        self._names: dict[Header, tuple[str, ...]] = {}

    def forget(self, header: Header) -> None:
        """A header that is no longer in force."""
        self._names.pop(header, None)

    def __call__(self, batch: Batch, seq: int) -> bytes:
        """The payload of a batch. Readings of the same time that stand together share a frame."""
        return orjson.dumps(
            {
                "v": VERSION, "gateway": self._gateway, "epoch": self._epoch, "seq": seq,
                "frames": self._frames_of(batch),
            }
        )  # fmt: skip

    def latest(self, batches: Sequence[Batch]) -> bytes:
        """The newest readings of a machine, to be retained: no part of the data, so without an identity."""
        frames = [frame for batch in batches for frame in self._frames_of(batch)]
        return orjson.dumps({"v": VERSION, "gateway": self._gateway, "frames": frames})

    def _frames_of(self, batch: Batch) -> list[dict[str, Any]]:
        names = self._names.get(batch.header)
        if names is None:
            names = self._names[batch.header] = tuple(s.name for s in batch.header.signals)
        chosen = names if batch.signal is batch.header.order else [names[i] for i in batch.signal]
        time = batch.time
        if time and time[0] == time[-1] and time.count(time[0]) == len(time):
            frames = [_frame(time[0], chosen, batch.value, batch.quality)]
        elif batch.quality is None:
            frames = _frames(time, chosen, batch.value)
        else:
            frames, start = [], 0
            for t, run in groupby(time):
                end = start + sum(1 for _ in run)
                frames.append(_frame(t, chosen[start:end], batch.value[start:end], batch.quality[start:end]))
                start = end
        if batch.historical:
            for frame in frames:
                frame["historical"] = True
        return frames


def _frames(time: Sequence[int], names: Sequence[str], values: Sequence[Value]) -> list[dict[str, Any]]:
    """All good. A server may give each value its own stamp, so each is a frame: nothing is called for them."""
    frames: list[dict[str, Any]] = []
    readings: dict[str, Value] = {}
    before = None
    for t, name, value in zip(time, names, values, strict=True):
        if t == before:
            readings[name] = value
        else:
            before = t
            readings = {name: value}
            frames.append({"t": t // 1000 / 1000, "values": readings})
    return frames


def _frame(
    time_ns: int, names: Sequence[str], values: Sequence[Value], quality: Sequence[int] | None
) -> dict[str, Any]:
    t = time_ns // 1000 / 1000
    if quality is None or not any(quality):
        return {"t": t, "values": dict(zip(names, values, strict=True))}
    columns = list(zip(names, values, quality, strict=True))
    frame: dict[str, Any] = {"t": t, "values": {name: value for name, value, q in columns if not is_bad(q)}}
    if odd := {name: quality_text(q) for name, _, q in columns if q & 0xC0000000}:
        frame["quality"] = odd
    return frame


def decode_data(payload: bytes) -> Data:
    """Read a `data` message. Raises PayloadError that says what is wrong."""
    message = _object(payload)
    gateway, epoch, seq = _identity(message)
    frames = message.get("frames")
    if not isinstance(frames, list):
        raise PayloadError("'frames' is not a list")
    return Data(gateway, epoch, seq, [_decode_frame(frame) for frame in frames])


def decode_identity(payload: bytes) -> tuple[str, str, int]:
    """Gateway, epoch and seq of a message, whatever else is wrong with it. Raises PayloadError."""
    return _identity(_object(payload))


def _decode_frame(frame: Any) -> Frame:
    if not isinstance(frame, dict):
        raise PayloadError("a frame is not an object")
    t, values, quality = frame.get("t"), frame.get("values"), frame.get("quality", {})
    if not isinstance(t, (int, float)) or isinstance(t, bool) or not EARLIEST <= t * 1e6 < LATEST:
        raise PayloadError(f"t is {t!r}, not milliseconds since 1970 of a time between 1980 and 2100")
    if not isinstance(values, dict) or not isinstance(quality, dict):
        raise PayloadError("'values' or 'quality' is not an object")
    if not _VALUE_TYPES.issuperset(map(type, values.values())):
        name = next(name for name, value in values.items() if type(value) not in _VALUE_TYPES)
        raise PayloadError(f"the value of {name!r} is neither number, text nor boolean")
    try:
        codes = {name: quality_code(text) for name, text in quality.items()}
    except (ValueError, AttributeError) as exc:
        raise PayloadError(f"a quality is not known: {exc}") from exc
    return Frame(nanoseconds(t), values, codes)


# --- meta and status -------------------------------------------------------------------------------------------------


def encode_meta(
    path: MachinePath,
    signals: Iterable[Signal],
    gateway: str,
    version: int = 0,
    rules: str = "",
    sending: Callable[[Signal], Mapping[str, Any]] = lambda _: {},
) -> bytes:
    """The schema of a machine's `data`: all there is to know of each signal. `version` counts its changes.

    `rules`: a digest of what is done to its readings. `sending`: what there is to say of when a signal is sent.
    """
    message = {
        "v": VERSION, "gateway": gateway, "version": version, **({"rules": rules} if rules else {}),
        "path": {level: getattr(path, level) for level in _LEVELS if getattr(path, level)},
        "signals": {s.name: {**describe(s), **sending(s)} for s in signals},
    }  # fmt: skip
    return orjson.dumps(message)


def describe(s: Signal) -> dict[str, Any]:
    """What a signal is, as `meta` has it; what there is nothing to say of is left out."""
    entry: dict[str, Any] = {"type": s.type, "kind": s.kind}
    if s.low is not None and s.high is not None:
        entry["range"] = [s.low, s.high]
    if s.states:
        entry["states"] = {str(number): text for number, text in s.states.items()}
    if s.precision is not None:
        entry["precision"] = s.precision
    given = {
        "unit": s.unit, "description": s.description, "semantic": s.semantic, "formula": s.formula, "inputs": s.made_of,
    }  # fmt: skip
    return entry | {key: value for key, value in given.items() if value}


@dataclass(frozen=True, slots=True)
class Meta:
    """What a writer needs to know of a machine: its place, and the numbers behind the texts of its states."""

    path: MachinePath
    types: Mapping[str, str]
    units: Mapping[str, str]
    states: Mapping[str, Mapping[str, int]] = field(default_factory=dict)  # signal -> text -> number


def decode_meta(payload: bytes) -> Meta:
    """Read a `meta` message. Raises PayloadError."""
    message = _object(payload)
    path, signals = message.get("path"), message.get("signals")
    if not isinstance(path, dict) or not isinstance(signals, dict) or not isinstance(path.get("machine"), str):
        raise PayloadError("'path' or 'signals' is not as in a meta message")
    states: dict[str, dict[str, int]] = {}
    try:
        for name, entry in signals.items():
            if "states" in entry:
                states[name] = {str(text): int(number) for number, text in entry["states"].items()}
        return Meta(
            MachinePath(**{level: str(path.get(level, "")) for level in _LEVELS}),
            {name: str(entry["type"]) for name, entry in signals.items()},
            {name: str(entry.get("unit", "")) for name, entry in signals.items()},
            states,
        )
    except (KeyError, TypeError, ValueError, AttributeError) as exc:
        raise PayloadError(f"a signal of this meta message is broken: {exc!r}") from exc


def encode_status(state: State, since_ns: int, reason: str, *, fault: str = "", **more: Any) -> bytes:
    """The state of a machine or a gateway. `reason` is empty while all is well.

    `fault`: the code of the reason in the catalogue of faults, taken from a reason that knows it; only where there is one.
    """
    if code := fault or fault_of(reason):
        more = {"fault": code, **more}
    return orjson.dumps({"v": VERSION, "state": state, "since": milliseconds(since_ns), "reason": reason, **more})


def gateway_of(payload: bytes) -> str | None:
    """Which gateway says a `meta` or `status`; None where that cannot be read."""
    try:
        gateway = _object(payload).get("gateway")
    except PayloadError:
        return None
    return gateway if isinstance(gateway, str) else None


# --- what is stored, what is lost ------------------------------------------------------------------------------------

Ranges = Sequence[tuple[int, int]]
"""First and last seq of each stretch, both included; ascending, not touching."""


@dataclass(frozen=True, slots=True)
class Stored:
    """What a writer has stored of one gateway's epoch."""

    gateway: str
    epoch: str
    ranges: Ranges
    settles: float = 0.0  # seconds by which this lags behind what was written: the store may forget it until then


def encode_stored(stored: Stored, now_ns: int) -> bytes:
    """The retained acknowledgement of a writer."""
    ranges = [list(r) for r in stored.ranges]
    message = {
        "v": VERSION, "gateway": stored.gateway, "epoch": stored.epoch, "ranges": ranges, "t": milliseconds(now_ns),
    }  # fmt: skip
    if stored.settles:
        message["settles"] = stored.settles
    return orjson.dumps(message)


def decode_stored(payload: bytes) -> Stored:
    """Read an acknowledgement. Raises PayloadError."""
    message = _object(payload)
    gateway, epoch, ranges = message.get("gateway"), message.get("epoch"), message.get("ranges")
    if not isinstance(gateway, str) or not isinstance(epoch, str) or not isinstance(ranges, list):
        raise PayloadError("'gateway', 'epoch' or 'ranges' is missing")
    for r in ranges:
        if not (isinstance(r, list) and len(r) == 2 and all(type(n) is int for n in r) and 0 < r[0] <= r[1]):
            raise PayloadError(f"{r!r} is not a range of sequence numbers")
    settles = message.get("settles", 0.0)
    if not isinstance(settles, (int, float)) or not 0 <= settles <= MAX_SETTLES:
        raise PayloadError(f"'settles' is {settles!r}, not seconds up to {MAX_SETTLES}")
    return Stored(gateway, epoch, merge_ranges([(a, b) for a, b in ranges]), float(settles))


def merge_ranges(ranges: Ranges) -> list[tuple[int, int]]:
    """The same numbers in as few stretches as there can be, ascending."""
    merged: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return merged


@dataclass(frozen=True, slots=True)
class Loss:
    """Messages that were dropped, and why. Empty machine and signal: not only of one."""

    epoch: str
    first: int
    last: int
    count: int  # readings
    start: int  # ns since 1970
    end: int
    cause: str
    machine: str = ""
    signal: str = ""
    told_in: str = ""  # the epoch of the loss record itself, where it is not that of what was lost
    again: int = field(default=0, compare=False)  # of `count`, told by a record that was dropped; stays here

    @property
    def new(self) -> int:
        """Readings of which nobody was told before: whoever counts losses adds these."""
        return self.count - self.again


def encode_loss(loss: Loss, gateway: str, seq: int) -> bytes:
    """A loss record. It travels through the buffer, so it has an identity of its own."""
    own = {"seq_epoch": loss.told_in} if loss.told_in else {}
    return orjson.dumps(
        {
            **own,
            "v": VERSION, "gateway": gateway, "seq": seq, "epoch": loss.epoch, "first": loss.first, "last": loss.last,
            "count": loss.count, "from": milliseconds(loss.start), "to": milliseconds(loss.end),
            "machine": loss.machine, "signal": loss.signal, "cause": loss.cause,
        }
    )  # fmt: skip


def decode_loss(payload: bytes) -> tuple[str, int, Loss]:
    """Read a loss record: gateway, its own seq, and what was lost. Raises PayloadError."""
    message = _object(payload)
    gateway, epoch, seq = _identity(message)
    try:
        first, last, count = int(message["first"]), int(message["last"]), int(message["count"])
        start, end = nanoseconds(float(message["from"])), nanoseconds(float(message["to"]))
        cause, machine, signal = str(message["cause"]), str(message.get("machine", "")), str(message.get("signal", ""))
        told_in = str(message.get("seq_epoch", ""))
    except (KeyError, TypeError, ValueError, OverflowError) as exc:
        raise PayloadError(f"this loss record is broken: {exc!r}") from exc
    return gateway, seq, Loss(epoch, first, last, count, start, end, cause, machine, signal, told_in)


# --- times that were not known yet ---------------------------------------------------------------------------------


def rebase(payload: bytes, shift: int, sure: bool) -> bytes:
    """The same message, its artificial times (gateway/clock.py) moved by `shift` ns; others are left alone.

    Where that is only a guess, every reading is uncertain.
    """
    message = _object(payload)
    for frame in message.get("frames", ()):
        if not artificial(round(frame["t"] * 1e6)):
            continue
        frame["t"] = milliseconds(nanoseconds(frame["t"]) + shift)
        if not sure:
            said = dict.fromkeys(frame["values"], quality_text(CLOCK_NOT_SET))
            frame["quality"] = {**said, **frame.get("quality", {})}
    for key in ("from", "to"):
        if key in message and artificial(round(message[key] * 1e6)):
            message[key] = milliseconds(nanoseconds(message[key]) + shift)
    return orjson.dumps(message)


# --- common ----------------------------------------------------------------------------------------------------------


def _object(payload: bytes) -> dict[str, Any]:
    if len(payload) > MAX_BYTES:
        raise PayloadError(f"{len(payload)} bytes are too many for one message")
    try:
        message = orjson.loads(payload)
    except orjson.JSONDecodeError as exc:
        raise PayloadError(f"not JSON: {exc}") from exc
    if not isinstance(message, dict):
        raise PayloadError("not a JSON object")
    if message.get("v") != VERSION:
        raise PayloadError(f"version {message.get('v')!r} is not known, only {VERSION}")
    return message


def _identity(message: Mapping[str, Any]) -> tuple[str, str, int]:
    gateway, epoch, seq = message.get("gateway"), message.get("epoch"), message.get("seq")
    if not isinstance(gateway, str) or not isinstance(epoch, str) or type(seq) is not int or seq < 1:
        raise PayloadError("'gateway', 'epoch' or 'seq' is missing")
    if not _NAME.fullmatch(gateway):  # it becomes part of a topic
        raise PayloadError(f"{gateway!r} is not the id of a gateway")
    return gateway, epoch, seq
