"""Teleportation: what is read of a run, loss against steps and seconds, and curvature against generalisation."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from asymjax.lab import run_files
from asymjax.report import style
from asymjax.report.read import read_record, read_required, read_results

SUMMARY = ("backbone", "arch", "dataset", "num_rows", "dimension", "steps", "steps_per_epoch", "arms")
COLORS = {
    "plain": style.BLACK,
    "steep": style.VERMILLION,
    "random": style.GREY,
    "pseudo_inverse": style.PURPLE,
    "flat": style.GREEN,
    "sharp": style.ORANGE,
    "straight": style.BLUE,
    "curved": style.SKY,
    "balanced": "#882255",
}
SHOWN = {
    "sharpness": "rise of the loss at random displacements",
    "largest": "largest eigenvalue",
    "orbit_curvature": "curvature of orbits",
}


class TeleportRun(NamedTuple):
    """A finished run of ``teleport``.

    Attributes
    ----------
    path : its directory.
    record : config.json.
    summary : summary.json.
    arrays : ``losses`` [arm, seed, epoch], ``seconds`` [arm, epoch], and by ``"<arm>/<name>"`` measures [seed].
    """

    path: Path
    record: dict[str, Any]
    summary: dict[str, Any]
    arrays: dict[str, np.ndarray]

    @property
    def arms(self) -> list[str]:
        """Names of the arms, plain training first."""
        return ["plain", *self.record["config"]["schedule"]["arms"]]

    @property
    def title(self) -> str:
        """What was trained, and how."""
        training = self.record["config"]["training"]
        widths = "-".join(map(str, self.record["config"]["model"].get("widths", [])))
        network = f"{self.summary['backbone']} {widths}".strip()
        return f"{training['optimizer']} with teleports, {network} on {self.summary['dataset']}"


def read_teleportation(path: Path) -> TeleportRun:
    """Read a finished run of ``teleport``.

    Raises
    ------
    InputError
        If it is not a run directory, its run is not finished, or a file is missing or damaged.
    """
    record = read_record(path)
    summary = read_required(run_files.read_json, path / "summary.json", *SUMMARY)
    arms = ["plain", *record["config"]["schedule"]["arms"]]
    names = [f"{arm}/{name}" for arm in arms for name in (*SHOWN, "test_loss")]
    return TeleportRun(path, record, summary, read_results(path, "arms/", "losses", "seconds", *names))


def steady_seconds(run: TeleportRun) -> np.ndarray:
    """Return the seconds of every epoch [arm, epoch], of those without teleports the median of the arm.

    They do the same work, and differ by what else the machine did.
    """
    seconds = run.arrays["seconds"].copy()
    is_plain = np.ones(seconds.shape[1], bool)
    schedule, per_epoch = run.record["config"]["schedule"], run.summary["steps_per_epoch"]
    first = schedule["teleport_epoch"]
    last = (run.summary["steps"][-1] - 1) // per_epoch
    is_plain[first : last + 1] = False
    if is_plain.any():
        seconds[:, is_plain] = np.median(seconds[:, is_plain], axis=1, keepdims=True)
    return seconds


@style.styled
def plot_losses(run: TeleportRun) -> Figure:
    """Draw the training loss against epochs and against seconds of one network, medians and quartiles over seeds."""
    figure = style.new_figure(style.PAGE_WIDTH, 2.8, f"Training loss, {run.title}")
    panels, seconds = figure.subplots(1, 2, sharey=True), np.cumsum(steady_seconds(run), axis=1)
    for place, arm in enumerate(run.arms):
        losses = run.arrays["losses"][place]
        epochs = np.arange(1, losses.shape[1] + 1)
        for axes, times in zip(panels, (epochs, seconds[place]), strict=True):
            _draw_band(axes, times, losses, arm)
    panels[0].set(xlabel="epochs", ylabel="training loss", yscale="log")
    panels[1].set(xlabel="seconds of one network, without compilation", xlim=(0, None))
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(run.arms))
    return figure


def _draw_band(axes: Axes, times: np.ndarray, losses: np.ndarray, arm: str) -> None:
    """Draw median and quartiles of curves [seed, epoch]; of networks that diverged nothing."""
    kept = losses[np.isfinite(losses).all(axis=1)]
    if not len(kept):
        return
    low, median, high = np.quantile(kept, [0.25, 0.5, 0.75], axis=0)
    axes.fill_between(times, low, high, color=COLORS[arm], alpha=0.15, linewidth=0)
    axes.plot(times, median, color=COLORS[arm], label=arm)


@style.styled
def plot_curvature(run: TeleportRun) -> Figure:
    """Draw the test loss against each curvature at the end, differences from the plain network of the same seed."""
    figure = style.new_figure(style.PAGE_WIDTH, 2.8, f"At the end, beside plain training, {run.title}")
    panels = figure.subplots(1, len(SHOWN), sharey=True)
    for axes, (name, label) in zip(panels, SHOWN.items(), strict=True):
        for arm in run.arms[1:]:
            apart, loss = (run.arrays[f"{arm}/{kind}"] - run.arrays[f"plain/{kind}"] for kind in (name, "test_loss"))
            axes.plot(apart, loss, "o", color=COLORS[arm], alpha=0.7, markeredgewidth=0, label=arm)
        style.mark(axes, 0)
        style.mark(axes, 0, which="y")
        axes.set_xlabel(label)
        axes.locator_params(axis="x", nbins=4)
    panels[0].set_ylabel("test loss")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(run.arms))
    return figure
