"""What can be configured, declared once: the JSON Schema, `gateway config explain` and the checks are made from here.

Adapters extend `ConnectionSettings`, `MachineSettings` and `SignalSettings` with their own keys.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field, ValidationError, field_validator, model_validator
from pydantic_core import InitErrorDetails

from gateway.config.derived import ComputedSettings, Rules, StateSettings
from gateway.config.fields import Duration, Level, Name, Period, Secret, SecretText, Section, Size, mistake
from gateway.config.parameters import ParameterName, Scalar
from gateway.config.production import Calendar, KpiSettings
from gateway.config.signals import Reporting, SignalSettings
from gateway.model import MachinePath


class ConnectionSettings(Section):
    """One link to machines: the adapter's model adds address and protocol settings."""

    protocol: str = Field(description="Which adapter reads it.", examples=["modbus-tcp", "opcua"])
    timeout: Period = Field(1.0, description="How long an answer may take.", examples=["1s"])

    @property
    def endpoint(self) -> str | None:
        """What can have one owner only, for example a serial port; None where links may be as many as one likes."""
        return None

    @property
    def doubts(self) -> Sequence[tuple[str, str]]:
        """What may be meant but should be thought about: a key, and what follows it in a warning."""
        return ()


class MachineSettings(Reporting):
    """One machine behind a connection: the adapter's model adds its signals."""

    connection: Name = Field(description="Name of the connection it is read through.")
    profile: Name | None = Field(
        None,
        description="Signals and quirks of a device model, from profiles/ or those that come along.",
        examples=["eastron-sdm630"],
    )
    parameters: Mapping[ParameterName, Scalar] = Field(
        default_factory=dict,
        description="What the profile leaves open: see `gateway profiles show`.",
        examples=["{axis: 2}"],
    )
    description: str = Field("", max_length=500, description="What the machine is, for people.")
    area: Level | None = Field(None, description="ISA-95 area, instead of the one in `site`.")
    line: Level | None = Field(None, description="ISA-95 line (work centre) it belongs to.", examples=["L1"])
    priority: Literal["low", "normal", "high"] = Field(
        "normal", description="Whose readings go first when the buffer is full: those of `low` before all others."
    )
    signals: Mapping[Name, SignalSettings] = Field(default_factory=dict, description="Its signals by name.")
    computed: Mapping[Name, ComputedSettings] = Field(
        default_factory=dict, description="Signals that are worked out from others, by name."
    )
    state: Annotated[StateSettings | None, Rules] = Field(
        None, description="What it is doing, by rules over its signals; a list is short for `rules:`."
    )
    kpi: KpiSettings | None = Field(None, description="Availability, performance, quality, OEE and energy.")
    calendar: Name | None = Field(
        None, description="Its shifts: one of `calendars`. That of `site`, else the whole day.", examples=["two-shifts"]
    )

    @property
    def derived(self) -> bool:
        """Whether anything is worked out from its signals."""
        deltas = any(signal.delta for signal in self.signals.values())
        return bool(self.computed) or self.state is not None or self.kpi is not None or deltas

    @model_validator(mode="after")
    def _factors(self) -> MachineSettings:
        """`scale_from` names a signal that holds a whole number and is not scaled itself."""
        errors = []
        for name, signal in self.signals.items():
            source = self.signals.get(signal.scale_from or "")
            why = None
            if signal.scale_from is not None and source is None:
                why = mistake(f"this machine has no signal '{signal.scale_from}'", "add it: the factor is read as well")
            elif source is not None and (
                getattr(source, "value_type", None) not in (None, "int") or source.scale_from or source.enum
            ):
                why = mistake(f"'{signal.scale_from}' is no power of ten", "a whole number, not scaled itself")
            elif source is not None and (source.scale is not None or source.offset is not None):
                why = mistake(f"'{signal.scale_from}' is scaled itself", "a power of ten is read as it is")
            if why is not None:
                errors.append(InitErrorDetails(type=why, loc=("signals", name, "scale_from"), input=signal.scale_from))
        if errors:
            raise ValidationError.from_exception_data("scale_from", errors)
        return self

    # Keys of this model that are defaults for those of the same name in each of its signals.
    for_signals: ClassVar[tuple[str, ...]] = tuple(Reporting.model_fields)


class GatewaySettings(Section):
    """This gateway."""

    id: Name = Field(
        default_factory=lambda: _host_name(),
        description="Name of this gateway: part of the identity of every message.",
        examples=["edge-01"],
    )
    data_dir: Path = Field(
        Path("data"),
        description="Where it keeps its files; relative to the configuration.",
        examples=["/var/lib/gateway"],
    )
    clock: Literal["plausible", "synchronized"] = Field(
        "plausible",
        description="When the time of this box is believed: as soon as it can be right, or only once something has "
        "synchronized it (chrony, timesyncd, ntpd). What is read before is kept, and gets its time afterwards.",
    )
    watch: bool = Field(
        False,
        description="Take over the files of the configuration as soon as they have changed. Else they wait for "
        "`gateway reload`.",
    )


class SiteSettings(Section):
    """Where the machines stand, by ISA-95. Levels that are left out do not appear in topics."""

    enterprise: Level | None = Field(None, examples=["acme"], description="ISA-95 enterprise.")
    site: Level | None = Field(None, examples=["hanoi"], description="ISA-95 site.")
    area: Level | None = Field(None, examples=["moulding"], description="ISA-95 area.")
    line: Level | None = Field(None, examples=["L1"], description="ISA-95 line, where all machines are on one.")
    timezone: str = Field(
        "UTC", examples=["Asia/Ho_Chi_Minh"], description="IANA time zone of the plant. Stamps are UTC always."
    )
    calendar: Name | None = Field(
        None, description="Shifts of all machines that name none: one of `calendars`.", examples=["two-shifts"]
    )

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (KeyError, ValueError, OSError) as exc:
            raise mistake(f"'{value[:60]}' is not a time zone", "an IANA name such as Asia/Ho_Chi_Minh or UTC") from exc
        return value

    def path_of(self, machine: str, settings: MachineSettings) -> MachinePath:
        """The place of a machine in the plant."""
        area, line = settings.area or self.area, settings.line or self.line
        return MachinePath(machine, self.enterprise or "", self.site or "", area or "", line or "")


class Defaults(Reporting):
    """What holds for all connections and machines that do not say otherwise."""

    timeout: Period = Field(1.0, description="How long an answer may take.", examples=["1s"])


def _check_url(value: str, schemes: Mapping[str, int | None], example: str) -> str:
    parts = urlsplit(value)
    try:
        host, port = parts.hostname, parts.port
    except ValueError as exc:
        raise mistake(f"'{value}' has no valid port", f"for example {example}") from exc
    if parts.scheme not in schemes or not host:
        raise mistake(
            f"'{value}' is not an address we know", f"{' or '.join(f'{s}://' for s in schemes)}, for example {example}"
        )
    if port == 0:
        raise mistake("port 0 cannot be connected to", f"for example {example}")
    if parts.username or parts.password:
        raise mistake("no user or password in an address", "use the keys `user` and `password`")
    return value


def _root(value: str) -> str:
    if not re.fullmatch(r"[^/+#\x00\s$][^/+#\x00]*(/[^/+#\x00]+)*", value):
        raise mistake(
            f"{value!r} cannot begin a topic", "levels divided by /, without + # and blanks, for example shopfloor/v1"
        )
    return value


class MqttSettings(Section):
    """The broker."""

    url: Annotated[
        str, AfterValidator(lambda v: _check_url(v, {"mqtt": 1883, "mqtts": 8883}, "mqtts://broker.lan:8883"))
    ] = Field(
        "mqtt://127.0.0.1:1883",
        description="mqtt:// or, with TLS, mqtts://.",
        examples=["mqtts://broker.acme.lan:8883"],
    )
    user: str | None = Field(None, description="User name at the broker.")
    password: SecretText | None = Field(None, description="Its password.")
    ca: Path | None = Field(
        None,
        description="CA certificate(s) the broker is verified with; the system's where it is left out.",
        examples=["ca.pem"],
    )
    cert: Path | None = Field(None, description="Our client certificate, where the broker asks for one.")
    key: Path | None = Field(None, description="Its private key.")
    root: Annotated[str, AfterValidator(_root)] = Field("shopfloor/v1", description="First levels of every topic.")
    format: Literal["json"] = Field("json", description="Format of `data`.")
    delivery: Literal["store", "broker"] | None = Field(
        None,
        description="Whose acknowledgement frees the buffer. `store` where the configuration has a store, else `broker`.",
    )
    window: int = Field(
        50, ge=1, le=100, description="Messages that may wait for the broker's acknowledgement at a time."
    )
    backlog_rate: Size | None = Field(
        None,
        ge=1024,
        description="Bytes per second at the most for what has waited, on a poor link; what is new is not limited.",
        examples=["32KiB"],
    )
    hold_unheard: bool = Field(
        True,
        description="Keep what nobody subscribes to, until somebody does. With `false` a message counts as delivered "
        "although the broker had nobody to give it to.",
    )
    keepalive: Duration = Field(
        30.0, ge=1, le=3600, description="Silence after which the broker is asked for a sign of life.", examples=["30s"]
    )

    @property
    def tls(self) -> bool:
        return self.url.startswith("mqtts:")

    @property
    def host(self) -> str:
        return urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        return urlsplit(self.url).port or (8883 if self.tls else 1883)

    @model_validator(mode="after")
    def _fits(self) -> MqttSettings:
        if (self.cert is None) != (self.key is None):
            raise mistake("a client certificate needs both `cert` and `key`", key="cert" if self.cert else "key")
        if self.ca and not self.tls:
            raise mistake("`ca` needs TLS", f"write the address as {self.url.replace('mqtt:', 'mqtts:')}", "ca")
        if self.password and not self.user:
            raise mistake("a password without a user", "add `user:`", "password")
        return self


class BufferSettings(Section):
    """Where readings wait until the store has them."""

    max_size: Size = Field(2 * 2**30, ge=2**20, description="What it may take of the disk at most.", examples=["2GiB"])
    max_age: Duration = Field(
        14 * 86400.0,
        ge=60,
        description="What has waited longer is dropped, with a loss record. Only time in which the gateway runs counts.",
        examples=["14d"],
    )
    when_full: Literal["drop-oldest", "stop-polling", "thin"] = Field(
        "drop-oldest",
        description="What happens when it is full. `drop-oldest`: the oldest readings go, those of machines with a low "
        "`priority` first. `stop-polling`: machines are not read until there is room. `thin`: of the oldest readings one "
        "per signal and `thin_interval` stays; counters, states and text are never thinned. Every loss is recorded.",
    )
    thin_interval: Duration = Field(
        60.0, ge=1, description="`thin`: the time of which one value stays.", examples=["1min"]
    )
    min_free: Size = Field(
        64 * 2**20, ge=0, description="What is left of the disk for others, however large the buffer may be."
    )
    commit_interval: Period = Field(1.0, description="How long a reading may wait for the disk.", examples=["1s"])


class StoreSettings(Section):
    """The time-series store: the embedded historian, or InfluxDB and what speaks its protocol."""

    kind: Literal["historian", "influx"] = Field(
        description="`historian` is built in; `influx` is a data base of your own."
    )
    writer: Name | None = Field(
        None, description="Name of this writer; the gateway id, or the host name for `gateway store`."
    )
    share: Name | None = Field(
        None, description="Writers with the same share divide the messages among them (MQTT shared subscription)."
    )
    retention: Duration | None = Field(
        None, ge=3600, description="historian: how long readings are kept.", examples=["30d"]
    )
    path: Path | None = Field(
        None, description="historian: its file; historian.sqlite in data_dir where it is left out."
    )
    api: Literal["v2", "v1"] | None = Field(None, description="influx: found out where it is left out.")
    url: (
        Annotated[str, AfterValidator(lambda v: _check_url(v, {"http": 80, "https": 443}, "http://127.0.0.1:8086"))]
        | None
    ) = Field(None, description="influx: address of the data base.", examples=["http://127.0.0.1:8086"])
    ca: Path | None = Field(None, description="influx: CA certificate(s) an https:// address is verified with.")
    org: str | None = Field(None, description="influx v2: organisation.")
    bucket: str | None = Field(None, description="influx v2: bucket.")
    token: SecretText | None = Field(None, description="influx v2: token.")
    database: str | None = Field(None, description="influx v1: data base.")
    user: str | None = Field(None, description="influx v1: user.")
    password: SecretText | None = Field(None, description="influx v1: its password.")
    resend_after_outage: Duration | None = Field(
        None,
        ge=0,
        description="influx: seconds for which the store may lose what it took, if it is killed. What it has is "
        "acknowledged that much later, and written again after it was away. 15 s for VictoriaMetrics, else 0.",
        examples=["15s"],
    )
    measurement: Name = Field("machine", description="influx: measurement the readings are written to.")

    _of_kind: ClassVar[dict[str, tuple[str, ...]]] = {
        "historian": ("retention", "path"),
        "influx": (
            "api",
            "url",
            "ca",
            "org",
            "bucket",
            "token",
            "database",
            "user",
            "password",
            "measurement",
            "resend_after_outage",
        ),
    }

    @model_validator(mode="after")
    def _fits(self) -> StoreSettings:
        other = "influx" if self.kind == "historian" else "historian"
        for key in self._of_kind[other]:
            if key in self.model_fields_set:
                raise mistake(f"'{key}' belongs to kind: {other}, this store is kind: {self.kind}", key=key)
        if self.kind == "influx":
            if self.url is None:
                raise mistake("an influx store needs its address", "add `url: http://127.0.0.1:8086`", "url")
            if self.bucket is None and self.database is None:
                raise mistake("an influx store needs `bucket` (v2) or `database` (v1)", "add one of them", "bucket")
            if self.api == "v2" and self.bucket is None:
                raise mistake("api v2 needs a bucket", "add `bucket:`", "bucket")
            if self.api == "v1" and self.database is None:
                raise mistake("api v1 needs a data base", "add `database:`", "database")
        return self


WebRole = Literal["viewer", "engineer"]


class WebSettings(Section):
    """The status page, and who may open it: see gateway/web/README.md."""

    listen: str = Field(
        "127.0.0.1:8080",
        description="Address and port. Only this machine can reach a loopback address; any other one is served with TLS, "
        "and to nobody without a login.",
        examples=["0.0.0.0:8443"],
    )
    login: Literal["loopback-free", "required"] = Field(
        "loopback-free",
        description="`loopback-free`: no login on a loopback address, where everybody who can reach it is engineer. "
        "`required`: a login (or a client certificate) everywhere; has to be written for any other address.",
    )
    cert: Path | None = Field(
        None,
        description="Certificate (PEM, with the chain) the page is served with. Left out, one is made for any address "
        "that is not loopback, in data_dir; `gateway web certificate` shows its fingerprint.",
        examples=["page.pem"],
    )
    key: Path | None = Field(None, description="Its private key.", examples=["page.key"])
    client_ca: Path | None = Field(
        None,
        description="CA certificate(s): whoever has a certificate signed by it is let in without a password, as viewer "
        "where `certificates` does not say otherwise.",
        examples=["plant-ca.pem"],
    )
    certificates: Mapping[str, WebRole] = Field(
        default_factory=dict,
        description="The role of a client certificate, by its common name.",
        examples=["{maintenance-laptop: engineer}"],
    )
    hosts: Sequence[str] = Field(
        default_factory=tuple,
        max_length=50,
        description="Further names and addresses the page answers to, as they stand in a browser, without a port. "
        "The name of this machine and the address that was reached count always.",
        examples=["[edge-01.lan, 10.20.0.5]"],
    )
    session: Duration = Field(
        12 * 3600.0,
        ge=300,
        le=30 * 86400,
        description="After so long everybody logs in anew; after an hour without a page open, too.",
        examples=["12h"],
    )
    metrics_token: SecretText | None = Field(
        None,
        description="Whoever shows it (`Authorization: Bearer …`) may read /metrics and /readyz without a login.",
        examples=["{secret: metrics_token}"],
    )

    @field_validator("listen")
    @classmethod
    def _address(cls, value: str) -> str:
        host, _, port = value.rpartition(":")
        if not port.isascii() or not port.isdigit() or int(port) > 65535 or not host:
            raise mistake(f"'{value}' is not an address with a port", "for example 127.0.0.1:8080")
        bare = host.strip("[]")
        try:
            wants_brackets = host != "localhost" and ip_address(bare).version == 6
        except ValueError as exc:
            raise mistake(
                f"'{host}' is not an address of this machine",
                f"for example 127.0.0.1:{port}, or 0.0.0.0:{port} for all",
            ) from exc
        if wants_brackets != host.startswith("["):
            raise mistake(f"'{value}' is not an address with a port", f"write {_bracketed(bare)}:{port}")
        return value

    @field_validator("hosts")
    @classmethod
    def _names(cls, value: Sequence[str]) -> Sequence[str]:
        for name in value:
            if not re.fullmatch(r"[A-Za-z0-9_.-]{1,253}|\[?[0-9a-fA-F:.]{2,45}\]?", name):
                raise mistake(f"'{name[:100]}' is not a name or an address", "without https:// and port: edge-01.lan")
        return value

    @field_validator("metrics_token")
    @classmethod
    def _long(cls, value: Secret | None) -> Secret | None:
        if value is not None and not re.fullmatch(r"[\x21-\x7e]{16,512}", value.value):
            raise mistake("this token can be guessed", "16 characters at least, no blanks: openssl rand -hex 24")
        return value

    @model_validator(mode="after")
    def _fits(self) -> WebSettings:
        if (self.cert is None) != (self.key is None):
            raise mistake("a certificate needs both `cert` and `key`", key="cert" if self.cert else "key")
        if not self.loopback and self.login != "required":
            raise mistake(
                f"whoever reaches {self.host} could change this gateway: the page needs TLS and a login there",
                "add `login: required`; the certificate is made unless `cert` and `key` name one. "
                f"Or listen on 127.0.0.1:{self.port} and use an SSH tunnel: ssh -L {self.port}:127.0.0.1:{self.port} …",
                "listen",
            )
        if self.client_ca and self.loopback and not self.cert:
            raise mistake("client certificates need TLS", "add `cert` and `key`", "client_ca")
        if self.certificates and not self.client_ca:
            raise mistake("nobody could show these", "add `client_ca`", "certificates")
        if self.hosts and self.loopback and self.login != "required":
            raise mistake(
                "with a name of its own the page is reached from elsewhere, and everybody would be engineer",
                "add `login: required`",
                "hosts",
            )
        return self

    @property
    def host(self) -> str:
        return self.listen.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        return int(self.listen.rpartition(":")[2])

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach the page."""
        return self.host == "localhost" or ip_address(self.host).is_loopback

    @property
    def tls(self) -> bool:
        return self.cert is not None or not self.loopback


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


class Settings(Section):
    """The whole of a configuration. Connections and machines are checked by the model of their protocol."""

    version: Literal[1] = Field(1, description="Version of this format.")
    gateway: GatewaySettings = Field(default_factory=GatewaySettings)
    site: SiteSettings = Field(default_factory=SiteSettings)
    defaults: Defaults = Field(default_factory=Defaults)
    connections: dict[Name, dict[str, Any]] = Field(default_factory=dict, description="Links to machines, by name.")
    machines: dict[Level, dict[str, Any]] = Field(default_factory=dict, description="Machines, by name.")
    calendars: dict[Name, Calendar] = Field(default_factory=dict, description="Shifts, breaks and holidays, by name.")
    mqtt: MqttSettings = Field(default_factory=MqttSettings)
    buffer: BufferSettings = Field(default_factory=BufferSettings)
    store: StoreSettings | None = Field(None)
    web: WebSettings | None = Field(None, description="The status page; no page where this is left out.")

    @property
    def delivery(self) -> Literal["store", "broker"]:
        """Whose acknowledgement frees the buffer."""
        return self.mqtt.delivery or ("store" if self.store else "broker")


def _host_name() -> str:
    """The name of this machine, as far as it can be a name here."""
    return re.sub(r"[^A-Za-z0-9_.-]", "-", socket.gethostname())[:128] or "gateway"
