"""How many times something happened, by kind and state: the ring of events forgets, a count must not."""

from __future__ import annotations

from collections import Counter

from gateway.events import Event, Events


class Happened:
    """Counts from the moment it is made. What is recalled from an earlier life is not counted."""

    def __init__(self, events: Events) -> None:
        self._counts: Counter[tuple[str, str]] = Counter()
        events.listeners.append(self._note)

    def _note(self, event: Event) -> None:
        self._counts[event.kind, event.state] += 1

    def by_state(self, kind: str) -> dict[str, int]:
        """Of one kind, by state."""
        return {state: count for (of, state), count in sorted(self._counts.items()) if of == kind}

    def of(self, kind: str) -> int:
        """Of one kind."""
        return sum(self.by_state(kind).values())
