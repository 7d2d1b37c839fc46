"""The link against real brokers: Mosquitto, one that knows only MQTT 3.1.1, and ones that are broken."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from gateway.mqtt import client
from gateway.mqtt.client import Endpoint, PahoLink
from gateway.mqtt.link import Link, Message, Will
from gateway.mqtt.local import LocalBroker, matches
from gateway.schedule import Backoff
from parts.aedes import Aedes
from parts.mosquitto import Mosquitto
from parts.ports import free_port
from parts.proxy import Proxy


class Ear:
    """A listener that remembers, and can be waited for."""

    def __init__(self) -> None:
        self.connections = 0
        self.reasons: list[str] = []
        self.published: dict[int, int] = {}
        self.messages: list[Message] = []
        self._news = asyncio.Event()

    def on_connected(self) -> None:
        self.connections += 1
        self._news.set()

    def on_disconnected(self, reason: str) -> None:
        self.reasons.append(reason)
        self._news.set()

    def on_published(self, mid: int, reason_code: int) -> None:
        self.published[mid] = reason_code
        self._news.set()

    def on_message(self, message: Message) -> None:
        self.messages.append(message)
        self._news.set()

    async def until(self, condition: Callable[[], object], timeout: float = 20.0) -> None:
        async with asyncio.timeout(timeout):
            while not condition():
                self._news.clear()
                await self._news.wait()


@asynccontextmanager
async def linked(link: Link, connected: bool = True) -> AsyncIterator[Ear]:
    ear = Ear()
    await link.start(ear)
    try:
        if connected:
            await ear.until(lambda: ear.connections)
        yield ear
    finally:
        await link.stop()


async def subscribed(link: Link, ear: Ear, topic: str) -> None:
    """Subscribe, and wait until it holds: one connection is dealt with in order, so its own message tells."""
    link.subscribe([topic])
    link.publish(topic, b"ready")
    await ear.until(lambda: ear.messages)
    link.ack(ear.messages)
    ear.messages.clear()


def endpoint(port: int, client_id: str = "test", **more: object) -> Endpoint:
    return Endpoint("127.0.0.1", port, client_id, **more)  # type: ignore[arg-type]


def paho_link(port: int, client_id: str = "test", **more: object) -> PahoLink:
    return PahoLink(endpoint(port, client_id, **more), backoff=Backoff(first=0.1, cap=0.2))


@pytest.fixture(scope="module")
def broker():
    with Mosquitto() as each:
        yield each


@pytest.fixture(params=["mosquitto", "local"])
def make_link(request, broker) -> Callable[[str], Link]:
    """Every link of ours behaves the same."""
    if request.param == "local":
        local = LocalBroker()
        return lambda client_id: local.link()
    return lambda client_id: paho_link(broker.port, client_id)


async def test_publish_and_receive(make_link):
    async with linked(make_link("a")) as ear_a, linked(b := make_link("b")) as ear_b:
        b.subscribe(["plant/+/data"])
        b.publish("plant/x/data", "của".encode())
        await ear_b.until(lambda: ear_b.messages)
        assert [(m.topic, m.payload) for m in ear_b.messages] == [("plant/x/data", "của".encode())]
        assert not ear_a.messages


async def test_retained_messages_reach_who_comes_later(make_link):
    async with linked(a := make_link("a")) as ear_a:
        mid = a.publish("kept/one", b"1", retain=True)
        await ear_a.until(lambda: mid in ear_a.published)
    async with linked(b := make_link("b")) as ear_b:
        b.subscribe(["kept/#"])
        await ear_b.until(lambda: ear_b.messages)
        assert ear_b.messages[0].retained


async def test_the_broker_tells_that_nobody_subscribes(make_link):
    async with linked(a := make_link("a")) as ear:
        mid = a.publish("nobody/here", b"1")
        await ear.until(lambda: mid in ear.published)
        assert ear.published[mid] == 0x10


@pytest.mark.parametrize(
    ("wanted", "topic", "fits"),
    [
        ("a/+", "a/b", True),
        ("a/+", "a/b/c", False),
        ("a/#", "a/b/c", True),
        ("a/#", "a", True),
        ("+/b", "a/c", False),
        ("a", "a/b", False),
    ],
)
def test_topic_filters(wanted, topic, fits):
    assert matches(wanted, topic) is fits


async def test_wrong_password_is_explained_and_mended_without_a_restart():
    with Mosquitto(users={"edge": "right"}) as broker:
        link = paho_link(broker.port, user="edge", password="wrong")
        async with linked(link, connected=False) as ear:
            await ear.until(lambda: ear.reasons)
            assert "refuses user 'edge'" in ear.reasons[0]
            assert "mqtt.password" in ear.reasons[0]
            assert "wrong" not in ear.reasons[0]
            link._endpoint = replace(link._endpoint, password="right")
            await ear.until(lambda: ear.connections)


async def test_a_broker_that_is_not_there_yet():
    broker = Mosquitto()
    async with linked(paho_link(broker.port), connected=False) as ear:
        await ear.until(lambda: ear.reasons)
        assert "nothing listens there" in ear.reasons[0]
        with broker:
            await ear.until(lambda: ear.connections)


async def test_a_restarted_broker_is_found_again_and_nothing_is_sent_behind_our_back():
    with Mosquitto() as broker:
        async with linked(link := paho_link(broker.port)) as ear:
            link.publish("before", b"1", retain=True)
            broker.kill()
            await ear.until(lambda: ear.reasons)
            broker.start()
            await ear.until(lambda: ear.connections == 2)
            mid = link.publish("after", b"2", retain=True)
            await ear.until(lambda: mid in ear.published)


async def test_a_long_pause_ends_when_somebody_else_has_reached_the_broker():
    broker = Mosquitto()
    link = PahoLink(endpoint(broker.port), backoff=Backoff(first=600.0, cap=600.0))
    async with linked(link, connected=False) as ear:
        await ear.until(lambda: ear.reasons)
        with broker:
            link.try_now()
            await ear.until(lambda: ear.connections, timeout=5)


async def test_who_was_thrown_out_waits_all_the_same(broker):
    """Or two clients with one id would throw each other out as fast as they can."""
    link = PahoLink(endpoint(broker.port, "one"), backoff=Backoff(first=600.0, cap=600.0))
    async with linked(link) as ear, linked(paho_link(broker.port, "one")) as other:
        await ear.until(lambda: ear.reasons)
        link.try_now()
        await other.until(lambda: other.connections)
        with pytest.raises(TimeoutError):
            await ear.until(lambda: ear.connections > 1, timeout=0.5)


async def test_acl_refusal_is_seen():
    acl = "user edge\ntopic write allowed/#\n"
    with Mosquitto(users={"edge": "pw"}, acl=acl) as broker:
        async with linked(link := paho_link(broker.port, user="edge", password="pw")) as ear:
            mid = link.publish("forbidden/x", b"1")
            await ear.until(lambda: mid in ear.published)
            assert ear.published[mid] == 135


async def test_tls_is_verified():
    with Mosquitto(tls=True) as broker:
        trusted = PahoLink(Endpoint("localhost", broker.tls_port, "a", tls=True, ca=broker.ca_path))
        async with linked(trusted):
            pass
        async with linked(PahoLink(Endpoint("localhost", broker.tls_port, "b", tls=True)), connected=False) as ear:
            await ear.until(lambda: ear.reasons)
            assert "not trusted" in ear.reasons[0]
            assert "mqtt.ca" in ear.reasons[0]
        async with linked(PahoLink(Endpoint("localhost", broker.port, "c", tls=True)), connected=False) as ear:
            await ear.until(lambda: ear.reasons)
            assert "no TLS on this port" in ear.reasons[0]


async def test_a_large_message_over_tls_arrives_whole():
    payload = bytes(range(256)) * 8000
    with Mosquitto(tls=True) as broker:
        link = PahoLink(Endpoint("localhost", broker.tls_port, "a", tls=True, ca=broker.ca_path))
        async with linked(link) as ear:
            link.subscribe(["big"])
            for _ in range(3):
                link.publish("big", payload)
            await ear.until(lambda: len(ear.messages) == 3)
            assert {m.payload for m in ear.messages} == {payload}


async def test_a_name_that_is_not_known():
    async with linked(PahoLink(Endpoint("broker.invalid", 1883, "a")), connected=False) as ear:
        await ear.until(lambda: ear.reasons)
        assert "'broker.invalid' is not known" in ear.reasons[0]


async def test_a_broker_that_speaks_only_3_1_1():
    with Aedes() as broker:
        async with linked(link := paho_link(broker.port)) as ear:
            assert not link.proves_refusal
            link.subscribe(["x"])
            link.publish("x", b"1")
            await ear.until(lambda: ear.messages)


async def test_a_server_that_never_answers_is_tried_with_3_1_1(monkeypatch):
    monkeypatch.setattr(client, "CONNECT_TIMEOUT", 1.0)
    heard: list[bytes] = []

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read(100))
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    async with server, linked(paho_link(server.sockets[0].getsockname()[1]), connected=False) as ear:
        await ear.until(lambda: len(ear.reasons) >= 2)
        assert "does not answer" in ear.reasons[0]
        assert [first[8] for first in heard[:2]] == [5, 4]  # protocol level in the CONNECT


async def test_one_early_close_is_no_reason_to_give_mqtt_5_up(broker):
    """A broker that is going down, or a proxy that restarts: by 3.1.1 a refused message could not be told any more."""
    with Proxy(broker.port) as proxy:
        proxy.freeze()  # the first CONNECT is taken and then cut off
        async with linked(link := paho_link(proxy.port, "early"), connected=False) as ear:
            while not proxy.accepted:
                await asyncio.sleep(0.01)
            proxy.cut()
            proxy.resume()
            await ear.until(lambda: ear.connections)
            assert link.proves_refusal


async def test_a_port_of_something_else_does_not_stop_the_link():
    async def http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(http, "127.0.0.1", 0)
    async with server, linked(paho_link(server.sockets[0].getsockname()[1]), connected=False) as ear:
        await ear.until(lambda: len(ear.reasons) >= 3)
        assert not ear.connections


async def test_a_half_open_connection_is_given_up(broker, monkeypatch):
    monkeypatch.setattr(client, "SILENCE", 1.0)
    with Proxy(broker.port) as proxy:
        async with linked(link := paho_link(proxy.port)) as ear:
            proxy.freeze()
            link.publish("into/the/void", b"1")
            await ear.until(lambda: ear.reasons)
            assert "not acknowledged" in ear.reasons[0]
            proxy.resume()
            await ear.until(lambda: ear.connections == 2)


async def test_two_clients_with_one_id_are_told_apart(broker):
    async with linked(paho_link(broker.port, "twin")) as ear, linked(paho_link(broker.port, "twin"), connected=False):
        await ear.until(lambda: any("client id 'twin'" in reason for reason in ear.reasons))


async def test_the_will_is_published_without_a_good_bye_and_not_after_one(broker):
    will = Will("wills/gone", b"gone")
    async with linked(watcher := paho_link(broker.port, "watcher")) as ear:
        await subscribed(watcher, ear, will.topic)
        async with linked(PahoLink(endpoint(broker.port, "polite"), will=will)):
            pass
        with Proxy(broker.port) as proxy:
            async with linked(PahoLink(endpoint(proxy.port, "cut"), will=will)):
                proxy.cut()
                await ear.until(lambda: ear.messages)
        assert len(ear.messages) == 1


async def test_a_persistent_session_brings_what_was_not_acknowledged_again(broker):
    def store() -> PahoLink:
        return paho_link(broker.port, "store", persistent=True)

    async with linked(link := store()) as ear, linked(sender := paho_link(broker.port, "sender")):
        await subscribed(link, ear, "s/data")
        for i in range(10):
            sender.publish("s/data", b"%d" % i)
        await ear.until(lambda: len(ear.messages) == 10)
        link.ack(ear.messages[:4])
        mark = link.publish("s/mark", b"")
        await ear.until(lambda: mark in ear.published)  # the acknowledgements have left before it
    async with linked(store()) as again:
        await again.until(lambda: len(again.messages) == 6)
        assert [m.payload for m in again.messages] == [b"%d" % i for i in range(4, 10)]


def test_a_ca_file_that_is_none(tmp_path):
    (tmp_path / "ca.pem").write_text("hello")
    from gateway.errors import BrokerError

    with pytest.raises(BrokerError, match=r"certificate files cannot be used .*ca\.pem"):
        endpoint(1, tls=True, ca=tmp_path / "ca.pem").ssl_context()


async def test_no_socket_is_left_when_nothing_answers():
    link = paho_link(free_port())
    async with linked(link, connected=False) as ear:
        await ear.until(lambda: len(ear.reasons) >= 2)
    assert link._client is None
    assert socket.getdefaulttimeout() is None
