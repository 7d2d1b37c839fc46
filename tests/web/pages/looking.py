"""A browser that looks at the pages of a real server, with everything behind it that a gateway has."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, async_playwright

import gateway.web
from gateway.config.settings import SiteSettings
from gateway.events import Event, Events
from gateway.model import GOOD, NO_COMMUNICATION, OUT_OF_RANGE
from gateway.web import Board
from gateway.web.server import WebServer, serve
from gateway.web.sources import Sources
from web.plant import S, lost, plant

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PAGES = Path(gateway.web.__file__).with_name("pages")
AXE = Path(__file__).parents[3] / ".parts/node/node_modules/axe-core/axe.min.js"
INTERVAL = 0.1


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        await browser.close()


@pytest.fixture
def board() -> Board:
    return plant(time.time_ns())


@pytest.fixture
def sources(board: Board) -> Sources:
    return Sources(board, events=Events(), answers_for_time=lambda: True)


@pytest_asyncio.fixture(loop_scope="module")
async def served(sources: Sources) -> AsyncIterator[WebServer]:
    server = await serve(sources, "127.0.0.1", 0, interval=INTERVAL)
    yield server
    await server.stop()


@asynccontextmanager
async def opened(
    browser: Browser, url: str, locale: str = "en-US", width: int = 1280, ready: str = "main h1", **more: Any
) -> AsyncIterator[Page]:
    """A page that must not write an error to the console; that the gateway refuses something, or is gone, is none."""
    context = await browser.new_context(locale=locale, viewport={"width": width, "height": 800}, **more)
    page = await context.new_page()
    page.set_default_timeout(10_000)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    expected = ("net::ERR", "the server responded with a status of")
    page.on(
        "console",
        lambda m: errors.append(m.text) if m.type == "error" and not any(text in m.text for text in expected) else None,
    )
    await page.goto(url)
    await page.wait_for_selector(ready)
    yield page
    await context.close()
    assert errors == []


def tile(page: Page, machine: str) -> Any:
    """A machine on the page of the plant."""
    return page.get_by_role("article", name=machine)


async def until(page: Page, expression: str) -> None:
    """Wait for something to become true; the page itself allows no waiting for texts that are code."""
    async with asyncio.timeout(15):
        while not await page.evaluate(expression):
            await page.evaluate("new Promise(requestAnimationFrame)")


# Words of which an English sentence has one; none of them is a Vietnamese word, or one of a protocol.
ENGLISH = [
    "the", "is", "are", "was", "were", "been", "has", "have", "had", "and", "of", "with", "from", "for", "by", "as",
    "its", "this", "that", "these", "not", "cannot", "does", "did", "will", "what", "which", "who", "why", "how", "when",
    "where", "there", "then", "if", "into", "every", "any", "nothing", "nobody", "answer", "answers", "reading",
    "readings", "signals", "stopped", "started", "lost", "between", "without",
]  # fmt: skip
_ENGLISH_LEFT = r"""words => {
  const form = new RegExp(`(?<![\\p{L}\\d.:/_-])(${words.join("|")})(?![\\p{L}\\d:/_-]|[.]\\p{L})`, "iu");
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const { textContent: text, parentElement: parent } = walker.currentNode;
    if (form.test(text) && !parent.closest('[lang="en"], [translate="no"], script, style, noscript')) found.push(text.trim());
  }
  for (const each of document.querySelectorAll("[aria-label], [title]")) {
    if (each.closest('[lang="en"], [translate="no"]')) continue;
    for (const name of ["aria-label", "title"]) if (form.test(each.getAttribute(name) ?? "")) found.push(each.getAttribute(name));
  }
  return found;
}"""


async def english_left(page: Page) -> list[str]:
    """Texts of a page that have an English word in them and are not marked as English, or as somebody's own."""
    await page.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true; })")
    await page.evaluate("new Promise(done => setTimeout(done, 300))")  # what is unfolded asks for its texts
    found: list[str] = await page.evaluate(_ENGLISH_LEFT, ENGLISH)
    return found


async def violations(page: Page) -> list[tuple[str, str, str]]:
    """What axe finds serious or critical: rule, how bad, the first place."""
    await page.evaluate(AXE.read_text() + ";0")
    found = await page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        (each["id"], each["impact"], each["nodes"][0]["html"][:200])
        for each in found["violations"]
        if each["impact"] in ("serious", "critical")
    ]


@dataclass
class Remembering:
    """A historian with a wave, a failure, a doubt and a gap in each hour."""

    available: bool = True
    asked: list[tuple[int, int]] = field(default_factory=list)

    async def points(self, machine: str, signal: str, start: int, end: int, points: int) -> list[tuple[Any, ...]]:
        self.asked.append((start, end))
        now = time.time_ns()
        step = max((end - start) // points, S)
        found: list[tuple[Any, ...]] = []
        for at in range(start - start % step, min(end, now), step):
            minute = at / S / 60 % 60
            if 10 <= minute < 22.5:
                continue  # nothing was read
            if 30 <= minute < 34:
                found.append((at, None, NO_COMMUNICATION))
            else:
                found.append((at, 230 + math.sin(at / S / 60), OUT_OF_RANGE if 40 <= minute < 44 else GOOD))
        return found

    def extremes(self, machine: str) -> dict[str, tuple[float, float]]:
        return {"melt_temp": (180.25, 240.5)}


@dataclass
class Controlled:
    """Takes over whatever it is told to."""

    done: list[tuple[str, Any]] = field(default_factory=list)
    errors: list[Any] = field(default_factory=list)
    configuration: Any = None

    async def reload(self, who: str) -> dict[str, Any]:
        self.done.append(("reload", who))
        return {
            "changed": not self.errors, "difference": ["+ machine lathe-03", "- poll: 1s"], "touched": ["line-1"],
            "errors": self.errors, "restart": ["web"],
        }  # fmt: skip

    async def rollback(self, version: int, who: str) -> dict[str, Any]:
        self.done.append(("rollback", version))
        return {"changed": True, "difference": [], "touched": [], "errors": [], "restart": []}

    def versions(self) -> list[dict[str, Any]]:
        return [
            {"version": 3, "t": 1_790_000_000_000, "who": "anna", "summary": "lathe-02: poll 1s → 2s", "current": True},
            {"version": 2, "t": 1_789_900_000_000, "who": "local", "summary": "press-07", "current": False},
        ]


@dataclass
class Configured:
    """A configuration of two files."""

    timezone: str = ""  # of the site; "" for none
    fixed: bool = False
    asked: list[tuple[str, str]] = field(default_factory=list)

    @property
    def configuration(self) -> Any:
        """Of which only one machine is known."""
        signals = {"melt_temp": SimpleNamespace(address_text="holding 10 int16", poll=0.5)}
        machine = SimpleNamespace(description="Injection moulding press", connection="line-1", signals=signals)
        site = SiteSettings(timezone=self.timezone) if self.timezone else SiteSettings()
        settings = SimpleNamespace(store=None, site=site, calendars={})
        return SimpleNamespace(machines={"press-07": machine}, connections={}, settings=settings)

    async def view(self, machine: str) -> dict[str, Any]:
        origins = [("gateway.id", "edge-01", 2, "file"), ("mqtt.port", "1883", 0, "default")]
        origins += [("mqtt.password", "***", 5, "environment")]
        if self.fixed:
            origins = [("machines.press-07.poll", "1s", 7, "shipped")]
        if machine:
            origins = [(f"{machine}.signals.{n}.address", str(n), n + 3, "profile") for n in range(150)]
        return {
            "fixed": self.fixed,
            "in_force": self.fixed,
            "files": [{"name": "gateway.yaml", "text": "gateway:\n  id: edge-01\n"}, {"name": "machines/press-07.yaml", "text": "a: 1\n"}],
            "effective": "gateway:\n  id: edge-01\n",
            "origins": [
                {"path": path, "value": value, "file": "gateway.yaml" if line else "", "line": line, "from": kind}
                for path, value, line, kind in origins
            ],
            "origins_left_out": 0, "warnings": ["machines/press-07.yaml:3: no unit"], "errors": [], "versions": [],
        }  # fmt: skip

    async def check(self, text: str, name: str) -> dict[str, Any]:
        self.asked.append((text, name))
        error = {
            "file": name, "line": 2, "column": 3, "field": "signals[3].type", "message": "'int23' is not known.",
            "hint": "Did you mean 'int32'?", "text": "machines/press-07.yaml:2: signals[3].type: 'int23' is not known.",
        }  # fmt: skip
        wrong = "int23" in text
        return {"ok": not wrong, "errors": [error] * wrong, "warnings": [], "difference": ["- poll: 1s", "+ poll: 2s"]}


def whole(board: Board) -> Sources:
    """Everything there can be: history, control, configuration, events of all kinds, a loss."""
    now, events = time.time_ns(), Events()
    kinds: Sequence[tuple[Any, str, str, str, str]] = [
        ("gateway", "", "started", "", "version 0.1.0"),
        ("machine", "robot-11", "online", "", ""),
        ("broker", "", "offline", "broker-not-running", "connection refused"),
        ("broker", "", "online", "", ""),
        ("buffer", "", "trouble", "disk-full", "No space left on device"),
        ("clock", "", "set", "clock-wrong", "set forward (+3.000 s)"),
        ("loss", "press-07", "lost", "data-lost", "92 readings lost: buffer-full"),
        ("config", "", "reloaded", "", "lathe-02"),
        ("access", "anna", "logged-in", "", "anna logged in from 10.0.0.7"),
        ("machine", "press-07", "degraded", "modbus-no-answer", "1 of 5 signals does not answer"),
        ("machine", "robot-11", "offline", "connection-timeout", "10.20.0.44:502: no answer within 1 s"),
    ]
    for n, (kind, machine, state, fault, text) in enumerate(kinds):
        events.add(Event(now - (len(kinds) - n) * 600 * S, kind, machine, state, fault, text))
    board.machines["robot-11"].condition.fault = "connection-timeout"
    board.machines["press-07"].condition.fault = "modbus-no-answer"
    lost(board, "too-old", 1204, "press-07", "melt_temp")
    configured: Any = Configured()
    return Sources(
        board,
        events=events,
        control=Controlled(),
        history=Remembering(),
        configuring=configured,
        answers_for_time=lambda: True,
    )
