"""What metanetworks read of networks, a batch at a time: held in memory, or made anew of weights that are read anew."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from asymjax import trees
from asymjax.errors import InputError
from asymjax.metanets.metanet import Metanetwork
from asymjax.metanets.reader import Held, Reader, is_large, shape_of_one
from asymjax.metanets.regression import Regression
from asymjax.metanets.zoo import Zoo
from asymjax.types import Array, PyTree

Moments = tuple[PyTree, PyTree]
"""Mean and scale of features over the networks of the training, leaves [...] or []; scale 0 of what is constant."""


class Features(NamedTuple):
    """Features of all networks of a zoo, taken in compiled programs.

    Attributes
    ----------
    held : what is in memory, an argument of compiled programs: all features, or what they are made with.
    take : (held, places int [batch]) -> features, leaves [batch, ...].
    moments : mean and scale by which they were standardised, see :func:`moments_of`.
    networks, shapes : one network as it is read, and its features, trees of ``jax.ShapeDtypeStruct``.
    num_networks : how many there are.
    """

    held: PyTree
    take: Callable[[PyTree, Array], PyTree]
    moments: Moments | None
    networks: PyTree
    shapes: PyTree
    num_networks: int


def make_features(zoo: Zoo, settings: Metanetwork, train: np.ndarray, reference: int) -> Features:
    """Prepare what a metanetwork reads of a zoo.

    Networks, or else their features, are held in memory where they are no larger than ``reader.MAX_BYTES`` together.
    If both are, a batch of features is made anew, each time that it is taken.

    Parameters
    ----------
    train : places of the networks of the training, by which features are standardised.
    reference : place of the network with which others are aligned.
    """
    reader = zoo.reader(settings.reads, reference)
    networks, count = reader.shapes, reader.num_networks
    if is_large(count * trees.num_bytes(networks)):
        shapes = jax.tree.map(shape_of_one, jax.eval_shape(settings.features, _many(networks, (1,))))
        if is_large(count * trees.num_bytes(shapes)):
            return _streamed(reader, settings, train, networks, shapes)
    features = _joined([settings.features(some) for some in _all_networks(reader)])
    moments = moments_of(features, train, settings.standardised)
    held = standardised(features, moments)
    return Features(held, take_held, moments, networks, jax.tree.map(shape_of_one, held), count)


def take_held(features: PyTree, places: Array) -> PyTree:
    """Return the features at some places, of all of them, leaves [network, ...]."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf)[places], features)


def regression_features(zoo: Zoo, settings: Regression, reference: int) -> np.ndarray:
    """Return what a regression knows of the networks of a zoo, float [network, feature].

    Raises
    ------
    InputError
        As :func:`require_memory`.
    """
    reader, found, start = zoo.reader(settings.reads, reference), [], 0
    for networks in _all_networks(reader):
        stop = start + len(jax.tree.leaves(networks)[0])
        found.append(settings.features(networks, {name: values[start:stop] for name, values in zoo.recipes.items()}))
        require_memory(found[0], zoo.num_networks)
        start = stop
    return _joined(found)


def require_memory(features: np.ndarray, num_networks: int) -> None:
    """Refuse a regression whose features [some networks, feature] take too much memory for so many networks.

    Raises
    ------
    InputError
        If they are larger than ``reader.MAX_BYTES``.
    """
    num_bytes = num_networks * features[:1].nbytes
    if is_large(num_bytes):
        raise InputError(
            f"a regression on {features.shape[1]:,} features of {num_networks:,} networks holds them all, "
            f"{num_bytes / 2**30:.2g} GiB; take norms or stat_trees, or a metanetwork, which reads batches"
        )


def _all_networks(reader: Reader) -> Iterator[PyTree]:
    """Yield all networks as they are read: at once where they are held in memory, else in blocks."""
    count = reader.num_networks
    is_whole = not is_large(count * trees.num_bytes(reader.shapes))
    return reader.blocks([slice(None)] if is_whole else reader.split(np.arange(count)))


def _joined(parts: list[PyTree]) -> PyTree:
    """Return trees of arrays [network, ...] as one, NumPy."""
    parts = trees.to_host(parts)
    return parts[0] if len(parts) == 1 else jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)


def _many(one: PyTree, shape: tuple[int, ...]) -> PyTree:
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((*shape, *leaf.shape), leaf.dtype), one)


def moments_of(features: PyTree, train: np.ndarray, over: str) -> Moments | None:
    """Return mean and scale of features over the networks of the training, None where nothing is standardised.

    Parameters
    ----------
    features : leaves [network, ...].
    train : places of those networks.
    over : see ``Metanetwork.standardised``.
    """
    if over == "none":
        return None
    axes = 0 if over == "entry" else None

    def of_leaf(leaf: Any) -> tuple[np.ndarray, np.ndarray]:
        known = np.asarray(leaf)[train]
        most = known.max(axes)
        varies = most > known.min(axes)  # The mean of equal numbers may differ from them.
        return np.where(varies, known.mean(axes), most), np.where(varies, known.std(axes), np.zeros_like(most))

    return _in_pairs(jax.tree.map(of_leaf, features), features)


def standardised(features: PyTree, moments: Moments | None) -> PyTree:
    """Return features less their mean and over their scale; what did not vary is 0 where it is as it was."""

    def of_leaf(leaf: Any, mean: np.ndarray, scale: np.ndarray) -> np.ndarray:
        return ((np.asarray(leaf) - mean) / np.where(scale > 0, scale, 1.0)).astype(leaf.dtype)

    return jax.tree.map(of_leaf, features, *moments) if moments else jax.tree.map(np.asarray, features)


def _in_pairs(pairs: PyTree, like: PyTree) -> Moments:
    """Return a tree of pairs as a pair of trees."""
    return tuple(jax.tree.transpose(jax.tree.structure(like), None, pairs))


def _streamed_moments(blocks: Iterable[PyTree], over: str) -> Moments:
    """Return what :func:`moments_of` does of features that come in blocks, from sums of differences to the first."""
    origin: PyTree = None
    sums: PyTree = None
    for features in blocks:
        origin = jax.tree.map(lambda leaf: _origin(leaf, over), features) if origin is None else origin
        parts = jax.tree.map(lambda leaf, first: _sums(np.asarray(leaf) - first, over), features, origin)
        sums = jax.tree.map(np.add, sums, parts) if sums is not None else parts
    return _in_pairs(jax.tree.map(_moments, features, origin, sums), features)


def _origin(leaf: Any, over: str) -> np.ndarray:
    """Return the first network, or its first entry, float64."""
    first = np.asarray(leaf[0], np.float64)
    return first if over == "entry" else first.reshape(-1)[0]


def _sums(leaf: np.ndarray, over: str) -> np.ndarray:
    """Return count, sum, and sum of squares [3, ...]."""
    axes = 0 if over == "entry" else None
    total = leaf.sum(axes)
    return np.stack([np.full_like(total, leaf.size / total.size), total, np.square(leaf).sum(axes)])


def _moments(like: Any, origin: np.ndarray, sums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    count, total, squares = sums
    scale = np.sqrt(np.maximum(squares / count - np.square(total / count), 0))
    return np.asarray(origin + total / count, like.dtype), np.asarray(scale, like.dtype)


def _streamed(reader: Reader, settings: Metanetwork, train: np.ndarray, networks: PyTree, shapes: PyTree) -> Features:
    """Return features that are made in compiled programs, of weights that these ask the host for."""
    blocks = map(settings.features, reader.blocks(reader.split(train)))
    moments = None if settings.standardised == "none" else _streamed_moments(blocks, settings.standardised)

    def read(places: Any) -> PyTree:
        places = np.asarray(places)  # [member, batch] of members that are trained side by side.
        found = reader.positions(places.reshape(-1))
        return jax.tree.map(lambda leaf: leaf.reshape(*places.shape, *leaf.shape[1:]), found)

    def take(held: tuple[Held, Moments | None], places: Array) -> PyTree:
        own, moments = held
        like = _many(jax.tree.map(shape_of_one, reader.position), places.shape)
        position = jax.pure_callback(read, like, places, vmap_method="broadcast_all")
        elements = {name: jnp.asarray(leaf)[places] for name, leaf in own.elements.items()}
        features = settings.features(jax.vmap(reader.one, (None, 0, 0))(own.frozen, position, elements))
        return jax.tree.map(_in_units, features, *moments) if moments else features

    return Features((reader.held, moments), take, moments, networks, shapes, reader.num_networks)


def _in_units(leaf: Array, mean: Array, scale: Array) -> Array:
    """Return a batch as :func:`standardised` does, in a compiled program."""
    mean, scale = (jnp.broadcast_to(moment, leaf.shape[1:])[None] for moment in (mean, scale))
    return (leaf - mean) / jnp.where(scale > 0, scale, 1)
