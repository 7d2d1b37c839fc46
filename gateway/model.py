"""The vocabulary: what a signal, a header and a batch are, and what quality means.

Header ── made once: the machine's path and its signals, in order
  │
Batch  ── readings of that machine in columns; no object per reading
    signal  [0,     1,     2   ]   index into header.signals
    time    [t,     t,     t   ]   ns since 1970, UTC
    value   [230.4, None,  12  ]   None where the quality is bad
    quality [0,     0x80…, 0   ]   or None for the whole column: all good
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

Value = float | int | bool | str | None
ValueType = Literal["float", "int", "bool", "string"]

# --- quality ---------------------------------------------------------------------------------------------------------
# A quality is an OPC UA status code (Part 4, 7.39): the two highest bits are the severity, and what an OPC UA server
# says is kept as it is. Reasons found by the gateway itself take the standard code with the same meaning; those without
# one take codes the OPC Foundation has not assigned (sub code 0xFF0 and up).

GOOD = 0x00000000
SEVERITY = 0xC0000000
UNCERTAIN = 0x40000000
BAD = 0x80000000
_CODE = 0xFFFF0000  # below are flags: limits, overflow, semantics changed

CONFIG_ERROR = 0x80890000
NOT_CONNECTED = 0x808A0000
DEVICE_FAILURE = 0x808B0000
SENSOR_FAILURE = 0x808C0000
OUT_OF_SERVICE = 0x808D0000
NO_COMMUNICATION = 0x80310000
WAITING_FOR_DATA = 0x80320000
NODE_UNKNOWN = 0x80340000
OUT_OF_RANGE = 0x40940000
STALE = 0x8FF00000
ILLEGAL_ADDRESS = 0x8FF10000
NOT_AVAILABLE = 0x8FF20000
NOT_A_NUMBER = 0x8FF30000
INVALID_DATA = 0x8FF40000
WRONG_TYPE = 0x8FF50000
UNKNOWN_STATE = 0x4FF00000
CLOCK_NOT_SET = 0x4FF10000
FLAT_LINE = 0x4FF20000
IMPLAUSIBLE_RATE = 0x4FF30000
COUNTER_UNSETTLED = 0x4FF40000
COUNTER_RESET = 0x4FF50000
COUNTER_REPLACED = 0x4FF60000
COUNTER_AMBIGUOUS = 0x4FF70000
INCOMPLETE = 0x4FF80000

REASONS: Mapping[int, str] = {
    CONFIG_ERROR: "config-error",  # the configuration and the machine do not fit
    NOT_CONNECTED: "not-connected",  # the link to the machine is down
    DEVICE_FAILURE: "device-failure",  # the machine says it is broken
    SENSOR_FAILURE: "sensor-failure",  # the machine says its sensor is broken
    OUT_OF_SERVICE: "out-of-service",  # switched off by purpose
    NO_COMMUNICATION: "no-communication",  # the link is up, the machine behind it does not answer
    WAITING_FOR_DATA: "waiting-for-data",  # connected, no first value yet
    NODE_UNKNOWN: "unknown-node",  # the server has no such node
    OUT_OF_RANGE: "out-of-range",  # outside the configured `range`
    STALE: "stale",  # no sign of life for `stale_after`
    ILLEGAL_ADDRESS: "illegal-address",  # the device has no such register
    NOT_AVAILABLE: "not-available",  # one of the values the device uses for "no value" (`invalid:`)
    NOT_A_NUMBER: "not-a-number",  # NaN or infinity
    INVALID_DATA: "invalid-data",  # bytes that are no value of this type
    WRONG_TYPE: "wrong-type",  # not of the type this signal has had since start-up
    CLOCK_NOT_SET: "clock-not-set",  # read in a boot that never learnt the time: its stamp is a guess
    UNKNOWN_STATE: "unknown-state",  # a number that `enum` does not name
    FLAT_LINE: "flat-line",  # has not moved at all for `flat_after`
    IMPLAUSIBLE_RATE: "implausible-rate",  # changed faster than `max_rate`
    COUNTER_UNSETTLED: "counter-unsettled",  # out of line with the reading before: the next one tells
    COUNTER_RESET: "counter-reset",  # began anew: what it counted before that and after the last reading is not known
    COUNTER_REPLACED: "counter-replaced",  # another count: nothing is added, as what was counted meanwhile is not known
    COUNTER_AMBIGUOUS: "counter-ambiguous",  # may have gone round more than once, or leapt
    INCOMPLETE: "incomplete",  # worked out from what does not cover all of the time
}
_SEVERITIES = {GOOD: "good", UNCERTAIN: "uncertain", BAD: "bad", SEVERITY: "bad"}
_CODES = {reason: code for code, reason in REASONS.items()}


def is_good(quality: int) -> bool:
    """Good, with or without a sub code: 'good, local override' is a good reading."""
    return not quality & SEVERITY


def is_bad(quality: int) -> bool:
    """Bad: there is no value."""
    return quality >= BAD


def quality_text(quality: int) -> str:
    """`good`, `bad:no-communication`, `uncertain:out-of-range`, `bad:server:0x80ABCDEF`."""
    if is_good(quality):
        return "good"
    code = quality & _CODE
    return f"{_SEVERITIES[quality & SEVERITY]}:{REASONS.get(code) or f'server:0x{code:08X}'}"


def quality_code(text: str) -> int:
    """The way back from `quality_text`. Raises ValueError for a text that it never writes."""
    if text == "good":
        return GOOD
    _, _, reason = text.partition(":")
    if reason in _CODES:
        return _CODES[reason]
    if reason.startswith("server:0x"):
        return int(reason[9:], 16)
    raise ValueError(f"{text!r} is not a quality")


# --- time ------------------------------------------------------------------------------------------------------------

# Stamps outside 1980 to 2100 are no times of readings: 1601, 1970 and 9999 stand for "no time" in clocks and servers.
# A reading with such a stamp gets the time of its arrival. In ns since 1970, UTC; the end is outside.
EARLIEST, LATEST = 315_532_800_000_000_000, 4_102_444_800_000_000_000


# --- what a machine is -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class MachinePath:
    """Where a machine stands: the ISA-95 levels above it, those that are not used left empty."""

    machine: str
    enterprise: str = ""
    site: str = ""
    area: str = ""
    line: str = ""

    def levels(self) -> tuple[str, ...]:
        """From the enterprise down to the machine, without empty ones."""
        return tuple(filter(None, (self.enterprise, self.site, self.area, self.line, self.machine)))


@dataclass(frozen=True, slots=True)
class Signal:
    """A named quantity of a machine, as it leaves the gateway. Its type never changes at run time."""

    name: str
    type: ValueType
    unit: str = ""  # UCUM
    description: str = ""
    kind: Literal["gauge", "counter", "event"] = "gauge"  # an event is news when it happens, and holds for no time
    low: float | None = None
    high: float | None = None
    states: Mapping[int, str] = field(default_factory=dict)  # raw number -> text
    semantic: str = ""  # what it is in a companion model or dictionary
    precision: int | None = None  # decimals that mean something
    wraps_at: float | None = None  # of a counter, as the machine has it: where it begins at 0 again
    made_of: tuple[str, ...] = ()  # the signals it is worked out from
    formula: str = ""  # how
    guessed: bool = False  # what it is has to be learnt from the machine first, which was not possible yet


@dataclass(frozen=True, slots=True, eq=False)
class Header:
    """Made once, compared by identity: what is true of all batches of one machine."""

    path: MachinePath
    signals: tuple[Signal, ...]
    order: tuple[int, ...] = field(init=False)  # 0, 1, 2 …: the `signal` column of a batch that holds every signal once

    def __post_init__(self) -> None:
        object.__setattr__(self, "order", _order(len(self.signals)))


@lru_cache
def _order(count: int) -> tuple[int, ...]:
    return tuple(range(count))


@dataclass(frozen=True, slots=True)
class Batch:
    """Readings of one machine. All columns are equally long."""

    header: Header
    signal: Sequence[int]  # index into header.signals, one per reading
    time: Sequence[int]  # ns since 1970, UTC: the device's own clock where it has one, else arrival of the block
    value: Sequence[Value]  # None where the quality is bad
    quality: Sequence[int] | None  # None: all good
    historical: bool = False  # fetched later, from what the machine remembers: not what is true now

    def __len__(self) -> int:
        return len(self.signal)


@dataclass(frozen=True, slots=True)
class Gap:
    """Values that a machine had and nobody will ever bring: what it dropped, what changed while it was out of reach."""

    header: Header
    signal: Sequence[int]  # index into header.signals; empty: any of them
    start: int  # ns since 1970, UTC
    end: int
    count: int  # values; 0: not known
    cause: str
