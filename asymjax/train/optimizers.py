"""Optax optimizers and schedules from a configuration."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax

from asymjax import rng
from asymjax.errors import InputError
from asymjax.settings import Count, Natural, NonNegative, Positive, Settings, Share
from asymjax.types import Array, Hyper, Key, Position, PyTree


@dataclass(frozen=True)
class OptimizerConfig(Settings):
    """How one network is trained."""

    optimizer: Literal["adamw", "adam", "sgd", "lamb"] = "adamw"
    """Optimizer (sgd has momentum 0.9)."""
    learning_rate: NonNegative = 1e-3
    """Peak learning rate."""
    weight_decay: NonNegative = 0.0
    """Decoupled weight decay of kernels, biases and norms (adamw, lamb)."""
    label_smoothing: Share = 0.0
    """Share of each label that training spreads evenly over all classes (classification)."""
    recipe: Literal["shared", "drawn"] = "shared"
    """One recipe for all networks of a sweep, or one drawn for each: learning_rate x 10^-U(0, 2), weight_decay x
    10^-U(0, 4), label_smoothing x U(0, 1)."""
    schedule: Literal["constant", "cosine", "linear"] = "constant"
    """Learning rate over the steps after warmup: constant, or a cosine or a line down to zero."""
    warmup_steps: Natural = 0
    """Steps of linear learning-rate warmup."""
    clip_norm: Positive | None = None
    """Clip the global norm of the gradient to this."""
    num_epochs: Count = 25
    """Passes over the training rows."""
    min_epochs: Count | None = None
    """Draw the passes of each network too, with recipe drawn: a whole number from this to num_epochs, all alike likely.
    Default: num_epochs for all."""
    batch_size: Count | None = 64
    """Rows a step; None takes all rows in every step, as graphs need."""
    trained: Literal["all", "output"] = "all"
    """What is trained: all that the method leaves free, or the output layer alone, on random features."""

    def unused(self) -> frozenset[str]:
        """Return the weight decay where the optimizer has none, and the least length where none is drawn."""
        idle = {"weight_decay": self.optimizer not in DECAYING, "min_epochs": self.recipe != "drawn"}
        return frozenset(name for name, is_idle in idle.items() if is_idle)


OUTPUT = "output"
MOMENTUM = 0.9
"""Of sgd."""

OPTIMIZERS: dict[str, Callable[[optax.Schedule, float], optax.GradientTransformation]] = {
    "adamw": lambda rate, decay: optax.adamw(rate, weight_decay=decay),
    "adam": lambda rate, decay: optax.adam(rate),
    "sgd": lambda rate, decay: optax.sgd(rate, momentum=MOMENTUM),
    "lamb": lambda rate, decay: optax.lamb(rate, weight_decay=decay),
}
DECAYING = frozenset({"adamw", "lamb"})
"""Optimizers with a weight decay."""
ELEMENTWISE = frozenset({"adamw", "adam", "sgd"})
"""Optimizers whose update of an entry depends on that entry's own history alone (clipping apart)."""


DECAYS: dict[str, Callable[[Array], Any]] = {
    "constant": lambda share: 1.0,
    "cosine": lambda share: 0.5 * (1 + jnp.cos(jnp.pi * share)),
    "linear": lambda share: 1 - share,
}
"""Share of the learning rate that is left, of the share of the steps after warmup that are done; optax's schedules take
no traced number of steps."""


def make_schedule(config: OptimizerConfig, num_steps: Array | int) -> optax.Schedule:
    """Return the learning rate over ``num_steps`` steps: linear warmup, then constant, or a cosine or line to zero."""
    after, decay = num_steps - config.warmup_steps, DECAYS[config.schedule]

    def main(step: Array) -> Any:
        return config.learning_rate * decay(jnp.clip(step, 0, after) / after)

    if config.warmup_steps == 0:
        return main
    ramp = optax.linear_schedule(0.0, config.learning_rate, config.warmup_steps)
    return optax.join_schedules([ramp, main], [config.warmup_steps])


def make_optimizer(config: OptimizerConfig, num_steps: Array | int) -> optax.GradientTransformation:
    """Return the optimizer of a configuration, maybe with traced numbers, which are not checked.

    Raises
    ------
    InputError
        If weight decay is asked of an optimizer that has none, or warmup takes all the steps.
    """
    if isinstance(num_steps, int) and 0 < num_steps <= config.warmup_steps:
        raise InputError(
            f"warmup_steps is {config.warmup_steps}, but there are {num_steps} steps in all, so that learning_rate is "
            "never reached; give fewer, or more epochs"
        )
    if config.optimizer not in DECAYING and config.weight_decay:
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


def drawn(learning_rate: float, min_epochs: int, num_epochs: int, batch_size: int) -> OptimizerConfig:
    """Return a drawn recipe of AdamW, whose decay goes to 0.1 and whose smoothing goes to 0.2 as in Lim et al. (2024).

    Parameters
    ----------
    learning_rate : the largest.
    min_epochs, num_epochs : the shortest and the longest training.
    batch_size : rows a step.
    """
    return OptimizerConfig(
        learning_rate=learning_rate,
        weight_decay=0.1,
        label_smoothing=0.2,
        recipe="drawn",
        min_epochs=min_epochs,
        num_epochs=num_epochs,
        batch_size=batch_size,
    )


def draw_recipe(config: OptimizerConfig, key: Key) -> dict[str, Array]:
    """Draw what differs between networks whose recipe is "drawn" (Lim et al. 2024, the networks of their metanetworks).

    Returns
    -------
    ``learning_rate``, the configured one times 10^-U(0, 2); ``weight_decay``, times 10^-U(0, 4); ``label_smoothing``,
    times U(0, 1); ``num_epochs``, int32, uniform from ``min_epochs`` to the configured one; each []. What is configured
    as 0 stays 0 and is left out, as is the length where no least one is configured.
    """
    share = jax.random.uniform(key, (3,), "float32")
    drawn = {
        "learning_rate": config.learning_rate * 10 ** (-2 * share[0]),
        "weight_decay": config.weight_decay * 10 ** (-4 * share[1]),
        "label_smoothing": config.label_smoothing * share[2],
    }
    drawn = {name: value for name, value in drawn.items() if getattr(config, name)}
    if config.min_epochs is None:
        return drawn
    length = jax.random.randint(rng.named_key(key, "length"), (), config.min_epochs, config.num_epochs + 1, "int32")
    return drawn | {"num_epochs": length}


def shortest(config: OptimizerConfig) -> OptimizerConfig:
    """Return the configuration of the shortest training that a configuration can mean.

    Raises
    ------
    InputError
        If a least length is given where none is drawn, or it is longer than the longest.
    """
    if config.min_epochs is None:
        return config
    if config.recipe != "drawn":
        raise InputError(f"min_epochs is {config.min_epochs}, but recipe is {config.recipe}; leave it out, or draw")
    if config.min_epochs > config.num_epochs:
        raise InputError(f"min_epochs is {config.min_epochs}, num_epochs is {config.num_epochs}; give at most as many")
    return replace(config, num_epochs=config.min_epochs)


def with_values(config: OptimizerConfig, hyper: Hyper) -> OptimizerConfig:
    """Return the configuration of one network: with those of its own values, maybe traced, that concern training."""
    traced: dict[str, Any] = {name: value for name, value in hyper.items() if hasattr(config, name)}
    return replace(config, **traced)
