"""From a configuration and shapes to a :class:`~asymjax.types.Model`."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.linen.module import InterceptorContext
from jax import ShapeDtypeStruct

from asymjax import rng, trees
from asymjax.config import ModelConfig, PosteriorConfig
from asymjax.errors import InputError
from asymjax.models.asymmetry import METHODS
from asymjax.models.asymmetry.method import Layer, Method
from asymjax.models.backbones import BACKBONES
from asymjax.models.backbones.backbone import ACTIVATIONS, Backbone
from asymjax.types import Array, Feeds, Frozen, Graph, Key, Model, Params, Position

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


def choose(registry: dict[str, Any], name: str, what: str) -> Any:
    """Look a name up.

    Raises
    ------
    InputError
        If the name is unknown; the message lists the known ones.
    """
    if name not in registry:
        raise InputError(f"unknown {what} {name!r}, choose from {', '.join(registry)}")
    return registry[name]


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
    if any(scale < 0 for scale in config.fixed_scale):
        raise InputError(f"fixed_scale is {config.fixed_scale}; a standard deviation is 0 or more")


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
    method: Method = choose(METHODS, config.arch, "arch")
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
            _bias_of(path, params, backbone.feeds(config)),
        )
        for path in kernels
    ]
    return Anatomy(params, {layer.path: layer for layer in method.settle(config, layers)}, sites)


def build_model(
    config: ModelConfig, input_shape: tuple[int, ...], num_outputs: int, prior: PosteriorConfig = DEFAULT_PRIOR
) -> Model:
    """Build the pure functions of one network family.

    Parameters
    ----------
    config : the model's configuration.
    input_shape : shape of one input, without the row axis.
    num_outputs : outputs of the network.
    prior : the prior of the kernels, whose scale is syre's default.

    Raises
    ------
    InputError
        If a name is unknown, the method's settings cannot be met, or (from ``forward``) inputs have another shape.
    """
    method: Method = choose(METHODS, config.arch, "arch")
    backbone: Backbone = choose(BACKBONES, config.backbone, "backbone")
    body = anatomy(config, input_shape, num_outputs, prior)
    activation = ACTIVATIONS[config.activation]

    def freeze(mask_key: Key, fixed_scale: Any = 1.0) -> Frozen:
        frozen = (
            {
                path: method.freeze_kernel(rng.named_key(mask_key, path), layer, fixed_scale)
                for path, layer in body.layers.items()
            }
            | {
                layer.bias: method.freeze_bias(rng.named_key(mask_key, layer.bias), layer, fixed_scale)
                for layer in body.layers.values()
                if layer.bias
            }
            | {
                site: method.freeze_gate(rng.named_key(mask_key, site), config, width, fixed_scale)
                for site, width in body.sites.items()
            }
        )
        return trees.unflatten({path: constants for path, constants in frozen.items() if constants is not None})

    def constants_of(frozen: Frozen, path: str) -> dict[str, Array] | None:
        node: Any = frozen
        for name in path.split("/"):
            node = node.get(name, {})
        return node or None

    def merge(position: Position, frozen: Frozen) -> Params:
        leaves = trees.flatten(position)
        params = {}
        for path in body.params:
            constants = constants_of(frozen, path)
            params[path] = leaves[path] if constants is None else method.merge_kernel(leaves.get(path), constants)
        return trees.unflatten(params)

    def to_position(params: Params, frozen: Frozen, take: Any) -> Position:
        leaves = {}
        for path, param in trees.flatten(params).items():
            constants = constants_of(frozen, path)
            leaves[path] = param if constants is None else take(param, constants)
        return trees.unflatten({path: leaf for path, leaf in leaves.items() if leaf is not None})

    def split(params: Params, frozen: Frozen) -> Position:
        return to_position(params, frozen, method.split_kernel)

    def free_mask(frozen: Frozen) -> Params:
        masks = {}
        for path, shape in body.params.items():
            constants = constants_of(frozen, path)
            masks[path] = jnp.ones(shape.shape, bool) if constants is None else method.free_mask(constants)  # type: ignore[misc]
        return trees.unflatten(masks)

    def init(key: Key, frozen: Frozen) -> Position:
        module = backbone.make_module(config, num_outputs, lambda site, x, axis: x)
        params = module.init(key, backbone.example(input_shape))["params"]
        return to_position(params, frozen, method.init_kernel)

    takes_graphs = isinstance(jax.eval_shape(lambda: backbone.example(input_shape)), Graph)

    def run(params: Params, frozen: Frozen, x: Array | Graph, watch: Callable[[str, Array, int], Any]) -> Array:
        if isinstance(x, Graph) != takes_graphs:
            kinds = ("a graph", "an array of rows") if takes_graphs else ("an array of rows", "a graph")
            raise InputError("the {} backbone takes {}, but the data are {}".format(config.backbone, *kinds))
        if x.shape[1:] != tuple(input_shape):
            raise InputError(f"inputs have shape {x.shape}; this model expects [rows, {str(tuple(input_shape))[1:-1]}]")

        def activate(site: str, x: Array, feature_axis: int) -> Array:
            watch(site, x, feature_axis)
            return method.activate(activation, x, constants_of(frozen, site), feature_axis)

        return backbone.make_module(config, num_outputs, activate).apply({"params": params}, x)  # type: ignore[return-value]

    def forward(params: Params, frozen: Frozen, x: Array | Graph) -> Array:
        return run(params, frozen, x, lambda site, x, feature_axis: None)

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
            raise InputError(f"{config.backbone} has its activations in a scan, where they cannot be read") from None

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
            run(params, frozen, x, lambda site, x, feature_axis: None)
        return outside_scans(seen)

    first_kernel = next(iter(body.layers))
    first_layer = first_kernel.removesuffix("/kernel")
    # Outputs of a convolution are larger than its input, and its share of the work is small.
    can_split = not backbone.starts_in_scan and len(body.params[first_kernel].shape) == 2

    def run_around_first(params: Params, frozen: Frozen, x: Array | Graph, use: Callable[[Any], Array]) -> Array:
        """Run the network with the output of its first layer replaced by what ``use`` makes of the call."""

        def replace(call: Callable[..., Any], args: Any, kwargs: Any, context: InterceptorContext) -> Any:
            is_first = context.method_name == "__call__" and "/".join(context.module.path) == first_layer
            return use(lambda: call(*args, **kwargs)) if is_first else call(*args, **kwargs)

        with nn.intercept_methods(replace):
            return forward(params, frozen, x)

    def first_output(params: Params, frozen: Frozen, x: Array | Graph) -> Array:
        seen: list[Array] = []

        def keep(call: Callable[[], Array]) -> Array:
            seen.append(call())
            return seen[0]

        run_around_first(params, frozen, x, keep)
        return seen[0]

    def forward_from(params: Params, frozen: Frozen, x: Array | Graph, first: Array) -> Array:
        return run_around_first(params, frozen, x, lambda call: first)

    def apply(position: Position, frozen: Frozen, x: Array | Graph) -> Array:
        return forward(merge(position, frozen), frozen, x)

    return Model(
        init=init,
        freeze=freeze,
        merge=merge,
        split=split,
        forward=forward,
        apply=apply,
        site_inputs=site_inputs,
        layer_inputs=layer_inputs,
        first_output=first_output if can_split else None,
        forward_from=forward_from if can_split else None,
        free_mask=None if method.free_mask is None else free_mask,
        params_shape=trees.unflatten(body.params),
        permutation_spec=backbone.permutation_spec(config),
        feeds=backbone.feeds(config),
    )


def draw_frozen(model: Model, mask_seed: int) -> Frozen:
    """Return the constants of a model that belong to a mask seed; the one way in which every run draws them."""
    return jax.jit(model.freeze)(rng.role_key(mask_seed, "mask"))
