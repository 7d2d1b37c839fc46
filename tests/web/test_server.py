"""The page's server, asked over real HTTP."""

import asyncio
import gzip
import json
import re
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from gateway.errors import GatewayError, PartMissingError
from gateway.web import site as web
from gateway.web.guard import host_of
from gateway.web.server import WebServer, serve
from gateway.web.snapshot import Board
from gateway.web.sources import Sources
from web.plant import NOW, ManualClock, empty_board, full, header, plant, signal


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes


async def send(port: int, path: str, *headers: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    lines = [f"GET {path} HTTP/1.1", *headers, "", ""]
    writer.write("\r\n".join(lines).encode("latin-1"))
    return reader, writer


async def head(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
    return int(first.split()[1]), {k.lower(): v for k, v in (line.split(": ", 1) for line in lines)}


async def get(port: int, path: str, *headers: str, host: str | None = "localhost") -> Answer:
    own = [f"Host: {host}"] if host is not None else []
    reader, writer = await send(port, path, *own, "Connection: close", *headers)
    status, answered = await head(reader)
    body = await reader.read()
    writer.close()
    return Answer(status, answered, body)


async def snapshots(reader: asyncio.StreamReader) -> AsyncIterator[dict[str, Any]]:
    """The snapshots of a stream, without the chunks they came in."""
    text = b""
    while chunk := await reader.readline():
        text = (await reader.readexactly(int(chunk, 16) + 2))[:-2]
        for event in text.decode().split("\n\n"):
            if event.startswith("data: "):
                yield json.loads(event[6:])


@pytest.fixture
def board() -> Board:
    return plant()


@pytest.fixture
async def served(board: Board) -> AsyncIterator[WebServer]:
    server = await serve(Sources(board, ManualClock()), "127.0.0.1", 0, interval=0.02)
    yield server
    await server.stop()


async def test_status_is_the_snapshot_of_now(served: WebServer, board: Board) -> None:
    pump = board.machines["pump-04"].latest.header
    board.update(full(pump, [12.5, 4.1]))
    answer = await get(served.port, "/api/v1/status")
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    expected = json.loads(json.dumps(board.snapshot(NOW, 0.0)))
    assert json.loads(answer.body) == expected


async def test_a_text_that_is_no_unicode_does_not_cost_the_page(served: WebServer, board: Board) -> None:
    lathe = board.machines["lathe-02"].latest.header
    board.update(full(lathe, [1.0, 2, "half a pair: \ud800", 3.0]))
    status = json.loads((await get(served.port, "/api/v1/status")).body)
    assert status["machines"][2]["signals"][2]["text"] == "half a pair:  "


async def test_pages_and_files(served: WebServer) -> None:
    page = await get(served.port, "/")
    assert page.status == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    files = set(re.findall(r'"(/static/[^"]+)"', page.body.decode()))
    assert {"/static/app.js", "/static/style.css", "/static/icon.svg"} <= files
    kinds = {"js": "text/javascript; charset=utf-8", "css": "text/css; charset=utf-8", "svg": "image/svg+xml"}
    for name in files:
        answer = await get(served.port, name)
        assert (answer.status, answer.headers["content-type"]) == (200, kinds[name.rpartition(".")[2]])


async def test_the_page_is_small_and_asks_nobody_else(served: WebServer) -> None:
    page = (await get(served.port, "/")).body.decode()
    files = re.findall(r'"(/static/[^"]+)"', page)
    bodies = [page, *[(await get(served.port, name)).body.decode() for name in set(files)]]
    assert sum(map(len, bodies)) < 96_000  # what the first page needs, before it is compressed
    for body in bodies:
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", body)
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\sstyle=|\son[a-z]+=\"", body)


async def test_a_file_is_sent_once(served: WebServer) -> None:
    first = await get(served.port, "/static/app.js")
    again = await get(served.port, "/static/app.js", f"If-None-Match: {first.headers['etag']}")
    assert (again.status, again.body) == (304, b"")


@pytest.mark.parametrize(
    ("accepted", "packed"),
    [("gzip", True), ("br, GZIP;q=0.5", True), ("gzip;q=0", False), ("gzip; q=0.0", False), ("br", False), ("", False)],
)
async def test_files_are_packed_for_who_takes_that(served: WebServer, accepted: str, packed: bool) -> None:
    """RFC 9110, 8.4 and 12.5: what was packed is said, a cache between us is told what it depends on, 0 refuses it."""
    plain = await get(served.port, "/static/style.css")
    answer = await get(served.port, "/static/style.css", f"Accept-Encoding: {accepted}")
    assert ("content-encoding" in answer.headers) is packed
    assert answer.headers["vary"] == "Accept-Encoding"
    assert (gzip.decompress(answer.body) if packed else answer.body) == plain.body
    assert (len(answer.body) < len(plain.body) / 2) is packed
    assert (answer.headers["etag"] == plain.headers["etag"]) is not packed
    tag = f"If-None-Match: {answer.headers['etag']}"
    again = await get(served.port, "/static/style.css", f"Accept-Encoding: {accepted}", tag)
    assert (again.status, again.body, again.headers["vary"]) == (304, b"", "Accept-Encoding")


async def test_the_same_file_has_the_same_tag_on_every_gateway(served: WebServer) -> None:
    """No time of packing is in it: bytes 4 to 7 of a gzip member are 0 (RFC 1952, 2.3)."""
    assert (await get(served.port, "/static/app.js", "Accept-Encoding: gzip")).body[4:8] == bytes(4)


async def test_what_is_made_anew_is_not_packed(served: WebServer) -> None:
    assert "content-encoding" not in (await get(served.port, "/api/v1/status", "Accept-Encoding: gzip")).headers


async def test_metrics_without_their_library() -> None:
    def missing() -> bytes:
        raise PartMissingError("metrics need prometheus_client: pip install 'shopfloor-gateway[web]'")

    server = await serve(Sources(plant(), ManualClock(), metrics=missing), "127.0.0.1", 0)
    answer = await get(server.port, "/metrics")
    assert (answer.status, json.loads(answer.body)) == (
        501,
        {"error": "metrics need prometheus_client", "hint": "pip install 'shopfloor-gateway[web]'"},
    )  # fmt: skip
    await server.stop()


@pytest.mark.parametrize(
    "path", ["/nothing", "/static/", "/static/none.js", "/static/..%2fserver.py", "/static/../server.py", "/api/v1/"]
)
async def test_nothing_else_is_there(served: WebServer, path: str) -> None:
    answer = await get(served.port, path)
    assert answer.status == 404
    assert "default-src 'self'" in answer.headers["content-security-policy"]


@pytest.mark.parametrize("path", ["/", "/static/app.js", "/api/v1/status", "/healthz", "/readyz"])
async def test_every_answer_is_guarded(served: WebServer, path: str) -> None:
    headers = (await get(served.port, path)).headers
    policy = headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert "access-control-allow-origin" not in headers
    assert "server" not in headers


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8080", "127.0.0.1", "127.0.0.1:9", "[::1]:8080"])
async def test_names_it_answers_to(served: WebServer, host: str) -> None:
    assert (await get(served.port, "/healthz", host=host)).status == 200


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8080", "localhost.evil.example", "localhost@evil", ""])
async def test_names_it_does_not_answer_to(served: WebServer, host: str) -> None:
    answer = await get(served.port, "/api/v1/status", host=host)
    assert answer.status == 421
    assert b"press" not in answer.body


async def test_two_names_are_none(served: WebServer) -> None:
    assert (await get(served.port, "/healthz", "Host: evil.example")).status in (400, 421)


def test_host_of() -> None:
    assert [host_of(h) for h in ("a", "a:1", "[::1]", "[::1]:1", "a:b", "")] == ["a", "a", "[::1]", "[::1]", "a:b", ""]


async def test_health_and_readiness(served: WebServer, board: Board) -> None:
    assert (await get(served.port, "/healthz")).status == 200
    answer = await get(served.port, "/readyz")
    assert answer.status == 503
    assert json.loads(answer.body) == {"ready": False, "reasons": board.troubles()}
    board.machines["robot-11"].condition.set("online", NOW)
    answer = await get(served.port, "/readyz")
    assert answer.status == 200
    assert json.loads(answer.body) == {"ready": True, "reasons": []}


async def test_the_stream_brings_what_changes(board: Board) -> None:
    server = await serve(Sources(board), "127.0.0.1", 0, interval=0.02)
    reader, writer = await send(server.port, "/api/v1/stream", "Host: localhost")
    status, headers = await head(reader)
    assert status == 200
    assert headers["content-type"].startswith("text/event-stream")
    events = snapshots(reader)
    assert (await anext(events))["broker"]["state"] == "online"
    board.broker.set("offline", NOW, "gone")
    async with asyncio.timeout(5):
        async for event in events:
            if event["broker"]["state"] == "offline":
                break
    writer.close()
    await server.stop()


async def until_streams(port: int, status: int) -> None:
    """Ask until the stream answers like this: the server notices on its own time that somebody has gone."""
    async with asyncio.timeout(20):
        while True:
            reader, writer = await send(port, "/api/v1/stream", "Host: localhost")
            answered, _ = await head(reader)
            writer.close()
            if answered == status:
                return


async def test_so_many_streams_and_no_more(served: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "MAX_STREAMS", 3)
    writers = []
    for _ in range(3):
        reader, writer = await send(served.port, "/api/v1/stream", "Host: localhost")
        assert (await head(reader))[0] == 200
        writers.append(writer)
    reader, writer = await send(served.port, "/api/v1/stream", "Host: localhost")
    status, headers = await head(reader)
    assert (status, headers["retry-after"]) == (503, "5")
    assert (await get(served.port, "/api/v1/status")).status == 200
    writer.close()
    for writer in writers:
        writer.close()
    await until_streams(served.port, 200)


async def test_who_does_not_read_loses_the_place(
    served: WebServer, board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    board.broker.reason = "long " * 200_000  # more than the buffers of a connection hold
    monkeypatch.setattr(web, "MAX_STREAMS", 1)
    monkeypatch.setattr(web, "PATIENCE", 0.2)
    sleeper = socket.create_connection(("127.0.0.1", served.port))
    sleeper.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sleeper.sendall(b"GET /api/v1/stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
    await until_streams(served.port, 503)
    await until_streams(served.port, 200)
    sleeper.close()


async def test_a_snapshot_is_made_once_for_all(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = ManualClock()
    site = web.Site(Sources(board, clock), interval=60.0)
    first, second = site._events(), site._events()
    event = await anext(first)
    assert await anext(second) is event
    clock.at = 60.0
    third = site._events()
    assert await anext(third) is not event


async def test_a_board_that_is_dear_to_show_is_shown_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, board = ManualClock(), empty_board()
    snapshot = board.snapshot

    def slow(now_ns: int, monotonic: float) -> dict[str, Any]:
        clock.at += 0.1
        return snapshot(now_ns, monotonic)

    monkeypatch.setattr(Board, "snapshot", lambda self, *now: slow(*now))
    event = await anext(web.Site(Sources(board, clock), interval=1.0)._events())
    assert event.startswith(b"event: pause\ndata: 5000\n\ndata: {")


async def test_stopping_ends_the_streams_and_frees_the_port(board: Board) -> None:
    server = await serve(Sources(board), "127.0.0.1", 0, interval=60.0)
    reader, writer = await send(server.port, "/api/v1/stream", "Host: localhost")
    events = snapshots(reader)
    await head(reader)
    await anext(events)
    async with asyncio.timeout(2):
        await server.stop()
        assert [event async for event in events] == []
    await server.stop()
    writer.close()
    again = await serve(Sources(board), "127.0.0.1", server.port)
    await again.stop()


async def test_a_port_that_is_taken_is_explained(served: WebServer, board: Board) -> None:
    with pytest.raises(
        GatewayError, match=rf"127\.0\.0\.1:{served.port}: another program uses this port.*web: {{listen"
    ):
        await serve(Sources(board), "127.0.0.1", served.port)


@pytest.mark.parametrize("host", ["0.0.0.0", "10.20.0.1", "example.org", "::"])
async def test_only_this_machine(board: Board, host: str) -> None:
    with pytest.raises(GatewayError, match=r"use 127\.0\.0\.1"):
        await serve(Sources(board), host, 0)


async def test_by_name(board: Board) -> None:
    server = await serve(Sources(board), "localhost", 0)
    assert server.url == f"http://127.0.0.1:{server.port}/"
    assert (await get(server.port, "/healthz")).status == 200
    await server.stop()


async def test_a_machine_that_is_added_later_is_shown(served: WebServer, board: Board) -> None:
    board.add(header("new-01", signal("a")), NOW)
    status = json.loads((await get(served.port, "/api/v1/status")).body)
    assert status["machines"][-1]["name"] == "new-01"
