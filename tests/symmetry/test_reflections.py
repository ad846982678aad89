"""Syre (Ziyin et al., 2025): with an offset, weight decay leaves no reflection; without weight decay all are there."""

import jax
import jax.numpy as jnp
import pytest
from model_of import model_of

from asymjax import trees
from asymjax.models import draw_frozen

INPUTS, TARGETS = jax.random.normal(jax.random.key(1), (30, 4)), jax.random.normal(jax.random.key(2), (30, 2))
DECAY, UNIT = 0.1, 2


def flip(params):
    """Negate one tanh unit on its way in and on its way out."""
    flat = trees.flatten(params)
    flat["dense_0/kernel"] = flat["dense_0/kernel"].at[:, UNIT].multiply(-1)
    flat["dense_0/bias"] = flat["dense_0/bias"].at[UNIT].multiply(-1)
    flat["output/kernel"] = flat["output/kernel"].at[UNIT].multiply(-1)
    return trees.unflatten(flat)


@pytest.fixture(scope="module", params=["standard", "syre"])
def setting(request):
    """Method, losses of positions with and without decay, a position, and the reflection about the offset."""
    model = model_of(request.param, widths=(5,), norm="none", activation="tanh").build((4,), 2)
    frozen = draw_frozen(model, 0)

    def loss(position, decay):
        fit = jnp.mean(jnp.square(model.apply(position, frozen, INPUTS) - TARGETS))
        return fit + decay * jnp.square(trees.norm(position))

    def reflect(position):
        return model.split(flip(model.merge(position, frozen)), frozen)

    return request.param, jax.jit(loss), jax.jit(model.init)(jax.random.key(0), frozen), reflect


def test_reflections_are_symmetries_of_the_standard_loss_and_not_of_the_shifted_one(setting):
    arch, loss, position, reflect = setting
    for reflected in (flip(position), reflect(position)):
        is_kept = abs(loss(reflected, DECAY) - loss(position, DECAY)) < 1e-5
        assert is_kept == (arch == "standard")


def test_without_weight_decay_the_reflection_about_the_offset_is_back(setting):
    arch, loss, position, reflect = setting
    assert abs(loss(reflect(position), 0.0) - loss(position, 0.0)) < 1e-6
    assert (abs(loss(flip(position), 0.0) - loss(position, 0.0)) < 1e-6) == (arch == "standard")
