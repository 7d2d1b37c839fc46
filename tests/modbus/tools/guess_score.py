"""How often `gateway modbus guess` is right, on register images of real devices.

    .venv/bin/python tests/modbus/tools/guess_score.py [-v]

Every numeric signal is a case: the range around its registers (16 more on either side, as far as the image has them) and
its value as a display shows it. Left out: signals that say "no value" (there is nothing to show), texts, and single bits.

Right is a first-ranked reading with the address, type, order and scale of the register map. Besides, and counted on its own:

- sign   The map says int16, int32 or int64, the first one is unsigned, and the sign bit is 0: the registers do not tell.
         Unsigned is the convention then; a signed answer for an unsigned signal counts as wrong.
- byte   The map says uint8, the first one is uint16, and the other byte is 0. uint16 is the convention.

Nothing else is forgiven: not the same value in another width, order or scale, not in a neighbouring register either.
"""

from __future__ import annotations

import csv
import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from adapters.modbus.signals import REGISTERS, order_of
from adapters.modbus.tools.guess import Displayed, Reading, readings

HERE = Path(__file__).parent
MAPS = HERE.parents[3] / "shared" / "register_maps"
AROUND = 16
ORDERS = ("ABCD", "CDAB", "BADC", "DCBA")


@dataclass(frozen=True)
class Case:
    """A signal, and all registers of its table."""

    device: str
    name: str
    address: int
    type: str
    order: str
    scale: float
    value: float
    words: dict[int, int]

    def around(self, registers: int = AROUND) -> dict[int, int]:
        end = self.address + REGISTERS[self.type] + registers  # type: ignore[index]
        return {at: word for at, word in self.words.items() if self.address - registers <= at < end}


def own_cases() -> Iterator[Case]:
    """From devices.csv and the profiles: what lies in this repository."""
    from adapters import modbus
    from gateway.config import load

    with (HERE.parent / "devices.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    images: dict[tuple[str, str], dict[int, int]] = {}
    for row in rows:
        image = images.setdefault((row["profile"], row["table"]), {})
        for i, word in enumerate(row["words"].split()):
            image[int(row["address"]) + i] = int(word, 16)
    protocols = {protocol.name: protocol for protocol in modbus.PROTOCOLS}
    machines = {}
    for profile in {row["profile"] for row in rows}:
        machines[profile] = load(_configuration(profile), protocols).machines["m"]
    powers = {(row["profile"], row["signal"]): float(row["value"]) for row in rows if row["signal"].endswith("_SF")}
    for row in rows:
        signal = machines[row["profile"]].signals[row["signal"]]
        if signal.value_type in ("bool", "string") or row["value"] in ("", "NaN"):
            continue
        image = images[row["profile"], row["table"]]
        where = row["profile"], row["signal"], signal.address
        scale = 10.0 ** powers[row["profile"], signal.scale_from] if signal.scale_from else signal.scale or 1.0
        yield Case(*where, signal.data_type, signal.wire_order, scale, float(row["value"]), image)


def _configuration(profile: str) -> Path:
    import tempfile

    file = Path(tempfile.mkdtemp()) / "gateway.yaml"
    connection = "connections: {c: {protocol: modbus-tcp, host: h}}"
    file.write_text(f"{connection}\nmachines: {{m: {{connection: c, profile: {profile}}}}}\n")
    return file


def map_cases() -> Iterator[Case]:
    """From the register maps beside the checkout: the same devices, one of them with all that was recorded around it."""
    for file in sorted(MAPS.glob("*.csv")):
        image = json.loads((MAPS / "images" / f"{file.stem}.image.json").read_text())
        tables = {code: {int(at): word for at, word in table.items()} for code, table in image["tables"].items()}
        for row in csv.DictReader(file.open(newline="")):
            value = image["expected"].get(row["name"])
            if row["type"] in ("bool", "bit", "string") or value in (None, "NaN"):
                continue
            words = tables[row["function_code"]]
            named = image["expected"].get(row["scale"])  # a register may hold the power of ten
            scale = float(row["scale"]) if named is None else 10.0**named
            type_ = row["type"].removesuffix("l")
            yield Case(file.stem, row["name"], int(row["address"]), type_, row["byte_order"], scale, value, words)


def rewritten(cases: Iterable[Case], order: str) -> Iterator[Case]:
    """The same devices, had their makers chosen another order. Registers of one word stay as they are."""
    for device in _by_device(cases):
        words = dict(device[0].words)
        for case in device:
            words |= case.words
        for case in device:
            size = REGISTERS[case.type]  # type: ignore[index]
            if size == 1:
                continue
            wire = b"".join(case.words[at].to_bytes(2, "big") for at in range(case.address, case.address + size))
            plain = bytes(wire[case.order.index(letter)] for letter in sorted(case.order))
            data = bytes(plain["ABCDEFGH".index(letter)] for letter in order_of(order, size))
            for i in range(size):
                words[case.address + i] = int.from_bytes(data[2 * i : 2 * i + 2], "big")
        for case in device:
            size = REGISTERS[case.type]  # type: ignore[index]
            yield replace(case, words=words, order=case.order if size == 1 else order_of(order, size))


def _by_device(cases: Iterable[Case]) -> list[list[Case]]:
    found: dict[tuple[str, int], list[Case]] = {}
    for case in cases:
        found.setdefault((case.device, id(case.words)), []).append(case)
    return list(found.values())


def shown(value: float, digits: int | None) -> str:
    """A value on a display with so many digits; integers that fit into them without a point."""
    if digits is None:
        return f"{value:.9g}"
    if float(value).is_integer() and len(f"{abs(value):.0f}") <= digits:
        return f"{value:.0f}"
    text = f"{value:.{digits}g}"
    return f"{float(text):.0f}" if "e+" in text else text


def verdict(case: Case, first: Reading | None, scaled: bool = True) -> str:
    """exact, sign, byte, or wrong."""
    if first is None or first.address != case.address:
        return "wrong"
    if scaled and abs(first.scale / case.scale - 1) > 1e-9:
        return "wrong"
    if (first.type, first.order) == (case.type, case.order):
        return "exact"
    if first.type == f"u{case.type}" and first.order == case.order and first.sign_is_open:
        return "sign"
    if (case.type, first.type) == ("uint8", "uint16") and isinstance(first.raw, int) and first.raw < 256:
        return "byte"
    return "wrong"


def score(
    cases: Iterable[Case], digits: int | None = 4, *, known: bool = True, value: bool = True, around: int = AROUND
) -> tuple[float, Counter[str], list[str]]:
    """The share that is right, how the verdicts are divided, and the wrong ones."""
    tally: Counter[str] = Counter()
    wrong = []
    for case in cases:
        text = shown(case.value, digits)
        found = readings(
            [case.around(around)], Displayed.of(text) if value else None, at=case.address if known else None
        )
        first = found[0] if found else None
        said = verdict(case, first, scaled=value)
        tally[said] += 1
        if said == "wrong":
            got = first and f"{first.address} {first.type} {first.order} x {first.scale:g} = {first.value}"
            wrong.append(
                f"{case.device} {case.name}: {text} is {case.address} {case.type} {case.order} x {case.scale:g}, not {got}"
            )
    return 1 - tally["wrong"] / tally.total(), tally, wrong


def main() -> None:
    verbose = "-v" in sys.argv
    sets = {"this repository": list(own_cases())}
    if MAPS.is_dir():
        sets["register maps"] = list(map_cases())

    def line(what: str, result: tuple[float, Counter[str], list[str]]) -> None:
        share, tally, wrong = result
        parts = ", ".join(f"{tally[each]} {each}" for each in ("exact", "sign", "byte", "wrong") if tally[each])
        print(f"  {what:<58} {100 * share:5.1f} %   {parts}")
        for each in wrong if verbose else ():
            print(f"      {each}")

    for name, cases in sets.items():
        print(f"{name}: {len(cases)} signals of {len({case.device for case in cases})} devices")
        for digits in (3, 4, None):
            line(f"value with {digits or 'all'} digits, address known", score(cases, digits))
        line("value with 4 digits, nothing but its own registers", score(cases, 4, around=0))
        line("value with 4 digits, somewhere among 33 registers", score(cases, 4, known=False))
        line("no value, address known (type and order only)", score(cases, None, value=False))
    print("the same devices, rewritten in other orders; value with 4 digits, address known")
    for order in ORDERS:
        line(order, score(rewritten(list(sets.values())[-1], order)))


if __name__ == "__main__":
    main()
