"""Proposition 2 of Lim et al. (2024): a Gaussian gate has no permutation equivariance."""

import jax.numpy as jnp
import numpy as np
import pytest

from asymjax.models.methods.sigma_asym import figlu
from asymjax.symmetry import all_permutations

WIDTH = 4


def equivariance_residuals(gate):
    """Distance of figlu(P1 x) from P2 figlu(x) over many x, for all pairs [P1, P2]."""
    x = np.random.default_rng(1).standard_normal((200, WIDTH)).astype(np.float32)
    permutations = all_permutations(WIDTH)
    inside = np.stack([figlu(jnp.asarray(x[:, p]), jnp.asarray(gate, jnp.float32)) for p in permutations])
    outside = inside[0][:, permutations].transpose(1, 0, 2)
    return np.linalg.norm(inside[:, None] - outside, axis=(2, 3)) / np.linalg.norm(x) * WIDTH**0.5


@pytest.mark.parametrize(("scale", "least"), [(1.0, 0.1), (0.01 / WIDTH**0.5, 1e-3)])
def test_no_pair_of_permutations_commutes_with_a_gaussian_gate(scale, least):
    gate = scale * np.random.default_rng(0).standard_normal((WIDTH, WIDTH))
    residuals = equivariance_residuals(gate)
    assert residuals[0, 0] == 0
    assert np.sort(residuals, axis=None)[1] > least
    assert residuals.size - 1 == 575


@pytest.mark.parametrize("gate", [3 * np.eye(WIDTH), np.ones((WIDTH, WIDTH))], ids=["multiple of identity", "all ones"])
def test_gates_that_do_not_tell_features_apart_commute_with_all_permutations(gate):
    assert np.diag(equivariance_residuals(gate)).max() < 1e-6


def test_feature_axis_does_not_matter():
    generator = np.random.default_rng(2)
    x, gate = (jnp.asarray(generator.standard_normal(shape), jnp.float32) for shape in ((9, 5), (5, 5)))
    np.testing.assert_allclose(figlu(x.T, gate, 0).T, figlu(x, gate), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(figlu(x, gate)[3], x[3] / (1 + np.exp(-gate.T @ x[3])), rtol=1e-5)
