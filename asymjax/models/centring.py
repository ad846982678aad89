"""Biases counted from the mean, over rows, of what they are added to: b' = b + mean over rows of W^T h.

As the input h of a layer changes with the layers before it, b' is what stays put: the mean of what enters the norm or
the activation after it. Going from b to b' is a shear, each bias moved by a function of parameters before it, so that
volumes and densities stay as they are.

Read from the jaxpr of any network: a forward pass is evaluated operation by operation, and at the addition of a bias
its mean is taken out.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend import core

from asymjax import trees
from asymjax.axes import as_trees, perms_of
from asymjax.models.reading.walk import opened
from asymjax.types import Array, Frozen, Model, Params, Position

RESHAPING = {
    *("broadcast_in_dim", "reshape", "squeeze", "expand_dims", "transpose", "rev", "convert_element_type", "copy"),
    *("optimization_barrier",),
}


class Bias(NamedTuple):
    """A bias on its way to the values that it is added to.

    Attributes
    ----------
    path : of the parameter.
    spread : (bias) -> its entries where they are now; linear.
    """

    path: str
    spread: Callable[[Array], Array]


# (bias, what it is added to, or None where something else is done with it) -> what it is added to instead.
Meet = Callable[[Bias, Array | None], Any]


def centred_biases(model: Model, frozen: Frozen, inputs: Any) -> tuple[str, ...]:
    """Return the paths of the biases that can be counted from the mean.

    Those of hidden units that are trained as they are, and added once, outside of loops, to something else; none that
    the outputs do not depend on, as before a batch norm, whose prior would move for nothing.

    Parameters
    ----------
    model, frozen : the network, and its constants or their ``jax.ShapeDtypeStruct``.
    inputs : what it takes, or the structure of that.
    """
    position = jax.eval_shape(model.init, jax.random.key(0), frozen)
    plain = _left_alone(model, position, frozen)
    paths = [
        path
        for path, layer in model.symmetries.layers.items()
        if layer.role == "bias"
        and not layer.is_norm
        and perms_of(as_trees(model.symmetries.spec[path], layer.shape))
        and path not in model.symmetries.dead
        and path in plain
    ]
    uses: dict[str, list[bool]] = {path: [] for path in paths}

    def note(bias: Bias, other: Array | None) -> Any:
        uses[bias.path].append(other is not None)
        return other

    def look(params: Params, frozen: Frozen, inputs: Any) -> Array:
        return _evaluate(model, params, frozen, inputs, paths, note)

    jax.eval_shape(look, jax.eval_shape(model.merge, position, frozen), frozen, inputs)
    return tuple(path for path in paths if uses[path] == [True])


def _left_alone(model: Model, position: Position, frozen: Frozen) -> set[str]:
    """Return the paths of the leaves that are effective parameters as they are, which the jaxpr of ``merge`` tells."""
    closed, params = jax.make_jaxpr(model.merge, return_shape=True)(position, frozen)
    given = dict(zip(trees.named_leaves(position), closed.jaxpr.invars, strict=False))  # Those of constants follow.
    made = dict(zip(trees.named_leaves(params), closed.jaxpr.outvars, strict=True))
    return {path for path, var in given.items() if made.get(path) is var}


def take_means(
    model: Model, position: Position, frozen: Frozen, inputs: Any, paths: Sequence[str], *, is_centred: bool
) -> tuple[Array, Position]:
    """Return the outputs of a network, and its position in the other coordinates, in one forward pass.

    Parameters
    ----------
    model, frozen, inputs : the network, its constants and the rows over which means are taken.
    position : its trainable leaves; with ``is_centred`` those of ``paths`` are counted from the mean.
    paths : as of :func:`centred_biases`.
    """
    means: dict[str, Array] = {}

    def centre(bias: Bias, other: Array | None) -> Any:
        if other is None:
            return None
        mean = means[bias.path] = _mean(bias, leaves[bias.path], other)
        return other - bias.spread(mean) if is_centred else other

    leaves = trees.flatten(position)
    outputs = _evaluate(model, model.merge(position, frozen), frozen, inputs, paths, centre)
    sign = -1 if is_centred else 1
    moved = {path: leaf + sign * means[path] if path in means else leaf for path, leaf in leaves.items()}
    return outputs, trees.unflatten(moved)


def _mean(bias: Bias, leaf: Array, values: Array) -> Array:
    """Return the mean of the values that each entry of a bias is added to.

    Rounded to one bit less before and behind the division, forth and back: a product that is then added may else be
    rounded with the sum in one program and by itself in another.
    """
    transpose = jax.linear_transpose(bias.spread, leaf)
    (total,), (count,) = transpose(values), transpose(jnp.ones_like(values))
    return _rounded(_rounded(total) / count)


def _rounded(x: Array) -> Array:
    info = jnp.finfo(x.dtype)
    return lax.reduce_precision(x, info.nexp, info.nmant - 1)


def _evaluate(model: Model, params: Params, frozen: Frozen, inputs: Any, paths: Sequence[str], meet: Meet) -> Array:
    """Run a network, with ``meet`` called where a bias of ``paths`` is."""
    closed, shape = jax.make_jaxpr(model.forward, return_shape=True)(params, frozen, inputs)
    names = [*trees.named_leaves(params), *[""] * len(jax.tree.leaves((frozen, inputs)))]
    followed = [Bias(name, lambda leaf: leaf) if name in paths else None for name in names]
    outputs, _ = _run(closed, jax.tree.leaves((params, frozen, inputs)), followed, meet)
    return jax.tree.unflatten(jax.tree.structure(shape), outputs)


def _run(
    closed: Any, values: Sequence[Any], followed: Sequence[Bias | None], meet: Meet
) -> tuple[list[Any], list[Bias | None]]:
    """Evaluate a jaxpr and return its outputs, with the biases among them."""
    jaxpr, consts = opened(closed)
    known = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *values], strict=True))
    biases = dict(zip(jaxpr.invars, followed, strict=True))

    def read(var: Any) -> Any:
        return var.val if isinstance(var, core.Literal) else known[var]

    def bias_of(var: Any) -> Bias | None:
        return None if isinstance(var, core.Literal) else biases.get(var)

    for eqn in jaxpr.eqns:
        arguments, met = [read(var) for var in eqn.invars], [bias_of(var) for var in eqn.invars]
        if not any(met):
            found: list[Any] = _bind(eqn, arguments)
        elif eqn.primitive.name in ("jit", "pjit"):
            found, passed = _run(eqn.params["jaxpr"], arguments, met, meet)
            biases |= zip(eqn.outvars, passed, strict=True)
        elif eqn.primitive.name in RESHAPING:
            found = _bind(eqn, arguments)
            biases |= zip(eqn.outvars, [bias and _further(eqn, bias) for bias in met], strict=True)
        else:
            found = _use(eqn, arguments, met, meet)
        known |= zip(eqn.outvars, found, strict=True)
    return [read(var) for var in jaxpr.outvars], [bias_of(var) for var in jaxpr.outvars]


def _further(eqn: Any, bias: Bias) -> Bias:
    return bias._replace(spread=lambda leaf: _bind(eqn, [bias.spread(leaf)])[0])


def _use(eqn: Any, arguments: list[Any], met: Sequence[Bias | None], meet: Meet) -> list[Any]:
    """Evaluate an operation on biases: an addition to something else of the sum's shape, or any other."""
    biases = [bias for bias in met if bias]
    shape = eqn.outvars[0].aval.shape
    if eqn.primitive.name in ("add", "add_any") and len(biases) == 1:
        value, other = arguments if met[0] else arguments[::-1]
        if jnp.shape(other) == shape:
            return [value + meet(_broadcast(biases[0], shape), other)]
    for bias in biases:
        meet(bias, None)
    return _bind(eqn, arguments)


def _broadcast(bias: Bias, shape: tuple[int, ...]) -> Bias:
    return bias._replace(spread=lambda leaf: jnp.broadcast_to(bias.spread(leaf), shape))


def _bind(eqn: Any, arguments: Sequence[Any]) -> list[Any]:
    found = eqn.primitive.bind(*arguments, **eqn.primitive.get_bind_params(eqn.params))
    return list(found) if eqn.primitive.multiple_results else [found]
