"""Node ids and paths as they are written in YAML, and read back from there."""

from uuid import UUID

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from adapters.opcua.browsing import QualifiedName
from adapters.opcua.nodes import NodeId, parse, parse_path, resolve, resolve_path
from adapters.opcua.tools.written import Written, prefix_of
from gateway.config.yaml_text import scalar

URIS = [
    "http://opcfoundation.org/UA/",
    "urn:gw:server",
    "urn:shop:cnc",
    "http://acme.com/UA/Press;v=2%20",
    "urn:shop:cnc",
]


@pytest.mark.parametrize(
    ("id", "text"),
    [
        (NodeId(0, "i", 2258), "i=2258"),
        (NodeId(2, "i", 1001), "cnc:i=1001"),
        (NodeId(2, "s", "CNC1.Speed"), "cnc:s=CNC1.Speed"),
        (
            NodeId(2, "s", '"DB_Prozess"."Füllstand"[3];x=1 # no comment'),
            'cnc:s="DB_Prozess"."Füllstand"[3];x=1 # no comment',
        ),
        (NodeId(2, "g", UUID("72962b91-fa75-4ae6-8d28-b404dc7daf63")), "cnc:g=72962b91-fa75-4ae6-8d28-b404dc7daf63"),
        (NodeId(2, "b", b"\x00\xff"), "cnc:b=AP8="),
        (NodeId(3, "s", "x"), "press:s=x"),
        (NodeId(0, "s", "odd"), "ns=0;s=odd"),
        (NodeId(4, "i", 1), "ns=4;i=1"),  # its URI means namespace 2
        (NodeId(9, "i", 1), "ns=9;i=1"),  # a namespace the server does not tell about
    ],
)
def test_node_ids(id, text):
    written = Written(URIS)
    assert written.node(id) == text
    # Through YAML, and through the parser of the configuration.
    back = yaml.safe_load("{node: " + scalar(text) + "}")["node"]
    assert resolve(parse(back, written.prefixes), URIS) == id


def test_the_form_with_the_uri_needs_no_prefix():
    text = Written(URIS).by_uri(NodeId(3, "s", "a;b"))
    assert text == "nsu=http://acme.com/UA/Press%3Bv=2%2520;s=a;b"
    assert resolve(parse(text, {}), URIS) == NodeId(3, "s", "a;b")


@pytest.mark.parametrize(
    "identifier", ["trailing newline\n", "tab\there", " blank before", "blank behind ", "", "\udc80"]
)
def test_what_the_configuration_refuses_is_not_written(identifier):
    found = Written(URIS).node(NodeId(2, "s", identifier))
    # A blank before is kept by what stands before it.
    assert found is None or resolve(parse(found, Written(URIS).prefixes), URIS) == NodeId(2, "s", identifier)
    assert (found is None) == (identifier != " blank before")


def test_prefixes_of_the_configuration_are_kept():
    written = Written(URIS, {"m": "urn:shop:cnc"})
    assert written.node(NodeId(2, "i", 7)) == "m:i=7"
    assert written.used == {"m": "urn:shop:cnc"}


@pytest.mark.parametrize(
    ("uri", "prefix"),
    [
        ("http://opcfoundation.org/UA/MachineTool/", "machinetool"),
        ("http://opcfoundation.org/UA/DI/", "di"),
        ("urn:shop:cnc", "cnc"),
        ("http://www.siemens.com/simatic-s7-opcua", "s7"),
        ("42", "n42"),
        ("…", "m"),
    ],
)
def test_prefixes(uri, prefix):
    assert prefix_of(uri) == prefix


def test_two_namespaces_never_share_a_prefix():
    written = Written(["", "urn:a:cnc", "urn:b:cnc", "urn:c:cnc"])
    assert list(written.prefixes) == ["cnc", "cnc2", "cnc3"]


ids = st.one_of(
    st.builds(NodeId, st.integers(0, 4), st.just("i"), st.integers(0, 2**32 - 1)),
    st.builds(NodeId, st.integers(0, 4), st.just("s"), st.text(max_size=30)),
    st.builds(NodeId, st.integers(0, 4), st.just("g"), st.uuids()),
    st.builds(NodeId, st.integers(0, 4), st.just("b"), st.binary(max_size=20)),
)


@given(ids)
def test_whatever_is_written_leads_to_the_same_node(id):
    written = Written(URIS)
    text = written.node(id)
    if text is None:
        assert id.kind in "sb", "only texts can be impossible, and an empty byte string"
        return
    back = yaml.safe_load("{node: " + scalar(text).replace("$${", "${") + "}")["node"]
    assert resolve(parse(back, written.prefixes), URIS) == id


@given(st.lists(st.builds(QualifiedName, st.integers(0, 4), st.text(min_size=1, max_size=12)), min_size=1, max_size=5))
def test_whatever_path_is_written_leads_the_same_way(steps):
    written = Written(URIS)
    text = written.path(steps)
    if text is not None:
        back = yaml.safe_load("{path: " + scalar(text).replace("$${", "${") + "}")["path"]
        assert resolve_path(parse_path(back, written.prefixes), URIS) == tuple(map(tuple, steps))


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (["CNC1", "Speed"], "cnc:CNC1/cnc:Speed"),
        (["a/b", "c:d", "e&f", "<g>"], "cnc:a&/b/cnc:c&:d/cnc:e&&f/cnc:<g>"),
        (["trailing blank "], None),
        (["new\nline"], None),
    ],
)
def test_paths(names, text):
    assert Written(URIS).path([QualifiedName(2, name) for name in names]) == text
