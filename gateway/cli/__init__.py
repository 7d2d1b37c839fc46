"""The command line. One file per group of commands; each imports what it needs when it is called.

$ gateway --help        answers without loading an adapter, a broker client or a store
"""

from __future__ import annotations

import sys


def main() -> None:
    """The `gateway` command. Ends the process with one of the exit codes of gateway/errors.py."""
    from gateway.cli.app import app
    from gateway.errors import GatewayError

    try:
        app(prog_name="gateway")
    except GatewayError as exc:
        print(exc, file=sys.stderr)
        sys.exit(exc.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
