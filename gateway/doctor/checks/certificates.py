"""When certificates end: those that are configured, and those in the data folder (OPC UA, page)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.doctor.case import Case
from gateway.doctor.finding import Finding

if TYPE_CHECKING:
    from gateway.config import Configuration

NAME = "certificates"
SOON = timedelta(days=30)
MOST = 500  # files
LARGEST = 2**20  # bytes of one
_KINDS = (".pem", ".der", ".crt", ".cer")
_KEYS = ("ca", "cert", "user_certificate", "client_ca")  # keys of settings that name a certificate
_PASSED_OVER = ("rejected",)  # folders of certificates nobody relies on


@dataclass(frozen=True, slots=True)
class Seen:
    """One certificate."""

    file: Path
    subject: str
    begins: datetime
    ends: datetime


def look(case: Case) -> Iterator[Finding]:
    configuration, data_dir = case.configuration, case.data_dir
    assert configuration is not None
    assert data_dir is not None
    case.check_rights()
    try:
        import cryptography  # noqa: F401
    except ImportError:
        yield Finding(NAME, "skipped", "cryptography is not installed: certificates cannot be read")
        return
    files = dict.fromkeys([*_configured(configuration), *islice(_kept(data_dir), MOST)])
    seen: list[Seen] = []
    for file in files:
        try:
            seen += read(file)
        except OSError as exc:
            text = f"{file}: {exc.strerror or exc}"
            fault = (
                "broker-certificate-files"
                if file in _configured_for_broker(configuration)
                else "opcua-certificate-files"
            )
            yield Finding(NAME, "wrong", text, fault)
        except ValueError:
            yield Finding(NAME, "warning", f"{file}: is no certificate that can be read")
    yield from judge(seen, datetime.fromtimestamp(case.now_ns / 1e9, UTC))


def judge(seen: list[Seen], now: datetime) -> Iterator[Finding]:
    """Those that end soon, first of all."""
    faults = False
    for each in sorted(seen, key=lambda each: each.ends):
        what = f"{each.file} ({each.subject})"
        if each.ends <= now:
            yield Finding(NAME, "wrong", f"{what}: has ended on {each.ends:%Y-%m-%d}", "certificate-expires")
        elif each.begins > now:
            text = f"{what}: is not valid before {each.begins:%Y-%m-%d %H:%M} UTC, and it is {now:%Y-%m-%d %H:%M} here"
            yield Finding(NAME, "wrong", text, "clock-wrong")
        elif each.ends - now < SOON:
            days = (each.ends - now).days
            text = f"{what}: ends on {each.ends:%Y-%m-%d}, in {days} days"
            yield Finding(NAME, "warning", text, "certificate-expires")
        else:
            continue
        faults = True
    if not seen:
        yield Finding(NAME, "skipped", "none is used")
    elif not faults:
        first = min(seen, key=lambda each: each.ends)
        yield Finding(NAME, "ok", f"{len(seen)} are valid; the first ends on {first.ends:%Y-%m-%d}: {first.file}")


def read(file: Path) -> list[Seen]:
    """The certificates in a file; none in one with a key only. Raises OSError, ValueError."""
    from cryptography import x509

    with file.open("rb") as opened:
        data = opened.read(LARGEST)
    if b"-----BEGIN CERTIFICATE" in data:
        found = x509.load_pem_x509_certificates(data)
    elif b"-----BEGIN" in data:
        return []
    else:
        found = [x509.load_der_x509_certificate(data)]
    return [
        Seen(file, each.subject.rfc4514_string()[:80], each.not_valid_before_utc, each.not_valid_after_utc)
        for each in found
    ]


def _configured(configuration: Configuration) -> Iterator[Path]:
    settings = configuration.settings
    sections = [settings.mqtt, settings.store, settings.web, *configuration.connections.values()]
    for section in sections:
        for key in _KEYS:
            if isinstance(path := getattr(section, key, None), Path):
                yield configuration.resolve(path)


def _configured_for_broker(configuration: Configuration) -> list[Path]:
    mqtt = configuration.settings.mqtt
    return [configuration.resolve(path) for path in (mqtt.ca, mqtt.cert) if path]


def _kept(data_dir: Path) -> Iterator[Path]:
    for folder in ("opcua", "web"):
        for file in sorted((data_dir / folder).rglob("*")) if (data_dir / folder).is_dir() else ():
            places = file.relative_to(data_dir).parts
            if file.suffix.lower() in _KINDS and "crl" not in places and not set(places) & set(_PASSED_OVER):
                yield file
