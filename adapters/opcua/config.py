"""What can be configured for OPC UA: connection, machine, signal.

Arrays (`count`) and events are taken apart here, so that everybody else sees single signals only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field, ValidationError, field_validator, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from adapters.opcua.connection import Mode, OpcuaConnection
from adapters.opcua.nodes import Address, parse, parse_path
from adapters.opcua.signals import OpcuaSignal
from gateway.config import MachineSettings
from gateway.config.fields import Name, Period, mistake
from gateway.config.signals import FROM_SERVER

__all__ = ["FROM_SERVER", "OpcuaConnection", "OpcuaMachine", "OpcuaSignal"]


def _uri(value: str) -> str:
    if not value.strip() or value != value.strip():
        raise mistake(f"{value!r} is not a namespace URI", "as the server names it, for example urn:shop:cnc")
    return value


class OpcuaMachine(MachineSettings):
    """A machine that is a part of a server's address space."""

    namespaces: Mapping[Name, Annotated[str, AfterValidator(_uri)]] = Field(
        default_factory=dict,
        description="A prefix for each namespace URI: its index changes when the server restarts.",
        examples=["{m: urn:shop:cnc}"],
    )
    mode: Mode | None = Field(None, description="Instead of the one of the connection.")
    publishing: Period | None = Field(None, description="Instead of the one of the connection.", examples=["200ms"])
    sampling: Period | None = Field(None, description="For all its signals that do not say otherwise.")
    signals: Mapping[Name, OpcuaSignal] = Field(default_factory=dict, description="Its signals by name.")

    for_signals: ClassVar[tuple[str, ...]] = (*MachineSettings.for_signals, "mode", "sampling")

    @field_validator("signals")
    @classmethod
    def _single(cls, signals: Mapping[str, OpcuaSignal]) -> Mapping[str, OpcuaSignal]:
        """Arrays and events taken apart: `name` with `count: 2` becomes name_0 and name_1."""
        if not any(signal.count or signal.events for signal in signals.values()):
            return signals
        single: dict[str, OpcuaSignal] = {}
        for name, signal in signals.items():
            elements = _elements(name, signal)
            for element in elements:
                if element in single or (element != name and element in signals):
                    raise mistake(f"two signals are named '{element}'", "rename one of them", name)
            single.update(elements)
        return single

    @model_validator(mode="after")
    def _nodes(self) -> OpcuaMachine:
        errors = []
        for name, signal in self.signals.items():
            try:
                self.address_of(name)
            except PydanticCustomError as exc:
                key = "path" if signal.node is None else "node"
                errors.append(InitErrorDetails(type=exc, loc=("signals", name, key), input=signal.node or signal.path))
        if errors:
            raise ValidationError.from_exception_data("nodes", errors)
        return self

    def address_of(self, signal: str) -> Address:
        """The node of a signal, by namespace URI."""
        settings = self.signals[signal]
        if settings.node is not None:
            return parse(settings.node, self.namespaces)
        assert settings.path is not None
        return parse_path(settings.path, self.namespaces)


def _elements(name: str, signal: OpcuaSignal) -> dict[str, OpcuaSignal]:
    if signal.count:
        return {f"{name}_{i}": signal.model_copy(update={"index": i, "count": None}) for i in range(signal.count)}
    if signal.events:
        return {f"{name}_{part}": element for part, element in signal.parts().items()}
    return {name: signal}
