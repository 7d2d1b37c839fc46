"""How large units are, as the tables of the UCUM specification 2.2 and what they rest on say it.

Exact where the definition is exact: an inch is 2.54 cm to the last digit, not nearly.
"""

from __future__ import annotations

import math
from fractions import Fraction

import pytest

from gateway.units import UnitError, conversion, parse
from gateway.units.atoms import ATOMS, BINARY_PREFIXES, MAY_HAVE_PREFIX, PREFIXES

# code, what it is, in. From the international yard and pound agreement of 1959 and what follows from it, the SI brochure
# (tables 4 and 8), NIST SP 811 (appendix B.8) and NIST Handbook 44 (appendix C).
EXACT = [
    # lengths
    ("[in_i]", "2.54", "cm"),
    ("[ft_i]", "0.3048", "m"),
    ("[yd_i]", "0.9144", "m"),
    ("[mi_i]", "1609.344", "m"),
    ("[nmi_i]", "1852", "m"),
    ("[mil_i]", "25.4", "um"),
    ("[fth_i]", "1.8288", "m"),
    ("[ft_us]", "1200/3937", "m"),
    ("[mi_us]", "6336000/3937", "m"),
    ("Ao", "1e-10", "m"),
    ("AU", "149597870691", "m"),
    ("[ly]", "9460730472580800", "m"),
    ("[pnt]", "127/360", "mm"),  # a 72nd of an inch
    # areas, volumes
    ("[sin_i]", "6.4516", "cm2"),
    ("[sft_i]", "0.09290304", "m2"),
    ("har", "10000", "m2"),
    ("b", "1e-28", "m2"),
    ("l", "1", "dm3"),
    ("L", "1", "l"),
    ("[cft_i]", "0.028316846592", "m3"),
    ("[gal_us]", "3.785411784", "l"),
    ("[bbl_us]", "158.987294928", "l"),
    ("[qt_us]", "0.946352946", "l"),
    ("[foz_us]", "29.5735295625", "mL"),
    ("[gal_br]", "4.54609", "l"),
    ("[pt_br]", "0.56826125", "l"),
    ("[foz_br]", "28.4130625", "mL"),
    ("[bu_us]", "35.23907016688", "l"),
    ("st", "1", "m3"),
    # masses
    ("t", "1000", "kg"),
    ("[gr]", "64.79891", "mg"),
    ("[lb_av]", "453.59237", "g"),
    ("[oz_av]", "28.349523125", "g"),
    ("[ston_av]", "907.18474", "kg"),
    ("[lton_av]", "1016.0469088", "kg"),
    ("[stone_av]", "6.35029318", "kg"),
    ("[oz_tr]", "31.1034768", "g"),
    ("[lb_tr]", "373.2417216", "g"),
    ("[car_m]", "0.2", "g"),
    # time
    ("min", "60", "s"),
    ("h", "3600", "s"),
    ("d", "86400", "s"),
    ("wk", "604800", "s"),
    ("a", "31557600", "s"),  # Julian: 365.25 d
    ("mo", "2629800", "s"),
    ("a_g", "31556952", "s"),
    # speed, acceleration, force, torque
    ("km/h", "5/18", "m/s"),
    ("[kn_i]", "463/900", "m/s"),
    ("[mi_i]/h", "0.44704", "m/s"),
    ("[g]", "9.80665", "m/s2"),
    ("Gal", "0.01", "m/s2"),
    ("kgf", "9.80665", "N"),
    ("dyn", "1e-5", "N"),
    ("[lbf_av]", "4.4482216152605", "N"),
    ("[lbf_av].[ft_i]", "1.3558179483314004", "N.m"),
    # pressure
    ("bar", "100000", "Pa"),
    ("mbar", "1", "hPa"),
    ("atm", "101325", "Pa"),
    ("att", "98066.5", "Pa"),
    ("kgf/cm2", "98066.5", "Pa"),
    ("N/mm2", "1", "MPa"),
    ("mm[Hg]", "133.322", "Pa"),
    ("m[H2O]", "9806.65", "Pa"),
    ("[in_i'H2O]", "249.08891", "Pa"),
    # energy, power
    ("kW.h", "3.6", "MJ"),
    ("W.s", "1", "J"),
    ("erg", "1e-7", "J"),
    ("eV", "1.602176634e-19", "J"),
    ("cal", "4.184", "J"),
    ("kcal_IT", "4186.8", "J"),
    ("[Btu_IT]", "1055.05585262", "J"),
    ("[Btu_th]", "1054.350", "J"),
    ("[HP]", "745.69987158227022", "W"),
    ("V.A", "1", "W"),
    # electricity, magnetism
    ("A.h", "3600", "C"),
    ("Ohm", "1", "V/A"),
    ("mho", "1", "S"),
    ("F", "1", "A.s/V"),
    ("H", "1", "V.s/A"),
    ("Wb", "1", "T.m2"),
    ("G", "1e-4", "T"),
    ("Mx", "1e-8", "Wb"),
    ("Bi", "10", "A"),
    # viscosity
    ("P", "0.1", "Pa.s"),
    ("cP", "1", "mPa.s"),
    ("cSt", "1", "mm2/s"),
    # light, radiation
    ("lx", "1", "cd.sr/m2"),
    ("sb", "10000", "cd/m2"),
    ("Ci", "37", "GBq"),
    ("Bq", "1", "Hz"),
    ("REM", "0.01", "Sv"),
    ("RAD", "0.01", "Gy"),
    ("R", "2.58e-4", "C/kg"),
    # chemistry
    ("mol", "6.02214076e23", "1"),
    ("kat", "60e6", "U"),
    ("g%", "10", "g/l"),
    # numbers, data
    ("%", "0.01", "1"),
    ("[ppth]", "1e-3", "1"),
    ("[ppm]", "1e-6", "1"),
    ("[ppb]", "1e-9", "1"),
    ("[car_Au]", "1/24", "1"),
    ("10*3", "1000", "1"),
    ("10^-3", "1/1000", "1"),
    ("By", "8", "bit"),
    ("KiBy", "1024", "By"),
    ("MiBy", "1048576", "By"),
    ("GiBy", "1073741824", "By"),
    ("Tibit", "1099511627776", "bit"),
    ("Bd", "1", "/s"),
    # angles, threads, temperature as a difference
    ("circ", "360", "deg"),
    ("deg", "60", "'"),
    ("'", "60", "''"),
    ("gon", "0.9", "deg"),
    ("tex", "1e-6", "kg/m"),
    ("tex", "9", "[den]"),
    ("[degR]", "5/9", "K"),
    # reactive power, which is ours
    ("kvar", "1000", "var"),
    ("kvar.h", "3600000", "var.s"),
]


@pytest.mark.parametrize(("code", "size", "of"), EXACT, ids=str)
def test_a_unit_has_the_size_of_its_definition(code, size, of):
    unit, reference = parse(code), parse(of)
    assert unit.dimension == reference.dimension
    assert unit.own == reference.own
    assert unit.factor / reference.factor == Fraction(size)
    assert conversion(unit, reference) == (float(Fraction(size)), 0.0)


@pytest.mark.parametrize(
    ("code", "size", "of"),
    [
        ("deg", math.pi / 180, "rad"),
        ("circ", 2 * math.pi, "rad"),
        ("gon", math.pi / 200, "rad"),
        ("sph", 4 * math.pi, "sr"),
        ("Oe", 79.57747154594767, "A/m"),  # 1000/(4 pi)
        ("[mu_0]", 4e-7 * math.pi, "H/m"),
        ("{rev}/min", 1 / 60, "Hz"),
        ("circ/min", 2 * math.pi / 60, "rad/s"),
        ("[psi]", 6894.757293168361, "Pa"),  # NIST SP 811
        ("[in_i'Hg]", 3386.3788, "Pa"),
        ("[acr_us]", 4046.872609874252, "m2"),  # NIST SP 811: 4046.873
        ("u", 1.66053906660e-27, "kg"),
        ("pc", 3.085678e16, "m"),
    ],
)
def test_what_is_not_a_short_number_is_right_to_the_last_bits(code, size, of):
    factor, offset = conversion(parse(code), parse(of))
    assert factor == pytest.approx(size, rel=1e-14)
    assert offset == 0


@pytest.mark.parametrize(
    ("value", "source", "target", "expected"),
    [
        # The fixed points, and -40 where both scales meet.
        (212, "[degF]", "Cel", 100),
        (32, "[degF]", "Cel", 0),
        (-40, "[degF]", "Cel", -40),
        (100, "Cel", "[degF]", 212),
        (0, "Cel", "K", 273.15),
        (300, "K", "Cel", 26.85),
        (-459.67, "[degF]", "K", 0),
        (671.67, "[degR]", "[degF]", 212),
        (80, "[degRe]", "Cel", 100),
        (25, "Cel", "mCel", 25000),
        (20.5, "Cel", "mK", 293650),
        (250, "10*-1.Cel", "Cel", 25),
        # Of the functional tests of UCUM.
        (6.3, "s.mm-2", "s.m-2", 6300000),
        (6.3, "4.s/m", "s/m", 25.2),
        (6.3, "s/4.m", "s.m", 1.575),  # from left to right: (s/4).m
        (6.3, "g.m.s-2.A-2", "g.m.C-2", 6.3),
        (1, "m[Hg]", "g.s-2.m-1", 133322000),
        (1, "S", "g-1.m-2.C2.s", 0.001),
        (1, "1/[ly]", "cm-1", 1.0570008340246e-18),
        # Of a shop floor.
        (1500, "1/min", "Hz", 25),
        (7.2, "m3/h", "l/min", 120),
        (6, "bar", "[psi]", 87.02264),
        (35, "%", "1", 0.35),
        (4, "mA", "A", 0.004),
        (1, "MW.h", "GJ", 3.6),
    ],
)
def test_values_are_converted(value, source, target, expected):
    factor, offset = conversion(parse(source), parse(target))
    assert value * factor + offset == pytest.approx(expected, rel=1e-7, abs=1e-9)


def test_every_atom_can_be_read():
    """No definition in the table is broken, and none is nothing."""
    for code in sorted(ATOMS):
        assert parse(code).factor > 0, code


def test_prefixes_only_before_what_is_metric():
    for code in sorted(ATOMS - MAY_HAVE_PREFIX):
        with pytest.raises(UnitError, match=r"takes no prefix|is not a unit"):
            parse("k" + code)
    for code in sorted(MAY_HAVE_PREFIX):
        assert parse("k" + code).factor == 1000 * parse(code).factor, code


def test_no_code_can_be_read_in_two_ways():
    """§4.4 never has to decide: cd is candela because d takes no prefix, and so on through the table."""
    for code in ATOMS:
        for prefix in (*PREFIXES, *BINARY_PREFIXES):
            assert not (code.startswith(prefix) and code.removeprefix(prefix) in MAY_HAVE_PREFIX), code


def test_pi_is_taken_to_the_digits_of_ucum():
    assert abs(
        parse("[pi]").factor - Fraction("3.14159265358979323846264338327950288419716939937510582097494459")
    ) < Fraction(1, 10**61)
