"""A scenario: which wave each signal has. Signals it does not name get a likely one.

machines:
  press-07:
    cycle: 12s                                # the period of every wave that has none of its own
    does: [{doing: set-up, for: 20min}, {doing: production, for: 4h}, {doing: break}]
    stops: {every: 10min, lasting: 40s}       # within production; meanwhile those waves stand still
    signals:
      melt_temp: {wave: sine, mean: 210, amplitude: 4, period: 90s, noise: 0.3}
      mode: {wave: activity, values: {production: auto, set-up: setup}, otherwise: manual}
      program: BRACKET-12                     # a plain value is a constant
faults:
  - {fault: unreachable, connection: press, at: 2h, for: 40s}
  - {fault: corrupted, chance: 0.5%}
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, cast

from pydantic import Field, model_validator

from gateway.config import Configuration, MachineSettings, SignalSettings
from gateway.config.explain import did_you_mean, shown
from gateway.config.fields import Name, Period, Section, mistake
from gateway.config.yaml_file import Mark, Node, Source, mapping, read_yaml
from gateway.errors import ConfigError, ConfigErrors
from gateway.model import Value
from simulators.behaviour import programme, waves
from simulators.behaviour.faults import Meant, Reading, rebooted
from simulators.behaviour.guess import ENERGIES, guess, guess_event, power_of_ten, told_of
from simulators.behaviour.programme import Doings, Programme
from simulators.behaviour.wave_settings import WAVES, Making, UnusableError, WaveSettings
from simulators.behaviour.waves import Number, Wave
from simulators.behaviour.written import Where, at, comes_along, mistake_at, validated
from simulators.machine import SimulatedMachine, Told

PRODUCTION = "production"


class Stops(Section):
    """When a machine stands still while it produces."""

    every: Period = Field(description="From one stop to the next.", examples=["10min"])
    lasting: Period = Field(description="How long it stands.", examples=["40s"])

    @model_validator(mode="after")
    def _fits(self) -> Stops:
        if self.lasting >= self.every:
            raise mistake("it would stand all the time", "`lasting` is less than `every`", "lasting")
        return self


class Stretch(Section):
    """Something a machine does for a while."""

    doing: str = Field(min_length=1, description="Any word.", examples=["production", "tool-change"])
    lasting: Period | None = Field(None, alias="for", description="How long; the last one may go on.", examples=["4h"])


class MachineScenario(Section):
    """What one machine does."""

    cycle: Period = Field(10.0, description="The period of every wave that has none of its own.", examples=["12s"])
    does: list[Stretch] = Field(
        default_factory=list, description="What it does, one after the other; else it runs all the time."
    )
    repeat: bool = Field(False, description="It begins with the first again after the last; else the last goes on.")
    running: str = Field(PRODUCTION, description="What it does while it runs; else it stands, and its cycle with it.")
    stops: Stops | None = Field(None, description="While it runs it stands still at times, and its cycle with it.")
    signals: dict[Name, Any] = Field(default_factory=dict, description="Waves by signal.")

    @model_validator(mode="after")
    def _runs(self) -> MachineScenario:
        for i, stretch in enumerate(self.does):
            if stretch.lasting is None and (self.repeat or i < len(self.does) - 1):
                what = "it is repeated" if self.repeat else "something comes after it"
                raise mistake(f"{stretch.doing} has no end, and {what}", "for example for: 30min", "does")
        words = [stretch.doing for stretch in self.does]
        if words and self.running not in words:
            key = "running" if self.running != PRODUCTION else "does"
            hint = did_you_mean(self.running, words) if key == "running" else f"say so with running: {words[0]}"
            raise mistake(f"it never does '{self.running}', in which it runs", hint, key)
        return self

    def doings(self) -> Doings:
        """What its waves go by."""
        stretches = [programme.Stretch(each.doing, each.lasting or math.inf) for each in self.does]
        stops = (self.stops.every, self.stops.lasting) if self.stops else ()
        return programme.doings(Programme(stretches, self.repeat) if stretches else None, self.running, *stops)


class ScenarioSettings(Section):
    """The whole of a scenario."""

    like: str | None = Field(
        None,
        description="Another scenario, a file beside this one or one that comes along: what is not said here is as there.",
        examples=["day.yaml", "quiet-day"],
    )
    seed: int = Field(1, description="Of what happens by chance: the same seed and requests make the same faults.")
    others: MachineScenario = Field(
        default_factory=MachineScenario, description="What machines do that are not named here; without `signals`."
    )
    machines: dict[Name, MachineScenario] = Field(default_factory=dict, description="Machines by name.")
    faults: list[Any] = Field(default_factory=list, description="What goes wrong, when and where.")

    @model_validator(mode="after")
    def _fits(self) -> ScenarioSettings:
        if self.others.signals:
            raise mistake("signals belong to a machine", "name it below `machines`", "others")
        return self


@dataclass(frozen=True, slots=True)
class Scenario:
    """A scenario that was read. Whether it fits a configuration shows when machines are made from it."""

    settings: ScenarioSettings
    tree: Node
    notes: dict[str, str] = field(default_factory=dict)  # place -> what is to be told of it; filled by make_machines


FOLDER = Path(__file__).parents[1] / "scenarios"  # of those that come along
NOTHING = Scenario(ScenarioSettings(), mapping(Mark(Source(""))))


def read_scenario(path: Path) -> Scenario:
    """Raises ConfigErrors. What one that comes along names, and a configuration does not have, is left out with a note."""
    tree = _with_base(path, ())
    errors: list[ConfigError] = []
    settings = validated(ScenarioSettings, tree, (), errors)
    if settings is None:
        raise ConfigErrors(errors)
    return Scenario(settings, tree)


def known_names() -> Sequence[str]:
    """Of the scenarios that come along."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def _with_base(path: Path, above: tuple[Path, ...]) -> Node:
    """The tree of a file, laid over that of the scenario it is like."""
    tree = read_yaml(path)
    like = tree.get("like")
    if like is None or not isinstance(like.value, str):
        return tree
    base, chain = path.parent / like.value, (*above, path.resolve())
    if base.resolve() in chain:
        raise ConfigErrors([mistake_at(tree, ("like",), "a scenario cannot be like itself")])
    if not base.is_file():
        base = FOLDER / f"{like.value}.yaml"
    if not base.is_file():
        message = f"there is no file '{like.value}' beside this one, and no scenario of this name comes along"
        raise ConfigErrors([mistake_at(tree, ("like",), message, did_you_mean(like.value, known_names()))])
    return _over(_with_base(base, chain), tree)


def _over(below: Node, above: Node, depth: int = 4) -> Node:
    """Joined key by key down to the signals of a machine: a wave is replaced as a whole."""
    if not (depth and below.is_mapping and above.is_mapping):
        return above
    values, keys = dict(below.value), dict(below.keys)
    for key, child in above.value.items():
        values[key] = _over(values[key], child, depth - 1) if key in values else child
        keys[key] = above.keys[key]
    return Node(values, above.mark, keys)


def make_machines(configuration: Configuration, scenario: Scenario | None = None) -> dict[str, list[SimulatedMachine]]:
    """The machines of every connection, with a wave for each signal. Raises ConfigErrors."""
    scenario = scenario or NOTHING
    reading = Reading(configuration, scenario.tree, _wrong_constant)
    errors = reading.errors
    for name in scenario.settings.machines:
        if name in configuration.machines:
            continue
        message, hint = f"the configuration has no machine '{name}'", did_you_mean(name, configuration.machines)
        if comes_along(scenario.tree, ("machines", name)):
            scenario.notes[f"machines.{name}"] = message
        else:
            errors.append(mistake_at(scenario.tree, ("machines", name), message, hint, key=True))
    faults = reading.all()
    scenario.notes.update(reading.notes)
    made: dict[str, list[SimulatedMachine]] = {name: [] for name in configuration.connections}
    for name, machine in configuration.machines.items():
        says = scenario.settings.machines.get(name, scenario.settings.others)
        making = _Waves(name, machine, says, scenario, errors)
        waves_of_all = rebooted(name, machine, making.all(), faults)
        made[machine.connection].append(
            SimulatedMachine(configuration.path_of(name), machine, waves_of_all, making.told)
        )
    if errors:
        raise ConfigErrors(sorted(errors, key=lambda e: (e.line, e.column)))
    return made


def make_faults(configuration: Configuration, scenario: Scenario | None = None) -> Sequence[Meant]:
    """The faults of a scenario, and where each of them happens. Raises ConfigErrors."""
    scenario = scenario or NOTHING
    reading = Reading(configuration, scenario.tree, _wrong_constant)
    faults = reading.all()
    if reading.errors:
        raise ConfigErrors(reading.errors)
    return faults


@dataclass(slots=True)
class _Waves:
    """Makes the waves of one machine, each after those it is made from."""

    machine: str
    settings: MachineSettings
    says: MachineScenario
    scenario: Scenario
    errors: list[ConfigError]
    made: dict[str, Wave] = field(default_factory=dict)
    told: dict[str, Told] = field(default_factory=dict)  # what the machine says of signals itself
    begun: list[str] = field(default_factory=list)  # being made now, each for the one before
    scaled: dict[str, list[SignalSettings]] = field(default_factory=dict)  # by the signal that holds their power of ten
    doings: Doings = field(init=False)

    def __post_init__(self) -> None:
        self.doings = self.says.doings()

    def all(self) -> Mapping[str, Wave]:
        for signal in self.settings.signals.values():
            if signal.scale_from is not None:
                self.scaled.setdefault(signal.scale_from, []).append(signal)
        for name in self.says.signals:
            if name not in self.settings.signals:
                where, message = self._where(name), f"{self.machine} has no signal '{name}'"
                if comes_along(self.scenario.tree, where):
                    self.scenario.notes[".".join(map(str, where))] = message
                    continue
                hint = did_you_mean(name, self.settings.signals)
                self.errors.append(mistake_at(self.scenario.tree, where, message, hint, key=True))
        return {name: self._wave(name) for name in self.settings.signals}

    def _where(self, signal: str) -> Where:
        return "machines", self.machine, "signals", signal

    def _wave(self, name: str) -> Wave:
        if name not in self.made:
            self.begun.append(name)
            self.made[name] = self._make(name, self.settings.signals[name])
            self.begun.pop()
        return self.made[name]

    def _make(self, name: str, signal: SignalSettings) -> Wave:
        seed = zlib.crc32(f"{self.machine}/{name}".encode())
        given = self._given(self._where(name))
        told = told_of(name, signal, value_type(signal), self._texts(self._where(name), given))
        if any(told):
            self.told[name] = told
        if given is not None:
            before = len(self.errors)
            wave = self._made(self._where(name), given, signal, told.unit or signal.unit, seed)
            if len(self.errors) == before or not comes_along(self.scenario.tree, self._where(name)):
                return wave
            self.scenario.notes[".".join(map(str, self._where(name)))] = self.errors[before].message
            del self.errors[before:]
        if name in self.scaled:
            return waves.constant(power_of_ten(self.scaled[name]))
        if part := getattr(signal, "part", None):
            return guess_event(part, self.machine, self.says.cycle)
        guessed = guess(signal, value_type(signal), self.says.cycle, seed, told)
        counts = signal.kind == "counter" and signal.unit not in ENERGIES
        running = self.doings.running if self.doings.programme else None
        return waves.on_time(guessed, running) if counts and running else guessed

    def _made(self, where: Where, given: WaveSettings, signal: SignalSettings, unit: str, seed: int) -> Wave:
        """The wave of these settings; where it cannot be made, that is told, and it is 0."""

        def inside(path: Where) -> Wave:
            place = (*where, *path)
            settings = self._given(place)
            return self._made(place, settings, signal, unit, seed) if settings else waves.constant(0)

        def note(text: str) -> None:
            self.scenario.notes[f"{self.machine}/{where[3]}"] = text

        def reaches(lowest: float, highest: float) -> None:
            held = limits(signal)
            if held and (lowest < held[0] or highest > held[1]):
                note(f"it goes from {lowest:g} to {highest:g}, and is held at what its register has: {_span(held)}")

        try:
            for path, value in given.written():
                if wrong := _wrong_constant(value, signal):
                    raise UnusableError(path, *wrong)
            if reach := given.reach():
                reaches(*reach)
            return given.make(
                Making(
                    self.says.cycle,
                    seed,
                    unit,
                    self.doings,
                    self._number,
                    inside,
                    lambda value: _wrong_value(value, signal),
                    Path(self.scenario.tree.find(where).source.name).parent,  # of the file in which that stands
                    note,
                    reaches,
                )
            )
        except UnusableError as exc:
            self.errors.append(mistake_at(self.scenario.tree, (*where, *exc.path), exc.message, exc.hint))
        except ConfigError as exc:  # in a file that it names
            self.errors.append(exc)
        return waves.constant(0)

    def _given(self, where: Where) -> WaveSettings | None:
        """What the scenario says there, None where that is nothing, or nothing that can be used."""
        node = at(self.scenario.tree, where)
        if node is None:
            return None
        if not node.is_mapping:
            value = Node(node.value, node.mark)
            node = mapping(node.mark, {"wave": (node.mark, Node("constant", node.mark)), "value": (node.mark, value)})
        form = node.get("wave")
        if form is None or not isinstance(form.value, str) or form.value not in WAVES:
            said = form.plain() if form else ""
            message = f"{shown(said)} is not the name of a wave" if form else "'wave' is missing"
            if isinstance(said, str) and said:
                message = f"the wave '{said}' is not known"
            mark = form.mark if form else self.scenario.tree.find(where, key=True)
            self.errors.append(
                mark.error(message, did_you_mean(str(said), WAVES), ".".join(map(str, (*where, "wave"))))
            )
            return None
        return validated(WAVES[form.value], node, where, self.errors)

    def _texts(self, where: Where, given: WaveSettings | None) -> list[str]:
        """The texts that the scenario gives a signal, in the order they are written."""
        if given is None:
            return []
        texts = [value for _, value in given.written() if isinstance(value, str)]
        for path in given.inside():
            texts += self._texts((*where, *path), self._quiet((*where, *path)))
        return texts

    def _quiet(self, where: Where) -> WaveSettings | None:
        """The same as `_given`, where mistakes are told later."""
        errors, self.errors = self.errors, []
        try:
            return self._given(where)
        finally:
            self.errors = errors

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


def _wrong_value(value: Value, signal: SignalSettings) -> tuple[str, str] | None:
    """What is wrong with it, and what to do. A state is written as its text; a number that is no state is allowed."""
    states = list((signal.enum or {}).values())
    if not isinstance(value, str) or value in states or getattr(signal, "texts_from_server", False):
        return None
    if states:
        return f"'{value}' is not a state of this signal", did_you_mean(value, states)
    if getattr(signal, "type", None) == "datetime" and not _is_moment(value):
        return f"'{value}' is no date and time", "for example 2026-03-04T05:06:07"
    if (wanted := value_type(signal)) in ("bool", "int", "float"):
        return f"'{value}' is text, and this signal is of type {wanted}", ""
    return None


def _wrong_constant(value: Value, signal: SignalSettings) -> tuple[str, str] | None:
    """The same of a value that is written out, and has to be what is served."""
    if wrong := _wrong_value(value, signal):
        return wrong
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    if not math.isfinite(value):
        return f"{value} is no number that a machine can have", ""
    held = limits(signal)
    if held is None or held[0] <= value <= held[1] or (signal.kind == "counter" and value > held[1]):
        return None  # a counter goes round
    return f"{value} does not fit into its register", f"it holds {_span(held)}"


def _span(held: tuple[float, float]) -> str:
    low, high = (f"{end:.0f}" if end == round(end) and abs(end) < 1e16 else f"{end:g}" for end in held)
    return f"{low} to {high}"


def limits(signal: SignalSettings) -> tuple[float, float] | None:
    """The lowest and the highest value that a signal can have by the type of its registers, in its unit. None: not known."""
    held = _HELD.get(str(getattr(signal, "data_type", "")))
    if held is None or signal.scale_from is not None:
        return None
    scale, offset = signal.linear
    ends = [raw * (1.0 if scale is None else scale) + (offset or 0.0) for raw in held]
    if held[1] > 2**53:  # as far as a float goes
        ends = [end * (1 + 1e-12) for end in ends]
    return min(ends), max(ends)


# What the types of registers hold, as they are named in the configuration.
_HELD: Mapping[str, tuple[float, float]] = {
    **{f"int{bits}": (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) for bits in (8, 16, 32, 64)},
    **{f"uint{bits}": (0, 2**bits - 1) for bits in (8, 16, 32, 64)},
    **{f"bcd{bits}": (0, 10 ** (bits // 4) - 1) for bits in (16, 32, 64)},
    **{f"modulo10k_u{bits}": (0, 10_000 ** (bits // 16) - 1) for bits in (32, 48, 64)},
    "float16": (-65504.0, 65504.0),
    "float32": (-3.4028234663852886e38, 3.4028234663852886e38),
}


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
