"""Quality: severities and codes as in OPC UA Part 4 (7.39) and its table of status codes."""

import pytest

from gateway.model import (
    GOOD,
    REASONS,
    Header,
    MachinePath,
    Signal,
    is_bad,
    is_good,
    quality_code,
    quality_text,
)


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (0x00000000, "good"),
        (0x00960000, "good"),  # GoodLocalOverride: a good value
        (0x000000C0, "good"),  # limit bits only
        (0x80310000, "bad:no-communication"),  # BadNoCommunication
        (0x808A0000, "bad:not-connected"),  # BadNotConnected
        (0x808C0000, "bad:sensor-failure"),  # BadSensorFailure
        (0x808C0400, "bad:sensor-failure"),  # with info bits
        (0x40940000, "uncertain:out-of-range"),  # UncertainEngineeringUnitsExceeded
        (0x40900000, "uncertain:server:0x40900000"),  # UncertainLastUsableValue
        (0x80AB0000, "bad:server:0x80AB0000"),
    ],
)
def test_quality_text(code, text):
    assert quality_text(code) == text
    assert is_good(code) is text.startswith("good")
    assert is_bad(code) is text.startswith("bad")


def test_every_reason_is_read_back():
    for code in REASONS:
        assert quality_code(quality_text(code)) == code
    assert quality_code("good") == GOOD
    assert quality_code("uncertain:server:0x40900000") == 0x40900000
    with pytest.raises(ValueError, match="'bad:tired' is not a quality"):
        quality_code("bad:tired")


def test_levels_that_are_empty_are_left_out():
    assert MachinePath("press", enterprise="acme", line="L1").levels() == ("acme", "L1", "press")


def test_headers_are_compared_by_identity():
    def header() -> Header:
        return Header(MachinePath("m"), (Signal("a", "int"), Signal("b", "float")))

    one = header()
    assert one == one
    assert one != header()
