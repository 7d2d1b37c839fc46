"""What `gateway init` asks, in two languages, and what it takes for an answer. Pure, but for looking at this box.

Each question has a name, which is its key in a file of answers, a default, and a check. What is not asked (`when`) has no
answer; a later question may depend on an earlier one.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

Language = Literal["en", "vi"]
Answers = Mapping[str, str]
NONE = "none"


@dataclass(frozen=True, slots=True)
class Question:
    """One of them. `fits` gets what was typed, and says whether it can be used."""

    name: str
    text: dict[Language, str]
    about: dict[Language, str]  # what it means, and what to type if one does not know
    wrong: dict[Language, str]
    default: Callable[[Answers], str]
    fits: Callable[[str], bool] = bool
    choices: Callable[[Answers], Sequence[str]] | None = None
    when: Callable[[Answers], bool] = lambda _: True

    def accepts(self, answer: str, before: Answers) -> bool:
        if self.choices is not None and answer in self.choices(before):
            return True
        return self.choices is None and self.fits(answer)


# --- checks ----------------------------------------------------------------------------------------------------------

_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,252}[A-Za-z0-9])?|[0-9A-Fa-f:]*:[0-9A-Fa-f:]+")


def is_name(text: str) -> bool:
    return re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}", text) is not None


def is_level(text: str) -> bool:
    """What may stand in a topic, or nothing."""
    return not text or is_name(text)


def is_zone(text: str) -> bool:
    from zoneinfo import ZoneInfo

    try:
        ZoneInfo(text)
    except (KeyError, ValueError, OSError):
        return False
    return bool(text)


def is_host(text: str) -> bool:
    parts = text.split(".")
    if re.fullmatch(r"[0-9.]+", text):  # looks like an address: then it has to be one
        return len(parts) == 4 and all(p.isdigit() and int(p) < 256 for p in parts)
    return _HOST.fullmatch(text) is not None


def is_number(first: int, last: int) -> Callable[[str], bool]:
    return lambda text: re.fullmatch(r"[0-9]{1,9}", text) is not None and first <= int(text) <= last


def is_url(*schemes: str) -> Callable[[str], bool]:
    def fits(text: str) -> bool:
        try:
            parts = urlsplit(text)
            port = parts.port
        except ValueError:
            return False
        return (
            parts.scheme in schemes and is_host(parts.hostname or "") and port != 0 and not parts.username and " " not in text
        )  # fmt: skip

    return fits


# --- what this box tells ---------------------------------------------------------------------------------------------


def host_name() -> str:
    """As a gateway could be called."""
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", socket.gethostname().partition(".")[0]).strip("-.")
    return name if is_name(name) and name != "localhost" else "edge-01"


def zone_here() -> str:
    """The time zone of this box."""
    told = os.environ.get("TZ", "").removeprefix(":")
    if told and is_zone(told):
        return told
    try:
        name = Path("/etc/timezone").read_text().strip()
    except OSError:
        name = ""
    if name and is_zone(name):
        return name
    link = str(Path("/etc/localtime").resolve())
    name = link.partition("/zoneinfo/")[2]
    return name if name and is_zone(name) else "UTC"


def serial_port() -> str:
    """The first one that is plugged in, by the name that stays."""
    for pattern in ("serial/by-id/*", "ttyUSB*", "ttyACM*", "ttyS*"):
        if found := sorted(Path("/dev").glob(pattern)):
            return str(found[0])
    return "/dev/ttyUSB0"


# --- the questions ---------------------------------------------------------------------------------------------------

PROTOCOLS = ("modbus-tcp", "modbus-rtu", "modbus-rtu-over-tcp", "opcua")


def _tcp(answers: Answers) -> bool:
    return answers["protocol"] in ("modbus-tcp", "modbus-rtu-over-tcp")


def _serial(answers: Answers) -> bool:
    return answers["protocol"] == "modbus-rtu"


def _modbus(answers: Answers) -> bool:
    return answers["protocol"].startswith("modbus")


def _influx(answers: Answers) -> bool:
    return answers["store"] == "influx"


def questions(profiles: Mapping[str, Collection[str]]) -> list[Question]:
    """All of them, in order. `profiles`: the names there are, by family of protocols (`modbus`, `opcua`)."""

    def of_family(answers: Answers) -> Sequence[str]:
        return [NONE, *profiles.get(answers["protocol"].partition("-")[0], ())]

    return [
        Question(
            "gateway",
            {"en": "Name of this gateway", "vi": "Tên của gateway này"},
            {"en": "It stands in every message, so two gateways never share one.",
             "vi": "Tên nằm trong mọi bản tin, nên hai gateway không được trùng tên."},
            {"en": "letters, digits, - _ . only", "vi": "chỉ dùng chữ không dấu, số, - _ ."},
            lambda _: host_name(), is_name,
        ),
        Question(
            "enterprise",
            {"en": "Company, as it stands in topics", "vi": "Công ty, như ghi trong topic"},
            {"en": "May be left empty.", "vi": "Có thể để trống."},
            {"en": "letters, digits, - _ . only", "vi": "chỉ dùng chữ không dấu, số, - _ ."},
            lambda _: "", is_level,
        ),
        Question(
            "site",
            {"en": "Plant or site", "vi": "Nhà máy"},
            {"en": "The second level of topics. May be left empty.", "vi": "Cấp thứ hai của topic. Có thể để trống."},
            {"en": "letters, digits, - _ . only", "vi": "chỉ dùng chữ không dấu, số, - _ ."},
            lambda _: "", is_level,
        ),
        Question(
            "timezone",
            {"en": "Time zone of the plant", "vi": "Múi giờ của nhà máy"},
            {"en": "For shifts and days; stamps are UTC always.", "vi": "Dùng cho ca và ngày; dấu thời gian luôn là UTC."},
            {"en": "an IANA name such as Asia/Ho_Chi_Minh", "vi": "tên IANA, ví dụ Asia/Ho_Chi_Minh"},
            lambda _: zone_here(), is_zone,
        ),
        Question(
            "protocol",
            {"en": "How the first machine is reached", "vi": "Máy đầu tiên kết nối bằng gì"},
            {"en": "modbus-rtu is a serial line (RS-485); rtu-over-tcp a converter that only passes it on.",
             "vi": "modbus-rtu là đường nối tiếp (RS-485); rtu-over-tcp là bộ chuyển đổi chỉ truyền tiếp dữ liệu."},
            {"en": "one of the list", "vi": "một mục trong danh sách"},
            lambda _: "modbus-tcp", choices=lambda _: PROTOCOLS,
        ),
        Question(
            "host",
            {"en": "Its address", "vi": "Địa chỉ của máy"},
            {"en": "IP address or name of the machine or converter.", "vi": "Địa chỉ IP hoặc tên của máy hay bộ chuyển đổi."},
            {"en": "an address such as 192.168.0.10", "vi": "một địa chỉ, ví dụ 192.168.0.10"},
            lambda _: "192.168.0.10", is_host, when=_tcp,
        ),
        Question(
            "port",
            {"en": "TCP port", "vi": "Cổng TCP"},
            {"en": "502 for nearly all.", "vi": "Hầu hết là 502."},
            {"en": "a number from 1 to 65535", "vi": "một số từ 1 đến 65535"},
            lambda _: "502", is_number(1, 65535), when=_tcp,
        ),
        Question(
            "serial_port",
            {"en": "Serial port", "vi": "Cổng nối tiếp"},
            {"en": "Names below /dev/serial/by-id stay when another adapter is plugged in.",
             "vi": "Tên trong /dev/serial/by-id không đổi khi cắm thêm bộ chuyển đổi khác."},
            {"en": "a path such as /dev/ttyUSB0", "vi": "một đường dẫn, ví dụ /dev/ttyUSB0"},
            lambda _: serial_port(), lambda text: re.fullmatch(r"/[\w./:+-]+", text) is not None, when=_serial,
        ),
        Question(
            "baud",
            {"en": "Baud rate", "vi": "Tốc độ baud"},
            {"en": "As it is set at the machine; often 9600 or 19200.", "vi": "Như cài đặt ở máy; thường là 9600 hoặc 19200."},
            {"en": "a number from 300 to 1000000", "vi": "một số từ 300 đến 1000000"},
            lambda _: "9600", is_number(300, 1_000_000), when=_serial,
        ),
        Question(
            "parity",
            {"en": "Parity", "vi": "Parity (bit chẵn lẻ)"},
            {"en": "As it is set at the machine.", "vi": "Như cài đặt ở máy."},
            {"en": "one of the list", "vi": "một mục trong danh sách"},
            lambda _: "even", choices=lambda _: ("even", "none", "odd"), when=_serial,
        ),
        Question(
            "url",
            {"en": "Address of the OPC UA server", "vi": "Địa chỉ của máy chủ OPC UA"},
            {"en": "As the manual has it: opc.tcp://HOST:4840.", "vi": "Như trong tài liệu: opc.tcp://HOST:4840."},
            {"en": "for example opc.tcp://192.168.0.10:4840", "vi": "ví dụ opc.tcp://192.168.0.10:4840"},
            lambda _: "opc.tcp://192.168.0.10:4840", is_url("opc.tcp"), when=lambda a: a["protocol"] == "opcua",
        ),
        Question(
            "unit_id",
            {"en": "Unit id", "vi": "Unit id (địa chỉ slave)"},
            {"en": "Number of the device behind this address; 1 for most.", "vi": "Số của thiết bị sau địa chỉ này; phần lớn là 1."},
            {"en": "a number from 0 to 255", "vi": "một số từ 0 đến 255"},
            lambda _: "1", is_number(0, 255), when=_modbus,
        ),
        Question(
            "machine",
            {"en": "Name of the machine", "vi": "Tên của máy"},
            {"en": "As people call it in the plant.", "vi": "Như mọi người gọi trong nhà máy."},
            {"en": "letters, digits, - _ . only", "vi": "chỉ dùng chữ không dấu, số, - _ ."},
            lambda _: "machine-01", is_name,
        ),
        Question(
            "profile",
            {"en": "Device model", "vi": "Mẫu thiết bị"},
            {"en": "A model that is known brings its signals. `none`: they are written later.",
             "vi": "Mẫu đã biết có sẵn các tín hiệu. `none`: viết sau."},
            {"en": "one of the list", "vi": "một mục trong danh sách"},
            lambda _: NONE, choices=of_family,
        ),
        Question(
            "broker",
            {"en": "MQTT broker", "vi": "MQTT broker"},
            {"en": "mqtt://HOST:1883, or with TLS mqtts://HOST:8883. `none`: there is none yet.",
             "vi": "mqtt://HOST:1883, hoặc với TLS mqtts://HOST:8883. `none`: chưa có."},
            {"en": "for example mqtt://127.0.0.1:1883, or none", "vi": "ví dụ mqtt://127.0.0.1:1883, hoặc none"},
            lambda _: "mqtt://127.0.0.1:1883", lambda text: text == NONE or is_url("mqtt", "mqtts")(text),
        ),
        Question(
            "store",
            {"en": "Where readings are stored", "vi": "Nơi lưu dữ liệu"},
            {"en": "`historian` is built in. `influx`: InfluxDB, VictoriaMetrics. `none`: somebody else takes them from the broker.",
             "vi": "`historian` có sẵn. `influx`: InfluxDB, VictoriaMetrics. `none`: bên khác lấy từ broker."},
            {"en": "one of the list", "vi": "một mục trong danh sách"},
            lambda _: "historian", choices=lambda _: ("historian", "influx", NONE),
        ),
        Question(
            "store_url",
            {"en": "Address of the data base", "vi": "Địa chỉ của cơ sở dữ liệu"},
            {"en": "InfluxDB: http://HOST:8086.", "vi": "InfluxDB: http://HOST:8086."},
            {"en": "for example http://127.0.0.1:8086", "vi": "ví dụ http://127.0.0.1:8086"},
            lambda _: "http://127.0.0.1:8086", is_url("http", "https"), when=_influx,
        ),
        Question(
            "store_org",
            {"en": "Organisation", "vi": "Tổ chức (organisation)"},
            {"en": "Of InfluxDB 2. VictoriaMetrics takes any.", "vi": "Của InfluxDB 2. VictoriaMetrics nhận tên bất kỳ."},
            {"en": "letters, digits, - _ . only", "vi": "chỉ dùng chữ không dấu, số, - _ ."},
            lambda a: a["enterprise"] if is_name(a["enterprise"]) else "plant", is_name, when=_influx,
        ),
        Question(
            "store_bucket",
            {"en": "Bucket", "vi": "Bucket"},
            {"en": "Where in it the readings go.", "vi": "Nơi chứa dữ liệu trong đó."},
            {"en": "letters, digits, - _ . only", "vi": "chỉ dùng chữ không dấu, số, - _ ."},
            lambda _: "machines", is_name, when=_influx,
        ),
    ]  # fmt: skip


SAID: dict[str, dict[Language, str]] = {
    "welcome": {
        "en": "A few questions; Enter takes what stands in [ ]. Ctrl-C ends, and nothing is written.",
        "vi": "Một vài câu hỏi; Enter nhận giá trị trong [ ]. Ctrl-C để dừng, không ghi gì cả.",
    },
    "try": {"en": "Try now whether it answers? y/N", "vi": "Thử kết nối ngay? y/N"},
    "answers": {"en": "It answers.", "vi": "Có trả lời."},
    "silent": {
        "en": "It does not answer ({reason}). That can be mended later.",
        "vi": "Không trả lời ({reason}). Có thể sửa sau.",
    },
    "again": {"en": "Ask for the address again? y/N", "vi": "Hỏi lại địa chỉ? y/N"},
    "written": {"en": "Written:", "vi": "Đã ghi:"},
    "next": {"en": "Next:", "vi": "Tiếp theo:"},
    "stopped": {"en": "Nothing was written.", "vi": "Không ghi gì cả."},
}
