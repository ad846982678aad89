"""Microcanonical Langevin Monte Carlo against a known Gaussian, through the algorithm as the driver calls it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from asymjax import rng
from asymjax.diagnostics.convergence import per_coordinate
from asymjax.errors import InputError
from asymjax.inference.algorithm import Target
from asymjax.inference.samplers.mclmc import MCLMC, AdjustedMCLMC, Tuned, length_of_memory, tune_to_variance

SCALES = np.geomspace(0.3, 1.0, 10).astype(np.float32)
MEANS = np.linspace(-1, 1, 10).astype(np.float32)
NUM_CHAINS = 4
MAX_STANDARD_ERRORS, MIN_ESS = 5, 1000
GRADS_PER_STEP = 2


def gaussian(position):
    """Return the log density of a Gaussian with a diagonal covariance, over a tree."""
    flat = jnp.concatenate([position["a"].reshape(-1), position["b"]])
    return -0.5 * jnp.sum(jnp.square((flat - MEANS) / SCALES))


TARGET = Target(gaussian, lambda key, position, batch_size: gaussian(position), 1, {"a": 1.0, "b": 0.5})
START = {"a": jnp.zeros((2, 3)), "b": jnp.zeros(4)}


def warm_up(algorithm, keys, mapped):
    """Take chains through all stages; return positions, what is tuned and the metrics of each stage."""
    keys = jax.vmap(lambda key: rng.named_key(key, "warmup"))(keys)
    state, first, metrics = jax.jit(mapped(lambda key: algorithm.begin(key, START, TARGET)))(keys), 0, []
    kinds = jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype, leaf.weak_type), state)

    def compiled(advance):
        return jax.jit(lambda keys, state, *rest: mapped(lambda both: advance(*both, *rest, TARGET))((keys, state)))

    stages = {advance: compiled(advance) for advance in {stage.advance for stage in algorithm.stages}}
    for stage in algorithm.stages:
        state, told = stages[stage.advance](keys, state, jnp.asarray(first), jnp.asarray(stage.setting))
        assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype, leaf.weak_type), state) == kinds
        first += stage.num_steps
        metrics.append(told)
    return *jax.vmap(algorithm.finish)(state), metrics


def sample(algorithm, num_steps, key, position, tuned):
    """Return positions [step, coordinate] and the infos of one chain."""
    sampler, key = algorithm.make(TARGET, tuned), rng.named_key(key, "sample")

    def step(state, t):
        state, info = sampler.step(jax.random.fold_in(key, t), state)
        return state, (jnp.concatenate([state.position["a"].reshape(-1), state.position["b"]]), info)

    return lax.scan(step, sampler.init(rng.named_key(key, "init"), position), jnp.arange(num_steps))[1]


def run(algorithm, num_steps, mapped=jax.vmap):
    """Return positions [chain, step, coordinate], infos, tuned values and the metrics of warmup."""
    keys = rng.member_keys(jax.random.key(0), NUM_CHAINS)
    starts, tuned, metrics = warm_up(algorithm, keys, mapped)
    sampled = mapped(lambda arguments: sample(algorithm, num_steps, *arguments))
    positions, info = jax.jit(sampled)((keys, starts, tuned))
    assert np.isfinite(positions).all()
    return np.asarray(positions, np.float64), info, tuned, metrics


def one_by_one(function):
    return lambda values: lax.map(function, values)


def variance_ratio(positions):
    return np.square(positions - MEANS).mean((0, 1)) / SCALES**2


@pytest.fixture(scope="module")
def unadjusted():
    """Runs of the unadjusted sampler by the energy variance that it aims at."""
    return {aim: run(MCLMC(num_warmup=4000, energy_variance=aim), 20_000) for aim in (0.1, 0.001)}


def test_the_bias_falls_with_the_energy_error(unadjusted):
    bias = {aim: np.abs(variance_ratio(positions).mean() - 1) for aim, (positions, *_) in unadjusted.items()}
    assert bias[0.001] < 0.05 and bias[0.001] < bias[0.1]
    step_size = {aim: np.asarray(tuned.step_size) for aim, (_, _, tuned, _) in unadjusted.items()}
    assert np.all(step_size[0.001] < step_size[0.1])
    positions = unadjusted[0.001][0]
    errors = (positions.mean((0, 1)) - MEANS) / SCALES
    np.testing.assert_allclose(errors, 0, atol=0.1)
    np.testing.assert_allclose(variance_ratio(positions), 1, atol=0.15)


def test_what_steps_and_stages_tell(unadjusted):
    _, info, tuned, metrics = unadjusted[0.001]
    assert np.all(info.num_grad_evals == GRADS_PER_STEP) and not info.is_divergent.any()
    assert np.isnan(info.acceptance_rate).all() and np.isfinite(info.energy_change).all()
    energy_variance = np.square(info.energy_change).mean() / MEANS.size
    assert 0.0002 < energy_variance < 0.005
    stages = MCLMC(num_warmup=4000).stages
    assert sum(stage.num_steps for stage in stages) == 4000
    for stage, told in zip(stages, metrics, strict=True):
        assert told.keys() >= {"L", "step_size", "num_grad_evals", "logdensity"}
        assert np.all(told["num_grad_evals"] == GRADS_PER_STEP * stage.num_steps)
        assert all(np.isfinite(value).all() for value in told.values())
    assert np.all(tuned.step_size < tuned.L) and np.all(tuned.L < 20)


def count_gradients(algorithm, tuned):
    """Return how often one step of a sampler asks for a gradient."""
    calls = []

    @jax.custom_vjp
    def counted(flat):
        return -0.5 * jnp.sum(jnp.square(flat))

    def backward(flat, cotangent):
        jax.debug.callback(lambda: calls.append(1))
        return (-flat * cotangent,)

    counted.defvjp(lambda flat: (counted(flat), flat), backward)
    sampler = algorithm.make(TARGET._replace(logdensity=counted), tuned)
    state = sampler.init(jax.random.key(0), jnp.ones(10))
    jax.effects_barrier()
    calls.clear()
    _, info = sampler.step(jax.random.key(1), state)
    jax.effects_barrier()
    return len(calls), float(info.num_grad_evals)


@pytest.mark.parametrize(("algorithm", "num_steps"), [(MCLMC(), 1), (AdjustedMCLMC(jitter=0.0), 6)])
def test_gradients_are_counted_as_they_are_taken(algorithm, num_steps):
    tuned = Tuned(jnp.asarray(3.0), jnp.asarray(0.5), jnp.ones(10))
    taken, told = count_gradients(algorithm, tuned)
    assert taken == told == GRADS_PER_STEP * num_steps


def test_adjusted_draws_have_the_moments_of_the_target():
    algorithm = AdjustedMCLMC(num_warmup=200, mass_matrix="adapted", max_integration_steps=40)
    positions, info, *_ = run(algorithm, 2000)
    assert np.all(info.num_grad_evals % GRADS_PER_STEP == 0) and np.all(info.num_grad_evals <= GRADS_PER_STEP * 40)
    assert 0.6 < np.mean(info.acceptance_rate) < 0.99
    standardised = (positions - MEANS) / SCALES
    for values, expected in ((standardised, 0.0), (standardised**2, 1.0)):
        ess = per_coordinate(values)["ess_bulk"]
        assert ess.min() > MIN_ESS
        error = (values.mean((0, 1)) - expected) / (values.std((0, 1)) / np.sqrt(ess))
        assert np.abs(error).max() < MAX_STANDARD_ERRORS


def test_an_adapted_metric_is_the_variance_and_L_its_radius():
    _, _, tuned, _ = run(MCLMC(num_warmup=8000, energy_variance=0.01, mass_matrix="adapted"), 10, one_by_one)
    ratio = np.asarray(tuned.inverse_mass_matrix).mean(0) / SCALES**2
    assert np.all((ratio > 0.5) & (ratio < 2))


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
    length = length_of_memory(jnp.asarray(series, jnp.float32), jnp.asarray(0.5), jnp.asarray(7.0))
    np.testing.assert_allclose(length, 0.4 * 0.5 * (1 + coefficient) / (1 - coefficient), rtol=0.15)
    assert length_of_memory(jnp.ones((10, 3)), jnp.asarray(0.5), jnp.asarray(7.0)) == 7


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_stages": 1}, "10000 steps of warmup in 1 stages; give 2 stages or more"),
        ({"num_warmup": 10}, "10 steps of warmup in 10 stages"),
        ({"energy_variance": 0.0}, "energy_variance is 0.0; give a number above 0"),
    ],
)
def test_settings_that_cannot_be_met_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        MCLMC(**settings).check(400)
