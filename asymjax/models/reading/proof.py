"""The proof by numbers: what was read is tested on random parameters, and what only numbers tell is found."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from asymjax import trees
from asymjax.axes import atoms_of, blocks, index_place, perms_of, permute_leaf
from asymjax.errors import InputError, ReadingError
from asymjax.types import Axis, Fixed, Key, Layer, Perm, Product, PyTree, Sum, Symmetries

# Outputs that change by less, relative to their spread, are the same: rounding in float32 is about a thousandth of it.
TOLERANCE = 1e-4
NUM_DRAWS = 2

Leaves = dict[str, np.ndarray]
Spec = Mapping[str, tuple[Axis, ...]]


class Network(NamedTuple):
    """What is run.

    Attributes
    ----------
    apply, params, example : as in :func:`~asymjax.models.reading.find_symmetries`.
    layers : path -> what the leaf does, which says how it is drawn.
    precision : the coarsest relative precision of its numbers.
    """

    apply: Callable[[PyTree, Any], PyTree]
    params: PyTree
    example: Any
    layers: Mapping[str, Layer]
    precision: float


class Runs:
    """A network at a few draws of parameters and inputs, compiled once."""

    def __init__(self, network: Network, generator: np.random.Generator) -> None:
        self.network, self.generator = network, generator
        self._run = jax.jit(network.apply)
        for positive in (False, True):
            self.draws = [self.draw(positive) for _ in range(NUM_DRAWS)]
            examples = [_draw_inputs(network.example, generator) for _ in range(NUM_DRAWS)]
            # What stays as it is from run to run is not sent again.
            self._on_device = [jax.device_put(leaves) for leaves in self.draws]
            self._examples = jax.device_put(examples)
            self.outputs = [self._outputs({}, i) for i in range(NUM_DRAWS)]
            if not any(np.isnan(out).any() for outputs in self.outputs for out in outputs):
                break
        else:
            raise InputError(
                "the outputs are not numbers, at random parameters of either sign and at positive ones, so that the "
                "permutations cannot be checked; give inputs at which they are, or check=False"
            )
        self._spreads = [_spread(np.stack(outs)) for outs in zip(*self.outputs, strict=True)]

    def draw(self, positive: bool = False) -> Leaves:
        """Draw all leaves, so that zero biases and unit scales hide nothing."""
        leaves = trees.named_leaves(self.network.params)
        drawn = {path: _draw(leaf, self.network.layers[path], self.generator) for path, leaf in leaves.items()}
        return {path: np.abs(leaf) if positive else leaf for path, leaf in drawn.items()}

    def _outputs(self, changed: Mapping[str, np.ndarray], i: int) -> list[np.ndarray]:
        leaves = self._on_device[i] | dict(changed)
        # GPUs round products to fewer bits unless told.
        with jax.default_matmul_precision("highest"):
            outputs = self._run(trees.with_leaves(self.network.params, leaves), self._examples[i])
        numbers = [out for out in jax.tree.leaves(outputs) if not jnp.issubdtype(out.dtype, jax.dtypes.prng_key)]
        return [np.asarray(out).astype(complex if np.iscomplexobj(out) else float) for out in numbers]

    def change(self, changed: Mapping[str, np.ndarray], i: int) -> float:
        """Return the largest change of outputs at a draw with some leaves changed, relative to their spread."""
        worst = 0.0
        outputs = self._outputs(changed, i)
        for before, after, spread in zip(self.outputs[i], outputs, self._spreads, strict=True):
            if before.size:
                with np.errstate(invalid="ignore"):  # Equal infinities are equal.
                    apart = np.abs(np.where(before == after, 0.0, after - before))
                worst = max(worst, float(np.max(np.nan_to_num(apart, nan=np.inf))) / spread)
        return worst

    @property
    def tolerance(self) -> float:
        """The change that rounding may make."""
        return TOLERANCE * max(1.0, math.sqrt(self.network.precision / float(jnp.finfo(jnp.float32).eps)))


def prove(network: Network, found: Symmetries, key: Key) -> Symmetries:
    """Test what was read, and return it with what only numbers tell, see :class:`Symmetries`.

    Raises
    ------
    InputError
        If outputs are not numbers.
    ReadingError
        If a permutation changes the outputs.
    """
    runs = Runs(network, np.random.default_rng(np.asarray(jax.random.key_data(key))))
    spec = found.spec
    perms = perms_of([axis for axes in spec.values() for axis in axes])
    error = _checked_error(runs, spec, perms)
    spec = _nest(runs, spec, perms)
    error = max(error, _checked_error(runs, spec, perms_of([axis for axes in spec.values() for axis in axes])))
    loose = {path: _loose(runs, path, axes) for path, axes in spec.items()}
    # Leaves that a permutation on them alone made felt are not tried again.
    quiet = [path for path, axes in spec.items() if len(loose[path]) == len(perms_of(axes))]
    dead = tuple(path for path in quiet if _is_dead(runs, path))
    loose = {path: names for path, names in loose.items() if names and path not in dead}
    return found._replace(spec=spec, dead=dead, loose=loose, joint_error=error)


def _checked_error(runs: Runs, spec: Spec, perms: Mapping[str, Perm]) -> float:
    error = _joint_error(runs, spec, perms)
    if error > runs.tolerance:
        alone = {name: _joint_error(runs, spec, {name: perm}) for name, perm in perms.items()}
        wrong = ", ".join(f"{name} ({change:.1e})" for name, change in alone.items() if change > runs.tolerance)
        raise ReadingError(
            f"permutations that were read from the network change its outputs, relative to their spread: "
            f"{wrong or f'all at once ({error:.1e})'}. Please report it with the network; with check=False what was "
            "read is returned as it is"
        )
    return error


def _joint_error(runs: Runs, spec: Spec, perms: Mapping[str, Perm]) -> float:
    """Return the largest change under random permutations, each index of nested ones drawn by itself."""
    worst, sizes = 0.0, _sizes(spec)
    for i in range(NUM_DRAWS):
        drawn = {name: _draw_permutation(perm, sizes, runs.generator) for name, perm in perms.items()}
        worst = max(worst, runs.change(_permuted(runs.draws[i], spec, drawn), i))
    return worst


def _permuted(leaves: Leaves, spec: Spec, permutations: Mapping[str, np.ndarray]) -> Leaves:
    """Return the leaves that permutations act on, permuted."""
    touched = {path: axes for path, axes in spec.items() if perms_of(axes).keys() & permutations.keys()}
    return {path: permute_leaf(leaves[path], axes, permutations, np) for path, axes in touched.items()}


def _draw_permutation(perm: Perm, sizes: Mapping[str | None, int], generator: np.random.Generator) -> np.ndarray:
    """Draw a permutation, for each index that it is within, which is not the identity."""
    outer = tuple(sizes[name] for name in perm.within)
    drawn = generator.permuted(np.tile(np.arange(perm.size), (*outer, 1)), axis=-1)
    is_identity = (drawn == np.arange(perm.size)).all()
    return np.roll(drawn, 1, axis=-1) if is_identity else drawn


def _sizes(spec: Spec) -> dict[str | None, int]:
    return {atom.name: atom.size for axes in spec.values() for axis in axes for atom in atoms_of(axis)}


def _single_error(runs: Runs, spec: Spec, perm: Perm) -> float:
    """Return the largest change under permutations at a single index of what a permutation is within."""
    sizes = _sizes(spec)
    outer = tuple(sizes[name] for name in perm.within)
    worst = 0.0
    for i in range(NUM_DRAWS):
        permutation = np.tile(np.arange(perm.size), (*outer, 1))
        index = tuple(int(runs.generator.integers(size)) for size in outer)
        permutation[index] = _draw_permutation(replace(perm, within=()), sizes, runs.generator)
        worst = max(worst, runs.change(_permuted(runs.draws[i], spec, {perm.name: permutation}), i))
    return worst


def _nest(runs: Runs, spec: Spec, perms: Mapping[str, Perm]) -> Spec:
    """Find the permutations that may differ between the indices of another axis."""
    within: dict[str, tuple[str, ...]] = dict.fromkeys(perms, ())
    for inner, outer in _hypotheses(spec, perms):
        if inner in within.get(outer, ()):
            continue
        trial = nested(spec, within | {inner: (*within[inner], outer)})
        perm = perms_of([axis for axes in trial.values() for axis in axes])[inner]
        if _single_error(runs, trial, perm) <= runs.tolerance:
            within[inner] = (*within[inner], outer)
    depth = {name: len(outers) for name, outers in within.items()}
    ordered = {name: tuple(sorted(outers, key=lambda outer: depth.get(outer, 0))) for name, outers in within.items()}
    return nested(spec, ordered)


def _hypotheses(spec: Spec, perms: Mapping[str, Perm]) -> Iterator[tuple[str, str]]:
    """Yield the pairs (inner, outer) where every block of a leaf that has the inner axis has the outer one too."""
    outers: dict[str, set[str]] = {}
    for axes in spec.values():
        for block in blocks(axes):
            names = {atom.name for _, atom in block if atom.name is not None}
            for axis, atom in block:
                if isinstance(atom, Perm):
                    clear = {n for n in names - {atom.name} if index_place(n, axis, block) is not None}
                    outers[atom.name] = outers.get(atom.name, clear) & clear
    for inner in perms:
        yield from ((inner, outer) for outer in sorted(outers[inner]))


def nested(spec: Spec, within: Mapping[str, tuple[str, ...]]) -> Spec:
    """Return a specification with permutations within others."""

    def mend(axis: Axis) -> Axis:
        if isinstance(axis, (Product, Sum)):
            return type(axis)(tuple(map(mend, axis.parts)))
        return replace(axis, within=within[axis.name]) if isinstance(axis, Perm) else axis

    return {path: tuple(map(mend, axes)) for path, axes in spec.items()}


def _is_dead(runs: Runs, path: str) -> bool:
    """Return whether the outputs do not depend on a leaf."""
    return all(runs.change({path: runs.draw()[path]}, i) <= runs.tolerance for i in range(NUM_DRAWS))


def _loose(runs: Runs, path: str, axes: Sequence[Axis]) -> tuple[str, ...]:
    """Return the permutations that act on one axis of one leaf alone and leave the outputs as they are."""
    names = []
    for i, axis in enumerate(axes):
        still = [Fixed(other.size) for other in axes]
        for name, perm in perms_of([axis]).items():
            only = [*still[:i], axis, *still[i + 1 :]]
            moved = {name: np.roll(np.arange(perm.size), 1)}
            changes = (runs.change({path: permute_leaf(runs.draws[k][path], only, moved, np)}, k) for k in (0, 1))
            if all(change <= runs.tolerance for change in changes):
                names.append(name)
    return tuple(dict.fromkeys(names))


def _draw(leaf: Any, layer: Layer, generator: np.random.Generator) -> np.ndarray:
    """Draw a leaf of a size at which a network keeps its signal; leaves of integers stay as they are."""
    if not jnp.issubdtype(leaf.dtype, jnp.inexact):
        return np.zeros(leaf.shape, leaf.dtype) if isinstance(leaf, jax.ShapeDtypeStruct) else leaf
    normal = generator.standard_normal(leaf.shape)
    if layer.role == "kernel":
        drawn = 1.5 * normal / math.sqrt(layer.fan_in)
    elif layer.role == "embedding" or layer.role == "bias":
        drawn = normal
    elif layer.role == "scale" or len(leaf.shape) < 2:
        drawn = 1.0 + 0.5 * normal
    else:
        drawn = normal / math.sqrt(max(leaf.shape))
    return drawn.astype(leaf.dtype)


def _draw_inputs(example: Any, generator: np.random.Generator) -> Any:
    """Draw inputs of floating type; others stay as they are, since not every integer is an index."""

    def draw(leaf: Any) -> Any:
        leaf = leaf if hasattr(leaf, "dtype") else np.asarray(leaf)
        if jnp.issubdtype(leaf.dtype, jnp.inexact):
            return generator.standard_normal(leaf.shape).astype(leaf.dtype)
        return jnp.zeros(leaf.shape, leaf.dtype) if isinstance(leaf, jax.ShapeDtypeStruct) else leaf

    return jax.tree.map(draw, example)


def _spread(outputs: np.ndarray) -> float:
    finite = outputs[np.isfinite(outputs)]
    spread = float(np.std(finite)) if finite.size else 0.0
    return spread or (float(np.max(np.abs(finite))) if finite.size else 0.0) or 1.0
