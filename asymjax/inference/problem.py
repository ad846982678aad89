"""What chains sample: a model, its constants, data and a posterior, gathered once."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from asymjax.config import ModelConfig, PosteriorConfig
from asymjax.errors import InputError
from asymjax.inference.algorithm import Target
from asymjax.inference.posterior import make_init, make_posterior, make_predict, num_network_outputs, prior_moments
from asymjax.models import build_model, draw_frozen
from asymjax.types import Array, Dataset, Frozen, Graph, Key, Model, Position, Posterior, Split


class Problem(NamedTuple):
    """What chains sample: everything that a compiled chunk takes as an argument, and the functions in it.

    Attributes
    ----------
    model, task, posterior, frozen, data : the target; ``data`` are the training rows.
    init : (key, frozen) -> position.
    predict : (position, frozen, inputs) -> predictive parameters [rows, ...].
    prior_mean, prior_scale : trees of scalars, one a leaf.
    """

    model: Model
    task: str
    posterior: Posterior
    frozen: Frozen
    data: Split
    init: Callable[[Key, Frozen], Position]
    predict: Callable[[Position, Frozen, Array], Array]
    prior_mean: Any
    prior_scale: Any

    @property
    def shape(self) -> Position:
        """Shape structs of one position."""
        return jax.eval_shape(self.init, jax.random.key(0), self.frozen)

    def target(self, frozen: Frozen, data: Split) -> Target:
        """Return the density given constants and rows, which may be traced.

        Its ``estimate`` raises InputError for graphs, whose rows cannot be taken apart.
        """
        num_rows = data.targets.shape[0]
        logdensity = partial(self.posterior.logdensity, frozen=frozen)

        def estimate(key: Key, position: Position, batch_size: int) -> Array:
            if isinstance(data.inputs, Graph):
                raise InputError("samplers on minibatches need rows that can be drawn; for a graph use runs/bnn_hmc.py")
            rows = jax.random.randint(key, (batch_size,), 0, num_rows)
            batch = jax.tree.map(lambda leaf: leaf[rows], data)
            return logdensity(position, batch=batch, weight=num_rows / batch_size)

        return Target(partial(logdensity, batch=data), estimate, num_rows, self.prior_scale)


def make_problem(model: Model, task: str, config: PosteriorConfig, frozen: Frozen, data: Split) -> Problem:
    """Gather what chains sample."""
    init = make_init(model, task, config)
    like = jax.eval_shape(init, jax.random.key(0), frozen)
    mean, scale = prior_moments(model, config, like)
    return Problem(
        model=model,
        task=task,
        posterior=make_posterior(model, task, config, like),
        frozen=frozen,
        data=jax.tree.map(jnp.asarray, data),
        init=init,
        predict=make_predict(model, task, config),
        prior_mean=mean,
        prior_scale=scale,
    )


def problem_of(model_config: ModelConfig, posterior: PosteriorConfig, dataset: Dataset) -> Problem:
    """Build the model of a posterior on a dataset, draw its constants, and gather what chains sample."""
    num_outputs = num_network_outputs(dataset.task, dataset.num_outputs, posterior)
    model = build_model(model_config, dataset.input_shape, num_outputs, posterior)
    return make_problem(model, dataset.task, posterior, draw_frozen(model, model_config.mask_seed), dataset.train)
