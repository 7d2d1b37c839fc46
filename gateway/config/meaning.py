"""What the readings of a machine mean by its configuration: a digest of its rules, and when its signals are sent. Pure.

    settings in force ─ without what is as it is anyway, and what only says how a value is fetched ─▶ JSON ─▶ digest

`meta` has both. A scale that changed is a change of meaning that no type, unit or range shows; the digest does. It is the
same after a restart, whatever the order in which things are written, and with a gateway that has new keys nobody has used.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from hashlib import blake2b
from typing import Any

from pydantic import BaseModel

from gateway.config.fields import Percent
from gateway.config.references import STATE_SIGNALS
from gateway.config.settings import MachineSettings, Settings
from gateway.config.signals import SignalSettings
from gateway.model import Signal
from gateway.shared import once_per_object

_FETCHING = frozenset({"poll", "mode", "sampling", "queue", "discard", "update"})
"""How often, and by which way: the value is the same. `update` is that of figures."""
_SAID = frozenset({"description", "semantic"})  # `meta` has them word by word
_SENDING = frozenset({"report", "deadband", "heartbeat"})
_POLL = SignalSettings.model_fields["poll"].default


# --- what is versioned -----------------------------------------------------------------------------------------------


def rules_of(settings: Settings, machine: MachineSettings) -> str:
    """A digest of what is done to the readings of a machine: 16 hexadecimal digits.

    Of its signals (where in the machine they are, too), computed signals, states and figures with their calendar; not of poll
    rates, nor of where the machine is reached.
    """
    parts: dict[str, Any] = {"signals": _signals(machine.signals)}
    for key in ("computed", "state", "kpi"):
        if part := getattr(machine, key):
            parts[key] = _plain(part)
    if machine.kpi is not None:
        name = machine.calendar or settings.site.calendar
        parts["calendar"] = {} if name is None else _plain(settings.calendars[name])
        parts["timezone"] = settings.site.timezone
    return _digest(parts)


@once_per_object  # machines of a profile share theirs
def _signals(signals: Mapping[str, SignalSettings]) -> str:
    return _digest(_plain(signals))


def _digest(parts: Any) -> str:
    return blake2b(json.dumps(parts, sort_keys=True, separators=(",", ":")).encode(), digest_size=8).hexdigest()


def _plain(value: Any) -> Any:
    """For JSON: of a part of the configuration, what is not as it is anyway."""
    if isinstance(value, SignalSettings):
        return dict(_of_signal(value))
    if isinstance(value, BaseModel):
        return {key: _plain(each) for key, each in _written(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, Percent):
        return f"{float(value)}%"
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def _of_signal(s: SignalSettings) -> Iterator[tuple[str, Any]]:
    for key, value in _written(s):
        if key not in _SENDING:
            yield key, _plain(value)
    if s.report != "all":
        yield from (("report", s.report), ("deadband", _plain(s.deadband)), ("heartbeat", s.heartbeat))
    elif "heartbeat" in s.model_fields_set:  # what a server does not repeat is sent again
        yield "heartbeat", s.heartbeat


def _written(part: BaseModel) -> Iterator[tuple[str, Any]]:
    """What is another than it would be if nobody had written it."""
    for key, usual in _usual(type(part)):
        if (value := getattr(part, key)) != usual:
            yield key, value


@cache
def _usual(model: type[BaseModel]) -> tuple[tuple[str, Any], ...]:
    return tuple(
        (key, field.get_default(call_default_factory=True))
        for key, field in model.model_fields.items()
        if key not in _FETCHING | _SAID
    )


# --- when it is sent -------------------------------------------------------------------------------------------------


class _Told(SignalSettings):
    """The state of a machine: it leaves when it changes."""

    @property
    def polled(self) -> bool:
        return False


_STATE = _Told(report="change")


def sending(signal: Signal, machine: MachineSettings) -> dict[str, Any]:
    """How the readings of a signal follow one another, as `meta` has it; what is as usual is left out.

    `report`, `deadband` (in the unit in which it leaves), `max_silence` and `poll` (in seconds), `rollover` (in counts of the
    machine).
    """
    s = _settings_of(signal, machine)
    if s is None:
        return {}
    said: dict[str, Any] = {}
    if s.report != "all":
        said["report"] = s.report
        if (band := _deadband(signal, s)) > 0:
            said["deadband"] = band
    if s.report != "all" or (not s.polled and "heartbeat" in s.model_fields_set):
        said["max_silence"] = s.max_silence
    if s.polled and s.poll != _POLL:
        said["poll"] = s.poll
    if s.kind == "counter" and (width := s.wraps_at):
        said["rollover"] = width if width < 2**63 else float(width)  # JSON of consumers has 64 bits, with a sign
    return said


def _settings_of(signal: Signal, machine: MachineSettings) -> SignalSettings | None:
    """None: every reading is sent, as there is no more to be said of it: figures, deltas, events."""
    if signal.kind == "event":
        return None
    if (found := machine.signals.get(signal.name) or machine.computed.get(signal.name)) is not None:
        return found
    return _STATE if machine.state is not None and signal.name in STATE_SIGNALS else None


def _deadband(signal: Signal, s: SignalSettings) -> float:
    """As the normalizer applies it."""
    if s.deadband is None or signal.type not in ("float", "int"):
        return 0.0
    if isinstance(s.deadband, Percent):
        width = signal.high - signal.low if signal.low is not None and signal.high is not None else 0.0
        return width * s.deadband / 100
    return s.deadband * abs(s.conversion[0])
