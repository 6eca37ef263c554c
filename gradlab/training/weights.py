"""What of the parameters is trained: arrays of floats, real or complex. An index, a mask or a key stays."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gradlab.cells import Params
from gradlab.errors import GradlabError


def as_arrays(params: Params) -> Params:
    """Parameters with Python's and numpy's numbers as arrays.

    Raises:
        GradlabError: a leaf is no number.

    Example:
        >>> {name: str(leaf.dtype) for name, leaf in as_arrays({"gain": 0.5, "period": 3}).items()}
        {'gain': 'float32', 'period': 'int32'}
    """

    def as_array(path: Any, leaf: Any) -> Any:
        if isinstance(leaf, jax.Array):
            return leaf
        numeric = isinstance(leaf, (bool, int, float, complex, np.ndarray, np.generic))
        if not numeric or np.asarray(leaf).dtype.kind not in "biufcV":  # V: bfloat16 and the like
            name = jax.tree_util.keystr(path, simple=True, separator="/")
            raise GradlabError(f"parameter `{name}` is of type {type(leaf).__name__}: give arrays or numbers")
        return jnp.asarray(leaf, jnp.result_type(leaf))  # with a dtype, which a number of Python does not have

    return jax.tree_util.tree_map_with_path(as_array, params)


def weights(params: Params) -> Params:
    """The parameters with None in the place of what is not trained."""
    return jax.tree.map(lambda leaf: leaf if jnp.issubdtype(leaf.dtype, jnp.inexact) else None, params)


def with_weights(params: Params, trained: Params) -> Params:
    """The parameters with other weights, which have None in the place of what is not trained."""
    return jax.tree.map(
        lambda new, old: old if new is None else new, trained, params, is_leaf=lambda leaf: leaf is None
    )


def count(params: Params) -> int:
    """How many numbers are trained, a complex one as one."""
    return sum(leaf.size for leaf in jax.tree.leaves(weights(params)))
