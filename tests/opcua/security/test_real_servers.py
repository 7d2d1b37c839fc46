"""Every policy, mode and way to log in, against node-opcua."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.errors import NotConnectedError
from opcua.security.helpers import MODES, POLICIES, Installation, make
from parts.node_opcua import PASSWORD, USER, NodeOpcua

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
