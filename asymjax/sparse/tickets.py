"""Tickets: sparse networks that begin where a dense one was after a few steps.

A ticket is a mask and the state of training at step k (Frankle et al. 2020, arXiv 1912.05671); "rewinding" means that
the survivors begin again from there. All of the state is rewound: weights, biases, norms, and the moments of the
optimizer, so that an unpruned ticket trained in the same order is the dense network, to the bit.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax

from asymjax.sparse.masks import KEPT, Mask, apply_mask, masked, with_mask
from asymjax.train.trainer import Member, Trainer, TrainState, make_varied, map_position_like
from asymjax.types import Frozen, Hyper, Key, Model, Position


class Ticket(NamedTuple):
    """Where the training of a sparse network begins; stands where a key would.

    Attributes
    ----------
    start : state at the step that is rewound to, of the dense network.
    kept : its mask.
    """

    start: TrainState
    kept: Mask


def ticket_member(key: Key, kept: Mask) -> Member:
    """Return what the trainer of tickets takes in place of a key: that of the order of rows, with the mask."""
    return Member(key, {KEPT: kept})


def rewound(ticket: Ticket) -> TrainState:
    """Return the state that a ticket is trained from: that of step k, with zeros where its mask keeps nothing."""
    start, kept = ticket
    moments = map_position_like(lambda tree: apply_mask(tree, kept), start.opt_state, start.position)
    return start._replace(position=apply_mask(start.position, kept), opt_state=moments)


def begun_anew(model: Model, make: Callable[[Model], Trainer], position: Position, frozen: Frozen) -> TrainState:
    """Return the state of a training that begins at given weights, with a fresh optimizer.

    Parameters
    ----------
    model, make : see :func:`make_ticket_trainer`.
    position : the weights.
    frozen : constants of the model.
    """
    return make(model._replace(init=lambda key, frozen: position)).init(jax.random.key(0), frozen)


def make_ticket_trainer(model: Model, make: Callable[[Model], Trainer]) -> Trainer:
    """Build the training of sparse networks, each with a mask and a start of its own; one program for all masks.

    Parameters
    ----------
    model : the plain model.
    make : model -> Trainer; it is given the masked model.

    Returns
    -------
    A Trainer whose ``init`` takes a :class:`Ticket`, and whose ``advance`` a :func:`ticket_member`.
    """
    trainer = make(masked(model))

    def vary(frozen: Frozen, hyper: Hyper) -> Frozen:
        return with_mask(frozen, hyper[KEPT])

    return make_varied(lambda hyper: trainer, vary)._replace(init=lambda ticket, frozen: rewound(ticket))
