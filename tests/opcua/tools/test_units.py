"""Units as servers name them: UNECE Recommendation 20 to UCUM, both by hand."""

import re

import pytest

from adapters.opcua.units import _UCUM, ucum

UNECE = "http://www.opcfoundation.org/UA/units/un/cefact"


@pytest.mark.parametrize(
    ("unit_id", "shown", "code"),
    [  # UnitId as in the OPC Foundation's UNECE_to_OPCUA.csv
        (4408652, "°C", "Cel"), (4604232, "°F", "[degF]"), (4932940, "K", "K"), (4342098, "bar", "bar"),
        (5063250, "mbar", "mbar"), (5259596, "Pa", "Pa"), (4935745, "kPa", "kPa"), (5066817, "MPa", "MPa"),
        (20563, "lbf/in²", "[psi]"), (5066068, "mm", "mm"), (13384, "µm", "um"), (5067858, "m", "m"),
        (5067859, "m/s", "m/s"), (12888, "m/min", "m/min"), (4403510, "mm/s", "mm/s"), (5394509, "r/min", "/min"),
        (4740186, "Hz", "Hz"), (4279632, "A", "A"), (13387, "mA", "mA"), (5655636, "V", "V"), (12890, "mV", "mV"),
        (4937300, "kV", "kV"), (5195853, "Ω", "Ohm"), (5723220, "W", "W"), (4937556, "kW", "kW"),
        (4937544, "kW·h", "kW.h"), (4937298, "kvar", "kvar"), (4469814, "V·A", "V.A"), (20053, "N·m", "N.m"),
        (5129559, "N", "N"), (4338743, "kN", "kN"), (4933453, "kg", "kg"), (4674125, "g", "g"), (5525061, "t", "t"),
        (4933459, "kg/s", "kg/s"), (4536627, "kg/h", "kg/h"), (5067857, "m³", "m3"), (5002322, "l", "L"),
        (5067080, "m³/h", "m3/h"), (19506, "l/min", "L/min"), (4666673, "l/s", "L/s"), (5457219, "s", "s"),
        (4403766, "ms", "ms"), (5065038, "min", "min"), (4740434, "h", "h"), (4473177, "d", "d"),
        (20529, "% or pct", "%"), (13625, "ppm", "[ppm]"), (17476, "°", "deg"), (4404786, "1", "1"),
        (4732465, "mS/cm", "mS/cm"), (4666418, "µS/cm", "uS/cm"), (13379, "cSt", "cSt"), (12878, "dB", "dB"),
        (5321520, "pH", "[pH]"), (4672585, "gal (UK)", "[gal_br]"), (4470068, "W/m²", "W/m2"),
        (5067595, "m/s²", "m/s2"),
    ],
)  # fmt: skip
def test_common_codes(unit_id, shown, code):
    assert ucum(UNECE, unit_id, "something else") == code, shown


@pytest.mark.parametrize("code", ["N12", "MAR", "NM3", "SM3", "Q38"])
def test_units_that_ucum_does_not_have_keep_their_name(code):
    assert ucum(UNECE, int.from_bytes(code.encode(), "big"), "as shown") == "as shown"


def test_other_systems_of_units_keep_their_name():
    assert ucum("http://qudt.org/vocab/unit", 4408652, " °C ") == "°C"
    assert ucum(None, -1, None) == ""


# UCUM 2.1: atoms, and which of them take a prefix.
METRIC = [
    "m",
    "s",
    "g",
    "rad",
    "K",
    "cd",
    "C",
    "Pa",
    "J",
    "W",
    "A",
    "V",
    "F",
    "Ohm",
    "S",
    "Wb",
    "H",
    "lm",
    "lx",
    "Bq",
    "Gy",
    "Sv",
    "N",
    "Hz",
    "T",
    "mol",
    "sr",
    "L",
    "t",
    "bar",
    "cal_m",
    "cal_IT",
    "By",
    "bit",
    "Bd",
    "var",
    "eV",
    "P",
    "St",
    "B",
    "gf",
    "kat",
    "l",
]
OTHER = [
    "%",
    "'",
    "''",
    "deg",
    "gon",
    "min",
    "h",
    "d",
    "wk",
    "mo",
    "a",
    "atm",
    "att",
    "har",
    "Cel",
    "kgf",
    "[degF]",
    "[degR]",
    "[psi]",
    "[in_i]",
    "[ft_i]",
    "[yd_i]",
    "[mi_i]",
    "[nmi_i]",
    "[mil_i]",
    "[kn_i]",
    "[gal_us]",
    "[gal_br]",
    "[bbl_us]",
    "[lb_av]",
    "[oz_av]",
    "[ston_av]",
    "[lbf_av]",
    "[HP]",
    "[Btu_IT]",
    "[g]",
    "[pH]",
    "[ppm]",
    "[ppb]",
    "[ppth]",
    "[in_i'Hg]",
    "[in_i'H2O]",
    "m[Hg]",
    "m[H2O]",
]
PREFIXES = ["Y", "Z", "E", "P", "T", "G", "M", "k", "h", "da", "d", "c", "m", "u", "n", "p", "f", "a"]


def is_unit(text: str) -> bool:
    text = re.sub(r"\{[^{}]*\}", "", text)
    if not text or text.isdecimal():
        return True
    atom = re.fullmatch(r"(.*?)([+-]?\d+)?", text)
    name = atom[1] if atom else ""
    if name in METRIC or name in OTHER or text in OTHER:
        return True
    return any(name.startswith(p) and name[len(p) :] in [*METRIC, "m[Hg]"] for p in PREFIXES)


@pytest.mark.parametrize("code", sorted(set(_UCUM.values())))
def test_every_code_is_of_ucum(code):
    terms = [term for term in re.split(r"[./()](?![^\[{]*[\]}])", code) if term]
    assert terms
    assert all(map(is_unit, terms)), code
