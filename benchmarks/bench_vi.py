"""Time of a step of variational inference against one of a MAP fit, of symmetrising it, and of fits by NumPyro.

    python benchmarks/bench_vi.py
    python benchmarks/bench_vi.py --peers    # needs NumPyro

Steps: one draw a step, all families on the same rows as Adam on the negative log density, one compiled chunk a call;
rounds are interleaved, compile time is apart. Symmetrising: 784-128-10 without norm on a batch of random images, the
share that the information term with its gradient adds to a plain step. Peers: NumPyro's automatic guides by SVI with
Adam on the same log density, in the prior's units; the seconds until the bound, over 1,000 draws, is within one nat of
the best that either side found of the same kind of density.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import tyro

PEERS = {
    "meanfield": "AutoNormal",
    "ivon": "AutoNormal",
    "lowrank": "AutoLowRankMultivariateNormal",
    "fullrank": "AutoMultivariateNormal",
}
"""Families of ours, and the guide of the same kind."""
NUM_BOUND_DRAWS = 1000
ESTIMATORS: tuple[Literal["infonce", "centred", "bethe"], ...] = ("infonce", "centred", "bethe")


@dataclass(frozen=True)
class Config:
    """What is timed."""

    batch_size: int = 128
    """Rows a step."""
    width: int = 128
    """Hidden units of the network on images."""
    num_steps: int = 20
    """Steps in one compiled chunk."""
    num_rounds: int = 5
    """Interleaved rounds; the median is reported."""
    peers: bool = False
    """Fit beside NumPyro."""
    num_fit_steps: int = 10_000
    """Steps of the fits beside NumPyro, in ten chunks after each of which the bound is read."""
    save: bool = True
    """Write results/vi.json."""


def image_problem(config: Config) -> Any:
    """Return the posterior of the network on random images."""
    import jax

    from asymjax import make_posterior
    from asymjax.models.config import ModelConfig
    from asymjax.types import Split

    model = ModelConfig.of(widths=(config.width,), norm="none").build((784,), 10)
    images = jax.random.normal(jax.random.key(0), (config.batch_size, 784))
    return make_posterior(model, Split(images, jax.random.randint(jax.random.key(1), (config.batch_size,), 0, 10)))


def small_problem() -> Any:
    """Return the posterior of a network with 2 x 16 tanh units on diabetes."""
    from bench_hmc import make_problem

    return make_problem("diabetes", "standard")[1]


def compiled(step: Callable[[Any, Any], Any], state: Any, num_steps: int) -> tuple[Callable[[], Any], float]:
    """Compile a chunk of steps (state, key) -> state from a state; return () -> state, and the seconds of compiling."""
    import jax

    def chunk(state: Any, key: Any) -> Any:
        return jax.lax.scan(lambda state, key: (step(state, key), None), state, jax.random.split(key, num_steps))[0]

    begun = time.perf_counter()
    program = jax.jit(chunk).lower(state, jax.random.key(0)).compile()
    return lambda: program(state, jax.random.key(0)), time.perf_counter() - begun


def family_step(algorithm: Any, problem: Any) -> tuple[Callable[[Any, Any], Any], Any]:
    """Return (state, key) -> state of a fit, and its first state."""
    import jax

    target = problem.target()
    begun = algorithm.begin(jax.random.key(0), problem.init(jax.random.key(1), problem.frozen), target)

    def step(state: Any, key: Any) -> Any:
        params, optimizer, _ = algorithm.update(algorithm.parts(target), *state, key, target)
        return params, optimizer

    return step, (begun.fitted.params, begun.optimizer)


def map_step(problem: Any) -> tuple[Callable[[Any, Any], Any], Any]:
    """Do the same for Adam on the negative log density."""
    import jax
    import optax

    optimizer, target = optax.adam(0.01), problem.target()
    position = problem.init(jax.random.key(1), problem.frozen)

    def step(state: Any, key: Any) -> Any:
        position, moments = state
        gradient = jax.grad(lambda position: -target.logdensity(position))(position)
        change, moments = optimizer.update(gradient, moments)
        return optax.apply_updates(position, change), moments

    return step, (position, optimizer.init(position))


def families(problem: Any) -> dict[str, Any]:
    """Return the families that are fitted by steps and apply to a problem."""
    from asymjax.errors import InputError
    from asymjax.inference.vi import FAMILIES
    from asymjax.inference.vi.variational import Variational

    found = {}
    for name, family in FAMILIES.items():
        if issubclass(family, Variational):
            try:
                family().parts(problem.target())
            except InputError:  # Too many coordinates.
                continue
            found[name] = family()
    return found


def step_rows(config: Config) -> list[dict[str, Any]]:
    """Time steps of all families on both problems, and symmetrised ones on images."""
    from measure import interleaved

    from asymjax.inference.vi import MeanField

    rows: list[dict[str, Any]] = []
    calls = []
    for problem_name, problem in (("diabetes:2x16", small_problem()), ("images", image_problem(config))):
        cases = {"map": map_step(problem)}
        cases |= {name: family_step(algorithm, problem) for name, algorithm in families(problem).items()}
        if problem_name == "images":
            cases |= {f"meanfield, {name}": family_step(MeanField(symmetrise=name), problem) for name in ESTIMATORS}
        for name, case in cases.items():
            call, compile_seconds = compiled(*case, config.num_steps)
            calls.append(call)
            rows.append({"problem": problem_name, "step_of": name, "compile_seconds": compile_seconds})
    for row, seconds in zip(rows, interleaved(calls, config.num_rounds), strict=True):
        row["step_ms"] = 1e3 * seconds / config.num_steps
    of = {(row["problem"], row["step_of"]): row["step_ms"] for row in rows}
    for row in rows:
        row["times_map"] = row["step_ms"] / of[row["problem"], "map"]
        row["times_meanfield"] = row["step_ms"] / of[row["problem"], "meanfield"]
    return rows


# Beside NumPyro --------------------------------------------------------------------------------------------------


class Fit(NamedTuple):
    """A fit of one side.

    Attributes
    ----------
    step, state : (state, key) -> state, and the first.
    draw_bound : (state, key) -> the bound by one draw.
    """

    step: Callable[[Any, Any], Any]
    state: Any
    draw_bound: Callable[[Any, Any], Any]


def our_fit(algorithm: Any, problem: Any) -> Fit:
    """Return a fit by a family of ours."""
    from asymjax.inference.vi.family import bound

    parts = algorithm.parts(problem.target())

    def draw_bound(state: Any, key: Any) -> Any:
        elbo, z = bound(parts.family, state[0], parts.joint, key, parts.joint.take(key))
        return elbo + algorithm.added(parts, state[0], z, key)

    return Fit(*family_step(algorithm, problem), draw_bound)


def numpyro_fit(guide_name: str, problem: Any, num_steps: int, init_scale: float) -> Fit:
    """Return a fit by SVI, from the same start and scale."""
    import jax
    import numpyro
    import optax
    from jax.flatten_util import ravel_pytree
    from numpyro.infer import SVI, Trace_ELBO, autoguide, init_to_value

    from asymjax.inference.samplers.gradients import whiten
    from asymjax.inference.vi.family import make_joint

    target = problem.target()
    joint = make_joint(target, None, 1.0)
    start, unravel = ravel_pytree(whiten(problem.init(jax.random.key(1), problem.frozen), target.prior_scale))
    real = numpyro.distributions.constraints.real_vector

    def model() -> None:
        z = unravel(numpyro.sample("z", numpyro.distributions.ImproperUniform(real, (), start.shape)))
        numpyro.factor("density", joint.loglikelihood(z, joint.take(jax.random.key(0))) + joint.logprior(z))

    begin_at = init_to_value(values={"z": start})
    guide = getattr(autoguide, guide_name)(model, init_loc_fn=begin_at, init_scale=init_scale)
    adam = numpyro.optim.optax_to_numpyro(optax.adam(optax.cosine_decay_schedule(0.01, num_steps)))
    svi = SVI(model, guide, adam, Trace_ELBO())
    judge = Trace_ELBO()
    state = svi.init(jax.random.key(0))
    return Fit(
        lambda state, key: svi.update(state)[0],
        state,
        lambda state, key: -judge.loss(key, svi.get_params(state), model, guide),
    )


def trace_of(fit: Fit, num_steps: int) -> dict[str, Any]:
    """Run a fit in ten chunks; return the seconds up to the end of each, bounds there, and seconds of compiling.

    A bound that its draws do not tell to a nat is none: of a fit that ran away they are numbers of any size.
    """
    import jax
    import numpy as np

    def chunk(state: Any, key: Any) -> Any:
        keys = jax.random.split(key, num_steps // 10)
        return jax.lax.scan(lambda state, key: (fit.step(state, key), None), state, keys)[0]

    begun = time.perf_counter()
    program = jax.jit(chunk).lower(fit.state, jax.random.key(0)).compile()
    compile_seconds, draw_bounds = time.perf_counter() - begun, jax.jit(jax.vmap(fit.draw_bound, (None, 0)))
    state, seconds, bounds = fit.state, [0.0], []
    for i in range(10):
        begun = time.perf_counter()
        state = jax.block_until_ready(program(state, jax.random.key(i)))
        seconds.append(seconds[-1] + time.perf_counter() - begun)
        draws = np.asarray(draw_bounds(state, jax.random.split(jax.random.key(100), NUM_BOUND_DRAWS)), float)
        is_told = np.std(draws) < math.sqrt(NUM_BOUND_DRAWS)
        bounds.append(float(np.mean(draws)) if is_told else None)
    return {"seconds": seconds[1:], "bounds": bounds, "compile_seconds": compile_seconds}


def peer_rows(config: Config) -> list[dict[str, Any]]:
    """Fit by our families and by NumPyro's guides of the same kinds."""
    from dataclasses import replace

    problem = small_problem()
    rows: list[dict[str, Any]] = []
    ours = {name: algorithm for name, algorithm in families(problem).items() if name in PEERS}
    for name, algorithm in ours.items():
        fit = our_fit(replace(algorithm, num_warmup=config.num_fit_steps), problem)
        rows.append({"fit_of": name, "kind": PEERS[name]} | trace_of(fit, config.num_fit_steps))
    for guide in sorted(set(PEERS.values())):
        fit = numpyro_fit(guide, problem, config.num_fit_steps, init_scale=0.05)
        rows.append({"fit_of": "numpyro", "kind": guide} | trace_of(fit, config.num_fit_steps))
    for row in rows:
        kind = [
            bound for other in rows if other["kind"] == row["kind"] for bound in other["bounds"] if bound is not None
        ]
        told = [(at, bound) for at, bound in zip(row["seconds"], row["bounds"], strict=True) if bound is not None]
        near = [at for at, bound in told if bound > max(kind) - 1]
        row["best_bound"] = max((bound for _, bound in told), default=None)
        row["seconds_to_best"] = near[0] if near else None
    return rows


def describe(row: dict[str, Any]) -> str:
    """Write a row in words."""
    if "fit_of" in row:
        near, best = row["seconds_to_best"], row["best_bound"]
        reached = "not within a nat of the best" if near is None else f"{near:.2f} s to within a nat of the best"
        return (
            f"{row['kind']:30s} {row['fit_of']:9s}: {reached}; best bound {'none' if best is None else f'{best:.2f}'}, "
            f"all steps {row['seconds'][-1]:.2f} s, compile {row['compile_seconds']:.1f} s"
        )
    return (
        f"{row['problem']:14s} {row['step_of']:18s}: {row['step_ms']:8.3f} ms a step, {row['times_map']:.2f} of MAP, "
        f"{row['times_meanfield']:.2f} of mean field; compile {row['compile_seconds']:.1f} s"
    )


def main(config: Config) -> list[dict[str, Any]]:
    """Time all cases and print one row each."""
    from measure import save

    rows = step_rows(config)
    for row in rows:
        print(describe(row), flush=True)
    if config.peers:
        for row in peer_rows(config):
            rows.append(row)
            print(describe(row), flush=True)
    if config.save:
        print(save("vi", rows, {}))
    return rows


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
