"""The page of one machine, and the chart on it."""

import re
import time
from types import SimpleNamespace
from typing import Any

import pytest
from playwright.async_api import Browser, Page, expect

from gateway.faults import explain
from gateway.model import STALE
from gateway.web import Board
from gateway.web.server import WebServer, serve
from gateway.web.sources import Sources
from web.pages.looking import INTERVAL, Remembering, opened, until, whole
from web.plant import S, full, header, signal

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture
def sources(board: Board) -> Sources:
    return whole(board)


def row(page: Page, name: str) -> Any:
    rows = page.locator(".signals tbody tr:not(.why)")
    return rows.filter(has=page.locator("th button", has_text=re.compile(f"^{re.escape(name)}$")))


async def test_its_signals(browser: Browser, served: WebServer) -> None:
    async with opened(browser, f"{served.url}machines/press-07") as page:
        await expect(row(page, "cycle_count").locator(".value")).to_have_text("1,204,511 ")
        await expect(row(page, "melt_temp").locator(".value")).to_have_text("231.4 °C")
        await expect(row(page, "melt_temp").locator(".quality")).to_have_text("good")
        await expect(row(page, "melt_temp").locator("td.span")).to_have_text("180.25 … 240.5")
        await expect(row(page, "alarm").locator(".value")).to_have_text("off ")
        await expect(row(page, "hold_pressure").locator(".quality")).to_contain_text("does not answer since")
        await expect(row(page, "hold_pressure").locator(".value")).to_have_text("– ")
        await expect(page.locator(".head .state")).to_have_text("degraded")
        await expect(page).to_have_title("press-07 · degraded – edge-01")


@pytest.mark.parametrize(
    ("poll", "english", "vietnamese"),
    [(0.5, "500 ms", "500 mili giây"), (1.0, "1 sec", "1 giây"), (1.5, "1.5 sec", "1,5 giây"), (90.0, "90 sec", "90 giây"),
     (0.0625, "62.5 ms", "62,5 mili giây"), (300.0, "5 min", "5 phút")],
)  # fmt: skip
async def test_how_often_it_is_read(
    browser: Browser, served: WebServer, sources: Sources, poll: float, english: str, vietnamese: str
) -> None:
    configuration: Any = sources.configuration
    configuration.machines["press-07"].signals["melt_temp"].poll = poll
    sources.configuring = SimpleNamespace(configuration=configuration)  # type: ignore[assignment]
    for locale, term, said in (("en-US", "Read every", english), ("vi-VN", "Chu kỳ đọc", vietnamese)):
        async with opened(browser, f"{served.url}machines/press-07?signal=melt_temp", locale) as page:
            facts = page.locator(".charted .facts > div").filter(has_text=term)
            await expect(facts.locator("dd")).to_have_text(said)


async def test_on_a_phone_a_name_has_the_width_of_the_row(browser: Browser, served: WebServer, board: Board) -> None:
    now = time.time_ns()
    meter = header("m", signal("energy_per_cycle", unit="kW.h"), signal("shift.energy_per_part", unit="kW.h"))
    board.add(meter, now).condition.set("online", now)
    board.update(full(meter, [0.0408732, 12.5], [0, STALE], now))
    async with opened(browser, f"{served.url}machines/m", "vi-VN", 360) as page:
        for name in ("energy_per_cycle", "shift.energy_per_part"):
            line = row(page, name)
            button, value = line.get_by_role("button"), line.locator("td.value")
            assert await button.evaluate("e => e.clientHeight < 1.6 * parseFloat(getComputedStyle(e).fontSize)"), name
            above, below, whole_ = await button.bounding_box(), await value.bounding_box(), await line.bounding_box()
            assert above
            assert below
            assert whole_
            assert below["y"] >= above["y"] + above["height"]
            heading = await line.locator("th").bounding_box()
            assert heading
            assert heading["width"] > 0.85 * whole_["width"]


async def test_in_vietnamese(browser: Browser, served: WebServer) -> None:
    async with opened(browser, f"{served.url}machines/oven-03", "vi-VN") as page:
        await expect(row(page, "zone_1").locator(".value")).to_have_text("181,5 °C")
        await expect(row(page, "zone_2").locator(".age")).to_have_text("1 phút")
        await expect(row(page, "zone_2").locator(".quality")).to_contain_text("đã cũ từ")
        await expect(page.get_by_text("Vì sao zone_2 không tốt?")).to_be_visible()


async def test_long_integers_arrive_exactly(browser: Browser, served: WebServer) -> None:
    async with opened(browser, f"{served.url}machines/meter-01") as page:
        await expect(row(page, "pulses").locator(".number")).to_have_text("1,152,921,504,606,846,977")


@pytest.mark.parametrize(
    ("locale", "why", "causes", "checks"),
    [
        ("en-US", "Why is this machine offline?", "Likely causes", "What to check"),
        ("vi-VN", "Vì sao máy này mất kết nối?", "Nguyên nhân thường gặp", "Cần kiểm tra"),
    ],
)
async def test_why_it_is_bad(
    browser: Browser, served: WebServer, locale: str, why: str, causes: str, checks: str
) -> None:
    async with opened(browser, f"{served.url}machines/robot-11", locale) as page:
        box = page.locator(".faultbox")
        await expect(box.locator("summary")).to_have_text(why)
        await expect(box).to_contain_text("is the machine switched on?")  # what was said, as it was said
        for heading in (causes, checks):
            await expect(box.get_by_text(heading)).to_be_visible()
        assert await box.locator("ul li").count() >= 1
        assert await box.locator("ol li").count() >= 1
        await expect(box.locator("code").last).to_have_text("connection-timeout")


async def test_why_a_signal_is_bad(browser: Browser, served: WebServer) -> None:
    async with opened(browser, f"{served.url}machines/press-07") as page:
        question = page.get_by_text("Why is hold_pressure not good?")
        await question.focus()
        await page.keyboard.press("Enter")
        await expect(page.locator("tr.why .fault")).to_be_visible()
        await expect(page.locator("tr.why code").last).to_have_text("no-communication")
        assert await page.locator("tr.why").count() == 1  # only of what is not good


async def test_a_question_stays_open_while_values_change(browser: Browser, served: WebServer, board: Board) -> None:
    async with opened(browser, f"{served.url}machines/oven-03") as page:
        await page.get_by_text("Why is zone_2 not good?").click()
        await expect(page.locator("tr.why .fault")).to_be_visible()
        oven = board.machines["oven-03"].latest.header
        board.update(full(oven, [190.0, None, True], [0, STALE, 0], time.time_ns()))
        await expect(row(page, "zone_1").locator(".value")).to_have_text("190 °C")
        await expect(page.locator("tr.why .fault")).to_be_visible()
        board.update(full(oven, [190.0, 171.0, True], t=time.time_ns()))
        await expect(page.locator("tr.why")).to_have_count(0)


async def test_what_happened_in_plain_words(browser: Browser, served: WebServer) -> None:
    async with opened(browser, f"{served.url}machines/robot-11") as page:
        log = page.locator(".log li")
        await expect(log).to_have_count(2)
        await expect(log.first).to_contain_text("robot-11 was lost")
        await expect(log.first).to_contain_text("no answer within 1 s")
        title = explain("connection-timeout", "en").title
        await expect(log.first).to_contain_text(title)
        await expect(log.last).to_contain_text("robot-11 answers")


async def test_a_machine_that_is_not_there(browser: Browser, served: WebServer) -> None:
    async with opened(browser, f"{served.url}machines/press-77", ready=".missing h1") as page:
        await expect(page.get_by_role("heading", name="There is no machine named press-77")).to_be_visible()
        await expect(page.locator("main")).to_contain_text("press-07")  # the one that is meant
        await expect(page.locator("#lost")).to_be_hidden()  # the gateway is not lost


async def test_a_wrong_clock_is_not_fresh(browser: Browser, served: WebServer, board: Board) -> None:
    pump = board.machines["pump-04"].latest.header
    board.update(full(pump, [7.5, 4.2], t=time.time_ns() + 7200 * S))
    async with opened(browser, f"{served.url}machines/pump-04") as page:
        await expect(row(page, "flow").locator(".age")).to_have_text(re.compile("clock (1|2) hr ahead"))


async def test_two_thousand_signals_do_not_freeze_it(browser: Browser, served: WebServer, board: Board) -> None:
    """Every value changes with each event; what is bad is never folded away."""
    many = header("big", *(signal(f"s{n:04}") for n in range(2000)))
    board.add(many, time.time_ns()).condition.set("online", time.time_ns())
    values: list[Any] = [float(n) for n in range(1999)]
    board.update(full(many, [*values, None], [0] * 1999 + [STALE], time.time_ns()))
    async with opened(browser, f"{served.url}machines/big") as page:
        await expect(row(page, "s0007").locator(".value")).to_have_text("7 ")
        await expect(row(page, "s1999").locator(".quality")).to_contain_text("stale")
        assert await page.locator(".signals tbody tr").count() == 62  # 60, the bad one, and its question
        await page.get_by_role("button", name="Show all 2,000 signals").click()
        await expect(page.locator(".signals tbody tr")).to_have_count(2001)
        await page.evaluate(
            "window.slow = 0; new PerformanceObserver(list => { for (const e of list.getEntries()) "
            "window.slow = Math.max(window.slow, e.duration) }).observe({type: 'longtask'})"
        )
        for k in range(5):
            board.update(full(many, [*(v + k + 1 for v in values), None], [0] * 1999 + [STALE], time.time_ns()))
            await expect(row(page, "s0007").locator(".value")).to_have_text(f"{8 + k} ", timeout=15_000)
        assert await page.evaluate("window.slow") < 1000  # ms; on a computer that does other things too
        await page.get_by_role("searchbox").fill("s0123")
        await expect(page.locator(".signals tbody tr")).to_have_count(1)


# --- the chart -------------------------------------------------------------------------------------------------------


async def span_of(page: Page) -> float:
    """Minutes from one end of the chart to the other, by its description."""
    return float(await page.evaluate("document.querySelector('.chart').chart.span / 60000"))


async def test_the_chart_shows_gaps_and_what_is_bad(browser: Browser, served: WebServer) -> None:
    async with opened(browser, f"{served.url}machines/press-07?signal=melt_temp") as page:
        await expect(page.locator(".charthead h2")).to_have_text("melt_temp")
        await page.get_by_role("button", name="8 h").click()
        chart = page.locator(".chart")
        label = re.compile(r"melt_temp from .* to .*: \d+ readings, from 2\d\d")
        await expect(chart).to_have_attribute("aria-label", label)
        await expect(chart).to_have_attribute("aria-label", re.compile(r"bad.*\d+ gaps"))
        assert await chart.locator(".badband").count() > 3
        await until(page, "document.querySelectorAll('.gapmark').length >= 7")  # one an hour
        # A gap is a gap: the line begins anew after it.
        assert (await chart.locator("path.line").first.get_attribute("d")).count("M") > 7
        assert "M" in (await chart.locator("path.doubtful").get_attribute("d"))


async def test_another_signal_is_chosen_with_the_keyboard(browser: Browser, served: WebServer) -> None:
    async with opened(browser, f"{served.url}machines/press-07") as page:
        await row(page, "mode").get_by_role("button").focus()
        await page.keyboard.press("Enter")
        await expect(page.locator(".charthead h2")).to_have_text("mode")
        await expect(row(page, "mode").get_by_role("button")).to_have_attribute("aria-pressed", "true")
        assert page.url.endswith("?signal=mode")
        await expect(page.locator(".reading")).to_have_text("auto")


async def test_zoom_and_pan(browser: Browser, served: WebServer, sources: Sources) -> None:
    async with opened(browser, f"{served.url}machines/press-07?signal=melt_temp") as page:
        chart, now = page.locator(".chart"), page.get_by_role("button", name="Now", exact=True)
        await expect(chart.locator("path.line").first).to_be_attached()
        assert await span_of(page) == 60
        await page.get_by_role("button", name="Zoom in").click()
        assert await span_of(page) == 30
        await expect(now).to_have_attribute("aria-pressed", "true")  # it still follows
        await chart.focus()
        await page.keyboard.press("-")
        assert await span_of(page) == 60
        await page.keyboard.press("ArrowLeft")
        await expect(now).to_have_attribute("aria-pressed", "false")
        await page.keyboard.press("End")
        await expect(now).to_have_attribute("aria-pressed", "true")
        box = await chart.bounding_box()
        assert box
        await page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        await page.mouse.wheel(0, -100)
        await until(page, "document.querySelector('.chart').chart.span < 3600e3")
        await page.mouse.down()
        await page.mouse.move(box["x"] + box["width"] / 2 + 200, box["y"] + 50)
        await page.mouse.up()
        await expect(now).to_have_attribute("aria-pressed", "false")
        history: Any = sources.history
        await until(page, "document.querySelector('.chart').chart.to < Date.now() - 60e3")
        assert isinstance(history, Remembering)
        before = len(history.asked)
        await page.get_by_role("button", name="24 h").click()
        for _ in range(100):
            if len(history.asked) > before:
                break
            await page.evaluate("new Promise(requestAnimationFrame)")
        start, end = history.asked[-1]
        assert 86_400 * S <= end - start <= 2 * 86_400 * S


async def test_two_fingers(browser: Browser, served: WebServer) -> None:
    async with opened(browser, f"{served.url}machines/press-07?signal=melt_temp", has_touch=True) as page:
        await expect(page.locator(".chart path.line").first).to_be_attached()
        await page.evaluate(
            """() => {
                const chart = document.querySelector('.chart'), box = chart.getBoundingClientRect();
                chart.setPointerCapture = () => {};
                const at = (type, id, part) => chart.dispatchEvent(new PointerEvent(type,
                    {pointerId: id, pointerType: 'touch', clientX: box.left + box.width * part, clientY: box.top + 50, bubbles: true}));
                at('pointerdown', 1, 0.4); at('pointerdown', 2, 0.6);
                at('pointermove', 1, 0.3); at('pointermove', 2, 0.7);
                at('pointerup', 1, 0.3); at('pointerup', 2, 0.7);
            }"""
        )
        assert await span_of(page) == pytest.approx(30, rel=0.1)  # twice as far apart: half the time


async def test_the_chart_as_a_table(browser: Browser, served: WebServer) -> None:
    async with opened(browser, f"{served.url}machines/press-07?signal=melt_temp") as page:
        await expect(page.locator(".chart path.line").first).to_be_attached()
        await page.get_by_text("As a table").click()
        table = page.locator(".charted table")
        await expect(table.locator("tbody tr").nth(10)).to_be_attached()
        await expect(table.get_by_role("columnheader")).to_have_text(["Time", "Value", "Quality"])
        await expect(table.locator("tbody tr td.value").first).to_contain_text("°C")


async def test_without_a_historian_it_shows_what_comes(
    browser: Browser, served: WebServer, sources: Sources, board: Board
) -> None:
    sources.history = None
    async with opened(browser, f"{served.url}machines/pump-04") as page:
        await expect(page.locator(".charted")).to_contain_text("there is no historian in this process")
        await expect(page.locator(".charted")).to_contain_text("Shown is what has come since this page was opened.")
        pump = board.machines["pump-04"].latest.header
        for value in (13.0, 14.0, 15.0):
            board.update(full(pump, [value, 4.2], t=time.time_ns()))
            await expect(page.locator(".reading")).to_have_text(f"{value:g} m³/h")
        await expect(page.locator(".chart")).to_have_attribute("aria-label", re.compile("from 1[23].* to 15 m³/h"))


async def test_a_lost_gateway_strikes_its_values_out(browser: Browser, board: Board) -> None:
    server = await serve(whole(board), "127.0.0.1", 0, interval=INTERVAL)
    async with opened(browser, f"{server.url}machines/pump-04") as page:
        await expect(row(page, "flow").locator(".value")).to_have_text("12.061 m³/h")
        await server.stop()
        await expect(page.locator("#lost")).to_contain_text("Connection to the gateway lost")
        await expect(row(page, "flow").locator(".age")).not_to_have_text("now")
        struck = await row(page, "flow").locator(".number").evaluate("e => getComputedStyle(e).textDecorationLine")
        assert "line-through" in struck
