"""What `step` must keep to before anything can be measured: shapes, dtypes, purity."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from gradlab.cells import Cell
from gradlab.errors import GradlabError, described, place_of
from gradlab.gradient.examination.finding import CellFinding
from gradlab.gradient.examination.jaxprs import casts_down, draws_fixed
from gradlab.gradient.examination.subject import LONGEST, CellSizes, Subject, Trajectory, is_key
from gradlab.gradient.state import (
    as_arrays,
    drifting_leaves,
    initial_shapes,
    leaf_names,
    leaves_without_batch,
    named_leaves,
    output_shape,
    step_of,
)
from gradlab.gradient.verified import in_dtype

LENGTHS = (1, 2, LONGEST)
BATCH_SIZES = (1, 2, 5)


def failure(error: BaseException) -> str:
    """What a cell raised, in one line."""
    if isinstance(error, jax.errors.UnexpectedTracerError):
        return "it keeps in Python what it computed at an earlier timestep (a mask?): keep that in the state"
    return f"{described(error)[:300]}{place_of(error)}"


def shapes(cell: Cell, sizes: CellSizes) -> CellFinding:
    """Whether `init`, `carry` and `step` give what they must at several lengths and batch sizes, traced only."""
    name = "shapes"
    for batch_size in BATCH_SIZES:
        try:
            if reason := _misshapen(cell, sizes, batch_size):
                return CellFinding(name, "fault", batch_size, reason)
        except GradlabError as error:
            return CellFinding(name, "fault", batch_size, str(error))
        except (Exception, SystemExit) as error:
            where = f"with a batch of {batch_size}, inputs of {sizes.input_size} and {sizes.hidden_size} units"
            return CellFinding(name, "fault", batch_size, f"the cell fails {where}: {failure(error)}")
    text = f"T = {', '.join(map(str, LENGTHS))} and B = {', '.join(map(str, BATCH_SIZES))}: one state, one output"
    return CellFinding(name, "ok", None, text)


def _misshapen(cell: Cell, sizes: CellSizes, batch_size: int) -> str | None:
    params = jax.eval_shape(
        lambda key: as_arrays(cell.init(key, sizes.input_size, sizes.hidden_size)), jax.random.key(sizes.seed)
    )
    start = initial_shapes(cell, params, batch_size)
    if not leaf_names(start)[0]:
        return "the state has no leaf of floats: there is nothing that a gradient could be measured at"
    x_t = jax.ShapeDtypeStruct((batch_size, sizes.input_size), jnp.float32)
    output_shape(cell, params, start, x_t)
    found = leaves_without_batch(cell, params, batch_size) | drifting_leaves(cell, params, start, x_t)
    for length in LENGTHS:
        inputs = jax.ShapeDtypeStruct((length, *x_t.shape), x_t.dtype)
        if not found:
            jax.eval_shape(
                lambda p, s, x: lax.scan(lambda s, x_t: cell.step(p, s, x_t), s, x), params, start, inputs
            )
    return next(iter(found.values()), None)


def double(cell: Cell, sizes: CellSizes) -> CellFinding:
    """Whether s₀ and `step` follow the parameters into float64."""
    name = "float64"
    try:
        params = cell.init(jax.random.key(sizes.seed), sizes.input_size, sizes.hidden_size)
        with jax.enable_x64(True):
            params = in_dtype(as_arrays(params), jnp.float64)
            start = initial_shapes(cell, params, sizes.batch_size)
            x_t = jax.ShapeDtypeStruct((sizes.batch_size, sizes.input_size), jnp.float64)
            drifting = drifting_leaves(cell, params, start, x_t)
    except (Exception, SystemExit) as error:
        return CellFinding(name, "fault", None, f"the cell fails with float64 parameters: {failure(error)}")
    if drifting:
        advice = "make s₀ in the dtype of the parameters, or `--dtype float64` is refused"
        text = f"with float64 parameters {next(iter(drifting.values()))}; {advice}"
        return CellFinding(name, "note", None, text)
    return CellFinding(name, "ok", None, "state and output follow the parameters into float64")


def start(of: Subject) -> CellFinding:
    """Whether the parameters of `init` are finite and s₀ of `carry` has no NaN; a maximum may start at -inf."""
    for called, tree, what in (("init", of.single.params, "parameter"), ("carry", of.single.start, "leaf")):
        for name, leaf in named_leaves(tree):
            wrong = np.isnan if called == "carry" else lambda values: ~np.isfinite(values)
            bad = 0 if is_key(leaf) else int(wrong(leaf).sum())
            if bad:
                which = f"the {what} `{name}` with {bad} of {leaf.size} entries not finite"
                text = f"{type(of.cell).__name__}.{called} returns {which}: nothing else is examined"
                return CellFinding("start", "fault", bad, text)
    return CellFinding("start", "ok", None, "the parameters of `init` are finite, and s₀ of `carry` has no NaN")


# ---------------------------------------------------------------- what the traced program shows


def rounding(of: Subject) -> CellFinding:
    """Whether a value is rounded to a narrower format than that of the parameters and inputs."""
    for path, name in ((of.single, "float32"), (of.double, "float64")):
        if narrow := sorted(set(casts_down(path.traced))):
            text = (
                f"{step_of(of.cell)} rounds to {', '.join(narrow)} what comes in as {name}: gradients are no more "
                "precise than that; compute in the dtype of the parameters"
            )
            return CellFinding("casts", "fault", len(narrow), text)
    return CellFinding("casts", "ok", None, "nothing is rounded to a narrower format inside `step`")


def draws(of: Subject) -> list[CellFinding]:
    """Whether random numbers differ between timesteps and between examples; nothing where none are drawn."""
    traced, path = of.single.traced, of.single
    if not of.random:
        return []
    step, frozen = step_of(of.cell), _frozen(path)
    constant = [False] * len(jax.tree.leaves(path.params))
    varies = [name not in frozen for name, _ in named_leaves(path.start)]
    if draws_fixed(traced, [*constant, *varies, True]):
        text = (
            f"{step} draws random numbers from a key that never changes: every timestep gets the mask of "
            "timestep 1; keep the key in the state, split it at each timestep and return one half"
        )
        return [CellFinding("random numbers", "fault", None, text)]
    at = path.at(2)
    alike = jax.tree.map(lambda leaf: leaf if is_key(leaf) else _first_row(leaf, of.sizes.batch_size), at.carry)
    values = path.values(at._replace(carry=alike, x_t=np.repeat(at.x_t[:1], len(at.x_t), axis=0)))
    if all(np.array_equal(leaf, np.repeat(leaf[:1], len(leaf), axis=0)) for leaf in values):
        text = f"{step} draws one mask for all examples: draw it in the shape (batch, units)"
        return [CellFinding("random numbers", "fault", None, text)]
    return [CellFinding("random numbers", "ok", None, "they differ between timesteps and between examples")]


def _first_row(leaf: Any, batch_size: int) -> Any:
    fits = leaf.shape[:1] == (batch_size,) and jnp.issubdtype(leaf.dtype, jnp.inexact)
    return np.repeat(leaf[:1], batch_size, axis=0) if fits else leaf


def _frozen(path: Trajectory) -> list[str]:
    """The leaves of the state, keys and integers too, that are the same at every timestep."""
    rows = [[_bits(leaf) for leaf in jax.tree.leaves(state)] for state in path.states]
    names = [name for name, _ in named_leaves(path.start)]
    return [name for name, values in zip(names, zip(*rows, strict=True), strict=True) if len(set(values)) == 1]


def _bits(leaf: Any) -> bytes:
    return np.asarray(jax.random.key_data(leaf) if is_key(leaf) else leaf).tobytes()


# ---------------------------------------------------------------- purity


def purity(cell: Cell, sizes: CellSizes) -> CellFinding:
    """Whether equal arguments give equal results, called three times outside of any compiled program."""
    key, name = jax.random.key(sizes.seed), "determinism"
    x_t = np.random.RandomState(0).standard_normal((sizes.batch_size, sizes.input_size)).astype(np.float32)
    drawn = [as_arrays(cell.init(key, sizes.input_size, sizes.hidden_size)) for _ in range(2)]
    started = [as_arrays(cell.carry(drawn[0], sizes.batch_size)) for _ in range(2)]
    calls = [cell.step(drawn[0], started[0], jnp.asarray(x_t)) for _ in range(3)]
    for called, results in (("init", drawn), ("carry", started), ("step", calls)):
        bits = {b"".join(map(_bits, jax.tree.leaves(as_arrays(result)))) for result in results}
        if len(bits) > 1:
            text = (
                f"{type(cell).__name__}.{called} gives different results for equal arguments: it keeps something "
                "in Python (a counter, a random generator, a list) that a compiled program reads once; keep it in "
                "the state, random keys too"
            )
            return CellFinding(name, "fault", len(bits), text)
    return CellFinding(name, "ok", None, "`init`, `carry` and `step` called again give the same bits")


def frozen_leaves(of: Subject) -> CellFinding:
    """Which leaves of the state never change."""
    same = [name for name in _frozen(of.single) if name]
    if not same:
        return CellFinding("state changes", "ok", None, "every leaf of the state changes along the inputs")
    text = (
        f"`{'`, `'.join(same)}` of the state never {'change' if len(same) > 1 else 'changes'} in {LONGEST} "
        f"timesteps of random inputs: return the new value from {step_of(of.cell)}; what is constant (a mask too) "
        "belongs in the parameters"
    )
    return CellFinding("state changes", "fault", len(same), text)
