"""Which unit a result has, and what is converted on the way. Factors are those of UCUM: 1 kW = 1000 W, 0 Cel = 273.15 K = 32 [degF]."""

from typing import Any

import pytest

from expressions.material import KINDS, Running, checked
from gateway.model import GOOD

ROWS: list[tuple[str, dict[str, Any], Any, str | None]] = [
    # sums: in the unit of the first that has one
    ("kw + w", {"kw": 1.5, "w": 500.0}, 2.0, "kW"),
    ("w + kw", {"kw": 1.5, "w": 500.0}, 2000.0, "W"),
    ("kw - w", {"kw": 1.5, "w": 500.0}, 1.0, "kW"),
    ("kw + w + w", {"kw": 1.5, "w": 500.0}, 2.5, "kW"),
    ("kw % w", {"kw": 1.25, "w": 500.0}, 0.25, "kW"),
    ("kw + 1", {"kw": 1.5}, 2.5, "kW"),
    ("1 + kw", {"kw": 1.5}, 2.5, "kW"),
    ("x + kw", {"kw": 1.5, "x": 1.0}, 2.5, "kW"),
    ("n - kw", {"kw": 1.5, "n": 1}, -0.5, "kW"),
    ("any + kw", {"kw": 1.5, "any": 1}, 2.5, "kW"),
    ("-kw", {"kw": 1.5}, -1.5, "kW"),
    ("s + 1min", {"s": 5.0}, 65.0, "s"),
    # comparisons
    ("kw > w", {"kw": 1.0, "w": 999.0}, True, None),
    ("kw > w", {"kw": 1.0, "w": 1001.0}, False, None),
    ("kw == w", {"kw": 1.0, "w": 1000.0}, True, None),
    ("s > 5min", {"s": 301.0}, True, None),
    ("5min < s", {"s": 299.0}, False, None),
    ("kw >= 5", {"kw": 5.0}, True, None),
    ("kw >= x", {"kw": 5.0, "x": 6.0}, False, None),
    ("kw > convert(700, 'W')", {"kw": 0.8}, True, None),
    ("between(kw, 0.5, w)", {"kw": 0.6, "w": 700.0}, True, None),
    ("between(kw, 0.5, w)", {"kw": 0.8, "w": 700.0}, False, None),
    ("share(on, 1h) > pct", {"on": True, "pct": 60.0}, True, None),
    # one of several
    ("min(kw, w)", {"kw": 1.0, "w": 500.0}, 0.5, "kW"),
    ("max(0, w, kw)", {"kw": 1.0, "w": 500.0}, 1000.0, "W"),
    ("if(on, kw, w)", {"on": False, "kw": 1.0, "w": 500.0}, 0.5, "kW"),
    ("if(on, 0, w)", {"on": True, "w": 500.0}, 0.0, "W"),
    ("default(kw, w)", {"kw": (None, 0x80310000), "w": 500.0}, 0.5, "kW"),
    ("clamp(kw, 0, w)", {"kw": 1.0, "w": 500.0}, 0.5, "kW"),
    ("abs(kw)", {"kw": -1.0}, 1.0, "kW"),
    ("round(kw, 1)", {"kw": 1.26}, 1.3, "kW"),
    ("ceil(kw)", {"kw": 1.26}, 2, "kW"),
    # products
    ("kw * s", {"kw": 2.0, "s": 3.0}, 6.0, "kW.s"),
    ("kw * 1h", {"kw": 2.0}, 7200.0, "kW.s"),
    ("kw / s", {"kw": 6.0, "s": 3.0}, 2.0, "kW/s"),
    ("kw / w", {"kw": 6.0, "w": 3.0}, 2.0, "kW/W"),
    ("kw ** 2", {"kw": 3.0}, 9.0, "kW2"),
    ("s ** -1", {"s": 4.0}, 0.25, "s-1"),
    ("kw * share(on, 1h)", {"kw": 3.0, "on": True}, 3.0, "kW"),
    ("convert(kw * 30min, 'kW.h')", {"kw": 3.0}, 1.5, "kW.h"),
    # with a factor that has no unit nobody knows: it may be a conversion by hand
    ("kw * 1000", {"kw": 3.0}, 3000.0, None),
    ("kw / 2", {"kw": 3.0}, 1.5, None),
    ("1 / s", {"s": 4.0}, 0.25, None),
    ("x * kw", {"kw": 3.0, "x": 2.0}, 6.0, None),
    ("w / 1000 + kw", {"kw": 3.0, "w": 2000.0}, 5.0, "kW"),
    ("sqrt(kw)", {"kw": 4.0}, 2.0, None),
    ("2 ** x", {"x": 3.0}, 8.0, None),
    # said
    ("convert(kw, 'W')", {"kw": 1.5}, 1500.0, "W"),
    ("convert(w, 'kW')", {"w": 21.3}, 0.0213, "kW"),
    ("convert(x, 'bar')", {"x": 1.5}, 1.5, "bar"),
    ("convert(w / 1000, 'kW')", {"w": 1500.0}, 1.5, "kW"),
    ("convert(pct, '1')", {"pct": 50.0}, 0.5, "1"),
    # temperatures are points on a scale
    ("cel - degf", {"cel": 215.0, "degf": 122.0}, 165.0, "K"),
    ("degf - cel", {"cel": 20.0, "degf": 122.0}, 54.0, "[degR]"),
    ("cel - cel2", {"cel": 50.0, "cel2": 20.0}, 30.0, "K"),
    ("cel + 5", {"cel": 20.0}, 25.0, "Cel"),
    ("cel + k", {"cel": 20.0, "k": 5.0}, 25.0, "Cel"),
    ("k + cel", {"cel": 20.0, "k": 5.0}, 25.0, "Cel"),
    ("degf + k", {"degf": 50.0, "k": 5.0}, 59.0, "[degF]"),
    ("cel - k", {"cel": 20.0, "k": 5.0}, 15.0, "Cel"),
    ("k - cel", {"cel": 20.0, "k": 300.0}, 6.85, "K"),
    ("cel + cel2", {"cel": 20.0, "cel2": 30.0}, 50.0, "Cel"),
    ("(cel + cel2) / 2", {"cel": 20.0, "cel2": 30.0}, 25.0, None),
    ("cel > degf", {"cel": 38.0, "degf": 100.0}, True, None),
    ("cel > degf", {"cel": 37.0, "degf": 100.0}, False, None),
    ("cel > k", {"cel": 20.0, "k": 300.0}, False, None),
    ("max(degf, cel)", {"cel": 100.0, "degf": 200.0}, 212.0, "[degF]"),
    ("cel * 2", {"cel": 20.0}, 40.0, None),
    ("cel ** 2", {"cel": 20.0}, 400.0, None),
    ("convert(cel, '[degF]')", {"cel": 100.0}, 212.0, "[degF]"),
    ("convert(k, 'Cel')", {"k": 300.0}, 26.85, "Cel"),
    # and their differences are none: 30 K is more than 20 Cel of hysteresis, and than 50 [degF] (27.8 K)
    ("cel - cel2 > degf", {"cel": 50.0, "cel2": 20.0, "degf": 50.0}, True, None),
    ("degf < cel - cel2", {"cel": 50.0, "cel2": 20.0, "degf": 55.0}, False, None),
    ("abs(cel - cel2) > cel", {"cel": 15.0, "cel2": 50.0}, True, None),
    ("cel - cel2 > k", {"cel": 50.0, "cel2": 20.0, "k": 31.0}, False, None),
    ("(cel - cel2) - k > degf", {"cel": 50.0, "cel2": 20.0, "k": 5.0, "degf": 40.0}, True, None),
    ("(cel - cel2) + (cel - k) > degf", {"cel": 50.0, "cel2": 20.0, "k": 5.0, "degf": 170.0}, False, None),
    ("(cel - cel2) + cel", {"cel": 50.0, "cel2": 20.0}, 80.0, "Cel"),
    ("cel2 + (cel - cel2)", {"cel": 50.0, "cel2": 20.0}, 50.0, "Cel"),
    ("(cel - cel2) - degf", {"cel": 50.0, "cel2": 20.0, "degf": 18.0}, 20.0, "K"),
    ("degf + (cel - cel2)", {"cel": 50.0, "cel2": 20.0, "degf": 50.0}, 104.0, "[degF]"),
    ("max(cel - cel2, degf)", {"cel": 50.0, "cel2": 20.0, "degf": 90.0}, 50.0, "K"),
    ("convert(cel - cel2, '[degF]')", {"cel": 120.0, "cel2": 20.0}, 180.0, "[degR]"),
    # over time
    ("mean(kw, 1min)", {"kw": 1.0}, 1.0, "kW"),
    ("max(cel, 1min)", {"cel": 1.0}, 1.0, "Cel"),
    ("delta(kw, 1min)", {"kw": 1.0}, 0.0, "kW"),
    ("delta(cel, 1min)", {"cel": 1.0}, 0.0, "K"),
    ("total(kw)", {"kw": 1.0}, 0.0, "kW.s"),
    ("total(cel)", {"cel": 1.0}, 0.0, None),
    ("duration(on)", {"on": True}, 0.0, "s"),
    ("count(on, 1h)", {"on": True}, 0, "1"),
    ("share(on, 1h)", {"on": True}, 1.0, "1"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "signals", "expected", "code"), ROWS)
def test_a_result_and_its_unit(text, signals, expected, code):
    run = Running(text)
    value, quality = run(0, **signals)
    assert quality == GOOD
    assert type(value) is type(expected)
    assert value == (pytest.approx(expected, rel=1e-12) if isinstance(expected, float) else expected)
    unit = checked(text).check(lambda r: KINDS[str(r)]).unit
    assert (unit.code if unit is not None else None) == code


@pytest.mark.parametrize(
    ("text", "code"),
    [("rate(kw, 1min)", "kW/s"), ("rate(cel, 1min)", "K/s"), ("previous(kw)", "kW"), ("rate(x, 1s)", None)],
)
def test_units_of_what_has_no_value_at_first(text, code):
    unit = checked(text).check(lambda r: KINDS[str(r)]).unit
    assert (unit.code if unit is not None else None) == code


def test_a_conversion_makes_no_digits_of_its_own():
    """230.4 * 0.001 is 0.23040000000000002."""
    assert Running("convert(w, 'kW')")(0, w=230.4) == (0.2304, GOOD)


def test_a_difference_over_time_is_one_of_temperatures():
    run = Running("delta(cel, 1min) > degf")  # 18 [degF] are 10 K
    run(0, cel=20.0, degf=18.0)
    assert run(30, cel=30.1, degf=18.0) == (True, GOOD)
    assert run(31, cel=29.9, degf=18.0) == (False, GOOD)


def test_a_unit_that_is_too_long_to_be_written_is_not_known():
    text = " * ".join(['convert(x, "[in_i\'H2O].kW/m2")'] * 8)
    assert checked(text).check(lambda r: KINDS[str(r)]).unit is None
