"""What goes wrong at a simulated Modbus server, switched on and off while it runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

Failure = Literal["drop", "silence"] | int
"""The connection is closed; no answer comes; or the answer is this exception code."""


class Request(NamedTuple):
    """A request, as far as it could be read."""

    unit: int
    function: int
    address: int
    size: int  # how many registers or bits it asks for


@dataclass(frozen=True, slots=True)
class Broken:
    """An address range that cannot be read."""

    function: int  # 1 coils, 2 discrete inputs, 3 holding, 4 input registers
    first: int
    last: int
    failure: Failure = 2
    unit: int | None = None  # None: of every unit

    def hits(self, request: Request) -> bool:
        return (
            request.function == self.function
            and self.unit in (None, request.unit)
            and request.address <= self.last
            and self.first < request.address + request.size
        )


@dataclass(slots=True)
class Faults:
    """None to begin with. `requests` counts all that came, the failed ones too."""

    requests: int = 0
    delay: float = 0.0  # seconds before each answer
    silent: set[int] = field(default_factory=set)  # unit ids that do not answer
    broken: list[Broken] = field(default_factory=list)
    refuse: bool = False  # new connections are closed at once
    hook: Callable[[Request], Failure | None] | None = None  # anything else, decided request by request
    _fail_at: dict[int, Failure] = field(default_factory=dict)

    def fail(self, n: int, failure: Failure = "drop") -> None:
        """Let the n-th request from now on fail: 1 is the next one."""
        self._fail_at[self.requests + n] = failure

    def clear(self) -> None:
        """All is well again."""
        self.delay, self.refuse, self.hook = 0.0, False, None
        for each in (self.silent, self.broken, self._fail_at):
            each.clear()

    def judge(self, request: Request) -> Failure | None:
        """Count a request, and tell how it fails; None if it does not."""
        self.requests += 1
        if self._fail_at and (failure := self._fail_at.pop(self.requests, None)) is not None:
            return failure
        if request.unit in self.silent:
            return "silence"
        for each in self.broken:
            if each.hits(request):
                return each.failure
        return self.hook(request) if self.hook else None
