"""Variables made from one that is there already: asyncua's way to make one takes 130 µs and 9 KiB, this one 20 µs and 6 KiB.

What is the same in all of them (access, data type, rank, references) is shared: asyncua never changes a DataValue in place.
"""

from __future__ import annotations

from typing import Any

import asyncua.ua
from asyncua.server.address_space import AddressSpace, AttributeValue, NodeData

ua: Any = asyncua.ua
_ID, _VALUE = ua.AttributeIds.NodeId, ua.AttributeIds.Value
_NAME, _TEXTS = ua.AttributeIds.BrowseName, (ua.AttributeIds.DisplayName, ua.AttributeIds.Description)


class Pattern:
    """A variable as asyncua made it, to be made again with other names in the same folder."""

    def __init__(self, nodes: AddressSpace, parent: Any, id: Any) -> None:
        self._nodes, self._parent = nodes, nodes[parent]
        made = nodes[id]
        own = {_ID, _NAME, *_TEXTS}
        self._shared = [(each, has.value) for each, has in made.attributes.items() if each not in own and has.value]
        self._references = list(made.references)  # to its folder and its type
        (self._there,) = (each for each in self._parent.references if each.NodeId == id)

    def again(self, id: Any, name: Any) -> None:
        """Make another one. `id` must be free; its value is that of the first one."""
        node = NodeData(id)
        text = ua.DataValue(ua.Variant(ua.LocalizedText(name.Name), ua.VariantType.LocalizedText))
        node.attributes = {
            **{each: AttributeValue(value) for each, value in self._shared},
            _ID: AttributeValue(ua.DataValue(ua.Variant(id, ua.VariantType.NodeId))),
            _NAME: AttributeValue(ua.DataValue(ua.Variant(name, ua.VariantType.QualifiedName))),
            **{each: AttributeValue(text) for each in _TEXTS},
        }
        node.references = list(self._references)
        self._nodes[id] = node
        there = self._there
        self._parent.references.append(
            ua.ReferenceDescription(
                there.ReferenceTypeId,
                there.IsForward,
                id,
                name,
                text.Value.Value,
                there.NodeClass,
                there.TypeDefinition,
            )
        )
