"""The historian's machines and signals, and their numbers in its tables."""

from __future__ import annotations

import sqlite3

from gateway.model import MachinePath
from gateway.mqtt.payload import Frame, Meta

_TYPES = {float: "float", int: "int", bool: "bool", str: "string"}


class Catalogue:
    """In memory what the file has. After a transaction that failed, make a new one."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self.machines: dict[str, int] = dict(db.execute("SELECT levels, id FROM machine"))
        self.signals: dict[int, dict[str, int]] = {id_: {} for id_ in self.machines.values()}
        for id_, machine, name in db.execute("SELECT id, machine, name FROM signal"):
            self.signals[machine][name] = id_
        self._last: dict[int, list[str]] = {}  # by machine: the names of its last frame

    def machine(self, path: MachinePath) -> int:
        """The number of a machine, new if need be."""
        levels = "/".join(path.levels())
        if levels not in self.machines:
            row = (levels, path.enterprise, path.site, path.area, path.line, path.machine)
            id_ = self._insert("INSERT INTO machine VALUES (NULL, ?, ?, ?, ?, ?, ?)", row)
            self.machines[levels] = id_
            self.signals[id_] = {}
        return self.machines[levels]

    def know(self, machine: int, frame: Frame) -> None:
        """Give every signal of a frame a number."""
        names, known = [*frame.values], self.signals[machine].keys()
        # Nearly always the same as before: comparing lists takes a third of looking every name up.
        same = names == self._last.get(machine) or frame.values.keys() <= known
        self._last[machine] = names
        if not (same and frame.quality.keys() <= known):
            for name in (*frame.values, *frame.quality):
                self._signal(machine, name, _TYPES.get(type(frame.values.get(name)), ""))

    def describe(self, meta: Meta) -> None:
        """Place, types and units as the gateway says them; until then they are guessed from what comes."""
        path = meta.path
        machine = self.machine(path)
        self._db.execute(
            "UPDATE machine SET enterprise = ?, site = ?, area = ?, line = ? WHERE id = ?",
            (path.enterprise, path.site, path.area, path.line, machine),
        )
        for name, type_ in meta.types.items():
            self._signal(machine, name, type_)
        self._db.executemany(
            "UPDATE signal SET type = ?, unit = ? WHERE machine = ? AND name = ?",
            [(type_, meta.units.get(name, ""), machine, name) for name, type_ in meta.types.items()],
        )

    def _signal(self, machine: int, name: str, type_: str) -> None:
        if name not in self.signals[machine]:
            row = (machine, name, type_)
            self.signals[machine][name] = self._insert("INSERT INTO signal (machine, name, type) VALUES (?, ?, ?)", row)

    def _insert(self, sql: str, row: tuple[object, ...]) -> int:
        id_ = self._db.execute(sql, row).lastrowid
        assert id_ is not None
        return id_
