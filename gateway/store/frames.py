"""The moments of a message: every reading of a signal gets a time of its own. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.mqtt.payload import Frame


def separate(frames: Sequence[Frame]) -> list[tuple[int, Frame]]:
    """The frames of one message with their times in ns.

    A store keeps one reading per signal and time. Times on the wire are whole microseconds, so a second reading of the
    same signal and time within a message moves on by 1 ns, and always to the same time when the message comes again.
    """
    if len({frame.time for frame in frames}) == len(frames):
        return [(frame.time, frame) for frame in frames]
    taken: dict[int, set[str]] = {}
    moments = []
    for frame in frames:
        time, names = frame.time, frame.values.keys() | frame.quality.keys()
        while not names.isdisjoint(taken.get(time, ())):
            time += 1
        taken.setdefault(time, set()).update(names)
        moments.append((time, frame))
    return moments
