"""NumPyro and BlackJAX called the obvious way: what ``bench_against.py`` compares with.

BlackJAX as in its examples: chains under vmap, steps under scan, every state and info kept. NumPyro by its ``MCMC``,
with both of its ways to run chains at once. Neither is told of placements, of what is wanted of a draw, or of the
prior's scale.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import blackjax
import jax
import jax.numpy as jnp
from jax import lax
from measure import Spent, timed

from asymjax.inference.posterior import Posterior
from asymjax.types import Array, Key, Position, PyTree, Split


class Sampled(NamedTuple):
    """What a sampler leaves.

    Attributes
    ----------
    positions : leaves [chain, draw, ...].
    num_grad_evals : gradients that the draws used, of all chains.
    spent : what warmup and sampling took, by kind: ``warmup`` and ``sample``.
    """

    positions: Position
    num_grad_evals: float
    spent: dict[str, Spent]


def scan_of_vmap(step: Callable[..., tuple[PyTree, PyTree]], num_draws: int) -> Callable[..., tuple[PyTree, PyTree]]:
    """Return (key, states [chain, ...], *parameters) -> (last states, (states, infos) [draw, chain, ...]), compiled."""

    def sample(key: Key, states: PyTree, *parameters: PyTree) -> tuple[PyTree, PyTree]:
        num_chains = len(jax.tree.leaves(states)[0])

        def one(states: PyTree, key: Key) -> tuple[PyTree, PyTree]:
            states, infos = jax.vmap(step)(jax.random.split(key, num_chains), states, *parameters)
            return states, (states, infos)

        return lax.scan(one, states, jax.random.split(key, num_draws))

    return jax.jit(sample)


def blackjax_nuts(
    logdensity: Callable[[Position], Array],
    key: Key,
    starts: Position,
    num_warmup: int,
    num_draws: int,
    max_doublings: int,
) -> Sampled:
    """Sample by BlackJAX's window adaptation and NUTS, from starts [chain, ...]."""
    adaptation = blackjax.window_adaptation(blackjax.nuts, logdensity, max_num_doublings=max_doublings)
    num_chains = len(jax.tree.leaves(starts)[0])
    warmup_key, sample_key = jax.random.split(key)
    warm_up = jax.jit(jax.vmap(lambda key, start: adaptation.run(key, start, num_warmup)))

    def step(key: Key, state: Any, step_size: Array, inverse_mass_matrix: Array) -> tuple[Any, Any]:
        nuts = blackjax.nuts(logdensity, step_size, inverse_mass_matrix, max_num_doublings=max_doublings)
        return nuts.step(key, state)

    ((states, tuned), _), warmup = timed(lambda: warm_up(jax.random.split(warmup_key, num_chains), starts))
    sample = scan_of_vmap(step, num_draws)
    parameters = tuned["step_size"], tuned["inverse_mass_matrix"]
    (_, (trace, infos)), drawing = timed(lambda: sample(sample_key, states, *parameters))
    positions = jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 0, 1), trace.position)
    return Sampled(positions, float(infos.num_integration_steps.sum()), {"warmup": warmup, "sample": drawing})


def numpyro_nuts(
    logdensity: Callable[[Position], Array],
    key: Key,
    starts: Position,
    num_warmup: int,
    num_draws: int,
    max_doublings: int,
    chain_method: str,
) -> Sampled:
    """Sample by NumPyro's NUTS, from starts [chain, ...]; ``chain_method`` is "vectorized" or "parallel"."""
    from numpyro.infer import MCMC, NUTS

    kernel = NUTS(potential_fn=lambda position: -logdensity(position), max_tree_depth=max_doublings)
    num_chains = len(jax.tree.leaves(starts)[0])
    mcmc = MCMC(
        kernel,
        num_warmup=num_warmup,
        num_samples=num_draws,
        num_chains=num_chains,
        chain_method=chain_method,
        progress_bar=False,
    )
    warmup_key, sample_key = jax.random.split(key)

    def warm_up() -> Any:
        mcmc.warmup(warmup_key, init_params=starts)
        return mcmc.last_state.z

    def sample() -> Any:
        mcmc.run(sample_key, extra_fields=("num_steps",))
        return mcmc.get_samples(group_by_chain=True), mcmc.get_extra_fields()["num_steps"]

    _, warmup = timed(warm_up)
    (positions, num_steps), drawing = timed(sample)
    return Sampled(positions, float(num_steps.sum()), {"warmup": warmup, "sample": drawing})


# Single steps ----------------------------------------------------------------------------------------------------


class Kernel(NamedTuple):
    """A sampler of BlackJAX, for one chain.

    Attributes
    ----------
    init : (key, position) -> state.
    step : (key, state) -> (state, info).
    cost : (info) -> gradients over all rows.
    """

    init: Callable[[Key, Position], Any]
    step: Callable[[Key, Any], tuple[Any, Any]]
    cost: Callable[[Any], Any]


def full_batch_kernels(
    logdensity: Callable[[Position], Array], step_size: float, metric: Array, num_steps: int, max_doublings: int
) -> dict[str, Kernel]:
    """Return BlackJAX's samplers on gradients over all rows, by our names for them.

    Parameters
    ----------
    logdensity : (position) -> [].
    step_size : of leapfrog; in microcanonical samplers times the root of the coordinates.
    metric : [coordinates] diagonal inverse mass matrix.
    num_steps : steps of a trajectory, or their mean where they are drawn.
    max_doublings : of NUTS.
    """
    root = metric.size**0.5
    long = step_size * root

    def drawn(key: Key) -> Array:
        return jax.random.randint(key, (), 1, 2 * num_steps)

    algorithms = {
        "hmc": blackjax.hmc(logdensity, step_size, metric, num_steps),
        "dynamic_hmc": blackjax.dynamic_hmc(logdensity, step_size, metric, integration_steps_fn=drawn),
        "mala": blackjax.mala(logdensity, step_size**2 / 2 * float(metric.min())),
        "nuts": blackjax.nuts(logdensity, step_size, metric, max_num_doublings=max_doublings),
        "mclmc": blackjax.mclmc(logdensity, L=root, step_size=long, inverse_mass_matrix=metric),
        "adjusted_mclmc": blackjax.adjusted_mclmc(
            logdensity, long, inverse_mass_matrix=metric, integration_steps_params=(num_steps,)
        ),
    }
    costs: dict[str, Callable[[Any], Any]] = {
        "mala": lambda info: jnp.ones_like(info.acceptance_rate),
        "mclmc": lambda info: 2 * jnp.ones_like(info.energy_change),
        "adjusted_mclmc": lambda info: 2 * info.num_integration_steps,
    }

    def kernel(name: str, algorithm: Any) -> Kernel:
        cost = costs.get(name, lambda info: info.num_integration_steps)
        return Kernel(lambda key, position: algorithm.init(position, key), algorithm.step, cost)

    return {name: kernel(name, algorithm) for name, algorithm in algorithms.items()}


def minibatch_kernels(problem: Posterior, batch_size: int, step_size: float = 1e-7) -> dict[str, Kernel]:
    """Return BlackJAX's samplers on gradients of a few rows, by our names for them.

    Every chain draws its own rows with replacement. A step of BlackJAX's ``sghmc`` is ten gradients on the same rows.
    """
    data, num_rows = problem.data, len(problem.data.targets)

    def loglikelihood(position: Position, row: Split) -> Array:
        batch = jax.tree.map(lambda leaf: leaf[None], row)
        return problem.loglikelihood(position, problem.frozen, batch)[0]

    gradient = blackjax.sgmcmc.gradients.grad_estimator(problem.logprior, loglikelihood, num_rows)
    algorithms = {"sgld": blackjax.sgld(gradient), "sghmc": blackjax.sghmc(gradient), "sgnht": blackjax.sgnht(gradient)}

    def kernel(algorithm: Any, init: Callable[[Key, Position], Any], num_gradients: int) -> Kernel:
        def step(key: Key, state: Any) -> tuple[Any, Array]:
            rows_key, step_key = jax.random.split(key)
            rows = jax.random.randint(rows_key, (batch_size,), 0, num_rows)
            batch = jax.tree.map(lambda leaf: leaf[rows], data)
            return algorithm.step(step_key, state, batch, step_size), jnp.zeros(())

        return Kernel(init, step, lambda info: num_gradients * batch_size / num_rows * jnp.ones_like(info))

    return {
        "sgld": kernel(algorithms["sgld"], lambda key, position: algorithms["sgld"].init(position), 1),
        "sghmc": kernel(algorithms["sghmc"], lambda key, position: algorithms["sghmc"].init(position), 10),
        "sgnht": kernel(algorithms["sgnht"], lambda key, position: algorithms["sgnht"].init(position, key, 0.01), 1),
    }
