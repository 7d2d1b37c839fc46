"""Names of signals out of browse names."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.opcua.tools.names import LONGEST, Names, joined, machine_name, word


@pytest.mark.parametrize(
    ("steps", "name"),
    [
        (["Speed"], "Speed"),
        (["Monitoring", "Spindle 1", "Speed"], "Monitoring.Spindle_1.Speed"),
        (["CNC1", "CNC1.Speed"], "CNC1.Speed"),
        (['"DB_Prozess"', '"Füllstand"'], "DB_Prozess.Fuellstand"),
        (["Axes[2]", "Position (mm)"], "Axes_2.Position_mm"),
        (["Nhiệt độ", "Áp suất"], "Nhiet_do.Ap_suat"),
        (["温度", "Sensor"], "Sensor"),
        (["温度"], ""),
        (["Leistung/°C", "µm & <x>:y"], "Leistung_degC.um_x_y"),
        (["..", "__a__"], "a"),
    ],
)
def test_joined(steps, name):
    assert joined(steps) == name


def test_a_long_way_keeps_its_end():
    steps = ["Plant", "Area of many words", "Some line with a name", "Machine", "Unit", "Module", "Temperature"]
    assert joined(steps) == "Some_line_with_a_name.Machine.Unit.Module.Temperature"


def test_a_long_name_is_cut_and_stays_the_same():
    name = joined(["x" * 200])
    assert name == joined(["x" * 200])
    assert len(name) == LONGEST
    assert name != joined(["x" * 201])


def test_each_name_once_also_in_another_case():
    names = Names()
    assert [names.of(["Speed"]), names.of(["Speed"]), names.of(["speed"])] == ["Speed", "Speed_2", "speed_3"]


def test_elements_of_an_array_take_no_name_that_is_there():
    names = Names()
    assert names.of(["Pos_1"]) == "Pos_1"
    assert names.of(["Pos"], ["_0", "_1"]) == "Pos_2"
    assert names.of(["Pos_2_0"]) == "Pos_2_0_2"


def test_what_has_no_letters_is_counted():
    names = Names()
    assert [names.of(["温度"]), names.of(["压力"])] == ["signal", "signal_2"]
    assert names.of(["Oven", "温度"]) == "Oven.signal"


@pytest.mark.parametrize(
    ("steps", "identity", "name"),
    [
        (["Machines", "Lathe-01"], "", "Lathe-01"),
        (["_Press"], "", "Press"),
        (["72962b91-fa75-4ae6-8d28-b404dc7daf63"], "P 2000 P-77", "P_2000_P-77.72962b91-fa75-4ae6-8d28-b404dc7daf63"),
        (["温度"], "P 2000", "P_2000"),
        ([], "", "machine"),
    ],
)
def test_machine_names(steps, identity, name):
    found = machine_name(steps, identity)
    assert found == name or (len(name) > 48 and name.endswith(found))


@given(st.lists(st.lists(st.text(max_size=90), max_size=5), max_size=12))
def test_all_names_are_allowed_unique_and_not_too_long(ways):
    names = Names()
    found = [names.of(way) for way in ways]
    assert len({name.lower() for name in found}) == len(found)
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]{1,128}", name) for name in found)


@given(st.text())
def test_a_word_is_a_word(text):
    assert re.fullmatch(r"[A-Za-z0-9_.-]*", word(text))
