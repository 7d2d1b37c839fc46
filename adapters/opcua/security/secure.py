"""All that has to be known before a line to a server is opened: `Security.secure`, once for each session.

The server's certificate is believed before anything but a greeting is sent to it, and is proven by what it signs when
the session begins. Until then its endpoints may be anybody's: see `choice`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from adapters.opcua.connection import OLD_POLICIES, OpcuaConnection
from adapters.opcua.security.certificates import Certificate, chain, day
from adapters.opcua.security.choice import Endpoint, Login, choose, login_of
from adapters.opcua.security.own import KeyPair, Own, own, user
from adapters.opcua.security.store import Store
from adapters.opcua.security.verdict import Expected, Problem, Verdict, fault_of_kinds, judge
from gateway.adapter import Context
from gateway.clock import Clock
from gateway.errors import NotConnectedError

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Offer:
    """What a server answers to whoever asks. Signed by nobody."""

    endpoints: Sequence[Endpoint]
    clock_ahead: float | None  # seconds its clock is ahead of ours


@dataclass(frozen=True, slots=True)
class Protection:
    """How a session is protected, and who takes part in it: the same on every line it is ever carried over."""

    endpoint: Endpoint
    own: Own
    server: Certificate
    login: Login
    user: KeyPair | None
    auto: bool  # the endpoint was chosen, not written down
    clock_ahead: float | None
    proven: Callable[[], None] = field(repr=False)  # to be called when the server has shown that it has the key


class Line(Protocol):
    """What is needed of a client."""

    async def endpoints(self) -> Offer:
        """Ask, on a line of its own."""

    def protect(self, protection: Protection | None) -> None:
        """From the next line on."""


class Security:
    """The security of one connection, for as long as the process runs."""

    def __init__(
        self,
        connection: OpcuaConnection,
        name: str,
        data_dir: Path,
        gateway_id: str,
        clock: Clock,
        folder: Path,
        target: str = "",
    ) -> None:
        """`folder`: where relative paths in the configuration start; `target`: what commands call it, if not by name."""
        self.target = target or name
        self.connection, self.name, self.gateway_id = connection, name, gateway_id
        self.pki = data_dir / "opcua" / "pki"
        self.store = Store(self.pki)
        self._clock, self._folder = clock, folder
        self._told: set[str] = set()
        self._last: Certificate | None = None  # the server's when it was last believed

    @classmethod
    def of(cls, context: Context) -> Security:
        assert isinstance(context.connection, OpcuaConnection)
        return cls(
            context.connection, context.name, context.data_dir, context.gateway_id, context.clock, context.folder
        )

    async def secure(self, line: Line) -> None:
        """Choose how to talk to the server, and believe it or not. Raises NotConnectedError, or what asking raises."""
        connection = self.connection
        if connection.security == "None":
            line.protect(None)
            return
        ours = await asyncio.to_thread(self.own)
        login = login_of(connection)
        them = await asyncio.to_thread(self._user) if login == "certificate" else None
        offer = await line.endpoints()
        endpoint = choose(offer.endpoints, connection)
        sent, verdict = self.judge(endpoint)
        server = sent[0]
        if refusals := verdict.refusals(connection.allow):
            self._refuse(server, refusals, offer.clock_ahead)
        self._warn(endpoint, server, verdict)

        def proven() -> None:
            self._last = server
            if connection.trust == "pinned" and self.store.pinned(self.name) is None:
                file = self.store.pin(self.name, server)
                _log.warning("%s: the server's certificate is pinned now: %s, %s", self.name, server, file)

        auto = connection.security == "auto"
        line.protect(Protection(endpoint, ours, server, login, them, auto, offer.clock_ahead, proven))

    def own(self) -> Own:
        """The gateway's certificate; made where there is none. Raises CertificateError."""
        return own(self.pki, self.gateway_id, self.now())

    def judge(self, endpoint: Endpoint) -> tuple[tuple[Certificate, ...], Verdict]:
        """The certificates of an endpoint, and whether the first is believed. Raises CertificateError."""
        sent = chain(endpoint.certificate)
        lists = self.store.lists(self.name, pinned=self.connection.trust == "pinned")
        expected = Expected(
            self.connection.host, endpoint.application_uri, endpoint.policy, self.now(), self._clock.trusted()
        )
        verdict = judge(sent, lists, expected)
        if self.connection.trust == "pinned" and lists.pinned is None:  # the first one that is seen
            rest = tuple(problem for problem in verdict.problems if problem.kind != "untrusted")
            verdict = Verdict(verdict.trusted or "it is the first one seen, and will be pinned", rest)
        return sent, verdict

    def now(self) -> datetime:
        return datetime.fromtimestamp(self._clock.now() / 1e9, UTC)

    def _user(self) -> KeyPair:
        certificate, key = self.connection.user_certificate, self.connection.user_key
        assert certificate
        assert key
        return user(self._folder / certificate, self._folder / key)

    def _refuse(self, server: Certificate, problems: Sequence[Problem], clock_ahead: float | None) -> None:
        """Raises NotConnectedError: who it is, what speaks against it, and what can be done."""
        kinds = [problem.kind for problem in problems]
        who = f"{server}, thumbprint {server.thumbprint}, valid until {day(server.not_after)}"
        if "changed" in kinds or "untrusted" in kinds:
            who += f", kept as {self.store.keep_aside(self.name, server)}"
        said = "; ".join(problem.text for problem in problems)
        command = f"gateway opcua trust {self.target}"
        if "changed" in kinds:
            text = (
                f"the server has another certificate than the one that is pinned: {said}. It shows {who}. If somebody "
                f"has renewed it, compare the fingerprint with the server's and accept it with: {command}. If not, "
                "somebody else may be answering in its place"
            )
            if text not in self._told:
                self._told.add(text)
                _log.error("%s: %s", self.name, text)
        elif "untrusted" in kinds:
            before = self._before(server)
            text = (
                f"the server's certificate is not trusted{before}: {said}. It is {who}. Compare the fingerprint with "
                f"the one that the server shows, and trust it with: {command}"
            )
        else:
            text = f"the server's certificate is refused: {said}. It is {who}"
        if cures := [cure for kind in dict.fromkeys(kinds) if (cure := cure_of(kind))]:
            text = ". ".join([text, *cures])
        if "expired" in kinds and clock_ahead is not None and abs(clock_ahead) > 60:
            text = f"{text}. The server's clock is {ahead(clock_ahead)}"
        raise NotConnectedError(text, fault=fault_of_kinds(kinds))

    def _before(self, server: Certificate) -> str:
        """Whether it is somebody we knew by another certificate."""
        if self._last and self._last != server:
            return f": it has a new one since it was last connected (then {self._last})"
        known = next(
            (e.certificate for e in self.store.entries("trusted") if set(e.certificate.uris) & set(server.uris)), None
        )
        return f": it has a new one (the trust store knows {known})" if known else ""

    def _warn(self, endpoint: Endpoint, server: Certificate, verdict: Verdict) -> None:
        """Say once what is let pass."""
        for problem in verdict.problems:
            self._once(f"the server's certificate {server} is let pass by `allow: [{problem.kind}]`: {problem.text}")
        if endpoint.policy in OLD_POLICIES:
            self._once(
                f"{endpoint.policy} is outdated, and can be broken: use another policy as soon as the server can"
            )

    def _once(self, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            _log.warning("%s: %s", self.name, text)


_CURES = {
    "expired": "Have the server make a new one; `allow: [expired]` at the connection (of an address: --allow expired) takes it as it is",
    "wrong-host": "Write the host it is made out for into `url`, or have the server make a new one; "
    "`allow: [wrong-host]` at the connection (of an address: --allow wrong-host) takes it as it is",
    "wrong-uri": "Have the server make a new one; `allow: [wrong-uri]` at the connection (of an address: --allow wrong-uri) takes it as it is",
    "usage": "Have the server make a new one",
}


def cure_of(kind: str) -> str:
    """What can be done about a problem, trust apart; "" where nothing is known."""
    return _CURES.get(kind, "")


def ahead(seconds: float) -> str:
    """How far a clock is off, for people."""
    size = abs(seconds)
    text = next(
        f"{size / unit:.0f} {name}"
        for unit, name in ((86400, "days"), (3600, "h"), (60, "min"), (1, "s"))
        if size >= 2 * unit or unit == 1
    )
    return f"{text} {'ahead of' if seconds > 0 else 'behind'} ours"
