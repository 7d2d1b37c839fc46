"""What can be configured of signals that are worked out from others: computed values, and what a machine is doing.

computed:                                                     # of a machine
  specific_energy: {value: "[meter-01/energy_import] / parts_good", unit: kW.h}
state:
  rules:                                                      # the first one that holds counts
    - {when: alarm, state: fault, reason_from: alarm_code}
    - {when: "mode == 'setup'", state: setup}
    - {when: "rate(cycle_count, 1min) > 0", state: running, hold: 30s}
  otherwise: idle
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator

from gateway.config.fields import Duration, Name, Section, mistake
from gateway.config.production import StateWord
from gateway.config.signals import FROM_SERVER, SignalSettings
from gateway.expressions import ExpressionError, parse

ItemState = Literal["NotAvailable", "OutOfService", "NotExecuting", "Executing"]
"""OPC 40001-1, MachineryItemState."""
OperationMode = Literal["None", "Maintenance", "Setup", "Processing"]
"""OPC 40001-1, MachineryOperationMode."""
PackmlState = Literal[
    "Undefined", "Clearing", "Stopped", "Starting", "Idle", "Suspended", "Execute", "Stopping", "Aborting", "Aborted", "Holding",
    "Held", "Unholding", "Suspending", "Unsuspending", "Resetting", "Completing", "Complete",
]  # fmt: skip
"""ISA-TR88.00.02, as OPC 30050 numbers them: Undefined is 0, Clearing 1 …"""


def _expression(text: str) -> str:
    """That it can be read; whether its signals exist is seen once all machines are known. Raises a mistake."""
    try:
        parse(text)
    except ExpressionError as exc:
        raise mistake(exc.message, exc.hint, span=(exc.start, exc.end)) from exc
    return text


ExpressionText = Annotated[
    str, Field(min_length=1, max_length=1000), AfterValidator(_expression), WithJsonSchema({"type": "string"})
]
"""An expression over signals: see gateway/expressions/README.md."""


class ComputedSettings(SignalSettings):
    """A signal that is worked out from others."""

    value: ExpressionText = Field(
        description="What it is: an expression over signals of this machine, or [machine/signal] of another one.",
        examples=['"[meter-01/active_power] / 1000"', '"mean(melt_temp, 5min)"'],
    )

    @property
    def polled(self) -> bool:
        """It is worked out when its inputs come."""
        return False

    @model_validator(mode="after")
    def _is_worked_out(self) -> ComputedSettings:
        for key in ("scale", "offset", "scale_from", "raw_range", "rollover", "enum"):
            if getattr(self, key) is not None:
                raise mistake(f"a computed signal has no {key}", "write it into `value`", key)
        if self.unit == FROM_SERVER:
            raise mistake(
                "no server names the unit of a computed signal", "leave it out: it follows from `value`", "unit"
            )
        return self


class StateRule(Section):
    """One line of the rules: when it holds, this is what the machine is doing."""

    when: ExpressionText = Field(
        description="Condition over signals of this machine or [machine/signal] of another one.", examples=["alarm"]
    )
    state: StateWord = Field(description="What the machine is doing then.", examples=["fault"])
    reason: str = Field("", max_length=100, description="Why, as text.", examples=["material missing"])
    reason_from: Name | None = Field(
        None, description="Why, as a signal of this machine tells: an alarm number or text.", examples=["alarm_code"]
    )
    debounce: Duration | None = Field(
        None,
        description="How long it has to hold before it counts; then it counts from its beginning.",
        examples=["2s"],
    )
    hold: Duration | None = Field(
        None, description="How long the state lasts at least, whatever follows.", examples=["30s"]
    )
    item_state: ItemState | None = Field(None, description="OPC 40001-1 state, instead of the one of the word.")
    operation_mode: OperationMode | None = Field(None, description="OPC 40001-1 mode, instead of the one of the word.")
    packml_state: PackmlState | None = Field(None, description="PackML state, instead of the one of the word.")

    @model_validator(mode="after")
    def _one_reason(self) -> StateRule:
        if self.reason and self.reason_from:
            raise mistake("`reason` and `reason_from` say the same thing twice", "keep one of them", "reason")
        if self.state == "unknown":
            raise mistake("`unknown` is what nobody can tell", "leave the rule out: it follows by itself", "state")
        return self


class StateSettings(Section):
    """What a machine is doing, by rules over its signals: the first one that holds counts."""

    rules: list[StateRule] = Field(
        min_length=1, max_length=100, description="From the one that counts most to the one that counts least."
    )
    otherwise: StateWord = Field("idle", description="What it is doing when no rule holds.")
    debounce: Duration = Field(
        0.0, description="How long a rule has to hold before it counts, where it says nothing itself.", examples=["2s"]
    )


Rules = BeforeValidator(lambda value: {"rules": value} if isinstance(value, list) else value)
"""`state: [rule, …]` is short for `state: {rules: [rule, …]}`."""
