"""Every way in which JAX differentiates a network and maps it over masks, for every method, beside differences."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.flatten_util import ravel_pytree
from model_of import drawn_constants, model_of

from asymjax.models.methods import METHODS

NUM_INPUTS, NUM_MASKS, STEP = 3, 3, 1e-5
INPUTS = np.random.default_rng(0).standard_normal((5, NUM_INPUTS))
# Programs run once, so that what the compiler does to make them fast is lost.
QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
assert_close = partial(np.testing.assert_allclose, rtol=1e-6, atol=1e-8)

# (function of the position, position, tangent) -> what is named second.
MODES = {
    "jit": (lambda f, x, t: jax.jit(f)(x), "value"),
    "jvp": (lambda f, x, t: jax.jvp(f, (x,), (t,))[1], "slope"),
    "linearize": (lambda f, x, t: jax.linearize(f, x)[1](t), "slope"),
    "vjp": (lambda f, x, t: jax.vjp(f, x)[1](1.0)[0], "gradient"),
    "jvp of vjp": (lambda f, x, t: jax.jvp(jax.grad(f), (x,), (t,))[1], "curve"),
    "vjp of jvp": (lambda f, x, t: jax.grad(lambda x: jax.jvp(f, (x,), (t,))[1])(x), "curve"),
    "vjp of vjp": (lambda f, x, t: jax.grad(lambda x: jax.grad(f)(x) @ t)(x), "curve"),
    "hessian": (lambda f, x, t: jax.hessian(f)(x), "hessian"),
    "jacfwd": (lambda f, x, t: jax.jacfwd(f)(x), "gradient"),
    "jacrev": (lambda f, x, t: jax.jacrev(f)(x), "gradient"),
    "remat": (lambda f, x, t: jax.grad(jax.checkpoint(f))(x), "gradient"),
}
# (function of one network, positions, tangents, constants, all [network]) -> what it finds, of the first network, of
# each, or of each with every mask [mask, network], where masks are shared inside and own outside.
WAYS = {
    "alone": lambda fn, x, t, frozen: fn(x[0], t[0], first(frozen)),
    "own masks": lambda fn, x, t, frozen: jax.vmap(fn)(x, t, frozen),
    "nested": lambda fn, x, t, frozen: jax.vmap(lambda own: jax.vmap(fn, (0, 0, None))(x, t, own), axis_size=3)(frozen),
}


def compiled(fn, *args):
    return jax.jit(fn).lower(*args).compile(compiler_options=QUICK)


def first(tree):
    return jax.tree.map(lambda leaf: leaf[0], tree)


def of_each(values):
    """Return what belongs to every network with the mask of the same number."""
    return np.stack([values[index, index] for index in range(NUM_MASKS)])


def to_float64(tree):
    return jax.tree.map(lambda leaf: np.asarray(leaf, np.float64 if leaf.dtype == np.float32 else None), tree)


class Case:
    """A network of a method in float64, and differences of its loss for every mask and position [mask, network]."""

    def __init__(self, arch):
        self.model = model_of(arch, widths=(3,), norm="none", activation="tanh").build((NUM_INPUTS,), 2)
        drawn = [drawn_constants(self.model, seed, float(arch != "pruned")) for seed in range(NUM_MASKS)]
        self.frozen = to_float64(jax.tree.map(lambda *leaves: np.stack(leaves), *drawn))
        shapes = jax.eval_shape(self.model.init, jax.random.key(0), first(self.frozen))
        with jax.enable_x64(True):
            flat, self.unravel = ravel_pytree(jax.tree.map(lambda leaf: np.zeros(leaf.shape), shapes))
        self.positions, self.tangents = np.random.default_rng(1).standard_normal((2, NUM_MASKS, flat.size))
        with jax.enable_x64(True):
            self.expected = self.differences()

    def loss(self, flat, frozen):
        return jnp.mean(jnp.square(self.model.apply(self.unravel(flat), frozen, INPUTS)))

    def differences(self):
        both = compiled(jax.value_and_grad(self.loss), self.positions[0], first(self.frozen))
        found = {name: [] for name in ("value", "slope", "gradient", "curve", "hessian")}
        for index in range(NUM_MASKS):
            frozen = jax.tree.map(lambda leaf, index=index: leaf[index], self.frozen)
            for position, tangent in zip(self.positions, self.tangents, strict=True):
                ways = np.concatenate([tangent[None], np.eye(len(tangent))])
                ends = [[both(position + sign * STEP * way, frozen) for sign in (1, -1)] for way in ways]
                slope, *gradient = [(plus[0] - minus[0]) / (2 * STEP) for plus, minus in ends]
                curve, *hessian = [(plus[1] - minus[1]) / (2 * STEP) for plus, minus in ends]
                of_one = (both(position, frozen)[0], slope, np.stack(gradient), curve, np.stack(hessian))
                for name, values in zip(found, of_one, strict=True):
                    found[name].append(values)
        return {
            name: np.reshape(values, (NUM_MASKS, NUM_MASKS, *np.shape(values[0]))) for name, values in found.items()
        }


# Pruned kernels are merged as those of w_asym are, and w_sigma_asym is made of two others.
LONG = ("pruned", "w_sigma_asym")
ARCHS = [pytest.param(arch, marks=[pytest.mark.long] if arch in LONG else []) for arch in METHODS]


@pytest.fixture(params=ARCHS, scope="module")
def case(request):
    return Case(request.param)


@pytest.mark.parametrize("way", WAYS)
def test_all_derivatives_are_differences(case, way):
    def find(flat, tangent, frozen):
        loss = partial(case.loss, frozen=frozen)
        return {mode: take(loss, flat, tangent) for mode, (take, _) in MODES.items()}

    with jax.enable_x64(True):
        args = case.positions, case.tangents, case.frozen
        found = compiled(partial(WAYS[way], find), *args)(*args)
    for mode, (_, quantity) in MODES.items():
        expected = case.expected[quantity]
        expected = {"alone": expected[0, 0], "own masks": of_each(expected), "nested": expected}[way]
        assert_close(found[mode], expected, err_msg=mode)


def test_networks_are_scanned_and_so_are_their_gradients(case):
    def total(positions):
        def add(total, one):
            loss = case.loss(*one)
            return total + loss, loss

        return lax.scan(add, 0.0, (positions, case.frozen))

    with jax.enable_x64(True):
        (_, losses), gradients = compiled(jax.value_and_grad(total, has_aux=True), case.positions)(case.positions)
    assert_close(losses, of_each(case.expected["value"]))
    assert_close(gradients, of_each(case.expected["gradient"]))


def test_merge_is_affine_and_its_transpose_is_its_pullback(case):
    frozen = first(case.frozen)

    def merge(flat):
        return ravel_pytree(case.model.merge(case.unravel(flat), frozen))[0]

    def find(position, tangent, cotangent):
        def push(tangent):
            return jax.jvp(merge, (position,), (tangent,))[1]

        (transposed,) = jax.linear_transpose(push, tangent)(cotangent)
        (pulled,) = jax.vjp(merge, position)[1](cotangent)
        return push(tangent), merge(position + tangent) - merge(position), transposed, pulled

    with jax.enable_x64(True):
        position, tangent = case.positions[0], case.tangents[0]
        cotangent = np.random.default_rng(2).standard_normal(jax.eval_shape(merge, position).size)
        found = compiled(find, position, tangent, cotangent)(position, tangent, cotangent)
    pushed, moved, transposed, pulled = map(np.asarray, found)
    assert_close(pushed, moved)
    assert_close(transposed, pulled)
    assert_close(pulled @ tangent, cotangent @ pushed)
