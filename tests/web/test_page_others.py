"""Data flow, figures, events, configuration, and who may come in."""

import ast
import inspect
import re
import time
from typing import Any

import pytest
from playwright.async_api import Browser, Page, Route, expect

from gateway.counters import FlowCounters
from gateway.events import Event
from gateway.faults import Reason, explain
from gateway.model import INCOMPLETE, MachinePath, Signal
from gateway.mqtt.payload import Loss
from gateway.production import energy, kpi, live
from gateway.web import Board
from gateway.web.server import WebServer, serve
from gateway.web.sources import Sources
from web.pages.looking import INTERVAL, Configured, Controlled, opened, whole
from web.plant import S, Used, full, header, lost, signal

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture
def sources(board: Board) -> Sources:
    everything = whole(board)
    board.losses.clear()
    return everything


def fact(page: Page, name: str) -> Any:
    return page.locator(".facts > div").filter(has=page.locator("dt", has_text=re.compile(f"^{name}$"))).locator("dd")


# --- data flow -------------------------------------------------------------------------------------------------------


async def test_the_way_of_the_data(browser: Browser, served: WebServer, board: Board) -> None:
    async with opened(browser, f"{served.url}flow") as page:
        stages = page.locator(".way li")
        await expect(stages.locator("h2")).to_have_text(["Read", "Normalized", "On disk", "Sent", "Stored"])
        await expect(stages.nth(3)).to_contain_text("557,988 in total")
        await expect(stages.nth(4)).to_contain_text("557,976 in total")
        await expect(fact(page, "Full")).to_contain_text("30.5% · 41 MB of 134.2 MB")
        await expect(fact(page, "Messages waiting")).to_have_text("12")
        await expect(fact(page, "Full in")).to_have_text("does not fill up")
        used = Used(unsafe=1832, trouble="No space left on device")
        board.usage = lambda: used
        await expect(page.locator(".card .alert")).to_contain_text("The disk cannot be written: it is full.")
        await expect(fact(page, "Only in memory")).to_have_text("1,832")


async def test_a_disk_in_trouble_is_explained(browser: Browser, served: WebServer, board: Board) -> None:
    used = Used(unsafe=3, trouble=Reason("No space left on device", "disk-full"))
    board.usage = lambda: used
    for locale, question, language in (
        ("en-US", "Why can the disk not be written?", "en"), ("vi-VN", "Vì sao không ghi được vào ổ đĩa?", "vi"),
    ):  # fmt: skip
        async with opened(browser, f"{served.url}flow", locale) as page:
            await page.get_by_text(question).click()
            await expect(page.locator(".inside .fault")).to_have_text(explain("disk-full", language).title)
            await expect(page.locator(".inside ol li").first).to_be_visible()
            await expect(page.locator(".inside code")).to_have_text("disk-full")
    async with opened(browser, f"{served.url}flow") as page:
        await expect(page.get_by_text("Why can the disk not be written?")).to_be_visible()
        used.trouble = ""
        await expect(page.get_by_text("Why can the disk not be written?")).to_have_count(0)


async def test_losses_are_shown_once_there_are_any(browser: Browser, served: WebServer, board: Board) -> None:
    async with opened(browser, f"{served.url}flow", timezone_id="UTC") as page:
        section = page.get_by_role("region", name="Losses")
        await expect(page.locator(".way li").first).to_contain_text("in total")
        await expect(section).to_have_count(0)
        declared = 1_790_000_000 * S
        board.lost(
            Loss("e", 5, 9, 1204, declared - 3723 * S, declared - 61 * S, "too-old", "press-07", "melt_temp"), declared
        )
        await expect(section).to_be_visible()
        await expect(section.get_by_role("columnheader")).to_have_text(["Recorded", "What is missing", "Why"])
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
    others = ["moonlight", "moonlight: full", "<b>x</b>", "constructor", ": "]
    for cause in [*others, *CAUSES][::-1]:
        lost(board, cause)
    async with opened(browser, f"{served.url}flow") as page:
        await page.get_by_role("button", name="Show the newest 20").click()
        shown = await page.locator("#losses td.cause").all_text_contents()
        assert shown == [*others, *CAUSES.values()]


async def test_how_much_was_lost_and_of_what(browser: Browser, served: WebServer, board: Board) -> None:
    lost(board, "clock: the clock was set forward by 3.0 s: followed")
    async with opened(browser, f"{served.url}flow") as page:
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
    async with opened(browser, f"{served.url}flow", "vi-VN") as page:
        section = page.get_by_role("region", name="Số liệu bị mất")
        await expect(section.locator("td.what span").first).to_have_text("92.000 số liệu")
        await expect(section.locator("td.cause p")).to_have_text(
            ["Bộ đệm sắp đầy nên đã bớt số liệu", "giữ một giá trị mỗi 60 giây"]
        )


async def test_many_losses_are_folded(browser: Browser, served: WebServer, board: Board) -> None:
    for n in range(7):
        lost(board, "buffer-full", n + 1, "press-07" if n % 2 else "")
    async with opened(browser, f"{served.url}flow") as page:
        many, button = page.locator("#losses td.what span:nth-child(2)"), page.locator("#losses button")
        await expect(many).to_have_text([f"{n} readings" for n in (7, 6, 5, 4, 3)])
        await expect(button).to_have_attribute("aria-expanded", "false")
        await button.focus()
        await page.keyboard.press("Enter")
        await expect(many).to_have_count(7)
        await expect(button).to_have_text("Show less")
        await expect(button).to_be_focused()
        lost(board, "buffer-full", 8)
        await expect(many).to_have_count(8)
        await button.press("Enter")
        await expect(many).to_have_count(5)


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
    async with opened(browser, f"{server.url}flow", locale) as page:
        await expect(page.locator(".weak")).to_contain_text(weak)
        await expect(page.locator("[data-step=stored] .note").first).to_have_text(note)
    await server.stop()


async def test_delivery_to_the_store_needs_no_word(browser: Browser, served: WebServer) -> None:
    async with opened(browser, f"{served.url}flow") as page:
        await expect(page.locator(".way li").first).to_contain_text("in total")
        await expect(page.locator(".weak")).to_be_hidden()


# --- figures ---------------------------------------------------------------------------------------------------------

START = 1_790_000_000_000  # 2026-09-21T14:13:20Z


def with_figures(board: Board) -> None:
    """A shift of press-07 that still runs. OEE = 6 s x 1188 / 9000 s = 0.792."""
    signals = (
        Signal("shift.name", "string"), Signal("shift.start", "int"), Signal("shift.end", "int"), Signal("shift.complete", "bool"),
        Signal("shift.oee", "float", "1", formula="PRI x GQ / PBT", made_of=("shift.ideal_cycle", "shift.good", "shift.planned_busy_time")),
        Signal("shift.energy", "float", "kW.h", formula="meter at the end - meter at the start", made_of=("energy_total",)),
        Signal("shift.ideal_cycle", "float", "s"), Signal("shift.good", "float", "1"), Signal("shift.planned_busy_time", "float", "s"),
    )  # fmt: skip
    now = time.time_ns()
    derived = header("press-07", *signals)
    assert derived.path == MachinePath("press-07", "acme", "hanoi", "moulding", "L1")
    board.add(derived, now, "derived")
    values = ["early", START, START + 28_800_000, False, 0.792, 412.5, 6.0, 1188.0, 9000.0]
    board.update(full(derived, values, [0, 0, 0, 0, 0, INCOMPLETE, 0, 0, 0], now))


async def test_figures_with_their_inputs(browser: Browser, served: WebServer, board: Board) -> None:
    with_figures(board)
    async with opened(browser, f"{served.url}kpi", timezone_id="UTC") as page:
        card = page.get_by_role("region", name="press-07")
        await expect(card.locator("h3")).to_contain_text("Shift early")
        await expect(card.locator("h3")).to_contain_text("still running")
        oee = card.locator("[data-figure=oee]")
        await expect(oee.locator(".big")).to_have_text("79.2%")
        await expect(oee.locator("dl")).to_have_count(0)
        await oee.locator("summary").focus()
        await page.keyboard.press("Enter")
        await expect(oee.locator("dl > div")).to_have_text(
            ["Ideal cycle6 s", "Good parts1,188", "Planned busy time2 hr"]
        )
        await expect(oee.locator("code")).to_have_text("PRI x GQ / PBT")
        await expect(card.locator("[data-figure=energy] .big")).to_have_text("412.5 kWh")


async def test_figures_in_vietnamese(browser: Browser, served: WebServer, board: Board) -> None:
    with_figures(board)
    async with opened(browser, f"{served.url}kpi", "vi-VN") as page:
        card = page.get_by_role("region", name="press-07")
        await expect(card.locator("[data-figure=energy] summary")).to_contain_text("Điện năng tiêu thụ")
        await expect(card.locator("[data-figure=energy] .big")).to_have_text("412,5 kWh")
        await expect(card.locator("[data-figure=oee] .big")).to_have_text("79,2%")
        await expect(card.locator("h3")).to_contain_text("Ca early")


def night(board: Board, doubts: str = "") -> None:
    """The newest shift from 22:00 to 06:00 in Ho Chi Minh City, UTC+7: 15:00 to 23:00 UTC."""
    now = time.time_ns()
    names = ("shift.name", "shift.start", "shift.end", "shift.complete", "shift.uncertain", "shift.energy")
    types: tuple[Any, ...] = ("string", "int", "int", "bool", "string", "float")
    made = [Signal(n, t, formula="x" if t == "float" else "") for n, t in zip(names, types, strict=True)]
    derived = header("press-07", *made)
    start = (now // S - 15 * 3600) // 86_400 * 86_400_000 + 15 * 3_600_000
    board.add(derived, now, "derived")
    board.update(full(derived, ["night", start, start + 28_800_000, False, doubts, 1.5], t=now))


async def test_a_shift_is_in_the_time_of_the_plant(
    browser: Browser, served: WebServer, sources: Sources, board: Board
) -> None:
    night(board)
    assert isinstance(sources.configuring, Configured)
    sources.configuring.timezone = "Asia/Ho_Chi_Minh"
    for zone in ("Europe/Berlin", "Asia/Ho_Chi_Minh", "America/Los_Angeles"):
        async with opened(browser, f"{served.url}kpi", timezone_id=zone) as page:
            # Dates stand before both where it began more than 20 hours ago, or ends so long after now.
            await expect(page.locator("h3 .note")).to_have_text(re.compile(r"^night · (.*, )?22:00 – (.*, )?06:00 · "))
    await expect_utc(browser, served, sources)


async def expect_utc(browser: Browser, served: WebServer, sources: Sources) -> None:
    """Nobody has said where the plant is: its calendar is UTC, and that is said where the reader's time is another one."""
    assert isinstance(sources.configuring, Configured)
    sources.configuring.timezone = ""
    said = "Shifts and hours are in UTC: the time zone of the plant is not configured (site: timezone)."
    for zone, there in (("Asia/Ho_Chi_Minh", True), ("UTC", False)):
        async with opened(browser, f"{served.url}kpi", timezone_id=zone) as page:
            await expect(page.locator("h3 .note")).to_have_text(re.compile(r"^night · (.*, )?15:00 – (.*, )?23:00 · "))
            await expect(page.get_by_text(said)).to_have_count(int(there))


DOUBTS = {
    "begins with the first reading, 266 min late": "bắt đầu từ số liệu đầu tiên, muộn 266 phút",
    "no readings of 'good'": "không có số liệu của 'good'",
    "12% of the energy are spread evenly over a time without readings": "12% điện năng được chia đều cho khoảng thời gian không có số liệu",
    "12% of 'good' are spread evenly over a time without readings": "12% của 'good' được chia đều cho khoảng thời gian không có số liệu",
    "'good' was not read for 30% of the planned time": "không đọc được 'good' trong 30% thời gian theo kế hoạch",
    "'energy' was not read for 30% of the time": "không đọc được 'energy' trong 30% thời gian",
    "more good parts than parts": "sản phẩm đạt nhiều hơn tổng sản phẩm",
    "'good' and 'reject' are 1204, 'total' is 1190": "'good' cộng 'reject' là 1.204, còn 'total' là 1.190",
    "the state is unknown for 8% of the planned busy time": "không rõ trạng thái trong 8% thời gian làm việc theo kế hoạch",
    "performance is 110.5%: `ideal_cycle` may be too long": "hiệu suất là 110,5%: ideal_cycle có thể quá dài",
    "parts were counted, but the machine was never running": "có đếm sản phẩm, nhưng máy không hề chạy",
}  # fmt: skip


async def test_doubts_in_vietnamese(browser: Browser, served: WebServer, board: Board) -> None:
    said = "no readings of 'good'; begins with the first reading, 266 min late; <b>something</b> new"
    night(board, said)
    async with opened(browser, f"{served.url}kpi", "vi-VN") as page:
        await expect(page.get_by_text("Chưa chắc chắn: ")).to_have_text(
            "Chưa chắc chắn: không có số liệu của 'good'; bắt đầu từ số liệu đầu tiên, muộn 266 phút; <b>something</b> new"
        )
        told = "all => import('/static/doubts.js').then(m => all.map(one => m.doubts(one).map(part => part.en ?? part).join('; ')))"
        assert await page.evaluate(told, list(DOUBTS)) == list(DOUBTS.values())
        # No sentence that the gateway can say is left in English.
        sentences = doubts_of_the_gateway()
        assert len(sentences) == 16
        assert [a for a, b in zip(sentences, await page.evaluate(told, sentences), strict=True) if a == b] == []


def doubts_of_the_gateway() -> list[str]:
    """Every sentence in the functions that doubt, with something in its places."""
    found = []
    for module, names in ((kpi, {"_parts", "_doubts"}), (energy, {"energy", "_missing"}), (live, {"_readings"})):
        tree = ast.parse(inspect.getsource(inspect.getmodule(module)))  # type: ignore[arg-type]  # `energy` is a function, too
        for function in (f for f in ast.walk(tree) if isinstance(f, ast.FunctionDef) and f.name in names):
            parts = [n for n in ast.walk(function) if isinstance(n, ast.JoinedStr)]
            inner = {id(each) for part in parts for each in ast.walk(part) if each is not part}
            plain = [n for n in ast.walk(function) if isinstance(n, ast.Constant) and id(n) not in inner]
            texts = [
                str(n.value)
                for n in plain
                if isinstance(n.value, str) and inspect.cleandoc(n.value) != ast.get_docstring(function)
            ]
            texts += ["".join(map(_sample, n.values)) for n in parts if id(n) not in inner]
            found += [text for text in texts if " " in text.strip("; ")]
    return found


def _sample(part: ast.expr) -> str:
    if isinstance(part, ast.Constant):
        return str(part.value)
    assert isinstance(part, ast.FormattedValue)
    spec = "" if part.format_spec is None else ast.unparse(part.format_spec)
    return "7%" if "%" in spec else "7" if spec else "good"


async def test_no_figures_is_said(browser: Browser, served: WebServer) -> None:
    async with opened(browser, f"{served.url}kpi") as page:
        await expect(page.locator("main")).to_contain_text("No machine has figures yet")


# --- events ----------------------------------------------------------------------------------------------------------


async def test_events_of_all_and_of_one_machine(browser: Browser, served: WebServer, sources: Sources) -> None:
    async with opened(browser, f"{served.url}events") as page:
        await expect(page.locator(".log li")).to_have_count(11)
        await expect(page.locator(".log li").first).to_contain_text("robot-11 was lost")
        await expect(page.locator(".log")).to_contain_text("Buffer cannot be written")
        await expect(page.locator(".log")).to_contain_text("Configuration was taken over")
        await page.get_by_label("Machine").select_option("robot-11")
        await expect(page.locator(".log li")).to_have_count(2)
        assert page.url.endswith("/events?machine=robot-11")
        sources.events.add(Event(time.time_ns(), "machine", "robot-11", "online"))
        await expect(page.locator(".log li")).to_have_count(3)  # by itself
        sources.events.add(Event(time.time_ns(), "machine", "press-07", "online"))
        await page.get_by_label("Machine").select_option("")
        await expect(page.locator(".log li")).to_have_count(13)
        await page.get_by_label("Kind").select_option("broker")
        await expect(page.locator(".log li")).to_have_count(2)


async def test_older_events_are_asked_for(browser: Browser, served: WebServer, sources: Sources) -> None:
    now = time.time_ns()
    sources.events.recall([Event(now - (300 - n) * 86_400 * S, "broker", "", "online") for n in range(150)])
    async with opened(browser, f"{served.url}events") as page:
        await expect(page.locator(".log li")).to_have_count(100)
        await page.get_by_role("button", name="Older events").click()
        await expect(page.locator(".log li")).to_have_count(161)
        await expect(page.get_by_role("button", name="Older events")).to_be_hidden()


# --- configuration -----------------------------------------------------------------------------------------------------


async def test_where_each_value_comes_from(browser: Browser, served: WebServer) -> None:
    async with opened(browser, f"{served.url}config") as page:
        rows = page.locator(".origins tbody tr")
        await expect(rows).to_have_count(3)
        await expect(rows.first).to_have_text("gateway.id" + "edge-01" + "file · gateway.yaml:2")
        await expect(rows.last).to_have_text("mqtt.port" + "1883" + "default")  # what nobody wrote comes last
        await expect(page.locator(".newer")).to_contain_text("The files have been changed since")
        await expect(page.locator(".warnings")).to_contain_text("machines/press-07.yaml:3: no unit")
        await page.get_by_label("Keys of").select_option("press-07")
        await expect(rows).to_have_count(100)
        await page.get_by_role("button", name="Show all 150 keys").click()
        await expect(rows).to_have_count(150)
        await page.get_by_role("searchbox").fill("signals.77")
        await expect(rows).to_have_count(1)
        await page.get_by_text("machines/press-07.yaml", exact=True).last.click()
        await expect(page.get_by_role("region", name="machines/press-07.yaml")).to_have_text("a: 1")


@pytest.mark.parametrize(
    ("locale", "shipped", "said"),
    [("en-US", "comes with the gateway", "cannot be changed"), ("vi-VN", "có sẵn trong cổng dữ liệu", "Không thể thay đổi cấu hình")],
)  # fmt: skip
async def test_a_configuration_that_cannot_be_changed(
    browser: Browser, served: WebServer, sources: Sources, locale: str, shipped: str, said: str
) -> None:
    assert isinstance(sources.configuring, Configured)
    sources.configuring.fixed = True
    async with opened(browser, f"{served.url}config", locale) as page:
        await expect(page.locator(".origins tbody tr")).to_contain_text(f"{shipped} · gateway.yaml:7")
        await expect(page.locator(".warnings")).to_contain_text(said)
        await expect(page.locator(".newer")).to_have_count(0)
        await expect(page.locator("main button.main:visible")).to_have_count(0)  # neither reload nor an earlier version


async def test_a_file_is_checked_before_it_is_used(browser: Browser, served: WebServer, sources: Sources) -> None:
    configured: Any = sources.configuring
    assert isinstance(configured, Configured)
    async with opened(browser, f"{served.url}config") as page:
        await page.get_by_text("Check a file before it is used").click()
        await page.get_by_label("It replaces").select_option("machines/press-07.yaml")
        box = page.get_by_label("Paste the text")
        await box.fill("signals:\n  - {name: a, type: int23}\n")
        await page.get_by_role("button", name="Check", exact=True).click()
        await expect(page.locator(".result .error")).to_have_text("It would be refused:")
        problem = page.locator(".problems li").last
        await expect(problem).to_contain_text("machines/press-07.yaml, line 2: signals[3].type 'int23' is not known.")
        await expect(problem).to_contain_text("Did you mean 'int32'?")
        chosen = "(e => e.value.slice(e.selectionStart, e.selectionEnd))(document.getElementById('paste'))"
        assert await page.evaluate(chosen) == "  - {name: a, type: int23}"
        assert configured.asked[-1][1] == "machines/press-07.yaml"
        await box.fill("signals: []\n")
        await page.get_by_role("button", name="Check", exact=True).click()
        await expect(page.locator(".result .right")).to_have_text("Nothing is wrong with it.")
        await expect(page.locator(".diff ins")).to_have_text("+ poll: 2s\n")


async def test_nothing_is_taken_over_without_a_second_word(
    browser: Browser, served: WebServer, sources: Sources
) -> None:
    control: Any = sources.control
    assert isinstance(control, Controlled)
    async with opened(browser, f"{served.url}config") as page:
        button = page.get_by_role("button", name="Take over the files as they are now")
        await button.click()
        await page.get_by_role("button", name="Cancel").click()
        await button.click()
        await page.keyboard.press("Escape")
        await expect(page.get_by_role("dialog")).to_be_hidden()
        assert control.done == []
        await button.click()
        await page.get_by_role("button", name="Yes, take over").click()
        await expect(page.locator(".result").first).to_contain_text("Taken over.")
        await expect(page.locator(".result").first).to_contain_text("Touched: line-1")
        await expect(page.locator(".result").first).to_contain_text("Only after a restart: web")
        assert [what for what, _ in control.done] == ["reload"]
        await page.get_by_role("button", name="Back to version 2").click()
        await expect(page.get_by_role("dialog")).to_contain_text("Put version 2 back")
        await page.get_by_role("button", name="Yes, take over").click()
        await expect(page.locator(".result").first).to_have_text("Taken over.")
        assert control.done[-1] == ("rollback", 2)
        control.errors = ["press-07.yaml:14: signals[3].type: 'int23' is not known."]
        await button.click()
        await page.get_by_role("button", name="Yes, take over").click()
        await expect(page.locator(".result").first).to_contain_text("Refused: nothing has changed.")
        await expect(page.locator(".result .problems")).to_contain_text("press-07.yaml:14")


async def test_without_a_configuration_it_says_so(browser: Browser, served: WebServer, sources: Sources) -> None:
    sources.configuring = sources.control = None
    async with opened(browser, f"{served.url}config") as page:
        await expect(page.locator("main > div > .error")).to_contain_text("is not known in this process")


# --- who may come in ---------------------------------------------------------------------------------------------------


class Somebody:
    """Answers for the doors of the gateway, which have tests of their own: here it is what the page makes of them."""

    def __init__(self, page_session: dict[str, Any]) -> None:
        self.session = {
            "user": None,
            "role": None,
            "csrf": "token",
            "login": "password",
            "setup": False,
            **page_session,
        }
        self.posts: list[tuple[str, dict[str, str], Any]] = []

    async def at(self, page: Page) -> None:
        await page.route(re.compile("/api/v1/(session|login|logout|password)$"), self.answer)

    async def answer(self, route: Route) -> None:
        request = route.request
        what = request.url.rpartition("/")[2]
        if what != "session":
            self.posts.append((what, await request.all_headers(), request.post_data_json))
        if what == "login" and request.post_data_json["password"] != "right horse":
            await route.fulfill(status=401, json={"error": "user or password is wrong", "hint": ""})
            return
        if what in ("login", "password"):
            self.session |= {"user": "anna", "role": "engineer", "setup": False}
        if what == "logout":
            self.session |= {"user": None, "role": None}
        await route.fulfill(json=self.session)


async def test_logging_in_and_out(browser: Browser, served: WebServer) -> None:
    somebody = Somebody({})
    async with opened(browser, f"{served.url}flow", ready="main h1") as page:
        await somebody.at(page)
        await page.reload()
        await expect(page.locator("main h1")).to_have_text("Log in")
        await expect(page.get_by_role("navigation")).to_be_hidden()
        await page.get_by_label("User").fill("anna")
        await page.get_by_label("Password").fill("wrong horse")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("alert").last).to_have_text("User or password is wrong.")
        await page.get_by_label("Password").fill("right horse")
        await page.keyboard.press("Enter")
        await expect(page.locator("main h1")).to_have_text("Data flow")  # where they wanted to go
        what, headers, body = somebody.posts[-1]
        assert (what, body) == ("login", {"user": "anna", "password": "right horse"})
        assert headers["x-csrf-token"] == "token"
        assert headers["content-type"] == "application/json"
        await expect(page.locator("#who")).to_contain_text("anna (engineer)")
        await page.get_by_role("button", name="Log out").click()
        await expect(page.locator("main h1")).to_have_text("Log in")


async def test_the_address_of_the_door(browser: Browser, served: WebServer) -> None:
    """Whoever types /login is let in there, and goes on to the plant; who needs no login is there already."""
    async with opened(browser, f"{served.url}login") as page:
        await expect(page.locator(".machine").first).to_be_visible()
        assert page.url == served.url
        looking_on = Somebody({"role": "viewer"})  # may look on without a name
        await looking_on.at(page)
        await page.goto(f"{served.url}login")
        await expect(page.locator("main h1")).to_have_text("Log in")
        await page.get_by_label("User").fill("anna")
        await page.get_by_label("Password").fill("right horse")
        await page.keyboard.press("Enter")
        await expect(page.locator(".machine").first).to_be_visible()
        assert page.url == served.url


async def test_the_first_start(browser: Browser, served: WebServer) -> None:
    somebody = Somebody({"setup": True})
    async with opened(browser, served.url, "vi-VN") as page:
        await somebody.at(page)
        await page.reload()
        await expect(page.locator("main h1")).to_have_text("Lần khởi động đầu tiên")
        await page.get_by_label("Mã cài đặt").fill("ABCD-EFGH")
        await page.get_by_label("Người dùng").fill("anna")
        await page.get_by_label("Mật khẩu mới").fill("right horse")
        await page.keyboard.press("Enter")
        await expect(page.locator(".machine").first).to_be_visible()
        body = {"code": "ABCD-EFGH", "user": "anna", "password": "right horse"}
        assert somebody.posts[-1][::2] == ("password", body)


async def test_a_viewer_is_offered_no_change(browser: Browser, served: WebServer) -> None:
    somebody = Somebody({"user": "binh", "role": "viewer"})
    async with opened(browser, served.url) as page:
        await somebody.at(page)
        await page.goto(f"{served.url}config")
        await expect(page.locator("main")).to_contain_text("Only an engineer may change something here.")
        await expect(page.locator(".origins tbody tr").first).to_be_visible()
        await expect(page.get_by_role("button", name="Take over the files as they are now")).to_be_hidden()
        assert await page.get_by_role("button", name="Back to version 2").count() == 0
