"""What the driver relies on: keys fix draws, gradients are counted, chains are a few positions, dtypes stay."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sampler_table import CASES, KERNELS, make_algorithm

from asymjax import trees
from asymjax.inference.algorithm import Target

SHAPES = {"a": (50,), "b": {"c": (5, 10)}}
NUM_COORDINATES, NUM_SAMPLE_ROWS, MAX_POSITIONS, MAX_SCALARS = 100, 40, 4, 16


def small_position(dtype=jnp.float32):
    return jax.tree.map(lambda shape: jnp.ones(shape, dtype), SHAPES, is_leaf=lambda x: isinstance(x, tuple))


def small_target(count=None):
    """Return a standard normal over ``SHAPES``; ``count`` hears of every gradient, and what share of rows it cost."""

    def counted(share):
        @jax.custom_vjp
        def same(position):
            return position

        def backward(_, grad):
            if count is not None:
                jax.debug.callback(count, share)
            return (grad,)

        same.defvjp(lambda position: (position, None), backward)
        return same

    def logdensity(position, share=1.0):
        position = counted(share)(position)
        return -0.5 * sum(jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(position))

    def estimate(key, position, batch_size):
        return logdensity(position, batch_size / NUM_SAMPLE_ROWS)

    return Target(logdensity, estimate, NUM_SAMPLE_ROWS, jax.tree.map(lambda _: 1.0, small_position()))


def small_sampler(name, target, position):
    """Return a sampler that has not been tuned."""
    algorithm = make_algorithm(name)
    _, tuned = algorithm.finish(algorithm.begin(jax.random.key(0), position, target))
    return algorithm.make(target, tuned, 1000)


@pytest.mark.parametrize("name", KERNELS)
def test_a_key_fixes_the_draws_and_every_gradient_is_counted(name):
    heard = []
    sampler = small_sampler(name, small_target(lambda share: heard.append(float(share))), small_position())
    init = sampler.init(jax.random.key(0), small_position())

    @jax.jit
    def walk(key, init):
        def step(state, t):
            state, info = sampler.step(jax.random.fold_in(key, t), state)
            return state, (state.position, info)

        return jax.lax.scan(step, init, jnp.arange(5))[1]

    jax.effects_barrier()
    heard.clear()
    first = jax.block_until_ready(walk(jax.random.key(1), init))
    jax.effects_barrier()
    assert sum(heard) == pytest.approx(float(jnp.sum(first[1].num_grad_evals)), rel=1e-6)
    again, other = walk(jax.random.key(1), init), walk(jax.random.key(2), init)
    for left, right in zip(jax.tree.leaves(first), jax.tree.leaves(again), strict=True):
        np.testing.assert_array_equal(left, right)
    assert not np.array_equal(first[0]["a"], other[0]["a"])


@pytest.mark.parametrize("name", CASES)
def test_a_chain_is_a_few_positions(name):
    def one(key, position):
        return small_sampler(name, small_target(), position).init(key, position)

    state = jax.eval_shape(one, jax.random.key(0), small_position())
    assert trees.num_entries(state) <= MAX_POSITIONS * NUM_COORDINATES + MAX_SCALARS
    assert jax.tree.map(lambda leaf: leaf.shape, state.position) == SHAPES


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", CASES)
def test_positions_keep_their_dtype(name, dtype):
    def one(key, position):
        algorithm, target = make_algorithm(name), small_target()
        state = algorithm.begin(key, position, target)
        stage = algorithm.stages[0]
        state, _ = stage.advance(key, state, jnp.asarray(0), jnp.asarray(stage.setting), target)
        position, tuned = algorithm.finish(state)
        sampler = algorithm.make(target, tuned, 1000)

        def step(state, key):
            state, _ = sampler.step(key, state)
            return state, state.position

        return position, jax.lax.scan(step, sampler.init(key, position), jax.random.split(key, 2))[1]

    with jax.enable_x64(dtype == "float64"):
        assert {
            leaf.dtype for leaf in jax.tree.leaves(jax.eval_shape(one, jax.random.key(0), small_position(dtype)))
        } == {jnp.dtype(dtype)}


def test_trajectories_are_cut_at_the_gradients_that_samplers_name():
    cuts = {
        "hmc": {"max_integration_steps": 3},
        "adjusted_mclmc": {"max_integration_steps": 3},
        "nuts": {"max_doublings": 2},
    }
    for name, settings in cuts.items():
        algorithm = make_algorithm(name, **settings)
        target = small_target()
        # Steps far shorter than a trajectory, all of which are then cut.
        tuned = algorithm.retune(jnp.asarray(1e-3), jnp.ones(NUM_COORDINATES))
        sampler = algorithm.make(target, tuned)
        step = jax.jit(lambda key, sampler=sampler: sampler.step(key, sampler.init(key, small_position()))[1])
        assert step(jax.random.key(0)).num_grad_evals == algorithm.max_gradients
    assert make_algorithm("mala").max_gradients == make_algorithm("sgld").max_gradients == np.inf
