"""What a check finds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from gateway.faults import explain

State = Literal["ok", "warning", "wrong", "skipped"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    check: str
    state: State
    text: str  # what was seen, in English
    fault: str = ""  # its code in the catalogue of faults
    hint: str = ""  # what to do, where it can be said for this very case
    facts: Mapping[str, object] = field(default_factory=dict)  # for the sentences of the catalogue: host, port …

    def title(self, language: str = "en") -> str:
        """What the fault is called; "" where there is none."""
        return explain(self.fault, language).title if self.fault else ""

    def causes(self, language: str = "en") -> list[str]:
        """What it may come from, the likeliest first; nothing where all is well."""
        if self.state in ("ok", "skipped") or not self.fault:
            return []
        return explain(self.fault, language, **self.facts).causes

    def to_do(self, language: str = "en") -> list[str]:
        """What to do, the most useful first; nothing where all is well."""
        if self.state in ("ok", "skipped"):
            return []
        told = explain(self.fault, language, **self.facts).checks if self.fault else []
        # A sentence with the names of this case says more than one that fits all.
        general = explain(self.fault, language).checks if self.fault else []
        told.sort(key=lambda each: each in general)
        return [self.hint, *told] if self.hint else told

    def row(self, language: str = "en") -> dict[str, Any]:
        """For JSON."""
        return {
            "check": self.check, "state": self.state, "text": self.text, "fault": self.fault,
            "title": self.title(language), "causes": self.causes(language), "to_do": self.to_do(language),
        }  # fmt: skip
