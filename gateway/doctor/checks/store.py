"""The store: the historian's file, or the data base that is configured."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime

from gateway.doctor.case import Case
from gateway.doctor.finding import Finding
from gateway.errors import GatewayError, StoreError

NAME = "store"
PATIENCE = 8.0  # seconds for the check of a file
TIMEOUT = 5.0  # seconds for an answer of a data base
OLD = 3600.0  # seconds since the newest reading, while a gateway runs


def look(case: Case) -> Iterator[Finding]:
    configuration, data_dir = case.configuration, case.data_dir
    assert configuration is not None
    assert data_dir is not None
    settings = configuration.store
    if settings is None:
        elsewhere = (
            "it is elsewhere (mqtt.delivery: store): a reading counts as delivered once a writer there has stored it"
        )
        of_broker = "this gateway has none: a reading counts as delivered once the broker has it"
        yield Finding(NAME, "skipped", elsewhere if configuration.settings.delivery == "store" else of_broker)
    elif settings.kind == "historian":
        from gateway.store.open import historian_path

        case.check_rights()
        path = historian_path(settings, data_dir)
        if not path.exists() and not case.runs:
            yield Finding(NAME, "skipped", f"{path} is made at the first start")
            return
        yield from _historian(case, path)
    elif not case.network:
        yield Finding(NAME, "skipped", "nothing outside of this box is asked")
    else:
        from gateway.store.health import influx

        began = time.monotonic()
        try:
            influx(settings, TIMEOUT)
        except GatewayError as exc:
            facts = {"url": settings.url} if settings.url else {}
            yield Finding(NAME, "wrong", str(exc), exc.fault or "store-busy", facts=facts)
        else:
            yield Finding(
                NAME, "ok", f"{settings.url}: lets us write; answered in {(time.monotonic() - began) * 1000:.0f} ms"
            )


def _historian(case: Case, path: object) -> Iterator[Finding]:
    from pathlib import Path

    from gateway.store.health import historian

    file = Path(str(path))
    facts = {"path": str(file)}
    try:
        found = historian(file, PATIENCE)
    except StoreError as exc:
        yield Finding(NAME, "wrong", str(exc), exc.fault or "store-damaged", facts=facts)
        return
    if found.damage:
        yield Finding(NAME, "wrong", f"{file}: is damaged: {found.damage}", "store-damaged", facts=facts)
        return
    size = f"{found.size / 2**20:,.1f} MiB"
    if found.newest is None:
        yield Finding(NAME, "ok", f"{file}: {size}, whole, no reading yet")
        return
    age = (case.now_ns - found.newest) / 1e9
    when = datetime.fromtimestamp(found.newest / 1e9, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    if case.runs and age > OLD:
        text = f"{file}: the newest reading is of {when}, although a gateway runs"
        yield Finding(NAME, "warning", text, "store-silent", facts=facts)
    whole = "whole" if found.whole else f"whole as far as could be checked within {PATIENCE:.0f} s"
    yield Finding(NAME, "ok", f"{file}: {size}, {whole}, newest reading {when}")
