"""Baselines that are damaged: one line that names file and field, or a comparison, never an exception."""

import copy
import json
import os

import numpy as np
import pytest

from gradlab.errors import UnreadableBaseline
from gradlab.judge.baseline import Baseline, paths_of, read_baseline, write_baseline
from gradlab.judge.check import check, judge
from gradlab.judge.measure import GuardedCurve, Measurement, Part, named_curves, sketch
from gradlab.judge.samples import judge_samples
from gradlab.judge.suite import Scenario

SEEDS, LAGS = 3, [1, 2, 4]
SCENARIO = Scenario("s", {"cell": "x"}, SEEDS, 8, 1, "float32", lambda: pytest.fail("nothing is measured"))
VALUES = (None, True, "x", "1.5", -1, 0, 1.5, 10**400, [], {}, [[1]], {"0": 1}, float("nan"))
HERE = {"jax": "1", "platform": "cpu"}


def measured():
    curves = -np.outer(np.ones(SEEDS), LAGS)
    more = {"total/h": GuardedCurve([1, 4], curves[:, [0, 2]]), "every 1/h": GuardedCurve([1, 4], curves[:, :2])}
    parts = {
        name: Part(curves, np.full(SEEDS, 4), np.full(SEEDS, loss), more)
        for name, loss in (("initial", 1.0), ("trained", 0.5))
    }
    sketches = [sketch({"w": np.arange(4.0)})] * SEEDS
    return Measurement(LAGS, parts, sketches, sketches, "00")


@pytest.fixture
def folder(tmp_path):
    now = measured()
    noise = {name: np.zeros(values.shape[1]) for name, values in named_curves(now).items()}
    baseline = Baseline({"cell": "x"}, "why", HERE, "twin", noise, now, LAGS, np.zeros((8, len(LAGS))))
    write_baseline(tmp_path, "s", baseline)
    return tmp_path


def places(value, path=()):
    """The path of every field and item."""
    for key, item in value.items() if isinstance(value, dict) else enumerate(value):
        yield (*path, key)
        if isinstance(item, (dict, list)):
            yield from places(item, (*path, key))


def damages(value):
    """Every field or item gone, doubled or of another type, one at a time."""
    for path in places(value):
        for new in ("gone", *VALUES):
            damaged = copy.deepcopy(value)
            parent = damaged
            for key in path[:-1]:
                parent = parent[key]
            if new == "gone":
                del parent[path[-1]]
            else:
                parent[path[-1]] = new
            yield path, new, damaged


@pytest.mark.parametrize("index", [0, 1], ids=["curves", "population"])
def test_every_damage_is_named_or_compared(folder, index, monkeypatch):
    # A large noise makes lags chaotic, which are left to samples.
    monkeypatch.setattr("gradlab.judge.check.measure_population", lambda scenario, lags: np.zeros((8, len(lags))))
    path = paths_of(folder, "s")[index]
    refused = 0
    for place, new, damaged in damages(json.loads(path.read_text())):
        path.write_text(json.dumps(damaged))
        try:
            baseline = read_baseline(folder, "s")
        except UnreadableBaseline as problem:
            said = str(problem)
            assert str(path) in said and "\n" not in said and len(said) < 500
            assert str(place[0]) in said, (place, new, said)
            refused += 1
            continue
        result, samples = judge(SCENARIO, baseline, measured(), HERE)
        found = [*result.findings, *judge_samples(samples)]
        assert found and all(map(str, found)), (place, new)
        result.overlay()
    assert refused > 400


@pytest.mark.parametrize(
    "field, value, words",
    [
        (("initial", "noise", 1), "x", r"initial\.noise\.1: give a number, or one of nan, inf, -inf"),
        (("initial", "log10_norm", "1"), [1.0], r"initial\.log10_norm\.1: it has 1 items, and lags has 3"),
        (
            ("more", "initial", "total/h", "noise"),
            [0],
            "total/h.noise: it has 1 items, and more.initial.total/h.lags has 2",
        ),
        (("lags",), [1, 4, 2], "lags: they do not increase"),
        (("environment",), [], "environment: Input should be a valid dictionary"),
        (
            ("weights",),
            {"0": {"w": [4.0, 1.0]}},
            "weights: its seeds are 0, and those of initial.log10_norm 0 to 2",
        ),
        (("baseline",), "2", "is no baseline: it has no version"),
    ],
)
def test_file_and_field_are_named(folder, field, value, words):
    path = folder / "s.json"
    stored = json.loads(path.read_text())
    parent = stored
    for key in field[:-1]:
        parent = parent[key]
    parent[field[-1]] = value
    path.write_text(json.dumps(stored))
    with pytest.raises(UnreadableBaseline, match=words) as caught:
        read_baseline(folder, "s")
    assert str(caught.value).startswith(f"{path} is ")


def fifo(path):
    os.mkfifo(path)


def device(path):
    path.symlink_to("/dev/zero")


def loop(path):
    path.symlink_to(path.name)


def nowhere(path):
    path.symlink_to("nowhere")


def huge(path):
    with open(path, "wb") as file:
        file.truncate(10**12)


def text(content):
    return lambda path: path.write_bytes(content)


@pytest.mark.parametrize("index", [0, 1], ids=["curves", "population"])
@pytest.mark.parametrize(
    "put, words",
    [
        (fifo, "it is no regular file"),
        (device, "it is no regular file"),
        (os.mkdir, "directory|no regular file"),
        (loop, "[Ss]ymbolic link"),
        (nowhere, "No such file"),
        (huge, "has 1000000000000 bytes"),
        (text(b""), "EOF"),
        (text(b'{"baseline": 2, "reason": "\xff\xfe"}'), "unicode"),
        (text(b'{"baseline": 2, "lags": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"), "recursion"),
        (text(b'{"baseline": 2, "scenario": ' + b'{"a":' * 100_000 + b"1" + b"}" * 100_001), "recursion"),
    ],
)
def test_what_is_no_file_of_json(folder, index, put, words):
    path = paths_of(folder, "s")[index]
    path.unlink()
    put(path)
    suite = check("small", [SCENARIO], folder)
    (finding,) = suite.scenarios[0].findings
    assert finding.status == "unreadable" and suite.exit_code() == 3
    assert finding.message.startswith(f"{path} cannot be read: ")
    with pytest.raises(UnreadableBaseline, match=words):
        read_baseline(folder, "s")


def test_a_baseline_of_format_1_is_compared_and_what_it_lacks_is_told(folder):
    path = folder / "s.json"
    stored = json.loads(path.read_text())
    del stored["more"]
    path.write_text(json.dumps(stored | {"baseline": 1}))
    result, _ = judge(SCENARIO, read_baseline(folder, "s"), measured(), HERE)
    assert [finding.status for finding in result.findings] == ["incomparable", "unchanged", "unchanged"]
    assert result.worst.message == "the baseline lacks the total curve of h and 1 more: bless it again"
