"""A gateway as the commands see it: its control socket, and snapshots written by hand."""

from __future__ import annotations

import copy
import json
import socket
import threading
from pathlib import Path
from typing import Any

CONFIG = """\
gateway: {id: edge-01, data_dir: data}
connections: {panel: {protocol: modbus-tcp, host: 10.0.0.1}}
machines:
  press-07: {connection: panel, signals: {temp: {holding: 0, type: int16}}}
"""


def signal(name: str, quality: str, age: float | None) -> dict[str, Any]:
    return {"name": name, "type": "float", "unit": "Cel", "value": 1.0, "text": "1", "quality": quality, "t": 1.0, "age_s": age}  # fmt: skip


def machine(name: str, state: str = "online", reason: str = "", fault: str = "", since_s: float = 600, read: int = 0, **more: Any) -> dict[str, Any]:  # fmt: skip
    counters = dict.fromkeys(("polls", "read", "bad", "failures", "overruns", "reconnects", "messages", "accepted"), 0)
    quality = "good" if state == "online" else "bad:no-communication"
    return {
        "name": name, "path": ["acme", name], "state": state, "since_ms": round((NOW - since_s) * 1000), "reason": reason,
        "fault": fault, "counters": {**counters, "read": read, "polls": read // 10, **more},
        "signals": [signal("temp", quality, 0.4 if state == "online" else since_s), signal("mode", "good", 2.5)],
    }  # fmt: skip


NOW = 1_796_000_000.0  # seconds since 1970


def snapshot(*machines: dict[str, Any], at: float = NOW, **over: Any) -> dict[str, Any]:
    found: dict[str, Any] = {
        "v": 1,
        "t": at * 1000,
        "gateway": {"id": "edge-01", "version": "0.1.0", "delivery": "store", "uptime_s": 3600 + at - NOW},
        "flow": {"readings_per_s": 1234.0, "read": 1000, "stored": 99, "sent": 99, "lost": 0, "messages": 99},
        "buffer": {"records": 3, "bytes": 4096, "max_bytes": 2**31, "dropped": 0, "unsafe": 0, "trouble": ""},
        "losses": [],
        "broker": {"state": "online", "since_ms": round((NOW - 3600) * 1000), "reason": "", "fault": ""},
        "store": {"state": "online", "since_ms": round((NOW - 3600) * 1000), "reason": "", "fault": ""},
        "machines": list(machines),
    }
    for key, value in over.items():
        found[key] = {**found[key], **value} if isinstance(found.get(key), dict) else value
    return copy.deepcopy(found)


class Stub:
    """Answers `status` with one snapshot after the other, the last of them again and again, and `events`."""

    def __init__(self, folder: Path, *snapshots: dict[str, Any], events: list[dict[str, Any]] | None = None) -> None:
        (folder / "gateway.yaml").write_text(CONFIG)
        (folder / "data").mkdir(exist_ok=True)
        self.snapshots, self.events, self.asked = list(snapshots), events or [], list[dict[str, Any]]()
        self._server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._server.bind(str(folder / "data" / "control.sock"))
        self._server.listen(8)
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Stub:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.close()

    def _serve(self) -> None:
        while True:
            try:
                line, _ = self._server.accept()
            except OSError:
                return
            with line, line.makefile("rwb") as file:
                for request in file:
                    file.write(json.dumps({"ok": True, "result": self._answer(json.loads(request))}).encode() + b"\n")
                    file.flush()

    def _answer(self, request: dict[str, Any]) -> Any:
        if request["do"] == "where":  # by whoever looks for another gateway on this box meanwhile
            return {}
        self.asked.append(request)
        if request["do"] == "events":
            return self.events[-request["limit"] :]
        return self.snapshots.pop(0) if len(self.snapshots) > 1 else self.snapshots[0]
