"""Samplers on minibatch gradients against the exact stationary moments of their own discretised dynamics.

Comparisons are with a tolerance of 5 standard errors, taken between independent coordinates or chains (64 and more),
and only where each has an effective sample size of 50 or more: a false alarm in less than 5e-6 of comparisons each
(Student's t with 63 degrees of freedom); some 40 are made, at fixed keys.
"""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import solve_discrete_lyapunov
from scipy.optimize import brentq

from asymjax import rng
from asymjax.errors import InputError
from asymjax.inference.algorithm import Target
from asymjax.inference.approximations.swag import RANK, SWAG
from asymjax.inference.approximations.swag import Tuned as Gaussian
from asymjax.inference.samplers import CSGLD, PSMILE, SAMPLERS, SGHMC, SGLD
from asymjax.inference.samplers.gradients import full_gradient, gradient_cost, make_gradient, unwhiten, whiten
from asymjax.inference.samplers.minibatch import Tuned
from asymjax.inference.samplers.sgld import cyclical, polynomial

NAMES = ("sgld", "csgld", "sghmc", "sgnht", "psgld", "psmile")
SIZE = 100
# Standard deviations of the target, and of the prior; their ratio is that in whitened coordinates.
SCALE, PRIOR = {"a": 0.1, "b": 1.0}, {"a": 0.1, "b": 2.0}


def gaussian(temperature=1.0):
    """Independent coordinates, tempered; the gradient is exact and one row is all there is."""

    def logdensity(position):
        terms = [jnp.sum(jnp.square(position[name] / SCALE[name])) for name in SCALE]
        return -0.5 * (terms[0] + terms[1]) / temperature

    return Target(logdensity, lambda key, position, batch_size: logdensity(position), 1, PRIOR)


def scan(name, target, start, num_steps, key, num_draws=0, **settings):
    """Return positions after every step, and what the steps told."""
    algorithm = SAMPLERS[name](**{"batch_size": 1, "thinning": 1} | settings)
    tuned = Tuned(jnp.asarray(algorithm.step_size))
    sampler = algorithm.make(target, tuned, num_draws * algorithm.thinning)

    def one(state, key):
        state, info = sampler.step(key, state)
        return state, (state.position, info)

    return jax.lax.scan(one, sampler.init(key, start), jax.random.split(key, num_steps))[1]


def walk(name, start, num_steps, **settings):
    """Do the same from the key 0 towards the Gaussian, in one program."""
    return jax.jit(lambda: scan(name, gaussian(), start, num_steps, jax.random.key(0), **settings))()


def assert_mean(values, expected):
    """Compare the mean of independent values with a number, within 5 standard errors."""
    error = np.std(values, ddof=1) / np.sqrt(len(values))
    assert abs(np.mean(values) - expected) < 5 * error, (np.mean(values), expected, error)


def variances(draws):
    """Return the second moment [coordinates] of draws [steps, coordinates], gated by their effective sample size."""
    squares = np.square(np.asarray(draws, np.float64)).mean(0)
    # Squares of a Gaussian have variance 2 s^4; means over a chain have that divided by the effective sample size.
    ess = 2 * squares.mean() ** 2 / squares.var(ddof=1)
    assert ess > 50
    return squares


def sgld_variance(s2, epsilon):
    """z' = (1 - epsilon / s^2) z + sqrt(2 epsilon) xi."""
    return s2 / (1 - epsilon / (2 * s2))


def sghmc_variance(s2, epsilon, beta=0.9):
    h = np.sqrt(epsilon)
    a = np.array([[1 - epsilon / s2, h * beta], [-h / s2, beta]])
    noise = np.sqrt(2 * (1 - beta)) * np.array([h, 1.0])
    return solve_discrete_lyapunov(a, np.outer(noise, noise))[0, 0]


def sgnht_covariance(s2, epsilon, friction, beta=0.9):
    h = np.sqrt(epsilon)
    a = np.array([[1, h], [-h / s2, 1 - friction]])
    return solve_discrete_lyapunov(a, np.diag([0, 2 * (1 - beta)]))


def sgnht_variance(s2, epsilon, all_s2):
    """The friction is such that the momenta of all coordinates together have mean square 1."""

    def excess(friction):
        return np.mean([sgnht_covariance(each, epsilon, friction)[1, 1] for each in all_s2]) - 1

    # With less friction than that the smallest scale is unstable.
    friction = brentq(excess, epsilon / min(all_s2) + 1e-4, 1.0)
    return sgnht_covariance(s2, epsilon, friction)[0, 0]


def psgld_variance(s2, epsilon):
    """A running mean that is long enough is constant: SGLD with step size epsilon over the root of E g^2 = V / s^4."""
    variance = s2
    for _ in range(100):
        variance = sgld_variance(s2, epsilon / (1e-5 + np.sqrt(variance) / s2))
    return variance


# What one program of each sampler walks with, side by side: two temperatures, then larger steps; psgld with and without
# a memory that is long.
NUM_STEPS, DROPPED = 10_000, 2000
BIASED = ("sgld", "sghmc", "psgld")
LANES = {name: {"temperature": (1.0, 0.25, 1.0, 1.0), "step_size": (0.02, 0.02, 0.4, 0.1)} for name in BIASED}
LANES["sgnht"] = {"temperature": (1.0, 0.25), "step_size": (0.01, 0.01)}
# Its scale, which warmup fixes, goes on following the chain here.
LANES["psmile"] = LANES["sgnht"] | {"norm_decay": (0.9995,) * 2}
LANES["psgld"] = {
    "temperature": (*LANES["psgld"]["temperature"], 1.0),
    "step_size": (*LANES["psgld"]["step_size"], 0.005),
    "norm_decay": (0.9995,) * 4 + (0.5,),
}


@cache
def lanes(name):
    """Return positions [lane, step, coordinate] by leaf of walks of a sampler from draws of the target, and infos."""

    @jax.jit
    @jax.vmap
    def run(settings):
        temperature, keys = settings.pop("temperature"), jax.random.split(jax.random.key(1))
        start = {
            leaf: SCALE[leaf] * temperature**0.5 * jax.random.normal(key, (SIZE,))
            for leaf, key in zip(SCALE, keys, strict=True)
        }
        return scan(name, gaussian(temperature), start, NUM_STEPS, jax.random.key(0), **settings)

    draws, info = run({setting: jnp.asarray(values) for setting, values in LANES[name].items()})
    return {leaf: np.asarray(draws[leaf])[:, DROPPED:] for leaf in SCALE}, info


@pytest.mark.parametrize("name", LANES)
def test_the_variance_is_that_of_the_discretised_dynamics(name):
    draws, info = lanes(name)
    assert np.isnan(info.acceptance_rate).all() and not info.is_divergent.any() and (info.num_grad_evals == 1).all()
    for lane in (0, 1):
        temperature, step_size = (LANES[name][setting][lane] for setting in ("temperature", "step_size"))
        all_s2 = {leaf: temperature * (SCALE[leaf] / PRIOR[leaf]) ** 2 for leaf in SCALE}
        expected = {
            "sgld": sgld_variance,
            "sghmc": sghmc_variance,
            "sgnht": partial(sgnht_variance, all_s2=list(all_s2.values())),
            "psgld": psgld_variance,
            # Steps of a tenth of a standard deviation have no bias that could be seen here.
            "psmile": lambda s2, epsilon: s2,
        }[name]
        for leaf, s2 in all_s2.items():
            assert_mean(variances(draws[leaf][lane] / PRIOR[leaf]), expected(s2, step_size))


@pytest.mark.parametrize("name", BIASED)
def test_the_bias_shrinks_with_the_step(name):
    large, small = (variances(lanes(name)[0]["a"][lane] / PRIOR["a"]).mean() - 1 for lane in (2, 3))
    assert large > 0.03 and abs(small) < large / 2


def test_psgld_without_gamma_is_biased_however_small_the_step():
    measured = variances(lanes("psgld")[0]["b"][4])
    assert abs(measured.mean() - 1) > 5 * measured.std() / SIZE**0.5 + 0.05


# Minibatches ------------------------------------------------------------------------------------------------------

ROWS, BATCH, NOISE, LINEAR_PRIOR = 40, 8, 0.5, {"w": 2.0}


def regression(spread=1.0):
    """Linear regression: its target, and in whitened coordinates its mode, and precision and gradient of each row."""
    inputs, targets = np.random.default_rng(0).normal(size=(2, ROWS, 3))
    inputs *= spread
    targets = inputs @ [1.0, -2.0, 0.5] + NOISE * targets[:, 0]
    x, y = jnp.asarray(inputs, jnp.float32), jnp.asarray(targets, jnp.float32)

    def logdensity(position, x=x, y=y, weight=1.0):
        loglikelihood = -0.5 * jnp.sum(jnp.square((y - x @ position["w"]) / NOISE))
        return weight * loglikelihood - 0.5 * jnp.sum(jnp.square(position["w"] / LINEAR_PRIOR["w"]))

    def estimate(key, position, batch_size):
        rows = jax.random.randint(key, (batch_size,), 0, ROWS)
        return logdensity(position, x[rows], y[rows], ROWS / batch_size)

    scaled = inputs * LINEAR_PRIOR["w"] / NOISE
    mode = np.linalg.solve(np.eye(3) + scaled.T @ scaled, scaled.T @ targets / NOISE)
    residual = targets / NOISE - scaled @ mode
    return (
        Target(logdensity, estimate, ROWS, LINEAR_PRIOR),
        mode,
        scaled[:, :, None] * scaled[:, None],
        residual[:, None] * scaled,
    )


def linear_variance(rows, gradients, epsilon, is_controlled, is_langevin=True):
    """Return the exact stationary covariance of SGLD around the mode, where only with control variates c is 0.

    z' = (I - epsilon (I + (N/n) sum of h_i)) z + epsilon (N/n) sum of c_i + sqrt(2 epsilon) xi, rows with replacement;
    of SGD, which has no xi, if not ``is_langevin``.
    """
    mean_row, identity = rows.mean(0), np.eye(3)
    a = identity - epsilon * (identity + ROWS * mean_row)
    spread = epsilon**2 * ROWS**2 / BATCH
    operator = np.kron(a, a) - spread * np.kron(mean_row, mean_row)
    operator += spread * np.mean([np.kron(row, row) for row in rows], axis=0)
    noise = 2 * epsilon * is_langevin * identity
    if not is_controlled:
        noise += spread * np.cov(gradients.T, bias=True)
    return np.linalg.solve(np.eye(9) - operator, noise.ravel()).reshape(3, 3)


@pytest.mark.parametrize("is_controlled", [False, True])
def test_linear_regression_has_its_mean_and_the_covariance_of_noisy_gradients(is_controlled):
    target, mode, rows, gradients = regression()
    step_size, num_chains, num_steps = 0.02, 64, 4000
    start = {"w": jnp.asarray(mode * LINEAR_PRIOR["w"], jnp.float32)}

    @jax.jit
    @jax.vmap
    def chain(key):
        tuned = Tuned(jnp.asarray(step_size))
        if is_controlled:
            tuned = tuned._replace(centre=start, centre_gradient=full_gradient(target, start))
        sampler = SGLD(batch_size=BATCH).make(target, tuned)

        def one(state, key):
            state, info = sampler.step(key, state)
            return state, (state.position["w"], info.num_grad_evals)

        return jax.lax.scan(one, sampler.init(key, start), jax.random.split(key, num_steps))[1]

    draws, cost = chain(jax.random.split(jax.random.key(3), num_chains))
    assert np.allclose(cost, (2 if is_controlled else 1) * BATCH / ROWS)
    error = np.asarray(draws, np.float64)[:, num_steps // 10 :] / LINEAR_PRIOR["w"] - mode
    expected = linear_variance(rows, gradients, step_size / ROWS, is_controlled)
    for i in range(3):
        assert_mean(error[:, :, i].mean(1), 0.0)
        assert_mean(variances(error[:, :, i].T), expected[i, i])
        assert_mean((error[:, :, i] * error[:, :, i - 1]).mean(1), expected[i, i - 1])


def test_gradient_estimates_are_unbiased_and_control_variates_steady_them_near_the_centre():
    target, mode, _, _ = regression()
    centre = {"w": jnp.asarray(mode * LINEAR_PRIOR["w"], jnp.float32)}

    @jax.jit
    def estimates(keys):
        full = full_gradient(target, centre)
        plain, controlled = make_gradient(target, BATCH), make_gradient(target, BATCH, centre, full)
        z = whiten(centre, LINEAR_PRIOR)
        near = {"w": z["w"] + 0.02}
        samples = [jax.vmap(partial(gradient, near))(keys)["w"] for gradient in (plain, controlled)]
        exact = full_gradient(target, unwhiten(near, LINEAR_PRIOR))["w"]
        return controlled(z, keys[0])["w"], full["w"], samples, exact

    at_centre, full, samples, exact = jax.tree.map(
        lambda leaf: np.asarray(leaf, np.float64), estimates(jax.random.split(jax.random.key(4), 4000))
    )
    np.testing.assert_allclose(at_centre, full, atol=1e-4)
    for values in samples:
        for i in range(3):
            assert_mean(values[:, i], exact[i])
    assert (samples[1].var(0) < 0.1 * samples[0].var(0)).all()
    assert gradient_cost(target, BATCH, False) == 0.2 and gradient_cost(target, BATCH, True) == 0.4


# Microcanonical dynamics ------------------------------------------------------------------------------------------


def psmile_in_numpy(keys, z, u, gradient, normal, step_size, norm_decay, decoherence):
    """Return positions and energy changes of warmup's first steps from a place and a direction, in float64."""
    num, scale, seen, force, told = len(z), np.ones(len(z)), [], np.zeros(len(z)), []
    length = np.sqrt(num * step_size / ROWS)

    def half_kick(u, force):
        """Return the direction after it, and what kinetic energy it takes."""
        size = np.linalg.norm(force)
        a, e = 0.5 * length * size / (num - 1), force / size if size else force
        grown = np.cosh(a) + e @ u * np.sinh(a)
        return (u + e * (np.sinh(a) + e @ u * (np.cosh(a) - 1))) / grown, (num - 1) * np.log(grown)

    for key in keys:
        moved, before = length * u, force
        z = z + scale * moved
        g = gradient(key, z)
        seen = [*seen, g]
        weights = norm_decay ** np.arange(len(seen))[::-1]
        mean, square = (np.average(values, axis=0, weights=weights) for values in (seen, np.square(seen)))
        variance = square - (1 - np.sum(weights**2) / np.sum(weights) ** 2) * mean**2
        scale = 1 / np.sqrt(1 + BATCH / ROWS * variance)
        force = scale * (g + np.sqrt(ROWS / BATCH) * normal(key, "level"))
        work = (before + force) @ moved / 2
        told.append((z, half_kick(u, force)[1] - half_kick(-u, before)[1] - work))
        nu = np.sqrt((np.exp(2 * length / (decoherence * np.sqrt(num))) - 1) / num)
        u = half_kick(u, force)[0] + nu * normal(key, "refreshment")
        u = half_kick(u / np.linalg.norm(u), force)[0]
    return [np.stack(values) for values in zip(*told, strict=True)]


def test_psmile_is_its_formulas():
    target, mode, precisions, gradients = regression()
    settings = {"step_size": 2.0, "norm_decay": 0.9, "decoherence": 0.7}
    algorithm = PSMILE(batch_size=BATCH, **settings)
    sampler = algorithm.make(target, Tuned(jnp.asarray(algorithm.step_size)))
    keys = jax.random.split(jax.random.key(8), 20)
    begin = sampler.init(jax.random.key(9), {"w": jnp.full(3, 0.3)})

    def one(state, key):
        state, info = sampler.step(key, state)
        return state, (state.position["w"], info.energy_change)

    found = jax.jit(lambda: jax.lax.scan(one, begin, keys))()[1]

    def normal(key, name):
        return np.asarray(jax.random.normal(rng.named_key(key, name), (3,)), np.float64)

    def gradient(key, z):
        rows = np.asarray(jax.random.randint(rng.named_key(key, "rows"), (BATCH,), 0, ROWS))
        each = gradients[rows] - precisions[rows] @ (z - mode)
        return ROWS * each.mean(0) - z

    z, u = np.full(3, 0.3) / LINEAR_PRIOR["w"], np.asarray(begin.memory.direction, np.float64)
    positions, energies = psmile_in_numpy(keys, z, u, gradient, normal, **settings)
    # Rounding of twenty steps of order one in float32; energies are differences of numbers below ten.
    np.testing.assert_allclose(found[0], positions * LINEAR_PRIOR["w"], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found[1], energies, rtol=1e-3, atol=1e-4)
    assert np.abs(energies).max() > 0.01


def test_psmile_has_the_posterior_of_linear_regression_where_rows_say_little_of_some_coordinates():
    target, mode, rows, _ = regression(spread=np.array([0.005, 0.5, 2.0]))
    algorithm, num_steps = PSMILE(batch_size=BATCH, step_size=0.4, num_warmup=4000), 8000
    start = {"w": jnp.asarray(mode * LINEAR_PRIOR["w"], jnp.float32)}
    stage = algorithm.stages[0]

    @jax.jit
    @jax.vmap
    def chain(key):
        firsts = stage.num_steps * jnp.arange(len(algorithm.stages))
        state = jax.lax.scan(
            lambda state, first: stage.advance(key, state, first, jnp.asarray(0.0), target),
            algorithm.begin(key, start, target),
            firsts,
        )[0]
        position, tuned = algorithm.finish(state)
        sampler = algorithm.make(target, tuned)

        def one(state, key):
            state, _ = sampler.step(key, state)
            return state, state.position["w"]

        return jax.lax.scan(one, sampler.init(key, position), jax.random.split(key, num_steps))[1]

    draws = np.asarray(chain(jax.random.split(jax.random.key(10), 64)), np.float64) / LINEAR_PRIOR["w"] - mode
    expected = np.linalg.inv(np.eye(3) + rows.sum(0))
    for i in range(3):
        assert_mean(draws[:, :, i].mean(1), 0.0)
        assert_mean(variances(draws[:, :, i].T), expected[i, i])


def test_psmile_needs_a_direction_to_turn():
    target = Target(lambda position: -jnp.sum(position**2), None, 1, 1.0)
    with pytest.raises(InputError, match="2 coordinates or more"):
        PSMILE().begin(jax.random.key(0), jnp.zeros(1), target)


# Schedules, state, precision --------------------------------------------------------------------------------------


def test_the_polynomial_schedule_falls_from_one():
    factor = polynomial(100.0, 0.5).factor(jnp.asarray([0, 100, 300]))
    np.testing.assert_allclose(factor, [1, 2**-0.5, 0.5], rtol=1e-6)


def test_cycles_explore_first_and_let_draws_end_in_the_sampling_part():
    schedule = cyclical(num_draw_steps=6, exploration=0.25)
    count = jnp.arange(12)
    np.testing.assert_array_equal(schedule.num_explored(count), [2, 0, 0, 0, 0, 0] * 2)
    expected = 0.5 * (1 + np.cos(np.pi * np.arange(8) / 8))
    np.testing.assert_allclose(schedule.explored_factor(jnp.arange(2)), expected[:2], rtol=1e-6)
    np.testing.assert_allclose(schedule.factor(count), [*expected[2:]] * 2, rtol=1e-5)


def test_exploration_climbs_without_noise_and_is_paid_for():
    start = {leaf: np.full(SIZE, 100 * SCALE[leaf], np.float32) for leaf in SCALE}
    settings = {"num_draws": 4, "thinning": 5, "num_cycles": 2, "exploration": 0.9, "step_size": 0.1}
    draws, info = walk("csgld", start, 20, **settings)
    np.testing.assert_array_equal(info.num_grad_evals, ([91] + [1] * 9) * 2)
    assert np.abs(draws["a"][0]).max() < 8 * SCALE["a"]
    assert np.ptp(draws["a"][9]) > 0


def test_cycles_that_do_not_divide_the_draws_are_refused():
    with pytest.raises(InputError, match="3 cycles do not divide 400 draws"):
        CSGLD(num_cycles=3).check(400, 4)
    with pytest.raises(InputError, match="momentum is 1"):
        SGHMC(momentum=1.0).check(400, 4)


def test_sghmc_without_momentum_is_sgld():
    start = {leaf: np.ones(3, np.float32) for leaf in SCALE}
    one, _ = walk("sgld", start, 50, step_size=0.1)
    other, _ = walk("sghmc", start, 50, step_size=0.1, momentum=0.0)
    np.testing.assert_allclose(one["b"], other["b"], rtol=1e-4, atol=1e-5)


def from_warmup_to_a_step(name, key, start, is_controlled):
    """Return the metrics of two stages of warmup, what they hand on, and a state and its info after one step."""
    settings = {"num_warmup": 2, "thinning": 1, "step_size": 0.1, "batch_size": 1, "control_variates": is_controlled}
    algorithm, target = SAMPLERS[name](**settings), gaussian()
    stage, other = algorithm.stages
    assert (stage, stage.num_steps) == (other, 1)

    def advance(state, first):
        return stage.advance(jax.random.key(1), state, first, jnp.asarray(0.0), target)

    state, metrics = jax.lax.scan(advance, algorithm.begin(key, start, target), jnp.arange(2))
    position, tuned = algorithm.finish(state)
    sampler = algorithm.make(target, tuned, 4)
    state = sampler.init(jax.random.key(2), position)
    return metrics, tuned, *sampler.step(jax.random.key(3), state)


def starts_of(dtype):
    """Return two starts, of ones and of what is not a number."""
    return {leaf: np.full((2, SIZE), [[1], [np.nan]], dtype) for leaf in SCALE}


@pytest.mark.parametrize(("name", "is_controlled"), [*((name, True) for name in NAMES), ("sgld", False)])
def test_warmup_hands_on_what_sampling_needs_and_steps_tell_where_numbers_are_not_finite(name, is_controlled):
    run = jax.jit(jax.vmap(partial(from_warmup_to_a_step, name, jax.random.key(0), is_controlled=is_controlled)))
    metrics, tuned, state, info = run(starts_of("float32"))
    assert set(metrics) == {"step_size", "num_grad_evals", "logdensity"}
    np.testing.assert_array_equal(metrics["num_grad_evals"].sum(1), 5 if is_controlled else 2)
    assert (tuned.friction is None) == (name != "sgnht")
    np.testing.assert_array_equal(info.is_divergent, [False, True])
    assert (tuned.scale is None) == np.isnan(info.energy_change[0]) == (name != "psmile")
    num_entries = sum(leaf[0].size for leaf in jax.tree.leaves((state, tuned)))
    assert num_entries < (6 if name == "psmile" else 4) * 2 * SIZE + 10


@pytest.mark.parametrize("name", NAMES)
def test_warmup_and_steps_keep_the_dtype(name):
    with jax.enable_x64(True):
        step = partial(from_warmup_to_a_step, name, jax.random.key(0), is_controlled=False)
        _, tuned, state, _ = jax.eval_shape(jax.vmap(step), starts_of("float64"))
    assert tuned.step_size.dtype == "float64"
    assert all(leaf.dtype == "float64" for leaf in jax.tree.leaves(state.position))


# SWAG -------------------------------------------------------------------------------------------------------------


def fit_swag(target, start, key, **settings):
    """Return where a chain is after warmup, and the Gaussian that it found."""
    algorithm = SWAG(**settings)
    *walks, last = algorithm.stages
    firsts, setting = walks[0].num_steps * jnp.arange(len(walks)), jnp.asarray(0.0)
    state = algorithm.begin(key, start, target)
    state, _ = jax.lax.scan(lambda state, t: walks[0].advance(key, state, t, setting, target), state, firsts)
    state, metrics = last.advance(key, state, jnp.asarray(settings["num_warmup"]), setting, target)
    return algorithm.finish(state), metrics


def test_swag_fits_the_optimum_and_the_covariance_of_noisy_descent():
    target, mode, rows, gradients = regression()
    settings = {"batch_size": BATCH, "step_size": 0.02, "num_warmup": 2000}

    @jax.jit
    @jax.vmap
    def fit(key):
        return fit_swag(target, {"w": jnp.zeros(3)}, key, **settings)

    (position, tuned), metrics = fit(jax.random.split(jax.random.key(5), 64))
    found = np.asarray(position["w"], np.float64) / LINEAR_PRIOR["w"]
    np.testing.assert_allclose(found, tuned.mean["w"], rtol=1e-5)
    assert not metrics["num_grad_evals"].any()
    expected = linear_variance(rows, gradients, 0.02 / ROWS, False, is_langevin=False)
    deviations = np.asarray(tuned.deviations["w"], np.float64).reshape(-1, 3)
    for i in range(3):
        assert_mean(found[:, i], mode[i])
    # 64 chains x 100 snapshots, each chain about its own mean: a standard error of 2 % and a bias of at most 5 %.
    np.testing.assert_allclose(np.square(tuned.scale["w"]).mean(0), np.diag(expected), rtol=0.15)
    np.testing.assert_allclose(np.diag(deviations.T @ deviations) / len(deviations), np.diag(expected), rtol=0.25)


def test_swag_draws_from_its_gaussian_without_gradients():
    numbers = np.random.default_rng(6)
    mean, scale, deviations = numbers.normal(size=3), np.array([0.5, 1.0, 2.0]), numbers.normal(size=(RANK, 3))
    leaves = [{"a": jnp.asarray(leaf[..., :1]), "b": jnp.asarray(leaf[..., 1:])} for leaf in (mean, scale, deviations)]
    tuned = Gaussian(jnp.asarray(0.1), *leaves)
    sampler = SWAG().make(gaussian(), tuned)

    @jax.jit
    @jax.vmap
    def draw(key):
        return sampler.step(key, sampler.init(key, tuned.mean))

    keys = jax.random.split(jax.random.key(7), 20_000)
    draws, info = draw(keys)
    z = np.concatenate([np.asarray(draws.position[name], np.float64) / PRIOR[name] for name in "ab"], axis=1)
    assert not info.num_grad_evals.any() and not info.is_divergent.any()
    np.testing.assert_array_equal(draw(keys)[0].position["b"], draws.position["b"])
    expected = (np.diag(scale**2) + deviations.T @ deviations / (RANK - 1)) / 2
    products = (z - mean)[:, :, None] * (z - mean)[:, None]
    for i in range(3):
        assert_mean(z[:, i], mean[i])
        for j in range(3):
            assert_mean(products[:, i, j], expected[i, j])


def test_swag_needs_steps_to_fit_to():
    with pytest.raises(InputError, match="num_warmup is 39; SWAG keeps 20 places of half of it, give 40"):
        SWAG(num_warmup=39).check(400, 4)
