"""What was lost, in as few words as there can be. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from gateway.mqtt.payload import Loss, Ranges

MAX_STRETCHES = 8  # of one drop that are declared one by one; more of them become one


def stretches(losses: Iterable[Loss], most: int = MAX_STRETCHES) -> list[Loss]:
    """The same in as few records as there can be: one for each stretch of seqs, and no more than `most` of an epoch.

    What never had a seq (0), the gap of a machine, stays by itself; of those there are no more than `most`, either.
    """
    gaps, merged = list[Loss](), dict[str, list[Loss]]()
    for loss in sorted(losses, key=lambda each: each.first):
        if not loss.last:
            gaps.append(loss)
            continue
        of_epoch = merged.setdefault(loss.epoch, [])
        if of_epoch and loss.first <= of_epoch[-1].last + 1 and loss.cause == of_epoch[-1].cause:
            of_epoch[-1] = together(of_epoch[-1], loss)
        else:
            of_epoch.append(loss)
    for each in (gaps, *merged.values()):
        while len(each) > most:
            each[-2:] = [together(each[-2], each[-1])]
    return [*gaps, *(loss for each in merged.values() for loss in each)]


def together(a: Loss, b: Loss) -> Loss:
    """Both in one. A loss record by itself has no readings, and no time; a gap has a time, counted or not."""
    real = [each for each in (a, b) if each.count or not each.last] or [a, b]
    return replace(
        a,
        last=max(a.last, b.last),
        count=a.count + b.count,
        start=min(each.start for each in real),
        end=max(each.end for each in real),
        cause=real[0].cause,
        machine=a.machine if a.machine == b.machine else "",
        signal=a.signal if (a.machine, a.signal) == (b.machine, b.signal) else "",
        again=a.again + b.again,
    )


def without(ranges: Ranges, gone: Ranges) -> list[tuple[int, int]]:
    """Stretches of numbers, but for those that are gone."""
    left = list(ranges)
    for begin, end in gone:
        left = [
            part
            for first, last in left
            for part in ((first, min(last, begin - 1)), (max(first, end + 1), last))
            if part[0] <= part[1]
        ]
    return left
