"""What a network consists of: parameters, kernels as the method settles them, activation sites."""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
from jax import ShapeDtypeStruct

from asymjax import trees
from asymjax.models.backbones.backbone import Backbone, check_sizes
from asymjax.models.methods.method import Layer, Method
from asymjax.types import Array, Feeds, Key, Params

# (path, shape) of a parameter -> standard deviation that the prior gives to its entries.
PriorScale = Callable[[str, tuple[int, ...]], float]


def fan_in_scale(path: str, shape: tuple[int, ...]) -> float:
    """Return the scale of the default prior of kernels, 1 / sqrt(fan-in)."""
    return 1 / math.sqrt(math.prod(shape[:-1]))


class Anatomy(NamedTuple):
    """What a backbone consists of, in the order of its forward pass.

    Attributes
    ----------
    params : parameter path -> ``jax.ShapeDtypeStruct``.
    layers : the kernels, settled by the method.
    sites : activation site -> width.
    """

    params: dict[str, ShapeDtypeStruct]
    layers: dict[str, Layer]
    sites: dict[str, int]


def _bias_of(kernel: str, params: Mapping[str, Any], feeds: Feeds) -> str:
    """Return the path of the bias beside a kernel, else of that of the norm after it, or nothing."""
    layer = kernel.removesuffix("/kernel")
    return next((path for path in (f"{layer}/bias", f"{feeds.get(layer)}/bias") if path in params), "")


def _in_order(tree: dict[str, Any], prefix: str = "") -> list[str]:
    """Return the paths of a nested dictionary in insertion order, which Flax makes the order of the forward pass."""
    paths: list[str] = []
    for name, node in tree.items():
        paths += _in_order(node, f"{prefix}{name}/") if isinstance(node, dict) else [prefix + name]
    return paths


def anatomy(
    method: Method,
    backbone: Backbone,
    input_shape: tuple[int, ...],
    num_outputs: int,
    prior_scale: PriorScale = fan_in_scale,
) -> Anatomy:
    """Trace the backbone once, without computing, and settle the method on its layers.

    Parameters
    ----------
    method, backbone : the model.
    input_shape : shape of one input, without the row axis.
    num_outputs : outputs of the network.
    prior_scale : the prior's standard deviation of the entries of a parameter, given its path and shape.

    Raises
    ------
    InputError
        If the settings of the method or the backbone cannot be met.
    """
    backbone.check()
    check_sizes("input_shape", input_shape)
    check_sizes("num_outputs", (num_outputs,))
    sites: dict[str, int] = {}
    order: list[str] = []

    def record(site: str, x: Array, feature_axis: int) -> Array:
        sites[site] = x.shape[feature_axis]
        return x

    def init(key: Key) -> Params:
        params = backbone.module(num_outputs, record).init(key, backbone.example(input_shape))["params"]
        order.extend(_in_order(params))
        return params

    shapes = trees.flatten(jax.eval_shape(init, jax.random.key(0)))
    params = {path: shapes[path] for path in order}
    kernels = [path for path in order if path.endswith("/kernel")]
    feeds = backbone.feeds()
    layers = [
        Layer(
            path,
            params[path].shape,
            path == kernels[-1],
            prior_scale(path, params[path].shape),
            bias=_bias_of(path, params, feeds),
        )
        for path in kernels
    ]
    return Anatomy(params, {layer.path: layer for layer in method.settle(layers)}, sites)
