"""Where an unknown device is: `10.20.0.11`, `rtu-over-tcp://10.20.0.12:4001`, `/dev/ttyUSB0`. Pure."""

from __future__ import annotations

import re
from typing import Any

from pydantic import ValidationError

from adapters.modbus.connections import (
    ModbusAscii,
    ModbusConnection,
    ModbusRtu,
    ModbusRtuOverTcp,
    ModbusTcp,
    ModbusTls,
    ModbusUdp,
)
from gateway.config.explain import did_you_mean
from gateway.errors import UsageError

_SCHEMES: dict[str, type[ModbusConnection]] = {
    "tcp": ModbusTcp, "rtu-over-tcp": ModbusRtuOverTcp, "udp": ModbusUdp, "tls": ModbusTls, "rtu": ModbusRtu,
    "ascii": ModbusAscii,
}  # fmt: skip
_SERIAL = re.compile(r"/\S+|(?i:COM)\d{1,3}")
_EXAMPLE = "for example 10.20.0.11, 10.20.0.11:502, rtu-over-tcp://10.20.0.11:4001 or /dev/ttyUSB0"


def is_address(text: str) -> bool:
    """Whether this can be no name of a connection, but an address only."""
    return "://" in text or "/" in text or ":" in text or bool(re.fullmatch(r"[\d.]+|localhost|(?i:COM)\d+", text))


def connection_of(text: str, **more: Any) -> ModbusConnection:
    """The connection to an address; `more`: timeout, baud, parity, stop_bits. Raises UsageError."""
    scheme, separator, rest = text.partition("://")
    if not separator:
        scheme, rest = ("rtu" if _SERIAL.fullmatch(text) else "tcp"), text
    if scheme not in _SCHEMES:
        raise UsageError(f"'{text}': '{scheme}://' is not known; {did_you_mean(scheme, _SCHEMES)}")
    model = _SCHEMES[scheme]
    if _SERIAL.fullmatch(rest):
        if scheme not in ("rtu", "ascii"):
            raise UsageError(f"'{text}': {scheme} goes to a host; {_EXAMPLE}")
        where: dict[str, Any] = {"port": rest}
    else:
        if scheme == "rtu":
            raise UsageError(f"'{text}': rtu goes to a serial port; for a converter write rtu-over-tcp://")
        match = re.fullmatch(r"(?:\[([0-9a-fA-F:.%]+)\]|([^:/\s\[\]]+))(?::(\d{1,5}))?/?", rest)
        if match is None:
            raise UsageError(f"'{text}' is no address; {_EXAMPLE}")
        where = {"host": match[1] or match[2], **({"port": int(match[3])} if match[3] else {})}
    known = {key: value for key, value in more.items() if value is not None and key in model.model_fields}
    try:
        return model.model_validate({"protocol": f"modbus-{scheme}", **where, **known})
    except ValidationError as exc:
        error = exc.errors(include_url=False)[0]
        context = error.get("ctx", {})
        hint = context.get("hint") or _EXAMPLE
        raise UsageError(f"'{text}': {context.get('message', error['msg'])}; {hint}") from exc


def stanza_of(connection: ModbusConnection) -> dict[str, Any]:
    """What to write into the configuration: what differs from the defaults."""
    written = connection.model_dump(exclude_defaults=True, exclude={"timeout"}, mode="json")
    stanza = {"protocol": connection.protocol}
    for key in ("host", "port", "baud", "parity", "stop_bits"):
        value = getattr(connection, key, None)
        serial = key in ("baud", "parity") and isinstance(connection, (ModbusRtu, ModbusAscii))
        if value is not None and (key in written or serial or key == "host"):
            stanza[key] = value
    return stanza
