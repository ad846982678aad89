"""How far a posterior spreads: in the functions that its draws are, and in their weights.

The two need not go together. In an over-parametrised network draws may lie far apart and be much the same function:
most of the spread of the weights then lies along symmetries and flat directions.
"""

from collections.abc import Iterable

import jax
import numpy as np
from scipy.special import softmax

from asymjax.types import Position, PyTree


def function_variance(task: str, outputs: Iterable[np.ndarray]) -> float:
    """Return the variance of predictions over all chains and draws, summed over outputs, mean over inputs.

    Parameters
    ----------
    task : ``"classification"``, where predictions are probabilities, or ``"regression"``, where they are means.
    outputs : chunks [chain, draw, input, output] of logits, or of means and log noise scales side by side; two draws or
        more in all.
    """
    count, total, squares = 0, np.zeros(()), np.zeros(())
    for chunk in outputs:
        values = chunk.astype(np.float64)
        values = softmax(values, axis=-1) if task == "classification" else np.split(values, 2, axis=-1)[0]
        count += values.shape[0] * values.shape[1]
        total, squares = total + values.sum((0, 1)), squares + np.square(values).sum((0, 1))
    variance = (squares - np.square(total) / count) / (count - 1)
    return float(np.maximum(variance, 0).sum(-1).mean())


def weight_variance(positions: Position, prior_scale: PyTree, temperature: float = 1.0) -> dict[str, float]:
    """Return the trace of the covariance of the trainable entries, and beside it that of the prior.

    Parameters
    ----------
    positions : leaves [chain, draw, ...].
    prior_scale : standard deviation of the prior of an entry, a number a leaf.
    temperature : of the posterior, which widens its prior by the root of it.

    Returns
    -------
    ``total``, over all chains and draws; ``prior``; and ``ratio``, below 1 where data narrow the weights.
    """
    spread = jax.tree.map(lambda leaf: _summed_variance(np.asarray(leaf)), positions)
    prior = jax.tree.map(lambda leaf, scale: scale**2 * np.prod(leaf.shape[2:]), positions, prior_scale)
    total, widest = (float(sum(jax.tree.leaves(tree))) for tree in (spread, prior))
    return {"total": total, "prior": temperature * widest, "ratio": total / (temperature * widest)}


def _summed_variance(leaf: np.ndarray) -> float:
    return float(np.var(leaf, axis=(0, 1), ddof=1, dtype=np.float64).sum())
