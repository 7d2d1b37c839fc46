"""An OPC UA server on asyncua that looks like the control of a CNC machine."""

import json
import sys
from pathlib import Path

from .cnc import Cnc

SCRIPT = Path(__file__).parent / "asyncua_server" / "server.py"


class AsyncuaServer(Cnc):
    """See asyncua_server/server.py."""

    patience = 60.0

    def command(self) -> list[str]:
        return [sys.executable, str(SCRIPT), json.dumps(self.options())]

    def delete_subscriptions(self) -> None:
        """Delete all subscriptions from the server's side; the sessions stay."""
        self.ask("delete_subscriptions")
