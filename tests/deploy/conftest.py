"""The Debian package, built once for all tests that install it. DEB=FILE tests one that is there."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def deb(tmp_path_factory) -> Path:
    if given := os.environ.get("DEB"):
        return Path(given)
    out = tmp_path_factory.mktemp("deb")
    command = ["bash", str(ROOT / "deploy" / "debian" / "build.sh"), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return next(out.glob("*.deb"))
