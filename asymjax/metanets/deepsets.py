"""Weights as a set of numbers, whose places are thrown away (Lim et al. 2024, appendix; Zaheer et al. 2017)."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from asymjax.metanets.metanet import Metanet, Metanetwork, Read, of_module, shaped_outputs
from asymjax.metanets.statistics import flattened
from asymjax.settings import Count
from asymjax.types import Array, PyTree

EPSILON = 1e-6
"""What LayerNorm adds to a variance."""


@dataclass(frozen=True)
class DeepSets(Metanetwork):
    """Every weight by itself through one layer, their mean, then a perceptron."""

    width: Count = 64
    """Units of each layer."""

    def make(self, read: Read) -> Metanet:
        """Build it."""
        return of_module(_DeepSets(self.width, read.output_shape), read)


class _DeepSets(nn.Module):
    width: int
    output_shape: tuple[int, ...]

    @nn.compact
    def __call__(self, networks: PyTree) -> Array:
        return Readout(self.width, self.output_shape)(PooledNumbers(self.width)(flattened(networks)))


class PooledNumbers(nn.Module):
    """The mean over numbers [network, number] of a layer, LayerNorm and ReLU on each of them: [network, unit].

    What LayerNorm takes from the units of a number x is a quadratic form of x, since they are w x + b. So units are
    computed one after the other, and no array of all numbers and units is ever made.
    """

    width: int

    @nn.compact
    def __call__(self, numbers: Array) -> Array:
        """Return the means."""
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (1, self.width))[0]
        bias, shift = (self.param(name, nn.initializers.zeros, (self.width,)) for name in ("bias", "shift"))
        scale = self.param("scale", nn.initializers.ones, (self.width,))
        slopes, offsets = kernel - kernel.mean(), bias - bias.mean()
        squared, mixed, constant = jnp.mean(slopes**2), jnp.mean(slopes * offsets), jnp.mean(offsets**2)
        factor = lax.rsqrt(numbers**2 * squared + 2 * numbers * mixed + constant + EPSILON)
        scaled = numbers * factor

        @jax.checkpoint  # Going back through a unit costs less than what it would leave in memory.
        def unit(of_one: tuple[Array, Array, Array]) -> Array:
            slope, offset, shift = of_one
            return jnp.mean(nn.relu(scaled * slope + factor * offset + shift), axis=1)

        return lax.map(unit, (scale * slopes, scale * offsets, shift)).T


class Readout(nn.Module):
    """Two layers on what stands for a set [network, feature], and outputs of each network."""

    width: int
    output_shape: tuple[int, ...]

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Return the outputs."""
        for _ in range(2):
            x = nn.relu(nn.LayerNorm()(nn.Dense(self.width)(x)))
        return shaped_outputs(x, self.output_shape)


class SetReadout(nn.Module):
    """A layer on each element of a set, their mean, and a :class:`Readout`."""

    width: int
    output_shape: tuple[int, ...]

    @nn.compact
    def __call__(self, elements: Array) -> Array:
        """Return the outputs of sets [network, element, feature]."""
        x = nn.relu(nn.LayerNorm()(nn.Dense(self.width)(elements)))
        return Readout(self.width, self.output_shape)(jnp.mean(x, axis=1))
