"""Between a master and a machine on serial lines: one port is wired to the master, the other to the machine.

    master ══ port ──▶ told, passed on at once ──▶ port ══ machine       pauses between bytes stay as they come
                  ◀─────────────────────────────

The ports are opened as the gateway's own are. One that is lost (a converter that was unplugged) is opened again when it is
back. What a tap does stops nothing; what comes while the other port is lost goes nowhere, as on a cut wire.
"""

from __future__ import annotations

import asyncio
import os
import termios
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

from gateway.errors import NotConnectedError
from gateway.recording.careful import CarefulTap, Listener

_MOST_WAITING = 4096  # bytes: what a line of 19200 bit/s takes two seconds for
_PIECE = 4096  # bytes read at once
_RETRY = 1.0  # seconds
_ECHO = 0.1  # seconds after which an echo does not come any more: it is on the line while that is sent
_BITS = 11  # of a character on the line, at most
_PARITY = {"none": "N", "even": "E", "odd": "O"}


@dataclass(frozen=True, slots=True)
class SerialPort:
    """A port and its settings. The defaults are those of MODBUS over Serial Line V1.02, 2.5.1."""

    path: str
    baud: int = 19200  # bit/s
    parity: str = "even"  # none, even, odd
    stop_bits: int = 1
    data_bits: int = 8
    local_echo: bool = False  # its converter sends back what it is given to send


@asynccontextmanager
async def serial_proxy(
    master: SerialPort,
    machine: SerialPort,
    tap_of_next_link: Callable[[], Listener],
    *,
    retry: float = _RETRY,
) -> AsyncIterator[SerialProxy]:
    """Joins the two ports until its end. A port that is lost is tried again every `retry` seconds.

    One tap is taken, and told `opened` whenever both ports are there, and `closed` when one is lost.
    Raises NotConnectedError where a port cannot be opened at the beginning.
    """
    running = SerialProxy(master, machine, CarefulTap(tap_of_next_link), retry)
    try:
        running.open()
        yield running
    finally:
        await running.close()


class SerialProxy:
    """One that runs."""

    def __init__(self, master: SerialPort, machine: SerialPort, tap: CarefulTap, retry: float) -> None:
        self._tap, self._retry = tap, retry
        self._master = _End(master, tap.sent, lambda _: self._lost(""))
        self._machine = _End(machine, tap.received, lambda why: self._lost(f"the port of the machine was lost: {why}"))
        self._master.other, self._machine.other = self._machine, self._master
        self._mending: asyncio.Task[None] | None = None

    @property
    def connected(self) -> bool:
        """Whether both ports are there."""
        return self._master.connected and self._machine.connected

    def open(self) -> None:
        """Both ports. Raises NotConnectedError."""
        for end in (self._master, self._machine):
            if not end.connected:
                end.open()
        self._tap.opened()

    async def close(self) -> None:
        """Both ports; safe to call twice."""
        if self._mending is not None:
            self._mending.cancel()
            await asyncio.gather(self._mending, return_exceptions=True)
        self._tap.closed("")
        for end in (self._master, self._machine):
            end.close()

    def _lost(self, why: str) -> None:
        self._tap.closed(why)
        if self._mending is None or self._mending.done():
            self._mending = asyncio.create_task(self._mend(), name="serial proxy: a port is lost")

    async def _mend(self) -> None:
        while not self.connected:
            await asyncio.sleep(self._retry)
            with suppress(NotConnectedError):
                self.open()


class _End:
    """One port. What comes from it is told, and goes to the other."""

    other: _End

    def __init__(self, port: SerialPort, tell: Callable[[bytes], None], lost: Callable[[str], None]) -> None:
        self._port, self._tell, self._lost = port, tell, lost
        self._serial: Any = None
        self._number = -1  # of its file
        self._waiting = bytearray()  # to be written
        self._echo = bytearray()  # written, and to come back
        self._written_at = 0.0

    @property
    def connected(self) -> bool:
        return self._serial is not None

    def open(self) -> None:
        """Raises NotConnectedError."""
        import serial  # type: ignore[import-untyped]

        port = self._port
        try:
            self._serial = serial.Serial(
                port.path, port.baud, port.data_bits, _PARITY[port.parity], port.stop_bits, timeout=0, exclusive=True
            )
            self._number = self._serial.fileno()
        except (OSError, ValueError, termios.error) as exc:
            self._serial = None
            raise NotConnectedError(f"{port.path}: it cannot be opened: {exc}", fault="serial-port-failed") from exc
        with suppress(OSError, ValueError, AttributeError, NotImplementedError):
            self._serial.set_low_latency_mode(True)  # USB converters collect for 16 ms otherwise
        self._waiting.clear()
        self._echo.clear()
        asyncio.get_running_loop().add_reader(self._number, self._readable)

    def close(self) -> None:
        """Safe to call twice."""
        port, self._serial = self._serial, None
        if port is None:
            return
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._number)
        loop.remove_writer(self._number)
        with suppress(OSError, termios.error):
            port.close()

    def write(self, data: bytes) -> None:
        """At once, or as soon as the port takes it."""
        if not self._waiting:
            data = data[self._write(data) :]
        if data and self.connected:
            self._waiting += data
            asyncio.get_running_loop().add_writer(self._number, self._writable)
            if len(self._waiting) > _MOST_WAITING:
                self.other.listen(False)

    def listen(self, on: bool) -> None:
        """Or let its buffer run full, as that of any port that nobody reads."""
        if self.connected:
            loop = asyncio.get_running_loop()
            loop.add_reader(self._number, self._readable) if on else loop.remove_reader(self._number)

    def _readable(self) -> None:
        try:
            data = os.read(self._number, _PIECE)
        except BlockingIOError:
            return
        except OSError as exc:
            self._give_up(exc.strerror or str(exc))
            return
        if not data:
            self._give_up("it was unplugged, or the other end is gone")
        elif self.other.connected and (data := self._without_echo(data)):
            self._tell(data)
            self.other.write(data)

    def _without_echo(self, data: bytes) -> bytes:
        """An echo that is passed on would go round for ever."""
        if not self._echo:
            return data
        same = min(len(data), len(self._echo))
        if data[:same] != self._echo[:same]:
            self._echo.clear()
            return data
        del self._echo[:same]
        return data[same:]

    def _writable(self) -> None:
        del self._waiting[: self._write(bytes(self._waiting))]
        if not self._waiting and self.connected:
            asyncio.get_running_loop().remove_writer(self._number)
            self.other.listen(True)

    def _write(self, data: bytes) -> int:
        """Bytes that the port took."""
        try:
            written = os.write(self._number, data)
        except BlockingIOError:
            return 0
        except OSError as exc:
            self._give_up(exc.strerror or str(exc))
            return len(data)
        if self._port.local_echo:
            now, sending = asyncio.get_running_loop().time(), len(self._echo) * _BITS / self._port.baud
            if now - self._written_at > sending + _ECHO:
                self._echo.clear()  # that of what was written before was lost
            self._written_at = now
            self._echo += data[:written]
        return written

    def _give_up(self, why: str) -> None:
        self.close()
        self.other.listen(True)
        self._lost(why)
