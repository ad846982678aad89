"""Where chains start, optimised where that is asked for: optima of their density, or of one held by a draw."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

from asymjax.divisors import largest_divisor
from asymjax.inference.posterior import Posterior
from asymjax.inference.samplers.gradients import unwhiten
from asymjax.inference.starts import Start, make_anchored, permuted_copies, prior_start
from asymjax.lab import devices, processes
from asymjax.lab.devices import Placement
from asymjax.lab.recorder import Recorder
from asymjax.lab.sweep import run_sweep
from asymjax.models import vary_frozen
from asymjax.train import make_train
from asymjax.train.trainer import Member, Trainer, make_varied
from asymjax.types import Array, Frozen, Hyper, Position, PyTree, Split

NUM_CHUNKS = 10
ANCHORED_LEARNING_RATE = 0.03


def find_map(
    run: Recorder, posterior: Posterior, keys: PyTree, placement: Placement, num_steps: int, learning_rate: float
) -> Position:
    """Train one network a key to the optimum of its density, full batch; NumPy leaves [chain, ...].

    Adam on -log density / rows with a cosine schedule from ``learning_rate`` to zero. ``keys`` may be a ``Member`` of
    arrays [chain], whose settings are those of the networks' densities.
    """
    num_rows = posterior.data.targets.shape[0]

    def problem(own: Posterior) -> tuple[Any, Any]:
        def loss(position: Position, frozen: Frozen, batch: Split) -> Array:
            return -own.logdensity(position, frozen, batch, *own.given) / num_rows

        return posterior.init, loss

    return _optimise(run, posterior, problem, keys, placement, num_steps, learning_rate, "train")


def find_anchored(run: Recorder, posterior: Posterior, keys: PyTree, placement: Placement, num_steps: int) -> Position:
    """Return where the likelihood draws draws of the prior, one a key; leaves [chain, ...].

    Adam, in units of the prior, on the loss of :func:`~asymjax.inference.starts.make_anchored`.
    """

    def position(member: Any, z: PyTree) -> Position:
        _, own = posterior.of(member, posterior.frozen, posterior.data)
        return unwhiten(z, own.prior_scale)

    rate, phase = ANCHORED_LEARNING_RATE, "start"
    found = _optimise(run, posterior, make_anchored, keys, placement, num_steps, rate, phase)
    return jax.jit(jax.vmap(position))(keys, found.moving)


def _optimise(
    run: Recorder,
    posterior: Posterior,
    problem: Callable[[Posterior], tuple[Any, Any]],
    keys: PyTree,
    placement: Placement,
    num_steps: int,
    learning_rate: float,
    phase: str,
) -> PyTree:
    """Minimise a loss of each network; ``problem`` is (posterior of the network) -> (init, loss)."""
    optimizer = optax.adam(optax.cosine_decay_schedule(learning_rate, num_steps))

    def make(hyper: Hyper) -> Trainer:
        init, loss = problem(posterior.having(hyper))

        def of_model(apply: Any, position: PyTree, frozen: Frozen, batch: Split) -> Array:
            return loss(position, frozen, batch)

        return make_train(posterior.model._replace(init=init), of_model, optimizer, num_steps, batch_size=None)

    trainer = make_varied(make, partial(vary_frozen, posterior.model)) if isinstance(keys, Member) else make({})
    epochs = largest_divisor(num_steps, max(1, num_steps // NUM_CHUNKS))
    state = run_sweep(
        run, trainer, keys, keys, posterior.frozen, posterior.data, placement, num_steps, epochs, phase=phase
    )
    return processes.gather(state.position)


def find_start(
    run: Recorder, posterior: Posterior, keys: PyTree, placement: Placement, config: Start
) -> tuple[Position | None, Position]:
    """Return the optima that were trained [member, ...], None where none were, and where chains start [chain, ...].

    ``keys`` are one a start, as many as ``config.num_starts`` says, or a ``Member`` of as many.
    """
    num_starts = config.num_starts(placement.total)
    optima = None
    if config.start != "prior" and config.map_steps:
        num_optima = 1 if config.start == "permuted" else num_starts
        first = jax.tree.map(lambda leaf: leaf[:num_optima], keys)
        where = _place(num_optima, placement)
        optima = find_map(run, posterior, first, where, config.map_steps, config.map_learning_rate)
    if config.start == "anchored":
        starts = find_anchored(run, posterior, keys, _place(num_starts, placement), config.anchored_steps)
    elif optima is None:
        starts = prior_start(posterior, keys)
    elif config.start == "permuted":
        starts = permuted_copies(posterior, jax.tree.map(lambda leaf: leaf[0], optima), keys)
    else:
        starts = optima
    return optima, jax.tree.map(lambda leaf: jnp.repeat(leaf, config.chains_per_start, axis=0), starts)


def _place(count: int, placement: Placement) -> Placement:
    """Place networks like chains, as many for every process: some find one that others find as well."""
    size = jax.process_count() * -(-count // jax.process_count())
    where = placement if size == placement.size else devices.place(size, inside=placement.width)
    return where._replace(total=count)
