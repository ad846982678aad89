"""Distilled data: a few rows of each class, fitted so that training on them is like training on all.

An outer step draws what :mod:`~asymjax.sparse.matching` compares, averages its loss over several random networks in one
compiled program, and moves the images by Adam. A stored image may hold several: with factor f it is cut into f x f
tiles, each brought to full size (:mod:`~asymjax.sparse.tiles`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from asymjax import rng
from asymjax.data.arrays import are_classes
from asymjax.errors import DivergedError, InputError, choose
from asymjax.inference.posterior import read_rows
from asymjax.models import checked_frozen
from asymjax.settings import Count, Fraction, Positive
from asymjax.sparse.augmentation import make_augment
from asymjax.sparse.matching import MATCHINGS, Batches, Match, MatchingConfig
from asymjax.sparse.tiles import check_factor, decode, encode
from asymjax.types import Array, Dataset, Frozen, Key, Model, Position, PyTree, Split

LEAST_RATE = 1e-15
"""Learning rate on distilled rows where there would be none, which has no logarithm."""
CONFIDENT = 5.0
"""Logit of an image's own class where its label begins; of all others it is 0."""


@dataclass(frozen=True)
class DistillationConfig(MatchingConfig):
    """How data are distilled."""

    images_per_class: Count = 10
    """Stored images of each class (vectors, where inputs are none)."""
    factor: Count = 1
    """Cut each stored image into factor x factor tiles, each a training image of its own; divides height and width."""
    start: Literal["real", "noise"] = "real"
    """Where images begin: at real ones of their class, or at noise of their mean and scale."""
    num_steps: Count = 200
    """Steps of the images."""
    num_networks: Count = 4
    """Random networks that the loss of a step is averaged over."""
    image_learning_rate: Positive = 0.03
    """Learning rate of the images, by Adam, in standardised units."""
    image_momentum: Fraction = 0.5
    """Momentum of the images."""

    @property
    def rows_per_class(self) -> int:
        """Rows of each class that the stored images are decoded to."""
        return self.images_per_class * self.factor**2


class Counts(NamedTuple):
    """What a distilled set costs.

    Attributes
    ----------
    stored : images that are kept.
    decoded : rows that they are decoded to.
    visited, visited_distilled : real and distilled rows that passed a random network, as often as each did.
    gradient_steps : gradients of random networks, those that are matched and those of their training.
    """

    stored: int
    decoded: int
    visited: int
    visited_distilled: int
    gradient_steps: int


class Distilled(NamedTuple):
    """Distilled data, host arrays.

    Attributes
    ----------
    inputs : float32 [rows, *input_shape] decoded, in the units of the real ones, class after class.
    targets : int32 [rows] classes; or float32 [rows, classes] shares, where labels were learned.
    stored : float32 [stored rows, *input_shape].
    losses : [step] the mean loss over networks.
    counts : what they cost.
    learning_rate : of gradient descent on them, as it was learned; None where no trajectories were matched.
    """

    inputs: np.ndarray
    targets: np.ndarray
    stored: np.ndarray
    losses: np.ndarray
    counts: Counts
    learning_rate: float | None


class ByClass(NamedTuple):
    """Real rows, to be drawn class by class.

    Attributes
    ----------
    inputs : [rows, *input_shape].
    table : int32 [classes, most] places of the rows of each class, the first ``counts`` of them.
    counts : int32 [classes].
    """

    inputs: Array
    table: Array
    counts: Array


class DistillState(NamedTuple):
    """Images on their way.

    Attributes
    ----------
    images : stored [classes, images, *input_shape].
    logits : of learned labels [classes, decoded images, classes]; None of others.
    log_rate : [] logarithm of the learning rate on distilled rows, learned where trajectories are matched.
    opt_state : state of the optimizer, over images, logits and log_rate.
    networks : positions of the random networks [network, ...].
    step : int32 [] steps done.
    """

    images: Array
    logits: Array | None
    log_rate: Array
    opt_state: PyTree
    networks: Position
    step: Array


class Distiller(NamedTuple):
    """Distillation as pure functions.

    Attributes
    ----------
    init : (key, frozen, data) -> DistillState.
    advance : (key, state, frozen, data, num_steps) -> (DistillState, loss of each step [num_steps]); ``num_steps`` is
        static.
    decode : (state) -> Batches, class by class.
    """

    init: Callable[[Key, Frozen, ByClass], DistillState]
    advance: Callable[[Key, DistillState, Frozen, ByClass, int], tuple[DistillState, Array]]
    decode: Callable[[DistillState], Batches]


# Real rows -------------------------------------------------------------------------------------------------------


def by_class(split: Split, num_classes: int) -> ByClass:
    """Sort rows by their classes.

    Raises
    ------
    InputError
        If inputs are no one array, targets no classes, or a class has no rows.
    """
    if not hasattr(split.inputs, "dtype"):
        raise InputError(f"inputs are a {type(split.inputs).__name__}; distilled are rows of one array")
    if not are_classes(split.targets):
        raise InputError("targets are no classes; distilled are rows of classes, so give whole numbers")
    labels = np.asarray(split.targets)
    places = [np.flatnonzero(labels == one) for one in range(num_classes)]
    if empty := [str(one) for one, found in enumerate(places) if not len(found)]:
        raise InputError(f"no row is of class {', '.join(empty)} of {num_classes}; give rows of each")
    most = max(map(len, places))
    table = np.stack([np.resize(found, most) for found in places]).astype(np.int32)
    counts = np.array([len(found) for found in places], np.int32)
    return ByClass(jnp.asarray(split.inputs, jnp.float32), jnp.asarray(table), jnp.asarray(counts))


def draw_rows(key: Key, data: ByClass, count: int) -> Batches:
    """Draw as many rows of each class, none twice unless the class has fewer: consecutive ones from a random place."""
    num_classes = len(data.counts)
    first = jax.random.randint(key, (num_classes,), 0, data.counts)
    column = (first[:, None] + jnp.arange(count)[None, :]) % data.counts[:, None]
    labels = jnp.broadcast_to(jnp.arange(num_classes)[:, None], column.shape)
    return Batches(data.inputs[jnp.take_along_axis(data.table, column, axis=1)], labels)


# The outer optimisation ------------------------------------------------------------------------------------------


def make_distiller(
    model: Model,
    config: DistillationConfig,
    input_shape: tuple[int, ...],
    num_classes: int,
    at_once: int = 1,
    optimizer: optax.GradientTransformation | None = None,
    learn_labels: bool = False,
) -> Distiller:
    """Build the distillation of rows for networks of a model.

    Parameters
    ----------
    model : the random networks, each with an initialisation of its own; all have the ``frozen`` that is given.
    config : how.
    input_shape : of one input.
    num_classes : classes.
    at_once : networks that run at once (vmap); the others follow.
    optimizer : of images, logits of labels and log_rate. Default: Adam with the configured rate and momentum.
    learn_labels : whether labels are learned: shares of the classes, a row each.

    Raises
    ------
    InputError
        If factor, augmentations or learned labels do not suit inputs or method.
    """
    check_factor(config.factor, input_shape)
    if learn_labels and config.method == "distribution":
        raise InputError("means of features do not depend on labels; learn them with the method gradient or trajectory")
    match = choose(MATCHINGS, config.method, "method")(model, config, make_augment(config.augmentations, input_shape))
    optimizer = optimizer or optax.adam(config.image_learning_rate, b1=config.image_momentum)
    per_class = config.rows_per_class

    def batches(images: Array, logits: Array | None) -> Batches:
        inputs = jax.vmap(partial(decode, factor=config.factor))(images)
        if logits is not None:
            return Batches(inputs, jax.nn.softmax(logits))
        return Batches(inputs, jnp.broadcast_to(jnp.arange(num_classes)[:, None], inputs.shape[:2]))

    def init(key: Key, frozen: Frozen, data: ByClass) -> DistillState:
        images = _first_images(rng.named_key(key, "images"), data, config, per_class)
        certain = jnp.eye(num_classes)[:, None, :] * CONFIDENT
        logits = jnp.broadcast_to(certain, (num_classes, per_class, num_classes)) if learn_labels else None
        networks = jax.vmap(lambda key: model.init(key, frozen))(_member_keys(key, "networks", 0, config.num_networks))
        rate = config.network_learning_rate * config.network_steps / max(1, config.student_steps)
        own = images, logits, jnp.log(jnp.asarray(max(rate, LEAST_RATE), jnp.float32))
        return DistillState(*own, optimizer.init(own), networks, jnp.array(0))

    step = _make_step(model, config, match, batches, optimizer, at_once)

    def advance(
        key: Key, state: DistillState, frozen: Frozen, data: ByClass, num_steps: int
    ) -> tuple[DistillState, Array]:
        return lax.scan(lambda state, _: step(key, state, frozen, data), state, None, length=num_steps)

    return Distiller(init, advance, lambda state: batches(state.images, state.logits))


def _make_step(
    model: Model,
    config: DistillationConfig,
    match: Match,
    batches: Callable[[Array, Array | None], Batches],
    optimizer: optax.GradientTransformation,
    at_once: int,
) -> Callable[[Key, DistillState, Frozen, ByClass], tuple[DistillState, Array]]:
    """Return one step of images and logits, and its loss; see :func:`make_distiller`."""
    num_matches = config.num_matches if config.trains else 1

    def step(key: Key, state: DistillState, frozen: Frozen, data: ByClass) -> tuple[DistillState, Array]:
        own = state.images, state.logits, state.log_rate
        use, fresh = state.step % num_matches, state.step // num_matches
        init_keys = _member_keys(key, "networks", fresh, config.num_networks)
        keys = _member_keys(key, "match", state.step, config.num_networks)
        draw = partial(draw_rows, data=data, count=config.real_per_class)

        def of_network(member: tuple[Key, Key, Position]) -> tuple[Array, PyTree, Position]:
            init_key, key, position = member
            position = lax.cond(use == 0, lambda: model.init(init_key, frozen), lambda: position)

            def loss(own: tuple[Array, Array | None, Array]) -> tuple[Array, Position]:
                images, logits, log_rate = own
                return match(key, position, frozen, batches(images, logits), draw, log_rate)

            (value, after), grad = jax.value_and_grad(loss, has_aux=True)(own)
            return value, grad, after

        width = at_once if at_once > 1 else None
        values, grads, networks = lax.map(of_network, (init_keys, keys, state.networks), batch_size=width)
        mean = jax.tree.map(lambda leaf: jnp.mean(leaf, axis=0), grads)
        updates, opt_state = optimizer.update(mean, state.opt_state, own)
        images, logits, log_rate = optax.apply_updates(own, updates)
        return DistillState(images, logits, log_rate, opt_state, networks, state.step + 1), jnp.mean(values)

    return step


def _member_keys(key: Key, role: str, index: Any, count: int) -> Key:
    return rng.member_keys(jax.random.fold_in(rng.named_key(key, role), index), count)


def _first_images(key: Key, data: ByClass, config: DistillationConfig, per_class: int) -> Array:
    """Return where stored images begin [classes, images, ...]."""
    if config.start == "real":
        return jax.vmap(partial(encode, factor=config.factor))(draw_rows(key, data, per_class).inputs)
    shape = (len(data.counts), config.images_per_class, *data.inputs.shape[1:])
    return jnp.mean(data.inputs) + jnp.std(data.inputs) * rng.normal(key, shape)


def check_start(config: DistillationConfig, data: ByClass) -> None:
    """Refuse to begin at more real rows than a class has.

    Raises
    ------
    InputError
        If a class has fewer.
    """
    needed, least = config.rows_per_class, int(jnp.min(data.counts))
    if config.start == "real" and least < needed:
        which = int(jnp.argmin(data.counts))
        raise InputError(
            f"images_per_class is {config.images_per_class} (factor {config.factor}), which begin at {needed} real "
            f"rows of each class, and class {which} has {least}; give fewer, or begin at noise"
        )


def count_cost(config: DistillationConfig, num_classes: int) -> Counts:
    """Return what a distilled set costs."""
    stored, batch = config.images_per_class * num_classes, num_classes * config.real_per_class
    decoded, uses = num_classes * config.rows_per_class, config.num_steps * config.num_networks
    trained = uses * config.network_steps * config.trains
    if config.method == "trajectory":
        students = uses * config.student_steps
        return Counts(stored, decoded, trained * batch, students * decoded, trained + students)
    # Of classes one by one, for the real rows and the distilled ones; means of features take one derivative.
    matched = uses * (2 * num_classes if config.method == "gradient" else 1)
    is_real = config.network_rows == "real"
    real, distilled = uses + trained * is_real, uses + trained * (not is_real)
    return Counts(stored, decoded, real * batch, distilled * decoded, matched + trained)


def collect(distiller: Distiller, state: DistillState, losses: Any, config: DistillationConfig) -> Distilled:
    """Return what was distilled as host arrays."""
    rows = distiller.decode(state).together()
    stored = np.asarray(state.images)
    is_soft = jnp.issubdtype(rows.targets.dtype, jnp.floating)
    targets = np.asarray(rows.targets, np.float32 if is_soft else np.int32)
    counts = count_cost(config, len(stored))
    rate = float(np.exp(state.log_rate)) if config.method == "trajectory" else None
    flat = stored.reshape(-1, *stored.shape[2:])
    return Distilled(np.asarray(rows.inputs), targets, flat, np.asarray(losses), counts, rate)


def distill(
    key: Key,
    model: Model,
    data: Any,
    *,
    images_per_class: int = 10,
    method: str = "gradient",
    learn_labels: bool = False,
    optimizer: optax.GradientTransformation | None = None,
    frozen: Frozen | None = None,
    **settings: Any,
) -> Distilled:
    """Distil rows in memory, in one compiled program.

    Parameters
    ----------
    key : of first images, random networks and batches, ``jax.random.key(0)``.
    model : the random networks.
    data : ``(X, y)`` with class indices, or what else :func:`~asymjax.make_posterior` takes.
    images_per_class : stored rows of each class.
    method : ``"distribution"``, ``"gradient"`` or ``"trajectory"``.
    learn_labels : whether labels are learned, and shares of the classes then; train on them with
        :func:`~asymjax.sparse.soft_cross_entropy`.
    optimizer : of Optax, of all that is learned. Default: Adam with ``image_learning_rate`` and ``image_momentum``.
    frozen : constants of the networks. Default: those of mask seed 0.
    settings : other fields of :class:`DistillationConfig`.

    Raises
    ------
    InputError
        If data are damaged or have no classes, or a setting is unknown or does not suit.
    DivergedError
        If the loss leaves the finite numbers.

    Examples
    --------
    >>> import jax, numpy as np
    >>> from flax import linen as nn
    >>> from asymjax import from_flax, sparse
    >>> model = from_flax(nn.Sequential([nn.Dense(4), nn.relu, nn.Dense(2)]), np.zeros((2, 3), np.float32))
    >>> X = np.random.default_rng(0).normal(size=(64, 3))
    >>> y = (X[:, 0] > 0).astype(int)
    >>> options = {"images_per_class": 2, "method": "distribution", "num_steps": 5, "num_networks": 2}
    >>> sparse.distill(jax.random.key(0), model, (X, y), **options).inputs.shape
    (4, 3)
    """
    kinds = DistillationConfig().as_dict()
    for name in settings:
        choose(kinds, name, "setting of distillation")
    config = DistillationConfig(method=method, images_per_class=images_per_class, **settings)  # type: ignore[arg-type]
    key, frozen = rng.checked_key(key), checked_frozen(model, frozen)
    split, kind, _ = read_rows(model, data)
    if kind.task != "classification":
        raise InputError("targets are no classes; distilled are rows of classes, so give whole numbers")
    num_classes = count_classes(model, frozen, data)
    rows = by_class(split, num_classes)
    check_start(config, rows)
    distiller = make_distiller(
        model, config, rows.inputs.shape[1:], num_classes, optimizer=optimizer, learn_labels=learn_labels
    )

    @jax.jit
    def run(key: Key, frozen: Frozen, rows: ByClass) -> tuple[DistillState, Array]:
        return distiller.advance(key, distiller.init(key, frozen, rows), frozen, rows, config.num_steps)

    state, losses = run(key, frozen, rows)
    if not np.isfinite(losses).all():
        raise DivergedError(not_finite(np.asarray(losses)))
    return collect(distiller, state, losses, config)


def not_finite(losses: np.ndarray, first: int = 0) -> str:
    """Return a sentence about the first loss [step] that is not finite."""
    step = first + int(np.flatnonzero(~np.isfinite(losses))[0])
    return f"the loss of distillation is not finite at step {step}; lower network_learning_rate or image_learning_rate"


def count_classes(model: Model, frozen: Frozen, data: Any) -> int:
    """Return the outputs of a network."""
    if isinstance(data, Dataset):
        return data.num_outputs
    outputs = jax.eval_shape(lambda key: model.apply(model.init(key, frozen), frozen, model.example), jax.random.key(0))
    return int(outputs.shape[-1])
