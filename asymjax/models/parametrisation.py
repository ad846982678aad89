"""Between position and effective parameters: what a method makes of all kernels, biases and gates of a backbone."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp

from asymjax import rng, trees
from asymjax.models.methods import Method
from asymjax.models.settled import SettledNetwork
from asymjax.types import Array, Frozen, Key, Params, Position


class Parametrisation(NamedTuple):
    """A method on a backbone; see :class:`~asymjax.types.Model` for what its functions do.

    Attributes
    ----------
    freeze, merge, split, free_mask : of the model.
    start : (plainly initialised params, frozen) -> position of a fresh network.
    """

    freeze: Callable[..., Frozen]
    merge: Callable[[Position, Frozen], Params]
    split: Callable[[Params, Frozen], Position]
    free_mask: Callable[[Frozen], Params] | None
    start: Callable[[Params, Frozen], Position]


def constants_of(frozen: Frozen, path: str) -> dict[str, Array] | None:
    """Return what is frozen of a parameter or an activation site, or None."""
    node: Any = frozen
    for name in path.split("/"):
        node = node.get(name, {})
    return node or None


def parametrise(body: SettledNetwork, method: Method) -> Parametrisation:
    """Build the parametrisation of the effective parameters of a network by a method."""

    def freeze(mask_key: Key, fixed_scale: Any = 1.0) -> Frozen:
        frozen = (
            {
                path: method.freeze_kernel(rng.named_key(mask_key, path), kernel, fixed_scale)
                for path, kernel in body.kernels.items()
            }
            | {
                kernel.bias.path: method.freeze_bias(rng.named_key(mask_key, kernel.bias.path), kernel, fixed_scale)
                for kernel in body.kernels.values()
                if kernel.bias
            }
            | {
                site: method.freeze_gate(rng.named_key(mask_key, site), width, fixed_scale)
                for site, width in body.sites.items()
            }
        )
        return trees.unflatten({path: constants for path, constants in frozen.items() if constants is not None})

    def merge(position: Position, frozen: Frozen) -> Params:
        leaves = trees.flatten(position)
        params = {}
        for path in body.params:
            constants = constants_of(frozen, path)
            params[path] = leaves[path] if constants is None else method.merge_kernel(leaves.get(path), constants)
        return trees.unflatten(params)

    def to_position(params: Params, frozen: Frozen, take: Any) -> Position:
        leaves = {}
        for path, param in trees.flatten(params).items():
            constants = constants_of(frozen, path)
            leaves[path] = param if constants is None else take(param, constants)
        return trees.unflatten({path: leaf for path, leaf in leaves.items() if leaf is not None})

    def split(params: Params, frozen: Frozen) -> Position:
        return to_position(params, frozen, method.split_kernel)

    def free_mask(frozen: Frozen) -> Params:
        masks = {}
        for path, shape in body.params.items():
            constants = constants_of(frozen, path)
            masks[path] = jnp.ones(shape.shape, bool) if constants is None else method.free_mask(constants)
        return trees.unflatten(masks)

    def start(params: Params, frozen: Frozen) -> Position:
        return to_position(params, frozen, method.init_kernel)

    return Parametrisation(freeze, merge, split, free_mask if method.has_coordinates else None, start)
