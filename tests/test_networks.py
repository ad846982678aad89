"""Sweeps, alignment and barriers in memory."""

import jax
import numpy as np
import optax
import pytest
from asymjax.config import ModelConfig

import asymjax
from asymjax.errors import InputError
from asymjax.symmetry import random_permutations

NUMBERS = np.random.default_rng(0)
X = NUMBERS.normal(size=(64, 3))
LABELS = (X[:, 0] > 0).astype(int)
QUIET = {"show_progress": False}


def model_of(arch="standard"):
    return asymjax.build_model(ModelConfig(arch, widths=(8,), norm="none", num_fixed=(1,)), (3,), 2)


def test_a_sweep_learns_and_a_network_is_the_one_that_it_is_alone():
    options = {"num_epochs": 20, "batch_size": 16, **QUIET}
    swept = asymjax.train_sweep(jax.random.key(0), model_of("w_asym"), (X, LABELS), num_seeds=3, **options)
    assert swept.losses.shape == (3, 20) and list(swept.epochs) == list(range(1, 21))
    assert np.all(swept.losses[:, -1] < swept.losses[:, 0])
    alone = asymjax.train_sweep(jax.random.key(0), model_of("w_asym"), (X, LABELS), num_seeds=1, **options)
    np.testing.assert_array_equal(swept.position["dense_0"]["kernel"][:1], alone.position["dense_0"]["kernel"])
    assert swept.params["dense_0"]["kernel"].shape == (3, 3, 8)
    with pytest.raises(InputError, match="batch_size is 65, but there are 64 rows"):
        asymjax.train_sweep(jax.random.key(0), model_of(), (X, LABELS), batch_size=65)


def test_alignment_undoes_a_permutation_and_the_barrier_with_it():
    model = model_of()
    options = {"num_seeds": 1, "num_epochs": 20, "batch_size": None, "optimizer": optax.adam(0.1), **QUIET}
    trained = asymjax.train_sweep(jax.random.key(0), model, (X, LABELS), **options)
    a = jax.tree.map(lambda leaf: leaf[0], trained.params)
    b = asymjax.permute(a, model.permutation_spec, random_permutations(jax.random.key(1), a, model.permutation_spec))
    aligned = asymjax.align(model, a, b)
    jax.tree.map(np.testing.assert_array_equal, aligned.params, a)
    assert aligned.departure == 0

    def barrier(other):
        pair = jax.tree.map(lambda *leaves: np.stack(leaves), a, other)
        return asymjax.barriers(model, pair, (X, LABELS), num_points=5)

    apart, together = barrier(b), barrier(aligned.params)
    assert apart["pairs"].tolist() == [[0, 1]] and apart["loss"].shape == (1, 5)
    assert apart["maximum"][0] > 1e-3 > together["maximum"][0]
    with pytest.raises(InputError, match="params hold 1 network"):
        asymjax.barriers(model, jax.tree.map(lambda leaf: leaf[None], a), (X, LABELS))
