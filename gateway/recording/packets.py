"""From a captured packet to what TCP or UDP carried: link layer, IP, and no further. Pure.

    Ethernet (VLANs) ┐
    Linux cooked     ├─ IPv4 ─┐
    BSD loopback     │        ├─ TCP ─▶ Segment
    raw IP           ┴─ IPv6 ─┴─ UDP ─▶ Segment

Lengths are those that IP tells, so that what Ethernet pads with is left out. Checksums are not looked at: a machine that
captures what it sends itself sees them before its network card has made them.
"""

from __future__ import annotations

from ipaddress import ip_address
from struct import Struct
from typing import NamedTuple

TCP, UDP = 6, 17
FIN, SYN, RST, ACK = 1, 2, 4, 16

Endpoint = tuple[bytes, int]  # address of 4 or 16 bytes, port


class Segment(NamedTuple):
    """What one packet had of a connection, or one datagram."""

    source: Endpoint
    target: Endpoint
    number: int = 0  # of its first byte; RFC 9293, 3.1
    acknowledged: int = 0  # the next byte its sender waits for
    flags: int = 0
    data: bytes = b""
    size: int = 0  # bytes there were; more than of `data` where the capture kept less


class UnreadableError(ValueError):
    """A packet of which nothing is known; the text says why, the same for all of its kind."""


def name_of(endpoint: Endpoint) -> str:
    """As people write it: 10.20.0.11:502 or [fe80::1]:502."""
    address, port = ip_address(endpoint[0]), endpoint[1]
    return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"


def segment_of(link_type: int, data: bytes, protocol: int = TCP) -> Segment | None:
    """None for a packet of another protocol. Raises UnreadableError."""
    try:
        where = _LINKS[link_type](data)
        if where is None:
            return None
        version = data[where] >> 4
        if version == 4:
            return _ipv4(data, where, protocol)
        return _ipv6(data, where, protocol) if version == 6 else None
    except KeyError:
        raise UnreadableError(f"their link type {link_type} is not known") from None
    except (IndexError, ValueError) as exc:
        if isinstance(exc, UnreadableError):
            raise
        raise UnreadableError("their headers are not whole") from None


# --- the link: where IP begins, or None where something else does -----------------------------------------------------

_IP = (0x0800, 0x86DD)  # ether types
_VLAN = (0x8100, 0x88A8, 0x9100)
_MOST_VLANS = 4


def _ethernet(data: bytes) -> int | None:
    return _after_vlans(data, 12)


def _cooked(data: bytes) -> int | None:
    return _after_vlans(data, 14)


def _cooked_2(data: bytes) -> int | None:
    return _after_vlans(data, 18, 0)


def _after_vlans(data: bytes, at: int, first: int | None = None) -> int | None:
    """`at`: where the ether type stands; `first`: where else the first one does."""
    kind = _u16(data, at if first is None else first)
    for _ in range(_MOST_VLANS):
        if kind not in _VLAN:
            break
        at += 4
        kind = _u16(data, at)
    return at + 2 if kind in _IP else None


def _loopback(data: bytes) -> int | None:
    """4 bytes of address family, in the byte order of whichever machine captured: 2 is IPv4, IPv6 is 24, 28 or 30."""
    family = max(data[0], data[3]) if not data[1] and not data[2] else 0
    return 4 if family in (2, 24, 28, 30) else None


def _raw(_: bytes) -> int | None:
    return 0


# https://www.tcpdump.org/linktypes.html
_LINKS = {
    0: _loopback, 108: _loopback, 1: _ethernet, 113: _cooked, 276: _cooked_2,
    12: _raw, 14: _raw, 101: _raw, 228: _raw, 229: _raw,
}  # fmt: skip


# --- IP --------------------------------------------------------------------------------------------------------------


def _ipv4(data: bytes, at: int, protocol: int) -> Segment | None:
    """RFC 791, 3.1."""
    header = (data[at] & 0x0F) * 4
    if header < 20:
        raise ValueError
    if data[at + 9] != protocol:
        return None
    if _u16(data, at + 6) & 0x3FFF:  # more of it follows, or came before
        raise UnreadableError("they are fragments of IP packets, which are not put together")
    # Network cards that cut large packets themselves are handed such as have no length.
    whole = _u16(data, at + 2) or len(data) - at
    return _TRANSPORT[protocol](data, at + header, at + whole, (_address(data, at + 12, 4), _address(data, at + 16, 4)))


# Extension headers that stand before what is carried: hop-by-hop, routing, authentication, destination (RFC 8200, 4).
_HOP, _ROUTING, _FRAGMENT, _AUTHENTICATION, _DESTINATION = 0, 43, 44, 51, 60
_MOST_HEADERS = 16


def _ipv6(data: bytes, at: int, protocol: int) -> Segment | None:
    whole = _u16(data, at + 4) + 40 if _u16(data, at + 4) else len(data) - at
    addresses = _address(data, at + 8, 16), _address(data, at + 24, 16)
    kind, where = data[at + 6], at + 40
    for _ in range(_MOST_HEADERS):
        if kind == protocol:
            return _TRANSPORT[protocol](data, where, at + whole, addresses)
        if kind in (_HOP, _ROUTING, _DESTINATION):
            size = 8 * data[where + 1] + 8
        elif kind == _AUTHENTICATION:
            size = 4 * data[where + 1] + 8
        elif kind == _FRAGMENT:
            if _u16(data, where + 2) & 0xFFF9:
                raise UnreadableError("they are fragments of IP packets, which are not put together")
            size = 8
        else:
            return None
        kind, where = data[where], where + size
    return None


# --- TCP and UDP -----------------------------------------------------------------------------------------------------

_TCP = Struct(">HHIIBB")


def _tcp(data: bytes, at: int, end: int, addresses: tuple[bytes, bytes]) -> Segment:
    """RFC 9293, 3.1."""
    if len(data) < at + _TCP.size:
        raise ValueError
    source, target, number, acknowledged, offset, flags = _TCP.unpack_from(data, at)
    header = (offset >> 4) * 4
    if header < 20 or end < at + header:
        raise ValueError
    return Segment(
        (addresses[0], source), (addresses[1], target), number, acknowledged, flags,
        data[at + header : end], end - at - header,
    )  # fmt: skip


def _udp(data: bytes, at: int, end: int, addresses: tuple[bytes, bytes]) -> Segment:
    source, target, size = _u16(data, at), _u16(data, at + 2), _u16(data, at + 4)
    if size < 8 or at + size > end:
        raise ValueError
    return Segment((addresses[0], source), (addresses[1], target), data=data[at + 8 : at + size], size=size - 8)


_TRANSPORT = {TCP: _tcp, UDP: _udp}


def _address(data: bytes, at: int, size: int) -> bytes:
    if at + size > len(data):
        raise ValueError
    return data[at : at + size]


def _u16(data: bytes, at: int) -> int:
    return data[at] << 8 | data[at + 1]
