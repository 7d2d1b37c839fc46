"""What all tests share: what may be missing here, and the word about it where it is."""

from __future__ import annotations

from pathlib import Path

import pytest

SHARED = Path(__file__).parents[2] / "shared"
OPEN62541 = Path(__file__).parents[1] / ".parts" / "bin" / "uaserver"
_OPTIONAL = {  # marker: what it needs, and how that is called
    "shared": (SHARED, "of recorded material, which is not beside this checkout"),
    "open62541": (OPEN62541, "against open62541, which tests/parts/setup.sh could not have"),
}
_left_out: dict[str, int] = {}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the tests out that need what is not there: they are counted, not skipped one by one."""
    for marker, (needed, _) in _OPTIONAL.items():
        if needed.exists():
            continue
        wanted = [item for item in items if marker in item.keywords]
        if wanted:
            _left_out[marker] = len(wanted)
            config.hook.pytest_deselected(items=wanted)
            items[:] = [item for item in items if item not in wanted]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for marker, count in _left_out.items():
        terminalreporter.write_line(f"left out: {count} tests {_OPTIONAL[marker][1]}")
