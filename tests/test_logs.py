"""Log lines: what each format looks like, that nothing in a message forges a line, and that none of it can raise."""

from __future__ import annotations

import json
import logging
import os
import pty
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.logs import Again, Journal, Json, Lines, Logfmt, Prefixed, Text, handler

STAMP = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d"  # ISO 8601 with the offset of the zone
WICKED = "\x1b[31mred\x07\n2026-01-01T00:00:00.000+00:00 ERROR forged\r\x00\u202e\u2028next\x85\ud800"

# With control characters, line ends of Unicode, quotes … Half a surrogate pair is no text: it is written as its number.
anything = st.text(max_size=60)


def record(message: str, *arguments: Any, level: int = logging.WARNING, **extra: Any) -> logging.LogRecord:
    made = logging.LogRecord(
        "gateway.runtime.edge.edge", level, "/gateway/runtime/edge.py", 367, message, arguments, None
    )
    made.funcName = "state"
    made.__dict__.update(extra)
    return made


def with_trace(message: str) -> logging.LogRecord:
    made = record(message)
    try:
        raise ValueError("broken\nTRACE")
    except ValueError:
        made.exc_info = sys.exc_info()
    return made


# --- text ------------------------------------------------------------------------------------------------------------


def test_text_is_time_level_message_and_fault():
    line = Text().format(record("%s: offline", "press-07", machine="press-07", fault="modbus-no-answer"))
    assert re.fullmatch(STAMP + r" WARNING press-07: offline \[modbus-no-answer\]", line)


def test_the_fault_is_not_said_twice():
    assert Text().format(record("p: gone [host-unreachable]", fault="host-unreachable")).count("host-unreachable") == 1


@pytest.mark.parametrize("made", [record("%s", WICKED), record(WICKED), record("x", fault=WICKED), with_trace(WICKED)])
@pytest.mark.parametrize("form", [Text(), Text(colours=True), Prefixed()])
def test_no_text_of_a_machine_forges_a_line_or_moves_the_cursor(form, made):
    lines = form.format(made).split("\n")
    begins = {Prefixed: re.compile("<4>")}.get(type(form), re.compile(rf"(\x1b\[2m)?{STAMP}"))
    assert begins.match(lines[0])
    for line in lines[1:]:
        assert line.startswith("<4>    " if isinstance(form, Prefixed) else "    ")
    text = re.sub(r"\x1b\[(2|31|33|0)m", "", "\n".join(lines), count=4) if isinstance(form, Text) else "\n".join(lines)
    assert text.replace("\n", "").isprintable()


@settings(max_examples=150)
@given(anything, anything)
def test_text_has_as_many_lines_as_the_message(message, machine):
    line = Text().format(record("%s", message, machine=machine))
    assert len(line.splitlines()) == message.count("\n") + 1  # splitlines() also cuts at \r, \x85, U+2028 …
    assert sum(bool(re.match(STAMP, each)) for each in line.splitlines()) == 1


# --- json and logfmt -------------------------------------------------------------------------------------------------


def parse_logfmt(line: str) -> dict[str, str]:
    """As https://pkg.go.dev/github.com/go-logfmt/logfmt describes it: bare values, or JSON's strings in quotes."""
    pairs = re.findall(r'([^\s="]+)=("(?:[^"\\]|\\.)*"|[^\s="]*)(?:\s|$)', line)
    assert " ".join(f"{key}={value}" for key, value in pairs) == line, "something is left over"
    return {key: json.loads(value) if value.startswith('"') else value for key, value in pairs}


@pytest.mark.parametrize(("form", "parse"), [(Json(), json.loads), (Logfmt(), parse_logfmt)])
@settings(max_examples=150)
@given(message=anything, machine=anything, fault=anything)
def test_what_is_written_is_read_back(form, parse, message, machine, fault):
    line = form.format(record("%s", message, machine=machine, fault=fault))
    assert len(line.splitlines()) == 1
    assert line.isprintable()
    row = parse(line)
    named = {key: value for key, value in (("machine", machine), ("fault", fault)) if value}
    assert row == {
        "time": row["time"],
        "level": "warning",
        "message": message,
        "logger": "gateway.runtime.edge.edge",
        **named,
    }
    assert re.fullmatch(STAMP, row["time"])


@pytest.mark.parametrize(("form", "parse"), [(Json(), json.loads), (Logfmt(), parse_logfmt)])
def test_a_trace_is_a_field(form, parse):
    row = parse(form.format(with_trace("unexpected")))
    assert row["message"] == "unexpected"
    assert row["trace"].startswith("Traceback (most recent call last)")
    assert row["trace"].endswith("ValueError: broken\nTRACE")


def test_the_time_is_that_of_the_record_in_the_zone_of_the_box():
    made = record("x")
    made.created = 1_790_000_000.25  # 2026-09-21T14:13:20.25Z, by `date -u -d @1790000000`
    shown = json.loads(Json().format(made))["time"]
    assert datetime.fromisoformat(shown) == datetime.fromisoformat("2026-09-21T14:13:20.250+00:00")


def test_words_in_vietnamese_stay_readable():
    assert "máy ép: mất kết nối" in Json().format(record("máy ép: mất kết nối"))


@pytest.mark.parametrize("form", [Text(), Prefixed(), Logfmt(), Json()])
def test_a_wrong_call_is_still_a_line(form):
    class Bad:
        def __str__(self) -> str:
            raise RuntimeError

        def __repr__(self) -> str:
            return "bad"

    assert "of %d" in form.format(record("%d of %d", 1))
    assert "bad" in form.format(record("%s", Bad()))
    assert len(form.format(record("x" * 1_000_000))) < 40_000


# --- the journal -----------------------------------------------------------------------------------------------------


def parse_entry(datagram: bytes) -> dict[str, str]:
    """By https://systemd.io/JOURNAL_NATIVE_PROTOCOL: KEY=value, or KEY, newline, length (64 bit, little endian), value."""
    found, at = {}, 0
    while at < len(datagram):
        end = datagram.index(b"\n", at)
        name, equals, value = datagram[at:end].partition(b"=")
        assert re.fullmatch(rb"[A-Z][A-Z0-9_]{0,63}", name), name
        at = end + 1
        if not equals:
            size = int.from_bytes(datagram[at : at + 8], "little")
            value = datagram[at + 8 : at + 8 + size]
            at += 8 + size
            assert datagram[at : at + 1] == b"\n"
            at += 1
        assert name.decode() not in found
        found[name.decode()] = value.decode()
    return found


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "journal"))
        listener.settimeout(5)
        yield listener


@pytest.fixture
def stream() -> StringIO:
    return StringIO()


@pytest.fixture
def writing(journal, stream) -> Iterator[Journal]:
    made = handler("journal", stream, {}, path=journal.getsockname())
    assert isinstance(made, Journal)
    yield made
    made.close()


def test_the_journal_gets_fields(journal, writing):
    writing.handle(record("%s: offline", "press-07", machine="press-07", fault="modbus-no-answer"))
    assert parse_entry(journal.recv(100_000)) == {
        "MESSAGE": "press-07: offline [modbus-no-answer]",
        "PRIORITY": "4",  # warning: RFC 5424, table 2
        "SYSLOG_IDENTIFIER": "gateway",
        "LOGGER": "gateway.runtime.edge.edge",
        "CODE_FILE": "/gateway/runtime/edge.py",
        "CODE_LINE": "367",
        "CODE_FUNC": "state",
        "MACHINE": "press-07",
        "FAULT": "modbus-no-answer",
    }


@pytest.mark.parametrize(("level", "priority"), [(10, "7"), (20, "6"), (30, "4"), (40, "3"), (50, "2")])
def test_levels_are_priorities_of_syslog(journal, writing, level, priority):
    writing.handle(record("x", level=level))
    assert parse_entry(journal.recv(100_000))["PRIORITY"] == priority


@settings(max_examples=100, deadline=None)
@given(anything, anything)
def test_nothing_becomes_a_field_of_its_own(message, machine):
    from gateway.logs import entry, journal_fields

    found = parse_entry(entry(journal_fields(record("%s", message, machine=machine))))
    assert found["MESSAGE"] == message
    assert found.get("MACHINE", "") == machine
    assert found["PRIORITY"] == "4"


def test_a_message_that_looks_like_fields_is_one(journal, writing):
    writing.handle(record("x\nPRIORITY=0\nMESSAGE=forged"))
    found = parse_entry(journal.recv(100_000))
    assert (found["MESSAGE"], found["PRIORITY"]) == ("x\nPRIORITY=0\nMESSAGE=forged", "4")


def test_the_longest_message_is_a_datagram(journal, writing):
    writing.handle(record("ế" * 1_000_000))
    assert 30_000 < len(parse_entry(journal.recv(1_000_000))["MESSAGE"]) < 40_000


def test_without_a_journal_lines_go_to_the_stream(journal, writing, stream, tmp_path):
    writing.handle(record("one"))
    journal.close()
    (tmp_path / "journal").unlink()
    writing.handle(record("two\nthree"))
    assert stream.getvalue() == "<4>two\n<4>    three\n"


def test_a_journal_that_was_started_anew_is_found_again(journal, writing, stream, tmp_path):
    writing.handle(record("one"))
    journal.close()
    (tmp_path / "journal").unlink()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as anew:
        anew.bind(str(tmp_path / "journal"))
        anew.settimeout(5)
        writing.handle(record("two"))
        assert parse_entry(anew.recv(100_000))["MESSAGE"] == "two"
    assert stream.getvalue() == ""


def test_a_full_journal_is_not_waited_for(journal, writing, stream):
    for number in range(5000):  # nobody reads: net.unix.max_dgram_qlen is 10 to 512 as a rule
        writing.handle(record("line %d", number))
    assert stream.getvalue() == ""
    journal.setblocking(False)
    kept = []
    while True:
        try:
            kept.append(parse_entry(journal.recv(100_000))["MESSAGE"])
        except BlockingIOError:
            break
    assert kept == [f"line {number}" for number in range(len(kept))]
    assert 0 < len(kept) < 5000
    writing.handle(record("after"))
    assert parse_entry(journal.recv(100_000))["MESSAGE"].startswith(f"{5000 - len(kept)} lines are missing")
    assert parse_entry(journal.recv(100_000))["MESSAGE"] == "after"


def test_where_there_is_no_socket_lines_have_priorities(stream, tmp_path):
    handler("journal", stream, {}, path=str(tmp_path / "nothing")).handle(record("x"))
    assert stream.getvalue() == "<4>x\n"


# --- what comes again ------------------------------------------------------------------------------------------------


def failed(text: str, line: int = 1) -> logging.LogRecord:
    made = with_trace("unexpected error in %s")
    made.args, made.lineno = ("edge",), line
    made.exc_info = (ValueError, ValueError(text), None)
    return made


def test_an_error_of_every_turn_is_written_once_in_ten_minutes():
    now = [0.0]
    again, written = Again(lambda: now[0]), []
    for turn in range(2 * 60 * 25):  # 25 minutes, twice a second
        now[0] = turn / 2
        made = failed("broken")
        if again.filter(made):
            written.append((now[0], made.getMessage()))
    text = "unexpected error in edge"
    more = f"{text} (and 1199 times before, since it was last written)"
    assert written == [(0.0, text), (600.0, more), (1200.0, more)]


def test_what_is_not_the_same_is_written():
    again = Again(lambda: 0.0)
    assert again.filter(failed("broken"))
    assert again.filter(failed("otherwise"))
    assert again.filter(failed("broken", line=2))
    assert not again.filter(failed("broken"))
    assert all(again.filter(record("press-07: offline")) for _ in range(5)), "changes are told by who makes them"


def test_of_errors_not_too_many_are_remembered():
    again = Again(lambda: 0.0)
    assert all(again.filter(failed(f"error {number}")) for number in range(1000))
    assert len(again._seen) == Again.MOST


# --- which one, and streams that are gone ----------------------------------------------------------------------------

SAY = """
import logging
from gateway.logs import set_up
set_up()
log = logging.getLogger("gateway.test")
log.warning("press-07: offline", extra={"machine": "press-07"})
"""


def say(stderr: int, **environment: str) -> None:
    plain = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "TERM", "JOURNAL_STREAM")}
    subprocess.run([sys.executable, "-c", SAY], stderr=stderr, env={**plain, **environment}, check=True, timeout=30)


def on_a_terminal(**environment: str) -> str:
    master, slave = pty.openpty()
    try:
        say(slave, **environment)
        return os.read(master, 10_000).decode()
    finally:
        os.close(slave)
        os.close(master)


def through_a_pipe(**environment: str) -> str:
    read, write = os.pipe()
    try:
        found = os.fstat(write)
        say(write, **{k: v.format(f"{found.st_dev}:{found.st_ino}") for k, v in environment.items()})
        return os.read(read, 10_000).decode()
    finally:
        os.close(read)
        os.close(write)


REST = r'message="press-07: offline" machine=press-07 logger=gateway\.test\r\n'


def test_a_terminal_gets_pairs_in_colours():
    seen = on_a_terminal(TERM="xterm")
    assert re.fullmatch(rf"\x1b\[2mtime={STAMP}\x1b\[0m \x1b\[33mlevel=warning\x1b\[0m {REST}", seen)


@pytest.mark.parametrize("environment", [{"TERM": "xterm", "NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_colours_can_be_declined(environment):
    assert re.fullmatch(rf"time={STAMP} level=warning {REST}", on_a_terminal(**environment))


def test_a_terminal_inside_of_a_service_is_a_terminal():
    """A desktop's shells inherit the JOURNAL_STREAM of the service they come from."""
    assert "level=warning" in on_a_terminal(TERM="dumb", JOURNAL_STREAM="9:123456")


def test_a_pipe_gets_json_without_colours():
    row = json.loads(through_a_pipe(TERM="xterm"))
    assert (row["level"], row["message"], row["machine"]) == ("warning", "press-07: offline", "press-07")


def test_the_stream_of_a_service_gets_priorities_or_fields():
    seen = through_a_pipe(JOURNAL_STREAM="{}")
    assert seen in ("<4>press-07: offline\n", "")  # the latter where this box has a journal: it is there now


def test_a_stream_that_is_gone_raises_nothing(capsys):
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as gone:
        for form in (Text(), Json()):
            writing = Lines(gone)
            writing.setFormatter(form)
            writing.handle(record("x" * 100_000))
    writing.handle(record("closed"))
    full = Path("/dev/full").open("w")  # noqa: SIM115
    writing = Lines(full)
    writing.setFormatter(Text())
    for _ in range(1000):
        writing.handle(record("x" * 1000))
    with pytest.raises(OSError, match="No space left"):
        full.close()
    assert capsys.readouterr().err == ""


def test_half_a_surrogate_pair_can_be_written(tmp_path):
    for form in (Text(), Json(), Logfmt(), Prefixed()):
        with (tmp_path / "log").open("w", encoding="utf-8") as file:
            writing = Lines(file)
            writing.setFormatter(form)
            writing.handle(record("half \ud83d of it"))
        assert "half" in (tmp_path / "log").read_text()


def test_the_option_and_the_variable_choose_the_format(tmp_path):
    from parts.gateway import gateway

    for arguments, environment in ((["--log-format", "xml"], {}), ([], {"GATEWAY_LOG_FORMAT": "xml"})):
        done = gateway("run", str(tmp_path), *arguments, env={**os.environ, **environment})
        assert done.returncode == 2
        assert "logfmt" in done.stderr
