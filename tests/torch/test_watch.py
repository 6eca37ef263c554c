"""`watch`: names, several calls, and what it leaves as it was."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
from torch import nn
from torch.utils.checkpoint import checkpoint

from gradlab.errors import GradlabError
from gradlab.torch import watch


class Model(nn.Module):
    def __init__(self, **options):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(2, 4), nn.ReLU())
        self.lstm = nn.LSTM(4, 8, batch_first=True, **options)
        self.head = nn.Linear(8 * (2 if options.get("bidirectional") else 1), 1)

    def forward(self, x):
        return self.head(self.lstm(self.encoder(x))[0][:, -1])


def backward(model, scale=1.0, batch=4, length=30):
    (scale * model(torch.randn(batch, length, 2)) ** 2).mean().backward()


def test_the_example_of_the_readme():
    model, criterion = Model(), nn.MSELoss()
    x, y = torch.randn(4, 60, 2), torch.randn(4, 1)
    with watch(model) as seen:
        criterion(model(x), y).backward()
    curve = seen["lstm"]
    assert curve.verdict().word == "vanishing" and 1 < curve.half_life().value < 3
    assert list(seen) == ["lstm"] and len(curve.lags) == 60


def test_the_names_of_layers_and_directions():
    model = Model(num_layers=2, bidirectional=True)
    with watch(model) as seen:
        backward(model)
    assert list(seen) == [
        "lstm",
        "lstm.reverse",
        "lstm.layer0",
        "lstm.layer1",
        "lstm.layer0.reverse",
        "lstm.layer1.reverse",
    ]
    assert seen["lstm"].leaves == ["layer0.h", "layer0.c", "layer1.h", "layer1.c", "state"]
    assert seen["lstm.layer1"].leaves == ["h", "c", "state"]
    told = str(seen).splitlines()
    assert len(told) == 6 and told[0].startswith("lstm                 vanishing (")
    assert len(seen["lstm.layer1.reverse"].lags) == 1  # its last output has read one input


@pytest.mark.parametrize(
    "key, message",
    [
        ("lstn", r"unknown recurrent module `lstn`: known are lstm; did you mean `lstm`"),
        ("lstm.layer2", r"unknown part of `lstm` `layer2`: known are"),
        (("lstm", 3), "`lstm` has calls 0 to 0 with a gradient, not 3"),
    ],
)
def test_a_wrong_key(key, message):
    model = Model()
    with watch(model) as seen:
        backward(model)
    with pytest.raises(GradlabError, match=message):
        seen[key]


def test_no_backward_pass():
    model = Model()
    with watch(model) as seen:
        model(torch.randn(4, 30, 2))
    with pytest.raises(GradlabError, match="no gradient reached `lstm`: run the model and call backward"):
        seen["lstm"]
    assert str(seen) == "no gradient reached a module" and len(seen) == 0


def test_a_model_without_recurrence_and_wrong_arguments():
    with pytest.raises(GradlabError, match=r"Linear has no nn\.LSTM"):
        watch(nn.Linear(2, 2))
    with pytest.raises(GradlabError, match="unknown module in cells `lstn`"):
        watch(Model(), cells=["lstn"])
    with pytest.raises(GradlabError, match="unknown reduction `none`"):
        watch(Model(), reduction="none")


def test_several_calls_and_several_backward_passes():
    model = Model()
    with watch(model) as seen:
        backward(model, length=10)
        loss = model(torch.randn(4, 20, 2)).sum()
        loss.backward(retain_graph=True)
        once = {name: value.clone() for name, value in seen._calls["lstm"][1].arrived.items()}
        loss.backward()
    assert seen.calls("lstm") == 2
    assert [len(seen["lstm", index].lags) for index in (0, 1)] == [10, 20] and len(seen["lstm"].lags) == 20
    assert torch.equal(seen._calls["lstm"][1].arrived["output"], 2 * once["output"])


def test_weights_are_those_of_the_call_and_hooks_are_taken_away():
    model = Model()
    with watch(model) as seen:
        backward(model)
        with torch.no_grad():
            model.lstm.weight_hh_l0.zero_()
    assert seen["lstm"].span() > -40 and np.isfinite(seen["lstm"].span())
    assert not model.lstm._forward_hooks
    backward(model)
    assert seen.calls("lstm") == 1


def test_a_mean_over_the_batch_moves_the_level_alone():
    torch.manual_seed(1)
    model = Model()
    x = torch.randn(4, 30, 2)
    curves = {}
    for reduction, loss in (("sum", torch.sum), ("mean", torch.mean), ("unscaled", torch.mean)):
        with watch(model, reduction="mean" if reduction == "mean" else "sum") as seen:
            loss(model(x)).backward()
        curves[reduction] = seen["lstm"]
    np.testing.assert_allclose(curves["mean"].log10_norm["h"], curves["sum"].log10_norm["h"], atol=1e-5)
    np.testing.assert_allclose(curves["unscaled"].typical() + np.log10(4), curves["sum"].typical(), atol=1e-5)
    assert curves["mean"].span() == pytest.approx(curves["unscaled"].span(), abs=1e-5)


def test_a_model_that_is_itself_recurrent_and_one_example():
    module = nn.GRU(2, 8)
    with watch(module) as seen:
        module(torch.randn(30, 2))[0][-1].sum().backward()
    assert list(seen) == ["gru"] and seen["gru"].log10_norm["h"].shape == (30, 1)


def test_an_encoder_whose_last_state_starts_a_decoder():
    """The gradient at the states of the encoder is that of both as one sequence."""
    encoder, both = nn.LSTM(2, 8), nn.LSTM(2, 8)
    both.load_state_dict(encoder.state_dict())
    model = nn.ModuleDict({"encoder": encoder, "decoder": nn.LSTM(2, 8)})
    model["decoder"].load_state_dict(encoder.state_dict())
    x = torch.randn(30, 4, 2)
    with watch(model) as seen, watch(both) as whole:
        model["decoder"](x[20:], encoder(x[:20])[1])[0][-1].sum().backward()
        both(x)[0][-1].sum().backward()
    for leaf in "hc":
        expected = whole["lstm"].log10_norm[leaf]
        np.testing.assert_allclose(seen["decoder"].log10_norm[leaf], expected[:10], atol=1e-4)
        np.testing.assert_allclose(seen["encoder"].log10_norm[leaf], expected[10:], atol=1e-4)


def test_a_parametrised_weight_and_half_precision():
    model = Model()
    torch.nn.utils.parametrizations.weight_norm(model.lstm, "weight_hh_l0")
    with watch(model) as seen:
        backward(model)
    assert len(seen["lstm"].lags) == 30
    module = nn.GRU(2, 8).bfloat16()
    with watch(module) as seen:
        module(torch.randn(30, 4, 2).bfloat16())[0][-1].sum().backward()
    assert seen["gru"].dtype == "float32" and np.isfinite(seen["gru"].span())


def test_a_compiled_model_and_recomputed_activations():
    model, x = Model(), torch.randn(4, 30, 2)
    with watch(model) as plain:
        model(x).sum().backward()
    with watch(torch.compile(model, backend="eager")) as compiled:
        torch.compile(model, backend="eager")(x).sum().backward()
    with watch(model) as again:
        checkpoint(model, x, use_reentrant=False).sum().backward()
    for seen in (compiled, again):
        np.testing.assert_allclose(seen["lstm"].typical(), plain["lstm"].typical(), atol=1e-5)


def test_a_frozen_module_behind_trained_ones_is_measured():
    model = Model()
    model.lstm.requires_grad_(False)
    with watch(model) as seen:
        backward(model)
    assert len(seen["lstm"].lags) == 30
