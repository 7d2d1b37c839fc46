"""The certificate of a simulated server: kept, so that a gateway that has trusted it once knows it again."""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_LIFE = timedelta(days=3650)


class Files(NamedTuple):
    """Where they lie, DER and PEM."""

    certificate: Path
    key: Path


def kept(folder: Path, name: str, uri: str, hosts: Sequence[str]) -> Files:
    """Read or make it. It is made out for this computer and `hosts`; made anew where it lacks one of them."""
    files = Files(folder / f"{name}.der", folder / f"{name}.pem")
    wanted = list(dict.fromkeys([*hosts, "127.0.0.1", "::1", "localhost", socket.gethostname()]))
    if files.key.exists() and files.certificate.exists() and _fits(files.certificate, uri, wanted):
        return files
    folder.mkdir(parents=True, exist_ok=True)
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    with os.fdopen(os.open(files.key, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "wb") as opened:
        opened.write(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
    made = _make(key, name, uri, wanted)
    files.certificate.write_bytes(made.public_bytes(serialization.Encoding.DER))
    return files


def _make(key: rsa.RSAPrivateKey, name: str, uri: str, hosts: Sequence[str]) -> x509.Certificate:
    """An application instance certificate: Part 6, 6.2.2."""
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, f"simulated {name}"[:64]),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "shopfloor-gateway"),
        ]
    )
    now = datetime.now(UTC)
    usage = x509.KeyUsage(
        digital_signature=True, content_commitment=True, key_encipherment=True, data_encipherment=True,
        key_agreement=False, key_cert_sign=False, crl_sign=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    alternative = [x509.UniformResourceIdentifier(uri), *map(_name, hosts)]
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + _LIFE)
        .add_extension(x509.SubjectAlternativeName(alternative), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )


def _fits(file: Path, uri: str, hosts: Sequence[str]) -> bool:
    try:
        there = x509.load_der_x509_certificate(file.read_bytes())
        names = there.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, x509.ExtensionNotFound):
        return False
    wanted = {x509.UniformResourceIdentifier(uri), *map(_name, hosts)}
    return wanted <= set(names) and there.not_valid_after_utc > datetime.now(UTC) + timedelta(days=1)


def _name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
