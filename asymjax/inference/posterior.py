"""What chains sample: the posterior of a network, or any log density, with what a compiled chunk takes as arguments.

One convention: log density = (log prior + log likelihood of all rows) / temperature, with the normalised Gaussian
prior. Temperature is applied here and nowhere else; samplers always run at temperature 1.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from asymjax import rng, trees
from asymjax.data.arrays import Units, are_classes, check_split, read_arrays
from asymjax.errors import InputError, choose
from asymjax.inference.algorithm import Target
from asymjax.inference.coordinates import Coordinates, make_centred
from asymjax.inference.likelihoods import (
    LIKELIHOODS,
    NOISE_PATH,
    NOISE_PRIOR_MEAN,
    NOISE_PRIOR_SCALE,
    Categorical,
    Gaussian,
    Likelihood,
)
from asymjax.models import ModelConfig, checked_frozen, draw_frozen, vary_frozen
from asymjax.priors import OUTPUT_SCALES, NormalPrior
from asymjax.settings import Positive, Settings
from asymjax.train.trainer import Member
from asymjax.types import Array, Dataset, Frozen, Graph, Hyper, Key, Model, Position, PyTree, Split

DEFAULT_PRIOR = NormalPrior()
DENSITY_SETTINGS = ("temperature", "prior_scale")
CHAIN_SETTINGS = dict.fromkeys((*DENSITY_SETTINGS, "mask_seed", "fixed_scale"))
"""Settings that a chain may have of its own."""


class Posterior(NamedTuple):
    """What chains sample: pure functions, and the constants and rows that compiled chunks take as arguments.

    Attributes
    ----------
    logdensity : (position, frozen, batch, temperature, prior_scale, weight=1.0) -> [] unnormalised log density, every
        row counted ``weight`` times; every argument may be traced. Temperature and prior scale are
        those configured unless given.
    frozen, data : constants of the network, and training rows, a ``Split``; None where there are none.
    init : (key, frozen) -> position.
    prior_mean, prior_scale : trees of numbers, one a leaf.
    temperature : of prior and likelihood, which may be traced.
    model, likelihood : the network, and what its outputs say of targets; None for a density that is no network's.
    logprior : (position, prior_scale=1.0) -> [] ; None likewise.
    loglikelihood : (position, frozen, batch) -> [rows], one number an example; None likewise.
    predict : (position, frozen, inputs) -> parameters of the predictive distribution [rows, ...]: logits, or mean and
        log noise scale side by side. None likewise.
    given : what ``logdensity`` takes after the rows: nothing, or a temperature and a multiple of the configured prior
        scales, which may be traced.
    units : what raw inputs and targets are to the network.
    centred : coordinates in which biases are counted from the mean of what they are added to; None where none can.
    """

    logdensity: Callable[..., Array]
    frozen: Frozen
    data: Any
    init: Callable[[Key, Frozen], Position]
    prior_mean: PyTree
    prior_scale: PyTree
    temperature: float | Array = 1.0
    model: Any = None
    likelihood: Any = None
    logprior: Any = None
    loglikelihood: Any = None
    predict: Any = None
    given: tuple[Any, ...] = ()
    units: Units = Units()
    centred: Coordinates | None = None

    @property
    def shape(self) -> Position:
        """Shape structs of one position."""
        return jax.eval_shape(self.init, jax.random.key(0), self.frozen)

    def having(self, hyper: Hyper) -> "Posterior":
        """Return the posterior with another density, whose settings may be traced.

        Parameters
        ----------
        hyper : may hold ``temperature`` [] and ``prior_scale`` [], a multiple of the configured scales.
        """
        if not hyper.keys() & set(DENSITY_SETTINGS):
            return self
        factor = hyper.get("prior_scale", 1.0)
        temperature = hyper.get("temperature", self.temperature)
        scale = widened(self.prior_scale, factor)
        return self._replace(given=(temperature, factor), prior_scale=scale, temperature=temperature)

    def of(self, member: Any, frozen: Frozen, data: Split | None) -> tuple[Key, "Posterior"]:
        """Return the key of a chain and what it samples, inside a compiled chunk.

        Parameters
        ----------
        member : its key, or a :class:`~asymjax.train.trainer.Member` where it has settings of its own: those of
            :meth:`having` and of :func:`~asymjax.models.vary_frozen`.
        frozen, data : constants of chains that have none of their own, and rows.

        Raises
        ------
        InputError
            If a setting is none that a chain can have.
        """
        if not isinstance(member, Member):
            return member, self._replace(frozen=frozen, data=data)
        for name in member.hyper:
            choose(CHAIN_SETTINGS, name, "setting of a chain")
        own = vary_frozen(self.model, frozen, member.hyper)
        return member.key, self.having(member.hyper)._replace(frozen=own, data=data)

    def target(self, *, is_centred: bool = False) -> Target:
        """Return the density of one chain, among positions or in ``centred`` coordinates, where there are any.

        Its ``estimate`` is among positions, and raises InputError where there are no rows that can be taken apart.
        """
        num_rows = 1 if self.data is None else self.data.targets.shape[0]

        def logdensity(position: Position, batch: Split | None = self.data, weight: float = 1.0) -> Array:
            return self.logdensity(position, self.frozen, batch, *self.given, weight=weight)

        def estimate(key: Key, position: Position, batch_size: int) -> Array:
            if self.data is None:
                raise InputError("samplers on minibatches need rows; give a posterior, or take another sampler")
            if isinstance(self.data.inputs, Graph):
                raise InputError("samplers on minibatches need rows that can be drawn; for a graph use runs/bnn_hmc.py")
            rows = jax.random.randint(key, (batch_size,), 0, num_rows)
            batch = jax.tree.map(lambda leaf: leaf[rows], self.data)
            return logdensity(position, batch=batch, weight=num_rows / batch_size)

        target = Target(logdensity, estimate, num_rows, self.prior_scale, posterior=self)
        if self.centred is None or not is_centred:
            return target
        enter, leave, density = (partial(self._of_rows, function) for function in self.centred)
        return target._replace(enter=enter, leave=leave, logdensity=partial(density, given=self.given))

    def _of_rows(self, function: Callable, position: Position, given: tuple[Any, ...] = ()) -> Any:
        return function(position, self.frozen, self.data, *given)


def from_logdensity(logdensity: Callable[[Any], Array], position: Any) -> Posterior:
    """Return any log density as what chains sample.

    Parameters
    ----------
    logdensity : (position) -> [].
    position : any tree of arrays; where chains start, with coordinates whose scales are about 1.
    """
    like = jax.tree.map(jnp.asarray, position)

    def of_rows(position: Any, frozen: Frozen, batch: None, weight: float = 1.0) -> Array:
        return logdensity(position)

    ones = jax.tree.map(lambda leaf: 1.0, like)
    return Posterior(of_rows, {}, None, lambda key, frozen: like, prior_mean=like, prior_scale=ones)


def leaf_scales(model: Model, prior: NormalPrior, like: Position) -> tuple[PyTree, PyTree]:
    """Return mean and standard deviation of the prior of the leaves of a position, one number each.

    The one place that asks what a leaf is: a kernel, a norm or of the last layer.
    """
    mean, scale = {}, {}
    for path in trees.flatten(like):
        if path == NOISE_PATH:
            mean[path], scale[path] = NOISE_PRIOR_MEAN, NOISE_PRIOR_SCALE
        else:
            mean[path], scale[path] = prior.mean_of(model.layers[path]), prior.scale_of(model.layers[path])
    return trees.unflatten(mean), trees.unflatten(scale)


def widened(prior_scale: PyTree, factor: Any) -> PyTree:
    """Return standard deviations of a prior ``factor`` times as large, but for that of a learned noise scale."""
    scales = trees.flatten(prior_scale)
    return trees.unflatten({path: value if path == NOISE_PATH else value * factor for path, value in scales.items()})


def _gaussian_logprior(position: Position, mean: PyTree, scale: PyTree) -> Array:
    def leaf_logprior(leaf: Array, mean: float, scale: Any) -> Array:
        standardised = (leaf - mean) / scale
        return -0.5 * jnp.sum(jnp.square(standardised)) - leaf.size * (jnp.log(scale) + 0.5 * math.log(2 * math.pi))

    return jnp.sum(jnp.stack(jax.tree.leaves(jax.tree.map(leaf_logprior, position, mean, scale))))


def draw_prior(key: Key, mean: PyTree, scale: PyTree, like: Position) -> Position:
    """Draw a position from the prior, with the shapes of ``like``."""
    mean, scale = trees.flatten(mean), trees.flatten(scale)
    return trees.unflatten(
        {
            path: mean[path] + scale[path] * jax.random.normal(rng.named_key(key, path), leaf.shape)
            for path, leaf in trees.flatten(like).items()
        }
    )


def make_posterior(
    model: Model,
    data: Any,
    prior: NormalPrior = DEFAULT_PRIOR,
    likelihood: Likelihood | str | None = None,
    temperature: float = 1.0,
    frozen: Frozen | None = None,
    standardise: bool = False,
) -> Posterior:
    """Build the posterior of a network.

    Parameters
    ----------
    model : the network.
    data : ``(X, y)``, arrays of yours: inputs [rows, ...] or a tree of them as the network takes it, and class indices
        [rows], or numbers [rows] or [rows, targets]; or a :class:`~asymjax.types.Split`, whose inputs are taken as they
        are; or the training rows of a ``Dataset``.
    prior : that of the network's parameters.
    likelihood : what outputs say of targets, ``"categorical"`` or ``"gaussian"`` for the defaults of each. By default
        categorical where targets are whole numbers or booleans by their type, Gaussian where they are not.
    temperature : T in exp(log density / T), over prior and likelihood; below 1 is a cold posterior.
    frozen : constants of the network. Default: those of mask seed 0.
    standardise : let the network see inputs, and numbers as targets, with mean 0 and standard deviation 1; predictions
        take raw inputs and are in the units of y.

    Raises
    ------
    InputError
        If data are damaged, which names row and column; settings cannot be; or the network has not the outputs that the
        likelihood takes.

    Examples
    --------
    >>> import jax, numpy as np, asymjax
    >>> from flax import linen as nn
    >>> model = asymjax.from_flax(nn.Sequential([nn.Dense(4), nn.relu, nn.Dense(1)]), np.zeros((2, 2), np.float32))
    >>> X = np.random.default_rng(0).normal(size=(20, 2))
    >>> posterior = asymjax.make_posterior(model, (X, X[:, 0]), likelihood=asymjax.Gaussian(noise="fixed"))
    >>> position = posterior.init(jax.random.key(0), posterior.frozen)
    >>> float(posterior.logdensity(position, posterior.frozen, posterior.data)) < 0
    True
    """
    split, kind, units = read_rows(model, data, likelihood, standardise)
    PosteriorConfig.require("temperature", temperature)
    frozen = checked_frozen(model, frozen)

    def init(key: Key, frozen: Frozen) -> Position:
        return model.init(key, frozen) | kind.init()

    mean, scale = leaf_scales(model, prior.for_task(kind.task), jax.eval_shape(init, jax.random.key(0), frozen))

    def logprior(position: Position, prior_scale: Any = 1.0) -> Array:
        """Return the log prior; ``prior_scale`` multiplies every configured scale but the noise's."""
        return _gaussian_logprior(position, mean, widened(scale, prior_scale))

    def predict(position: Position, frozen: Frozen, inputs: Any) -> Array:
        return kind.predictive(position, model.apply(position, frozen, inputs))

    def loglikelihood(position: Position, frozen: Frozen, batch: Split) -> Array:
        return kind.loglikelihood(predict(position, frozen, batch.inputs), batch.targets)  # type: ignore[arg-type]

    def logdensity(
        position: Position,
        frozen: Frozen,
        batch: Split,
        temperature: Any = temperature,
        prior_scale: Any = 1.0,
        weight: float = 1.0,
    ) -> Array:
        total = logprior(position, prior_scale) + weight * jnp.sum(loglikelihood(position, frozen, batch))
        return total / temperature

    return Posterior(
        logdensity=logdensity,
        frozen=frozen,
        data=jax.tree.map(jnp.asarray, split),
        init=init,
        prior_mean=mean,
        prior_scale=scale,
        temperature=temperature,
        model=model,
        likelihood=kind,
        logprior=logprior,
        loglikelihood=loglikelihood,
        predict=predict,
        units=units,
        centred=make_centred(model, kind, logprior, temperature, frozen, split),
    )


def read_rows(
    model: Model, data: Any, likelihood: Likelihood | str | None = None, standardise: bool = False
) -> tuple[Split, Likelihood, Units]:
    """Return rows as a network sees them, their likelihood and units, of what :func:`make_posterior` takes.

    Raises
    ------
    InputError
        If data are damaged, or the network has not the outputs that the likelihood takes.
    """
    if isinstance(data, Dataset):
        data = data.train
    if not (isinstance(data, tuple | list) and len(data) == 2):
        raise InputError(f"data are a {type(data).__name__}; give (inputs, targets), or a Dataset")
    inputs, targets = data
    if likelihood is None:
        likelihood = "categorical" if are_classes(targets) else "gaussian"
    kind = choose(LIKELIHOODS, likelihood, "likelihood")() if isinstance(likelihood, str) else likelihood
    frozen = jax.eval_shape(model.freeze, jax.random.key(0))
    position = jax.eval_shape(model.init, jax.random.key(0), frozen)
    example = inputs if isinstance(data, Split) else model.example
    num_rows, *_, num_outputs = jax.eval_shape(model.apply, position, frozen, example).shape
    num_classes = num_outputs if isinstance(kind, Categorical) else None
    if isinstance(data, Split):
        check_split(data, num_rows, num_classes)
        split, units = data, Units()
    else:
        split, units = read_arrays(inputs, targets, model.example, num_classes, standardise)
    needed = num_outputs if num_classes else kind.num_network_outputs(split.targets.shape[-1])
    if needed != num_outputs:
        raise InputError(
            f"the network has {num_outputs} outputs; {split.targets.shape[-1]} targets with {_noise_of(kind)} noise "
            f"take {needed}"
        )
    return split, kind, units


def _noise_of(kind: Likelihood) -> str:
    return kind.noise if isinstance(kind, Gaussian) else type(kind).__name__


@dataclass(frozen=True)
class PosteriorConfig(Settings):
    """Prior, likelihood and temperature."""

    prior: Literal["fan_in", "fan_out", "isotropic"] = "fan_in"
    """Gaussian prior of kernels: standard deviation prior_scale / sqrt(fan_in), or prior_scale; biases have
    prior_scale. With fan_out kernels and biases have prior_scale / sqrt(units of the layer), as in the perceptrons of
    Lim et al. (2024), whose scale is 10."""
    prior_scale: Positive = 1.0
    """Standard deviation of the prior, in the units of ``prior``."""
    output_prior_scale: Positive | None = None
    """The same of the last kernel, as a multiple of prior_scale: the amplitude of the outputs. Default: 20 for
    classification, whose labels are nearly certain; 1 for regression."""
    norm_prior_scale: Positive = 0.2
    """The same of norm scales (around 1) and norm biases (around 0), as a multiple of prior_scale."""
    noise: Literal["heteroscedastic", "learned", "fixed"] = "heteroscedastic"
    """Regression noise: a second output of the network, one learned scale, or noise_scale."""
    noise_scale: Positive = 0.1
    """Standard deviation of the noise in standardised units, where noise is fixed."""
    temperature: Positive = 1.0
    """T in exp(log density / T), over prior and likelihood; below 1 is a cold posterior."""

    @property
    def normal_prior(self) -> NormalPrior:
        """The prior of the parameters."""
        output_scale = 1.0 if self.output_prior_scale is None else self.output_prior_scale
        return NormalPrior(self.prior, self.prior_scale, output_scale, self.norm_prior_scale)

    def has_scale_head(self, task: str) -> bool:
        """Return whether the noise scale is an output of the network."""
        return task == "regression" and self.noise == "heteroscedastic"

    def for_task(self, task: str) -> "PosteriorConfig":
        """Fill in the defaults that depend on the task."""
        return self if self.output_prior_scale is not None else replace(self, output_prior_scale=OUTPUT_SCALES[task])

    def unused(self) -> frozenset[str]:
        """Return the noise scale where the noise is not fixed."""
        return frozenset() if self.noise == "fixed" else frozenset({"noise_scale"})

    def likelihood(self, task: str) -> Likelihood:
        """Return the likelihood of a task."""
        return Categorical() if task == "classification" else Gaussian(self.noise, self.noise_scale)

    def of(self, model: Model, task: str, frozen: Frozen, data: Split) -> Posterior:
        """Return the posterior of a network, with the task's defaults filled in by the caller."""
        return make_posterior(model, data, self.normal_prior, self.likelihood(task), self.temperature, frozen)

    def build(self, config: ModelConfig, dataset: Dataset) -> Posterior:
        """Build a model for a dataset, draw its constants, and return its posterior."""
        num_outputs = self.likelihood(dataset.task).num_network_outputs(dataset.num_outputs)
        model = config.build(dataset.input_shape, num_outputs, self.normal_prior)
        return self.of(model, dataset.task, draw_frozen(model, config.mask_seed), dataset.train)
