"""InfluxDB 1.6 (v1), VictoriaMetrics (v2) and vmauth, all real."""

import math
import resource
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import orjson
import pytest

from gateway.clock import SystemClock
from gateway.errors import PartMissingError, StoreError, StoreRefusedError
from gateway.model import NO_COMMUNICATION, MachinePath
from gateway.mqtt.payload import Loss, Meta
from gateway.store.contract import Lost
from gateway.store.influx_store import InfluxStore
from parts.influxdb1 import InfluxDB1
from parts.ports import free_port
from parts.process import Part, wait_until
from parts.proxy import Proxy
from parts.victoria_metrics import VictoriaMetrics
from store.material import PRESS, SECOND, T0, influx_store, readings, simple

NOW = SystemClock().now() // SECOND * SECOND
EVER = 2**62


@pytest.fixture(scope="module")
def influx() -> Iterator[InfluxDB1]:
    with InfluxDB1() as part:
        yield part


@pytest.fixture(scope="module")
def vm() -> Iterator[VictoriaMetrics]:
    with VictoriaMetrics(token="gw-token") as part:
        yield part


@pytest.fixture
def shop(influx: InfluxDB1, tmp_path: Path) -> Iterator[InfluxStore]:
    influx.query("CREATE DATABASE shop")
    store = influx_store(influx.url, tmp_path, database="shop")
    yield store
    store.close()
    influx.query("DROP DATABASE shop")


def letters(folder: Path) -> list[dict[str, Any]]:
    path = folder / "dead-letters.jsonl"
    return [orjson.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []


# --- v1 --------------------------------------------------------------------------------------------------------------

FRAMES: list[Any] = [
    (T0, {"temp": 5.0, "count": 2**53 + 1, "alarm": True, "mode": 'say "hi"', "time": 1.5}, {}),
    (T0 + SECOND, {"temp": 6.25, "count": 2**64 - 1, "mode": "a, b=c \\"}, {}),
    (T0 + 2 * SECOND, {"count": 3}, {"temp": NO_COMMUNICATION}),
    (T0 + 2 * SECOND + 1000, {"temp": 7.5}, {}),
]


def test_v1_gives_back_what_was_written(influx: InfluxDB1, shop: InfluxStore) -> None:
    shop.write([readings(1, FRAMES)])
    shop.write([readings(1, FRAMES)])  # the same points again
    temp = shop.query("press-07", "temp", 0, EVER)
    assert temp.time == [T0, T0 + SECOND, T0 + 2 * SECOND, T0 + 2 * SECOND + 1000]
    assert temp.value == [5.0, 6.25, None, 7.5]
    assert [type(v) for v in temp.value] == [float, float, type(None), float]
    assert temp.quality == [0, 0, NO_COMMUNICATION, 0]
    assert shop.query("press-07", "count", 0, EVER).value == [2**53 + 1, 2**64 - 1, 3]
    assert shop.query("press-07", "alarm", 0, EVER).value == [True]
    assert shop.query("press-07", "mode", 0, EVER).value == ['say "hi"', "a, b=c \\"]
    assert shop.query("press-07", "time", 0, EVER).value == [1.5]
    (row, *_) = influx.query("SELECT * FROM machine", db="shop")
    assert [row[tag] for tag in ("enterprise", "site", "area", "line", "machine")] == [*PRESS.levels()]
    assert len(shop.query("press-07", "temp", 0, EVER, points=2)) == 2


def test_v1_does_not_mix_machines_of_the_same_name(shop: InfluxStore) -> None:
    other = MachinePath("press-07", "acme", "hue")
    shop.write([simple(1, 1.0), readings(1, [(T0, {"temp": 2.0}, {})], path=other)])
    with pytest.raises(
        StoreError, match="several machines 'press-07': say acme/hanoi/moulding/L1/press-07 or acme/hue"
    ):
        shop.query("press-07", "temp", 0, EVER)
    assert shop.query("acme/hue/press-07", "temp", 0, EVER).value == [2.0]
    with pytest.raises(StoreError, match="no signal 'tmp'"):
        shop.query("press-07", "tmp", 0, EVER)


def test_a_refused_line_costs_only_itself(influx: InfluxDB1, shop: InfluxStore, tmp_path: Path) -> None:
    shop.write([simple(1, 1.5)])
    batch = [simple(seq, "text in a field of numbers" if seq == 7 else float(seq)) for seq in range(2, 20)]
    (lost,) = shop.write(batch)
    assert (lost.gateway, lost.loss.first, lost.loss.count, lost.loss.machine) == ("edge-01", 7, 1, "press-07")
    assert shop.query("press-07", "temp", 0, EVER).time == [T0 + s * SECOND for s in range(1, 20) if s != 7]
    (letter,) = letters(tmp_path)
    assert letter["seq"] == 7
    assert "field type conflict" in letter["reason"]
    assert 'temp="text in a field of numbers"' in letter["line"]
    (record,) = influx.query("SELECT * FROM loss", db="shop")
    assert (record["gateway"], record["machine"], record["first"], record["count"]) == ("edge-01", "press-07", 7, 1)
    assert record["cause"] == "refused by the store"


def test_without_splitting_nothing_of_the_batch_would_be_certain(
    shop: InfluxStore, tmp_path: Path, monkeypatch: Any
) -> None:
    """Negative control: a store that gives up a refused batch as a whole loses the good ones with it."""
    shop.write([simple(1, 1.5)])

    def give_up_all(owners: Any, taken: Any) -> Any:
        return [shop._give_up(*owner, "refused", taken) for owner in owners]

    monkeypatch.setattr(shop, "_put", give_up_all)
    shop.write([simple(2, "text"), simple(3, 2.5)])
    assert shop.query("press-07", "temp", 0, EVER).time == [T0 + SECOND]


def test_losses_are_stored(influx: InfluxDB1, shop: InfluxStore) -> None:
    shop.write([Lost("edge-01", 9, Loss("e1", 5, 8, 40, T0, T0 + SECOND, "buffer full"))])
    (record,) = influx.query("SELECT * FROM loss", db="shop")
    assert (record["time"], record["count"], record["cause"]) == (T0 + SECOND + 9, 40, "buffer full")


def test_losses_of_the_same_moment_do_not_replace_each_other(influx: InfluxDB1, shop: InfluxStore) -> None:
    losses = [Lost("edge-01", seq, Loss("e1", 0, 0, seq, T0, T0, "overflow", "press-07")) for seq in range(1, 41)]
    for _ in range(2):
        shop.write(losses)
    found = influx.query("SELECT * FROM loss", db="shop")
    assert sorted(row["count"] for row in found) == list(range(1, 41))


def test_two_refused_lines_of_the_same_moment_are_two_losses(influx: InfluxDB1, shop: InfluxStore) -> None:
    shop.write([readings(1, [(T0, {"a": 1.5, "b": 1.5}, {})])])
    frames: list[Any] = [
        (T0 + SECOND, {"a": "text"}, {}),
        (T0 + 2 * SECOND, {"c": 1.5}, {}),
        (T0 + SECOND, {"b": "text"}, {}),
    ]
    assert len(shop.write([readings(2, frames)])) == 2
    assert len(influx.query("SELECT * FROM loss", db="shop")) == 2


def test_a_missing_data_base_holds_everything_back(influx: InfluxDB1, tmp_path: Path) -> None:
    store = influx_store(influx.url, tmp_path, database="nowhere")
    with pytest.raises(StoreError, match="no data base 'nowhere' there"):
        store.write([simple(1)])
    assert letters(tmp_path) == []
    store.close()


def test_a_wrong_password_holds_everything_back(tmp_path: Path) -> None:
    with InfluxDB1(user="gw", password="secret") as part:
        part.query("CREATE DATABASE shop")
        wrong = influx_store(part.url, tmp_path, database="shop", user="gw", password="wrong")
        with pytest.raises(StoreError, match=r"check store\.user and store\.password"):
            wrong.write([simple(1)])
        right = influx_store(part.url, tmp_path, database="shop", user="gw", password="secret")
        right.write([simple(1)])
        assert len(right.query("press-07", "temp", 0, EVER)) == 1
        wrong.close()
        right.close()
    assert letters(tmp_path) == []


def test_nobody_there(tmp_path: Path) -> None:
    with Proxy(1) as proxy:
        store = influx_store(f"http://127.0.0.1:{proxy.port}", tmp_path, database="shop", timeout=0.5)
        with pytest.raises(StoreError, match="cannot be reached"):
            store.write([simple(1)])
        proxy.freeze()
        with pytest.raises(StoreError, match="cannot be reached"):
            store.write([simple(1)])
        store.close()


def test_quality_returns_after_a_restart(influx: InfluxDB1, shop: InfluxStore, tmp_path: Path) -> None:
    shop.write([readings(1, [(T0, {}, {"temp": NO_COMMUNICATION})])])
    again = influx_store(influx.url, tmp_path, database="shop")
    again.write([simple(2, 1.5)])
    again.close()
    found = influx.query("SELECT temp_quality FROM machine", db="shop")
    assert [row["temp_quality"] for row in found] == [NO_COMMUNICATION, 0]


# --- v2 --------------------------------------------------------------------------------------------------------------


def exported(vm: VictoriaMetrics, name: str) -> list[tuple[int, float | None]]:
    return [point for _, points in vm.export(name) for point in points]


def test_v2_brings_every_point_with_its_place(vm: VictoriaMetrics, tmp_path: Path) -> None:
    store = influx_store(vm.auth_url, tmp_path, org="acme", bucket="v2_points", token="gw-token", measurement="v2")
    store.write([Meta(PRESS, {"mode": "string"}, {}, {"mode": {"auto": 3}})])
    batch = [readings(s, [(NOW + s * SECOND, {"temp": s / 4, "mode": "auto"}, {})]) for s in range(1, 50)]
    store.write(batch)
    store.write(batch)
    store.close()
    wait_until(lambda: len(exported(vm, "v2_temp")) == 49, 30, "the points to be readable")
    ((labels, points),) = vm.export("v2_temp")
    assert points == [((NOW + s * SECOND) // 10**6, s / 4) for s in range(1, 50)]
    assert {labels[tag] for tag in ("enterprise", "site", "area", "line", "machine")} == {*PRESS.levels()}
    assert {value for _, value in exported(vm, "v2_mode_code")} == {3}


@pytest.mark.parametrize("token", ["wrong", ""])
def test_a_wrong_token_holds_everything_back(vm: VictoriaMetrics, tmp_path: Path, token: str) -> None:
    """vmauth 1.79 answers a wrong token with 400, which for a line would mean: refused for good."""
    store = influx_store(vm.auth_url, tmp_path, bucket="b", token=token, measurement="held")
    with pytest.raises(StoreError, match=r"check store\.token"):
        store.write([simple(1, at=NOW), simple(2, at=NOW)])
    store.close()
    assert letters(tmp_path) == []
    assert exported(vm, "held_temp") == []


def test_what_lies_too_far_ahead_for_victoria_metrics_is_not_lost_silently(vm: VictoriaMetrics, tmp_path: Path) -> None:
    store = influx_store(vm.url, tmp_path, bucket="b", measurement="ahead")
    (lost,) = store.write([simple(1, at=NOW), simple(2, at=NOW + 3 * 86400 * SECOND)])
    store.close()
    assert lost.loss.first == 2
    assert "two days ahead" in letters(tmp_path)[0]["reason"]
    wait_until(lambda: exported(vm, "ahead_temp") == [(NOW // 10**6, 1.5)], 30, "the point to be readable")
    wait_until(lambda: len(exported(vm, 'loss_count{machine="press-07"}')) == 1, 30, "the loss to be readable")


@pytest.mark.parametrize(("protected", "noticed"), [(True, True), (True, False), (False, True), (False, False)])
def test_what_victoria_metrics_forgets_when_it_is_killed_is_written_again(
    tmp_path: Path, protected: bool, noticed: bool
) -> None:
    """It acknowledges what a power cut takes away; without writing again (negative control) points are missing."""
    with VictoriaMetrics() as part:
        store = influx_store(part.url, tmp_path, bucket="b", resend_after_outage=None if protected else 0.0)
        store.write([simple(seq, at=NOW + seq * SECOND) for seq in range(1, 100)])
        part.kill()
        if noticed:
            with pytest.raises(StoreError, match="cannot be reached"):
                store.write([simple(100, at=NOW + 100 * SECOND)])
        part.start()
        store.write([simple(100, at=NOW + 100 * SECOND)])
        store.close()
        wait_until(lambda: len(exported(part, "machine_temp")) >= (100 if protected else 1), 30, "the points")
        assert len(exported(part, "machine_temp")) == (100 if protected else 1)


# --- who refuses us, not a reading; and a disk that is full -------------------------------------------------------------


class Refusing(Part):
    """An HTTP server that answers every write with one status, as InfluxDB 2 words it."""

    def __init__(self, status: int, code: str) -> None:
        super().__init__()
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.answer = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\n"
        self.body = orjson.dumps({"code": code, "message": f"{code} it is"}).decode()

    def command(self) -> list[str]:
        program = (
            "import http.server, sys\n"
            "class Answer(http.server.BaseHTTPRequestHandler):\n"
            "    protocol_version = 'HTTP/1.1'\n"
            "    def do_POST(self):\n"
            "        self.rfile.read(int(self.headers.get('Content-Length', 0)))\n"
            "        text = (sys.argv[2] + f'Content-Length: {len(sys.argv[3])}\\r\\n\\r\\n' + sys.argv[3])\n"
            "        self.wfile.write(text.encode())\n"
            "    def do_GET(self):\n"
            "        self.send_response(204); self.end_headers()\n"
            "http.server.ThreadingHTTPServer(('127.0.0.1', int(sys.argv[1])), Answer).serve_forever()\n"
        )
        return [sys.executable, "-c", program, str(self.port), self.answer, self.body]

    def ready(self) -> bool:
        with urlopen(self.url, timeout=1) as answer:
            return bool(answer.status == 204)


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (401, "unauthorized", r"refuses us \(401: unauthorized it is\): check store\.token"),
        (403, "forbidden", r"refuses us \(403: forbidden it is\): check store\.token"),
        (404, "not found", r"no bucket 'b' and org 'acme' there.*create it, or check store\.api"),
        (503, "unavailable", r"not able to take anything now \(503"),
    ],
)
def test_what_a_person_has_to_put_right_holds_everything_back(
    tmp_path: Path, status: int, code: str, words: str
) -> None:
    with Refusing(status, code) as part:
        store = influx_store(part.url, tmp_path, org="acme", bucket="b", token="t")
        for _ in range(2):
            with pytest.raises(StoreError, match=words) as raised:
                store.write([simple(1), Lost("edge-01", 2, Loss("e1", 0, 0, 1, T0, T0, "x"))])
            assert not isinstance(raised.value, StoreRefusedError)
        store.close()
    assert letters(tmp_path) == []


def test_a_user_who_may_only_read_holds_everything_back(tmp_path: Path) -> None:
    with InfluxDB1(user="gw", password="secret") as part:
        part.query("CREATE DATABASE shop")
        part.query("CREATE USER reader WITH PASSWORD 'r'")
        part.query("GRANT READ ON shop TO reader")
        store = influx_store(part.url, tmp_path, database="shop", user="reader", password="r")
        with pytest.raises(StoreError, match=r"refuses us \(403: .*\): check store\.user and store\.password"):
            store.write([simple(1)])
        assert letters(tmp_path) == []
        part.query("GRANT ALL ON shop TO reader")
        store.write([simple(1)])
        assert len(store.query("press-07", "temp", 0, EVER)) == 1
        store.close()


@pytest.fixture
def no_room() -> Iterator[None]:
    """No file may grow beyond 500 bytes: a full disk, as far as a program can tell."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_without_room_for_a_dead_letter_everything_is_held_back(
    influx: InfluxDB1, shop: InfluxStore, tmp_path: Path, no_room: None
) -> None:
    shop.write([simple(1, 1.5)])
    batch = [simple(2, "text " * 15), simple(3, "text " * 40), simple(4, 2.5)]
    for _ in range(3):
        with pytest.raises(
            StoreError, match=r"dead-letters\.jsonl: what the store refuses cannot be kept .*free some space"
        ):
            shop.write(batch)
    kept = letters(tmp_path)  # whole lines only, and those that fitted
    assert {letter["seq"] for letter in kept} == {2}
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert [lost.seq for lost in shop.write(batch)] == [2, 3]
    assert letters(tmp_path)[-1]["seq"] == 3
    assert shop.query("press-07", "temp", 0, EVER).value == [1.5, 2.5]
    assert len(influx.query("SELECT * FROM loss", db="shop")) == 2  # not one more for each attempt


def test_dead_letters_do_not_grow_without_end(shop: InfluxStore, tmp_path: Path) -> None:
    from gateway.store.dead_letters import DeadLetters

    dead = DeadLetters(tmp_path / "few.jsonl", max_bytes=1000)
    for n in range(200):
        dead.add([{"n": n, "line": "x" * 50}])
    sizes = [p.stat().st_size for p in tmp_path.glob("few.jsonl*")]
    assert len(sizes) == 2
    assert max(sizes) <= 1000
    assert orjson.loads(dead.path.read_bytes().splitlines()[-1])["n"] == 199


def test_without_the_package_it_says_how_to_get_it(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, "influxdb_client.client.influxdb_client", None)
    with pytest.raises(PartMissingError, match=r"pip install 'shopfloor-gateway\[influx\]'"):
        influx_store("http://127.0.0.1:1", tmp_path, bucket="b")


def test_floats_of_all_sizes_survive(shop: InfluxStore) -> None:
    sizes = [1e16, 1e-7, 1.7976931348623157e308, 5e-324, math.pi, -0.5, 123456789.123]
    shop.write([simple(seq, value) for seq, value in enumerate(sizes, 1)])
    assert shop.query("press-07", "temp", 0, EVER).value == sizes
