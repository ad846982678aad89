"""What makes distilled rows stand for real ones: losses between them, each as one random network sees it.

``distribution``: means of features, a class at a time (DM; Zhao & Bilen 2023, arXiv 2110.04181, equation 5).
``gradient``: gradients of the loss, a class at a time, over kernels alone (DC; Zhao et al. 2021, arXiv 2006.05929,
equations 9 and 10; between matchings the network is trained). ``trajectory``: where a few steps on distilled rows lead,
beside many on real ones (MTT; Cazenavette et al. 2022, arXiv 2203.11932, equation 2).
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from asymjax import trees
from asymjax.errors import InputError
from asymjax.settings import Count, Natural, Positive, Settings
from asymjax.sparse.augmentation import Augment
from asymjax.train.losses import categorical_loglikelihood
from asymjax.types import Array, Frozen, Key, Model, Params, Position, Split

TINY = 1e-6
"""Length below which a gradient has no direction."""


@dataclass(frozen=True)
class MatchingConfig(Settings):
    """What distilled rows are matched by."""

    method: Literal["distribution", "gradient", "trajectory"] = "gradient"
    """What of real and distilled rows is made alike: means of features (DM), gradients (DC, IDC), or where training
    leads (MTT)."""
    distance: Literal["cosine", "squared", "absolute"] = "cosine"
    """Between gradients: one less the cosine of each unit's (DC), the sum of squares, or of absolute values (IDC)."""
    real_per_class: Count = 32
    """Real rows of each class in a batch."""
    augmentations: tuple[str, ...] = ()
    """Changes, one of which all rows of a batch undergo alike, real and distilled: crop, scale, rotate, cutout, flip,
    brightness (images alone)."""
    num_matches: Count = 10
    """Matchings by which a random network is used, and trained between them, before another one is drawn; DM uses each
    once."""
    network_steps: Natural = 10
    """Steps of training between two matchings; of trajectories, those on real rows that distilled ones imitate."""
    student_steps: Count = 5
    """Steps on distilled rows that imitate them, at a learning rate that is learned."""
    network_rows: Literal["distilled", "real"] = "distilled"
    """Rows that networks are trained on between matchings of gradients: distilled (DC) or real (IDC)."""
    network_learning_rate: Positive = 0.1
    """Learning rate of that training, by plain gradient descent."""

    @property
    def trains(self) -> bool:
        """Whether networks are trained between matchings."""
        return self.method != "distribution"

    def unused(self) -> frozenset[str]:
        """Return what has no effect with the method."""
        idle = {
            "distance": self.method != "gradient",
            "network_rows": self.method != "gradient",
            "student_steps": self.method != "trajectory",
            **dict.fromkeys(("num_matches", "network_steps", "network_learning_rate"), not self.trains),
        }
        return frozenset(name for name, is_idle in idle.items() if is_idle)


# Losses of arrays ------------------------------------------------------------------------------------------------


def distribution_loss(real: Array, distilled: Array) -> Array:
    """Return the squared distance of the mean features of each class, summed over classes [].

    Parameters
    ----------
    real, distilled : [classes, rows, ...], rows as many as there are of each.
    """
    return jnp.sum(jnp.square(jnp.mean(real, axis=1) - jnp.mean(distilled, axis=1)))


def _cosine(real: Array, distilled: Array) -> Array:
    """Return one less the cosine between columns [inputs, units], summed over units; 0 of two without length."""
    products = jnp.sum(real * distilled, axis=0) + TINY**2
    lengths = [jnp.sqrt(jnp.sum(jnp.square(one), axis=0) + TINY**2) for one in (real, distilled)]
    return jnp.sum(1 - products / (lengths[0] * lengths[1]))


DISTANCES: dict[str, Callable[[Array, Array], Array]] = {
    "cosine": _cosine,
    "squared": lambda real, distilled: jnp.sum(jnp.square(real - distilled)),
    "absolute": lambda real, distilled: jnp.sum(jnp.abs(real - distilled)),
}
"""Distances of two gradients of a kernel, [inputs, units]."""


def gradient_loss(
    distance: str, real: Mapping[str, Array], distilled: Mapping[str, Array], unit_axes: Mapping[str, tuple[int, ...]]
) -> Array:
    """Return the distance between gradients, summed over kernels [].

    Parameters
    ----------
    distance : a key of ``DISTANCES``.
    real, distilled : path of a kernel -> its gradient.
    unit_axes : path -> the axes of its units, each with a direction of its own.
    """

    def columns(path: str, leaf: Array) -> Array:
        axes = unit_axes[path]
        units = math.prod(leaf.shape[axis] for axis in axes)
        return jnp.moveaxis(leaf, axes, range(leaf.ndim - len(axes), leaf.ndim)).reshape(-1, units)

    parts = [DISTANCES[distance](columns(path, leaf), columns(path, distilled[path])) for path, leaf in real.items()]
    return jnp.sum(jnp.stack(parts))


def trajectory_loss(start: Position, distilled: Position, real: Position) -> Array:
    """Return the squared distance between two ends of training, in units of the way to the real one [].

    1 where the distilled rows move nothing, 0 where they lead to where the real ones do.
    """

    def squared(one: Position, other: Position) -> Array:
        squares = jax.tree.map(lambda a, b: jnp.sum(jnp.square(a - b)), one, other)
        return jnp.sum(jnp.stack(jax.tree.leaves(squares)))

    return squared(distilled, real) / squared(start, real)


def label_cross_entropy(logits: Array, targets: Array) -> Array:
    """Return the mean cross-entropy [] of logits [rows, classes] against class indices [rows] or shares of classes."""
    if targets.ndim == 1:
        return -jnp.mean(categorical_loglikelihood(logits, targets))
    return -jnp.mean(jnp.sum(targets * jax.nn.log_softmax(logits), axis=-1))


def soft_cross_entropy(apply: Callable[..., Array], position: Position, frozen: Frozen, batch: Split) -> Array:
    """Return the mean cross-entropy of a classifier over a batch whose targets may be shares of classes []: a Loss."""
    return label_cross_entropy(apply(position, frozen, batch.inputs), jnp.asarray(batch.targets))


# Of one network --------------------------------------------------------------------------------------------------


class Batches(NamedTuple):
    """Rows, class by class.

    Attributes
    ----------
    inputs : [classes, rows, *input_shape].
    targets : int [classes, rows], or shares of classes [classes, rows, classes].
    """

    inputs: Array
    targets: Array

    def together(self) -> Split:
        """Return the rows of all classes."""
        return Split(*(leaf.reshape(-1, *leaf.shape[2:]) for leaf in self))


# (key, position, frozen, distilled, draw, log_rate) -> (loss [], position of the network when it is used next);
# ``draw`` maps a key to real Batches, ``log_rate`` [] is the logarithm of the learning rate on distilled rows.
Draw = Callable[[Key], Batches]
Match = Callable[[Key, Position, Frozen, Batches, Draw, Array], tuple[Array, Position]]


def _augmented(augment: Augment, key: Key, rows: Any) -> Any:
    """Return Batches or a Split changed alike by one draw."""
    inputs = rows.inputs
    if isinstance(rows, Batches):
        flat = augment(key, inputs.reshape(-1, *inputs.shape[2:]))
        return rows._replace(inputs=flat.reshape(inputs.shape))
    return rows._replace(inputs=augment(key, inputs))


def descend(
    model: Model,
    position: Position,
    frozen: Frozen,
    learning_rate: float | Array,
    keys: Key,
    rows: Callable[[Key], Split],
) -> Position:
    """Train a network by plain gradient descent on the cross-entropy, a step a key.

    Parameters
    ----------
    keys : [steps].
    rows : key -> the rows of a step.
    """

    def step(position: Position, key: Key) -> tuple[Position, None]:
        batch = rows(key)
        grad = jax.grad(lambda at: soft_cross_entropy(model.apply, at, frozen, batch))(position)
        return jax.tree.map(lambda leaf, slope: leaf - learning_rate * slope, position, grad), None

    return lax.scan(step, position, keys)[0]


def _trained_on(rows: Callable[[Key], Batches], augment: Augment) -> Callable[[Key], Split]:
    def draw(key: Key) -> Split:
        own, change = jax.random.split(key)
        return _augmented(augment, change, rows(own).together())

    return draw


def output_kernels(model: Model) -> list[str]:
    """Return the paths of the kernels whose units are outputs."""
    return [path for path, layer in model.layers.items() if layer.role == "kernel" and layer.is_output]


def features(model: Model, params: Params, frozen: Frozen, x: Array) -> Array:
    """Return what enters the output layer of a network [rows, features].

    Raises
    ------
    InputError
        If that cannot be read: the last layer is none that is dense, or the network is not Linen's.
    """
    seen, wanted = model.layer_inputs(params, frozen, x), output_kernels(model)
    found = [seen[path] for path in wanted if path in seen]
    if len(wanted) != 1 or not found:
        raise InputError(
            f"features of this network cannot be read: of its output kernels ({', '.join(wanted) or 'none is known'}) "
            f"inputs are known of {', '.join(seen) or 'none'}; choose the method gradient or trajectory"
        )
    return found[0].reshape(len(x), -1)


def match_distributions(model: Model, config: MatchingConfig, augment: Augment) -> Match:
    """Return the matching of the mean features of random networks."""

    def of_classes(params: Params, frozen: Frozen, inputs: Array) -> Array:
        flat = features(model, params, frozen, inputs.reshape(-1, *inputs.shape[2:]))
        return flat.reshape(*inputs.shape[:2], -1)

    def match(
        key: Key, position: Position, frozen: Frozen, distilled: Batches, draw: Draw, log_rate: Array
    ) -> tuple[Array, Position]:
        own, change = jax.random.split(key)
        params = model.merge(position, frozen)
        both = (_augmented(augment, change, rows) for rows in (draw(own), distilled))
        return distribution_loss(*(of_classes(params, frozen, rows.inputs) for rows in both)), position

    return match


def kernel_gradients(model: Model, params: Params, frozen: Frozen, rows: Split) -> dict[str, Array]:
    """Return the gradient of the cross-entropy with respect to every effective kernel, 0 at what is fixed, by path."""
    leaves = trees.flatten(params)
    kernels = {path: leaves[path] for path, layer in model.layers.items() if layer.role == "kernel"}

    def loss(own: dict[str, Array]) -> Array:
        return label_cross_entropy(
            model.forward(trees.unflatten(leaves | own), frozen, rows.inputs), jnp.asarray(rows.targets)
        )

    found = jax.grad(loss)(kernels)
    if model.free_mask is None:
        return found
    free = trees.flatten(model.free_mask(frozen))
    return {path: jnp.where(free[path], leaf, 0.0) for path, leaf in found.items()}


def match_gradients(model: Model, config: MatchingConfig, augment: Augment) -> Match:
    """Return the matching of gradients, after which a network is trained before it is used again."""
    unit_axes = {path: layer.batch_axes + layer.out_axes for path, layer in model.layers.items()}

    def match(
        key: Key, position: Position, frozen: Frozen, distilled: Batches, draw: Draw, log_rate: Array
    ) -> tuple[Array, Position]:
        own, change, train = jax.random.split(key, 3)
        params = model.merge(position, frozen)
        both = [_augmented(augment, change, rows) for rows in (draw(own), distilled)]

        def of_class(pair: Any) -> Array:
            real, made = (kernel_gradients(model, params, frozen, Split(*rows)) for rows in pair)
            return gradient_loss(config.distance, lax.stop_gradient(real), made, unit_axes)

        loss = jnp.sum(lax.map(of_class, tuple(map(tuple, both))))
        fixed = lax.stop_gradient(distilled)
        rows = draw if config.network_rows == "real" else lambda key: fixed
        keys = jax.random.split(train, config.network_steps)
        rate = config.network_learning_rate
        return loss, descend(model, position, frozen, rate, keys, _trained_on(rows, augment))

    return match


def match_trajectories(model: Model, config: MatchingConfig, augment: Augment) -> Match:
    """Return the matching of where training leads; a network goes on from where real rows led it.

    The learning rate on distilled rows is learned beside them, as in the paper: one that is too high makes the loss
    more than 1, as if it were better not to move.

    Raises
    ------
    InputError
        If there is no step on real rows or on distilled ones.
    """
    for name in ("network_steps", "student_steps"):
        if not getattr(config, name):
            raise InputError(f"{name} is 0; trajectories need one step at least")

    def match(
        key: Key, position: Position, frozen: Frozen, distilled: Batches, draw: Draw, log_rate: Array
    ) -> tuple[Array, Position]:
        expert, student = jax.random.split(key)
        rate = config.network_learning_rate
        keys = jax.random.split(expert, config.network_steps)
        real = descend(model, position, frozen, rate, keys, _trained_on(draw, augment))
        keys = jax.random.split(student, config.student_steps)
        made = descend(model, position, frozen, jnp.exp(log_rate), keys, _trained_on(lambda key: distilled, augment))
        return trajectory_loss(position, made, real), real

    return match


MATCHINGS: dict[str, Callable[[Model, MatchingConfig, Augment], Match]] = {
    "distribution": match_distributions,
    "gradient": match_gradients,
    "trajectory": match_trajectories,
}
"""Ways to match, by name: (model, config, augmentation) -> Match."""
