"""An outage is over: what waited drains fast, what is new does not wait for it, and all of it arrives.

In the long: tests/bench/outage.py, three days of it.
"""

from __future__ import annotations

import pytest

from bench.outage import drain

SECONDS = 3600  # of 100 readings each
REAL_TIME = 20  # times as fast it has to drain
LATE = 2.0  # seconds


@pytest.mark.timeout(180)
def test_a_backlog_drains_beside_what_is_new():
    found = drain(SECONDS, limit=90, watch_all=True)
    assert found.whole, f"{found.drained} of {found.messages} messages in {found.seconds:.0f} s"
    assert found.wrong == []
    assert found.unanswered == 0
    assert found.rate >= REAL_TIME * 100
    assert len(found.to_store) >= 5
    assert found.to_subscriber[len(found.to_subscriber) * 95 // 100] <= LATE
    assert found.to_store[len(found.to_store) * 95 // 100] <= LATE
