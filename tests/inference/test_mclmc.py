"""Microcanonical Langevin Monte Carlo against a known Gaussian, through the algorithm as the driver calls it."""

from dataclasses import replace
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from asymjax import rng
from asymjax.errors import InputError
from asymjax.inference.algorithm import Target
from asymjax.inference.samplers.mclmc import MCLMC, AdjustedMCLMC, Tuned, length_of_memory, tune_to_variance
from asymjax.types import Info

SCALES = np.geomspace(0.3, 1.0, 10).astype(np.float32)
MEANS = np.linspace(-1, 1, 10).astype(np.float32)
NUM_CHAINS = 4
GRADS_PER_STEP = 2
NUM_WARMUP, AIMS = 4000, (0.1, 0.001)


def gaussian(position):
    """Return the log density of a Gaussian with a diagonal covariance, over a tree."""
    flat = jnp.concatenate([position["a"].reshape(-1), position["b"]])
    return -0.5 * jnp.sum(jnp.square((flat - MEANS) / SCALES))


TARGET = Target(gaussian, lambda key, position, batch_size: gaussian(position), 1, {"a": 1.0, "b": 0.5})
START = {"a": jnp.zeros((2, 3)), "b": jnp.zeros(4)}


def kinds(tree):
    return jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype, leaf.weak_type), tree)


def warm_up(algorithm, keys, aims, changed):
    """Take chains through all stages, each towards the energy variance that it aims at.

    Returns
    -------
    State after the last stage, the metrics of each, and what ``changed`` makes of the states before the stage from the
    variance.
    """
    keys = jax.vmap(lambda key: rng.named_key(key, "warmup"))(keys)
    state, first, metrics = jax.jit(jax.vmap(lambda key: algorithm.begin(key, START, TARGET)))(keys), 0, []

    def compiled(advance):
        mapped = jax.vmap(lambda key, state, *rest: advance(key, state, *rest, TARGET), (0, 0, None, 0))
        return jax.jit(mapped)

    stages = algorithm.stages
    programs = {advance: compiled(advance) for advance in {stage.advance for stage in stages}}
    settings = [replace(algorithm, energy_variance=aim).stages for aim in aims]
    variance = compiled(changed.stages[-3].advance)
    for index, stage in enumerate(stages):
        setting = jnp.asarray([own[index].setting for own in settings])
        if index == len(stages) - 3:
            other, _ = variance(keys, state, jnp.asarray(first), setting)
        before, (state, told) = state, programs[stage.advance](keys, state, jnp.asarray(first), setting)
        assert kinds(state) == kinds(before)
        first += stage.num_steps
        metrics.append(told)
    return state, metrics, other


def sample(algorithm, num_steps, key, position, tuned):
    """Return positions [step, coordinate] and the infos of one chain."""
    sampler, key = algorithm.make(TARGET, tuned), rng.named_key(key, "sample")

    def step(state, t):
        state, info = sampler.step(jax.random.fold_in(key, t), state)
        return state, (jnp.concatenate([state.position["a"].reshape(-1), state.position["b"]]), info)

    return lax.scan(step, sampler.init(rng.named_key(key, "init"), position), jnp.arange(num_steps))[1]


def variance_ratio(positions):
    return np.square(positions - MEANS).mean((0, 1)) / SCALES**2


class Runs(NamedTuple):
    """Chains [chain, ...] that aim at one energy variance; and what other chains adapt their metric to."""

    positions: np.ndarray
    info: Info
    tuned: Tuned
    metrics: list
    adapted: Tuned


@pytest.fixture(scope="module")
def unadjusted():
    """Runs of the unadjusted sampler by the energy variance that it aims at, side by side in the same programs."""
    algorithm, aims = MCLMC(num_warmup=NUM_WARMUP), [aim for aim in AIMS for _ in range(NUM_CHAINS)]
    keys = rng.member_keys(jax.random.key(0), len(aims))
    state, metrics, other = warm_up(algorithm, keys, aims, replace(algorithm, mass_matrix="adapted"))
    positions, tuned = algorithm.finish(state)
    run = jax.jit(jax.vmap(partial(sample, algorithm, 10_000)))
    positions, info = run(keys, positions, tuned)
    assert np.isfinite(positions).all()
    whole = Runs(np.asarray(positions, np.float64), info, tuned, metrics, other.tuned)
    chains = [slice(start, start + NUM_CHAINS) for start in range(0, len(aims), NUM_CHAINS)]
    return {aim: jax.tree.map(lambda leaf, own=own: leaf[own], whole) for aim, own in zip(AIMS, chains, strict=True)}


def test_the_bias_falls_with_the_energy_error(unadjusted):
    large, small = (unadjusted[aim] for aim in AIMS)
    bias, other = (np.abs(variance_ratio(runs.positions).mean() - 1) for runs in (small, large))
    assert bias < 0.05 and bias < other
    assert np.all(small.tuned.step_size < large.tuned.step_size)
    errors = (small.positions.mean((0, 1)) - MEANS) / SCALES
    np.testing.assert_allclose(errors, 0, atol=0.1)
    np.testing.assert_allclose(variance_ratio(small.positions), 1, atol=0.15)


def test_what_steps_and_stages_tell(unadjusted):
    _, info, tuned, metrics, _ = unadjusted[AIMS[1]]
    assert np.all(info.num_grad_evals == GRADS_PER_STEP) and not info.is_divergent.any()
    assert np.isnan(info.acceptance_rate).all() and np.isfinite(info.energy_change).all()
    energy_variance = np.square(info.energy_change).mean() / MEANS.size
    assert 0.0002 < energy_variance < 0.005
    stages = MCLMC(num_warmup=NUM_WARMUP).stages
    assert sum(stage.num_steps for stage in stages) == NUM_WARMUP
    for stage, told in zip(stages, metrics, strict=True):
        assert told.keys() >= {"L", "step_size", "num_grad_evals", "logdensity"}
        assert np.all(told["num_grad_evals"] == GRADS_PER_STEP * stage.num_steps)
        assert all(np.isfinite(value).all() for value in told.values())
    assert np.all(tuned.step_size < tuned.L) and np.all(tuned.L < 20)


def test_an_adapted_metric_is_the_variance_and_L_its_radius(unadjusted):
    adapted = unadjusted[AIMS[1]].adapted
    ratio = np.asarray(adapted.inverse_mass_matrix).mean(0) / SCALES**2
    assert np.all((ratio > 0.5) & (ratio < 2))
    np.testing.assert_allclose(adapted.L, MEANS.size**0.5, rtol=1e-6)


@pytest.mark.parametrize(
    ("algorithm", "num_steps"), [(MCLMC(), (1, 1)), (AdjustedMCLMC(jitter=0.0, max_integration_steps=20), (6, 20))]
)
def test_gradients_are_counted_as_they_are_taken(algorithm, num_steps):
    calls = []

    @jax.custom_vjp
    def counted(flat):
        return -0.5 * jnp.sum(jnp.square(flat))

    def backward(flat, cotangent):
        jax.debug.callback(lambda: calls.append(1))
        return (-flat * cotangent,)

    counted.defvjp(lambda flat: (counted(flat), flat), backward)
    target = TARGET._replace(logdensity=counted)
    state = jax.jit(lambda: algorithm.make(target, None).init(jax.random.key(0), jnp.ones(10)))()
    step = jax.jit(lambda tuned: algorithm.make(target, tuned).step(jax.random.key(1), state)[1])
    for step_size, expected in zip((0.5, 0.01), num_steps, strict=True):  # The smaller one would need 300 steps.
        jax.effects_barrier()
        calls.clear()
        info = step(Tuned(jnp.asarray(3.0), jnp.asarray(step_size), jnp.ones(10)))
        jax.effects_barrier()
        assert len(calls) == info.num_grad_evals == GRADS_PER_STEP * expected


def test_length_from_the_variance_is_in_units_of_the_metric():
    tuned = Tuned(jnp.asarray(1.0), jnp.asarray(0.5), jnp.asarray([4.0, 1.0]))
    variances = jnp.asarray([16.0, 5.0])
    assert tune_to_variance(tuned, variances, 100, "prior").L == 3
    adapted = tune_to_variance(tuned, variances, 90, "adapted")
    np.testing.assert_allclose(adapted.inverse_mass_matrix, 0.9 * variances + 0.1 * tuned.inverse_mass_matrix)
    np.testing.assert_allclose(adapted.L / adapted.step_size, 3 / 0.5)
    assert tune_to_variance(tuned, jnp.zeros(2), 100, "prior").L == 1


def test_length_from_the_autocorrelation_of_an_autoregression():
    coefficient, numbers = 0.9, np.random.default_rng(0)
    series = np.zeros((4000, 50))
    for t in range(1, len(series)):
        series[t] = coefficient * series[t - 1] + numbers.normal(size=50)
    series[:, 0] = 1.0
    length = jax.jit(length_of_memory)(series.astype(np.float32), 0.5, 7.0)
    np.testing.assert_allclose(length, 0.4 * 0.5 * (1 + coefficient) / (1 - coefficient), rtol=0.15)
    assert jax.jit(length_of_memory)(np.ones((10, 3), np.float32), 0.5, 7.0) == 7


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_stages": 1}, "10000 steps of warmup in 1 stages; give 2 stages or more"),
        ({"num_warmup": 10}, "10 steps of warmup in 10 stages"),
        ({"energy_variance": 0.0}, r"energy_variance is 0.0; give a number in \[1e-15, 1e\+15\]"),
    ],
)
def test_settings_that_cannot_be_met_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        MCLMC(**settings).check(400, 4)
