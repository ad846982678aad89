"""Likelihoods: what the outputs of a network say of a target, a frozen dataclass of settings each."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp

from asymjax.settings import Positive, Settings
from asymjax.train.losses import categorical_loglikelihood, gaussian_loglikelihood
from asymjax.types import Array, Position

# A learned noise scale s has log s ~ N(-1, 1): median 0.37 and 95 % of mass in (0.05, 2.6), in standardised units.
NOISE_PATH, NOISE_PRIOR_MEAN, NOISE_PRIOR_SCALE = "noise/log_scale", -1.0, 1.0
# Floor of a predicted noise scale: a collapsing scale is the usual source of infinite densities.
MIN_NOISE_SCALE = 1e-3


@dataclass(frozen=True)
class Likelihood(Settings):
    """The contract of a likelihood."""

    task: ClassVar[str]

    def num_network_outputs(self, num_outputs: int) -> int:
        """Return how many outputs the network needs for so many classes, or targets."""
        return num_outputs

    def init(self) -> dict[str, Any]:
        """Return the branches of a position that are no parameters of the network, where they begin."""
        return {}

    def predictive(self, position: Position, outputs: Array) -> Array:
        """Return the parameters of the predictive distribution [rows, ...], from the network's outputs."""
        raise NotImplementedError

    def loglikelihood(self, predictive: Array, targets: Array) -> Array:
        """Return log p(target) [rows]."""
        raise NotImplementedError

    def information(self, predictive: Array) -> Array:
        """Return the Fisher information of the predictive parameters of one row [parameters, parameters].

        It is the Hessian of -log p(target), in expectation over targets: positive semi-definite, which the Hessian in a
        noise scale is not.
        """
        raise NotImplementedError

    def mean(self, predictive: Array) -> Array:
        """Return the mean of the predictive distribution: class probabilities, or means of targets."""
        raise NotImplementedError


@dataclass(frozen=True)
class Categorical(Likelihood):
    """Classes; the network's outputs are logits.

    Examples
    --------
    >>> import asymjax
    >>> asymjax.Categorical().num_network_outputs(10)
    10
    """

    task: ClassVar[str] = "classification"

    def predictive(self, position: Position, outputs: Array) -> Array:
        """Return the logits [rows, classes]."""
        return outputs

    def loglikelihood(self, predictive: Array, targets: Array) -> Array:
        """Return log p(class) [rows]."""
        return categorical_loglikelihood(predictive, targets)

    def information(self, predictive: Array) -> Array:
        """Return diag(p) - p p^T [classes, classes] for the class probabilities p: the Hessian itself."""
        probabilities = jax.nn.softmax(predictive)
        return jnp.diag(probabilities) - jnp.outer(probabilities, probabilities)

    def mean(self, predictive: Array) -> Array:
        """Return class probabilities [rows, classes]."""
        return jax.nn.softmax(predictive, axis=-1)


@dataclass(frozen=True)
class Gaussian(Likelihood):
    """Real targets with Gaussian noise.

    Examples
    --------
    >>> import asymjax
    >>> asymjax.Gaussian(noise="heteroscedastic").num_network_outputs(1)
    2
    """

    task: ClassVar[str] = "regression"

    noise: Literal["heteroscedastic", "learned", "fixed"] = "learned"
    """Noise: a second output of the network for each target, one learned scale, or noise_scale."""
    noise_scale: Positive = 0.1
    """Standard deviation of the noise where it is fixed, in the units of the targets that the network sees."""

    def num_network_outputs(self, num_outputs: int) -> int:
        """Return how many outputs the network needs: means, or means and raw noise scales."""
        return 2 * num_outputs if self.noise == "heteroscedastic" else num_outputs

    def init(self) -> dict[str, Any]:
        """Return the log of the noise scale, where it is learned."""
        return {"noise": {"log_scale": jnp.array(NOISE_PRIOR_MEAN)}} if self.noise == "learned" else {}

    def predictive(self, position: Position, outputs: Array) -> Array:
        """Return mean and log noise scale side by side [rows, 2 * targets]."""
        if self.noise == "heteroscedastic":
            mean, raw = jnp.split(outputs, 2, axis=-1)
            return jnp.concatenate([mean, jnp.log(jax.nn.softplus(raw) + MIN_NOISE_SCALE)], axis=-1)
        log_scale = position["noise"]["log_scale"] if self.noise == "learned" else math.log(self.noise_scale)
        return jnp.concatenate([outputs, jnp.full_like(outputs, 1.0) * log_scale], axis=-1)

    def loglikelihood(self, predictive: Array, targets: Array) -> Array:
        """Return log p(target) [rows], summed over targets."""
        mean, log_scale = jnp.split(predictive, 2, axis=-1)
        return gaussian_loglikelihood(mean, log_scale, targets)

    def information(self, predictive: Array) -> Array:
        """Return the diagonal matrix of 1 / scale^2 for each mean, the Hessian itself, and of 2 for each log scale."""
        _, log_scale = jnp.split(predictive, 2)
        return jnp.diag(jnp.concatenate([jnp.exp(-2 * log_scale), jnp.full_like(log_scale, 2.0)]))

    def mean(self, predictive: Array) -> Array:
        """Return the means of the targets [rows, targets]."""
        return jnp.split(predictive, 2, axis=-1)[0]


LIKELIHOODS: dict[str, type[Likelihood]] = {"categorical": Categorical, "gaussian": Gaussian}
