"""Everything that is raised on purpose.

    GatewayError
    ├── ConfigError           one mistake, at its file, line and column       exit code 3
    ├── ConfigErrors          all mistakes of one load, reported together     exit code 3
    ├── NotConnectedError     a machine cannot be reached: connect again      exit code 4
    ├── BrokerError           the MQTT broker cannot be reached or refuses    exit code 5
    ├── StoreError            the store cannot be reached: try again          exit code 5
    │   └── StoreRefusedError the store will never take this: no use to try again
    ├── PayloadError          a message that is not of our format
    ├── RecordingError        a recording that cannot be read, or not be written
    ├── UsageError            what was typed cannot be done                   exit code 2
    └── PartMissingError      a program or package that is not installed      exit code 1

A broken reading is none of these: it is a quality in its column.

Each may carry the code of what went wrong, which gateway/faults explains: NotConnectedError(text, fault="modbus-no-answer").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from gateway.faults import fault_of
from gateway.hiding import starred, unsaid


class GatewayError(Exception):
    """The root. `exit_code` is what the command line ends with."""

    exit_code: ClassVar[int] = 1
    fault: str = ""  # code in the catalogue of faults; "" where none fits

    def __init__(self, *args: object, fault: str = "") -> None:
        """`fault` is taken from the text where that knows it (`faults.Reason`)."""
        super().__init__(*args)
        if code := fault or (fault_of(args[0]) if args else ""):
            self.fault = code


@dataclass(eq=False)
class ConfigError(GatewayError):
    """One mistake in a configuration. Lines and columns count from 1; 0 where there is none to name.

    It gets into logs and onto pages: no secret of its line stays in it. What goes on over several lines, and what a message
    says of such a value, is hidden where the file is known: `Mark.error` in gateway/config/yaml_file.py.
    """

    exit_code: ClassVar[int] = 3
    file: str
    line: int
    column: int
    field: str  # dotted path of the key, "" for a mistake in the file as a whole
    message: str
    hint: str = ""
    source: str = ""  # the text of that line
    width: int = 1  # how many characters of it are meant
    fault: str = "config-refused"

    def __post_init__(self) -> None:
        self.source = starred(self.source)
        self.message, self.hint = unsaid(self.message), unsaid(self.hint)

    def __str__(self) -> str:
        """As a compiler would print it: place, message, the line with a caret, and what to do."""
        at = ":".join(str(part) for part in (self.file, self.line, self.column) if part)
        name = f"{self.field}: " if self.field else ""
        lines = [f"{at}: error: {name}{self.message}"]
        if self.source and self.line:
            margin = f"{self.line:>5} | "
            # The line is shown as it is but for tabs and control characters, which would move the caret.
            shown = "".join(c if c.isprintable() else " " for c in self.source)
            start = max(0, self.column - 81)  # a line of a megabyte is cut around the mistake
            caret = "^" + "~" * (min(self.width, 60, max(1, len(shown) - self.column + 1)) - 1)
            lines.append(margin + shown[start : start + 160].rstrip())
            lines.append(" " * (len(margin) - 2) + "| " + " " * (self.column - 1 - start) + caret)
        if self.hint:
            lines.append(f"      = {self.hint}")
        return "\n".join(lines)


class ConfigErrors(GatewayError):
    """All mistakes found in one load, in the order of the files."""

    exit_code = 3
    fault = "config-refused"

    def __init__(self, errors: Sequence[ConfigError]) -> None:
        super().__init__(errors)
        self.errors = tuple(errors)

    def __str__(self) -> str:
        count = len(self.errors)
        return "\n".join([*map(str, self.errors), f"{count} error{'s' if count > 1 else ''} in the configuration"])


class NotConnectedError(GatewayError):
    """A machine or its link cannot be reached."""

    exit_code = 4


class BrokerError(GatewayError):
    """The MQTT broker cannot be reached, or refuses us."""

    exit_code = 5


class StoreError(GatewayError):
    """The store cannot take anything now; the same write may succeed later."""

    exit_code = 5


class StoreRefusedError(StoreError):
    """The store read what we wrote and refuses it for good; the text says which part and why."""


class PayloadError(GatewayError):
    """A message that is not of our format: where it came from, and what is wrong with it."""


class RecordingError(GatewayError):
    """A recording of a machine that cannot be read, or not be written; the text names the file."""


class UsageError(GatewayError):
    """What was typed cannot be done."""

    exit_code = 2


class PartMissingError(GatewayError):
    """A program or Python package this command needs is not installed; the text says how to get it."""

    fault = "part-missing"
