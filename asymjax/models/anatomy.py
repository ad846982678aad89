"""What a network consists of: parameters, kernels as the method settles them, activation sites."""

from collections.abc import Mapping
from dataclasses import fields, replace
from functools import lru_cache
from typing import NamedTuple

from jax import ShapeDtypeStruct

from asymjax.config import ModelConfig, PosteriorConfig
from asymjax.errors import InputError, choose
from asymjax.models.backbones import BACKBONES
from asymjax.models.backbones.backbone import ACTIVATIONS, Backbone
from asymjax.models.methods import METHODS
from asymjax.models.methods.method import Kernel, Method
from asymjax.models.network import Activate, Network, Reading, read
from asymjax.types import Array, Key, Layer, Params, TreeSpec

DEFAULT_PRIOR = PosteriorConfig()


class Anatomy(NamedTuple):
    """What a network consists of, in the order of its forward pass.

    Attributes
    ----------
    params : parameter path -> ``jax.ShapeDtypeStruct``.
    kernels : parameter path -> what the method settles.
    sites : activation site -> width.
    """

    params: dict[str, ShapeDtypeStruct]
    kernels: dict[str, Kernel]
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


def _bias_of(kernel: Layer, layers: Mapping[str, Layer], spec: TreeSpec) -> Layer | None:
    """Return the bias beside a kernel, else that of the next norm of the same units."""
    units = tuple(spec[kernel.path][axis] for axis in kernel.out_axes)
    paths = list(layers)
    biases = [layers[path] for path in paths if layers[path].role == "bias"]
    beside = (bias for bias in biases if _module_of(bias) == _module_of(kernel) and not bias.is_norm)
    after = (bias for bias in biases if bias.is_norm and paths.index(bias.path) > paths.index(kernel.path))
    return next(beside, None) or next((bias for bias in after if spec[bias.path] == units), None)


def _module_of(layer: Layer) -> str:
    return layer.path.rpartition("/")[0]


def settle(reading: Reading, method: Method, prior: PosteriorConfig) -> Anatomy:
    """Settle a method on the kernels of a network.

    Raises
    ------
    InputError
        If the method's settings cannot be met.
    """
    layers = reading.symmetries.layers
    kernels = [
        Kernel(layer, prior.scale_of(layer), bias=_bias_of(layer, layers, reading.symmetries.spec))
        for layer in layers.values()
        if layer.role == "kernel"
    ]
    return Anatomy(reading.params, {kernel.path: kernel for kernel in method.settle(kernels)}, reading.sites)


def network_of(config: ModelConfig, input_shape: tuple[int, ...], num_outputs: int) -> Network:
    """Return the network of a configuration, without its method.

    Raises
    ------
    InputError
        If a name is unknown or a size is not 1 or more.
    """
    backbone: Backbone = choose(BACKBONES, config.backbone, "backbone")
    activation = choose(ACTIVATIONS, config.activation, "activation")
    sizes = {"widths": config.widths, "input_shape": input_shape, "num_outputs": (num_outputs,)}
    for name, values in sizes.items():
        if any(size < 1 for size in values):
            raise InputError(f"{name} is {values}; every size must be at least 1")
    if config.norm not in backbone.norms:
        raise InputError(f"norm is {config.norm}; the {config.backbone} backbone has {', '.join(backbone.norms)}")
    example = backbone.example(input_shape)

    def run(params: Params, x: Array, activate: Activate) -> Array:
        def at(site: str, x: Array, feature_axis: int) -> Array:
            return activate(site, activation, x, feature_axis)

        return backbone.make_module(config, num_outputs, at).apply({"params": params}, x)  # type: ignore[return-value]

    def init(key: Key) -> Params:
        module = backbone.make_module(config, num_outputs, lambda site, x, axis: x)
        return module.init(key, example)["params"]

    def apply(params: Params, x: Array) -> Array:
        return run(params, x, lambda site, fn, x, feature_axis: fn(x))

    return Network(f"the {config.backbone} backbone", init, apply, run, example, backbone.has_scan)


@lru_cache(maxsize=256)
def _read(plain: ModelConfig, input_shape: tuple[int, ...], num_outputs: int) -> Reading:
    """Read a network; the tests try its permutations by numbers."""
    return read(network_of(plain, input_shape, num_outputs), check=False)


def reading_of(config: ModelConfig, input_shape: tuple[int, ...], num_outputs: int) -> Reading:
    """Return what is read of the network of a configuration, which its method has no say in."""
    plain = replace(config, arch="standard", num_fixed=(), fixed_scale=(), gate_scale=1.0, mask_seed=0)
    return _read(replace(plain, mask_kind="random_subsets"), input_shape, num_outputs)


def anatomy(
    config: ModelConfig, input_shape: tuple[int, ...], num_outputs: int, prior: PosteriorConfig = DEFAULT_PRIOR
) -> Anatomy:
    """Read a backbone, without computing, and settle the method on its kernels.

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
    method = method_of(config)
    network_of(config, input_shape, num_outputs)
    return settle(reading_of(config, input_shape, num_outputs), method, prior)
