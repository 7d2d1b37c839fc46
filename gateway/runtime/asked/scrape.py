"""What a process exposes about itself: GET /metrics, and `metrics` on the control socket."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.clock import artificial
from gateway.metrics.certificates import Certificates
from gateway.metrics.happened import Happened
from gateway.metrics.lag import Lag

if TYPE_CHECKING:
    from gateway.runtime.app import App


class Scrape:
    """Of one process, through its reloads. Costs next to nothing until it is asked."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._happened = Happened(app.events)
        self._lag = Lag()

    @contextmanager
    def looking(self) -> Iterator[None]:
        """While this lasts, how late the event loop is, is looked at."""
        self._lag.start()
        try:
            yield
        finally:
            self._lag.stop()

    def __call__(self) -> bytes:
        """In Prometheus' text format. Raises PartMissingError without prometheus_client."""
        return self._exposition()

    @cached_property
    def _exposition(self) -> Callable[[], bytes]:
        from gateway.metrics.exposition import Exposition

        app = self._app
        return Exposition(
            clock=app.clock,
            board=lambda: None if app.edge is None else app.edge.board,
            writer=lambda: None if app.writer is None else app.writer.status,
            happened=self._happened,
            waits=self._waits,
            certificates=Certificates(self._files),
            lag=self._lag,
            safe_mode=lambda: app.safe_mode,
            page=lambda: app.page_condition,
        )

    def _waits(self) -> float | None:
        """How long the oldest message has waited that is not stored, in seconds."""
        edge = self._app.edge
        if edge is None:
            return None
        since = edge.trail.since(self._app.clock.monotonic(), edge.buffer.stored + 1)
        if since is not None:
            return since
        made = edge.buffer.oldest_ns  # it waited before this start already
        return None if made is None or artificial(made) else max(0.0, (self._app.clock.now() - made) / 1e9)

    def _files(self) -> dict[str, Path]:
        """The certificates that the gateway shows or relies on, as they are configured now."""
        configuration = self._app.configuration
        settings = configuration.settings
        named = {
            "mqtt": settings.mqtt.cert,
            "mqtt-ca": settings.mqtt.ca,
            "store-ca": configuration.store and configuration.store.ca,
            "page": settings.web and (settings.web.cert or settings.gateway.data_dir / "web" / "page.pem"),
            "opcua": settings.gateway.data_dir / "opcua" / "pki" / "own" / "gateway.der",
        }
        return {name: configuration.resolve(path) for name, path in named.items() if path}
