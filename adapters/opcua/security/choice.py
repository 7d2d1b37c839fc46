"""Which of a server's endpoints, and which of its ways to log in. Pure.

What a server answers to GetEndpoints is signed by nobody. So only security data is taken from it, never an address
(which may be one that only the server's own network knows), and `stronger` asks again once the server has proven who
it is.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from adapters.opcua.connection import OLD_POLICIES, OpcuaConnection
from gateway.errors import NotConnectedError

Login = Literal["anonymous", "user", "certificate", "issued"]

# The best first. Basic256Sha256 encrypts with AES-256, Aes128_Sha256_RsaOaep with AES-128, all else of both is equal.
STRENGTH = ("Aes256_Sha256_RsaPss", "Basic256Sha256", "Aes128_Sha256_RsaOaep")
# To encrypt a password under an outdated policy is better than not at all.
TOKEN_STRENGTH = (*STRENGTH, *reversed(OLD_POLICIES))
# Whoever can listen learns what the machine does: no policy makes up for a mode without encryption.
MODE_STRENGTH = ("SignAndEncrypt", "Sign")

_TCP = "http://opcfoundation.org/UA-Profile/Transport/uatcp-uasc-uabinary"
_LOGINS: dict[Login, str] = {
    "anonymous": "anonymous users", "user": "user and password", "certificate": "user certificate", "issued": "token",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Token:
    """One way to log in: UserTokenPolicy (Part 4, 7.42)."""

    login: Login
    id: str
    policy: str = ""  # how it is encrypted or signed; "": as the endpoint is


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One of the ways a server can be talked to: EndpointDescription (Part 4, 7.14)."""

    url: str
    policy: str  # the end of its URI: None, Basic256Sha256, …
    mode: str  # None, Sign, SignAndEncrypt
    certificate: bytes = b""
    application_uri: str = ""
    tokens: tuple[Token, ...] = ()
    transport: str = ""
    application: str = ""  # what it calls itself

    @property
    def security(self) -> str:
        """As it is written in the configuration."""
        return "None" if self.mode == "None" or self.policy == "None" else f"{self.policy}/{self.mode}"

    @property
    def logins(self) -> tuple[str, ...]:
        """The ways to log in, for people."""
        return tuple(dict.fromkeys(_LOGINS[token.login] for token in self.tokens))


def login_of(connection: OpcuaConnection) -> Login:
    """How we want to log in."""
    return "certificate" if connection.user_certificate else "user" if connection.user else "anonymous"


def choose(endpoints: Sequence[Endpoint], connection: OpcuaConnection) -> Endpoint:
    """The endpoint that is written down, or the best. Raises NotConnectedError with what there is."""
    login, wanted = login_of(connection), connection.security
    usable = [e for e in endpoints if _is_tcp(e)]
    fits = [e for e in usable if (e.security in _ranked() if wanted == "auto" else e.security == wanted)]
    if not fits:
        raise NotConnectedError(_not_offered(wanted, usable), fault="opcua-security-mismatch")
    with_login = [e for e in fits if _can(e, login)]
    if not with_login:
        raise NotConnectedError(
            f"the server does not take {_LOGINS[login]} to log in; it takes {_ways(fits)}. {_other_login(login)}",
            fault="opcua-user-refused",
        )
    path = urlsplit(connection.url).path.rstrip("/")
    best = [e for e in with_login if e.security == _best_first(with_login)[0].security]
    return next((e for e in best if urlsplit(e.url).path.rstrip("/") == path), best[0])


def stronger(endpoints: Sequence[Endpoint], used: Endpoint, login: Login) -> Endpoint | None:
    """One that `auto` would have preferred, had it been on the list it chose from (Part 4, 5.6.2)."""
    better = [e for e in endpoints if _is_tcp(e) and e.security in _ranked() and _can(e, login)]
    best = min(better, key=lambda e: _ranked().index(e.security), default=None)
    order = [*_ranked(), used.security]
    return best if best and order.index(best.security) < order.index(used.security) else None


def token_of(tokens: Sequence[Token], login: Login, endpoint: Endpoint) -> Token:
    """The best way to log in, its policy resolved. Raises NotConnectedError rather than show a password to anybody."""
    fits = [Token(t.login, t.id, t.policy or endpoint.policy) for t in tokens if t.login == login]
    if not fits:
        ways = ", ".join(dict.fromkeys(_LOGINS[t.login] for t in tokens)) or "nothing"
        raise NotConnectedError(
            f"the server does not take {_LOGINS[login]} to log in; it takes {ways}. {_other_login(login)}",
            fault="opcua-user-refused",
        )
    if login == "anonymous":
        return fits[0]
    protected = [t for t in fits if t.policy in TOKEN_STRENGTH]
    if protected:
        return min(protected, key=lambda t: TOKEN_STRENGTH.index(t.policy))
    if login == "user" and endpoint.mode == "SignAndEncrypt" and any(t.policy == "None" for t in fits):
        return next(t for t in fits if t.policy == "None")  # the channel encrypts it: Part 4, 7.41.4
    offered = ", ".join(sorted({t.policy for t in fits}))
    if login == "user" and offered == "None":
        raise NotConnectedError(
            "the password would go over the network for anybody to read: the server offers no encryption of it. "
            "Write `security: auto`, or log in without a user",
            fault="opcua-security-mismatch",
        )
    text = f"the server wants {_LOGINS[login]} protected by {offered}, which is not known here"
    raise NotConnectedError(text, fault="opcua-security-mismatch")


def names(endpoints: Sequence[Endpoint]) -> str:
    """What there is, the best first, for people."""
    return ", ".join(dict.fromkeys(e.security for e in _best_first(endpoints))) or "nothing"


def _ranked() -> list[str]:
    return [f"{policy}/{mode}" for mode in MODE_STRENGTH for policy in STRENGTH]


def _best_first(endpoints: Sequence[Endpoint]) -> list[Endpoint]:
    order = [*_ranked(), *(f"{policy}/{mode}" for mode in MODE_STRENGTH for policy in reversed(OLD_POLICIES))]
    return sorted(endpoints, key=lambda e: order.index(e.security) if e.security in order else len(order))


def _is_tcp(endpoint: Endpoint) -> bool:
    return endpoint.transport == _TCP if endpoint.transport else endpoint.url.startswith("opc.tcp:")


def _can(endpoint: Endpoint, login: Login) -> bool:
    """Whether one can log in so; an endpoint that lists nothing is given the chance."""
    return not endpoint.tokens or login in {token.login for token in endpoint.tokens}


def _ways(endpoints: Sequence[Endpoint]) -> str:
    """How to log in, for people; by endpoint only where they differ."""
    ways = {e.security: ", ".join(e.logins) or "nothing" for e in _best_first(endpoints)}
    if len(set(ways.values())) == 1:
        return next(iter(ways.values()))
    return "; ".join(f"{way} with {security}" for security, way in ways.items())


def _not_offered(wanted: str, endpoints: Collection[Endpoint]) -> str:
    there = [e.security for e in _best_first(list(endpoints))]
    offers = f"the server offers {names(list(endpoints))}"
    if wanted != "auto":
        return f"`security: {wanted}` is not offered: {offers}. Write one of these, or `security: auto`"
    old = [name for name in there if name.partition("/")[0] in OLD_POLICIES]
    if old:
        return f"{offers}, which is outdated or no encryption at all. Switch on a newer policy at the server, or write `security: {old[0]}`"
    if "None" in there:
        return f"{offers}: no encryption. Switch it on at the server, or write `security: None` to read without"
    return f"{offers}, and nothing that is known here"


def _other_login(login: Login) -> str:
    return {
        "anonymous": "Write `user` and `password`, or `user_certificate` and `user_key`",
        "user": "Allow this at the server, or log in another way",
        "certificate": "Allow this at the server, or write `user` and `password`",
    }.get(login, "")
