"""How many readings passed each stage, per machine. What goes in must come out; the status page shows both."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

THINNED = "thinned"  # the cause of a loss that is meant to be


@dataclass(slots=True)
class MachineCounters:
    """Of one machine, since start-up. `read` + `marks` + `derived` = `suppressed` + `accepted`."""

    polls: int = 0  # batches that the adapter brought
    read: int = 0  # readings in them
    bad: int = 0  # of those, without a value
    marks: int = 0  # readings the gateway made itself: not connected, stale, or repeated at a heartbeat
    derived: int = 0  # worked out from others: states, computed signals, figures
    faults: int = 0  # times an error of the gateway itself kept it from working something out; the log says which
    suppressed: int = 0  # unchanged within the deadband (`report: change`)
    accepted: int = 0  # readings handed to the buffer
    messages: int = 0  # messages they were packed into
    overruns: int = 0  # polls skipped because the one before took too long
    requests: int = 0  # sent to the machine
    failures: int = 0  # requests without a usable answer
    reconnects: int = 0
    gaps: int = 0  # stretches of time in which the machine had values that nobody will bring; each a loss record
    overflows: int = 0  # times the machine says it dropped values that we were too slow for


@dataclass(slots=True)
class FlowCounters:
    """Of the whole gateway, since start-up."""

    sent: int = 0  # messages the broker acknowledged
    refused: int = 0  # attempts that the broker refused (reason code 0x80 and above, or nobody subscribes)
    stored: int = 0  # messages the store acknowledged; with delivery to the broker, the broker
    rewinds: int = 0  # times the sent mark was set back because the stored one stood still
    causes: dict[str, int] = field(default_factory=dict)  # readings that were here and are lost, by why; `note_loss`
    thinned: int = 0  # readings left out so that others fit, one value in an interval being kept
    machines: dict[str, MachineCounters] = field(default_factory=dict)

    @property
    def lost(self) -> int:
        """Readings that were here and are lost, each declared in a loss record; but for what was thinned out."""
        return sum(self.causes.values())

    def note_loss(self, cause: str, readings: int) -> None:
        """A loss record. What stands behind the colon of a cause is not told apart: it may be anything."""
        kind = cause.partition(":")[0]
        if kind == THINNED:
            self.thinned += readings
        else:
            self.causes[kind] = self.causes.get(kind, 0) + readings

    def of(self, machine: str) -> MachineCounters:
        """The counters of one machine, made when first asked for."""
        return self.machines.setdefault(machine, MachineCounters())

    def total(self) -> MachineCounters:
        """The sum over all machines."""
        total = MachineCounters()
        for each in self.machines.values():
            for f in fields(MachineCounters):
                setattr(total, f.name, getattr(total, f.name) + getattr(each, f.name))
        return total
