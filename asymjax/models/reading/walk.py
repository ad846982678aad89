"""The walk over a jaxpr: values with axes of atoms, and what each parameter does where it meets data."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jax import numpy as jnp
from jax.extend import core

from asymjax.models.reading.atoms import Atoms

# A value depends on the inputs, else on parameters, else on neither.
CONSTANT, PARAMETER, DATA = range(3)


class Axis(NamedTuple):
    """An axis of a value: its atom, and the axes of parameters, (path, axis), that it was made of."""

    atom: int
    origin: frozenset[tuple[str, int]] = frozenset()


class Value(NamedTuple):
    """A value of the jaxpr.

    Attributes
    ----------
    axes : its axes.
    kind : ``CONSTANT``, ``PARAMETER`` or ``DATA``.
    paths : the parameters that it was made of; empty for data.
    indexed : axes of parameters of which the value is one index, as of scanned layers.
    """

    axes: tuple[Axis, ...]
    kind: int = CONSTANT
    paths: frozenset[str] = frozenset()
    indexed: frozenset[tuple[str, int]] = frozenset()


class Use(NamedTuple):
    """What a parameter does at one place, see :class:`~asymjax.models.reading.Layer`."""

    role: str | None
    in_axes: tuple[int, ...] = ()
    out_axes: tuple[int, ...] = ()
    batch_axes: tuple[int, ...] = ()
    window_axes: tuple[int, ...] = ()


Rule = Callable[["Walk", Any, list[Value]], Sequence[Value | Sequence[Axis]] | None]


class Walk:
    """One pass over a jaxpr, applying a rule to every operation.

    Attributes
    ----------
    atoms : the atoms of all axes.
    uses : path -> its uses; both in the order in which they are met.
    unknown : names of operations without a rule that something was lost at.
    precision : the coarsest relative precision among values of floating type.
    """

    def __init__(self, rules: Mapping[str, Rule], shapes: Mapping[str, tuple[int, ...]]) -> None:
        self.atoms = Atoms()
        self.uses: dict[str, list[Use]] = {}
        self.unknown: set[str] = set()
        self.precision = 0.0
        self._rules, self._shapes = rules, shapes

    def fresh(self, size: int, is_pinned: bool = False) -> Axis:
        """Return an axis that nothing is known of; values are constant along it unless it is pinned."""
        return Axis(self.atoms.new(size, is_pinned))

    def pinned(self, shape: Iterable[int]) -> tuple[Axis, ...]:
        """Return axes that stay where they are."""
        return tuple(self.fresh(size, True) for size in shape)

    def join(self, one: Axis, other: Axis) -> Axis:
        """Make one of two axes."""
        self.atoms.join(one.atom, other.atom)
        return Axis(one.atom, one.origin | other.origin)

    def parameter(self, path: str) -> Value:
        """Return the value of a leaf."""
        axes = (Axis(self.atoms.new(size), frozenset({(path, i)})) for i, size in enumerate(self._shapes[path]))
        return Value(tuple(axes), PARAMETER, frozenset({path}))

    def constant(self, array: Any) -> Value:
        """Return the value of an array that is known, pinned along the axes along which it differs."""
        shape = np.shape(array)
        try:
            array = np.asarray(array)
        except TypeError:  # Keys of random numbers.
            return Value(self.pinned(shape))
        differs = [bool((array != array.take([0], axis)).any()) if array.size else True for axis in range(array.ndim)]
        return Value(tuple(self.fresh(size, pin) for size, pin in zip(shape, differs, strict=True)))

    def run(self, closed: Any, inputs: Sequence[Value]) -> list[Value]:
        """Walk over a jaxpr, with or without its constants, and return its outputs."""
        jaxpr, consts = opened(closed)
        known = {var: self.constant(const) for var, const in zip(jaxpr.constvars, consts, strict=True)}
        known |= zip(jaxpr.invars, inputs, strict=True)

        def read(var: Any) -> Value:
            return self.constant(var.val) if isinstance(var, core.Literal) else known[var]

        for eqn in jaxpr.eqns:
            known |= zip(eqn.outvars, self._step(eqn, [read(var) for var in eqn.invars]), strict=True)
        return [read(var) for var in jaxpr.outvars]

    def _step(self, eqn: Any, inputs: list[Value]) -> list[Value]:
        for var in eqn.outvars:
            dtype = getattr(var.aval, "dtype", None)
            if dtype is not None and jnp.issubdtype(dtype, jnp.floating):
                self.precision = max(self.precision, float(jnp.finfo(dtype).eps))
        rule = self._rules.get(eqn.primitive.name)
        outputs = None if rule is None else rule(self, eqn, inputs)
        if outputs is None:
            outputs = self._pin(eqn, inputs)
        like = _common(inputs)
        return [out if isinstance(out, Value) else like._replace(axes=tuple(out)) for out in outputs]

    def _pin(self, eqn: Any, inputs: list[Value]) -> list[tuple[Axis, ...]]:
        """Claim nothing of an operation."""
        moving = [value for value in inputs if value.kind != CONSTANT]
        atoms = [axis.atom for value in moving for axis in value.axes if self.atoms.size(axis.atom) > 1]
        shapes = [shape_of(var) for var in eqn.outvars]
        if not all(map(self.atoms.is_pinned, atoms)) or not (atoms or max(map(np.prod, shapes), default=1) == 1):
            self.unknown.add(eqn.primitive.name)
        for atom in atoms:
            self.atoms.pin(atom)
        return [self.pinned(shape) for shape in shapes]

    def use(self, value: Value, role: str | None, **places: Iterable[int]) -> None:
        """Note what the parameters of a value do; ``places`` are axes of the value, as in :class:`Use`."""
        for path in sorted(value.paths):
            found = {
                name: {axis for place in where for owner, axis in value.axes[place].origin if owner == path}
                for name, where in places.items()
            }
            found["batch_axes"] = found.get("batch_axes", set()) | {
                axis for owner, axis in value.indexed if owner == path
            }
            seen = [axis for axes in found.values() for axis in axes]
            needed = {axis for axis, size in enumerate(self._shapes[path]) if size > 1}
            # An axis that is lost, or summed over and kept, leaves no single role; nor does a broadcast input.
            is_whole = len(seen) == len(set(seen)) and needed <= set(seen)
            has_inputs = role != "kernel" or found["in_axes"] or found.get("window_axes")
            axes = {name: tuple(sorted(axes)) for name, axes in found.items()}
            self.uses.setdefault(path, []).append(Use(role, **axes) if role and is_whole and has_inputs else Use(None))


def opened(closed: Any) -> tuple[Any, Sequence[Any]]:
    """Return a jaxpr and its constants; in newer versions of JAX every jaxpr holds its own."""
    return getattr(closed, "jaxpr", closed), getattr(closed, "consts", ())


def scan_counts(eqn: Any) -> tuple[int, int]:
    """Return how many constants a scan has and how many values it carries, told by their shapes in any version of JAX.

    What is stacked has one axis more outside than inside.
    """
    body, _ = opened(eqn.params["jaxpr"])
    num_stacked = sum(len(shape_of(a)) > len(shape_of(b)) for a, b in zip(eqn.invars, body.invars, strict=True))
    num_carry = sum(shape_of(a) == shape_of(b) for a, b in zip(eqn.outvars, body.outvars, strict=True))
    return len(eqn.invars) - num_stacked - num_carry, num_carry


def shape_of(var: Any) -> tuple[int, ...]:
    """Return the shape of a variable, () for what has none."""
    return tuple(getattr(var.aval, "shape", ()))


def _common(inputs: Sequence[Value]) -> Value:
    """Return a value without axes that depends on what all inputs depend on."""
    kind = max((value.kind for value in inputs), default=CONSTANT)
    if kind != PARAMETER:
        return Value((), kind)
    paths = frozenset().union(*(value.paths for value in inputs))
    return Value((), kind, paths, frozenset().union(*(value.indexed for value in inputs)))
