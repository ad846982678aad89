"""Gradients and seconds that samplers take to converge in function space, on one target after the other.

    python benchmarks/bench_convergence.py --targets toy diabetes --samplers hmc nuts
    python benchmarks/bench_convergence.py --targets uci/energy uci/energy:4x16 --data-dir DATA/uci --resume
    python benchmarks/plot_convergence.py

Every case is a whole run from the usual starts: anchored ones, warmup, draws. After each tenth of the draws R-hat
(maximum) and bulk ESS (minimum over all outputs on the probe inputs) are computed from the draws so far; converged is
the first of these points with R-hat below 1.05 (or 1.01) and ESS above 400. Gradients are those of all chains over all
data, starts and warmup included; so are seconds, with compilation apart. No MAP networks are trained. What does not
converge within its draws, or diverges, is kept and counted as a failure. Where the posterior is known without sampling
(linear, two_units; see exact.py), a row holds the log evidence, and by how many posterior standard deviations, and
standard errors, means and spreads of the outputs on the test inputs miss theirs, at the worst input.
"""

import tempfile
import time
from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import tyro

from asymjax.data.config import DataConfig
from asymjax.errors import DivergedError, InputError, choose
from asymjax.experiments.posterior.config import FAMILIES, sampling_record
from asymjax.experiments.posterior.config import Config as Case
from asymjax.inference import ALGORITHMS
from asymjax.inference.posterior import PosteriorConfig
from asymjax.inference.starts import Start
from asymjax.lab.chains import ChainsConfig
from asymjax.lab.run_config import RunConfig
from asymjax.models.backbones import MLP
from asymjax.models.config import ModelConfig, Models, each_method
from asymjax.rng import SeedConfig

MIN_ESS = 400
THRESHOLDS = (1.05, 1.01)
# One step of mala is far from a draw; one of adjusted_mclmc is a trajectory, and the defaults are those of mclmc.
CHANGED = {"mala": {"thinning": 20}, "adjusted_mclmc": {"thinning": 1, "num_warmup": 100}}
BIASED = ("mclmc", *FAMILIES["sgld"])
"""Samplers without an accept step, whose draws are not of the posterior whatever their number."""


@dataclass(frozen=True)
class Config:
    """What is timed."""

    targets: tuple[str, ...] = ("linear", "two_units", "toy", "diabetes", "digits")
    """Targets: linear (on diabetes, known noise), two_units (1-2-1 tanh on toy1d, known noise 1), toy (1-8-1 tanh on
    toy1d, known noise 0.1), digits (the default network), or another dataset: 2x16 tanh for diabetes, breast_cancer,
    and uci/energy, uci/yacht, uci/airfoil, uci/concrete in --data-dir; another network as in uci/energy:4x16."""
    archs: tuple[str, ...] = ("standard", "w_asym", "sigma_asym")
    """Methods."""
    samplers: tuple[str, ...] = ("hmc", "nuts", "mclmc")
    """Samplers, out of those of runs/bnn_hmc.py, bnn_nuts.py, bnn_mclmc.py and bnn_sgld.py, as they are by default; but
    mala keeps one draw in 20, and adjusted_mclmc takes 100 trajectories of warmup and keeps all."""
    num_seeds: int = 1
    """Runs of each case, each with seeds of its own."""
    num_draws: int = 400
    """Draws a chain at which a case ends."""
    data_dir: Path | None = None
    """Folder of data files."""
    name: str = "convergence"
    """Name of the file in results/, or a path without its .json."""
    save: bool = True
    """Write it, after every case."""
    resume: bool = False
    """Keep the rows that are in it, and run the cases that have none of this commit, device and settings. Rows of code
    with uncommitted changes count as none."""


def make_case(config: Config, target: str, arch: str, sampler: str, seed: int) -> Case:
    """Return the configuration of a case.

    Raises
    ------
    InputError
        If the sampler is unknown, or the network of the target is not layers x units.
    """
    data, model, posterior = make_target(target, arch, config.data_dir)
    own = choose(ALGORITHMS, sampler, "sampler")(**CHANGED.get(sampler, {}))
    chains = ChainsConfig(num_draws=config.num_draws, keep="outputs")
    return Case(data, model, posterior, own, Start(map_steps=0), chains, SeedConfig(seed, seed))


def make_target(name: str, arch: str, data_dir: Path | None) -> tuple[DataConfig, ModelConfig, PosteriorConfig]:
    """Return the configurations of data, model and posterior of a target.

    Raises
    ------
    InputError
        If the network is not layers x units.
    """
    if name == "digits":
        return DataConfig("digits"), ModelConfig.of(arch), PosteriorConfig()
    if name == "linear":
        model = ModelConfig.of(arch, widths=(), norm="none", activation="identity")
        return DataConfig("diabetes"), model, PosteriorConfig(noise="fixed", noise_scale=0.7)
    if name in ("toy", "two_units"):
        num_units, noise_scale = (8, 0.1) if name == "toy" else (2, 1.0)
        # The one input of each unit stays free.
        backbone = MLP((num_units,), norm="none", activation="tanh")
        model = Models(each_method(num_fixed=(0, 0.5)), backbone).of(arch)
        return DataConfig("toy1d"), model, PosteriorConfig("isotropic", noise="fixed", noise_scale=noise_scale)
    dataset, _, network = name.partition(":")
    layers, cross, units = (network or "2x16").partition("x")
    if not (cross and layers.isdecimal() and units.isdecimal()):
        raise InputError(f"{name}: the network is {network!r}, expected layers x units, as in {dataset}:4x16")
    model = ModelConfig.of(arch, widths=(int(units),) * int(layers), norm="none", activation="tanh")
    return DataConfig(dataset, data_dir), model, PosteriorConfig()


def run_case(case: Case) -> dict[str, Any]:
    """Run one case and return its numbers, or what stopped it."""
    from asymjax.experiments.posterior.run import run_posterior

    with tempfile.TemporaryDirectory() as folder:
        try:
            path = run_posterior(replace(case, run=RunConfig(out=Path(folder), progress=False)))
        except DivergedError as error:
            return {"failure": str(error)}
        return measure_run(path, case)


def measure_run(path: Path, case: Case) -> dict[str, Any]:
    """Return the numbers of a finished run."""
    from asymjax import data
    from asymjax.experiments.posterior.draws import convergence_curve
    from asymjax.lab import run_files

    summary = run_files.read_json(path / "summary.json")
    dataset = data.load(case.data.dataset, case.data.data_dir, case.data.data_seed)
    has_scale_head = case.posterior.has_scale_head(dataset.task)
    curve = convergence_curve(path, dataset, has_scale_head)
    curve["num_grad_evals"] += case.start.num_starts(case.chains.num_chains) * case.start.anchored_steps
    seconds, function = summary["seconds"], summary["function_space"]
    return {
        **when_converged(curve, seconds["start"] + seconds["warmup"], seconds["sample"]),
        "ess_bulk_min": function["ess_bulk_min"],
        "rhat_max": function["rhat_max"],
        "ess_per_gradient": function["ess_bulk_min_per_grad_eval"],
        "ess_per_second": seconds["ess_bulk_min_per_second"],
        "compile_seconds": seconds["compile"],
        "lppd": summary["test"]["posterior"]["lppd"],
        "num_divergent": float(summary["sampler"]["num_divergent"]),
        **beside_exact(path, case),
        "seconds": seconds,
        "curve": curve,
    }


@cache
def exact_answer(data_config: DataConfig, model_config: ModelConfig, posterior: PosteriorConfig) -> Any:
    """Return what chains should find on the test inputs."""
    import numpy as np
    from exact import solve

    from asymjax import data

    dataset = data.load(data_config.dataset, data_config.data_dir, data_config.data_seed)
    return solve(posterior.build(model_config, dataset), posterior, np.asarray(dataset.test.inputs))


def beside_exact(path: Path, case: Case) -> dict[str, float]:
    """Return the evidence, and by how much mean and spread of the outputs miss, at their worst.

    ``mean_error`` and ``variance_error`` are in standard errors, which say little of chains that have not converged;
    ``mean_off`` and ``spread_off`` (of the standard deviation) in standard deviations of the exact posterior. Nothing
    where the noise is not known or the network is too large for a grid.
    """
    import numpy as np

    from asymjax.diagnostics.convergence import per_coordinate
    from asymjax.lab.results import read_arrays

    if case.posterior.noise != "fixed" or getattr(case.model.backbone, "widths", None) not in ((), (2,)):
        return {}
    answer = exact_answer(case.data, case.model, case.posterior)
    (outputs,) = read_arrays(path, "posterior_predictive/outputs").values()
    outputs = outputs[:, :, : len(answer.mean), 0].astype(np.float64)

    def worst(series: np.ndarray, expected: np.ndarray) -> float:
        standard_error = series.std((0, 1)) / np.sqrt(per_coordinate(series)["ess_bulk"])
        return float(np.max(np.abs(series.mean((0, 1)) - expected) / standard_error))

    squares, exact = np.square(outputs - answer.mean), np.sqrt(answer.variance)
    return {
        "log_evidence": answer.log_evidence,
        "mean_error": worst(outputs, answer.mean),
        "variance_error": worst(squares, answer.variance),
        "mean_off": float(np.max(np.abs(outputs.mean((0, 1)) - answer.mean) / exact)),
        "spread_off": float(np.max(np.abs(np.sqrt(squares.mean((0, 1))) / exact - 1))),
    }


def when_converged(curve: dict[str, Any], seconds_before: float, sample_seconds: float) -> dict[str, float | None]:
    """Return gradients and seconds at the first point below each threshold, None where there is none."""
    found: dict[str, float | None] = {}
    for threshold in THRESHOLDS:
        good = (curve["rhat_max"] < threshold) & (curve["ess_bulk_min"] > MIN_ESS)
        first = int(good.argmax()) if good.any() else None
        share = None if first is None else curve["num_draws"][first] / curve["num_draws"][-1]
        found[f"gradients_to_{threshold}"] = None if first is None else float(curve["num_grad_evals"][first])
        found[f"seconds_to_{threshold}"] = None if share is None else seconds_before + share * sample_seconds
    return found


def main(config: Config) -> list[dict[str, Any]]:
    """Run all cases and print one row each."""
    import jax

    from asymjax.lab import command_line

    command_line.start_jax()
    jax.config.update("jax_enable_compilation_cache", False)
    from measure import RESULTS, ceilings, has_changes, save

    from asymjax.lab.run_files import read_json

    path, machine = RESULTS / f"{config.name}.json", ceilings() if config.save else {}
    rows: list[dict[str, Any]] = read_json(path)["rows"] if config.resume and path.exists() else []
    is_changed = has_changes()
    rows = [row for row in rows if not row["origin"].get("is_changed", True)]
    names = list(product(config.targets, config.archs, config.samplers, range(config.num_seeds)))
    cases = {identity: make_case(config, *identity) for identity in names}
    for identity, case in cases.items():
        row = dict(zip(("target", "arch", "sampler", "seed"), identity, strict=True)) | origin(case, is_changed)
        if not is_changed and any(row.items() <= other.items() for other in rows):
            continue
        begun = time.perf_counter()
        rows.append(row | run_case(case))
        print(describe(rows[-1], time.perf_counter() - begun), flush=True)
        if config.save:
            save(config.name, rows, machine)
    num_failed = sum(row.get(f"gradients_to_{THRESHOLDS[0]}") is None for row in rows)
    print(f"{num_failed} of {len(rows)} cases did not converge to {THRESHOLDS[0]}")
    if config.save:
        print(path)
    return rows


def origin(case: Case, is_changed: bool) -> dict[str, Any]:
    """Return the settings of a case, the commit, whether code differs from it, and the device, as JSON has them."""
    from asymjax.lab.run_files import to_json
    from asymjax.lab.rundir import provenance

    own = {"posterior": case.posterior, "seeds": case.seeds, **sampling_record(case)}
    settings = to_json({"data": to_json(case.data), "model": case.model.record(), **own})
    made_by = {name: provenance()[name] for name in ("commit", "device")}
    return {"settings": settings, "origin": made_by | {"is_changed": is_changed}}


def describe(row: dict[str, Any], total_seconds: float) -> str:
    """Write a row in words."""
    name = f"{row['target']:12s} {row['arch']:11s} {row['sampler']:14s} seed {row['seed']}: "
    if "failure" in row:
        return name + row["failure"]

    def cost(threshold: float) -> str:
        if row[f"gradients_to_{threshold}"] is None:
            return f"{threshold} not reached"
        gradients, seconds = (row[f"{unit}_to_{threshold}"] for unit in ("gradients", "seconds"))
        return f"{threshold} after {gradients:,.0f} gradients, {seconds:.1f} s"

    return name + (
        f"{'; '.join(map(cost, THRESHOLDS))}; in the end R-hat {row['rhat_max']:.3f}, ESS {row['ess_bulk_min']:.0f}, "
        f"{1000 * row['ess_per_gradient']:.2f} per 1,000 gradients, {row['ess_per_second']:.1f} per second; "
        f"compile {row['compile_seconds']:.0f} s, {total_seconds:.0f} s in all"
        + (describe_exact(row) if "log_evidence" in row else "")
    )


def describe_exact(row: dict[str, Any]) -> str:
    """Write in words what a row misses the exact answer by; standard errors only where chains have converged."""
    words = "; exact: mean off {mean_off:.3f}, spread {spread_off:.3f} posterior standard deviations"
    if row[f"gradients_to_{THRESHOLDS[0]}"] is not None:
        words += " (mean {mean_error:.1f}, variance {variance_error:.1f} standard errors)"
    return (words + ", log evidence {log_evidence:.2f}").format(**row)


if __name__ == "__main__":
    try:
        main(tyro.cli(Config, description=__doc__))
    except InputError as problem:
        raise SystemExit(f"error: {problem}") from None
