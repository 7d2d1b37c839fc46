"""Who may import whom: the table of gateway/README.md, held."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("gateway", "adapters", "simulators")

# The first prefix that fits a module names its layer.
LAYERS = (
    ("gateway.model", 0), ("gateway.errors", 0), ("gateway.clock", 0), ("gateway.counters", 0), ("gateway.events", 0), ("gateway.files", 0), ("gateway.faults", 0), ("gateway.schedule", 0),
    ("gateway.units", 0), ("gateway.expressions", 0), ("gateway.recording", 0),
    ("gateway.adapter", 1), ("gateway.config", 1),
    ("gateway.normalizer", 2), ("gateway.mqtt.topics", 2), ("gateway.mqtt.payload", 2), ("gateway.mqtt.link", 2),
    ("gateway.store.line_protocol", 2), ("gateway.production", 2),
    ("adapters", 3),
    ("gateway.buffer", 4), ("gateway.mqtt", 4), ("gateway.publisher", 4), ("gateway.store", 4), ("gateway.commands", 4),
    ("gateway.web", 4), ("gateway.metrics", 4), ("gateway.fleet", 4),
    ("gateway.runtime", 5),
    ("gateway.cli", 6), ("gateway.doctor", 6), ("gateway.__main__", 6), ("simulators.rig", 6), ("simulators.pytest_plugin", 6),
    ("simulators", 7),
    ("gateway", 0),
)  # fmt: skip
# The commands an adapter brings are commands.
COMMANDS_OF_ADAPTER = re.compile(r"adapters\.\w+\.cli")
MAY_IMPORT = {
    0: {0},
    1: {0, 1},
    2: {0, 1, 2},
    3: {0, 1},
    4: {0, 1, 2},
    5: {0, 1, 2, 4},
    6: {0, 1, 2, 4, 5, 6},
    7: {0, 1},
}
# Where a layer holds several rooms, these may use one another.
SIBLINGS = {("gateway.publisher", "gateway.buffer"), ("gateway.metrics", "gateway.web")}
# One place knows a library.
ONLY_IN = {
    "pymodbus": ("adapters/modbus/client.py", "simulators/modbus/"),
    "asyncua": ("adapters/opcua/client.py", "simulators/opcua/"),
    "paho": ("gateway/mqtt/client.py",),
    "influxdb_client": ("gateway/store/influx.py",),
    "starlette": ("gateway/web/",),
    "uvicorn": ("gateway/web/server.py",),
    "prometheus_client": ("gateway/metrics/",),
    "typer": ("gateway/cli/",),
    "rich": ("gateway/cli/",),
    "uvloop": ("gateway/cli/",),
    "sqlite3": ("gateway/store/",),
    "openpyxl": ("adapters/modbus/tools/table_file.py",),
    "yaml": ("gateway/config/yaml_file.py",),
}


def files() -> list[Path]:
    return sorted(f for package in PACKAGES for f in (ROOT / package).rglob("*.py"))


def imports(file: Path) -> Iterator[str]:
    """Every module a file imports, inside functions too; `from a import b` counts as a.b where that is a module."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    package = list(file.relative_to(ROOT).parts[:-1])
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(
                [*package[: len(package) - node.level + 1], *([node.module] if node.module else [])]
                if node.level
                else [node.module or ""]
            )
            for alias in node.names:
                name = f"{base}.{alias.name}"
                path = ROOT / name.replace(".", "/")
                yield name if path.is_dir() or path.with_suffix(".py").is_file() else base


def module_of(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def layer_of(module: str) -> int:
    if COMMANDS_OF_ADAPTER.fullmatch(module):
        return 6
    return next(layer for prefix, layer in LAYERS if module == prefix or module.startswith(prefix + "."))


def room_of(module: str) -> str:
    """gateway.store, adapters.modbus, simulators.opcua …"""
    return ".".join(module.split(".")[:2])


def allowed(importer: str, imported: str, file: str) -> bool:
    if imported.split(".")[0] not in PACKAGES:
        library = imported.split(".")[0]
        only = ONLY_IN.get(library)
        of_commands = library in ("typer", "rich") and COMMANDS_OF_ADAPTER.fullmatch(importer)
        return only is None or file.startswith(only) or bool(of_commands)
    if imported in PACKAGES:
        return True
    above, below = layer_of(importer), layer_of(imported)
    here, there = room_of(importer), room_of(imported)
    if below == 6 and (above < 6 or (here != there and COMMANDS_OF_ADAPTER.fullmatch(imported))):
        return False  # who does the work does not know who asks for it; commands of an adapter are found by folder
    if here == there or below in MAY_IMPORT[above]:
        return True
    if above == below == 7:
        return not {here, there} >= {"simulators.modbus", "simulators.opcua"}
    if above == 4 and below == 4:
        return (here, there) in SIBLINGS
    if above == 6 and below == 7:
        return True  # the commands that simulate
    if importer.startswith("simulators.") and imported.startswith("adapters."):
        return imported.split(".")[1] == importer.split(".")[1] and imported.endswith(".config")
    return importer == "gateway.runtime.registry" and imported == "adapters"


@pytest.mark.parametrize("file", files(), ids=lambda f: str(f.relative_to(ROOT)))
def test_imports(file):
    name = str(file.relative_to(ROOT))
    wrong = sorted({i for i in imports(file) if not allowed(module_of(file), i, name)})
    assert not wrong, f"{name} may not import {', '.join(wrong)}"


@pytest.mark.parametrize(
    ("importer", "imported"),
    [
        ("gateway.model", "gateway.config"),
        ("adapters.modbus.adapter", "adapters.opcua.config"),
        ("adapters.modbus.adapter", "gateway.buffer"),
        ("adapters.modbus.decode", "pymodbus.client"),
        ("gateway.store.writer", "gateway.publisher"),
        ("gateway.normalizer.plan", "gateway.mqtt.client"),
        ("simulators.modbus.server", "adapters.modbus.decode"),
        ("gateway.runtime.edge.edge", "simulators.plant"),
        ("adapters.modbus.tools.scan", "adapters.modbus.cli"),
        ("adapters.modbus.tools.scan", "typer"),
        ("adapters.modbus.cli", "adapters.opcua.config"),
        ("gateway.cli.app", "adapters.modbus.cli"),
    ],
)
def test_the_rules_catch_what_they_are_for(importer, imported):
    assert not allowed(importer, imported, importer.replace(".", "/") + ".py")
