"""The store a configuration asks for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gateway.clock import Clock
from gateway.config.settings import StoreSettings
from gateway.store.contract import Reader, Store
from gateway.store.historian import Historian

if TYPE_CHECKING:
    from gateway.store.influx import InfluxConnection
    from gateway.store.influx_store import InfluxStore


def open_store(settings: StoreSettings, data_dir: Path, clock: Clock | None = None) -> Store:
    """For the writer. Raises StoreError, PartMissingError."""
    if settings.kind == "historian":
        return Historian(historian_path(settings, data_dir), retention=settings.retention, clock=clock)
    return _influx(settings, data_dir, clock)


def open_reader(settings: StoreSettings, data_dir: Path) -> Reader:
    """For those who ask. Raises StoreError, PartMissingError."""
    if settings.kind == "historian":
        return Historian.open_read_only(historian_path(settings, data_dir))
    return _influx(settings, data_dir, None)


def historian_path(settings: StoreSettings, data_dir: Path) -> Path:
    """Where the embedded historian keeps its file."""
    return settings.path or data_dir / "historian.sqlite"


def dead_letters_path(settings: StoreSettings, data_dir: Path) -> Path | None:
    """Where what the store refuses is kept; None for one that refuses nothing."""
    return None if settings.kind == "historian" else data_dir / "store" / "dead-letters.jsonl"


def influx_connection(settings: StoreSettings, **more: float) -> InfluxConnection:
    """A line to the InfluxDB of a configuration; `timeout` in seconds. Raises PartMissingError."""
    from gateway.store.influx import InfluxConnection

    assert settings.url is not None
    return InfluxConnection(
        settings.url,
        api=settings.api,
        org=settings.org or "",
        bucket=settings.bucket or "",
        token=settings.token.value if settings.token else "",
        database=settings.database or "",
        user=settings.user or "",
        password=settings.password.value if settings.password else "",
        ca=settings.ca,
        **more,
    )


def _influx(settings: StoreSettings, data_dir: Path, clock: Clock | None) -> InfluxStore:
    from gateway.store.influx_store import InfluxStore

    return InfluxStore(
        influx_connection(settings),
        data_dir / "store",
        measurement=settings.measurement,
        clock=clock,
        resend_after_outage=settings.resend_after_outage,
    )
