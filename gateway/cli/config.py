"""gateway config check | show | schema | types | diff | versions | rollback | explain"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli.common import ConfigArgument, ConfigOption, Json, UnknownNameError, load_config, print_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.runtime.changes.versions import Versions

app = typer.Typer(help="Check and explain a configuration. Exit code 3: there are mistakes.", no_args_is_help=True)


@app.command()
def check(config: ConfigArgument = None, option: ConfigOption = None, json: Json = False) -> None:
    """Say what is wrong, at file:line:column; or that all is right. Profiles beside it are checked even if unused."""
    import sys
    from dataclasses import asdict

    from gateway.config import find_config, load
    from gateway.errors import ConfigErrors
    from gateway.runtime.changes.checks import check_any_work, doubts
    from gateway.runtime.registry import protocols

    try:
        configuration = load(find_config(config or option), protocols(), every_profile=True)
        check_any_work(configuration)
    except ConfigErrors as exc:
        if not json:
            raise
        for error in exc.errors:
            print_json(asdict(error))
        raise typer.Exit(exc.exit_code) from exc
    warnings = [*configuration.warnings, *doubts(configuration)]
    for warning in warnings:
        print(warning, file=sys.stderr)
    signals = sum(len(m.signals) for m in configuration.machines.values())
    counts = {
        "connections": len(configuration.connections),
        "machines": len(configuration.machines),
        "signals": signals,
    }
    if json:
        print_json({"ok": True, **counts, "warnings": warnings})
    else:
        alone = "" if configuration.machines else "for `gateway store` only: "
        print(
            f"{configuration.path}: ok, {alone}"
            + ", ".join(f"{n} {what if n != 1 else what[:-1]}" for what, n in counts.items())
        )


@app.command()
def show(config: ConfigArgument = None, option: ConfigOption = None, json: Json = False) -> None:
    """Print what is in force: files joined, profiles and defaults filled in, no secrets."""
    from gateway.config.shown import without_secrets
    from gateway.config.yaml_file import write_yaml

    data = without_secrets(load_config(config, option, whole_tree=True).tree.plain())
    if json:
        print_json(data)
        return
    print(write_yaml(data), end="")


@app.command()
def schema() -> None:
    """Print the JSON Schema, for completion and checks in an editor."""
    import json

    from gateway.config.schema import json_schema
    from gateway.runtime.registry import protocols

    print(json.dumps(json_schema(protocols()), indent=2, ensure_ascii=False))


@app.command()
def types(
    config: ConfigOption = None,
    accept: Annotated[
        list[str] | None,
        typer.Option("--accept", metavar="MACHINE[/SIGNAL]", help="Let it have another type from the next start on."),
    ] = None,
    json: Json = False,
) -> None:
    """Signals that have another type now than the one they have had in the store. Accept it only if the store can take it.

    Until then such a signal is bad: config-error. Exit code 1: there are some. End the gateway before you accept.
    """
    from gateway.clock import SystemClock
    from gateway.errors import GatewayError
    from gateway.runtime.edge.memory import Memory
    from gateway.runtime.edge.schema import PART, Schema

    configuration = load_config(config)
    memory = Memory(configuration.resolve(configuration.settings.gateway.data_dir), SystemClock())
    schema = Schema(memory.saved(PART))
    memory.keep(PART, schema.dump, lambda: schema.changes)
    of = {"/".join(configuration.path_of(name).levels()): name for name in configuration.machines}
    for name in accept or ():
        machine, _, signal = name.partition("/")
        levels = next((levels for levels, each in of.items() if each == machine), None)
        if levels is None or not (accepted := schema.accept(levels, signal or None)):
            raise UnknownNameError(f"nothing has left of '{name}' yet, or there is no such signal")
        print(f"{machine}: the next type counts for {', '.join(accepted)}")
    if accept:
        if (write := memory.due()) is not None:
            write()
        if memory.trouble:
            raise GatewayError(f"it could not be written down: {memory.trouble}")
        return
    found = False
    for machine, signal, before, now in schema.conflicts():
        if (name := of.get(machine, "")) == "":
            continue  # it is gone from the configuration
        found = True
        if json:
            print_json({"machine": name, "signal": signal, "type": before, "now": now})
        else:
            print(f"{name}/{signal}: was {before}, is {now} now; gateway config types --accept {name}/{signal}")
    if found:
        raise typer.Exit(1)


@app.command()
def diff(
    config: ConfigArgument = None,
    option: ConfigOption = None,
    against: Annotated[
        int | None,
        typer.Option("--against", metavar="VERSION", help="Compare with an earlier version, not with what runs."),
    ] = None,
    json: Json = False,
) -> None:
    """What `gateway reload` would change: the files against the configuration that runs, or against a version."""
    configuration = load_config(config, option)
    if against is None:
        from gateway.cli import running

        found = running.ask(configuration, "difference", path=str(configuration.path.absolute()))
    else:
        from gateway.config.difference import difference
        from gateway.runtime.changes.versions import Versions, load_files

        data_dir = configuration.resolve(configuration.settings.gateway.data_dir)
        version = load_files(configuration.path, Versions(data_dir).get(against).data)
        difference_ = difference(version, configuration)
        found = {"difference": difference_.lines(), **difference_.as_json()}
    if json:
        print_json(found)
        return
    for line in found["difference"] or ["no difference"]:
        print(line)
    if found["restart"]:
        print(f"only a restart takes over: {'; '.join(found['restart'])}")


@app.command()
def versions(config: ConfigArgument = None, option: ConfigOption = None, json: Json = False) -> None:
    """The configurations that were in force, newest first: `gateway config rollback N` puts one back."""
    from datetime import datetime

    from gateway.cli.common import one_of
    from gateway.config import find_config
    from gateway.runtime.changes.versions import checksum_of, files_of, finish, rows_of

    path = find_config(one_of(config, option))
    finish(path)
    rows = rows_of(_versions_of(path).all(), checksum_of(files_of(path)))
    if not rows and not json:
        print("none yet: the first is kept when a gateway runs")
    for row in rows:
        if json:
            print_json(row)
            continue
        time = datetime.fromtimestamp(row["t"] / 1000).astimezone().strftime("%Y-%m-%d %H:%M:%S")
        mark = "*" if row["current"] else " " if row["in_force"] else "-"
        print(f"{row['version']:>4} {mark} {time}  {row['who']}" + (f": {row['summary']}" if row["summary"] else ""))
    if rows and not json:
        print("     * as the files are now, - never in force")


@app.command()
def rollback(
    number: Annotated[int | None, typer.Argument(metavar="[N]", help="Version; by default the one before.")] = None,
    config: ConfigOption = None,
    json: Json = False,
) -> None:
    """Put the files of an earlier version back, and have the running gateway take them over. What is there is kept first."""
    import sys
    import time

    from gateway.cli import running
    from gateway.cli.reload import tell, whoami
    from gateway.config import find_config
    from gateway.errors import GatewayError
    from gateway.runtime.changes.versions import checksum_of, files_of, roll_back

    path = find_config(config)
    stored = _versions_of(path)
    if number is None:
        now = checksum_of(files_of(path))
        before = [version for version in stored.good() if version.checksum != now]
        if not before:
            raise UnknownNameError(
                "there is no earlier version: one is kept each time another configuration is in force"
            )
        number = before[0].number
    who = whoami().replace("reload", "config rollback")
    way = roll_back(path, stored, number, who, time.time_ns(), lambda _: None)
    try:
        answer = running.ask_at(path, "reload", who=f"{who}, back to version {number}")
    except running.NotRunningError:
        if json:
            print_json({"changed": False, "files": way.changed, "running": False, "errors": []})
        else:
            _print_back(number, way.changed)
            print("no gateway runs with it: it counts from the next start on", file=sys.stderr)
        return
    changed = way.changed
    if answer["errors"]:  # the gateway goes on with what it had
        try:
            way.undo()
            changed = []
        except GatewayError as exc:
            answer["errors"].append(f"the files are version {number}, which is not in force: {exc}")
    elif not json:
        _print_back(number, changed)
    tell({**answer, "files": changed, "running": True}, json)


def _print_back(number: int, changed: Sequence[str]) -> None:
    print(f"version {number} is in the files: " + (", ".join(changed) if changed else "they were the same"))


def _versions_of(path: Path) -> Versions:
    """What is kept of a configuration, which may be broken. Raises GatewayError."""
    import os

    from gateway.errors import GatewayError
    from gateway.runtime.changes.places import data_dirs_of
    from gateway.runtime.changes.versions import Versions

    found = [Versions(data_dir) for data_dir in data_dirs_of(path)]
    there = next((each for each in found if each.folder.is_dir()), found[0])
    if there.folder.is_dir() and not os.access(there.folder, os.R_OK | os.X_OK):
        raise GatewayError(f"{there.folder} may be read by the user of the gateway only: try it with sudo")
    return there


@app.command()
def explain(
    key: Annotated[
        str, typer.Argument(help="A key such as mqtt.window or order, or a signal such as press-07/melt_temp.")
    ] = "",
    option: ConfigOption = None,
    json: Json = False,
) -> None:
    """Tell what a key means; for a signal, what is in force and in which file and line it was written."""
    if "/" in key:
        _explain_signal(key, option, json)
    else:
        _explain_key(key, json)


def _explain_key(wanted: str, json: bool) -> None:
    from dataclasses import asdict

    from gateway.config.explain import did_you_mean
    from gateway.config.schema import reference
    from gateway.runtime.registry import protocols

    keys = reference(protocols())
    if not wanted:
        for key in keys:
            print_json(asdict(key)) if json else print(f"{key.path:<48} {key.type}")
        return
    words = wanted.split(".")
    found = [key for key in keys if _ends_with(key.path.split("."), words)]
    found += [key for key in keys if key not in found and _starts_with(key.path.split("."), words)]
    if not found:
        known = {k.path.rpartition(".")[2] for k in keys}
        hint = f"gateway config explain {words[-1]}" if words[-1] in known else did_you_mean(words[-1], known)
        raise UnknownNameError(f"no key is called '{wanted}'; {hint}")
    for key in found:
        if json:
            print_json(asdict(key))
            continue
        print(f"{key.path}: {key.type}" + (f" = {key.default}" if key.default else ""))
        if key.description:
            print(f"    {key.description}")
        if key.examples:
            print(f"    for example: {', '.join(key.examples)}")


def _ends_with(path: list[str], words: list[str]) -> bool:
    return path[-len(words) :] == words


def _starts_with(path: list[str], words: list[str]) -> bool:
    return path[: len(words)] == words and len(path) > len(words)


def _explain_signal(name: str, option: Path | None, json: bool) -> None:
    from gateway.cli.common import split_signal
    from gateway.config.explain import did_you_mean
    from gateway.config.references import signals_of, source_of
    from gateway.config.schema import as_written, defaults

    configuration = load_config(None, option, whole_tree=True)
    machine, signal = split_signal(configuration, name)
    of_machine = configuration.machines[machine]
    made_by = source_of(of_machine, signal or "")
    if signal is None or made_by is None:
        raise UnknownNameError(
            f"{machine} has no signal '{signal}'; {did_you_mean(signal or '', signals_of(of_machine))}"
        )
    if made_by not in ("signals", "computed"):
        if json:
            print_json({"machine": machine, "signal": signal, "follows_from": made_by})
            return
        print(f"{signal} of {machine} follows from `{made_by}`: gateway config explain machines.{made_by}")
        return
    settings: Any = getattr(of_machine, made_by)
    node: Any = configuration.tree
    for step in ("machines", machine, made_by, signal):
        node = node.value[step]
    rows = [(key, as_written(value.plain()), str(node.keys[key])) for key, value in node.value.items()]
    rows += [(k, d, "default") for k, d in defaults(type(settings[signal])).items() if k not in node.value]
    for key, text, origin in rows:
        if json:
            print_json({"machine": machine, "signal": signal, "key": key, "value": text, "from": origin})
        else:
            print(f"{key:<14} {text:<32} {origin}")
