"""Activations that are plain calls, found in a jaxpr and replaced.

A call leaves equations in a row that are equal to those of the function alone, whatever their names.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from asymjax.models.network import Activate
from asymjax.types import Array, PyTree

TEMPLATES: dict[str, Callable[[Array], Array]] = {
    "relu": jax.nn.relu,
    "silu": jax.nn.silu,
    "tanh": jnp.tanh,
    "gelu": jax.nn.gelu,
    "gelu_exact": partial(jax.nn.gelu, approximate=False),
}
REMAT = ("checkpoint", "remat", "remat2")
CALLS = ("jit", "pjit", "closed_call", *REMAT)


class Match(NamedTuple):
    """A call of a template: its name, the equations that it takes, its input and output."""

    name: str
    length: int
    source: Any
    result: Any


def make_run(
    apply: Callable[[PyTree, Any], PyTree], templates: Mapping[str, Callable[[Array], Array]]
) -> Callable[[PyTree, Any, Activate], PyTree]:
    """Return (params, x, activate) -> outputs of a function, with ``activate`` in place of calls of templates.

    Sites are named by template and count, ``gelu_0``, ``gelu_1``, in the order of the forward pass. Their features are
    on the last axis. Calls in loops and branches stay as they are.
    """

    def run(params: PyTree, x: Any, activate: Activate) -> PyTree:
        leaves, tree = jax.tree.flatten((params, x))
        shapes = [jax.ShapeDtypeStruct(np.shape(leaf), jax.dtypes.result_type(leaf)) for leaf in leaves]
        made = jax.make_jaxpr(lambda *leaves: apply(*jax.tree.unflatten(tree, leaves)), return_shape=True)
        closed, outputs = made(*shapes)
        walk = _Walk(activate, templates)
        return jax.tree.unflatten(jax.tree.structure(outputs), walk.run(closed.jaxpr, closed.consts, leaves))

    return run


class _Walk:
    """One evaluation of a jaxpr."""

    def __init__(self, activate: Activate, templates: Mapping[str, Callable[[Array], Array]]) -> None:
        self._activate, self._templates = activate, templates
        self._counts: Counter[str] = Counter()
        self._traced: dict[Any, Any] = {}

    def run(self, jaxpr: Any, consts: Sequence[Any], inputs: Sequence[Any]) -> list[Any]:
        """Evaluate a jaxpr."""
        known: dict[Any, Any] = dict(zip(jaxpr.constvars, consts, strict=True))
        known |= zip(jaxpr.invars, inputs, strict=True)

        def read(var: Any) -> Any:
            return var.val if isinstance(var, core.Literal) else known[var]

        place = 0
        while place < len(jaxpr.eqns):
            match = self._match(jaxpr, place)
            if match is None:
                eqn = jaxpr.eqns[place]
                known |= zip(eqn.outvars, self._evaluate(jaxpr, eqn, list(map(read, eqn.invars))), strict=True)
                place += 1
            else:
                site = f"{match.name}_{self._counts[match.name]}"
                self._counts[match.name] += 1
                known[match.result] = self._activate(site, self._templates[match.name], read(match.source), -1)
                place += match.length
        return [read(var) for var in jaxpr.outvars]

    def _evaluate(self, jaxpr: Any, eqn: Any, values: list[Any]) -> list[Any]:
        inner = eqn.params.get("jaxpr", eqn.params.get("call_jaxpr")) if eqn.primitive.name in CALLS else None
        if inner is None or not self._contains(inner):
            return evaluate(jaxpr, eqn, values)
        consts = getattr(inner, "consts", ())
        run = partial(self.run, getattr(inner, "jaxpr", inner), consts)
        if eqn.primitive.name in REMAT:
            return jax.checkpoint(run, prevent_cse=eqn.params["prevent_cse"], policy=eqn.params["policy"])(values)
        return run(values)

    def _contains(self, closed: Any) -> bool:
        """Return whether a template is called in a jaxpr that is called."""
        jaxpr = getattr(closed, "jaxpr", closed)
        inner = [eqn.params.get("jaxpr", eqn.params.get("call_jaxpr")) for eqn in jaxpr.eqns]
        inside = (self._contains(j) for j, eqn in zip(inner, jaxpr.eqns, strict=True) if eqn.primitive.name in CALLS)
        return any(self._match(jaxpr, place) for place in range(len(jaxpr.eqns))) or any(inside)

    def _match(self, jaxpr: Any, place: int) -> Match | None:
        """Return the longest template whose equations start at a place."""
        found = None
        sources = [var for var in jaxpr.eqns[place].invars if not isinstance(var, core.Literal)]
        for name in self._templates:
            for source in dict.fromkeys(sources):
                template = self._trace(name, source.aval)
                length = len(template.jaxpr.eqns) if template else 0
                if template and (found is None or length > found.length):
                    result = _same_run(template.jaxpr, jaxpr, place, source)
                    found = found if result is None else Match(name, length, source, result)
        return found

    def _trace(self, name: str, aval: Any) -> Any:
        """Return the jaxpr of a template on a value, None where it takes none such."""
        if not jnp.issubdtype(getattr(aval, "dtype", int), jnp.floating):
            return None
        key = name, aval.shape, aval.dtype
        if key not in self._traced:
            self._traced[key] = jax.make_jaxpr(self._templates[name])(jax.ShapeDtypeStruct(aval.shape, aval.dtype))
        return self._traced[key]


def evaluate(jaxpr: Any, eqn: Any, values: Sequence[Any]) -> list[Any]:
    """Return the outputs of one equation of a jaxpr, at values of its inputs."""
    given = {var: value for var, value in zip(eqn.invars, values, strict=True) if not isinstance(var, core.Literal)}
    alone = jaxpr.replace(constvars=[], invars=list(given), outvars=list(eqn.outvars), eqns=[eqn])
    return core.jaxpr_as_fun(core.ClosedJaxpr(alone, []))(*given.values())


def _same_run(template: Any, jaxpr: Any, place: int, source: Any) -> Any:
    """Return the output of equations from a place on that are those of a template at an input; None if they are not."""
    eqns = jaxpr.eqns[place : place + len(template.eqns)]
    if not template.eqns or len(eqns) < len(template.eqns):
        return None
    names = {template.invars[0]: source}
    for ours, theirs in zip(template.eqns, eqns, strict=True):
        if ours.primitive != theirs.primitive or len(ours.invars) != len(theirs.invars):
            return None
        if not all(_same_input(*pair, names) for pair in zip(ours.invars, theirs.invars, strict=True)):
            return None
        if not _same_params(ours.params, theirs.params):
            return None
        names |= zip(ours.outvars, theirs.outvars, strict=True)
    result = names[template.outvars[0]]
    inside = {var for eqn in eqns for var in eqn.outvars} - {result}
    later = [var for eqn in jaxpr.eqns[place + len(eqns) :] for var in eqn.invars] + list(jaxpr.outvars)
    return None if any(var in inside for var in later if not isinstance(var, core.Literal)) else result


def _same_input(ours: Any, theirs: Any, names: Mapping[Any, Any]) -> bool:
    if isinstance(ours, core.Literal) or isinstance(theirs, core.Literal):
        return (
            isinstance(ours, core.Literal) and isinstance(theirs, core.Literal) and bool(np.all(ours.val == theirs.val))
        )
    return names.get(ours) is theirs


def _same_params(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> bool:
    """Compare what equations are told, rules of differentiation apart."""
    return ours.keys() == theirs.keys() and all(
        str(ours[name]) == str(theirs[name]) if hasattr(ours[name], "eqns") else ours[name] == theirs[name]
        for name in ours
        if not name.startswith(("jvp", "fwd", "bwd"))
    )
