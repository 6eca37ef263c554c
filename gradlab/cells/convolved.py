"""A causal convolution over time before a cell, as hybrids of convolutional and recurrent networks have it.

    u_t = relu(Σ_{k<w} x_{t-k} Wₖ + b)
    s_t, y_t = cell(s_{t-1}, u_t)

The last w - 1 inputs are part of the state, as `past`; they are no memory that is learned, and are not measured.

Source: Sainath et al. (2015), "Convolutional, long short-term memory, fully connected deep neural networks",
section 2, https://doi.org/10.1109/ICASSP.2015.7178838 (there over frequency, and with pooling)
"""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import Array

from gradlab.cells.base import Carry, Cell, Params
from gradlab.cells.initializers import glorot
from gradlab.errors import GradlabError


@dataclass(frozen=True)
class Convolved:
    """A causal convolution of `width` timesteps, and a cell that reads it. Made by `cnn`."""

    unmeasured_leaves: ClassVar[tuple[str, ...]] = ("past",)

    cell: Cell
    width: int

    def init(self, key: Array, input_size: int, hidden_size: int) -> Params:
        """`kernel` (w, I, H), oldest input first, Glorot as one matrix (w I, H); `bias` (H,) zero; `cell`."""
        own, inner = jax.random.split(key)
        kernel = glorot(own, self.width * input_size, hidden_size).reshape(self.width, input_size, hidden_size)
        return {
            "kernel": kernel,
            "bias": jnp.zeros(hidden_size),
            "cell": self.cell.init(inner, hidden_size, hidden_size),
        }

    def carry(self, params: Params, batch_size: int) -> Carry:
        """Zeros for the inputs before the first, and the state of the cell."""
        kernel = params["kernel"]
        past = jnp.zeros((batch_size, self.width - 1, kernel.shape[1]), kernel.dtype)
        return {"past": past, "cell": self.cell.carry(params["cell"], batch_size)}

    def step(self, params: Params, carry: Carry, x_t: Array) -> tuple[Carry, Array]:
        """(sₜ₋₁, xₜ) -> (sₜ, yₜ)."""
        window = jnp.concatenate([carry["past"], x_t[:, None]], axis=1)
        u_t = jax.nn.relu(jnp.einsum("bwi,wih->bh", window, params["kernel"]) + params["bias"])
        state, y_t = self.cell.step(params["cell"], carry["cell"], u_t)
        return {"past": window[:, 1:], "cell": state}, y_t


def cnn(cell: Cell, width: int = 5) -> Convolved:
    """A causal convolution before a cell: u_t = relu(Σ_{k<w} x_{t-k} Wₖ + b), s_t, y_t = cell(s_{t-1}, u_t).

    Args:
        cell: that reads the convolution.
        width: w, timesteps of the convolution.

    Raises:
        GradlabError: `width` is out of range.

    Example:
        >>> from gradlab.cells.lstm import lstm
        >>> params = cnn(lstm(), width=3).init(jax.random.key(0), 2, 4)
        >>> params["kernel"].shape, params["cell"]["w_x"].shape
        ((3, 2, 4), (4, 16))

    Source: Sainath et al. (2015), section 2, https://doi.org/10.1109/ICASSP.2015.7178838
    """
    if width < 1:
        raise GradlabError(f"width is {width}: give at least 1")
    return Convolved(cell, width)
