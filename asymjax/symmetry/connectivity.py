"""Linear paths between networks: loss and accuracy along them, barriers, averages.

Paths run in effective weights. Since ``merge`` is affine, merging the path between two positions gives the same path,
and what is fixed stays as it is. Statistics over pairs run on the host in float64.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from scipy.stats import t as student_t

from asymjax import trees
from asymjax.errors import InputError
from asymjax.symmetry.permutations import with_gates
from asymjax.train.losses import categorical_loglikelihood
from asymjax.types import Array, Frozen, Graph, Model, Params, PyTree, Split

ROWS_PER_BATCH = 1000  # On CPU their activations still fit the caches, and the products are large.
MAX_LOG_TEMPERATURE = 6.0
CONFIDENCE = 0.95

Gates = Mapping[str, Array]
Metrics = dict[str, dict[str, Array]]
Measure = Callable[..., Metrics]
Score = Callable[[Array, Array], dict[str, Array]]  # outputs [rows, ...], targets [rows, ...] -> metric -> []


# Networks on a path ----------------------------------------------------------------------------------------------


def interpolate(start: PyTree, end: PyTree, t: Array | float) -> PyTree:
    """Return ``start + t * (end - start)``, counted from the nearer end so that both ends are met to the bit.

    Parameters
    ----------
    start, end : effective parameters of two networks, or other trees of arrays.
    t : [] from 0 (``start``) to 1 (``end``).
    """

    def one(a: Array, b: Array) -> Array:
        return jnp.where(t < 0.5, a + t * (b - a), b - (1 - t) * (b - a))

    return jax.tree.map(one, start, end)


def running_averages(params: Params) -> Params:
    """Return the averages of the first, the first two, ... of several networks, leaves [network, ...] like those."""

    def one(leaf: Array) -> Array:
        count = jnp.arange(1, len(leaf) + 1, dtype=leaf.dtype)
        return jnp.cumsum(leaf, axis=0) / count.reshape(-1, *[1] * (leaf.ndim - 1))

    return jax.tree.map(one, params)


def finite_networks(params: Params) -> np.ndarray:
    """Return which of several networks, leaves [network, ...], have only finite parameters; bool [network]."""
    leaves = [np.asarray(leaf).reshape(len(leaf), -1) for leaf in jax.tree.leaves(params)]
    return np.all([np.isfinite(leaf).all(axis=1) for leaf in leaves], axis=0)


def grid(num_points: int) -> np.ndarray:
    """Return uniform points from 0 to 1, float64 [num_points], with 1/2 among them.

    Raises
    ------
    InputError
        If the number is even or below 3.
    """
    if num_points < 3 or num_points % 2 == 0:
        raise InputError(f"num_points is {num_points}; give an odd number from 3 on, so that the middle is a point")
    return np.linspace(0.0, 1.0, num_points)


# Loss and accuracy -----------------------------------------------------------------------------------------------


class Rows(NamedTuple):
    """Rows that pass through a network in batches of one size.

    Attributes
    ----------
    inputs : [batch, row, *input_shape]; the last batch is filled up with zeros. A graph, leaves [1, ...], is one batch.
    targets : [rows, ...], as many as there are.
    """

    inputs: Array | Graph
    targets: Array


def in_batches(split: Split, max_rows: int | None = None) -> Rows:
    """Divide a split, or its first ``max_rows`` rows, into equal batches of at most ``ROWS_PER_BATCH``."""
    if isinstance(split.inputs, Graph):
        graph, targets = jax.tree.map(jnp.asarray, split.take(slice(max_rows)))
        return Rows(jax.tree.map(lambda leaf: leaf[None], graph), targets)
    inputs, targets = (np.asarray(part)[:max_rows] for part in split)
    num_batches = -(-len(inputs) // ROWS_PER_BATCH)
    size = -(-len(inputs) // num_batches)
    padded = np.zeros((num_batches * size, *inputs.shape[1:]), inputs.dtype)
    padded[: len(inputs)] = inputs
    return Rows(jnp.asarray(padded.reshape(num_batches, size, *inputs.shape[1:])), jnp.asarray(targets))


def first_batches(rows: Rows, count: int) -> Rows:
    """Return the first ``count`` batches of rows; of a graph all."""
    if isinstance(rows.inputs, Graph):
        return rows
    return Rows(rows.inputs[:count], rows.targets[: count * rows.inputs.shape[1]])


def best_temperature(logits: Array, labels: Array) -> Array:
    """Return the temperature T with the smallest mean cross-entropy of ``logits / T`` [].

    The loss is convex in 1/T (Guo et al. 2017), so the sign of its slope is bisected over log T, between the bounds
    ``MAX_LOG_TEMPERATURE``; these are met where every label is right, or where chance is better than the logits.

    Parameters
    ----------
    logits : [rows, classes].
    labels : int [rows].
    """
    chosen = jnp.sum(logits * jax.nn.one_hot(labels, logits.shape[-1], dtype=logits.dtype), axis=-1)

    def halve(_: int, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = ends
        middle = (low + high) / 2
        probability = jax.nn.softmax(logits * jnp.exp(-middle), axis=-1)
        is_too_cold = jnp.mean(jnp.sum(probability * logits, axis=-1) - chosen) > 0
        return jnp.where(is_too_cold, middle, low), jnp.where(is_too_cold, high, middle)

    bound = jnp.asarray(MAX_LOG_TEMPERATURE, logits.dtype)
    low, high = lax.fori_loop(0, 20, halve, (-bound, bound))
    return jnp.exp((low + high) / 2)


def _score_classifier(logits: Array, labels: Array) -> dict[str, Array]:
    temperature = best_temperature(logits, labels)
    return {
        "loss": -jnp.mean(categorical_loglikelihood(logits, labels)),
        "recalibrated_loss": -jnp.mean(categorical_loglikelihood(logits / temperature, labels)),
        "accuracy": jnp.mean(jnp.argmax(logits, axis=-1) == labels),
    }


def _score_regressor(outputs: Array, targets: Array) -> dict[str, Array]:
    return {"loss": jnp.mean(jnp.square(outputs - targets))}


SCORES: dict[str, Score] = {"classification": _score_classifier, "regression": _score_regressor}


def make_measure(model: Model, task: str, scores: Mapping[str, Score] = SCORES) -> Measure:
    """Build the measurement of one network.

    Parameters
    ----------
    model : the network.
    task : ``"classification"`` or ``"regression"``.
    scores : what is measured, by task.

    Returns
    -------
    (params, frozen, splits: name -> Rows) -> name -> metric -> []. By ``SCORES``, ``loss`` is the mean cross-entropy or
    squared error; classifiers also have ``accuracy`` and ``recalibrated_loss``, the smallest loss that a softmax
    temperature gives on these very rows: averages of networks have smaller outputs than the networks, which raises
    their loss but changes no decision (Ito et al. 2025, arXiv 2510.08023). One number fitted to n rows flatters by
    about 1 / (2 n) nats.
    """

    def measure(params: Params, frozen: Frozen, splits: Mapping[str, Rows]) -> Metrics:
        metrics = {}
        for name, rows in splits.items():
            outputs = lax.map(lambda inputs: model.forward(params, frozen, inputs), rows.inputs)
            outputs = outputs.reshape(-1, outputs.shape[-1])[: rows.targets.shape[0]]
            metrics[name] = scores[task](outputs, rows.targets)
        return metrics

    return measure


def make_path(measure: Measure, points: np.ndarray) -> Callable[..., dict]:
    """Build the measurement of one path, point after point: one network's parameters then stay near the processor.

    Map it over pairs with ``devices.map_leading``.

    Parameters
    ----------
    measure : see :func:`make_measure`.
    points : [point] places on the path, see :func:`interpolate`.

    Returns
    -------
    (start, end, frozen, splits, gates=None) -> ``curves``, metrics as ``measure`` returns them with a [point] axis, and
    ``distance``, the Euclidean distance of effective weights []. ``gates``, where the networks have gates of their own,
    are those of both ends, as of ``permutations.gates_of``; they move along the path as the weights do.
    """

    def path(
        start: Params, end: Params, frozen: Frozen, splits: Mapping[str, Rows], gates: Sequence[Gates] | None = None
    ) -> dict:
        def at(t: Array) -> Metrics:
            constants = frozen if gates is None else with_gates(frozen, interpolate(gates[0], gates[1], t))
            return measure(interpolate(start, end, t), constants, splits)

        curves = lax.map(at, jnp.asarray(points, "float32"))
        return {"curves": curves, "distance": trees.norm(jax.tree.map(jnp.subtract, end, start))}

    return path


def losses_between(
    model: Model,
    task: str,
    points: np.ndarray,
    pairs: Array,
    networks: tuple[Params, Gates | None],
    frozen: Frozen,
    rows: Rows,
) -> Array:
    """Return the mean loss of rows on the paths between pairs of networks [pair, point], pair after pair.

    Parameters
    ----------
    model, task, points : as of :func:`make_measure` and :func:`make_path`.
    pairs : int [pair, 2].
    networks : their effective parameters, leaves [network, ...], and where they have gates of their own, these.
    frozen : constants of all.
    """
    path = make_path(make_measure(model, task), points)

    def one(pair: Array) -> Array:
        ends = [jax.tree.map(lambda leaf, i=i: jnp.asarray(leaf)[pair[i]], networks) for i in (0, 1)]
        (start, end), moving = zip(*ends, strict=True)
        gates = None if networks[1] is None else moving
        return path(start, end, frozen, {"rows": rows}, gates)["curves"]["rows"]["loss"]

    return lax.map(one, pairs)


# Barriers, and statistics over pairs -----------------------------------------------------------------------------


def all_pairs(count: int) -> np.ndarray:
    """Return every unordered pair of ``count`` networks, int [pair, 2], the smaller index first."""
    return np.array(list(combinations(range(count), 2)), int).reshape(-1, 2)


def barriers(points: np.ndarray, curves: np.ndarray) -> dict[str, np.ndarray]:
    """Return how far curves rise above the straight line between their ends.

    Parameters
    ----------
    points : [point], as of :func:`grid`.
    curves : [pair, point] of a loss; minus the accuracy, for how far accuracy falls.

    Returns
    -------
    ``midpoint``: L(1/2) - (L(0) + L(1)) / 2, which may be negative (Lim et al. 2024, table 1); ``maximum``: the
    largest L(t) - (1 - t) L(0) - t L(1) over the points, zero or more (Frankle et al. 2020). Each [pair].
    """
    curves = np.asarray(curves, np.float64)
    start, end = curves[:, :1], curves[:, -1:]
    excess = curves - (start + points * (end - start))
    return {"midpoint": excess[:, len(points) // 2], "maximum": np.maximum(excess.max(axis=1), 0.0)}


def instabilities(points: np.ndarray, curves: np.ndarray) -> dict[str, np.ndarray]:
    """Return how far curves rise on a path by the three definitions of the literature, which differ where ends do.

    Parameters
    ----------
    points : [point], as of :func:`grid`.
    curves : [pair, point] of a loss or an error rate.

    Returns
    -------
    ``over_mean``: largest L(t) - (L(0) + L(1)) / 2, the linear interpolation instability of Frankle et al. (2020);
    ``over_line``: largest L(t) - (1 - t) L(0) - t L(1), the ``maximum`` of :func:`barriers`; ``over_worse``: largest
    L(t) - max(L(0), L(1)). Each [pair], over all points, ends included.
    """
    curves = np.asarray(curves, np.float64)
    ends = curves[:, [0, -1]]
    return {
        "over_mean": curves.max(axis=1) - ends.mean(axis=1),
        "over_line": barriers(points, curves)["maximum"],
        "over_worse": curves.max(axis=1) - ends.max(axis=1),
    }


def over_pairs(values: np.ndarray, pairs: np.ndarray) -> dict[str, np.ndarray]:
    """Return mean, standard deviation over pairs, and the interval of the mean.

    Pairs share networks and so are not independent. The interval leaves out one network after the other, with all its
    pairs: jackknife variance of the mean over pairs, with Student's t of one degree less than there are networks. That
    variance is never too small on average (Efron and Stein 1981).

    Parameters
    ----------
    values : [pair, ...].
    pairs : int [pair, 2], all pairs of some networks.

    Returns
    -------
    ``mean``, ``std``, ``low`` and ``high``, each [...]; ``std``, ``low`` and ``high`` are NaN for two networks.
    """
    values = np.asarray(values, np.float64)
    networks = np.unique(pairs)
    mean, count = values.mean(axis=0), len(networks)
    if count < 3:
        unknown = np.full_like(mean, np.nan)
        return {"mean": mean, "std": unknown, "low": unknown, "high": unknown}
    without = np.stack([values[(pairs != network).all(axis=1)].mean(axis=0) for network in networks])
    error = np.sqrt((count - 1) / count * np.sum(np.square(without - without.mean(axis=0)), axis=0))
    half_width = student_t.ppf((1 + CONFIDENCE) / 2, count - 1) * error
    return {"mean": mean, "std": values.std(axis=0, ddof=1), "low": mean - half_width, "high": mean + half_width}
