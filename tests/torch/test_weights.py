"""Weights of PyTorch in gradlab's own cells, from a module and from a file."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
from safetensors.torch import save_file
from torch import nn

from gradlab.errors import GradlabError
from gradlab.gradient.measure import gradient_curve
from gradlab.runs.execute import run
from gradlab.runs.foreign_weights import find_weights
from gradlab.runs.spec import RunSpec, command
from gradlab.runs.store import Store
from gradlab.torch import assert_curve, cell_of, to_params

MODULES = {
    "lstm": lambda: nn.LSTM(2, 5),
    "gru": lambda: nn.GRU(2, 5),
    "rnn": lambda: nn.RNN(2, 5, nonlinearity="relu"),
    "no bias": lambda: nn.LSTM(2, 5, bias=False),
    "gru cell": lambda: nn.GRUCell(2, 5),
}


@pytest.mark.parametrize("name", MODULES)
def test_a_cell_computes_what_the_module_does(name):
    module = MODULES[name]()
    x, state = torch.randn(4, 2), {leaf: torch.randn(4, 5) for leaf in ("h", "c")}
    cell, params = cell_of(module), to_params(module)
    found, _ = cell.step(params, {leaf: value.numpy() for leaf, value in state.items()}, x.numpy())
    if isinstance(module, nn.RNNCellBase):
        expected = module(x, state["h"])
    else:
        given = (state["h"][None], state["c"][None]) if isinstance(module, nn.LSTM) else state["h"][None]
        expected = module(x[None], given)[0][0]
    np.testing.assert_allclose(found["h"], expected.detach().numpy(), atol=1e-6)


def test_a_layer_and_a_direction():
    module = nn.LSTM(2, 5, num_layers=2, bidirectional=True)
    params = to_params(module, layer=1, reverse=True)
    assert params["w_x"].shape == (10, 20)
    np.testing.assert_array_equal(params["w_h"], module.weight_hh_l1_reverse.detach().numpy().T)
    with pytest.raises(GradlabError, match="LSTM has no weight_hh_l2: give one of its layers"):
        to_params(module, layer=2)


def test_what_is_no_built_in_cell_is_refused():
    with pytest.raises(GradlabError, match=r"Linear is no nn.LSTM.*gradlab.torch.watch"):
        to_params(nn.Linear(2, 2))
    with pytest.raises(GradlabError, match="proj_size has no counterpart"):
        to_params(nn.LSTM(2, 5, proj_size=3))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GRADLAB_RESULTS", "results")
    return tmp_path


def test_a_file_is_measured_as_its_module_is(folder):
    model = nn.ModuleDict({"lstm": nn.LSTM(2, 5), "head": nn.Linear(5, 1)})
    save_file(model.state_dict(), "model.safetensors")
    weights = find_weights(Store("results"), "model.safetensors")
    (folder / "model.safetensors").unlink()  # the results folder alone is needed from here on
    result = run(RunSpec(length=40, steps=0, params=weights.name, **weights.fields | {"hidden": 5}), "results")
    arrays = Store("results").find(result.spec.id).arrays("params.npz")
    for name, value in to_params(model["lstm"]).items():
        np.testing.assert_array_equal(arrays[f"cell/{name}"], value)
    inputs = np.random.RandomState(0).rand(40, 8, 2).astype(np.float32)
    curve = gradient_curve(cell_of(model["lstm"]), to_params(model["lstm"]), inputs, lambda y: y[-1].sum(-1))
    # Inputs and loss are others, the slope is that of the weights.
    assert result.curve("initial").slope("c").value == pytest.approx(curve.slope("c").value, rel=0.05)


def test_the_command_takes_cell_and_size_from_the_file(folder, typed):
    save_file(nn.GRU(2, 4).state_dict(), "gru.safetensors")
    code, *_ = typed("probe", "adding", "--params", "gru.safetensors", "--len", 20)
    (run,) = Store("results").each()
    assert code == 0 and (run.config["cell"], run.config["hidden"]) == ("gru", 4)
    assert run.config["params"] in command(run.config) and find_weights(Store("results"), run.config["params"])


def test_a_layer_of_several_is_named(folder, typed):
    save_file(nn.GRU(2, 4, num_layers=2).state_dict(), "gru.safetensors")
    code, _, err = typed("probe", "adding", "--params", "gru.safetensors", "--len", 20)
    assert code == 2 and "holds 2 recurrent layers, l0, l1: name one, --params gru.safetensors:l0" in err
    assert find_weights(Store("results"), "gru.safetensors:l0").cell == "gru"
    code, _, err = typed("probe", "adding", "--params", "gru.safetensors:l1", "--len", 20)
    assert code == 2 and "takes inputs of size 4: those of adding have size 2" in err
    code, _, err = typed("probe", "adding", "--params", "gru.safetensors:l7", "--len", 20)
    assert code == 2 and "unknown layer of gru.safetensors `l7`: known are l0, l1" in err


def test_what_is_no_file_of_recurrent_weights_is_refused(folder, typed):
    torch.save({}, "model.pt")
    save_file(nn.Linear(2, 2).state_dict(), "linear.safetensors")
    save_file(nn.LSTM(2, 5).state_dict(), "lstm.safetensors")
    (folder / "torn.safetensors").write_bytes((folder / "lstm.safetensors").read_bytes()[:200])
    for words, message in {
        ("model.pt",): "a pickle, which runs code when it is read",
        ("linear.safetensors",): "holds no weight_ih and weight_hh",
        ("torn.safetensors",): "which cannot be read: SafetensorError",
        ("none.safetensors",): "No such file",
        ("lstm.safetensors", "--cell", "gru"): "holds the weights of lstm with hidden=5, not of gru with hidden=5",
        (
            "lstm.safetensors",
            "--hidden",
            "6",
        ): "holds the weights of lstm with hidden=5, not of lstm with hidden=6",
    }.items():
        code, _, err = typed("probe", "adding", "--len", 20, "--params", *words)
        assert code == 2 and message in err and len(err.splitlines()) == 1, err


def test_assert_curve(folder):
    module = nn.GRU(2, 4)
    options = {"baseline": folder / "gru.json", "length": 12, "batch": 4, "seeds": 2}
    with pytest.raises(AssertionError, match="no baseline yet"):
        assert_curve(module, **options)
    assert_curve(module, **options)
    with torch.no_grad():
        module.weight_hh_l0.mul_(1.05)
    with pytest.raises(AssertionError):
        assert_curve(module, **options)
    with pytest.raises(GradlabError, match=r"GRU has input and state sizes \(3, 4\), and \(2, 4\) are asked for"):
        assert_curve(nn.GRU(3, 4), **options)
    with pytest.raises(GradlabError, match="several layers or directions"):
        assert_curve(nn.GRU(2, 4, bidirectional=True), **options)
