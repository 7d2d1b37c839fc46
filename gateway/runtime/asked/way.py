"""How far the data has come, for the page: the marks of the buffer, and what the store refused for good."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from gateway.config import Configuration
from gateway.runtime.edge.edge import Edge
from gateway.store.dead_letters import LetterCount
from gateway.store.open import dead_letters_path
from gateway.web.sources import Way


class WayOfData:
    """Asked while somebody looks, and only then."""

    def __init__(self, edge: Edge, configuration: Callable[[], Configuration], writes: Callable[[], bool]) -> None:
        """`writes`: whether this process has the store writer, and so the file with what was refused."""
        self._edge, self._configuration, self._writes = edge, configuration, writes
        self._counts: dict[Path, LetterCount] = {}

    def __call__(self) -> Way:
        edge = self._edge
        buffer = edge.buffer
        return Way(
            edge.trail,
            buffer.accepted,
            buffer.sent,
            buffer.stored,
            buffer.oldest_ns,
            buffer.record_bytes,
            self._letters(),
        )

    def _letters(self) -> tuple[int, str] | None:
        configuration = self._configuration()
        settings = configuration.settings
        if settings.store is None or not self._writes():
            return None
        path = dead_letters_path(settings.store, configuration.resolve(settings.gateway.data_dir))
        if path is None:
            return 0, ""  # it refuses nothing
        return self._counts.setdefault(path, LetterCount(path))(), str(path)
