"""TLS: the certificate the page is served with, and those that are shown to it.

A page that others can reach is never served in the clear. Where nobody has given a certificate, one is made once, of this
machine's names and addresses; who opens the page compares its fingerprint with what `gateway web certificate` says.
"""

from __future__ import annotations

import datetime
import fcntl
import hashlib
import ipaddress
import logging
import re
import socket
import ssl
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from gateway.errors import GatewayError, PartMissingError
from gateway.web.access.files import folder_of, open_to_others, write_private

log = logging.getLogger(__name__)

# By the calendar, not by our clock: a box without a clock battery does not know the day when it makes one.
_FROM = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
_UNTIL = datetime.datetime(2046, 1, 1, tzinfo=datetime.UTC)
_SIOCGIFADDR = 0x8915


@dataclass(frozen=True, slots=True)
class Pair:
    """Certificate and private key, as files."""

    cert: Path
    key: Path
    made: bool = False  # by us


def own_pair(data_dir: Path) -> Pair:
    """Where the certificate is that we make ourselves."""
    folder = folder_of(data_dir)
    return Pair(folder / "page.pem", folder / "page.key", made=True)


def make_if_missing(pair: Pair, names: Sequence[str], *, anew: bool = False) -> bool:
    """Make the pair for these names and addresses, if it is not there. Raises GatewayError."""
    if not anew and pair.cert.exists() and pair.key.exists():
        if wrong := open_to_others(pair.key):
            raise GatewayError(f"{wrong}, or delete it and a new pair is made")
        return False
    try:
        key, cert = make(names)
        write_private(pair.key, key)
        write_private(pair.cert, cert)
    except OSError as exc:
        raise GatewayError(f"{pair.cert} cannot be written: {exc.strerror}; or name `cert` and `key`") from exc
    return True


def make(names: Sequence[str]) -> tuple[bytes, bytes]:
    """Private key and certificate, both PEM, for these names and addresses. Raises PartMissingError."""
    try:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
    except ImportError as exc:
        raise PartMissingError(
            "making a certificate needs cryptography: pip install 'shopfloor-gateway[web]', or name `cert` and `key`"
        ) from exc
    key = ec.generate_private_key(ec.SECP256R1())
    title = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, (names[0] if names else "gateway")[:64])])
    alternatives: list[x509.GeneralName] = []
    for name in names:
        try:
            alternatives.append(x509.IPAddress(ipaddress.ip_address(name.strip("[]"))))
        except ValueError:
            alternatives.append(x509.DNSName(name))
    usage = x509.KeyUsage(
        digital_signature=True, content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, key_cert_sign=False, crl_sign=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    cert = (
        x509.CertificateBuilder()
        .subject_name(title)
        .issuer_name(title)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_FROM)
        .not_valid_after(_UNTIL)
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    plain = serialization.NoEncryption()
    pem = serialization.Encoding.PEM
    return key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain), cert.public_bytes(pem)


def fingerprint(cert: Path) -> str:
    """SHA-256 of a certificate as browsers show it: AB:CD:… Raises GatewayError."""
    try:
        pem = re.search(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", cert.read_text("ascii"), re.S)
        der = ssl.PEM_cert_to_DER_cert(pem[0] + "\n") if pem else b""
    except (OSError, ValueError) as exc:
        raise GatewayError(f"{cert} cannot be read: {exc}") from exc
    if not der:
        raise GatewayError(f"{cert} has no certificate in it: a file in PEM is needed")
    digest = hashlib.sha256(der).hexdigest().upper()
    return ":".join(digest[i : i + 2] for i in range(0, 64, 2))


def context(pair: Pair, client_ca: Path | None) -> ssl.SSLContext:
    """TLS 1.2 or later with forward secrecy. Raises GatewayError that names the file."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    made.set_ciphers("ECDHE+AESGCM:ECDHE+CHACHA20")
    made.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    for file in filter(None, (pair.cert, pair.key, client_ca)):
        if not file.is_file():
            raise GatewayError(f"{file}: there is no such file, which `web:` names")
    try:
        made.load_cert_chain(pair.cert, pair.key, password="")
    except (ssl.SSLError, OSError, ValueError) as exc:
        raise GatewayError(
            f"{pair.cert} and {pair.key} cannot be used: {_reason(exc)}. Both are PEM, the key has no passphrase, "
            "belongs to the certificate and can be read by the user the gateway runs as"
        ) from exc
    if client_ca is not None:
        try:
            made.load_verify_locations(client_ca)
        except (ssl.SSLError, OSError) as exc:
            raise GatewayError(f"{client_ca} cannot be used as `client_ca`: {_reason(exc)}") from exc
        made.verify_mode = ssl.CERT_OPTIONAL
        # Who has shown a certificate shows it again: a session that is resumed would live longer than it does.
        made.options |= ssl.OP_NO_TICKET
        made.num_tickets = 0
    return made


class Renewal:
    """Certificates are renewed while the gateway runs, every year or every few weeks: whoever does it replaces the files."""

    def __init__(self, pair: Pair, client_ca: Path | None) -> None:
        self._pair, self._client_ca = pair, client_ca
        self._stamps = self._look()

    def context(self) -> ssl.SSLContext | None:
        """A new context where the files have changed and fit; None where they have not, or do not (yet)."""
        stamps = self._look()
        if stamps == self._stamps:
            return None
        self._stamps = stamps
        try:
            made, told = context(self._pair, self._client_ca), fingerprint(self._pair.cert)
        except GatewayError as exc:
            log.error("the page keeps the certificate it has: %s", exc)
            return None
        log.info("the page is served with the new %s, SHA-256 %s", self._pair.cert, told)
        return made

    def _look(self) -> list[tuple[int, int] | None]:
        found: list[tuple[int, int] | None] = []
        for file in filter(None, (self._pair.cert, self._pair.key, self._client_ca)):
            try:
                there = file.stat()
            except OSError:
                found.append(None)
            else:
                found.append((there.st_ino, there.st_mtime_ns))
        return found


def _reason(exc: Exception) -> str:
    return str(getattr(exc, "reason", None) or getattr(exc, "strerror", None) or exc).lower().replace("_", " ")


def common_name(shown: object) -> str:
    """The one common name of a certificate as `ssl` tells it; empty where there is none, several, or one that is no name."""
    subject = shown.get("subject", ()) if isinstance(shown, dict) else ()
    names = [value for rdn in subject for key, value in rdn if key == "commonName"]
    return names[0] if len(names) == 1 and len(names[0]) <= 64 and names[0].isprintable() else ""


def names_of_this_machine(listen: str, hosts: Iterable[str]) -> list[str]:
    """What a browser may call us by: our name, what is configured, and the addresses we listen on."""
    name = socket.gethostname().lower()
    usable = re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)*", name) is not None
    found = [*([name] if usable else []), *(host.lower().strip("[]") for host in hosts), "localhost"]
    try:
        address = ipaddress.ip_address(listen)
    except ValueError:
        address = ipaddress.ip_address("127.0.0.1")
    found += _addresses() if address.is_unspecified else [str(address)]
    return list(dict.fromkeys(found))


def _addresses() -> list[str]:
    """Those of our interfaces, as Linux tells them; fewer elsewhere."""
    found = []
    for _, interface in socket.if_nameindex():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
            try:
                told = fcntl.ioctl(asked, _SIOCGIFADDR, struct.pack("256s", interface.encode()[:15]))
            except OSError:
                continue  # it has none
        found.append(socket.inet_ntoa(told[20:24]))
    try:
        lines = Path("/proc/net/if_inet6").read_text("ascii").splitlines()
    except OSError:
        lines = []
    for line in lines:
        address = ipaddress.IPv6Address(int(line.split()[0], 16))
        if not address.is_link_local:  # those have a zone, which no certificate can name
            found.append(str(address))
    return found
