"""A scenario: which wave each signal has. Signals it does not name get a likely one.

machines:
  press-07:
    cycle: 12s                                # the period of every wave that has none of its own
    stops: {every: 10min, lasting: 40s}       # meanwhile those waves stand still
    signals:
      melt_temp: {wave: sine, mean: 210, amplitude: 4, period: 90s, noise: 0.3}
      mode: {wave: stop, running: auto, stopped: manual}
      program: BRACKET-12                     # a plain value is a constant
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar, cast

from pydantic import Field, ValidationError, model_validator

from gateway.config import Configuration, MachineSettings, SignalSettings
from gateway.config.explain import did_you_mean, explain
from gateway.config.fields import Name, Period, Section, mistake
from gateway.config.yaml_file import Mark, Node, Source, mapping, read_yaml
from gateway.errors import ConfigError, ConfigErrors
from simulators import waves
from simulators.guess import guess, guess_event, power_of_ten, told_of
from simulators.machine import SimulatedMachine, Told
from simulators.wave_settings import WAVES, Making, UnusableError, WaveSettings
from simulators.waves import Number, Wave

T = TypeVar("T", bound=Section)


class Stops(Section):
    """When a machine stands still."""

    every: Period = Field(description="From one stop to the next.", examples=["10min"])
    lasting: Period = Field(description="How long it stands.", examples=["40s"])

    @model_validator(mode="after")
    def _fits(self) -> Stops:
        if self.lasting >= self.every:
            raise mistake("it would stand all the time", "`lasting` is less than `every`", "lasting")
        return self


class MachineScenario(Section):
    """What one machine does."""

    cycle: Period = Field(10.0, description="The period of every wave that has none of its own.", examples=["12s"])
    stops: Stops | None = Field(None, description="The machine stands still at times, and its cycle with it.")
    signals: dict[Name, Any] = Field(default_factory=dict, description="Waves by signal.")


class ScenarioSettings(Section):
    """The whole of a scenario."""

    machines: dict[Name, MachineScenario] = Field(default_factory=dict, description="Machines by name.")


@dataclass(frozen=True, slots=True)
class Scenario:
    """A scenario that was read. Whether it fits a configuration shows when machines are made from it."""

    settings: ScenarioSettings
    tree: Node


NOTHING = Scenario(ScenarioSettings(), mapping(Mark(Source(""))))


def read_scenario(path: Path) -> Scenario:
    """Raises ConfigErrors."""
    tree = read_yaml(path)
    errors: list[ConfigError] = []
    settings = _validate(ScenarioSettings, tree, (), errors)
    if settings is None:
        raise ConfigErrors(errors)
    return Scenario(settings, tree)


def make_machines(configuration: Configuration, scenario: Scenario | None = None) -> dict[str, list[SimulatedMachine]]:
    """The machines of every connection, with a wave for each signal. Raises ConfigErrors."""
    scenario = scenario or NOTHING
    errors: list[ConfigError] = []
    for name in scenario.settings.machines:
        if name not in configuration.machines:
            hint = did_you_mean(name, configuration.machines)
            mark = scenario.tree.find(("machines", name), key=True)
            errors.append(mark.error(f"the configuration has no machine '{name}'", hint, f"machines.{name}"))
    made: dict[str, list[SimulatedMachine]] = {name: [] for name in configuration.connections}
    for name, machine in configuration.machines.items():
        says = scenario.settings.machines.get(name, MachineScenario())
        making = _Waves(name, machine, says, scenario.tree, errors)
        waves_of_all = making.all()
        made[machine.connection].append(
            SimulatedMachine(configuration.path_of(name), machine, waves_of_all, making.told)
        )
    if errors:
        raise ConfigErrors(sorted(errors, key=lambda e: (e.line, e.column)))
    return made


def _validate(model: type[T], node: Node, where: tuple[str, ...], errors: list[ConfigError]) -> T | None:
    try:
        return model.model_validate(node.plain())
    except ValidationError as exc:
        errors.extend(explain(exc, model, node, where))
        return None


@dataclass(slots=True)
class _Waves:
    """Makes the waves of one machine, each after those it is made from."""

    machine: str
    settings: MachineSettings
    says: MachineScenario
    tree: Node
    errors: list[ConfigError]
    made: dict[str, Wave] = field(default_factory=dict)
    told: dict[str, Told] = field(default_factory=dict)  # what the machine says of signals itself
    begun: list[str] = field(default_factory=list)  # being made now, each for the one before
    scaled: dict[str, list[SignalSettings]] = field(default_factory=dict)  # by the signal that holds their power of ten

    def all(self) -> Mapping[str, Wave]:
        for signal in self.settings.signals.values():
            if signal.scale_from is not None:
                self.scaled.setdefault(signal.scale_from, []).append(signal)
        for name in self.says.signals:
            if name not in self.settings.signals:
                where = self._where(name)
                hint = did_you_mean(name, self.settings.signals)
                mark = self.tree.find(where, key=True)
                self.errors.append(mark.error(f"{self.machine} has no signal '{name}'", hint, ".".join(where)))
        return {name: self._wave(name) for name in self.settings.signals}

    def _where(self, signal: str) -> tuple[str, ...]:
        return "machines", self.machine, "signals", signal

    def _wave(self, name: str) -> Wave:
        if name not in self.made:
            self.begun.append(name)
            self.made[name] = self._make(name, self.settings.signals[name])
            self.begun.pop()
        return self.made[name]

    def _make(self, name: str, signal: SignalSettings) -> Wave:
        seed = zlib.crc32(f"{self.machine}/{name}".encode())
        given = self._given(name)
        texts = [value for _, value in given.values() if isinstance(value, str)] if given else []
        told = told_of(name, signal, value_type(signal), texts)
        if any(told):
            self.told[name] = told
        if given is None and name in self.scaled:
            return waves.constant(power_of_ten(self.scaled[name]))
        if given is None and (part := getattr(signal, "part", None)):
            return guess_event(part, self.machine, self.says.cycle)
        if given is None:
            return guess(signal, value_type(signal), self.says.cycle, seed, told)
        try:
            _check_values(given, signal)
            return given.make(self._making(told.unit or signal.unit, seed))
        except UnusableError as exc:
            path = (*self._where(name), *exc.path)
            mark = self.tree.find(path)
            self.errors.append(mark.error(exc.message, exc.hint, ".".join(map(str, path))))
            return waves.constant(0)

    def _given(self, name: str) -> WaveSettings | None:
        """What the scenario says about a signal, None where that is nothing, or nothing that can be used."""
        where = self._where(name)
        node = self._node(where)
        if node is None:
            return None
        if not node.is_mapping:
            value = Node(node.value, node.mark)
            node = mapping(node.mark, {"wave": (node.mark, Node("constant", node.mark)), "value": (node.mark, value)})
        form = node.get("wave")
        if form is None or form.value not in WAVES:
            message = "'wave' is missing" if form is None else f"the wave '{form.value}' is not known"
            hint = did_you_mean(str(form.value) if form else "", WAVES)
            mark = form.mark if form else self.tree.find(where, key=True)
            self.errors.append(mark.error(message, hint, ".".join((*where, "wave"))))
            return None
        return _validate(WAVES[form.value], node, where, self.errors)

    def _node(self, where: tuple[str, ...]) -> Node | None:
        node: Node | None = self.tree
        for key in where:
            node = node.get(key) if node else None
        return node

    def _making(self, unit: str, seed: int) -> Making:
        stops = self.says.stops
        running: Number | None = None
        stopped = waves.constant(False)
        if stops:
            running = waves.running_time(stops.every, stops.lasting)
            stopped = waves.toggle(stops.every, stops.lasting / stops.every, stops.lasting / stops.every)
        return Making(self.says.cycle, seed, unit, running, stopped, self._number)

    def _number(self, name: str, path: tuple[str | int, ...]) -> Number:
        if name not in self.settings.signals:
            hint = did_you_mean(name, self.settings.signals)
            raise UnusableError(path, f"{self.machine} has no signal '{name}'", hint)
        if name in self.begun:
            raise UnusableError(path, f"'{name}' would be made from itself", " → ".join((*self.begun, name)))
        wave = self._wave(name)
        if isinstance(wave(0.0), str):
            raise UnusableError(path, f"'{name}' is text, not a number")
        return cast("Number", wave)


def _check_values(given: WaveSettings, signal: SignalSettings) -> None:
    """A state is written as its text; a number that is no state is allowed, as machines do say such things."""
    states = list((signal.enum or {}).values())
    for path, value in given.values():
        if not isinstance(value, str) or value in states or getattr(signal, "texts_from_server", False):
            continue
        if states:
            raise UnusableError(path, f"'{value}' is not a state of this signal", did_you_mean(value, states))
        if getattr(signal, "type", None) == "datetime" and not _is_moment(value):
            raise UnusableError(path, f"'{value}' is no date and time", "for example 2026-03-04T05:06:07")
        if (wanted := value_type(signal)) in ("bool", "int", "float"):
            raise UnusableError(path, f"'{value}' is text, and this signal is of type {wanted}")


def _is_moment(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def value_type(signal: SignalSettings) -> str:
    """float, int, bool or string as far as the definition tells; empty where the server of the machine would."""
    if part := getattr(signal, "part", None):  # of an event
        return "int" if part == "severity" else "string"
    return str(getattr(signal, "value_type", None) or getattr(signal, "type", None) or "")
