"""An OPC UA server on asyncua with odd names, all kinds of types, cycles, and many variables; see asyncua_server/space.py."""

import json
import sys
from pathlib import Path
from typing import Any

from .lines import LinePart

SCRIPT = Path(__file__).parent / "asyncua_server" / "space.py"


class AsyncuaSpace(LinePart):
    """`many`: so many variables more, in one folder."""

    patience = 90.0

    def __init__(self, many: int = 0) -> None:
        super().__init__()
        self.many = many
        self.url = f"opc.tcp://127.0.0.1:{self.port}"

    def options(self) -> dict[str, Any]:
        return {"port": self.port, "many": self.many}

    def command(self) -> list[str]:
        return [sys.executable, str(SCRIPT), json.dumps(self.options())]
