"""The gateway's own certificate and key, and those of a user.

    data_dir/opcua/pki/own/gateway.der    one for the whole installation: give it to the servers
                           gateway.key    0600, never shown
                           next.der       beside it in its last months

A new certificate is refused by every server until somebody trusts it there. So the next one is made RENEW_BEFORE its
time and only lies there, to be trusted in advance; it takes over when the old one ends. Its key stays the same, and
thus a CA that signs requests does not have to be asked again.

A clock may be wrong, here and in a controller whose battery is empty. So a certificate begins long before it is made,
and never ends earlier than one made when this was written would.
"""

from __future__ import annotations

import logging
import secrets
import socket
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from adapters.opcua.security import files
from adapters.opcua.security.certificates import Certificate, CertificateError, day, parse

LIFE = timedelta(days=5 * 365)
RENEW_BEFORE = timedelta(days=120)
SWITCH_BEFORE = timedelta(days=1)
KEY_BITS = 2048  # the most that old servers take, and enough for the life of a certificate

_BEGIN = datetime(2000, 1, 1, tzinfo=UTC)  # no controller's clock starts later
_WRITTEN = datetime(2026, 1, 1, tzinfo=UTC)  # no certificate is made earlier, whatever the clock says

_log = logging.getLogger(__name__)
_told: set[str] = set()  # what was logged today


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A certificate, its key, and where it lies."""

    certificate: Certificate
    key: rsa.RSAPrivateKey = field(repr=False, compare=False)
    file: Path


@dataclass(frozen=True, slots=True)
class Own(KeyPair):
    """Who the gateway is."""

    next: Certificate | None = None  # the one that comes after it, to be trusted in advance

    @property
    def uri(self) -> str:
        """The name of the application: what we tell servers has to be what the certificate says (Part 4, 6.1.3)."""
        return self.certificate.uris[0]


def uri_of(gateway_id: str) -> str:
    """The name of this application where it has no certificate to take it from."""
    return f"urn:shopfloor-gateway:{_ascii(gateway_id)}"


def own(pki: Path, gateway_id: str, now: datetime) -> Own:
    """Read it, or make it where there is none. Safe to be called by several at once. Raises CertificateError."""
    folder = pki / "own"
    files.make_folder(folder, files.PRIVATE)
    file, key_file, next_file = folder / "gateway.der", folder / "gateway.key", folder / "next.der"
    if files.read(key_file) is None:
        if files.read(file) is not None:
            raise CertificateError(
                f"{file} has no key beside it: put it at {key_file}, or remove the certificate to have a new one made"
            )
        key = rsa.generate_private_key(public_exponent=65537, key_size=KEY_BITS)
        files.write(key_file, _pem(key), 0o600, replace=False)
    key = _load_key(key_file)
    if files.read(file) is None and files.write(file, _make(key, gateway_id, now).der, replace=False):
        _log.warning(
            "the gateway has a certificate now: %s, valid until %s. Servers with encryption have to trust it",
            file, day(_load(file).not_after),
        )  # fmt: skip
    certificate = _load(file)
    coming = _load(next_file) if files.read(next_file) is not None else None
    if certificate.not_after - now < SWITCH_BEFORE and certificate.self_signed:
        certificate, coming = _switch(key, certificate, coming, gateway_id, now, file, next_file), None
    elif certificate.not_after - now < RENEW_BEFORE:
        coming = _announce(key, certificate, coming, now, gateway_id, file, next_file)
    _check(certificate, key, file, key_file)
    if not certificate.uris:
        raise CertificateError(f"{file} names no application URI, which OPC UA needs (Part 6, 6.2.2)")
    return Own(certificate, key, file, coming)


def user(certificate_file: Path, key_file: Path) -> KeyPair:
    """What somebody logs in with. Raises CertificateError."""
    for file, key_of in ((certificate_file, "user_certificate"), (key_file, "user_key")):
        if files.read(file) is None:
            raise CertificateError(f"`{key_of}`: there is no {file}")
    certificate, key = _load(certificate_file), _load_key(key_file)
    _check(certificate, key, certificate_file, key_file)
    return KeyPair(certificate, key, certificate_file)


def _make(key: rsa.RSAPrivateKey, gateway_id: str, now: datetime, uri: str = "") -> Certificate:
    """A self-signed application instance certificate: Part 6, 6.2.2."""
    host = socket.gethostname() or "localhost"
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, f"shopfloor-gateway {gateway_id}"[:64]),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "shopfloor-gateway"),
            x509.NameAttribute(NameOID.DOMAIN_COMPONENT, _ascii(host)),
        ]
    )
    usage = x509.KeyUsage(
        digital_signature=True, content_commitment=True, key_encipherment=True, data_encipherment=True,
        key_agreement=False, key_cert_sign=False, crl_sign=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1 + secrets.randbits(120))
        .not_valid_before(_BEGIN)
        .not_valid_after(max(now, _WRITTEN) + LIFE)
        .add_extension(
            x509.SubjectAlternativeName(
                [x509.UniformResourceIdentifier(uri or uri_of(gateway_id)), x509.DNSName(_ascii(host))]
            ),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]), critical=False
        )
        .add_extension(identifier, critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Certificate(made.public_bytes(serialization.Encoding.DER))


def _announce(
    key: rsa.RSAPrivateKey, certificate: Certificate, coming: Certificate | None, now: datetime, gateway_id: str,
    file: Path, next_file: Path,
) -> Certificate | None:  # fmt: skip
    """Have the next one ready, and say so once a day."""
    if not certificate.self_signed:
        _once_a_day(
            now, f"the gateway's certificate {file} ends on {day(certificate.not_after)}: {certificate.issuer} has to "
            "issue another one",
        )  # fmt: skip
        return None
    if coming is None or coming.not_after <= certificate.not_after:
        uri = certificate.uris[0] if certificate.uris else ""
        files.write(next_file, _make(key, gateway_id, now, uri).der)
        coming = _load(next_file)
    _once_a_day(
        now, f"the gateway's certificate ends on {day(certificate.not_after)}. Let every server trust the next one, "
        f"{next_file} (thumbprint {coming.thumbprint}), before that; then the gateway takes it by itself",
    )  # fmt: skip
    return coming


def _switch(
    key: rsa.RSAPrivateKey, certificate: Certificate, coming: Certificate | None, gateway_id: str, now: datetime,
    file: Path, next_file: Path,
) -> Certificate:  # fmt: skip
    """The old one has ended."""
    if coming is None or coming.not_after - now < SWITCH_BEFORE:
        coming = _make(key, gateway_id, now, certificate.uris[0] if certificate.uris else "")
    files.write(file, coming.der)
    next_file.unlink(missing_ok=True)
    _log.warning(
        "the gateway's certificate has ended: it goes on with %s (thumbprint %s), valid until %s, which every server "
        "has to trust",
        file, coming.thumbprint, day(coming.not_after),
    )  # fmt: skip
    return coming


def _once_a_day(now: datetime, text: str) -> None:
    key = f"{day(now)} {text}"
    if key not in _told:
        _told.clear()
        _told.add(key)
        _log.warning("%s", text)


def _load(file: Path) -> Certificate:
    return parse(files.read(file) or b"", str(file))


def _load_key(file: Path) -> rsa.RSAPrivateKey:
    data = files.read_secret(file) or b""
    try:
        if b"-----BEGIN" in data:
            key = serialization.load_pem_private_key(data, None)
        else:
            key = serialization.load_der_private_key(data, None)
    except TypeError:
        raise CertificateError(f"{file} has a pass phrase: openssl pkey -in {file} -out a file without") from None
    except ValueError:  # what it says about the bytes of a key is nobody's business
        raise CertificateError(f"{file} is not a private key, or is damaged") from None
    if not isinstance(key, rsa.RSAPrivateKey):
        raise CertificateError(f"{file} is not a key of RSA, which all policies of OPC UA here need")
    return key


def _check(certificate: Certificate, key: rsa.RSAPrivateKey, file: Path, key_file: Path) -> None:
    if certificate.key is None or certificate.key.public_numbers() != key.public_key().public_numbers():
        raise CertificateError(f"{file} and {key_file} do not belong together")


def _pem(key: rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _ascii(host: str) -> str:
    return "".join(c if c.isascii() and c.isprintable() else "-" for c in host)
