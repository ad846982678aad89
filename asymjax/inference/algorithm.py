"""What a sampler is to the driver: a kernel, and the warmup that tunes it."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp

from asymjax.types import Array, Draw, Info, Key, Position, PyTree, Sampler


class Target(NamedTuple):
    """The density that one chain samples, inside a compiled chunk.

    Attributes
    ----------
    logdensity : (position) -> [] log density over all rows; temperature is part of it.
    estimate : (key, position, batch_size) -> [] its unbiased estimate from rows drawn with replacement.
    num_rows : rows of data.
    prior_scale : tree of floats, the standard deviation of the prior of each leaf.
    """

    logdensity: Callable[[Position], Array]
    estimate: Callable[[Key, Position, int], Array]
    num_rows: int
    prior_scale: PyTree


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


class Algorithm(NamedTuple):
    """A sampler with its settings, for one chain.

    What warmup tunes is a NamedTuple of arrays, an argument of compiled chunks, so that another value never recompiles.

    Attributes
    ----------
    make : (target, tuned, outputs, keep_position) -> Sampler; ``outputs`` is (position) -> what to keep of a draw in
        function space, or None.
    begin : (key, position, target) -> state of warmup.
    stages : the chunks of warmup.
    finish : (state of warmup) -> (position, tuned).
    """

    make: Callable[[Target, Any, Callable[[Position], Array] | None, bool], Sampler]
    begin: Callable[[Key, Position, Target], Any]
    stages: tuple[Stage, ...]
    finish: Callable[[Any], tuple[Position, Any]]


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


def make_draw(
    position: Position,
    logdensity: Array,
    info: Info,
    outputs: Callable[[Position], Array] | None,
    keep_position: bool,
) -> Draw:
    """Gather what is kept of a step."""
    return Draw(
        position=position if keep_position else None,
        outputs=None if outputs is None else outputs(position),
        logdensity=logdensity,
        **info._asdict(),
    )
