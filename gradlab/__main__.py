"""`python -m gradlab`."""

import os
import sys

if __name__ == "__main__":
    # Python has put the working folder first: a file in it must not stand for an installed package.
    if not sys.flags.safe_path and sys.path[0] in ("", os.getcwd()):
        del sys.path[0]
    from gradlab.cli.app import entry

    entry()
