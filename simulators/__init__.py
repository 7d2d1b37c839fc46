"""Machines made from the same YAML as the adapters read; simulators/README.md."""
