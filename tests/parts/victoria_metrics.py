"""VictoriaMetrics, a time-series store that takes the InfluxDB v2 API, and vmauth, which asks for a token."""

import json
import time
from urllib.parse import urlencode
from urllib.request import urlopen

from .ports import free_port
from .process import Part, program

Series = tuple[dict[str, str], list[tuple[int, float | None]]]


class VictoriaMetrics(Part):
    """The store at `url`; with a token also behind vmauth at `auth_url`, which stays up when the store is stopped."""

    def __init__(self, *, token: str = "", flags: tuple[str, ...] = ()) -> None:
        super().__init__()
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.flags = flags
        self.guard = VmAuth(self.url, token) if token else None
        self.auth_url = self.guard.url if self.guard else ""

    def export(self, match: str) -> list[Series]:
        """All series that match, as labels and (milliseconds, value) pairs."""
        with urlopen(f"{self.url}/internal/force_flush"):
            pass
        # Its own end is the present; it keeps what lies up to two days ahead.
        query = urlencode({"match[]": match, "start": 0, "end": int(time.time()) + 3 * 86400})
        with urlopen(f"{self.url}/api/v1/export?{query}") as answer:
            series = [json.loads(line) for line in answer]
        return [(s["metric"], list(zip(s["timestamps"], s["values"], strict=True))) for s in series]

    def command(self) -> list[str]:
        return [
            program("victoria-metrics"),
            f"-httpListenAddr=127.0.0.1:{self.port}",
            f"-storageDataPath={self.folder / 'data'}",
            "-retentionPeriod=100y",
            "-search.latencyOffset=0s",
            "-dedup.minScrapeInterval=1ms",
            *self.flags,
        ]

    def ready(self) -> bool:
        with urlopen(f"{self.url}/health", timeout=1) as answer:
            return bool(answer.read() == b"OK")

    def start(self) -> "VictoriaMetrics":
        super().start()
        if self.guard:
            self.guard.start()
        return self

    def close(self) -> None:
        if self.guard:
            self.guard.close()
        super().close()


class VmAuth(Part):
    """Passes on what comes with the token, and refuses the rest."""

    def __init__(self, target: str, token: str) -> None:
        super().__init__()
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.users = {"users": [{"bearer_token": token, "url_prefix": target}]}

    def command(self) -> list[str]:
        path = self.folder / "auth.yml"
        path.write_text(json.dumps(self.users))  # JSON is YAML too
        return [program("vmauth"), f"-httpListenAddr=127.0.0.1:{self.port}", f"-auth.config={path}"]

    def ready(self) -> bool:
        with urlopen(f"{self.url}/health", timeout=1) as answer:
            return bool(answer.read() == b"OK")
