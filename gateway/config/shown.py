"""A configuration as others may see it: what is in force, without secrets."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from gateway.config.load import Configuration, Protocol, load
from gateway.config.yaml_file import write_yaml
from gateway.errors import ConfigErrors
from gateway.hiding import HIDDEN

_SECRETS = ("password", "token", "metrics_token")
# What a machine can be understood without: who else is there, and where its readings go.
_OF_THE_MACHINE = ("version", "gateway", "site", "defaults", "calendars", "connections", "machines")


def without_secrets(data: Any, *, names: bool = True) -> Any:
    """Passwords and tokens that stand in the file are not shown; `{secret: name}` is, unless `names` are hidden too."""
    if isinstance(data, list):
        return [without_secrets(each, names=names) for each in data]
    if not isinstance(data, dict):
        return data
    return {
        key: HIDDEN if key in _SECRETS and _is_secret(value, names) else without_secrets(value, names=names)
        for key, value in data.items()
    }


def _is_secret(value: Any, names: bool) -> bool:
    """A text, or where one is looked up; a signal may be called like one."""
    return isinstance(value, (str, int, float)) or (not names and isinstance(value, dict) and set(value) == {"secret"})


def text_of_machines(
    configuration: Configuration, connection: str, machines: Collection[str], protocols: Mapping[str, Protocol]
) -> str:
    """YAML of what these machines behind a connection are, without secrets, that can be loaded by itself.

    Where that takes other machines, as for a sum over a line, it has all of them. The tree of the configuration has to
    be whole, see `load`.
    """
    data = without_secrets(configuration.tree.plain(), names=False)
    # The profiles are filled in already, and may not be where this is read.
    filled = {
        name: {key: value for key, value in machine.items() if key not in ("profile", "parameters")}
        for name, machine in data["machines"].items()
    }
    base = {key: value for key, value in data.items() if key in _OF_THE_MACHINE} | {"machines": filled}
    alone = {
        "connections": {connection: data["connections"][connection]},
        "machines": {name: filled[name] for name in machines},
    }
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "gateway.yaml"
        for data in (base | alone, base):
            file.write_text(write_yaml(data), encoding="utf-8")
            with suppress(ConfigErrors):
                load(file, protocols, env={})
                return write_yaml(data)
    return write_yaml(base | alone)
