"""Which endpoint and which way to log in: the best, and what is said where there is none."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest

from adapters.opcua.config import OpcuaConnection
from adapters.opcua.security.choice import Endpoint, Token, choose, stronger, token_of
from gateway.errors import NotConnectedError

ANYBODY = (Token("anonymous", "0"),)
USERS = (Token("user", "1"),)
# Best first, written by hand: whoever encrypts comes before whoever only signs, and then the longer keys.
BEST_FIRST = (
    "Aes256_Sha256_RsaPss/SignAndEncrypt",
    "Basic256Sha256/SignAndEncrypt",
    "Aes128_Sha256_RsaOaep/SignAndEncrypt",
    "Aes256_Sha256_RsaPss/Sign",
    "Basic256Sha256/Sign",
    "Aes128_Sha256_RsaOaep/Sign",
)


def endpoint(security: str, tokens: tuple[Token, ...] = ANYBODY, **more: Any) -> Endpoint:
    policy, _, mode = security.partition("/")
    return Endpoint(more.pop("url", "opc.tcp://plc"), policy, mode or "None", tokens=tokens, **more)


def connection(**settings: Any) -> OpcuaConnection:
    return OpcuaConnection.model_validate({"protocol": "opcua", "url": "opc.tcp://10.0.0.1", **settings})


@pytest.mark.parametrize("better", range(5))
def test_auto_takes_the_best_whatever_their_order(better: int) -> None:
    for offered in permutations(["None", *BEST_FIRST[better : better + 3]]):
        assert choose([endpoint(each) for each in offered], connection()).security == BEST_FIRST[better]


def test_auto_never_takes_none() -> None:
    with pytest.raises(NotConnectedError, match=r"the server offers None: no encryption.*write `security: None`"):
        choose([endpoint("None")], connection())
    assert choose([endpoint("None")], connection(security="None")).security == "None"


@pytest.mark.parametrize("old", ["Basic256/SignAndEncrypt", "Basic128Rsa15/Sign"])
def test_outdated_policies_only_when_they_are_written_down(old: str) -> None:
    offered = [endpoint("None"), endpoint(old)]
    with pytest.raises(NotConnectedError, match=rf"offers {old}, None, which is outdated.*`security: {old}`"):
        choose(offered, connection())
    assert choose(offered, connection(security=old)).security == old


def test_what_is_written_down_and_not_offered_names_what_is() -> None:
    offered = [endpoint("None"), endpoint("Basic256Sha256/Sign"), endpoint("Aes256_Sha256_RsaPss/Sign")]
    said = (
        r"`security: Basic256Sha256/SignAndEncrypt` is not offered: the server offers Aes256_Sha256_RsaPss/Sign, "
        r"Basic256Sha256/Sign, None"
    )
    with pytest.raises(NotConnectedError, match=said):
        choose(offered, connection(security="Basic256Sha256/SignAndEncrypt"))


def test_a_policy_nobody_here_knows_is_not_chosen() -> None:
    with pytest.raises(NotConnectedError, match="ECC_nistP256/SignAndEncrypt, and nothing that is known here"):
        choose([endpoint("ECC_nistP256/SignAndEncrypt")], connection())


def test_an_endpoint_where_one_can_log_in_is_preferred() -> None:
    offered = [endpoint(BEST_FIRST[0], USERS), endpoint(BEST_FIRST[1], ANYBODY)]
    assert choose(offered, connection()).security == BEST_FIRST[1]
    assert choose(offered, connection(user="me", password="x")).security == BEST_FIRST[0]
    with pytest.raises(
        NotConnectedError, match="does not take user certificate to log in; it takes user and password with"
    ):
        choose(offered, connection(user_certificate="a", user_key="b"))


def test_its_address_does_not_matter_but_for_the_path() -> None:
    """Servers name hosts that only their own network knows."""
    inside = endpoint(BEST_FIRST[0], url="opc.tcp://plc-internal:4840/other", certificate=b"a")
    ours = endpoint(BEST_FIRST[0], url="opc.tcp://localhost:4840/line", certificate=b"b")
    web = endpoint(BEST_FIRST[0], url="https://10.0.0.1/line", certificate=b"c")
    assert choose([web, inside, ours], connection(url="opc.tcp://10.0.0.1/line/")) == ours
    assert choose([web, inside], connection(url="opc.tcp://10.0.0.1/line")) == inside
    with pytest.raises(NotConnectedError, match="offers nothing"):
        choose([web], connection())


def test_what_was_hidden_is_seen() -> None:
    every = [endpoint("None"), *map(endpoint, BEST_FIRST)]
    for place, used in enumerate(BEST_FIRST):
        found = stronger(every, endpoint(used), "anonymous")
        assert found == (endpoint(BEST_FIRST[0]) if place else None)
    # One that we could not have taken is no better.
    assert (
        stronger([endpoint(BEST_FIRST[0], USERS), endpoint(BEST_FIRST[1])], endpoint(BEST_FIRST[1]), "anonymous")
        is None
    )


# --- logging in ------------------------------------------------------------------------------------------------------


def test_a_password_is_encrypted_as_well_as_it_can_be() -> None:
    weak, best = Token("user", "w", "Basic256"), Token("user", "b", "Aes256_Sha256_RsaPss")
    plain = Token("user", "p", "None")
    for mode in ("Sign", "SignAndEncrypt"):
        at = endpoint(f"Basic256Sha256/{mode}")
        for tokens in permutations([weak, plain, best, *ANYBODY]):
            assert token_of(tokens, "user", at) == best


def test_an_empty_policy_is_that_of_the_endpoint() -> None:
    found = token_of(USERS, "user", endpoint("Basic256Sha256/Sign"))
    assert (found.id, found.policy) == ("1", "Basic256Sha256")


def test_a_plain_password_goes_through_an_encrypted_channel_only() -> None:
    plain = (Token("user", "p", "None"),)
    assert token_of(plain, "user", endpoint("Basic256Sha256/SignAndEncrypt")).policy == "None"
    for open_to_all in ("Basic256Sha256/Sign", "None"):
        with pytest.raises(NotConnectedError, match="for anybody to read"):
            token_of(plain, "user", endpoint(open_to_all))
        with pytest.raises(NotConnectedError, match="for anybody to read"):
            token_of(USERS, "user", endpoint("None"))


def test_a_user_certificate_is_never_shown_without_a_signature() -> None:
    certificate = (Token("certificate", "c", "None"),)
    with pytest.raises(NotConnectedError, match="protected by None, which is not known here"):
        token_of(certificate, "certificate", endpoint("Basic256Sha256/SignAndEncrypt"))


def test_no_way_in_says_what_there_is() -> None:
    with pytest.raises(
        NotConnectedError, match=r"does not take anonymous users.*it takes user and password\. Write `user`"
    ):
        token_of(USERS, "anonymous", endpoint("None"))
