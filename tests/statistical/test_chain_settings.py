"""Chains with settings of their own: alone as together, and against the closed form of each one's posterior."""

from functools import partial

import jax
import numpy as np
import pytest
from linear_model import PRIOR_SCALE, TEST, errors, linear_problem, solve

from asymjax import rng
from asymjax.errors import InputError
from asymjax.inference.samplers import HMC
from asymjax.inference.starts import prior_start
from asymjax.lab import devices
from asymjax.lab.chains import keep_weights, sample_chains, warm_up
from asymjax.lab.recorder import InMemory
from asymjax.lab.starts import find_map
from asymjax.train.trainer import Member

HYPER = {
    "temperature": np.array([0.25, 1.0, 4.0], np.float32),
    "prior_scale": np.array([1.0, 0.1, 2.0], np.float32),  # Multiples of PRIOR_SCALE.
    "mask_seed": np.array([0, 1, 2], np.int32),
}
NUM_CHAINS = 3
NUM_DRAWS, ALGORITHM = 2000, HMC(num_warmup=400, mass_matrix="adapted", max_integration_steps=50)
MAX_STANDARD_ERRORS = 5  # Two-sided normal tail 5.7e-7, times 24 comparisons.


def take(tree, index):
    return jax.tree.map(lambda leaf: leaf[index], tree)


def members(role, chains=slice(None)):
    return take(Member(rng.member_keys(rng.role_key(0, role), NUM_CHAINS), HYPER), chains)


def draw(chains):
    """Return draws by name of some of the chains [chain, draw, ...]."""
    problem, run = linear_problem("w_asym", 1.0), InMemory()
    count = len(range(NUM_CHAINS)[chains])
    placement = devices.place(count, 1, "sequential")
    start = prior_start(problem, members("init", chains))
    position, tuned = warm_up(run, problem, members("warmup", chains), start, placement, ALGORITHM)
    keys = members("sample", chains)
    sample_chains(run, problem, keys, position, tuned, TEST.inputs, placement, ALGORITHM, NUM_DRAWS, keep_weights)
    return run.draws


@pytest.fixture(scope="module", autouse=True)
def optimised():
    """Compile as for users: that a chain is the same to the bit beside others is said of such programs."""
    before = jax.config.values["jax_disable_most_optimizations"]
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


@pytest.fixture(scope="module")
def together():
    return draw(slice(None))


def closed_form(chain):
    """Return the configured problem of a chain, and its answer."""
    own = {name: values[chain].item() for name, values in HYPER.items()}
    prior_scale = PRIOR_SCALE * own["prior_scale"]
    problem = linear_problem("w_asym", own["temperature"], prior_scale, own["mask_seed"])
    return problem, solve(problem.frozen, own["temperature"], prior_scale)


def test_a_chain_is_the_one_that_it_is_alone_to_the_bit(together):
    alone = draw(slice(1, 2))
    for name, values in alone.items():
        np.testing.assert_array_equal(values, together[name][1:2], err_msg=name)


@pytest.mark.parametrize("chain", range(NUM_CHAINS))
def test_draws_have_the_moments_of_the_chain_s_own_posterior(together, chain):
    _, answer = closed_form(chain)
    parts = [together[f"position/output/{name}"][chain].reshape(NUM_DRAWS, -1) for name in ("bias", "kernel")]
    positions = np.concatenate(parts, axis=-1).astype(np.float64)[None]
    for series, expected in (
        (positions, answer.mean),
        ((positions - answer.mean) ** 2, np.diagonal(answer.covariance)),
    ):
        error, scale = errors(series, expected)
        assert np.all(np.abs(error / scale) < MAX_STANDARD_ERRORS)


def given(key, own, positions):
    """Return what a chain is given of its posterior: start, densities, gradients, outputs and scales."""
    target = own.target()
    logs, grads = jax.vmap(jax.value_and_grad(target.logdensity))(positions)
    estimates = jax.vmap(lambda position: target.estimate(key, position, 5))(positions)
    outputs = jax.vmap(lambda position: own.predict(position, own.frozen, TEST.inputs))(positions)
    return own.init(key, own.frozen), logs, grads, estimates, outputs, target.prior_scale


def test_settings_as_data_are_the_configured_ones_and_share_a_program():
    problem, configured = linear_problem("w_asym", 1.0), closed_form(NUM_CHAINS - 1)[0]
    positions = jax.tree.map(
        lambda leaf: np.linspace(-1, 1, 2 * leaf.size, dtype=np.float32).reshape(2, *leaf.shape), problem.shape
    )

    @jax.jit
    def as_data(member, positions):
        return given(*problem.of(member, problem.frozen, problem.data), positions)

    all_given = [as_data(members("sample", chain), positions) for chain in range(NUM_CHAINS)]
    assert as_data._cache_size() == 1
    key = members("sample", NUM_CHAINS - 1).key
    expected = jax.jit(lambda key, positions: given(key, configured, positions))(key, positions)
    found, sum_of_rows = all_given[-1], np.abs(expected[1]).max()
    # Float32 sums of 40 rows, in an order of each program.
    compare = partial(np.testing.assert_allclose, rtol=1e-5, atol=40 * np.finfo(np.float32).eps * sum_of_rows)
    jax.tree.map(compare, found, expected)
    starts = prior_start(problem, members("init")), prior_start(configured, members("init").key)
    jax.tree.map(compare, *(take(start, NUM_CHAINS - 1) for start in starts))


def test_each_optimum_is_that_of_the_network_s_own_density():
    problem, placement = linear_problem("w_asym", 1.0), devices.place(NUM_CHAINS, 1, "sequential")
    optima = find_map(InMemory(), problem, members("init"), placement, 1000, 0.05)["output"]
    for chain in range(NUM_CHAINS):
        found = np.concatenate([optima["bias"][chain].ravel(), optima["kernel"][chain].ravel()])
        np.testing.assert_allclose(found, closed_form(chain)[1].mean, atol=1e-3)


def test_settings_that_no_chain_can_have_are_refused():
    with pytest.raises(InputError, match="unknown setting of a chain 'temprature', choose from temperature, "):
        linear_problem("standard", 1.0).of(Member(jax.random.key(0), {"temprature": 2.0}), {}, None)
