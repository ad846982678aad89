"""Posteriors and chains in memory: what the scripts run, without a run directory."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from numpy.typing import ArrayLike

from asymjax import rng, trees
from asymjax.data.arrays import plain_array
from asymjax.diagnostics.convergence import per_coordinate
from asymjax.errors import InputError
from asymjax.inference.algorithm import Algorithm
from asymjax.inference.kernels import persistent_shape
from asymjax.inference.posterior import Posterior, from_logdensity
from asymjax.inference.samplers import NUTS
from asymjax.inference.starts import Start
from asymjax.inference.vi import MeanField
from asymjax.lab import devices
from asymjax.lab.chains import ChainsConfig, sample_chains, warm_up
from asymjax.lab.recorder import InMemory
from asymjax.lab.starts import find_start
from asymjax.types import Array, Graph, Info, Key, Position, PyTree

ROLES = ("init", "warmup", "sample")
TOLD = ("logdensity", *Info._fields)
DEFAULT_SAMPLER, DEFAULT_FAMILY, DEFAULT_START = NUTS(), MeanField(), Start()


class Draws(NamedTuple):
    """Draws of several chains, host arrays.

    Attributes
    ----------
    draws : by name, [chain, draw, ...]: what was kept, as ``position/dense_0/kernel``; ``logdensity``; and
        ``acceptance_rate``, ``is_divergent``, ``num_grad_evals``, ``energy_change`` of all steps of a draw.
    kept : what was kept, as a tree, leaves [chain, draw, ...].
    tuned : what warmup tuned, [chain, ...].
    optima : the optima that were trained, [chain, ...]; None where none were.
    posterior : what was sampled.
    """

    draws: dict[str, np.ndarray]
    kept: PyTree
    tuned: Any
    optima: Position | None
    posterior: Posterior

    @property
    def position(self) -> Any:
        """Positions, leaves [chain, draw, ...].

        Raises
        ------
        InputError
            If they were not kept.
        """
        if not (isinstance(self.kept, dict) and "position" in self.kept):
            raise InputError("positions were not kept; let keep return {'position': position, ...}")
        return self.kept["position"]

    def predict(self, inputs: Any) -> np.ndarray:
        """Return what each draw predicts [chain, draw, row, ...]: class probabilities, or means in the units of y.

        Parameters
        ----------
        inputs : [rows, ...], raw if the posterior was made with ``standardise``.

        Raises
        ------
        InputError
            If what was sampled is no network, positions were not kept, or inputs are damaged.
        """
        posterior = self.posterior
        if posterior.predict is None:
            raise InputError("a log density predicts nothing; sample a posterior, as of asymjax.make_posterior")
        seen = inputs if isinstance(inputs, Graph) else posterior.units.see(inputs, posterior.model.example)
        means = _predict(posterior.predict, posterior.likelihood, self.position, posterior.frozen, seen)
        return np.asarray(means) * posterior.units.target_scale + posterior.units.target_mean

    def to_datatree(self) -> Any:
        """Return an ``xarray.DataTree`` of groups and names that ArviZ reads."""
        from asymjax.diagnostics.datatree import to_datatree

        return to_datatree(self.draws)


@partial(jax.jit, static_argnums=(0, 1))
def _predict(predict: Callable, likelihood: Any, positions: Position, frozen: PyTree, inputs: Any) -> Array:
    def one(position: Position) -> Array:
        return likelihood.mean(predict(position, frozen, inputs))

    return lax.map(partial(lax.map, one), positions)


def sample(
    key: Key,
    target: Posterior | Callable[[Any], Array],
    position: Any = None,
    *,
    sampler: Algorithm = DEFAULT_SAMPLER,
    num_chains: int = 4,
    num_draws: int = 500,
    start: Start | PyTree = DEFAULT_START,
    keep: Callable[[Any], PyTree] | None = None,
    show_progress: bool = True,
) -> Draws:
    """Sample a posterior, or any log density, by several chains; all in memory.

    The compiled chunks, their keys and their placement are those of the scripts in ``runs/``: with
    ``key = jax.random.key(seed)`` the draws are those of the script with that ``init_seed`` and ``seed``.

    Parameters
    ----------
    key : of all randomness, ``jax.random.key(0)``.
    target : a posterior, as of :func:`~asymjax.make_posterior`; or a function (position) -> log density [].
    position : with a function, a tree of floating arrays: one position, where every chain starts.
    sampler : one of those of ``asymjax.inference``, with its settings.
    num_chains, num_draws : chains, and kept draws of each.
    start : where the chains of a posterior start, by default each near a draw of the prior; or positions, leaves
        [num_chains, ...], without which all chains of a function start at its position.
    keep : (position) -> what to keep of a draw, a tree; ``{"position": position}`` by default. It is compiled with the
        steps, so what is large and not kept is never stored.
    show_progress : whether to show a bar for each phase.

    Raises
    ------
    InputError
        If settings cannot be met.
    DivergedError
        If a log density is not finite; names the chain and the draw.

    Examples
    --------
    >>> import jax, jax.numpy as jnp, asymjax
    >>> def logdensity(x):
    ...     return -0.5 * jnp.sum((x - 1.0) ** 2)
    >>> key, sampler = jax.random.key(0), asymjax.HMC(num_warmup=20)
    >>> options = {"sampler": sampler, "num_chains": 2, "num_draws": 50, "show_progress": False}
    >>> result = asymjax.sample(key, logdensity, jnp.zeros(2), **options)
    >>> result.position.shape
    (2, 50, 2)
    """
    if not isinstance(sampler, Algorithm):
        raise InputError(f"sampler is {sampler!r}; give a sampler with its settings, as asymjax.NUTS()")
    ChainsConfig.require("num_draws", num_draws)
    sampler.check(num_draws, num_chains)
    posterior = _posterior_of(target, position)
    keep = keep or (lambda position: {"position": position})
    struct = _structure_of_kept(keep, posterior)
    run, placement = InMemory(show_progress), devices.place(num_chains)
    keys = {role: rng.member_keys(rng.named_key(rng.checked_key(key), role), num_chains) for role in ROLES}
    optima = None
    if not isinstance(start, Start):
        first = _checked_starts(start, posterior, num_chains)
    elif posterior.model is None:
        if start != DEFAULT_START:
            raise InputError("a log density has no prior and no optima to start from; give starts as start=positions")
        first = jax.tree.map(lambda leaf: jnp.stack([leaf] * num_chains), posterior.prior_mean)
    else:
        persistent_shape(posterior, sampler)  # Before optima are trained, for this refuses what cannot be.
        starts = keys["init"][: start.num_starts(num_chains)]
        optima, first = find_start(run, posterior, starts, placement, start)
    first, tuned = warm_up(run, posterior, keys["warmup"], first, placement, sampler)
    tuned = trees.to_host(tuned)

    def kept(position: Any, own: Posterior, inputs: PyTree) -> dict[str, Any]:
        return _named(keep(position))

    sample_chains(run, posterior, keys["sample"], first, tuned, (), placement, sampler, num_draws, kept)
    draws = run.draws
    leaves = [draws[name] for name in trees.named_leaves(struct)]
    return Draws(draws, jax.tree.unflatten(jax.tree.structure(struct), leaves), tuned, optima, posterior)


def fit(
    key: Key,
    target: Posterior | Callable[[Any], Array],
    position: Any = None,
    *,
    family: Algorithm = DEFAULT_FAMILY,
    num_fits: int = 4,
    num_draws: int = 500,
    start: Start | PyTree = DEFAULT_START,
    keep: Callable[[Any], PyTree] | None = None,
    show_progress: bool = True,
) -> Draws:
    """Fit variational densities to a posterior, or to any log density, from several seeds, and draw from each.

    As :func:`sample`, with a family of ``asymjax.inference.vi`` in place of a sampler: chains are fits, and draws are
    independent draws of these. ``tuned`` has their bounds on the evidence [fit], ``elbo`` with its standard error
    ``elbo_error``, and their parameters.

    Raises
    ------
    InputError
        If settings cannot be met, or the family does not apply; with the reason.
    DivergedError
        If a bound is not finite; names the fit and the step.

    Examples
    --------
    >>> import jax, jax.numpy as jnp, asymjax
    >>> def logdensity(x):
    ...     return -0.5 * jnp.sum(((x - 1.0) / 0.5) ** 2)
    >>> options = {"num_fits": 2, "num_draws": 50, "show_progress": False}
    >>> result = asymjax.fit(jax.random.key(0), logdensity, jnp.zeros(2), **options)
    >>> result.tuned.elbo.shape
    (2,)
    """
    if not (isinstance(family, Algorithm) and family.is_fit):
        raise InputError(f"family is {family!r}; give a family with its settings, as asymjax.MeanField()")
    options: dict[str, Any] = {"num_draws": num_draws, "start": start, "keep": keep, "show_progress": show_progress}
    return sample(key, target, position, sampler=family, num_chains=num_fits, **options)


def _posterior_of(target: Any, position: Any) -> Posterior:
    if isinstance(target, Posterior):
        if position is not None:
            raise InputError("a posterior says itself what a position is; give starts as start=positions")
        return target
    if not callable(target) or position is None:
        raise InputError("give a posterior, or a function (position) -> log density and a position to start from")
    for path, leaf in trees.named_leaves(position).items():
        if not jnp.issubdtype(jnp.asarray(leaf).dtype, jnp.floating):
            raise InputError(f"position {path} holds {jnp.asarray(leaf).dtype}; give floating numbers")
    posterior = from_logdensity(target, position)
    value = jax.eval_shape(target, posterior.shape)
    if getattr(value, "shape", None) != () or not jnp.issubdtype(value.dtype, jnp.floating):
        raise InputError(f"the log density returns {value}; give a function that returns one floating number []")
    return posterior


def _named(kept: Any) -> dict[str, Any]:
    return kept if isinstance(kept, dict) else {"kept": kept}


def _structure_of_kept(keep: Callable, posterior: Posterior) -> dict[str, Any]:
    struct = _named(jax.eval_shape(keep, posterior.shape))
    taken = sorted(struct.keys() & set(TOLD))
    if taken:
        raise InputError(f"keep returns {', '.join(taken)}, which every draw tells itself; choose other names")
    return struct


def _checked_starts(start: Any, posterior: Posterior, num_chains: int) -> Any:
    wanted = jax.tree.map(lambda leaf: (num_chains, *leaf.shape), posterior.shape)
    given = jax.tree.map(jnp.shape, start)
    if given != wanted:
        raise InputError(f"start has leaves {given}; give positions of {num_chains} chains, {wanted}, or asymjax.Start")
    return jax.tree.map(lambda leaf, like: jnp.asarray(leaf, like.dtype), start, posterior.shape)


def rhat(draws: ArrayLike) -> np.ndarray:
    """Return R-hat of every coordinate of draws [chain, draw, ...]: rank-normalised, split and folded, float64 [...].

    Of weights it says whether chains agree on coordinates, which permuted networks do not; of predictions, whether they
    agree on functions.

    Examples
    --------
    >>> import numpy as np, asymjax
    >>> bool(asymjax.rhat(np.random.default_rng(0).normal(size=(4, 200, 3))).max() < 1.05)
    True
    """
    return per_coordinate(plain_array(draws, "draws"))["rhat"]


def ess(draws: ArrayLike) -> np.ndarray:
    """Return the bulk effective sample size of every coordinate of draws [chain, draw, ...], float64 [...].

    Examples
    --------
    >>> import numpy as np, asymjax
    >>> asymjax.ess(np.random.default_rng(0).normal(size=(4, 200, 3))).shape
    (3,)
    """
    return per_coordinate(plain_array(draws, "draws"))["ess_bulk"]
