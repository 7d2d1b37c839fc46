"""What was probably meant by a text that is no unit. Loaded when there is one; a hint always is a code that can be read.

spelling     '²' '°C' 'µ' ' per ' '^' '*'
then, for each part between operators that is no unit, or one that nobody means:
    a word                   'rpm' 'pcs' 'hours' 'mmHg' 'kvolt'
    a product as on a plate  'kWh' 'Nm' 'kvarh'
    other capitals           'KPA' 'Mpa' 'HZ'
    brackets forgotten       'gal_us' 'degF'
    any product              'kgK' 'm2K' 'W-h'
    likeness                 'Celc'
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from functools import cache

from gateway.units.atoms import ATOMS, BINARY_PREFIXES, MAY_HAVE_PREFIX, PREFIXES
from gateway.units.quantity import DOUBTFUL
from gateway.units.syntax import read
from gateway.units.unit import HIDDEN, MAX_LENGTH, UnitError

# Characters and what they stand for; of "°C" before "°".
_SPELLED = (
    ("℃", "Cel"), ("℉", "[degF]"), ("º", "°"), ("˚", "°"), ("° ", "°"), ("°C", "Cel"), ("°c", "Cel"), ("°F", "[degF]"), ("°K", "K"),
    ("°", "deg"), ("µ", "u"), ("μ", "u"), ("Ω", "Ohm"), ("Ω", "Ohm"), ("′′", "''"), ("″", "''"), ("′", "'"), ("’", "'"), ("％", "%"),
    ("‰", "[ppth]"), ("Å", "Ao"), ("−", "-"), ("⁻", "-"), ("·", "."), ("⋅", "."), ("•", "."), ("×", "."), ("∙", "."), ("÷", "/"),
    ("⁄", "/"), ("**", "^"),
    *((power, str(n)) for n, power in enumerate("⁰¹²³⁴⁵⁶⁷⁸⁹")),
)  # fmt: skip


def _same(code: str, words: str) -> dict[str, str]:
    return dict.fromkeys(words.split(), code)


# Words of several of our users' languages, and abbreviations, in small letters. Some take a prefix: kvolt, kHertz.
_WORDS = {
    # time and frequency
    **_same("s", "sec secs second seconds sek giây"), "msec": "ms", "usec": "us",
    **_same("min", "minute minutes mins phút"), **_same("h", "hr hrs hour hours std giờ"), **_same("d", "day days ngày tag tage"),
    **_same("wk", "week weeks"), **_same("mo", "month months mon"), **_same("a", "year years yr yrs"), **_same("Hz", "hertz cps"),
    **_same("1/min", "rpm [rpm] r/min rev/min upm v/ph vòng/phút bpm"), **_same("1/s", "rps [rps]"), "spm": "{strokes}/min",
    # temperature
    **_same("Cel", "celsius degc deg_c oc [degc] centigrade"), "deg. c": "Cel", "độ c": "Cel",
    **_same("[degF]", "degf deg_f fahrenheit"), **_same("K", "kelvin degk"),
    # length, area, volume, angle
    **_same("m", "meter metre meters metres"), **_same("um", "micron microns"), **_same("[in_i]", 'in inch inches " [in]'),
    **_same("[ft_i]", "foot feet [ft]"), **_same("[yd_i]", "yd yard yards"), **_same("[mi_i]", "mile miles mi"),
    **_same("[nmi_i]", "nmi"), **_same("[kn_i]", "kn knot knots kt kts"), "kmh": "km/h", "kph": "km/h",
    "mph": "[mi_i]/h", **_same("har", "hectare hectares"),
    **_same("[mil_i]", "mil mils thou"), **_same("[sft_i]", "sqft"), **_same("[sin_i]", "sqin"), **_same("m2", "sqm"),
    **_same("[cft_i]", "cuft cf"), **_same("[cin_i]", "cuin"), **_same("m3", "cbm nm3 m3n sm3"),
    **_same("l", "liter litre liters litres lít"), **_same("cm3", "cc ccm"),
    **_same("[gal_us]", "gal gallon gallons usgal [gal]"), **_same("[bbl_us]", "bbl barrel barrels"),
    "cfm": "[cft_i]/min", "scfm": "[cft_i]/min", "acfm": "[cft_i]/min", "gpm": "[gal_us]/min", "gph": "[gal_us]/h",
    "lpm": "l/min", "lps": "l/s", "lph": "l/h", "slpm": "l/min", "cmh": "m3/h", "fpm": "[ft_i]/min", "fps": "[ft_i]/s",
    **_same("deg", "degree degrees grad độ"), **_same("rad", "radian radians"),
    # mass, force, torque, pressure
    **_same("g", "gram grams gramme"), **_same("kg", "kg kgs kilo kilos"), **_same("t", "ton tons tonne tonnes"),
    **_same("[lb_av]", "lb lbs pound pounds [lb]"), **_same("[oz_av]", "oz ounce ounces"), **_same("gf", "p pond"), **_same("kgf", "kp kilopond"), **_same("N", "newton newtons"),
    **_same("[lbf_av]", "lbf"),
    **_same("[lbf_av].[ft_i]", "lbft lbfft ftlb ftlbf ft-lb lb-ft ft.lb lb.ft ft-lbf lbf-ft"),
    **_same("[lbf_av].[in_i]", "lbin lbfin inlb in-lb lb-in in-lbf"),
    **_same("Pa", "pascal pascals"), **_same("[psi]", "psi"), **_same("bar", "bars"),
    **_same("mm[Hg]", "mmhg torr"), **_same("[in_i'Hg]", "inhg"), **_same("mm[H2O]", "mmh2o mmwc"),
    **_same("cm[H2O]", "cmh2o"), **_same("m[H2O]", "mh2o mwc"), **_same("[in_i'H2O]", "inh2o inwc"),
    "psig": "[psi]{gauge}", "psia": "[psi]{abs}", "barg": "bar{gauge}", "bara": "bar{abs}",
    # energy, power, electricity
    **_same("J", "joule joules"), **_same("W", "watt watts"), **_same("[HP]", "hp horsepower bhp"), **_same("[Btu_IT]", "btu"),
    "btu/h": "[Btu_IT]/h", "btuh": "[Btu_IT]/h", **_same("V", "volt volts vac vdc"), **_same("A", "amp amps ampere amperes aac adc"),
    **_same("var", "vars"), **_same("V.A", "va"), **_same("Ohm", "ohm ohms"), **_same("S", "siemens"), **_same("T", "tesla"),
    **_same("C", "coulomb coulombs"), **_same("F", "farad farads"), **_same("H", "henry henries"),
    # light, data, shares, counts
    **_same("lm", "lumen lumens"), **_same("lx", "lux"), **_same("cd", "candela nit nits"), **_same("Gy", "gray"),
    **_same("Sv", "sievert"), **_same("bit", "bits"), **_same("By", "byte bytes"), "bps": "bit/s", "kbps": "kbit/s",
    "mbps": "Mbit/s", "gbps": "Gbit/s", **_same("mol", "mole moles"), **_same("[NTU]", "ntu"), **_same("[FNU]", "fnu"),
    **_same("%", "percent pct"), "phần trăm": "%", "%fs": "%{FS}",
    **_same("%{RH}", "%rh rh %r.h."), **_same("%{vol}", "%vol vol%"), **_same("[ppm]", "ppm"),
    **_same("[ppb]", "ppb"), **_same("[ppth]", "permille"), **_same("[pH]", "ph"), **_same("[iU]", "iu"), **_same("[CFU]", "cfu"),
    **_same("{pcs}", "pcs pc. pieces piece stk stück cái chiếc pce ea each"), **_same("{parts}", "parts part"),
    **_same("{cycles}", "cycles cycle"), **_same("{strokes}", "strokes stroke"), **_same("{shots}", "shots shot"),
    **_same("{rev}", "rev revs revolution revolutions turns"), **_same("{pulses}", "pulses pulse imp impulses"),
    **_same("{count}", "count counts"), **_same("{units}", "unit units"), **_same("1", "none cosphi cosφ"),
}  # fmt: skip

_LONG_PREFIXES = {
    "giga": "G", "mega": "M", "kilo": "k", "hecto": "h", "deci": "d", "centi": "c", "milli": "m", "micro": "u", "nano": "n",
}  # fmt: skip
# What is written behind something without an operator: kW|h, N|m, Pa|s, V|A, kg|K.
_BEHIND = {
    "Cel": "Cel", "min": "min", "hr": "h", "mm": "mm", "cm": "cm", "kg": "kg", "m": "m", "h": "h", "s": "s", "A": "A", "K": "K",
}  # fmt: skip
# What they are written behind as a rule: here Nm is no nm in capitals.
_BEFORE = re.compile(r"(da|[YZEPTGMkhdcmunpfazy])?(N|W|V|A|J|Pa|Ohm|var|V\.A)")
_OPERATORS = re.compile(r"(\{[^{}]*\}|[()./])")
_INSIDE = re.compile(r"\{[^{}]*\}")
_PART = re.compile(r"(.*?)([+-]?[0-9]*)", re.S)


def hint(code: str, position: int) -> str:
    """`did you mean 'kW.h'?` for a code that cannot be read because of what stands at `position`; empty where nothing comes to mind."""
    for guesses in _guesses(code.strip()):
        readable = [each for each in dict.fromkeys(guesses) if each != code and len(each) <= MAX_LENGTH and reads(each)]
        if readable:
            return f"did you mean {' or '.join(map(repr, readable[:2]))}?"
    word = re.match(r"[A-Za-z_]{3,32}", code[position:])
    if word and not _takes_no_prefix(word[0]):
        counted = f"{code[:position]}{{{word[0]}}}{code[position + len(word[0]) :]}"
        if reads(counted):
            return f"what is only counted stands in braces: {counted!r}"
    return ""


def _guesses(code: str) -> Iterator[Sequence[str]]:
    """Codes that may have been meant; the likeliest first, and together those between which nobody can decide."""
    text = _INSIDE.sub(_annotation, code)
    for character, meant in _SPELLED:
        text = text.replace(character, meant)
    text = re.sub(r"\s*(?:([*./()^])|\bper\b)\s*", lambda operator: operator[1] or "/", text)
    joined, multiplied = re.sub(r"\s+", "", text), re.sub(r"\s+", ".", text)
    for each in (code, joined, multiplied):
        if word := _WORDS.get(each.lower()):
            yield [word]
    for each in dict.fromkeys((multiplied, joined)):
        yield [each]
        each = re.sub(r"\b10[+^](?=[0-9])", "10*", each)
        yield [each]
        each = re.sub(r"(?<=[A-Za-z\]%])\(([a-z]{1,8})\)", r"{\1}", each)  # bar(g)
        each = re.sub(r"(?<=[A-Za-z])-(?=[A-Za-z])", ".", each)  # W-h
        each = re.sub(r"(?<!10)\^(?=[+-]?[0-9])", "", each)  # m^2
        each = re.sub(r"(?<!10)\*", ".", each)
        yield [each]
        for mended in _mended(each):
            yield mended
            yield [_in_kelvins(one) for one in mended]


def _annotation(match: re.Match[str]) -> str:
    """In ASCII, without spaces."""
    plain = unicodedata.normalize("NFKD", match[0]).encode("ascii", "ignore").decode()
    return re.sub(r"\s+", "_", plain)


def _in_kelvins(code: str) -> str:
    """Degrees in a product are differences: K/min for Cel/min."""
    return re.sub(r"(?<![A-Za-z\[{_])([a-z]{0,2})Cel(?![a-z])", r"\1K", code).replace("[degF]", "[degR]")


def _mended(code: str) -> Iterator[Sequence[str]]:
    """With something else for each part that is no unit, or that is one nobody means."""
    parts = _OPERATORS.split(code)
    choices = {
        i: _instead(part, behind=parts[i - 1] if i else "")
        for i, part in enumerate(parts)
        if part and not _OPERATORS.fullmatch(part) and (not reads(part) or part in DOUBTFUL)
    }
    if len(choices) > 4:
        return
    if all(choices.values()):
        yield [
            "".join(choices[i][min(n, len(choices[i]) - 1)] if i in choices else part for i, part in enumerate(parts))
            for n in (0, 1)
        ]


def _instead(part: str, behind: str) -> list[str]:
    """What could stand for a part, with its exponent; in parentheses behind a solidus, if it is a product."""
    if part in DOUBTFUL:
        return [DOUBTFUL[part].meant or part]
    number = re.match(r"[0-9]+(?=[A-Za-z\[])", part)  # 12h
    symbol, exponent = _PART.fullmatch(part[number.end() :] if number else part).groups()  # type: ignore[union-attr]
    if word := _WORDS.get(part.lower()):
        found = [word]
    elif number and reads(symbol):
        found = [f"{number[0]}.{symbol}{exponent}"]
    else:
        ways = (_by_word, _usual_product, _by_capitals, _by_brackets, _product, _near)
        better = next((each for way in ways if (each := way(symbol))), [])
        found = [(f"{number[0]}." if number else "") + each + exponent for each in better]
    return [f"({each})" if behind == "/" and re.search(r"[./]", HIDDEN.sub("", each)) else each for each in found]


def _usual_product(symbol: str) -> list[str]:
    """kWh, Nm, Pas."""
    for end, behind in _BEHIND.items():
        left = symbol.removesuffix(end)
        if left != symbol and _BEFORE.fullmatch(left):
            return [f"{left}.{behind}"]
    return []


def _by_word(symbol: str) -> list[str]:
    lower = symbol.lower()
    if lower in _WORDS:
        return [_WORDS[lower]]
    for long, prefix in _LONG_PREFIXES.items():
        if lower.startswith(long) and reads(code := prefix + _WORDS.get(lower.removeprefix(long), "?")):
            return [code]
    for prefix in PREFIXES:
        rest = lower.removeprefix(prefix.lower())
        # Before a single letter any prefix makes a word. m and M are both prefixes, K is none.
        if rest != lower and len(rest) > 1 and rest in _WORDS:
            written = symbol[: len(prefix)]
            code = (written if written in PREFIXES else prefix) + _WORDS[rest]
            if reads(code):
                return [code]
    return []


def _by_capitals(symbol: str) -> list[str]:
    """Symbols with the same letters. The one that keeps most capitals; where there are none to go by, two."""
    lower = symbol.lower()
    found = [
        prefix + atom
        for prefix in ("", *PREFIXES)
        if lower.startswith(prefix.lower())
        for atom in _by_lower().get(lower[len(prefix) :], ())
        if not prefix or atom in MAY_HAVE_PREFIX
    ]
    found.sort(key=lambda each: sum(a != b for a, b in zip(each, symbol, strict=False)))
    return found[: 2 if symbol == lower else 1]


def _by_brackets(symbol: str) -> list[str]:
    """in_i, gal_us."""
    return _by_lower().get(f"[{symbol.strip('[]').lower()}]", [])


def _product(symbol: str, depth: int = 3) -> list[str]:
    """kVAh, KWH, kgK; a dash or an underscore for the operator."""
    for end, behind in _BEHIND.items():
        left = symbol[: -len(end)].rstrip("-_*")
        if len(left) > 1 and symbol.lower().endswith(end.lower()):
            for first in [left] if reads(left) else _usual_product(left) or _by_word(left) or _by_capitals(left):
                return [f"{first}.{behind}"]
            if depth and (before := _product(left, depth - 1)):
                return [f"{before[0]}.{behind}"]
    return []


def _near(symbol: str) -> list[str]:
    """By likeness."""
    if not 4 <= len(symbol) <= 20 or _takes_no_prefix(symbol):
        return []
    likely = {prefix + atom for prefix in PREFIXES if symbol.startswith(prefix) for atom in MAY_HAVE_PREFIX}
    return get_close_matches(symbol, sorted(each for each in ATOMS | likely if len(each) > 2), n=2, cutoff=0.75)


def _takes_no_prefix(symbol: str) -> bool:
    """kmin: the message says all there is to say."""
    return any(symbol.startswith(prefix) and symbol[len(prefix) :] in ATOMS for prefix in (*PREFIXES, *BINARY_PREFIXES))


@cache
def _by_lower() -> dict[str, list[str]]:
    by_lower: dict[str, list[str]] = {}
    for atom in sorted(ATOMS):
        by_lower.setdefault(atom.lower(), []).append(atom)
    return by_lower


def reads(code: str) -> bool:
    """Whether it is the code of a unit."""
    try:
        read(code)
    except UnitError:
        return False
    return True
