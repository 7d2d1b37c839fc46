"""The dashboards for Grafana. There is no Grafana here: what can be checked of the files is, and every query is asked for real."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest
import yaml

from parts.gateway import Gateway, Simulated, StoreProcess
from parts.influxdb1 import InfluxDB1
from parts.mosquitto import Mosquitto
from parts.ports import free_port
from parts.process import ROOT, wait_until
from parts.prometheus import FOLDER as PROMETHEUS
from parts.prometheus import Prometheus
from parts.victoria_metrics import VictoriaMetrics

FOLDER = ROOT / "deploy" / "grafana"
FILES = sorted((FOLDER / "dashboards").glob("*.json"))
DASHBOARDS: dict[str, dict[str, Any]] = {file.stem: json.loads(file.read_text()) for file in FILES}
# https://github.com/grafana/grafana/blob/main/packages/grafana-data/src/valueFormats/categories.ts
UNITS = {"short", "s", "bytes", "percentunit", "cps", "reqps", "bool", "kwatth", "kwatt", "watt", "masskg"}
GRAFANAS_OWN = {"__rate_interval", "__interval", "timeFilter", "col", "tag_machine"}
VARIABLE = re.compile(r"\$(\w+)|\$\{(\w+)\}")

Target = tuple[str, str, dict[str, Any]]
TARGETS: list[Target] = [
    (name, panel["title"], target)
    for name, board in DASHBOARDS.items()
    for panel in board["panels"]
    for target in panel["targets"]
]


def test_there_are_some():
    assert {"flow", "machine", "energy", "oee", "values-victoriametrics"} == set(DASHBOARDS)


def test_no_two_share_an_identity():
    for key in ("uid", "title"):
        found = [board[key] for board in DASHBOARDS.values()]
        assert len(set(found)) == len(found)
    assert all(re.fullmatch(r"[a-z0-9-]{1,40}", board["uid"]) for board in DASHBOARDS.values())  # Grafana takes 40


@pytest.mark.parametrize("board", DASHBOARDS.values(), ids=DASHBOARDS)
def test_panels_fill_the_grid_without_lying_upon_each_other(board):
    taken: dict[tuple[int, int], str] = {}
    for panel in board["panels"]:
        at = panel["gridPos"]
        assert at["x"] >= 0
        assert at["x"] + at["w"] <= 24
        for x in range(at["x"], at["x"] + at["w"]):
            for y in range(at["y"], at["y"] + at["h"]):
                assert (x, y) not in taken, f"{panel['title']} lies upon {taken[x, y]}"
                taken[x, y] = panel["title"]
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("board", DASHBOARDS.values(), ids=DASHBOARDS)
def test_panels_have_titles_units_and_queries_with_names_of_their_own(board):
    for panel in board["panels"]:
        assert panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
        refs = [target["refId"] for target in panel["targets"]]
        assert refs
        assert len(set(refs)) == len(refs)


@pytest.mark.parametrize("board", DASHBOARDS.values(), ids=DASHBOARDS)
def test_data_sources_and_names_are_variables_that_are_declared(board):
    declared = {v["name"]: v for v in board["templating"]["list"]}
    kinds = {name: v["query"] for name, v in declared.items() if v["type"] == "datasource"}
    for part in [*board["panels"], *(t for p in board["panels"] for t in p["targets"]), *declared.values()]:
        if source := part.get("datasource"):
            name = re.fullmatch(r"\$\{(\w+)\}", source["uid"])
            assert name, "a fixed data source is one that only we have"
            assert kinds[name[1]] == source["type"]
    used = {a or b for p in board["panels"] for a, b in VARIABLE.findall(json.dumps(p))}
    used |= {a or b for v in declared.values() for a, b in VARIABLE.findall(json.dumps(v))}
    assert used - GRAFANAS_OWN == set(declared), "used, and declared"


def test_what_is_provisioned_is_there():
    (provider,) = yaml.safe_load((FOLDER / "provisioning/dashboards/gateway.yaml").read_text())["providers"]
    assert provider["type"] == "file"
    sources = yaml.safe_load((FOLDER / "provisioning/datasources/gateway.yaml").read_text())["datasources"]
    assert len({s["uid"] for s in sources}) == len(sources)
    wanted = {v["query"] for b in DASHBOARDS.values() for v in b["templating"]["list"] if v["type"] == "datasource"}
    assert wanted <= {s["type"] for s in sources}
    scrape = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())["global"]["scrape_interval"]
    assert sources[0]["jsonData"]["timeInterval"] == scrape


# --- with data of a demo that runs -----------------------------------------------------------------------------------


class Sources:
    """Whom the queries are for. `gone` is a machine that is not there."""

    prometheus: Prometheus
    influx: InfluxDB1
    metrics: VictoriaMetrics

    def prom(self, expression: str) -> list[Any]:
        return self.prometheus.query(expression)

    def vm(self, expression: str) -> list[Any]:
        with urlopen(f"{self.metrics.url}/internal/force_flush"):
            pass
        with urlopen(f"{self.metrics.url}/api/v1/query?{urlencode({'query': expression})}") as answer:
            return list(json.load(answer)["data"]["result"])

    def influxql(self, statement: str) -> list[Any]:
        return self.influx.query(statement, "shop")


def demo(*, gone: bool, more: dict[str, Any] | None = None) -> str:
    plan = yaml.safe_load((ROOT / "simulators/demo/gateway.yaml").read_text())
    for connection, port in zip(("panel", "press"), PORTS, strict=False):
        plan["connections"][connection]["port"] = port
    plan["connections"]["cnc"]["url"] = f"opc.tcp://127.0.0.1:{PORTS[2]}"
    plan["machines"]["press-07"]["kpi"]["energy"]["interval"] = "1min"  # of demand: a quarter of an hour as a rule
    if gone:
        plan["connections"]["away"] = {"protocol": "modbus-tcp", "host": "127.0.0.1", "port": free_port()}
        plan["machines"]["gone"] = {"connection": "away", "signals": {"a": {"holding": 0, "type": "int16"}}}
    return yaml.safe_dump(plan | (more or {}), sort_keys=False)


PORTS = [free_port() for _ in range(3)]


@pytest.fixture(scope="module")
def sources() -> Iterator[Sources]:
    found = Sources()
    with Mosquitto() as broker, InfluxDB1() as influx, VictoriaMetrics() as metrics:
        influx.query("CREATE DATABASE shop")
        mqtt = {"url": f"mqtt://127.0.0.1:{broker.port}"}
        v1 = {"kind": "influx", "api": "v1", "url": influx.url, "database": "shop"}
        v2 = {"kind": "influx", "api": "v2", "url": metrics.url, "org": "shop", "bucket": "shop", "writer": "vm"}
        with (
            StoreProcess(demo(gone=False, more={"mqtt": mqtt, "store": v2})),
            Simulated(demo(gone=False), arguments=["--scenario", "quiet-day"]),
            Gateway(demo(gone=True, more={"mqtt": mqtt, "store": v1})) as gateway,
            Prometheus([f"127.0.0.1:{gateway.port}"]) as prometheus,
        ):
            found.prometheus, found.influx, found.metrics = prometheus, influx, metrics
            prometheus.scraped()
            yield found


WITHIN = 100.0  # seconds: figures come every 10 s, the first parts after 12, and demand after two minutes at most
SUBSTITUTES = {
    "machine": "press-07", "instance": ".*", "period": "shift", "signal": "melt_temp", "__rate_interval": "5s",
    "__interval": "10s", "timeFilter": "time > now() - 1h",
}  # fmt: skip


def filled(query: str) -> str:
    return VARIABLE.sub(lambda name: SUBSTITUTES[name[1] or name[2]], query)


def ask(sources: Sources, target: dict[str, Any]) -> Callable[[], list[Any]]:
    if target["datasource"]["type"] == "influxdb":
        return lambda: sources.influxql(filled(target["query"]))
    query = filled(target["expr"])
    return lambda: sources.vm(query) if "machine_(" in query else sources.prom(query)


@pytest.mark.parametrize(("board", "title", "target"), TARGETS, ids=[f"{b}-{t}-{q['refId']}" for b, t, q in TARGETS])
def test_every_query_finds_something(sources, board, title, target):
    asked = ask(sources, target)
    wait_until(asked, WITHIN, f"{title}: {filled(target.get('expr') or target['query'])}")


VARIABLES = [
    (name, v) for name, board in DASHBOARDS.items() for v in board["templating"]["list"] if v["type"] == "query"
]


@pytest.mark.parametrize(("board", "variable"), VARIABLES, ids=[f"{b}-{v['name']}" for b, v in VARIABLES])
def test_every_variable_offers_something(sources, board, variable):
    query = variable["query"]
    if isinstance(query, str):
        assert {"melt_temp", "mode_code"} <= {row["fieldKey"] for row in sources.influxql(query)}
        return
    selector, label = re.fullmatch(r"label_values\((.+), (\w+)\)", query["query"]).groups()
    target = sources.vm if variable["datasource"]["uid"] == "${store}" else sources.prom
    offered: set[str] = set()

    def some() -> set[str]:
        offered.update(series["metric"].get(label, "") for series in target(filled(selector)))
        return offered

    wait_until(some, WITHIN, query["query"])
    expected = {"instance": "127.0.0.1:", "machine": "press-07", "period": "shift", "signal": "machine_melt_temp"}
    assert any(value.startswith(expected[variable["name"]]) for value in offered), offered


def test_a_query_of_something_that_is_not_exposed_finds_nothing(sources):
    """The control: an empty answer is not taken for one."""
    assert sources.prom("gateway_machines_up") == []
    assert sources.influxql('SELECT mean("melt_temps") FROM "machine"') == []


def test_the_figures_are_those_of_the_machines(sources):
    wait_until(lambda: sources.prom('gateway_machine_up{machine="gone"} == 0'), 20, "the machine that is not there")
    assert {s["metric"]["machine"] for s in sources.prom("gateway_machine_up == 1")} == {
        "meter-01",
        "press-07",
        "lathe-02",
    }
    oee = 'gateway_kpi{machine="press-07", interval="shift", figure="oee"}'
    wait_until(lambda: sources.prom(oee), WITHIN, "the OEE")
    # One poll of 10 s later the store has what Prometheus saw before.
    deadline = time.monotonic() + 40
    while True:
        seen = float(sources.prom(oee)[0]["value"][1])
        rows = sources.influxql("SELECT \"shift.oee\" FROM machine WHERE machine = 'press-07'")
        if any(abs(row["shift.oee"] - seen) < 1e-9 for row in rows):
            break
        assert time.monotonic() < deadline, (seen, rows)
        time.sleep(0.2)
