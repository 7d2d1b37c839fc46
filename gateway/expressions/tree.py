"""What a text means, as a tree. Every node knows its place in the text."""

from __future__ import annotations

from dataclasses import dataclass

NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Reference:
    """A signal that an expression looks at, where it first stands in the text."""

    machine: str  # "": the same machine
    signal: str
    start: int
    end: int

    def __str__(self) -> str:
        """As `names` of `check` has it: `melt_temp`, `press-07/melt_temp`."""
        return f"{self.machine}/{self.signal}" if self.machine else self.signal


@dataclass(frozen=True, slots=True)
class Constant:
    """A number, a duration in seconds, text, true or false."""

    value: float | int | bool | str
    start: int
    end: int
    duration: bool = False


@dataclass(frozen=True, slots=True)
class Signal:
    """The value of a signal; `index` into the references of the expression."""

    reference: Reference
    index: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Unary:
    """`-x` or `not x`."""

    operator: str
    operand: Node
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Binary:
    """Two operands and what is between them: arithmetic or a comparison."""

    operator: str
    left: Node
    right: Node
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Logic:
    """`a and b and c` or `a or b or c`: however many there are, they are one node."""

    operator: str
    operands: tuple[Node, ...]
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Call:
    """A function. With a window, the duration is not among its arguments."""

    function: str
    arguments: tuple[Node, ...]
    start: int
    end: int
    window: int = 0  # ns; 0: none


Node = Constant | Signal | Unary | Binary | Logic | Call
