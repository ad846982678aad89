"""From a network and a method to a :class:`~asymjax.types.Model`."""

import math
from typing import Any

import jax
import numpy as np
from jax import lax

from asymjax import rng, trees
from asymjax.errors import InputError
from asymjax.models.backbones import Backbone
from asymjax.models.layer_inputs import Watch, ignore, make_views
from asymjax.models.methods import Method
from asymjax.models.network import Network, Reading
from asymjax.models.parametrisation import constants_of, parametrise
from asymjax.models.settled import DEFAULT_PRIOR, network_of, reading_of, settle
from asymjax.priors import NormalPrior
from asymjax.types import Array, Frozen, Graph, Hyper, Key, Model, Params, Position

MOST_ENTRIES = 2**31 - 1
"""Of an array, which XLA counts by int32."""


def build_model(
    method: Method,
    backbone: Backbone,
    input_shape: tuple[int, ...],
    num_outputs: int,
    prior: NormalPrior = DEFAULT_PRIOR,
) -> Model:
    """Build the pure functions of one network family.

    Parameters
    ----------
    method : what breaks its symmetries.
    backbone : its architecture.
    input_shape : shape of one input, without the row axis.
    num_outputs : outputs of the network.
    prior : the prior of the kernels, whose scale is syre's default.

    Raises
    ------
    InputError
        If the settings of the method or the backbone cannot be met, or (from ``forward``) inputs have another shape.
    """
    network = network_of(backbone, input_shape, num_outputs)
    model = assemble(network, reading_of(backbone, tuple(input_shape), num_outputs), method, prior)
    feeds = backbone.feeds()
    norms = {norm for layer, norm in feeds.items() if norm in feeds} if backbone.norm == "batch" else set()
    dead = tuple(f"{layer}/bias" for layer, norm in feeds.items() if norm in norms)
    symmetries = model.symmetries._replace(dead=dead)
    return model._replace(permutation_spec=backbone.permutation_spec(), feeds=feeds, symmetries=symmetries)


def assemble(network: Network, reading: Reading, method: Method, prior: NormalPrior) -> Model:
    """Join a network and a method.

    Raises
    ------
    InputError
        If the method's settings cannot be met, a layer is larger than XLA counts, or (from ``forward``) inputs are not
        like the network's example.
    """
    for path, leaf in reading.params.items():
        if math.prod(leaf.shape) > MOST_ENTRIES:
            raise InputError(
                f"{path} would have the shape {leaf.shape}; give layers of {MOST_ENTRIES:,} entries at most"
            )
    body = settle(reading, method, prior)
    parametrisation = parametrise(body, method)

    def init(key: Key, frozen: Frozen) -> Position:
        return parametrisation.start(network.init(key), frozen)

    def run(params: Params, frozen: Frozen, x: Any, watch: Watch | None) -> Array:
        _check_inputs(network, x)
        constants = {site: constants_of(frozen, site) for site in reading.sites}
        if watch is None and not any(constants.values()):
            return network.apply(params, x)

        def activate(site: str, fn: Any, x: Array, feature_axis: int) -> Array:
            (watch or ignore)(site, x, feature_axis)
            gate = constants.get(site)
            return fn(x) if gate is None else method.activate(fn, x, gate, feature_axis)

        return network.run(params, x, activate)

    def forward(params: Params, frozen: Frozen, x: Any) -> Array:
        return run(params, frozen, x, None)

    def apply(position: Position, frozen: Frozen, x: Any) -> Array:
        return forward(parametrisation.merge(position, frozen), frozen, x)

    views = make_views(network, reading, run)
    return Model(
        init=init,
        freeze=parametrisation.freeze,
        merge=parametrisation.merge,
        split=parametrisation.split,
        forward=forward,
        apply=apply,
        **views._asdict(),
        free_mask=parametrisation.free_mask,
        params_shape=trees.unflatten(reading.params),
        permutation_spec=reading.spec,
        feeds={},
        symmetries=reading.symmetries,
        example=network.example,
    )


def _check_inputs(network: Network, x: Any) -> None:
    """Refuse inputs that are not like the example, whatever the number of rows."""
    example = network.example
    if isinstance(x, Graph) != isinstance(example, Graph):
        kinds = ("a graph", "an array of rows") if isinstance(example, Graph) else ("an array of rows", "a graph")
        raise InputError("{} takes {}, but the data are {}".format(network.name, *kinds))
    if isinstance(x, Graph):
        x, example = x.features, example.features
    given, wanted = jax.tree.structure(x), jax.tree.structure(example)
    if given != wanted:  # type: ignore[operator]
        raise InputError(f"{network.name} takes inputs like its example, a tree {wanted}, not {given}")
    for leaf, like in zip(jax.tree.leaves(x), jax.tree.leaves(example), strict=True):
        shape = np.shape(like)[1:]
        if np.shape(leaf)[1:] != shape:
            raise InputError(f"inputs have shape {np.shape(leaf)}; this model expects [rows, {str(shape)[1:-1]}]")


def draw_frozen(model: Model, mask_seed: int) -> Frozen:
    """Return the constants of a model that belong to a mask seed; the one way in which every run draws them."""
    return jax.jit(model.freeze)(rng.role_key(mask_seed, "mask"))


def checked_frozen(model: Model, frozen: Frozen | None) -> Frozen:
    """Return constants that were given, or those of mask seed 0 where none were.

    Raises
    ------
    InputError
        If they are of another model, with which a network would silently be another one.
    """
    if frozen is None:
        return draw_frozen(model, 0)
    given, wanted = (
        {path: np.shape(leaf) for path, leaf in trees.flatten(tree).items()}
        for tree in (frozen, jax.eval_shape(model.freeze, jax.random.key(0)))
    )
    if given != wanted:
        raise InputError(f"frozen has {given}; the model fixes {wanted}, as model.freeze(mask_key) draws it")
    return frozen


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
