"""What a learner sees of symmetry, against how strongly it is broken: the gap between two readers of weights.

    python benchmarks/gap_curve.py --out-dir DIR

Zoos of digits at every strength of a method: W-asymmetric ones by the scale and by the number of fixed weights,
sigma-asymmetric ones by the scale of the gates, and standard ones of own and of shared starts. Each is read by a
perceptron on flat weights and by equivariant layers to which all orders of hidden units are the same; the gap is the
difference of their Kendall's tau. Beside it stand, of the best networks of each zoo, the linear barrier of all pairs as
they lie, and the swap costs of hidden units (none where gates tell units apart, or where they are infinite). Zoos and
fits are run directories: the same command goes on where one was stopped. The last line is the file of the results.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import tyro

FLAT, INVARIANT = "flat_mlp", "hnp,group=units"
METANETS = ("recipe", "statnn", FLAT, INVARIANT)


class Kind(NamedTuple):
    """One kind of networks: what is varied, its value, and settings of ``runs/zoo.py``."""

    knob: str
    value: float
    arch: str = "standard"
    settings: Mapping[str, Any] = MappingProxyType({})
    start: Literal["own", "shared"] = "own"


# Of 64-16-10 networks; shares of the inputs of a unit that are fixed.
KINDS = (
    Kind("own start", 0),
    Kind("shared start", 0, start="shared"),
    *(
        Kind("fixed scale", kappa, "w_asym", {"fixed_scale": (kappa,)})
        for kappa in (0.0, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
    ),
    *(Kind("fixed share", share, "w_asym", {"num_fixed": (share,)}) for share in (1 / 16, 1 / 8, 1 / 4, 1 / 2, 3 / 4)),
    *(Kind("gate scale", scale, "sigma_asym", {"gate_scale": scale}) for scale in (0.1, 0.25, 0.5, 1.0, 2.0, 4.0)),
)


@dataclass(frozen=True)
class Config:
    """What is measured."""

    out_dir: Path
    """Folder of the zoos and of the fits."""
    num_networks: int = 4000
    """Networks of a zoo."""
    num_zoos: int = 3
    """Zoos of a kind, which differ in all seeds."""
    num_seeds: int = 3
    """Metanetworks of a kind on each zoo."""
    num_best: int = 16
    """Networks whose barriers and swap costs are measured, those of the best validation accuracy."""
    knobs: tuple[str, ...] = tuple(dict.fromkeys(kind.knob for kind in KINDS))
    """What is varied."""
    name: str = "gap_curve"
    """Name of the file of the results."""


def train_zoo(config: Config, kind: Kind, seed: int) -> Path:
    """Train one zoo; return its run directory."""
    from dataclasses import replace

    from asymjax.experiments.child_runs import make_runs
    from asymjax.experiments.zoo.config import Config as ZooConfig
    from asymjax.experiments.zoo.run import run_zoo
    from asymjax.lab.run_config import RunConfig
    from asymjax.rng import SeedConfig

    default = ZooConfig()
    model = default.model.having({"arch": kind.arch, **kind.settings})
    place = config.out_dir / f"zoos-{config.num_networks}" / f"{kind.knob.replace(' ', '_')}-{kind.value:g}-{seed}"
    made = replace(
        default,
        model=replace(model, mask_seed=seed),
        num_networks=config.num_networks,
        start=kind.start,
        seeds=SeedConfig(seed=seed, init_seed=seed),
        run=RunConfig(progress=False),
    )
    make_runs(place.parent, {place.name: lambda run: run_zoo(replace(made, run=run))}, made.run)
    return place


def fit_zoos(config: Config, zoos: list[Path], name: str) -> dict[str, list[float]]:
    """Fit the metanetworks to the zoos of a kind; return Kendall's tau of each, the mean over its seeds, [zoo]."""
    from dataclasses import replace

    from asymjax.experiments.child_runs import make_runs
    from asymjax.experiments.metanetworks.config import Config as FitsConfig
    from asymjax.experiments.metanetworks.run import run_metanets
    from asymjax.lab import run_files
    from asymjax.lab.run_config import RunConfig
    from asymjax.metanets import FitConfig

    made = FitsConfig(
        zoo=tuple(zoos),
        metanets=METANETS,
        fit=FitConfig(learning_rates=(1e-3, 3e-3, 1e-2), num_seeds=config.num_seeds),
        run=RunConfig(progress=False),
    )
    folder = config.out_dir / f"fits-{config.num_networks}-{config.num_zoos}-{config.num_seeds}"
    make_runs(folder, {name: lambda run: run_metanets(replace(made, run=run))}, made.run)
    cells = run_files.read_json(folder / name / "summary.json")["cells"]
    return {
        metanet: [one["scores"]["tau"]["mean"] for one in cells if one["metanet"] == metanet] for metanet in METANETS
    }


def look_at(config: Config, path: Path, rows: Any) -> dict[str, Any]:
    """Return the accuracy of a zoo, and barriers and swap costs of its best networks, medians over pairs."""
    import numpy as np

    import asymjax

    zoo = asymjax.read_zoo(path)
    best = np.argsort(-zoo.target("validation.accuracy"), kind="stable")[: config.num_best]
    params = zoo.take(best).networks("params")
    barriers = asymjax.barriers(zoo.model, params, rows, zoo.frozen)["maximum"]
    accuracy = zoo.target("test.accuracy")
    return {
        "accuracy": float(accuracy.mean()),
        "accuracy_sd": float(accuracy.std()),
        "barrier": float(np.median(barriers)),
        "swap_cost": swap_cost(zoo, params, rows),
    }


def swap_cost(zoo: Any, params: Any, rows: Any) -> float | None:
    """Return the median signed root of swap costs over pairs of hidden units and networks; None where gates are."""
    import jax
    import numpy as np

    from asymjax import trees
    from asymjax.symmetry.permutations import gates_of
    from asymjax.symmetry.strength import layer_strengths

    if gates_of(zoo.frozen):
        return None
    inputs = rows[0]
    costs = []
    for i in range(len(jax.tree.leaves(params)[0])):
        one = jax.tree.map(lambda leaf, i=i: leaf[i], params)
        entering = trees.to_host(jax.jit(zoo.model.layer_inputs)(one, zoo.frozen, inputs))
        costs += [layer.swap_costs for layer in layer_strengths(zoo.model, one, zoo.frozen, entering).values()]
    # An order statistic: between a finite cost and an infinite one there is nothing to interpolate.
    return float(np.quantile(np.concatenate(costs), 0.5, method="inverted_cdf"))


def measure(config: Config) -> Iterator[dict[str, Any]]:
    """Yield a row a kind, numbers [zoo]."""
    from asymjax import data

    test = data.load("digits", None).test
    for kind in (kind for kind in KINDS if kind.knob in config.knobs):
        zoos = [train_zoo(config, kind, seed) for seed in range(config.num_zoos)]
        taus = fit_zoos(config, zoos, f"{kind.knob.replace(' ', '_')}-{kind.value:g}")
        seen = [look_at(config, path, (test.inputs, test.targets)) for path in zoos]
        gaps = [invariant - flat for invariant, flat in zip(taus[INVARIANT], taus[FLAT], strict=True)]
        of_zoos = {name: [one[name] for one in seen] for name in seen[0]}
        yield {"knob": kind.knob, "value": kind.value, "arch": kind.arch, "gap": gaps, **of_zoos, "tau": taus}


def main(config: Config) -> list[dict[str, Any]]:
    """Measure all kinds and print one row each."""
    import numpy as np
    from measure import save

    from asymjax.lab.devices import use_all_cores

    use_all_cores()
    rows, saved = [], None
    for row in measure(config):
        rows.append(row)
        costs = "" if row["swap_cost"][0] is None else f", swap cost {np.mean(row['swap_cost']):.3f}"
        print(
            f"{row['knob']} {row['value']:g}: gap {np.mean(row['gap']):.3f}, from {min(row['gap']):.3f} to "
            f"{max(row['gap']):.3f}; {FLAT} {np.mean(row['tau'][FLAT]):.3f}; "
            f"barrier {np.mean(row['barrier']):.3f}{costs}",
            flush=True,
        )
        settings = {name: value for name, value in asdict(config).items() if name.startswith("num_")}
        saved = save(config.name, rows, settings)
    print(saved)
    return rows


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
