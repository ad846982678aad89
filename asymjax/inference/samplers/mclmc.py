"""Microcanonical Langevin Monte Carlo (Robnik et al. 2023, "Microcanonical Hamiltonian Monte Carlo"), from BlackJAX.

``MCLMC`` takes every step of the isokinetic dynamics with partial refreshment of its direction; what it draws is biased
by the discretisation, the less the smaller the step. ``AdjustedMCLMC`` proposes the end of a trajectory without
refreshment and accepts it by Metropolis' rule (Robnik, Cohn-Gordon and Seljak 2025), and so is unbiased.

Warmup of ``MCLMC`` follows Sommer et al. (2025, "Microcanonical Langevin Ensembles: advancing the sampling of Bayesian
neural networks"): chains start at optima, where a stock tuner's first steps are far too long, so the energy error that
the step size aims at falls from stage to stage. Then the length over which directions are forgotten is set, first from
the variance of the position and then from its autocorrelation.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.flatten_util import ravel_pytree

from asymjax import rng
from asymjax.errors import InputError
from asymjax.inference.algorithm import Algorithm, Stage, Target, make_info
from asymjax.inference.lazy import blackjax
from asymjax.inference.metrics import PRIOR_DRAWS, prior_metric
from asymjax.inference.samplers.hmc import num_integration_steps
from asymjax.inference.warmup import Adapted
from asymjax.settings import Count, Positive, Share
from asymjax.types import Array, Info, Key, Position, Sampler

if TYPE_CHECKING:
    from blackjax.mcmc.hmc import HMCState
    from blackjax.mcmc.integrators import IntegratorState

GRADS_PER_STEP = 2  # McLachlan's integrator has two positions a step.
STEP_SIZE_SHARE = 0.8
MIN_STAGE_STEPS = 2
NUM_EFFECTIVE_STEPS = 100
LENGTH_FACTOR = 0.4
# What the autocorrelation is measured on; its Fourier transform takes 100 MB a chain at most.
MAX_COORDINATES = 2000
MAX_STATES = 1000


class Tuned(NamedTuple):
    """What warmup tunes, one set a chain; lengths are Euclidean over all coordinates in units of the metric's scale.

    Attributes
    ----------
    L : [] length of the path on which directions are forgotten (MCLMC), or of a trajectory (AdjustedMCLMC).
    step_size : [] length of a step of the integrator.
    inverse_mass_matrix : [coordinates] diagonal, in the order of ``ravel_pytree``.
    """

    L: Array
    step_size: Array
    inverse_mass_matrix: Array


class WarmupState(NamedTuple):
    """One chain in warmup: state of the sampler, and what is tuned so far."""

    sampler: IntegratorState
    tuned: Tuned


# Unadjusted ------------------------------------------------------------------------------------------------------


def make_mclmc(target: Target, tuned: Tuned) -> Sampler:
    """Build the unadjusted kernel of one chain; a step is one step of the integrator, of two gradients.

    A step that leaves the finite numbers is undone, takes a new direction and counts as divergent.
    """
    kernel = blackjax.mclmc.build_kernel()

    def init(key: Key, position: Position) -> IntegratorState:
        return blackjax.mclmc.init(position, target.logdensity, key)

    def step(key: Key, state: IntegratorState) -> tuple[IntegratorState, Info]:
        metric = tuned.inverse_mass_matrix
        state, info = kernel(key, state, target.logdensity, metric, tuned.L, tuned.step_size)
        return state, make_info(GRADS_PER_STEP, is_divergent=~info.nonans, energy_change=info.energy_change)

    return Sampler(init, step)


@dataclass(frozen=True)
class MCLMC(Algorithm):
    """Microcanonical Langevin Monte Carlo that takes every step, with a bias that falls with energy_variance.

    Examples
    --------
    >>> import asymjax
    >>> asymjax.MCLMC(energy_variance=0.01).thinning
    10
    """

    num_warmup: Count = 10_000
    """Steps a chain that adapt and are dropped."""
    thinning: Count = 10
    """Keep one draw in this many steps of the integrator."""
    mass_matrix: Literal["prior", "adapted"] = "prior"
    """Inverse mass matrix: the variance of the prior, or a diagonal adapted in warmup."""
    initial_step_size: Positive = 0.01
    """Step size at the start of warmup, the Euclidean length of a step in units of the metric's scale."""
    initial_energy_variance: Positive = 0.5
    """Mean squared energy error of a step and coordinate, in squared nats, that the first stage of warmup aims at; it
    falls in a line to energy_variance."""
    energy_variance: Positive = 0.1
    """The same that the last stage aims at. Less makes smaller steps and a smaller bias."""
    num_stages: Count = 10
    """Stages of warmup that tune the step size, from 2."""

    def check(self, num_draws: int, num_chains: int) -> None:
        """Check the settings; InputError if one cannot be."""
        super().check(num_draws, num_chains)
        if self.num_stages < 2 or self.num_warmup < MIN_STAGE_STEPS * self.num_stages:
            raise InputError(
                f"{self.num_warmup} steps of warmup in {self.num_stages} stages; give 2 stages or more, and "
                f"{MIN_STAGE_STEPS} steps or more for each"
            )

    def make(self, target: Target, tuned: Tuned, num_steps: int = 0) -> Sampler:
        """Build the kernel."""
        return make_mclmc(target, tuned)

    def begin(self, key: Key, position: Position, target: Target) -> WarmupState:
        """Return the state of warmup, in the metric of the prior."""
        metric = prior_metric(position, target.prior_scale)
        tuned = Tuned(jnp.sqrt(1.0 * metric.size), jnp.asarray(self.initial_step_size), metric)
        sampler = make_mclmc(target, tuned).init(rng.named_key(key, "init"), position)
        state = WarmupState(sampler, tuned)
        return like(state, state)

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        """Step sizes, L from the variance, a last step size, L from the autocorrelation."""
        num_step_size = max(1, int(STEP_SIZE_SHARE * self.num_warmup) // self.num_stages)
        num_length = max(4, (self.num_warmup - self.num_stages * num_step_size) // 2)
        targets = np.linspace(self.initial_energy_variance, self.energy_variance, self.num_stages)
        tune_step_size = make_tune_step_size(num_step_size)
        *falling, last = (Stage(tune_step_size, num_step_size, float(target)) for target in targets)
        variance = Stage(make_tune_to_variance(num_length, self.mass_matrix), num_length)
        return (*falling, variance, last, Stage(make_tune_to_autocorrelation(num_length), num_length))

    def finish(self, state: WarmupState) -> tuple[Position, Tuned]:
        """Return where warmup ended, and what it tuned."""
        return state.sampler.position, state.tuned


def like(new: Any, old: Any) -> Any:
    """Return a tree with the types of another, none of them weak: they must not change from stage to stage."""
    return jax.tree.map(lambda new, old: jnp.asarray(new, jnp.result_type(old)), new, old)


def describe_stage(state: WarmupState, num_steps: int) -> dict[str, Array]:
    """Return the metrics that all stages have."""
    return {
        "L": state.tuned.L,
        "step_size": state.tuned.step_size,
        "num_grad_evals": jnp.asarray(GRADS_PER_STEP * num_steps, jnp.float32),
        "logdensity": state.sampler.logdensity,
    }


def make_tune_step_size(num_steps: int) -> Callable[..., tuple[WarmupState, dict[str, Array]]]:
    """Return the stage that brings the mean squared energy error a coordinate to its setting.

    By the scaling of the error with the sixth power of the step (Robnik et al. 2023, section 4.1), in BlackJAX's first
    phase of tuning; the limit that it puts on step sizes after an overflow holds for one stage.
    """
    kernel = blackjax.mclmc.build_kernel()

    def advance(
        key: Key, state: WarmupState, first: Array, energy_variance: Array, target: Target
    ) -> tuple[WarmupState, dict[str, Array]]:
        sampler, params, _ = blackjax.mclmc_find_L_and_step_size(
            kernel,
            num_steps,
            state.sampler,
            jax.random.fold_in(key, first),
            target.logdensity,
            frac_tune1=1.0,
            frac_tune2=0.0,
            frac_tune3=0.0,
            desired_energy_var=energy_variance,
            num_effective_samples=NUM_EFFECTIVE_STEPS,
            diagonal_preconditioning=False,
            params=blackjax.adaptation.mclmc_adaptation.MCLMCAdaptationState(*state.tuned),
        )
        state = like(WarmupState(sampler, Tuned(*params)), state)
        return state, describe_stage(state, num_steps)

    return advance


def make_tune_to_variance(num_steps: int, mass_matrix: str) -> Callable[..., tuple[WarmupState, dict[str, Array]]]:
    """Return the stage that makes L the root of the summed variances (Robnik et al. 2023, section 4.2).

    With an adapted ``mass_matrix`` these variances become the metric, and the step keeps its share of L.
    """

    def advance(
        key: Key, state: WarmupState, first: Array, setting: Array, target: Target
    ) -> tuple[WarmupState, dict[str, Array]]:
        sampler = make_mclmc(target, state.tuned)
        start = ravel_pytree(state.sampler.position)[0]

        def one(carry: Any, t: Array) -> tuple[Any, Array]:
            state, total, squares = carry
            state, info = sampler.step(jax.random.fold_in(key, t), state)
            # From the start, so that squares of a far mean do not drown a small variance.
            moved = ravel_pytree(state.position)[0] - start
            return (state, total + moved, squares + jnp.square(moved)), info.energy_change

        zeros = jnp.zeros_like(start)
        carry, errors = lax.scan(one, (state.sampler, zeros, zeros), first + jnp.arange(num_steps))
        variances = jnp.maximum(carry[2] / num_steps - jnp.square(carry[1] / num_steps), 0.0)
        tuned = tune_to_variance(state.tuned, variances, num_steps, mass_matrix)
        state = like(WarmupState(carry[0], tuned), state)
        return state, describe_stage(state, num_steps) | {"energy_variance": jnp.mean(jnp.square(errors)) / start.size}

    return advance


def tune_to_variance(tuned: Tuned, variances: Array, num_draws: int, mass_matrix: str) -> Tuned:
    """Set L, and the metric where it is adapted, from the variances [coordinates] of ``num_draws`` draws."""
    metric = tuned.inverse_mass_matrix
    radius = jnp.sqrt(jnp.sum(variances / metric))
    radius = jnp.where(radius > 0, radius, tuned.L)
    if mass_matrix == "prior":
        return tuned._replace(L=radius)
    weight = num_draws / (num_draws + PRIOR_DRAWS)
    root = jnp.sqrt(1.0 * metric.size)
    return Tuned(root, tuned.step_size * root / radius, weight * variances + (1 - weight) * metric)


def make_tune_to_autocorrelation(num_steps: int) -> Callable[..., tuple[WarmupState, dict[str, Array]]]:
    """Return the stage that makes L a multiple of the path between independent draws.

    L = 0.4 x step size x mean over coordinates of (steps / effective sample size) (Robnik et al. 2023, section 4.2),
    over at most 2000 coordinates drawn at random and 1000 states.
    """
    thinning = -(-num_steps // MAX_STATES)

    def advance(
        key: Key, state: WarmupState, first: Array, setting: Array, target: Target
    ) -> tuple[WarmupState, dict[str, Array]]:
        sampler, size = make_mclmc(target, state.tuned), state.tuned.inverse_mass_matrix.size
        chosen = rng.permutation(rng.named_key(key, "coordinates"), size)[:MAX_COORDINATES]

        def step(state: IntegratorState, t: Array) -> tuple[IntegratorState, Array]:
            state, info = sampler.step(jax.random.fold_in(key, t), state)
            return state, info.energy_change

        def keep_one(state: IntegratorState, steps: Array) -> tuple[IntegratorState, tuple[Array, Array]]:
            state, errors = lax.scan(step, state, steps)
            return state, (ravel_pytree(state.position)[0][chosen], errors)

        steps = (first + jnp.arange(num_steps // thinning * thinning)).reshape(-1, thinning)
        sampled, (positions, errors) = lax.scan(keep_one, state.sampler, steps)
        length = length_of_memory(positions, state.tuned.step_size * thinning, state.tuned.L)
        state = like(WarmupState(sampled, state.tuned._replace(L=length)), state)
        return state, describe_stage(state, steps.size) | {"energy_variance": jnp.mean(jnp.square(errors)) / size}

    return advance


def length_of_memory(positions: Array, path: Array, otherwise: Array) -> Array:
    """Return L from the autocorrelation of positions [state, coordinate], each ``path`` [] after the one before.

    ``otherwise`` where no coordinate moves.
    """
    steps_per_draw = positions.shape[0] / blackjax.diagnostics.effective_sample_size(positions[None])
    moves = jnp.isfinite(steps_per_draw)
    mean = jnp.mean(jnp.where(moves, steps_per_draw, 0.0)) / jnp.mean(moves)
    return jnp.where(jnp.any(moves), LENGTH_FACTOR * path * mean, otherwise)


# Metropolis-adjusted ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class AdjustedMCLMC(Adapted):
    """Microcanonical dynamics that accept or reject the end of a trajectory, and so have no bias.

    Dual averaging and the trajectory's setting work in the units of Hamiltonian Monte Carlo, whose speed is about
    sqrt(coordinates) where it is one here.
    """

    trajectory_length: Positive = math.pi / 2
    """Length of a trajectory divided by sqrt(coordinates), in units of the metric's scale."""
    jitter: Share = 0.5
    """Trajectory lengths are uniform within this fraction of trajectory_length."""
    max_integration_steps: Count = 250
    """Integrator steps of a trajectory at most, of two gradients each."""

    @property
    def max_gradients(self) -> float:
        """Two a step of the integrator."""
        return GRADS_PER_STEP * self.max_integration_steps

    def make(self, target: Target, tuned: Tuned, num_steps: int = 0) -> Sampler:
        """Build the kernel; a step is a trajectory."""
        kernel = blackjax.adjusted_mclmc.build_kernel()

        def init(key: Key, position: Position) -> HMCState:
            return blackjax.adjusted_mclmc.init(position, target.logdensity)

        def step(key: Key, state: HMCState) -> tuple[HMCState, Info]:
            trajectory_key = rng.named_key(key, "trajectory")
            max_steps = self.max_integration_steps
            steps = num_integration_steps(trajectory_key, tuned.L, tuned.step_size, self.jitter, max_steps)
            kernel_key, metric = rng.named_key(key, "kernel"), tuned.inverse_mass_matrix
            state, info = kernel(kernel_key, state, target.logdensity, tuned.step_size, (steps,), metric)
            return state, make_info(GRADS_PER_STEP * steps, info.acceptance_rate, info.is_divergent)

        return Sampler(init, step)

    def retune(self, step_size: Array, metric: Array) -> Tuned:
        """Return what is tuned, in the units of this sampler."""
        root = jnp.sqrt(jnp.asarray(metric.size, step_size.dtype))
        return Tuned(self.trajectory_length * root, step_size * root, metric)
