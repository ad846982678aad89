"""Teleportation: the same networks trained with and without teleports, and what the end of each is like."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.stats import spearmanr

from asymjax import rng, trees
from asymjax.diagnostics.curvature import curvature, mean_loss
from asymjax.experiments.setup import Opening, describe, load_data, open_experiment, refuse_graph
from asymjax.experiments.teleportation.arms import PLAIN, check_arms
from asymjax.experiments.teleportation.config import Config
from asymjax.experiments.teleportation.train import Trained, after_steps, train_arms
from asymjax.lab.measure import measure_members
from asymjax.lab.results import Named
from asymjax.models import draw_frozen
from asymjax.paths import teleport
from asymjax.paths.objectives import new_task
from asymjax.symmetry.connectivity import Rows, in_batches, make_measure
from asymjax.symmetry.continuous import ContinuousGroup, find_group
from asymjax.symmetry.interpolation import over_networks
from asymjax.types import Array, Frozen, Position, PyTree, Split

EXPERIMENT = "teleport"
MIN_PER_CHUNK = 4
CURVATURES = ("trace", "largest", "sharpness", "orbit_curvature")


def run_teleportation(config: Config) -> Path:
    """Train networks with and without teleports, and measure them; resumes a run that is not finished.

    Returns
    -------
    The run directory.

    Raises
    ------
    InputError
        If a name is unknown, settings cannot be met, data are damaged, the network has no continuous symmetry, or the
        directory is not this run's.
    DivergedError
        If every network of an arm diverges.
    StopRequestedError
        If SIGTERM came.
    """
    steps, group = _check(config)
    settings = {name: getattr(config, name) for name in ("training", "schedule", "teleport", "measure", "seeds")}
    suffix = f"{config.training.optimizer}-{config.schedule.teleport_epoch}"
    opening = open_experiment(EXPERIMENT, suffix, config.data, config.model, settings, config.run)
    trained = train_arms(opening, group, config)
    arms = [PLAIN, *config.schedule.arms]
    measured = {arm: measure_arm(arm, opening, group, trained.states[arm].position, config) for arm in arms}
    description = describe(opening, config.data, config.model)
    per_epoch = len(opening.dataset.train.targets) // config.training.batch_size
    extent = {"dimension": group.dimension, "steps": steps, "steps_per_epoch": per_epoch}
    extent |= {"seconds": opening.run.seconds}
    opening.run.finish(
        lambda: (
            description | extent | {"arms": summarise(arms, trained, measured)},
            arrays_of(arms, trained, measured),
        )
    )
    return opening.run.path


def _check(config: Config) -> tuple[list[int], ContinuousGroup]:
    """Refuse what cannot be before there is a run; return the steps of the teleports, and what they are along.

    Raises
    ------
    InputError
        If a setting does not suit data or network.
    """
    dataset = load_data(config.data)
    refuse_graph(dataset, config.data.dataset)
    num_rows = len(dataset.train.targets)
    steps = after_steps(config, num_rows)
    model = config.model.build(dataset.input_shape, dataset.num_outputs)
    group = find_group(model, draw_frozen(model, config.model.mask_seed))
    check_arms(config, group, num_rows)
    return steps, group


def measure_arm(
    arm: str, opening: Opening, group: ContinuousGroup, position: Position, config: Config
) -> dict[str, np.ndarray]:
    """Measure the networks of an arm at the end, name -> [seed].

    Returns
    -------
    ``train_loss``, ``test_loss`` and, of classifiers, ``train_accuracy`` and ``test_accuracy``; ``trace`` and
    ``largest`` eigenvalue of the Hessian of the training loss; ``sharpness``, the mean rise of the loss at random
    displacements; ``orbit_curvature``; and ``norm`` of the position.
    """
    model, task = opening.model, opening.dataset.task
    schedule, count = config.schedule, config.measure.num_probes
    key, scores = rng.role_key(config.seeds.seed, "measure"), make_measure(model, task)

    def measure(position: Position, frozen: Frozen, rows: Mapping[str, Rows], some: Split) -> PyTree:
        found = scores(model.merge(position, frozen), frozen, {"train": rows["train"], "test": rows["test"]})
        told = {
            f"{split}_{name}": found[split][name]
            for split in found
            for name in ("loss", "accuracy")
            if name in found[split]
        }
        of_hessian = curvature(mean_loss(model, task, frozen, rows["some"]), position, key, None, count, count)
        loss, act = new_task(model, frozen, task), teleport.action(group, model, frozen)
        rise = teleport.flat(loss, schedule.radii)(key, position, some) - loss(key, position, some)
        return told | {
            "trace": of_hessian.trace,
            "largest": of_hessian.largest,
            "sharpness": rise,
            "orbit_curvature": teleport.straight(act, group.identity)(key, position, None),
            "norm": trees.norm(position),
        }

    dataset, num_rows = opening.dataset, config.measure.num_rows
    rows = {
        "train": in_batches(dataset.train),
        "test": in_batches(dataset.test),
        "some": in_batches(dataset.train, num_rows),
    }
    shared = (opening.frozen, rows, jax.tree.map(jnp.asarray, dataset.train.take(slice(num_rows))))
    take = partial(_take, position)
    num_seeds = config.training.num_seeds
    return measure_members(
        opening.run, f"measure-{arm}", measure, take, shared, num_seeds, MIN_PER_CHUNK, "networks", config.run
    )


def _take(position: Position, index: np.ndarray) -> list[PyTree]:
    return [jax.tree.map(lambda leaf: leaf[index], position)]


def summarise(
    arms: list[str], trained: Trained, measured: Mapping[str, Mapping[str, np.ndarray]]
) -> dict[str, dict[str, Any]]:
    """Return what summary.json says of every arm.

    Returns
    -------
    arm -> ``measures`` (mean and interval over networks), ``against_plain`` (of the differences from the plain network
    of the same seed), ``speed``, ``correlations`` of these differences, ``teleports`` (of what they said), and
    ``failed`` (seeds whose loss is not finite). Networks that failed, here or in plain training, are left out.
    """
    failed = {arm: failed_seeds(trained, place, arm) for place, arm in enumerate(arms)}
    entries = {}
    for place, arm in enumerate(arms):
        lost = {*failed[arm], *failed[PLAIN]}
        kept = np.array([seed for seed in range(trained.losses.shape[1]) if seed not in lost], int)
        entry: dict[str, Any] = {"failed": failed[arm], "measures": {}, "against_plain": {}}
        if len(kept):
            apart = {name: values[kept] - measured[PLAIN][name][kept] for name, values in measured[arm].items()}
            entry["measures"] = {name: over_networks(values[kept]) for name, values in measured[arm].items()}
            entry["against_plain"] = {name: over_networks(values) for name, values in apart.items()}
            entry["speed"] = speed(trained.losses[place][kept], trained.losses[0][kept])
            entry["correlations"] = {name: correlate(apart[name], apart["test_loss"]) for name in CURVATURES}
            entry["teleports"] = summarise_teleports(trained.told[arm], kept) if arm != PLAIN else None
        entries[arm] = entry
    return entries


def failed_seeds(trained: Trained, place: int, arm: str) -> list[int]:
    """Return the seeds of an arm whose loss left the finite numbers, or whose teleport did."""
    steps = np.asarray(trained.states[arm].failed_step)
    return [
        seed for seed in range(len(steps)) if steps[seed] >= 0 or not np.isfinite(trained.losses[place, seed]).all()
    ]


def speed(losses: np.ndarray, plain: np.ndarray) -> dict[str, Any]:
    """Return how soon networks are where their plain twins end, of losses [seed, epoch].

    Returns
    -------
    ``num_never``, networks that do not come there; and of the others, None where there are none, ``epochs`` to the last
    loss of the plain twin, from 1, and ``sooner``, by how many epochs that is before the plain twin is there.
    """
    is_there = losses <= plain[:, -1:]
    comes = is_there.any(axis=1)
    first, of_plain = (1 + (curves <= plain[:, -1:]).argmax(axis=1)[comes] for curves in (losses, plain))
    found = {"epochs": first, "sooner": of_plain - first}
    return {"num_never": int((~comes).sum())} | {
        name: over_networks(values) if comes.any() else None for name, values in found.items()
    }


def summarise_teleports(told: Mapping[str, np.ndarray], kept: np.ndarray) -> dict[str, Any]:
    """Return what teleports, [seed, teleport], did to the loss and to their objective."""
    told = {name: values[kept] for name, values in told.items()}
    change = np.abs(told["loss_after"] - told["loss_before"])
    # An objective is infinite beyond its cap, where nothing moves.
    is_finite = np.isfinite(told["before"]) & np.isfinite(told["after"])
    fall = np.where(is_finite, np.where(is_finite, told["before"], 0) - np.where(is_finite, told["after"], 0), 0)
    return {
        "largest_loss_change": float(change.max()),
        "mean_loss_change": float(change.mean()),
        "fall": over_networks(fall.mean(axis=1)),
        "least_fall": float(fall.min()),
        "length": over_networks(told["length"].mean(axis=1)),
    }


def correlate(curvature: np.ndarray, loss: np.ndarray) -> dict[str, float] | None:
    """Return Spearman's correlation over the networks of an arm, with a 95 % interval by resampling networks.

    None where there are fewer than ten networks, or one of the two does not vary.
    """
    if len(curvature) < MIN_CORRELATED or np.ptp(curvature) == 0 or np.ptp(loss) == 0:
        return None
    generator = np.random.default_rng(0)
    again = [generator.integers(len(loss), size=len(loss)) for _ in range(NUM_RESAMPLES)]
    found = [spearmanr(curvature[one], loss[one]).statistic for one in again if np.ptp(one) > 0]
    low, high = np.nanquantile(found, [0.025, 0.975])
    return {"value": float(spearmanr(curvature, loss).statistic), "low": float(low), "high": float(high)}


NUM_RESAMPLES, MIN_CORRELATED = 1000, 10


def arrays_of(arms: list[str], trained: Trained, measured: Mapping[str, Mapping[str, np.ndarray]]) -> Named:
    """Return the arrays of a run by path."""
    arrays: dict[str, tuple[tuple[str, ...], np.ndarray]] = {
        "arms/losses": (("arm", "seed", "epoch"), trained.losses),
        "arms/seconds": (("arm", "epoch"), trained.seconds),
    }
    for arm in arms:
        arrays |= {f"arms/{arm}/{name}": (("seed",), values) for name, values in measured[arm].items()}
        told: Mapping[str, Array | np.ndarray] = trained.told.get(arm, {})
        arrays |= {f"arms/{arm}/told/{name}": (("seed", "teleport"), np.asarray(v)) for name, v in told.items()}
    return arrays
