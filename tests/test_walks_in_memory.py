"""Invariant paths in memory: the points and steps of a walk, and what is no walk."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from model_of import model_of

import asymjax
from asymjax.errors import DivergedError, InputError
from asymjax.models import draw_frozen
from asymjax.paths import objectives
from asymjax.paths.invariant import PathConfig

X = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
LABELS = np.arange(6) % 3
MODEL = model_of("w_asym", widths=(6,), norm="none", num_fixed=(2, 2)).build((4,), 3)
FROZEN = draw_frozen(MODEL, 0)
START, TARGET = (MODEL.init(jax.random.key(seed), FROZEN) for seed in (0, 1))
GIVEN = {
    "key": jax.random.key(0),
    "model": MODEL,
    "position": START,
    "data": (X, LABELS),
    "objective": objectives.reach(),
    "objective_data": TARGET,
    "config": PathConfig(num_steps=12, step_size=0.05, retract=True),
    "num_points": 5,
    "show_progress": False,
}


def test_a_walk_keeps_points_and_steps_and_outputs():
    walked = asymjax.walk(**GIVEN)
    assert walked.num_steps.tolist() == [0, 2, 4, 6, 8, 10, 12]
    assert walked.told.objective.shape == (12,) and walked.told.objective[-1] < walked.told.objective[0]
    jax.tree.map(lambda leaf, start: np.testing.assert_array_equal(leaf[0], start), walked.positions, START)
    outputs = [MODEL.apply(jax.tree.map(lambda leaf, i=i: leaf[i], walked.positions), FROZEN, X) for i in (0, -1)]
    np.testing.assert_allclose(*outputs, atol=0.01)
    np.testing.assert_allclose(np.abs(outputs[1] - outputs[0]).max(), walked.told.drift_max[-1], atol=1e-6)


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
