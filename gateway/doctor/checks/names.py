"""Whether the names in the configuration are known."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from functools import partial

from gateway.doctor.case import Case
from gateway.doctor.checks.addresses import of_machines, of_servers
from gateway.doctor.finding import Finding
from gateway.doctor.timing import HUNG, each_within

NAME = "names"
PATIENCE = 8.0  # seconds
SLOW = 2.0


def look(case: Case) -> Iterator[Finding]:
    configuration = case.configuration
    assert configuration is not None
    addresses = [*of_servers(configuration), *of_machines(configuration)]
    hosts = list(dict.fromkeys(address.host for address in addresses if address.named))
    if not hosts:
        yield Finding(NAME, "skipped", "only IP addresses are used")
    for place, found in each_within(PATIENCE, [partial(resolve, host) for host in hosts]):
        host = hosts[place]
        if isinstance(found, Finding):
            yield found
        else:
            assert found is HUNG
            text = f"{host}: no name server answers within {PATIENCE:.0f} s"
            yield Finding(NAME, "wrong", text, "name-not-resolved", facts={"host": host})


def resolve(host: str) -> Finding:
    """Look a name up, as the gateway would."""
    began = time.monotonic()
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as exc:
        said = getattr(exc, "strerror", None) or exc
        return Finding(NAME, "wrong", f"{host}: {said}", "name-not-resolved", facts={"host": host})
    took, addresses = time.monotonic() - began, ", ".join(dict.fromkeys(str(each[4][0]) for each in found))
    if took > SLOW:
        text = f"{host}: {addresses}, but only after {took:.1f} s: the first name server does not answer"
        return Finding(NAME, "warning", text, hint="look at the order of the name servers in /etc/resolv.conf")
    return Finding(NAME, "ok", f"{host}: {addresses}")
