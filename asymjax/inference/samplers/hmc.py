"""Hamiltonian Monte Carlo (Duane et al. 1987; Neal 2011, "MCMC using Hamiltonian dynamics"), from BlackJAX.

The automatic trajectory of pi/2 is that of Izmailov et al. (2021, "What are Bayesian neural network posteriors really
like?", section 4): with the prior's variance as inverse mass matrix it is (pi/2) times the prior scale under a unit
mass matrix.

Multinomial trajectories are put together here from BlackJAX's pieces: those of its ``mhmc`` (BlackJAX 1.7.1) begin at
the present state and go forward alone, which leaves the target only where energy is conserved.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.flatten_util import ravel_pytree

from asymjax import rng
from asymjax.inference import chees
from asymjax.inference.algorithm import Pooling, Target, make_info
from asymjax.inference.lazy import blackjax
from asymjax.inference.warmup import Adapted, WarmupState
from asymjax.settings import Count, Inside, Positive, Share
from asymjax.types import Array, Info, Key, Position, Sampler

if TYPE_CHECKING:
    from blackjax.mcmc.hmc import HMCInfo, HMCState


class Tuned(NamedTuple):
    """What warmup tunes, one set a chain; values may be traced, so another value never recompiles.

    Attributes
    ----------
    step_size : [] leapfrog step, in units of the metric's scale.
    inverse_mass_matrix : [coordinates] diagonal, in the order of ``ravel_pytree``.
    trajectory_length : [] mean integration time, in the same units as ``step_size``; one step where it is less.
    """

    step_size: Array
    inverse_mass_matrix: Array
    trajectory_length: Array


def num_integration_steps(key: Key, mean_length: Array, step_size: Array, jitter: float, max_steps: int) -> Array:
    """Draw the steps of one trajectory: its length is uniform within ``jitter`` of the mean, at least one step."""
    length = mean_length * jax.random.uniform(key, minval=1 - jitter, maxval=1 + jitter)
    return jnp.clip(jnp.ceil(length / step_size), 1, max_steps).astype(jnp.int32)


class Kernel(NamedTuple):
    """Hamiltonian Monte Carlo of one chain.

    Attributes
    ----------
    init : (position) -> state.
    walk : (key, state) -> (state, what BlackJAX tells of the trajectory).
    """

    init: Callable[[Position], HMCState]
    walk: Callable[[Key, HMCState], tuple[HMCState, HMCInfo]]

    @property
    def sampler(self) -> Sampler:
        """The kernel as a sampler."""

        def step(key: Key, state: HMCState) -> tuple[HMCState, Info]:
            state, told = self.walk(key, state)
            return state, info_of(told)

        return Sampler(lambda key, position: self.init(position), step)


def info_of(told: HMCInfo) -> Info:
    """Return what a step tells, from what BlackJAX does."""
    return make_info(told.num_integration_steps, told.acceptance_rate, told.is_divergent)


def make_hmc(
    logdensity: Callable[[Position], Array],
    tuned: Tuned,
    jitter: float = 0.5,
    max_steps: int = 1000,
    is_multinomial: bool = False,
) -> Kernel:
    """Build the kernel of one chain.

    Parameters
    ----------
    logdensity : (position) -> [] log density of the target.
    tuned : step size, metric and trajectory length.
    jitter : trajectory lengths are uniform within this fraction of their mean, in [0, 1].
    max_steps : leapfrog steps of a trajectory at most.
    is_multinomial : whether the proposal is drawn from all points of the trajectory.
    """
    hmc = blackjax.hmc
    kernel = hmc.build_kernel(build_proposal=multinomial_proposal) if is_multinomial else hmc.build_kernel()

    def walk(key: Key, state: HMCState) -> tuple[HMCState, HMCInfo]:
        trajectory_key = rng.named_key(key, "trajectory")
        steps = num_integration_steps(trajectory_key, tuned.trajectory_length, tuned.step_size, jitter, max_steps)
        kernel_key = rng.named_key(key, "kernel")
        return kernel(kernel_key, state, logdensity, tuned.step_size, tuned.inverse_mass_matrix, steps)

    return Kernel(lambda position: blackjax.hmc.init(position, logdensity), walk)


def multinomial_proposal(
    integrator: Callable, kinetic_energy: Callable, step_size: Any, num_steps: Any, divergence_threshold: float = 1000
) -> Callable[[Key, Any], tuple[Any, HMCInfo, None]]:
    """Draw a state from a trajectory, each in proportion to exp(-energy) (Betancourt 2017, appendix A).

    The present state is at a uniform place among the states of the trajectory: from every other state the same
    trajectory is then as likely, which is what keeps the target invariant.

    Parameters
    ----------
    integrator, kinetic_energy, step_size, divergence_threshold : as BlackJAX's kernel gives them.
    num_steps : int [] leapfrog steps, some forward and the others backward.
    """
    trajectory, proposals = blackjax.mcmc.trajectory, blackjax.mcmc.proposal
    energy = trajectory.hmc_energy(kinetic_energy)
    _, propose = proposals.proposal_generator(energy)

    def generate(key: Key, start: Any) -> tuple[Any, HMCInfo, None]:
        num_forward = jax.random.randint(rng.named_key(key, "place"), (), 0, num_steps + 1)
        start_energy = energy(start)

        def one(i: Array, carry: tuple[Any, Any, Array]) -> tuple[Any, Any, Array]:
            state, chosen, is_divergent = carry
            state = jax.tree.map(lambda now, first: jnp.where(i == num_forward, first, now), state, start)
            state = integrator(state, jnp.where(i < num_forward, step_size, -step_size))
            proposal = propose(start_energy, state)
            chosen = proposals.progressive_uniform_sampling(jax.random.fold_in(key, i), chosen, proposal)
            return state, chosen, is_divergent | (-proposal.weight > divergence_threshold)

        none = jnp.zeros_like(start_energy)
        own = proposals.Proposal(start, start_energy, none, none - jnp.inf)
        _, chosen, is_divergent = lax.fori_loop(0, num_steps, one, (start, own, jnp.asarray(False)))
        # The mean over the other states of min(1, exp(energy of the start - energy)): what warmup tunes step sizes by.
        rate = jnp.exp(chosen.sum_log_p_accept) / num_steps
        told = (start.momentum, rate, True, is_divergent, chosen.energy, chosen.state, num_steps)
        return chosen.state, blackjax.mcmc.hmc.HMCInfo(*told), None

    return generate


@dataclass(frozen=True)
class Trajectories(Adapted):
    """Hamiltonian Monte Carlo with a given integration time: what its kinds share."""

    trajectory_length: Positive = math.pi / 2
    """Integration time in units of the metric's scale; pi/2 with mass_matrix prior is (pi/2) times the prior scale."""
    max_integration_steps: Count = 500
    """Leapfrog steps a draw at most."""

    @property
    def max_gradients(self) -> float:
        """One a leapfrog step."""
        return self.max_integration_steps

    def kernel(self, target: Target, tuned: Tuned) -> Kernel:
        """Build the kernel."""
        raise NotImplementedError

    def make(self, target: Target, tuned: Tuned, num_steps: int = 0) -> Sampler:
        """Build the sampler."""
        return self.kernel(target, tuned).sampler

    def retune(self, step_size: Array, metric: Array) -> Tuned:
        """Return what is tuned; the trajectory is as long as configured."""
        return Tuned(step_size, metric, jnp.asarray(self.trajectory_length, step_size.dtype))


@dataclass(frozen=True)
class EndPoints(Trajectories):
    """Kinds that propose the end of a trajectory, and so can learn its length."""

    trajectory: Literal["fixed", "adapted"] = "fixed"
    """Keep trajectory_length; or begin there and adapt one length for all chains in warmup (ChEES), of 2 or more."""

    @property
    def pooling(self) -> Pooling | None:
        """The length that chains adapt together."""
        if self.trajectory == "fixed":
            return None

        def learn(state: WarmupState, learned: chees.Meeting) -> WarmupState:
            return state._replace(length=chees.learn(state.length, learned))

        return Pooling(lambda state: chees.tell(state.length), chees.meet, learn)

    def begin(self, key: Key, position: Position, target: Target) -> WarmupState:
        """Return the state of warmup."""
        state = super().begin(key, position, target)
        if self.trajectory == "fixed":
            return state
        return state._replace(length=chees.begin(self.trajectory_length, ravel_pytree(state.sampler.position)[0]))

    def step(self, key: Key, state: WarmupState, step_size: Array, target: Target) -> tuple[WarmupState, Info]:
        """Take one step of the sampler, and learn from its trajectory.

        Nothing is learned of one that diverges, or that ``max_integration_steps`` cut.
        """
        if self.trajectory == "fixed":
            return super().step(key, state, step_size, target)
        metric, length = state.inverse_mass_matrix, state.length
        tuned = Tuned(step_size, metric, jnp.exp(length.log_length))
        next_state, told = self.kernel(target, tuned).walk(key, state.sampler)

        def from_centre(position: Position) -> Array:
            return ravel_pytree(position)[0] - length.centre

        # No root of the metric is taken here: shared with the kernel's own, it may change last bits of the chain.
        start, end = from_centre(state.sampler.position), from_centre(told.proposal.position)
        momentum = -ravel_pytree(told.proposal.momentum)[0]  # BlackJAX turns it around at the end.
        gradient = chees.rate_gradient(start, end, momentum, metric, told.num_integration_steps * step_size)
        gradient *= told.acceptance_rate
        teaches = jnp.isfinite(gradient) & ~told.is_divergent
        teaches &= told.num_integration_steps < self.max_integration_steps
        length = chees.update(length, ravel_pytree(next_state.position)[0], jnp.where(teaches, gradient, 0.0))
        return state._replace(sampler=next_state, length=length), info_of(told)

    def advance(
        self, key: Key, state: WarmupState, first: Array, adopts_metric: Array, target: Target, num_steps: int
    ) -> tuple[WarmupState, dict[str, Array]]:
        """Take the steps of one chunk, and tell the length."""
        state, metrics = super().advance(key, state, first, adopts_metric, target, num_steps)
        if self.trajectory == "fixed":
            return state, metrics
        return state, metrics | {"trajectory_length": jnp.exp(state.length.log_length)}

    def adopt(self, state: WarmupState, target: Target) -> WarmupState:
        """Adopt a metric, and go on with the length in its units."""
        adopted = super().adopt(state, target)
        if self.trajectory == "fixed":
            return adopted
        length = chees.rescaled(state.length, state.inverse_mass_matrix, adopted.inverse_mass_matrix)
        return adopted._replace(length=length)

    def finish(self, state: WarmupState) -> tuple[Position, Tuned]:
        """Return where warmup ended, and what it tuned."""
        position, tuned = super().finish(state)
        if self.trajectory == "fixed":
            return position, tuned
        return position, tuned._replace(trajectory_length=jnp.exp(state.length.average))


@dataclass(frozen=True)
class HMC(EndPoints):
    """Hamiltonian Monte Carlo, which proposes the end of a trajectory.

    Examples
    --------
    >>> import asymjax
    >>> asymjax.HMC(num_warmup=200, mass_matrix="adapted").trajectory_length
    1.5707963267948966
    """

    jitter: Share = 0.5
    """Trajectory lengths are uniform within this fraction of trajectory_length; 0 fixes them."""

    def kernel(self, target: Target, tuned: Tuned) -> Kernel:
        """Build the kernel."""
        return make_hmc(target.logdensity, tuned, self.jitter, self.max_integration_steps)


@dataclass(frozen=True)
class MultinomialHMC(Trajectories):
    """Hamiltonian Monte Carlo, which proposes any point of a trajectory (Betancourt 2017, appendix A).

    Where on the trajectory that is, is not kept; so its length is not adapted.
    """

    jitter: Share = 0.5
    """Trajectory lengths are uniform within this fraction of trajectory_length; 0 fixes them."""

    def kernel(self, target: Target, tuned: Tuned) -> Kernel:
        """Build the kernel."""
        return make_hmc(target.logdensity, tuned, self.jitter, self.max_integration_steps, is_multinomial=True)


@dataclass(frozen=True)
class DynamicHMC(EndPoints):
    """Hamiltonian Monte Carlo whose integration time is uniform from 0 to twice trajectory_length."""

    def kernel(self, target: Target, tuned: Tuned) -> Kernel:
        """Build the kernel."""
        return make_hmc(target.logdensity, tuned, jitter=1.0, max_steps=self.max_integration_steps)


@dataclass(frozen=True)
class MALA(Adapted):
    """The Metropolis-adjusted Langevin algorithm: a trajectory of one leapfrog step a draw (use thinning).

    As Neal (2011, section 5.2) has it, and so with the metric that the others have.
    """

    target_acceptance_rate: Inside = 0.574
    """Acceptance rate that warmup's step sizes reach on average."""

    def make(self, target: Target, tuned: Tuned, num_steps: int = 0) -> Sampler:
        """Build the kernel."""
        return make_hmc(target.logdensity, tuned, max_steps=1).sampler

    def retune(self, step_size: Array, metric: Array) -> Tuned:
        """Return what is tuned; no length, for a trajectory has one step at least."""
        return Tuned(step_size, metric, jnp.zeros((), step_size.dtype))
