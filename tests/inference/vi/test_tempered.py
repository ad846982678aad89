"""Tempered posteriors: the bound is at most log of the integral of exp(log density / T), with weighted likelihoods."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from linear_gaussian import exact, linear_gaussian

from asymjax.inference.samplers.gradients import unwhiten
from asymjax.inference.vi import FullRank, Laplace
from asymjax.inference.vi.family import bound, kl_of_entries
from asymjax.inference.vi.fullrank import Dense

CASES = [(1.0, 1.0), (0.5, 1.0), (3.0, 1.0), (1.0, 8.0), (0.5, 3.0)]
"""Temperatures, and how many times the likelihood counts."""
NUM_DRAWS = 1000


@pytest.fixture(scope="module")
def known():
    """What is exact of every case, leaves [case, ...], in float32."""
    return jax.tree.map(lambda *leaves: np.float32(leaves), *(exact(*case) for case in CASES))


def of_cases(known, one):
    """Return what a function finds of the target of every case, in one program."""
    posterior, _ = linear_gaussian()

    def of_case(known, case):
        return one(posterior.having({"temperature": case[0]}).target(), known, case[1])

    return jax.tree.map(np.asarray, jax.jit(jax.vmap(of_case))(known, np.float32(CASES)))


def test_the_bound_of_the_posterior_is_the_mass_and_closed_forms_are_means_of_draws(known):
    assert np.all(np.abs(np.diff(known.log_evidence)) > 1)

    def bounds(target, known, weight):
        parts = FullRank(likelihood_weight=weight).whole(target)
        factor = jnp.linalg.cholesky(known.covariance)
        posterior = Dense(known.mean, jnp.log(jnp.diag(factor)), factor * np.sqrt(3))
        wide = Dense(jnp.ones(3), jnp.zeros(3), jnp.zeros((3, 3)))

        def of_draw(key):
            def one(params, is_path):
                return bound(parts.family, params, parts.joint, key, parts.joint.take(key), is_path=is_path)[0]

            return jnp.stack([one(posterior, True), one(wide, True) - one(wide, False)])

        return jax.vmap(of_draw, out_axes=1)(jax.random.split(jax.random.key(0), NUM_DRAWS))

    found = of_cases(known, bounds)
    # Float32 rounds sums of up to 300 nats.
    np.testing.assert_allclose(found[:, 0], np.tile(known.log_evidence[:, None], NUM_DRAWS), atol=1e-4)
    differences, standard_errors = found[:, 1].mean(1), found[:, 1].std(1) / np.sqrt(NUM_DRAWS)
    # A normal number exceeds 5 standard errors in less than one of a million cases; rounding is all where T is one.
    assert np.all(np.abs(differences) < 5 * standard_errors + 1e-3)
    assert np.all(standard_errors < 0.2)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_divergence_is_to_the_tempered_prior_and_nothing_at_it(temperature):
    posterior, _ = linear_gaussian()
    joint = FullRank().whole(posterior.having({"temperature": temperature}).target()).joint
    mean = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), posterior.shape)  # That of the prior.
    variance = jax.tree.map(lambda leaf: jnp.full(leaf.shape, temperature), posterior.shape)
    mass = float(joint.expected_logprior(mean, variance)) + 1.5 * (np.log(2 * np.pi * temperature) + 1)
    assert mass == pytest.approx(float(joint.log_mass), abs=1e-4)
    divergences = kl_of_entries((mean, variance), mean, temperature)
    assert all(np.all(np.abs(leaf) < 1e-6) for leaf in jax.tree.leaves(divergences))


def test_laplace_has_the_width_of_the_tempered_posterior_and_its_mass(known):
    def width_and_mass(target, known, weight):
        algorithm = Laplace(curvature="full")
        z = algorithm.family(target).moments(Dense(known.mean, jnp.zeros(3), jnp.zeros((3, 3))))[0]
        key = jax.random.key(0)
        state = algorithm.begin(key, unwhiten(z, target.prior_scale), target)
        fitted = algorithm.curve(key, state, None, None, target)[0].fitted
        return fitted.params.factor @ fitted.params.factor.T, fitted.log_evidence

    weights = np.array(CASES)[:, 1]
    covariance, mass = of_cases(known, width_and_mass)
    np.testing.assert_allclose(covariance[weights == 1], known.covariance[weights == 1], rtol=1e-4)
    np.testing.assert_allclose(mass[weights == 1], known.log_evidence[weights == 1], atol=1e-3)
