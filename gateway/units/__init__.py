"""Units of measure as UCUM writes them (the case sensitive codes), so that a wrong one is found when a configuration is loaded.

    parse("kW.h/m3")                             what a code stands for; UnitError says where it is wrong, and what was meant
    conversion(parse("[degF]"), parse("Cel"))    (0.5555555555555556, -17.77777777777778): value * factor + offset
    parse("bar") * parse("m3") / parse("h")      what an expression over signals comes to
    describe(parse("bar"))                       "pressure"
    doubt("pH")                                  valid, but it is picohenry

Written from the tables of the UCUM specification 2.2 (https://ucum.org; copyright Regenstrief Institute, Inc., license at
https://unitsofmeasure.org/license), less what only a hospital meets. Where we differ:

- `var` is ours: reactive power, which UCUM has no code for. It takes prefixes and converts only to itself (`kvar.h` to `Mvar.h`). Apparent
  power is `V.A`, which to UCUM is the same as `W`.
- `[NTU]` and `[FNU]` convert only to themselves, as all that is defined by a procedure (`[iU]`, `[CFU]`): UCUM makes them plain numbers.
- What is on a logarithmic scale (`dB`, `B[V]`, `[pH]`) converts only to itself, prefix aside.
- `Cel`, `[degF]` and `[degRe]` are points on a scale: they can be scaled and converted, but not multiplied. `K/min`, not `Cel/min`.
- Exponents behind parentheses are refused, as since UCUM 1.9; annotations are ASCII without spaces, as in §6.

A code has at most 64 characters, parentheses to a depth of 8, and exponents of two digits: whatever the text, reading it costs some
microseconds, and explaining it a millisecond or two. What was read is remembered.
"""

from gateway.units.quantity import conversion, describe, doubt
from gateway.units.syntax import parse
from gateway.units.unit import BASE, Unit, UnitError

__all__ = ["BASE", "Unit", "UnitError", "conversion", "describe", "doubt", "parse"]
