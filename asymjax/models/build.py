"""From a configuration and shapes to a :class:`~asymjax.types.Model`."""

from collections.abc import Callable
from typing import Any

import jax
from jax import lax

from asymjax import rng, trees
from asymjax.config import ModelConfig, PosteriorConfig
from asymjax.errors import InputError, choose
from asymjax.models.anatomy import DEFAULT_PRIOR, anatomy, method_of
from asymjax.models.backbones import BACKBONES
from asymjax.models.backbones.backbone import ACTIVATIONS, Backbone
from asymjax.models.parametrisation import constants_of, parametrise
from asymjax.models.views import make_views
from asymjax.types import Array, Frozen, Graph, Hyper, Key, Model, Params, Position


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
    method = method_of(config)
    backbone: Backbone = choose(BACKBONES, config.backbone, "backbone")
    body = anatomy(config, input_shape, num_outputs, prior)
    activation = ACTIVATIONS[config.activation]

    parametrisation = parametrise(body, method)

    def init(key: Key, frozen: Frozen) -> Position:
        module = backbone.make_module(config, num_outputs, lambda site, x, axis: x)
        return parametrisation.start(module.init(key, backbone.example(input_shape))["params"], frozen)

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

    def apply(position: Position, frozen: Frozen, x: Array | Graph) -> Array:
        return forward(parametrisation.merge(position, frozen), frozen, x)

    views = make_views(config, body, run, backbone.has_scan)
    return Model(
        init=init,
        freeze=parametrisation.freeze,
        merge=parametrisation.merge,
        split=parametrisation.split,
        forward=forward,
        apply=apply,
        **views._asdict(),
        free_mask=parametrisation.free_mask,
        params_shape=trees.unflatten(body.params),
        permutation_spec=backbone.permutation_spec(config),
        feeds=backbone.feeds(config),
    )


def draw_frozen(model: Model, mask_seed: int) -> Frozen:
    """Return the constants of a model that belong to a mask seed; the one way in which every run draws them."""
    return jax.jit(model.freeze)(rng.role_key(mask_seed, "mask"))


def vary_frozen(model: Model, frozen: Frozen, hyper: Hyper) -> Frozen:
    """Return the constants of a network that has a mask or a scale of its own, both of which may be traced.

    Parameters
    ----------
    model : the model.
    frozen : the constants of a network that has none.
    hyper : settings of the network; ``mask_seed`` int [] decides its mask, to the bit as in :func:`draw_frozen`, and
        beside it ``fixed_scale`` [] multiplies the configured scales.

    Raises
    ------
    KeyError
        If ``fixed_scale`` is there without a ``mask_seed``.
    """
    if not hyper.keys() & {"mask_seed", "fixed_scale"}:
        return frozen
    drawn = model.freeze(rng.role_key(hyper["mask_seed"], "mask"), hyper.get("fixed_scale", 1.0))
    # Or XLA would merge the draw into its users, and round otherwise than for constants that are given.
    return lax.optimization_barrier(drawn)
