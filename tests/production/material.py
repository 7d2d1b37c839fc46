"""Days of a machine, told as one would tell them."""

from collections.abc import Iterable
from datetime import datetime
from zoneinfo import ZoneInfo

from gateway.config.production import Calendar
from gateway.production import History, WorkCalendar

NS = 1_000_000_000
MINUTE, HOUR = 60 * NS, 3600 * NS
BERLIN = "Europe/Berlin"


def at(text: str, zone: str = "UTC") -> int:
    """`2026-03-02 06:00` on the clock of a zone, or with an offset of its own, in ns since 1970."""
    local = datetime.fromisoformat(text)
    return round((local if local.tzinfo else local.replace(tzinfo=ZoneInfo(zone))).timestamp()) * NS


def calendar(zone: str = "UTC", **keys: object) -> WorkCalendar:
    return WorkCalendar(Calendar.model_validate(keys), zone)


def one_shift(start: str, end: str, *breaks: tuple[str, str], zone: str = "UTC", **keys: object) -> WorkCalendar:
    pauses = [{"from": begin, "to": over} for begin, over in breaks]
    return calendar(zone, shifts={"early": {"from": start, "to": end, "breaks": pauses}}, **keys)


THREE = {
    "early": {"from": "06:00", "to": "14:00"},
    "late": {"from": "14:00", "to": "22:00"},
    "night": {"from": "22:00", "to": "06:00"},
}


def told(states: Iterable[tuple[int, str] | tuple[int, str, str]], plan: WorkCalendar | None = None, **keys) -> History:
    """A history of states."""
    history = History(calendar=plan, **keys)
    for state in states:
        assert history.state(*state)
    return history


def count(history: History, name: str, *readings: tuple[int, float]) -> None:
    for t, value in readings:
        assert history.total(name, t, value)


def rising(
    history: History, name: str, start: int, end: int, per_hour: float, every: int = 10 * NS, first: float = 0.0
):
    """Readings of a total that rises evenly, one every ten seconds, both ends included."""
    for t in range(start, end + 1, every):
        assert history.total(name, t, first + per_hour * (t - start) / HOUR)
