"""What people write instead of UCUM, from plates, manuals and habit; and what they are told."""

from __future__ import annotations

import pytest

from gateway.units import UnitError, doubt, parse

MEANT = {
    "Cel": "°C ℃ ºC degC Celsius celsius CEL °c",
    "[degF]": "°F degF Fahrenheit",
    "K": "°K Kelvin",
    "deg": "° degrees",
    "kW.h": "kWh KWH KWh kwh kW·h kW*h kW-h kWhr",
    "W.h": "Wh",
    "MW.h": "MWh",
    "kvar.h": "kvarh kVArh kVarh KVARH",
    "var": "VAr VAR Var",
    "kvar": "kVAr kVAR",
    "V.A": "VA",
    "kV.A": "kVA KVA",
    "kV.A.h": "kVAh",
    "A.h": "Ah",
    "mA.h": "mAh",
    "1/min": "rpm RPM r/min [RPM] rev/min",
    "N.m": "Nm N·m N*m",
    "kN.m": "kNm",
    "m3/h": "m³/h m^3/h cbm/h Nm³/h",
    "m/s2": "m/s² m/s^2",
    "kgf/cm2": "kgf/cm²",
    "l/min": "lpm l/Min l/minute",
    "W/(m2.K)": "W/m²K W/m2K W/(m²·K) W/m²°C",
    "kJ/(kg.K)": "kJ/kgK kJ/kg°C",
    "l/(kW.h)": "l/kWh",
    "g/(12.h)": "g/12h",
    "K/min": "Cel/min °C/min",
    "[degR]/h": "[degF]/h °F/h",
    "kBy/s": "kB/s",
    "um": "µm μm micron",
    "uS/cm": "µS/cm",
    "Ohm": "Ω ohm ohms OHM",
    "kOhm": "kΩ kohm kOhms",
    "[psi]": "psi PSI",
    "[psi]{gauge}": "psig",
    "bar": "Bar BAR",
    "bar{gauge}": "barg",
    "mbar{g}": "mbar(g)",
    "kPa": "KPA KPa Kpa",
    "MPa": "Mpa",
    "mm[Hg]": "mmHg",
    "[in_i]": "in inch in_i",
    "[lbf_av].[ft_i]": "ft-lb lbft",
    "[gal_us]/min": "gpm GPM",
    "[mi_i]/h": "mph",
    "km/h": "kph",
    "s": "sec seconds",
    "h": "hours hrs",
    "kg": "Kg KG kgs",
    "kHz": "khz KHz",
    "Hz": "HZ Hertz",
    "kW": "KW kilowatt Kilowatt",
    "mPa.s": "mPas",
    "%{RH}": "%RH",
    "[ppm]": "ppm PPM",
    "{pcs}": "pcs Stück cái",
    "{parts}/h": "parts/h",
    "{Stuck}": "{Stück}",
    "100.g": "100g",
    "10*3": "10+3",
}


@pytest.mark.parametrize(("text", "meant"), [(text, code) for code, texts in MEANT.items() for text in texts.split()])
def test_what_was_meant(text, meant):
    parse(meant)
    with pytest.raises(UnitError) as caught:
        parse(text)
    assert caught.value.hint == f"did you mean '{meant}'?"


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("% RH", "did you mean '%{RH}'?"),
        ("kW h", "did you mean 'kW.h'?"),
        ("10 bar", "did you mean '10.bar'?"),
        (" bar", "did you mean 'bar'?"),
        ("meters per second", "did you mean 'm/s'?"),
        ("{good parts}", "did you mean '{good_parts}'?"),
        ("inHg", """did you mean "[in_i'Hg]"?"""),
        # Nobody can tell mega from milli.
        ("mhz", "did you mean 'mHz' or 'MHz'?"),
        ("mw", "did you mean 'mW' or 'MW'?"),
        ("Celc", "did you mean 'Cel'?"),
        ("boxes", "what is only counted stands in braces: '{boxes}'"),
        ("pallets/h", "what is only counted stands in braces: '{pallets}/h'"),
        # The message says all.
        ("kmin", ""),
        ("m//s", ""),
        ("(m/s)2", ""),
    ],
)
def test_hints(text, hint):
    with pytest.raises(UnitError) as caught:
        parse(text)
    assert caught.value.hint == hint


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("pH", "'pH' is picohenry; did you mean '[pH]'?"),
        ("C", "'C' is coulomb, an electric charge; did you mean 'Cel'?"),
        ("J/(kg.C)", "'C' is coulomb, an electric charge; did you mean 'J/(kg.K)'?"),
        ("F", "'F' is farad, a capacitance; did you mean '[degF]'?"),
        ("MB", "'MB' is megabel, a logarithm; did you mean 'MBy'?"),
        ("ft/min", "'ft' is femtotonne; did you mean '[ft_i]/min'?"),
        ("kg/ft3", "'ft' is femtotonne; did you mean 'kg/[ft_i]3'?"),
        ("U/min", "'U' is enzyme unit, a catalytic activity; did you mean '{rev}/min'?"),
        ("1.5.bar", "'1.5' is 1 times 5: a unit has no decimals"),
    ],
)
def test_a_code_that_nobody_means_is_doubted(code, says):
    parse(code)
    assert doubt(code) == says


@pytest.mark.parametrize(
    "code",
    [
        "Cel", "bar", "kW.h", "m3/h", "F/m", "uF", "mC", "H", "S", "mS", "4.[pi].10*-7.N/A2", "V{C}", "{pH}", "[pH]",
        "B[V]", "dB", "10*3.m", "2.m", "cal_[15]", "kU/L", "m[H2O]",
    ],
)  # fmt: skip
def test_what_says_what_it_means_is_not_doubted(code):
    parse(code)
    assert doubt(code) == ""
