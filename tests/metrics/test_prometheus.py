"""A real Prometheus scrapes a gateway with real peers, and says so when a machine goes away; and figures without a page."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from urllib.request import urlopen

import pytest

from parts.gateway import Gateway, Simulated, StoreProcess, gateway
from parts.mosquitto import Mosquitto
from parts.ports import free_port
from parts.process import wait_until
from parts.prometheus import Prometheus, promtool

PLANT = """\
version: 1
gateway: {{id: edge-01, data_dir: data}}
site: {{enterprise: acme, site: hanoi, area: moulding}}
connections:
  panel: {{protocol: modbus-tcp, host: 127.0.0.1, port: {port}, timeout: 500ms}}
machines:
  press-07: {{connection: panel, line: L1, poll: 200ms, signals: {{a: {{holding: 0, type: int16}}, b: {{holding: 1, type: int16}}}}}}
"""


@pytest.fixture(scope="module")
def broker() -> Iterator[Mosquitto]:
    with Mosquitto() as broker:
        yield broker


@pytest.fixture
def text(broker: Mosquitto) -> str:
    mqtt = f'mqtt: {{url: "mqtt://127.0.0.1:{broker.port}"}}\nstore: {{kind: historian}}\n'
    return PLANT.format(port=free_port()) + mqtt


def families(text: str) -> set[str]:
    return {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}


def test_an_alert_fires_when_a_machine_goes_away_and_ends_when_it_is_back(text):
    with (
        Simulated(text) as machines,
        Gateway(text) as running,
        Prometheus([f"127.0.0.1:{running.port}"], hold="1s") as prometheus,
    ):
        prometheus.scraped()
        up = 'gateway_machine_up{machine="press-07"}'
        wait_until(lambda: prometheus.value(up) == 1, 20, "the machine in Prometheus")
        wait_until(lambda: prometheus.value("rate(gateway_readings_read_total[10s])"), 20, "a rate")
        # Two signals, five times a second.
        wait_until(
            lambda: 7 < (prometheus.value("rate(gateway_readings_read_total[10s])") or 0) < 13, 20, "ten a second"
        )
        shown = running.status()
        stored = prometheus.value('gateway_messages_stored_total{by="store"}')
        assert stored is not None
        assert 0 < stored <= shown["flow"]["stored"] <= shown["flow"]["messages"]
        assert not [a for a in prometheus.alerts() if a["labels"]["alertname"] in ("MachineOffline", "GatewayDown")]

        machines.kill()

        def firing() -> list[dict]:
            return [
                a
                for a in prometheus.alerts()
                if a["labels"]["alertname"] == "MachineOffline" and a["state"] == "firing"
            ]

        wait_until(firing, 30, "the alert")
        (alert,) = firing()
        assert alert["labels"] == {
            "alertname": "MachineOffline", "severity": "warning", "machine": "press-07", "job": "gateway",
            "instance": f"127.0.0.1:{running.port}",
        }  # fmt: skip
        assert alert["annotations"]["summary"] == "press-07 is offline"
        assert alert["annotations"]["summary_vi"] == "Máy press-07 mất kết nối"
        (fault,) = prometheus.query('gateway_machine_fault{machine="press-07"}')
        assert fault["metric"]["fault"] == "connection-refused"

        machines.start()
        wait_until(lambda: not firing(), 60, "the end of the alert")
        assert prometheus.value(up) == 1

        running.kill()
        down = lambda: [a["state"] for a in prometheus.alerts() if a["labels"]["alertname"] == "GatewayDown"]  # noqa: E731
        wait_until(lambda: down() == ["firing"], 30, "the alert of the gateway")


def test_without_a_page_a_command_gives_the_same(text, tmp_path):
    with Simulated(text), Gateway(text) as running:
        running.catch_up()
        with urlopen(f"{running.url}/metrics", timeout=10) as answer:
            page = answer.read().decode()
        printed = gateway("metrics", "-c", str(running.file))
        assert printed.returncode == 0, printed.stderr
        assert families(printed.stdout) == families(page) > {"gateway_machine_up", "process_cpu_seconds_total"}
        assert promtool("check", "metrics", text=printed.stdout).stdout == ""

        file = tmp_path / "gateway.prom"
        file.write_text("old")
        done = gateway("metrics", "-c", str(running.file), "-o", str(file))
        assert done.returncode == 0, done.stderr
        # node_exporter refuses everything where a family is there twice.
        assert families(file.read_text()) == {f for f in families(page) if not f.startswith("process_")}
        assert not [line for line in file.read_text().splitlines() if line.startswith("process_")]
        assert promtool("check", "metrics", text=file.read_text()).returncode == 0
        assert stat.S_IMODE(file.stat().st_mode) == 0o644, "node_exporter is another user"
        assert [each.name for each in tmp_path.iterdir()] == ["gateway.prom"], "nothing half done is left"
        configuration = running.config

    # Nothing is written where nobody answers: the age of the file tells.
    (tmp_path / "gateway.yaml").write_text(configuration)
    before = file.read_text()
    done = gateway("metrics", "-c", str(tmp_path / "gateway.yaml"), "-o", str(file))
    assert done.returncode == 1
    assert "no gateway runs" in done.stderr
    assert file.read_text() == before


def test_a_gateway_without_a_page_and_a_store_alone_have_them_too(text):
    with Simulated(text), Gateway(text, page=False) as running:

        def printed() -> str:
            return gateway("metrics", "-c", str(running.file)).stdout

        wait_until(lambda: 'gateway_machine_up{machine="press-07"} 1.0' in printed(), 30, "the machine")
    with StoreProcess(text) as store:
        found = gateway("metrics", "-c", str(store.file))
        assert found.returncode == 0, found.stderr
        assert "gateway_store_writer_up 1.0" in found.stdout
        assert "gateway_machine_up" not in found.stdout
