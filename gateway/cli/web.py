"""gateway web user add | remove | list, certificate, audit: who may open the page, and who did what."""

from __future__ import annotations

import sys
import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli.common import ConfigOption, Json, load_config, print_json
from gateway.errors import GatewayError, UsageError

if TYPE_CHECKING:
    from gateway.config import Configuration
    from gateway.web.access.users import Users

app = typer.Typer(
    help="Who may open the page, its certificate, and who did what.", no_args_is_help=True, rich_markup_mode=None
)
user = typer.Typer(
    help="Users of the page. Also beside a running gateway.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(user, name="user")

Name = Annotated[str, typer.Argument(metavar="NAME", help="The user.")]


@user.command()
def add(
    name: Name,
    role: Annotated[str, typer.Option("--role", metavar="engineer|viewer", help="What they may do.")] = "viewer",
    config: ConfigOption = None,
) -> None:
    """Add somebody, or give them another password or role. Asks for the password, or takes a line of standard input."""
    from gateway.web.access.passwords import hashed, wrong_with
    from gateway.web.access.users import ROLES, User

    roles = {each: each for each in ROLES}
    if role not in roles:
        raise UsageError(f"--role {role}: engineer or viewer")
    configuration = load_config(config)
    users = _users(configuration)
    there = users.all()
    password = _password(name)
    if wrong := wrong_with(password, name):
        raise GatewayError(f"{wrong}: a sentence of a few words is long and can be remembered")
    users.put(User(name, roles[role], hashed(password), time.time_ns() // 1_000_000))
    _note(configuration, "password set", user=name, role=role)
    print(f"{name} is {role}{' now, with a new password' if name in there else ''}")
    web = configuration.settings.web
    if web is None or web.login != "required":
        print("nobody is asked for a password yet: web: {login: required}", file=sys.stderr)


@user.command()
def remove(name: Name, config: ConfigOption = None) -> None:
    """Take somebody's password away. Who is logged in with it is logged out."""
    configuration = load_config(config)
    _users(configuration).remove(name)
    _note(configuration, "user removed", user=name)
    print(f"{name} cannot log in any more")


@user.command("list")
def list_users(config: ConfigOption = None, json: Json = False) -> None:
    """Who has a password, what they may do, and since when."""
    users = _users(load_config(config))
    for each in users.all().values():
        if json:
            print_json({"user": each.name, "role": each.role, "since": each.since})
        else:
            print(f"{each.name:<24} {each.role:<10} {_day(each.since)}")
    if not users.all() and not json:
        print("nobody has a password yet: gateway web user add NAME --role engineer", file=sys.stderr)


@app.command()
def certificate(
    config: ConfigOption = None,
    renew: Annotated[bool, typer.Option("--renew", help="Make a new one, where it is one of ours.")] = False,
    json: Json = False,
) -> None:
    """The certificate of the page and its fingerprint, to compare with what a browser shows."""
    from gateway.web.access.certificate import fingerprint, make_if_missing, names_of_this_machine
    from gateway.web.access.opening import pair_of

    configuration = load_config(config)
    web = configuration.settings.web
    if web is None or not web.tls:
        raise GatewayError("the page is not served with TLS: it is for this machine only, or not there")
    pair = pair_of(web, configuration.folder, _data_dir(configuration))
    names = names_of_this_machine(web.host, web.hosts)
    if renew and not pair.made:
        raise UsageError(f"{pair.cert} is not ours: renew it where it was made")
    made = pair.made and make_if_missing(pair, names, anew=renew)
    if made:
        _note(configuration, "certificate made", fingerprint=fingerprint(pair.cert))
    if json:
        print_json({"cert": str(pair.cert), "sha256": fingerprint(pair.cert), "own": pair.made})
        return
    print(f"{pair.cert}\nSHA-256 {fingerprint(pair.cert)}")
    if made:
        print(f"it was made just now for {', '.join(names)}; a running gateway takes it over within half a minute")


@app.command()
def audit(config: ConfigOption = None, json: Json = False) -> None:
    """Who did what on the page, and whether anybody has changed this list since. Exit code 1: somebody has."""
    from gateway.web.access.audit import verify
    from gateway.web.access.files import folder_of

    folder = folder_of(_data_dir(load_config(config)))
    try:
        verdict = verify(folder)
    except FileNotFoundError:
        print("nothing was done yet", file=sys.stderr)
        return
    except OSError as exc:
        raise GatewayError(f"{folder}: {exc.strerror}: it belongs to the user the gateway runs as") from exc
    for entry in verdict.entries:
        if json:
            print_json(entry)
        else:
            print(_row(entry))
    for problem in verdict.problems:
        if json:
            print_json({"problem": problem.text, "file": problem.file, "line": problem.line})
        else:
            print(f"{folder}/{problem}", file=sys.stderr)
    if verdict.problems:
        raise typer.Exit(1)
    if not json:
        print(f"{len(verdict.entries)} entries, the chain is whole; the last one is {verdict.last}", file=sys.stderr)


def _row(entry: dict[str, Any]) -> str:
    about = {key: value for key, value in entry.items() if key not in ("n", "t", "who", "what", "prev")}
    told = " ".join(f"{key}={_printable(value)}" for key, value in about.items())
    return f"{entry['n']:>6} {_day(entry.get('t'))} {_printable(entry.get('who')):<16} {_printable(entry.get('what')):<14} {told}".rstrip()


def _printable(value: object) -> str:
    """Names that somebody made up must not move the cursor."""
    return "".join(c if c.isprintable() else "?" for c in str(value))


def _day(ms: object) -> str:
    if not isinstance(ms, int) or not 0 < ms < 253_402_300_800_000:
        return "-" * 19
    return datetime.fromtimestamp(ms / 1000).isoformat(sep=" ", timespec="seconds")


def _password(name: str) -> str:
    """Typed twice without echo, or the first line of standard input."""
    if not sys.stdin.isatty():
        line = sys.stdin.readline()
        if not line:
            raise UsageError("a password is needed on standard input")
        return line.rstrip("\r\n")
    import getpass

    first = getpass.getpass(f"Password for {name} (10 characters at least): ")
    if first != getpass.getpass("Once more: "):
        raise GatewayError("these were two different passwords; nothing was changed")
    return first


def _data_dir(configuration: Configuration) -> Path:
    return configuration.resolve(configuration.settings.gateway.data_dir)


def _users(configuration: Configuration) -> Users:
    from gateway.web.access.users import Users

    return Users(_data_dir(configuration))


def _note(configuration: Configuration, what: str, **about: object) -> None:
    """Into the audit: whoever is at the box, by the name there."""
    import getpass

    from gateway.clock import SystemClock
    from gateway.web.access.audit import Audit

    try:
        who = getpass.getuser()
    except (KeyError, OSError):
        who = "local"
    notes = Audit(_data_dir(configuration), SystemClock())
    notes.note(f"{who} at the box", what, **about)
    if not notes.write():
        print("it could not be noted in the audit", file=sys.stderr)
