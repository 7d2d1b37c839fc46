"""The pages behind real doors: a browser, a login, what each role may do."""

from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, expect

from gateway.clock import SystemClock
from web.doors import PASSWORD, site
from web.pages.looking import opened, whole
from web.plant import plant

pytestmark = pytest.mark.asyncio(loop_scope="module")

WITH_LOGIN = '{listen: "127.0.0.1:0", login: required}'


async def log_in(page: Page, user: str, password: str) -> None:
    await page.get_by_label("User").fill(user)
    await page.get_by_label("Password").fill(password)
    await page.keyboard.press("Enter")


async def test_the_first_engineer(browser: Browser, tmp_path: Path) -> None:
    """With the code of the file: a password is set, and whoever set it is in."""
    async with (
        site(tmp_path, WITH_LOGIN, users=False, clock=SystemClock()) as made,
        opened(browser, made.server.url, ignore_https_errors=True) as page,
    ):
        await expect(page.locator("main h1")).to_have_text("First start")
        await page.get_by_label("Set-up code").fill("nonsense")
        await page.get_by_label("User").fill("anna")
        await page.get_by_label("New password").fill(PASSWORD)
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("alert").last).to_have_text("This is not the set-up code.")
    # The wrong one costs a pause; another browser, another gateway.
    second = tmp_path / "second"
    second.mkdir()
    async with site(second, WITH_LOGIN, users=False, clock=SystemClock()) as made:
        code = (made.data / "web" / "setup-code").read_text().strip()
        async with opened(browser, made.server.url, ignore_https_errors=True) as page:
            await page.get_by_label("Set-up code").fill(code)
            await page.get_by_label("User").fill("anna")
            await page.get_by_label("New password").fill(PASSWORD)
            await page.keyboard.press("Enter")
            await expect(page.locator("#who")).to_contain_text("anna (engineer)")
            await expect(page.locator("#link-text")).to_have_text("Live")


async def test_in_and_out_again(browser: Browser, tmp_path: Path) -> None:
    async with (
        site(tmp_path, WITH_LOGIN, clock=SystemClock(), sources=whole(plant())) as made,
        opened(browser, f"{made.server.url}config", ignore_https_errors=True) as page,
    ):
        await expect(page.locator("main h1")).to_have_text("Log in")
        await log_in(page, "victor", PASSWORD)
        await expect(page.locator("#who")).to_contain_text("victor (viewer)")
        await expect(page.locator("main")).to_contain_text("Only an engineer may change something here.")
        await page.get_by_role("button", name="Log out").click()
        await expect(page.locator("main h1")).to_have_text("Log in")
        await log_in(page, "anna", PASSWORD)
        await page.get_by_role("button", name="Take over the files").click()
        await page.get_by_role("button", name="Yes, take over").click()
        await expect(page.locator(".result").first).to_contain_text("Taken over.")  # the token was right


async def test_a_session_that_ends_shows_the_door(browser: Browser, tmp_path: Path) -> None:
    """Nobody has to press anything: the stream ends, and with it the view."""
    async with (
        site(tmp_path, WITH_LOGIN, clock=SystemClock(), sources=whole(plant())) as made,
        opened(browser, made.server.url, ignore_https_errors=True) as page,
    ):
        await log_in(page, "victor", PASSWORD)
        await expect(page.locator(".machine").first).to_be_visible()
        made.users.remove("victor")
        await expect(page.locator("main h1")).to_have_text("Log in", timeout=20_000)
        await expect(page.locator(".machine")).to_have_count(0)
