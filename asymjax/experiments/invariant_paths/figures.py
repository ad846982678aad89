"""Figures of invariant paths: drift against length, what was asked for against what was kept, and ways to optima."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure

from asymjax.lab import run_files
from asymjax.report import style
from asymjax.report.read import as_numbers, read_record, read_required, read_results

SUMMARY = ("dataset", "backbone", "objective", "methods", "between_methods")
COLORS = {
    "path": style.BLUE,
    "masked": style.VERMILLION,
    "distilled": style.GREEN,
    "one_shot": style.GREY,
    "fine_tuning": style.VERMILLION,
    "joint": style.BLACK,
    "replay": style.ORANGE,
    "ewc": style.PURPLE,
    "adversarial_training": style.GREEN,
    "deep": style.GREEN,
    "single": style.GREY,
    "straight": style.GREY,
    "aligned": style.GREEN,
}


class PathRun(NamedTuple):
    """A finished run of ``invariant_path``.

    Attributes
    ----------
    path : its directory.
    record : config.json.
    summary : summary.json.
    arrays : measures at points and what steps tell, below method and arm.
    """

    path: Path
    record: dict[str, Any]
    summary: dict[str, Any]
    arrays: dict[str, np.ndarray]

    @property
    def title(self) -> str:
        """What was studied."""
        return "invariant paths, {objective}: {backbone} on {dataset}".format(**self.summary)

    @property
    def objective(self) -> str:
        """What fell along the paths."""
        return self.summary["objective"]

    @property
    def methods(self) -> dict[str, dict[str, Any]]:
        """Entries by method."""
        return self.summary["methods"]

    @property
    def settings(self) -> dict[str, Any]:
        """How paths were walked."""
        return self.record["config"]["path"]

    @property
    def study(self) -> dict[str, Any]:
        """What fell along the paths, and on which rows."""
        return self.record["config"]["study"]


def read_paths(path: Path) -> PathRun:
    """Read a finished run of ``invariant_path``.

    Raises
    ------
    InputError
        If it is not a run directory, its run is not finished, or a file is missing or damaged.
    """
    record = read_record(path)
    summary = read_required(run_files.read_json, path / "summary.json", *SUMMARY)
    return PathRun(path, record, summary, read_results(path, "paths/"))


def colors_of(arms: Iterable[str]) -> dict[str, str]:
    """Return the colour of each arm; of several of one kind, the lighter the earlier."""
    names = list(arms)
    colors = {}
    for name in names:
        kind = name.partition("-")[0]
        siblings = [other for other in names if other.partition("-")[0] == kind]
        colors[name] = _lighter(COLORS[kind], (siblings.index(name) + 1) / len(siblings))
    return colors


def _lighter(color: str, strength: float) -> str:
    """Return a colour mixed with white, of which it keeps a share from 0 to 1."""
    return to_hex(tuple((1 - strength * (1 - np.array(to_rgb(color)))).tolist()))


def curve(entry: Mapping[str, Any], name: str, part: str = "mean") -> np.ndarray:
    """Return statistics of a measure at the points of an arm; nothing where it was not measured."""
    return as_numbers([point[part] for point in entry["curves"].get(name, ())])


def paths_of(method: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the arms of a method on which the function stays, of which some network is there."""
    return {name: arm for name, arm in method["arms"].items() if arm["is_path"] and arm["curves"]}


@style.styled
def plot_drift(run: PathRun) -> Figure:
    """Draw how far the function has moved against the length of the path, on replayed and on held-out inputs."""
    figure = style.new_figure(style.PAGE_WIDTH, 2.6, run.title.capitalize())
    panels = figure.subplots(1, 3)
    for arch, method in run.methods.items():
        paths = paths_of(method)
        for i, (name, arm) in enumerate(paths.items()):
            color = _lighter(style.ARCH_COLORS[arch], (i + 1) / len(paths))
            label = arch if len(paths) == 1 else f"{arch}, {name.partition('-')[2]}"
            for axes, measure in zip(panels, ("drift.replay_max", "drift.held_out"), strict=False):
                values = curve(arm, measure)
                axes.plot(curve(arm, "length")[1:], np.maximum(values[1:], 1e-7), "o-", color=color, label=label)
            if method["curvature"]:
                at = as_numbers(method["curvature_at"][name])
                lengths = np.interp(at, as_numbers(arm["at"]), curve(arm, "length"))
                found = [as_numbers([p[part] for p in method["curvature"][name]["trace"]]) for part in PARTS]
                _with_interval(panels[2], lengths, found, color, label)
    for axes, name in zip(panels, ("largest change of an output, replay", "distance, held out", "trace"), strict=True):
        axes.set(xlabel="length of the path", title=name)
    for axes in panels[:2]:
        axes.set_yscale("log")
    panels[0].legend()
    return figure


@style.styled
def plot_spectrum(run: PathRun) -> Figure:
    """Draw the eigenvalues of the metric on replayed inputs where paths begin, and count what is null, by kind."""
    figure = style.new_figure(style.PAGE_WIDTH, 2.8, run.title.capitalize())
    values, counts = figure.subplots(1, 2)
    found = {arch: method["null_space"] for arch, method in run.methods.items() if method["null_space"]}
    for arch, parts in found.items():
        values.plot(np.arange(1, parts["rank"] + 1), parts["eigenvalues"], color=style.ARCH_COLORS[arch], label=arch)
    values.set(xlabel="number of the eigenvalue", ylabel="eigenvalue of the metric", yscale="log")
    values.legend()
    left, totals = np.zeros(len(found)), [sum(parts[part] for part in NULL_COLORS) for parts in found.values()]
    for part, color in NULL_COLORS.items():
        widths = np.array([parts[part] for parts in found.values()])
        bars = counts.barh(list(found), widths, left=left, color=color, label=part)
        shown = [f"{width:,}" if width > NARROW * max(totals) else "" for width in widths]
        counts.bar_label(bars, shown, label_type="center", fontsize=6)
        left = left + widths
    counts.invert_yaxis()
    counts.set(xlabel="directions")
    figure.legend(*counts.get_legend_handles_labels(), loc="outside lower right", ncols=len(NULL_COLORS))
    return figure


NARROW = 0.03
"""Share of all directions below which a bar has no room for its number."""
NULL_COLORS = {"architectural": style.VERMILLION, "hidden": style.ORANGE, "data": style.SKY, "rank": style.GREY}
PARTS = ("mean", "low", "high")


def _with_interval(axes: Axes, x: np.ndarray, parts: list[np.ndarray], color: str, label: str | None) -> None:
    mean, low, high = parts
    axes.plot(x, mean, "o-", color=color, label=label)
    axes.fill_between(x, low, high, color=color, alpha=0.2, linewidth=0)


@style.styled
def plot_old_and_new(run: PathRun) -> Figure:
    """Draw the accuracy on old against that on new classes along every arm, a panel a method; ends with intervals."""
    figure, panels = _panels(run)
    for axes, (arch, method) in zip(panels, run.methods.items(), strict=True):
        colors = colors_of(method["arms"])
        for name, arm in method["arms"].items():
            if not arm["curves"]:
                continue
            old, new = curve(arm, "old.accuracy"), curve(arm, "new.accuracy")
            axes.plot(new, old, "-", color=colors[name], linewidth=0.8)
            spread = [
                [[mean[-1] - low[-1]], [high[-1] - mean[-1]]]
                for mean, low, high in ([curve(arm, of, part) for part in PARTS] for of in MEASURES)
            ]
            axes.errorbar(
                new[-1],
                old[-1],
                spread[0],
                spread[1],
                fmt="o",
                color=colors[name],
                label=name.replace("_", " "),
                capsize=2,
            )
        axes.set(title=arch, xlabel="accuracy, new classes", xlim=(-0.03, 1.03), ylim=(-0.03, 1.03))
    panels[0].set_ylabel("accuracy, old classes")
    _legend_below(figure, panels[0])
    return figure


MEASURES = ("old.accuracy", "new.accuracy")


def _panels(run: PathRun) -> tuple[Figure, np.ndarray]:
    count = len(run.methods)
    width = style.COLUMN_WIDTH if count == 1 else style.PAGE_WIDTH
    figure = style.new_figure(width, 3.1, *run.title.capitalize().split(": "))
    return figure, figure.subplots(1, count, sharey=True, squeeze=False)[0]


def _legend_below(figure: Figure, axes: Axes) -> None:
    handles = axes.get_legend_handles_labels()
    most = 2 if figure.get_figwidth() < style.PAGE_WIDTH else 6
    figure.legend(*handles, loc="outside lower center", ncols=min(most, len(handles[1])))


@style.styled
def plot_sparsity(run: PathRun) -> Figure:
    """Draw the accuracy of networks made sparse against the share of zeros, a panel a method."""
    figure, panels = _panels(run)
    for axes, (arch, method) in zip(panels, run.methods.items(), strict=True):
        for kind, shift in {"path": 0.0, "masked": 0.002, "distilled": 0.004, "one_shot": -0.002}.items():
            found = [(share, by_kind[kind]) for share, by_kind in sparse_ends(method).items() if kind in by_kind]
            mean, low, high = (as_numbers([one[part] for _, one in found]) for part in PARTS)
            shares = np.array([share for share, _ in found]) + shift
            if len(shares):
                spread = (mean - low, high - mean)
                axes.errorbar(shares, mean, spread, fmt="o-", color=COLORS[kind], label=NAMES[kind], capsize=2)
        axes.set(title=arch, xlabel="share of zeros")
    panels[0].set_ylabel("test accuracy")
    _legend_below(figure, panels[0])
    return figure


NAMES = {
    "path": "invariant path",
    "masked": "masked fine-tuning",
    "distilled": "masked, without labels",
    "one_shot": "magnitudes at once",
}


def sparse_ends(method: Mapping[str, Any]) -> dict[float, dict[str, Any]]:
    """Return for each share the test accuracy of sparse networks, by how they came about."""
    found: dict[float, dict[str, Any]] = {}
    for name, arm in method["arms"].items():
        kind, _, share = name.partition("-")
        if arm["end"]:
            found.setdefault(float(share), {})[kind] = arm["end"]["projected.test.accuracy"]
            if kind == "path":
                found[float(share)]["one_shot"] = arm["curves"]["projected.test.accuracy"][0]
    return found


@style.styled
def plot_attacks(run: PathRun) -> Figure:
    """Draw accuracies of ensembles, or of networks along arms, as they are, under attack and on corrupted inputs."""
    figure, panels = _panels(run)
    for axes, (arch, method) in zip(panels, run.methods.items(), strict=True):
        kinds = method["ensembles"] if "ensembles" in method else robust_ends(method)
        names = [name for name in next(iter(kinds.values())) if name.endswith("accuracy")]
        for i, (kind, scores) in enumerate(kinds.items()):
            mean, low, high = (as_numbers([scores[name][part] for name in names]) for part in PARTS)
            x = np.arange(len(names)) + 0.15 * (i - len(kinds) / 2)
            color, spread = KINDS.get(kind, style.SKY), (mean - low, high - mean)
            axes.errorbar(x, mean, spread, fmt="o", color=color, label=kind.replace("_", " "), capsize=2)
        words = [name.rpartition(".")[0].removeprefix("test") or "clean" for name in names]
        axes.set_xticks(range(len(names)), words, rotation=30)
        axes.set_title(arch)
    panels[0].set_ylabel("test accuracy")
    _legend_below(figure, panels[0])
    return figure


KINDS = COLORS | {"start": style.GREY}


def robust_ends(method: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return accuracies where arms begin and end, clean ones first, by kind."""
    arms = {name: arm for name, arm in method["arms"].items() if arm["end"]}
    first = next(iter(arms.values()))
    names = sorted(
        (name for name in first["end"] if name.endswith(".accuracy")), key=lambda name: name != "test.accuracy"
    )
    start = {name: first["curves"][name][0] for name in names}
    return {"start": start} | {kind: {name: arm["end"][name] for name in names} for kind, arm in arms.items()}


@style.styled
def plot_lines(run: PathRun) -> Figure:
    """Draw the test loss on the way between two optima: on the path and what is left of it, straight, and aligned."""
    figure, panels = _panels(run)
    for axes, arch in zip(panels, run.methods, strict=True):
        for name, (places, losses) in ways(run, arch, "test.loss").items():
            middle = np.linspace(0, 1, 101)
            curves = np.stack([np.interp(middle, p, loss) for p, loss in zip(places, losses, strict=True)])
            axes.plot(middle, curves.mean(axis=0), color=COLORS[name], label=WAYS[name])
        axes.set(title=arch, xlabel="share of the way")
    panels[0].set_ylabel("test loss")
    _legend_below(figure, panels[0])
    return figure


WAYS = {
    "path": "invariant path and rest",
    "straight": "straight line",
    "aligned": "aligned, straight",
}


def ways(run: PathRun, arch: str, measure: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return places from 0 to 1 and values [member, place] on all ways between optima, failed networks left out."""
    own = {name.removeprefix(f"{arch}/"): array for name, array in run.arrays.items() if name.startswith(f"{arch}/")}
    failed = list(map(int, run.methods[arch]["arms"]["path"]["failed"]))
    points = own["lines/points"]
    found = {}
    for name in ("straight", "aligned"):
        values = own[f"lines/{name}/{measure}"]
        found[name] = (np.broadcast_to(points, values.shape), values)
    walked, left = own["path/length"], own["lines/rest/distance"]
    places = np.concatenate([walked, walked[:, -1:] + left[:, None] * points[1:]], axis=1)
    values = np.concatenate([own[f"path/{measure}"], own[f"lines/rest/{measure}"][:, 1:]], axis=1)
    found["path"] = (places / np.maximum(places[:, -1:], 1e-12), values)
    return {name: tuple(np.delete(array, failed, axis=0) for array in one) for name, one in found.items()}  # type: ignore[misc]
