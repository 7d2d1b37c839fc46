"""What a configuration connects to, whichever the protocols are."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from gateway.config import Configuration


class Address(NamedTuple):
    """Where something listens."""

    host: str
    port: int
    of: str  # who connects there: a connection, `broker`, `store`
    protocol: str = ""

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def named(self) -> bool:
        """Whether its host has to be looked up."""
        try:
            ipaddress.ip_address(self.host)
        except ValueError:
            return True
        return False


def of_machines(configuration: Configuration) -> Iterator[Address]:
    """The machines behind a network, each once."""
    seen = set()
    for name, connection in configuration.connections.items():
        host, port = getattr(connection, "host", None), getattr(connection, "port", None)
        if host and isinstance(port, int) and (host, port) not in seen:
            seen.add((host, port))
            yield Address(host, port, name, connection.protocol)


def of_servers(configuration: Configuration) -> Iterator[Address]:
    """Broker and store."""
    mqtt, store = configuration.settings.mqtt, configuration.settings.store
    yield Address(mqtt.host, mqtt.port, "broker")
    if store is not None and store.url:
        parts = urlsplit(store.url)
        yield Address(parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80), "store")


def serial_ports(configuration: Configuration) -> Iterator[tuple[str, str]]:
    """Name of the connection, and the port, of what is plugged into this box."""
    for name, connection in configuration.connections.items():
        port = getattr(connection, "port", None)
        if isinstance(port, str) and not getattr(connection, "host", None):
            yield name, port
