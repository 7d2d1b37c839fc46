"""The broker, the way a reading goes: connect, log in, publish, and hear it again.

The message goes to {root}/_gateway/{id}/doctor with QoS 1, not retained. Only this can show an ACL that lets everybody in
and takes nothing.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

from gateway.doctor.case import Case
from gateway.doctor.checks.addresses import Address
from gateway.doctor.finding import Finding
from gateway.errors import GatewayError, NotConnectedError
from gateway.faults import Reason, fault_of

if TYPE_CHECKING:
    from gateway.config import Configuration
    from gateway.mqtt.link import Link, Message

NAME = "broker"
CONNECT = 11.5  # seconds: a link gives up an attempt after 10
ANSWER = 3.0  # seconds for a PUBACK, and for the message itself
FAILURE, NO_SUBSCRIBERS = 0x80, 0x10  # reason codes of MQTT 5.0, 2.4
# What may be gone with the next attempt, as a link tries MQTT 3.1.1 where a broker does not answer to 5.
_TRY_AGAIN = ("broker-closed", "")


def look(case: Case) -> Iterator[Finding]:
    assert case.configuration is not None
    of_the_link = logging.getLogger("gateway.mqtt.client")
    before = of_the_link.level
    of_the_link.setLevel(logging.CRITICAL)  # what it would say is told by findings
    try:
        yield from asyncio.run(_ask(case.configuration))
    except GatewayError as exc:
        yield Finding(NAME, "wrong", str(exc), exc.fault)
    finally:
        of_the_link.setLevel(before)


async def _ask(configuration: Configuration) -> list[Finding]:
    from gateway.clock import SystemClock
    from gateway.runtime.app import paho_links

    settings = configuration.settings
    link = paho_links(configuration, SystemClock())(f"doctor-{settings.gateway.id}-{os.getpid()}", False, None)
    address = Address(settings.mqtt.host, settings.mqtt.port, NAME)
    topic = f"{settings.mqtt.root}/_gateway/{settings.gateway.id}/doctor"
    facts: dict[str, object] = {"host": address.host, "port": address.port, "topic": topic}
    if settings.mqtt.user:
        facts["user"] = settings.mqtt.user
    visit = _Visit(link)
    try:
        return [await visit.make(topic, facts, settings.mqtt.url)]
    finally:
        with suppress(Exception):
            async with asyncio.timeout(2.0):
                await link.stop()


class _Visit:
    """One connection, as its listener."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._connected = asyncio.Event()
        self._refused = asyncio.Event()
        self._reason: str = Reason("the broker does not answer", "broker-silent")
        self._codes: dict[int, int] = {}
        self._answered, self._heard = asyncio.Event(), asyncio.Event()
        self._wanted = b""

    async def make(self, topic: str, facts: dict[str, object], url: str) -> Finding:
        began = time.monotonic()
        await self._link.start(self)
        if not await _first(CONNECT, self._connected, self._refused) or not self._connected.is_set():
            return Finding(NAME, "wrong", str(self._reason), fault_of(self._reason), facts=facts)
        took = time.monotonic() - began
        self._wanted = os.urandom(8).hex().encode()
        try:
            self._link.subscribe([topic])
            message = self._link.publish(topic, self._wanted)
        except NotConnectedError:
            return Finding(NAME, "wrong", str(self._reason), fault_of(self._reason), facts=facts)
        if not await _first(ANSWER, self._answered, self._refused) or message not in self._codes:
            said = self._reason if self._refused.is_set() else "it connects, but does not acknowledge what is published"
            return Finding(NAME, "wrong", f"{url}: {said}", fault_of(said) or "broker-silent", facts=facts)
        return await self._judge(self._codes[message], topic, f"{url}: connected in {took * 1000:.0f} ms", facts)

    async def _judge(self, code: int, topic: str, well: str, facts: dict[str, object]) -> Finding:
        if code >= FAILURE:
            text = f"{well}, but it refuses '{topic}' (reason code {code})"
            return Finding(NAME, "wrong", text, "broker-refuses-topic", facts=facts)
        if await _first(ANSWER, self._heard):
            return Finding(NAME, "ok", f"{well}; a message was taken and came back", facts=facts)
        if code != NO_SUBSCRIBERS and not self._link.proves_refusal:
            text = f"{well}; with MQTT 3.1.1 it cannot be told whether it took '{topic}', which did not come back"
        else:
            text = f"{well}; it takes '{topic}', but does not give it back: reading below mqtt.root may be forbidden"
        return Finding(NAME, "warning", text, "broker-refuses-topic", facts=facts)

    # --- what the link calls -----------------------------------------------------------------------------------------

    def on_connected(self) -> None:
        self._connected.set()

    def on_disconnected(self, reason: str) -> None:
        self._reason = reason
        if self._connected.is_set() or fault_of(reason) not in _TRY_AGAIN:
            self._refused.set()

    def on_published(self, mid: int, reason_code: int) -> None:
        self._codes[mid] = reason_code
        self._answered.set()

    def on_message(self, message: Message) -> None:
        self._link.ack([message])
        if message.payload == self._wanted:
            self._heard.set()


async def _first(seconds: float, *events: asyncio.Event) -> bool:
    """Whether one of them comes in time."""
    tasks = [asyncio.create_task(event.wait()) for event in events]
    done, rest = await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    for task in rest:
        task.cancel()
    return bool(done)
