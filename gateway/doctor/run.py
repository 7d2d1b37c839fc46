"""All checks at once, each with a time limit."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from gateway.doctor.case import Case
from gateway.doctor.checks import (
    broker,
    certificates,
    clock,
    configuration,
    disk,
    machines,
    memory,
    names,
    owner,
    page,
    secrets,
    serial_ports,
    service,
    store,
)
from gateway.doctor.finding import Finding

log = logging.getLogger(__name__)

LIMIT = 25.0  # seconds for all of it, whatever hangs


@dataclass(frozen=True, slots=True)
class Check:
    """One row of the table. What it yields before it hangs counts."""

    name: str
    look: Callable[[Case], Iterator[Finding]]
    limit: float = 10.0  # seconds
    configured: bool = True  # cannot be made without a configuration
    network: bool = False  # asks something outside of this box


CHECKS = (
    Check("configuration", configuration.look, configured=False),
    Check("service", service.look, configured=False),
    Check("clock", clock.look, configured=False),
    Check("memory", memory.look, configured=False),
    Check("disk", disk.look),
    Check("data folder", owner.look),
    Check("secrets", secrets.look),
    Check("certificates", certificates.look),
    Check("page", page.look),
    Check("serial ports", serial_ports.look, limit=20.0),
    Check("names", names.look, limit=12.0, network=True),
    Check("machines", machines.look, limit=20.0, network=True),
    Check("broker", broker.look, limit=15.0, network=True),
    Check("store", store.look, limit=15.0),
)


def examine(case: Case, checks: Sequence[Check] = CHECKS, limit: float = LIMIT) -> list[Finding]:
    """Make all checks that can be made; the findings in the order of the table. Raises nothing."""
    begun = time.monotonic()
    works = [_Work(case, check) for check in checks]
    for work in works:
        work.start()
    found = [finding for work in works for finding in work.result(begun + min(work.check.limit, limit))]
    denied = case.denied or next((work.denied for work in works if work.denied), "")
    if denied:
        path = f" -c {case.path}" if case.path else ""
        hint = f"run it as the gateway's user or with sudo: sudo gateway doctor{path}"
        found.insert(0, Finding("rights", "wrong", denied, "disk-no-rights", hint))
    return found


class _Work:
    """One check in its thread, which nobody waits for longer than its time."""

    def __init__(self, case: Case, check: Check) -> None:
        self.case, self.check = case, check
        self.denied = ""  # what this user may not look at
        self._found: list[Finding] = []
        self._ended = threading.Event()

    def start(self) -> None:
        threading.Thread(target=self._run, name=f"doctor[{self.check.name}]", daemon=True).start()

    def result(self, deadline: float) -> list[Finding]:
        ended = self._ended.wait(max(0.0, deadline - time.monotonic()))
        found = list(self._found)
        if not ended:
            found.append(Finding(self.check.name, "wrong", "this check did not come to an end", "check-hung"))
        return found

    def _run(self) -> None:
        name, case = self.check.name, self.case
        try:
            if self.check.configured and case.configuration is None:
                self._found.append(Finding(name, "skipped", "there is no configuration to look at"))
            elif self.check.network and not case.network:
                self._found.append(Finding(name, "skipped", "nothing outside of this box is asked"))
            else:
                for finding in self.check.look(case):  # one by one: what was found before it hangs counts
                    self._found.append(finding)
        except PermissionError as exc:
            self.denied = f"{exc.filename or name}: this user may not look there: {exc.strerror or exc}"
            self._found.append(Finding(name, "skipped", "this user may not look"))
        except Exception as exc:
            log.debug("%s", name, exc_info=exc)
            text = f"this check failed itself: {type(exc).__name__}: {exc}"
            self._found.append(Finding(name, "wrong", text, "unexpected-error"))
        finally:
            self._ended.set()
