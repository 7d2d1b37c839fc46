"""InfluxDB 1.6, the time-series store with the v1 API."""

import json
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

from .ports import free_port
from .process import Part, program

CONFIGURATION = """
reporting-disabled = true
bind-address = "127.0.0.1:{rpc_port}"
[meta]
dir = "{folder}/meta"
[data]
dir = "{folder}/data"
wal-dir = "{folder}/wal"
index-version = "tsi1"
[monitor]
store-enabled = false
[http]
bind-address = "127.0.0.1:{port}"
auth-enabled = {auth}
log-enabled = false
"""


class InfluxDB1(Part):
    """The store at `url`; with a user and a password it refuses everybody else."""

    def __init__(self, *, user: str = "", password: str = "") -> None:
        super().__init__()
        self.user, self.password = user, password
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._rpc_port = free_port()
        self._has_user = False

    def query(self, q: str, db: str = "") -> list[dict[str, Any]]:
        """The rows of an InfluxQL statement with their InfluxDB tags; `time` is in nanoseconds."""
        login = {"u": self.user, "p": self.password} if self.user else {}
        url = f"{self.url}/query?{urlencode({'db': db, 'epoch': 'ns', **login})}"
        try:
            with urlopen(Request(url, data=urlencode({"q": q}).encode())) as answer:
                result = json.load(answer)["results"][0]
        except HTTPError as error:
            raise RuntimeError(f"{q}: {error.read().decode()}") from error
        if "error" in result:
            raise RuntimeError(f"{q}: {result['error']}")
        return [
            {**series.get("tags", {}), **dict(zip(series["columns"], values, strict=True))}
            for series in result.get("series", [])
            for values in series.get("values", [])
        ]

    def start(self) -> "InfluxDB1":
        super().start()
        if self.user and not self._has_user:
            self.query(f"CREATE USER \"{self.user}\" WITH PASSWORD '{self.password}' WITH ALL PRIVILEGES")
            self._has_user = True
        return self

    def command(self) -> list[str]:
        path = self.folder / "influxdb.conf"
        auth = "true" if self.user else "false"
        path.write_text(CONFIGURATION.format(folder=self.folder, port=self.port, rpc_port=self._rpc_port, auth=auth))
        return [program("influxd"), "run", "-config", str(path)]

    def ready(self) -> bool:
        with urlopen(f"{self.url}/ping", timeout=1) as answer:
            return bool(answer.status == 204)
