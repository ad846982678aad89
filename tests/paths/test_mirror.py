"""Reflections, the planes that they keep, and whether weight decay makes training fall onto them."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import lax
from jax.flatten_util import ravel_pytree
from model_of import drawn_constants, drawn_position, model_of

from asymjax import trees
from asymjax.errors import InputError
from asymjax.paths import mirror
from asymjax.symmetry import permute
from asymjax.train import make_train
from asymjax.train.losses import cross_entropy
from asymjax.types import Fixed, Perm, Product, Split

WIDTHS, NUM_INPUTS, NUM_OUTPUTS = (5, 4), 6, 2
KEY = jax.random.key(0)
ROUNDING = 3e-6  # Of parameters and outputs of about one.


def network(arch="standard", activation="tanh", **settings):
    known = {"norm": "none", "num_fixed": (1, 1, 1), "fixed_scale": (1.0,) * 3} | settings
    model = model_of(arch, widths=WIDTHS, activation=activation, **known).build((NUM_INPUTS,), NUM_OUTPUTS)
    frozen = drawn_constants(model)
    return model, frozen, jax.tree.map(jnp.asarray, drawn_position(model, frozen))


def rows(num_rows=32):
    generator = np.random.default_rng(3)
    inputs = generator.normal(size=(num_rows, NUM_INPUTS)).astype("float32")
    return Split(inputs, (inputs[:, 0] * inputs[:, 1] > 0).astype("int32"))


def flat(tree):
    return np.asarray(ravel_pytree(tree)[0])


def reflections(model, params):
    direction = np.random.default_rng(0).normal(size=4)
    return {
        "swap": mirror.swap(params, model.permutation_spec, "units_0", 1, 3),
        "flip": mirror.flip(params, model.permutation_spec, "units_1", 2),
        "turn": mirror.turn(params, model.permutation_spec, "units_1", direction),
    }


# Reflections ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["swap", "flip", "turn", "pair"])
def test_columns_are_orthonormal_and_the_collapsed_point_lies_on_the_plane(kind):
    model, _, params = network()
    twins = {"u": params["dense_1"]["kernel"], "w": jnp.cos(params["dense_1"]["kernel"])}
    params = twins if kind == "pair" else params
    found = mirror.pair(params, "u", "w", -1) if kind == "pair" else reflections(model, params)[kind]
    along = found.project(params)
    back = found.project(found.embed(along))
    assert all(np.allclose(back[path], along[path], atol=ROUNDING) for path in along)
    assert trees.norm(found.embed(along)) == pytest.approx(float(trees.norm(along)), rel=1e-5)
    assert trees.norm(found.project(mirror.collapse(found, params))) < ROUNDING
    twice = mirror.reflect(found, mirror.reflect(found, params))
    assert flat(twice) == pytest.approx(flat(params), abs=ROUNDING)
    assert trees.norm(mirror.reflect(found, params)) == pytest.approx(float(trees.norm(params)), rel=1e-5)


def test_a_swap_is_the_permutation_and_a_flip_negates():
    model, _, params = network()
    found = reflections(model, params)
    swapped = permute(params, model.permutation_spec, {"units_0": np.array([0, 3, 2, 1, 4])})
    assert flat(mirror.reflect(found["swap"], params)) == pytest.approx(flat(swapped), abs=ROUNDING)
    flipped = mirror.reflect(found["flip"], params)
    signs = np.array([1, 1, -1, 1])
    assert np.allclose(flipped["dense_1"]["kernel"], params["dense_1"]["kernel"] * signs[None], atol=ROUNDING)
    assert np.allclose(flipped["output"]["kernel"], params["output"]["kernel"] * signs[:, None], atol=ROUNDING)
    assert np.array_equal(flipped["dense_0"]["kernel"], params["dense_0"]["kernel"])
    swap_as_turn = mirror.turn(params, model.permutation_spec, "units_0", np.array([0, 1, 0, -1, 0]))
    assert flat(mirror.reflect(swap_as_turn, params)) == pytest.approx(flat(swapped), abs=ROUNDING)


@pytest.mark.parametrize(
    ("kind", "activation", "is_symmetry"),
    [
        ("swap", "tanh", True),
        ("swap", "relu", True),
        ("flip", "tanh", True),
        ("flip", "relu", False),
        ("turn", "identity", True),
        ("turn", "tanh", False),
    ],
)
def test_which_reflections_are_symmetries_depends_on_the_activation(kind, activation, is_symmetry):
    model, frozen, params = network(activation=activation)
    moved = mirror.reflect(reflections(model, params)[kind], params)
    inputs = rows().inputs
    change = np.abs(model.forward(moved, frozen, inputs) - model.forward(params, frozen, inputs)).max()
    assert (change < ROUNDING) if is_symmetry else (change > 1e-2)


def test_a_kernel_that_a_permutation_moves_along_both_axes_and_heads_are_swapped_whole():
    spec = {"cell": ("units", "units"), "heads": (Product((Perm("head", 2), Fixed(3))),)}
    generator = np.random.default_rng(0)
    params = {"cell": generator.normal(size=(4, 4)), "heads": generator.normal(size=6)}
    found = mirror.swap(params, spec, "units", 0, 2)
    order = [2, 1, 0, 3]
    assert mirror.reflect(found, params)["cell"] == pytest.approx(params["cell"][order][:, order], abs=1e-6)
    assert found.project(params)["cell"].shape == (6,)  # Of 16 entries 4 stay: the rest are 6 pairs.
    heads = mirror.swap(params, spec, "head", 0, 1)
    assert mirror.reflect(heads, params)["heads"] == pytest.approx(np.roll(params["heads"], 3), abs=1e-6)
    with pytest.raises(InputError, match="permutation of whole axes"):
        mirror.turn(params, spec, "units", np.ones(4))


def test_what_is_no_reflection_is_refused():
    model, _, params = network()
    spec = model.permutation_spec
    with pytest.raises(InputError, match="done twice"):
        mirror.exchange(params, spec, {"units_0": np.array([1, 2, 0, 3, 4])})
    with pytest.raises(InputError, match="give two of 0 to 4"):
        mirror.swap(params, spec, "units_0", 1, 5)
    with pytest.raises(InputError, match="choose from units_0, units_1"):
        mirror.swap(params, spec, "units_2", 0, 1)
    with pytest.raises(InputError, match="give one of 0 to 3"):
        mirror.flip(params, spec, "units_1", 4)
    with pytest.raises(InputError, match="not all zero"):
        mirror.turn(params, spec, "units_1", np.zeros(4))
    with pytest.raises(InputError, match="one shape"):
        mirror.pair(params, "dense_0/kernel", "dense_1/kernel")


# Curvature along O, and the threshold -----------------------------------------------------------------------------


def test_the_projected_hessian_is_that_of_the_whole_and_couples_to_nothing_else():
    model, frozen, params = network()
    mirrored, batch = reflections(model, params)["swap"], rows()

    def loss(params):
        return cross_entropy(model.forward, params, frozen, batch)

    @jax.jit
    def measure(params):
        on_plane = mirror.collapse(mirrored, params)
        start, unravel = ravel_pytree(on_plane)
        along, zero = mirror.projected_loss(loss, on_plane, mirrored)
        coordinates, unravel_coordinates = ravel_pytree(zero)
        columns = jax.vmap(lambda c: ravel_pytree(mirrored.embed(unravel_coordinates(c)))[0])(jnp.eye(len(coordinates)))
        whole = jax.hessian(lambda flat: loss(unravel(flat)))(start)
        return whole, columns.T, mirror.projected_hessian(loss, on_plane, mirrored), trees.norm(jax.grad(along)(zero))

    whole, columns, projected, slope = map(np.asarray, measure(params))
    assert projected == pytest.approx(columns.T @ whole @ columns, abs=1e-5)
    beside = np.eye(len(whole)) - columns @ columns.T
    assert np.abs(beside @ whole @ columns).max() < 1e-5 < np.abs(whole @ columns).max()
    assert slope < ROUNDING


def test_many_coordinates_go_by_products_alone():
    size = mirror.MOST_DENSE + 1
    weights = jnp.linspace(-2.0, 3.0, size)
    params = {"u": jnp.zeros(size), "w": jnp.zeros(size)}
    found = mirror.smallest_eigenvalue(
        lambda tree: jnp.sum(weights * jnp.square(tree["u"] - tree["w"])) / 4,
        params,
        mirror.pair(params, "u", "w"),
        KEY,
        num_steps=60,
    )
    assert found.value == pytest.approx(-2, abs=0.02)
    assert found.residual < 0.2


INPUTS = np.array([0.5, 1.0, 1.5, 2.0, -1.0], np.float32)
TARGETS = np.array([1.2, 0.9, 0.2, -0.5, -0.3], np.float32)
SPEC = {"w": ("units",)}


def two_tanh(params):
    outputs = jnp.sum(jnp.tanh(params["w"][None] * INPUTS[:, None]), axis=1)
    return jnp.sum(jnp.square(outputs - TARGETS)) / 2


def test_two_tied_tanh_units_have_the_curvature_of_the_closed_form():
    params = {"w": jnp.array([0.7, 0.7])}
    found = mirror.smallest_eigenvalue(two_tanh, params, mirror.swap(params, SPEC, "units", 0, 1), KEY)
    response = np.tanh(0.7 * INPUTS)
    residual = 2 * response - TARGETS
    second = -2 * response * (1 - response**2)
    assert found.value == pytest.approx(np.sum(residual * INPUTS**2 * second), rel=1e-4)


def test_the_threshold_of_collapse_is_where_the_curvature_says_it_is_to_one_percent():
    params = {"w": jnp.zeros(2)}
    mirrored = mirror.swap(params, SPEC, "units", 0, 1)

    def descend(start, decay):
        def step(w, _):
            return w - 0.05 * jax.grad(lambda w: two_tanh({"w": w}) + decay / 2 * jnp.sum(w**2))(w), None

        return lax.scan(step, start, None, length=6000)[0]

    decays = jnp.linspace(0.5, 0.75, 126)
    tied = jax.jit(jax.vmap(lambda decay: descend(jnp.full(2, 0.5), decay)))(decays)
    smallest = jax.jit(jax.vmap(lambda w: mirror.smallest_eigenvalue(two_tanh, {"w": w}, mirrored, KEY).value))(tied)
    free = jax.jit(jax.vmap(lambda w, decay: descend(w + jnp.array([1e-3, -1e-3]), decay)))(tied, decays)
    is_attracted = np.asarray(mirror.attracts(smallest, decays))
    has_come_closer = np.abs(np.asarray(free[:, 0] - free[:, 1])) < 2e-3
    predicted, measured = (float(decays[np.argmax(found)]) for found in (is_attracted, has_come_closer))
    assert np.array_equal(is_attracted, decays >= predicted)
    assert not is_attracted[0]
    assert measured == pytest.approx(predicted, rel=0.01)
    assert mirror.threshold(smallest[np.argmax(is_attracted)]) == pytest.approx(predicted, rel=0.01)


def test_a_product_collapses_to_the_known_values():
    """Of (uw - y)^2 / 2 with decay gamma: uw -> max(0, |y| - gamma)."""
    params, decays = {"u": jnp.array(1.2), "w": jnp.array(0.7)}, jnp.array([0.5, 0.9, 1.1, 2.0])

    def loss(params):
        return jnp.square(params["u"] * params["w"] - 1) / 2

    def descend(decay):
        def step(at, _):
            slope = jax.grad(lambda at: loss(at) + decay / 2 * optax.tree.vdot(at, at))(at)
            return jax.tree.map(lambda leaf, slope: leaf - 0.1 * slope, at, slope), None

        return lax.scan(step, params, None, length=2000)[0]

    ends = jax.jit(jax.vmap(descend))(decays)
    assert np.allclose(ends["u"] * ends["w"], [0.5, 0.1, 0, 0], atol=1e-5)
    origin = {"u": jnp.zeros(()), "w": jnp.zeros(())}
    planes = [mirror.smallest_eigenvalue(loss, origin, mirror.pair(origin, "u", "w", sign), KEY) for sign in (1, -1)]
    # O^T H O = u w - y = -1 and 1: with decay above 1 both planes attract, and what is on both is zero.
    assert [float(found.value) for found in planes] == pytest.approx([1, -1])
    assert [bool(mirror.attracts(planes[1].value, decay)) for decay in decays] == [False, False, True, True]


# Training on the plane --------------------------------------------------------------------------------------------


OPTIMIZERS = {
    "sgd": optax.sgd(0.1),
    "momentum": optax.sgd(0.05, momentum=0.9),
    "adam": optax.adam(0.02),
}


@pytest.mark.parametrize(
    ("arch", "optimizer", "decay", "stays"),
    [
        ("standard", "sgd", 0.0, True),
        ("standard", "momentum", 0.01, True),
        ("standard", "adam", 0.01, True),
        ("syre", "momentum", 0.0, True),
        ("syre", "momentum", 0.01, False),
        ("w_asym", "momentum", 0.01, False),
        ("sigma_asym", "momentum", 0.01, False),
    ],
)
def test_two_units_that_start_equal_stay_equal_unless_the_method_tells_them_apart(arch, optimizer, decay, stays):
    model, frozen, position = network(arch)
    mirrored = mirror.swap(model.params_shape, model.permutation_spec, "units_1", 0, 2)
    start = model.split(mirror.collapse(mirrored, model.merge(position, frozen)), frozen)
    loss = mirror.decayed(cross_entropy, decay)
    trainer = make_train(model, loss, OPTIMIZERS[optimizer], 30, batch_size=8)
    state = trainer.init(KEY, frozen)._replace(position=start)
    state, _ = jax.jit(trainer.advance, static_argnums=4)(KEY, state, frozen, rows(), 30)
    before, after = (mirrored.project(model.merge(at, frozen)) for at in (start, state.position))
    change = trees.norm(jax.tree.map(jnp.subtract, after, before))
    assert change == pytest.approx(0, abs=1e-5) if stays else change > 0.01
    # Fixed entries keep units of a W-asymmetric network apart from the start on.
    assert trees.norm(before) > 0.1 if arch == "w_asym" else trees.norm(before) < ROUNDING


def test_syre_leaves_the_plane_at_the_rate_of_its_offset():
    """One step of gradient descent: O^T (W + theta0) goes from 0 to rate * decay * O^T theta0."""
    model, frozen, position = network("syre", fixed_scale=(0.01,) * 3)
    mirrored = mirror.swap(model.params_shape, model.permutation_spec, "units_1", 0, 2)
    start = model.split(mirror.collapse(mirrored, model.merge(position, frozen)), frozen)
    rate, decay = 0.1, 0.5
    loss = mirror.decayed(cross_entropy, decay)
    slope = jax.jit(jax.grad(lambda at: loss(model.apply, at, frozen, rows())))(start)
    after = jax.tree.map(lambda leaf, slope: leaf - rate * slope, start, slope)
    offset = model.merge(jax.tree.map(jnp.zeros_like, start), frozen)
    expected = rate * decay * flat(mirrored.project(offset))
    assert np.abs(expected).max() > 1e-4
    assert flat(mirrored.project(model.merge(after, frozen))) == pytest.approx(expected, abs=2e-7)


# Distances of units -----------------------------------------------------------------------------------------------


def test_equal_units_are_at_zero_and_unrelated_ones_at_about_one():
    model, _, params = network()
    equal = mirror.collapse(mirror.swap(params, model.permutation_spec, "units_0", 1, 3), params)
    distances = np.asarray(mirror.unit_distances(mirror.unit_vectors(equal, model.permutation_spec, "units_0")))
    assert distances[1, 3] == pytest.approx(0, abs=1e-6)
    assert np.sum(distances > 0.2) == 5 * 4 - 2
    assert mirror.smallest_distance(distances) == pytest.approx(0, abs=1e-6)
    assert np.allclose(mirror.unit_distances(jnp.eye(4)), 1 - np.eye(4))
    assert np.array_equal(mirror.unit_distances(jnp.zeros((3, 2))), np.zeros((3, 3)))


# Constraints ------------------------------------------------------------------------------------------------------


def test_an_artificial_reflection_makes_decay_a_soft_threshold():
    """Of |O^T w - y|^2 / 2 with decay gamma on both factors: sign(y) max(0, |y| - gamma), each coordinate."""
    targets = np.array([1.0, -0.8, 0.3, -0.2], np.float32)
    params = {"a": jnp.array(targets), "b": jnp.array(targets) * 3, "c": jnp.ones(2)}
    mirrored = mirror.pair(params, "a", "b")
    wanted = mirror.HALF * (params["a"] - params["b"])

    def loss(params):
        rest = jnp.sum(jnp.square(params["a"] + params["b"] - 1)) + jnp.sum(jnp.square(params["c"] - 2))
        return jnp.sum(jnp.square(mirrored.project(params)["a"] - wanted)) / 2 + rest

    constrained, start = mirror.constrain(loss, mirrored), mirror.enter(params, mirrored)
    assert flat(mirror.release(start, mirrored)) == pytest.approx(flat(params), abs=ROUNDING)
    gamma = 0.5

    def step(at, _):
        decay = lambda at: gamma / 2 * optax.tree.vdot(at[1:], at[1:])  # noqa: E731
        slope = jax.grad(lambda at: constrained(at) + decay(at))(at)
        return jax.tree.map(lambda leaf, slope: leaf - 0.1 * slope, at, slope), None

    end = mirror.release(jax.jit(lambda at: lax.scan(step, at, None, length=2000)[0])(start), mirrored)
    soft = np.sign(wanted) * np.maximum(0, np.abs(wanted) - gamma)
    assert np.allclose(mirrored.project(end)["a"], soft, atol=1e-5)
    assert np.sum(soft == 0) == 2
    assert np.allclose(end["a"] + end["b"], 1, atol=1e-5)
    assert np.allclose(end["c"], 2, atol=1e-5)
