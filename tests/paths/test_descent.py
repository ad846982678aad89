"""What invariant paths are compared with: ordinary descent, elastic weights, and the attacks of robust paths."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree

from asymjax.paths.attacks import pgd
from asymjax.paths.consolidation import elastic, fisher_diagonal
from asymjax.paths.descent import make_descent
from asymjax.paths.metric import jacobian

KEY = jax.random.key(0)
START = {"a": jnp.array([1.0, -2.0]), "b": jnp.array(3.0)}


def half_square(key, position, data):
    return sum(jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(position)) / 2 * data


def noisy(key, position, data):
    return half_square(key, position, data) + jax.random.normal(key) * jnp.sum(position["a"])


def walked(objective, optimizer, data, *lengths):
    descent = make_descent(objective, optimizer)
    state, told = descent.init(START), []
    for length in lengths:
        state, steps = jax.jit(descent.advance, static_argnums=3)(KEY, state, data, length)
        told.append(steps)
    return state, jax.tree.map(lambda *leaves: np.concatenate(leaves), *told)


def test_a_parabola_is_descended_by_the_share_of_each_step():
    state, steps = walked(half_square, optax.sgd(0.1), 1.0, 5)
    np.testing.assert_allclose(state.position["a"], START["a"] * 0.9**5, rtol=1e-6)
    np.testing.assert_allclose(steps.objective, 7 * 0.81 ** np.arange(5), rtol=1e-6)
    np.testing.assert_allclose(steps.step_length, 0.1 * np.sqrt(14) * 0.9 ** np.arange(5), rtol=1e-6)


def test_chunks_of_any_length_give_the_same_bits():
    whole, steps = walked(noisy, optax.adam(0.1), 1.0, 6)
    parts, others = walked(noisy, optax.adam(0.1), 1.0, 2, 4)
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), (whole, steps), (parts, others)))
    assert len(np.unique(steps.objective)) == 6


def test_what_is_not_finite_rests_where_it_began():
    state, steps = walked(half_square, optax.sgd(1e30), 1.0, 4)
    assert state.failed_step == 1 and state.step == 4  # Of the first, 1e30 is finite; its square is none in float32.
    assert np.isfinite(ravel_pytree(state.position)[0]).all() and steps.step_length[1:].sum() == 0
    assert walked(half_square, optax.sgd(0.1), 1.0, 4)[0].failed_step == -1


def logits_of(position, inputs):
    return jnp.tanh(inputs @ position["first"]) @ position["second"]


NETWORK = {"first": jax.random.normal(KEY, (3, 4)), "second": jax.random.normal(jax.random.key(1), (4, 3))}
INPUTS = jax.random.normal(jax.random.key(2), (5, 3))


def test_the_diagonal_of_the_fisher_information_is_that_of_the_metric():
    found, _ = ravel_pytree(fisher_diagonal(logits_of, NETWORK, INPUTS))
    matrix = jacobian(logits_of, NETWORK, INPUTS, "fisher")
    np.testing.assert_allclose(found, np.square(matrix).sum(axis=0) / len(INPUTS), rtol=2e-4, atol=1e-6)


def test_elastic_weights_pull_by_what_outputs_depend_on():
    fisher = jax.tree.map(lambda leaf: jnp.full(leaf.shape, 2.0), START)
    moved = jax.tree.map(lambda leaf: leaf + 3.0, START)
    assert elastic(KEY, moved, (START, fisher)) == pytest.approx(2 * 9 * 3 / 2)
    slope = jax.grad(elastic, argnums=1)(KEY, moved, (START, fisher))
    np.testing.assert_allclose(slope["a"], 6.0)
    assert elastic(KEY, START, (START, fisher)) == 0


def test_one_step_of_an_attack_is_the_whole_radius_along_the_sign():
    slope = jnp.array([[2.0, -0.5, 0.0]])
    moved = pgd(lambda x: jnp.sum(x * slope), jnp.ones((2, 3)), 0.25, 1)
    np.testing.assert_allclose(moved, np.broadcast_to([1.25, 0.75, 1.0], (2, 3)))


def test_several_steps_stay_in_the_radius_and_find_a_peak_that_one_step_misses():
    def loss(x):
        return -jnp.sum(jnp.square(x - 0.1))

    inputs = jnp.zeros((4, 2))
    one, many = (pgd(loss, inputs, 0.5, num_steps) for num_steps in (1, 50))
    np.testing.assert_allclose(one, 0.5)
    np.testing.assert_allclose(many, 0.1, atol=2.5 * 0.5 / 50 + 1e-6)
    far = pgd(lambda x: jnp.sum(x), inputs, 0.5, 50)
    np.testing.assert_allclose(far, 0.5)
