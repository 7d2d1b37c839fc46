"""The gateway's own certificate: made once, kept secret, renewed in time; and those of users."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from adapters.opcua.client import Client
from adapters.opcua.security import own as module
from adapters.opcua.security.certificates import CertificateError, parse
from adapters.opcua.security.own import Own, own, user
from opcua.security.helpers import Installation, make

NOW = datetime(2027, 3, 1, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def _said() -> None:
    module._told.clear()


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_it_is_made_once_and_as_the_standard_wants_it(tmp_path: Path) -> None:
    """Part 6, 6.2.2."""
    first = own(tmp_path, "edge-01", NOW)
    assert own(tmp_path, "another name", NOW) == first, "one for the installation, whatever it is called later"
    made = x509.load_der_x509_certificate((tmp_path / "own" / "gateway.der").read_bytes())
    names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == ["urn:shopfloor-gateway:edge-01"]
    assert names.get_values_for_type(x509.DNSName) == [socket.gethostname()]
    usage = made.extensions.get_extension_for_class(x509.KeyUsage)
    assert usage.critical
    assert usage.value.digital_signature
    assert usage.value.content_commitment
    assert usage.value.key_encipherment
    assert usage.value.data_encipherment
    assert not usage.value.key_cert_sign
    extended = made.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert ExtendedKeyUsageOID.CLIENT_AUTH in extended
    assert not made.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert made.public_key().key_size == 2048  # type: ignore[union-attr]  # of RSA
    made.verify_directly_issued_by(made)
    assert made.serial_number > 0


def test_the_key_is_for_its_owner_only(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        own(tmp_path / "pki", "edge-01", NOW)
    finally:
        os.umask(before)
    folder = tmp_path / "pki" / "own"
    assert mode(folder) == 0o700
    assert mode(folder / "gateway.key") == 0o600
    assert [file.name for file in sorted(folder.iterdir())] == ["gateway.der", "gateway.key"], (
        "nothing is left lying about"
    )
    assert "PRIVATE" not in repr(own(tmp_path / "pki", "edge-01", NOW))
    (folder / "gateway.key").chmod(0o640)
    with pytest.raises(CertificateError, match=r"gateway\.key can be read by others \(mode 0640\): chmod 600"):
        own(tmp_path / "pki", "edge-01", NOW)


async def test_many_at_once_get_the_same(tmp_path: Path) -> None:
    made = await asyncio.gather(*(asyncio.to_thread(own, tmp_path, "edge-01", NOW) for _ in range(4)))
    assert len({each.certificate for each in made}) == 1
    key = serialization.load_pem_private_key((tmp_path / "own" / "gateway.key").read_bytes(), None)
    assert {each.key.private_numbers() for each in made} == {key.private_numbers()}  # type: ignore[union-attr]


def test_what_we_call_ourselves_is_what_it_says(tmp_path: Path) -> None:
    """Else servers answer BadCertificateUriInvalid."""
    gateway = Installation(tmp_path)
    ours = gateway.security("opc.tcp://127.0.0.1").own()
    client = Client(gateway.security("opc.tcp://127.0.0.1").connection, "edge-01 cnc")
    assert client._client.application_uri == ours.uri, "also where there is no encryption"


# --- time ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("clock", "until"),
    [
        (datetime(2027, 3, 1, tzinfo=UTC), 2032),
        (datetime(1970, 1, 1, tzinfo=UTC), 2030),  # a box without a battery
        (datetime(2099, 1, 1, tzinfo=UTC), 2104),
    ],
)
def test_a_wrong_clock_makes_a_certificate_that_is_valid_now(tmp_path: Path, clock: datetime, until: int) -> None:
    made = own(tmp_path, "edge-01", clock).certificate
    assert made.not_before == datetime(2000, 1, 1, tzinfo=UTC), "earlier than any controller's clock starts"
    assert made.not_after.year == until


def made_to_end(folder: Path, at: datetime) -> Own:
    """An installation whose certificate ends at that time."""
    first = own(folder, "edge-01", at - module.LIFE)
    assert abs(first.certificate.not_after - at) < DAY
    return first


def test_the_next_one_lies_ready_before_the_old_one_ends(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    end = NOW + 5 * 365 * DAY
    first = made_to_end(tmp_path, end)
    quiet = own(tmp_path, "edge-01", end - 121 * DAY)
    assert (quiet.certificate, quiet.next) == (first.certificate, None)
    caplog.clear()
    warned = own(tmp_path, "edge-01", end - 119 * DAY)
    assert warned.certificate == first.certificate, "which all servers trust, still"
    assert warned.next is not None
    assert warned.next == parse((tmp_path / "own" / "next.der").read_bytes())
    assert warned.next.thumbprint in caplog.text
    assert warned.next.uris == first.certificate.uris
    assert own(tmp_path, "edge-01", end - 119 * DAY).next == warned.next, "the same until it is needed"
    assert len(caplog.records) == 1, "told once a day"
    own(tmp_path, "edge-01", end - 118 * DAY)
    assert len(caplog.records) == 2


def test_it_takes_over_when_the_old_one_ends(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    end = NOW + 5 * 365 * DAY
    first = made_to_end(tmp_path, end)
    announced = own(tmp_path, "edge-01", end - 100 * DAY).next
    renewed = own(tmp_path, "edge-01", end - DAY / 2)
    assert renewed.certificate == announced
    assert renewed.certificate.not_after > end + 4 * 365 * DAY
    assert renewed.key.private_numbers() == first.key.private_numbers()
    assert renewed.uri == first.uri
    assert "has ended" in caplog.text
    assert not (tmp_path / "own" / "next.der").exists()
    assert own(tmp_path, "edge-01", end + DAY) == renewed


def test_it_is_renewed_also_after_years_in_a_cupboard(tmp_path: Path) -> None:
    end = NOW + 5 * 365 * DAY
    first = made_to_end(tmp_path, end)
    later = own(tmp_path, "edge-01", end + 400 * DAY)
    assert later.certificate != first.certificate
    assert later.certificate.not_after > end + 400 * DAY


def test_one_from_a_ca_is_not_replaced_by_ourselves(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first = own(tmp_path, "edge-01", datetime.now(UTC))
    ca = make("CA", ca=True, uri="", hosts=())
    issued = make("Gateway", issuer=ca, uri="urn:plant:gateway", ends=10, key=first.key)
    (tmp_path / "own" / "gateway.der").write_bytes(issued.der)
    found = own(tmp_path, "edge-01", datetime.now(UTC))
    assert (found.certificate, found.uri, found.next) == (issued.ours, "urn:plant:gateway", None)
    assert "CN=CA has to issue another one" in caplog.text
    assert own(tmp_path, "edge-01", datetime.now(UTC) + 20 * DAY).certificate == issued.ours


# --- what else may lie there -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("gateway.der", b"something else", r"gateway\.der is not a certificate"),
        ("gateway.der", b"", r"gateway\.der is not a certificate"),
        ("gateway.key", b"something else", r"gateway\.key is not a private key, or is damaged"),
        ("gateway.key", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", r"not a private key"),
    ],
)
def test_broken_files_are_named(tmp_path: Path, file: str, content: bytes, said: str) -> None:
    own(tmp_path, "edge-01", NOW)
    (tmp_path / "own" / file).write_bytes(content)
    with pytest.raises(CertificateError, match=said):
        own(tmp_path, "edge-01", NOW)
    assert (tmp_path / "own" / file).read_bytes() == content, "it is not ours to overwrite"


def test_foreign_files_are_named(tmp_path: Path) -> None:
    own(tmp_path, "edge-01", NOW)
    file = tmp_path / "own" / "gateway.der"
    file.write_bytes(make("foreign").der)
    with pytest.raises(CertificateError, match=r"gateway\.der and .*gateway\.key do not belong together"):
        own(tmp_path, "edge-01", NOW)
    (tmp_path / "own" / "gateway.key").unlink()
    with pytest.raises(CertificateError, match=r"gateway\.der has no key beside it"):
        own(tmp_path, "edge-01", NOW)
    file.unlink()
    assert own(tmp_path, "edge-01", NOW).certificate, "from scratch"


def test_a_lost_certificate_is_made_again_for_the_key(tmp_path: Path) -> None:
    """As after a crash between the two."""
    first = own(tmp_path, "edge-01", NOW)
    (tmp_path / "own" / "gateway.der").unlink()
    assert own(tmp_path, "edge-01", NOW).key.private_numbers() == first.key.private_numbers()


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "own").write_text("a file in the way")
    with pytest.raises(CertificateError, match="cannot be"):
        own(tmp_path, "edge-01", NOW)


@pytest.mark.root
def test_what_root_makes_belongs_to_the_service(tmp_path: Path) -> None:
    os.chown(tmp_path, 1234, 1234)
    own(tmp_path / "opcua" / "pki", "edge-01", NOW)
    assert {each.stat().st_uid for each in tmp_path.rglob("*")} == {1234}


# --- users -----------------------------------------------------------------------------------------------------------


def test_a_user(tmp_path: Path) -> None:
    made = make("operator")
    certificate, key = made.write(tmp_path, "operator")
    assert user(certificate, key).certificate == made.ours
    pem = tmp_path / "operator.crt"
    pem.write_bytes(made.certificate.public_bytes(serialization.Encoding.PEM))
    assert user(pem, key).certificate == made.ours


def test_what_can_be_wrong_with_a_user(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    certificate, key = make("operator").write(tmp_path, "operator")
    _, other = make("other").write(tmp_path, "other")
    with pytest.raises(CertificateError, match="do not belong together"):
        user(certificate, other)
    with pytest.raises(CertificateError, match=r"`user_certificate`: there is no .*missing"):
        user(tmp_path / "missing", key)
    with pytest.raises(CertificateError, match=r"`user_key`: there is no .*missing"):
        user(certificate, tmp_path / "missing")
    other.write_bytes(
        make().key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"x")
        )
    )
    with pytest.raises(CertificateError, match="has a pass phrase"):
        user(certificate, other)
    other.write_bytes(
        ec.generate_private_key(ec.SECP256R1()).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    with pytest.raises(CertificateError, match="not a key of RSA"):
        user(certificate, other)
    key.chmod(0o644)
    with pytest.raises(CertificateError, match=r"operator\.pem can be read by others \(mode 0644\)"):
        user(certificate, key)
