"""The pages of the demo: a process, a plant that runs, and whatever is really there."""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect

from parts.gateway import COMMAND
from web.pages.looking import opened, violations

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def demo(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """Its address, once it says that it is there."""
    folder: Path = tmp_path_factory.mktemp("demo")
    command = [COMMAND, "demo", "--port", "0", "--in-process", "--data", str(folder / "data")]
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
