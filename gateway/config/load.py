"""From files to a checked configuration, or to every mistake in them at once.

    gateway.yaml ┐                                       ┌ Settings
    machines/*   ├─ trees ─ joined ─ defaults, profiles ─┼ ConnectionSettings, by the model of the protocol
    profiles/*   ┘                   laid underneath     └ MachineSettings

All of it works on trees of nodes, so a mistake that comes from a profile is shown in the profile's file.
"""

from __future__ import annotations

import marshal
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import ValidationError

from gateway.config.explain import did_you_mean, explain, shown
from gateway.config.fields import Section, find_secret
from gateway.config.profiles import Profile, ProfileChecker, Profiles
from gateway.config.references import Checker
from gateway.config.settings import ConnectionSettings, Defaults, MachineSettings, Settings, StoreSettings
from gateway.config.signals import SignalSettings
from gateway.config.yaml_file import Mark, Node, Source, display_name, mapping, overlay, parse_yaml, read_yaml
from gateway.errors import ConfigError, ConfigErrors
from gateway.model import MachinePath

T = TypeVar("T", bound=Section)


@dataclass(frozen=True, slots=True)
class Protocol:
    """What an adapter tells about the configuration of one protocol it speaks."""

    name: str  # as in `protocol:`
    connection: type[ConnectionSettings]
    machine: type[MachineSettings]
    profiles: Path | None = None  # folder of the profiles that come along

    @property
    def family(self) -> str:
        """`modbus` of `modbus-tcp`: what a profile is made for."""
        return self.name.partition("-")[0]


@dataclass(frozen=True, slots=True)
class Configuration:
    """A configuration that was found right. `tree` is what is in force, with the origin of every value: of machines
    only where it was asked for."""

    path: Path
    settings: Settings
    connections: Mapping[str, ConnectionSettings]
    machines: Mapping[str, MachineSettings]
    tree: Node
    warnings: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        """Relative paths inside the configuration start here."""
        return self.path if self.path.is_dir() else self.path.parent

    def resolve(self, path: Path) -> Path:
        """A path written in the configuration, from where it was written."""
        return self.folder / path

    @property
    def store(self) -> StoreSettings | None:
        """The store, with its files where they were written."""
        store = self.settings.store
        if store is None:
            return None
        found = {name: self.resolve(path) for name in ("path", "ca") if (path := getattr(store, name)) is not None}
        return store.model_copy(update=found)

    def path_of(self, machine: str) -> MachinePath:
        """The place of a machine in the plant."""
        return self.settings.site.path_of(machine, self.machines[machine])

    def machines_of(self, connection: str) -> dict[str, MachineSettings]:
        """The machines behind one connection, in the order they were written."""
        return {name: m for name, m in self.machines.items() if m.connection == connection}


def find_config(given: Path | None = None, env: Mapping[str, str] = os.environ) -> Path:
    """Where the configuration is: as told, by GATEWAY_CONFIG, here, or in /etc/gateway. Raises ConfigErrors."""
    if given is not None or env.get("GATEWAY_CONFIG"):
        path = given or Path(env["GATEWAY_CONFIG"])
        if path.exists():
            return path
        told = "" if given else " (from GATEWAY_CONFIG)"
        raise ConfigErrors([Mark(Source(str(path))).error(f"there is no such file or folder{told}")])
    for path in (Path("gateway.yaml"), Path("config"), Path("/etc/gateway")):
        if path.is_file():
            return Path() if Path("machines").is_dir() else path  # inside the folder of a configuration
        if (path / "gateway.yaml").is_file():
            return path
    error = Mark(Source("gateway.yaml")).error(
        "no configuration found: neither ./gateway.yaml nor ./config nor /etc/gateway",
        "name it with -c PATH or GATEWAY_CONFIG, have `gateway init` write one, or try `gateway demo` first",
    )
    raise ConfigErrors([error])


@dataclass(frozen=True, slots=True)
class CheckedProfile:
    """A profile that was found right, and a machine of it: with the defaults of its parameters, or their examples."""

    profile: Profile
    machine: MachineSettings
    warnings: tuple[str, ...] = ()


def load(
    path: Path,
    protocols: Mapping[str, Protocol],
    *,
    env: Mapping[str, str] | None = None,
    whole_tree: bool = False,
    every_profile: bool = False,
) -> Configuration:
    """Read and check a configuration, one file or a folder. Raises ConfigErrors with all that is wrong.

    `whole_tree`: keep the tree of the machines as well, which takes more memory than all that is made from it.
    `every_profile`: check those beside the configuration, too, that no machine uses.
    """
    return _Loader(path, protocols, os.environ if env is None else env, whole_tree).load(every_profile)


def load_text(
    path: Path,
    texts: Mapping[Path, bytes],
    protocols: Mapping[str, Protocol],
    *,
    env: Mapping[str, str],
    env_of_texts: Mapping[str, str],
    secret: Callable[[str], str],
) -> Configuration:
    """As `load`, but that some files have these texts, or are added with them; none of them has to be there.

    `env_of_texts` answers `${VAR}` in them, `secret` answers `{secret: name}` anywhere. Raises ConfigErrors.
    """
    loader = _Loader(path, protocols, env, whole_tree=False, texts=texts, env_of_texts=env_of_texts, secret=secret)
    return loader.load()


def check_profile(
    file: Path, protocols: Mapping[str, Protocol], *, env: Mapping[str, str] | None = None
) -> CheckedProfile:
    """Read and check a profile by itself; what it extends is looked for beside it. Raises ConfigErrors."""
    return _Loader(file, protocols, os.environ if env is None else env, whole_tree=False).check_profile(file)


@dataclass(slots=True)
class _Loader:
    path: Path
    protocols: Mapping[str, Protocol]
    env: Mapping[str, str]
    whole_tree: bool
    errors: list[ConfigError] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    profiles: Profiles = field(init=False)
    kept: dict[str, Node] = field(default_factory=dict)  # machines that look at other parts of the configuration
    shared: dict[str, str] = field(default_factory=dict)  # connections that are the same link as another one
    # Equal signals are one object, equal sets of them one mapping: machines of a profile share theirs.
    signals: dict[tuple[object, bytes], Section] = field(default_factory=dict)
    keys: dict[frozenset[str], set[str]] = field(default_factory=dict)  # that were written, of all signals
    sets: dict[tuple[object, ...], Mapping[str, SignalSettings]] = field(default_factory=dict)
    warned: set[tuple[str, str]] = field(default_factory=set)  # places, and what was said of them
    texts: Mapping[Path, bytes] = field(default_factory=dict)  # instead of what is in the files, or beside them
    env_of_texts: Mapping[str, str] = field(default_factory=dict)
    secret: Callable[[str], str] | None = None  # instead of looking secrets up

    def __post_init__(self) -> None:
        self.profiles = Profiles(self._folder / "profiles", self.protocols, self.env, self.errors)

    def load(self, every_profile: bool = False) -> Configuration:
        tree = self._read()
        self._stop_at_errors()
        settings = self._settings(tree)
        connections = self._connections(tree)
        machines = self._machines(tree)
        self.errors.extend(Checker(machines, self.kept).run())
        self._check_calendars(tree, settings, machines)
        if every_profile:
            self._check_unused_profiles()
        self._stop_at_errors()
        assert settings is not None
        return Configuration(self.path, settings, connections, machines, tree, tuple(self.warnings))

    def _stop_at_errors(self) -> None:
        if self.errors:
            # A value that many inherit is wrong once.
            once = {(e.file, e.line, e.column, e.message): e for e in reversed(self.errors)}
            raise ConfigErrors(sorted(once.values(), key=lambda e: (e.file, e.line, e.column)))

    # --- reading ---------------------------------------------------------------------------------------------------

    @property
    def _folder(self) -> Path:
        return self.path if self.path.is_dir() else self.path.parent

    def _read(self) -> Node:
        """All files joined into one tree: every key once, whichever file it stands in."""
        files = [self.path]
        if self.path.is_dir():
            files = [self.path / "gateway.yaml", *sorted((self.path / "machines").glob("*.yaml"))]
            for wrong in sorted((self.path / "machines").glob("*.yml")):
                self.errors.append(Mark(Source(display_name(wrong))).error("is not read", "rename it to *.yaml"))
        files += [file for file in self.texts if file not in files]
        tree = mapping(Mark(Source(display_name(files[0])), 1, 1))
        for file in files:
            try:
                part = self._parse(file)
            except ConfigErrors as exc:
                self.errors.extend(exc.errors)
                continue
            if part.value is None:
                continue
            if not part.is_mapping:
                self.errors.append(
                    part.mark.error("a configuration is a mapping (key: value)", "for example: version: 1")
                )
                continue
            if file is not files[0] and "connection" in part.keys:
                part = _machine_of_file(file.stem, part)
            self._join(tree, part)
        return tree

    def _parse(self, file: Path) -> Node:
        text = self.texts.get(file)
        if text is None:
            return read_yaml(file, env=self.env)
        return parse_yaml(text, display_name(file), env=self.env_of_texts)

    def _join(self, tree: Node, part: Node) -> None:
        """Sections of names are joined, the others may stand in one file only."""
        for key, child in part.value.items():
            mark = part.keys[key]
            if key not in tree.value:
                copy = Node(dict(child.value), child.mark, dict(child.keys)) if child.is_mapping else child
                tree.put(key, mark, copy)
                continue
            there = tree.value[key]
            if key == "version":
                continue
            if key not in ("connections", "machines") or not (there.is_mapping and child.is_mapping):
                self.errors.append(mark.error(f"'{key}' stands in two files", f"first at {tree.keys[key]}"))
                continue
            for name, entry in child.value.items():
                if name in there.keys:
                    error = child.keys[name].error(
                        f"'{name}' is defined twice", f"first at {there.keys[name]}", f"{key}.{name}"
                    )
                    self.errors.append(error)
                else:
                    there.put(name, child.keys[name], entry)

    # --- checking --------------------------------------------------------------------------------------------------

    def _validate(self, model: type[T], node: Node, where: tuple[str, ...], plain: Any = None) -> T | None:
        try:
            return model.model_validate(
                node.plain() if plain is None else plain,
                context={"secret": self.secret or (lambda name: find_secret(name, self._folder, self.env))},
            )
        except ValidationError as exc:
            self.errors.extend(explain(exc, model, node, where))
            return None

    def _settings(self, tree: Node) -> Settings | None:
        """All but what is in connections and machines: that is checked one by one, by the model of its protocol."""
        bare = {**tree.value}
        for section in ("connections", "machines"):
            if (node := tree.get(section)) is not None and node.is_mapping:
                inside = {
                    name: mapping(child.mark) if child.is_mapping else child for name, child in node.value.items()
                }
                bare[section] = Node(inside, node.mark, node.keys)
        return self._validate(Settings, tree, (), Node(bare, tree.mark, tree.keys).plain())

    def _connections(self, tree: Node) -> dict[str, ConnectionSettings]:
        """Each one checked by the model of its protocol, with the defaults underneath; `tree` gets what is in force."""
        done: dict[str, ConnectionSettings] = {}
        for name, node, where in self._entries(tree, "connections"):
            protocol = self._protocol(node, where)
            if protocol is None:
                continue
            node = overlay(self._defaults(tree, protocol.connection), node)
            tree.value["connections"].value[name] = node
            if (connection := self._validate(protocol.connection, node, where)) is not None:
                done[name] = connection
                for key, doubt in connection.doubts:
                    at = tree.find(("connections", name, key), key=True)
                    self.warnings.append(f"{at}: warning: connections.{name}.{key} {doubt}")
        self._share(tree, done)
        return done

    def _share(self, tree: Node, connections: dict[str, ConnectionSettings]) -> None:
        """One owner for each endpoint: the same one twice is one connection if all else is the same, else a mistake."""
        owners: dict[str, str] = {}
        for name, connection in list(connections.items()):
            if connection.endpoint is None:
                continue
            owner = owners.setdefault(connection.endpoint, name)
            if owner == name:
                continue
            first, here = (tree.find(("connections", each), key=True) for each in (owner, name))
            other = connections[owner]
            keys = [key for key in type(connection).model_fields if key not in ("host", "port")]
            differ = [key for key in keys if getattr(connection, key) != getattr(other, key, None)]
            if differ:
                hint = f"put the machines of both behind '{owner}'; they differ in {', '.join(f'`{key}`' for key in differ)}"
                text = f"this is the endpoint of '{owner}' ({first}), with other settings"
                self.errors.append(here.error(text, hint, f"connections.{name}"))
            else:
                self.warnings.append(
                    f"{here}: warning: connections.{name} is the same link as '{owner}' ({first}), and shares it"
                )
                self.shared[name] = owner
                del connections[name]

    def _machines(self, tree: Node) -> dict[str, MachineSettings]:
        """The same for machines: defaults, below the profile, below what the machine says."""
        done: dict[str, MachineSettings] = {}
        for name, node, where in self._entries(tree, "machines"):
            protocol = self._protocol_of_machine(tree, node, where)
            if protocol is None:
                continue
            profile = self.profiles.of_machine(node, protocol, where)
            if profile is None:
                continue  # without it, half of what the machine says would be wrong
            self._check_taken_out(profile, node, where)
            node = overlay(profile, node)
            node = _signals_inherit(overlay(self._defaults(tree, protocol.machine), node), protocol.machine)
            tree.value["machines"].value[name] = node
            machine = self._machine(protocol.machine, node, where)
            if machine is None:
                continue
            if machine.connection in self.shared:
                machine = machine.model_copy(update={"connection": self.shared[machine.connection]})
            done[name] = machine
            if not machine.signals and not any(e.field.startswith(".".join(where)) for e in self.errors):
                error = tree.find(where, key=True).error(
                    "this machine has no signals", "add `signals:` or `profile:`", ".".join(where)
                )
                self.errors.append(error)
            self._warn(tree, name, machine)
            if machine.derived or machine.calendar:
                self.kept[name] = _without_signals(node)
            if not self.whole_tree:
                tree.value["machines"].value[name] = mapping(node.mark)
        return done

    def _check_taken_out(self, profile: Node, machine: Node, where: tuple[str, ...]) -> None:
        """A signal that is null is taken out of the profile: there has to be one."""
        for section in ("signals", "computed"):
            given, below = machine.get(section), profile.get(section)
            if given is None or not given.is_mapping:
                continue
            there = below.value if below is not None and below.is_mapping else {}
            for name, signal in given.value.items():
                if signal.value is None and name not in there:
                    message = f"there is no '{name}' to be taken out" if there else f"'{name}' says nothing"
                    hint = did_you_mean(name, there) if there else "say where it is: holding: 0"
                    self.errors.append(given.keys[name].error(message, hint, ".".join((*where, section, name))))

    def _check_calendars(self, tree: Node, settings: Settings | None, machines: Mapping[str, MachineSettings]) -> None:
        """Those that are named exist."""
        if settings is None:
            return
        named: list[tuple[tuple[str, ...], str | None]] = [(("site", "calendar"), settings.site.calendar)]
        named += [(("machines", name, "calendar"), machine.calendar) for name, machine in machines.items()]
        for path, calendar in named:
            if calendar is not None and calendar not in settings.calendars:
                node = self.kept.get(path[1])
                mark = node.find(path[2:]) if node is not None and len(path) > 2 else tree.find(path)
                hint = did_you_mean(calendar, settings.calendars) or "add it under `calendars:`"
                self.errors.append(mark.error(f"there is no calendar '{calendar}'", hint, ".".join(path)))

    def _machine(self, model: type[MachineSettings], node: Node, where: tuple[str, ...]) -> MachineSettings | None:
        """As `_validate`, but that equal signals become one object."""
        plain = node.plain()
        _, signal_model = get_args(model.model_fields["signals"].annotation)
        if isinstance(given := plain.get("signals"), dict):
            plain["signals"] = {name: self._signal(signal_model, signal) for name, signal in given.items()}
        machine = self._validate(model, node, where, plain)
        if machine is None:
            return None
        key = (*machine.signals, *map(id, machine.signals.values()))
        return machine.model_copy(update={"signals": self.sets.setdefault(key, machine.signals)})

    def _signal(self, model: type[Section], plain: Any) -> Any:
        """One object for all equal ones; what is wrong is left as it is, to be found where it stands."""
        if not isinstance(plain, dict):
            return plain
        key = (model, blake2b(marshal.dumps(plain), digest_size=16).digest())
        if key not in self.signals:
            try:
                self.signals[key] = signal = model.model_validate(plain)
                # Most signals have the same keys: one set of them is enough for all.
                keys = self.keys.setdefault(frozenset(signal.model_fields_set), signal.model_fields_set)
                object.__setattr__(signal, "__pydantic_fields_set__", keys)
            except ValidationError:
                return plain
        return self.signals[key]

    def _warn(self, tree: Node, name: str, machine: MachineSettings) -> None:
        signals = [("signals", *item) for item in machine.signals.items()]
        signals += [("computed", *item) for item in machine.computed.items()]
        for section, signal, settings in signals:
            for key, doubt in settings.doubts:
                there = tree.value["machines"].value[name].value[section].value
                written = signal if signal in there else signal.rpartition("_")[0]  # one element of an array
                at = str(tree.find(("machines", name, section, written, key), key=True))
                if (at, doubt) in self.warned:  # a line of a profile is doubtful once
                    continue
                self.warned.add((at, doubt))
                self.warnings.append(f"{at}: warning: machines.{name}.{section}.{signal}.{key} {doubt}")

    def _entries(self, tree: Node, section: str) -> Iterator[tuple[str, Node, tuple[str, str]]]:
        """The mappings of a section; anything else in it is a mistake that the model of Settings has named."""
        node = tree.get(section)
        if node is None or not node.is_mapping:
            return
        for name in list(node.value):
            if (child := node.value[name]).is_mapping:
                yield name, child, (section, name)

    def _defaults(self, tree: Node, model: type[Section]) -> Node:
        """The defaults that this model has a key for."""
        given = tree.get("defaults")
        if given is None or not given.is_mapping:
            return mapping(tree.mark)
        keys = [key for key in given.value if key in model.model_fields and key in Defaults.model_fields]
        return mapping(given.mark, {key: (given.keys[key], given.value[key]) for key in keys})

    def _protocol(self, node: Node, where: tuple[str, str]) -> Protocol | None:
        given = node.get("protocol")
        at = ".".join((*where, "protocol"))
        if given is None:
            self.errors.append(
                node.mark.error("'protocol' is missing", f"known: {', '.join(sorted(self.protocols))}", at)
            )
        elif not isinstance(given.value, str) or given.value not in self.protocols:
            self.errors.append(
                given.mark.error(
                    f"{shown(given.value)} is not a protocol we know",
                    did_you_mean(str(given.value), self.protocols),
                    at,
                )
            )
        else:
            return self.protocols[given.value]
        return None

    def _protocol_of_machine(self, tree: Node, node: Node, where: tuple[str, str]) -> Protocol | None:
        known = tree.get("connections")
        names = known.value if known is not None and known.is_mapping else {}
        given = node.get("connection")
        at = ".".join((*where, "connection"))
        if given is None:
            hint = f"the connection it is read through: {', '.join(names)}" if names else "add one under `connections:`"
            self.errors.append(tree.find(where, key=True).error("'connection' is missing", hint, at))
            return None
        if not isinstance(given.value, str) or given.value not in names:
            self.errors.append(
                given.mark.error(f"{shown(given.value)} is not a connection", did_you_mean(str(given.value), names), at)
            )
            return None
        protocol = names[given.value].get("protocol")
        return self.protocols.get(protocol.value) if protocol is not None and isinstance(protocol.value, str) else None

    # --- profiles that nobody uses ------------------------------------------------------------------------------------

    def _check_unused_profiles(self) -> None:
        """A mistake in them would show on the day they are needed."""
        for wrong in sorted(self.profiles.own.glob("*.yml")):
            self.errors.append(Mark(Source(display_name(wrong))).error("is not read", "rename it to *.yaml"))
        for file in self.profiles.unused():
            try:
                checked = check_profile(file, self.protocols, env=self.env)
            except ConfigErrors as exc:
                self.errors.extend(exc.errors)
            else:
                self.warnings.extend(checked.warnings)

    def check_profile(self, file: Path) -> CheckedProfile:
        """By a machine of it, which nobody has written: what is wrong is shown in the profile."""
        self.profiles = Profiles(file.parent, self.protocols, self.env, self.errors)
        if file.suffix != ".yaml":
            self.errors.append(Mark(Source(display_name(file))).error("is not read", "rename it to *.yaml"))
        profile = None if self.errors else self.profiles.read(file)
        protocol = None if profile is None else self._protocol_of_profile(profile)
        self._stop_at_errors()
        assert profile is not None
        assert protocol is not None
        name, mark = profile.name, profile.about.mark

        def section(**entries: Node) -> Node:
            return mapping(mark, {key: (mark, node) for key, node in entries.items()})

        needed = {key: Node(p.usual, mark) for key, p in profile.identity.parameters.items() if p.default is None}
        machine = section(connection=Node("c", mark), profile=Node(name, mark), parameters=section(**needed))
        connection = section(protocol=Node(protocol.name, mark))
        machines = self._machines(section(connections=section(c=connection), machines=section(**{name: machine})))
        self.errors.extend(ProfileChecker(machines, self.kept).run())
        for error in self.errors:
            error.field = error.field.removeprefix(f"machines.{name}").removeprefix(".")
        self._stop_at_errors()
        warnings = tuple(warning.replace(f" machines.{name}.", " ", 1) for warning in self.warnings)
        return CheckedProfile(profile, machines[name], warnings)

    def _protocol_of_profile(self, profile: Profile) -> Protocol | None:
        """Any of the family it is made for."""
        given = profile.about.get("protocol")
        families = {protocol.family: protocol for protocol in reversed(list(self.protocols.values()))}
        if given is None:
            hint = f"for whose machines it is: {' or '.join(sorted(families))}"
            self.errors.append(profile.about.mark.error("'protocol' is missing", hint, "protocol"))
        elif (protocol := families.get(str(given.value))) is None:
            text = f"{shown(given.value)} is not a family of protocols we know"
            self.errors.append(given.mark.error(text, did_you_mean(str(given.value), families), "protocol"))
        else:
            return protocol
        return None


def _without_signals(machine: Node) -> Node:
    """What is looked at once all machines are known: of its signals only where their names stand."""
    signals = machine.get("signals")
    if signals is None or not signals.is_mapping:
        return machine
    bare = {name: mapping(each.mark) for name, each in signals.value.items()}
    return Node({**machine.value, "signals": Node(bare, signals.mark, signals.keys)}, machine.mark, machine.keys)


def _machine_of_file(name: str, body: Node) -> Node:
    """A file in machines/ that is one machine, named by the file."""
    machines = mapping(body.mark, {name: (body.mark, body)})
    return mapping(body.mark, {"machines": (body.mark, machines)})


def _signals_inherit(machine: Node, model: type[MachineSettings]) -> Node:
    """Each signal gets what its machine says for all; a signal that is null (taken out of a profile) goes."""
    signals = machine.get("signals")
    if signals is None or not signals.is_mapping:
        return machine
    common = mapping(
        machine.mark, {k: (machine.keys[k], machine.value[k]) for k in model.for_signals if k in machine.value}
    )
    entries = {
        name: (signals.keys[name], overlay(common, node) if node.is_mapping else node)
        for name, node in signals.value.items()
        if node.value is not None
    }
    return Node({**machine.value, "signals": mapping(signals.mark, entries)}, machine.mark, machine.keys)
