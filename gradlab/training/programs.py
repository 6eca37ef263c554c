"""Jitted functions that are compiled once per shape, aloud: the time it took is known."""

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
        # What is made from a seed alone has the same arguments in float32 and float64.
        key = (_x64(), treedef, tuple((leaf.shape, str(leaf.dtype)) for leaf in leaves))
        if key not in self._compiled:
            started = time.perf_counter()
            self._compiled[key] = self._jitted.lower(*arguments).compile()
            self.compile_seconds += time.perf_counter() - started
        return self._compiled[key]


def compile_together(*calls: tuple[Program, tuple[Any, ...]]) -> float:
    """Compile programs for their arguments side by side; returns the seconds it took.

    Args:
        calls: each program with the arguments that it will be called with.
    """
    # The switch to float64 is kept per thread, so the threads that compile are told of it.
    x64 = _x64()

    def compile_one(call: tuple[Program, tuple[Any, ...]]) -> None:
        program, arguments = call
        with jax.enable_x64(x64):
            program.compiled(*arguments)

    started = time.perf_counter()
    with ThreadPoolExecutor() as threads:
        list(threads.map(compile_one, calls))
    return time.perf_counter() - started


def _x64() -> bool:
    return bool(jax.config.jax_enable_x64)  # type: ignore[attr-defined]


def wait_for(result: Any) -> Any:
    """Block until arrays are there, yet let Ctrl-C through at once, which waiting inside XLA does not."""
    for leaf in jax.tree.leaves(result):
        while not getattr(leaf, "is_ready", lambda: True)():  # a key comes with the arrays beside it
            time.sleep(0.001)
    return result
