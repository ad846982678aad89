"""The No-U-Turn Sampler (Hoffman and Gelman 2014), multinomial (Betancourt 2017) and iterative, from BlackJAX."""

from collections.abc import Callable
from typing import NamedTuple

import blackjax
from blackjax.mcmc.hmc import HMCState

from asymjax.inference.algorithm import Algorithm, Target, make_draw, make_info
from asymjax.inference.chains_config import NUTSConfig
from asymjax.inference.warmup import adapt_step_size
from asymjax.types import Array, Draw, Info, Key, Position, Sampler

AUTO_ACCEPTANCE_RATE = 0.8


class Tuned(NamedTuple):
    """What warmup tunes, one set a chain.

    Attributes
    ----------
    step_size : [] leapfrog step, in units of the metric's scale.
    inverse_mass_matrix : [coordinates] diagonal, in the order of ``ravel_pytree``.
    """

    step_size: Array
    inverse_mass_matrix: Array


def nuts(config: NUTSConfig) -> Algorithm:
    """Return the algorithm of ``nuts``.

    Vectorised chains pay for the longest of their trajectories in every step.
    """
    kernel = blackjax.nuts.build_kernel()

    def make(
        target: Target, tuned: Tuned, outputs: Callable[[Position], Array] | None = None, keep_position: bool = True
    ) -> Sampler:
        def init(key: Key, position: Position) -> HMCState:
            return blackjax.nuts.init(position, target.logdensity)

        def step(key: Key, state: HMCState) -> tuple[HMCState, Info]:
            state, info = kernel(key, state, target.logdensity, *tuned, max_num_doublings=config.max_doublings)
            return state, make_info(info.num_integration_steps, info.acceptance_rate, info.is_divergent)

        def collect(state: HMCState, info: Info) -> Draw:
            return make_draw(state.position, state.logdensity, info, outputs, keep_position)

        return Sampler(init, step, collect)

    return Algorithm(make, *adapt_step_size(make, Tuned, config, AUTO_ACCEPTANCE_RATE))
