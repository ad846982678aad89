"""Gradients and seconds that samplers take to converge in function space, on one target after the other.

    python benchmarks/bench_convergence.py --targets diabetes --samplers hmc nuts

Every case is a whole run: MAP networks, warmup, draws. After each tenth of the draws R-hat (maximum) and bulk ESS
(minimum over all outputs on the probe inputs) are computed from the draws so far; converged is the first of these
points with R-hat below 1.05 (or 1.01) and ESS above 400. Gradients are those of all chains over all data, warmup
included; seconds are those of warmup and sampling, compilation and the training of the MAP networks apart. What does
not converge within its draws, or diverges, is kept and counted as a failure.
"""

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

MIN_ESS = 400
THRESHOLDS = (1.05, 1.01)


@dataclass(frozen=True)
class Config:
    """What is timed."""

    targets: tuple[str, ...] = ("linear", "diabetes", "digits")
    """Targets: linear (known noise), diabetes (2x16 tanh), digits (the default network), or a dataset in --data-dir
    (uci/energy, uci/yacht, uci/airfoil, uci/concrete; 2x16 tanh)."""
    archs: tuple[str, ...] = ("standard", "w_asym", "sigma_asym")
    """Methods."""
    samplers: tuple[str, ...] = ("hmc", "nuts", "mclmc")
    """Samplers, out of those of runs/bnn_hmc.py, bnn_nuts.py, bnn_mclmc.py and bnn_sgld.py, as they are by default."""
    num_seeds: int = 1
    """Runs of each case, each with seeds of its own."""
    num_draws: int = 400
    """Draws a chain at which a case ends."""
    data_dir: Path | None = None
    """Folder of data files."""
    save: bool = True
    """Write results/convergence.json."""


def make_target(name: str, arch: str, data_dir: Path | None) -> tuple[Any, Any, Any]:
    """Return the configurations of data, model and posterior of a target."""
    from asymjax.config import DataConfig, ModelConfig, PosteriorConfig

    if name == "digits":
        return DataConfig("digits"), ModelConfig(arch), PosteriorConfig()
    if name == "linear":
        model = ModelConfig(arch, widths=(), norm="none", activation="identity")
        return DataConfig("diabetes"), model, PosteriorConfig(noise="fixed", noise_scale=0.7)
    model = ModelConfig(arch, widths=(16, 16), norm="none", activation="tanh")
    return DataConfig(name, data_dir), model, PosteriorConfig()


def run_case(config: Config, target: str, arch: str, sampler: str, seed: int) -> dict[str, Any]:
    """Run one case and return its row, or what stopped it."""
    from asymjax import data, results
    from asymjax.config import RunConfig, SeedConfig, chains_of
    from asymjax.diagnostics.evaluate import convergence_curve
    from asymjax.errors import DivergedError
    from asymjax.experiments import run_posterior

    row = {"target": target, "arch": arch, "sampler": sampler, "seed": seed}
    data_config, model, posterior = make_target(target, arch, config.data_dir)
    family, chains = chains_of(sampler, num_draws=config.num_draws, keep="outputs")
    dataset = data.load(data_config.dataset, data_config.data_dir, data_config.data_seed)
    has_scale_head = dataset.task == "regression" and posterior.noise == "heteroscedastic"
    with tempfile.TemporaryDirectory() as folder:
        where = RunConfig(out=Path(folder), progress=False)
        try:
            path = run_posterior(family, data_config, model, posterior, chains, SeedConfig(seed, seed), where)
        except DivergedError as error:
            return row | {"failure": str(error)}
        summary = results.read_json(path / "summary.json")
        curve = convergence_curve(path, dataset, has_scale_head)
    seconds, function = summary["seconds"], summary["function_space"]
    return (
        row
        | when_converged(curve, seconds["warmup"], seconds["sample"])
        | {
            "curve": curve,
            "seconds": seconds,
            "ess_bulk_min": function["ess_bulk_min"],
            "rhat_max": function["rhat_max"],
        }
        | {
            "ess_per_gradient": function["ess_bulk_min_per_grad_eval"],
            "ess_per_second": seconds["ess_bulk_min_per_second"],
        }
        | {"num_divergent": summary["sampler"]["num_divergent"], "lppd": summary["test"]["posterior"]["lppd"]}
    )


def when_converged(curve: dict[str, Any], warmup_seconds: float, sample_seconds: float) -> dict[str, float | None]:
    """Return gradients and seconds at the first point below each threshold, None where there is none."""
    found: dict[str, float | None] = {}
    for threshold in THRESHOLDS:
        good = (curve["rhat_max"] < threshold) & (curve["ess_bulk_min"] > MIN_ESS)
        first = int(good.argmax()) if good.any() else None
        share = None if first is None else curve["num_draws"][first] / curve["num_draws"][-1]
        found[f"gradients_to_{threshold}"] = None if first is None else float(curve["num_grad_evals"][first])
        found[f"seconds_to_{threshold}"] = None if share is None else warmup_seconds + share * sample_seconds
    return found


def main(config: Config) -> list[dict[str, Any]]:
    """Run all cases and print one row each."""
    from asymjax import cli

    cli.start_jax()
    from measure import ceilings, save

    machine, rows = ceilings(), []
    for target in config.targets:
        for arch in config.archs:
            for sampler in config.samplers:
                for seed in range(config.num_seeds):
                    begun = time.perf_counter()
                    rows.append(run_case(config, target, arch, sampler, seed))
                    print(describe(rows[-1], time.perf_counter() - begun), flush=True)
                    if config.save:
                        path = save("convergence", rows, machine)
    num_failed = sum(row.get(f"gradients_to_{THRESHOLDS[0]}") is None for row in rows)
    print(f"{num_failed} of {len(rows)} cases did not converge to {THRESHOLDS[0]}")
    if config.save:
        print(path)
    return rows


def describe(row: dict[str, Any], seconds: float) -> str:
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
        f"compile {row['seconds']['compile']:.0f} s, {seconds:.0f} s in all"
    )


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
