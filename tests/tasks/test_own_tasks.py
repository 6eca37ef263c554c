"""Tasks of one's own: what works is right, and what breaks the contract ends in one line and exit code 2."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gating import write_suite

from gradlab import Batch, get_task
from gradlab.errors import GradlabError
from gradlab.runs.execute import run
from gradlab.runs.spec import RunSpec
from gradlab.tasks import TASKS
from gradlab.tasks.contract import check_batch, check_length, check_task
from gradlab.training.model import Model

pytestmark = pytest.mark.slow

SOURCE = '''
import jax
import jax.numpy as jnp
import numpy as np
from gradlab import Batch

class Good:
    """The first of a few numbers."""
    input_size = 2
    output_size = 1
    min_length = 3
    readout = "last"
    def steps(self, length): return length
    def sample(self, key, batch_size, length):
        values = jax.random.uniform(key, (length, batch_size, 2))
        return Batch(values, values[0, :, 0])
    def loss(self, outputs, batch): return (outputs[-1, :, 0] - batch.targets) ** 2
    def chance(self, length): return 1 / 12
    def solved(self, length): return 0.01
    def task_curve(self, length): return None

class NoChance:
    input_size = 2
    min_length = 3
    readout = "last"
    steps = 3
    def sample(self, key, batch_size, length): return None
    def loss(self, outputs, batch): return None

def method(function): return lambda self, *given: function(*given)
def changed(**members):
    return type("Bad", (Good,), {name: method(m) if callable(m) else m for name, m in members.items()})

good = Good()
def first(change):
    return lambda *given: change(good.sample(*given))
def sampled(change):
    return changed(sample=first(change))
def lost(change):
    return changed(loss=lambda outputs, batch: change(outputs, batch, good.loss(outputs, batch)))

SizeText = changed(input_size="2")
SizeZero = changed(output_size=0)
SizeFloat = changed(min_length=3.0)
Readout = changed(readout="first")
StepsFloat = changed(steps=lambda n: 1.0 * n)
StepsZero = changed(steps=lambda n: 0)
StepsFail = changed(steps=lambda n: n / 0)
ChanceNan = changed(chance=lambda n: float("nan"))
ChanceNone = changed(chance=lambda n: None)
ChanceArray = changed(chance=lambda n: jnp.ones(3))
SolvedInf = changed(solved=lambda n: np.inf)
SolvedText = changed(solved=lambda n: "0.01")
SolvedHigh = changed(solved=lambda n: 0.5)
Another = changed(loss=lambda outputs, batch: outputs[2, :, 0])
def third(outputs):
    return jnp.take_along_axis(outputs[..., 0], jnp.full((1, outputs.shape[1]), 2), 0)[0]
AnotherTaken = changed(loss=lambda outputs, batch: third(outputs))
CurveBeyond = changed(readout="all", task_curve=lambda n: n + 1)
CurveZero = changed(readout="all", task_curve=lambda n: 0)
CurveFloat = changed(readout="all", task_curve=lambda n: n / 2)
CurveLast = changed(task_curve=lambda n: 2)
SampleTuple = sampled(tuple)
SampleArray = sampled(lambda batch: batch.inputs)
SampleLists = sampled(lambda batch: Batch([batch.inputs], batch.targets))
BatchFirst = sampled(lambda batch: Batch(batch.inputs.swapaxes(0, 1), batch.targets))
Short = sampled(lambda batch: Batch(batch.inputs[1:], batch.targets))
Wide = changed(input_size=3)
Flat = sampled(lambda batch: Batch(batch.inputs[..., 0], batch.targets))
Shared = sampled(lambda batch: Batch(batch.inputs, {"first": batch.targets, "where": jnp.arange(4)}))
Twice = sampled(lambda batch: Batch(batch.inputs, batch.targets[:, None] * batch.targets))
NumpySample = changed(sample=lambda key, b, n: Batch(jnp.asarray(
    np.random.default_rng(int(jax.random.key_data(key)[-1])).random((n, b, 2))), jnp.zeros(b)))
MeanLoss = lost(lambda outputs, batch, losses: losses.mean())
NumberLoss = lost(lambda outputs, batch, losses: 0.5)
CrossLoss = lost(lambda outputs, batch, losses: (outputs[-1] - batch.targets) ** 2)
WideLoss = lost(lambda outputs, batch, losses: losses[:, None])
IntLoss = lost(lambda outputs, batch, losses: (losses > 0.1).astype(int))
HiddenMean = lost(lambda outputs, batch, losses: losses.mean() * jnp.ones(len(losses)))
Relative = lost(lambda outputs, batch, losses: losses / jax.lax.stop_gradient(losses.mean()))
WrongAxis = lost(lambda outputs, batch, losses: -jax.nn.log_softmax(outputs[-1], axis=0)[:, 0])
Ranked = lost(lambda outputs, batch, losses: losses[::-1])
'''

WRONG = {
    "NoChance": "task `NoChance` has no output_size, steps, chance, solved, task_curve: a task needs input_size, ",
    "SizeText": "input_size of task `Bad` is '2': give a whole number of at least 1",
    "SizeZero": "output_size of task `Bad` is 0: give a whole number of at least 1",
    "SizeFloat": "min_length of task `Bad` is 3.0: give a whole number of at least 1",
    "Another": "Bad.loss reads an output that it is not given: with readout = 'last' it gets the last alone",
    "AnotherTaken": "Bad.loss reads an output that it is not given: with readout = 'last' it gets the last alone",
    "Readout": "unknown readout of task Bad `first`: known are all, last",
    "StepsFloat": "Bad.steps(4) is 4.0: give a whole number of timesteps, at least 1",
    "StepsZero": "Bad.steps(4) is 0: give a whole number of timesteps, at least 1",
    "StepsFail": "Bad.steps(4) fails: ZeroDivisionError: division by zero",
    "ChanceNan": "Bad.chance(4) is nan: give a loss, a finite number",
    "ChanceNone": "Bad.chance(4) is None: give a loss, a finite number",
    "ChanceArray": "Bad.chance(4) is Array([1., 1., 1.], dtype=float32): give a loss, a finite number",
    "SolvedInf": "Bad.solved(4) is inf: give a loss, a finite number",
    "SolvedText": "Bad.solved(4) is '0.01': give a loss, a finite number",
    "SolvedHigh": "Bad.solved(4) is 0.5, above `chance`, 0.0833333: the loss of an answer that remembers nothing ",
    "CurveBeyond": "Bad.task_curve(4) is 5: give None or a timestep, 1..4",
    "CurveZero": "Bad.task_curve(4) is 0: give None or a timestep, 1..4",
    "CurveFloat": "Bad.task_curve(4) is 2.0: give None or a timestep, 1..4",
    "CurveLast": "Bad.task_curve(4) is 2, but its readout is `last`: give None, or readout `all`",
    "SampleTuple": "Bad.sample gives a tuple: give a gradlab.Batch(inputs, ",
    "SampleArray": "Bad.sample gives an array: give a gradlab.Batch(inputs, ",
    "SampleLists": "Bad.sample gives inputs that are a list: give one ",
    "BatchFirst": "Bad.sample of 5 examples of length 4 gives inputs (5, 4, 2): give (4, 5, 2), that is ",
    "Short": "Bad.sample of 5 examples of length 4 gives inputs (3, 5, 2): give (4, 5, 2), that is ",
    "Wide": "Bad.sample of 5 examples of length 4 gives inputs (4, 5, 2): give (4, 5, 3), that is ",
    "Flat": "Bad.sample of 5 examples of length 4 gives inputs (4, 5): give (4, 5, 2), that is ",
    "Shared": "Bad.sample gives targets (4,) of 5 examples and (4,) of 6: give every array one ",
    "Twice": "Bad.sample gives targets (5, 5) of 5 examples and (6, 6) of 6: give every ",
    "NumpySample": "Bad.sample reads numbers that are not known before the program runs (Concretization",
    "MeanLoss": "Bad.loss has shape () for 5 examples: give one loss for each example, ",
    "NumberLoss": "Bad.loss has shape () for 5 examples: give one loss for each example, ",
    "CrossLoss": "Bad.loss has shape (5, 5) for 5 examples: give one loss for each example, ",
    "WideLoss": "Bad.loss has shape (5, 1) for 5 examples: give one loss for each example, ",
    "IntLoss": "Bad.loss is of int32: give losses of floats",
    "HiddenMean": "Bad.loss: the loss of one example depends on the outputs of another (a mean over the batch?): ",
    "Relative": "Bad.loss: the loss of one example depends on the outputs of another (a mean over the batch?): ",
    "WrongAxis": "Bad.loss: the loss of one example depends on the outputs of another (a mean over the batch?): ",
    "Ranked": "Bad.loss: the loss of one example depends on the outputs of another (a mean over the batch?): ",
}
TINY = ("--cell", "rnn", "--len", 4, "--hidden", 2, "--measure-batch", 2)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("own") / "tasks.py"
    path.write_text(SOURCE)
    return path


@pytest.fixture(autouse=True)
def own_results(monkeypatch, tmp_path):
    monkeypatch.setenv("GRADLAB_RESULTS", str(tmp_path / "results"))


@pytest.mark.parametrize("name", WRONG)
def test_a_task_that_breaks_the_contract_ends_in_one_line(file, typed, tmp_path, name):
    for command in (("probe",), ("run", "--steps", 2, "--batch", 2)):
        code, out, err = typed(command[0], f"{file}:{name}", *command[1:], *TINY, "-q")
        assert (code, out) == (2, "")
        assert err.startswith(f"gradlab: {WRONG[name]}") and err.count("\n") == 1, err
    assert not list((tmp_path / "results").glob("runs/*")), "a run was stored that was never done"


def test_a_task_that_keeps_it_is_measured_and_trained(file, typed):
    code, out, _ = typed("run", f"{file}:Good", "--steps", 2, "--batch", 2, *TINY, "--json")
    (record,) = json.loads(out)["runs"]
    assert code == 0 and record["status"] == "trained"


def test_a_length_that_is_too_short_is_refused(file, typed):
    code, _, err = typed("probe", f"{file}:Good", "--cell", "rnn", "--len", 2)
    assert code == 2 and err == f"gradlab: length is 2: {file}:Good needs at least 3\n"


def test_what_a_sample_raises_is_a_failed_run_with_its_line(file, typed, tmp_path):
    path = tmp_path / "raises.py"
    path.write_text(SOURCE + "def fall(*_): raise ValueError('no data')\nRaises = changed(sample=fall)\n")
    code, out, _ = typed("probe", f"{path}:Raises", *TINY, "--json")
    (record,) = json.loads(out)["runs"]
    assert code == 1 and record["status"] == "failed"
    assert record["reason"].startswith("ValueError: no data") and "raises.py, line" in record["reason"]


# ---------------------------------------------------------------- the checks themselves


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("more", [0, 1, 37])
def test_the_built_in_tasks_keep_the_contract(name, more):
    task = get_task(name)
    length = task.min_length + more
    check_task(task)
    check_length(task, length)
    check_batch(task, length)
    model = Model(Mean(), task, 3)
    model.check(length, 4)
    if more == 1:  # it takes a second, and reads no other outputs at another length
        model._check_loss(length, 4)  # raises; it is not asked of built-in tasks, so it is asked here


class Mean:
    """hₜ = a hₜ₋₁ + mean xₜ."""

    def init(self, key, input_size, hidden_size):
        return {"a": jnp.full(hidden_size, 0.5)}

    def carry(self, params, batch_size):
        return jnp.zeros((batch_size, len(params["a"])), params["a"].dtype)

    def step(self, params, s, x_t):
        h_t = params["a"] * s + x_t.mean(axis=-1, keepdims=True)
        return h_t, h_t


class Tokens:
    """Token ids (T, B, 1) of whole numbers, of which the first is asked for; targets in a dict."""

    input_size, output_size, min_length, readout = 1, 5, 1, "all"

    def steps(self, length):
        return length + 1

    def sample(self, key, batch_size, length):
        ids = jax.random.randint(key, (length + 1, batch_size, 1), 0, 5)
        return Batch(ids, {"first": ids[0, :, 0], "weight": jnp.ones((1, batch_size))})

    def loss(self, outputs, batch):
        log_p = jax.nn.log_softmax(outputs[-1])
        return -batch.targets["weight"][0] * jnp.take_along_axis(log_p, batch.targets["first"][:, None], 1)[:, 0]

    def chance(self, length):
        return np.log(5)

    def solved(self, length):
        return jnp.float32(0.05)

    def task_curve(self, length):
        return np.int64(length + 1)


class Embedded(Mean):
    def init(self, key, input_size, hidden_size):
        return super().init(key, input_size, hidden_size) | {"e": jax.random.normal(key, (5, hidden_size))}

    def step(self, params, s, x_t):
        h_t = params["a"] * s + params["e"][x_t[:, 0]]
        return h_t, h_t


def test_token_ids_and_targets_in_a_dict_are_measured_and_trained():
    spec = RunSpec(task=f"{__file__}:Tokens", cell=f"{__file__}:Embedded", length=5, hidden=3, batch=4,
                   measure_batch=3, steps=3)  # fmt: skip
    result = run(spec)
    assert result.status == "trained", result.reason
    # The last output reads hₜ = Σ 0.5^(t-k) e(xₖ), so that the gradient halves with every lag.
    np.testing.assert_allclose(result.curve("initial").slope().value, np.log10(0.5), atol=1e-5)


def test_they_are_blessed_and_checked(typed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "experiments"
    folder.mkdir()
    write_suite(folder, "own", steps=0, task=f"{__file__}:Tokens", cell=f"{__file__}:Embedded")
    assert typed("bless", "own", "--reason", "first")[0] == 0
    assert typed("check", "own")[0] == 0


class CellOf(Mean):
    """A cell whose carry or step is changed."""

    def __init__(self, carry=lambda s: s, step=lambda s, y: (s, y)):
        self._carry, self._step = carry, step

    def carry(self, params, batch_size):
        return self._carry({"h": super().carry(params, batch_size)})

    def step(self, params, s, x_t):
        h_t, y_t = super().step(params, s["h"], x_t)
        return self._step({**s, "h": h_t}, y_t)


@pytest.mark.parametrize(
    "cell, says",
    [
        (CellOf(step=lambda s, y: (s, y[:, None])), r"CellOf.step returns the output \(1, 1, 3\).*y.reshape"),
        (CellOf(step=lambda s, y: (s, y[:, 0])), r"output \(1,\), with a batch of 1: it must be \(batch, size\)"),
        (CellOf(step=lambda s, y: (s, y > 0)), "an output of bool: no gradient reaches it, give floats"),
        (CellOf(step=lambda s, y: ({"h": s["h"].astype("bfloat16")}, y)), "leaves it as bfloat16"),
        (CellOf(lambda s: s | {"t": 0.0}), r"leaf `t` of the state has shape \(\) with a batch of 5: give"),
        (CellOf(lambda s: s | {"m": jnp.zeros(5)}), r"leaf `m` of the state has shape \(5,\) with a batch of 5"),
    ],
)  # fmt: skip
def test_a_cell_that_breaks_its_contract_is_refused_before_it_is_trained(cell, says):
    with pytest.raises(GradlabError, match=says) as refused:
        Model(cell, get_task("adding"), 3).check(6, 2)
    assert "\n" not in str(refused.value)


def test_an_integer_or_a_key_in_the_state_is_no_breach():
    state = CellOf(lambda s: s | {"t": 0, "key": jax.random.key(0), "n": jnp.zeros(4, int)})
    Model(state, get_task("adding"), 3).check(6, 2)
