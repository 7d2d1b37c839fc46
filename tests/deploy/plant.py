"""A box with the package on it: a machine that is simulated there, the broker that Debian has, and the service."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from parts.process import wait_until
from parts.systemd import Box

UNIT = "shopfloor-gateway.service"
GATEWAY = "/etc/gateway/gateway.yaml"
TEXT = """\
gateway: {id: edge-01, data_dir: /var/lib/gateway}
site: {enterprise: acme}
connections: {panel: {protocol: modbus-tcp, host: 127.0.0.1, port: 15020}}
machines: {press: {connection: panel, poll: 100ms, signals: {a: {holding: 0, type: uint16}}}}
mqtt: {url: "mqtt://127.0.0.1:1883", user: edge-01, password: {secret: mqtt_password}}
store: {kind: historian}
"""
_BROKER = """\
listener 1883 127.0.0.1
allow_anonymous false
password_file /etc/mosquitto/passwords
max_queued_messages 10000
"""


def install(box: Box, deb: Path) -> None:
    """As a person would, but for the time that a disk takes."""
    # Not installed in `missing`: it goes to the disk of nobody.
    box("dpkg", "--force-unsafe-io", "-i", box.copy(deb), timeout=120)


def configure(box: Box) -> None:
    """A broker with a password, a machine, and a configuration that names both."""
    box.write("/etc/mosquitto/conf.d/gateway.conf", _BROKER)
    box("mosquitto_passwd", "-c", "-b", "/etc/mosquitto/passwords", "edge-01", "pw")
    box("chown", "mosquitto", "/etc/mosquitto/passwords")
    box("systemctl", "restart", "mosquitto")
    box.write("/etc/gateway/secrets/mqtt_password", "pw\n", 0o600)
    box.write(GATEWAY, TEXT)
    box.write("/root/plant/gateway.yaml", TEXT.replace("{secret: mqtt_password}", "pw"))
    box("systemd-run", "--unit=plant", "/usr/bin/gateway", "simulate", "/root/plant/gateway.yaml")


def drop_in(box: Box, text: str, unit: str = UNIT) -> None:
    box.write(f"/etc/systemd/system/{unit}.d/test.conf", f"[Service]\n{text}\n")
    box("systemctl", "daemon-reload")


def rows(box: Box, signal: str = "press/a", config: str = GATEWAY) -> list[dict[str, Any]]:
    """What the historian has of a signal."""
    text = box("gateway", "query", signal, "--since", "1h", "--json", "-c", config).stdout
    return [json.loads(line) for line in text.splitlines()]


def wait_for_more(box: Box, signal: str = "press/a", *, count: int = 5, config: str = GATEWAY) -> None:
    """Until so many more good readings are stored."""
    have = _good(box, signal, config)
    wait_until(lambda: _good(box, signal, config) >= have + count, 40, f"{count} more of {signal}")


def _good(box: Box, signal: str, config: str) -> int:
    done = box("gateway", "query", signal, "--since", "1h", "--json", "-c", config, check=False)
    return sum('"good"' in line for line in done.stdout.splitlines())


def audit(box: Box) -> list[dict[str, Any]]:
    """What became of every message: stretches that are stored, waiting or lost."""
    text = box("gateway", "audit", "--since", "1d", "--json", "-c", GATEWAY).stdout
    return [json.loads(line) for line in text.splitlines()]
