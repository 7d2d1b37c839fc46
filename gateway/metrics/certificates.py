"""When certificates end: read again only when a file has changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path


class Certificates:
    """The ends of the certificates in `files`, by the names given there."""

    def __init__(self, files: Callable[[], Mapping[str, Path]]) -> None:
        """`files`: PEM or DER, those in force now; one that is not there (yet) is left out."""
        self._files = files
        self._known: dict[
            str, tuple[tuple[str, int, int], float | None]
        ] = {}  # by name: which file it was, and its end

    def __call__(self) -> dict[str, float]:
        """Seconds since 1970 by name."""
        found = {}
        for name, path in self._files().items():
            try:
                there = path.stat()
                what = str(path), there.st_mtime_ns, there.st_ino
                if self._known.get(name, (None,))[0] != what:
                    self._known[name] = what, end_of(path.read_bytes())
            except OSError:
                self._known.pop(name, None)
                continue
            end = self._known[name][1]
            if end is not None:
                found[name] = end
        return found


def end_of(data: bytes) -> float | None:
    """The end of the first to end of the certificates in a file; None where there is none that can be read."""
    try:
        from cryptography import x509
    except ImportError:
        return None
    try:
        if b"-----BEGIN" in data:
            certificates = x509.load_pem_x509_certificates(data)
        else:
            certificates = [x509.load_der_x509_certificate(data)]
    except ValueError:
        return None
    return min(each.not_valid_after_utc.timestamp() for each in certificates)
