"""From a configuration and shapes to a :class:`~asymjax.types.Model`."""

from collections.abc import Callable
from typing import Any

import jax
from jax import lax

from asymjax import rng, trees
from asymjax.errors import InputError
from asymjax.models.anatomy import PriorScale, anatomy, fan_in_scale
from asymjax.models.backbones.backbone import ACTIVATIONS, Backbone
from asymjax.models.methods.method import Method
from asymjax.models.parametrisation import constants_of, parametrise
from asymjax.models.views import make_views
from asymjax.types import Array, Frozen, Graph, Hyper, Key, Model, Params, Position


def build_model(
    method: Method,
    backbone: Backbone,
    input_shape: tuple[int, ...],
    num_outputs: int,
    prior_scale: PriorScale = fan_in_scale,
) -> Model:
    """Build the pure functions of one network family.

    Parameters
    ----------
    method : what breaks its symmetries.
    backbone : its architecture.
    input_shape : shape of one input, without the row axis.
    num_outputs : outputs of the network.
    prior_scale : the prior's standard deviation of the entries of a parameter, given its path and shape: syre's
        default.

    Raises
    ------
    InputError
        If the settings of the method or the backbone cannot be met, or (from ``forward``) inputs have another shape.
    """
    body = anatomy(method, backbone, input_shape, num_outputs, prior_scale)
    activation = ACTIVATIONS[backbone.activation]

    parametrisation = parametrise(body, method)

    def init(key: Key, frozen: Frozen) -> Position:
        module = backbone.module(num_outputs, lambda site, x, axis: x)
        return parametrisation.start(module.init(key, backbone.example(input_shape))["params"], frozen)

    takes_graphs = isinstance(jax.eval_shape(lambda: backbone.example(input_shape)), Graph)

    def run(params: Params, frozen: Frozen, x: Array | Graph, watch: Callable[[str, Array, int], Any]) -> Array:
        if isinstance(x, Graph) != takes_graphs:
            kinds = ("a graph", "an array of rows") if takes_graphs else ("an array of rows", "a graph")
            raise InputError("{} takes {}, but the data are {}".format(type(backbone).__name__, *kinds))
        if x.shape[1:] != tuple(input_shape):
            raise InputError(f"inputs have shape {x.shape}; this model expects [rows, {str(tuple(input_shape))[1:-1]}]")

        def activate(site: str, x: Array, feature_axis: int) -> Array:
            watch(site, x, feature_axis)
            return method.activate(activation, x, constants_of(frozen, site), feature_axis)

        return backbone.module(num_outputs, activate).apply({"params": params}, x)  # type: ignore[return-value]

    def forward(params: Params, frozen: Frozen, x: Array | Graph) -> Array:
        return run(params, frozen, x, lambda site, x, feature_axis: None)

    def apply(position: Position, frozen: Frozen, x: Array | Graph) -> Array:
        return forward(parametrisation.merge(position, frozen), frozen, x)

    views = make_views(body, run, backbone.starts_in_scan)
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
        permutation_spec=backbone.permutation_spec(),
        feeds=backbone.feeds(),
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
