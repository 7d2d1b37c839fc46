"""gateway doctor | explain: what is wrong on this box, and what a fault means."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli.common import ConfigArgument, ConfigOption, Json, print_json
from gateway.errors import UsageError

if TYPE_CHECKING:
    from gateway.doctor import Finding

Language = Annotated[str, typer.Option("--language", help="Language of what to do: en or vi.")]

_STATES = {
    "en": {"ok": "ok", "warning": "warning", "wrong": "WRONG", "skipped": "skipped"},
    "vi": {"ok": "tốt", "warning": "chú ý", "wrong": "HỎNG", "skipped": "bỏ qua"},
}
_ENDS = {
    "en": ("all is well", "{} wrong, {} to look at"),
    "vi": ("mọi thứ đều tốt", "{} chỗ hỏng, {} chỗ cần xem"),
}
_PARTS = {"en": ("Likely causes", "What to check"), "vi": ("Nguyên nhân hay gặp", "Cần kiểm tra")}
_LIKELY = {"en": "likely", "vi": "thường do"}
_MOST_CAUSES = 3
_MOST_TO_DO = 4


def doctor(
    config: ConfigArgument = None,
    option: ConfigOption = None,
    no_network: Annotated[bool, typer.Option("--no-network", help="Ask nothing outside of this box.")] = False,
    code: Annotated[
        str | None,
        typer.Option("--explain", metavar="FAULT", help="Only tell what this fault means.", show_default=False),
    ] = None,
    language: Language = "en",
    json: Json = False,
) -> None:
    """Look at all this gateway stands on: clock, disk, rights, network, broker, store. Exit code 1 if something is wrong."""
    if code is not None:
        explain(code, language, json)
        return
    from gateway.doctor import examine
    from gateway.doctor.case import take

    _check_language(language)
    if config is not None and option is not None:
        raise UsageError(f"{config} and -c {option} are two configurations: one of them")
    findings = examine(take(config or option, network=not no_network))
    for finding in findings:
        if json:
            print_json(finding.row(language))
        else:
            _print(finding, language)
    wrong, warnings = (sum(each.state == state for each in findings) for state in ("wrong", "warning"))
    if not json:
        well, ill = _ENDS[language]
        print(ill.format(wrong, warnings) if wrong or warnings else well)
    if wrong:
        raise typer.Exit(1)


def explain(
    fault: Annotated[
        str, typer.Argument(metavar="FAULT", help="Its code, as in [modbus-no-answer]; `all` lists them.")
    ],
    language: Language = "en",
    json: Json = False,
) -> None:
    """Tell what a fault means: likely causes, and what to check."""
    from gateway import faults
    from gateway.config.explain import did_you_mean

    _check_language(language)
    fault = fault.strip("[] ")
    if fault == "all":
        for code in faults.codes():
            _print_title(code, faults.explain(code, language).title, json)
        return
    if fault not in faults.codes():
        raise UsageError(f"there is no fault '{fault}'; {did_you_mean(fault, faults.codes())}")
    told, severity = faults.explain(fault, language), faults.fault(fault).severity
    if json:
        row = {"fault": fault, "severity": severity, "title": told.title, "causes": told.causes, "checks": told.checks}
        print_json(row)
        return
    print(told.title)
    for part, sentences in zip(_PARTS[language], (told.causes, told.checks), strict=True):
        print(f"\n{part}")
        for number, sentence in enumerate(sentences, 1):
            print(f"  {number}. {sentence}")


def _check_language(language: str) -> None:
    from gateway.faults import LANGUAGES

    if language not in LANGUAGES:
        raise UsageError(f"--language {language}: {' or '.join(LANGUAGES)}")


def _print_title(code: str, title: str, json: bool) -> None:
    if json:
        print_json({"fault": code, "title": title})
    else:
        print(f"{code:<32}{title}")


def _print(finding: Finding, language: str) -> None:
    state = _STATES[language][finding.state]
    tag = f" [{finding.fault}]" if finding.fault and finding.state not in ("ok", "skipped") else ""
    print(f"{_coloured(f'{state:<9}', finding.state)}{finding.check:<15}{finding.text}{tag}")
    if tag and language != "en":
        print(f"{'':<24}{finding.title(language)}")
    for sentence in finding.causes(language)[:_MOST_CAUSES]:
        print(f"{'':<24}{_LIKELY[language]}: {sentence}")
    for sentence in finding.to_do(language)[:_MOST_TO_DO]:
        print(f"{'':<24}-> {sentence}")


_COLOURS = {"ok": "32", "warning": "33", "wrong": "31;1", "skipped": "2"}


def _coloured(text: str, state: str) -> str:
    import os

    if not sys.stdout.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return text
    return f"\033[{_COLOURS[state]}m{text}\033[0m"


def rows(path: Path | None, *, network: bool) -> list[dict[str, Any]]:
    """All findings, for a support bundle."""
    from gateway.doctor import examine
    from gateway.doctor.case import take

    return [finding.row() for finding in examine(take(path, network=network))]
