"""Where log lines go, and how they read there: one line for each change, whoever reads it.

    journal     the journal of systemd: MESSAGE, PRIORITY, MACHINE, FAULT … as fields     under systemd
    logfmt      key=value, as people and Loki read it; in colours where there are some    on a terminal
    json        one object a line                                                         anywhere else
    text        sentences                                                                 where it is asked for

What a machine says ends up in our lines: control characters in it are shown, not obeyed, and a line end in it begins no
line that could pass for one of ours. A log that cannot be written costs that line, and nothing else: nothing here raises.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Literal, TextIO

Format = Literal["auto", "text", "logfmt", "json", "journal"]

JOURNAL = "/run/systemd/journal/socket"
# What `extra=` of a log call may name: it becomes a field of its own.
FIELDS = ("machine", "connection", "fault")
LONGEST = 32_768  # characters of one message; a datagram has its limits, and so has a reader

# syslog's severities, RFC 5424 6.2.1.
_PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
_DEBUG = 7
_COLOURS = ((logging.ERROR, "31"), (logging.WARNING, "33"))
_FAINT, _END = "\x1b[2m", "\x1b[0m"


def set_up(format: Format = "auto", *, verbose: bool = False, quiet: bool = False) -> None:
    """Log changes to stderr or to the journal. `verbose`: more, and of libraries; `quiet`: only what is wrong."""
    writing = handler(format, sys.stderr, os.environ)
    writing.addFilter(Again())
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, handlers=[writing])
    for ours in ("gateway", "adapters", "simulators"):
        logging.getLogger(ours).setLevel(logging.DEBUG if verbose else logging.WARNING if quiet else logging.INFO)


def handler(format: Format, stream: TextIO, environment: Mapping[str, str], path: str = JOURNAL) -> logging.Handler:
    """What writes the lines: to the socket of the journal at `path` where that is there, else to the stream."""
    chosen = suited(stream, environment) if format == "auto" else format
    writing = Lines(stream)
    match chosen:
        case "journal":
            writing.setFormatter(Prefixed())
            there = os.path.exists(path)  # noqa: PTH110
            return Journal(path, writing) if there else writing
        case "json":
            writing.setFormatter(Json())
        case "logfmt":
            writing.setFormatter(Logfmt(colours(stream, environment)))
        case _:
            writing.setFormatter(Text(colours(stream, environment)))
    return writing


def suited(stream: TextIO, environment: Mapping[str, str]) -> Format:
    """The format for who reads the stream."""
    if _is_journal(stream, environment.get("JOURNAL_STREAM", "")):
        return "journal"
    return "logfmt" if _is_terminal(stream) else "json"


def colours(stream: TextIO, environment: Mapping[str, str]) -> bool:
    """On a terminal that has them, unless somebody does not want any (https://no-color.org)."""
    return _is_terminal(stream) and not environment.get("NO_COLOR") and environment.get("TERM") != "dumb"


def _is_journal(stream: TextIO, named: str) -> bool:
    """JOURNAL_STREAM is handed on to every child, also to shells of a desktop: it holds for the stream it names only."""
    try:
        there = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return named == f"{there.st_dev}:{there.st_ino}"


def _is_terminal(stream: TextIO) -> bool:
    try:
        return stream.isatty()
    except ValueError:  # closed
        return False


# --- what a record says ----------------------------------------------------------------------------------------------


def message_of(record: logging.LogRecord) -> str:
    """Its text; what was to be put into it beside it, where that does not fit."""
    try:
        text = record.getMessage()
    except Exception:  # whatever a __str__ or a wrong %d raises: the line is worth more
        text = f"{record.msg} {record.args!r}"
    return text if len(text) <= LONGEST else text[:LONGEST] + " …"


def trace_of(record: logging.LogRecord) -> str:
    """The way of its exception, "" where there is none."""
    if record.exc_info and not record.exc_text:
        record.exc_text = _PLAIN.formatException(record.exc_info)
    parts = [record.exc_text or "", str(record.stack_info or "")]
    return "\n".join(part for part in parts if part)[-LONGEST:]


def fields_of(record: logging.LogRecord) -> dict[str, str]:
    """What the call named beside the text: FIELDS that are not empty."""
    return {name: str(value) for name in FIELDS if (value := getattr(record, name, None)) not in (None, "")}


def row_of(record: logging.LogRecord) -> dict[str, str]:
    """All of it, for formats with keys. Half of a surrogate pair, which no encoding has, is written as its number."""
    row = {
        "time": time_of(record),
        "level": record.levelname.lower(),
        "message": message_of(record),
        **fields_of(record),
        "logger": record.name,
    }
    if trace := trace_of(record):
        row["trace"] = trace
    return {key: whole(text) for key, text in row.items()}


def time_of(record: logging.LogRecord) -> str:
    """When it was, by ISO 8601 with the offset of this box's zone."""
    return datetime.fromtimestamp(record.created).astimezone().isoformat(timespec="milliseconds")


def whole(text: str) -> str:
    """A text that can be encoded."""
    return text.encode("utf-8", "backslashreplace").decode()


def shown(text: str) -> str:
    """A text in which nothing moves the cursor, changes the terminal or ends the line."""
    return text if text.isprintable() else "".join(c if c.isprintable() else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()


def quoted(value: str) -> str:
    """As a JSON string, which is what logfmt quotes with as well. Beyond ASCII only what can be printed is left as it is."""
    text = json.dumps(value, ensure_ascii=False)
    return text if text.isprintable() else json.dumps(value)


_PLAIN = logging.Formatter()


# --- formats ---------------------------------------------------------------------------------------------------------


class Text(logging.Formatter):
    """For people: `2026-11-22T14:03:07.120+07:00 WARNING press-07: offline: … [modbus-no-answer]`.

    What follows the first line is indented, so that nothing begins a line but us.
    """

    def __init__(self, colours: bool = False) -> None:
        super().__init__()
        self._colours = colours

    def format(self, record: logging.LogRecord) -> str:
        text, level, time = sentence(record), record.levelname, time_of(record)
        if self._colours:
            level, time = coloured(level, record.levelno), f"{_FAINT}{time}{_END}"
        return f"{time} {level} {text}"


class Prefixed(logging.Formatter):
    """For a stream that goes to the journal: sd-daemon(3), a priority before every line."""

    def format(self, record: logging.LogRecord) -> str:
        prefix = f"<{priority(record.levelno)}>"
        return prefix + sentence(record).replace("\n", f"\n{prefix}")


class Logfmt(logging.Formatter):
    """`time=… level=warning message="press-07: offline" machine=press-07 logger=gateway.runtime.edge.edge`."""

    def __init__(self, colours: bool = False) -> None:
        super().__init__()
        self._colours = colours

    def format(self, record: logging.LogRecord) -> str:
        pairs = {key: f"{key}={_bare(value)}" for key, value in row_of(record).items()}
        if self._colours:
            pairs["time"] = f"{_FAINT}{pairs['time']}{_END}"
            pairs["level"] = coloured(pairs["level"], record.levelno)
        return " ".join(pairs.values())


class Json(logging.Formatter):
    """One object a line."""

    def format(self, record: logging.LogRecord) -> str:
        return "{" + ", ".join(f"{quoted(key)}: {quoted(value)}" for key, value in row_of(record).items()) + "}"


def sentence(record: logging.LogRecord) -> str:
    """The message, its fault, and below it, indented, the way of its exception."""
    lines = [shown(line) for line in message_of(record).split("\n")]
    if (fault := fields_of(record).get("fault")) and f"[{fault}]" not in lines[0]:
        lines[0] += f" [{shown(fault)}]"
    if trace := trace_of(record):
        lines += [shown(line) for line in trace.split("\n")]
    return "\n    ".join(lines)


def coloured(text: str, level: int) -> str:
    """A warning in yellow, an error in red."""
    colour = next((code for least, code in _COLOURS if level >= least), "")
    return f"\x1b[{colour}m{text}{_END}" if colour else text


def _bare(value: str) -> str:
    """Without quotes where nothing in it could be taken for something else."""
    plain = value and value.isprintable() and not any(c in ' "=\\' for c in value)
    return value if plain else quoted(value)


def priority(level: int) -> int:
    """Of syslog."""
    return next((number for least, number in _PRIORITIES if level >= least), _DEBUG)


# --- what comes again ------------------------------------------------------------------------------------------------


class Again(logging.Filter):
    """Writes an unexpected error once in a while, and counts it meanwhile: it may come again with every turn of a loop.

    Only what has an exception with it; changes of state are told by those who know that they are changes.
    """

    QUIET = 600.0  # seconds
    MOST = 200  # that are remembered

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._seen: dict[
            tuple[str, int, str, str], tuple[float, int]
        ] = {}  # when it was written, how often it came since

    def filter(self, record: logging.LogRecord) -> bool:
        if not record.exc_info or record.exc_info[1] is None:
            return True
        message = message_of(record)
        key = record.pathname, record.lineno, message, _text_of(record.exc_info[1])
        now = self._clock()
        written, times = self._seen.get(key, (float("-inf"), 0))
        if now - written < self.QUIET:
            self._seen[key] = written, times + 1
            return False
        self._seen.pop(key, None)
        while len(self._seen) >= self.MOST:
            del self._seen[next(iter(self._seen))]
        self._seen[key] = now, 0
        if times:
            record.msg, record.args = f"{message} (and {times} times before, since it was last written)", ()
        return True


def _text_of(exc: BaseException) -> str:
    try:
        return repr(exc)
    except Exception:
        return type(exc).__name__


# --- ways out --------------------------------------------------------------------------------------------------------


class Lines(logging.StreamHandler[TextIO]):
    """To a stream, which may be gone: a pipe nobody reads, a terminal that was closed, a full disk."""

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(OSError, ValueError):
            self.stream.write(whole(self.format(record)) + self.terminator)
            self.flush()

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            super().flush()


class Journal(logging.Handler):
    """To the journal in its native protocol (https://systemd.io/JOURNAL_NATIVE_PROTOCOL): a datagram an entry.

    It is never waited for. Where the socket is gone, lines go to `instead`; while it is full they are counted, and
    the next one that goes through says how many are missing.
    """

    def __init__(self, path: str, instead: logging.Handler) -> None:
        super().__init__()
        self._path, self._instead = path, instead
        self._socket: socket.socket | None = None
        self._missing = 0

    def emit(self, record: logging.LogRecord) -> None:
        try:
            if self._missing:
                self._send(entry({"MESSAGE": f"{self._missing} lines are missing here: the journal took no more",
                                  "PRIORITY": "4", "SYSLOG_IDENTIFIER": "gateway"}))  # fmt: skip
                self._missing = 0
            self._send(entry(journal_fields(record)))
        except BlockingIOError:
            self._missing += 1
        except OSError:
            self._instead.handle(record)

    def close(self) -> None:
        self._hang_up()
        super().close()

    def _send(self, datagram: bytes) -> None:
        """Raises OSError, and BlockingIOError where the journal is full. A journal that was started anew is found again."""
        if self._socket is not None:
            try:
                self._socket.send(datagram)
            except BlockingIOError:
                raise
            except OSError:
                self._hang_up()
            else:
                return
        made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            made.setblocking(False)
            made.connect(self._path)
            made.send(datagram)
        except BlockingIOError:
            self._socket = made
            raise
        except OSError:
            made.close()
            raise
        self._socket = made

    def _hang_up(self) -> None:
        made, self._socket = self._socket, None
        if made is not None:
            made.close()


def journal_fields(record: logging.LogRecord) -> dict[str, str]:
    """What the journal keeps of a record: systemd.journal-fields(7), and FIELDS in capitals."""
    text, trace = message_of(record), trace_of(record)
    if (fault := fields_of(record).get("fault")) and f"[{fault}]" not in text:
        text += f" [{fault}]"
    return {
        "MESSAGE": text + (f"\n{trace}" if trace else ""),
        "PRIORITY": str(priority(record.levelno)),
        "SYSLOG_IDENTIFIER": "gateway",
        "LOGGER": record.name,
        "CODE_FILE": record.pathname,
        "CODE_LINE": str(record.lineno),
        "CODE_FUNC": record.funcName,
        **{name.upper(): value for name, value in fields_of(record).items()},
    }


def entry(fields: Mapping[str, str]) -> bytes:
    """An entry as it is sent: a value with line ends goes with its length before it, so that it ends no field."""
    parts = []
    for name, value in fields.items():
        data = value.encode("utf-8", "backslashreplace")
        if b"\n" in data:
            parts.append(b"%b\n%b%b\n" % (name.encode(), len(data).to_bytes(8, "little"), data))
        else:
            parts.append(b"%b=%b\n" % (name.encode(), data))
    return b"".join(parts)
