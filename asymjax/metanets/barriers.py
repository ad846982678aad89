"""The loss barrier between each network of a zoo and one of them, the reference: a target beside scores."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from asymjax.errors import InputError
from asymjax.inference.posterior import read_rows
from asymjax.metanets.zoo import Zoo
from asymjax.symmetry import alignment, connectivity
from asymjax.symmetry.permutations import gates_of

BARRIERS = ("barrier", "aligned_barrier")
"""As networks lie, and after weight matching to the reference."""
NUM_POINTS = 25
REFERENCE, NOT_FINITE = "the reference of barriers", "a barrier is not finite"


def best_network(zoo: Zoo) -> int:
    """Return the place of the network of the best accuracy on validation rows, or of the least loss; first of equals.

    Raises
    ------
    InputError
        If no network was scored on such rows.
    """
    for name, sign in (("validation.accuracy", 1), ("validation.loss", -1)):
        if name in zoo.scores:
            return int(np.argmax(sign * zoo.scores[name]))
    raise InputError("the zoo has no scores on validation rows, which choose the reference of barriers; give one")


def reference_barriers(zoo: Zoo, rows: Any, reference: int, num_points: int = NUM_POINTS) -> dict[str, np.ndarray]:
    """Measure how far the loss rises on the straight path from each network to a reference.

    The barrier is the largest L(t) - (1 - t) L(0) - t L(1), zero or more (Frankle et al. 2020), of the mean
    cross-entropy or squared error. Aligned are networks whose units are permuted to match those of the reference by
    weight matching (Ainsworth et al. 2023, algorithm 1), which may leave the set of an asymmetric model; gates move
    along.

    Parameters
    ----------
    zoo : the networks.
    rows : ``(X, y)``, or what else :func:`~asymjax.make_posterior` takes, as the networks see them.
    reference : place of the reference.
    num_points : points on each path, odd, both ends included.

    Returns
    -------
    ``barrier``, as networks lie, and ``aligned_barrier``: float64 [network].

    Raises
    ------
    InputError
        If rows are damaged or do not fit the networks.
    """
    return make_barriers(zoo, rows, reference, num_points)(np.arange(zoo.num_networks))


def make_barriers(
    zoo: Zoo, rows: Any, reference: int, num_points: int = NUM_POINTS
) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    """Build the measurement of :func:`reference_barriers` for networks at some places, int [network]."""
    split, kind, _ = read_rows(zoo.model, rows)
    batches, points = connectivity.in_batches(split), connectivity.grid(num_points)
    losses = jax.jit(partial(connectivity.losses_between, zoo.model, kind.task, points))

    def measure(places: np.ndarray) -> dict[str, np.ndarray]:
        params = zoo.take(np.array([reference, *places])).networks("params")
        first = jax.tree.map(lambda leaf: leaf[0], params)
        aligned = alignment.align_all(zoo.model, first, params, zoo.frozen)
        pairs = jnp.array([(0, place) for place in range(1, len(places) + 1)])
        curves = [
            losses(pairs, networks, zoo.frozen, batches)
            for networks in ((params, None), (aligned.params, gates_of(aligned.frozen) or None))
        ]
        found = [connectivity.barriers(points, np.asarray(curve))["maximum"] for curve in curves]
        return dict(zip(BARRIERS, found, strict=True))

    return measure


Barriers = Callable[[Zoo, Any, int], Mapping[str, np.ndarray]]


def with_barriers(zoo: Zoo, rows: Any, reference: int | None = None, measure: Barriers = reference_barriers) -> Zoo:
    """Return a zoo whose networks have their barriers to a reference as scores, and which that is no part of.

    Parameters
    ----------
    zoo, rows : as of :func:`reference_barriers`.
    reference : place of the reference. Default: :func:`best_network`.
    measure : (zoo, rows, reference) -> the barriers of all networks.

    Returns
    -------
    ``target("barrier")`` and ``target("aligned_barrier")`` are there; ``excluded`` names the reference, and networks
    with a loss on their path that is not finite.

    Raises
    ------
    InputError
        If ids stand for several networks each, as those of draws; or as of :func:`reference_barriers` and
        :func:`best_network`.
    """
    if len(np.unique(zoo.ids)) < zoo.num_networks:
        raise InputError("barriers are of networks that were trained one by one, and ids here stand for several each")
    reference = best_network(zoo) if reference is None else reference
    found = measure(zoo, rows, reference)
    is_finite = np.all([np.isfinite(values) for values in found.values()], axis=0)
    excluded = dict.fromkeys(zoo.ids[~is_finite].tolist(), NOT_FINITE) | {int(zoo.ids[reference]): REFERENCE}
    named = zoo._replace(scores={**zoo.scores, **found}, excluded={**zoo.excluded, **excluded})
    return named.take(np.flatnonzero(is_finite & (np.arange(zoo.num_networks) != reference)))
