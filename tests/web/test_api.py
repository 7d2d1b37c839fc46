"""The JSON API over real HTTP: every view, wrong input, streams, and what hostile names and texts come to."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from gateway.config import load
from gateway.errors import GatewayError, StoreError
from gateway.events import Event, Events
from gateway.model import GOOD, NOT_CONNECTED, OUT_OF_RANGE
from gateway.runtime.registry import protocols
from gateway.web import api
from gateway.web import site as site_module
from gateway.web.server import WebServer, serve
from gateway.web.snapshot import Board
from gateway.web.sources import Sources
from web.asking import ask, get, post, stream
from web.plant import NOW, ManualClock, S, empty_board, full, header, plant, signal

MS = NOW // 1_000_000


class Stored:
    """A historian as the API sees it."""

    available = True

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.answer: list[tuple[int, Any, int]] | Exception = [
            (NOW - 2 * S, 230.4, GOOD), (NOW - S, None, NOT_CONNECTED), (NOW, 2**60, OUT_OF_RANGE),
        ]  # fmt: skip

    def extremes(self, _machine: str) -> dict[str, tuple[float, float]]:
        return {"melt_temp": (228.0, 240.5)}

    async def points(self, *question: Any) -> list[tuple[int, Any, int]]:
        self.asked.append(question)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class Files:
    """The configuration as the API sees it; nothing of it but what is asked for."""

    configuration: Any = None

    def __init__(self) -> None:
        self.checked: list[tuple[str, str]] = []
        self.answer: dict[str, Any] | Exception = {"ok": True, "errors": [], "warnings": [], "difference": []}

    async def view(self, machine: str) -> dict[str, Any]:
        return {"effective": f"for {machine}"}

    async def check(self, text: str, name: str) -> dict[str, Any]:
        self.checked.append((text, name))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class Steering:
    configuration: Any = None

    def __init__(self) -> None:
        self.done: list[tuple[Any, ...]] = []

    async def reload(self, who: str) -> dict[str, Any]:
        self.done.append(("reload", who))
        return {"changed": False, "difference": [], "touched": [], "errors": [], "restart": []}

    async def rollback(self, version: int, who: str) -> dict[str, Any]:
        self.done.append(("rollback", version, who))
        if version == 9:
            raise GatewayError("there is no version 9")
        return {"changed": True, "difference": [], "touched": [], "errors": [], "restart": []}

    def versions(self) -> list[dict[str, Any]]:
        return [{"version": 1, "t": MS, "who": "start", "summary": "", "current": True}]


@pytest.fixture
def sources() -> Sources:
    noted = Events()
    noted.add(Event(NOW - 7200 * S, "machine", "press-07", "online"))
    noted.add(Event(NOW - 3600 * S, "machine", "press-07", "offline", "connection-refused", "refused"))
    noted.add(Event(NOW - 60 * S, "broker", "", "offline", "", "gone"))
    return Sources(plant(), ManualClock(), noted, Steering(), Stored(), configuring=Files())


@pytest.fixture
async def served(sources: Sources) -> AsyncIterator[WebServer]:
    server = await serve(sources, "127.0.0.1", 0, interval=0.02)
    yield server
    await server.stop()


@pytest.fixture
async def bare() -> AsyncIterator[WebServer]:
    """Of a process that has nothing but a board."""
    server = await serve(Sources(plant(), ManualClock()), "127.0.0.1", 0, interval=0.02)
    yield server
    await server.stop()


# --- views -----------------------------------------------------------------------------------------------------------


async def test_the_plant(served: WebServer) -> None:
    answer = await get(served.port, "/api/v1/plant")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    assert answer.headers["cache-control"] == "no-store"
    assert [tile["name"] for tile in answer.json["machines"]][:2] == ["robot-11", "press-07"]
    assert answer.json["t"] == MS


async def test_a_machine(served: WebServer) -> None:
    view = (await get(served.port, "/api/v1/machines/press-07")).json
    assert [row["name"] for row in view["signals"]] == ["cycle_count", "melt_temp", "hold_pressure", "mode", "alarm"]
    assert view["signals"][1]["max"] == 240.5
    assert [event["state"] for event in view["events"]] == ["offline", "online"]


async def test_strips(served: WebServer) -> None:
    made = (await get(served.port, "/api/v1/strips?hours=1.5")).json
    assert made["machines"]["press-07"] == [[MS - 5_400_000, "online"], [MS - 3_600_000, "offline"]]
    assert made["machines"]["pump-04"] == [[MS - 5_400_000, "unknown"]]


async def test_events(served: WebServer) -> None:
    assert [e["kind"] for e in (await get(served.port, "/api/v1/events")).json["events"]] == [
        "broker",
        "machine",
        "machine",
    ]
    found = (await get(served.port, f"/api/v1/events?machine=press-07&limit=1&before={MS - 3_600_000}")).json["events"]
    assert [event["state"] for event in found] == ["online"]
    assert (await get(served.port, "/api/v1/events?machine=long-gone")).json["events"] == []


async def test_history(served: WebServer, sources: Sources) -> None:
    path = "/api/v1/history?machine=press-07&signal=melt_temp"
    answer = await get(served.port, f"{path}&from={MS - 1000}&to={MS}&points=7")
    assert answer.json == {
        "points": [
            [MS - 2000, 230.4, "good"], [MS - 1000, None, "bad:not-connected"], [MS, str(2**60), "uncertain:out-of-range"],
        ],
        "from": MS - 1000, "to": MS,
    }  # fmt: skip
    assert (await get(served.port, path)).status == 200
    stored = sources.history
    assert isinstance(stored, Stored)
    assert stored.asked == [
        ("acme/hanoi/moulding/L1/press-07", "melt_temp", NOW - S, NOW, 7),
        ("acme/hanoi/moulding/L1/press-07", "melt_temp", NOW - 3600 * S, NOW, 500),
    ]


async def test_a_historian_that_does_not_answer(served: WebServer, sources: Sources) -> None:
    assert isinstance(sources.history, Stored)
    sources.history.answer = StoreError("the historian has not answered within 10 s")
    answer = await get(served.port, "/api/v1/history?machine=press-07&signal=melt_temp")
    assert (answer.status, answer.headers["retry-after"]) == (503, "5")
    assert answer.json["error"] == "the historian has not answered within 10 s"


async def test_what_is_not_in_this_process_says_so(bare: WebServer) -> None:
    answer = await get(bare.port, "/api/v1/history?machine=press-07&signal=melt_temp")
    assert answer.status == 503
    assert answer.json["hint"] == "add it to the configuration: store: {kind: historian}"
    for path in ("/api/v1/config", "/metrics"):
        answer = await get(bare.port, path)
        assert answer.status in (404, 503)
        assert answer.json["hint"]
    for path in ("reload", "rollback", "check"):
        answer = await post(bare.port, f"/api/v1/config/{path}", {"text": "version: 1", "version": 1})
        assert answer.status == 503
        assert answer.json["error"]


async def test_a_store_of_ones_own_is_named(sources: Sources, tmp_path: Path) -> None:
    (tmp_path / "gateway.yaml").write_text(
        "connections: {c: {protocol: modbus-tcp, host: a}}\nmachines: {m: {connection: c, signals: {s: {coil: 0}}}}\n"
        'store: {kind: influx, url: "http://127.0.0.1:8086", bucket: b}\n'
    )
    assert isinstance(sources.configuring, Files)
    sources.configuring.configuration = load(tmp_path / "gateway.yaml", protocols())
    sources.history = None
    server = await serve(sources, "127.0.0.1", 0)
    answer = await get(server.port, "/api/v1/history?machine=press-07&signal=melt_temp")
    await server.stop()
    assert answer.status == 503
    assert "kind: influx" in answer.json["error"]


async def test_faults_are_fetched_once(served: WebServer) -> None:
    first = await get(served.port, "/api/v1/faults")
    assert first.json["en"].keys() == first.json["vi"].keys()
    entry = first.json["en"]["connection-refused"]
    assert set(entry) == {"title", "causes", "checks", "severity"}
    again = await get(served.port, "/api/v1/faults", f"If-None-Match: {first.headers['etag']}")
    assert (again.status, again.body) == (304, b"")


# --- wrong input -----------------------------------------------------------------------------------------------------

WRONG = [
    ("/api/v1/machines/press-08", 404, "did you mean 'press-07'?"),
    ("/api/v1/machines/" + "x" * 3000, 404, ""),
    ("/api/v1/machines/%2e%2e%2fpump-04", 404, ""),
    ("/api/v1/machines/press-07/", 404, ""),
    ("/api/v1/stream?view=plants", 404, "did you mean 'plant'?"),
    ("/api/v1/stream?view=machine", 404, "known:"),
    ("/api/v1/stream?view=machine&machine=pump-4", 404, "did you mean 'pump-04'?"),
    ("/api/v1/stream?view=plant&view=flow", 400, "once"),
    ("/api/v1/strips?hours=0", 400, "from 0 to 168"),
    ("/api/v1/strips?hours=-1", 400, ""),
    ("/api/v1/strips?hours=169", 400, ""),
    ("/api/v1/strips?hours=nan", 400, ""),
    ("/api/v1/strips?hours=inf", 400, ""),
    ("/api/v1/strips?hours=1e400", 400, ""),
    ("/api/v1/strips?hours=day", 400, "a number from"),
    ("/api/v1/strips?hours=1&hours=2", 400, ""),
    ("/api/v1/events?limit=0", 400, "from 1 to 1000"),
    ("/api/v1/events?limit=1001", 400, ""),
    ("/api/v1/events?limit=1.5", 400, "a whole number"),
    ("/api/v1/events?limit=1_0", 400, ""),
    ("/api/v1/events?limit=%D9%A3", 400, ""),
    ("/api/v1/events?limit=" + "9" * 5000, 400, ""),
    ("/api/v1/events?before=yesterday", 400, ""),
    ("/api/v1/events?before=-1", 400, ""),
    ("/api/v1/events?machine=a&machine=b", 400, ""),
    ("/api/v1/history", 404, "known:"),
    ("/api/v1/history?machine=press-07", 404, "known:"),
    ("/api/v1/history?machine=press-07&signal=melt", 404, "did you mean 'melt_temp'?"),
    ("/api/v1/history?machine=nobody&signal=melt_temp", 404, ""),
    ("/api/v1/history?machine=press-07&signal=melt_temp&points=1", 400, "from 2 to 5000"),
    ("/api/v1/history?machine=press-07&signal=melt_temp&points=5001", 400, ""),
    ("/api/v1/history?machine=press-07&signal=melt_temp&from=5&to=5", 400, "milliseconds"),
    ("/api/v1/history?machine=press-07&signal=melt_temp&from=6&to=5", 400, ""),
    ("/api/v1/history?machine=press-07&signal=melt_temp&to=99999999999999", 400, ""),
    ("/api/v1/history?machine=press-07&signal=melt_temp&from=0x10", 400, ""),
    ("/api/v1/nothing", 404, ""),
    ("/api/v1/plants", 404, "did you mean '/api/v1/plant'?"),
    ("/api/v2/plant", 404, "/api/v1/plant"),
    ("/api/v1/config?machine=press-08", 404, ""),
]


@pytest.mark.parametrize(("path", "status", "hint"), WRONG)
async def test_wrong_input_is_explained(served: WebServer, path: str, status: int, hint: str) -> None:
    answer = await get(served.port, path)
    assert answer.status == status
    assert set(answer.json) == {"error", "hint"}
    assert answer.json["error"]
    assert hint in answer.json["hint"]
    assert len(answer.body) < 2500


@pytest.mark.parametrize(
    ("path", "content", "status"),
    [
        ("check", b"", 400),
        ("check", b"[]", 400),
        ("check", b"{", 400),
        ("check", b'{"text": 1}', 400),
        ("check", b'{"text": "a", "name": 1}', 400),
        ("check", b'{"text": "\\ud800"}', 400),
        ("check", b"\xff", 400),
        ("rollback", b"{}", 400),
        ("rollback", b'{"version": "1"}', 400),
        ("rollback", b'{"version": true}', 400),
        ("rollback", b'{"version": -1}', 400),
        ("rollback", b'{"version": 1.0}', 400),
        ("rollback", b'{"version": 99999999999999999999}', 400),
        ("rollback", b'{"version": 9}', 409),
        ("reload", b"nothing", 400),
    ],
)
async def test_a_post_of_something_else(served: WebServer, path: str, content: bytes, status: int) -> None:
    answer = await post(served.port, f"/api/v1/config/{path}", content)
    assert answer.status == status
    assert set(answer.json) == {"error", "hint"}


async def test_a_post_that_is_no_json_is_refused(served: WebServer) -> None:
    session = await get(served.port, "/api/v1/session")
    cookie = session.headers["set-cookie"].partition(";")[0]
    own = [f"X-CSRF-Token: {session.json['csrf']}", f"Cookie: {cookie}", "Content-Type: text/plain"]
    answer = await ask(served.port, "POST", "/api/v1/config/check", *own, body=b'{"text": "version: 1"}')
    assert answer.status in (403, 415)


async def test_a_file_that_is_too_long(served: WebServer, sources: Sources, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "MAX_TEXT", 1000)
    assert (await post(served.port, "/api/v1/config/check", {"text": "é" * 500})).status == 200
    assert (await post(served.port, "/api/v1/config/check", {"text": "é" * 501})).status == 413
    assert isinstance(sources.configuring, Files)
    assert len(sources.configuring.checked) == 1


async def test_nothing_is_changed_by_a_get(served: WebServer, sources: Sources) -> None:
    for path in ("reload", "rollback", "check"):
        assert (await get(served.port, f"/api/v1/config/{path}")).status == 405
    assert isinstance(sources.control, Steering)
    assert sources.control.done == []


# --- configuration ---------------------------------------------------------------------------------------------------


async def test_reload_and_rollback_are_handed_on(served: WebServer, sources: Sources) -> None:
    assert (await post(served.port, "/api/v1/config/reload", {})).json["changed"] is False
    assert (await post(served.port, "/api/v1/config/rollback", {"version": 3})).json["changed"] is True
    assert isinstance(sources.control, Steering)
    assert [(done[0], *done[1:-1]) for done in sources.control.done] == [("reload",), ("rollback", 3)]
    assert all(done[-1] for done in sources.control.done)  # who asked


async def test_check_is_handed_on(served: WebServer, sources: Sources) -> None:
    answer = await post(served.port, "/api/v1/config/check", {"text": "version: 1\n", "name": "gateway.yaml"})
    assert answer.json == {"ok": True, "errors": [], "warnings": [], "difference": []}
    assert isinstance(sources.configuring, Files)
    assert sources.configuring.checked == [("version: 1\n", "gateway.yaml")]
    sources.configuring.answer = GatewayError("this takes longer than 15 s")
    answer = await post(served.port, "/api/v1/config/check", {"text": "version: 1\n"})
    assert (answer.status, answer.json["error"]) == (503, "this takes longer than 15 s")


async def test_the_versions_stand_beside_the_files(served: WebServer) -> None:
    answer = (await get(served.port, "/api/v1/config")).json
    assert answer["effective"] == "for "
    assert answer["versions"][0]["version"] == 1


# --- hostile names and texts -----------------------------------------------------------------------------------------

HOSTILE = [
    "<script>alert(1)</script>", "'; DROP TABLE message; --", "\u202egnp.exe", "a\nb", "\0", "máy ép", "x" * 150,
    "${HOME}", "{{7*7}}", "\ud800", "%2e%2e", "__proto__", "constructor",
]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
async def test_hostile_names_and_texts_are_data(name: str) -> None:
    board = empty_board()
    head = header(name, signal(name, "string"))
    board.add(head, NOW).condition.set("offline", NOW, name)
    board.update(full(head, [name]))
    noted = Events()
    noted.add(Event(NOW, "machine", name, "offline", "", name))
    server = await serve(Sources(board, ManualClock(), noted), "127.0.0.1", 0)
    try:
        answers = [
            await get(server.port, path)
            for path in (
                "/api/v1/plant",
                "/api/v1/strips",
                "/api/v1/flow",
                "/api/v1/kpi",
                "/api/v1/events",
                "/api/v1/status",
            )
        ]
        for answer in answers:
            assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
            assert answer.headers["x-content-type-options"] == "nosniff"
        assert json.loads(answers[0].body)["machines"][0]["name"] == name
        assert list(json.loads(answers[1].body)["machines"]) == [name]
        assert json.loads(answers[4].body)["events"][0]["text"] == name
        if name == "\ud800":  # which no address can name
            return
        view = await get(server.port, f"/api/v1/machines/{quote(name, safe='')}")
        if "/" in name or not name.isprintable():  # no machine of a configuration is called so
            assert view.status in (200, 400, 404)
            return
        assert view.json["signals"][0]["value"] == name
        assert len(view.json["events"]) == 1
        other = await get(server.port, f"/api/v1/machines/{quote(name + '!', safe='')}")
        assert other.status == 404
    finally:
        await server.stop()


# --- streams ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "key"),
    [("view=plant", "safe_mode"), ("view=machine&machine=pump-04", "signals"), ("view=flow", "stages"),
     ("view=kpi", "machines"), ("view=events", "events"), ("view=events&machine=press-07", "events"), ("", "flow")],
)  # fmt: skip
async def test_each_view_is_streamed(served: WebServer, query: str, key: str) -> None:
    events = stream(served.port, f"/api/v1/stream?{query}")
    async with asyncio.timeout(10):
        name, pause = await anext(events)
        assert (name, pause) == ("pause", 20)
        name, view = await anext(events)
    assert name == "message"
    assert key in view
    await events.aclose()  # type: ignore[attr-defined]


async def test_a_stream_brings_what_changes(sources: Sources) -> None:
    server = await serve(Sources(sources.board), "127.0.0.1", 0, interval=0.02)
    events = stream(server.port, "/api/v1/stream?view=plant")
    async with asyncio.timeout(10):
        await anext(events)
        await anext(events)
        sources.board.machines["pump-04"].condition.set("offline", NOW, "pulled out")
        async for name, view in events:
            if name == "message" and any(tile["reason"] == "pulled out" for tile in view["machines"]):
                break
    await events.aclose()  # type: ignore[attr-defined]
    await server.stop()


async def test_a_view_is_made_once_for_all_and_not_at_all_for_nobody(
    sources: Sources, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, made = ManualClock(), list[str]()
    sources.clock = clock
    monkeypatch.setattr(api, "plant", lambda _: made.append("plant") or {"machines": []})
    monkeypatch.setattr(api, "machine", lambda _, name: made.append(name) or {"signals": []})
    server = await serve(sources, "127.0.0.1", 0, interval=60.0)
    site = server._site
    paths = ["view=plant"] * 3 + ["view=machine&machine=pump-04"] * 2 + ["view=machine&machine=press-07"]
    lookers = [stream(server.port, f"/api/v1/stream?{path}") for path in paths]
    async with asyncio.timeout(10):
        for looker in lookers:
            await anext(looker)
        assert sorted(made) == ["plant", "press-07", "pump-04"]
        assert len(site._feeds) == 3
        for looker in lookers:
            await looker.aclose()  # type: ignore[attr-defined]
        await server.stop()
        assert site._feeds == {}
        assert site._streams == 0
    assert sorted(made) == ["plant", "press-07", "pump-04"]


async def test_so_many_streams_over_all_views(served: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(site_module, "MAX_STREAMS", 3)
    lookers = [stream(served.port, f"/api/v1/stream?view={view}") for view in ("plant", "flow", "events")]
    for looker in lookers:
        await anext(looker)
    answer = await get(served.port, "/api/v1/stream?view=kpi")
    assert (answer.status, answer.headers["retry-after"]) == (503, "5")
    assert answer.json == {"error": "3 pages are open already", "hint": "close one"}
    for looker in lookers:
        await looker.aclose()  # type: ignore[attr-defined]


async def test_a_machine_that_is_taken_away_ends_its_stream(sources: Sources) -> None:
    server = await serve(Sources(sources.board), "127.0.0.1", 0, interval=0.02)
    events = stream(server.port, "/api/v1/stream?view=machine&machine=pump-04")
    async with asyncio.timeout(10):
        await anext(events)
        del sources.board.machines["pump-04"]
        seen = [event async for event in events]
    assert seen[-1][0] == "gone"
    assert seen[-1][1]["error"] == "there is no machine 'pump-04'"
    await server.stop()


async def test_the_page_is_one_document(served: WebServer) -> None:
    home = await get(served.port, "/")
    for path in ("/machines/press-07", "/machines/none", "/flow", "/kpi", "/config", "/events", "/login"):
        answer = await get(served.port, path)
        assert (answer.status, answer.body) == (200, home.body)


async def test_a_board_of_any_kind_does_not_break_a_view() -> None:
    server = await serve(Sources(Board("g", "0", "broker", plant().counters, plant().usage, NOW, 0.0)), "127.0.0.1", 0)
    for path in ("plant", "strips", "flow", "kpi", "events"):
        answer = await get(server.port, f"/api/v1/{path}")
        assert answer.status == 200
    assert (await get(server.port, "/api/v1/plant")).json["machines"] == []
    await server.stop()
