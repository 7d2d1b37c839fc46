"""What is a code and what is none: the grammar of UCUM 2.2 (Exhibit 1), its functional tests, and our bounds."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.units import Unit, UnitError, parse

# The same unit, written in two ways.
EQUAL = [
    ("", "1"),
    ("m", "m1"),
    ("m+2", "m2"),
    ("/m", "m-1"),
    ("1/min", "/min"),
    ("/min.m", "m/min"),
    ("m/s2", "m.s-2"),
    ("m/s/s", "m.s-2"),
    ("J/g.K", "(J/g).K"),  # §7.4: from left to right
    ("J/(g.K)", "J/g/K"),
    ("cm3", "10*-6.m3"),  # §9.2: the prefix is raised too
    ("2.5.m", "10.m"),  # §8: the period multiplies
    ("100.g", "hg"),
    ("12.m", "(4.(3.m))"),
    ("10*3", "1000"),
    ("10^3", "1000"),
    ("10*+3/ul", "10*9/L"),
    ("m3.kg-1.s-2", "m3/kg/s2"),
    ("4.[pi].10*-7.N/A2", "[mu_0]"),
    ("{tablet}", "1"),  # §6.4
    ("{parts}/h", "/h"),
    ("kW.h{peak}", "kW.h"),
    ("m{a}{b}", "m"),
    ("10{pcs}", "10"),
    ("(m/s){wind}", "m/s"),
    ("%{RH}", "%"),
    ("[in_i]2", "[sin_i]"),
    ("mm[Hg]", "10*-3.m[Hg]"),
    ("cal_[15]", "4185800.J/1000000"),
    ("dar", "10.m2"),  # deci-are, not deka-r
    ("dam", "10.m"),  # dekametre, not deci-am
    ("cd", "lm/sr"),  # candela, not centiday
    ("Pa", "N/m2"),  # pascal, not peta-year
    ("min", "60.s"),  # minute, not milli-inch
    ("m0", "1"),
    ("[IU]", "[iU]"),
    ("dB", "B/10"),
]

# code, where, what the message says
REFUSED = [
    ("m/", 2, "missing behind '/'"),
    ("m.", 2, "missing behind '.'"),
    (".m", 0, "does not begin"),
    ("//m", 1, "missing behind '/'"),
    ("m//s", 2, "missing behind '/'"),
    ("m../s", 2, "missing behind '.'"),
    ("()", 1, "missing behind '('"),
    ("(m", 0, "not closed"),
    ("m.(s", 2, "not closed"),
    ("m)", 1, "never opened"),
    ("(m/s)2", 5, "behind parentheses"),
    ("k(m)", 0, "'k' is not a unit"),
    ("m(s)", 1, "operator"),
    ("m{x}s", 4, "operator"),
    ("{x}m", 3, "operator"),
    ("m{}", 1, "annotation"),
    ("m{a", 1, "annotation"),
    ("m{a{b}}", 1, "annotation"),
    ("m}", 1, "annotation"),
    ("[in_i", 0, "square brackets"),
    ("[[in_i]]", 0, "square brackets"),
    ("m]", 1, "square brackets"),
    ("0", 0, "larger than 0"),
    ("10+3/ul", 2, "cannot stand here"),
    ("m2-3", 2, "cannot stand here"),
    ("m-", 1, "cannot stand here"),
    ("m s", 1, "a space"),
    ("m\t", 1, "a space"),
    ("m\x00", 1, "ASCII"),
    ("rad2{錠}", 5, "ASCII"),
    ("m²", 1, "ASCII"),
    ("m=s", 1, "cannot stand here"),
    ('"', 0, "cannot stand here"),
    ("iU", 0, "is not a unit"),
    ("molv", 0, "is not a unit"),
    ("g/12h", 2, "is not a unit"),
    ("mmol/kg[H20]", 5, "is not a unit"),
    ("[BETH'U]", 0, "is not a unit"),
    ("kPa/kmin", 4, "'min' takes no prefix"),
    ("mmm", 0, "is not a unit"),
    ("k", 0, "is not a unit"),
    ("kW.H.x", 5, "is not a unit"),
    ("Cel2", 0, "no products"),
    ("/Cel", 1, "no products"),
    ("Cel/min", 0, "no products"),
    ("W/(m2.[degF])", 6, "no products"),
    ("dB/m", 0, "not on a linear scale"),
    ("m100", 0, "two digits"),
    ("m-100", 0, "two digits"),
    ("Ym99", 0, "larger or smaller"),
    ("Ym50.Ym50.m", 5, "larger or smaller"),
    ("(" * 9 + "m" + ")" * 9, 8, "8 deep"),
    ("m" * 65, 64, "at most 64"),
    ("9" * 5000, 64, "at most 64"),
]


@pytest.mark.parametrize(("code", "same"), EQUAL)
def test_two_ways_to_write_a_unit(code, same):
    a, b = parse(code), parse(same)
    assert (a.dimension, a.factor, a.offset, a.own, a.scale) == (b.dimension, b.factor, b.offset, b.own, b.scale)
    assert a.code == code


@pytest.mark.parametrize(
    "code",
    [
        "10*12/L", "10*-3/ul", "/mL", "1/d", "U/L", "kU/L", "meq", "mmol/kg", "nmol/h/mL", "umol/2.h", "fL", "[foz_br]",
        "[cup_us]", "[iU]/d", "k[iU]/mL", "[arb'U]", "[USP'U]/mL", "[CFU]/mL", "[NTU]", "B[SPL]", "dB[SPL]", "B[10.nV]",
        "dB[mV]", "[pH]", "Np", "bit_s", "%[slope]", "[p'diop]", "[m/s2/Hz^(1/2)]", "B[W]", "B[kW]", "V.A", "kV.A.h",
        "var", "kvar", "Mvar.h", "V{AC}", "{rpm}", "uS/cm", "mg/L", "kgf/cm2", "W/(m2.K)", "[lbf_av].[ft_i]",
        "[in_i'H2O]", "[car_Au]", "[degRe]", "mCel",
    ],
)  # fmt: skip
def test_codes(code):
    assert parse(code).code == code


@pytest.mark.parametrize(("code", "position", "message"), REFUSED, ids=[repr(row[0])[:24] for row in REFUSED])
def test_a_mistake_is_said_at_its_place(code, position, message):
    with pytest.raises(UnitError) as caught:
        parse(code)
    assert message in caught.value.message
    assert caught.value.position == position


def test_eight_parentheses_are_enough():
    assert parse("(" * 8 + "m" + ")" * 8).fits(parse("m"))


def test_a_mistake_is_told_again():
    """It is remembered, and is a new exception each time: a kept one would keep the frames of whoever caught it."""
    caught = []
    for _ in range(2):
        with pytest.raises(UnitError) as each:
            parse("kWh")
        caught.append(each.value)
    assert caught[0] is not caught[1]
    assert str(caught[0]) == str(caught[1]) == "'kWh' is not a unit; did you mean 'kW.h'?"


CODES = st.text(alphabet="mskgWhVArKCelPa%'*^[]{}()./+-0123456789_ °²µ", max_size=70)


@settings(max_examples=200)
@given(st.one_of(CODES, st.text(max_size=70)))
@example("((((((((((")
@example("İ")  # two characters in small letters
@example("h" * 64)
@example("m" * 63 + "x")
@example("[" * 64)
@example("{" * 64)
@example("\ud800")
def test_whatever_the_text_there_is_a_unit_or_an_explanation(text):
    try:
        unit = parse(text)
    except UnitError as exc:
        assert exc.message
        assert 0 <= exc.position <= min(len(text), 64)
        if exc.hint.startswith("did you mean"):
            for single, double in re.findall(r"""'([^']*)'|"([^"]*)\"""", exc.hint):
                parse(single or double)
    else:
        assert isinstance(unit, Unit)
        assert unit.code == text


@pytest.mark.parametrize(
    "text",
    [
        "[pi]9." * 10 + "m",
        "/" + "99999999999999999999." * 3 + "m",
        "mmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmm",
        "hhhhhmminmmhhhsAKhhrhmmmmcmkghhhhhhhhhhhhmmmmmmmmmmmmmmmmmmminx",
        "a b c d e f g h i j k l m n o p q r s t u v w x y z a b c d e f ",
        "(x/(x/(x/(x/(x/(x/(x/(x)))))))).kilomegagiga.x^2^2^2**2**2",
        "kWhx.kWhx.kWhx.kWhx/kWhx/kWhx/kWhx/kWhx/kWhx/kWhx",
        "Kilogrammeters.Kilogrammeter.Kilogrammeterz/Kilogrammeterss",
    ],
)
def test_no_text_takes_long(text):
    """A thousand such signals may be in one file; each text here once took the worst of some part of the parser."""
    before = time.process_time()
    with contextlib.suppress(UnitError):
        parse(text)
    assert time.process_time() - before < 0.1


def test_it_is_small():
    """Not a mebibyte, and nothing for mistakes where there are none."""
    program = """
import sys, tracemalloc, dataclasses, fractions, gateway
tracemalloc.start()
import gateway.units
gateway.units.parse("kW.h/m3"), gateway.units.describe(gateway.units.parse("bar"))
assert tracemalloc.get_traced_memory()[0] < 1024 * 1024, tracemalloc.get_traced_memory()
assert "gateway.units.hints" not in sys.modules and "difflib" not in sys.modules
ours = {m for m in sys.modules if m.startswith("gateway.") and not m.startswith("gateway.units")}
assert not ours, ours
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=30)
