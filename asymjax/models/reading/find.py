"""The way from a function of parameters to what it is made of."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from asymjax import trees
from asymjax.axes import perms_of
from asymjax.models.reading.atoms import Atoms
from asymjax.models.reading.proof import Network, prove
from asymjax.models.reading.rules import RULES
from asymjax.models.reading.walk import DATA, Use, Value, Walk, shape_of
from asymjax.types import Axis, Fixed, Key, Layer, Perm, Product, PyTree, Sum, Symmetries, TreeSpec


def find_symmetries(
    apply: Callable[[PyTree, Any], PyTree], params: PyTree, example: Any, *, check: bool = True, key: Key | None = None
) -> Symmetries:
    """Read the roles of a network's parameters and the permutations of its units from its jaxpr.

    Sound and not complete: not found are swaps of whole modules that are written one by one, permutations that act
    as others further on (through a ``sort`` or a reversal), and all symmetries that are no permutations.

    Parameters
    ----------
    apply : (params, example) -> outputs, a tree of arrays; any JAX function.
    params : tree of arrays or of ``jax.ShapeDtypeStruct``.
    example : inputs, a tree of arrays or of ``jax.ShapeDtypeStruct``. The check draws those of floating type, and
        takes others as they are.
    check : whether to run the network, on random parameters and inputs, and compare. Without it no permutation is
        found to be within another's index, since only numbers tell.
    key : of what the check draws; a fixed one unless given.

    Raises
    ------
    InputError
        If two leaves have one path, or outputs of the check are not numbers.
    ReadingError
        If a permutation changes the outputs.

    Examples
    --------
    >>> import jax.numpy as jnp, numpy as np, asymjax
    >>> def apply(params, x):
    ...     return jnp.tanh(x @ params["hidden"]) @ params["out"]
    >>> params = {"hidden": np.ones((3, 5)), "out": np.ones((5, 2))}
    >>> asymjax.find_symmetries(apply, params, np.ones((4, 3))).spec["hidden"]
    (Fixed(size=3, name=None), Perm(name='hidden', size=5, within=()))
    """
    leaves = trees.named_leaves(params)
    closed = jax.make_jaxpr(apply)(params, example)
    walk = Walk(RULES, {path: tuple(leaf.shape) for path, leaf in leaves.items()})
    values = {path: walk.parameter(path) for path in leaves}
    inputs = [Value(walk.pinned(shape_of(var)), DATA) for var in closed.jaxpr.invars[len(values) :]]
    outputs = walk.run(closed, [*values.values(), *inputs])
    still = [value for path, value in values.items() if not jnp.issubdtype(leaves[path].dtype, jnp.inexact)]
    for value in (*outputs, *still):
        for axis in value.axes:
            walk.atoms.pin(axis.atom)

    parents = {trees.path_of(keys): trees.path_of(keys[:-1]) for keys, _ in jax.tree.leaves_with_path(params)}
    made = {place for value in outputs for axis in value.axes for place in axis.origin}
    met = [*walk.uses, *(path for path in values if path not in walk.uses)]
    layers = with_norms({path: _layer(path, values[path], walk, made) for path in met}, parents)
    several = [path for path, uses in walk.uses.items() if len(_distinct(uses, layers[path].shape)) > 1]
    axes = {path: [axis.atom for axis in values[path].axes] for path in met}
    names = _names(layers, axes, parents, walk.atoms)
    spec = {path: tuple(_tree(atom, walk.atoms, names) for atom in axes[path]) for path in layers}
    found = Symmetries(layers, spec, tuple(sorted(walk.unknown)), tuple(sorted(several)))
    if check:
        network = Network(apply, params, example, layers, walk.precision)
        found = prove(network, found, jax.random.key(0) if key is None else key)
    return found._replace(spec=_merged(found.spec))


def _layer(path: str, value: Value, walk: Walk, made: set[tuple[str, int]]) -> Layer:
    """Return the first role of a leaf; ``made`` are axes of leaves that axes of the outputs were made of."""
    shape = tuple(walk.atoms.size(axis.atom) for axis in value.axes)
    use = next(iter(_distinct(walk.uses.get(path, []), shape)), Use(None))
    is_output = use.role == "kernel" and any((path, axis) in made for axis in use.out_axes)
    return Layer(path, shape, use.in_axes, use.out_axes, use.batch_axes, use.window_axes, use.role, is_output)


def _distinct(uses: Sequence[Use], shape: Sequence[int]) -> list[Use]:
    """Return the uses with a role, once each; a window that is flattened with its inputs is the same use."""
    found: dict[tuple, Use] = {}
    for use in uses:
        parts = use.in_axes + use.window_axes, use.out_axes, use.batch_axes
        place = use.role, *(frozenset(axis for axis in part if shape[axis] > 1) for part in parts)
        if use.role and (place not in found or len(use.window_axes) > len(found[place].window_axes)):
            found[place] = use
    return list(found.values())


def with_norms(layers: Mapping[str, Layer], parents: Mapping[str, str]) -> dict[str, Layer]:
    """Return which leaves are of norms: scales, and biases in a module that has a scale and no kernel."""
    modules: dict[str, set[str | None]] = {}
    for path, layer in layers.items():
        modules.setdefault(parents[path], set()).add(layer.role)

    def is_norm(path: str, role: str | None) -> bool:
        beside = modules[parents[path]]
        return role == "scale" or (role == "bias" and "scale" in beside and "kernel" not in beside)

    return {path: layer._replace(is_norm=is_norm(path, layer.role)) for path, layer in layers.items()}


def _names(
    layers: Mapping[str, Layer], axes: Mapping[str, Sequence[int]], parents: Mapping[str, str], atoms: Atoms
) -> dict[int, str]:
    """Name atoms by the module of the leaf where they are first on an axis of units, else on any axis."""
    names: dict[int, str] = {}

    def name(path: str, found: Sequence[int], ending: str) -> None:
        own = list(dict.fromkeys(leaf for atom in found for leaf in atoms.leaves(atom) if atoms.size(leaf) > 1))
        wanted = [leaf for leaf in own if atoms.is_pinned(leaf) == bool(ending)]
        for i, leaf in enumerate(wanted):
            if leaf not in names:
                tail = ending + (f".{i}" if len(wanted) > 1 else "")
                names[leaf] = next(free for free in _choices(parents[path] or path, path, tail) if free not in taken)
                taken.add(names[leaf])

    taken: set[str] = set()
    for path, layer in layers.items():
        name(path, [axes[path][axis] for axis in layer.out_axes], "")
    for path in layers:
        name(path, axes[path], "")
    for path in layers:
        name(path, axes[path], ".fixed")
    return names


def _choices(parent: str, path: str, tail: str) -> Sequence[str]:
    return [parent + tail, path + tail, *(f"{path}{tail}.{i}" for i in range(1000))]


def _tree(atom: int, atoms: Atoms, names: Mapping[int, str]) -> Axis:
    """Return what became of an atom, every fixed part of it named."""
    terms = atoms.terms(atom)
    if len(terms) > 1:
        return Sum(tuple(_tree(term, atoms, names) for term in terms))
    factors = atoms.factors(terms[0]) if terms else []
    if len(factors) > 1:
        return Product(tuple(_tree(factor, atoms, names) for factor in factors))
    root, size = atoms.find(atom), atoms.size(atom)
    if size < 2:
        return Fixed(size)
    root = atoms.leaves(root)[0]
    return Fixed(size, names[root]) if atoms.is_pinned(root) else Perm(names[root], size)


def _merged(spec: TreeSpec) -> TreeSpec:
    """Drop the names of fixed axes that no permutation is within, and make one of those side by side."""
    perms = perms_of([axis for axes in spec.values() for axis in axes]).values()
    needed = {name for perm in perms for name in perm.within}

    def merge(axis: Axis) -> Axis:
        if isinstance(axis, Fixed):
            return axis if axis.name in needed else Fixed(axis.size)
        if isinstance(axis, Perm):
            return axis
        size = math.prod if isinstance(axis, Product) else sum
        parts: list[Axis] = []
        for part in map(merge, axis.parts):
            if parts and isinstance(part, Fixed) and parts[-1] == Fixed(parts[-1].size) and part.name is None:
                parts[-1] = Fixed(size((parts[-1].size, part.size)))
            else:
                parts.append(part)
        return parts[0] if len(parts) == 1 else type(axis)(tuple(parts))

    return {path: tuple(map(merge, axes)) for path, axes in spec.items()}
