"""Tasks on recorded data: parts, vocabularies and baselines, recomputed in plain NumPy."""

import itertools
import math
import sys
from collections import Counter

import jax
import numpy as np
import pytest

from gradlab.errors import GradlabError
from gradlab.runs.spec import RunSpec
from gradlab.tasks import digits, forecast, language
from gradlab.tasks.data import text
from gradlab.tasks.data.digits import _images
from gradlab.tasks.data.forecast import autoregression, persistence, scaled
from gradlab.tasks.data.parts import Parts, contiguous
from gradlab.tasks.data.series import SERIES, series_of

KEY = jax.random.key(3)
HELD_OUT = ("validation", "test")


def arrays(batch):
    return jax.tree.map(np.asarray, batch)


# ---------------------------------------------------------------- parts


@pytest.mark.parametrize("series", SERIES)
def test_the_parts_of_a_series_are_contiguous_and_scaled_by_the_first(series):
    values, parts = series_of(series), scaled(series)
    assert [len(part) for part in parts] == [round(0.6 * len(values)), *(len(part) for part in parts[1:])]
    assert sum(map(len, parts)) == len(values) and min(map(len, parts)) > 0.19 * len(values)
    np.testing.assert_allclose(parts.train.mean(axis=0), 0, atol=1e-9)
    np.testing.assert_allclose(parts.train.std(axis=0), 1)
    seen = values[: len(parts.train)]
    np.testing.assert_allclose(np.concatenate(parts) * seen.std(axis=0) + seen.mean(axis=0), values, atol=1e-9)


def test_the_parts_of_a_text_are_contiguous():
    corpus = text.characters()
    ids = np.concatenate(corpus.parts)
    assert [len(part) / len(ids) for part in corpus.parts] == pytest.approx([0.8, 0.1, 0.1], abs=1e-5)
    # The ids are those of the text in its order: the same characters, the same ids.
    from pydoc_data.topics import topics

    whole = "\n\n".join(topics[name] for name in sorted(topics))
    written = "\n\n".join(dict.fromkeys(whole.split("\n\n")))
    assert len(written) == len(ids)
    assert len({*zip(written, ids.tolist(), strict=True)}) == len(set(written)) == corpus.size - 1


def test_windows_stay_in_their_part():
    parts = text.characters().parts
    for draw, part in [
        (language().sample, parts.train),
        (lambda *given: language().held_out("validation", *given), parts.validation),
        (lambda *given: language().held_out("test", *given), parts.test),
    ]:
        batch = arrays(draw(KEY, 200, 30))
        assert batch.inputs.shape == (30, 200, 1) and batch.targets.shape == (30, 200)
        np.testing.assert_array_equal(batch.inputs[1:, :, 0], batch.targets[:-1])
        windows = np.concatenate([batch.inputs[:, :, 0], batch.targets[-1:]]).astype(np.uint8)
        assert all(window.tobytes() in part.tobytes() for window in windows.T)
        assert len({window.tobytes() for window in windows.T}) > 190


@pytest.mark.parametrize("target", ["values", "changes"])
def test_windows_of_a_series_stay_in_their_part(target):
    task, (length, horizon) = forecast("eeg", 3, target), (7, 3)
    for draw, part in [
        (task.sample, "train"),
        (lambda *given: task.held_out("validation", *given), "validation"),
        (lambda *given: task.held_out("test", *given), "test"),
    ]:
        rows, batch = getattr(scaled("eeg"), part).astype(np.float32), arrays(draw(KEY, 500, length))
        first = {int(np.flatnonzero((rows == one).all(axis=1))[0]) for one in batch.inputs[0]}
        assert min(first) == 0 and max(first) == len(rows) - length - horizon
        for example in range(20):
            at = int(np.flatnonzero((rows == batch.inputs[0, example]).all(axis=1))[0])
            np.testing.assert_array_equal(batch.inputs[:, example], rows[at : at + length])
            ahead = rows[at + length - 1 + horizon] - (target == "changes") * rows[at + length - 1]
            np.testing.assert_allclose(batch.targets["value"][example], ahead, atol=1e-6)


# ---------------------------------------------------------------- text


def test_the_vocabulary_is_that_of_the_training_part_alone():
    corpus = text.corpus([*"ccbbad" * 8, *"zzzzzc", *"bzzzzz"], "", 3)
    assert [len(part) for part in corpus.parts] == [48, 6, 6] and corpus.size == 4
    # c and b are equally frequent, a and d too: the alphabet decides. There is no z in the training part.
    assert corpus.parts.train[:6].tolist() == [2, 2, 1, 1, 3, 0]
    assert corpus.parts.validation.tolist() == [0, 0, 0, 0, 0, 2]
    assert corpus.parts.test.tolist() == [1, 0, 0, 0, 0, 0]


def test_docstrings_are_read_from_sources_that_are_not_run(tmp_path):
    (tmp_path / "b" / "tests").mkdir(parents=True)
    (tmp_path / "b" / "tests" / "test_x.py").write_text('"""Left out."""')
    (tmp_path / "a.py").write_text('"""Module A."""\nraise SystemExit\ndef f():\n    """Ten, 10."""\n    "no"\n')
    (tmp_path / "b" / "c.py").write_text(
        'if 1:\n    class C:\n        """Of C."""\n        def m(self):\n            """Of m."""\n'
    )
    found = [*text.docstrings(tmp_path)]
    assert found == ["Module A.", "Ten, 10.", "Of C.", "Of m."]
    assert text.words_in([*found, *found]) == ["module", "a", "ten", "0", "of", "c", "of", "m"]


@pytest.mark.slow
def test_words_of_the_installed_packages():
    task, corpus = language("word", 2000), text.words(2000)
    assert sum(map(len, corpus.parts)) > 1_000_000 and task.tokens == 2000 == task.output_size
    assert (corpus.parts.train == 0).mean() < 0.1 and (corpus.parts.test == 0).mean() > 0
    assert task.score(math.log(120)) == "perplexity 120"


def test_chance_is_the_entropy_of_single_characters():
    parts = text.characters().parts
    counts = Counter(parts.train.tolist())
    total = len(parts.train) + language().tokens
    expected = [-math.log((counts[one] + 1) / total) for one in parts.validation.tolist()]
    assert language().chance(9) == pytest.approx(np.mean(expected)) == pytest.approx(3.2, abs=0.2)
    assert language().score(math.log(2)) == "1 bits per character"


def test_windows_follow_each_other():
    task = language()
    for windows in ([arrays(task.stream(KEY, step, 5, 40)) for step in range(3)], [*_windows(task, 25)]):
        for one, following in itertools.pairwise(windows):
            np.testing.assert_array_equal(one.targets[-1], following.inputs[0, :, 0])
    # After all of the training part a place is where it began.
    train = text.characters().parts.train
    length = next(n for n in range(40, 400) if len(train) % n == 0)
    first, again = (task.stream(KEY, step, 5, length).inputs for step in (0, len(train) // length))
    np.testing.assert_array_equal(first, again)


def _windows(task, length):
    found = arrays(task.evaluation("test", length))
    part = text.characters().parts.test
    assert found.inputs.shape[1:] == (length, 32, 1)
    assert found.inputs.shape[0] == min(32, (len(part) - 1) // 32 // length)
    for at in range(len(found.inputs)):
        yield jax.tree.map(lambda array, at=at: array[at], found)


def test_other_text_is_another_run():
    from pydoc_data.topics import topics

    before = RunSpec(task="language", length=10)
    assert before.config()["task_source"] == language().digest
    topics["zzz"] = "One paragraph more."
    text.characters.cache_clear()
    try:
        after = RunSpec(task="language", length=10)
    finally:
        del topics["zzz"]
        text.characters.cache_clear()
    assert before.id != after.id
    assert before.config() | {"task_source": ""} == after.config() | {"task_source": ""}
    assert RunSpec(task="language", length=10).id == before.id
    assert "task_source" not in RunSpec(task="adding", length=10).config()


# ---------------------------------------------------------------- baselines


def test_persistence_and_autoregression_by_loops():
    parts, (length, horizon) = scaled("eeg"), (6, 2)
    expected = {}
    for order in (1, 2, 4, 6):
        rows = {}
        for part in ("train", *HELD_OUT):
            values = getattr(parts, part)
            ends = range(length - 1, len(values) - horizon)
            x = [[1.0, *(values[end - back][c] for back in range(order) for c in range(4))] for end in ends]
            rows[part] = np.array(x), np.array([values[end + horizon] for end in ends])
        x, y = rows["train"]
        weights = np.linalg.solve(x.T @ x, x.T @ y)
        expected[order] = [np.mean((rows[part][1] - rows[part][0] @ weights) ** 2) for part in HELD_OUT]
    best = min(expected.values())[1]
    stays = [(parts.test[end + horizon] - parts.test[end]) ** 2 for end in range(length - 1, 160 - horizon)]
    assert persistence(parts.test, length, horizon) == pytest.approx(np.mean(stays))
    assert autoregression(parts, length, horizon) == pytest.approx(best)
    assert forecast("eeg", horizon).baselines(length)["autoregression"] == pytest.approx(best / np.mean(stays))


@pytest.mark.parametrize("phi", [0.0, 0.8])
def test_a_process_of_known_error(phi):
    """Of xₜ = φ xₜ₋₁ + eₜ persistence errs by 2 (1 - φ) Var x, the regression by (1 - φ²) Var x."""
    noise, x = np.random.default_rng(0).normal(size=30_000), np.zeros((30_000, 1))
    for t in range(1, len(x)):
        x[t] = phi * x[t - 1] + noise[t]
    parts = Parts(*contiguous(x, 0.6, 0.2))
    assert autoregression(parts, 5, 1) / persistence(parts.test, 5, 1) == pytest.approx((1 + phi) / 2, rel=0.02)


@pytest.mark.parametrize("target", ["values", "changes"])
@pytest.mark.parametrize("part", HELD_OUT)
def test_persistence_has_an_error_of_one(part, target):
    task = forecast("goog", 5, target)
    batch = jax.tree.map(lambda array: array[0], task.evaluation(part, 20))
    outputs = batch.inputs[-1:] if target == "values" else 0 * batch.inputs[-1:]
    losses = np.asarray(task.loss(outputs, batch), np.float64)
    assert len(losses) == len(getattr(scaled("goog"), part)) - 24
    assert losses.mean() == pytest.approx(task.chance(20), rel=1e-5) == 1.0


# ---------------------------------------------------------------- digits


def test_digits_are_shown_pixel_by_pixel():
    from sklearn.datasets import load_digits

    found, task = load_digits(), digits()
    batch = arrays(task.sample(KEY, 100, 70))
    train = {(*(image / 16), digit) for image, digit in zip(found.data[:1078], found.target[:1078], strict=True)}
    shown = {(*image, digit) for image, digit in zip(batch.inputs[:64, :, 0].T, batch.targets, strict=True)}
    assert len(shown) > 90 and shown <= train
    assert not batch.inputs[64:].any()
    test = arrays(task.evaluation("test", 64))
    np.testing.assert_array_equal(test.inputs[0, :, :, 0].T * 16, found.data[1438:])
    np.testing.assert_array_equal(test.targets[0], found.target[1438:])


# ---------------------------------------------------------------- mistakes


@pytest.mark.parametrize("package, task", [("sklearn", "digits"), ("statsmodels", "forecast:series=co2")])
def test_a_missing_package_is_told_in_one_line(package, task, typed, monkeypatch):
    # What import does where a package is not installed.
    for name in [package, *(name for name in sys.modules if name.startswith(f"{package}."))]:
        monkeypatch.setitem(sys.modules, name, None)
    for cached in (_images, series_of):
        cached.cache_clear()
    code, out, err = typed("probe", task, "--cell", "rnn", "--len", 64)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1 and err.endswith(
        "not installed: install the extra `data`, in a checkout by .venv/bin/python -m pip install '.[data]'\n"
    )


@pytest.mark.parametrize(
    "given, says",
    [
        ({"task": "forecast:series=sunspots"}, "length is 200: .* sunspots holds sequences of at most 61"),
        ({"task": "forecast:series=eg"}, "unknown series `eg`.*did you mean `eeg`"),
        ({"task": "forecast:target=change"}, "did you mean `changes`"),
        ({"task": "forecast:horizon=0"}, "horizon is 0"),
        ({"task": "language:unit=chars"}, "did you mean `char`"),
        ({"task": "language:vocabulary=2000"}, "it is of unit=word"),
        ({"task": "language:unit=word:vocabulary=5"}, "vocabulary is 5"),
        ({"task": "language:embedding=0"}, "embedding is 0"),
        ({"task": "language", "length": 2000}, "length is 2000: .* at most 1165"),
        ({"task": "language:window=1200", "length": 20}, "length is 1200"),
        ({"task": "digits", "length": 63}, "needs at least 64"),
    ],
)
def test_wrong_options_are_refused(given, says):
    with pytest.raises(GradlabError, match=says):
        RunSpec(**given)
