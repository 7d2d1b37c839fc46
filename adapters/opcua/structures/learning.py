"""Learning what data types are, from a server: the ways in which servers tell, tried in this order.

    encoding of a body ── HasEncoding, inverse ──▶ data type
    data type ── DataTypeDefinition (since 1.04) ──▶ structure, enumeration; then the types of its fields
              ── HasSubtype, inverse, up to a built-in type ──▶ another name of that
              ── EnumStrings, EnumValues ──▶ enumeration (before 1.04)
              ── HasEncoding ─ HasDescription ─ dictionary ──▶ structure (before 1.04)

Only what the configuration asks for is learnt, with all that it consists of, and each thing once in a session. Types of
which a server tells nothing are refused with the reason; asking again is useless until the next session.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from adapters.opcua.nodes import NodeId
from adapters.opcua.structures.definitions import (
    Definition,
    Definitions,
    Enumeration,
    MisfitError,
    Simple,
    Structure,
    UndefinedError,
    definition_of,
)  # fmt: skip
from adapters.opcua.structures.dictionary import named, parse_dictionary
from adapters.opcua.structures.field_path import Path
from adapters.opcua.structures.picking import declared
from adapters.opcua.wire import BODY, Body, node_text

# Attributes (Part 6, A.1) and reference types (Part 6, A.2).
_BROWSE_NAME, _IS_ABSTRACT, _VALUE, _DEFINITION = 3, 8, 13, 23
_HAS_ENCODING, _HAS_DESCRIPTION, _HAS_SUBTYPE, _HAS_COMPONENT = 38, 39, 45, 47
_OPC_BINARY = NodeId(0, "i", 93)  # the folder of all binary dictionaries
_ENUMERATION = NodeId(0, "i", 29)

_LEVELS = 100  # structures within structures: each takes requests of its own
_MOST = 2000  # types in one session: more than any machine has, fewer than would fill our memory
_DEEPEST = 50  # supertypes of a type


class Source(Protocol):
    """What can be asked of a server about its types. Each answer has as many elements as `nodes`, in their order."""

    async def attribute(self, attribute: int, nodes: Sequence[NodeId]) -> list[Any]:
        """As `wire` decodes them; None where there is none."""

    async def references(self, type: int, inverse: bool, nodes: Sequence[NodeId]) -> list[list[tuple[NodeId, str]]]:
        """Where references of exactly this type lead, with the browse name there."""

    async def properties(self, name: str, nodes: Sequence[NodeId]) -> list[NodeId | None]:
        """One property of each."""


async def learn(
    source: Source, definitions: Definitions, types: Iterable[NodeId], encodings: Iterable[NodeId] = ()
) -> None:
    """Learn these data types, and those of these encodings of bodies, as far as they are not known."""
    wanted = dict.fromkeys(types)  # in their order
    unknown = [e for e in dict.fromkeys(encodings) if definitions.type_of(e) is None and e not in definitions.refused]
    for encoding, found in zip(unknown, await source.references(_HAS_ENCODING, True, unknown), strict=True):
        if found:
            definitions.encoded(encoding, found[0][0])
            wanted[found[0][0]] = None
        else:
            definitions.unknown.discard(encoding)
            definitions.refused[encoding] = "the server does not say of which data type it is"
    asked = levels = 0
    while ask := [type for type in wanted if not definitions.knows(type) and type not in definitions.refused]:
        asked, levels = asked + len(ask), levels + 1
        if asked > _MOST or levels > _LEVELS:
            why = f"{_MOST} data types" if asked > _MOST else f"{_LEVELS} structures within each other"
            for type in ask:
                definitions.refused[type] = f"it consists of more than {why}"
            return
        wanted = dict.fromkeys(await _learn(source, definitions, ask))


async def _learn(source: Source, definitions: Definitions, types: Sequence[NodeId]) -> list[NodeId]:
    """Learn these. The data types of the fields of structures among them."""
    names = [str(name or "") for name in await source.attribute(_BROWSE_NAME, types)]
    abstract = dict(zip(types, await source.attribute(_IS_ABSTRACT, types), strict=True))
    rest: dict[NodeId, tuple[str, Enumeration | None]] = {}
    learnt: list[Structure] = []
    for type, name, value in zip(types, names, await source.attribute(_DEFINITION, types), strict=True):
        try:
            definition = definition_of(value, name)
        except MisfitError as exc:
            definitions.refused[type] = str(exc)
            continue
        if not isinstance(definition, Structure):
            rest[type] = name, definition
        elif abstract[type]:
            definitions.define(type, Simple(BODY))  # what comes in its place says what it is
        else:
            definitions.define(type, definition)
            learnt.append(definition)
    bases = await _bases(source, definitions, list(rest))
    enumerations: dict[NodeId, Enumeration] = {}
    old_structures = []
    for type, (_, enumeration) in rest.items():
        base = bases.get(type)
        if base is None:
            definitions.refused[type] = f"the server does not say what {node_text(type)} is"
        elif enumeration is not None or isinstance(base, Enumeration):
            code = base.code if isinstance(base, (Simple, Enumeration)) else 6
            enumerations[type] = Enumeration(enumeration.texts if enumeration else {}, code)
        elif isinstance(base, Structure) or (base.code == BODY and not abstract[type]):
            old_structures.append(type)
        else:
            definitions.define(type, base)
    # Some definitions have bare names where the properties have texts for people.
    for type, texts in zip(enumerations, await _texts(source, definitions, list(enumerations)), strict=True):
        known = enumerations[type]
        definitions.define(type, Enumeration({**known.texts, **texts}, known.code))
    await _from_dictionaries(source, definitions, old_structures)
    return [field.type for definition in learnt for field in definition.fields]


async def _bases(
    source: Source, definitions: Definitions, types: Sequence[NodeId]
) -> dict[NodeId, Simple | Enumeration | Structure]:
    """What is known of the nearest supertype of each of which anything is known."""
    ends = {type: type for type in types}
    bases: dict[NodeId, Simple | Enumeration | Structure] = {}
    for _ in range(_DEEPEST):
        climbing = [type for type in ends if type not in bases]
        if not climbing:
            break
        found = await source.references(_HAS_SUBTYPE, True, [ends[type] for type in climbing])
        for type, supertypes in zip(climbing, found, strict=True):
            if not supertypes:
                del ends[type]
                continue
            ends[type] = supertypes[0][0]
            if ends[type] == _ENUMERATION:
                bases[type] = Enumeration({})
            elif (definition := definitions.definition(ends[type])) is not None:
                bases[type] = definition
    return bases


# --- enumerations ----------------------------------------------------------------------------------------------------


async def texts(
    source: Source, definitions: Definitions, wanted: Sequence[tuple[NodeId, NodeId | None, Path]]
) -> list[Mapping[int, str]]:
    """What the numbers of variables mean: each by its node, its data type, and the way to a part of its value.

    A variable's own texts (MultiStateDiscrete, MultiStateValueDiscrete, TwoStateDiscrete: Part 8, 5.3.3) go before those
    of its data type, which have to be learnt already. Nothing where there are none.
    """
    whole = [node for node, _, path in wanted if not any(isinstance(step, str) for step in path)]
    nodes = list(dict.fromkeys(whole))
    own = dict(zip(nodes, await _texts(source, definitions, nodes), strict=True))
    unsaid = [node for node in nodes if not own[node]]
    pairs = zip(
        await _property(source, "FalseState", unsaid), await _property(source, "TrueState", unsaid), strict=True
    )
    for node, states in zip(unsaid, pairs, strict=True):
        own[node] = {number: text for number, text in enumerate(states) if isinstance(text, str)}
    found = []
    for node, type, path in wanted:
        part = declared(type, path, definitions) if type else None
        mine = {} if any(isinstance(step, str) for step in path) else own[node]
        found.append(mine or (definitions.texts(part) if part else {}))
    return found


async def _texts(source: Source, definitions: Definitions, nodes: Sequence[NodeId]) -> list[Mapping[int, str]]:
    strings = await _property(source, "EnumStrings", nodes)
    values = await _property(source, "EnumValues", nodes)
    return [_values(value, definitions) or _strings(string) for string, value in zip(strings, values, strict=True)]


def _strings(value: Any) -> dict[int, str]:
    texts = value if isinstance(value, list) else []
    return {number: text for number, text in enumerate(texts) if isinstance(text, str)}


def _values(value: Any, definitions: Definitions) -> dict[int, str]:
    """Of an array of EnumValueType (Part 3, 8.40)."""
    found: dict[int, str] = {}
    for body in value if isinstance(value, list) else []:
        if isinstance(body, Body) and body.data is not None:
            try:
                record = definitions.decode(body)
            except (UndefinedError, MisfitError):
                continue
            if record.layout.names[:2] == ("Value", "DisplayName"):
                number, text = record.values[:2]
                found[number] = text or str(number)
    return found


async def _property(source: Source, name: str, nodes: Sequence[NodeId]) -> list[Any]:
    there = await source.properties(name, nodes)
    values = iter(await source.attribute(_VALUE, [node for node in there if node]))
    return [next(values) if node else None for node in there]


# --- dictionaries ----------------------------------------------------------------------------------------------------


async def _from_dictionaries(source: Source, definitions: Definitions, types: Sequence[NodeId]) -> None:
    """Define structures by the dictionaries that describe their binary encodings."""
    if not types:
        return
    encodings: dict[NodeId, NodeId] = {}
    for type, found in zip(types, await source.references(_HAS_ENCODING, False, types), strict=True):
        for encoding, name in found:
            if name == "Default Binary":
                encodings[type] = encoding
    described = list(encodings)
    targets = await source.references(_HAS_DESCRIPTION, False, [encodings[type] for type in described])
    descriptions = {type: each[0][0] for type, each in zip(described, targets, strict=True) if each}
    described = list(descriptions)
    names = await source.attribute(_VALUE, [descriptions[type] for type in described])
    homes = await source.references(_HAS_COMPONENT, True, [descriptions[type] for type in described])
    dictionaries = await _dictionaries(source, list(dict.fromkeys(home[0][0] for home in homes if home)))
    for type, name, home in zip(described, names, homes, strict=True):
        uri, known = dictionaries[home[0][0]] if home else ("", {})
        definition = known.get(str(name))
        if isinstance(definition, Structure):
            definitions.define(type, definition._replace(encoding=encodings[type]))
            _define_names(definitions, uri, known)
        elif home:
            definitions.refused[type] = f"the server's dictionary has no {name}" if known else uri
    for type in types:
        if not definitions.knows(type) and type not in definitions.refused:
            definitions.refused[type] = f"the server does not describe the structure {node_text(type)}"
    if any(_open_ends(definition, definitions) for _, known in dictionaries.values() for definition in known.values()):
        # Types of other dictionaries; each names them by its namespace only.
        (found,) = await source.references(_HAS_COMPONENT, False, [_OPC_BINARY])
        for uri, known in (await _dictionaries(source, [node for node, _ in found])).values():
            _define_names(definitions, uri, known)


def _open_ends(definition: Definition, definitions: Definitions) -> bool:
    return isinstance(definition, Structure) and not all(definitions.knows(field.type) for field in definition.fields)


async def _dictionaries(source: Source, nodes: Sequence[NodeId]) -> dict[NodeId, tuple[str, Mapping[str, Definition]]]:
    """Their namespaces and types. One that cannot be read has no types, and a namespace that says why."""
    parsed: dict[NodeId, tuple[str, Mapping[str, Definition]]] = {}
    for node, value in zip(nodes, await source.attribute(_VALUE, nodes), strict=True):
        try:
            parsed[node] = parse_dictionary(bytes.fromhex(value or ""))
        except (UndefinedError, ValueError, TypeError) as exc:
            parsed[node] = str(exc), {}
    return parsed


def _define_names(definitions: Definitions, uri: str, types: Mapping[str, Definition]) -> None:
    for name, definition in types.items():
        if not definitions.knows(named(uri, name)):
            definitions.define(named(uri, name), definition)
