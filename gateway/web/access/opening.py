"""From the configuration to doors that are ready: names, certificate, users, set-up code."""

from __future__ import annotations

import hashlib
import logging
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gateway.clock import Clock
from gateway.config.settings import WebSettings
from gateway.events import Events
from gateway.web.access.audit import Audit, read_head
from gateway.web.access.certificate import (
    Pair,
    Renewal,
    context,
    fingerprint,
    make_if_missing,
    names_of_this_machine,
    own_pair,
)
from gateway.web.access.doors import Doors
from gateway.web.access.users import Users, UsersError

log = logging.getLogger(__name__)

_LOCAL = ("localhost", "127.0.0.1", "[::1]")


@dataclass(slots=True)
class Opening:
    """What the server has to know: who may come in, and how it is encrypted."""

    doors: Doors
    tls: ssl.SSLContext | None = None
    renewal: Renewal | None = None


def local_doors(clock: Clock, host: str = "127.0.0.1", events: Events | None = None) -> Doors:
    """For this machine only, without a login."""
    return Doors(clock, frozenset({*_LOCAL, bracketed(host)}), events=Events() if events is None else events)


def open_doors(
    web: WebSettings, folder: Path, data_dir: Path, clock: Clock, events: Events, audit: Audit | None = None
) -> Opening:
    """As `web` says, whose paths begin in `folder`; reads and writes files, so not on the event loop.

    Raises GatewayError for certificates. A file of users that cannot be believed is no reason not to read machines:
    nobody is let in, and the log says why.
    """
    if not web.tls and web.login != "required":
        doors = local_doors(clock, web.host, events)
        doors.audit = audit or Audit(data_dir, clock)
        return Opening(doors)
    token, names = web.metrics_token, names_of_this_machine(web.host, web.hosts)
    doors = Doors(
        clock,
        frozenset(map(bracketed, {*names, *_LOCAL})),
        reached=not web.loopback,
        required=web.login == "required",
        tls=web.tls,
        proxied=web.loopback and bool(web.hosts),
        users=Users(data_dir),
        certificates=dict(web.certificates),
        longest=web.session,
        metrics_token=hashlib.sha256(token.value.encode()).digest() if token else b"",
        audit=audit or Audit(data_dir, clock),
        events=events,
    )
    if doors.required:
        _tell_code(doors)
    if doors.audit is not None and (head := read_head(doors.audit.folder)) is not None:
        log.info("the audit of the page has %d lines, the last one is %s", head.n, head.hash)
    return Opening(doors, *_tls(web, folder, data_dir, names))


def pair_of(web: WebSettings, folder: Path, data_dir: Path) -> Pair:
    """The certificate the page is served with: that of the configuration, else the one we make."""
    if web.cert is not None and web.key is not None:
        return Pair(folder / web.cert, folder / web.key)
    return own_pair(data_dir)


def bracketed(host: str) -> str:
    """As it stands in `Host`."""
    bare = host.strip("[]").lower()
    return f"[{bare}]" if ":" in bare else bare


def _tls(
    web: WebSettings, folder: Path, data_dir: Path, names: Sequence[str]
) -> tuple[ssl.SSLContext | None, Renewal | None]:
    if not web.tls:
        return None, None
    pair = pair_of(web, folder, data_dir)
    client_ca = folder / web.client_ca if web.client_ca else None
    if pair.made and make_if_missing(pair, names):
        log.warning(
            "a certificate was made for the page: browsers will warn of it. Compare its fingerprint there, SHA-256 %s",
            fingerprint(pair.cert),
        )
    renewal = Renewal(pair, client_ca)
    made = context(pair, client_ca)
    log.info("the page is served with %s, SHA-256 %s", pair.cert, fingerprint(pair.cert))
    return made, renewal


def _tell_code(doors: Doors) -> None:
    assert doors.users is not None
    try:
        code = doors.users.code()
    except UsersError as exc:
        log.error("nobody can log in at the page: %s", exc)
        return
    if code:
        log.warning(
            "nobody has a password for the page yet: open it and use the set-up code %s (it is in %s, too), "
            "or type: gateway web user add NAME --role engineer",
            code,
            doors.users.code_file,
        )
