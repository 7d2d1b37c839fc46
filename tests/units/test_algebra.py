"""Products, quotients, powers, differences, conversions: what an expression over signals may do, and what it is told."""

from __future__ import annotations

import pickle
from fractions import Fraction

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from gateway.units import BASE, UnitError, conversion, describe, parse

# Units of plants, by what they measure. Within a row all can be converted into each other.
KINDS = {
    "length": "m mm um km [in_i] [ft_i]",
    "area": "m2 mm2 har [sft_i]",
    "volume": "m3 l mL [gal_us]",
    "time": "s ms min h d wk mo a",
    "frequency": "Hz /min 1/h {rev}/min Bq",
    "speed": "m/s m/min km/h mm/s [ft_i]/min",
    "acceleration": "m/s2 [g]",
    "angular speed": "rad/s deg/s circ/min",
    "plane angle": "rad deg '",
    "mass": "kg g t [lb_av]",
    "mass flow": "kg/h g/s t/d",
    "density": "kg/m3 g/cm3 g/L",
    "volume flow": "m3/h l/min [gal_us]/min",
    "force": "N kN kgf [lbf_av]",
    "pressure": "bar Pa MPa [psi] mm[Hg] N/mm2 atm",
    "energy": "J kJ kW.h W.s [Btu_IT] cal eV",
    "power": "W kW MW V.A [HP] kcal/h",
    "reactive power": "var kvar",
    "reactive energy": "kvar.h Mvar.h",
    "temperature": "K Cel [degF] mCel [degR] [degRe]",
    "temperature rate": "K/min K/s [degR]/h",
    "electric current": "A mA kA",
    "electric charge": "A.h C mA.h",
    "voltage": "V kV mV",
    "electric resistance": "Ohm kOhm MOhm",
    "conductivity": "S/m uS/cm",
    "dynamic viscosity": "Pa.s cP",
    "kinematic viscosity": "m2/s cSt",
    "illuminance": "lx klx",
    "plain number": "1 % [ppm] {pcs} 10*3 bit kBy mol",
    "turbidity in [NTU]": "[NTU]",
    "pH": "[pH]",
}
ALL = [(kind, code) for kind, codes in KINDS.items() for code in codes.split()]
UNITS = st.sampled_from([code for _, code in ALL]).map(parse)
LINEAR = UNITS.filter(lambda unit: unit.scale == "ratio")
PAIRS = st.sampled_from([codes.split() for codes in KINDS.values()]).flatmap(
    lambda codes: st.tuples(st.sampled_from(codes), st.sampled_from(codes))
)


@pytest.mark.parametrize(("kind", "code"), ALL)
def test_what_a_unit_measures(kind, code):
    assert describe(parse(code)) == kind


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("N.m", "torque"),
        ("kN.m", "torque"),
        ("[lbf_av].[ft_i]", "torque"),
        ("m5.kg", "m5.g"),
        ("K-3", "K-3"),
        ("kvar/m", "m-1.var"),
        ("k[iU]/mL", "m-3.[iU]"),
        ("dB[V]", "B[V]"),
        ("", "plain number"),
    ],
)
def test_where_words_end_base_units_begin(code, words):
    assert describe(parse(code)) == words


@settings(max_examples=200)
@given(PAIRS, st.floats(-1e6, 1e6))
def test_there_and_back_again(pair, value):
    source, target = map(parse, pair)
    factor, offset = conversion(source, target)
    back, zero = conversion(target, source)
    # A zero that was shifted costs what it has in digits.
    slack = 1e-9 * max(1.0, abs(value), abs(offset * back), abs(zero))
    assert (value * factor + offset) * back + zero == pytest.approx(value, abs=slack)


@settings(max_examples=200)
@given(UNITS, UNITS)
def test_only_what_fits_is_converted(source, target):
    if source.fits(target):
        conversion(source, target)
    else:
        with pytest.raises(UnitError):
            conversion(source, target)


@settings(max_examples=200)
@given(LINEAR, LINEAR)
def test_products_and_quotients(a, b):
    product, quotient = a * b, a / b
    assert product.dimension == tuple(x + y for x, y in zip(a.dimension, b.dimension, strict=True))
    assert quotient.dimension == tuple(x - y for x, y in zip(a.dimension, b.dimension, strict=True))
    assert product.factor == a.factor * b.factor
    assert quotient.factor == a.factor / b.factor
    assert (product / b).fits(a)
    assert (a / a).is_dimensionless


@settings(max_examples=200)
@given(LINEAR, st.integers(-4, 4))
def test_powers(unit, exponent):
    power = unit**exponent
    assert power.dimension == tuple(exponent * each for each in unit.dimension)
    assert power.factor == unit.factor**exponent
    assert power.own == tuple((code, n * exponent) for code, n in unit.own if exponent)


@settings(max_examples=200)
@given(
    st.recursive(
        LINEAR.map(lambda u: (u,)), lambda inner: st.tuples(st.sampled_from("*/^"), inner, inner), max_leaves=6
    )
)
def test_the_code_of_a_result_can_be_read(tree):
    """Whatever was multiplied and divided, its code is one that UCUM would take, and means the same."""

    def value(node):
        if len(node) == 1:
            return node[0]
        operator, left, right = node
        a, b = value(left), value(right)
        return a * b if operator == "*" else a / b if operator == "/" else (a / b) ** -2

    try:
        result = value(tree)
    except UnitError as exc:
        assume("64 characters" not in exc.message and "larger or smaller" not in exc.message)
        raise
    again = parse(result.code)
    assert (again.dimension, again.factor, again.own) == (result.dimension, result.factor, result.own)


@pytest.mark.parametrize(
    ("result", "code", "kind"),
    [
        (parse("V") * parse("A"), "V.A", "power"),
        (parse("kW") * parse("h"), "kW.h", "energy"),
        (parse("m3") / parse("h"), "m3/h", "volume flow"),
        (parse("J") / parse("kg.K"), "J/(kg.K)", "specific heat capacity"),
        (parse("m/s") / parse("m/s"), "m/s/(m/s)", "plain number"),
        (parse("") / parse("min"), "/min", "frequency"),
        (parse("m") * parse("/s"), "m.1/s", "speed"),
        (parse("m") / parse("/s"), "m/(1/s)", "m.s"),
        (parse("mm") ** 2, "mm2", "area"),
        (parse("m/s") ** 2, "m/s.m/s", "specific energy"),
        (parse("m/s") ** -1, "/(m/s)", "m-1.s"),
        (parse("m2") ** 2, "m2.m2", "m4"),
        (parse("m") ** 0, "", "plain number"),
        (parse("kvar") * parse("h"), "kvar.h", "reactive energy"),
        (parse("kvar.h") / parse("h"), "kvar.h/h", "reactive power"),
        (parse("kvar") / parse("kvar"), "kvar/kvar", "plain number"),
        (parse("Cel") * parse(""), "Cel", "temperature"),
    ],
)
def test_results(result, code, kind):
    assert result.code == code
    assert describe(result) == kind


def test_a_result_too_long_to_be_written_loses_its_annotations():
    result = parse("N.m{left_front_wheel}") * parse("{revolution_of_the_wheel}/min") * parse("{per_axle_of_the_car}")
    assert result.code == "N.m.1/min.1"
    assert parse(result.code).fits(parse("W"))


def test_or_is_written_in_base_units():
    long = parse("km.m.m.m.m.m.m.m.m.m.m.m.m.m.m.m.m.m.m.m")
    assert (long * long).code == "1000000.m40"
    assert (long * parse("m.m.m.m.m.m.m.m.m.m.m.m/h")).code == "5.m32.s-1/18"


def test_or_cannot_be_written():
    digits = parse("[lbf_av].[ft_i].[gal_us].[Btu_IT]")
    with pytest.raises(UnitError, match="more than 64 characters"):
        digits * digits


@pytest.mark.parametrize(
    ("code", "of_differences"),
    [("Cel", "K"), ("[degF]", "[degR]"), ("[degRe]", "5.K/4"), ("mCel", "K/1000"), ("bar", "bar")],
)
def test_a_difference_has_no_zero(code, of_differences):
    """20 Cel less 15 Cel are 5 K, not 278.15: whoever subtracts, or rates a deadband, asks for this unit."""
    difference = parse(code).difference()
    assert difference.code == of_differences
    assert difference.offset == 0
    assert parse(of_differences).factor == difference.factor == parse(code).factor
    assert difference * parse("m")


def test_a_logarithm_has_no_difference_in_its_own_unit():
    with pytest.raises(UnitError, match="the difference of two values"):
        parse("B[V]").difference()


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: parse("Cel") * parse("m"),
        lambda: parse("m") * parse("Cel"),
        lambda: parse("Cel") * parse("Cel"),
        lambda: parse("Cel") / parse("min"),
        lambda: parse("") / parse("Cel"),
        lambda: parse("Cel") ** 2,
        lambda: parse("[degF]") ** -1,
        lambda: parse("dB") * parse("m"),
        lambda: parse("[pH]") ** 2,
        lambda: parse("m") ** 100,
        lambda: parse("km") ** 99 * parse("km") ** 99 * parse("km") ** 99 * parse("km") ** 99 * parse("km") ** 99,
    ],
)
def test_what_cannot_be_worked_out(wrong):
    with pytest.raises(UnitError):
        wrong()


def test_a_scale_can_be_scaled():
    """UCUM §22.5: half of 30 Cel, as a mean of two, is 15 Cel; the zero stays where it is."""
    tenths = parse("Cel") / parse("10")
    assert (tenths.factor, tenths.offset) == (Fraction(1, 10), Fraction("273.15"))
    assert conversion(tenths, parse("Cel")) == (0.1, 0.0)


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        ("bar", "Cel", "bar is a pressure, Cel a temperature"),
        ("kW.h", "kW", "kW.h is an energy, kW a power"),
        ("N.m", "bar", "N.m is a torque, bar a pressure"),
        ("", "V", "1 is a plain number, V a voltage"),
        ("m5.kg", "s", "m5.kg is measured in m5.g, s a time"),
        (
            "var",
            "W",
            "var is a reactive power, W a power; reactive, active and apparent power are different quantities",
        ),
        ("kvar.h", "kV.A.h", "reactive, active and apparent energy are different quantities"),
        ("dB[V]", "V", "dB[V] and V do not fit: dB[V] is not on a linear scale, and converts only to itself"),
        ("B[V]", "B[W]", "converts only to itself"),
        ("[NTU]", "[FNU]", "turbidity in [FNU]"),
        ("[iU]/L", "/L", "measured in m-3.[iU]"),
        ("rad", "1", "rad is a plane angle, 1 a plain number"),
    ],
)
def test_what_does_not_fit_is_named_in_words(source, target, message):
    with pytest.raises(UnitError) as caught:
        conversion(parse(source), parse(target))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("source", "target", "factor"),
    [("dB", "B", 0.1), ("dB[V]", "B[V]", 0.1), ("k[iU]/L", "[IU]/mL", 1.0), ("[pH]", "[pH]", 1.0)],
)
def test_what_converts_only_to_itself_does_so_in_any_size(source, target, factor):
    assert conversion(parse(source), parse(target)) == (factor, 0.0)


def test_a_factor_that_no_float_holds():
    with pytest.raises(UnitError, match="cannot hold"):
        conversion(parse("Ym14"), parse("ym14"))
    with pytest.raises(UnitError, match="cannot hold"):
        conversion(parse("ym14"), parse("Ym14"))


def test_what_has_a_dimension():
    assert BASE == ("m", "s", "g", "rad", "K", "C", "cd")
    assert parse("V").dimension == (2, -2, 1, 0, 0, -1, 0)  # J/C
    assert all(parse(code).is_dimensionless for code in ("", "1", "%", "{pcs}", "10*3", "[ppm]"))
    assert not any(parse(code).is_dimensionless for code in ("rad", "deg", "var", "dB", "[pH]", "[iU]", "Cel"))


def test_an_error_can_be_sent_to_another_process():
    with pytest.raises(UnitError) as caught:
        parse("kWh")
    again = pickle.loads(pickle.dumps(caught.value))
    assert (again.message, again.position, again.hint) == (caught.value.message, 0, "did you mean 'kW.h'?")
