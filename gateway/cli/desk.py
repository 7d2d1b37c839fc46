"""Configurations where nothing of the plant is connected to: its secrets need not be there.

Whoever simulates machines, plays one back or judges a ledger works at a desk, in a test or in CI, where nobody has the passwords of a
plant. One that is missing is HIDDEN, for which a simulated server takes any password.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.cli.common import one_of
from gateway.hiding import HIDDEN

if TYPE_CHECKING:
    from gateway.config import Configuration

_PREFIX = "GATEWAY_SECRET_"  # of the variables in which `gateway.config.fields.find_secret` looks at last


class DeskEnvironment(Mapping[str, str]):
    """The variables there are, and one for each secret that is asked for and nowhere else to be found."""

    def __init__(self, env: Mapping[str, str] = os.environ) -> None:
        self._env = env
        self.missing: set[str] = set()  # the variables of secrets that were asked for, and are not there

    def __getitem__(self, name: str) -> str:
        if name in self._env or not name.startswith(_PREFIX):
            return self._env[name]
        self.missing.add(name)
        return HIDDEN

    def __contains__(self, name: object) -> bool:
        return name in self._env or (isinstance(name, str) and name.startswith(_PREFIX))

    def __iter__(self) -> Iterator[str]:
        return iter(self._env)

    def __len__(self) -> int:
        return len(self._env)


def load_at_desk(argument: Path | None, option: Path | None = None, *, whole_tree: bool = False) -> Configuration:
    """As `load_config`, without the secrets that are not there. Raises ConfigErrors."""
    from gateway.config import find_config, load
    from gateway.runtime.registry import protocols

    path = find_config(one_of(argument, option))
    configuration = load(path, protocols(), env=DeskEnvironment(), whole_tree=whole_tree)
    for warning in configuration.warnings:
        print(warning, file=sys.stderr)
    return configuration
