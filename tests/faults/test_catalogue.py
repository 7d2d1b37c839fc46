"""The catalogue of faults: complete, in both languages, and in step with the code."""

import json
import re
from pathlib import Path

import pytest

from gateway import faults
from gateway.faults.codes import OF_LOSS, OF_QUALITY, SEVERITIES
from gateway.model import REASONS, quality_text

ROOT = Path(__file__).parents[2]
CATALOGUE = ROOT / "gateway" / "faults"
TEXTS = {language: json.loads((CATALOGUE / f"{language}.json").read_text("utf-8")) for language in faults.LANGUAGES}
SOURCES = {
    file: file.read_text("utf-8")
    for package in ("gateway", "adapters")
    for file in (ROOT / package).rglob("*.py")
    if CATALOGUE not in file.parents
}
_VIETNAMESE = re.compile(r"[ăâđêôơưàảãáạằẳẵắặầẩẫấậèẻẽéẹềểễếệìỉĩíịòỏõóọồổỗốộờởỡớợùủũúụừửữứựỳỷỹýỵ]", re.I)
_FACT = re.compile(r"\{(\w+)\}")
FACTS = {"host", "port", "path", "topic", "user", "url"}
QUOTED = re.compile(r"\{local_echo: true\}|\{close_after_poll: true\}")  # YAML, and no fact


def sentences(language: str, code: str) -> list[str]:
    entry = TEXTS[language][code]
    return [entry["title"], *entry["causes"], *entry["checks"]]


def test_every_language_has_the_same_keys_in_the_order_of_the_codes() -> None:
    for texts in TEXTS.values():
        assert list(texts) == list(faults.codes())
        assert all(list(entry) == ["title", "causes", "checks"] for entry in texts.values())


@pytest.mark.parametrize("code", faults.codes())
def test_texts(code: str) -> None:
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", code)
    en, vi = (TEXTS[language][code] for language in ("en", "vi"))
    for key in ("causes", "checks"):
        assert 1 <= len(en[key]) <= 5
        assert len(en[key]) == len(vi[key])
    for mine, theirs in zip(sentences("en", code), sentences("vi", code), strict=True):
        assert sorted(_FACT.findall(mine)) == sorted(_FACT.findall(theirs))
        assert set(_FACT.findall(mine)) <= FACTS
    different = [a != b for a, b in zip(sentences("en", code), sentences("vi", code), strict=True)]
    assert all(different)
    for language in faults.LANGUAGES:
        assert 10 <= len(TEXTS[language][code]["title"]) <= 80
        for text in sentences(language, code):
            assert text == text.strip()
            assert 5 < len(text) <= 160
            assert not re.search(r"<[a-z/!]|&\w+;|\]\(|\*\*|`|^#|\n", text), "no markup: it is shown as it is"
            assert not re.search(r"[{}]", _FACT.sub("", QUOTED.sub("", text)))
    assert all(_VIETNAMESE.search(text) for text in sentences("vi", code))
    assert not any(_VIETNAMESE.search(text) for text in sentences("en", code))


def test_every_code_is_used_or_mapped() -> None:
    literals = {literal for text in SOURCES.values() for literal in re.findall(r'"([a-z][a-z-]+)"', text)}
    mapped = {*OF_QUALITY.values(), *OF_LOSS.values(), faults.fault_of_quality("bad:server:0x80010000"), "data-lost"}
    mapped |= {faults.fault_of_disk(OSError(number, "")) for number in (0, 1, 13, 28, 30, 122)}
    assert set(faults.codes()) - literals - mapped == set()


def test_every_code_in_the_code_is_in_the_catalogue() -> None:
    used = {
        (file.name, code)
        for file, text in SOURCES.items()
        for pattern in (r'fault="([\w-]+)"', r'Reason\(.*, "([a-z-]+)"\)', r'fault = "([\w-]+)"')
        for code in re.findall(pattern, text)
    }
    assert len(used) > 40, "the patterns still find what they are for"
    assert {(name, code) for name, code in used if code not in SEVERITIES} == set()


def test_tables_of_the_adapters() -> None:
    from adapters.modbus import trouble
    from adapters.opcua import explain
    from adapters.opcua.security import verdict

    codes = [*trouble.OF_EXCEPTION.values(), *trouble._OF_KIND.values(), *explain._FAULTS.values()]
    codes += verdict._FAULTS.values()
    assert set(codes) <= set(faults.codes())


def test_every_reason_of_a_quality_has_a_code_of_its_own_kind() -> None:
    assert set(OF_QUALITY) == set(REASONS.values())
    assert set(OF_QUALITY.values()) <= set(SEVERITIES)
    assert all(faults.fault_of_quality(quality_text(code)) in SEVERITIES for code in REASONS)


@pytest.mark.parametrize(
    ("quality", "code"),
    [
        ("good", ""),
        ("bad:unknown-node", "opcua-node-unknown"),
        ("uncertain:out-of-range", "value-out-of-range"),
        ("bad:server:0x80ABCDEF", "opcua-bad-value"),
    ],
)
def test_of_a_quality(quality: str, code: str) -> None:
    assert faults.fault_of_quality(quality) == code


@pytest.mark.parametrize(
    ("cause", "code"),
    [
        ("clock: the clock was set back by 3.0 s: followed", "clock-stepped"),
        ("buffer-full: not read", "buffer-full"),
        ("link-lost: what changed meanwhile was not kept", "connection-lost"),
        ("damaged", "data-lost"),
    ],
)
def test_of_a_loss(cause: str, code: str) -> None:
    assert faults.fault_of_loss(cause) == code
