"""What metanetworks say of wider networks of the same function: those that see the function say the same."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from asymjax import rng
from asymjax.errors import InputError
from asymjax.experiments.predictions import rebuild
from asymjax.metanets import Fit, Parts, Scores, Zoo, score, transfer, widened
from asymjax.report.read import read_record
from asymjax.symmetry.interpolation import over_networks
from asymjax.symmetry.widening import WIDENINGS
from asymjax.types import Model


class Wider(NamedTuple):
    """The test networks of a zoo, widened.

    Attributes
    ----------
    width : units of every hidden layer, as ``Backbone.with_width`` takes it.
    way : how they became more, a name of ``WIDENINGS``.
    zoo : the networks.
    """

    width: int
    way: str
    zoo: Zoo


def wider_zoos(
    paths: Mapping[str, Path], zoos: Mapping[str, Zoo], parts: Mapping[str, Parts], widths: tuple[int, ...], seed: int
) -> dict[str, list[Wider]]:
    """Return the test networks of every zoo at every width and in every way.

    Raises
    ------
    InputError
        If those of a zoo cannot be widened; it is named.
    """
    return {name: _wider(paths[name], zoo, parts[name], widths, seed, name) for name, zoo in zoos.items()}


def _wider(path: Path, zoo: Zoo, parts: Parts, widths: tuple[int, ...], seed: int, name: str) -> list[Wider]:
    test, key = zoo.take(parts.test), rng.named_key(jax.random.key(seed), "widened")
    try:
        models = {width: model_of_width(path, width) for width in widths}
        return [
            Wider(width, way, widened(test, model, way, key)) for width, model in models.items() for way in WIDENINGS
        ]
    except InputError as error:
        raise InputError(f"{name} cannot be widened: {error}") from error


def model_of_width(path: Path, width: int) -> Model:
    """Return the model of a finished run with so many units in every hidden layer.

    Raises
    ------
    InputError
        If the run cannot be read, or its backbone has no such width.
    """
    made = rebuild(path, read_record(path))
    config, example = replace(made.config, backbone=made.config.backbone.with_width(width)), made.model.example
    outputs = jax.eval_shape(made.model.forward, made.model.params_shape, made.frozen, example)
    return config.build(example.shape[1:], outputs.shape[-1])


def describe_wider(fitted: Fit, wider: list[Wider]) -> list[dict[str, Any]]:
    """Return what metanetworks say of wider networks, for summary.json; why, where they cannot read them."""
    return [{"width": one.width, "way": one.way, **_describe(fitted, one.zoo)} for one in wider]


def _describe(fitted: Fit, zoo: Zoo) -> dict[str, Any]:
    try:
        predictions = transfer(fitted.learned, zoo)
    except InputError as error:
        return {"reason": str(error)}
    test = fitted.parts.test
    values_of = np.array([score(fitted.targets[test], one) for one in predictions]).T
    change = np.mean(np.abs(predictions - fitted.predictions[:, test]), axis=1)
    measured = dict(zip(Scores._fields, values_of, strict=True)) | {"change": change}
    return {"scores": {name: over_networks(values) | {"values": values} for name, values in measured.items()}}
