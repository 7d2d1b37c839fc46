"""The messages: as the schema of the topics has them, back again exactly, and nothing broken is taken for a reading."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import PayloadError
from gateway.model import NO_COMMUNICATION, OUT_OF_RANGE, Batch, Header, MachinePath, Signal
from gateway.mqtt.payload import (
    DataEncoder,
    Loss,
    Stored,
    decode_data,
    decode_loss,
    decode_meta,
    decode_stored,
    encode_loss,
    encode_meta,
    encode_status,
    encode_stored,
    milliseconds,
    nanoseconds,
)
from gateway.mqtt.topics import Topics

PATH = MachinePath("press-07", "acme", "hanoi", "moulding", "L1")
HEADER = Header(PATH, tuple(Signal(name, "float") for name in ("voltage_l1", "mode", "current_l2", "melt_temp")))
T = 1_763_789_123_123_456_789


def test_data_is_as_documented():
    batch = Batch(HEADER, HEADER.order, (T,) * 4, (230.4, "auto", None, 412.0), (0, 0, NO_COMMUNICATION, OUT_OF_RANGE))
    payload = DataEncoder("edge-01", "8f2c9a4e")(batch, 10421)
    assert json.loads(payload) == {
        "v": 1, "gateway": "edge-01", "epoch": "8f2c9a4e", "seq": 10421,
        "frames": [{
            "t": 1763789123123.456,
            "values": {"voltage_l1": 230.4, "mode": "auto", "melt_temp": 412.0},
            "quality": {"current_l2": "bad:no-communication", "melt_temp": "uncertain:out-of-range"},
        }],
    }  # fmt: skip


def test_what_was_fetched_later_says_so():
    batch = Batch(HEADER, [0, 0], [T, T + 1_000_000], [1.5, 2.5], None, historical=True)
    frames = json.loads(DataEncoder("edge-01", "e")(batch, 7))["frames"]
    assert [frame["historical"] for frame in frames] == [True, True]
    now = Batch(HEADER, [0], [T], [1.5], None)
    assert "historical" not in json.loads(DataEncoder("edge-01", "e")(now, 8))["frames"][0]


def test_readings_of_one_moment_share_a_frame():
    batch = Batch(HEADER, [0, 1, 3, 0], [T, T, T + 10**6, T + 2 * 10**6], [1.0, 2.0, 3.0, 4.0], None)
    frames = decode_data(DataEncoder("g", "e")(batch, 1)).frames
    assert [(f.time, dict(f.values)) for f in frames] == [
        (T // 1000 * 1000, {"voltage_l1": 1.0, "mode": 2.0}),
        ((T + 10**6) // 1000 * 1000, {"melt_temp": 3.0}),
        ((T + 2 * 10**6) // 1000 * 1000, {"voltage_l1": 4.0}),
    ]


@pytest.mark.parametrize("quality", [None, (0,) * 6])
def test_each_moment_is_a_frame_whatever_is_known_of_their_quality(quality):
    time = (T, T, T + 1_000_000, T, T + 2_000_000, T + 2_000_000)
    payload = DataEncoder("g", "e")(Batch(HEADER, [0, 1, 2, 3, 1, 0], time, [1.5, 2.5, 3.5, 4.5, 5.5, 6.5], quality), 1)
    assert [(frame["t"], frame["values"]) for frame in json.loads(payload)["frames"]] == [
        (1763789123123.456, {"voltage_l1": 1.5, "mode": 2.5}),
        (1763789123124.456, {"current_l2": 3.5}),
        (1763789123123.456, {"melt_temp": 4.5}),
        (1763789123125.456, {"mode": 5.5, "voltage_l1": 6.5}),
    ]


@given(
    st.one_of(
        st.floats(allow_nan=False, allow_infinity=False), st.booleans(), st.text(st.characters(exclude_categories=["Cs"])),
        st.integers(-(2**63), 2**64 - 1),
    )
)  # fmt: skip
def test_every_value_comes_back_as_it_was(value):
    header = Header(PATH, (Signal("s", "float"),))
    (frame,) = decode_data(DataEncoder("g", "e")(Batch(header, header.order, (T,), (value,), None), 1)).frames
    assert frame.values["s"] == value
    assert type(frame.values["s"]) is type(value)


@given(st.integers(315_532_800 * 10**9, 4 * 10**18))
def test_time_is_kept_to_the_microsecond(ns):
    assert nanoseconds(milliseconds(ns)) == ns // 1000 * 1000


GOOD = b'{"v":1,"gateway":"g","epoch":"e","seq":1,"frames":[{"t":1763789123123.0,"values":{"a":1}}]}'


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"v":1', '"v":2', "version 2 is not known"),
        ('"seq":1', '"seq":0', "'seq' is missing"),
        ('"seq":1', '"seq":true', "'seq' is missing"),
        ('"frames":[', '"frames":[7,', "a frame is not an object"),
        ("1763789123123.0", "-5", "not milliseconds since 1970"),
        ("1763789123123.0", "1e300", "not milliseconds since 1970"),
        ("1763789123123.0", "0.0", "not milliseconds since 1970"),
        ("1763789123123.0", "true", "not milliseconds since 1970"),
        ("1763789123123.0", "253402214400000.0", "not milliseconds since 1970"),
        ("1763789123123.0", '"now"', "not milliseconds since 1970"),
        ('{"a":1}', '{"a":[1]}', "neither number, text nor boolean"),
        ('{"a":1}', '{"a":1},"quality":{"a":"tired"}', "a quality is not known"),
        ('{"a":1}', '{"a":1},"quality":{"a":7}', "a quality is not known"),
        ('"gateway":"g",', "", "'gateway', 'epoch' or 'seq' is missing"),
        ("}", "", "not JSON"),
    ],
)
def test_broken_data_is_refused_with_the_reason(old, new, said):
    with pytest.raises(PayloadError, match=said):
        decode_data(GOOD.replace(old.encode(), new.encode()))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["v", "gateway", "epoch", "seq", "frames", "t", "values", "quality", "ranges", "signals", "path", "machine", "first", "from", "a"]), inner, max_size=8),
    max_leaves=20,
)  # fmt: skip


@given(st.one_of(st.binary(max_size=100), JSON.map(lambda v: json.dumps(v).encode())))
def test_whatever_somebody_publishes(payload):
    for decode in (decode_data, decode_meta, decode_stored, decode_loss):
        try:
            decode(payload)
        except PayloadError as exc:
            assert str(exc)


def test_the_other_messages():
    stored = Stored("edge-01", "8f2c9a4e", [(1, 5), (9, 9)])
    assert decode_stored(encode_stored(stored, T)) == stored
    loss = Loss("8f2c9a4e", 3, 8, 60, T // 1000 * 1000, T // 1000 * 1000 + 10**9, "buffer-full")
    assert decode_loss(encode_loss(loss, "edge-01", 12)) == ("edge-01", 12, loss)
    assert json.loads(encode_loss(loss, "edge-01", 12))["from"] == 1763789123123.456
    status = json.loads(encode_status("offline", T, "no answer"))
    assert status == {"v": 1, "state": "offline", "since": 1763789123123.456, "reason": "no answer"}


def test_meta_is_the_schema_of_data():
    signals = (
        Signal("melt_temp", "float", "Cel", "of the barrel", low=0, high=400, precision=1, semantic="nsu=urn:x;Melt"),
        Signal("share", "float", made_of=("good", "reject"), formula="reject / good"),
        Signal("mode", "string", states={0: "off", 3: "auto"}),
        Signal("cycles", "int", kind="counter"),
    )
    payload = encode_meta(PATH, signals, "edge-01", 7)
    assert json.loads(payload)["version"] == 7
    assert json.loads(payload)["signals"]["share"] == {
        "type": "float", "kind": "gauge", "formula": "reject / good", "inputs": ["good", "reject"],
    }  # fmt: skip
    assert json.loads(payload)["signals"]["melt_temp"] == {
        "type": "float", "kind": "gauge", "unit": "Cel", "description": "of the barrel", "range": [0, 400],
        "precision": 1, "semantic": "nsu=urn:x;Melt",
    }  # fmt: skip
    meta = decode_meta(payload)
    assert meta.path == PATH
    assert meta.states == {"mode": {"off": 0, "auto": 3}}


def test_meta_says_what_is_done_to_readings_and_how_they_follow_one_another():
    signals = [Signal("speed", "int"), Signal("mode", "string", states={0: "off", 3: "auto"})]
    said = {"speed": {"report": "change", "deadband": 2, "max_silence": 61.0}, "mode": {}}
    payload = encode_meta(PATH, signals, "edge-01", 7, "3f9c0d5be1a27c44", lambda s: said[s.name])
    meta = json.loads(payload)
    assert meta["rules"] == "3f9c0d5be1a27c44"
    assert meta["signals"]["speed"] == {
        "type": "int", "kind": "gauge", "report": "change", "deadband": 2, "max_silence": 61.0,
    }  # fmt: skip
    assert meta["signals"]["mode"] == {"type": "string", "kind": "gauge", "states": {"0": "off", "3": "auto"}}
    assert decode_meta(payload).states == {"mode": {"off": 0, "auto": 3}}
    assert "rules" not in json.loads(encode_meta(PATH, signals, "edge-01"))


def test_topics():
    topics = Topics("plant/v1")
    assert topics.data(PATH) == "plant/v1/acme/hanoi/moulding/L1/press-07/data"
    assert topics.meta(MachinePath("press-07", site="hanoi")) == "plant/v1/hanoi/press-07/meta"
    assert topics.stored("w", "edge-01") == "plant/v1/_store/w/edge-01"
    assert topics.every("data")[1] == "plant/v1/+/+/data"
    assert topics.levels_of("plant/v1/acme/press/data") == ("acme", "press")
    assert topics.levels_of("plant/v2/acme/press/data") is None
    assert topics.levels_of("plant/v1/data") is None
