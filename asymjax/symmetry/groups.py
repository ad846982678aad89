"""The group of a model: permutations and signs of units that map its positions to positions of the same function."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from asymjax import trees
from asymjax.axes import as_trees, perms_of
from asymjax.types import Array, Fixed, Frozen, Model, Perm, PyTree, TreeSpec

TRIAL_TOLERANCE = 1e-4
"""How far outputs may move, in units of their spread, where units are changed that count as changeable."""
NUM_TRIALS = 8
"""Random networks that have to agree that units are changeable: in one alone all later units may be off."""


def position_spec(model: Model, frozen: Frozen) -> TreeSpec:
    """Return how units may be permuted within a model's own set: a tree for every axis of the leaves that move.

    A permutation is left out where the method fixed something that it would move: entries, biases, offsets or gates of
    its units. Symmetries that masks and values drawn at random have by chance are not looked for. Without constants it
    is the specification of the network; where every layer has some it is empty.
    """
    shapes = trees.flatten(model.params_shape)
    spec = {path: as_trees(model.permutation_spec[path], leaf.shape) for path, leaf in shapes.items()}
    together = [set(perms_of([axis])) for axes in spec.values() for axis in axes]
    places = {path.rpartition("/")[0] for path in trees.flatten(frozen)}
    fixed = [set(perms_of(_named(axes))) for path, axes in model.permutation_spec.items() if path in places]
    taken = set().union(*fixed)
    while grown := set().union(*(names for names in together if names & taken)) - taken:
        taken |= grown
    kept = {
        path: tuple(Fixed(axis.size) if perms_of([axis]).keys() & taken else axis for axis in axes)
        for path, axes in spec.items()
    }
    return {path: axes for path, axes in kept.items() if perms_of(axes)}


def _named(axes: tuple) -> list:
    """Return the axes that something acts on, as trees; sizes do not matter here."""
    return [Perm(axis, 0) if isinstance(axis, str) else axis for axis in axes if axis is not None]


def whole_units(spec: TreeSpec) -> dict[str, int]:
    """Return permutations of whole axes that move no leaf along two, with their numbers of units."""
    whole: dict[str, int] = {}
    barred: set[str] = set()
    for axes in spec.values():
        simple = {axis.name: axis.size for axis in axes if isinstance(axis, Perm) and not axis.within}
        counts = Counter(name for axis in axes for name in perms_of([axis]))
        barred |= {name for name, count in counts.items() if count > 1 or name not in simple}
        whole |= simple
    return {name: size for name, size in whole.items() if name not in barred}


def separable_units(spec: TreeSpec) -> dict[str, int]:
    """Return permutations of whole axes, no two of which move the same leaf, with their numbers of units.

    Given all other layers, they act on parts of a position that have nothing in common: every second hidden layer of a
    perceptron. Those of the most units are chosen first.
    """
    chosen: dict[str, int] = {}
    for name, size in sorted(whole_units(spec).items(), key=lambda item: -item[1]):
        neighbours = {other for axes in spec.values() if name in perms_of(axes) for other in perms_of(axes)}
        if not neighbours & chosen.keys():
            chosen[name] = size
    return chosen


def unit_axes(spec: TreeSpec, name: str) -> list[tuple[str, int]]:
    """Return the leaves that a permutation of whole axes moves, and along which axis."""
    return [
        (path, axis)
        for path, axes in spec.items()
        for axis, tree in enumerate(axes)
        if isinstance(tree, Perm) and tree.name == name
    ]


def unit_sums(leaves: Mapping[str, Array], spec: TreeSpec, name: str) -> Array:
    """Return the sum of what belongs to each unit of a permutation of whole axes, [units]."""
    sums = [
        jnp.sum(leaves[path], tuple(other for other in range(leaves[path].ndim) if other != axis))
        for path, axis in unit_axes(spec, name)
    ]
    return jnp.sum(jnp.stack(sums), axis=0)


def negate_units(leaves: Mapping[str, Array], spec: TreeSpec, signs: Mapping[str, Array]) -> dict[str, Array]:
    """Multiply what belongs to each unit by its sign; ``signs`` are name -> [units], of plus and minus one."""
    result = dict(leaves)
    for path, axes in spec.items():
        for axis, tree in enumerate(axes):
            if isinstance(tree, Perm) and tree.name in signs:
                shape = [1] * result[path].ndim
                shape[axis] = tree.size
                result[path] = result[path] * signs[tree.name].reshape(shape)
    return result


def odd_units(model: Model, spec: TreeSpec, prior_mean: PyTree) -> frozenset[str]:
    """Return the permutations whose units may be negated: those of odd activations, without a norm over them.

    The prior has to be even too: ``prior_mean`` is zero on all that moves.
    """
    means = trees.flatten(prior_mean)
    found = {
        name: size
        for name, size in whole_units(spec).items()
        if not any(np.any(means[path]) for path, axes in spec.items() if name in perms_of(axes))
    }

    def negate_one(leaves: Mapping[str, Array], name: str) -> dict[str, Array]:
        return negate_units(leaves, spec, {name: jnp.where(jnp.arange(found[name]) == 0, -1.0, 1.0)})

    return changeable_units(model, found, negate_one)


def changeable_units(
    model: Model, names: Iterable[str], change: Callable[[Mapping[str, Array], str], dict[str, Array]]
) -> frozenset[str]:
    """Return the permutations whose units may be changed and leave the function of networks as it is.

    Units of random weights are changed on their way in and on their way out, and outputs at random inputs are compared.

    Parameters
    ----------
    model : the network, with constants of mask key 0.
    names : permutations to be tried.
    change : (leaves by path, name) -> leaves.
    """
    found, numbers = list(names), np.random.default_rng(0)
    with jax.ensure_compile_time_eval():
        frozen = model.freeze(jax.random.key(0))
        forward = jax.jit(lambda leaves, inputs: model.forward(trees.unflatten(leaves), frozen, inputs))
        for _ in range(NUM_TRIALS):
            leaves = {
                path: numbers.normal(size=leaf.shape).astype(np.float32)
                for path, leaf in trees.flatten(model.params_shape).items()
            }
            inputs = jax.tree.map(lambda leaf: random_like(numbers, leaf), model.example)
            outputs = np.asarray(forward(leaves, inputs))
            for name in list(found):
                moved = np.abs(np.asarray(forward(change(leaves, name), inputs)) - outputs)
                if np.max(moved) > TRIAL_TOLERANCE * np.std(outputs):
                    found.remove(name)
            if not found:
                break
    return frozenset(found)


def random_like(numbers: np.random.Generator, leaf: Any) -> np.ndarray:
    """Return random inputs where they are real numbers; else those given, or zeros where there are shapes alone."""
    if np.issubdtype(leaf.dtype, np.floating):
        return numbers.normal(size=leaf.shape).astype(leaf.dtype)
    return np.zeros(leaf.shape, leaf.dtype) if isinstance(leaf, jax.ShapeDtypeStruct) else leaf
