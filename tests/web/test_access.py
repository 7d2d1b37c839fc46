"""Who may see and do what: each route for each kind of visitor, over real TLS; and everything a stranger may try."""

import asyncio
import contextlib
import json
import socket
import ssl
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.web import guard, server
from gateway.web.access import rules
from gateway.web.access.doors import _cookie
from gateway.web.access.sessions import Sessions
from gateway.web.openapi import ENDPOINTS
from web.browser import Browser, trusting
from web.doors import PASSWORD, PLANT_NETWORK, THIS_MACHINE, Site, site

# Written by hand: who may ask what. A route that is not here fails the test below.
ROUTES = {
    ("GET", "/"): None,
    ("GET", "/flow"): None,
    ("GET", "/kpi"): None,
    ("GET", "/config"): None,
    ("GET", "/events"): None,
    ("GET", "/machines/press-07"): None,
    ("GET", "/static/icon.svg"): None,
    ("GET", "/healthz"): None,
    ("GET", "/api/v1/session"): None,
    ("GET", "/api/v1/openapi.json"): None,
    ("POST", "/api/v1/login"): None,
    ("POST", "/api/v1/logout"): None,
    ("POST", "/api/v1/password"): None,
    ("GET", "/readyz"): "viewer",
    ("GET", "/metrics"): "viewer",
    ("GET", "/api/v1/status"): "viewer",
    ("GET", "/api/v1/stream"): "viewer",
    ("GET", "/api/v1/plant"): "viewer",
    ("GET", "/api/v1/strips"): "viewer",
    ("GET", "/api/v1/machines/press-07"): "viewer",
    ("GET", "/api/v1/history"): "viewer",
    ("GET", "/api/v1/flow"): "viewer",
    ("GET", "/api/v1/kpi"): "viewer",
    ("GET", "/api/v1/events"): "viewer",
    ("GET", "/api/v1/faults"): "viewer",
    ("GET", "/api/v1/config"): "viewer",
    ("GET", "/nothing/of/the/kind"): "viewer",
    ("POST", "/api/v1/config/check"): "engineer",
    ("POST", "/api/v1/config/reload"): "engineer",
    ("POST", "/api/v1/config/rollback"): "engineer",
    ("POST", "/nothing/of/the/kind"): "engineer",
    ("PUT", "/api/v1/status"): "engineer",
    ("DELETE", "/api/v1/session"): "engineer",
    ("PATCH", "/"): "engineer",
}
REFUSED = (401, 403, 415, 421)


@pytest.fixture
async def foreign(tmp_path: Path) -> AsyncIterator[Site]:
    """A page that the plant network can reach."""
    async with site(tmp_path, PLANT_NETWORK) as made:
        yield made


@pytest.fixture
async def local(tmp_path: Path) -> AsyncIterator[Site]:
    """A page of this machine only, without a login."""
    async with site(tmp_path, THIS_MACHINE) as made:
        yield made


def test_the_table_has_every_route() -> None:
    there = {(each.method, each.path.replace("{name}", "press-07")) for each in ENDPOINTS}
    assert there - set(ROUTES) == set()


def test_roles_of_the_routes() -> None:
    assert {route: rules.role_needed(*route) for route in ROUTES} == ROUTES


async def answers(browser: Browser, method: str | None = None, **changes: str | None) -> dict[tuple[str, str], int]:
    """What each route answers this browser."""
    found = {}
    cookies, csrf = dict(browser.cookies), browser.csrf
    for route in sorted(ROUTES, key=lambda route: route[1] == "/api/v1/logout"):  # which ends the session
        if method is None or (route[0] == "GET") == (method == "GET"):
            browser.cookies, browser.csrf = dict(cookies), csrf
            found[route] = (await browser.ask(*route, **changes)).status
    return found


def refused(found: dict[tuple[str, str], int]) -> dict[tuple[str, str], int]:
    """Those that were not let through to whatever answers them. A login with nothing in it is no refusal."""
    return {route: status for route, status in found.items() if status in REFUSED and route[1] != "/api/v1/password"}


async def test_nobody(foreign: Site) -> None:
    browser = foreign.browser()
    await browser.open()
    expected = {route: 401 for route, role in ROUTES.items() if role is not None}
    assert refused(await answers(browser)) == expected


async def test_a_viewer(foreign: Site) -> None:
    expected = {route: 403 for route, role in ROUTES.items() if role == "engineer"}
    assert refused(await answers(await foreign.browser_of("victor"))) == expected


async def test_an_engineer(foreign: Site) -> None:
    assert refused(await answers(await foreign.browser_of("anna"))) == {}


async def test_this_machine_without_a_login(local: Site) -> None:
    browser = local.browser()
    session = await browser.open()
    assert (session["user"], session["role"], session["login"], session["setup"]) == (None, "engineer", "none", False)
    assert refused(await answers(browser)) == {}


@pytest.mark.parametrize("token", ["x" * 43, "", "../../etc/passwd" * 3, '"; drop', "a" * 5000])
async def test_a_cookie_that_is_none_of_ours(foreign: Site, token: str) -> None:
    browser = await foreign.browser_of("anna")
    browser.cookies["__Host-gateway"] = token
    assert (await browser.get("/api/v1/plant")).status == 401
    assert (await browser.post("/api/v1/config/reload")).status in (401, 403)


async def test_a_cookie_of_the_plain_name_counts_for_nothing_over_tls(foreign: Site) -> None:
    """Whoever can answer for us in the clear could set it; `__Host-` he cannot."""
    browser = await foreign.browser_of("anna")
    browser.cookies = {"gateway": browser.cookies["__Host-gateway"]}
    assert (await browser.get("/api/v1/plant")).status == 401


async def test_a_session_that_is_too_old(foreign: Site) -> None:
    browser = await foreign.browser_of("anna")
    for _ in range(23):  # used all the time, so never idle
        foreign.clock.at += 1800
        assert (await browser.get("/api/v1/flow")).status == 200
    foreign.clock.at += 1801
    assert set(refused(await answers(browser)).values()) == {401}


async def test_a_session_that_was_idle(foreign: Site) -> None:
    browser = await foreign.browser_of("anna")
    foreign.clock.at += 3599
    assert (await browser.get("/api/v1/flow")).status == 200
    foreign.clock.at += 3600
    assert (await browser.get("/api/v1/flow")).status == 401


# What an engineer's own browser sends when somebody else's page makes it, and what each of it is answered.
FOREIGN = {
    "wrong CSRF": ({"X_CSRF_Token": "0" * 64}, 403),
    "missing CSRF": ({"X_CSRF_Token": None}, 403),
    "empty CSRF": ({"X_CSRF_Token": ""}, 403),
    "foreign Origin": ({"Origin": "https://evil.example"}, 403),
    "Origin over http": ({"Origin": "http://localhost"}, 403),
    "Origin of another port": ({"Origin": "https://localhost:1"}, 403),
    "null Origin": ({"Origin": "null"}, 403),
    "cross-site": ({"Sec_Fetch_Site": "cross-site"}, 403),
    "same-site": ({"Sec_Fetch_Site": "same-site"}, 403),
    "a form": ({"Content_Type": "application/x-www-form-urlencoded"}, 415),
    "a simple request": ({"Content_Type": "text/plain"}, 415),
    "no type": ({"Content_Type": None}, 415),
    "foreign Host": ({"Host": "evil.example"}, 421),
    "Host that begins like ours": ({"Host": "localhost.evil.example"}, 421),
    "no Host": ({"Host": None}, 400),
}


@pytest.mark.parametrize("where", [PLANT_NETWORK, THIS_MACHINE], ids=["foreign", "local"])
@pytest.mark.parametrize("case", FOREIGN)
async def test_nothing_is_done_for_the_page_of_somebody_else(tmp_path: Path, case: str, where: str) -> None:
    """On this machine without a login as well: there everybody's browser is an engineer's."""
    changes, expected = FOREIGN[case]
    if where == THIS_MACHINE and "Origin" in changes:
        changes = {"Origin": (changes["Origin"] or "").replace("http://localhost", "https://localhost")}
    async with site(tmp_path, where) as made:
        browser = await made.browser_of("anna") if where == PLANT_NETWORK else made.browser()
        await browser.open()
        found = await answers(browser, "POST", **changes)
    assert set(found.values()) == {expected}


@pytest.mark.parametrize("where", [PLANT_NETWORK, THIS_MACHINE], ids=["foreign", "local"])
async def test_nothing_is_read_by_the_page_of_somebody_else(tmp_path: Path, where: str) -> None:
    """It could not see the answer; but a stream takes a place, and a name of its own makes the page ours."""
    api = {route for route in ROUTES if route[0] == "GET" and route[1].startswith("/api/")}
    async with site(tmp_path, where) as made:
        browser = await made.browser_of("anna") if where == PLANT_NETWORK else made.browser()
        await browser.open()
        assert set((await answers(browser, "GET", Host="evil.example:8080")).values()) == {421}
        for changes in ({"Sec_Fetch_Site": "cross-site"}, {"Origin": "null"}, {"Origin": "https://evil.example"}):
            found = await answers(browser, "GET", **changes)
            assert {route for route, status in found.items() if status == 403} == api


async def test_the_csrf_token_of_another_session(foreign: Site) -> None:
    anna, victor = await foreign.browser_of("anna"), await foreign.browser_of("victor")
    anna.csrf = victor.csrf
    assert (await anna.post("/api/v1/config/reload")).status == 403


async def test_a_program_needs_the_token_too_but_no_origin(local: Site) -> None:
    browser = local.browser()
    await browser.open()
    assert (await browser.post("/api/v1/config/reload", Origin=None, Sec_Fetch_Site=None)).status not in REFUSED
    assert (await browser.post("/api/v1/config/reload", Origin=None, X_CSRF_Token=None)).status == 403
    assert (await browser.post("/api/v1/config/reload", Cookie=None)).status == 403


def _no_csrf(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Sessions, "is_csrf", lambda *_: True)


def _no_origin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "_from_elsewhere", lambda *_: "")


def _no_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard.Guard, "_is_ours", lambda *_: True)


def _no_roles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "may", lambda *_: True)


@pytest.mark.parametrize(
    ("off", "who", "changes"),
    [
        (_no_csrf, "anna", {"X_CSRF_Token": "0" * 64}),
        (_no_origin, "anna", {"Origin": "https://evil.example"}),
        (_no_origin, "anna", {"Sec_Fetch_Site": "cross-site"}),
        (_no_host, "anna", {"Host": "evil.example", "Origin": "https://evil.example"}),
        (_no_roles, "victor", {}),
    ],
)
async def test_each_protection_is_what_refuses(
    foreign: Site, off: object, who: str, changes: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With it off the same request goes through: no other check hides that one of them is missing."""
    browser = await foreign.browser_of(who)
    assert (await browser.post("/api/v1/config/reload", **changes)).status in REFUSED
    off(monkeypatch)  # type: ignore[operator]
    assert (await browser.post("/api/v1/config/reload", **changes)).status not in REFUSED


# --- names ---------------------------------------------------------------------------------------------------------------


async def test_dns_rebinding(foreign: Site) -> None:
    """A name of theirs that leads to us is no name of ours; an address that leads to us is ours (and no other one)."""
    browser = await foreign.browser_of("anna")
    for host, expected in {
        f"127.0.0.1:{browser.port}": 200,
        "127.0.0.1": 200,
        socket.gethostname(): 200,
        "127.0.0.2": 421,
        "10.20.0.5": 421,
        "rebind.evil.example": 421,
        "0.0.0.0": 421,
        "": 421,
        "localhost@evil.example": 421,
        "localhost:80:80": 421,
        "[::1": 421,
    }.items():
        assert (host, (await browser.get("/api/v1/flow", Host=host)).status) == (host, expected)


async def test_hosts_of_the_configuration(tmp_path: Path) -> None:
    web = '{listen: "0.0.0.0:0", login: required, hosts: [Edge-01.lan, 10.20.0.5, "fd00::5"]}'
    async with site(tmp_path, web) as made:
        browser = await made.browser_of("anna")
        for host in ("edge-01.lan", "EDGE-01.LAN:8443", "10.20.0.5", "[fd00::5]:8443"):
            assert (await browser.get("/api/v1/flow", Host=host)).status == 200
        assert (await browser.get("/api/v1/flow", Host="edge-02.lan")).status == 421


async def test_an_address_that_is_reached_is_not_ours_on_this_machine_only(tmp_path: Path) -> None:
    async with site(tmp_path, '{listen: "127.0.0.2:0"}') as made:
        browser = made.browser(address="127.0.0.2")
        assert (await browser.get("/api/v1/flow", Host="127.0.0.2")).status == 200
        assert (await browser.get("/api/v1/flow", Host="127.0.0.3")).status == 421


# --- cookies -------------------------------------------------------------------------------------------------------------


COOKIES = {
    "of others": (b'theme={"dark":true}; a b=c, d; =; ;; x="y; gateway=%s; z', True),
    "first": (b"gateway=%s", True),
    "without blanks": (b"a=b;gateway=%s;c=d", True),
    "two of ours": (b"gateway=%s; gateway=%s", False),
    "one that is planted": (b"gateway=short; gateway=%s", False),
    "in quotes": (b'gateway="%s"', False),
    "another name": (b"xgateway=%s; Gateway=%s", False),
    "more behind it": (b"gateway=%s{}", False),
    "in the value of another": (b"a=gateway=%s", False),
}


@pytest.mark.parametrize("case", COOKIES)
def test_cookies(case: str) -> None:
    """Of RFC 6265's pairs ours is found, whatever other programs at this name put beside it."""
    form, found = COOKIES[case]
    token = b"A-z_0123456789" * 3
    assert _cookie({b"cookie": form.replace(b"%s", token)}, "gateway") == (token.decode() if found else "")


@pytest.mark.parametrize(
    "cookie",
    [
        b'gateway="' + b"\\a" * 8000 + b'"',
        b"a=b;" * 4000,
        b'"\\' * 8000,
        b"gateway=" * 2000,
        b";" * 16000,
        b";" + b" " * 16000,
    ],
)
def test_hostile_cookies_cost_nothing(cookie: bytes) -> None:
    """16 KB in less than 5 ms, at the best of five: http.cookies takes 0.3 s for the first (CVE-2024-7592)."""
    times = []
    for _ in range(5):
        began = time.perf_counter()
        assert _cookie({b"cookie": cookie}, "gateway") == ""
        times.append(time.perf_counter() - began)
    assert min(times) < 0.005


def flags(cookie: str) -> set[str]:
    return {part.strip().lower() for part in cookie.split(";")[1:]}


async def test_the_cookie_over_tls(foreign: Site) -> None:
    browser = foreign.browser()
    (cookie,) = (await browser.get("/api/v1/session")).cookies
    assert cookie.startswith("__Host-gateway=")
    assert flags(cookie) == {"secure", "httponly", "samesite=strict", "path=/"}
    answer = await browser.login("anna", PASSWORD)
    (cookie,) = answer.cookies
    assert flags(cookie) == {"secure", "httponly", "samesite=strict", "path=/"}
    assert len(cookie.partition(";")[0].partition("=")[2]) == 43  # 256 bits in base64


async def test_the_cookie_on_this_machine(local: Site) -> None:
    (cookie,) = (await local.browser().get("/api/v1/session")).cookies
    assert cookie.startswith("gateway=")
    assert flags(cookie) == {"httponly", "samesite=strict", "path=/"}


async def test_headers_over_tls_and_without(tmp_path: Path) -> None:
    async with site(tmp_path, PLANT_NETWORK) as made:
        browser = made.browser()
        for path in ("/", "/api/v1/plant", "/api/v1/session", "/nothing"):
            headers = (await browser.get(path)).headers
            assert headers["strict-transport-security"] == "max-age=31536000"
            assert "require-trusted-types-for 'script'" in headers["content-security-policy"]
            assert headers["x-frame-options"] == "DENY"
    async with site(tmp_path, THIS_MACHINE, users=False) as made:
        assert "strict-transport-security" not in (await made.browser().get("/")).headers


async def test_the_page_is_not_served_in_the_clear(foreign: Site) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", foreign.server.port)
    writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    async with asyncio.timeout(5):
        with contextlib.suppress(ConnectionError):
            assert b"HTTP" not in await reader.read()
    writer.close()


async def test_tls_of_the_past(foreign: Site) -> None:
    old = trusting()
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await asyncio.open_connection("127.0.0.1", foreign.server.port, ssl=old)
    new = trusting()
    new.maximum_version = ssl.TLSVersion.TLSv1_2
    _, writer = await asyncio.open_connection("127.0.0.1", foreign.server.port, ssl=new)
    assert writer.get_extra_info("ssl_object").version() == "TLSv1.2"
    assert "ECDHE" in writer.get_extra_info("ssl_object").cipher()[0]
    writer.close()


# --- paths and bytes -----------------------------------------------------------------------------------------------------

PATHS = [
    "/static/../guard.py",
    "/static/..%2fguard.py",
    "/static/%2e%2e/guard.py",
    "/static/%2e%2e%2fguard.py",
    "/static/%252e%252e%252fguard.py",
    "/static/..%5cguard.py",
    "/static/..\\guard.py",
    "/static/....//guard.py",
    "/static//etc/passwd",
    "/static/%2fetc%2fpasswd",
    "/static/index.html%00.js",
    "/static/%00",
    "/static/%0d%0aSet-Cookie:%20a=b",
    "/static/" + "a" * 3000,
    "/static/" + "../" * 1000 + "etc/passwd",
    "/" + "a" * 5000,
    "//evil.example/static/app.js",
    "/static/app.js/../../guard.py",
    "/static/%c0%ae%c0%ae/guard.py",
    "/static/%ff",
    "/machines/..%2f..%2fapi%2fv1%2fstatus",
    "/machines/../api/v1/status",
    "/static/../api/v1/status",
    "/api/v1/../v1/status",
    "/API/v1/status",
    "/api/v1/status/",
    "/api//v1/status",
    "/api/v1/status;a=b",
    "/api/v1/stat%75s",
    "/%61pi/v1/status",
]


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path[:40])
async def test_paths_that_lead_elsewhere(foreign: Site, path: str) -> None:
    """For somebody who is not logged in there is nothing but the document and its files, however it is spelt."""
    answer = await foreign.browser().get(path)
    assert answer.status in (400, 401, 404)
    assert b"import" not in answer.body
    assert b"root:" not in answer.body
    assert b"press" not in answer.body


@pytest.mark.parametrize(
    "path", ["/api/v1/machines/a%00", "/api/v1/machines/a%5cb", "/static/%0d%0aX:%201", "/%7f", "/\\x"]
)
async def test_characters_no_path_of_ours_has(local: Site, path: str) -> None:
    """Not even for somebody who may see everything: they mean something else to whoever stands in front, or behind."""
    answer = await local.browser().get(path)
    assert (answer.status, answer.headers["connection"]) == (400, "close")


GET = b"GET /api/v1/flow HTTP/1.1\r\n"
HOST = b"Host: localhost\r\n"
RAW = {
    "two hosts": (GET + HOST + b"Host: evil.example\r\n\r\n", {400, 421}),
    "two equal hosts": (GET + HOST + HOST + b"\r\n", {400, 421}),
    "absolute form": (b"GET http://evil.example/healthz HTTP/1.1\r\n" + HOST + b"\r\n", {400}),
    "absolute form of ours": (b"GET http://localhost/healthz HTTP/1.1\r\n" + HOST + b"\r\n", {400}),
    "asterisk": (b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n", {400}),
    "authority": (b"CONNECT evil.example:443 HTTP/1.1\r\n" + HOST + b"\r\n", {400}),
    "folded": (GET + HOST + b"X-A: 1\r\n Host: evil.example\r\n\r\n", {200, 400}),
    "space before colon": (GET + b"Host : localhost\r\n\r\n", {400}),
    "bare lines": (GET + HOST + b"X: a\nHost: evil.example\r\n\r\n", {400, 421}),
    "nul": (GET + HOST + b"X: a\0b\r\n\r\n", {400}),
    "huge header": (GET + HOST + b"X: " + b"a" * 70_000 + b"\r\n\r\n", {400, 431}),
    "many headers": (GET + HOST + b"X: a\r\n" * 10_000 + b"\r\n", {400, 431}),
    "http/0.9": (b"GET /healthz\r\n\r\n", {400}),
    "http/1.0 without a host": (b"GET /healthz HTTP/1.0\r\n\r\n", {421}),
    "not http": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", {400}),
    "lengths that differ": (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab", {400}),
    "length and chunks": (
        b"POST /api/v1/login HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        {400},
    ),
    "bad coding": (b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: gzip, chunked\r\n\r\n", {400, 501}),
    "negative length": (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: -1\r\n\r\n", {400}),
    "a fine one": (GET + HOST + b"Connection: close\r\n\r\n", {200}),
}


@pytest.mark.parametrize("case", RAW)
async def test_requests_that_can_be_read_in_two_ways(local: Site, case: str) -> None:
    content, expected = RAW[case]
    try:
        answer = await local.browser().raw(content, whole=False)
    except (ConnectionError, asyncio.IncompleteReadError):
        assert expected != {200}  # closed while we were still sending
    else:
        assert answer.status in expected
        assert b"evil" not in answer.body


async def test_a_second_request_hidden_in_the_first_is_not_answered(local: Site) -> None:
    """A refused request ends its connection: what follows could be part of it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", local.server.port)
    hidden = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    writer.write(
        b"POST /api/v1/login HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"0\r\n\r\n" % len(hidden) + hidden
    )
    async with asyncio.timeout(10):
        with contextlib.suppress(ConnectionError):
            assert (await reader.read()).count(b"HTTP/1.1 ") == 1
    writer.close()


async def test_bad_chunks(local: Site) -> None:
    browser = local.browser()
    await browser.open()
    head = browser.request("POST", "/api/v1/config/check", None, {"Transfer-Encoding": "chunked"})
    for chunks in (b"zz\r\nabc\r\n0\r\n\r\n", b"5\r\nab", b"-1\r\n", b"fffffffffffffffff\r\na"):
        reader, writer = await asyncio.open_connection("127.0.0.1", local.server.port)
        writer.write(head + chunks)
        writer.write_eof()
        async with asyncio.timeout(10):
            with contextlib.suppress(ConnectionError):
                assert b" 200 " not in (await reader.read())[:20]
        writer.close()
    assert (await browser.get("/healthz")).status == 200


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_that_is_too_long(local: Site, chunked: bool) -> None:
    browser = local.browser()
    await browser.open()
    size = 256 * 1024 + 1
    how = {"Transfer-Encoding": "chunked"} if chunked else {"Content-Length": str(size)}
    head = browser.request("POST", "/api/v1/config/check", None, how)
    body = (b"%x\r\n" % size if chunked else b"") + b"a" * size
    reader, writer = await asyncio.open_connection("127.0.0.1", local.server.port)
    writer.write(head + body)
    async with asyncio.timeout(10):
        assert (await reader.readline()).split()[1] == b"413"
    writer.close()
    fits = json.dumps({"text": "a" * (256 * 1024 - 20)})
    assert len(fits) < 256 * 1024
    assert (await browser.post("/api/v1/config/check", json.loads(fits))).status != 413


# --- slow ones -----------------------------------------------------------------------------------------------------------


async def until_closed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, drip: bytes) -> None:
    """Send a byte now and then until the other side has had enough."""
    async with asyncio.timeout(10):
        with contextlib.suppress(ConnectionError):
            while not reader.at_eof():
                writer.write(drip)
                await writer.drain()
                with contextlib.suppress(TimeoutError):
                    if not await asyncio.wait_for(reader.read(100), 0.02):
                        break
    writer.close()


@pytest.mark.parametrize("begin", [b"", b"GET / HTTP/1.1\r\nHost: localhost\r\n"])
async def test_slow_heads(local: Site, begin: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "HEAD_PATIENCE", 0.2)
    reader, writer = await asyncio.open_connection("127.0.0.1", local.server.port)
    writer.write(begin)
    await until_closed(reader, writer, b"X-a: b\r\n" if begin else b"")


async def test_a_slow_head_after_a_fast_one(local: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "HEAD_PATIENCE", 0.2)
    reader, writer = await asyncio.open_connection("127.0.0.1", local.server.port)
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    await reader.readuntil(b"ok\n")
    writer.write(b"GET / HTTP/1.1\r\n")
    await until_closed(reader, writer, b"X-a: b\r\n")


async def test_a_stream_is_not_slow(local: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative: who has asked in time is not cut off however long the answer takes."""
    monkeypatch.setattr(server, "HEAD_PATIENCE", 0.1)
    reader, writer = await asyncio.open_connection("127.0.0.1", local.server.port)
    writer.write(b"GET /api/v1/stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
    local.clock.at += 10
    for _ in range(12):
        await asyncio.wait_for(reader.readuntil(b"data: "), 5)
        local.clock.at += 10
        await asyncio.sleep(0.02)
    writer.close()


@pytest.mark.parametrize(("where", "most"), [(PLANT_NETWORK, 5), (THIS_MACHINE, 10)], ids=["session", "address"])
async def test_one_browser_does_not_take_the_places_of_all(tmp_path: Path, where: str, most: int) -> None:
    async with site(tmp_path, where) as made:
        browser = await made.browser_of("victor") if made.tls else made.browser()
        opened = []
        for i in range(most + 1):
            reader, writer = await asyncio.open_connection("127.0.0.1", browser.port, ssl=browser.tls)
            writer.write(browser.request("GET", "/api/v1/stream", None, {}))
            opened.append(writer)
            assert (await reader.readline()).split()[1] == (b"200" if i < most else b"503")
        if made.tls:
            other = await made.browser_of("victor")  # another session of the same user, as on a second screen
            assert (await other.get("/api/v1/stream")).status == 200
        for writer in opened:
            writer.close()
        async with asyncio.timeout(10):
            while (await browser.get("/api/v1/stream")).status != 200:
                pass


async def test_a_slow_body(local: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "BODY_PATIENCE", 0.2)
    browser = local.browser()
    await browser.open()
    head = browser.request("POST", "/api/v1/config/check", None, {"Content-Length": "1000"})
    reader, writer = await asyncio.open_connection("127.0.0.1", local.server.port)
    writer.write(head + b"{")
    async with asyncio.timeout(10):
        assert (await reader.readline()).split()[1] == b"408"
    writer.close()


async def test_a_handshake_that_does_not_come(foreign: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "HANDSHAKE_PATIENCE", 0.2)
    reader, writer = await asyncio.open_connection("127.0.0.1", foreign.server.port)
    async with asyncio.timeout(5):
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
    writer.close()
    assert (await foreign.browser().get("/healthz")).status == 200


async def test_so_many_connections_and_no_more(local: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MAX_CONNECTIONS", 5)
    opened = [await asyncio.open_connection("127.0.0.1", local.server.port) for _ in range(6)]
    async with asyncio.timeout(5):
        with contextlib.suppress(ConnectionError):
            assert await opened[5][0].read() == b""
    for _, writer in opened:
        writer.close()
    async with asyncio.timeout(5):
        while True:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                if (await local.browser().get("/healthz")).status == 200:
                    break


@pytest.mark.parametrize("here", [False, True])
async def test_one_address_does_not_take_all_of_them(local: Site, here: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MAX_OF_ONE_ADDRESS", 3)
    if not here:
        monkeypatch.setattr(server, "_is_here", lambda address: address == "127.0.0.9")
    opened = [await asyncio.open_connection("127.0.0.1", local.server.port) for _ in range(3)]
    with contextlib.nullcontext() if here else pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        assert (await local.browser().get("/healthz")).status == 200
    other = await asyncio.open_connection("127.0.0.1", local.server.port, local_addr=("127.0.0.9", 0))
    other[1].write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    assert b" 200 " in await other[0].readline()
    for _, writer in (*opened, other):
        writer.close()


async def test_nothing_of_a_stranger_stands_in_the_log(local: Site, caplog: pytest.LogCaptureFixture) -> None:
    for content, _ in RAW.values():
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await local.browser().raw(content, whole=False)
    assert caplog.records == []
