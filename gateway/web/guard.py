"""What every request has to pass, and what every answer carries.

Whoever can open a page in a browser on this machine can make that browser ask us: the name in `Host` has to be one of
ours (against DNS rebinding), nothing is allowed across origins, what changes something has to show that it comes from
our own page (`X-CSRF-Token`), and no script or style runs that is not a file of ours. All of it holds without a login,
too. Who it is, and what they may do, is known in `access`.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from dataclasses import dataclass

from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.web.access.doors import Doors, Headers, Visitor, error
from gateway.web.access.rules import NOTED, READING, WITH_TOKEN, may, role_needed

log = logging.getLogger(__name__)

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
# A browser that has seen it never asks in the clear again (RFC 6797); it believes only a certificate that it trusts.
OVER_TLS = [(b"strict-transport-security", b"max-age=31536000")]

MAX_HEAD = 16 * 1024  # bytes
MAX_BODY = 256 * 1024
BODY_PATIENCE = 15.0  # seconds until all of a body has to be here
MAX_TARGET = 4096
# A browser says where a request comes from (Fetch Metadata): our own page, or the line where addresses are typed.
_OURS = (b"", b"same-origin", b"none")
# What a proxy adds. Without a login, whoever can reach one would be engineer here.
_OF_A_PROXY = (b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"x-real-ip", b"forwarded", b"via")


class _EndedError(Exception):
    """The session ended while something was being sent."""


@dataclass(slots=True)
class _TooMuchError(Exception):
    status: int
    text: str


class Guard:
    """Answers only to our own names, to those who may, and puts the security headers on every answer."""

    def __init__(self, app: ASGIApp, doors: Doors) -> None:
        self._app, self._doors = app, doors

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers: Headers = dict(scope["headers"])
        marks = [*HEADERS, *(OVER_TLS if self._doors.tls else ())]
        visitor: Visitor | None = None
        status = 0

        async def guarded(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), *marks]
            elif visitor is not None and not self._doors.still(visitor):
                await send({"type": "http.response.body", "body": b"", "more_body": False})
                raise _EndedError
            await send(message)

        refused = self._foreign(scope, headers)
        if refused is not None:
            await refused(scope, receive, guarded)
            return
        visitor = self._doors.visitor(scope, headers)
        scope["user"], scope["place"] = visitor.who, visitor.place
        method, path = scope["method"], scope["path"]
        refused = self._not_allowed(visitor, method, path, headers)
        if refused is not None:
            if (
                path in NOTED
                and method not in READING
                and visitor.role
                and not may(visitor.role, role_needed(method, path))
            ):
                self._doors.note_refused(visitor, NOTED[path])
            visitor = None  # there is nothing to keep from them in this answer
            await refused(scope, receive, guarded)
            return
        body = b""
        if method not in READING:
            try:
                body = await _body(receive, headers)
            except _TooMuchError as exc:
                visitor = None
                await error(exc.status, exc.text, "", {"Connection": "close"})(scope, receive, guarded)
                return
            except ConnectionError:
                return  # they have gone
            receive = _again(body, receive)
        if (question := self._doors.question(method, path)) is not None:
            answer = await question(visitor, headers, body)
            visitor = None  # a session may have ended by it
            await answer(scope, receive, guarded)
            return
        try:
            await self._app(scope, receive, guarded)
        except* _EndedError:
            pass  # the stream has its end, and its reader nothing to lose
        finally:
            if (noted := NOTED.get(path)) is not None and method not in READING and visitor is not None:
                self._doors.note_action(visitor, noted, status)

    def _foreign(self, scope: Scope, headers: Headers) -> Response | None:
        """Refuses what is not meant for us, or may be read in two ways."""
        names = [value.decode("latin-1") for key, value in scope["headers"] if key == b"host"]
        if len(names) != 1 or not self._is_ours(host_of(names[0]), scope):
            text = "This gateway does not answer to that name. Use its address, or add the name: web: {hosts: […]}\n"
            return PlainTextResponse(text, 421)
        if sum(len(key) + len(value) + 4 for key, value in scope["headers"]) > MAX_HEAD:
            return error(431, f"the head of a request has {MAX_HEAD // 1024} KiB at most", "", {"Connection": "close"})
        raw: bytes = scope.get("raw_path") or scope["path"].encode()
        if not raw.startswith(b"/") or len(raw) + len(scope.get("query_string", b"")) > MAX_TARGET:
            return error(400, "this is no address of ours", "", {"Connection": "close"})
        if any(c < " " or c in "\\\x7f" for c in scope["path"]):
            return error(400, "this is no address of ours", "", {"Connection": "close"})
        if not self._doors.required and any(name in headers for name in _OF_A_PROXY):
            return error(
                403, "without a login this page is not for others", "web: {login: required, hosts: [its name]}"
            )
        if b"transfer-encoding" in headers and b"content-length" in headers:
            return error(400, "a length, or chunks", "", {"Connection": "close"})
        return None

    def _is_ours(self, name: str, scope: Scope) -> bool:
        if name in self._doors.names:
            return True
        if not self._doors.reached:
            return False
        # An address is ours if it is the one that was reached; no name server can make it lead elsewhere.
        try:
            return ipaddress.ip_address(name.strip("[]")) == ipaddress.ip_address(str(scope["server"][0]))
        except (ValueError, TypeError, KeyError):
            return False

    def _not_allowed(self, visitor: Visitor, method: str, path: str, headers: Headers) -> Response | None:
        """Refuses what comes from another page, and what somebody of this role may not do."""
        if (path.startswith("/api/") or method not in READING) and (wrong := _from_elsewhere(visitor, headers)):
            return error(403, wrong, "open the page of the gateway itself")
        needed = role_needed(method, path)
        if not may(visitor.role, needed) and not (
            path in WITH_TOKEN and method in READING and self._doors.has_token(headers)
        ):
            if visitor.role is None:
                return error(401, "log in first", "POST /api/v1/login, or open the page")
            return error(403, f"this needs the role {needed}", f"{visitor.who} is {visitor.role}")
        if method in READING:
            return None
        kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
        if kind != b"application/json":
            return error(415, "this takes JSON only", "Content-Type: application/json")
        shown = headers.get(b"x-csrf-token", b"").decode("latin-1")
        if not visitor.token or not self._doors.sessions.is_csrf(visitor.token, shown):
            return error(403, "this does not come from our page", "X-CSRF-Token: the `csrf` of GET /api/v1/session")
        return None


def host_of(header: str) -> str:
    """The name in a `Host` header, without its port: behind an SSH tunnel that is another one."""
    name, colon, port = header.rpartition(":")
    return (name if colon and port.isdigit() else header).lower()


def _from_elsewhere(visitor: Visitor, headers: Headers) -> str:
    """Why a request comes from another page than ours; empty where it does not. Programs say nothing of the kind."""
    if headers.get(b"sec-fetch-site", b"").lower() not in _OURS:
        return "this was asked by the page of somebody else"
    if (origin := headers.get(b"origin")) is not None:
        own = (b"https://" if visitor.secure else b"http://") + headers[b"host"]
        if origin.lower() != own.lower():
            return "this was asked by the page of somebody else"
    return ""


async def _body(receive: Receive, headers: Headers) -> bytes:
    """All of it, if it is short and comes in time. Raises _TooMuchError, ConnectionError."""
    length = headers.get(b"content-length", b"0")
    if not length.isdigit() or len(length) > 15 or int(length) > MAX_BODY:
        raise _TooMuchError(413, f"at most {MAX_BODY // 1024} KiB")
    content = bytearray()
    try:
        async with asyncio.timeout(BODY_PATIENCE):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ConnectionError
                content += message.get("body", b"")
                if len(content) > MAX_BODY:
                    raise _TooMuchError(413, f"at most {MAX_BODY // 1024} KiB")
                if not message.get("more_body"):
                    return bytes(content)
    except TimeoutError as exc:
        raise _TooMuchError(408, f"not all of it came within {BODY_PATIENCE:.0f} s") from exc


def _again(body: bytes, receive: Receive) -> Receive:
    """For the application, which has not read it yet."""
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay
