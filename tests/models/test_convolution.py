"""Convolutions by matrix products: values and gradients of XLA's own, on whatever is compiled for."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from asymjax.lab import memory
from asymjax.models.backbones import convolution

OWN = partial(lax.conv_general_dilated, dimension_numbers=convolution.LAYOUT)
CASES = {
    "3x3": ((5, 8, 8, 3), (3, 3, 3, 4), 1, "SAME"),
    "3x3, every second pixel": ((5, 8, 8, 3), (3, 3, 3, 4), 2, ((1, 1), (1, 1))),
    "3x3, every second pixel, padded at one side": ((5, 8, 8, 3), (3, 3, 3, 4), 2, "SAME"),
    "1x1, every second pixel": ((5, 9, 7, 3), (1, 1, 3, 4), 2, ((0, 0), (0, 0))),
    "larger than the image": ((5, 2, 2, 3), (3, 3, 3, 4), 1, "SAME"),
    "not square, without padding": ((5, 9, 7, 2), (4, 3, 2, 1), 1, "VALID"),
}


def arguments(case):
    """Return images, a kernel and settings of one case."""
    images, kernel, stride, padding = case
    key, other = jax.random.split(jax.random.key(0))
    settings = {"window_strides": (stride, stride), "padding": padding}
    return jax.random.normal(key, images), jax.random.normal(other, kernel), settings


def value_and_gradients(convolve, x, kernel):
    """Return a convolution, and the gradients of a function of it with respect to both arguments."""

    def loss(x, kernel):
        found = convolve(x, kernel)
        return jnp.sum(jnp.sin(found)), found

    gradients, found = jax.jit(jax.grad(loss, (0, 1), has_aux=True))(x, kernel)
    return found, *gradients


def assert_same(convolve, x, kernel, **settings):
    for ours, theirs in zip(
        value_and_gradients(partial(convolve, **settings), x, kernel),
        value_and_gradients(partial(OWN, **settings), x, kernel),
        strict=True,
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_values_and_gradients_are_those_of_xla(case):
    x, kernel, settings = arguments(case)
    assert_same(convolution.convolve, x, kernel, **settings)


@pytest.mark.parametrize("rows_at_once", [1, 2])
def test_many_rows_are_taken_a_few_at_a_time(monkeypatch, rows_at_once):
    x, kernel, settings = arguments(CASES["3x3"])
    monkeypatch.setattr(convolution, "MAX_PATCH_BYTES", rows_at_once * 4 * 8 * 8 * 27)
    assert "scan" in str(jax.make_jaxpr(partial(convolution.convolve, **settings))(x, kernel))
    assert_same(convolution.convolve, x, kernel, **settings)


def test_every_network_has_its_kernel():
    x, kernel, settings = arguments(CASES["3x3"])
    kernels = jnp.stack([kernel, 2 * kernel])
    ours, theirs = (
        jax.jit(jax.vmap(partial(convolve, **settings), (None, 0))) for convolve in (convolution.convolve, OWN)
    )
    np.testing.assert_allclose(ours(x, kernels), theirs(x, kernels), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("platform", "is_own"), [("cpu", False), ("tpu", True), ("cuda", True)])
def test_products_are_for_cpu_alone(platform, is_own):
    x, kernel, settings = arguments(CASES["3x3"])
    gradient = jax.grad(lambda kernel: jnp.sum(convolution.convolve(x, kernel, **settings)))
    program = jax.export.export(jax.jit(gradient), platforms=[platform])(kernel)
    assert ("stablehlo.convolution" in program.mlir_module()) == is_own
    assert ("stablehlo.dot_general" in program.mlir_module()) != is_own


def test_flops_are_counted_where_rows_are_taken_in_a_loop(monkeypatch):
    x, kernel, settings = arguments(CASES["3x3"])
    monkeypatch.setattr(convolution, "MAX_PATCH_BYTES", 1)
    traced = jax.jit(partial(convolution.convolve, **settings)).trace(x, kernel)
    num_inside = (3 * 8 - 2) ** 2  # Multiplications with a pixel beyond the edge are not counted.
    assert memory.count_flops(traced) == 2 * 5 * num_inside * 3 * 4
