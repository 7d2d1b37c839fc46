"""What is configured of a link: one model for each transport."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from adapters.modbus.config import DeviceQuirks
from gateway.config import ConnectionSettings
from gateway.config.fields import Duration, Port, mistake


class ConnectionQuirks(DeviceQuirks):
    """What a link needs."""

    pause_after_connect: Duration = Field(
        0.0, description="Rest between connecting and the first request.", examples=["1s"]
    )
    close_after_poll: bool = Field(
        False, description="Disconnect after each poll, for devices that serve one client at a time."
    )


class TcpQuirks(ConnectionQuirks):
    """What a link with transaction ids needs."""

    transaction_ids: Literal["echoed", "ignored"] = Field(
        "echoed",
        description="`ignored`: the device answers with transaction id 0, or any; answers are told apart by their shape.",
    )


class SerialQuirks(ConnectionQuirks):
    """What a serial line needs."""

    local_echo: bool = Field(False, description="The converter sends back what it is given to send.")


class ModbusConnection(ConnectionSettings):
    """A link to Modbus devices."""

    quirks: ConnectionQuirks = Field(
        default_factory=ConnectionQuirks, description="What the link, or all devices behind it, need."
    )

    @property
    def gap(self) -> float:
        """Seconds between an answer and the next request where nobody says otherwise."""
        return 0.0

    @property
    def least_gap(self) -> float:
        """And at least, whatever is said."""
        return 0.0

    @property
    def endpoint(self) -> str:
        """A serial port by whatever name, or host and port: many a bridge takes one client, and devices one request."""
        host, port = getattr(self, "host", None), getattr(self, "port", "")
        kind = "udp" if self.protocol == "modbus-udp" else "tcp"
        return f"{kind} {host.lower()}:{port}" if host else str(Path(str(port)).resolve())


# --- over the network ------------------------------------------------------------------------------------------------


def _host(value: str) -> str:
    if "://" in value:
        raise mistake(f"'{value}' is not a host but a URL", f"did you mean '{value.partition('://')[2].rstrip('/')}'?")
    if match := re.fullmatch(r"([^:]+):([0-9]+)", value):
        raise mistake("the port has a key of its own", f"did you mean 'host: {match[1]}' and 'port: {match[2]}'?")
    if not re.fullmatch(r"[0-9A-Za-z_.:%-]+", value):
        raise mistake(f"'{value}' is not a host", "a name or an IP address, for example 10.20.0.11")
    return value


Host = Annotated[str, AfterValidator(_host)]
_HOST = Field(description="Name or IP address.", examples=["10.20.0.11"])
_LINE = Field(
    None, ge=300, le=4_000_000, examples=[9600],
    description="Speed of the serial line behind a bridge, in bit/s: `gateway plan` then knows how long a poll takes.",
)  # fmt: skip


class ModbusTcp(ModbusConnection):
    """A Modbus TCP server: a device, or a bridge to the serial line with several units behind it."""

    protocol: Literal["modbus-tcp"] = Field(description="Which adapter reads it.", examples=["modbus-tcp"])
    host: Host = _HOST
    port: Port = Field(502, description="TCP port.")
    baud: int | None = _LINE
    max_in_flight: int = Field(
        1, ge=1, le=16, description="Requests on their way at a time, for devices that take several.", examples=[8]
    )
    quirks: TcpQuirks = Field(default_factory=TcpQuirks, description="What the link, or all devices behind it, need.")

    @model_validator(mode="after")
    def _fits(self) -> ModbusTcp:
        if self.max_in_flight > 1 and self.quirks.transaction_ids == "ignored":
            raise mistake(
                "without transaction ids only one request can be on its way", "remove `max_in_flight`", "max_in_flight"
            )
        return self


class ModbusRtuOverTcp(ModbusConnection):
    """A converter that passes RTU frames through a TCP connection as they are."""

    protocol: Literal["modbus-rtu-over-tcp"] = Field(
        description="Which adapter reads it.", examples=["modbus-rtu-over-tcp"]
    )
    host: Host = _HOST
    port: Port = Field(502, description="TCP port.", examples=[4001])
    baud: int | None = _LINE


class ModbusUdp(ModbusConnection):
    """A device that speaks Modbus TCP frames over UDP."""

    protocol: Literal["modbus-udp"] = Field(description="Which adapter reads it.", examples=["modbus-udp"])
    host: Host = _HOST
    port: Port = Field(502, description="UDP port.")
    baud: int | None = _LINE
    quirks: TcpQuirks = Field(default_factory=TcpQuirks, description="What the link, or all devices behind it, need.")


class ModbusTls(ModbusConnection):
    """A Modbus/TCP Security server (MODBUS/TCP Security Protocol Specification V36)."""

    protocol: Literal["modbus-tls"] = Field(description="Which adapter reads it.", examples=["modbus-tls"])
    host: Host = _HOST
    port: Port = Field(802, description="TCP port.")
    ca: Path | None = Field(
        None, examples=["ca.pem"],
        description="CA certificate(s) the device is verified with; the system's where it is left out.",
    )  # fmt: skip
    cert: Path | None = Field(None, description="Our client certificate, which the standard asks for.")
    key: Path | None = Field(None, description="Its private key.")
    server_name: str | None = Field(
        None, description="Name in the device's certificate, where it is not `host`.", examples=["plc-01.acme.lan"]
    )
    baud: int | None = _LINE
    quirks: TcpQuirks = Field(default_factory=TcpQuirks, description="What the link, or all devices behind it, need.")

    @model_validator(mode="after")
    def _fits(self) -> ModbusTls:
        if (self.cert is None) != (self.key is None):
            raise mistake("a client certificate needs both `cert` and `key`", key="cert" if self.cert else "key")
        return self


# --- over a serial line ----------------------------------------------------------------------------------------------


class _SerialLine(ModbusConnection):
    """The defaults are those of MODBUS over Serial Line V1.02, 2.5.1: 19200 bit/s, even parity, one stop bit."""

    baud: int = Field(19200, ge=300, le=4_000_000, description="Speed in bit/s.", examples=[9600])
    parity: Literal["none", "even", "odd"] = Field(
        "even", description="Parity bit; many devices are set to none.", examples=["none"]
    )
    stop_bits: Literal[1, 2] = Field(1, description="Stop bits.")
    quirks: SerialQuirks = Field(
        default_factory=SerialQuirks, description="What the link, or all devices behind it, need."
    )

    @property
    def character(self) -> float:
        """Seconds that one character takes: start bit, data bits, parity bit, stop bits."""
        bits: int = getattr(self, "data_bits", 8)
        return (1 + bits + (self.parity != "none") + self.stop_bits) / self.baud

    @property
    def gap(self) -> float:
        """At least the 3.5 characters of MODBUS over Serial Line V1.02, 2.5.1.1; converters on USB need longer."""
        return max(self.least_gap, 0.005)

    @property
    def least_gap(self) -> float:
        """A frame ends with the silence of 3.5 characters."""
        return 3.5 * self.character


def _device(value: object) -> object:
    if isinstance(value, int) or (isinstance(value, str) and value.isdigit()):
        raise mistake(f"{value} is not a serial port", "for example /dev/serial/by-id/usb-FTDI_RS485-if00")
    return value


class ModbusRtu(_SerialLine):
    """A serial line with Modbus RTU."""

    protocol: Literal["modbus-rtu"] = Field(description="Which adapter reads it.", examples=["modbus-rtu"])
    port: Annotated[str, BeforeValidator(_device), Field(min_length=1)] = Field(
        description="The serial port; its name under /dev/serial/by-id stays the same when the converter is replugged.",
        examples=["/dev/serial/by-id/usb-FTDI_RS485-if00"],
    )


class ModbusAscii(_SerialLine):
    """Modbus ASCII: a serial line, or with `host` a converter that passes its frames through a TCP connection."""

    protocol: Literal["modbus-ascii"] = Field(description="Which adapter reads it.", examples=["modbus-ascii"])
    host: Host | None = Field(None, description="Name or IP address of a converter.", examples=["10.20.0.11"])
    port: str | int = Field(
        description="The serial port; with `host` the TCP port.", examples=["/dev/serial/by-id/usb-FTDI_RS485-if00"]
    )
    data_bits: Literal[7, 8] = Field(7, description="Bits of a character.")

    @model_validator(mode="after")
    def _fits(self) -> ModbusAscii:
        if self.host is None:
            _device(self.port)
        elif not isinstance(self.port, int) or not 1 <= self.port <= 65535:
            raise mistake(f"'{self.port}' is not a TCP port", "1 to 65535, or no `host` for a serial port", "port")
        return self
