"""gateway status, top and events: against a stub whose answers are written by hand, and a real gateway."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import termios
from pathlib import Path

import pytest

from cli.control_stub import CONFIG, NOW, Stub, machine, snapshot
from gateway.cli.running import ask_at
from gateway.cli.status import Overview, cut, span
from gateway.cli.top import View
from parts.gateway import COMMAND, Gateway, gateway
from parts.libmodbus import Libmodbus
from parts.mosquitto import Mosquitto
from parts.ports import free_port
from parts.process import wait_until
from parts.terminal import Terminal

AWAY = machine("press-07", "offline", "panel: refuses the connection", "connection-refused", since_s=720)
HALF = machine("oven-03", "degraded", "1 of 2 signals is bad", "modbus-illegal-address", since_s=60)
FINE = machine("meter-01")


# --- status ------------------------------------------------------------------------------------------------------------


def test_all_online(tmp_path):
    with Stub(tmp_path, snapshot(FINE)):
        done = gateway("status", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == "edge-01  all online"
    assert lines[1].startswith("gateway  version 0.1.0, since ")
    assert lines[1].endswith("(60 min)")
    assert lines[2] == "flow     1,234 readings/s, 1,000 read, 99 messages stored, 0 readings lost"
    assert lines[3] == "buffer   3 messages, 4.0 KiB of 2.0 GiB"
    assert re.fullmatch(r"broker   online since [0-9: -]+", lines[4])
    assert re.split(r"  +", lines[-1])[:2] + re.split(r"  +", lines[-1])[3:] == ["meter-01", "online", "0.4 s", "2/2"]


def test_trouble_comes_first_with_its_reason_and_fault(tmp_path):
    with Stub(tmp_path, snapshot(FINE, HALF, AWAY)):
        done = gateway("status", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout.splitlines()[0] == "edge-01  trouble: 2 of 3 machines"
    rows = done.stdout.splitlines()[-3:]
    assert [row.split()[0] for row in rows] == ["press-07", "oven-03", "meter-01"]
    assert rows[0].endswith("panel: refuses the connection [connection-refused]")
    assert "2.5 s" in rows[0]  # the newest reading of it that is shown
    assert "1/2" in rows[0]


def test_as_objects(tmp_path):
    with Stub(tmp_path, snapshot(FINE, AWAY)):
        done = gateway("status", "--json", cwd=tmp_path)
    assert done.returncode == 1
    first, *machines = map(json.loads, done.stdout.splitlines())
    assert (first["kind"], first["ok"], first["id"], first["troubles"]) == (
        "gateway", False, "edge-01", ["1 of 2 machines"],
    )  # fmt: skip
    assert [(m["name"], m["state"], m["fault"], m["signals"]["good"]) for m in machines] == [
        ("press-07", "offline", "connection-refused", 1),
        ("meter-01", "online", "", 2),
    ]


def in_short(name: str, counts: tuple[int, int, int], age: float | None) -> dict:
    """A machine as a gateway tells of it that is not asked for signals."""
    told = machine(name)
    del told["signals"]
    return {**told, "counts": dict(zip(("good", "uncertain", "bad"), counts, strict=True)), "age_s": age}


def test_no_row_of_a_signal_is_asked_for(tmp_path):
    """100,000 of them are 12 MiB, which the gateway would make once a second for `top`."""
    looks = [snapshot(in_short("a", (40, 2, 7), 1.25), in_short("new", (0, 0, 3), None), at=NOW + i) for i in range(5)]
    with Stub(tmp_path, *looks) as stub:
        shown = gateway("status", cwd=tmp_path).stdout.splitlines()
        rows = list(map(json.loads, gateway("status", "--json", cwd=tmp_path).stdout.splitlines()))
        top = json.loads(gateway("top", "--json", "--count", "1", "--interval", "100ms", cwd=tmp_path).stdout)
        assert stub.asked == [{"do": "status", "signals": False}] * 4
    assert [line.split()[-3:] for line in shown[-2:]] == [["1.2", "s", "40/49"], [shown[-1].split()[-3], "–", "0/3"]]
    assert [(row["signals"], row["age_s"]) for row in rows[1:]] == [
        ({"good": 40, "uncertain": 2, "bad": 7}, 1.25), ({"good": 0, "uncertain": 0, "bad": 3}, None),
    ]  # fmt: skip
    assert [(row["bad"], row["age_s"]) for row in top["machines"]] == [(7, 1.25), (3, None)]


def test_how_long_the_buffer_lasts(tmp_path):
    """1,000 messages of 1 KiB, 100 more a second, room for 2^30 - 1,024,000 bytes: (2^30 / 1024 - 1000) / 100 s = 10,476 s."""
    store = {"state": "offline", "reason": "nobody listens there", "fault": "store-silent"}
    before = {"records": 900, "bytes": 900 * 1024, "max_bytes": 2**30}
    after = {"records": 1000, "bytes": 1000 * 1024, "max_bytes": 2**30}
    looks = snapshot(FINE, buffer=before, store=store), snapshot(FINE, at=NOW + 1, buffer=after, store=store)
    with Stub(tmp_path, *looks):
        done = gateway("status", cwd=tmp_path)
    assert done.returncode == 1
    assert "buffer   1,000 messages, 1000.0 KiB of 1.0 GiB, full in 3 h\n" in done.stdout
    assert Overview(looks[1], looks[0]).outlook == ("fills", pytest.approx(10475.76))
    assert Overview(looks[0], looks[1]).outlook is None  # backwards
    emptier = snapshot(FINE, at=NOW + 2, buffer=before)
    assert Overview(emptier, looks[1]).outlook == ("drains", pytest.approx(9.0))
    (row, *_) = Overview(emptier, looks[1]).rows()
    assert (row["buffer"]["drains_in_s"], row["buffer"]["fills_in_s"]) == (9, None)


@pytest.mark.parametrize(
    ("over", "trouble"),
    [
        ({"broker": {"state": "offline", "reason": "gone"}}, ["broker"]),
        ({"store": {"state": "offline", "reason": "gone"}}, ["store"]),
        ({"buffer": {"trouble": "disk full"}}, ["buffer"]),
        ({"safe_mode": {"errors": ["gateway.yaml:1:1: error"]}}, ["safe mode"]),
        ({"safe_mode": None}, []),
        ({"store": {"state": "unused"}}, []),
        ({"broker": {"state": "something new"}}, ["broker"]),
    ],
)
def test_what_is_trouble(over, trouble):
    assert Overview(snapshot(FINE, **over)).troubles == trouble


def test_none_runs(tmp_path):
    (tmp_path / "gateway.yaml").write_text(CONFIG)
    done = gateway("status", cwd=tmp_path)
    assert done.returncode == 1
    assert "no gateway runs with this configuration" in done.stderr
    assert "gateway run" in done.stderr


def test_what_a_machine_says_does_not_reach_the_terminal(tmp_path):
    with Stub(tmp_path, snapshot(machine("x", "offline", "\x1b]0;owned\x07\nfake line"))):
        done = gateway("status", cwd=tmp_path)
    assert "\x1b" not in done.stdout
    assert "\nfake" not in done.stdout


def test_colours_only_where_they_are_welcome(tmp_path):
    with Stub(tmp_path, snapshot(AWAY)):
        assert "\x1b" not in gateway("status", cwd=tmp_path).stdout
        assert "\x1b[31;1moffline" in in_terminal(tmp_path, "status").text
        assert "\x1b[" not in in_terminal(tmp_path, "status", env={"NO_COLOR": "1"}).text
        assert "\x1b[" not in in_terminal(tmp_path, "status", env={"TERM": "dumb"}).text


def test_it_fits_into_80_columns(tmp_path):
    long = machine("press-07", "offline", "because " * 40, "connection-refused")
    with Stub(tmp_path, snapshot(long)):
        text = in_terminal(tmp_path, "status").text
    assert max(len(re.sub(r"\x1b\[[0-9;]*m", "", line)) for line in text.splitlines()) == 80
    assert cut("\x1b[31mabcdef\x1b[0m", 4) == "\x1b[31mabc…\x1b[0m"
    assert cut("\x1b[31mabcd\x1b[0m", 4) == "\x1b[31mabcd\x1b[0m"
    assert cut("ab\x1b[31mcd\x1b[0mef", 5) == "ab\x1b[31mcd\x1b[0m…"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.44, "0.4 s"), (61, "61 s"), (3600, "60 min"), (7200, "2 h"), (200_000, "2 days")]
)
def test_spans(seconds, text):
    assert span(seconds) == text


# --- events ------------------------------------------------------------------------------------------------------------


def event(at: float, state: str, name: str = "press-07") -> dict:
    return {"t": at * 1000, "kind": "machine", "machine": name, "state": state, "fault": "", "text": f"{name} {state}"}


def test_events_oldest_first(tmp_path):
    told = [event(NOW - 20, "offline"), event(NOW - 10, "online"), event(NOW - 5, "offline", "oven-03")]
    with Stub(tmp_path, snapshot(), events=told[::-1]) as stub:
        done = gateway("events", cwd=tmp_path)
        assert [line.split("  ", 1)[1] for line in done.stdout.splitlines()] == [
            "press-07         offline   press-07 offline",
            "press-07         online    press-07 online",
            "oven-03          offline   oven-03 offline",
        ]
        rows = gateway("events", "--json", "--machine", "oven-03", cwd=tmp_path).stdout.splitlines()
        assert [json.loads(row) for row in rows] == [told[2]]
        assert stub.asked[-1] == {"do": "events", "limit": 50, "machine": "oven-03"}
        assert gateway("events", "--since", "1h", cwd=tmp_path).stdout == ""  # these are of the year 2026
        assert len(gateway("events", "--since", "2026-01-01", "--json", cwd=tmp_path).stdout.splitlines()) == 3


def test_events_go_on_until_ctrl_c(tmp_path):
    told = [event(NOW, "offline")]
    with (
        Stub(tmp_path, snapshot(), events=told),
        subprocess.Popen([COMMAND, "events", "-f", "--json"], stdout=subprocess.PIPE, cwd=tmp_path) as process,
    ):
        assert process.stdout is not None
        assert json.loads(process.stdout.readline()) == told[0]
        told.append(event(NOW, "online"))  # of the same millisecond
        assert json.loads(process.stdout.readline()) == told[1]
        told.append(event(NOW + 1, "offline"))
        assert json.loads(process.stdout.readline()) == told[2]
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130


# --- top ---------------------------------------------------------------------------------------------------------------


def test_rates_are_those_between_two_looks():
    view = View()
    view.take(snapshot(machine("a", read=100), machine("b", read=0)))
    assert {row["readings_per_s"] for row in view.rows()} == {None}
    view.take(snapshot(machine("a", read=300, failures=7), machine("b", read=1000), at=NOW + 2))
    assert {row["name"]: (row["readings_per_s"], row["polls_per_s"]) for row in view.rows()} == {
        "a": (100.0, 10.0), "b": (500.0, 50.0),
    }  # fmt: skip
    assert view.press("s")
    assert view.press("s")
    assert (view.sort, [row["name"] for row in view.rows()]) == ("readings", ["b", "a"])
    assert view.press("s")
    assert (view.sort, [row["name"] for row in view.rows()]) == ("failures", ["a", "b"])
    started_anew = snapshot(machine("a", read=5), at=NOW + 3, gateway={"uptime_s": 1.0})
    view.take(started_anew)
    assert view.rows()[0]["readings_per_s"] is None


def test_rates_are_of_ten_seconds_and_not_of_the_last_one():
    """Polled every 2 s, 30 readings at once: 15 a second, whether a look of every second saw a poll or not."""
    view = View()
    for second in range(40):
        view.take(snapshot(machine("a", read=30 * (second // 2)), at=NOW + second))
        if second >= 10:
            assert view.rows()[0]["readings_per_s"] == 15.0
    assert len(view.earlier) <= 12


def test_a_rate_that_is_not_known_is_no_zero():
    view = View()
    view.take(snapshot(machine("a"), flow={"readings_per_s": None}))
    assert "– readings/s" in view.head()[0]
    assert "0 readings/s" not in view.head()[0]
    view.take(snapshot(machine("a"), at=NOW + 1, flow={"readings_per_s": 3.0}))
    assert "3 readings/s" in view.head()[0]


def test_the_filter_is_typed():
    view = View()
    view.take(snapshot(machine("press-07"), machine("oven")))
    for key in "/sq\x7f":
        assert view.press(key)
    assert view.only == "s"  # while it is typed, s and q are letters
    assert [row["name"] for row in view.rows()] == ["press-07"]
    assert view.press("\r")
    assert not view.press("q")
    assert view.press("\x1b")
    assert len(view.rows()) == 2


def test_plain_out_of_a_terminal(tmp_path):
    with Stub(tmp_path, snapshot(AWAY, machine("a", read=0)), snapshot(AWAY, machine("a", read=50), at=NOW + 1)):
        done = gateway("top", "--interval", "100ms", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout
    lines = done.stdout.splitlines()
    assert lines[3].split() == ["machine", "state", "readings/s", "polls/s", "failed", "skipped", "bad", "age"]
    assert lines[5].split() == ["a", "online", "50.0", "5.0", "0", "0", "0", "0.4", "s"]
    assert len(lines) == 6


def test_one_object_for_every_interval(tmp_path):
    looks = [snapshot(machine("a", read=10 * i), at=NOW + i) for i in range(4)]
    with Stub(tmp_path, *looks):
        done = gateway("top", "--json", "--count", "3", "--interval", "100ms", cwd=tmp_path)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["machines"][0]["readings_per_s"] for row in rows] == [10.0, 10.0, 10.0]


def in_terminal(folder: Path, *arguments: str, env: dict[str, str] | None = None) -> Terminal:
    terminal = Terminal(folder, *arguments, env=env)
    terminal.end()
    return terminal


def test_live_in_80_by_24(tmp_path):
    many = [machine(f"m{i:02}", read=i) for i in range(60)]
    with Stub(tmp_path, snapshot(*many)):
        terminal = Terminal(tmp_path, "top", "--interval", "200ms")
        terminal.until(r"41 more machines .* q end  s sort \(trouble\)")
        shown = [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line) for line in terminal.text.splitlines()]
        assert max(map(len, shown)) <= 80
        assert "m18" in terminal.text
        assert "m19" not in terminal.text
        terminal.press("/m5")
        terminal.until("filter: m5_")
        terminal.until("m59")
        terminal.press("\r")
        terminal.until("filter: m5")
        terminal.press("s")
        terminal.until(r"sort \(name\)")
        before = termios.tcgetattr(terminal.handle)[3]
        assert not before & termios.ECHO
        terminal.press("q")
        assert terminal.end() == 0
        assert "\x1b[?1049l" in terminal.text  # what was on the screen before is back


def test_the_terminal_is_put_back_when_the_gateway_ends(tmp_path):
    stub = Stub(tmp_path, snapshot(FINE))
    with stub:
        terminal = Terminal(tmp_path, "top", "--interval", "100ms")
        terminal.until("meter-01")
    (tmp_path / "data" / "control.sock").unlink()
    assert terminal.end() == 1
    assert "no gateway runs" in terminal.text


# --- with a real one ---------------------------------------------------------------------------------------------------


def test_of_a_real_gateway():
    away = free_port()
    with Mosquitto() as broker, Libmodbus({(1, "holding", 0): [2135, 3]}) as press:
        text = f"""\
gateway: {{id: edge-01, data_dir: data}}
connections:
  panel: {{protocol: modbus-tcp, host: 127.0.0.1, port: {press.port}}}
  gone: {{protocol: modbus-tcp, host: 127.0.0.1, port: {away}}}
machines:
  press-07: {{connection: panel, poll: 100ms, signals: {{temp: {{holding: 0, type: int16}}}}}}
  oven-03: {{connection: gone, signals: {{temp: {{holding: 0, type: int16}}}}}}
mqtt: {{url: "mqtt://127.0.0.1:{broker.port}"}}
store: {{kind: historian}}
"""
        with Gateway(text) as edge:
            wait_until(lambda: edge.machine("press-07")["state"] == "online", 20, "the press")
            wait_until(lambda: edge.machine("oven-03")["reason"] not in ("", "starting"), 20, "the oven to be missed")
            wait_until(lambda: edge.status()["broker"]["state"] == "online", 20, "the broker")
            done = gateway("status", "--json", "-c", str(edge.file))
            assert done.returncode == 1, done.stderr
            first, oven, press_row = map(json.loads, done.stdout.splitlines())
            assert first["broker"]["state"] == "online"
            assert (oven["name"], oven["state"], oven["fault"]) == ("oven-03", "offline", "connection-refused")
            assert (press_row["name"], press_row["state"]) == ("press-07", "online")
            assert "oven-03" in gateway("status", "-c", str(edge.file)).stdout
            short, whole = ask_at(edge.file, "status", signals=False), ask_at(edge.file, "status")
            assert [set(m) & {"signals", "counts", "age_s"} for m in short["machines"]] == [{"counts", "age_s"}] * 2
            assert [len(m["signals"]) for m in whole["machines"]] == [1, 1]
            done = gateway("top", "--json", "--count", "1", "-c", str(edge.file))
            rates = {m["name"]: m["readings_per_s"] for m in json.loads(done.stdout)["machines"]}
            assert 5 < rates["press-07"] < 15
            assert rates["oven-03"] == 0
            wait_until(lambda: "oven-03" in gateway("events", "-c", str(edge.file)).stdout, 20, "an event")
            edge.stop()
            told = gateway("events", "-c", str(edge.file), "--json")
            assert told.returncode == 0
            assert "what the last one wrote down" in told.stderr
            assert json.loads(told.stdout.splitlines()[-1])["state"] == "stopped"
