"""Captures become recordings. The captures are written by hand (captures.py), or by tcpdump."""

from __future__ import annotations

import itertools
import json
import random
import socket
import struct
import tracemalloc
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import SHARED
from gateway.errors import RecordingError, UsageError
from gateway.recording import Entry, Kind
from gateway.recording.pcap import Capture, is_capture, read_pcap
from gateway.recording.tcp_stream import Direction
from parts.libmodbus import Libmodbus
from parts.mbpoll import mbpoll
from parts.process import wait_until
from parts.tcpdump import Tcpdump
from recording import captures
from recording.captures import ACK, FIN, MACHINE, MASTER, RST, START, SYN, Packet, Talk, mbap, merged

MS = 1_000_000
# Read two holding registers; 17.0 as float32, ABCD.
ASK, TOLD = mbap(1, 7, "0300000002"), mbap(1, 7, "030441880000")
ASK_2, TOLD_2 = mbap(2, 7, "0300000002"), mbap(2, 7, "030441890000")


class Event(NamedTuple):
    """An entry as the tests write it."""

    ms: float
    kind: Kind
    data: bytes = b""
    link: int = 0


def events(entries: Iterable[Entry]) -> list[Event]:
    return [Event(entry.at / MS, entry.kind, entry.data, entry.link) for entry in entries]


def written(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "plant.pcap"
    path.write_bytes(data)
    return path


def read(tmp_path: Path, data: bytes, **options: object) -> Capture:
    return read_pcap(written(tmp_path, data), **options)


def of(tmp_path: Path, packets: Sequence[Packet], **options: object) -> list[Event]:
    """What the one machine of a capture said."""
    (machine,) = read(tmp_path, captures.pcap(packets, nano=True), **options).machines
    return events(machine)


def stream(found: Sequence[Event], kind: Kind) -> bytes:
    return b"".join(event.data for event in found if event.kind == kind)


def asked_once() -> Talk:
    return Talk().open().wait(8).ask(ASK).wait(25).answer(TOLD).wait(5).segment(0, ACK).wait(60).close()


ASKED_ONCE = [
    Event(1, Kind.OPENED),
    Event(10, Kind.SENT, ASK),
    Event(35, Kind.RECEIVED, TOLD),
    Event(101, Kind.CLOSED),  # when the machine's half ended as well, 1 ms after the master's
]


# --- files -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("nano", [False, True])
def test_pcap_in_both_byte_orders_and_resolutions(tmp_path: Path, order: str, nano: bool) -> None:
    capture = read(tmp_path, captures.pcap(asked_once().packets, order, nano))
    (machine,) = capture.machines
    assert events(machine) == ASKED_ONCE
    assert events(machine) == ASKED_ONCE  # each time anew
    head = machine.head
    assert (head.started, head.protocol, head.source) == (START, "modbus-tcp", "pcap")
    assert machine.server == head.connection == "10.20.0.11:502"
    assert (capture.packets, capture.damage, capture.others) == (9, [], [])


def test_nanoseconds_are_kept(tmp_path: Path) -> None:
    talk = Talk(at=123_456_789).open().ask(ASK)
    talk.at += 1
    (machine,) = read(tmp_path, captures.pcap(talk.answer(TOLD).packets, nano=True)).machines
    assert machine.head.started == START + 123_456_789
    assert [entry.at for entry in machine][-2:] == [2 * MS, 2 * MS + 1]


# if_tsresol: a power of ten, or with the highest bit of two: draft-ietf-opsawg-pcapng, 4.2.
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("resolution", [None, 6, 9, 10, 3, 0x80 | 20, 0x80 | 30])
def test_pcapng_in_both_byte_orders_and_any_resolution(tmp_path: Path, order: str, resolution: int | None) -> None:
    (machine,) = read(tmp_path, captures.pcapng(asked_once().packets, order, resolution)).machines
    found = events(machine)
    assert [event._replace(ms=round(event.ms)) for event in found] == ASKED_ONCE
    assert abs(machine.head.started - START) < 1000
    assert found[1].ms == pytest.approx(10, abs=0.001)


def test_pcapng_with_several_sections_interfaces_and_kinds_of_packets(tmp_path: Path) -> None:
    """The second section is big-endian; its interfaces are an Ethernet and a raw one, whose clock is an hour off."""
    packets = asked_once().packets
    data = captures.section() + captures.interface(1)
    data += b"".join(captures.enhanced(at // 1000, packet) for at, packet in packets[:3])
    data += captures.section(">") + captures.interface(1, ">") + captures.interface(101, ">", 9, offset=3600)
    at, packet = packets[3]
    data += captures.enhanced(at - 3600 * 10**9, packet[14:], ">", number=1)
    at, packet = packets[4]
    old = struct.pack(">HHIIII", 0, 0, at // 1000 >> 32, at // 1000 & 0xFFFFFFFF, len(packet), len(packet))
    data += captures.block(2, old + packet, ">")
    data += b"".join(captures.enhanced(at // 1000, packet, ">") for at, packet in packets[5:])
    (machine,) = read(tmp_path, data).machines
    assert events(machine) == ASKED_ONCE


def test_simple_packets_have_no_time_and_it_is_said(tmp_path: Path) -> None:
    data = captures.section() + captures.interface(1)
    for _, packet in asked_once().packets:
        data += captures.block(3, struct.pack("<I", len(packet)) + packet)
    capture = read(tmp_path, data)
    assert [(event.kind, event.data, event.ms) for event in events(capture.machines[0])] == [
        (event.kind, event.data, 0) for event in ASKED_ONCE
    ]
    assert capture.damage == ["9 packets have no time (simple packet blocks): they got that of the packet before"]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "byte 0: it is empty, or ends at once"),
        (b"PK\x03\x04 and so on", "byte 0: it begins with 50 4b 03 04: neither pcap nor pcapng"),
        (b"\x1f\x8b\x08\0 and so on", "byte 0: it is compressed; unpack it first"),
        (captures.pcap([])[:20], "byte 4: a pcap file whose header is cut off"),
        (b"\xd4\xc3\xb2\xa1\x63\0" + bytes(30), "byte 4: a pcap file of version 99"),
        (captures.section()[:8] + bytes(30), "byte 8: a pcapng file whose first section has no byte order"),
    ],
)
def test_what_is_no_capture_is_refused_at_its_byte(tmp_path: Path, data: bytes, why: str) -> None:
    with pytest.raises(RecordingError, match=why):
        read(tmp_path, data)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="cannot be read: No such file"):
        read_pcap(tmp_path / "none.pcap")
    assert is_capture(written(tmp_path, captures.pcap([])))
    assert not is_capture(written(tmp_path, b"SFGWREC"))
    with pytest.raises(UsageError, match="'opcua' cannot be read from a capture"):
        read_pcap(tmp_path / "none.pcap", protocol="opcua")


def test_a_capture_that_was_cut_off_is_read_up_to_there(tmp_path: Path) -> None:
    """Header 24, then packets of 16 bytes and 60 (padded), 66, 67: the answer is the fifth, at byte 24 + 3 × 76 + 82."""
    whole = captures.pcap(asked_once().packets)
    capture = read(tmp_path, whole[: 24 + 3 * 76 + 82 + 16 + 30])
    assert events(capture.machines[0]) == ASKED_ONCE[:2]
    assert capture.damage == ["cut off in the packet at byte 334, after 30 of its 67 bytes"]
    assert read(tmp_path, whole[: 334 + 7]).damage == ["cut off in the header of the packet at byte 334"]


def test_a_length_that_cannot_be_ends_the_reading(tmp_path: Path) -> None:
    whole = bytearray(captures.pcap(asked_once().packets))
    whole[334 + 8 : 334 + 12] = b"\xff\xff\xff\x7f"
    capture = read(tmp_path, bytes(whole))
    assert events(capture.machines[0]) == ASKED_ONCE[:2]
    assert capture.damage == ["damaged from byte 334 on: a packet of 2147483647 bytes"]


def test_a_damaged_pcapng_is_read_up_to_there(tmp_path: Path) -> None:
    packets = asked_once().packets
    begins = captures.pcapng(packets[:4])
    bad = {
        "a block of 3 bytes": struct.pack("<II", 6, 3) + bytes(40),
        "a block whose length does not stand at its end": captures.enhanced(0, b"")[:-4] + b"\1\0\0\0",
        "a packet of interface 5, of which nothing was said": captures.enhanced(0, packets[4][1], number=5),
        "a packet of 99 bytes in a block of 24": captures.block(6, struct.pack("<IIIII", 0, 0, 0, 99, 99) + bytes(4)),
    }
    for why, block in bad.items():
        capture = read(tmp_path, begins + block + captures.enhanced(0, packets[4][1]))
        assert events(capture.machines[0]) == ASKED_ONCE[:2]
        assert capture.damage == [f"damaged from byte {len(begins)} on: {why}"]


def test_a_clock_that_is_set_back_stops_nothing(tmp_path: Path) -> None:
    """By an hour, between two polls 100 ms apart: what follows is 0 ms later, and goes on from there."""
    before = Talk().open().ask(ASK).wait(20).answer(TOLD)
    count = len(before.packets)
    before.wait(80 - 3_600_000).ask(ASK_2).wait(30).answer(TOLD_2)
    capture = read(tmp_path, captures.pcap(before.packets))
    found = [event for event in events(capture.machines[0]) if event.kind in (Kind.SENT, Kind.RECEIVED)]
    assert [event.ms for event in found] == [2, 22, 22, 52]
    place = 24 + sum(16 + len(data) for _, data in before.packets[:count])
    assert capture.damage == [
        f"the clock went back by 3599.920 s before the packet at byte {place}; times go on from there"
    ]


# --- links and IP ----------------------------------------------------------------------------------------------------

VLAN = b"\x81\0\0\x65"  # 802.1Q, VLAN 101
QINQ = b"\x88\xa8\0\x0a" + VLAN
SLL = struct.pack(">HHH", 0, 1, 6) + b"\x02\0\0\0\0\x01\0\0"
KIND = {4: b"\x08\0", 6: b"\x86\xdd"}


def sll2(data: bytes) -> bytes:
    return KIND[data[0] >> 4] + struct.pack(">HIHBB", 0, 2, 1, 0, 6) + b"\x02\0\0\0\0\x01\0\0" + data


# https://www.tcpdump.org/linktypes.html: the number, and what stands before IP.
LINKS = {
    "ethernet": (1, captures.ethernet),
    "vlan": (1, lambda data: captures.ethernet(data, VLAN)),
    "qinq": (1, lambda data: captures.ethernet(data, QINQ)),
    "cooked": (113, lambda data: SLL + KIND[data[0] >> 4] + data),
    "cooked with vlan": (113, lambda data: SLL + VLAN + KIND[data[0] >> 4] + data),
    "cooked 2": (276, sll2),
    "raw": (101, bytes),
    "loopback, little-endian": (0, lambda data: struct.pack("<I", 2 if data[0] >> 4 == 4 else 30) + data),
    "loopback, big-endian": (0, lambda data: struct.pack(">I", 2 if data[0] >> 4 == 4 else 24) + data),
    "loop of OpenBSD": (108, lambda data: struct.pack(">I", 2 if data[0] >> 4 == 4 else 24) + data),
}
ROUTER_ALERT = b"\x94\x04\0\0"  # RFC 2113, of IPv4
HOP_BY_HOP = b"\x3c\0\x05\x02\0\0\x01\0"  # RFC 8200, 4.3: next is 60, with a router alert
DESTINATION = b"\x06\0\x01\x04\0\0\0\0"  # 4.6: next is TCP


@pytest.mark.parametrize("addresses", [(MASTER, MACHINE), ("fd00::1", "fd00::11")], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("options", [False, True], ids=["plain", "options"])
@pytest.mark.parametrize("name", LINKS)
def test_links_and_versions_of_ip(tmp_path: Path, name: str, options: bool, addresses: tuple[str, str]) -> None:
    number, link = LINKS[name]
    six = ":" in addresses[0]
    between = (HOP_BY_HOP + DESTINATION if six else ROUTER_ALERT) if options else b""

    def packet(at: int, source: int, segment: bytes) -> Packet:
        ends = addresses if source == 0 else addresses[::-1]
        return START + at * MS, link(captures.ip(*ends, segment, options=between))

    stamps = b"\x01\x01\x08\x0a" + bytes(8)  # options of TCP: RFC 7323
    packets = [
        packet(0, 0, captures.tcp(40000, 502, 99, 0, SYN, options=b"\x02\x04\x05\xb4")),
        packet(1, 1, captures.tcp(502, 40000, 499, 100, SYN | ACK)),
        packet(2, 0, captures.tcp(40000, 502, 100, 500, ACK, ASK, stamps)),
        packet(3, 1, captures.tcp(502, 40000, 500, 100 + len(ASK), ACK, TOLD, stamps)),
    ]
    capture = read(tmp_path, captures.pcap(packets, link=number))
    assert events(capture.machines[0]) == [
        Event(1, Kind.OPENED),
        Event(2, Kind.SENT, ASK),
        Event(3, Kind.RECEIVED, TOLD),
    ]
    assert capture.machines[0].server == ("[fd00::11]:502" if six else "10.20.0.11:502")


def test_fragments_are_left_out_and_said(tmp_path: Path) -> None:
    packets = asked_once().packets
    fragment = captures.ethernet(
        captures.ip(MASTER, MACHINE, captures.tcp(40000, 502, 1, 1, ACK, ASK), fragment=0x2000)
    )
    six = b"\x06\0\0\x01" + bytes(4)  # RFC 8200, 4.5: more fragments follow
    sixth = bytearray(captures.ip("fd00::1", "fd00::11", captures.tcp(40000, 502, 1, 1, ACK, ASK), options=six))
    sixth[6] = 44
    packets += [(START + 200 * MS, fragment), (START + 201 * MS, captures.ethernet(bytes(sixth)))]
    capture = read(tmp_path, captures.pcap(packets))
    assert events(capture.machines[0]) == ASKED_ONCE
    assert capture.damage == ["2 packets were left out: they are fragments of IP packets, which are not put together"]


def test_links_that_are_not_known_are_said(tmp_path: Path) -> None:
    capture = read(tmp_path, captures.pcap(asked_once().packets, link=127))
    assert (capture.machines, capture.damage) == ([], ["9 packets were left out: their link type 127 is not known"])


# --- putting streams together ----------------------------------------------------------------------------------------


def test_out_of_order_retransmitted_and_overlapping(tmp_path: Path) -> None:
    """The machine's answer comes in three parts, wrongly ordered, twice, and once as a piece that overlaps both ends."""
    talk = Talk().open().ask(ASK)
    whole = TOLD + TOLD_2
    talk.wait(10).segment(1, ACK, whole[12:], shift=12)
    talk.wait(10).segment(1, ACK, b"\xee" + whole[:5], shift=-1)  # of what is old the first is believed
    talk.wait(10).segment(1, ACK, whole[3:14], shift=3)
    talk.wait(10).segment(1, ACK, whole)
    assert of(tmp_path, talk.packets)[2:] == [
        Event(22, Kind.RECEIVED, whole[:5]),
        Event(32, Kind.RECEIVED, whole[5:14]),
        Event(32, Kind.RECEIVED, whole[14:]),  # it came before, and could not be used before
    ]


@pytest.mark.parametrize("first", [(0xFFFFFFFF, 0xFFFFFFF0), (0xFFFFFFF5, 0xFFFFFFFF), (0x7FFFFFFE, 0x7FFFFFFF)])
def test_sequence_numbers_wrap(tmp_path: Path, first: tuple[int, int]) -> None:
    talk = Talk(first=first).open()
    for number in range(1, 60):
        talk.wait(1).ask(mbap(number, 7, "0300000002")).wait(1).answer(mbap(number, 7, "030441880000"))
    found = of(tmp_path, talk.packets)
    assert stream(found, Kind.SENT) == b"".join(mbap(number, 7, "0300000002") for number in range(1, 60))
    assert stream(found, Kind.RECEIVED) == b"".join(mbap(number, 7, "030441880000") for number in range(1, 60))
    assert {event.kind for event in found} == {Kind.OPENED, Kind.SENT, Kind.RECEIVED}


def test_a_packet_that_was_not_captured_is_said(tmp_path: Path) -> None:
    """The master acknowledges the answer with its next request: it had it. What comes behind has its own times."""
    talk = Talk().open().wait(8).ask(ASK).wait(10).answer(TOLD, keep=False).wait(80)
    talk.ask(ASK_2).wait(20).answer(TOLD_2)
    later = Talk(40001, at=200 * MS).open()
    for _ in range(20):
        later.wait(1000).ask(ASK)
    found = of(tmp_path, merged(talk, later))
    assert [event for event in found if event.link == 0] == [
        Event(1, Kind.OPENED),
        Event(10, Kind.SENT, ASK),
        Event(100, Kind.SENT, ASK_2),
        Event(120, Kind.LEFT_OUT, b'{"entries": 1, "bytes": 13}'),
        Event(120, Kind.RECEIVED, TOLD_2),
    ]


def test_after_a_hole_it_goes_on_with_a_whole_frame(tmp_path: Path) -> None:
    """The first half of an answer is missing: its second half is left out with it."""
    talk = Talk().open().ask(ASK).wait(10)
    talk.answer(TOLD[:6], keep=False).answer(TOLD[6:]).wait(300).ask(ASK_2).wait(20).answer(TOLD_2).wait(500).segment(
        0, ACK
    )
    found = of(tmp_path, talk.packets)
    assert [event for event in found if event.kind in (Kind.LEFT_OUT, Kind.RECEIVED)] == [
        Event(12, Kind.LEFT_OUT, b'{"entries": 1, "bytes": 13}'),
        Event(332, Kind.RECEIVED, TOLD_2),
    ]
    assert stream(found, Kind.SENT) == ASK + ASK_2


def test_what_was_lost_and_sent_again_is_whole(tmp_path: Path) -> None:
    """Nobody acknowledges what never came: it is waited for, however long TCP takes, and has the time it came."""
    talk = Talk().open().ask(ASK).wait(10)
    talk.segment(1, ACK, TOLD_2, shift=len(TOLD))
    for _ in range(30):
        talk.wait(1000).segment(0, ACK)  # duplicate acknowledgements
    talk.answer(TOLD)
    found = of(tmp_path, talk.packets)
    assert [event for event in found if event.kind == Kind.RECEIVED] == [
        Event(30012, Kind.RECEIVED, TOLD),
        Event(30012, Kind.RECEIVED, TOLD_2),
    ]
    assert not [event for event in found if event.kind == Kind.LEFT_OUT]


def test_only_one_side_was_captured(tmp_path: Path) -> None:
    """As from a mirror port that has one direction: a hole is believed after some seconds, in which order is kept."""
    talk = Talk().open()
    for number in range(20):
        talk.wait(1000).ask(mbap(number, 7, "0300000002"), keep=number != 3).wait(10).answer(TOLD)
    other = Talk(40001, at=500 * MS).open()
    for _ in range(40):
        other.wait(500).ask(ASK_2)
    ours = [packet for packet in merged(talk, other) if packet[1][14 + 12 : 14 + 16] == bytes((10, 20, 0, 1))]
    found = [event for event in of(tmp_path, ours) if event.link == 0]
    assert stream(found, Kind.SENT) == b"".join(mbap(n, 7, "0300000002") for n in range(20) if n != 3)
    assert [event.kind for event in found].count(Kind.LEFT_OUT) == 1
    times = [event.ms for event in found if event.kind == Kind.SENT]
    assert times == [2 + 1000 + 1010 * number for number in range(20) if number != 3]


def test_packets_that_were_cut_short(tmp_path: Path) -> None:
    """tcpdump -s 64: of an answer with many registers only the beginning was kept; it is not taken for whole."""
    long = mbap(1, 7, "0328" + "4188" * 20)
    talk = (
        Talk()
        .open()
        .ask(ASK)
        .wait(10)
        .answer(long)
        .wait(90)
        .ask(ASK_2)
        .wait(10)
        .answer(TOLD_2)
        .wait(500)
        .segment(0, ACK)
    )
    (machine,) = read(tmp_path, captures.pcap(talk.packets, kept=67)).machines
    found = events(machine)
    assert stream(found, Kind.SENT) == ASK + ASK_2
    assert [event for event in found if event.kind in (Kind.LEFT_OUT, Kind.RECEIVED)] == [
        Event(12, Kind.RECEIVED, long[:13]),
        Event(112, Kind.LEFT_OUT, json.dumps({"entries": 1, "bytes": len(long) - 13}).encode()),
        Event(112, Kind.RECEIVED, TOLD_2),
    ]


def test_a_stream_that_began_before_the_capture(tmp_path: Path) -> None:
    """In the middle of an answer, of which nothing is taken; and with a keep-alive, which repeats an old byte."""
    talk = Talk().open()
    talk.packets.clear()
    talk.segment(1, ACK, TOLD[5:]).wait(50).ask(ASK_2).wait(10).answer(TOLD_2).wait(5)
    talk.segment(0, ACK, b"\0", shift=-1).wait(5).segment(1, ACK)
    (machine,) = read(tmp_path, captures.pcap(talk.packets)).machines
    assert machine.head.started == START + 2 * MS  # the first packet that is there
    assert events(machine) == [
        Event(0, Kind.OPENED),
        Event(0, Kind.LEFT_OUT, b'{"entries": 1, "bytes": 8}'),
        Event(50, Kind.SENT, ASK_2),
        Event(60, Kind.RECEIVED, TOLD_2),
    ]


def test_what_is_known_too_late_has_the_time_of_what_came_before_it(tmp_path: Path) -> None:
    """A piece behind a hole that nobody acknowledged, until the capture ends; meanwhile another master asks."""
    talk = Talk().open().ask(ASK).wait(10).segment(1, ACK, TOLD_2, shift=len(TOLD)).wait(1).segment(0, ACK)
    other = Talk(40001, at=20 * MS).open()
    for _ in range(30):
        other.wait(1000).ask(ASK)
    (machine,) = read(tmp_path, captures.pcap(merged(talk, other))).machines
    found = events(machine)
    times = [event.ms for event in found]
    assert times == sorted(times)
    assert [event for event in found if event.kind == Kind.RECEIVED] == [
        Event(max(event.ms for event in found if event.ms < 30_022 - 5000 + 1), Kind.RECEIVED, TOLD_2)
    ]


def test_behind_a_hole_only_so_much_is_kept() -> None:
    """64 segments, or 16 KiB, though its receiver has acknowledged nothing."""
    for size, most in ((1, 64), (1000, 16)):
        direction = Direction(1)
        direction.acknowledge(1)
        for number in range(most):
            direction.take(0, 2 + number * size, bytes(size), False)
            assert direction.ready(0) == []
        direction.take(0, 2 + most * size, bytes(size), False)
        pieces = direction.ready(0)
        assert [piece.missing for piece in pieces] == [1] + [0] * most


# --- how links begin and end -----------------------------------------------------------------------------------------


def test_the_machine_closes(tmp_path: Path) -> None:
    found = of(tmp_path, Talk().open().ask(ASK).wait(5).answer(TOLD).wait(100).close(first=1).packets)
    assert found[-1] == Event(107, Kind.CLOSED, b"the machine closed the connection")


@pytest.mark.parametrize(("side", "why"), [(0, b""), (1, b"the machine reset the connection")])
def test_a_reset(tmp_path: Path, side: int, why: bytes) -> None:
    found = of(tmp_path, Talk().open().ask(ASK).wait(5).segment(side, RST | ACK).packets)
    assert found[-1] == Event(7, Kind.CLOSED, why)


def test_answers_after_the_master_has_ended_its_half(tmp_path: Path) -> None:
    talk = Talk().open().ask(ASK).wait(5).segment(0, FIN | ACK).wait(20).answer(TOLD).wait(5).segment(1, FIN | ACK)
    assert of(tmp_path, talk.packets)[2:] == [Event(27, Kind.RECEIVED, TOLD), Event(32, Kind.CLOSED)]


def test_a_half_that_the_machine_never_ends(tmp_path: Path) -> None:
    talk = Talk().open().ask(ASK).wait(5).answer(TOLD).wait(5).segment(0, FIN | ACK).wait(9000)
    other = Talk(40001, at=talk.at).open().wait(9000).segment(0, ACK)
    assert of(tmp_path, merged(talk, other)) == [
        Event(1, Kind.OPENED),
        Event(2, Kind.SENT, ASK),
        Event(7, Kind.RECEIVED, TOLD),
        Event(12, Kind.CLOSED),
        Event(9013, Kind.OPENED, link=1),
    ]


def test_a_machine_that_refuses_and_one_that_is_silent(tmp_path: Path) -> None:
    """The SYN that nobody answers is sent again after 1 and 3 s; its master knocks from another port meanwhile."""
    refused = Talk(40000).segment(0, SYN).wait(1).segment(1, RST | ACK)
    silent = (
        Talk(40001, at=100 * MS)
        .segment(0, SYN)
        .wait(1000)
        .segment(0, SYN, shift=-1)
        .wait(2000)
        .segment(0, SYN, shift=-1)
    )
    late = Talk(40002, at=9000 * MS).open().ask(ASK).wait(5).answer(TOLD)
    assert of(tmp_path, merged(refused, silent, late)) == [
        Event(1, Kind.FAILED, b"the machine refused the connection"),
        Event(100, Kind.FAILED, b"no answer for 4 s", link=1),
        Event(9001, Kind.OPENED, link=2),
        Event(9002, Kind.SENT, ASK, link=2),
        Event(9007, Kind.RECEIVED, TOLD, link=2),
    ]


def test_a_machine_that_was_never_reached_is_found_if_there_is_no_other(tmp_path: Path) -> None:
    silent = Talk().segment(0, SYN)
    capture = read(tmp_path, captures.pcap(silent.packets))
    assert [events(machine) for machine in capture.machines] == [[Event(0, Kind.FAILED, b"no answer")]]
    other = Talk(machine="10.20.0.12").open().ask(ASK).answer(TOLD)
    both = read(tmp_path, captures.pcap(silent.packets + other.packets))
    assert [machine.server for machine in both.machines] == ["10.20.0.12:502"]


def test_a_port_that_is_used_again(tmp_path: Path) -> None:
    first = Talk().open().ask(ASK).answer(TOLD)
    again = Talk(at=20 * MS, first=(77, 88)).open().ask(ASK_2).answer(TOLD_2)
    assert of(tmp_path, merged(first, again)) == [
        Event(1, Kind.OPENED),
        Event(2, Kind.SENT, ASK),
        Event(2, Kind.RECEIVED, TOLD),
        Event(20, Kind.CLOSED),
        Event(21, Kind.OPENED, link=1),
        Event(22, Kind.SENT, ASK_2, link=1),
        Event(22, Kind.RECEIVED, TOLD_2, link=1),
    ]


def test_every_packet_twice(tmp_path: Path) -> None:
    """As `tcpdump -i any` has them on a router or bridge."""
    packets = [packet for packet in asked_once().packets for _ in range(2)]
    assert of(tmp_path, packets) == ASKED_ONCE


# --- which machines --------------------------------------------------------------------------------------------------


def plant() -> list[Packet]:
    """Two machines at 502 (one with two masters), one at 1502, and something at 502 and 4840 that speaks otherwise."""
    web = (
        Talk(41000, 502, machine="10.20.0.99").open().ask(b"GET / HTTP/1.1\r\n\r\n").answer(b"HTTP/1.1 200 OK\r\n\r\n")
    )
    opc = Talk(41001, 4840, machine="10.20.0.31").open().ask(b"HELF\x20\0\0\0").answer(b"ACKF\x1c\0\0\0")
    one = Talk(40000).open().ask(ASK).answer(TOLD)
    two = Talk(40001, master="10.20.0.2", at=5 * MS).open().ask(ASK_2).answer(TOLD_2)
    three = Talk(40002, machine="10.20.0.12", at=6 * MS).open().ask(ASK).answer(TOLD)
    four = Talk(40003, 1502, machine="10.20.0.13", at=7 * MS).open().ask(ASK).answer(TOLD)
    return merged(web, opc, one, two, three, four)


@pytest.mark.parametrize(
    ("ports", "servers", "others"),
    [
        ((502,), ["10.20.0.11:502", "10.20.0.12:502"], {"10.20.0.99:502", "10.20.0.31:4840", "10.20.0.13:1502"}),
        ((502, 1502), ["10.20.0.11:502", "10.20.0.12:502", "10.20.0.13:1502"], {"10.20.0.99:502", "10.20.0.31:4840"}),
        (None, ["10.20.0.11:502", "10.20.0.12:502", "10.20.0.13:1502"], {"10.20.0.99:502", "10.20.0.31:4840"}),
        ((5020,), [], {"10.20.0.99:502", "10.20.0.31:4840", "10.20.0.11:502", "10.20.0.12:502", "10.20.0.13:1502"}),
    ],
)
def test_which_machines_there_are(
    tmp_path: Path, ports: tuple[int, ...] | None, servers: list[str], others: set[str]
) -> None:
    capture = read(tmp_path, captures.pcap(plant()), ports=ports)
    assert [machine.server for machine in capture.machines] == servers
    assert set(capture.others) == others
    if servers:
        first = events(capture.machines[0])
        assert [(event.ms, event.link) for event in first if event.kind == Kind.OPENED] == [(1, 0), (6, 1)]


@pytest.mark.parametrize("begin", [0, 3], ids=["with the SYN", "without"])
def test_who_is_the_machine_is_seen_by_what_they_say(tmp_path: Path, begin: int) -> None:
    """Its port is the higher one, and nobody tells it."""
    talk = Talk(1025, 60000).open().ask(ASK).answer(TOLD)
    (machine,) = read(tmp_path, captures.pcap(talk.packets[begin:]), ports=None).machines
    assert machine.server == "10.20.0.11:60000"


def test_what_only_looks_like_modbus_now_and_then_is_none(tmp_path: Path) -> None:
    talk = Talk(40000, 9000).open().ask(ASK).answer(b"something else").ask(b"and more").answer(b"of it")
    capture = read(tmp_path, captures.pcap(talk.packets), ports=None)
    assert (capture.machines, capture.others) == ([], ["10.20.0.11:9000"])


# Modbus over Serial Line V1.02, 6.2.2 has the CRC of 02 07 as 41 12: it stands behind them as 41 12.
RTU_ASK = bytes.fromhex("02 07 41 12")
# MODBUS over serial line, common example: read 10 registers of unit 1, CRC C5 CD low byte first.
RTU_READ = bytes.fromhex("01 03 00 00 00 0A C5 CD")


def test_rtu_over_tcp(tmp_path: Path) -> None:
    """With a hole: what follows it begins with a frame whose CRC fits."""
    talk = Talk(port=4001).open().ask(RTU_READ).wait(10).answer(b"\x01\x83\x02\xc0\xf1").wait(10)
    talk.ask(RTU_READ, keep=False).wait(10).answer(b"\x01\x83\x02\xc0\xf1").wait(10)
    talk.ask(RTU_ASK[2:]).wait(300).answer(b"\x01\x83\x02\xc0\xf1").wait(10).ask(RTU_READ).wait(300).segment(1, ACK)
    found = of(tmp_path, talk.packets, ports=(4001,), protocol="modbus-rtu-over-tcp")
    assert [event for event in found if event.kind in (Kind.SENT, Kind.LEFT_OUT)] == [
        Event(2, Kind.SENT, RTU_READ),
        Event(42, Kind.LEFT_OUT, b'{"entries": 1, "bytes": 10}'),
        Event(352, Kind.SENT, RTU_READ),
    ]
    clean = captures.pcap(talk.packets[:5])
    (machine,) = read(tmp_path, clean, ports=None, protocol="modbus-rtu-over-tcp").machines
    assert (machine.server, machine.head.protocol) == ("10.20.0.11:4001", "modbus-rtu-over-tcp")


def test_ascii_over_tcp(tmp_path: Path) -> None:
    """Frames of V1.02, 2.5.2: LRC of 01 03 00 00 00 0A is -(0x0E) = F2."""
    asked, told = b":01030000000AF2\r\n", b":0183027A\r\n"
    talk = Talk(port=4001).open().ask(asked).wait(10).answer(told)
    found = of(tmp_path, talk.packets, ports=None, protocol="modbus-ascii")
    assert (stream(found, Kind.SENT), stream(found, Kind.RECEIVED)) == (asked, told)


def test_udp(tmp_path: Path) -> None:
    """Each client is a link; a datagram that was cut short is left out."""
    long = mbap(3, 7, "0328" + "4188" * 20)
    said = [
        (40000, True, ASK),
        (40000, False, TOLD),
        (40001, True, ASK_2),
        (40001, False, TOLD_2),
        (40000, False, long),
    ]
    packets = []
    for number, (client, asks, data) in enumerate(said):
        ends, ports = ((MASTER, MACHINE), (client, 502)) if asks else ((MACHINE, MASTER), (502, client))
        packets.append((START + number * MS, captures.ethernet(captures.ip(*ends, captures.udp(*ports, data), 17))))
    (machine,) = read(tmp_path, captures.pcap(packets, kept=64), protocol="modbus-udp").machines
    assert events(machine) == [
        Event(0, Kind.OPENED),
        Event(0, Kind.SENT, ASK),
        Event(1, Kind.RECEIVED, TOLD),
        Event(2, Kind.OPENED, link=1),
        Event(2, Kind.SENT, ASK_2, 1),
        Event(3, Kind.RECEIVED, TOLD_2, 1),
        Event(4, Kind.LEFT_OUT, json.dumps({"entries": 1, "bytes": len(long)}).encode()),
    ]


# --- anything at all -------------------------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 2**32), first=st.integers(0, 2**32 - 1), polls=st.integers(1, 12))
def test_whatever_order_and_however_often_it_is_the_same_stream(
    tmp_path_factory: pytest.TempPathFactory, seed: int, first: int, polls: int
) -> None:
    """Each answer in parts that overlap, come twice and in any order, before the master acknowledges."""
    chance = random.Random(seed)
    talk = Talk(first=(first, first ^ 0xFFFFFFFF)).open()
    asked, told = b"", b""
    for number in range(polls):
        ask, answer = mbap(number, 7, "0300000014"), mbap(number, 7, "0328" + chance.randbytes(40).hex())
        talk.wait(10).ask(ask)
        places = [0, *sorted(chance.sample(range(1, len(answer)), chance.randrange(5))), len(answer)]
        parts = [
            (max(0, begin - chance.randrange(4)), min(len(answer), end + chance.randrange(4)))
            for begin, end in itertools.pairwise(places)
        ]
        parts += chance.sample(parts, chance.randrange(len(parts) + 1))
        chance.shuffle(parts)
        begins = talk.numbers[1]
        for begin, end in parts:
            talk.wait(1)
            talk.numbers[1] = begins + begin
            talk.segment(1, ACK, answer[begin:end])
        talk.numbers[1] = begins + len(answer)
        asked, told = asked + ask, told + answer
    found = of(tmp_path_factory.mktemp("any"), talk.packets)
    assert (stream(found, Kind.SENT), stream(found, Kind.RECEIVED)) == (asked, told)
    assert not [event for event in found if event.kind == Kind.LEFT_OUT]


WHOLE = (
    captures.pcap(plant()),
    captures.pcap(plant(), ">", nano=True),
    captures.pcapng(plant(), resolution=9),
    captures.pcapng(plant(), ">"),
)


def _survives(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("hostile") / "any.pcap"
    path.write_bytes(data)
    for ports, protocol in (((502,), "modbus-tcp"), (None, "modbus-rtu-over-tcp"), (None, "modbus-udp")):
        try:
            capture = read_pcap(path, ports, protocol)
        except RecordingError as exc:
            assert "byte " in str(exc)
            continue
        for machine in capture.machines:
            before = 0
            for entry in machine:
                assert before <= entry.at
                before = entry.at


@settings(max_examples=150, deadline=None)
@given(data=st.binary(max_size=400), magic=st.sampled_from([whole[:24] for whole in WHOLE] + [b""]))
def test_random_bytes(tmp_path_factory: pytest.TempPathFactory, data: bytes, magic: bytes) -> None:
    _survives(tmp_path_factory, magic + data)


@settings(max_examples=200, deadline=None)
@given(which=st.sampled_from(WHOLE), seed=st.integers(0, 2**32))
def test_mutated_captures(tmp_path_factory: pytest.TempPathFactory, which: bytes, seed: int) -> None:
    """Bytes changed, cut out and put in."""
    chance, data = random.Random(seed), bytearray(which)
    for _ in range(chance.randrange(1, 30)):
        at = chance.randrange(len(data))
        match chance.randrange(4):
            case 0:
                data[at] = chance.randrange(256)
            case 1:
                del data[at : at + chance.randrange(1, 5)]
            case 2:
                data[at:at] = chance.randbytes(chance.randrange(1, 5))
            case 3:
                data[at : at + 2] = b"\xff\xff"
    _survives(tmp_path_factory, bytes(data))


def test_memory_stays_small_whatever_there_is(tmp_path: Path) -> None:
    """20,000 masters that each leave a hole, and 20,000 that are never answered: far less than the capture itself."""
    packets: list[Packet] = []
    for number in range(20_000):
        talk = Talk(
            1024 + number % 60_000, master=f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", at=number * 10_000
        )
        packets += talk.segment(0, SYN).packets
        talk.packets.clear()
        packets += talk.segment(0, ACK, ASK + bytes(900), shift=500).packets
    path = written(tmp_path, captures.pcap(packets))
    packets.clear()
    assert path.stat().st_size > 20_000_000
    (machine,) = read_pcap(path).machines
    tracemalloc.start()
    count = sum(1 for _ in machine)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count > 20_000
    assert most < 16 << 20


# --- real material ---------------------------------------------------------------------------------------------------


@pytest.mark.shared
@pytest.mark.parametrize("name", ["plant_plcs", "flow_gateway", "function_code_sweep_part1", "coil_writer_small"])
def test_recorded_conversations_written_as_a_capture(tmp_path: Path, name: str) -> None:
    """Each line a request and its answer, each connection a TCP connection: read back they are what the lines say."""
    lines = [json.loads(line) for line in (SHARED / f"traces/modbus/{name}.jsonl").read_text().splitlines()]
    said: list[tuple[int, int, Kind, bytes]] = []
    for line in lines:
        at = round(line["t"] * 1e9) + 10 * MS
        said.append((at, line["conn"], Kind.SENT, mbap(line["tid"], line["unit"], line["req"])))
        if line["resp"] is not None:
            answered = at + round(line["rtt_ms"] * 1e6)
            said.append((answered, line["conn"], Kind.RECEIVED, mbap(line["tid"], line["unit"], line["resp"])))
    said.sort(key=lambda each: each[0])
    servers = {line["conn"]: line["server"] for line in lines}
    talks: dict[int, Talk] = {}
    for at, conn, kind, data in said:
        if conn not in talks:
            talks[conn] = Talk(40000 + conn, machine=f"10.20.1.{servers[conn]}", at=at - 3 * MS).open()
        talks[conn].at = at
        talks[conn].ask(data) if kind == Kind.SENT else talks[conn].answer(data)
    capture = read(tmp_path, captures.pcapng(merged(*talks.values()), resolution=9))
    assert len(capture.machines) == len(set(servers.values()))
    begin = merged(*talks.values())[0][0]
    for machine in capture.machines:
        number = int(machine.server.removesuffix(":502").rsplit(".", 1)[1])
        expected = [(at + START - begin, kind, data) for at, conn, kind, data in said if servers[conn] == number]
        found = [(entry.at, entry.kind, entry.data) for entry in machine if entry.kind in (Kind.SENT, Kind.RECEIVED)]
        assert found == expected
        assert len({entry.link for entry in machine}) == len({c for c, server in servers.items() if server == number})


# --- what tcpdump captures -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("resolution", ["micro", "nano"])
def test_what_tcpdump_captures_of_mbpoll_and_libmodbus(resolution: str) -> None:
    """mbpoll connects, asks once for 3 holding registers of unit 1 and disconnects, twice; the frames are the standard's."""
    with (
        Libmodbus({(1, "holding", 10): [0x4188, 0, 0xFFFF]}) as server,
        Tcpdump(server.port, f"--time-stamp-precision={resolution}") as tcpdump,
    ):
        for _ in range(2):
            assert mbpoll(server.port, "holding", 10, 3) == {10: 0x4188, 11: 0, 12: 0xFFFF}

        def found() -> list[Entry]:
            return list(read_pcap(tcpdump.path, (server.port,)).machines[0])

        wait_until(
            lambda: [entry.kind for entry in found()].count(Kind.CLOSED) == 2, what="both connections in the capture"
        )
        entries = found()
    for link in (0, 1):
        ours = [entry for entry in entries if entry.link == link]
        assert [entry.kind for entry in ours] == [Kind.OPENED, Kind.SENT, Kind.RECEIVED, Kind.CLOSED]
        asked, told = ours[1].data, ours[2].data
        assert asked == asked[:2] + bytes.fromhex("0000 0006 01 03 000A 0003")
        assert told == asked[:2] + bytes.fromhex("0000 0009 01 03 06 4188 0000 FFFF")
        assert ours[3].data == b""
        assert 0 <= ours[0].at < ours[2].at < ours[3].at < 30_000 * MS


def test_what_tcpdump_captures_of_a_large_exchange() -> None:
    """Frames glued and cut as the sockets like, both ways at once, then a reset: each side's own log is what was captured."""
    chance = random.Random(7)
    frames = [
        [mbap(n & 0xFFFF, side, chance.randbytes(chance.randrange(2, 250)).hex()) for n in range(400)]
        for side in (1, 2)
    ]
    logs = [b"".join(each) for each in frames]
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        Tcpdump(listener.getsockname()[1], "-B", "8192") as tcpdump,
    ):
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as master, listener.accept()[0] as machine:
            master.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with ThreadPoolExecutor(4) as pool:
                sending = [pool.submit(_send, end, log) for end, log in zip((master, machine), logs, strict=True)]
                taking = [pool.submit(_take, end, len(log)) for end, log in zip((machine, master), logs, strict=True)]
                for each in sending:
                    each.result(30)
                assert [each.result(30) for each in taking] == logs
            machine.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        with suppress(ConnectionError):
            master.close()

        def found() -> list[Entry]:
            return list(read_pcap(tcpdump.path, (port,)).machines[0])

        wait_until(lambda: found()[-1].kind == Kind.CLOSED, what="the end in the capture")
        entries = found()
    for kind, log in ((Kind.SENT, logs[0]), (Kind.RECEIVED, logs[1])):
        assert b"".join(entry.data for entry in entries if entry.kind == kind) == log
    assert [entry.kind for entry in entries if entry.kind not in (Kind.SENT, Kind.RECEIVED)] == [
        Kind.OPENED,
        Kind.CLOSED,
    ]
    assert entries[-1].data == b"the machine reset the connection"


def _send(end: socket.socket, log: bytes) -> None:
    chance, at = random.Random(len(log)), 0
    while at < len(log):
        size = chance.randrange(1, 700)
        end.sendall(log[at : at + size])
        at += size


def _take(end: socket.socket, size: int) -> bytes:
    taken = b""
    while len(taken) < size and (data := end.recv(4096)):
        taken += data
    return taken
