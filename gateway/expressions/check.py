"""What a tree means for certain signals: types and units are checked, and every node becomes a `Part`, which can be run.

    Constant, Signal … ──▶ Part: its kind, and how the function that works it out is made
                           a program makes all of them once; what has to be remembered gets its place in the program's room

A mistake is an ExpressionError at its place. What is not known yet (types and units of a server that was not asked so far) is let pass:
at run time a value of a wrong type is bad, never an exception.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from gateway.expressions import flaws
from gateway.expressions.arithmetic import WHOLE, between, clamped, equal_if_alike, linear, rounding, unequal_if_alike
from gateway.expressions.flaws import FLOATS, INTS, NUMBERS, TYPES, Run
from gateway.expressions.kinds import ONE, SECOND, Kind, difference, over, raised, times
from gateway.expressions.memory import Changed, Duration, Edge, Memory, Previous, Room, Total
from gateway.expressions.mistakes import ExpressionError, did_you_mean, nearest
from gateway.expressions.parser import COMPARISONS
from gateway.expressions.parts import (
    CLASSES,
    FAMILIES,
    NOUNS,
    Family,
    Part,
    bounds_of,
    constant,
    joined,
    like,
    number_signal,
    number_type,
    over_time,
    pair,
    unit_of,
)
from gateway.expressions.tokens import BARE_NAME
from gateway.expressions.tree import Binary, Call, Constant, Logic, Node, Reference, Signal, Unary
from gateway.expressions.windows import Count, Delta, Highest, Lowest, Mean, Rate, Share
from gateway.units import Unit, UnitError, conversion, parse


class Checker:
    """Checks one text for one set of signals."""

    def __init__(self, text: str, kind_of: Callable[[Reference], Kind | None], names: Sequence[str]) -> None:
        self._text = text
        self._kind_of = kind_of
        self._names = names
        self._kinds: dict[int, Kind] = {}

    @property
    def kinds(self) -> Sequence[Kind]:
        """Of the references, in their order."""
        return [self._kinds[index] for index in sorted(self._kinds)]

    def part(self, node: Node) -> Part:
        """Raises ExpressionError."""
        match node:
            case Constant():
                return constant(node)
            case Signal():
                return self._signal(node)
            case Unary(operator="-"):
                x = self._number(self.part(node.operand))
                return like(node, [x], lambda run: flaws.single(operator.neg, run, bounds_of(x.kind.type)))
            case Unary():
                x = self._condition(self.part(node.operand))
                return joined(node, Kind("bool"), [x], flaws.negation)
            case Logic():
                return self._logic(node)
            case Binary() if node.operator in COMPARISONS:
                return self._comparison(node)
            case Binary():
                return self._arithmetic(node)
            case Call():
                return _FUNCTIONS[node.function](self, node)

    # --- what stands in the text ---------------------------------------------------------------------------------------

    def _text_of(self, part: Part) -> str:
        return " ".join(self._text[part.node.start : part.node.end].split())

    def _shown(self, part: Part) -> str:
        text = self._text_of(part)
        if text[0] in "'\"":
            return text
        return f"'{text}'" if len(text) <= 40 else f"'{text[:39]}…'"

    def _mistake(self, part: Part, message: str, hint: str = "") -> ExpressionError:
        return ExpressionError(message, part.node.start, part.node.end, hint)

    def _signal(self, node: Signal) -> Part:
        kind = self._kinds.get(node.index) or self._kind_of(node.reference)
        if kind is None:
            raise self._no_signal(node)
        self._kinds[node.index] = kind
        family = FAMILIES[kind.type]
        if family == "number":
            return replace(number_signal(node, TYPES[kind.type], bounds_of(kind.type)), kind=kind)
        classes = TYPES[kind.type]
        return Part(node, kind, lambda _: flaws.signal(node.index, classes), family)

    def _no_signal(self, node: Signal) -> ExpressionError:
        reference = node.reference
        of_machine = f" of machine '{reference.machine}'" if reference.machine else ""
        # melt-temp without brackets is a difference.
        whole = [
            name
            for name in self._names
            if self._text.startswith(name, node.start) and len(name) > len(reference.signal)
        ]
        if whole:
            hint = f"write [{max(whole, key=len)}]"
        elif near := nearest(str(reference), self._names):
            hint = f"did you mean {near if BARE_NAME.fullmatch(near) else f'[{near}]'}?"
        else:
            hint = ""
        return ExpressionError(f"there is no signal '{reference.signal}'{of_machine}", node.start, node.end, hint)

    # --- types ---------------------------------------------------------------------------------------------------------

    def _wanted(self, part: Part, family: Family, hint: str = "") -> Part:
        """The same part, of this family."""
        if part.family == family:
            return part
        if part.family is not None:
            found, wanted = NOUNS[part.family], NOUNS[family]
            raise self._mistake(part, f"{self._shown(part)} is {found}, where {wanted} is needed", hint)
        if family == "number" and isinstance(part.node, Signal):
            return replace(number_signal(part.node, NUMBERS, INTS), kind=part.kind)
        classes = CLASSES[family]
        return replace(part, family=family, make=lambda room: flaws.fitting(part.make(room), classes))

    def _number(self, part: Part) -> Part:
        hint = f"write if({self._text_of(part)}, 1, 0)" if part.family == "bool" else ""
        return self._wanted(part, "number", hint)

    def _condition(self, part: Part) -> Part:
        endings = {"number": "!= 0", "text": "== 'auto'"}
        return self._wanted(part, "bool", f"compare it: {self._text_of(part)} {endings.get(part.family or '')}")

    def _same_family(self, parts: Sequence[Part], verb: str) -> list[Part]:
        """All of the family of the first one that is known."""
        first = next((part for part in parts if part.family is not None), None)
        if first is None or first.family is None:
            return list(parts)
        for part in parts:
            if part.family not in (first.family, None):
                found = f"{self._shown(first)} is {NOUNS[first.family]}, {self._shown(part)} {NOUNS[part.family]}"
                alone = next((self._text_of(each) for each in (first, part) if each.family == "bool"), "")
                hint = f"write {alone} or not {alone}" if alone and verb == _COMPARED else ""
                raise self._mistake(part, f"{found}: they cannot be {verb}", hint)
        return [self._wanted(part, first.family) for part in parts]

    # --- units ---------------------------------------------------------------------------------------------------------

    def _alike(self, parts: Sequence[Part], verb: str) -> list[Part]:
        """Numbers in the same unit: that of the first that has one."""
        first = next((part for part in parts if part.kind.unit is not None), None)
        if first is None:
            return list(parts)
        step = any(part.step for part in parts)
        unit = difference(first.kind.unit) if step else first.kind.unit
        return [self._in_unit(part, unit, step, verb, first) for part in parts]

    def _in_unit(self, part: Part, unit: Unit | None, step: bool, verb: str, first: Part) -> Part:
        """Converted, if it has a unit. A difference is scaled only, whatever the zero of its unit."""
        source = difference(part.kind.unit) if step else part.kind.unit
        if source is None or unit is None or source == unit:
            return part if source is None else replace(part, kind=replace(part.kind, unit=unit), step=step)
        try:
            factor, offset = conversion(source, unit)
        except UnitError as error:
            one, other = sorted((first, part), key=lambda each: each.node.start)
            why = _misfit(one, other) or error
            message = f"{self._shown(one)} and {self._shown(other)} cannot be {verb}: {why.message}"
            raise self._mistake(part, message, why.hint) from error
        kind = replace(part.kind, unit=unit)
        if (factor, offset) == (1.0, 0.0):
            return replace(part, kind=kind, step=step)
        run = linear(factor, offset)
        kind = replace(kind, type="float")
        return joined(part.node, kind, [part], lambda x: flaws.single(run, x, FLOATS), step=step)

    # --- operators -----------------------------------------------------------------------------------------------------

    def _logic(self, node: Logic) -> Part:
        parts = [self._condition(self.part(operand)) for operand in node.operands]
        lasting = any(part.lasting for part in parts)
        deciding = node.operator == "or"
        return joined(node, Kind("bool"), parts, lambda *runs: flaws.logic(deciding, runs, lasting))

    def _comparison(self, node: Binary) -> Part:
        parts = self._same_family([self.part(node.left), self.part(node.right)], _COMPARED)
        family = parts[0].family
        if node.operator not in ("==", "!="):
            for part in parts:
                if part.family in ("text", "bool"):
                    message = f"{self._shown(part)} is {NOUNS[part.family]}, which is neither less nor more"
                    raise self._mistake(part, message, "only == and != compare it")
            parts = [self._number(part) for part in parts]
        elif family == "text":
            self._states(*parts)
            self._states(*reversed(parts))
        if parts[0].family == "number":
            # Constants are converted once, rather than signals at each evaluation.
            turned = parts[0].constant is not None
            parts = self._alike(parts[::-1] if turned else parts, _COMPARED)
            parts = parts[::-1] if turned else parts
        operation = _COMPARING[node.operator]
        if family is None and node.operator in ("==", "!="):
            operation = equal_if_alike if node.operator == "==" else unequal_if_alike
        y = parts[1].constant
        if y is not None and parts[0].constant is None:
            return joined(node, Kind("bool"), parts, lambda x, _: flaws.comparison_with(operation, x, y))
        return joined(node, Kind("bool"), parts, lambda x, y: flaws.comparison(operation, x, y))

    def _states(self, part: Part, text: Part) -> None:
        """A text that a signal never has is a slip of the pen."""
        states = part.kind.states
        if states is None or not isinstance(text.node, Constant) or text.node.value in states:
            return
        wanted = str(text.node.value)
        hint = did_you_mean(wanted, states) or f"it is one of {', '.join(sorted(states))}"
        raise self._mistake(text, f"{self._shown(part)} is never '{wanted}'", hint)

    def _arithmetic(self, node: Binary) -> Part:
        """A sum of two hundred is two hundred nodes deep on its left side: down there in a loop, and up again."""
        spine = [node]
        while isinstance(left := spine[-1].left, Binary) and left.operator not in COMPARISONS:
            spine.append(left)
        part = self.part(left)
        for each in reversed(spine):
            x, y = self._number(part), self._number(self.part(each.right))
            part = _OPERATORS[each.operator](self, each, x, y)
        return part

    def _sum(self, node: Binary, x: Part, y: Part) -> Part:
        x, y, unit, step = self._summed(node, x, y)
        operation = operator.add if node.operator == "+" else operator.sub
        return pair(node, Kind(number_type(x, y), unit), x, y, operation, step=step)

    def _summed(self, node: Binary, x: Part, y: Part) -> tuple[Part, Part, Unit | None, bool]:
        """Both in units that add up, the unit of the result, and whether that is a difference of temperatures.

        A temperature is a point on a scale: of two of them the difference makes sense, which can be added to a third.
        """
        a, b = x.kind.unit, y.kind.unit
        verb = "added" if node.operator == "+" else "subtracted"
        if a is None or b is None:
            return x, y, b if a is None else a, x.step or y.step
        point, other = a.scale == "interval", b.scale == "interval"
        if not point and not other:
            step = x.step and (y.step or node.operator == "-")
            x, y = self._alike([x, y], verb)
            return x, y, x.kind.unit, step
        if point and not other:
            return x, self._in_unit(y, difference(a), True, verb, x), a, False
        if node.operator == "+" and not point:
            return self._in_unit(x, difference(b), True, verb, y), y, b, False
        if node.operator == "+" and a.fits(b) and conversion(b, a) != (1.0, 0.0):
            message = f"{self._shown(x)} and {self._shown(y)} are temperatures on two scales: they cannot be added"
            raise self._mistake(y, message, f"write convert({self._text_of(y)}, '{a.code}')")
        if not point and x.step:
            return x, self._in_unit(y, a, True, verb, x), a, True
        y = self._in_unit(y, a, False, verb, x)
        return x, y, difference(a) if point and node.operator == "-" else a, point and node.operator == "-"

    def _product(self, node: Binary, x: Part, y: Part) -> Part:
        """A factor without a unit may be a conversion (1000 from kW to W), so the unit of the product is not known then."""
        if node.operator == "*":
            return pair(node, Kind(number_type(x, y), times(x.kind.unit, y.kind.unit)), x, y, operator.mul)
        self._no_zero(y)
        return pair(node, Kind("float", over(x.kind.unit, y.kind.unit)), x, y, operator.truediv)

    def _modulo(self, node: Binary, x: Part, y: Part) -> Part:
        self._no_zero(y)
        x, y = self._alike([x, y], "divided with a remainder")
        return pair(node, Kind(number_type(x, y), unit_of(x, y)), x, y, operator.mod, step=x.step)

    def _no_zero(self, divisor: Part) -> None:
        if divisor.constant is not None and not divisor.constant:
            raise self._mistake(divisor, "this divides by 0")

    def _power(self, node: Binary, x: Part, y: Part) -> Part:
        exponent = y.constant
        whole = exponent if isinstance(exponent, int) and -9 <= exponent <= 9 else None
        if y.kind.unit is not None and not y.kind.unit.is_dimensionless:
            raise self._mistake(y, f"{self._shown(y)} is an exponent, and has the unit {y.kind.unit.code}")
        if whole is None and x.kind.unit is not None and not x.kind.unit.is_dimensionless:
            message = (
                f"{self._shown(x)} is in {x.kind.unit.code}, so its exponent has to be a whole number from -9 to 9"
            )
            raise self._mistake(y, message)
        if whole is None or whole < 0:
            unit = raised(x.kind.unit, whole) if whole is not None else None
            return pair(node, Kind("float", unit), x, y, math.pow)
        kind = Kind(x.kind.type, raised(x.kind.unit, whole))
        return pair(node, kind, x, y, operator.pow)

    # --- functions of the moment ---------------------------------------------------------------------------------------

    def _choice(self, node: Call) -> Part:
        condition = self._condition(self.part(node.arguments[0]))
        yes, no = self._either(node, node.arguments[1:])
        both = yes.lasting or no.lasting

        def build(decision: Run, a: Run, b: Run) -> Run:
            return flaws.choice(decision, a, b, both)

        return like(node, [yes, no], build, others=[condition])

    def _either(self, node: Call, arguments: Sequence[Node]) -> list[Part]:
        """What stands for one another: of one family, in one unit."""
        parts = self._same_family(
            [self.part(argument) for argument in arguments], f"the results of one {node.function}"
        )
        if any(part.family == "number" for part in parts):
            parts = self._alike(parts, f"the results of one {node.function}")
        return parts

    def _default(self, node: Call) -> Part:
        x, instead = self._either(node, node.arguments)
        both = instead.lasting
        return like(node, [x, instead], lambda x, y: flaws.otherwise(x, y, both))

    def _quality(self, node: Call) -> Part:
        x = self.part(node.arguments[0])
        build = flaws.whether_good if node.function == "good" else flaws.whether_known
        return joined(node, Kind("bool"), [x], build)

    def _extreme(self, node: Call) -> Part:
        if node.window:
            return self._window(node)
        parts = [self._number(self.part(argument)) for argument in node.arguments]
        parts = self._alike(parts, "compared")
        bounds = bounds_of(number_type(*parts))
        operation = min if node.function == "min" else max
        return like(node, parts, lambda *runs: flaws.several(operation, runs, bounds))

    def _within(self, node: Call) -> Part:
        parts = [self._number(self.part(argument)) for argument in node.arguments]
        x, low, high = self._alike(parts, "compared")
        if low.constant is not None and high.constant is not None and low.constant > high.constant:  # type: ignore[operator]
            message = f"{self._shown(low)} is more than {self._shown(high)}"
            raise self._mistake(low, message, "the lower limit comes first")
        if node.function == "between":
            return joined(node, Kind("bool"), [x, low, high], lambda *runs: flaws.several(between, runs, FLOATS))
        bounds = bounds_of(number_type(x, low, high))
        return like(node, [x, low, high], lambda *runs: flaws.several(clamped, runs, bounds))

    def _rounded(self, node: Call) -> Part:
        x = self._number(self.part(node.arguments[0]))
        if len(node.arguments) == 2:
            digits = self._whole(node.arguments[1], -15, 15)
            run = rounding(digits)
            kind = Kind("float", x.kind.unit)
            return joined(node, kind, [x], lambda x: flaws.single(run, x, FLOATS), step=x.step)
        operation = WHOLE[node.function]
        kind = Kind("int", x.kind.unit)
        return joined(node, kind, [x], lambda x: flaws.single(operation, x, INTS), step=x.step)

    def _absolute(self, node: Call) -> Part:
        x = self._number(self.part(node.arguments[0]))
        return like(node, [x], lambda run: flaws.single(abs, run, bounds_of(x.kind.type)))

    def _root(self, node: Call) -> Part:
        x = self._number(self.part(node.arguments[0]))
        unit = x.kind.unit if x.kind.unit is not None and x.kind.unit.code == "1" else None
        return joined(node, Kind("float", unit), [x], lambda run: flaws.single(math.sqrt, run, FLOATS))

    def _bit(self, node: Call) -> Part:
        x = self._number(self.part(node.arguments[0]))
        if x.kind.type == "float":
            raise self._mistake(x, f"{self._shown(x)} has no bits: it is no whole number", "round(x) makes one of it")
        mask = 1 << self._whole(node.arguments[1], 0, 63)

        def has_bit(value: int) -> bool:
            return bool(value & mask)

        return joined(node, Kind("bool"), [x], lambda run: flaws.single(has_bit, run, FLOATS))

    def _whole(self, node: Node, least: int, most: int) -> int:
        value = node.value if isinstance(node, Constant) and not node.duration else None
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            message = f"this has to be a whole number from {least} to {most}, written out"
            raise ExpressionError(message, node.start, node.end)
        return value

    def _convert(self, node: Call) -> Part:
        x, code = self._number(self.part(node.arguments[0])), node.arguments[1]
        if not isinstance(code, Constant) or not isinstance(code.value, str):
            raise ExpressionError("the unit has to be text, written out", code.start, code.end, "convert(x, 'kW')")
        try:
            unit = parse(code.value)
        except UnitError as error:
            at = code.start + 1 + min(error.position, len(code.value))
            raise ExpressionError(error.message, at, max(at + 1, code.end - 1), error.hint) from error
        if x.step:
            unit_of_result = difference(unit)
            return replace(self._in_unit(x, unit_of_result, True, "converted", x), node=node)
        if x.kind.unit is None:
            kind = replace(x.kind, unit=unit)
            return replace(x, node=node, kind=kind)
        try:
            conversion(x.kind.unit, unit)
        except UnitError as error:
            message = f"{self._shown(x)} cannot be converted: {error.message}"
            raise ExpressionError(message, node.start, node.end, error.hint) from error
        return replace(self._in_unit(x, unit, False, "converted", x), node=node)

    # --- functions over time -------------------------------------------------------------------------------------------

    def _window(self, node: Call) -> Part:
        function, length = node.function, node.window
        condition = function in ("count", "share")
        x = self._condition(self.part(node.arguments[0])) if condition else self._number(self.part(node.arguments[0]))
        kind, step = x.kind, x.step
        if function == "mean":
            kind = replace(kind, type="float")
        elif function in ("count", "share"):
            kind = Kind("int" if function == "count" else "float", ONE)
        elif function in ("delta", "rate"):
            step = step or (kind.unit is not None and kind.unit.scale == "interval")
            kind = replace(kind, unit=difference(kind.unit))
            if function == "rate":
                kind, step = Kind("float", over(kind.unit, SECOND)), False
        memory = _WINDOWS[function]
        family: Family = "number"
        return over_time(node, kind, x, lambda room: memory(room, length), step=step, family=family)

    def _edge(self, node: Call) -> Part:
        x = self._condition(self.part(node.arguments[0]))
        to = node.function == "rising"
        return over_time(node, Kind("bool"), x, lambda room: Edge(room, to))

    def _changed(self, node: Call) -> Part:
        return over_time(node, Kind("bool"), self.part(node.arguments[0]), Changed)

    def _previous(self, node: Call) -> Part:
        x = self.part(node.arguments[0])
        return over_time(node, x.kind, x, Previous, timed=False, step=x.step, family=x.family)

    def _duration(self, node: Call) -> Part:
        x = self._condition(self.part(node.arguments[0]))
        return over_time(node, Kind("float", SECOND), x, Duration)

    def _total(self, node: Call) -> Part:
        x = self._number(self.part(node.arguments[0]))
        return over_time(node, Kind("float", times(x.kind.unit, SECOND)), x, Total)


_COMPARED = "compared"
_COMPARING: Mapping[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
_OPERATORS: Mapping[str, Callable[[Checker, Binary, Part, Part], Part]] = {
    "+": Checker._sum, "-": Checker._sum, "*": Checker._product, "/": Checker._product, "%": Checker._modulo,
    "**": Checker._power,
}  # fmt: skip
_FUNCTIONS: Mapping[str, Callable[[Checker, Call], Part]] = {
    "if": Checker._choice, "min": Checker._extreme, "max": Checker._extreme, "abs": Checker._absolute,
    "round": Checker._rounded, "floor": Checker._rounded, "ceil": Checker._rounded, "sqrt": Checker._root,
    "clamp": Checker._within, "between": Checker._within, "bit": Checker._bit, "convert": Checker._convert,
    "good": Checker._quality, "known": Checker._quality, "default": Checker._default,
    "mean": Checker._window, "delta": Checker._window, "rate": Checker._window, "count": Checker._window,
    "share": Checker._window, "rising": Checker._edge, "falling": Checker._edge, "changed": Checker._changed,
    "previous": Checker._previous, "duration": Checker._duration, "total": Checker._total,
}  # fmt: skip
_WINDOWS: Mapping[str, Callable[[Room, int], Memory]] = {
    "mean": Mean, "min": Lowest, "max": Highest, "delta": Delta, "rate": Rate, "count": Count, "share": Share,
}  # fmt: skip


def _misfit(one: Part, other: Part) -> UnitError | None:
    """Why their units do not fit, in the order of the text."""
    try:
        if one.kind.unit is not None and other.kind.unit is not None:
            conversion(one.kind.unit, other.kind.unit)
    except UnitError as error:
        return error
    return None
