"""The buffers that every test of the contract is run with."""

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from buffer.material import opened
from gateway.buffer import Disk, SegmentLog

Make = Callable[..., SegmentLog]


@pytest.fixture(params=["memory", "disk", "disk, each record committed"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    """Makes a buffer: without a disk, with one, and with one where nothing stays in memory for long."""
    numbers = itertools.count()

    def made(**more: object) -> SegmentLog:
        if request.param == "memory":
            return opened(None, **more)  # type: ignore[arg-type]
        buffer = opened(Disk(tmp_path / str(next(numbers))), **more)  # type: ignore[arg-type]
        if request.param != "disk":
            append = buffer.append

            def committed(*args: object) -> int:
                seq = append(*args)  # type: ignore[arg-type]
                if seq % 7 == 0:
                    buffer.commit()
                return seq

            buffer.append = committed  # type: ignore[method-assign]
        return buffer

    return made
