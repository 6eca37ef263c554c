"""Attempts at runs whose process lives or is dead, for the tests of what reads and removes them."""

import json
import subprocess
import sys
import textwrap
from contextlib import contextmanager

from gradlab.runs.store import Store

WRITER = textwrap.dedent("""
    import json, sys
    from gradlab.runs.store import Store

    attempt = Store(sys.argv[1]).begin(sys.argv[2], json.loads(sys.argv[3]))
    print(attempt.path, flush=True)
    input()
""")


def dead_attempt(root, run_id, config):
    """The directory of an attempt that nobody holds any more, as after the death of its process."""
    attempt = Store(root).begin(run_id, config)
    attempt.lock.release()
    return attempt.path


@contextmanager
def living_attempt(root, run_id, config, prefix=()):
    """A process that holds an attempt until the end of the block; its standard output has told the directory."""
    words = [*prefix, sys.executable, "-c", WRITER, str(root), run_id, json.dumps(config)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        process.path = process.stdout.readline().strip()
        assert process.path, "it could not begin"
        try:
            yield process
        finally:
            process.kill()
