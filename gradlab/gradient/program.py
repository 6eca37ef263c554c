"""A function that is compiled once for each shape, and the precision of its products."""

import time
from collections.abc import Callable
from typing import Any

import jax


class Program:
    """A jitted function that is compiled once per shape and records how long its compilations took.

    Args:
        function: a pure function of pytrees of arrays.
        shardings: arguments -> how each of them lies on several devices; None for one device.

    Example:
        >>> import jax.numpy as jnp
        >>> double = Program(lambda x: 2 * x)
        >>> float(double(jnp.ones(()))), double.compile_seconds > 0
        (2.0, True)
    """

    def __init__(self, function: Callable[..., Any], shardings: Callable[..., Any] | None = None) -> None:
        self.function = function
        self._jitted = jax.jit(function)
        self._shardings = shardings
        self._compiled: dict[Any, Any] = {}
        self.compile_seconds = 0.0

    def __call__(self, *arguments: Any) -> Any:
        """Call the function."""
        return self.compiled(*arguments)(*arguments)

    @property
    def bytes(self) -> int | None:
        """What the largest executable takes for arguments, results and temporaries; None if unknown."""
        plans = [compiled.memory_analysis() for compiled in self._compiled.values()]
        sizes = [
            plan.argument_size_in_bytes
            + plan.output_size_in_bytes
            + plan.temp_size_in_bytes
            - plan.alias_size_in_bytes
            for plan in plans
            if plan is not None
        ]
        return max(sizes, default=None)

    def compiled(self, *arguments: Any) -> Any:
        """The executable for the shapes and dtypes of these arguments, compiled now if it is new.

        Args:
            arguments: arrays of NumPy or jax, or their shapes and dtypes.
        """
        leaves, treedef = jax.tree.flatten(arguments)
        precision = product_precision()
        # What is made from a seed alone has the same arguments in float32 and float64.
        key = (x64(), precision, treedef, tuple((leaf.shape, str(leaf.dtype), _devices(leaf)) for leaf in leaves))
        if key not in self._compiled:
            started = time.perf_counter()
            with jax.default_matmul_precision(precision):
                self._compiled[key] = self._for(arguments).lower(*arguments).compile()
            self.compile_seconds += time.perf_counter() - started
        return self._compiled[key]

    def _for(self, arguments: tuple[Any, ...]) -> Any:
        if self._shardings is None:
            return self._jitted
        # Stated, because the compiler would choose another one for an argument that is not used.
        return jax.jit(self.function, in_shardings=self._shardings(*arguments))


def product_precision(platform: str | None = None) -> str | None:
    """The precision of float32 matrix products; None leaves it to XLA.

    A GPU would round the factors to 11 bits (TF32), which shows in a gradient after a few timesteps, so there it
    is full float32 unless jax was told otherwise (`JAX_DEFAULT_MATMUL_PRECISION`). A CPU has nothing less.

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


def x64() -> bool:
    """Whether jax computes in 64 bits now."""
    return bool(jax.config.jax_enable_x64)  # type: ignore[attr-defined]


def _devices(leaf: Any) -> Any:
    """The devices that an array was put on by its owner; None where jax may choose."""
    return frozenset(leaf.devices()) if isinstance(leaf, jax.Array) and leaf.committed else None
