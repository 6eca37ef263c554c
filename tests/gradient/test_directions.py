"""Both sides of the curve of a bidirectional network, against jax.grad and closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from gradlab import GradlabError, get_cell, gradient_curve
from gradlab.cells.bidirectional import bidirectional

T, B, H = 7, 3, 4
INPUTS = jax.random.normal(jax.random.key(1), (T, B, 2))


def loss(outputs):
    return jnp.sin(3 * outputs).sum((0, 2))


def perturbed(network, params, inputs, zeros, read):
    """The loss of some outputs, with zeros added to every state where it enters a timestep."""
    layers = [params] if network.layers == 1 else [params[f"layer{k}"] for k in range(network.layers)]
    for k, layer in enumerate(layers):
        sides = []
        for name, turn in (("forward", 1), ("backward", -1)):

            def timestep(state, row, own=layer[name]):
                return network.cell.step(own, jax.tree.map(jnp.add, state, row[1]), row[0])

            rows = jax.tree.map(lambda leaf, turn=turn: leaf[::turn], (inputs, zeros[k][name]))
            sides.append(lax.scan(timestep, network.cell.carry(layer[name], B), rows)[1][::turn])
        inputs = jnp.concatenate(sides, axis=-1)
    return (jnp.sin(3 * inputs).sum((1, 2)) * read).sum()


derivative = jax.jit(jax.grad(perturbed, argnums=(3, 2)), static_argnums=0)


def expected(network, params, at):
    """log10 norms (T, B) by timestep, from jax.grad with respect to those zeros and to the inputs."""
    layer = params if network.layers == 1 else params["layer0"]
    start = network.cell.carry(layer["forward"], B)
    zeros = [
        {
            name: {leaf: jnp.zeros((T, *value.shape)) for leaf, value in start.items()}
            for name in ("forward", "backward")
        }
        for _ in range(network.layers)
    ]
    read = jnp.ones(T) if at is None else jnp.zeros(T).at[at - 1].set(1.0)
    gradients, at_x = derivative(network, params, INPUTS.astype(jnp.float64), zeros, read)
    prefix = [""] if network.layers == 1 else [f"layer{k}." for k in range(network.layers)]
    found = {
        f"{prefix[k]}{name}.{leaf}": value
        for k, sides in enumerate(gradients)
        for name, leaves in sides.items()
        for leaf, value in leaves.items()
    }
    with np.errstate(divide="ignore"):
        return {leaf: np.log10(np.linalg.norm(value, axis=-1)) for leaf, value in (found | {"x": at_x}).items()}


@pytest.mark.parametrize("at", [None, 1, 6, T])
@pytest.mark.parametrize("name", ["bidirectional:lstm", "bidirectional:gru:layers=2"])
def test_both_sides_are_what_jax_grad_gives(float64, name, at):
    network = get_cell(name)
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), network.init(jax.random.key(0), 2, H))
    exact = expected(network, params, at)
    top = "layer1." if network.layers == 2 else ""
    for side, lags, unreached in (
        ("past", slice((at or T) - 1, None, -1), f"{top}backward."),
        ("future", slice((at or 1) - 1, None), f"{top}forward."),
    ):
        curve = gradient_curve(network, params, INPUTS.astype(jnp.float64), loss, at=at, of="both", side=side)
        assert set(curve.leaves) == {leaf for leaf in exact if not leaf.startswith(unreached)} | {"state"}
        for leaf in curve.leaves[:-1]:
            np.testing.assert_allclose(
                curve.log10_norm[leaf], exact[leaf][lags], atol=1e-9, err_msg=f"{side} {leaf}"
            )
        own = [10 ** curve.log10_norm[leaf] for leaf in curve.leaves if leaf not in ("x", "state")]
        np.testing.assert_allclose(
            curve.log10_norm["state"], 0.5 * np.log10(sum(norm**2 for norm in own)), atol=1e-9
        )


class Leak:
    """h = a h + the sum of x, so that the gradient at lag k is a^k at the state and a^(k-1) at the input."""

    def init(self, key, input_size, hidden_size):
        return jnp.float32(1e-3)

    def carry(self, a, batch_size):
        return jnp.zeros((batch_size, 1))

    def step(self, a, h, x_t):
        h = a * h + x_t.sum(axis=1, keepdims=True)
        return h, h


def test_neither_side_has_a_floor_nor_has_the_layer_below():
    network, timesteps, at = bidirectional(Leak(), layers=2), 700, 300
    params = network.init(jax.random.key(0), 1, 1)
    a = np.longdouble(np.float32(1e-3))
    for side, top, count in (("past", "forward", at), ("future", "backward", timesteps - at + 1)):
        curve = gradient_curve(
            network, params, jnp.ones((timesteps, 2, 1)), lambda y: y.sum((0, 2)), at=at, side=side
        )
        lags = np.arange(1, count + 1)
        exact = np.log10(float(a)) * lags
        assert curve.log10_norm[f"layer1.{top}.s"].shape == (count, 2) and exact[-1] < -890
        np.testing.assert_allclose(curve.log10_norm[f"layer1.{top}.s"][:, 0], exact, rtol=1e-6)
        # A state of the lower layer that reads along reaches t' by any of k handovers to the top direction that
        # reads along, and by the one at t' to the other.
        found = curve.log10_norm[f"layer0.{top}.s"][:, 0]
        np.testing.assert_allclose(found, exact + np.log10(lags + 1), atol=1e-5 * count)


@pytest.mark.parametrize("at", [None, 3])
def test_lags_count_from_the_outputs_that_the_loss_reads(float64, at):
    network = get_cell("bidirectional:gru")
    params = network.init(jax.random.key(0), 2, H)
    reads_some = lambda outputs: loss(outputs[2:5] if at is None else outputs[2:3])  # noqa: E731
    past, future = (gradient_curve(network, params, INPUTS, reads_some, side=side) for side in ("past", "future"))
    assert (len(past.lags), len(future.lags)) == (5 if at is None else 3, 5)
    if at is not None:
        same = gradient_curve(network, params, INPUTS, loss, at=3, side="future")
        np.testing.assert_allclose(future.log10_norm["backward.h"], same.log10_norm["backward.h"], atol=1e-9)


def test_what_has_no_such_side_is_refused():
    cell, network = get_cell("gru"), get_cell("bidirectional:gru")
    params = cell.init(jax.random.key(0), 2, H)
    with pytest.raises(GradlabError, match="side=future is of networks"):
        gradient_curve(cell, params, INPUTS, loss, side="future")
    with pytest.raises(GradlabError, match="unknown side `left`"):
        gradient_curve(cell, params, INPUTS, loss, side="left")
    with pytest.raises(GradlabError, match="Bidirectional has no single state, and so no direct gradient"):
        gradient_curve(network, network.init(jax.random.key(0), 2, H), INPUTS, loss, kind="direct")


def test_a_state_that_is_not_finite_is_a_finding():
    class Blast(Leak):
        """h leaves the third timestep as infinity; the output is finite."""

        def step(self, a, h, x_t):
            h = jnp.where(h > 2, jnp.inf, h + 1.5)
            return h, jnp.tanh(h) * x_t[:, :1]

    network = bidirectional(Blast())
    curve = gradient_curve(network, network.init(jax.random.key(0), 2, 1), INPUTS, loss, at=5)
    assert "forward.s" in str(curve.non_finite[0]) and "3" in str(curve.non_finite[0])
    assert curve.verdict().word == "non-finite"
