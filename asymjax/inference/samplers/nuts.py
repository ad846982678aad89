"""The No-U-Turn Sampler (Hoffman and Gelman 2014), multinomial (Betancourt 2017) and iterative, from BlackJAX."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, NamedTuple

from asymjax.inference.algorithm import Target, make_info
from asymjax.inference.lazy import blackjax
from asymjax.inference.warmup import Adapted
from asymjax.settings import Range
from asymjax.types import Array, Info, Key, Position, Sampler

if TYPE_CHECKING:
    from blackjax.mcmc.hmc import HMCState


class Tuned(NamedTuple):
    """What warmup tunes, one set a chain.

    Attributes
    ----------
    step_size : [] leapfrog step, in units of the metric's scale.
    inverse_mass_matrix : [coordinates] diagonal, in the order of ``ravel_pytree``.
    """

    step_size: Array
    inverse_mass_matrix: Array


@dataclass(frozen=True)
class NUTS(Adapted):
    """Hamiltonian Monte Carlo whose trajectories end where they turn, multinomial over the trajectory.

    Vectorised chains pay for the longest of their trajectories in every step.

    Examples
    --------
    >>> import asymjax
    >>> asymjax.NUTS(max_doublings=5).num_warmup
    100
    """

    max_doublings: Annotated[int, Range(1, 30)] = 8
    """Doublings of a trajectory at most: 2^max_doublings - 1 leapfrog steps."""

    @property
    def max_gradients(self) -> float:
        """One a leapfrog step."""
        return 2**self.max_doublings - 1

    def make(self, target: Target, tuned: Tuned, num_steps: int = 0) -> Sampler:
        """Build the kernel."""
        kernel = blackjax.nuts.build_kernel()

        def init(key: Key, position: Position) -> HMCState:
            return blackjax.nuts.init(position, target.logdensity)

        def step(key: Key, state: HMCState) -> tuple[HMCState, Info]:
            state, info = kernel(key, state, target.logdensity, *tuned, max_num_doublings=self.max_doublings)
            return state, make_info(info.num_integration_steps, info.acceptance_rate, info.is_divergent)

        return Sampler(init, step)

    def retune(self, step_size: Array, metric: Array) -> Tuned:
        """Return what is tuned."""
        return Tuned(step_size, metric)
