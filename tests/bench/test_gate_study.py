"""The study of the gate: that its patches do what they say, and that its page says what its records say."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest

from bench.gate import page
from bench.gate.faults import FAULTS
from bench.gate.patches import HARMLESS, REWRITES, Patch, apply
from bench.gate.peers import COLUMNS
from bench.gate.study import NAMED
from bench.gate.variations import repeats
from gradlab.judge.compare import Finding

ROOT = Path(__file__).parents[2]


def test_there_is_enough_of_everything():
    names = [patch.name for patch in (*FAULTS, *HARMLESS, *REWRITES)]
    assert len(FAULTS) >= 20 and len(set(names)) == len(names)
    clean = list(repeats())
    assert len(clean) >= 50 and len({repeat.name for repeat in clean}) == len(clean)
    assert {"threads", "seeds", "processor", "jax", "batch order"} <= {repeat.kind for repeat in clean}


@pytest.mark.parametrize("patch", [*FAULTS, *HARMLESS, *REWRITES], ids=lambda patch: patch.name)
def test_every_patch_changes_a_file_that_still_compiles(patch, tmp_path):
    source = (ROOT / "bench" / "gate" if patch.file == "zoneout.py" else ROOT) / patch.file
    copy = tmp_path / patch.file
    copy.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, copy)
    apply(patch, tmp_path)
    assert copy.read_text() != source.read_text()
    compile(copy.read_text(), str(copy), "exec")


def test_a_patch_that_would_do_nothing_or_too_much_is_refused(tmp_path):
    (tmp_path / "a.py").write_text("x = 1\nx = 1\n")
    for old in ("y", "x"):
        with pytest.raises(ValueError, match=f"`{old}` stands [02] times in a.py"):
            apply(Patch("p", "", "a.py", ((old, "z"),)), tmp_path)


@pytest.mark.parametrize("decades", ["+0.0123", "-1.2e-04", "-inf", "nan"])
def test_what_counts_as_named(decades):
    finding = Finding(
        "adding-rnn", "initial", "regressed", f"w changed (w by 1 %); {decades} decades at lag 7 (t)"
    )
    found = NAMED.match(str(finding))
    assert (found["scenario"], found["decades"], found["lag"]) == ("adding-rnn", decades, "7")
    for text in ("crashed: ValueError", "regressed: adding-rnn after training: did not train", "inconclusive: x"):
        assert NAMED.match(text) is None


def test_the_change_is_that_of_the_seed_that_moved_most(tmp_path):
    before = {"a__initial": np.zeros((3, 4)), "b__trained": np.full((3, 4), -np.inf)}
    after = {name: values.copy() for name, values in before.items()}
    after["a__initial"][:, 2] = [0.1, 0.2, 9.0]
    for name, values in (("before", before), ("after", after)):
        np.savez(tmp_path / f"{name}.npz", **values)
    found = page.largest_change(tmp_path / "before.npz", tmp_path / "after.npz")
    assert found == {"scenario": "a", "part": "initial", "curve": "", "lag": 3, "decades": pytest.approx(9.0)}
    assert page.largest_change(tmp_path / "before.npz", tmp_path / "before.npz") == {"decades": 0.0}
    assert page.largest_change(tmp_path / "before.npz", tmp_path / "none.npz") == {}


def record(kind, code, *, named=True, same=False, peer=False):
    change = {"scenario": "adding-rnn-T24", "part": "trained", "lag": 3, "decades": 0.25}
    return {
        "kind": kind,
        "group": "threads",
        "name": f"{kind} {code}",
        "story": "a|b",
        "file": "x.py",
        "code": code,
        "named": named,
        "same_bits": same,
        "headline": "what it said",
        "change": change,
        "peers": dict.fromkeys(COLUMNS, peer),
    }


def test_the_page_counts_what_the_records_say(tmp_path):
    records = [
        record("fault", 1, peer=True),
        record("fault", 1, named=False),
        record("fault", 70),
        record("fault", 0),
    ]
    records += [
        record("harmless", 0),
        record("clean", 0, same=True),
        record("clean", 1),
        record("clean", 3, peer=True),
    ]
    page.write(tmp_path, records, {"jax": "1"})
    text = (tmp_path / "gate-study.md").read_text()
    assert (
        "| gradlab check | 1 of 4 | 1 of 3 |" in text
        and "| pytest-regressions, default | 1 of 4 | 1 of 3 |" in text
    )
    assert "2 of the 3 clean repeats differ" in text and "Of 1 the gate said that it cannot tell" in text
    assert "0.25 at lag 3, adding-rnn after training" in text and "a\\|b" in text
    rows = list(csv.DictReader((tmp_path / "gate-study.csv").read_text().splitlines()))
    assert [row["caught"] for row in rows[:4]] == ["True", "False", "False", "False"] and len(rows) == 8


def test_the_committed_page_is_of_these_patches():
    rows = list(csv.DictReader((ROOT / "results" / "gate-study.csv").read_text().splitlines()))
    assert [row["name"] for row in rows if row["kind"] == "fault"] == [patch.name for patch in FAULTS]
    assert [row["name"] for row in rows if row["kind"] == "harmless"] == [patch.name for patch in HARMLESS]
    assert [row["name"] for row in rows if row["kind"] == "clean"] == [repeat.name for repeat in repeats()]


def test_the_readme_states_what_the_page_says():
    text = (ROOT / "results" / "gate-study.md").read_text()
    readme = (ROOT / "README.md").read_text()
    head = text.partition("## Faults")[0].splitlines()
    rows = [line for line in head if line.startswith("| ") and " of " in line]
    assert len(rows) == 1 + len(COLUMNS)
    assert all((row in readme) == ("log10" not in row) for row in rows)
    differ = next(line for line in head if "clean repeats differ" in line).split()[0]
    assert f"{differ} of them differ in at least one bit" in " ".join(readme.split())
    assert "| pytest-regressions, rtol 1e-2, log10 | 36 of 36 | 0 of 53 |" in rows
