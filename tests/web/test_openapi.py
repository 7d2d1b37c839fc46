"""The document of the API: valid, whole, and true of what a live server answers."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from starlette.routing import Route

from gateway.config.production import EnergySettings, KpiSettings
from gateway.events import Event, Events, Kind
from gateway.model import GOOD, NOT_CONNECTED, Header
from gateway.mqtt.payload import Loss
from gateway.production.report import figure_signals
from gateway.web.openapi import BY_GUARD, ENDPOINTS, document, endpoint_of
from gateway.web.server import WebServer, serve
from gateway.web.site import Site
from gateway.web.sources import Sources, Way
from gateway.web.views.trail import Trail
from web.asking import get, post, stream
from web.plant import NOW, ManualClock, S, full, plant
from web.test_api import Files, Steering, Stored

DOCUMENT = document()
OPERATIONS = [(path, method, each) for path, entry in DOCUMENT["paths"].items() for method, each in entry.items()]


def schemas(node: Any) -> Iterator[Any]:
    """Every schema of the document: what stands behind `schema`, and the named ones."""
    if isinstance(node, dict):
        for key, child in node.items():
            if key == "schema":
                yield child
            elif key == "schemas":
                yield from child.values()
            yield from schemas(child)
    elif isinstance(node, list):
        for child in node:
            yield from schemas(child)


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        yield from ([node["$ref"]] if "$ref" in node else [])
        for child in node.values():
            yield from references(child)
    elif isinstance(node, list):
        for child in node:
            yield from references(child)


# --- the document by itself ------------------------------------------------------------------------------------------


def test_what_openapi_3_1_asks_of_a_document() -> None:
    """OpenAPI 3.1.0, 4.8: the fields that must be there, and those that must be unique."""
    assert re.fullmatch(r"3\.1\.\d+", DOCUMENT["openapi"])
    assert set(DOCUMENT) <= {"openapi", "info", "paths", "components", "servers", "security", "tags", "webhooks"}
    assert {"title", "version"} <= set(DOCUMENT["info"])
    names = [operation["operationId"] for _, _, operation in OPERATIONS]
    assert len(set(names)) == len(names)
    for path, method, operation in OPERATIONS:
        assert path.startswith("/")
        assert method in {"get", "post"}
        assert operation["responses"]
        for status, answer in operation["responses"].items():
            assert re.fullmatch(r"[1-5]\d\d", status)
            assert answer["description"]
        parameters = operation.get("parameters", [])
        assert {p["name"] for p in parameters if p["in"] == "path"} == set(re.findall(r"{(\w+)}", path))
        assert all(p["required"] for p in parameters if p["in"] == "path")
        assert len({(p["name"], p["in"]) for p in parameters}) == len(parameters)
        assert ("requestBody" in operation) == (method == "post")
        for needed in operation.get("security", []):
            assert needed.keys() <= DOCUMENT["components"]["securitySchemes"].keys()


def test_every_schema_is_one() -> None:
    found = list(schemas(DOCUMENT))
    assert len(found) > 60
    for schema in found:
        Draft202012Validator.check_schema(schema)


def test_every_reference_leads_somewhere_and_no_schema_is_left_over() -> None:
    named = {f"#/components/schemas/{name}" for name in DOCUMENT["components"]["schemas"]}
    assert set(references(DOCUMENT)) == named


def test_all_kinds_of_events_are_named() -> None:
    assert DOCUMENT["components"]["schemas"]["Event"]["properties"]["kind"]["enum"] == list(Kind.__args__)  # type: ignore[attr-defined]


# --- the document and the routes -------------------------------------------------------------------------------------


def test_each_route_is_in_the_document_and_the_other_way_round() -> None:
    routed = set()
    site = Site(Sources(plant(), ManualClock()), 1.0)
    application = site.app(None)._app  # type: ignore[arg-type, attr-defined]
    for route in application.routes:
        assert isinstance(route, Route)
        if route.path.startswith(("/api/", "/healthz", "/readyz", "/metrics")):
            routed |= {(route.path, method.lower()) for method in route.methods or () if method != "HEAD"}
    guarded = {(each.path, each.method.lower()) for each in ENDPOINTS if each.name in BY_GUARD}
    assert routed | guarded == {(path, method) for path, method, _ in OPERATIONS}
    assert not routed & guarded


def test_what_changes_something_needs_an_engineer() -> None:
    """Login, logout and password are for those who are nobody yet, or still."""
    open_to_all = {each.path for each in ENDPOINTS if each.method == "POST" and each.role != "engineer"}
    assert open_to_all == {"/api/v1/login", "/api/v1/logout", "/api/v1/password"}
    anyone = {each.path for each in ENDPOINTS if each.method == "GET" and each.role == "anyone"}
    assert anyone == {"/api/v1/session", "/api/v1/openapi.json", "/healthz"}


@pytest.mark.parametrize(
    ("method", "path", "name"),
    [
        ("GET", "/api/v1/machines/press-07", "machine"), ("HEAD", "/api/v1/plant", "plant"),
        ("POST", "/api/v1/config/reload", "config_reload"), ("POST", "/api/v1/plant", None),
        ("GET", "/api/v1/machines/", None), ("GET", "/api/v1/machines/a/b", None), ("GET", "/api/v1/plant/", None),
        ("GET", "/api/v1/plan", None), ("GET", "//api/v1/plant", None), ("GET", "/api/v1/config/reload", None),
    ],
)  # fmt: skip
def test_which_endpoint_answers(method: str, path: str, name: str | None) -> None:
    found = endpoint_of(method, path)
    assert (None if found is None else found.name) == name


# --- the document and a live server ----------------------------------------------------------------------------------


class View(Files):
    async def view(self, machine: str) -> dict[str, Any]:
        mistake = {"file": "a", "line": 1, "column": 0, "field": "", "message": "m", "hint": "", "text": "t"}
        origin = {"path": "web.listen", "value": machine, "file": "gateway.yaml", "line": 3, "from": "file"}
        return {
            "fixed": False, "in_force": True, "files": [{"name": "gateway.yaml", "text": "version: 1\n"}], "effective": "version: 1\n",
            "origins": [origin], "origins_left_out": 0, "warnings": ["w"], "errors": [mistake],
        }  # fmt: skip


def everything() -> Sources:
    board = plant()
    path = board.machines["press-07"].latest.header.path
    head = Header(
        path, (*figure_signals(KpiSettings(good="cycle_count", energy=EnergySettings(counter="cycle_count"))),)
    )
    board.add(head, NOW, "derived")
    board.update(full(head, [None] * len(head.signals), [NOT_CONNECTED] * len(head.signals)))
    board.lost(Loss("8f2c9a4e", 1, 2, 3, NOW - S, NOW, "buffer-full", "press-07", "melt_temp"), NOW)
    noted = Events()
    noted.add(Event(NOW - 7200 * S, "machine", "press-07", "online"))
    noted.add(Event(5, "clock", "", "set", "clock-wrong", "x"))
    trail = Trail()
    trail.note(0.0, 10, 1)
    way = Way(trail, 10, 5, 3, NOW - S, 200.0, (2, "/var/lib/gateway/store/dead-letters.jsonl"))
    return Sources(
        board,
        ManualClock(),
        noted,
        Steering(),
        Stored(),
        lambda: b"# HELP a\n",
        View(),
        lambda: way,
        lambda: ["broken"],
    )


@pytest.fixture
async def served() -> AsyncIterator[WebServer]:
    server = await serve(everything(), "127.0.0.1", 0, interval=0.05)
    yield server
    await server.stop()


def check(operation: dict[str, Any], status: int, content: Any) -> None:
    assert str(status) in operation["responses"]
    schema = operation["responses"][str(status)]["content"]["application/json"]["schema"]
    whole = {**schema, "components": DOCUMENT["components"]}
    assert [f"{list(e.path)}: {e.message[:200]}" for e in Draft202012Validator(whole).iter_errors(content)] == []


READ = [each for each in ENDPOINTS if each.method == "GET" and each.media == "application/json"]


@pytest.mark.parametrize("endpoint", READ, ids=lambda each: each.name)
async def test_each_answer_is_as_the_document_says(served: WebServer, endpoint: Any) -> None:
    query = "?machine=press-07&signal=melt_temp" if endpoint.name == "history" else ""
    answer = await get(served.port, endpoint.path.replace("{name}", "press-07") + query)
    assert answer.status == 200 or endpoint.name == "ready"
    check(DOCUMENT["paths"][endpoint.path]["get"], answer.status, answer.json)


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("/api/v1/config/check", {"text": "version: 1"}), ("/api/v1/config/reload", {}),
        ("/api/v1/config/rollback", {"version": 1}), ("/api/v1/config/rollback", {"version": 9}),
        ("/api/v1/config/check", {}),
    ],
)  # fmt: skip
async def test_each_answer_to_a_post_too(served: WebServer, path: str, content: Any) -> None:
    answer = await post(served.port, path, content)
    check(DOCUMENT["paths"][path]["post"], answer.status, answer.json)


@pytest.mark.parametrize(
    "path",
    ["/api/v1/machines/nobody", "/api/v1/strips?hours=x", "/api/v1/events?limit=0", "/api/v1/history?machine=press-07"],
)
async def test_each_refusal_too(served: WebServer, path: str) -> None:
    answer = await get(served.port, path)
    endpoint = endpoint_of("GET", path.partition("?")[0])
    assert endpoint is not None
    check(DOCUMENT["paths"][endpoint.path]["get"], answer.status, answer.json)


@pytest.mark.parametrize(
    ("view", "schema"),
    [("plant", "Plant"), ("machine", "MachineView"), ("flow", "Flow"), ("kpi", "Kpi"), ("events", "EventList"), ("", "Status")],
)  # fmt: skip
async def test_a_stream_brings_the_same(served: WebServer, view: str, schema: str) -> None:
    query = f"?view={view}" if view else ""
    events = stream(served.port, f"/api/v1/stream{query}{'&machine=press-07' if view == 'machine' else ''}")
    await anext(events)
    _, content = await anext(events)
    await events.aclose()  # type: ignore[attr-defined]
    whole = {**DOCUMENT["components"]["schemas"][schema], "components": DOCUMENT["components"]}
    Draft202012Validator(whole).validate(content)


async def test_the_document_is_served(served: WebServer) -> None:
    assert (await get(served.port, "/api/v1/openapi.json")).json == DOCUMENT


def test_a_field_that_nobody_declared_is_found() -> None:
    """The control of the tests above."""
    whole = {"$ref": "#/components/schemas/Error", "components": DOCUMENT["components"]}
    assert Draft202012Validator(whole).is_valid({"error": "a", "hint": "b"})
    assert not Draft202012Validator(whole).is_valid({"error": "a", "hint": "b", "more": 1})
    assert not Draft202012Validator(whole).is_valid({"error": "a"})
    assert GOOD == 0
