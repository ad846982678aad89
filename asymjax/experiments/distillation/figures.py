"""Distillations: what is read of a run, the images, and how good networks are that are trained on them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from asymjax.lab import run_files
from asymjax.report import style
from asymjax.report.read import as_numbers, read_record, read_required, read_results

SUMMARY = ("backbone", "arch", "dataset", "data", "counts", "accuracy", "steps", "curve")
METHODS = {"distribution": "distribution (DM)", "gradient": "gradient (DC)", "trajectory": "trajectory (MTT)"}
COLORS = {"distribution": style.BLUE, "gradient": style.VERMILLION, "trajectory": style.GREEN}
MAX_IMAGES, MAX_CLASSES = 10, 20


class DistillRun(NamedTuple):
    """A finished run of ``distill``.

    Attributes
    ----------
    path : its directory.
    record : config.json.
    summary : summary.json.
    arrays : ``stored`` images, ``losses`` [step], and test accuracies.
    """

    path: Path
    record: dict[str, Any]
    summary: dict[str, Any]
    arrays: dict[str, np.ndarray]

    @property
    def own(self) -> dict[str, Any]:
        """Settings of the distillation."""
        return self.record["config"]["distillation"]

    @property
    def name(self) -> str:
        """How it was distilled."""
        more = f", {self.own['factor']}x{self.own['factor']} in one" if self.own["factor"] > 1 else ""
        return METHODS[self.own["method"]] + more

    @property
    def network(self) -> str:
        """Method, backbone and widths of the networks."""
        widths = "-".join(map(str, self.record["config"]["model"].get("widths", [])))
        return f"{self.summary['arch']} {self.summary['backbone']} {widths}".strip()

    @property
    def title(self) -> str:
        """What was distilled, and how."""
        return f"{self.summary['dataset']} by {self.name}, {self.own['images_per_class']} a class"


def read_distillation(path: Path) -> DistillRun:
    """Read a finished run of ``distill``.

    Raises
    ------
    InputError
        If it is not a run directory, its run is not finished, or a file is missing or damaged.
    """
    record = read_record(path)
    summary = read_required(run_files.read_json, path / "summary.json", *SUMMARY)
    return DistillRun(path, record, summary, read_results(path, "distillation/", "stored", "losses"))


def images(run: DistillRun) -> np.ndarray | None:
    """Return the stored images [class, image, height, width, channels] as far as they are shown; None of vectors."""
    stored = run.arrays["stored"]
    if stored.ndim != 4:
        return None
    per_class = run.own["images_per_class"]
    return stored.reshape(-1, per_class, *stored.shape[1:])[:, :MAX_IMAGES]


def has_images(run: DistillRun) -> bool:
    """Return whether what was distilled are images."""
    return images(run) is not None


@style.styled
def plot_images(run: DistillRun) -> Figure:
    """Draw the stored images, a column a class, in the units of the raw data; the first classes of very many."""
    shown: Any = images(run)
    data = run.summary["data"]
    raw = shown[:MAX_CLASSES] * np.asarray(data["input_scale"]) + np.asarray(data["input_mean"])
    num_classes, num_rows = raw.shape[:2]
    figure = style.new_figure(style.PAGE_WIDTH, 0.6 + 6.5 * num_rows / num_classes, f"Images of {run.title}")
    panels = figure.subplots(num_rows, num_classes, squeeze=False)
    low, high = np.quantile(raw, (0.005, 0.995))
    for column, name, of_class in zip(panels.T, data["class_names"], raw, strict=False):
        for axes, image in zip(column, of_class, strict=True):
            pixels = np.clip((image - low) / (high - low), 0, 1)
            axes.imshow(pixels if pixels.shape[-1] == 3 else pixels[..., 0], cmap="gray", vmin=0, vmax=1)
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
        column[0].set_title(name, loc="center")
    return figure


@style.styled
def plot_accuracy(run: DistillRun) -> Figure:
    """Draw the test accuracy of networks against the steps of the images, beside that of real rows, with intervals."""
    figure = style.new_figure(style.COLUMN_WIDTH, 2.9, f"{run.title[0].upper()}{run.title[1:]}", "test accuracy")
    axes = figure.subplots()
    color, curve = COLORS[run.own["method"]], run.summary["curve"]
    steps, mean = as_numbers(run.summary["steps"]), as_numbers([point["mean"] for point in curve])
    low, high = (as_numbers([point[end] for point in curve]) for end in ("low", "high"))
    axes.plot(steps, mean, "o-", color=color, label="distilled")
    axes.fill_between(steps, low, high, color=color, alpha=0.2, linewidth=0)
    for name, line in {"random": style.GREY, "whole": style.BLACK}.items():
        if found := run.summary["accuracy"].get(name):
            axes.axhline(found["mean"], color=line, linestyle=style.DASHES, label=LABELS[name])
            ends = as_numbers([found["low"], found["high"]])
            axes.axhspan(*ends.tolist(), color=line, alpha=0.1, linewidth=0)
    axes.set(xlabel="steps of the images", ylabel="test accuracy")
    figure.legend(loc="outside lower center", ncols=2)
    return figure


LABELS = {"random": "random real rows, as many", "whole": "all real rows"}


@style.styled
def plot_sizes(runs: Sequence[DistillRun]) -> Figure:
    """Draw the test accuracy of several runs on one dataset against images a class, a line a method."""
    first_run = runs[0]
    title = f"Distilled {first_run.summary['dataset']}", f"{first_run.network} trained on it"
    figure = style.new_figure(style.COLUMN_WIDTH, 2.8, *title)
    axes = figure.subplots()
    for name in dict.fromkeys(run.name for run in runs):
        own = sorted((run for run in runs if run.name == name), key=lambda run: run.own["images_per_class"])
        _draw_line(axes, own, "distilled", COLORS[own[0].own["method"]], name)
    first = {run.own["images_per_class"]: run for run in reversed(runs)}
    _draw_line(axes, [first[size] for size in sorted(first)], "random", style.GREY, LABELS["random"])
    axes.set(xscale="log", xlabel="images a class", ylabel="test accuracy")
    axes.set_xticks(sorted(first), list(map(str, sorted(first))))
    axes.set_xticks([], minor=True)
    axes.legend()
    return figure


def _draw_line(axes: Any, runs: Sequence[DistillRun], kind: str, color: str, label: str) -> None:
    found = [run.summary["accuracy"][kind] for run in runs]
    mean, low, high = (as_numbers([one[name] for one in found]) for name in ("mean", "low", "high"))
    sizes = [run.own["images_per_class"] for run in runs]
    axes.errorbar(sizes, mean, (mean - low, high - mean), fmt="o-", color=color, label=label, capsize=2)
