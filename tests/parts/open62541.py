"""An OPC UA server on open62541 that looks like the control of a CNC machine."""

import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import orjson

from .cnc import Cnc
from .process import INSTALLED, program

BINARY = INSTALLED / "bin" / "uaserver"

_STATUS = {"Good": 0, "UncertainLastUsableValue": 0x40900000, "BadNoCommunication": 0x80310000}
_TYPES = {
    "SpindleSpeed": "Double", "CoolantTemperature": "Float", "PartCount": "UInt32", "Program": "String",
    "DoorOpen": "Boolean", "Mode": "Int32", "Int64Min": "Int64", "Int64Max": "Int64", "UInt64Max": "UInt64",
    "Broken": "Double", "Doubtful": "Double", "LastService": "DateTime", "SerialNumber": "String",
    "AxisPositions": "Double",
}  # fmt: skip


class Open62541(Cnc):
    """See open62541/server.c; `limits` are keys of it, such as max_read=10."""

    def __init__(self, *, limits: Mapping[str, int] | None = None, **common: Any) -> None:
        super().__init__(**common)
        self.limits = dict(limits or {})
        self._types = {f"s=CNC1.{name}": type for name, type in _TYPES.items()}

    def command(self) -> list[str]:
        options = self.options()
        numbers = ("tick_ms", "count_ms", "count_from", "sampling_ms")
        words = [f"{key}={options[key]}" for key in (*numbers, "ledger")]
        words += [f"anonymous={int(self.anonymous)}", *(f"before={uri}" for uri in self.namespaces)]
        words += [f"{key}={value}" for key, value in self.limits.items()]
        return [program(str(BINARY)), str(self.port), str(self.folder), *words]

    def line(self, command: str, arguments: Mapping[str, Any]) -> str:
        if not arguments:
            return command
        node = arguments["id"]
        if command not in ("set", "add"):
            return f"{command}\t{node}"
        self._types.setdefault(node, arguments.get("type", ""))
        at = datetime.fromisoformat(arguments["time"]).timestamp() * 1e9 if "time" in arguments else time.time_ns()
        status = _STATUS[arguments["status"]]
        # Integers of 64 bits are text in the JSON of OPC UA: Part 6, 5.4.2.3.
        value, long = arguments.get("value"), self._types[node] in ("Int64", "UInt64")
        text = "keep" if value is None else f'"{value}"' if long else orjson.dumps(value).decode()
        return "\t".join((command, node, self._types[node], text, str(status), str(int(at))))
