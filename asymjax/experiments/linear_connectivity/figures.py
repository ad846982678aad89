"""Linear connectivity: what is read of a run, the curves along paths, and the barriers of all pairs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import CenteredNorm
from matplotlib.figure import Figure

from asymjax.lab import run_files
from asymjax.report import style
from asymjax.report.read import read_record, read_required, read_results
from asymjax.report.table import number

SUMMARY = ("backbone", "dataset", "task", "num_rows", "num_measured_rows", "kinds", "diverged", "seconds")
METRICS = {"loss": "loss", "recalibrated_loss": "recalibrated loss", "accuracy": "accuracy"}
UNITS = {"classification": " (nats)", "regression": " (squared error)"}
SPLITS = {"test": "test", "train": "training"}
MAX_LABELLED_NETWORKS = 8
PANELS_PER_ROW = 3


class ConnectivityRun(NamedTuple):
    """A finished run of ``lmc``.

    Attributes
    ----------
    path : its directory.
    record : config.json.
    summary : summary.json.
    arrays : ``points`` [point], and by ``"<kind>/..."`` pairs [pair, 2], curves [pair, point], their mean and interval
        [point], and barriers [pair]; ``plane/`` and ``strength/`` where they were measured.
    """

    path: Path
    record: dict[str, Any]
    summary: dict[str, Any]
    arrays: dict[str, np.ndarray]

    @property
    def title(self) -> str:
        """What was connected."""
        return "linear paths of {backbone} on {dataset}".format(**self.summary)

    @property
    def size(self) -> str:
        """How much was measured."""
        pairs = sorted({kind["num_pairs"] for kind in self.kinds.values()})
        return f"{' to '.join(map(str, dict.fromkeys([pairs[0], pairs[-1]])))} pairs of each kind"

    @property
    def kinds(self) -> dict[str, dict[str, Any]]:
        """Entry of each kind of networks in the summary, by its name."""
        return self.summary["kinds"]

    @property
    def metrics(self) -> dict[str, str]:
        """Keys and names of what was measured along the paths."""
        measured = next(iter(self.kinds.values()))["barrier"]["test"]
        return {key: name for key, name in METRICS.items() if key in measured}


def read_connectivity(path: Path) -> ConnectivityRun:
    """Read a finished run of ``lmc``.

    Raises
    ------
    InputError
        If it is not a run directory, its run is not finished, or a file is missing or damaged.
    """
    record = read_record(path)
    summary = read_required(run_files.read_json, path / "summary.json", *SUMMARY)
    kinds = summary["kinds"].items()
    metrics = [
        f"{arch}/{split}/{metric}" for arch, kind in kinds for split in SPLITS for metric in kind["alone"][split]
    ]
    stored = ("curves", "curve_mean", "curve_low", "curve_high", "midpoint", "maximum")
    names = [f"{metric}/{name}" for metric in metrics for name in stored] + [f"{arch}/pairs" for arch, _ in kinds]
    for arch, kind in kinds:
        names += [f"{arch}/plane/{name}" for name in ("corners", "first", "second", "loss") if kind.get("plane")]
        names += [f"{arch}/strength/{layer}" for layer in (kind.get("strength") or {"layers": ()})["layers"]]
    return ConnectivityRun(path, record, summary, read_results(path, "kinds/", "points", *names))


@style.styled
def plot_curves(run: ConnectivityRun) -> Figure:
    """Draw loss and accuracy along the paths: means over the pairs of each kind, with their 95 % intervals."""
    width = style.PAGE_WIDTH if len(run.metrics) > 1 else style.COLUMN_WIDTH
    figure = style.new_figure(width, 4.2, run.title, run.size)
    rows = figure.subplots(len(SPLITS), len(run.metrics), sharex=True, sharey="col", squeeze=False)
    for (split, split_name), row in zip(SPLITS.items(), rows, strict=True):
        for (metric, metric_name), axes in zip(run.metrics.items(), row, strict=True):
            for arch, color in style.kind_colors(run.kinds).items():
                _draw_curve(axes, run, arch, f"{split}/{metric}", color)
            unit = "" if metric == "accuracy" else UNITS[run.summary["task"]]
            axes.set_title(f"{split_name} {metric_name}{unit}")
    for axes in rows[-1]:
        axes.set_xlabel("place on the path")
        axes.set_xlim(0, 1)
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "1/4", "1/2", "3/4", "1"])
    figure.legend(*rows[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=min(len(run.kinds), 5))
    return figure


def _draw_curve(axes: Axes, run: ConnectivityRun, arch: str, name: str, color: str) -> None:
    points = run.arrays["points"]
    mean, low, high = (run.arrays[f"{arch}/{name}/curve_{kind}"] for kind in ("mean", "low", "high"))
    axes.fill_between(points, low, high, color=color, alpha=0.15, linewidth=0)
    axes.plot(points, mean, color=color, label=arch)


@style.styled
def plot_barriers(run: ConnectivityRun) -> Figure:
    """Draw the barriers of the test loss between all networks: midpoint below the diagonal, maximum above it."""
    num_rows = -(-len(run.kinds) // PANELS_PER_ROW)
    figure = style.new_figure(style.PAGE_WIDTH, 0.6 + 2.3 * num_rows, f"{run.title}: barriers of the test loss")
    columns = min(len(run.kinds), PANELS_PER_ROW)
    panels = figure.subplots(num_rows, columns, squeeze=False)
    barriers = {arch: barrier_matrix(run, arch) for arch in run.kinds}
    limit = max(np.nanmax(np.abs(matrix), initial=0.0) for matrix in barriers.values())
    norm = CenteredNorm(0, halfrange=limit or 1.0)
    shown = min(np.nanmin(matrix, initial=0.0) for matrix in barriers.values()), limit or 1.0
    for (arch, matrix), axes in zip(barriers.items(), panels.flat, strict=False):
        image = axes.imshow(matrix, cmap="RdBu_r", norm=norm)
        midpoint, maximum = (run.kinds[arch]["barrier"]["test"]["loss"][which] for which in ("midpoint", "maximum"))
        axes.set_title(
            f"{arch}: mean midpoint {number(midpoint['mean'], '.3f')},\nmean maximum {number(maximum['mean'], '.3f')}"
        )
        _label_networks(axes, run.kinds[arch])
        if len(matrix) <= MAX_LABELLED_NETWORKS:
            _write_numbers(axes, matrix, limit)
    for axes in panels.flat[len(barriers) :]:
        axes.set_axis_off()
    bar = figure.colorbar(image, ax=panels, label=f"barrier{UNITS[run.summary['task']]}", shrink=0.8, aspect=30)
    bar.ax.set_ylim(*shown)
    figure.supxlabel("below the diagonal: at the midpoint; above: maximum over the path", size=7)
    return figure


def barrier_matrix(run: ConnectivityRun, arch: str) -> np.ndarray:
    """Return test-loss barriers [network, network]: midpoint below the diagonal, maximum above.

    NaN on it, and for those that are not finite.
    """
    pairs = run.arrays[f"{arch}/pairs"]
    matrix = np.full((pairs.max() + 1, pairs.max() + 1), np.nan)
    first, second = pairs.T
    matrix[second, first] = run.arrays[f"{arch}/test/loss/midpoint"]
    matrix[first, second] = run.arrays[f"{arch}/test/loss/maximum"]
    return np.where(np.isfinite(matrix), matrix, np.nan)


def _label_networks(axes: Axes, kind: dict[str, Any]) -> None:
    names: Sequence[str] = kind["networks"]
    labelled = range(0, len(names), 1 + len(names) // 17)
    axes.set_xticks(labelled, [names[index] for index in labelled])
    axes.set_yticks(labelled, [names[index] for index in labelled])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_ylabel("seed" + (f" (without {', '.join(kind['excluded'])})" if kind["excluded"] else ""))


def _write_numbers(axes: Axes, matrix: np.ndarray, limit: float) -> None:
    for row, column in np.argwhere(~np.isnan(matrix)):
        value = round(matrix[row, column], 3) + 0.0  # No minus before zero.
        color = "white" if abs(value) > 0.6 * limit else "black"
        axes.text(column, row, f"{value:.3f}".replace("0.", ".", 1), color=color, size=5, ha="center", va="center")
