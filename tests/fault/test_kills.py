"""The gateway, the broker and the writer are killed at random, a thousand times if there is time: nothing is lost.

make test ARGS="tests/fault/test_kills.py"                50 kills, of everything at any moment
KILLS=1000 make test ARGS="tests/fault/test_kills.py"     for an hour
KILLS_SEED=4711 …                                         the same once more
"""

from __future__ import annotations

import asyncio
import os
import random
from contextlib import closing

import pytest

from buffer.material import Clock, fill, opened
from fault.judge import Verdict
from fault.kills import outages, plant, settle, torment
from gateway.buffer import Disk
from gateway.counters import FlowCounters
from gateway.mqtt.link import Message
from gateway.mqtt.local import LocalBroker
from gateway.mqtt.topics import Topics
from gateway.publisher import Publisher

KILLS = int(os.environ.get("KILLS", "50"))
SEED = int(os.environ.get("KILLS_SEED", "0")) or random.randrange(1, 1_000_000)
OUTAGES = 3
LATE = 0.05  # of the kills of a gateway may find it with something older than 100 ms that is not written yet


@pytest.mark.slow
@pytest.mark.timeout(240 + 5 * KILLS)
@pytest.mark.parametrize("persistence", [True, False], ids=["broker that remembers", "broker that forgets"])
def test_nothing_is_lost_whoever_is_killed_and_whenever(persistence, capsys):
    with plant(persistence=persistence) as running:
        torment(running, KILLS // 2 + KILLS % 2 * persistence, random.Random(SEED + persistence))
        verdict = settle(running)
        kills = ", ".join(f"{count} of the {name}" for name, count in sorted(running.kills.items()))
        story = (
            f"seed {SEED}: {running.kills.total()} kills ({kills}; {running.early} of them in the first 1.5 s, "
            f"{running.together} times several at once), broker {'with' if persistence else 'without'} persistence: {verdict}"
        )
        with capsys.disabled():
            print(f"\n{story}")
        assert verdict.served > 0
        assert verdict.sound, f"{story}\n{verdict.findings}"
        assert len(verdict.late) <= 1 + LATE * running.kills["gateway"], story


def killed_in_an_outage(forgetful: bool, capsys: pytest.CaptureFixture[str]) -> Verdict:
    """A gateway that is killed while the broker is away."""
    with plant(persistence=False, forgetful=forgetful) as running:
        outages(running, OUTAGES, random.Random(SEED))
        verdict = settle(running)
    with capsys.disabled():
        print(f"\nseed {SEED}: {OUTAGES} outages, a buffer that {'forgets' if forgetful else 'remembers'}: {verdict}")
    return verdict


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_what_waits_for_the_broker_outlives_the_gateway(capsys):
    verdict = killed_in_an_outage(False, capsys)
    assert verdict.sound, verdict.findings


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_control_a_buffer_that_forgets_loses_readings(capsys):
    assert killed_in_an_outage(True, capsys).lost


# --- why there are no gaps -------------------------------------------------------------------------------------------


class Heard:
    """The seqs a subscriber gets, in their order."""

    def __init__(self) -> None:
        self.seqs: list[int] = []

    def on_connected(self) -> None: ...
    def on_disconnected(self, reason: str) -> None: ...
    def on_published(self, mid: int, reason_code: int) -> None: ...
    def on_message(self, message: Message) -> None:
        self.seqs.append(int(message.payload.split()[0]))


@pytest.mark.parametrize("accepted", [True, False])
async def test_what_is_new_overtakes_only_what_no_kill_can_take(accepted, tmp_path):
    """Else a store would have the new ones, and nobody would know of those before, which were not on the disk yet."""
    topics, broker = Topics("plant"), LocalBroker()
    with closing(opened(Disk(tmp_path))) as buffer:
        link = broker.link()
        publisher = Publisher(
            link, buffer, topics, "edge", Clock(), FlowCounters(), delivery="store", window=3, births=list
        )
        store = Heard()
        side = broker.link()
        await side.start(store)
        side.subscribe(["t"])
        fill(buffer, 6, size=1)
        if accepted:
            buffer.commit()
        await link.start(publisher)
        for _ in range(2):  # connected, and the first of those that waited are under way
            await asyncio.sleep(0)
        fill(buffer, 1, size=1)
        publisher.wake()
        for _ in range(200):
            await asyncio.sleep(0)
        assert sorted(store.seqs) == [1, 2, 3, 4, 5, 6, 7]
        assert (store.seqs == [1, 2, 3, 4, 5, 6, 7]) == (not accepted)
