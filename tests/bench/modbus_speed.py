"""What `gateway run` costs for each reading over Modbus TCP, beside a naive client and the floor, in one run.

    server.c ─▶ gateway run ─▶ Mosquitto ─▶ subscriber.py            each a process of its own; CPU time of the gateway
    server.c ─▶ floor.c            server.c ─▶ naive.py ─▶ Mosquitto

A machine has 8 blocks of 125 registers with 66 signals each, of 7 kinds, a third of them with swapped words; scale, range
and deadband; `report: change`. Either every value changes with every poll by more than its deadband, or none.

    paced   100 machines, each with a link of its own, every 1 s: 52,800 readings a second
    free    as fast as it goes: the poll is as short as it may be, and there is more to read than fits into it

PYTHONPATH=tests .venv/bin/python tests/bench/modbus_speed.py --only paced --rounds 3
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack

from bench.peers.machines import blocks_of, mixed
from bench.peers.programs import CHANGING, HOLD, Cost, Plant, Server, Subscriber, cpu, floor, naive
from parts.mosquitto import Mosquitto
from parts.process import wait_until

BLOCKS = 8
NAIVE_MACHINES = 4
REGISTERS = mixed(BLOCKS)
VARIANTS = {"all change": CHANGING, "nothing changes": HOLD}
SETTLE = 1.0  # seconds after a variant was chosen
TARGETS = {  # µs for a reading: all change, nothing changes
    ("paced", 1): (2.5, 1.2),
    ("free", 1): (2.5, 1.2),
    ("free", 8): (1.0, 0.2),
}

Row = tuple[str, str]  # of the table: what, variant


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("paced", "free"))
    parser.add_argument("--seconds", type=float, default=3, help="of each row and round")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--machines", type=int, default=100, help="paced")
    parser.add_argument("--free-machines", type=int, default=40, help="free running; divided among the links")
    parser.add_argument("--links", type=int, nargs="+", default=[1, 4], help="free running")
    parser.add_argument("--max-in-flight", type=int, nargs="+", default=[1, 8], help="free running")
    parser.add_argument("--hold", action="store_true", help="keep on running, to look into the gateway by its pid")
    chosen = parser.parse_args()
    with ExitStack() as stack:
        broker = stack.enter_context(Mosquitto(conf=["max_queued_messages 100000"]))
        subscriber = stack.enter_context(Subscriber(broker.port))
        if chosen.only != "free":
            paced(chosen, broker, subscriber)
        if chosen.only != "paced":
            free(chosen, broker, subscriber)


def paced(chosen: argparse.Namespace, broker: Mosquitto, subscriber: Subscriber) -> None:
    """One gateway for all rounds: starting it with so many signals takes longer than measuring."""
    costs: dict[Row, Cost] = defaultdict(lambda: Cost(0, 0))
    with (
        Server(REGISTERS, chosen.machines) as server,
        Server(REGISTERS, 1) as other,
        _plant(server, broker, chosen.machines, "1s", 1) as gateway,
    ):
        _warm_up(server, gateway, chosen)
        for _ in range(chosen.rounds):
            for variant, cost in _variants(server, gateway, subscriber, chosen.seconds):
                costs["gateway run", variant] += cost
            _beside(costs, other, broker, chosen, machines=chosen.machines, period=1.0, in_flights=[1])
        _check(server, gateway)
    _print(f"paced: {chosen.machines} machines x {len(REGISTERS)} signals every 1 s", "paced", costs)


def free(chosen: argparse.Namespace, broker: Mosquitto, subscriber: Subscriber) -> None:
    costs: dict[Row, Cost] = defaultdict(lambda: Cost(0, 0))
    for _ in range(chosen.rounds):
        for links in chosen.links:
            for depth in chosen.max_in_flight:
                name = f"gateway run, {links} link{'s' * (links > 1)}, {depth} in flight"
                with (
                    Server(REGISTERS, links) as server,
                    _plant(server, broker, chosen.free_machines, "10ms", depth) as gateway,
                ):
                    _warm_up(server, gateway, chosen)
                    for variant, cost in _variants(server, gateway, subscriber, chosen.seconds):
                        costs[name, variant] += cost
                    _check(server, gateway)
                    gateway.kill()  # a link that is always busy may take long to end
        with Server(REGISTERS, 1) as other:
            _beside(costs, other, broker, chosen, machines=1, period=0.0, in_flights=chosen.max_in_flight)
    _print(f"free running: {chosen.free_machines} machines x {len(REGISTERS)} signals", "free", costs)


def _plant(server: Server, broker: Mosquitto, machines: int, poll: str, max_in_flight: int) -> Plant:
    return Plant(server, broker, machines, REGISTERS, poll=poll, report="change", max_in_flight=max_in_flight)


def _warm_up(server: Server, gateway: Plant, chosen: argparse.Namespace) -> None:
    server.serve(CHANGING)
    wait_until(gateway.online, 60, "the machines")
    time.sleep(SETTLE)
    while chosen.hold:
        input(f"pid {gateway.pid}: all change; return for the other variant, Ctrl-C to end ")
        server.serve(HOLD)
        input(f"pid {gateway.pid}: nothing changes ")
        server.serve(CHANGING)


def _variants(server: Server, gateway: Plant, subscriber: Subscriber, seconds: float) -> Iterator[tuple[str, Cost]]:
    per_answer = len(REGISTERS) / blocks_of(REGISTERS)
    for variant, mode in VARIANTS.items():
        server.serve(mode)
        time.sleep(SETTLE)
        subscriber.take()
        before, spent, start = server.answers, cpu(gateway), time.monotonic()
        time.sleep(seconds)
        spent, answers = cpu(gateway) - spent, server.answers - before
        window, found = time.monotonic() - start, subscriber.take()
        if found["bad"]:
            print(f"{found['bad']} values were bad or uncertain: not to be trusted")
        yield variant, Cost(answers * per_answer, spent, window, found["values"])


def _check(server: Server, gateway: Plant) -> None:
    """What was served was read: the gateway counts the same. It goes on reading while it is asked."""
    per_answer = len(REGISTERS) / blocks_of(REGISTERS)
    least = server.answers * per_answer
    flow = gateway.status()["flow"]
    most = server.answers * per_answer
    if not 0.99 * least <= flow["read"] <= most or flow["bad"] or flow["lost"]:
        print(f"served {least:.0f} to {most:.0f}, but {flow}: not to be trusted")


def _beside(
    costs: dict[Row, Cost],
    server: Server,
    broker: Mosquitto,
    chosen: argparse.Namespace,
    *,
    machines: int,
    period: float,
    in_flights: list[int],
) -> None:
    """The floor and the naive client; it does the same whether values change or not."""
    port, seconds = server.ports[0], chosen.seconds
    server.serve(CHANGING)
    for depth in in_flights:
        name = f"floor (libmodbus in C), {depth} in flight"
        costs[name, "all change"] += floor(port, machines, REGISTERS, BLOCKS, period, seconds, depth)
    few = min(machines, NAIVE_MACHINES)
    name = f"naive, {few} machine{'s' * (few > 1)}"
    costs[name, "all change"] += naive(port, broker.port, few, BLOCKS, period, seconds)


def _print(title: str, kind: str, costs: dict[Row, Cost]) -> None:
    def of(start: str, suffix: str = "") -> float:
        return next((c.us for (name, _), c in costs.items() if name.startswith(start) and name.endswith(suffix)), 0.0)

    ratio: Callable[[float, float], str] = lambda a, b: f"{a / b:.1f}" if b else "–"  # noqa: E731
    print(f"\n{title}")
    print(
        f"{'':<36}{'':<16}{'readings/s':>12}{'sent %':>8}{'CPU %':>7}{'µs/reading':>12}{'target':>8}{'x floor':>9}{'naive is x':>12}"
    )
    for (name, variant), cost in costs.items():
        depth = 8 if "8 in flight" in name else 1
        target = ""
        if name.startswith("gateway") and (kind, depth) in TARGETS:
            target = str(TARGETS[kind, depth][list(VARIANTS).index(variant)])
        sent = f"{100 * cost.delivered / cost.readings:.1f}" if name.startswith("gateway") else ""
        bottom = of("floor", f"{depth} in flight")
        print(
            f"{name:<36}{variant:<16}{cost.readings / cost.window:>12,.0f}{sent:>8}{100 * cost.seconds / cost.window:>7.1f}"
            f"{cost.us:>12.3f}{target:>8}{ratio(cost.us, bottom):>9}{ratio(of('naive'), cost.us):>12}"
        )


if __name__ == "__main__":
    main()
