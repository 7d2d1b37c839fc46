"""Register lists of manufacturers: what becomes of them, and what is said about their mistakes."""

from __future__ import annotations

import io
import textwrap
from pathlib import Path

import pytest

from adapters.modbus.tools.register_list import (
    Options,
    RegisterListError,
    name_of,
    parse_address,
    parse_number,
    parse_order,
    parse_type,
    register_list,
)
from adapters.modbus.tools.table_file import MAX_ROWS, TableError, read_tables
from adapters.modbus.tools.vocabulary import ucum


def read(tmp_path: Path, text: str | bytes, name: str = "list.csv", **options):
    file = tmp_path / name
    file.write_bytes(textwrap.dedent(text).encode() if isinstance(text, str) else text)
    return register_list(read_tables(file), Options(**options))


def mistakes(tmp_path: Path, text: str, **options) -> tuple[str, ...]:
    with pytest.raises(RegisterListError) as caught:
        read(tmp_path, text, **options)
    return caught.value.mistakes


METER = """\
    Energy meter type X, firmware 2.1
    ,,,,,
    Parameter,Register,FC,Data type,Unit,Factor
    Measurements
    Voltage L1,3027,03,FLOAT32,V,
    Frequency,0x0C25,3,UINT,Hz,"0,01"
    Total energy (kWh),3203,3,INT64,kWh,0.001
    Temperature,10,4,INT16,°C,x0.1
    Speed,11,4,WORD,rpm,
    """
METER_SIGNALS = {
    "voltage_l1": {"holding": 3027, "type": "float32", "unit": "V"},
    "frequency": {"holding": 3109, "type": "uint16", "scale": 0.01, "unit": "Hz"},
    "total_energy": {"holding": 3203, "type": "int64", "scale": 0.001, "unit": "kW.h"},
    "temperature": {"input": 10, "type": "int16", "scale": 0.1, "unit": "Cel"},
    "speed": {"input": 11, "type": "uint16", "unit": "1/min"},
}


def test_a_list_with_a_headline_and_sections(tmp_path):
    assert read(tmp_path, METER).signals == METER_SIGNALS


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252"])
@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_encodings_and_delimiters(tmp_path, encoding, delimiter):
    text = textwrap.dedent(METER).replace('"0,01"', "0.01").replace(",", delimiter).replace("0.01", "0,01")
    assert read(tmp_path, text.encode(encoding)).signals == METER_SIGNALS


def test_excel(tmp_path):
    import csv

    import openpyxl

    book = openpyxl.Workbook()
    book.active.title = "Cover"
    book.active.append(["Energy meter", "type X"])
    sheet = book.create_sheet("Registers")
    for row in csv.reader(io.StringIO(textwrap.dedent(METER))):
        sheet.append([int(cell) if cell.isdecimal() and not cell.startswith("0") else cell for cell in row])
    book.save(tmp_path / "list.xlsx")
    tables = read_tables(tmp_path / "list.xlsx")
    assert register_list(tables).signals == METER_SIGNALS
    assert register_list(read_tables(tmp_path / "list.xlsx", "Registers")).source == "list.xlsx[Registers]"
    with pytest.raises(TableError, match="no sheet 'Data'; it has: Cover, Registers"):
        read_tables(tmp_path / "list.xlsx", "Data")


def test_vietnamese(tmp_path):
    found = read(
        tmp_path,
        """\
        STT;Tên thông số;Địa chỉ;Kiểu dữ liệu;Mã hàm;Đơn vị;Hệ số;Mô tả
        1;Điện áp pha A;0;UINT16;3;V;0,1;điện áp hiệu dụng
        2;Nhiệt độ dầu;1;INT16;3;độ C;0,1;
        3;Tốc độ;2;UINT16;3;vòng/phút;;
        """,
    )
    assert found.signals == {
        "dien_ap_pha_a": {
            "holding": 0, "type": "uint16", "scale": 0.1, "unit": "V", "description": "điện áp hiệu dụng",
        },
        "nhiet_do_dau": {"holding": 1, "type": "int16", "scale": 0.1, "unit": "Cel"},
        "toc_do": {"holding": 2, "type": "uint16", "unit": "1/min"},
    }  # fmt: skip


def test_numbers_of_the_40001_style_are_translated_where_all_are(tmp_path):
    found = read(
        tmp_path, "name,address,type\na,40001,uint16\nb,40011,int16\nc,30005,uint16\nd,10003,bool\ne,00017,bool\n"
    )
    places = [next(iter(s.items())) for s in found.signals.values()]
    assert places == [("holding", 0), ("holding", 10), ("input", 4), ("discrete", 2), ("coil", 16)]
    assert "40001 style" in found.notes[0]


def test_or_left_alone_where_one_is_not(tmp_path):
    text = "name,address,function,type\na,40001,3,uint16\nb,20480,3,uint16\n"
    assert [s["holding"] for s in read(tmp_path, text).signals.values()] == [40001, 20480]
    text = "name,address,function,type\na,30001,3,uint16\n"  # function 3 is no 3x register
    assert [s["holding"] for s in read(tmp_path, text).signals.values()] == [30001]


def test_or_as_it_is_said(tmp_path):
    text = "name,address,function,type\na,40070,3,uint16\n"
    assert read(tmp_path, text).signals["a"]["holding"] == 69
    assert read(tmp_path, text, numbering="wire").signals["a"]["holding"] == 40070
    assert read(tmp_path, text, numbering="one-based").signals["a"]["holding"] == 40069


def test_the_order_that_all_have_is_said_once(tmp_path):
    found = read(
        tmp_path, "name,address,type,word order\na,0,float,LSW first\nb,2,uint32,CDAB\nc,4,uint16,\n", table="input"
    )
    assert found.order == "CDAB"
    assert found.signals["a"] == {"input": 0, "type": "float32"}
    found = read(tmp_path, "name,address,type,order\na,0,float,CDAB\nb,2,uint32,ABCD\n", table="input")
    assert (found.order, found.signals["a"]["order"]) == (None, "CDAB")


def test_lengths_tell_how_long_an_int_is(tmp_path):
    text = "name,address,type,{}\na,0,INT,{}\nb,2,FLOAT,{}\nc,4,ASCII,{}\n"
    for title, values in (("registers", (2, 4, 8)), ("length (bytes)", (4, 8, 16)), ("size (bits)", (32, 64, 128))):
        found = read(tmp_path, text.format(title, *values), table="holding").signals
        assert [s["type"] for s in found.values()] == ["int32", "float64", "string"]
        assert found["c"]["length"] == 16


def test_bits_of_a_register(tmp_path):
    found = read(tmp_path, "name,address,type,bit\nready,100,bit,0\nfault,100,bit,3\n", table="holding").signals
    assert found == {"ready": {"holding": 100, "bit": 0}, "fault": {"holding": 100, "bit": 3}}
    assert read(tmp_path, "name,address,type\nfault,100.12,bool\n", table="input").signals["fault"] == {
        "input": 100,
        "bit": 12,
    }


def test_what_can_only_be_written_is_left_out_with_a_word(tmp_path):
    found = read(
        tmp_path,
        "name,address,type,fc,access\nreset,1,uint16,6,\nstart,2,uint16,3,WO\nmode,3,uint16,3,R/W\nReserved,4,,3,\n",
    )
    assert list(found.signals) == ["mode"]
    assert found.notes == ("left out, can only be written: lines 2, 3", "left out, reserved: line 5")


def test_names_are_made_unique(tmp_path):
    found = read(tmp_path, "name,address,type\nPhase A,1,uint16\nphase-a,2,uint16\n,3,uint16\n", table="input")
    assert list(found.signals) == ["phase_a", "phase_a_2", "input_3"]
    assert "line 3: 'phase_a' is there already" in found.notes[0]


# --- mistakes --------------------------------------------------------------------------------------------------------


def test_mistakes_name_line_column_and_cure(tmp_path):
    found = mistakes(
        tmp_path,
        "name,address,FC,Type,Scale\n"
        "a,0,3,INT23,\n"
        "b,0BD3,3,uint16,\n"
        "c,2,9,uint16,\n"
        "d,3,3,uint16,much\n"
        "e,70000,3,uint16,\n"
        "f,6,3,,1\n"
        "g,,3,uint16,\n"
        "h,65535,3,float32,\n"
        "i,400001,3,uint16,\n"
        'j,10,3,uint16,"1,000"\n',
    )
    by_line = {int(text.split(":")[1]): text for text in found}
    assert sorted(by_line) == [2, 3, 4, 5, 6, 7, 8, 9, 10, 11]
    assert list(by_line) == sorted(by_line)
    assert by_line[2] == "list.csv:2: column 'Type': 'INT23' is not known; did you mean 'int32'?"
    assert "write 0x0BD3" in by_line[3]
    assert by_line[4].startswith("list.csv:4: column 'FC': '9' is no table")
    assert by_line[5] == "list.csv:5: column 'Scale': 'much' is not a number, for example 0.1"
    assert "addresses end at 65535" in by_line[6]
    assert by_line[7] == "list.csv:7: column 'Type': is empty; for example uint16"
    assert by_line[8] == "list.csv:8: column 'address': is empty"
    assert "its last holding register would be 65536" in by_line[9]
    assert "holding: 0? then say --numbering 40001" in by_line[10]
    assert "can be read in two ways" in by_line[11]


def test_what_the_list_does_not_say_has_to_be_said(tmp_path):
    assert "--table holding" in mistakes(tmp_path, "name,address,type\na,0,uint16\n")[0]
    assert "--type uint16" in mistakes(tmp_path, "name,address,fc\na,0,3\n")[0]
    assert read(tmp_path, "name,address\na,0\n", table="coil").signals == {"a": {"coil": 0}}


def test_a_line_counts_from_the_first_of_a_cell_with_several(tmp_path):
    text = 'name,address,type,note\na,0,uint16,"two\nlines"\nb,1,INT23,\n'
    assert mistakes(tmp_path, text, table="input")[0].startswith("list.csv:4: ")


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"%PDF-1.4", "a PDF"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "old Excel"),
        (b"PK\x03\x04 nothing", "damaged"),
        (b"\0\1\2\3" * 100, "not a text file"),
        (b"x,y\n" * (MAX_ROWS + 1), "more than"),
        (b"x," * 300, "columns"),
    ],
)
def test_files_that_are_no_table(tmp_path, data, what):
    (tmp_path / "list.csv").write_bytes(data)
    with pytest.raises(TableError, match=what):
        read_tables(tmp_path / "list.csv")


@pytest.mark.parametrize("text", ["", "\n\n", "hello\n", "a,b,c\n1,2,3\n"])
def test_files_without_a_heading(tmp_path, text):
    assert "no row with the names of columns" in mistakes(tmp_path, text)[0]


# --- cells -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "registers", "type_", "order"),
    [
        ("UINT16", None, "uint16", None), ("INT", None, "int16", None), ("INT", 2, "int32", None),
        ("Float", None, "float32", None), ("float", 4, "float64", None), ("REAL", 2, "float32", None),
        ("LREAL", None, "float64", None), ("U32", None, "uint32", None), ("s16", None, "int16", None),
        ("DWORD", None, "uint32", None), ("DINT", None, "int32", None), ("SINT", None, "int8", None),
        ("SINT16", None, "int16", None), ("unsigned 32 bit integer", None, "uint32", None),
        ("16-bit signed", None, "int16", None), ("uint16_t", None, "uint16", None), ("INT16U", None, "uint16", None),
        ("Float CDAB", None, "float32", "CDAB"), ("32bit float LSW first", None, "float32", "CDAB"),
        ("float32 (big endian)", 2, "float32", "ABCD"), ("IEEE 754 float", None, "float32", None),
        ("bitfield32", None, "uint32", None), ("BCD", 2, "bcd32", None), ("modulo10k_u32", None, "modulo10k_u32", None),
        ("Mod10k", 3, "modulo10k_u48", None), ("unsigned 16 (0..65535)", None, "uint16", None),
    ],
)  # fmt: skip
def test_types(text, registers, type_, order):
    found = parse_type(text, registers)
    assert found is not None
    assert (found.type, found.order) == (type_, order)


@pytest.mark.parametrize("text", ["INT23", "16 bit", "thing", "float8", "", "u128", "FLOAT 16 32"])
def test_types_that_are_not_known(text):
    assert parse_type(text) is None


@pytest.mark.parametrize(
    ("text", "number", "last"),
    [
        ("3027", 3027, None), ("0x0BD3", 3027, None), ("0BD3h", 3027, None), ("$BD3", 3027, None), ("4x0001", 1, None),
        ("40001-40002", 40001, 40002), ("40001-02", 40001, 40002), ("0x10-0x11", 16, 17), ("%MW100", 100, None),
        ("40 001", 40001, None),
    ],
)  # fmt: skip
def test_addresses(text, number, last):
    found = parse_address(text)
    assert (found.number, found.last) == (number, last)


@pytest.mark.parametrize("text", ["", "abc", "0BD3", "5-3", "-1", "1.16", "D100", "1e5"])
def test_what_is_no_address(text):
    with pytest.raises(ValueError, match=r"address|hexadecimal|range"):
        parse_address(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.1", 0.1), ("0,1", 0.1), ("x0.1", 0.1), ("×0.01", 0.01), ("*10", 10), ("/10", 0.1), ("÷100", 0.01), ("1/10", 0.1),
        ("10^-1", 0.1), ("1E-1", 0.1), (".5", 0.5), ("1.000,5", 1000.5), ("1,000.5", 1000.5), ("0.1 V", 0.1), ("-40", -40),
    ],
)  # fmt: skip
def test_numbers(text, value):
    assert parse_number(text)[0] == pytest.approx(value)


@pytest.mark.parametrize(
    ("text", "order"),
    [
        ("ABCD", "ABCD"),
        ("cd ab", "CDAB"),
        ("3412", "CDAB"),
        ("Big-Endian", "ABCD"),
        ("LSW first", "CDAB"),
        ("AACD", None),
    ],
)
def test_orders(text, order):
    assert parse_order(text) == order


def test_units_and_names():
    assert [ucum(each)[0] for each in ("°C", "kWh", "[V]", "m³/h", "mW", "MW", "KWH", "-")] == [
        "Cel", "kW.h", "V", "m3/h", "mW", "MW", "kW.h", "",
    ]  # fmt: skip
    assert ucum("furlong") == ("furlong", False)
    assert name_of("Điện áp L1-N (V)") == "dien_ap_l1_n"
