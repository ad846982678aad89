"""Runs of ``invariant_path``, as one JSON file and one figure.

    python benchmarks/plot_invariant_paths.py RUN_DIR RUN_DIR ... --name invariant_paths

Above: accuracy on old against that on new classes with the fewest replayed inputs, the mean of both against how many
are replayed, and paths of several methods at equal drift. Below: sparse networks, and the test loss between two optima
of each of the first two methods.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from asymjax.experiments.invariant_paths.figures import (
    COLORS,
    NAMES,
    PARTS,
    WAYS,
    PathRun,
    colors_of,
    curve,
    read_paths,
    sparse_ends,
    ways,
)
from asymjax.report import style
from asymjax.report.read import as_numbers

ROOT = Path(__file__).resolve().parents[1]
DRIVERS = {"exact": style.BLUE, "penalty": style.SKY, "layer": style.PURPLE}
STATISTICS = ("repeats", "mean", "low", "high", "difference")


@dataclass(frozen=True)
class Config:
    """What is collected."""

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """Finished run directories."""
    name: str = "invariant_paths"
    """Of the JSON file in results/, and of the figure in docs/figures/, which has hyphens."""


def collect(run: PathRun) -> dict[str, Any]:
    """Return what is kept of a run: what made it, and the statistics of its summary, ends and curvature alone."""
    origin = run.record["provenance"]
    words = [Path(word).name if Path(word).is_absolute() else word for word in origin["command"]]
    kept: dict[str, Any] = {}
    for arch, method in run.methods.items():
        arms = {
            name: {
                "end": {of: {part: found[part] for part in STATISTICS} for of, found in arm["end"].items()},
                **{of: arm.get(of) for of in ("at", "failed", "stuck", "budget", "freedom", "row_gradients")},
            }
            for name, arm in method["arms"].items()
        }
        more = {of: method[of] for of in ("curvature", "curvature_at", "ensembles", "ways") if of in method}
        kept[arch] = {"arms": arms, "num_parameters": method["num_parameters"], **more}
    settings = {"study": run.study, "path": run.settings, "num_rows": run.summary["num_rows"]}
    return {
        "objective": run.objective,
        **settings,
        "provenance": {**origin, "command": words, "seconds": run.summary["seconds"]},
        "methods": kept,
        "between_methods": run.summary["between_methods"],
    }


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _rounded(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_rounded(one) for one in value]
    return float(f"{value:.5g}") if isinstance(value, float) else value


@style.styled
def plot(runs: Sequence[PathRun]) -> Figure:
    """Draw the figure; a panel whose runs are not there stays empty, and of several alike the first is drawn."""
    figure = style.new_figure(style.PAGE_WIDTH, 5.6, "Invariant paths: a perceptron on 4,000 images of MNIST")
    panels = figure.subplots(2, 3)
    continual = [run for run in runs if run.objective == "continual" and "joint" in run.methods["standard"]["arms"]]
    if continual:
        _draw_old_and_new(panels[0, 0], [run for run in continual if run.study["num_replay"] == _least(continual)])
        _draw_replayed(panels[0, 1], continual)
    for run in runs:
        if run.summary["between_methods"] and len(run.methods) > 1:
            _draw_equal_drift(panels[0, 2], run)
    _draw_sparse(panels[1, 0], [run for run in runs if run.objective == "sparse"])
    joined = [run for run in runs if run.objective == "join"][:1]
    for run in joined:
        for axes, arch in zip(panels[1, 1:], run.methods, strict=False):
            _draw_ways(axes, run, arch)
        panels[1, 2].sharey(panels[1, 1])
        panels[1, 2].legend(fontsize=6)
    return figure


def _least(runs: Sequence[PathRun]) -> int:
    return min(run.study["num_replay"] for run in runs)


def _draw_old_and_new(axes: Axes, runs: Sequence[PathRun]) -> None:
    arms = runs[0].methods["standard"]["arms"]
    colors = colors_of(arms)
    for name, arm in arms.items():
        if name != "path":
            _draw_trajectory(axes, arm, colors[name], name.replace("_", " "))
    for run in runs:
        driver = run.settings["driver"]
        _draw_trajectory(axes, run.methods["standard"]["arms"]["path"], DRIVERS[driver], f"path, {driver}")
    axes.set(xlabel="accuracy, new classes", ylabel="accuracy, old classes", title=f"{_least(runs)} inputs replayed")
    axes.legend(fontsize=5, loc="lower left")


def _draw_trajectory(axes: Axes, arm: dict[str, Any], color: str, label: str) -> None:
    old, new = curve(arm, "old.accuracy"), curve(arm, "new.accuracy")
    axes.plot(new, old, color=color, linewidth=0.8)
    axes.plot(new[-1], old[-1], "o", color=color, label=label)


def _draw_replayed(axes: Axes, runs: Sequence[PathRun]) -> None:
    for driver in dict.fromkeys(run.settings["driver"] for run in runs):
        own = {run.study["num_replay"]: run for run in reversed(runs) if run.settings["driver"] == driver}
        _draw_averages(axes, [own[size] for size in sorted(own)], "path", DRIVERS[driver], f"path, {driver}")
    most = {run.study["num_replay"]: run for run in runs}
    _draw_averages(axes, [most[size] for size in sorted(most)], "replay", COLORS["replay"], "replay, with labels")
    joint = runs[0].methods["standard"]["arms"]["joint"]["end"]["average.accuracy"]
    axes.axhline(joint["mean"], color=COLORS["joint"], linestyle=style.DASHES, label="joint")
    axes.set(xscale="log", xlabel="inputs replayed", ylabel="accuracy, mean of both halves")
    axes.set_xticks(sorted(most), list(map(str, sorted(most))))
    axes.set_xticks([], minor=True)
    axes.legend(fontsize=6)


def _draw_averages(axes: Axes, runs: Sequence[PathRun], arm: str, color: str, label: str) -> None:
    found = [run.methods["standard"]["arms"][arm]["end"]["average.accuracy"] for run in runs]
    mean, low, high = (as_numbers([one[part] for one in found]) for part in PARTS)
    sizes = [run.study["num_replay"] for run in runs]
    axes.errorbar(sizes, mean, (mean - low, high - mean), fmt="o-", color=color, label=label, capsize=2)


def _draw_equal_drift(axes: Axes, run: PathRun) -> None:
    between = run.summary["between_methods"]
    levels = as_numbers(between["levels"])
    for i, (arch, found) in enumerate(between["methods"].items()):
        mean, low, high = (as_numbers([one[part] for one in found["new"]]) for part in PARTS)
        shift = 1 + 0.02 * (i - len(between["methods"]) / 2)
        spread = (mean - low, high - mean)
        axes.errorbar(levels * shift, mean, spread, fmt="o-", color=style.ARCH_COLORS[arch], label=arch, capsize=2)
    axes.set(xlabel="drift on held-out old inputs", ylabel="accuracy, new classes", title="at equal drift")
    axes.legend(fontsize=6)


def _draw_sparse(axes: Axes, runs: Sequence[PathRun]) -> None:
    ends = {share: found for run in runs for share, found in sparse_ends(run.methods["standard"]).items()}
    for kind, shift in {"path": 0.0, "masked": 0.001, "distilled": 0.002, "one_shot": -0.001}.items():
        there = [share for share in sorted(ends) if kind in ends[share]]
        found = [ends[share][kind] for share in there]
        mean, low, high = (as_numbers([one[part] for one in found]) for part in PARTS)
        spread = (mean - low, high - mean)
        shares = np.array(there) + shift
        axes.errorbar(shares, mean, spread, fmt="o-", color=COLORS[kind], label=NAMES[kind], capsize=2)
    axes.set(xlabel="share of zeros", ylabel="test accuracy", title="sparse")
    axes.legend(fontsize=6)


def _draw_ways(axes: Axes, run: PathRun, arch: str) -> None:
    middle = np.linspace(0, 1, 101)
    for name, (places, losses) in ways(run, arch, "test.loss").items():
        curves = np.stack([np.interp(middle, *one) for one in zip(places, losses, strict=True)])
        axes.plot(middle, curves.mean(axis=0), color=COLORS[name], label=WAYS[name])
    axes.set(xlabel="share of the way", ylabel="test loss", title=f"between optima, {arch}")


def main(config: Config) -> None:
    """Write the JSON file and the figure."""
    runs = [read_paths(path) for path in config.runs]
    target = ROOT / "benchmarks" / "results" / f"{config.name}.json"
    rows = [_rounded(collect(run)) for run in runs]
    target.write_text(json.dumps({"rows": rows, "ceilings": {}}, separators=(",", ":")) + "\n")
    plot(runs).savefig(ROOT / "docs" / "figures" / f"{config.name.replace('_', '-')}.png", dpi=200)
    print(target)


if __name__ == "__main__":
    main(tyro.cli(Config))
