"""gateway run | store: the service."""

from __future__ import annotations

import logging
import os
import sys
from typing import Annotated

import typer

from gateway.cli.common import ConfigArgument, ConfigOption, load_config
from gateway.cli.common import run as run_until_stopped

log = logging.getLogger(__name__)

Verbose = Annotated[bool, typer.Option("-v", "--verbose", help="Say more.")]


def run(
    config: ConfigArgument = None,
    option: ConfigOption = None,
    once: Annotated[bool, typer.Option("--once", help="Read every machine once, deliver it, and end.")] = False,
    verbose: Verbose = False,
) -> None:
    """Read the machines and bring their readings to the broker; write the store too, where `store:` is configured."""
    from gateway.errors import ConfigErrors
    from gateway.runtime.app import App, paho_links, system_clock

    configuration = load_config(config, option)
    if not configuration.machines:
        raise ConfigErrors(
            [configuration.tree.mark.error("there are no machines to read", "add them under `machines:`")]
        )
    set_up_logging(verbose)
    if configuration.settings.delivery == "broker":
        log.warning(
            "no store is configured, so a reading counts as delivered when the broker has it; "
            "where a `gateway store` runs elsewhere, write mqtt: {delivery: store}"
        )
    clock = system_clock(configuration)
    run_until_stopped(App(configuration, paho_links(configuration, clock), clock).run(once=once))
    log.info("stopped")


def store(config: ConfigArgument = None, option: ConfigOption = None, verbose: Verbose = False) -> None:
    """Write what arrives at the broker into the store, and nothing else."""
    from gateway.errors import ConfigErrors
    from gateway.runtime.app import App, paho_links, system_clock

    configuration = load_config(config, option)
    if configuration.settings.store is None:
        error = configuration.tree.mark.error(
            "there is no `store:` to write to", "for example: store: {kind: historian}"
        )
        raise ConfigErrors([error])
    set_up_logging(verbose)
    clock = system_clock(configuration)
    run_until_stopped(App(configuration, paho_links(configuration, clock), clock).run(edge=False))
    log.info("stopped")


def set_up_logging(verbose: bool, quiet: bool = False) -> None:
    """Changes only, to stderr; with a time unless systemd adds it. `quiet`: only what is wrong."""
    stamp = "" if os.environ.get("JOURNAL_STREAM") else "%(asctime)s "
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING,
        format=stamp + "%(levelname)s %(message)s",
        datefmt="%Y-%m-%d %H:%M:%S",
        stream=sys.stderr,
    )
    for ours in ("gateway", "adapters", "simulators"):
        logging.getLogger(ours).setLevel(logging.DEBUG if verbose else logging.WARNING if quiet else logging.INFO)
