"""`nn.LSTM`, `nn.GRU` and `nn.RNN` under `watch`, against torch's own autograd and the instrument of JAX."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence
from unrolling import state_gradients, unrolled

from gradlab.errors import GradlabError
from gradlab.torch import watch

T, B, I, H = 25, 3, 2, 5
MODULES = {
    "lstm": lambda: nn.LSTM(I, H),
    "lstm, batch first": lambda: nn.LSTM(I, H, batch_first=True),
    "lstm, stacked": lambda: nn.LSTM(I, H, num_layers=3),
    "lstm, bidirectional": lambda: nn.LSTM(I, H, bidirectional=True),
    "lstm, stacked bidirectional": lambda: nn.LSTM(I, H, num_layers=2, bidirectional=True, batch_first=True),
    "lstm, no bias": lambda: nn.LSTM(I, H, bias=False),
    "lstm, projected": lambda: nn.LSTM(I, H, proj_size=3, num_layers=2, bidirectional=True),
    "gru, stacked bidirectional": lambda: nn.GRU(I, H, num_layers=2, bidirectional=True),
    "rnn, stacked": lambda: nn.RNN(I, H, num_layers=2),
    "rnn, relu, bidirectional": lambda: nn.RNN(I, H, nonlinearity="relu", bidirectional=True),
}


def start_of(module, dtype=torch.float64):
    rows = module.num_layers * (2 if module.bidirectional else 1)
    sizes = [module.proj_size or H, H] if module.mode == "LSTM" else [H]
    return [0.3 * torch.randn(rows, B, size, dtype=dtype) for size in sizes]


def loss_of(outputs, finals, weights):
    """Reads every output and every final state, each by its own weights."""
    return sum((each * weight).sum() for each, weight in zip([outputs, *finals], weights, strict=True)) ** 2


@pytest.mark.parametrize("name", MODULES)
def test_every_layer_agrees_with_the_autograd_of_torch(name):
    module = MODULES[name]().double()
    x, start = torch.randn(T, B, I, dtype=torch.float64), start_of(module)
    outputs, finals, added = unrolled(module, x, start)
    weights = [torch.randn_like(each) for each in (outputs, *finals)]
    expected = state_gradients(loss_of(outputs, finals, weights), added)
    with watch(module) as seen:
        given = x.transpose(0, 1) if module.batch_first else x
        found, last = module(given, tuple(start) if module.mode == "LSTM" else start[0])
        found = found.transpose(0, 1) if module.batch_first else found
        assert torch.allclose(found, outputs)  # else the other route is of another network
        loss_of(found, last if isinstance(last, tuple) else [last], weights).backward()
    kind = module.mode.partition("_")[0].lower()
    for (layer, side, leaf), norms in expected.items():
        key = kind + (f".layer{layer}" if module.num_layers > 1 else "") + ".reverse" * side
        np.testing.assert_allclose(seen[key].log10_norm[leaf][::-1], norms, atol=1e-6, rtol=0, err_msg=key)
        whole = seen[kind + ".reverse" * side].log10_norm
        np.testing.assert_array_equal(
            whole[f"layer{layer}.{leaf}" if module.num_layers > 1 else leaf], seen[key].log10_norm[leaf]
        )


def test_a_stacked_bidirectional_module_has_no_floor():
    """Gradients below 1e-340, where float64 reads 0; along the other route those of a loss 1e290 times larger."""
    module = nn.LSTM(I, H, num_layers=2, bidirectional=True).double()
    with torch.no_grad():
        for name, weight in module.named_parameters():
            weight.mul_(0.1)
            if "bias_hh" in name:
                weight[H : 2 * H] = -5.0  # of the forget gate: σ(-5) is two decades a timestep
    x = torch.randn(260, B, I, dtype=torch.float64)
    with watch(module) as seen:
        module(x)[0][-1].sum().backward()
    outputs, _, added = unrolled(module, x, [torch.zeros(4, B, H, dtype=torch.float64)] * 2)
    expected = state_gradients(1e290 * outputs[-1].sum(), added)
    for key, place in (("lstm.layer0", (0, 0)), ("lstm.layer0.reverse", (0, 1)), ("lstm.layer1", (1, 0))):
        for leaf in "hc":
            # The reverse direction of the lower layer has its loss at its beginning: lags count from there.
            order = 1 if key == "lstm.layer0.reverse" else -1
            curve, other = seen[key].log10_norm[leaf][::order], expected[*place, leaf]
            assert curve.min() < -340
            np.testing.assert_allclose(curve, other - 290, atol=1e-6, rtol=0)


def test_the_way_to_the_loss_is_no_explosion():
    """A loss at the last output reaches the lower layer in reverse through the upper one forwards."""
    module = nn.GRU(I, H, num_layers=2, bidirectional=True).double()
    with torch.no_grad():
        for weight in module.parameters():
            weight.mul_(0.3)
    x = torch.randn(60, B, I, dtype=torch.float64)
    for read, lags in ((59, 60), (0, 60), (40, 41)):
        with watch(module) as seen:
            module(x)[0][read].sum().backward()
        for key in ("gru.layer0", "gru.layer0.reverse"):
            curve = seen[key]
            assert len(curve.lags) == lags and curve.verdict().word == "vanishing" and curve.span() < -3
        assert len(seen["gru.layer1"].lags) == read + 1 and len(seen["gru.layer1.reverse"].lags) == 60 - read
        assert set(seen["gru.reverse"].leaves) == {"layer0.h", "layer1.h", "state"}
        assert seen["gru.reverse"].verdict().word == "vanishing"


def test_the_lags_of_a_packed_sequence_count_from_its_own_end():
    module = nn.GRU(I, H, num_layers=2, bidirectional=True).double()
    lengths = [7, 4, 9]
    x = torch.randn(9, B, I, dtype=torch.float64)
    with watch(module) as seen:
        packed, final = module(pack_padded_sequence(x, lengths, enforce_sorted=False))
        (packed.data.sum() + 2 * final.sum()).backward()
    for side in ("", ".reverse"):
        curve = seen["gru" + side]
        assert curve.lengths.tolist() == lengths
        for example, length in enumerate(lengths):
            with watch(module) as alone:
                output, final = module(x[:length, example])
                (output.sum() + 2 * final.sum()).backward()
            for leaf in curve.leaves:
                expected = alone["gru" + side].log10_norm[leaf][:, 0]
                np.testing.assert_allclose(curve.log10_norm[leaf][:length, example], expected, atol=1e-9)
                assert np.isnan(curve.log10_norm[leaf][length:, example]).all()


def test_lags_count_from_the_last_output_that_the_loss_reads():
    module = nn.RNN(I, H, bidirectional=True)
    with watch(module) as seen:
        module(torch.randn(T, B, I))[0][9].sum().backward()
    assert len(seen["rnn"].lags) == 10 and len(seen["rnn.reverse"].lags) == T - 9


def test_it_equals_the_instrument_of_jax_below_the_range_of_float32():
    import jax.numpy as jnp

    from gradlab import gradient_curve
    from gradlab.torch import cell_of, to_params

    for module in (nn.LSTM(I, H), nn.GRU(I, H), nn.RNN(I, H, nonlinearity="relu")):
        with torch.no_grad():
            for weight in module.parameters():
                weight.mul_(0.5)
        x = torch.randn(300, B, I)
        with watch(module) as seen:
            module(x)[0][-1].sum().backward()
        curve = seen[type(module).__name__.lower()]
        other = gradient_curve(
            cell_of(module), to_params(module), jnp.asarray(x.numpy()), lambda outputs: outputs[-1].sum(-1)
        )
        assert set(curve.leaves) == set(other.leaves)
        for leaf in other.leaves:
            np.testing.assert_allclose(curve.log10_norm[leaf], other.log10_norm[leaf], rtol=2e-6, atol=1e-4)
        assert curve.log10_norm["h"].min() < -60


def test_a_gradient_that_float32_reads_as_zero_is_that_of_float64():
    module = nn.RNN(1, 1, bias=False)
    with torch.no_grad():
        module.weight_hh_l0.fill_(1.0)
        module.weight_ih_l0.fill_(0.0)
    with watch(module) as seen:
        module(torch.zeros(20, 2, 1), torch.full((1, 2, 1), 12.0))[0][-1].sum().backward()
    curve = seen["rnn"]
    assert curve.saturated == {"h": 20, "state": 20} and np.isfinite(curve.log10_norm["h"]).all()


def test_nan_is_a_finding():
    module = nn.GRU(I, H)
    x = torch.randn(T, B, I)
    x[10, 1] = float("nan")
    with watch(module) as seen:
        module(x)[0][-1].sum().backward()
    curve = seen["gru"]
    assert curve.verdict().word == "non-finite"
    first = curve.non_finite[0]
    assert (first.where, first.timestep, first.examples) == ("h", 12, 1)


def test_dropout_between_layers_is_refused_with_the_way_out():
    module = nn.LSTM(I, H, num_layers=2, dropout=0.5)
    with watch(module) as seen:
        module(torch.randn(T, B, I))[0].sum().backward()
    with pytest.raises(GradlabError, match=r"dropout=0\.5 .* model\.eval\(\), or set module\.dropout = 0"):
        seen["lstm"]
    assert "dropout" in str(seen)
    module.eval()
    with watch(module) as seen:
        module(torch.randn(T, B, I))[0].sum().backward()
    assert len(seen["lstm"].lags) == T
