"""Whether a gateway runs with this configuration, and what it says of itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from gateway.doctor.case import Case
from gateway.doctor.finding import Finding, State

NAME = "service"
MOST = 20  # machines that are told one by one


def look(case: Case) -> Iterator[Finding]:
    if case.denied:
        yield Finding(NAME, "skipped", "this user may not ask whether one runs")
    elif case.silent:
        yield Finding(NAME, "wrong", f"a gateway seems to run: {case.silent}", "check-hung")
    elif case.path is None:
        yield Finding(NAME, "skipped", "there is no configuration to look at")
    elif case.status is None:
        path = f" -c {case.path}" if case.path else ""
        yield Finding(
            NAME, "warning", "no gateway runs with this configuration", "gateway-not-running", f"gateway run{path}"
        )
    else:
        yield from judge(case.status)


def judge(status: Mapping[str, Any]) -> Iterator[Finding]:
    """What a running gateway says, as findings. `status`: Board.snapshot()."""
    found = status.get("safe_mode")
    if errors := found.get("errors") if isinstance(found, Mapping) else found:
        yield Finding(NAME, "wrong", f"it runs in safe mode: {errors[0]}", "config-refused")
    if waiting := status.get("restart"):
        text = f"only a restart takes over: {'; '.join(waiting)}"
        yield Finding(NAME, "warning", text, hint="restart the gateway: systemctl restart shopfloor-gateway")
    machines = status.get("machines", ())
    away = [machine for machine in machines if machine["state"] != "online"]
    for machine in away[:MOST]:
        state: State = "wrong" if machine["state"] == "offline" else "warning"
        text = f"{machine['name']}: {machine['state']}: {machine['reason']}"
        yield Finding(NAME, state, text, machine.get("fault", ""))
    if (more := len(away) - MOST) > 0:
        yield Finding(NAME, "wrong", f"and {more} more machines are not online")
    for part, condition in (
        ("broker", status.get("broker") or {}), ("store", status.get("store") or {}), ("page", status.get("page_state") or {}),
    ):  # fmt: skip
        if condition.get("state") in ("offline", "degraded"):
            level: State = "wrong" if condition["state"] == "offline" else "warning"
            text = f"{part}: {condition['state']}: {condition['reason']}"
            yield Finding(NAME, level, text, condition.get("fault", ""))
    buffer = status.get("buffer") or {}
    if buffer.get("trouble"):
        yield Finding(NAME, "wrong", f"buffer: {buffer['trouble']}", buffer.get("fault", ""))
    elif buffer.get("max_bytes") and buffer["bytes"] > 0.9 * buffer["max_bytes"]:
        text = f"buffer: {buffer['bytes'] / buffer['max_bytes']:.0%} full"
        yield Finding(NAME, "warning", text, "buffer-full")
    uptime = status.get("gateway", {}).get("uptime_s", 0)
    online = len(machines) - len(away)
    yield Finding(NAME, "ok", f"a gateway has run for {_span(uptime)}: {online} of {len(machines)} machines online")


def _span(seconds: float) -> str:
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
