"""What a variational family is, and what a bound on the evidence is made of.

All is in units of the prior: ``z = position / prior_scale``, leaf by leaf. The evidence lower bound of a density q is

    ELBO(q) = E_q[log likelihood] + E_q[log prior] + entropy of q,

with the likelihood counted ``likelihood_weight`` times; at temperature T likelihood and prior are over T.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from asymjax import trees
from asymjax.errors import InputError
from asymjax.inference.algorithm import Target
from asymjax.inference.samplers.gradients import unwhiten
from asymjax.types import Array, Graph, Key, PyTree

Moments = tuple[PyTree, PyTree]


class Family(NamedTuple):
    """A density over z with parameters of its own, a tree ``params``.

    Attributes
    ----------
    draw : (params, key) -> z, differentiable in ``params``.
    logdensity : (params, z) -> []; None where draws have no density, and so no bound.
    entropy : (params) -> []; None where it is not known.
    moments : (params) -> (mean, variance) trees like z of the entries on their own; None where they are not known.
    independent : (params) -> (mean, standard deviation) trees like z, where entries are independent Gaussians.
    outputs : (params, key, inputs) -> parameters of the predictive distribution [rows, ...], each row with noise of its
        own; None where all rows of a step share a draw.
    log_copies : log of how many copies of its support the group makes, which together are all z.
    """

    draw: Callable[[Any, Key], PyTree]
    logdensity: Callable[[Any, PyTree], Array] | None
    entropy: Callable[[Any], Array] | None = None
    moments: Callable[[Any], Moments] | None = None
    independent: Callable[[Any], Moments] | None = None
    outputs: Callable[[Any, Key, Any], Array] | None = None
    log_copies: float = 0.0


class Joint(NamedTuple):
    """The joint density of data and z, in parts that a bound takes.

    Attributes
    ----------
    loglikelihood : (z, rows) -> [] of rows, as many as all; ``rows`` as of ``take``.
    of_outputs : (outputs, rows) -> [] the same of what a network says of them.
    take : (key) -> rows of a step, and how many rows each stands for.
    logprior : (z) -> [].
    expected_logprior : (mean, variance) -> [] E[log prior] of any density with these moments.
    log_mass : [] log of the integral of the prior over z: 0 but at other temperatures than 1; NaN where there is none.
    """

    loglikelihood: Callable[[PyTree, Any], Array]
    of_outputs: Callable[[Array, Any], Array] | None
    take: Callable[[Key], Any]
    logprior: Callable[[PyTree], Array]
    expected_logprior: Callable[[PyTree, PyTree], Array] | None
    log_mass: Array | float


class Rows(NamedTuple):
    """Rows of a step, and how many each stands for."""

    batch: Any
    weight: float


def make_joint(target: Target, batch_size: int | None, likelihood_weight: float) -> Joint:
    """Take the density of one chain apart.

    Raises
    ------
    InputError
        If there are no rows to take a few of, or no likelihood to count otherwise than once.
    """
    posterior = target.posterior
    sizes = jax.tree.map(lambda scale, leaf: leaf.size * jnp.log(scale), target.prior_scale, posterior.shape)
    volume = sum(jax.tree.leaves(sizes))
    if posterior.model is None:
        if batch_size is not None or likelihood_weight != 1.0:
            raise InputError("a log density has no rows and no likelihood; leave batch_size and likelihood_weight out")

        def density(z: PyTree, rows: Rows) -> Array:
            return target.logdensity(unwhiten(z, target.prior_scale)) + volume

        return Joint(density, None, lambda key: Rows(None, 1.0), lambda z: jnp.zeros(()), None, math.nan)
    data, temperature = posterior.data, posterior.temperature
    if batch_size is not None and isinstance(data.inputs, Graph):
        raise InputError("a few rows at a time need rows that can be drawn; a graph has none, leave batch_size out")
    factor = posterior.given[1] if posterior.given else 1.0

    def take(key: Key) -> Rows:
        if batch_size is None:
            return Rows(data, 1.0)
        index = jax.random.randint(key, (batch_size,), 0, target.num_rows)
        return Rows(jax.tree.map(lambda leaf: leaf[index], data), target.num_rows / batch_size)

    def of_outputs(outputs: Array, rows: Rows) -> Array:
        total = jnp.sum(posterior.likelihood.loglikelihood(outputs, rows.batch.targets))
        return total * rows.weight * likelihood_weight / temperature

    def loglikelihood(z: PyTree, rows: Rows) -> Array:
        position = unwhiten(z, target.prior_scale)
        return of_outputs(posterior.predict(position, posterior.frozen, rows.batch.inputs), rows)

    def logprior(z: PyTree) -> Array:
        return posterior.logprior(unwhiten(z, target.prior_scale), factor) / temperature + volume

    def expected_logprior(mean: PyTree, variance: PyTree) -> Array:
        spread = sum(jnp.sum(leaf) for leaf in jax.tree.leaves(variance))
        return logprior(mean) - 0.5 * spread / temperature

    num_entries = trees.num_entries(posterior.shape)
    log_mass = (1 - 1 / temperature) * (volume + 0.5 * num_entries * math.log(2 * math.pi))
    log_mass += 0.5 * num_entries * jnp.log(temperature)
    return Joint(loglikelihood, of_outputs, take, logprior, expected_logprior, log_mass)


def bound(family: Family, params: Any, joint: Joint, key: Key, rows: Rows, *, is_path: bool = False) -> tuple:
    """Return an unbiased estimate of the ELBO from one draw, NaN where draws have no density, and the draw.

    Parameters
    ----------
    family, params, joint : density and target.
    key : of the draw.
    rows : of this step.
    is_path : whether the density of q at the draw has its parameters stopped, so that the gradient is along the path of
        the draw alone (Roeder et al. 2017, arXiv 1703.09194): without noise where q is the posterior. Else prior and
        entropy are exact, where the family knows them, and only the likelihood is drawn.
    """
    z = family.draw(params, key)
    if family.logdensity is None:
        return jnp.full((), jnp.nan), z
    if family.outputs is None or joint.of_outputs is None:
        data = joint.loglikelihood(z, rows)
    else:
        data = joint.of_outputs(family.outputs(params, key, rows.batch.inputs), rows)
    if is_path:
        return data + joint.logprior(z) - family.logdensity(jax.lax.stop_gradient(params), z), z
    entropy = -family.logdensity(params, z) if family.entropy is None else family.entropy(params)
    if family.moments is None or joint.expected_logprior is None:
        return data + joint.logprior(z) + entropy, z
    return data + joint.expected_logprior(*family.moments(params)) + entropy, z


def kl_of_entries(moments: Moments, prior_mean: PyTree, temperature: float | Array) -> PyTree:
    """Return KL(q || prior) of every entry on its own, a tree like z.

    ``prior_mean`` is in units of the prior, whose variance in these is the temperature.
    """
    return jax.tree.map(
        lambda mean, variance, prior: (
            0.5 * ((variance + jnp.square(mean - prior)) / temperature - 1 - jnp.log(variance / temperature))
        ),
        *moments,
        prior_mean,
    )
