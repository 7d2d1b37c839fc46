"""The Debian package, built once for all tests that install it. DEB=FILE tests one that is there."""

import fcntl
import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def deb(tmp_path_factory) -> Path:
    if given := os.environ.get("DEB"):
        return Path(given)
    folder = tmp_path_factory.getbasetemp()
    out = (folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / "deb"
    out.mkdir(exist_ok=True)
    with (out / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # of the processes that share the tests one builds it
        if not list(out.glob("*.deb")):
            command = ["bash", str(ROOT / "deploy" / "debian" / "build.sh"), str(out)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr[-3000:]
    return next(out.glob("*.deb"))
