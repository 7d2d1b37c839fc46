"""A tap on a line that has to work whatever becomes of the recording."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

log = logging.getLogger(__name__)


class Listener(Protocol):
    """What is told of a link: `gateway.adapter.Tap`, which is above this layer, as far as a proxy knows it."""

    def opened(self) -> None: ...

    def failed(self, why: str) -> None: ...

    def closed(self, why: str = "") -> None: ...

    def sent(self, data: bytes, ref: int = 0) -> None: ...

    def received(self, data: bytes, ref: int = 0) -> None: ...


class CarefulTap:
    """One that may fail, at which it is told no more, and the bytes go on."""

    def __init__(self, next_tap: Callable[[], Listener]) -> None:
        self._tap: Listener | None = None
        try:
            self._tap = next_tap()
        except Exception:
            log.exception("a link is not recorded; it works")

    def opened(self) -> None:
        self._tell("opened")

    def failed(self, why: str) -> None:
        self._tell("failed", why)

    def closed(self, why: str = "") -> None:
        self._tell("closed", why)

    def sent(self, data: bytes, ref: int = 0) -> None:
        self._tell("sent", data, ref)

    def received(self, data: bytes, ref: int = 0) -> None:
        self._tell("received", data, ref)

    def _tell(self, what: str, *told: object) -> None:
        if self._tap is None:
            return
        try:
            getattr(self._tap, what)(*told)
        except Exception:
            self._tap = None
            log.exception("a link is not recorded any more; it works")
