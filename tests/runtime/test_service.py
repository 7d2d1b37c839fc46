"""The service manager hears what is true: over a real socket, with a clock that a test moves, in the shipped unit."""

import asyncio
import logging
import os
import select
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.clock import SystemClock
from gateway.runtime import service
from gateway.runtime.service import Notifier, Progress, keep_fed


class HandClock(SystemClock):
    """Time that a test moves."""

    running = 1000.0

    def monotonic(self) -> float:
        return self.running


class Ear:
    """The service manager's end of the socket."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self.socket.setblocking(False)

    def heard(self) -> list[str]:
        """All that has come since the last time."""
        messages = []
        while True:
            try:
                messages.append(self.socket.recv(4096).decode())
            except BlockingIOError:
                return messages

    async def next(self) -> str:
        async with asyncio.timeout(10):
            return (await asyncio.get_running_loop().sock_recv(self.socket, 4096)).decode()

    def notifier(self, **env: str) -> Notifier:
        return Notifier({"NOTIFY_SOCKET": self.address, **env})

    def vanish(self) -> None:
        self.socket.close()
        Path(self.address).unlink()


@pytest.fixture
def ear(tmp_path) -> Iterator[Ear]:
    made = Ear(str(tmp_path / "notify"))
    yield made
    made.socket.close()


class Work:
    """A part with something to do."""

    def __init__(self, owed: bool = True) -> None:
        self.owed, self.done = owed, 0

    def join(self, progress: Progress, name: str, patience: float = 30.0) -> "Work":
        progress.stage(name, lambda: self.owed, lambda: self.done, patience)
        return self


# --- what is said ----------------------------------------------------------------------------------------------------


def test_each_word_arrives(ear):
    notifier = ear.notifier()
    notifier.ready()
    notifier.status("7 machines are read")
    notifier.watchdog()
    notifier.stopping()
    assert ear.heard() == ["READY=1", "STATUS=7 machines are read", "WATCHDOG=1", "STOPPING=1"]


def test_an_abstract_address():
    ear = Ear(f"@gateway-test-{os.getpid()}")
    try:
        ear.notifier().ready()
        assert ear.heard() == ["READY=1"]
    finally:
        ear.socket.close()


def test_it_is_the_environment_of_the_process_that_counts(ear, monkeypatch):
    monkeypatch.setenv("NOTIFY_SOCKET", ear.address)
    monkeypatch.setenv("WATCHDOG_USEC", "30000000")
    notifier = Notifier()
    notifier.ready()
    assert (notifier.interval, ear.heard()) == (15.0, ["READY=1"])


def test_without_a_service_manager_nothing_happens(monkeypatch, caplog):
    def refuse(*_: object) -> None:
        raise AssertionError("a socket")

    monkeypatch.setattr(socket, "socket", refuse)
    notifier = Notifier({})
    for say in (notifier.ready, notifier.watchdog, notifier.stopping):
        say()
    notifier.status("fine")
    assert not caplog.records
    assert notifier.interval is None


def test_an_address_of_another_kind_is_said_once(caplog):
    notifier = Notifier({"NOTIFY_SOCKET": "vsock:2:1234"})
    notifier.ready()
    notifier.watchdog()
    assert [record.getMessage().rpartition(": ")[2] for record in caplog.records] == ["vsock:2:1234"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("press-07:\n  no answer\tfor 3 s\r\n", "press-07: no answer for 3 s"),
        ("READY=1\nWATCHDOG=1", "READY=1 WATCHDOG=1"),  # a name from a machine is no message of ours
        ("a\0b\x1b[31mc\u2028d", "a b [31mc d"),
        ("half a character: \ud83d", "half a character:"),
        ("x" * 300, "x" * 200),
        ("broker mqtt://edge-01:pa55@broker.lan:1883 is away", "broker mqtt://broker.lan:1883 is away"),
        ("see opc.tcp://10.0.0.1:4840/a@b", "see opc.tcp://10.0.0.1:4840/a@b"),
        ("Đang đọc 4 máy", "Đang đọc 4 máy"),
    ],
)
def test_a_status_is_one_short_line_without_passwords(ear, text, shown):
    ear.notifier().status(text)
    assert ear.heard() == [f"STATUS={shown}"]


@pytest.mark.parametrize(
    ("env", "interval"),
    [
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 15.0),
        ({"WATCHDOG_USEC": "500000"}, 0.25),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getppid())}, None),  # inherited
        ({"WATCHDOG_PID": str(os.getpid())}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "-1"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": ""}, None),
    ],
)
def test_the_interval_is_half_of_what_is_allowed(env, interval):
    assert Notifier(env).interval == interval


# --- when it cannot be said ------------------------------------------------------------------------------------------


def test_a_socket_that_vanishes_is_said_once_and_what_matters_is_said_later(ear, caplog):
    notifier = ear.notifier()
    ear.vanish()
    notifier.ready()
    notifier.status("starting")
    notifier.status("running")
    notifier.watchdog()
    assert len(caplog.records) == 1
    assert "NOTIFY_SOCKET" in caplog.text
    ear.socket = Ear(ear.address).socket
    notifier.status("running well")
    notifier.watchdog()
    assert ear.heard() == ["READY=1\nSTATUS=running well", "WATCHDOG=1"]  # that it was alive then is no news
    assert len(caplog.records) == 1


def test_a_service_manager_that_does_not_read_does_not_stop_us(ear, caplog):
    """Negative control: the same socket, blocking, would wait for ever; this test would not end."""
    notifier = ear.notifier()
    while not caplog.records:
        notifier.watchdog()
    notifier.ready()
    assert len(caplog.records) == 1
    assert set(ear.heard()) == {"WATCHDOG=1"}
    notifier.watchdog()
    assert ear.heard() == ["READY=1\nWATCHDOG=1"]


# --- progress --------------------------------------------------------------------------------------------------------


def test_a_part_that_owes_something_and_stands_still_is_stuck():
    clock = HandClock()
    progress = Progress(clock)
    work = Work().join(progress, "commit")
    clock.running += 29.9
    assert progress.stuck() == []
    clock.running += 0.1
    assert progress.stuck() == ["commit"]
    work.done += 1
    assert progress.stuck() == []
    clock.running += 30
    assert progress.stuck() == ["commit"]


def test_attempts_are_enough():
    """A dead machine, a broker that is away, a full disk: it owes for ever, and goes on trying."""
    clock = HandClock()
    progress = Progress(clock)
    work = Work().join(progress, "publish")
    for _ in range(100):
        clock.running += 29
        work.done += 1
        assert progress.stuck() == []


def test_whoever_owes_nothing_may_rest_and_starts_with_all_its_patience():
    clock = HandClock()
    progress = Progress(clock)
    work = Work(owed=False).join(progress, "commit")
    clock.running += 3600
    assert progress.stuck() == []
    work.owed = True  # nobody looked for an hour
    clock.running += 3600
    assert progress.stuck() == []
    clock.running += 30
    assert progress.stuck() == ["commit"]
    work.owed = False  # what was owed was dropped
    assert progress.stuck() == []
    work.owed = True
    assert progress.stuck() == []


def test_a_count_that_starts_again_is_progress():
    clock = HandClock()
    progress = Progress(clock)
    work = Work().join(progress, "poll")
    work.done = 5
    assert progress.stuck() == []
    clock.running += 30
    work.done = 0  # a part that was built anew
    assert progress.stuck() == []


def test_each_part_has_its_own_patience_and_a_name_is_there_once():
    clock = HandClock()
    progress = Progress(clock)
    Work().join(progress, "poll[bus1]", 90)
    Work().join(progress, "commit", 30)
    clock.running += 30
    assert progress.stuck() == ["commit"]
    clock.running += 60
    assert progress.stuck() == ["poll[bus1]", "commit"]
    Work().join(progress, "commit", 30)
    assert progress.stuck() == ["poll[bus1]"]


def test_what_cannot_be_asked_is_said_once_and_hides_nobody(caplog):
    clock = HandClock()
    progress = Progress(clock)
    progress.stage("broken", lambda: bool(1 / 0), lambda: 0, 1)
    Work().join(progress, "commit")
    clock.running += 30
    assert [progress.stuck(), progress.stuck()] == [["commit"], ["commit"]]
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == ["broken"]


# --- the watchdog ----------------------------------------------------------------------------------------------------


class Fed:
    """A feeder that looks every few milliseconds."""

    def __init__(self, ear: Ear, progress: Progress, env: dict[str, str] | None = None) -> None:
        self.text, self.looks = "running", 0
        notifier = ear.notifier(**({"WATCHDOG_USEC": "8000"} if env is None else env))
        self.task = asyncio.create_task(keep_fed(notifier, progress, self.status))

    def status(self) -> str:
        self.looks += 1
        return self.text

    async def look(self, times: int = 5) -> None:
        """Until it has looked that often again."""
        end = self.looks + times
        async with asyncio.timeout(10):
            while self.looks < end:
                assert not self.task.done()
                await asyncio.sleep(0)

    async def __aenter__(self) -> "Fed":
        return self

    async def __aexit__(self, *_: object) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        assert self.task.cancelled()


async def test_it_is_fed_while_there_is_progress_and_only_then(ear, caplog):
    caplog.set_level(logging.INFO)
    clock = HandClock()
    progress = Progress(clock)
    commit, read = Work().join(progress, "commit"), Work().join(progress, "poll[bus1]")
    async with Fed(ear, progress) as fed:
        for _ in range(5):
            clock.running += 20
            commit.done, read.done = commit.done + 1, read.done + 1
            await fed.look()
            assert "WATCHDOG=1" in ear.heard()
        clock.running += 20
        read.done += 1
        await fed.look()
        clock.running += 20  # the commits stand still, the reads are in time
        await fed.look()
        ear.heard()
        await fed.look()
        assert ear.heard() == []
        clock.running += 20
        await fed.look()
        assert ear.heard() == []
        commit.done += 1
        read.done += 1
        await fed.look()
        assert "WATCHDOG=1" in ear.heard()
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("ERROR", "no progress, so the watchdog is not fed: commit"),
        ("ERROR", "no progress, so the watchdog is not fed: commit, poll[bus1]"),
        ("WARNING", "all parts make progress again"),
    ]


async def test_a_watchdog_without_parts_is_fed_for_ever(ear, caplog):
    """Negative control: nothing but a part that stands still keeps it from being fed."""
    clock = HandClock()
    async with Fed(ear, Progress(clock)) as fed:
        for _ in range(20):
            clock.running += 1e6
            await fed.look()
            assert "WATCHDOG=1" in ear.heard()
    assert not caplog.records


async def test_a_loop_that_hangs_feeds_nobody(ear):
    async with Fed(ear, Progress(HandClock())) as fed:
        await fed.look()
        ear.heard()
        # The loop hangs in here for a dozen intervals, unless somebody else feeds.
        assert select.select([ear.socket], [], [], 0.05) == ([], [], [])
        await fed.look()
        assert "WATCHDOG=1" in ear.heard()


async def test_the_status_is_said_when_it_has_changed(ear):
    async with Fed(ear, Progress(HandClock())) as fed:
        await fed.look()
        fed.text = "degraded"
        await fed.look()
    assert [message for message in ear.heard() if message != "WATCHDOG=1"] == ["STATUS=running", "STATUS=degraded"]


async def test_a_status_that_cannot_be_told_does_not_end_it(ear, caplog):
    def status() -> str:
        raise KeyError("press-07")

    notifier = ear.notifier(WATCHDOG_USEC="8000")
    task = asyncio.create_task(keep_fed(notifier, Progress(HandClock()), status))
    heard = [await ear.next() for _ in range(4)]
    task.cancel()
    assert heard == ["WATCHDOG=1", "STATUS=running; its state cannot be told: KeyError", "WATCHDOG=1", "WATCHDOG=1"]
    assert len(caplog.records) == 1


async def test_where_nobody_watches_stuck_parts_are_said_all_the_same(ear, caplog, monkeypatch):
    monkeypatch.setattr(service, "LOOK", 0.001)
    clock = HandClock()
    progress = Progress(clock)
    Work().join(progress, "commit")
    async with Fed(ear, progress, {}) as fed:
        clock.running += 30
        await fed.look()
    assert [record.getMessage() for record in caplog.records] == ["no progress, so the watchdog is not fed: commit"]
