"""What all tests share: material that lies beside the checkout, and the word about it where it does not."""

from __future__ import annotations

from pathlib import Path

import pytest

SHARED = Path(__file__).parents[2] / "shared"
_left_out = 0


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Without ../shared, leave the tests out that are made of it: they are counted, not skipped one by one."""
    global _left_out
    if SHARED.is_dir():
        return
    wanted = [item for item in items if "shared" in item.keywords]
    _left_out = len(wanted)
    config.hook.pytest_deselected(items=wanted)
    items[:] = [item for item in items if item not in wanted]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _left_out:
        terminalreporter.write_line(
            f"left out: {_left_out} tests of recorded material, which is not beside this checkout"
        )
