"""What a model consists of and which symmetries remain, as plain data and as tables."""

from typing import Any

import jax
import numpy as np

from asymjax import trees
from asymjax.models.build import draw_frozen
from asymjax.models.config import ModelConfig
from asymjax.models.settled import SettledNetwork, settled_network
from asymjax.models.structure import Structure, structure_of, unbroken
from asymjax.models.symmetries import FAMILIES, Counts, count_symmetries, not_counted
from asymjax.types import Position


def describe(config: ModelConfig, input_shape: tuple[int, ...], num_outputs: int) -> dict[str, Any]:
    """Describe a model: parameters, constants, symmetries. Default scales of syre are those of the default prior.

    Parameters
    ----------
    config : the model.
    input_shape : shape of one input, without the row axis.
    num_outputs : outputs of the network.

    Returns
    -------
    JSON-ready dictionary. ``num_trainable``: size of the position. ``num_fixed``: entries of the effective parameters
    that are not trained. ``checksum``: of the constants. ``layers``: one dictionary a parameter, in the order of the
    forward pass. ``symmetries``: for each family of ``symmetries.FAMILIES`` the amounts in the ``standard`` network,
    ``remaining`` and ``removed`` (below zero where the method adds), and ``remaining_by_place``. ``not_counted``:
    sentences on symmetries that are left out, which few networks have. ``cut_off``: by the name of units, ``num_units``
    and how many of these have ``no_incoming`` and ``no_outgoing`` weight, since all are zero and frozen; only where
    there are such units. Inputs and outputs of the network are ``inputs`` and ``outputs``. ``note``: one sentence on
    the method.

    Raises
    ------
    InputError
        If a name is unknown or the method's settings cannot be met.
    """
    model = config.build(input_shape, num_outputs)
    frozen = draw_frozen(model, config.mask_seed)
    position = jax.eval_shape(model.init, jax.random.key(0), frozen)
    layers = _layers(settled_network(config.method, config.backbone, input_shape, num_outputs), position)
    structure = structure_of(model, frozen, config.backbone.activation, config.backbone.norm)
    standard, remaining = count_symmetries(unbroken(structure)), count_symmetries(structure)
    return {
        "backbone": config.backbone_name,
        "arch": config.arch,
        "mask_seed": config.mask_seed,
        "num_trainable": sum(layer["num_trainable"] for layer in layers),
        "num_fixed": sum(layer["num_fixed"] for layer in layers),
        "checksum": trees.checksum(trees.to_host(frozen)),
        "layers": layers,
        "symmetries": {family: _compare(standard[family], remaining[family]) for family in FAMILIES},
        "not_counted": not_counted(structure),
        "cut_off": cut_off(structure),
        "note": config.method.note,
    }


def _layers(body: SettledNetwork, position: Position) -> list[dict[str, Any]]:
    num_trainable = {path: trees.num_entries(leaf) for path, leaf in trees.flatten(position).items()}
    return [
        {
            "path": path,
            "shape": list(param.shape),
            "num_trainable": num_trainable.get(path, 0),
            "num_fixed": trees.num_entries(param) - num_trainable.get(path, 0),
            "fixed_scale": body.kernels[path].fixed_scale if path in body.kernels else 0.0,
        }
        for path, param in body.params.items()
    ]


def _compare(standard: Counts, remaining: Counts) -> dict[str, Any]:
    before, after = sum(standard.values()), sum(remaining.values())
    return {
        "standard": before,
        "remaining": after,
        "removed": before - after,
        "remaining_by_place": {place: amount for place, amount in remaining.items() if amount},
    }


def cut_off(structure: Structure) -> dict[str, dict[str, int]]:
    """Return the units without any incoming or outgoing weight, see :func:`describe`; none where all have both."""
    has: dict[str, dict[str, np.ndarray]] = {}
    for path, values in structure.fixed.items():
        reads, writes = structure.spec[path][-2:]
        is_weight = np.any(values != 0, axis=tuple(range(values.ndim - 2)))
        for name, side, axis in ((reads or "inputs", "no_outgoing", 1), (writes or "outputs", "no_incoming", 0)):
            found = has.setdefault(name, {})
            found[side] = found.get(side, False) | is_weight.any(axis=axis)
    counts = {}
    for name, sides in has.items():
        if not all(found.all() for found in sides.values()):
            num_units = len(next(iter(sides.values())))
            counts[name] = {"num_units": num_units} | {side: int((~found).sum()) for side, found in sides.items()}
    return counts
