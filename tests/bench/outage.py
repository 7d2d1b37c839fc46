"""After an outage: how fast what waited drains, how late what is new becomes meanwhile, and whether all of it arrives.

 backlog, made by hand ─▶ gateway run ─▶ Mosquitto ─▶ gateway store ─▶ historian       each a process of its own
 simulated machine ─────────┘               └─▶ this program: when live readings pass, and when the store has them

PYTHONPATH=tests .venv/bin/python tests/bench/outage.py --hours 1       # a minute
PYTHONPATH=tests .venv/bin/python tests/bench/outage.py                 # 72 h at 100 readings/s: drains for 15 minutes at the most
"""

from __future__ import annotations

import argparse
import itertools
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import paho.mqtt.client as paho
import psutil

from bench.buffer import GATEWAY, MACHINES, READINGS, SECOND, SIGNALS, Plant, make_backlog, say
from bench.plant import compare
from flow.plants import modbus_plant
from gateway.model import Value
from gateway.mqtt.payload import decode_data, decode_stored
from gateway.mqtt.topics import Topics
from gateway.store.historian import Historian
from parts.gateway import Gateway, Simulated, StoreProcess
from parts.mosquitto import Mosquitto
from parts.ports import free_port
from parts.process import Part, wait_until

SPOTS = ((0, 0), (4, 5), (9, 9))  # machine and signal: of these every value is compared, of all others the number
LATE = 2.0  # seconds
FEW = 30  # messages that are always on their way
SEQ = b'"seq":'


@dataclass(slots=True)
class Outcome:
    """What a drain was like."""

    messages: int = 0  # that waited
    drained: int = 0  # of them, and of what came meanwhile, in the store when the time was over
    seconds: float = 0.0
    whole: bool = False  # it drained to its end
    to_subscriber: list[float] = field(default_factory=list)  # seconds from the stamp of live readings, ascending
    to_store: list[float] = field(default_factory=list)  # until the store has acknowledged them
    late: list[float] = field(default_factory=list)  # when these were read that took more than LATE, from the beginning
    unanswered: int = 0  # live messages the store has not acknowledged
    wrong: list[str] = field(default_factory=list)  # what is missing in the store, or not as it was
    cpu: dict[str, float] = field(default_factory=dict)  # seconds
    rewinds: int = 0
    rss: float = 0.0  # MiB of `gateway run`, at the most

    @property
    def rate(self) -> float:
        """Readings a second."""
        return self.drained * SIGNALS / self.seconds


class Watcher:
    """An MQTT subscriber: when live messages pass, when the store has them; and whether what waited comes in order."""

    def __init__(self, port: int, live: str, backlog: Sequence[str]) -> None:
        self.live, self._backlog = live, list(backlog)
        self.passed: dict[tuple[str, int], tuple[int, float]] = {}  # epoch and seq: stamp, seconds to here
        self.stored: dict[tuple[str, int], float] = {}
        self.disorder = 0
        self._open: set[tuple[str, int]] = set()
        self._newest: dict[str, int] = {}  # of each topic of the backlog
        self._seen: set[int] = set()
        self._client = paho.Client(paho.CallbackAPIVersion.VERSION2, "watcher", protocol=paho.MQTTv5)
        self._client.on_message = self._message
        self._client.on_connect = self._connected
        self._ready = threading.Event()
        self._client.on_subscribe = lambda *_: self._ready.set()
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        assert self._ready.wait(10)

    def _connected(self, *_: object) -> None:
        topics = [self.live, Topics().stored("+", GATEWAY), *self._backlog]
        self._client.subscribe([(topic, paho.SubscribeOptions(qos=1)) for topic in topics])

    def _message(self, _: object, __: object, message: paho.MQTTMessage) -> None:
        now = time.time_ns()
        if message.topic == self.live:
            data = decode_data(message.payload)
            key = data.epoch, data.seq
            if key not in self.passed:
                stamp = min(frame.time for frame in data.frames)
                self.passed[key] = stamp, (now - stamp) / SECOND
                self._open.add(key)
        elif message.topic.endswith("/data"):
            at = message.payload.index(SEQ) + len(SEQ)
            seq = int(message.payload[at : message.payload.index(b",", at)])
            newest = self._newest.get(message.topic, 0)
            # Sent again is no disorder: the store has it already.
            self.disorder += seq < newest and seq not in self._seen
            self._newest[message.topic] = max(seq, newest)
            self._seen.add(seq)
        else:
            self._acknowledged(message.payload, now)

    def _acknowledged(self, payload: bytes, now: int) -> None:
        stored = decode_stored(payload)
        for key in list(self._open):
            if key[0] == stored.epoch and any(first <= key[1] <= last for first, last in stored.ranges):
                self._open.discard(key)
                self.stored[key] = (now - self.passed[key][0]) / SECOND

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def drain(
    seconds: int, *, limit: float, conf: Sequence[str] = ("max_queued_messages 10000",), watch_all: bool = False
) -> Outcome:
    """So many seconds of backlog, for `limit` seconds at the most. `watch_all`: the order of what waited, too."""
    text = modbus_plant([free_port()], SIGNALS, "500ms").replace("m00", "live")
    found = Outcome()
    with Mosquitto(conf=conf) as broker, Simulated(text) as machines:
        text += f'gateway: {{id: {GATEWAY}, data_dir: data}}\nmqtt: {{url: "mqtt://127.0.0.1:{broker.port}", delivery: store}}\n'
        gateway = Gateway(text)
        found.messages, _ = make_backlog(gateway.folder / "data" / "buffer", seconds, time.time_ns() - 60 * SECOND)
        watcher = Watcher(broker.port, "shopfloor/v1/live/data", Plant("00000000").topics if watch_all else [])
        try:
            with StoreProcess(text + "store: {kind: historian}\n") as store, gateway:
                watched = {"gateway run": gateway, "gateway store": store, "mosquitto": broker}
                _wait(gateway, found, limit)
                end = time.time_ns()
                found.cpu = {name: _cpu(part) for name, part in watched.items()}
                during = {key: stamp for key, (stamp, _) in watcher.passed.items() if stamp < end}
                machines.stop()
                wait_until(lambda: gateway.machine("live")["state"] == "offline", 30, "the machine to be gone")
                if found.whole:
                    wait_until(lambda: gateway.status()["buffer"]["records"] == 0, 60, "all to be stored")
                gateway.stop()
                store.stop()
                found.to_subscriber = sorted(watcher.passed[key][1] for key in during)
                found.to_store = sorted(watcher.stored[key] for key in during if key in watcher.stored)
                if watcher.disorder:
                    found.wrong.append(f"{watcher.disorder} messages overtook others of their machine")
                first = min(during.values())
                found.late = sorted(
                    (during[key] - first) / SECOND for key in during if watcher.stored.get(key, 0) > LATE
                )
                found.unanswered = sum(key not in watcher.stored for key in during)
                found.wrong += what_is_wrong(
                    store.folder / "data" / "historian.sqlite", machines.ledger, seconds, found.whole
                )
        finally:
            watcher.close()
            gateway.close()
    return found


def _wait(gateway: Gateway, found: Outcome, limit: float) -> None:
    """Until next to nothing waits. The time counts from the first message that is stored."""
    wait_until(lambda: gateway.status()["flow"]["stored"], 60, "the first message to be stored")
    began, process = time.monotonic(), psutil.Process(gateway.pid)
    first = gateway.status()["flow"]["stored"]
    while time.monotonic() < began + limit and not found.whole:
        time.sleep(0.1)  # so that asking costs next to nothing
        status = gateway.status()
        found.whole = status["buffer"]["records"] <= FEW
        found.drained, found.seconds = status["flow"]["stored"] - first, time.monotonic() - began
        found.rewinds = status["flow"].get("rewinds", 0)
        found.rss = max(found.rss, process.memory_info().rss / 2**20)


def what_is_wrong(historian: Path, ledger: Path, seconds: int, whole: bool) -> list[str]:
    """Every signal has as many readings as were put in, in order of time; those of SPOTS have the same values."""
    wrong: list[str] = []
    served, kept, different, _ = compare(ledger, historian)
    if different:
        wrong.append(f"live: {served} served, {kept} stored, {different} signals differ")
    expected = put_in(seconds)
    reader = Historian.open_read_only(historian)
    for machine, signal in itertools.product(range(MACHINES), range(SIGNALS)):
        name = f"press-{machine:02}", f"signal_{signal:03}"
        found = reader.query(*name, 0, time.time_ns())
        if len(found.time) > seconds or (whole and len(found.time) < seconds):
            wrong.append(f"{'/'.join(name)}: {seconds} put in, {len(found.time)} stored")
        if any(a >= b for a, b in itertools.pairwise(found.time)):
            wrong.append(f"{'/'.join(name)}: not in order")
        if (values := expected.get((machine, signal))) is not None and list(found.value) != values[: len(found.value)]:
            wrong.append(f"{'/'.join(name)}: other values")
    reader.close()
    return wrong


def put_in(seconds: int) -> dict[tuple[int, int], list[Value]]:
    """The values of SPOTS once more."""
    plant = Plant("00000000")
    columns: dict[tuple[int, int], list[Value]] = {spot: [] for spot in SPOTS}
    for _ in range(seconds):
        values = plant.values()
        for (machine, signal), column in columns.items():
            column.append(values[machine][signal])
    return columns


def _cpu(part: Part) -> float:
    times = psutil.Process(part.pid).cpu_times()
    return float(times.user + times.system)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=72)
    parser.add_argument("--limit", type=float, default=900, help="seconds after which the rest is left")
    parser.add_argument(
        "--default-broker", action="store_true", help="Mosquitto with its own defaults: 1000 messages in a queue"
    )
    chosen = parser.parse_args()
    seconds = round(chosen.hours * 3600)
    found = drain(seconds, limit=chosen.limit, **({"conf": ()} if chosen.default_broker else {}))
    print(
        f"{found.messages * SIGNALS:,} readings of {chosen.hours:g} h waited; {found.drained * SIGNALS:,} in {found.seconds:.0f} s",
        end="",
    )
    print(", all of it" if found.whole else ": the time was over, the rest waits on")
    say("the drain", found.rate, "readings/s")
    say("the drain, as a multiple of real time", found.rate / READINGS, "x", 20, at_least=True)
    for what, ages in (("a subscriber", found.to_subscriber), ("the store's acknowledgement", found.to_store)):
        if ages:
            say(f"live readings meanwhile, from their stamp to {what}, p50", ages[len(ages) // 2], "s")
            say(f"live readings meanwhile, from their stamp to {what}, p95", ages[len(ages) * 95 // 100], "s", LATE)
            say(f"live readings meanwhile, from their stamp to {what}, most", ages[-1], "s")
    if found.late:
        print(
            f"{len(found.late)} of {len(found.to_store)} were later than {LATE:g} s, read from second {found.late[0]:.0f} to {found.late[-1]:.0f}"
        )
    say("live messages the store has not acknowledged", found.unanswered, "messages", 5)
    say("rewinds", found.rewinds, "")
    say("resident memory of `gateway run`, at the most", found.rss, "MiB", 120)
    for name, spent in found.cpu.items():
        say(f"CPU of {name}", spent / max(1, found.drained * SIGNALS) * 1e6, "µs/reading")
    print("in the store is what was put in" if not found.wrong else "\n".join(["WRONG:", *found.wrong]))


if __name__ == "__main__":
    main()
