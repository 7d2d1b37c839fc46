"""Whether there is a way to each machine: one connection, closed at once, and none where the gateway has one.

Where no gateway runs, one signal of each Modbus machine is read behind it.
"""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from gateway.doctor.case import Case
from gateway.doctor.checks import readings
from gateway.doctor.checks.addresses import Address, of_machines
from gateway.doctor.finding import Finding
from gateway.doctor.timing import HUNG, each_within

if TYPE_CHECKING:
    from gateway.config import Configuration

NAME = "machines"
PATIENCE = 4.0  # seconds for one connection
ALL = 18.0  # for all of them
SLOW = 0.5
_UNREACHABLE = (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN)


def look(case: Case) -> Iterator[Finding]:
    configuration = case.configuration
    assert configuration is not None
    addresses, jobs = [], []
    for address in of_machines(configuration):
        reads = not case.runs and readings.can_be_read(configuration, address.of)
        if address.protocol.endswith("-udp") and not reads:
            yield Finding(NAME, "skipped", f"{address.of}: {address}: UDP has no connection to try")
        elif case.status is not None and _connected(case.status, configuration.machines_of(address.of)):
            yield Finding(NAME, "ok", f"{address.of}: {address}: the running gateway is connected")
        else:
            addresses.append(address)
            jobs.append(partial(_visit, address, configuration if reads else None))
    for place, found in each_within(ALL, jobs):
        if isinstance(found, list):
            yield from found
        else:
            assert found is HUNG
            address = addresses[place]
            text = f"{address.of}: {address}: could not be tried within {ALL:.0f} s"
            yield Finding(NAME, "wrong", text, "check-hung", facts=_facts(address))


def _visit(address: Address, configuration: Configuration | None) -> list[Finding]:
    """A connection; and, with a configuration, a reading of each machine behind it."""
    found = [] if address.protocol.endswith("-udp") else [connect(address, PATIENCE)]
    if configuration is not None and not any(each.state == "wrong" for each in found):
        found += readings.read_each(NAME, configuration, address.of)
    return found


def _connected(status: Mapping[str, Any], machines: Mapping[str, Any]) -> bool:
    """A device that takes one client would throw the gateway out for the doctor."""
    return any(each["state"] != "offline" for each in status.get("machines", ()) if each["name"] in machines)


def connect(address: Address, patience: float) -> Finding:
    """Open a connection and close it again, without a word."""
    began = time.monotonic()
    facts = _facts(address)
    try:
        socket.create_connection((address.host, address.port), timeout=patience).close()
    except (OSError, UnicodeError) as exc:
        text, fault = _meaning(exc, patience)
        return Finding(NAME, "wrong", f"{address.of}: {address}: {text}", fault, facts=facts)
    took = time.monotonic() - began
    text = f"{address.of}: {address}: connected in {took * 1000:.0f} ms"
    if took > SLOW:
        hint = "a busy device, a slow link, or a switch that is overloaded: compare with others beside it"
        return Finding(NAME, "warning", text, hint=hint, facts=facts)
    return Finding(NAME, "ok", text, facts=facts)


def _meaning(exc: Exception, patience: float) -> tuple[str, str]:
    if isinstance(exc, ConnectionRefusedError):
        return "it refuses the connection", "connection-refused"
    if isinstance(exc, TimeoutError):
        return f"no answer within {patience:g} s", "connection-timeout"
    if isinstance(exc, (socket.gaierror, UnicodeError)):
        return "its name is not known", "name-not-resolved"
    if isinstance(exc, OSError) and exc.errno in _UNREACHABLE:
        return (exc.strerror or str(exc)).lower(), "host-unreachable"
    return str(getattr(exc, "strerror", None) or exc).lower(), "connection-lost"


def _facts(address: Address) -> dict[str, object]:
    return {"host": address.host, "port": address.port}
