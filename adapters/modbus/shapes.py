"""Which answers may still come, on a line where nothing but its shape tells an answer. Pure: time is an argument.

On a serial line an answer carries no number. One that comes late looks like the answer to the next request, if that has
the same shape (unit id, function code, byte count), and its values would be taken for those of other registers or of
another time. So a shape whose answer is missing is not asked for again before

- an answer of another shape has come from the same unit: units answer in the order they were asked, so what was
  missing has come by then, or never will; or
- a time has passed after which no device answers any more.
"""

from __future__ import annotations

from adapters.modbus.frames import Shape

LATEST = 20.0  # an answer comes within so many timeouts, or never: bridges with a queue were seen to be 5 s late


class Shapes:
    """What is known of one line."""

    def __init__(self, timeout: float) -> None:
        self._patience = LATEST * timeout
        self._missing: dict[int, dict[Shape, float]] = {}  # by unit: until when its answer may come
        self._answered: dict[int, tuple[Shape, float]] = {}  # by unit: the last one, and when

    def missed(self, shape: Shape, now: float) -> None:
        """No answer of this shape came."""
        self._missing.setdefault(shape.unit, {})[shape] = now + self._patience

    def answered(self, shape: Shape, now: float, refused: bool = False) -> None:
        """The right answer came, or a refusal, so nothing from before it will."""
        self.settled(shape.unit)
        self._answered[shape.unit] = (shape.refusal if refused else shape), now

    def free(self, shape: Shape, now: float) -> bool:
        """Whether an answer of this shape can be none but ours."""
        missing = self._missing.get(shape.unit)
        return not missing or missing.get(shape, 0.0) <= now

    def free_at(self, unit: int) -> float:
        """When the first of the missing answers of a unit is given up."""
        return min(self._missing.get(unit, {}).values(), default=0.0)

    def in_doubt(self, shape: Shape) -> bool:
        """Whether a refusal could be that of an earlier request: then that one is settled by it, and this one is open."""
        missing = self._missing.get(shape.unit, {})
        return any(each.function == shape.function for each in missing)

    def settled(self, unit: int) -> None:
        """All that was missing has come, or never will."""
        self._missing.pop(unit, None)

    def kind(self, shape: Shape) -> str | None:
        """What a frame of this shape is that nobody waits for: a late answer, one that comes twice, or unknown."""
        if shape in self._missing.get(shape.unit, {}):
            return "late answer"
        return "duplicate" if self._answered.get(shape.unit, (None, 0))[0] == shape else None

    def since(self, shape: Shape, now: float) -> float:
        """Seconds since this unit's last answer, if that could be taken for one of this shape; else for ever."""
        last, at = self._answered.get(shape.unit, (None, 0.0))
        return now - at if last in (shape, shape.refusal) else float("inf")
