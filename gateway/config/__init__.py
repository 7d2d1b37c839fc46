"""Configuration: from YAML files to checked settings, or to every mistake in them at its line."""

from gateway.config.load import CheckedProfile, Configuration, Protocol, check_profile, find_config, load
from gateway.config.settings import ConnectionSettings, MachineSettings, Settings
from gateway.config.signals import SignalSettings

__all__ = [
    "CheckedProfile",
    "Configuration",
    "ConnectionSettings",
    "MachineSettings",
    "Protocol",
    "Settings",
    "SignalSettings",
    "check_profile",
    "find_config",
    "load",
]
