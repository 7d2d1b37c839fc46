"""Whether a certificate is believed: certificates made by hand, verdicts from Part 4, 6.1.3."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import ExtendedKeyUsageOID

from adapters.opcua.security.certificates import Certificate, CertificateError, chain
from adapters.opcua.security.verdict import Expected, TrustLists, Verdict, judge
from opcua.security.helpers import Made, make

NOW = datetime.now(UTC)
ROOT = make("Root", ca=True, hosts=(), uri="")
PLANT = make("Plant", issuer=ROOT, ca=True, hosts=(), uri="", path_length=0)
OTHER = make("Root", ca=True, hosts=(), uri="")  # the same name, another key
PLC = make("PLC", issuer=PLANT)
ALONE = make("Alone")


def verdict(
    sent: Sequence[Made],
    trusted: Sequence[Made] = (),
    issuers: Sequence[Made] = (),
    crls: Sequence[bytes] = (),
    pinned: Made | None = None,
    **expected: Any,
) -> Verdict:
    """Of a server at 127.0.0.1 that calls itself urn:test:server, unless something else is said."""
    lists = TrustLists(
        tuple(each.ours for each in trusted),
        tuple(each.ours for each in issuers),
        tuple(map(x509.load_der_x509_crl, crls)),
        pinned.ours if pinned else None,
    )
    usual: dict[str, Any] = {
        "host": "127.0.0.1", "application_uri": "urn:test:server", "policy": "Basic256Sha256", "now": NOW,
    }  # fmt: skip
    return judge([each.ours for each in sent], lists, Expected(**{**usual, **expected}))


def kinds(found: Verdict) -> list[str]:
    return [problem.kind for problem in found.problems]


# --- trust -----------------------------------------------------------------------------------------------------------


def test_nobody_is_trusted_by_default() -> None:
    assert kinds(verdict([ALONE])) == ["untrusted"]
    assert not verdict([ALONE], trusted=[make("Alone")]).trusted, "the same name is not the same certificate"


def test_the_certificate_itself() -> None:
    found = verdict([ALONE], trusted=[PLC, ALONE])
    assert (found.trusted, found.problems) == ("it is in the trust store", ())


@pytest.mark.parametrize(
    ("sent", "trusted", "issuers"),
    [
        ([PLC, PLANT], [ROOT], []),  # the server sends the one between
        ([PLC], [ROOT], [PLANT]),  # it lies here
        ([PLC], [PLANT], []),  # the one between is trusted itself
        ([PLC, PLANT, ROOT], [ROOT], []),
    ],
)
def test_somebody_who_issued_it(sent: list[Made], trusted: list[Made], issuers: list[Made]) -> None:
    found = verdict(sent, trusted, issuers)
    assert found.trusted.startswith("it was issued by CN=")
    assert not found.problems


@pytest.mark.parametrize(
    ("sent", "trusted", "issuers"),
    [
        ([PLC], [ROOT], []),  # the one between is missing
        ([PLC, PLANT], [OTHER], []),  # another root of the same name
        ([PLC, PLANT, ROOT], [], []),  # sent along is not trusted
        ([PLC], [], [PLANT, ROOT]),  # nor what only completes chains
        ([make("fake", issuer=ALONE)], [ALONE], []),  # a server that plays CA
        ([make("fake", issuer=make("x", ca=True, uri="urn:plc")), ], [make("x", ca=True, uri="urn:plc")], []),
        ([make("deep", issuer=make("Sub", issuer=PLANT, ca=True, hosts=(), uri=""))], [ROOT], [PLANT]),
    ],
)  # fmt: skip
def test_somebody_who_did_not(sent: list[Made], trusted: list[Made], issuers: list[Made]) -> None:
    found = verdict(sent, trusted, issuers)
    assert not found.trusted
    assert kinds(found) == ["untrusted"]


def test_an_application_that_calls_itself_a_ca_issues_nothing() -> None:
    """asyncua's own certificates say so, as those of many controllers do."""
    plc = make("PLC", ca=True, uri="urn:plc")
    assert verdict([plc], trusted=[plc], application_uri="urn:plc").trusted
    assert not verdict([make("fake", issuer=plc)], trusted=[plc]).trusted
    assert verdict([make("real", issuer=(ca := make("CA", ca=True, uri="", hosts=())))], trusted=[ca]).trusted


def test_more_cas_in_a_row_than_allowed() -> None:
    below = make("Sub", issuer=PLANT, ca=True, hosts=(), uri="")
    deep = make("deep", issuer=below)
    assert not verdict([deep, below, PLANT], trusted=[ROOT]).trusted, "Plant may have no CA below it"
    wide = make("Wide", issuer=ROOT, ca=True, hosts=(), uri="")
    under = make("Under", issuer=wide, ca=True, hosts=(), uri="")
    assert verdict([make("deep", issuer=under), under, wide], trusted=[ROOT]).trusted


def test_pinned_is_that_one_only() -> None:
    assert verdict([ALONE], pinned=ALONE).trusted == "it is the one that is pinned"
    assert kinds(verdict([PLC], trusted=[PLC], pinned=ALONE)) == ["changed"]


# --- revoked ---------------------------------------------------------------------------------------------------------


def test_what_its_issuer_has_revoked() -> None:
    lists = [PLANT.crl(PLC)]
    assert kinds(verdict([PLC], [PLANT], crls=lists)) == ["revoked"]
    assert kinds(verdict([PLC], [PLC], crls=lists)) == ["revoked"], "also where the issuer is not at hand"
    assert kinds(verdict([PLC], [PLC], [PLANT], crls=lists)) == ["revoked"]
    assert kinds(verdict([PLC, PLANT], [ROOT], crls=[ROOT.crl(PLANT)])) == ["revoked"], "the one between, too"


def test_what_somebody_else_has_revoked() -> None:
    assert not verdict([PLC], [PLANT], crls=[PLANT.crl(ALONE)]).problems
    assert not verdict([PLC], [PLANT], crls=[ROOT.crl(PLC)]).problems, "not the one who issued it"
    namesake = make("Plant", ca=True, hosts=(), uri="")
    assert not verdict([PLC], [PLANT], crls=[namesake.crl(PLC)]).problems, "only the name is that of the issuer"


# --- when, where, what for -------------------------------------------------------------------------------------------


def test_expired_and_not_yet_valid() -> None:
    old, early = make(begins=-20, ends=-1), make(begins=1)
    assert kinds(verdict([old], [old])) == ["expired"]
    assert kinds(verdict([early], [early])) == ["expired"]
    assert not verdict([old], [old], now=NOW - timedelta(days=2)).problems
    assert not verdict([old], [old]).refusals(["expired"])
    assert verdict([old], [old]).refusals(["wrong-host", "wrong-uri"])


def test_a_clock_that_has_lost_its_time_does_not_make_certificates_too_young() -> None:
    past = datetime(1970, 1, 1, 0, 5, tzinfo=UTC)
    assert kinds(verdict([ALONE], [ALONE], now=past)) == ["expired"]
    assert not verdict([ALONE], [ALONE], now=past, clock_trusted=False).problems


def test_an_issuer_that_has_expired() -> None:
    ca = make("Old", ca=True, hosts=(), uri="", begins=-20, ends=-1)
    (problem,) = verdict([make(issuer=ca)], [ca]).problems
    assert (problem.kind, problem.text[:22]) == ("expired", "its issuer CN=Old has ")


@pytest.mark.parametrize(
    ("hosts", "host", "fits"),
    [
        (["10.0.0.1"], "10.0.0.1", True),
        (["plc", "10.0.0.1"], "PLC", True),
        (["plc.lan"], "plc.lan.", True),
        (["plc.lan"], "plc", False),
        (["10.0.0.1"], "10.0.0.11", False),
        (["fe80::1"], "fe80:0::1", True),
        ([], "10.0.0.1", False),
        (["*.lan"], "plc.lan", False),
    ],
)
def test_the_host(hosts: list[str], host: str, fits: bool) -> None:
    made = make(hosts=hosts)
    assert kinds(verdict([made], [made], host=host)) == ([] if fits else ["wrong-host"])


def test_an_address_that_is_written_as_a_name() -> None:
    """Some controllers do so."""
    key = make().key
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "PLC")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(NOW - timedelta(1)).not_valid_after(NOW + timedelta(1))
    names = [x509.DNSName("127.0.0.1"), x509.UniformResourceIdentifier("urn:test:server")]
    made = Made(builder.add_extension(x509.SubjectAlternativeName(names), False).sign(key, SHA256()), key)
    assert not verdict([made], [made]).problems


def test_another_application() -> None:
    made = make(uri="urn:test:other")
    assert kinds(verdict([made], [made])) == ["wrong-uri"]
    assert not verdict([made], [made]).refusals(["wrong-uri"])
    assert not verdict([made], [made], application_uri="").problems, "it does not say who it is"


def test_keys_that_are_too_short_or_for_something_else() -> None:
    short = make(bits=1024)
    assert kinds(verdict([short], [short])) == ["usage"]
    assert not verdict([short], [short], policy="Basic256").problems, "which takes 1024 to 2048 bits"
    mute = make(digital_signature=False)
    assert kinds(verdict([mute], [mute])) == ["usage"]
    client = make(issuer=PLANT, usage=[ExtendedKeyUsageOID.CLIENT_AUTH])
    assert kinds(verdict([client], [PLANT])) == ["usage"], "a CA has made it out for a client"
    assert not verdict([client], [client]).problems, "somebody has looked at it and trusts it"
    assert verdict([short], [short]).refusals(["expired", "wrong-host", "wrong-uri"])


# --- what servers send -----------------------------------------------------------------------------------------------


def test_a_chain_is_taken_apart() -> None:
    assert chain(PLC.der + PLANT.der + ROOT.der) == (PLC.ours, PLANT.ours, ROOT.ours)
    assert chain(PLC.der + b"\x00\x00") == (PLC.ours,), "filled up with zeros"


@pytest.mark.parametrize(
    "sent", [b"", b"\x30", b"no", PLC.der[:-1], b"\x30\x84\xff\xff\xff\xff" + PLC.der, bytes(70_000)]
)
def test_what_is_no_certificate(sent: bytes) -> None:
    with pytest.raises(CertificateError):
        chain(sent)


def test_what_a_stranger_writes_does_not_reach_the_terminal() -> None:
    shown = make("PLC\x1b[2J\nTrusted: yes" + "x" * 40).ours
    assert shown.subject == "CN=PLC?[2J?Trusted: yes" + "x" * 40
    assert isinstance(shown, Certificate)
    assert "\x1b" not in str(shown)
