"""Ways to look into a forward pass: what enters activations and layers, and the first layer apart from the rest."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.linen.module import InterceptorContext

from asymjax.errors import InputError
from asymjax.models.anatomy import Anatomy
from asymjax.types import Array, Frozen, Graph, Params

# (params, frozen, x, watch: (site, x, feature axis)) -> outputs.
Run = Callable[[Params, Frozen, Array | Graph, Callable[[str, Array, int], Any]], Array]


class Views(NamedTuple):
    """Functions of :class:`~asymjax.types.Model` by the same names."""

    site_inputs: Callable[[Params, Frozen, Any], dict[str, Array]]
    layer_inputs: Callable[[Params, Frozen, Any], dict[str, Array]]
    first_output: Callable[[Params, Frozen, Any], Array] | None
    forward_from: Callable[[Params, Frozen, Any, Array], Array] | None


def make_views(body: Anatomy, run: Run, starts_in_scan: bool) -> Views:
    """Build the views of a forward pass.

    Parameters
    ----------
    body : what the model consists of.
    run : the forward pass, which shows what enters each activation site.
    starts_in_scan : whether its first layer stands in a scan.
    """
    site_inputs, layer_inputs = _inputs(body, run)
    # Outputs of a convolution are larger than its input, and its share of the work is small.
    if starts_in_scan or len(next(iter(body.layers.values())).shape) > 2:
        return Views(site_inputs, layer_inputs, None, None)
    return Views(site_inputs, layer_inputs, *_around_first(next(iter(body.layers)), run))


def _ignore(site: str, x: Array, feature_axis: int) -> None:
    """Watch nothing."""


def _inputs(body: Anatomy, run: Run) -> tuple[Callable, Callable]:
    """Build ``site_inputs`` and ``layer_inputs``."""

    def site_inputs(params: Params, frozen: Frozen, x: Array | Graph) -> dict[str, Array]:
        seen: dict[str, list[Array]] = {}

        def watch(site: str, x: Array, feature_axis: int) -> None:
            seen.setdefault(site, []).append(jnp.moveaxis(x, feature_axis, -1))

        run(params, frozen, x, watch)
        return outside_scans(seen)

    def outside_scans(seen: dict[str, list[Array]]) -> dict[str, Array]:
        try:
            return {place: jnp.concatenate(visits) for place, visits in seen.items()}
        except jax.errors.UnexpectedTracerError:
            raise InputError("this network has its activations in a scan, where they cannot be read") from None

    def layer_inputs(params: Params, frozen: Frozen, x: Array | Graph) -> dict[str, Array]:
        seen: dict[str, list[Array]] = {}

        def note(call: Callable[..., Any], args: Any, kwargs: Any, context: InterceptorContext) -> Any:
            path = "/".join((*context.module.path, "kernel"))
            is_dense = path in body.params and len(body.params[path].shape) == 2 and len(args) == 1
            if context.method_name == "__call__" and is_dense:
                feature_axis = getattr(context.module, "feature_axis", -1)
                seen.setdefault(path, []).append(jnp.moveaxis(args[0], feature_axis, -1))
            return call(*args, **kwargs)

        with nn.intercept_methods(note):
            run(params, frozen, x, _ignore)
        return outside_scans(seen)

    return site_inputs, layer_inputs


def _around_first(first_kernel: str, run: Run) -> tuple[Callable, Callable]:
    """Build ``first_output`` and ``forward_from``."""
    first_layer = first_kernel.removesuffix("/kernel")

    def run_around_first(params: Params, frozen: Frozen, x: Array | Graph, use: Callable[[Any], Array]) -> Array:
        """Run the network with the output of its first layer replaced by what ``use`` makes of the call."""

        def replace(call: Callable[..., Any], args: Any, kwargs: Any, context: InterceptorContext) -> Any:
            is_first = context.method_name == "__call__" and "/".join(context.module.path) == first_layer
            return use(lambda: call(*args, **kwargs)) if is_first else call(*args, **kwargs)

        with nn.intercept_methods(replace):
            return run(params, frozen, x, _ignore)

    def first_output(params: Params, frozen: Frozen, x: Array | Graph) -> Array:
        seen: list[Array] = []

        def keep(call: Callable[[], Array]) -> Array:
            seen.append(call())
            return seen[0]

        run_around_first(params, frozen, x, keep)
        return seen[0]

    def forward_from(params: Params, frozen: Frozen, x: Array | Graph, first: Array) -> Array:
        return run_around_first(params, frozen, x, lambda call: first)

    return first_output, forward_from
