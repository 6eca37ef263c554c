"""Settings of jax that decide numbers, as gradlab computes with them whatever the environment says."""

from collections.abc import Iterator
from contextlib import contextmanager

import jax

PINNED = {
    "jax_threefry_partitionable": True,
    "jax_default_prng_impl": "threefry2x32",
    "jax_random_seed_offset": 0,
    "jax_threefry_gpu_kernel_lowering": False,
    "jax_numpy_dtype_promotion": "standard",
    "jax_softmax_custom_jvp": False,
    "jax_disable_jit": False,
    "jax_disable_most_optimizations": False,
    "jax_optimization_level": "UNKNOWN",
    "jax_exec_time_optimization_effort": 0.0,
    "jax_compiler_enable_remat_pass": True,
    "jax_allow_f16_reductions": True,
    "eager_constant_folding": False,
}
"""Which weights and data are drawn, in which dtypes, and how programs are compiled.

What else moves bits (matrix precision, flags of XLA, versions, the processor) is recorded in `execution`.
"""


@contextmanager
def numerics(dtype: str) -> Iterator[None]:
    """Compute with the pinned settings, and with 64 bits for dtype `float64`.

    Example:
        >>> with numerics("float64"):
        ...     jax.numpy.ones(()).dtype
        dtype('float64')
    """
    before = {name: jax.config.values[name] for name in PINNED if name in jax.config.values}
    changed = {name: value for name, value in before.items() if value != PINNED[name]}
    for name in changed:
        jax.config.update(name, PINNED[name])
    try:
        with jax.enable_x64(dtype == "float64"):
            yield
    finally:
        for name, value in changed.items():
            jax.config.update(name, value)
