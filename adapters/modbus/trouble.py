"""What went wrong with a link, in words and as a code: what happened, and what to check. Pure."""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Mapping

from adapters.modbus.connections import ModbusAscii, ModbusConnection, ModbusRtu, ModbusTls, ModbusUdp
from gateway.faults import Reason

# Exception codes (Modbus Application Protocol V1.1b3, 7), and the kinds of `frames.Wrong` and of what else is counted.
OF_EXCEPTION: Mapping[int, str] = {
    1: "modbus-illegal-function",
    2: "modbus-illegal-address",
    3: "modbus-illegal-value",
    4: "modbus-device-failure",
    5: "modbus-device-busy",
    6: "modbus-device-busy",
    8: "modbus-device-failure",
    10: "modbus-gateway-no-path",
    11: "modbus-gateway-no-target",
}
_OF_KIND: Mapping[str, str] = {
    "bad checksum": "modbus-garbled",
    "not Modbus": "modbus-garbled",
    "unasked": "modbus-unasked",
    "echo": "modbus-echo",
    "no answer": "modbus-no-answer",
    "half an answer": "modbus-half-answer",
}


def of_kind(kind: str, trouble: str) -> Reason:
    """With the code it has already, or that of its kind: else request and answer were out of step."""
    known = Reason(trouble)
    return known if known.fault else Reason(trouble, _OF_KIND.get(kind, "modbus-out-of-step"))


def told(prefix: str, trouble: str) -> Reason:
    """Where it happened, and what; the code stays with it."""
    return Reason(f"{prefix}{trouble}", Reason(trouble).fault)


def is_serial(settings: ModbusConnection) -> bool:
    """Whether the line is plugged into this machine."""
    return isinstance(settings, ModbusRtu) or (isinstance(settings, ModbusAscii) and settings.host is None)


def name_of(settings: ModbusConnection) -> str:
    """A link as people write it: 10.20.0.11:502, [fd00::1]:502, /dev/ttyUSB0."""
    host, port = getattr(settings, "host", None), getattr(settings, "port", "")
    if host is None:
        return str(port)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def why_not_open(settings: ModbusConnection, exc: Exception) -> Reason:
    """Why a link cannot be opened."""
    return Reason(*(_serial(exc) if is_serial(settings) else _network(settings, exc)))


def _network(settings: ModbusConnection, exc: Exception) -> tuple[str, str]:
    if isinstance(exc, TimeoutError):
        text = f"no connection within {settings.timeout:g} s; check that it is switched on, the address, network and firewall"
        return text, "connection-timeout"
    if isinstance(exc, ConnectionRefusedError):
        text = "it refuses the connection; check the port, and that Modbus TCP is enabled and has room for a client"
        return text, "connection-refused"
    if isinstance(exc, ssl.SSLCertVerificationError):
        text = f"its certificate is not accepted: {exc.verify_message}; check `ca`, `server_name` and the clock"
        return text, "modbus-tls"
    if isinstance(exc, ssl.SSLError):
        text = f"TLS fails: {exc.reason or exc}; check `ca`, `cert` and `key`, and that the port is the one for TLS"
        return text, "modbus-tls"
    if isinstance(exc, FileNotFoundError) and isinstance(settings, ModbusTls):
        return f"a certificate is missing: {exc.filename or 'check `ca`, `cert` and `key`'}", "modbus-tls"
    if isinstance(settings, ModbusTls) and isinstance(exc, ConnectionError):
        return "it ends the connection before TLS has begun; check that the port is the one for TLS", "modbus-tls"
    code = "name-not-resolved" if isinstance(exc, (socket.gaierror, UnicodeError)) else "host-unreachable"
    return (
        f"{getattr(exc, 'strerror', None) or str(exc) or type(exc).__name__}; check the address and the network",
        code,
    )


def _serial(exc: Exception) -> tuple[str, str]:
    number = getattr(exc, "errno", None)
    text = str(exc)
    if number == errno.ENOENT or "No such file" in text:
        text = "there is no such port; is the converter plugged in? `ls /dev/serial/by-id` shows what is there"
        return text, "serial-port-missing"
    if number == errno.EACCES or "Permission denied" in text:
        return "not allowed to use the port; add the user of the gateway to the group `dialout`", "serial-no-rights"
    if number in (errno.EBUSY, errno.EAGAIN) or "exclusively lock" in text or "busy" in text:
        return "another program uses the port", "serial-port-busy"
    if number == errno.EINVAL or "Invalid argument" in text:
        text = "the port does not know these settings; check `baud`, `parity` and `stop_bits`"
        return text, "serial-settings-refused"
    return f"{text}; check the converter and its cable", "serial-port-failed"


def why_closed(settings: ModbusConnection) -> Reason:
    """What it means that the other side ended the link."""
    if is_serial(settings):
        return Reason("the port is gone; was the converter unplugged?", "serial-port-failed")
    trusts = "it trusts our certificate (`cert`, `key`), and " if isinstance(settings, ModbusTls) else "it "
    return Reason(f"it closed the connection; check that {trusts}allows one more client", "modbus-connection-closed")


def sent_back(settings: ModbusConnection) -> Reason:
    """What it means that the answer is the request."""
    hint = "set quirks: {local_echo: true}" if is_serial(settings) else "switch off the echo of the converter"
    return Reason(f"what is sent comes back; {hint}", "modbus-echo")


def unanswered(settings: ModbusConnection, heard: bool) -> Reason:
    """What it means that no answer came: "unit 7 …"."""
    if heard:
        text = f"answers by half within {settings.timeout:g} s; check the line, and whether it needs `max_registers`"
        return Reason(text, "modbus-half-answer")
    if is_serial(settings):
        check = "check `unit_id`, `baud` and `parity`, and the wires A and B"
    elif isinstance(settings, ModbusUdp):
        check = "check the address, `unit_id` and that it speaks UDP"
    else:
        check = "check `unit_id` and `timeout`, and the line behind it if this is a bridge"
    return Reason(f"does not answer within {settings.timeout:g} s; {check}", "modbus-no-answer")
