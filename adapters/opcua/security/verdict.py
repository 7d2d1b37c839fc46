"""Whether a server's certificate is believed, and what speaks against it. Pure: the steps of Part 4, 6.1.3.

A certificate is trusted when itself, or one that issued it, was put into the trust store; or when it is the one that
is pinned. That answers "who is it". The other checks answer "may this one be used for this now", and are made of
trusted and untrusted ones alike.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtendedKeyUsageOID

from adapters.opcua.connection import OLD_POLICIES
from adapters.opcua.security.certificates import MOST_ISSUERS, Certificate, day, printable

Kind = Literal["untrusted", "changed", "revoked", "expired", "wrong-host", "wrong-uri", "usage"]

# Bits of an RSA key: Part 7, the limits of each policy.
_KEY_SIZES = {**dict.fromkeys(OLD_POLICIES, (1024, 2048)), "": (2048, 4096)}
_BROKEN_HASHES = (hashes.MD5, hashes.SHA1)

# The code in the catalogue of faults: of several problems the first one here counts.
_FAULTS: Mapping[Kind, str] = {
    "changed": "opcua-certificate-changed",
    "untrusted": "opcua-certificate-not-trusted",
    "revoked": "opcua-certificate-unfit",
    "expired": "opcua-certificate-expired",
    "wrong-host": "opcua-certificate-wrong-name",
    "wrong-uri": "opcua-certificate-wrong-name",
    "usage": "opcua-certificate-unfit",
}


def fault_of_kinds(kinds: Collection[Kind]) -> str:
    """What somebody has to see to first."""
    return next(fault for kind, fault in _FAULTS.items() if kind in kinds)


@dataclass(frozen=True, slots=True)
class TrustLists:
    """What the trust store holds."""

    trusted: tuple[Certificate, ...] = ()
    issuers: tuple[Certificate, ...] = ()  # only to complete a chain
    revoked: tuple[x509.CertificateRevocationList, ...] = ()
    pinned: Certificate | None = None  # instead of `trusted`


@dataclass(frozen=True, slots=True)
class Expected:
    """What the certificate has to fit."""

    host: str
    application_uri: str  # as the server names itself; "": it does not
    policy: str
    now: datetime
    clock_trusted: bool = True


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that speaks against a certificate. `kind` is what `allow:` would have to say, where it can."""

    kind: Kind
    text: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """Why a certificate is trusted ("" if it is not), and all that speaks against it."""

    trusted: str
    problems: tuple[Problem, ...]

    def refusals(self, allowed: Collection[str]) -> tuple[Problem, ...]:
        """What is left when the user allows some of it."""
        return tuple(problem for problem in self.problems if problem.kind not in allowed)


def judge(chain: Sequence[Certificate], lists: TrustLists, expected: Expected) -> Verdict:
    """`chain`: the server's certificate, and those it sent along."""
    leaf, *sent = chain
    trusted, path = _trust(leaf, sent, lists)
    problems: list[Problem] = []
    if not trusted and lists.pinned:
        problems.append(Problem("changed", f"it is not the one that is pinned, {lists.pinned}"))
    elif not trusted:
        problems.append(Problem("untrusted", "nobody has trusted it yet"))
    problems.extend(_revoked(path, [*lists.trusted, *lists.issuers, *sent], lists.revoked))
    problems.extend(_validity(path, expected))
    problems.extend(_fit(leaf, expected))
    problems.extend(_usage(leaf, expected, by_issuer=len(path) > 1))
    return Verdict(trusted, tuple(problems))


def _trust(leaf: Certificate, sent: Sequence[Certificate], lists: TrustLists) -> tuple[str, list[Certificate]]:
    """Why it is trusted, and the certificates that this rests on, the leaf first."""
    if lists.pinned:
        return ("it is the one that is pinned", [leaf]) if leaf == lists.pinned else ("", [leaf])
    if leaf in lists.trusted:
        return "it is in the trust store", [leaf]
    path = _path([leaf], [*lists.trusted, *lists.issuers, *sent], frozenset(lists.trusted))
    return (f"it was issued by {path[-1].subject}", path) if path else ("", [leaf])


def _path(so_far: list[Certificate], pool: Sequence[Certificate], trusted: frozenset[Certificate]) -> list[Certificate]:
    """From a certificate up to a trusted one; empty where there is no way."""
    if len(so_far) > MOST_ISSUERS:
        return []
    for issuer in dict.fromkeys(pool):
        if issuer in so_far or not _issued(so_far[-1], issuer) or not _may_issue(issuer, len(so_far) - 1):
            continue
        longer = [*so_far, issuer]
        if issuer in trusted:
            return longer
        if found := _path(longer, pool, trusted):
            return found
    return []


def _issued(certificate: Certificate, issuer: Certificate) -> bool:
    if isinstance(certificate.x509.signature_hash_algorithm, _BROKEN_HASHES):
        return False  # anybody with enough computers can have made it
    try:
        certificate.x509.verify_directly_issued_by(issuer.x509)
    except (InvalidSignature, ValueError, TypeError):
        return False
    return True


def _may_issue(issuer: Certificate, below: int) -> bool:
    """Whether it is a CA, and one that may have as many CAs below it (RFC 5280, 4.2.1.9)."""
    constraints = issuer.extension(x509.BasicConstraints)
    if constraints is None or not issuer.is_ca:
        return False
    return constraints.path_length is None or constraints.path_length >= below


def _revoked(
    path: Sequence[Certificate], pool: Sequence[Certificate], lists: Sequence[x509.CertificateRevocationList]
) -> Iterator[Problem]:
    """Lists are obeyed where there are any. One whose issuer is not known here is believed: somebody put it there."""
    for certificate in path:
        own = certificate.x509
        issuers = [issuer for issuer in dict.fromkeys([*path, *pool]) if issuer.x509.subject == own.issuer]
        for listed in lists:
            if listed.issuer != own.issuer or (issuers and not any(_signed(listed, issuer) for issuer in issuers)):
                continue
            if (entry := listed.get_revoked_certificate_by_serial_number(own.serial_number)) is not None:
                who = "it" if certificate is path[0] else f"its issuer {certificate.subject}"
                yield Problem("revoked", f"{who} was revoked on {day(entry.revocation_date_utc)}")


def _signed(listed: x509.CertificateRevocationList, issuer: Certificate) -> bool:
    try:
        return listed.is_signature_valid(issuer.x509.public_key())  # type: ignore[arg-type]  # others raise TypeError
    except (ValueError, TypeError):
        return False


def _validity(path: Sequence[Certificate], expected: Expected) -> Iterator[Problem]:
    for certificate in path:
        who = "it" if certificate is path[0] else f"its issuer {certificate.subject}"
        if expected.now > certificate.not_after:
            yield Problem("expired", f"{who} has expired: it was valid until {day(certificate.not_after)}")
        elif expected.now < certificate.not_before and expected.clock_trusted:
            yield Problem(
                "expired",
                f"{who} is not valid yet: from {certificate.not_before:%Y-%m-%d %H:%M} UTC on, and it is "
                f"{expected.now:%Y-%m-%d %H:%M} here",
            )


def _fit(leaf: Certificate, expected: Expected) -> Iterator[Problem]:
    if not leaf.is_made_for(expected.host):
        hosts = ", ".join(leaf.hosts[:8]) or "no host at all"
        yield Problem("wrong-host", f"it is made out for {hosts}, and the configuration says {expected.host}")
    if expected.application_uri and expected.application_uri not in leaf.uris:
        uris = ", ".join(leaf.uris) or "no application"
        yield Problem(
            "wrong-uri", f"it is made out for {uris}, and the server calls itself {printable(expected.application_uri)}"
        )


def _usage(leaf: Certificate, expected: Expected, by_issuer: bool) -> Iterator[Problem]:
    """What kind of certificate it is. Of what a CA has issued, only what is made for servers may be one."""
    if leaf.key is None:
        yield Problem("usage", "its key is not of RSA, which all policies here need")
        return
    low, high = _KEY_SIZES.get(expected.policy, _KEY_SIZES[""])
    if expected.policy != "None" and not low <= leaf.key.key_size <= high:
        yield Problem(
            "usage", f"its key has {leaf.key.key_size} bits, and {expected.policy} takes {low} to {high} (Part 7)"
        )
    usage = leaf.extension(x509.KeyUsage)
    if usage and not (usage.digital_signature and (usage.key_encipherment or usage.data_encipherment)):
        yield Problem("usage", "its key may not be used to sign and to encrypt (KeyUsage)")
    extended = leaf.extension(x509.ExtendedKeyUsage)
    servers = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE)
    if by_issuer and extended and not any(use in servers for use in extended):
        yield Problem("usage", "it is not made out for a server (ExtendedKeyUsage)")
