"""Every policy, mode and way to log in, against node-opcua."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from adapters.opcua import client
from adapters.opcua.client import Client
from gateway.errors import NotConnectedError
from opcua.helpers import Reader
from opcua.security.helpers import MODES, POLICIES, Installation, make
from opcua.security.tamperer import Tamperer
from parts.node_opcua import PASSWORD, USER, NodeOpcua
from parts.open62541 import Open62541
from parts.proxy import Proxy

ALL = [f"{policy}/{mode}" for policy in POLICIES for mode in MODES]


@pytest.fixture
def gateway(tmp_path: Path) -> Installation:
    return Installation(tmp_path)


async def test_auto_takes_the_best(gateway: Installation, cnc: NodeOpcua) -> None:
    await gateway.trust(cnc.url)
    assert await gateway.visit(gateway.security(cnc.url)) == "Aes256_Sha256_RsaPss/SignAndEncrypt"


@pytest.mark.parametrize("security", [*ALL, "None"])
async def test_what_is_written_down_is_taken(gateway: Installation, cnc: NodeOpcua, security: str) -> None:
    await gateway.trust(cnc.url)
    assert await gateway.visit(gateway.security(cnc.url, security=security)) == security


@pytest.mark.parametrize("security", ALL)
async def test_user_and_password(gateway: Installation, cnc: NodeOpcua, security: str) -> None:
    await gateway.trust(cnc.url)
    login = {"security": security, "user": USER}
    assert await gateway.visit(gateway.security(cnc.url, **login, password=PASSWORD)) == security
    with pytest.raises(NotConnectedError, match="check `user` and `password`"):
        await gateway.visit(gateway.security(cnc.url, **login, password="op-secreT"))


@pytest.mark.parametrize("policy", POLICIES)
async def test_a_password_that_is_longer_than_a_block(gateway: Installation, cnc: NodeOpcua, policy: str) -> None:
    """The server can read it: it says that it is wrong, not that it is no password."""
    await gateway.trust(cnc.url)
    login = {"security": f"{policy}/SignAndEncrypt", "user": USER, "password": "x" * 500}
    with pytest.raises(NotConnectedError, match="BadUserAccessDenied"):
        await gateway.visit(gateway.security(cnc.url, **login))


@pytest.mark.parametrize("security", ALL)
async def test_user_certificate(gateway: Installation, cnc: NodeOpcua, security: str, tmp_path: Path) -> None:
    await gateway.trust(cnc.url)
    certificate, key = make("operator", hosts=(), uri="urn:test:operator").write(tmp_path / "users", "operator")
    login = {"security": security, "user_certificate": "users/operator.der", "user_key": "users/operator.pem"}
    assert await gateway.visit(gateway.security(cnc.url, **login)) == security
    assert (certificate.name, key.name) == ("operator.der", "operator.pem")


async def test_an_unknown_server_is_refused_and_explained(gateway: Installation, cnc: NodeOpcua) -> None:
    with pytest.raises(NotConnectedError, match="not trusted") as refused:
        await gateway.visit(gateway.security(cnc.url))
    (kept,) = gateway.security(cnc.url).store.entries("rejected")
    for text in ("gateway opcua trust cnc", kept.certificate.fingerprint, kept.certificate.thumbprint, str(kept.file)):
        assert text in str(refused.value)
    assert cnc.sessions() == 0


# --- the same session, for long and over other lines -----------------------------------------------------------------

PROTECTED: dict[str, Any] = {"security": "auto", "trust": "pinned", "allow": ["wrong-host"]}
DOOR = {"door": "m:s=CNC1.DoorOpen"}


@pytest.mark.parametrize("security", ["auto", "Aes128_Sha256_RsaOaep/Sign"])
async def test_the_channel_is_renewed(cnc: NodeOpcua, monkeypatch: pytest.MonkeyPatch, security: str) -> None:
    """With new keys each time, while values go on arriving."""
    monkeypatch.setattr(client, "CHANNEL_LIFETIME", 1.0)
    renew, renewed = Client.renew_channel, 0

    async def counted(self: Client) -> None:
        nonlocal renewed
        await renew(self)
        renewed += 1

    monkeypatch.setattr(Client, "renew_channel", counted)
    async with Reader(cnc.url, {"speed": "m:s=CNC1.SpindleSpeed"}, **{**PROTECTED, "security": security}) as it:
        while renewed < 3:
            seen = len(it.got["speed"])
            cnc.tick()
            await it.until(lambda seen=seen: len(it.got["speed"]) > seen)
    assert cnc.sessions() == 0


async def test_a_line_that_is_cut(cnc: NodeOpcua) -> None:
    """The session goes on with the same certificates and the same user, and is closed in the end."""
    with Proxy(cnc.port) as proxy:
        url = cnc.url.replace(str(cnc.port), str(proxy.port))
        async with Reader(url, DOOR, **PROTECTED, user=USER, password=PASSWORD) as it:
            await it.read()
            for state in (True, False, True):
                proxy.cut()
                cnc.set("s=CNC1.DoorOpen", state)
                await it.lost()
                await it.reconnect()
                await it.until(lambda state=state: it.last("door")[1] is state)
                assert cnc.sessions() == 1
    cnc.set("s=CNC1.DoorOpen", False)
    assert cnc.sessions() == 0


async def test_a_server_that_comes_back_with_another_certificate() -> None:
    with NodeOpcua(tick_ms=0) as server:
        it = Reader(server.url, DOOR, **{**PROTECTED, "trust": "store"})
        await Installation(it.context.data_dir).trust(server.url)
        async with it:
            await it.read()
            server.kill()
            await it.lost()
            server.forget_certificate()
            await asyncio.to_thread(server.start)
            said = ""
            async with asyncio.timeout(40):
                while "it has a new one" not in said:
                    with pytest.raises(NotConnectedError) as caught:
                        await it.adapter.connect()
                    said = str(caught.value)
            assert server.sessions() == 0
            security = it.adapter._security
            entry = security.store.rejected("cnc")
            assert entry is not None
            security.store.trust(entry.certificate)
            await it.reconnect()
            await it.read()
            assert server.sessions() == 1
        assert server.sessions() == 0


# --- what can be seen on the line ------------------------------------------------------------------------------------


@pytest.mark.parametrize("security", ["Basic256Sha256/Sign", "Aes256_Sha256_RsaPss/SignAndEncrypt"])
async def test_no_password_is_seen_on_the_line(gateway: Installation, cnc: NodeOpcua, security: str) -> None:
    await gateway.trust(cnc.url)
    async with Tamperer(cnc.port) as line:
        await gateway.visit(gateway.security(line.url, security=security, user=USER, password=PASSWORD))
    assert PASSWORD.encode() not in line.heard
    assert (USER.encode() in line.heard) == (security == "Basic256Sha256/Sign"), "who only signs lets others read"


# --- a third library -------------------------------------------------------------------------------------------------


async def test_open62541(gateway: Installation) -> None:
    """Which leaves the policy of a password empty: it is that of the endpoint."""
    with Open62541(tick_ms=0) as server:
        await gateway.trust(server.url)
        for security in [*ALL, "None"]:
            settings = {"security": security, "allow": []}
            assert await gateway.visit(gateway.security(server.url, **settings)) == security
            if security != "None":
                login = {**settings, "user": USER, "password": PASSWORD}
                assert await gateway.visit(gateway.security(server.url, **login)) == security
                with pytest.raises(NotConnectedError, match="check `user` and `password`"):
                    await gateway.visit(gateway.security(server.url, **{**login, "password": "guess"}))
