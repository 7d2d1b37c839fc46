"""The faults of a scenario as they are written in YAML: one model for each kind.

When: `at` a time since the start, for a while and again `every` so often; the n-th `request`; or by `chance`, at any
time or within those times. Where: `connection` or `machine`, else everywhere.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import inf
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field, model_validator

from gateway.config.explain import did_you_mean
from gateway.config.fields import Duration, Name, Period, Section, mistake, parse_duration

# What goes wrong on the wire of a Modbus answer: the kinds of modbus/wire_faults.py that are not among those below.
ON_THE_WIRE = (
    "late-overtaken", "late-newest-id", "late-id-zero", "stalled", "swapped", "twice", "twice-later", "glued-old-first",
    "glued-old-last", "trickled", "noise-before", "noise-after", "truncated", "corrupted", "id-zero", "id-wrong",
    "unit-wrong", "function-wrong", "short", "long",
)  # fmt: skip

# What a server may say about a value: Part 6, Annex A, and Part 8 for the uncertain ones.
STATUS_CODES: Mapping[str, int] = {
    "BadCommunicationError": 0x80050000, "BadTimeout": 0x800A0000, "BadNoCommunication": 0x80310000,
    "BadWaitingForInitialData": 0x80320000, "BadNotReadable": 0x803A0000, "BadOutOfRange": 0x803C0000,
    "BadConfigurationError": 0x80890000, "BadNotConnected": 0x808A0000, "BadDeviceFailure": 0x808B0000,
    "BadSensorFailure": 0x808C0000, "BadOutOfService": 0x808D0000,
    "UncertainNoCommunicationLastUsableValue": 0x408F0000, "UncertainLastUsableValue": 0x40900000,
    "UncertainSubstituteValue": 0x40910000, "UncertainInitialValue": 0x40920000,
    "UncertainSensorNotAccurate": 0x40930000, "UncertainEngineeringUnitsExceeded": 0x40940000,
    "UncertainSubNormal": 0x40950000,
}  # fmt: skip


def _chance(value: Any) -> float:
    match = re.fullmatch(r"\s*([0-9]{1,3}(?:\.[0-9]{1,9})?)\s*%\s*", str(value))
    if match is None or not 0 < float(match[1]) <= 100:
        raise mistake(f"'{value}' is no chance", "a percentage of all requests, for example 1% or 0.5%")
    return float(match[1]) / 100


def _jump(value: Any) -> float:
    text = str(value).strip()
    return -parse_duration(text[1:]) if text.startswith("-") else parse_duration(text.removeprefix("+"))


def _status(value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= 0xFFFFFFFF:
        return value
    if str(value) not in STATUS_CODES:
        raise mistake(f"'{value}' is no status code known here", did_you_mean(str(value), STATUS_CODES))
    return STATUS_CODES[str(value)]


Chance = Annotated[float, BeforeValidator(_chance)]
"""0 to 1."""


class FaultSettings(Section):
    """One fault."""

    with_requests: ClassVar[bool] = False  # it may come with a request, rather than at a time only
    cuts: ClassVar[bool] = False  # the connections that are open when it comes by itself are lost
    away: ClassVar[bool] = False  # and nobody gets in as long as it lasts
    without_for: ClassVar[float | None] = None  # seconds it lasts where nothing is said; None: that has to be said

    fault: str = Field(description="Its kind.")
    at: Duration | None = Field(None, description="When it begins, since the start.", examples=["10min"])
    every: Period | None = Field(None, description="It comes again so often.", examples=["1h"])
    lasting: Period | None = Field(None, alias="for", description="How long it lasts.", examples=["40s"])
    request: int | None = Field(None, ge=1, description="The n-th request meets it, once.", examples=[25])
    chance: Chance | None = Field(None, description="Each request meets it with this chance.", examples=["1%"])
    connection: Name | None = Field(None, description="Only there.", examples=["press"])
    machine: Name | None = Field(None, description="Only this machine.", examples=["press-07"])

    @model_validator(mode="after")
    def _when(self) -> FaultSettings:
        if not self.with_requests and (key := self._given("request", "chance")):
            raise mistake(f"{self.fault} comes at a time, not with a request", "for example at: 10min", key)
        if self.at is None and self.request is None and self.chance is None:
            more = ", request: 25 or chance: 1%" if self.with_requests else ""
            raise mistake(f"when does {self.fault} happen?", f"say at: 10min{more}")
        if self.request is not None and (key := self._given("at", "chance")):
            raise mistake(f"request {self.request} meets it, whenever that is", f"leave out {key}", key)
        if self.at is None and (key := self._given("every", "for")):
            raise mistake(f"`{key}` goes with a time", "say `at`, for example at: 10min", key)
        if self.at is not None and self.lasting is None and self.without_for is None:
            raise mistake(f"how long does {self.fault} last?", "for example for: 40s")
        if self.every is not None and self.lasting is not None and self.lasting > self.every:
            raise mistake("it would still last when it comes again", "`for` is no more than `every`", "for")
        return self

    @model_validator(mode="after")
    def _where(self) -> FaultSettings:
        if self.connection and self.machine:
            raise mistake("a machine has one connection", "say either", "connection")
        return self

    @property
    def by_itself(self) -> bool:
        """Whether it comes at a time, whatever is asked then."""
        each = self.with_requests and not (self.cuts and self.lasting in (None, self.without_for))
        return self.at is not None and self.chance is None and not each

    def _given(self, *keys: str) -> str:
        return next((k for k in keys if getattr(self, {"for": "lasting"}.get(k, k)) is not None), "")


class _WithRequests(FaultSettings):
    with_requests = True


class Exceptional(_WithRequests):
    """A Modbus exception is the answer."""

    code: int = Field(4, ge=1, le=255, description="Exception code; 4: server device failure.", examples=[6])


class Silent(_WithRequests):
    """No answer."""


class Late(_WithRequests):
    """The answer takes longer."""

    by: Period = Field(description="How much longer; real time, whatever `--speed` is.", examples=["3s"])


class Drop(_WithRequests):
    """The connection is cut; a new one is welcome. With `for` each request is answered like that."""

    cuts = True
    without_for = 0.0


class HalfOpen(_WithRequests):
    """The connection stays open, and nothing comes through it any more; a new one works."""

    cuts = True
    without_for = 0.0


class OnTheWire(_WithRequests):
    """What goes wrong on the way of a Modbus answer: ON_THE_WIRE."""

    by: Period | None = Field(None, description="How late what is late comes; else 1.5 times the timeout.")


class _Away(FaultSettings):
    cuts = True
    away = True


class Unreachable(_Away):
    """Connections are cut and refused."""


class Reboot(_Away):
    """Unreachable for a while; then it begins anew: sessions are gone, counters start at 0, as a PLC does."""

    resets: list[str] | None = Field(
        None, description="Signals that start at 0 again; else all counters but those of energy.", examples=[["shots"]]
    )
    sets: dict[str, bool | int | float | str] = Field(
        default_factory=dict, description="Signals that have another value then.", examples=[{"program": "O1043"}]
    )


class ClockJump(FaultSettings):
    """The machine's clock is wrong by so much, and with it the time stamps it gives."""

    without_for = inf
    by: Annotated[float, BeforeValidator(_jump)] = Field(description="Forwards, or back.", examples=["1h", "-10min"])


class _OfSignals(FaultSettings):
    without_for = inf
    signals: list[str] = Field(min_length=1, description="Signals, or machine/signal.", examples=[["spindle_speed"]])


class Status(_OfSignals):
    """Signals with a status that is not good."""

    code: Annotated[int, BeforeValidator(_status)] = Field(description="OPC UA status.", examples=["BadSensorFailure"])


class Vanish(_OfSignals):
    """Nodes are gone, and come back."""


class _Restart(_Away):
    without_for = 0.0


class CertificateChange(_Restart):
    """The server is restarted with another certificate."""


class NamespaceChange(_Restart):
    """The server is restarted with other namespace indexes."""

    by: int = Field(1, ge=1, le=100, description="So many namespaces come before those there were.")


class Limited(FaultSettings):
    """The server takes less than before, and tells nobody in advance."""

    without_for = inf
    max_nodes_per_read: int | None = Field(None, ge=1, description="Else BadTooManyOperations.", examples=[50])
    max_nodes_per_browse: int | None = Field(None, ge=1, description="The same.")
    max_nodes_per_translate: int | None = Field(None, ge=1, description="The same, for browse paths.")
    max_monitored_items_per_call: int | None = Field(None, ge=1, description="The same.")
    max_monitored_items: int | None = Field(None, ge=1, description="Of a subscription; else BadTooManyMonitoredItems.")
    max_subscriptions: int | None = Field(None, ge=0, description="Else BadTooManySubscriptions.")
    max_sessions: int | None = Field(None, ge=0, description="Else BadTooManySessions.")

    @property
    def limits(self) -> dict[str, int]:
        """Those that are said."""
        return {name: value for name in LIMITS if (value := getattr(self, name)) is not None}

    @model_validator(mode="after")
    def _says(self) -> Limited:
        if not self.limits:
            raise mistake("which limit?", f"one of {', '.join(LIMITS)}")
        return self


LIMITS = tuple(name for name in Limited.model_fields if name.startswith("max_"))

FAULTS: Mapping[str, type[FaultSettings]] = {
    **dict.fromkeys(ON_THE_WIRE, OnTheWire),
    "exception": Exceptional,
    "silence": Silent,
    "late": Late,
    "drop": Drop,
    "half-open": HalfOpen,
    "unreachable": Unreachable,
    "reboot": Reboot,
    "clock-jump": ClockJump,
    "status": Status,
    "vanish": Vanish,
    "certificate-change": CertificateChange,
    "namespace-change": NamespaceChange,
    "limit": Limited,
}
"""By the name in `fault:`."""
