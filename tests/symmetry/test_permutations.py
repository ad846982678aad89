"""The group of unit permutations: its laws, its action on networks, and gates that go along."""

import math

import jax
import numpy as np
import pytest
from model_of import drawn_constants, drawn_position, model_of

from asymjax import trees
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
    model = model_of(arch, backbone, widths=widths, norm=norm, num_fixed=(2, 0, 0)).build(shape, 3)
    frozen = drawn_constants(model)
    params = trees.to_host(jax.jit(model.merge)(drawn_position(model, frozen), frozen))
    return model, frozen, params, np.random.default_rng(9).standard_normal((11, *shape), "float32")


@pytest.fixture(scope="module", params=BACKBONES)
def group(request):
    """Specification, parameters, fifty triples of random elements, and their action, compiled."""
    model, _, params, _ = network(request.param)
    spec = model.permutation_spec
    draw = jax.jit(jax.vmap(lambda key: random_permutations(key, params, spec)))
    drawn = trees.to_host(draw(jax.random.split(jax.random.key(1), 150)))
    elements = [{name: rows[i] for name, rows in drawn.items()} for i in range(150)]
    triples = list(zip(elements[::3], elements[1::3], elements[2::3], strict=True))
    return spec, params, triples, jax.jit(lambda params, element: permute(params, spec, element))


def assert_equal(one, other):
    jax.tree.map(np.testing.assert_array_equal, dict(one), dict(other))


def test_group_laws(group):
    spec, params, triples, _ = group
    neutral = identity(params, spec)
    for a, b, c in triples:
        assert_equal(compose(compose(a, b), c), compose(a, compose(b, c)))
        assert_equal(compose(a, invert(a)), neutral)
        assert_equal(compose(invert(a), a), neutral)
        assert_equal(invert(compose(a, b)), compose(invert(b), invert(a)))
        assert_equal(compose(a, neutral), a)
        assert_equal(compose(neutral, a), a)


def test_the_group_acts_on_parameters(group):
    spec, params, triples, act = group
    neutral = jax.tree.map(np.int32, identity(params, spec))
    assert_equal(act(params, neutral), params)
    for a, b, _ in triples[:10]:
        assert_equal(act(act(params, a), b), act(params, compose(a, b)))
        assert_equal(act(act(params, a), invert(a)), params)


def test_a_name_left_out_is_the_identity(group):
    _, params, triples, act = group
    a, b, _ = triples[0]
    first, last = list(a)
    partial = compose({first: a[first]}, {last: b[last]})
    assert_equal(act(params, partial), act(act(params, {first: a[first]}), {last: b[last]}))
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
    spec = model.permutation_spec

    @jax.jit
    def move(key):
        element = random_permutations(key, params, spec)
        return permute(params, spec, element), permute_frozen(frozen, spec, element)

    forward = jax.jit(model.forward)
    permuted, conjugated = move(jax.random.key(3))
    outputs = forward(params, frozen, x)
    # Sums of up to 45 terms of order one, in another order, through two norms.
    np.testing.assert_allclose(forward(permuted, conjugated, x), outputs, rtol=1e-4, atol=1e-4)
    changed = np.abs(forward(permuted, frozen, x) - outputs).max()
    assert (changed > 1e-2) == (arch == "sigma_asym")


def test_conjugation_is_p_f_p_transposed():
    model, generator = model_of("sigma_asym", "mlp", widths=(5, 6)).build((7,), 3), np.random.default_rng(3)
    spec = model.permutation_spec
    frozen = {f"act_{i}": {"gate": generator.standard_normal((n, n), "float32")} for i, n in enumerate((5, 6))}
    permutations = {"units_0": generator.permutation(5), "units_1": generator.permutation(6)}
    conjugated = trees.to_host(permute_frozen(frozen, spec, permutations))
    for i in (0, 1):
        matrix = np.eye(5 + i)[permutations[f"units_{i}"]]
        # A gate is stored as F^T.
        expected = (matrix @ frozen[f"act_{i}"]["gate"].T @ matrix.T).T
        np.testing.assert_array_equal(conjugated[f"act_{i}"]["gate"], expected)
    assert_equal(permute_frozen(conjugated, spec, invert(permutations)), frozen)
    assert_equal(permute_frozen(frozen, spec, {"units_1": permutations["units_1"]})["act_0"], frozen["act_0"])
