"""Each part starts, answers, and is gone afterwards."""

import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TypeVar
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import paho.mqtt.client as mqtt
import psutil
import pytest
from asyncua import Client, ua
from paho.mqtt.enums import CallbackAPIVersion
from pymodbus import FramerType
from pymodbus.client import AsyncModbusTcpClient, AsyncModbusTlsClient
from serial import Serial

from parts.aedes import Aedes
from parts.influxdb1 import InfluxDB1
from parts.jsmodbus import Jsmodbus
from parts.libmodbus import Libmodbus
from parts.mbpoll import mbpoll, mbpoll_serial
from parts.modbus_serial import ModbusSerial
from parts.mosquitto import Mosquitto
from parts.node_opcua import NAMESPACE, PASSWORD, USER, NodeOpcua
from parts.ports import free_port
from parts.process import Part, wait_until
from parts.proxy import Proxy
from parts.serial_pair import SerialPair
from parts.victoria_metrics import VictoriaMetrics

P = TypeVar("P", bound=Part)


@contextmanager
def running(part: P) -> Iterator[P]:
    """The part while it runs; afterwards neither its process nor its folder is there."""
    with part:
        pid = part.pid
        assert psutil.pid_exists(pid)
        yield part
    assert not psutil.pid_exists(pid)
    assert not part.folder.exists()


def post(url: str, body: str, token: str = "") -> int:
    headers = {"Authorization": f"Token {token}"} if token else {}
    try:
        with urlopen(Request(url, data=body.encode(), headers=headers)) as answer:
            return int(answer.status)
    except HTTPError as error:
        return error.code


# ---- MQTT


class MqttClient:
    """A client that notes what arrives and with which reason it was connected."""

    def __init__(self, protocol: int = mqtt.MQTTv5) -> None:
        self.got: list[tuple[str, bytes]] = []
        self.reason = ""
        self.paho = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=protocol)
        self.paho.on_message = lambda _client, _data, message: self.got.append((message.topic, message.payload))
        self.paho.on_connect = self._on_connect

    @contextmanager
    def connected(self, port: int) -> Iterator["MqttClient"]:
        self.reason = ""
        self.paho.connect("localhost", port)
        self.paho.loop_start()
        wait_until(lambda: self.reason, what="a CONNACK")
        yield self
        self.paho.disconnect()
        self.paho.loop_stop()

    def publish(self, topic: str, payload: str, retain: bool = False) -> None:
        self.paho.publish(topic, payload, qos=1, retain=retain).wait_for_publish(5)

    def _on_connect(self, _client: object, _data: object, _flags: object, reason: object, _more: object) -> None:
        self.reason = str(reason)


def test_mosquitto_delivers() -> None:
    with running(Mosquitto()) as broker, MqttClient().connected(broker.port) as client:
        client.paho.subscribe("plant/#", qos=1)
        client.publish("plant/a", "1")
        wait_until(lambda: client.got == [("plant/a", b"1")])


def test_mosquitto_knows_its_users_and_what_they_may() -> None:
    acl = "user gateway\ntopic readwrite plant/#\n"
    with running(Mosquitto(users={"gateway": "secret"}, acl=acl)) as broker:
        with MqttClient().connected(broker.port) as stranger:
            assert stranger.reason == "Not authorized"
        client = MqttClient()
        client.paho.username_pw_set("gateway", "secret")
        with client.connected(broker.port):
            assert client.reason == "Success"
            client.paho.subscribe("#")
            client.publish("office/a", "1")
            client.publish("plant/a", "1")
            wait_until(lambda: client.got)
            assert client.got == [("plant/a", b"1")]


def test_mosquitto_speaks_tls() -> None:
    with running(Mosquitto(tls=True)) as broker:
        client = MqttClient()
        client.paho.tls_set_context(ssl.create_default_context(cafile=broker.ca_path))
        with client.connected(broker.tls_port):
            assert client.reason == "Success"
        broker.restart()
        with client.connected(broker.tls_port):
            assert client.reason == "Success"
        with pytest.raises(ssl.SSLCertVerificationError):
            ssl.create_default_context().wrap_socket(
                socket.create_connection(("localhost", broker.tls_port)), server_hostname="localhost"
            )


@pytest.mark.parametrize(("end", "kept"), [(Mosquitto.stop, True), (Mosquitto.kill, False)])
def test_mosquitto_keeps_what_it_has_when_stopped_but_not_when_killed(
    end: Callable[[Mosquitto], None], kept: bool
) -> None:
    with running(Mosquitto(persistence=True)) as broker:
        with MqttClient().connected(broker.port) as client:
            client.publish("plant/a", "1", retain=True)
        end(broker)
        assert not broker.running
        broker.start()
        with MqttClient().connected(broker.port) as client:
            client.paho.subscribe("plant/#", qos=1)
            client.publish("plant/b", "2")
            wait_until(lambda: ("plant/b", b"2") in client.got)
            assert (("plant/a", b"1") in client.got) == kept


def test_aedes_speaks_3_1_1_only() -> None:
    with running(Aedes()) as broker:
        with MqttClient(mqtt.MQTTv311).connected(broker.port) as client:
            client.paho.subscribe("plant/#", qos=1)
            client.publish("plant/a", "1")
            wait_until(lambda: client.got == [("plant/a", b"1")])
        with MqttClient(mqtt.MQTTv5).connected(broker.port) as client:
            assert client.reason == "Unsupported protocol version"


# ---- stores


def test_victoria_metrics_stores() -> None:
    with running(VictoriaMetrics(token="gw-token")) as store:
        now = time.time_ns() // 1_000_000
        ahead = now + 3_600_000
        lines = f"press,site=hanoi temp=21.5 {now}\npress,site=hanoi temp=22.5 {ahead}\n"
        write = "/api/v2/write?org=o&bucket=b&precision=ms"
        assert post(store.auth_url + write, lines) == 401
        for _ in range(2):
            assert post(store.auth_url + write, lines, "gw-token") == 204
        wait_until(lambda: store.export("press_temp"), 15)
        labels, points = store.export("press_temp")[0]
        assert labels["site"] == "hanoi"
        assert points == [(now, 21.5), (ahead, 22.5)]
        store.stop()
        assert post(store.auth_url + write, lines, "gw-token") >= 500
        store.start()
        assert store.export("press_temp")[0][1] == points
        assert store.guard
        guard = store.guard.pid
    assert not psutil.pid_exists(guard)


def test_influxdb1_stores() -> None:
    with running(InfluxDB1()) as store:
        store.query("CREATE DATABASE shop")
        assert post(f"{store.url}/write?db=shop", 'press,line=L1 temp=21.5,mode="auto" 1700000000123456789') == 204
        assert post(f"{store.url}/write?db=shop", "press,line=L1 temp=oops 1") == 400
        rows = [{"time": 1700000000123456789, "line": "L1", "temp": 21.5, "mode": "auto"}]
        assert store.query("SELECT * FROM press", "shop") == rows
        store.restart()
        assert store.query("SELECT * FROM press", "shop") == rows
        assert store.query("SELECT max(temp) FROM press GROUP BY line", "shop")[0]["line"] == "L1"
        with pytest.raises(RuntimeError, match="database not found"):
            store.query("SELECT * FROM press", "nowhere")


def test_influxdb1_asks_for_a_password() -> None:
    with running(InfluxDB1(user="gateway", password="secret")) as store:
        store.query("CREATE DATABASE shop")
        assert post(f"{store.url}/write?db=shop", "press temp=1") == 401
        assert post(f"{store.url}/write?db=shop&u=gateway&p=secret", "press temp=1") == 204


# ---- Modbus


def test_libmodbus_serves_its_image() -> None:
    image = {
        (1, "holding", 10): [1, 65535, 3],
        (1, "input", 0): [7],
        (1, "coil", 3): [1, 0, 1],
        (17, "discrete", 0): [0, 1],
    }
    with running(Libmodbus(image)) as server:
        assert mbpoll(server.port, "holding", 10, 3) == {10: 1, 11: 65535, 12: 3}
        assert mbpoll(server.port, "input", 0) == {0: 7}
        assert mbpoll(server.port, "coil", 3, 3) == {3: 1, 4: 0, 5: 1}
        assert mbpoll(server.port, "discrete", 0, 2, unit=17) == {0: 0, 1: 1}
        with pytest.raises(RuntimeError, match="Illegal data address"):
            mbpoll(server.port, "holding", 10, 4)
        with pytest.raises(RuntimeError, match="Target device failed to respond"):
            mbpoll(server.port, "holding", 10, unit=2)
        server.set(1, "holding", 11, 500)
        server.remove(1, "holding", 10)
        assert mbpoll(server.port, "holding", 11, 2) == {11: 500, 12: 3}
        with pytest.raises(RuntimeError, match="Illegal data address"):
            mbpoll(server.port, "holding", 10)


async def test_libmodbus_serves_many_clients_and_takes_writes() -> None:
    with running(Libmodbus({(1, "holding", 0): [1, 2], (1, "coil", 0): [0]})) as server:
        clients = [AsyncModbusTcpClient("127.0.0.1", port=server.port) for _ in range(5)]
        for client in clients:
            assert await client.connect()
        await clients[0].write_registers(0, [11, 12], device_id=1)
        await clients[1].write_coil(0, True, device_id=1)
        assert (await clients[2].write_register(2, 1, device_id=1)).exception_code == 2
        assert (await clients[3].read_holding_registers(0, count=2, device_id=1)).registers == [11, 12]
        assert (await clients[4].read_coils(0, count=1, device_id=1)).bits[0]
        for client in clients:
            client.close()


async def test_jsmodbus_replies_too_short_past_the_end() -> None:
    with running(Jsmodbus({"holding": [1, 2, 3], "input": [4], "coil": [1, 0, 1]})) as server:
        assert mbpoll(server.port, "holding", 0, 3) == {0: 1, 1: 2, 2: 3}
        assert mbpoll(server.port, "input", 0) == {0: 4}
        assert mbpoll(server.port, "coil", 0, 3, unit=9) == {0: 1, 1: 0, 2: 1}
        server.set("holding", 2, 33)
        client = AsyncModbusTcpClient("127.0.0.1", port=server.port)
        assert await client.connect()
        assert (await client.read_holding_registers(2, count=2)).registers == [33]
        client.close()


async def test_libmodbus_is_a_serial_line_with_several_units() -> None:
    image = {(1, "holding", 10): [1, 65535, 3], (17, "discrete", 0): [0, 1]}
    with running(Libmodbus(image, rtu=True)) as server:
        with running(SerialPair(tcp=server.port)) as line:
            assert mbpoll_serial(line.a, "holding", 10, 3) == {10: 1, 11: 65535, 12: 3}
            assert mbpoll_serial(line.a, "discrete", 0, 2, unit=17) == {0: 0, 1: 1}
            with pytest.raises(RuntimeError, match="Illegal data address"):
                mbpoll_serial(line.a, "holding", 10, 4)
            with pytest.raises(RuntimeError, match="timed out"):
                mbpoll_serial(line.a, "holding", 10, unit=2)
            server.set(1, "holding", 11, 500)
            assert mbpoll_serial(line.a, "holding", 10, 2) == {10: 1, 11: 500}
        with socket.create_connection(("127.0.0.1", server.port), timeout=0.3) as stranger:
            stranger.sendall(b"\x01\x03\x00\x0a\x00\x01\xff\xff")  # with a wrong checksum
            with pytest.raises(TimeoutError):
                stranger.recv(100)
        client = AsyncModbusTcpClient("127.0.0.1", port=server.port, framer=FramerType.RTU)
        assert await client.connect()
        assert (await client.read_holding_registers(12, count=1, device_id=1)).registers == [3]
        client.close()


def test_modbus_serial_on_tcp_and_on_a_serial_line() -> None:
    image = {(7, "holding", 10): [1, 65535], (7, "coil", 3): [1, 0, 1], (7, "input", 0): [4], (7, "discrete", 1): [1]}
    with running(ModbusSerial(image)) as server:
        assert mbpoll(server.port, "holding", 10, 2, unit=7) == {10: 1, 11: 65535}
        assert mbpoll(server.port, "coil", 3, 3, unit=7) == {3: 1, 4: 0, 5: 1}
        server.set(7, "holding", 12, 5)
        assert mbpoll(server.port, "holding", 10, 3, unit=7) == {10: 1, 11: 65535, 12: 5}
        with pytest.raises(RuntimeError, match="Illegal data address"):
            mbpoll(server.port, "holding", 10, 4, unit=7)
        with pytest.raises(RuntimeError, match="Target device failed to respond"):
            mbpoll(server.port, "holding", 10, unit=8)
    with running(SerialPair()) as line, running(ModbusSerial(image, line.b)):
        assert mbpoll_serial(line.a, "holding", 10, 2, unit=7) == {10: 1, 11: 65535}
        assert mbpoll_serial(line.a, "input", 0, unit=7) == {0: 4}
        assert mbpoll_serial(line.a, "discrete", 1, unit=7) == {1: 1}
        with pytest.raises(RuntimeError, match="timed out"):
            mbpoll_serial(line.a, "holding", 10, unit=8)


async def test_jsmodbus_with_tls_asks_for_a_certificate() -> None:
    with running(Jsmodbus({"holding": [1, 2, 3]}, tls=True)) as server:
        assert server.authority
        known = ssl.create_default_context(cafile=server.authority.ca_path)
        known.load_cert_chain(*server.authority.issue("client"))
        client = AsyncModbusTlsClient("localhost", port=server.port, sslctx=known)
        assert await client.connect()
        assert (await client.read_holding_registers(1, count=2)).registers == [2, 3]
        client.close()
        unknown = ssl.create_default_context(cafile=server.authority.ca_path)
        unknown.maximum_version = ssl.TLSVersion.TLSv1_2  # where the refusal is part of the handshake
        with socket.create_connection(("localhost", server.port)) as plain, pytest.raises((ssl.SSLError, OSError)):
            unknown.wrap_socket(plain, server_hostname="localhost")


def test_a_serial_pair_joins_two_ports() -> None:
    with running(SerialPair()) as line:
        for text in (b"there", b"again"):
            with Serial(line.a, 19200, timeout=5) as a, Serial(line.b, 19200, timeout=5) as b:
                a.write(text)
                assert b.read(5) == text
                b.write(text[::-1])
                assert a.read(5) == text[::-1]


# ---- OPC UA


async def test_node_opcua_is_a_machine() -> None:
    with running(NodeOpcua()) as server:
        async with Client(server.url) as client:
            index = await client.get_namespace_index(NAMESPACE)

            async def read(name: str) -> ua.DataValue:
                node = client.get_node(f"ns={index};s=CNC1.{name}")
                return await node.read_data_value(raise_on_bad_status=False)

            constant = {
                "Program": 'O1234 "façade" №5',
                "DoorOpen": False,
                "Mode": 3,
                "Int64Min": -(2**63),
                "Int64Max": 2**63 - 1,
                "UInt64Max": 2**64 - 1,
                "CoolantTemperature": 21.5,
                "LastService": datetime(2024, 2, 29, 6, 30, 0, 250_000, UTC),
                "AxisPositions": [1.5, -2.25, 300.0],
            }
            for name, value in constant.items():
                got = (await read(name)).Value.Value
                assert (got.replace(tzinfo=UTC) if isinstance(got, datetime) else got) == value, name
            assert (await read("Broken")).StatusCode.name == "BadSensorFailure"
            assert (await read("Doubtful")).StatusCode.name == "UncertainLastUsableValue"
            made = (await read("SerialNumber")).SourceTimestamp
            assert made.replace(tzinfo=UTC) == datetime(2004, 5, 6, 7, 8, 9, 125_000, UTC)
            unit = await client.get_node(f"ns={index};s=CNC1.SpindleSpeed").get_child("0:EngineeringUnits")
            assert (await unit.read_value()).DisplayName.Text == "r/min"
            assert server.sessions() == 1

            before = (await read("SpindleSpeed")).Value.Value
            server.tick()
            assert (await read("SpindleSpeed")).Value.Value in (before + 0.25, before + 0.5)

            server.set(
                "s=CNC1.UInt64Max", 2**63 + 1, status="UncertainInitialValue", time=datetime(2020, 1, 1, tzinfo=UTC)
            )
            changed = await read("UInt64Max")
            assert (changed.Value.Value, changed.StatusCode.name) == (2**63 + 1, "UncertainInitialValue")
            assert changed.SourceTimestamp.replace(tzinfo=UTC) == datetime(2020, 1, 1, tzinfo=UTC)
            server.set("s=CNC1.SerialNumber", status="BadNoCommunication")
            assert (await read("SerialNumber")).StatusCode.name == "BadNoCommunication"
            server.set("s=CNC1.CoolantTemperature", float("nan"))
            assert str((await read("CoolantTemperature")).Value.Value) == "nan"
            with pytest.raises(RuntimeError, match="no variable"):
                server.set("s=CNC1.Nothing", 1)

            server.add('s="DB1"."Temp[0]"', "Float", 1.5)
            added = client.get_node(ua.NodeId('"DB1"."Temp[0]"', index))
            assert await added.read_value() == 1.5
            server.remove('s="DB1"."Temp[0]"')
            with pytest.raises(ua.uaerrors.BadNodeIdUnknown):
                await added.read_value()
        wait_until(lambda: server.sessions() == 0)


async def test_node_opcua_asks_for_a_password_and_moves_its_namespace() -> None:
    with running(NodeOpcua(anonymous=False, tick_ms=0)) as server:
        with pytest.raises(ua.UaError):
            await Client(server.url).connect()
        indexes = []
        for speed in (0, -1):
            client = Client(server.url)
            client.set_user(USER)
            client.set_password(PASSWORD)
            async with client:
                indexes.append(await client.get_namespace_index(NAMESPACE))
                assert await client.get_node(f"ns={indexes[0]};s=CNC1.SpindleSpeed").read_value() == speed
            if not server.namespaces:
                server.namespaces = ["urn:shop:robot"]
                server.restart()
        assert indexes[1] == indexes[0] + 1


async def test_node_opcua_drops_subscriptions_and_sessions() -> None:
    class Notes:
        def datachange_notification(self, node: object, value: object, data: object) -> None:
            pass

    with running(NodeOpcua()) as server:
        client = Client(server.url)
        await client.connect()
        index = await client.get_namespace_index(NAMESPACE)
        node = client.get_node(f"ns={index};s=CNC1.PartCount")
        subscription = await client.create_subscription(100, Notes())
        await subscription.subscribe_data_change(node)
        assert server.subscriptions() == 1
        server.delete_subscriptions()
        assert (server.sessions(), server.subscriptions()) == (1, 0)
        assert await node.read_value() >= 0
        server.kill_sessions()
        assert server.sessions() == 0
        with pytest.raises((ua.UaError, ConnectionError)):
            await node.read_value()
        await client.disconnect()


# ---- the line between


def test_proxy_breaks_the_line() -> None:
    with Libmodbus({(1, "holding", 0): [5]}) as server, Proxy(server.port) as proxy:
        question = bytes.fromhex("0001 0000 0006 01 03 0000 0001")

        def asks(client: socket.socket) -> bytes:
            client.sendall(question)
            return client.recv(100)

        def knock() -> socket.socket:
            client = socket.create_connection(("127.0.0.1", proxy.port))
            client.settimeout(0.3)
            return client

        with knock() as client:
            assert asks(client)[-1] == 5
            proxy.freeze()
            with pytest.raises(TimeoutError):
                asks(client)
            proxy.resume()
            assert client.recv(100)[-1] == 5
            proxy.refuse()
            assert asks(client)[-1] == 5
            with pytest.raises(ConnectionRefusedError):
                knock()
            assert (proxy.accepted, proxy.open) == (1, 1)
            proxy.cut()
            assert client.recv(100) == b""
            assert proxy.open == 0
            proxy.resume()
        with knock() as client:
            assert asks(client)[-1] == 5


def test_proxy_spoils_what_passes() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, Proxy(listener.getsockname()[1]) as proxy:

        def line() -> tuple[socket.socket, socket.socket]:
            client = socket.create_connection(("127.0.0.1", proxy.port), timeout=5)
            return client, listener.accept()[0]

        client, server = line()
        with client, server:
            proxy.spoil(lambda data: data[:3] + b"?")
            server.sendall(b"an answer")
            assert client.recv(100) == b"an ?"
            client.sendall(b"a question")
            assert server.recv(100) == b"a question"
            proxy.trickle = 4
            server.sendall(b"0123456789")
            assert [client.recv(100) for _ in range(3)] == [b"0123", b"4567", b"89"]
            proxy.trickle, proxy.delay = 0, 0.2
            start = time.monotonic()
            server.sendall(b"late")
            assert client.recv(100) == b"late"
            assert 0.2 <= time.monotonic() - start < 2
            proxy.delay = 0
            proxy.spoil(lambda data: data[:2], cut=True)
            server.sendall(b"cut off")
            assert (client.recv(100), client.recv(100)) == (b"cu", b"")
        client, server = line()
        with client, server:
            client.sendall(b"there")
            assert server.recv(100) == b"there"
            proxy.reset()
            with pytest.raises(ConnectionResetError):
                client.recv(100)


def test_ports_are_free_and_given_once() -> None:
    ports = [free_port() for _ in range(100)]
    assert len(set(ports)) == 100
    for port in ports:
        socket.create_server(("127.0.0.1", port)).close()


def test_a_part_that_cannot_start_says_why() -> None:
    with pytest.raises(RuntimeError, match="ended while starting") as caught:
        Mosquitto(conf=["no_such_setting 1"]).start()
    assert "Unknown configuration variable" in "".join(caught.value.__notes__)
