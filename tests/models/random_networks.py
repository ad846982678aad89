"""Random networks: plain functions of some operations one after the other, with and without symmetries."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

# Each takes a generator and the shape [rows, tokens, features] of what it reads, and returns the shapes of its
# parameters and a function (parameters, x) -> x [rows, tokens, other features].


def dense(generator, shape):
    width = int(generator.integers(2, 5)) * 2
    return {"w": (shape[-1], width), "b": (width,)}, lambda p, x: jnp.tanh(x @ p["w"] + p["b"][None, None])


def bias(generator, shape):
    return {"b": shape[-1:]}, lambda p, x: x + p["b"][None, None]


def scale(generator, shape):
    return {"s": shape[-1:]}, lambda p, x: jax.nn.relu(x * p["s"][None, None])


def norm(generator, shape):
    def apply(p, x):
        x = x - x.mean(-1, keepdims=True)
        return x / jnp.sqrt(jnp.square(x).mean(-1, keepdims=True) + 0.1) * p["s"][None, None]

    return {"s": shape[-1:]}, apply


def activation(generator, shape):
    return {}, lambda p, x: jax.nn.gelu(x)


def residual(generator, shape):
    width = int(generator.integers(2, 7))
    return {"a": (shape[-1], width), "b": (width, shape[-1])}, lambda p, x: x + jnp.tanh(x @ p["a"]) @ p["b"]


def tied(generator, shape):
    return {"w": (shape[-1], 5)}, lambda p, x: jnp.tanh(x @ p["w"]) @ p["w"].T


def gate(generator, shape):
    width = int(generator.integers(2, 6))

    def apply(p, x):
        one, other = jnp.split(x @ p["w"], 2, axis=-1)
        return one * jax.nn.sigmoid(other)

    return {"w": (shape[-1], 2 * width)}, apply


def skip(generator, shape):
    return {"w": (shape[-1], 3)}, lambda p, x: jnp.concatenate([x, jnp.tanh(x @ p["w"])], -1)


def attention(generator, shape):
    def apply(p, x):
        q, k, v = ((x @ p[name]).reshape(*x.shape[:2], 2, -1) for name in "qkv")
        weights = jax.nn.softmax(jnp.einsum("rihd,rjhd->rhij", q, k))
        return x + jnp.einsum("rhij,rjhd->rihd", weights, v).reshape(*x.shape[:2], -1) @ p["o"]

    width = shape[-1]
    return {"q": (width, 6), "k": (width, 6), "v": (width, 4), "o": (4, width)}, apply


def fused(generator, shape):
    def apply(p, x):
        parts = (x @ p["w"]).reshape(*x.shape[:2], 3, 2, 3)
        q, k, v = parts[:, :, 0], parts[:, :, 1], parts[:, :, 2]
        return jnp.einsum("rih,rjh,rjhd->rihd", q.sum(-1), k[..., 0], v).reshape(*x.shape[:2], -1) / 4

    return {"w": (shape[-1], 18)}, apply


def recurrence(generator, shape):
    def apply(p, x):
        def step(state, now):
            state = jnp.tanh(now @ p["i"] + state @ p["h"])
            return state, state

        start = jnp.zeros((x.shape[0], 5))
        return jnp.swapaxes(lax.scan(step, start, jnp.swapaxes(x, 0, 1))[1], 0, 1)

    return {"i": (shape[-1], 5), "h": (5, 5)}, apply


def layers(generator, shape):
    def apply(p, x):
        return lax.scan(lambda x, p: (x + jnp.tanh(x @ p["a"]) @ p["b"], None), x, p)[0]

    return {"a": (2, shape[-1], 4), "b": (2, 4, shape[-1])}, apply


def loop(generator, shape):
    return {"w": (shape[-1], shape[-1])}, lambda p, x: lax.fori_loop(0, 2, lambda i, x: jnp.tanh(x @ p["w"]), x)


def branch(generator, shape):
    def apply(p, x):
        return lax.cond(x.sum() > 0, lambda x: jnp.tanh(x @ p["a"]), lambda x: x @ p["b"], x)

    return {"a": (shape[-1], 4), "b": (shape[-1], 4)}, apply


def convolution(generator, shape):
    def apply(p, x):
        return lax.conv_general_dilated(x, p["w"], (1,), "SAME", dimension_numbers=("NWC", "WIO", "NWC"))

    return {"w": (3, shape[-1], 6)}, apply


def tokens(generator, shape):
    return {"w": (shape[1], shape[1])}, lambda p, x: jnp.tanh(jnp.einsum("rtd,ts->rsd", x, p["w"]))


def maxout(generator, shape):
    return {"w": (shape[-1], 6)}, lambda p, x: (x @ p["w"]).reshape(*x.shape[:2], 3, 2).max(-1)


def common(generator, shape):
    return {}, lambda p, x: x * jax.nn.sigmoid(x.sum(-1, keepdims=True))


def outer(generator, shape):
    return {"w": (shape[-1], 3)}, lambda p, x: jnp.einsum("rti,rtj->rtij", x @ p["w"], x @ p["w"]).reshape(
        *x.shape[:2], 9
    )


def pad(generator, shape):
    return {}, lambda p, x: jnp.pad(x, ((0, 0), (0, 0), (1, 1)))


def part(generator, shape):
    start = int(generator.integers(0, max(1, shape[-1] // 2)))
    return {}, lambda p, x: x[..., start : start + max(2, shape[-1] // 2)]


def ordered(generator, shape):
    return {}, lambda p, x: jnp.sort(x, -1)


def cumulated(generator, shape):
    return {}, lambda p, x: jnp.cumsum(x, -1) / 3


def rolled(generator, shape):
    places = int(generator.integers(1, 3))
    return {}, lambda p, x: x + jnp.roll(x, places, -1)


def reversed_(generator, shape):
    return {}, lambda p, x: x + x[..., ::-1]


def shuffled(generator, shape):
    order = generator.permutation(shape[-1])
    return {}, lambda p, x: x + x[..., order]


def constant(generator, shape):
    values = generator.standard_normal(shape[-1]).astype("float32")
    values[: shape[-1] // 2] = 1.0
    return {}, lambda p, x: x * values[None, None]


def every_other(generator, shape):
    return {}, lambda p, x: x[..., ::2] if x.shape[-1] > 3 else x


def best(generator, shape):
    return {}, lambda p, x: lax.top_k(x, 2)[0]


def pooled(generator, shape):
    return {}, lambda p, x: lax.reduce_window(x, -jnp.inf, lax.max, (1, 1, 2), (1, 1, 1), "VALID")


SYMMETRIC = (
    *(dense, dense, bias, scale, norm, activation, residual, residual, tied, gate, skip, attention, fused, recurrence),
    *(layers, loop, branch, convolution, tokens, maxout, common, outer, pad, part),
)
BREAKING = (ordered, cumulated, rolled, reversed_, shuffled, constant, every_other, best, pooled)


def random_network(seed, num_operations=9):
    """A function, its parameters' shapes and inputs; one operation in five breaks symmetries."""
    generator = np.random.default_rng(seed)
    x = jax.ShapeDtypeStruct((2, 3, 4), jnp.float32)
    params, functions = {}, []
    for i in range(num_operations):
        choices = BREAKING if generator.random() < 0.2 else SYMMETRIC
        make = choices[generator.integers(len(choices))]
        shapes, function = make(generator, x.shape)
        name = f"{make.__name__}_{i}"
        params[name] = {key: jax.ShapeDtypeStruct(shape, jnp.float32) for key, shape in shapes.items()}
        functions.append((name, function))
        x = jax.eval_shape(function, params[name], x)
    params["output"] = jax.ShapeDtypeStruct((x.shape[-1], 2), jnp.float32)

    def apply(params, x):
        for name, function in functions:
            x = function(params[name], x)
        return x @ params["output"]

    return apply, params, jnp.zeros((2, 3, 4))
