"""Where a server is that is in no configuration: `opc.tcp://10.20.0.31:4840`. Pure."""

from __future__ import annotations

import re
from typing import Any

from pydantic import ValidationError

from adapters.opcua.config import OpcuaConnection
from gateway.config.fields import Secret
from gateway.errors import UsageError

_EXAMPLE = "for example opc.tcp://10.20.0.31:4840"


def is_address(text: str) -> bool:
    """Whether this can be no name of a connection, but an address only."""
    return "://" in text or bool(
        re.fullmatch(r"[\w.-]+:\d{1,5}(/\S*)?|[\d.]+|localhost|\[[0-9a-fA-F:]+\](:\d+)?", text)
    )


def connection_of(text: str, password: str | None = None, **more: Any) -> OpcuaConnection:
    """The connection to an address; `more` as in the configuration, None where it is not given. Raises UsageError."""
    url = text if "://" in text else f"opc.tcp://{text}"
    given: dict[str, Any] = {key: value for key, value in more.items() if value is not None}
    if password is not None:
        given["password"] = Secret("", password)
    try:
        return OpcuaConnection.model_validate({"protocol": "opcua", "url": url, **given})
    except ValidationError as exc:
        error = exc.errors(include_url=False)[0]
        context = error.get("ctx", {})
        key = context.get("key") or next(iter(error["loc"]), "url")
        message, hint = context.get("message", error["msg"]), context.get("hint")
        if key != "url":
            raise UsageError(f"--{str(key).replace('_', '-')}: {message}" + (f"; {hint}" if hint else "")) from exc
        raise UsageError(f"'{text}': {message}; {hint or _EXAMPLE}") from exc


def stanza_of(connection: OpcuaConnection, name: str) -> dict[str, Any]:
    """What to write into the configuration: what differs from the defaults. The password stays with its owner."""
    stanza: dict[str, Any] = {"protocol": "opcua", "url": connection.url}
    for key in ("security", "trust", "user", "user_certificate", "user_key", "allow"):
        value = getattr(connection, key)
        if value != type(connection).model_fields[key].get_default(call_default_factory=True):
            stanza[key] = value if isinstance(value, list) else str(value)
    if connection.password:
        stanza["password"] = {"secret": connection.password.name or f"{name}_password"}
    return stanza
