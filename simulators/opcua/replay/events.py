"""Events that were recorded, as asyncua's server raises them, and as the gateway understands them. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import asyncua.ua
from asyncua.ua.ua_binary import variant_to_binary

from simulators.opcua.events import PLAIN, Happening, Listener
from simulators.opcua.replay.services import VALUE, Field
from simulators.opcua.replay.values import Times, nanoseconds, variant_of
from simulators.opcua.replay.wire import DATE_TIME, BrokenError, Reader

ua: Any = asyncua.ua  # the types it declares are not those it takes

_NODE_ID, _BYTES = int(ua.AttributeIds.NodeId), ua.VariantType.ByteString.value
_EVENT_ID = Field("EventId", VALUE)
_1970 = datetime(1970, 1, 1, tzinfo=UTC)
REFRESH = (ua.NodeId(ua.ObjectIds.RefreshStartEventType), ua.NodeId(ua.ObjectIds.RefreshEndEventType))
# What is said to one client and not of the machine: Part 4, 7.22.3; Part 9, 5.11.
_TO_A_CLIENT = frozenset(
    ua.NodeId(getattr(ua.ObjectIds, f"{name}EventType"))
    for name in ("EventQueueOverflow", "RefreshStart", "RefreshEnd", "RefreshRequired")
)


class Raised:
    """An event, with the fields that somebody has asked for; any other one is nothing."""

    def __init__(self, node: Any, fields: Mapping[Field, bytes], times: Times, round: int = 0) -> None:
        """`node`: which raises it. `round`: how often it was raised before, which makes another event of it each time."""
        self.emitting_node = node
        self._fields = {field: _moved(variant, times) for field, variant in fields.items()}
        if round and (id := self.value("EventId")):
            new = id + round.to_bytes(4, "little")
            self._fields[_EVENT_ID] = bytes((_BYTES,)) + len(new).to_bytes(4, "little") + new

    def to_event_fields(self, clauses: Sequence[Any]) -> list[Any]:
        """What one client has selected. asyncua's server asks for it."""
        return [self._variant(Field("/".join(n.Name for n in each.BrowsePath), each.AttributeId)) for each in clauses]

    def __getattr__(self, path: str) -> Any:
        """The value of a field, which the WhereClause of a filter is about."""
        if path.startswith("_"):
            raise AttributeError(path)
        return self.value(path)

    def value(self, path: str, attribute: int = VALUE) -> Any:
        """As asyncua has it; None where there is none."""
        return self._variant(Field(path, attribute)).Value

    def _variant(self, field: Field) -> Any:
        try:
            return variant_of(self._fields.get(field))
        except BrokenError:
            return ua.Variant(None, ua.VariantType.Null)

    # --- as the gateway understands it -----------------------------------------------------------------------------------

    @property
    def to_a_client(self) -> bool:
        """Whether it is about a subscription, and not of the machine."""
        return self.value("EventType") in _TO_A_CLIENT

    @property
    def refreshing(self) -> bool:
        """Whether it stands around conditions that a client has asked for once more."""
        return self.value("EventType") in REFRESH

    @property
    def condition(self) -> tuple[Any, Any] | None:
        """Which one it is about, and in which branch; None for a plain event."""
        id = self.value("", _NODE_ID)
        return (id, self.value("BranchId")) if isinstance(id, ua.NodeId) else None

    @property
    def time(self) -> int | None:
        """ns since 1970; None where it has none."""
        for path in ("Time", "ReceiveTime"):
            data = self._fields.get(Field(path, VALUE))
            if data and data[0] == DATE_TIME and (time := nanoseconds(Reader(data, 1).i64())):
                return time
        return None

    @property
    def happening(self) -> Happening:
        """In the words of the gateway."""
        severity, source, message = self.value("Severity"), self.value("SourceName"), self.value("Message")
        words = self._state()
        if words and (name := self.value("ConditionName")):
            source = f"{source}/{name}" if source else name
        text = message.Text if isinstance(message, ua.LocalizedText) else message
        return Happening(int(severity or 0), str(source or ""), str(text or ""), ", ".join(words) or PLAIN)

    def _state(self) -> list[str]:
        """The words of a condition (Part 9, 5.5.2, 5.7.2, 5.8.2); none for what is no condition."""
        if not self.value("", _NODE_ID) and not self.value("ConditionName"):
            return []
        if self.value("EnabledState/Id") is False:
            return ["disabled"]
        words = [{True: "active", False: "inactive"}.get(self.value("ActiveState/Id"), "enabled")]
        acknowledged, confirmed = self.value("AckedState/Id"), self.value("ConfirmedState/Id")
        if acknowledged is not None:
            words.append(
                "unacknowledged" if not acknowledged else "unconfirmed" if confirmed is False else "acknowledged"
            )
        if self.value("SuppressedOrShelved"):
            words.append("suppressed")
        branch = self.value("BranchId")
        return [*words, "branch"] if isinstance(branch, ua.NodeId) and not branch.is_null() else words


def refresh(node: Any, kind: Any, now: int) -> Raised:
    """What stands before or behind the conditions that a client has asked for (Part 9, 5.5.7). `kind`: one of REFRESH."""
    time = ua.Variant(_1970 + timedelta(microseconds=now // 1000), ua.VariantType.DateTime)
    fields = {
        "EventId": ua.Variant(uuid4().bytes), "EventType": ua.Variant(kind), "SourceName": ua.Variant("Server"),
        "Time": time, "ReceiveTime": time, "Severity": ua.Variant(1, ua.VariantType.UInt16),
    }  # fmt: skip
    encoded = {Field(path, VALUE): variant_to_binary(value) for path, value in fields.items()}
    return Raised(node, encoded, Times(0, 0, kept=True))


def readings(raised: Raised, listener: Listener) -> dict[str, Any] | None:
    """What the signals of a listener become; None where they become nothing."""
    if raised.to_a_client:
        return None
    # Servers have conditions of severity 0, and who asks for 1 asks for all: Part 5, 6.4.2.
    return listener._replace(severity=listener.severity if listener.severity > 1 else 0).readings(raised.happening)


def _moved(variant: bytes, times: Times) -> bytes:
    """All times of an event are of when it happened."""
    if not variant or variant[0] != DATE_TIME:
        return variant
    ticks = times.ticks(Reader(variant, 1).i64())
    return variant[:1] + (ticks or 0).to_bytes(8, "little", signed=True)
