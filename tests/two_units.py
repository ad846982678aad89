"""The network of two units whose evidence is known: f(x) = tanh(w1 x) + tanh(w2 x), standard normal priors.

Eight inputs from -2 to 2, noiseless targets of w = (2, 0.5), evidences by a grid of 1601^2 for each noise scale.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

import asymjax
from asymjax.inference.likelihoods import Gaussian

INPUTS = np.linspace(-2, 2, 8)[:, None]
TARGETS = np.tanh(2 * INPUTS) + np.tanh(0.5 * INPUTS)
NOISE = np.array([0.1, 0.6, 2.0])
LOG_EVIDENCE = np.array([5.6494, -5.5590, -14.0915])
START = {"Dense_0": {"kernel": np.array([[1.8, 0.4]], np.float32)}}


class Two(nn.Module):
    @nn.compact
    def __call__(self, x):
        return jnp.sum(jnp.tanh(nn.Dense(2, use_bias=False)(x)), -1, keepdims=True)


def posterior_of(module, inputs, targets, noise_scale):
    """Return the posterior of a module with standard normal priors and known noise."""
    data = np.float32(inputs), np.float32(targets)
    prior = asymjax.NormalPrior(scaling="isotropic", scale=1.0, output_scale=1.0)
    likelihood = Gaussian(noise="fixed", noise_scale=float(noise_scale))
    return asymjax.make_posterior(asymjax.from_flax(module, data[0]), data, prior=prior, likelihood=likelihood)


def fit(algorithm, posterior, start, noise_scale, seed=0):
    """Return what is fitted for each of the noise scales, in one program."""

    def one(key, noise_scale):
        def predict(*args):
            return posterior.predict(*args).at[:, 1].set(jnp.log(noise_scale))

        target = posterior._replace(predict=predict).target()
        state = algorithm.begin(key, start, target)
        for i, stage in enumerate(algorithm.stages):
            first = jnp.asarray(sum(stage.num_steps for stage in algorithm.stages[:i]))
            state, _ = stage.advance(jax.random.fold_in(key, i), state, first, jnp.asarray(0.0), target)
        return algorithm.finish(state)[1]

    keys = jax.random.split(jax.random.key(seed), len(noise_scale))
    return jax.tree.map(np.asarray, jax.jit(jax.vmap(one))(keys, np.float32(noise_scale)))


def nodes(num_nodes=60):
    """Return nodes [nodes, 2] and weights [nodes] of the expectation over two standard normal numbers."""
    points, weights = np.polynomial.hermite_e.hermegauss(num_nodes)
    weights = weights / weights.sum()
    return np.stack(np.meshgrid(points, points, indexing="ij"), -1).reshape(-1, 2), np.outer(weights, weights).ravel()


def log_joint(weights, noise_scale):
    """Return the log density of targets and weights [..., 2]."""
    outputs = np.sum(np.tanh(weights[..., None, :] * INPUTS), -1)
    rows = -0.5 * np.square((outputs - TARGETS[:, 0]) / noise_scale) - np.log(noise_scale * np.sqrt(2 * np.pi))
    return rows.sum(-1) - 0.5 * np.square(weights).sum(-1) - np.log(2 * np.pi)
