"""JSON lines become recordings; frames are written by hand."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import SHARED
from gateway.errors import RecordingError
from gateway.recording import Entry, Head, Kind, conversation_json
from gateway.recording.conversation_json import ToldMachine, read_conversation

MS = 1_000_000


def read(tmp_path: Path, *lines: object) -> list[ToldMachine]:
    path = tmp_path / "plant.jsonl"
    path.write_text("".join((each if isinstance(each, str) else json.dumps(each)) + "\n" for each in lines))
    return read_conversation(path)


def test_a_request_and_its_answer(tmp_path: Path) -> None:
    """MBAP: transaction, protocol 0, bytes that follow, unit (Messaging Guide V1.0b, 3.1.3)."""
    (machine,) = read(
        tmp_path,
        {
            "t": 1.5,
            "conn": 3,
            "tid": 501,
            "unit": 7,
            "fc": 6,
            "req": "06000409c4",
            "resp": "06000409c4",
            "rtt_ms": 41.679,
        },
    )
    frame = bytes.fromhex("01f5 0000 0006 07 06000409c4")
    assert list(machine) == [
        Entry(1500 * MS, Kind.OPENED, 0, 0, b""),
        Entry(1500 * MS, Kind.SENT, 0, 0, frame),
        Entry(1_541_679_000, Kind.RECEIVED, 0, 0, frame),
    ]
    assert (machine.server, machine.damage) == (0, [])
    assert machine.head == Head(0, "modbus-tcp", "plant-0", source="json", gateway=machine.head.gateway)


def test_by_hand_little_is_needed(tmp_path: Path) -> None:
    """Unit 1, one connection, transactions counted from 1; an exception, a silence, an answer at once; in any order."""
    (machine,) = read(
        tmp_path,
        '{"t": 2, "req": "03 00 00 00 01", "resp": "8302"}',
        "",
        '{"t": 1, "req": "0300000001", "resp": null, "remark": "the cable was out"}',
        "  ",
        '{"t": 3, "req": "0300000001"}',
    )
    ask = "0000 0006 01 03 0000 0001"
    assert list(machine) == [
        Entry(1000 * MS, Kind.OPENED, 0, 0, b""),
        Entry(1000 * MS, Kind.SENT, 0, 0, bytes.fromhex("0001" + ask)),
        Entry(2000 * MS, Kind.SENT, 0, 0, bytes.fromhex("0002" + ask)),
        Entry(2000 * MS, Kind.RECEIVED, 0, 0, bytes.fromhex("0002 0000 0003 01 83 02")),
        Entry(3000 * MS, Kind.SENT, 0, 0, bytes.fromhex("0003" + ask)),
    ]


def test_connections_are_links_and_servers_are_machines(tmp_path: Path) -> None:
    """Two connections overlap: the answer to the first request comes after the second request."""
    base = {"req": "0300000001", "resp": "03020007"}
    one, other = read(
        tmp_path,
        base | {"t": 0, "conn": 8, "server": 2, "rtt_ms": 30},
        base | {"t": 0.01, "conn": 5, "server": 2, "rtt_ms": 5},
        base | {"t": 0.02, "conn": 9, "server": 4, "rtt_ms": 5},
    )
    assert [(entry.at // MS, entry.kind, entry.link) for entry in one] == [
        (0, Kind.OPENED, 0), (0, Kind.SENT, 0), (10, Kind.OPENED, 1), (10, Kind.SENT, 1),
        (15, Kind.RECEIVED, 1), (30, Kind.RECEIVED, 0),
    ]  # fmt: skip
    assert [(entry.at // MS, entry.kind, entry.link) for entry in other] == [
        (20, Kind.OPENED, 0), (20, Kind.SENT, 0), (25, Kind.RECEIVED, 0),
    ]  # fmt: skip
    assert (one.server, one.head.connection, other.server, other.head.connection) == (2, "plant-2", 4, "plant-4")


GOOD = {"t": 0, "req": "0300000001", "resp": "03020007", "rtt_ms": 1}


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ('{"t": 0,', " at character 9"),
        ("[" * 40_000, "no JSON: brackets in brackets without end"),
        ("[1, 2]", "not an object like"),
        ({"req": "0300000001"}, "'t' is missing"),
        ({"t": 0}, "'req' is missing"),
        (GOOD | {"req": "03000x"}, 'req: "03000x" is no PDU: 1 to 253 bytes in hex'),
        (GOOD | {"req": ""}, 'req: "" is no PDU'),
        (GOOD | {"req": "03" * 254}, " … is no PDU"),
        (GOOD | {"resp": 5}, "resp: 5 is no PDU"),
        (GOOD | {"fc": 4}, "fc: 4, but 'req' begins with 03, which is 3"),
        (GOOD | {"unit": 256}, "unit: 256 is no whole number from 0 to 255"),
        (GOOD | {"unit": True}, "unit: true is no whole number"),
        (GOOD | {"tid": 65536}, "tid: 65536 is no whole number from 0 to 65535"),
        (GOOD | {"conn": -1}, "conn: -1 is no whole number"),
        (GOOD | {"server": "a"}, 'server: "a" is no whole number'),
        (GOOD | {"t": -1}, "t: -1 is no time from 0 on"),
        (GOOD | {"t": "now"}, 't: "now" is no time'),
        ('{"t": NaN, "req": "0300000001"}', "t: NaN is no time"),
        ('{"t": 1e400, "req": "0300000001"}', "t: Infinity is no time"),
        ('{"t": ' + "9" * 5000 + ', "req": "0300000001"}', "Exceeds the limit"),
        (GOOD | {"rtt_ms": -3}, "rtt_ms: -3 is no time"),
        ("x" * 70_000, "more than 65,536 characters: is this a file of JSON lines?"),
    ],
)
def test_a_mistake_is_told_with_its_line(tmp_path: Path, line: object, why: str) -> None:
    with pytest.raises(RecordingError) as caught:
        read(tmp_path, GOOD, "", line, GOOD)
    assert str(caught.value).startswith(f"{tmp_path}/plant.jsonl:3: ")
    assert why in str(caught.value)


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="no line with a request"):
        read(tmp_path, "")
    with pytest.raises(RecordingError, match="cannot be read: No such file"):
        read_conversation(tmp_path / "none.jsonl")
    (tmp_path / "binary").write_bytes(b"\xd4\xc3\xb2\xa1")
    with pytest.raises(RecordingError, match="is no text"):
        read_conversation(tmp_path / "binary")


@settings(max_examples=200, deadline=None)
@given(
    line=st.dictionaries(
        st.sampled_from(["t", "req", "resp", "rtt_ms", "unit", "tid", "conn", "server", "fc"]),
        st.one_of(
            st.none(),
            st.booleans(),
            st.integers(-2, 70000),
            st.floats(),
            st.binary(max_size=5).map(bytes.hex),
            st.text(),
        ),
    )
)
def test_anything_in_its_keys(tmp_path_factory: pytest.TempPathFactory, line: dict[str, Any]) -> None:
    """An error with its place, or entries in order."""
    path = tmp_path_factory.mktemp("any") / "any.jsonl"
    path.write_text(json.dumps(line) + "\n")
    try:
        (machine,) = read_conversation(path)
    except RecordingError as exc:
        assert str(exc).startswith(f"{path}:1: ")
    else:
        assert [entry.at for entry in machine] == sorted(entry.at for entry in machine)


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "servers", "links", "unanswered"),
    # As extract_modbus.py counted them: machines, their connections, requests without an answer.
    [
        ("coil_writer_small", 1, 16, 0),
        ("plant_plcs", 3, 3, None),
        ("flow_gateway", 1, 5, 29),
        ("function_code_sweep_part1", 2, 3, None),
    ],
)
def test_recorded_conversations(name: str, servers: int, links: int, unanswered: int | None) -> None:
    path = SHARED / f"traces/modbus/{name}.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    machines = read_conversation(path)
    assert len(machines) == servers
    assert sum(len({entry.link for entry in machine}) for machine in machines) == links
    kinds = Counter(entry.kind for machine in machines for entry in machine)
    assert kinds[Kind.OPENED] == links
    assert kinds[Kind.SENT] == len(lines)
    missing = sum(line["resp"] is None for line in lines)
    assert kinds[Kind.SENT] - kinds[Kind.RECEIVED] == missing
    assert unanswered in (None, missing)
    for machine in machines:
        told = [line for line in lines if line["server"] == machine.server]
        sent = [entry for entry in machine if entry.kind == Kind.SENT]
        for line, entry in zip(told, sent, strict=True):
            assert abs(entry.at - line["t"] * 1e9) < 1000
            assert int.from_bytes(entry.data[:2], "big") == line["tid"]
            assert (entry.data[6], entry.data[7:].hex()) == (line["unit"], line["req"])


def test_machines_cost_no_more_than_their_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each line is looked at once, not once for each machine."""
    looked = []
    taken = conversation_json._machine
    monkeypatch.setattr(
        conversation_json,
        "_machine",
        lambda path, server, lines: looked.append(len(lines)) or taken(path, server, lines),
    )
    machines = read(tmp_path, *(GOOD | {"server": i * 7 % 250} for i in range(500)))
    assert [each.server for each in machines] == list(range(250))
    assert looked == [2] * 250


def test_more_machines_than_ports_to_give(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match=r"jsonl:501: server: 999 is one more than 250 machines; divide the file"):
        read(tmp_path, *(GOOD | {"server": i // 2} for i in range(500)), GOOD | {"server": 999})
