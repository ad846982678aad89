"""From the directory of a sampled posterior to a zoo of its draws."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from asymjax import trees
from asymjax.errors import InputError
from asymjax.experiments.posterior.draws import read_outputs
from asymjax.experiments.predictions import read_positions, rebuild
from asymjax.inference.likelihoods import Likelihood
from asymjax.lab import results
from asymjax.metanets.zoo import MIN_NETWORKS, Zoo
from asymjax.symmetry.connectivity import finite_networks

PREFIX = "bnn_"
"""Of the experiments whose networks are draws."""
MIN_DRAWS = 2 * MIN_NETWORKS
"""A chain, so that a block has two draws at least."""


def read_draws(path: Path, record: Mapping[str, Any]) -> Zoo:
    """Read the draws of a finished posterior as a zoo, chain after chain.

    Parameters
    ----------
    path : its run directory, with weights.
    record : its config.json.

    Returns
    -------
    A network a draw. Scores are the log predictive density of the test targets, mean over rows and in units that the
    network sees, and of classes the accuracy, both of the outputs that the run kept. The label ``"chain"`` says which
    chain a draw is of. An id is a stretch of time, of 40, and is that of the draws of all chains then.

    Raises
    ------
    InputError
        If the run is of a grid, kept no weights or fewer than 80 draws a chain, draws are not finite, or files are lost
        or damaged.
    """
    made = rebuild(path, record)
    positions, _ = read_positions(path, made)
    num_chains, num_draws = np.shape(jax.tree.leaves(positions)[0])[:2]
    if num_draws < MIN_DRAWS:
        raise InputError(f"{path} has {num_draws} draws a chain; a zoo takes {MIN_DRAWS} at least, sample more")
    position = trees.to_host(jax.tree.map(_joined, positions))
    scores = {name: _joined(values) for name, values in _scores(path, made.kind).items()}
    is_finite = finite_networks({"position": position, "scores": scores})
    if num_lost := int(np.sum(~is_finite)):
        raise InputError(f"{path} has {num_lost} draws that are not finite, or whose outputs are not; sample it again")
    return Zoo(
        made.model,
        made.frozen,
        position,
        scores,
        {},
        np.tile(blocks(num_draws), num_chains),
        {},
        {"chain": np.repeat(np.arange(num_chains), num_draws)},
    )


def blocks(num_draws: int, num_blocks: int = MIN_NETWORKS) -> np.ndarray:
    """Return the block of every draw of a chain, int [draw]: consecutive draws, as many in each as can be."""
    return np.arange(num_draws) * num_blocks // num_draws


def _joined(values: Any) -> np.ndarray:
    """Return what is [chain, draw, ...] as [network, ...]."""
    return np.asarray(values).reshape(-1, *np.shape(values)[2:])


def _scores(path: Path, kind: Likelihood) -> dict[str, np.ndarray]:
    """Return the scores of draws on the test rows, float64 [chain, draw] by name, from the outputs that a run kept."""
    name = "predictions/targets"
    targets = jnp.asarray(results.read_arrays(path, name)[name])

    def of_draw(outputs: Any) -> Any:
        found = {"test.log_density": jnp.mean(kind.loglikelihood(outputs, targets))}
        if kind.task == "classification":
            found["test.accuracy"] = jnp.mean(jnp.argmax(outputs, axis=-1) == targets)
        return found

    score = jax.jit(lambda chains: lax.map(lambda draws: lax.map(of_draw, draws), chains))
    chunks = [trees.to_host(score(outputs[:, :, : len(targets)])) for outputs in read_outputs(path)]
    return {name: np.concatenate([chunk[name] for chunk in chunks], axis=1).astype(float) for name in chunks[0]}
