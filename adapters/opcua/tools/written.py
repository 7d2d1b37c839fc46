"""Nodes as they are written in YAML: `m:s=CNC1.Speed`, `nsu=urn:shop:cnc;s=CNC1.Speed`, `m:CNC1/m:Speed`. Pure.

What is written is read back at once, with the same functions that read the configuration: what would not lead to the same
node is written another way, or not at all.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping, Sequence

from pydantic_core import PydanticCustomError

from adapters.opcua.browsing import QualifiedName
from adapters.opcua.nodes import Identifier, NodeAddress, NodeId, parse, parse_path, resolve, resolve_path
from adapters.opcua.tools.pattern import path_text

_MEANINGLESS = (
    "ua",
    "opc",
    "opcua",
    "opc-ua",
    "www",
    "com",
    "org",
    "net",
    "de",
    "urn",
    "http",
    "server",
    "v1",
    "v2",
    "types",
)


class Written:
    """How the nodes of one server are written, with a prefix for each of its namespaces."""

    def __init__(self, uris: Sequence[str], known: Mapping[str, str] | None = None) -> None:
        """`known`: URIs by prefix, as in the configuration."""
        self.uris = uris
        self.prefixes = dict(known or {})
        by_uri = {uri: prefix for prefix, uri in self.prefixes.items()}
        for uri in uris[1:]:
            if uri not in by_uri and uri and uri == uri.strip() and uri.isprintable():
                by_uri[uri] = prefix = _free(prefix_of(uri), self.prefixes)
                self.prefixes[prefix] = uri
        # A URI that is there twice means the first one.
        self._by_index = {i: by_uri[uri] for i, uri in enumerate(uris) if i and uri in by_uri and uris.index(uri) == i}
        self._used: set[int] = set()

    @property
    def in_patterns(self) -> dict[str, str]:
        """URIs by prefix, and by their number in this session, as other tools show them."""
        return {**{str(i): uri for i, uri in enumerate(self.uris) if i}, **self.prefixes}

    @property
    def used(self) -> dict[str, str]:
        """URIs by prefix, of what was written so far."""
        return {self._by_index[i]: self.uris[i] for i in sorted(self._used)}

    def forget(self) -> None:
        """Begin with a new machine."""
        self._used.clear()

    def node(self, id: NodeId) -> str | None:
        """A node id with its prefix, else by URI, else by index; None where none of these can be read back."""
        text = f"{id.kind}={_identifier(id.identifier)}"
        if id.namespace == 0:
            forms = [text if id.kind == "i" else f"ns=0;{text}"]
        else:
            forms = [f"{self._by_index[id.namespace]}:{text}"] if id.namespace in self._by_index else []
            forms += [self.by_uri(id), f"ns={id.namespace};{text}"]
        for form in forms:
            if self._leads_to(form, id):
                if form is forms[0] and id.namespace in self._by_index:
                    self._used.add(id.namespace)
                return form
        return None

    def by_uri(self, id: NodeId) -> str:
        """`nsu=urn:shop:cnc;s=CNC1.Speed`: a node id that needs no prefix."""
        text = f"{id.kind}={_identifier(id.identifier)}"
        if id.namespace == 0 or id.namespace >= len(self.uris):
            return text if id.namespace == 0 and id.kind == "i" else f"ns={id.namespace};{text}"
        uri = self.uris[id.namespace].replace("%", "%25").replace(";", "%3B")  # Part 6, 5.1.13
        return f"nsu={uri};{text}"

    def path(self, steps: Sequence[QualifiedName]) -> str | None:
        """Browse names from the folder Objects; None where they cannot be read back."""
        text = path_text([(self._prefix(step.namespace), step.name) for step in steps])
        try:
            found = resolve_path(parse_path(text, self.prefixes), self.uris)
        except PydanticCustomError:
            return None
        if not steps or found != tuple((step.namespace, step.name) for step in steps):
            return None
        self._used |= {step.namespace for step in steps if step.namespace in self._by_index}
        return text

    def shown(self, steps: Sequence[QualifiedName]) -> str:
        """A path for people, also where it cannot be read back."""
        self._used |= {step.namespace for step in steps if step.namespace in self._by_index}
        return path_text([(self._prefix(step.namespace), step.name) for step in steps])

    def _prefix(self, index: int) -> str | None:
        return self._by_index.get(index, str(index)) if index else None

    def _leads_to(self, text: str, id: NodeId) -> bool:
        try:
            address: NodeAddress = parse(text, self.prefixes)
        except PydanticCustomError:
            return False
        return resolve(address, self.uris) == id


def _identifier(identifier: Identifier) -> str:
    return b64encode(identifier).decode() if isinstance(identifier, bytes) else str(identifier)


def prefix_of(uri: str) -> str:
    """A short name for a namespace: its last word that says something."""
    words = [word for word in re.split(r"[^A-Za-z0-9]+", uri) if word]
    telling = [w for w in words if w.lower() not in _MEANINGLESS and not w.isdecimal() and len(w) > 1] or words or ["m"]
    name = telling[-1].lower()[:20]
    return name if name[0].isalpha() else f"n{name}"


def _free(name: str, taken: Mapping[str, str]) -> str:
    number, free = 2, name
    while free in taken or free in ("nsu", "ns"):
        free, number = f"{name}{number}", number + 1
    return free
