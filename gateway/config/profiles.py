"""Profiles: what is known of a device model, written once for all machines of it.

    NAME.yaml ─ extends ─▶ OTHER.yaml ─ extends ─▶ …          up to 8; what stands nearer counts, null takes out
        │
        ├─ identity     who made it, what it is, where that stands, what it was tested against: for people
        ├─ parameters   what differs from machine to machine, as $(name) in any value: parameters.py
        └─ all else     keys of a machine, laid underneath what the machine itself says

Like all of the configuration it works on trees of nodes: a mistake in a profile is shown at its line in the profile.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field, ValidationError, model_validator

from gateway.config.explain import did_you_mean, explain, shown
from gateway.config.fields import Name, Section, mistake
from gateway.config.parameters import FormulaError, ParameterName, Scalar, Value, fill, names_in
from gateway.config.references import Checker
from gateway.config.yaml_file import Node, mapping, read_yaml
from gateway.errors import ConfigError, ConfigErrors
from gateway.expressions import Kind, Reference

if TYPE_CHECKING:
    from gateway.config.load import Protocol

MAX_EXTENDS = 8  # profiles above one another


class Parameter(Section):
    """What a machine has to say, or may say, about itself."""

    description: str = Field("", max_length=500, description="What it is, for people.")
    default: Scalar | None = Field(
        None, description="What holds where a machine says nothing; without it every machine has to.", examples=[1]
    )
    example: Scalar | None = Field(
        None, description="Where there is no default: what it looks like, and what the profile is checked with.", examples=["CNC-1"]
    )  # fmt: skip

    @model_validator(mode="after")
    def _one(self) -> Parameter:
        if (self.default is None) == (self.example is None):
            raise mistake(
                "a parameter has a `default`, or where none makes sense an `example`", "for example default: 1"
            )
        return self

    @property
    def usual(self) -> Value:
        """The default, or else the example: what the profile is checked with."""
        value = self.example if self.default is None else self.default
        assert value is not None
        return value


class Identity(Section):
    """What a profile says about itself, besides keys of a machine."""

    protocol: Name | None = Field(
        None, description="For whose machines it is: the family of protocols.", examples=["modbus", "opcua"]
    )
    manufacturer: str = Field("", max_length=200, description="Who makes the device.", examples=["Eastron"])
    model: str = Field("", max_length=200, description="Its model or series.", examples=["SDM630"])
    kind: Name | None = Field(
        None, description="What kind of device it is; signals of a kind share their names.", examples=["energy-meter", "drive"]
    )  # fmt: skip
    version: str = Field("", max_length=50, description="Of the profile.", examples=["1.0"])
    source: str = Field(
        "", max_length=500, description="Where the addresses are from: document or repository, file, page."
    )
    tested_with: list[str] = Field(
        default_factory=list, description="What it was tested against.", examples=[["register image"]]
    )
    serial: dict[Name, str | int] = Field(
        default_factory=dict,
        description="Settings of its serial line as it is delivered, for people.",
        examples=[{"baud": 9600, "parity": "none"}],
    )
    extends: Name | None = Field(None, description="The profile it is laid over.", examples=["drive"])
    parameters: dict[ParameterName, Parameter] = Field(
        default_factory=dict, description="What differs from machine to machine.", examples=["{axis: {default: 1}}"]
    )


# What a profile has from the one it extends, where it says nothing itself. Who made it and what it was tested with is
# never handed down.
_HANDED_DOWN = ("protocol", "kind", "parameters")
_OF_ONE_MACHINE = ("connection", "profile")
_TOO_MANY = (f"more than {MAX_EXTENDS} profiles extend one another", "write some of them as one")


@dataclass(frozen=True, slots=True)
class Profile:
    """A profile with all that it extends."""

    name: str
    file: Path
    identity: Identity
    about: Node  # its identity as it is written
    body: Node  # keys of a machine, with $(…) in them
    extends: tuple[str, ...] = ()  # the nearest first
    used: frozenset[str] = frozenset()  # parameters

    @property
    def description(self) -> str:
        """For people."""
        given = self.body.get("description")
        return str(given.value) if given is not None else ""


@dataclass(slots=True)
class Profiles:
    """All that can be used: those beside the configuration, then those that come along. Mistakes go to `errors`, once."""

    own: Path  # folder of those beside the configuration
    protocols: Mapping[str, Protocol]
    env: Mapping[str, str]
    errors: list[ConfigError]
    _found: dict[Path | None, dict[str, list[Path]]] = field(default_factory=dict)
    _read: dict[Path, Profile | None] = field(default_factory=dict)
    _filled: dict[tuple[object, ...], Node | None] = field(default_factory=dict)

    def available(self, protocol: Protocol | None = None) -> dict[str, Path]:
        """Every profile by its name; of two with one name the nearer one. Those of `protocol` before other shipped ones."""
        return {name: files[0] for name, files in self._files(protocol).items()}

    def read(self, file: Path, protocol: Protocol | None = None) -> Profile | None:
        """A profile with all that it extends; None where it is broken. Which is said once."""
        return self._resolved(file, protocol, ())

    def of_machine(self, machine: Node, protocol: Protocol, where: tuple[str, ...]) -> Node | None:
        """What a machine has from its profile, parameters filled in; nothing without a profile, None with a broken one."""
        given, parameters = machine.get("profile"), machine.get("parameters")
        if given is None or given.value is None:
            if parameters is not None:
                text, hint = "parameters are those of a profile", "add `profile:`, or remove them"
                self.errors.append(machine.keys["parameters"].error(text, hint, _dotted(where, "parameters")))
            return mapping(machine.mark)
        if not isinstance(given.value, str):
            return mapping(machine.mark)  # the model of the machine says what is wrong
        at = _dotted(where, "profile")
        available = self.available(protocol)
        if given.value not in available:
            text = f"there is no profile {shown(given.value)}"
            self.errors.append(given.mark.error(text, did_you_mean(given.value, available), at))
            return None
        profile = self.read(available[given.value], protocol)
        if profile is None:
            return None
        made_for = profile.identity.protocol
        if made_for is not None and made_for != protocol.family:
            text = f"the profile '{given.value}' is made for {made_for}, not for {protocol.name}"
            self.errors.append(given.mark.error(text, "", at))
            return None
        values = self._values(profile, machine, where)
        return None if values is None else self._fill(profile, values)

    def unused(self) -> list[Path]:
        """Of those beside the configuration the ones that neither a machine has asked for nor another profile extends."""
        files = [file for name, file in sorted(self.available().items()) if file.parent == self.own]
        left = [file for file in files if file.resolve() not in self._read]
        profiles = [profile for file in left if (profile := self.read(file)) is not None]
        extended = {name for profile in profiles for name in profile.extends}
        return [profile.file for profile in profiles if profile.name not in extended]

    # --- finding and reading -----------------------------------------------------------------------------------------

    def _files(self, protocol: Protocol | None) -> dict[str, list[Path]]:
        """The files of each name, the nearest first."""
        nearest = protocol.profiles if protocol else None
        if nearest not in self._found:
            others = (each.profiles for each in self.protocols.values())
            folders = dict.fromkeys(folder for folder in (self.own, nearest, *others) if folder is not None)
            found: dict[str, list[Path]] = {}
            for folder in folders:
                for file in sorted(folder.glob("*.yaml")):
                    found.setdefault(file.stem, []).append(file)
            self._found[nearest] = found
        return self._found[nearest]

    def _resolved(self, file: Path, protocol: Protocol | None, below: tuple[Path, ...]) -> Profile | None:
        """`below`: the files that extend this one, the farthest first."""
        key = file.resolve()
        if key not in self._read:
            self._read[key] = self._load(file, protocol, (*below, key))
        return self._read[key]

    def _load(self, file: Path, protocol: Protocol | None, line: tuple[Path, ...]) -> Profile | None:
        try:
            tree = read_yaml(file, env=self.env)
        except ConfigErrors as exc:
            self.errors.extend(exc.errors)
            return None
        if not tree.is_mapping:
            self.errors.append(tree.mark.error("a profile is a mapping (key: value)", "for example: signals: {…}"))
            return None
        if misplaced := [key for key in _OF_ONE_MACHINE if key in tree.value]:
            hint = "a profile is for all machines of a model" + ("; did you mean `extends`?" * ("profile" in misplaced))
            for key in misplaced:
                self.errors.append(tree.keys[key].error(f"'{key}' is said by a machine, not by a profile", hint, key))
            return None
        about = _part(tree, [key for key in tree.value if key in Identity.model_fields])
        body = _part(tree, [key for key in tree.value if key not in Identity.model_fields])
        about, base = self._extended(about, file, protocol, line)
        try:
            identity = Identity.model_validate(about.plain())
        except ValidationError as exc:
            self.errors.extend(explain(exc, Identity, about, ()))
            return None
        if about.get("extends") is not None and base is None:
            return None
        if base is not None:
            body = laid_over(base.body, body)
        profile = Profile(
            file.stem,
            file,
            identity,
            about,
            body,
            (base.name, *base.extends) if base else (),
            frozenset().union(*(names_in(node.value) for node in _texts(body))) if identity.parameters else frozenset(),
        )
        return profile if self._parameters_are_used(profile, tree) else None

    def _extended(
        self, about: Node, file: Path, protocol: Protocol | None, line: tuple[Path, ...]
    ) -> tuple[Node, Profile | None]:
        """What a profile says about itself, with what is handed down; and the profile it extends, where it can be had."""
        given = about.get("extends")
        if given is None or not isinstance(given.value, str):
            return about, None
        # Of its own name is the one it stands in for: a copy only of what it changes.
        files = [each for each in self._files(protocol).get(given.value, ()) if each.resolve() != line[-1]]
        problem = hint = ""
        if not files and given.value == file.stem:
            problem, hint = "a profile cannot extend itself", "there is no other one of this name"
        elif not files:
            names = [name for name in self._files(protocol) if name != file.stem]
            problem, hint = f"there is no profile {shown(given.value)}", did_you_mean(given.value, names)
        elif files[0].resolve() in line:
            circle = [each.stem for each in line[line.index(files[0].resolve()) :]]
            problem = f"profiles extend one another in a circle: {' → '.join([*circle, given.value])}"
            hint = "one of them has to stand for itself"
        elif len(line) > MAX_EXTENDS:
            problem, hint = _TOO_MANY
        if problem:
            self.errors.append(given.mark.error(problem, hint, "extends"))
            return about, None
        base = self._resolved(files[0], protocol, line)
        if base is None:
            return about, None
        if len(base.extends) == MAX_EXTENDS:
            self.errors.append(given.mark.error(*_TOO_MANY, "extends"))
            return about, None
        mine, theirs = about.get("protocol"), base.identity.protocol
        if mine is not None and theirs is not None and mine.value != theirs:
            text = f"'{base.name}' is made for {theirs}, this one for {shown(mine.value)}"
            self.errors.append(given.mark.error(text, "", "extends"))
            return about, None
        kept = _part(base.about, [key for key in base.about.value if key in _HANDED_DOWN])
        return laid_over(kept, about), base

    def _parameters_are_used(self, profile: Profile, tree: Node) -> bool:
        """Those that a file itself names: one that is nowhere is a mistake, here or where it should stand."""
        own = tree.get("parameters")
        unused = [name for name in own.value if name not in profile.used] if own is not None and own.is_mapping else []
        unused = [name for name in unused if name in profile.identity.parameters]
        for name in unused:
            assert own is not None
            text = f"the parameter '{name}' is used nowhere"
            self.errors.append(own.keys[name].error(text, f"write $({name}) where it belongs", f"parameters.{name}"))
        return not unused

    # --- parameters --------------------------------------------------------------------------------------------------

    def _values(self, profile: Profile, machine: Node, where: tuple[str, ...]) -> dict[str, Value] | None:
        """The value of every parameter for this machine; None where one is missing or wrong."""
        known = profile.identity.parameters
        given = machine.get("parameters")
        entries: Mapping[str, Node] = given.value if given is not None and given.is_mapping else {}
        before = len(self.errors)
        for name in entries:
            if name not in known:
                assert given is not None
                text = f"the profile '{profile.name}' has no parameter '{name}'" if known else (
                    f"the profile '{profile.name}' has no parameters"
                )  # fmt: skip
                at = _dotted(where, "parameters", name)
                self.errors.append(given.keys[name].error(text, did_you_mean(name, known), at))
        values = {name: parameter.default for name, parameter in known.items() if parameter.default is not None}
        for name, parameter in known.items():
            if name in entries:
                values[name] = entries[name].value
                self._check_type(entries[name], parameter.usual, _dotted(where, "parameters", name))
            elif parameter.default is None:
                about = f" ({parameter.description})" if parameter.description else ""
                text = f"the profile '{profile.name}' needs the parameter '{name}'{about}"
                hint = f"for example parameters: {{{name}: {parameter.example}}}"
                mark = given.mark if given is not None else machine.value["profile"].mark
                self.errors.append(mark.error(text, hint, _dotted(where, "parameters")))
        return values if len(self.errors) == before else None

    def _check_type(self, given: Node, usual: Value, where: str) -> None:
        """A number stays a number: of the type of its default."""
        if type(given.value) is type(usual) or (isinstance(usual, float) and type(given.value) is int):
            return
        wanted, value = _TYPES[type(usual)], given.value
        text = f"{shown(value)} is not {wanted}" if value is not None else f"this has no value; {wanted} is needed"
        quotes = wanted == "text" and isinstance(value, (int, float))
        hint = f'put it into quotes: "{value}"' if quotes else f"for example {usual}"
        self.errors.append(given.mark.error(text, hint, where))

    def _fill(self, profile: Profile, values: Mapping[str, Value]) -> Node | None:
        """The keys of a machine with these values; machines with equal ones share them. None where a formula is wrong."""
        if not profile.identity.parameters:
            return profile.body
        key = (profile.file, *((name, type(value), value) for name, value in sorted(values.items())))
        if key not in self._filled:
            before = len(self.errors)
            body = self._filled_in(profile.body, values, ())
            self._filled[key] = body if len(self.errors) == before else None
        return self._filled[key]

    def _filled_in(self, node: Node, values: Mapping[str, Value], where: tuple[str, ...]) -> Node:
        if isinstance(node.value, dict):
            entries = {key: self._filled_in(each, values, (*where, key)) for key, each in node.value.items()}
            return Node(entries, node.mark, node.keys)
        if isinstance(node.value, list):
            return Node([self._filled_in(each, values, where) for each in node.value], node.mark)
        if not isinstance(node.value, str) or "$(" not in node.value:
            return node
        try:
            return Node(fill(node.value, values), node.mark)
        except FormulaError as exc:
            self.errors.append(node.mark.error(exc.message, exc.hint, _dotted(where)))
            return node


class ProfileChecker(Checker):
    """Of what a profile works out: other machines have whatever it asks of them, as long as there are none."""

    def _look_up(self, machine: str, reference: Reference) -> Kind | None:
        if reference.machine and reference.machine not in self.machines:
            return Kind(None, None, None)
        return super()._look_up(machine, reference)

    def _reference(self, name: str, path: tuple[str | int, ...], text: str) -> tuple[str, str] | None:
        machine, slash, _ = text.rpartition("/")
        return None if slash and machine not in self.machines else super()._reference(name, path, text)


_TYPES: Mapping[type, str] = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}


def laid_over(below: Node, above: Node) -> Node:
    """One profile over another: mappings are joined key by key, anything else replaces, null takes out what is below."""
    if not (below.is_mapping and above.is_mapping):
        return above
    values, keys = dict(below.value), dict(below.keys)
    for key, child in above.value.items():
        if child.value is None and key in values:
            del values[key], keys[key]
            continue
        values[key] = laid_over(values[key], child) if key in values else child
        keys[key] = above.keys[key]
    return Node(values, above.mark, keys)


def _part(tree: Node, keys: Iterable[str]) -> Node:
    return mapping(tree.mark, {key: (tree.keys[key], tree.value[key]) for key in keys})


def _texts(node: Node) -> Iterator[Node]:
    """Every text with something to fill in."""
    if isinstance(node.value, dict):
        for child in node.value.values():
            yield from _texts(child)
    elif isinstance(node.value, list):
        for child in node.value:
            yield from _texts(child)
    elif isinstance(node.value, str) and "$(" in node.value:
        yield node


def _dotted(where: Sequence[str], *keys: str) -> str:
    return ".".join((*where, *keys))
