"""Passwords, sessions, roles, back-off, set-up, certificates, tokens: over a real server, with a manual clock."""

import asyncio
import json
import re
import ssl
import threading
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

import gateway.web
from gateway.config import load
from gateway.errors import ConfigErrors, GatewayError
from gateway.runtime.registry import protocols
from gateway.web import server
from gateway.web.access import passwords
from gateway.web.access.audit import verify
from gateway.web.access.backoff import BackOff
from gateway.web.access.certificate import Pair, context, fingerprint, make, names_of_this_machine
from gateway.web.access.doors import Visitor, language
from gateway.web.access.passwords import Hashed, hashed, scrypt, wrong_with
from gateway.web.access.sessions import Sessions
from gateway.web.access.users import Users, UsersError
from web.browser import Browser, trusting
from web.doors import PASSWORD, PLANT_NETWORK, THIS_MACHINE, Site, add, of_password, site
from web.test_server import head

BOX_WITH_LOGIN = '{listen: "127.0.0.1:0", login: required}'


@pytest.fixture
async def foreign(tmp_path: Path) -> AsyncIterator[Site]:
    async with site(tmp_path, PLANT_NETWORK) as made:
        yield made


# --- login, logout, password ---------------------------------------------------------------------------------------------


async def test_login_and_logout(foreign: Site) -> None:
    browser = foreign.browser()
    session = await browser.open()
    assert (session["user"], session["role"], session["login"]) == (None, None, "password")
    answer = await browser.login("anna", PASSWORD)
    assert (answer.status, answer.data["user"], answer.data["role"]) == (200, "anna", "engineer")
    assert (await browser.get("/api/v1/plant")).status == 200
    assert (await browser.open())["user"] == "anna"
    before = dict(browser.cookies)
    answer = await browser.post("/api/v1/logout")
    assert (answer.status, answer.data["user"]) == (200, None)
    assert (await browser.get("/api/v1/plant")).status == 401
    browser.cookies = before
    assert (await browser.get("/api/v1/plant")).status == 401


@pytest.mark.parametrize(
    "body",
    [
        {}, {"user": "anna"}, {"user": 1, "password": PASSWORD}, {"user": ["anna"], "password": PASSWORD}, [], "text", None,
        {"user": "anna", "password": "a" * 2001}, {"user": "anna", "password": None},
    ],
)  # fmt: skip
async def test_a_login_that_is_none(foreign: Site, body: object) -> None:
    browser = foreign.browser()
    await browser.open()
    content = json.dumps(body).encode()
    answer = await browser.raw(browser.request("POST", "/api/v1/login", content, {}))
    assert answer.status == 400


@pytest.mark.parametrize(
    ("user", "password"),
    [
        ("anna", "wrong password"), ("anna", ""), ("Anna", PASSWORD), ("nobody", PASSWORD), ("", PASSWORD), ("victor", "\ud800" * 10),
        ("anna' OR '1'='1", PASSWORD), ("../users", PASSWORD), ("anna\x00", PASSWORD), ("a" * 2000, PASSWORD),
    ],
)  # fmt: skip
async def test_a_wrong_login(foreign: Site, user: str, password: str) -> None:
    """The same words for an unknown user and for a wrong password."""
    answer = await foreign.browser().login(user, password)
    assert (answer.status, answer.data["error"]) == (401, "user or password is wrong")
    assert answer.cookies == []


async def test_a_planted_token_is_worth_nothing_after_the_login(foreign: Site) -> None:
    """Session fixation: whoever set the cookie before knows it."""
    browser = foreign.browser()
    await browser.open()
    planted = dict(browser.cookies)
    await browser.login("anna", PASSWORD)
    assert browser.cookies != planted
    first = dict(browser.cookies)
    await browser.login("anna", PASSWORD)
    for old in (planted, first):
        browser.cookies = old
        assert (await browser.get("/api/v1/plant")).status == 401


async def test_another_password_ends_all_sessions(foreign: Site) -> None:
    here, there, victor = [await foreign.browser_of(user) for user in ("anna", "anna", "victor")]
    answer = await here.post("/api/v1/password", {"current": "wrong one here", "password": "another long sentence"})
    assert answer.status == 401
    answer = await here.post("/api/v1/password", {"current": PASSWORD, "password": "another long sentence"})
    assert (answer.status, answer.data["user"]) == (200, "anna")
    assert (await here.get("/api/v1/plant")).status == 200
    assert (await there.get("/api/v1/plant")).status == 401
    assert (await victor.get("/api/v1/plant")).status == 200
    assert (await foreign.browser().login("anna", PASSWORD)).status == 401
    assert (await foreign.browser().login("anna", "another long sentence")).status == 200


@pytest.mark.parametrize(
    ("password", "says"),
    [
        ("short", "10 characters"), ("a" * 20, "so few different"), ("anna123456", "little more than the name"),
        ("é" * 2 + "abc" * 400, "1024 bytes"),
    ],
)  # fmt: skip
async def test_passwords_nobody_should_have(foreign: Site, password: str, says: str) -> None:
    browser = await foreign.browser_of("anna")
    answer = await browser.post("/api/v1/password", {"current": PASSWORD, "password": password})
    assert answer.status == 400
    assert says in answer.data["error"]
    assert (await browser.get("/api/v1/plant")).status == 200


async def test_whom_a_command_takes_out_is_out_at_once(foreign: Site) -> None:
    """`gateway web user` works on the same file beside the running gateway."""
    anna, victor = await foreign.browser_of("anna"), await foreign.browser_of("victor")
    foreign.users.remove("victor")
    assert (await victor.get("/api/v1/plant")).status == 401
    add(foreign.data, "otto", "engineer")
    add(foreign.data, "anna", "viewer")
    assert (await anna.get("/api/v1/plant")).status == 200
    assert (await anna.post("/api/v1/config/reload")).status == 403
    add(foreign.data, "anna", "viewer", "another long sentence")
    assert (await anna.get("/api/v1/plant")).status == 401


async def test_a_stream_ends_with_the_session(foreign: Site) -> None:
    browser = await foreign.browser_of("victor")
    reader, writer = await asyncio.open_connection("127.0.0.1", browser.port, ssl=trusting())
    writer.write(browser.request("GET", "/api/v1/stream", None, {}))
    status, _ = await head(reader)
    assert status == 200
    await reader.readuntil(b"data: {")
    await browser.post("/api/v1/logout")
    foreign.clock.at += 10
    async with asyncio.timeout(10):
        await reader.read()  # to its end
    writer.close()


async def test_an_open_page_is_not_idle(foreign: Site) -> None:
    browser = await foreign.browser_of("victor")
    reader, writer = await asyncio.open_connection("127.0.0.1", browser.port, ssl=trusting())
    writer.write(browser.request("GET", "/api/v1/stream", None, {}))
    for _ in range(3):
        await asyncio.wait_for(reader.readuntil(b"data: {"), 10)
        foreign.clock.at += 3000
    await asyncio.wait_for(reader.readuntil(b"data: {"), 10)
    assert (await browser.get("/api/v1/plant")).status == 200
    writer.close()


async def test_language_of_the_browser(foreign: Site) -> None:
    answer = await foreign.browser().get("/api/v1/session", Accept_Language="de, vi;q=0.8, en;q=0.5")
    assert answer.data["language"] == "vi"


@pytest.mark.parametrize(
    ("accepted", "expected"),
    [
        ("", "en"),
        ("vi", "vi"),
        ("vi-VN,vi;q=0.9,en;q=0.8", "vi"),
        ("en,vi;q=0.9", "en"),
        ("de", "en"),
        ("vi;q=x", "en"),
    ],
)
def test_language(accepted: str, expected: str) -> None:
    assert language(accepted) == expected


# --- the first start -----------------------------------------------------------------------------------------------------


async def test_the_first_start(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with site(tmp_path, PLANT_NETWORK, users=False) as made:
        file = made.data / "web" / "setup-code"
        code = file.read_text().strip()
        assert file.stat().st_mode & 0o777 == 0o600
        assert code in caplog.text
        assert len(code) == 19
        browser = made.browser()
        assert (await browser.open())["setup"] is True
        given = {"code": "ABCD-EFGH-JKLM-NPQR", "user": "anna", "password": PASSWORD}
        assert (await browser.post("/api/v1/password", given)).status == 401
        assert (await browser.login("anna", PASSWORD)).status == 401
        given["code"] = code.lower().replace("-", " ")
        answer = await browser.post("/api/v1/password", given)
        assert (answer.status, answer.data["user"], answer.data["role"]) == (200, "anna", "engineer")
        assert not file.exists()
        other = made.browser()
        assert (await other.open())["setup"] is False
        assert (await other.post("/api/v1/password", given | {"user": "otto"})).status == 401
        made.clock.at += 5  # there were three mistakes
        assert (await other.login("anna", PASSWORD)).status == 200


async def test_the_code_cannot_be_guessed(tmp_path: Path) -> None:
    async with site(tmp_path, PLANT_NETWORK, users=False) as made:
        browser = made.browser()
        await browser.open()
        given = {"code": "", "user": "anna", "password": PASSWORD}
        statuses = [(await browser.post("/api/v1/password", given)).status for _ in range(5)]
        assert statuses == [401, 401, 401, 429, 429]


def test_a_code_stays_over_a_restart_unless_others_can_read_it(tmp_path: Path) -> None:
    users = Users(tmp_path)
    code = users.code()
    assert Users(tmp_path).code() == code
    users.code_file.chmod(0o644)
    assert Users(tmp_path).code() != code
    add(tmp_path, "anna", "engineer")
    assert Users(tmp_path).code() == ""
    assert not Users(tmp_path).is_code("")
    assert not users.code_file.exists()


# --- the file of users ---------------------------------------------------------------------------------------------------

GOOD = of_password(PASSWORD).as_json()
DAMAGED = {
    "cut": lambda whole: whole[: len(whole) // 2],
    "empty": lambda whole: b"",
    "no JSON": lambda whole: b"anna:secret\n",
    "a list": lambda whole: b"[]",
    "other version": lambda whole: whole.replace(b'"v": 1', b'"v": 2'),
    "a role": lambda whole: whole.replace(b'"engineer"', b'"root"'),
    "a name": lambda whole: whole.replace(b'"anna"', b'"../anna"'),
    "no salt": lambda whole: whole.replace(GOOD["salt"].encode(), b""),
    "no base64": lambda whole: whole.replace(GOOD["key"].encode(), b"!!!"),
    "plain": lambda whole: whole.replace(b'"scrypt"', b'"plain"'),
    "cheap": lambda whole: whole.replace(b'"n": 32768', b'"n": 2'),
    "hours": lambda whole: whole.replace(b'"n": 32768', b'"n": 1099511627776'),
    "not UTF-8": lambda whole: b"\xff" + whole,
    "deep": lambda whole: b'{"v": 1, "users": ' + b"[" * 100_000,
    "far too large": lambda whole: whole + b" " * 300_000,
}


@pytest.mark.parametrize("how", DAMAGED)
async def test_a_damaged_file_lets_nobody_in(foreign: Site, how: str, caplog: pytest.LogCaptureFixture) -> None:
    """And says what to do; machines are read all the same, which is why the page is not refused as a whole."""
    browser = await foreign.browser_of("anna")
    file = foreign.users.file
    file.write_bytes(DAMAGED[how](file.read_bytes()))
    assert (await browser.get("/api/v1/plant")).status == 401
    answer = await browser.login("anna", PASSWORD)
    assert answer.status == 503
    assert "the log says what to do" in answer.data["hint"]
    assert str(file) not in answer.body.decode()
    assert (await browser.open())["setup"] is False
    assert caplog.text.count("take it from a backup; or delete it") == 1
    with pytest.raises(UsersError, match=r"is damaged \(.*\): take it from a backup; or delete it"):
        Users(foreign.data).all()


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o660, 0o602])
async def test_a_file_that_others_can_read_or_write(foreign: Site, mode: int) -> None:
    browser = await foreign.browser_of("anna")
    foreign.users.file.chmod(mode)
    with pytest.raises(UsersError, match=rf"mode {mode:04o}\): chmod 600 .*users.json, and set new passwords"):
        foreign.users.all()
    assert (await browser.get("/api/v1/plant")).status == 401
    assert (await browser.login("anna", PASSWORD)).status == 503
    foreign.users.file.chmod(0o600)
    assert (await foreign.browser().login("anna", PASSWORD)).status == 200


async def test_a_start_with_a_damaged_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    add(tmp_path / "data", "anna", "engineer")
    Users(tmp_path / "data").file.write_text("{")
    async with site(tmp_path, PLANT_NETWORK, users=False) as made:
        assert "nobody can log in" in caplog.text
        assert (await made.browser().get("/healthz")).status == 200
        assert not (made.data / "web" / "setup-code").exists()  # or whoever can damage it becomes engineer


def test_the_last_engineer_stays(tmp_path: Path) -> None:
    add(tmp_path, "anna", "engineer")
    add(tmp_path, "victor", "viewer")
    with pytest.raises(UsersError, match="last engineer"):
        Users(tmp_path).remove("anna")
    with pytest.raises(UsersError, match="no user 'otto'"):
        Users(tmp_path).remove("otto")
    with pytest.raises(UsersError, match="cannot be the name"):
        add(tmp_path, "../x", "viewer")


# --- passwords -----------------------------------------------------------------------------------------------------------


def test_scrypt_is_that_of_the_standard() -> None:
    """RFC 7914, 12: the third test vector, of which we keep the first 32 bytes."""
    key = scrypt("pleaseletmein", b"SodiumChloride", 16384, 8, 1)
    assert key.hex() == "7023bdcb3afd7348461c06cd81fd38ebfda8fbba904f8e3ea9b543f6545da1f2"


def test_what_is_kept_of_a_password() -> None:
    first, second = hashed(PASSWORD), hashed(PASSWORD)
    assert first != second
    assert (first.n, first.r, first.p, len(first.salt)) == (2**15, 8, 1, 16)
    assert PASSWORD not in json.dumps(first.as_json())
    assert Hashed.from_json(json.loads(json.dumps(first.as_json()))) == first
    assert first.matches(PASSWORD)
    assert not first.matches(PASSWORD + " ")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (
            "m\u1ead t kh\u1ea9u d\u00e0i",
            "ma\u0323\u0302 t kha\u0302\u0309u da\u0300i",
        ),  # Vietnamese, as two keyboards compose it
        (
            "m\u1ead t kh\u1ea9u d\u00e0i",
            "m\u0061\u0302\u0323 t kh\u00e2\u0309u d\u0061\u0300i",
        ),  # in any order of marks
        ("\u212bngstr\u00f6m \u2126", "\u00c5ngstro\u0308m \u03a9"),  # singletons: UAX #15, figure 3
        ("two\u00a0words\u3000here", "two words here"),  # RFC 8265, 4.2.2: other spaces are a space
    ],
)
def test_a_password_is_the_same_however_its_letters_are_composed(one: str, other: str) -> None:
    """RFC 8265, OpaqueString: set on one computer, typed on another."""
    assert hashed(one).matches(other)
    assert hashed(other).matches(one)


@pytest.mark.parametrize("other", ["Correct Horse", "correct horse ", "correct h\u00f6rse", "\uff43orrect horse"])
def test_a_password_is_not_folded_any_further(other: str) -> None:
    """RFC 8265, 4.2.2: neither case nor width is mapped, and nothing is trimmed."""
    assert not hashed("correct horse").matches(other)


def test_the_length_of_a_password_is_that_of_what_is_kept() -> None:
    assert "10 characters" in wrong_with("ma\u0323\u0302t kha\u0302\u0309u")  # 13 code points, 8 letters
    assert not wrong_with("m\u1eadt kh\u1ea9u d\u00e0i")


async def test_a_password_set_with_composed_letters_opens_with_others(foreign: Site) -> None:
    here = await foreign.browser_of("anna")
    composed, apart = "m\u1eadt kh\u1ea9u c\u1ee7a t\u00f4i", "ma\u0323\u0302t kha\u0302\u0309u cu\u0309a to\u0302i"
    answer = await here.post("/api/v1/password", {"current": PASSWORD, "password": composed})
    assert answer.status == 200
    assert (await foreign.browser().login("anna", apart)).status == 200
    assert (await foreign.browser().login("anna", composed)).status == 200


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=30))
def test_what_can_be_a_password(password: str) -> None:
    if len(password) < 10 or len(set(password)) < 4:
        assert wrong_with(password)


async def test_an_unknown_user_costs_the_same(foreign: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """One scrypt with the same parameters each: nobody learns from the time whether there is such a user."""
    asked = []

    def counted(password: str, salt: bytes, n: int, r: int, p: int) -> bytes:
        asked.append((n, r, p))
        return scrypt(password, salt, n, r, p)

    monkeypatch.setattr(passwords, "scrypt", counted)
    await foreign.browser().login("anna", "a wrong sentence")
    await foreign.browser().login("nobody", "a wrong sentence")
    foreign.clock.at += 1000
    await foreign.browser().login("anna", PASSWORD)
    assert asked == [(2**15, 8, 1)] * 3


async def test_an_unknown_user_is_wrong_whatever_scrypt_says(foreign: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Hashed, "matches", lambda *_: True)
    assert (await foreign.browser().login("nobody", PASSWORD)).status == 401
    assert (await foreign.browser().login("anna", PASSWORD)).status == 200


async def test_two_at_once_and_few_who_wait(foreign: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    running, most, lock, go = 0, 0, threading.Lock(), threading.Event()

    def slow(*_: object) -> bytes:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        go.wait(10)
        with lock:
            running -= 1
        return b""

    monkeypatch.setattr(passwords, "scrypt", slow)
    browsers = [foreign.browser(source=f"127.0.0.{i + 1}") for i in range(12)]
    for browser in browsers:
        await browser.open()
    monkeypatch.setattr("gateway.web.access.backoff.is_here", lambda _: False)
    monkeypatch.setattr(BackOff, "wait", lambda *_: 0.0)
    tasks = [asyncio.create_task(browser.login("anna", "a wrong sentence")) for browser in browsers]
    while sum(task.done() for task in tasks) < 4:
        await asyncio.sleep(0.01)
    assert (await foreign.browser().get("/healthz")).status == 200  # the event loop is free
    go.set()
    statuses = sorted([(await task).status for task in tasks])
    assert most == 2
    assert statuses == [401] * 8 + [503] * 4


# --- back-off ------------------------------------------------------------------------------------------------------------


def guess(back_off: BackOff, user: str, address: str, now: float) -> float:
    """One wrong password: what the next one has to wait."""
    back_off.begin(user, address, now)
    return back_off.wait(user, address, now)


def test_pauses_grow_to_five_minutes() -> None:
    back_off, now, pauses = BackOff(), 0.0, []
    for _ in range(13):
        pauses.append(guess(back_off, "anna", "10.0.0.1", now))
        now += pauses[-1]
        assert back_off.wait("anna", "10.0.0.1", now) == 0
    assert pauses == [0, 0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]


def test_who_guesses_locks_out_nobody_else() -> None:
    back_off = BackOff()
    for i in range(200):
        guess(back_off, "anna", "10.0.0.66", i * 400.0)
    now = 200 * 400.0
    assert back_off.wait("anna", "10.0.0.66", now - 399) > 0
    assert back_off.wait("victor", "10.0.0.66", now - 399) > 0
    assert back_off.wait("victor", "10.0.0.7", now) == 0


def test_guessing_from_many_addresses() -> None:
    """Then the user is slowed down, too: but not on this machine, nor where that user has logged in before."""
    back_off = BackOff()
    back_off.begin("anna", "10.0.0.7", 0.0)
    back_off.right("anna", "10.0.0.7")
    for i in range(40):
        guess(back_off, "anna", f"10.1.{i}.1", 1.0)
    assert back_off.wait("anna", "10.9.9.9", 1.0) == 5  # or anybody could keep anna out
    assert back_off.wait("victor", "10.9.9.9", 1.0) == 0
    assert back_off.wait("anna", "10.0.0.7", 1.0) == 0
    assert back_off.wait("anna", "127.0.0.1", 1.0) == 0


def test_this_machine_waits_seconds_only() -> None:
    back_off = BackOff()
    for i in range(50):
        guess(back_off, "anna", "127.0.0.1", i * 10.0)
    assert back_off.wait("anna", "127.0.0.1", 490.0) == 5


def test_a_right_password_forgives_that_user_only() -> None:
    """Or somebody with an account of his own could guess at others without end."""
    back_off, now, pauses = BackOff(), 0.0, []
    for _ in range(6):
        pauses.append(guess(back_off, "anna", "10.0.0.1", now))
        now += pauses[-1]
        back_off.begin("otto", "10.0.0.1", now)
        back_off.right("otto", "10.0.0.1")
    assert pauses == [0, 0, 1, 2, 4, 8]


def test_an_account_of_ones_own_does_not_pay_for_guessing_at_many() -> None:
    back_off, now, pauses = BackOff(), 0.0, []
    for i in range(6):
        pauses.append(guess(back_off, f"user{i}", "10.0.0.1", now))
        now += pauses[-1]
        back_off.begin("otto", "10.0.0.1", now)
        back_off.right("otto", "10.0.0.1")
    assert pauses == [0, 0, 1, 2, 4, 8]


def test_many_at_once_are_not_many_for_the_price_of_one() -> None:
    back_off = BackOff()
    allowed = 0
    for _ in range(50):
        if back_off.wait("anna", "10.0.0.1", 0.0) == 0:
            back_off.begin("anna", "10.0.0.1", 0.0)
            allowed += 1
    assert allowed == 3


def test_an_ipv6_client_has_many_addresses() -> None:
    back_off = BackOff()
    for i in range(10):
        guess(back_off, "anna", f"2001:db8::{i:x}", 0.0)
    assert back_off.wait("anna", "2001:db8::ffff", 0.0) > 0
    assert back_off.wait("anna", "2001:db8:0:1::1", 0.0) == 0
    assert guess(BackOff(), "anna", "::ffff:10.0.0.1", 0.0) == 0


def test_tables_are_bounded() -> None:
    back_off = BackOff()
    for i in range(20_000):
        back_off.begin(f"user{i}", f"10.{i >> 16}.{i >> 8 & 255}.{i & 255}", 0.0)
        back_off.right(f"known{i}", f"10.{i >> 16}.{i >> 8 & 255}.{i & 255}")
    assert max(len(back_off.addresses), len(back_off.pairs), len(back_off.users)) <= 5000
    assert len(back_off._known) <= 2000


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["10.0.0.1", "10.0.0.2", "::1"]), st.booleans())))
def test_a_pause_is_never_longer_than_five_minutes(attempts: list[tuple[str, str, bool]]) -> None:
    back_off, now = BackOff(), 0.0
    for user, address, right in attempts:
        wait = back_off.wait(user, address, now)
        assert 0 <= wait <= 300
        now += wait
        assert back_off.wait(user, address, now) == 0
        back_off.begin(user, address, now)
        if right:
            back_off.right(user, address)


async def test_too_many_wrong_passwords(foreign: Site) -> None:
    browser = foreign.browser()
    statuses = []
    for _ in range(10):
        answer = await browser.login("anna", "a wrong sentence")
        statuses.append(answer.status)
    assert statuses == [401] * 3 + [429] * 7
    assert answer.headers["retry-after"] == "1"
    assert (await browser.login("anna", PASSWORD)).status == 429  # the right one as well, or it could be guessed
    other = foreign.browser(source="127.0.0.77")  # another address of the same machine is no way around
    assert (await other.login("victor", PASSWORD)).status == 429
    foreign.clock.at += 1
    assert (await browser.login("anna", PASSWORD)).status == 200


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 30)), max_size=60))
def test_ten_right_passwords_a_minute(logins: list[tuple[str, float]]) -> None:
    """Each of them makes a session and notes; of somebody else it takes nothing."""
    back_off, now = BackOff(), 0.0
    let_in: dict[str, list[float]] = {"a": [], "b": [], "c": []}
    for user, pause in logins:
        now += pause
        if wait := back_off.often(user, now):
            assert len(let_in[user]) >= 10
            assert wait <= 60
        else:
            let_in[user].append(now)
    for times in let_in.values():
        assert all(later - sooner >= 60 for sooner, later in zip(times, times[10:], strict=False))


@pytest.mark.parametrize("address", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"])
def test_this_machine_is_one_address(address: str) -> None:
    """It has 16 million of them (RFC 1122, 3.2.1.3), and anybody on it may take any."""
    back_off = BackOff()
    for i in range(5):
        back_off.begin("anna", f"127.0.0.{i + 1}", 0.0)
    assert 0 < back_off.wait("victor", address, 0.0) <= 5


async def test_somebody_who_logs_in_over_and_over(foreign: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Notes and events of others are not washed out by it."""
    monkeypatch.setattr(passwords, "scrypt", lambda *_: foreign.users.all()["victor"].password.key)
    monkeypatch.setattr(Hashed, "matches", lambda *_: True)
    browser = foreign.browser()
    statuses = [(await browser.login("victor", PASSWORD)).status for _ in range(12)]
    assert statuses == [200] * 10 + [429] * 2
    assert (await foreign.browser().login("anna", PASSWORD)).status == 200
    for _ in range(30):
        foreign.clock.at += 10
        await browser.login("victor", PASSWORD)
        await browser.post("/api/v1/logout")
    foreign.clock.at += 3600
    await browser.login("victor", PASSWORD)
    await foreign.server.doors.audit.close()
    mine = [entry for entry in verify(foreign.data / "web").entries if entry["who"] == "victor"]
    assert sum(entry["what"] == "login" for entry in mine) == 21
    assert mine[-1]["more"] == 15  # 10 went in at once, and 25 a minute later: 20 of them were noted
    assert len(foreign.events) < 50


async def test_what_is_typed_instead_of_a_name_is_shown_to_nobody(
    foreign: Site, caplog: pytest.LogCaptureFixture
) -> None:
    """Everybody has typed a password there once."""
    await foreign.browser().login("my-secret-sentence", "")
    await foreign.server.doors.audit.close()
    (event,) = foreign.events
    assert event.machine == "an unknown user"
    assert "secret-sentence" not in f"{event} {caplog.text} {(foreign.data / 'web' / 'audit.jsonl').read_text()}"


async def test_who_guesses_first_does_not_hide_who_guesses_then(tmp_path: Path) -> None:
    async with site(tmp_path, PROXIED) as made:
        browser = made.browser(host="edge-01.lan")
        await browser.open()
        for _ in range(200):
            made.clock.at += 1
            made.server.doors._failed(Visitor("10.0.0.66", True), "anna")
        await browser.login("anna", "a wrong sentence", X_Forwarded_For="10.0.0.7")
        await made.server.doors.audit.close()
        entries = verify(made.data / "web").entries
        assert (len(entries), entries[-1]["address"]) == (21, "10.0.0.7")


async def test_what_a_role_may_not_is_noted_and_not_without_end(foreign: Site) -> None:
    victor = await foreign.browser_of("victor")
    for _ in range(30):
        assert (await victor.post("/api/v1/config/reload")).status == 403
    await foreign.server.doors.audit.close()
    entries = verify(foreign.data / "web").entries
    assert [(entry["who"], entry["what"], entry["status"]) for entry in entries] == [("victor", "reload", 403)] * 20


# --- a password is made while somebody is taken out ------------------------------------------------------------------


@pytest.mark.parametrize("how", ["removed", "another password"])
async def test_whoever_is_taken_out_does_not_come_back_by_a_new_password(
    foreign: Site, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """To make one takes a while; what happens to the user in it counts."""
    otto = foreign.browser()
    add(foreign.data, "otto", "engineer")
    assert (await otto.login("otto", PASSWORD)).status == 200
    changed = of_password("a third long sentence")

    def meanwhile(_: str) -> Hashed:
        if how == "removed":
            foreign.users.remove("otto")
        else:
            add(foreign.data, "otto", "viewer", "a third long sentence")
        return of_password("another long sentence")

    monkeypatch.setattr(passwords, "hashed", meanwhile)
    answer = await otto.post("/api/v1/password", {"current": PASSWORD, "password": "another long sentence"})
    assert (answer.status, answer.data["hint"]) == (409, "log in")
    there = foreign.users.all().get("otto")
    assert there is None if how == "removed" else (there is not None and there.password == changed)
    assert (await otto.get("/api/v1/plant")).status == 401


async def test_a_new_password_brings_no_role_back(foreign: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    add(foreign.data, "otto", "engineer")
    otto = await foreign.browser_of("otto")

    def meanwhile(_: str) -> Hashed:
        add(foreign.data, "otto", "viewer")
        return of_password("another long sentence")

    monkeypatch.setattr(passwords, "hashed", meanwhile)
    answer = await otto.post("/api/v1/password", {"current": PASSWORD, "password": "another long sentence"})
    assert (answer.status, answer.data["role"]) == (200, "viewer")
    assert foreign.users.all()["otto"].role == "viewer"


async def test_the_code_is_worth_nothing_once_there_is_somebody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with site(tmp_path, PLANT_NETWORK, users=False) as made:
        code, browser = made.users.code(), made.browser()
        await browser.open()

        def meanwhile(_: str) -> Hashed:
            add(made.data, "anna", "engineer")
            return of_password("another long sentence")

        monkeypatch.setattr(passwords, "hashed", meanwhile)
        given = {"code": code, "user": "anna", "password": "another long sentence"}
        assert (await browser.post("/api/v1/password", given)).status == 409
        assert made.users.all()["anna"].password == of_password(PASSWORD)


# --- certificates --------------------------------------------------------------------------------------------------------


class Authority:
    """Of the plant, for people's laptops."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.name = folder, x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.file = folder / f"{name}.pem"
        made = self._builder(self.name, self.key).add_extension(x509.BasicConstraints(True, None), critical=True)
        self.file.write_bytes(made.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
        )

    def client(self, *names: str, usage: x509.ObjectIdentifier = ExtendedKeyUsageOID.CLIENT_AUTH) -> ssl.SSLContext:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name) for name in names])
        made = self._builder(subject, key).add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        file = self.folder / "client.pem"
        pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
        file.write_bytes(
            made.sign(self.key, hashes.SHA256()).public_bytes(pem)
            + key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain)
        )
        tls = trusting()
        tls.load_cert_chain(file)
        return tls


WITH_CA = (
    '{listen: "0.0.0.0:0", login: required, client_ca: plant.pem, certificates: {laptop: engineer, screen: viewer}}'
)


@pytest.mark.parametrize(
    ("names", "user", "role"),
    [
        (["laptop"], "laptop", "engineer"),
        (["screen"], "screen", "viewer"),
        (["somebody"], "somebody", "viewer"),
        ([], None, None),
        (["screen", "laptop"], None, None),  # which of them is it?
        (["lap\ntop"], None, None),
    ],
)
async def test_client_certificates(tmp_path: Path, names: list[str], user: str | None, role: str | None) -> None:
    authority = Authority(tmp_path, "plant")
    async with site(tmp_path, WITH_CA) as made:
        browser = Browser(made.server.port, authority.client(*names))
        session = await browser.open()
        assert (session["user"], session["role"]) == (user, role)
        assert session["login"] == ("certificate" if user else "password")
        expected = {"engineer": 503, "viewer": 403, None: 401}[role]
        answer = await browser.post("/api/v1/config/reload")
        assert answer.status == expected  # 503: this process has nothing to reload
        assert (await browser.post("/api/v1/config/reload", Origin="https://evil.example")).status == 403
        assert (await made.browser().open())["role"] is None
        assert (await made.browser().login("anna", PASSWORD)).status == 200


async def test_a_certificate_is_noted_once_and_as_one(tmp_path: Path) -> None:
    """`anna` with a certificate and `anna` with a password may be two people."""
    tls = Authority(tmp_path, "plant").client("laptop")
    async with site(tmp_path, WITH_CA) as made:
        browser = Browser(made.server.port, tls)
        for _ in range(3):
            await browser.open()
        await browser.post("/api/v1/config/reload")
        made.clock.at += 3600
        await browser.open()
        await made.server.doors.audit.close()
        entries = verify(made.data / "web").entries
    assert {entry["who"] for entry in entries} == {"certificate laptop"}
    assert [entry["what"] for entry in entries] == ["visit", "reload", "visit"]


@pytest.mark.parametrize("which", ["another authority", "of a server"])
async def test_certificates_that_are_not_for_this(tmp_path: Path, which: str) -> None:
    plant = Authority(tmp_path, "plant")
    other = Authority(tmp_path, "other")
    if which == "another authority":
        tls = other.client("laptop")
    else:
        tls = plant.client("laptop", usage=ExtendedKeyUsageOID.SERVER_AUTH)
    async with site(tmp_path, WITH_CA) as made:
        with pytest.raises((ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)):
            await Browser(made.server.port, tls).open()


async def test_without_an_authority_a_certificate_says_nothing(tmp_path: Path) -> None:
    tls = Authority(tmp_path, "plant").client("laptop")
    async with site(tmp_path, PLANT_NETWORK) as made:
        assert (await Browser(made.server.port, tls).open())["role"] is None


async def test_our_own_certificate_is_made_once(tmp_path: Path) -> None:
    async with site(tmp_path, PLANT_NETWORK) as made:
        first = fingerprint(made.data / "web" / "page.pem")
        assert (made.data / "web" / "page.key").stat().st_mode & 0o777 == 0o600
        checked = ssl.create_default_context(cafile=str(made.data / "web" / "page.pem"))
        for name in ("localhost", "127.0.0.1"):  # its names fit, for whoever trusts it
            _, writer = await asyncio.open_connection("127.0.0.1", made.server.port, ssl=checked, server_hostname=name)
            writer.close()
    async with site(tmp_path, PLANT_NETWORK) as made:
        assert fingerprint(made.data / "web" / "page.pem") == first


async def served_with(port: int) -> bytes:
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusting())
    shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return bytes(shown)


async def test_a_certificate_is_renewed_while_the_page_is_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(server, "LOOK_AGAIN", 0.0)
    cert, key = tmp_path / "page.pem", tmp_path / "page.key"

    def put(pair: tuple[bytes, bytes]) -> bytes:
        for file, content in ((key, pair[0]), (cert, pair[1])):
            (tmp_path / "new").write_bytes(content)
            (tmp_path / "new").replace(file)
        return ssl.PEM_cert_to_DER_cert(pair[1].decode())

    first = put(make(["edge-01"]))
    web = '{listen: "0.0.0.0:0", login: required, cert: page.pem, key: page.key}'
    async with site(tmp_path, web) as made:
        assert await served_with(made.server.port) == first
        second = put(make(["edge-01"]))
        assert await served_with(made.server.port) == second
        put((make(["edge-01"])[0], make(["edge-01"])[1]))  # another key
        for _ in range(3):
            assert await served_with(made.server.port) == second
        cert.unlink()
        assert await served_with(made.server.port) == second
        third = put(make(["edge-01"]))
        assert await served_with(made.server.port) == third
    assert caplog.text.count("the page keeps the certificate it has") == 2
    assert caplog.text.count("values mismatch") == 1


async def test_a_private_key_that_others_can_read(tmp_path: Path) -> None:
    async with site(tmp_path, PLANT_NETWORK) as made:
        key = made.data / "web" / "page.key"
    key.chmod(0o644)
    with pytest.raises(GatewayError, match="chmod 600"):
        async with site(tmp_path, PLANT_NETWORK):
            pass


def test_the_fingerprint_is_that_of_openssl(tmp_path: Path) -> None:
    key, cert = make(["edge-01", "10.0.0.1", "::1"])
    (tmp_path / "c.pem").write_bytes(cert)
    loaded = x509.load_pem_x509_certificate(cert)
    assert fingerprint(tmp_path / "c.pem").replace(":", "").lower() == loaded.fingerprint(hashes.SHA256()).hex()
    assert b"PRIVATE KEY" in key


@pytest.mark.parametrize(
    ("cert", "key", "says"),
    [
        ("none.pem", "own.key", "no such file"),
        ("own.pem", "other.key", "values mismatch"),
        ("own.key", "own.key", "cannot be used"),
    ],
)
def test_certificates_that_do_not_fit(tmp_path: Path, cert: str, key: str, says: str) -> None:
    for name in ("own", "other"):
        made = make([name])
        (tmp_path / f"{name}.key").write_bytes(made[0])
        (tmp_path / f"{name}.pem").write_bytes(made[1])
    with pytest.raises(GatewayError, match=says):
        context(Pair(tmp_path / cert, tmp_path / key), None)


def test_tls_is_of_today(tmp_path: Path) -> None:
    """BSI TR-02102-2: TLS 1.2 at least, forward secrecy, authenticated encryption."""
    key, cert = make(["own"])
    (tmp_path / "own.pem").write_bytes(cert)
    (tmp_path / "own.key").write_bytes(key)
    made = context(Pair(tmp_path / "own.pem", tmp_path / "own.key"), None)
    assert made.minimum_version is ssl.TLSVersion.TLSv1_2
    ciphers = made.get_ciphers()
    assert len(ciphers) >= 6
    assert all(each["aead"] for each in ciphers)
    assert all(each["name"].startswith(("ECDHE-", "TLS_")) for each in ciphers)


def test_a_key_with_a_passphrase_is_not_asked_for_at_a_terminal(tmp_path: Path) -> None:
    key, cert = make(["own"])
    locked = serialization.load_pem_private_key(key, None).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"secret")
    )
    (tmp_path / "own.pem").write_bytes(cert)
    (tmp_path / "own.key").write_bytes(locked)
    with pytest.raises(GatewayError, match="has no passphrase"):
        context(Pair(tmp_path / "own.pem", tmp_path / "own.key"), None)


def test_names_of_this_machine() -> None:
    names = names_of_this_machine("0.0.0.0", ["Edge-01.lan"])
    assert {"edge-01.lan", "localhost", "127.0.0.1"} <= set(names)
    assert names_of_this_machine("10.0.0.7", [])[-1] == "10.0.0.7"


# --- tokens, proxies -----------------------------------------------------------------------------------------------------


async def test_a_token_for_metrics(tmp_path: Path) -> None:
    web = '{listen: "0.0.0.0:0", login: required, metrics_token: {secret: scrape}}'
    token = "0123456789abcdef"
    async with site(tmp_path, web, env={"GATEWAY_SECRET_SCRAPE": token}) as made:
        browser = made.browser()
        for path in ("/readyz", "/metrics"):
            assert (await browser.get(path)).status == 401
            for wrong in ("Bearer wrong-wrong-wrong", f"Basic {token}", token, "Bearer", f"Bearer {token}x", "Bearer "):
                assert (await browser.get(path, Authorization=wrong)).status == 401
            assert (await browser.get(path, Authorization=f"Bearer {token}")).status != 401
        assert (await browser.get("/healthz")).status == 200
        for path in ("/api/v1/status", "/api/v1/config", "/api/v1/stream"):
            assert (await browser.get(path, Authorization=f"Bearer {token}")).status == 401
        assert (await browser.post("/metrics", Authorization=f"Bearer {token}")).status in (401, 403)


async def test_without_a_token_none_is_right(foreign: Site) -> None:
    for said in ("Bearer", "Bearer ", "Bearer None"):
        assert (await foreign.browser().get("/metrics", Authorization=said)).status == 401


PROXIED = '{listen: "127.0.0.1:0", login: required, hosts: [edge-01.lan]}'


async def test_behind_a_proxy(tmp_path: Path) -> None:
    """It speaks TLS with the browser, and says so: the cookie is as if we did."""
    async with site(tmp_path, PROXIED) as made:
        browser = made.browser(host="edge-01.lan")
        said = {"X_Forwarded_Proto": "https", "X_Forwarded_For": "10.0.0.7", "Origin": "https://edge-01.lan"}
        (cookie,) = (await browser.get("/api/v1/session", **said)).cookies
        assert cookie.startswith("__Host-gateway=")
        assert "secure" in cookie.lower()
        assert (await browser.post("/api/v1/login", {"user": "anna", "password": PASSWORD}, **said)).status == 200
        assert (await browser.post("/api/v1/config/reload", **said)).status == 503
        assert (await browser.post("/api/v1/config/reload", **said | {"Origin": "http://edge-01.lan"})).status == 403
        await made.server.doors.audit.close()
        assert verify(made.data / "web").entries[0]["address"] == "10.0.0.7"


async def test_clients_of_a_proxy_do_not_lock_out_each_other(tmp_path: Path) -> None:
    async with site(tmp_path, PROXIED) as made:
        browser = made.browser(host="edge-01.lan")
        for _ in range(6):
            bad = await browser.login("anna", "a wrong sentence", X_Forwarded_For="6.6.6.6, 10.0.0.66")
        assert bad.status == 429
        # What the client wrote itself stands before what the proxy saw, and changes nothing.
        assert (await browser.login("anna", PASSWORD, X_Forwarded_For="7.7.7.7, 10.0.0.66")).status == 429
        assert (await browser.login("anna", PASSWORD, X_Forwarded_For="10.0.0.7")).status == 200


@pytest.mark.parametrize("said", ["127.0.0.9", "::1", "::ffff:127.0.0.1"])
async def test_nobody_comes_to_a_proxy_from_this_machine(tmp_path: Path, said: str) -> None:
    """What says so is not believed: this machine waits less than others."""
    async with site(tmp_path, PROXIED) as made:
        await made.browser(host="edge-01.lan").login("anna", "a wrong sentence", X_Forwarded_For=said)
        await made.server.doors.audit.close()
        assert verify(made.data / "web").entries[0]["address"] == "127.0.0.1"


@pytest.mark.parametrize("web", [PLANT_NETWORK, BOX_WITH_LOGIN])
async def test_where_there_is_no_proxy_nobody_is_one(tmp_path: Path, web: str) -> None:
    async with site(tmp_path, web) as made:
        browser = made.browser()
        for i in range(6):
            answer = await browser.login("anna", "a wrong sentence", X_Forwarded_For=f"10.0.0.{i}")
        assert answer.status == 429
        (cookie,) = (await made.browser().get("/api/v1/session", X_Forwarded_Proto="https")).cookies
        assert cookie.startswith("__Host-" if made.tls else "gateway=")


@pytest.mark.parametrize(
    "header",
    [
        {"X_Forwarded_For": "10.0.0.7"}, {"X_Forwarded_Proto": "https"}, {"Forwarded": "for=10.0.0.7"}, {"Via": "1.1 caddy"},
        {"X_Real_IP": "10.0.0.7"},
    ],
)  # fmt: skip
async def test_without_a_login_a_proxy_is_refused(tmp_path: Path, header: dict[str, str]) -> None:
    """It asks from this machine, by the name of this machine; everybody behind it would be engineer."""
    async with site(tmp_path, THIS_MACHINE) as made:
        browser = made.browser()
        assert (await browser.get("/api/v1/plant")).status == 200
        answer = await browser.get("/api/v1/plant", **header)
        assert answer.status == 403
        assert "login: required" in answer.data["hint"]


async def test_two_writers_of_users_lose_nobody(tmp_path: Path) -> None:
    names = [f"user{i}" for i in range(20)]
    await asyncio.gather(*(asyncio.to_thread(add, tmp_path, name, "engineer") for name in names))
    assert set(Users(tmp_path).all()) == set(names)


# --- what is noted -------------------------------------------------------------------------------------------------------


async def test_what_is_done_is_noted(foreign: Site) -> None:
    browser = foreign.browser()
    await browser.login("anna", "a wrong sentence")
    await browser.login("anna", PASSWORD)
    await browser.post("/api/v1/config/check", {"text": "version: 1"})
    await browser.post("/api/v1/config/reload")
    await browser.post("/api/v1/config/rollback", {"version": 1})
    await browser.post("/api/v1/password", {"current": PASSWORD, "password": "another long sentence"})
    await browser.post("/api/v1/logout")
    victor = await foreign.browser_of("victor")
    await victor.post("/api/v1/config/reload")  # is refused
    await foreign.server.doors.audit.close()
    verdict = verify(foreign.data / "web")
    assert verdict.problems == ()
    assert [(entry["who"], entry["what"]) for entry in verdict.entries] == [
        ("anna", "failed login"),
        ("anna", "login"),
        ("anna", "config check"),
        ("anna", "reload"),
        ("anna", "rollback"),
        ("anna", "password set"),
        ("anna", "logout"),
        ("victor", "reload"),
    ]
    assert verdict.entries[-1]["status"] == 403
    assert {entry["address"] for entry in verdict.entries} == {"127.0.0.1"}
    whole = (foreign.data / "web" / "audit.jsonl").read_text()
    assert "sentence" not in whole
    assert [event.state for event in foreign.events] == ["refused", "logged-in", "password-set", "logged-out"]


async def test_guessing_does_not_fill_the_audit(foreign: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "scrypt", lambda *_: b"")
    browser = foreign.browser()
    for i in range(60):
        foreign.clock.at += 5
        assert (await browser.login(f"user\n{i}\x1b[2J", "a wrong sentence")).status == 401
    foreign.clock.at += 600
    await browser.login("anna", "a wrong sentence")
    await foreign.server.doors.audit.close()
    entries = verify(foreign.data / "web").entries
    assert len(entries) == 21
    assert entries[-1]["more"] == 40
    assert {entry["who"] for entry in entries[:-1]} == {"an unknown user"}
    assert entries[-1]["who"] == "anna"
    assert all(event.text.isprintable() for event in foreign.events)


# --- the configuration ---------------------------------------------------------------------------------------------------

WRONG = {
    '{listen: "0.0.0.0:8443"}': "1:7: error: web.listen: whoever reaches 0.0.0.0 could change this gateway",
    '{listen: "10.0.0.7:8443", cert: a.pem, key: a.key}': "add `login: required`",
    '{listen: "[::]:8443", login: loopback-free}': "add `login: required`",
    '{listen: "127.0.0.1:8080", hosts: [edge-01.lan]}': "everybody would be engineer",
    '{listen: "127.0.0.1:8080", client_ca: ca.pem}': "client certificates need TLS",
    "{login: required, certificates: {a: viewer}}": "add `client_ca`",
    "{cert: a.pem}": "needs both `cert` and `key`",
    "{key: a.key}": "needs both `cert` and `key`",
    '{listen: "::1:8080"}': r"write \[::1\]:8080",
    '{listen: "edge-01.lan:8080"}': "is not an address of this machine",
    '{listen: "127.0.0.1:99999"}': "is not an address with a port",
    "{login: never}": "known: loopback-free, required",
    '{login: required, hosts: ["https://edge"]}': "is not a name or an address",
    "{login: required, session: 10s}": "too small",
    "{metrics_token: short}": "can be guessed",
}


@pytest.mark.parametrize("web", WRONG)
def test_a_configuration_that_would_open_too_much(tmp_path: Path, web: str) -> None:
    (tmp_path / "gateway.yaml").write_text(f"web: {web}\n")
    with pytest.raises(ConfigErrors, match=WRONG[web]) as raised:
        load(tmp_path / "gateway.yaml", protocols(), env={})
    assert "short" not in str(raised.value).replace("too short", "")


@pytest.mark.parametrize(
    ("web", "tls", "login"),
    [
        ("{}", False, "loopback-free"),
        ('{listen: "[::1]:0"}', False, "loopback-free"),
        ('{listen: "127.0.0.2:0"}', False, "loopback-free"),
        ('{listen: "localhost:0", login: required}', False, "required"),
        ("{cert: a.pem, key: a.key}", True, "loopback-free"),
        ('{listen: "[fd00::1]:443", login: required}', True, "required"),
    ],
)
def test_configurations_that_are_fine(tmp_path: Path, web: str, tls: bool, login: str) -> None:
    (tmp_path / "gateway.yaml").write_text(f"web: {web}\n")
    settings = load(tmp_path / "gateway.yaml", protocols(), env={}).settings.web
    assert settings is not None
    assert (settings.tls, settings.login) == (tls, login)


def test_what_the_readme_shows_can_be_loaded(tmp_path: Path) -> None:
    readme = Path(gateway.web.__file__).with_name("README.md").read_text(encoding="utf-8")
    shown = re.findall(r"```yaml\n(.*?)```", readme, re.S)
    assert len(shown) == 2
    for text in shown:
        (tmp_path / "gateway.yaml").write_text(text)
        settings = load(tmp_path / "gateway.yaml", protocols(), env={}).settings.web
        assert settings is not None
        assert settings.login == "required"


async def test_a_login_on_this_machine(tmp_path: Path) -> None:
    async with site(tmp_path, BOX_WITH_LOGIN) as made:
        browser = made.browser()
        assert (await browser.get("/api/v1/plant")).status == 401
        assert (await browser.login("anna", PASSWORD)).status == 200
        assert set(browser.cookies) == {"gateway"}
        assert (await browser.get("/api/v1/plant")).status == 200


def test_sessions_are_bounded_and_kept_as_hashes() -> None:
    sessions = Sessions(3600.0)
    made = of_password(PASSWORD)
    first = sessions.begin("anna", "viewer", made, 0.0)
    tokens = [sessions.begin("anna", "viewer", made, 1.0 + i / 1000) for i in range(1000)]
    assert len(sessions) == 1000
    assert sessions.find(first, 2.0) is None
    assert sessions.find(tokens[-1], 3.0) is not None
    assert not any(token.encode() in repr(sessions).encode() for token in tokens)
    assert len(set(tokens)) == 1000


async def test_scrypt_takes_a_while_and_not_the_loop() -> None:
    """Some 0.05 to 1 s on any computer: less would be guessed too fast, more would keep people waiting."""
    began = time.monotonic()
    await asyncio.to_thread(hashed, PASSWORD)
    assert 0.01 < time.monotonic() - began < 5
