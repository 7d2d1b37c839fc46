"""gateway web user add | remove | list, certificate, audit: who may open the page, and who did what."""

from __future__ import annotations

import contextlib
import getpass
import os
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli.common import ConfigOption, Json, load_config, print_json
from gateway.errors import GatewayError, UsageError

if TYPE_CHECKING:
    from gateway.config import Configuration

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
    json: Json = False,
) -> None:
    """Add somebody, or give them another password or role. Asks for the password, or takes a line of standard input."""
    from gateway.web.access.passwords import hashed, wrong_with
    from gateway.web.access.users import ROLES, User, Users

    roles = {each: each for each in ROLES}
    if role not in roles:
        raise UsageError(f"--role {role}: engineer or viewer")
    configuration = load_config(config)
    with _home(_data_dir(configuration)) as data_dir:
        there = Users(data_dir).all()
    password = _password(name)
    if wrong := wrong_with(password, name):
        raise GatewayError(f"{wrong}: a sentence of a few words is long and can be remembered")
    made = User(name, roles[role], hashed(password), time.time_ns() // 1_000_000)
    with _home(_data_dir(configuration)) as data_dir:
        Users(data_dir).put(made)
        _note(data_dir, "password set", user=name, role=role)
    if json:
        print_json({"user": name, "role": role, "replaced": name in there})
    else:
        print(f"{name} is {role}{' now, with a new password' if name in there else ''}")
    web = configuration.settings.web
    if web is None or web.login != "required":
        print("nobody is asked for a password yet: web: {login: required}", file=sys.stderr)


@user.command()
def remove(name: Name, config: ConfigOption = None, json: Json = False) -> None:
    """Take somebody's password away. Who is logged in with it is logged out."""
    from gateway.cli.running import data_dir_of
    from gateway.web.access.users import Users

    with _home(data_dir_of(config)) as data_dir:
        Users(data_dir).remove(name)
        _note(data_dir, "user removed", user=name)
    if json:
        print_json({"user": name, "removed": True})
    else:
        print(f"{name} cannot log in any more")


@user.command("list")
def list_users(config: ConfigOption = None, json: Json = False) -> None:
    """Who has a password, what they may do, and since when."""
    from gateway.cli.running import data_dir_of
    from gateway.web.access.users import Users

    with _home(data_dir_of(config)) as data_dir:
        users = Users(data_dir).all()
    for each in users.values():
        if json:
            print_json({"user": each.name, "role": each.role, "since": each.since})
        else:
            print(f"{each.name:<24} {each.role:<10} {_day(each.since)}")
    if not users and not json:
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
    names = names_of_this_machine(web.host, web.hosts)
    folder = configuration.folder.absolute()
    with _home(_data_dir(configuration)) as data_dir:
        pair = pair_of(web, folder, data_dir)
        if renew and not pair.made:
            raise UsageError(f"{pair.cert} is not ours: renew it where it was made")
        made = pair.made and make_if_missing(pair, names, anew=renew)
        told = fingerprint(pair.cert)
        if made:
            _note(data_dir, "certificate made", fingerprint=told)
    cert = pair_of(web, folder, _data_dir(configuration)).cert
    if json:
        print_json({"cert": str(cert), "sha256": told, "own": pair.made})
        return
    print(f"{cert}\nSHA-256 {told}")
    if made:
        print(f"it was made just now for {', '.join(names)}; a running gateway takes it over within half a minute")


@app.command()
def audit(config: ConfigOption = None, json: Json = False) -> None:
    """Who did what on the page, and whether anybody has changed this list since. Exit code 1: somebody has."""
    from gateway.cli.running import data_dir_of
    from gateway.web.access.audit import verify
    from gateway.web.access.files import folder_of

    place = data_dir_of(config)
    folder = folder_of(place)
    try:
        with _home(place) as data_dir:
            verdict = verify(folder_of(data_dir))
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
    from gateway.web.access.passwords import MIN_LENGTH

    if not sys.stdin.isatty():
        line = sys.stdin.readline()
        if not line:
            raise UsageError("a password is needed on standard input")
        return line.rstrip("\r\n")
    print(f"{MIN_LENGTH} characters at least; best is a sentence of a few words", file=sys.stderr)
    first = getpass.getpass(f"Password for {name}: ")
    if first != getpass.getpass("Once more: "):
        raise GatewayError("these were two different passwords; nothing was changed")
    return first


def _data_dir(configuration: Configuration) -> Path:
    return configuration.resolve(configuration.settings.gateway.data_dir)


@contextlib.contextmanager
def _home(folder: Path) -> Iterator[Path]:
    """The data_dir, and for root the rights of whom it belongs to: a link that is put there leads nowhere they may not go.

    By way of an open folder where they cannot reach it, as below /var/lib/private of systemd.
    """
    folder = folder.absolute()
    there = next(each for each in (folder, *folder.parents) if each.exists())
    owner = there.stat()
    if os.geteuid() != 0 or owner.st_uid == 0:
        yield folder
        return
    groups, group = os.getgroups(), os.getegid()
    handle = os.open(there, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    inside = Path(f"/proc/self/fd/{handle}")
    try:
        os.setgroups([])
        os.setegid(owner.st_gid)
        os.seteuid(owner.st_uid)
        yield folder if os.access(there, os.X_OK, effective_ids=True) else inside / folder.relative_to(there)
    except GatewayError as exc:
        if str(inside) not in str(exc):
            raise
        raise GatewayError(str(exc).replace(str(inside), str(there))) from exc
    finally:
        os.seteuid(0)
        os.setegid(group)
        os.setgroups(groups)
        os.close(handle)


def _note(data_dir: Path, what: str, **about: object) -> None:
    """Into the audit: whoever is at the box, by the name there."""
    from gateway.clock import SystemClock
    from gateway.web.access.audit import Audit

    try:
        who = getpass.getuser()
    except (KeyError, OSError):
        who = "local"
    notes = Audit(data_dir, SystemClock())
    notes.note(f"{who} at the box", what, **about)
    if not notes.write():
        print("it could not be noted in the audit", file=sys.stderr)
