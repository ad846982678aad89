"""Prior predictive scale: how far outputs vary under the prior, and the scale of the output kernel that sets it."""

import math
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from asymjax import rng, trees
from asymjax.errors import InputError
from asymjax.inference.posterior import PosteriorConfig, draw_prior
from asymjax.models import ModelConfig
from asymjax.types import Array, Dataset, Key

NUM_PRIOR_DRAWS, MAX_ROWS = 1000, 100
NOTHING = 1e-15  # As a scale, in the place of 0.
DIGITS = 4
"""Of a matched scale; no other machine's last bits then make another configuration."""


class OutputVariance(NamedTuple):
    """Variance of a network's outputs over draws from the prior, mean over inputs and outputs: rest + scaled s^2.

    ``s`` is ``output_prior_scale``, and outputs are linear in the output kernel; ``rest`` comes from the output bias
    and from entries of that kernel that are fixed at a scale of their own.
    """

    rest: float
    scaled: float

    def at(self, scale: float) -> float:
        """Return the variance at an ``output_prior_scale``."""
        return self.rest + self.scaled * scale**2


def output_variance(model: ModelConfig, posterior: PosteriorConfig, dataset: Dataset) -> OutputVariance:
    """Estimate the variance of logits, or of regression means, under the prior of a network at its temperature.

    At each of the first training inputs, over ``NUM_PRIOR_DRAWS`` draws of the density prior^(1 / T), with the same
    keys for every method; constants are those of the mask seed. Both parts come from outputs at s = 0 and s = 1 with
    the same draws. Their covariance is zero, and is left out.
    """
    first = dataset._replace(train=dataset.train.take(slice(MAX_ROWS)))
    silent, whole = (replace(posterior, output_prior_scale=scale).build(model, first) for scale in (NOTHING, 1.0))
    tempered = jax.tree.map(lambda scale: math.sqrt(posterior.temperature) * scale, whole.prior_scale)
    last = {path for path, layer in whole.model.layers.items() if layer.is_output}
    draw = partial(draw_prior, mean=whole.prior_mean, scale=tempered, like=whole.shape)

    inputs = jax.tree.map(jnp.asarray, first.train.inputs)

    def outputs(key: Key) -> tuple[Array, Array]:
        position = trees.flatten(draw(key))
        without = {path: 0.0 * leaf if path in last else leaf for path, leaf in position.items()}
        rest, both = (
            of.predict(trees.unflatten(drawn), of.frozen, inputs)[:, : dataset.num_outputs]
            for of, drawn in ((silent, without), (whole, position))
        )
        return rest, both - rest

    keys = rng.member_keys(rng.role_key(0, "prior predictive"), NUM_PRIOR_DRAWS)
    parts = jax.jit(partial(lax.map, outputs))(keys)
    return OutputVariance(*(float(jnp.mean(jnp.var(part, axis=0, ddof=1))) for part in parts))


def matched_scale(variance: OutputVariance, target: float) -> float:
    """Return the ``output_prior_scale`` at which outputs have a given variance, to ``DIGITS`` digits.

    Raises
    ------
    InputError
        If the variance cannot be as small as that, or does not depend on the scale.
    """
    if not variance.scaled > 0 or target <= variance.rest:
        raise InputError(
            f"outputs have a standard deviation of {math.sqrt(variance.rest):.4g} under the prior before the free part "
            f"of the output kernel adds any, and {math.sqrt(target):.4g} is wanted; choose a smaller --fixed-scale or "
            "a larger --output-prior-scale"
        )
    return float(f"{math.sqrt((target - variance.rest) / variance.scaled):.{DIGITS}g}")
