"""A subscriber that keeps up with anything: counts what arrives, and writes one line of JSON for each line it reads.

    python subscriber.py PORT FILTER [clock]

`clock`: the values are moments (`CLOCK` in server.c), and the time from there to here is noted for each new one.
"""

from __future__ import annotations

import socket
import struct
import sys
import threading
import time
from collections import defaultdict

import orjson

PUBLISH, PUBACK = 0x30, b"\x40\x02"
MODULO = 2**32


class Subscriber:
    """MQTT 3.1.1, QoS 1, as much of it as is needed."""

    def __init__(self, port: int, topics: str, clock: bool) -> None:
        self.clock = clock
        self.lock = threading.Lock()
        self.last: dict[str, int] = {}  # by signal, with `clock`
        self.forget()
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.sendall(_packet(0x10, b"\x00\x04MQTT\x04\x02\x00\x00" + _text("bench-subscriber")))
        self.socket.sendall(_packet(0x82, b"\x00\x01" + _text(topics) + b"\x01"))

    def forget(self) -> None:
        """Count anew."""
        self.values = self.bad = self.messages = self.bytes = 0
        self.stamps: dict[bytes, list[float]] = defaultdict(list)  # by topic: ms of the last block of each message
        self.signals: dict[bytes, int] = {}  # by topic: the most values in a message
        self.ages: list[float] = []  # ms from the stamp to here
        self.latencies: list[float] = []  # ms from the change to here

    def take(self) -> bytes:
        """All since the last time, as JSON."""
        with self.lock:
            found = orjson.dumps(self.found())
            self.forget()
        return found

    def found(self) -> dict[str, object]:
        return {
            "values": self.values,
            "bad": self.bad,
            "messages": self.messages,
            "bytes": self.bytes,
            "stamps": {topic.decode(): stamps for topic, stamps in self.stamps.items()},
            "signals": {topic.decode(): count for topic, count in self.signals.items()},
            "ages": self.ages,
            "latencies": self.latencies,
        }

    def run(self) -> None:
        """Until the broker is gone."""
        pending = b""
        while data := self.socket.recv(1 << 20):
            at, acks = 0, b""
            pending = pending + data if pending else data
            with self.lock:
                while (packet := _next(pending, at)) is not None:
                    kind, start, at = packet
                    if kind & 0xF0 == PUBLISH:
                        size = int.from_bytes(pending[start : start + 2], "big")
                        body = start + 2 + size
                        if kind & 0x06:
                            acks += PUBACK + pending[body : body + 2]
                            body += 2
                        self.note(pending[start + 2 : start + 2 + size], memoryview(pending)[body:at])
            pending = pending[at:]
            if acks:
                self.socket.sendall(acks)

    def note(self, topic: bytes, payload: memoryview) -> None:
        now = time.time() * 1e3
        frames = orjson.loads(payload)["frames"]
        count = 0
        for frame in frames:
            values = frame["values"]
            count += len(values)
            self.bad += len(frame.get("quality", ()))
            if self.clock:
                self.note_changes(values)
        stamp = frames[-1]["t"]
        self.values += count
        self.messages += 1
        self.bytes += len(payload)
        self.stamps[topic].append(stamp)
        self.signals[topic] = max(count, self.signals.get(topic, 0))
        self.ages.append(now - stamp)

    def note_changes(self, values: dict[str, int]) -> None:
        now = time.monotonic_ns() // 1000
        for name, value in values.items():
            before = self.last.get(name)
            if value != before:
                self.last[name] = value
                if before is not None:
                    self.latencies.append(((now - value) % MODULO) / 1e3)


def _text(text: str) -> bytes:
    return struct.pack(">H", len(text)) + text.encode()


def _packet(kind: int, body: bytes) -> bytes:
    assert len(body) < 128
    return bytes((kind, len(body))) + body


def _next(data: bytes, at: int) -> tuple[int, int, int] | None:
    """First byte, start and end of the packet at this place; None: it is not all there."""
    length, shift, start = 0, 0, at + 1
    while start < len(data):
        byte = data[start]
        length |= (byte & 0x7F) << shift
        shift, start = shift + 7, start + 1
        if byte < 0x80:
            end = start + length
            return (data[at], start, end) if end <= len(data) else None
    return None


def serve(subscriber: Subscriber) -> None:
    """Answer until nobody asks any more."""
    threading.Thread(target=subscriber.run, daemon=True).start()
    for _ in sys.stdin:
        sys.stdout.buffer.write(subscriber.take() + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    serve(Subscriber(int(sys.argv[1]), sys.argv[2], "clock" in sys.argv))
