"""Units as a server names them: EUInformation with the UNECE common code (Part 8, 5.6.4.3)."""

from __future__ import annotations

from collections.abc import Mapping

NAMESPACE = "http://www.opcfoundation.org/UA/units/un/cefact"

# UCUM -> common code of UNECE Recommendation 20, and what people see.
_CODES: Mapping[str, tuple[str, str]] = {
    "Cel": ("CEL", "°C"), "K": ("KEL", "K"), "bar": ("BAR", "bar"), "kPa": ("KPA", "kPa"), "mm": ("MMT", "mm"),
    "m": ("MTR", "m"), "deg": ("DD", "°"), "s": ("SEC", "s"), "min": ("MIN", "min"), "h": ("HUR", "h"),
    "Hz": ("HTZ", "Hz"), "/min": ("RPM", "r/min"), "1/min": ("RPM", "r/min"), "mm/min": ("H81", "mm/min"),
    "m/s": ("MTS", "m/s"), "L/min": ("L2", "l/min"), "m3/h": ("MQH", "m³/h"), "kg": ("KGM", "kg"), "g": ("GRM", "g"),
    "N": ("NEW", "N"), "N.m": ("NU", "N·m"), "kW.h": ("KWH", "kW·h"), "kW": ("KWT", "kW"), "W": ("WTT", "W"),
    "V": ("VLT", "V"), "A": ("AMP", "A"), "mA": ("4K", "mA"), "var": ("D44", "var"), "V.A": ("D46", "V·A"), "%": ("P1", "%"),
}  # fmt: skip


def unit_of(ucum: str) -> tuple[int, str] | None:
    """The UnitId and the display name; None for what is not in the table."""
    if ucum not in _CODES:
        return None
    code, shown = _CODES[ucum]
    return int.from_bytes(code.encode(), "big"), shown
