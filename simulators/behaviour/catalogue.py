"""The scenarios that come with it: simulators/scenarios, by name. They are made for the demo plant, and fit any other.

What they name that a configuration does not have is left out with a note.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from gateway.config.explain import did_you_mean
from gateway.errors import UsageError
from simulators.behaviour.scenario import FOLDER, Scenario, read_scenario


def catalogue() -> Mapping[str, Path]:
    """By name."""
    return {path.stem: path for path in sorted(FOLDER.glob("*.yaml"))}


def about(path: Path) -> str:
    """What a scenario says of itself: its first line."""
    return path.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ")


def listing() -> str:
    """All of them, a line each."""
    known = catalogue()
    width = max(map(len, known))
    return "\n".join(f"{name:{width}}  {about(path)}" for name, path in known.items())


def scenario_of(text: str) -> Scenario:
    """A file, or one of the catalogue by its name. Raises UsageError, ConfigErrors."""
    known = catalogue()
    if text in known and not Path(text).is_file():
        return read_scenario(known[text])
    path = Path(text)
    if not path.exists() and path.suffix == "" and len(path.parts) == 1:
        hint = did_you_mean(text, known)
        raise UsageError(f"there is no file '{text}', and no scenario of this name; {hint}\n{listing()}")
    return read_scenario(path)
