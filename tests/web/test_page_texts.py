"""The words of the pages: the same in both languages, all there, none too many."""

import json
import re
from functools import cache

import pytest

from gateway.config.production import WORDS
from gateway.model import REASONS
from gateway.production.doing import _TEXTS
from gateway.production.energy import ENERGY_FORMULAS, ENERGY_INPUTS
from gateway.production.kpi import FORMULAS, INPUTS
from web.pages.looking import PAGES

# Keys that are put together: what stands in front, and what can follow. What follows an empty list is data of others.
FAMILIES: dict[str, list[str]] = {
    "quality.": ["good", "uncertain", "bad", "server", *REASONS.values()],
    "doing.": list(WORDS),
    "figure.": [*FORMULAS, *ENERGY_FORMULAS],
    "input.": [name for name in (*INPUTS, *ENERGY_INPUTS) if name != "peak_start_ns"],
    "interval.": ["shift", "hour", "day", "demand"],
    "stage.": ["read", "normalized", "accepted", "sent", "stored"],
    "kind.": ["gateway", "machine", "broker", "store", "buffer", "clock", "config", "loss", "access"],
    "event.": [
        "machine.online", "machine.degraded", "machine.offline", "gateway.started", "gateway.stopped", "buffer.well",
        "buffer.trouble", "clock", "loss", "config.reloaded", "config.refused", "config.rolled-back", "config.failed",
        "config.safe mode", "gateway.online", "gateway.degraded", "access.logged-in", "access.logged-out", "access.refused",
        "access.password-set", "broker.online", "broker.degraded", "broker.offline", "store.online", "store.degraded",
        "store.offline", "store.unused",
    ],
    "from.": ["file", "profile", "shipped", "default", "environment"],
    "role.": ["viewer", "engineer"],
    "doubt.": [
        "late", "no_readings", "estimated_energy", "estimated", "not_read_planned", "not_read", "more_good", "sums",
        "state_unknown", "performance", "came_late", "peak", "steps", "never_running",
    ],
    "delivery_": ["store", "broker"],
    "n_of_all_": ["offline", "degraded"],
    "span.": ["15min", "1h", "8h", "24h", "7d"],
    "about.": list(_TEXTS), "formula.": ["oee", "nee", *ENERGY_FORMULAS], "said.": [], "said.way_": ["forward", "back"],
    "counter.": [], "reason.": ["starting"], "cause.": [], "disk.": [],
}  # fmt: skip


@cache
def texts(language: str) -> dict[str, str]:
    content = (PAGES / f"{language}.js").read_text()
    found: dict[str, str] = json.loads(content[content.index("{") : content.rindex("}") + 1])
    return found


@cache
def code() -> str:
    scripts = [path.read_text() for path in sorted(PAGES.glob("*.js")) if path.stem not in ("en", "vi")]
    return "\n".join([*scripts, (PAGES / "index.html").read_text()])


def asked() -> set[str]:
    """What is asked for by its whole name."""
    found = set(re.findall(r'\b(?:t|plural|some)\("([^"]+)"', code()))
    for condition in re.findall(r'\bt\([^"()]*(?:\([^()]*\))?[^"()]*\? ("[^"]+" : "[^"]+")', code()):
        found |= set(re.findall(r'"([^"]+)"', condition))
    return found | set(re.findall(r'data-(?:text|label)="([^"]+)"', code()))


def of_sentences() -> set[str]:
    """The keys of the tables of sentences (`formsOf` in said.js and doubts.js)."""
    return set(re.findall(r'^  \["(\w+\.\w+)", ["`]', code(), re.MULTILINE))


def test_every_sentence_of_the_tables_has_a_text_and_every_text_a_sentence() -> None:
    others = {"said.days", "said.way_forward", "said.way_back"}
    assert of_sentences() == {key for key in texts("en") if key.startswith(("said.", "doubt."))} - others


def test_what_the_gateway_says_of_its_own_signals_is_what_the_page_says_in_english() -> None:
    """The English of these two tables is that of the gateway, so that nothing changes for those who read English."""
    english = texts("en")
    assert {name: english[f"about.{name}"] for name in _TEXTS} == dict(_TEXTS)
    formulas = {key.removeprefix("formula."): text for key, text in english.items() if key.startswith("formula.")}
    assert formulas == {name: {**FORMULAS, **ENERGY_FORMULAS}[name].text for name in formulas}
    # A formula with words in it is in the table: what is left out has only symbols (PBT, APT …) and sum().
    symbols = re.compile(r"(?:sum\(TTR\)|[A-Z]{2,5}|[-+×/() ])+")
    assert {n for n, f in {**FORMULAS, **ENERGY_FORMULAS}.items() if not symbols.fullmatch(f.text)} == set(formulas)


def test_both_languages_say_the_same() -> None:
    english, vietnamese = texts("en"), texts("vi")
    assert list(english) == list(vietnamese)
    for key, text in english.items():
        assert vietnamese[key].strip(), key
        assert sorted(re.findall(r"\{\w+\}", text)) == sorted(re.findall(r"\{\w+\}", vietnamese[key])), key


def test_every_text_that_is_asked_for_is_there() -> None:
    assert len(asked()) > 150
    assert asked() - set(texts("en")) == set()
    assert {front + rest for front, many in FAMILIES.items() for rest in many} - set(texts("en")) == set()


def test_families_are_those_of_the_code() -> None:
    fronts = set(re.findall(r"\b(?:t|some)\(`([\w.]+?)\$\{", code()))
    fronts |= set(re.findall(r"`(counter\.)\$\{", code()))
    fronts |= {key.partition(".")[0] + "." for key in of_sentences()}
    assert fronts == set(FAMILIES)


def test_no_text_is_there_for_nothing() -> None:
    unused = [
        key
        for key in texts("en")
        if f'"{key.removesuffix(".one")}"' not in code() and not any(key.startswith(front) for front in FAMILIES)
    ]
    # States are asked for by their own name.
    assert unused == []


@pytest.mark.parametrize("key", ["online", "degraded", "offline", "unused", "unknown", "true", "false"])
def test_states_and_switches_have_words(key: str) -> None:
    assert key in texts("en")


def test_vietnamese_is_vietnamese() -> None:
    """Hardly a text without a letter that only Vietnamese has; those that are the same in both are names."""
    same = {key for key, text in texts("vi").items() if text == texts("en")[key]}
    names = {"broker", "kind.broker", "oee", "figure.oee", "figure.nee", "figure.co2e", "logged_in", "span.1h"}
    assert same <= names


def test_nothing_of_the_pages_is_code_from_text() -> None:
    """Trusted Types would stop it in a browser that knows them; here it is not even written."""
    for forbidden in (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "new Function",
        "style=",
    ):
        assert forbidden not in code(), forbidden
    assert not re.search(r"https?://(?!www\.w3\.org)", code())
