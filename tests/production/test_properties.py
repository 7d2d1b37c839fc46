"""What holds for any history, calendar and window: nothing is counted twice, nothing is left out, and parts add up."""

from datetime import date, timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.config.production import WORDS, EnergySettings, KpiSettings
from gateway.production import History, energy, figures, intervals_of
from gateway.production.times import Times, times_of
from production.material import HOUR, NS, THREE, at, calendar

# Windows around the two nights in which clocks of Berlin are put, around those of half an hour and of midnight, and others.
ZONES = ("Europe/Berlin", "Asia/Ho_Chi_Minh", "Australia/Lord_Howe", "America/Santiago", "Asia/Kathmandu", "UTC")
STARTS = [at(f"{day} 20:00") for day in ("2026-03-28", "2026-10-24", "2026-04-04", "2026-09-05", "2026-03-02")]
SPREAD = 40 * 3600  # seconds
PLANS = [
    {"shifts": THREE},
    {
        "shifts": {
            "a": {"from": "06:00", "to": "14:00", "days": "mon-fri", "breaks": [{"from": "09:00", "to": "09:15"}]}
        }
    },
    {
        "shifts": {
            "a": {"from": "01:30", "to": "02:30", "breaks": [{"from": "02:00", "to": "02:15"}]},
            "b": {"from": "02:30", "to": "03:15"},
            "c": {"from": "22:15", "to": "01:00", "breaks": [{"from": "23:50", "to": "00:10"}]},
        },
        "holidays": ["2026-03-29"],
    },
    {},
]

moments = st.integers(0, SPREAD * NS) | st.integers(0, SPREAD).map(lambda s: s * NS)
states = st.lists(st.tuples(moments, st.sampled_from(WORDS), st.sampled_from(("", "a", "b"))), max_size=40)
plans = st.builds(lambda zone, keys: calendar(zone, **keys), st.sampled_from(ZONES), st.sampled_from(PLANS))
planned = st.sampled_from([(), ("maintenance",), ("maintenance", "setup", "idle")])
micro = st.sampled_from([0, 90 * NS, HOUR])


@st.composite
def cases(draw):
    """A history with totals, a plan, three instants in their order."""
    zero, plan = draw(st.sampled_from(STARTS)), draw(plans)
    history = History(calendar=plan)
    for t, word, reason in sorted(draw(states)):
        history.state(zero + t, word, reason)
    for name in ("good", "reject", "energy"):
        value = draw(st.integers(0, 1000))
        for t in sorted(draw(st.lists(moments, max_size=30))):
            value += draw(st.integers(0, 20)) * (0.5 if name == "energy" else 1)
            history.total(name, zero + t, value)
    a, b, c = sorted(zero + draw(moments) for _ in range(3))
    return history, plan, a, b, c


@settings(max_examples=200, deadline=None)
@given(cases(), planned, micro)
def test_times_divide_the_window_and_add_up(case, planned, longest):
    history, plan, a, b, c = case
    whole, first, second = (
        times_of(history, start, end, plan, planned=planned, micro_ns=longest)
        for start, end in ((a, c), (a, b), (b, c))
    )
    for times, length in ((whole, c - a), (first, b - a), (second, c - b)):
        assert times.window == length == times.off_shift + times.breaks + times.operation
        assert times.operation == times.planned_down + times.busy
        assert times.busy == times.production + times.setup + times.delay + times.down + times.unknown
        assert sum(times.by_state.values()) == length
        assert sum(times.lost_by_state.values()) == sum(times.lost_by_reason.values())
        assert sum(times.lost_by_state.values()) == times.setup + times.delay + times.down
        assert times.production - times.micro + times.outside == times.by_state.get("running", 0)
        for name in Times.__dataclass_fields__:
            value = getattr(times, name)
            assert min(value.values(), default=0) >= 0 if isinstance(value, dict) else value >= 0
    for name in Times.__dataclass_fields__:
        parts = [getattr(times, name) for times in (first, second, whole)]
        if isinstance(parts[0], dict):
            parts = [{k: v for k, v in part.items() if v} for part in parts]
            assert {k: parts[0].get(k, 0) + parts[1].get(k, 0) for k in parts[2]} == parts[2]
            assert parts[0].keys() | parts[1].keys() == parts[2].keys()
        else:
            assert parts[0] + parts[1] == parts[2], name


@settings(max_examples=200, deadline=None)
@given(cases())
def test_figures_follow_from_their_inputs(case):
    history, plan, a, b, c = case
    configured = KpiSettings.model_validate({"good": "g", "reject": "r", "ideal_cycle": "10s", "micro_stop": "90s"})
    found, i = figures(history, a, c, plan, configured), figures(history, a, c, plan, configured).inputs
    assert sum(i["time_by_state"].values()) == pytest.approx((c - a) / NS)
    k = found.kpis
    if k["availability"] is not None:
        assert 0 <= k["availability"] <= 1
    if None not in (k["availability"], k["performance"], k["quality"]):
        assert k["oee"] == pytest.approx(k["availability"] * k["performance"] * k["quality"])
    for name, below in (
        ("availability", "planned_busy_time"),
        ("performance", "production_time"),
        ("mttr", "failures"),
    ):
        if not i[below]:
            assert k[name] is None
    # Parts are whole, and those of two windows are those of both.
    halves = [figures(history, start, end, plan, configured).inputs for start, end in ((a, b), (b, c))]
    for name in ("good", "reject"):
        values = [half[name] for half in halves]
        if i[name] is not None:
            assert i[name] == sum(v for v in values if v is not None)
            assert float(i[name]).is_integer()


@settings(max_examples=200, deadline=None)
@given(cases())
def test_every_kilowatt_hour_is_somewhere_and_only_once(case):
    history, plan, a, b, c = case
    configured = EnergySettings.model_validate({"counter": "e", "idle": ["idle", "fault"]})
    found = energy(history, a, c, plan, configured)
    i = found.inputs
    if i["energy"] is None:
        return
    assert sum(i[f"energy_{use}"] for use in ("producing", "idle", "other", "unknown", "off_shift")) == pytest.approx(
        i["energy"]
    )
    assert sum(i["energy_by_state"].values()) == pytest.approx(i["energy"])
    assert sum(load.kwh for load in found.profile) == pytest.approx(i["energy"])
    assert all(load.kwh >= 0 for load in found.profile)
    halves = [energy(history, start, end, plan, configured).inputs["energy"] or 0.0 for start, end in ((a, b), (b, c))]
    assert sum(halves) == pytest.approx(i["energy"])


@settings(max_examples=200, deadline=None)
@given(plans, st.sampled_from(STARTS), moments, moments)
def test_the_plan_has_no_gap_and_intervals_follow_one_another(plan, zero, first, second):
    start, end = sorted((zero + first, zero + second))
    spans = plan.spans(start, end)
    assert [t for s in spans for t in (s.start_ns, s.end_ns)] == sorted(
        t for s in spans for t in (s.start_ns, s.end_ns)
    )
    assert sum(s.end_ns - s.start_ns for s in spans) == end - start
    if end == start:
        return
    for kind in ("hour", "quarter", "day"):
        found = intervals_of(kind, plan, start, end)
        assert found[0].start_ns <= start < found[0].end_ns
        assert found[-1].start_ns < end <= found[-1].end_ns
        assert all(a.end_ns == b.start_ns for a, b in pairwise(found))
        # Asked for with any instant inside it, an interval is the same.
        for each in found[:3]:
            for inside in (each.start_ns, (each.start_ns + each.end_ns) // 2, each.end_ns - 1):
                assert intervals_of(kind, plan, inside, inside + 1) == [each]
    shifts = intervals_of("shift", plan, start, end)
    assert all(a.end_ns <= b.start_ns for a, b in pairwise(shifts))
    assert len({(s.day, s.name) for s in shifts}) == len(shifts)
    t, boundaries = start, []
    while (t := plan.next_boundary(t)) < end:
        boundaries.append(t)
    assert {s.end_ns for s in spans if s.end_ns < end} <= set(boundaries)


@settings(max_examples=100, deadline=None)
@given(plans, st.integers(0, 6))
def test_local_days_are_as_long_as_their_clocks_say(plan, days):
    """23, 24 or 25 hours, or half an hour beside: never anything else."""
    day = date(2026, 3, 28) + timedelta(days=days)
    length = plan.midnight(day + timedelta(days=1)) - plan.midnight(day)
    assert length / HOUR in (23, 23.5, 24, 24.5, 25)


@settings(max_examples=150, deadline=None)
@given(cases(), states, st.lists(st.tuples(moments, st.integers(0, 1500)), max_size=20))
def test_late_data_changes_nothing_outside(case, late, readings):
    history, _, a, b, c = case
    zero = min(STARTS, key=lambda s: abs(s - a))
    before = history.pieces(a - HOUR, b), history.pieces(c, c + HOUR)
    whole = history.amount("good", [(0, 2**62)])
    touched = history.replace(
        b, c, [(zero + t, word, reason) for t, word, reason in late], {"good": [(zero + t, v) for t, v in readings]}
    )
    assert touched[0] <= b <= c <= touched[1]
    assert (history.pieces(a - HOUR, b), history.pieces(c, c + HOUR)) == before
    inside = history.pieces(b, c)
    assert sum(p.end_ns - p.start_ns for p in inside) == c - b
    assert all((p.word, p.reason) != (q.word, q.reason) for p, q in pairwise(inside))
    kept = history.readings("good")
    if kept is not None:
        assert list(kept.time) == sorted(set(kept.time))
        assert list(kept.value) == sorted(kept.value)
    if whole is not None:  # late readings add, they take nothing away
        assert history.amount("good", [(0, 2**62)]).value >= whole.value
