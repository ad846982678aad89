"""How ensembles, or single networks, stand attacks and corruptions of their inputs."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from asymjax.data.corruptions import corrupt
from asymjax.experiments.invariant_paths.subject import Subject
from asymjax.lab.measure import measure_members
from asymjax.paths.attacks import pgd
from asymjax.symmetry.connectivity import Rows, in_batches
from asymjax.train.losses import categorical_loglikelihood
from asymjax.types import Array, Frozen, Position, PyTree

MIN_PER_CHUNK = 4


def measure_ensembles(
    subject: Subject, phase: str, positions: Callable[[np.ndarray], Position], count: int
) -> dict[str, np.ndarray]:
    """Measure ensembles, whose prediction is the mean of their members' probabilities.

    Attacks are made on that prediction, with full knowledge of all members.

    Parameters
    ----------
    subject, phase : the model, the data, and where chunks are committed.
    positions : int [ensemble] -> the members, leaves [ensemble, member, ...].
    count : ensembles.

    Returns
    -------
    Each [ensemble]: ``accuracy``, ``nll`` and ``disagreement``, the share of pairs of members and rows on which they
    name different classes, of test rows, of these under attack (``fgsm.accuracy``, ``pgd.nll``, ...) and of these
    corrupted (``noise.accuracy``, ...).
    """
    study, model = subject.config.study, subject.model

    def measure(members: Position, frozen: Frozen, rows: dict[str, Rows]) -> PyTree:
        def log_probabilities(inputs: Array) -> Array:
            return jax.vmap(lambda position: jax.nn.log_softmax(model.apply(position, frozen, inputs)))(members)

        def of_batch(batch: tuple[Array, Array, Array], attack: Callable) -> dict[str, Array]:
            inputs, labels, is_row = batch

            def loss(inputs: Array) -> Array:
                return -jnp.sum(categorical_loglikelihood(_mixed(log_probabilities(inputs)), labels))

            scores = _row_scores(log_probabilities(attack(loss, inputs)), labels)
            return {name: jnp.sum(jnp.where(is_row, values, 0)) for name, values in scores.items()}

        def scored(rows: Rows, attack: Callable) -> dict[str, Array]:
            sums = jax.lax.map(lambda batch: of_batch(batch, attack), _batches(rows))
            return {name: jnp.sum(values) / len(rows.targets) for name, values in sums.items()}

        found = {("" if name == "test" else f"{name}."): scored(own, _as_it_is) for name, own in rows.items()}
        for name, steps in {"fgsm.": 1, "pgd.": study.attack_steps}.items():
            found[name] = scored(rows["test"], lambda loss, x, steps=steps: pgd(loss, x, study.radius, steps))
        return {f"{kind}{name}": value for kind, scores in found.items() for name, value in scores.items()}

    test = subject.dataset.test
    rows = {"test": in_batches(test)} | {name: in_batches(corrupt(test, name)) for name in study.corruptions}
    return measure_members(
        subject.run,
        phase,
        measure,
        lambda index: [positions(index)],
        (subject.frozen, rows),
        count,
        MIN_PER_CHUNK,
        "ensembles",
        subject.config.run,
    )


def _as_it_is(loss: Callable, inputs: Array) -> Array:
    return inputs


def _mixed(log_probabilities: Array) -> Array:
    """Return the log of mean probabilities [rows, classes] of [member, rows, classes]."""
    return jax.nn.logsumexp(log_probabilities, axis=0) - jnp.log(len(log_probabilities))


def _row_scores(log_probabilities: Array, labels: Array) -> dict[str, Array]:
    """Score an ensemble row by row."""
    count, mixed = len(log_probabilities), _mixed(log_probabilities)
    votes = jnp.sum(jax.nn.one_hot(jnp.argmax(log_probabilities, axis=-1), mixed.shape[-1]), axis=0)
    same = jnp.sum(votes * (votes - 1), axis=-1) / max(1, count * (count - 1))
    return {
        "accuracy": (jnp.argmax(mixed, axis=-1) == labels).astype(mixed.dtype),
        "nll": -categorical_loglikelihood(mixed, labels),
        "disagreement": 1 - same if count > 1 else jnp.zeros_like(same),
    }


def _batches(rows: Rows) -> tuple[Array, Array, Array]:
    """Return inputs, labels and whether a row is one, each [batch, row, ...]."""
    num_batches, size = rows.inputs.shape[:2]
    missing = num_batches * size - len(rows.targets)
    is_row = jnp.arange(num_batches * size) < len(rows.targets)
    labels = jnp.pad(rows.targets, (0, missing))
    return jnp.asarray(rows.inputs), labels.reshape(num_batches, size), is_row.reshape(num_batches, size)
