"""What metanetworks learned of one zoo, applied to the networks of another, which may be of other widths.

A metanetwork reads networks of other widths where none of its parameters has a size that follows from theirs. One that
sees the function of networks, and nothing else, says the same of a network and of a wider one of the same function.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from threadpoolctl import threadpool_limits

from asymjax import trees
from asymjax.errors import InputError, choose
from asymjax.metanets.features import standardised, take_held
from asymjax.metanets.fit import Learned, in_units, predict
from asymjax.metanets.metanet import Metanet, Read
from asymjax.metanets.reader import shape_of_one
from asymjax.metanets.regression import Regression
from asymjax.metanets.zoo import Zoo
from asymjax.symmetry.groups import position_spec
from asymjax.symmetry.widening import WIDENINGS, widening_of
from asymjax.types import Array, Key, Model, Position, PyTree

BATCH_SIZE = 256
"""Networks that are read at once."""


def widened(zoo: Zoo, wide: Model, way: str, key: Key) -> Zoo:
    """Return the networks of a zoo as wider ones of the same function.

    Parameters
    ----------
    zoo : the networks.
    wide : the same model with more units.
    way : ``"split"`` or ``"idle"``, see :func:`asymjax.symmetry.split_units` and :func:`asymjax.symmetry.idle_units`.
    key : of what is random; what becomes of a network depends on this and its id.

    Raises
    ------
    InputError
        If there is no such way, or the networks cannot be widened, see :func:`asymjax.symmetry.widening_of`.
    """
    widen, widening = choose(WIDENINGS, way, "way"), widening_of(zoo.model, wide, zoo.frozen)

    def one(network: tuple[Array, Position]) -> Position:
        number, position = network
        params = zoo.model.merge(position, zoo.frozen)
        return wide.split(widen(jax.random.fold_in(key, number), params, widening), zoo.frozen)

    networks = zoo.ids, zoo.networks("position")
    return zoo._replace(model=wide, position=trees.to_host(jax.jit(lambda rows: lax.map(one, rows))(networks)))


def transfer(learned: Learned, zoo: Zoo) -> np.ndarray:
    """Predict for networks of another zoo, of the same kind and of any widths.

    Parameters
    ----------
    learned : of another zoo, as of ``fit(...).learned``. Features are brought to one scale as they were there.
    zoo : the networks.

    Returns
    -------
    Predictions, float [seed, network], or probabilities of classes [seed, network, class].

    Raises
    ------
    InputError
        If the metanetworks cannot read these networks: a size in them follows from the widths that they were trained
        for, or units were aligned to a network that is not here.
    """
    settings = learned.settings
    if settings.reads == "aligned":
        raise InputError("units are aligned to those of a network of the training; give other metanetworks")
    networks = zoo.networks(settings.reads)
    if isinstance(settings, Regression):
        return _regressed(learned, settings.features(networks, zoo.recipes))
    features = settings.features(networks)
    spec = position_spec(zoo.model, zoo.frozen) if settings.reads != "position" else {}
    shapes, of_features = (jax.tree.map(shape_of_one, tree) for tree in (networks, features))
    metanet = settings.make(Read(shapes, of_features, spec, zoo.model, zoo.frozen, learned.kind.output_shape))
    _require_shapes(learned, metanet, features)
    places = jnp.arange(zoo.num_networks)

    @jax.jit
    def many(settled: PyTree, features: PyTree) -> Array:
        return lax.map(lambda one: predict(metanet, one, partial(take_held, features), places, BATCH_SIZE), settled)

    return in_units(learned, many(learned.settled, standardised(features, learned.moments)))


def _regressed(learned: Learned, features: np.ndarray) -> np.ndarray:
    known = learned.settled.n_features_in_
    if features.shape[1] != known:
        raise InputError(f"it has {known} features of a network, and these have {features.shape[1]}")
    with threadpool_limits(1):
        return learned.kind.regressed(learned.settled, features)[None]


def _require_shapes(learned: Learned, metanet: Metanet, features: PyTree) -> None:
    """Refuse networks to read which takes parameters, or moments of features, of other shapes than were learned.

    Raises
    ------
    InputError
        If there are any; it names the first.
    """
    needed = jax.eval_shape(lambda key, x: metanet.settle(metanet.init(key), x), jax.random.key(0), features)
    known = {path: leaf.shape[1:] for path, leaf in trees.named_leaves(learned.settled).items()}
    needed = {path: leaf.shape for path, leaf in trees.named_leaves(needed).items()}
    for path in needed | known:
        if needed.get(path) != known.get(path):
            raise InputError(
                f"its parameters are for networks of one size: {path} is {known.get(path)}, and would be "
                f"{needed.get(path)} for these; give a metanetwork whose parameters do not follow from widths"
            )
    means = learned.moments[0] if learned.moments else ()
    for mean, leaf in zip(jax.tree.leaves(means), jax.tree.leaves(features), strict=False):
        if np.shape(mean) not in ((), leaf.shape[1:]):
            raise InputError(
                f"each of its features has a scale of its own, and there were {np.size(mean)} of them, not "
                f"{leaf[0].size} as here; give standardised=leaf or none"
            )
