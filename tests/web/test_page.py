"""The page in a real browser: Chromium, over HTTP, on a board like that of a plant."""

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, async_playwright, expect

import gateway.web
from gateway.counters import FlowCounters
from gateway.model import REASONS, STALE
from gateway.mqtt.payload import Loss
from gateway.web import Board
from gateway.web.server import WebServer, serve
from gateway.web.sources import Sources
from web.plant import S, Used, empty_board, full, header, plant, signal

pytestmark = pytest.mark.asyncio(loop_scope="module")

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
TEXTS = Path(gateway.web.__file__).with_name("pages") / "texts.js"
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


@pytest_asyncio.fixture(loop_scope="module")
async def served(board: Board) -> AsyncIterator[WebServer]:
    server = await serve(Sources(board), "127.0.0.1", 0, interval=INTERVAL)
    yield server
    await server.stop()


@asynccontextmanager
async def opened(
    browser: Browser, url: str, locale: str = "en-US", width: int = 1280, **more: Any
) -> AsyncIterator[Page]:
    """A page that must not write an error to the console; that of a lost connection is expected."""
    context = await browser.new_context(locale=locale, viewport={"width": width, "height": 800}, **more)
    page = await context.new_page()
    page.set_default_timeout(10_000)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda m: errors.append(m.text) if m.type == "error" and "net::ERR" not in m.text else None)
    await page.goto(url)
    await page.wait_for_selector(".machine")
    yield page
    await context.close()
    assert errors == []


def tile(page: Page, machine: str) -> Any:
    return page.get_by_role("article", name=machine)


def row(page: Page, machine: str, name: str) -> Any:
    return tile(page, machine).locator("tbody tr").filter(has=page.locator("th", has_text=re.compile(f"^{name}$")))


async def test_machines_and_values_are_there_within_a_second(browser: Browser, served: WebServer) -> None:
    async with opened(browser, served.url) as page:
        took = []
        for _ in range(3):
            await page.reload()
            await page.wait_for_selector(".machine td.value:visible")
            took.append(await page.evaluate("performance.getEntriesByName('first-values')[0].startTime"))
        assert min(took) < 1000


async def test_trouble_comes_first(browser: Browser, served: WebServer) -> None:
    async with opened(browser, served.url) as page:
        names = await page.locator(".machine h2").all_text_contents()
        assert names == ["robot-11", "press-07", "lathe-02", "meter-01", "oven-03", "pump-04"]
        await expect(page.locator("#verdict")).to_have_text("1 offline · 1 degraded")
        await expect(tile(page, "robot-11").locator(".state")).to_have_text("offline")
        await expect(tile(page, "robot-11").locator(".why")).to_contain_text("is the machine switched on? · since ")
        await expect(tile(page, "press-07").locator(".place")).to_have_text("acme / hanoi / moulding / L1")
        await expect(page).to_have_title("1 offline · 1 degraded – edge-01")


async def test_in_english(browser: Browser, served: WebServer) -> None:
    async with opened(browser, served.url) as page:
        assert await page.get_attribute("html", "lang") == "en"
        await expect(row(page, "press-07", "cycle_count").locator(".value")).to_have_text("1,204,511 ")
        await expect(row(page, "press-07", "melt_temp").locator(".value")).to_have_text("231.4 °C")
        await expect(row(page, "press-07", "melt_temp").locator(".quality")).to_have_text("good")
        await expect(row(page, "press-07", "alarm").locator(".value")).to_have_text("off ")
        await expect(row(page, "press-07", "hold_pressure").locator(".quality")).to_contain_text(
            "does not answer since"
        )
        await expect(row(page, "press-07", "hold_pressure").locator(".value")).to_be_hidden()
        await expect(row(page, "oven-03", "zone_2").locator(".age")).to_have_text("1 min")
        await expect(row(page, "lathe-02", "coolant_temp").locator(".quality")).to_contain_text("out of range since")


async def test_in_vietnamese(browser: Browser, served: WebServer) -> None:
    async with opened(browser, served.url, "vi-VN") as page:
        assert await page.get_attribute("html", "lang") == "vi"
        await expect(page.locator("#verdict")).to_have_text("1 máy mất kết nối · 1 máy có lỗi một phần")
        await expect(row(page, "press-07", "cycle_count").locator(".value")).to_have_text("1.204.511 ")
        await expect(row(page, "press-07", "melt_temp").locator(".value")).to_have_text("231,4 °C")
        await expect(row(page, "press-07", "hold_pressure").locator(".quality")).to_contain_text("không trả lời từ")
        await expect(row(page, "oven-03", "zone_2").locator(".age")).to_have_text("1 phút")
        await page.get_by_role("link", name="English").click()
        await expect(page.locator("#verdict")).to_have_text("1 offline · 1 degraded")


async def test_another_language_reads_english(browser: Browser, served: WebServer) -> None:
    async with opened(browser, served.url, "fr-FR") as page:
        await expect(page.locator("#verdict")).to_have_text("1 offline · 1 degraded")


async def test_long_integers_arrive_exactly(browser: Browser, served: WebServer) -> None:
    async with opened(browser, served.url) as page:
        await page.get_by_role("searchbox").fill("pulses")
        await expect(row(page, "meter-01", "pulses").locator(".number")).to_have_text("1,152,921,504,606,846,977")


async def test_values_change_as_they_arrive(browser: Browser, served: WebServer, board: Board) -> None:
    async with opened(browser, served.url) as page:
        pump = board.machines["pump-04"]
        value = row(page, "pump-04", "flow").locator(".value")
        await expect(value).to_have_text("12.061 m³/h")
        board.update(full(pump.latest.header, [7.5, 4.2], t=time.time_ns()))
        await expect(value).to_have_text("7.5 m³/h")
        board.update(full(pump.latest.header, [None, 4.2], [STALE, 0], time.time_ns()))
        await expect(value).to_be_hidden()
        await expect(row(page, "pump-04", "flow")).to_have_attribute("data-quality", "stale")
        pump.condition.set("offline", time.time_ns(), "no answer")
        await expect(page.locator("#verdict")).to_have_text("2 offline · 1 degraded")


async def test_all_is_well(browser: Browser) -> None:
    board, machine = empty_board(), header("m", signal("a"))
    now = time.time_ns()
    board.add(machine, now).condition.set("online", now)
    board.update(full(machine, [1.0], t=now))
    board.broker.set("online", now)
    board.store.set("online", now)
    server = await serve(Sources(board), "127.0.0.1", 0, interval=INTERVAL)
    async with opened(browser, server.url) as page:
        await expect(page.locator("#verdict")).to_have_text("Everything is running")
        board.store.set("offline", now, "no answer from the store")
        await expect(page.locator("#verdict")).to_have_text("Store offline")
        await expect(page.locator("[data-step=store] .note")).to_contain_text("no answer from the store · since")
    await server.stop()


@pytest.mark.parametrize("locale", ["en-US", "vi-VN"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_a_narrow_phone_needs_no_sideways_scrolling(
    browser: Browser, served: WebServer, board: Board, locale: str, scheme: str
) -> None:
    now = time.time_ns()
    long = header("machine_" + "x" * 60, signal("signal" * 12, "string", "{long_unit}"), signal("b", "int", "kW.h"))
    board.add(long, now).condition.set("degraded", now, "reason" * 30)
    board.update(full(long, ["text" * 60, 2**63], t=now))
    board.usage = lambda: Used(unsafe=2**40, trouble=f"/{'folder' * 20}: {'trouble' * 20}")
    for cause in (*CAUSES, "thinned: " + "x" * 100, "cause" * 30):
        board.lost(Loss("e", 1, 2, 2**53, now - 86_400 * S, now, cause, "machine" * 12, "signal" * 12), now)
    async with opened(browser, served.url, locale, 360, color_scheme=scheme) as page:
        await expect(page.locator(".machine")).to_have_count(7)
        for button in await page.locator(".more:visible").all():
            await button.click()
        assert await page.evaluate("document.documentElement.scrollWidth") == 360
        cut = "[...document.querySelectorAll('.machine, #losses, #losses tbody tr, #disk, .way li')].filter(m => m.scrollWidth > m.clientWidth).map(m => m.innerText)"
        assert await page.evaluate(cut) == []


async def test_a_disk_that_cannot_be_written_is_said(browser: Browser, served: WebServer, board: Board) -> None:
    used = Used()
    board.usage = lambda: used
    async with opened(browser, served.url) as page:
        alert, note = page.get_by_role("alert"), page.locator("#disk .note")
        await expect(page.locator("#disk")).to_be_hidden()
        await expect(alert).to_have_count(0)
        used.unsafe = 3  # on their way to the disk, as always
        used.records = 13
        await expect(page.locator("[data-step=buffer] .figure")).to_contain_text("13")
        await expect(page.locator("[data-step=buffer] .note")).to_have_text("30.5% full")
        used.unsafe, used.trouble = 1832, "No space left on device"
        await expect(alert).to_contain_text("The disk cannot be written: it is full. Readings are still sent on")
        await expect(note).to_have_text("Messages that are only in memory: 1,832")
        await expect(page.locator("#verdict")).to_have_text("1 offline · Disk cannot be written · 1 degraded")
        await expect(page.locator("[data-step=buffer]")).to_have_attribute("data-state", "offline")
        await expect(page.locator("[data-step=buffer] .note")).to_contain_text("1,832 only in memory")
        used.trouble = "/var/lib/gateway/buffer/0007.log: Read-only file system"
        await expect(alert).to_contain_text("written: /var/lib/gateway/buffer/0007.log: it is read-only.")
        used.trouble = "less than 64 MiB would be left free"
        await expect(alert).to_contain_text("written: less than 64 MiB would be left free.")
        used.trouble = "<b>Structure needs cleaning</b>"  # not one of those that have words
        await expect(alert).to_contain_text("written: <b>Structure needs cleaning</b>.")
        used.trouble = ""
        await expect(page.locator("#disk")).to_be_hidden()
        await expect(page.locator("#verdict")).to_have_text("1 offline · 1 degraded")


async def test_the_number_of_messages_in_memory_does_not_interrupt(
    browser: Browser, served: WebServer, board: Board
) -> None:
    """A screen reader speaks an alert whenever it changes."""
    used = Used(unsafe=1, trouble="Input/output error")
    board.usage = lambda: used
    async with opened(browser, served.url) as page:
        await page.evaluate(
            "new MutationObserver(() => { window.spoke = true })"
            ".observe(document.querySelector('#disk [role=alert]'), {childList: true, subtree: true, characterData: true})"
        )
        used.unsafe = 2
        await expect(page.locator("#disk .note")).to_have_text("Messages that are only in memory: 2")
        assert await page.evaluate("window.spoke") is None


async def test_a_disk_that_cannot_be_written_in_vietnamese(browser: Browser, served: WebServer, board: Board) -> None:
    board.usage = lambda: Used(unsafe=1832, trouble="No space left on device")
    async with opened(browser, served.url, "vi-VN") as page:
        await expect(page.get_by_role("alert")).to_contain_text("Không ghi được vào ổ đĩa: ổ đĩa đã đầy.")
        await expect(page.locator("#disk .note")).to_have_text("Số bản tin chỉ nằm trong bộ nhớ: 1.832")


def lost(board: Board, cause: str, count: int = 0, machine: str = "", signal: str = "", messages: int = 0) -> None:
    """A loss of the last hundred seconds, declared now."""
    now = time.time_ns()
    first = 11 if messages else 0
    last = first + messages - 1 if messages else 0
    board.lost(Loss("8f2c9a4e", first, last, count, now - 100 * S, now - 40 * S, cause, machine, signal), now)


async def test_losses_are_shown_once_there_are_any(browser: Browser, served: WebServer, board: Board) -> None:
    async with opened(browser, served.url, timezone_id="UTC") as page:
        section = page.get_by_role("region", name="Losses")
        await expect(section).to_have_count(0)
        await expect(page.locator("#losses")).to_be_hidden()
        declared = 1_790_000_000 * S
        board.lost(
            Loss("e", 5, 9, 1204, declared - 3723 * S, declared - 61 * S, "too-old", "press-07", "melt_temp"), declared
        )
        await expect(section).to_be_visible()
        await expect(section.get_by_role("columnheader")).to_have_text(["Recorded", "What is missing", "Why"])
        await expect(section.locator("tbody td")).to_have_count(3)
        await expect(section.locator(".when").last).to_have_text(re.compile(r"^09/21, 14:13$|^09/21/26, 14:13$"))
        what = section.locator("td.what")
        await expect(what.locator("strong")).to_have_text("press-07 / melt_temp")
        await expect(what.locator("span").first).to_have_text("1,204 readings")
        await expect(what.locator("span").last).to_contain_text("13:11:17")
        await expect(what.locator("span").last).to_contain_text("14:12:19")
        await expect(section.locator("td.cause")).to_have_text("Waited longer than the buffer keeps anything")


CAUSES = {
    "buffer-full": "The buffer was full: the oldest went",
    "buffer-full: of low priority": "The buffer was full: machines of lower priority went first",
    "buffer-full: not read": "The buffer was full: the machine was not read",
    "too-old": "Waited longer than the buffer keeps anything",
    "disk-full": "The disk was full: the oldest went",
    "disk-cannot-be-written": "The disk could not be written, and the memory was full",
    "damaged": "Damaged on the disk",
    "too-large": "The message was too large",
    "topic-refused": "The broker does not allow this topic",
    "payload-refused": "The broker does not take this content",
    "thinned: one value in 90 s": "The buffer was filling up and was thinned" + "one value in 90 s stayed",
    "clock: the clock was set back by 3.0 s: followed": "The clock made a step: times before and after it may not fit "
    "together" + "the clock was set back by 3.0 s: followed",
    "link-lost: no one listened: 5 signals, such as a": "Out of reach, and not all was kept there"
    + "no one listened: 5 signals, such as a",
    "notifications-lost: 3 never came": "Notifications of the server never came" + "3 never came",
    "server-queue-overflow: too few": "The server dropped values: its queue was full" + "too few",
}


async def test_causes_in_plain_words(browser: Browser, served: WebServer, board: Board) -> None:
    others = ["moonlight", "moonlight: full", "<b>x</b>", "constructor", ": ", "buffer-full:"]
    for cause in [*others, *CAUSES][::-1]:
        lost(board, cause)
    async with opened(browser, served.url) as page:
        await page.get_by_role("button", name="Show the newest 20").click()
        shown = await page.locator("#losses td.cause").all_text_contents()
        assert shown == [*others, *CAUSES.values()][:20]


async def test_how_much_was_lost_and_of_what(browser: Browser, served: WebServer, board: Board) -> None:
    lost(board, "clock: the clock was set forward by 3.0 s: followed")
    async with opened(browser, served.url) as page:
        what = page.locator("#losses td.what")
        await expect(what.locator("strong")).to_have_text("clock of the gateway")
        await expect(what.locator("span").first).to_have_text("no reading is missing")
        board.losses.clear()
        lost(board, "damaged", 1, messages=3)
        await expect(what.locator("strong")).to_have_text("various machines")
        await expect(what.locator("span").first).to_have_text("1 reading")
        board.losses.clear()
        lost(board, "damaged", machine="lathe-02", messages=3)
        await expect(what.locator("strong")).to_have_text("lathe-02")
        await expect(what.locator("span").first).to_have_text("3 messages")
        board.losses.clear()
        board.lost(Loss("e", 0, 0, 0, 0, 0, "link-lost", "lathe-02"), time.time_ns())
        await expect(what.locator("span")).to_have_text(["readings, number not known", "time not known"])
        board.losses.clear()
        await expect(page.locator("#losses")).to_be_hidden()


async def test_losses_in_vietnamese(browser: Browser, served: WebServer, board: Board) -> None:
    lost(board, "thinned: one value in 60 s", 92_000, "meter-01")
    async with opened(browser, served.url, "vi-VN") as page:
        section = page.get_by_role("region", name="Số liệu bị mất")
        await expect(section.locator("td.what span").first).to_have_text("92.000 số liệu")
        await expect(section.locator("td.cause p")).to_have_text(
            ["Bộ đệm sắp đầy nên đã bớt số liệu", "giữ một giá trị mỗi 60 giây"]
        )


async def test_many_losses_are_folded(browser: Browser, served: WebServer, board: Board) -> None:
    for n in range(5):
        lost(board, "buffer-full", n + 1, "press-07" if n % 2 else "")
    async with opened(browser, served.url) as page:
        many, button = page.locator("#losses td.what span:nth-child(2)"), page.locator("#losses button")
        await expect(many).to_have_text(["5 readings", "4 readings", "3 readings"])
        await expect(button).to_have_attribute("aria-expanded", "false")
        await button.focus()
        await page.keyboard.press("Enter")
        await expect(many).to_have_count(5)
        await expect(button).to_have_text("Show less")
        await expect(button).to_be_focused()
        lost(board, "buffer-full", 6)
        await expect(many).to_have_text([f"{n} readings" for n in (6, 5, 4, 3, 2)] + ["1 reading"])
        await button.press("Enter")
        await expect(many).to_have_count(3)


async def test_one_machine_alone_stands_above_its_losses(browser: Browser, served: WebServer, board: Board) -> None:
    for name in ("pump-04", "press-07", ""):
        lost(board, "buffer-full", 2, name)
    first = "document.querySelector('#losses, .machine').id"
    async with opened(browser, served.url) as page:
        assert await page.evaluate(first) == "losses"
        await page.get_by_role("link", name="press-07").click()
        await expect(page.locator("#losses strong")).to_have_text(["various machines", "press-07"])
        assert await page.evaluate(first) == ""
        await page.get_by_role("link", name="All machines").click()
        await expect(page.locator("#losses strong")).to_have_count(3)
        assert await page.evaluate(first) == "losses"


async def test_delivery_to_the_store_needs_no_word(browser: Browser, served: WebServer) -> None:
    async with opened(browser, served.url) as page:
        await expect(page.locator("#delivery")).to_be_hidden()


@pytest.mark.parametrize(
    ("locale", "weak", "note"),
    [
        ("en-US", "a broker's word is not storage", "nobody confirms that a reading is stored"),
        ("vi-VN", "broker đã nhận chưa có nghĩa là đã lưu", "không ai xác nhận số liệu đã được lưu"),
    ],
)
async def test_delivery_to_the_broker_is_the_weaker_one(browser: Browser, locale: str, weak: str, note: str) -> None:
    now = time.time_ns()
    board = Board("edge-01", "0.1.0", "broker", FlowCounters(), Used, now, 0.0)
    board.add(header("m", signal("a")), now)
    server = await serve(Sources(board), "127.0.0.1", 0, interval=INTERVAL)
    async with opened(browser, server.url, locale) as page:
        await expect(page.locator("#delivery")).to_contain_text(weak)
        assert await page.locator("#delivery a").count() == 0
        await expect(page.locator("[data-step=store] .note")).to_have_text(note)
    await server.stop()


async def test_a_lost_stream_is_said_and_nothing_looks_fresh(browser: Browser, board: Board) -> None:
    server = await serve(Sources(board), "127.0.0.1", 0, interval=INTERVAL)
    async with opened(browser, server.url) as page:
        await expect(page.locator("#link-text")).to_have_text("Live")
        await expect(page.get_by_role("alert")).to_be_hidden()
        await server.stop()
        await expect(page.get_by_role("alert")).to_contain_text("Connection to the gateway lost")
        await expect(page.locator("#link-text")).to_have_text("Not connected")
        assert float(await page.locator("main").evaluate("e => getComputedStyle(e).opacity")) < 0.5
        await expect(page).to_have_title("⚠ Not connected")
        await expect(row(page, "pump-04", "flow").locator(".age")).not_to_have_text("now")  # it goes on growing old
        again = await serve(Sources(board), "127.0.0.1", server.port, interval=INTERVAL)
        await expect(page.locator("#link-text")).to_have_text("Live")
        await expect(page.get_by_role("alert")).to_be_hidden()
        assert await page.locator("main").evaluate("e => getComputedStyle(e).opacity") == "1"
        await again.stop()


async def test_a_silent_stream_is_lost(browser: Browser, board: Board) -> None:
    """The network is gone without a word: no error comes, only nothing."""
    server = await serve(Sources(board), "127.0.0.1", 0, interval=INTERVAL)
    hole = await asyncio.start_server(Hole(server.port), "127.0.0.1", 0)
    async with opened(browser, f"http://127.0.0.1:{hole.sockets[0].getsockname()[1]}/") as page:
        await expect(page.locator("#link-text")).to_have_text("Live")
        Hole.open.clear()
        await expect(page.get_by_role("alert")).to_contain_text("lost", timeout=10_000)
        Hole.open.set()
        await expect(page.locator("#link-text")).to_have_text("Live", timeout=15_000)
    hole.close()
    await server.stop()


class Hole:
    """A way to the server on which, while it is shut, everything stays under way."""

    open = asyncio.Event()

    def __init__(self, port: int) -> None:
        self._port = port
        self.open.set()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._port)

        async def carry(source: asyncio.StreamReader, to: asyncio.StreamWriter) -> None:
            try:
                while data := await source.read(65536):
                    await self.open.wait()
                    to.write(data)
            except ConnectionError:
                pass
            finally:
                to.close()

        await asyncio.gather(carry(reader, up_writer), carry(up_reader, writer))


async def test_text_from_machines_is_never_html(browser: Browser, served: WebServer, board: Board) -> None:
    attack = "<img src=x onerror=document.title='hit'><script>document.title='hit'</script>"
    now = time.time_ns()
    evil = header(attack, signal(attack, "string", attack), line=attack)
    board.add(evil, now).condition.set("offline", now, attack)
    board.update(full(evil, [attack], t=now))
    board.gateway = attack
    board.broker.set("degraded", now, attack)
    board.lost(Loss("e", 1, 2, 3, now, now, attack, attack, attack), now)
    async with opened(browser, served.url) as page:
        await expect(page.locator("#gateway")).to_have_text(attack)
        await expect(page.locator("[data-step=broker] .note")).to_contain_text(attack)
        evil_tile = page.locator(".machine").filter(has=page.locator("h2", has_text="<img"))
        await expect(evil_tile.locator(".number")).to_have_text(attack)
        await expect(evil_tile.locator(".why")).to_contain_text(attack)
        await expect(page.locator("#losses strong")).to_have_text(f"{attack} / {attack}")
        await expect(page.locator("#losses td.cause")).to_have_text(attack)
        assert await page.locator("img, main script").count() == 0
        await evil_tile.locator("h2 a").click()
        await expect(page.locator(".machine")).to_have_count(1)
        assert "hit" not in (await page.title()).split("<")[0]


async def test_searching(browser: Browser, served: WebServer) -> None:
    async with opened(browser, served.url) as page:
        await page.keyboard.press("/")
        await page.keyboard.type("Temp")
        await expect(page.locator(".machine h2")).to_have_text(["press-07", "lathe-02"])
        await expect(page.locator("tbody th")).to_have_text(["melt_temp", "coolant_temp"])
        await expect(page.locator("#found")).to_have_text("2 signals found")
        await page.get_by_role("searchbox").fill("meter-01/thd")
        await expect(page.locator("tbody th")).to_have_count(8)
        await page.get_by_role("searchbox").fill("nothing like it")
        await expect(page.locator("#found")).to_have_text("No signal is called that")
        await page.get_by_role("searchbox").fill("")
        await expect(page.locator(".machine")).to_have_count(6)


async def test_many_signals_are_folded_but_never_their_trouble(
    browser: Browser, served: WebServer, board: Board
) -> None:
    meter = board.machines["meter-01"].latest.header
    board.update(full(meter, [1.0] * 17 + [None], [0] * 17 + [STALE], time.time_ns()))
    async with opened(browser, served.url) as page:
        rows, button = tile(page, "meter-01").locator("tbody tr"), tile(page, "meter-01").get_by_role("button")
        await expect(rows).to_have_count(9)
        await expect(row(page, "meter-01", "thd_8").locator(".quality")).to_contain_text("stale")
        await expect(button).to_have_attribute("aria-expanded", "false")
        await button.focus()
        await page.keyboard.press("Enter")
        await expect(rows).to_have_count(18)
        await expect(button).to_have_attribute("aria-expanded", "true")
        await expect(button).to_be_focused()


async def test_one_machine_alone(browser: Browser, served: WebServer) -> None:
    async with opened(browser, served.url) as page:
        await page.get_by_role("link", name="press-07").focus()
        await page.keyboard.press("Enter")
        await expect(page.locator(".machine")).to_have_count(1)
        size = await row(page, "press-07", "melt_temp").locator(".value").evaluate("e => getComputedStyle(e).fontSize")
        assert float(size.removesuffix("px")) >= 40
        await page.get_by_role("link", name="All machines").click()
        await expect(page.locator(".machine")).to_have_count(6)


async def test_a_wrong_clock_is_not_fresh(browser: Browser, served: WebServer, board: Board) -> None:
    pump = board.machines["pump-04"].latest.header
    board.update(full(pump, [7.5, 4.2], t=time.time_ns() + 7200 * S))
    async with opened(browser, served.url) as page:
        await expect(row(page, "pump-04", "flow").locator(".age")).to_have_text(re.compile("clock (1|2) hr ahead"))


def texts() -> dict[str, dict[str, str]]:
    found = re.search(r"export const texts = (\{.*?\n\});", TEXTS.read_text(), re.DOTALL)
    assert found
    both: dict[str, dict[str, str]] = json.loads(found[1])
    return both


@pytest.mark.asyncio(loop_scope="function")
async def test_both_languages_say_the_same() -> None:
    english, vietnamese = texts()["en"], texts()["vi"]
    assert list(english) == list(vietnamese)
    for key, text in english.items():
        assert vietnamese[key].strip(), key
        assert sorted(re.findall(r"\{\w+\}", text)) == sorted(re.findall(r"\{\w+\}", vietnamese[key])), key


@pytest.mark.asyncio(loop_scope="function")
async def test_every_text_that_is_asked_for_is_there() -> None:
    pages = TEXTS.parent
    script = "".join((pages / name).read_text() for name in ("app.js", "format.js", "losses.js"))
    asked = set(re.findall(r'\bt\("([^"]+)"', script))
    for choice in re.findall(r'\bt\([^")]+\? ("[^"]+" : "[^"]+")', script):
        asked |= set(re.findall(r'"([^"]+)"', choice))
    asked |= set(re.findall(r'data-(?:text|label)="([^"]+)"', (pages / "index.html").read_text()))
    asked |= {f"quality.{reason}" for reason in REASONS.values()}
    asked |= {"online", "degraded", "offline", "unused", "delivery_store", "delivery_broker", "reason.starting"}
    assert asked <= set(texts()["en"])
