import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import digamma

from gradlab import gradient_curve
from gradlab.cells import gru, lstm, rnn
from gradlab.errors import GradlabError
from gradlab.gradient.credit import weight_credit
from gradlab.gradient.spectrum import jacobian_spectrum

N = 4


class Given:
    """A linear cell whose Jacobian is its input."""

    def carry(self, params, batch_size):
        return {"h": jnp.ones((batch_size, N))}

    def step(self, params, s, x_t):
        h_t = jnp.einsum("bij,bj->bi", x_t.reshape(-1, N, N), s["h"])
        return {"h": h_t}, h_t


def spectrum_of(matrices):
    """Of one example with these Jacobians at timesteps 1..T."""
    return jacobian_spectrum(Given(), {}, np.reshape(matrices, (len(matrices), 1, N * N)))


def compound(matrix, k):
    """All k x k minors: its largest singular value is the product of the k largest of the matrix."""
    rows = list(itertools.combinations(range(N), k))
    return np.array([[np.linalg.det(matrix[np.ix_(a, b)]) for b in rows] for a in rows])


def by_compounds(matrices):
    """log10 of the singular values of J_1ᵀ ... J_{T-1}ᵀ, each from largest singular values alone."""
    totals = [0.0]
    for k in range(1, N + 1):
        product, exponent = None, 0.0
        for matrix in matrices[-2::-1]:
            factor = compound(matrix.T, k)
            product = factor if product is None else factor @ product
            size = np.abs(product).max()
            product, exponent = product / size, exponent + np.log10(size)
        totals.append(exponent + np.log10(np.linalg.norm(product, 2)))
    return np.diff(totals)


def rotation(rng):
    return np.linalg.qr(rng.normal(size=(N, N)))[0]


@pytest.mark.parametrize("kind", ["gaussian", "graded", "sorted otherwise later", "near identity", "two"])
def test_singular_values_of_a_product_by_its_minors(kind):
    rng, powers = np.random.default_rng(0), np.array([3.0, 0.0, -2.0, -5.0])
    matrices = {
        "gaussian": lambda t: rng.normal(size=(N, N)),
        "graded": lambda t: np.diag(10.0**powers) @ rotation(rng),
        "sorted otherwise later": lambda t: np.diag(10.0 ** (powers if t < 60 else -powers)),
        "near identity": lambda t: np.eye(N) + 0.01 * rng.normal(size=(N, N)),
        "two": lambda t: rng.normal(size=(N, N)),
    }[kind]
    matrices = np.array([matrices(t) for t in range(2 if kind == "two" else 150)])
    found = spectrum_of(matrices)
    np.testing.assert_allclose(found.singular_values[-1, :, 0], by_compounds(matrices), atol=1e-9)
    own = np.linalg.svd(matrices, compute_uv=False)[::-1]
    np.testing.assert_allclose(found.timestep[..., 0], np.log10(own[:, [0, -1]]).T, atol=1e-12)


def test_exponents_of_gaussian_products_are_newmans():
    rng = np.random.default_rng(1)
    found = spectrum_of(rng.normal(size=(4001, N, N)))
    # Newman (1986), "The distribution of Lyapunov exponents: exact results for random matrices", eq. 7.
    exact = 0.5 * (np.log(2) + digamma((N - np.arange(N)) / 2)) / np.log(10)
    np.testing.assert_allclose(found.exponents[:, 0], exact, atol=0.02)


def test_exponents_of_diagonal_orthogonal_and_symplectic_chains():
    rng = np.random.default_rng(2)
    diagonal = spectrum_of(np.array([np.diag([2.0, 1.0, 0.5, 1e-30])] * 50))
    np.testing.assert_allclose(diagonal.exponents[:, 0], [np.log10(2), 0, -np.log10(2), -30], atol=1e-12)
    np.testing.assert_allclose(diagonal.singular_values[-1, :, 0], 49 * diagonal.exponents[:, 0], atol=1e-9)
    orthogonal = spectrum_of(np.array([rotation(rng) for _ in range(50)]))
    np.testing.assert_allclose(orthogonal.exponents, 0, atol=1e-14)
    # Exponents of symplectic maps, here the shears q' = q + A p, p' = p - B q', come in pairs of sum 0.
    half, eye = N // 2, np.eye(N // 2)

    def shears():
        a, b = (part + part.T for part in rng.normal(size=(2, half, half)))
        zero = np.zeros((half, half))
        return np.block([[eye, zero], [-b, eye]]) @ np.block([[eye, a], [zero, eye]])

    symplectic = spectrum_of(np.array([shears() for _ in range(300)])).exponents[:, 0]
    assert symplectic[0] > 0.1
    np.testing.assert_allclose(symplectic + symplectic[::-1], 0, atol=0.02)
    assert abs(symplectic.sum()) < 1e-12


@pytest.mark.parametrize("gain", [1.2, 2.0])
def test_the_mean_exponent_of_a_wide_tanh_network_is_that_of_the_mean_field(gain):
    """log10 g + E log10 (1 - tanh² √q z), where q = g² E tanh² √q z, of an orthogonal matrix times g.

    Chen, Pennington & Schoenholz (2018), "Dynamical isometry and a mean field theory of RNNs", section 3.
    """
    z, weight = np.polynomial.hermite_e.hermegauss(201)
    weight = weight / weight.sum()
    q = 1.0
    for _ in range(1000):
        q = gain**2 * weight @ np.tanh(np.sqrt(q) * z) ** 2
    exact = np.log10(gain) - weight @ (2 * np.log10(np.cosh(np.sqrt(q) * z)))  # 1 - tanh² = 1 / cosh²

    units, cell = 128, rnn(gain=gain)
    params = cell.init(jax.random.key(0), 1, units)
    start = {"h": np.tanh(np.sqrt(q) * np.random.default_rng(3).normal(size=(2, units)))}
    found = jacobian_spectrum(cell, params, np.zeros((21, 2, 1)), start, lags=2)
    np.testing.assert_allclose(found.exponents.mean(), exact, atol=0.02)


@pytest.mark.parametrize("cell", [rnn(), lstm(), gru()], ids=["rnn", "lstm", "gru"])
def test_the_curve_lies_between_the_singular_values_and_exponents_add_up(cell):
    params = cell.init(jax.random.key(0), 2, 3)
    inputs = jax.random.normal(jax.random.key(1), (40, 2, 2))
    found = jacobian_spectrum(cell, params, inputs)
    np.testing.assert_allclose(found.exponents.sum(axis=0), found.log_det[1:].mean(axis=0), atol=1e-12)
    curve = gradient_curve(cell, params, inputs, lambda outputs: (outputs[-1] ** 2).sum(axis=-1))
    relative = curve.log10_norm["state"] - curve.log10_norm["state"][0]
    at = found.lags - 1
    assert np.all(relative[at] <= found.singular_values[:, 0] + 1e-5)
    assert np.all(relative[at] >= found.singular_values[:, -1] - 1e-5)
    # All of h and c: twice as many directions as an LSTM has units.
    assert found.exponents.shape == ((6 if isinstance(cell, type(lstm())) else 3), 2)


def test_no_floor_and_no_ceiling():
    rng = np.random.default_rng(3)
    sizes = np.repeat([200.0, -250.0], 100)
    found = spectrum_of(np.array([10.0**size * rotation(rng) for size in sizes]))
    np.testing.assert_allclose(found.singular_values[-1, :, 0], sizes[:-1].sum(), rtol=1e-12)


def test_a_direction_that_is_forgotten_is_minus_infinity():
    found = spectrum_of(np.array([np.diag([1.0, 0.5, 0.0, 0.0])] * 5))
    assert np.isneginf(found.exponents[2:]).all() and np.isneginf(found.singular_values[-1, 2:]).all()
    np.testing.assert_allclose(found.singular_values[-1, :2, 0], [0, -4 * np.log10(2)], atol=1e-12)


def test_a_complex_state_counts_twice():
    class Rotates:
        def carry(self, params, batch_size):
            return {"z": jnp.zeros((batch_size, 1), jnp.complex64)}

        def step(self, params, s, x_t):
            z_t = 0.5 * jnp.exp(0.3j) * s["z"] + x_t
            return {"z": z_t}, z_t.real

    found = jacobian_spectrum(Rotates(), {}, np.ones((10, 1, 1)))
    np.testing.assert_allclose(found.exponents[:, 0], [np.log10(0.5)] * 2, atol=1e-12)


def test_one_timestep_and_wrong_shapes():
    cell = rnn()
    params = cell.init(jax.random.key(0), 2, 3)
    found = jacobian_spectrum(cell, params, np.zeros((1, 2, 2)))
    assert found.lags.tolist() == [1] and found.singular_values.tolist() == [[[0.0, 0.0]] * 3]
    with pytest.raises(GradlabError, match=r"inputs have shape \(4, 2\)"):
        jacobian_spectrum(cell, params, np.zeros((4, 2)))


def test_a_jacobian_that_is_not_finite_is_named():
    matrices = np.array([np.eye(N)] * 5)
    matrices[2, 0, 0] = np.nan
    with pytest.raises(GradlabError, match="Jacobian of timestep 3 is not finite"):
        spectrum_of(matrices)


def test_inputs_of_another_width_are_told_in_one_line():
    params = rnn().init(jax.random.key(0), 2, 4)
    for measure in (jacobian_spectrum, lambda *given: weight_credit(*given, lambda y: y[-1].sum(-1))):
        with pytest.raises(GradlabError, match=r"RNN.step cannot be called .* inputs float64 \(5, 3, 7\)"):
            measure(rnn(), params, np.zeros((5, 3, 7), np.float32))
    with pytest.raises(GradlabError, match="lags is 1: give"):
        jacobian_spectrum(rnn(), params, np.zeros((5, 3, 2), np.float32), lags=1)


def test_states_and_weights_may_be_of_different_precision():
    params, inputs = rnn().init(jax.random.key(0), 2, 4), np.zeros((5, 3, 2), np.float32)
    found = jacobian_spectrum(rnn(), params, inputs, {"h": np.ones((3, 4), np.float64)})
    assert repr(found).startswith("<JacobianSpectrum: 4 directions, 5 lags, 3 examples, exponents ")
