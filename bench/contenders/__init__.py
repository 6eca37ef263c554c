"""Who takes part: each module has `make(case, problem, **options)`, whose result can `check` and `train`.

`check()` gives the errors against float64 (`bench/problem.py`), `train(steps, **way)` does that many training
steps and waits for them. A training step makes its data, and ends with the update of Adam.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

PRODUCT_SIZE = 2048
PRODUCT_FLOPS = 2.0 * PRODUCT_SIZE**3
"""Of one "training step" of `PRODUCT`."""


@dataclass(frozen=True)
class Contender:
    """One column of the table.

    Args:
        name: in tables.
        module: in this folder.
        options: for its `make`.
        ways: to train, each by its name as it is given to `train`; before the rounds the fastest is chosen.
        norms: of what, at every timestep of every training step.
        cells: that it offers.
    """

    name: str
    module: str
    options: Mapping[str, Any] = field(default_factory=dict)
    ways: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: {"": {}})
    norms: str = "none"
    cells: tuple[str, ...] = ("lstm", "gru", "rnn")

    @property
    def compiles(self) -> bool:
        """Whether its training steps come many in one call."""
        return self.module not in ("torch_peers", "product")


_ONE, _TWO = {"1 thread": {"threads": 1}}, {"2 threads": {"threads": 2}}
_STATE = "every leaf of the state"

OURS = Contender("gradlab", "ours", {"measure": "every"}, norms=_STATE)
PLAIN = Contender("gradlab, no norms", "ours", {"measure": "ends"})
PEERS = (
    Contender("torch nn.*, 1 thread", "torch_peers", {"kind": "plain"}, _ONE),
    Contender("torch nn.*, 2 threads", "torch_peers", {"kind": "plain"}, _TWO),
    Contender("torch loop + retain_grad", "torch_peers", {"kind": "loop"}, _ONE | _TWO, "h"),
    Contender("torch augmented input", "torch_peers", {"kind": "augmented"}, _ONE | _TWO, "h", ("lstm", "rnn")),
    Contender("naive JAX scan + taps", "naive", norms=_STATE),
    Contender("flax nnx.RNN", "flax_peer"),
    Contender("equinox scan", "equinox_peer", cells=("lstm", "gru")),
)
PRODUCT = Contender("matrix product", "product", ways={name: {"library": name} for name in ("torch", "numpy")})
EVERYONE = (OURS, PLAIN, *PEERS, PRODUCT)
