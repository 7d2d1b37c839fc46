"""The command line. One file per group of commands; each imports what it needs when it is called.

$ gateway --help        answers without loading an adapter, a broker client or a store
"""

from __future__ import annotations

import sys


def main() -> None:
    """The `gateway` command. Ends the process with one of the exit codes of gateway/errors.py."""
    try:
        from gateway.cli.app import app
        from gateway.errors import GatewayError

        try:
            if sys.argv[1:3] == ["completion", "words"]:  # at every key
                from gateway.cli.completion import answer

                answer(sys.argv[3:])
                return
            app(prog_name="gateway")
        except GatewayError as exc:
            print(exc, file=sys.stderr)
            sys.exit(exc.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except OSError as exc:  # whoever reads our output is gone, or the disk it goes to is full
        print(f"gateway: {exc}", file=sys.stderr)
        sys.exit(1)
