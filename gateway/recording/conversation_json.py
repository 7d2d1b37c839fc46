"""Recordings from JSON lines: one request and its answer a line, easily written by hand or by a script.

    {"t": 0.0, "req": "0300000002", "resp": "030400010002", "rtt_ms": 12.5}
    {"t": 1.0, "req": "0300000002", "resp": null}
    {"t": 2.0, "unit": 7, "req": "0600040190", "resp": "8602", "rtt_ms": 3}

| key | default | what |
|---|---|---|
| `t` | needed | seconds since the recording began, when the request was sent |
| `req` | needed | its PDU in hex: function code and what belongs to it; neither transaction, unit nor checksum |
| `resp` | null | the PDU of the answer; null: there was none |
| `rtt_ms` | 0 | milliseconds from request to answer |
| `unit` | 1 | unit id |
| `tid` | counted | transaction id, 0 to 65535; without one they count up in each connection |
| `conn` | 0 | connection: numbers, each a link of its own, opened when it first asks |
| `server` | 0 | machine: numbers, each a recording of its own |
| `fc` | | function code, once more: it has to be that of `req` |

Other keys are for people, and empty lines are skipped. Lines need no order. The frames are those of Modbus TCP.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from gateway import __version__
from gateway.errors import RecordingError
from gateway.recording.entry import Entry, Head, Kind

_MOST_LINE = 64 << 10  # characters; two PDUs of 253 bytes are 1012 of them
_MOST_LINES = 1_000_000  # all of a file are in memory, to be put in order
_MOST_TIME = 10**18  # ns: 31 years
_MOST_PDU = 253  # bytes: Modbus Application Protocol V1.1b3, 4.1
_MOST_NUMBER = 1 << 31  # connections and servers
_MOST_SERVERS = 250  # that differ: each gets a port of its own, and a process has often no more than 1024 files
_SHOWN = 50  # characters of a value that are shown


@dataclass(frozen=True, slots=True)
class ToldMachine:
    """One machine of such a file. Iterates its entries in the order of their times."""

    head: Head
    server: int
    entries: list[Entry] = field(repr=False)
    damage: list[str] = field(default_factory=list)  # a mistake in a file is an error: always empty

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries)


class _Line(NamedTuple):
    at: int  # ns
    server: int
    connection: int
    transaction: int | None
    unit: int
    request: bytes
    answer: bytes
    passed: int  # ns until the answer


def read_conversation(path: Path) -> list[ToldMachine]:
    """The machines in the order of their numbers. Raises RecordingError, with the line."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            lines = sorted(_lines(file, path), key=lambda line: line.at)
    except OSError as exc:
        raise RecordingError(f"{path} cannot be read: {exc.strerror or exc}") from exc
    except UnicodeDecodeError as exc:
        raise RecordingError(f"{path} is no text: byte {exc.start} of what was read last is not UTF-8") from exc
    if not lines:
        raise RecordingError(f"{path} has no line with a request")
    servers: dict[int, list[_Line]] = {}
    for line in lines:
        servers.setdefault(line.server, []).append(line)
    return [_machine(path, server, servers[server]) for server in sorted(servers)]


def _lines(file: TextIO, path: Path) -> Iterator[_Line]:
    number = 0
    servers: set[int] = set()
    while text := file.readline(_MOST_LINE + 1):
        number += 1
        try:
            if number > _MOST_LINES:
                raise ValueError(f"more than {_MOST_LINES:,} lines; divide the file")
            if len(text) > _MOST_LINE:
                raise ValueError(f"more than {_MOST_LINE:,} characters: is this a file of JSON lines?")
            if text.strip():
                line = _line(text.rstrip())
                servers.add(line.server)
                if len(servers) > _MOST_SERVERS:
                    raise ValueError(
                        f"server: {line.server} is one more than {_MOST_SERVERS} machines; divide the file"
                    )
                yield line
        except (ValueError, RecursionError) as exc:
            raise RecordingError(f"{path}:{number}: {_why(exc)}") from exc


def _why(exc: Exception) -> str:
    if isinstance(exc, json.JSONDecodeError):
        return f"no JSON: {exc.msg} at character {exc.pos + 1}"
    return "no JSON: brackets in brackets without end" if isinstance(exc, RecursionError) else str(exc)


def _line(text: str) -> _Line:
    """Raises ValueError for what is wrong with it."""
    told: Any = json.loads(text)
    if not isinstance(told, dict):
        raise ValueError('not an object like {"t": 0.0, "req": "0300000002", "resp": "030400010002", "rtt_ms": 12.5}')
    for key in ("t", "req"):
        if key not in told:
            raise ValueError(f"'{key}' is missing")
    request, answer = _pdu(told, "req"), b"" if told.get("resp") is None else _pdu(told, "resp")
    if (code := _whole(told, "fc", request[0], 255)) != request[0]:
        raise ValueError(f"fc: {code}, but 'req' begins with {request[0]:02x}, which is {request[0]}")
    transaction = _whole(told, "tid", 0, 0xFFFF) if told.get("tid") is not None else None
    return _Line(
        _time(told, "t", 1_000_000_000),
        _whole(told, "server", 0, _MOST_NUMBER),
        _whole(told, "conn", 0, _MOST_NUMBER),
        transaction,
        _whole(told, "unit", 1, 255),
        request,
        answer,
        _time(told, "rtt_ms", 1_000_000),
    )


def _pdu(told: dict[str, Any], key: str) -> bytes:
    value = told[key]
    try:
        pdu = bytes.fromhex(value) if isinstance(value, str) else b""
    except ValueError:
        pdu = b""
    if not 1 <= len(pdu) <= _MOST_PDU:
        raise ValueError(f"{key}: {_shown(value)} is no PDU: 1 to {_MOST_PDU} bytes in hex, such as 0300000002")
    return pdu


def _whole(told: dict[str, Any], key: str, default: int, most: int) -> int:
    value = told.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        raise ValueError(f"{key}: {_shown(value)} is no whole number from 0 to {most}")
    return value


def _time(told: dict[str, Any], key: str, unit: int) -> int:
    """In ns; `unit`: of what is written."""
    value = told.get(key, 0)
    if value is None and key == "rtt_ms":
        value = 0
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value * unit <= _MOST_TIME:
        raise ValueError(f"{key}: {_shown(value)} is no time from 0 on")
    return round(value * unit)


def _shown(value: object) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + " …"


def _machine(path: Path, server: int, lines: list[_Line]) -> ToldMachine:
    entries: list[Entry] = []
    links: dict[int, int] = {}  # by connection
    asked: dict[int, int] = {}  # requests, by link
    for line in lines:
        if line.connection not in links:
            links[line.connection] = len(links)
            entries.append(Entry(line.at, Kind.OPENED, links[line.connection], 0, b""))
        link = links[line.connection]
        count = asked[link] = asked.get(link, 0) + 1
        transaction = count & 0xFFFF if line.transaction is None else line.transaction
        entries.append(Entry(line.at, Kind.SENT, link, 0, _mbap(transaction, line.unit, line.request)))
        if line.answer:
            data = _mbap(transaction, line.unit, line.answer)
            entries.append(Entry(line.at + line.passed, Kind.RECEIVED, link, 0, data))
    entries.sort(key=lambda entry: entry.at)  # stable: an answer at the moment of the next request stays before it
    return ToldMachine(
        Head(0, "modbus-tcp", f"{path.stem}-{server}", source="json", gateway=__version__), server, entries
    )


def _mbap(transaction: int, unit: int, pdu: bytes) -> bytes:
    """Modbus Messaging on TCP/IP Implementation Guide V1.0b, 3.1.3: transaction, protocol 0, bytes that follow, unit."""
    return transaction.to_bytes(2, "big") + b"\0\0" + (len(pdu) + 1).to_bytes(2, "big") + bytes((unit,)) + pdu
