"""The plant and the frame around every page, in a real browser: Chromium, over HTTP, on a board like that of a plant."""

import asyncio
import base64
import re
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import quote

import pytest
from playwright.async_api import Browser, Page, expect

from gateway.events import Event, Events
from gateway.model import STALE
from gateway.mqtt.payload import Loss
from gateway.web import Board
from gateway.web.server import WebServer, serve
from gateway.web.sources import Sources
from web.pages.looking import INTERVAL, Configured, opened, tile, whole
from web.plant import S, Used, empty_board, full, header, signal

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def verdict(page: Page, *sentences: str) -> None:
    await expect(page.locator(".verdict > span:last-child > span")).to_have_text(list(sentences))


def headline(page: Page, machine: str, name: str) -> Any:
    rows = tile(page, machine).locator(".headline > div")
    return rows.filter(has=page.locator("dt", has_text=re.compile(f"^{name}$"))).locator("dd")


def part(page: Page, name: str) -> Any:
    return page.locator(".parts li").filter(has=page.locator(".name", has_text=re.compile(f"^{name}$")))


async def test_machines_and_values_are_there_within_a_second(browser: Browser, served: WebServer) -> None:
    async with opened(browser, served.url) as page:
        took = []
        for _ in range(3):
            await page.reload()
            await page.wait_for_selector(".headline dd:visible")
            took.append(await page.evaluate("performance.getEntriesByName('first-values')[0].startTime"))
        assert min(took) < 1000


async def test_a_phone_has_values_soon(
    browser: Browser, served: WebServer, record_property: Callable[[str, object], None]
) -> None:
    """A phone of the middle class over mobile radio: a fourth of the CPU, 60 ms, 6 Mbit/s, and nothing in its cache.

    Wanted is 1 s on a quiet computer; at a load of 10 to 15 it took 0.7 to 1.1 s. The bound is one that a busy one keeps, too.
    """
    async with opened(browser, served.url, width=360) as page:
        devtools = await page.context.new_cdp_session(page)
        await devtools.send("Network.enable")
        await devtools.send("Emulation.setCPUThrottlingRate", {"rate": 4})
        conditions = {"offline": False, "latency": 60, "downloadThroughput": 6e6 / 8, "uploadThroughput": 6e6 / 8}
        await devtools.send("Network.emulateNetworkConditions", conditions)
        took = []
        for _ in range(5):
            await devtools.send("Network.clearBrowserCache")
            await page.reload()
            await page.wait_for_selector(".headline dd:visible", timeout=30_000)
            took.append(await page.evaluate("performance.getEntriesByName('first-values')[0].startTime"))
        shown = " ".join(f"{each:.0f}" for each in took)
        record_property("first_values_ms", shown)
        print(f"\nfirst values on a phone after {shown} ms")
        assert min(took) > 60  # negative control: less than one round trip would mean that nothing was slowed down
        assert min(took) < 4000


async def test_few_small_files(browser: Browser, served: WebServer) -> None:
    """Over a slow line the number of questions counts as much as their size; nothing comes from elsewhere."""
    async with opened(browser, served.url) as page:
        await page.wait_for_selector(".headline dd:visible")
        files = await page.evaluate(
            "performance.getEntriesByType('resource').filter(e => e.name.includes('/static/'))"
            ".map(e => [e.name, e.encodedBodySize, e.decodedBodySize])"
        )
        others = await page.evaluate(
            "performance.getEntriesByType('resource').filter(e => !e.name.startsWith(location.origin)).length"
        )
        assert len(files) <= 14
        assert sum(size for _, size, _ in files) < 40_000  # on the wire
        assert sum(size for _, _, size in files) < 110_000
        assert others == 0


async def test_trouble_comes_first(browser: Browser, served: WebServer) -> None:
    async with opened(browser, served.url) as page:
        await verdict(page, "1 of 6 machines is offline: robot-11.", "1 of 6 machines is degraded: press-07.")
        names = await page.locator(".machine h3").all_text_contents()
        assert names[:2] == ["robot-11", "press-07"]
        assert sorted(names[2:]) == ["lathe-02", "meter-01", "oven-03", "pump-04"]
        await expect(tile(page, "robot-11").locator(".state")).to_have_text("offline")
        await expect(tile(page, "robot-11").locator(".why")).to_contain_text("is the machine switched on?")
        await expect(tile(page, "robot-11").locator(".why")).to_contain_text("since ")
        await expect(tile(page, "robot-11").locator(".facts")).to_contain_text("newest reading: 21 min")
        await expect(tile(page, "press-07").locator(".place")).to_have_text("acme / hanoi / moulding / L1")
        await expect(tile(page, "press-07").locator(".counts")).to_have_text("● 4 good■ 1 bad")
        await expect(page).to_have_title(re.compile("^1 of 6 machines is offline: robot-11.* – edge-01$"))
        assert await tile(page, "robot-11").locator("svg.icon").count() == 1  # never colour alone


async def test_in_english(browser: Browser, served: WebServer) -> None:
    async with opened(browser, served.url) as page:
        assert await page.get_attribute("html", "lang") == "en"
        await expect(headline(page, "press-07", "cycle_count")).to_have_text("1,204,511 ")
        await expect(headline(page, "press-07", "melt_temp")).to_have_text("231.4 °C")
        await expect(headline(page, "press-07", "hold_pressure")).to_have_text("– ")
        await expect(headline(page, "meter-01", "voltage_l1")).to_have_text("230.4 V")
        await expect(part(page, "Broker")).to_contain_text("online")
        await expect(part(page, "Disk")).to_have_text("Disk" + "can be written" + "30.5% full")
        await expect(part(page, "Clock")).to_contain_text("is right")


async def test_in_vietnamese(browser: Browser, served: WebServer) -> None:
    async with opened(browser, served.url, "vi-VN") as page:
        assert await page.get_attribute("html", "lang") == "vi"
        await verdict(page, "1 trên 6 máy mất kết nối: robot-11.", "1 trên 6 máy có lỗi một phần: press-07.")
        await expect(headline(page, "press-07", "cycle_count")).to_have_text("1.204.511 ")
        await expect(headline(page, "press-07", "melt_temp")).to_have_text("231,4 °C")
        await expect(tile(page, "robot-11").locator(".facts")).to_contain_text("số liệu mới nhất: 21 phút")
        await expect(page.get_by_role("link", name="Dòng dữ liệu")).to_be_visible()


async def test_the_language_is_chosen_and_remembered(browser: Browser, served: WebServer) -> None:
    async with opened(browser, served.url, "vi-VN") as page:
        await page.get_by_role("link", name="English").click()
        await verdict(page, "1 of 6 machines is offline: robot-11.", "1 of 6 machines is degraded: press-07.")
        await page.goto(f"{served.url}flow")
        await expect(page.locator("main h1")).to_have_text("Data flow")
        await page.get_by_role("link", name="Tiếng Việt").click()
        await expect(page.locator("main h1")).to_have_text("Dòng dữ liệu")  # the same page
        await page.goto(served.url)
        await expect(page.locator("html")).to_have_attribute("lang", "vi")


async def test_another_language_reads_english(browser: Browser, served: WebServer) -> None:
    async with opened(browser, served.url, "fr-FR") as page:
        await expect(page.locator("html")).to_have_attribute("lang", "en")


async def test_values_change_as_they_arrive(browser: Browser, served: WebServer, board: Board) -> None:
    async with opened(browser, served.url) as page:
        pump = board.machines["pump-04"]
        value = headline(page, "pump-04", "flow")
        await expect(value).to_have_text("12.06 m³/h")
        board.update(full(pump.latest.header, [7.5, 4.2], t=time.time_ns()))
        await expect(value).to_have_text("7.5 m³/h")
        board.update(full(pump.latest.header, [None, 4.2], [STALE, 0], time.time_ns()))
        await expect(value).to_have_text("– ")
        await expect(tile(page, "pump-04").locator(".counts")).to_contain_text("1 bad")
        pump.condition.set("offline", time.time_ns(), "no answer")
        sentences = page.locator(".verdict > span:last-child > span")
        await expect(sentences.first).to_have_text(re.compile(r"2 of 6 machines are offline: .*pump-04"))


async def test_all_is_well(browser: Browser) -> None:
    board, machine = empty_board(), header("m", signal("a"))
    now = time.time_ns()
    board.add(machine, now).condition.set("online", now)
    board.update(full(machine, [1.0], t=now))
    board.broker.set("online", now)
    board.store.set("online", now)
    server = await serve(Sources(board), "127.0.0.1", 0, interval=INTERVAL)
    async with opened(browser, server.url) as page:
        await verdict(page, "The machine is online")  # whether it runs is another question
        board.store.set("offline", now, "no answer from the store")
        await verdict(page, "The machine is online")
        await expect(part(page, "Store")).to_contain_text("no answer from the store · since")
        await expect(page.locator(".verdict")).to_have_attribute("data-state", "offline")
    await server.stop()


@pytest.mark.parametrize(
    ("locale", "said"), [("en-US", "All 2 machines are online"), ("vi-VN", "Cả 2 máy đều trực tuyến")]
)
async def test_what_is_known_of_all_machines(browser: Browser, locale: str, said: str) -> None:
    board, now = empty_board(), time.time_ns()
    for name in ("a", "b"):
        machine = header(name, signal("x"))
        board.add(machine, now).condition.set("online", now)
    server = await serve(Sources(board), "127.0.0.1", 0, interval=INTERVAL)
    async with opened(browser, server.url, locale) as page:
        await verdict(page, said)
    await server.stop()


# --- whose time it is --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("locale", "here", "named"),
    [
        ("en-US", "Europe/Berlin", "time of Asia/Ho_Chi_Minh"), ("vi-VN", "UTC", "giờ Asia/Ho_Chi_Minh"),
        ("en-US", "Asia/Bangkok", ""), ("vi-VN", "Asia/Saigon", ""),  # the same clocks, by another name: UTC+7 all the year
    ],
)  # fmt: skip
async def test_times_are_those_of_the_plant(browser: Browser, board: Board, locale: str, here: str, named: str) -> None:
    """Wherever somebody looks from; the zone is named once, where it is not the reader's. Ho Chi Minh City is UTC+7."""
    everything = whole(board)
    assert isinstance(everything.configuring, Configured)
    everything.configuring.timezone = "Asia/Ho_Chi_Minh"
    zone = timezone(timedelta(hours=7))
    began = datetime.fromtimestamp(board.machines["pump-04"].condition.since / S, zone)
    server = await serve(everything, "127.0.0.1", 0, interval=INTERVAL)
    async with opened(browser, server.url, locale, timezone_id=here) as page:
        await expect(tile(page, "pump-04").locator(".why")).to_have_text(re.compile(f"{began:%H:%M}$"))
        await expect(page.locator("#zone")).to_have_text(named)
        before = datetime.now(zone)
        clock = await page.locator("#clock").text_content()
        assert clock
        assert f"{before - timedelta(seconds=2):%H:%M}" <= clock[:5] <= f"{datetime.now(zone):%H:%M}"
        for path in ("events", "machines/robot-11"):
            await page.goto(server.url + path)
            time_ = page.locator(".log time").first
            at = datetime.fromisoformat((await time_.get_attribute("datetime") or "").replace("Z", "+00:00"))
            await expect(time_).to_contain_text(f"{at.astimezone(zone):%H:%M:%S}")
            await expect(page.locator("#zone")).to_have_text(named)
    await server.stop()


async def test_without_a_zone_it_is_the_reader_s_time(browser: Browser, served: WebServer, board: Board) -> None:
    began = datetime.fromtimestamp(board.machines["pump-04"].condition.since / S, timezone(timedelta(hours=9)))
    async with opened(browser, served.url, timezone_id="Asia/Tokyo") as page:
        await expect(tile(page, "pump-04").locator(".why")).to_have_text(f"since {began:%H:%M}")
        await expect(page.locator("#zone")).to_be_hidden()


async def test_a_disk_that_cannot_be_written_is_said(browser: Browser, served: WebServer, board: Board) -> None:
    used = Used()
    board.usage = lambda: used
    async with opened(browser, served.url) as page:
        alert = page.locator(".alert")
        await expect(part(page, "Disk")).to_contain_text("can be written")
        await expect(alert).to_be_hidden()
        used.unsafe, used.trouble = 1832, "No space left on device"
        await expect(alert).to_contain_text("The disk cannot be written: it is full. Readings are still sent on")
        await expect(part(page, "Disk")).to_contain_text("Disk cannot be written")
        await expect(part(page, "Disk")).to_contain_text("1,832 only in memory")
        await expect(page.locator(".verdict")).to_have_attribute("data-state", "offline")
        used.trouble = "/var/lib/gateway/buffer/0007.log: Read-only file system"
        await expect(alert).to_contain_text("written: /var/lib/gateway/buffer/0007.log: it is read-only.")
        used.trouble = "less than 64 MiB would be left free"
        await expect(alert).to_contain_text("written: less than 64 MiB would be left free.")
        used.trouble = "<b>Structure needs cleaning</b>"  # not one of those that have words
        await expect(alert).to_contain_text("written: <b>Structure needs cleaning</b>.")
        used.trouble = ""
        await expect(alert).to_be_hidden()


async def test_what_changes_all_the_time_does_not_interrupt(browser: Browser, served: WebServer, board: Board) -> None:
    """A screen reader speaks an alert, and a status, whenever it changes."""
    used = Used(unsafe=1, trouble="Input/output error")
    board.usage = lambda: used
    async with opened(browser, served.url) as page:
        await expect(page.locator(".alert")).to_be_visible()
        await page.evaluate(
            "for (const spoken of document.querySelectorAll('[role=alert], [role=status]')) "
            "new MutationObserver(() => { window.spoke = spoken.outerHTML })"
            ".observe(spoken, {childList: true, subtree: true, characterData: true})"
        )
        used.unsafe = 2
        pump = board.machines["pump-04"].latest.header
        board.update(full(pump, [8.5, 4.2], t=time.time_ns()))
        await expect(part(page, "Disk")).to_contain_text("2 only in memory")
        await expect(headline(page, "pump-04", "flow")).to_have_text("8.5 m³/h")
        assert await page.evaluate("window.spoke") is None


async def test_safe_mode_is_said_on_every_page(browser: Browser, served: WebServer, sources: Sources) -> None:
    sources.safe_mode = lambda: ["press-07.yaml:14: <b>'int23'</b> is not known. Did you mean 'int32'?"]
    async with opened(browser, served.url) as page:
        await expect(page.locator("#safe")).to_contain_text("Safe mode: the configuration")
        await expect(page.locator("#safe li")).to_have_text(
            "press-07.yaml:14: <b>'int23'</b> is not known. Did you mean 'int32'?"
        )
        await page.goto(f"{served.url}events")
        await expect(page.locator("#safe li")).to_have_count(1)
        sources.safe_mode = tuple
        await page.goto(served.url)
        await expect(page.locator(".machine").first).to_be_visible()
        await expect(page.locator("#safe")).to_be_hidden()


async def test_the_last_day_as_a_strip(browser: Browser, board: Board) -> None:
    everything = whole(board)
    server = await serve(everything, "127.0.0.1", 0, interval=INTERVAL)
    async with opened(browser, server.url) as page:
        strip = tile(page, "robot-11").get_by_role("img")
        # It was off ten minutes ago, and on for a hundred minutes before that: 100 of 1440 minutes are 6.9 %.
        await expect(strip).to_have_attribute(
            "aria-label", re.compile(r"The last 1 day: .*online 6\.\d%.*offline 0\.\d%")
        )
        heights = await strip.locator("rect.s-offline, rect.s-online").evaluate_all(
            "all => all.map(e => +e.getAttribute('height'))"
        )
        assert max(heights) > min(heights)  # its height says the state as well
    await server.stop()


async def coloured(page: Page, strip: Any, height: float) -> int:
    """How many pixels of a row of a strip are not like its first one."""
    box = await strip.bounding_box()
    row = {"x": box["x"], "y": round(box["y"] + box["height"] * (1 - height)), "width": box["width"] + 2, "height": 1}
    picture = base64.b64encode(await page.screenshot(clip=row)).decode()
    found: int = await page.evaluate(
        """async (text) => {
            const bitmap = await createImageBitmap(new Blob([Uint8Array.from(atob(text), c => c.charCodeAt(0))]));
            const context = new OffscreenCanvas(bitmap.width, 1).getContext('2d');
            context.drawImage(bitmap, 0, 0);
            const { data } = context.getImageData(0, 0, bitmap.width, 1);
            const far = (i) => [0, 1, 2].some(k => Math.abs(data[4 * i + k] - data[k]) > 60);
            return [...Array(bitmap.width).keys()].filter(far).length;
        }""",
        picture,
    )
    return found


async def test_a_minute_of_a_day_is_seen(browser: Browser, board: Board) -> None:
    """A day on 300 px: a minute is 0.2 px. What is shorter than two is drawn as two, the worse over the better."""
    now, noted = time.time_ns(), Events()
    for ago, state in [(60, "online"), (40, "offline"), (39, "online"), (20, "degraded"), (19, "online")]:
        noted.add(Event(now - ago * 60 * S, "machine", "pump-04", state))
    noted.add(Event(now - 60 * S, "machine", "lathe-02", "online"))
    server = await serve(Sources(board, events=noted), "127.0.0.1", 0, interval=INTERVAL)
    for width in (360, 1280):
        async with opened(browser, server.url, width=width) as page:
            strip = tile(page, "pump-04").get_by_role("img")
            kinds = await strip.locator("rect").evaluate_all("all => all.map(e => e.className.baseVal)")
            assert kinds == ["s-online"] * 3 + ["s-degraded", "s-offline", "s-online present"]
            await tile(page, "pump-04").scroll_into_view_if_needed()
            # At 80 % of its height there is nothing but what is offline, at 50 % what is degraded as well.
            assert 2 <= await coloured(page, strip, 0.8) <= 4
            assert 4 <= await coloured(page, strip, 0.5) <= 8
            # Before its first event it is not known: nothing but the hatch behind the bars.
            strip = tile(page, "oven-03").get_by_role("img")
            await expect(strip).to_have_attribute("aria-label", "The last 1 day: unknown 100%")
            assert "gradient" in await strip.evaluate("e => getComputedStyle(e).backgroundImage")
            # The right end is the present, whatever the events say, and changes with it at once.
            await expect(strip.locator("rect")).to_have_attribute("class", "s-online present")
            board.machines["oven-03"].condition.set("offline", now, "no answer")
            await expect(strip.locator("rect")).to_have_attribute("class", "s-offline present")
            box, end = await strip.bounding_box(), await strip.locator("rect").bounding_box()
            assert box
            assert end
            assert end["x"] + end["width"] >= box["x"] + box["width"]
            board.machines["oven-03"].condition.set("online", now)
    await server.stop()


async def test_a_lost_stream_is_said_and_nothing_looks_fresh(browser: Browser, board: Board) -> None:
    server = await serve(Sources(board), "127.0.0.1", 0, interval=INTERVAL)
    async with opened(browser, server.url) as page:
        await expect(page.locator("#link-text")).to_have_text("Live")
        await expect(page.locator("#lost")).to_be_hidden()
        await server.stop()
        await expect(page.locator("#lost")).to_contain_text("Connection to the gateway lost")
        await expect(page.locator("#link-text")).to_have_text("Not connected")
        assert "grayscale" in await page.locator("main").evaluate("e => getComputedStyle(e).filter")
        struck = await page.locator(".headline .number").first.evaluate("e => getComputedStyle(e).textDecorationLine")
        assert "line-through" in struck
        await expect(page).to_have_title(re.compile("^⚠ Not connected"))
        newest = tile(page, "pump-04").locator(".facts")
        await expect(newest).not_to_contain_text("newest reading: now")  # it goes on growing old
        again = await serve(Sources(board), "127.0.0.1", server.port, interval=INTERVAL)
        await expect(page.locator("#link-text")).to_have_text("Live", timeout=20_000)
        await expect(page.locator("#lost")).to_be_hidden()
        assert await page.locator("main").evaluate("e => getComputedStyle(e).filter") == "none"
        await again.stop()


async def test_a_silent_stream_is_lost(browser: Browser, board: Board) -> None:
    """The network is gone without a word: no error comes, only nothing."""
    server = await serve(Sources(board), "127.0.0.1", 0, interval=INTERVAL)
    hole = await asyncio.start_server(Hole(server.port), "127.0.0.1", 0)
    async with opened(browser, f"http://127.0.0.1:{hole.sockets[0].getsockname()[1]}/") as page:
        await expect(page.locator("#link-text")).to_have_text("Live")
        Hole.open.clear()
        await expect(page.locator("#lost")).to_contain_text("lost", timeout=10_000)
        Hole.open.set()
        await expect(page.locator("#link-text")).to_have_text("Live", timeout=25_000)
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


NAME = "<img src=x onerror=document.title='hit'>"  # a machine's name has no slash
ATTACK = f"{NAME}<script>document.title='hit'</script>"


@pytest.mark.parametrize("path", ["", f"machines/{quote(NAME)}", "flow", "events"])
async def test_text_from_machines_is_never_html(browser: Browser, board: Board, path: str) -> None:
    now = time.time_ns()
    everything = whole(board)
    evil = header(NAME, signal(ATTACK, "string", ATTACK), line=ATTACK)
    board.add(evil, now).condition.set("offline", now, ATTACK)
    board.update(full(evil, [ATTACK], t=now))
    board.gateway = ATTACK
    board.broker.set("degraded", now, ATTACK)
    board.lost(Loss("e", 1, 2, 3, now, now, ATTACK, ATTACK, ATTACK), now)
    server = await serve(everything, "127.0.0.1", 0, interval=INTERVAL)
    async with opened(browser, server.url + path) as page:
        await expect(page.locator("#gateway")).to_have_text(ATTACK)
        if path != "events":
            await expect(page.locator("main")).to_contain_text(ATTACK)
        assert await page.locator("img, main script").count() == 0
        assert "hit" not in (await page.title()).split("<")[0]
    await server.stop()


async def test_searching(browser: Browser, served: WebServer) -> None:
    async with opened(browser, served.url) as page:
        await expect(page.locator(".machine")).to_have_count(6)
        await page.keyboard.press("/")
        await page.keyboard.type("LATHE")
        await expect(page.locator(".machine h3")).to_have_text(["lathe-02"])
        await expect(page.locator(".found")).to_have_text("1 machine found")
        await page.get_by_role("searchbox").fill("moulding / L3".replace(" / ", "/"))
        await expect(page.locator(".machine")).to_have_count(2)
        await page.get_by_role("searchbox").fill("nothing like it")
        await expect(page.locator(".found")).to_have_text("No machine is called that")
        await page.get_by_role("searchbox").fill("")
        await page.get_by_label("Only trouble").check()
        await expect(page.locator(".machine h3")).to_have_text(["robot-11", "press-07", "oven-03"])


async def test_from_page_to_page_and_back(browser: Browser, served: WebServer) -> None:
    async with opened(browser, served.url) as page:
        await page.evaluate("window.kept = true")
        await page.get_by_role("link", name="press-07").focus()
        await page.keyboard.press("Enter")
        await expect(page.locator("main h1")).to_have_text("press-07")
        assert page.url == f"{served.url}machines/press-07"
        await expect(page.locator("main")).to_be_focused()
        for name in ("Data flow", "Figures", "Events", "Configuration"):
            await page.get_by_role("link", name=name, exact=True).click()
            await expect(page.locator("main h1")).to_have_text(name)
            await expect(page.locator("nav [aria-current]")).to_have_text(name)
        await page.go_back()
        await expect(page.locator("main h1")).to_have_text("Events")
        assert await page.evaluate("window.kept")  # without loading anything anew
        await page.goto(f"{served.url}kpi")
        await expect(page.locator("main h1")).to_have_text("Figures")


async def test_all_by_keyboard(browser: Browser, served: WebServer) -> None:
    async with opened(browser, served.url) as page:
        await expect(page.locator(".machine").first).to_be_visible()
        await page.keyboard.press("Tab")
        await expect(page.locator(":focus")).to_have_text("Skip to the content")
        assert await page.locator(":focus").evaluate("e => e.getBoundingClientRect().left") == 0
        await page.keyboard.press("Enter")
        await expect(page.locator("main")).to_be_focused()
        seen = []
        for _ in range(9):
            await page.keyboard.press("Tab")
            seen.append(await page.evaluate("document.activeElement.textContent || document.activeElement.id"))
            outline = await page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
            assert outline != "none"
        assert seen[:4] == ["trouble", "filter", "robot-11", "press-07"]
