"""torch: `nn.LSTM/GRU/RNN` alone, a loop over cells with `retain_grad`, and the augmented input.

Augmented: with zeros e (T, B, H) beside the input and [W_x, W_h] as its weights, e_t adds to h_{t-1}, so that its
gradient is dL/dh_{t-1} where only the last output is read. Exact for the LSTM and the RNN; a GRU uses h_{t-1}
outside of the product too.
"""

from typing import Any

import torch
from torch import nn

from bench.case import CLIP_NORM, INPUT, LEARNING_RATE, Case, Weights, initial_weights
from bench.problem import Problem, errors

LAYERS = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}
CELLS = {"lstm": nn.LSTMCell, "gru": nn.GRUCell, "rnn": nn.RNNCell}


def make(case: Case, problem: str, kind: str) -> "TorchPeer":
    torch.set_flush_denormal(True)  # as XLA does; vanishing gradients are slow otherwise
    return KINDS[kind](case, problem)


class TorchPeer:
    """`nn.LSTM/GRU/RNN` and a linear readout of the last output; no norms."""

    suffix = "_l0"

    def __init__(self, case: Case, problem: str, device: str = "cpu") -> None:
        self.case, self.device = case, device
        self.problem = Problem.load(case, problem) if problem else None
        self.recurrent, self.readout = self.layer().to(device), nn.Linear(case.hidden, 1).to(device)
        self.load(initial_weights(case))
        self.params = [*self.recurrent.parameters(), *self.readout.parameters()]
        # A step that is captured as a graph counts on the device.
        self.optimizer = torch.optim.Adam(self.params, lr=LEARNING_RATE, fused=True, capturable=device != "cpu")
        self.norms: dict[str, torch.Tensor] = {}

    def layer(self) -> Any:
        return LAYERS[self.case.cell](INPUT, self.case.hidden)

    def last_output(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.recurrent(inputs)[0][-1]

    def take_norms(self) -> None:
        """Called after the backward pass."""

    def train(self, steps: int, threads: int) -> None:
        torch.set_num_threads(threads)
        loss = torch.zeros(())
        for _ in range(steps):
            loss = self.training_step()
        if not torch.isfinite(loss):
            raise RuntimeError("training broke")

    def training_step(self) -> torch.Tensor:
        loss = self.gradients(*self.sample())
        nn.utils.clip_grad_norm_(self.params, CLIP_NORM, foreach=True)
        self.optimizer.step()
        return loss

    def gradients(self, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        self.optimizer.zero_grad(set_to_none=True)
        loss = ((self.readout(self.last_output(inputs))[:, 0] - targets) ** 2).mean()
        loss.backward()
        self.take_norms()
        return loss.detach()

    def sample(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Values ~ U[0, 1] and a marker in each half, as gradlab's adding problem."""
        length, batch, half = self.case.length, self.case.batch, self.case.length // 2
        inputs = torch.zeros(length, batch, INPUT, device=self.device)
        values = inputs[..., 0].uniform_()
        halves = ((0, half), (half, length))
        marked = torch.stack([torch.randint(*ends, (batch,), device=self.device) for ends in halves])
        inputs[..., 1].scatter_(0, marked, 1.0)
        return inputs, values.gather(0, marked).sum(0)

    def check(self) -> dict[str, float]:
        assert self.problem is not None
        batch = (self.problem.inputs, self.problem.targets)
        loss = self.gradients(*(torch.from_numpy(array).to(self.device) for array in batch))
        grads = {name: self.part(name).grad for name in ("weight_ih", "weight_hh", "bias_ih")}
        found = {
            "loss": loss,
            "w_x": grads["weight_ih"].T,
            "w_h": grads["weight_hh"].T,
            "b": grads["bias_ih"],
            "out_w": self.readout.weight.grad.T,
            "out_b": self.readout.bias.grad,
        }
        return errors(
            self.problem.truth, {name: value.cpu().numpy() for name, value in (found | self.norms).items()}
        )

    def part(self, name: str) -> Any:
        return getattr(self.recurrent, name + self.suffix)

    @torch.no_grad()
    def load(self, weights: Weights) -> None:
        """gradlab's layout is torch's, transposed; torch's second bias starts at 0."""
        given = {name: torch.from_numpy(value) for name, value in weights.items()}
        self.part("weight_ih").copy_(given["w_x"].T)
        self.part("weight_hh").copy_(given["w_h"].T)
        self.part("bias_ih").copy_(given["b"])
        self.part("bias_hh").zero_()
        self.readout.weight.copy_(given["out_w"].T)
        self.readout.bias.copy_(given["out_b"])


class Loop(TorchPeer):
    """A Python loop over the cell that keeps the gradient of every h, and its norm."""

    suffix = ""

    def layer(self) -> Any:
        return CELLS[self.case.cell](INPUT, self.case.hidden)

    def last_output(self, inputs: torch.Tensor) -> torch.Tensor:
        h = torch.zeros(self.case.batch, self.case.hidden, requires_grad=True)
        state: Any = (h, torch.zeros_like(h)) if self.case.cell == "lstm" else h
        self.hidden = []
        for x_t in inputs.unbind(0):
            h.retain_grad()
            self.hidden.append(h)
            state = self.recurrent(x_t, state)
            h = state[0] if self.case.cell == "lstm" else state
        return h

    def take_norms(self) -> None:
        grads = torch.stack([h.grad for h in self.hidden])
        self.norms = {"norm_h": torch.linalg.vector_norm(grads, dim=(1, 2))}


class Augmented(TorchPeer):
    """`nn.LSTM/RNN` with zeros beside the input, whose gradient is that of h."""

    def last_output(self, inputs: torch.Tensor) -> torch.Tensor:
        batch, hidden = self.case.batch, self.case.hidden
        self.zeros = torch.zeros(self.case.length, batch, hidden, requires_grad=True)
        # Beside the zeros the weights of h get no gradient, so they are not asked for one.
        w_ih = torch.cat([self.part("weight_ih"), self.part("weight_hh").detach()], dim=1)
        weights = [w_ih, self.part("weight_hh"), self.part("bias_ih"), self.part("bias_hh")]
        h_0 = torch.zeros(1, batch, hidden)
        start = (h_0, h_0) if self.case.cell == "lstm" else h_0
        call = torch._VF.lstm if self.case.cell == "lstm" else torch._VF.rnn_tanh
        return call(torch.cat([inputs, self.zeros], dim=2), start, weights, True, 1, 0.0, True, False, False)[0][
            -1
        ]

    def take_norms(self) -> None:
        self.norms = {"norm_h": torch.linalg.vector_norm(self.zeros.grad, dim=(1, 2))}


KINDS = {"plain": TorchPeer, "loop": Loop, "augmented": Augmented}
