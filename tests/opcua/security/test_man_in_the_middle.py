"""Somebody between gateway and server who changes what the server answers before anything is signed."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import NotConnectedError
from opcua.security.helpers import Installation, make
from opcua.security.tamperer import Change, Tamperer
from parts.node_opcua import PASSWORD, USER, NodeOpcua


@pytest.fixture
async def between(cnc: NodeOpcua) -> AsyncIterator[Tamperer]:
    async with Tamperer(cnc.port) as one:
        yield one


@pytest.fixture
async def gateway(tmp_path: Path, cnc: NodeOpcua) -> Installation:
    made = Installation(tmp_path)
    await made.trust(cnc.url)
    return made


def only(*securities: str) -> Change:
    def change(endpoints: Sequence[Any]) -> Sequence[Any]:
        return [
            each
            for each in endpoints
            if f"{each.SecurityPolicyUri.rpartition('#')[2]}/{each.SecurityMode.name.rstrip('_')}" in securities
        ]

    return change


async def test_who_changes_nothing_is_not_noticed(between: Tamperer, gateway: Installation) -> None:
    """The control, behind an address that the server does not know."""
    login = {"user": USER, "password": PASSWORD}
    assert await gateway.visit(gateway.security(between.url, **login)) == "Aes256_Sha256_RsaPss/SignAndEncrypt"
    assert (between.changed, between.lines) == (1, 2)


@pytest.mark.parametrize("left", ["Basic256Sha256/Sign", "Aes128_Sha256_RsaOaep/SignAndEncrypt"])
async def test_the_better_endpoints_are_taken_away(
    between: Tamperer, gateway: Installation, cnc: NodeOpcua, left: str
) -> None:
    between.change = only("None/None", left)
    with pytest.raises(NotConnectedError) as caught:
        await gateway.visit(gateway.security(between.url, user=USER, password=PASSWORD))
    for text in ("the server offers Aes256_Sha256_RsaPss/SignAndEncrypt", "somebody in between", f"`security: {left}`"):
        assert text in str(caught.value)
    assert cnc.sessions() == 0
    assert await gateway.visit(gateway.security(between.url, security=left)) == left, "it was wanted so"


async def test_all_encryption_is_taken_away(between: Tamperer, gateway: Installation) -> None:
    between.change = only("None/None")
    with pytest.raises(NotConnectedError, match="the server offers None: no encryption"):
        await gateway.visit(gateway.security(between.url))


async def test_another_certificate(between: Tamperer, gateway: Installation, cnc: NodeOpcua) -> None:
    fake = make("NodeOPCUA", uri="urn:fake")

    def change(endpoints: Sequence[Any]) -> Sequence[Any]:
        return [dataclasses.replace(each, ServerCertificate=fake.der) for each in endpoints]

    between.change = change
    with pytest.raises(NotConnectedError, match="not trusted") as caught:
        await gateway.visit(gateway.security(between.url, user=USER, password=PASSWORD))
    assert fake.ours.fingerprint in str(caught.value)
    assert between.lines == 1, "nothing more is sent there"


async def test_the_certificate_of_another_server_that_is_trusted(between: Tamperer, gateway: Installation) -> None:
    """It cannot read what is encrypted for the other, nor can we read what it answers."""
    other = make("other", uri="urn:other")
    security = gateway.security(between.url, allow=["wrong-uri", "wrong-host"], user=USER, password=PASSWORD)
    security.store.trust(other.ours)

    def change(endpoints: Sequence[Any]) -> Sequence[Any]:
        return [dataclasses.replace(each, ServerCertificate=other.der) for each in endpoints]

    between.change = change
    with pytest.raises(NotConnectedError):
        await gateway.visit(security)
    assert between.lines == 2


async def test_encryption_of_the_password_is_taken_away(between: Tamperer, gateway: Installation) -> None:
    """Which is taken from the session, where it is signed."""

    def change(endpoints: Sequence[Any]) -> Sequence[Any]:
        plain = [
            dataclasses.replace(token, SecurityPolicyUri="http://opcfoundation.org/UA/SecurityPolicy#None")
            for token in endpoints[0].UserIdentityTokens
        ]
        return [dataclasses.replace(each, UserIdentityTokens=plain) for each in endpoints]

    between.change = change
    login = {"user": USER, "password": PASSWORD, "security": "Basic256Sha256/Sign"}
    assert await gateway.visit(gateway.security(between.url, **login)) == "Basic256Sha256/Sign"


async def test_the_only_way_to_log_in_is_taken_away(between: Tamperer, gateway: Installation) -> None:
    """So that a weaker endpoint is left to log in at."""

    def change(endpoints: Sequence[Any]) -> Sequence[Any]:
        return [
            each
            if each.SecurityMode.name == "Sign"
            else dataclasses.replace(
                each, UserIdentityTokens=[t for t in each.UserIdentityTokens if t.TokenType.value == 0]
            )
            for each in endpoints
        ]

    between.change = change
    with pytest.raises(NotConnectedError, match="somebody in between"):
        await gateway.visit(gateway.security(between.url, user=USER, password=PASSWORD))
