"""Equal things once: what was worked out for an object is used again for the very same object.

A hundred machines of one profile have the same signals. They share one mapping of settings (see config/load.py), and
with it all that is made from it: plans, layouts, rules.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

K = TypeVar("K")
V = TypeVar("V")
P = ParamSpec("P")

_MOST = 4096  # results that are kept


def once_per_object(work: Callable[Concatenate[K, P], V]) -> Callable[Concatenate[K, P], V]:
    """The result of `work` is kept by the identity of its first argument, and by the others, which are hashed."""
    known: dict[tuple[object, ...], tuple[K, V]] = {}

    @wraps(work)
    def worked_out(first: K, /, *args: P.args, **kwargs: P.kwargs) -> V:
        key = (id(first), *args, *kwargs.items())
        found = known.get(key)
        if found is None:
            if len(known) >= _MOST:
                known.clear()
            found = known[key] = (first, work(first, *args, **kwargs))  # kept alive, so that its id stays taken
        return found[1]

    return worked_out
