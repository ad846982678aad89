"""Whether our HMC and NumPyro's NUTS sample the same posterior: long runs, predictions compared in standard errors.

    python benchmarks/bench_alike.py

NumPyro gets the same log density as a potential, in the network's own parameters, while ours walks in its own
coordinates and metric; both begin at the same anchored starts. Compared are means and variances of all outputs on all
test inputs, network by network: z is the difference over its standard error, from the bulk ESS of both sides, for
variances from that of the squared distance from the common mean. Were all comparisons independent and normal, the root
mean square of z would be 1, and half of the times its maximum would be below ``usual_max``, 99 times in 100 below
``rare_max``. Outputs move together, so that the root mean square scatters around 1, and the maximum is rather lower. A
control with NumPyro's density at temperature 1.2 shows what a difference looks like.
"""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro


@dataclass(frozen=True)
class Config:
    """What is compared."""

    target: str = "diabetes:2x8"
    """Target as of bench_convergence.py."""
    archs: tuple[str, ...] = ("standard", "w_asym")
    """Methods."""
    temperatures: tuple[float, ...] = (1.0, 1.2)
    """Those of NumPyro's density; ours is at 1."""
    num_draws: int = 1000
    """Draws a chain, 4 chains each."""
    num_warmup: int = 300
    """Steps of warmup of both."""
    seed: int = 0
    """Of starts and noise."""
    data_dir: Path | None = None
    """Folder of data files."""
    save: bool = True
    """Write results/alike.json."""


def standard_errors(series: Any) -> Any:
    """Return standard errors of the means of series [chain, draw, coordinate]."""
    import numpy as np

    from asymjax.diagnostics.convergence import per_coordinate

    return series.std((0, 1)) / np.sqrt(per_coordinate(series)["ess_bulk"])


def z_scores(ours: Any, theirs: Any) -> dict[str, Any]:
    """Return differences of mean and variance of coordinates [chain, draw, coordinate] over their standard errors."""
    import numpy as np

    common = (ours.mean((0, 1)) + theirs.mean((0, 1))) / 2
    pairs = {"mean": (ours, theirs), "variance": (np.square(ours - common), np.square(theirs - common))}
    return {
        name: (one.mean((0, 1)) - other.mean((0, 1))) / np.hypot(standard_errors(one), standard_errors(other))
        for name, (one, other) in pairs.items()
    }


def summarise(z: Any) -> dict[str, float]:
    """Return how large scores are, and how large they would be, were all of them independent."""
    import numpy as np
    from scipy.stats import norm

    def quantile_of_max(probability: float) -> float:
        return float(norm.ppf((1 + probability ** (1 / len(z))) / 2))

    return {
        "num_comparisons": len(z),
        "rms_z": float(np.sqrt(np.mean(np.square(z)))),
        "max_z": float(np.abs(z).max()),
        "usual_max": quantile_of_max(0.5),
        "rare_max": quantile_of_max(0.99),
    }


def all_rows(config: Config) -> Iterator[dict[str, Any]]:
    """Yield a row for each method, temperature and moment."""
    import bench_against
    import numpy as np

    from asymjax.diagnostics.convergence import summarise as convergence
    from asymjax.diagnostics.scores import function_coordinates

    lengths = bench_against.Config(
        num_draws=config.num_draws, num_warmup=config.num_warmup, data_dir=config.data_dir, max_doublings=10
    )
    for arch in config.archs:
        with tempfile.TemporaryDirectory() as folder:
            setting = bench_against.make_setting(lengths, config.target, config.seed, Path(folder), arch)
            outputs, _ = bench_against.run_ours(lengths, setting, "hmc", Path(folder))

        def coordinates(outputs: Any, setting: Any = setting) -> Any:
            return function_coordinates(setting.dataset.task, outputs, setting.has_scale_head)

        ours = coordinates(outputs)
        for temperature in config.temperatures:
            given = setting.problem.having({"temperature": temperature})
            outputs, _ = bench_against.run_opponent(lengths, setting._replace(problem=given), "numpyro_parallel")
            theirs = coordinates(outputs)
            sides = {"ours": convergence(ours), "numpyro": convergence(theirs)}
            row = {"target": config.target, "arch": arch, "temperature": temperature}
            row |= {f"{side}_{name}": sides[side][name] for side in sides for name in ("rhat_max", "ess_bulk_min")}
            for moment, z in z_scores(ours, theirs).items():
                yield row | {"moment": moment} | summarise(z[np.isfinite(z)])


def describe(row: dict[str, Any]) -> str:
    """Write a row in words."""
    return (
        f"{row['target']} {row['arch']:11s} NumPyro at temperature {row['temperature']:.1f}, {row['moment']:8s}: "
        f"{row['num_comparisons']} comparisons, rms z {row['rms_z']:.2f}, max |z| {row['max_z']:.2f} (usual "
        f"{row['usual_max']:.2f}, rare {row['rare_max']:.2f}); R-hat {row['ours_rhat_max']:.3f} and "
        f"{row['numpyro_rhat_max']:.3f}, ESS {row['ours_ess_bulk_min']:.0f} and {row['numpyro_ess_bulk_min']:.0f}"
    )


def main(config: Config) -> list[dict[str, Any]]:
    """Run all comparisons and print one row each."""
    import bench_against

    bench_against.start_jax(num_chains=4)
    from measure import ceilings, save

    machine, rows = ceilings() if config.save else {}, []
    for row in all_rows(config):
        rows.append(row)
        print(describe(row), flush=True)
    if config.save:
        print(save("alike", rows, machine))
    return rows


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
