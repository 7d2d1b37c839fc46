"""Nodes whose meaning is known: what each yields, and how the function that works it out is made of those of others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from gateway.expressions import flaws
from gateway.expressions.flaws import FLOATS, INTS, NUMBERS, TYPES, Bounds, Flaw, Run
from gateway.expressions.kinds import SECOND, Kind
from gateway.expressions.memory import Memory, Room
from gateway.expressions.mistakes import ExpressionError
from gateway.expressions.tree import Binary, Call, Constant, Node, Signal
from gateway.model import Value, ValueType
from gateway.units import Unit

Family = Literal["number", "bool", "text"]
FAMILIES: Mapping[str | None, Family | None] = {
    "float": "number", "int": "number", "bool": "bool", "string": "text", None: None,
}  # fmt: skip
CLASSES: Mapping[Family, Any] = {"number": NUMBERS, "bool": TYPES["bool"], "text": TYPES["string"]}
NOUNS: Mapping[Family, str] = {"number": "a number", "bool": "true or false", "text": "text"}


@dataclass(frozen=True, slots=True)
class Part:
    """A node whose meaning is known."""

    node: Node
    kind: Kind
    make: Callable[[Room], Run]
    family: Family | None  # more than the type tells: the sum of two unknowns is a number
    constant: Value = None  # what it always is
    step: bool = False  # a difference of temperatures: 5 K more are 5 Cel more
    lasting: bool = False  # remembers what was, and so has to be worked out even where its result is not needed
    timed: bool = False  # can change by the passing of time alone


def constant(node: Constant) -> Part:
    value = node.value
    if isinstance(value, str):
        kind = Kind("string", states=frozenset({value}))
    elif isinstance(value, bool):
        kind = Kind("bool")
    else:
        kind = Kind("int" if isinstance(value, int) else "float", SECOND if node.duration else None)
    return Part(node, kind, lambda _: flaws.constant(value), FAMILIES[kind.type], constant=value)


def number_signal(node: Signal, classes: Any, bounds: Bounds) -> Part:
    return Part(node, Kind(), lambda _: flaws.number_signal(node.index, classes, bounds), "number")


def joined(node: Node, kind: Kind, parts: Sequence[Part], build: Callable[..., Run], *, step: bool = False) -> Part:
    """A part made of others. If all of them are constant, so is it."""

    def make(room: Room) -> Run:
        if len(parts) == 2:  # a long sum is deep: one call for each level of it
            return build(parts[0].make(room), parts[1].make(room))
        return build(*[each.make(room) for each in parts])

    part = Part(
        node,
        kind,
        make,
        FAMILIES[kind.type],
        step=step,
        lasting=any(each.lasting for each in parts),
        timed=any(each.timed for each in parts),
    )
    if any(each.constant is None for each in parts):
        return part
    value = part.make(Room())(())
    if isinstance(value, Flaw):
        raise ExpressionError("this has no value", node.start, node.end, "it divides by 0, or is no number")
    return replace(part, constant=value, make=lambda _: flaws.constant(value))


def like(node: Node, parts: Sequence[Part], build: Callable[..., Run], others: Sequence[Part] = ()) -> Part:
    """A part whose result is one of these, or of their kind. `others` come first, and do not count for that."""
    family = next((part.family for part in parts if part.family is not None), None)
    states = [part.kind.states for part in parts]
    kind = Kind(
        number_type(*parts) if family == "number" else parts[0].kind.type or parts[-1].kind.type,
        unit_of(*parts),
        frozenset().union(*(each for each in states if each is not None)) if None not in states else None,
    )
    part = joined(node, kind, [*others, *parts], build, step=any(part.step for part in parts))
    return replace(part, family=family)


def pair(
    node: Binary, kind: Kind, x: Part, y: Part, operation: Callable[[Any, Any], Any], *, step: bool = False
) -> Part:
    bounds, constant = bounds_of(kind.type), y.constant

    def build(left: Run, right: Run) -> Run:
        if constant is not None:
            return flaws.pair_with(operation, left, constant, bounds)
        return flaws.pair(operation, left, right, bounds)

    part = joined(node, kind, [x, y], build, step=step)
    return replace(part, family="number")


def over_time(
    node: Call,
    kind: Kind,
    x: Part,
    remember: Callable[[Room], Memory],
    *,
    timed: bool = True,
    step: bool = False,
    family: Family | None = None,
) -> Part:
    def make(room: Room) -> Run:
        run = x.make(room)
        memory = remember(room)
        room.memories.append(memory)
        return flaws.remembered(run, memory.step)

    return Part(node, kind, make, family or FAMILIES[kind.type], step=step, lasting=True, timed=timed or x.timed)


# --- rules -------------------------------------------------------------------------------------------------------------


def bounds_of(type_: ValueType | None) -> Bounds:
    """What may be an integer has to fit into 64 bits; a larger float is looked at a second time."""
    return FLOATS if type_ == "float" else INTS


def number_type(*parts: Part) -> ValueType | None:
    types = {part.kind.type for part in parts}
    if "float" in types:
        return "float"
    return None if None in types else "int"


def unit_of(*parts: Part) -> Unit | None:
    return next((part.kind.unit for part in parts if part.kind.unit is not None), None)
