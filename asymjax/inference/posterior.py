"""Posteriors of networks: Gaussian priors, categorical and Gaussian likelihoods, one temperature.

One convention: log density = (log prior + log likelihood of all rows) / temperature, with the normalised Gaussian
prior. Temperature is applied here and nowhere else; samplers always run at temperature 1.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import jax
import jax.numpy as jnp

from asymjax import rng, trees
from asymjax.errors import InputError
from asymjax.settings import Settings
from asymjax.train.losses import categorical_loglikelihood, gaussian_loglikelihood
from asymjax.types import Array, Frozen, Key, Model, Position, Posterior, PyTree, Split

# A learned noise scale s has log s ~ N(-1, 1): median 0.37 and 95 % of mass in (0.05, 2.6), in standardised units.
NOISE_PATH, NOISE_PRIOR_MEAN, NOISE_PRIOR_SCALE = "noise/log_scale", -1.0, 1.0
# Floor of a predicted noise scale: a collapsing scale is the usual source of infinite densities.
MIN_NOISE_SCALE = 1e-3
OUTPUT_KERNEL = "output/kernel"


@dataclass(frozen=True)
class PosteriorConfig(Settings):
    """Prior, likelihood and temperature."""

    prior: Literal["fan_in", "isotropic"] = "fan_in"
    """Gaussian prior of kernels: standard deviation prior_scale / sqrt(fan_in), or prior_scale. Biases have
    prior_scale."""
    prior_scale: float = 1.0
    """Standard deviation of the prior, in the units of ``prior``."""
    output_prior_scale: float | None = None
    """The same of the last kernel, as a multiple of prior_scale: the amplitude of the outputs. Default: 20 for
    classification, whose labels are nearly certain; 1 for regression."""
    norm_prior_scale: float = 0.2
    """The same of norm scales (around 1) and norm biases (around 0), as a multiple of prior_scale."""
    noise: Literal["heteroscedastic", "learned", "fixed"] = "heteroscedastic"
    """Regression noise: a second output of the network, one learned scale, or noise_scale."""
    noise_scale: float = 0.1
    """Standard deviation of the noise in standardised units, where noise is fixed."""
    temperature: float = 1.0
    """T in exp(log density / T), over prior and likelihood; below 1 is a cold posterior."""

    def scale_of(self, path: str, shape: tuple[int, ...]) -> float:
        """Return the prior's standard deviation of the entries of a parameter of the backbone.

        Parameters
        ----------
        path : parameter path, for example ``"dense_0/kernel"``; the output kernel and norms have their own scales.
        shape : its shape in the backbone, from which kernels take their fan-in.
        """
        scale = self.prior_scale
        if path.split("/")[-2].startswith("norm"):
            scale *= self.norm_prior_scale
        if path == OUTPUT_KERNEL:
            scale *= 1.0 if self.output_prior_scale is None else self.output_prior_scale
        if path.endswith("/kernel") and self.prior == "fan_in":
            scale /= math.sqrt(math.prod(shape[:-1]))
        return scale

    def has_scale_head(self, task: str) -> bool:
        """Return whether the noise scale is an output of the network."""
        return task == "regression" and self.noise == "heteroscedastic"

    def for_task(self, task: str) -> "PosteriorConfig":
        """Fill in the defaults that depend on the task."""
        if self.output_prior_scale is not None:
            return self
        return replace(self, output_prior_scale=20.0 if task == "classification" else 1.0)

    def unused(self) -> frozenset[str]:
        """Return the noise scale where the noise is not fixed."""
        return frozenset() if self.noise == "fixed" else frozenset({"noise_scale"})


def check_posterior(config: PosteriorConfig) -> None:
    """Look at the numbers of a posterior.

    Raises
    ------
    InputError
        If the temperature or the scale of the prior is not a number above 0.
    """
    for name in ("temperature", "prior_scale"):
        value = getattr(config, name)
        if not 0 < value < math.inf:
            raise InputError(f"{name} is {value}; give a number above 0")


def num_network_outputs(task: str, num_outputs: int, config: PosteriorConfig) -> int:
    """Return how many outputs the network needs: classes, means, or means and raw noise scales."""
    return 2 * num_outputs if config.has_scale_head(task) else num_outputs


def prior_moments(model: Model, config: PosteriorConfig, position: Position) -> tuple[PyTree, PyTree]:
    """Return mean and standard deviation of the Gaussian prior, one scalar a leaf.

    Norm scales have mean 1, the log of a learned noise scale N(-1, 1), all else mean 0; standard deviations are
    :meth:`~PosteriorConfig.scale_of` the parameter, with the fan-in counted over all inputs, fixed ones
    included.
    """
    shapes = trees.flatten(model.params_shape)
    mean, scale = {}, {}
    for path in trees.flatten(position):
        if path == NOISE_PATH:
            mean[path], scale[path] = NOISE_PRIOR_MEAN, NOISE_PRIOR_SCALE
        else:
            mean[path] = 1.0 if path.endswith("/scale") else 0.0
            scale[path] = config.scale_of(path, shapes[path].shape)
    return trees.unflatten(mean), trees.unflatten(scale)


def widened(prior_scale: PyTree, factor: Any) -> PyTree:
    """Return standard deviations of a prior ``factor`` times as large, but for that of a learned noise scale."""
    scales = trees.flatten(prior_scale)
    return trees.unflatten({path: value if path == NOISE_PATH else value * factor for path, value in scales.items()})


def _gaussian_logprior(position: Position, mean: PyTree, scale: PyTree) -> Array:
    def leaf_logprior(leaf: Array, mean: float, scale: Any) -> Array:
        standardised = (leaf - mean) / scale
        return -0.5 * jnp.sum(jnp.square(standardised)) - leaf.size * (jnp.log(scale) + 0.5 * math.log(2 * math.pi))

    return jnp.sum(jnp.stack(jax.tree.leaves(jax.tree.map(leaf_logprior, position, mean, scale))))


def make_predict(model: Model, task: str, config: PosteriorConfig) -> Callable[[Position, Frozen, Array], Array]:
    """Return (position, frozen, inputs) -> parameters of the predictive distribution [rows, ...].

    Classification: logits [rows, classes]. Regression: mean and log noise scale side by side [rows, 2 * targets].
    """

    def predict(position: Position, frozen: Frozen, inputs: Array) -> Array:
        outputs = model.apply(position, frozen, inputs)
        if task == "classification":
            return outputs
        if config.noise == "heteroscedastic":
            mean, raw = jnp.split(outputs, 2, axis=-1)
            return jnp.concatenate([mean, jnp.log(jax.nn.softplus(raw) + MIN_NOISE_SCALE)], axis=-1)
        log_scale = position["noise"]["log_scale"] if config.noise == "learned" else math.log(config.noise_scale)
        return jnp.concatenate([outputs, jnp.full_like(outputs, 1.0) * log_scale], axis=-1)

    return predict


def loglikelihood_of(task: str, predictive: Array, targets: Array) -> Array:
    """Return log p(target) [rows] under predictive parameters as made by :func:`make_predict`."""
    if task == "classification":
        return categorical_loglikelihood(predictive, targets)
    mean, log_scale = jnp.split(predictive, 2, axis=-1)
    return gaussian_loglikelihood(mean, log_scale, targets)


def make_init(model: Model, task: str, config: PosteriorConfig) -> Callable[[Key, Frozen], Position]:
    """Return (key, frozen) -> position of a fresh network, with the noise scale where one is learned."""

    def init(key: Key, frozen: Frozen) -> Position:
        position = model.init(key, frozen)
        if task == "regression" and config.noise == "learned":
            position = position | {"noise": {"log_scale": jnp.array(NOISE_PRIOR_MEAN)}}
        return position

    return init


def draw_prior(key: Key, mean: PyTree, scale: PyTree, like: Position) -> Position:
    """Draw a position from the prior, with the shapes of ``like``."""
    mean, scale = trees.flatten(mean), trees.flatten(scale)
    return trees.unflatten(
        {
            path: mean[path] + scale[path] * jax.random.normal(rng.named_key(key, path), leaf.shape)
            for path, leaf in trees.flatten(like).items()
        }
    )


def make_posterior(model: Model, task: str, config: PosteriorConfig, like: Position) -> Posterior:
    """Build the posterior of a network.

    Parameters
    ----------
    model : the network.
    task : ``"classification"`` or ``"regression"``.
    config : prior, noise and temperature.
    like : a position (or its shape structs); fixes which leaves have a prior.
    """
    mean, scale = prior_moments(model, config, like)
    predict = make_predict(model, task, config)

    def logprior(position: Position, prior_scale: Any = 1.0) -> Array:
        """Return the log prior; ``prior_scale`` multiplies every configured scale but the noise's."""
        return _gaussian_logprior(position, mean, widened(scale, prior_scale))

    def loglikelihood(position: Position, frozen: Frozen, batch: Split) -> Array:
        return loglikelihood_of(task, predict(position, frozen, batch.inputs), batch.targets)  # type: ignore[arg-type]

    def logdensity(
        position: Position,
        frozen: Frozen,
        batch: Split,
        temperature: Any = config.temperature,
        prior_scale: Any = 1.0,
        weight: float = 1.0,
    ) -> Array:
        total = logprior(position, prior_scale) + weight * jnp.sum(loglikelihood(position, frozen, batch))
        return total / temperature

    return Posterior(logprior, loglikelihood, logdensity)
