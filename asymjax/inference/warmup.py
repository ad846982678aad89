"""Warmup of Metropolis-adjusted samplers: step size by dual averaging, and a diagonal metric, one chain at a time.

Every chain adapts alone, so that what it becomes does not depend on how many there are. The pieces (dual averaging,
Welford's variance) are BlackJAX's; they are put together here because its window adaptation fixes the number of
leapfrog steps, while here the trajectory length is fixed and the number of steps follows the step size.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.flatten_util import ravel_pytree

from asymjax import rng
from asymjax.divisors import largest_divisor
from asymjax.inference.algorithm import Algorithm, Stage, Target
from asymjax.inference.lazy import blackjax
from asymjax.settings import Inside
from asymjax.types import Array, Info, Key, Position

if TYPE_CHECKING:
    from blackjax.adaptation.mass_matrix import WelfordAlgorithmState
    from blackjax.adaptation.step_size import DualAveragingAdaptationState

INITIAL_STEP_SIZE = 0.01
# Weight of the previous metric in a new one, in draws; keeps the metric sane after a short window.
PRIOR_DRAWS = 10
NUM_CHUNKS = 10


class WarmupState(NamedTuple):
    """One chain in warmup.

    Attributes
    ----------
    sampler : state of the sampler, with a ``position`` and its ``logdensity``.
    averaging : state of dual averaging.
    moments : running mean and variance of the position.
    inverse_mass_matrix : [coordinates] metric in use.
    """

    sampler: Any
    averaging: DualAveragingAdaptationState
    moments: WelfordAlgorithmState
    inverse_mass_matrix: Array


def _moments() -> Any:
    """Return Welford's running variance of each coordinate: (init, update, final)."""
    return blackjax.adaptation.mass_matrix.welford_algorithm(is_diagonal_matrix=True)


def prior_metric(position: Position, prior_scale: Any) -> Array:
    """Return the variance of the prior as an inverse mass matrix [coordinates]."""
    variances = jax.tree.map(lambda leaf, scale: jnp.full(leaf.shape, scale**2, jnp.float32), position, prior_scale)
    return ravel_pytree(variances)[0]


def metric_updates(num_chunks: int, mass_matrix: str) -> frozenset[int]:
    """Return after which warmup chunks the metric is adapted: growing windows, none in the last third."""
    return frozenset() if mass_matrix == "prior" else frozenset({num_chunks // 5, num_chunks * 3 // 5})


def adopt_metric(state: WarmupState, averaging_init: Callable[..., DualAveragingAdaptationState]) -> WarmupState:
    """Make the variance seen since the last call the metric, and begin dual averaging anew."""
    moments_init, _, moments_final = _moments()
    variance, count, _ = moments_final(state.moments)
    weight = count / (count + PRIOR_DRAWS)
    adopted = state._replace(
        averaging=averaging_init(jnp.exp(state.averaging.log_step_size_avg)),
        moments=moments_init(state.inverse_mass_matrix.size),
        inverse_mass_matrix=weight * variance + (1 - weight) * state.inverse_mass_matrix,
    )
    return jax.tree.map(lambda new, old: jnp.asarray(new, old.dtype), adopted, state)


@dataclass(frozen=True)
class Adapted(Algorithm):
    """A sampler whose warmup adapts a step size to an acceptance rate, and a metric.

    The state of its kernel has a ``position`` and its ``logdensity``.
    """

    target_acceptance_rate: Inside = 0.8
    """Acceptance rate that warmup's step sizes reach on average; the averaged step size that is kept accepts about 0.1
    more."""
    mass_matrix: Literal["prior", "adapted"] = "prior"
    """Inverse mass matrix: the variance of the prior, or a diagonal adapted in warmup."""

    def retune(self, step_size: Array, metric: Array) -> Any:
        """Return what the kernel calls tuned, from a step size [] and an inverse mass matrix [coordinates]."""
        raise NotImplementedError

    def averaging(self) -> Any:
        """Return dual averaging of the step size to the acceptance rate: (init, update, final)."""
        return blackjax.adaptation.step_size.dual_averaging_adaptation(self.target_acceptance_rate)

    def begin(self, key: Key, position: Position, target: Target) -> WarmupState:
        """Return the state of warmup, in the metric of the prior."""
        averaging_init, _, _ = self.averaging()
        moments_init, _, _ = _moments()
        metric = prior_metric(position, target.prior_scale)
        sampler = self.make(target, self.retune(jnp.asarray(INITIAL_STEP_SIZE), metric))
        state = WarmupState(
            sampler=sampler.init(rng.named_key(key, "init"), position),
            averaging=averaging_init(INITIAL_STEP_SIZE),
            moments=moments_init(metric.size),
            inverse_mass_matrix=metric,
        )
        # BlackJAX begins with Python numbers, whose weak types would change in the first step.
        return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.result_type(leaf)), state)

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        """Chunks of equal length; after some of them the metric is adapted."""
        num_steps = largest_divisor(self.num_warmup, max(1, self.num_warmup // NUM_CHUNKS))
        num_chunks = self.num_warmup // num_steps
        updates = metric_updates(num_chunks, self.mass_matrix)
        advance = partial(self.advance, num_steps=num_steps)
        return tuple(Stage(advance, num_steps, float(index + 1 in updates)) for index in range(num_chunks))

    def advance(
        self, key: Key, state: WarmupState, first: Array, adopts_metric: Array, target: Target, num_steps: int
    ) -> tuple[WarmupState, dict[str, Array]]:
        """Take the steps of one chunk, and adopt a metric if ``adopts_metric`` [] is positive."""
        averaging_init, averaging_update, _ = self.averaging()
        _, moments_update, _ = _moments()

        def one(state: WarmupState, t: Array) -> tuple[WarmupState, tuple[Info, Array]]:
            step_size = jnp.exp(state.averaging.log_step_size)
            sampler = self.make(target, self.retune(step_size, state.inverse_mass_matrix))
            next_state, info = sampler.step(jax.random.fold_in(key, t), state.sampler)
            state = state._replace(
                sampler=next_state,
                averaging=averaging_update(state.averaging, info.acceptance_rate),
                moments=moments_update(state.moments, ravel_pytree(next_state.position)[0]),
            )
            return state, (info, step_size)

        state, (info, step_size) = lax.scan(one, state, first + jnp.arange(num_steps))
        metrics = {
            "acceptance_rate": jnp.mean(info.acceptance_rate),
            "step_size": step_size[-1],
            "num_grad_evals": jnp.sum(info.num_grad_evals),
            "logdensity": state.sampler.logdensity,
        }
        adopt = partial(adopt_metric, averaging_init=averaging_init)
        return lax.cond(adopts_metric > 0, adopt, lambda state: state, state), metrics

    def finish(self, state: WarmupState) -> tuple[Position, Any]:
        """Return where warmup ended, and the averaged step size in its metric."""
        _, _, averaging_final = self.averaging()
        return state.sampler.position, self.retune(averaging_final(state.averaging), state.inverse_mass_matrix)
