"""The orthogonal network: a recurrent matrix that stays orthogonal while it is trained, and modReLU.

    A = triu(a) - triu(a)ᵀ,   W = (I + A)⁻¹ (I - A) D        scaled Cayley transform, W Wᵀ = I
    preₜ = xₜ Wₓ + hₜ₋₁ W
    hₜ = sign(preₜ) ⊙ max(|preₜ| + b, 0)                     modReLU

D is diagonal with entries ±1 and not trained. With b = 0, as it starts, modReLU is the identity and the gradient
keeps its norm exactly at any lag.

Sources: Helfrich, Willmott & Ye (2018), "Orthogonal recurrent neural networks with scaled Cayley transform",
https://arxiv.org/abs/1707.09520; modReLU: Arjovsky, Shah & Bengio (2016), "Unitary evolution
recurrent neural networks", https://arxiv.org/abs/1511.06464
"""

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array

from gradlab.cells.base import Carry, Params, zero_state
from gradlab.cells.initializers import glorot
from gradlab.cells.literature.options import check_range


@dataclass(frozen=True)
class OrthogonalRNN:
    """hₜ = modReLU(xₜ Wₓ + hₜ₋₁ W), yₜ = hₜ, with W orthogonal. Made by `ornn`."""

    negative: float

    def init(self, key: Array, input_size: int, hidden_size: int) -> Params:
        """`w_x` (I, H), Glorot, `a` (H, H), of which the part above the diagonal counts, and `b` (H,) of zeros.

        A starts as 2 × 2 blocks that make rotations by angles uniform on [0, π/2].
        """
        key_x, key_a = jax.random.split(key)
        angles = jax.random.uniform(key_a, (hidden_size // 2,), maxval=math.pi / 2)
        rows = 2 * jnp.arange(hidden_size // 2)
        a = jnp.zeros((hidden_size, hidden_size)).at[rows, rows + 1].set(jnp.tan(angles / 2))
        return {"w_x": glorot(key_x, input_size, hidden_size), "a": a, "b": jnp.zeros(hidden_size)}

    def carry(self, params: Params, batch_size: int) -> Carry:
        """s₀ = 0."""
        return zero_state(("h",), batch_size, params["b"].shape[0], params["b"].dtype)

    def recurrent_matrix(self, params: Params) -> Array:
        """W (H, H)."""
        upper = jnp.triu(params["a"], 1)
        skew, eye = upper - upper.T, jnp.eye(len(upper), dtype=upper.dtype)
        scale = jnp.where(jnp.arange(len(upper)) < round(self.negative * len(upper)), -1, 1)
        return jnp.linalg.solve(eye + skew, eye - skew) * scale.astype(upper.dtype)

    def step(self, params: Params, carry: Carry, x_t: Array) -> tuple[Carry, Array]:
        """(sₜ₋₁, xₜ) -> (sₜ, hₜ)."""
        pre_t = x_t @ params["w_x"] + carry["h"] @ self.recurrent_matrix(params)
        # In this form the derivative at 0 is 1 where b = 0, not that of sign and |.|, which is 0.
        b, active = params["b"], jnp.abs(pre_t) + params["b"] >= 0
        h_t = jnp.where(active, pre_t + b * jnp.sign(pre_t), 0)
        return {"h": h_t}, h_t


def ornn(negative: float = 0.5) -> OrthogonalRNN:
    """An orthogonal network: hₜ = modReLU(xₜ Wₓ + hₜ₋₁ W), W = (I + A)⁻¹ (I - A) D with skew-symmetric A.

    Args:
        negative: the share of entries -1 in D, from 0 to 1.

    Raises:
        GradlabError: a share that is not from 0 to 1.

    Example:
        >>> cell = ornn()
        >>> params = cell.init(jax.random.key(0), 2, 4)
        >>> w = cell.recurrent_matrix(params)
        >>> bool(jnp.allclose(w @ w.T, jnp.eye(4), atol=1e-5))
        True

    Source: Helfrich, Willmott & Ye (2018), https://arxiv.org/abs/1707.09520
    """
    check_range("negative", negative, 0.0, 1.0)
    return OrthogonalRNN(negative)
