"""A throw-away certificate authority, for servers that show a certificate and clients that do."""

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
    """Issues certificates into a folder; `ca_path` is what the other side has to trust."""

    def __init__(self, folder: Path, hosts: Iterable[str] = ("localhost", "127.0.0.1")) -> None:
        """`hosts`: the names and addresses of those it issues certificates for."""
        self.ca_path = folder / "ca.pem"
        self._folder = folder
        self._key = generate_private_key(SECP256R1())
        self._name = _named("throw-away CA")
        self._known_as = x509.SubjectAlternativeName([_general_name(host) for host in dict.fromkeys(hosts)])
        folder.mkdir(parents=True, exist_ok=True)
        _write(self.ca_path, self._sign(self._name, self._key, x509.BasicConstraints(ca=True, path_length=0)))

    def issue(self, name: str) -> tuple[Path, Path]:
        """Certificate and key, as NAME.pem and NAME.key."""
        certificate, secret = self._folder / f"{name}.pem", self._folder / f"{name}.key"
        key = generate_private_key(SECP256R1())
        _write(certificate, self._sign(_named(name), key, self._known_as))
        secret.touch(mode=0o600)
        secret.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return certificate, secret

    def server_side(self) -> ssl.SSLContext:
        """Of a device: it takes clients with a certificate of this authority only."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=self.ca_path)
        context.load_cert_chain(*self.issue("device"))
        context.verify_mode = ssl.CERT_REQUIRED
        return context

    def client_side(self) -> Mapping[str, Path]:
        """The files a client needs, by their names in its settings."""
        certificate, key = self.issue("client")
        return {"ca": self.ca_path, "cert": certificate, "key": key}

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


def _write(path: Path, certificate: x509.Certificate) -> None:
    path.write_bytes(certificate.public_bytes(Encoding.PEM))


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
