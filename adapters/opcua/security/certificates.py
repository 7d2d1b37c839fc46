"""What a certificate says. Pure: bytes in, facts out.

Certificates come from strangers. What they say about themselves is cut and made printable before anybody sees it, and
what cannot be read of one counts as not being there.
"""

from __future__ import annotations

import ipaddress
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from gateway.errors import NotConnectedError

MOST_BYTES = 64 * 1024  # of a certificate with its chain
MOST_ISSUERS = 8  # certificates in one chain

_Extension = TypeVar("_Extension", bound=x509.ExtensionType)


class CertificateError(NotConnectedError):
    """A certificate or key that cannot be used: which one, why, and what to do."""

    fault = "opcua-certificate-files"


@dataclass(frozen=True, slots=True)
class Certificate:
    """One certificate. Two are equal when their bytes are."""

    der: bytes

    @property
    def x509(self) -> x509.Certificate:
        return x509.load_der_x509_certificate(self.der)

    @property
    def subject(self) -> str:
        return name_text(self.x509.subject)

    @property
    def issuer(self) -> str:
        return name_text(self.x509.issuer)

    @property
    def common_name(self) -> str:
        found = self.x509.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        return printable(str(found[0].value)) if found else ""

    @property
    def self_signed(self) -> bool:
        return self.x509.subject == self.x509.issuer

    @property
    def not_before(self) -> datetime:
        return self.x509.not_valid_before_utc

    @property
    def not_after(self) -> datetime:
        return self.x509.not_valid_after_utc

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all of it: what people compare."""
        return _colons(self.x509.fingerprint(hashes.SHA256()))

    @property
    def thumbprint(self) -> str:
        """SHA-1 of all of it: how OPC UA and most of its tools name a certificate (Part 4, 7.2)."""
        return self.x509.fingerprint(hashes.SHA1()).hex().upper()  # noqa: S303  # a name, not a proof

    @property
    def hosts(self) -> tuple[str, ...]:
        """The DNS names and IP addresses it is made out for."""
        names = self.extension(x509.SubjectAlternativeName)
        if names is None:
            return ()
        dns = [printable(name) for name in names.get_values_for_type(x509.DNSName)]
        return (*dns, *map(str, names.get_values_for_type(x509.IPAddress)))

    @property
    def uris(self) -> tuple[str, ...]:
        """The application it is made out for: one URI, where it is made as it should be (Part 6, 6.2.2)."""
        names = self.extension(x509.SubjectAlternativeName)
        return tuple(map(printable, names.get_values_for_type(x509.UniformResourceIdentifier))) if names else ()

    @property
    def key(self) -> rsa.RSAPublicKey | None:
        """Its public key; None where it is not of RSA, as all policies here need it."""
        with suppress(ValueError, TypeError):
            key = self.x509.public_key()
            if isinstance(key, rsa.RSAPublicKey):
                return key
        return None

    @property
    def is_ca(self) -> bool:
        """Whether it may issue others.

        Many servers make themselves a certificate that says so. The certificate of an application is no CA: to trust one
        of them is not to trust what it issues.
        """
        constraints, usage = self.extension(x509.BasicConstraints), self.extension(x509.KeyUsage)
        may = constraints is not None and constraints.ca and (usage is None or usage.key_cert_sign)
        return may and not self.uris

    def extension(self, kind: type[_Extension]) -> _Extension | None:
        """None also where the extensions cannot be read."""
        with suppress(x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
            return self.x509.extensions.get_extension_for_class(kind).value
        return None

    def is_made_for(self, host: str) -> bool:
        """Whether a name or address in it is that of the host."""
        return any(_same_host(host, name) for name in self.hosts)

    def matches(self, fingerprint: str) -> bool:
        """Whether this is its fingerprint, SHA-256 or SHA-1, however it is written."""
        return plain_hex(fingerprint) in (plain_hex(self.fingerprint), plain_hex(self.thumbprint))

    def __str__(self) -> str:
        return f"{self.subject or 'no name'} (SHA-256 {self.fingerprint})"


def parse(data: bytes, what: str = "this") -> Certificate:
    """One certificate, DER or PEM. Raises CertificateError."""
    try:
        if b"-----BEGIN" in data:
            return Certificate(x509.load_pem_x509_certificate(data).public_bytes(Encoding.DER))
        x509.load_der_x509_certificate(data)
    except ValueError as exc:
        raise CertificateError(f"{what} is not a certificate") from exc
    return Certificate(data)


def chain(data: bytes) -> tuple[Certificate, ...]:
    """A certificate, and behind it those that issued it, as servers send them (Part 6, 6.2.6).

    Raises CertificateError.
    """
    found: list[Certificate] = []
    if len(data) > MOST_BYTES:
        raise CertificateError(f"the server's certificate has {len(data)} bytes")
    while data and len(found) < MOST_ISSUERS:
        size = _der_size(data)
        if found and (size > len(data) or data[0] != 0x30):
            break  # what stands behind the last one is of no use to us
        found.append(parse(data[:size], "what the server sent"))
        data = data[size:]
    if not found:
        raise CertificateError("the server sent no certificate")
    return tuple(found)


def name_text(name: x509.Name) -> str:
    """CN=… first, as people know it."""
    parts = [part.rfc4514_string() for part in name.rdns]
    return printable(", ".join(sorted(parts, key=lambda part: not part.startswith("CN="))))


def printable(text: str) -> str:
    """What a stranger wrote, without what would move the cursor, and not longer than a line or two."""
    shown = "".join(c if c.isprintable() else "?" for c in text)
    return shown if len(shown) <= 200 else shown[:199] + "…"


def plain_hex(fingerprint: str) -> str:
    """Without colons and blanks, in small letters."""
    return "".join(c for c in fingerprint if c not in ": -\t").lower()


def day(moment: datetime) -> str:
    """For people."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d")


def _colons(digest: bytes) -> str:
    return digest.hex(":").upper()


def _same_host(host: str, name: str) -> bool:
    try:  # an address also where it stands as a name, as some controllers write it
        return ipaddress.ip_address(host) == ipaddress.ip_address(name)
    except ValueError:
        return host.lower().rstrip(".") == name.lower().rstrip(".")


def _der_size(data: bytes) -> int:
    """Bytes of the first DER element; more than there are where its length cannot be read."""
    if len(data) < 2:
        return len(data) + 1
    if data[1] < 0x80:
        return 2 + data[1]
    count = data[1] & 0x7F
    if not 1 <= count <= 4 or len(data) < 2 + count:
        return len(data) + 1
    return 2 + count + int.from_bytes(data[2 : 2 + count], "big")
