"""What can be configured of a variable of an OPC UA server."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    Field,
    TypeAdapter,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    WrapValidator,
    model_validator,
)

from adapters.opcua.connection import Mode
from adapters.opcua.structures.field_path import Path, path_of
from gateway.config import SignalSettings
from gateway.config.explain import did_you_mean
from gateway.config.fields import Period, RawNumber, mistake
from gateway.config.signals import FROM_SERVER, NUMBERS_ONLY, UnitCode
from gateway.model import ValueType

EventPart = Literal["severity", "source", "message", "state"]


def _texts(value: Any, read: ValidatorFunctionWrapHandler) -> Any:
    if isinstance(value, str) and value != FROM_SERVER:
        raise mistake(f"'{value}' is not known here", did_you_mean(value, [FROM_SERVER]) + "; or {0: text, 1: text}")
    return read({} if value == FROM_SERVER else value)


Texts = Annotated[
    dict[RawNumber, str],
    WrapValidator(_texts),
    WithJsonSchema({"anyOf": [TypeAdapter(dict[RawNumber, str]).json_schema(), {"const": FROM_SERVER}]}),
]
"""The text of each number; `from-server` is none that is known yet."""


class OpcuaSignal(SignalSettings):
    """One variable of the server, or a part of it; or the events of an object."""

    part: ClassVar[EventPart | None] = None  # which part of an event it is, once `events` is taken apart

    node: str | None = Field(
        None,
        min_length=3,
        description="Its node id: with a prefix of `namespaces`, with a namespace URI, or of the standard's own.",
        examples=['"m:s=CNC1.SpindleSpeed"', '"nsu=urn:shop:cnc;i=1001"', "i=2258"],
    )
    path: str | None = Field(
        None,
        min_length=1,
        description="Instead of `node`: the browse names that lead to it from the folder Objects, looked up again in "
        "every session.",
        examples=['"m:CNC1/m:Spindle/m:Speed"'],
    )
    unit: UnitCode = Field(
        "",
        max_length=64,
        description="UCUM code of the unit, after scaling; `from-server` takes the unit and range the server names.",
        examples=["Cel", FROM_SERVER],
    )
    type: ValueType | None = Field(
        None, description="float, int, bool or string: what the value has to be. Learnt from the server where left out."
    )
    field: str | None = Field(
        None,
        min_length=1,
        max_length=1000,
        description="Of a structure: the field that is meant, with & before a . or [ that belongs to a name; of an array "
        "of several dimensions: [1][2]. `index` and `count` go where [] stands in it, else to the front.",
        examples=['"Axes[1].Position"', '"Axes[].Position"'],
    )
    index: int | None = Field(
        None, ge=0, lt=2**31, description="Of an array: the element that is meant; the first one is 0."
    )
    count: int | None = Field(
        None, ge=1, le=10_000, description="Of an array: this many elements, as the signals name_0, name_1 …"
    )
    enum: Texts | None = Field(
        None,
        description="The text of each raw number; others are uncertain: unknown-state. `from-server` takes the texts the "
        "server has for them.",
        examples=[{0: "off", 1: "auto"}, FROM_SERVER],
    )
    events: bool = Field(
        False,
        description="The events of this object, as the signals name_severity, name_source, name_message, name_state.",
    )
    severity: int = Field(1, ge=1, le=1000, description="With `events`: only those of this severity or a higher one.")
    mode: Mode | None = Field(None, description="Instead of the one of the connection.")
    sampling: Period | None = Field(
        None, description="How often the server looks at the value; at `publishing` where left out.", examples=["250ms"]
    )
    queue: int | None = Field(
        None, ge=1, le=10_000, description="Values the server keeps between two notifications; enough where left out."
    )
    discard: Literal["oldest", "newest"] = Field(
        "oldest", description="What the server drops when its queue is full; both is recorded as a loss."
    )

    @property
    def address_text(self) -> str:
        where = self.node or self.path or ""
        return where + (f" {self.field}" if self.field else "") + ("" if self.index is None else f" [{self.index}]")

    @property
    def polled(self) -> bool:
        """Read by us, as far as that is said here; else by a subscription, or as the connection says."""
        return self.mode == "poll"

    @property
    def place(self) -> Path:
        """Where in the value of the node it stands; nothing for the value itself."""
        return path_of(self.field, self.index)

    @property
    def texts_from_server(self) -> bool:
        """Whether what its numbers mean has to be learnt."""
        return self.enum is not None and not self.enum

    @model_validator(mode="after")
    def _one_address(self) -> OpcuaSignal:
        if (self.node is None) == (self.path is None):
            raise mistake(
                "a signal needs `node` or `path`"
                if self.node is None
                else "`node` and `path` say the same thing twice",
                'for example node: "m:s=CNC1.SpindleSpeed"' if self.node is None else "keep one of them",
            )
        if self.index is not None and self.count is not None:
            raise mistake("`index` is one element and `count` are several", "keep one of them", "index")
        path_of(self.field, 0 if self.count else self.index)
        if self.events:
            for key in ("index", "count", "field", "type", "enum", *NUMBERS_ONLY):
                if getattr(self, key) is not None:
                    raise mistake(f"events have no {key}", f"remove `{key}` or `events`", key)
        return self

    def parts(self) -> dict[EventPart, OpcuaSignal]:
        """Events taken apart: one signal for each part. All of them are sent."""
        values = {**dict(self), "report": "all"}
        return {part: of.model_construct(self.model_fields_set, **values) for part, of in _PARTS.items()}


class _Severity(OpcuaSignal):
    part = "severity"


class _Source(OpcuaSignal):
    part = "source"


class _Message(OpcuaSignal):
    part = "message"


class _State(OpcuaSignal):
    part = "state"


_PARTS: dict[EventPart, type[OpcuaSignal]] = {
    "severity": _Severity, "source": _Source, "message": _Message, "state": _State,
}  # fmt: skip
