"""Where one chunk on the line ends and the next begins (Part 6, 6.7.2 and 7.1.2), and what cannot be one. Pure.

    bytes as they arrive ─ Frames.feed ─▶ whole chunks, for the library ─▶ messages

What a chunk announces is judged before it is waited for: else four bytes of somebody who speaks another protocol, or who
wants to hurt us, make us wait for gigabytes and keep them. The library keeps what it is sent, and copies all of it with
every packet.
"""

from __future__ import annotations

from struct import unpack_from

from adapters.opcua.wire import GarbledError

MOST = 32 * 2**20  # bytes of one message; 1,000,000 values in a notification are less
MOST_UNKNOWN = 2**20  # of one from somebody who has not given us a session yet: a list of 100 endpoints
LEAST_BUFFER = 1024  # bytes that both sides can take at once, at least: Part 6, 7.1.2.3
_CHUNK = 8192  # of one that is followed by another, without elliptic curves, at least: the same

_KINDS = (b"MSG", b"OPN", b"CLO", b"ACK", b"ERR")  # what a server sends: Part 6, 6.7.2.2 and 7.1.2.2
_HEADER = 8  # bytes: kind, place in the message, size
_PLACES = b"FCA"  # final, intermediate, aborted: Part 6, 6.7.2.2

# What others begin with who are found at a port that was meant for OPC UA.
_OTHERS = (
    (b"HTTP/", "HTTP"),
    (b"SSH-", "SSH"),
    (b"\x15\x03", "TLS"),
    (b"220", "a mail or file server"),
)


class Frames:
    """The chunks of one line."""

    def __init__(self) -> None:
        self.most = MOST_UNKNOWN  # bytes of one message
        self._rest = bytearray()  # of a chunk that has not arrived as a whole
        self._needed = 0  # bytes that it has
        self._size = 0  # of the message that goes on in the next chunk
        self._chunks = 0  # of it
        self._begun = False  # it is OPC UA that is spoken there

    def feed(self, data: bytes) -> bytes:
        """Whole chunks, as many as there are now. Raises GarbledError for what is none, and for what is too large."""
        if self._rest:
            self._rest += data
            if len(self._rest) < self._needed:
                return b""
            data = bytes(self._rest)
        at = 0
        self._needed = _HEADER
        while len(data) - at >= _HEADER:
            size: int = unpack_from("<I", data, at + 4)[0]
            self._judge(data, at, size)
            if at + size > len(data):
                self._needed = size
                break
            self._count(data[at + 3], size)
            at += size
        else:
            self._judge_beginning(data[at:])
        self._rest = bytearray(data[at:])
        return data[:at] if at < len(data) else data

    def _judge(self, data: bytes, at: int, size: int) -> None:
        self._judge_beginning(data[at : at + _HEADER])
        if size < _HEADER or data[at + 3] not in _PLACES:
            raise GarbledError(f"a chunk of {size} bytes that begins with {data[at : at + 4]!r}")
        if self._size + size > self.most:
            raise GarbledError(f"a message of more than {self.most >> 20} MB")

    def _judge_beginning(self, begins: bytes) -> None:
        """Also of less than a header: somebody else may never send more than that."""
        if begins and not any(kind.startswith(begins[:3]) for kind in _KINDS):
            if self._begun:
                raise GarbledError("what comes after a message is none of OPC UA")
            other = next((name for start, name in _OTHERS if begins.startswith(start)), "something else")
            raise GarbledError(f"this is {other}, not OPC UA: is this the port of the OPC UA server?")

    def _count(self, place: int, size: int) -> None:
        """Chunks cost more than their bytes: as many as there are in the largest message, when they are small."""
        self._begun = True
        if place != _PLACES[1]:
            self._size = self._chunks = 0
            return
        self._size += size
        self._chunks += 1
        if self._chunks > self.most // _CHUNK:
            raise GarbledError(f"a message of more than {self._chunks - 1} chunks")
