"""Attacks: inputs moved within a radius so that a loss rises, in the largest norm over features.

Moves are in the units of the inputs, and are not cut to the range of pixels.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from asymjax.types import Array, PyTree

STEP_SHARE = 2.5
"""Of the radius over the number of steps, how long steps are (Madry et al. 2018, arXiv 1706.06083)."""


def pgd(loss: Callable[[PyTree], Array], inputs: PyTree, radius: float | Array, num_steps: int) -> PyTree:
    """Move inputs by steps along the sign of the gradient, each cut to the radius (Madry et al. 2018).

    One step is the fast attack of Goodfellow et al. (2015, arXiv 1412.6572), the whole radius along the sign.

    Parameters
    ----------
    loss : (inputs) -> [], which rises: a sum over rows, each of its own input, or their mean.
    inputs : leaves [rows, ...]; the attack starts there, and not at random.
    radius : how far each feature moves at most; may be traced.
    num_steps : steps of ``STEP_SHARE * radius / num_steps``.
    """

    def shifted(start: Array, now: Array, slope: Array) -> Array:
        further = now + STEP_SHARE * radius / num_steps * jnp.sign(slope)
        return start + jnp.clip(further - start, -radius, radius)

    def step(moved: PyTree, _: None) -> tuple[PyTree, None]:
        return jax.tree.map(shifted, inputs, moved, jax.grad(loss)(moved)), None

    return lax.scan(step, inputs, None, length=num_steps)[0]
