"""IVON, mean field by natural gradients at the cost of Adam (Shen et al. 2024, arXiv 2402.17641, algorithm 1).

Its number of rows lambda, its Hessian h a row, and its weight decay delta stand here only in the precision that they
make of an entry, ``P = lambda (h + delta) = 1 / scale^2``: with delta = 1 / (lambda T), the prior at temperature T,
lambda drops out of the algorithm. Its estimate of the Hessian, gradient times (z - mean) / scale^2, is the gradient
along the draw in the log of the scale, so that the precision which a step sees is

    P_hat = P (1 - d ELBO / d log scale),

for every unbiased gradient of a bound: by closed forms or along the path, and of a symmetrised bound too, whose
information term then is part of both steps. Other than there, 1 - beta2 goes to zero along with the learning rate:
fits here are of thousands of steps, in which the paper's beta2 of 0.99999 would leave precisions where they start, and
a beta2 that moves them would leave them noisy.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from asymjax.inference.algorithm import Target
from asymjax.inference.vi.meanfield import Diagonal, MeanField
from asymjax.inference.vi.variational import Parts
from asymjax.settings import Fraction, Positive
from asymjax.types import Array, Key, PyTree


class Momentum(NamedTuple):
    """Running mean of the gradient of all but the prior, a tree like z, and the steps taken [], int32."""

    gradient: PyTree
    num_steps: Array


def next_log_scale(log_scale: Array, slope: Array, share: Array) -> Array:
    """Return the log of the scale after a step of the precision, which stays positive (Lin et al. 2020, 2002.10060).

    In the paper's terms h <- beta2 h + (1 - beta2) h_hat + (1 - beta2)^2 (h - h_hat)^2 / (2 (h + delta)).

    Parameters
    ----------
    log_scale, slope : before the step, and the gradient of the bound in it.
    share : 1 - beta2 [].
    """
    change = share * slope
    return log_scale - 0.5 * jnp.log1p(-change + 0.5 * jnp.square(change))


@dataclass(frozen=True)
class IVON(MeanField):
    """Independent Gaussians, one an entry, fitted by the improved variational online Newton method.

    Examples
    --------
    >>> import asymjax
    >>> asymjax.IVON(batch_size=128).learning_rate
    0.1
    """

    learning_rate: Positive = 0.1
    """Peak step of the means in units of Newton's, with a cosine down to zero; of the released code's example."""
    beta1: Fraction = 0.9
    """Decay of the mean of gradients."""
    beta2: Fraction = 0.99
    """Decay of the mean of precisions at the first step; 1 - beta2 goes down to zero with the learning rate."""

    @cached_property
    def schedule(self) -> optax.Schedule:
        """What learning rate and 1 - beta2 are multiplied by in each step."""
        return optax.cosine_decay_schedule(1.0, self.num_warmup)

    def init_optimizer(self, params: Diagonal) -> Momentum:
        """Return what the optimizer has before the first step."""
        return Momentum(jax.tree.map(jnp.zeros_like, params.mean), jnp.zeros((), jnp.int32))

    def update(
        self, parts: Parts, params: Diagonal, optimizer: Momentum, key: Key, target: Target
    ) -> tuple[Diagonal, Momentum, Array]:
        """Take one step; return parameters, what the optimizer has, and the estimate of the bound."""
        value, slope = self.value_and_gradient(parts, params, key)
        prior = jax.grad(parts.joint.logprior)(params.mean)  # Without momentum, as weight decay.
        num_steps, part = optimizer.num_steps + 1, self.schedule(optimizer.num_steps)
        momentum = jax.tree.map(
            lambda old, slope, prior: self.beta1 * old + (1 - self.beta1) * (slope - prior),
            optimizer.gradient,
            slope.mean,
            prior,
        )
        share = (1 - self.beta2) * part
        log_scale = jax.tree.map(
            lambda log, slope: next_log_scale(log, slope, share), params.log_scale, slope.log_scale
        )
        rate, seen = self.learning_rate * part, 1 - self.beta1**num_steps
        mean = jax.tree.map(
            lambda mean, gradient, prior, log: mean + rate * (gradient / seen + prior) * jnp.exp(2 * log),
            params.mean,
            momentum,
            prior,
            log_scale,
        )
        return Diagonal(mean, log_scale), Momentum(momentum, num_steps), value
