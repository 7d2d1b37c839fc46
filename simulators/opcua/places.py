"""Where things stand in a server: nodes, browse paths, and places inside of a value. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from adapters.opcua.config import OpcuaMachine

Path = tuple[str | int, ...]
"""Names of fields and numbers of elements, from the outside in."""


class NodeId(NamedTuple):
    """A node of this server."""

    namespace: int
    identifier: int | str | UUID | bytes


Steps = tuple[tuple[int, str], ...]
"""The browse names that lead to a node from the folder Objects, with their namespaces."""

Place = NodeId | Steps


def place_of(machine: OpcuaMachine, signal: str, uris: Sequence[str]) -> Place:
    """The node of a signal, in a server with these namespaces; its own are among them."""

    def index(namespace: str | int) -> int:
        return uris.index(namespace) if isinstance(namespace, str) else namespace

    address = machine.address_of(signal)
    steps = getattr(address, "steps", None)
    if steps is not None:
        return tuple((index(namespace), name) for namespace, name in steps)
    return NodeId(index(address.namespaces[0]), address.identifier)  # type: ignore[union-attr]  # a NodeAddress


def path_text(path: Path) -> str:
    """For people."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).removeprefix(".")


def steps_text(steps: Steps) -> str:
    """For people."""
    return "/".join(name for _, name in steps)
