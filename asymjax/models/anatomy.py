"""What a network consists of: parameters, kernels as the method settles them, activation sites."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, NamedTuple

import jax
from jax import ShapeDtypeStruct

from asymjax import trees
from asymjax.config import ModelConfig, PosteriorConfig
from asymjax.errors import InputError, choose
from asymjax.models.backbones import BACKBONES
from asymjax.models.backbones.backbone import ACTIVATIONS, Backbone
from asymjax.models.methods import METHODS
from asymjax.models.methods.method import Layer, Method
from asymjax.types import Array, Feeds, Key, Params

DEFAULT_PRIOR = PosteriorConfig()


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


def method_of(config: ModelConfig) -> Method:
    """Return the method of a configuration, with those of its settings that it has.

    Raises
    ------
    InputError
        If its name is unknown.
    """
    method = choose(METHODS, config.arch, "arch")
    settings = {field.name: getattr(config, field.name) for field in fields(method)}
    return method(**{name: value for name, value in settings.items() if value != ()})


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


def _check_sizes(config: ModelConfig, input_shape: tuple[int, ...], num_outputs: int) -> None:
    sizes = {"widths": config.widths, "input_shape": input_shape, "num_outputs": (num_outputs,)}
    for name, values in sizes.items():
        if any(size < 1 for size in values):
            raise InputError(f"{name} is {values}; every size must be at least 1")


def anatomy(
    config: ModelConfig, input_shape: tuple[int, ...], num_outputs: int, prior: PosteriorConfig = DEFAULT_PRIOR
) -> Anatomy:
    """Trace the backbone once, without computing, and settle the method on its layers.

    Parameters
    ----------
    config : the model's configuration.
    input_shape : shape of one input, without the row axis.
    num_outputs : outputs of the network.
    prior : the prior of the kernels, whose scale is syre's default.

    Raises
    ------
    InputError
        If a name is unknown or the method's settings cannot be met.
    """
    backbone: Backbone = choose(BACKBONES, config.backbone, "backbone")
    method = method_of(config)
    choose(ACTIVATIONS, config.activation, "activation")
    _check_sizes(config, input_shape, num_outputs)
    if config.norm not in backbone.norms:
        raise InputError(f"norm is {config.norm}; the {config.backbone} backbone has {', '.join(backbone.norms)}")
    sites: dict[str, int] = {}
    order: list[str] = []

    def record(site: str, x: Array, feature_axis: int) -> Array:
        sites[site] = x.shape[feature_axis]
        return x

    def init(key: Key) -> Params:
        params = backbone.make_module(config, num_outputs, record).init(key, backbone.example(input_shape))["params"]
        order.extend(_in_order(params))
        return params

    shapes = trees.flatten(jax.eval_shape(init, jax.random.key(0)))
    params = {path: shapes[path] for path in order}
    kernels = [path for path in order if path.endswith("/kernel")]
    layers = [
        Layer(
            path,
            params[path].shape,
            path == kernels[-1],
            prior.scale_of(path, params[path].shape),
            bias=_bias_of(path, params, backbone.feeds(config)),
        )
        for path in kernels
    ]
    return Anatomy(params, {layer.path: layer for layer in method.settle(layers)}, sites)
