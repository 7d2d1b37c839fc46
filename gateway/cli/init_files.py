"""The files that `gateway init` writes: from answers to commented YAML, and onto the disk, all or nothing. No questions."""

from __future__ import annotations

import json
import os
import re
import secrets
import shlex
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from gateway.cli.init_questions import NONE, Language
from gateway.errors import UsageError

_PLAIN = re.compile(r"[A-Za-z/][A-Za-z0-9_./-]*")
_WORDS = {"true", "false", "null", "yes", "no", "on", "off", "y", "n", "none", "~"}


DUMP = "holding:0-9"  # registers that nearly every device has
_SAID: dict[str, dict[Language, str]] = {
    "head": {
        "en": "Of this gateway. Its machines are in machines/*.yaml. What a key means: gateway config explain mqtt.url",
        "vi": "Của gateway này. Các máy nằm trong machines/*.yaml. Ý nghĩa của một khóa: gateway config explain mqtt.url",
    },
    "data_dir": {
        "en": "data_dir: buffer and store; /var/lib/gateway for a service",
        "vi": "data_dir: bộ đệm và kho dữ liệu; /var/lib/gateway khi chạy như dịch vụ",
    },
    "poll": {
        "en": "how often machines are read; a machine or signal may differ",
        "vi": "chu kỳ đọc máy; từng máy hay tín hiệu có thể khác",
    },
    "links": {
        "en": "Links to machines. Several machines may share one.",
        "vi": "Kết nối tới máy. Nhiều máy có thể dùng chung một kết nối.",
    },
    "no broker": {
        "en": "There is no broker yet; until there is one, readings wait in the buffer. Debian: apt-get install mosquitto",
        "vi": "Chưa có broker; cho đến khi có, dữ liệu chờ trong bộ đệm. Debian: apt-get install mosquitto",
    },
    "password": {"en": "A user and password", "vi": "Tên người dùng và mật khẩu"},
    "page": {"en": "The status page, for this box only", "vi": "Trang trạng thái, chỉ xem được trên máy này"},
    "historian": {"en": "Readings are kept in this box.", "vi": "Dữ liệu được lưu trong máy này."},
    "token": {
        "en": "The token stands in secrets/influx_token (mode 0600): add it as token: {secret: influx_token}",
        "vi": "Token nằm trong secrets/influx_token (quyền 0600): thêm vào bằng token: {secret: influx_token}",
    },
    "no store": {
        "en": "No store of ours: what the broker has counts as delivered. Later: store: {kind: historian, retention: 90d}",
        "vi": "Không có kho riêng: broker đã nhận là đã giao. Sau này: store: {kind: historian, retention: 90d}",
    },
    "machine": {
        "en": "The machine is named by this file. Read it once: gateway read",
        "vi": "Tên máy là tên của tệp này. Đọc thử một lần: gateway read",
    },
    "profile": {"en": "its signals", "vi": "các tín hiệu của nó"},
    "parameters": {
        "en": "What this profile has to be told; these are examples.",
        "vi": "Những gì profile này cần biết; đây là ví dụ.",
    },
    "registers": {
        "en": "Signals, by table (coil, discrete, input, holding) and zero-based address. What is there:",
        "vi": "Tín hiệu, theo bảng (coil, discrete, input, holding) và địa chỉ tính từ 0. Xem có gì:",
    },
    "example": {"en": "For example", "vi": "Ví dụ"},
    "nodes": {"en": "Signals, by node id. What is there:", "vi": "Tín hiệu, theo node id. Xem có gì:"},
    "as yaml": {"en": "or as YAML", "vi": "hoặc dạng YAML"},
    "server": {"en": "every server has it", "vi": "máy chủ nào cũng có"},
}


def files_of(answers: Mapping[str, str], parameters: Mapping[str, str], language: Language = "en") -> dict[str, str]:
    """gateway.yaml and the file of the machine, by their paths. `parameters`: what its profile leaves open, by examples.
    `language`: of the comments."""
    said = {key: texts[language] for key, texts in _SAID.items()}
    machine = _machine(answers, parameters, said)
    return {"gateway.yaml": _gateway(answers, said), f"machines/{answers['machine']}.yaml": machine}


def _gateway(answers: Mapping[str, str], said: Mapping[str, str]) -> str:
    levels = {key: answers[key] for key in ("enterprise", "site") if answers[key]}
    site = ", ".join(f"{key}: {scalar(value)}" for key, value in {**levels, "timezone": answers["timezone"]}.items())
    lines = [
        f"# {said['head']}",
        "version: 1",
        f"gateway: {{id: {scalar(answers['gateway'])}, data_dir: data}}   # {said['data_dir']}",
        f"site: {{{site}}}",
        f"defaults: {{poll: 1s, timeout: 1s}}                 # {said['poll']}",
        "",
        f"# {said['links']}",
        "connections:",
        f"  {connection_of(answers)}: {{{_connection(answers)}}}",
        "",
    ]
    if answers["broker"] == NONE:
        lines += [f"# {said['no broker']}", '# mqtt: {url: "mqtt://127.0.0.1:1883"}']
    else:
        lines += [
            f"# {said['password']}: mqtt: {{url: …, user: edge, password: {{secret: mqtt_password}}}}",
            f"mqtt: {{url: {scalar(answers['broker'])}}}",
        ]
    lines += [
        "",
        *_store(answers, said),
        "",
        f"# {said['page']}: http://127.0.0.1:8080",
        'web: {listen: "127.0.0.1:8080"}',
    ]
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


def _store(answers: Mapping[str, str], said: Mapping[str, str]) -> list[str]:
    match answers["store"]:
        case "historian":
            return [f"# {said['historian']}", "store: {kind: historian, retention: 90d}"]
        case "influx":
            return [
                f"# {said['token']}",
                f"store: {{kind: influx, url: {scalar(answers['store_url'])}, org: {scalar(answers['store_org'])}, "
                f"bucket: {scalar(answers['store_bucket'])}}}",
            ]
    return [f"# {said['no store']}"]


def _machine(answers: Mapping[str, str], parameters: Mapping[str, str], said: Mapping[str, str]) -> str:
    lines = [f"# {said['machine']} {answers['machine']}"]
    lines += [f"connection: {connection_of(answers)}"]
    modbus = answers["protocol"].startswith("modbus")
    if modbus:
        lines += [f"unit_id: {answers['unit_id']}"]
    if (profile := answers["profile"]) != NONE:
        lines += [f"profile: {scalar(profile)}   # {said['profile']}: gateway profiles show {profile}"]
        if parameters:
            lines += [f"# {said['parameters']}", "parameters:"]
            lines += [f"  {name}: {scalar(example)}" for name, example in parameters.items()]
        return "\n".join(lines) + "\n"
    if modbus:
        lines += [
            f"# {said['registers']}",
            f"#   gateway modbus dump {answers['machine']} {DUMP}",
            f"# {said['example']}: melt_temp: {{holding: 10, type: int16, scale: 0.1, unit: Cel, range: [0, 400]}}",
            "signals:",
            "  example: {holding: 0, type: uint16}",
        ]
    else:
        import_ = f"gateway opcua import {answers['machine']}"
        lines += [
            f"# {said['nodes']}",
            f"#   gateway opcua browse {answers['machine']}      {said['as yaml']}: {import_}",
            "signals:",
            f'  server_time: {{node: "i=2258"}}   # {said["server"]}',
        ]
    return "\n".join(lines) + "\n"


def scalar(text: str) -> str:
    """As YAML: plain where that can be read as nothing else."""
    if _PLAIN.fullmatch(text) and text.lower() not in _WORDS:
        return text
    return json.dumps(text, ensure_ascii=False)


def next_commands(answers: Mapping[str, str], folder: Path) -> list[str]:
    """What to do with it, in order; as it can be typed."""
    name = shlex.quote(str(folder))
    option = "" if folder == Path() else f" -c {name}"
    place = "" if folder == Path() else f" {name}"
    look = f"gateway read {answers['machine']}{option}"
    if answers["profile"] == NONE:
        what, where = ("modbus dump", f" {DUMP}") if answers["protocol"].startswith("modbus") else ("opcua browse", "")
        look = f"gateway {what} {answers['machine']}{where}{option}"
    return [f"gateway config check{place}", look, f"gateway run{place}"]


def check_free(folder: Path, files: Mapping[str, str]) -> None:
    """Nothing is ever overwritten, and nothing that is there already becomes a part of it unseen. Raises UsageError."""
    there = next(each for each in (folder, *folder.absolute().parents) if os.path.lexists(each))
    if not there.is_dir():
        raise UsageError(f"{there} is a file: name a folder, gateway init FOLDER")
    others = [f"machines/{each.name}" for each in sorted((folder / "machines").glob("*.yaml"))]
    for path in ("gateway.yaml", *files, *others):
        if os.path.lexists(folder / path):
            raise UsageError(f"{folder / path} is there already: name another folder, gateway init FOLDER")
    try:  # whether that can be written into, which no mode tells, before anybody is asked anything
        Path(tempfile.mkdtemp(prefix=".init-", dir=there)).rmdir()
    except OSError as exc:
        raise unwritable(folder, exc) from exc


def unwritable(folder: Path, exc: OSError) -> UsageError:
    """What to say where the folder cannot be made."""
    return UsageError(
        f"nothing can be written to {folder} ({exc.strerror or exc}): name another folder, gateway init FOLDER"
    )


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
