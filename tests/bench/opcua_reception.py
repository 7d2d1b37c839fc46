"""CPU time per value of each step from a notification's bytes to the payload, for what servers send.

    bytes ─▶ columns ─▶ batch ─▶ plan ─▶ page ─▶ payload          beside asyncua's own decoder on the same bytes

A machine of 10,000 signals; each notification brings 1,000 of them. Minimum of some rounds, each with fresh notifications.

PYTHONPATH=tests .venv/bin/python tests/bench/opcua_reception.py
"""

from __future__ import annotations

import random
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from asyncua import ua
from asyncua.ua.ua_binary import Buffer, struct_from_binary, struct_to_binary

from adapters.opcua import decode, wire
from adapters.opcua.config import OpcuaSignal
from gateway.model import Batch, Header, MachinePath, Signal
from gateway.mqtt.payload import DataEncoder
from gateway.normalizer import Plan
from gateway.web.snapshot import Latest

SIGNALS, VALUES, ROUNDS = 10_000, 1000, 30
NOW = 134_000_000_000_000_000  # 100 ns since 1601
ARRIVAL = (NOW - 116_444_736_000_000_000) * 100

Subset = Callable[[int, random.Random], Sequence[int]]
IN_ORDER: Subset = lambda n, _: range(n * VALUES % SIGNALS, n * VALUES % SIGNALS + VALUES)  # noqa: E731
ANY: Subset = lambda _, rng: sorted(rng.sample(range(SIGNALS), VALUES))  # noqa: E731

_PLAIN = {"double": (11, "d"), "int": (6, "i"), "float": (10, "f"), "bool": (1, "?")}


@dataclass(frozen=True, slots=True)
class Case:
    """What the notifications are like."""

    subset: Subset = IN_ORDER
    types: tuple[str, ...] = ("double",)
    own: bool = False  # each value has its own source time
    picoseconds: float = 0.0  # how many of the values have them
    rules: str = ""  # of every tenth signal; `all: ` of all


CASES = {
    "the same ones in order, one stamp": Case(),
    "the same, each its own stamp": Case(own=True),
    "picoseconds with every other one": Case(picoseconds=0.5),
    "four types in turn": Case(types=("double", "int", "float", "bool")),
    "any of them": Case(subset=ANY),
    "any, each its own stamp": Case(subset=ANY, own=True),
    "any, a tenth scaled and with a range": Case(subset=ANY, rules="tenth"),
    "any, all scaled and with a range": Case(subset=ANY, rules="all"),
    "the same, all scaled and with a range": Case(rules="all"),
}
STEPS = ("columns", "batch", "plan", "page", "payload")


def notification(n: int, case: Case, rng: random.Random) -> bytes:
    """The n-th one, written by hand: Part 4, 7.25.2 and Part 6, 5.2.2.17."""
    rows = []
    for row, i in enumerate(case.subset(n, rng)):
        code, format = _PLAIN[case.types[i % len(case.types)]]
        mask = 1 | 4 | 8 | (16 if rng.random() < case.picoseconds else 0)
        value = bool(i & 1) if code == 1 else i if code == 6 else n + i / 2**20
        rows.append(
            struct.pack(f"<IBB{format}q", i, mask, code, value, NOW + row * 10_000 * case.own)
            + struct.pack("<H", 5) * (mask >> 4)
            + struct.pack("<q", NOW)
        )
    made = ua.PublishResponse()
    made.Parameters.NotificationMessage.NotificationData = [ua.DataChangeNotification(MonitoredItems=[])]
    # Its body is the two empty arrays (items, diagnostics) at the end, before those of the results and diagnostics.
    empty = struct_to_binary(made)
    body = struct.pack("<i", len(rows)) + b"".join(rows) + struct.pack("<i", -1)
    at = empty.index(bytes.fromhex("01002b0301")) + 5  # i=811, with a body
    old = struct.unpack_from("<i", empty, at)[0]
    return empty[:at] + struct.pack("<i", len(body)) + body + empty[at + 4 + old :]


def machine(case: Case) -> tuple[Header, list[Any], Plan]:
    kinds = {"double": "float", "float": "float", "int": "int", "bool": "bool"}
    types: list[Any] = [kinds[case.types[i % len(case.types)]] for i in range(SIGNALS)]
    header = Header(MachinePath("m"), tuple(Signal(f"s{i}", kind) for i, kind in enumerate(types)))
    plain: dict[str, Any] = {"node": "i=1"}
    ruled = OpcuaSignal.model_validate({**plain, "scale": 0.1, "range": [-1e9, 1e9]})
    without = OpcuaSignal.model_validate(plain)
    settings = {
        f"s{i}": ruled if case.rules == "all" or (case.rules and i % 10 == 0) else without for i in range(SIGNALS)
    }
    return header, types, Plan(header, settings)


def run(case: Case) -> Iterator[tuple[str, float]]:
    """Step and µs for a value. A round is as many notifications as bring every signal once."""
    rng = random.Random(1)
    header, types, plan = machine(case)
    encoder, latest = DataEncoder("bench", "e"), Latest(plan.header, 1)
    best: dict[str, float] = {}
    per_round = SIGNALS // VALUES
    for n in range(ROUNDS):
        packets = [notification(n * per_round + k, case, rng) for k in range(per_round)]
        published, spent = _timed(wire.publish_response, packets)
        best["columns"] = min(best.get("columns", 1e9), spent)
        columns = [p.values for p in published if p.values]
        assert sum(len(c.signal) for c in columns) == SIGNALS
        batches, spent = _timed(lambda c: decode.batch(header, types, c, ARRIVAL), columns)
        best["batch"] = min(best.get("batch", 1e9), spent)
        plain, spent = _timed(lambda b: plan.apply(b, 1.0, ARRIVAL), batches)
        best["plan"] = min(best.get("plan", 1e9), spent)
        sent: list[Batch] = [b for b in plain if b]
        assert sum(map(len, sent)) == SIGNALS
        _, spent = _timed(latest.update, sent)
        best["page"] = min(best.get("page", 1e9), spent)
        _, spent = _timed(lambda b: encoder(b, 1), sent)
        best["payload"] = min(best.get("payload", 1e9), spent)
        if n < 2:
            _, spent = _timed(lambda data: struct_from_binary(ua.PublishResponse, Buffer(data)), packets)
            best["asyncua"] = min(best.get("asyncua", 1e9), spent)
    yield from best.items()


def _timed(step: Callable[[Any], Any], things: Sequence[Any]) -> tuple[list[Any], float]:
    """What became of them, and the µs for a value."""
    start = time.process_time()
    results = [step(thing) for thing in things]
    return results, (time.process_time() - start) / SIGNALS * 1e6


def main() -> None:
    print(
        f"{'CPU µs for a value':<42}" + "".join(f"{step:>9}" for step in STEPS) + f"{'sum':>8}{'asyncua decoding':>18}"
    )
    for name, case in CASES.items():
        found = dict(run(case))
        cells = "".join(f"{found[step]:>9.3f}" for step in STEPS)
        print(f"{name:<42}{cells}{sum(found[step] for step in STEPS):>8.2f}{found['asyncua']:>18.1f}", flush=True)


if __name__ == "__main__":
    main()
