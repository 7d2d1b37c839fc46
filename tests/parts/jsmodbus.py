"""jsmodbus, a server for Modbus TCP and Modbus/TCP Security, with a flaw: past the end of a table its replies are too short."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .node import NodePart
from .tls import Authority


class Jsmodbus(NodePart):
    """Serves {table: values from address 0 on} for every unit."""

    script = Path(__file__).with_suffix(".mjs")

    def __init__(self, image: Mapping[str, Sequence[int]], *, tls: bool = False) -> None:
        """With `tls` its clients have to show a certificate of its `authority`."""
        super().__init__()
        self.image = image
        self.authority = Authority(self.folder / "tls") if tls else None

    def options(self) -> dict[str, Any]:
        options: dict[str, Any] = {
            "port": self.port,
            "image": {table: list(values) for table, values in self.image.items()},
        }
        if self.authority:
            certificate, key = self.authority.issue("device")
            options["tls"] = {"ca": str(self.authority.ca_path), "cert": str(certificate), "key": str(key)}
        return options

    def set(self, table: str, address: int, *values: int) -> None:
        """Change values within a table, until the next start."""
        self.ask("set", table=table, address=address, values=values)
