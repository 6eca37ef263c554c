"""What a run keeps as arrays: `curves.npz`, `every.npz` and `params.npz`."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gradlab.cells import Params
from gradlab.gradient.curve import GradientCurve
from gradlab.training.loop import Checkpoint
from gradlab.training.step import Row

STATISTICS: dict[str, Callable[[GradientCurve, str], np.ndarray]] = {
    "typical": lambda curve, leaf: curve.typical(leaf),
    "q10": lambda curve, leaf: curve.quantile(0.1, leaf),
    "q50": lambda curve, leaf: curve.quantile(0.5, leaf),
    "q90": lambda curve, leaf: curve.quantile(0.9, leaf),
    "rms": lambda curve, leaf: curve.rms(leaf),
    "dead": lambda curve, leaf: curve.dead(leaf),
    "noise": lambda curve, leaf: curve.noise.get(leaf, np.zeros(len(curve.lags))),
}
"""What is stored of a curve, by lag, for every leaf."""


def curve_arrays(marks: Sequence[Checkpoint]) -> dict[str, np.ndarray]:
    """`<curve>/<leaf>/<statistic>` [checkpoint, lag], and `gate/<name>` [checkpoint, (mean, saturation)].

    Args:
        marks: at least one checkpoint.
    """
    arrays = {"step": np.array([mark.step for mark in marks])}
    first = marks[0].metrics
    for name in first.gates:
        arrays[f"gate/{name}"] = np.array([mark.metrics.gates[name] for mark in marks])
    for name, example in first.curves.items():
        for leaf in example.leaves:
            curves = [mark.metrics.curves[name] for mark in marks]
            for statistic, compute in STATISTICS.items():
                arrays[f"{name}/{leaf}/{statistic}"] = _stacked([compute(curve, leaf) for curve in curves])
            saturated = [curve.saturated.get(leaf, 0) for curve in curves]
            arrays[f"{name}/{leaf}/saturated"] = np.array(saturated)
        arrays[f"{name}/examples"] = _stacked([mark.metrics.curves[name].examples for mark in marks])
    return arrays


def _stacked(rows: Sequence[np.ndarray]) -> np.ndarray:
    """Rows by lag as one array; where a curve is shorter at one checkpoint than at another, NaN beyond its end."""
    longest = max(len(row) for row in rows)
    if all(len(row) == longest for row in rows):
        return np.stack(rows)
    return np.stack([np.pad(row.astype(float), (0, longest - len(row)), constant_values=np.nan) for row in rows])


def trace_arrays(trace: Row, tests: Sequence[tuple[int, float]]) -> dict[str, np.ndarray]:
    """Loss, log10 gradient norm and clipped share of every training step, and the tests of solving."""
    rows = {f"trace/{name}": row for name, row in trace._asdict().items() if name != "norms"}
    return rows | {
        "test/step": np.array([step for step, _ in tests], int),
        "test/loss": np.array([loss for _, loss in tests], float),
    }


def norms_summary(norms: Mapping[str, np.ndarray]) -> dict[str, Any] | None:
    """Of each leaf, the training step at which lag T was lowest against lag 1, and how often it read zero."""
    return {leaf: _deepest(np.asarray(rows, np.float64)) for leaf, rows in norms.items() if len(rows)} or None


def _deepest(rows: np.ndarray) -> dict[str, Any]:
    with np.errstate(invalid="ignore"):
        spans = rows[:, -1] - rows[:, 0]
    order = np.where(np.isnan(spans), np.inf, spans)
    at = int(np.argmin(order))
    return {"training_step": at + 1, "span": float(spans[at]), "zero": int(np.isneginf(rows[:, -1]).sum())}


def flatten_params(params: Params) -> dict[str, Any]:
    """Parameters by key path, `cell/w_h` and so on, in the order of their leaves, in dtypes that numpy has.

    A random key is its data; floats that numpy has no file for, as bfloat16, are float32.
    """
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): _plain(leaf) for path, leaf in leaves}


def unflatten_params(stored: Mapping[str, np.ndarray], init: Callable[[], Params]) -> Params | None:
    """What `flatten_params` gave, in the form and the dtypes that `init` gives; None where it does not fit."""
    keys: dict[str, Any] = {}

    def arrays() -> tuple[Params, list[Any]]:
        params = init()
        flat = flatten_params(params)
        for name, leaf in zip(flat, jax.tree.leaves(params), strict=True):
            keys[name] = jax.random.key_impl(leaf) if _is_key(leaf) else None
        return params, list(flat.values())

    params, plain = jax.eval_shape(arrays)
    if _layout(stored) != _layout(dict(zip(keys, plain, strict=True))):
        return None
    leaves, structure = jax.tree.flatten(params)
    found = [
        jnp.asarray(stored[name], like.dtype) if key is None else _key(stored[name], key)
        for (name, key), like in zip(keys.items(), leaves, strict=True)
    ]
    return jax.tree.unflatten(structure, found)


def _key(data: np.ndarray, implementation: Any) -> Any:
    return jax.random.wrap_key_data(jnp.asarray(data), impl=implementation)


def _layout(arrays: Mapping[str, Any]) -> dict[str, tuple[tuple[int, ...], str]]:
    return {name: (array.shape, np.dtype(array.dtype).kind) for name, array in arrays.items()}


def _plain(leaf: Any) -> Any:
    if _is_key(leaf):
        return jax.random.key_data(leaf)
    return leaf.astype(np.float32) if np.dtype(leaf.dtype).kind == "V" else leaf


def _is_key(leaf: Any) -> bool:
    return bool(jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key))
