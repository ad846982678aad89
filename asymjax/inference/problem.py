"""What chains sample: a model, its constants, data and a posterior, gathered once."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from asymjax.errors import InputError, choose
from asymjax.inference.algorithm import Target
from asymjax.inference.posterior import (
    PosteriorConfig,
    make_init,
    make_posterior,
    make_predict,
    num_network_outputs,
    prior_moments,
    widened,
)
from asymjax.models import draw_frozen, vary_frozen
from asymjax.models.config import ModelConfig
from asymjax.train.trainer import Member
from asymjax.types import Array, Dataset, Frozen, Graph, Hyper, Key, Model, Position, Posterior, Split

DENSITY_SETTINGS = ("temperature", "prior_scale")
CHAIN_SETTINGS = dict.fromkeys((*DENSITY_SETTINGS, "mask_seed", "fixed_scale"))
"""Settings that a chain may have of its own."""


class Problem(NamedTuple):
    """What chains sample: everything that a compiled chunk takes as an argument, and the functions in it.

    Attributes
    ----------
    model, task, posterior, frozen, data : the target; ``data`` are the training rows.
    init : (key, frozen) -> position.
    predict : (position, frozen, inputs) -> predictive parameters [rows, ...].
    prior_mean, prior_scale : trees of scalars, one a leaf.
    temperature : the configured one.
    given : what ``posterior.logdensity`` takes after the rows: nothing, or a temperature and a multiple of the
        configured prior scales, which may be traced.
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
    temperature: float
    given: tuple[Any, ...] = ()

    @property
    def shape(self) -> Position:
        """Shape structs of one position."""
        return jax.eval_shape(self.init, jax.random.key(0), self.frozen)

    def having(self, hyper: Hyper) -> "Problem":
        """Return the problem with another density, whose settings may be traced.

        Parameters
        ----------
        hyper : may hold ``temperature`` [] and ``prior_scale`` [], a multiple of the configured scales.
        """
        if not hyper.keys() & set(DENSITY_SETTINGS):
            return self
        factor = hyper.get("prior_scale", 1.0)
        given = (hyper.get("temperature", self.temperature), factor)
        return self._replace(given=given, prior_scale=widened(self.prior_scale, factor))

    def of(self, member: Any, frozen: Frozen) -> tuple[Key, "Problem"]:
        """Return the key of a chain and what it samples, inside a compiled chunk.

        Parameters
        ----------
        member : its key, or a :class:`~asymjax.train.trainer.Member` where it has settings of its own: those of
            :meth:`having` and of :func:`~asymjax.models.vary_frozen`.
        frozen : constants of chains that have none of their own.

        Raises
        ------
        InputError
            If a setting is none that a chain can have.
        """
        if not isinstance(member, Member):
            return member, self._replace(frozen=frozen)
        for name in member.hyper:
            choose(CHAIN_SETTINGS, name, "setting of a chain")
        own = vary_frozen(self.model, frozen, member.hyper)
        return member.key, self.having(member.hyper)._replace(frozen=own)

    def target(self, frozen: Frozen, data: Split) -> Target:
        """Return the density given constants and rows, which may be traced.

        Its ``estimate`` raises InputError for graphs, whose rows cannot be taken apart.
        """
        num_rows = data.targets.shape[0]

        def logdensity(position: Position, batch: Split = data, weight: float = 1.0) -> Array:
            return self.posterior.logdensity(position, frozen, batch, *self.given, weight=weight)

        def estimate(key: Key, position: Position, batch_size: int) -> Array:
            if isinstance(data.inputs, Graph):
                raise InputError("samplers on minibatches need rows that can be drawn; for a graph use runs/bnn_hmc.py")
            rows = jax.random.randint(key, (batch_size,), 0, num_rows)
            batch = jax.tree.map(lambda leaf: leaf[rows], data)
            return logdensity(position, batch=batch, weight=num_rows / batch_size)

        return Target(logdensity, estimate, num_rows, self.prior_scale)


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
        temperature=config.temperature,
    )


def problem_of(model_config: ModelConfig, posterior: PosteriorConfig, dataset: Dataset) -> Problem:
    """Build the model of a posterior on a dataset, draw its constants, and gather what chains sample."""
    num_outputs = num_network_outputs(dataset.task, dataset.num_outputs, posterior)
    model = model_config.build(dataset.input_shape, num_outputs, posterior.scale_of)
    return make_problem(model, dataset.task, posterior, draw_frozen(model, model_config.mask_seed), dataset.train)
