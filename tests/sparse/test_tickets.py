"""Tickets: exact zeros under every optimizer, rewinding of the whole state, twins, and transfer of masks."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import asymjax
from asymjax import rng, trees
from asymjax.errors import DivergedError, InputError
from asymjax.models import ModelConfig
from asymjax.models.backbones import MLP
from asymjax.models.methods import METHODS
from asymjax.sparse.masks import apply_mask, effective_mask, full_mask, permuted_mask, prunable
from asymjax.sparse.pruning import SCORES, prune
from asymjax.sparse.tickets import Ticket, make_ticket_trainer, ticket_member
from asymjax.symmetry import permute, random_permutations
from asymjax.symmetry.connectivity import grid, instabilities, interpolate
from asymjax.train.losses import cross_entropy
from asymjax.train.optimizers import OPTIMIZERS
from asymjax.train.trainer import make_train
from asymjax.types import Split

NUM_ROWS, NUM_CLASSES = 96, 3
X = np.random.default_rng(0).normal(size=(NUM_ROWS, 6)).astype(np.float32)
Y = (
    (X[:, :NUM_CLASSES] + 0.3 * np.random.default_rng(1).normal(size=(NUM_ROWS, NUM_CLASSES)))
    .argmax(1)
    .astype(np.int32)
)
ROWS = Split(jnp.asarray(X), jnp.asarray(Y))
QUIET = {"show_progress": False, "num_epochs": 3, "batch_size": 16, "optimizer": optax.adam(0.05)}


def build(arch):
    model = ModelConfig(method=METHODS[arch](), backbone=MLP((8, 8), norm="none")).build((6,), NUM_CLASSES)
    return model, model.freeze(jax.random.key(0))


def half_mask(model, position):
    random = SCORES["random"](jax.random.key(3), position, model, {}, ROWS, "classification")
    sizes = [leaf.size for path, leaf in trees.flatten(position).items() if path in prunable(model)]
    return prune(random, full_mask(position), prunable(model), sum(sizes) // 2)


def trainer_of(model, optimizer, num_epochs=2, in_effective_weights=False):
    return make_ticket_trainer(
        model, lambda masked: make_train(masked, cross_entropy, optimizer, num_epochs, 16, in_effective_weights)
    )


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("arch", ["standard", "w_asym"])
def test_pruned_entries_stay_zero_to_the_bit(arch, name):
    model, frozen = build(arch)
    plain = make_train(model, cross_entropy, OPTIMIZERS[name](lambda step: 0.05, 0.1), 2, 16)
    state = plain.begin(jax.random.key(2), plain.init(jax.random.key(1), frozen), frozen, ROWS, 4)
    kept = half_mask(model, state.position)
    trainer = trainer_of(model, OPTIMIZERS[name](lambda step: 0.05, 0.1), in_effective_weights=name == "adamw")
    begun = trainer.init(Ticket(state, kept), frozen)
    after, _ = trainer.advance(ticket_member(jax.random.key(5), kept), begun, frozen, ROWS, 2)
    other, _ = trainer.advance(ticket_member(jax.random.key(6), kept), begun, frozen, ROWS, 2)
    assert any(jnp.any(a != b) for a, b in zip(*map(jax.tree.leaves, (after.position, begun.position)), strict=True))
    middle = interpolate(after.position, other.position, 0.3)
    for position in (begun.position, after.position, middle):
        jax.tree.map(np.testing.assert_array_equal, position, apply_mask(position, kept))
    survivors = jax.tree.map(lambda entry, keep: jnp.where(keep, entry, 0), state.position, kept)
    jax.tree.map(np.testing.assert_array_equal, begun.position, survivors)


def test_an_unpruned_ticket_is_the_dense_network_to_the_bit():
    model, frozen = build("standard")
    optimizer = optax.adam(0.01)
    plain, key = make_train(model, cross_entropy, optimizer, 4, 16), jax.random.key(2)
    state = plain.init(jax.random.key(1), frozen)
    start = plain.begin(key, state, frozen, ROWS, 2 * (NUM_ROWS // 16))
    whole, _ = plain.advance(key, start, frozen, ROWS, 2)
    through, _ = plain.advance(key, state, frozen, ROWS, 4)
    kept = full_mask(start.position)
    trainer = trainer_of(model, optimizer)
    ticket, _ = trainer.advance(ticket_member(key, kept), trainer.init(Ticket(start, kept), frozen), frozen, ROWS, 2)
    jax.tree.map(np.testing.assert_array_equal, ticket.position, whole.position)
    jax.tree.map(np.testing.assert_array_equal, whole.position, through.position)


@pytest.mark.parametrize("in_effective_weights", [False, True])
def test_the_first_steps_may_end_within_an_epoch(in_effective_weights):
    model, frozen = build("w_asym")
    optimizer, key = optax.adam(0.01), jax.random.key(2)
    plain = make_train(model, cross_entropy, optimizer, 1, 16, in_effective_weights)
    state = plain.init(jax.random.key(1), frozen)
    jax.tree.map(np.testing.assert_array_equal, plain.begin(key, state, frozen, ROWS, 0).position, state.position)
    found = plain.begin(key, state, frozen, ROWS, 9)
    position, moments = state.position, state.opt_state
    for step in range(9):
        epoch, batch = divmod(step, NUM_ROWS // 16)
        order = rng.permutation(jax.random.fold_in(rng.named_key(key, "order"), epoch), NUM_ROWS)
        rows = ROWS.take(order[16 * batch : 16 * (batch + 1)])
        slope = jax.grad(lambda at, rows=rows: cross_entropy(model.apply, at, frozen, rows))(position)
        updates, moments = optimizer.update(slope, moments)
        position = optax.apply_updates(position, updates)
    assert int(found.step) == 9
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5), found.position, position)


@pytest.fixture(scope="module")
def found():
    model, _ = build("standard")
    tickets = asymjax.find_tickets(jax.random.key(0), model, (X, Y), num_seeds=2, num_rounds=4, rewind_steps=5, **QUIET)
    return model, tickets, asymjax.train_twins(model, (X, Y), tickets, 4, show_progress=False)


def test_masks_of_rounds_are_nested_and_survivors_begin_where_they_were(found):
    model, tickets, twins = found
    for keep in jax.tree.leaves(tickets.kept):
        assert not np.any(keep[1:] & ~keep[:-1])
    sizes = sum(keep[0, 0].size for path, keep in trees.flatten(tickets.kept).items() if path in prunable(model))
    left = [
        sum(keep[i, 0].sum() for p, keep in trees.flatten(tickets.kept).items() if p in prunable(model))
        for i in range(5)
    ]
    np.testing.assert_allclose(1 - np.array(left) / sizes, tickets.sparsity)
    assert not np.array_equal(*(keep for keep in trees.flatten(tickets.kept)["dense_0/kernel"][-1]))
    for path, weights in trees.flatten(twins).items():
        keep = trees.flatten(tickets.kept)[path][4][:, None]
        assert np.all(weights[~np.broadcast_to(keep, weights.shape)] == 0)


def test_one_initialisation_does_not_depend_on_the_others(found):
    model, tickets, _ = found
    options = QUIET | {"num_seeds": 1, "num_rounds": 2, "rewind_steps": 5}
    alone = asymjax.find_tickets(jax.random.key(0), model, (X, Y), **options)
    jax.tree.map(lambda one, all: np.testing.assert_array_equal(one[:, 0], all[:3, 0]), alone.kept, tickets.kept)
    jax.tree.map(lambda one, all: np.testing.assert_array_equal(one[0], all[0]), alone.dense, tickets.dense)


def test_twins_differ_by_the_order_of_rows_alone(found):
    model, tickets, twins = found
    assert jax.tree.leaves(twins)[0].shape[:2] == (2, 3)
    first = jax.tree.map(lambda leaf: leaf[0], twins)
    assert asymjax.barriers(model, first, (X, Y))["loss"].std() > 0
    again = asymjax.train_twins(model, (X, Y), tickets, 4, show_progress=False)
    jax.tree.map(np.testing.assert_array_equal, twins, again)
    options = QUIET | {"num_seeds": 1, "num_rounds": 1, "batch_size": None, "optimizer": optax.sgd(0.1)}
    whole = asymjax.find_tickets(jax.random.key(0), model, (X, Y), **options)
    same = jax.tree.leaves(asymjax.train_twins(model, (X, Y), whole, 1, show_progress=False))
    assert all(np.array_equal(leaf[0, 0], leaf[0, 1]) for leaf in same)  # All rows in every step: there is no order.


def test_masks_may_be_sought_on_other_rows(found):
    model, tickets, _ = found
    few = (X[:20], Y[:20])
    options = QUIET | {"num_seeds": 2, "num_rounds": 4, "rewind_steps": 5}
    other = asymjax.find_tickets(jax.random.key(0), model, (X, Y), search_data=few, **options)
    jax.tree.map(np.testing.assert_array_equal, other.start.position, tickets.start.position)
    kernels = [trees.flatten(found.kept)["dense_1/kernel"][-1] for found in (other, tickets)]
    assert not np.array_equal(*kernels)


def test_a_search_on_other_rows_begins_with_a_fresh_optimizer(found):
    model, _, _ = found
    sgd = optax.inject_hyperparams(optax.sgd)(learning_rate=0.5)
    options = QUIET | {"num_seeds": 1, "num_rounds": 1, "optimizer": sgd}
    other = asymjax.find_tickets(jax.random.key(0), model, (X, Y), search_data=(X[:20], Y[:20]), **options)
    moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), other.dense, other.start.position)
    assert max(jax.tree.leaves(moved)) > 0.05


def test_no_twin_has_the_order_that_its_mask_was_found_in(found):
    model, tickets, _ = found
    dense = asymjax.train_twins(model, (X, Y), tickets, 0, show_progress=False)
    params = jax.vmap(model.merge, (0, None))(tickets.dense, tickets.frozen)
    for path, searched in trees.flatten(params).items():
        assert not any(np.array_equal(trees.flatten(dense)[path][0, twin], searched[0]) for twin in range(3))


def test_what_cannot_be_is_refused(found):
    model, tickets, _ = found
    with pytest.raises(InputError, match="these tickets have 0 to 4 rounds"):
        asymjax.train_twins(model, (X, Y), tickets, 5)
    with pytest.raises(InputError, match="two twins"):
        asymjax.train_twins(model, (X, Y), tickets, 4, num_twins=1)
    with pytest.raises(InputError, match="weights are left, fewer than the 3 layers"):
        asymjax.find_tickets(jax.random.key(0), model, (X, Y), num_rounds=40)
    for wrong in ({"pruned_share": 1}, {"num_seeds": 0}, {"num_rounds": 0}, {"rewind_steps": -1}):
        with pytest.raises(InputError, match="give a share between 0 and 1, a round and a seed"):
            asymjax.find_tickets(jax.random.key(0), model, (X, Y), **wrong)
    with pytest.raises(InputError, match="fill no batch"):
        asymjax.train_twins(model, (X[:5], Y[:5]), tickets, 1, show_progress=False)
    with pytest.raises(InputError, match="targets"):
        asymjax.train_twins(model, (X, X[:, :1] + 0.5), tickets, 1)


def test_networks_that_diverge_are_named(found):
    model, _, _ = found
    options = QUIET | {"num_seeds": 2, "num_rounds": 1}
    with pytest.raises(DivergedError, match="every network diverged, seed by seed in rounds"):
        asymjax.find_tickets(jax.random.key(0), model, (X, Y), **options | {"optimizer": optax.sgd(1e30)})


@pytest.mark.parametrize("arch", ["standard", "sigma_asym", "syre"])
def test_a_permuted_mask_keeps_the_permuted_weights(arch):
    model, frozen = build(arch)
    position = model.init(jax.random.key(1), frozen)
    kept = half_mask(model, position)
    params = model.merge(position, frozen)
    element = random_permutations(jax.random.key(4), params, model.permutation_spec)
    moved = permuted_mask(model, kept, frozen, element)
    expected = permute(effective_mask(model, kept, frozen), model.permutation_spec, element)
    jax.tree.map(np.testing.assert_array_equal, effective_mask(model, moved, frozen), expected)
    assert any(np.any(a != b) for a, b in zip(*map(jax.tree.leaves, (moved, kept)), strict=True))


def test_a_permuted_mask_of_fixed_entries_loses_what_is_moved_onto_them():
    model, frozen = build("w_asym")
    position = model.init(jax.random.key(1), frozen)
    kept = half_mask(model, position)
    identity = {name: np.arange(8) for name in ("hidden_0", "hidden_1")}
    names = random_permutations(jax.random.key(4), model.merge(position, frozen), model.permutation_spec)
    same = permuted_mask(model, kept, frozen, dict(zip(names, identity.values(), strict=True)))
    jax.tree.map(np.testing.assert_array_equal, same, kept)
    moved = permuted_mask(model, kept, frozen, names)
    assert sum(leaf.sum() for leaf in jax.tree.leaves(moved)) < sum(leaf.sum() for leaf in jax.tree.leaves(kept))


def test_the_path_between_convex_models_rises_by_half_the_difference_of_its_ends():
    model = ModelConfig(backbone=MLP((), norm="none")).build((6,), NUM_CLASSES)  # Softmax regression.
    ends = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(model.init(jax.random.key(seed), {}) for seed in (0, 1)))
    curves = asymjax.barriers(model, ends, (X, Y), num_points=31)["loss"]
    found = instabilities(grid(31), curves)
    np.testing.assert_allclose(found["over_mean"], abs(curves[:, 0] - curves[:, -1]) / 2, rtol=1e-6)
    np.testing.assert_allclose([found["over_line"], found["over_worse"]], 0, atol=1e-7)
    turned = instabilities(grid(31), curves[:, ::-1])
    jax.tree.map(lambda one, other: np.testing.assert_allclose(one, other, atol=1e-7), found, turned)


def test_instabilities_of_known_curves():
    points = grid(31)
    double_well = ((-1 + 2 * points) ** 2 - 1) ** 2
    convex = (1 - points) ** 2 * 3
    found = instabilities(points, np.stack([double_well, convex, convex[::-1]]))
    np.testing.assert_allclose(found["over_mean"], [1, 1.5, 1.5])  # |E1 - E2| / 2 of a convex one.
    np.testing.assert_allclose(found["over_line"], [1, 0, 0], atol=1e-12)
    np.testing.assert_allclose(found["over_worse"], [1, 0, 0], atol=1e-12)
