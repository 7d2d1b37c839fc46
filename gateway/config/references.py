"""What is worked out from other signals: that those exist, fit, and do not go round in a circle.

Signals of a machine, by name:

    its own (`signals`)          as its adapter reads them
    NAME_delta                   of a counter with `delta: true`
    computed                     by expressions over all others
    state, state_reason …        by the rules of `state`
    shift.oee, hour.energy …     by `kpi`
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import get_args

from gateway.config.derived import ItemState, OperationMode, PackmlState
from gateway.config.explain import did_you_mean
from gateway.config.production import WORDS, KpiSettings
from gateway.config.settings import MachineSettings
from gateway.config.signals import FROM_SERVER, SignalSettings
from gateway.config.yaml_file import Node
from gateway.errors import ConfigError
from gateway.expressions import ExpressionError, Kind, Reference, parse
from gateway.model import ValueType
from gateway.units import UnitError, conversion
from gateway.units import parse as unit_of

_TEXT = Kind("string", None, None)
STATE_SIGNALS: Mapping[str, Kind] = {
    "state": Kind("string", None, frozenset(WORDS)),
    "state_reason": _TEXT,
    "item_state": Kind("string", None, frozenset(get_args(ItemState))),
    "operation_mode": Kind("string", None, frozenset(get_args(OperationMode))),
    "packml_state": Kind("string", None, frozenset(get_args(PackmlState))),
    "ended_state": Kind("string", None, frozenset(WORDS)),
    "ended_state_reason": _TEXT,
    "ended_state_duration": Kind("float", unit_of("s"), None),
}
"""What the rules of `state` make; the last three are an event each time a state ends."""
DELTA = "_delta"

Path = tuple[str | int, ...]
Place = tuple[str, str]
"""Machine and signal."""


def kind_of(s: SignalSettings) -> Kind:
    """What a signal is when it leaves, as far as its settings tell; an OPC UA server may have to be asked first."""
    if s.enum is not None:
        return Kind("string", None, frozenset(s.enum.values()) if s.enum else None)
    type_: ValueType | None = getattr(s, "value_type", None) or getattr(s, "type", None)
    if type_ == "int" and s.is_scaled:
        type_ = "float"
    code = s.store_as or s.unit
    return Kind(type_, unit_of(code) if code and code != FROM_SERVER else None, None)


def signals_of(settings: MachineSettings) -> Iterator[str]:
    """The names of all that leaves of a machine, but for its figures."""
    yield from (*settings.signals, *settings.computed)
    yield from (f"{signal}{DELTA}" for signal, s in settings.signals.items() if s.delta)
    if settings.state is not None:
        yield from STATE_SIGNALS


def source_of(settings: MachineSettings, signal: str) -> str | None:
    """The key of the machine that a signal comes from; None where it has no such signal."""
    for section in ("signals", "computed"):
        if signal in getattr(settings, section):
            return section
    if settings.state is not None and signal in STATE_SIGNALS:
        return "state"
    if kpi_name(settings.kpi, signal):
        return "kpi"
    return "delta" if signal in set(signals_of(settings)) else None


def kpi_name(kpi: KpiSettings | None, signal: str) -> bool:
    """Whether a name is that of one of its figures."""
    return kpi is not None and signal.partition(".")[0] in kpi.intervals and "." in signal


@dataclass(slots=True)
class Checker:
    """Of all machines of a configuration. `nodes`: those in which something is worked out."""

    machines: Mapping[str, MachineSettings]
    nodes: Mapping[str, Node]
    errors: list[ConfigError] = field(default_factory=list)
    _kinds: dict[Place, Kind | None] = field(default_factory=dict)  # of computed signals; None: being worked out
    _circles: set[Place] = field(default_factory=set)

    def run(self) -> list[ConfigError]:
        """Every mistake."""
        for name, node in self.nodes.items():
            machine = self.machines[name]
            self._names(name, machine)
            for signal in machine.computed:
                self._computed((name, signal))
            if machine.state is not None:
                self._rules(name, node, machine)
            if machine.kpi is not None:
                self._figures(name, machine.kpi)
        for name in self.nodes:
            if self.machines[name].state is not None:
                self._state_circle(name)
        return self.errors

    def _error(self, machine: str, path: Path, message: str, hint: str = "", *, key: bool = False) -> None:
        mark = self.nodes[machine].find(path, key=key)
        self.errors.append(mark.error(message, hint, ".".join(map(str, ("machines", machine, *path)))))

    def _names(self, name: str, machine: MachineSettings) -> None:
        """Every signal has a name of its own."""
        made: dict[str, Path] = {
            f"{signal}{DELTA}": ("signals", signal, "delta") for signal, s in machine.signals.items() if s.delta
        }
        if machine.state is not None:
            made |= dict.fromkeys(STATE_SIGNALS, ("state",))
        names = [("signals", signal) for signal in machine.signals] + [
            ("computed", signal) for signal in machine.computed
        ]
        for section, signal in names:
            if signal in made or (section == "computed" and signal in machine.signals):
                what = f"by `{made[signal][-1]}`" if signal in made else "as one of its `signals`"
                self._error(
                    name, (section, signal), f"this machine has a '{signal}' already, {what}", "rename it", key=True
                )
            elif kpi_name(machine.kpi, signal):
                self._error(name, (section, signal), f"'{signal}' is a name of `kpi`", "rename it", key=True)

    # --- what expressions look at ------------------------------------------------------------------------------------

    def _look_up(self, machine: str, reference: Reference) -> Kind | None:
        """The kind of a signal; None where there is none."""
        name = reference.machine or machine
        if name not in self.machines:
            return None
        settings, signal = self.machines[name], reference.signal
        if signal in settings.signals:
            return kind_of(settings.signals[signal])
        if signal in settings.computed:
            return self._computed((name, signal))
        if settings.state is not None and signal in STATE_SIGNALS:
            return STATE_SIGNALS[signal]
        counter = settings.signals.get(signal.removesuffix(DELTA))
        if signal.endswith(DELTA) and counter is not None and counter.delta:
            return kind_of(counter)
        return Kind("float", None, None) if kpi_name(settings.kpi, signal) else None

    def _known(self, machine: str, text: str) -> list[str]:
        """Names to choose from: of this machine, and of those that the text names."""
        others = {r.machine for r in parse(text).references if r.machine in self.machines}
        names = list(signals_of(self.machines[machine]))
        names += [f"{other}/{signal}" for other in others for signal in signals_of(self.machines[other])]
        # Who forgets the quotes means one of the texts.
        names += [f"'{text}'" for s in self.machines[machine].signals.values() for text in (s.enum or {}).values()]
        return names + [f"{other}/…" for other in self.machines if other not in others]

    def _check(self, machine: str, path: Path, text: str) -> Kind:
        """What an expression yields; after a mistake anything."""
        try:
            return parse(text).check(self._within(machine), self._known(machine, text))
        except ExpressionError as exc:
            mark = self.nodes[machine].find(path).within(text, exc.start, exc.end)
            self.errors.append(mark.error(exc.message, exc.hint, ".".join(map(str, ("machines", machine, *path)))))
            return Kind(None, None, None)

    def _within(self, machine: str) -> Callable[[Reference], Kind | None]:
        return lambda reference: self._look_up(machine, reference)

    def _computed(self, place: Place) -> Kind:
        """The kind of a computed signal, checked once. One that is made from itself is a mistake."""
        if place in self._kinds:
            found = self._kinds[place]
            if found is None and place not in self._circles:
                self._circles.add(place)
                message = f"'{place[1]}' is worked out from itself"
                self._error(place[0], ("computed", place[1], "value"), message, "take one of them out of the circle")
            return found or Kind(None, None, None)
        self._kinds[place] = None
        machine, signal = place
        if machine not in self.nodes:
            self._kinds[place] = Kind(None, None, None)  # it was found wrong before
            return Kind(None, None, None)
        settings = self.machines[machine].computed[signal]
        found = self._check(machine, ("computed", signal, "value"), settings.value)
        if settings.unit:
            unit = unit_of(settings.unit)
            try:
                if found.unit is not None:
                    conversion(found.unit, unit)
            except UnitError as exc:
                self._error(machine, ("computed", signal, "unit"), exc.message, "leave it out: it follows from `value`")
            found = Kind(found.type, unit, found.states)
        if settings.store_as:
            found = Kind("float", unit_of(settings.store_as), found.states)
        if settings.kind == "counter" and found.type in ("bool", "string"):
            self._error(machine, ("computed", signal, "kind"), f"a {found.type} cannot be a counter", "remove `kind`")
        self._kinds[place] = found
        return found

    # --- states and figures ------------------------------------------------------------------------------------------

    def _rules(self, name: str, node: Node, machine: MachineSettings) -> None:
        assert machine.state is not None
        given = node.get("state")
        prefix: Path = ("state", "rules") if given is not None and given.is_mapping else ("state",)
        for i, rule in enumerate(machine.state.rules):
            path = (*prefix, i)
            found = self._check(name, (*path, "when"), rule.when)
            if found.type not in ("bool", None):
                hint = "compare it with something: speed > 0" if found.type in ("int", "float") else "mode == 'auto'"
                self._error(name, (*path, "when"), "a condition is true or false, and this is a number or text", hint)
            if any(r.signal in STATE_SIGNALS and r.machine in ("", name) for r in parse(rule.when).references):
                message = "a rule cannot look at the state that it decides"
                self._error(name, (*path, "when"), message, "look at what the machine says")
            if rule.reason_from is not None and rule.reason_from not in machine.signals:
                hint = did_you_mean(rule.reason_from, machine.signals)
                self._error(name, (*path, "reason_from"), f"{name} has no signal '{rule.reason_from}'", hint)

    def _state_circle(self, name: str) -> None:
        """A state that follows from itself, by way of computed signals or of other machines, would never come to rest."""
        start = (name, "state")
        ahead = [place for place in self._looked_at(start) if place != start]  # a rule that looks at it is told already
        seen = set(ahead)
        while ahead:
            for place in self._looked_at(ahead.pop()):
                if place == start:
                    message = f"the state of {name} follows from itself, by way of what its rules look at"
                    self._error(name, ("state",), message, "take one of them out of the circle", key=True)
                    return
                if place not in seen:
                    seen.add(place)
                    ahead.append(place)

    def _looked_at(self, place: Place) -> Iterator[Place]:
        """What a state or a computed signal is made from: all signals of `state` count as one."""
        machine, signal = place
        settings = self.machines.get(machine)
        if settings is None:
            return
        texts = [settings.computed[signal].value] if signal in settings.computed else []
        if signal == "state" and settings.state is not None:
            texts = [rule.when for rule in settings.state.rules]
        for reference in (r for text in texts for r in parse(text).references):
            other = self.machines.get(reference.machine or machine)
            of_state = other is not None and other.state is not None and reference.signal in STATE_SIGNALS
            yield reference.machine or machine, "state" if of_state else reference.signal

    def _figures(self, name: str, kpi: KpiSettings) -> None:
        machine = self.machines[name]
        for key in ("good", "reject", "total"):
            if (signal := getattr(kpi, key)) is not None:
                self._counter(name, ("kpi", key), signal)
        if kpi.energy is not None and kpi.energy.counter is not None:
            self._counter(name, ("kpi", "energy", "counter"), kpi.energy.counter, "kW.h")
        if kpi.energy is not None and kpi.energy.power is not None:
            self._quantity(name, ("kpi", "energy", "power"), kpi.energy.power, "kW")
        if machine.state is None:
            message = "figures need to know what the machine is doing"
            self._error(name, ("kpi",), message, "add `state:` with its rules", key=True)

    def _reference(self, name: str, path: Path, text: str) -> tuple[str, str] | None:
        machine, _, signal = text.rpartition("/")
        machine = machine or name
        if self._look_up(name, Reference(machine, signal, 0, 0)) is None:
            known = list(signals_of(self.machines[machine])) if machine in self.machines else list(self.machines)
            what = (
                f"{machine} has no signal '{signal}'"
                if machine in self.machines
                else f"there is no machine '{machine}'"
            )
            self._error(name, path, what, did_you_mean(signal if machine in self.machines else machine, known))
            return None
        return machine, signal

    def _counter(self, name: str, path: Path, text: str, unit: str = "") -> None:
        """A total that never falls: a computed one has to say so as well."""
        if (found := self._reference(name, path, text)) is None:
            return
        settings = self.machines[found[0]]
        of = settings.signals.get(found[1]) or settings.computed.get(found[1])
        if of is None or of.kind != "counter":
            hint = f"add `kind: counter` to {text}, so that nothing is counted twice when it is reset"
            self._error(name, path, f"'{text}' is not a counter", hint)
        if unit:
            self._quantity(name, path, text, unit)

    def _quantity(self, name: str, path: Path, text: str, unit: str) -> None:
        if (found := self._reference(name, path, text)) is None:
            return
        kind = self._look_up(name, Reference(*found, 0, 0))
        if kind is None or kind.unit is None:
            self._error(name, path, f"'{text}' has no unit", f"add `unit:` to it, for example {unit}")
            return
        try:
            conversion(kind.unit, unit_of(unit))
        except UnitError as exc:
            self._error(name, path, exc.message, f"a signal in {unit} or what can be converted to it")
