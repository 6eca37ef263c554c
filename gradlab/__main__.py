"""The `gradlab` command, also as `python -m gradlab`."""

import os
import signal
import sys


def entry() -> None:
    """Run the command of this process and end with its exit code."""
    # Until a command handles it, and while modules are imported, Ctrl-C ends the process without a traceback.
    signal.signal(signal.SIGINT, lambda number, frame: os._exit(128 + number))
    from gradlab.cli.app import main
    from gradlab.cli.interrupts import leave

    leave(main())


if __name__ == "__main__":
    # Python has put the working folder first: a file in it must not stand for an installed package.
    if not sys.flags.safe_path and sys.path[0] in ("", os.getcwd()):
        del sys.path[0]
    entry()
