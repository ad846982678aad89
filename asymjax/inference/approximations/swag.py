"""SWAG (Maddox et al. 2019, "A simple baseline for Bayesian uncertainty in deep learning"): a Gaussian fitted to SGD.

An approximation, and no sampler of the posterior: warmup walks by minibatch gradients at a constant step size, without
noise of its own, and fits mean, variances and a few deviations to where it goes; the draws are independent draws of
that Gaussian. How wide it is depends on step size and batch size, not on the posterior alone. R-hat and ESS say how
well the chains' Gaussians agree, and nothing of how near they are to the posterior. Several chains are what Wilson and
Izmailov (2020) call MultiSWAG.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from asymjax import rng, trees
from asymjax.errors import InputError
from asymjax.inference.algorithm import Stage, Target, make_info
from asymjax.inference.lazy import blackjax
from asymjax.inference.samplers.gradients import Gradient, add_scaled, unwhiten
from asymjax.inference.samplers.minibatch import CONSTANT, Dynamics, Minibatch, WarmupState, make_minibatch
from asymjax.inference.samplers.minibatch import Tuned as MinibatchTuned
from asymjax.settings import Count
from asymjax.types import Approximation, Array, Info, Key, Position, PyTree, Sampler

RANK = 20
"""Deviations that are kept, those of the last snapshots."""
NUM_SNAPSHOTS = 100
"""Places that the Gaussian is fitted to at most, evenly spaced over the second half of warmup."""


class Moments(NamedTuple):
    """What a walk has beside z.

    Attributes
    ----------
    num_steps, num_snapshots : int32 [], steps taken and snapshots seen.
    mean : tree like z, of the snapshots.
    squares : tree like z, sum of their squared distances from the mean.
    latest : tree of [RANK, ...], the latest snapshots, in any order.
    """

    num_steps: Array
    num_snapshots: Array
    mean: PyTree
    squares: PyTree
    latest: PyTree


class Tuned(NamedTuple):
    """The Gaussian, in whitened coordinates.

    Attributes
    ----------
    step_size : [] of the walk, in units of one row.
    mean, scale : trees like z, means and standard deviations.
    deviations : tree of [RANK, ...], distances of the latest snapshots from the mean.
    """

    step_size: Array
    mean: PyTree
    scale: PyTree
    deviations: PyTree


class Drawn(NamedTuple):
    """What a chain of draws has: the last of them."""

    position: Position


def descent(num_dropped: int, interval: int) -> Dynamics:
    """Return ``z <- z + epsilon g``, which after ``num_dropped`` steps looks at every ``interval``-th z."""

    def init(key: Key, z: PyTree, tuned: MinibatchTuned) -> Moments:
        zero, latest = jnp.zeros((), jnp.int32), jax.tree.map(lambda leaf: jnp.stack([leaf] * RANK), z)
        return Moments(zero, zero, z, jax.tree.map(jnp.zeros_like, z), latest)

    def step(
        key: Key, z: PyTree, memory: Moments, gradient: Gradient, epsilon: Array, num_rows: int
    ) -> tuple[PyTree, Moments]:
        z = add_scaled(z, gradient(z, rng.named_key(key, "rows")), epsilon)
        memory = memory._replace(num_steps=memory.num_steps + 1)
        num_walked = memory.num_steps - num_dropped
        return z, lax.cond((num_walked > 0) & (num_walked % interval == 0), add_snapshot, lambda m, z: m, memory, z)

    return Dynamics(init, step)


def add_snapshot(memory: Moments, z: PyTree) -> Moments:
    """Add a place to the moments, by Welford's recursion."""
    num_snapshots = memory.num_snapshots + 1
    mean = jax.tree.map(lambda mean, z: mean + (z - mean) / num_snapshots.astype(z.dtype), memory.mean, z)
    squares = jax.tree.map(lambda s, z, old, new: s + (z - old) * (z - new), memory.squares, z, memory.mean, mean)
    latest = jax.tree.map(lambda kept, z: kept.at[memory.num_snapshots % RANK].set(z), memory.latest, z)
    return Moments(memory.num_steps, num_snapshots, mean, squares, latest)


def adopt_mean(
    key: Key, state: WarmupState, first: Array, setting: Array, target: Target
) -> tuple[WarmupState, dict[str, Array]]:
    """Go to the mean of the snapshots: the last stage of warmup, which takes no gradient."""
    position = unwhiten(state.sampler.memory.mean, target.prior_scale)
    metrics = {
        "step_size": state.tuned.step_size,
        "num_grad_evals": jnp.zeros((), jnp.float32),
        "logdensity": target.logdensity(position),
    }
    return state._replace(sampler=state.sampler._replace(position=position)), metrics


def fitted(state: WarmupState) -> tuple[Position, Tuned]:
    """Return the mean as a position, and the Gaussian."""
    memory = state.sampler.memory
    count = jnp.maximum(memory.num_snapshots, 1)
    scale = jax.tree.map(lambda squares: jnp.sqrt(squares / count.astype(squares.dtype)), memory.squares)
    deviations = jax.tree.map(lambda latest, mean: latest - mean[None], memory.latest, memory.mean)
    return state.sampler.position, Tuned(state.tuned.step_size, memory.mean, scale, deviations)


def draw_gaussian(key: Key, gaussian: Tuned) -> PyTree:
    """Draw ``z = mean + (scale xi + D eta / sqrt(K - 1)) / sqrt(2)``.

    xi and eta are standard normal, D are the K deviations (Maddox et al. 2019, equation 1; theirs are from the mean up
    to each snapshot, these from the last). Its covariance is the average of the diagonal one and the one of low rank.
    """
    xi = blackjax.util.generate_gaussian_noise(rng.named_key(key, "diagonal"), gaussian.mean)
    eta = jax.random.normal(rng.named_key(key, "deviations"), (RANK,), jnp.result_type(gaussian.step_size))

    def draw(mean: Array, scale: Array, xi: Array, deviations: Array) -> Array:
        low_rank = jnp.tensordot(eta, deviations, 1) / jnp.sqrt(RANK - 1.0).astype(eta.dtype)
        return mean + (scale * xi + low_rank) / jnp.sqrt(2.0).astype(eta.dtype)

    return jax.tree.map(draw, gaussian.mean, gaussian.scale, xi, gaussian.deviations)


@dataclass(frozen=True)
class SWAG(Minibatch):
    """A Gaussian fitted to the steps of SGD in warmup; its draws are independent, and no draws of the posterior."""

    thinning: Count = 1
    """Keep one draw in this many; draws are independent."""

    is_fit = True

    @property
    def num_walked(self) -> int:
        """Steps whose places the Gaussian is fitted to: the second half of warmup."""
        return self.num_warmup // 2

    @property
    def dynamics(self) -> Dynamics:
        """What a step of warmup does."""
        return descent(self.num_warmup - self.num_walked, -(-self.num_walked // NUM_SNAPSHOTS))

    def check(self, num_draws: int, num_chains: int) -> None:
        """Check the settings; InputError if one cannot be."""
        super().check(num_draws, num_chains)
        if self.num_walked < RANK:
            raise InputError(
                f"num_warmup is {self.num_warmup}; SWAG keeps {RANK} places of half of it, give {2 * RANK}"
            )

    def approximation(self, target: Target, tuned: MinibatchTuned) -> Approximation:
        """Build the fit and its draws; ``sample`` takes the Gaussian that :func:`fitted` returns."""
        walk = make_minibatch(self.dynamics, CONSTANT, target, tuned, self.batch_size)

        def sample(key: Key, gaussian: Tuned) -> Position:
            return unwhiten(draw_gaussian(key, gaussian), target.prior_scale)

        return Approximation(walk.init, walk.step, sample)

    def make(self, target: Target, tuned: Tuned, num_steps: int = 0) -> Sampler:  # type: ignore[override]
        """Build the kernel whose every step is an independent draw."""
        _, _, sample = self.approximation(target, MinibatchTuned(tuned.step_size))

        def step(key: Key, state: Drawn) -> tuple[Drawn, Info]:
            position = sample(key, tuned)
            return Drawn(position), make_info(0.0, is_divergent=~trees.all_finite(position))

        return Sampler(lambda key, position: Drawn(position), step)

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        """Chunks of the walk, and the step to its mean."""
        return (*super().stages, Stage(adopt_mean, 1))

    def finish(self, state: WarmupState) -> tuple[Position, Tuned]:  # type: ignore[override]
        """Return the mean as a position, and the Gaussian."""
        return fitted(state)
