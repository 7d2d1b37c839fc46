"""A link to a broker over paho: the only file that knows paho.

    start ─▶ connect (in a thread: DNS, TCP and TLS block) ─▶ CONNACK ─▶ on_connected
      ▲                                                                     │ socket callbacks on the event loop
      └── growing pause ◀── on_disconnected ◀── broken, refused, silent ◀───┘

Every attempt gets a new paho client, so that nothing paho has queued is ever sent again behind our back, and a dead
network thread or half-open socket ends with its client. MQTT 5 comes first; a broker that does not answer it is tried
with 3.1.1 next.
"""

from __future__ import annotations

import asyncio
import logging
import select
import socket
import ssl
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from gateway.clock import Clock
from gateway.errors import BrokerError, NotConnectedError
from gateway.faults import Reason, fault_of
from gateway.mqtt.link import Listener, Message, Will
from gateway.schedule import Backoff

log = logging.getLogger(__name__)

CONNECT_TIMEOUT = 10.0  # seconds for TCP, TLS and CONNACK each; some 3.1.1 brokers never answer an MQTT 5 CONNECT
SILENCE = 15.0  # seconds a PUBACK may take: then the connection is dead, whatever the socket says
LASTING = 5.0  # seconds after which a connection counts as a success
SESSION_EXPIRY = 14 * 86400  # seconds the broker keeps messages for a store that is away
INBOUND_WINDOW = 200  # messages a broker may send us before we acknowledge one
_NO_CHECK_TIME = 0x200000  # X509_V_FLAG_NO_CHECK_TIME of OpenSSL, which the ssl module has no name for


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where the broker is, and who we are there."""

    host: str
    port: int
    client_id: str
    tls: bool = False
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    user: str | None = None
    password: str | None = None
    keepalive: float = 30.0
    persistent: bool = False  # the broker keeps subscriptions and messages while we are away

    def __str__(self) -> str:
        return f"{'mqtts' if self.tls else 'mqtt'}://{self.host}:{self.port}"

    def ssl_context(self, check_time: bool = True) -> ssl.SSLContext:
        """TLS 1.2 or newer, certificate and host name verified. Raises BrokerError for files that cannot be used.

        Without `check_time` it does not matter when the certificates are valid; all the rest does.
        """
        try:
            context = ssl.create_default_context(cafile=str(self.ca) if self.ca else None)
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            if self.cert and self.key:
                context.load_cert_chain(self.cert, self.key)
            if not check_time:
                context.verify_flags |= ssl.VerifyFlags(_NO_CHECK_TIME)
        except (OSError, ssl.SSLError) as exc:
            files = ", ".join(str(f) for f in (self.ca, self.cert, self.key) if f)
            text = f"{self}: the certificate files cannot be used ({files}): {exc}"
            raise BrokerError(text, fault="broker-certificate-files") from exc
        return context


class PahoLink:
    """One session with a broker; see gateway/mqtt/link.py for the contract."""

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        will: Will | None = None,
        backoff: Backoff | None = None,
        clock: Clock | None = None,
    ) -> None:
        """`clock`: while it is not trusted, a certificate may be of any time. Without one the time always counts."""
        self._endpoint, self._will, self._clock = endpoint, will, clock
        self._backoff = backoff or Backoff(first=0.5, cap=30.0)
        self._protocol = paho.MQTTv5
        self._unanswered = 0  # CONNECTs in a row that the other side ended without a word
        self._client: paho.Client | None = None
        self._generation = 0
        self._thrown_out = 0  # connections in a row that the broker ended at once
        self._check_time = True  # of the certificates of this connection
        self._ended_by_us = False
        self._owed: dict[int, float] = {}  # published, not yet acknowledged; since when
        self._hurry = asyncio.Event()  # no need to wait any longer
        self._since = 0.0  # when this connection stood; 0: not yet
        self._ended: asyncio.Future[str] | None = None  # resolved with the reason when a connection ends
        self._task: asyncio.Task[None] | None = None
        self._listener: Listener | None = None
        self.connected = False
        self.receive_maximum = 65535

    @property
    def proves_refusal(self) -> bool:
        return self._protocol == paho.MQTTv5

    # --- life ------------------------------------------------------------------------------------------------------

    async def start(self, listener: Listener) -> None:
        self._listener = listener
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.create_task(self._keep_connected(), name=f"mqtt[{self._endpoint.client_id}]")

    async def stop(self) -> None:
        task, self._task = self._task, None
        if task is None:
            return
        client = self._client
        if client is not None and self.connected:
            await self._say_good_bye(client)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        self._close()

    async def _say_good_bye(self, client: paho.Client) -> None:
        client.disconnect()
        for _ in range(100):  # until DISCONNECT has left, so that the broker does not publish our will
            if not client.want_write():
                break
            await asyncio.sleep(0.01)

    async def _keep_connected(self) -> None:
        assert self._listener is not None
        while True:
            try:
                reason = await self._one_connection()
            except asyncio.CancelledError:
                raise
            except Exception as exc:  # the link must outlive whatever a library throws
                log.exception("%s: unexpected error, connecting again", self._endpoint)
                reason = Reason(f"{self._endpoint}: {exc!r}", "unexpected-error")
            if self._task is None:
                return  # stop() said good-bye
            # A broker that takes us and throws us out at once must not be hammered: only what lasted starts afresh.
            if self._since and self._loop.time() - self._since > LASTING:
                self._backoff.reset()
                self._thrown_out = 0
            elif self._since and not self._ended_by_us:
                self._thrown_out += 1
                if (
                    self._thrown_out > 1
                ):  # Mosquitto 2.0.11 does not say why (MQTT 5.0, 3.14.2.1: 142, session taken over)
                    other = f" again, at once: does another client use the client id '{self._endpoint.client_id}'?"
                    reason = Reason(reason + other, "broker-client-id-taken")
            reached, self._since = bool(self._since), 0.0
            self.connected = False
            self._close()
            self._listener.on_disconnected(reason)
            await self._pause(reached)

    async def _pause(self, reached: bool) -> None:
        """Until the next attempt. Cut short by `try_now`, but not after a broker that was there and threw us out."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._backoff.pause()):
                await self._hurry.wait()
                if reached:
                    await asyncio.Event().wait()  # to the end of the pause
                self._backoff.reset()

    def try_now(self) -> None:
        self._hurry.set()

    async def _one_connection(self) -> Reason:
        """From connecting to the end of the connection; returns why it ended."""
        endpoint = self._endpoint
        self._ended = ended = self._loop.create_future()
        self._generation += 1
        self._hurry.clear()
        self._ended_by_us = False
        try:
            client = self._client = self._make_client()
            await asyncio.to_thread(self._connect, client)
        except (OSError, BrokerError, ValueError) as exc:
            return _why(endpoint, exc)
        waited = 0.0
        while not ended.done():
            await asyncio.wait([ended], timeout=0.5)
            client.loop_misc()
            self._read_unnoticed(client)
            if self._since:
                self._watch_progress()
                if not self._check_time and self._clock is not None and self._clock.trusted() and not ended.done():
                    await self._end_unchecked(client)
                continue
            waited += 0.5
            if waited >= CONNECT_TIMEOUT:
                self._other_protocol()
                return Reason(f"{endpoint}: the broker takes the connection but does not answer", "broker-silent")
        if self._since:
            self._protocol = paho.MQTTv5  # the broker that comes back may be another one, or be updated
        elif ended.result() == _CLOSED:
            self._unanswered += 1
            if self._unanswered > 1:  # once may be a broker that is just going down
                self._other_protocol()
        return Reason(f"{endpoint}: {ended.result()}", fault_of(ended.result()))

    def _make_client(self) -> paho.Client:
        endpoint = self._endpoint
        client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=endpoint.client_id,
            protocol=self._protocol,
            clean_session=None if self._protocol == paho.MQTTv5 else not endpoint.persistent,
            manual_ack=True,
            reconnect_on_failure=False,
        )
        if endpoint.user is not None:
            client.username_pw_set(endpoint.user, endpoint.password)
        if endpoint.tls:
            self._choose_check()
            client.tls_set_context(endpoint.ssl_context(self._check_time))
        if self._will is not None:
            client.will_set(self._will.topic, self._will.payload, qos=1, retain=True)
        client.max_inflight_messages_set(0)  # the window is the publisher's
        client.connect_timeout = CONNECT_TIMEOUT
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        client.on_message = self._on_message
        client.on_socket_open = self._on_socket_open
        client.on_socket_close = self._on_socket_close
        client.on_socket_register_write = self._on_register_write
        client.on_socket_unregister_write = self._on_unregister_write
        return client

    def _choose_check(self) -> None:
        """A box that takes now for 1970 would refuse every certificate, and nobody would hear of it until it is set.

        Who answers is verified as ever; what is given up, until the time is known, is that an old key is of no use.
        """
        checked, self._check_time = self._check_time, self._clock is None or self._clock.trusted()
        if checked and not self._check_time:
            log.warning(
                "%s: the time is not known yet: the broker's certificate and name are verified, but not whether it has "
                "expired; that follows when the clock is right",
                self._endpoint,
            )

    async def _end_unchecked(self, client: paho.Client) -> None:
        self._ended_by_us = True
        self._end("the time is known now: connecting again, to verify that the broker's certificate is still valid")
        await self._say_good_bye(client)

    def _connect(self, client: paho.Client) -> None:
        endpoint = self._endpoint
        keepalive = max(1, round(endpoint.keepalive))
        if self._protocol != paho.MQTTv5:
            client.connect(endpoint.host, endpoint.port, keepalive)
            return
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.ReceiveMaximum = INBOUND_WINDOW
        if endpoint.persistent:
            properties.SessionExpiryInterval = SESSION_EXPIRY
        client.connect(
            endpoint.host, endpoint.port, keepalive, clean_start=not endpoint.persistent, properties=properties
        )

    def _other_protocol(self) -> None:
        """After a CONNECT without an answer: 3.1.1 if it was 5, and back."""
        self._unanswered = 0
        self._protocol = paho.MQTTv311 if self._protocol == paho.MQTTv5 else paho.MQTTv5

    def _watch_progress(self) -> None:
        oldest = next(iter(self._owed.values()), None)
        if oldest is not None and self._loop.time() - oldest > SILENCE:
            self._end(Reason(f"not acknowledged for {SILENCE:.0f} s: the connection is dead", "broker-silent"))

    def _end(self, reason: str) -> None:
        self.connected = False  # at once: what is published from here on would be lost
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(reason)

    def _close(self) -> None:
        """Let go of the client of the last attempt, and of its socket."""
        client, self._client = self._client, None
        self._owed.clear()
        if client is None:
            return
        client.on_connect = client.on_disconnect = client.on_publish = client.on_message = None
        sock = client.socket()
        if sock is not None:
            self._on_socket_close(client, None, sock)
            sock.close()

    # --- what the publisher and the store call -----------------------------------------------------------------------

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> int:
        client = self._connected_client()
        info = client.publish(topic, payload, qos=1, retain=retain)
        if info.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            raise NotConnectedError(f"{self._endpoint}: {paho.error_string(info.rc)}", fault="broker-closed")
        self._owed[info.mid] = self._loop.time()
        return info.mid

    def subscribe(self, filters: Sequence[str]) -> None:
        client = self._connected_client()
        rc, _ = client.subscribe([(each, 1) for each in filters])
        if rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            raise NotConnectedError(f"{self._endpoint}: {paho.error_string(rc)}", fault="broker-closed")

    def ack(self, messages: Sequence[Message]) -> None:
        client = self._client
        if client is None or not self.connected:
            return
        for message in messages:
            generation, mid, qos = message.token
            if generation == self._generation:
                client.ack(mid, qos)

    def _connected_client(self) -> paho.Client:
        if self._client is None or not self.connected:
            raise NotConnectedError(f"{self._endpoint}: not connected", fault="broker-closed")
        return self._client

    # --- what paho calls: on the event loop, except the opening of the socket ------------------------------------------

    def _on_connect(self, _c: paho.Client, _u: Any, _f: Any, code: ReasonCode, properties: Properties | None) -> None:
        assert self._listener is not None
        if code.is_failure:
            if code.value == 132:  # unsupported protocol version
                self._other_protocol()
            self._end(_refusal(self._endpoint, code))
            return
        self.receive_maximum = getattr(properties, "ReceiveMaximum", 65535)
        self.connected = True
        self._since = self._loop.time()
        if not self.proves_refusal:
            log.warning(
                "%s speaks MQTT 3.1.1 only: a message it refuses cannot be told from one it takes", self._endpoint
            )
        self._listener.on_connected()

    def _on_disconnect(self, _c: paho.Client, _u: Any, _f: Any, code: ReasonCode, _p: Properties | None) -> None:
        taken = code.value == 142
        text = f"another client uses the client id '{self._endpoint.client_id}': two gateways with one id?"
        self._end(Reason(text, "broker-client-id-taken") if taken else _CLOSED)

    def _on_publish(self, _c: paho.Client, _u: Any, mid: int, code: ReasonCode, _p: Properties) -> None:
        self._owed.pop(mid, None)
        assert self._listener is not None
        self._listener.on_published(mid, code.value)

    def _on_message(self, _c: paho.Client, _u: Any, message: paho.MQTTMessage) -> None:
        assert self._listener is not None
        token = (self._generation, message.mid, message.qos)
        self._listener.on_message(Message(message.topic, bytes(message.payload), message.retain, token))

    def _on_socket_open(self, client: paho.Client, _u: Any, sock: Any) -> None:
        self._loop.call_soon_threadsafe(self._add_reader, client, sock)

    def _add_reader(self, client: paho.Client, sock: Any) -> None:
        if client is self._client and sock.fileno() >= 0:
            self._loop.add_reader(sock.fileno(), self._readable, client, sock)

    def _on_socket_close(self, _c: paho.Client, _u: Any, sock: Any) -> None:
        fileno = sock.fileno()
        if fileno >= 0:
            self._loop.remove_reader(fileno)
            self._loop.remove_writer(fileno)

    def _on_register_write(self, client: paho.Client, _u: Any, sock: Any) -> None:
        # During connect() this comes from its thread: the loop may only be touched from its own.
        self._loop.call_soon_threadsafe(self._add_writer, client, sock)

    def _add_writer(self, client: paho.Client, sock: Any) -> None:
        if client is self._client and sock.fileno() >= 0 and client.want_write():
            try:
                self._loop.add_writer(sock.fileno(), self._call, client.loop_write)
            except RuntimeError:  # uvloop gives up watching a socket that had an error
                self._end(_CLOSED)

    def _on_unregister_write(self, _c: paho.Client, _u: Any, sock: Any) -> None:
        if sock.fileno() >= 0:
            self._loop.remove_writer(sock.fileno())

    def _read_unnoticed(self, client: paho.Client) -> None:
        """uvloop gives up watching a socket that had an error, and tells nobody: the end would be noticed much later."""
        sock = client.socket()
        if self._since and sock is not None and sock.fileno() >= 0:
            watched = select.poll()
            watched.register(sock, select.POLLIN)
            if watched.poll(0):
                self._readable(client, sock)

    def _readable(self, client: paho.Client, sock: Any) -> None:
        self._call(client.loop_read)
        # TLS may have decrypted more than was asked for; the socket will not become readable for that again.
        while client.socket() is sock and isinstance(sock, ssl.SSLSocket) and sock.pending():
            self._call(client.loop_read)

    def _call(self, step: Any) -> None:
        try:
            step()
        except Exception as exc:  # what paho cannot parse, or a mistake of the listener: never a dead event loop
            log.exception("%s: error while talking to the broker", self._endpoint)
            self._end(Reason(f"error while talking to the broker: {exc!r}", "unexpected-error"))


_CLOSED = Reason("the broker closed the connection", "broker-closed")
_OUT_OF_TIME = (9, 10)  # X509_V_ERR_CERT_NOT_YET_VALID, X509_V_ERR_CERT_HAS_EXPIRED
_OTHER_NAME = (62, 64)  # X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH


def _refusal(endpoint: Endpoint, code: ReasonCode) -> Reason:
    """A CONNACK that says no, with what to check."""
    if code.value in (134, 135):
        who = f"user '{endpoint.user}'" if endpoint.user else "a client without user and password"
        text = f"the broker refuses {who} (reason code {code.value}, {code.getName()}): check mqtt.user, mqtt.password and the broker's ACL"
        return Reason(text, "broker-refuses-password")
    return Reason(f"the broker refuses the connection: {code.getName()} (reason code {code.value})", "broker-refuses")


def _why(endpoint: Endpoint, exc: Exception) -> Reason:
    """Why a connection could not be made, with what to check."""
    if isinstance(exc, BrokerError):
        return Reason(str(exc), exc.fault)
    text, fault = _meaning(endpoint, exc)
    return Reason(f"{endpoint}: {text}", fault)


def _meaning(endpoint: Endpoint, exc: Exception) -> tuple[str, str]:
    if isinstance(exc, ConnectionRefusedError):
        return "nothing listens there: is the broker running, and mqtt.url right?", "broker-not-running"
    if isinstance(exc, socket.gaierror):
        return f"the name '{endpoint.host}' is not known: check mqtt.url and DNS", "name-not-resolved"
    if isinstance(exc, ssl.SSLCertVerificationError):
        if exc.verify_code in _OUT_OF_TIME:
            text = f"the broker's certificate is not valid at this time ({exc.verify_message}): "
            return text + "check its dates, and the clock of this machine", "broker-certificate-expired"
        if exc.verify_code in _OTHER_NAME:
            text = f"the broker's certificate is for another name ({exc.verify_message}): "
            return (
                text + "mqtt.url must have the name or address that the certificate is made out to",
                "broker-tls-name",
            )
        text = f"the broker's certificate is not trusted ({exc.verify_message}): set mqtt.ca to the CA that signed it"
        return text, "broker-tls"
    if isinstance(exc, ssl.SSLError) or (endpoint.tls and isinstance(exc, ConnectionResetError)):
        said = getattr(exc, "reason", None) or exc
        return f"no TLS on this port ({said}): mqtt:// or another port?", "broker-tls"
    if isinstance(exc, TimeoutError):
        return "no answer: check address, network and firewall", "broker-unreachable"
    return str(exc), "broker-unreachable"
