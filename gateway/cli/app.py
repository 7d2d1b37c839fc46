"""All commands, put together.

An adapter brings its own: `app` in its cli.py becomes the group `gateway <folder>`. It is imported when one of its
commands is called; until then its name is that of the folder, and its help the first line of the file.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import adapters
from gateway import __version__
from gateway.cli import (
    buffer,
    completion,
    config,
    demo,
    doctor,
    events,
    fleet,
    init,
    machine,
    metrics,
    profiles,
    query,
    record,
    reload,
    replay,
    run,
    simulate,
    status,
    support,
    top,
    verify,
    web,
)
from gateway.errors import UsageError


class _Group(TyperGroup):
    """A group of commands that is not imported yet."""

    def __init__(self, name: str, file: Path, help: str) -> None:
        super().__init__(name=name, help=help)
        self._file = file

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """Called when the group is: what follows is done by the real one."""
        return self.real().make_context(info_name, args, parent, **extra)

    def real(self) -> TyperGroup:
        """The group itself, imported."""
        commands = _alone(f"adapters.{self.name}.cli", self._file).app
        commands.rich_markup_mode = None
        return typer.main.get_group(commands)


class _Commands(TyperGroup):
    """Our own commands, and the groups of the adapters."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        for name, file, about in _groups_of_adapters():
            self.add_command(_Group(name, file, about))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Raises UsageError with where the command is, if it is one of a group."""
        if args and args[0] not in self.commands and (found := next(_within(self, args[0]), "")):
            raise UsageError(f"there is no command '{args[0]}'; did you mean `gateway {found}`?")
        return super().resolve_command(ctx, args)


def _within(group: Any, name: str) -> Iterator[str]:
    """Where a group has a command of this name further down, by the words to type."""
    for each, command in group.commands.items():
        below = getattr(command, "commands", {})
        if name in below:
            yield f"{each} {name}"
        if below:
            yield from (f"{each} {found}" for found in _within(command, name))


def _groups_of_adapters() -> list[tuple[str, Path, str]]:
    """Name, file and help of each adapter's commands, found without importing anything."""
    files = sorted(file for folder in adapters.__path__ for file in Path(folder).glob("*/cli.py"))
    return [(f.parent.name, f, _first_line(f)) for f in files]


def _alone(name: str, file: Path) -> ModuleType:
    """A module without its package, which would import the models of its configuration: help and TAB are quick."""
    if name not in sys.modules:
        spec = spec_from_file_location(name, file)
        assert spec is not None
        assert spec.loader is not None
        module = sys.modules[name] = module_from_spec(spec)
        spec.loader.exec_module(module)
    return sys.modules[name]


def _first_line(file: Path) -> str:
    """The first line of the docstring of a module."""
    return (ast.get_docstring(ast.parse(file.read_bytes())) or "").partition("\n")[0]


app = typer.Typer(
    cls=_Commands,
    help="Brings the readings of old and new machines safely into a time-series store. "
    "Begin with: gateway demo, or gateway init for a machine of your own",
    epilog="Exit codes: 0 ok, 1 failed, 2 usage, 3 configuration, 4 machine not reachable, 5 broker or store not reachable.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(demo.demo)
app.command()(init.init)
app.command()(run.run)
app.command()(run.store)
app.command()(reload.reload)
app.command()(status.status)
app.command()(top.top)
app.command()(events.events)
app.command()(metrics.metrics)
app.command()(doctor.doctor)
app.command()(doctor.explain)
app.command("support-bundle")(support.support_bundle)
app.command()(machine.read)
app.command()(machine.watch)
app.command()(machine.plan)
app.command()(simulate.simulate)
app.command()(record.record)
app.command()(replay.replay)
app.command()(query.query)
app.command("verify-flow")(verify.verify_flow)
app.command()(buffer.audit)
app.add_typer(buffer.app, name="buffer")
app.add_typer(config.app, name="config")
app.add_typer(profiles.app, name="profiles")
app.add_typer(web.app, name="web")
app.add_typer(fleet.app, name="fleet")
app.add_typer(completion.app, name="completion")


def _version(wanted: bool) -> None:
    if wanted:
        print(f"gateway {__version__}")
        raise typer.Exit


@app.callback()
def _gateway(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None: ...
