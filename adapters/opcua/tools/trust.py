"""What `gateway opcua endpoints` and `gateway opcua trust` do: ask a server who it is, and believe it from now on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from adapters.opcua.client import Client
from adapters.opcua.explain import explain, fault_of_error
from adapters.opcua.security.certificates import Certificate, CertificateError
from adapters.opcua.security.choice import Endpoint, choose
from adapters.opcua.security.secure import Offer, Security
from adapters.opcua.security.store import seen
from adapters.opcua.security.verdict import Verdict
from gateway.errors import NotConnectedError


@dataclass(frozen=True, slots=True)
class Shown:
    """The certificate of a server."""

    certificate: Certificate
    verdict: Verdict
    kept: str = ""  # when it was shown, if it was not just now


async def offer(security: Security) -> Offer:
    """What a server offers. Raises NotConnectedError."""
    link = security.connection
    try:
        return await Client(link, f"{security.gateway_id} {security.name}").endpoints()
    except Exception as exc:
        said = str(exc) if isinstance(exc, NotConnectedError) else explain(exc)
        text = f"{security.name} {link.host}:{link.port}: {said}"
        raise NotConnectedError(text, fault=fault_of_error(exc)) from exc


def chosen(offered: Offer, security: Security) -> Endpoint | None:
    """The endpoint that the connection would use; None where there is none for it."""
    try:
        return choose(offered.endpoints, security.connection)
    except NotConnectedError:
        return None


async def show(security: Security) -> Shown:
    """The server's certificate: of the endpoint that would be used, else of any, else the one that was refused last.

    Raises NotConnectedError.
    """
    try:
        offered = await offer(security)
    except CertificateError:
        raise
    except NotConnectedError:
        kept = security.store.rejected(security.name)
        if kept is None:
            raise
        certificate, verdict = kept.certificate, security.judge(Endpoint("", "", "", kept.certificate.der))[1]
        return Shown(certificate, verdict, seen(kept).strftime("%Y-%m-%d %H:%M UTC"))
    used = chosen(offered, security)
    if used is None or not used.certificate:
        used = next((each for each in offered.endpoints if each.certificate), None)
    if used is None:
        text = f"{security.name}: the server has no certificate: it offers no encryption"
        raise NotConnectedError(text, fault="opcua-security-mismatch")
    sent, verdict = security.judge(used)
    return Shown(sent[0], verdict)


def believe(security: Security, certificate: Certificate) -> Path:
    """From now on: on this connection alone where it pins, else on all."""
    if security.connection.trust == "pinned":
        return security.store.pin(security.name, certificate)
    return security.store.trust(certificate)
