"""A perceptron on all weights as one vector, which knows no symmetry (Lim et al. 2024, appendix)."""

from dataclasses import dataclass
from typing import Literal

from flax import linen as nn

from asymjax.metanets.metanet import Head, Metanet, Metanetwork, Read, of_module
from asymjax.metanets.statistics import flattened
from asymjax.settings import Count
from asymjax.types import Array, PyTree


@dataclass(frozen=True)
class FlatMLP(Metanetwork):
    """All weights, then a perceptron: as published by default."""

    widths: tuple[Count, ...] = (64,)
    """Units of each hidden layer."""
    reads: Literal["position", "params", "aligned"] = "position"
    """Trainable entries, effective weights, or these with units permuted to match those of one network."""
    standardised: Literal["none", "entry", "leaf"] = "none"
    """What is brought to mean 0 and scale 1: nothing, each weight, or each tensor as a whole."""
    is_permuted: bool = False
    """Read the training networks with their units in another order every epoch (effective weights)."""

    def make(self, read: Read) -> Metanet:
        """Build the perceptron."""
        return of_module(_Flat(self.widths, read.output_shape), read)


class _Flat(nn.Module):
    widths: tuple[int, ...]
    output_shape: tuple[int, ...]

    @nn.compact
    def __call__(self, networks: PyTree) -> Array:
        return Head(self.widths, self.output_shape)(flattened(networks))
