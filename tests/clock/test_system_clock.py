"""The clock of a box without a battery, through nights that pass in a millisecond.

The box of these tests has a wall that anybody may set and a clock that only runs. A row of a table says what is done to
the wall; whatever it is, the stamps have to be of one order, and what happened has to be told once.
"""

from __future__ import annotations

import os
import threading
import time
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway import clock as module
from gateway.clock import ERA, Policy, Step, SystemClock, TrackedClock, artificial, boot_id, kernel_synchronized

MS, S = 10**6, 10**9
MIN, HOUR, DAY = 60 * S, 3600 * S, 86400 * S
YEAR = 365 * DAY


def at(year: int, month: int = 1, day: int = 1, hour: int = 0) -> int:
    return int(datetime(year, month, day, hour, tzinfo=UTC).timestamp()) * S


NOW = at(2026, 11, 20, 12)


class Box:
    """A machine whose time does what a test says."""

    def __init__(self, wall: int = NOW, boot: int = 20 * S, last_known: int = 0, policy: Policy = "plausible") -> None:
        self.wall, self.boot = wall, boot
        self.synchronized = False
        self.shown: list[int] = []
        self.clock = self.process(last_known, policy)

    def process(self, last_known: int = 0, policy: Policy = "plausible") -> SystemClock:
        """Another process of this boot."""
        return SystemClock(lambda: self.wall, lambda: self.boot, lambda: self.synchronized, last_known, policy)

    def runs(self, ns: int, every: int = S, ppm: int = 0) -> None:
        """Time goes by, and the clock is asked now and then; `ppm`: the wall is made to run faster by so much."""
        end = self.boot + ns
        while self.boot < end:
            went = min(every, end - self.boot)
            self.boot += went
            self.wall += went + went * ppm // 10**6
            self.shown.append(self.clock.now())

    def is_set(self, by: int) -> None:
        self.wall += by

    def never_went_back(self) -> bool:
        return all(a <= b for a, b in pairwise(self.shown))

    def causes(self) -> list[str]:
        return [step.cause for step in self.clock.steps()]


# --- a box that works ------------------------------------------------------------------------------------------------


def test_the_wall_is_shown_to_the_nanosecond() -> None:
    box = Box()
    assert box.clock.trusted()
    for _ in range(100):
        box.runs(S + 1)
        assert box.clock.now() == box.wall
    assert box.clock.steps() == []
    assert isinstance(box.clock, TrackedClock)


def test_the_real_clock() -> None:
    clock = SystemClock()
    assert abs(clock.now() - time.time_ns()) < S
    assert abs(clock.monotonic() - time.monotonic()) < 1
    assert clock.trusted()
    assert clock.steps() == []


def test_a_suspended_box() -> None:
    """The running clock runs on in the sleep, so the wall has not moved against it."""
    box = Box()
    box.runs(MIN)
    box.runs(8 * HOUR, every=8 * HOUR)
    assert box.clock.now() == box.wall
    assert box.clock.steps() == []


def test_a_suspended_box_whose_running_clock_sleeps_too() -> None:
    """The control of the above: with CLOCK_MONOTONIC every sleep is a step."""
    box = Box()
    box.runs(MIN)
    box.is_set(8 * HOUR)
    box.runs(MIN)
    assert len(box.clock.steps()) == 1


@pytest.mark.parametrize("ppm", [500, 100, 1, -1, -100, -500])
def test_slewing_by_ntp_is_followed_in_silence(ppm: int) -> None:
    box = Box()
    box.runs(6 * HOUR, ppm=ppm)
    assert abs(box.clock.now() - box.wall) <= 2 * MS
    assert box.clock.steps() == []
    assert box.never_went_back()
    # Standing still for a moment is all that a wall running slower may cost.
    assert max(b - a for a, b in pairwise(box.shown)) < 1.01 * S
    assert min(b - a for a, b in pairwise(box.shown)) > 0.89 * S


# --- a wall that is set ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("by", "told"),
    [
        (400 * MS, ""),
        (600 * MS, "set forward by 0.6 s: followed"),
        (HOUR, "set forward by 3600.0 s: followed"),
        (DAY, "set forward by 1.0 days: followed"),
        (-400 * MS, ""),
        (-600 * MS, "set back by 0.6 s: still 0.6 s ahead of it, running slower"),
        (-S, "set back by 1.0 s: still 1.0 s ahead of it, running slower"),  # a leap second
        (-HOUR, "set back by 3600.0 s: still 3600.0 s ahead of it, running slower"),
        (-DAY, "set back by 1.0 days: still 1.0 days ahead of it, running slower"),
    ],
)
def test_a_step_of_a_day_at_most(by: int, told: str) -> None:
    box = Box()
    box.runs(MIN)
    expected = box.wall
    box.is_set(by)
    first = box.clock.now()
    assert first == max(expected, box.wall)
    steps = box.clock.steps()
    assert [step.cause for step in steps] == ([f"the clock was {told}"] if told else [])
    assert [(step.before, step.after) for step in steps] == ([(expected, expected + by)] if told else [])
    box.runs(max(0, -by) * 10 + MIN, every=max(S, abs(by) // 1000))
    assert box.clock.now() == box.wall
    assert box.never_went_back()
    assert box.clock.steps() == []


def test_after_a_step_back_every_poll_has_a_stamp_of_its_own() -> None:
    box = Box()
    box.runs(MIN)
    box.is_set(-HOUR)
    before = box.clock.now()
    box.runs(MIN, every=10 * MS)
    assert all(a < b for a, b in pairwise([before, *box.shown[-6000:]]))
    assert box.shown[-1] - before == pytest.approx(0.9 * MIN, abs=1000)


def test_a_step_forward_while_running_slower_takes_the_rest_away() -> None:
    box = Box()
    box.runs(MIN)
    box.is_set(-HOUR)
    box.runs(MIN)
    box.is_set(HOUR)
    box.runs(MIN)
    assert box.clock.now() == box.wall
    assert [step.after - step.before for step in box.clock.steps()] == [-HOUR, 6 * S]
    box.is_set(-HOUR)
    box.runs(S)
    box.is_set(HOUR // 2)
    box.runs(S)
    assert box.causes()[-1].endswith("set forward by 1800.0 s: still 1799.9 s ahead of it, running slower")
    assert box.never_went_back()


# --- a wall that is years away ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("years", [10, -10, 50, -50])
def test_years_away_and_back_within_minutes_is_not_believed(years: int) -> None:
    """-50 years is 1976, +50 is 2076: neither may ever be in a stamp."""
    box = Box()
    box.runs(MIN)
    expected = box.wall
    box.is_set(years * YEAR)
    box.runs(5 * MIN)
    assert box.clock.now() == box.shown[-1] == expected + 5 * MIN
    assert box.clock.steps() == []  # it is not over
    box.is_set(-years * YEAR)
    box.runs(MIN)
    assert box.clock.now() == box.wall == expected + 6 * MIN
    (step,) = box.clock.steps()
    way = "forward" if years > 0 else "back"
    assert (
        step.cause == f"the clock jumped {way} by {abs(years) * 365:.1f} days and came back after 300.0 s: not believed"
    )
    assert (step.before, step.after) == (expected + S, expected + S + years * YEAR)  # when it was seen
    assert box.never_went_back()
    box.is_set(HOUR)  # and it is as watchful as before
    box.runs(S)
    assert len(box.clock.steps()) == 1


@pytest.mark.parametrize("by", [10 * YEAR, 2 * DAY, -2 * DAY, -200 * DAY])
def test_what_has_stood_for_ten_minutes_is_followed(by: int) -> None:
    box = Box()
    box.runs(MIN)
    expected = box.wall
    box.is_set(by)
    box.runs(10 * MIN - S)
    assert box.clock.now() == expected + 10 * MIN - S
    box.runs(3 * S)
    assert box.clock.now() == box.wall
    (step,) = box.clock.steps()
    assert step.cause.endswith("followed, it has stood there for 600.0 s")
    assert step.after - step.before == by
    assert box.never_went_back() == (by > 0)  # the one case
    box.runs(HOUR)
    assert box.clock.now() == box.wall
    assert box.clock.steps() == []


@pytest.mark.parametrize("by", [10 * YEAR, -200 * DAY])
def test_what_the_kernel_vouches_for_is_followed_at_once(by: int) -> None:
    box = Box()
    box.runs(MIN)
    box.is_set(by)
    box.synchronized = True
    assert box.clock.now() == box.wall
    (step,) = box.clock.steps()
    assert step.cause.endswith("followed, the system says that it is synchronized")
    assert step.after - step.before == by


@pytest.mark.parametrize("wrong", [at(1970), at(2025), at(2100)])
def test_what_cannot_be_right_is_never_followed(wrong: int) -> None:
    """Not after a week, and not in the word of the kernel."""
    box = Box()
    box.runs(MIN)
    expected = box.wall
    box.is_set(wrong - box.wall)
    box.synchronized = True
    box.runs(7 * DAY, every=MIN)
    assert box.clock.now() == expected + 7 * DAY
    (told,) = box.causes()
    assert told.endswith("which cannot be right: not believed. Set it")
    box.is_set(expected + 7 * DAY - box.wall)
    box.runs(MIN)
    (told,) = box.causes()
    assert "came back after" in told
    assert box.clock.now() == box.wall


def test_a_wall_that_jumps_again_has_to_stand_anew() -> None:
    box = Box()
    box.is_set(0)
    box.runs(MIN)
    box.is_set(10 * YEAR)
    box.runs(8 * MIN)
    box.is_set(-5 * YEAR)
    box.runs(8 * MIN)
    assert artificial(box.clock.now()) is False
    assert box.clock.now() == NOW + 17 * MIN
    box.runs(3 * MIN)
    assert box.clock.now() == box.wall
    assert len(box.clock.steps()) == 1


def test_a_jump_is_not_believed_while_running_slower() -> None:
    box = Box()
    box.runs(MIN)
    box.is_set(-HOUR)
    box.runs(MIN)
    box.is_set(10 * YEAR)
    box.runs(5 * MIN)
    box.is_set(-10 * YEAR)
    box.runs(MIN)
    assert box.clock.now() == pytest.approx(box.wall + HOUR - 42 * S, abs=S // 5)  # a tenth of 7 minutes
    assert box.never_went_back()
    assert len(box.clock.steps()) == 2


# --- a box that does not know the time ---------------------------------------------------------------------------------


def test_1970_at_boot() -> None:
    box = Box(wall=20 * S)
    assert not box.clock.trusted()
    assert box.clock.shift() is None
    box.runs(HOUR)
    assert all(artificial(shown) for shown in box.shown)
    assert box.shown[-1] == ERA + 20 * S + HOUR
    taken, truly = box.shown[0], NOW - HOUR + S
    box.is_set(NOW - box.wall)
    assert box.clock.now() == NOW
    assert box.clock.trusted()
    shift = box.clock.shift()
    assert shift is not None
    assert taken + shift == truly
    assert box.clock.steps() == []  # it was not wrong: it was known not to be known
    box.runs(MIN)
    assert box.never_went_back()
    assert box.clock.now() == box.wall


def test_once_trusted_always_trusted() -> None:
    box = Box(wall=20 * S)
    box.is_set(NOW)
    assert box.clock.trusted()
    box.is_set(-NOW)
    box.runs(HOUR)
    assert box.clock.trusted()
    assert box.clock.now() == NOW + 20 * S + HOUR


def test_processes_of_one_boot_stamp_in_one_order() -> None:
    box = Box(wall=20 * S)
    box.runs(MIN)
    box.clock = box.process()
    box.runs(MIN)
    assert box.shown == sorted(set(box.shown))


@pytest.mark.parametrize(
    ("wall", "last_known", "trusted"),
    [
        (at(1970), 0, False),
        (at(2000), 0, False),
        (at(2025, 12, 31), 0, False),
        (at(2026, 1, 2), 0, True),
        (at(2099), 0, True),
        (at(2100), 0, False),
        (NOW, NOW - YEAR, True),  # a year in a cupboard
        (NOW, NOW - HOUR, True),
        (NOW, NOW + 23 * HOUR, True),
        (NOW, NOW + 25 * HOUR, False),  # the clock was saved days ago, or comes from the image
        (NOW, ERA + HOUR, True),  # an artificial stamp says nothing
        (NOW, at(2200), True),
    ],
)
def test_what_a_wall_has_to_look_like(wall: int, last_known: int, trusted: bool) -> None:
    box = Box(wall, last_known=last_known)
    assert box.clock.trusted() is trusted
    assert artificial(box.clock.now()) is not trusted
    other = Box(wall)
    other.clock.remember(last_known)
    assert other.clock.trusted() is trusted


def test_waiting_does_not_make_a_wrong_wall_right() -> None:
    box = Box(NOW, last_known=NOW + 30 * HOUR)
    box.runs(3 * DAY, every=MIN)
    assert not box.clock.trusted()
    box.is_set(31 * HOUR)
    assert box.clock.trusted()


def test_what_was_recorded_by_a_clock_years_ahead_does_not_shut_us_out() -> None:
    box = Box(NOW, last_known=NOW + 10 * YEAR)
    box.runs(HOUR)
    assert not box.clock.trusted()
    box.synchronized = True
    assert box.clock.trusted()
    assert box.clock.now() == box.wall


def test_a_clock_saved_at_shutdown() -> None:
    """fake-hwclock: the box was off for three hours, and takes the hour of its shutdown for now."""
    box = Box(NOW - 3 * HOUR, last_known=NOW - 3 * HOUR + MIN)  # saved a minute before the last reading
    assert box.clock.trusted()
    box.runs(MIN)
    assert box.shown[0] >= NOW - 3 * HOUR + MIN
    (told,) = box.causes()
    assert told.startswith("at the start the clock was 60.0 s behind what had been recorded")
    box.is_set(3 * HOUR)
    box.runs(MIN)
    (step,) = box.clock.steps()
    assert step.after - step.before == pytest.approx(3 * HOUR - MIN, abs=7 * S)
    assert box.clock.now() == box.wall
    assert box.never_went_back()


def test_a_restart_while_running_slower_does_not_go_back() -> None:
    box = Box()
    box.runs(MIN)
    box.is_set(-HOUR)
    box.runs(MIN)
    box.boot += 5 * S
    box.wall += 5 * S
    box.clock = box.process(last_known=box.shown[-1])
    box.runs(11 * HOUR, every=10 * S)
    assert box.never_went_back()
    assert box.clock.now() == box.wall
    assert len(box.clock.steps()) == 1


def test_what_is_rebased_comes_after_what_was_recorded() -> None:
    """The box stood in 1970 for an hour, and is then given a time that is a little old."""
    box = Box(wall=20 * S, last_known=NOW)
    box.runs(HOUR)
    box.is_set(NOW + HOUR // 2 - box.wall)
    shift = box.clock.shift()
    assert shift is not None
    rebased = [shown + shift for shown in box.shown]
    assert rebased[0] > NOW
    box.runs(MIN)
    assert rebased[-1] < box.shown[-60]


def test_the_shift_stays_what_it_was() -> None:
    box = Box(wall=20 * S)
    box.runs(MIN)
    box.is_set(NOW - box.wall)
    shift = box.clock.shift()
    box.is_set(3 * HOUR)
    box.runs(MIN)
    assert box.clock.shift() == shift
    box.is_set(3 * YEAR)
    box.synchronized = True
    box.runs(MIN)
    assert box.clock.shift() == (shift or 0) + 3 * HOUR + 3 * YEAR


def test_the_policy_synchronized() -> None:
    box = Box(policy="synchronized")
    box.runs(HOUR)
    assert not box.clock.trusted()
    assert all(artificial(shown) for shown in box.shown)
    box.is_set(MIN)
    box.synchronized = True
    assert box.clock.now() == box.wall
    assert box.clock.trusted()
    assert box.clock.shift() == box.wall - ERA - box.boot
    box.synchronized = False  # the network is gone again
    box.runs(HOUR)
    assert box.clock.trusted()
    assert Box().clock.trusted()  # the control: the other policy needs nobody's word


def test_the_policy_synchronized_does_not_believe_in_1970() -> None:
    box = Box(wall=20 * S, policy="synchronized")
    box.synchronized = True
    assert not box.clock.trusted()


def test_the_limits_of_artificial_time() -> None:
    assert at(1990) == ERA
    assert [artificial(ns) for ns in (0, ERA - 1, ERA, ERA + YEAR, ERA + 5 * YEAR - 1, ERA + 5 * YEAR, NOW)] == [
        False, False, True, True, True, False, False,
    ]  # fmt: skip


# --- any sequence of them ----------------------------------------------------------------------------------------------

_TIMES = st.integers(0, 20 * 60 * S)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(st.integers(-DAY, DAY), _TIMES), max_size=30),
    st.integers(-DAY, DAY),
)
@example([(-DAY, 0), (-DAY, 0), (DAY, 0)], 0)
@example([(S // 2, 0), (S // 2 + 1, 0), (-S // 2, 0), (-S // 2 - 1, 0)], 0)
def test_steps_of_a_day_at_most(moves: list[tuple[int, int]], ahead: int) -> None:
    box = Box(NOW, last_known=NOW + ahead)
    box.shown.append(box.clock.now())
    assert len(box.clock.steps()) == (ahead > S // 2)
    for by, then in moves:
        box.is_set(by)
        box.shown.append(box.clock.now())
        assert len(box.clock.steps()) == (abs(by) > S // 2)
        box.runs(then, every=7 * S)
        assert box.clock.steps() == []
        assert box.clock.now() >= box.wall - MS  # forward is followed at once
    assert box.never_went_back()
    behind = box.clock.now() - box.wall
    box.runs(10 * max(0, behind) + S, every=max(S, abs(behind) // 10))
    assert abs(box.clock.now() - box.wall) <= MS
    box.is_set(0)
    box.runs(MIN)
    assert box.never_went_back()
    assert box.clock.steps() == []


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(st.integers(at(1970), at(2110)), _TIMES, st.booleans()), min_size=1, max_size=12),
    st.sampled_from(["plausible", "synchronized"]),
)
def test_any_wall_at_all(moves: list[tuple[int, int, bool]], policy: Policy) -> None:
    """Nothing is stamped with a time that cannot be, trust does not end, and going back is rare and told."""
    box = Box(wall=20 * S, policy=policy)
    trusted, steps = False, list[Step]()
    for to, then, synchronized in moves:
        box.wall, box.synchronized = to, synchronized
        box.shown.append(box.clock.now())
        box.runs(then, every=30 * S)
        steps += box.clock.steps()
        assert box.clock.trusted() >= trusted
        trusted = box.clock.trusted()
    assert all(artificial(shown) or at(2026) <= shown < at(2100) + HOUR * 12 for shown in box.shown)
    back = sum(a > b for a, b in pairwise(box.shown))
    assert back <= sum("followed" in step.cause and step.after < step.before for step in steps)


# --- being asked -------------------------------------------------------------------------------------------------------


def test_a_thread_that_is_stopped_between_the_two_clocks() -> None:
    """The wall is read a second after the running clock: that is not a step."""
    box = Box()
    box.runs(MIN)
    late = [0]

    def running() -> int:
        shown = box.boot
        if late[0]:
            late[0] -= 1
            box.boot += S
            box.wall += S
        return shown

    clock = SystemClock(lambda: box.wall, running, lambda: False)
    clock.now()
    for times in (1, 2, 3):
        late[0] = times
        assert abs(clock.now() - box.wall) <= S
        assert clock.now() == box.wall
        assert clock.steps() == []


def test_threads_see_one_order() -> None:
    clock = SystemClock()
    shown: list[list[int]] = [[] for _ in range(4)]
    newest = [0]
    wrong: list[tuple[int, int]] = []

    def ask(mine: list[int]) -> None:
        for _ in range(20_000):
            seen = newest[0]  # somebody was shown this before we ask
            now = clock.now()
            if now < seen:
                wrong.append((seen, now))
            if now > newest[0]:
                newest[0] = now
            mine.append(now)

    threads = [threading.Thread(target=ask, args=(each,)) for each in shown]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert not wrong
    assert all(a <= b for each in shown for a, b in pairwise(each))
    assert clock.steps() == []


def test_threads_that_find_a_jump_at_once_tell_it_once() -> None:
    moved, shown = [0], list[int]()

    def synchronized() -> bool:
        time.sleep(0.005)  # another thread comes between
        return True

    clock = SystemClock(lambda: NOW + moved[0], lambda: 20 * S, synchronized)
    clock.now()
    moved[0] = YEAR
    threads = [threading.Thread(target=lambda: shown.append(clock.now())) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert shown == [NOW + YEAR] * 8
    assert len(clock.steps()) == 1


def test_steps_that_nobody_asks_for_do_not_pile_up() -> None:
    box = Box()
    for _ in range(3000):
        box.is_set(2 * S)
        box.runs(S)
    assert len(box.clock.steps()) == 1000


def test_pauses_are_measured_on_a_clock_of_their_own() -> None:
    assert SystemClock(monotonic=lambda: 12.5).monotonic() == 12.5


# --- what the machine says -----------------------------------------------------------------------------------------------


def test_the_boot_id(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert len(boot_id()) == 36
    assert boot_id() == boot_id()
    monkeypatch.setattr(module, "_BOOT_ID", tmp_path / "none")
    assert boot_id() == ""


@pytest.mark.parametrize(
    ("said", "touched", "expected"),
    [
        (0, None, True),
        (4, None, True),  # a leap second has just been
        (5, None, False),  # TIME_ERROR: STA_UNSYNC
        (-1, None, False),  # seccomp
        (5, 0, True),
        (5, -HOUR, True),
        (5, -400 * DAY, False),  # the wall was set forward since
        (5, 400 * DAY, False),  # or back
    ],
)
def test_the_word_of_the_kernel(
    said: int,
    touched: int | None,
    expected: bool,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    file = tmp_path / "synchronized"
    if touched is not None:
        file.touch()
        stamp = time.time_ns() + touched
        os.utime(file, ns=(stamp, stamp))
    monkeypatch.setattr(module, "_TIMESYNCD", file)
    monkeypatch.setattr(module, "_adjtimex", lambda: lambda: said)
    assert kernel_synchronized() is expected


def test_the_kernel_itself_can_be_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What it says depends on this machine; /proc does not know, but it must not be a crash, and twice the same."""
    monkeypatch.setattr(module, "_TIMESYNCD", tmp_path / "none")
    assert kernel_synchronized() == kernel_synchronized()
