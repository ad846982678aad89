"""What families share, layer by layer: the bound at the end and the draws; steps of Adam; stochastic gradients.

Warmup is the fit, and draws are independent draws of what was fitted: no chain walks, and R-hat and ESS say how well
the fits of several seeds agree, and nothing of how near they are to the posterior. For that there is the bound.
"""

from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, ClassVar, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from asymjax import rng, trees
from asymjax.axes import perms_of
from asymjax.divisors import largest_divisor
from asymjax.inference.algorithm import Algorithm, Stage, Target, make_info
from asymjax.inference.samplers.gradients import unwhiten, whiten
from asymjax.inference.vi.family import Family, Joint, bound, kl_of_entries, make_joint
from asymjax.inference.vi.group import Group, draw_element, group_of, information
from asymjax.settings import Count, Positive
from asymjax.symmetry.groups import unit_sums, whole_units
from asymjax.symmetry.permutations import tree_spec
from asymjax.types import Array, Info, Key, Position, PyTree, Sampler

NUM_CHUNKS = 10
COLLAPSED_NATS = 0.1
"""A unit whose entries are nearer to the prior than this is said to have collapsed onto it."""


class Fitted(NamedTuple):
    """What a fit ends with; numbers are [] and in nats.

    Attributes
    ----------
    params : parameters of the family.
    elbo, elbo_error : the bound over all rows, and the standard error of its estimate; NaN for draws without a density.
    kl : of the family to the prior, without symmetrisation; NaN for a log density, which has none.
    information : what symmetrisation or the copies of an ordered family add, part of ``elbo``; else 0.
    num_collapsed : hidden units whose entries, each on its own, have a KL to the prior of less than 0.1 in all; where
        entries hang together that is less than the unit's. NaN where it is not known.
    log_evidence : Laplace's estimate of the log evidence, which is no bound; NaN for other families.
    """

    params: Any
    elbo: Array
    elbo_error: Array
    kl: Array
    information: Array
    num_collapsed: Array
    log_evidence: Array


class FitState(NamedTuple):
    """A fit on its way: what the optimizer has, and what was found at the end."""

    fitted: Fitted
    optimizer: Any
    position: Position


class Drawn(NamedTuple):
    """What a chain of draws has: the last of them."""

    position: Position


class Parts(NamedTuple):
    """All that a step takes, made of the target of one fit."""

    family: Family
    joint: Joint
    group: Group | None


@dataclass(frozen=True)
class Fit(Algorithm):
    """A density of some family, fitted to the posterior in warmup; its bound, and its draws."""

    num_elbo_draws: Count = 200
    """Draws by which the bound is estimated after the fit, each over all rows; of one alone no error is known."""
    is_path: ClassVar[bool] = True
    """Whether that estimate takes prior and entropy at its draws: without noise where the family has the posterior."""
    is_fit = True

    # What a family adds ------------------------------------------------------------------------------------------

    def family(self, target: Target) -> Family:
        """Return the family over z for a target."""
        raise NotImplementedError

    def first(self, key: Key, z: PyTree, target: Target) -> Any:
        """Return its parameters around a start."""
        raise NotImplementedError

    # What all share ----------------------------------------------------------------------------------------------

    def whole(self, target: Target) -> Parts:
        """Return what the bound over all rows takes, from whole networks.

        Raises
        ------
        InputError
            If the family does not apply to this target.
        """
        return Parts(self.family(target), make_joint(target, None, 1.0), None)

    def added(self, parts: Parts, params: Any, z: PyTree, key: Key) -> Array:
        """Return what symmetrisation adds at a draw; nothing without."""
        return jnp.zeros(())

    def begin(self, key: Key, position: Position, target: Target) -> FitState:
        """Return the state before the first step.

        Raises
        ------
        InputError
            If the family, or an average over the group, does not apply to this target.
        """
        parts = self.whole(target)  # First, for this refuses what cannot be.
        params = self.first(rng.named_key(key, "first"), whiten(position, target.prior_scale), target)
        jax.eval_shape(partial(self.added, parts), params, position, key)  # As does this.
        nan = jnp.full((), jnp.nan)
        return FitState(Fitted(params, nan, nan, nan, nan, nan, nan), self.init_optimizer(params), position)

    def init_optimizer(self, params: Any) -> Any:
        """Return what the optimizer has before the first step."""
        return ()

    def judge(
        self, key: Key, state: FitState, first: Array, setting: Array, target: Target
    ) -> tuple[FitState, dict[str, Array]]:
        """Estimate the bound of what was fitted over all rows: the last stage.

        Where draws have no density, the mean log density of the draws stands in its place among the metrics.
        """
        params, parts = state.fitted.params, self.whole(target)
        rows = parts.joint.take(key)

        is_density = parts.family.logdensity is not None

        def one(key: Key) -> tuple[Array, ...]:
            key_of_draw = rng.named_key(key, "draw")
            elbo, z = bound(parts.family, params, parts.joint, key_of_draw, rows, is_path=self.is_path)
            climbed = elbo if is_density else target.logdensity(unwhiten(z, target.prior_scale))
            return elbo, self.added(parts, params, z, key), parts.joint.loglikelihood(z, rows), climbed

        keys = jax.random.split(rng.named_key(key, "judge"), self.num_elbo_draws)
        elbos, added, data, climbed = lax.map(one, keys)
        total, z = elbos + added, parts.family.draw(params, rng.named_key(keys[0], "draw"))
        fitted = state.fitted._replace(
            elbo=jnp.mean(total),
            elbo_error=jnp.std(total, ddof=1) / jnp.sqrt(self.num_elbo_draws),
            kl=jnp.mean(data - elbos) + parts.joint.log_mass,
            information=jnp.mean(added),
            num_collapsed=num_collapsed(parts.family, params, target),
        )
        metrics = {
            "elbo": fitted.elbo,
            "logdensity": fitted.elbo if is_density else jnp.mean(climbed),
            "num_grad_evals": jnp.zeros((), jnp.float32),
        }
        return FitState(fitted, state.optimizer, unwhiten(z, target.prior_scale)), metrics

    def finish(self, state: FitState) -> tuple[Position, Fitted]:
        """Return a draw, and what was fitted."""
        return state.position, state.fitted

    def describe(self, tuned: Fitted) -> str:
        """Return the bounds of all fits in words."""
        if np.all(np.isnan(tuned.elbo)):
            return "draws without a density, and so without an ELBO"
        values = ", ".join(f"{value:,.2f}" for value in np.atleast_1d(tuned.elbo))
        return f"ELBO of each fit {values} nats (standard error of each about {np.mean(tuned.elbo_error):.2g})"

    def make(self, target: Target, tuned: Fitted, num_steps: int = 0) -> Sampler:
        """Build the kernel whose every step is an independent draw, symmetrised after a random element of the group."""
        parts = self.whole(target)

        def step(key: Key, state: Drawn) -> tuple[Drawn, Info]:
            z = parts.family.draw(tuned.params, rng.named_key(key, "draw"))
            if parts.group is not None and not parts.group.is_trivial:
                z = draw_element(rng.named_key(key, "element"), parts.group, z)
            position = unwhiten(z, target.prior_scale)
            return Drawn(position), make_info(0.0, is_divergent=~trees.all_finite(position))

        return Sampler(lambda key, position: Drawn(position), step)


@dataclass(frozen=True)
class Descent(Fit):
    """A fit by steps of Adam, in units of the prior."""

    num_warmup: Count = 5_000
    """Steps of the fit."""
    learning_rate: Positive = 0.01
    """Peak learning rate in units of the prior's standard deviation; Adam, with a cosine down to zero."""

    # What a family adds ------------------------------------------------------------------------------------------

    def update(self, parts: Parts, params: Any, optimizer: Any, key: Key, target: Target) -> tuple[Any, Any, Array]:
        """Take one step; return parameters, what the optimizer has, and what it climbs []."""
        raise NotImplementedError

    def step_cost(self, target: Target) -> float:
        """Return what one step costs, in gradients over all rows."""
        return 1.0

    # What all share ----------------------------------------------------------------------------------------------

    @cached_property
    def optimizer(self) -> optax.GradientTransformation:
        """Adam, with a cosine down to zero."""
        return optax.adam(optax.cosine_decay_schedule(self.learning_rate, self.num_warmup))

    def parts(self, target: Target) -> Parts:
        """Return what a step takes."""
        return self.whole(target)

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        """Chunks of the fit, and the estimate of the bound."""
        num_steps = largest_divisor(self.num_warmup, max(1, self.num_warmup // NUM_CHUNKS))
        fits = (Stage(partial(self.advance, num_steps=num_steps), num_steps),) * (self.num_warmup // num_steps)
        return (*fits, Stage(self.judge, 1))

    def advance(
        self, key: Key, state: FitState, first: Array, setting: Array, target: Target, num_steps: int
    ) -> tuple[FitState, dict[str, Array]]:
        """Take the steps of one chunk; what it tells is the mean over them, which is finite where all of them are."""
        parts = self.parts(target)

        def one(carry: tuple[Any, Any], t: Array) -> tuple[tuple[Any, Any], Array]:
            params, optimizer, value = self.update(parts, *carry, jax.random.fold_in(key, t), target)
            return (params, optimizer), value

        (params, optimizer), values = lax.scan(
            one, (state.fitted.params, state.optimizer), first + jnp.arange(num_steps)
        )
        metrics = {
            "logdensity": jnp.mean(values),
            "num_grad_evals": jnp.asarray(num_steps * self.step_cost(target), jnp.float32),
        }
        return state._replace(fitted=state.fitted._replace(params=params), optimizer=optimizer), metrics


@dataclass(frozen=True)
class Variational(Descent):
    """A density of some family, fitted to the posterior by stochastic gradients on the evidence lower bound."""

    is_path: ClassVar[bool] = False
    batch_size: Count | None = None
    """Rows a step, drawn with replacement; None takes all rows in every step."""
    init_scale: Positive = 0.05
    """Standard deviations before the first step, in units of the prior's."""
    num_samples: Count = 1
    """Draws a step, whose gradients are averaged."""
    gradient: Literal["reparametrised", "path"] = "reparametrised"
    """Gradients with prior and entropy in closed form, or along the path of the draw alone, whose noise goes where the
    family holds the posterior. Both are unbiased, unless symmetrise is centred."""
    likelihood_weight: Positive = 1.0
    """How many times the likelihood counts; above 1 it is a cold posterior, as in Lim et al. (2024), who count it 8
    times on CIFAR-10."""
    symmetrise: Literal["no", "infonce", "centred", "bethe", "exact"] = "no"
    """Fit the average over the group of the network instead: all permutations of its units, and signs of odd ones. By
    the bound from random elements, from elements around the best assignment, from the Bethe permanent, or exactly (20
    units at most). A method that leaves no group makes no difference."""
    num_elements: Count = 64
    """Elements of the group for each draw, of infonce and centred."""

    def unused(self) -> frozenset[str]:
        """Return the number of elements where none are drawn."""
        return frozenset() if self.symmetrise in ("infonce", "centred") else frozenset({"num_elements"})

    def parts(self, target: Target) -> Parts:
        """Return what a step takes.

        Raises
        ------
        InputError
            If the family or the average does not apply to this target.
        """
        group = None if self.symmetrise == "no" else group_of(target)
        return Parts(self.family(target), make_joint(target, self.batch_size, self.likelihood_weight), group)

    def whole(self, target: Target) -> Parts:
        """Return what the bound over all rows takes, from whole networks."""
        parts = self.parts(target)
        joint = make_joint(target, None, self.likelihood_weight)
        return parts._replace(family=parts.family._replace(outputs=None), joint=joint)

    def objective(self, parts: Parts, params: Any, key: Key) -> tuple[Array, Array]:
        """Return an estimate of the bound from one draw on the rows of a step, and what symmetrisation adds to it.

        Along the path the first leaves out a score of q, whose mean is zero; what is added leaves out nothing.
        """
        rows = parts.joint.take(rng.named_key(key, "rows"))
        is_path = self.gradient == "path"
        elbo, z = bound(parts.family, params, parts.joint, rng.named_key(key, "draw"), rows, is_path=is_path)
        added = self.added(parts, params, z, key)
        return elbo + added, added

    def added(self, parts: Parts, params: Any, z: PyTree, key: Key) -> Array:
        """Return what symmetrisation adds at a draw; all copies of a density that is on one of them are apart."""
        if parts.group is None:
            return jnp.asarray(parts.family.log_copies)
        key, estimator = rng.named_key(key, "elements"), self.symmetrise
        return information(key, parts.family, params, z, parts.group, estimator, self.num_elements)

    def init_optimizer(self, params: Any) -> Any:
        """Return what the optimizer has before the first step."""
        return self.optimizer.init(params)

    def value_and_gradient(self, parts: Parts, params: Any, key: Key) -> tuple[Array, Any]:
        """Return the estimate of the bound from all draws of a step, and its gradient."""

        def value(params: Any) -> Array:
            keys = jax.random.split(key, self.num_samples)
            return jnp.mean(jax.vmap(lambda key: self.objective(parts, params, key)[0])(keys))

        return jax.value_and_grad(value)(params)

    def update(self, parts: Parts, params: Any, optimizer: Any, key: Key, target: Target) -> tuple[Any, Any, Array]:
        """Take one step; return parameters, what the optimizer has, and the estimate of the bound."""
        value, gradient = self.value_and_gradient(parts, params, key)
        change, optimizer = self.optimizer.update(jax.tree.map(jnp.negative, gradient), optimizer, params)
        return optax.apply_updates(params, change), optimizer, value

    def step_cost(self, target: Target) -> float:
        """Return what one step costs, in gradients over all rows."""
        return self.num_samples * (1.0 if self.batch_size is None else self.batch_size / target.num_rows)

    def advance(
        self, key: Key, state: FitState, first: Array, setting: Array, target: Target, num_steps: int
    ) -> tuple[FitState, dict[str, Array]]:
        """Take the steps of one chunk, which climb the bound."""
        state, metrics = super().advance(key, state, first, setting, target, num_steps)
        return state, metrics | {"elbo": metrics["logdensity"]}


def num_collapsed(family: Family, params: Any, target: Target) -> Array:
    """Return how many hidden units have a KL to the prior below 0.1 nats; NaN where density or units are unknown."""
    posterior = target.posterior
    if family.moments is None or family.logdensity is None or posterior.model is None:
        return jnp.full((), jnp.nan)
    model, frozen = posterior.model, posterior.frozen
    prior = whiten(posterior.prior_mean, target.prior_scale)
    kl = kl_of_entries(family.moments(params), prior, posterior.temperature)
    effective = jax.tree.map(
        jnp.subtract, model.merge(kl, frozen), model.merge(jax.tree.map(jnp.zeros_like, kl), frozen)
    )  # Merging is affine: what is fixed has no divergence.
    leaves = trees.flatten(effective)
    spec = {path: axes for path, axes in tree_spec(effective, model.permutation_spec).items() if perms_of(axes)}
    counts = [jnp.sum(unit_sums(leaves, spec, name) < COLLAPSED_NATS) for name in whole_units(spec)]
    return jnp.asarray(sum(counts) if counts else jnp.nan, jnp.float32)
