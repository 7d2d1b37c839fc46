"""What the judge finds: counts and the first findings of each signal, and a table of them for people. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from typing import NamedTuple

from gateway.model import Value

SHOWN = 5  # findings of each kind that are kept for a signal


class Declared(NamedTuple):
    """A loss that the store knows of. Empty machine and signal: of any."""

    start: int  # ns since 1970
    end: int
    machine: str = ""
    signal: str = ""


class Finding(NamedTuple):
    """A reading that is not as it should be."""

    time: int  # ns since 1970: when it was served, or its stamp in the store
    value: Value
    what: str


@dataclass(slots=True)
class SignalVerdict:
    """What was found of one signal. `missing` and `unchanged` to `coming` are parts of `served`."""

    machine: str
    signal: str
    served: int = 0
    stored: int = 0
    missing: int = 0  # served, not stored, and nobody says why
    wrong: int = 0  # stored, and never served around that time
    late: int = 0  # stored with a stamp of more than the bound after it was served; for source stamps: with another one
    duplicated: int = 0  # stored once more
    unchanged: int = 0  # not sent, as it says nothing new
    declared: int = 0  # within a loss that the store knows of
    marked: int = 0  # served while the store says that nothing came: bad for a reason of the gateway's
    unread: int = 0  # nobody had asked, or the answer came too late
    coming: int = 0  # served after what the store has: on its way
    own: int = 0  # stored by the gateway itself: bad as nothing came, or confirmed
    outside: int = 0  # stored, from before the ledger begins or after it ends: nothing can be said of it
    anew: int = 0  # times that a count fell or leapt, and is judged by what it can have added
    not_judged: str = ""  # why nothing is said
    note: str = ""  # what is to be known of the judgement
    missed: list[Finding] = field(default_factory=list)  # the first of those that are missing
    faulty: list[Finding] = field(default_factory=list)  # the first of those that are wrong or duplicated

    @property
    def sound(self) -> bool:
        """Nothing to complain of."""
        return not (self.missing or self.wrong or self.duplicated)

    @property
    def name(self) -> str:
        return f"{self.machine}/{self.signal}"


COUNTS = (
    "served", "stored", "missing", "wrong", "late", "duplicated", "unchanged", "declared", "marked", "unread", "coming",
    "own", "outside", "anew",
)  # fmt: skip


@dataclass(slots=True)
class Verdict:
    """Of all signals, those first of which most is to be said."""

    signals: list[SignalVerdict]
    behind: int = 0  # ns of the ledger that the store has not reached: what was served then is on its way

    @property
    def sound(self) -> bool:
        """Nothing is missing, wrong or duplicated, of all that could be judged, and the store has come nearly as far."""
        return all(each.sound for each in self.signals) and not self.left_behind

    @property
    def left_behind(self) -> bool:
        """More is on its way than can be while all is well."""
        return self.behind > PATIENCE and self.total("coming") > 0

    @property
    def judged(self) -> int:
        """Of how many signals something is said."""
        return sum(not each.not_judged for each in self.signals)

    def total(self, what: str) -> int:
        """The sum of one of COUNTS."""
        return sum(getattr(each, what) for each in self.signals)

    def table(self, most: int = 30) -> str:
        """A line for each signal, those first of which most is to be said, one for all, and what was not judged."""
        judged = [each for each in self.signals if not each.not_judged]
        shown = [what for what in COUNTS if what in _ALWAYS or any(getattr(each, what) for each in judged)]
        rows = [("signal", *shown)]
        rows += [(each.name, *(str(getattr(each, what)) for what in shown)) for each in judged[:most]]
        rows.append(("all of them", *(str(sum(getattr(each, what) for each in judged)) for what in shown)))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  ".join([row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))])
            for row in rows
        ]
        for number, each in enumerate(judged[:most], 1):
            lines[number] += f"  {each.note}" if each.note else ""
        if len(judged) > most:
            lines.insert(-1, f"… and {len(judged) - most} more signals")
        return "\n".join([*lines, *self._not_judged()])

    def _not_judged(self) -> list[str]:
        """A line for each reason."""
        reasons: dict[str, list[str]] = {}
        for each in self.signals:
            if each.not_judged:
                reasons.setdefault(each.not_judged, []).append(each.name)
        return [
            f"not judged, {why}: {', '.join(names[:_NAMED])}"
            + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
            for why, names in reasons.items()
        ]

    def findings(self, most: int = 10, zone: tzinfo | None = None) -> list[str]:
        """When and what, of the first that are wrong, duplicated or missing."""
        found = [
            f"{each.name} {_moment(finding.time, zone)}  {_shown(finding.value)}: {finding.what}"
            for kind in ("faulty", "missed")
            for each in self.signals
            for finding in getattr(each, kind)[:_OF_EACH]
        ]
        return found[:most]

    def sentence(self) -> str:
        """What it comes to."""
        judged = [each for each in self.signals if not each.not_judged]
        left_out = len(self.signals) - len(judged)
        rest = f"; {left_out} signals not judged" if left_out else ""
        for what, said in (("declared", "declared lost"), ("marked", "stored as not come")):
            rest += f"; {self.total(what)} {said}" if self.total(what) else ""
        if coming := sum(each.coming for each in judged):
            rest += f"; {coming} readings of the last {self.behind / 1e9:.0f} s were on their way"
        if not judged:
            return f"Nothing could be judged{rest}."
        readings = sum(each.served for each in judged)
        if self.sound:
            stored = sum(each.served - sum(getattr(each, why) for why in _EXCUSED) for each in judged)
            return f"Sound: of {readings} readings served, all {stored} that had to be stored are there{rest}."
        if self.left_behind and all(each.sound for each in self.signals):
            ends = f"the store ends {self.behind / 1e9:.0f} s before the ledger: {coming} readings are on their way, or lost"
            return f"Not sound: {ends}; does the gateway run, and reach its store?"
        found = [f"{self.total(what)} {what}" for what in ("missing", "wrong", "duplicated") if self.total(what)]
        return f"Not sound: of {readings} readings served, {', '.join(found)}{rest}."

    def __str__(self) -> str:
        return "\n".join([self.table(), *self.findings(), self.sentence()])


PATIENCE = 30_000_000_000  # ns that the store may be behind the ledger
_EXCUSED = ("unchanged", "declared", "marked", "unread", "coming")
_NAMED = 5  # of those that are not judged for the same reason
_OF_EACH = 3  # findings of one signal, so that others are seen too
_ALWAYS = ("served", "stored", "missing", "wrong", "late", "duplicated")


def _moment(t: int, zone: tzinfo | None) -> str:
    """The local time, unless another zone is asked for."""
    moment = datetime.fromtimestamp(t // 1_000_000_000, UTC).astimezone(zone)
    return f"{moment:%Y-%m-%d %H:%M:%S}.{t // 1_000_000 % 1000:03}"


def _shown(value: Value) -> str:
    text = "no value" if value is None else repr(value)
    return text if len(text) <= 60 else text[:59] + "…"
