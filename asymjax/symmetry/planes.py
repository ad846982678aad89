"""The plane through three networks: coordinates on it, a grid over it, and the networks at its points.

The plane is that of effective weights, so the three networks are points of it as they are. What can be chosen is how
lengths on it are measured. Li et al. (2018), "Visualizing the loss landscape of neural nets", arXiv 1712.09913, scale
random directions filter by filter to the norm of the network's own, since the scale of a filter alone says little.
Directions that must lead to given networks cannot be scaled like that, nor can the networks themselves (behind a
LayerNorm units have no scales of their own, and fixed weights pin them). But lengths can be measured in units of each
filter's norm: the same plane, and the same losses at the networks, with coordinates that say how far a filter moves
compared with its size. Rescaling all units of a ReLU layer alike leaves these lengths as they are; rescaling one unit
does not quite, since it is one of the weights of each filter that reads it.

Around one network the directions are random, and there they are scaled as in that paper.
"""

import jax
import jax.numpy as jnp
import numpy as np

from asymjax import rng, trees
from asymjax.errors import InputError
from asymjax.types import Array, Key, Params

MARGIN = 0.25
MIN_SINE = 1e-4


def inner_products(networks: Params, metric: str) -> np.ndarray:
    """Return the inner products of the differences of the second and the third of three networks from the first.

    Parameters
    ----------
    networks : effective parameters, leaves [3, ...].
    metric : ``"raw"``, Euclidean over all parameters; or ``"filter"``: of each filter (all weights that enter a unit)
        divided by the mean square norm of that filter in the three networks, averaged over the filters of all kernels.
        A length of one is then a change as large as the filters themselves. Biases and norms do not count in it.

    Returns
    -------
    float64 [2, 2].
    """
    products, num_filters = np.zeros((2, 2)), 0
    for path, leaf in trees.flatten(networks).items():
        if metric == "filter" and not path.endswith("/kernel"):
            continue
        filters = np.asarray(leaf, np.float64).reshape(3, -1, leaf.shape[-1])
        sizes = np.mean(np.sum(filters**2, axis=1), axis=0) if metric == "filter" else np.ones(leaf.shape[-1])
        is_there = sizes > 0  # A filter of zeros in all three networks has no size, and does not move.
        changes = filters[1:, :, is_there] - filters[0, :, is_there].T
        products += np.einsum("iwf,jwf,f->ij", changes, changes, 1 / sizes[is_there])
        num_filters += int(is_there.sum())
    return products / num_filters if metric == "filter" else products


def corners(products: np.ndarray) -> np.ndarray:
    """Return where three networks lie on their plane, by Gram and Schmidt.

    Parameters
    ----------
    products : [2, 2], as of :func:`inner_products`.

    Returns
    -------
    float64 [3, 2]; the first is the origin, the second lies on the first axis, the third above it.

    Raises
    ------
    InputError
        If the networks lie on one line.
    """
    first, second = np.sqrt(np.diag(products))
    along = products[0, 1] / first if first > 0 else 0.0
    across = np.sqrt(max(second**2 - along**2, 0.0))
    if not across > MIN_SINE * second or not first > 0:
        raise InputError("three networks on one line span no plane")
    return np.array([[0.0, 0.0], [first, 0.0], [along, across]])


def plane_grid(places: np.ndarray, num_points: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the coordinates of a grid around three networks along both axes, each float64 [num_points].

    Parameters
    ----------
    places : of the networks, as of :func:`corners`.
    num_points : points along each axis; the outermost lie ``MARGIN`` times the longer side beyond the networks.
    """
    low, high = places.min(axis=0), places.max(axis=0)
    margin = MARGIN * (high - low).max()
    first, second = np.linspace(low - margin, high + margin, num_points).T
    return first, second


def shares(places: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Return the steps from the first network to the other two that lead to points of the plane.

    Parameters
    ----------
    places : of the networks, as of :func:`corners`.
    points : [point, 2].

    Returns
    -------
    float64 [point, 2]; (0, 0), (1, 0) and (0, 1) at the networks.
    """
    return (points - places[0]) @ np.linalg.inv(places[1:] - places[0])


def on_plane(networks: Params, steps: Array) -> Params:
    """Return a network of the plane, theta_0 + p (theta_1 - theta_0) + q (theta_2 - theta_0).

    Parameters
    ----------
    networks : effective parameters, leaves [3, ...].
    steps : (p, q) [2], as of :func:`shares`.
    """
    return jax.tree.map(
        lambda leaf: leaf[0] + steps[0] * (leaf[1] - leaf[0]) + steps[1] * (leaf[2] - leaf[0]), networks
    )


def random_directions(key: Key, params: Params, kept: Params | None = None) -> Params:
    """Return a network and the ends of two random directions from it, leaves [3, ...], as :func:`on_plane` takes them.

    Each filter of a direction is as long as that of the network (Li et al. 2018, section 4); biases and norms stay.

    Parameters
    ----------
    key : of both directions.
    params : effective parameters.
    kept : tree of booleans like them, True where they may move, as of ``Model.free_mask``; None for all.
    """
    may_move = {} if kept is None else trees.flatten(kept)
    networks = {}
    for path, leaf in trees.flatten(params).items():
        here = jnp.asarray(leaf)[None]
        drawn = rng.normal(rng.named_key(key, path), (2, *leaf.shape))
        moved = jnp.where(may_move.get(path, True), drawn, 0) * path.endswith("/kernel")
        lengths = _filter_lengths(moved)
        networks[path] = jnp.concatenate(
            [here, here + moved * _filter_lengths(here) / jnp.where(lengths > 0, lengths, 1)]
        )
    return trees.unflatten(networks)


def _filter_lengths(leaf: Array) -> Array:
    """Return the lengths of filters [network, ..., unit], with axes of one index for what enters."""
    return jnp.sqrt(jnp.sum(jnp.square(leaf), axis=tuple(range(1, leaf.ndim - 1)), keepdims=True))
