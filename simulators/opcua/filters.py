"""What a client wants to be told of the changes of a variable: DataChangeFilter, Part 4, 7.22.2. Pure.

asyncua's server compares a value with the one before instead of the one it has reported last, so a value that drifts slowly
would never be reported; and it knows no percent.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import asyncua.ua

ua: Any = asyncua.ua

NUMBERS = range(ua.VariantType.SByte.value, ua.VariantType.Double.value + 1)  # data types that may have a deadband


class Filter(NamedTuple):
    """Which changes count. Another status always does."""

    values: bool = True  # not the status alone
    stamps: bool = False  # also another time of the same value
    deadband: float | None = None  # in the unit of the value

    def passes(self, last: tuple[int, Any], now: tuple[int, Any]) -> bool:
        """Whether this is to be reported: status and value after what was reported last. They are not the same."""
        if last[0] != now[0]:
            return True
        if not self.values:
            return False
        return self.deadband is None or last[1] is None or now[1] is None or not near(last[1], now[1], self.deadband)


def is_filter(asked: Any) -> bool:
    """asyncua has two classes of this name, and an empty ExtensionObject for none."""
    return hasattr(asked, "DeadbandType")


def filter_of(asked: Any) -> Filter:
    """What a client asks for, with a deadband that is absolute by now."""
    if not is_filter(asked):
        return Filter()
    trigger, kind = ua.DataChangeTrigger(asked.Trigger), asked.DeadbandType
    return Filter(
        trigger != ua.DataChangeTrigger.Status,
        trigger == ua.DataChangeTrigger.StatusValueTimestamp,
        asked.DeadbandValue if kind == ua.DeadbandType.Absolute else None,
    )


def near(a: Any, b: Any, deadband: float) -> bool:
    """Whether no element of the one is further than this from that of the other."""
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(near(x, y, deadband) for x, y in zip(a, b, strict=True))
    return isinstance(a, (int, float)) and isinstance(b, (int, float)) and abs(a - b) <= deadband
