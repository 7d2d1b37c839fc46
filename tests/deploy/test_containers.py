"""Dockerfile, compose.yaml and the manifests of Kubernetes: linted, and held to rules. There is no engine here to run them."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.config import load
from gateway.runtime.registry import protocols

DEPLOY = Path(__file__).parents[2] / "deploy"
DOCKER, KUBERNETES = DEPLOY / "docker", DEPLOY / "kubernetes"
BIN = Path(sys.executable).parent
COMPOSE = yaml.safe_load((DOCKER / "compose.yaml").read_text())
STYLE = """\
extends: default
rules:
  line-length: {max: 150}
  document-start: disable
  braces: {max-spaces-inside: 0}
  comments: {min-spaces-from-content: 1}
  comments-indentation: disable
"""


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([BIN / command[0], *command[1:]], capture_output=True, text=True, check=False)


# --- Docker ------------------------------------------------------------------------------------------------------------


def test_hadolint_has_nothing_to_say():
    done = run("hadolint", DOCKER / "Dockerfile")
    assert done.returncode == 0, done.stdout


def test_hadolint_would_say_it(tmp_path):
    """Negative control."""
    (tmp_path / "Dockerfile").write_text("FROM python\nRUN cd /tmp\nUSER root\n")
    assert "DL3006" in run("hadolint", tmp_path / "Dockerfile").stdout


def test_the_image_is_nobody_special_and_has_no_compiler():
    text = (DOCKER / "Dockerfile").read_text()
    final = text[text.rindex("\nFROM ") :]
    assert re.search(r"^USER [1-9]\d*:[1-9]\d*$", final, re.MULTILINE)
    assert not re.search(r"apt|pip|gcc|build-essential|ADD ", final)
    assert "--require-hashes" in text
    assert "HEALTHCHECK" in final
    assert not re.search(r":latest", text)


def test_what_the_image_is_made_of_is_there():
    """COPY finds it, and .dockerignore lets it through."""
    let_through = {
        line[1:] for line in (DEPLOY.parent / ".dockerignore").read_text().splitlines() if line.startswith("!")
    }
    found = re.findall(r"^COPY (?!--from)(.*)$", (DOCKER / "Dockerfile").read_text(), re.MULTILINE)
    assert found
    assert let_through
    for line in found:
        assert line.split()[:-1]
        for source in line.split()[:-1]:
            assert (DEPLOY.parent / source).exists(), source
            assert source in let_through, source


def test_compose_is_what_its_schema_says():
    done = run("check-jsonschema", "--builtin-schema", "vendor.compose-spec", DOCKER / "compose.yaml")
    assert done.returncode == 0, done.stdout


def test_the_schema_would_say_it(tmp_path):
    """Negative control."""
    (tmp_path / "compose.yaml").write_text("services: {a: {image: b, read_onlyy: true}}\n")
    done = run("check-jsonschema", "--builtin-schema", "vendor.compose-spec", tmp_path / "compose.yaml")
    assert done.returncode == 1


@pytest.mark.parametrize("folder", [DOCKER, KUBERNETES], ids=lambda folder: folder.name)
def test_yaml_is_tidy(folder):
    done = run("yamllint", "-d", STYLE, "-s", *sorted(folder.glob("*.yaml")))
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", COMPOSE["services"])
def test_a_service_may_only_what_it_needs(name):
    service = COMPOSE["services"][name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service
    assert not str(service.get("user", "10001")).startswith("0")
    assert service["mem_limit"]
    assert name == "gateway" or service["healthcheck"]["test"]  # the gateway's is in its image
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    assert re.search(r":v?\d", service["image"]) or "build" in service


def test_no_secret_is_written_down():
    """They come from files that setup.sh makes; nothing else in the environment of a service looks like one."""
    found, named = [], set[str]()
    for service in COMPOSE["services"].values():
        for key, value in service.get("environment", {}).items():
            if re.search("PASSWORD|TOKEN|SECRET|KEY", key):
                found.append(key)
                assert str(value).startswith("/run/secrets/"), key
        used = {each if isinstance(each, str) else each["source"] for each in service.get("secrets", [])}
        assert used <= COMPOSE["secrets"].keys()
        named |= used
    assert found
    assert named == COMPOSE["secrets"].keys()  # none is declared for nobody
    tracked = subprocess.run(
        ["git", "ls-files", "deploy"], cwd=DEPLOY.parent, capture_output=True, text=True, check=False
    )
    assert "deploy/docker/Dockerfile" in tracked.stdout.splitlines()
    assert not re.search(r"\.(pem|key)$|/secrets/", tracked.stdout, re.MULTILINE)


def test_every_file_of_a_secret_is_one_that_the_script_makes(tmp_path):
    subprocess.run(["bash", DOCKER / "setup.sh", tmp_path], check=True, capture_output=True)
    assert COMPOSE["secrets"]
    for name, secret in COMPOSE["secrets"].items():
        assert (tmp_path / secret["file"]).is_file(), name


def test_every_folder_and_file_that_is_mounted_is_there():
    found = [volume for service in COMPOSE["services"].values() for volume in service.get("volumes", [])]
    assert any(volume.startswith(".") for volume in found)
    assert any(not volume.startswith(".") for volume in found)
    for volume in found:
        source = volume.split(":")[0]
        assert source in COMPOSE["volumes"] if not source.startswith(".") else (DOCKER / source).exists(), source


def secrets(tmp_path: Path, *names: str) -> dict[str, str]:
    for name in names:
        (tmp_path / name).write_text("a-secret-of-some-length\n")
    return {"CREDENTIALS_DIRECTORY": str(tmp_path)}


def test_the_configuration_of_compose_loads(tmp_path):
    mounted = [s["target"] if isinstance(s, dict) else s for s in COMPOSE["services"]["gateway"]["secrets"]]
    loaded = load(DOCKER / "gateway.yaml", protocols(), env=secrets(tmp_path, *mounted))
    assert loaded.machines
    assert not loaded.warnings
    assert loaded.settings.store is not None
    influx = COMPOSE["services"]["influxdb"]["environment"]
    assert loaded.settings.store.bucket == influx["DOCKER_INFLUXDB_INIT_BUCKET"]
    assert loaded.settings.store.org == influx["DOCKER_INFLUXDB_INIT_ORG"]
    sources = yaml.safe_load((DOCKER / "grafana.yaml").read_text())["datasources"]
    (grafana,) = (source for source in sources if source["type"] == "influxdb")
    assert grafana["jsonData"]["dbName"] == loaded.settings.store.bucket


@pytest.mark.parametrize(("answer", "code"), [(b'{"ok": true, "result": {}}\n', 0), (b'{"ok":false}\n', 1)])
async def test_the_health_check_asks_over_the_socket(answer, code, tmp_path):
    asked = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readline())
        writer.write(answer)
        writer.close()

    path = tmp_path / "control.sock"
    server = await asyncio.start_unix_server(serve, path)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        DOCKER / "healthy.py",
        env={**os.environ, "GATEWAY_SOCKET": str(path)},
        stderr=asyncio.subprocess.PIPE,
    )
    await process.communicate()
    server.close()
    assert process.returncode == code
    # Commands that look for a gateway on this box may ask for it, too.
    assert [line for line in asked if b"where" not in line] == [b'{"do": "status", "signals": false}\n']


def test_it_is_not_healthy_where_nobody_answers(tmp_path):
    env = {**os.environ, "GATEWAY_SOCKET": str(tmp_path / "none")}
    assert (
        subprocess.run([sys.executable, DOCKER / "healthy.py"], env=env, capture_output=True, check=False).returncode
        == 1
    )


# --- Kubernetes: no schema is at hand here, so what a reader would look for --------------------------------------------

LABELS = {"app.kubernetes.io/name": "shopfloor-store"}
KINDS = {
    "namespace.yaml": ("v1", "Namespace"),
    "serviceaccount.yaml": ("v1", "ServiceAccount"),
    "service.yaml": ("v1", "Service"),
    "statefulset.yaml": ("apps/v1", "StatefulSet"),
    "disruption.yaml": ("policy/v1", "PodDisruptionBudget"),
    "network.yaml": ("networking.k8s.io/v1", "NetworkPolicy"),
}


def manifest(name: str) -> dict[str, Any]:
    found = yaml.safe_load((KUBERNETES / name).read_text())
    assert isinstance(found, dict)
    return found


def test_kustomization_names_every_manifest():
    assert set(manifest("kustomization.yaml")["resources"]) == KINDS.keys()
    others = {"kustomization.yaml", "gateway.yaml"}
    assert {file.name for file in KUBERNETES.glob("*.yaml")} == KINDS.keys() | others


@pytest.mark.parametrize("name", KINDS)
def test_a_manifest_is_of_its_kind(name):
    found = manifest(name)
    assert (found["apiVersion"], found["kind"]) == KINDS[name]
    assert set(found) <= {"apiVersion", "kind", "metadata", "spec", "automountServiceAccountToken"}
    assert found["metadata"]["name"] == ("shopfloor" if name == "namespace.yaml" else "shopfloor-store")


def test_all_mean_the_same_pods():
    spec = manifest("statefulset.yaml")["spec"]
    assert spec["selector"]["matchLabels"] == spec["template"]["metadata"]["labels"] == LABELS
    assert manifest("service.yaml")["spec"]["selector"] == LABELS
    assert manifest("disruption.yaml")["spec"]["selector"]["matchLabels"] == LABELS
    assert manifest("network.yaml")["spec"]["podSelector"]["matchLabels"] == LABELS
    assert spec["serviceName"] == manifest("service.yaml")["metadata"]["name"]


def test_a_pod_is_restricted():
    """Pod Security Standards, profile "restricted"."""
    labels = manifest("namespace.yaml")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    pod = manifest("statefulset.yaml")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    context = container["securityContext"]
    assert context == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
    assert {next(iter(v.keys() - {"name"})) for v in pod["volumes"]} <= {"configMap", "secret", "emptyDir"}
    assert pod["automountServiceAccountToken"] is False


def test_what_is_mounted_is_declared_and_probes_are_there():
    pod = manifest("statefulset.yaml")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert {m["name"] for m in container["volumeMounts"]} == {v["name"] for v in pod["volumes"]}
    user = re.search(r"^USER (\d+)", (DOCKER / "Dockerfile").read_text(), re.MULTILINE)
    assert user is not None
    assert pod["securityContext"]["runAsUser"] == int(user[1])
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert container[probe]["exec"]["command"][0] == "python"
        assert container[probe]["timeoutSeconds"] <= container[probe]["periodSeconds"]
    assert container["resources"]["limits"]["memory"]


def test_one_writer_may_always_be_taken_away():
    assert 0 < manifest("disruption.yaml")["spec"]["minAvailable"] < manifest("statefulset.yaml")["spec"]["replicas"]


def test_secrets_are_named_and_never_there():
    text = "".join(file.read_text() for file in KUBERNETES.glob("*.yaml"))
    assert "kind: Secret\n" not in text
    assert not re.search(r"(password|token): (?!\{secret: )", text)


def test_the_configuration_of_the_writers_loads(tmp_path):
    env = secrets(tmp_path, "mqtt_password", "influx_token") | {"POD_NAME": "shopfloor-store-0"}
    loaded = load(KUBERNETES / "gateway.yaml", protocols(), env=env)
    assert not loaded.warnings
    assert loaded.settings.store is not None
    assert (loaded.settings.store.share, loaded.settings.store.writer) == ("writers", "shopfloor-store-0")
    ports = {port["port"] for rule in manifest("network.yaml")["spec"]["egress"] for port in rule["ports"]}
    assert ports == {53, 8883, 8086}
