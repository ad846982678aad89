"""Warmup of Metropolis-adjusted samplers: step size by dual averaging, and a diagonal metric, one chain at a time.

Every chain adapts alone, so that what it becomes does not depend on how many there are, unless chains are told to adapt
the length of trajectories together. The pieces (dual averaging,
Welford's variance) are BlackJAX's; they are put together here because its window adaptation fixes the number of
leapfrog steps, while here the trajectory length is fixed and the number of steps follows the step size.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from asymjax import rng
from asymjax.divisors import largest_divisor
from asymjax.errors import InputError
from asymjax.inference.algorithm import Algorithm, Stage, Target
from asymjax.inference.lazy import blackjax
from asymjax.inference.metrics import METRICS, Metric, prior_metric
from asymjax.settings import Inside
from asymjax.types import Array, Info, Key, Position

if TYPE_CHECKING:
    from blackjax.adaptation.step_size import DualAveragingAdaptationState

INITIAL_STEP_SIZE = 0.01
# With the usual 0.05 step sizes swing so far that their average accepts up to 0.1 more than was asked for.
SHRINKAGE = 0.5
NUM_CHUNKS = 10


class WarmupState(NamedTuple):
    """One chain in warmup.

    Attributes
    ----------
    sampler : state of the sampler, with a ``position``, its ``logdensity`` and its ``logdensity_grad``.
    averaging : state of dual averaging.
    moments : what the next metric is estimated from.
    inverse_mass_matrix : [coordinates] metric in use.
    length : what it knows of the length of trajectories, where that is adapted.
    """

    sampler: Any
    averaging: DualAveragingAdaptationState
    moments: Any
    inverse_mass_matrix: Array
    length: Any = ()


@dataclass(frozen=True)
class Adapted(Algorithm):
    """A sampler whose warmup adapts a step size to an acceptance rate, and a metric.

    The state of its kernel has a ``position``, its ``logdensity`` and its ``logdensity_grad``.
    """

    target_acceptance_rate: Inside = 0.8
    """Acceptance rate that the step size of the draws reaches."""
    coordinates: Literal["centred", "plain"] = "centred"
    """Walk where hidden biases are counted from the mean of what they are added to, over the training rows, or among
    the parameters as they are; the posterior is the same."""
    mass_matrix: Literal["leaf", "prior", "adapted"] = "leaf"
    """Inverse mass matrix: the variance of the prior times one number a leaf, from the gradients of the first draws;
    the variance of the prior alone; or a diagonal adapted in warmup."""

    def target(self, posterior: Any) -> Target:
        """Return the density in the configured coordinates."""
        return posterior.target(is_centred=self.coordinates == "centred")

    def retune(self, step_size: Array, metric: Array) -> Any:
        """Return what the kernel calls tuned, from a step size [] and an inverse mass matrix [coordinates]."""
        raise NotImplementedError

    def averaging(self) -> Any:
        """Return dual averaging of the step size to the acceptance rate: (init, update, final)."""
        return blackjax.adaptation.step_size.dual_averaging_adaptation(self.target_acceptance_rate, gamma=SHRINKAGE)

    @property
    def metric(self) -> Metric:
        """The metric."""
        return METRICS[self.mass_matrix]()

    def begin(self, key: Key, position: Position, target: Target) -> WarmupState:
        """Return the state of warmup, in the first metric.

        Raises
        ------
        InputError
            If the metric takes gradients, and the sampler keeps none.
        """
        averaging_init, _, _ = self.averaging()
        like = prior_metric(position, target.prior_scale)
        sampler = self.make(target, self.retune(jnp.asarray(INITIAL_STEP_SIZE), like))
        state = sampler.init(rng.named_key(key, "init"), position)
        if self.mass_matrix == "leaf" and not hasattr(state, "logdensity_grad"):
            raise InputError(
                f"the state of {type(self).__name__} has no logdensity_grad, from which mass_matrix leaf is estimated; "
                "give mass_matrix prior, or keep the gradient"
            )
        metric = self.metric
        begun = WarmupState(state, averaging_init(INITIAL_STEP_SIZE), metric.init(state), metric.begin(state, target))
        # BlackJAX begins with Python numbers, whose weak types would change in the first step.
        return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.result_type(leaf)), begun)

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        """Chunks of equal length; windows grow, and after each but the last the metric is adopted."""
        num_steps = largest_divisor(self.num_warmup, max(1, self.num_warmup // NUM_CHUNKS))
        num_chunks = self.num_warmup // num_steps
        updates = {num_chunks // 5, num_chunks * 3 // 5}
        advance = partial(self.advance, num_steps=num_steps)
        return tuple(Stage(advance, num_steps, float(index + 1 in updates)) for index in range(num_chunks))

    def step(self, key: Key, state: WarmupState, step_size: Array, target: Target) -> tuple[WarmupState, Info]:
        """Take one step of the sampler."""
        sampler = self.make(target, self.retune(step_size, state.inverse_mass_matrix))
        next_state, info = sampler.step(key, state.sampler)
        return state._replace(sampler=next_state), info

    def advance(
        self, key: Key, state: WarmupState, first: Array, adopts_metric: Array, target: Target, num_steps: int
    ) -> tuple[WarmupState, dict[str, Array]]:
        """Take the steps of one chunk, and adopt a metric if ``adopts_metric`` [] is positive."""
        _, averaging_update, _ = self.averaging()
        metric = self.metric

        def one(state: WarmupState, t: Array) -> tuple[WarmupState, tuple[Info, Array]]:
            step_size = jnp.exp(state.averaging.log_step_size)
            state, info = self.step(jax.random.fold_in(key, t), state, step_size, target)
            state = state._replace(
                averaging=averaging_update(state.averaging, info.acceptance_rate),
                moments=metric.update(state.moments, state.sampler, target),
            )
            return state, (info, step_size)

        state, (info, step_size) = lax.scan(one, state, first + jnp.arange(num_steps))
        metrics = {
            "acceptance_rate": jnp.mean(info.acceptance_rate),
            "step_size": step_size[-1],
            "num_grad_evals": jnp.sum(info.num_grad_evals),
            "logdensity": state.sampler.logdensity,
        }
        adopt = partial(self.adopt, target=target)
        return lax.cond(adopts_metric > 0, adopt, lambda state: state, state), metrics

    def adopt(self, state: WarmupState, target: Target) -> WarmupState:
        """Make what was seen since the last call the metric, and begin dual averaging anew, around its average."""
        averaging_init, _, _ = self.averaging()
        metric, log_step_size = self.metric, state.averaging.log_step_size_avg
        adopted = state._replace(
            averaging=averaging_init(jnp.exp(log_step_size))._replace(mu=log_step_size),
            moments=metric.init(state.sampler),
            inverse_mass_matrix=metric.final(state.moments, state.sampler, target, state.inverse_mass_matrix),
        )
        return jax.tree.map(lambda new, old: jnp.asarray(new, old.dtype), adopted, state)

    def finish(self, state: WarmupState) -> tuple[Position, Any]:
        """Return where warmup ended, and the averaged step size in its metric."""
        _, _, averaging_final = self.averaging()
        return state.sampler.position, self.retune(averaging_final(state.averaging), state.inverse_mass_matrix)
