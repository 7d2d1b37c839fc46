"""The API, declared once: its routes, who may ask, what is asked with, what is answered.

    ENDPOINTS ─▶ routes (site.py)   ─▶ roles (guard.py)   ─▶ the document at /api/v1/openapi.json

OpenAPI 3.1, whose schemas are JSON Schema 2020-12; the shapes of the answers are in schemas.py.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from gateway import __version__
from gateway.web import schemas
from gateway.web.schemas import Schema, ref

Role = Literal["anyone", "viewer", "engineer"]

VIEWS = ("plant", "machine", "flow", "kpi", "events")  # what a stream can bring
MAX_POINTS = 5000
MAX_EVENTS = 1000
MAX_HOURS = 168
_JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Parameter:
    """One that is asked with."""

    name: str
    description: str
    schema: Schema
    where: Literal["query", "path"] = "query"
    required: bool = False


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One method of one path. `name` is the method of the site that answers."""

    name: str
    path: str
    summary: str
    answer: Schema
    method: Literal["GET", "POST"] = "GET"
    role: Role = "viewer"
    media: str = _JSON
    parameters: Sequence[Parameter] = ()
    body: Schema | None = None
    errors: Sequence[int] = ()


_TEXT: Schema = {"type": "string"}
_MS: Schema = {"type": "integer", "minimum": 0, "maximum": 4_102_444_800_000}
_NAME: Schema = {"type": "string", "minLength": 1, "maxLength": 200}
_MACHINE = Parameter("machine", "Of this machine only.", _NAME)

ENDPOINTS: Sequence[Endpoint] = (
    Endpoint("status", "/api/v1/status", "Everything there is, as `gateway status` shows it.", ref("Status")),
    Endpoint(
        "stream", "/api/v1/stream", "A view every second, as server-sent events; without `view` the whole status.", _TEXT,
        media="text/event-stream",
        parameters=(
            Parameter("view", "Which one.", {"type": "string", "enum": list(VIEWS)}),
            Parameter("machine", "Of which machine, for `machine` and `events`.", _NAME),
        ),
        errors=(404, 503),
    ),
    Endpoint("plant", "/api/v1/plant", "A tile for each machine, those in trouble first.", ref("Plant")),
    Endpoint(
        "strips", "/api/v1/strips", "The last hours of each machine as stretches of one state.", ref("Strips"),
        parameters=(
            Parameter("hours", "How many.", {"type": "number", "exclusiveMinimum": 0, "maximum": MAX_HOURS, "default": 24}),
        ),
        errors=(400,),
    ),
    Endpoint(
        "machine", "/api/v1/machines/{name}", "One machine: its link, its signals, what happened.", ref("MachineView"),
        parameters=(Parameter("name", "The machine.", _NAME, "path", required=True),),
        errors=(404,),
    ),
    Endpoint(
        "history", "/api/v1/history", "What is stored of a signal, down-sampled to readings that were made.", ref("History"),
        parameters=(
            Parameter("machine", "The machine.", _NAME, required=True),
            Parameter("signal", "Its signal.", _NAME, required=True),
            Parameter("from", "ms since 1970; an hour before `to` where it is left out.", _MS),
            Parameter("to", "ms since 1970; now where it is left out.", _MS),
            Parameter("points", "How many at the most.",
                      {"type": "integer", "minimum": 2, "maximum": MAX_POINTS, "default": 500}),
        ),
        errors=(400, 404, 503),
    ),
    Endpoint("flow", "/api/v1/flow", "The way of the data: rates, lags, buffer, losses.", ref("Flow")),
    Endpoint("kpi", "/api/v1/kpi", "Figures of production with what they were calculated from.", ref("Kpi")),
    Endpoint(
        "events", "/api/v1/events", "What happened, newest first.", ref("EventList"),
        parameters=(
            Parameter("limit", "How many at the most.",
                      {"type": "integer", "minimum": 1, "maximum": MAX_EVENTS, "default": 100}),
            _MACHINE,
            Parameter("before", "Only what is older: ms since 1970.", _MS),
        ),
        errors=(400,),
    ),
    Endpoint("faults", "/api/v1/faults", "Every fault that has a code, explained in each language.", ref("Faults")),
    Endpoint(
        "config", "/api/v1/config", "The configuration: files and what is in force, without secrets.", ref("Config"),
        parameters=(Parameter("machine", "Origins of this machine's keys, too.", _NAME),), errors=(404, 503),
    ),
    Endpoint(
        "config_check", "/api/v1/config/check", "Check a file without taking it over.", ref("Checked"),
        method="POST", role="engineer", body=ref("ToCheck"), errors=(400, 413, 415, 503),
    ),
    Endpoint(
        "config_reload", "/api/v1/config/reload", "Take over the files as they are now.", ref("Reloaded"),
        method="POST", role="engineer", body={"type": "object"}, errors=(503,),
    ),
    Endpoint(
        "config_rollback", "/api/v1/config/rollback", "Put an earlier version into the files and take it over.",
        ref("Reloaded"), method="POST", role="engineer", body=ref("Rollback"), errors=(400, 409, 413, 415, 503),
    ),
    Endpoint("session", "/api/v1/session", "Who asks, and the token each POST carries.", ref("Session"), role="anyone"),
    Endpoint(
        "login", "/api/v1/login", "Begin a session.", ref("Session"), method="POST", role="anyone", body=ref("Login"),
        errors=(400, 401, 403, 409, 429, 503),
    ),
    Endpoint(
        "logout", "/api/v1/logout", "End it.", ref("Session"), method="POST", role="anyone", body={"type": "object"},
        errors=(403,),
    ),
    Endpoint(
        "password", "/api/v1/password", "Set the first password, or another one.", ref("Session"), method="POST",
        role="anyone", body=ref("Password"), errors=(400, 401, 403, 409, 429, 503),
    ),
    Endpoint("openapi", "/api/v1/openapi.json", "This document.", {"type": "object"}, role="anyone"),
    Endpoint("health", "/healthz", "The process is alive.", _TEXT, role="anyone", media="text/plain"),
    Endpoint(
        "ready", "/readyz", "200: all is connected; 503: what is not, as `reasons`.", ref("Ready"), errors=(503,),
    ),
    Endpoint("metrics", "/metrics", "Prometheus' text format.", _TEXT, media="text/plain", errors=(404, 501)),
)  # fmt: skip

BY_GUARD = ("session", "login", "logout", "password")  # who somebody is, is answered before the site is asked
_MEANING = {
    400: "A parameter that cannot be.",
    401: "Not let in.",
    403: "Not allowed, or without the token.",
    404: "There is no such thing.",
    409: "It cannot be done as things stand.",
    413: "Too long.",
    415: "No JSON.",
    429: "Too often; `Retry-After` says when.",
    501: "A part of the gateway is not installed; `hint` says how.",
    503: "Not now, or not in this process.",
}
_PATTERNS = [
    (endpoint, re.compile(re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(endpoint.path)))) for endpoint in ENDPOINTS
]


def endpoint_of(method: str, path: str) -> Endpoint | None:
    """The one that answers a request, if one does; HEAD is as GET."""
    asked = "GET" if method == "HEAD" else method
    return next((each for each, pattern in _PATTERNS if each.method == asked and pattern.fullmatch(path)), None)


def document() -> dict[str, Any]:
    """The whole API as an OpenAPI document."""
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in ENDPOINTS:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Shop-floor data gateway",
            "version": __version__,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            "description": "Times are milliseconds since 1970 (UTC), ages and durations seconds. Every POST is JSON and "
            "carries the header `X-CSRF-Token` with `csrf` of /api/v1/session.",
        },
        "paths": paths,
        "components": {"schemas": dict(schemas.SCHEMAS), "securitySchemes": _SECURITY},
    }


_SECURITY: Mapping[str, Any] = {
    "session": {"type": "apiKey", "in": "cookie", "name": "__Host-gateway", "description": "After a login."},
    "token": {"type": "http", "scheme": "bearer", "description": "For /metrics and /readyz, where one is configured."},
}


def _operation(endpoint: Endpoint) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": endpoint.name,
        "summary": endpoint.summary,
        "x-role": endpoint.role,
        "responses": {"200": {"description": "Here it is.", "content": {endpoint.media: {"schema": endpoint.answer}}}},
    }
    if endpoint.role != "anyone":
        operation["security"] = [{"session": []}]
        if endpoint.path in ("/metrics", "/readyz"):
            operation["security"].append({"token": []})
    for status in endpoint.errors:
        schema = endpoint.answer if endpoint.name == "ready" else ref("Error")
        operation["responses"][str(status)] = {"description": _MEANING[status], "content": {_JSON: {"schema": schema}}}
    if endpoint.parameters:
        operation["parameters"] = [
            {
                "name": each.name,
                "in": each.where,
                "required": each.required,
                "description": each.description,
                "schema": each.schema,
            }
            for each in endpoint.parameters
        ]
    if endpoint.body is not None:
        operation["requestBody"] = {"required": True, "content": {_JSON: {"schema": endpoint.body}}}
    return operation
