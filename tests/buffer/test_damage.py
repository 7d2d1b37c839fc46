"""Whatever happens to the files: only what is damaged is lost, and it is declared, with the number of readings."""

import random
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from buffer.material import Clock, fill, losses, opened
from gateway.buffer import Disk, SegmentLog
from gateway.buffer.marks import SIZE, decode_marks
from gateway.buffer.record import HEAD, SEGMENT_HEAD, scan

READINGS = 3
SMALL = 16 * 4096 * 4  # bytes: segments of 16 KiB
Kept = dict[tuple[str, int], bytes]


def records(buffer: SegmentLog) -> Kept:
    return {(r.epoch, r.seq): r.payload for r in buffer.read(0, 10**6) if not r.is_loss}


def written(folder: Path, count: int = 300, *, clean: bool = True, size: int = 200) -> Kept:
    """A buffer with so many records in several segments; then the end, clean or as by a kill."""
    clock = Clock()
    buffer = opened(Disk(folder), max_bytes=SMALL, clock=clock)
    for _ in range(count // 10):
        fill(buffer, 10, size)
        buffer.commit()
    # How far it reaches is noted beside the segments every ten seconds.
    clock.wait(11)
    buffer.commit()
    kept = records(buffer)
    assert len(kept) == count
    if clean:
        buffer.close()
    else:
        assert buffer._disk is not None
        buffer._disk.close()
    return kept


def segments(folder: Path) -> list[Path]:
    """Those with records, oldest first."""
    return sorted(
        (file for file in folder.glob("*.segment") if any(file.read_bytes()[SEGMENT_HEAD:])),
        key=lambda file: file.read_bytes()[SEGMENT_HEAD + 24 : SEGMENT_HEAD + 32][::-1],
    )


def missing(folder: Path, kept: Kept) -> set[tuple[str, int]]:
    """Reopens it; what is not there any more, all of which has to be declared, with the right number of readings."""
    buffer = opened(Disk(folder), max_bytes=SMALL)
    found = records(buffer)
    fill(buffer, 5, 50)
    buffer.commit()
    assert set(found) <= set(kept)
    assert all(kept[identity] == payload for identity, payload in found.items())
    declared: dict[tuple[str, int], int] = {}
    for loss in losses(buffer):
        assert loss.cause == "damaged"
        for seq in range(loss.first, loss.last + 1):
            declared[loss.epoch, seq] = declared.get((loss.epoch, seq), 0) + 1
    gone = set(kept) - set(found)
    assert set(declared) >= gone, "lost without a word"
    assert set(declared) & set(found) == set(), "declared lost, and there"
    assert sum(loss.count for loss in losses(buffer)) in (len(gone) * READINGS, 0 if not gone else len(gone) * READINGS)
    # It goes on as if nothing had happened, and what it declared is not declared again.
    before = losses(buffer)
    buffer.close()
    again = opened(Disk(folder), max_bytes=SMALL)
    assert losses(again) == before
    fill(again, 1)
    new = [r for r in again.read(0, 10**6) if (r.epoch, r.seq) not in kept and not r.is_loss]
    assert len(new) == 6
    again.close()
    return gone


def place_of_last(file: Path, folder: Path) -> tuple[int, int]:
    """Offset and length of the last record of a segment."""
    data = file.read_bytes()
    first = int.from_bytes(data[16:24], "little")
    found = scan(data, first, int.from_bytes(data[24:32], "little"))
    at = found.offsets[-1]
    return at, int.from_bytes(data[at + 4 : at + 8], "little")


@pytest.mark.parametrize("clean", [True, False], ids=["closed", "killed"])
def test_undamaged(tmp_path, clean):
    kept = written(tmp_path / "b", clean=clean)
    assert missing(tmp_path / "b", kept) == set()


@pytest.mark.parametrize("clean", [True, False], ids=["closed", "killed"])
def test_a_flip_at_every_offset_of_the_last_record(tmp_path, clean):
    kept = written(tmp_path / "whole", 120, clean=clean)
    file = segments(tmp_path / "whole")[-1]
    at, length = place_of_last(file, tmp_path)
    for offset in range(at, at + length):
        folder = tmp_path / "b"
        shutil.copytree(tmp_path / "whole", folder)
        flip(folder / file.name, offset, offset % 8)
        assert missing(folder, kept) == {max(kept, key=lambda each: each[1])}, offset
        shutil.rmtree(folder)


@pytest.mark.parametrize("clean", [True, False], ids=["closed", "killed"])
def test_a_flip_anywhere(tmp_path, clean):
    kept = written(tmp_path / "whole", clean=clean)
    rng = random.Random(7)
    names = [file.name for file in segments(tmp_path / "whole")]
    hit = 0
    for _ in range(300):
        folder = tmp_path / "b"
        shutil.copytree(tmp_path / "whole", folder)
        name = rng.choice(names)
        flip(folder / name, rng.randrange((folder / name).stat().st_size), rng.randrange(8))
        gone = missing(folder, kept)
        assert len(gone) <= 1
        hit += len(gone)
        shutil.rmtree(folder)
    assert hit > 150  # most of a file is records


def test_many_flips_and_overwritten_pages(tmp_path):
    kept = written(tmp_path / "whole")
    rng = random.Random(8)
    names = [file.name for file in segments(tmp_path / "whole")]
    for round_ in range(100):
        folder = tmp_path / "b"
        shutil.copytree(tmp_path / "whole", folder)
        for _ in range(rng.randrange(1, 20)):
            file = folder / rng.choice(names)
            at = rng.randrange(file.stat().st_size)
            if round_ % 2:
                flip(file, at, rng.randrange(8))
            else:
                with file.open("r+b") as opened_file:
                    opened_file.seek(at // 512 * 512)
                    opened_file.write(rng.choice([bytes(512), rng.randbytes(512)]))
        assert len(missing(folder, kept)) < len(kept)
        shutil.rmtree(folder)


@pytest.mark.parametrize("which", [0, 1, -1], ids=["oldest", "second", "newest"])
@pytest.mark.parametrize("clean", [True, False], ids=["closed", "killed"])
def test_a_truncated_segment(tmp_path, which, clean):
    kept = written(tmp_path / "whole", clean=clean)
    file = segments(tmp_path / "whole")[which]
    at, length = place_of_last(file, tmp_path)
    for size in [0, 1, SEGMENT_HEAD - 1, SEGMENT_HEAD, SEGMENT_HEAD + HEAD + 5, *range(at, at + length, 7)]:
        folder = tmp_path / "b"
        shutil.copytree(tmp_path / "whole", folder)
        with (folder / file.name).open("r+b") as opened_file:
            opened_file.truncate(size)
        gone = missing(folder, kept)
        if size >= at:
            assert len(gone) == 1
        shutil.rmtree(folder)


@pytest.mark.parametrize("which", [[0], [1], [-1], [0, 1], [1, 3], [-1, -2], [0, -1]])
@pytest.mark.parametrize("clean", [True, False], ids=["closed", "killed"])
def test_missing_segments(tmp_path, which, clean):
    kept = written(tmp_path / "b", clean=clean)
    files = segments(tmp_path / "b")
    for i in which:
        files[i].unlink()
    gone = missing(tmp_path / "b", kept)
    assert 0 < len(gone) < len(kept)


def test_no_segment_is_left(tmp_path):
    kept = written(tmp_path / "b")
    for file in segments(tmp_path / "b"):
        file.unlink()
    assert missing(tmp_path / "b", kept) == set(kept)


def test_segments_that_were_swapped_or_copied(tmp_path):
    """What a segment is stands in it, not in its name."""
    kept = written(tmp_path / "b")
    a, b, c, *_ = segments(tmp_path / "b")
    a.rename(tmp_path / "b" / "x")
    b.rename(a)
    (tmp_path / "b" / "x").rename(b)
    shutil.copy(c, tmp_path / "b" / "00000099.segment")
    assert missing(tmp_path / "b", kept) == set()


@pytest.mark.parametrize("clean", [True, False], ids=["closed", "killed"])
@pytest.mark.parametrize("slots", [[0], [1], [0, 1]])
def test_marks_that_are_damaged(tmp_path, slots, clean):
    kept = written(tmp_path / "b", clean=clean)
    for slot in slots:
        flip(tmp_path / "b" / "marks", slot * SIZE // 2 + 20, 3)
    assert missing(tmp_path / "b", kept) == set()


def test_no_marks(tmp_path):
    kept = written(tmp_path / "b")
    (tmp_path / "b" / "marks").unlink()
    assert missing(tmp_path / "b", kept) == set()


def test_what_is_stored_is_not_declared_when_it_is_damaged(tmp_path):
    buffer = opened(Disk(tmp_path / "b"), max_bytes=SMALL)
    fill(buffer, 300, 200)
    buffer.mark_stored(buffer.epoch, [(101, 200)], buffer.last)
    buffer.close()
    for file in segments(tmp_path / "b")[2:4]:
        file.unlink()
    buffer = opened(Disk(tmp_path / "b"), max_bytes=SMALL)
    there = {seq for _, seq in records(buffer)}
    declared = {seq for loss in losses(buffer) for seq in range(loss.first, loss.last + 1)}
    assert there | declared == {*range(1, 101), *range(201, 301)}
    assert there.isdisjoint(declared)


def test_files_of_others(tmp_path):
    """Garbage, another version, folders: left alone."""
    kept = written(tmp_path / "b")
    (tmp_path / "b" / "notes.txt").write_text("hello")
    (tmp_path / "b" / "00000050.segment").write_bytes(b"SFGWBUF\x7f" + bytes(5000))
    (tmp_path / "b" / "00000051.segment").write_bytes(random.Random(1).randbytes(20000))
    (tmp_path / "b" / "00000052.segment.new").write_bytes(b"half")
    assert missing(tmp_path / "b", kept) == set()
    assert (tmp_path / "b" / "00000050.segment").read_bytes()[:8] == b"SFGWBUF\x7f"
    assert not (tmp_path / "b" / "00000052.segment.new").exists()


@given(data=st.binary(max_size=2000))
def test_any_bytes_are_searched_without_an_error(data):
    found = scan(data, 1, 0)
    assert not found.positions or found.next > 1
    decode_marks(data)


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_any_change_of_a_segment_is_survived(data, tmp_path_factory):
    """Cut out, doubled, moved: what is found is what was written, in order."""
    whole, kept = _whole(tmp_path_factory)
    changed = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        a, b = sorted(data.draw(st.tuples(*[st.integers(SEGMENT_HEAD, len(whole))] * 2)))
        kind = data.draw(st.sampled_from(["cut", "double", "zero", "random"]))
        if kind == "cut":
            del changed[a:b]
        elif kind == "double":
            changed[a:a] = changed[a:b]
        else:
            length = len(changed[a:b])
            changed[a:b] = bytes(length) if kind == "zero" else data.draw(st.randoms()).randbytes(length)
    found = scan(changed, 1, 0)
    assert list(found.positions) == sorted(found.positions)
    assert set(found.positions) <= set(kept)
    for at, position in zip(found.offsets, found.positions, strict=True):
        assert bytes(changed[at : at + len(kept[position])]) == kept[position]


_made: dict[int, tuple[bytes, dict[int, bytes]]] = {}


def _whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, dict[int, bytes]]:
    if not _made:
        folder = tmp_path_factory.mktemp("whole") / "b"
        written(folder, 50)
        data = segments(folder)[0].read_bytes()
        found = scan(data, 1, 0)
        lengths = [int.from_bytes(data[at + 4 : at + 8], "little") for at in found.offsets]
        kept = {p: data[at : at + n] for at, p, n in zip(found.offsets, found.positions, lengths, strict=True)}
        _made[0] = data, kept
    return _made[0]


def flip(file: Path, offset: int, bit: int) -> None:
    with file.open("r+b") as opened_file:
        opened_file.seek(offset)
        byte = opened_file.read(1)[0]
        opened_file.seek(offset)
        opened_file.write(bytes([byte ^ 1 << bit]))
