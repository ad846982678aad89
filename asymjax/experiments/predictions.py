"""What the networks of a finished run predict for new inputs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

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
    record = read_record(path)
    with naming_edits(path):
        model, model_config, kind, units, is_posterior = _network_of(path, record)
        known = record["checksums"]["frozen"]
    frozen = draw_frozen(model, model_config.mask_seed)
    if trees.checksum(frozen) != known:
        raise InputError(f"{path}: what is fixed in its networks is drawn otherwise by this version; run it again")
    seen = units.see(inputs, model.example)
    positions, own = _networks(path, is_posterior, model_config.mask_seed)
    shape = np.shape(jax.tree.leaves(positions)[0])[: 2 if is_posterior else 1]
    given, wanted = (
        {name: np.shape(leaf)[first:] for name, leaf in trees.flatten(tree).items()}
        for tree, first in ((positions, len(shape)), (_shape(model, kind, frozen), 0))
    )
    if given != wanted:
        raise InputError(f"{path}: its weights have shapes {given}, its config.json makes {wanted}; restore it")

    def one(network: tuple[Position, Hyper]) -> Array:
        position, hyper = network
        return kind.mean(kind.predictive(position, model.apply(position, vary_frozen(model, frozen, hyper), seen)))

    flat = jax.tree.map(lambda leaf: jnp.asarray(leaf).reshape(-1, *leaf.shape[len(shape) :]), positions)
    means = np.asarray(jax.jit(lambda networks: lax.map(one, networks))((flat, own)))
    return means.reshape(*shape, *means.shape[1:]) * units.target_scale + units.target_mean


def _network_of(path: Path, record: Mapping[str, Any]) -> tuple[Model, ModelConfig, Likelihood, Units, bool]:
    """Return what the networks of a run are, what they say of targets and in which units, and if it is a posterior."""
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
    return model, model_config, kind, units, posterior is not None


def _shape(model: Model, kind: Likelihood, frozen: Frozen) -> Position:
    """Return shape structs of a position, the noise's among them."""
    return jax.eval_shape(lambda frozen: model.init(jax.random.key(0), frozen) | kind.init(), frozen)


def _networks(path: Path, is_posterior: bool, mask_seed: int) -> tuple[Position, Hyper]:
    """Return positions [chain, draw, ...] or [network, ...], and the settings that each network has of its own."""
    if is_posterior:
        draws = results.read_arrays(path, "posterior/")
        if not draws:
            raise InputError(f"{path} kept no weights (--keep outputs); sample it again with --keep weights")
        return results.tree_of(draws, "posterior/"), {}
    networks = results.open_networks(path)
    if not any(str(name).startswith("position.") for name in networks):
        raise InputError(f"{path} kept no weights (--no-keep-weights); train it again with weights")
    own = {name: jnp.asarray(networks[name].values) for name in PER_NETWORK if name in networks.coords}
    if own:
        own.setdefault("mask_seed", jnp.full(networks.sizes["network"], mask_seed))
    return results.tree_of(networks, "position."), own
