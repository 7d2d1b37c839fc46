"""What a recording hears of an OPC UA connection: all of the data path, and nothing of who asks."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from asyncua import ua
from asyncua.ua.ua_binary import nodeid_to_binary

from adapters.opcua import adapter as adapter_module
from adapters.opcua import build
from adapters.opcua.adapter import OpcuaAdapter
from adapters.opcua.client import _OVERHEARD
from gateway.errors import NotConnectedError
from gateway.recording import Head, Kind, Recorder, read
from opcua.helpers import Reader
from parts.cnc import PASSWORD, USER
from parts.node_opcua import NodeOpcua
from parts.ports import free_port
from parts.proxy import Proxy

# i= of the binary encodings of requests and answers: OPC UA NodeIds (Part 6, A.3).
READ, BROWSE, TRANSLATE, REGISTER, SUBSCRIBE, MONITOR, PUBLISH, HISTORY = 631, 527, 554, 560, 787, 751, 826, 664
ANSWERS = {
    READ: 634, BROWSE: 530, TRANSLATE: 557, REGISTER: 563, SUBSCRIBE: 790, MONITOR: 754, PUBLISH: 829, HISTORY: 667,
}  # fmt: skip
FAULT = 397
# Of sessions, channels and endpoints.
NEVER = {461, 467, 473, 446, 452, 428, 422}
SPEED = {"speed": "m:s=CNC1.SpindleSpeed"}


class Overheard:
    """A tap that keeps all it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, Any, int]] = []

    def opened(self) -> None:
        self.told.append(("opened", None, 0))

    def failed(self, why: str) -> None:
        self.told.append(("failed", why, 0))

    def closed(self, why: str = "") -> None:
        self.told.append(("closed", why, 0))

    def sent(self, data: bytes, ref: int = 0) -> None:
        self.told.append(("sent", data, ref))

    def received(self, data: bytes, ref: int = 0) -> None:
        self.told.append(("received", data, ref))

    @property
    def line(self) -> list[tuple[str, Any]]:
        return [(what, data) for what, data, _ in self.told if what not in ("sent", "received")]

    @property
    def services(self) -> dict[int, int]:
        """By ref."""
        return {ref: int.from_bytes(data[:4], "little") for what, data, ref in self.told if what == "sent"}

    @property
    def answers(self) -> dict[int, bytes]:
        """By ref; none twice."""
        found = [(ref, data) for what, data, ref in self.told if what == "received"]
        assert len(dict(found)) == len(found)
        return dict(found)


def tapped(reader: Reader, tap: Any) -> Reader:
    """The same, overheard."""
    reader.context = replace(reader.context, tap=tap)
    adapter = build(reader.context)
    assert isinstance(adapter, OpcuaAdapter)
    reader.adapter = adapter
    return reader


def type_of(body: bytes) -> int:
    """i= of a node id of namespace 0, of two or four bytes: Part 6, 5.2.2.9."""
    assert body[0] in (0, 1)
    return body[1] if body[0] == 0 else int.from_bytes(body[2:4], "little")


async def test_every_request_and_its_answer_in_pairs(cnc: NodeOpcua) -> None:
    tap = Overheard()
    signals: Mapping[str, Any] = {
        **SPEED,
        "door": {"path": "m:CNC1/m:DoorOpen"},
        "mode": {"node": "m:s=CNC1.Mode", "enum": "from-server"},
        "parts": {"node": "m:s=CNC1.PartCount", "mode": "poll", "poll": "100ms"},
    }
    async with tapped(Reader(cnc.url, signals), tap) as it:
        await it.until(lambda: len(it.got["parts"]) > 3)
    assert tap.line == [("opened", None), ("closed", "")]
    assert tap.told[0][0] == "opened"
    services = tap.services
    assert {READ, BROWSE, TRANSLATE, REGISTER, SUBSCRIBE, MONITOR, PUBLISH} <= set(services.values())
    assert not NEVER & set(services.values())
    for ref, body in tap.answers.items():
        assert type_of(body) == ANSWERS[services[ref]]
    unanswered = set(services) - set(tap.answers)
    assert {services[ref] for ref in unanswered} <= {PUBLISH}, "those that waited at the server at the end"
    # The value itself is in an answer to a Read: a Boolean, false, Good has no status of its own (Part 6, 5.2.2.17).
    assert any(b"\x01\x00" in body for ref, body in tap.answers.items() if services[ref] == READ)


async def test_to_connect_again_by_itself_is_no_outage(cnc: NodeOpcua, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node of an unknown type has appeared: the adapter ends the session and begins another one."""
    monkeypatch.setattr(adapter_module, "LOOK_AGAIN", 0.3)
    tap = Overheard()
    async with tapped(Reader(cnc.url, {"door": "m:s=CNC1.DoorOpen", "late": "m:s=Late"}), tap) as it:
        cnc.add("s=Late", "String", "here")
        assert "a missing node is there now" in await it.lost()
        await it.reconnect()
        await it.until(lambda: it.values("late")[-1:] == ["here"])
        cnc.remove("s=Late")
    assert tap.line == [("opened", None), ("closed", ""), ("opened", None), ("closed", "")]


async def test_answers_are_as_they_came(cnc: NodeOpcua) -> None:
    """Text of a variable in UTF-8, as it is on the wire: Part 6, 5.2.2.4."""
    tap = Overheard()
    async with tapped(Reader(cnc.url, {"program": "m:s=CNC1.Program"}), tap) as it:
        await it.read()
    text = 'O1234 "façade" №5'.encode()
    assert any(b"\x0c" + len(text).to_bytes(4, "little") + text in body for body in tap.answers.values())


@pytest.fixture
def protected() -> Any:
    with NodeOpcua(tick_ms=50, anonymous=False) as server:
        yield server


async def leaks(server: NodeOpcua, path: Path) -> set[str]:
    """Record a session that logs in, is lost and taken over: which of its secrets can be found in the file."""
    login: Mapping[str, Any] = {
        "security": "auto", "trust": "pinned", "allow": ["wrong-host"], "user": USER, "password": PASSWORD,
    }  # fmt: skip
    secrets: dict[str, list[bytes]] = {"user": [USER.encode()], "password": [PASSWORD.encode()]}
    with Recorder(path, Head(time.time_ns(), "opcua")) as recorder, Proxy(server.port) as proxy:
        it = tapped(Reader(server.url.replace(str(server.port), str(proxy.port)), SPEED, **login), recorder.tap())
        async with it:
            await it.until(lambda: len(it.got["speed"]) > 3)
            proxy.cut()
            await it.lost()
            await it.reconnect()
            await it.until(lambda: len(it.got["speed"]) > 6)
            client: Any = it.adapter._session._client  # type: ignore[union-attr]
            secrets["token"] = [nodeid_to_binary(client._session.authentication_token)[3:]]
            secrets["nonce"] = [client._client._server_nonce]
    keys = [file.read_bytes() for file in it.context.data_dir.rglob("*") if file.is_file()]
    secrets["key"] = [line for key in keys if b"PRIVATE KEY" in key for line in key.splitlines() if len(line) > 30]
    assert all(secret for each in secrets.values() for secret in each)
    assert secrets["key"], "there is a key that could leak"
    entries = list(read(path))
    assert sum(entry.kind is Kind.RECEIVED for entry in entries) > 5, "it is a recording"
    everything = path.read_bytes() + b"".join(entry.data for entry in entries)
    return {name for name, each in secrets.items() if any(secret in everything for secret in each)}


async def test_nobody_s_secrets_are_in_a_recording(
    protected: NodeOpcua, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await leaks(protected, tmp_path / "cnc.recording") == set()
    session = {ua.CreateSessionRequest, ua.ActivateSessionRequest}
    monkeypatch.setattr("adapters.opcua.client._OVERHEARD", _OVERHEARD | session)
    assert {"user", "token", "nonce"} <= await leaks(protected, tmp_path / "leaking"), "they would have been found"


async def test_a_line_that_fails_is_told_with_its_reason() -> None:
    tap = Overheard()
    it = tapped(Reader(f"opc.tcp://127.0.0.1:{free_port()}", SPEED), tap)
    for _ in range(2):
        with pytest.raises(NotConnectedError) as caught:
            await it.adapter.connect()
        assert tap.line[-1] == ("failed", str(caught.value))
    await it.adapter.close()
    assert len(tap.line) == 2, "what was never open is not closed"


async def test_a_line_that_is_lost_and_found(cnc: NodeOpcua) -> None:
    tap = Overheard()
    with Proxy(cnc.port) as proxy:
        it = tapped(Reader(cnc.url.replace(str(cnc.port), str(proxy.port)), SPEED), tap)
        async with it:
            await it.read()
            proxy.cut()
            why = await it.lost()
            proxy.refuse()
            with pytest.raises(NotConnectedError) as caught:
                await it.adapter.connect()
            proxy.resume()
            await it.reconnect()
            cnc.set("s=CNC1.SpindleSpeed", 17)
            await it.until(lambda: it.last("speed")[1] == 17)
    assert tap.line == [
        ("opened", None),
        ("closed", why),
        ("failed", str(caught.value)),
        ("opened", None),
        ("closed", ""),
    ]
    assert len(tap.services) == len([1 for what, _, _ in tap.told if what == "sent"]), "no number was used twice"


async def test_a_refusal_and_silence_are_told(cnc: NodeOpcua) -> None:
    """A ServiceFault with its status (Bad_ServiceUnsupported is 0x800B0000: Part 6, A.2); nothing for no answer."""
    tap = Overheard()
    signals = {**SPEED, "parts": {"node": "m:s=CNC1.PartCount", "mode": "poll", "poll": "100ms"}}
    async with tapped(Reader(cnc.url, signals, timeout="500ms"), tap) as it:
        await it.read()
        with cnc.misbehaving(refuse={"ReadRequest": "BadServiceUnsupported"}):
            await it.lost()
        fault = next(body for body in tap.answers.values() if body and type_of(body) == FAULT)
        assert (0x800B0000).to_bytes(4, "little") in fault
        await it.reconnect()
        with cnc.misbehaving(lose={"ReadRequest": 2}):
            await it.lost()
        assert b"" in tap.answers.values()


async def test_nothing_is_encoded_for_nobody(cnc: NodeOpcua, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a tap a request costs what it cost."""

    def never(*_: object) -> bytes:
        raise AssertionError("encoded")

    monkeypatch.setattr("adapters.opcua.client.struct_to_binary", never)
    async with Reader(cnc.url, SPEED) as it:
        await it.read()
        assert it.values("speed")
    tap = Overheard()
    with pytest.raises((AssertionError, NotConnectedError)):
        async with asyncio.timeout(10), tapped(Reader(cnc.url, SPEED), tap):
            pass
