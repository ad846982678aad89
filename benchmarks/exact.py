"""Posteriors of small regression networks without a sampler: a grid over the hidden weights, the last layer solved.

Given all weights before it, the last layer is a linear model with Gaussian prior and known Gaussian noise: its
evidence, mean and covariance are closed forms (Bishop 2006, "Pattern recognition and machine learning", equations 3.53,
3.54 and 3.86). What is left is summed over a grid by the trapezoid rule, which for smooth densities that the grid
resolves converges exponentially. Without hidden layers nothing is left, and the answer is closed.
"""

import math
from functools import partial
from itertools import product
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from scipy.special import logsumexp

from asymjax import trees
from asymjax.errors import InputError
from asymjax.inference.posterior import Posterior, PosteriorConfig
from asymjax.types import Array

MAX_HIDDEN, REACH = 4, 4.5


class Answer(NamedTuple):
    """What chains should find.

    Attributes
    ----------
    log_evidence : log density of the training targets, in nats.
    mean, variance : [row] of the network's output under the posterior, without the noise.
    """

    log_evidence: float
    mean: np.ndarray
    variance: np.ndarray


def solve(problem: Posterior, config: PosteriorConfig, inputs: np.ndarray, spacing: float = 0.25) -> Answer:
    """Integrate over the posterior of a network with one output, at temperature 1.

    Parameters
    ----------
    problem : the posterior, its prior of mean 0.
    config : what it was made of; its noise is fixed.
    inputs : [row, ...] where the output is predicted.
    spacing : of the grid, in prior standard deviations; it reaches from -4.5 to 4.5. From 0.25 to 0.2 the log evidence
        of two_units moves by 0.002 nats, means and standard deviations by 0.2 % of the latter.

    Raises
    ------
    InputError
        If noise is not fixed, the temperature not 1, a prior's mean not 0, or more than 4 weights before the last layer
        are free.
    """
    if config.noise != "fixed" or config.temperature != 1 or any(jax.tree.leaves(problem.prior_mean)):
        raise InputError(
            f"{config.noise} noise, temperature {config.temperature}, prior means {problem.prior_mean}; an answer is "
            "known for fixed noise, temperature 1 and prior means of 0"
        )
    hidden = {name: layer for name, layer in problem.shape.items() if name != "output"}
    dimension = trees.num_entries(hidden)
    if dimension > MAX_HIDDEN:
        raise InputError(f"{dimension} free weights before the last layer; a grid takes {MAX_HIDDEN} at most")
    count = round(2 * REACH / spacing) + 1
    axis = np.linspace(-REACH, REACH, count)
    grid = np.array(list(product(axis, repeat=dimension)), np.float32).reshape(count**dimension, dimension)
    given = jax.jit(partial(_slab, problem, config.noise_scale, jnp.asarray(inputs)))
    slabs = [jax.tree.map(np.asarray, given(slab)) for slab in np.split(grid, count if dimension else 1)]
    logs = np.array([slab[0] for slab in slabs], np.float64)
    total = logsumexp(logs)
    mean, square = (np.exp(logs - total) @ np.array([slab[i] for slab in slabs], np.float64) for i in (1, 2))
    volume = dimension * math.log(axis[1] - axis[0])
    return Answer(float(total + volume), mean, square - mean**2)


def _slab(problem: Posterior, noise_scale: float, inputs: Array, points: Array) -> tuple[Array, Array, Array]:
    """Return log mass, mean and mean square [row] of part of a grid [point, coordinate] in units of the prior."""
    logs, mean, variance = jax.vmap(partial(_given_hidden, problem, noise_scale, inputs))(points)
    logs = logs - 0.5 * jnp.sum(jnp.square(points) + math.log(2 * math.pi), axis=-1)
    weights = jax.nn.softmax(logs)
    return jax.nn.logsumexp(logs), weights @ mean, weights @ (jnp.square(mean) + variance)


def _given_hidden(problem: Posterior, noise_scale: float, inputs: Array, point: Array) -> tuple[Array, Array, Array]:
    """Return log evidence, and mean and variance [row] of the output, given all weights before the last layer."""
    shape = problem.shape
    scale = jax.tree.map(lambda leaf, scale: jnp.full(leaf.shape, scale), shape, problem.prior_scale)
    output_scale, unravel_output = ravel_pytree(scale["output"])
    hidden_scale, unravel_hidden = ravel_pytree({name: layer for name, layer in scale.items() if name != "output"})
    hidden = unravel_hidden(hidden_scale * point)
    rows = jnp.concatenate([np.asarray(problem.data.inputs), inputs])

    def predict(weights: Array) -> Array:
        position = hidden | {"output": unravel_output(output_scale * weights)}
        return problem.model.apply(position, problem.frozen, rows)[:, 0]

    offset = predict(jnp.zeros_like(output_scale))
    design = jax.vmap(predict)(jnp.eye(len(output_scale))) - offset
    num_train = len(problem.data.inputs)
    residual = (problem.data.targets[:, 0] - offset[:num_train]) / noise_scale
    train, test = design[:, :num_train] / noise_scale, design[:, num_train:]
    factor = jnp.linalg.cholesky(jnp.eye(len(train)) + train @ train.T)
    projected, spread = (
        jax.scipy.linalg.solve_triangular(factor, side, lower=True) for side in (train @ residual, test)
    )
    misfit = jnp.sum(jnp.square(residual)) - jnp.sum(jnp.square(projected))
    log_evidence = -0.5 * misfit - jnp.sum(jnp.log(jnp.diag(factor)))
    log_evidence -= num_train * (math.log(noise_scale) + 0.5 * math.log(2 * math.pi))
    return log_evidence, offset[num_train:] + projected @ spread, jnp.sum(jnp.square(spread), axis=0)
