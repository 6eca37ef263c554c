"""What pytest-regressions says of the same curves: its own fixture, by default and with rtol 1e-2."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree

TOLERANCES = {"default": None, "rtol 1e-2": {"rtol": 1e-2}}
SCALES = ("norms", "log10")
COLUMNS = tuple(f"{tolerance}, {scale}" for tolerance in TOLERANCES for scale in SCALES)
_TEST = f"""
import json, numpy as np, pytest

CASES = json.load(open("cases.json"))
TOLERANCES = {TOLERANCES!r}

def numbers(path, scale):
    with np.load(path) as stored:
        return {{name: 10.0 ** stored[name] if scale == "norms" else stored[name] for name in stored.files}}

@pytest.mark.parametrize("scale", {SCALES!r})
@pytest.mark.parametrize("tolerance", list(TOLERANCES))
@pytest.mark.parametrize("case", list(CASES))
def test_curves(ndarrays_regression, case, tolerance, scale):
    ndarrays_regression.check(numbers(CASES[case], scale), basename=scale, default_tolerance=TOLERANCES[tolerance])
"""


def ask(folder: Path, blessed: Path, cases: Mapping[str, Path]) -> dict[str, dict[str, bool]]:
    """For each case, by the `COLUMNS`, whether the test fails.

    Args:
        folder: empty, to work in. blessed: the curves that are right. cases: others, by plain names.
    """
    (folder / "test_curves.py").write_text(_TEST)
    _run(folder, {"clean": blessed}, "--force-regen")
    return _run(folder, {"clean": blessed, **cases})


def _run(folder: Path, cases: Mapping[str, Path], *words: str) -> dict[str, dict[str, bool]]:
    (folder / "cases.json").write_text(json.dumps({name: str(path) for name, path in cases.items()}))
    report = folder / "report.xml"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junit-xml={report}", *words]
    done = subprocess.run([*command, "test_curves.py"], cwd=folder, capture_output=True, text=True)
    if done.returncode not in (0, 1):
        raise RuntimeError(done.stdout + done.stderr)
    tests = ElementTree.parse(report).getroot().iter("testcase")
    failed = {str(test.get("name")): len(test) > 0 for test in tests}
    return {
        case: {
            f"{tolerance}, {scale}": failed[f"test_curves[{case}-{tolerance}-{scale}]"]
            for tolerance in TOLERANCES
            for scale in SCALES
        }
        for case in cases
    }
