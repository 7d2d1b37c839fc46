"""The page of compose.yaml, and who looks at it: opened as from the computer it runs on, and scraped by a real Prometheus."""

from __future__ import annotations

import json
import os
import re
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
import yaml

from parts.gateway import COMMAND
from parts.ports import free_port
from parts.process import Part, wait_until
from parts.prometheus import Prometheus, promtool

DEPLOY = Path(__file__).parents[2] / "deploy"
DOCKER = DEPLOY / "docker"
COMPOSE = yaml.safe_load((DOCKER / "compose.yaml").read_text())
GATEWAY = yaml.safe_load((DOCKER / "gateway.yaml").read_text())
PROVISIONED = yaml.safe_load((DOCKER / "grafana.yaml").read_text())["datasources"]


def mounted(service: str) -> dict[str, Path]:
    """What a service finds where, of the files in this repository."""
    found = [volume.split(":") for volume in COMPOSE["services"][service]["volumes"]]
    return {target: (DOCKER / source).resolve() for source, target, *_ in found if source.startswith(".")}


DASHBOARDS = {
    path.stem: json.loads(path.read_text()) for target, path in mounted("grafana").items() if target.endswith(".json")
}


def sources_of(found: Any) -> Iterator[dict[str, str]]:
    """Every data source that something in a dashboard names."""
    if isinstance(found, dict):
        if isinstance(found.get("datasource"), dict):
            yield found["datasource"]
        for each in found.values():
            yield from sources_of(each)
    elif isinstance(found, list):
        for each in found:
            yield from sources_of(each)


# --- Grafana and Prometheus --------------------------------------------------------------------------------------------


def test_there_are_the_dashboards_of_this_store():
    assert set(DASHBOARDS) == {"flow", "machine", "oee", "energy"}


@pytest.mark.parametrize("name", DASHBOARDS)
def test_every_data_source_of_a_dashboard_is_provisioned(name):
    """By its uid where it has one; where it is a variable, there is one of the kind that the variable chooses from."""
    kinds, names = {source["type"] for source in PROVISIONED}, {source["uid"]: source["type"] for source in PROVISIONED}
    chosen = {v["name"]: v["query"] for v in DASHBOARDS[name]["templating"]["list"] if v["type"] == "datasource"}
    used = [source for source in sources_of(DASHBOARDS[name]) if source["uid"] not in ("-- Grafana --", "grafana")]
    assert used
    for source in used:
        variable = re.fullmatch(r"\$\{(\w+)\}", source["uid"])
        kind = chosen[variable[1]] if variable else names[source["uid"]]
        assert kind == source["type"]
        assert kind in kinds, source
    assert set(chosen.values()) <= kinds


def test_a_dashboard_of_another_store_would_not_do():
    """Negative control: VictoriaMetrics is asked as a Prometheus is, for names that no gateway exposes."""
    other = json.loads((DEPLOY / "grafana/dashboards/values-victoriametrics.json").read_text())
    assert {v["query"] for v in other["templating"]["list"] if v["type"] == "datasource"} == {"prometheus"}
    assert "values-victoriametrics" not in DASHBOARDS


def test_each_data_source_is_a_service_that_grafana_reaches():
    grafana = set(COMPOSE["services"]["grafana"]["networks"])
    for source in PROVISIONED:
        name, port = re.fullmatch(r"http://([\w-]+):(\d+)", source["url"]).groups()  # type: ignore[union-attr]
        assert grafana & set(COMPOSE["services"][name]["networks"]), name
        assert port == {"prometheus": "9090", "influxdb": "8086"}[name]  # their own defaults
    assert [source["name"] for source in PROVISIONED if source.get("isDefault")] == ["Prometheus"]


def test_prometheus_finds_what_its_configuration_names(tmp_path):
    found = mounted("prometheus")
    main = found["/etc/prometheus/prometheus.yml"]
    settings = yaml.safe_load(main.read_text())
    assert found["/etc/prometheus/alerts.yml"] == DEPLOY / "prometheus" / "alerts.yml"
    assert settings["rule_files"] == ["alerts.yml"]
    (job,) = settings["scrape_configs"]
    assert job["job_name"] == "gateway"  # as in deploy/prometheus, whose rules and dashboards name it
    service = COMPOSE["services"]["prometheus"]
    secrets = {f"/run/secrets/{name}" for name in service["secrets"]}
    assert {job["authorization"]["credentials_file"], job["tls_config"]["ca_file"]} == secrets
    assert job["static_configs"] == [{"targets": ["gateway:8080"]}]
    assert set(service["networks"]) & set(COMPOSE["services"]["gateway"]["networks"])
    # What promtool says to it where those files are.
    subprocess.run(["bash", DOCKER / "setup.sh", tmp_path], check=True, capture_output=True)
    text = main.read_text().replace("/run/secrets/metrics_token", f"{tmp_path}/secrets/metrics_token")
    (tmp_path / "prometheus.yml").write_text(text.replace("/run/secrets/ca", f"{tmp_path}/tls/ca.pem"))
    (tmp_path / "alerts.yml").write_text(found["/etc/prometheus/alerts.yml"].read_text())
    done = promtool("check", "config", str(tmp_path / "prometheus.yml"))
    assert done.returncode == 0, done.stderr
    assert re.search(r"SUCCESS: \d+ rules found", done.stdout)


# --- the page ------------------------------------------------------------------------------------------------------------


def test_the_page_is_published_on_this_computer_only():
    (port,) = COMPOSE["services"]["gateway"]["ports"]
    assert port == "127.0.0.1:8080:8080"
    assert GATEWAY["web"]["listen"] == "0.0.0.0:8080"  # within the container: its loopback is reached by nobody
    assert GATEWAY["web"]["login"] == "required"
    networks = COMPOSE["services"]["gateway"]["networks"]
    assert any(not (COMPOSE["networks"][name] or {}).get("internal") for name in networks)  # else nothing is published


class Composed(Part):
    """The gateway with the configuration of compose.yaml; its container's paths are folders here, and its port is another."""

    def __init__(self) -> None:
        super().__init__()
        self.port = free_port()
        subprocess.run(["bash", DOCKER / "setup.sh", self.folder / "made"], check=True, capture_output=True)
        secrets = self.folder / "run-secrets"
        secrets.mkdir()
        for each in COMPOSE["services"]["gateway"]["secrets"]:
            source, target = (each, each) if isinstance(each, str) else (each["source"], each["target"])
            content = (self.folder / "made" / COMPOSE["secrets"][source]["file"]).read_bytes()
            (secrets / target).write_bytes(content)
        settings = yaml.safe_load((DOCKER / "gateway.yaml").read_text().replace("/run/secrets", str(secrets)))
        settings["gateway"]["data_dir"] = str(self.folder / "data")
        settings["mqtt"]["url"] = f"mqtts://127.0.0.1:{free_port()}"
        settings["store"]["url"] = f"http://127.0.0.1:{free_port()}"
        settings["connections"]["panel"] |= {"host": "127.0.0.1", "port": free_port()}
        settings["web"]["listen"] = f"0.0.0.0:{self.port}"
        self.file = self.folder / "gateway.yaml"
        self.file.write_text(yaml.safe_dump(settings))
        self.ca, self.token = self.folder / "made/tls/ca.pem", self.folder / "made/secrets/metrics_token"

    def command(self) -> list[str]:
        os.environ["CREDENTIALS_DIRECTORY"] = str(self.folder / "run-secrets")
        return [COMMAND, "run", "--safe-mode", str(self.file)]

    def ready(self) -> bool:
        return self.get("/healthz")[0] == 200

    def get(self, path: str, host: str = "127.0.0.1", *, token: str = "", data: Any = None, cookie: str = "", csrf: str = "") -> tuple[int, Any, Any]:  # fmt: skip
        """As a browser that trusts the authority of setup.sh, at https://{host}:…; the name has to be in the certificate."""
        own = f"{host}:{self.port}"
        headers = {"Host": own, "Origin": f"https://{own}", "Content-Type": "application/json", "X-CSRF-Token": csrf}
        headers |= {"Authorization": f"Bearer {token}"} if token else {}
        headers |= {"Cookie": cookie} if cookie else {}
        body = None if data is None else json.dumps(data).encode()
        reached = "127.0.0.1" if host == "gateway" else host
        context = ssl.create_default_context(cafile=str(self.ca))
        context.check_hostname = reached == host
        try:
            asked = Request(f"https://{reached}:{self.port}{path}", body, headers)
            with urlopen(asked, timeout=5, context=context) as answer:
                return answer.status, answer.read(), answer.headers
        except HTTPError as exc:
            return exc.code, exc.read(), exc.headers


@pytest.fixture(scope="module")
def composed() -> Iterator[Composed]:
    before = os.environ.get("CREDENTIALS_DIRECTORY")
    with Composed() as running:
        yield running
    os.environ.pop("CREDENTIALS_DIRECTORY", None)
    if before is not None:
        os.environ["CREDENTIALS_DIRECTORY"] = before


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_somebody_at_this_computer_gets_in_with_a_password(composed, host):
    """What deploy/README.md says to type, and then a browser."""
    typed = re.search(r"exec gateway (gateway web user add .*)", (DEPLOY / "README.md").read_text())
    assert typed is not None
    words = [COMMAND, *typed[1].split()[1:], "-c", str(composed.file)]
    done = subprocess.run(words, input="a long sentence\n", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert composed.get("/", host)[0] == 200
    assert composed.get("/api/v1/plant", host)[0] == 401
    _, body, headers = composed.get("/api/v1/session", host)
    cookie = headers["Set-Cookie"].split(";")[0] if headers["Set-Cookie"] else ""
    csrf = json.loads(body)["csrf"]
    status, _, headers = composed.get(
        "/api/v1/login", host, data={"user": "anna", "password": "a long sentence"}, cookie=cookie, csrf=csrf
    )
    assert status == 200
    status, body, _ = composed.get("/api/v1/plant", host, cookie=headers["Set-Cookie"].split(";")[0])
    assert (status, [tile["name"] for tile in json.loads(body)["machines"]]) == (200, ["meter-01"])


def test_by_another_name_there_is_nothing(composed):
    """Negative control: `hosts` matters."""
    own = GATEWAY["web"]["hosts"]
    assert own == ["localhost", "127.0.0.1", "gateway"]
    assert composed.get("/metrics", "gateway", token=composed.token.read_text().strip())[0] == 200
    context = ssl.create_default_context(cafile=str(composed.ca))
    asked = Request(f"https://127.0.0.1:{composed.port}/healthz", headers={"Host": "elsewhere.example"})
    with pytest.raises(HTTPError) as refused:
        urlopen(asked, timeout=5, context=context)
    assert refused.value.code == 421


class Scraping(Prometheus):
    """With the very configuration of compose.yaml, but where the files and the gateway are."""

    def __init__(self, composed: Composed) -> None:
        super().__init__([f"localhost:{composed.port}"])
        self.composed = composed

    def command(self) -> list[str]:
        words = super().command()
        settings = yaml.safe_load((DOCKER / "prometheus.yaml").read_text())
        (job,) = settings["scrape_configs"]
        assert job["static_configs"] == [{"targets": ["gateway:8080"]}]
        job["static_configs"] = [{"targets": self.targets}]
        job["authorization"]["credentials_file"] = str(self.composed.token)
        job["tls_config"]["ca_file"] = str(self.composed.ca)
        settings["global"] |= {"scrape_interval": "1s", "evaluation_interval": "1s"}
        (self.folder / "prometheus.yml").write_text(yaml.safe_dump(settings))
        return words


def test_prometheus_scrapes_it_and_the_dashboards_have_a_gateway_to_choose(composed):
    with Scraping(composed) as prometheus:
        prometheus.scraped()
        # What label_values(gateway_info, instance) and label_values(gateway_machine_up{…}, machine) find.
        wait_until(lambda: prometheus.query("gateway_info"), 20, "gateway_info")
        assert [each["metric"]["instance"] for each in prometheus.query("gateway_info")] == prometheus.targets
        machines = prometheus.query('gateway_machine_up{instance=~"localhost.*"}')
        assert [each["metric"]["machine"] for each in machines] == ["meter-01"]


def test_without_the_token_nobody_scrapes(composed):
    assert composed.get("/metrics")[0] == 401
    assert composed.get("/metrics", token="f" * 32)[0] == 401
