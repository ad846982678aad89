"""Walks on which outputs stay: toys with known answers, orders of the error, and what every driver owes."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.flatten_util import ravel_pytree

from asymjax import trees
from asymjax.errors import InputError
from asymjax.models import ModelConfig
from asymjax.models.backbones import MLP
from asymjax.paths import objectives
from asymjax.paths.invariant import PathConfig, Replay, check_replay, input_bases, make_walker
from asymjax.paths.metric import jacobian
from asymjax.sparse.masks import masked, with_mask
from asymjax.symmetry.permutations import permute
from asymjax.types import Graph, Split

KEY = jax.random.key(0)
EXACT = 1e-12
"""Damping that counts as none."""
MODEL = ModelConfig(backbone=MLP((8,), norm="none")).build((4,), 3)
INPUTS = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
POSITION = MODEL.init(jax.random.key(1), {})
TARGET = MODEL.init(jax.random.key(2), {})


@pytest.fixture
def double():
    with jax.enable_x64(True):
        yield


def apply(position, inputs):
    return MODEL.apply(position, {}, inputs)


def layer_inputs(position, inputs):
    return MODEL.layer_inputs(MODEL.merge(position, {}), {}, inputs)


DRIVERS = {
    "exact": (PathConfig(num_steps=12, step_size=0.05, metric="fisher", retract=True), "classification"),
    "cg": (PathConfig(num_steps=12, step_size=0.05, solver="cg"), "regression"),
    "penalty": (PathConfig(num_steps=12, step_size=0.05, driver="penalty"), "classification"),
    "layer": (PathConfig(num_steps=12, step_size=0.05, driver="layer"), "regression"),
}


@partial(jax.jit, static_argnums=(0, 5))
def walked(walker, key, state, replay, data, num_steps):
    """Return the state after some steps, what they told, and the position after each."""

    def one(state, _):
        state, told = walker.advance(key, state, replay, data, 1)
        return state, (told, state.position)

    state, (told, positions) = lax.scan(one, state, None, length=num_steps)
    return state, jax.tree.map(lambda leaf: leaf[:, 0], told), positions


def walk(config, outputs_of, objective, position, inputs, data=None, task="regression", **options):
    walker = make_walker(outputs_of, objective, config, task, **options)
    replay = Replay(inputs, outputs_of(position, inputs))
    return walked(walker, KEY, walker.init(position), replay, data, config.num_steps)


def network_walk(name, position=POSITION, target=TARGET, inputs=INPUTS, **changes):
    config, task = DRIVERS[name]
    config, objective = replace(config, **changes), objectives.reach()
    return walk(config, apply, objective, position, inputs, target, task, layer_inputs=layer_inputs)


# Toys ---------------------------------------------------------------------------------------------------------------


@partial(jax.jit, static_argnums=1)
def hyperbola(step_size, retract):
    """Walk f = a b x from (4, 1/4) down (a^2 + b^2) / 2, which is least at a = b on a b = 1."""
    config = PathConfig(num_steps=3300, step_size=step_size, damping=EXACT, retract=retract)
    position, inputs = {"a": jnp.array(4.0), "b": jnp.array(0.25)}, jnp.ones((3, 1))

    def square(key, position, data):
        return (position["a"] ** 2 + position["b"] ** 2) / 2

    _, told, path = walk(config, lambda p, x: p["a"] * p["b"] * x, square, position, inputs)
    return told, path["a"], path["b"]


@pytest.mark.parametrize(
    "step_size, drift, end, retracted",
    [(0.1, 0.0676, 0.9656, 6.2e-6), (0.01, 0.00674, 0.99662, 6.2e-10), (0.001, 0.00069, 0.99965, 6.3e-14)],
)
def test_a_product_stays_to_first_order_in_the_step_and_to_fourth_with_retraction(
    double, step_size, drift, end, retracted
):
    told, a, b = jax.tree.map(np.array, hyperbola(step_size, False))
    arrives = np.flatnonzero(a <= b)[0]
    share = (a - b)[arrives - 1] / ((a - b)[arrives - 1] - (a - b)[arrives])  # Of the step that crosses a = b.
    np.testing.assert_allclose(a[arrives - 1] + share * np.diff(a)[arrives - 1], end, atol=2e-3)
    np.testing.assert_allclose(told.drift_max[arrives], drift, rtol=0.02)
    np.testing.assert_allclose(told.step_length, step_size, rtol=1e-12)
    told, a, b = jax.tree.map(np.array, hyperbola(step_size, True))
    np.testing.assert_allclose(told.drift_max[:arrives].max(), retracted, rtol=0.05)
    np.testing.assert_allclose([a[arrives], b[arrives]], 1, atol=step_size)


def doubled(driver, **settings):
    """Walk f = (w1 + w2) x from (1, .6) to the nearest pair with one zero."""
    config = PathConfig(driver=driver, step_size=0.01, num_steps=600, **settings)
    inputs = np.random.default_rng(3).normal(size=(100, 1))
    position = {"w": jnp.array([1.0, 0.6])}

    def outputs_of(position, inputs):
        return jnp.sum(position["w"]) * inputs

    _, told, path = walk(config, outputs_of, objectives.sparsify(0.5), position, inputs)
    return told, np.array(path["w"])


def test_a_doubled_feature_is_moved_to_one_weight_and_annealing_ends_the_chatter(double):
    _, path = doubled("exact", damping=EXACT)
    assert np.abs(path[-2:] - [1.6, 0]).max() > 1e-3  # Steps of one length cannot end.
    told, path = doubled("exact", damping=EXACT, anneal_share=0.8)
    np.testing.assert_allclose(path[-1], [1.6, 0], atol=1e-4)
    np.testing.assert_allclose(told.step_length[:121], 0.01)
    np.testing.assert_allclose(np.diff(told.step_length[120:]), -0.01 / 480)
    np.testing.assert_allclose(told.step_length[-1], 0.01 / 480)


def test_a_penalty_moves_it_too_where_the_objective_has_weight_enough(double):
    _, path = doubled("penalty", penalty=0.1)
    np.testing.assert_allclose(path[0], [1, 0.59])  # The gradient of the distance is zero where the path starts.
    np.testing.assert_allclose(path[-1], [1.6, 0], atol=0.01)
    _, path = doubled("penalty", penalty=0.002)  # As half the sum over 100 inputs has it beside a weight of 0.1.
    np.testing.assert_allclose(path[-1], [1.17, 0.44], atol=0.03)


def test_full_rank_leaves_no_freedom_and_says_so():
    inputs = np.random.default_rng(1).normal(size=(7, 3)).astype(np.float32)
    position = {"w": jnp.array([1.0, 2.0, 3.0])}

    def outputs_of(position, inputs):
        return (inputs @ position["w"])[:, None]

    for settings in ({"damping": 0.0, "retract": True}, {"solver": "cg"}):
        state, told, _ = walk(
            PathConfig(num_steps=3, **settings), outputs_of, objectives.reach(), position, inputs, {"w": jnp.zeros(3)}
        )
        assert np.all(told.freedom == 0) and np.all(told.step_length == 0) and trees.all_finite(told)
        assert np.array_equal(state.position["w"], position["w"]) and state.length == 0 and state.failed_step == -1
    # The negative control: one input less than weights, and there is a way.
    _, told, _ = walk(
        PathConfig(num_steps=3), outputs_of, objectives.reach(), position, inputs[:2], {"w": jnp.zeros(3)}
    )
    assert np.all(told.freedom > 0.01) and np.all(told.step_length > 0)


# The step problem -----------------------------------------------------------------------------------------------------


@partial(jax.jit, static_argnums=1)
def one_step(damping, solver, step_size, position, target, inputs):
    """Return the first step of a walk, and the gradient of its objective, flat; the Jacobian; and what was told."""
    config = PathConfig(num_steps=1, step_size=step_size, damping=damping, solver=solver)
    walker = make_walker(apply, objectives.reach(), config, "regression")
    state, told = walker.advance(KEY, walker.init(position), Replay(inputs, apply(position, inputs)), target, 1)
    start, end, aim = (ravel_pytree(tree)[0] for tree in (position, state.position, target))
    return end - start, start - aim, jacobian(apply, position, inputs), told


def first_way(damping, solver="dense", step_size=1e-3):
    """Return the first step and the gradient, of length one; the Jacobian; and what was told."""
    given = jax.tree.map(lambda leaf: jnp.asarray(leaf, "float64"), (POSITION, TARGET, INPUTS))
    step, slope, matrix, told = jax.tree.map(np.array, one_step(damping, solver, step_size, *given))
    return step / np.linalg.norm(step), slope / np.linalg.norm(slope), matrix, told


def test_the_step_is_that_of_the_dense_problem_and_tends_to_the_null_space(double):
    cosines = []
    for damping in (1e-3, 1e-6):
        step, slope, matrix, told = first_way(damping)
        mu = damping * np.trace(matrix @ matrix.T) / len(matrix)
        null = slope - np.linalg.pinv(matrix) @ (matrix @ slope)
        solved = mu * np.linalg.solve(matrix.T @ matrix + mu * np.eye(len(slope)), slope)
        np.testing.assert_allclose(step, -solved / np.linalg.norm(solved), atol=1e-9)
        np.testing.assert_allclose(told.freedom, np.linalg.norm(solved), rtol=1e-9)
        cosines.append(-step @ null / np.linalg.norm(null))
    assert cosines[0] > 0.9998 and cosines[1] > 1 - 1e-9


def test_much_damping_and_no_replay_are_gradient_descent_of_one_length(double):
    step, slope, _, told = first_way(1e9)
    np.testing.assert_allclose(step, -slope, atol=1e-8)
    np.testing.assert_allclose(told.freedom, 1)
    target = {"a": jnp.array([3.0, 4.0])}
    position = {"a": jnp.zeros(2)}
    for config in (
        PathConfig(num_steps=5),
        PathConfig(num_steps=5, driver="penalty"),
        PathConfig(num_steps=5, solver="cg"),
    ):
        state, told, _ = walk(
            config, lambda p, x: x + p["a"][None], objectives.reach(), position, np.zeros((0, 2)), target
        )
        np.testing.assert_allclose(state.position["a"], [0.03, 0.04])
        assert trees.all_finite(told)


def test_a_step_where_outputs_stay_moves_them_by_its_square_and_another_one_by_its_length(double):
    for damping, factor in ((EXACT, 100), (1e9, 10)):
        drifts = [first_way(damping, step_size=size)[3].drift_max[0] for size in (1e-2, 1e-3, 1e-4)]
        np.testing.assert_allclose(np.divide(drifts[:-1], drifts[1:]), factor, rtol=0.05)


def test_conjugate_gradients_find_the_step_without_the_matrix(double):
    # Without a matrix the damping is relative to an estimated trace, so compare where damping is as good as none.
    np.testing.assert_allclose(first_way(EXACT, "cg")[0], first_way(EXACT)[0], atol=1e-6)


def test_logits_may_shift_in_the_fisher_metric_alone(double):
    def shift(key, position, data):
        return jnp.sum(position["bias"])

    position = {"bias": jnp.array([0.3, -0.2, 1.0])}
    for metric, freedom in (("fisher", 1.0), ("output", 0.0)):
        config = PathConfig(num_steps=4, damping=EXACT, metric=metric, retract=True)
        _, told, _ = walk(
            config, lambda p, x: x + p["bias"][None], shift, position, np.zeros((2, 3)), task="classification"
        )
        np.testing.assert_allclose(told.freedom, freedom, atol=1e-6)
        np.testing.assert_allclose(told.distance, 0, atol=1e-12)


# What every driver owes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DRIVERS)
def test_steps_have_one_length_chunks_and_bundles_change_nothing_and_units_may_be_permuted(name):
    config, task = DRIVERS[name]
    walker = make_walker(apply, objectives.reach(), config, task, layer_inputs)
    replay = Replay(INPUTS, apply(POSITION, INPUTS))
    advance = jax.jit(walker.advance, static_argnums=4)
    state, told = advance(KEY, walker.init(POSITION), replay, TARGET, 12)
    if not config.retract:
        np.testing.assert_allclose(told.step_length, config.step_size, rtol=1e-6)
    np.testing.assert_allclose(state.length, told.step_length.sum(), rtol=1e-6)
    np.testing.assert_allclose(state.metric_length, told.metric_length.sum(), rtol=1e-5)
    assert state.length >= trees.norm(jax.tree.map(jnp.subtract, state.position, POSITION))
    assert told.objective[-1] < told.objective[0] and state.step == 12

    half = advance(KEY, walker.init(POSITION), replay, TARGET, 6)
    again = advance(KEY, half[0], replay, TARGET, 6)[0]
    jax.tree.map(np.testing.assert_array_equal, again, state)

    still, told_still = advance(KEY, walker.init(POSITION), replay, POSITION, 6)  # Where nothing falls.
    assert still.length == 0 and np.all(told_still.freedom == 0) and trees.all_finite(told_still)

    # Another network, and the first with its units in another order, as members of a bundle.
    turn = {"units_0": np.array([3, 1, 4, 0, 5, 7, 2, 6])}
    ends = [(POSITION, TARGET), (TARGET, POSITION)]
    ends.append(tuple(permute(end, MODEL.permutation_spec, turn) for end in ends[0]))
    positions, targets = jax.tree.map(lambda *leaves: jnp.stack(leaves), *ends)
    replays = Replay(INPUTS, jax.vmap(apply, (0, None))(positions, INPUTS))
    over_paths = jax.vmap(partial(walker.advance, num_steps=12), (None, 0, Replay(None, 0), 0))
    bundle, bundle_told = jax.jit(over_paths)(KEY, jax.vmap(walker.init)(positions), replays, targets)
    start = ends[-1][0] if name == "layer" else None
    turned = state._replace(position=permute(state.position, MODEL.permutation_spec, turn), start=start)
    for index, expected in ((0, state), (2, turned)):
        found = jax.tree.map(lambda leaf, index=index: leaf[index], (bundle, bundle_told))
        jax.tree.map(lambda one, two: np.testing.assert_allclose(one, two, atol=1e-4), found, (expected, told))
    moved = jax.tree.map(lambda leaf: leaf[0] - leaf[2], bundle.position)
    assert trees.norm(moved) > 0.1  # The order is another indeed.


def test_drift_falls_with_the_step_at_one_length(double):
    ends = [jax.tree.map(lambda leaf: leaf.astype("float64"), end) for end in (POSITION, TARGET)]
    drifts = []
    for num_steps in (8, 32):
        config = PathConfig(num_steps=num_steps, step_size=0.8 / num_steps, damping=EXACT)
        _, told, _ = walk(config, apply, objectives.reach(), ends[0], INPUTS.astype("float64"), ends[1])
        drifts.append(float(told.drift_max[-1]))
    np.testing.assert_allclose(drifts[0] / drifts[1], 4, rtol=0.15)


def test_retraction_takes_back_the_departure_from_stored_outputs_and_computes_none_anew():
    walker = make_walker(apply, objectives.reach(), PathConfig(num_steps=8, retract=True, step_size=1e-3), "regression")
    stored = apply(POSITION, INPUTS) + 0.01
    state, told, _ = walked(walker, KEY, walker.init(POSITION), Replay(INPUTS, stored), TARGET, 8)
    assert told.drift_max[-1] < 1e-4
    np.testing.assert_allclose(apply(state.position, INPUTS), stored, atol=1e-4)


def test_a_path_that_is_not_finite_rests_and_its_neighbours_go_on():
    walker = make_walker(
        lambda p, x: x * p["b"], lambda key, p, data: jnp.log(p["a"]), PathConfig(step_size=0.1), "regression"
    )
    starts = {"a": jnp.array([0.25, 5.0]), "b": jnp.ones(2)}
    replay = Replay(np.ones((2, 1), np.float32), np.ones((2, 1), np.float32))
    over_paths = jax.vmap(partial(walker.advance, num_steps=6), (None, 0, None, None))
    state, told = jax.jit(over_paths)(KEY, jax.vmap(walker.init)(starts), replay, None)
    assert state.failed_step.tolist() == [3, -1] and state.step.tolist() == [6, 6]
    np.testing.assert_allclose(state.position["a"], [-0.05, 4.4], rtol=1e-5)
    np.testing.assert_allclose(state.length, [0.3, 0.6], rtol=1e-5)
    assert np.isnan(told.objective[0, 3:]).all() and np.isnan(told.drift_max[0, 4:]).all()
    assert np.isfinite(told.objective[0, :3]).all() and np.isfinite(told.objective[1]).all()


# Layers -------------------------------------------------------------------------------------------------------------


def test_layers_keep_what_they_compute_and_have_the_freedom_of_their_inputs(double):
    ends = [jax.tree.map(lambda leaf: leaf.astype("float64"), end) for end in (POSITION, TARGET)]
    inputs = INPUTS[:3].astype("float64")
    bases = input_bases(layer_inputs(ends[0], inputs), ends[0])
    ranks = {path: int(np.sum(np.abs(basis).sum(axis=1) > 0)) for path, basis in bases.items()}
    assert ranks == {"dense_0/kernel": 3, "output/kernel": 3}
    freedom = 8 * (4 + 1 - 3) + 3 * (8 + 1 - 3)

    walker = make_walker(
        apply, lambda key, p, v: sum(map(jnp.vdot, *map(jax.tree.leaves, (p, v)))), PathConfig(driver="layer"),
        "regression", layer_inputs,
    )  # fmt: skip
    flat, unravel = ravel_pytree(ends[0])
    slopes = jax.vmap(unravel)(jax.random.normal(KEY, (60, flat.size), "float64"))
    replay = Replay(inputs, apply(ends[0], inputs))
    over_paths = jax.vmap(partial(walker.advance, num_steps=5), (None, None, None, 0))
    state, _ = jax.jit(over_paths)(KEY, walker.init(ends[0]), replay, slopes)
    steps = jax.vmap(lambda position: ravel_pytree(position)[0] - flat)(state.position)
    assert np.linalg.matrix_rank(steps, tol=1e-9) == freedom < flat.size

    def computed(position):
        first = inputs @ position["dense_0"]["kernel"] + position["dense_0"]["bias"][None]
        return first, apply(position, inputs)

    far = jax.tree.map(lambda leaf: leaf[0], state.position)
    assert trees.norm(jax.tree.map(jnp.subtract, far, ends[0])) > 0.04
    jax.tree.map(lambda one, two: np.testing.assert_allclose(one, two, atol=1e-6), computed(far), computed(ends[0]))


def test_layers_whose_inputs_have_full_rank_leave_no_freedom():
    inputs = np.random.default_rng(5).normal(size=(40, 4)).astype(np.float32)
    state, told, _ = network_walk("layer", inputs=inputs, num_steps=2)
    assert np.all(told.freedom == 0) and np.all(told.step_length == 0) and state.length == 0


# What is refused ----------------------------------------------------------------------------------------------------


def test_replay_with_more_outputs_than_memory_is_refused_with_the_numbers():
    with pytest.raises(
        InputError, match=r"2,000 replay inputs x 10 outputs in 100,000 .* 19\.2 GB.* 8\.6 GB.* most 978 replay"
    ):
        check_replay(2000, 10, 100_000, PathConfig())
    with pytest.raises(InputError, match=r"1\.0 GB"):
        check_replay(200, 10, 100_000, PathConfig(), limit_bytes=1e9)
    check_replay(200, 10, 100_000, PathConfig())
    for config in (PathConfig(solver="cg"), PathConfig(driver="penalty"), PathConfig(driver="layer", retract=True)):
        check_replay(10**6, 10, 10**9, config)
    with pytest.raises(InputError, match="GB"):
        check_replay(10**6, 10, 10**9, PathConfig(driver="penalty", retract=True))


def test_what_does_not_fit_together_is_refused():
    with pytest.raises(InputError, match="logits"):
        make_walker(apply, objectives.reach(), PathConfig(metric="fisher"), "regression")
    with pytest.raises(InputError, match="layer_inputs"):
        make_walker(apply, objectives.reach(), PathConfig(driver="layer"), "regression")
    walker = make_walker(apply, objectives.reach(), PathConfig(), "regression")
    graph = Graph(*(np.zeros(shape, np.float32) for shape in ((2, 4), 0, 0, 2)))
    with pytest.raises(InputError, match="graph"):
        walker.advance(KEY, walker.init(POSITION), Replay(graph, np.zeros((2, 3))), TARGET, 1)
    with pytest.raises(InputError, match="no such leaf"):
        input_bases({"dense_0/kernel": INPUTS}, {"dense_0": {"kernel": jnp.zeros(20)}})


# Uses -----------------------------------------------------------------------------------------------------------------


def clouds(seed, label):
    """Return rows of one class, at one side of the inputs."""
    center = np.eye(4, dtype=np.float32)[label] * 3
    return Split(
        np.random.default_rng(seed).normal(size=(8, 4)).astype(np.float32) * 0.3 + center[None], np.full(8, label)
    )


OLD, NEW = clouds(0, 0), clouds(1, 2)
LEARN = PathConfig(num_steps=240, step_size=0.03, retract=True)


def loss(model, frozen, position, rows):
    return float(objectives.new_task(model, frozen, "classification")(KEY, position, rows))


def learn(model, frozen, position):
    """Walk down the loss of new rows while outputs on old ones stay."""
    return walk(
        LEARN, lambda p, x: model.apply(p, frozen, x), objectives.new_task(model, frozen, "classification"), position,
        OLD.inputs, NEW, "classification",
    )  # fmt: skip


def thin(position, inputs):
    """Walk towards few weights while outputs on some inputs stay; return where it ends, projected, and its mask."""
    config = replace(LEARN, step_size=0.01, anneal_share=0.3)
    state, *_ = walk(config, apply, objectives.sparsify(0.3), position, inputs, task="classification")
    kept = objectives.nearest_mask(state.position, 0.3)
    return objectives.make_sparse(state.position, 0.3), kept


def test_a_new_class_is_learned_while_the_old_outputs_stay():
    state, told, _ = learn(MODEL, {}, POSITION)
    assert told.drift_max.max() < 2e-2 and told.freedom[0] > 0.1
    assert loss(MODEL, {}, state.position, NEW) < 0.2 * loss(MODEL, {}, POSITION, NEW)
    np.testing.assert_allclose(apply(state.position, OLD.inputs), apply(POSITION, OLD.inputs), atol=2e-2)


def test_sparsity_and_learning_do_not_commute_and_both_ends_have_both():
    sparse, kept = thin(POSITION, OLD.inputs)
    state, *_ = learn(masked(MODEL), with_mask({}, kept), sparse)
    first = state.position
    state, *_ = learn(MODEL, {}, POSITION)
    second, _ = thin(state.position, np.concatenate([OLD.inputs, NEW.inputs]))
    num_zeros = round(0.3 * trees.num_entries(POSITION))
    for end in (first, second):
        assert sum(int(jnp.sum(leaf == 0)) for leaf in jax.tree.leaves(end)) == num_zeros
        assert loss(MODEL, {}, end, NEW) < 0.3 * loss(MODEL, {}, POSITION, NEW)
        np.testing.assert_allclose(apply(end, OLD.inputs), apply(POSITION, OLD.inputs), atol=0.3)
    assert trees.norm(jax.tree.map(jnp.subtract, first, second)) > 0.1
