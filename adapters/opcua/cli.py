"""Look at an OPC UA server, trust it, and write its YAML."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli.common import (
    ConfigOption,
    Force,
    Json,
    OutputOption,
    check_output,
    load_config,
    print_json,
    run,
    seconds_of,
    tell_yaml,
)
from gateway.cli.progress import Progress

if TYPE_CHECKING:
    from adapters.opcua.config import OpcuaConnection
    from adapters.opcua.security.certificates import Certificate
    from adapters.opcua.security.choice import Endpoint
    from adapters.opcua.security.secure import Security as ConnectionSecurity
    from adapters.opcua.security.store import Store
    from adapters.opcua.tools.crawl import Tree
    from adapters.opcua.tools.explorer import Explorer
    from adapters.opcua.tools.importing import Imported
    from adapters.opcua.tools.live import Asked, Reading
    from adapters.opcua.tools.pattern import Pattern
    from adapters.opcua.tools.show import Row
    from adapters.opcua.tools.written import Written
    from gateway.config import Configuration

app = typer.Typer(
    help="Look at an OPC UA server, trust it, and write its YAML. Only reads, and takes its time.", no_args_is_help=True
)


# --- who it is: endpoints, trust, certificate ------------------------------------------------------------------------


@app.command()
def endpoints(
    target: Annotated[
        str,
        typer.Argument(
            metavar="TARGET", show_default=False,
            help="A connection or machine of the configuration, or an address: opc.tcp://HOST[:PORT], HOST:PORT.",
        ),
    ],
    timeout: Annotated[
        str | None, typer.Option(help="How long an answer may take.  [default: 4s]", show_default=False)
    ] = None,
    config: ConfigOption = None,
    json: Json = False,
) -> None:  # fmt: skip
    """Show how a server can be talked to, how to log in, and who it says it is. Nothing secret is sent."""
    from adapters.opcua.security import report
    from adapters.opcua.security.secure import ahead
    from adapters.opcua.tools import trust as tool

    security = _Server(target, config, None, None, None, None, None, timeout, None).security()

    async def ask() -> None:
        offered = await tool.offer(security)
        used = tool.chosen(offered, security)
        shown: dict[bytes, Any] = {}
        for each in offered.endpoints:
            if each.certificate and each.certificate not in shown:
                sent, verdict = security.judge(each)
                shown[each.certificate] = sent[0], verdict
            if json:
                row = report.endpoint(each, each == used)
                print_json({**row, "certificate": report.facts(*shown[each.certificate]) if each.certificate else None})
        if json:
            return
        _print_endpoints(offered.endpoints, used, list(shown))
        for number, (certificate, verdict) in enumerate(shown.values(), 1):
            print(f"\ncertificate {number}")
            for line in report.lines(certificate, verdict, security.connection.allow):
                print(f"  {line}")
        if offered.clock_ahead is not None and abs(offered.clock_ahead) > 60:
            print(f"\nThe server's clock is {ahead(offered.clock_ahead)}.")
        if shown and not any(verdict.trusted for _, verdict in shown.values()):
            print(f"\nTo trust it: gateway opcua trust {target}")

    run(ask())


def _print_endpoints(endpoints: Sequence[Endpoint], used: Endpoint | None, certificates: Sequence[bytes]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("security", "log in with", "address it names", "certificate", "", box=None, pad_edge=False)
    for each in endpoints:
        number = str(1 + certificates.index(each.certificate)) if each.certificate else "–"
        mark = "◀ would be used" if each == used else ""
        table.add_row(each.security, ", ".join(each.logins) or "–", each.url, number, mark)
    Console(width=None if sys.stdout.isatty() else 160).print(table)


@app.command()
def trust(
    target: Annotated[
        str | None,
        typer.Argument(metavar="[TARGET]", show_default=False, help="A connection of the configuration, or an address."),
    ] = None,
    fingerprint: Annotated[
        str | None,
        typer.Option(metavar="F", show_default=False, help="Trust it if this is its SHA-256 or SHA-1, and do not ask."),
    ] = None,
    listed: Annotated[bool, typer.Option("--list", help="What is trusted, pinned and refused.")] = False,
    remove: Annotated[
        str | None,
        typer.Option(metavar="F", show_default=False, help="Forget the certificate with this fingerprint, or its start."),
    ] = None,
    add: Annotated[
        Path | None,
        typer.Option(metavar="FILE", show_default=False, help="Trust a certificate, a CA or a revocation list in a file."),
    ] = None,
    timeout: Annotated[
        str | None, typer.Option(help="How long an answer may take.  [default: 4s]", show_default=False)
    ] = None,
    config: ConfigOption = None,
    json: Json = False,
) -> None:  # fmt: skip
    """Show who a server is, and trust it once you have compared its fingerprint with the one the server shows."""
    from adapters.opcua.security.store import Store
    from gateway.errors import UsageError

    others = [listed, remove is not None, add is not None]
    if sum([target is not None, *others]) != 1 or (fingerprint and target is None):
        raise UsageError("one of: TARGET (and --fingerprint), --list, --remove F, --add FILE")
    if target is not None:
        security = _Server(target, config, None, None, None, None, None, timeout, None).security()
        _trust(security, fingerprint, json)
        return
    store = Store(_home(_configuration_here(config))[0] / "opcua" / "pki")
    with _here():
        if add is not None:
            file = store.add(add)
            print_json({"trusted": str(file)}) if json else print(f"trusted: {file}")
        elif remove is not None:
            _forget(store, remove, json)
        else:
            _list(store, json)


@contextmanager
def _here() -> Iterator[None]:
    """No machine is asked: what is wrong is wrong with our files, and no sign that one cannot be reached."""
    from adapters.opcua.security.certificates import CertificateError
    from gateway.errors import GatewayError

    try:
        yield
    except CertificateError as exc:
        raise GatewayError(str(exc)) from exc


def _trust(security: ConnectionSecurity, fingerprint: str | None, json: bool) -> None:
    from adapters.opcua.security import report
    from adapters.opcua.tools import trust as tool
    from gateway.errors import GatewayError

    answers: list[tool.Shown] = []

    async def ask() -> None:
        answers.append(await tool.show(security))

    run(ask())
    if not answers:
        raise typer.Exit(130)
    (shown,) = answers
    certificate, verdict = shown.certificate, shown.verdict
    if shown.kept and not json:
        print(f"{security.name} does not answer now. This is the certificate that was refused at {shown.kept}:")
    if not json:
        print("\n".join(report.lines(certificate, verdict, security.connection.allow)))
    pinned = security.store.pinned(security.name) if security.connection.trust == "pinned" else None
    known = certificate == pinned if security.connection.trust == "pinned" else bool(verdict.trusted)
    file = None
    if known:
        pass
    elif fingerprint is not None:
        if not certificate.matches(fingerprint):
            raise GatewayError(
                f"{security.name} shows a certificate with another fingerprint than this, SHA-256 "
                f"{certificate.fingerprint}, SHA-1 {certificate.thumbprint}: it is not trusted"
            )
        file = tool.believe(security, certificate)
    elif (
        not json
        and sys.stdin.isatty()
        and typer.confirm("\nIs this the fingerprint that the server itself shows? Trust it?")
    ):
        file = tool.believe(security, certificate)
    if json:
        print_json({**report.facts(certificate, verdict), "trusted": known or file is not None, "file": file})
    elif known:
        print(f"\nIt is trusted already: {verdict.trusted or 'it is pinned'}.")
    elif file:
        print(f"\nTrusted: {file}. A gateway that runs takes it at its next try.")
    else:
        print(
            "\nNot trusted. Compare the fingerprint with the one that the server itself shows, then:\n"
            f"  gateway opcua trust {security.target} --fingerprint {certificate.fingerprint}"
        )
    if not known and file is None:
        raise typer.Exit(1)


def _list(store: Store, json: bool) -> None:
    from adapters.opcua.security import report
    from adapters.opcua.security.certificates import day
    from adapters.opcua.security.store import PLACES

    rows = [each for place in PLACES for each in store.entries(place)]
    for each in rows:
        if json:
            print_json(report.entry(each))
            continue
        what = {"trusted": "trusted", "issuers": "issuer", "pinned": f"pinned for {each.connection}",
                "rejected": f"refused at {each.connection}"}[each.place]  # fmt: skip
        kind = " (a CA: all that it issues)" if each.place == "trusted" and each.certificate.is_ca else ""
        print(f"{what}{kind}: {each.certificate.subject or 'no name'}, until {day(each.certificate.not_after)}")
        print(f"    SHA-256 {each.certificate.fingerprint}\n    SHA-1 {each.certificate.thumbprint}\n    {each.file}")
    for file, issuer in store.crls():
        if json:
            print_json({"place": "crl", "issuer": issuer, "file": str(file)})
        else:
            print(f"revocation list of {issuer}\n    {file}")
    if not rows and not json:
        print(f"nothing is trusted yet in {store.folder}")


def _forget(store: Store, fingerprint: str, json: bool) -> None:
    from adapters.opcua.security import report
    from adapters.opcua.security.store import PLACES
    from gateway.errors import UsageError

    found = report.meant([each for place in PLACES for each in store.entries(place)], fingerprint)
    if not found:
        raise UsageError(
            f"no certificate begins with '{fingerprint}' (8 digits at least); see gateway opcua trust --list"
        )
    if len({each.certificate for each in found}) > 1:
        raise UsageError(f"several certificates begin with '{fingerprint}'; see gateway opcua trust --list")
    for each in found:
        store.remove(each)
        if json:
            print_json({"removed": str(each.file), "place": each.place})
        else:
            print(f"removed: {each.file}")


@app.command()
def certificate(config: ConfigOption = None, json: Json = False) -> None:
    """Show the gateway's own certificate, which servers have to trust. Makes it where there is none yet."""
    from datetime import UTC, datetime

    from adapters.opcua.security import report
    from adapters.opcua.security.own import own

    data_dir, gateway_id, _ = _home(_configuration_here(config))
    with _here():
        ours = own(data_dir / "opcua" / "pki", gateway_id, datetime.now(UTC))
    if json:
        following = report.facts(ours.next) if ours.next else None
        print_json({**report.facts(ours.certificate), "file": str(ours.file), "next": following})
        return
    _print_own(ours.certificate, ours.file)
    if ours.next:
        print("\nThe one that comes after it; let servers trust it in advance:")
        _print_own(ours.next, ours.file.with_name("next.der"))


def _print_own(shown: Certificate, file: Path) -> None:
    from adapters.opcua.security import report

    print(f"{'file':<12} {file}")
    print("\n".join(report.lines(shown)))


# --- what it has: browse, read, watch, import ------------------------------------------------------------------------

Target = Annotated[
    str,
    typer.Argument(
        metavar="TARGET", show_default=False,
        help="A connection or machine of the configuration, or an address: opc.tcp://HOST[:PORT], HOST:PORT.",
    ),
]  # fmt: skip
Security = Annotated[
    str | None,
    typer.Option(help="An address: auto, None, or e.g. Basic256Sha256/Sign.  [default: auto]", show_default=False),
]
User = Annotated[
    str | None,
    typer.Option(
        help="An address: user name; the password is asked for, or GATEWAY_OPCUA_PASSWORD.", show_default=False
    ),
]
UserCertificate = Annotated[
    Path | None, typer.Option(metavar="FILE", help="An address: log in with this certificate.", show_default=False)
]
UserKey = Annotated[Path | None, typer.Option(metavar="FILE", help="Its private key.", show_default=False)]
Trust = Annotated[
    str | None, typer.Option(help="An address: store, or pinned for the certificate it shows.", show_default=False)
]
Allow = Annotated[
    list[str] | None,
    typer.Option(
        help="An address: take its certificate though it is expired or for another host: expired, wrong-host.",
        show_default=False,
    ),
]
Timeout = Annotated[str | None, typer.Option(help="How long an answer may take.  [default: 4s]", show_default=False)]
MaxNodes = Annotated[
    int | None, typer.Option(min=1, max=10_000, help="Nodes in one request at most.", show_default=False)
]
Limit = Annotated[int, typer.Option(min=1, max=1_000_000, help="Nodes to keep at most.")]


@app.command()
def browse(
    target: Target,
    path: Annotated[
        str,
        typer.Argument(
            metavar="[PATH]",
            show_default=False,
            help="Where: browse names from the folder Objects, or a node id. With * ? ** a pattern, for example '**/Spindle*'.",
        ),
    ] = "",
    depth: Annotated[
        int | None, typer.Option("--depth", "-d", min=1, help="Levels below PATH.", show_default=False)
    ] = None,
    kind: Annotated[
        list[str] | None, typer.Option("--type", help="Only these: variable, object, method.", show_default=False)
    ] = None,
    as_list: Annotated[bool, typer.Option("--list", help="A list with whole paths, not a tree.")] = False,
    everything: Annotated[bool, typer.Option("--all", help="The server's own nodes and all properties, too.")] = False,
    limit: Limit = 100_000,
    security: Security = None,
    user: User = None,
    user_certificate: UserCertificate = None,
    user_key: UserKey = None,
    trust: Trust = None,
    allow: Allow = None,
    timeout: Timeout = None,
    max_nodes: MaxNodes = None,
    config: ConfigOption = None,
    json: Json = False,
) -> None:
    """Show what a server has: paths, node ids, types, values, units, ranges. A pattern finds nodes wherever they are."""
    from adapters.opcua.tools import show
    from adapters.opcua.tools.crawl import Tree
    from adapters.opcua.tools.describe import DataTypes, Description, describe
    from adapters.opcua.tools.locate import nothing_called
    from adapters.opcua.tools.written import Written
    from gateway.errors import UsageError

    classes = {"object": 1, "variable": 2, "method": 4}
    if wrong := set(kind or ()) - set(classes):
        raise UsageError(f"--type {min(wrong)}: variable, object or method")
    shown = {classes[each] for each in kind} if kind else None
    where = _Server(target, config, security, user, user_certificate, user_key, trust, timeout, max_nodes, allow)
    tree, before, printed = Tree(), list[Any](), set[int]()
    progress = Progress(f"browsing {where.name}", what="requests")
    lines = _Lines(as_list, json)

    def print_nodes(part: Sequence[int], found: Sequence[Description | None]) -> None:
        progress.clear()
        for i, description in zip(part, found, strict=True):
            lines.add(show.row_of(tree, i, description, before))
        lines.flush()
        printed.update(part)

    async def look() -> None:
        async with where.opened(progress.step) as explorer:
            lines.written = Written(explorer.uris, where.namespaces)
            pattern = await _crawl(explorer, tree, path, lines.written, before, depth, limit, everything)
            lines.as_list |= pattern.wild
            types = DataTypes(explorer)
            wanted = [i for i in tree.order() if _is_shown(tree, i, shown)]
            lines.begin(tree, wanted)
            for at in range(0, len(wanted), _AT_ONCE):
                part = wanted[at : at + _AT_ONCE]
                print_nodes(part, await describe(explorer, types, [tree.nodes[i] for i in part]))

    with progress.to_the_end(look):
        if lines.written is not None:
            wanted = [i for i in tree.order() if _is_shown(tree, i, shown) and i not in printed]
            lines.begin(tree, wanted)
            print_nodes(wanted, [None] * len(wanted))
            lines.end()
    if not tree.meant:
        raise UsageError(nothing_called(where.name, path) if path else f"{where.name} has nothing there")
    _remark(tree, limit, path)


_AT_ONCE = 500  # nodes that are described and printed before the next ones


def _is_shown(tree: Tree, i: int, classes: set[int] | None) -> bool:
    return tree.nodes[i].meant and (classes is None or tree.nodes[i].node_class in classes)


def _remark(tree: Tree, limit: int, path: str) -> None:
    """What was left out, to stderr."""
    if not tree.complete:
        print(f"there is more than {limit} nodes: a longer PATH, --depth or --limit", file=sys.stderr)
    if tree.plumbing and not path:
        print("left out: the server's own nodes; --all, or `browse TARGET Server`", file=sys.stderr)
    if tree.remote:
        print(f"{tree.remote} references lead to other servers or unknown namespaces", file=sys.stderr)


async def _crawl(
    explorer: Explorer,
    tree: Tree,
    path: str,
    written: Written,
    before: list[Any],
    depth: int | None,
    limit: int,
    everything: bool,
    below: bool = False,
) -> Pattern:
    """Browse what a PATH means. `before`: gets the way to where the tree begins. Raises UsageError, NotConnectedError."""
    from adapters.opcua.tools.crawl import crawl
    from adapters.opcua.tools.locate import is_node_id, located
    from adapters.opcua.tools.pattern import Pattern

    if is_node_id(path):
        pattern, start = Pattern("**", written.prefixes), await located(explorer, path, written)
        before += [node.name for node in start.way]
        await crawl(explorer, tree, pattern, start=start.node, depth=depth, limit=limit, everything=everything)
        pattern.wild = False
        return pattern
    pattern = Pattern(path, written.in_patterns, below)
    if not pattern.wild:
        pattern = Pattern(path, written.in_patterns, below=True)
        depth = depth and depth + pattern.length
    await crawl(explorer, tree, pattern, depth=depth, limit=limit, everything=everything)
    return pattern


class _Lines:
    """Prints nodes as they come: objects, a list or a tree."""

    def __init__(self, as_list: bool, json: bool) -> None:
        self.as_list = as_list
        self.written: Written | None = None
        self._json, self._width, self._least = json, 0, 0
        self._rows: list[Row] = []

    def begin(self, tree: Tree, nodes: Sequence[int]) -> None:
        """How wide the first column has to be, and where the tree begins."""
        self._least = min((tree.nodes[i].depth for i in nodes), default=0)

    def add(self, row: Row) -> None:
        self._rows.append(row)

    def flush(self) -> None:
        """Print what was added."""
        from adapters.opcua.tools import show

        assert self.written is not None
        rows, self._rows = self._rows, []
        if self._json:
            for row in rows:
                print_json(show.object_of(row, self.written))
            return
        names = [len(show.name_of(row, self.written, self._indent(row))) for row in rows]
        self._width = max(self._width, min(max(names, default=0), 60))
        for row in rows:
            print(show.line_of(row, self.written, self._width, self._indent(row)))
        sys.stdout.flush()

    def _indent(self, row: Row) -> int | None:
        return None if self.as_list else max(0, row.node.depth - self._least)

    def end(self) -> None:
        """The prefixes, as they are written in a machine."""
        from gateway.config.yaml_text import scalar

        if not self._json and self.written is not None and (used := self.written.used):
            print("\nnamespaces:")
            for prefix, uri in used.items():
                print(f"  {scalar(prefix)}: {scalar(uri)}")


# --- read, watch


@app.command()
def read(
    target: Annotated[
        str, typer.Argument(metavar="TARGET", help="As in browse; or MACHINE/SIGNAL.", show_default=False)
    ],
    nodes: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NODE]...",
            show_default=False,
            help='Node ids or browse paths, for example "m:s=CNC1.Speed"; without any, the signals of the machine.',
        ),
    ] = None,
    security: Security = None,
    user: User = None,
    user_certificate: UserCertificate = None,
    user_key: UserKey = None,
    trust: Trust = None,
    allow: Allow = None,
    timeout: Timeout = None,
    max_nodes: MaxNodes = None,
    config: ConfigOption = None,
    json: Json = False,
) -> None:
    """Read nodes once, configured or not: value, type, status, and the time stamps of source and server."""
    from adapters.opcua.tools import live

    where = _Server(target, config, security, user, user_certificate, user_key, trust, timeout, max_nodes, allow)
    asked = where.nodes(nodes)
    readings: list[live.Reading] = []

    async def once() -> None:
        async with where.opened() as explorer:
            readings.extend(await live.read(explorer, asked, where.namespaces))

    run(once())
    if json:
        for reading in readings:
            print_json(live.object_of(reading))
    else:
        _print_readings(readings)
    if readings and all(reading.value.status in live.NO_NODE for reading in readings):
        raise typer.Exit(1)


def _print_readings(readings: Sequence[Reading]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from adapters.opcua.tools import live

    table = Table("node", box=None, pad_edge=False)
    table.add_column("value", justify="right")
    for column in ("unit", "type", "quality", "source time", "server time"):
        table.add_column(column, no_wrap=True)
    for reading in readings:
        name, value, *more = live.columns(reading)
        style = "" if not reading.value.status else "yellow" if reading.value.good else "bold red"
        table.add_row(Text(name), Text(value, style), *map(Text, more))
    Console(width=None if sys.stdout.isatty() else 200).print(table)


@app.command()
def watch(
    target: Annotated[
        str, typer.Argument(metavar="TARGET", help="As in browse; or MACHINE/SIGNAL.", show_default=False)
    ],
    nodes: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NODE]...",
            show_default=False,
            help="Node ids, browse paths or patterns; without any, the signals of the machine.",
        ),
    ] = None,
    publishing: Annotated[str, typer.Option(help="Time between two notifications.")] = "500ms",
    security: Security = None,
    user: User = None,
    user_certificate: UserCertificate = None,
    user_key: UserKey = None,
    trust: Trust = None,
    allow: Allow = None,
    timeout: Timeout = None,
    max_nodes: MaxNodes = None,
    config: ConfigOption = None,
    json: Json = False,
) -> None:
    """Subscribe to nodes, and print every change until Ctrl-C."""
    from adapters.opcua.tools import live
    from gateway.errors import UsageError

    where = _Server(target, config, security, user, user_certificate, user_key, trust, timeout, max_nodes, allow)
    asked, interval = where.nodes(nodes), seconds_of(publishing, "--publishing")
    if interval < 0.01:
        raise UsageError("--publishing: 10ms at least")

    async def for_ever() -> None:
        async with where.opened() as explorer:
            async for reading in live.watch(explorer, asked, where.namespaces, interval):
                if json:
                    print_json(live.object_of(reading))
                else:
                    print(live.line_of(reading), flush=True)

    run(for_ever())


# --- import


@app.command("import")
def import_(
    target: Target,
    path: Annotated[
        str, typer.Argument(metavar="[PATH]", help="As in browse: only this, and what is below it.", show_default=False)
    ] = "",
    output: OutputOption = None,
    force: Force = False,
    paths: Annotated[
        bool, typer.Option("--paths", help="Name nodes by browse path: for servers whose node ids move.")
    ] = False,
    each: Annotated[
        str | None,
        typer.Option(metavar="PATTERN", help="Each of these objects is a machine: 'Channel1/*'.", show_default=False),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Properties and the inside of state machines and alarms, too.")
    ] = False,
    events: Annotated[bool, typer.Option("--events", help="The events of objects that have some, too.")] = False,
    machine: Annotated[
        str | None, typer.Option(metavar="NAME", help="What the machine is called, if it is one.", show_default=False)
    ] = None,
    connection: Annotated[
        str, typer.Option(metavar="NAME", help="An address: what the connection is called.")
    ] = "server",
    max_elements: Annotated[
        int, typer.Option(min=1, max=10_000, help="Elements of an array, values of a structure at most.")
    ] = 64,
    depth: Annotated[
        int | None, typer.Option("--depth", "-d", min=1, help="Levels below PATH.", show_default=False)
    ] = None,
    limit: Limit = 100_000,
    security: Security = None,
    user: User = None,
    user_certificate: UserCertificate = None,
    user_key: UserKey = None,
    trust: Trust = None,
    allow: Allow = None,
    timeout: Timeout = None,
    max_nodes: MaxNodes = None,
    config: ConfigOption = None,
    json: Json = False,
) -> None:
    """Write the YAML for what a server has: machines, and signals with unit, range and states. It runs as it is."""
    from adapters.opcua.tools.companion import Types
    from adapters.opcua.tools.crawl import Tree
    from adapters.opcua.tools.describe import DataTypes, Description, describe
    from adapters.opcua.tools.importing import Options, imported
    from adapters.opcua.tools.locate import nothing_called
    from adapters.opcua.tools.pattern import Pattern
    from adapters.opcua.tools.target import stanza_of
    from adapters.opcua.tools.written import Written
    from gateway.errors import UsageError

    for name in (machine, connection):
        if name is not None and not _is_name(name):
            raise UsageError(f"'{name}' cannot be a name: letters, digits, '_', '-' and '.'")
    check_output(output, force)
    where = _Server(target, config, security, user, user_certificate, user_key, trust, timeout, max_nodes, allow)
    if not where.known:
        where.name = connection
    tree, before = Tree(), list[Any]()
    described: dict[int, Description] = {}
    made: list[Imported] = []
    progress = Progress(f"browsing {where.name}", what="requests")

    async def look() -> None:
        async with where.opened(progress.step) as explorer:
            written = Written(explorer.uris, where.namespaces)
            types, kinds = DataTypes(explorer), Types()
            await _crawl(explorer, tree, path, written, before, depth, limit, False, below=True)
            await kinds.learn(explorer, tree)
            wanted = [i for i in tree.order() if tree.nodes[i].meant and tree.nodes[i].node_class in (1, 2)]
            for at in range(0, len(wanted), _AT_ONCE):
                part = wanted[at : at + _AT_ONCE]
                found = await describe(explorer, types, [tree.nodes[i] for i in part])
                described.update(zip(part, found, strict=True))
            configuration = where.configuration
            options = Options(
                connection=where.name,
                stanza=None if where.known else stanza_of(where.connection, where.name),
                source=where.connection.url,
                machine=machine,
                roots=_roots(tree, Pattern(each, written.in_patterns), explorer.uris, before, each) if each else (),
                taken=list(configuration.machines) if where.known and configuration else (),
                paths=paths,
                everything=everything,
                events=events,
                max_elements=max_elements,
            )
            made.append(imported(tree, described, kinds, types.structures.definitions, written, options, before))

    with progress.to_the_end(look):
        pass
    _remark(tree, limit, path)
    if not tree.meant:
        raise UsageError(nothing_called(where.name, path) if path else f"{where.name} has nothing there")
    result = made[0]
    for line in (*result.machines, *(f"left out: {n} {what}" for what, n in sorted(result.left_out.items()))):
        print(line, file=sys.stderr)
    if not paths and result.numeric > 0.9 * result.signals:
        print("node ids are numbers here: if others stand there after a download to the PLC, --paths", file=sys.stderr)
    if not result.signals:
        raise UsageError(
            f"nothing to read there; --all takes what was left out, `gateway opcua browse {target}` shows it"
        )
    tell_yaml(result.text, output, json, signals=result.signals)


def _roots(tree: Tree, pattern: Pattern, uris: Sequence[str], before: Sequence[Any], each: str) -> Sequence[int]:
    """The objects that are machines. Raises UsageError."""
    from adapters.opcua.tools.crawl import matching
    from gateway.errors import UsageError

    if found := matching(tree, pattern, uris, before):
        return found
    raise UsageError(f"--each {each}: nothing there is called so; `gateway opcua browse` shows what is")


def _is_name(text: str) -> bool:
    import re

    return re.fullmatch(r"[A-Za-z0-9.-][A-Za-z0-9_.-]{0,127}", text) is not None


# --- what they share


class _Server:
    """What a TARGET means, and how to get there."""

    def __init__(
        self,
        target: str,
        config: Path | None,
        security: str | None,
        user: str | None,
        user_certificate: Path | None,
        user_key: Path | None,
        trust: str | None,
        timeout: str | None,
        max_nodes: int | None,
        allow: list[str] | None = None,
    ) -> None:
        from adapters.opcua.tools.target import connection_of, is_address
        from gateway.errors import UsageError

        self.namespaces: dict[str, str] = {}
        self.machine: Any = None
        self.signal: str | None = None
        self.configuration: Configuration | None = None
        self.known, self.target = not is_address(target), target
        given = {
            "security": security, "user": user, "user_certificate": user_certificate, "user_key": user_key, "trust": trust,
            "allow": allow or None,
        }  # fmt: skip
        if self.known:
            if any(value is not None for value in given.values()):
                raise UsageError(
                    "--security, --user, --user-certificate, --user-key, --trust and --allow are for an address"
                )
            self.connection = self._configured(target, config)
            changed: dict[str, Any] = {"timeout": seconds_of(timeout, "--timeout")} if timeout else {}
            if max_nodes:
                changed["max_nodes"] = max_nodes
            self.connection = self.connection.model_copy(update=changed)
        else:
            self.name = "server"
            # What is wrong with the rest is said before somebody is asked.
            connection_of(target, "?" if user else None, **given, timeout=timeout, max_nodes=max_nodes)
            password = _password(target) if user else None
            self.connection = connection_of(target, password, **given, timeout=timeout, max_nodes=max_nodes)
            if self.connection.security != "None":  # our certificate, and whom we trust, are those of the gateway here
                self.configuration = _configuration_here(config)

    def _configured(self, target: str, config: Path | None) -> OpcuaConnection:
        """The connection, or that of the machine, with this name. Raises UsageError, ConfigErrors."""
        from adapters.opcua.config import OpcuaConnection, OpcuaMachine
        from gateway.config.explain import did_you_mean
        from gateway.errors import UsageError

        self.configuration = configuration = load_config(config)
        name, _, signal = target.partition("/")
        self.name = name
        machine = configuration.machines.get(name)
        if machine is not None:
            self.name, self.signal = machine.connection, signal or None
        found = configuration.connections.get(self.name)
        if found is None or (signal and machine is None):
            names = [*configuration.connections, *configuration.machines]
            raise UsageError(
                f"there is no connection or machine '{name}'; {did_you_mean(name, names)} An address: opc.tcp://{name}"
            )
        if not isinstance(found, OpcuaConnection):
            raise UsageError(f"{self.name} speaks {found.protocol}, not OPC UA")
        if machine is not None:
            assert isinstance(machine, OpcuaMachine)
            self.machine = machine
            self.namespaces = dict(machine.namespaces)
        else:
            for each in configuration.machines_of(self.name).values():
                assert isinstance(each, OpcuaMachine)
                self.namespaces = {**each.namespaces, **self.namespaces}
        if self.signal is not None and self.signal not in self.machine.signals:
            raise UsageError(f"{name} has no signal '{self.signal}'; {did_you_mean(self.signal, self.machine.signals)}")
        return found

    def nodes(self, texts: Sequence[str] | None) -> list[Asked]:
        """What to read: nodes as typed, or the signals of the machine. Raises UsageError."""
        from adapters.opcua.tools.live import Asked
        from gateway.errors import UsageError

        if texts and self.signal is None:
            return [Asked(text) for text in texts]
        if texts or self.machine is None:
            raise UsageError(
                "MACHINE, MACHINE/SIGNAL, or a TARGET with node ids or paths; `gateway opcua browse` finds them"
            )
        chosen = [self.signal] if self.signal else list(self.machine.signals)
        return [
            Asked(name, self.machine.address_of(name), self.machine.signals[name])
            for name in chosen
            if self.machine.signals[name].part is None  # what happens cannot be read
        ]

    def security(self) -> ConnectionSecurity:
        """With the certificates of the gateway whose configuration was found, else of this folder."""
        from adapters.opcua.security.secure import Security
        from gateway.clock import SystemClock

        name = self.name if self.known else f"{self.connection.host}_{self.connection.port}".replace(":", "-")
        data_dir, gateway_id, folder = _home(self.configuration)
        return Security(self.connection, name, data_dir, gateway_id, SystemClock(), folder, self.target)

    @asynccontextmanager
    async def opened(self, on_request: Callable[[], None] = lambda: None) -> AsyncIterator[Explorer]:
        """A session that is closed at the end. Raises NotConnectedError."""
        from adapters.opcua.tools.explorer import Explorer
        from gateway.clock import SystemClock

        security, link = self.security(), self.connection
        label = f"{self.name} {link.host}:{link.port}"
        explorer = Explorer(link, label, f"{security.gateway_id} {self.name} browser", SystemClock(), security)
        explorer.on_request = on_request
        try:
            await explorer.open()
            yield explorer
        finally:
            await explorer.end()


def _home(configuration: Configuration | None) -> tuple[Path, str, Path]:
    """Data folder, gateway id, and where relative paths start."""
    from gateway.config.settings import GatewaySettings

    gateway = configuration.settings.gateway if configuration else GatewaySettings()
    folder = configuration.folder if configuration else Path()
    return folder / gateway.data_dir, gateway.id, folder


def _configuration_here(config: Path | None) -> Configuration | None:
    """The configuration, where there is one. Raises ConfigErrors for one that is named or wrong."""
    from gateway.config import find_config
    from gateway.errors import ConfigErrors

    if config is None:
        try:
            find_config()
        except ConfigErrors:
            return None
    return load_config(config)


def _password(target: str) -> str:
    import os

    from gateway.errors import UsageError

    if "GATEWAY_OPCUA_PASSWORD" in os.environ:
        return os.environ["GATEWAY_OPCUA_PASSWORD"]
    if not sys.stdin.isatty():
        raise UsageError(f"the password at {target} goes into the variable GATEWAY_OPCUA_PASSWORD: nobody can be asked")
    return str(typer.prompt(f"password at {target}", hide_input=True, err=True))
