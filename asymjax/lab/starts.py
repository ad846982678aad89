"""Where chains start, trained where that is asked for: optima of their density."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

from asymjax.divisors import largest_divisor
from asymjax.inference.posterior import Posterior
from asymjax.inference.starts import Start, permuted_copies, prior_start
from asymjax.lab import devices, processes
from asymjax.lab.devices import Placement
from asymjax.lab.recorder import Recorder
from asymjax.lab.sweep import run_sweep
from asymjax.models import vary_frozen
from asymjax.train import make_train
from asymjax.train.trainer import Member, Trainer, make_varied
from asymjax.types import Array, Frozen, Hyper, Position, PyTree, Split

NUM_CHUNKS = 10


def find_map(
    run: Recorder, posterior: Posterior, keys: PyTree, placement: Placement, num_steps: int, learning_rate: float
) -> Position:
    """Train one network a key to the optimum of its density, full batch; NumPy leaves [chain, ...].

    Adam on -log density / rows with a cosine schedule from ``learning_rate`` to zero. ``keys`` may be a ``Member`` of
    arrays [chain], whose settings are those of the networks' densities.
    """
    num_rows = posterior.data.targets.shape[0]
    optimizer = optax.adam(optax.cosine_decay_schedule(learning_rate, num_steps))
    model = posterior.model._replace(init=posterior.init)

    def make(hyper: Hyper) -> Trainer:
        given = posterior.having(hyper).given

        def loss(apply: Any, position: Position, frozen: Frozen, batch: Split) -> Array:
            return -posterior.logdensity(position, frozen, batch, *given) / num_rows

        return make_train(model, loss, optimizer, num_steps, batch_size=None)

    trainer = make_varied(make, partial(vary_frozen, model)) if isinstance(keys, Member) else make({})
    epochs = largest_divisor(num_steps, max(1, num_steps // NUM_CHUNKS))
    state = run_sweep(run, trainer, keys, keys, posterior.frozen, posterior.data, placement, num_steps, epochs)
    return processes.gather(state.position)


def find_start(
    run: Recorder, posterior: Posterior, keys: PyTree, placement: Placement, config: Start
) -> tuple[Position | None, Position]:
    """Return the optima that were trained [member, ...], None where none were, and where chains start [chain, ...].

    ``keys`` are one a start, as many as ``config.num_starts`` says, or a ``Member`` of as many.
    """
    optima = None
    if config.start == "prior":
        starts = prior_start(posterior, keys)
    else:
        num_optima = config.num_starts(placement.total) if config.start == "map" else 1
        # As many for every process: some find an optimum that others find as well.
        size = jax.process_count() * -(-num_optima // jax.process_count())
        where = placement if size == placement.size else devices.place(size, inside=placement.width)
        where = where._replace(total=num_optima)
        first = jax.tree.map(lambda leaf: leaf[:num_optima], keys)
        optima = find_map(run, posterior, first, where, config.map_steps, config.map_learning_rate)
        starts = optima
        if config.start == "permuted":
            starts = permuted_copies(posterior, jax.tree.map(lambda leaf: leaf[0], optima), keys)
    return optima, jax.tree.map(lambda leaf: jnp.repeat(leaf, config.chains_per_start, axis=0), starts)
