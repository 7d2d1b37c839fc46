"""gateway run | store: the service."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.common import ConfigArgument, ConfigOption, load_config, one_of
from gateway.cli.common import run as run_until_stopped
from gateway.logs import Format, set_up

log = logging.getLogger(__name__)

SafeMode = Annotated[
    bool,
    typer.Option(
        "--safe-mode",
        help="For a service: with a broken configuration, run with the last good one until it is right; and try again what cannot "
        "be opened, such as the page or the broker's certificate, where it would end else.",
    ),
]
Verbose = Annotated[bool, typer.Option("-v", "--verbose", help="Say more.")]
LogFormat = Annotated[
    Format,
    typer.Option(
        "--log-format", envvar="GATEWAY_LOG_FORMAT",
        help="How log lines read. auto: fields of the journal under systemd, logfmt on a terminal, else json.",
    ),
]  # fmt: skip


def run(
    config: ConfigArgument = None,
    option: ConfigOption = None,
    once: Annotated[bool, typer.Option("--once", help="Read every machine once, deliver it, and end.")] = False,
    safe_mode: SafeMode = False,
    verbose: Verbose = False,
    log_format: LogFormat = "auto",
) -> None:
    """Read the machines and bring their readings to the broker; write the store too, where `store:` is configured."""
    from gateway.config import find_config
    from gateway.runtime.app import App, paho_links, system_clock
    from gateway.runtime.changes.checks import check_work
    from gateway.runtime.changes.versions import finish, read_whole

    if safe_mode and not once:
        _run_safely(find_config(one_of(config, option)), log_format, verbose)
        return
    path = find_config(one_of(config, option))
    finish(path)
    configuration, read = read_whole(path, lambda _: load_config(path))
    check_work(configuration)
    set_up(log_format, verbose=verbose)
    if configuration.settings.delivery == "broker":
        log.warning(
            "no store is configured, so a reading counts as delivered when the broker has it; "
            "where a `gateway store` runs elsewhere, write mqtt: {delivery: store}"
        )
    clock = system_clock(configuration)
    run_until_stopped(App(configuration, paho_links(configuration, clock), clock, read=read).run(once=once))
    log.info("stopped")


def store(
    config: ConfigArgument = None,
    option: ConfigOption = None,
    safe_mode: SafeMode = False,
    verbose: Verbose = False,
    log_format: LogFormat = "auto",
) -> None:
    """Write what arrives at the broker into the store, and nothing else."""
    from gateway.config import find_config
    from gateway.runtime.app import App, paho_links, system_clock
    from gateway.runtime.changes.checks import check_work
    from gateway.runtime.changes.versions import finish, read_whole

    if safe_mode:
        _run_safely(find_config(one_of(config, option)), log_format, verbose, store_only=True)
        return
    path = find_config(one_of(config, option))
    finish(path)
    configuration, read = read_whole(path, lambda _: load_config(path))
    check_work(configuration, store_only=True)
    set_up(log_format, verbose=verbose)
    clock = system_clock(configuration)
    run_until_stopped(App(configuration, paho_links(configuration, clock), clock, read=read).run(edge=False))
    log.info("stopped")


def _run_safely(path: Path, log_format: Format, verbose: bool, *, store_only: bool = False) -> None:
    from gateway.runtime.changes.safe_mode import run_whatever_happens

    set_up(log_format, verbose=verbose)
    run_until_stopped(run_whatever_happens(path, store_only=store_only))
    log.info("stopped")
