"""The tasks to the letter of Arjovsky, Shah & Bengio (2016), sections 5.1 and 5.2."""

import jax
import numpy as np
import pytest
from scipy import stats

from gradlab.errors import GradlabError
from gradlab.tasks import adding, copy

KEY = jax.random.key(20)


def sampled(task, batch_size, length, key=KEY):
    batch = task.sample(key, batch_size, length)
    return np.asarray(batch.inputs, np.float64), np.asarray(batch.targets)


# ---------------------------------------------------------------- adding


@pytest.mark.parametrize("markers", ["halves", "anywhere"])
@pytest.mark.parametrize("length", [2, 3, 10, 11])
def test_adding_sequences(markers, length):
    inputs, targets = sampled(adding(markers), 3000, length)
    values, marker = inputs[..., 0], inputs[..., 1]
    assert inputs.shape == (length, 3000, 2) and targets.shape == (3000,)
    assert values.min() >= 0 and values.max() < 1
    assert set(np.unique(marker)) <= {0.0, 1.0}
    np.testing.assert_array_equal(marker.sum(axis=0), 2)
    picked = values.T[marker.T == 1].reshape(3000, 2)
    np.testing.assert_allclose(targets, picked[:, 0] + picked[:, 1], atol=1e-6)

    first, second = np.argmax(marker, axis=0), length - 1 - np.argmax(marker[::-1], axis=0)
    if markers == "halves":
        half = length // 2
        assert set(first) == set(range(half)) and set(second) == set(range(half, length))
    else:
        pairs = {(i, j) for i in range(length) for j in range(i + 1, length)}
        assert set(zip(first, second, strict=True)) == pairs


@pytest.mark.parametrize("markers, length", [("halves", 11), ("anywhere", 7)])
def test_marks_are_uniform(markers, length):
    marker = sampled(adding(markers), 20_000, length)[0][..., 1]
    first, second = np.argmax(marker, axis=0), length - 1 - np.argmax(marker[::-1], axis=0)
    pairs = np.unique(first * length + second, return_counts=True)[1]
    assert len(pairs) == (5 * 6 if markers == "halves" else 7 * 6 // 2)
    assert stats.chisquare(pairs).pvalue > 1e-3


def test_values_are_uniform():
    values = sampled(adding(), 20_000, 4)[0][..., 0].ravel()
    assert stats.kstest(values, "uniform").pvalue > 1e-3


def test_adding_loss_is_the_squared_error_of_the_last_output():
    task = adding()
    batch = task.sample(KEY, 3, 6)
    outputs = np.zeros((6, 3, 1), np.float32)
    outputs[-1, :, 0] = np.add(batch.targets, [0.0, 0.5, -2.0])
    np.testing.assert_allclose(task.loss(outputs, batch), [0.0, 0.25, 4.0], atol=1e-6)
    np.testing.assert_allclose(task.loss(outputs[-1:], batch), [0.0, 0.25, 4.0], atol=1e-6)


@pytest.mark.parametrize("markers", ["halves", "anywhere"])
@pytest.mark.parametrize("length", [2, 9])
def test_adding_chance_is_the_variance_of_the_target(markers, length):
    targets = sampled(adding(markers), 100_000, length)[1].astype(float)
    # The standard error of this variance is 6.2e-4.
    assert targets.mean() == pytest.approx(1.0, abs=0.006)
    assert adding(markers).chance(length) == pytest.approx(targets.var(), abs=0.003)


# ---------------------------------------------------------------- copy


@pytest.mark.parametrize("symbols, alphabet, length", [(10, 8, 100), (1, 2, 1), (3, 5, 1), (4, 3, 7)])
def test_copy_layout(symbols, alphabet, length):
    task = copy(symbols, alphabet)
    inputs, targets = sampled(task, 200, length)
    total = length + 2 * symbols
    assert task.steps(length) == total
    assert inputs.shape == (total, 200, alphabet + 2) and targets.shape == (total, 200)
    assert set(np.unique(inputs)) == {0.0, 1.0}
    np.testing.assert_array_equal(inputs.sum(axis=-1), 1.0)

    shown = inputs.argmax(axis=-1)
    assert set(np.unique(shown[:symbols])) == set(range(1, alphabet + 1))
    delimiter = length + symbols - 1
    np.testing.assert_array_equal(shown[delimiter], alphabet + 1)
    silent = np.delete(np.arange(symbols, total), delimiter - symbols)
    np.testing.assert_array_equal(shown[silent], 0)
    np.testing.assert_array_equal(targets[: delimiter + 1], 0)
    np.testing.assert_array_equal(targets[delimiter + 1 :], shown[:symbols])


def test_symbols_are_uniform_and_independent():
    targets = sampled(copy(symbols=3, alphabet=4), 20_000, 2)[1][-3:]
    words = np.unique(targets[0] * 100 + targets[1] * 10 + targets[2], return_counts=True)[1]
    assert len(words) == 4**3
    assert stats.chisquare(words).pvalue > 1e-3


def test_copy_loss_is_the_cross_entropy_over_all_timesteps():
    task = copy(symbols=2, alphabet=3)
    batch = task.sample(KEY, 4, 5)
    logits = np.random.default_rng(0).normal(size=(9, 4, 4))
    targets = np.asarray(batch.targets)
    expected = np.zeros(4)
    for t in range(9):
        for b in range(4):
            weights = np.exp(logits[t, b])
            expected[b] -= np.log(weights[targets[t, b]] / weights.sum()) / 9
    np.testing.assert_allclose(task.loss(logits.astype(np.float32), batch), expected, atol=1e-5)


@pytest.mark.parametrize("symbols, alphabet, length", [(10, 8, 20), (1, 2, 1), (5, 3, 12)])
def test_copy_chance_is_the_entropy_of_the_targets(symbols, alphabet, length):
    """The best answer without memory pays, at each timestep, the entropy of the target there."""
    task = copy(symbols, alphabet)
    targets = sampled(task, 50_000, length)[1]
    entropy = [stats.entropy(np.unique(row, return_counts=True)[1]) for row in targets]
    assert task.chance(length) == pytest.approx(np.mean(entropy), rel=1e-3)
    assert task.solved(length) == pytest.approx(0.1 * np.mean(entropy), rel=1e-3)


def test_the_last_output_is_the_task_curve_of_copy():
    assert copy().task_curve(100) == 120 and copy(symbols=3).task_curve(5) == 11
    assert adding().task_curve(100) is None


# ---------------------------------------------------------------- both


@pytest.mark.parametrize("task", [adding(), adding("anywhere"), copy()], ids=["halves", "anywhere", "copy"])
def test_losses_of_examples_are_independent(task):
    batch = task.sample(KEY, 5, 8)
    outputs = np.random.default_rng(1).normal(size=(task.steps(8), 5, task.output_size)).astype(np.float32)
    other = outputs.copy()
    other[:, 2] += 1.0 + np.arange(task.output_size)
    before, after = np.asarray(task.loss(outputs, batch)), np.asarray(task.loss(other, batch))
    assert before.shape == (5,)
    np.testing.assert_array_equal(before != after, [False, False, True, False, False])


@pytest.mark.parametrize("task", [adding(), copy()], ids=["adding", "copy"])
def test_keys_decide_the_batch(task):
    first, again, other = (sampled(task, 50, 12, jax.random.key(seed))[0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.any(first != other)
    assert len(np.unique(first.transpose(1, 0, 2).reshape(50, -1), axis=0)) == 50


@pytest.mark.parametrize(
    "make, says",
    [
        (lambda: adding("halfs"), "did you mean `halves`"),
        (lambda: copy(symbols=0), "symbols is 0"),
        (lambda: copy(alphabet=1), "alphabet is 1"),
    ],
)
def test_wrong_options_are_refused(make, says):
    with pytest.raises(GradlabError, match=says):
        make()
