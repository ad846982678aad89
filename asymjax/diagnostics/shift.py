"""Predictions under shift: on corrupted test inputs, and on data of another kind, which a network should be unsure of.

In: a mixture's outputs at :func:`shifted_inputs`. Out: plain numbers. The uncertainty of a mixture is the entropy of
its classes, or the variance of its targets, and the epistemic part of it, that on which the networks disagree (see
:mod:`asymjax.diagnostics.predictive`).
"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from scipy.stats import rankdata

from asymjax import rng
from asymjax.data.corruptions import CORRUPTIONS, NEED_NO_IMAGE, corrupt
from asymjax.diagnostics.predictive import (
    ClassificationSums,
    RegressionSums,
    classification_uncertainty,
    regression_uncertainty,
    take_inputs,
)
from asymjax.diagnostics.scores import mixture, predictive_metrics, predictive_sums
from asymjax.types import Array, Dataset, Frozen, Position

NUM_SHIFT_ROWS = 400
"""Test rows that are corrupted, the first ones; as many inputs of every other kind."""
MAX_SHIFT_DRAWS = 25
"""Draws a chain whose predictions are averaged, evenly spaced."""
NUM_DECIMALS = 12
"""Uncertainties are rounded to this: what differs by rounding alone, as in a single network, tells nothing apart."""


class Shifted(NamedTuple):
    """Inputs by name, all [row, *input_shape] float32 with equally many rows.

    Attributes
    ----------
    corrupted : ``"none"``, test inputs as they are, and every corruption that fits them.
    other : inputs that have no target: ``"noise"``, and ``"patches"`` of photographs where inputs are images.
    targets : of the test inputs.
    """

    corrupted: dict[str, np.ndarray]
    other: dict[str, np.ndarray]
    targets: np.ndarray

    @property
    def inputs(self) -> np.ndarray:
        """All of them, corrupted ones first [set, row, *input_shape]."""
        return np.stack([*self.corrupted.values(), *self.other.values()])


def shifted_inputs(dataset: Dataset, seed: int = 0) -> Shifted:
    """Corrupt the first test inputs of a dataset, and make as many inputs of other kinds.

    Parameters
    ----------
    dataset : standardised rows, images [rows, height, width, channels]; no graph.
    seed : of what is random.
    """
    test = dataset.test.take(slice(NUM_SHIFT_ROWS))
    is_image, num_rows = len(dataset.input_shape) == 3, len(test.targets)
    names = [name for name in CORRUPTIONS if is_image or name in NEED_NO_IMAGE]
    corrupted = {name: np.asarray(corrupt(test, name, seed).inputs) for name in names}
    other = {"noise": noise_inputs(dataset, seed, num_rows)}
    if is_image:
        other["patches"] = photo_patches(dataset, seed, num_rows)
    return Shifted({"none": np.asarray(test.inputs)} | corrupted, other, np.asarray(test.targets))


def noise_inputs(dataset: Dataset, seed: int, count: int) -> np.ndarray:
    """Draw standard normal inputs [count, *input_shape]: the dataset's mean and scale, and nothing else of it."""
    return np.asarray(jax.random.normal(rng.role_key(seed, "noise inputs"), (count, *dataset.input_shape)))


def photo_patches(dataset: Dataset, seed: int, count: int) -> np.ndarray:
    """Cut squares out of the two photographs that come with scikit-learn, in the size of the dataset's images.

    Black and white are the darkest and the brightest value of each channel in the training rows, so that patches are
    scaled as the dataset's images are. In colour for three channels, else in grey.

    Returns
    -------
    float32 [count, height, width, channels], from both photographs in turn.
    """
    from sklearn.datasets import load_sample_images

    photos = load_sample_images().images
    height, width, channels = dataset.input_shape
    generator = np.random.default_rng((seed, rng.checksum("patches")))

    def cut(photo: np.ndarray) -> np.ndarray:
        top, left = generator.integers(photo.shape[0] - height + 1), generator.integers(photo.shape[1] - width + 1)
        return photo[top : top + height, left : left + width] / 255

    patches = np.stack([cut(photos[i % len(photos)]) for i in range(count)])
    if channels != patches.shape[-1]:
        patches = patches.mean(-1, keepdims=True)
    train = np.asarray(dataset.train.inputs)
    black, white = train.min((0, 1, 2)), train.max((0, 1, 2))
    return (black + patches * (white - black)).astype(np.float32)


def auroc(positive: np.ndarray, negative: np.ndarray) -> float:
    """Compute the area under the ROC curve of scores [row], in [0, 1].

    The chance that a positive has a higher score than a negative, ties counted half: Mann and Whitney's U over the
    number of pairs (Hanley and McNeil 1982, equation 1).
    """
    ranks = rankdata(np.concatenate([positive, negative]))[: len(positive)]
    num_below = ranks.sum() - len(positive) * (len(positive) + 1) / 2
    return float(num_below / (len(positive) * len(negative)))


def uncertainty(sums: ClassificationSums | RegressionSums) -> dict[str, np.ndarray]:
    """Return ``total`` and ``epistemic`` uncertainty of a mixture, each [input].

    Entropies in nats for classes; for regression variances in squared units of the targets given, summed over targets.
    """
    if isinstance(sums, ClassificationSums):
        parts = classification_uncertainty(sums)
    else:
        parts = {name: variance.sum(-1) for name, variance in regression_uncertainty(sums).items()}
        parts["total"] = parts["aleatoric"] + parts["epistemic"]
    return {name: np.round(parts[name], NUM_DECIMALS) for name in ("total", "epistemic")}


def shift_scores(dataset: Dataset, shifted: Shifted, outputs: Iterable[np.ndarray]) -> dict[str, Any]:
    """Score a mixture on corrupted inputs, and return how well its uncertainty separates other data from test inputs.

    Parameters
    ----------
    dataset, shifted : the data, and what :func:`shifted_inputs` made of it.
    outputs : chunks of predictive parameters [..., set, row, output] at ``shifted.inputs``; leading axes are networks.

    Returns
    -------
    dict
        ``corrupted``: name -> the metrics of the task, ``none`` those of test inputs as they are. ``other``: name ->
        ``total`` and ``epistemic``, means over inputs of :func:`uncertainty`, and ``auroc_total`` and
        ``auroc_epistemic``, the :func:`auroc` with which each tells these inputs from those of ``none``. ``num_rows``
        of each set, and ``num_networks`` of the mixture.
    """
    num_rows, num_corrupted = len(shifted.targets), len(shifted.corrupted)
    num_sets = num_corrupted + len(shifted.other)
    # Other data have no targets: any will do, since only uncertainties are read.
    targets = np.concatenate([shifted.targets] * num_sets)
    rows = (chunk.reshape(*chunk.shape[:-3], len(targets), chunk.shape[-1]) for chunk in outputs)
    sums = mixture(predictive_sums(dataset.task, chunk, targets) for chunk in rows)
    parts = [take_inputs(sums, slice(i * num_rows, (i + 1) * num_rows)) for i in range(num_sets)]  # type: ignore[type-var]
    known = uncertainty(parts[0])

    def against_known(part: ClassificationSums | RegressionSums) -> dict[str, float]:
        found = uncertainty(part)
        means = {name: float(value.mean()) for name, value in found.items()}
        return means | {f"auroc_{name}": auroc(value, known[name]) for name, value in found.items()}

    corrupted = zip(shifted.corrupted, parts[:num_corrupted], strict=True)
    return {
        "corrupted": {name: predictive_metrics(part, dataset) for name, part in corrupted},
        "other": {name: against_known(part) for name, part in zip(shifted.other, parts[num_corrupted:], strict=True)},
        "num_rows": num_rows,
        "num_networks": sums.num_members,
    }


def make_shift_predict(
    predict: Callable[[Position, Frozen, Array], Array], frozen: Frozen, shifted: Shifted
) -> Callable[[Position], np.ndarray]:
    """Return (positions [network, ...]) -> predictive parameters [network, set, row, output] on the host.

    Compiled once; networks and sets go one after the other, so that memory holds the activations of one set.
    """

    @jax.jit
    def all_outputs(positions: Position, frozen: Frozen, inputs: Array) -> Array:
        return lax.map(lambda position: lax.map(lambda rows: predict(position, frozen, rows), inputs), positions)

    inputs = jnp.asarray(shifted.inputs)
    return lambda positions: np.asarray(all_outputs(positions, frozen, inputs))
