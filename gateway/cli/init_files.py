"""The files that `gateway init` writes: from answers to commented YAML, and onto the disk, all or nothing. No questions."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path

from gateway.cli.init_questions import NONE
from gateway.errors import UsageError

_PLAIN = re.compile(r"[A-Za-z/][A-Za-z0-9_./-]*")
_WORDS = {"true", "false", "null", "yes", "no", "on", "off", "y", "n", "none", "~"}


def files_of(answers: Mapping[str, str], parameters: Mapping[str, str]) -> dict[str, str]:
    """gateway.yaml and the file of the machine, by their paths. `parameters`: what its profile leaves open, by examples."""
    return {"gateway.yaml": _gateway(answers), f"machines/{answers['machine']}.yaml": _machine(answers, parameters)}


def _gateway(answers: Mapping[str, str]) -> str:
    levels = {key: answers[key] for key in ("enterprise", "site") if answers[key]}
    site = ", ".join(f"{key}: {scalar(value)}" for key, value in {**levels, "timezone": answers["timezone"]}.items())
    lines = [
        "# Of this gateway. Its machines are in machines/*.yaml. What a key means: gateway config explain mqtt.url",
        "version: 1",
        f"gateway: {{id: {scalar(answers['gateway'])}, data_dir: data}}   # data_dir: buffer and store; /var/lib/gateway for a service",
        f"site: {{{site}}}",
        "defaults: {poll: 1s, timeout: 1s}                 # how often machines are read; a machine or signal may differ",
        "",
        "# Links to machines. Several machines may share one.",
        "connections:",
        f"  {connection_of(answers)}: {{{_connection(answers)}}}",
        "",
    ]
    if answers["broker"] == NONE:
        lines += [
            "# There is no broker yet; until there is one, readings wait in the buffer. Debian: apt-get install mosquitto",
            '# mqtt: {url: "mqtt://127.0.0.1:1883"}',
        ]
    else:
        lines += [
            "# A user and password: mqtt: {url: …, user: edge, password: {secret: mqtt_password}}",
            f"mqtt: {{url: {scalar(answers['broker'])}}}",
        ]
    lines += ["", *_store(answers), "", "# The status page, for this box only: http://127.0.0.1:8080", 'web: {listen: "127.0.0.1:8080"}']  # fmt: skip
    return "\n".join(lines) + "\n"


def connection_of(answers: Mapping[str, str]) -> str:
    """The name of the link."""
    return {"modbus-rtu": "bus1", "opcua": "server"}.get(answers["protocol"], "panel")


def _connection(answers: Mapping[str, str]) -> str:
    keys: dict[str, str] = {"protocol": answers["protocol"]}
    match answers["protocol"]:
        case "modbus-rtu":
            keys |= {"port": answers["serial_port"], "baud": answers["baud"], "parity": answers["parity"]}
        case "opcua":
            keys |= {"url": answers["url"]}
        case _:
            keys |= {"host": answers["host"], "port": answers["port"]}
    return ", ".join(f"{k}: {v if v.isdigit() and k in ('port', 'baud') else scalar(v)}" for k, v in keys.items())


def _store(answers: Mapping[str, str]) -> list[str]:
    match answers["store"]:
        case "historian":
            return ["# Readings are kept in this box.", "store: {kind: historian, retention: 90d}"]
        case "influx":
            return [
                "# The token stands in secrets/influx_token (mode 0600): add it as token: {secret: influx_token}",
                f"store: {{kind: influx, url: {scalar(answers['store_url'])}, org: {scalar(answers['store_org'])}, "
                f"bucket: {scalar(answers['store_bucket'])}}}",
            ]
    return [
        "# No store of ours: what the broker has counts as delivered. Later: store: {kind: historian, retention: 90d}"
    ]


def _machine(answers: Mapping[str, str], parameters: Mapping[str, str]) -> str:
    lines = [f"# The machine is named by this file. Read it once: gateway read {answers['machine']}"]
    lines += [f"connection: {connection_of(answers)}"]
    modbus = answers["protocol"].startswith("modbus")
    if modbus:
        lines += [f"unit_id: {answers['unit_id']}"]
    if (profile := answers["profile"]) != NONE:
        lines += [f"profile: {scalar(profile)}   # its signals: gateway profiles show {profile}"]
        if parameters:
            lines += ["# What this profile has to be told; these are examples.", "parameters:"]
            lines += [f"  {name}: {scalar(example)}" for name, example in parameters.items()]
        return "\n".join(lines) + "\n"
    if modbus:
        lines += [
            "# Signals, by table (coil, discrete, input, holding) and zero-based address. What is there:",
            f"#   gateway modbus dump {answers['machine']}",
            "# For example: melt_temp: {holding: 10, type: int16, scale: 0.1, unit: Cel, range: [0, 400]}",
            "signals:",
            "  example: {holding: 0, type: uint16}",
        ]
    else:
        lines += [
            "# Signals, by node id. What is there:",
            f"#   gateway opcua browse {answers['machine']}      or as YAML: gateway opcua import {answers['machine']}",
            "signals:",
            '  server_time: {node: "i=2258"}   # every server has it',
        ]
    return "\n".join(lines) + "\n"


def scalar(text: str) -> str:
    """As YAML: plain where that can be read as nothing else."""
    if _PLAIN.fullmatch(text) and text.lower() not in _WORDS:
        return text
    return json.dumps(text, ensure_ascii=False)


def next_commands(answers: Mapping[str, str], folder: Path) -> list[str]:
    """What to do with it, in order."""
    option = "" if folder == Path() else f" -c {folder}"
    place = "" if folder == Path() else f" {folder}"
    look = f"gateway read {answers['machine']}{option}"
    if answers["profile"] == NONE:
        group = "modbus dump" if answers["protocol"].startswith("modbus") else "opcua browse"
        look = f"gateway {group} {answers['machine']}{option}"
    return [f"gateway config check{place}", look, f"gateway run{place}"]


def check_free(folder: Path, files: Mapping[str, str]) -> None:
    """Nothing is ever overwritten. Raises UsageError."""
    for path in ("gateway.yaml", *files):
        if os.path.lexists(folder / path):
            raise UsageError(f"{folder / path} is there already: name another folder, gateway init FOLDER")


def write(folder: Path, files: Mapping[str, str]) -> list[Path]:
    """All of them, or none. Raises UsageError for what came into being meanwhile, OSError."""
    made: list[Path] = []
    folders = [each for each in (folder, *folder.parents) if not each.exists()]  # the innermost first
    beside = folder / f".init-{secrets.token_hex(4)}"
    try:
        for path, text in files.items():
            target = folder / path
            if not target.parent.exists():
                folders = [target.parent, *folders] if target.parent not in folders else folders
            target.parent.mkdir(parents=True, exist_ok=True)
            beside.write_text(text, encoding="utf-8")
            try:
                os.link(beside, target)  # which fails where there is one
            except FileExistsError as exc:
                raise UsageError(f"{target} is there already: nothing was written") from exc
            made.append(target)
            beside.unlink()
    except BaseException:
        for file in (beside, *made):
            file.unlink(missing_ok=True)
        for each in folders:
            if each.is_dir() and not any(each.iterdir()):
                shutil.rmtree(each)
        raise
    return made
