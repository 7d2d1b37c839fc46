"""Units as servers name them, as UCUM codes."""

from __future__ import annotations

from typing import NamedTuple

_UNECE = "http://www.opcfoundation.org/UA/units/un/cefact"

# UNECE common code -> UCUM, for what machines measure. What is not here keeps the name the server shows.
_UCUM = {
    "CEL": "Cel", "FAH": "[degF]", "KEL": "K",
    "BAR": "bar", "MBR": "mbar", "PAL": "Pa", "KPA": "kPa", "MPA": "MPa", "PS": "[psi]",
    "MMT": "mm", "CMT": "cm", "MTR": "m", "4H": "um", "INH": "[in_i]",
    "MTS": "m/s", "2X": "m/min", "C16": "mm/s", "HTZ": "Hz", "RPM": "/min", "RPS": "/s",
    "AMP": "A", "4K": "mA", "VLT": "V", "2Z": "mV", "KVT": "kV", "OHM": "Ohm",
    "WTT": "W", "KWT": "kW", "D46": "V.A", "KVA": "kV.A", "KVR": "kvar", "WHR": "W.h", "KWH": "kW.h", "MWH": "MW.h",
    "JOU": "J", "KJO": "kJ", "NEW": "N", "B47": "kN", "NU": "N.m",
    "GRM": "g", "KGM": "kg", "TNE": "t", "LTR": "L", "MTQ": "m3", "MQH": "m3/h", "L2": "L/min", "KGS": "kg/s",
    "SEC": "s", "C26": "ms", "MIN": "min", "HUR": "h", "P1": "%", "59": "[ppm]", "DD": "deg", "C62": "1", "H87": "1",
}  # fmt: skip


class Unit(NamedTuple):
    """What a server says about the numbers of a variable."""

    code: str
    low: float | None = None
    high: float | None = None


def ucum(namespace: str | None, unit_id: int, name: str | None) -> str:
    """The UCUM code of an EUInformation (Part 8, 5.6.4.3); for a unit that is not in our table, its display name."""
    if namespace == _UNECE and unit_id > 0:
        common = unit_id.to_bytes(4, "big").lstrip(b"\0").decode("ascii", errors="replace")
        if common in _UCUM:
            return _UCUM[common]
    return (name or "").strip()[:64]
