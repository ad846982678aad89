"""Our samplers against NumPyro's NUTS and BlackJAX called the obvious way, on the same densities, starts and chains.

    python benchmarks/bench_against.py --targets diabetes breast_cancer
    python benchmarks/bench_against.py --targets digits --opponents numpyro_parallel blackjax --name against_digits

First whole runs, several seeds each. Ours are those of users: default samplers, with their metric and coordinates, from
anchored starts. Opponents begin at the same anchored starts, near the posterior, which is kinder to them than optima;
the optimisation of these is on everybody's clock. All runs of a seed follow each other, and are judged by the same
code: R-hat and bulk ESS of function space. All keep as many draws, so that warmup is spread over as many. Ratios of ESS
a second are paired by seed; the median and the range over seeds are given, with sampling alone on the clock, with
starts and warmup, and with everything: compilation (nothing comes from a cache), and what our runs write to disk; the
first two also in seconds of the processor, which other work on the machine hardly lengthens. Where R-hat is above 1.05
the ESS says little; such ratios are marked, and decide nothing. Nor do samplers without an accept step, whose ESS is
about a biased target. NumPyro is represented by the better of its ways to run, in each seed.

Then single steps, each side in its own way to use all cores (ours: chains over devices): each of our samplers against
BlackJAX's own with the same step size, metric and steps, in seconds a gradient, in interleaved rounds. For bde see
bench_bde.py, for whether all sample the same posterior bench_alike.py.
"""

import math
import statistics
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import tyro

MAX_RHAT = 1.05
ESS = ("ess_min", "ess_median", "within_ess_min", "within_ess_median")
CLOCKS = {
    "sampling": ("seconds", ("sample",)),
    "with warmup": ("seconds", ("start", "warmup", "sample")),
    "everything": ("seconds", ("start", "warmup", "sample", "compile", "other")),
    "processor, sampling": ("processor_seconds", ("sample",)),
    "processor, with warmup": ("processor_seconds", ("start", "warmup", "sample")),
}
"""Of what a run took: the kind of seconds, and the phases."""
FACTORS = {("hmc", "numpyro"): 5.0, ("hmc", "blackjax"): 10.0, ("nuts", "numpyro"): 1.0}
"""Times the ESS a second of an opponent that a sampler of ours is meant to have."""
STEP_DOUBLINGS = 6
"""Depth of NUTS' trees where single steps are timed."""


@dataclass(frozen=True)
class Config:
    """What is timed."""

    targets: tuple[str, ...] = ("diabetes", "breast_cancer", "digits")
    """Targets as of bench_convergence.py."""
    samplers: tuple[str, ...] = ("hmc", "nuts")
    """Ours, in whole runs; mclmc is the unadjusted one."""
    opponents: tuple[str, ...] = ("numpyro", "numpyro_parallel", "blackjax")
    """NumPyro's NUTS with chains vectorized or each on a host device of its own, and BlackJAX's."""
    step_samplers: tuple[str, ...] = (
        *("hmc", "dynamic_hmc", "mala", "nuts", "mclmc", "adjusted_mclmc"),
        *("sgld", "sghmc", "sgnht"),
    )
    """Those whose steps are timed beside BlackJAX's."""
    num_seeds: int = 5
    """Whole runs of each, each with starts and noise of its own."""
    num_chains: int = 4
    """Chains of all."""
    num_draws: int = 200
    """Draws a chain, of all."""
    num_warmup: int = 100
    """Steps of warmup of all but our mclmc, and those on minibatches, which have their own."""
    mclmc_warmup: int = 10_000
    """Steps of warmup of our mclmc; a step is two gradients."""
    max_doublings: int = 8
    """Depth of NUTS' trees, for all (10 in BlackJAX and NumPyro unless told otherwise)."""
    num_gradients: int = 200
    """Gradients over all rows a chain in a call of single steps, about."""
    num_rounds: int = 5
    """Interleaved rounds of single steps; the median is reported."""
    data_dir: Path | None = None
    """Folder of data files."""
    name: str = "against"
    """Name of the file in results/, so that targets with settings of their own can have files of their own."""
    save: bool = True
    """Write it, after every case."""


class Costs(NamedTuple):
    """What work took: each of its phases, and the whole, in which compilation and files are."""

    phases: dict[str, Any]
    whole: Any


class Setting(NamedTuple):
    """One target with one seed; ``start`` are the costs of the starts."""

    target: str
    seed: int
    dataset: Any
    problem: Any
    has_scale_head: bool
    placement: Any
    starts: Any
    start: Costs

    @property
    def row(self) -> dict[str, Any]:
        """How rows of this setting begin."""
        return {"target": self.target, "seed": self.seed}


def make_setting(config: Config, target: str, seed: int, folder: Path, arch: str = "standard") -> Setting:
    """Load a target and optimise the positions where chains start."""
    from bench_convergence import make_target

    from asymjax import rng
    from asymjax.experiments.setup import open_experiment
    from asymjax.inference.starts import Start
    from asymjax.lab import devices
    from asymjax.lab.run_config import RunConfig
    from asymjax.lab.starts import find_start

    data_config, model, posterior = make_target(target, arch, config.data_dir)
    where = RunConfig(run_dir=folder / "start", progress=False, num_devices=num_devices(config.num_chains))
    opening = open_experiment("against", "", data_config, model, {}, where, posterior)
    dataset, placement = opening.dataset, devices.place(config.num_chains, where.num_devices)
    assert opening.posterior is not None
    problem = opening.posterior.of(opening.model, dataset.task, opening.frozen, dataset.train)
    keys = rng.member_keys(rng.role_key(seed, "init"), config.num_chains)
    start = Start(map_steps=0)
    (_, starts), costs = observe(opening.run, lambda: find_start(opening.run, problem, keys, placement, start))
    has_scale_head = opening.posterior.has_scale_head(dataset.task)
    return Setting(target, seed, dataset, problem, has_scale_head, placement, starts, costs)


def observe(run: Any, call: Callable[[], Any]) -> tuple[Any, Costs]:
    """Return what a call returns that works in a run directory, and its costs: phases are those on the run's clock."""
    from contextlib import contextmanager
    from time import perf_counter

    from measure import Meter, in_all

    spans: dict[str, list[tuple[float, float]]] = {}

    @contextmanager
    def clock(kind: str) -> Iterator[None]:
        begun = perf_counter()
        yield
        spans.setdefault(kind, []).append((begun, perf_counter()))

    run.clock = clock
    with Meter() as meter:
        result = call()
    phases = {kind: in_all(meter.spent(*span) for span in found) for kind, found in spans.items() if kind != "compile"}
    return result, Costs(phases, meter.spent())


def num_devices(num_chains: int) -> int:
    """Return the devices of our chains: as by default one a core, though NumPyro may have asked for more."""
    import os

    import jax

    most = len(os.sched_getaffinity(0)) if jax.default_backend() == "cpu" else jax.device_count()
    return max(n for n in range(1, most + 1) if num_chains % n == 0)


# Whole runs ------------------------------------------------------------------------------------------------------


def judge(setting: Setting, outputs: Any) -> dict[str, float]:
    """Return convergence in function space and the score of outputs [chain, draw, test row, ...].

    ``within_ess`` are sums of what each chain has alone, a stuck one nothing: what a second buys where chains stay
    apart.

    Raises
    ------
    DivergedError
        If outputs are not finite.
    """
    import numpy as np

    from asymjax.diagnostics.convergence import per_coordinate, summarise_coordinates
    from asymjax.diagnostics.scores import NUM_PROBES, function_coordinates, score
    from asymjax.errors import DivergedError

    if not np.isfinite(outputs).all():
        raise DivergedError("outputs are not finite")
    task = setting.dataset.task
    coordinates = function_coordinates(task, outputs[:, :, :NUM_PROBES], setting.has_scale_head)
    values = per_coordinate(coordinates)
    summary = summarise_coordinates(values)
    alone = [np.nan_to_num(per_coordinate(chain[None])["ess_bulk"]) for chain in coordinates]
    within = np.where(np.isnan(values["rhat"]), np.nan, sum(alone))
    return {
        "rhat_max": summary["rhat_max"],
        "ess_min": summary["ess_bulk_min"],
        "ess_median": summary["ess_bulk_median"],
        "within_ess_min": float(np.nanmin(within)),
        "within_ess_median": float(np.nanmedian(within)),
        "lppd": score(setting.dataset, [outputs])["lppd"],
    }


def our_sampler(config: Config, sampler: str) -> Any:
    """Return the settings of one of our samplers: its defaults, but for the lengths."""
    from bench_convergence import CHANGED

    from asymjax.experiments.posterior.config import family_of
    from asymjax.inference import ALGORITHMS

    settings = dict(CHANGED.get(sampler, {}))
    family = family_of(ALGORITHMS[sampler]())
    if family == "nuts":
        settings["max_doublings"] = config.max_doublings
    if family != "sgld":
        settings["num_warmup"] = config.mclmc_warmup if sampler == "mclmc" else config.num_warmup
    return ALGORITHMS[sampler](**settings)


def run_ours(config: Config, setting: Setting, sampler: str, folder: Path) -> tuple[Any, dict[str, Any]]:
    """Run one of our samplers as ``run_posterior`` does; return outputs [chain, draw, test row, ...] and its costs."""
    import jax.numpy as jnp

    from asymjax import rng
    from asymjax.lab.chains import keep_weights, sample_chains, warm_up
    from asymjax.lab.results import read_arrays
    from asymjax.lab.rundir import RunDir

    algorithm, problem, placement = our_sampler(config, sampler), setting.problem, setting.placement
    path = folder / sampler
    path.mkdir()
    run = RunDir(path, show_progress=False)
    keys = [rng.member_keys(rng.role_key(setting.seed, role), config.num_chains) for role in ("warmup", "sample")]
    inputs = jnp.asarray(setting.dataset.test.inputs)

    def whole() -> None:
        start, tuned = warm_up(run, problem, keys[0], setting.starts, placement, algorithm)
        sample_chains(run, problem, keys[1], start, tuned, inputs, placement, algorithm, config.num_draws, keep_weights)

    _, costs = observe(run, whole)
    kept = read_arrays(path, "posterior_predictive/outputs", "sample_stats/num_grad_evals")
    found = {"num_grad_evals": float(kept["sample_stats/num_grad_evals"].sum())} | seconds_of(setting.start, costs)
    return kept["posterior_predictive/outputs"], found


def run_opponent(config: Config, setting: Setting, opponent: str) -> tuple[Any, dict[str, Any]]:
    """Run an opponent; return outputs, which are computed afterwards, on no clock, and its costs."""
    from functools import partial

    import jax
    import numpy as np
    import opponents
    from jax import lax
    from measure import in_all

    problem, frozen = setting.problem, setting.problem.frozen
    logdensity = problem.target().logdensity
    sample: Callable = opponents.blackjax_nuts
    if opponent.startswith("numpyro"):
        method = "parallel" if opponent == "numpyro_parallel" else "vectorized"
        sample = partial(opponents.numpyro_nuts, chain_method=method)
    key, num_draws = jax.random.PRNGKey(setting.seed), config.num_draws
    sampled = sample(logdensity, key, setting.starts, config.num_warmup, num_draws, config.max_doublings)
    inputs = setting.dataset.test.inputs
    predict = jax.jit(lambda positions: lax.map(lambda p: problem.predict(p, frozen, inputs), positions))
    chains = [jax.tree.map(lambda leaf, i=i: np.asarray(leaf[i]), sampled.positions) for i in range(config.num_chains)]
    outputs = np.stack([np.asarray(predict(chain)) for chain in chains])
    # Starts are counted without what our runs write.
    start = setting.start._replace(whole=setting.start.whole._replace(seconds=setting.start.phases["start"].seconds))
    seconds = seconds_of(start, Costs(sampled.spent, in_all(sampled.spent.values())))
    return outputs, {"num_grad_evals": sampled.num_grad_evals} | seconds


def seconds_of(*parts: Costs) -> dict[str, dict[str, float]]:
    """Return the seconds of a run, on the clock and of the processor, by phase; of all else on the clock alone."""
    phases = {name: spent for part in parts for name, spent in part.phases.items()}
    seconds = {name: spent.seconds for name, spent in phases.items()}
    other = max(0.0, sum(part.whole.seconds for part in parts) - sum(seconds.values()))
    compiling = sum(part.whole.compile_seconds for part in parts)
    processor_seconds = {name: spent.processor_seconds for name, spent in phases.items()}
    return {"seconds": seconds | {"other": other, "compile": compiling}, "processor_seconds": processor_seconds}


def whole_runs(config: Config, target: str, seed: int) -> Iterator[dict[str, Any]]:
    """Yield the rows of all samplers on one target with one seed."""
    from importlib.metadata import version

    from asymjax.errors import DivergedError

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        setting = make_setting(config, target, seed, folder)
        cases = [
            ("asymjax", name, lambda name=name: run_ours(config, setting, name, folder)) for name in config.samplers
        ]
        cases += [(name, "nuts", lambda name=name: run_opponent(config, setting, name)) for name in config.opponents]
        for library, sampler, case in cases:
            row = {"part": "run"} | setting.row | {"library": library, "sampler": sampler}
            row |= {"version": version(library.split("_")[0])}
            try:
                outputs, found = case()
                yield row | {"num_draws": config.num_draws} | found | judge(setting, outputs)
            except DivergedError as error:
                yield row | {"failure": str(error)}


def rate(row: dict[str, Any], ess: str, clock: str) -> float:
    """Return ESS a second."""
    kind, phases = CLOCKS[clock]
    return row[ess] / sum(row[kind][phase] for phase in phases)


def compare(rows: list[dict[str, Any]], opponent: str) -> list[dict[str, Any]]:
    """Return ratios of ESS a second to an opponent's for the runs of one target, median and range over seeds.

    The seeds of a pair are those in which both finished. A pair has converged where R-hat is low in all of them.
    """
    found = []
    for sampler in dict.fromkeys(row["sampler"] for row in rows if row["library"] == "asymjax"):
        mine = {r["seed"]: r for r in rows if (r["library"], r["sampler"]) == ("asymjax", sampler) and "seconds" in r}
        theirs: dict[int, list[dict[str, Any]]] = {}
        for row in rows:
            if row["library"].startswith(opponent) and "seconds" in row and row["seed"] in mine:
                theirs.setdefault(row["seed"], []).append(row)
        if not theirs:
            continue
        used = [mine[seed] for seed in theirs] + [row for group in theirs.values() for row in group]
        first = {"part": "ratio", "target": rows[0]["target"], "sampler": sampler, "opponent": opponent}
        first |= {"num_seeds": len(theirs), "converged": all(row["rhat_max"] <= MAX_RHAT for row in used)}
        for ess in ESS:
            for clock in CLOCKS:
                rates = [
                    (rate(mine[seed], ess, clock), max(rate(row, ess, clock) for row in group))
                    for seed, group in theirs.items()
                ]
                ratios = [ours / best if best else math.inf for ours, best in rates]
                spread = {"median": statistics.median(ratios), "low": min(ratios), "high": max(ratios)}
                found.append(first | {"ess": ess, "clock": clock} | spread)
    return found


# Single steps ----------------------------------------------------------------------------------------------------


class StepCase(NamedTuple):
    """The same steps, ours and BlackJAX's: calls, gradients in a call, seconds of compilation."""

    calls: tuple[Callable[[], Any], Callable[[], Any]]
    num_gradients: tuple[float, float]
    compile_seconds: tuple[float, float]


class Steps(NamedTuple):
    """How steps are taken: one of our configurations, draws in a call, step size and steps of a trajectory."""

    sampler: str
    chains: Any
    num_draws: int
    step_size: float
    num_steps: int


def make_steps(sampler: str, num_gradients: int, step_size: float = 1e-3) -> Steps:
    """Return steps of fixed lengths with about ``num_gradients`` gradients over all rows a chain in a call."""
    from dataclasses import replace

    from asymjax.experiments.posterior.config import family_of
    from asymjax.inference import ALGORITHMS

    num_steps = max(1, min(50, num_gradients // 4))
    chains: Any = ALGORITHMS[sampler]()
    family = family_of(chains)
    per_draw = {"nuts": 2**STEP_DOUBLINGS - 1, "sgld": 10, "mclmc": 2 * chains.thinning}.get(family, num_steps)
    if family == "nuts":
        chains = replace(chains, max_doublings=STEP_DOUBLINGS)
    elif sampler == "mala":
        per_draw = 1
    elif sampler == "dynamic_hmc":  # Of drawn lengths none is cut off.
        chains = replace(chains, max_integration_steps=2 * num_steps)
    elif family == "hmc" or sampler == "adjusted_mclmc":
        chains = replace(chains, jitter=0.0, max_integration_steps=num_steps)
        per_draw = num_steps * (2 if family == "mclmc" else 1)
    return Steps(sampler, chains, max(1, num_gradients // per_draw), step_size, num_steps)


def tuned_for(setting: Setting, algorithm: Any, steps: Steps) -> Any:
    """Return what warmup would tune, one set a chain, with a given step size and length."""
    import jax
    import jax.numpy as jnp

    problem, count = setting.problem, setting.placement.size
    target = problem.target()
    one = jax.tree.map(lambda leaf: leaf[0], setting.starts)
    _, tuned = algorithm.finish(algorithm.begin(jax.random.key(0), one, target))
    names = tuned._fields
    if "inverse_mass_matrix" in names:
        root = tuned.inverse_mass_matrix.size**0.5
        size = steps.step_size * (root if "L" in names else 1.0)
        # A hair less, so that rounding up gives just these steps; none for mala, whose length is 0.
        length = root if steps.sampler == "mclmc" else size * (steps.num_steps - 0.01) * (steps.sampler != "mala")
        lengths = {name: jnp.asarray(length) for name in ("L", "trajectory_length") if name in names}
        tuned = tuned._replace(step_size=jnp.asarray(size), **lengths)
    return jax.tree.map(lambda leaf: jnp.tile(leaf, (count,) + (1,) * jnp.ndim(leaf)), tuned)


def their_steps(setting: Setting, steps: Steps) -> tuple[Callable[[], Any], float, float]:
    """Return a call of BlackJAX's steps, its gradients, and the seconds of compiling it."""
    import jax
    import jax.numpy as jnp
    import opponents
    from measure import timed

    from asymjax.inference.metrics import prior_metric

    problem, num_calls = setting.problem, steps.num_draws * steps.chains.thinning
    if steps.sampler in ("sgld", "sghmc", "sgnht"):
        kernel = opponents.minibatch_kernels(problem, steps.chains.batch_size)[steps.sampler]
        num_calls = max(1, num_calls // 10) if steps.sampler == "sghmc" else num_calls
    else:
        logdensity = problem.target().logdensity
        metric = prior_metric(problem.shape, problem.prior_scale)
        kernels = opponents.full_batch_kernels(logdensity, steps.step_size, metric, steps.num_steps, STEP_DOUBLINGS)
        kernel = kernels[steps.sampler]
    sample = opponents.scan_of_vmap(kernel.step, num_calls)
    keys = jax.random.split(jax.random.key(1), setting.placement.size)
    states = jax.jit(jax.vmap(kernel.init))(keys, setting.starts)

    def call() -> Any:
        return sample(keys[0], states)

    (_, (_, infos)), spent = timed(call)
    return call, float(jnp.sum(kernel.cost(infos))), spent.compile_seconds


def make_step_case(setting: Setting, steps: Steps) -> StepCase:
    """Compile the same steps of one sampler, as our runs take them and as one would write them with BlackJAX."""
    import jax.numpy as jnp
    from bench_hmc import make_call

    from asymjax.lab.chains import keep_weights

    algorithm = steps.chains
    # A few rows for predictions, which the others do not make.
    tuned, inputs = tuned_for(setting, algorithm, steps), jnp.asarray(setting.dataset.test.inputs[:10])
    problem, starts, placement = setting.problem, setting.starts, setting.placement
    ours, compiling = make_call(problem, algorithm, tuned, starts, inputs, placement, steps.num_draws, keep_weights)
    theirs, num_theirs, their_compiling = their_steps(setting, steps)
    num_ours = float(ours()[1]["num_grad_evals"].sum())
    return StepCase((ours, theirs), (num_ours, num_theirs), (compiling, their_compiling))


def step_rows(config: Config, target: str) -> Iterator[dict[str, Any]]:
    """Yield the rows of single steps on one target, sampler by sampler."""
    from measure import interleaved

    with tempfile.TemporaryDirectory() as folder:
        setting = make_setting(config, target, 0, Path(folder))
    for sampler in config.step_samplers:
        case = make_step_case(setting, make_steps(sampler, config.num_gradients))
        costs = [s / n for s, n in zip(interleaved(case.calls, config.num_rounds), case.num_gradients, strict=True)]
        yield {
            "part": "step",
            "target": target,
            "sampler": sampler,
            "num_devices": setting.placement.num_devices,
            "microseconds": 1e6 * costs[0],
            "blackjax_microseconds": 1e6 * costs[1],
            "blackjax_over_ours": costs[1] / costs[0],
            "gradients": case.num_gradients[0],
            "blackjax_gradients": case.num_gradients[1],
            "compile_seconds": case.compile_seconds[0],
            "blackjax_compile_seconds": case.compile_seconds[1],
        }


# The whole -------------------------------------------------------------------------------------------------------


def describe(row: dict[str, Any]) -> str:
    """Write a row in words."""
    if row["part"] == "run":
        name = f"{row['target']:12s} seed {row['seed']} {row['library']:16s} {row['sampler']:6s}: "
        if "failure" in row:
            return name + row["failure"]
        seconds = ", ".join(f"{kind} {value:.1f}" for kind, value in row["seconds"].items())
        return name + (
            f"R-hat {row['rhat_max']:.3f}, ESS {row['ess_min']:.0f} / {row['ess_median']:.0f} of {row['num_draws']} x "
            f"chains, a second {rate(row, 'ess_min', 'sampling'):.2f} / {rate(row, 'ess_median', 'sampling'):.2f}; "
            f"LPPD {row['lppd']:.3f}; {row['num_grad_evals']:,.0f} gradients; seconds: {seconds}"
        )
    if row["part"] == "ratio":
        return (
            f"{row['target']:12s} {row['sampler']:6s} over {row['opponent']:8s} {row['ess']:17s} {row['clock']:22s}: "
            f"{row['median']:6.2f} [{row['low']:.2f}, {row['high']:.2f}], {row['num_seeds']} seeds"
            + ("" if row["converged"] else f" (R-hat above {MAX_RHAT})")
        )
    return (
        f"{row['target']:12s} {row['sampler']:14s}: {row['microseconds']:8.1f} us a gradient, BlackJAX "
        f"{row['blackjax_microseconds']:8.1f}, ratio {row['blackjax_over_ours']:.2f}; compile "
        f"{row['compile_seconds']:.0f} and {row['blackjax_compile_seconds']:.0f} s"
    )


def verdicts(rows: list[dict[str, Any]], num_seeds: int) -> Iterator[str]:
    """Return by target, sampler and opponent how ESS a second, with starts and warmup, compares with the aim."""
    ratios: dict[tuple, dict[str, dict[str, Any]]] = {}
    for row in (row for row in rows if row["part"] == "ratio" and row["clock"] == "with warmup"):
        ratios.setdefault((row["target"], row["sampler"], row["opponent"]), {})[row["ess"]] = row
    for (target, sampler, opponent), of_ess in ratios.items():
        if (sampler, opponent) in FACTORS:
            yield f"{target}: {verdict(of_ess, FACTORS[sampler, opponent], num_seeds)}"
    slower = [row for row in rows if row["part"] == "step" and row["blackjax_over_ours"] < 1]
    names = ", ".join(f"{row['sampler']} on {row['target']} ({row['blackjax_over_ours']:.2f})" for row in slower)
    yield f"steps slower than BlackJAX's: {names or 'none'}"


def verdict(of_ess: dict[str, dict[str, Any]], factor: float, num_seeds: int) -> str:
    """Return in words whether the ratios of a sampler and an opponent meet an aim."""
    row = of_ess["ess_min"]
    least, middle = (of_ess[ess]["median"] for ess in ("ess_min", "ess_median"))
    doubts = [] if row["converged"] else [f"R-hat above {MAX_RHAT}"]
    doubts += [f"{row['num_seeds']} of {num_seeds} seeds finished"] if row["num_seeds"] < num_seeds else []
    is_met = "met" if min(least, middle) >= factor else "not met"
    return (
        f"{row['sampler']} has {least:.2f} (minimum) and {middle:.2f} (median) times the ESS a second, with starts and "
        f"warmup, of {row['opponent']}; {factor:.0f} times is {'undecided: ' + ', '.join(doubts) if doubts else is_met}"
    )


def all_rows(config: Config) -> Iterator[dict[str, Any]]:
    """Yield the rows of all runs and steps, target by target."""
    for target in config.targets:
        for seed in range(config.num_seeds):
            yield from whole_runs(config, target, seed)
        yield from step_rows(config, target)


def ratio_rows(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the ratios of all targets and opponents of the runs among some rows."""
    runs = [row for row in rows if row["part"] == "run"]
    targets = {row["target"]: [other for other in runs if other["target"] == row["target"]] for row in runs}
    opponents = dict.fromkeys(opponent for _, opponent in FACTORS)
    return [ratio for of_target in targets.values() for opponent in opponents for ratio in compare(of_target, opponent)]


def start_jax(num_chains: int) -> None:
    """Start JAX without a cache; NumPyro runs chains at once on as many devices, or one after the other."""
    import os

    import jax

    from asymjax.lab import command_line

    jax.config.update("jax_num_cpu_devices", max(num_chains, len(os.sched_getaffinity(0))))
    command_line.start_jax()
    jax.config.update("jax_enable_compilation_cache", False)


def main(config: Config) -> list[dict[str, Any]]:
    """Run all cases and print one row each."""
    start_jax(config.num_chains)
    from measure import ceilings, save

    machine, rows = ceilings(), []
    for row in all_rows(config):
        rows.append(row)
        print(describe(row), flush=True)
        if config.save:
            path = save(config.name, rows + ratio_rows(rows), machine)
    ratios = ratio_rows(rows)
    print(*map(describe, ratios), *verdicts(rows + ratios, config.num_seeds), sep="\n")
    if config.save:
        print(path)
    return rows + ratios


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
