"""One value in the tables of a device: where it stands, what its bytes mean, and what cannot be meant.

Addresses are written as on the wire, and the table is the key: `holding: 0` is the first holding register.
"""

from __future__ import annotations

import codecs
from collections.abc import Mapping
from math import isfinite
from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Field, ValidationError, WithJsonSchema, field_validator, model_validator
from pydantic_core import InitErrorDetails
from pydantic_core.core_schema import ValidationInfo

from gateway.config import SignalSettings
from gateway.config.fields import mistake
from gateway.config.signals import NUMBERS_ONLY
from gateway.model import ValueType

ADDRESSES = 65536  # in each table of a device
MAX_REGISTERS = 125  # in one request: Modbus Application Protocol V1.1b3, 6.3
MAX_BITS = 2000  # in one request: 6.1

Table = Literal["coil", "discrete", "input", "holding"]
TABLES: tuple[Table, ...] = get_args(Table)
BIT_TABLES = ("coil", "discrete")
_SPOKEN = {"coil": "coil", "discrete": "discrete input", "input": "input register", "holding": "holding register"}

Type = Literal[
    "bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float16", "float32", "float64",
    "bcd16", "bcd32", "bcd64", "modulo10k_u32", "modulo10k_u48", "modulo10k_u64", "string", "datetime",
]  # fmt: skip
REGISTERS: Mapping[str, int] = {
    **dict.fromkeys(("bool", "int8", "uint8", "int16", "uint16", "float16", "bcd16"), 1),
    **dict.fromkeys(("int32", "uint32", "float32", "bcd32", "modulo10k_u32"), 2),
    "modulo10k_u48": 3,
    **dict.fromkeys(("int64", "uint64", "float64", "bcd64", "modulo10k_u64"), 4),
}

_LARGEST = {"float16": 65504.0, "float32": 3.4028234663852886e38, "float64": 1.7976931348623157e308}

_DECIMAL_DIGITS: Mapping[str, int] = {
    "bcd16": 4, "bcd32": 8, "bcd64": 16, "modulo10k_u32": 8, "modulo10k_u48": 12, "modulo10k_u64": 16,
}  # fmt: skip

DateForm = Literal["unix32", "unix64ms", "cp56", "words", "bytes", "bcd"]
DATE_REGISTERS: Mapping[DateForm, int] = {"unix32": 2, "unix64ms": 4, "cp56": 4, "words": 6, "bytes": 3, "bcd": 3}

# The k-th letter names the byte at place k on the wire; A is the most significant byte of the value. One row is one
# habit of devices, for values of 1, 2, 3 and 4 registers: an order written for one length means its row for the others.
_ORDERS = (
    ("AB", "ABCD", "ABCDEF", "ABCDEFGH"),
    ("BA", "BADC", "BADCFE", "BADCFEHG"),  # bytes swapped in each register
    ("AB", "CDAB", "EFCDAB", "GHEFCDAB"),  # least significant register first
    ("BA", "DCBA", "FEDCBA", "HGFEDCBA"),  # least significant byte first
    ("AB", "CDAB", "EFCDAB", "CDABGHEF"),  # 64 bits as two of 32, each one or both together swapped
    ("BA", "DCBA", "FEDCBA", "DCBAHGFE"),
    ("AB", "ABCD", "ABCDEF", "EFGHABCD"),
    ("BA", "BADC", "BADCFE", "FEHGBADC"),
)
Order = Literal[
    "AB", "BA", "ABCD", "BADC", "CDAB", "DCBA", "ABCDEF", "BADCFE", "EFCDAB", "FEDCBA", "ABCDEFGH", "BADCFEHG",
    "GHEFCDAB", "HGFEDCBA", "CDABGHEF", "DCBAHGFE", "EFGHABCD", "FEHGBADC",
]  # fmt: skip

# Registers behind ID and L of the SunSpec models that have as many in every device (sunspec/models, json/).
MODEL_LENGTHS: Mapping[int, int] = {
    1: 66, **dict.fromkeys((101, 102, 103), 50), **dict.fromkeys((111, 112, 113), 60), 120: 26, 121: 30, 122: 44, 123: 24,
    124: 24, **dict.fromkeys((201, 202, 203, 204), 105), **dict.fromkeys((211, 212, 213, 214), 124), 802: 62,
}  # fmt: skip
LAST_MODEL = 65534  # 65535 ends the list of models of a device
_NO_OFFSET = 30000  # beyond it stands an address of a manual: no model is that long


def order_of(order: str | None, registers: int) -> str:
    """The letters of an order for a value of that many registers; most significant byte first where none is given."""
    row = next(row for row in _ORDERS if order is None or order in row)
    return row[registers - 1]


def _address(value: Any, info: ValidationInfo) -> Any:
    """400001-style numbers name the table in their first digit; what is meant can be told."""
    one_based = info.data.get("numbering") == "one-based"
    if isinstance(value, int) and value >= ADDRESSES + one_based:
        digit, number = divmod(value, 100_000)
        table = {1: "discrete", 3: "input", 4: "holding"}.get(digit)
        if table and 1 <= number <= ADDRESSES:
            raise mistake(
                f"{value} is a number of the {digit}00001 style, not an address",
                f"did you mean '{table}: {number if one_based else number - 1}'?",
            )
        raise mistake(f"{value} is too large: addresses end at 65535", "the address as on the wire: the first one is 0")
    return value


Address = Annotated[
    int | None,
    BeforeValidator(_address),
    Field(ge=0),
    WithJsonSchema({"type": "integer", "minimum": 0, "maximum": ADDRESSES}),
]


def _listed(value: Any) -> Any:
    values = value if isinstance(value, (list, tuple)) else [value]
    for each in values:
        if isinstance(each, bool) or not isinstance(each, (int, float)):
            raise mistake(f"'{each}' is not a raw value", "one number or a list, for example 0x8000 or [32767, 32768]")
    return values


def _models(value: Any) -> Any:
    ids = value if isinstance(value, (list, tuple)) else [value]
    for each in ids:
        if isinstance(each, bool) or not isinstance(each, int) or not 1 <= each <= LAST_MODEL:
            raise mistake(
                f"'{each}' is not the ID of a SunSpec model", "a number or a list, for example 103 or [101, 102, 103]"
            )
    return tuple(ids)


_Number = {"anyOf": [{"type": "number"}, {"type": "array", "items": {"type": "number"}}]}


Models = Annotated[
    tuple[int, ...],
    BeforeValidator(_models),
    WithJsonSchema({"anyOf": [{"type": "integer"}, {"type": "array", "items": {"type": "integer"}}]}),
]
"""IDs of SunSpec models, the usual one first."""


class ModbusSignal(SignalSettings):
    """One value in the tables of a device."""

    numbering: Literal["zero-based", "one-based"] = Field(
        "zero-based", description="`one-based`: the manual counts from 1, so one is subtracted for the wire."
    )
    coil: Address = Field(None, description="Address of a coil (function code 1).", examples=[0])
    discrete: Address = Field(None, description="Address of a discrete input (function code 2).", examples=[4])
    input: Address = Field(None, description="Address of an input register (function code 4).", examples=[0])
    holding: Address = Field(None, description="Address of a holding register (function code 3).", examples=[0])
    sunspec: Models = Field(
        (),
        description="ID of the SunSpec model it is in, which is looked for in the device; `holding` counts from there: "
        "ID 0, L 1. A list: whichever of these the device has. `[]`: of none.",
        examples=[103, [103, 102, 101]],
    )
    occurrence: int = Field(1, ge=1, le=100, description="`sunspec`: of several alike in the device, which one.")
    type: Type | None = Field(
        None, description="What is in the registers; bool for coils, discrete inputs and `bit`.", examples=["int16"]
    )
    order: Order | None = Field(
        None, description="Bytes on the wire, A the most significant one of the value.", examples=["ABCD", "CDAB"]
    )
    bit: int | None = Field(None, ge=0, le=15, description="One bit of a register, 0 the least significant.")
    byte: Literal["high", "low"] = Field("low", description="int8, uint8: the byte of the register.")
    count: int | None = Field(
        None, ge=1, le=2000, description="An array: signals name_0, name_1 … one after the other.", examples=[8]
    )
    length: int | None = Field(None, ge=1, le=250, description="string: its bytes.", examples=[16])
    encoding: str = Field("utf-8", description="string: its encoding.", examples=["latin-1"])
    location: Literal["both", "high", "low"] = Field(
        "both", description="string: two characters in a register, or one in its high or low byte."
    )
    format: DateForm | None = Field(
        None,
        description="datetime: `unix32` seconds, `unix64ms` milliseconds since 1970; `cp56` IEC 60870-5-4 in 4 registers; "
        "year, month, day, hour, minute, second as `words`, `bytes` or `bcd`.",
        examples=["cp56"],
    )
    invalid: Annotated[list[int | float], BeforeValidator(_listed), WithJsonSchema(_Number)] = Field(
        default_factory=list, description="Raw values by which the device says that it has none.", examples=["0x8000"]
    )

    @property
    def table(self) -> Table:
        """The table it stands in."""
        return next(table for table in TABLES if getattr(self, table) is not None)

    @property
    def address(self) -> int:
        """Its address on the wire; with `sunspec` its place in the model."""
        number: int = getattr(self, self.table)
        return number - (self.numbering == "one-based")

    @property
    def address_text(self) -> str:
        parts = [self.table, str(self.address)]
        if self.sunspec:
            parts = [f"SunSpec {'/'.join(map(str, self.sunspec))}", *parts]
        if self.table not in BIT_TABLES:
            parts += [self.data_type] if self.bit is None else [f"bit {self.bit}"]
            parts += [self.wire_order] if self.size > 1 or self.order else []
        return " ".join(parts)

    @property
    def data_type(self) -> Type:
        """Its type, also where nobody had to write it."""
        return self.type or "bool"

    @property
    def value_type(self) -> ValueType:
        """What its raw value is to the rest of the gateway."""
        if self.data_type in ("bool", "string", "datetime"):
            return "bool" if self.data_type == "bool" else "string"
        return "float" if self.data_type.startswith("float") else "int"

    @property
    def width(self) -> float | None:
        """A counter goes round where its digits or bits end; with a sign half way, as long as it shows no negative count."""
        if self.value_type != "int":
            return None
        if self.data_type in _DECIMAL_DIGITS:
            return 10.0 ** _DECIMAL_DIGITS[self.data_type]
        bits = 8 if self.data_type in ("int8", "uint8") else 16 * self.size
        return 1 << (bits - 1 if self.data_type.startswith("int") else bits)

    @property
    def size(self) -> int:
        """How many registers, or bits, one value takes."""
        if self.length and self.data_type == "string":
            return (self.length + 1) // 2 if self.location == "both" else self.length
        if self.format and self.data_type == "datetime":
            return DATE_REGISTERS[self.format]
        return REGISTERS.get(self.data_type, 1)

    @property
    def wire_order(self) -> str:
        """The letters of its order, as many as it has bytes; AB or BA for what is not one number."""
        parts = self.data_type == "string" or (self.data_type == "datetime" and not self._counts_from_1970)
        return order_of(self.order, 1 if parts else self.size)

    @property
    def _counts_from_1970(self) -> bool:
        return self.format in ("unix32", "unix64ms")

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, value: str) -> str:
        try:
            # Escapes and host names are no encodings of text in a register, and give what no message can carry.
            name = codecs.lookup(value).name
            single = "A\0".encode(value) == b"A\0" and not name.endswith(("escape", "utf-7", "idna", "punycode"))
        except (LookupError, ValueError):
            single = False
        if not single:
            raise mistake(f"'{value[:40]}' cannot be used here", "for example utf-8, latin-1, cp1252 or shift_jis")
        return value

    @model_validator(mode="after")
    def _is_one_value(self) -> ModbusSignal:
        tables = [table for table in TABLES if getattr(self, table) is not None]
        if not tables:
            raise mistake("this signal has no address", "add one of coil, discrete, input, holding: 'holding: 0'")
        if len(tables) > 1:
            raise mistake(f"a signal stands at one address, not at `{tables[0]}` and `{tables[1]}`", key=tables[1])
        self._check_type()
        self._check_text()
        self._check_numbers()
        table, first, number = self.table, self.address, self.size * (self.count or 1)
        if first < 0:
            raise mistake(f"with `numbering: one-based` the first {_SPOKEN[table]} is 1", "did you mean 1?", table)
        if self.sunspec:
            self._check_model(table)
        if first + number > ADDRESSES:
            raise mistake(
                f"its last {_SPOKEN[table]} would be {first + number - 1}: addresses end at 65535",
                f"it takes {number} from {first} on; check `type`, `length` and `count`",
                table,
            )
        return self

    def _check_model(self, table: Table) -> None:
        if table != "holding":
            hint = "write 'holding: N' for a point of the model, or 'sunspec: []' for what is not in one"
            raise mistake("SunSpec models are in the holding registers", hint, table)
        if self.address >= _NO_OFFSET:
            hint = "write the offset in the model, or 'sunspec: []' for an address of its own"
            raise mistake(
                f"with `sunspec` addresses count from its ID, and {self.holding} is none in a model", hint, table
            )

    def _check_type(self) -> None:
        table, written = self.table, self.model_fields_set
        if table in BIT_TABLES:
            if self.data_type != "bool":
                raise mistake(
                    f"a {_SPOKEN[table]} is a bool, not {self.type}", "remove `type`, or read a register", "type"
                )
            if "bit" in written:
                raise mistake(f"a {_SPOKEN[table]} is a single bit", "remove `bit`, or read a register", "bit")
        elif self.bit is not None and self.data_type != "bool":
            raise mistake(f"one bit is a bool, not {self.type}", "remove `type` or `bit`", "type")
        elif self.bit is None and self.type is None:
            raise mistake(
                "'type' is missing: a register does not say what is in it",
                f"for example 'type: int16'; known: {', '.join(get_args(Type))}",
            )
        if "byte" in written and self.data_type not in ("int8", "uint8"):
            raise mistake("`byte` is for int8 and uint8", "remove `byte`, or write 'type: uint8'", "byte")
        if self.order and len(self.order) == 2 and self.size > 1 and self.value_type != "string":
            options = sorted({row[self.size - 1] for row in _ORDERS[:4]})
            hint = f"write it with the letters of all {2 * self.size} bytes: {', '.join(options)}"
            raise mistake(f"the order {self.order} says too little about {self.data_type}", hint, "order")

    def _check_text(self) -> None:
        if self.data_type == "datetime" and self.format is None:
            known = ", ".join(DATE_REGISTERS)
            raise mistake("a datetime needs its `format`", f"for example 'format: cp56'; known: {known}", "type")
        if self.data_type != "datetime" and self.format is not None:
            raise mistake("`format` is for datetime", "remove `format`, or write 'type: datetime'", "format")
        if self.data_type != "string":
            for key in ("length", "encoding", "location"):
                if key in self.model_fields_set:
                    raise mistake(f"`{key}` is for strings", f"remove `{key}`, or write 'type: string'", key)
            return
        if self.length is None:
            raise mistake("a string needs its length in bytes", "for example 'length: 16' for 8 registers", "type")
        if self.size > MAX_REGISTERS:
            raise mistake(f"{self.size} registers do not fit into one request: at most {MAX_REGISTERS}", key="length")

    def _check_numbers(self) -> None:
        if self.value_type in ("bool", "string"):
            for key in (*NUMBERS_ONLY, "invalid"):
                if getattr(self, key) not in (None, []):
                    raise mistake(f"a {self.data_type} has no {key}", f"remove `{key}`", key)
            if self.kind == "counter":
                raise mistake(f"a {self.data_type} cannot be a counter", "remove `kind`", "kind")
        if self.rollover is not None and self.width is not None:
            end = round(self.width) * (2 if self.data_type.startswith("int") else 1)  # its sign may be a digit
            if self.rollover > end:
                hint = f"at most {end}; left out, it is that of {self.data_type}"
                raise mistake(
                    f"{self.rollover:.15g} is never reached: {self.data_type} has {end} numbers", hint, "rollover"
                )
        if self.enum is not None and self.value_type in ("float", "string"):
            raise mistake(f"`enum` names whole numbers, and {self.data_type} is none", "remove `enum`", "enum")
        self._check_texts()
        bits = 8 if self.data_type in ("int8", "uint8") else 16 * self.size
        for value in self.invalid:
            if self.value_type == "float" and isfinite(value) and abs(value) > _LARGEST[self.data_type]:
                raise mistake(f"{value} does not fit into {self.data_type}", key="invalid")
            whole = isfinite(value) and value == int(value)
            if not whole and self.value_type == "int":
                raise mistake(f"{value} is not a value of {self.data_type}", "a whole number", "invalid")
            if whole and self.value_type == "int" and not -(1 << bits - 1) <= value < 1 << bits:
                raise mistake(f"{value} does not fit into {self.data_type}", f"it has {bits} bits", "invalid")

    def _check_texts(self) -> None:
        """Each number of `enum` is one that can be read."""
        low, high = self._limits
        errors = [
            InitErrorDetails(
                type=mistake(
                    f"{number} is not a value of {self.data_type}: it has {low} to {high}", _meant(number, low, high)
                ),
                loc=("enum", str(number), "[key]"),
                input=text,
            )
            for number, text in (self.enum or {}).items()
            if not low <= number <= high
        ]
        if errors:
            raise ValidationError.from_exception_data("enum", errors)

    @property
    def _limits(self) -> tuple[int, int]:
        """The lowest and the highest raw value of a type of whole numbers."""
        if self.data_type == "bool":
            return 0, 1
        if self.data_type in _DECIMAL_DIGITS:
            return 0, 10 ** _DECIMAL_DIGITS[self.data_type] - 1
        bits = 8 if self.data_type in ("int8", "uint8") else 16 * self.size
        return (-1 << bits - 1, (1 << bits - 1) - 1) if self.data_type.startswith("int") else (0, (1 << bits) - 1)


def _meant(number: int, low: int, high: int) -> str:
    """What is meant by a number that has the right bits, but for the sign: 65535 is -1 as an int16."""
    span = high - low + 1
    same_bits = span > 2 and span & (span - 1) == 0 and -span // 2 <= number < span
    return f"these bits are {number + (span if number < 0 else -span)} in this type" if same_bits else "check `type`"
