"""Optax optimizers and schedules from a configuration."""

from collections.abc import Callable

import jax
import optax

from asymjax.config import OptimizerConfig
from asymjax.errors import InputError
from asymjax.types import Position, PyTree

OUTPUT = "output"

OPTIMIZERS: dict[str, Callable[[optax.Schedule, float], optax.GradientTransformation]] = {
    "adamw": lambda rate, decay: optax.adamw(rate, weight_decay=decay),
    "adam": lambda rate, decay: optax.adam(rate),
    "sgd": lambda rate, decay: optax.sgd(rate, momentum=0.9),
    "lamb": lambda rate, decay: optax.lamb(rate, weight_decay=decay),
}
ELEMENTWISE = frozenset({"adamw", "adam", "sgd"})
"""Optimizers whose update of an entry depends on that entry's own history alone (clipping apart)."""


def make_schedule(config: OptimizerConfig, num_steps: int) -> optax.Schedule:
    """Return the learning rate over ``num_steps`` steps: linear warmup, then constant or cosine to zero."""
    after = max(1, num_steps - config.warmup_steps)
    main = {
        "constant": optax.constant_schedule(config.learning_rate),
        "cosine": optax.cosine_decay_schedule(config.learning_rate, after),
    }[config.schedule]
    if config.warmup_steps == 0:
        return main
    ramp = optax.linear_schedule(0.0, config.learning_rate, config.warmup_steps)
    return optax.join_schedules([ramp, main], [config.warmup_steps])


def make_optimizer(config: OptimizerConfig, num_steps: int) -> optax.GradientTransformation:
    """Return the optimizer of a configuration.

    Raises
    ------
    InputError
        If weight decay is asked of an optimizer that has none.
    """
    if config.weight_decay and config.optimizer not in ("adamw", "lamb"):
        raise InputError(f"{config.optimizer} has no weight decay (weight_decay = {config.weight_decay}); use adamw")
    optimizer = OPTIMIZERS[config.optimizer](make_schedule(config, num_steps), config.weight_decay)
    if config.clip_norm is not None:
        optimizer = optax.chain(optax.clip_by_global_norm(config.clip_norm), optimizer)
    if config.trained == "all":
        return optimizer
    # Before the optimizer, so that clipping does not see what rests; after it, because of weight decay.
    rest = optax.masked(optax.set_to_zero(), _is_hidden)
    return optax.chain(rest, optimizer, rest)


def _is_hidden(position: Position) -> PyTree:
    """Return which leaves do not belong to the output layer."""
    return {name: jax.tree.map(lambda _, name=name: name != OUTPUT, layer) for name, layer in position.items()}
