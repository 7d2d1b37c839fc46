"""Prometheus, which scrapes what a gateway exposes, and evaluates our rules; and its promtool."""

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

from .ports import free_port
from .process import ROOT, Part, program, wait_until

FOLDER = ROOT / "deploy" / "prometheus"


class Prometheus(Part):
    """At `url`, with the configuration we ship, made for a test: other targets, and no time lost in between."""

    def __init__(self, targets: Sequence[str], *, scrape: str = "1s", hold: str | None = None) -> None:
        """`targets`: HOST:PORT. `hold`: of every alert, instead of the time it has to last in a plant."""
        super().__init__()
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.targets, self.scrape, self.hold = list(targets), scrape, hold

    def query(self, expression: str) -> list[dict[str, Any]]:
        """An instant vector: `metric` and `value` of each series. Raises RuntimeError with what is wrong with it."""
        return list(self._ask("query", query=expression)["result"])

    def value(self, expression: str) -> float | None:
        """Of the one series that it gives; None while there is none."""
        found = self.query(expression)
        assert len(found) < 2, found
        return float(found[0]["value"][1]) if found else None

    def alerts(self) -> list[dict[str, Any]]:
        """Those that are pending or firing."""
        return list(self._ask("alerts")["alerts"])

    def scraped(self, timeout: float = 20) -> None:
        """Wait until every target was scraped."""
        wait_until(lambda: len(self.query("up == 1")) >= len(self.targets), timeout, "a scrape")

    def _ask(self, what: str, **arguments: str) -> dict[str, Any]:
        with urlopen(f"{self.url}/api/v1/{what}?{urlencode(arguments)}", timeout=10) as answer:
            found = json.load(answer)
        if found["status"] != "success":
            raise RuntimeError(found["error"])
        return dict(found["data"])

    def command(self) -> list[str]:
        import yaml

        settings = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
        rules = yaml.safe_load((FOLDER / "alerts.yml").read_text())
        settings["global"] |= {
            "scrape_interval": self.scrape,
            "evaluation_interval": self.scrape,
            "scrape_timeout": self.scrape,
        }
        (job,) = (job for job in settings["scrape_configs"] if job["job_name"] == "gateway")
        job["static_configs"] = [{"targets": self.targets}]
        settings["scrape_configs"] = [job]
        if self.hold is not None:
            for rule in (rule for group in rules["groups"] for rule in group["rules"]):
                rule["for"] = self.hold
        (self.folder / "prometheus.yml").write_text(yaml.safe_dump(settings))
        (self.folder / "alerts.yml").write_text(yaml.safe_dump(rules))
        return [
            program("prometheus"),
            f"--config.file={self.folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={self.folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{self.port}",
            "--log.level=warn",
        ]

    def ready(self) -> bool:
        with urlopen(f"{self.url}/-/ready", timeout=1) as answer:
            return bool(answer.status == 200)


def promtool(*arguments: str, text: str | None = None, cwd: Path | None = None) -> "subprocess.CompletedProcess[str]":
    """One call, to its end. `text`: its standard input."""
    return subprocess.run(
        [program("promtool"), *arguments], input=text, capture_output=True, text=True, timeout=60, cwd=cwd, check=False
    )
