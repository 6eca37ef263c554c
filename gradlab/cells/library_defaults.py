"""How the weights of rnn, lstm and gru start in other libraries by default: `init=torch`, `init=keras`, ...

Each is the distribution that the library states, in the gate order and the biases of gradlab's cells; its numbers
are not those that the library draws from the same seed.

Sources: torch: "Variables" of https://docs.pytorch.org/docs/stable/generated/torch.nn.LSTM.html;
keras: https://keras.io/api/layers/recurrent_layers/lstm/ (tf.keras is the same);
flax: https://flax.readthedocs.io/en/latest/api_reference/flax.linen/layers.html (nnx.LSTMCell is the same, while
nnx.GRUCell and nnx.OptimizedLSTMCell draw all gates as one orthogonal matrix, as keras does);
equinox: https://docs.kidger.site/equinox/api/nn/rnn/;
haiku: https://dm-haiku.readthedocs.io/en/latest/api.html#recurrent;
tensorflow: `BasicLSTMCell`, `GRUCell` and `BasicRNNCell` of
https://www.tensorflow.org/api_docs/python/tf/compat/v1/nn/rnn_cell
"""

import math

import jax
import jax.numpy as jnp
from jax import Array
from jax.nn import initializers

BLOCKS = {"rnn": 1, "lstm": 4, "gru": 3}
"""Gate blocks of a cell: lstm i, f, g, o; gru r, z, n."""
LIBRARIES = ("torch", "keras", "flax", "equinox", "haiku", "tensorflow")
FORGET = 1
"""The place of the forget block among those of the lstm."""


def default_params(library: str, cell: str, key: Array, input_size: int, hidden_size: int) -> dict[str, Array]:
    """`w_x`, `w_h` and `b` of a cell, and `b_n` of a gru, by the default of a library.

    torch and equinox: all on ±1/√H; the two biases of torch are added up. keras: Glorot and orthogonal over all
    gates at once. flax: N(0, 1/I) truncated and orthogonal, each gate alone. haiku: normal of 1/√(I + H) cut at
    two of it, for the gru and the rnn 1/√I and 1/√H. tensorflow: Glorot over inputs, state and all gates at
    once. keras, haiku and tensorflow give the forget gate a bias of 1, tensorflow both gates of the gru.

    Args:
        library: one of `LIBRARIES`. cell: rnn, lstm or gru.

    Example:
        >>> params = default_params("keras", "lstm", jax.random.key(0), 2, 8)
        >>> [float(block.mean()) for block in jnp.split(params["b"], 4)]
        [0.0, 1.0, 0.0, 0.0]
    """
    key_weights, key_bias = jax.random.split(key)
    params = _weights(library, cell, key_weights, input_size, hidden_size)
    blocks, zeros = BLOCKS[cell], jnp.zeros(hidden_size)
    bias, b_n = [zeros] * blocks, zeros
    if library in ("torch", "equinox"):
        draws = _uniform(key_bias, (2, blocks, hidden_size), hidden_size)
        both = [first + second for first, second in zip(*draws, strict=True)]
        bias = both if library == "torch" else list(draws[0])
        # The candidate of a gru has its two biases apart: the reset gate stands between them.
        bias, b_n = ([*bias[:-1], draws[0][-1]], draws[1][-1]) if cell == "gru" else (bias, b_n)
    elif cell == "lstm" and library != "flax":
        bias[FORGET] = zeros + 1.0
    elif cell == "gru" and library == "tensorflow":
        bias[:2] = [zeros + 1.0] * 2
    return params | {"b": jnp.concatenate(bias)} | ({"b_n": b_n} if cell == "gru" else {})


def _weights(library: str, cell: str, key: Array, input_size: int, hidden_size: int) -> dict[str, Array]:
    """`w_x` (I, G·H) and `w_h` (H, G·H)."""
    key_x, key_h = jax.random.split(key)
    width = BLOCKS[cell] * hidden_size
    shape_x, shape_h = (input_size, width), (hidden_size, width)
    if library in ("torch", "equinox"):
        w_x, w_h = _uniform(key_x, shape_x, hidden_size), _uniform(key_h, shape_h, hidden_size)
    elif library == "keras":
        w_x, w_h = initializers.glorot_uniform()(key_x, shape_x), initializers.orthogonal()(key_h, shape_h)
    elif library == "flax":
        keys = jax.random.split(key_h, BLOCKS[cell])
        w_x = initializers.lecun_normal()(key_x, shape_x)
        square = hidden_size, hidden_size
        w_h = jnp.concatenate([initializers.orthogonal()(each, square) for each in keys], axis=1)
    elif library == "tensorflow":
        return _glorot_together(cell, key, input_size, hidden_size)
    elif cell == "gru":
        w_x, w_h = initializers.lecun_normal()(key_x, shape_x), initializers.lecun_normal()(key_h, shape_h)
    else:
        fans = (input_size, hidden_size) if cell == "rnn" else (input_size + hidden_size,) * 2
        draws = initializers.truncated_normal(1.0)
        w_x, w_h = draws(key_x, shape_x) / math.sqrt(fans[0]), draws(key_h, shape_h) / math.sqrt(fans[1])
    return {"w_x": w_x, "w_h": w_h}


def _glorot_together(cell: str, key: Array, input_size: int, hidden_size: int) -> dict[str, Array]:
    """Glorot matrices of inputs and state together: one for all gates, the candidate of a gru apart."""
    rows = input_size + hidden_size
    counts = (2, 1) if cell == "gru" else (BLOCKS[cell],)
    keys = jax.random.split(key, len(counts))
    parts = zip(keys, counts, strict=True)
    drawn = [initializers.glorot_uniform()(each, (rows, count * hidden_size)) for each, count in parts]
    together = jnp.concatenate(drawn, axis=1)
    return {"w_x": together[:input_size], "w_h": together[input_size:]}


def _uniform(key: Array, shape: tuple[int, ...], hidden_size: int) -> Array:
    """U(-1/√H, 1/√H)."""
    bound = 1.0 / math.sqrt(hidden_size)
    return jax.random.uniform(key, shape, minval=-bound, maxval=bound)
