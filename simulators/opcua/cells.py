"""The values of the variables, as asyncua's server has them and as they go over the wire.

    put ─┬─ listeners: the bytes of a DataValue, made once for all who monitor it (monitoring.py)
         └─ read: a DataValue of asyncua's, made when somebody asks for it

asyncua's way, a DataValue for every value that is written, deep copies of it and an encoder that walks through its fields,
takes 50 µs for a value that is subscribed to; this one takes 6. Nothing else of asyncua's server is passed by.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from struct import Struct
from typing import Any

import asyncua.ua

from gateway.model import GOOD
from simulators.opcua.places import Path
from simulators.opcua.shapes import Plain, Shape
from simulators.opcua.variants import Values, encoder, variant

ua: Any = asyncua.ua  # the types it declares are not those it takes

BAD = 0x80000000  # and beyond
_1970 = datetime(1970, 1, 1, tzinfo=UTC)
_1601 = 116_444_736_000_000_000  # so many 100 ns before 1970 the time of OPC UA begins: Part 6, 5.2.2.5
_TAIL = Struct("<Iqq")
# Part 6, 5.2.2.17: value, status, source and server time stamp follow; the value is a Variant, whose first byte is its type.
_ALL = b"\x0f"
_NULL = b"\x00"
_ONE: Path = ()  # where a single value is


class Moment:
    """When the values are taken that are put: one for all of a tick."""

    def __init__(self, time_ns: int) -> None:
        """`time_ns`: since 1970, in whole microseconds, as asyncua has them."""
        self.time = _1970 + timedelta(microseconds=time_ns // 1000)
        self._ticks = _1601 + time_ns // 100
        self._good = self._tail(GOOD)

    def tail(self, status: int) -> bytes:
        """What is behind the value in a DataValue."""
        return self._tail(status) if status else self._good

    def _tail(self, status: int) -> bytes:
        return _TAIL.pack(status, self._ticks, self._ticks)


class Cell:
    """The value of one variable; what is monitored of it is told by `monitoring.Item`."""

    __slots__ = (
        "_asked", "_attribute", "_encode", "_encodings", "_moment", "_read", "_shape", "_values", "encoded", "status",
    )  # fmt: skip

    def __init__(self, attribute: Any, shape: Shape, encodings: Mapping[int, Any]) -> None:
        """`attribute`: asyncua's AttributeValue, which from now on asks here. `encodings`: as `variant` takes them."""
        self.status = GOOD
        self.encoded = b""  # a DataValue of what was put last, while it is told to those who listen
        self._shape, self._encodings = shape, encodings
        self._encode = encoder(shape, encodings)
        self._values: Values | None = None
        self._moment: Moment | None = None
        self._read: Any = attribute.value
        self._attribute, self._asked = attribute, self.read
        attribute.value_callback = self._asked

    def read(self, *_: object) -> Any:
        """A DataValue."""
        if self._read is None:
            assert self._moment
            value = None if self._values is None else variant(self._shape, self._values, self._encodings)
            self._read = ua.DataValue(value, ua.StatusCode(self.status), self._moment.time, self._moment.time)
        return self._read

    @property
    def value(self) -> Any:
        """As in the Variant: a number, a list …; None where there is none."""
        if self._values is not None and isinstance(self._shape, Plain) and self._shape.type is not None:
            return self._values[_ONE]
        return self.read().Value.Value

    async def put(self, values: Values | None, status: int, moment: Moment) -> None:
        """Another value or status from now on. With a bad one there is no value: Part 4, 7.11."""
        if status >= BAD:
            values = None
        self._values, self.status, self._moment, self._read = values, status, moment, None
        self._attribute.value_callback = self._asked  # asyncua forgets it with a write of its own
        if listeners := self._attribute.datachange_callbacks:
            self.encoded = _ALL + (_NULL if values is None else self._encode(values)) + moment.tail(status)
            for handle, listener in listeners.items():
                if (told := getattr(listener, "take", None)) is None:
                    await listener(handle, self.read())  # asyncua's own
                elif told(self):
                    await listener.publish()
