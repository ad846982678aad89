"""Statistics of every tensor, and a perceptron on them (Unterthiner et al. 2020; Lim et al. 2024, appendix)."""

from dataclasses import dataclass

from asymjax.metanets.metanet import Head, Metanet, Metanetwork, Read, of_module
from asymjax.metanets.statistics import statistics
from asymjax.settings import Count
from asymjax.types import Array, PyTree


@dataclass(frozen=True)
class StatNN(Metanetwork):
    """Seven statistics a tensor, then a perceptron."""

    widths: tuple[Count, ...] = (256, 256)
    """Units of each hidden layer."""

    def features(self, networks: PyTree) -> Array:
        """Return the statistics [network, 7 x leaves]."""
        return statistics(networks)

    def make(self, read: Read) -> Metanet:
        """Build the perceptron."""
        return of_module(Head(self.widths, read.output_shape), read)
