"""`nn.LSTM`, `nn.GRU` and `nn.RNN`: the gradient at the states of every layer and direction.

PyTorch shows neither c_t nor the states of the layers below the top. They are computed again from the inputs and
weights that a call had. Then the reverse pass of each layer starts from the gradients at its outputs: of the top
layer those that the user's backward pass brought, below it those at the inputs of the layer above, which keep
their powers of two. So no layer has a floor; the gradients at the results of the module are as PyTorch made them.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import linear
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

from gradlab.errors import GradlabError
from gradlab.gradient.curve import GradientCurve
from gradlab.torch.curves import Cast, Measured, Parts, checked, last_read
from gradlab.torch.reverse import ScaledArray, reverse
from gradlab.torch.sides import flipped, part_name, side_parts, together

Place = tuple[int, int]
"""A layer, and its direction: 0 forward, 1 in reverse."""
_RESULTS = ("output", "h", "c")


@dataclass
class LayersCall:
    """One call of an `nn.LSTM`, `nn.GRU` or `nn.RNN`.

    Attributes:
        kind: LSTM, GRU, RNN_TANH or RNN_RELU. layers, directions: how many.
        weights: by their names in the module, as they were.
        inputs: (T, B, I), padded.
        lengths: (B,), the timesteps of each example.
        start: the given initial states, each (layers · directions, B, H); none are zeros.
        arrived: the gradients at `output` (T, B, ·), `h` and `c` (layers · directions, B, ·), where some arrived.
        refused: why its gradient cannot be measured, or "".
    """

    kind: str
    layers: int
    directions: int
    weights: dict[str, Tensor]
    inputs: Tensor
    lengths: NDArray[np.int64]
    start: list[Tensor]
    arrived: dict[str, Tensor]
    refused: str = ""

    def parts(self) -> list[str]:
        """The names of its curves, "" for the state of all layers in the forward direction."""
        sides = range(self.directions)
        single = [part_name(layer, side) for side in sides for layer in range(self.layers)]
        return [part_name(None, side) for side in sides] + (single if self.layers > 1 else [])

    def curves(self) -> dict[str, GradientCurve]:
        """The curve of each layer and direction, and of each direction as a whole."""
        if self.refused:
            raise GradlabError(self.refused)
        work = sum(weight.numel() for weight in self.weights.values()) * len(self.lengths)
        return checked(self._measure, self.inputs.dtype, work)

    def _measure(self, cast: Cast) -> Parts:
        weights = {name: cast(weight) for name, weight in self.weights.items()}
        start = [cast(each) for each in self.start]
        rows, columns = flipped(self.lengths, len(self.inputs))
        flip = torch.from_numpy(rows), torch.from_numpy(columns)
        runs: dict[Place, _LayerRun] = {}
        outputs = cast(self.inputs)
        for layer in range(self.layers):
            for side in range(self.directions):
                runs[layer, side] = self._run(
                    (layer, side), weights, outputs if side == 0 else outputs[flip], start
                )
            found = [runs[layer, side].outputs for side in range(self.directions)]
            outputs = found[0] if self.directions == 1 else torch.cat([found[0], found[1][flip]], dim=-1)
        return self._reverse(runs, flip)

    def _run(self, place: Place, weights: dict[str, Tensor], inputs: Tensor, start: list[Tensor]) -> "_LayerRun":
        layer, side = place
        suffix = f"_l{layer}" + "_reverse" * side
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")
        own = [weights.get(name + suffix) for name in names]
        leaves = [each[layer * self.directions + side] for each in start]
        entering, results = [], []
        with torch.no_grad():
            for x_t in inputs:
                entering.append([*leaves, x_t])
                leaves = _step(self.kind, own, entering[-1])
                results.append(leaves[0])
        return _LayerRun(own, entering, torch.stack(results))

    def _reverse(self, runs: dict[Place, "_LayerRun"], flip: tuple[Tensor, Tensor]) -> Parts:
        found: dict[Place, Measured] = {}
        above = self._arrived("output", runs[0, 0].outputs)
        for layer in reversed(range(self.layers)):
            below = []
            for side in range(self.directions):
                size = runs[layer, side].outputs.shape[-1]
                source = above.at((..., slice(side * size, (side + 1) * size)))
                source = source if side == 0 else source.at(tuple(each.numpy() for each in flip))
                found[layer, side], at_inputs = self._reverse_of((layer, side), runs[layer, side], source)
                below.append(at_inputs if side == 0 else at_inputs.at(tuple(each.numpy() for each in flip)))
            above = below[0] if self.directions == 1 else below[0] + below[1]
        parts: Parts = {}
        for side in range(self.directions):
            own = {layer: found[layer, side] for layer in range(self.layers)}
            if self.directions == 1:
                parts |= {part_name(layer, side): part for layer, part in own.items() if self.layers > 1}
                parts[part_name(None, side)] = own[0] if self.layers == 1 else together(own)
            else:
                read = self._read()
                order = tuple(each.numpy() for each in flip) if side else ...
                parts |= side_parts(side, own, read[order], self.lengths)
        return parts

    def _read(self) -> NDArray[np.bool_]:
        """The timesteps that the loss reads, (T, B); the last one where it reads none."""
        t = np.arange(1, len(self.inputs) + 1)[:, None]
        read = np.zeros((len(t), len(self.lengths)), bool)
        if "output" in self.arrived:
            read |= np.any(self.arrived["output"].numpy() != 0, axis=2)
        for name in ("h", "c"):
            for row, gradient in enumerate(self.arrived.get(name, ())):
                end = self.lengths if row % self.directions == 0 else np.ones_like(self.lengths)
                read |= (t == end) & np.any(gradient.numpy() != 0, axis=1)
        return read | (~read.any(axis=0) & (t == self.lengths))

    def _reverse_of(self, place: Place, run: "_LayerRun", source: ScaledArray) -> tuple[Measured, ScaledArray]:
        sources = [source + ScaledArray.of(self._final("h", place, source.mantissa.shape))]
        if self.kind == "LSTM":
            c = run.entering[0][1]
            sources.append(ScaledArray.of(self._final("c", place, (len(run.entering), *c.shape))))
        by_timestep = [[each.at(t) for each in sources] for t in range(len(run.entering))]
        gradients = reverse(
            lambda t, tensors: _step(self.kind, run.weights, tensors),
            run.entering,
            by_timestep,
            feeds=range(len(sources)),
        )
        names = ["h", "c"][: len(sources)]
        states = [torch.stack([row[leaf] for row in run.entering]) for leaf in range(len(names))]
        part = Measured(
            dict(zip(names, gradients.norms, strict=True)),
            last_read([np.any(each.mantissa != 0, axis=2) for each in sources], self.lengths),
            {name: state.isfinite().all(dim=2).numpy() for name, state in zip(names, states, strict=True)},
            self._size(run.outputs),
        )
        at_inputs = [row[0] for row in gradients.inputs]
        return part, ScaledArray(*(np.stack(arrays) for arrays in zip(*at_inputs, strict=True)))

    def _arrived(self, name: str, like: Tensor) -> ScaledArray:
        gradient = self.arrived.get(name)
        shape = (*like.shape[:2], like.shape[2] * self.directions)
        return ScaledArray.of(np.zeros(shape) if gradient is None else gradient.double().numpy())

    def _final(self, name: str, place: Place, shape: tuple[int, ...]) -> NDArray:
        """The gradient at a final state, at the last timestep of each example, (T, B, H)."""
        values, gradient = np.zeros(shape), self.arrived.get(name)
        if gradient is not None:
            layer, side = place
            own = gradient[layer * self.directions + side].double().numpy()
            values[self.lengths - 1, np.arange(len(self.lengths))] = own
        return values

    def _size(self, outputs: Tensor) -> NDArray:
        own = np.arange(len(outputs))[:, None] < self.lengths[None, :]
        return np.sqrt(np.sum(np.where(own[..., None], outputs.double().numpy(), 0.0) ** 2, axis=(0, 2)))


class _LayerRun(NamedTuple):
    weights: list[Tensor | None]
    entering: list[list[Tensor]]
    outputs: Tensor


def _step(kind: str, weights: list[Tensor | None], tensors: list[Tensor]) -> list[Tensor]:
    """One timestep: (state leaves, x_t) -> state leaves. The equations of the documentation of PyTorch."""
    w_ih, w_hh, b_ih, b_hh, w_hr = weights
    *leaves, x_t = tensors
    from_input, from_state = linear(x_t, w_ih, b_ih), linear(leaves[0], w_hh, b_hh)
    if kind == "LSTM":
        i, f, g, o = (from_input + from_state).chunk(4, dim=1)
        c = f.sigmoid() * leaves[1] + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
        return [h if w_hr is None else linear(h, w_hr), c]
    if kind == "GRU":
        (r_x, z_x, n_x), (r_h, z_h, n_h) = from_input.chunk(3, dim=1), from_state.chunk(3, dim=1)
        n = (n_x + (r_x + r_h).sigmoid() * n_h).tanh()
        z = (z_x + z_h).sigmoid()
        return [(1 - z) * n + z * leaves[0]]
    return [(from_input + from_state).tanh() if kind == "RNN_TANH" else (from_input + from_state).relu()]


# ---------------------------------------------------------------- recording


def record(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any], results: Any) -> LayersCall | None:
    """The record of a call, which fills when gradients arrive at its results; None where none can.

    Args:
        module: an `nn.LSTM`, `nn.GRU` or `nn.RNN`. args, kwargs, results: of its `forward`.
    """
    given = dict(zip(("input", "hx"), args, strict=False)) | kwargs
    output, final = results
    final = list(final) if isinstance(final, tuple) else [final]
    data = output.data if isinstance(output, PackedSequence) else output
    if not any(each.requires_grad for each in (data, *final)):
        return None
    inputs, lengths = _padded(module, given["input"])
    call = LayersCall(
        module.mode,
        module.num_layers,
        2 if module.bidirectional else 1,
        {name: weight.detach().cpu().clone() for name, weight in _weights(module).items()},
        inputs,
        lengths,
        _start(module, given.get("hx"), inputs),
        {},
        _refusal(module),
    )
    for name, tensor in zip(_RESULTS, (data, *final), strict=False):
        _listen(call, name, tensor, module, output if isinstance(output, PackedSequence) else None)
    return call


def _listen(call: LayersCall, name: str, tensor: Tensor, module: Any, packed: PackedSequence | None) -> None:
    def arrive(gradient: Tensor | None) -> None:
        if gradient is None:  # of one of several results that the loss does not read
            return
        gradient = gradient.detach().cpu()
        if name == "output":
            gradient = _padded(module, gradient if packed is None else packed._replace(data=gradient))[0]
        elif gradient.dim() == 2:
            gradient = gradient[:, None]
        call.arrived[name] = call.arrived[name] + gradient if name in call.arrived else gradient.clone()

    if tensor.requires_grad:
        tensor.register_hook(arrive)


def _padded(module: Any, value: Tensor | PackedSequence) -> tuple[Tensor, NDArray[np.int64]]:
    """(T, B, ·) on the CPU, and the length of each example."""
    if isinstance(value, PackedSequence):
        padded, lengths = pad_packed_sequence(
            PackedSequence(*(each.detach().cpu() if isinstance(each, Tensor) else each for each in value))
        )
        return padded, lengths.numpy()
    value = value.detach().cpu().clone()
    if value.dim() == 2:
        value = value[:, None]
    elif module.batch_first:
        value = value.transpose(0, 1)
    return value, np.full(value.shape[1], len(value))


def _start(module: Any, hx: Any, inputs: Tensor) -> list[Tensor]:
    rows, batch = module.num_layers * (2 if module.bidirectional else 1), inputs.shape[1]
    if hx is None:
        sizes = [module.proj_size or module.hidden_size, module.hidden_size][: 2 if module.mode == "LSTM" else 1]
        return [inputs.new_zeros(rows, batch, size) for size in sizes]
    given = [each.detach().cpu().clone() for each in (hx if isinstance(hx, tuple) else (hx,))]
    return [each[:, None] if each.dim() == 2 else each for each in given]


def _weights(module: Any) -> dict[str, Tensor]:
    return {name: getattr(module, name) for names in module._all_weights for name in names}


def _refusal(module: Any) -> str:
    if module.dropout and module.training and module.num_layers > 1:
        return (
            f"dropout={module.dropout} between the layers of {type(module).__name__} drew a mask that PyTorch "
            "does not show: measure in model.eval(), or set module.dropout = 0"
        )
    return ""
