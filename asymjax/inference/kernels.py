"""What a chain does in one compiled chunk of warmup, or of sampling: pure functions of keys, states and data."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from asymjax import rng
from asymjax.inference.algorithm import Algorithm, Stage, Target
from asymjax.inference.posterior import Posterior
from asymjax.types import Array, Frozen, Info, Key, Position, PyTree

Keep = Callable[[Position, Posterior, PyTree], dict[str, Any]]


def persistent_shape(posterior: Posterior, algorithm: Algorithm) -> tuple[Any, Any]:
    """Return the shape structs of what one chain has from draw to draw: its state, and what was tuned."""

    def persistent(key: Key, position: Position) -> tuple[Any, Any]:
        target = algorithm.target(posterior)
        position, tuned = algorithm.finish(algorithm.begin(key, position, target))
        return algorithm.make(target, tuned).init(key, position), tuned

    return jax.eval_shape(persistent, jax.random.key(0), posterior.shape)


class Warmup(NamedTuple):
    """The functions of one chain's warmup that are compiled; for ``member`` see ``Posterior.of``.

    Attributes
    ----------
    begin : (member, position, frozen, data) -> state.
    advance : (member, state, first, setting, frozen, data) -> (state, metrics), for each stage.
    finish : (member, state, frozen, data) -> (position, tuned).
    """

    begin: Callable
    advance: Callable[[Stage], Callable]
    finish: Callable


def make_warmup(posterior: Posterior, algorithm: Algorithm) -> Warmup:
    """Return the functions of one chain's warmup."""

    def begin(member: Any, position: Position, frozen: Frozen, data: Any) -> Any:
        key, target = of(member, frozen, data)
        return algorithm.begin(key, target.enter(position), target)

    def advance(stage: Stage) -> Callable:
        def one(
            member: Any, state: Any, first: Array, setting: Array, frozen: Frozen, data: Any
        ) -> tuple[Any, dict[str, Array]]:
            key, target = of(member, frozen, data)
            return stage.advance(key, state, first, setting, target)

        return one

    def finish(member: Any, state: Any, frozen: Frozen, data: Any) -> tuple[Position, Any]:
        _, target = of(member, frozen, data)
        position, tuned = algorithm.finish(state)
        return target.leave(position), tuned

    def of(member: Any, frozen: Frozen, data: Any) -> tuple[Key, Target]:
        key, own = posterior.of(member, frozen, data)
        return key, algorithm.target(own)

    return Warmup(begin, advance, finish)


def _of_steps(infos: Info) -> dict[str, Array]:
    """Return what a draw tells of all the steps that it took."""
    told = Info(
        acceptance_rate=jnp.mean(infos.acceptance_rate),
        is_divergent=jnp.any(infos.is_divergent),
        num_grad_evals=jnp.sum(infos.num_grad_evals),
        energy_change=jnp.sqrt(jnp.mean(jnp.square(infos.energy_change))),
    )
    return told._asdict()


def make_sampling_chunk(
    posterior: Posterior, algorithm: Algorithm, num_draws: int, num_chunks: int, keep: Keep
) -> tuple[Callable, Callable]:
    """Return the functions of one chain's sampling that are compiled.

    Parameters
    ----------
    posterior, algorithm : what is sampled, and how.
    num_draws, num_chunks : draws of a chunk, and chunks in all.
    keep : (position, posterior of the chain, inputs) -> what is kept of a draw, by name.

    Returns
    -------
    ``begin(member, position, tuned, frozen, data) -> state`` and
    ``advance(member, state, tuned, first, frozen, data, inputs) -> (state, draws)``; for ``member`` see
    ``Posterior.of``. Draws [num_draws, ...] have what is kept; ``logdensity``; and, of all steps of a draw, the fields
    of ``Info``: means, any, sums, and of ``energy_change`` the root mean square.
    """
    thinning = algorithm.thinning
    make = partial(algorithm.make, num_steps=num_draws * num_chunks * thinning)

    def begin(member: Any, position: Position, tuned: Any, frozen: Frozen, data: Any) -> Any:
        key, own = posterior.of(member, frozen, data)
        target = algorithm.target(own)
        return make(target, tuned).init(rng.named_key(key, "init"), target.enter(position))

    def advance(
        member: Any, state: Any, tuned: Any, first: Array, frozen: Frozen, data: Any, inputs: PyTree
    ) -> tuple[Any, dict[str, Any]]:
        key, own = posterior.of(member, frozen, data)
        target = algorithm.target(own)
        sampler = make(target, tuned)

        def step(state: Any, t: Array) -> tuple[Any, Info]:
            return sampler.step(jax.random.fold_in(key, t), state)

        def keep_one(state: Any, draw: Array) -> tuple[Any, dict[str, Any]]:
            state, infos = lax.scan(step, state, draw * thinning + jnp.arange(thinning))
            known = hasattr(state, "logdensity")
            logdensity = state.logdensity if known else target.logdensity(state.position)
            kept = keep(target.leave(state.position), own, inputs)
            return state, {**kept, "logdensity": logdensity, **_of_steps(infos)}

        return lax.scan(keep_one, state, first + jnp.arange(num_draws))

    return begin, advance
