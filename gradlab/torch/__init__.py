"""Gradients of PyTorch models through time, without a floor and without an edit of the model.

    import gradlab.torch

    with gradlab.torch.watch(model) as seen:
        criterion(model(x), y).backward()
    print(seen["lstm"].verdict(), seen["lstm"].half_life())

Needs the extra `torch` (PyTorch and safetensors); docs/pytorch.md. `watch` needs no jax; the other names load it.
"""

from typing import TYPE_CHECKING, Any

try:
    import torch as _torch  # noqa: F401
except ImportError as error:
    raise ImportError("gradlab.torch needs PyTorch: install the extra, gradlab-rnn[torch]") from error

from gradlab.torch.watch import Watched, watch

if TYPE_CHECKING:
    from gradlab.torch.weights import assert_curve as assert_curve
    from gradlab.torch.weights import cell_of as cell_of
    from gradlab.torch.weights import to_params as to_params

__all__ = ["Watched", "assert_curve", "cell_of", "to_params", "watch"]


def __getattr__(name: str) -> Any:
    if name not in ("assert_curve", "cell_of", "to_params"):
        raise AttributeError(f"module 'gradlab.torch' has no attribute {name!r}")
    from gradlab.torch import weights

    return getattr(weights, name)
