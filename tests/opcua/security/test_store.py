"""The trust store: files that come and go."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from adapters.opcua.security import store as module
from adapters.opcua.security.certificates import CertificateError
from adapters.opcua.security.store import Store
from opcua.security.helpers import Made, make

PLC, OTHER = make("PLC 1"), make("other")
CA = make("CA", ca=True, uri="", hosts=())


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "pki")


def put(store: Store, place: str, name: str, content: bytes, kind: str = "certs") -> Path:
    file = store.folder / place / kind / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    return file


def pem(made: Made) -> bytes:
    return made.certificate.public_bytes(Encoding.PEM)


def test_nothing_is_trusted_where_there_is_nothing(store: Store) -> None:
    lists = store.lists("cnc", pinned=True)
    assert (lists.trusted, lists.issuers, lists.revoked, lists.pinned) == ((), (), (), None)
    assert not store.folder.exists(), "looking makes no folders"


def test_what_is_trusted_lies_there_under_its_name(store: Store) -> None:
    file = store.trust(PLC.ours)
    assert file == store.folder / "trusted" / "certs" / f"PLC_1_{PLC.ours.thumbprint}.der"
    assert store.lists().trusted == (PLC.ours,)
    assert store.trust(PLC.ours) == file


@pytest.mark.parametrize("name", ["../../../etc/passwd", "a/b", "..", "", "\x00\n", "x" * 64])
def test_a_name_from_outside_is_no_path(store: Store, name: str) -> None:
    class Named:
        common_name, thumbprint, der = name, "0" * 40, PLC.der

    file = store.trust(Named())  # type: ignore[arg-type]
    assert file.resolve().parent == (store.folder / "trusted" / "certs").resolve()


def test_pem_and_der_under_any_name(store: Store) -> None:
    put(store, "trusted", "plc.crt", pem(PLC))
    put(store, "trusted", "Other PLC", OTHER.der)
    put(store, "issuers", "ca.pem", pem(CA))
    lists = store.lists()
    assert set(lists.trusted) == {PLC.ours, OTHER.ours}
    assert lists.issuers == (CA.ours,)


def test_a_broken_certificate_is_told_and_left_out(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    put(store, "trusted", "a.der", b"broken")
    put(store, "trusted", "b.der", PLC.der)
    put(store, "trusted", "c.der", PLC.der * 100)
    assert store.lists().trusted == (PLC.ours,)
    store.lists()
    assert len(caplog.records) == 2, "each once"
    assert "a.der is not a certificate" in caplog.text


def test_a_broken_revocation_list_stops_everything(store: Store) -> None:
    put(store, "trusted", "ca.crl", CA.crl(PLC), "crl")
    (listed,) = store.lists().revoked
    assert listed.get_revoked_certificate_by_serial_number(PLC.certificate.serial_number)
    broken = put(store, "issuers", "b.crl", b"broken", "crl")
    with pytest.raises(CertificateError, match=r"b\.crl is neither a certificate nor a revocation list"):
        store.lists()
    broken.unlink()
    assert store.crls() == [(store.folder / "trusted" / "crl" / "ca.crl", "CN=CA")]


def test_pinned_is_of_one_connection(store: Store) -> None:
    store.pin("cnc", PLC.ours)
    assert store.lists("cnc", pinned=True).pinned == PLC.ours
    assert store.lists("cnc").pinned is None
    assert store.lists("oven", pinned=True).pinned is None
    put(store, "pinned", "cnc.der", b"broken")
    with pytest.raises(CertificateError, match=r"cnc\.der is not a certificate"):
        store.lists("cnc", pinned=True)


def test_the_last_one_refused_on_a_connection(store: Store) -> None:
    first = store.keep_aside("cnc_1", PLC.ours)
    store.keep_aside("cnc", OTHER.ours)
    second = store.keep_aside("cnc_1", CA.ours)
    assert (found := store.rejected("cnc_1")) is not None
    assert found.file == second
    assert store.keep_aside("cnc_1", PLC.ours) == first, "again"
    assert (found := store.rejected("cnc_1")) is not None
    assert found.file == first
    assert store.rejected("1") is None
    store.trust(PLC.ours)
    assert not first.exists(), "trusted now"


def test_strangers_do_not_fill_the_disk(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_REJECTED", 3)
    key = make().key
    made = [make(f"PLC {n}", key=key) for n in range(6)]
    for each in made:
        store.keep_aside("cnc", each.ours)
    assert {entry.certificate for entry in store.entries("rejected")} == {each.ours for each in made[3:]}


def test_files_that_somebody_has(store: Store, tmp_path: Path) -> None:
    for name, content in (("ca.pem", pem(CA)), ("plant list.crl", CA.crl(PLC)), ("junk", b"junk")):
        (tmp_path / name).write_bytes(content)
    assert store.add(tmp_path / "ca.pem").parent == store.folder / "trusted" / "certs"
    assert store.add(tmp_path / "plant list.crl") == store.folder / "trusted" / "crl" / "plant_list.crl"
    assert len(store.lists().revoked) == 1
    with pytest.raises(CertificateError, match="neither a certificate nor a revocation list"):
        store.add(tmp_path / "junk")
    with pytest.raises(CertificateError, match="there is no"):
        store.add(tmp_path / "missing")
