"""What networks answer to learned inputs: invariant to everything that leaves their function alone.

Kahana et al. (2024, ProbeGen, arXiv 2410.10811): the inputs are made by a deep linear generator, and a perceptron reads
the outputs of all of them.
"""

import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from asymjax.errors import InputError
from asymjax.metanets.metanet import Head, Metanet, Metanetwork, Read, of_module
from asymjax.settings import Count
from asymjax.types import Array, PyTree


@dataclass(frozen=True)
class Probe(Metanetwork):
    """The networks run on learned inputs, then a perceptron on their outputs."""

    num_probes: Count = 64
    """Learned inputs."""
    width: Count = 64
    """Units of the generator of inputs, two linear layers deep."""
    widths: tuple[Count, ...] = (256, 256)
    """Units of each hidden layer of the perceptron."""

    @property
    def reads(self) -> str:
        """Effective weights, with which the networks run."""
        return "params"

    def make(self, read: Read) -> Metanet:
        """Build it.

        Raises
        ------
        InputError
            If the networks take something else than one array of real numbers.
        """
        example = read.model.example
        if not hasattr(example, "shape") or not jnp.issubdtype(example.dtype, jnp.floating):
            raise InputError("probe learns arrays of real numbers to give to networks; these take something else")
        return of_module(_Probe(self, read), read)


class _Probe(nn.Module):
    settings: Probe
    read: Any

    @nn.compact
    def __call__(self, networks: PyTree) -> Array:
        count, width, shape = self.settings.num_probes, self.settings.width, self.read.model.example.shape[1:]
        latent = self.param("latent", nn.initializers.normal(1.0), (count, width))
        hidden = nn.Dense(width)(latent)
        probes = nn.Dense(math.prod(shape))(hidden).reshape(count, *shape)

        def answers(params: PyTree) -> Array:
            return self.read.model.forward(params, self.read.frozen, probes).reshape(-1)

        return Head(self.settings.widths, self.read.output_shape)(nn.LayerNorm()(jax.vmap(answers)(networks)))
