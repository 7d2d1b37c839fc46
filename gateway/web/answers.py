"""What answers are made of: JSON, errors that say what to do, parameters that were looked at."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from gateway.config.explain import did_you_mean

NEVER_KEEP = {"Cache-Control": "no-store"}
MAX_BODY = 640 * 1024  # bytes: 256 KiB of text, as JSON may write it
_LONG = 100  # characters of a name that are said again


class Refused(Exception):  # an answer, no mistake of ours
    """Ends a request with a status, what is wrong, and what to do."""

    def __init__(self, status: int, error: str, hint: str = "", headers: Mapping[str, str] | None = None) -> None:
        super().__init__(error)
        self.status, self.error, self.hint, self.headers = status, error, hint, headers

    def answer(self) -> Response:
        """As JSON."""
        return answer(encode({"error": self.error, "hint": self.hint}), self.status, self.headers)


def answer(content: bytes, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """JSON that nobody keeps."""
    return Response(content, status, {**NEVER_KEEP, **(headers or {})}, "application/json")


def encode(content: object) -> bytes:
    """As JSON. What orjson refuses, such as half a surrogate pair in a text from a machine, is escaped instead."""
    try:
        return orjson.dumps(content)
    except TypeError:
        return json.dumps(content, separators=(",", ":")).encode()


def unknown(what: str, name: str, known: Iterable[str]) -> Refused:
    """A name that is none, and the one that was probably meant."""
    said = name if len(name) <= _LONG else f"{name[:_LONG]}…"
    return Refused(404, f"there is no {what} '{said}'", did_you_mean(name[:_LONG], known))


def number(
    request: Request, name: str, default: float, low: float, high: float, *, whole: bool = True, strict: bool = False
) -> float:
    """A parameter of the query between two bounds, or the default; `strict`: above the lower one. Raises Refused."""
    given = request.query_params.getlist(name)
    if not given:
        return default
    kind = "a whole number" if whole else "a number"
    bounds = f"{name}: {kind} from {low:.15g} to {high:.15g}" + (", but not the first of them" if strict else "")
    try:
        if len(given) > 1 or len(given[0]) > 40 or not given[0].isascii() or "_" in given[0]:
            raise ValueError
        value = int(given[0]) if whole else float(given[0])
    except ValueError:
        raise Refused(400, f"'{given[0][:_LONG]}' cannot be {name}", bounds) from None
    if not math.isfinite(value) or not low <= value <= high or (strict and value == low):
        raise Refused(400, f"{given[0]} cannot be {name}", bounds)
    return value


def text(request: Request, name: str) -> str:
    """A parameter of the query; "" where it is left out. Raises Refused for one that is given twice."""
    given = request.query_params.getlist(name)
    if len(given) > 1:
        raise Refused(400, f"{name} is given {len(given)} times", f"give {name} once")
    return given[0] if given else ""


async def body(request: Request) -> dict[str, Any]:
    """What was posted: an object, of a bounded size. Raises Refused."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Refused(415, "a POST is JSON", "send Content-Type: application/json")
    data = bytearray()
    async for part in request.stream():
        data += part
        if len(data) > MAX_BODY:
            raise Refused(413, "that is too long", f"at most {MAX_BODY // 1024} KiB")
    try:
        content = orjson.loads(bytes(data) or b"{}")
    except orjson.JSONDecodeError as exc:
        raise Refused(400, f"this is not JSON: {exc}"[:200], 'for example {"text": "version: 1"}') from exc
    if not isinstance(content, dict):
        raise Refused(400, "a POST is an object", 'for example {"text": "version: 1"}')
    return content
