"""gateway verify-flow: what simulated or replayed machines served, against what arrived in the store."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.common import Json, moment, print_json, seconds_of
from gateway.cli.desk import load_at_desk
from gateway.errors import UsageError

if TYPE_CHECKING:
    from gateway.config import Configuration
    from gateway.store.contract import Columns, Reader
    from gateway.store.reader import HistorianReader
    from simulators.judge.judging import Bounds
    from simulators.judge.rules import Rule, Signal
    from simulators.judge.verdict import Declared, Verdict
    from simulators.ledger import Column, Served

_AROUND = 3600 * 10**9  # ns before and after the ledger: what a server had changed long before, and what came late


def verify_flow(
    ledger: Annotated[Path, typer.Argument(metavar="LEDGER", help="As --ledger of simulate and replay writes it.")],
    store: Annotated[
        Path | None,
        typer.Option(
            "--store",
            metavar="PLACE",
            show_default=False,
            help="A historian's file, a folder with one, or a configuration that names the store; else that of -c.",
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            "-c",
            "--config",
            metavar="PATH",
            show_default=False,
            help="The configuration in force: deadbands, counters, ranges and the like are judged by it.",
        ),
    ] = None,
    late: Annotated[str, typer.Option("--late", help="How long after it was served a stamp may be.")] = "1s",
    since: Annotated[
        str | None, typer.Option("--since", help="From when on: 1h ago, or 2026-11-22T06:00.", show_default=False)
    ] = None,
    until: Annotated[str | None, typer.Option("--until", help="To when: likewise.", show_default=False)] = None,
    json: Json = False,
) -> None:
    """Compare what machines served with what the store has, while a gateway runs or afterwards.

    Exit code 1: readings are missing, wrong or duplicated, the store ends long before the ledger, or nothing could be judged.
    """
    from simulators.judge.judging import Bounds

    if not ledger.is_file():
        raise UsageError(f"there is no ledger {ledger}: `gateway simulate CONFIG --ledger FILE` writes one")
    now = time.time_ns()
    bounds = Bounds(
        late=round(seconds_of(late, "--late") * 1e9),
        since=None if since is None else moment(since, now),
        until=None if until is None else moment(until, now),
    )
    if bounds.since is not None and bounds.until is not None and bounds.since >= bounds.until:
        raise typer.BadParameter(f"--since {since} is not before --until {until}")
    place, configuration = _place(store, config)
    verdict, notes = verdict_of(ledger, place, configuration, bounds)
    if json:
        _print_json(verdict)
    else:
        print(verdict.table())
        for line in [*verdict.findings(), *notes, verdict.sentence()]:
            print(line)
    if not verdict.sound or not verdict.judged:
        raise typer.Exit(1)


def _place(store: Path | None, config: Path | None) -> tuple[Path | None, Configuration | None]:
    """The historian's file, or None for the store of the configuration. A configuration is also what the rules are from."""
    if store is None:
        if config is None:
            raise UsageError("--store says where the readings are: a historian's file, its folder, or a configuration")
        return None, load_at_desk(None, config)
    if not store.exists():
        raise UsageError(f"--store: there is no file or folder {store}")
    if store.is_dir() and not (store / "historian.sqlite").is_file() and not (store / "gateway.yaml").is_file():
        raise UsageError(f"--store: {store} holds neither a historian.sqlite nor a gateway.yaml")
    file = store / "historian.sqlite" if store.is_dir() else store
    if file.is_file() and file.suffix not in (".yaml", ".yml"):
        return file, None if config is None else load_at_desk(None, config)
    if config is not None:
        return _historian_of(load_at_desk(None, store)), load_at_desk(None, config)
    return None, load_at_desk(None, store)


def _historian_of(configuration: Configuration) -> Path:
    from gateway.store.open import historian_path

    settings = configuration.settings
    if configuration.store is None or configuration.store.kind != "historian":
        raise UsageError("--store and -c are both configurations: name one, or the file of the historian")
    return historian_path(configuration.store, configuration.resolve(settings.gateway.data_dir))


def verdict_of(
    ledger: Path, place: Path | None, configuration: Configuration | None = None, bounds: Bounds | None = None
) -> tuple[Verdict, list[str]]:
    """Of a ledger's file and a historian's, or the store of the configuration; and what is to be said beside it.

    Raises UsageError for a ledger without a reading, LedgerError, StoreError, ConfigErrors.
    """
    from simulators.judge.judging import Bounds, judge
    from simulators.judge.rules import rules_of
    from simulators.ledger import columns, read_ledger

    bounds = bounds or Bounds()
    served = columns(_asked(read_ledger(ledger), bounds))
    if not served:
        raise UsageError(f"{ledger} tells of no reading{' in this time' if bounds.since or bounds.until else ''}")
    rules = None if configuration is None else rules_of(configuration)
    reader = _open(place, configuration)
    try:
        stored = _stored(reader, served, rules, configuration)
        losses, notes = _losses(reader)
        verdict = judge(served, stored, rules, losses, bounds)
    finally:
        reader.close()
    if rules is None:
        notes.append("Judged without a configuration (-c): as if every reading were sent as it was served.")
    return verdict, notes if verdict.total("missing") or rules is None else []


def _asked(entries: Iterator[Served], bounds: Bounds) -> Iterator[Served]:
    """Those within the time that is asked for, and around it."""
    first = 0 if bounds.since is None else bounds.since - _AROUND
    last = 2**63 if bounds.until is None else bounds.until + _AROUND
    return (entry for entry in entries if first <= entry.time_ns <= last)


def _open(place: Path | None, configuration: Configuration | None) -> Reader:
    from gateway.errors import ConfigErrors
    from gateway.store.historian import Historian
    from gateway.store.open import open_reader

    if place is not None:
        return Historian.open_read_only(place)
    assert configuration is not None
    settings = configuration.settings
    if configuration.store is None:
        error = configuration.tree.mark.error("there is no `store:` to ask", "for example: store: {kind: historian}")
        raise ConfigErrors([error])
    return open_reader(configuration.store, configuration.resolve(settings.gateway.data_dir))


def _stored(
    reader: Reader,
    served: dict[Signal, Column],
    rules: dict[Signal, Rule] | None,
    configuration: Configuration | None,
) -> dict[Signal, Columns]:
    """What the store has of the machines of the ledger."""
    first = min(min(column.time) for column in served.values()) - _AROUND
    last = max(max(column.time) for column in served.values()) + _AROUND
    machines = {machine for machine, _ in served}
    found: dict[Signal, Columns] = {}
    for machine, signal in sorted(_known(reader, served, rules)):
        if machine in machines:
            path = machine
            if configuration is not None and machine in configuration.machines:
                path = "/".join(configuration.path_of(machine).levels())
            found[machine, signal] = reader.query(path, signal, first, last)
    return found


def _known(reader: Reader, served: dict[Signal, Column], rules: dict[Signal, Rule] | None) -> set[Signal]:
    """The signals that can be asked for."""
    from gateway.store.reader import HistorianReader

    if isinstance(reader, HistorianReader):
        return {(info.machine.machine, info.signal) for info in reader.signals()}
    return {*served} if rules is None else served.keys() & rules.keys()


def _losses(reader: Reader) -> tuple[list[Declared], list[str]]:
    """What the store knows to be lost, and what is to be said about it."""
    from gateway.store.reader import HistorianReader
    from simulators.judge.verdict import Declared

    if not isinstance(reader, HistorianReader):
        return [], ["Loss records are only read from a historian: what this store declares lost counts as missing."]
    losses = [each.loss for each in reader.losses(0, 2**62)]
    return [Declared(loss.start, loss.end, loss.machine, loss.signal) for loss in losses], _holes(reader)


def _holes(reader: HistorianReader) -> list[str]:
    """Messages that a gateway has numbered, and that are neither stored nor declared lost."""
    from collections import defaultdict
    from itertools import pairwise

    from gateway.mqtt.payload import merge_ranges

    stored: dict[tuple[str, str], list[tuple[int, int]]] = defaultdict(list)
    for each in reader.stretches():
        stored[each.gateway, each.epoch].append((each.first, each.last))
    declared: dict[tuple[str, str], list[tuple[int, int]]] = defaultdict(list)
    for lost in reader.losses(0, 2**62):
        if lost.loss.first > 0:  # 0: what was lost never had a message
            declared[lost.gateway, lost.loss.epoch].append((lost.loss.first, lost.loss.last))
    lacking = 0
    for origin, ranges in stored.items():
        oldest, newest = min(ranges)[0], max(ranges)[1]
        known = merge_ranges([*ranges, *declared[origin]])
        lacking += sum(
            after[0] - before[1] - 1 for before, after in pairwise(known) if oldest <= before[1] and after[0] <= newest
        )
    text = f"{lacking} messages of a gateway are not in the store: on their way, or lost; `gateway audit` tells."
    return [text] if lacking else []


def _print_json(verdict: Verdict) -> None:
    from gateway.mqtt.payload import milliseconds
    from simulators.judge.verdict import COUNTS, Finding

    def shown(finding: Finding) -> dict[str, object]:
        return {"t": milliseconds(finding.time), "value": finding.value, "what": finding.what}

    for each in verdict.signals:
        counts = {what: getattr(each, what) for what in COUNTS}
        print_json(
            {
                "machine": each.machine, "signal": each.signal, **counts, "not_judged": each.not_judged or None,
                "note": each.note or None, "first_missing": list(map(shown, each.missed)),
                "first_wrong": list(map(shown, each.faulty)),
            }
        )  # fmt: skip
    print_json({"sound": verdict.sound, "judged": verdict.judged, **{what: verdict.total(what) for what in COUNTS}})
