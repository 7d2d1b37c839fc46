"""What went wrong with a link, in words: what happened, and what to check. Pure."""

from __future__ import annotations

import errno
import ssl

from adapters.modbus.connections import ModbusAscii, ModbusConnection, ModbusRtu, ModbusTls, ModbusUdp


def is_serial(settings: ModbusConnection) -> bool:
    """Whether the line is plugged into this machine."""
    return isinstance(settings, ModbusRtu) or (isinstance(settings, ModbusAscii) and settings.host is None)


def name_of(settings: ModbusConnection) -> str:
    """A link as people write it: 10.20.0.11:502, [fd00::1]:502, /dev/ttyUSB0."""
    host, port = getattr(settings, "host", None), getattr(settings, "port", "")
    if host is None:
        return str(port)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def why_not_open(settings: ModbusConnection, exc: Exception) -> str:
    """Why a link cannot be opened."""
    if is_serial(settings):
        return _serial(exc)
    if isinstance(exc, TimeoutError):
        return f"no connection within {settings.timeout:g} s; check that it is switched on, the address, network and firewall"
    if isinstance(exc, ConnectionRefusedError):
        return "it refuses the connection; check the port, and that Modbus TCP is enabled and has room for a client"
    if isinstance(exc, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {exc.verify_message}; check `ca`, `server_name` and the clock"
    if isinstance(exc, ssl.SSLError):
        return f"TLS fails: {exc.reason or exc}; check `ca`, `cert` and `key`, and that the port is the one for TLS"
    if isinstance(exc, FileNotFoundError) and isinstance(settings, ModbusTls):
        return f"a certificate is missing: {exc.filename or 'check `ca`, `cert` and `key`'}"
    if isinstance(settings, ModbusTls) and isinstance(exc, ConnectionError):
        return "it ends the connection before TLS has begun; check that the port is the one for TLS"
    return f"{getattr(exc, 'strerror', None) or str(exc) or type(exc).__name__}; check the address and the network"


def _serial(exc: Exception) -> str:
    number = getattr(exc, "errno", None)
    text = str(exc)
    if number == errno.ENOENT or "No such file" in text:
        return "there is no such port; is the converter plugged in? `ls /dev/serial/by-id` shows what is there"
    if number == errno.EACCES or "Permission denied" in text:
        return "not allowed to use the port; add the user of the gateway to the group `dialout`"
    if number in (errno.EBUSY, errno.EAGAIN) or "exclusively lock" in text or "busy" in text:
        return "another program uses the port"
    if number == errno.EINVAL or "Invalid argument" in text:
        return "the port does not know these settings; check `baud`, `parity` and `stop_bits`"
    return f"{text}; check the converter and its cable"


def why_closed(settings: ModbusConnection) -> str:
    """What it means that the other side ended the link."""
    if is_serial(settings):
        return "the port is gone; was the converter unplugged?"
    if isinstance(settings, ModbusTls):
        return (
            "it closed the connection; check that it trusts our certificate (`cert`, `key`), and allows one more client"
        )
    return "it closed the connection; check that it allows one more client"


def sent_back(settings: ModbusConnection) -> str:
    """What it means that the answer is the request."""
    hint = "set quirks: {local_echo: true}" if is_serial(settings) else "switch off the echo of the converter"
    return f"what is sent comes back; {hint}"


def unanswered(settings: ModbusConnection, heard: bool) -> str:
    """What it means that no answer came: "unit 7 …"."""
    if heard:
        return f"answers by half within {settings.timeout:g} s; check the line, and whether it needs `max_registers`"
    if is_serial(settings):
        return f"does not answer within {settings.timeout:g} s; check `unit_id`, `baud` and `parity`, and the wires A and B"
    if isinstance(settings, ModbusUdp):
        return f"does not answer within {settings.timeout:g} s; check the address, `unit_id` and that it speaks UDP"
    return f"does not answer within {settings.timeout:g} s; check `unit_id` and `timeout`, and the line behind it if this is a bridge"
