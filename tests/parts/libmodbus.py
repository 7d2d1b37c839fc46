"""A Modbus server written in C on libmodbus: TCP, or RTU through TCP."""

import signal
from collections.abc import Mapping, Sequence

from .ports import free_port
from .process import Part, accepts, program, wait_until

# {(unit, table, first address): values}, where table is coil, discrete, input or holding.
Image = Mapping[tuple[int, str, int], Sequence[int]]


class Libmodbus(Part):
    """Serves the image and nothing else: exception 2 outside of it, exception 11 for other units.

    With `rtu` its frames are those of a serial line, and other units are silent; `SerialPair(tcp=server.port)` makes a
    serial port of it.
    """

    def __init__(self, image: Image, *, rtu: bool = False) -> None:
        super().__init__()
        self.rtu = rtu
        self.port = free_port()
        self._cells: dict[tuple[int, str, int], int] = {}
        for (unit, table, address), values in image.items():
            self._put(unit, table, address, values)

    def set(self, unit: int, table: str, address: int, *values: int) -> None:
        """Change or add values from an address on; what clients wrote is forgotten."""
        self._put(unit, table, address, values)
        self._reload()

    def remove(self, unit: int, table: str, address: int, count: int = 1) -> None:
        """Take addresses out of the image."""
        for each in range(address, address + count):
            del self._cells[unit, table, each]
        self._reload()

    def command(self) -> list[str]:
        path = self.folder / "image"
        path.write_text("".join(f"{unit} {table} {at} {v}\n" for (unit, table, at), v in self._cells.items()))
        return [program("mbserver"), str(path), str(self.port), *(["rtu"] if self.rtu else [])]

    def ready(self) -> bool:
        return accepts(self.port)

    def _put(self, unit: int, table: str, address: int, values: Sequence[int]) -> None:
        for at, value in enumerate(values, address):
            self._cells[unit, table, at] = value

    def _reload(self) -> None:
        loads = self.log.count("loaded")
        self.command()
        if self.process and self.running:
            self.process.send_signal(signal.SIGHUP)
            wait_until(lambda: self.log.count("loaded") > loads, what="the image to be read")
