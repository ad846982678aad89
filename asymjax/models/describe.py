"""What a model consists of and which symmetries remain, as plain data and as tables."""

from typing import Any

import jax

from asymjax import trees
from asymjax.models.build import draw_frozen
from asymjax.models.config import ModelConfig
from asymjax.models.settled import SettledNetwork, settled_network
from asymjax.models.symmetries import FAMILIES, Counts, count_symmetries, structure_of, unbroken
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
    ``remaining`` and ``removed``, and ``remaining_by_place``. ``note``: one sentence on the method.

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
