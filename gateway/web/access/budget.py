"""So many notes and no more: what somebody does over and over must not wash out what others did."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

MAX_KEYS = 1000


@dataclass(slots=True)
class _Spent:
    began: float
    noted: int = 0
    left_out: int = 0


@dataclass(slots=True)
class Budget:
    """Notes of one kind: so many of each key (a user, an address) and of all together within a time; the rest is counted."""

    of_one: int
    of_all: int
    within: float  # seconds
    _keys: OrderedDict[str, _Spent] = field(default_factory=OrderedDict)
    _all: _Spent = field(default_factory=lambda: _Spent(0.0))

    def take(self, key: str, now: float) -> int | None:
        """How many of this key were left out since the last note; None: this one is left out, too. `now`: monotonic seconds."""
        one = self._keys.setdefault(key, _Spent(now))
        self._keys.move_to_end(key)
        while len(self._keys) > MAX_KEYS:
            self._keys.popitem(last=False)
        for each in (one, self._all):
            if now - each.began >= self.within:
                each.began, each.noted = now, 0
        if one.noted >= self.of_one or self._all.noted >= self.of_all:
            one.left_out += 1
            return None
        one.noted += 1
        self._all.noted += 1
        left_out, one.left_out = one.left_out, 0
        return left_out
