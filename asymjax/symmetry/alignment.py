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
from asymjax.axes import Atom, flat, open_leaf, permute_leaf
from asymjax.errors import InputError
from asymjax.symmetry.permutations import (
    Permutations,
    compose,
    identity,
    permute,
    permute_frozen,
    tree_spec,
    unit_counts,
)
from asymjax.types import Array, Fixed, Frozen, Graph, Model, Params, Perm, PermutationSpec, PyTree, TreeSpec

# A gain below this share of the objective is rounding in float32.
MIN_GAIN = 1e-7
MAX_SWEEPS = 100
NUM_STARTS = 2


class Matching(NamedTuple):
    """A matching of one network's units with another's.

    Attributes
    ----------
    permutations : permutation name -> int [units]; unit i of the reference matches unit ``permutation[i]``.
    objectives : float64 [sweeps + 1]; the inner product of reference and permuted network, the identity's first, then
        after each sweep from the best start.
    starts : float64 [starts]; the objective that each start led to.
    """

    permutations: dict[str, np.ndarray]
    objectives: np.ndarray
    starts: np.ndarray


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


def align_all(model: Model, reference: Params, params: Params, frozen: Frozen) -> Aligned:
    """Permute each of several networks so that its weights match those of a reference; see :func:`weight_matching`.

    Parameters
    ----------
    model, frozen : of all.
    reference : effective parameters.
    params : effective parameters, leaves [network, ...].

    Returns
    -------
    All with leaves [network, ...].
    """
    permutations = match_all(model.permutation_spec, reference, params)
    return jax.vmap(lambda params, element: align(model, params, frozen, element))(params, permutations)


def match_all(spec: PermutationSpec | TreeSpec, reference: Params, params: Params) -> dict[str, np.ndarray]:
    """Return the permutations, int [network, units] by name, that match several networks to a reference.

    Parameters
    ----------
    spec : as of :func:`match_pairs`.
    reference : effective parameters.
    params : effective parameters, leaves [network, ...].
    """
    count = len(jax.tree.leaves(params)[0])
    networks = [jax.tree.map(lambda leaf, i=i: leaf[i], params) for i in range(count)]
    found = match_pairs(spec, [(reference, network) for network in networks])
    return {name: np.stack([match.permutations[name] for match in found]) for name in found[0].permutations}


# Parameters as arrays with an axis for every atom: (path, number of the block) -> array, or -> atoms.
_Blocks = Mapping[tuple[str, int], np.ndarray]
_Atoms = Mapping[tuple[str, int], tuple[Atom, ...]]


class _Term:
    """What one axis of one parameter adds to the scores of the permutation on that axis."""

    def __init__(self, atoms: Sequence[Atom], axis: int, reference: np.ndarray, param: np.ndarray) -> None:
        self.axis, self.param = axis, param
        self.others = [*atoms[:axis], Fixed(atoms[axis].size), *atoms[axis + 1 :]]
        self.names = [atom.name for atom in self.others if isinstance(atom, Perm)]
        self.reference = self._by_unit(reference)
        self.seen = np.zeros_like(self._by_unit(param))
        self.seen_with: list[np.ndarray] | None = None

    def _by_unit(self, param: np.ndarray) -> np.ndarray:
        return np.moveaxis(param, self.axis, 0).reshape(param.shape[self.axis], -1)

    def add_change(self, scores: np.ndarray, permutations: Mapping[str, np.ndarray]) -> bool:
        """Add to ``scores`` what changed since the last time, and return whether anything can have."""
        current = [permutations[name] for name in self.names]
        if self.seen_with is not None and all(now is then for now, then in zip(current, self.seen_with, strict=True)):
            return False
        now = self._by_unit(permute_leaf(self.param, self.others, permutations, np))
        change = now - self.seen
        # Late in the search few features move, and only those are multiplied.
        moved = change.any(axis=0)
        scores += self.reference[:, moved] @ change[:, moved].T
        self.seen, self.seen_with = now, current
        return True


class _Search:
    """One permutation in the descent: the scores of all pairs of units, and the best assignment of them."""

    def __init__(self, name: str, atoms: _Atoms, reference: _Blocks, params: _Blocks) -> None:
        self.name, self.atoms, self.reference, self.params = name, atoms, reference, params
        places = [(key, axis) for key in params for axis, atom in enumerate(atoms[key]) if atom.name == name]
        self.keys = list(dict.fromkeys(key for key, _ in places))
        self.is_linear = len(self.keys) == len(places)
        self.terms = [_Term(atoms[key], axis, reference[key], params[key]) for key, axis in places]
        key, axis = places[0]
        num_units = params[key].shape[axis]
        self.scores = np.zeros((num_units, num_units), params[key].dtype)

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
                _inner_product(self.keys, self.atoms, self.reference, self.params, permutations | {self.name: choice})
                for choice in (current, candidate)
            )
            gain = after - before
        if gain <= MIN_GAIN * abs(chosen):
            return 0.0
        permutations[self.name] = candidate
        return gain


class _OuterSearch:
    """A permutation, or a fixed axis, and those within it: heads and the dimensions of each.

    What a pair of heads is worth is known only once their dimensions are matched, which is a matching of its own.
    """

    def __init__(self, outer: Atom, atoms: _Atoms, reference: _Blocks, params: _Blocks) -> None:
        self.outer, self.atoms = outer, atoms
        self.keys = [key for key in params if outer in atoms[key]]
        self.reference, self.params = reference, params
        self.inner = {
            atom.name: atom
            for key in self.keys
            for atom in atoms[key]
            if isinstance(atom, Perm) and outer.name in atom.within
        }
        others = {atom.name for key in self.keys for atom in atoms[key] if isinstance(atom, Perm)}
        self.others = sorted(others - {outer.name} - self.inner.keys())
        self.seen_with: list[np.ndarray] | None = None

    def improve(self, permutations: dict[str, np.ndarray]) -> float:
        """Replace these permutations in ``permutations`` by better ones, if there are, and return the gain."""
        current = [permutations[name] for name in self.others]
        if self.seen_with is not None and all(now is then for now, then in zip(current, self.seen_with, strict=True)):
            return 0.0
        self.seen_with = current
        candidate = permutations | self._best({name: permutations[name] for name in self.others})
        before, after = (
            _inner_product(self.keys, self.atoms, self.reference, self.params, choice)
            for choice in (permutations, candidate)
        )
        if after - before <= MIN_GAIN * abs(after):
            return 0.0
        permutations |= candidate
        return after - before

    def _best(self, others: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        places = {key: self.atoms[key].index(self.outer) for key in self.keys}
        moved = {key: permute_leaf(self.params[key], self.atoms[key], others, np) for key in self.keys}
        atoms = {key: self._without_outer(self.atoms[key], places[key]) for key in self.keys}
        ours, theirs = (
            [{key: blocks[key].take(i, places[key]) for key in self.keys} for i in range(self.outer.size)]
            for blocks in (self.reference, moved)
        )
        is_fixed = isinstance(self.outer, Fixed)
        scores = np.full((self.outer.size,) * 2, -np.inf)
        found: dict[tuple[int, int], dict[str, np.ndarray]] = {}
        for i, one in enumerate(ours):
            for j, other in enumerate(theirs):
                if i == j or not is_fixed:
                    found[i, j] = _identity(atoms)
                    scores[i, j] = _descend(atoms, one, other, found[i, j], np.random.default_rng(0))[-1]
        chosen = np.arange(self.outer.size) if is_fixed else assign(scores)
        best = {} if is_fixed or self.outer.name is None else {self.outer.name: chosen}
        for name, perm in self.inner.items():
            pairs = [found[i, int(j)][name] for i, j in enumerate(chosen)]
            best[name] = np.stack(pairs, perm.within.index(str(self.outer.name)))
        return best

    def _without_outer(self, atoms: Sequence[Atom], place: int) -> tuple[Atom, ...]:
        """Return the atoms at one index of the outer axis, with those outside of it fixed."""
        left: list[Atom] = []
        for atom in (*atoms[:place], *atoms[place + 1 :]):
            if atom.name in self.inner and isinstance(atom, Perm):
                within = tuple(name for name in atom.within if name != self.outer.name)
                left.append(Perm(atom.name, atom.size, within))
            else:
                left.append(Fixed(atom.size, atom.name))
        return tuple(left)


def _inner_product(
    keys: Sequence[tuple[str, int]],
    atoms: _Atoms,
    reference: _Blocks,
    params: _Blocks,
    permutations: Mapping[str, np.ndarray],
) -> float:
    """Return the inner product of some parameters of the reference with those of the permuted network, in float64."""
    permuted = (permute_leaf(params[key], atoms[key], permutations, np) for key in keys)
    return sum(float(np.vdot(reference[key].astype(float), param)) for key, param in zip(keys, permuted, strict=True))


def _named(atoms: _Atoms) -> dict[str, Atom]:
    return {atom.name: atom for of_block in atoms.values() for atom in of_block if atom.name is not None}


def _permuted(atoms: _Atoms) -> list[tuple[str, int]]:
    """Return the blocks that permutations act on."""
    return [key for key, of_block in atoms.items() if any(isinstance(atom, Perm) for atom in of_block)]


def _identity(atoms: _Atoms) -> dict[str, np.ndarray]:
    named = _named(atoms)
    return {
        name: np.tile(np.arange(perm.size), (*(named[outer].size for outer in perm.within), 1))
        for name, perm in named.items()
        if isinstance(perm, Perm)
    }


def _matched_at_once(atoms: _Atoms) -> dict[str, set[str]]:
    """Return the permutations that are matched at a time by the name of the first: one, or heads and those within."""
    named = _named(atoms)
    perms = {name: atom for name, atom in named.items() if isinstance(atom, Perm)}
    inner = {name: {other for other, perm in perms.items() if name in perm.within} for name in named}
    return {name: {name, *inner[name]} for name in named if (not perms[name].within if name in perms else inner[name])}


def _search_of(
    name: str, at_once: set[str], atoms: _Atoms, reference: _Blocks, params: _Blocks
) -> _Search | _OuterSearch:
    if len(at_once) == 1:
        return _Search(name, atoms, reference, params)
    return _OuterSearch(_named(atoms)[name], atoms, reference, params)


def _descend(
    atoms: _Atoms,
    reference: _Blocks,
    params: _Blocks,
    permutations: dict[str, np.ndarray],
    generator: np.random.Generator,
) -> list[float]:
    """Improve ``permutations`` by coordinate descent, see :func:`weight_matching`, and return the objectives."""
    names = _matched_at_once(atoms)
    searches = {name: _search_of(name, at_once, atoms, reference, params) for name, at_once in names.items()}
    objectives = [_inner_product(_permuted(atoms), atoms, reference, params, permutations)]
    for _ in range(MAX_SWEEPS):
        order = generator.permutation(list(searches))
        objectives.append(objectives[-1] + sum(searches[name].improve(permutations) for name in order))
        if objectives[-1] == objectives[-2]:
            break
    return objectives


def _inward(atoms: _Atoms, reference: _Blocks, params: _Blocks) -> dict[str, np.ndarray]:
    """Match from inputs and outputs inward: next the units of which most entries lie among what is matched already.

    Descent from elsewhere ends at a bottleneck. Many units on both sides of it are told apart by a few, which are not
    matched yet and are told apart by them; but inputs and outputs stay where they are.
    """
    permutations, left, known = _identity(atoms), _matched_at_once(atoms), set[str]()
    perms = {key: {atom.name for atom in atoms[key] if isinstance(atom, Perm)} for key in params}

    def told(name: str) -> list[tuple[str, int]]:
        return [key for key, names in perms.items() if names & left[name] and names <= left[name] | known]

    while left:
        name = max(left, key=lambda name: sum(params[key].size for key in told(name)))
        if keys := told(name):
            blocks = ({key: of_all[key] for key in keys} for of_all in (reference, params))
            _search_of(name, left[name], atoms, *blocks).improve(permutations)
        known |= left.pop(name)
    return permutations


def weight_matching(
    spec: PermutationSpec | TreeSpec, reference: PyTree, params: PyTree, seed: int = 0, num_starts: int = NUM_STARTS
) -> Matching:
    """Match the weights of two networks by coordinate descent over permutations.

    Every sweep visits the permutations in random order, and solves for each the assignment problem that the others
    leave, which maximises the inner product of all permuted parameters, biases and norms included (Ainsworth et al.
    2023, algorithm 1). It ends after a sweep without gain, or after ``MAX_SWEEPS``. A permutation whose neighbours are
    as they were at its last visit is not solved for again, and scores are updated by what moved since then.

    The descent starts from the identity, as published; then from a matching that goes from inputs and outputs inward,
    since from the identity it is stuck at a narrow layer; and from random permutations, if more starts are asked for.
    The best of what they lead to is returned, the first of equals.

    Where a permutation acts on two axes of one parameter (a recurrent kernel) the problem is quadratic: the assignment
    is that of its linearisation, and is taken if the objective itself gains.

    Where units are within others (the dimensions of each head), these are matched by what each pair of them is worth
    once its own units are matched: as many matchings as there are pairs.

    Parameters
    ----------
    spec : see ``Model.permutation_spec``; or a tree for every axis.
    reference : effective parameters that stay as they are.
    params : effective parameters of the network to permute.
    seed : of the order of visits, and of random starts.
    num_starts : one costs as much as another; the first ones are the same however many there are.

    Returns
    -------
    ``permute(params, spec, permutations)`` is close to ``reference``, a local optimum.

    Raises
    ------
    InputError
        If the networks have other parameters than each other, or there is no start.
    """
    if num_starts < 1:
        raise InputError(f"num_starts is {num_starts}; give 1 at least")
    fixed, moving = _on_host(reference), _on_host(params)
    shapes, others = ({path: leaf.shape for path, leaf in tree.items()} for tree in (moving, fixed))
    if shapes != others:
        raise InputError(f"two networks match only with the same parameters, not {others} and {shapes}")
    axes = tree_spec(params, spec)
    opened, atoms = _opened(moving, axes)
    return _best_descent(atoms, _opened(fixed, axes)[0], opened, seed, num_starts)


def _best_descent(atoms: _Atoms, reference: _Blocks, params: _Blocks, seed: int, num_starts: int) -> Matching:
    elements, objectives, starts = [], [], []
    for number in range(num_starts):
        generator = np.random.default_rng([seed, number] if number else seed)
        element = _inward(atoms, reference, params) if number == 1 else _identity(atoms)
        if number > 1:
            element = {name: generator.permuted(units, axis=-1) for name, units in element.items()}
        objectives.append(_descend(atoms, reference, params, element, generator))
        elements.append(element)
        starts.append(_inner_product(_permuted(atoms), atoms, reference, params, element))
    best = int(np.argmax(starts))
    return Matching(elements[best], np.array([objectives[0][0], *objectives[best][1:]]), np.array(starts))


def _opened(leaves: Mapping[str, np.ndarray], axes: TreeSpec) -> tuple[dict, dict]:
    """Return parameters as arrays with an axis for every atom, and these atoms."""
    blocks = {(path, i): block for path in leaves for i, block in enumerate(open_leaf(leaves[path], axes[path]))}
    return {key: leaf for key, (leaf, _) in blocks.items()}, {key: atoms for key, (_, atoms) in blocks.items()}


def _on_host(params: PyTree) -> dict[str, np.ndarray]:
    return {path: np.asarray(leaf) for path, leaf in trees.named_leaves(params).items()}


def match_pairs(
    spec: PermutationSpec | TreeSpec,
    pairs: Sequence[tuple[PyTree, PyTree]],
    seed: int = 0,
    num_starts: int = NUM_STARTS,
) -> list[Matching]:
    """Match the weights of several pairs (reference, network) at the same time; each as it would be alone."""
    # Products and assignments run outside the interpreter's lock. Products on several threads each would be in each
    # other's way.
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor() as threads:
        return list(threads.map(lambda pair: weight_matching(spec, pair[0], pair[1], seed, num_starts), pairs))


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
    spec = flat(model.permutation_spec)
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
    return Matching(permutations, np.array([before, after]), np.array([after]))


def merge_many(spec: PermutationSpec | TreeSpec, networks: Sequence[PyTree], seed: int = 0) -> Merged:
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
            if found.starts.max() > found.objectives[0]:
                has_changed = True
                aligned[i] = trees.to_host(permute(aligned[i], spec, found.permutations))
                permutations[i] = compose(permutations[i], found.permutations, spec)
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
