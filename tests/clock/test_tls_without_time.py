"""TLS on a box that does not know the time: who answers is verified, when its certificate is valid is not, until it can be.

The certificate of this broker is not valid yet, which is what every certificate looks like in 1970. Real Mosquitto.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from gateway.clock import Clock, SystemClock
from gateway.mqtt.client import Endpoint, PahoLink
from gateway.mqtt.link import Message, Will
from gateway.schedule import Backoff
from parts.mosquitto import Mosquitto
from parts.ports import free_port
from parts.tls import Authority

TOO_EARLY = "the broker's certificate is not valid at this time (certificate is not yet valid)"


class Ear:
    """Remembers what a link says."""

    def __init__(self) -> None:
        self.connections = 0
        self.reasons: list[str] = []
        self.messages: list[Message] = []

    def on_connected(self) -> None:
        self.connections += 1

    def on_disconnected(self, reason: str) -> None:
        self.reasons.append(reason)

    def on_published(self, mid: int, reason_code: int) -> None:
        pass

    def on_message(self, message: Message) -> None:
        self.messages.append(message)

    async def hears(self, connections: int = 0, reasons: int = 0) -> None:
        async with asyncio.timeout(20):
            while self.connections < connections or len(self.reasons) < reasons:
                await asyncio.sleep(0.02)


class Box:
    """Its wall shows what a test says, to the gateway: the certificates are judged by OpenSSL, by the real time."""

    def __init__(self, wall: int) -> None:
        self.wall = wall
        self.clock = SystemClock(lambda: self.wall, synchronized=lambda: False)

    def learns_the_time(self) -> None:
        self.wall = 1_795_000_000 * 10**9


def lost() -> Box:
    return Box(20 * 10**9)


def informed() -> Box:
    box = lost()
    box.learns_the_time()
    return box


def signed_for_later(folder: Path, begins: timedelta, ends: timedelta) -> tuple[Path, Path, Path]:
    """CA, certificate for localhost and its key; the CA is valid, the certificate is from `begins` to `ends`."""
    folder.mkdir()
    now = datetime.now(UTC)
    ca_key, key = generate_private_key(SECP256R1()), generate_private_key(SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "CA of another time")])
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    ca = (
        x509.CertificateBuilder(ca_name, ca_name, ca_key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=400))
        .not_valid_after(now + timedelta(days=4000))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(ca_key, SHA256())
    )
    certificate = (
        x509.CertificateBuilder(ca_name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now + begins)
        .not_valid_after(now + ends)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(ca_key, SHA256())
    )
    files = folder / "ca.pem", folder / "broker.pem", folder / "broker.key"
    files[0].write_bytes(ca.public_bytes(Encoding.PEM))
    files[1].write_bytes(certificate.public_bytes(Encoding.PEM))
    files[2].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return files


class Broker(Mosquitto):
    """With a TLS port of its own certificate."""

    def __init__(self, ca: Path, certificate: Path, key: Path) -> None:
        self.own_port, self.own_ca = free_port(), ca
        super().__init__(conf=[f"listener {self.own_port} 127.0.0.1", f"certfile {certificate}", f"keyfile {key}"])


@pytest.fixture(scope="module")
def early(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """Its certificate is valid from tomorrow."""
    folder = tmp_path_factory.mktemp("early") / "tls"
    with Broker(*signed_for_later(folder, timedelta(days=1), timedelta(days=365))) as broker:
        yield broker


@pytest.fixture(scope="module")
def late(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """Its certificate was valid until yesterday."""
    folder = tmp_path_factory.mktemp("late") / "tls"
    with Broker(*signed_for_later(folder, timedelta(days=-300), timedelta(days=-1))) as broker:
        yield broker


class Linked:
    """A link while a test looks at it."""

    def __init__(
        self,
        broker: Broker,
        clock: Clock | None,
        host: str = "localhost",
        ca: Path | None = None,
        will: Will | None = None,
    ) -> None:
        endpoint = Endpoint(host, broker.own_port, f"box-{id(self)}", tls=True, ca=ca or broker.own_ca)
        self.link = PahoLink(endpoint, backoff=Backoff(0.05, 0.1), clock=clock, will=will)

    async def __aenter__(self) -> Ear:
        ear = Ear()
        await self.link.start(ear)
        return ear

    async def __aexit__(self, *_: object) -> None:
        await self.link.stop()


async def test_a_box_without_time_connects(early: Broker, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "gateway.mqtt.client"):
        async with Linked(early, lost().clock) as ear:
            await ear.hears(connections=1)
            assert ear.reasons == []
    (line,) = caplog.messages
    assert "the time is not known yet" in line
    assert "not whether it has expired" in line


async def test_a_box_that_knows_the_time_does_not(early: Broker) -> None:
    """The control of the above, and what it says."""
    async with Linked(early, informed().clock) as ear:
        await ear.hears(reasons=2)
        assert ear.connections == 0
        assert TOO_EARLY in ear.reasons[0]
        assert "check its dates, and the clock of this machine" in ear.reasons[0]


async def test_without_a_clock_the_time_always_counts(early: Broker) -> None:
    async with Linked(early, None) as ear:
        await ear.hears(reasons=1)
        assert ear.connections == 0
        assert TOO_EARLY in ear.reasons[0]


@pytest.mark.parametrize(("box", "connects"), [(lost, True), (informed, False)])
async def test_an_old_certificate(late: Broker, box: Callable[[], Box], connects: bool) -> None:
    async with Linked(late, box().clock) as ear:
        await ear.hears(connections=1) if connects else await ear.hears(reasons=1)
        assert bool(ear.connections) is connects
        assert all("certificate has expired" in reason for reason in ear.reasons)


async def test_a_foreign_authority_is_refused_in_any_time(early: Broker, tmp_path: Path) -> None:
    """Nothing but the dates is let pass; test_a_box_without_time_connects is the control."""
    foreign = Authority(tmp_path / "foreign").ca_path
    async with Linked(early, lost().clock, ca=foreign) as ear:
        await ear.hears(reasons=2)
        assert ear.connections == 0
        assert "the broker's certificate is not trusted" in ear.reasons[0]
        assert "mqtt.ca" in ear.reasons[0]


async def test_another_host_name_is_refused_in_any_time(early: Broker) -> None:
    """The same broker by its address, which is not in its certificate."""
    async with Linked(early, lost().clock, host="127.0.0.1") as ear:
        await ear.hears(reasons=2)
        assert ear.connections == 0
        assert "the broker's certificate is for another name" in ear.reasons[0]
        assert "mqtt.url" in ear.reasons[0]


async def test_when_the_time_is_known_the_certificate_is_verified(early: Broker) -> None:
    box = lost()
    async with Linked(early, box.clock) as ear:
        await ear.hears(connections=1)
        await asyncio.sleep(1.2)
        assert ear.reasons == []  # the control: nothing else ends it
        box.learns_the_time()
        await ear.hears(reasons=3)
        assert "the time is known now: connecting again" in ear.reasons[0]
        assert all(TOO_EARLY in reason for reason in ear.reasons[1:])
        assert ear.connections == 1


async def test_a_valid_certificate_costs_one_connection(tmp_path: Path) -> None:
    """It comes back at once, without its will: for those who watch it was never away."""
    files = signed_for_later(tmp_path / "tls", timedelta(days=-1), timedelta(days=1))
    with Broker(*files) as broker:
        watching, watched = Linked(broker, None), lost()
        box = Linked(broker, watched.clock, will=Will("will", b"gone"))
        async with watching as watcher:
            await watcher.hears(connections=1)
            watching.link.subscribe(["will"])
            async with box as ear:
                await ear.hears(connections=1)
                watched.learns_the_time()
                await ear.hears(connections=2)
                assert len(ear.reasons) == 1
                await asyncio.sleep(1.2)
                assert len(ear.reasons) == 1  # and this one lasts
                assert watcher.messages == []
                assert box.link._client is not None
                box.link._end("cut")  # the control: without a word the will is published
                await ear.hears(connections=3)
                await asyncio.sleep(0.5)
                assert [message.payload for message in watcher.messages] == [b"gone"]


async def test_a_connection_that_was_verified_goes_on(tmp_path: Path) -> None:
    """A box that knows its time from the start has nothing to make up for."""
    with Broker(*signed_for_later(tmp_path / "tls", timedelta(days=-1), timedelta(days=1))) as broker:
        async with Linked(broker, informed().clock) as ear:
            await ear.hears(connections=1)
            await asyncio.sleep(1.2)
            assert ear.reasons == []
