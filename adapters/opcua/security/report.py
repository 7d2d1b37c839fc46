"""Certificates and endpoints for people and for programs. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from adapters.opcua.security.certificates import Certificate, day, plain_hex
from adapters.opcua.security.choice import Endpoint
from adapters.opcua.security.secure import cure_of
from adapters.opcua.security.store import Entry
from adapters.opcua.security.verdict import Verdict


def facts(certificate: Certificate, verdict: Verdict | None = None) -> dict[str, Any]:
    """One object of `--json`."""
    row: dict[str, Any] = {
        "subject": certificate.subject,
        "issuer": certificate.issuer,
        "self_signed": certificate.self_signed,
        "valid_from": certificate.not_before.isoformat(),
        "valid_until": certificate.not_after.isoformat(),
        "hosts": list(certificate.hosts),
        "application": list(certificate.uris),
        "key_bits": certificate.key.key_size if certificate.key else None,
        "sha256": plain_hex(certificate.fingerprint),
        "sha1": plain_hex(certificate.thumbprint),
    }
    if verdict:
        row["trusted"] = bool(verdict.trusted)
        row["problems"] = [{"kind": problem.kind, "text": problem.text} for problem in verdict.problems]
    return row


def lines(certificate: Certificate, verdict: Verdict | None = None, allowed: Sequence[str] = ()) -> list[str]:
    """The same for people; what is let pass says so."""
    issuer = "itself" if certificate.self_signed else certificate.issuer
    rows = [
        ("subject", certificate.subject or "–"),
        ("issued by", issuer),
        ("valid", f"{day(certificate.not_before)} to {day(certificate.not_after)}"),
        ("hosts", ", ".join(certificate.hosts) or "–"),
        ("application", ", ".join(certificate.uris) or "–"),
        ("SHA-256", certificate.fingerprint),
        ("SHA-1", f"{certificate.thumbprint} (the thumbprint)"),
    ]
    if verdict:
        rows.append(("trusted", f"yes: {verdict.trusted}" if verdict.trusted else "no"))
        for problem in verdict.problems:
            if problem.kind in ("untrusted", "changed") and problem.kind not in allowed:
                if problem.kind == "changed":
                    rows.append(("changed", problem.text))
                continue
            passes = problem.kind in allowed
            said = f"{problem.text} (let pass: `allow: [{problem.kind}]`)" if passes else problem.text
            rows.append(("problem", said))
            if not passes and (cure := cure_of(problem.kind)):
                rows.append(("", cure))
    return [f"{name:<12} {text}" for name, text in rows]


def endpoint(found: Endpoint, chosen: bool) -> dict[str, Any]:
    """One object of `--json`, without its certificate."""
    return {
        "url": found.url,
        "security": found.security,
        "policy": found.policy,
        "mode": found.mode,
        "login": [{"kind": token.login, "policy": token.policy or found.policy} for token in found.tokens],
        "server": found.application,
        "application": found.application_uri,
        "chosen": chosen,
    }


def entry(found: Entry) -> dict[str, Any]:
    """One file of the trust store, as an object of `--json`."""
    kind = "ca" if found.place in ("trusted", "issuers") and found.certificate.is_ca else "server"
    return {
        "place": found.place,
        "kind": kind,
        "connection": found.connection or None,
        **facts(found.certificate),
        "file": str(found.file),
    }


def meant(entries: Sequence[Entry], fingerprint: str) -> list[Entry]:
    """The entries of the one certificate that is meant by a fingerprint, or its first 8 digits or more.

    Empty where there is none; entries of several certificates where it is not clear.
    """
    wanted = plain_hex(fingerprint)
    if len(wanted) < 8:
        return []
    return [
        each
        for each in entries
        if plain_hex(each.certificate.fingerprint).startswith(wanted)
        or plain_hex(each.certificate.thumbprint).startswith(wanted)
    ]
