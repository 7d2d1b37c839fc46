"""gateway init: a few questions, and a configuration that can be run. Nothing is written before the last answer."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.common import Json, print_json
from gateway.cli.init_questions import SAID, Language, Question


def init(
    folder: Annotated[
        Path, typer.Argument(metavar="[FOLDER]", help="Where to; made if it is not there.", show_default=False)
    ] = Path(),
    answers: Annotated[
        Path | None,
        typer.Option(
            "--answers", metavar="FILE", help="Take the answers from a YAML file, and defaults for the rest.", show_default=False,
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Take all defaults.")] = False,
    language: Annotated[
        Language | None, typer.Option("--language", help="Of the questions and comments; else that of LANG.", show_default=False)
    ] = None,
    json: Json = False,
) -> None:  # fmt: skip
    """Ask for the first machine, broker and store, and write a commented configuration. Overwrites nothing."""
    from gateway.cli import init_files
    from gateway.cli.init_questions import questions
    from gateway.errors import UsageError

    if json and answers is None and not yes:
        raise UsageError("--json asks nothing: --yes takes the defaults, --answers FILE what stands there")
    tongue = language or ("vi" if _locale().startswith("vi") else "en")
    init_files.check_free(folder, {})
    profiles = _profiles()
    asked = questions(profiles)
    if answers is not None or yes:
        given = _from_file(answers, asked) if answers is not None else _defaults(asked, {})
    elif not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError("nobody is there to answer: --yes takes the defaults, --answers FILE what stands there")
    else:
        try:
            given = _Interview(tongue).run(asked)
        except (KeyboardInterrupt, EOFError):
            print(f"\n{SAID['stopped'][tongue]}", file=sys.stderr)
            raise typer.Exit(130) from None
    parameters = profiles.get(given["protocol"].partition("-")[0], {}).get(given["profile"], {})
    files = init_files.files_of(given, parameters, tongue)
    init_files.check_free(folder, files)
    _check(files)
    try:
        written = init_files.write(folder, files)
    except OSError as exc:
        raise init_files.unwritable(folder, exc) from exc
    if json:
        next_ = init_files.next_commands(given, folder)
        print_json({"folder": str(folder), "files": [str(each) for each in written], "next": list(next_)})
        return
    print(SAID["written"][tongue], *written, sep="\n  ")
    print(SAID["next"][tongue], *init_files.next_commands(given, folder), sep="\n  ")


def _locale() -> str:
    return next((told for name in ("LC_ALL", "LC_MESSAGES", "LANG") if (told := os.environ.get(name))), "")


def _profiles() -> dict[str, dict[str, dict[str, str]]]:
    """The profiles that come along, by family of protocols: of each the parameters a machine has to say, with examples."""
    from gateway.config.yaml_file import read_yaml
    from gateway.runtime.registry import protocols

    found: dict[str, dict[str, dict[str, str]]] = {}
    files = {file for p in protocols().values() if p.profiles is not None for file in p.profiles.glob("*.yaml")}
    for file in sorted(files, key=lambda each: each.name):
        profile = read_yaml(file).plain()
        open_ones = {k: str(v["example"]) for k, v in (profile.get("parameters") or {}).items() if "example" in v}
        found.setdefault(str(profile.get("protocol")), {})[file.stem] = open_ones
    return found


def _defaults(asked: list[Question], given: Mapping[str, str]) -> dict[str, str]:
    """What was given, and the defaults of the rest."""
    found: dict[str, str] = {}
    for question in asked:
        if question.when(found):
            found[question.name] = given.get(question.name, question.default(found))
    return found


def _from_file(file: Path, asked: list[Question]) -> dict[str, str]:
    """Answers out of a file. Raises ConfigErrors, each mistake at its line."""
    from gateway.config.explain import did_you_mean
    from gateway.config.yaml_file import read_yaml
    from gateway.errors import ConfigErrors

    node = read_yaml(file)
    if not node.is_mapping:
        raise ConfigErrors([node.mark.error("answers are a mapping (question: answer)", "for example host: 10.0.0.5")])
    known, errors = {question.name: question for question in asked}, []
    for key, mark in node.keys.items():
        if key not in known:
            errors.append(mark.error(f"'{key}' is not asked", did_you_mean(key, known), key))
    plain = {key: "" if value is None else str(value) for key, value in node.plain().items()}
    found = _defaults(asked, plain)
    for key in plain.keys() & known.keys():
        question = known[key]
        if key not in found:
            hint = f"protocol is {found['protocol']}, store is {found['store']}"
            errors.append(node.keys[key].error(f"'{key}' does not fit to the other answers", hint, key))
        elif not question.accepts(found[key], found):
            hint = question.wrong["en"]
            if question.choices is not None:
                hint = ", ".join(question.choices(found)[:30])
            errors.append(node.find([key]).error(f"'{plain[key]}' cannot be used", hint, key))
    if errors:
        raise ConfigErrors(sorted(errors, key=lambda error: error.line))
    return found


class _Interview:
    """With a person."""

    def __init__(self, language: Language) -> None:
        self._language = language

    def run(self, asked: list[Question]) -> dict[str, str]:
        """All answers. Raises KeyboardInterrupt, EOFError."""
        print(SAID["welcome"][self._language])
        given: dict[str, str] = {}
        for i, question in enumerate(asked):
            if question.when(given):
                given[question.name] = self._ask(question, given)
            if question.name in ("port", "url") and question.name in given:
                self._try(given, asked[: i + 1])
        return given

    def _ask(self, question: Question, given: Mapping[str, str]) -> str:
        language = self._language
        print(f"\n{question.about[language]}")
        choices = question.choices(given) if question.choices is not None else ()
        for i, choice in enumerate(choices, 1):
            print(f"  {i:>2} {choice}")
        default = question.default(given)
        while True:
            typed = input(f"{question.text[language]} [{default}]: ").strip()
            answer = typed or default
            if choices and answer.isdigit() and 0 < int(answer) <= len(choices):
                answer = choices[int(answer) - 1]
            if question.accepts(answer, given):
                return answer
            print(f"  {answer}: {question.wrong[language]}")

    def _try(self, given: dict[str, str], asked: list[Question]) -> None:
        """Whether it can be reached, if that is wanted; and the address again, if it cannot."""
        while self._agrees("try"):
            reason = _reach(given)
            if not reason:
                print(SAID["answers"][self._language])
                return
            print(SAID["silent"][self._language].format(reason=reason))
            if not self._agrees("again"):
                return
            for question in asked:
                if question.name in ("host", "port", "url") and question.name in given:
                    given[question.name] = self._ask(question, given)

    def _agrees(self, what: str) -> bool:
        return input(f"{SAID[what][self._language]} ").strip().lower() in ("y", "yes", "j", "c", "có", "co")


def _reach(given: Mapping[str, str]) -> str:
    """Empty if somebody takes the connection, else why not."""
    import socket
    from urllib.parse import urlsplit

    if "url" in given:
        parts = urlsplit(given["url"])
        address = parts.hostname or "", parts.port or 4840
    else:
        address = given["host"], int(given["port"])
    try:
        socket.create_connection(address, timeout=3).close()
    except OSError as exc:
        return exc.strerror or str(exc)
    return ""


def _check(files: Mapping[str, str]) -> None:
    """As `gateway config check` will. Raises ConfigErrors."""
    from gateway.config import load
    from gateway.runtime.registry import protocols

    with tempfile.TemporaryDirectory(prefix="gateway-init-") as name:
        for path, text in files.items():
            file = Path(name) / path
            file.parent.mkdir(exist_ok=True)
            file.write_text(text, encoding="utf-8")
        load(Path(name), protocols())
