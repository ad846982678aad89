"""Weights as a set of numbers, whose places are thrown away (Lim et al. 2024, appendix; Zaheer et al. 2017)."""

from dataclasses import dataclass

import jax.numpy as jnp
from flax import linen as nn

from asymjax.metanets.metanet import Metanet, Metanetwork, Read, of_module
from asymjax.metanets.statistics import flattened
from asymjax.settings import Count
from asymjax.types import Array, PyTree


@dataclass(frozen=True)
class DeepSets(Metanetwork):
    """Every weight by itself through one layer, their mean, then a perceptron."""

    width: Count = 64
    """Units of each layer."""

    def make(self, read: Read) -> Metanet:
        """Build it."""
        return of_module(_DeepSets(self.width), read)


class _DeepSets(nn.Module):
    width: int

    @nn.compact
    def __call__(self, networks: PyTree) -> Array:
        return SetReadout(self.width)(flattened(networks)[..., None])


class SetReadout(nn.Module):
    """A layer on each element of a set, their mean, two layers, and one output [network]."""

    width: int

    @nn.compact
    def __call__(self, elements: Array) -> Array:
        """Return the outputs of sets [network, element, feature]."""
        x = nn.relu(nn.LayerNorm()(nn.Dense(self.width)(elements)))
        x = jnp.mean(x, axis=1)
        for _ in range(2):
            x = nn.relu(nn.LayerNorm()(nn.Dense(self.width)(x)))
        return nn.Dense(1)(x)[..., 0]
