"""Changing the configuration of a gateway that runs: what did not change is not touched, by the ledger and by the sockets.

gateway simulate --ledger ─ 50 connections ─▶ gateway run ─▶ Mosquitto ─▶ historian
                                                 ▲ gateway reload, SIGHUP, a file that changes
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import socket
import subprocess
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.request import urlopen

import pytest

from flow.plants import modbus_machine
from flow.test_service import Manager
from gateway.cli import running
from gateway.config import load
from gateway.runtime.registry import protocols
from parts.gateway import Gateway, Simulated, StoreProcess, gateway
from parts.mosquitto import Mosquitto
from parts.ports import free_port
from parts.process import wait_until

MANY = 50
POLL = 0.5  # seconds


def plant(ports: list[int], signals: dict[int, int] | None = None, poll: str = "500ms", count: int = 4) -> str:
    """One machine behind each port; `signals`: of some of them, how many."""
    connections = [f"  c{i}: {{protocol: modbus-tcp, host: 127.0.0.1, port: {port}}}" for i, port in enumerate(ports)]
    machines = [modbus_machine(f"m{i:02}", f"c{i}", 1, (signals or {}).get(i, count), poll) for i in range(len(ports))]
    return "\n".join(["version: 1", "connections:", *connections, "machines:", *machines, ""])


def edge(broker: Mosquitto, more: str = "store: {kind: historian}\n") -> str:
    return f'gateway: {{id: edge-01, data_dir: data}}\nmqtt: {{url: "{broker.url}"}}\n{more}'


def lines_to(ports: list[int]) -> dict[int, set[int]]:
    """By port of a machine, the local ports of the connections that are open to it: another one is another connection."""
    found: dict[int, set[int]] = defaultdict(set)
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, remote, state = line.split()[:4]
        if state == "01" and (port := int(remote.rpartition(":")[2], 16)) in ports:
            found[port].add(int(local.rpartition(":")[2], 16))
    return found


def rewrite(running_: Gateway, text: str) -> None:
    """As an editor does: a new file takes the place of the old one."""
    page = f'web: {{listen: "127.0.0.1:{running_.port}"}}\n' if running_.page else ""
    beside = running_.file.with_suffix(".tmp")
    beside.write_text(text + page, encoding="utf-8")
    beside.replace(running_.file)
    running_.config = text


def reload(running_: Gateway) -> tuple[int, dict[str, object]]:
    done = gateway("reload", str(running_.file), "--json")
    return done.returncode, json.loads(done.stdout) if done.stdout else {"errors": [done.stderr]}


def served(ledger: Path) -> dict[str, list[int]]:
    """The moments, in ns, at which each machine was read."""
    times: dict[str, list[int]] = defaultdict(list)
    for line in ledger.read_bytes().splitlines():
        entry = json.loads(line)
        if "values" in entry:
            times[entry["machine"]].append(entry["t"])
    return times


def longest_pause(times: list[int], since: int) -> float:
    """Seconds between two readings, since a moment."""
    after = [time for time in times if time >= since]
    return max((b - a) / 1e9 for a, b in itertools.pairwise(after))


def left_out(times: list[int], since: int) -> int:
    """Polls that are missing since a moment: the schedule stands, so n of them take n - 1 intervals."""
    after = [time for time in times if time >= since]
    return round((after[-1] - after[0]) / 1e9 / POLL) - (len(after) - 1)


def skipped(running_: Gateway, but: str) -> dict[str, int]:
    """By machine, the polls that it counted as skipped; only those that have some."""
    found = {m["name"]: m["counters"]["overruns"] for m in running_.status()["machines"] if m["name"] != but}
    assert len(found) == MANY - 1
    return {name: count for name, count in found.items() if count}


def test_what_counts_polls_that_are_missing():
    """Negative control, by hand: a reading each half second for 10 s, of which the one at 5 s never came."""
    times = [i * 500_000_000 for i in range(21)]
    assert left_out(times, 0) == 0
    assert left_out([t + (t % 7) * 10_000_000 for t in times], 0) == 0  # each a little late
    assert left_out(times[:10] + times[11:], 0) == 1


def online(running_: Gateway, count: int) -> bool:
    machines = running_.status()["machines"]
    return len(machines) == count and all(machine["state"] == "online" for machine in machines)


def polls(running_: Gateway, name: str) -> int:
    found: int = running_.machine(name)["counters"]["polls"]
    return found


def judged(running_: Gateway, machines: Simulated, *more: str) -> str:
    """What verify-flow says; nothing missing, nothing wrong."""
    done = gateway("verify-flow", str(machines.ledger), "--store", str(running_.folder), "--json", *more)
    assert done.returncode == 0, done.stdout[:3000] + done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    every = next(row for row in rows if not row.get("signal"))
    assert every["served"] > 50, done.stdout
    assert (every["missing"], every["wrong"], every["duplicated"]) == (0, 0, 0), done.stdout[:3000] + done.stderr
    return done.stdout


def audited(running_: Gateway) -> list[dict[str, object]]:
    """What `gateway audit` says."""
    done = gateway("audit", "--json", "-c", str(running_.file))
    return [json.loads(line) for line in done.stdout.splitlines()]


def unbroken(running_: Gateway) -> None:
    """One stretch of messages in the store, and no loss: no sequence number is missing."""
    rows = audited(running_)
    assert [row for row in rows if row["kind"] == "loss"] == []
    assert len([row for row in rows if row["kind"] == "stored"]) == 1, rows


def test_one_of_fifty_machines_is_changed_and_the_others_do_not_notice():
    ports = [free_port() for _ in range(MANY)]
    with Mosquitto() as broker, Simulated(plant(ports, {7: 6})) as machines:
        wait_until(lambda: machines.log.count("127.0.0.1:") >= MANY, 30, "the machines")
        with Gateway(plant(ports) + edge(broker)) as running_:
            wait_until(lambda: online(running_, MANY), 40, "all machines online")
            wait_until(lambda: polls(running_, "m49") > 4, 30, "some polls")
            before, told = lines_to(ports), running_.machine("m07")
            assert all(len(each) == 1 for each in before.values())
            assert len(before) == MANY
            late = dict.fromkeys(ports, 0.0)
            # A busy computer is late by itself at times; what a reload costs would show each time.
            for count in (6, 5, 6):
                began = max(times[-1] for times in served(machines.ledger).values())
                counts = {name: polls(running_, name) for name in ("m06", "m07")}
                overran = skipped(running_, "m07")
                rewrite(running_, plant(ports, {7: count}) + edge(broker))
                code, answer = reload(running_)
                assert code == 0, answer
                assert answer["touched"] == ["connections.c7"]
                wait_until(lambda counts=counts: polls(running_, "m07") > counts["m07"] + 8, 20, "polls after it")
                wait_until(lambda: polls(running_, "m49") > polls(running_, "m07") - 2, 20, "the others, too")
                machine = running_.machine("m07")
                assert set(machine["signals"]) == {f"s{i:03}" for i in range(count)}
                assert machine["signals"][f"s{count - 1:03}"]["quality"] == "good"
                assert machine["since_ms"] == told["since_ms"]  # it was never offline
                pauses = {name: longest_pause(times, began - 10**9) for name, times in served(machines.ledger).items()}
                pauses.pop("m07")
                assert max(pauses.values()) < 4 * POLL
                late = {name: pause for name, pause in pauses.items() if pause > 1.5 * POLL}
                # By the gateway's own count, and by what each machine was asked, its schedule taken for granted.
                late |= {name: n for name, n in skipped(running_, "m07").items() if n != overran.get(name, 0)}
                asked = {name: left_out(times, began - 10**9) for name, times in served(machines.ledger).items()}
                assert len(asked) == MANY
                asked.pop("m07")
                late |= {name: n for name, n in asked.items() if abs(n) > 1}
                assert polls(running_, "m06") > counts["m06"] + 7
                if not late:
                    break
            assert not late, late
            # No connection of another machine was made anew, and that of the one that changed was.
            after = lines_to(ports)
            assert {port for port in ports if after[port] != before[port]} == {ports[7]}
            running_.catch_up()
            unbroken(running_)
            judged(running_, machines, "-c", str(running_.file))
            # The control: with a new start every connection is another one, and the counting sees it.
            running_.stop()
            running_.start()
            wait_until(lambda: online(running_, MANY), 40, "all machines online again")
            anew = lines_to(ports)
            assert all(anew[port] != after[port] for port in ports)


@contextmanager
def small(
    more: str = "store: {kind: historian}\n", *, poll: str = "100ms", n: int = 3
) -> Iterator[tuple[Gateway, Simulated, list[int], Mosquitto]]:
    ports = [free_port() for _ in range(n)]
    with Mosquitto() as broker, Simulated(plant(ports, dict.fromkeys(range(n), 6), poll)) as machines:
        wait_until(lambda: machines.log.count("127.0.0.1:") >= n, 30, "the machines")
        with Gateway(plant(ports, poll=poll) + edge(broker, more)) as running_:
            wait_until(lambda: online(running_, n), 40, "all machines online")
            yield running_, machines, ports, broker


def test_a_broken_file_changes_nothing():
    with small() as (running_, _machines, ports, _broker):
        lines, text = lines_to(ports), running_.config
        rewrite(running_, text.replace("type: float32", "type: float33", 1))
        code, answer = reload(running_)
        assert code == 3
        assert not answer["changed"]
        checked = gateway("config", "check", str(running_.file))
        assert checked.returncode == 3
        assert "float33" in str(answer["errors"][0])  # type: ignore[index]
        # As `gateway config check` prints them, place and caret included.
        assert str(answer["errors"][0]).splitlines()[0] in checked.stderr  # type: ignore[index]
        assert "float33" in running_.log
        before = polls(running_, "m00")
        wait_until(lambda: polls(running_, "m00") > before + 3, 10, "polls go on")
        assert lines_to(ports) == lines
        found = running.ask(load(Path(_copy(running_, text)), protocols()), "events")
        assert next((e["kind"], e["state"]) for e in found if e["kind"] == "config") == ("config", "refused")
        # Right again: it is what it was.
        rewrite(running_, text)
        code, answer = reload(running_)
        assert (code, answer["changed"], answer["difference"]) == (0, False, [])


def _copy(running_: Gateway, text: str) -> str:
    """The same configuration where it can be loaded, with the data folder of the one that runs."""
    file = running_.folder / "copy.yaml"
    file.write_text(text)
    return str(file)


def test_machines_come_and_go_and_move_and_their_topics_with_them():
    with small() as (running_, _machines, ports, broker):
        text = plant(ports[:2], {0: 5}, "100ms").replace("{connection: c0,", "{connection: c0, line: L1,")
        rewrite(running_, text + edge(broker))
        code, answer = reload(running_)
        assert code == 0, answer
        assert answer["touched"] == ["connections.c0", "connections.c2"]
        wait_until(lambda: [m["name"] for m in running_.status()["machines"]] == ["m00", "m01"], 10, "two machines")
        wait_until(lambda: running_.machine("m00")["path"] == ["L1", "m00"], 10, "its new place")
        wait_until(lambda: retained(broker) == {"L1/m00", "m01"}, 10, "only what there is to be retained")
        assert len(lines_to(ports)[ports[2]]) == 0
        rewrite(running_, plant(ports, poll="100ms") + edge(broker))
        assert reload(running_)[0] == 0
        wait_until(lambda: retained(broker) == {"m00", "m01", "m02"}, 10, "all three again")
        wait_until(lambda: online(running_, 3), 10, "all machines online")
        running_.catch_up()
        unbroken(running_)


def retained(broker: Mosquitto) -> set[str]:
    """Machines of which the broker retains what they are, by their place."""
    done = subprocess.run(
        ["mosquitto_sub", "-p", str(broker.port), "-t", "shopfloor/v1/#", "--retained-only", "-F", "%t", "-W", "1"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    topics = [topic.removeprefix("shopfloor/v1/") for topic in done.stdout.split()]
    return {topic.removesuffix("/meta") for topic in topics if topic.endswith("/meta")}


def test_store_and_broker_are_changed_while_data_flows_and_nothing_is_lost():
    with small() as (running_, machines, ports, broker):
        lines, text = lines_to(ports), plant(ports, poll="100ms")
        wait_until(lambda: running_.status()["flow"]["stored"] > 30, 20, "readings to be stored")
        rewrite(running_, text + edge(broker, "store: {kind: historian, retention: 30d}\nbuffer: {max_size: 64MiB}\n"))
        code, answer = reload(running_)
        assert (code, answer["touched"]) == (0, ["buffer", "store"])
        assert running_.status()["buffer"]["max_bytes"] == 64 * 2**20
        stored = running_.status()["flow"]["stored"]
        wait_until(lambda: running_.status()["flow"]["stored"] > stored + 20, 20, "the writer goes on")
        mqtt = f'gateway: {{id: edge-01, data_dir: data}}\nmqtt: {{url: "{broker.url}", window: 20, keepalive: 10s}}\n'
        rewrite(running_, text + mqtt + "store: {kind: historian, retention: 30d}\nbuffer: {max_size: 64MiB}\n")
        code, answer = reload(running_)
        assert (code, answer["touched"]) == (0, ["mqtt"])
        stored = running_.status()["flow"]["stored"]
        wait_until(lambda: running_.status()["flow"]["stored"] > stored + 20, 20, "the new link carries")
        assert lines_to(ports) == lines
        with Mosquitto() as other:
            rewrite(running_, text + edge(other))
            code, answer = reload(running_)
            assert code == 0, answer
            wait_until(lambda: running_.status()["broker"]["state"] == "online", 20, "the other broker")
            stored = running_.status()["flow"]["stored"]
            wait_until(lambda: running_.status()["flow"]["stored"] > stored + 20, 20, "it carries")
            done = subprocess.run(
                ["mosquitto_sub", "-p", str(broker.port), "-t", "shopfloor/v1/m00/status", "--retained-only", "-W", "2", "-C", "1"],
                capture_output=True, text=True, check=False,
            )  # fmt: skip
            assert json.loads(done.stdout)["state"] == "offline", done.stdout
            assert lines_to(ports) == lines
            running_.catch_up()
            # What the broker that was left had taken, and the store never got, is sent again some seconds later.
            wait_until(lambda: [row["kind"] for row in audited(running_)] == ["stored"], 30, "one stretch in the store")
            judged(running_, machines, "-c", str(running_.file))


def test_what_needs_a_restart_is_said_and_left():
    with small() as (running_, _machines, _ports, _broker):
        rewrite(running_, running_.config.replace("id: edge-01", "id: edge-02").replace("500ms", "500ms"))
        code, answer = reload(running_)
        assert code == 0
        assert answer["restart"] == ["gateway.id: edge-01 → edge-02"]
        assert not answer["changed"]
        assert running_.status()["gateway"]["id"] == "edge-01"
        assert running.ask_at(running_.file, "status")["restart"] == ["gateway.id: edge-01 → edge-02"]


def test_hangup_and_watched_files():
    with small() as (running_, _machines, ports, broker):
        rewrite(running_, plant(ports, {0: 5}, "100ms") + edge(broker))
        os.kill(running_.pid, signal.SIGHUP)
        wait_until(lambda: len(running_.machine("m00")["signals"]) == 5, 10, "SIGHUP to be heard")
        # Not watched: nothing happens by itself, as `gateway config diff` tells.
        rewrite(
            running_,
            plant(ports, {0: 5, 1: 5}, "100ms") + edge(broker).replace("data_dir: data", "data_dir: data, watch: true"),
        )
        done = gateway("config", "diff", str(running_.file))
        assert done.stdout.splitlines()[:1] == ["gateway.watch: false → true"], done.stdout + done.stderr
        assert len(running_.machine("m01")["signals"]) == 4
        assert reload(running_)[0] == 0
        assert len(running_.machine("m01")["signals"]) == 5
        rewrite(
            running_,
            plant(ports, {2: 6}, "100ms") + edge(broker).replace("data_dir: data", "data_dir: data, watch: true"),
        )
        wait_until(lambda: len(running_.machine("m02")["signals"]) == 6, 15, "the file to be noticed")
        wait_until(lambda: "a file has changed" in running_.log, 10, "the word of it, once the version is kept")


def test_versions_and_the_way_back():
    with small() as (running_, _machines, ports, broker):
        first = running_.file.read_text()
        rewrite(running_, plant(ports, {0: 5}, "100ms") + edge(broker))
        second = running_.file.read_text()
        assert reload(running_)[0] == 0
        rows = [
            json.loads(line) for line in gateway("config", "versions", str(running_.file), "--json").stdout.splitlines()
        ]
        assert [(row["version"], row["current"]) for row in rows] == [(2, True), (1, False)]
        assert rows[0]["summary"] == "machines.m00.signals.s004: added"
        diff = gateway("config", "diff", str(running_.file), "--against", "1")
        assert diff.stdout.splitlines() == ["machines.m00.signals.s004: added"]
        done = gateway("config", "rollback", "-c", str(running_.file))
        assert done.returncode == 0, done.stderr
        assert "machines.m00.signals.s004: removed" in done.stdout
        assert running_.file.read_text() == first
        assert len(running_.machine("m00")["signals"]) == 4
        # And forth again, by number, without a gateway: it counts from the next start on.
        running_.stop()
        done = gateway("config", "rollback", "2", "-c", str(running_.file))
        assert done.returncode == 0, done.stderr
        assert running_.file.read_text() == second
        assert (running_.folder / "data" / "versions").stat().st_mode & 0o077 == 0
        assert gateway("reload", str(running_.file)).returncode == 1  # nobody runs
        assert gateway("config", "rollback", "99", "-c", str(running_.file)).returncode == 1


def test_the_store_writer_alone_is_asked_and_changed_as_well():
    with Mosquitto() as broker:
        text = f'gateway: {{data_dir: data}}\nmqtt: {{url: "{broker.url}"}}\nstore: {{kind: historian}}\n'
        with StoreProcess(text) as writer:
            wait_until(lambda: running.ask_at(writer.file, "status")["writer"]["ok"], 20, "the writer to be connected")
            writer.file.write_text(text.replace("historian}", "historian, retention: 7d}"))
            code, answer = reload(writer)
            assert (code, answer["difference"]) == (0, ["store.retention: none → 7d"])
            wait_until(lambda: running.ask_at(writer.file, "status")["writer"]["ok"], 20, "the writer again")
            writer.file.write_text(text.replace("store:", "buffer: {max_size: 1GiB}\n#"))
            code, answer = reload(writer)
            assert code == 3
            assert "store:" in str(answer["errors"])


class Safe(Gateway):
    """`gateway run --safe-mode`, as the service runs it."""

    broken = ""

    def command(self) -> list[str]:
        made = super().command()
        if self.broken:
            self.file.write_text(self.broken)
        return [*made, "--safe-mode"]

    def ready(self) -> bool:
        with suppress(running.NotRunningError):
            return bool(running.ask_at(self.file, "status"))
        return False


def test_safe_mode_runs_the_last_good_version_until_the_files_are_right():
    ports = [free_port()]
    with Mosquitto() as broker, Simulated(plant(ports, {0: 6}, "100ms")):
        running_ = Safe(plant(ports, poll="100ms") + edge(broker))
        with running_:
            wait_until(lambda: online(running_, 1), 20, "the machine")
            running_.stop()
            good = running_.file.read_text()
            running_.broken = good.replace("type: float32", "type: float33", 1)
            # The control: without --safe-mode it ends, with the exit code of a broken configuration.
            running_.file.write_text(running_.broken)
            assert gateway("run", str(running_.file)).returncode == 3
            running_.start()
            wait_until(lambda: online(running_, 1), 20, "the machine, all the same")
            assert "float33" in running.ask_at(running_.file, "status")["safe_mode"][0]
            assert "safe mode" in running_.log
            assert [e["state"] for e in running.ask_at(running_.file, "events") if e["kind"] == "config"] == [
                "safe mode"
            ]
            line = lines_to(ports)
            running_.file.write_text(good.replace("buffer", "buffer"))
            wait_until(lambda: not running.ask_at(running_.file, "status")["safe_mode"], 15, "the end of safe mode")
            wait_until(lambda: "safe mode is over" in running_.log, 5, "a word of it")
            assert running.ask_at(running_.file, "status")["page"] == f"{running_.url}/"
            assert lines_to(ports) == line


def test_safe_mode_without_a_version_waits_and_says_why():
    ports = [free_port()]
    with Mosquitto() as broker, Simulated(plant(ports, {0: 6}, "100ms")):
        running_ = Safe(plant(ports, poll="100ms") + edge(broker))
        running_.broken = plant(ports, poll="100ms").replace("float32", "float33", 1) + edge(broker) + (
            f'web: {{listen: "127.0.0.1:{running_.port}"}}\n'
        )  # fmt: skip
        with running_:
            assert "float33" in running.ask_at(running_.file, "status")["safe_mode"][0]
            assert running_.status()["machines"] == []  # by the page, at the address that could be read
            assert "nothing is read until" in running_.log
            assert f"page     {running_.url}/\n" in gateway("status", "-c", str(running_.file)).stdout
            answer = running.ask_at(running_.file, "reload")
            assert "float33" in answer["errors"][0]
            running_.file.write_text(running_.broken.replace("float33", "float32"))
            wait_until(lambda: online(running_, 1), 20, "the machine")
            assert running_.log.count("safe mode is over") == 1


def test_the_service_manager_is_told_and_the_page_moves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Type=notify-reload, systemd.service(5): RELOADING=1 with MONOTONIC_USEC, and READY=1 behind it, also for a broken file."""
    manager = Manager(tmp_path)
    monkeypatch.setenv("NOTIFY_SOCKET", manager.address)
    ports = [free_port()]
    with Mosquitto() as broker, Simulated(plant(ports, {0: 6}, "100ms")):
        running_ = Gateway(plant(ports, poll="100ms") + edge(broker))
        with running_:
            wait_until(lambda: manager.heard("READY=1"), 20, "readiness")
            good = running_.config
            for text in (plant(ports, {0: 5}, "100ms") + edge(broker), good.replace("float32", "float33", 1)):
                ready, now = len(manager.heard("READY=1")), time.monotonic_ns() // 1000
                rewrite(running_, text)
                os.kill(running_.pid, signal.SIGHUP)
                wait_until(lambda ready=ready: len(manager.heard("READY=1")) > ready, 20, "READY=1 once more")
                stamp = int(manager.heard("MONOTONIC_USEC=")[-1].partition("=")[2])
                assert now <= stamp <= time.monotonic_ns() // 1000
                order = [line for line in manager.said if line.startswith(("READY", "RELOADING"))]
                assert order[-2:] == ["RELOADING=1", "READY=1"]
            lines = lines_to(ports)
            old, running_.port = running_.url, free_port()
            running_.url = f"http://127.0.0.1:{running_.port}"
            rewrite(running_, good)
            code, answer = reload(running_)
            assert code == 0
            assert "web" in answer["touched"]  # type: ignore[operator]
            wait_until(lambda: online(running_, 1), 10, "the page where it is now")
            wait_until(lambda: not reachable(old), 10, "the end of the old one")
            # An address that is taken: the page stays where it is, and so does all else.
            with socket.create_server(("127.0.0.1", 0)) as taken:
                kept, running_.port = running_.port, taken.getsockname()[1]
                rewrite(running_, plant(ports, {0: 5}, "100ms") + edge(broker))
                code, answer = reload(running_)
                assert code == 3
                assert "another program uses this port" in str(answer["errors"])
                running_.port = kept
            assert len(running_.machine("m00")["signals"]) == 4
            assert lines_to(ports)[ports[0]]
            assert lines
    manager.close()


def reachable(url: str) -> bool:
    try:
        with urlopen(f"{url}/healthz", timeout=1):
            return True
    except OSError:
        return False


def test_a_link_that_cannot_be_made_leaves_the_one_there_is():
    with small() as (running_, _machines, ports, broker):
        lines = lines_to(ports)
        (running_.folder / "ca.pem").write_text("no certificate")
        text = plant(ports, {0: 5}, "100ms") + edge(broker).replace("mqtt://", "mqtts://").replace(
            '"}', '", ca: ca.pem}'
        )
        rewrite(running_, text)
        code, answer = reload(running_)
        assert code == 3, answer
        assert "the one before goes on" in str(answer["errors"])
        stored = running_.status()["flow"]["stored"]
        wait_until(lambda: running_.status()["flow"]["stored"] > stored + 10, 20, "readings to be stored")
        assert len(running_.machine("m00")["signals"]) == 4
        assert lines_to(ports) == lines


def test_what_is_retained_of_a_machine_goes_when_the_broker_is_back():
    ports = [free_port(), free_port()]
    with Mosquitto(persistence=True) as broker, Simulated(plant(ports, {0: 6, 1: 6}, "100ms")):
        running_ = Gateway(plant(ports, poll="100ms") + edge(broker))
        with running_:
            wait_until(lambda: online(running_, 2) and retained(broker) == {"m00", "m01"}, 20, "both machines")
            broker.stop()
            rewrite(running_, plant(ports[:1], poll="100ms") + edge(broker))
            code, answer = reload(running_)
            assert code == 0, answer
            broker.start()
            wait_until(lambda: retained(broker) == {"m00"}, 30, "the one that is left")
