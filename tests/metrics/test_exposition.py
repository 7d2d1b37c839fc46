"""What is exposed: each figure against a plant whose figures are known, the text against promtool, and what may not be in it."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

import pytest

import gateway
from gateway.clock import ERA, SystemClock
from gateway.config import load
from gateway.counters import THINNED
from gateway.errors import PartMissingError
from gateway.events import Event, Events
from gateway.metrics.certificates import Certificates, end_of
from gateway.metrics.exposition import CAUSES, OF_MACHINES, Exposition, rows
from gateway.metrics.happened import Happened
from gateway.metrics.lag import Lag
from gateway.model import GOOD, NO_COMMUNICATION, OUT_OF_RANGE, UNCERTAIN, Batch, Signal
from gateway.runtime.app import App, paho_links
from gateway.runtime.changes.safe_mode import Waiting
from gateway.runtime.registry import protocols
from gateway.web.snapshot import Condition
from gateway.web.sources import Sources
from gateway.web.views.plant import plant as view
from parts.prometheus import promtool
from web.plant import NOW, ManualClock, S, Used, all_bad, empty_board, full, header, plant, signal

LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
ESCAPES = {"\\\\": "\\", '\\"': '"', "\\n": "\n"}


def read(text: bytes) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """By https://prometheus.io/docs/instrumenting/exposition_formats: each series once, and nothing else."""
    found = {}
    for line in text.decode().removesuffix("\n").split("\n"):
        if line.startswith("#"):
            assert re.match(r"# (HELP|TYPE) \w+ .", line)
            continue
        parts = re.fullmatch(r"(\w+)(?:\{(.*)\})? (\S+)", line)
        assert parts, line
        labels = [(k, re.sub(r'\\[\\"n]', lambda m: ESCAPES[m[0]], v)) for k, v in LABEL.findall(parts[2] or "")]
        key = parts[1], frozenset(labels)
        assert key not in found, "a series twice"
        found[key] = float(parts[3])
    return found


class Read:
    def __init__(self, exposition: Exposition) -> None:
        self.text = exposition()
        self.series = read(self.text)

    def __call__(self, name: str, **labels: str) -> float | None:
        return self.series.get((name, frozenset(labels.items())))

    def labels(self, name: str) -> list[dict[str, str]]:
        return [dict(labels) for of, labels in self.series if of == name]


def of(board, **more) -> Read:
    return Read(Exposition(clock=ManualClock(), board=lambda: board, **more))


def test_promtool_finds_nothing_to_say():
    done = promtool("check", "metrics", text=of(plant()).text.decode())
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_promtool_would():
    """The control."""
    assert promtool("check", "metrics", text="# TYPE polls counter\npolls 3\n").returncode


def test_the_gateway_and_its_flow():
    board = plant()
    board.counters.refused, board.counters.rewinds = 5, 2
    seen = of(board, waits=lambda: 12.5)
    assert seen("gateway_info", gateway="edge-01", version="0.1.0", delivery="store") == 1
    # From tests/web/plant.py.
    assert seen("gateway_messages_sent_total") == 557_988
    assert seen("gateway_messages_stored_total", by="store") == 557_976
    assert seen("gateway_broker_refusals_total") == 5
    assert seen("gateway_publisher_rewinds_total") == 2
    assert seen("gateway_buffer_messages") == 12
    assert seen("gateway_buffer_bytes") == 41_000_000
    assert seen("gateway_buffer_limit_bytes") == 134_217_728
    assert seen("gateway_buffer_disk_ok") == 1
    assert seen("gateway_buffer_oldest_age_seconds") == 12.5
    assert seen("gateway_broker_up") == seen("gateway_store_up") == 1
    assert seen("gateway_clock_trusted") == 1
    assert seen("process_start_time_seconds") > 1_700_000_000
    assert {"process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds"} <= {
        n for n, _ in seen.series
    }


@pytest.mark.parametrize(("said", "shown"), [(True, 1), (False, 0), (None, None)])
def test_a_clock_that_is_right_and_kept_by_nobody(said: bool | None, shown: int | None):
    """adjtimex(2) says 5, TIME_ERROR, where nothing keeps the clock; whether its time is believed is another question."""
    seen = of(plant(), synchronized=lambda: said)
    assert seen("gateway_clock_trusted") == 1
    assert seen("gateway_clock_synchronized") == shown


def test_a_page():
    assert of(plant())("gateway_page_up") is None
    away = Condition("offline", NOW, "the port is taken", "port-taken")
    seen = of(plant(), page=lambda: away)
    assert (seen("gateway_page_up"), seen("gateway_link_fault", link="page", fault="port-taken")) == (0, 1)
    assert of(plant(), page=lambda: Condition("online", NOW))("gateway_page_up") == 1
    assert of(plant(), page=lambda: Condition("unused", NOW))("gateway_page_up") is None


def test_rows_for_json():
    """Each series once, with what a line of the text says."""
    text = of(plant()).text.decode()
    found = list(rows(text))
    series = read(text.encode())
    assert len(found) == len(series)
    assert {(row["name"], frozenset(row["labels"].items())): row["value"] for row in found} == series
    assert {"name": "gateway_buffer_messages", "type": "gauge", "labels": {}, "value": 12} in found
    assert next(rows("# TYPE a gauge\na NaN\n"))["value"] is None


def test_who_acknowledged_what_counts_as_stored():
    board = plant()
    board.delivery = "broker"
    seen = of(board)
    assert seen("gateway_messages_stored_total", by="broker") == 557_976
    assert len(seen.labels("gateway_messages_stored_total")) == 1


def test_readings_that_are_lost_by_cause_and_thinning_apart():
    board = plant()
    seen = of(board)
    causes = {labels["cause"] for labels in seen.labels("gateway_readings_lost_total")}
    assert causes >= {"buffer-full", "too-old", "damaged", "disk-cannot-be-written"}, "increase() needs one before"
    assert {seen("gateway_readings_lost_total", cause=cause) for cause in causes} == {0}
    for cause, count in [
        ("damaged", 7), ("buffer-full", 100), ("buffer-full: of low priority", 11), ("thinned: one value in 60 s", 9_910),
        ("buffer-full", 5), ("a cause of tomorrow", 1),
    ]:  # fmt: skip
        board.counters.note_loss(cause, count)
    seen = of(board)
    lost = {c: seen("gateway_readings_lost_total", cause=c) for c in ("damaged", "buffer-full", "a cause of tomorrow")}
    assert lost == {"damaged": 7, "buffer-full": 116, "a cause of tomorrow": 1}
    assert seen("gateway_readings_thinned_total") == 9_910
    assert (board.counters.lost, board.counters.thinned) == (124, 9_910)


def test_the_causes_that_are_there_before_anything_happened_are_all_there_are():
    """Those of loss records about messages, as they stand in the code that makes them."""
    made = set()
    for name in ("buffer/segment_log.py", "buffer/reduce.py", "publisher/publisher.py"):
        text = (Path(gateway.__file__).parent / name).read_text()
        for pattern in (
            r'(?: Loss\(.*|\(Loss\(.*|_drop\(.*|_drop_oldest\(|_declare_lost\(.*)"([a-z-]+)"\)', r'0x9\d: "([a-z-]+)"', r'Step\(f?"([a-z-]+):'
        ):  # fmt: skip
            made |= set(re.findall(pattern, text))
    assert len(made) == len(CAUSES) + 1
    assert made == {*CAUSES, THINNED}


def test_safe_mode():
    assert of(plant())("gateway_safe_mode") == 0
    assert of(plant(), safe_mode=lambda: ["gateway.yaml:3:1: error"])("gateway_safe_mode") == 1
    # Of a gateway that has nothing to run with there is no board.
    assert Read(Exposition(clock=ManualClock(), safe_mode=lambda: ["x"]))("gateway_safe_mode") == 1


def test_a_process_in_safe_mode_exposes_it(tmp_path: Path):
    """With an earlier configuration, and with nothing to run with."""
    file = tmp_path / "gateway.yaml"
    file.write_text(
        "gateway: {id: e}\nmqtt: {url: 'mqtt://127.0.0.1:1'}\nconnections: {c: {protocol: modbus-tcp, host: 127.0.0.1}}\n"
        "machines: {m: {connection: c, signals: {a: {holding: 0, type: int16}}}}\n"
    )
    configuration, clock = load(file, protocols()), SystemClock()
    for errors in ([], ["gateway.yaml:1:1: error: x"]):
        app = App(configuration, paho_links(configuration, clock), clock, safe_mode=errors)
        assert read(app.scrape())["gateway_safe_mode", frozenset()] == len(errors)
        app.safe_mode = ()
        assert read(app.scrape())["gateway_safe_mode", frozenset()] == 0, "the files are right again"
    waiting = Waiting(file, ["gateway.yaml:1:1: error: x"], {})
    assert read(waiting._answers()["metrics"]().encode())["gateway_safe_mode", frozenset()] == 1
    assert waiting._answers()["status"](signals=False)["safe_mode"]


def test_an_empty_buffer_keeps_nothing_waiting_and_an_unknown_age_is_left_out():
    board = plant()
    assert of(board)("gateway_buffer_oldest_age_seconds") is None
    board.usage = lambda: Used(records=0)
    assert of(board)("gateway_buffer_oldest_age_seconds") == 0


def test_the_disk():
    board = plant()
    board.usage = lambda: Used(trouble="No space left on device", unsafe=9, dropped=4)
    seen = of(board)
    assert seen("gateway_buffer_disk_ok") == 0
    assert seen("gateway_buffer_unsafe_messages") == 9
    assert seen("gateway_buffer_dropped_messages_total") == 4


def test_machines():
    seen = of(plant())
    for name, state, up in (("press-07", "degraded", 1), ("robot-11", "offline", 0), ("meter-01", "online", 1)):
        assert seen("gateway_machine_up", machine=name) == up
        states = {s: seen("gateway_machine_state", machine=name, state=s) for s in ("online", "degraded", "offline")}
        assert states == {"online": 0, "degraded": 0, "offline": 0, state: 1}
    levels = {"enterprise": "acme", "site": "hanoi", "area": "moulding"}
    assert seen("gateway_machine_info", machine="robot-11", line="L3", **levels) == 1
    # Read 0.4 s before NOW.
    assert seen("gateway_machine_newest_reading_age_seconds", machine="press-07") == pytest.approx(0.4)
    assert seen("gateway_machine_state_since_timestamp_seconds", machine="press-07") == NOW / S - 310


def test_a_machine_that_is_silent_does_not_look_fresh():
    """Every poll without an answer makes bad readings of that moment; the newest value is 600 s old."""
    board = plant()
    silent = header("silent-01", signal("a"), signal("b"))
    board.add(silent, NOW)
    assert of(board)("gateway_machine_newest_reading_age_seconds", machine="silent-01") is None
    board.update(full(silent, [1.0, 2.0], [GOOD, UNCERTAIN], NOW - 600 * S))
    for seconds in (599, 300, 1):
        board.update(all_bad(silent, NO_COMMUNICATION, NOW - seconds * S))
    age = "gateway_machine_newest_reading_age_seconds"
    assert of(board)(age, machine="silent-01") == pytest.approx(600)
    board.update(full(silent, [None, 2.0], [NO_COMMUNICATION, UNCERTAIN], NOW - 2 * S))
    assert of(board)(age, machine="silent-01") == pytest.approx(2)


def test_each_counter_is_the_one_it_says():
    board = empty_board()
    board.add(header("press", signal("a")), NOW)
    counters = board.counters.of("press")
    for number, (attribute, _, _) in enumerate(OF_MACHINES, 1):
        setattr(counters, attribute, number)
    counters.messages = 77
    seen = of(board)
    for number, (_, name, _) in enumerate(OF_MACHINES, 1):
        assert seen(f"{name}_total", machine="press") == number
    assert seen("gateway_messages_total") == 77
    # By hand, for those that others rely on.
    assert seen("gateway_readings_read_total", machine="press") == counters.read
    assert seen("gateway_readings_bad_total", machine="press") == counters.bad
    assert seen("gateway_readings_accepted_total", machine="press") == counters.accepted
    assert seen("gateway_requests_total", machine="press") == counters.requests
    assert seen("gateway_request_failures_total", machine="press") == counters.failures
    assert seen("gateway_reconnects_total", machine="press") == counters.reconnects
    assert seen("gateway_overruns_total", machine="press") == counters.overruns


def test_signals_by_quality():
    board = empty_board()
    head = header("press", *(signal(f"s{i}") for i in range(6)))
    board.add(head, NOW)

    def counts() -> tuple[float | None, ...]:
        seen = of(board)
        return tuple(seen("gateway_machine_signals", machine="press", quality=q) for q in ("good", "uncertain", "bad"))

    assert counts() == (0, 0, 6), "what was never read has no value"
    board.update(Batch(head, [0, 1], [NOW, NOW], [1.0, 2.0], None))
    assert counts() == (2, 0, 4)
    board.update(full(head, [1.0] * 6))
    assert counts() == (6, 0, 0)
    board.update(
        full(head, [1.0, 2.0, 3.0, 4.0, None, None], [GOOD, GOOD, GOOD, OUT_OF_RANGE, *[NO_COMMUNICATION] * 2])
    )
    assert counts() == (3, 1, 2)
    board.update(all_bad(head, NO_COMMUNICATION, NOW))
    assert counts() == (0, 0, 6)


def test_an_event_that_has_not_happened_is_not_bad():
    """Else every machine with alarms has an alert until each of them was there once. The tile counts the same."""
    board = empty_board()
    head = header("press", signal("a"), Signal("alarm", "string", kind="event"), Signal("jam", "string", kind="event"))
    board.add(head, NOW)

    def counts() -> tuple[float | None, ...]:
        seen = of(board)
        found = tuple(seen("gateway_machine_signals", machine="press", quality=q) for q in ("good", "uncertain", "bad"))
        (tile,) = view(Sources(board, ManualClock()))["machines"]
        assert found == tuple(tile["signals"][q] for q in ("good", "uncertain", "bad"))
        return found

    assert counts() == (0, 0, 1), "what is no event is missed"
    board.update(Batch(head, [0], [NOW], [1.0], None))
    assert counts() == (1, 0, 0)
    board.update(Batch(head, [1], [NOW], ["door open"], None))
    assert counts() == (2, 0, 0)
    board.update(Batch(head, [2, 0], [NOW, NOW], [None, None], [NO_COMMUNICATION, NO_COMMUNICATION]))
    assert counts() == (1, 0, 2), "one that cannot be read is bad"


def test_faults_are_labels():
    board = plant()
    board.machines["robot-11"].condition.set("offline", NOW, "no answer", "modbus-no-answer")
    board.broker.set("offline", NOW, "not authorised", "broker-refuses-password")
    seen = of(board)
    assert seen("gateway_machine_fault", machine="robot-11", fault="modbus-no-answer") == 1
    assert len(seen.labels("gateway_machine_fault")) == 1
    assert seen("gateway_link_fault", link="broker", fault="broker-refuses-password") == 1
    assert (seen("gateway_broker_up"), seen("gateway_store_up")) == (0, 1)


def test_a_store_that_is_not_waited_for_is_left_out():
    board = plant()
    board.store.state = "unused"
    assert of(board)("gateway_store_up") is None


def test_figures_and_what_a_machine_is_doing():
    board = empty_board()
    head = header("press", signal("a"))
    board.add(head, NOW)
    derived = header(
        "press", signal("state", "string"), signal("cycle", unit="s"), signal("shift.oee", unit="1"), signal("shift.energy", unit="kW.h"),
        signal("hour.oee", unit="1"), signal("shift.name", "string"), signal("shift.production_time", unit="s"),
    )  # fmt: skip
    board.add(derived, NOW, "derived")
    values = ["running", 12.0, 0.8125, 41.5, None, "early", 3600.0]
    board.update(full(derived, values, [GOOD, GOOD, GOOD, GOOD, NO_COMMUNICATION, GOOD, GOOD]))
    seen = of(board)
    assert seen("gateway_machine_doing", machine="press", doing="running") == 1
    assert seen("gateway_kpi", machine="press", interval="shift", figure="oee", unit="1") == 0.8125
    assert seen("gateway_kpi", machine="press", interval="shift", figure="energy", unit="kW.h") == 41.5
    assert len(seen.labels("gateway_kpi")) == 2, "neither what has no value, nor text, nor what figures are made from"


def test_there_are_as_many_series_however_many_signals_a_machine_has():
    def series(signals: int) -> int:
        board = empty_board()
        board.add(header("press", *(signal(f"s{i}") for i in range(signals))), NOW)
        return len(of(board).series)

    assert series(1) == series(500)


@pytest.mark.parametrize("name", ['x"} 1\ngateway_forged{a="', "back\\slash", "dòng"])
def test_a_name_forges_no_series(name):
    board = empty_board()
    board.add(header(name, signal("a")), NOW)
    seen = of(board)
    assert seen("gateway_machine_up", machine=name) == 0
    assert not any("forged" in metric for metric, _ in seen.series)


def test_what_happened_is_counted_from_now_on():
    events = Events()
    events.recall([Event(NOW, "clock")] * 5)
    happened = Happened(events)
    for kind, state in (
        ("clock", "set"),
        ("clock", ""),
        ("config", "reloaded"),
        ("config", "refused"),
        ("config", "reloaded"),
    ):
        events.add(Event(NOW, kind, state=state))
    seen = of(plant(), happened=happened)
    assert seen("gateway_clock_steps_total") == 2
    assert seen("gateway_config_reloads_total", result="reloaded") == 2
    assert seen("gateway_config_reloads_total", result="refused") == 1


def test_a_counter_is_there_before_anything_happened():
    """`increase()` sees nothing in a series that begins with 1."""
    seen = of(plant(), happened=Happened(Events()))
    assert seen("gateway_clock_steps_total") == seen("gateway_config_reloads_total", result="refused") == 0


@dataclass
class Status:
    ok: bool = False
    messages: int = 4
    readings: int = 400
    losses: int = 2
    refused: int = 3
    rejected: int = 1
    lag: float | None = 0.25
    last: int | None = NOW


def test_a_store_writer_alone():
    seen = Read(Exposition(clock=ManualClock(), writer=Status))
    assert seen("gateway_store_writer_up") == 0
    assert seen("gateway_store_messages_total") == 4
    assert seen("gateway_store_readings_total") == 400
    assert seen("gateway_store_losses_total") == 2
    assert seen("gateway_store_readings_refused_total") == 3
    assert seen("gateway_store_messages_rejected_total") == 1
    assert seen("gateway_store_lag_seconds") == 0.25
    assert seen("gateway_store_last_commit_timestamp_seconds") == NOW / S
    assert seen("gateway_machine_up", machine="press") is None
    assert promtool("check", "metrics", text=seen.text.decode()).stdout == ""


def test_a_time_that_is_not_known_is_not_shown():
    board = empty_board()
    board.add(header("press", signal("a")), ERA + 5)
    assert of(board)("gateway_machine_state_since_timestamp_seconds", machine="press") is None


# --- certificates ----------------------------------------------------------------------------------------------------


def certificate(end: int, form: str = "PEM") -> bytes:
    """A certificate that ends then, in seconds since 1970."""
    from datetime import UTC, datetime, timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import Encoding

    key, ends = ec.generate_private_key(ec.SECP256R1()), datetime.fromtimestamp(end, UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, ends - timedelta(days=1), ends).sign(key, SHA256())
    return made.public_bytes(getattr(Encoding, form))


def test_the_end_of_a_certificate():
    assert end_of(certificate(1_900_000_000)) == 1_900_000_000
    assert end_of(certificate(1_900_000_000, "DER")) == 1_900_000_000
    assert end_of(certificate(1_900_000_000) + certificate(1_800_000_000)) == 1_800_000_000, (
        "a chain ends with its first"
    )
    assert end_of(b"nothing") is None
    assert end_of(b"-----BEGIN CERTIFICATE-----\nnothing") is None


def test_a_certificate_is_read_again_when_it_was_replaced(tmp_path: Path):
    file = tmp_path / "cert.pem"
    ends = Certificates(lambda: {"mqtt": file})
    assert ends() == {}
    file.write_bytes(certificate(1_900_000_000))
    assert of(plant(), certificates=ends)("gateway_certificate_expiry_timestamp_seconds", certificate="mqtt") == 1.9e9
    (tmp_path / "new").write_bytes(certificate(2_000_000_000))
    (tmp_path / "new").rename(file)
    assert ends() == {"mqtt": 2_000_000_000}
    file.unlink()
    assert ends() == {}


# --- the event loop, and where it is asked for -----------------------------------------------------------------------


async def test_an_event_loop_that_was_held_up_shows(monkeypatch):
    import time

    monkeypatch.setattr("gateway.metrics.lag.PAUSE", 0.01)
    lag = Lag()
    lag.start()
    try:
        for _ in range(100):
            await asyncio.sleep(0.005)
            if lag.worst:
                break
        time.sleep(0.2)  # what nobody may do
        for _ in range(100):
            await asyncio.sleep(0.005)
            if lag.worst > 0.1:
                break
        assert 0.15 < lag.worst < 2
    finally:
        lag.stop()
        lag.stop()


async def test_the_page_has_them():
    from gateway.web.server import serve
    from gateway.web.sources import Sources

    board = plant()
    server = await serve(Sources(board, metrics=Exposition(clock=ManualClock(), board=lambda: board)), "127.0.0.1", 0)
    try:

        def scrape() -> tuple[str, bytes]:
            with urlopen(f"{server.url}metrics", timeout=10) as answer:
                return answer.headers["content-type"], answer.read()

        kind, text = await asyncio.to_thread(scrape)
        # Prometheus goes by this: https://prometheus.io/docs/instrumenting/exposition_formats
        assert kind == "text/plain; version=0.0.4; charset=utf-8"
        assert ("gateway_buffer_messages", frozenset()) in read(text)
    finally:
        await server.stop()


def test_without_the_library_it_says_what_to_install():
    import subprocess
    import sys

    code = "import sys; sys.modules['prometheus_client'] = None; import gateway.metrics.exposition"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert PartMissingError.__name__ in done.stderr
    assert "shopfloor-gateway[web]" in done.stderr
