"""Whether the page can be served where it is configured."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator

from gateway.doctor.case import Case
from gateway.doctor.finding import Finding

NAME = "page"


def look(case: Case) -> Iterator[Finding]:
    assert case.configuration is not None
    web = case.configuration.settings.web
    if web is None:
        yield Finding(NAME, "skipped", "no page is configured")
        return
    yield judge(web.host, web.port, case.runs)


def judge(host: str, port: int, runs: bool) -> Finding:
    """By listening there for a moment. `runs`: whether a gateway does already."""
    address = "127.0.0.1" if host == "localhost" else host.strip("[]")
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        socket.create_server((address, port), family=family).close()
    except OSError as exc:
        if exc.errno == errno.EADDRINUSE and runs:
            return Finding(NAME, "ok", f"{host}:{port} is in use, as a gateway runs")
        if exc.errno == errno.EADDRINUSE:
            return Finding(NAME, "wrong", f"{host}:{port} is used by another program", "port-taken")
        if exc.errno == errno.EACCES:
            text = f"{host}:{port}: a port below 1024 needs more rights"
            return Finding(NAME, "wrong", text, hint="choose one above 1024 in web.listen")
        return Finding(NAME, "wrong", f"{host}:{port}: {exc.strerror or exc}", hint="check web.listen")
    return Finding(NAME, "ok", f"{host}:{port} is free")
