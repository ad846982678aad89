"""Our samplers against NumPyro's NUTS and BlackJAX called the obvious way, on the same densities, starts and chains.

    python benchmarks/bench_against.py --targets digits uci/energy uci/airfoil --data-dir data/uci

First whole runs, several seeds each: all samplers begin at the same optima, whose training is on nobody's clock, and
are judged by the same code: R-hat and bulk ESS of function space. All keep as many draws, so that warmup is spread over
as many. Ratios of ESS a second are paired by seed; the median and the range over seeds are given, with sampling alone
on the clock, with warmup, and with everything: compilation (nothing comes from a cache), and what our runs write to
disk. Where R-hat is above 1.05 the ESS says little; such ratios are marked, and decide nothing. Nor do samplers without
an accept step, whose ESS is about a biased target. NumPyro is represented by the better of its two ways to run chains,
in each seed.

Then single steps, each side in its own way to use all cores (ours: chains over devices): each of our samplers against
BlackJAX's own with the same step size, metric and steps, in seconds a gradient, in interleaved rounds. With
``--bde-python`` (an interpreter that has sklearn-contrib-bde) also whole runs of ``bnn_mclmc.py --preset uci_quick``
against bde, on the same rows: LPPD at equal time, all of it on the clock.
"""

import math
import statistics
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import tyro

MAX_RHAT = 1.05
ESS = ("ess_min", "ess_median", "within_ess_min", "within_ess_median")
CLOCKS = {
    "sampling": ("sample",),
    "with warmup": ("warmup", "sample"),
    "everything": ("warmup", "sample", "compile", "other"),
}
FACTORS = {"numpyro": 3.0, "blackjax": 2.0}
"""Times the ESS a second of the opponents that our best sampler is meant to have."""
STEP_DOUBLINGS = 6
"""Depth of NUTS' trees where single steps are timed."""


@dataclass(frozen=True)
class Config:
    """What is timed."""

    targets: tuple[str, ...] | None = None
    """Targets as of bench_convergence.py. Default: digits and, in --data-dir, uci/energy and uci/airfoil, else
    diabetes."""
    samplers: tuple[str, ...] = ("hmc", "mclmc")
    """Ours, in whole runs; mclmc is the unadjusted one."""
    opponents: tuple[str, ...] = ("numpyro", "numpyro_parallel", "blackjax")
    """NumPyro's NUTS with chains vectorized or each on a host device of its own, and BlackJAX's."""
    step_samplers: tuple[str, ...] = (
        *("hmc", "mhmc", "dynamic_hmc", "mala", "nuts", "mclmc", "adjusted_mclmc"),
        *("sgld", "sghmc", "sgnht"),
    )
    """Those whose steps are timed beside BlackJAX's."""
    num_seeds: int = 5
    """Whole runs of each, each with starts and noise of its own."""
    num_chains: int = 4
    """Chains of all."""
    num_draws: int = 100
    """Draws a chain, of all."""
    num_warmup: int = 100
    """Steps of warmup of all but our mclmc, and those on minibatches, which have their own."""
    mclmc_warmup: int = 10_000
    """Steps of warmup of our mclmc; a step is two gradients."""
    max_doublings: int = 8
    """Depth of NUTS' trees, for all (10 in BlackJAX and NumPyro unless told otherwise)."""
    map_steps: int = 3000
    """Steps to the optima where chains start."""
    num_gradients: int = 200
    """Gradients over all rows a chain in a call of single steps, about."""
    num_rounds: int = 5
    """Interleaved rounds of single steps; the median is reported."""
    data_dir: Path | None = None
    """Folder of data files."""
    bde_python: Path | None = None
    """Interpreter with bde; without it bde is left out."""
    bde_warmup: int = 5000
    """Steps of warmup of bde."""
    bde_draws: int = 8000
    """Steps of bde after warmup; one in eight is kept."""
    name: str = "against"
    """Name of the file in results/, so that targets with settings of their own can have files of their own."""
    save: bool = True
    """Write it, after every case."""


class Setting(NamedTuple):
    """One target with one seed."""

    target: str
    seed: int
    dataset: Any
    problem: Any
    has_scale_head: bool
    placement: Any
    starts: Any

    @property
    def row(self) -> dict[str, Any]:
        """How rows of this setting begin."""
        return {"target": self.target, "seed": self.seed}


def make_setting(config: Config, target: str, seed: int, folder: Path) -> Setting:
    """Load a target and train the networks where chains start."""
    from bench_convergence import make_target

    from asymjax import rng
    from asymjax.experiments.setup import open_experiment
    from asymjax.inference.starts import Start
    from asymjax.lab import devices
    from asymjax.lab.run_config import RunConfig
    from asymjax.lab.starts import find_start

    data_config, model, posterior = make_target(target, "standard", config.data_dir)
    where = RunConfig(run_dir=folder / "map", progress=False, num_devices=num_devices(config.num_chains))
    opening = open_experiment("against", "", data_config, model, {}, where, posterior)
    dataset, placement = opening.dataset, devices.place(config.num_chains, where.num_devices)
    assert opening.posterior is not None
    problem = opening.posterior.of(opening.model, dataset.task, opening.frozen, dataset.train)
    keys = rng.member_keys(rng.role_key(seed, "init"), config.num_chains)
    _, starts = find_start(opening.run, problem, keys, placement, Start(start="map", map_steps=config.map_steps))
    has_scale_head = opening.posterior.has_scale_head(dataset.task)
    return Setting(target, seed, dataset, problem, has_scale_head, placement, starts)


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


def run_ours(config: Config, setting: Setting, sampler: str, folder: Path) -> dict[str, Any]:
    """Run one of our samplers as ``run_posterior`` does, and return its row."""
    import jax.numpy as jnp
    from measure import timed

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

    _, total, compiling = timed(whole)
    kept = read_arrays(path, "posterior_predictive/outputs", "sample_stats/num_grad_evals")
    seconds = {name: run.seconds[name] for name in ("warmup", "sample")}
    seconds |= {"compile": compiling, "other": max(0.0, total - sum(seconds.values()))}
    return {
        "num_draws": config.num_draws,
        "num_grad_evals": float(kept["sample_stats/num_grad_evals"].sum()),
        "seconds": seconds,
    } | judge(setting, kept["posterior_predictive/outputs"])


def run_opponent(config: Config, setting: Setting, opponent: str) -> dict[str, Any]:
    """Run an opponent, and return its row; what it predicts is computed afterwards, on no clock."""
    from functools import partial

    import jax
    import numpy as np
    import opponents
    from jax import lax

    problem, frozen = setting.problem, setting.problem.frozen
    logdensity = problem.target(frozen, problem.data).logdensity
    sample: Callable = opponents.blackjax_nuts
    if opponent.startswith("numpyro"):
        method = "parallel" if opponent == "numpyro_parallel" else "vectorized"
        sample = partial(opponents.numpyro_nuts, chain_method=method)
    key, num_draws = jax.random.PRNGKey(setting.seed), config.num_draws
    sampled = sample(logdensity, key, setting.starts, config.num_warmup, num_draws, config.max_doublings)
    inputs = setting.dataset.test.inputs
    predict = jax.jit(lambda positions: lax.map(lambda p: problem.predict(p, frozen, inputs), positions))
    chains = [jax.tree.map(lambda leaf, i=i: np.asarray(leaf[i]), sampled.positions) for i in range(config.num_chains)]
    return {
        "num_draws": num_draws,
        "num_grad_evals": sampled.num_grad_evals,
        "seconds": sampled.seconds | {"other": 0.0},
    } | judge(setting, np.stack([np.asarray(predict(chain)) for chain in chains]))


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
                yield row | case()
            except DivergedError as error:
                yield row | {"failure": str(error)}


def rate(row: dict[str, Any], ess: str, clock: str) -> float:
    """Return ESS a second."""
    return row[ess] / sum(row["seconds"][kind] for kind in CLOCKS[clock])


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

    (_, (_, infos)), _, compiling = timed(call)
    return call, float(jnp.sum(kernel.cost(infos))), compiling


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


# bde -------------------------------------------------------------------------------------------------------------


def seconds_of(command: list[str], environment: dict[str, str]) -> float:
    """Return the wall-clock seconds of a process.

    Raises
    ------
    RuntimeError
        If it fails; with the end of what it said.
    """
    import subprocess
    import time

    begun = time.perf_counter()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed: {done.stderr[-1000:]}")
    return time.perf_counter() - begun


def run_bde(config: Config, target: str, seed: int, dataset: Any, folder: Path) -> dict[str, Any]:
    """Run bde on the rows of a dataset in its own interpreter, and return its scores."""
    import json
    import os

    import numpy as np

    from asymjax.diagnostics.scores import score

    train, test = dataset.train, dataset.test
    np.savez(folder / "rows.npz", inputs=train.inputs, targets=train.targets, test_inputs=test.inputs)
    settings = {"n_members": 8, "hidden_layers": [16, 16], "activation": "relu", "epochs": 500, "lr": 0.005}
    settings |= {"warmup_steps": config.bde_warmup, "n_samples": config.bde_draws, "n_thinning": 8, "seed": seed}
    script = Path(__file__).parent / "by_bde.py"
    cores = len(os.sched_getaffinity(0))
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "JAX_COMPILATION_CACHE_DIR")}
    environment |= {"XLA_FLAGS": f"--xla_force_host_platform_device_count={cores}"}
    command = [str(config.bde_python), str(script), str(folder), json.dumps(settings)]
    seconds = seconds_of(command, environment)
    with np.load(folder / "predictive.npz") as kept:
        found, version = score(dataset, [kept["predictive"]]), str(kept["version"])
    return {"bde_version": version, "bde_seconds": seconds, "bde_lppd": found["lppd"], "bde_rmse": found["rmse"]}


def run_quick(config: Config, target: str, seed: int, dataset: Any, folder: Path) -> tuple[dict[str, float], Any]:
    """Run ``bnn_mclmc.py --preset uci_quick`` with nothing compiled before; return scores and the curve of LPPD."""
    import os
    import sys

    from asymjax.experiments.posterior.draws import convergence_curve
    from asymjax.lab import run_files

    script = Path(__file__).parents[1] / "runs" / "bnn_mclmc.py"
    options = {"dataset": target, "init-seed": seed, "seed": seed, "run-dir": folder / "run"}
    if config.data_dir is not None:
        options["data-dir"] = config.data_dir
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": str(folder / "cache")}
    command = [sys.executable, str(script), "--preset", "uci_quick", *words]
    total = seconds_of(command, environment)
    summary = run_files.read_json(folder / "run" / "summary.json")
    curve = convergence_curve(folder / "run", dataset, has_scale_head=True)
    shares = curve["num_draws"] / curve["num_draws"][-1]
    sampling = summary["seconds"]["sample"]
    found = summary["test"]["posterior"]
    scores = {"seconds": total, "lppd": found["lppd"], "rmse": found["rmse"]}
    return scores, (total - sampling + shares * sampling, curve["lppd"])


def bde_row(config: Config, target: str, seed: int) -> dict[str, Any]:
    """Return the row of bde and of ours on one regression target.

    ``lppd_at_equal_time`` is ours after the last part of the draws that ended before bde did, None where bde was done
    before our first.
    """
    from asymjax import data

    dataset = data.load(target, config.data_dir)
    with tempfile.TemporaryDirectory() as folder:
        row = {"part": "bde", "target": target, "seed": seed} | run_bde(config, target, seed, dataset, Path(folder))
        scores, (ends, lppd) = run_quick(config, target, seed, dataset, Path(folder))
    in_time = lppd[ends <= row["bde_seconds"]]
    return row | scores | {"lppd_at_equal_time": float(in_time[-1]) if len(in_time) else None}


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
            f"{row['target']:12s} {row['sampler']:6s} over {row['opponent']:8s} {row['ess']:17s} {row['clock']:11s}: "
            f"{row['median']:6.2f} [{row['low']:.2f}, {row['high']:.2f}], {row['num_seeds']} seeds"
            + ("" if row["converged"] else f" (R-hat above {MAX_RHAT})")
        )
    if row["part"] == "step":
        return (
            f"{row['target']:12s} {row['sampler']:14s}: {row['microseconds']:8.1f} us a gradient, BlackJAX "
            f"{row['blackjax_microseconds']:8.1f}, ratio {row['blackjax_over_ours']:.2f}; compile "
            f"{row['compile_seconds']:.0f} and {row['blackjax_compile_seconds']:.0f} s"
        )
    equal = row["lppd_at_equal_time"]
    return (
        f"{row['target']:12s} seed {row['seed']} bde: LPPD {row['bde_lppd']:.3f}, RMSE {row['bde_rmse']:.3f}, "
        f"{row['bde_seconds']:.0f} s; uci_quick: {row['lppd']:.3f}, {row['rmse']:.3f}, {row['seconds']:.0f} s; "
        f"LPPD in bde's time: {'-' if equal is None else format(equal, '.3f')}"
    )


def verdicts(rows: list[dict[str, Any]], num_seeds: int) -> Iterator[str]:
    """Return by target and opponent how our best exact sampler, by minimum ESS with warmup, compares with the aim.

    Biased ones have a line each, and decide nothing.
    """
    from bench_convergence import BIASED

    runs = [row for row in rows if row["part"] == "run"]
    ratios = [row for row in rows if row["part"] == "ratio" and row["clock"] == "with warmup"]
    for target, opponent in product(dict.fromkeys(row["target"] for row in runs), FACTORS):
        if not any(row["library"].startswith(opponent) for row in runs):
            continue
        group: dict[str, dict[str, Any]] = {}
        for row in ratios:
            if (row["target"], row["opponent"]) == (target, opponent):
                group.setdefault(row["sampler"], {})[row["ess"]] = row
        for sampler in group:
            if sampler in BIASED:
                yield f"{target}: {in_words(sampler, group[sampler])} of {opponent}, but is biased and does not count"
        exact = {sampler: of_ess for sampler, of_ess in group.items() if sampler not in BIASED}
        yield f"{target}: {verdict(exact, opponent, num_seeds)}"
    slower = [row for row in rows if row["part"] == "step" and row["blackjax_over_ours"] < 1]
    names = ", ".join(f"{row['sampler']} on {row['target']} ({row['blackjax_over_ours']:.2f})" for row in slower)
    yield f"steps slower than BlackJAX's: {names or 'none'}"


def verdict(ratios: dict[str, dict[str, Any]], opponent: str, num_seeds: int) -> str:
    """Return whether the best of some samplers, those of which all is known before others, meets the aim."""
    aim = f"{FACTORS[opponent]:.0f} times that of {opponent}"
    if not ratios:
        return f"{aim} is undecided: no exact sampler finished beside it"

    def doubts(of_ess: dict[str, Any]) -> list[str]:
        row = of_ess["ess_min"]
        apart = [] if row["converged"] else [f"R-hat above {MAX_RHAT}"]
        return apart + ([f"{row['num_seeds']} of {num_seeds} seeds finished"] if row["num_seeds"] < num_seeds else [])

    best = max(ratios, key=lambda name: (not doubts(ratios[name]), ratios[name]["ess_min"]["median"]))
    is_met = min(ratios[best][ess]["median"] for ess in ("ess_min", "ess_median")) >= FACTORS[opponent]
    found = f"undecided: {', '.join(doubts(ratios[best]))}" if doubts(ratios[best]) else "met" if is_met else "not met"
    return f"{in_words(best, ratios[best])} of {opponent}; {aim} is {found}"


def in_words(sampler: str, of_ess: dict[str, Any]) -> str:
    """Write the ratios of a sampler in words."""
    least, middle = (of_ess[ess]["median"] for ess in ("ess_min", "ess_median"))
    return f"{sampler} has {least:.2f} (minimum) and {middle:.2f} (median) times the ESS a second, warmup included,"


def all_rows(config: Config, targets: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    """Yield all rows, target by target."""
    for target in targets:
        runs = []
        for seed in range(config.num_seeds):
            for row in whole_runs(config, target, seed):
                runs.append(row)
                yield row
        for opponent in FACTORS:
            yield from compare(runs, opponent) if runs else ()
        yield from step_rows(config, target)
        if config.bde_python is not None and target != "digits":
            yield from (bde_row(config, target, seed) for seed in range(config.num_seeds))


def main(config: Config) -> list[dict[str, Any]]:
    """Run all cases and print one row each."""
    import os

    import jax

    from asymjax.lab import command_line

    # NumPyro runs chains at once on as many devices as there are chains, or one after the other.
    jax.config.update("jax_num_cpu_devices", max(config.num_chains, len(os.sched_getaffinity(0))))
    command_line.start_jax()
    jax.config.update("jax_enable_compilation_cache", False)
    from measure import ceilings, save

    default = ("digits", "diabetes") if config.data_dir is None else ("digits", "uci/energy", "uci/airfoil")
    machine, rows = ceilings(), []
    for row in all_rows(config, config.targets or default):
        rows.append(row)
        print(describe(row), flush=True)
        if config.save:
            path = save(config.name, rows, machine)
    for line in verdicts(rows, config.num_seeds):
        print(line)
    if config.save:
        print(path)
    return rows


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
