"""The topics of one root. Pure.

{root}/{enterprise}/{site}/{area}/{line}/{machine}/data | meta | status      levels that are empty are left out
                                                   latest      only while data that waited follows
{root}/_gateway/{gateway}/status | loss
{root}/_store/{writer}/{gateway}
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.model import MachinePath

MAX_LEVELS = 5  # enterprise, site, area, line, machine


@dataclass(frozen=True, slots=True)
class Topics:
    """Everything that is said and heard below `root`."""

    root: str = "shopfloor/v1"

    def data(self, path: MachinePath) -> str:
        """Readings."""
        return self._machine(path, "data")

    def meta(self, path: MachinePath) -> str:
        """The signals of a machine (retained)."""
        return self._machine(path, "meta")

    def status(self, path: MachinePath) -> str:
        """online, offline or degraded (retained)."""
        return self._machine(path, "status")

    def latest(self, path: MachinePath) -> str:
        """The newest readings (retained), while older ones are still being sent."""
        return self._machine(path, "latest")

    def gateway_status(self, gateway: str) -> str:
        """Birth and will of a gateway (retained)."""
        return f"{self.root}/_gateway/{gateway}/status"

    def loss(self, gateway: str) -> str:
        """What had to be dropped."""
        return f"{self.root}/_gateway/{gateway}/loss"

    def stored(self, writer: str, gateway: str) -> str:
        """What a writer has stored of a gateway (retained)."""
        return f"{self.stores}{writer}/{gateway}"

    @property
    def stores(self) -> str:
        """What all topics begin with at which writers say what they have stored."""
        return f"{self.root}/_store/"

    def every(self, kind: str) -> tuple[str, ...]:
        """Filters for `data`, `meta` or `status` of all machines: one for each number of levels."""
        return tuple(f"{self.root}/{'+/' * levels}{kind}" for levels in range(1, MAX_LEVELS + 1))

    def levels_of(self, topic: str) -> tuple[str, ...] | None:
        """The levels between the root and the last one: of a machine's topic, or `_gateway`, id. None if not ours."""
        prefix = self.root + "/"
        if not topic.startswith(prefix):
            return None
        levels = tuple(topic[len(prefix) :].split("/")[:-1])
        return levels if 1 <= len(levels) <= MAX_LEVELS else None

    def _machine(self, path: MachinePath, kind: str) -> str:
        return "/".join((self.root, *path.levels(), kind))
