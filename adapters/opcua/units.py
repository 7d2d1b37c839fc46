"""Units as servers name them, as UCUM codes."""

from __future__ import annotations

from typing import NamedTuple

_UNECE = "http://www.opcfoundation.org/UA/units/un/cefact"

# UNECE common code (Recommendation 20) -> UCUM, for what machines measure. What is not here keeps the name the server shows:
# units that UCUM does not have (standard cubic metres, metric horsepower), and MAR, which the list calls megavar and shows as kvar.
_UCUM = {
    # temperature
    "CEL": "Cel", "FAH": "[degF]", "KEL": "K", "A48": "[degR]", "H12": "K/h", "H13": "K/min", "H14": "K/s",
    # pressure
    "BAR": "bar", "MBR": "mbar", "B85": "ubar", "KBA": "kbar", "PAL": "Pa", "A97": "hPa", "KPA": "kPa", "MPA": "MPa",
    "A89": "GPa", "74": "mPa", "B96": "uPa", "H75": "daPa", "PS": "[psi]", "ATM": "atm", "ATT": "att", "HN": "mm[Hg]",
    "F79": "[in_i'Hg]", "F78": "[in_i'H2O]", "C55": "N/m2", "C56": "N/mm2", "E01": "N/cm2", "E42": "kgf/cm2",
    # length, area, volume
    "MTR": "m", "KMT": "km", "DMT": "dm", "CMT": "cm", "MMT": "mm", "4H": "um", "C45": "nm", "C52": "pm", "INH": "[in_i]",
    "77": "[mil_i]", "FOT": "[ft_i]", "YRD": "[yd_i]", "SMI": "[mi_i]", "NMI": "[nmi_i]",
    "MTK": "m2", "KMK": "km2", "DMK": "dm2", "CMK": "cm2", "MMK": "mm2", "HAR": "har", "INK": "[in_i]2", "FTK": "[ft_i]2",
    "MTQ": "m3", "DMQ": "dm3", "CMQ": "cm3", "MMQ": "mm3", "LTR": "L", "HLT": "hL", "DLT": "dL", "CLT": "cL", "MLT": "mL",
    "4G": "uL", "K6": "kL", "INQ": "[in_i]3", "FTQ": "[ft_i]3", "GLL": "[gal_us]", "GLI": "[gal_br]", "BLL": "[bbl_us]",
    # angle, speed, acceleration
    "C81": "rad", "C25": "mrad", "B97": "urad", "DD": "deg", "D61": "'", "D62": "''", "A91": "gon", "M44": "{rev}",
    "MTS": "m/s", "2X": "m/min", "M60": "m/h", "C16": "mm/s", "H81": "mm/min", "2M": "cm/s", "KMH": "km/h", "M62": "km/s",
    "HM": "[mi_i]/h", "FS": "[ft_i]/s", "FR": "[ft_i]/min", "IU": "[in_i]/s", "M63": "[in_i]/min", "KNT": "[kn_i]",
    "2A": "rad/s", "E96": "deg/s", "M46": "{rev}/min",
    "MSK": "m/s2", "M41": "mm/s2", "M39": "cm/s2", "K40": "[g]", "2B": "rad/s2", "M45": "deg/s2",
    # time, frequency
    "SEC": "s", "C26": "ms", "B98": "us", "C47": "ns", "B52": "ks", "MIN": "min", "HUR": "h", "DAY": "d", "WEE": "wk",
    "MON": "mo", "ANN": "a", "HTZ": "Hz", "MTZ": "mHz", "KHZ": "kHz", "MHZ": "MHz", "A86": "GHz", "D29": "THz",
    "RPM": "/min", "RPS": "/s", "C97": "/s", "C94": "/min", "H10": "/h", "E91": "/d",
    # mass, density, flow of mass
    "GRM": "g", "KGM": "kg", "MGM": "mg", "MC": "ug", "TNE": "t", "2U": "Mg", "LBR": "[lb_av]", "ONZ": "[oz_av]",
    "STN": "[ston_av]", "KMQ": "kg/m3", "23": "g/cm3", "GL": "g/L", "GJ": "g/mL", "A93": "g/m3", "GP": "mg/m3",
    "M1": "mg/L", "H29": "ug/L", "GQ": "ug/m3", "B34": "kg/dm3", "B35": "kg/L", "D41": "t/m3", "87": "[lb_av]/[ft_i]3",
    "KL": "kg/m", "GF": "g/m", "28": "kg/m2", "GM": "g/m2", "25": "g/cm2",
    "KGS": "kg/s", "F31": "kg/min", "E93": "kg/h", "F30": "kg/d", "F29": "g/s", "F28": "g/min", "F27": "g/h", "F34": "mg/s",
    "F33": "mg/min", "4M": "mg/h", "L81": "t/s", "L78": "t/min", "E18": "t/h", "L71": "t/d", "4U": "[lb_av]/h",
    # flow of volume
    "MQS": "m3/s", "G53": "m3/min", "MQH": "m3/h", "G52": "m3/d", "G51": "L/s", "L2": "L/min", "E32": "L/h", "LD": "L/d",
    "40": "mL/s", "41": "mL/min", "G55": "mL/h", "2J": "cm3/s", "G49": "cm3/min", "G48": "cm3/h", "J92": "dm3/min",
    "E92": "dm3/h", "E17": "[ft_i]3/s", "2L": "[ft_i]3/min", "2K": "[ft_i]3/h", "G2": "[gal_us]/min", "G3": "[gal_br]/min",
    "A39": "m3/kg", "H83": "L/kg",
    # force, torque, stiffness, inertia, viscosity
    "NEW": "N", "B47": "kN", "B73": "MN", "C20": "mN", "B92": "uN", "C78": "[lbf_av]", "B37": "kgf",
    "NU": "N.m", "B48": "kN.m", "B74": "MN.m", "D83": "mN.m", "B93": "uN.m", "DN": "dN.m", "J72": "cN.m", "F88": "N.cm",
    "M92": "[lbf_av].[ft_i]", "F21": "[lbf_av].[in_i]", "4P": "N/m", "F47": "N/mm", "M23": "N/cm", "N31": "kN/m",
    "C22": "mN/m", "F90": "N.m/A", "B32": "kg.m2", "F18": "kg.cm2", "C57": "N.s", "C65": "Pa.s", "C24": "mPa.s", "89": "P",
    "C7": "cP", "S4": "m2/s", "C17": "mm2/s", "91": "St", "4C": "cSt",
    # energy, power, heat
    "JOU": "J", "KJO": "kJ", "3B": "MJ", "GV": "GJ", "D30": "TJ", "C15": "mJ", "WHR": "W.h", "KWH": "kW.h", "MWH": "MW.h",
    "GWH": "GW.h", "BTU": "[Btu_IT]", "K51": "kcal_m", "E14": "kcal_IT", "A53": "eV",
    "WTT": "W", "KWT": "kW", "MAW": "MW", "A90": "GW", "C31": "mW", "D80": "uW", "2I": "[Btu_IT]/h", "BHP": "[HP]",
    "D54": "W/m2", "D53": "W/(m.K)", "D55": "W/(m2.K)", "J2": "J/kg", "B42": "kJ/kg", "JK": "MJ/kg", "B11": "J/(kg.K)",
    "B43": "kJ/(kg.K)", "JM": "MJ/m3", "E46": "kW.h/m3",
    # electricity
    "AMP": "A", "4K": "mA", "B84": "uA", "C39": "nA", "B22": "kA", "H38": "MA", "AMH": "A.h", "E09": "mA.h", "TAH": "kA.h",
    "COU": "C", "D86": "mC", "B86": "uC", "VLT": "V", "2Z": "mV", "D82": "uV", "KVT": "kV", "B78": "MV", "2G": "V{AC}",
    "2H": "V{DC}", "D50": "V/m", "B55": "kV/m", "OHM": "Ohm", "E45": "mOhm", "B94": "uOhm", "B49": "kOhm", "B75": "MOhm",
    "A87": "GOhm", "C61": "Ohm.m", "SIE": "S", "C27": "mS", "B99": "uS", "B53": "kS", "D10": "S/m", "H43": "S/cm",
    "H61": "mS/cm", "G42": "uS/cm", "G43": "uS/m", "FAR": "F", "C10": "mF", "4O": "uF", "C41": "nF", "4T": "pF", "81": "H",
    "C14": "mH", "B90": "uH", "C43": "nH", "D33": "T", "C29": "mT", "D81": "uT", "C48": "nT", "WEB": "Wb", "C33": "mWb",
    "AE": "A/m", "A7": "A/mm2", "D46": "V.A", "KVA": "kV.A", "MVA": "MV.A", "M35": "mV.A", "D44": "var", "KVR": "kvar",
    "K5": "kvar", "C79": "kV.A.h", "K3": "kvar.h", "MAH": "Mvar.h",
    # light, sound, radiation, chemistry
    "CDL": "cd", "A24": "cd/m2", "LUM": "lm", "LUX": "lx", "KLX": "klx", "B60": "lm/m2", "B61": "lm/W", "2N": "dB",
    "BQL": "Bq", "4N": "MBq", "D13": "Sv", "C28": "mSv", "P71": "mSv/h", "P72": "uSv/h", "A95": "Gy", "C34": "mol",
    "C18": "mmol", "B45": "kmol", "C38": "mol/L", "M33": "mmol/L", "C36": "mol/m3", "E95": "mol/s", "Q30": "[pH]",
    # shares, counts, data
    "P1": "%", "59": "[ppm]", "61": "[ppb]", "NX": "[ppth]", "C62": "1", "H87": "1", "EA": "1", "Q26": "1", "NA": "mg/kg",
    "M29": "kg/kg", "H60": "m3/m3", "J33": "ug/kg", "H64": "mg/g", "A99": "bit", "B10": "bit/s", "C74": "kbit/s",
    "E20": "Mbit/s", "B80": "Gbit/s", "AD": "By", "2P": "kBy", "4L": "MBy", "E34": "GBy", "E35": "TBy", "J38": "Bd",
    "P93": "By/s", "P94": "kBy/s", "P95": "MBy/s",
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
