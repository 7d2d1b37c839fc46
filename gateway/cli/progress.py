"""A look at a machine that takes a while: what will happen, how far it is, and a clean end whenever one wants it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import typer

from gateway.cli.common import run

STOPPED = 130  # as a shell counts Ctrl-C


class Progress:
    """Says what is going to happen, then how far it is; Ctrl-C ends it, and what was found is shown."""

    def __init__(self, announcement: str, total: int = 0, what: str = "requests") -> None:
        """`total`: how many there will be at least, of `what`; 0 where nobody knows."""
        self._announcement, self._total, self._what, self._made = announcement, total, what, 0
        self.stopped = False

    def step(self, more: int = 1) -> None:
        """So many more are done."""
        self._made += more
        if sys.stderr.isatty():
            of = f" of {max(self._made, self._total)}" if self._total else ""
            print(f"\r{self._made}{of} {self._what} ", end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Leave the line to what is printed next."""
        if sys.stderr.isatty():
            print("\r" + " " * 40 + "\r", end="", file=sys.stderr, flush=True)

    @contextmanager
    def to_the_end(self, work: Callable[[], Coroutine[Any, Any, None]], leave: bool = True) -> Iterator[None]:
        """Do the work; its result is shown by what stands inside, also when it was ended or broke."""
        finished = False

        async def whole() -> None:
            nonlocal finished
            await work()
            finished = True

        print(f"{self._announcement}; Ctrl-C ends it and shows what was found", file=sys.stderr)
        failure: Exception | None = None
        try:
            run(whole())
        except Exception as exc:
            failure = exc
        self.clear()
        yield
        if failure is not None:
            raise failure
        self.stopped = not finished
        if self.stopped:
            print(f"ended after {self._made} {self._what}: incomplete", file=sys.stderr)
            if leave:
                raise typer.Exit(STOPPED)
