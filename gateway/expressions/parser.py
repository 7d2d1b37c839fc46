"""From a text to its tree: a Pratt parser, each operator with the strength it binds with.

    or  <  and  <  not  <  == != < <= > >=  <  + -  <  * / %  <  unary -  <  **

Whatever the text is, this ends with a tree or an ExpressionError: its length, its nesting and its nodes are bounded.
"""

from __future__ import annotations

import re
from dataclasses import replace

from gateway.expressions.functions import ALSO_KNOWN_AS, FUNCTIONS, WINDOW_BY_DURATION
from gateway.expressions.mistakes import ExpressionError, did_you_mean
from gateway.expressions.tokens import Token, tokens
from gateway.expressions.tree import NS, Binary, Call, Constant, Logic, Node, Reference, Signal, Unary

MAX_DEPTH = 50  # brackets, functions and signs within one another
MAX_NODES = 500

SHORTEST, LONGEST = 0.001, 366 * 86400.0  # seconds of a window

COMPARISONS = frozenset({"==", "!=", "<", "<=", ">", ">="})
_STRENGTH = {
    "or": 1, "and": 2, **dict.fromkeys(COMPARISONS, 4), "+": 5, "-": 5, "*": 6, "/": 6, "%": 6, "**": 8,
}  # fmt: skip
_NOT, _SIGN = 3, 7
_NAME = re.compile(r"[^/\x00-\x1f\x7f]{1,128}")


def parse_tree(text: str) -> tuple[Node, tuple[Reference, ...]]:
    """The tree of a text, and the signals in it. Raises ExpressionError."""
    return _Parser(text).whole()


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = tokens(text)
        self._at = 0
        self._depth = self._nodes = 0
        self._references: dict[tuple[str, str], Reference] = {}
        self._indexes: dict[tuple[str, str], int] = {}

    def whole(self) -> tuple[Node, tuple[Reference, ...]]:
        if len(self._tokens) == 1:
            raise ExpressionError("there is no expression", 0, len(self._text))
        node = self._expression(0)
        if self._next.kind != "end":
            raise self._no_operator()
        return node, tuple(self._references.values())

    # --- words -------------------------------------------------------------------------------------------------------

    @property
    def _next(self) -> Token:
        return self._tokens[self._at]

    def _take(self) -> Token:
        token = self._tokens[self._at]
        self._at += 1
        return token

    def _follows(self, *operators: str) -> bool:
        return self._next.kind == "operator" and self._next.text in operators

    def _counted(self, node: Node) -> Node:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            hint = "make a signal of its own of a part of it"
            raise ExpressionError(f"an expression has at most {MAX_NODES} parts", node.start, node.end, hint)
        return node

    # --- operators ---------------------------------------------------------------------------------------------------

    def _expression(self, strength: int) -> Node:
        """What stands here, with every operator behind it that binds more strongly."""
        self._depth += 1
        if self._depth > MAX_DEPTH:
            hint = "make a signal of its own of a part of it"
            raise ExpressionError(f"this is nested more than {MAX_DEPTH} deep", self._next.start, self._next.end, hint)
        node = self._operand()
        while self._next.kind == "operator" and _STRENGTH.get(self._next.text, 0) > strength:
            node = self._counted(self._operation(node))
        self._depth -= 1
        return node

    def _operation(self, left: Node) -> Node:
        operator = self._take().text
        strength = _STRENGTH[operator]
        if operator in ("and", "or"):
            operands = [left, self._expression(strength)]
            while self._follows(operator):
                self._take()
                operands.append(self._expression(strength))
            return Logic(operator, tuple(operands), left.start, operands[-1].end)
        # ** is worked out from the right: 2 ** 3 ** 2 is 2 ** 9.
        right = self._expression(strength - 1 if operator == "**" else strength)
        if operator in COMPARISONS and self._follows(*COMPARISONS):
            raise self._chained(left, operator, right)
        return Binary(operator, left, right, left.start, right.end)

    def _operand(self) -> Node:
        token = self._take()
        match token.kind:
            case "number" | "bool" | "text":
                return self._counted(Constant(token.value, token.start, token.end))
            case "duration":
                return self._counted(Constant(token.value, token.start, token.end, duration=True))
            case "name":
                return self._call(token) if self._follows("(") else self._signal(token)
            case "signal":
                return self._signal(token)
        if token.kind == "operator":
            match token.text:
                case "(":
                    node = self._expression(0)
                    return replace(node, start=token.start, end=self._close(token).end)
                case "-":
                    return self._counted(_negated(self._expression(_SIGN), token.start))
                case "not":
                    operand = self._expression(_NOT)
                    return self._counted(Unary("not", operand, token.start, operand.end))
        raise self._nothing(token)

    # --- signals and functions ---------------------------------------------------------------------------------------

    def _signal(self, token: Token) -> Node:
        if token.text == "if":
            raise ExpressionError("'if' is a function", token.start, token.end, f"write {FUNCTIONS['if'].usage}")
        machine, signal = "", token.text
        if token.kind == "signal":
            *machines, signal = (part.strip() for part in str(token.value).split("/"))
            machine = machines[0] if machines else ""
            if len(machines) > 1 or not all(_NAME.fullmatch(part) for part in (*machines, signal)):
                hint = "write [name] or [machine/name]"
                raise ExpressionError(f"'{token.text}' is not a signal", token.start, token.end, hint)
        reference = Reference(machine, signal, token.start, token.end)
        self._references.setdefault((machine, signal), reference)
        index = self._indexes.setdefault((machine, signal), len(self._indexes))
        return self._counted(Signal(reference, index, token.start, token.end))

    def _call(self, name: Token) -> Node:
        function = FUNCTIONS.get(name.text)
        if function is None:
            also = ALSO_KNOWN_AS.get(name.text.lower())
            hint = f"write {also}" if also else did_you_mean(name.text, FUNCTIONS)
            raise ExpressionError(f"there is no function '{name.text}'", name.start, name.end, hint)
        opening = self._take()
        arguments = []
        if not self._follows(")"):
            arguments.append(self._expression(0))
            while self._follows(","):
                self._take()
                arguments.append(self._expression(0))
        end = self._close(opening).end
        if not function.least <= len(arguments) <= function.most:
            wanted = str(function.least) if function.least == function.most else f"{function.least} or more"
            if function.most == function.least + 1:
                wanted = f"{function.least} or {function.most}"
            message = f"{name.text} takes {_counted_noun(wanted, 'argument')}, not {len(arguments)}"
            raise ExpressionError(message, name.start, end, f"write {function.usage}")
        window = 0
        last = arguments[-1]
        if function.window or (name.text in WINDOW_BY_DURATION and len(arguments) == 2 and _is_duration(last)):
            window = _window(last, function.usage)
            arguments.pop()
        return self._counted(Call(name.text, tuple(arguments), name.start, end, window))

    def _close(self, opening: Token) -> Token:
        if self._follows(")"):
            return self._take()
        if self._next.kind == "end":
            raise ExpressionError(
                "'(' is not closed",
                opening.start,
                opening.end,
                "put ) where it ends; in {…} a comma ends it: then write all of it in quotes",
            )
        raise self._no_operator()

    # --- mistakes ----------------------------------------------------------------------------------------------------

    def _nothing(self, token: Token) -> ExpressionError:
        """Where a value has to stand, there is none."""
        if token.kind == "end":
            before = self._tokens[self._at - 2]
            hint = "shares are written as numbers, without a sign" if before.text == "%" else ""
            return ExpressionError(f"something is missing behind '{before.text}'", before.start, before.end, hint)
        hint = "a sign + is not needed" if token.text == "+" else ""
        return ExpressionError(f"something is missing before '{token.text}'", token.start, token.end, hint)

    def _no_operator(self) -> ExpressionError:
        """Behind a value stands what cannot stand there."""
        token, before = self._next, self._tokens[self._at - 1]
        shown = token.text if len(token.text) <= 40 else token.text[:39] + "…"
        if token.text == ")" and token.kind == "operator":
            return ExpressionError("')' closes nothing", token.start, token.end)
        if token.text == "," and token.kind == "operator":
            hint = "decimals are written with a point: 1.5"
            return ExpressionError("',' stands only between the arguments of a function", token.start, token.end, hint)
        hint = ""
        if before.kind == "number" and token.kind == "name":
            hint = "a duration is written without a blank: 5min" if token.text in ("ms", "s", "min", "h", "d") else ""
        elif token.text == "not":
            hint = "write not before the comparison: not a == b"
        return ExpressionError(f"an operator is missing before '{shown}'", token.start, token.end, hint)

    def _chained(self, left: Node, operator: str, middle: Node) -> ExpressionError:
        token = self._next
        low, between = self._text[left.start : left.end], self._text[middle.start : middle.end]
        hint = f"write {low} {operator} {between} and {between} {token.text} …"
        return ExpressionError("comparisons cannot be chained", token.start, token.end, hint)


def _negated(operand: Node, start: int) -> Node:
    """-5 is a number, not an operation."""
    if isinstance(operand, Constant) and not isinstance(operand.value, str | bool):
        return Constant(-operand.value, start, operand.end, operand.duration)
    return Unary("-", operand, start, operand.end)


def _is_duration(node: Node) -> bool:
    return isinstance(node, Constant) and node.duration


def _window(node: Node, usage: str) -> int:
    """The length of a window in ns."""
    if not isinstance(node, Constant) or not node.duration:
        raise ExpressionError("the window has to be a duration", node.start, node.end, f"write {usage}")
    seconds = float(node.value)
    if not SHORTEST <= seconds <= LONGEST:
        raise ExpressionError("a window is between 1ms and 366d long", node.start, node.end)
    return round(seconds * NS)


def _counted_noun(number: str, noun: str) -> str:
    return f"{number} {noun}" if number == "1" else f"{number} {noun}s"
