"""Expressions on their way from a text to values: parsed, checked for certain signals, run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from gateway.expressions.check import Checker
from gateway.expressions.flaws import Flaw, constant
from gateway.expressions.kinds import Kind
from gateway.expressions.memory import NEVER, Room
from gateway.expressions.mistakes import ExpressionError
from gateway.expressions.parser import parse_tree
from gateway.expressions.parts import Part
from gateway.expressions.tree import NS, Node, Reference
from gateway.model import CONFIG_ERROR, GOOD, UNCERTAIN, WAITING_FOR_DATA, Value, is_bad

_VERSION = 1  # of what `dump` gives
# Between two runs. More than that is no passing of time: a clock that was set, or a box that slept.
_LEAP = 86_400 * NS


class Expression:
    """A text that can be read. What it means depends on the signals: those of the last `check`, so one machine has one of its own."""

    def __init__(self, text: str) -> None:
        """Raises ExpressionError."""
        tree, references = parse_tree(text)
        self.text = text
        self.references: tuple[Reference, ...] = references  # distinct, in the order of their first appearance
        self._tree: Node = tree
        self._meaning: tuple[Part, Sequence[Kind]] | None = None

    def check(self, kind_of: Callable[[Reference], Kind | None], names: Sequence[str] = ()) -> Kind:
        """What it yields for these signals. `kind_of`: what a signal is; None: there is no such signal.

        `names`: what could have been meant, as `melt_temp` or `press-07/melt_temp`. Raises ExpressionError where types or units do not
        fit; a program that is made in spite of it has no value (bad, config-error).
        """
        checker = Checker(self.text, kind_of, names)
        try:
            part = checker.part(self._tree)
        except ExpressionError:
            self._meaning = Part(self._tree, Kind(), lambda _: constant(_MISFIT), None), ()  # type: ignore[arg-type]
            raise
        self._meaning = part, checker.kinds
        return part.kind

    def program(self) -> Program:
        """A new one, which remembers nothing yet. Raises ExpressionError if this was never checked and cannot make sense."""
        if self._meaning is None:
            self.check(lambda _: Kind())
            meaning, self._meaning = self._meaning, None
        else:
            meaning = self._meaning
        assert meaning is not None
        part, kinds = meaning
        return Program(self.text, part, [kind.unit.code if kind.unit is not None else None for kind in kinds])


def parse(text: str) -> Expression:
    """Raises ExpressionError."""
    return Expression(text)


class Program:
    """Works an expression out, again and again, and keeps what it needs of the past."""

    def __init__(self, text: str, part: Part, units: Sequence[str | None]) -> None:
        self._text = text
        self._part = part
        self._units = list(units)
        self._float = part.kind.type == "float"
        self._room = Room()
        self._work = part.make(self._room)
        self._shift = 0  # ns: what is remembered may be ahead of a clock that started in the past
        self._loaded = False

    @property
    def timed(self) -> bool:
        """Whether the result can change by the passing of time alone: then it has to be run at ticks as well."""
        return self._part.timed

    def run(self, values: Sequence[Value], quality: Sequence[int], now_ns: int) -> tuple[Value, int]:
        """(value, quality): the value is None where the quality is bad. Never raises, whatever the values are.

        `values` and `quality`: of the references, in their order. What is over time takes every ns of `now_ns` as one that passed; a time
        before the last one counts as the same, and one more than a day later as a day nobody knows of.
        """
        if self._room.memories:
            self._advance(now_ns)
        if any(quality):
            values = [_flawed(value, q) for value, q in zip(values, quality, strict=True)]
        result = self._work(values)
        if result.__class__ is Flaw:
            value = result.value
            return (float(value) if self._float and value is not None else value), result.quality
        if self._float and result.__class__ is int:
            result = float(result)  # a signal keeps its type
        return result, GOOD

    def _advance(self, now_ns: int) -> None:
        room, now = self._room, now_ns + self._shift
        if now > room.now:
            if now - room.now > _LEAP and room.now != NEVER:
                for memory in room.memories:
                    memory.pause()
            room.now = now
        elif self._loaded:
            self._shift = room.now - now_ns
        self._loaded = False

    def pause(self, now_ns: int) -> None:
        """Nobody looked from then on until the next run: that time counts as if all signals had been bad."""
        if self._room.memories and self._room.now != NEVER and not self._loaded:
            self._advance(now_ns)
            for memory in self._room.memories:
                memory.pause()

    def dump(self) -> list[Any]:
        """What is remembered, as JSON can have it."""
        return [_VERSION, self._text, self._units, self._room.now, [memory.dump() for memory in self._room.memories]]

    def load(self, state: Any, *, stopped: bool = True) -> None:
        """Go on with what `dump` gave. ValueError if it is not of this text and these units: then nothing has changed.

        `stopped`: the gateway was not running meanwhile, so until the next run nothing is known: that time counts as if all signals had
        been bad. If not, this program goes on where the other one is.
        """
        room = Room()
        work = self._part.make(room)
        try:
            version, text, units, room.now, memories = state
            if [version, text, units] != [_VERSION, self._text, self._units] or room.now.__class__ is not int:
                raise ValueError("it is of another expression")
            for memory, remembered in zip(room.memories, memories, strict=True):
                memory.load(remembered)
                if stopped:
                    memory.pause()
        except (ValueError, TypeError, LookupError, ArithmeticError) as error:
            raise ValueError(f"this is not the state of {self._text!r:.60}: {error}") from error
        self._room, self._work, self._shift, self._loaded = room, work, 0, True


_MISFIT = Flaw(None, CONFIG_ERROR)


def _flawed(value: Value, quality: int) -> Any:
    """A value that is not good takes part in no operation."""
    if quality < UNCERTAIN:
        return value
    if is_bad(quality):
        return Flaw(None, quality)
    return Flaw(value, quality) if value is not None else Flaw(None, WAITING_FOR_DATA)
