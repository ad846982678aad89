"""Syre (Ziyin et al., 2025): with an offset, weight decay leaves no reflection; without weight decay all are there."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from model_of import drawn_constants, drawn_position, model_of

from asymjax import trees

INPUTS, TARGETS = (np.random.default_rng(0).standard_normal((30, size), "float32") for size in (4, 2))
DECAY, UNIT = 0.1, 2
ROUNDING = 1e-5  # Losses of about one, of means of 60 squares.


def flip(params):
    """Negate one tanh unit on its way in and on its way out."""
    sign = np.where(np.arange(5) == UNIT, np.float32(-1), np.float32(1))
    first, last = params["dense_0"], params["output"]
    return {
        "dense_0": {"kernel": first["kernel"] * sign[None], "bias": first["bias"] * sign},
        "output": {"kernel": last["kernel"] * sign[:, None], "bias": last["bias"]},
    }


@pytest.fixture(scope="module", params=["standard", "syre"])
def setting(request):
    """Method, losses of positions with and without decay, a position, and the reflection about the offset."""
    model = model_of(request.param, widths=(5,), norm="none", activation="tanh").build((4,), 2)
    frozen = drawn_constants(model)

    def loss(position, decay):
        fit = jnp.mean(jnp.square(model.apply(position, frozen, INPUTS) - TARGETS))
        return fit + decay * jnp.square(trees.norm(position))

    @jax.jit
    def reflect(position):
        return model.split(flip(model.merge(position, frozen)), frozen)

    return request.param, jax.jit(loss), drawn_position(model, frozen), reflect


def test_reflections_are_symmetries_of_the_standard_loss_and_not_of_the_shifted_one(setting):
    arch, loss, position, reflect = setting
    for reflected in (flip(position), reflect(position)):
        is_kept = abs(loss(reflected, DECAY) - loss(position, DECAY)) < ROUNDING
        assert is_kept == (arch == "standard")


def test_without_weight_decay_the_reflection_about_the_offset_is_back(setting):
    arch, loss, position, reflect = setting
    assert abs(loss(reflect(position), 0.0) - loss(position, 0.0)) < ROUNDING
    assert (abs(loss(flip(position), 0.0) - loss(position, 0.0)) < ROUNDING) == (arch == "standard")
