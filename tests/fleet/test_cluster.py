"""Beyond one machine: a writer that is killed, a broker that is killed; nothing is lost, and work moves on.

Mosquitto with a bridge is what Debian has; brokers that are a cluster by themselves (EMQX, HiveMQ, VerneMQ) are not tried.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from fleet.cluster import Cluster, cluster
from parts.process import wait_until

pytestmark = pytest.mark.slow


@pytest.fixture
def plant() -> Iterator[Cluster]:
    with cluster() as found:
        yield found


def sound(found: Cluster) -> None:
    """Everything the machines served is stored once, and right."""
    verdicts = found.finish()
    polls = {m["name"]: m["counters"] for each in found.gateways.values() for m in each.status()["machines"]}
    for name, verdict in verdicts.items():
        assert verdict.judged
        assert verdict.sound, f"{name}: {verdict.sentence()}\n{verdict.findings()}\n{verdict.table()}\n{polls}"
        assert verdict.total("missing") == verdict.total("wrong") == 0
    for gateway in found.gateways.values():
        assert gateway.status()["flow"]["lost"] == 0


def test_a_writer_is_killed(plant):
    """Its share goes to the others at once; what it had and did not store is sent again. It need not come back."""
    plant.moves_on(20)
    plant.writers[0].kill()
    print(f"work moved on {plant.moves_on(45):.1f} s after the kill")
    before = plant.sent
    wait_until(lambda: all(n > before[name] + 200 for name, n in plant.sent.items()), 60, "some time to pass")
    # A third of 400 messages would wait for the writer that is gone, if the broker kept its share for it.
    assert plant.waiting() < 100
    plant.writers[1].kill()  # two of three
    print(f"work moved on {plant.moves_on(45):.1f} s after the kill of another one")
    sound(plant)
    print("rewinds:", {name: gateway.status()["flow"]["rewinds"] for name, gateway in plant.gateways.items()})


def test_the_broker_of_the_plant_is_killed(plant):
    """What it had acknowledged and forgot is sent again; what was read meanwhile follows."""
    plant.plant.kill()
    wait_until(lambda: plant.waiting() > 200, 60, "readings to wait")
    plant.plant.start()
    print(f"work moved on {plant.moves_on(90):.1f} s after the start")
    print(f"all that had waited was stored {plant.all_stored(90):.1f} s later")
    sound(plant)


def kill_both(found: Cluster) -> None:
    """The line's broker dies with messages that it has acknowledged and could not hand on."""
    found.plant.kill()
    before = found.sent["a"]
    wait_until(lambda: found.sent["a"] > before + 50, 60, "the line's broker to acknowledge what it cannot hand on")
    found.line.kill()
    found.plant.start()
    found.line.start()


def test_the_broker_of_the_line_is_killed_with_what_it_had(plant):
    kill_both(plant)
    print(f"work moved on {plant.moves_on(90):.1f} s after the start")
    print(f"all that had waited was stored {plant.all_stored(90):.1f} s later")
    sound(plant)


def test_the_control_where_the_word_of_a_broker_counts():
    """The same with `delivery: broker` does lose, and the judge sees it."""
    with cluster(delivery="broker") as found:
        kill_both(found)
        before = found.sent["a"]
        wait_until(lambda: found.sent["a"] > before + 50, 90, "the gateway to go on")
        for each in found.machines.values():
            each.stop()
        wait_until(lambda: rows_settle(found), 60, "everything that comes to have come")
        assert found.judged("a").total("missing") > 50 * 10  # at least the 50 messages of 10 readings


def rows_settle(found: Cluster) -> bool:
    """Whether the store has got nothing new for a second."""
    before = found.store.query("SELECT count(*) FROM machine", db="shop")
    time.sleep(1)
    return bool(found.store.query("SELECT count(*) FROM machine", db="shop") == before)
