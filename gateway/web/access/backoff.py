"""Not so fast: after a wrong password the next one has to wait, 1 s, 2 s, 4 s … 5 min.

Three counts, so that guessing is slow and nobody can lock out anybody else:

    by address               all it tries, whoever it says it is
    by address and user      (the same wait; told apart, so that one right password does not forgive guessing at others)
    by user, from everywhere against guessing from many addresses; only after so many failures that it is guessing,
                             5 s at most, as anybody can make somebody else wait by it; and never for this machine, nor
                             for an address from which that user has logged in before

All addresses of this machine (127.0.0.0/8, ::1) are one, and so is an IPv6 network of 64 bits.

Right passwords are counted, too: with each new session lists grow that others have to read.

An attempt counts as failed from its beginning: many at once are not many for the price of one. Tables are bounded; what
was idle longest is forgotten.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict, deque
from dataclasses import dataclass, field

LONGEST = 300.0  # seconds
LONGEST_OF_USER = 5.0  # by user, from everywhere
LONGEST_HERE = 5.0  # for this machine itself: who is on it has other ways in, and must not be locked out
FREE = 2  # mistakes that cost nothing: everybody types a wrong one
USER_FREE = 20
FORGOTTEN = 1800.0  # seconds without an attempt
MAX_ENTRIES = 5000
MAX_KNOWN = 2000
OFTEN = 10  # right passwords of one user within
OFTEN_WITHIN = 60.0  # seconds


@dataclass(slots=True)
class _Count:
    failures: int = 0
    until: float = 0.0
    last: float = 0.0


class _Table:
    def __init__(self, free: int, size: int) -> None:
        self._free, self._size = free, size
        self._counts: OrderedDict[str, _Count] = OrderedDict()

    def wait(self, key: str, now: float) -> float:
        count = self._counts.get(key)
        return 0.0 if count is None else max(0.0, count.until - now)

    def charge(self, key: str, now: float, longest: float) -> None:
        count = self._counts.setdefault(key, _Count())
        self._counts.move_to_end(key)
        if now - count.last > FORGOTTEN:
            count.failures = 0
        count.failures += 1
        count.last = now
        beyond = count.failures - self._free
        count.until = now + min(longest, 2.0 ** min(beyond - 1, 20)) if beyond > 0 else 0.0
        while len(self._counts) > self._size:
            self._counts.popitem(last=False)

    def forgive(self, key: str) -> None:
        self._counts.pop(key, None)

    def undo(self, key: str) -> None:
        """One that was charged was none."""
        if (count := self._counts.get(key)) is not None:
            count.failures -= 1
            if count.failures <= 0:
                del self._counts[key]
            else:
                count.until = min(count.until, count.last)

    def __len__(self) -> int:
        return len(self._counts)


@dataclass(slots=True)
class BackOff:
    """Asked before every password; times are monotonic seconds."""

    addresses: _Table = field(default_factory=lambda: _Table(FREE, MAX_ENTRIES))
    pairs: _Table = field(default_factory=lambda: _Table(FREE, MAX_ENTRIES))
    users: _Table = field(default_factory=lambda: _Table(USER_FREE, MAX_ENTRIES))
    _known: OrderedDict[tuple[str, str], None] = field(default_factory=OrderedDict)
    _right: OrderedDict[str, deque[float]] = field(default_factory=OrderedDict)

    def wait(self, user: str, address: str, now: float) -> float:
        """Seconds until this user may try again from there; 0 for now."""
        group = group_of(address)
        longest = max(self.addresses.wait(group, now), self.pairs.wait(_pair(user, group), now))
        if not is_here(address) and (_key(user), group) not in self._known:
            longest = max(longest, self.users.wait(_key(user), now))
        return longest

    def begin(self, user: str, address: str, now: float) -> None:
        """An attempt begins, and counts as failed until `right`."""
        group, longest = group_of(address), LONGEST_HERE if is_here(address) else LONGEST
        self.addresses.charge(group, now, longest)
        self.pairs.charge(_pair(user, group), now, longest)
        self.users.charge(_key(user), now, LONGEST_OF_USER)

    def untried(self, user: str, address: str) -> None:
        """It was not even looked at."""
        group = group_of(address)
        for table, key in ((self.addresses, group), (self.pairs, _pair(user, group)), (self.users, _key(user))):
            table.undo(key)

    def right(self, user: str, address: str) -> None:
        """It was right after all. What the address guessed at others stays counted."""
        group = group_of(address)
        self.pairs.forgive(_pair(user, group))
        self.addresses.undo(group)
        self.users.undo(_key(user))
        self._known[(_key(user), group)] = None
        self._known.move_to_end((_key(user), group))
        while len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)

    def often(self, user: str, now: float) -> float:
        """After a right password: 0 for one that counts, else seconds to wait, as there were many."""
        times = self._right.setdefault(_key(user), deque(maxlen=OFTEN))
        self._right.move_to_end(_key(user))
        while len(self._right) > MAX_KNOWN:
            self._right.popitem(last=False)
        if len(times) == OFTEN and now - times[0] < OFTEN_WITHIN:
            return OFTEN_WITHIN - (now - times[0])
        times.append(now)
        return 0.0


def _key(user: str) -> str:
    return user[:64]


def _pair(user: str, group: str) -> str:
    return f"{group} {_key(user)}"


def is_here(address: str) -> bool:
    """Whether this is an address of this machine that nobody else can have."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return (mapped or parsed).is_loopback


def group_of(address: str) -> str:
    """Addresses one client can choose from: all of this machine; an IPv6 client has a whole /64."""
    if is_here(address):
        return "here"
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address[:64]
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)
