"""Parameters as the arrays of `params.npz`, and back."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gradlab.cells import Params


def flatten_params(params: Params) -> dict[str, Any]:
    """Parameters by key path, such as `cell/w_h`, in dtypes of numpy: keys as data, bfloat16 as float32."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): _plain(leaf) for path, leaf in leaves}


def unflatten_params(stored: Mapping[str, np.ndarray], init: Callable[[], Params]) -> Params | None:
    """The inverse of `flatten_params`, in the structure and dtypes of `init`; None if they do not fit."""
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
        jnp.asarray(stored[name], like.dtype)
        if key is None
        else jax.random.wrap_key_data(jnp.asarray(stored[name]), impl=key)
        for (name, key), like in zip(keys.items(), leaves, strict=True)
    ]
    return jax.tree.unflatten(structure, found)


def _layout(arrays: Mapping[str, Any]) -> dict[str, tuple[tuple[int, ...], str]]:
    return {name: (array.shape, np.dtype(array.dtype).kind) for name, array in arrays.items()}


def _plain(leaf: Any) -> Any:
    if _is_key(leaf):
        return jax.random.key_data(leaf)
    return leaf.astype(np.float32) if np.dtype(leaf.dtype).kind == "V" else leaf


def _is_key(leaf: Any) -> bool:
    return bool(jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key))
