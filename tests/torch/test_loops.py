"""Modules that are called once a timestep with their state, against torch's own autograd."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
from torch import nn
from unrolling import state_gradients

from gradlab.errors import GradlabError
from gradlab.torch import watch

T, B, I, H = 12, 3, 2, 5


class Leaky(nn.Module):
    """A cell of a user's own, whose state is a dict of two leaves of different size."""

    def __init__(self, dropout=0.0):
        super().__init__()
        self.mix, self.slow, self.drop = nn.Linear(I + H, H), nn.Linear(H, 2), nn.Dropout(dropout)

    def forward(self, x, state):
        h = torch.tanh(self.mix(self.drop(torch.cat([x, state["h"]], dim=-1)))) + state["s"].sum(-1, keepdim=True)
        return {"h": h, "s": 0.9 * state["s"] + 0.1 * self.slow(h)}, h.sum(-1)


class Loop(nn.Module):
    """Calls its cell in a Python loop; `between` is done to the state from one timestep to the next."""

    def __init__(self, cell, state=None, between=lambda state: state):
        super().__init__()
        self.cell, self.state, self.between = cell, state, between

    def forward(self, x):
        state, outputs = self.state, []
        for x_t in x:
            found = self.cell(x_t, self.between(state))
            state, output = found if isinstance(self.cell, Leaky) else (found, found)
            outputs.append(output[0] if isinstance(output, tuple) else output)
        return torch.stack(outputs)


def leaky_state(dtype=torch.float64):
    return {"h": torch.randn(B, H, dtype=dtype), "s": torch.randn(B, 2, dtype=dtype)}


@pytest.mark.parametrize("cell", [nn.LSTMCell, nn.GRUCell, nn.RNNCell])
def test_the_cells_of_torch_equal_their_layers(cell):
    """The same weights in an nn.LSTM, nn.GRU or nn.RNN give the same curve; no state is given at first."""
    loop = Loop(cell(I, H).double())
    layer = getattr(nn, cell.__name__.removesuffix("Cell"))(I, H).double()
    layer.load_state_dict({f"{name}_l0": value for name, value in loop.cell.state_dict().items()})
    x = torch.randn(T, B, I, dtype=torch.float64)
    with watch(loop) as seen, watch(layer) as other:
        (loop(x) ** 2).sum().backward()
        (layer(x)[0] ** 2).sum().backward()
    curve, expected = seen["cell"], other[type(layer).__name__.lower()]
    assert curve.leaves == expected.leaves
    for leaf in curve.leaves:
        np.testing.assert_allclose(curve.log10_norm[leaf], expected.log10_norm[leaf], atol=1e-9)


def test_a_cell_of_ones_own_agrees_with_the_autograd_of_torch():
    start = leaky_state()
    loop = Loop(Leaky().double(), start)
    x = torch.randn(T, B, I, dtype=torch.float64)
    added, state, total = {}, start, 0.0
    for x_t in x:
        zeros = {name: torch.zeros_like(value, requires_grad=True) for name, value in state.items()}
        for name, zero in zeros.items():
            added.setdefault(name, []).append(zero)
        state, output = loop.cell(x_t, {name: value + zeros[name] for name, value in state.items()})
        total = total + (output**2).sum()
    expected = state_gradients(total, added)
    with watch(loop, cells=["cell"]) as seen:
        (loop(x) ** 2).sum().backward()
    curve = seen["cell"]
    assert curve.leaves == ["state.h", "state.s", "state"]
    for leaf in "hs":
        np.testing.assert_allclose(curve.log10_norm[f"state.{leaf}"][::-1], expected[leaf], atol=1e-9)


def test_a_path_beside_the_state_counts():
    """An input that is computed from the state of the timestep before: what it brings arrives from outside."""

    class Attending(nn.Module):
        def __init__(self):
            super().__init__()
            self.cell, self.mix = nn.GRUCell(I + H, H), nn.Linear(H, H)

        def forward(self, x, added=None):
            h, total = x.new_zeros(B, H), 0.0
            for t, x_t in enumerate(x):
                given = torch.cat([x_t, self.mix(h)], dim=-1)
                h = self.cell(given, h if added is None else h + added[t])
                total = total + h.sum() ** 2
            return total

    model, x = Attending().double(), torch.randn(T, B, I, dtype=torch.float64)
    added = [torch.zeros(B, H, dtype=torch.float64, requires_grad=True) for _ in range(T)]
    expected = state_gradients(model(x, added), {"h": added})["h"]
    with watch(model) as seen:
        model(x).backward()
    np.testing.assert_allclose(seen["cell"].log10_norm["h"][::-1], expected, atol=1e-9)


def test_the_gradients_of_the_user_are_not_touched():
    loop = Loop(nn.LSTMCell(I, H))
    x = torch.randn(T, B, I)
    plain = torch.autograd.grad(loop(x)[-1].sum(), list(loop.parameters()))
    with watch(loop):
        found = torch.autograd.grad(loop(x)[-1].sum(), list(loop.parameters()))
    assert all(torch.equal(one, other) for one, other in zip(plain, found, strict=True))
    assert not loop.cell._forward_hooks and not loop.cell._forward_pre_hooks


def test_it_has_no_floor():
    loop = Loop(nn.RNNCell(I, H, bias=False))
    with torch.no_grad():
        loop.cell.weight_hh.mul_(1e-3)
    with watch(loop) as seen:
        loop(torch.zeros(200, B, I))[-1].sum().backward()
    curve = seen["cell"]  # of a linear network, at the state 0
    power = np.linalg.matrix_power(loop.cell.weight_hh.detach().double().numpy() * 1e3, 200)
    expected = np.log10(np.sqrt(np.sum(power.sum(axis=0) ** 2))) - 3 * 200
    assert curve.log10_norm["h"][-1, 0] == pytest.approx(expected, abs=1e-4) and expected < -600


def test_a_small_leaf_does_not_drown_beside_a_large_one():
    class Two(nn.Module):
        def forward(self, x, state):
            return state[0] + x, 1e-9 * state[1] + x

    start = (torch.zeros(B, 2, requires_grad=True), torch.zeros(B, 2, requires_grad=True))
    loop, x = Loop(Two(), start), torch.randn(100, B, 2)
    with watch(loop, cells=[Two]) as seen:
        state = start
        for x_t in x:
            state = loop.cell(x_t, state)
        (state[0] + state[1]).sum().backward()
    curve = seen["cell"]
    assert curve.log10_norm["state.0"][-1] == pytest.approx(0.5 * np.log10(2))
    assert curve.log10_norm["state.1"][-1] == pytest.approx(0.5 * np.log10(2) - 900)


def test_an_lstm_that_is_called_once_a_timestep_is_watched_as_a_loop():
    class Decoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm = nn.LSTM(I, H, num_layers=2)

        def forward(self, x):
            state = (torch.zeros(2, B, H), torch.zeros(2, B, H))
            for x_t in x:
                output, state = self.lstm(x_t[None], state)
            return output

    model, x = Decoder(), torch.randn(T, B, I)
    with watch(model) as seen:
        model(x).sum().backward()
    with pytest.raises(GradlabError, match=r"called 12 times with one timestep each.*cells=\['lstm'\]"):
        seen["lstm"]
    with watch(model, cells=["lstm"]) as seen:
        model(x).sum().backward()
    with watch(model.lstm) as other:
        model.lstm(x)[0][-1].sum().backward()
    for leaf in "hc":
        both = np.log10(np.sqrt(sum(10.0 ** (2 * other["lstm"].log10_norm[f"layer{i}.{leaf}"]) for i in (0, 1))))
        np.testing.assert_allclose(seen["lstm"].log10_norm[leaf], both, atol=1e-4)


def test_a_detached_state_begins_a_new_sequence():
    def every_fourth(state, count=[0]):  # noqa: B006
        count[0] += 1
        return tuple(each.detach() for each in state) if state and count[0] % 4 == 1 else state

    loop = Loop(nn.LSTMCell(I, H), between=every_fourth)
    with watch(loop) as seen:
        loop(torch.randn(T, B, I)).sum().backward()
    assert seen.calls("cell") == 3 and [len(seen["cell", index].lags) for index in range(3)] == [4, 4, 4]


def test_what_is_done_to_the_state_between_calls_is_refused():
    loop = Loop(nn.GRUCell(I, H), between=lambda state: state if state is None else 0.5 * state)
    with watch(loop) as seen:
        loop(torch.randn(T, B, I)).sum().backward()
    with pytest.raises(GradlabError, match="the state that enters call 12 of GRUCell was computed outside of it"):
        seen["cell"]


def test_a_state_that_is_absent_at_first_is_measured_from_the_second_call():
    class Absent(Leaky):
        def forward(self, x, state=None):
            return super().forward(
                x, {"h": x.new_zeros(len(x), H), "s": x.new_zeros(len(x), 2)} if state is None else state
            )[0]

    loop = Loop(Absent())
    with watch(loop, cells=["cell"]) as seen:
        torch.stack(list(loop_states(loop, torch.randn(T, B, I)))).sum().backward()
        inside = seen["cell"]  # while the hooks are there
    assert len(seen["cell"].lags) == T - 1 and seen["cell"] is inside and seen.calls("cell") == 1


def loop_states(loop, x):
    state = None
    for x_t in x:
        state = loop.cell(x_t, state)
        yield state["h"]


def test_a_cell_inside_a_cell():
    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.GRUCell(I, H)

        def forward(self, x, h):
            return self.inner(x, h)

    loop = Loop(Outer(), torch.zeros(B, H))
    with watch(loop, cells=["cell"]) as seen:
        loop(torch.randn(T, B, I))[-1].sum().backward()
        values = {name: seen[name].log10_norm["h"] for name in seen}
    assert list(values) == ["cell", "cell.inner"]
    np.testing.assert_allclose(values["cell"], values["cell.inner"], atol=1e-5)


def test_random_numbers_in_a_cell_are_refused():
    loop = Loop(Leaky(dropout=0.5), leaky_state(torch.float32))
    with watch(loop, cells=["cell"]) as seen:
        loop(torch.randn(T, B, I)).sum().backward()
    with pytest.raises(GradlabError, match=r"gives another result when call .* \(dropout: use model.eval\(\)"):
        seen["cell"]


def test_one_example_without_an_axis_of_examples():
    loop = Loop(nn.LSTMCell(I, H))
    with watch(loop) as seen:
        loop(torch.randn(T, I))[-1].sum().backward()
    assert seen["cell"].log10_norm["h"].shape == (T, 1)
