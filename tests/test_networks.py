"""Sweeps, alignment and barriers in memory."""

import jax
import numpy as np
import optax
import pytest
from flax import linen as nn
from model_of import model_of

import asymjax
from asymjax.errors import InputError
from asymjax.models import draw_frozen
from asymjax.symmetry import permute, random_permutations

NUMBERS = np.random.default_rng(0)
X = NUMBERS.normal(size=(64, 6))
LABELS = (X[:, 0] > 0).astype(int)
QUIET = {"show_progress": False}


def make_other(params):
    """Parameters of one input less."""
    return params | {"dense_0": {**params["dense_0"], "kernel": params["dense_0"]["kernel"][:-1]}}


def make_model(arch="standard"):
    return model_of(arch, widths=(8,), norm="none", num_fixed=(2,)).build((6,), 2)


def test_a_sweep_learns_and_a_network_is_the_one_that_it_is_alone():
    options = {"num_epochs": 20, "batch_size": 16, **QUIET}
    swept = asymjax.train_sweep(jax.random.key(0), make_model("w_asym"), (X, LABELS), num_seeds=3, **options)
    assert swept.losses.shape == (3, 20) and list(swept.epochs) == list(range(1, 21))
    assert np.all(swept.losses[:, -1] < swept.losses[:, 0])
    alone = asymjax.train_sweep(jax.random.key(0), make_model("w_asym"), (X, LABELS), num_seeds=1, **options)
    np.testing.assert_array_equal(swept.position["dense_0"]["kernel"][:1], alone.position["dense_0"]["kernel"])
    assert swept.params["dense_0"]["kernel"].shape == (3, 6, 8)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 65}, "batch_size is 65, but there are 64 rows"),
        ({"batch_size": 7.5}, "batch_size is 7.5; give a whole number"),
        ({"num_epochs": 0}, "num_epochs is 0; give a number in"),
        ({"num_seeds": True}, "True networks or chains asked for; give a whole number"),
        ({"key": 0}, "key is 0; give one"),
        ({"frozen": {}}, "frozen has {}; the model fixes {'dense_0/kernel/fixed_value': "),
    ],
)
def test_what_makes_no_sweep_is_refused(settings, message):
    given = {"key": jax.random.key(0), "model": make_model("w_asym"), "data": (X, LABELS), **QUIET} | settings
    with pytest.raises(InputError, match=message):
        asymjax.train_sweep(**given)


def test_alignment_measures_the_departure_without_being_given_constants():
    model = make_model("w_asym")
    frozen = draw_frozen(model, 0)
    network = model.merge(model.init(jax.random.key(0), frozen), frozen)
    apart = random_permutations(jax.random.key(1), network, model.permutation_spec)
    other = permute(network, model.permutation_spec, apart)
    departures = [asymjax.align(model, other, network, *given).departure for given in ((), (frozen,))]
    assert departures[0] == departures[1] > 0


def test_alignment_undoes_a_permutation_and_the_barrier_with_it():
    model = make_model()
    options = {"num_seeds": 1, "num_epochs": 20, "batch_size": None, "optimizer": optax.adam(0.1), **QUIET}
    trained = asymjax.train_sweep(jax.random.key(0), model, (X, LABELS), **options)
    a = jax.tree.map(lambda leaf: leaf[0], trained.params)
    b = permute(a, model.permutation_spec, random_permutations(jax.random.key(1), a, model.permutation_spec))
    aligned = asymjax.align(model, a, b)
    jax.tree.map(np.testing.assert_array_equal, aligned.params, a)
    assert aligned.departure == 0
    both = asymjax.align(model, a, jax.tree.map(lambda *leaves: np.stack(leaves), b, a))
    jax.tree.map(lambda many, one: np.testing.assert_array_equal(many, np.stack([one, one])), both.params, a)
    assert both.departure.tolist() == [0, 0]
    with pytest.raises(InputError, match="two networks match only with the same parameters"):
        asymjax.align(model, a, make_other(a))

    def barrier(other):
        pair = jax.tree.map(lambda *leaves: np.stack(leaves), a, other)
        return asymjax.barriers(model, pair, (X, LABELS), num_points=5)

    apart, together = barrier(b), barrier(aligned.params)
    assert apart["pairs"].tolist() == [[0, 1]] and apart["loss"].shape == (1, 5)
    assert apart["maximum"][0] > 1e-3 > together["maximum"][0]
    with pytest.raises(InputError, match="params hold 1 network"):
        asymjax.barriers(model, jax.tree.map(lambda leaf: leaf[None], a), (X, LABELS))
    ragged = jax.tree.map(lambda leaf: np.stack([leaf] * (2 + (leaf.ndim == 1))), a)
    for params in (a, ragged, [a, b]):
        with pytest.raises(InputError, match=r"params have leaves .*, with \[network\] before each"):
            asymjax.barriers(model, params, (X, LABELS))


def test_paths_between_aligned_networks_with_gates_end_in_their_functions():
    model = asymjax.from_flax(nn.Sequential([nn.Dense(6), nn.relu, nn.Dense(1)]), np.zeros((2, 3)), asymjax.SigmaAsym())
    X = np.random.default_rng(0).normal(size=(20, 3))
    frozen = draw_frozen(model, 0)
    keys = jax.random.split(jax.random.key(0), 3)
    networks = jax.vmap(lambda key: model.merge(model.init(key, frozen), frozen))(keys)
    first = jax.tree.map(lambda leaf: leaf[0], networks)
    aligned = asymjax.align(model, first, networks, frozen)
    plain, found = (
        asymjax.barriers(model, params, (X, X[:, :1]), constants, num_points=3)["loss"]
        for params, constants in ((networks, frozen), (aligned.params, aligned.frozen))
    )
    np.testing.assert_allclose(found[:, [0, -1]], plain[:, [0, -1]], rtol=1e-5)
    assert not np.allclose(found[:, 1], plain[:, 1], rtol=1e-3)
    with pytest.raises(InputError):  # Gates of other networks, or of one.
        asymjax.barriers(model, networks, (X, X[:, :1]), jax.tree.map(lambda leaf: leaf[:2], aligned.frozen))
