"""Statistics of the weights of networks: what is left of them once order and place are forgotten."""

import jax
import jax.numpy as jnp

from asymjax.types import Array, PyTree

QUANTILES = (0.0, 1.0, 0.25, 0.5, 0.75)


def statistics(networks: PyTree) -> Array:
    """Return seven numbers of every leaf: mean, unbiased variance, least, largest, quartiles.

    Unterthiner et al. (2020, arXiv 2002.11448), section 3, in the order of Lim et al. (2024). Unchanged by any shuffle
    within a leaf, so that no arrangement of weights is seen.

    Parameters
    ----------
    networks : leaves [network, ...].

    Returns
    -------
    float32 [network, 7 x leaves], in the order of the leaves. A leaf of one entry has the variance 0.
    """

    def of_leaf(leaf: Array) -> Array:
        entries = leaf.reshape(len(leaf), -1)
        spread = jnp.var(entries, axis=1, ddof=min(1, entries.shape[1] - 1))
        quantiles = jnp.quantile(entries, jnp.array(QUANTILES, entries.dtype), axis=1)
        return jnp.stack([jnp.mean(entries, axis=1), spread, *quantiles], axis=1)

    return jnp.concatenate([of_leaf(jnp.asarray(leaf)) for leaf in jax.tree.leaves(networks)], axis=1)


def log_norms(networks: PyTree) -> Array:
    """Return the log root mean square of every leaf [network, leaves]."""

    def of_leaf(leaf: Array) -> Array:
        entries = leaf.reshape(len(leaf), -1)
        return jnp.log(jnp.sqrt(jnp.mean(jnp.square(entries), axis=1)) + jnp.finfo(entries.dtype).tiny)

    return jnp.stack([of_leaf(jnp.asarray(leaf)) for leaf in jax.tree.leaves(networks)], axis=1)


def flattened(networks: PyTree) -> Array:
    """Return all weights of each network as a vector [network, weights], leaf after leaf."""
    leaves = [jnp.asarray(leaf) for leaf in jax.tree.leaves(networks)]
    return jnp.concatenate([leaf.reshape(len(leaf), -1) for leaf in leaves], axis=1)
