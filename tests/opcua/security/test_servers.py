"""Servers with all kinds of certificates: asyncua's server, and node-opcua where it refuses ours."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from asyncua import ua as _ua
from asyncua.common.utils import ServiceError
from asyncua.server.internal_session import InternalSession
from asyncua.server.uaprocessor import UaProcessor

from adapters.opcua.client import Client
from gateway.clock import SystemClock
from gateway.errors import NotConnectedError
from opcua.helpers import Reader
from opcua.security.helpers import Installation, Made, Server, make
from parts.node_opcua import NodeOpcua

ua: Any = _ua
GOOD = make()
ONE = "Basic256Sha256/SignAndEncrypt"


@pytest.fixture
def gateway(tmp_path: Path) -> Installation:
    return Installation(tmp_path / "data")


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    one = Server(GOOD, tmp_path / "server")
    yield one
    await one.stop()


async def refused(gateway: Installation, server: Server, **connection: Any) -> str:
    with pytest.raises(NotConnectedError) as caught:
        await visit(gateway, server, **connection)
    return str(caught.value)


async def visit(gateway: Installation, server: Server, **connection: Any) -> str:
    """Nothing is let pass that is not said."""
    return await gateway.visit(gateway.security(server.url, **{"allow": [], **connection}))


def believe(gateway: Installation, *made: Made) -> None:
    for each in made:
        gateway.security("opc.tcp://x").store.trust(each.ours)


# --- their certificate -----------------------------------------------------------------------------------------------


async def test_unknown_then_trusted(gateway: Installation, server: Server) -> None:
    await server.start()
    said = await refused(gateway, server)
    assert "not trusted" in said
    assert GOOD.ours.fingerprint in said
    believe(gateway, GOOD)
    assert await visit(gateway, server) == ONE
    assert not list(gateway.security(server.url).store.entries("rejected"))


@pytest.mark.parametrize(
    ("made", "allow", "said"),
    [
        (make(begins=-20, ends=-1), "expired", "it has expired: it was valid until"),
        (make(begins=1), "expired", "it is not valid yet"),
        (make(hosts=["plc-internal"]), "wrong-host", "made out for plc-internal, and the configuration says 127.0.0.1"),
        (make(hosts=[]), "wrong-host", "made out for no host at all"),
        (make(uri="urn:other"), "wrong-uri", "made out for urn:other, and the server calls itself urn:test:server"),
    ],
    ids=["expired", "early", "host", "no-host", "uri"],
)
async def test_what_trusting_does_not_lift(
    gateway: Installation, server: Server, made: Made, allow: str, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    server.made = made
    await server.start()
    believe(gateway, made)
    text = await refused(gateway, server)
    assert said in text
    assert f"`allow: [{allow}]`" in text
    assert "gateway opcua trust" not in text, "which would not help"
    others = [each for each in ("expired", "wrong-host", "wrong-uri") if each != allow]
    assert said in await refused(gateway, server, allow=others)
    security = gateway.security(server.url, allow=[allow])
    caplog.clear()
    for _ in range(2):
        assert await gateway.visit(security) == ONE
    (record,) = [each for each in caplog.records if "is let pass by" in each.message]
    assert said in record.message


async def test_a_ca_and_what_it_revokes(gateway: Installation, server: Server) -> None:
    ca = make("Plant CA", ca=True, uri="", hosts=())
    between = make("Line CA", issuer=ca, ca=True, uri="", hosts=())
    server.made, server.chain = make("PLC", issuer=between), [between]
    await server.start()
    assert "not trusted" in await refused(gateway, server)
    believe(gateway, ca)
    assert await visit(gateway, server) == ONE
    crls = gateway.folder / "opcua" / "pki" / "trusted" / "crl"
    crls.mkdir()
    (crls / "line.crl").write_bytes(between.crl(GOOD))
    assert await visit(gateway, server) == ONE, "somebody else was revoked"
    (crls / "line.crl").write_bytes(between.crl(server.made))
    assert "it was revoked on" in await refused(gateway, server, allow=["expired", "wrong-host", "wrong-uri"])


async def test_a_server_that_does_not_send_its_chain(gateway: Installation, server: Server) -> None:
    ca = make("Plant CA", ca=True, uri="", hosts=())
    between = make("Line CA", issuer=ca, ca=True, uri="", hosts=())
    server.made = make("PLC", issuer=between)
    await server.start()
    believe(gateway, ca)
    assert "not trusted" in await refused(gateway, server)
    issuers = gateway.folder / "opcua" / "pki" / "issuers" / "certs"
    issuers.mkdir(parents=True)
    (issuers / "line.der").write_bytes(between.der)
    assert await visit(gateway, server) == ONE


async def test_names_that_only_its_own_network_knows(gateway: Installation, server: Server) -> None:
    """Quirk 23: the endpoint's address is not ours."""
    await server.start()
    server.call_it(f"opc.tcp://plc-internal.invalid:{server.port}")
    believe(gateway, GOOD)
    assert await visit(gateway, server) == ONE
    offer = await Client(gateway.security(server.url).connection, "edge-01 cnc").endpoints()
    assert {each.url for each in offer.endpoints} == {f"opc.tcp://plc-internal.invalid:{server.port}"}


async def test_a_server_without_encryption(gateway: Installation, server: Server) -> None:
    server.securities = ["None"]
    await server.start()
    assert "the server offers None: no encryption" in await refused(gateway, server)
    assert await visit(gateway, server, security="None") == "None"


@pytest.mark.parametrize(
    "old", ["Basic128Rsa15/Sign", "Basic128Rsa15/SignAndEncrypt", "Basic256/Sign", "Basic256/SignAndEncrypt"]
)
async def test_outdated_policies(
    gateway: Installation, server: Server, old: str, caplog: pytest.LogCaptureFixture
) -> None:
    server.securities, server.made = [old], make(bits=1024)
    await server.start()
    believe(gateway, server.made)
    assert f"write `security: {old}`" in await refused(gateway, server)
    assert await visit(gateway, server, security=old) == old
    assert f"{old.partition('/')[0]} is outdated" in caplog.text


# --- renewed, pinned -------------------------------------------------------------------------------------------------


async def test_a_renewed_certificate_is_noticed_and_explained(gateway: Installation, server: Server) -> None:
    await server.start()
    believe(gateway, GOOD)
    security = gateway.security(server.url, allow=[])
    await gateway.visit(security)
    await server.stop()
    server.made = make("renewed")
    await server.start()
    for each in (security, gateway.security(server.url)):  # the same process, and one that has started since
        with pytest.raises(NotConnectedError) as caught:
            await gateway.visit(each)
        assert "it has a new one" in str(caught.value)
        assert GOOD.ours.fingerprint in str(caught.value)
        assert server.made.ours.fingerprint in str(caught.value)
    believe(gateway, server.made)
    assert await gateway.visit(security) == ONE


async def test_a_whole_adapter_goes_on_once_the_new_one_is_trusted(server: Server) -> None:
    await server.start()
    signals = {"state": "i=2259"}
    it = Reader(server.url, signals, {"namespaces": {}}, security="auto", trust="store")
    store = it.adapter._security.store
    store.trust(GOOD.ours)
    async with it:
        await it.read()
        await server.stop()
        await it.lost()
        server.made = make("renewed")
        await server.start()
        said = ""
        async with asyncio.timeout(30):
            while "it has a new one" not in said:
                with pytest.raises(NotConnectedError) as caught:
                    await it.adapter.connect()
                said = str(caught.value)
        store.trust(server.made.ours)
        await it.reconnect()
        await it.read()
        assert it.values("state")[-1] == 0, "it runs"


async def test_pinned_is_the_first_one_seen(
    gateway: Installation, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    await server.start()
    security = gateway.security(server.url, trust="pinned", allow=[])
    assert await gateway.visit(security) == ONE
    assert security.store.pinned("cnc") == GOOD.ours
    assert await gateway.visit(security) == ONE
    await server.stop()
    server.made = make("renewed")
    await server.start()
    believe(gateway, server.made)  # for others; here only the pinned one counts
    caplog.clear()
    for _ in range(3):
        with pytest.raises(NotConnectedError, match="another certificate than the one that is pinned") as caught:
            await gateway.visit(security)
    assert "gateway opcua trust cnc" in str(caught.value)
    assert [each.levelno for each in caplog.records].count(logging.ERROR) == 1, "an alarm, once"
    assert security.store.pinned("cnc") == GOOD.ours
    security.store.pin("cnc", server.made.ours)
    assert await gateway.visit(security) == ONE


async def test_who_cannot_prove_it_is_not_pinned(
    gateway: Installation, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    await server.start()
    security = gateway.security(server.url, trust="pinned", allow=[])
    _sign_something_else(monkeypatch)
    with pytest.raises(NotConnectedError, match="cannot prove"):
        await gateway.visit(security)
    assert security.store.pinned("cnc") is None


async def test_an_expired_one_is_not_pinned(gateway: Installation, server: Server) -> None:
    server.made = make(begins=-20, ends=-1)
    await server.start()
    assert "it has expired" in await refused(gateway, server, trust="pinned")
    assert gateway.security(server.url).store.pinned("cnc") is None
    assert await visit(gateway, server, trust="pinned", allow=["expired"]) == ONE


# --- what the server has to prove ------------------------------------------------------------------------------------


def _sign_something_else(monkeypatch: pytest.MonkeyPatch) -> None:
    create = InternalSession.create_session

    async def other(self: Any, params: Any, sockname: Any = None) -> Any:
        made = await create(self, params, sockname)
        params.ClientNonce = bytes(32)  # what is signed
        return made

    monkeypatch.setattr(InternalSession, "create_session", other)


async def test_a_server_that_signs_something_else(
    gateway: Installation, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    await server.start()
    believe(gateway, GOOD)
    assert await visit(gateway, server) == ONE
    _sign_something_else(monkeypatch)
    assert "cannot prove that its certificate is its own" in await refused(gateway, server)


async def test_a_nonce_that_is_too_short(
    gateway: Installation, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    await server.start()
    believe(gateway, GOOD)
    create = InternalSession.create_session

    async def short(self: Any, params: Any, sockname: Any = None) -> Any:
        made = await create(self, params, sockname)
        made.ServerNonce = self.nonce = b"short"
        return made

    monkeypatch.setattr(InternalSession, "create_session", short)
    assert "nonce is too short" in await refused(gateway, server)


# --- our certificate -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def untrusting() -> Any:
    with NodeOpcua(tick_ms=0, trusting=False) as one:
        yield one


async def test_a_server_that_does_not_trust_us(gateway: Installation, untrusting: NodeOpcua) -> None:
    await gateway.trust(untrusting.url)
    security = gateway.security(untrusting.url)
    ours = security.own()
    with pytest.raises(NotConnectedError, match="not trust the gateway's certificate") as caught:
        await gateway.visit(security)
    for text in (str(ours.file), ours.certificate.thumbprint, "move it from the rejected to the trusted"):
        assert text in str(caught.value)
    await _trust(untrusting, lambda: gateway.visit(security))
    make("operator", uri="", hosts=()).write(gateway.folder, "operator")
    login = {"user_certificate": "operator.der", "user_key": "operator.pem"}
    as_user = gateway.security(untrusting.url, **login)
    with pytest.raises(NotConnectedError, match="does not let the user in who has the certificate") as caught:
        await gateway.visit(as_user)
    assert str(gateway.folder / "operator.der") in str(caught.value)
    await _trust(untrusting, lambda: gateway.visit(as_user))


async def _trust(server: NodeOpcua, visit: Callable[[], Awaitable[str]]) -> None:
    """Do what the message says, and wait until the server has seen it.

    A visit before it has puts the certificate among the rejected ones again, which may be what the server sees last.
    """
    rejected = server.folder / "pki" / "rejected"
    assert len(list(rejected.iterdir())) == 1
    async with asyncio.timeout(20):
        while True:
            for each in rejected.iterdir():
                each.rename(server.folder / "pki" / "trusted" / "certs" / each.name)
            try:
                assert (await visit()).startswith("Aes256")
                return
            except NotConnectedError:
                await asyncio.sleep(0.2)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("BadCertificateUntrusted", "not trust the gateway's certificate"),
        ("BadSecurityChecksFailed", "not trust the gateway's certificate"),
        (
            "BadCertificateUriInvalid",
            "made out for another application than the one we say we are (urn:shopfloor-gateway:edge-01)",
        ),
        ("BadCertificateTimeInvalid", "the server does not like the time"),
        ("BadInvalidTimestamp", "the server does not like the time"),
        ("BadCertificateRevoked", "it is revoked there"),
        ("BadCertificateUseNotAllowed", "may not be used as a client's certificate"),
    ],
)
async def test_what_they_say_about_ours(
    gateway: Installation, server: Server, monkeypatch: pytest.MonkeyPatch, code: str, said: str
) -> None:
    await server.start()
    believe(gateway, GOOD)

    async def refuse(self: Any, params: Any, sockname: Any = None) -> Any:
        raise ServiceError(getattr(ua.StatusCodes, code))

    monkeypatch.setattr(InternalSession, "create_session", refuse)
    text = await refused(gateway, server)
    ours = gateway.security(server.url).own()
    for part in (said, str(ours.file), ours.certificate.thumbprint, code):
        assert part in text


async def test_a_server_that_breaks_off_without_a_word(
    gateway: Installation, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    await server.start()
    believe(gateway, GOOD)
    process = UaProcessor.process

    async def break_off(self: Any, header: Any, body: Any) -> Any:
        if header.MessageType == ua.MessageType.SecureOpen and b"#Basic256Sha256" in bytes(body.copy()):
            return False
        return await process(self, header, body)

    monkeypatch.setattr(UaProcessor, "process", break_off)
    text = await refused(gateway, server)
    assert "breaks off without a word" in text
    assert gateway.security(server.url).own().certificate.thumbprint in text


async def test_a_clock_that_is_off_is_named(
    gateway: Installation, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Quirk 22: the refusal alone misleads."""
    await server.start()
    believe(gateway, GOOD)

    async def refuse(self: Any, params: Any, sockname: Any = None) -> Any:
        raise ServiceError(ua.StatusCodes.BadCertificateTimeInvalid)

    monkeypatch.setattr(InternalSession, "create_session", refuse)

    send = UaProcessor.send_response

    def late(self: Any, handle: Any, sequence: Any, response: Any, *more: Any) -> None:
        response.ResponseHeader.Timestamp -= timedelta(minutes=12, seconds=2)
        send(self, handle, sequence, response, *more)

    monkeypatch.setattr(UaProcessor, "send_response", late)
    assert "its clock is 12 min behind ours. Set the clock of the server" in await refused(gateway, server)


class _Lost(SystemClock):
    """A box without a battery."""

    def now(self) -> int:
        return int(datetime(1970, 1, 1, 0, 3, tzinfo=UTC).timestamp() * 1e9)

    def trusted(self) -> bool:
        return False


async def test_without_a_battery_here(tmp_path: Path, server: Server) -> None:
    await server.start()
    gateway = Installation(tmp_path / "data", _Lost())
    believe(gateway, GOOD)
    assert await visit(gateway, server) == ONE


# --- users -----------------------------------------------------------------------------------------------------------


class _Users:
    """Lets one user in: by password, or by certificate."""

    def __init__(self, password: str = "", certificate: bytes = b"") -> None:
        self.password, self.certificate = password, certificate

    def get_user(self, iserver: Any, username: Any = None, password: Any = None, certificate: Any = None) -> Any:
        from asyncua.crypto.permission_rules import User, UserRole

        by_password = username == "operator" and password == self.password
        return User(UserRole.User) if by_password or (certificate and certificate == self.certificate) else None


@pytest.mark.parametrize("security", [ONE, "Basic256Sha256/Sign", "Aes256_Sha256_RsaPss/Sign", "Basic256/Sign"])
async def test_a_password(gateway: Installation, server: Server, security: str) -> None:
    """asyncua's server wants it plain through an encrypted channel, and encrypted through one that only signs."""
    server.tokens, server.users, server.securities = [ua.UserNameIdentityToken], _Users("gehei/m ü"), [security]
    await server.start()
    believe(gateway, GOOD)
    user = {"user": "operator", "security": security}
    assert await visit(gateway, server, **user, password="gehei/m ü") == security
    assert "check `user` and `password`" in await refused(gateway, server, **user, password="geheim")
    assert "takes user and password" in await refused(gateway, server, security=security)


async def test_a_user_certificate_that_the_server_does_not_know(
    gateway: Installation, server: Server, tmp_path: Path
) -> None:
    known = make("operator", uri="", hosts=())
    server.tokens, server.users = [ua.X509IdentityToken], _Users(certificate=known.der)
    await server.start()
    believe(gateway, GOOD)
    login = {"user_certificate": "operator.der", "user_key": "operator.pem"}
    known.write(gateway.folder, "operator")
    assert await visit(gateway, server, **login) == ONE
    stranger = make("stranger", uri="", hosts=())
    stranger.write(gateway.folder, "operator")
    text = await refused(gateway, server, **login)
    for part in ("does not let the user in", "operator.der", stranger.ours.thumbprint, "BadUserAccessDenied"):
        assert part in text
    (gateway.folder / "operator.pem").unlink()
    assert "`user_key`: there is no" in await refused(gateway, server, **login)
