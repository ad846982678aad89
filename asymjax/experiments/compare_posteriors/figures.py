"""A study of posteriors: what is read of a run, and its figures."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from asymjax.experiments.linear_connectivity.dose_response import doses, varied_setting
from asymjax.lab import run_files
from asymjax.report import style
from asymjax.report.read import as_numbers, read_record, read_required, read_results

SUMMARY = ("backbone", "dataset", "task", "sampler", "num_repeats", "num_rows", "budget", "arms")
CURVE = ("num_grad_evals", "rhat_max", "lppd")
RHATS = {
    "function_rhat_max": ("function, max", style.BLUE),
    "effective_rhat_max": ("weights, max", style.VERMILLION),
    "aligned_rhat_max": ("aligned weights, max", style.GREEN),
}
SCORES = {
    "classification": {"nll": "test NLL (nats)", "ece": "test ECE"},
    "regression": {"nll": "test NLL (nats)", "coverage_error": "coverage error"},
}
DOSES = {
    "function_ess_per_1000": "ESS min per 1,000 gradients",
    "weight_rhat_median": "R-hat of weights, median",
    "nll": "test NLL (nats)",
    "mean_network_nll": "NLL of the mean network",
}


class StudyRun(NamedTuple):
    """A finished run of ``compare_posteriors``.

    Attributes
    ----------
    path : its directory.
    record : config.json.
    summary : summary.json.
    arrays : by ``"<arm>/<repeat>/..."`` curves of convergence [point]; ``agreement`` and ``total_variation`` [arm, arm,
        repeat, repeat] of classifiers.
    """

    path: Path
    record: dict[str, Any]
    summary: dict[str, Any]
    arrays: dict[str, np.ndarray]

    @property
    def title(self) -> str:
        """What was compared."""
        return "posteriors of {backbone} on {dataset} by {sampler}".format(**self.summary)

    @property
    def size(self) -> str:
        """How much was sampled."""
        study = self.record["config"]["study"]
        return "{num_repeats} repeats of {num_chains} chains x {num_draws} draws".format(**study)

    @property
    def kinds(self) -> dict[str, dict[str, Any]]:
        """Entry of each arm in the summary, by its name."""
        return self.summary["arms"]

    @property
    def baselines(self) -> list[str]:
        """Arms that others are compared with."""
        return [name for name, arm in self.kinds.items() if arm["baseline"] == name]


def read_study(path: Path) -> StudyRun:
    """Read a finished run of ``compare_posteriors``.

    Raises
    ------
    InputError
        If it is not a run directory, its run is not finished, or a file is missing or damaged.
    """
    record = read_record(path)
    summary = read_required(run_files.read_json, path / "summary.json", *SUMMARY)
    names = [
        f"{arm}/{repeat}/{name}"
        for arm in summary["arms"]
        for repeat in range(summary["num_repeats"])
        for name in CURVE
    ]
    if summary["task"] == "classification":
        names += ["agreement", "total_variation"]
    return StudyRun(path, record, summary, read_results(path, "study/", *names))


def _name_rows(axes: Axes, run: StudyRun) -> None:
    """Give every arm a row."""
    axes.set_yticks(range(len(run.kinds)), [name.replace("-", "\n", 1) for name in run.kinds])
    axes.set_ylim(len(run.kinds) - 0.5, -0.5)


@style.styled
def plot_rhat(run: StudyRun) -> Figure:
    """Draw R-hat of functions, of weights and of aligned weights: a row an arm, a dot a repeat, a bar their median."""
    figure = style.new_figure(style.PAGE_WIDTH, 0.9 + 0.42 * len(run.kinds), run.title, run.size)
    axes = figure.subplots()
    for row, arm in enumerate(run.kinds.values()):
        for (metric, (_, color)), offset in zip(RHATS.items(), (-0.25, 0, 0.25), strict=True):
            places = style.place_rhat(as_numbers(arm["metrics"][metric]["repeats"]))
            _draw_dots(axes, places, row + offset, float(np.median(places)), color)
    style.rhat_axis(axes)
    axes.set_xlabel(f"R-hat {style.RHAT_SCALE}")
    _name_rows(axes, run)
    handles = [Line2D([], [], marker="o", linestyle="", color=color, label=label) for label, color in RHATS.values()]
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
    return figure


def _draw_dots(axes: Axes, values: np.ndarray, row: float, middle: float, color: str) -> None:
    axes.plot(values, np.full(len(values), row), "o", color=color, alpha=0.7, markersize=3.5, markeredgewidth=0)
    axes.plot(middle, row, "|", color=color, markersize=9, markeredgewidth=1.5)


@style.styled
def plot_scores(run: StudyRun) -> Figure:
    """Draw test scores: above of each arm, below the paired differences to the baseline with 95 % intervals."""
    scores = SCORES[run.summary["task"]]
    height = 1.0 + 0.55 * len(run.kinds)
    figure = style.new_figure(style.PAGE_WIDTH, height, f"{run.title}: dots are repeats, bars 95 % intervals")
    panels = figure.subplots(len(scores), 2, sharey=True, squeeze=False)
    colors = style.kind_colors(run.kinds)
    for (metric, label), (left, right) in zip(scores.items(), panels, strict=True):
        for row, (name, arm) in enumerate(run.kinds.items()):
            found = arm["metrics"][metric]
            _draw_dots(left, as_numbers(found["repeats"]), row, found["mean"], colors[name])
            if found["difference"]:
                _draw_interval(right, found["difference"], row, colors[name])
        left.set_xlabel(label)
        right.set_xlabel(f"{label}: difference to standard")
        style.mark(right, 0)
        for axes in (left, right):
            axes.locator_params(axis="x", nbins=5)
    _name_rows(panels[0, 0], run)
    return figure


def _draw_interval(axes: Axes, found: Mapping[str, float], row: float, color: str) -> None:
    axes.plot([found["low"], found["high"]], [row, row], color=color)
    axes.plot(found["mean"], row, "o", color=color)


@style.styled
def plot_budget(run: StudyRun) -> Figure:
    """Draw R-hat in function space and LPPD against gradients: medians over repeats, their range shaded.

    Dashed: the gradients at which runs are compared.
    """
    figure = style.new_figure(style.PAGE_WIDTH, 3.0, run.title, run.size)
    rhat, lppd = figure.subplots(1, 2)
    for name, color in style.kind_colors(run.kinds).items():
        curves = {
            field: np.stack([run.arrays[f"{name}/{repeat}/{field}"] for repeat in range(run.summary["num_repeats"])])
            for field in CURVE
        }
        gradients = np.median(curves["num_grad_evals"], axis=0) / 1000
        _draw_range(rhat, gradients, style.place_rhat(curves["rhat_max"]), color, name)
        _draw_range(lppd, gradients, curves["lppd"], color, name)
    style.rhat_axis(rhat, "y")
    rhat.set_title(f"R-hat max, function space {style.RHAT_SCALE}")
    lppd.set_title("test LPPD (nats)")
    for axes in (rhat, lppd):
        axes.set_xlabel("gradients in thousands, all chains, warmup included")
        style.mark(axes, run.summary["budget"] / 1000)
    figure.legend(*rhat.get_legend_handles_labels(), loc="outside lower center", ncols=min(len(run.kinds), 5))
    return figure


def _draw_range(axes: Axes, x: np.ndarray, values: np.ndarray, color: str, label: str) -> None:
    axes.fill_between(x, values.min(axis=0), values.max(axis=0), color=color, alpha=0.15, linewidth=0)
    axes.plot(x, np.median(values, axis=0), color=color, label=label)


def lags_of(run: StudyRun) -> list[str]:
    """Return the lags at which barriers within chains were measured; empty in older studies, and without weights."""
    return list(next(iter(run.kinds.values())).get("within_barriers", {}))


@style.styled
def plot_within(run: StudyRun) -> Figure:
    """Draw barriers and units in place within chains against the lag, and between chains, with 95 % intervals.

    Dashed: what a random permutation keeps in place.
    """
    figure = style.new_figure(style.PAGE_WIDTH, 3.4, run.title, "between two draws of a chain, and of two chains")
    barriers, in_place = figure.subplots(1, 2)
    lags, colors = lags_of(run), style.kind_colors(run.kinds)
    places = np.arange(len(lags) + 1)
    for shift, (name, arm) in zip(np.linspace(-0.2, 0.2, len(run.kinds)), run.kinds.items(), strict=True):
        for axes, within, between in (
            (barriers, "within_barriers", "barrier"),
            (in_place, "units_in_place", "in_place_between"),
        ):
            found = [*(arm[within][lag] for lag in lags), arm["metrics"][between]]
            mean, low, high = (as_numbers([row[part] for row in found]) for part in ("mean", "low", "high"))
            bars = np.stack([mean - low, high - mean])
            axes.errorbar(places + shift, mean, bars, color=colors[name], marker="o", ls="", capsize=2, label=name)
            axes.plot(places[:-1] + shift, mean[:-1], color=colors[name], alpha=0.5)
    barriers.set_title("barrier of the log density (nats)")
    in_place.set_title("share of units in place")
    chance = next(iter(run.kinds.values()))["metrics"]["in_place_chance"]["mean"]
    style.mark(in_place, chance, which="y")
    for axes in (barriers, in_place):
        axes.axvline(len(lags) - 0.5, color="0.7", linewidth=0.8)
        axes.set_xticks(places, [*lags, "chains"])
        axes.set_xlabel("draws between them")
        axes.set_ylim(bottom=0)
    figure.legend(*barriers.get_legend_handles_labels(), loc="outside lower center", ncols=min(len(run.kinds), 5))
    return figure


def distance_matrix(run: StudyRun, measure: str) -> np.ndarray:
    """Return means over pairs of different repeats [arm, arm] of ``agreement`` or ``total_variation``."""
    values = run.arrays[measure]
    return values[..., ~np.eye(values.shape[-1], dtype=bool)].mean(axis=-1)


@style.styled
def plot_distances(run: StudyRun) -> Figure:
    """Draw the total variation between the predictions of arms; on the diagonal, between the repeats of one."""
    matrix = distance_matrix(run, "total_variation")
    size = 1.6 + 0.55 * len(matrix)
    figure = style.new_figure(size + 0.8, size, run.title, "total variation of predictions between different repeats")
    axes = figure.subplots()
    image = axes.imshow(matrix, cmap="Blues", vmin=0)
    names = list(run.kinds)
    axes.set_xticks(range(len(names)), names, rotation=30, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(names)), names)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    for row, column in np.ndindex(matrix.shape):
        value, color = matrix[row, column], "white" if matrix[row, column] > 0.6 * matrix.max() else "black"
        axes.text(column, row, f"{value:.3f}".removeprefix("0"), color=color, size=7, ha="center", va="center")
    figure.colorbar(image, ax=axes, shrink=0.8, aspect=25)
    return figure


@style.styled
def plot_doses(run: StudyRun) -> Figure:
    """Draw numbers against the setting that varies: means over repeats with 95 % intervals."""
    figure = style.new_figure(style.PAGE_WIDTH, 4.4, run.title, run.size)
    panels = figure.subplots(2, 2)
    found = doses(run)
    values = sorted({value for dose in found for value in dose.values})
    for (metric, label), axes in zip(DOSES.items(), panels.flat, strict=True):
        for dose in found:
            statistics = [run.kinds[name]["metrics"][metric] for name in dose.names]
            mean, low, high = (as_numbers([row[part] for row in statistics]) for part in ("mean", "low", "high"))
            places = np.searchsorted(values, dose.values)
            color = style.ARCH_COLORS[dose.arch]
            bars = np.stack([mean - low, high - mean])
            axes.errorbar(places, mean, bars, color=color, label=dose.arch, marker="o", capsize=2)
        for name in run.baselines:
            if not run.kinds[name]["varied"]:
                level = run.kinds[name]["metrics"][metric]["mean"]
                axes.axhline(level, color=style.ARCH_COLORS["standard"], label=name)
        axes.set_title(label)
        axes.set_xticks(range(len(values)), [f"{value:g}" for value in values])
        axes.set_xlabel(varied_setting(run).replace("_", " "))
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=5)
    return figure
