"""Sparse networks in memory: lottery tickets of the user's own model, and twins that are trained from one ticket."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

from asymjax import rng, trees
from asymjax.errors import InputError
from asymjax.inference.likelihoods import Likelihood
from asymjax.inference.posterior import read_rows
from asymjax.lab import devices
from asymjax.lab.recorder import InMemory
from asymjax.lab.run_config import RunConfig
from asymjax.lab.sweep import epochs_per_chunk, run_sweep
from asymjax.lab.tickets import Search, run_starts, search_keys, search_masks, twin_keys
from asymjax.models import checked_frozen
from asymjax.sparse.masks import Mask, apply_mask
from asymjax.sparse.pruning import plan_pruning
from asymjax.sparse.tickets import Ticket, begun_anew, make_ticket_trainer, ticket_member
from asymjax.train import make_train
from asymjax.train.losses import TASK_LOSSES
from asymjax.train.optimizers import OptimizerConfig
from asymjax.train.trainer import Trainer, TrainState
from asymjax.types import Frozen, Key, Model, Params, Position, Split


class Tickets(NamedTuple):
    """Lottery tickets of several initialisations, host arrays.

    Attributes
    ----------
    start : states of the dense networks at the step that tickets begin at, leaves [seed, ...].
    kept : masks [round + 1, seed, ...], True where a weight is kept; the first keeps all.
    dense : the networks of the first round, trained before anything is pruned [seed, ...].
    failed : int [seed] the first round in which a network diverged, whose masks are none from then on; or -1.
    sparsity : float64 [round + 1] share of the pruned leaves' weights that is gone.
    frozen : the constants of all.
    trainer, num_epochs : how tickets are trained on the rows that they are meant for.
    keys : [seed] of their training.
    likelihood : what its rows are, for ``data`` to be read alike.
    """

    start: TrainState
    kept: Mask
    dense: Position
    failed: np.ndarray
    sparsity: np.ndarray
    frozen: Frozen
    trainer: Trainer
    num_epochs: int
    keys: Key
    likelihood: Likelihood


def find_tickets(
    key: Key,
    model: Model,
    data: Any,
    *,
    search_data: Any = None,
    num_seeds: int = 4,
    num_rounds: int = 10,
    pruned_share: float = 0.2,
    rewind_steps: int = 0,
    num_epochs: int = 25,
    batch_size: int | None = 64,
    optimizer: optax.GradientTransformation | None = None,
    frozen: Frozen | None = None,
    show_progress: bool = True,
) -> Tickets:
    """Prune networks of one model iteratively, with rewinding, from several initialisations side by side.

    In each round a network is trained, the share of its kernels' weights that is smallest is pruned, over all layers
    at once, and the others go back to where they were at step k (Frankle et al. 2020, arXiv 1912.05671).

    Parameters
    ----------
    key : of initial positions and of the order of rows, ``jax.random.key(0)``.
    model : the network.
    data : ``(X, y)``, or what else :func:`~asymjax.make_posterior` takes: what tickets are meant for.
    search_data : rows that masks are sought on, likewise, as distilled ones; training in the search then begins at
        the weights of step k with a fresh optimizer. Default: ``data``.
    num_seeds : networks.
    num_rounds : rounds of pruning.
    pruned_share : of the weights left that a round prunes, between 0 and 1.
    rewind_steps : steps k on ``data`` after which tickets begin.
    num_epochs, batch_size : passes over the rows in a round, and rows a step; None takes all, as do fewer rows.
    optimizer : of Optax, acting on positions. Default: AdamW with learning rate 0.001.
    frozen : constants of the network. Default: those of mask seed 0.
    show_progress : whether to show a bar.

    Raises
    ------
    InputError
        If data are damaged, a number or the key is none, or fewer weights would be left than there are layers.
    DivergedError
        If every network's loss leaves the finite numbers.

    Examples
    --------
    >>> import jax, numpy as np, asymjax
    >>> from flax import linen as nn
    >>> model = asymjax.from_flax(nn.Sequential([nn.Dense(8), nn.relu, nn.Dense(2)]), np.zeros((2, 3), np.float32))
    >>> X = np.random.default_rng(0).normal(size=(64, 3))
    >>> y = (X[:, 0] > 0).astype(int)
    >>> options = {"num_seeds": 2, "num_rounds": 3, "num_epochs": 2, "show_progress": False}
    >>> tickets = asymjax.find_tickets(jax.random.key(0), model, (X, y), **options)
    >>> tickets.sparsity.round(2).tolist()
    [0.0, 0.2, 0.38, 0.5]
    """
    frozen, key = checked_frozen(model, frozen), rng.checked_key(key)
    rows, kind, _ = read_rows(model, data)
    searched = rows if search_data is None else read_rows(model, search_data, kind)[0]
    if not 0 < pruned_share < 1 or min(num_seeds, num_rounds) < 1 or rewind_steps < 0:
        raise InputError(
            f"pruned_share is {pruned_share}, num_rounds {num_rounds}, num_seeds {num_seeds}, rewind_steps "
            f"{rewind_steps}; give a share between 0 and 1, a round and a seed at least, and steps from 0"
        )
    plan = plan_pruning(model, pruned_share, num_rounds)
    make, search = (_make_trainer(kind.task, optimizer, each, num_epochs, batch_size) for each in (rows, searched))
    run, own = InMemory(show_progress), RunConfig()
    init_keys, keys = (rng.member_keys(rng.named_key(key, role), num_seeds) for role in ("init", "train"))
    starts = run_starts(run, "start", make(model), init_keys, keys, frozen, rows, rewind_steps, own)
    anew = jax.vmap(lambda position: begun_anew(model, search, position, frozen))
    found = search_masks(
        run,
        "rounds",
        Search(
            make_ticket_trainer(model, search),
            search_keys(keys),
            starts if search_data is None else trees.to_host(anew(starts.position)),
            frozen,
            searched,
            plan,
            num_epochs,
            epochs_per_chunk(searched, max(1, len(searched.targets) // (batch_size or len(searched.targets)))),
        ),
        own,
    )
    sparsity, trainer = 1 - plan.counts / plan.counts[0], make_ticket_trainer(model, make)
    return Tickets(starts, *found, sparsity, frozen, trainer, num_epochs, keys, kind)


def _make_trainer(
    task: str, optimizer: optax.GradientTransformation | None, rows: Split, num_epochs: int, batch_size: int | None
) -> Callable[[Model], Trainer]:
    """Return what builds the training of a model on rows; of fewer rows than a batch, all in every step."""
    for name, value in {"num_epochs": num_epochs, "batch_size": batch_size}.items():
        OptimizerConfig.require(name, value)
    return partial(
        make_train,
        loss=TASK_LOSSES[task],
        optimizer=optimizer or optax.adamw(1e-3),
        num_epochs=num_epochs,
        batch_size=batch_size and min(batch_size, len(rows.targets)),
    )


def train_twins(
    model: Model, data: Any, tickets: Tickets, num_rounds: int, *, num_twins: int = 3, show_progress: bool = True
) -> Params:
    """Train several networks from each ticket, in orders of the rows of their own: twins.

    Parameters
    ----------
    model, data : as of :func:`find_tickets`.
    tickets : what that returned.
    num_rounds : rounds of pruning of the tickets that are trained; 0 for dense networks.
    num_twins : networks a ticket, two at least.
    show_progress : whether to show a bar.

    Returns
    -------
    Effective weights, leaves [seed, twin, ...]; what is pruned is zero. Those of one seed are what
    :func:`~asymjax.barriers` takes.

    Raises
    ------
    InputError
        If there were not so many rounds, there are fewer than two twins, rows fill no batch, or data are damaged.
    DivergedError
        If a network's loss leaves the finite numbers.

    Examples
    --------
    >>> import jax, numpy as np, asymjax
    >>> from flax import linen as nn
    >>> model = asymjax.from_flax(nn.Sequential([nn.Dense(8), nn.relu, nn.Dense(2)]), np.zeros((2, 3), np.float32))
    >>> X = np.random.default_rng(0).normal(size=(64, 3))
    >>> y = (X[:, 0] > 0).astype(int)
    >>> options = {"num_seeds": 1, "num_rounds": 2, "num_epochs": 2, "show_progress": False}
    >>> tickets = asymjax.find_tickets(jax.random.key(0), model, (X, y), **options)
    >>> twins = asymjax.train_twins(model, (X, y), tickets, 2, show_progress=False)
    >>> asymjax.barriers(model, jax.tree.map(lambda leaf: leaf[0], twins), (X, y))["maximum"].shape
    (3,)
    """
    rows = read_rows(model, data, tickets.likelihood)[0]
    num_seeds, most = len(tickets.keys), len(tickets.sparsity) - 1
    if not 0 <= num_rounds <= most or num_twins < 2:
        raise InputError(
            f"num_rounds is {num_rounds}, num_twins {num_twins}; these tickets have 0 to {most} rounds, and a pair "
            "needs two twins"
        )
    kept = jax.tree.map(lambda leaf: np.repeat(leaf[num_rounds], num_twins, axis=0), tickets.kept)
    starts = jax.tree.map(lambda leaf: np.repeat(leaf, num_twins, axis=0), tickets.start)
    keys = twin_keys(tickets.keys, num_twins).reshape(-1)
    state = run_sweep(
        InMemory(show_progress),
        tickets.trainer,
        Ticket(starts, kept),
        ticket_member(keys, kept),
        tickets.frozen,
        rows,
        devices.place(num_seeds * num_twins),
        tickets.num_epochs,
        tickets.num_epochs,
    )
    if not np.any(np.asarray(state.step) > np.asarray(starts.step)):
        raise InputError(f"there are {len(rows.targets)} rows, which fill no batch; give the rows of the tickets")

    def merge(position: Position, kept: Mask) -> Params:
        return model.merge(apply_mask(position, kept), tickets.frozen)

    params = trees.to_host(jax.jit(jax.vmap(merge))(state.position, kept))
    return jax.tree.map(lambda leaf: leaf.reshape(num_seeds, num_twins, *leaf.shape[1:]), params)
