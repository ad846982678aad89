"""Ways to look into a forward pass: what enters activations and layers."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from flax import linen as nn
from flax.linen.module import InterceptorContext

from asymjax.errors import InputError
from asymjax.models.network import Network, Reading
from asymjax.types import Array, Frozen, Params

# (site, x, feature axis) -> None.
Watch = Callable[[str, Array, int], Any]
# (params, frozen, x, watch) -> outputs.
Run = Callable[[Params, Frozen, Any, Watch | None], Array]


class Views(NamedTuple):
    """Functions of :class:`~asymjax.types.Model` by the same names."""

    site_inputs: Callable[[Params, Frozen, Any], dict[str, Array]]
    layer_inputs: Callable[[Params, Frozen, Any], dict[str, Array]]


def ignore(site: str, x: Array, feature_axis: int) -> None:
    """Watch nothing."""


def make_views(network: Network, reading: Reading, run: Run) -> Views:
    """Build the views of a forward pass.

    Parameters
    ----------
    network, reading : the network, and what is read of it.
    run : the forward pass, which shows what enters each activation site.
    """

    def refuse_scans() -> None:
        if network.has_scan:  # JAX need not notice what leaks from one.
            raise InputError(f"{network.name} has its activations in a scan, where they cannot be read")

    def site_inputs(params: Params, frozen: Frozen, x: Any) -> dict[str, Array]:
        refuse_scans()
        seen: dict[str, list[Array]] = {}

        def watch(site: str, x: Array, feature_axis: int) -> None:
            seen.setdefault(site, []).append(jnp.moveaxis(x, feature_axis, -1))

        run(params, frozen, x, watch)
        return {site: jnp.concatenate(visits) for site, visits in seen.items()}

    def layer_inputs(params: Params, frozen: Frozen, x: Any) -> dict[str, Array]:
        refuse_scans()
        seen: dict[str, list[Array]] = {}

        def note(call: Callable[..., Any], args: Any, kwargs: Any, context: InterceptorContext) -> Any:
            if context.module.scope is None:  # An activation of an NNX network.
                return call(*args, **kwargs)
            path = "/".join((*context.module.path, "kernel"))
            is_dense = path in reading.params and len(reading.params[path].shape) == 2 and len(args) == 1
            if context.method_name == "__call__" and is_dense:
                feature_axis = getattr(context.module, "feature_axis", -1)
                seen.setdefault(path, []).append(jnp.moveaxis(args[0], feature_axis, -1))
            return call(*args, **kwargs)

        with nn.intercept_methods(note):
            run(params, frozen, x, None)
        return {path: jnp.concatenate(visits) for path, visits in seen.items()}

    return Views(site_inputs, layer_inputs)
