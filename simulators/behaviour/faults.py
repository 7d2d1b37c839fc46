"""Which fault of a scenario happens where, checked against the configuration; and what it does to the values.

A fault without a name happens wherever it can; one that is named has to be possible there.
"""

from __future__ import annotations

import importlib
import math
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import NamedTuple, Protocol, cast

from gateway.config import Configuration, ConnectionSettings, MachineSettings, SignalSettings
from gateway.config.explain import did_you_mean, shown
from gateway.config.yaml_file import Node
from gateway.errors import ConfigError
from gateway.model import Value
from simulators.behaviour.fault_settings import FAULTS, FaultSettings, Reboot
from simulators.behaviour.guess import ENERGIES
from simulators.behaviour.happenings import Fault, Happenings, Moments
from simulators.behaviour.waves import Wave
from simulators.behaviour.written import at, comes_along, mistake_at, validated

CheckValue = Callable[[Value, SignalSettings], tuple[str, str] | None]
"""What is wrong with a value of a signal, and what to do."""


class _Family(Protocol):
    """What the package of a protocol tells."""

    def possible_faults(self, connection: ConnectionSettings) -> Collection[str]:
        """The kinds there can be on such a connection."""


class Meant(NamedTuple):
    """An entry of the scenario, and where it happens."""

    place: int  # among the entries
    settings: FaultSettings
    machines: Sequence[str]

    @property
    def moments(self) -> Moments | None:
        """None where it comes with any request."""
        settings = self.settings
        if settings.at is None:
            return None
        lasting = settings.lasting if settings.lasting is not None else settings.without_for
        assert lasting is not None
        return Moments(settings.at, lasting, settings.every or math.inf)


@dataclass(slots=True)
class Reading:
    """Reads the faults of a scenario. What is wrong is put into `errors`; or into `notes`, where it may not fit."""

    configuration: Configuration
    tree: Node
    check: CheckValue
    errors: list[ConfigError] = field(default_factory=list)
    notes: dict[str, str] = field(default_factory=dict)  # place -> what is left out there, and why

    def all(self) -> list[Meant]:
        listed = at(self.tree, ("faults",))
        count = len(listed.value) if listed is not None and isinstance(listed.value, list) else 0
        return [meant for i in range(count) if (meant := self._one(i))]

    def _one(self, place: int) -> Meant | None:
        where = "faults", place
        node = at(self.tree, where)
        assert node is not None
        kind = node.get("fault")
        if kind is None or not isinstance(kind.value, str) or kind.value not in FAULTS:
            said = kind.plain() if kind else ""
            message = f"{shown(said)} is not the name of a fault" if kind else "'fault' is missing"
            if isinstance(said, str) and said:
                message = f"the fault '{said}' is not known"
            hint = did_you_mean(str(said), FAULTS)
            self.errors.append(mistake_at(self.tree, (*where, "fault"), message, hint))
            return None
        settings = validated(FAULTS[kind.value], node, where, self.errors)
        if settings is None:
            return None
        before = len(self.errors), len(self.notes)
        machines = self._machines(place, settings)
        if machines is None:
            return None
        for key, name, value in _signals(settings):
            self._check_signal(place, key, name, value, machines)
        fits = before == (len(self.errors), len(self.notes)) or (before[0] == len(self.errors) and _in_part(settings))
        return Meant(place, settings, machines) if fits else None

    def _machines(self, place: int, settings: FaultSettings) -> list[str] | None:
        """The machines it happens to; None where there are none."""
        machines = self.configuration.machines
        for key, name, known in (
            ("connection", settings.connection, self.configuration.connections),
            ("machine", settings.machine, machines),
        ):
            if name is not None and name not in known:
                self._wrong(place, key, f"the configuration has no {key} '{name}'", did_you_mean(name, known))
                return None
        meant = [
            name
            for name, machine in machines.items()
            if settings.machine in (None, name) and settings.connection in (None, machine.connection)
        ]
        possible = [name for name in meant if settings.fault in self._possible(machines[name].connection)]
        if possible:
            return possible
        if settings.connection and not meant:
            self._wrong(place, "connection", f"there is no machine behind '{settings.connection}'")
            return None
        named = settings.connection or (settings.machine and machines[settings.machine].connection)
        if named:
            protocol = self.configuration.connections[named].protocol
            message = f"{named} is {protocol}, and has no fault '{settings.fault}'"
            hint = f"it can have {', '.join(sorted(self._possible(named))) or 'none'}"
            self._wrong(place, "fault", message, hint)
        else:
            self._wrong(place, "fault", f"no connection here can have the fault '{settings.fault}'")
        return None

    def _possible(self, connection: str) -> Collection[str]:
        settings = self.configuration.connections[connection]
        family = f"simulators.{settings.protocol.partition('-')[0]}"
        try:
            return cast("_Family", importlib.import_module(family)).possible_faults(settings)
        except ModuleNotFoundError as exc:
            if exc.name != family:
                raise
            return ()

    def _check_signal(
        self, place: int, path: tuple[str | int, ...], name: str, value: Value, machines: Sequence[str]
    ) -> None:
        found = [
            self.configuration.machines[machine].signals[signal]
            for machine, signal in signals_of(name, self.configuration.machines, machines)
        ]
        if not found:
            machine, _, signal = name.rpartition("/")
            known = {s for m in machines if machine in ("", m) for s in self.configuration.machines[m].signals}
            self._wrong(place, path, f"no machine that is meant has a signal '{name}'", did_you_mean(signal, known))
        elif value is not None and (wrong := self.check(value, found[0])):
            self._wrong(place, path, *wrong)

    def _wrong(self, place: int, key: str | tuple[str | int, ...], message: str, hint: str = "") -> None:
        path = (key,) if isinstance(key, str) else key
        if comes_along(self.tree, ("faults", place)):
            self.notes[f"faults.{place}"] = message
        else:
            self.errors.append(mistake_at(self.tree, ("faults", place, *path), message, hint))


def signals_of(
    name: str, settings: Mapping[str, MachineSettings], machines: Collection[str]
) -> Iterator[tuple[str, str]]:
    """The signals that are meant by `signal` or `machine/signal` among these machines."""
    machine, _, signal = name.rpartition("/")
    for each in machines:
        if machine in ("", each) and signal in settings[each].signals:
            yield each, signal


def happenings(
    name: str,
    meant: Sequence[Meant],
    served: Mapping[str, Collection[str]],
    seed: int,
    happened: Counter[str],
    report: Callable[[str, str], None],
) -> Happenings | None:
    """The faults of one server; None where it has none. `served`: its connections, with their machines."""
    behind = {machine for machines in served.values() for machine in machines}
    faults: list[Fault] = []
    for each in meant:
        machines = frozenset(each.machines) & behind
        if machines:
            # The same seed and the same requests make the same faults, whatever else stands in the scenario.
            dice = Random(f"{seed}/{each.place}/{name}")
            faults.append(Fault(each.settings, each.moments, None if machines == behind else machines, dice))
    return Happenings(name, faults, happened, report) if faults else None


# --- what a reboot does to the values -----------------------------------------------------------------------------------


def rebooted(
    machine: str, settings: MachineSettings, waves: Mapping[str, Wave], meant: Sequence[Meant]
) -> Mapping[str, Wave]:
    """The waves of a machine with all that its reboots do to them."""
    moments: dict[str, list[Moments]] = {}  # of the reboots, by the signal that is reset
    changed = dict(waves)
    ours = [each for each in meant if isinstance(each.settings, Reboot) and machine in each.machines]
    for each in ours:
        names = cast("Reboot", each.settings).resets
        counters = [name for name, signal in settings.signals.items() if _is_volatile(signal)]
        for signal in counters if names is None else _own(machine, settings, names):
            moments.setdefault(signal, []).append(cast("Moments", each.moments))
    for signal, those in moments.items():
        changed[signal] = _reset(changed[signal], those)
    for each in ours:
        for name, value in cast("Reboot", each.settings).sets.items():
            for signal in _own(machine, settings, [name]):
                changed[signal] = _set(changed[signal], value, cast("Moments", each.moments))
    return changed


def _own(machine: str, settings: MachineSettings, names: Sequence[str]) -> list[str]:
    return [signal for name in names for _, signal in signals_of(name, {machine: settings}, (machine,))]


def _is_volatile(signal: SignalSettings) -> bool:
    """A count in the memory of a PLC; what a meter has counted stands in one that keeps it."""
    return signal.kind == "counter" and signal.unit not in ENERGIES


def _reset(wave: Wave, moments: Sequence[Moments]) -> Wave:
    def counted(t: float) -> Value:
        ends = [end for each in moments if (end := each.last_end(t)) is not None]
        value = wave(t)
        if not ends or isinstance(value, str) or value is None:
            return value
        return value - cast("float", wave(max(ends)))

    return counted


def _set(wave: Wave, value: Value, moments: Moments) -> Wave:
    return lambda t: wave(t) if moments.last_end(t) is None else value


def _in_part(settings: FaultSettings) -> bool:
    """Whether it is still the same without some of the signals that it names."""
    return isinstance(settings, Reboot)


def _signals(settings: FaultSettings) -> Iterator[tuple[tuple[str | int, ...], str, Value]]:
    """The signals it names, where, and the value it gives them."""
    for key in ("signals", "resets"):
        for i, name in enumerate(getattr(settings, key, None) or ()):
            yield (key, i), name, None
    for name, value in getattr(settings, "sets", {}).items():
        yield ("sets", name), name, value
