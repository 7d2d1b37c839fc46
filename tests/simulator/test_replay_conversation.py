"""What stood on the wire, taken apart into requests and what came of them.

The frames are built here from the standards; checksums of RTU frames by pymodbus.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymodbus.framer import FramerRTU

from gateway.recording import Entry, Kind
from simulators.modbus.framing import RTU, Frame
from simulators.modbus.replay import conversation as conversation_module
from simulators.modbus.replay import search
from simulators.modbus.replay.conversation import FRAMINGS, Away, Came, Cut, End, Exchange, conversation, fits

MS = 1_000_000
READ = bytes.fromhex("03 006b 0003")  # MODBUS Application Protocol V1.1b3, 6.3: its example
ANSWER = bytes.fromhex("03 06 022b 0000 0064")
OTHER = bytes.fromhex("03 06 022c 0001 0065")
READ_4 = bytes.fromhex("04 0008 0001")  # 6.4
ANSWER_4 = bytes.fromhex("04 02 000a")
WRITE = bytes.fromhex("06 0001 0003")  # 6.6: the answer is an echo
REFUSED = bytes.fromhex("83 02")


def mbap(transaction: int, pdu: bytes, unit: int = 17) -> bytes:
    """Messaging on TCP/IP V1.0b, 3.1.3."""
    return transaction.to_bytes(2, "big") + b"\0\0" + (len(pdu) + 1).to_bytes(2, "big") + bytes((unit,)) + pdu


def rtu(pdu: bytes, unit: int = 17) -> bytes:
    body = bytes((unit,)) + pdu
    return body + FramerRTU.compute_CRC(body).to_bytes(2, "big")


def ascii_(pdu: bytes, unit: int = 17) -> bytes:
    """over Serial Line V1.02, 2.5.2: the LRC makes the sum of all bytes 0."""
    body = bytes((unit,)) + pdu
    return b":" + (body + bytes((-sum(body) & 0xFF,))).hex().upper().encode() + b"\r\n"


def test_the_frames_of_this_file_are_those_that_are_printed_everywhere() -> None:
    assert rtu(READ) == bytes.fromhex("11 03 00 6b 00 03 76 87")
    assert ascii_(READ) == b":1103006B00037E\r\n"


def entries(*lines: tuple[Any, ...]) -> list[Entry]:
    """(ms, kind, data) or (ms, kind, data, link)."""
    return [Entry(ms * MS, kind, link[0] if link else 0, 0, data) for ms, kind, data, *link in lines]


S, R, O, F, C, L = Kind.SENT, Kind.RECEIVED, Kind.OPENED, Kind.FAILED, Kind.CLOSED, Kind.LEFT_OUT  # noqa: E741


def told(lines: Iterable[Entry], protocol: str, **how: bool) -> list[tuple[float, bytes, list[tuple[float, str]]]]:
    """The exchanges in order: when (ms), what, and what came: after how many ms, the PDU or `raw …` in hex."""
    found = [each for each in conversation(lines, protocol, **how) if isinstance(each, Exchange)]
    return [
        (
            each.at / MS,
            each.request,
            [(came.delay / MS, came.pdu.hex() or "raw " + came.raw.hex()) for came in each.came],
        )
        for each in sorted(found, key=lambda each: each.at)
    ]


# --- every framing -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("protocol", "frame"),
    [
        ("modbus-tcp", lambda pdu: mbap(7, pdu)),
        ("modbus-tls", lambda pdu: mbap(7, pdu)),
        ("modbus-udp", lambda pdu: mbap(7, pdu)),
        ("modbus-rtu", rtu),
        ("modbus-rtu-over-tcp", rtu),
        ("modbus-ascii", ascii_),
    ],
)
@pytest.mark.parametrize("answer", [ANSWER, REFUSED])
def test_a_request_and_its_answer(protocol: str, frame: Any, answer: bytes) -> None:
    lines = entries((0, O, b""), (10, S, frame(READ)), (22, R, frame(answer)), (30, S, frame(READ)), (2000, C, b"", 1))
    assert told(lines, protocol) == [(10, READ, [(12, answer.hex())]), (30, READ, [])]


@pytest.mark.parametrize(
    ("protocol", "frame"), [("modbus-tcp", lambda pdu: mbap(7, pdu)), ("modbus-rtu", rtu), ("modbus-ascii", ascii_)]
)
def test_byte_by_byte(protocol: str, frame: Any) -> None:
    """The time of a frame is that of its last byte."""
    request, answer = frame(READ), frame(ANSWER)
    lines = entries(*[(i, S, request[i : i + 1]) for i in range(len(request))])
    lines += entries(*[(100 + i, R, answer[i : i + 1]) for i in range(len(answer))], (2000, L, b"{}", 5))
    last = len(request) - 1
    assert told(lines, protocol) == [(last, READ, [(100 + len(answer) - 1 - last, ANSWER.hex())])]


@pytest.mark.parametrize(
    ("request_pdu", "answer"),
    [  # MODBUS Application Protocol V1.1b3: the examples of the chapters
        ("01 0013 0013", "01 03 cd6b05"),
        ("02 00c4 0016", "02 03 acdb35"),
        ("05 00ac ff00", "05 00ac ff00"),
        ("06 0001 0003", "06 0001 0003"),
        ("07", "07 6d"),
        ("08 0000 a537", "08 0000 a537"),
        ("0b", "0b ffff 0108"),
        ("0c", "0c 08 0000 0108 0121 2000"),
        ("0f 0013 000a 02 cd01", "0f 0013 000a"),
        ("10 0001 0002 04 000a 0102", "10 0001 0002"),
        ("11", "11 02 2aff"),
        ("16 0004 00f2 0025", "16 0004 00f2 0025"),
        ("17 0003 0006 000e 0003 06 00ff 00ff 00ff", "17 0c 00fe 0acd 0001 0003 000d 00ff"),
        ("2b 0e 01 00", "2b 0e 01 01 00 00 01 00 03 41 42 43"),
    ],
)
def test_every_function_on_a_serial_line(request_pdu: str, answer: str) -> None:
    asked, said = bytes.fromhex(request_pdu), bytes.fromhex(answer)
    lines = entries((0, S, rtu(asked)), (5, R, rtu(said)), (10, S, rtu(READ)), (2000, R, b""))
    assert told(lines, "modbus-rtu")[0] == (0, asked, [(5, said.hex())])


# --- what goes wrong, with transaction ids -------------------------------------------------------------------------------


MBAP_CASES: dict[str, tuple[list[tuple[Any, ...]], list[Any]]] = {
    "three on their way, answered backwards": (
        [(0, S, mbap(1, READ) + mbap(2, READ_4)), (1, S, mbap(3, READ, 18)),
         (10, R, mbap(3, OTHER, 18)), (20, R, mbap(2, ANSWER_4) + mbap(1, ANSWER))],
        [(0, READ, [(20, ANSWER.hex())]), (0, READ_4, [(20, ANSWER_4.hex())]), (1, READ, [(9, OTHER.hex())])],
    ),
    "late: after the next request": (
        [(0, S, mbap(1, READ)), (1000, S, mbap(2, READ)), (1010, R, mbap(2, OTHER)), (1500, R, mbap(1, ANSWER))],
        [(0, READ, [(1500, ANSWER.hex())]), (1000, READ, [(10, OTHER.hex())])],
    ),
    "twice": (
        [(0, S, mbap(1, READ)), (5, R, mbap(1, ANSWER)), (9, R, mbap(1, ANSWER))],
        [(0, READ, [(5, ANSWER.hex()), (9, "raw " + mbap(1, ANSWER).hex())])],
    ),
    "twice, the second time after the next request": (
        [(0, S, mbap(1, READ)), (5, R, mbap(1, ANSWER)), (10, S, mbap(2, READ_4)), (11, R, mbap(1, ANSWER)), (13, R, mbap(2, ANSWER_4))],
        [(0, READ, [(5, ANSWER.hex())]), (10, READ_4, [(1, "raw " + mbap(1, ANSWER).hex()), (3, ANSWER_4.hex())])],
    ),
    "an id used twice at a time": (
        [(0, S, mbap(1, READ)), (1, S, mbap(1, READ_4)), (5, R, mbap(1, ANSWER_4)), (9, R, mbap(1, ANSWER))],
        [(0, READ, [(9, ANSWER.hex())]), (1, READ_4, [(4, ANSWER_4.hex())])],
    ),
    "always the same id, and one answer missing": (
        [(0, S, mbap(0, READ)), (1500, S, mbap(0, READ)), (1510, R, mbap(0, ANSWER))],
        [(0, READ, []), (1500, READ, [(10, ANSWER.hex())])],
    ),
    "an id of the device's own": (
        [(0, S, mbap(9, READ)), (5, R, mbap(0, ANSWER))],
        [(0, READ, [(5, ANSWER.hex())])],
    ),
    "another unit, another table, too short: no answers": (
        [(0, S, mbap(1, READ)), (1, R, mbap(1, ANSWER, 18)), (2, R, mbap(1, ANSWER_4)), (3, R, mbap(1, ANSWER[:-2]))],
        [(0, READ, [(i + 1, "raw " + raw.hex()) for i, raw in
                    enumerate((mbap(1, ANSWER, 18), mbap(1, ANSWER_4), mbap(1, ANSWER[:-2])))])],
    ),
    "no frame at all": (
        [(0, S, mbap(1, READ)), (5, R, b"\xff" * 20), (9, R, mbap(1, ANSWER))],
        [(0, READ, [(5, "raw " + "ff" * 20), (9, ANSWER.hex())])],
    ),
    "cut off, and then the answer to another one": (
        [(0, S, mbap(1, READ)), (5, R, mbap(1, ANSWER)[:10]), (900, S, mbap(2, READ)), (910, R, mbap(2, OTHER))],
        [(0, READ, [(5, "raw " + mbap(1, ANSWER)[:10].hex())]), (900, READ, [(10, OTHER.hex())])],
    ),
    "nothing was asked": ([(0, R, mbap(1, ANSWER)), (1, S, b"\xff" * 9), (2, S, mbap(1, READ)), (3, R, mbap(1, ANSWER))],
                          [(2, READ, [(1, ANSWER.hex())])]),
}  # fmt: skip


@pytest.mark.parametrize("case", MBAP_CASES)
def test_over_tcp(case: str) -> None:
    lines, expected = MBAP_CASES[case]
    assert told(entries(*lines, (5000, O, b"", 9)), "modbus-tcp") == expected


def test_the_id_of_the_device_is_kept_as_it_stood() -> None:
    (found, *_) = conversation(entries((0, S, mbap(9, READ)), (5, R, mbap(0, ANSWER))), "modbus-tcp")
    assert isinstance(found, Exchange)
    assert found.came == (Came(5 * MS, ANSWER, mbap(0, ANSWER)),)
    assert found.transaction == 9


def test_two_clients_with_the_same_ids() -> None:
    lines = entries(
        (0, S, mbap(1, READ), 0), (1, S, mbap(1, READ), 1), (5, R, mbap(1, OTHER), 1), (9, R, mbap(1, ANSWER), 0)
    )
    assert told(lines, "modbus-tcp") == [(0, READ, [(9, ANSWER.hex())]), (1, READ, [(4, OTHER.hex())])]


# --- and without them ----------------------------------------------------------------------------------------------------


CORRUPTED = rtu(ANSWER)[:-3] + b"\x65" + rtu(ANSWER)[-2:]
RTU_CASES: dict[str, tuple[list[tuple[Any, ...]], list[Any]]] = {
    "a late answer of another shape": (
        [(0, S, rtu(READ)), (1000, S, rtu(READ_4)), (1010, R, rtu(ANSWER)), (1020, R, rtu(ANSWER_4))],
        [(0, READ, []), (1000, READ_4, [(10, "raw " + rtu(ANSWER).hex()), (20, ANSWER_4.hex())])],
    ),
    "a checksum that is wrong": (
        [(0, S, rtu(READ)), (10, R, CORRUPTED), (1000, S, rtu(READ)), (1010, R, rtu(ANSWER))],
        [(0, READ, [(10, "raw " + CORRUPTED.hex())]), (1000, READ, [(10, ANSWER.hex())])],
    ),
    "noise before and behind": (
        [(0, S, rtu(READ)), (10, R, b"\x00\xff" + rtu(ANSWER) + b"\x00")],
        [(0, READ, [(10, "raw 00ff"), (10, ANSWER.hex()), (10, "raw 00")])],
    ),
    "twice": (
        [(0, S, rtu(READ)), (10, R, rtu(ANSWER)), (12, R, rtu(ANSWER)), (100, S, rtu(READ))],
        [(0, READ, [(10, ANSWER.hex()), (12, "raw " + rtu(ANSWER).hex())]), (100, READ, [])],
    ),
    "another unit": (
        [(0, S, rtu(READ)), (10, R, rtu(ANSWER, 18)), (100, S, rtu(READ, 18)), (110, R, rtu(ANSWER, 18))],
        [(0, READ, [(10, "raw " + rtu(ANSWER, 18).hex())]), (100, READ, [(10, ANSWER.hex())])],
    ),
    "an echo of each": (
        [(0, S, rtu(READ)), (2, R, rtu(READ)[:5]), (3, R, rtu(READ)[5:] + rtu(ANSWER)),
         (100, S, rtu(WRITE)), (102, R, rtu(WRITE)), (105, R, rtu(WRITE))],
        [(0, READ, [(3, ANSWER.hex())]), (100, WRITE, [(5, WRITE.hex())])],
    ),
    "an echo and no answer": ([(0, S, rtu(READ)), (2, R, rtu(READ)), (1000, S, rtu(READ))], [(0, READ, []), (1000, READ, [])]),
    "a write, which looks like its echo": ([(0, S, rtu(WRITE)), (5, R, rtu(WRITE))], [(0, WRITE, [(5, WRITE.hex())])]),
}  # fmt: skip


@pytest.mark.parametrize("case", RTU_CASES)
def test_on_a_serial_line(case: str) -> None:
    lines, expected = RTU_CASES[case]
    assert told(entries(*lines, (9000, O, b"", 9)), "modbus-rtu") == expected


def test_a_line_that_is_known_to_echo() -> None:
    lines = entries((0, S, rtu(WRITE)), (2, R, rtu(WRITE)), (5, R, rtu(WRITE)))
    assert told(lines, "modbus-rtu", echo=True) == [(0, WRITE, [(5, WRITE.hex())])]


def test_ascii_with_digits_in_lower_case_and_noise() -> None:
    lines = entries((0, S, ascii_(READ)), (4, R, b"x:11\r\n"), (5, R, ascii_(ANSWER).lower()), (99, O, b"", 9))
    assert told(lines, "modbus-ascii") == [(0, READ, [(4, "raw " + b"x:11\r\n".hex()), (5, ANSWER.hex())])]


# --- where bytes are missing, and links come and go ------------------------------------------------------------------------


def test_what_was_left_out_is_no_silence() -> None:
    left_out = (5, L, b'{"entries": 1, "bytes": 15}')
    numbered = entries((0, S, mbap(1, READ)), left_out, (1000, S, mbap(2, READ)), (1005, R, mbap(2, ANSWER)))
    in_turn = entries(
        (0, S, rtu(READ)), left_out, (8, R, rtu(ANSWER)[4:]), (1000, S, rtu(READ)), (1005, R, rtu(ANSWER))
    )
    assert told(numbered, "modbus-tcp") == told(in_turn, "modbus-rtu") == [(1000, READ, [(5, ANSWER.hex())])]


def test_what_is_left_out_on_one_link_does_not_concern_the_others() -> None:
    lines = entries((0, S, mbap(1, READ), 1), (1, S, mbap(1, READ), 2), (2, L, b"{}", 2), (9, R, mbap(1, ANSWER), 1))
    assert told(lines, "modbus-tcp") == [(0, READ, [(9, ANSWER.hex())])]


def test_who_asked_last_of_all_was_not_left_in_silence() -> None:
    """A recording ends anywhere, also between a request and its answer."""
    asked = entries((0, O, b""), (1, S, mbap(1, READ)))
    assert told(asked, "modbus-tcp") == []
    assert told(entries((1, S, mbap(1, READ)), (2, C, b"")), "modbus-tcp") == []
    assert told(entries((1, S, mbap(1, READ)), (2, C, b""), (3, O, b""), (4, O, b"")), "modbus-tcp") == [(1, READ, [])]
    assert told([*asked, *entries((2000, O, b"", 1))], "modbus-tcp") == [(1, READ, [])]
    more = entries((1, S, mbap(1, READ)), (5, S, mbap(2, READ)), (6, R, mbap(2, ANSWER)), (7, C, b""))
    assert told(more, "modbus-tcp") == [(1, READ, []), (5, READ, [(1, ANSWER.hex())])]


def others(lines: list[Entry], protocol: str = "modbus-tcp") -> list[Any]:
    return [each for each in conversation(lines, protocol) if not isinstance(each, Exchange)]


def test_a_machine_that_closes_instead_of_answering() -> None:
    lines = entries((0, O, b""), (10, S, mbap(1, READ)), (15, C, b"closed by the machine"), (40, O, b""))
    (found,) = (each for each in conversation(lines, "modbus-tcp") if isinstance(each, Exchange))
    assert (found.came, found.cut) == ((), 5 * MS)
    assert others(lines) == [End(40 * MS)]


def test_a_machine_that_closes_a_connection_that_rests() -> None:
    lines = entries((10, S, mbap(1, READ)), (12, R, mbap(1, ANSWER)), (100, C, b"closed by the machine"), (110, O, b""))
    assert others(lines) == [Cut(100 * MS, 0), End(110 * MS)]


def test_a_machine_that_cannot_be_reached() -> None:
    """It was gone from half way between the last sign of life and the first try, to half way between the last try and the next."""
    tries = entries((100, R, b""), (200, C, b""), (400, F, b"refused"), (600, F, b"refused"), (1000, O, b""))
    assert others(tries) == [Away(300 * MS, 800 * MS, "refused"), End(1000 * MS)]


def test_from_the_moment_it_closed_where_that_is_known() -> None:
    tries = entries((100, O, b""), (200, C, b"it closed"), (400, F, b"refused"), (600, O, b""), (700, F, b"refused"))
    expected = [Cut(200 * MS, 0), Away(200 * MS, 500 * MS, "refused"), Away(650 * MS, None, "refused"), End(700 * MS)]
    assert others(tries) == expected


def test_another_client_that_is_answered_shows_that_it_is_there() -> None:
    lines = entries((0, O, b"", 1), (100, F, b"no route", 0), (200, R, mbap(1, ANSWER), 1))
    assert others(lines) == [Away(50 * MS, 150 * MS, "no route"), End(200 * MS)]


# --- whatever comes --------------------------------------------------------------------------------------------------------


def test_what_can_be_an_answer() -> None:
    assert fits(READ, ANSWER)
    assert fits(READ, REFUSED)
    assert not any(fits(READ, wrong) for wrong in (ANSWER_4, ANSWER + b"\0", ANSWER[:-1], b"\x84\x02", b"\x83", b""))
    assert not fits(READ, b"\x03\x04" + ANSWER[2:])


PIECES = st.one_of(
    st.binary(max_size=40),
    st.builds(mbap, st.integers(0, 3), st.sampled_from([READ, ANSWER, READ_4, ANSWER_4, REFUSED]), st.integers(16, 18)),
    st.builds(rtu, st.sampled_from([READ, ANSWER, READ_4, ANSWER_4, REFUSED, b"\x01"])),
    st.builds(ascii_, st.sampled_from([READ, ANSWER, WRITE])),
)
ENTRIES = st.builds(
    Entry, st.integers(-(10**9), 10**13), st.sampled_from(Kind), st.integers(0, 2), st.just(0), PIECES
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(st.lists(ENTRIES, max_size=40), st.sampled_from(sorted(FRAMINGS)))
def test_nothing_breaks_it(lines: list[Entry], protocol: str) -> None:
    items = list(conversation(lines, protocol))
    assert isinstance(items[-1], End)
    received = sum(len(each.data) for each in lines if each.kind is Kind.RECEIVED)
    exchanges = [each for each in items if isinstance(each, Exchange)]
    # Every byte from the machine is told once at the most, and nothing comes before it was asked for.
    assert sum(len(came.raw or came.pdu) for each in exchanges for came in each.came) <= received
    assert all(came.delay >= 0 for each in exchanges for came in each.came)
    assert all(sum(bool(came.pdu) for came in each.came) <= 1 for each in exchanges)


def test_more_clients_than_there_can_be() -> None:
    lines = [Entry(i, S, i, 0, mbap(1, READ)) for i in range(3000)]
    assert sum(isinstance(each, Exchange) for each in conversation(lines, "modbus-tcp")) >= 2000


def test_a_client_that_never_gets_an_answer_does_not_fill_the_memory() -> None:
    """What can still be answered is told after a minute, or behind 64 others."""
    items = conversation((Entry(i * MS, S, 0, 0, mbap(i & 0xFFFF, READ)) for i in range(200)), "modbus-tcp")
    assert [next(items).at for _ in range(100)] == [i * MS for i in range(100)]  # type: ignore[union-attr]


# --- pieces of a byte ----------------------------------------------------------------------------------------------------


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many bytes each checksum was made of."""
    counted: list[int] = []
    monkeypatch.setattr(search, "crc", lambda data, *rest: counted.append(len(data)) or search_crc(data, *rest))
    return counted


search_crc = search.crc
BYTES = 5000


@pytest.mark.parametrize(
    ("kind", "asked", "byte", "a_byte"),
    [
        # Each byte begins what may be an answer to it: of 9 bytes, as the byte count says; of 8; of a length that nothing tells,
        # at 8 places at the most. A request of function 15 is 9 bytes and those that its count says (6.11), here 15.
        (R, Frame(0, 4, b"\4\0\0\0\2"), 4, 9),
        (R, Frame(0, 6, b"\6\0\0\0\2"), 6, 8),
        (R, Frame(0, 65, b"\x41\0\0"), 65, 8),
        (S, None, 15, 24),
        (S, None, 3, 8),
    ],
)
def test_a_byte_is_looked_at_as_often_as_the_frames_are_long(
    checked: list[int], monkeypatch: pytest.MonkeyPatch, kind: Kind, asked: Frame | None, byte: int, a_byte: int
) -> None:
    """However small the pieces: 1,000,000 of them, which are 13 kB of a file, would else take hours."""
    monkeypatch.setattr(conversation_module, "_MOST_PIECES", 10 * BYTES)
    looked: list[int] = []
    for name in ("_size", "request_size"):
        size = getattr(conversation_module, name)
        monkeypatch.setattr(
            conversation_module, name, lambda stream, at, *more, size=size: looked.append(at) or size(stream, at, *more)
        )
    lines = [] if asked is None else [Entry(0, S, 0, 0, RTU.encode(asked))]
    lines += [Entry(i, kind, 0, 0, bytes((byte,))) for i in range(BYTES)]
    assert (
        sum(isinstance(each, Exchange) for each in conversation([*lines, Entry(10**12, O, 1, 0, b"")], "modbus-rtu"))
        <= 1
    )
    assert 0 < sum(checked) <= 2 * a_byte * BYTES, "once more where bytes are given up"
    assert BYTES // 2 <= len(looked) <= 3 * BYTES, (
        "a place is looked at when it comes, when its count is there, and when all is there"
    )


def test_an_answer_is_looked_for_in_so_many_pieces(checked: list[int]) -> None:
    def after(pieces: int) -> int:
        lines = [Entry(i, R, 0, 0, b"" if i % 2 else b"\0") for i in range(2 * pieces)]
        found = [*conversation([Entry(0, S, 0, 0, rtu(READ)), *lines, Entry(9000, R, 0, 0, rtu(ANSWER))], "modbus-rtu")]
        return sum(bool(each.answer) for each in found if isinstance(each, Exchange))

    assert (after(1000), after(1024)) == (1, 0), "an empty piece is none"


def naive(stream: bytes, asked: Frame) -> tuple[int, int] | None:
    """Where an answer to a read begins and ends: every place is tried."""
    for start in range(len(stream) - 4):
        end = start + (5 if stream[start + 1] & 0x80 else 5 + stream[start + 2])
        right = stream[start] == asked.unit and fits(asked.pdu, stream[start + 1 : end - 2])
        if right and end <= len(stream) and stream[end - 2 : end] == rtu(stream[start + 1 : end - 2])[-2:]:
            return start, end
    return None


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.binary(max_size=6),
            st.sampled_from([rtu(ANSWER), rtu(REFUSED), rtu(ANSWER)[:5], rtu(ANSWER, 18), b"\x11\x03\x06", CORRUPTED]),
        ),
        max_size=6,
    ).map(b"".join),
    st.lists(st.integers(1, 9), min_size=1),
)
def test_in_pieces_the_same_is_found_as_in_the_whole(stream: bytes, sizes: list[int]) -> None:
    """The first answer that is complete at the end of a piece, and of those the first one."""
    expected, lines, at, number = None, [Entry(0, S, 0, 0, rtu(READ))], 0, 0
    while at < len(stream):
        size = sizes[number % len(sizes)]
        number += 1
        lines.append(Entry(number * MS, R, 0, 0, stream[at : at + size]))
        at += size
        if expected is None and (found := naive(stream[:at], Frame(0, 17, READ))):
            expected = (float(number), stream[found[0] + 1 : found[1] - 2].hex())
    (exchange,) = told([*lines, Entry(10**12, O, 1, 0, b"")], "modbus-rtu")
    assert [each for each in exchange[2] if not each[1].startswith("raw")] == ([expected] if expected else [])
