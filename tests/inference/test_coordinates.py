"""Coordinates, metrics and starts: the same posterior, walked more easily."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from model_of import model_of

import asymjax
from asymjax import rng, trees
from asymjax.errors import InputError
from asymjax.inference.algorithm import Target
from asymjax.inference.metrics import METRICS, prior_metric
from asymjax.inference.starts import Start, make_anchored
from asymjax.lab import devices
from asymjax.lab.recorder import InMemory
from asymjax.lab.starts import find_anchored, find_start
from asymjax.types import Split

NUM_ROWS = 30
NUMBERS = np.random.default_rng(0)
INPUTS = NUMBERS.normal(size=(NUM_ROWS, 4)).astype(np.float32)
CLASSES, TARGETS = NUMBERS.integers(0, 3, NUM_ROWS), NUMBERS.normal(size=(NUM_ROWS, 1)).astype(np.float32)


def posterior_of(arch="standard", noise=None, temperature=1.0, **settings):
    num_outputs = 3 if noise is None else 2 if noise == "heteroscedastic" else 1
    model = model_of(arch, **{"widths": (5, 5), "num_fixed": (2,)} | settings).build((4,), num_outputs)
    split = Split(INPUTS, CLASSES.astype(np.int32)) if noise is None else Split(INPUTS, TARGETS)
    likelihood = "categorical" if noise is None else asymjax.Gaussian(noise=noise)
    return asymjax.make_posterior(model, split, likelihood=likelihood, temperature=temperature)


POSTERIORS = {
    "standard": {},
    "sigma_asym": {"arch": "sigma_asym"},
    "w_asym, cold": {"arch": "w_asym", "temperature": 0.3},
    "no norm, noise is learned": {"norm": "none", "noise": "learned"},
    "noise is an output": {"noise": "heteroscedastic"},
}


@pytest.mark.parametrize("name", POSTERIORS)
def test_densities_are_those_of_positions(name):
    posterior = posterior_of(**POSTERIORS[name])
    plain, centred = posterior.target(), posterior.target(is_centred=True)
    for seed in range(3):
        position = posterior.init(jax.random.key(seed), posterior.frozen)
        coordinates = centred.enter(position)
        assert float(jnp.abs(ravel_pytree(coordinates)[0] - ravel_pytree(position)[0]).max()) > 1e-3
        expected = float(plain.logdensity(position))
        assert float(centred.logdensity(coordinates)) == pytest.approx(expected, rel=1e-6)
        back = centred.leave(coordinates)
        assert float(plain.logdensity(back)) == pytest.approx(expected, rel=1e-6)


def test_settings_of_a_chain_hold_in_its_coordinates():
    posterior = posterior_of().having({"temperature": jnp.float32(0.5), "prior_scale": jnp.float32(2.0)})
    position = posterior.init(jax.random.key(0), posterior.frozen)
    centred = posterior.target(is_centred=True)
    expected = posterior.target().logdensity(position)
    assert float(centred.logdensity(centred.enter(position))) == pytest.approx(float(expected), rel=1e-6)


def test_what_has_no_hidden_biases_is_walked_as_it_is():
    assert posterior_of(widths=()).centred is None
    posterior = asymjax.inference.posterior.from_logdensity(lambda x: -0.5 * jnp.sum(x**2), jnp.zeros(3))
    np.testing.assert_array_equal(posterior.target(is_centred=True).enter(jnp.ones(3)), jnp.ones(3))


# Metrics ---------------------------------------------------------------------------------------------------------


class State:
    """What a metric sees of a sampler."""

    def __init__(self, position, gradient):
        self.position, self.logdensity_grad = position, gradient


def test_leaves_have_the_fourth_root_of_their_squared_gradients():
    scales = {"a": 2.0, "b": 1.0, "c": 1.0}
    target = Target(lambda position: 0.0, lambda *given: 0.0, 1, scales)
    position = {"a": jnp.zeros((2, 3)), "b": jnp.zeros(4), "c": jnp.zeros(2)}
    gradient = {"a": jnp.full((2, 3), 50.0), "b": jnp.full(4, 10.0), "c": jnp.full(2, 0.01)}
    # In units of the prior 100, 10 and 0.01, of which the last is not above what the prior alone has.
    shares = np.repeat([1 / 100, 1 / 10, 1.0], [6, 4, 2])
    expected = np.repeat([4.0, 1.0, 1.0], [6, 4, 2]) * shares / shares.mean()
    metric, state = METRICS["leaf"](), State(position, gradient)
    np.testing.assert_allclose(metric.begin(state, target), expected, rtol=1e-6)
    moments = metric.init(state)
    for seen in (jax.tree.map(jnp.zeros_like, gradient), jax.tree.map(lambda leaf: np.sqrt(2.0) * leaf, gradient)):
        moments = metric.update(moments, State(position, seen), target)
    np.testing.assert_allclose(metric.final(moments, state, target, None), expected, rtol=1e-6)


def test_the_prior_s_metric_stays():
    target = Target(lambda position: 0.0, lambda *given: 0.0, 1, {"a": 3.0})
    state, metric = State({"a": jnp.ones(2)}, {"a": jnp.ones(2)}), METRICS["prior"]()
    begun = metric.begin(state, target)
    np.testing.assert_array_equal(begun, prior_metric(state.position, {"a": 3.0}))
    assert metric.final(metric.update(metric.init(state), state, target), state, target, begun) is begun


# Starts ----------------------------------------------------------------------------------------------------------


def test_anchored_starts_are_where_the_likelihood_draws_the_prior():
    posterior = posterior_of("standard", "fixed", temperature=0.5, widths=())
    keys = rng.member_keys(jax.random.key(0), 3)
    found = find_anchored(InMemory(), posterior, keys, devices.place(3, 1, "sequential"), 2000)
    init, _ = make_anchored(posterior)
    scale = trees.flatten(posterior.prior_scale)
    for chain in range(3):
        drawn = trees.flatten(init(rng.named_key(keys[chain], "init"), posterior.frozen).anchor)
        design = np.concatenate([np.ones((NUM_ROWS, 1)) * scale["output/bias"], INPUTS * scale["output/kernel"]], 1)
        z0 = np.concatenate([drawn["output/bias"], drawn["output/kernel"][:, 0]])
        variance = posterior.likelihood.noise_scale**2
        precision = design.T @ design / variance + np.eye(5)
        z = np.linalg.solve(precision, design.T @ TARGETS[:, 0] / variance + z0)
        output = found["output"]
        moved = np.concatenate([output["bias"][chain], output["kernel"][chain][:, 0]])
        np.testing.assert_allclose(
            moved, z * np.repeat([scale["output/bias"], scale["output/kernel"]], [1, 4]), atol=1e-3
        )


def test_optima_are_trained_beside_anchored_starts_unless_none_are_asked_for():
    posterior, placement = posterior_of(widths=(3,)), devices.place(2, 1, "sequential")
    keys = rng.member_keys(jax.random.key(0), 2)
    optima, starts = find_start(InMemory(), posterior, keys, placement, Start(map_steps=5, anchored_steps=5))
    assert np.any(np.asarray(optima["output"]["bias"]) != np.asarray(starts["output"]["bias"]))
    none, again = find_start(InMemory(), posterior, keys, placement, Start(map_steps=0, anchored_steps=5))
    assert none is None
    jax.tree.map(np.testing.assert_array_equal, again, starts)
    with pytest.raises(InputError, match="map_steps is 0, but chains start at optima"):
        Start(start="map", map_steps=0).num_starts(2)
