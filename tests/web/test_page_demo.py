"""The pages of the demo: a process, a plant that runs, and whatever is really there."""

import asyncio
import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect

from gateway.faults import explain
from parts.gateway import COMMAND
from parts.process import ROOT
from web.pages.looking import english_left, opened, tile, violations

pytestmark = pytest.mark.asyncio(loop_scope="module")


# What goes wrong in the demo plant, for as long as somebody looks: from when all machines have been read.
TROUBLE = """\
like: {demo}
faults:
  - {{fault: unreachable, connection: press, at: 8s, for: 2h}}
  - {{fault: exception, code: 4, machine: meter-01, at: 8s, for: 2h}}
  - {{fault: status, machine: lathe-02, signals: [spindle_speed], code: BadSensorFailure, at: 8s, for: 2h}}
"""


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def demo(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """Of a quiet day."""
    async with running(tmp_path_factory.mktemp("demo")) as url:
        yield url


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def troubled(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """One machine that cannot be reached, one that refuses, one with a broken sensor."""
    folder: Path = tmp_path_factory.mktemp("troubled")
    scenario = folder / "trouble.yaml"
    scenario.write_text(TROUBLE.format(demo=os.path.relpath(ROOT / "simulators/demo/scenario.yaml", folder)))
    async with running(folder, "--scenario", str(scenario)) as url:
        yield url


@asynccontextmanager
async def running(folder: Path, *more: str) -> AsyncIterator[str]:
    """The address of a demo, once it says that it is there."""
    command = [COMMAND, "demo", "--port", "0", "--in-process", "--data", str(folder / "data"), *more]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    said = ""
    async with asyncio.timeout(90):
        while not (found := re.search(r"http://127\.0\.0\.1:\d+/", said)):
            line = await process.stdout.readline()
            assert line, said
            said += line.decode()
    drain = asyncio.create_task(process.stdout.read())
    yield found[0]
    process.terminate()
    async with asyncio.timeout(30):
        await process.wait()
    await drain


async def test_every_page_of_the_demo(browser: Browser, demo: str) -> None:
    ready = {
        "": ".machine .headline dd",
        "flow": ".way li",
        "kpi": "main h1",
        "events": ".log li",
        "config": ".origins tbody tr",
    }
    for locale in ("en-US", "vi-VN"):
        async with opened(browser, demo, locale, ready=".machine .headline dd") as page:
            machines = await page.locator(".machine h3").all_text_contents()
            assert len(machines) >= 3
            await page.locator(".machine h3 a").first.click()
            await expect(page.locator(".signals tbody tr").first).to_be_visible()
            await expect(page.locator(".chart path.line").first).to_be_attached()
            assert await violations(page) == []
            for path, selector in ready.items():
                await page.goto(demo + path)
                await page.wait_for_selector(selector, timeout=15_000)
                assert await violations(page) == [], path
                text = await page.locator("main").inner_text()
                assert "undefined" not in text, path
                assert "NaN" not in text, path
                assert "/" + str(Path(__file__).parts[1]) not in text, path  # where this is on the machine


async def test_what_the_demo_says_of_itself(browser: Browser, demo: str) -> None:
    """It has the files it was started from, with other ports: nobody has changed them. Its store is its own."""
    async with opened(browser, f"{demo}config", ready=".origins tbody tr", timezone_id="UTC") as page:
        first = page.locator(".origins tbody tr").first
        await expect(first).to_have_text("version1file · gateway.yaml:3")
        await expect(page.locator(".newer")).to_have_count(0)
        await expect(page.get_by_role("button", name="Take over the files as they are now")).to_be_hidden()
        await page.goto(f"{demo}flow")
        letters = page.locator(".facts > div").filter(has_text="Could not be stored").locator("dd")
        await expect(letters).to_have_text("0")
        await page.goto(demo)
        # Each machine has been online since it began, and is told so from then on.
        await expect(page.locator(".machine")).to_have_count(3)
        for strip in await page.locator(".machine .strip").all():
            await expect(strip).to_have_attribute("aria-label", re.compile("online"))
            await expect(strip.locator("rect.s-online.present")).to_have_count(1)


async def test_the_faults_of_the_demo_are_seen(browser: Browser, troubled: str) -> None:
    """On the plant, on the machines, in the events; in both languages, and in Vietnamese without an English sentence."""
    for locale, language, offline, why in (
        ("en-US", "en", "2 of 3 machines are offline: meter-01, press-07.", "Why is this machine offline?"),
        ("vi-VN", "vi", "2 trên 3 máy mất kết nối: meter-01, press-07.", "Vì sao máy này mất kết nối?"),
    ):
        async with opened(browser, troubled, locale, ready=".machine .headline dd") as page:
            await expect(page.locator(".verdict")).to_contain_text(offline, timeout=60_000)
            for name, state in (("press-07", "offline"), ("meter-01", "offline"), ("lathe-02", "degraded")):
                await expect(tile(page, name)).to_have_attribute("data-state", state, timeout=60_000)
            await expect(page.locator(".machine h3")).to_have_text(
                ["meter-01", "press-07", "lathe-02"]
            )  # the worst first
            if language == "vi":
                refused = explain("connection-refused", "vi").title
                await expect(tile(page, "press-07").locator(".why")).to_contain_text(refused)
                assert await english_left(page) == []
            assert await violations(page) == []
            # The one that is away says why, and what to look at.
            await page.goto(f"{troubled}machines/press-07")
            await expect(page.get_by_text(why)).to_be_visible()
            fault = explain("connection-refused", language)
            await expect(page.locator(".faultbox .fault")).to_have_text(fault.title)
            assert len(await page.locator(".faultbox ol li").all()) > 1
            # A sensor that is broken: the others of that machine have values.
            await page.goto(f"{troubled}machines/lathe-02")
            rows = page.locator(".signals tbody tr[data-quality]:not(.why)")
            broken = rows.filter(has=page.get_by_role("button", name="spindle_speed", exact=True))
            await expect(broken).to_have_attribute("data-quality", "bad")
            assert await rows.and_(page.locator("[data-quality=good]")).count() > 3
            if language == "vi":
                assert await english_left(page) == []
            await page.goto(f"{troubled}events")
            lost = page.locator(".log li[data-state=offline]").filter(has_text="press-07").first
            await expect(lost).to_contain_text(fault.title)
            if language == "vi":
                assert await english_left(page) == []
            for path, selector in (("flow", ".way li"), ("kpi", "main h1"), ("config", ".origins tbody tr")):
                await page.goto(troubled + path)
                await page.wait_for_selector(selector)
                if language == "vi":
                    assert await english_left(page) == [], path
