"""What can be configured of an OPC UA server: where it is, how it is talked to, what it can bear."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from adapters.opcua import servers
from gateway.config import ConnectionSettings
from gateway.config.explain import did_you_mean
from gateway.config.fields import Duration, Period, SecretText, mistake

PORT = 4840

POLICIES = ("Basic256Sha256", "Aes128_Sha256_RsaOaep", "Aes256_Sha256_RsaPss")
OLD_POLICIES = ("Basic128Rsa15", "Basic256")  # broken or weak: only where they are written down
MODES = ("Sign", "SignAndEncrypt")
Mode = Literal["subscription", "poll"]


_LET_PASS = {
    "expired": "that it has expired, so that it may have been stolen long ago",
    "wrong-host": "that it is made out for another host",
    "wrong-uri": "that it is made out for another application",
}


def _url(value: str) -> str:
    parts, example = urlsplit(value), "for example opc.tcp://10.20.0.31:4840"
    if parts.scheme != "opc.tcp" or not parts.hostname:
        raise mistake(f"'{value}' is not the address of an OPC UA server", f"opc.tcp://host:port, {example}")
    if parts.username or parts.password:
        raise mistake("no user or password in an address", "use the keys `user` and `password`")
    try:
        port = parts.port
    except ValueError:
        port = 0
    if port == 0:
        raise mistake(f"'{value}' has no valid port", example)
    return value


def _security(value: Any) -> Any:
    hint = "auto, None, or a policy and a mode such as Basic256Sha256/SignAndEncrypt"
    if value is None or (isinstance(value, str) and value.lower() == "none" and value != "None"):
        raise mistake(f"'{value or 'null'}' is not known", "reading without encryption is `security: None`")
    if not isinstance(value, str):
        raise mistake("how messages are protected is text", hint)
    if value in ("auto", "None"):
        return value
    policy, _, mode = value.partition("/")
    if policy not in POLICIES + OLD_POLICIES:
        raise mistake(f"'{policy}' is not a security policy", did_you_mean(policy, POLICIES + OLD_POLICIES))
    if mode not in MODES:
        raise mistake(f"'{value}' does not say how it protects", f"write {policy}/Sign or {policy}/SignAndEncrypt")
    return value


def _server(value: str) -> str:
    if value not in servers.NAMES:
        raise mistake(f"'{value}' is not a kind of server that is known", did_you_mean(value, servers.NAMES))
    return value


class OpcuaConnection(ConnectionSettings):
    """One OPC UA server."""

    url: Annotated[str, AfterValidator(_url)] = Field(
        description="Address of the server; its port is 4840 where none is written.",
        examples=["opc.tcp://10.20.0.31:4840"],
    )
    security: Annotated[str, BeforeValidator(_security)] = Field(
        "auto",
        description="How messages are protected: `auto` takes the best the server offers, never none at all; a policy "
        "and a mode; or `None`, which has to be written out.",
        examples=["Basic256Sha256/SignAndEncrypt", "None"],
    )
    trust: Literal["store", "pinned"] = Field(
        "store",
        description="Whose certificate is believed. `store`: one that was trusted with `gateway opcua trust`. `pinned`: "
        "the first one seen, and no other after it.",
    )
    user: str | None = Field(None, description="User name at the server; anonymous where it is left out.")
    password: SecretText | None = Field(None, description="Its password.", examples=["{secret: cnc_password}"])
    user_certificate: Path | None = Field(
        None, description="Logs in with this certificate (PEM or DER) instead of a name.", examples=["operator.pem"]
    )
    user_key: Path | None = Field(None, description="Its private key, PEM; mode 0600.", examples=["operator.key"])
    allow: list[Literal["expired", "wrong-host", "wrong-uri"]] = Field(
        default_factory=list,
        description="What is refused otherwise, of a certificate that is trusted: that it has expired or is not valid "
        "yet, or that it is made out for another host, or for another application.",
    )
    server: Annotated[str, AfterValidator(_server)] = Field(
        servers.AUTO,
        description="What kind of server it is, for what it can bear; `auto` goes by the name it gives itself, "
        f"`generic` is careful. {', '.join(sorted(servers.PROFILES))}.",
        examples=["s7-1500"],
    )
    timeout: Period = Field(4.0, description="How long an answer may take.", examples=["4s"])
    mode: Mode = Field(
        "subscription",
        description="`subscription`: the server sends what changes. `poll`: values are read every `poll`.",
    )
    publishing: Period = Field(
        0.5, description="Time between two notifications of the server; values between are kept.", examples=["500ms"]
    )
    session_timeout: Period = Field(
        60.0, ge=10, description="How long the server keeps a session whose client is gone.", examples=["60s"]
    )
    max_nodes: int | None = Field(
        None, ge=1, le=10_000, description="Nodes in one request at most; what the server can bear where left out."
    )
    history: Duration = Field(
        86400.0,
        description="How much of what was missed is fetched from a server that keeps history; `0s`: nothing.",
        examples=["24h"],
    )

    @property
    def host(self) -> str:
        return urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        return urlsplit(self.url).port or PORT

    @property
    def doubts(self) -> Sequence[tuple[str, str]]:
        """What is less safe than it could be."""
        found = [
            ("allow", f"lets pass what is wrong with the server's certificate: {_LET_PASS[k]}") for k in self.allow
        ]
        if self.security.partition("/")[0] in OLD_POLICIES:
            found.append(
                ("security", f"is outdated, and can be broken: {' or '.join(POLICIES)} as soon as it can be had")
            )
        return found

    @model_validator(mode="after")
    def _fits(self) -> OpcuaConnection:
        if self.password and not self.user:
            raise mistake("a password without a user", "add `user:`", "password")
        if self.user_key and not self.user_certificate:
            raise mistake("a key without its certificate", "add `user_certificate:`", "user_key")
        if self.user_certificate and not self.user_key:
            raise mistake("a certificate without its key", "add `user_key:`", "user_certificate")
        if self.user_certificate and self.user:
            raise mistake("a user name and a certificate", "keep one of them", "user_certificate")
        if self.security == "None" and (self.password or self.user_certificate):
            raise mistake(
                "nobody logs in over an unprotected line: whoever answers there would get the password",
                "write `security: auto`, or leave out the user",
                "security",
            )
        return self
