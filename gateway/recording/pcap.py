"""Recordings from a packet capture: one for each machine in it that speaks Modbus.

    capture_file.py     packets.py      tcp_stream.py        connection.py                     here
    pcap, pcapng ─▶ packets ─▶ segments ─▶ pieces in order ─▶ opened, sent, received, closed ─▶ entries in order of time

The file is read once to see which machines there are, and once more for each of them when its entries are asked for:
whatever its size, little of it is in memory. Times are since the first packet of the capture, for all machines alike.
"""

from __future__ import annotations

import heapq
from collections import Counter, OrderedDict
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from gateway import __version__
from gateway.errors import UsageError
from gateway.recording.capture_file import is_capture, packets
from gateway.recording.connection import Connection, Datagrams
from gateway.recording.entry import Entry, Head
from gateway.recording.modbus_frames import ANSWER, PROTOCOLS, REQUEST, begins, body_of, side_of
from gateway.recording.packets import ACK, SYN, TCP, UDP, Endpoint, Segment, UnreadableError, name_of, segment_of

__all__ = ["PROTOCOLS", "Capture", "CapturedMachine", "is_capture", "read_pcap"]

_WINDOW = 5_000_000_000  # ns that entries wait for such as happened before them, and are known later only
_MOST_WAITING = 20_000  # entries that wait
_MOST_BYTES = 8 << 20  # and bytes
_MOST_CONNECTIONS = 1024  # of one machine that are followed at once; machines allow some ten
_TICK = 50_000_000  # ns between two looks at what may have waited for long enough
_STEP = 1_000_000_000  # ns; a clock that falls by more was set, by less it is packets in another order
_MOST_ENDPOINTS = 100_000  # addresses and ports that are looked at, to find machines
_MOST_NAMED = 20
_MOSTLY = 0.9  # share of what passes at a machine that has to be Modbus


@dataclass(frozen=True)
class CapturedMachine:
    """One server of a capture. Each iteration reads its entries from the disk."""

    path: Path
    head: Head
    server: str  # its address and port: 10.20.0.11:502
    damage: list[str]  # what of the capture could not be read, for people
    _endpoint: Endpoint = field(repr=False)

    def __iter__(self) -> Iterator[Entry]:
        """In the order of their times; each connection of a client is a link. Raises RecordingError.

        Where the capture lacks something LEFT_OUT tells of which link; what follows there begins with a new frame. What a
        client sends after the machine has closed comes after CLOSED.
        """
        links, order = _Links(self._endpoint, self.head.protocol), _Order()
        now = 0
        for now, segment in _Segments(self.path, self.head.protocol):
            for entry in links.take(now, segment):
                order.put(entry)
            yield from order.due(now)
        for entry in links.end(now):
            order.put(entry)
        yield from order.due(None)


@dataclass(frozen=True)
class Capture:
    """What was found in a capture."""

    machines: list[CapturedMachine]  # in the order in which they first appear
    packets: int
    damage: list[str]  # what could not be read, for people
    others: list[str]  # servers that were seen, and do not speak it: 10.20.0.31:4840
    short: str = ""  # what it lacks, where only the beginning of packets was captured, and what to do


def read_pcap(path: Path, ports: Collection[int] | None = (502,), protocol: str = "modbus-tcp") -> Capture:
    """Look through a capture for machines. `ports`: theirs; None: whoever answers what looks like Modbus.

    `protocol` is one of PROTOCOLS, the names of the configuration: how the frames look. Machines that were called and
    never reached are found if there is none that speaks.
    Raises RecordingError, with the byte, for what is no capture; one that is damaged or cut off is read up to there.
    """
    if protocol not in PROTOCOLS:
        raise UsageError(f"'{protocol}' cannot be read from a capture: {', '.join(PROTOCOLS)} can")
    segments = _Segments(path, protocol)
    seen: dict[Endpoint, _Seen] = {}
    for _, segment in segments:
        if segment is not None:
            _look(seen, segment, protocol, ports or ())
    damage = segments.damage
    if len(seen) >= _MOST_ENDPOINTS:
        damage.append(f"of more than {_MOST_ENDPOINTS:,} addresses and ports only the first were looked at")
    servers = {each: what for each, what in seen.items() if what.votes > 0}
    if ports is None:
        found = [each for each, what in servers.items() if what.frames and what.frames >= _MOSTLY * what.segments]
    else:
        servers_there = {each: what for each, what in servers.items() if each[1] in ports}
        found = [each for each, what in servers_there.items() if what.begun]
        found = found or [each for each, what in servers_there.items() if not what.segments]
    machines = [
        CapturedMachine(
            path,
            Head(segments.started, protocol, name_of(each), source="pcap", gateway=__version__),
            name_of(each),
            damage,
            each,
        )
        for each in found
    ]
    others = [name_of(each) for each in servers if each not in found]
    return Capture(machines, segments.count, damage, others[:_MOST_NAMED], segments.short)


# --- the packets, on a clock that does not jump -----------------------------------------------------------------------


class _Segments:
    """Each packet's ns since the first one, and what it has of TCP or UDP; None for anything else."""

    def __init__(self, path: Path, protocol: str) -> None:
        self._path = path
        self._transport = UDP if protocol == "modbus-udp" else TCP
        self.started = 0  # ns since 1970
        self.count = 0
        self.damage: list[str] = []  # complete at the end
        self.short = ""  # so is this

    def __iter__(self) -> Iterator[tuple[int, Segment | None]]:
        unreadable: Counter[str] = Counter()
        now, latest, offset = 0, 0, 0
        cut, most = 0, 0  # packets that were longer than what was captured of them, and how much that is
        for packet in packets(self._path, self.damage):
            if not self.count:
                self.started = latest = packet.at
            self.count += 1
            if packet.size > len(packet.data):
                cut, most = cut + 1, max(most, len(packet.data))
            if (back := latest - packet.at) > _STEP:
                offset, latest = offset + back, packet.at
                if len(self.damage) < _MOST_NAMED:
                    place = f"before the packet at byte {packet.place}"
                    self.damage.append(f"the clock went back by {back / 1e9:.3f} s {place}; times go on from there")
            latest = max(latest, packet.at)
            now = latest - self.started + offset
            try:
                yield now, segment_of(packet.link_type, packet.data, self._transport)
            except UnreadableError as exc:
                if str(exc) in unreadable or len(unreadable) < _MOST_NAMED:
                    unreadable[str(exc)] += 1
                yield now, None
        if cut:
            of = "of each packet" if cut == self.count else f"of {cut:,} of the {self.count:,} packets"
            self.short = f"captured only {most} bytes {of}; capture with tcpdump -s 0"
            self.damage.append(self.short)
        self.damage += [f"{number} packets were left out: {why}" for why, number in unreadable.items()]


# --- which machines there are ----------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Seen:
    """Of one address and port."""

    segments: int = 0  # with data, from or to it
    frames: int = 0  # of those, Modbus as only it looks
    begun: bool = False  # one of those may at least be the beginning of a frame
    votes: int = 0  # for it to be a server


_CLEAR = 1000  # votes: what only one side would do


def _look(seen: dict[Endpoint, _Seen], segment: Segment, protocol: str, ports: Collection[int]) -> None:
    """A server has its port, is called, and asked; where none of it is seen, its port is the lower one."""
    if len(seen) >= _MOST_ENDPOINTS and not (segment.source in seen and segment.target in seen):
        return
    source, target = seen.setdefault(segment.source, _Seen()), seen.setdefault(segment.target, _Seen())
    towards = 0
    if segment.flags & SYN:
        towards = -_CLEAR if segment.flags & ACK else _CLEAR
    elif segment.data:
        begun, body = begins(protocol, segment.data), body_of(protocol, segment.data)
        side = body and side_of(body)
        towards = 1 if segment.target[1] < segment.source[1] else -1
        towards = {REQUEST: _CLEAR, ANSWER: -_CLEAR}.get(side or "", towards)
        for each in (source, target):
            each.segments += 1
            each.frames += bool(side)
            each.begun |= begun
    if (segment.target[1] in ports) != (segment.source[1] in ports) and towards:
        towards = _CLEAR if segment.target[1] in ports else -_CLEAR
    target.votes += towards
    source.votes -= towards


# --- the links of one machine ----------------------------------------------------------------------------------------


class _Links:
    """All connections of one server."""

    def __init__(self, server: Endpoint, protocol: str) -> None:
        self._server, self._protocol = server, protocol
        self._kind: type[Connection | Datagrams] = Datagrams if protocol == "modbus-udp" else Connection
        self._links: OrderedDict[Endpoint, Connection | Datagrams] = OrderedDict()  # by client, the newest last
        self._waiting: set[Endpoint] = set()  # those in which time alone may make something known
        self._count = 0
        self._ticked = 0

    def take(self, now: int, segment: Segment | None) -> Iterator[Entry]:
        if now - self._ticked >= _TICK:
            self._ticked = now
            for client in sorted(self._waiting):
                yield from self._links[client].tick(now)
                if not self._links[client].waits:
                    self._waiting.discard(client)
        if segment is None or self._server not in (segment.source, segment.target):
            return
        from_client = segment.target == self._server
        client = segment.source if from_client else segment.target
        link = self._links.get(client)
        if link is None or link.replaced(now, segment, from_client):
            if not self._kind.starts(segment, from_client):
                return
            if link is not None:
                yield from link.end(now, True)
            link = self._links[client] = self._kind(self._count, self._protocol)
            self._count += 1
        self._links.move_to_end(client)
        yield from link.take(now, segment, from_client)
        if link.waits:
            self._waiting.add(client)
        if len(self._links) > _MOST_CONNECTIONS:
            client, link = self._links.popitem(last=False)
            self._waiting.discard(client)
            yield from link.end(now)

    def end(self, now: int) -> Iterator[Entry]:
        for link in self._links.values():
            yield from link.end(now)


class _Order:
    """Entries in the order of their times, of which some are known late. One that is too late gets the time of the last."""

    def __init__(self) -> None:
        self._waiting: list[tuple[int, int, Entry]] = []
        self._count = 0
        self._bytes = 0
        self._last = 0

    def put(self, entry: Entry) -> None:
        heapq.heappush(self._waiting, (entry.at, self._count, entry))
        self._count += 1
        self._bytes += len(entry.data)

    def due(self, now: int | None) -> Iterator[Entry]:
        """Those before which nothing more is to be expected; None: all."""
        waiting = self._waiting
        while waiting and (
            now is None or waiting[0][0] <= now - _WINDOW or len(waiting) > _MOST_WAITING or self._bytes > _MOST_BYTES
        ):
            entry = heapq.heappop(waiting)[2]
            self._bytes -= len(entry.data)
            self._last = max(self._last, entry.at)
            yield entry._replace(at=self._last)
