"""The contract of a metanetwork: a network that reads the weights of networks."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

from asymjax.settings import Settings
from asymjax.types import Array, Frozen, Key, Model, PyTree, TreeSpec


class Metanet(NamedTuple):
    """A metanetwork as pure functions.

    Attributes
    ----------
    init : (key) -> parameters.
    apply : (parameters, networks) -> outputs [network]; ``networks`` are leaves [network, ...].
    evaluate : (parameters, networks, reference) -> outputs [network], after training; ``reference`` are networks of the
        training, for what depends on others of a batch.
    """

    init: Callable[[Key], PyTree]
    apply: Callable[[PyTree, PyTree], Array]
    evaluate: Callable[[PyTree, PyTree, PyTree], Array]


class Read(NamedTuple):
    """What a metanetwork is made for.

    Attributes
    ----------
    shapes : tree of ``jax.ShapeDtypeStruct``, one network as it is read: its position or its effective weights.
    spec : how units may be permuted, a tree for every axis of the leaves that move; empty where they may not.
    model, frozen : of the networks.
    """

    shapes: PyTree
    spec: TreeSpec
    model: Model
    frozen: Frozen


@dataclass(frozen=True)
class Metanetwork(Settings):
    """Settings of a metanetwork; a subclass overrides ``make``."""

    reads: ClassVar[Literal["position", "params"]] = "position"
    """Whether it reads trainable entries or effective weights."""
    standardised: ClassVar[Literal["entry", "leaf", "none"]] = "none"
    """What the mean and scale that are taken out of the networks are over: each entry, each leaf, or nothing."""

    def make(self, read: Read) -> Metanet:
        """Build it for networks."""
        raise NotImplementedError


def plain(init: Callable[[Key], Any], apply: Callable[[Any, Any], Array]) -> Metanet:
    """Return a metanetwork to which one network is as good as many."""
    return Metanet(init, apply, lambda params, networks, reference: apply(params, networks))
