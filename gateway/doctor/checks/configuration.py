"""Whether the configuration can be loaded, and what it warns of."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.doctor.case import Case
from gateway.doctor.finding import Finding
from gateway.errors import ConfigErrors

NAME = "configuration"
MOST = 10  # that are told one by one


def look(case: Case) -> Iterator[Finding]:
    if case.mistake is not None:
        yield from _mistakes(case)
        if case.version:
            text = f"what follows is of version {case.version}, the last one that a gateway has run with"
            yield Finding(NAME, "warning", text, hint="back to it: gateway config rollback")
        return
    configuration = case.configuration
    assert configuration is not None
    for warning in configuration.warnings[:MOST]:
        yield Finding(NAME, "warning", warning.strip())
    if (more := len(configuration.warnings) - MOST) > 0:
        yield Finding(NAME, "warning", f"and {more} more warnings: gateway config check shows all")
    machines, connections = len(configuration.machines), len(configuration.connections)
    if machines:
        yield Finding(NAME, "ok", f"{configuration.path}: {machines} machines, {connections} connections")
    else:
        yield Finding(
            NAME, "warning", f"{configuration.path}: there is no machine in it", hint="add one under machines:"
        )


def _mistakes(case: Case) -> Iterator[Finding]:
    if not isinstance(case.mistake, ConfigErrors):
        yield Finding(NAME, "wrong", str(case.mistake), "config-refused")
        return
    for error in case.mistake.errors[:MOST]:
        at = ":".join(str(part) for part in (error.file, error.line, error.column) if part)
        field = f"{error.field}: " if error.field else ""
        yield Finding(NAME, "wrong", f"{at}: {field}{error.message}", error.fault, error.hint)
    if (more := len(case.mistake.errors) - MOST) > 0:
        yield Finding(NAME, "wrong", f"and {more} more mistakes: gateway config check shows all", "config-refused")
