"""Which nodes a path or pattern means."""

import pytest

from adapters.opcua.tools.pattern import Pattern, path_text
from gateway.errors import UsageError

CNC = "urn:shop:cnc"


def meant(pattern: str, *steps: tuple[str | int, str], below: bool = False) -> bool:
    made = Pattern(pattern, {"m": CNC}, below)
    states = made.start
    for uri, name in steps:
        states = made.after(states, uri, name)
    return made.matches(states)


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ("CNC1/Speed", "CNC1/Speed", True),
        ("m:CNC1/m:Speed", "CNC1/Speed", True),
        ("/CNC1/Speed", "CNC1/Speed", True),
        ("Objects/CNC1", "CNC1", True),
        ("CNC1", "CNC1/Speed", False),
        ("CNC1/Speed", "CNC1", False),
        ("CNC1/S*", "CNC1/Speed", True),
        ("CNC1/S*", "CNC1/Mode", False),
        ("CNC1/*", "CNC1", False),
        ("CNC1/*", "CNC1/a/b", False),
        ("CNC1/Axis?", "CNC1/Axis1", True),
        ("CNC1/Axis?", "CNC1/Axis12", False),
        ("CNC1/Axis[12]", "CNC1/Axis2", True),
        ("CNC1/Axis[!12]", "CNC1/Axis2", False),
        ("CNC1/Axis[1]", "CNC1/Axis[1]", True),  # as it was copied from a listing
        ("**/Speed", "Speed", True),
        ("**/Speed", "a/b/c/Speed", True),
        ("**/Speed", "a/Speed/c", False),
        ("a/**/Speed", "a/Speed", True),
        ("a/**/b/**/c", "a/x/b/y/z/c", True),
        ("a/**/b/**/c", "a/x/y/z/c", False),
        ("**", "a/b", True),
        ("a/**", "a/b/c", True),
        ("&*", "*", True),
        ("&*", "x", False),
        ("a&/b", "a&/b", True),
        ("a.b(c)+", "a.b(c)+", True),
        ("a.b", "axb", False),
    ],
)
def test_what_a_pattern_means(pattern, path, expected):
    steps = [(CNC, part.replace("\0", "/")) for part in path.replace("&/", "\0").split("/")]
    assert meant(pattern, *steps) is expected


def test_a_name_without_prefix_is_of_any_namespace_and_one_with_it_is_not():
    assert meant("Speed", ("urn:other", "Speed"))
    assert not meant("m:Speed", ("urn:other", "Speed"))
    assert meant("0:Server", (0, "Server"))
    assert not meant("0:Server", (CNC, "Server"))


def test_below_means_what_stands_under_it_as_well():
    assert meant("a", (0, "a"), (0, "b"), (0, "c"), below=True)
    assert not meant("a", (0, "b"), below=True)


def test_nothing_is_left_where_nothing_can_match():
    pattern = Pattern("CNC1/Speed", {})
    assert not pattern.after(pattern.start, CNC, "Other")


def test_an_unknown_prefix_says_which_there_are():
    with pytest.raises(UsageError, match="'n' is no namespace here; known: m"):
        Pattern("n:Speed", {"m": CNC})


def test_what_is_printed_can_be_typed():
    for name in ("a/b", "a:b", "a&b", "x&/y:z", "Objects", " a b "):
        text = path_text([("m", "top"), ("m", name)])
        assert meant(text, (CNC, "top"), (CNC, name)), text
