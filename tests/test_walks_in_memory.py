"""Invariant paths in memory: the points and steps of a walk, what may fall along it, and what is no walk."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from model_of import model_of

import asymjax
from asymjax import trees
from asymjax.errors import DivergedError, InputError
from asymjax.experiments.invariant_paths import arms
from asymjax.experiments.invariant_paths.measures import measure_points
from asymjax.lab.recorder import InMemory
from asymjax.lab.run_config import RunConfig
from asymjax.models import draw_frozen
from asymjax.paths import objectives
from asymjax.paths.invariant import PathConfig, Replay
from asymjax.sparse.masks import masked, with_mask
from asymjax.types import Split

X = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
LABELS = np.arange(6) % 3
MODEL = model_of("w_asym", widths=(6,), norm="none", num_fixed=(2, 2)).build((4,), 3)
FROZEN = draw_frozen(MODEL, 0)
START, TARGET = (MODEL.init(jax.random.key(seed), FROZEN) for seed in (0, 1))
KEY = jax.random.key(0)
GIVEN = {
    "key": KEY,
    "model": MODEL,
    "position": START,
    "data": (X, LABELS),
    "objective": objectives.reach(),
    "objective_data": TARGET,
    "config": PathConfig(num_steps=12, step_size=0.05, retract=True),
    "num_points": 5,
    "show_progress": False,
}
OTHER_X = np.random.default_rng(1).normal(size=(40, 4)).astype(np.float32)
OTHERS = Split(OTHER_X, np.argmax(OTHER_X[:, :3], axis=1))
PARTS = objectives.sparsify(0.4), objectives.new_task(MODEL, FROZEN, "classification")


def outputs_of(position, inputs):
    return MODEL.apply(position, FROZEN, inputs)


def point(walked, index):
    return jax.tree.map(lambda leaf: leaf[index], walked.positions)


@pytest.fixture(scope="module")
def reached():
    return asymjax.walk(**GIVEN)


def composed_walk(*weights):
    """Walk to few weights and down the loss on other rows, at once."""
    given = {"objective": objectives.combine(PARTS, weights), "objective_data": (None, OTHERS)}
    return asymjax.walk(**GIVEN | given)


@pytest.fixture(scope="module")
def composed():
    return composed_walk(0.5, 2.0)


def test_a_walk_keeps_points_and_steps_and_outputs(reached):
    assert reached.num_steps.tolist() == [0, 2, 4, 6, 8, 10, 12]
    assert reached.told.objective.shape == (12,) and reached.told.objective[-1] < reached.told.objective[0]
    jax.tree.map(lambda leaf, start: np.testing.assert_array_equal(leaf[0], start), reached.positions, START)
    outputs = [outputs_of(point(reached, index), X) for index in (0, -1)]
    np.testing.assert_allclose(*outputs, atol=0.01)
    np.testing.assert_allclose(np.abs(outputs[1] - outputs[0]).max(), reached.told.drift_max[-1], atol=1e-6)


def test_two_objectives_fall_at_once_where_one_alone_raises_the_other(composed):
    def values(walked, index):
        position = point(walked, index)
        return np.array([part(KEY, position, data) for part, data in zip(PARTS, (None, OTHERS), strict=True)])

    first, last = (values(composed, index) for index in (0, -2))
    np.testing.assert_allclose([first @ [0.5, 2], last @ [0.5, 2]], composed.told.objective[[0, -2]], rtol=1e-5)
    assert (last < 0.95 * first).all() and composed.told.drift_max.max() < 0.01
    alone = values(composed_walk(0.5, 0.0), -2)
    assert alone[0] < 0.5 * first[0] and alone[1] > 1.01 * first[1]


def test_a_mask_after_the_path_is_as_accurate_as_the_projected_network_that_was_measured(composed):
    points = jax.tree.map(lambda leaf: leaf[None], composed.positions)
    starts, outputs = (jax.tree.map(lambda leaf: leaf[None], tree) for tree in (START, outputs_of(START, X)))
    subject = SimpleNamespace(
        model=MODEL, frozen=FROZEN, dataset=SimpleNamespace(task="classification"), starts=starts,
        replay=Replay(X[None], outputs), run=InMemory(), arch="w_asym", config=SimpleNamespace(run=RunConfig()),
    )  # fmt: skip
    arm = arms.Arm(None, starts, None, None, None, lambda position: objectives.make_sparse(position, 0.4))
    of_arm = arms.Walked(points, {}, composed.num_steps, {})
    measured = measure_points(subject, {"path": arm}, {"path": of_arm}, {"test": OTHERS})["path"]
    end = point(composed, -1)
    kept = objectives.nearest_mask(end, 0.4)
    assert sum(int(jnp.sum(~keep)) for keep in jax.tree.leaves(kept)) == round(0.4 * trees.num_entries(end))
    logits = masked(MODEL).apply(end, with_mask(FROZEN, kept), OTHERS.inputs)
    accuracy = np.mean(np.argmax(logits, axis=-1) == OTHERS.targets)
    np.testing.assert_allclose(measured["projected.test.accuracy"][0, -1], accuracy, rtol=1e-6)
    # Without the mask it is another network.
    assert abs(measured["projected.test.loss"][0, -1] - measured["test.loss"][0, -1]) > 1e-3


def test_outputs_on_other_inputs_leave_those_of_a_member_that_is_kept(reached):
    members = outputs_of(START, OTHERS.inputs)[None]
    given = {"objective": objectives.disagree(MODEL, FROZEN), "objective_data": (OTHERS.inputs, members)}
    walked = asymjax.walk(**GIVEN | given | {"position": point(reached, -1)})
    first, last = (np.ravel(outputs_of(point(walked, index), OTHERS.inputs)) for index in (0, -1))
    kept = np.ravel(members)
    cosines = [now @ kept / np.linalg.norm(now) / np.linalg.norm(kept) for now in (first, last)]
    np.testing.assert_allclose(walked.told.objective[0], cosines[0], rtol=1e-5)
    assert cosines[1] < cosines[0] - 0.05 and walked.told.drift_max.max() < 0.01


def test_a_draw_of_the_posterior_is_neared():
    posterior = asymjax.make_posterior(MODEL, (X, LABELS), frozen=FROZEN)
    start = jax.tree.map(lambda leaf: leaf[None], START)
    options = {"sampler": asymjax.HMC(8, max_integration_steps=8), "num_chains": 1, "num_draws": 1}
    drawn = asymjax.sample(jax.random.key(1), posterior, start=start, show_progress=False, **options)
    draw = jax.tree.map(lambda leaf: leaf[0, 0], drawn.position)
    walked = asymjax.walk(**GIVEN | {"objective_data": draw})
    away = [
        trees.norm(jax.tree.map(jnp.subtract, point(walked, index), draw)) for index in range(len(walked.num_steps))
    ]
    assert np.all(np.diff(away) < 0) and away[-1] < away[0] - 0.3
    np.testing.assert_allclose(away[0] ** 2 / 2, walked.told.objective[0], rtol=1e-5)
    assert walked.told.drift_max.max() < 0.01


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_points": 13}, "num_points is 13; give a whole number from 1 to 12"),
        ({"key": 0}, "key is 0; give one"),
        ({"position": jax.tree.map(lambda leaf: leaf[None], START)}, "give those of one network"),
        ({"config": PathConfig(driver="layer")}, "trained as a whole, or the driver exact"),
        ({"config": PathConfig(metric="fisher"), "data": (X, X[:, :3])}, "give metric 'output'"),
    ],
)
def test_what_makes_no_walk_is_refused(settings, message):
    with pytest.raises(InputError, match=message):
        asymjax.walk(**GIVEN | settings)


def test_a_step_that_is_not_finite_is_named():
    with pytest.raises(DivergedError, match="step 0 of the path"):
        asymjax.walk(**GIVEN | {"objective": lambda key, position, data: jnp.log(-jnp.ones(()))})
