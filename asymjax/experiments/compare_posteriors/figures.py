"""A study of posteriors: what is read of a run, and its figures."""

from collections.abc import Collection, Mapping, Sequence
from itertools import cycle
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

SUMMARY = ("backbone", "dataset", "task", "num_repeats", "num_rows", "budget", "arms")
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
FITS = {
    "elbo": "ELBO (nats)",
    "reference_total_variation": "TV to HMC",
    "function_variance_ratio": "function variance / HMC's",
}
FIT_DOSES = {
    "elbo": "ELBO (nats)",
    "information": "of which information of the order (nats)",
    "nll": "test NLL (nats)",
    "reference_total_variation": "TV to HMC",
}
LOOKS = {"-": "o", "--": "s", ":": "^", "-.": "D", (0, (1, 3)): "v", (0, (6, 1, 1, 1, 1, 1)): "P"}
"""Lines and markers of samplers, in their order."""
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
    arrays : by ``"<arm>/<repeat>/..."`` curves of convergence [point]; ``total_variation`` [arm, arm, repeat, repeat],
        which older runs have of classifiers alone, and of classifiers ``agreement``.
    """

    path: Path
    record: dict[str, Any]
    summary: dict[str, Any]
    arrays: dict[str, np.ndarray]

    @property
    def title(self) -> str:
        """What was compared."""
        samplers = self.samplers[0] if len(self.samplers) == 1 else f"{len(self.samplers)} samplers"
        return "posteriors of {backbone} on {dataset} by {samplers}".format(**self.summary | {"samplers": samplers})

    @property
    def samplers(self) -> list[str]:
        """Names of the samplers; older runs have one."""
        return self.summary.get("samplers") or [self.summary["sampler"]]

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
    def fits(self) -> list[str]:
        """Arms whose sampler fits a density."""
        return [name for name, arm in self.kinds.items() if arm.get("is_fit")]

    @property
    def walks(self) -> list[str]:
        """Arms whose sampler samples the posterior itself."""
        return [name for name in self.kinds if name not in self.fits]

    @property
    def networks(self) -> dict[str, str]:
        """What arms of one sampler are called beside each other: their networks, by the names of the arms."""
        return {name: arm.get("network", name) for name, arm in self.kinds.items()}

    def label(self, name: str) -> str:
        """Return the name of an arm in words, which can be broken: its network and, of several, its sampler."""
        arm = self.kinds[name]
        return name if len(self.samplers) == 1 else f"{arm['network']} {arm['sampler'].replace(',', ', ')}"

    def of(self, names: Collection[str]) -> "StudyRun":
        """Return the run with some of its arms alone."""
        arms = {name: arm for name, arm in self.kinds.items() if name in names}
        return self._replace(summary=self.summary | {"arms": arms})

    def by_sampler(self) -> dict[str, "StudyRun"]:
        """Return the run once for every sampler, with its arms alone."""
        if len(self.samplers) == 1:
            return {self.samplers[0]: self}
        arms = self.kinds.items()
        return {word: self.of([name for name, arm in arms if arm["sampler"] == word]) for word in self.samplers}

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
        names += ["agreement", "total_variation"]  # Older runs have none of regression.
    return StudyRun(path, record, summary, read_results(path, "study/", *names))


class Look(NamedTuple):
    """How an arm is drawn: colours are methods, lines and markers are samplers."""

    color: str
    line: Any
    marker: str


def looks_of(run: StudyRun) -> dict[str, Look]:
    """Return how each arm is drawn."""
    lines = dict(zip(run.samplers, cycle(LOOKS), strict=False))
    colors = {name: color for own in run.by_sampler().values() for name, color in style.kind_colors(own.kinds).items()}
    used = {name: lines[arm.get("sampler", run.samplers[0])] for name, arm in run.kinds.items()}
    return {name: Look(colors[name], line, LOOKS[line]) for name, line in used.items()}


def _name_rows(axes: Axes, run: StudyRun) -> None:
    """Give every arm a row."""
    axes.set_yticks(range(len(run.kinds)), [_broken(run, name) for name in run.kinds])
    axes.set_ylim(len(run.kinds) - 0.5, -0.5)


def _broken(run: StudyRun, name: str) -> str:
    """Return the name of an arm, in lines."""
    if len(run.samplers) == 1:
        return name.replace("-", "\n", 1)
    return "{network}\n{sampler}".format(**run.kinds[name])


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
    looks = looks_of(run)
    for (metric, label), (left, right) in zip(scores.items(), panels, strict=True):
        for row, (name, arm) in enumerate(run.kinds.items()):
            found = arm["metrics"][metric]
            _draw_dots(left, as_numbers(found["repeats"]), row, found["mean"], looks[name].color)
            if found["difference"]:
                _draw_interval(right, found["difference"], row, looks[name].color)
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

    Of samplers, since draws of fits take no gradients. Dashed: the gradients at which runs are compared.
    """
    figure = style.new_figure(style.PAGE_WIDTH, 3.0, run.title, run.size)
    rhat, lppd = figure.subplots(1, 2)
    for name, look in looks_of(run.of(run.walks)).items():
        curves = {
            field: np.stack([run.arrays[f"{name}/{repeat}/{field}"] for repeat in range(run.summary["num_repeats"])])
            for field in CURVE
        }
        gradients = np.median(curves["num_grad_evals"], axis=0) / 1000
        _draw_range(rhat, gradients, style.place_rhat(curves["rhat_max"]), look, run.label(name))
        _draw_range(lppd, gradients, curves["lppd"], look, run.label(name))
    style.rhat_axis(rhat, "y")
    rhat.set_title(f"R-hat max, function space {style.RHAT_SCALE}")
    lppd.set_title("test LPPD (nats)")
    for axes in (rhat, lppd):
        axes.set_xlabel("gradients in thousands, all chains, warmup included")
        style.mark(axes, run.summary["budget"] / 1000)
    figure.legend(
        *rhat.get_legend_handles_labels(), loc="outside lower center", ncols=5 if len(run.samplers) == 1 else 3
    )
    return figure


def _draw_range(axes: Axes, x: np.ndarray, values: np.ndarray, look: Look, label: str) -> None:
    axes.fill_between(x, values.min(axis=0), values.max(axis=0), color=look.color, alpha=0.15, linewidth=0)
    axes.plot(x, np.median(values, axis=0), color=look.color, linestyle=look.line, label=label)


def lags_of(run: StudyRun) -> list[str]:
    """Return the lags at which barriers within chains were measured; empty in older studies, and without weights."""
    return list(next(iter(run.kinds.values())).get("within_barriers", {}))


@style.styled
def plot_within(run: StudyRun) -> Figure:
    """Draw barriers and units in place within chains against the lag, and between chains, with 95 % intervals.

    Dashed: what a random permutation keeps in place.
    """
    samplers = run.by_sampler()
    height = 0.9 + 2.5 * len(samplers)
    figure = style.new_figure(style.PAGE_WIDTH, height, run.title, "between two draws of a chain, and of two chains")
    panels = figure.subplots(len(samplers), 2, squeeze=False)
    for (sampler, own), (barriers, in_place) in zip(samplers.items(), panels, strict=True):
        which = f"\n{sampler}" if len(samplers) > 1 else ""
        barriers.set_title(f"barrier of the log density (nats){which}")
        in_place.set_title(f"share of units in place{which}")
        _draw_lags(barriers, own, "within_barriers", "barrier")
        _draw_lags(in_place, own, "units_in_place", "in_place_between")
        chance = next(iter(own.kinds.values()))["metrics"]["in_place_chance"]["mean"]
        style.mark(in_place, chance, which="y")
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 5))
    return figure


def _draw_lags(axes: Axes, run: StudyRun, within: str, between: str) -> None:
    """Draw one number of the arms of one sampler against the lag, and beside it that between chains."""
    lags = lags_of(run)
    places = np.arange(len(lags) + 1)
    colors, names = style.kind_colors(run.kinds), run.networks
    for shift, (name, arm) in zip(np.linspace(-0.2, 0.2, len(run.kinds)), run.kinds.items(), strict=True):
        found = [*(arm[within][lag] for lag in lags), arm["metrics"][between]]
        mean, low, high = (as_numbers([row[part] for row in found]) for part in ("mean", "low", "high"))
        bars = np.stack([mean - low, high - mean])
        look: dict[str, Any] = {"color": colors[name], "marker": "o", "ls": ""}
        axes.errorbar(places + shift, mean, bars, capsize=2, label=names[name], **look)
        axes.plot(places[:-1] + shift, mean[:-1], color=colors[name], alpha=0.5)
    axes.axvline(len(lags) - 0.5, color="0.7", linewidth=0.8)
    axes.set_xticks(places, [*lags, "chains"])
    axes.set_xlabel("draws between them")
    axes.set_ylim(bottom=0)


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
    names = list(map(run.label, run.kinds))
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
def plot_fits(run: StudyRun) -> Figure:
    """Draw bounds, distance and spread beside HMC, and test scores: a row an arm, a dot a repeat, a bar their mean.

    Grey: the total variation between two HMC runs of the same network, and the spread of HMC.
    """
    columns = FITS | SCORES[run.summary["task"]]
    figure = style.new_figure(style.PAGE_WIDTH, 1.0 + 0.42 * len(run.kinds), f"{run.title}: grey marks HMC", run.size)
    panels = dict(zip(columns, figure.subplots(1, len(columns), sharey=True), strict=True))
    for metric, axes in panels.items():
        for row, (name, look) in enumerate(looks_of(run).items()):
            found = run.kinds[name]["metrics"][metric]
            _draw_dots(axes, as_numbers(found["repeats"]), row, float(as_numbers(found["mean"])), look.color)
        axes.set_xlabel(columns[metric].replace(" (", "\n(").replace(" / ", "\n/ "))
        axes.locator_params(axis="x", nbins=2, min_n_ticks=1)
    for row, arm in enumerate(run.kinds.values()):
        if arm["reference"]:
            between = arm["reference"]["total_variation"]["between_references"]
            panels["reference_total_variation"].plot(between, row, "|", color=style.GREY, markersize=14)
    style.mark(panels["function_variance_ratio"], 1)
    _name_rows(panels["elbo"], run)
    return figure


@style.styled
def plot_doses(run: StudyRun) -> Figure:
    """Draw numbers against the setting that varies: means over repeats with 95 % intervals; of fits their bounds."""
    figure = style.new_figure(style.PAGE_WIDTH, 4.4, run.title, run.size)
    panels = figure.subplots(2, 2)
    values = sorted({value for dose in doses(run) for value in dose.values})
    for (metric, label), axes in zip((FIT_DOSES if run.fits else DOSES).items(), panels.flat, strict=True):
        for number, own in enumerate(run.by_sampler().values()):
            _draw_doses(axes, own, metric, values, 0.04 * (number - (len(run.samplers) - 1) / 2))
        axes.set_title(label)
        axes.set_xticks(range(len(values)), [f"{value:g}" for value in values])
        axes.set_xlabel(varied_setting(run).replace("_", " "))
    handles: dict[str, Any] = {}
    for axes in panels.flat:
        handles |= {label: handle for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=4)
    return figure


def _draw_doses(axes: Axes, run: StudyRun, metric: str, values: Sequence[float], shift: float) -> None:
    """Draw one number of the arms of one sampler, shifted to be seen beside others; nothing where it has none."""
    looks = looks_of(run)
    sampler = "" if len(run.samplers) == 1 else next(iter(run.kinds.values()))["sampler"].replace(",", ", ")
    for dose in doses(run):
        statistics = [run.kinds[name]["metrics"][metric] for name in dose.names]
        mean, low, high = (as_numbers([row[part] for row in statistics]) for part in ("mean", "low", "high"))
        if np.isnan(mean).all():
            continue
        look = looks[dose.names[-1]]
        axes.errorbar(
            np.searchsorted(values, dose.values) + shift,
            mean,
            np.stack([mean - low, high - mean]),
            **{"color": style.ARCH_COLORS[dose.arch], "linestyle": look.line, "marker": look.marker},
            label=f"{dose.arch} {sampler}".rstrip(),
            capsize=2,
        )
    for name in run.baselines:
        level = float(as_numbers(run.kinds[name]["metrics"][metric]["mean"]))
        if not run.kinds[name]["varied"] and not np.isnan(level):
            color, line = style.ARCH_COLORS["standard"], looks[name].line
            axes.axhline(level, color=color, linestyle=line, label=run.label(name))
