"""Sequences of the other synthetic tasks, read again in NumPy from the inputs alone."""

import math
from functools import cache
from itertools import permutations, product

import jax
import numpy as np
import pytest
from scipy import stats
from scipy.integrate import solve_ivp

from gradlab.errors import GradlabError
from gradlab.tasks import (
    Batch,
    adding,
    associative_recall,
    copy,
    delayed_xor,
    latch,
    mackey_glass,
    multiplication,
    selective_copy,
    temporal_order,
    variable_copy,
)
from gradlab.tasks.losses import CLASSIFIED, cross_entropy
from gradlab.tasks.mackey_glass import _known, _next_delay

KEY = jax.random.key(21)
VARIANTS = {
    "adding 1997": adding("1997"),
    "multiplication": multiplication(),
    "multiplication anywhere": multiplication("anywhere"),
    "multiplication 1997": multiplication("1997"),
    "delayed_xor": delayed_xor(),
    "delayed_xor anywhere": delayed_xor("anywhere"),
    "latch": latch(),
    "latch noise": latch(first=3, noise=0.5),
    "temporal_order": temporal_order(),
    "temporal_order 3": temporal_order(symbols=3),
    "temporal_order 1997": temporal_order("hochreiter"),
    "temporal_order 1997 3": temporal_order("hochreiter", 3),
    "variable_copy": variable_copy(symbols=3, alphabet=5),
    "selective_copy": selective_copy(symbols=3, alphabet=5),
    "associative_recall": associative_recall(pairs=3, keys=5, values=4),
    "mackey_glass": mackey_glass(),
    "mackey_glass near": mackey_glass(horizon=6, tau=30),
}
LONG = {"mackey_glass": 18 + 84, "mackey_glass near": 31 + 6, "latch": 38, "latch noise": 38}
LENGTHS = {
    name: (task.min_length, task.min_length + 1, LONG.get(name, 53 if task.min_length > 9 else 11))
    for name, task in VARIANTS.items()
}
OPTIONS = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


@cache
def drawn(family):
    """Inputs and targets of the variants of a task at all their lengths, by one compiled program."""
    slow = family == "mackey_glass"
    found = jax.jit(
        lambda key: {
            (name, length): tuple(VARIANTS[name].sample(key, 1500 if slow else 6000, length))
            for name in VARIANTS
            if name.split()[0] == family
            for length in LENGTHS[name]
        },
        compiler_options={"xla_backend_optimization_level": 3} if slow else OPTIONS,
    )(KEY)
    return jax.tree.map(np.asarray, found)


def sampled(name, length):
    """Inputs and targets, drawn once."""
    return drawn(name.split()[0])[name, length]


def uniform(values, count):
    """Whether whole numbers 0..count-1 are equally frequent."""
    found = np.bincount(np.ravel(values), minlength=count)
    return len(found) == count and (count == 1 or stats.chisquare(found).pvalue > 1e-3)


def positions(where):
    """The indices of so many marks for each example, (marks, B), in rising order."""
    count = where.sum(axis=0)
    assert set(count) == {count[0]}
    return np.nonzero(where.T)[1].reshape(where.shape[1], count[0]).T


# ---------------------------------------------------------------- marked pairs


@pytest.mark.parametrize("name", ["adding 1997", "multiplication 1997"])
@pytest.mark.parametrize("length", [20, 21, 53])
def test_pairs_of_1997(name, length):
    task = VARIANTS[name]
    inputs, targets = sampled(name, length)
    steps, low = length + length // 10, 0 if task.product else -1
    assert inputs.shape == (steps, 6000, 2) == (task.steps(length), 6000, task.input_size)
    values, marker = inputs[..., 0].astype(float), inputs[..., 1]
    end = steps - 1 - np.argmax(marker[::-1] == -1, axis=0)
    np.testing.assert_array_equal(targets["end"], end)
    assert uniform(end - (length - 1), length // 10 + 1)
    assert stats.kstest(values[: length - 1].ravel(), "uniform", (low, 1 - low)).pvalue > 1e-3
    alone = 0
    for b in range(500):
        assert not inputs[end[b] + 1 :, b].any()
        assert marker[0, b] == -1 and set(marker[1 : end[b], b]) == {0, 1}
        marks = np.flatnonzero(marker[:, b] == 1)
        assert len(marks) in (1, 2) and marks[0] < (10 if len(marks) == 2 else length // 2)
        assert marks[-1] < length // 2
        alone += len(marks) == 1
        first, second = [*values[marks, b], 1 if task.product else 0][:2]
        answer = first * second if task.product else 0.5 + (first + second) / 4
        np.testing.assert_allclose(targets["answer"][b], answer, atol=1e-6)
    expected = 0.1 + 0.9 / (length // 2 - 1)
    assert stats.binomtest(int(alone), 500, expected).pvalue > 1e-3


def test_marks_of_1997_are_uniform():
    marker = sampled("adding 1997", 20)[0][..., 1]
    both = marker[:, (marker == 1).sum(axis=0) == 2] == 1
    # Of T = 20 both are among the first ten values, and without the first pair each two are equally likely.
    first, second = positions(both)
    assert uniform([(a * (a - 1)) // 2 + b for a, b in zip(second - 1, first - 1, strict=True)], 36)


@pytest.mark.parametrize("question", ["multiplication", "delayed_xor"])
@pytest.mark.parametrize("markers", ["", " anywhere"])
@pytest.mark.parametrize("length", [2, 3, 11])
def test_products_and_bits(question, markers, length):
    inputs, targets = sampled(question + markers, length)
    first, second = positions(inputs[..., 1] == 1)
    example, half = np.arange(6000), length // 2
    a, b = inputs[first, example, 0], inputs[second, example, 0]
    if not markers:
        assert uniform(first, half) and uniform(second - half, length - half)
    else:
        assert set(zip(first, second, strict=True)) == {(i, j) for j in range(length) for i in range(j)}
    if question == "delayed_xor":
        assert uniform(inputs[..., 0].astype(int), 2) and set(np.unique(inputs)) == {0, 1}
        np.testing.assert_array_equal(targets, a != b)
    else:
        assert stats.kstest(inputs[..., 0].ravel(), "uniform").pvalue > 1e-3
        np.testing.assert_allclose(targets, a * b, atol=1e-6)


# ---------------------------------------------------------------- classes


@pytest.mark.parametrize(
    "name, length", [("latch", 2), ("latch", 3), ("latch", 38), *(("latch noise", n) for n in (4, 5, 38))]
)
def test_latch(name, length):
    task = VARIANTS[name]
    inputs, targets = sampled(name, length)
    assert inputs.shape == (length, 6000, 1) and task.min_length == task.first + 1
    told, rest = inputs[: task.first, :, 0], inputs[task.first :, :, 0]
    assert uniform((told[0] > 0).astype(int), 2) and set(np.unique(told)) == {-1, 1}
    np.testing.assert_allclose(targets, 0.8 * told.mean(axis=0), atol=1e-6)
    if task.noise:
        assert stats.kstest(rest.ravel(), "norm", (0, task.noise)).pvalue > 1e-3
    else:
        assert not rest.any()


WINDOWS = {  # of T = 53: the first and last index of each relevant symbol, counted from 0
    "temporal_order": [(5, 9), (26, 30)],
    "temporal_order 3": [(5, 9), (15, 19), (31, 35)],
    "temporal_order 1997": [(4, 9), (25, 30)],
    "temporal_order 1997 3": [(4, 9), (16, 21), (33, 38)],
}
ORDERS = [name for name in VARIANTS if name.startswith("temporal")]


@pytest.mark.parametrize("name", ORDERS)
def test_temporal_order(name):
    task, count = VARIANTS[name], len(WINDOWS[name])
    inputs, targets = sampled(name, 53)
    old = "1997" in name
    steps = 53 + 5 * old
    assert inputs.shape == (steps, 6000, 8 if old else 6)
    tokens = np.where(inputs.any(axis=-1), inputs.argmax(axis=-1), -1)
    places = positions((tokens == 0) | (tokens == 1))
    for place, (low, high) in zip(places, WINDOWS[name], strict=True):
        assert uniform(place - low, high - low + 1)
    relevant = np.take_along_axis(tokens, places, axis=0)
    spoken = ["".join(map(str, reversed(column))) for column in relevant.T]
    np.testing.assert_array_equal(targets["class"], [int(word, 2) for word in spoken])
    assert uniform(targets["class"], 2**count) and task.output_size == 2**count
    assert uniform(tokens[(tokens > 1) & (tokens < 6)] - 2, 4)
    if old:
        np.testing.assert_array_equal(tokens[0], 6)
        (end,) = positions(tokens == 7)
        assert uniform(end - 52, 6)
        np.testing.assert_array_equal(targets["end"], end)
        np.testing.assert_array_equal((tokens == -1).sum(axis=0), steps - 1 - end)
    else:
        assert tokens.min() >= 0 and tokens.max() == 5


@pytest.mark.parametrize("name", ORDERS)
def test_the_shortest_order_has_all_its_symbols(name):
    task = VARIANTS[name]
    assert task.min_length == (20 if "1997" in name else 10)
    for length in (task.min_length, task.min_length + 1):
        inputs, _ = sampled(name, length)
        np.testing.assert_array_equal(inputs[..., :2].sum(axis=(0, 2)), task.symbols)
        if "1997" in name:
            np.testing.assert_array_equal(inputs[..., 6:].sum(axis=0), 1)


# ---------------------------------------------------------------- recall


@pytest.mark.parametrize("length", [1, 2, 11])
def test_variable_copy(length):
    inputs, targets = sampled("variable_copy", length)
    tokens = inputs.argmax(axis=-1)
    assert inputs.shape == (length + 6, 6000, 7)
    np.testing.assert_array_equal(inputs.sum(axis=-1), 1)
    np.testing.assert_array_equal(positions(tokens == 6), length + 2)
    shown = positions((tokens > 0) & (tokens < 6))
    np.testing.assert_array_equal(np.diff(shown, axis=0), 1)
    assert uniform(length - 1 - shown[0], length), "the delay less 1"
    recalled = np.take_along_axis(tokens, shown, axis=0)
    assert uniform(recalled - 1, 5)
    np.testing.assert_array_equal(targets[-3:], recalled)
    np.testing.assert_array_equal(targets[:-3], 0)


def test_the_longest_delay_is_that_of_copy():
    inputs, targets = sampled("variable_copy", 11)
    longest = inputs[0].argmax(axis=-1) > 0
    silent = inputs[3:14, longest].argmax(axis=-1)
    assert longest.any() and not silent[:-1].any() and (silent[-1] == 6).all()
    np.testing.assert_array_equal(inputs[:3, longest].argmax(axis=-1), targets[-3:, longest])
    with pytest.raises(TypeError):
        copy(variable=True)  # an option would be a second name of the same runs


@pytest.mark.parametrize("length", [1, 2, 11])
def test_selective_copy(length):
    inputs, targets = sampled("selective_copy", length)
    tokens = inputs.argmax(axis=-1)
    assert inputs.shape == (length + 6, 6000, 7)
    np.testing.assert_array_equal(inputs.sum(axis=-1), 1)
    np.testing.assert_array_equal(tokens[-3:], 6)
    places = positions((tokens > 0) & (tokens < 6))
    np.testing.assert_array_equal(targets, np.take_along_axis(tokens, places, axis=0) - 1)
    words, found = np.unique(places.T, axis=0, return_counts=True)
    assert len(words) == math.comb(length + 3, 3) and stats.chisquare(found).pvalue > 1e-3
    assert uniform(targets[0] * 25 + targets[1] * 5 + targets[2], 125)


@pytest.mark.parametrize("length", [1, 2, 11])
def test_associative_recall(length):
    inputs, targets = sampled("associative_recall", length)
    tokens = inputs.argmax(axis=-1)
    assert inputs.shape == (length + 7, 6000, 10)
    np.testing.assert_array_equal(inputs.sum(axis=-1), 1)
    np.testing.assert_array_equal(tokens[6:-1], 9)
    asked = []
    for row, target in zip(tokens.T, targets, strict=True):
        keys, values = row[:6:2].tolist(), row[1:6:2] - 5
        assert len(set(keys)) == 3 and dict(zip(keys, values, strict=True))[row[-1]] == target
        asked.append(keys.index(row[-1]))
    assert uniform(asked, 3) and uniform(tokens[1:6:2] - 5, 4) and uniform(targets, 4)
    orders = [list(permutations(range(5), 3)).index(tuple(row)) for row in tokens[:6:2].T.tolist()]
    assert uniform(orders, 60)


# ---------------------------------------------------------------- Mackey-Glass


def test_the_solution_is_that_of_a_solver():
    """The method of steps with SciPy: within one delay the past is a known function of time."""
    tau, start = 17, 1.2
    history = np.full((tau * 10 + 1, 1), start)
    past, value = (lambda t: start), start
    for delay in range(3):
        history, shown = _next_delay(history, np)

        def change(t, x, past=past):
            return 0.2 * past(t) / (1 + past(t) ** 10) - 0.1 * x

        solved = solve_ivp(change, (0, tau), [value], rtol=1e-10, atol=1e-12, dense_output=True)
        expected = solved.sol(np.arange(1, tau + 1))[0]
        np.testing.assert_allclose(shown[:, 0], expected, atol=2e-4, err_msg=f"delay {delay}")
        past, value = (lambda t, sol=solved.sol: sol(t)[0]), solved.y[0, -1]


@pytest.mark.parametrize("name", ["mackey_glass", "mackey_glass near"])
def test_a_series_obeys_its_equation(name):
    """x(t + 2) e^0.2 - x(t) = ∫ e^(s/10) f(x(t + s - τ)) ds, by Simpson's rule; with another delay it does not."""
    task, known = VARIANTS[name], _known(VARIANTS[name].tau, VARIANTS[name].horizon)
    x = sampled(name, LONG[name])[0][..., 0] * known.deviation + known.mean
    f = 0.2 * x / (1 + x**10)

    def error(tau):
        past = f[: -tau - 2] + 4 * np.exp(0.1) * f[1 : -tau - 1] + np.exp(0.2) * f[2:-tau]
        return np.abs(x[tau + 2 :] * np.exp(0.2) - x[tau:-2] - past / 3).mean()

    assert 10 * error(task.tau) < min(error(task.tau - 1), error(task.tau + 1))


@pytest.mark.parametrize("name", ["mackey_glass", "mackey_glass near"])
def test_the_target_is_the_value_at_the_horizon(name):
    task = VARIANTS[name]
    assert task.min_length == task.tau + 1
    short, target = sampled(name, task.min_length)
    # The same series shown for longer: a key decides where it begins, whatever the length.
    longer, _ = sampled(name, task.min_length + task.horizon)
    np.testing.assert_allclose(longer[: task.min_length], short, atol=1e-4)
    np.testing.assert_allclose(longer[-1, :, 0], target, atol=1e-4)


@pytest.mark.parametrize("name", ["mackey_glass", "mackey_glass near"])
def test_series_are_standardised_at_every_timestep(name):
    inputs, targets = sampled(name, LONG[name])
    for values in (*inputs[::9, :, 0], targets):
        assert abs(values.mean()) < 0.1 and abs(values.std() - 1) < 0.1


# ---------------------------------------------------------------- chance, solved, losses


def best_without_memory(task, targets):
    """The cost of the best constant answer: the entropy of a class, or the variance of a number."""
    target = next(iter(targets.values())) if isinstance(targets, dict) else targets
    if task.output_size == 1:
        return target.astype(float).var()
    rows = np.atleast_2d(target)
    return np.mean([stats.entropy(np.unique(row, return_counts=True)[1]) for row in rows])


@pytest.mark.parametrize("name", [name for name in VARIANTS if "mackey" not in name])
def test_chance_is_the_cost_of_the_best_answer_without_memory(name):
    task = VARIANTS[name]
    for length in LENGTHS[name]:
        best = best_without_memory(task, sampled(name, length)[1])
        assert task.chance(length) == pytest.approx(best, rel=0.05)


@pytest.mark.parametrize("name", ["mackey_glass", "mackey_glass near"])
def test_chance_of_a_forecast_is_the_variance_that_the_last_value_leaves(name):
    """Half the mean square of the difference between the futures of two neighbouring values."""
    for length in LENGTHS[name]:
        inputs, targets = sampled(name, length)
        later = targets[np.argsort(inputs[-1, :, 0])].astype(float)
        assert VARIANTS[name].chance(length) == pytest.approx(np.mean(np.diff(later) ** 2) / 2, rel=0.1)


def test_a_mean_cross_entropy_bounds_the_wrong_answers():
    logits = np.random.default_rng(3).normal(scale=3, size=(2000, 4)).astype(np.float32)
    targets = np.random.default_rng(4).integers(0, 4, 2000)
    losses = np.asarray(cross_entropy(logits, targets))
    wrong = logits.argmax(axis=-1) != targets
    assert losses[wrong].min() >= math.log(2) and wrong.mean() <= losses.mean() / math.log(2)
    # One answer in a hundred just wrong and the others certain: no loss below the mark has more wrong ones.
    edge = np.where(np.arange(100)[:, None] == 0, [[0.0, 1e-3]], [[90.0, 0.0]]).astype(np.float32)
    assert float(cross_entropy(edge, np.zeros(100, int)).mean()) == pytest.approx(CLASSIFIED, rel=1e-3)


def test_the_sign_of_a_latch_is_right_in_99_of_100():
    inputs, targets = (each[..., :100] if each.ndim == 1 else each[:, :100] for each in sampled("latch", 3))
    outputs = targets[None, :, None].copy()
    outputs[0, 0] = 0.0
    loss = latch().loss(outputs, Batch(inputs, targets)).mean()
    assert loss == pytest.approx(latch().solved(3), rel=1e-5)


@cache
def outputs_read():
    """Of each variant the losses of 5 examples, and the outputs (timestep, example) that the third depends on."""

    def losses_and_gradient(outputs, batches):
        found = {}
        for name, task in VARIANTS.items():
            losses, pullback = jax.vjp(lambda y, task=task, name=name: task.loss(y, batches[name]), outputs[name])
            found[name] = losses, pullback(jax.nn.one_hot(2, 5))[0]
        return found

    rng, outputs, batches = np.random.default_rng(1), {}, {}
    for name, task in VARIANTS.items():
        length = LENGTHS[name][1]
        inputs, targets = sampled(name, length)
        batches[name] = Batch(inputs[:, :5], jax.tree.map(lambda leaf: leaf[..., :5], targets))
        outputs[name] = rng.normal(size=(task.steps(length), 5, task.output_size)).astype(np.float32)
    return jax.jit(losses_and_gradient, compiler_options=OPTIONS)(outputs, batches)


@pytest.mark.parametrize("name", VARIANTS)
def test_losses_read_the_right_outputs_of_each_example_alone(name):
    losses, gradient = outputs_read()[name]
    read = {(int(t), int(b)) for t, b in zip(*np.nonzero(np.any(gradient != 0, axis=-1)), strict=True)}
    steps, targets = len(gradient), sampled(name, LENGTHS[name][1])[1]
    alone = targets["end"][2] if isinstance(targets, dict) else steps - 1
    places = {"variable_copy": range(steps), "selective_copy": range(steps - 3, steps)}.get(name, [alone])
    assert losses.shape == (5,) and read == set(product(places, [2]))


@pytest.mark.parametrize("name", VARIANTS)
def test_the_task_curve_ends_where_the_memory_is_needed(name):
    task = VARIANTS[name]
    expected = {"variable_copy": 50 + 6, "selective_copy": 50 + 3 + 1}
    assert task.task_curve(50) == expected.get(name)


@pytest.mark.parametrize(
    "make, says",
    [
        (lambda: adding("1996"), "known are 1997, anywhere, halves; did you mean `1997`"),
        (lambda: multiplication("halfs"), "did you mean `halves`"),
        (lambda: delayed_xor("1997"), "known are anywhere, halves"),
        (lambda: latch(first=0), "first is 0"),
        (lambda: latch(noise=-1.0), "noise is -1.0"),
        (lambda: temporal_order("pascan"), "did you mean `pascanu`"),
        (lambda: temporal_order(symbols=4), "symbols is 4: give 2 or 3"),
        (lambda: variable_copy(symbols=0), "symbols is 0"),
        (lambda: selective_copy(symbols=0), "symbols is 0"),
        (lambda: selective_copy(alphabet=1), "alphabet is 1"),
        (lambda: associative_recall(pairs=0), "pairs is 0"),
        (lambda: associative_recall(pairs=5, keys=4), "keys is 4: give at least as many as pairs, 5"),
        (lambda: associative_recall(values=1), "values is 1"),
        (lambda: mackey_glass(horizon=0), "horizon is 0"),
        (lambda: mackey_glass(tau=101), "tau is 101"),
    ],
)
def test_wrong_options_are_refused(make, says):
    with pytest.raises(GradlabError, match=says):
        make()
