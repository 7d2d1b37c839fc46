"""Configuration: from YAML files to checked settings, or to every mistake in them at its line."""

from gateway.config.load import Configuration, Protocol, find_config, load
from gateway.config.settings import ConnectionSettings, MachineSettings, Settings, SignalSettings

__all__ = [
    "Configuration",
    "ConnectionSettings",
    "MachineSettings",
    "Protocol",
    "Settings",
    "SignalSettings",
    "find_config",
    "load",
]
