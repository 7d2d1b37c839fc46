"""What every request has to pass, and what every answer carries.

Whoever can open a page in a browser on this machine can make that browser ask us: the name in `Host` has to be one of
ours (against DNS rebinding), nothing is allowed across origins, and no script or style runs that is not a file of ours.
"""

from __future__ import annotations

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADERS = [
    (
        b"content-security-policy",
        b"default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
        b"require-trusted-types-for 'script'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
]


class Guard:
    """Answers only to our own names, and puts the security headers on every answer."""

    def __init__(self, app: ASGIApp, hosts: frozenset[str]) -> None:
        self._app, self._hosts = app, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *HEADERS]
            await send(message)

        named = [value.decode("latin-1") for key, value in scope["headers"] if key == b"host"]
        if len(named) == 1 and host_of(named[0]) in self._hosts:
            await self._app(scope, receive, guarded)
        else:
            text = f"This gateway answers to {', '.join(sorted(self._hosts))} only.\n"
            await PlainTextResponse(text, 421)(scope, receive, guarded)


def host_of(header: str) -> str:
    """The name in a `Host` header, without its port: behind an SSH tunnel that is another one."""
    name, colon, port = header.rpartition(":")
    return (name if colon and port.isdigit() else header).lower()
