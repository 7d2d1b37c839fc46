"""Whether what was served is what was stored, signal by signal."""

from simulators.judge.judging import Bounds, judge
from simulators.judge.rules import rules_of
from simulators.judge.verdict import Verdict

__all__ = ["Bounds", "Verdict", "judge", "rules_of"]
