"""The packets of a capture file, whichever of the usual forms it has: pcap and pcapng, as tcpdump and Wireshark write them.

    pcap     header (byte order, µs or ns, link type) ─ record ─ record ─ …
    pcapng   section ─ interface ─ interface ─ packet ─ anything ─ packet ─ … ─ section ─ …

draft-ietf-opsawg-pcap and draft-ietf-opsawg-pcapng describe them. A file that was cut off, or is damaged somewhere, is
read up to there: the forms have nothing to find a beginning again by. One packet at a time is in memory.

Read by ourselves, since the packages for it believe every length, and round times to a float.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from struct import Struct
from struct import error as StructError
from typing import BinaryIO, NamedTuple

from gateway.errors import RecordingError

_MOST_BLOCK = 16 << 20  # bytes; tcpdump itself refuses packets of more than 256 KiB
_MOST_TIME = 1 << 63  # ns since 1970, which ends in 2262


class Packet(NamedTuple):
    """One packet as it was captured."""

    at: int  # ns since 1970, UTC
    link_type: int  # what its first bytes are: a LINKTYPE_ number
    data: bytes  # may end early, where only the first bytes of each packet were kept
    place: int  # byte of the file it begins at
    size: int = 0  # bytes it had on the wire


def is_capture(path: Path) -> bool:
    """Whether it begins like one. Raises OSError."""
    with path.open("rb") as file:
        return file.read(4) in _FORMS


def packets(path: Path, damage: list[str]) -> Iterator[Packet]:
    """In the order of the file, whose times may jump. What cannot be read is said in `damage`.

    Raises RecordingError for what is no capture, or cannot be read at all.
    """
    try:
        with path.open("rb") as file:
            magic = file.read(4)
            form = _FORMS.get(magic)
            if form is None:
                raise RecordingError(f"{path}: byte 0: {_what_else(magic)}")
            yield from form(file, str(path), damage)
    except OSError as exc:
        raise RecordingError(f"{path} cannot be read: {exc.strerror or exc}") from exc


def _what_else(magic: bytes) -> str:
    if magic[:2] == b"\x1f\x8b" or magic == b"\x28\xb5\x2f\xfd":
        return "it is compressed; unpack it first (gunzip, unzstd)"
    if len(magic) < 4:
        return "it is empty, or ends at once"
    return f"it begins with {magic.hex(' ')}: neither pcap nor pcapng; Wireshark saves any capture as one of them"


# --- pcap ------------------------------------------------------------------------------------------------------------


def _pcap(order: str, unit: int) -> Callable[[BinaryIO, str, list[str]], Iterator[Packet]]:
    """`unit`: ns of what stands behind the seconds."""
    header, record = Struct(order + "HHIIII"), Struct(order + "IIII")

    def read(file: BinaryIO, name: str, damage: list[str]) -> Iterator[Packet]:
        begins = file.read(header.size)
        if len(begins) < header.size:
            raise RecordingError(f"{name}: byte 4: a pcap file whose header is cut off")
        major, *_, link_type = header.unpack(begins)
        if major != 2:
            raise RecordingError(f"{name}: byte 4: a pcap file of version {major}; 2 is known")
        link_type &= 0xFFFF  # above it stands how many bytes of checksum each packet ends with
        at = 4 + header.size
        while begins := file.read(record.size):
            if len(begins) < record.size:
                damage.append(f"cut off in the header of the packet at byte {at}")
                return
            seconds, fraction, kept, size = record.unpack(begins)
            if kept > _MOST_BLOCK:
                damage.append(f"damaged from byte {at} on: a packet of {kept} bytes")
                return
            data = file.read(kept)
            if len(data) < kept:
                damage.append(f"cut off in the packet at byte {at}, after {len(data)} of its {kept} bytes")
                return
            yield Packet(seconds * 1_000_000_000 + fraction * unit, link_type, data, at, size)
            at += record.size + kept

    return read


# --- pcapng ----------------------------------------------------------------------------------------------------------

_SECTION, _INTERFACE, _OLD_PACKET, _SIMPLE, _PACKET = 0x0A0D0D0A, 1, 2, 3, 6
_RESOLUTION, _OFFSET = 9, 14  # options of an interface: if_tsresol, if_tsoffset
_MOST_INTERFACES = 10_000


class _Interface(NamedTuple):
    link_type: int
    most: int  # bytes kept of a packet; 0: all
    numerator: int  # ns = ticks * numerator / denominator + offset
    denominator: int
    offset: int


def _pcapng(file: BinaryIO, name: str, damage: list[str]) -> Iterator[Packet]:
    file.seek(0)
    order = ""
    interfaces: list[_Interface] = []
    before = 0  # a simple packet has no time of its own
    untimed = 0
    while True:
        at = file.tell()
        head = file.read(8)
        if not head:
            break
        if head[:4] == b"\x0a\x0d\x0d\x0a":  # the same in both byte orders
            mark = file.read(4)
            file.seek(at + 8)
            order = {b"\x4d\x3c\x2b\x1a": "<", b"\x1a\x2b\x3c\x4d": ">"}.get(mark, "")
            interfaces = []
        if not order:
            if at == 0:
                raise RecordingError(f"{name}: byte 8: a pcapng file whose first section has no byte order")
            damage.append(f"damaged from byte {at} on: a section without a byte order")
            break
        if len(head) < 8:
            damage.append(f"cut off in the block at byte {at}")
            break
        kind, size = Struct(order + "II").unpack(head)
        if not 12 <= size <= _MOST_BLOCK:
            damage.append(f"damaged from byte {at} on: a block of {size} bytes")
            break
        rest = file.read(size - 8 + -size % 4)
        if len(rest) < size - 8:
            damage.append(f"cut off in the block at byte {at}, after {8 + len(rest)} of its {size} bytes")
            break
        body = rest[: size - 12]
        if rest[size - 12 : size - 8] != head[4:]:
            damage.append(f"damaged from byte {at} on: a block whose length does not stand at its end")
            break
        try:
            if kind == _INTERFACE:
                if len(interfaces) >= _MOST_INTERFACES:
                    raise ValueError("more interfaces than any machine has")
                interfaces.append(_interface(body, order))
            elif (packet := _READ_PACKET.get(kind)) is not None:
                interface, ticks, data, whole = packet(body, order, interfaces)
                if ticks is None:
                    untimed += 1
                else:
                    before = ticks * interface.numerator // interface.denominator + interface.offset
                    if not 0 <= before < _MOST_TIME:
                        raise ValueError("a time that cannot be")
                yield Packet(before, interface.link_type, data, at, whole)
        except (ValueError, IndexError, StructError) as exc:
            damage.append(f"damaged from byte {at} on: {exc}")
            break
    if untimed:
        damage.append(f"{untimed} packets have no time (simple packet blocks): they got that of the packet before")


def _interface(body: bytes, order: str) -> _Interface:
    link_type, _, most = Struct(order + "HHI").unpack_from(body)
    numerator, denominator, offset = 1000, 1, 0  # microseconds, unless an option says otherwise
    at, option = 8, Struct(order + "HH")
    while at + 4 <= len(body):
        code, size = option.unpack_from(body, at)
        value = body[at + 4 : at + 4 + size]
        at += 4 + size + -size % 4
        if code == 0:
            break
        if code == _RESOLUTION and value:
            # The highest bit tells powers of 2 from powers of 10.
            numerator, denominator = 1_000_000_000, (2 if value[0] & 0x80 else 10) ** (value[0] & 0x7F)
        elif code == _OFFSET and len(value) == 8:
            offset = int.from_bytes(value, "little" if order == "<" else "big", signed=True) * 1_000_000_000
    return _Interface(link_type, most, numerator, denominator, offset)


_Read = tuple[_Interface, int | None, bytes, int]


def _packet(body: bytes, order: str, interfaces: list[_Interface]) -> _Read:
    interface, high, low, kept, size = Struct(order + "IIIII").unpack_from(body)
    return _of(interfaces, interface), high << 32 | low, _kept(body, 20, kept), size


def _old_packet(body: bytes, order: str, interfaces: list[_Interface]) -> _Read:
    interface, _, high, low, kept, size = Struct(order + "HHIIII").unpack_from(body)
    return _of(interfaces, interface), high << 32 | low, _kept(body, 20, kept), size


def _simple_packet(body: bytes, order: str, interfaces: list[_Interface]) -> _Read:
    interface = _of(interfaces, 0)
    (whole,) = Struct(order + "I").unpack_from(body)
    return interface, None, _kept(body, 4, min(whole, interface.most or whole)), whole


def _of(interfaces: list[_Interface], number: int) -> _Interface:
    if number >= len(interfaces):
        raise ValueError(f"a packet of interface {number}, of which nothing was said")
    return interfaces[number]


def _kept(body: bytes, at: int, size: int) -> bytes:
    if at + size > len(body):
        raise ValueError(f"a packet of {size} bytes in a block of {len(body)}")
    return body[at : at + size]


_READ_PACKET = {_PACKET: _packet, _OLD_PACKET: _old_packet, _SIMPLE: _simple_packet}

_FORMS: dict[bytes, Callable[[BinaryIO, str, list[str]], Iterator[Packet]]] = {
    b"\xd4\xc3\xb2\xa1": _pcap("<", 1000),
    b"\xa1\xb2\xc3\xd4": _pcap(">", 1000),
    b"\x4d\x3c\xb2\xa1": _pcap("<", 1),
    b"\xa1\xb2\x3c\x4d": _pcap(">", 1),
    b"\x0a\x0d\x0d\x0a": _pcapng,
}
