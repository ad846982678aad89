"""What a sampler is to the driver: settings, the kernel that they make of a density, and the warmup that tunes it."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from asymjax.errors import InputError
from asymjax.settings import Count, Settings
from asymjax.types import Array, Info, Key, Position, PyTree, Sampler


class Target(NamedTuple):
    """The density that one chain samples, inside a compiled chunk.

    To a sampler a position is where it walks. Those of users are on the other side of ``enter`` and ``leave``.

    Attributes
    ----------
    logdensity : (position) -> [] log density over all rows; temperature is part of it.
    estimate : (key, position, batch_size) -> [] its unbiased estimate from rows drawn with replacement.
    num_rows : rows of data.
    prior_scale : tree of floats, the standard deviation of the prior of each leaf.
    enter, leave : from a user's position to the sampler's, and back; both keep volumes.
    posterior : the ``Posterior`` of the chain, for what looks into the density; None where there is none.
    """

    logdensity: Callable[[Position], Array]
    estimate: Callable[[Key, Position, int], Array]
    num_rows: int
    prior_scale: PyTree
    enter: Callable[[Position], Position] = lambda position: position
    leave: Callable[[Position], Position] = lambda position: position
    posterior: Any = None


class Stage(NamedTuple):
    """One chunk of warmup.

    Attributes
    ----------
    advance : (key, state, first, setting, target) -> (state, metrics). ``first`` counts the steps before, int32 [];
        ``metrics`` are scalars by name, ``logdensity`` and ``num_grad_evals`` among them. Stages that share the
        function share its compiled program.
    num_steps : steps that it takes.
    setting : a number for this stage.
    """

    advance: Callable[[Key, Any, Array, Array, Target], tuple[Any, dict[str, Array]]]
    num_steps: int
    setting: float = 0.0


class Pooling(NamedTuple):
    """What chains learn from each other after every chunk of warmup.

    Attributes
    ----------
    tell : (state) -> what one chain tells the others.
    meet : (what all tell, [chain, ...]) -> what each of them learns.
    learn : (state, what is learned) -> state.
    """

    tell: Callable[[Any], PyTree]
    meet: Callable[[PyTree], PyTree]
    learn: Callable[[Any, PyTree], Any]


@dataclass(frozen=True)
class Algorithm(Settings):
    """A sampler, or an approximation, for one chain; its fields are its settings.

    Every function is pure and can be traced. What warmup tunes is a NamedTuple of arrays, an argument of compiled
    chunks, so that another value never recompiles.
    """

    num_warmup: Count = 100
    """Steps a chain that adapt and are dropped."""
    thinning: Count = 1
    """Keep one draw in this many."""

    @property
    def is_fit(self) -> bool:
        """Whether warmup fits a density, of which the draws are: no sampler of the target itself."""
        return False

    @property
    def max_gradients(self) -> float:
        """Gradients over all rows at which a trajectory is cut; infinite where nothing cuts it."""
        return math.inf

    def check(self, num_draws: int, num_chains: int) -> None:
        """Check the settings together, the kept draws a chain, and the chains.

        Raises
        ------
        InputError
            If a setting cannot be, or one chain has none to learn from.
        """
        if self.pooling is not None and num_chains < 2:
            raise InputError(
                f"{num_chains} chain has no others to adapt with; give 2 chains or more, or settings that each chain "
                "adapts alone"
            )

    def target(self, posterior: Any) -> Target:
        """Return what one chain of a ``Posterior`` walks on: its positions, unless a sampler says otherwise."""
        return posterior.target()

    def make(self, target: Target, tuned: Any, num_steps: int = 0) -> Sampler:
        """Build the kernel; ``num_steps`` are its steps in all, which schedules divide."""
        raise NotImplementedError

    def begin(self, key: Key, position: Position, target: Target) -> Any:
        """Return the state of warmup."""
        raise NotImplementedError

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        """The chunks of warmup."""
        raise NotImplementedError

    @property
    def pooling(self) -> Pooling | None:
        """What chains learn from each other in warmup; None where each adapts alone."""
        return None

    def finish(self, state: Any) -> tuple[Position, Any]:
        """Return where warmup ended, and what it tuned."""
        raise NotImplementedError

    def describe(self, tuned: Any) -> str:
        """Return in words what warmup tuned, leaves [chain, ...] of host arrays."""
        return f"step size {np.mean(tuned.step_size):.4g}"


def make_info(
    num_grad_evals: Any, acceptance_rate: Any = jnp.nan, is_divergent: Any = False, energy_change: Any = jnp.nan
) -> Info:
    """Gather what a step tells; NaN and False where a sampler has nothing to tell."""
    return Info(
        jnp.asarray(acceptance_rate, jnp.float32),
        jnp.asarray(is_divergent, bool),
        jnp.asarray(num_grad_evals, jnp.float32),
        jnp.asarray(energy_change, jnp.float32),
    )
