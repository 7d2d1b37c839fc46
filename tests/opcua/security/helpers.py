"""What the security tests share: an installation of the gateway, and certificates made by hand."""

from __future__ import annotations

import dataclasses
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from asyncua import ua as _ua
from asyncua.server.server import Server as AsyncuaServer
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from adapters.opcua.client import Client
from adapters.opcua.config import OpcuaConnection
from adapters.opcua.security.certificates import Certificate
from adapters.opcua.security.secure import Security
from adapters.opcua.session import Session
from gateway.clock import Clock, SystemClock
from parts.ports import free_port

ua: Any = _ua  # the types it declares are not those it takes

POLICIES = ("Basic256Sha256", "Aes128_Sha256_RsaOaep", "Aes256_Sha256_RsaPss")
MODES = ("Sign", "SignAndEncrypt")


class Installation:
    """A gateway's data folder, and sessions opened from it."""

    def __init__(self, folder: Path, clock: Clock | None = None) -> None:
        self.folder, self.clock = folder, clock or SystemClock()

    def security(self, url: str, name: str = "cnc", **connection: Any) -> Security:
        # node-opcua makes its certificate out for the name of this machine, not for 127.0.0.1
        settings = {"protocol": "opcua", "url": url, "timeout": "3s", "allow": ["wrong-host"], **connection}
        return Security(OpcuaConnection.model_validate(settings), name, self.folder, "edge-01", self.clock, self.folder)

    async def visit(self, security: Security) -> str:
        """Open a session and end it again. How it was protected. Raises NotConnectedError."""
        session = Session(security.connection, "cnc", "edge-01 cnc", self.clock, security)
        await session.open()
        try:
            return session._client.security
        finally:
            assert await session.end(), "nothing stays on the server"

    async def trust(self, url: str) -> Certificate:
        """What a person does after having compared the fingerprint."""
        security = self.security(url)
        offer = await Client(security.connection, "edge-01 cnc").endpoints()
        found = next(e for e in offer.endpoints if e.certificate)
        (certificate, *_), _ = security.judge(found)
        security.store.trust(certificate)
        return certificate


# --- certificates, made by hand --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Made:
    """A certificate with its key."""

    certificate: x509.Certificate
    key: rsa.RSAPrivateKey

    @property
    def ours(self) -> Certificate:
        return Certificate(self.der)

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.DER)

    def write(self, folder: Path, name: str) -> tuple[Path, Path]:
        """As DER and PEM; the key for its owner only."""
        folder.mkdir(parents=True, exist_ok=True)
        certificate, key = folder / f"{name}.der", folder / f"{name}.pem"
        certificate.write_bytes(self.der)
        key.touch(0o600)
        key.write_bytes(
            self.key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return certificate, key

    def crl(self, *revoked: Made) -> bytes:
        """A list of what this CA has revoked."""
        now = datetime.now(UTC)
        made = x509.CertificateRevocationListBuilder().issuer_name(self.certificate.subject)
        made = made.last_update(now - timedelta(days=1)).next_update(now + timedelta(days=30))
        for each in revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(each.certificate.serial_number)
            made = made.add_revoked_certificate(entry.revocation_date(now - timedelta(hours=1)).build())
        return made.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def make(
    name: str = "PLC",
    *,
    issuer: Made | None = None,
    hosts: Sequence[str] = ("127.0.0.1",),
    uri: str = "urn:test:server",
    begins: float = -10,
    ends: float = 365,
    bits: int = 2048,
    ca: bool = False,
    path_length: int | None = None,
    usage: Sequence[x509.ObjectIdentifier] | None = (ExtendedKeyUsageOID.SERVER_AUTH,),
    digital_signature: bool = True,
    hash: hashes.HashAlgorithm | None = None,
    key: rsa.RSAPrivateKey | None = None,
) -> Made:
    """Valid from `begins` to `ends` days from now; self-signed without `issuer`."""
    key = key or rsa.generate_private_key(public_exponent=65537, key_size=bits)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = x509.CertificateBuilder().subject_name(subject).public_key(key.public_key())
    made = made.issuer_name(issuer.certificate.subject if issuer else subject)
    made = made.serial_number(x509.random_serial_number())
    made = made.not_valid_before(now + timedelta(days=begins)).not_valid_after(now + timedelta(days=ends))
    made = made.add_extension(x509.BasicConstraints(ca=ca, path_length=path_length), critical=True)
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(uri)] if uri else []
    for host in hosts:
        try:
            names.append(x509.IPAddress(ipaddress.ip_address(host)))
        except ValueError:
            names.append(x509.DNSName(host))
    if names:
        made = made.add_extension(x509.SubjectAlternativeName(names), critical=False)
    made = made.add_extension(
        x509.KeyUsage(
            digital_signature=digital_signature, content_commitment=True, key_encipherment=True, data_encipherment=True,
            key_agreement=False, key_cert_sign=ca, crl_sign=ca, encipher_only=False, decipher_only=False,
        ),
        critical=True,
    )  # fmt: skip
    if usage is not None and not ca:
        made = made.add_extension(x509.ExtendedKeyUsage(usage), critical=False)
    return Made(made.sign(issuer.key if issuer else key, hash or hashes.SHA256()), key)


# --- a server with any certificate -----------------------------------------------------------------------------------


class Server:
    """asyncua's, with a certificate made by hand. What can be changed counts at the next start."""

    def __init__(
        self, made: Made, folder: Path, securities: Sequence[str] = ("Basic256Sha256/SignAndEncrypt",)
    ) -> None:
        self.made, self.folder, self.securities = made, folder, securities
        self.uri = "urn:test:server"
        self.tokens: list[Any] = [ua.AnonymousIdentityToken]
        self.users: Any = None
        self.chain: Sequence[Made] = ()
        self.port = free_port()
        self._server: Any = None

    @property
    def url(self) -> str:
        return f"opc.tcp://127.0.0.1:{self.port}"

    async def start(self) -> None:
        self._server = server = AsyncuaServer(user_manager=self.users)
        await server.init()
        await server.set_application_uri(self.uri)
        server.disable_clock()
        server.set_endpoint(self.url)
        server.socket_address = ("127.0.0.1", self.port)
        server.set_identity_tokens(self.tokens)
        certificate, key = self.made.write(self.folder, "server")
        await server.load_certificate(certificate)
        await server.load_private_key(key)
        names = [each.replace("_", "").replace("/", "_") for each in self.securities]
        server.set_security_policy([ua.SecurityPolicyType["NoSecurity" if n == "None" else n] for n in names])
        await server.start()
        if self.chain:
            for each in server.iserver.endpoints:
                each.ServerCertificate += b"".join(issuer.der for issuer in self.chain)

    def call_it(self, url: str) -> None:
        """What it says its address is; asyncua's own would say the one that it was reached at."""
        ask = self._server.iserver.get_endpoints

        async def endpoints(params: Any = None, sockname: Any = None) -> Any:
            return [dataclasses.replace(each, EndpointUrl=url) for each in await ask(params, sockname)]

        self._server.iserver.get_endpoints = endpoints

    async def stop(self) -> None:
        server, self._server = self._server, None
        if server:
            await server.stop()

    async def __aenter__(self) -> Server:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()
