"""One, two and four writers in one share: readings stored a second, and processor time for a million. One after the other.

messages, made before ─ mosquitto_pub ─▶ Mosquitto ─ shared subscription ─┬─▶ gateway store ─┐
                                                                          └─▶ gateway store ─┴─▶ VictoriaMetrics

PYTHONPATH=tests .venv/bin/python tests/bench/writers.py --readings 1000000
"""

from __future__ import annotations

import argparse
import random
import re
import subprocess
import time
from contextlib import ExitStack
from urllib.request import urlopen

import psutil

from bench.historian import payloads
from parts.gateway import StoreProcess
from parts.mosquitto import Mosquitto
from parts.process import Part, program, wait_until
from parts.victoria_metrics import VictoriaMetrics

MACHINES, SIGNALS = 10, 200
ROOT = "shopfloor/v1"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--readings", type=int, default=1_000_000)
    parser.add_argument("--writers", type=int, nargs="*", default=[1, 2, 4])
    chosen = parser.parse_args()
    seconds = max(1, chosen.readings // MACHINES // SIGNALS)
    messages: dict[str, list[bytes]] = {}
    for path, payload in payloads(MACHINES, SIGNALS, seconds, random.Random(1)):
        messages.setdefault("/".join(path.levels()), []).append(payload)
    rows = seconds * MACHINES * SIGNALS
    print(f"{rows:,} readings in {seconds * MACHINES:,} messages, {psutil.cpu_count()} cores")
    print(f"{'writers':>8}{'readings/s':>14}{'CPU s per million':>20}{'of the broker':>16}{'MiB each':>10}")
    for count in chosen.writers:
        print(run(messages, count, rows), flush=True)


def run(messages: dict[str, list[bytes]], count: int, rows: int) -> str:
    with ExitStack() as stack:
        store = stack.enter_context(VictoriaMetrics())
        broker = stack.enter_context(Mosquitto(conf=["max_queued_messages 0", "max_queued_bytes 0"]))
        text = f'mqtt: {{url: "mqtt://127.0.0.1:{broker.port}", delivery: store}}\n'
        section = (
            f'store: {{kind: influx, api: v2, url: "{store.url}", org: o, bucket: b, token: t, share: all, writer: '
        )
        writers = [stack.enter_context(StoreProcess(f"{text}{section}w{i}}}\n")) for i in range(count)]
        before = [cpu(each) for each in (*writers, broker)]
        begin = time.monotonic()
        for topic, said in messages.items():
            command = [program("mosquitto_pub"), "-p", str(broker.port), "-V", "mqttv5", "-q", "1", "-l"]
            feed = subprocess.Popen([*command, "-t", f"{ROOT}/{topic}/data"], stdin=subprocess.PIPE)
            assert feed.stdin is not None
            feed.stdin.write(b"\n".join(said) + b"\n")
            feed.stdin.close()
            stack.callback(feed.wait)
        wait_until(lambda: inserted(store) >= rows, 170, f"{rows} readings to be stored")
        took = time.monotonic() - begin
        *used, of_broker = [cpu(each) - b for each, b in zip((*writers, broker), before, strict=True)]
        memory = max(psutil.Process(each.pid).memory_info().rss for each in writers) / 2**20
        million = rows / 1e6
        return f"{count:>8}{rows / took:>14,.0f}{sum(used) / million:>20.2f}{of_broker / million:>16.2f}{memory:>10.0f}"


def cpu(part: Part) -> float:
    times = psutil.Process(part.pid).cpu_times()
    return float(times.user + times.system)


def inserted(store: VictoriaMetrics) -> int:
    """Rows that came in by line protocol."""
    with urlopen(f"{store.url}/metrics") as answer:
        found = re.search(rb'vm_rows_inserted_total\{type="influx"\} ([0-9]+)', answer.read())
    return int(found[1]) if found else 0


if __name__ == "__main__":
    main()
