"""A throw-away certificate authority, for a device that shows a certificate and asks for one."""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

_VALID = timedelta(days=30)


class Authority:
    """Makes `ca.pem`, and a certificate and key each for `device` and `client`, in a folder."""

    def __init__(self, folder: Path, hosts: Iterable[str]) -> None:
        """`hosts`: the names and addresses the device is known by."""
        self._folder = folder
        self._key = generate_private_key(SECP256R1())
        self._name = _named("simulated plant")
        self._write("ca.pem", self._sign(self._name, self._key, x509.BasicConstraints(ca=True, path_length=0)))
        for name in ("device", "client"):
            key = generate_private_key(SECP256R1())
            known_as = x509.SubjectAlternativeName([_general_name(host) for host in dict.fromkeys(hosts)])
            self._write(f"{name}.pem", self._sign(_named(name), key, known_as))
            path = folder / f"{name}.key"
            path.touch(mode=0o600)
            path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))

    @property
    def client_side(self) -> Mapping[str, Path]:
        """The files a client needs, by their names in its settings."""
        return {"ca": self._folder / "ca.pem", "cert": self._folder / "client.pem", "key": self._folder / "client.key"}

    def context(self) -> ssl.SSLContext:
        """Of the device: it takes clients with a certificate of this authority only."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=self._folder / "ca.pem")
        context.load_cert_chain(self._folder / "device.pem", self._folder / "device.key")
        context.verify_mode = ssl.CERT_REQUIRED
        return context

    def _sign(
        self, subject: x509.Name, key: EllipticCurvePrivateKey, extension: x509.ExtensionType
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + _VALID)
            .add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
            .sign(self._key, SHA256())
        )

    def _write(self, name: str, certificate: x509.Certificate) -> None:
        (self._folder / name).write_bytes(certificate.public_bytes(Encoding.PEM))


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
