"""What the networks of a finished run predict for new inputs."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from asymjax import trees
from asymjax.data.arrays import Units
from asymjax.errors import InputError
from asymjax.inference.likelihoods import Likelihood
from asymjax.inference.posterior import PosteriorConfig
from asymjax.lab import results, run_files
from asymjax.models import ModelConfig, draw_frozen, vary_frozen
from asymjax.report.read import as_numbers, naming_edits, read_record, read_required
from asymjax.types import Array, Frozen, Hyper, Model, Position

MOMENTS = ("input_mean", "input_scale", "target_mean", "target_scale")
PER_NETWORK = ("mask_seed", "fixed_scale")


def predict(run_dir: str | Path, inputs: Any) -> np.ndarray:
    """Predict with all networks of a finished run, from its directory alone: no data set is loaded.

    Parameters
    ----------
    run_dir : of ``runs/bnn_*.py`` or ``runs/train_sweep.py``; of a grid, one of the directories in it.
    inputs : [rows, *input_shape], raw as in the data that the run was given: they are standardised as its training rows
        were. Of a table the columns in the order of the file, without the target and what was dropped.

    Returns
    -------
    Class probabilities [..., rows, classes], or means in the units of the targets [..., rows, targets]; [chain, draw]
    of a posterior, [network] of a sweep, NaN for a network that diverged.

    Raises
    ------
    InputError
        If it is no such directory, its run is not finished or kept no weights, files are lost or damaged, or inputs
        are damaged or of another shape.

    Examples
    --------
    >>> import numpy as np, asymjax
    >>> images = np.zeros((2, 8, 8, 1))
    >>> asymjax.predict("results/bnn_hmc/mlp-sigma_asym-digits-hmc-05567242", images).shape  # doctest: +SKIP
    (4, 400, 2, 10)
    """
    path = Path(run_dir)
    made = rebuild(path, read_record(path))
    model, kind, units = made.model, made.kind, made.units
    seen = units.see(inputs, model.example)
    positions, own = read_positions(path, made)
    num_axes = 2 if made.is_posterior else 1
    shape = np.shape(jax.tree.leaves(positions)[0])[:num_axes]

    def one(network: tuple[Position, Hyper]) -> Array:
        position, hyper = network
        return kind.mean(kind.predictive(position, model.apply(position, vary_frozen(model, made.frozen, hyper), seen)))

    flat = jax.tree.map(lambda leaf: jnp.asarray(leaf).reshape(-1, *leaf.shape[num_axes:]), positions)
    means = np.asarray(jax.jit(lambda networks: lax.map(one, networks))((flat, own)))
    return means.reshape(*shape, *means.shape[1:]) * units.target_scale + units.target_mean


class Made(NamedTuple):
    """What the networks of a finished run are, made anew from its records.

    Attributes
    ----------
    model, config, frozen : the model; of masks that networks have of their own, ``frozen`` is the configured one.
    kind : what they say of targets.
    units : of inputs and targets.
    is_posterior : whether they are draws of chains, and not of a sweep.
    """

    model: Model
    config: ModelConfig
    frozen: Frozen
    kind: Likelihood
    units: Units
    is_posterior: bool


def rebuild(path: Path, record: Mapping[str, Any]) -> Made:
    """Make the model of a finished run from its config.json and summary.json.

    Raises
    ------
    InputError
        If it is a grid, its data are a graph, files are edited, or this version draws other constants.
    """
    with naming_edits(path):
        made = _rebuild(path, record)
        known = record["checksums"]["frozen"]
    if trees.checksum(made.frozen) != known:
        raise InputError(f"{path}: what is fixed in its networks is drawn otherwise by this version; run it again")
    return made


def _rebuild(path: Path, record: Mapping[str, Any]) -> Made:
    config, experiment = record["config"], record["experiment"]
    if not {"model", "data"} <= config.keys() or config.get("grid"):
        raise InputError(f"{path} is a run of {experiment}; give one of a posterior or of a sweep, of a grid one in it")
    summary = read_required(run_files.read_json, path / "summary.json", "data", "task")
    data, task = summary["data"], summary["task"]
    if len(data["input_shape"]) == 0 or np.ndim(data["input_mean"]) == 0:
        raise InputError(f"{path}: {summary['dataset']} is a graph, whose nodes have no inputs apart from it")
    posterior = PosteriorConfig(**config["posterior"]) if "posterior" in config else None
    kind = (posterior or PosteriorConfig(noise="fixed")).likelihood(task)
    model_config = ModelConfig.of(**config["model"])
    prior = {"prior": posterior.normal_prior} if posterior else {}
    model = model_config.build(tuple(data["input_shape"]), kind.num_network_outputs(data["num_outputs"]), **prior)
    input_mean, input_scale, target_mean, target_scale = (as_numbers(data[name]) for name in MOMENTS)
    units = Units([(input_mean, input_scale)], target_mean, target_scale)
    return Made(model, model_config, draw_frozen(model, model_config.mask_seed), kind, units, posterior is not None)


def read_positions(
    path: Path, made: Made, weights: Callable[[Any, str], Position] = results.tree_of
) -> tuple[Position, Hyper]:
    """Read the weights of a finished run.

    Parameters
    ----------
    path, made : of the run.
    weights : (networks of a sweep, prefix) -> their positions, as ``results.tree_of``.

    Returns
    -------
    Positions [chain, draw, ...] or [network, ...], and the settings that each network has of its own.

    Raises
    ------
    InputError
        If it kept none, files are lost or damaged, or they have other shapes than the model.
    """
    positions, own = _read_positions(path, made, weights)

    def init(frozen: Frozen) -> Position:
        return made.model.init(jax.random.key(0), frozen) | made.kind.init()

    given, wanted = (
        {name: leaf.shape[first:] for name, leaf in trees.flatten(tree).items()}
        for tree, first in ((positions, 2 if made.is_posterior else 1), (jax.eval_shape(init, made.frozen), 0))
    )
    if given != wanted:
        raise InputError(f"{path}: its weights have shapes {given}, its config.json makes {wanted}; restore it")
    return positions, own


def _read_positions(path: Path, made: Made, weights: Callable[[Any, str], Position]) -> tuple[Position, Hyper]:
    if made.is_posterior:
        draws = results.read_arrays(path, "posterior/")
        if not draws:
            raise InputError(f"{path} kept no weights (--keep outputs); sample it again with --keep weights")
        return results.tree_of(draws, "posterior/"), {}
    networks = results.open_networks(path)
    if not any(str(name).startswith("position.") for name in networks):
        raise InputError(f"{path} kept no weights (--no-keep-weights); train it again with weights")
    own = {name: jnp.asarray(results.values_of(networks, name)) for name in PER_NETWORK if name in networks.coords}
    if own:
        own.setdefault("mask_seed", jnp.full(networks.sizes["network"], made.config.mask_seed))
    return weights(networks, "position."), own
