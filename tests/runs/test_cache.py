"""The cache of compiled programs: kept, checked, bounded, switched off."""

import os
import subprocess
import sys
import zlib

from sweeping import NOT_A_USERS

from gradlab.runs.cache import tidy

PROBE = ["probe", "adding", "--cell", "rnn", "--len", "7", "--hidden", "4", "-q"]


def probe(tmp_path, results, **environment):
    """Run one command in a process of its own; its stderr."""
    names = {"GRADLAB_CACHE": str(tmp_path / "cache"), "GRADLAB_RESULTS": str(tmp_path / results), **environment}
    # Importing jax, as the tests have done, sets the level of its log for every child process.
    clean = {key: value for key, value in os.environ.items() if key not in NOT_A_USERS}
    code = "import sys; from gradlab.cli.app import main; sys.exit(main(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", code, *PROBE], env=clean | names, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


def entries(tmp_path):
    return {path.name: path for path in (tmp_path / "cache").glob("*/*-cache")}


def test_programs_are_kept_and_a_torn_one_is_compiled_again_in_silence(tmp_path):
    assert probe(tmp_path, "first") == ""
    made = {name: path.stat().st_mtime_ns for name, path in entries(tmp_path).items()}
    assert made
    torn = max(entries(tmp_path).values(), key=lambda path: path.stat().st_size)
    whole = torn.stat().st_size
    with open(torn, "r+b") as file:
        file.truncate(whole // 2)
    assert probe(tmp_path, "second") == ""
    again = {name: path.stat().st_mtime_ns for name, path in entries(tmp_path).items()}
    assert {name for name in made if again[name] != made[name]} == {torn.name}
    assert torn.stat().st_size > whole // 2


def test_off_means_off(tmp_path):
    probe(tmp_path, "results", GRADLAB_CACHE="off")
    assert not (tmp_path / "cache").exists() and not (tmp_path / "off").exists()


def test_the_oldest_entries_go_first_when_there_are_too_many(tmp_path):
    for age, name in enumerate(["new", "old", "older"]):
        path = tmp_path / f"{name}-cache"
        path.write_bytes(zlib.compress(os.urandom(1000)))
        os.utime(path, ns=(10**18 - age, 10**18 - age))
    tidy(tmp_path, limit=2500)
    assert sorted(path.name for path in tmp_path.glob("*-cache")) == ["new-cache", "old-cache"]
