"""The answers of the JSON API, each a method named as in openapi.ENDPOINTS. What is shown comes from the views."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache, partial
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from gateway import faults
from gateway.errors import GatewayError, StoreError
from gateway.model import quality_text
from gateway.web.answers import Refused, answer, body, encode, number, text, unknown
from gateway.web.openapi import MAX_EVENTS, MAX_HOURS, MAX_POINTS, VIEWS, document
from gateway.web.snapshot import json_value
from gateway.web.sources import Configuring, Control, Sources
from gateway.web.views.events import events
from gateway.web.views.flow import Flow
from gateway.web.views.kpi import kpi
from gateway.web.views.machine import machine
from gateway.web.views.plant import plant
from gateway.web.views.strips import strips

LATEST_MS = 4_102_444_800_000  # 2100: no time of a reading
MAX_TEXT = 256 * 1024  # bytes of a file to be checked
HOUR_MS = 3_600_000

Made = Callable[[], dict[str, Any]]


class Api:
    """Answers from the sources."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._flow = Flow(sources)

    # --- views -------------------------------------------------------------------------------------------------------

    def view(self, name: str, of: str) -> Made:
        """What makes a view, for a stream; `of`: the machine. Raises Refused where there is none."""
        makers: dict[str, Made] = {
            "plant": partial(plant, self._sources),
            "flow": self._flow,
            "kpi": partial(kpi, self._sources),
            "events": partial(events, self._sources, machine=of),
            "machine": partial(self._machine, of),
        }
        if name not in makers:
            raise unknown("view", name, VIEWS)
        if name == "machine" or (name == "events" and of):
            self._known(of)
        return makers[name]

    def _machine(self, name: str) -> dict[str, Any]:
        self._known(name)
        return machine(self._sources, name)

    def _known(self, name: str) -> None:
        if name not in self._sources.board.machines:
            raise unknown("machine", name, self._sources.board.machines)

    async def plant(self, _request: Request) -> Response:
        return answer(encode(plant(self._sources)))

    async def machine(self, request: Request) -> Response:
        return answer(encode(self._machine(request.path_params["name"])))

    async def flow(self, _request: Request) -> Response:
        return answer(encode(self._flow()))

    async def kpi(self, _request: Request) -> Response:
        return answer(encode(kpi(self._sources)))

    async def strips(self, request: Request) -> Response:
        hours = number(request, "hours", 24, 0, MAX_HOURS, whole=False, strict=True)
        now = self._sources.clock.now()
        machines = self._sources.board.machines
        return answer(encode(strips(self._sources.events.changes(), machines, now - round(hours * 3600e9), now)))

    async def events(self, request: Request) -> Response:
        limit = int(number(request, "limit", 100, 1, MAX_EVENTS))
        before = int(number(request, "before", LATEST_MS, 0, LATEST_MS))
        of = text(request, "machine")  # also one that is gone: what happened to it has happened
        return answer(encode(events(self._sources, limit=limit, machine=of, before_ns=before * 1_000_000)))

    async def history(self, request: Request) -> Response:
        now_ms = self._sources.clock.now() // 1_000_000
        end = int(number(request, "to", min(now_ms, LATEST_MS), 0, LATEST_MS))
        start = int(number(request, "from", max(0, end - HOUR_MS), 0, LATEST_MS))
        if start >= end:
            raise Refused(400, "`from` is not before `to`", "times are milliseconds since 1970")
        points = int(number(request, "points", 500, 2, MAX_POINTS))
        name, signal = text(request, "machine"), text(request, "signal")
        self._known(name)
        shown = self._sources.board.machines[name]
        known = [each.name for latest in (shown.latest, shown.derived) if latest for each in latest.header.signals]
        if signal not in known:
            raise unknown(f"signal of {name}", signal, known)
        if self._sources.history is None or not self._sources.history.available:
            raise self._no_history()
        path = "/".join(shown.latest.header.path.levels())
        try:
            found = await self._sources.history.points(path, signal, start * 1_000_000, end * 1_000_000, points)
        except StoreError as exc:
            raise Refused(503, str(exc), "ask for less at a time, or again in a moment", {"Retry-After": "5"}) from exc
        rows = [[t / 1e6, json_value(value), quality_text(quality)] for t, value, quality in found]
        return answer(encode({"points": rows, "from": start, "to": end}))

    def _no_history(self) -> Refused:
        configuration = self._sources.configuration
        store = None if configuration is None else configuration.settings.store
        if store is not None and store.kind == "influx":
            return Refused(
                503, "the readings are in a data base of your own (store: {kind: influx}), which is not asked from here",
                "look at them there, for example in Grafana; `gateway query` asks it too",
            )  # fmt: skip
        return Refused(
            503, "there is no historian in this process", "add it to the configuration: store: {kind: historian}"
        )

    async def faults(self, request: Request) -> Response:
        content, tag = _faults()
        headers = {"Cache-Control": "no-cache", "ETag": tag}
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return Response(content, 200, headers, "application/json")

    async def openapi(self, _request: Request) -> Response:
        return answer(_document())

    # --- configuration -----------------------------------------------------------------------------------------------

    async def config(self, request: Request) -> Response:
        of, configuration = text(request, "machine"), self._sources.configuration
        if of and (configuration is None or of not in configuration.machines):
            raise unknown("machine", of, () if configuration is None else configuration.machines)
        view = await self._configuring().view(of)
        control = self._sources.control
        return answer(encode(view | {"versions": [] if control is None else control.versions()}))

    async def config_check(self, request: Request) -> Response:
        content = await body(request)
        given, name = content.get("text"), content.get("name", "")
        if not isinstance(given, str) or not isinstance(name, str):
            raise Refused(400, "`text` is the text of a file, `name` its name", '{"text": "version: 1\\n…"}')
        if len(given.encode("utf-8", "replace")) > MAX_TEXT:
            raise Refused(413, "that file is too long", f"at most {MAX_TEXT // 1024} KiB can be checked here")
        try:
            return answer(encode(await self._configuring().check(given, name)))
        except GatewayError as exc:
            raise Refused(503, str(exc), "gateway config check FILE", {"Retry-After": "10"}) from exc

    async def config_reload(self, request: Request) -> Response:
        await body(request)
        return answer(encode(await self._control().reload(who(request))))

    async def config_rollback(self, request: Request) -> Response:
        version = (await body(request)).get("version")
        if type(version) is not int or not 0 <= version < 2**53:
            raise Refused(400, "`version` is the number of a version", '{"version": 3}, one of GET /api/v1/config')
        try:
            return answer(encode(await self._control().rollback(version, who(request))))
        except GatewayError as exc:
            raise Refused(409, str(exc), "GET /api/v1/config lists the versions there are") from exc

    def _configuring(self) -> Configuring:
        if self._sources.configuring is None:
            raise Refused(503, "the configuration is not known in this process", "gateway config show")
        return self._sources.configuring

    def _control(self) -> Control:
        if self._sources.control is None:
            raise Refused(503, "this process cannot change its configuration", "restart it to take the files over")
        return self._sources.control


def who(request: Request) -> str:
    """Who asks, as the guard has found out; on a loopback address without a login there is no name."""
    return str(request.scope.get("user") or "") or "page"


@cache
def _faults() -> tuple[bytes, str]:
    """Every explanation, and what tells these from others."""
    content = encode({language: _explained(language) for language in faults.LANGUAGES})
    return content, f'"{hashlib.sha256(content).hexdigest()[:16]}"'


def _explained(language: str) -> dict[str, Any]:
    explained = {}
    for code in sorted(faults.codes()):
        said = faults.explain(code, language)
        explained[code] = {
            "title": said.title,
            "causes": list(said.causes),
            "checks": list(said.checks),
            "severity": faults.fault(code).severity,
        }
    return explained


@cache
def _document() -> bytes:
    return encode(document())
