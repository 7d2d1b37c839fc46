"""What can be configured for OPC UA: connection, machine, signal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from adapters.opcua.nodes import NodeAddress, parse
from gateway.config import ConnectionSettings, MachineSettings, SignalSettings
from gateway.config.fields import Name, Period, SecretText, mistake
from gateway.model import ValueType

PORT = 4840
FROM_SERVER = "from-server"


def _url(value: str) -> str:
    parts, example = urlsplit(value), "for example opc.tcp://10.20.0.31:4840"
    if parts.scheme != "opc.tcp" or not parts.hostname:
        raise mistake(f"'{value}' is not the address of an OPC UA server", f"opc.tcp://host:port, {example}")
    if parts.username or parts.password:
        raise mistake("no user or password in an address", "use the keys `user` and `password`")
    try:
        port = parts.port
    except ValueError:
        port = 0
    if port == 0:
        raise mistake(f"'{value}' has no valid port", example)
    return value


def _security(value: Any) -> Any:
    if value is None or (isinstance(value, str) and value.lower() == "none"):
        if value != "None":
            raise mistake(
                f"'{value if value else 'null'}' is not known", "reading without encryption is `security: None`"
            )
    elif isinstance(value, str) and "/" in value:
        raise mistake(
            "encrypted OPC UA connections are not supported yet", "write `security: None` to read without encryption"
        )
    return value


def _uri(value: str) -> str:
    if not value.strip() or value != value.strip():
        raise mistake(f"{value!r} is not a namespace URI", "as the server names it, for example urn:shop:cnc")
    return value


class OpcuaConnection(ConnectionSettings):
    """One OPC UA server."""

    url: Annotated[str, AfterValidator(_url)] = Field(
        description="Address of the server; its port is 4840 where none is written.",
        examples=["opc.tcp://10.20.0.31:4840"],
    )
    security: Annotated[Literal["auto", "None"], BeforeValidator(_security)] = Field(
        "auto",
        description="How messages are protected. `auto` never means unencrypted: `None` has to be written out.",
        examples=["None"],
    )
    user: str | None = Field(None, description="User name at the server; anonymous where it is left out.")
    password: SecretText | None = Field(None, description="Its password.", examples=["{secret: cnc_password}"])
    allow: list[Literal["plain-password"]] = Field(
        default_factory=list,
        description="What is refused otherwise. `plain-password`: a password that anybody on the network can read.",
    )
    timeout: Period = Field(4.0, description="How long an answer may take.", examples=["4s"])
    publishing: Period = Field(
        0.5, description="Time between two notifications of the server; values between are kept.", examples=["500ms"]
    )
    session_timeout: Period = Field(
        60.0, ge=10, description="How long the server keeps a session whose client is gone.", examples=["60s"]
    )

    @property
    def host(self) -> str:
        return urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        return urlsplit(self.url).port or PORT

    @model_validator(mode="after")
    def _fits(self) -> OpcuaConnection:
        if self.password and not self.user:
            raise mistake("a password without a user", "add `user:`", "password")
        return self


class OpcuaSignal(SignalSettings):
    """One variable of the server."""

    node: str = Field(
        min_length=3,
        description="Its node id: with a prefix of `namespaces`, with a namespace URI, or of the standard's own.",
        examples=['"m:s=CNC1.SpindleSpeed"', '"nsu=urn:shop:cnc;i=1001"', "i=2258"],
    )
    unit: str = Field(
        "",
        max_length=64,
        description="UCUM code of the unit, after scaling; `from-server` takes the unit and range the server names.",
        examples=["Cel", FROM_SERVER],
    )
    type: ValueType | None = Field(
        None, description="float, int, bool or string: what the value has to be. Learnt from the server where left out."
    )
    sampling: Period | None = Field(
        None, description="How often the server looks at the value; at `publishing` where left out.", examples=["250ms"]
    )
    queue: int | None = Field(
        None, ge=1, le=10_000, description="Values the server keeps between two notifications; enough where left out."
    )


class OpcuaMachine(MachineSettings):
    """A machine that is a part of a server's address space."""

    namespaces: Mapping[Name, Annotated[str, AfterValidator(_uri)]] = Field(
        default_factory=dict,
        description="A prefix for each namespace URI: its index changes when the server restarts.",
        examples=["{m: urn:shop:cnc}"],
    )
    publishing: Period | None = Field(None, description="Instead of the one of the connection.", examples=["200ms"])
    sampling: Period | None = Field(None, description="For all its signals that do not say otherwise.")
    signals: Mapping[Name, OpcuaSignal] = Field(default_factory=dict, description="Its signals by name.")

    for_signals: ClassVar[tuple[str, ...]] = (*MachineSettings.for_signals, "sampling")

    @model_validator(mode="after")
    def _nodes(self) -> OpcuaMachine:
        errors = []
        for name, signal in self.signals.items():
            try:
                parse(signal.node, self.namespaces)
            except PydanticCustomError as exc:
                errors.append(InitErrorDetails(type=exc, loc=("signals", name, "node"), input=signal.node))
        if errors:
            raise ValidationError.from_exception_data("nodes", errors)
        return self

    def address_of(self, signal: str) -> NodeAddress:
        """The node of a signal, by namespace URI."""
        return parse(self.signals[signal].node, self.namespaces)
