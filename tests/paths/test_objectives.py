"""What falls along a path: values and gradients known in closed form, and the nearest sparse position."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from asymjax import trees
from asymjax.errors import InputError
from asymjax.models import ModelConfig
from asymjax.models.backbones import MLP
from asymjax.paths import objectives
from asymjax.sparse.masks import prunable
from asymjax.train.losses import cross_entropy
from asymjax.types import Graph, Split

KEY = jax.random.key(0)
MODEL = ModelConfig(backbone=MLP((5,), norm="none")).build((4,), 3)
ROWS = Split(
    np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32), np.random.default_rng(1).integers(0, 3, 40)
)
POSITION = MODEL.init(jax.random.key(1), {})


def zeros(position):
    return sum(int(jnp.sum(leaf == 0)) for leaf in jax.tree.leaves(position))


def gradient(objective, position, data, key=KEY):
    return jax.grad(objective, argnums=1)(key, position, data)


def test_the_nearest_sparse_position_has_exactly_so_many_zeros_and_breaks_ties_by_place():
    tied = {"a": jnp.array([1.0, -1.0, 1.0, 2.0]), "b": jnp.array([-1.0, 3.0])}
    sparse = objectives.make_sparse(tied, 0.34)  # 2.04 of 6 entries.
    assert sparse["a"].tolist() == [0, 0, 1, 2] and sparse["b"].tolist() == [-1, 3]
    for share in (0.0, 0.31, 0.9, 1.0):
        for position in (POSITION, jax.tree.map(jnp.ones_like, POSITION)):
            found = zeros(objectives.make_sparse(position, share)) - zeros(position) * (share == 0)
            assert found == round(share * trees.num_entries(POSITION))


def test_of_chosen_leaves_only_those_lose_entries():
    paths = prunable(MODEL)
    kept = trees.flatten(objectives.nearest_mask(POSITION, 0.5, paths))
    lost = {path: int(jnp.sum(~keep)) for path, keep in kept.items()}
    assert sum(lost[path] for path in paths) == round(0.5 * (4 * 5 + 5 * 3))
    assert all(not count for path, count in lost.items() if path not in paths)
    with pytest.raises(InputError, match="choose from"):
        objectives.nearest_mask(POSITION, 0.5, frozenset({"nothing"}))
    with pytest.raises(InputError, match=r"share is 1\.5"):
        objectives.nearest_mask(POSITION, 1.5)


def test_the_way_to_the_sparse_set_is_the_position_where_that_is_zero():
    objective, sparse = objectives.sparsify(0.6), objectives.make_sparse(POSITION, 0.6)
    apart = jax.tree.map(jnp.subtract, POSITION, sparse)
    np.testing.assert_allclose(objective(KEY, POSITION, None), trees.norm(apart) ** 2 / 2, rtol=1e-6)
    assert jax.tree.all(jax.tree.map(jnp.array_equal, gradient(objective, POSITION, None), apart))
    assert trees.norm(gradient(objective, sparse, None)) == 0


def test_reaching_and_leaving_are_along_the_straight_line_and_leaving_begins_anywhere():
    other = MODEL.init(jax.random.key(2), {})
    apart = jax.tree.map(jnp.subtract, POSITION, other)
    jax.tree.map(np.testing.assert_array_equal, gradient(objectives.reach(), POSITION, other), apart)
    away = gradient(objectives.leave(), POSITION, other)
    jax.tree.map(lambda one, two: np.testing.assert_allclose(one, -two, atol=2e-6), away, apart)
    starts = [gradient(objectives.leave(), POSITION, POSITION, jax.random.key(seed)) for seed in (0, 0, 1)]
    norms = [float(trees.norm(start)) for start in starts]
    np.testing.assert_allclose(norms, objectives.AWAY, rtol=1e-4)
    flat = [np.concatenate([leaf.ravel() for leaf in jax.tree.leaves(start)]) for start in starts]
    assert np.array_equal(flat[0], flat[1])
    assert abs(flat[0] @ flat[2]) < 0.5 * norms[0] * norms[2]


def test_a_batch_is_drawn_by_the_key_and_all_rows_need_none():
    whole = cross_entropy(MODEL.apply, POSITION, {}, ROWS)
    for size in (None, 40, 100):
        value = objectives.new_task(MODEL, {}, "classification", size)(KEY, POSITION, ROWS)
        np.testing.assert_allclose(value, whole, rtol=1e-6)
    objective = jax.jit(objectives.new_task(MODEL, {}, "classification", 8))
    values = np.array([objective(jax.random.key(seed), POSITION, ROWS) for seed in range(200)])
    assert len(set(values)) > 190
    assert abs(values.mean() - whole) < 4 * values.std() / np.sqrt(200)


def test_disagreement_is_the_cosine_of_outputs():
    outputs = MODEL.apply(POSITION, {}, ROWS.inputs)
    objective = objectives.disagree(MODEL, {})
    for members, expected in (((outputs, 2 * outputs), 1.0), ((outputs, -outputs), 0.0)):
        value = objective(KEY, POSITION, (ROWS.inputs, jnp.stack(members)))
        np.testing.assert_allclose(value, expected, atol=1e-6)
    at_itself = gradient(objective, POSITION, (ROWS.inputs, outputs[None]))
    elsewhere = gradient(objective, POSITION, (ROWS.inputs, MODEL.apply(MODEL.init(KEY, {}), {}, ROWS.inputs)[None]))
    assert trees.norm(at_itself) < 1e-5 * trees.norm(elsewhere)


def test_an_attack_raises_the_loss_by_its_radius_and_radius_zero_is_the_loss():
    loss = objectives.new_task(MODEL, {}, "classification")(KEY, POSITION, ROWS)
    values = [
        float(objectives.robust(MODEL, {}, "classification", radius)(KEY, POSITION, ROWS))
        for radius in (0.0, 0.01, 0.1)
    ]
    np.testing.assert_allclose(values[0], loss, rtol=1e-6)
    assert values[0] < values[1] < values[2]
    # To first order a signed step raises the loss by the radius times the sum of the slopes' magnitudes.
    slopes = jax.grad(lambda x: cross_entropy(MODEL.apply, POSITION, {}, Split(x, ROWS.targets)))(ROWS.inputs)
    np.testing.assert_allclose(values[1] - values[0], 0.01 * jnp.sum(jnp.abs(slopes)), rtol=0.05)
    attacked = objectives.attack(MODEL, {}, "classification", POSITION, ROWS, 0.1)
    np.testing.assert_allclose(np.max(np.abs(attacked.inputs - ROWS.inputs)), 0.1, rtol=1e-5)
    with pytest.raises(InputError, match="graph"):
        graph = Graph(*(np.zeros(shape, np.float32) for shape in ((2, 4), 0, 0, 2)))
        objectives.robust(MODEL, {}, "classification", 0.1)(KEY, POSITION, Split(graph, np.zeros(2, int)))


def test_a_sum_is_weighted_and_each_part_has_its_data():
    other = jax.tree.map(jnp.zeros_like, POSITION)
    both = objectives.combine([objectives.reach(), objectives.new_task(MODEL, {}, "classification")], [2.0, 0.5])
    parts = trees.norm(POSITION) ** 2 + 0.5 * cross_entropy(MODEL.apply, POSITION, {}, ROWS)
    np.testing.assert_allclose(both(KEY, POSITION, (other, ROWS)), parts, rtol=1e-6)
    with pytest.raises(InputError, match="1 objectives and 2 weights"):
        objectives.combine([objectives.reach()], [1.0, 2.0])
