"""Where chains walk, if not among positions: other coordinates of the same posterior, which users never see."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp

from asymjax.inference.likelihoods import Likelihood
from asymjax.models.centring import centred_biases, take_means
from asymjax.types import Array, Frozen, Model, Position, Split


class Coordinates(NamedTuple):
    """Pure maps to and from a position, of the same structure; they keep volumes, so that densities are equal.

    Attributes
    ----------
    enter : (position, frozen, data) -> coordinates.
    leave : (coordinates, frozen, data) -> position.
    logdensity : (coordinates, frozen, data, temperature, prior_scale) -> [] that of the position, in one forward pass.
    """

    enter: Callable[[Position, Frozen, Any], Position]
    leave: Callable[[Position, Frozen, Any], Position]
    logdensity: Callable[..., Array]


def make_centred(
    model: Model,
    likelihood: Likelihood,
    logprior: Callable[..., Array],
    temperature: float,
    frozen: Frozen,
    data: Split,
) -> Coordinates | None:
    """Return the coordinates in which biases are counted from the mean of what they are added to.

    That mean is over the training rows, at the position itself. Before a norm it is the largest part of what the norm
    divides by, so that a bias alone is as stiff as the mean is large, and moves with every weight before it.

    Parameters
    ----------
    model, likelihood, logprior, temperature : of the posterior.
    frozen, data : constants and rows, for their structure.

    Returns
    -------
    The coordinates, or None where no bias is eligible; see :func:`~asymjax.models.centring.centred_biases`.
    """
    paths = centred_biases(model, frozen, data.inputs)
    if not paths:
        return None

    def network(position: Position) -> Position:
        return {name: branch for name, branch in position.items() if name in model.params_shape}

    def enter(position: Position, frozen: Frozen, data: Split) -> Position:
        _, moved = take_means(model, network(position), frozen, data.inputs, paths, is_centred=False)
        return position | moved

    def outputs_and_position(coordinates: Position, frozen: Frozen, data: Split) -> tuple[Array, Position]:
        outputs, moved = take_means(model, network(coordinates), frozen, data.inputs, paths, is_centred=True)
        return outputs, coordinates | moved

    def leave(coordinates: Position, frozen: Frozen, data: Split) -> Position:
        return outputs_and_position(coordinates, frozen, data)[1]

    def logdensity(
        coordinates: Position, frozen: Frozen, data: Split, temperature: Any = temperature, prior_scale: Any = 1.0
    ) -> Array:
        outputs, position = outputs_and_position(coordinates, frozen, data)
        predictive = likelihood.predictive(position, outputs)
        total = jnp.sum(likelihood.loglikelihood(predictive, data.targets))  # type: ignore[arg-type]
        return (logprior(position, prior_scale) + total) / temperature

    return Coordinates(enter, leave, logdensity)
