"""What symmetrisation adds to a bound: the information that a draw has about the group element that made it.

The average of q over the group G of the model, q_G, has likelihood and prior terms like q's and more entropy (Gelberg
et al. 2024, arXiv 2408.05496):

    ELBO(q_G) = ELBO(q) + I,    I = E_q[log q(z) - log q_G(z)] in [0, log |G|].

All estimates here are at most I in expectation, so that ELBO(q) plus them is a bound on the evidence. Where entries of
q are independent, the average is over every second hidden layer, in a matrix of units and factors; else over random
elements of the whole group (``infonce`` alone).
"""

import math
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.special import logsumexp

from asymjax import rng, trees
from asymjax.axes import permute_leaf
from asymjax.errors import InputError
from asymjax.inference.algorithm import Target
from asymjax.inference.vi.family import Family, Moments
from asymjax.symmetry.averages import AVERAGES, signed
from asymjax.symmetry.groups import (
    negate_units,
    odd_units,
    position_spec,
    separable_units,
    unit_axes,
    whole_units,
)
from asymjax.symmetry.permutations import random_permutations
from asymjax.types import Array, Key, PyTree, TreeSpec


class Group(NamedTuple):
    """The group of a model's positions.

    Attributes
    ----------
    spec : how permutations act on the leaves that move.
    separable : permutations that act on separate leaves -> units.
    odd : permutations whose units may be negated too.
    """

    spec: TreeSpec
    separable: dict[str, int]
    odd: frozenset[str]

    @property
    def is_trivial(self) -> bool:
        """Whether there is the identity alone."""
        return not self.spec


def group_of(target: Target) -> Group:
    """Return the group of the network behind a target; trivial where its method left none.

    Raises
    ------
    InputError
        If there is no network.
    """
    posterior = target.posterior
    if posterior.model is None:
        raise InputError("a log density has no units to permute; give a posterior, or leave symmetrise out")
    spec = position_spec(posterior.model, posterior.frozen)
    odd = odd_units(posterior.model, spec, posterior.prior_mean) if spec else frozenset()
    return Group(spec, separable_units(spec), odd)


def draw_element(key: Key, group: Group, z: PyTree) -> PyTree:
    """Return z after a random element of the group."""
    leaves = trees.flatten(z)
    moved = {path: leaves[path] for path in group.spec}
    permutations = random_permutations(rng.named_key(key, "permutation"), moved, group.spec)
    sizes = whole_units(group.spec)
    signs = {name: jax.random.rademacher(rng.named_key(key, name), (sizes[name],), jnp.float32) for name in group.odd}
    moved = {path: permute_leaf(leaf, group.spec[path], permutations) for path, leaf in moved.items()}
    return trees.unflatten(leaves | negate_units(moved, group.spec, signs))


def information(
    key: Key, family: Family, params: Any, z: PyTree, group: Group, estimator: str, num_elements: int
) -> Array:
    """Return an estimate of log q(z) - log q_G(z) at a draw z of q, at most I in expectation; 0 for a trivial group.

    Raises
    ------
    InputError
        If the estimator needs independent entries and the family has none, or layers whose permutations can be taken
        one at a time and the network has none; or there are too many units for it.
    """
    if group.is_trivial:
        return jnp.zeros(())
    if family.independent is not None and group.separable:
        moments, logs = family.independent(params), jnp.zeros(())
        for name in group.separable:
            matrix = unit_logs(moments, z, group, name)
            average = AVERAGES[estimator](rng.named_key(key, name), matrix, num_elements)
            logs += jnp.trace(matrix if name not in group.odd else own_logs(moments, z, group, name)) - average
        return logs
    if estimator != "infonce":
        if family.independent is None:
            raise InputError(f"{estimator} is for families with independent entries, as meanfield; take infonce")
        raise InputError(f"{estimator} needs a layer whose units are whole axes; this network has none, take infonce")
    own = family.logdensity(params, z)  # type: ignore[misc]

    def other(key: Key) -> Array:
        return family.logdensity(params, draw_element(key, group, z))  # type: ignore[misc]

    others = jax.lax.map(other, jax.random.split(key, num_elements - 1))
    return own - logsumexp(jnp.append(others, own)) + math.log(num_elements)


def unit_logs(moments: Moments, z: PyTree, group: Group, name: str) -> Array:
    """Return the log density of what unit i has under the factor of unit j [i, j]; the mean of both signs if odd."""
    logs = own_logs(moments, z, group, name)
    return signed(logs, own_logs(moments, z, group, name, sign=-1.0)) if name in group.odd else logs


def own_logs(moments: Moments, z: PyTree, group: Group, name: str, sign: float = 1.0) -> Array:
    """Return the log density of what unit i has, times a sign, under the factor of unit j [i, j].

    By products of matrices leaf by leaf, around the mean of all factors, where the squares are small.
    """
    drawn, mean, scale = (trees.flatten(tree) for tree in (z, *moments))
    total = jnp.zeros(())
    for path, axis in unit_axes(group.spec, name):
        others = tuple(other for other in range(drawn[path].ndim) if other != axis)
        product = partial(jnp.tensordot, axes=(others, others), precision="highest")
        centre = jnp.mean(mean[path], axis=axis, keepdims=True)
        unit, factor, precision = sign * drawn[path] - centre, mean[path] - centre, jnp.square(1 / scale[path])
        of_factor = jnp.square(factor) * precision + 2 * jnp.log(scale[path]) + math.log(2 * math.pi)
        squares = product(jnp.square(unit), precision) - 2 * product(unit, factor * precision)
        total -= 0.5 * (squares + jnp.sum(of_factor, axis=others)[None])
    return total
