"""The Vietnamese pages are Vietnamese: what the gateway says in English is told in words, or marked as English behind a title."""

from __future__ import annotations

import ast
import time
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, expect

import gateway
from gateway.config.production import EnergySettings, KpiSettings
from gateway.events import Event
from gateway.faults import Reason, explain
from gateway.model import MachinePath, Signal
from gateway.production.doing import state_signals
from gateway.production.report import figure_signals
from gateway.web import Board
from gateway.web.server import WebServer
from gateway.web.sources import Sources
from web.pages.looking import english_left, opened, tile, whole
from web.plant import S, full, header, lost

pytestmark = pytest.mark.asyncio(loop_scope="module")

# What is said of events: kind, state, fault, text, and how it is told. An Ellipsis: as English behind the title of the fault.
EVENTS: list[tuple[Any, str, str, str, Any]] = [
    ("gateway", "stopped", "", "ended without a word: killed, or a power cut", "tắt đột ngột: bị kill hoặc mất điện"),
    ("gateway", "degraded", "port-taken", "there is no page: another program uses this port", ...),
    ("gateway", "online", "", "status page: http://127.0.0.1:8080/", "trang trạng thái: http://127.0.0.1:8080/"),
    ("machine", "degraded", "modbus-no-answer", "3 of 1204 signals are bad, 2 bad:no-communication", "3 trên 1.204 tín hiệu xấu, trong đó 2: không trả lời"),
    ("machine", "offline", "modbus-no-answer", "every signal is bad:server:BadNodeIdUnknown", "mọi tín hiệu đều: xấu: mã BadNodeIdUnknown"),
    ("broker", "offline", "broker-closed", "the broker closed the connection", ...),
    ("clock", "set", "clock-wrong", "the clock was set back by 3.0 s: followed (-3.000 s)", "đồng hồ được chỉnh lùi 3,0 s: đã theo giờ mới (-3.000 s)"),
    ("clock", "set", "clock-wrong", "the clock jumped forward by 400.5 days: followed, it has stood there for 600.0 s (+34603200.000 s)", "đồng hồ nhảy tới 400,5 ngày: đã theo, vì giờ mới giữ nguyên 600,0 s (+34603200.000 s)"),
    ("loss", "lost", "data-lost", "press-07/melt_temp: 92 readings lost: too-old", "press-07/melt_temp: mất 92 số đọc: Chờ lâu hơn thời gian bộ đệm giữ"),
    ("loss", "lost", "data-lost", "an unknown number of readings lost: damaged", "mất một số số đọc, không rõ bao nhiêu: Bị hỏng trên ổ đĩa"),
    ("access", "refused", "", "a wrong password for anna from 10.0.0.7", "anna gõ sai mật khẩu, từ 10.0.0.7"),
    ("access", "password-set", "", "the password of anna was set", "mật khẩu của anna đã được đặt"),
    ("config", "reloaded", "", "anna: machine lathe-03 is new", ...),
    ("config", "safe mode", "config-refused", "safe mode, nothing is read: gateway.yaml:3:1: error: a key is missing", ...),
    ("store", "offline", "store-unreachable", "http://influx:8086: connection refused by the other side", ...),
]  # fmt: skip


@pytest.fixture
def sources(board: Board) -> Sources:
    everything, now = whole(board), time.time_ns()
    for n, (kind, state, fault, text, _) in enumerate(EVENTS):
        everything.events.add(
            Event(now - (100 - n) * S, kind, "press-07" if kind == "machine" else "", state, fault, text)
        )
    press = board.machines["press-07"].condition
    press.set("degraded", now - 310 * S, Reason("2 of 5 signals are bad, 1 bad:no-communication", "modbus-no-answer"))
    board.broker.set("offline", now, Reason("mqtt://broker:1883: the broker closed the connection", "broker-closed"))
    board.store.set("offline", now, "out of reach without the broker", "broker-closed")
    for cause in (
        "link-lost: no one listened",
        "clock: the clock was set forward by 3.0 s: followed",
        "moonlight of the night",
    ):
        lost(board, cause)
    kpi = KpiSettings(good="cycle_count", energy=EnergySettings(counter="cycle_count"))
    derived = (*state_signals(), *figure_signals(kpi), Signal("n_delta", "int", description="What n has counted since its reading before", formula="n - its reading before"))  # fmt: skip
    head = header("press-07", *derived)
    board.add(head, now, "derived")
    values = {"string": "x", "bool": True, "int": 5, "float": 0.5}
    found = [values[signal.type] for signal in derived]
    found[[signal.name for signal in derived].index("shift.uncertain")] = "no readings of 'good'; nobody was there"
    board.update(full(head, found, t=now))
    assert head.path == MachinePath("press-07", "acme", "hanoi", "moulding", "L1")
    return everything


PAGES = {
    "": ".machine .headline dd", "machines/press-07": ".signals tbody tr", "machines/robot-11": ".signals tbody tr",
    "flow": ".way li", "kpi": ".figure-box", "events": ".log li", "config": ".origins tbody tr",
}  # fmt: skip


@pytest.mark.parametrize("path", PAGES)
async def test_no_english_sentence_is_left(browser: Browser, served: WebServer, board: Board, path: str) -> None:
    async with opened(browser, f"{served.url}{path}", "vi-VN", ready=PAGES[path]) as page:
        if path in ("", "flow"):
            await expect(page.locator(".parts li").first).to_contain_text(explain("broker-closed", "vi").title)
        assert await english_left(page) == []
        # What is English behind a title is there, for whoever asks the maker of a device: and is told to be English.
        if path in ("", "flow"):
            first = page.locator(".parts li [lang=en]").first
            await expect(first).to_have_text("mqtt://broker:1883: the broker closed the connection")


async def test_english_would_be_found(browser: Browser, served: WebServer) -> None:
    """Negative control: the English pages are full of it, and one word without its mark is enough."""
    async with opened(browser, f"{served.url}events", "en-US", ready=".log li") as page:
        await page.evaluate("document.documentElement.lang = 'vi'")
        assert len(await english_left(page)) > 10
    async with opened(browser, f"{served.url}events", "vi-VN", ready=".log li") as page:
        marked = page.locator(".log [lang=en]").first
        text = await marked.text_content()
        await marked.evaluate("each => each.removeAttribute('lang')")
        assert text in await english_left(page)


async def test_events_in_words(browser: Browser, served: WebServer) -> None:
    async with opened(browser, f"{served.url}events", "vi-VN", ready=".log li") as page:
        items = page.locator(".log li")
        for n, (_, _, fault, text, told) in enumerate(reversed(EVENTS)):
            note = items.nth(n).locator(".note")
            if told is ...:
                said = text.partition(": ")[2] if text.startswith("anna: ") else text
                await expect(note.locator("[lang=en]")).to_have_text(said)
            else:
                await expect(note).to_contain_text(told)
                await expect(note.locator("[lang=en]")).to_have_count(0)
            if fault:
                await expect(note).to_contain_text(explain(fault, "vi").title)
            # Its kind and state are told in words, too.
            words = await items.nth(n).locator("div > span").first.text_content()
            assert words
            assert words.isascii() is False, words


async def test_the_same_events_in_english_are_as_they_were_said(browser: Browser, served: WebServer) -> None:
    async with opened(browser, f"{served.url}events", "en-US", ready=".log li") as page:
        items = page.locator(".log li")
        for n, (kind, _, _, text, _) in enumerate(reversed(EVENTS)):
            wanted = {
                "3 of 1204 signals are bad, 2 bad:no-communication": "3 of 1,204 signals are bad, 2 does not answer",
                "every signal is bad:server:BadNodeIdUnknown": "every signal is bad: status BadNodeIdUnknown",
                "press-07/melt_temp: 92 readings lost: too-old": "press-07/melt_temp: 92 readings lost: Waited longer than the buffer keeps anything",
                "an unknown number of readings lost: damaged": "an unknown number of readings lost: Damaged on the disk",
            }.get(text, text)  # fmt: skip
            await expect(items.nth(n).locator(".note")).to_contain_text(wanted)
            assert kind


async def test_reasons_on_a_tile(browser: Browser, served: WebServer, board: Board) -> None:
    async with opened(browser, served.url, "vi-VN", ready=".machine .headline dd") as page:
        why = tile(page, "press-07").locator(".why")
        await expect(why).to_contain_text("2 trên 5 tín hiệu xấu, trong đó 1: không trả lời")
        # A reason that is not known by its words has a title in front, once the catalogue is there.
        why = tile(page, "robot-11").locator(".why")
        await expect(why).to_contain_text(explain("connection-timeout", "vi").title)
        await expect(why.locator("[lang=en]")).to_have_text(
            "10.20.0.44:502: no answer within 1 s; is the machine switched on?"
        )
        text = await why.text_content()
        assert text is not None
        assert text.index(explain("connection-timeout", "vi").title) < text.index("10.20.0.44")


async def test_what_is_worked_out_is_described(browser: Browser, served: WebServer) -> None:
    async with opened(browser, f"{served.url}machines/press-07", "vi-VN", ready=".signals tbody tr") as page:
        row = page.locator(".signals tr").filter(has=page.get_by_role("button", name="state", exact=True))
        await expect(row.locator("th .note")).to_have_text("Máy đang làm gì")
        row = page.locator(".signals tr").filter(has=page.get_by_role("button", name="shift.energy", exact=True))
        await expect(row.locator(".address")).to_have_text("số công tơ lúc cuối - số công tơ lúc đầu")
        row = page.locator(".signals tr").filter(has=page.get_by_role("button", name="n_delta", exact=True))
        await expect(row.locator("th .note")).to_have_text("Lượng n đếm được kể từ lần đọc trước")


async def test_the_clock_that_nothing_answers_for(browser: Browser, served: WebServer, sources: Sources) -> None:
    for locale, word, why in (
        ("en-US", "not synchronised", "nothing answers for its time"), ("vi-VN", "chưa đồng bộ", "không có gì giữ giờ đúng"),
    ):  # fmt: skip
        sources.answers_for_time = lambda: False
        async with opened(browser, served.url, locale, ready=".machine .headline dd") as page:
            clock = page.locator(".parts li").filter(has=page.locator("svg")).last
            await expect(clock.locator("strong")).to_have_text(word)
            await expect(clock.locator(".note")).to_contain_text(why)
            for known in (True, None):  # None: the kernel may not be asked, as in a container
                sources.answers_for_time = lambda known=known: known
                await expect(clock.locator("strong")).to_have_text("is right" if locale == "en-US" else "đúng giờ")
                sources.answers_for_time = lambda: False
                await expect(clock.locator("strong")).to_have_text(word)


async def test_every_kind_of_event_there_is_has_words() -> None:
    """All `Event(…, "kind", …, "state", …)` and `_happened(…, "state", …)` of the code: none is told as `kind · state`."""
    from web.test_page_texts import texts

    found = set[str]()
    for path in Path(gateway.__file__).parent.rglob("*.py"):
        for call in (n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call)):
            name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
            given = [a.value if isinstance(a, ast.Constant) else None for a in call.args]
            if name == "Event" and len(given) >= 4 and given[1] is not None and given[3] is not None:
                found.add(f"event.{given[1]}.{given[3]}")
            elif name == "_happened" and len(given) == 3 and given[1] is not None:
                found.add(f"event.access.{given[1]}")
    assert {"event.gateway.started", "event.access.refused"} <= found
    general = {key for key in texts("vi") if key in ("event.clock", "event.loss")}
    assert {key for key in found if key not in texts("vi") and key.rpartition(".")[0] not in general} == set()
