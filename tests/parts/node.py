"""What the parts written in JavaScript share."""

import json
from pathlib import Path

from .lines import LinePart
from .process import INSTALLED, program

PACKAGES = INSTALLED / "node"


class NodePart(LinePart):
    """A script with its options as its last argument."""

    script: Path
    folder_of_work = PACKAGES
    environment = {"NODE_NO_WARNINGS": "1"}  # noqa: RUF012

    def command(self) -> list[str]:
        if not (PACKAGES / "node_modules").is_dir():
            raise RuntimeError("the node packages are not installed: run tests/parts/setup.sh")
        # Handed over as text, a script finds its packages from the working directory.
        return [program("node"), "--input-type=module", "--eval", self.source(), json.dumps(self.options())]

    def source(self) -> str:
        """The text of the script."""
        return self.script.read_text()
