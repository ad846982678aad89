"""The group of unit permutations: its laws, its action on networks, and gates that go along."""

import math

import jax
import numpy as np
import pytest
from model_of import model_of

from asymjax import rng, trees
from asymjax.models import draw_frozen
from asymjax.symmetry import (
    all_permutations,
    compose,
    identity,
    invert,
    log_group_order,
    permute,
    permute_frozen,
    random_permutations,
)

BACKBONES = {"mlp": (7,), "cnn": (8, 8, 2)}


def network(backbone, arch="standard", widths=(5, 6), norm="layer"):
    """Model, constants, effective parameters, inputs."""
    shape = BACKBONES[backbone]
    model = model_of(arch, backbone, widths=widths, norm=norm, num_fixed=(2,)).build(shape, 3)
    frozen = draw_frozen(model, 0)
    position = jax.jit(model.init)(rng.role_key(0, "init"), frozen)
    return model, frozen, model.merge(position, frozen), jax.random.normal(jax.random.key(9), (11, *shape))


@pytest.fixture(scope="module", params=BACKBONES)
def group(request):
    """Specification, parameters, and fifty triples of random elements."""
    model, _, params, _ = network(request.param)
    spec = model.permutation_spec
    draw = jax.jit(jax.vmap(lambda key: random_permutations(key, params, spec)))
    drawn = trees.to_host(draw(jax.random.split(jax.random.key(1), 150)))
    elements = [{name: rows[i] for name, rows in drawn.items()} for i in range(150)]
    return spec, params, list(zip(elements[::3], elements[1::3], elements[2::3], strict=True))


def assert_equal(one, other):
    jax.tree.map(np.testing.assert_array_equal, dict(one), dict(other))


def test_group_laws(group):
    spec, params, triples = group
    neutral = identity(params, spec)
    for a, b, c in triples:
        assert_equal(compose(compose(a, b), c), compose(a, compose(b, c)))
        assert_equal(compose(a, invert(a)), neutral)
        assert_equal(compose(invert(a), a), neutral)
        assert_equal(invert(compose(a, b)), compose(invert(b), invert(a)))
        assert_equal(compose(a, neutral), a)
        assert_equal(compose(neutral, a), a)


def test_the_group_acts_on_parameters(group):
    spec, params, triples = group
    assert_equal(permute(params, spec, identity(params, spec)), params)
    for a, b, _ in triples[:10]:
        assert_equal(permute(permute(params, spec, a), spec, b), permute(params, spec, compose(a, b)))
        assert_equal(permute(permute(params, spec, a), spec, invert(a)), params)


def test_a_name_left_out_is_the_identity(group):
    spec, params, triples = group
    a, b, _ = triples[0]
    first, last = list(a)
    partial = compose({first: a[first]}, {last: b[last]})
    assert_equal(
        permute(params, spec, partial), permute(permute(params, spec, {first: a[first]}), spec, {last: b[last]})
    )
    assert_equal(compose(a, {}), a)
    assert_equal(compose({}, a), a)


def test_random_elements_are_uniform_and_the_order_counts_them():
    model, _, params, _ = network("mlp", widths=(3, 2))
    assert log_group_order(params, model.permutation_spec) == pytest.approx(math.log(6 * 2))
    draw = jax.jit(jax.vmap(lambda key: random_permutations(key, params, model.permutation_spec)))
    drawn = draw(jax.random.split(jax.random.key(0), 6000))
    rows = np.concatenate([drawn["units_0"], drawn["units_1"]], axis=1)
    elements, counts = np.unique(rows, axis=0, return_counts=True)
    assert len(elements) == len(all_permutations(3)) * len(all_permutations(2))
    # Five standard errors of a binomial count with mean 500.
    assert np.abs(counts - 500).max() < 5 * (6000 / 12 * 11 / 12) ** 0.5


@pytest.mark.parametrize(
    ("backbone", "arch"), [("mlp", "standard"), ("mlp", "w_asym"), ("mlp", "sigma_asym"), ("cnn", "sigma_asym")]
)
def test_permuted_parameters_with_conjugated_gates_are_the_same_function(backbone, arch):
    model, frozen, params, x = network(backbone, arch)
    permutations = random_permutations(jax.random.key(3), params, model.permutation_spec)
    permuted = permute(params, model.permutation_spec, permutations)
    conjugated = permute_frozen(frozen, model.permutation_spec, permutations)
    forward = jax.jit(model.forward)
    outputs = forward(params, frozen, x)
    np.testing.assert_allclose(forward(permuted, conjugated, x), outputs, rtol=1e-5, atol=1e-5)
    changed = np.abs(forward(permuted, frozen, x) - outputs).max()
    assert (changed > 1e-3) == (arch == "sigma_asym")


def test_conjugation_is_p_f_p_transposed():
    model, frozen, params, _ = network("mlp", "sigma_asym")
    permutations = random_permutations(jax.random.key(3), params, model.permutation_spec)
    conjugated = permute_frozen(frozen, model.permutation_spec, permutations)
    matrix = np.eye(5)[np.asarray(permutations["units_0"])]
    # A gate is stored as F^T.
    expected = (matrix @ np.asarray(frozen["act_0"]["gate"]).T @ matrix.T).T
    np.testing.assert_allclose(conjugated["act_0"]["gate"], expected, rtol=1e-6)
    assert_equal(permute_frozen(conjugated, model.permutation_spec, invert(permutations)), frozen)
    assert_equal(
        permute_frozen(frozen, model.permutation_spec, {"units_1": permutations["units_1"]})["act_0"], frozen["act_0"]
    )
