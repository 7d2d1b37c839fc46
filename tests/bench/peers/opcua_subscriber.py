"""subscriber.py for the values of many.mjs: each of them is known, none may be missing.

python opcua_subscriber.py PORT FILTER
"""

from __future__ import annotations

import sys
import time

import orjson

from bench.peers.subscriber import Subscriber, serve


class Checking(Subscriber):
    """Signal s<i> is tick + i / 2^20, with the ticks in their order."""

    def __init__(self, port: int, topics: str) -> None:
        self.tick: dict[str, int] = {}  # by signal: of its last value
        self.total = self.wrong = self.repeated = self.missing = self.frames = 0
        super().__init__(port, topics, clock=False)

    def found(self) -> dict[str, object]:
        return {
            **super().found(),
            "frames": self.frames,
            "wrong": self.wrong,
            "repeated": self.repeated,
            "missing": self.missing,
            "behind": sum(self.tick.values()),
            "seen": len(self.tick),
        }

    def forget(self) -> None:
        super().forget()
        self.wrong = self.repeated = self.missing = self.frames = 0

    def note(self, topic: bytes, payload: memoryview) -> None:
        now = time.time() * 1e3
        frames = orjson.loads(payload)["frames"]
        ticks = self.tick
        for frame in frames:
            self.bad += len(frame.get("quality", ()))
            self.values += len(frame["values"])
            for name, value in frame["values"].items():
                tick = int(value)
                if value - tick != int(name[1:]) / 2**20:
                    self.wrong += 1
                before = ticks.get(name, tick - 1)
                if tick > before + 1:
                    self.missing += tick - before - 1
                elif tick <= before:
                    self.repeated += 1
                ticks[name] = tick
        self.frames += len(frames)
        self.messages += 1
        self.bytes += len(payload)
        self.ages.append(now - frames[-1]["t"])


if __name__ == "__main__":
    serve(Checking(int(sys.argv[1]), sys.argv[2]))
