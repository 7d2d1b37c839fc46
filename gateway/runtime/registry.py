"""Finds adapters: the folders of `adapters/`, and packages that register under the entry point `gateway.adapters`."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from functools import cache
from importlib.metadata import entry_points

import adapters
from gateway.adapter import Plugin
from gateway.config import Protocol


@cache
def plugins() -> dict[str, Plugin]:
    """Every plugin by the name of each protocol it speaks. Imports their configuration models, not their libraries."""
    found: dict[str, Plugin] = {}
    for plugin in _modules():
        for protocol in plugin.PROTOCOLS:
            found.setdefault(protocol.name, plugin)
    return found


@cache
def protocols() -> dict[str, Protocol]:
    """The configuration models of every protocol, by its name."""
    return {p.name: p for plugin in dict.fromkeys(plugins().values()) for p in plugin.PROTOCOLS}


def _modules() -> Iterator[Plugin]:
    for module in pkgutil.iter_modules(adapters.__path__):
        yield importlib.import_module(f"adapters.{module.name}")
    for entry in entry_points(group="gateway.adapters"):
        yield entry.load()
