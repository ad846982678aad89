"""One training run as pure functions of a key; sweeps map them over seeds."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax

from asymjax import rng
from asymjax.errors import InputError
from asymjax.train.losses import Loss
from asymjax.types import Array, Frozen, Graph, Hyper, Key, Model, Position, PyTree, Split


class TrainState(NamedTuple):
    """One network in training.

    Attributes
    ----------
    position : trainable leaves.
    opt_state : state of the optimizer, over ``position``.
    step : int32 [] steps done.
    failed_step : int32 [] first step whose loss was not finite, or -1.
    """

    position: Position
    opt_state: PyTree
    step: Array
    failed_step: Array


class Member(NamedTuple):
    """One network of a sweep whose networks have settings of their own; stands where a key alone would.

    Attributes
    ----------
    key : [] its key.
    hyper : name of a setting -> its value [].
    """

    key: Key
    hyper: Hyper


class Trainer(NamedTuple):
    """Training of one network; map it over seeds with ``devices.map_leading``.

    Attributes
    ----------
    init : (key, frozen) -> TrainState; ``key`` is a :class:`Member` in the training that ``make_varied`` builds.
    advance : (key, state, frozen, data, num_epochs) -> (TrainState, mean loss of each epoch [num_epochs]);
        ``num_epochs`` is static.
    train : (key, frozen, data) -> (TrainState, losses [num_epochs]); a whole run.
    begin : (key, state, frozen, data, num_steps) -> TrainState after the first steps, which need not fill an epoch;
        ``num_steps`` is static.
    """

    init: Callable[[Any, Frozen], TrainState]
    advance: Callable[[Any, TrainState, Frozen, Split, int], tuple[TrainState, Array]]
    train: Callable[[Any, Frozen, Split], tuple[TrainState, Array]]
    begin: Callable[[Any, TrainState, Frozen, Split, int], TrainState]


def initial_position(model: Model, key: Key, frozen: Frozen) -> Position:
    """Return where the training of the network of a key begins."""
    return model.init(rng.named_key(key, "init"), frozen)


def map_position_like(fn: Callable[[PyTree], PyTree], state: PyTree, position: PyTree) -> PyTree:
    """Map ``fn`` over the subtrees of an optimizer state that have the structure of a position."""
    structure: Any = jax.tree.structure(position)

    def is_position_like(node: PyTree) -> bool:
        return bool(structure == jax.tree.structure(node))

    return jax.tree.map(lambda node: fn(node) if is_position_like(node) else node, state, is_leaf=is_position_like)


def _mask(tree: PyTree, mask: PyTree) -> PyTree:
    return jax.tree.map(lambda leaf, free: jnp.where(free, leaf, 0.0), tree, mask)


def _rest(state: TrainState) -> tuple[TrainState, Array]:
    """Return the state as it is, and no loss."""
    return state, jnp.full((), jnp.nan, jax.tree.leaves(state.position)[0].dtype)


def make_train(
    model: Model,
    loss: Loss,
    optimizer: optax.GradientTransformation,
    num_epochs: int,
    batch_size: int | None,
    in_effective_weights: bool = False,
    last_step: Array | None = None,
) -> Trainer:
    """Build the training of one network.

    Parameters
    ----------
    model : the network.
    loss : see ``losses.Loss``.
    optimizer : acts on ``position``; one that takes more arguments is given ``frozen``, ``data`` (all rows) and
        ``key``, the network's own.
    num_epochs : passes over the training rows in ``train``.
    batch_size : rows a step; an epoch visits ``rows // batch_size`` batches in an order of its own, so the few rows
        that fill no batch differ from epoch to epoch. None takes all rows in every step, as a graph
        needs.
    in_effective_weights : inside a chunk, train the effective weights and mask gradient and update instead of
        forming them anew in every step. The same numbers up to rounding, for elementwise optimizers on models with
        a ``free_mask``; a scatter in every step is dear. Ignored where the model has no ``free_mask``.
    last_step : int [], whole epochs in steps, after which the network rests; may be traced. Losses of the epochs in
        which it rests are NaN. None for a network that never does.
    """
    effective = in_effective_weights and model.free_mask is not None
    updater = optax.with_extra_args_support(optimizer)

    def init(key: Key, frozen: Frozen) -> TrainState:
        position = initial_position(model, key, frozen)
        return TrainState(position, optimizer.init(position), jnp.array(0), jnp.array(-1))

    def enter(state: TrainState, frozen: Frozen) -> TrainState:
        """Go to effective weights; moments spread with zeros, since ``merge`` is affine."""
        zero = model.merge(jax.tree.map(jnp.zeros_like, state.position), frozen)

        def spread(tree: PyTree) -> PyTree:
            return jax.tree.map(jnp.subtract, model.merge(tree, frozen), zero)

        opt_state = map_position_like(spread, state.opt_state, state.position)
        return state._replace(position=model.merge(state.position, frozen), opt_state=opt_state)

    def leave(state: TrainState, frozen: Frozen) -> TrainState:
        opt_state = map_position_like(lambda tree: model.split(tree, frozen), state.opt_state, state.position)
        return state._replace(position=model.split(state.position, frozen), opt_state=opt_state)

    def step(
        state: TrainState, batch: Split, frozen: Frozen, mask: PyTree, more: dict[str, Any]
    ) -> tuple[TrainState, Array]:
        apply = model.forward if effective else model.apply
        value, grad = jax.value_and_grad(lambda position: loss(apply, position, frozen, batch))(state.position)
        grad = _mask(grad, mask) if effective else grad
        updates, opt_state = updater.update(grad, state.opt_state, state.position, frozen=frozen, **more)
        updates = _mask(updates, mask) if effective else updates
        failed = jnp.where((state.failed_step < 0) & ~jnp.isfinite(value), state.step, state.failed_step)
        return TrainState(optax.apply_updates(state.position, updates), opt_state, state.step + 1, failed), value

    def epoch(
        key: Key, state: TrainState, frozen: Frozen, data: Split, mask: PyTree, num_steps: int | None = None
    ) -> tuple[TrainState, Array]:
        more = {"data": data, "key": rng.named_key(key, "optimizer")}
        if batch_size is None:
            return step(state, data, frozen, mask, more)
        if isinstance(data.inputs, Graph):
            raise InputError(f"batch_size is {batch_size}, but a graph is trained as a whole; give None")
        num_rows = data.targets.shape[0]
        num_batches = num_rows // batch_size
        order_key = jax.random.fold_in(key, state.step // num_batches)
        order = rng.permutation(order_key, num_rows)[: num_batches * batch_size]

        def one(state: TrainState, rows: Array) -> tuple[TrainState, Array]:
            return step(state, data.take(rows), frozen, mask, more)

        state, values = lax.scan(one, state, order.reshape(num_batches, batch_size)[:num_steps])
        return state, jnp.mean(values)

    def advance(
        key: Key, state: TrainState, frozen: Frozen, data: Split, num_epochs: int, num_more_steps: int = 0
    ) -> tuple[TrainState, Array]:
        mask: Any = model.free_mask(frozen) if effective else None  # type: ignore[misc]
        state = enter(state, frozen) if effective else state
        order_key = rng.named_key(key, "order")

        def one(state: TrainState, _: None) -> tuple[TrainState, Array]:
            def move(state: TrainState) -> tuple[TrainState, Array]:
                return epoch(order_key, state, frozen, data, mask)

            return move(state) if last_step is None else lax.cond(state.step < last_step, move, _rest, state)

        state, losses = lax.scan(one, state, None, length=num_epochs)
        if num_more_steps:
            state, _ = epoch(order_key, state, frozen, data, mask, num_more_steps)
        return (leave(state, frozen) if effective else state), losses

    def train(key: Key, frozen: Frozen, data: Split) -> tuple[TrainState, Array]:
        return advance(key, init(key, frozen), frozen, data, num_epochs)

    def begin(key: Key, state: TrainState, frozen: Frozen, data: Split, num_steps: int) -> TrainState:
        steps_per_epoch = 1 if batch_size is None else data.targets.shape[0] // batch_size
        return advance(key, state, frozen, data, *divmod(num_steps, steps_per_epoch))[0]

    return Trainer(init, advance, train, begin)


def make_varied(make: Callable[[Hyper], Trainer], vary: Callable[[Frozen, Hyper], Frozen]) -> Trainer:
    """Build training in which each network has settings of its own; one compiled program for all their values.

    Parameters
    ----------
    make : hyper -> Trainer; the values of ``hyper`` may be traced, and may change no shape.
    vary : (frozen, hyper) -> the constants of one network; those of all where ``hyper`` says nothing of them.

    Returns
    -------
    A Trainer whose ``key`` is a :class:`Member`.
    """

    def init(member: Member, frozen: Frozen) -> TrainState:
        return make(member.hyper).init(member.key, vary(frozen, member.hyper))

    def advance(
        member: Member, state: TrainState, frozen: Frozen, data: Split, num_epochs: int
    ) -> tuple[TrainState, Array]:
        return make(member.hyper).advance(member.key, state, vary(frozen, member.hyper), data, num_epochs)

    def train(member: Member, frozen: Frozen, data: Split) -> tuple[TrainState, Array]:
        return make(member.hyper).train(member.key, vary(frozen, member.hyper), data)

    def begin(member: Member, state: TrainState, frozen: Frozen, data: Split, num_steps: int) -> TrainState:
        return make(member.hyper).begin(member.key, state, vary(frozen, member.hyper), data, num_steps)

    return Trainer(init, advance, train, begin)
