"""Averages of a product of densities over permutations: what is left of a layer once its order is forgotten.

Every function takes ``logs`` [units, units], the log density of unit i under the factor of unit j, and returns
log (1 / n!) sum over permutations g of exp(sum over i of logs[i, g(i)]), or a bound or an estimate of it. With odd
units each entry is the mean over both signs first (:func:`signed`), which is exact. Formulas: Gelberg et al. (2024),
arXiv 2408.05496, for the bound by uniform elements, which is that of InfoNCE with the known critic; Vontobel (2013,
"The Bethe permanent of a nonnegative matrix") and Anari and Rezaei (2019, arXiv 1811.02933) for the Bethe bound.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jax.scipy.special import logsumexp

from asymjax import rng
from asymjax.errors import InputError
from asymjax.types import Array, Key

MAX_EXACT_UNITS = 20
MAX_SWEEPS = 100
DAMPING = 0.1
"""Of messages; without any, two equal units swap beliefs for ever."""
SHARES = (0.45, 0.45, 0.1)
"""Of the proposal: the best assignment, this with two units swapped, any element."""
NEVER = -1e30
"""Log of zero, with which gradients are numbers."""


def log_order(num_units: int) -> float:
    """Return log n!."""
    return math.lgamma(num_units + 1)


def signed(logs: Array, negated: Array) -> Array:
    """Return the average over both signs of each unit; ``negated`` is ``logs`` of units times -1."""
    return jnp.logaddexp(logs, negated) - math.log(2)


def exact_average(logs: Array) -> Array:
    """Return the average itself, through the permanent.

    Subsets of factors are added up unit by unit, in logs and without cancellation: O(2^n n^2).

    Raises
    ------
    InputError
        If there are more than 20 units.
    """
    num_units = len(logs)
    if num_units > MAX_EXACT_UNITS:
        raise InputError(
            f"{num_units} units are too many for the exact average over their permutations; {MAX_EXACT_UNITS} are the "
            "most, take bethe or centred"
        )
    subsets = jnp.arange(2**num_units)

    @jax.checkpoint  # A gradient would keep all sums of every factor of every unit, gigabytes for 20 units.
    def add_unit(sums: Array, unit: Array) -> tuple[Array, None]:
        def add_factor(total: Array, factor: Array) -> tuple[Array, None]:
            has = (subsets >> factor) & 1 == 1
            without = jnp.where(has, sums[subsets ^ (1 << factor)] + unit[factor], NEVER)
            return jnp.logaddexp(total, without), None

        return lax.scan(add_factor, jnp.full_like(sums, NEVER), jnp.arange(num_units))

    empty = jnp.where(subsets == 0, 0.0, NEVER).astype(logs.dtype)
    sums, _ = lax.scan(add_unit, empty, logs)
    return sums[-1] - log_order(num_units)


def bethe_average(logs: Array) -> Array:
    """Return the average by the Bethe permanent: below the average, by n log(2) / 2 at most.

    Sum-product messages find the beliefs; these are stationary, so that the gradient is theirs. The sweeps end when the
    beliefs do: of units far apart the messages grow for ever, and the beliefs are there after two sweeps. Of arbitrary
    logs a thousand apart they may not be within the sweeps.
    """
    fixed = lax.stop_gradient(logs)

    def sweep(state: tuple[Array, Array, Array, Array]) -> tuple[Array, Array, Array, Array]:
        to_units, beliefs, _, num_sweeps = state
        to_factors = fixed - _of_others(fixed + to_units, 1)
        to_units = DAMPING * to_units - (1 - DAMPING) * _of_others(to_factors, 0)
        new = jax.nn.softmax(fixed + to_units, axis=1)
        change = jnp.max(jnp.abs(new - beliefs))
        unbalance = jnp.max(jnp.abs(jnp.sum(new, axis=0) - 1))
        return to_units, new, jnp.maximum(change, unbalance), num_sweeps + 1

    def goes_on(state: tuple[Array, Array, Array, Array]) -> Array:
        _, _, error, num_sweeps = state
        return (error > math.sqrt(jnp.finfo(fixed.dtype).eps)) & (num_sweeps < MAX_SWEEPS)

    num_units = len(logs)
    if num_units == 1:
        return logs[0, 0]
    start = jnp.zeros_like(fixed), jnp.zeros_like(fixed), jnp.full((), jnp.inf, fixed.dtype), jnp.zeros((), jnp.int32)
    _, beliefs, _, _ = lax.while_loop(goes_on, sweep, start)
    entropy = -jnp.sum(jax.scipy.special.xlogy(beliefs, beliefs))
    others = 1 - beliefs
    entropy += jnp.sum(jax.scipy.special.xlogy(others, others))
    return jnp.sum(lax.stop_gradient(beliefs) * logs) + lax.stop_gradient(entropy) - log_order(num_units)


def _of_others(messages: Array, axis: int) -> Array:
    """Return the log sum over the others along an axis; those of the largest are added up, for nothing cancels then."""
    places = lax.broadcasted_iota(jnp.int32, messages.shape, axis)
    is_largest = places == jnp.argmax(messages, axis, keepdims=True)
    total = logsumexp(messages, axis, keepdims=True)
    others = jnp.where(is_largest, NEVER, messages)
    smaller = total + jnp.log1p(-jnp.exp(others - total))
    return jnp.where(is_largest, logsumexp(others, axis, keepdims=True), smaller)


def uniform_average(key: Key, logs: Array, num_elements: int) -> Array:
    """Return the average over the identity and ``num_elements`` - 1 permutations drawn uniformly: of InfoNCE.

    In expectation over units drawn from their own factors it is at least the average, so that what is subtracted for a
    bound is too little rather than too much.
    """
    elements = _uniform(key, len(logs), num_elements - 1)
    return logsumexp(_scores(logs, _with_identity(elements))) - math.log(num_elements)


def centred_average(key: Key, logs: Array, num_elements: int) -> Array:
    """Return the average by importance sampling around the best assignment, the identity counted as drawn.

    Elements come from the best assignment, the best with two units swapped, or all alike; which is drawn depends on the
    units and factors alone. The identity is the element that made the units, so that the bound holds as of
    :func:`uniform_average`; without it the average would be unbiased, and the bound lost. Its gradient leaves out that
    the proposal jumps where the best assignment changes, so that it is biased where units overlap.
    """
    num_units = len(logs)
    if num_units == 1:
        return logs[0, 0]
    fixed = lax.stop_gradient(jnp.nan_to_num(logs))
    keys = {name: rng.named_key(key, name) for name in ("order", "choice", "swap", "uniform")}
    order = rng.permutation(keys["order"], num_units)  # Among the best as good as each other none is preferred.
    rows, columns = optax.assignment.hungarian_algorithm(-fixed[:, order])
    best = jnp.zeros(num_units, jnp.int32).at[rows].set(order[columns].astype(jnp.int32))
    count = num_elements - 1
    swapped = best[_transpositions(keys["swap"], num_units, count)]
    choice = jax.random.choice(keys["choice"], 3, (count, 1), p=jnp.asarray(SHARES))
    uniform = _uniform(keys["uniform"], num_units, count)
    elements = jnp.where(choice == 0, best[None], jnp.where(choice == 1, swapped, uniform))
    elements = _with_identity(elements)
    num_moved = jnp.sum(elements != best[None], axis=1)
    log_pairs = math.log(num_units * (num_units - 1) / 2)
    near = jnp.where(num_moved == 0, math.log(SHARES[0]), NEVER)
    near = jnp.where(num_moved == 2, math.log(SHARES[1]) - log_pairs, near)
    proposal = jnp.logaddexp(near, math.log(SHARES[2]) - log_order(num_units))
    weights = _scores(logs, elements) - proposal
    return logsumexp(weights) - math.log(num_elements) - log_order(num_units)


def _uniform(key: Key, num_units: int, count: int) -> Array:
    return jax.vmap(lambda key: rng.permutation(key, num_units))(jax.random.split(key, count)).reshape(-1, num_units)


def _transpositions(key: Key, num_units: int, count: int) -> Array:
    """Draw permutations that swap two units [count, units]."""
    first, second = (rng.named_key(key, name) for name in ("first", "second"))
    i = jax.random.randint(first, (count, 1), 0, num_units)
    j = (i + jax.random.randint(second, (count, 1), 1, num_units)) % num_units
    places = jnp.arange(num_units)[None]
    return jnp.where(places == i, j, jnp.where(places == j, i, places))


def _with_identity(elements: Array) -> Array:
    return jnp.concatenate([jnp.arange(elements.shape[1])[None].astype(elements.dtype), elements])


def _scores(logs: Array, elements: Array) -> Array:
    """Return the log density of each element [elements]."""
    return jnp.sum(logs[jnp.arange(len(logs)), elements], axis=1)


def bethe_ceiling(logs: Array) -> Array:
    """Return what the average cannot exceed by the Bethe bound; at least the share of the identity, settled or not."""
    slack = 0.5 * len(logs) * math.log(2) if len(logs) > 1 else 0.0
    return jnp.maximum(bethe_average(logs) + slack, jnp.trace(logs) - log_order(len(logs)))


Average = Callable[[Key, Array, int], Array]
AVERAGES: dict[str, Average] = {
    "infonce": uniform_average,
    "centred": centred_average,
    "bethe": lambda key, logs, num_elements: bethe_ceiling(logs),
    "exact": lambda key, logs, num_elements: exact_average(logs),
}
"""By name, averages that are at least the true one in expectation, so that bounds on the evidence with them hold."""
