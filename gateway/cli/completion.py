"""gateway completion bash | zsh | fish: commands, options, and the names of machines, signals and connections.

    TAB ─▶ shell function ─▶ gateway completion words 2 -- gateway read pre ─▶ value TAB help, a line each

A configuration takes longer to load than anybody waits for a key, so its names are kept in a file, with what the files
of the configuration looked like. While it is broken, the names from before are offered.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import typer

from gateway.errors import GatewayError

MAX_SIZE = 2 * 2**20  # bytes of YAML that are loaded while somebody waits
Candidates = list[tuple[str, str]]
"""What can stand here, and what it is."""
Place = Callable[[], Path | None]
"""Finds the configuration, which is not looked at until it is needed."""

app = typer.Typer(help="Completion for bash, zsh or fish.", no_args_is_help=True, rich_markup_mode=None)

BASH = """\
# gateway: completion for bash. For good: gateway completion bash > ~/.local/share/bash-completion/completions/gateway
_gateway() {
    local IFS=$'\\n' line
    COMPREPLY=()
    while read -r line; do
        COMPREPLY+=("${line%%$'\\t'*}")
    done < <("$1" completion words "$COMP_CWORD" -- "${COMP_WORDS[@]}" 2>/dev/null)
}
complete -o bashdefault -o default -F _gateway gateway
"""
ZSH = """\
#compdef gateway
# gateway: completion for zsh. For good: gateway completion zsh > a folder of $fpath/_gateway
_gateway() {
    local -a found
    local line
    while IFS= read -r line; do
        found+=("${${line%%$'\\t'*}//:/\\\\:}:${line#*$'\\t'}")
    done < <("${words[1]}" completion words $((CURRENT - 1)) -- "${(@)words}" 2>/dev/null)
    if (( ${#found} )); then
        _describe gateway found
    else
        _files
    fi
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    _gateway "$@"
else
    compdef _gateway gateway
fi
"""
FISH = """\
# gateway: completion for fish. For good: gateway completion fish > ~/.config/fish/completions/gateway.fish
function __gateway_complete
    set -l said (commandline -opc) (commandline -ct)
    set -l found ($said[1] completion words (math (count $said) - 1) -- $said 2>/dev/null)
    if test (count $found) -gt 0
        printf '%s\\n' $found
    else
        __fish_complete_path (commandline -ct)
    end
end
complete -c gateway -f -a '(__gateway_complete)'
"""


@app.command()
def bash() -> None:
    """Print the script. Now: source <(gateway completion bash)"""
    print(BASH, end="")


@app.command()
def zsh() -> None:
    """Print the script. Now: source <(gateway completion zsh)"""
    print(ZSH, end="")


@app.command()
def fish() -> None:
    """Print the script. Now: gateway completion fish | source"""
    print(FISH, end="")


def answer(arguments: Sequence[str]) -> None:
    """What the scripts ask with `gateway completion words AT -- WORDS`: one candidate a line, a TAB before its help.

    AT: which of the words is being typed, from 0. It is no command, as calling one takes typer longer than all the rest.
    """
    from gateway.cli.app import app as commands

    at, line = int(arguments[0]), list(arguments[2:])
    line += [""] * (at + 1 - len(line))
    given = _option_c(line)
    root = typer.main.get_command(commands)
    found = candidates(root, *_joined(line, at), lambda: names_of(given), lambda: find(given))
    sys.stdout.write("".join(f"{value}\t{help}\n" for value, help in found))


# --- what fits (pure) ------------------------------------------------------------------------------------------------


class Names:
    """Of one configuration: the signals of each machine, and the connections."""

    def __init__(self, machines: dict[str, list[str]], connections: list[str]) -> None:
        self.machines, self.connections = machines, connections

    @property
    def signals(self) -> list[str]:
        return [f"{machine}/{signal}" for machine, signals in self.machines.items() for signal in signals]


def candidates(
    root: Any, line: Sequence[str], at: int, names: Callable[[], Names], place: Place = lambda: None
) -> Candidates:
    """What can stand at place `at` of a line whose first word is the program.

    `names` is only called where they fit; `place`, which finds the configuration, where what is beside it does.
    """
    command, given, pending, only_arguments, path = root, list[str](), None, False, ""
    for word in line[1:at]:
        if pending is not None:
            pending = None
        elif word == "--" and not only_arguments:
            only_arguments = True
        elif word.startswith("-") and not only_arguments:
            name, equals, _ = word.partition("=")
            option = next((p for p in command.params if name in (*p.opts, *p.secondary_opts)), None)
            pending = option if option is not None and _takes_value(option) and not equals else None
        elif hasattr(command, "commands"):
            command = _real(command).commands.get(word)
            if command is None:
                return []
            command, path = _real(command), f"{path}{word} "
        else:
            given.append(word)
    typed = line[at]

    def values(param: Any) -> Candidates:
        known = _BESIDE.get(f"{path}{param.name}")
        return _fitting(typed, known(place) if known is not None else _values(param, given, names, typed))

    if pending is not None:
        return values(pending)
    if typed.startswith("-") and not only_arguments:
        return _fitting(typed, _options(command))
    if hasattr(command, "commands"):
        return _fitting(typed, [(n, _first(c.help)) for n, c in command.commands.items() if not c.hidden])
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    which = len(given)
    if arguments and which >= len(arguments) and arguments[-1].nargs == -1:
        which = len(arguments) - 1
    return values(arguments[which]) if which < len(arguments) else []


def _values(param: Any, given: Sequence[str], names: Callable[[], Names], typed: str) -> Candidates:
    """What an argument or the value of an option can be. Nothing: the shell offers files."""
    if choices := _choices(param):
        return [(choice, "") for choice in choices]
    kind = _KINDS.get(str(param.name))
    return [] if kind is None else kind(names(), given, typed)


def _machines(names: Names, _given: Sequence[str], typed: str) -> Candidates:
    """Machines; behind a slash their signals."""
    if "/" in typed:
        return _signals(names, _given, typed)
    return [(machine, f"machine, {len(signals)} signals") for machine, signals in names.machines.items()]


def _signals(names: Names, _given: Sequence[str], _typed: str) -> Candidates:
    """machine/signal, or signals of the machine that stands before."""
    if _given and _given[-1] in names.machines:
        return [(signal, f"signal of {_given[-1]}") for signal in names.machines[_given[-1]]]
    return [(signal, "signal") for signal in names.signals]


def _targets(names: Names, _given: Sequence[str], _typed: str) -> Candidates:
    return [*((each, "connection") for each in names.connections), *((each, "machine") for each in names.machines)]


def _connections(names: Names, _given: Sequence[str], _typed: str) -> Candidates:
    return [(each, "connection") for each in names.connections]


# By the name of the argument or option; what is not here has no names of ours.
_KINDS: dict[str, Callable[[Names, Sequence[str], str], Candidates]] = {
    "machine": _machines,
    "signal": _signals,
    "key": _signals,
    "accept": _machines,
    "connection": _connections,
    "target": _targets,
}


# --- what does not need the configuration to be loaded ----------------------------------------------------------------


def _faults(_: Place) -> Candidates:
    from gateway import faults

    return [(code, faults.explain(code).title) for code in faults.codes()]


def _faults_or_all(place: Place) -> Candidates:
    return [*_faults(place), ("all", "lists them")]


def _languages(_: Place) -> Candidates:
    from gateway.faults import LANGUAGES

    return [(each, "") for each in LANGUAGES]


def _scenarios(_: Place) -> Candidates:
    import simulators

    return [(file.stem, _about(file)) for file in _files(Path(str(simulators.__file__)).with_name("scenarios"))]


def _profiles(place: Place) -> Candidates:
    """Those that come along, and those beside the configuration."""
    import adapters

    folders = [each / "profiles" for root in adapters.__path__ for each in sorted(Path(root).iterdir())]
    if (path := place()) is not None:
        folders.append((path if path.is_dir() else path.parent) / "profiles")
    return [(file.stem, "profile") for folder in folders for file in _files(folder)]


def _versions(place: Place) -> Candidates:
    """Newest first."""
    found: list[tuple[int, str]] = []
    for data_dir in _data_dirs(place):
        for file in (data_dir / "versions").glob("*.json"):
            version = json.loads(file.read_bytes())
            at = datetime.fromtimestamp(version["t"] / 1000)
            found.append((version["version"], f"{at:%Y-%m-%d %H:%M} {version['who']}"))
    return [(str(number), about) for number, about in sorted(found, reverse=True)]


def _users(place: Place) -> Candidates:
    files = [data_dir / "web" / "users.json" for data_dir in _data_dirs(place)]
    return [
        (name, each["role"])
        for file in files
        if file.is_file()
        for name, each in json.loads(file.read_bytes())["users"].items()
    ]


def _roles(_: Place) -> Candidates:
    return [("engineer", "may change the configuration"), ("viewer", "may look")]


def _data_dirs(place: Place) -> list[Path]:
    from gateway.runtime.changes.places import data_dirs_of

    path = place()
    return [] if path is None else data_dirs_of(path)


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.yaml"))


def _about(file: Path) -> str:
    """Its first line."""
    return file.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ")


# By the words of the command, and the name of its argument or option.
_BESIDE: dict[str, Callable[[Place], Candidates]] = {
    "explain fault": _faults_or_all,
    "explain language": _languages,
    "doctor code": _faults,
    "doctor language": _languages,
    "simulate scenario": _scenarios,
    "demo scenario": _scenarios,
    "profiles show name": _profiles,
    "config rollback number": _versions,
    "config diff against": _versions,
    "web user remove name": _users,
    "web user add role": _roles,
}


def _options(command: Any) -> Candidates:
    found = [(name, _first(p.help)) for p in command.params if p.param_type_name == "option" and not p.hidden for name in p.opts]  # fmt: skip
    return [*(each for each in found if each[0].startswith("--")), ("--help", "Show what it does")]


def _fitting(typed: str, found: Iterable[tuple[str, str]]) -> Candidates:
    once = dict.fromkeys(each for each in found if each[0].startswith(typed))
    return list(once)


def _takes_value(option: Any) -> bool:
    return not any(getattr(option, how, False) for how in ("is_flag", "is_bool_flag", "count"))


def _choices(param: Any) -> list[str]:
    """Of a fixed list; where typer keeps it depends on its version."""
    annotation = getattr(getattr(param, "type_descriptor", None), "annotation", None)
    if get_origin(annotation) is Literal:
        return [str(each) for each in get_args(annotation)]
    return [str(getattr(each, "value", each)) for each in getattr(getattr(param, "type", None), "choices", ())]


def _real(command: Any) -> Any:
    """The commands of an adapter are not there until they are asked for."""
    return command.real() if hasattr(command, "real") else command


def _first(help: str | None) -> str:
    """The first sentence of a help, on one line."""
    text = " ".join((help or "").split("\n\n")[0].split())
    return text.partition(". ")[0].removesuffix(".")[:80]


def _joined(line: Sequence[str], at: int) -> tuple[list[str], int]:
    """bash takes --config=x for three words: as two it is what it means."""
    out: list[str] = []
    place = at
    for i, word in enumerate(line):
        if word == "=" and out and out[-1].startswith("--"):
            place -= 1 if i < at else 0
            if i == at:
                out.append("")
            continue
        out.append(word)
    return out, place


# --- the names of a configuration ------------------------------------------------------------------------------------


def names_of(given: Path | None) -> Names:
    """Out of the file beside; from the configuration itself where that has changed. Writes no word, whatever is wrong with it."""
    path = find(given)
    if path is None:
        return Names({}, [])
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "shopfloor-gateway"
    cache = folder / ("names" + str(path.resolve()).replace("/", "-")[-200:] + ".json")
    looks = _looks_of(path)
    known: dict[str, Any] = {}
    try:
        known = json.loads(cache.read_bytes())
        if known["looks"] == looks:
            return Names(known["machines"], known["connections"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    if sum(size for _, _, size in looks) <= MAX_SIZE:
        try:
            names = _load(path)
        except (GatewayError, OSError):
            pass  # whoever starts the gateway is told what is wrong with it
        else:
            _keep(cache, {"looks": looks, "machines": names.machines, "connections": names.connections})
            return names
    return Names(known.get("machines", {}), known.get("connections", []))


def find(given: Path | None) -> Path | None:
    """As `gateway.config.find_config`, without what that takes to import."""
    if given is not None or os.environ.get("GATEWAY_CONFIG"):
        return given or Path(os.environ["GATEWAY_CONFIG"])
    for path in (Path("gateway.yaml"), Path("config"), Path("/etc/gateway")):
        if path.is_file():
            return Path() if Path("machines").is_dir() else path
        if (path / "gateway.yaml").is_file():
            return path
    return None


def _option_c(line: Sequence[str]) -> Path | None:
    for i, word in enumerate(line):
        if word in ("-c", "--config") and i + 1 < len(line):
            return Path(line[i + 2] if line[i + 1] == "=" and i + 2 < len(line) else line[i + 1]).expanduser()
        if word.startswith("--config="):
            return Path(word.partition("=")[2]).expanduser()
    return None


def _looks_of(path: Path) -> list[list[Any]]:
    """Name, time and size of each file of a configuration."""
    files = [path]
    if path.is_dir():
        files = [path / "gateway.yaml", *sorted(path.glob("machines/*.yaml")), *sorted(path.glob("profiles/*.yaml"))]
    found = []
    for file in files:
        try:
            state = file.stat()
        except OSError:
            continue
        found.append([str(file), state.st_mtime_ns, state.st_size])
    return found


def _load(path: Path) -> Names:
    from gateway.config import load
    from gateway.config.references import signals_of
    from gateway.runtime.registry import protocols

    configuration = load(path, protocols())
    machines = {name: list(signals_of(machine)) for name, machine in configuration.machines.items()}
    return Names(machines, list(configuration.connections))


def _keep(cache: Path, content: dict[str, Any]) -> None:
    from contextlib import suppress

    with suppress(OSError):
        cache.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        made = cache.with_suffix(f".{os.getpid()}")
        made.write_text(json.dumps(content))
        made.replace(cache)
