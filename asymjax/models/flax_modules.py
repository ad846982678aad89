"""Linen and NNX modules as networks: pure functions of a dictionary of parameters and of inputs."""

from collections.abc import Callable, Collection
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import errors as flax_errors
from flax import linen as nn
from flax import nnx
from flax.linen.module import InterceptorContext

from asymjax import trees
from asymjax.errors import InputError
from asymjax.models.network import Activate, Activation, Network, in_order
from asymjax.types import Key, Params, PyTree


def as_network(module_or_make: Any, example: Any) -> Network:
    """Return the network of a Linen module or of an NNX constructor.

    Raises
    ------
    InputError
        If it is neither, or a call changes its state or draws random numbers.
    """
    if isinstance(module_or_make, nn.Module):
        return _linen(module_or_make, example)
    if isinstance(module_or_make, nnx.Module):
        name = type(module_or_make).__name__
        raise InputError(
            f"this {name} is one initialised network, and seeds need a fresh one each; give what makes it, "
            f"lambda rngs: {name}(..., rngs=rngs)"
        )
    if isinstance(module_or_make, type) and issubclass(module_or_make, nn.Module):
        raise InputError(f"{module_or_make.__name__} is a class; give a module, {module_or_make.__name__}(...)")
    if not callable(module_or_make):
        raise InputError(f"{module_or_make!r} is no network; give a Linen module, or make(rngs) of an NNX module")
    return _nnx(module_or_make, example)


def _call(function: Callable[..., Any], x: Any) -> Any:
    """Call a module on inputs: a plain tuple is several."""
    return function(*x) if type(x) is tuple else function(x)


def _through_activations(
    apply: Callable[[Params, Any], PyTree], path_of: Callable[[Activation], str]
) -> Callable[[Params, Any, Activate], PyTree]:
    """Return a forward pass that takes what ``activate`` returns at every ``Activation``."""

    def run(params: Params, x: Any, activate: Activate) -> PyTree:
        def intercept(call: Callable[..., Any], args: Any, kwargs: Any, context: InterceptorContext) -> Any:
            module = context.module
            if isinstance(module, Activation) and context.method_name == "__call__":
                return activate(path_of(module), module.fn, args[0], module.axis)
            return call(*args, **kwargs)

        with nn.intercept_methods(intercept):
            return apply(params, x)

    return run


def filled(example: Any) -> Any:
    """Return inputs like an example, ones where it has shapes alone (zeros where it has integers)."""

    def fill(leaf: Any) -> Any:
        if not isinstance(leaf, jax.ShapeDtypeStruct):
            return leaf
        return jnp.full(leaf.shape, jnp.issubdtype(leaf.dtype, jnp.inexact), leaf.dtype)

    return jax.tree.map(fill, example)


def _linen(module: nn.Module, example: Any) -> Network:
    name = type(module).__name__
    inputs = filled(example)

    def init_all(key: Key) -> Any:
        return _call(lambda *x: module.init(key, *x), inputs)

    others = [kind for kind in jax.eval_shape(init_all, jax.random.key(0)) if kind != "params"]
    variables = jax.jit(init_all)(jax.random.key(0)) if others else {}
    constants = {kind: variables[kind] for kind in others}

    shapes = jax.eval_shape(init_all, jax.random.key(0)).get("params", {})

    def init(key: Key) -> Params:
        # Names may hold slashes, as those of weight norms do.
        return trees.unflatten(in_order(init_all(key).get("params", {})))

    def variables_of(params: Params) -> dict[str, Any]:
        return {"params": trees.with_leaves(shapes, trees.flatten(params)), **constants}

    def apply(params: Params, x: Any) -> PyTree:
        return _call(lambda *x: module.apply(variables_of(params), *x), x)

    def state_after(params: Params) -> Any:
        _, after = _call(lambda *x: module.apply(variables_of(params), *x, mutable=others), inputs)
        return after

    try:
        if others:
            _check_state(name, constants, jax.jit(state_after)(jax.jit(init)(jax.random.key(0))))
        else:
            jax.eval_shape(state_after, jax.eval_shape(init, jax.random.key(0)))
    except flax_errors.InvalidRngError as error:
        raise InputError(f"a call of {name} draws random numbers; make it deterministic ({error})") from None
    return Network(name, init, apply, _through_activations(apply, lambda site: "/".join(site.path)), example)


def _check_state(name: str, before: PyTree, after: PyTree, allowed: Collection[str] = ()) -> None:
    """Refuse a call that changed what is no parameter, but for some leaves."""
    old, new = trees.named_leaves(before), trees.named_leaves(after)
    changed = [path for path in old if path in new and path not in allowed and not _equal(old[path], new[path])]
    if changed:
        raise InputError(
            f"a call of {name} changes its state, {', '.join(changed)}, which a pure function would lose; run norms on "
            "their running averages and dropout deterministically"
        )


def _equal(one: Any, other: Any) -> bool:
    if jnp.issubdtype(one.dtype, jax.dtypes.prng_key):
        one, other = map(jax.random.key_data, (one, other))
    return np.array_equal(one, other)


def _nnx(make: Callable[[nnx.Rngs], nnx.Module], example: Any) -> Network:
    module = nnx.eval_shape(lambda: make(nnx.Rngs(0)))
    if not isinstance(module, nnx.Module):
        raise InputError(f"{make!r} makes a {type(module).__name__}; give what makes an NNX module of nnx.Rngs")
    name = type(module).__name__
    graph, shapes, rest = _split(module)
    if jax.tree.leaves(rest):
        rest = _split(make(nnx.Rngs(0)))[2]
    pure = nnx.to_pure_dict(shapes)

    def init(key: Key) -> Params:
        state = nnx.state(make(nnx.Rngs(key)), nnx.Param)
        # Positions in lists are integers there, and names here.
        return trees.unflatten(trees.named_leaves(nnx.to_pure_dict(state)))

    def merged(params: Params, rest: Any) -> nnx.Module:
        state = jax.tree.map(lambda leaf: leaf, shapes)
        nnx.replace_by_pure_dict(state, trees.with_leaves(pure, trees.flatten(params)))
        made = nnx.merge(graph, state, rest, copy=True)
        made.eval()
        return made

    def apply(params: Params, x: Any) -> PyTree:
        return _call(merged(params, rest), x)

    def outputs_and_state(params: Params, rest: Any) -> PyTree:
        used = merged(params, rest)
        return _call(used, filled(example)), nnx.to_pure_dict(_split(used)[2])

    if jax.tree.leaves(rest):
        run, params = jax.jit(outputs_and_state), jax.jit(init)(jax.random.key(0))
        # Some draw numbers that they do not use, as the first state of a cell.
        later = jax.tree.map(lambda leaf: leaf + 1 if leaf.dtype == jnp.uint32 else leaf, rest)
        outputs, state = run(params, rest)
        is_random = not jax.tree.all(jax.tree.map(_equal, outputs, run(params, later)[0]))
        counts = {path for path, leaf in trees.named_leaves(state).items() if leaf.dtype == jnp.uint32}
        _check_state(name, nnx.to_pure_dict(rest), state, set() if is_random else counts)
    paths = _activations(nnx.merge(graph, shapes, rest, copy=True))
    return Network(name, init, apply, _through_activations(apply, lambda site: paths[id(site)]), example)


def _split(module: nnx.Module) -> tuple[Any, Any, Any]:
    """Return the graph of a module, its parameters and the rest of its state."""
    return nnx.split(module, nnx.Param, ...)  # type: ignore[return-value]


def _activations(module: nnx.Module) -> dict[int, str]:
    """Return the paths of the activations of an NNX module, the first of each."""
    paths: dict[int, str] = {}
    for keys, part in nnx.iter_modules(module):
        for name, value in vars(part).items():
            if isinstance(value, Activation):
                paths.setdefault(id(value), "/".join(map(str, (*keys, name))))
    return paths
