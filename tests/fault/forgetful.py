"""`gateway` with a buffer that forgets: a new folder at every start. The control of the tests that kill it."""

import tempfile
from pathlib import Path

from gateway.cli import main
from gateway.runtime.edge import edge


def _another(_: object) -> Path:
    return Path(tempfile.mkdtemp(prefix="buffer-", dir=Path.cwd()))  # the folder of the part, which is removed


edge.buffer_folder = _another

if __name__ == "__main__":
    main()
