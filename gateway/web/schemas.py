"""The shapes of what the API answers, as JSON Schema. A field that is not named here is a mistake of ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Schema = dict[str, Any]


def ref(name: str) -> Schema:
    """One of those below, by its name."""
    return {"$ref": f"#/components/schemas/{name}"}


def obj(_optional: Mapping[str, Schema] | None = None, /, **fields: Schema) -> Schema:
    """An object that has these fields, and perhaps some of the optional ones."""
    return {
        "type": "object",
        "properties": {**fields, **(_optional or {})},
        "required": list(fields),
        "additionalProperties": False,
    }


def listed(items: Schema) -> Schema:
    """A list of these."""
    return {"type": "array", "items": items}


def maybe(schema: Schema) -> Schema:
    """This, or null where there is nothing to say."""
    if isinstance(kind := schema.get("type"), str) and "enum" not in schema:
        return {**schema, "type": [kind, "null"]}
    return {"anyOf": [schema, {"type": "null"}]}


def named(values: Schema) -> Schema:
    """A mapping from names to these."""
    return {"type": "object", "additionalProperties": values}


TEXT: Schema = {"type": "string"}
NUMBER: Schema = {"type": "number"}
COUNT: Schema = {"type": "integer", "minimum": 0}
BOOL: Schema = {"type": "boolean"}
MS: Schema = {"type": "number", "description": "ms since 1970, UTC"}
SECONDS: Schema = {"type": "number", "minimum": 0, "description": "s"}
AGE: Schema = {"type": ["number", "null"], "description": "s; a clock that was set back may make it negative"}
STATE: Schema = {"type": "string", "enum": ["online", "degraded", "offline", "unused"]}
VALUE: Schema = {
    "type": ["number", "boolean", "string", "null"],
    "description": "null where the quality is bad; an integer beyond 2^53 as text",
}
QUALITY: Schema = {"type": "string", "pattern": "^(good|uncertain:.+|bad:.+)$"}
FAULT: Schema = {"type": "string", "description": "code in /api/v1/faults; empty where nothing is wrong or none fits"}

_CONDITION = {"state": STATE, "since_ms": MS, "reason": TEXT, "fault": FAULT}
_ROW = {
    "name": TEXT, "type": {"type": "string", "enum": ["float", "int", "bool", "string"]}, "unit": TEXT, "value": VALUE,
    "text": maybe(TEXT), "quality": QUALITY, "t": maybe(MS), "age_s": AGE,
}  # fmt: skip
_ROW_OPTIONAL = {"since_ms": MS, "last": obj(value=VALUE, text=maybe(TEXT), t=MS)}
_GATEWAY = {
    "id": TEXT, "version": TEXT, "delivery": {"type": "string", "enum": ["store", "broker"]}, "uptime_s": NUMBER,
}  # fmt: skip
_ABOUT = obj(
    **_GATEWAY, readings_per_s=maybe(NUMBER),
    timezone={"type": ["string", "null"], "description": "IANA name, of the plant; null where none is configured: its shifts are UTC"},
)  # fmt: skip
_DISK = {
    "records": COUNT, "bytes": COUNT, "max_bytes": COUNT, "dropped": COUNT, "unsafe": COUNT, "trouble": TEXT, "fault": FAULT,
}  # fmt: skip
_LOSS = obj(
    t=maybe(MS), from_ms=maybe(MS), to_ms=maybe(MS), count=COUNT, messages=COUNT, machine=TEXT, signal=TEXT, cause=TEXT
)
_PLACE: Schema = {"type": "integer", "minimum": 0, "description": "0 where there is none to name"}
_MISTAKE = {"file": TEXT, "line": _PLACE, "column": _PLACE, "field": TEXT, "message": TEXT, "hint": TEXT, "text": TEXT}
_VERSION: Schema = {
    "type": "object",
    "properties": {"version": COUNT, "t": MS, "who": TEXT, "summary": TEXT, "current": BOOL},
    "required": ["version", "t"],
}

SCHEMAS: Mapping[str, Schema] = {
    "Error": obj(error=TEXT, hint=TEXT),
    "Ready": obj(ready=BOOL, reasons=listed(TEXT)),
    "Condition": obj(**_CONDITION),
    "Counters": named(COUNT),
    "Row": obj(_ROW_OPTIONAL, **_ROW),
    "SignalRow": obj(
        _ROW_OPTIONAL, **_ROW, description=TEXT, range={"type": ["array", "null"], "items": maybe(NUMBER)}, states=named(TEXT),
        fault=FAULT, address=TEXT, min=maybe(NUMBER), max=maybe(NUMBER), poll_s=maybe(NUMBER),
        worked_out={"type": "boolean", "description": "by the gateway, of other signals"},
    ),
    "Status": obj(
        v={"const": 1}, t=MS, gateway=obj(**_GATEWAY), flow=named(maybe(NUMBER)), buffer=obj(**_DISK), losses=listed(_LOSS),
        broker=ref("Condition"), store=ref("Condition"),
        machines=listed(
            obj(
                name=TEXT, path=listed(TEXT), **_CONDITION, counters=ref("Counters"), signals=listed(ref("Row")),
            )
        ),
    ),
    "Tile": obj(
        name=TEXT, path=listed(TEXT), description=TEXT, **_CONDITION, age_s=AGE,
        signals=obj(good=COUNT, uncertain=COUNT, bad=COUNT),
        doing=maybe(obj(state=TEXT, since_ms=MS, reason=TEXT)),
        headline={**listed(ref("Row")), "maxItems": 3}, oee=maybe(NUMBER), rank={"type": "integer"},
    ),
    "Plant": obj(
        t=MS, gateway=_ABOUT, broker=ref("Condition"), store=ref("Condition"),
        buffer=obj(**_DISK), clock=obj(
            trusted=BOOL, synchronized={"type": ["boolean", "null"], "description": "whether NTP or PTP answers for it; null: not to be known here"},
            fault=FAULT,
        ),
        safe_mode=maybe(obj(errors=listed(obj(text=TEXT)))), machines=listed(ref("Tile")),
    ),
    "Strips": obj(
        from_ms=MS, to_ms=MS,
        machines=named(
            listed(
                {
                    "type": "array", "prefixItems": [MS, {"type": "string", "enum": [*STATE["enum"], "unknown"]}],
                    "items": False, "minItems": 2,
                }
            )
        ),
    ),
    "Event": obj(
        t=maybe(MS),
        kind={"type": "string", "enum": ["gateway", "machine", "broker", "store", "buffer", "clock", "config", "loss", "access"]},
        machine=TEXT, state=TEXT, fault=FAULT, text=TEXT,
    ),
    "EventList": obj(t=MS, events=listed(ref("Event"))),
    "MachineView": obj(
        t=MS, gateway=_ABOUT, machine=ref("Tile"), connection=obj(name=TEXT, protocol=TEXT, endpoint=TEXT, counters=ref("Counters")),
        signals=listed(ref("SignalRow")), events={**listed(ref("Event")), "maxItems": 50},
    ),
    "History": {
        "type": "object",
        "properties": {
            "points": listed({"type": "array", "prefixItems": [MS, VALUE, QUALITY], "items": False, "minItems": 3}),
            "from": MS, "to": MS,
        },
        "required": ["points", "from", "to"],
        "additionalProperties": False,
    },
    "Flow": obj(
        t=MS,
        stages=listed(
            obj(
                name={"type": "string", "enum": ["read", "normalized", "accepted", "sent", "stored"]},
                unit={"type": "string", "enum": ["readings", "messages"]}, total=COUNT, per_s=maybe(NUMBER), lag_s=maybe(SECONDS),
            )
        ),
        buffer=obj(
            **_DISK, oldest_ms=maybe(MS), growth_per_s=maybe(NUMBER), fills_in_s=maybe(SECONDS), drains_in_s=maybe(SECONDS),
        ),
        losses=listed(_LOSS), dead_letters=maybe(obj(count=COUNT, file={"type": "string", "description": "empty for a store that refuses nothing"})), bad=COUNT, suppressed={"type": "integer"},
        lost=COUNT, thinned=COUNT, refused=COUNT, rewinds=COUNT, broker=ref("Condition"), store=ref("Condition"),
    ),
    "Kpi": obj(
        t=MS, gateway=_ABOUT,
        machines=listed(
            obj(
                name=TEXT, state=STATE,
                figures=listed(
                    obj(
                        interval={"type": "string", "enum": ["shift", "hour", "day", "demand"]}, figure=TEXT, value=VALUE,
                        unit=TEXT, quality=QUALITY, t=maybe(MS), age_s=AGE, from_ms=maybe(MS), to_ms=maybe(MS), complete=BOOL,
                        name=TEXT, day=TEXT, uncertain=TEXT, formula=TEXT, reference=TEXT,
                        inputs=named(obj(value=VALUE, unit=TEXT, quality=TEXT, description=TEXT)),
                    )
                ),
            )
        ),
    ),
    "Faults": named(named(obj(title=TEXT, causes=listed(TEXT), checks=listed(TEXT), severity=TEXT))),
    "Config": obj(
        fixed={"type": "boolean", "description": "what runs does not stand in files as it is: nothing can be taken over"},
        in_force={"type": "boolean", "description": "the files are what runs; else they have been changed since"},
        files=listed(obj(name=TEXT, text=TEXT)), effective=TEXT,
        origins=listed(
            obj(
                path=TEXT, value=TEXT, file=TEXT, line=_PLACE,
                **{"from": {"type": "string", "enum": ["file", "profile", "shipped", "default", "environment"]}},
            )
        ),
        origins_left_out=COUNT, warnings=listed(TEXT), errors=listed(obj(**_MISTAKE)), versions=listed(_VERSION),
    ),
    "ToCheck": {
        "type": "object",
        "properties": {
            "text": {"type": "string", "description": "the whole of a file, at most 256 KiB"},
            "name": {"type": "string", "description": "which of `files` it is to replace; the first one where it is left out"},
        },
        "required": ["text"],
    },
    "Checked": obj(ok=BOOL, errors=listed(obj(**_MISTAKE)), warnings=listed(TEXT), difference=listed(TEXT)),
    "Rollback": {"type": "object", "properties": {"version": {"type": "integer", "minimum": 0}}, "required": ["version"]},
    "Reloaded": {
        "type": "object",
        "properties": {
            "changed": BOOL, "difference": listed(TEXT), "touched": listed(TEXT), "errors": listed({}), "restart": listed(TEXT),
            "warnings": listed(TEXT),
        },
        "required": ["changed"],
    },
    "Session": {
        "type": "object",
        "properties": {
            "user": maybe(TEXT), "role": {"enum": ["viewer", "engineer", None]}, "csrf": TEXT,
            "login": {"type": "string", "enum": ["none", "password", "certificate"]}, "language": maybe(TEXT),
            "setup": {"type": "boolean", "description": "nobody has a password yet: POST /api/v1/password with the set-up code"},
        },
        "required": ["user", "role", "csrf", "login"],
    },
    "Login": {
        "type": "object", "properties": {"user": TEXT, "password": TEXT}, "required": ["user", "password"],
    },
    "Password": {"type": "object"},
}  # fmt: skip
