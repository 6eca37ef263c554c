"""Random keys from content, so that neither loop order nor another run can change them."""

import hashlib

import jax
from jax import Array


def stream(seed: int | Array, name: str) -> Array:
    """The key of a named stream of a seed; streams of different names are disjoint.

    Training draws from `train` and `dropout`, checkpoints from `measure`, tests of solving from `test`, initial
    weights from `cell` and `readout`.

    Example:
        >>> import jax
        >>> same = stream(0, "train") == stream(0, "train")
        >>> bool(same), bool(stream(0, "train") == stream(0, "test"))
        (True, False)
    """
    digest = hashlib.blake2b(name.encode(), digest_size=4).digest()
    return jax.random.fold_in(jax.random.key(seed, impl="threefry2x32"), int.from_bytes(digest, "big"))
