"""Causal self-attention with positions: a network without a state, every input one hop from every later output.

    z = x W + b + p                                        p: sine and cosine of the timestep
    z ← z + concat_j softmax(qⱼ kⱼᵀ / √D) vⱼ W_o           q, k, v of LN(z), timesteps s <= t alone
    z ← z + relu(LN(z) W₁ + b₁) W₂ + b₂                    both for each block
    y = LN(z)

It is measured at its inputs: the gradient of the output at T with respect to the input at T - k passes through one
softmax for each block, whatever k is.

Sources: Vaswani et al. (2017), "Attention is all you need", section 3, https://arxiv.org/abs/1706.03762; the place
of the normalisation: Xiong et al. (2020), "On layer normalization in the Transformer architecture", section 3,
https://arxiv.org/abs/2002.04745
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array

from gradlab.cells.base import Params, layer_norm
from gradlab.cells.initializers import glorot
from gradlab.errors import GradlabError

_WIDER = 4
"""Units of the hidden layer of a block, relative to H."""


@dataclass(frozen=True)
class Attention:
    """Blocks of causal self-attention. Made by `attention`."""

    blocks: int
    heads: int

    def init(self, key: Array, input_size: int, hidden_size: int) -> Params:
        """`in`, `block0`, ..., `norm`: Glorot weights, zero biases, unit gains."""
        if hidden_size % self.heads:
            raise GradlabError(f"hidden is {hidden_size}: give a multiple of heads={self.heads}")
        keys = iter(jax.random.split(key, 1 + 4 * self.blocks))

        def linear(inputs: int, outputs: int) -> Params:
            return {"w": glorot(next(keys), inputs, outputs), "b": jnp.zeros(outputs)}

        params: Params = {"in": linear(input_size, hidden_size), "norm": _norm(hidden_size)}
        for index in range(self.blocks):
            params[f"block{index}"] = {
                "norm1": _norm(hidden_size),
                "qkv": linear(hidden_size, 3 * hidden_size),
                "out": linear(hidden_size, hidden_size),
                "norm2": _norm(hidden_size),
                "wide": linear(hidden_size, _WIDER * hidden_size),
                "narrow": linear(_WIDER * hidden_size, hidden_size),
            }
        return params

    def apply(self, params: Params, inputs: Array) -> Array:
        """(T, B, I) -> (T, B, H); the output of timestep t reads the inputs of timesteps 1..t."""
        z = _linear(params["in"], inputs)
        z = z + positions(z.shape[0], z.shape[2], z.dtype)[:, None, :]
        for index in range(self.blocks):
            block = params[f"block{index}"]
            z = z + self._attend(block, _normalised(block["norm1"], z))
            hidden = jax.nn.relu(_linear(block["wide"], _normalised(block["norm2"], z)))
            z = z + _linear(block["narrow"], hidden)
        return _normalised(params["norm"], z)

    def _attend(self, block: Params, z: Array) -> Array:
        timesteps, batch, size = z.shape
        width = size // self.heads
        q, k, v = (
            part.reshape(timesteps, batch, self.heads, width)
            for part in jnp.split(_linear(block["qkv"], z), 3, axis=-1)
        )
        scores = jnp.einsum("tbjd,sbjd->bjts", q, k) / width**0.5
        seen = jnp.tril(jnp.ones((timesteps, timesteps), bool))
        weights = jax.nn.softmax(jnp.where(seen, scores, -jnp.inf), axis=-1)
        return _linear(block["out"], jnp.einsum("bjts,sbjd->tbjd", weights, v).reshape(z.shape))


def positions(timesteps: int, size: int, dtype: jnp.dtype) -> Array:
    """sin(t / 10000^(2i/H)) and cos of the same in turns, (T, H); section 3.5.

    Example:
        >>> positions(2, 4, jnp.float32)[0].tolist()
        [0.0, 1.0, 0.0, 1.0]
    """
    rates = 10000.0 ** (-2 * (jnp.arange(size) // 2) / size)
    angles = jnp.arange(timesteps)[:, None] * rates
    return jnp.where(jnp.arange(size) % 2 == 0, jnp.sin(angles), jnp.cos(angles)).astype(dtype)


def _linear(layer: Params, z: Array) -> Array:
    return z @ layer["w"] + layer["b"]


def _norm(size: int) -> Params:
    return {"gain": jnp.ones(size), "bias": jnp.zeros(size)}


def _normalised(norm: Params, z: Array) -> Array:
    return layer_norm(z, norm["gain"], norm["bias"])


def attention(blocks: int = 1, heads: int = 4) -> Attention:
    """Causal self-attention: every input is one hop from every later output.

    Args:
        blocks: of attention and a hidden layer, 1 to 4.
        heads: of each; `hidden` has to be a multiple.

    Raises:
        GradlabError: an option out of range.

    Example:
        >>> network = attention()
        >>> params = network.init(jax.random.key(0), 2, 8)
        >>> network.apply(params, jnp.ones((5, 3, 2))).shape
        (5, 3, 8)

    Source: Vaswani et al. (2017), section 3, https://arxiv.org/abs/1706.03762
    """
    if not 1 <= blocks <= 4:
        raise GradlabError(f"blocks is {blocks}: give 1 to 4")
    if heads < 1:
        raise GradlabError(f"heads is {heads}: give at least 1")
    return Attention(blocks, heads)
