"""What the service manager is told: that the gateway runs, how it is, and that it is alive while its parts move on.

counters of the parts ─▶ Progress ─ nothing stuck ─▶ keep_fed ─ WATCHDOG=1, STATUS=… ─▶ Notifier ─▶ $NOTIFY_SOCKET

A loop that still runs proves little: a commit may hang in its thread, a poller in a library. So the watchdog is fed only
while every part that owes something makes attempts. Attempts, not successes: a dead machine, a broker that is away and a
full disk are no reason to be started anew. A loop that hangs feeds nobody, which is all it takes.

    notifier, progress = Notifier(), Progress(clock)
    progress.stage("commit", owed=lambda: log.accepted < log.last, done=lambda: log.commits_tried, patience=30.0)
    for poller in pollers:
        progress.stage(f"poll[{poller.name}]", owed=lambda: True, done=partial(attempts_of, poller), patience=90.0)
    tasks.create_task(keep_fed(notifier, progress, edge.in_a_line), name="watchdog")
    notifier.ready()  # once everything is started; and notifier.stopping() before anything is stopped
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import socket
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from gateway.clock import Clock

log = logging.getLogger(__name__)

LOOK = 5.0  # seconds between two looks at the parts, at most
STATUS_LENGTH = 200
_LOGIN = re.compile(r"(?<=://)[^/@\s]*@")  # STATUS= is shown to every user of the box


class Notifier:
    """Speaks sd_notify(3). Does nothing where no service manager listens, and never raises because of one."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        """`environment`: that of the process, unless a test brings its own."""
        env = os.environ if environment is None else environment
        self._address = _address(env.get("NOTIFY_SOCKET", ""))
        self._interval = _interval(env)
        self._unsent: dict[str, str] = {}  # what still has to be said: goes with the next message
        self._failing = False

    @property
    def interval(self) -> float | None:
        """Seconds within which watchdog() has to be called: half of what is allowed. None: nobody watches us."""
        return self._interval

    def ready(self) -> None:
        """Everything is started."""
        self._say(READY="1")

    def reloading(self) -> None:
        """Another configuration is taken over; ready() follows, whatever comes of it. Type=notify-reload, sd_notify(3)."""
        self._say(RELOADING="1", MONOTONIC_USEC=str(time.monotonic_ns() // 1000))

    def status(self, text: str) -> None:
        """How it is, in one line. Whoever has an account on the box can read it."""
        line = "".join(c if c.isprintable() else " " for c in _LOGIN.sub("", text))
        self._say(STATUS=" ".join(line.split())[:STATUS_LENGTH])

    def watchdog(self) -> None:
        """It is alive. The one thing that is not said later if it cannot be said now: then it might not be true."""
        self._send(self._unsent | {"WATCHDOG": "1"})

    def stopping(self) -> None:
        """It is about to end."""
        self._say(STOPPING="1")

    def _say(self, **news: str) -> None:
        self._unsent |= news
        self._send(self._unsent)

    def _send(self, message: Mapping[str, str]) -> None:
        if self._address is None:
            return
        try:
            # A new socket each time, as in sd_notify: it finds the manager that was restarted meanwhile.
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
                line.setblocking(False)  # a manager that does not read must not stop the event loop
                line.sendto("\n".join(f"{k}={v}" for k, v in message.items()).encode(), self._address)
        except OSError as exc:
            if not self._failing:
                log.warning("the service manager cannot be told how it goes: NOTIFY_SOCKET: %s", exc)
            self._failing = True
        else:
            self._failing = False
            self._unsent.clear()


def _address(name: str) -> bytes | None:
    """A path or, after an '@', the name of an abstract socket."""
    if name[:1] not in ("/", "@"):
        if name:
            log.warning("the service manager is not told anything: NOTIFY_SOCKET is no unix socket: %s", name)
        return None
    address = os.fsencode(name)
    return b"\0" + address[1:] if address.startswith(b"@") else address


def _interval(env: Mapping[str, str]) -> float | None:
    """See sd_watchdog_enabled(3): a child that inherited the variables is not the one who is watched."""
    try:
        microseconds = int(env.get("WATCHDOG_USEC", "0"))
        ours = int(env.get("WATCHDOG_PID", os.getpid())) == os.getpid()
    except ValueError:
        return None
    return microseconds / 2e6 if ours and microseconds > 0 else None


@dataclass(slots=True)
class Stage:
    """One part of the process, which has to make attempts while it owes something."""

    name: str
    owed: Callable[[], bool]
    done: Callable[[], int]
    patience: float
    count: int = 0  # `done` at the last look
    since: float | None = None  # monotonic: the look since which it has owed something and stood still
    broken: bool = False  # it cannot be asked

    def stuck(self, now: float) -> bool:
        """Take a look: whether it has stood still for as long as it may."""
        if not self.owed():
            self.since = None
            return False
        count = self.done()
        if self.since is None or count != self.count:
            self.since, self.count = now, count
        return now - self.since >= self.patience


class Progress:
    """Which parts stand still although they owe something."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._stages: dict[str, Stage] = {}

    def stage(self, name: str, owed: Callable[[], bool], done: Callable[[], int], patience: float) -> None:
        """Watch a part from now on; one of the same name is replaced.

        `owed`: whether there is something to do. `done`: a count that moves with every attempt, also with one that fails.
        `patience`: seconds; longer than one attempt and the pause after it can take, so that only what hangs is stuck.
        Both are asked at once, and then at every look: they must be cheap.
        """
        self._stages[name] = stage = Stage(name, owed, done, patience)
        self._look(stage)

    def keep(self, names: Collection[str]) -> None:
        """Watch these only, of those that are told of now."""
        self._stages = {name: stage for name, stage in self._stages.items() if name in names}

    def stuck(self) -> list[str]:
        """The names of those that stand still, in the order in which they were told."""
        return [stage.name for stage in self._stages.values() if self._look(stage)]

    def _look(self, stage: Stage) -> bool:
        try:
            return stage.stuck(self._clock.monotonic())
        except Exception:
            # A mistake in what is asked is none in what is watched, and must not end the whole process every minute.
            if not stage.broken:
                log.exception("%s: cannot be asked for its progress, and is not watched", stage.name)
            stage.broken, stage.since = True, None
            return False


async def keep_fed(notifier: Notifier, progress: Progress, status: Callable[[], str]) -> None:
    """For ever: feed the watchdog while nothing is stuck, and say how it is when that has changed."""
    # Twice as often as it must be: one message that is lost, or one look at a bad moment, does not end the process.
    pause = LOOK if notifier.interval is None else min(LOOK, notifier.interval / 2)
    stuck: list[str] = []
    said = ""
    while True:
        before, stuck = stuck, progress.stuck()
        if not stuck:
            notifier.watchdog()
        if stuck != before:
            if stuck:
                log.error("no progress, so the watchdog is not fed: %s", ", ".join(stuck))
            else:
                log.warning("all parts make progress again")
        try:
            text = status()
        except Exception as exc:
            text = f"running; its state cannot be told: {type(exc).__name__}"
            if text != said:
                log.exception("the state cannot be told")
        if text != said:
            notifier.status(text)
            said = text
        await asyncio.sleep(pause)
