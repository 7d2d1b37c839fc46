"""The codes, and how bad each is. What they mean for people stands in en.json and vi.json, under the same keys.

A code is one cause that somebody at the machine can do something about; it never changes its meaning, because logs,
metrics and alarms of others are built on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

Severity = Literal["note", "warning", "error"]
"""`note`: worth knowing. `warning`: readings are in doubt, or will be. `error`: readings are missing, or will be."""

_ERRORS = """
connection-refused connection-timeout host-unreachable name-not-resolved connection-lost not-connected unexpected-error
modbus-no-answer modbus-half-answer modbus-garbled modbus-out-of-step modbus-echo modbus-unasked modbus-illegal-address
modbus-illegal-function modbus-illegal-value modbus-device-failure modbus-device-busy modbus-gateway-no-path
modbus-gateway-no-target modbus-connection-closed modbus-tls
serial-port-missing serial-no-rights serial-port-busy serial-settings-refused serial-port-failed
opcua-certificate-not-trusted opcua-certificate-changed opcua-certificate-refused opcua-certificate-expired
opcua-certificate-wrong-name opcua-certificate-unfit opcua-certificate-files opcua-identity-not-proved opcua-time-refused
opcua-user-refused opcua-security-mismatch opcua-no-sessions opcua-server-busy opcua-endpoint-unknown
opcua-session-lost opcua-garbled opcua-refused opcua-node-unknown opcua-queue-overflow
broker-not-running broker-unreachable broker-refuses-password broker-refuses-topic broker-refuses broker-tls
broker-tls-name broker-certificate-expired broker-certificate-files broker-silent broker-client-id-taken broker-closed
store-unreachable store-refuses store-database-missing store-rejects-data store-busy store-silent store-damaged store-in-use
disk-full disk-broken disk-read-only disk-no-rights buffer-in-use buffer-full data-lost
config-refused part-missing port-taken page-not-open
no-communication device-failure type-locked value-invalid
"""
_WARNINGS = """
broker-no-subscriber broker-gives-not-back config-mismatch opcua-bad-value sensor-failure
value-out-of-range value-stale value-not-a-number value-flat value-implausible state-unknown counter-unclear counter-reset
clock-wrong clock-stepped clock-not-synchronized
disk-nearly-full disk-slow certificate-expires secret-readable memory-low gateway-not-running check-hung
"""
_NOTES = """
waiting-for-data out-of-service value-not-available value-incomplete
"""

SEVERITIES: Mapping[str, Severity] = {
    **dict.fromkeys(_ERRORS.split(), "error"),
    **dict.fromkeys(_WARNINGS.split(), "warning"),
    **dict.fromkeys(_NOTES.split(), "note"),
}

# Reasons of `model.REASONS`, by the name they have in a quality's text. What a server says itself is `server:0x…`.
OF_QUALITY: Mapping[str, str] = {
    "config-error": "config-mismatch",
    "not-connected": "not-connected",
    "device-failure": "device-failure",
    "sensor-failure": "sensor-failure",
    "out-of-service": "out-of-service",
    "no-communication": "no-communication",
    "waiting-for-data": "waiting-for-data",
    "unknown-node": "opcua-node-unknown",
    "out-of-range": "value-out-of-range",
    "stale": "value-stale",
    "illegal-address": "modbus-illegal-address",
    "not-available": "value-not-available",
    "not-a-number": "value-not-a-number",
    "invalid-data": "value-invalid",
    "wrong-type": "type-locked",
    "clock-not-set": "clock-wrong",
    "unknown-state": "state-unknown",
    "flat-line": "value-flat",
    "implausible-rate": "value-implausible",
    "counter-unsettled": "counter-unclear",
    "counter-ambiguous": "counter-unclear",
    "counter-reset": "counter-reset",
    "counter-replaced": "counter-reset",
    "incomplete": "value-incomplete",
}
SERVER_SAYS = "opcua-bad-value"

# Causes of loss records, by how they begin.
OF_LOSS: Mapping[str, str] = {
    "clock": "clock-stepped",
    "buffer-full": "buffer-full",
    "server-queue-overflow": "opcua-queue-overflow",
    "link-lost": "connection-lost",
}
LOST = "data-lost"
