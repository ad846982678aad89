"""Sweeps: what is read of one, which of its networks are replicates, and how good they are."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from asymjax.errors import InputError
from asymjax.lab import run_files
from asymjax.report import style
from asymjax.report.read import as_numbers, read_record, read_required

SUMMARY = ("arch", "backbone", "dataset", "task", "num_trainable", "num_fixed", "num_rows", "coordinates", "status")
SPLITS = {"train": "training", "validation": "validation", "test": "test"}
REPLICATES = frozenset({"seed", "mask_seed"})
SCORES = {"classification": "accuracy", "regression": "loss"}
MAX_ROWS = 40
MAX_VALUES, NUM_GROUPS = 30, 10
LOG_RANGE = 20.0
"""Ratio of the largest to the smallest value from which on an axis is logarithmic."""


class Combination(NamedTuple):
    """Networks that differ in their seeds, masks and drawn recipes alone.

    Attributes
    ----------
    name : their settings among those that vary.
    program : summary of the program that trained them.
    trained : int [network] which of the program's networks they are, without those that failed.
    num_networks : they and those that failed.
    """

    name: str
    program: dict[str, Any]
    trained: np.ndarray
    num_networks: int

    def values(self, split: str, metric: str) -> np.ndarray:
        """Return a metric of those that trained [network]; empty where it was not measured."""
        values = self.program[split].get(metric)
        return np.array([]) if values is None else values[self.trained]


class SweepRun(NamedTuple):
    """A finished run of ``train_sweep`` or ``zoo``.

    Attributes
    ----------
    path : its directory.
    record : config.json.
    programs : summary of the networks of each compiled program, what it says of each as an array [network], by the
        settings that the program has of its own.
    axes : settings that vary by request; others are drawn for each network.
    """

    path: Path
    record: dict[str, Any]
    programs: dict[str, dict[str, Any]]
    axes: frozenset[str]

    @property
    def summary(self) -> dict[str, Any]:
        """Summary of the first program, for what all share."""
        return next(iter(self.programs.values()))

    @property
    def title(self) -> str:
        """What was trained."""
        backbones = dict.fromkeys(program["backbone"] for program in self.programs.values())
        kind = "zoo" if self.record["experiment"] == "zoo" else "sweep"
        return f"{kind} of {', '.join(backbones)} on {self.summary['dataset']}"

    @property
    def score(self) -> str:
        """Key of the metric that networks are compared by."""
        return SCORES[self.summary["task"]]

    @property
    def selection(self) -> str:
        """Key of the split that combinations are chosen by; not the test rows where there are others."""
        return "validation" if self.summary["validation"] else "train"


def read_sweep(path: Path) -> SweepRun:
    """Read a finished run of ``train_sweep`` or ``zoo``, of one program or of a grid.

    Raises
    ------
    InputError
        If it is not a run directory, its run is not finished, or a file is missing or damaged.
    """
    record = read_record(path)
    config, where = record["config"], path / "summary.json"
    if "grid" not in config:
        axes = frozenset(config.get("coordinates", {})) - REPLICATES
        return SweepRun(path, record, {"": _with_arrays(read_required(run_files.read_json, where, *SUMMARY))}, axes)
    programs = read_required(run_files.read_json, where, "points")["points"]
    for name, program in programs.items():
        if missing := [entry for entry in SUMMARY if entry not in program]:
            raise InputError(f"{where} lacks {', '.join(missing)} of {name}; was it written by this version?")
    axes = frozenset(axis.partition("=")[0] for axis in config["grid"]) - REPLICATES
    return SweepRun(path, record, {name: _with_arrays(program) for name, program in programs.items()}, axes)


def _with_arrays(program: dict[str, Any]) -> dict[str, Any]:
    """Make arrays of what a summary says of each network."""
    program = program | {"trained": np.array([status == "ok" for status in program["status"]])}
    for entry in ("coordinates", *SPLITS):
        program[entry] = {name: as_numbers(values) for name, values in (program.get(entry) or {}).items()}
    return program


def combinations(run: SweepRun) -> list[Combination]:
    """Return the combinations of settings of a sweep, in the order of its networks."""
    return [combination for name in run.programs for combination in _of_program(run, name)]


def _of_program(run: SweepRun, name: str) -> Iterator[Combination]:
    program = run.programs[name]
    settings = {axis: values for axis, values in program["coordinates"].items() if axis in run.axes}
    columns = np.array([np.zeros(len(program["status"])), *settings.values()])
    _, owner, counts = np.unique(columns, axis=1, return_inverse=True, return_counts=True)
    members = np.split(np.argsort(owner.ravel(), kind="stable"), np.cumsum(counts)[:-1])
    static = [word.replace("=", " ") for word in name.split(",") if word]
    for own in sorted(members, key=lambda own: own[0]):
        words = [f"{axis} {values[own[0]]:g}" for axis, values in settings.items()]
        label = ", ".join([*static, *words]) or _kind(run, program["arch"])
        yield Combination(label, program, own[program["trained"][own]], len(own))


def _kind(run: SweepRun, arch: str) -> str:
    """Return the name of networks of a method, which may be a control."""
    return str(run.record["config"].get("control", arch))


def chosen(run: SweepRun, most: int) -> tuple[list[Combination], int]:
    """Return the combinations of a sweep, of more than ``most`` those with the best mean score, and how many it has."""
    found = combinations(run)
    if len(found) <= most:
        return found, len(found)
    sign = -1 if run.score == "accuracy" else 1

    def rank(combination: Combination) -> float:
        values = combination.values(run.selection, run.score)
        return sign * float(np.mean(values)) if len(values) else np.inf

    return sorted(found, key=rank)[:most], len(found)


def varying(run: SweepRun) -> list[str]:
    """Return the settings that differ between networks of one program, seeds and masks apart."""
    names = dict.fromkeys(name for program in run.programs.values() for name in program["coordinates"])
    return [name for name in names if name not in REPLICATES]


@style.styled
def plot_networks(run: SweepRun) -> Figure:
    """Draw training loss and test score of all networks, a row a combination of settings: networks, and their mean."""
    rows, total = chosen(run, MAX_ROWS)
    columns = {"training loss": ("train", "loss"), f"test {run.score}": ("test", run.score)}
    height = 0.9 + 0.25 * len(rows)
    figure = style.new_figure(style.PAGE_WIDTH, height, run.title.capitalize(), _which(run, len(rows), total))
    panels = figure.subplots(1, len(columns), sharey=True)
    for axes, (label, (split, metric)) in zip(panels, columns.items(), strict=True):
        for place, row in enumerate(rows):
            _draw_row(axes, place, row.values(split, metric), style.ARCH_COLORS[row.program["arch"]])
        axes.set_xlabel(label)
        _spread_axis(axes, "x", np.concatenate([row.values(split, metric) for row in rows]))
    panels[0].set_yticks(range(len(rows)), [row.name for row in rows])
    panels[0].set_ylim(len(rows) - 0.5, -0.5)
    return figure


def _which(run: SweepRun, shown: int, total: int) -> str:
    """Return which combinations are shown."""
    networks = sum(len(program["status"]) for program in run.programs.values())
    which = f"{total:,}" if shown == total else f"the best {shown} of {total:,}"
    return f"{networks:,} networks, {which} combination{'s' * (total > 1)} of settings"


def _draw_row(axes: Axes, place: int, values: np.ndarray, color: str) -> None:
    """Draw networks beside one another, and their mean; nothing of none."""
    if len(values) == 0:
        return
    heights = place + 0.5 * (np.random.default_rng(0).random(len(values)) - 0.5)
    _draw_dots(axes, values, heights, color)
    axes.plot(np.mean(values), place, "o", color=color, markeredgecolor="white")


@style.styled
def plot_settings(run: SweepRun) -> Figure:
    """Draw the test score of all networks against each setting that differs between them, with medians of its values.

    Of a setting with more values than can be told apart, medians are of tenths of the networks.
    """
    names = varying(run)
    figure = style.new_figure(style.PAGE_WIDTH, 2.6, run.title.capitalize(), f"test {run.score}")
    panels = figure.subplots(1, len(names), sharey=True, squeeze=False)[0]
    for axes, name in zip(panels, names, strict=True):
        for arch in dict.fromkeys(program["arch"] for program in run.programs.values()):
            _draw_setting(axes, run, arch, name)
        axes.set_xlabel(name.replace("_", " "))
    panels[0].set_ylabel(f"test {run.score}")
    scores = [program["test"][run.score][program["trained"]] for program in run.programs.values()]
    _spread_axis(panels[0], "y", np.concatenate(scores))
    found = [axes.get_legend_handles_labels() for axes in panels]
    handles = {label: handle for of_panel in found for handle, label in zip(*of_panel, strict=True)}
    figure.legend(list(handles.values()), list(handles), loc="outside lower center", ncols=4)
    return figure


def _draw_setting(axes: Axes, run: SweepRun, arch: str, name: str) -> None:
    """Draw the networks of a method that have a setting of their own, over all other settings; nothing of none."""
    programs = [
        program for program in run.programs.values() if program["arch"] == arch and name in program["coordinates"]
    ]
    if not any(program["trained"].any() for program in programs):
        return
    values = np.concatenate([program["coordinates"][name][program["trained"]] for program in programs])
    scores = np.concatenate([program["test"][run.score][program["trained"]] for program in programs])
    _draw_dots(axes, values, scores, style.ARCH_COLORS[arch])
    kinds, counts = np.unique(values, return_counts=True)
    cuts = np.cumsum(counts)[:-1] if len(kinds) <= MAX_VALUES else NUM_GROUPS
    groups = np.array_split(np.argsort(values), cuts)
    medians = np.array([(np.median(values[group]), np.median(scores[group])) for group in groups])
    axes.plot(*medians.T, color=style.ARCH_COLORS[arch], label=_kind(run, arch))
    _spread_axis(axes, "x", values)


def _draw_dots(axes: Axes, x: np.ndarray, y: np.ndarray, color: str) -> None:
    """Draw a dot a network, the fainter the more there are."""
    alpha = float(np.clip(300 / len(x), 0.03, 0.4))
    axes.plot(x, y, ".", color=color, alpha=alpha, markersize=3, markeredgewidth=0, rasterized=True)


def _spread_axis(axes: Axes, which: Literal["x", "y"], values: np.ndarray) -> None:
    """Make an axis logarithmic where its values are positive and far apart."""
    values = values[np.isfinite(values)]
    if len(values) and values.min() > 0 and values.max() / values.min() > LOG_RANGE:
        axes.set(**{f"{which}scale": "log"})
        {"x": axes.xaxis, "y": axes.yaxis}[which].set_minor_formatter("")
