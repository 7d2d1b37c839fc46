"""The words of register lists: how manuals call columns, tables, types, orders and units. Pure; tables only."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping

from adapters.modbus.signals import Table


def plain(text: str) -> str:
    """Lower case without accents, anything between words one blank: `Địa chỉ (Hex)` is `dia chi hex`."""
    bare = "".join(
        c
        for c in unicodedata.normalize("NFKD", text.replace("đ", "d").replace("Đ", "D"))
        if not unicodedata.combining(c)
    )
    return " ".join(re.findall(r"[a-z0-9#%]+", bare.lower()))


# --- columns ---------------------------------------------------------------------------------------------------------

# What a column holds, and what it is called. The longest name that fits counts; equal ones by this order.
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "ignored": (
        "no", "stt", "#", "index", "item", "unit id", "slave", "slave id", "slave address", "device address", "default",
        "default value", "min", "max", "minimum", "maximum", "range", "value range", "gia tri mac dinh", "example",
        "sample", "value", "current value", "gia tri", "page", "bytes per register",
    ),
    "name": (
        "name", "tag", "tag name", "signal", "signal name", "parameter", "parameter name", "variable", "variable name",
        "point", "point name", "quantity name", "data point", "measurement", "measured value", "register name", "symbol",
        "label", "identifier", "channel", "ten", "ten bien", "ten tin hieu", "ten thanh ghi", "thong so", "tham so", "bien",
    ),
    "address": (
        "address", "addr", "register", "reg", "register address", "modbus address", "modbus register", "register no",
        "register number", "start address", "starting address", "start register", "offset address", "data address",
        "wire address", "address dec", "address decimal", "decimal address", "address hex", "hex address", "plc address",
        "adresse", "dia chi", "dia chi thanh ghi", "thanh ghi", "dia chi modbus",
    ),
    "type": (
        "type", "data type", "datatype", "value type", "variable type", "format", "data format", "encoding", "dtype",
        "representation", "kieu", "kieu du lieu", "loai du lieu", "dinh dang",
    ),
    "table": (
        "function", "function code", "function codes", "fc", "func", "modbus function", "table", "register type", "area",
        "memory area", "object type", "object", "reg type", "read function", "read function code", "function code read",
        "ma ham", "ma chuc nang", "chuc nang", "loai thanh ghi", "bang",
    ),
    "size": (
        "registers", "number of registers", "no of registers", "num registers", "register count", "reg count", "length",
        "len", "size", "words", "word count", "count", "qty", "quantity", "number of words", "data length", "bytes",
        "number of bytes", "bits", "so thanh ghi", "so luong", "so luong thanh ghi", "do dai", "kich thuoc",
    ),
    "unit": ("unit", "units", "engineering unit", "eng unit", "uom", "dimension", "don vi", "don vi do", "dvt"),
    "scale": (
        "scale", "scaling", "factor", "scale factor", "scaling factor", "multiplier", "resolution", "coefficient",
        "multiplication factor", "conversion", "lsb", "precision", "he so", "he so nhan", "ti le", "ty le", "do phan giai",
    ),
    "divisor": ("divisor", "divider", "divide by", "gain", "he so chia"),
    "decimals": ("decimals", "decimal places", "decimal", "decimal point", "digits", "so le", "so thap phan"),
    "offset": ("offset", "value offset", "bias", "zero offset", "bu", "do lech"),
    "order": (
        "order", "byte order", "word order", "endian", "endianness", "byte sequence", "register order", "thu tu byte",
        "thu tu", "thu tu word",
    ),
    "bit": ("bit", "bit no", "bit number", "bit position", "bit offset", "bit index", "so bit", "vi tri bit"),
    "access": (
        "access", "access type", "r w", "rw", "read write", "mode", "access right", "access rights", "permission", "attribute",
        "direction", "quyen", "truy cap", "quyen truy cap", "doc ghi",
    ),
    "description": (
        "description", "comment", "comments", "remark", "remarks", "note", "notes", "meaning", "details", "explanation",
        "definition", "mo ta", "ghi chu", "dien giai", "y nghia",
    ),
}  # fmt: skip

# --- tables ----------------------------------------------------------------------------------------------------------

TABLES: Mapping[str, Table] = {
    **dict.fromkeys(("holding", "holding register", "holding registers", "hold", "hr", "4x", "4xxxx", "4xxxxx"), "holding"),
    **dict.fromkeys(
        ("input", "input register", "input registers", "ir", "3x", "3xxxx", "3xxxxx", "analog input"), "input"
    ),
    **dict.fromkeys(
        (
            "discrete", "discrete input", "discrete inputs", "di", "1x", "1xxxx", "1xxxxx", "input status", "digital input",
            "contact", "input bit",
        ),
        "discrete",
    ),
    **dict.fromkeys(("coil", "coils", "do", "0x", "0xxxx", "output coil", "coil status", "digital output"), "coil"),
}  # fmt: skip
FUNCTIONS: Mapping[int, Table] = {
    1: "coil",
    2: "discrete",
    3: "holding",
    4: "input",
    5: "coil",
    6: "holding",
    15: "coil",
}
FUNCTIONS = {**FUNCTIONS, 16: "holding", 22: "holding", 23: "holding"}
READS = (1, 2, 3, 4, 23)
DIGITS: Mapping[str, Table] = {"0": "coil", "1": "discrete", "3": "input", "4": "holding"}

# --- types -----------------------------------------------------------------------------------------------------------

# Family, and its bits where the word says them; 0: by the number of registers, else 16, or 32 for a float.
TYPES: Mapping[str, tuple[str, int]] = {
    **dict.fromkeys(("bool", "boolean", "bit", "coil", "flag", "switch", "digital", "binary", "onoff"), ("bool", 1)),
    **dict.fromkeys(
        (
            "u", "ui", "uint", "uinteger", "unsigned", "unsignedint", "unsignedinteger", "uns", "intu", "intunsigned",
            "integerunsigned", "enum", "enumeration", "bitfield", "bitmap", "bitmask", "bitstring", "hex", "status", "acc",
            "counter", "raw",
        ),
        ("uint", 0),
    ),
    **dict.fromkeys(("word", "uword", "unsignedword", "ushort", "unsignedshort", "register"), ("uint", 16)),
    **dict.fromkeys(("i", "s", "si", "int", "integer", "signed", "signedint", "signedinteger", "ints"), ("int", 0)),
    **dict.fromkeys(("short", "sword", "signedword", "signedshort", "intsigned"), ("int", 16)),
    **dict.fromkeys(("byte", "usint", "ubyte", "uchar", "unsignedbyte", "unsignedchar"), ("uint", 8)),
    **dict.fromkeys(("sint", "sbyte", "signedbyte", "signedchar"), ("int", 8)),
    **dict.fromkeys(("sunssf", "sf"), ("int", 16)),
    **dict.fromkeys(
        ("dword", "udint", "ulong", "unsignedlong", "doubleword", "udword", "unsigneddint", "unsigneddoubleword", "uintlong"),
        ("uint", 32),
    ),
    **dict.fromkeys(("dint", "long", "signedlong", "longint", "sdword", "doubleint", "intlong", "longinteger"), ("int", 32)),
    **dict.fromkeys(("lword", "qword", "ulint", "ulonglong", "unsignedlonglong"), ("uint", 64)),
    **dict.fromkeys(("lint", "longlong", "int64t"), ("int", 64)),
    **dict.fromkeys(("f", "fp", "float", "real", "flt", "floating", "floatingpoint", "ieee", "ieeefloat", "floatieee"), ("float", 0)),
    **dict.fromkeys(("single", "singlefloat", "singleprecision", "shortreal"), ("float", 32)),
    **dict.fromkeys(("double", "lreal", "doublefloat", "doubleprecision", "longreal", "d"), ("float", 64)),
    **dict.fromkeys(("half", "halffloat"), ("float", 16)),
    **dict.fromkeys(("bcd", "unsignedbcd", "bcdcode"), ("bcd", 0)),
    **dict.fromkeys(("mod", "modk", "modulo", "modulok"), ("modulo10k_u", 0)),
    **dict.fromkeys(("string", "str", "ascii", "text", "char", "chars", "character", "utf", "asciistring", "octetstring"), ("string", 0)),
}  # fmt: skip

# Orders inside a type or in a column of their own, by what `plain` leaves of them.
ORDERS: Mapping[str, str] = {
    **dict.fromkeys(
        ("big endian", "msw first", "msb first", "high word first", "hi lo", "normal", "motorola", "most significant word first", "be"),
        "ABCD",
    ),
    **dict.fromkeys(
        (
            "word swap", "word swapped", "swapped", "swap", "lsw first", "low word first", "lo hi", "inverse", "inversed",
            "inverted", "reversed", "little endian word", "word reversed", "least significant word first",
            "big endian word swap", "big endian byte swap word", "mid little endian",
        ),
        "CDAB",
    ),
    **dict.fromkeys(("byte swap", "byte swapped", "big endian byte swap", "mid big endian"), "BADC"),
    **dict.fromkeys(("little endian", "intel", "lsb first", "le"), "DCBA"),
}  # fmt: skip

# --- units -----------------------------------------------------------------------------------------------------------

_EXACT = (
    "V mV kV A mA kA W mW kW MW var kvar Hz kHz MHz K bar mbar Pa kPa MPa hPa N kN mm cm m um km mm/s m/s g kg mg t L mL "
    "m3 h s ms us min d J kJ MJ % deg rad Cel Ohm mOhm kOhm dB lx Wb T F H uS/cm mg/L g/L kg/h kg/s t/h L/min L/h L/s m3/h "
    "m3/min m3/s 1 /min /s 1/min N.m kN.m W.h kW.h MW.h GW.h var.h kvar.h Mvar.h V.A kV.A MV.A V.A.h kV.A.h A.h mA.h"
)
# UCUM codes that are written as they are, and what else manuals write. Capitals are looked at first: mW is no MW.
UNITS: Mapping[str, str] = {
    **{code: code for code in _EXACT.split()},
    **dict.fromkeys(("°C", "℃", "ºC", "˚C", "degC", "deg C", "C", "Celsius", "oC", "°c", "độ C", "deg. C"), "Cel"),
    **dict.fromkeys(("°F", "℉", "ºF", "degF", "deg F", "Fahrenheit"), "[degF]"),
    **dict.fromkeys(("Volt", "Volts", "VAC", "VDC", "V AC", "V DC", "Vac", "Vdc"), "V"),
    **dict.fromkeys(("Amp", "Amps", "Ampere", "Amperes", "AAC", "ADC"), "A"),
    **dict.fromkeys(("Watt", "Watts"), "W"), **dict.fromkeys(("VA",), "V.A"), "kVA": "kV.A", "MVA": "MV.A",
    **dict.fromkeys(("VAr", "VAR", "Var"), "var"), **dict.fromkeys(("kVAr", "kVAR", "kVar", "KVAR"), "kvar"),
    **dict.fromkeys(("MVAr", "Mvar", "MVAR"), "Mvar"),
    "Wh": "W.h", "kWh": "kW.h", "KWH": "kW.h", "KWh": "kW.h", "kWH": "kW.h", "MWh": "MW.h", "GWh": "GW.h", "Ah": "A.h", "mAh": "mA.h",
    **dict.fromkeys(("varh", "VArh", "VARh", "Varh"), "var.h"),
    **dict.fromkeys(("kvarh", "kVArh", "kVARh", "kVarh", "KVARH", "kVARH"), "kvar.h"), "Mvarh": "Mvar.h", "MVArh": "Mvar.h",
    "VAh": "V.A.h", "kVAh": "kV.A.h", "KVAH": "kV.A.h", "KW": "kW", "KV": "kV", "KVA": "kV.A", "HZ": "Hz", "Hertz": "Hz", "KHz": "kHz",
    **dict.fromkeys(("rpm", "RPM", "r/min", "rev/min", "U/min", "v/ph", "vòng/phút", "rounds/min", "min-1", "min^-1", "1/minute"), "1/min"),
    **dict.fromkeys(("percent", "pct", "Percent", "phần trăm", "％", "%FS"), "%"), **dict.fromkeys(("%RH", "%rH", "% RH", "RH"), "%{RH}"),
    **dict.fromkeys(("psi", "PSI", "psig"), "[psi]"), **dict.fromkeys(("Bar", "BAR"), "bar"), "KPa": "kPa", "Kpa": "kPa", "Mpa": "MPa",
    "kgf/cm2": "kgf/cm2", "kgf/cm²": "kgf/cm2",
    **dict.fromkeys(("m³", "m^3", "cbm", "Nm³", "Nm3"), "m3"), **dict.fromkeys(("m³/h", "m^3/h", "cbm/h", "m3/hr", "Nm³/h", "Nm3/h"), "m3/h"),
    "m³/min": "m3/min", "m³/s": "m3/s",
    **dict.fromkeys(("l/min", "lpm", "LPM", "L/Min", "lít/phút"), "L/min"), "l/h": "L/h", "l/s": "L/s", **dict.fromkeys(("l", "lít", "liter", "litre"), "L"), "ml": "mL",
    **dict.fromkeys(("sec", "secs", "second", "seconds", "Sec", "giây", "S"), "s"), **dict.fromkeys(("msec", "mS"), "ms"), "µs": "us", "μs": "us",
    **dict.fromkeys(("minute", "minutes", "mins", "phút", "Min"), "min"),
    **dict.fromkeys(("hour", "hours", "hr", "hrs", "Hr", "Hours", "Hour", "giờ", "H.", "std", "Std"), "h"), **dict.fromkeys(("day", "days", "ngày"), "d"),
    **dict.fromkeys(("°", "º", "degree", "degrees", "độ", "Deg"), "deg"), **dict.fromkeys(("Ω", "Ω", "ohm", "ohms", "Ohms"), "Ohm"), "kΩ": "kOhm", "mΩ": "mOhm",
    **dict.fromkeys(("µm", "μm", "micron", "microns"), "um"), **dict.fromkeys(("Nm", "N·m", "N*m"), "N.m"),
    **dict.fromkeys(("inch", "inches", "in", '"'), "[in_i]"), **dict.fromkeys(("Kg", "KG", "kgs"), "kg"), "tons": "t", "ton": "t",
    **dict.fromkeys(("ppm", "PPM"), "[ppm]"), **dict.fromkeys(("lux", "Lux"), "lx"), **dict.fromkeys(("pH", "PH"), "[pH]"),
    "µS/cm": "uS/cm", "μS/cm": "uS/cm", "mg/l": "mg/L",
    **dict.fromkeys(("pcs", "pieces", "pc", "cái", "chiếc", "Stk"), "{pcs}"),
    **dict.fromkeys(("", "-", "--", "---", "—", "–", "n/a", "N/A", "NA", "none", "None", "/", "x", "không", "cosφ", "cos phi", "PF"), ""),
}  # fmt: skip


def ucum(text: str) -> tuple[str, bool]:
    """The UCUM code of a unit, and whether it is known; else the text itself, which is no code then."""
    bare = " ".join(text.strip().strip("[]()").split())
    if bare in UNITS:
        return UNITS[bare], True
    lower = {name.lower(): code for name, code in UNITS.items()}
    if bare.lower() in lower:
        return lower[bare.lower()], True
    return bare, False
