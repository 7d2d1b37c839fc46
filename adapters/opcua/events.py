"""From the fields of an event to four readings: severity, source, message, state. Pure.

    FIELDS ─ what is selected from the server ─▶ wire.Event ─ Stream.take ─▶ readings, four with one time for each event
      └─ a server that does not know conditions is asked for BASIC only: the first of them

source   of an event its SourceName; of a condition with its name as well, as in CNC1/OverSpeed: one source can have many
state    in these words, separated by ", " and in this order:
         event                                         nothing but an event
         disabled                                      a condition that is switched off; nothing else is said of it
         active | inactive | enabled                   an alarm; a condition that is no alarm
         unacknowledged | unconfirmed | acknowledged   what a person still has to do; nothing where nobody is asked
         suppressed                                    the server does not want it shown (SuppressedOrShelved)
         branch                                        an earlier occurrence that still waits for a person (Part 9, 4.2)
time     the event's own, else when the server received it, else when it arrived

No two events of a stream have the same time, or the second would take the place of the first: it is moved on by 1 µs. An
event that comes again, as the conditions do that a refresh brings (Part 9, 5.5.7), is not handed on again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, get_args

from adapters.opcua.signals import EventPart
from adapters.opcua.wire import Event
from gateway.model import EARLIEST, GOOD, LATEST, NOT_AVAILABLE, Value

# --- what is selected ------------------------------------------------------------------------------------------------

VALUE, NODE_ID = 13, 1  # attributes


class Field(NamedTuple):
    """A SimpleAttributeOperand (Part 4, 7.7.4.5)."""

    name: str
    type: int  # i= of the event type that has the field
    path: tuple[str, ...]  # browse names, of namespace 0
    attribute: int = VALUE


def _fields(type: int, *paths: str) -> tuple[Field, ...]:
    return tuple(Field(path, type, tuple(path.split("/"))) for path in paths)


BASIC = _fields(  # of BaseEventType (Part 5, 6.4.2)
    2041, "EventId", "EventType", "SourceNode", "SourceName", "Time", "ReceiveTime", "Message", "Severity"
)  # fmt: skip
FIELDS = (  # BASIC, and what the types of conditions add (Part 9, 5.5.2, 5.7.2, 5.8.2)
    *BASIC,
    Field("ConditionId", 2782, (), NODE_ID),
    *_fields(2782, "ConditionName", "BranchId", "Retain", "EnabledState", "EnabledState/Id"),
    *_fields(2881, "AckedState/Id", "ConfirmedState/Id"),
    *_fields(2915, "ActiveState", "ActiveState/Id", "SuppressedOrShelved"),
)
_NAMES = tuple(field.name for field in FIELDS)

# Event types that are said to the client, not of the machine (Part 4, 7.22.3; Part 9, 5.11).
_OVERFLOW, _REFRESH_REQUIRED = "i=3035", "i=2789"
_REFRESH = ("i=2787", "i=2788")  # it starts, it ends

# --- readings --------------------------------------------------------------------------------------------------------

KEPT = 2000  # events that are remembered: more than a server retains conditions, and than come in one burst
_1970 = 116_444_736_000_000_000  # in 100 ns since 1601


PARTS: tuple[EventPart, ...] = get_args(EventPart)
"""What each event becomes, in this order."""


@dataclass(slots=True)
class Taken:
    """Readings in columns, four for each event."""

    signal: list[int] = field(default_factory=list)
    time: list[int] = field(default_factory=list)  # ns since 1970
    value: list[Value] = field(default_factory=list)
    quality: list[int] | None = None  # None: all good
    overflows: int = 0  # times the server dropped events because its queue was full
    refresh: bool = False  # the server asks for a refresh: it has lost track of what it told us


class Stream:
    """The events of one object."""

    def __init__(self, signals: Sequence[int], severity: int) -> None:
        """`signals`: where severity, source, message and state stand in the header; `severity`: the lowest wanted."""
        assert len(signals) == len(PARTS)
        self._signals, self._severity = tuple(signals), severity
        self._known: OrderedDict[Any, int] = OrderedDict()  # event -> the microsecond it was given
        self._next: dict[int, int] = {}  # microsecond that is taken -> one after it that may be free

    def take(self, events: Sequence[Event], arrival: int) -> Taken:
        """The readings of some events, in their order. `arrival` in ns since 1970."""
        taken = Taken()
        for event in events:
            said = dict(zip(_NAMES, event.fields, strict=False))  # fewer, where only BASIC could be had
            kind = _value(said, "EventType")
            if kind == _OVERFLOW:
                taken.overflows += 1
            elif kind == _REFRESH_REQUIRED:
                taken.refresh = True
            elif kind not in _REFRESH:
                self._add(said, arrival, taken)
        return taken

    def _add(self, said: Mapping[str, tuple[int, Any]], arrival: int, taken: Taken) -> None:
        severity = _severity(said)
        # From a server without where clauses. With the lowest nothing is left out, not even the 0 that some servers send.
        if severity is not None and severity < self._severity and self._severity > 1:
            return
        time = time_of(said, arrival)
        values: tuple[Value, ...] = (severity, source_of(said), _text(said, "Message"), state_of(said))
        if (own := self._own_time(_value(said, "EventId"), time, values)) is None:
            return
        if severity is None:
            taken.quality = taken.quality or [GOOD] * len(taken.value)
        if taken.quality is not None:
            taken.quality += [NOT_AVAILABLE if value is None else GOOD for value in values]
        taken.signal += self._signals
        taken.time += [own] * len(values)
        taken.value += values

    def _own_time(self, id: Any, time: int, values: tuple[Value, ...]) -> int | None:
        """A time that no other event has, at the resolution of a payload. None: this one was there before."""
        event = (id, time, values)  # with its content: not every server gives every event an id of its own
        if event in self._known:
            return None
        wanted = own = time // 1000
        while own in self._next:
            own = self._next[own]
        self._next[own] = own + 1
        if own != wanted:
            self._next[wanted] = own + 1
        self._known[event] = own
        if len(self._known) > KEPT:
            _, old = self._known.popitem(last=False)
            self._next.pop(old, None)
        return time if own == wanted else own * 1000


def time_of(said: Mapping[str, tuple[int, Any]], arrival: int) -> int:
    """When it happened, in ns since 1970: a sane Time, else a sane ReceiveTime, else the arrival."""
    for name in ("Time", "ReceiveTime"):
        code, ticks = said.get(name, (0, None))
        if code == 13 and EARLIEST <= (time := (ticks - _1970) * 100) < LATEST:
            return int(time)
    return arrival


def source_of(said: Mapping[str, tuple[int, Any]]) -> str:
    """Where it comes from, and which condition of it."""
    source, condition = _text(said, "SourceName") or _text(said, "SourceNode"), _text(said, "ConditionName")
    return "/".join(dict.fromkeys(part for part in (source, condition) if part))


def state_of(said: Mapping[str, tuple[int, Any]]) -> str:
    """In the words at the top of this file."""
    enabled, active, acked = (_flag(said, name) for name in ("EnabledState/Id", "ActiveState/Id", "AckedState/Id"))
    texts = [_text(said, name) for name in ("ConditionName", "EnabledState", "ActiveState")]
    if not any(texts) and (enabled, active, acked, _flag(said, "Retain")) == (None,) * 4:
        return "event"
    if enabled is None:
        enabled = texts[1].lower() != "disabled"  # the text the standard recommends, where there is no Id
    if not enabled:
        return "disabled"
    if active is None and texts[2]:
        active = texts[2].lower() != "inactive"
    words = ["enabled" if active is None else "active" if active else "inactive"]
    if acked is not None:
        confirmed = _flag(said, "ConfirmedState/Id") is not False
        words.append("unacknowledged" if not acked else "acknowledged" if confirmed else "unconfirmed")
    if _flag(said, "SuppressedOrShelved"):
        words.append("suppressed")
    if _text(said, "BranchId") not in ("", "i=0"):
        words.append("branch")
    return ", ".join(words)


def _value(said: Mapping[str, tuple[int, Any]], name: str) -> Any:
    return said.get(name, (0, None))[1]


def _text(said: Mapping[str, tuple[int, Any]], name: str) -> str:
    value = _value(said, name)
    return value if isinstance(value, str) else ""


def _flag(said: Mapping[str, tuple[int, Any]], name: str) -> bool | None:
    value = _value(said, name)
    return value if isinstance(value, bool) else None


def _severity(said: Mapping[str, tuple[int, Any]]) -> int | None:
    value = _value(said, "Severity")
    return value if isinstance(value, int) and not isinstance(value, bool) else None
