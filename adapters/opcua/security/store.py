"""Whom we trust: files that people can look at, copy and remove.

    data_dir/opcua/pki/trusted/certs    servers, and CAs whose servers are trusted     trusted/crl    what CAs revoked
                       issuers/certs    CAs that only complete a chain                 issuers/crl
                       rejected/certs   servers that nobody has trusted yet, the last MOST_REJECTED
                       pinned/certs     the server of each connection with `trust: pinned`

DER or PEM, under any name. It is read whenever a connection is opened: what is put there counts at once.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from adapters.opcua.security import files
from adapters.opcua.security.certificates import MOST_BYTES, Certificate, CertificateError, name_text, parse
from adapters.opcua.security.verdict import TrustLists

MOST_REJECTED = 50  # files; who shows us a new certificate every second must not fill the disk

Place = Literal["trusted", "issuers", "pinned", "rejected"]
PLACES: tuple[Place, ...] = ("trusted", "issuers", "pinned", "rejected")

_log = logging.getLogger(__name__)
_warned: set[tuple[Path, int]] = set()


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of the store."""

    place: Place
    file: Path
    certificate: Certificate
    connection: str = ""  # of one that is pinned or rejected


class Store:
    """The folder `pki`. Everything in it may change at any time. Raises CertificateError."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    # --- reading ---------------------------------------------------------------------------------------------------

    def lists(self, connection: str = "", *, pinned: bool = False) -> TrustLists:
        """All that counts for a connection."""
        return TrustLists(
            tuple(entry.certificate for entry in self.entries("trusted")),
            tuple(entry.certificate for entry in self.entries("issuers")),
            (*self._crls("trusted"), *self._crls("issuers")),
            self.pinned(connection) if pinned else None,
        )

    def entries(self, place: Place) -> Iterator[Entry]:
        """The certificates of one place. One that cannot be read is told, and trusted by nobody."""
        for file in self._files(place, "certs"):
            try:
                certificate = parse(_small(file), str(file))
            except CertificateError as exc:
                _tell_once(file, exc)
                continue
            named = {"pinned": file.stem, "rejected": file.stem.rpartition("_")[0]}
            yield Entry(place, file, certificate, named.get(place, ""))

    def pinned(self, connection: str) -> Certificate | None:
        """The certificate that this connection has seen first. One that cannot be read is no reason to take another."""
        file = self._pin(connection)
        data = files.read(file)
        return None if data is None else parse(data, str(file))

    def rejected(self, connection: str) -> Entry | None:
        """The last one that was refused on this connection."""
        found = [entry for entry in self.entries("rejected") if entry.connection == connection]
        return max(found, key=lambda entry: entry.file.stat().st_mtime_ns, default=None)

    def crls(self) -> list[tuple[Path, str]]:
        """The revocation lists, for people: file and issuer."""
        found = []
        for place in ("trusted", "issuers"):
            for file in self._files(place, "crl"):
                found.append((file, name_text(_crl(_small(file), file).issuer)))
        return found

    def _crls(self, place: str) -> Iterator[x509.CertificateRevocationList]:
        # One that cannot be read stops everything: somebody wanted something to be refused, and we cannot know what.
        for file in self._files(place, "crl"):
            yield _crl(_small(file), file)

    def _files(self, place: str, kind: str) -> list[Path]:
        try:
            found = sorted((self.folder / place / kind).iterdir())
        except FileNotFoundError:
            return []
        except OSError as exc:
            raise files.cannot("read", self.folder / place / kind, exc) from exc
        return [file for file in found if file.is_file() and not file.name.startswith(".")]

    # --- changing --------------------------------------------------------------------------------------------------

    def trust(self, certificate: Certificate) -> Path:
        """From now on. The file where it stands."""
        self._not_rejected(certificate)
        if known := next((e.file for e in self.entries("trusted") if e.certificate == certificate), None):
            return known
        name = re.sub(r"[^A-Za-z0-9.-]+", "_", certificate.common_name).strip("._-")[:60] or "server"
        file = self.folder / "trusted" / "certs" / f"{name}_{certificate.thumbprint}.der"
        files.write(file, certificate.der)
        return file

    def pin(self, connection: str, certificate: Certificate) -> Path:
        """Believe this one on this connection, and no other."""
        file = self._pin(connection)
        files.write(file, certificate.der)
        self._not_rejected(certificate)
        return file

    def keep_aside(self, connection: str, certificate: Certificate) -> Path:
        """One that was refused, to be looked at."""
        folder = self.folder / "rejected" / "certs"
        file = folder / f"{connection}_{certificate.thumbprint}.der"
        if file.exists():
            with suppress(OSError):
                os.utime(file)
            return file
        kept = self._files("rejected", "certs")
        for oldest in sorted(kept, key=_age)[: max(0, len(kept) - MOST_REJECTED + 1)]:
            oldest.unlink(missing_ok=True)
        files.write(file, certificate.der)
        return file

    def add(self, file: Path) -> Path:
        """A certificate or revocation list that somebody has, into `trusted`."""
        data = files.read(file)
        if data is None:
            raise CertificateError(f"there is no {file}")
        with suppress(CertificateError):
            return self.trust(parse(data, str(file)))
        listed = _crl(data, file)
        to = self.folder / "trusted" / "crl" / f"{re.sub(r'[^A-Za-z0-9.-]+', '_', file.stem)}.crl"
        files.write(to, listed.public_bytes(Encoding.DER))
        return to

    def remove(self, entry: Entry) -> None:
        """Forget it."""
        try:
            entry.file.unlink(missing_ok=True)
        except OSError as exc:
            raise files.cannot("removed", entry.file, exc) from exc

    def _not_rejected(self, certificate: Certificate) -> None:
        for entry in list(self.entries("rejected")):
            if entry.certificate == certificate:
                self.remove(entry)

    def _pin(self, connection: str) -> Path:
        return self.folder / "pinned" / "certs" / f"{connection}.der"


def _tell_once(file: Path, error: CertificateError) -> None:
    key = (file, _age(file))
    if key not in _warned:
        _warned.add(key)
        _log.warning("left out of the trust store: %s", error)


def _crl(data: bytes, file: Path) -> x509.CertificateRevocationList:
    try:
        if b"-----BEGIN" in data:
            return x509.load_pem_x509_crl(data)
        return x509.load_der_x509_crl(data)
    except ValueError as exc:
        raise CertificateError(f"{file} is neither a certificate nor a revocation list (PEM or DER)") from exc


def _small(file: Path) -> bytes:
    """Its bytes; nobody has to be able to fill our memory."""
    data = files.read(file) or b""
    if file.parent.name == "certs" and len(data) > MOST_BYTES:
        raise CertificateError(f"{file} is too large for a certificate")
    return data


def _age(file: Path) -> int:
    with suppress(OSError):
        return file.stat().st_mtime_ns
    return 0


def seen(entry: Entry) -> datetime:
    """When it was last written or seen."""
    return datetime.fromtimestamp(_age(entry.file) / 1e9, UTC)
