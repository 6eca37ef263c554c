"""Jitted functions that are compiled once per shape, aloud: the time it took is known."""

import contextlib
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax


class Program:
    """A jitted function that knows how long its compilations took.

    Args:
        function: a pure function of pytrees of arrays.

    Example:
        >>> import jax.numpy as jnp
        >>> double = Program(lambda x: 2 * x)
        >>> float(double(jnp.ones(()))), double.compile_seconds > 0
        (2.0, True)
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self._jitted = jax.jit(function)
        self._compiled: dict[Any, Any] = {}
        self.compile_seconds = 0.0

    def __call__(self, *arguments: Any) -> Any:
        """Call the function."""
        return self.compiled(*arguments)(*arguments)

    @property
    def bytes(self) -> int | None:
        """What the largest executable takes for arguments, results and all between; None where nobody says."""
        found = [compiled.memory_analysis() for compiled in self._compiled.values()]
        sizes = [
            each.argument_size_in_bytes
            + each.output_size_in_bytes
            + each.temp_size_in_bytes
            - each.alias_size_in_bytes
            for each in found
            if each is not None
        ]
        return max(sizes, default=None)

    def compiled(self, *arguments: Any) -> Any:
        """The executable for the shapes and dtypes of these arguments, compiled now if it is new."""
        leaves, treedef = jax.tree.flatten(arguments)
        precision = product_precision()
        # What is made from a seed alone has the same arguments in float32 and float64.
        key = (_x64(), precision, treedef, tuple((leaf.shape, str(leaf.dtype)) for leaf in leaves))
        if key not in self._compiled:
            started = time.perf_counter()
            with jax.default_matmul_precision(precision):
                self._compiled[key] = self._jitted.lower(*arguments).compile()
            self.compile_seconds += time.perf_counter() - started
        return self._compiled[key]


def product_precision(platform: str | None = None) -> str | None:
    """What matrix products of float32 are asked to be computed in; None leaves it to XLA.

    A GPU would round the factors to 11 bits (TF32), which shows in a gradient after a few timesteps, so there it
    is all of float32 unless jax was told otherwise (`JAX_DEFAULT_MATMUL_PRECISION`). A CPU has nothing less.

    Args:
        platform: cpu, gpu, ...; that of the default device where None.

    Example:
        >>> product_precision("cpu"), product_precision("gpu")
        (None, 'highest')
    """
    chosen: str | None = jax.config.jax_default_matmul_precision  # type: ignore[attr-defined]
    if chosen is not None:
        return chosen
    return None if (platform or jax.default_backend()) == "cpu" else "highest"


def compile_together(*compilations: Callable[[], Any]) -> float:
    """Do compilations side by side; returns the seconds it took.

    Args:
        compilations: each compiles one program, such as `partial(program.compiled, *arguments)`.
    """
    # What jax is told in a `with` is kept per thread, so the threads that compile are told of it too.
    x64, precision = _x64(), product_precision()

    def compile_one(compilation: Callable[[], Any]) -> None:
        with jax.enable_x64(x64), jax.default_matmul_precision(precision):
            compilation()

    started = time.perf_counter()
    with ThreadPoolExecutor() as threads:
        list(threads.map(compile_one, compilations))
    return time.perf_counter() - started


def in_float64(compilation: Callable[[], Any]) -> Callable[[], None]:
    """The same compilation with float64 switched on; a cell that cannot be compiled so is told of when run."""

    def compile_wide() -> None:
        with jax.enable_x64(True), contextlib.suppress(Exception):
            compilation()

    return compile_wide


def _x64() -> bool:
    return bool(jax.config.jax_enable_x64)  # type: ignore[attr-defined]


def wait_for(result: Any) -> Any:
    """Block until arrays are there, yet let Ctrl-C through at once, which waiting inside XLA does not."""
    for leaf in jax.tree.leaves(result):
        while not getattr(leaf, "is_ready", lambda: True)():  # a key comes with the arrays beside it
            time.sleep(0.001)
    return result
