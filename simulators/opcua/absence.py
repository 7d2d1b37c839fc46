"""Nodes that are not there for a while.

Who monitors one is told BadNodeIdUnknown; a monitored item stays valid, and goes on when the node is there again
(Part 4, 5.12.2.1). Its node is taken out of asyncua's address space, and out of the references of others.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import asyncua.ua

from simulators.opcua.cells import Moment
from simulators.opcua.space import Placed

ua: Any = asyncua.ua

_UNKNOWN = 0x80340000  # BadNodeIdUnknown


class Absence:
    """Of the nodes of one server."""

    def __init__(self, aspace: Any) -> None:
        self._aspace = aspace
        self._gone: dict[Any, Any] = {}  # node id -> what asyncua has of it
        self._references: dict[Any, list[tuple[Any, Any]]] = {}  # node id -> node that leads there, its reference
        self._forget: Callable[[int], None] = aspace.delete_datachange_callback
        aspace.delete_datachange_callback = self._delete_callback

    @property
    def nodes(self) -> Collection[Any]:
        """That are gone."""
        return self._gone.keys()

    async def hide(self, placed: Placed, moment: Moment) -> None:
        """It is not there any more."""
        await placed.cell.put(None, _UNKNOWN, moment)
        node = self._gone[placed.node] = self._aspace[placed.node]
        leading = self._references[placed.node] = []
        for parent in {back.NodeId for back in node.references if not back.IsForward}:
            references = self._aspace[parent].references
            for reference in [each for each in references if each.NodeId == placed.node]:
                references.remove(reference)
                leading.append((parent, reference))
        del self._aspace[placed.node]

    def show(self, placed: Placed) -> None:
        """It is there again; its next value is as good as new."""
        self._aspace[placed.node] = self._gone.pop(placed.node)
        for parent, reference in self._references.pop(placed.node):
            self._aspace[parent].references.append(reference)
        placed.variable.shown = None

    def _delete_callback(self, handle: int) -> None:
        """asyncua looks for the node of a monitored item that is deleted, and fails where that is gone."""
        id, attribute = self._aspace._handle_to_attribute_map.get(handle, (None, None))
        if id not in self._gone:
            self._forget(handle)
            return
        del self._aspace._handle_to_attribute_map[handle]
        self._gone[id].attributes[attribute].datachange_callbacks.pop(handle, None)
