"""What units measure, and how values go from one to another."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from functools import cache
from typing import NamedTuple

from gateway.units.syntax import parse
from gateway.units.unit import HIDDEN, Unit, UnitError, in_base_units

# Words by a unit of each quantity. Where two share a dimension, the one that machines measure.
_QUANTITIES = {
    "plain number": "1", "length": "m", "area": "m2", "volume": "m3", "plane angle": "rad", "solid angle": "sr", "time": "s",
    "frequency": "Hz", "speed": "m/s", "acceleration": "m/s2", "jerk": "m/s3", "angular speed": "rad/s",
    "angular acceleration": "rad/s2", "volume flow": "m3/s", "number per length": "/m", "number per area": "/m2",
    "number per volume": "/m3",
    "mass": "g", "mass flow": "g/s", "density": "g/m3", "mass per area": "g/m2", "mass per length": "g/m",
    "specific volume": "m3/g", "number per mass": "/g", "force": "N", "force per length": "N/m", "pressure": "Pa",
    "pressure rate": "Pa/s", "momentum": "N.s", "moment of inertia": "kg.m2", "dynamic viscosity": "Pa.s",
    "kinematic viscosity": "m2/s", "energy": "J", "power": "W", "heat flux": "W/m2", "specific energy": "J/g",
    "energy per area": "J/m2",
    "temperature": "K", "temperature rate": "K/s", "temperature gradient": "K/m", "thermal conductivity": "W/(m.K)",
    "heat transfer coefficient": "W/(m2.K)", "heat capacity": "J/K", "specific heat capacity": "J/(g.K)",
    "electric charge": "C", "electric current": "A", "current density": "A/m2", "voltage": "V", "electric field": "V/m",
    "electric resistance": "Ohm", "resistivity": "Ohm.m", "electric conductance": "S", "conductivity": "S/m",
    "capacitance": "F", "inductance": "H", "magnetic flux": "Wb", "magnetic flux density": "T", "magnetic field": "A/m",
    "luminous intensity": "cd", "luminance": "cd/m2", "luminous flux": "lm", "illuminance": "lx",
    "reactive power": "var", "reactive energy": "var.h", "turbidity in [NTU]": "[NTU]", "turbidity in [FNU]": "[FNU]",
    "pH": "[pH]",
}  # fmt: skip
_FORCE = re.compile(r"(?<![A-Za-z])[YZEPTGMkhdcmunpfazy]?N(?![A-Za-z])|dyn|gf|\[lbf_av\]")


class Doubt(NamedTuple):
    meaning: str
    meant: str


# Valid, and almost always a mistake.
DOUBTFUL: Mapping[str, Doubt] = {
    "pH": Doubt("picohenry", "[pH]"), "C": Doubt("coulomb, an electric charge", "Cel"), "F": Doubt("farad, a capacitance", "[degF]"),
    "PF": Doubt("petafarad, a capacitance", "1"), "PH": Doubt("petahenry, an inductance", "[pH]"),
    "ft": Doubt("femtotonne", "[ft_i]"), "pt": Doubt("picotonne", "[pt_us]"), "ct": Doubt("centitonne", "[car_m]"),
    "MT": Doubt("megatesla", "Mt"), "ha": Doubt("a hundred years", "har"), "pc": Doubt("parsec, an astronomer's length", "{pcs}"),
    "PS": Doubt("petasiemens", "75.kgf.m/s"), "U": Doubt("enzyme unit, a catalytic activity", "{rev}"),
    "b": Doubt("barn, an area", "bit"), "B": Doubt("bel, a logarithm", "By"), "kB": Doubt("kilobel, a logarithm", "kBy"),
    "MB": Doubt("megabel, a logarithm", "MBy"), "GB": Doubt("gigabel, a logarithm", "GBy"), "TB": Doubt("terabel, a logarithm", "TBy"),
    "KiB": Doubt("kibibel, a logarithm", "KiBy"), "MiB": Doubt("mebibel, a logarithm", "MiBy"),
    "GiB": Doubt("gibibel, a logarithm", "GiBy"),
}  # fmt: skip
_ONLY_ALONE = frozenset({"F", "PF"})  # F/m is what it says
_SYMBOL = re.compile(r"(?<![^./(])[A-Za-z]+(?![A-Za-z\[_%'*^])")
_DECIMAL = re.compile(r"(?<![^./(])[0-9]+\.[0-9]+(?![^./)])")


def conversion(source: Unit, target: Unit) -> tuple[float, float]:
    """(factor, offset), so that `value * factor + offset` is a value of `source` in `target`. Worked out exactly, rounded once each.

    Raises UnitError where they measure different things, and says which.
    """
    if not source.fits(target):
        raise UnitError(_misfit(source, target), hint=_why(source, target))
    factor = source.factor / target.factor
    try:
        result = float(factor), float((source.offset - target.offset) / target.factor)
    except OverflowError:
        result = math.inf, 0.0
    if not 0 < result[0] < math.inf:
        raise UnitError(f"from {_shown(source)} to {_shown(target)} takes a factor that a number cannot hold")
    return result


def describe(unit: Unit) -> str:
    """What it measures, in words: "pressure", "energy", "plain number"; in base units where there is no word: "m2.g.K-1"."""
    word = _words().get((unit.dimension, unit.own)) or in_base_units(unit)
    return "torque" if word == "energy" and _FORCE.search(unit.code) else word


def doubt(code: str) -> str:
    """What speaks against a code that is valid: "'pH' is picohenry; did you mean '[pH]'?". Empty for most."""
    bare = HIDDEN.sub(lambda hidden: "_" * len(hidden[0]), code)
    for symbol in _SYMBOL.finditer(bare):
        found = DOUBTFUL.get(symbol[0])
        alone = symbol[0] == code
        if found and (alone or symbol[0] not in _ONLY_ALONE):
            # Degrees in a product are differences.
            meant = found.meant if alone else found.meant.replace("Cel", "K")
            whole = code[: symbol.start()] + meant + code[symbol.end() :]
            return f"'{symbol[0]}' is {found.meaning}; did you mean '{whole}'?"
    if decimal := _DECIMAL.search(bare):
        return f"'{decimal[0]}' is {decimal[0].replace('.', ' times ')}: a unit has no decimals"
    return ""


@cache
def _words() -> dict[tuple[tuple[int, ...], tuple[tuple[str, int], ...]], str]:
    units = ((word, parse(code)) for word, code in _QUANTITIES.items())
    return {(unit.dimension, unit.own): word for word, unit in units}


def _misfit(source: Unit, target: Unit) -> str:
    if source.scale == "nonlinear" or target.scale == "nonlinear":
        alone = source if source.scale == "nonlinear" else target
        return f"{_shown(source)} and {_shown(target)} do not fit: {alone.code} is not on a linear scale, and converts only to itself"
    return f"{_shown(source)} is {_noun(source)}, {_shown(target)} {_noun(target)}"


def _why(source: Unit, target: Unit) -> str:
    words = {describe(source), describe(target)}
    for kind in ("power", "energy"):
        if words == {kind, f"reactive {kind}"}:
            return f"reactive, active and apparent {kind} are different quantities"
    return ""


def _shown(unit: Unit) -> str:
    return unit.code or "1"


def _noun(unit: Unit) -> str:
    word = describe(unit)
    if word == in_base_units(unit):
        return f"measured in {word}"
    return f"{'an' if word[0] in 'aeiou' else 'a'} {word}"
