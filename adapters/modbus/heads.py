"""Whether what was read is from the SunSpec models it was to be from: their IDs and lengths tell. Pure.

    [ID L a b c]         a block with its head: both are of one moment
    [d e f]  …  [ID L]   a block without: the head is read after it, as models that have moved by then may have moved before

A head that was read before a block would say nothing about it. What this cannot see: models that go away and come back
between two requests of one poll. See sunspec.py for why they move at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from adapters.modbus.link import Answer
from adapters.modbus.plan import Block, make_blocks
from adapters.modbus.poll import MOVED, NO_ANSWER, REFUSED
from adapters.modbus.sunspec import HEAD, Model, PlacedSignal, head_of
from gateway.shared import once_per_object


@once_per_object
def models_in(block: Block) -> tuple[tuple[Model, ...], tuple[Model, ...]]:
    """The models that signals of a block are of: those whose heads are in it, and those whose heads are not."""
    models = dict.fromkeys(signal.within for signal in block.signals if isinstance(signal, PlacedSignal))
    end = block.address + block.count
    inside = tuple(model for model in models if block.address <= model.address and model.address + HEAD <= end)
    return inside, tuple(model for model in models if model not in inside)


def heads_after(blocks: Iterable[Block]) -> list[Block]:
    """The heads that have to be read after these blocks, each by itself."""
    far = {model: block.signals[0].poll for block in blocks for model in models_in(block)[1]}
    return [head for model, poll in far.items() for head in make_blocks([("", head_of(model, poll))], HEAD, 0)]


def doubts(blocks: Iterable[Block], answers: Iterable[Answer]) -> tuple[set[Model], list[Model]]:
    """The models that are not in their places, and those whose heads have to be read before one can tell.

    Of a block that is refused, too: it may lack a register, or the whole model.
    """
    moved: set[Model] = set()
    open_: dict[Model, None] = {}
    for block, answer in zip(blocks, answers, strict=False):
        inside, outside = models_in(block)
        if answer.data is not None:
            moved.update(model for model in inside if _head_in(block, answer.data, model) != model.head)
            open_ |= dict.fromkeys(outside)
        elif answer.code in REFUSED:
            open_ |= dict.fromkeys((*inside, *outside))
    return moved, [model for model in open_ if model not in moved]


def judged(blocks: Iterable[Block], answers: Sequence[Answer], moved: set[Model], unsure: set[Model]) -> list[Answer]:
    """The answers, without those of models that have moved, or of which one could not find out."""
    found = []
    for block, answer in zip(blocks, answers, strict=False):
        inside, outside = models_in(block)
        refused = answer.code in REFUSED
        if answer.data is not None or refused:
            if not moved.isdisjoint((*inside, *outside)):
                answer = Answer(code=MOVED, time=answer.time)
            elif not unsure.isdisjoint((*inside, *outside) if refused else outside):
                answer = Answer(code=NO_ANSWER, time=answer.time)
        found.append(answer)
    return found


def _head_in(block: Block, data: bytes, model: Model) -> bytes:
    at = 2 * (model.address - block.address)
    return data[at : at + 2 * HEAD]
