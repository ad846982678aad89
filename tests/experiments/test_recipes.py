"""Recipes that are drawn for each network: their ranges, and that training follows them."""

from dataclasses import replace
from functools import partial

import jax
import numpy as np
import pytest
from model_of import model_of

from asymjax import data, rng
from asymjax.errors import InputError
from asymjax.models import draw_frozen
from asymjax.rng import SeedConfig
from asymjax.train.members import drawn_recipes, initial_positions, make_trainer, make_training
from asymjax.train.optimizers import OptimizerConfig
from asymjax.train.trainer import Member
from asymjax.types import Split

SEEDS = SeedConfig(init_seed=3, seed=5)
DRAWN = OptimizerConfig(
    learning_rate=0.05,
    weight_decay=0.1,
    label_smoothing=0.2,
    recipe="drawn",
    schedule="linear",
    warmup_steps=2,
    num_epochs=3,
    batch_size=16,
)


@pytest.fixture(scope="module")
def dataset():
    dataset = data.load("digits")
    return dataset._replace(train=Split(*(part[:64] for part in dataset.train)))


@pytest.fixture(scope="module")
def network(dataset):
    model = model_of("w_asym", widths=(5,), norm="none").build(dataset.input_shape, 10)
    return model, draw_frozen(model, 0)


def test_recipes_are_drawn_over_their_ranges():
    drawn = drawn_recipes(replace(DRAWN, learning_rate=0.5), SEEDS, 2000)
    ranges = {"learning_rate": (0.005, 0.5), "weight_decay": (1e-5, 0.1), "label_smoothing": (0.0, 0.2)}
    assert drawn.keys() == ranges.keys()
    for name, (low, high) in ranges.items():
        values = drawn[name] if name == "label_smoothing" else np.log(drawn[name])
        low, high = (low, high) if name == "label_smoothing" else np.log((low, high))
        assert low <= values.min() and values.max() <= high
        # Uniform: four standard errors of a mean of 2000 are 0.026 of the range.
        assert abs(values.mean() - (low + high) / 2) < 0.026 * (high - low)
    assert abs(np.corrcoef(list(drawn.values())) - np.eye(3)).max() < 0.09


def test_what_is_drawn_for_a_network_does_not_depend_on_their_number():
    few, many = (drawn_recipes(DRAWN, SEEDS, count) for count in (2, 7))
    for name, values in few.items():
        np.testing.assert_array_equal(values, many[name][:2])


def test_a_shared_recipe_draws_nothing_and_zero_stays_zero():
    assert drawn_recipes(replace(DRAWN, recipe="shared"), SEEDS, 3) == {}
    plain = replace(DRAWN, weight_decay=0.0, label_smoothing=0.0)
    assert drawn_recipes(plain, SEEDS, 3).keys() == {"learning_rate"}


def test_a_network_trains_by_what_was_drawn_for_it(dataset, network):
    model, frozen = network
    seed, drawn = 1, drawn_recipes(DRAWN, SEEDS, 2)
    own = {name: float(values[seed]) for name, values in drawn.items()}

    def training_of(config):
        training = make_training(model, dataset, config, SEEDS, np.arange(2), {})
        member = jax.tree.map(lambda leaf: leaf[seed], training.members)
        train = jax.jit(training.trainer.train)
        return lambda member: train(member, frozen, dataset.train)[0].position, member

    (train, member), (plain, key) = training_of(DRAWN), training_of(replace(DRAWN, recipe="shared", **own))
    found, expected = train(member), plain(key)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5), found, expected)
    others = {"learning_rate": own["learning_rate"] / 2, "weight_decay": 1.0, "label_smoothing": 0.9}
    for name, value in others.items():
        other = train(member._replace(hyper=member.hyper | {name: np.float32(value)}))
        assert np.abs(found["output"]["kernel"] - other["output"]["kernel"]).max() > 1e-3


LENGTHS = replace(DRAWN, schedule="cosine", num_epochs=5, min_epochs=2)


def test_lengths_are_drawn_over_their_range_beside_the_same_recipes():
    drawn = drawn_recipes(LENGTHS, SEEDS, 400)
    lengths, counts = np.unique(drawn.pop("num_epochs"), return_counts=True)
    assert lengths.tolist() == [2, 3, 4, 5] and lengths.dtype == np.int32
    assert counts.min() > 65  # Four standard deviations of a count are 35.
    plain = drawn_recipes(replace(LENGTHS, min_epochs=None), SEEDS, 400)
    assert plain.keys() == drawn.keys()
    for name, values in plain.items():
        np.testing.assert_array_equal(drawn[name], values)


@pytest.mark.parametrize("batch_size", [16, None])
def test_a_network_that_is_done_rests_where_training_of_its_own_length_ends(dataset, network, batch_size):
    model, frozen = network
    config = replace(LENGTHS, batch_size=batch_size, warmup_steps=1)
    training = make_training(model, dataset, config, SEEDS, np.arange(1), {})
    train = jax.jit(training.trainer.train)
    member = jax.tree.map(lambda leaf: leaf[0], training.members)
    hyper = member.hyper | {"num_epochs": np.int32(3)}
    state, losses = train(member._replace(hyper=hyper), frozen, dataset.train)
    alone = replace(config, num_epochs=3, min_epochs=None)
    known = {name: value for name, value in hyper.items() if name != "num_epochs"}
    alone_train = make_trainer(model, dataset, alone, known).train
    expected, own_losses = jax.jit(alone_train)(member._replace(hyper=known), frozen, dataset.train)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-6, atol=1e-7), state, expected)
    np.testing.assert_allclose(losses[:3], own_losses, rtol=1e-6)
    assert np.isnan(losses[3:]).all() and state.step == expected.step
    # The schedule is its own: one that ends later leaves the network elsewhere.
    longer, _ = train(member._replace(hyper=hyper | {"num_epochs": np.int32(5)}), frozen, dataset.train)
    assert np.abs(longer.position["output"]["kernel"] - state.position["output"]["kernel"]).max() > 1e-3


def test_a_network_rests_whatever_the_chunks(dataset, network):
    model, frozen = network
    trainer = make_trainer(model, dataset, LENGTHS, drawn_recipes(LENGTHS, SEEDS, 1))
    members = make_training(model, dataset, LENGTHS, SEEDS, np.arange(1), {}).members
    member = jax.tree.map(lambda leaf: leaf[0], members)
    member = member._replace(hyper=member.hyper | {"num_epochs": np.int32(2)})
    whole, losses = jax.jit(trainer.train)(member, frozen, dataset.train)
    state, found = jax.jit(trainer.init)(member, frozen), []
    advance = jax.jit(trainer.advance, static_argnums=4)
    for _ in range(5):
        state, loss = advance(member, state, frozen, dataset.train, 1)
        found.append(loss[0])
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6), state, whole)  # Two programs.
    np.testing.assert_allclose(found, losses, rtol=1e-5)


def test_a_shared_start_leaves_orders_and_recipes_as_they_were(dataset, network):
    model, frozen = network

    def begin(start):
        training = make_training(model, dataset, DRAWN, SEEDS, np.arange(3), {}, start)
        state = jax.jit(jax.vmap(training.trainer.init, (0, None)))(training.init_members, frozen)
        return state.position, training.members

    (own, members), (shared, same_members) = begin("own"), begin("shared")
    jax.tree.map(lambda leaf, first: np.testing.assert_array_equal(leaf, np.repeat(first[:1], 3, 0)), shared, own)
    assert np.abs(own["output"]["kernel"][0] - own["output"]["kernel"][1]).max() > 0.1
    np.testing.assert_array_equal(*(jax.random.key_data(each.key) for each in (members, same_members)))
    assert len(np.unique(jax.random.key_data(members.key), axis=0)) == 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"min_epochs": 6}, "min_epochs is 6, num_epochs is 5; give at most as many"),
        ({"recipe": "shared"}, "min_epochs is 2, but recipe is shared"),
        ({"warmup_steps": 8}, "warmup_steps is 8, but there are 8 steps"),
    ],
)
def test_lengths_that_cannot_be_are_refused(dataset, network, settings, message):
    with pytest.raises(InputError, match=message):
        make_trainer(network[0], dataset, replace(LENGTHS, **settings))


def test_starts_are_those_of_training(dataset, network):
    model, frozen = network
    starts = initial_positions(model, frozen, SEEDS, 3)
    keys = rng.member_keys(rng.role_key(SEEDS.init_seed, "init"), 3)
    hyper = drawn_recipes(DRAWN, SEEDS, 3)
    trained = jax.jit(jax.vmap(make_trainer(model, dataset, DRAWN, hyper).init, (0, None)))(Member(keys, hyper), frozen)
    jax.tree.map(np.testing.assert_array_equal, starts, trained.position)


def test_what_cannot_be_drawn_or_smoothed_is_refused(network):
    model, _ = network
    diabetes = data.load("diabetes")
    with pytest.raises(InputError, match=r"label_smoothing is 0\.2, but diabetes has no classes"):
        make_trainer(model, diabetes, DRAWN)
    for name, value in (("num_epochs", 0), ("batch_size", 0), ("batch_size", 1259)):
        with pytest.raises(InputError, match=f"{name} is {value}.*; give "):
            make_trainer(model, data.load("digits"), replace(DRAWN, **{name: value}))
    with pytest.raises(InputError, match="sgd has no weight decay"):
        make_trainer(model, data.load("digits"), replace(DRAWN, optimizer="sgd"))
