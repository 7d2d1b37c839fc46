"""What the documents show is true: examples are files and load, links lead somewhere, commands exist."""

import re
from pathlib import Path

import pytest
import yaml
from typer.main import get_command

from gateway.cli.app import app
from gateway.config import SignalSettings, load
from gateway.config.derived import ComputedSettings, StateRule, StateSettings
from gateway.config.production import Break, Calendar, EnergySettings, ExtraShift, KpiSettings, Shift
from gateway.runtime.registry import protocols
from parts.gateway import Simulated, gateway

ROOT = Path(__file__).parents[1]
ROOMS = [".github", "adapters", "config", "deploy", "gateway", "simulators", "tests"]
READMES = sorted([*ROOT.glob("*.md"), *(f for room in ROOMS for f in (ROOT / room).rglob("*.md"))])
EXAMPLES = [ROOT / "config", ROOT / "config" / "first.yaml", *sorted(ROOT.glob("adapters/*/example.yaml"))]
EXAMPLES += [ROOT / "config" / "figures.yaml", ROOT / "simulators" / "demo" / "gateway.yaml"]


def named(file: Path) -> str:
    return str(file.relative_to(ROOT))


@pytest.mark.parametrize("readme", READMES, ids=named)
def test_examples_are_the_files_they_name(readme):
    for path, text in re.findall(r"<!-- example: (\S+) -->\n```yaml\n(.*?)```", readme.read_text(), re.DOTALL):
        assert (ROOT / path).read_text() == text


@pytest.mark.parametrize("readme", READMES, ids=named)
def test_links_lead_somewhere(readme):
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", readme.read_text()):
        if not target.startswith("http"):
            assert (readme.parent / target).exists(), target


@pytest.mark.parametrize("readme", READMES, ids=named)
def test_commands_exist(readme):
    groups = get_command(app).commands
    text = readme.read_text()
    for command in re.findall(r"^ {4}gateway (\w[\w-]*)", text, re.MULTILINE) + re.findall(
        r"`gateway (\w[\w-]*)", text
    ):
        assert command in groups, command


@pytest.mark.parametrize("readme", READMES, ids=named)
def test_yaml_in_documents_is_yaml(readme):
    for text in re.findall(r"```yaml\n(.*?)```", readme.read_text(), re.DOTALL):
        assert isinstance(yaml.safe_load(text), dict)


OF_SIGNALS = (
    SignalSettings, ComputedSettings, StateRule, StateSettings, KpiSettings, EnergySettings, Calendar, Shift, Break, ExtraShift,
)  # fmt: skip


@pytest.mark.parametrize("model", OF_SIGNALS, ids=lambda model: model.__name__)
def test_every_key_of_signals_is_explained(model):
    text = (ROOT / "config" / "SIGNALS.md").read_text()
    for name, field in model.model_fields.items():
        key = field.alias or name
        assert re.search(rf"`{key}[`:]", text), key


@pytest.mark.parametrize("example", EXAMPLES, ids=named)
def test_examples_load_without_a_warning(example):
    loaded = load(example, protocols(), env={})
    assert loaded.machines
    assert not loaded.warnings


def test_the_two_parts_of_the_first_five_minutes_are_one_configuration(tmp_path):
    parts = [(ROOT / "config" / name).read_text() for name in ("first.yaml", "first-store.yaml")]
    (tmp_path / "gateway.yaml").write_text("".join(parts))
    assert load(tmp_path / "gateway.yaml", protocols(), env={}).settings.delivery == "store"


def test_the_schema_in_config_is_made_from_the_models():
    made = gateway("config", "schema")
    assert (ROOT / "config" / "gateway.schema.json").read_text() == made.stdout, "run `make schema`"


@pytest.mark.parametrize("example", EXAMPLES, ids=named)
def test_examples_can_be_simulated_and_read(example, tmp_path):
    """Every machine of every example answers with good readings, read by the very commands a person would use."""

    class Example(Simulated):
        def command(self) -> list[str]:
            return [*super().command()[:2], str(example), "--port-base", "0"]

    configured = load(example, protocols(), env={}, whole_tree=True)
    with Example("") as machines:
        ports = dict(re.findall(r"^(\S+): 127\.0\.0\.1:(\d+)", machines.log, re.MULTILINE))
        assert set(ports) == {m.connection for m in configured.machines.values()}
        here = _redirected(configured, ports)
        (tmp_path / "gateway.yaml").write_text(here)
        for machine in configured.machines:
            done = gateway("read", machine, "--json", "-c", str(tmp_path / "gateway.yaml"))
            assert done.returncode == 0, done.stderr
            assert done.stdout.count('"quality":"good"') == len(done.stdout.splitlines()) > 0, done.stdout


def _redirected(configured, ports: dict[str, str]) -> str:
    """The same configuration, with each connection leading to a port of this machine."""
    tree = configured.tree.plain()
    for name, connection in tree["connections"].items():
        if "url" in connection:
            connection["url"] = re.sub(r"//[^/]+", f"//127.0.0.1:{ports[name]}", connection["url"])
        elif name in ports:
            connection |= {"host": "127.0.0.1", "port": int(ports[name])}
    for machine in tree["machines"].values():
        machine.pop("profile", None)
    return yaml.safe_dump(tree, sort_keys=False)
