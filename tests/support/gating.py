"""What tests of the gate share: a suite of one's own cell and task, small enough to compile in a second or two."""

from pathlib import Path

from gradlab.judge.suite import scenario_of
from gradlab.runs.spec import RunSpec

OWN = Path(__file__).with_name("faulty.py")
CELL = """
import jax
import jax.numpy as jnp

class Own:
    def init(self, key, input_size, hidden_size):
        return {"a": 0.8 + 0.1 * jax.random.uniform(key, (hidden_size,))}

    def carry(self, params, batch_size):
        return jnp.zeros((batch_size, len(params["a"])))

    def step(self, params, carry, x_t):
        h_t = jnp.tanh(params["a"] * carry + x_t.sum(axis=-1, keepdims=True))
        return h_t, h_t
"""
WEIGHTS = "0.8 + 0.1 * jax.random.uniform(key, (hidden_size,))"
STEP = 'params["a"] * carry'
FAULTS = {
    "none": ("", ""),
    "weights": ("0.8 + 0.1", "0.808 + 0.101"),
    "step": (STEP, f"1.01 * {STEP}"),
    "detached": (STEP, 'jax.lax.stop_gradient(params["a"] * carry)'),
    "rare": (WEIGHTS, f"jnp.where(jax.random.uniform(key) > 0.98, jnp.nan, 1.0) * ({WEIGHTS})"),
    "nan": (STEP, 'jnp.where(carry > 0.5, jnp.nan, params["a"] * carry)'),
}


def write_cell(folder, fault="none"):
    """The file of the cell, with one of the faults; always of another source, so that it is loaded again."""
    text = CELL.replace(*FAULTS[fault]) if fault != "none" else CELL
    assert (text != CELL) == (fault != "none")
    path = folder / "cell.py"
    path.write_text(text)
    return path


def write_suite(folder, name="small", scenario="", **base):
    """A suite of that cell; `base` are further fields, `scenario` further lines of its one scenario."""
    fields = {"task": f"{OWN}:Recall", "cell": f"{folder / 'cell.py'}:Own", "length": 12, "hidden": 3, "batch": 4}
    fields |= {"measure_batch": 4, "steps": 3} | base
    lines = ['title = "Small"', 'question = "Is it as it was?"', "[base]"]
    lines += [f"{field} = {value!r}" for field, value in fields.items()]
    lines += ["[seeds]", "paired = 3", "population = 256", "[[scenario]]", scenario]
    path = folder / f"{name}.toml"
    path.write_text("\n".join(lines) + "\n")
    return path


def small_scenario():
    """An LSTM on copy: task, total and direct curve, two leaves, gates, and three training steps."""
    sizes = {"length": 5, "hidden": 3, "batch": 4, "measure_batch": 4, "steps": 3}
    return scenario_of(RunSpec(task="copy:symbols=2", cell="lstm", stop="never", **sizes), paired=3, population=8)
