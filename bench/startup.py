"""Commands as a person types them, with results and compiled programs in a folder of their own."""

import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from bench.fleet import environment
from bench.rows import Row, aimed
from bench.targets import STARTUP_SECONDS

SECTION = "startup"
REPEATS, QUICK_REPEATS = 5, 3
GRADLAB = str(Path(sys.executable).with_name("gradlab"))
PROBE = ("probe", "adding", "--cell", "lstm", "--len", "200")
RUN = ("run", "adding", "--len", "200", "--cell", "lstm")
_TRAINED = re.compile(r"training step\s+[1-9]\d*\s+loss")


def run(repeats: int = REPEATS) -> Iterator[Row]:
    """Seconds from the shell, the cache of compiled programs warm."""
    with tempfile.TemporaryDirectory() as folder:

        def probe() -> float:
            return completed(folder, *PROBE)

        def first_loss() -> float:
            return until_first_loss(folder)

        yield _row("gradlab probe adding --cell lstm --len 200, no cache yet", [probe()])
        first_loss()
        yield _row("gradlab --help", _times(lambda: completed(folder, "--help"), repeats), "help")
        yield _row("gradlab probe adding --cell lstm --len 200", _times(probe, repeats), "probe")
        name = "gradlab run adding --len 200 --cell lstm, to the loss of training step 1"
        yield _row(name, _times(first_loss, repeats), "first loss")
        yield _row('python -c "import torch"', _times(_import_torch, repeats))


def completed(folder: str, *arguments: str) -> float:
    """Seconds until a command of gradlab has ended; its results are new each time."""
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=folder) as results:
        done = subprocess.run(
            [GRADLAB, *arguments], env=_environment(folder, results), capture_output=True, text=True
        )
    if done.returncode:
        raise RuntimeError(f"gradlab {' '.join(arguments)}: exit code {done.returncode}: {done.stderr}")
    return time.perf_counter() - started


def until_first_loss(folder: str) -> float:
    """Seconds until `gradlab run` tells a loss after a training step, on stderr as into any pipe."""
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=folder) as results:
        process = subprocess.Popen(
            [GRADLAB, *RUN],
            env=_environment(folder, results),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stderr is not None
        try:
            for line in process.stderr:
                if _TRAINED.search(line):
                    return time.perf_counter() - started
            raise RuntimeError(f"gradlab {' '.join(RUN)} told no loss: exit code {process.wait()}")
        finally:
            process.kill()
            process.stderr.close()
            process.wait()


def _environment(folder: str, results: str) -> dict[str, str]:
    return environment({"GRADLAB_CACHE": f"{folder}/cache", "GRADLAB_RESULTS": results})


def _import_torch() -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import torch"], check=True)
    return time.perf_counter() - started


def _times(measure: Callable[[], float], repeats: int) -> list[float]:
    return [measure() for _ in range(repeats)]


def _row(name: str, seconds: Sequence[float], target: str = "") -> Row:
    value, note = statistics.median(seconds), f"fastest {min(seconds):.2f} s of {len(seconds)}"
    return aimed(SECTION, name, STARTUP_SECONDS.get(target), value=value, unit="s", note=note)
