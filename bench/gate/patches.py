"""Changes of the source: what a patch is, faults that move no curve, and rewrites that mean the same."""

from pathlib import Path
from typing import NamedTuple


class Patch(NamedTuple):
    """Texts of one file and what they become.

    Attributes:
        name: short. story: what went wrong, and where such a thing was seen.
        file: below the tree. changes: each text stands in it exactly once.
    """

    name: str
    story: str
    file: str
    changes: tuple[tuple[str, str], ...]


def apply(patch: Patch, tree: Path) -> None:
    """Change a copy of the package.

    Raises:
        ValueError: a text is not there exactly once, so that the patch would do nothing or too much.
    """
    path = tree / patch.file
    text = path.read_text()
    for old, new in patch.changes:
        if text.count(old) != 1:
            raise ValueError(f"{patch.name}: `{old}` stands {text.count(old)} times in {patch.file}")
        text = text.replace(old, new)
    path.write_text(text)


def one(name: str, story: str, file: str, old: str, new: str) -> Patch:
    """A patch of one text; a file with a folder is below the package."""
    return Patch(name, story, f"gradlab/{file}" if "/" in file else file, ((old, new),))


RNN, LSTM, GRU = "cells/rnn.py", "cells/lstm.py", "cells/gru.py"
INIT, STEP, MODEL = "cells/initializers.py", "training/step.py", "training/model.py"
OPT, UNROLL = "training/optimizers.py", "training/unroll.py"
PULLBACK, SCALED = "gradient/pullback.py", "gradient/scaled.py"
ADJOINT, CONVERT = "gradient/adjoint.py", "gradient/convert.py"
METRICS, NORMS = "training/checkpoint_metrics.py", "training/state_grad_norms.py"
RESULT = "runs/result.py"

HARMLESS = (
    one(
        "clipping applied twice",
        "by norm that is the same as once",
        STEP,
        "clipped = plan.clip.apply(gradients)",
        "clipped = plan.clip.apply(plan.clip.apply(gradients).gradients)",
    ),
    one(
        "wrong level of chance",
        "a number that is only printed",
        "tasks/adding.py",
        "else 1.0 / 6.0",
        "else 1.0 / 12.0",
    ),
    one(
        "margin of saturation",
        "of statistics of gates",
        "training/checkpoint_metrics.py",
        "SATURATION_MARGIN = 0.01",
        "SATURATION_MARGIN = 0.1",
    ),
    one("fewer test examples", "of the test of solving", STEP, "TEST_EXAMPLES = 1024", "TEST_EXAMPLES = 512"),
    one(
        "forward curve of an unused activation",
        "the rnn is tanh here",
        RNN,
        '"relu": jax.nn.relu,',
        '"relu": jax.nn.leaky_relu,',
    ),
)
"""Faults that change no curve of this suite: catching them is no task of the gate."""

REWRITES = (
    one(
        "GRU as n + z (h - n)",
        "",
        GRU,
        '(1.0 - gate["z"]) * gate["n"] + gate["z"] * carry["h"]',
        'gate["n"] + gate["z"] * (carry["h"] - gate["n"])',
    ),
    one(
        "sigmoid by tanh",
        "",
        LSTM,
        "squash.get(name, jax.nn.sigmoid)(block)",
        "squash.get(name, lambda v: 0.5 * jnp.tanh(0.5 * v) + 0.5)(block)",
    ),
    one(
        "recurrent product in two halves",
        "",
        "cells/base.py",
        'r_t = carry["h"] @ params["w_h"]',
        'r_t = carry["h"][:, ::2] @ params["w_h"][::2] + carry["h"][:, 1::2] @ params["w_h"][1::2]',
    ),
    one(
        "recurrent product transposed twice",
        "",
        UNROLL,
        'r_t = s_tm1["h"] @ w_h',
        'r_t = (w_h.T @ s_tm1["h"].T).T',
    ),
    one(
        "square multiplied out",
        "",
        "tasks/adding.py",
        "return (outputs[-1, :, 0] - batch.targets) ** 2",
        "y, t = outputs[-1, :, 0], batch.targets\n        return y * y - 2 * y * t + t * t",
    ),
    one(
        "log-softmax by logsumexp",
        "",
        "tasks/losses.py",
        "jax.nn.log_softmax(logits)",
        "logits - jax.nn.logsumexp(logits, axis=-1, keepdims=True)",
    ),
    one(
        "clipping in another order",
        "",
        OPT,
        "leaf / unit * (self.limit / relative)",
        "leaf * (self.limit / (relative * unit))",
    ),
    one(
        "weight gradients summed backwards",
        "",
        UNROLL,
        '"w_h": h_tm1.reshape(rows, -1).T @ d_r',
        '"w_h": h_tm1.reshape(rows, -1)[::-1].T @ d_r[::-1]',
    ),
    one("tanh by sigmoid", "", RNN, '"tanh": jnp.tanh,', '"tanh": lambda x: 2.0 * jax.nn.sigmoid(2.0 * x) - 1.0,'),
    one(
        "batch of adding turned round",
        "",
        "tasks/adding.py",
        "return Batch(inputs, jnp.sum(values * marker, axis=0))",
        "return Batch(inputs[:, ::-1], jnp.sum(values * marker, axis=0)[::-1])",
    ),
    one(
        "batch of copy turned round",
        "",
        "tasks/copy.py",
        "return Batch(jax.nn.one_hot(inputs, self.input_size), targets)",
        "return Batch(jax.nn.one_hot(inputs, self.input_size)[:, ::-1], targets[:, ::-1])",
    ),
)
"""The same mathematics written otherwise, the order of a batch included: no reason for an alarm."""
