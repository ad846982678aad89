import jax
import jax.numpy as jnp
import numpy as np
from linear_gaussian import draw, linear_gaussian

from asymjax.inference.vi import Pathfinder
from asymjax.inference.vi.pathfinder import QuasiNewton, quasi_newton_family


def test_a_linear_network_has_its_posterior_and_its_evidence():
    posterior, exact = linear_gaussian()
    result, z = draw(posterior, Pathfinder(num_warmup=30, num_path_draws=400))
    np.testing.assert_allclose(result.tuned.elbo, exact.log_evidence, atol=0.05)
    # A bound 0.05 nats below the evidence allows a mean within sqrt(0.1) standard deviations.
    assert np.all(result.tuned.elbo - 5 * result.tuned.elbo_error < exact.log_evidence)
    scales = np.sqrt(np.diag(exact.covariance))
    np.testing.assert_allclose((result.tuned.params.mean - exact.mean) / scales, 0, atol=0.32)
    # 3 means of the draws of each fit, within 5 standard errors of that fit's: false alarms in 1 of 100,000 seeds.
    errors = (z.mean(1) - result.tuned.params.mean) / np.sqrt(z.var(1) / z.shape[1])
    assert np.abs(errors).max() < 5
    assert "ELBO of each fit" in Pathfinder().describe(result.tuned)


def test_density_entropy_and_moments_are_those_of_the_covariance():
    numbers = np.random.default_rng(0)
    basis, _ = np.linalg.qr(numbers.normal(size=(5, 2)))
    factor = np.array([[0.5, 0.0], [0.3, 2.0]])
    mean, scale, at = numbers.normal(size=5), numbers.uniform(0.5, 2, 5), numbers.normal(size=5)
    params = QuasiNewton(*(jnp.asarray(each, jnp.float32) for each in (mean, scale, basis, factor)))
    inner = np.eye(5) + basis @ (factor @ factor.T - np.eye(2)) @ basis.T
    covariance = scale[:, None] * inner * scale
    family = quasi_newton_family(lambda flat: flat)
    log_volume, away = np.linalg.slogdet(2 * np.pi * covariance)[1], at - mean
    expected = -0.5 * (log_volume + away @ np.linalg.solve(covariance, away))
    np.testing.assert_allclose(family.logdensity(params, jnp.asarray(at)), expected, rtol=1e-5)
    np.testing.assert_allclose(family.entropy(params), 0.5 * (log_volume + 5), rtol=1e-5)
    np.testing.assert_allclose(family.moments(params)[1], np.diag(covariance), rtol=1e-5)
    # A draw is affine in its noise, so that its Jacobian is a factor of the covariance.
    root = np.asarray(jax.vmap(lambda noise: params.scale * params.stretch(noise))(jnp.eye(5))).T
    np.testing.assert_allclose(root @ root.T, covariance, atol=1e-5)
