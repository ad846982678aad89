"""Alignment: permutations of one network's units that match them with those of another.

Ainsworth et al. (2023), "Git Re-Basin", arXiv 2209.04836: matching of weights and of activations, and merging of many
networks. Everything works on effective parameters, ``model.merge`` of a position. Aligned, an asymmetric network has
left its asymmetric set: what the model fixed sits elsewhere (w_asym, pruned), or it needs gates other than the model's
to be the function that it was (sigma_asym). :func:`align` reports how far it went, and conjugates the gates.

The numbers live on the host, where the assignment problems are solved.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import linear_sum_assignment
from threadpoolctl import threadpool_limits

from asymjax import trees
from asymjax.errors import InputError
from asymjax.symmetry.permutations import Permutations, compose, identity, permute, permute_frozen, unit_counts
from asymjax.types import Array, Frozen, Graph, Model, Params, PermutationSpec

# A gain below this share of the objective is rounding in float32.
MIN_GAIN = 1e-7
MAX_SWEEPS = 100


class Matching(NamedTuple):
    """A matching of one network's units with another's.

    Attributes
    ----------
    permutations : permutation name -> int [units]; unit i of the reference matches unit ``permutation[i]``.
    objectives : float64 [sweeps + 1]; the inner product of reference and permuted network, the identity's first.
    """

    permutations: dict[str, np.ndarray]
    objectives: np.ndarray


class Aligned(NamedTuple):
    """A permuted network.

    Attributes
    ----------
    params : effective parameters.
    frozen : the constants with which ``params`` is the function that it was before; the gates are conjugated.
    departure : [] largest absolute difference of an entry from what the model fixed there; zero within its set.
    """

    params: Params
    frozen: Frozen
    departure: Array


class Merged(NamedTuple):
    """Several networks, aligned with each other.

    Attributes
    ----------
    params : their mean, effective parameters.
    permutations : what each network was permuted by.
    distances : float64 [rounds + 1]; sum over networks of the squared distance to the mean, before and after each
        round.
    """

    params: Params
    permutations: list[dict[str, np.ndarray]]
    distances: np.ndarray


def assign(scores: np.ndarray) -> np.ndarray:
    """Return the permutation int [units] that maximises the sum over i of ``scores[i, permutation[i]]``."""
    # The solver is faster by a quarter on costs that are zero somewhere in every row and nowhere negative.
    costs = scores.max(axis=1, keepdims=True) - scores
    costs -= costs.min(axis=0)
    return linear_sum_assignment(costs)[1]


def align(model: Model, params: Params, frozen: Frozen, permutations: Permutations) -> Aligned:
    """Permute a network, and report how far that takes it from the model's asymmetric set.

    The departure is measured as the difference of the permuted parameters from ``merge(split(...))`` of them, so it
    sees fixed entries. Gates are no entries: a sigma-asymmetric network stays in its set, but with the model's own
    gates it is another function.

    Parameters
    ----------
    model : the network's model.
    params, frozen : effective parameters and constants.
    permutations : an element of the group, as in :func:`~asymjax.symmetry.permute`.
    """
    permuted = permute(params, model.permutation_spec, permutations)
    nearest = model.merge(model.split(permuted, frozen), frozen)
    apart = jax.tree.map(lambda leaf, near: jnp.max(jnp.abs(leaf - near)), permuted, nearest)
    gates = permute_frozen(frozen, model.permutation_spec, permutations)
    return Aligned(permuted, gates, jnp.max(jnp.stack(jax.tree.leaves(apart))))


class _Term:
    """What one axis of one parameter adds to the scores of the permutation on that axis."""

    def __init__(self, axes: Sequence[str | None], axis: int, reference: np.ndarray, param: np.ndarray) -> None:
        self.axis, self.param = axis, param
        self.others = [(i, name) for i, name in enumerate(axes) if name is not None and i != axis]
        self.reference = self._by_unit(reference)
        self.seen = np.zeros_like(self._by_unit(param))
        self.seen_with: list[np.ndarray] | None = None

    def _by_unit(self, param: np.ndarray) -> np.ndarray:
        return np.moveaxis(param, self.axis, 0).reshape(param.shape[self.axis], -1)

    def add_change(self, scores: np.ndarray, permutations: Mapping[str, np.ndarray]) -> bool:
        """Add to ``scores`` what changed since the last time, and say whether anything can have."""
        current = [permutations[name] for _, name in self.others]
        if self.seen_with is not None and all(now is then for now, then in zip(current, self.seen_with, strict=True)):
            return False
        param = self.param
        for (axis, _), permutation in zip(self.others, current, strict=True):
            param = param.take(permutation, axis)
        now = self._by_unit(param)
        change = now - self.seen
        # Late in the search few features move, and only those are multiplied.
        moved = change.any(axis=0)
        scores += self.reference[:, moved] @ change[:, moved].T
        self.seen, self.seen_with = now, current
        return True


class _Search:
    """One permutation in the descent: the scores of all pairs of units, and the best assignment of them."""

    def __init__(self, name: str, spec: PermutationSpec, reference: Mapping, params: Mapping) -> None:
        self.name, self.spec, self.reference, self.params = name, spec, reference, params
        places = [(path, axis) for path in params for axis, other in enumerate(spec[path]) if other == name]
        self.paths = list(dict.fromkeys(path for path, _ in places))
        self.is_linear = len(self.paths) == len(places)
        self.terms = [_Term(spec[path], axis, reference[path], params[path]) for path, axis in places]
        path, axis = places[0]
        num_units = params[path].shape[axis]
        self.scores = np.zeros((num_units, num_units), params[path].dtype)

    def improve(self, permutations: dict[str, np.ndarray]) -> float:
        """Replace this permutation in ``permutations`` by a better one, if there is one, and return the gain."""
        # All terms have to be brought up to date, so no generator here.
        if not any([term.add_change(self.scores, permutations) for term in self.terms]):
            return 0.0
        current, candidate = permutations[self.name], assign(self.scores)
        units = np.arange(len(current))
        chosen = self.scores[units, candidate].sum(dtype=np.float64)
        gain = float(chosen - self.scores[units, current].sum(dtype=np.float64))
        if not self.is_linear:
            before, after = (
                _inner_product(self.paths, self.spec, self.reference, self.params, permutations | {self.name: choice})
                for choice in (current, candidate)
            )
            gain = after - before
        if gain <= MIN_GAIN * abs(chosen):
            return 0.0
        permutations[self.name] = candidate
        return gain


def _inner_product(
    paths: Sequence[str], spec: PermutationSpec, reference: Mapping, params: Mapping, permutations: Mapping
) -> float:
    """Return the inner product of some parameters of the reference with those of the permuted network."""
    total = 0.0
    for path in paths:
        param = params[path]
        for axis, name in enumerate(spec[path]):
            param = param if name is None else param.take(permutations[name], axis)
        total += float(np.vdot(reference[path], param))
    return total


def weight_matching(spec: PermutationSpec, reference: Params, params: Params, seed: int = 0) -> Matching:
    """Match the weights of two networks by coordinate descent over permutations.

    Every sweep visits the permutations in random order, and solves for each the assignment problem that the others
    leave, which maximises the inner product of all permuted parameters, biases and norms included (Ainsworth et al.
    2023, algorithm 1). It ends after a sweep without gain, or after ``MAX_SWEEPS``. A permutation whose neighbours are
    as they were at its last visit is not solved for again, and scores are updated by what moved since then.

    Where a permutation acts on two axes of one parameter (a recurrent kernel) the problem is quadratic: the assignment
    is that of its linearisation, and is taken if the objective itself gains.

    Parameters
    ----------
    spec : see ``Model.permutation_spec``.
    reference : effective parameters that stay as they are.
    params : effective parameters of the network to permute.
    seed : of the order of visits.

    Returns
    -------
    ``permute(params, spec, permutations)`` is close to ``reference``, a local optimum.

    Raises
    ------
    InputError
        If the networks have other parameters than each other.
    """
    fixed, moving = _on_host(reference), _on_host(params)
    shapes, others = ({path: leaf.shape for path, leaf in tree.items()} for tree in (moving, fixed))
    if shapes != others:
        raise InputError(f"two networks match only with the same parameters, not {others} and {shapes}")
    permutations = identity(params, spec)
    searches = {name: _Search(name, spec, fixed, moving) for name in permutations}
    permuted = [path for path in moving if any(name is not None for name in spec[path])]
    objectives = [_inner_product(permuted, spec, fixed, moving, permutations)]
    generator = np.random.default_rng(seed)
    for _ in range(MAX_SWEEPS):
        order = generator.permutation(list(permutations))
        objectives.append(objectives[-1] + sum(searches[name].improve(permutations) for name in order))
        if objectives[-1] == objectives[-2]:
            break
    return Matching(permutations, np.array(objectives))


def _on_host(params: Params) -> dict[str, np.ndarray]:
    return {path: np.asarray(leaf) for path, leaf in trees.flatten(params).items()}


def match_pairs(spec: PermutationSpec, pairs: Sequence[tuple[Params, Params]], seed: int = 0) -> list[Matching]:
    """Match the weights of several pairs (reference, network) at the same time; each as it would be alone."""
    # Products and assignments run outside the interpreter's lock. Products on several threads each would be in each
    # other's way.
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor() as threads:
        return list(threads.map(lambda pair: weight_matching(spec, pair[0], pair[1], seed), pairs))


@partial(jax.jit, static_argnums=0)
def _site_products(
    site_inputs: Callable, reference: Params, params: Params, frozen: Frozen, x: Array | Graph
) -> dict[str, Array]:
    """Return the inner products of all pairs of features of two networks, by activation site."""
    ours, theirs = (site_inputs(network, frozen, x) for network in (reference, params))
    return {site: jnp.einsum("...i,...j->ij", ours[site], theirs[site]) for site in ours}


def activation_matching(
    model: Model, reference: Params, params: Params, frozen: Frozen, x: Array | np.ndarray | Graph
) -> Matching:
    """Match what enters the activations of two networks on the same inputs.

    The permutation of each layer maximises the inner product of the permuted features, summed over rows, over pixels
    and over the sites that it acts on: one assignment problem a layer, independent of the others (Ainsworth et al.
    2023, section 3.1, with the features before the activation).

    Parameters
    ----------
    model : of both networks.
    reference : effective parameters that stay as they are.
    params : effective parameters of the network to permute.
    frozen : the model's constants.
    x : inputs [rows, *input_shape]; of a graph, features at all nodes are matched.

    Returns
    -------
    The matching; its objectives are the inner products before and after.

    Raises
    ------
    InputError
        If the features of a permutation enter no activation.
    """
    spec = model.permutation_spec
    scores: dict[str, np.ndarray] = {}
    for site, product in _site_products(model.site_inputs, reference, params, frozen, x).items():
        name = spec[site][0]
        if name is not None:
            scores[name] = scores.get(name, 0) + np.asarray(product)
    unseen = sorted(set(unit_counts(params, spec)) - set(scores))
    if unseen:
        raise InputError(f"no activation is fed by the units of {', '.join(unseen)}; match weights instead")
    permutations = {name: assign(score) for name, score in scores.items()}
    before = sum(float(np.trace(score)) for score in scores.values())
    after = sum(float(score[np.arange(len(score)), permutations[name]].sum()) for name, score in scores.items())
    return Matching(permutations, np.array([before, after]))


def merge_many(spec: PermutationSpec, networks: Sequence[Params], seed: int = 0) -> Merged:
    """Align several networks with each other, and average them.

    Each network in turn, in random order, is matched with the mean of the others, until a round changes nothing or
    after ``MAX_SWEEPS`` rounds (Ainsworth et al. 2023, algorithm 3).

    Parameters
    ----------
    spec : see ``Model.permutation_spec``.
    networks : effective parameters of each, two at least.
    seed : of all orders.

    Raises
    ------
    InputError
        If there are fewer than two networks.
    """
    if len(networks) < 2:
        raise InputError(f"{len(networks)} networks cannot be merged; give 2 at least")
    aligned = [trees.to_host(network) for network in networks]
    permutations: list[dict] = [identity(network, spec) for network in networks]
    generator = np.random.default_rng(seed)
    distances = [_spread(aligned)]
    for _ in range(MAX_SWEEPS):
        has_changed = False
        for i in generator.permutation(len(aligned)):
            others = _mean([*aligned[:i], *aligned[i + 1 :]])
            found = weight_matching(spec, others, aligned[i], int(generator.integers(2**31)))
            if found.objectives[-1] > found.objectives[0]:
                has_changed = True
                aligned[i] = trees.to_host(permute(aligned[i], spec, found.permutations))
                permutations[i] = compose(permutations[i], found.permutations)
        distances.append(_spread(aligned))
        if not has_changed:
            break
    return Merged(_mean(aligned), permutations, np.array(distances))


def _mean(networks: Sequence[Params]) -> Params:
    return jax.tree.map(lambda *leaves: np.mean(leaves, axis=0), *networks)


def _spread(networks: Sequence[Params]) -> float:
    """Return the sum of the squared distances to the mean."""
    center = _mean(networks)
    return sum(float(trees.norm(jax.tree.map(np.subtract, network, center))) ** 2 for network in networks)
