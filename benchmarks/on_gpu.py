"""All that an accelerator can show, in one go: correctness of every room, then how fast it is.

    python benchmarks/on_gpu.py

Each part is a process with a time limit of its own, so that one that fails or hangs costs no other. Results go to
``--out`` as JSON, part by part; a part that is there is not run again. ``--tiny`` is the same on a laptop's CPU, to
check that every part runs.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import tyro

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Config:
    """What is run, and where its results go."""

    out: Path = Path("results/on_gpu")
    """Folder of the results, a file a part, and of the run directories."""
    parts: tuple[str, ...] = ()
    """Parts to run. Default: all."""
    tiny: bool = False
    """Sizes of a smoke test, with four times the time limits."""
    seconds: float = 480.0
    """Time for all parts together; those that do not fit are left out by name."""


class Part(NamedTuple):
    """One command.

    Attributes
    ----------
    words : the command without its interpreter; ``OUT`` stands for a folder of its own.
    seconds : its time limit.
    tiny : words that make it small, after those.
    environment : variables of its process.
    """

    words: tuple[str, ...]
    seconds: float
    tiny: tuple[str, ...] = ()
    environment: Mapping[str, str] = MappingProxyType({})


def _run(script: str, *words: str) -> tuple[str, ...]:
    return (f"runs/{script}.py", *words, "--out", "OUT", "--no-progress")


def _convolve(way: str, *depths: str) -> tuple[str, ...]:
    """Return the words of a run with one way to convolve, which may abort its process."""
    sizes = ("--depths", *depths, "--num-networks", "1", "8", "32", "--inside", "vectorized", "--num-steps", "10")
    return ("benchmarks/bench_convolution.py", *sizes, "--convolutions", way)


SMOKE = ("--preset", "smoke")
CHECKS: dict[str, Part] = {
    "hmc": Part(_run("bnn_hmc", *SMOKE), 200),
    "hmc_sigma_asym": Part(_run("bnn_hmc", *SMOKE, "--arch", "sigma_asym"), 200),
    "nuts": Part(_run("bnn_nuts", *SMOKE), 200),
    "mclmc": Part(_run("bnn_mclmc", *SMOKE), 200),
    "sgld": Part(_run("bnn_sgld", *SMOKE), 200),
    "vi": Part(_run("bnn_vi", *SMOKE, "--family", "lowrank", "--arch", "w_asym"), 200),
    "sweep": Part(_run("train_sweep", *SMOKE, "--arch", "w_asym"), 200),
    "zoo": Part(_run("zoo", *SMOKE, "--arch", "w_asym"), 200),
    "connectivity": Part(_run("lmc", *SMOKE), 200),
    "interpolation": Part(_run("mli", *SMOKE), 200),
    "sparse": Part(_run("sparse_lmc", *SMOKE, "--archs", "standard"), 200),
    "distill": Part(_run("distill", *SMOKE), 200),
    "paths": Part(_run("invariant_path", *SMOKE), 200),
    "teleport": Part(_run("teleport", *SMOKE), 200),
    "transformer": Part(("examples/my_transformer.py",), 200),
}
"""Whether every room works; side by side, to save time."""
BFLOAT16 = {"JAX_DEFAULT_MATMUL_PRECISION": "BF16_BF16_F32"}
FEW_NETWORKS = ("--num-seeds", "1", "2", "--num-steps", "2", "--num-rounds", "1", "--archs", "standard")
FEW_CONVOLUTIONS = ("--depths", "8", "--num-networks", "1", "--num-steps", "1", "--num-rounds", "1")
FEW_CHAINS = ("--num-chains", "2", "--targets", "diabetes", "--num-rounds", "1", "--num-steps", "2")
MEASUREMENTS: dict[str, Part] = {
    "train": Part(
        ("benchmarks/bench_train_sweep.py", "--num-seeds", "1", "8", "64", "--archs", "standard"),
        150,
        FEW_NETWORKS,
    ),
    "train_bfloat16": Part(
        ("benchmarks/bench_train_sweep.py", "--num-seeds", "64", "--archs", "standard"), 60, FEW_NETWORKS, BFLOAT16
    ),
    "convolution": Part(_convolve("library", "8", "20"), 120, FEW_CONVOLUTIONS),
    "convolution_patches": Part(_convolve("patches", "8"), 60, FEW_CONVOLUTIONS),
    "hmc_chains": Part(("benchmarks/bench_hmc.py", "--num-chains", "4", "32", "256"), 100, FEW_CHAINS),
    "nuts_chains": Part(
        ("benchmarks/bench_hmc.py", "--sampler", "nuts", "--num-chains", "4", "32", "256"), 100, FEW_CHAINS
    ),
    "minibatch_resnet20": Part(
        (
            "benchmarks/bench_minibatch.py",
            *("--depth", "20", "--num-chains", "8", "--num-steps", "20"),
        ),
        240,
        ("--depth", "8", "--samplers", "psmile", "--num-chains", "1", "--num-steps", "1", "--num-rounds", "1"),
    ),
    "variational": Part(
        ("benchmarks/bench_vi.py", "--batch-size", "512"),
        120,
        ("--batch-size", "16", "--width", "8", "--num-steps", "1", "--num-rounds", "1"),
    ),
    "bayesian_resnet20": Part(
        (
            "benchmarks/bnn_table.py",
            *("--dataset", "digits", "--kinds", "standard", "w_asym", "--likelihood-weights", "1"),
            *("--networks", "resnet20", "--num-fits", "4", "--num-steps", "500"),
        ),
        240,
        (
            "--kinds",
            "standard",
            "--networks",
            "resnet8",
            *("--num-fits", "1", "--num-steps", "2", "--batch-size", "16"),
        ),
    ),
    # With progress, which says how many networks a second.
    "zoo_small_cnn": Part(
        ("runs/zoo.py", "--preset", "small_cnn", "--num-networks", "1024", "--out", "OUT"),
        150,
        ("--num-networks", "4", "--min-epochs", "1", "--num-epochs", "1"),
    ),
    "metanets": Part(
        ("benchmarks/bench_metanets.py",),
        120,
        ("--num-networks", "256", "--num-looped", "2", "--num-hidden", "2", "--num-rounds", "1"),
    ),
    "matching": Part(
        ("benchmarks/bench_alignment.py",),
        60,
        ("--backbones", "mlp", "--widths", "8", "8", "--num-pairs", "1", "--num-rounds", "1"),
    ),
    "connectivity_resnet20": Part(
        _run("lmc", "--dataset", "digits", "--backbone", "resnet", "--archs", "standard", "--num-seeds", "4"),
        150,
        ("--depth", "8", "--width-multiplier", "0.25", "--num-seeds", "2", "--num-epochs", "1", "--num-points", "3"),
    ),
}
"""How fast it is; one after the other, alone on the machine."""
PARTS = CHECKS | MEASUREMENTS


def run_part(name: str, part: Part, config: Config) -> dict[str, Any]:
    """Run one part, and return what became of it."""
    folder = (config.out / name).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    words = [word.replace("OUT", str(folder)) for word in (*part.words, *(part.tiny if config.tiny else ()))]
    environment = (
        os.environ
        | part.environment
        | {
            "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
            "ASYMJAX_BENCHMARK_RESULTS": str(folder),
            "XLA_PYTHON_CLIENT_PREALLOCATE": "false",  # Several parts share the device.
        }
    )
    start = time.perf_counter()
    try:
        done = subprocess.run(
            [sys.executable, *words], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=part.seconds
        )
        status, output = f"exit {done.returncode}", done.stdout + done.stderr
    except subprocess.TimeoutExpired as error:
        status, output = f"stopped after {part.seconds:.0f} s", str(error.stdout or "")
    row = {"part": name, "command": words, "status": status, "seconds": time.perf_counter() - start}
    tables = {file.name: json.loads(file.read_text()) for file in sorted(folder.glob("*.json"))}
    summaries = {file.parent.name: json.loads(file.read_text()) for file in sorted(folder.rglob("summary.json"))}
    return row | {"output": output[-4000:], "tables": tables, "summaries": summaries}


def report_part(name: str, config: Config, deadline: float) -> bool:
    """Run a part that has no result yet, keep its result, print a line, and return whether all is well."""
    result = config.out / f"{name}.json"
    if result.exists():
        print(f"{name}: has its result", flush=True)
        return True
    part, left = PARTS[name], deadline - time.perf_counter()
    if left < 0.3 * part.seconds:
        print(f"{name}: left out, {max(left, 0):.0f} s are left of the time for all", flush=True)
        return True
    limit = part.seconds * (4 if config.tiny else 1)
    row = run_part(name, part._replace(seconds=min(limit, left)), config)
    is_well = row["status"] == "exit 0"
    (result if is_well else config.out / f"{name}.failed.json").write_text(json.dumps(row, indent=1))
    print(f"{name}: {row['status']}, {row['seconds']:.1f} s", flush=True)
    return is_well


def main(config: Config) -> None:
    """Run the parts that have no result yet."""
    if unknown := set(config.parts) - set(PARTS):
        sys.exit(f"error: unknown part {min(unknown)!r}, choose from {', '.join(PARTS)}")
    config.out.mkdir(parents=True, exist_ok=True)
    deadline = time.perf_counter() + config.seconds
    chosen = config.parts or tuple(PARTS)
    with ThreadPoolExecutor(max(1, (os.cpu_count() or 2) // 2)) as pool:
        checks = [name for name in chosen if name in CHECKS]
        are_well = list(pool.map(lambda name: report_part(name, config, deadline), checks))
    are_well += [report_part(name, config, deadline) for name in chosen if name in MEASUREMENTS]
    sys.exit(0 if all(are_well) else 1)


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
