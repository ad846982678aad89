"""Training of all arms, epoch by epoch in turn, so that what slows the machine down falls on all of them alike."""

from collections.abc import Callable, Mapping
from functools import partial
from time import perf_counter
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from asymjax import trees
from asymjax.errors import DivergedError, InputError
from asymjax.experiments.setup import Opening
from asymjax.experiments.teleportation.arms import PLAIN, make_arm
from asymjax.experiments.teleportation.config import Config
from asymjax.lab import devices, processes
from asymjax.lab.devices import map_leading
from asymjax.lab.loop import Chunk, compile_ahead, run_phase
from asymjax.paths.teleport import teleporting
from asymjax.symmetry.continuous import ContinuousGroup
from asymjax.train import make_train
from asymjax.train.losses import TASK_LOSSES
from asymjax.train.members import initial_keys, train_keys
from asymjax.train.trainer import Trainer, TrainState
from asymjax.types import Array, Frozen, Key, Split

OPTIMIZERS = {
    "sgd": optax.sgd,
    "momentum": partial(optax.sgd, momentum=0.9),
    "adagrad": optax.adagrad,
    "rmsprop": optax.rmsprop,
    "adam": optax.adam,
}


class Progress(NamedTuple):
    """What an epoch of all arms leaves, host arrays.

    Attributes
    ----------
    states : arm -> networks in training, leaves [seed, ...].
    losses : float32 [arm, seed, epoch] mean training losses; NaN of epochs to come.
    seconds : float64 [arm, epoch] on the clock, of all networks of the arm, compilation apart.
    """

    states: Mapping[str, TrainState]
    losses: Any
    seconds: Any


class Trained(NamedTuple):
    """Networks of all arms, host arrays.

    Attributes
    ----------
    states : arm -> networks, leaves [seed, ...].
    losses : [arm, seed, epoch].
    seconds : [arm, epoch] of one network on one device.
    told : arm -> what its teleports said, name -> [seed, teleport].
    """

    states: Mapping[str, TrainState]
    losses: np.ndarray
    seconds: np.ndarray
    told: Mapping[str, Mapping[str, np.ndarray]]


def after_steps(config: Config, num_rows: int) -> list[int]:
    """Return the steps after which networks teleport.

    Raises
    ------
    InputError
        If rows fill no batch, or training ends before the last teleport.
    """
    training, schedule = config.training, config.schedule
    if num_rows < training.batch_size:
        raise InputError(
            f"batch_size is {training.batch_size}, there are {num_rows} training rows; give {num_rows} at most"
        )
    per_epoch = num_rows // training.batch_size
    first, end = schedule.teleport_epoch * per_epoch, training.num_epochs * per_epoch
    steps = [first + schedule.every * number for number in range(1, schedule.num_teleports + 1)]
    if steps[-1] > end:
        raise InputError(
            f"the last teleport is after step {steps[-1]}, and training has {end} steps; teleport "
            "earlier (teleport_epoch), closer together (every) or less often (num_teleports)"
        )
    return steps


def make_trainer(arm: str, opening: Opening, group: ContinuousGroup, config: Config) -> Trainer:
    """Build the training of one network of an arm."""
    training, dataset, model = config.training, opening.dataset, opening.model
    optimizer = OPTIMIZERS[training.optimizer](training.learning_rate)
    if arm != PLAIN:
        steps = after_steps(config, len(dataset.train.targets))
        optimizer = teleporting(optimizer, make_arm(arm, model, dataset.task, group, config), steps)
    return make_train(model, TASK_LOSSES[dataset.task], optimizer, training.num_epochs, training.batch_size)


def train_arms(opening: Opening, group: ContinuousGroup, config: Config) -> Trained:
    """Train the networks of all arms, as a phase of the run; resumes one that was stopped.

    Raises
    ------
    InputError
        If rows fill no batch, or training ends before the last teleport.
    DivergedError
        If every network of an arm left the finite numbers.
    StopRequestedError
        If SIGTERM came.
    """
    num_epochs, num_seeds = config.training.num_epochs, config.training.num_seeds
    programs = _compile(opening, group, config)
    arms = list(programs.epoch)

    def begin() -> Progress:
        return Progress({arm: init() for arm, init in programs.init.items()}, *_empty(len(arms), num_seeds, num_epochs))

    def advance(index: int, progress: Progress) -> Chunk:
        states, losses, seconds = {}, np.array(progress.losses), np.array(progress.seconds)
        for place, arm in enumerate(arms):
            states[arm], losses[place, :, index], seconds[place, index] = programs.epoch[arm](progress.states[arm])
        metrics = {"epoch": index + 1, "loss": dict(zip(arms, losses[:, :, index].mean(axis=1).tolist(), strict=True))}
        return Chunk(Progress(states, losses, seconds), metrics=metrics)

    like = Progress(programs.shapes, *_empty(len(arms), num_seeds, num_epochs))
    work = (num_epochs, "epochs of all arms")
    done = run_phase(opening.run, "train", num_epochs, begin, advance, like, work)
    _refuse_lost(arms, done)
    told = {arm: trees.to_host(done.states[arm].opt_state.told) for arm in arms if arm != PLAIN}
    each = np.asarray(done.seconds) * programs.num_devices / num_seeds
    return Trained(done.states, np.asarray(done.losses), each, told)


def _refuse_lost(arms: list[str], done: Progress) -> None:
    """Refuse arms of which nothing is left.

    Raises
    ------
    DivergedError
        If every network of an arm left the finite numbers.
    """
    is_finite = np.isfinite(done.losses).all(axis=2).any(axis=1)
    if lost := [arm for arm, is_left in zip(arms, is_finite, strict=True) if not is_left]:
        raise DivergedError(
            f"every network diverged of {', '.join(lost)}; lower learning_rate, max_gradient or max_length, or leave "
            "these arms out"
        )


class _Programs(NamedTuple):
    """Compiled training, by arm; all that is given or returned lies on the host.

    Attributes
    ----------
    init : () -> networks at the start, leaves [seed, ...].
    epoch : (networks) -> networks an epoch later, mean losses [seed], and seconds on the clock.
    shapes : shape structs of the networks.
    num_devices : devices that networks are spread over.
    """

    init: Mapping[str, Callable[[], TrainState]]
    epoch: Mapping[str, Callable[[TrainState], tuple[TrainState, np.ndarray, float]]]
    shapes: Mapping[str, TrainState]
    num_devices: int


def _compile(opening: Opening, group: ContinuousGroup, config: Config) -> _Programs:
    num_seeds = config.training.num_seeds
    # Side by side, every step of every network would pay for a teleport.
    inside: devices.Inside = "sequential" if config.run.placement == "auto" else config.run.placement
    placement = devices.place(num_seeds, config.run.num_devices, inside)
    put = partial(devices.put, placement=placement, is_mapped=True)
    rows = jax.tree.map(jnp.asarray, opening.dataset.train)
    shared = devices.put((opening.frozen, rows), placement, is_mapped=False)
    init_keys, keys = (put(draw(config.seeds, num_seeds)) for draw in (initial_keys, train_keys))
    init, epoch, shapes = {}, {}, {}
    for arm in (PLAIN, *config.schedule.arms):
        trainer = make_trainer(arm, opening, group, config)
        begin = jax.jit(map_leading(trainer.init, placement, [True, False]))
        shapes[arm] = jax.eval_shape(begin, init_keys, shared[0])
        first = devices.abstract(shapes[arm], placement, is_mapped=True)
        mapped = map_leading(partial(_epoch, trainer), placement, [True, True, False, False])
        compiled = compile_ahead(opening.run, mapped, keys, first, *shared)
        init[arm] = partial(_gathered, begin, init_keys, shared[0])
        epoch[arm] = _timed(partial(_called, compiled, keys, shared), put)
    return _Programs(init, epoch, shapes, placement.num_devices)


def _gathered(fn: Callable[..., Any], *args: Any) -> Any:
    return processes.gather(fn(*args))


def _called(compiled: Callable[..., Any], keys: Key, shared: Any, state: TrainState) -> Any:
    return compiled(keys, state, *shared)


def _timed(
    call: Callable[[Any], Any], put: Callable[[Any], Any]
) -> Callable[[TrainState], tuple[TrainState, np.ndarray, float]]:
    """Return a program that says how long it took; its first call goes without, since that takes longer."""
    is_warm = False

    def run(state: TrainState) -> tuple[TrainState, np.ndarray, float]:
        nonlocal is_warm
        here = jax.block_until_ready(put(state))
        if not is_warm:
            jax.block_until_ready(call(here))
            is_warm = True
        start = perf_counter()
        found = jax.block_until_ready(call(here))
        seconds = perf_counter() - start
        return *processes.gather(found), seconds

    return run


def _empty(num_arms: int, num_seeds: int, num_epochs: int) -> tuple[np.ndarray, np.ndarray]:
    losses = np.full((num_arms, num_seeds, num_epochs), np.nan, np.float32)
    return losses, np.zeros((num_arms, num_epochs))


def _epoch(trainer: Trainer, key: Key, state: TrainState, frozen: Frozen, data: Split) -> tuple[TrainState, Array]:
    state, losses = trainer.advance(key, state, frozen, data, 1)
    return state, losses[0]
