"""Every page for everybody: axe, narrow phones, both languages, light and dark, whatever state it is in."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest
from playwright.async_api import Browser, expect

from gateway.mqtt.payload import Loss
from gateway.web import Board
from gateway.web.server import WebServer, serve
from gateway.web.sources import Sources
from web.pages.looking import AXE, INTERVAL, opened, violations, whole
from web.plant import S, Used, full, header, signal

pytestmark = pytest.mark.asyncio(loop_scope="module")

PAGES = {  # and what is there when it is all there
    "": ".machine .strip",
    "machines/press-07": ".chart path.line",
    "machines/nobody": ".missing h1",
    "flow": "#losses tbody tr",
    "kpi": "main h1",
    "events": ".log li code",
    "config": ".origins tbody tr",
}
LOOKS = [("en-US", "light"), ("vi-VN", "dark"), ("en-US", "dark"), ("vi-VN", "light")]


@pytest.fixture
def sources(board: Board) -> Sources:
    everything = whole(board)
    everything.safe_mode = lambda: ["press-07.yaml:14: signals[3].type: 'int23' is not known."]
    return everything


async def test_axe_is_there() -> None:
    assert AXE.exists(), "bash tests/parts/setup.sh"


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize(("locale", "scheme"), LOOKS[:2])
async def test_axe_finds_nothing_serious(
    browser: Browser, served: WebServer, path: str, locale: str, scheme: str
) -> None:
    """At 1280 px and at 360 px, folded and unfolded."""
    async with opened(browser, served.url + path, locale, ready=PAGES[path], color_scheme=scheme) as page:
        assert await violations(page) == []
        for summary in await page.locator("main summary:visible").all():
            await summary.click()
        await page.set_viewport_size({"width": 360, "height": 800})
        assert await violations(page) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_axe_in_trouble(browser: Browser, board: Board, sources: Sources, scheme: str) -> None:
    """A full disk, an unknown clock, and then no gateway at all."""
    board.usage = lambda: Used(unsafe=1832, trouble="No space left on device")
    board.broker.set("offline", time.time_ns(), "connection refused")
    server = await serve(sources, "127.0.0.1", 0, interval=INTERVAL)
    async with opened(browser, server.url, ready=".machine", color_scheme=scheme) as page:
        assert await violations(page) == []
        await page.goto(f"{server.url}machines/press-07")
        await expect(page.locator(".signals tbody tr").first).to_be_visible()
        await server.stop()
        await expect(page.locator("#lost")).to_be_visible()
        assert await violations(page) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_axe_while_asked_something(browser: Browser, served: WebServer, scheme: str) -> None:
    async with opened(browser, f"{served.url}config", color_scheme=scheme) as page:
        await page.get_by_text("Check a file before it is used").click()
        await page.get_by_label("Paste the text").fill("a\ntype: int23")
        await page.get_by_role("button", name="Check", exact=True).click()
        await expect(page.locator(".result .error")).to_be_visible()
        await page.get_by_role("button", name="Take over the files").click()
        await expect(page.get_by_role("dialog")).to_be_visible()
        assert await violations(page) == []
        await page.get_by_role("button", name="Yes, take over").click()
        await expect(page.locator(".result .right")).to_be_visible()
        assert await violations(page) == []


@pytest.mark.parametrize("setup", [False, True])
async def test_axe_at_the_door(browser: Browser, served: WebServer, setup: bool) -> None:
    session = {"user": None, "role": None, "csrf": "x", "login": "password", "setup": setup}
    async with opened(browser, served.url, width=360) as page:
        await page.route("**/api/v1/session", lambda route: route.fulfill(json=session))
        await page.reload()
        await expect(page.locator("form.login")).to_be_visible()
        await page.keyboard.press("Enter")
        assert await violations(page) == []
        assert await page.evaluate("document.documentElement.scrollWidth") == 360


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("locale", ["en-US", "vi-VN"])
async def test_a_narrow_phone_needs_no_sideways_scrolling(
    browser: Browser, served: WebServer, board: Board, path: str, locale: str
) -> None:
    """With names and texts as long as machines and people make them."""
    now = time.time_ns()
    name = "machine_" + "x" * 60
    long = header(name, signal("signal" * 12, "string", "{long_unit}"), signal("b", "int", "kW.h"))
    board.add(long, now).condition.set("degraded", now, "reason" * 30)
    board.update(full(long, ["text" * 60, 2**63], t=now))
    board.usage = lambda: Used(unsafe=2**40, trouble=f"/{'folder' * 20}: {'trouble' * 20}")
    for cause in ("thinned: " + "x" * 100, "cause" * 30):
        board.lost(Loss("e", 1, 2, 2**53, now - 86_400 * S, now, cause, "machine" * 12, "signal" * 12), now)
    path = path.replace("press-07", name)
    ready = PAGES.get(path, ".signals tbody tr")
    async with opened(browser, served.url + path, locale, 360, ready=ready) as page:
        for summary in await page.locator("main summary:visible").all():
            await summary.click()
        assert await page.evaluate("document.documentElement.scrollWidth") == 360
        cut = (
            "[...document.querySelectorAll('.machine, .card, .card tbody tr, .way li, .parts li, .log li, .alert')]"
            ".filter(m => m.scrollWidth > m.clientWidth + 1 && m.clientWidth).map(m => m.className + ': ' + m.innerText.slice(0, 80))"
        )
        assert await page.evaluate(cut) == []


async def test_nothing_moves_for_those_who_want_no_motion(browser: Browser, served: WebServer) -> None:
    async with opened(browser, served.url, reduced_motion="reduce") as page:
        await expect(page.locator("#link-text")).to_have_text("Live")
        assert await page.evaluate("document.getAnimations().length") == 0


async def test_the_focus_stays_when_tiles_change_places(browser: Browser, served: WebServer, board: Board) -> None:
    async with opened(browser, served.url) as page:
        focused: Callable[[], Awaitable[str]] = lambda: page.evaluate("document.activeElement.textContent")  # noqa: E731
        await page.get_by_role("link", name="pump-04").focus()
        board.machines["pump-04"].condition.set("offline", time.time_ns(), "no answer")
        board.machines["robot-11"].condition.set("online", time.time_ns())
        await expect(page.locator(".machine h3").first).to_have_text("pump-04")
        await asyncio.sleep(0)
        assert await focused() == "pump-04"
