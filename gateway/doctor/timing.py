"""Work that may hang, and must not hold up anything: in threads nobody waits for at the end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from queue import Empty, SimpleQueue
from typing import Any, Final, TypeVar

T = TypeVar("T")


class _Hung:
    """What is returned for what did not come to an end."""


HUNG: Final = _Hung()
AT_ONCE = 32  # threads for one list of jobs


def within(seconds: float, do: Callable[[], Any]) -> Any:
    """What `do` returns, or HUNG; what it raises is raised."""
    done: SimpleQueue[tuple[bool, Any]] = SimpleQueue()

    def work() -> None:
        try:
            done.put((True, do()))
        except BaseException as exc:
            done.put((False, exc))

    threading.Thread(target=work, daemon=True).start()
    try:
        well, result = done.get(timeout=seconds)
    except Empty:
        return HUNG
    if well:
        return result
    raise result


def each_within(seconds: float, jobs: Sequence[Callable[[], T]]) -> Iterator[tuple[int, T | _Hung]]:
    """The results of all jobs with their places, as they come, and HUNG for those without one when the time is up.

    A job must not raise.
    """
    waiting, done = iter(enumerate(jobs)), SimpleQueue[tuple[int, T]]()
    lock, over = threading.Lock(), threading.Event()

    def work() -> None:
        while not over.is_set():
            with lock:
                place, job = next(waiting, (-1, None))
            if job is None:
                return
            done.put((place, job()))

    for _ in range(min(AT_ONCE, len(jobs))):
        threading.Thread(target=work, daemon=True).start()
    left, deadline = set(range(len(jobs))), time.monotonic() + seconds
    while left:
        try:
            place, result = done.get(timeout=max(0.0, deadline - time.monotonic()))
        except Empty:
            break
        left.discard(place)
        yield place, result
    over.set()
    for place in sorted(left):
        yield place, HUNG
