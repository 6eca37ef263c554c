"""The examination of a cell: faults that were shipped are named, and cells without one are not accused."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from faults import SHIPPED, DetachedCarry, Squashed, reset_before
from literature import ZOO, Plain

import gradlab
from gradlab.cells import CELLS
from gradlab.errors import GradlabError
from gradlab.gradient.examination import derivatives, equivalence, instrument
from gradlab.gradient.examination.examine import examine
from gradlab.gradient.examination.subject import FEW, CellSizes, subject

pytestmark = pytest.mark.slow

SMALL = CellSizes(hidden_size=4, batch_size=3)


def faults(findings):
    return [(one.name, one.text) for one in findings if one.verdict == "fault"]


def first(findings, name):
    """The first finding of this name; what comes after it is not examined."""
    return next(one for one in findings if one.name == name)


# ---------------------------------------------------------------- faults


@pytest.mark.parametrize("name", SHIPPED)
def test_a_fault_that_was_shipped_is_named(name):
    make, finding, words = SHIPPED[name]
    found = []
    for one in examine(make(), SMALL):
        found.append(one)
        if one.name == finding and one.verdict == "fault":
            break
    assert words in found[-1].text, faults(found)


def test_the_wrong_gru_is_none_at_equal_weights():
    gru = CELLS["gru"]()
    one = first(examine(gru, SMALL, gru, "gru"), "like")
    assert one.verdict == "ok" and one.number < 1e-6 and "the same as gru" in one.text
    one = first(examine(reset_before(), SMALL, gru, "gru"), "like")
    assert one.verdict == "fault" and one.number > 1e-3
    assert "before or after the product" in one.text and "from a state of zero they agree" in one.text


def test_another_layout_cannot_be_compared():
    with pytest.raises(GradlabError, match=r"the parameters must be b \(16,\), w_h .* and are u \(4, 4\), w"):
        list(examine(Plain(), SMALL, CELLS["lstm"](), "lstm"))


class Raising(Plain):
    def step(self, params, s, x_t):
        raise RuntimeError("not today")


class Branching(Plain):
    def step(self, params, s, x_t):
        return super().step(params, s, -x_t if x_t.sum() > 0 else x_t)


class Leafless(Plain):
    def carry(self, params, batch_size):
        return {}


class Widening(Plain):
    def step(self, params, s, x_t):
        s_t, y_t = super().step(params, s, x_t)
        return {"h": s_t["h"][:, :2]}, y_t


class Bare(Plain):
    def step(self, params, s, x_t):
        return super().step(params, s, x_t)[1]


@pytest.mark.parametrize(
    "make, words",
    [
        (Raising, "RuntimeError: not today"),
        (Branching, "TracerBoolConversionError"),
        (Leafless, "no leaf of floats"),
        (Widening, "leaf `h` of the state comes into Widening.step as"),
        (Bare, "return the next state and the output"),
    ],
)
def test_a_broken_contract_ends_the_examination(make, words):
    (one,) = examine(make(), SMALL)
    assert (one.name, one.verdict) == ("shapes", "fault") and words in one.text


class Unready(Plain):
    def init(self, key, input_size, hidden_size):
        params = super().init(key, input_size, hidden_size)
        return params | {"u": params["u"].at[1, 2].set(jnp.nan).at[0, 0].set(jnp.inf)}


class Restless(Plain):
    def carry(self, params, batch_size):
        return {"h": super().carry(params, batch_size)["h"] / 0}


@pytest.mark.parametrize(
    "make, words",
    [
        (Unready, "Unready.init returns the parameter `u` with 2 of 16 entries not finite"),
        (Restless, "Restless.carry returns the leaf `h` with 12 of 12 entries not finite"),
    ],
)
def test_a_start_that_is_not_finite_is_no_overflow(make, words):
    *ok, one = examine(make(), SMALL)
    assert (one.name, one.verdict) == ("start", "fault") and one.text.startswith(words)
    assert {each.verdict for each in ok} == {"ok"}


class InFloat32(Plain):
    def carry(self, params, batch_size):
        return {"h": jnp.zeros((batch_size, len(params["u"])), jnp.float32)}


def test_a_state_in_float32_is_a_note():
    one = first(examine(InFloat32(), SMALL), "float64")
    assert one.verdict == "note" and "--dtype float64" in one.text


class WriteOnly(Plain):
    def carry(self, params, batch_size):
        zeros = super().carry(params, batch_size)["h"]
        return {"h": zeros, "last": zeros}

    def step(self, params, s, x_t):
        s_t, y_t = super().step(params, {"h": s["h"]}, x_t)
        return s_t | {"last": y_t}, y_t


class Silent(Plain):
    """`extra` is read, and multiplied by zero."""

    def init(self, key, input_size, hidden_size):
        return super().init(key, input_size, hidden_size) | {"extra": jnp.ones(hidden_size)}

    def step(self, params, s, x_t):
        s_t, y_t = super().step(params, s, x_t)
        return s_t, y_t + 0.0 * params["extra"]


class Rounded(Plain):
    def step(self, params, s, x_t):
        return super().step(params, {"h": jnp.round(4 * s["h"])}, x_t)


@pytest.mark.parametrize("make, words", [(WriteOnly, "`last`.*never read"), (Rounded, "`h`.*acts in jumps only")])
def test_a_leaf_that_no_gradient_can_reach(make, words):
    found = derivatives.derivatives(subject(make(), SMALL))
    ((name, text),) = faults(found)
    assert name == "state"
    assert re.search(words, text)


def test_what_is_read_without_effect_is_no_fault():
    found = derivatives.derivatives(subject(Silent(), SMALL))
    assert faults(found) == []
    assert (
        "`extra` had no effect at the states that were tried"
        in first((one for one in found if one.verdict == "note"), "parameters").text
    )


def test_a_factor_anywhere_shows_in_its_own_size():
    for factor in (0.5, 1.01, -1.0):
        scaled = jax.custom_vjp(jnp.tanh)
        scaled.defvjp(lambda z: (jnp.tanh(z), jnp.tanh(z)), lambda y, d, factor=factor: (factor * d * (1 - y**2),))
        ((name, text),) = faults(derivatives.derivatives(subject(Squashed(scaled), SMALL)))
        assert name == "derivative" and f" {factor:.3g} times the finite difference" in text


def test_a_detached_carry_is_named_before_what_follows_from_it():
    found = derivatives.derivatives(subject(DetachedCarry(), SMALL))
    assert [name for name, _ in faults(found)] == ["state", "derivative"]


# ---------------------------------------------------------------- no false alarm

TRUE = {
    "spiking": {"derivative"},  # a surrogate gradient is not the derivative
    "log-space": {"parameters"},  # it has a matrix that it does not use
    "bfloat16": {"casts"},
    "float16": {"casts"},
}


@pytest.mark.parametrize("name", sorted(ZOO))
def test_a_cell_of_the_literature_has_no_fault_but_a_true_one(name, monkeypatch):
    # Curves take seconds to compile, and have tests of their own.
    monkeypatch.setattr("gradlab.gradient.examination.examine.CURVES", ())
    found = list(examine(ZOO[name], SMALL))
    assert {one.name for one in found if one.verdict == "fault"} == TRUE.get(name, set()), faults(found)


@pytest.mark.parametrize("name", ["rnn", "lstm:forget_gate=false", "rnn:activation=relu:init=identity"])
def test_a_built_in_cell_has_no_fault(name, monkeypatch):
    monkeypatch.setattr("gradlab.gradient.examination.examine.CURVES", ())
    found = list(examine(gradlab.get_cell(name), SMALL))
    assert faults(found) == []
    assert len({one.name for one in found}) >= 17
    for one in found:
        assert one.text and "\n" not in one.text and one.verdict in ("ok", "note")


def test_cancellation_in_a_saturated_unit_is_not_taken_for_clipping():
    found = equivalence.linearity(subject(ZOO["stacked"], CellSizes(seed=1)))
    assert found.verdict == "ok", found.text


def test_a_chaotic_cell_is_a_note():
    found = equivalence.precision(subject(ZOO["stacked"], CellSizes()))
    assert found.verdict == "note" and found.number > 0.01


# ---------------------------------------------------------------- numbers


class Halving(Plain):
    """hₜ = hₜ₋₁ / 2 + xₜ W: every number is known."""

    def step(self, params, s, x_t):
        h_t = 0.5 * s["h"] + x_t @ params["w"] + 0.0 * params["u"][0]
        return {"h": h_t}, h_t


class Complex(Plain):
    """A complex state turned by a right angle."""

    def carry(self, params, batch_size):
        return {"h": jnp.zeros((batch_size, len(params["u"])), jnp.result_type(params["u"], jnp.complex64))}

    def step(self, params, s, x_t):
        h_t = 0.9j * s["h"] + x_t @ params["w"] + jnp.conj(s["h"]) * 0.05
        return {"h": h_t}, h_t.real


@pytest.fixture(scope="module")
def halving():
    return subject(Halving(), SMALL)


def test_growth_and_memory_are_those_of_the_equation(halving):
    found = instrument.memory(halving)
    growth = first(found, "growth")
    assert growth.number == pytest.approx(-np.log10(2), abs=1e-6) and "half-life 1;" in growth.text
    kept = first(found, "memory")
    assert kept.number == pytest.approx(2.0**-100, rel=1e-3) or kept.number == 0
    assert "`h` forgets" in kept.text and "Jacobian there 0.5" in kept.text


@pytest.mark.parametrize("cell", [Complex(), CELLS["lstm"]()], ids=["complex", "lstm"])
def test_the_product_of_jacobians_is_what_automatic_differentiation_gives(cell):
    path = subject(cell, SMALL).double
    weights = np.random.RandomState(1).standard_normal(path.outputs.shape[2:])
    with jax.enable_x64(True):

        def total(taps):
            s, loss = path.start, 0.0
            for x_t, tap in zip(path.inputs[:FEW], taps, strict=True):
                s, y_t = cell.step(path.params, jax.tree.map(jnp.add, s, tap), x_t)
                loss += jnp.sum(y_t.real * weights)
            return loss

        gradients = jax.grad(total)([jax.tree.map(jnp.zeros_like, path.start)] * FEW)
    found = instrument._products(path, weights)[FEW]
    for name in path.leaves:
        norms = [np.sqrt(np.sum(np.abs(np.asarray(g[name])) ** 2, axis=1)) for g in reversed(gradients)]
        np.testing.assert_allclose(found[name], np.log10(norms), atol=1e-10)


def test_a_wrong_curve_is_found(halving, monkeypatch):
    real = instrument.gradient_curve
    (one, *_) = instrument.instrument(halving)
    assert one.verdict == "ok" and one.number < 1e-10
    monkeypatch.setattr(instrument, "gradient_curve", lambda *args: real(*args, kind="direct"))
    (one, *_) = instrument.instrument(halving)
    assert one.verdict == "fault" and one.number > 0.1


# ---------------------------------------------------------------- python


def test_sizes_out_of_range_are_refused():
    for words, match in (({"batch_size": 1}, "batch_size is 1"), ({"hidden_size": 0}, "hidden_size is 0")):
        with pytest.raises(GradlabError, match=match):
            gradlab.check_cell(Plain(), **words)


class LateNaN:
    """The output is NaN from timestep 150 on, by a term that no gradient passes."""

    def init(self, key, input_size, hidden_size):
        return {"w": jax.random.normal(key, (input_size, hidden_size)), "a": jnp.full(hidden_size, 0.9)}

    def carry(self, params, batch_size):
        return {"h": jnp.zeros((batch_size, len(params["a"]))), "t": jnp.zeros(batch_size, jnp.int32)}

    def step(self, params, carry, x_t):
        h = jnp.tanh(params["a"] * carry["h"] + x_t @ params["w"])
        late = jnp.where(carry["t"] > 150, jnp.nan, 0.0)[:, None]
        return {"h": h, "t": carry["t"] + 1}, h + jax.lax.stop_gradient(late).astype(h.dtype)


def test_a_loss_that_is_not_finite_is_a_fault_beside_a_finite_curve():
    found = [one for one in examine(LateNaN(), SMALL) if one.verdict == "fault"]
    assert any("not finite" in one.text for one in found), found
