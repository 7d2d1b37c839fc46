"""Line protocol against lines written by hand after InfluxDB's reference of it."""

from typing import Any

import pytest

from gateway.model import NO_COMMUNICATION, OUT_OF_RANGE, MachinePath
from gateway.mqtt.payload import Frame, Loss, Meta
from gateway.store.line_protocol import LineBuilder, Odd
from store.material import PRESS, data

HERE = "machine,enterprise=acme,site=hanoi,area=moulding,line=L1,machine=press-07"
T = 1465839830100400200


def lines(values: dict[str, Any], quality: dict[str, int] | None = None, odd: Odd | None = None) -> list[str]:
    message = data(Frame(T, values, quality or {}))
    return [line.text for line in LineBuilder().lines(PRESS, message, {} if odd is None else odd)]


@pytest.mark.parametrize(
    ("values", "fields"),
    [
        ({"temp": 82.0}, "temp=82.0"),
        ({"temp": -1.5e-7}, "temp=-1.5e-7"),
        ({"count": 82}, "count=82i"),
        ({"count": 9223372036854775807}, "count=9223372036854775807i"),
        ({"count": -9223372036854775808}, "count=-9223372036854775808i"),
        ({"count": 18446744073709551615}, 'count_big="18446744073709551615"'),
        ({"alarm": True, "ok": False}, "alarm=true,ok=false"),
        ({"mode": "auto"}, 'mode="auto"'),
        ({"mode": "too hot, a=b"}, 'mode="too hot, a=b"'),
        ({"mode": 'a "hot" C:\\x'}, r'mode="a \"hot\" C:\\x"'),
        ({"mode": "one\ntwo"}, r'mode="one\ntwo"'),
        ({"mode": ""}, 'mode=""'),
        ({"a.b-c_d": 1.0}, "a.b-c_d=1.0"),
        ({"field key": 1.0, "a,b": 2.0, "a=b": 3.0, "100%": 4.0}, r"field\ key=1.0,a\,b=2.0,a\=b=3.0,100%=4.0"),
        ({"time": 5.0}, "time_=5.0"),
        ({"temp": 5.0, "mode": "auto", "count": 1}, 'temp=5.0,count=1i,mode="auto"'),
        ({"big": 2**63, "temp": 1.0, "mode": "auto"}, 'temp=1.0,mode="auto",big_big="9223372036854775808"'),
        ({"temp": None, "count": 3}, "count=3i"),
    ],
)
def test_fields_are_typed_and_escaped(values: dict[str, Any], fields: str) -> None:
    assert lines(values) == [f"{HERE} {fields} {T}"]


@pytest.mark.parametrize(
    ("path", "tags"),
    [
        (MachinePath("m1"), "machine=m1"),
        (MachinePath("m1", site="s"), "site=s,machine=m1"),
        (MachinePath("m 1", "a,b", "c=d"), r"enterprise=a\,b,site=c\=d,machine=m\ 1"),
        (MachinePath("m1\\", "x\ny"), r"enterprise=x\ny,machine=m1"),
    ],
)
def test_tags_are_escaped_and_never_empty(path: MachinePath, tags: str) -> None:
    (line,) = LineBuilder().lines(path, data(Frame(T, {"v": 1}, {})), {})
    assert line.text == f"machine,{tags} v=1i {T}"


def test_the_measurement_is_configurable_and_escaped() -> None:
    (line,) = LineBuilder("shop floor,x=1").lines(MachinePath("m"), data(Frame(T, {"v": 1}, {})), {})
    assert line.text == rf"shop\ floor\,x=1,machine=m v=1i {T}"


def test_named_states_are_written_as_numbers_too() -> None:
    builder = LineBuilder()
    builder.describe(Meta(PRESS, {"mode": "string"}, {}, {"mode": {"auto": 3, "setup": 1}}))
    (line,) = builder.lines(PRESS, data(Frame(T, {"mode": "auto"}, {})), {})
    assert line.text == f'{HERE} mode="auto",mode_code=3i {T}'
    (line,) = builder.lines(PRESS, data(Frame(T, {"mode": "unheard of"}, {})), {})
    assert line.text == f'{HERE} mode="unheard of" {T}'


def test_quality_is_written_while_it_is_not_good_and_once_when_it_returns() -> None:
    odd: Odd = {}
    assert lines({"a": 1, "b": 2}, odd=odd) == [f"{HERE} a=1i,b=2i {T}"]  # not known, and good: nothing to say
    bad = {"b": NO_COMMUNICATION}
    assert lines({"a": 1}, bad, odd) == [f"{HERE} a=1i,b_quality=2150694912i {T}"]
    assert lines({}, bad, odd) == [f"{HERE} b_quality=2150694912i {T}"]
    assert lines({"a": 1}, {}, odd) == [f"{HERE} a=1i {T}"]  # b was not read
    assert lines({"a": 1, "b": 2}, {"a": OUT_OF_RANGE}, odd) == [
        f"{HERE} a=1i,b=2i,a_quality=1083441152i,b_quality=0i {T}"
    ]
    assert lines({"a": 1, "b": 2}, {}, odd) == [f"{HERE} a=1i,b=2i,a_quality=0i {T}"]
    assert lines({"a": 1, "b": 2}, {}, odd) == [f"{HERE} a=1i,b=2i {T}"]


def test_each_frame_is_a_line_and_none_overwrites_another() -> None:
    frames = [Frame(T, {"a": 1}, {}), Frame(T, {"a": 2}, {}), Frame(T, {"b": 3}, {}), Frame(T + 1000, {"a": 4}, {})]
    texts = [line.text for line in LineBuilder().lines(PRESS, data(*frames), {})]
    assert texts == [f"{HERE} a=1i {T}", f"{HERE} a=2i {T + 1}", f"{HERE} b=3i {T}", f"{HERE} a=4i {T + 1000}"]


def test_a_loss_is_a_line_with_its_cause() -> None:
    loss = Loss("e1", 5, 8, 40, T - 5, T, "refused by the store: too big", "press-07")
    assert LineBuilder().loss("edge-01", loss).text == (
        r"loss,gateway=edge-01,machine=press-07,cause=refused\ by\ the\ store "
        f'epoch="e1",first=5i,last=8i,count=40i,from={T - 5}i,to={T}i,detail="refused by the store: too big" {T}'
    )
