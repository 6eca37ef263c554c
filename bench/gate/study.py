"""Run the study: a tree for each change, `gradlab check` in it, and what a peer says of the same curves.

Every check is a process of its own, as in CI. What was run is kept: an interrupted study goes on where it stopped.
"""

import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from bench import say
from bench.gate import page, peers
from bench.gate.faults import FAULTS
from bench.gate.patches import HARMLESS, Patch, apply
from bench.gate.variations import JAXES, Repeat, repeats

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
WORK = ROOT / "results" / "gate-study"
BASE = WORK / "base"
NAMED = re.compile(
    r"^regressed: (?P<scenario>\S+) .*?"
    r"(?:(?P<decades>[+-]?(?:\d[\d.e+-]*|inf|nan)) decades at lag (?P<lag>\d+)| is .* and was measured as )"
)
LIMIT_SECONDS = 900


def main(words: Sequence[str]) -> None:
    """Run everything that is not done yet, or the named cases alone, and write the page.

    Rows of the page that were not run now stay as they are, with the commit that they are of.
    """
    jobs, names = int(words[0]) if words else 2, words[1:]
    _bless_base()
    todo = [("fault", patch) for patch in FAULTS] + [("harmless", patch) for patch in HARMLESS]
    cases = [(kind, Repeat(patch.name, kind, patch=patch)) for kind, patch in todo]
    cases += [("clean", repeat) for repeat in repeats()]
    order = [(kind, repeat.name) for kind, repeat in cases]
    if unknown := set(names) - {name for _, name in order}:
        raise SystemExit(f"there is no case `{min(unknown)}`")
    with ThreadPoolExecutor(jobs) as threads:
        asked = [case for case in cases if not names or case[1].name in names]
        records = list(threads.map(lambda case: _checked(*case), asked))
    _ask_peers(records)
    page.write(ROOT / "results", page.merged(ROOT / "results", records, order), _environment())


def _ask_peers(records: Sequence[dict[str, Any]]) -> None:
    """Add what a peer says of the same curves, where it is installed, and how far they moved."""
    base_curves = WORK / "curves" / "base.npz"
    curves = {record["key"]: WORK / "curves" / f"{record['key']}.npz" for record in records}
    alarms: dict[str, dict[str, bool]] = {}
    if importlib.util.find_spec("pytest_regressions"):
        folder = WORK / "peers"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        alarms = peers.ask(folder, base_curves, {key: path for key, path in curves.items() if path.exists()})
    for record in records:
        record["peers"] = alarms.get(record["key"], {})
        record["change"] = page.largest_change(base_curves, curves[record["key"]])


def _bless_base() -> None:
    """The tree without a change, blessed."""
    digest = hashlib.blake2b(digest_size=8)
    for path in sorted([*(ROOT / "gradlab").rglob("*.py"), HERE / "suite.toml", HERE / "zoneout.py"]):
        digest.update(path.read_bytes())
    mark = WORK / "source"
    if not mark.exists() or mark.read_text() != digest.hexdigest():
        shutil.rmtree(WORK, ignore_errors=True)
        (WORK / "curves").mkdir(parents=True)
        (WORK / "commit").write_text(_commit())
        _tree(BASE, None)
        done = _run(BASE, "base", Repeat("base", "base"), "bless", "study")
        if done.returncode:
            raise SystemExit(done.stdout + done.stderr)
        mark.write_text(digest.hexdigest())


def _tree(tree: Path, patch: Patch | None) -> None:
    shutil.rmtree(tree, ignore_errors=True)
    (tree / "experiments").mkdir(parents=True)
    # The package may be worked on while the study runs, so what is changed is the copy that was blessed.
    origin = ROOT if tree == BASE else BASE
    shutil.copytree(origin / "gradlab", tree / "gradlab", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(HERE / "suite.toml", tree / "experiments" / "study.toml")
    shutil.copy(HERE / "zoneout.py", tree)
    if patch is not None:
        apply(patch, tree)


def _run(tree: Path, key: str, repeat: Repeat, *words: str) -> subprocess.CompletedProcess[str]:
    flags = repeat.environment.get("XLA_FLAGS", "") + repeat.jax
    cache = WORK / "cache" / hashlib.blake2b(flags.encode(), digest_size=4).hexdigest()
    names = {"GRADLAB_CACHE": str(cache), "GRADLAB_RESULTS": str(tree / "results"), "TF_CPP_MIN_LOG_LEVEL": "3"}
    names |= {"PYTHONPATH": str(_other_jax(repeat.jax))} if repeat.jax else {}
    clean = {name: value for name, value in os.environ.items() if name not in ("XLA_FLAGS", "GITHUB_ACTIONS")}
    command = [
        sys.executable,
        str(HERE / "driver.py"),
        str(WORK / "curves" / f"{key}.npz"),
        str(repeat.seed),
        *words,
    ]
    if repeat.cores:
        command = ["taskset", "--cpu-list", "0", *command]
    environment = clean | names | repeat.environment
    return subprocess.run(
        command, cwd=tree, env=environment, capture_output=True, text=True, timeout=LIMIT_SECONDS
    )


def _other_jax(version: str) -> Path:
    return ROOT / ".venv-gate" / "other-jax" / version


def _checked(kind: str, repeat: Repeat) -> dict[str, Any]:
    """The record of one check, from disk where it was done before."""
    key = hashlib.blake2b(repr((kind, repeat)).encode(), digest_size=6).hexdigest()
    kept = WORK / "records" / f"{key}.json"
    if kept.exists():
        found: dict[str, Any] = json.loads(kept.read_text())
        return found
    started = time.perf_counter()
    tree = WORK / "trees" / key
    _tree(tree, repeat.patch)
    shutil.copytree(BASE / "results" / "baselines", tree / "results" / "baselines")
    done = _run(tree, key, repeat, "check", "study", "--json")
    record = _record(kind, repeat, key, done) | {"seconds": time.perf_counter() - started}
    shutil.rmtree(tree)
    kept.parent.mkdir(exist_ok=True)
    kept.write_text(json.dumps(record, indent=1))
    say(f"{kind}: {repeat.name}: exit {record['code']}, {record['headline'][:140]} ({record['seconds']:.0f} s)")
    return record


def _record(kind: str, repeat: Repeat, key: str, done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    story = repeat.patch.story if repeat.patch else ""
    record: dict[str, Any] = {"kind": kind, "group": repeat.kind, "name": repeat.name, "story": story, "key": key}
    record["file"], record["commit"] = repeat.patch.file if repeat.patch else "", (WORK / "commit").read_text()
    record["code"] = done.returncode
    try:
        value = json.loads(done.stdout)
    except ValueError:
        tail = (done.stderr.strip().splitlines() or ["nothing"])[-1]
        return record | {"headline": f"crashed: {tail}", "named": False, "same_bits": False}
    scenarios = value["suites"][0]["scenarios"]
    same = all(one["bits"] == one["baseline_bits"] for one in scenarios)
    named = NAMED.match(value["headline"]) is not None
    return record | {"headline": value["headline"], "named": named, "same_bits": same}


def _commit() -> str:
    """The commit of the tree, with a plus where it has changes."""
    words = ["git", "describe", "--always", "--dirty=+", "--exclude=*"]
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def _environment() -> dict[str, str]:
    path = next(
        path for path in (BASE / "results/baselines/study").glob("*.json") if "population" not in path.name
    )
    found: dict[str, str] = json.loads(path.read_text())["environment"]
    return found | {"other jax": ", ".join(JAXES)}
