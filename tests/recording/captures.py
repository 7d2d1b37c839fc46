"""Captures written by hand, from the drafts of pcap and pcapng and the RFCs: not with anything of ours."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from ipaddress import ip_address

SYN, FIN, RST, ACK, PSH = 0x02, 0x01, 0x04, 0x10, 0x08
MASTER, MACHINE = "10.20.0.1", "10.20.0.11"
START = 1_700_000_000_000_000_000  # ns since 1970

Packet = tuple[int, bytes]  # ns since 1970, bytes from the link layer on


# --- files -----------------------------------------------------------------------------------------------------------


def pcap(packets: Iterable[Packet], order: str = "<", nano: bool = False, link: int = 1, kept: int = 262144) -> bytes:
    unit = 1 if nano else 1000
    out = bytearray(struct.pack(order + "IHHIIII", 0xA1B23C4D if nano else 0xA1B2C3D4, 2, 4, 0, 0, kept, link))
    for at, data in packets:
        seconds, rest = divmod(at, 1_000_000_000)
        out += struct.pack(order + "IIII", seconds, rest // unit, len(data[:kept]), len(data)) + data[:kept]
    return bytes(out)


def block(kind: int, body: bytes, order: str = "<") -> bytes:
    body += b"\0" * (-len(body) % 4)
    size = struct.pack(order + "I", len(body) + 12)
    return struct.pack(order + "I", kind) + size + body + size


def option(code: int, value: bytes, order: str = "<") -> bytes:
    return struct.pack(order + "HH", code, len(value)) + value + b"\0" * (-len(value) % 4)


def section(order: str = "<") -> bytes:
    return block(0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1) + option(4, b"by hand", order), order)


def interface(link: int = 1, order: str = "<", resolution: int | None = None, offset: int = 0, most: int = 0) -> bytes:
    options = option(2, b"eth0", order)
    if resolution is not None:
        options += option(9, bytes((resolution,)), order)
    if offset:
        options += option(14, struct.pack(order + "q", offset), order)
    return block(1, struct.pack(order + "HHI", link, 0, most) + options + option(0, b"", order), order)


def enhanced(ticks: int, data: bytes, order: str = "<", number: int = 0) -> bytes:
    head = struct.pack(order + "IIIII", number, ticks >> 32, ticks & 0xFFFFFFFF, len(data), len(data))
    return block(
        6, head + data + b"\0" * (-len(data) % 4) + option(1, b"a comment", order) + option(0, b"", order), order
    )


def pcapng(packets: Iterable[Packet], order: str = "<", resolution: int | None = None, link: int = 1) -> bytes:
    """`resolution`: as if_tsresol has it; None: left out, microseconds."""
    unit = 6 if resolution is None else resolution
    ticks_a_second = 2 ** (unit & 0x7F) if unit & 0x80 else 10**unit
    body = b"".join(enhanced(-(-at * ticks_a_second // 10**9), data, order) for at, data in packets)
    # A name resolution block and one that nobody knows are to be passed over.
    return (
        section(order)
        + interface(link, order, resolution)
        + block(4, b"\0\0\0\0", order)
        + block(0xBAD, b"?", order)
        + body
    )


# --- packets ---------------------------------------------------------------------------------------------------------


def tcp(
    source: int, target: int, number: int, acknowledged: int, flags: int, data: bytes = b"", options: bytes = b""
) -> bytes:
    offset = (20 + len(options)) // 4 << 4
    numbers = number & 0xFFFFFFFF, acknowledged & 0xFFFFFFFF
    return struct.pack(">HHIIBBHHH", source, target, *numbers, offset, flags, 8192, 0, 0) + options + data


def udp(source: int, target: int, data: bytes) -> bytes:
    return struct.pack(">HHHH", source, target, 8 + len(data), 0) + data


def ip(source: str, target: str, data: bytes, protocol: int = 6, options: bytes = b"", fragment: int = 0) -> bytes:
    """IPv4 or IPv6, by the addresses. `options`: of IPv4, or extension headers with the next one in their first byte."""
    addresses = ip_address(source).packed + ip_address(target).packed
    if ip_address(source).version == 6:
        following = 0 if options else protocol  # 0: hop-by-hop options
        return struct.pack(">IHBB", 6 << 28, len(options + data), following, 64) + addresses + options + data
    first = 0x45 + len(options) // 4
    size = 20 + len(options) + len(data)
    return struct.pack(">BBHHHBBH", first, 0, size, 1, fragment, 64, protocol, 0) + addresses + options + data


def ethernet(data: bytes, tags: bytes = b"") -> bytes:
    kind = b"\x08\0" if data[0] >> 4 == 4 else b"\x86\xdd"
    return (b"\x02\0\0\0\0\x11" + b"\x02\0\0\0\0\x01" + tags + kind + data).ljust(60, b"\0")  # padded, as on the wire


class Talk:
    """A TCP connection between a master and a machine, segment by segment; `packets` is what was captured of it."""

    def __init__(
        self,
        client_port: int = 40000,
        port: int = 502,
        master: str = MASTER,
        machine: str = MACHINE,
        first: tuple[int, int] = (1000, 9000),
        at: int = 0,
    ) -> None:
        """`first`: initial sequence numbers of both. `at`: ns since START."""
        self.ends = (master, client_port), (machine, port)
        self.numbers = list(first)
        self.at = at
        self.packets: list[Packet] = []

    def wait(self, ms: float) -> Talk:
        self.at += round(ms * 1_000_000)
        return self

    def segment(self, side: int, flags: int, data: bytes = b"", shift: int = 0, keep: bool = True) -> Talk:
        """From `side` (0 the master, 1 the machine), `shift` from where it is; not `keep`: the capture missed it."""
        (source, source_port), (target, target_port) = self.ends[side], self.ends[1 - side]
        acknowledged = self.numbers[1 - side] if flags & ACK else 0
        number = self.numbers[side] + shift
        if keep:
            part = tcp(source_port, target_port, number, acknowledged, flags, data)
            self.packets.append((START + self.at, ethernet(ip(source, target, part))))
        if not shift:
            self.numbers[side] += len(data) + bool(flags & SYN) + bool(flags & FIN)
        return self

    def open(self) -> Talk:
        return self.segment(0, SYN).wait(1).segment(1, SYN | ACK).wait(1).segment(0, ACK)

    def ask(self, data: bytes, keep: bool = True) -> Talk:
        return self.segment(0, ACK | PSH, data, keep=keep)

    def answer(self, data: bytes, keep: bool = True) -> Talk:
        return self.segment(1, ACK | PSH, data, keep=keep)

    def close(self, first: int = 0) -> Talk:
        self.segment(first, FIN | ACK).wait(1).segment(1 - first, FIN | ACK).wait(1)
        return self.segment(first, ACK)


def mbap(transaction: int, unit: int, pdu: str) -> bytes:
    body = bytes.fromhex(pdu)
    return struct.pack(">HHHB", transaction, 0, len(body) + 1, unit) + body


def merged(*talks: Talk) -> list[Packet]:
    """In the order of their times."""
    return sorted((packet for talk in talks for packet in talk.packets), key=lambda packet: packet[0])


def payloads(packets: Sequence[Packet]) -> list[bytes]:
    """Of Ethernet, IPv4 and TCP without options."""
    return [data[54 : 14 + struct.unpack_from(">H", data, 16)[0]] for _, data in packets]
