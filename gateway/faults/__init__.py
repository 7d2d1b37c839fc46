"""Faults: a code for each cause that the gateway can name, and what a person does about it, in English and Vietnamese.

    raise NotConnectedError(text, fault="modbus-no-answer")      where it is found
    Reason(text, "broker-tls")                                   a text that takes its code along, wherever it is handed
    explain("modbus-no-answer", "vi").checks                     on the page, in `gateway explain`, in the doctor

Layer 0: nothing but the standard library, and the texts are read when the first of them is asked for.
"""

from __future__ import annotations

import errno
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from gateway.faults.codes import LOST, OF_LOSS, OF_QUALITY, SERVER_SAYS, SEVERITIES, Severity

__all__ = [
    "LANGUAGES", "Explanation", "Fault", "Reason", "Severity", "codes", "explain", "fault", "fault_of", "fault_of_disk",
    "fault_of_loss", "fault_of_quality", "tagged",
]  # fmt: skip

LANGUAGES = ("en", "vi")
_OF_DISK = {
    errno.ENOSPC: "disk-full",
    errno.EDQUOT: "disk-full",
    errno.EROFS: "disk-read-only",
    errno.EACCES: "disk-no-rights",
    errno.EPERM: "disk-no-rights",
}
_FACT = re.compile(r"\{(\w+)\}")


class Reason(str):
    """Why something is as it is, in words, with its code. Equal to the text alone, so that nobody has to know."""

    fault: str

    def __new__(cls, text: str, fault: str = "") -> Reason:
        """Without a code it keeps the one that `text` has."""
        reason = super().__new__(cls, text)
        reason.fault = fault or fault_of(text)
        return reason


def fault_of(what: object) -> str:
    """The code that a reason or an error carries; "" for one without."""
    return getattr(what, "fault", "")


@dataclass(frozen=True, slots=True)
class Fault:
    """A cause that has a name."""

    code: str
    severity: Severity


@dataclass(frozen=True, slots=True)
class Explanation:
    """What a fault means: its likely causes, the likeliest first, and what to look at, in the order to do it."""

    title: str
    causes: list[str]
    checks: list[str]


def codes() -> tuple[str, ...]:
    """All codes, those of one part beside each other."""
    return tuple(SEVERITIES)


def fault(code: str) -> Fault:
    """Raises KeyError for a code that is not in the catalogue."""
    return Fault(code, SEVERITIES[code])


def fault_of_quality(quality: str) -> str:
    """The code for a quality as it is written (`bad:no-communication`); "" for a good one."""
    _, _, reason = quality.partition(":")
    if not reason:
        return ""
    return OF_QUALITY.get(reason, SERVER_SAYS)


def fault_of_loss(cause: str) -> str:
    """The code for the cause of a loss record."""
    return OF_LOSS.get(cause.partition(":")[0], LOST)


def fault_of_disk(exc: OSError) -> str:
    """The code for what a disk, or its file system, answers."""
    return _OF_DISK.get(exc.errno or 0, "disk-broken")


def explain(code: str, language: str = "en", **facts: object) -> Explanation:
    """What to tell somebody. Sentences about a fact that is not given (`{host}`) are left out. KeyError: no such code."""
    entry = _texts(language if language in LANGUAGES else LANGUAGES[0])[code]
    return Explanation(entry["title"], _told(entry["causes"], facts), _told(entry["checks"], facts))


def tagged(text: str, code: str = "") -> str:
    """A line of a log, with the code at its end where there is one: `panel: connection refused [connection-refused]`."""
    code = code or fault_of(text)
    return f"{text} [{code}]" if code else text


def _told(sentences: Iterable[str], facts: dict[str, object]) -> list[str]:
    return [
        _FACT.sub(lambda match: str(facts[match[1]]), each)
        for each in sentences
        if all(name in facts for name in _FACT.findall(each))
    ]


@cache
def _texts(language: str) -> dict[str, Any]:
    texts: dict[str, Any] = json.loads(Path(__file__).with_name(f"{language}.json").read_text("utf-8"))
    return texts
