"""The contract of a metanetwork: a network that reads the weights of networks."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from asymjax.settings import Settings
from asymjax.types import Array, Frozen, Key, Model, PyTree, TreeSpec


class Metanet(NamedTuple):
    """A metanetwork as pure functions.

    Attributes
    ----------
    init : (key) -> parameters.
    apply : (parameters, features) -> outputs [network, *output_shape], see :class:`Read`; ``features`` are what its
        settings make of networks, leaves [network, ...].
    settle : (parameters, features) -> what ``evaluate`` takes, given many networks of the training; for what depends on
        the others of a batch while it is trained.
    evaluate : (settled, features) -> outputs [network, *output_shape], each by itself.
    """

    init: Callable[[Key], PyTree]
    apply: Callable[[PyTree, PyTree], Array]
    settle: Callable[[PyTree, PyTree], PyTree]
    evaluate: Callable[[PyTree, PyTree], Array]


class Read(NamedTuple):
    """What a metanetwork is made for.

    Attributes
    ----------
    shapes : tree of ``jax.ShapeDtypeStruct``, one network as it is read: its position or its effective weights.
    features : the same of its features.
    spec : how units may be permuted, a tree for every axis of the leaves that move; empty where they may not.
    model, frozen : of the networks.
    output_shape : of what is said of one network: () for a number, (classes,) for a logit of each class.
    """

    shapes: PyTree
    features: PyTree
    spec: TreeSpec
    model: Model
    frozen: Frozen
    output_shape: tuple[int, ...] = ()


@dataclass(frozen=True)
class Metanetwork(Settings):
    """Settings of a metanetwork; a subclass overrides ``make``."""

    @property
    def reads(self) -> str:
        """What it reads: trainable entries (``"position"``), effective weights (``"params"``), or ``"aligned"`` ones.

        Aligned are effective weights with units permuted to match those of one network.
        """
        return "position"

    @property
    def standardised(self) -> str:
        """What is brought to mean 0 and scale 1 over the networks of the training.

        Each entry of the features (``"entry"``), each leaf as a whole (``"leaf"``), or nothing (``"none"``).
        """
        return "none"

    @property
    def is_permuted(self) -> bool:
        """Whether every epoch reads the training networks with their units in another order."""
        return False

    def features(self, networks: PyTree) -> PyTree:
        """Return what it reads of networks, once and for all, leaves [network, ...]."""
        return networks

    def make(self, read: Read) -> Metanet:
        """Build it for networks."""
        raise NotImplementedError


def plain(init: Callable[[Key], Any], apply: Callable[[Any, Any], Array]) -> Metanet:
    """Return a metanetwork to which one network is as good as many."""
    return Metanet(init, apply, lambda params, features: params, apply)


def of_module(module: nn.Module, read: Read) -> Metanet:
    """Return the metanetwork of a Linen module: features, leaves [network, ...], to outputs of each network."""

    def init(key: Key) -> PyTree:
        return module.init(key, jax.tree.map(lambda leaf: jnp.zeros((1, *leaf.shape), leaf.dtype), read.features))

    return plain(init, module.apply)  # type: ignore[arg-type]


class Head(nn.Module):
    """Hidden layers of ReLU and then LayerNorm, as Lim et al. (2024) have them, and outputs of each network."""

    widths: tuple[int, ...]
    output_shape: tuple[int, ...] = ()

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Return the outputs of vectors [network, features]."""
        for width in self.widths:
            x = nn.LayerNorm()(nn.relu(nn.Dense(width)(x)))
        return shaped_outputs(x, self.output_shape)


def shaped_outputs(x: Array, output_shape: tuple[int, ...]) -> Array:
    """Return the last layer of a module on vectors [network, features]: outputs [network, *output_shape]."""
    return nn.Dense(math.prod(output_shape))(x).reshape(*x.shape[:-1], *output_shape)
