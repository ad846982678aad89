"""Deep model classification: convolutions along the vector of all weights (Eilertsen et al. 2020; Lim et al. 2024)."""

from dataclasses import dataclass

import jax.numpy as jnp
from flax import linen as nn

from asymjax.metanets.deepsets import SetReadout
from asymjax.metanets.metanet import Metanet, Metanetwork, Read, of_module
from asymjax.metanets.statistics import flattened
from asymjax.types import Array, PyTree

CHANNELS = (2, 4, 8, 16, 32, 64, 64, 64, 64, 64)
KERNEL = 5
NUM_HALVED = 6
"""Layers that halve the length; of those after them every second one does."""


@dataclass(frozen=True)
class DMC(Metanetwork):
    """Ten convolutions over the weights in the order of their leaves, then a set of places, as published.

    What differs is known of the statistics of batch normalisation, which after training are those of networks of the
    training at once and no running mean over the last batches, and of the initialisation, which is Flax's.
    """

    def make(self, read: Read) -> Metanet:
        """Build it."""
        module = _Convolutions(read.output_shape)

        def apply(params: PyTree, networks: PyTree) -> Array:
            return module.apply(params, networks, mutable=["batch_stats"])[0]

        def settle(params: PyTree, reference: PyTree) -> PyTree:
            return {**params, **module.apply(params, reference, mutable=["batch_stats"])[1]}

        def evaluate(settled: PyTree, networks: PyTree) -> Array:
            return module.apply(settled, networks, is_training=False)  # type: ignore[return-value]

        init = of_module(module, read).init
        return Metanet(lambda key: {"params": init(key)["params"]}, apply, settle, evaluate)


class _Convolutions(nn.Module):
    output_shape: tuple[int, ...]

    @nn.compact
    def __call__(self, networks: PyTree, is_training: bool = True) -> Array:
        x = flattened(networks)[..., None]
        for layer, channels in enumerate(CHANNELS):
            x = nn.relu(nn.Dense(channels)(_windows(x)))
            # Without momentum the running statistics are those of the batch.
            x = nn.BatchNorm(use_running_average=not is_training, momentum=0.0)(x)
            is_halved = layer < NUM_HALVED or (layer - NUM_HALVED) % 2 == 1
            x = _halved(x) if is_halved and x.shape[1] > 1 else x
        return SetReadout(CHANNELS[-1], self.output_shape)(x)


def _windows(x: Array) -> Array:
    """Return what a convolution sees at each place, of [network, place, channel]; XLA's own is slow on CPU."""
    padded = jnp.pad(x, ((0, 0), (KERNEL // 2, KERNEL // 2), (0, 0)))
    return jnp.concatenate([padded[:, i : i + x.shape[1]] for i in range(KERNEL)], axis=-1)


def _halved(x: Array) -> Array:
    """Return the larger of every two neighbours, [network, place, channel]."""
    pairs = x[:, : x.shape[1] // 2 * 2].reshape(len(x), -1, 2, x.shape[-1])
    return jnp.max(pairs, axis=2)
