"""Metanetworks are fitted to a zoo: the learning rate is chosen on other seeds, the epoch on networks apart."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from threadpoolctl import threadpool_limits

from asymjax import rng, trees
from asymjax.errors import DivergedError, InputError
from asymjax.metanets.config import FitConfig
from asymjax.metanets.features import Features, make_features, regression_features
from asymjax.metanets.kinds import Kind, kind_of
from asymjax.metanets.metanet import Metanet, Metanetwork, Read
from asymjax.metanets.reader import permute_moving
from asymjax.metanets.regression import Regression
from asymjax.metanets.zoo import Parts, Zoo, reference_of, split
from asymjax.symmetry.groups import position_spec
from asymjax.symmetry.permutations import random_permutations
from asymjax.train.trainer import make_train
from asymjax.types import Array, Key, Model, PyTree, Split, TreeSpec

NUM_REFERENCE = 512
"""Networks of the training that settle what depends on others of a batch."""


class Fitted(NamedTuple):
    """One metanetwork, at the epoch of its best validation R2.

    Attributes
    ----------
    settled : what ``Metanet.evaluate`` takes.
    r2 : float32 [] there, on the validation networks, of classes McFadden's (``Kind.quality``); minus infinity where it
        was never a number.
    epoch : int32 [] which, from 1.
    curve : float32 [epoch] of every epoch.
    """

    settled: PyTree
    r2: Array
    epoch: Array
    curve: Array


class Learned(NamedTuple):
    """What metanetworks learned of a zoo, all that :func:`asymjax.metanets.transfer` needs.

    Attributes
    ----------
    settings : which metanetwork, or which regression.
    settled : what ``Metanet.evaluate`` takes, leaves [seed, ...]; of a regression what scikit-learn fitted; None where
        it was not kept.
    moments : mean and scale of the features, see :func:`~asymjax.metanets.features.moments_of`.
    center, scale : [] of the targets.
    kind : of the targets.
    """

    settings: Metanetwork | Regression
    settled: Any
    moments: tuple[PyTree, PyTree] | None
    center: np.ndarray | float
    scale: np.ndarray | float
    kind: Kind


class Fit(NamedTuple):
    """Predictions for all networks of a zoo, by several metanetworks that differ in their seeds.

    Attributes
    ----------
    predictions : float [seed, network], or probabilities of classes [seed, network, class]; their spread over seeds is
        what the seed leaves open.
    targets : float [network], or classes int [network].
    parts : which networks they were trained, chosen and tested on.
    learning_rate : the one that was chosen; NaN of a regression.
    epochs : int [seed] whose validation R2 was best; 0 of a regression.
    trials : learning rate -> validation R2 of each of its trials.
    learned : what they learned, with which they read other networks.
    """

    predictions: np.ndarray
    targets: np.ndarray
    parts: Parts
    learning_rate: float
    epochs: np.ndarray
    trials: Mapping[float, np.ndarray]
    learned: Learned


class Task(NamedTuple):
    """What one metanetwork is trained on.

    Attributes
    ----------
    settings, metanet : it.
    spec : how units are permuted anew in every epoch; empty where they are not.
    features : of all networks of the zoo.
    train, validation : places in the zoo, int32 [network], and targets, less ``center`` and over ``scale``.
    center, scale : [] of the targets.
    kind : of the targets.
    """

    settings: Metanetwork
    metanet: Metanet
    spec: TreeSpec
    features: Features
    train: Split
    validation: Split
    center: np.ndarray
    scale: np.ndarray
    kind: Kind

    @property
    def shared(self) -> tuple[Split, Split, PyTree]:
        """What all members share, see :func:`make_member`."""
        return self.train, self.validation, self.features.held


def make_task(zoo: Zoo, settings: Metanetwork, targets: np.ndarray, parts: Parts, config: FitConfig) -> Task:
    """Prepare the features of a zoo for a metanetwork, and build that.

    Raises
    ------
    InputError
        If the metanetwork cannot read these networks.
    """
    spec = position_spec(zoo.model, zoo.frozen) if settings.reads != "position" else {}
    if settings.is_permuted and settings.reads == "position":
        raise InputError("units are permuted in effective weights; give reads=params with is_permuted")
    features, kind = make_features(zoo, settings, parts.train, reference_of(zoo, targets, parts)), kind_of(targets)
    read = Read(features.networks, features.shapes, spec, zoo.model, zoo.frozen, kind.output_shape)
    metanet = settings.make(read)
    _require_outputs(metanet, read.features, kind)
    center, scale = np.zeros((), np.float32), np.ones((), np.float32)
    if config.targets == "standardised":
        center, scale = kind.center_and_scale(targets[parts.train])
    rows = Split(np.arange(len(targets), dtype=np.int32), ((targets - center) / scale).astype(kind.dtype))
    return Task(
        settings,
        metanet,
        spec if settings.is_permuted else {},
        features,
        rows.take(parts.train),
        rows.take(parts.validation),
        center,
        scale,
        kind,
    )


def _require_outputs(metanet: Metanet, features: PyTree, kind: Kind) -> None:
    """Refuse a metanetwork that says a number where a class is asked for."""
    if kind.is_class:
        two = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((2, *leaf.shape), leaf.dtype), features)
        found = jax.eval_shape(lambda x: metanet.apply(metanet.init(jax.random.key(0)), x), two).shape
        if found != (2, *kind.output_shape):
            raise InputError(
                f"the target is one of {kind.output_shape[0]} classes, but of 2 networks it says {found}; give one "
                "whose outputs have the shape of Read.output_shape"
            )


def make_fit(task: Task, config: FitConfig) -> Callable[[Key, Array, Split, Split, PyTree], Fitted]:
    """Build the fit of one metanetwork: (key, learning rate, *task.shared) -> :class:`Fitted`."""
    metanet = task.metanet
    least = jnp.asarray(-jnp.inf, jnp.float32)

    def fit_one(key: Key, learning_rate: Array, train: Split, validation: Split, held: PyTree) -> Fitted:
        take = partial(task.features.take, held)
        net: Any = _Trained(
            lambda key, frozen: metanet.init(key),
            lambda params, frozen, batch: metanet.apply(params, _permuted(batch, task.spec, take(batch["places"]))),
        )
        optimizer = optax.adamw(learning_rate, weight_decay=config.weight_decay)
        trainer = make_train(cast(Model, net), task.kind.loss, optimizer, 1, config.batch_size)
        reference = take(jnp.asarray(train.inputs)[_spread(len(train.targets), NUM_REFERENCE)])

        def epoch(carry: Any, number: Array) -> tuple[Any, Array]:
            state, best = carry
            rows = _with_keys(train, jax.random.fold_in(key, number), task.spec)
            state, _ = trainer.advance(key, state, {}, rows, 1)
            settled = metanet.settle(state.position, reference)
            outputs = predict(metanet, settled, take, jnp.asarray(validation.inputs), config.batch_size)
            r2 = task.kind.quality(outputs, jnp.asarray(validation.targets))
            found = Fitted(settled, r2, number, best.curve)
            best = jax.tree.map(partial(jnp.where, r2 > best.r2), found, best)
            return (state, best), r2

        state = trainer.init(key, {})
        start = Fitted(metanet.settle(state.position, reference), least, jnp.array(0), least)
        (_, best), curve = lax.scan(epoch, (state, start), jnp.arange(1, config.num_epochs + 1))
        return best._replace(curve=curve)

    return fit_one


def _spread(count: int, most: int) -> np.ndarray:
    """Return so many places of a count at most, from first to last: networks may lie kind after kind."""
    return np.linspace(0, count - 1, min(count, most)).astype(int)


class _Trained(NamedTuple):
    """What the trainer asks of a network."""

    init: Callable[..., PyTree]
    apply: Callable[..., Array]
    free_mask: None = None


def _with_keys(rows: Split, key: Key, spec: TreeSpec) -> Split:
    """Return places of networks with a key for the order of the units of each; without one where nothing moves."""
    inputs: Any = {"places": rows.inputs}
    if spec:
        inputs["key"] = jax.random.split(key, len(rows.targets))
    return rows._replace(inputs=inputs)


def _permuted(batch: Mapping[str, Array], spec: TreeSpec, networks: PyTree) -> PyTree:
    """Return each network with its units in the order of its key; as they are where nothing moves."""
    if not spec:
        return networks

    def one(key: Key, network: PyTree) -> PyTree:
        moving = {path: leaf for path, leaf in trees.flatten(network).items() if path in spec}
        return permute_moving(network, spec, random_permutations(key, moving, spec))

    return jax.vmap(one)(batch["key"], networks)


def predict(
    metanet: Metanet, settled: PyTree, take: Callable[[Array], PyTree], places: Array, batch_size: int
) -> Array:
    """Return the outputs of a metanetwork for networks at any places [network, ...], batch after batch."""
    count = len(places)
    batches = jnp.arange(-(-count // batch_size) * batch_size).reshape(-1, batch_size) % count
    outputs = lax.map(lambda rows: metanet.evaluate(settled, take(places[rows])), batches)
    return outputs.reshape(-1, *outputs.shape[2:])[:count]


class Member(NamedTuple):
    """What one metanetwork of those that are fitted leaves.

    Attributes
    ----------
    outputs : float32 [network, ...] for all networks of the zoo, see :func:`in_units`.
    r2, epoch : as of :class:`Fitted`.
    settled : as of :class:`Fitted`, or None.
    """

    outputs: Array
    r2: Array
    epoch: Array
    settled: PyTree = None


def make_member(
    task: Task, config: FitConfig, keeps_settled: bool
) -> Callable[[Key, Array, Split, Split, PyTree], Member]:
    """Build the fit of one metanetwork with its outputs: (key, learning rate, *shared) -> :class:`Member`.

    What members share, ``task.shared``, is an argument: a compiled program holds no number of a zoo.
    ``keeps_settled`` says whether it leaves what it learned, which may be much.
    """
    one = make_fit(task, config)

    def member(key: Key, learning_rate: Array, train: Split, validation: Split, held: PyTree) -> Member:
        found = one(key, learning_rate, train, validation, held)
        take, places = partial(task.features.take, held), jnp.arange(task.features.num_networks)
        outputs = predict(task.metanet, found.settled, take, places, config.batch_size)
        return Member(outputs, found.r2, found.epoch, found.settled if keeps_settled else None)

    return member


def in_units(task: Task | Learned, outputs: Array) -> np.ndarray:
    """Return outputs in units of the targets, or as probabilities of classes."""
    return task.kind.predictions(np.asarray(task.center + task.scale * np.asarray(outputs)))


def trial_members(key: Key, config: FitConfig) -> tuple[Key, Array]:
    """Return keys and learning rates of the trials [learning rate x trial], the learning rate slowest."""
    keys = rng.member_keys(rng.named_key(key, "trial"), config.num_trials)
    rates = jnp.array(config.learning_rates, jnp.float32)
    return jnp.tile(keys, len(rates)), jnp.repeat(rates, config.num_trials)


def choose_rate(config: FitConfig, r2: np.ndarray) -> tuple[float, dict[float, np.ndarray]]:
    """Return the learning rate whose trials have the best mean validation R2, and the R2 of all.

    Parameters
    ----------
    r2 : [learning rate x trial], minus infinity where a trial diverged.

    Raises
    ------
    DivergedError
        If every learning rate has a trial that diverged.
    """
    found = dict(zip(config.learning_rates, np.reshape(r2, (-1, config.num_trials)), strict=True))
    best = max(found, key=lambda rate: np.mean(found[rate]))
    if not np.all(np.isfinite(found[best])):
        raise DivergedError(f"no learning rate out of {', '.join(map(str, found))} trains; give smaller ones")
    return best, found


def seed_keys(key: Key, config: FitConfig) -> Key:
    """Return the keys of the metanetworks that are reported [seed]."""
    return rng.member_keys(rng.named_key(key, "seed"), config.num_seeds)


def fit(
    zoo: Zoo,
    settings: Metanetwork | Regression,
    *,
    key: Key | None = None,
    target: str = "test.accuracy",
    config: FitConfig | None = None,
    parts: Parts | None = None,
) -> Fit:
    """Fit metanetworks of several seeds, or a regression, to a zoo.

    Parameters
    ----------
    zoo : the networks.
    settings : which metanetwork, ``asymjax.metanets.StatNN()``.
    key : of all that is random. Default: key 0.
    target : what is predicted, see ``Zoo.target``.
    config : how they are trained.
    parts : which networks are for training, validation and test. Default: those of ``split``.

    Raises
    ------
    InputError
        If the target is unknown, the metanetwork cannot read these networks, or there are too few.
    DivergedError
        If no learning rate trains.
    """
    key, config = rng.checked_key(jax.random.key(0) if key is None else key), config or FitConfig()
    targets, parts = zoo.target(target), parts or split(zoo.ids)
    if isinstance(settings, Regression):
        return regress(zoo, settings, targets, parts)
    require_training(targets, parts, config)
    task = make_task(zoo, settings, targets, parts, config)
    member = make_member(task, config, keeps_settled=True)

    @jax.jit
    def many(keys: Key, rates: Array, *shared: PyTree) -> Member:
        size = None if jax.default_backend() == "cpu" else len(rates)
        return lax.map(lambda one: member(*one, *shared), (keys, rates), batch_size=size)

    return fit_by(lambda stage, keys, rates: many(keys, rates, *task.shared), task, targets, parts, key, config)


def fit_by(
    measure: Callable[[str, Key, Array], Member],
    task: Task,
    targets: np.ndarray,
    parts: Parts,
    key: Key,
    config: FitConfig,
) -> Fit:
    """Choose the learning rate by trials, then fit the metanetworks that are reported.

    Parameters
    ----------
    measure : (``"trials"`` or ``"seeds"``, keys [member], learning rates [member]) -> what ``make_member`` makes of
        each, leaves [member, ...].
    task, targets, parts, key, config : as of :func:`fit`.

    Raises
    ------
    DivergedError
        If no learning rate trains, or one of the reported metanetworks has no validation R2 at the one that was chosen.
    """
    rate, trials = choose_rate(config, np.asarray(measure("trials", *trial_members(key, config)).r2))
    keys = seed_keys(key, config)
    found = measure("seeds", keys, jnp.full(len(keys), rate, jnp.float32))
    if num_failed := int(np.sum(~np.isfinite(found.r2))):
        raise DivergedError(
            f"{num_failed} of {len(keys)} metanetworks diverged at the learning rate {rate:g}, which its trials did "
            "not; give smaller ones, or more trials"
        )
    settled = trees.to_host(found.settled)
    learned = Learned(task.settings, settled, task.features.moments, task.center, task.scale, task.kind)
    return Fit(in_units(task, found.outputs), targets, parts, rate, np.asarray(found.epoch), trials, learned)


def require_training(targets: np.ndarray, parts: Parts, config: FitConfig) -> None:
    """Refuse what no metanetwork can be trained for.

    Raises
    ------
    InputError
        If there are fewer networks for training than a batch needs, or these or those for validation have one target.
    """
    if len(parts.train) < config.batch_size:
        raise InputError(
            f"batch_size is {config.batch_size}, but {len(parts.train)} networks are for training; give at most as many"
        )
    if min(np.ptp(targets[parts.train]), np.ptp(targets[parts.validation])) == 0:
        raise InputError("the target is the same for all networks of the training or of the validation; give another")


def regress(zoo: Zoo, settings: Regression, targets: np.ndarray, parts: Parts) -> Fit:
    """Fit a regression to the training networks of a zoo; see :func:`fit`."""
    features, kind = regression_features(zoo, settings, reference_of(zoo, targets, parts)), kind_of(targets)
    with threadpool_limits(1):  # Threads that wait for a busy core cost more than they bring.
        fitted = kind.fit(settings, features[parts.train], targets[parts.train])
        predictions = kind.regressed(fitted, features)
    learned = Learned(settings, fitted, None, 0.0, 1.0, kind)
    return Fit(predictions[None], targets, parts, float("nan"), np.zeros(1, int), {}, learned)
