"""From where the lags of a direction count.

Below the top layer of two directions a gradient arrives at every timestep, also where a direction has yet to reach
the outputs that the loss reads. Counted from its own end, it would grow with the lag: that is the way to the loss,
and no explosion. So lags count from these outputs, on the side where more of the sequence lies.
"""

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from gradlab.torch.curves import Measured, Parts


def side_parts(side: int, own: dict[int, Measured], read: NDArray[np.bool_], lengths: NDArray[np.int64]) -> Parts:
    """The parts of one of two directions: each layer, and all together, named by `part_name`.

    Args:
        side: 0 forward, 1 in reverse. own: by layer, in the order in which the direction reads.
        read: (T, B), the timesteps that the loss reads, in that order. lengths: (B,), of the examples.
    """
    if len(own) == 1:
        return {part_name(None, side): own[0]}
    first, last = np.argmax(read, axis=0) + 1, len(read) - np.argmax(read[::-1], axis=0)
    whole = own
    if (lengths - first + 1).sum() > last.sum():
        last = lengths - first + 1
        whole = {layer: _turned(part, lengths) for layer, part in own.items()}
    whole = {layer: _until(part, last) for layer, part in whole.items()}
    top = len(own) - 1
    parts: Parts = {part_name(layer, side): part for layer, part in (whole | {top: own[top]}).items()}
    return parts | {part_name(None, side): together(whole)}


def part_name(layer: int | None, side: int) -> str:
    """`layer0`, `layer0.reverse` and, of all layers, `` and `reverse`."""
    return ".".join(filter(None, ("" if layer is None else f"layer{layer}", "reverse" * side)))


def together(members: Mapping[int, Measured]) -> Measured:
    """All layers of a direction as one state."""

    def all_of(leaves: Iterable[tuple[int, Mapping[str, NDArray]]]) -> dict[str, NDArray]:
        return {f"layer{layer}.{name}": values for layer, found in leaves for name, values in found.items()}

    return Measured(
        all_of((layer, part.norms) for layer, part in members.items()),
        np.max([part.last_read for part in members.values()], axis=0),
        all_of((layer, part.finite) for layer, part in members.items()),
        np.sqrt(sum(part.size**2 for part in members.values())),
    )


def flipped(lengths: NDArray[np.int64], timesteps: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The index (T, B) that reverses each example within its length; its own inverse."""
    t = np.arange(timesteps)[:, None]
    return np.where(t < lengths, lengths - 1 - t, t), np.arange(len(lengths))[None, :]


def _turned(part: Measured, lengths: NDArray[np.int64]) -> Measured:
    """The same in the other order of timesteps."""
    index = flipped(lengths, len(next(iter(part.norms.values()))))
    norms = {name: rows[index] for name, rows in part.norms.items()}
    finite = {name: flags[index] for name, flags in part.finite.items()}
    return part._replace(norms=norms, finite=finite, last_read=lengths)


def _until(part: Measured, last: NDArray[np.int64]) -> Measured:
    return part._replace(last_read=np.minimum(part.last_read, last))
