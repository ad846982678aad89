"""Which entries are pruned: counts, ranks and ties, and a planted support that iterative pruning finds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from asymjax import trees
from asymjax.errors import InputError
from asymjax.models import ModelConfig
from asymjax.models.backbones import MLP
from asymjax.sparse.masks import full_mask, prunable
from asymjax.sparse.pruning import SCORES, counts_left, plan_pruning, prune, prune_to, rounds_to
from asymjax.types import Split

PATHS = ("a", "b")
SCORE = {"a": jnp.array([[3.0, 1.0], [1.0, 2.0]]), "b": jnp.array([0.5, 9.0, 1.0]), "bias": jnp.array([0.0])}


def test_a_fifth_of_what_is_left_goes_each_round():
    exact = [1 - 0.8**number for number in range(11)]
    np.testing.assert_allclose(1 - np.array(counts_left(5**12, 0.2, 10)) / 5**12, exact, atol=1e-7)
    assert counts_left(7, 0.2, 4) == [7, 5, 4, 3, 2]  # Rounded up, so that something always goes.
    assert counts_left(5, 0.2, 1) == [5, 4]  # 0.2 is a fifth, though 0.2 * 5 rounds to a little more.
    assert [rounds_to(sparsity, 0.2) for sparsity in (0.2, 0.59, 0.87, 0.965)] == [1, 4, 9, 15]


def test_the_smallest_of_all_leaves_go_and_of_equal_ones_the_first():
    kept = prune(SCORE, full_mask(SCORE), PATHS, 4)
    assert kept["a"].tolist() == [[True, False], [False, True]]
    assert kept["b"].tolist() == [False, True, True]
    assert kept["bias"].tolist() == [True]


def test_masks_are_nested_and_counts_exact_when_traced():
    scores = {"a": jax.random.normal(jax.random.key(0), (13, 7)), "b": jax.random.normal(jax.random.key(1), (31,))}
    step = jax.jit(lambda kept, left: prune(scores, kept, PATHS, left))
    kept = full_mask(scores)
    for left in counts_left(13 * 7 + 31, 0.2, 12)[1:]:
        after = step(kept, left)
        assert sum(int(keep.sum()) for keep in jax.tree.leaves(after)) == left
        assert all(jnp.all(before | ~new) for before, new in zip(*map(jax.tree.leaves, (kept, after)), strict=True))
        kept = after


def test_what_was_pruned_stays_pruned_whatever_its_score():
    kept = {"a": jnp.array([[False, True], [True, True]]), "b": jnp.ones(3, bool), "bias": jnp.ones(1, bool)}
    assert not prune(SCORE, kept, PATHS, 5)["a"][0, 0]
    scores = SCORE | {"b": jnp.array([jnp.nan, 9.0, -jnp.inf])}
    assert prune(scores, kept, PATHS, 4)["b"].tolist() == [False, True, False]


def test_layers_compete_or_each_keeps_its_share():
    model = ModelConfig(backbone=MLP((5,), norm="none")).build((7,), 3)
    position = model.init(jax.random.key(0), {})
    scores = jax.tree.map(jnp.abs, position)
    for scope, groups in (("global", 1), ("layer", 2)):
        plan = plan_pruning(model, 0.2, 6, scope)
        assert plan.left.shape == (7, groups) and plan.counts[0] == 7 * 5 + 5 * 3
        kept = trees.flatten(prune_to(plan, scores, full_mask(position), jnp.asarray(6)))
        left = {path: int(keep.sum()) for path, keep in kept.items() if path.endswith("kernel")}
        assert sum(left.values()) == plan.counts[6]
        if scope == "layer":
            assert left == {path: counts_left(kept[path].size, 0.2, 6)[-1] for path in left}


def test_fewer_weights_than_layers_and_networks_without_kernels_are_refused():
    model = ModelConfig(backbone=MLP((5,), norm="none")).build((7,), 3)
    with pytest.raises(InputError, match="of 50 weights are left, fewer than the 2 layers"):
        plan_pruning(model, 0.5, 20)
    with pytest.raises(InputError, match="no kernel that is trained"):
        plan_pruning(model._replace(symmetries=model.symmetries._replace(layers={})), 0.2, 1)


@pytest.fixture(scope="module")
def linear():
    """Return a linear model, rows of an orthogonal design, and the support of the teacher."""
    model = ModelConfig(backbone=MLP((), norm="none")).build((64,), 1)
    design, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(64, 64)))
    teacher = np.zeros(64)
    teacher[::9] = np.linspace(0.5, 2, 8) * np.array([1, -1] * 4)
    inputs = (8 * design).astype(np.float32)
    return model, Split(inputs, (inputs @ teacher[:, None]).astype(np.float32)), teacher != 0


def test_iterative_pruning_finds_a_planted_support_and_random_pruning_does_not(linear):
    model, rows, support = linear
    position = model.init(jax.random.key(1), {})
    kept, paths = full_mask(position), prunable(model)
    (path,) = paths

    @jax.jit
    def trained(kept):
        def loss(position):
            masked = jax.tree.map(lambda leaf, keep: leaf * keep, position, kept)
            return jnp.mean(jnp.square(model.apply(masked, {}, rows.inputs) - rows.targets))

        return jax.lax.fori_loop(
            0, 300, lambda _, p: jax.tree.map(lambda a, g: a - 0.2 * g, p, jax.grad(loss)(p)), position
        )

    by_chance = kept
    for left in [*counts_left(64, 0.2, 8)[1:], 8]:
        scores = jax.tree.map(jnp.abs, trained(kept))
        kept = prune(scores, kept, paths, left)
        random = SCORES["random"](jax.random.key(left), position, model, {}, rows, "regression")
        by_chance = prune(random, by_chance, paths, left)
    assert (np.ravel(trees.flatten(kept)[path]) == support).all()
    assert not (np.ravel(trees.flatten(by_chance)[path]) == support).all()


def test_snip_is_the_change_of_the_loss_to_first_order(linear):
    model, rows, _ = linear
    position = model.init(jax.random.key(1), {})
    scores = trees.flatten(SCORES["snip"](jax.random.key(0), position, model, {}, rows, "regression"))
    (path,) = prunable(model)

    def loss(entry):
        leaves = trees.flatten(position)
        leaves |= {path: leaves[path].at[3, 0].set(entry)}
        return jnp.mean(jnp.square(model.apply(trees.unflatten(leaves), {}, rows.inputs) - rows.targets))

    weight = trees.flatten(position)[path][3, 0]
    slope = (loss(weight * 1.01) - loss(weight * 0.99)) / 0.02
    np.testing.assert_allclose(scores[path][3, 0], abs(slope), rtol=1e-2)
