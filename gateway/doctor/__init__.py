"""The doctor: looks at everything a gateway stands on, and says what is wrong and what to do about it.

    Case (configuration, the gateway that runs, if one does) ─▶ CHECKS, all at once ─▶ findings, in the order of the table

A check is one small file in checks/: what it looks at, and, apart from that, how it is judged. It disturbs nobody: one
connection a machine, closed at once, and none where the running gateway has one; a serial port is opened only while no
gateway runs. What hangs is a finding, too.
"""

from gateway.doctor.case import Case
from gateway.doctor.finding import Finding, State
from gateway.doctor.run import CHECKS, Check, examine

__all__ = ["CHECKS", "Case", "Check", "Finding", "State", "examine"]
