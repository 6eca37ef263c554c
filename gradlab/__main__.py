"""The `gradlab` command, also as `python -m gradlab`."""

import os
import signal


def entry() -> None:
    """Run the command of this process and end with its exit code."""
    # Until a command handles it, and while modules are imported, Ctrl-C ends the process without a traceback.
    signal.signal(signal.SIGINT, lambda number, frame: os._exit(128 + number))
    from gradlab.cli.app import main
    from gradlab.cli.interrupts import leave

    leave(main())


if __name__ == "__main__":
    entry()
