"""One length of trajectories for all chains: its gradient, and what it becomes on Gaussians whose optimum is known."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import asymjax
from asymjax import trees
from asymjax.errors import InputError
from asymjax.inference import chees
from asymjax.inference.algorithm import Target
from asymjax.inference.samplers import HMC, DynamicHMC

# Most coordinates are ten times as narrow as the two that trajectories are for.
SCALES = np.array([0.3] * 18 + [3.0] * 2)
NUM_CHAINS, START = 8, 0.5
JITTERS = {HMC: 0.5, DynamicHMC: 1.0}
# Standard deviation of the log of the length over 8 seeds, whose mean was within 0.01 of that of the optimum.
SPREADS = {HMC: 0.05, DynamicHMC: 0.08}
MAX_STANDARD_ERRORS = 5  # Two-sided normal tail 5.7e-7, times two comparisons.


def flow(x, v, scale, time):
    """Return position and velocity after a time on the exact trajectory of a Gaussian."""
    angle = time / scale
    return x * np.cos(angle) + scale * v * np.sin(angle), v * np.cos(angle) - x / scale * np.sin(angle)


def expected_rate(length, jitter):
    """Return the criterion's expectation over T: that of (|x'|^2 - |x|^2)^2 / 4 is the sum of s^4 sin(t / s)^2."""
    times = length * np.linspace(1 - jitter, 1 + jitter, 2001)[:, None]
    return np.mean(np.sum(SCALES**4 * np.sin(times / SCALES) ** 2, axis=-1)) / length


def optimum(jitter):
    lengths = np.geomspace(0.1, 10, 400)
    return lengths[np.argmax([expected_rate(length, jitter) for length in lengths])]


def test_the_gradient_is_that_of_the_criterion_over_time():
    numbers = np.random.default_rng(0)
    x, p, metric = numbers.normal(size=20) * SCALES, numbers.normal(size=20), numbers.uniform(0.5, 2, size=20)
    share, length, step = 0.7, 2.0, 1e-5

    def end_of(length):
        """Return position and momentum."""
        speed = np.sqrt(metric)  # A Gaussian in units of the metric's scale has a unit mass.
        end, velocity = flow(x / speed, p * speed, SCALES / speed, share * length)
        return end * speed, velocity / speed

    def rate(length):
        end, _ = end_of(length)
        return np.sum((end**2 - x**2) / metric) ** 2 / 4 / length

    difference = (rate(length * np.exp(step)) - rate(length * np.exp(-step))) / (2 * step)
    with jax.enable_x64(True):
        gradient = float(chees.rate_gradient(x, *end_of(length), metric, share * length))
    np.testing.assert_allclose(gradient / length, difference, rtol=1e-7)


@cache
def sample(kind, **settings):
    """Return the length that chains have after warmup, and their draws, from exact starts."""
    sampler = kind(num_warmup=400, mass_matrix="prior", trajectory_length=START, **settings)
    scales = jnp.asarray(SCALES, jnp.float32)
    options = {"sampler": sampler, "num_chains": NUM_CHAINS, "num_draws": 200, "show_progress": False}
    start = np.random.default_rng(0).normal(size=(NUM_CHAINS, len(SCALES))) * SCALES

    def logdensity(x):
        return -0.5 * jnp.sum(jnp.square(x / scales))

    result = asymjax.sample(jax.random.key(0), logdensity, start[0], start=start, **options)
    return np.asarray(result.tuned.trajectory_length), result.draws


@pytest.mark.parametrize("kind", [HMC, DynamicHMC])
def test_chains_agree_on_the_length_that_is_best_for_the_largest_scale(kind):
    lengths, _ = sample(kind, trajectory="adapted")
    np.testing.assert_array_equal(lengths, lengths[0])
    assert abs(np.log(lengths[0] / optimum(JITTERS[kind]))) < MAX_STANDARD_ERRORS * SPREADS[kind]


def test_adapted_trajectories_give_more_for_a_gradient_than_those_that_are_too_short():
    def worst(draws):
        return asymjax.ess(draws["position"]).min() / draws["num_grad_evals"].sum()

    (_, adapted), (lengths, fixed) = sample(HMC, trajectory="adapted"), sample(HMC)
    np.testing.assert_array_equal(lengths, np.float32(START))
    assert worst(adapted) > 2 * worst(fixed)


def test_a_fixed_length_has_no_state_and_nothing_between_chunks():
    target = Target(lambda x: -0.5 * jnp.sum(x**2), lambda key, x, size: jnp.zeros(()), 1, 1.0)
    sizes = {}
    for trajectory in ("fixed", "adapted"):
        sampler = HMC(trajectory=trajectory)
        state = jax.eval_shape(lambda x, sampler=sampler: sampler.begin(jax.random.key(0), x, target), jnp.zeros(100))
        sizes[trajectory] = trees.num_entries(state.length)
        assert (sampler.pooling is None) == (trajectory == "fixed")
    assert sizes["fixed"] == 0 and sizes["adapted"] == 2 * 100 + 8


def test_a_length_in_the_units_of_another_metric_is_as_long():
    length = chees.begin(2.0, jnp.zeros(3))
    wider = chees.rescaled(length, jnp.ones(3), jnp.full(3, 4.0))
    np.testing.assert_allclose(jnp.exp(jnp.stack([wider.log_length, wider.average])), 1.0, rtol=1e-6)
    # Of a metric of variances the widest decides.
    variances = chees.rescaled(length, jnp.ones(3), jnp.array([4.0, 1e-4, 1e-4]))
    np.testing.assert_allclose(jnp.exp(variances.log_length), 1.0, rtol=1e-3)


def test_one_chain_has_no_others_to_adapt_with():
    with pytest.raises(InputError, match="1 chain has no others to adapt with; give 2 chains or more"):
        asymjax.sample(
            jax.random.key(0), lambda x: -0.5 * x**2, jnp.zeros(()), sampler=HMC(trajectory="adapted"), num_chains=1
        )
    HMC().check(10, 1)
