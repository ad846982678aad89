"""What a network consists of: parameters, kernels as the method settles them, activation sites."""

from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

from jax import ShapeDtypeStruct

from asymjax.models.backbones.backbone import ACTIVATIONS, Backbone, check_sizes
from asymjax.models.methods.method import Kernel, Method
from asymjax.models.network import Activate, Network, Reading, read
from asymjax.priors import NormalPrior
from asymjax.types import Array, Key, Layer, Params, TreeSpec

DEFAULT_PRIOR = NormalPrior()


class SettledNetwork(NamedTuple):
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


def settle(reading: Reading, method: Method, prior: NormalPrior) -> SettledNetwork:
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
    return SettledNetwork(reading.params, {kernel.path: kernel for kernel in method.settle(kernels)}, reading.sites)


def network_of(backbone: Backbone, input_shape: tuple[int, ...], num_outputs: int) -> Network:
    """Return the network of a backbone, without a method.

    Raises
    ------
    InputError
        If a setting cannot be or a size is not 1 or more.
    """
    backbone.check()
    check_sizes("input_shape", input_shape)
    check_sizes("num_outputs", (num_outputs,))
    activation, example = ACTIVATIONS[backbone.activation], backbone.example(input_shape)

    def run(params: Params, x: Array, activate: Activate) -> Array:
        def at(site: str, x: Array, feature_axis: int) -> Array:
            return activate(site, activation, x, feature_axis)

        return backbone.module(num_outputs, at).apply({"params": params}, x)  # type: ignore[return-value]

    def init(key: Key) -> Params:
        module = backbone.module(num_outputs, lambda site, x, axis: x)
        return module.init(key, backbone.example(input_shape))["params"]  # Made here, or it is closed over.

    def apply(params: Params, x: Array) -> Array:
        return run(params, x, lambda site, fn, x, feature_axis: fn(x))

    return Network(type(backbone).__name__, init, apply, run, example, backbone.has_scan)


@lru_cache(maxsize=256)
def reading_of(backbone: Backbone, input_shape: tuple[int, ...], num_outputs: int) -> Reading:
    """Return what is read of the network of a backbone; the tests try its permutations by numbers."""
    return read(network_of(backbone, input_shape, num_outputs), check=False)


def settled_network(
    method: Method,
    backbone: Backbone,
    input_shape: tuple[int, ...],
    num_outputs: int,
    prior: NormalPrior = DEFAULT_PRIOR,
) -> SettledNetwork:
    """Read a backbone, without computing, and settle the method on its kernels.

    Parameters
    ----------
    method, backbone : the model.
    input_shape : shape of one input, without the row axis.
    num_outputs : outputs of the network.
    prior : the prior of the kernels, whose scale is syre's default.

    Raises
    ------
    InputError
        If the settings of the method or the backbone cannot be met.
    """
    network_of(backbone, input_shape, num_outputs)
    return settle(reading_of(backbone, tuple(input_shape), num_outputs), method, prior)
