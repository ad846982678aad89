"""The network of two units whose evidence is known: f(x) = tanh(w1 x) + tanh(w2 x), standard normal priors.

Eight inputs from -2 to 2 and noiseless targets, for six rows of true weights and scales of the noise. Evidences are
those of a grid of 1601^2, bounds those of quadrature with 60^2 nodes and a search without derivatives.
"""

from itertools import groupby

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

import asymjax
from asymjax.inference.likelihoods import Gaussian

INPUTS = np.linspace(-2, 2, 8)[:, None]
WEIGHTS = np.array([(2, 0.5), (2, 0.5), (2, 0.5), (1.5, 1), (1, 1), (2, 0.5)])
NOISE = np.array([0.1, 0.3, 0.6, 0.3, 0.3, 2.0])
TARGETS = np.tanh(INPUTS * WEIGHTS[:, None, :1]) + np.tanh(INPUTS * WEIGHTS[:, None, 1:])
LOG_EVIDENCE = np.array([5.6494, -0.8400, -5.5590, -0.9179, -0.7808, -14.0915])
PLAIN = np.array([4.7595, -1.6368, -5.9091, -1.2853, -1.2337, -14.1757])
SYMMETRISED = np.array([5.4527, -1.0589, -5.6693, -1.0235, -0.9151, -14.1369])
START = {"Dense_0": {"kernel": np.array([[1.8, 0.4]], np.float32)}}


class Two(nn.Module):
    """The sum of two units without biases."""

    is_linear: bool = False

    @nn.compact
    def __call__(self, x):
        units = nn.Dense(2, use_bias=False)(x)
        return jnp.sum(units if self.is_linear else jnp.tanh(units), -1, keepdims=True)


def posterior_of(module, inputs, targets, noise_scale):
    """Return the posterior of a module with standard normal priors and known noise."""
    data = np.float32(inputs), np.float32(targets)
    prior = asymjax.NormalPrior(scaling="isotropic", scale=1.0, output_scale=1.0)
    likelihood = Gaussian(noise="fixed", noise_scale=float(noise_scale))
    return asymjax.make_posterior(asymjax.from_flax(module, data[0]), data, prior=prior, likelihood=likelihood)


def target_of(posterior, noise_scale, targets):
    """Return a posterior with another noise scale and other targets, which may be traced, as a target."""

    def predict(*args):
        return posterior.predict(*args).at[:, 1].set(jnp.log(noise_scale))

    data = posterior.data._replace(targets=targets)
    return posterior._replace(predict=predict, data=data).target()


def run_fit(algorithm, key, start, target):
    """Return what is fitted to one target; chunks that are alike are compiled once."""
    state, stages = algorithm.begin(key, start, target), algorithm.stages
    firsts = np.cumsum([0, *(stage.num_steps for stage in stages)])
    for advance, alike in groupby(range(len(stages)), lambda i: stages[i].advance):

        def one(state, at, advance=advance):
            i, first = at
            return advance(jax.random.fold_in(key, i), state, first, jnp.asarray(0.0), target)[0], None

        indices = np.array(list(alike))
        state, _ = jax.lax.scan(one, state, (indices, firsts[indices]))
    return algorithm.finish(state)[1]


def fit(algorithm, posterior, start, noise_scale, targets, seed=0):
    """Return what is fitted for each of the noise scales and targets, in one program."""

    def one(key, noise_scale, targets):
        return run_fit(algorithm, key, start, target_of(posterior, noise_scale, targets))

    keys = jax.random.split(jax.random.key(seed), len(noise_scale))
    return jax.tree.map(np.asarray, jax.jit(jax.vmap(one))(keys, np.float32(noise_scale), np.float32(targets)))


def nodes(num_nodes=60, num_dimensions=2):
    """Return nodes [nodes, dimensions] and weights [nodes] of the expectation over standard normal numbers."""
    points, weights = np.polynomial.hermite_e.hermegauss(num_nodes)
    grids = np.meshgrid(*[points] * num_dimensions, indexing="ij")
    shares = np.meshgrid(*[weights / weights.sum()] * num_dimensions, indexing="ij")
    return np.stack(grids, -1).reshape(-1, num_dimensions), np.prod(shares, axis=0).ravel()


def log_joint(weights, row):
    """Return the log density of targets and weights [..., 2] in a row of the table."""
    outputs = np.sum(np.tanh(weights[..., None, :] * INPUTS), -1)
    errors = (outputs - TARGETS[row, :, 0]) / NOISE[row]
    rows = -0.5 * np.square(errors) - np.log(NOISE[row] * np.sqrt(2 * np.pi))
    return rows.sum(-1) - 0.5 * np.square(weights).sum(-1) - np.log(2 * np.pi)
