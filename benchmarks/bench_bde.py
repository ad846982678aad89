"""bde beside our samplers on the same rows of regression sets: LPPD and RMSE on test rows, at equal time.

    python benchmarks/bench_bde.py --bde-python ENVIRONMENT/bin/python --data-dir DATA

ENVIRONMENT has sklearn-contrib-bde. All sample eight networks of two layers of 16 ReLU units with a noise scale as a
second output and unit Gaussian priors: bde, ``bnn_mclmc.py --preset uci_quick``, and ``bnn_hmc.py`` with the same
network. Each is a process of its own with nothing compiled before, from start to end on the clock; those of a seed
follow each other. ``in_time`` are scores of ours after the last draws that ended before bde did, the reports
of the run counted before them; None where there are none. ``integers`` is a table that is made here: targets are whole
numbers from 3 to 8, so that a noise scale can shrink to nothing, and rows are repeated.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tyro

ROOT = Path(__file__).resolve().parents[1]
NETWORK = ("--widths", "16", "16", "--norm", "none", "--activation", "relu", "--prior", "isotropic")
OURS = {
    "mclmc": ("bnn_mclmc.py", "--preset", "uci_quick"),
    "hmc": ("bnn_hmc.py", *NETWORK, "--output-prior-scale", "1", "--num-chains", "8", "--map-steps", "0"),
}
"""Our samplers: script and settings."""
SCORES = ("lppd", "rmse")


@dataclass(frozen=True)
class Config:
    """What is compared."""

    bde_python: Path
    """Interpreter of an environment with sklearn-contrib-bde."""
    targets: tuple[str, ...] = ("uci/airfoil", "uci/concrete", "uci/yacht", "integers")
    """integers, or regression sets in --data-dir."""
    data_dir: Path | None = None
    """Folder of data files."""
    num_seeds: int = 3
    """Runs of each, on the same split."""
    hmc_draws: int = 200
    """Draws a chain of HMC."""
    bde_warmup: int = 5000
    """Steps of warmup of bde."""
    bde_draws: int = 8000
    """Steps of bde after warmup; one in eight is kept."""
    name: str = "bde"
    """Name of the file in results/."""
    save: bool = True
    """Write it, after every case."""


class Source(NamedTuple):
    """Where data come from, as the command line has it, and what they are."""

    words: tuple[str, ...]
    dataset: Any


def write_integers(folder: Path) -> Path:
    """Write a table of 11 log-normal inputs and a whole number: 1,360 rows, and the first 240 of them again."""
    numbers = np.random.default_rng(0)
    z = numbers.normal(size=(1360, 11))
    y = 5.6 + 0.5 * z[:, 0] - 0.35 * z[:, 1] + 0.2 * z[:, 2] * z[:, 3] + 0.65 * numbers.normal(size=len(z))
    rows = np.column_stack([np.exp(z), np.clip(np.round(y), 3, 8)])
    header = ",".join([*(f"x{i}" for i in range(11)), "y"])
    path = folder / "integers.csv"
    np.savetxt(path, np.concatenate([rows, rows[:240]]), "%.9g", ",", header=header, comments="")
    return path


def make_source(target: str, data_dir: Path | None, folder: Path) -> Source:
    """Return where the data of a target come from; ``folder`` is for a table that is made."""
    from asymjax import data

    if target == "integers":
        target, data_dir = f"table/{write_integers(folder).name}", folder
    words = ["--dataset", target] + ([] if data_dir is None else ["--data-dir", str(data_dir)])
    return Source(tuple(words), data.load(target, data_dir))


def cost_of(command: list[str], **environment: str) -> dict[str, float]:
    """Return the seconds of a process, on the clock and of the processor.

    Raises
    ------
    RuntimeError
        If it fails; with the end of what it said.
    """
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed: {done.stderr[-1000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": time.perf_counter() - begun, "processor_seconds": used}


def run_bde(config: Config, source: Source, seed: int, folder: Path) -> dict[str, Any]:
    """Run bde in its own interpreter, and return its scores."""
    from asymjax.diagnostics.scores import score

    train, test = source.dataset.train, source.dataset.test
    np.savez(folder / "rows.npz", inputs=train.inputs, targets=train.targets, test_inputs=test.inputs)
    settings = {"n_members": 8, "hidden_layers": [16, 16], "activation": "relu", "epochs": 500, "lr": 0.005}
    settings |= {"warmup_steps": config.bde_warmup, "n_samples": config.bde_draws, "n_thinning": 8, "seed": seed}
    command = [str(config.bde_python), str(ROOT / "benchmarks" / "by_bde.py"), str(folder), json.dumps(settings)]
    flags = f"--xla_force_host_platform_device_count={len(os.sched_getaffinity(0))}"
    found = cost_of(command, PYTHONPATH="", XLA_FLAGS=flags, JAX_COMPILATION_CACHE_DIR=str(folder / "cache"))
    with np.load(folder / "predictive.npz") as kept:
        scores = score(source.dataset, [kept["predictive"]])
        return {"version": str(kept["version"])} | found | {name: scores[name] for name in SCORES}


def run_ours(config: Config, sampler: str, source: Source, seed: int, limit: float, folder: Path) -> dict[str, Any]:
    """Run one of our samplers, and return its scores, those after ``limit`` seconds among them."""
    from asymjax.diagnostics.scores import score
    from asymjax.lab import run_files
    from asymjax.lab.results import read_arrays

    script, *words = OURS[sampler]
    path = folder / sampler
    words += [*source.words, "--init-seed", str(seed), "--seed", str(seed), "--run-dir", str(path)]
    words += ["--num-draws", str(config.hmc_draws)] if sampler == "hmc" else []
    command = [sys.executable, str(ROOT / "runs" / script), *words]
    found = cost_of(command, JAX_COMPILATION_CACHE_DIR=str(folder / f"{sampler}_cache"))
    sampling = run_files.read_json(path / "summary.json")["seconds"]["sample"]
    (outputs,) = read_arrays(path, "posterior_predictive/outputs").values()
    share = 1 - (found["seconds"] - limit) / sampling
    in_time = outputs[:, : max(0, min(outputs.shape[1], int(share * outputs.shape[1])))]
    scores, early = score(source.dataset, [outputs]), score(source.dataset, [in_time]) if in_time.size else {}
    return found | {name: scores[name] for name in SCORES} | {f"{name}_in_time": early.get(name) for name in SCORES}


def all_rows(config: Config) -> Iterator[dict[str, Any]]:
    """Yield a row for each seed, target and sampler."""
    for seed, target in product(range(config.num_seeds), config.targets):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            source = make_source(target, config.data_dir, folder)
            row: dict[str, Any] = {"target": target, "seed": seed}
            bde = row | {"library": "bde", "sampler": "mclmc"} | run_bde(config, source, seed, folder)
            yield bde
            for sampler in OURS:
                found = run_ours(config, sampler, source, seed, bde["seconds"], folder)
                yield row | {"library": "asymjax", "sampler": sampler} | found


def describe(row: dict[str, Any]) -> str:
    """Write a row in words."""
    early = ""
    if "lppd_in_time" in row:
        in_time = [row[f"{name}_in_time"] for name in SCORES]
        early = "; in bde's time " + ", ".join("-" if value is None else f"{value:.3f}" for value in in_time)
    return (
        f"{row['target']:12s} seed {row['seed']} {row['library']:8s} {row['sampler']:6s}: LPPD {row['lppd']:.3f}, RMSE "
        f"{row['rmse']:.3f}, {row['seconds']:.0f} s, {row['processor_seconds']:.0f} s of processors{early}"
    )


def main(config: Config) -> list[dict[str, Any]]:
    """Run all cases and print one row each."""
    from measure import ceilings, save

    from asymjax.lab import devices

    devices.configure_host_devices()
    machine, rows = ceilings() if config.save else {}, []
    for row in all_rows(config):
        rows.append(row)
        print(describe(row), flush=True)
        if config.save:
            path = save(config.name, rows, machine)
    if config.save:
        print(path)
    return rows


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
