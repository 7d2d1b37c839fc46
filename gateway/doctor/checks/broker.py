"""The broker, the way a reading goes: connect, log in, publish, and hear it again.

    {root}/_gateway/{id}/doctor              the gateway itself
    {root}/{place of a machine}/doctor       each machine, beside its data: no consumer takes this topic for readings

With QoS 1, not retained. Only this can show an ACL that lets everybody in and takes nothing, or nothing of one line.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
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
MOST = 100  # machines whose topics are tried; fewer, where the broker takes fewer at once
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
    paths = [configuration.path_of(name) for name in islice(configuration.machines, MOST)]
    machines = ["/".join((settings.mqtt.root, *path.levels(), "doctor")) for path in paths]
    visit = _Visit(link)
    try:
        return await visit.make(topic, machines, facts, settings.mqtt.url)
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
        self._sent: dict[int, str] = {}  # topics, by message id
        self._codes: dict[int, int] = {}
        self._answered, self._heard = asyncio.Event(), asyncio.Event()
        self._wanted = b""
        self._back: set[str] = set()  # topics that came back

    async def make(self, topic: str, machines: Sequence[str], facts: dict[str, object], url: str) -> list[Finding]:
        """`topic`: of the gateway; `machines`: one of each machine."""
        began = time.monotonic()
        await self._link.start(self)
        if not await _first(CONNECT, self._connected, self._refused) or not self._connected.is_set():
            return [Finding(NAME, "wrong", str(self._reason), fault_of(self._reason), facts=facts)]
        took = time.monotonic() - began
        self._wanted = os.urandom(8).hex().encode()
        machines = machines[: max(0, self._link.receive_maximum - 1)]
        try:
            self._link.subscribe([topic, *machines])
            for each in (topic, *machines):
                self._sent[self._link.publish(each, self._wanted)] = each
        except NotConnectedError:
            return [Finding(NAME, "wrong", str(self._reason), fault_of(self._reason), facts=facts)]
        if not await _first(ANSWER, self._answered, self._refused) or len(self._codes) < len(self._sent):
            said = self._reason if self._refused.is_set() else "it connects, but does not acknowledge what is published"
            return [Finding(NAME, "wrong", f"{url}: {said}", fault_of(said) or "broker-silent", facts=facts)]
        codes = {self._sent[mid]: code for mid, code in self._codes.items()}
        if any(code < FAILURE for code in codes.values()):
            await _first(ANSWER, self._heard)
        return self._judge(codes, topic, f"{url}: connected in {took * 1000:.0f} ms", facts)

    def _judge(self, codes: Mapping[str, int], topic: str, well: str, facts: dict[str, object]) -> list[Finding]:
        """`codes`: what was answered, by topic."""
        found = []
        for group in ([topic], [each for each in codes if each != topic]):
            refused = [each for each in group if codes[each] >= FAILURE]
            if refused:
                more = f" and those of {len(refused) - 1} more machines" if len(refused) > 1 else ""
                text = f"{well}, but it refuses '{refused[0]}'{more} (reason code {codes[refused[0]]})"
                found.append(Finding(NAME, "wrong", text, "broker-refuses-topic", facts={**facts, "topic": refused[0]}))
            silent = [each for each in group if each not in refused and each not in self._back]
            if silent:
                found.append(self._silent(silent[0], silent[0] == topic, well, {**facts, "topic": silent[0]}))
        return found or [Finding(NAME, "ok", f"{well}; {self._of(codes)} taken and came back")]

    def _silent(self, topic: str, own: bool, well: str, facts: dict[str, object]) -> Finding:
        """It takes the topic and does not give it back. `own`: of the gateway, not of a machine."""
        if not self._link.proves_refusal:
            text = f"{well}; with MQTT 3.1.1 it cannot be told whether it took '{topic}', which did not come back"
            return Finding(NAME, "warning", text, "broker-refuses-topic", facts=facts)
        reads = (
            "only the doctor reads there"
            if own
            else "a gateway reads there what is retained of a machine that it takes back"
        )
        text = f"{well}; it takes '{topic}', but does not give it back: readings leave, but {reads}"
        below = topic if own else f"{topic.rpartition('/')[0]}/#"
        hint = f"in the broker's ACL, let {self._who(facts)} read {below}"
        return Finding(NAME, "warning", text, "broker-gives-not-back", hint, facts)

    @staticmethod
    def _of(codes: Mapping[str, int]) -> str:
        return "a message was" if len(codes) == 1 else f"a message of the gateway and of {len(codes) - 1} machines was"

    @staticmethod
    def _who(facts: Mapping[str, object]) -> str:
        return f"user '{facts['user']}'" if "user" in facts else "a client without a user"

    # --- what the link calls -----------------------------------------------------------------------------------------

    def on_connected(self) -> None:
        self._connected.set()

    def on_disconnected(self, reason: str) -> None:
        self._reason = reason
        if self._connected.is_set() or fault_of(reason) not in _TRY_AGAIN:
            self._refused.set()

    def on_published(self, mid: int, reason_code: int) -> None:
        self._codes[mid] = reason_code
        if len(self._codes) >= len(self._sent):
            self._answered.set()

    def on_message(self, message: Message) -> None:
        self._link.ack([message])
        if message.payload == self._wanted:
            self._back.add(message.topic)
            if len(self._back) >= len(self._sent):
                self._heard.set()


async def _first(seconds: float, *events: asyncio.Event) -> bool:
    """Whether one of them comes in time."""
    tasks = [asyncio.create_task(event.wait()) for event in events]
    done, rest = await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    for task in rest:
        task.cancel()
    return bool(done)
