"""Who may come to a simulated OPC UA server, and how."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import asyncua.ua
from asyncua.crypto.permission_rules import User, UserRole
from asyncua.server.server import Server
from asyncua.server.user_managers import UserManager

from adapters.opcua.config import OpcuaConnection
from gateway.hiding import HIDDEN
from simulators.opcua.certificate import kept

ua: Any = asyncua.ua  # the types it declares are not those it takes

_POLICIES = ("Basic256Sha256", "Aes128_Sha256_RsaOaep", "Aes256_Sha256_RsaPss")
_MODES = ("Sign", "SignAndEncrypt")


class Offer:
    """What the connection asks for, and nothing else: its policy, all of them for `auto`, and its way to log in.

    Any certificate may come, of a client or a user; and any password, where the one there was is not in a recording.
    """

    def __init__(self, connection: OpcuaConnection, name: str, keep: Path | None) -> None:
        """`name`: of the server; `keep`: where its certificate is kept; else it lasts until `close`."""
        self.connection, self._name = connection, name
        self._thrown_away = tempfile.TemporaryDirectory(prefix="simulated-server-") if keep is None else None
        self._folder = keep or Path(self._thrown_away.name if self._thrown_away else "")

    def close(self) -> None:
        """Safe to call twice."""
        if self._thrown_away is not None:
            self._thrown_away.cleanup()

    async def protect(self, server: Server, host: str, uri: str = "") -> None:
        """`uri`: what the server names itself, unless that is empty."""
        link = self.connection
        await server.set_application_uri(uri or f"urn:shopfloor-gateway:simulator:{self._name}")
        server.iserver.set_user_manager(_Users(link))
        tokens = {bool(link.user): ua.UserNameIdentityToken, bool(link.user_certificate): ua.X509IdentityToken}
        server.set_identity_tokens([tokens.get(True, ua.AnonymousIdentityToken)])
        if link.security == "None":
            server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
            return
        hosts = [] if host in ("0.0.0.0", "::") else [host]  # noqa: S104  # compared, not listened on
        files = kept(self._folder / "opcua", self._name, server.get_application_uri(), [*hosts, link.host])
        await server.load_certificate(files.certificate)
        await server.load_private_key(files.key)
        wanted = [f"{policy}/{mode}" for policy in _POLICIES for mode in _MODES]
        offered: Sequence[str] = wanted if link.security == "auto" else [link.security]
        server.set_security_policy(
            [ua.SecurityPolicyType["_".join(each.replace("_", "").split("/"))] for each in offered]
        )


class _Users(UserManager):
    def __init__(self, connection: OpcuaConnection) -> None:
        password = connection.password.value if connection.password else HIDDEN
        self._user, self._password = connection.user, None if password == HIDDEN else password

    def get_user(
        self, iserver: Any, username: Any = None, password: Any = None, certificate: Any = None
    ) -> User | None:
        del iserver, certificate
        fits = self._password is None or (password or "") == self._password
        return User(role=UserRole.User) if self._user is None or (username == self._user and fits) else None
