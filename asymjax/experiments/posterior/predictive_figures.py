"""Figures of predictions: the posterior beside the MAP ensemble and one MAP network, on test inputs and on noise."""

from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from asymjax.experiments.posterior.finished import Run
from asymjax.report import style

NUM_BINS = 15
MAX_LABELLED_CLASSES = 20
Z95 = 1.96  # Standard deviations on either side that hold 95 % of a Gaussian.


class Bins(NamedTuple):
    """Inputs binned by confidence, the largest probability; bins of equal width, closed on the right, none empty.

    Attributes
    ----------
    num_inputs : int [bin].
    confidence, accuracy : [bin], means over the inputs.
    """

    num_inputs: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray


def bin_by_confidence(probability: np.ndarray, targets: np.ndarray, num_bins: int = NUM_BINS) -> Bins:
    """Bin probabilities [input, class] as the expected calibration error does (Guo et al. 2017, section 2)."""
    confidence = probability.max(axis=-1)
    is_correct = probability.argmax(axis=-1) == targets
    bins = np.searchsorted(np.arange(1, num_bins) / num_bins, confidence, side="left")
    _, bins, count = np.unique(bins, return_inverse=True, return_counts=True)
    return Bins(count, np.bincount(bins, confidence) / count, np.bincount(bins, is_correct) / count)


def wilson_interval(share: np.ndarray, count: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the ends of the 95 % interval of a share of ``count`` trials (Wilson 1927)."""
    weight = count / (count + Z95**2)
    centre = weight * share + (1 - weight) / 2
    half_width = Z95 * np.sqrt(share * (1 - share) / count + Z95**2 / (4 * count**2)) * weight
    return centre - half_width, centre + half_width


@style.styled
def plot_reliability(run: Run) -> Figure:
    """Draw accuracy against confidence on test inputs, with 95 % intervals, over the histogram of confidence."""
    figure = _panels_figure(run, height=3.2)
    uppers, lowers = figure.subplots(
        2, len(run.predictors), sharex=True, sharey="row", height_ratios=(3, 1), squeeze=False
    )
    for (predictor, name), upper, lower in zip(run.predictors.items(), uppers, lowers, strict=True):
        color = style.PREDICTOR_COLORS[predictor]
        probability = run.predictions[f"{predictor}/probability"][: run.num_test]
        bins = bin_by_confidence(probability, run.predictions["targets"])
        low, high = wilson_interval(bins.accuracy, bins.num_inputs)
        style.draw_diagonal(upper)
        upper.vlines(bins.confidence, low, high, color=color, linewidth=0.8)
        upper.plot(bins.confidence, bins.accuracy, "o", color=color)
        upper.set_title(f"{name}: ECE {_score(run, predictor, 'ece'):.3f}")
        style.draw_shares(lower, probability.max(axis=-1), np.linspace(0, 1, NUM_BINS + 1), color)
        lower.set_xlabel("confidence")
    uppers[0].set(ylabel="accuracy", xlim=(0, 1.02), ylim=(-0.03, 1.03))
    lowers[0].set_ylabel("share")
    return figure


@style.styled
def plot_noise(run: Run) -> Figure:
    """Draw the uncertainty of predictions on test inputs against that on noise.

    Classification: the entropy of the predictive distribution. Regression: its standard deviation. AUROC is the
    probability that a noise input is more uncertain than a test input, ties counted by half.
    """
    figure = _panels_figure(run, height=2.5)
    panels = figure.subplots(1, len(run.predictors), sharex=True, sharey=True, squeeze=False)[0]
    values = [_uncertainty(run, predictor) for predictor in run.predictors]
    edges = np.linspace(np.min(values), np.max(values), 31)
    for name, value, panel in zip(run.predictors.values(), values, panels, strict=True):
        test, noise = value[: run.num_test].ravel(), value[run.num_test :].ravel()
        style.draw_shares(panel, test, edges, style.BLUE, "test inputs")
        style.draw_shares(panel, noise, edges, style.VERMILLION, "noise inputs")
        panel.set_title(
            f"{name}: AUROC {area_under_roc(test, noise):.3f}\n"
            f"median: test {np.median(test):.2f}, noise {np.median(noise):.2f}"
        )
        panel.set_xlabel(
            "predictive entropy (nats)" if run.summary["task"] == "classification" else "predictive sd (standardised)"
        )
    panels[0].set_ylabel("share of inputs")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def area_under_roc(negative: np.ndarray, positive: np.ndarray) -> float:
    """Return the probability that a positive [input] exceeds a negative [input], ties counted by half."""
    ordered = np.sort(negative)
    below = np.searchsorted(ordered, positive, side="left") + np.searchsorted(ordered, positive, side="right")
    return float(below.mean() / (2 * len(negative)))


def _uncertainty(run: Run, predictor: str) -> np.ndarray:
    if run.summary["task"] == "classification":
        return run.predictions[f"{predictor}/entropy_total"]
    return _scales(run, predictor)[0]


def _scales(run: Run, predictor: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the total and the epistemic standard deviation of predictions [input, target]."""
    aleatoric, epistemic = (run.predictions[f"{predictor}/{kind}_scale"] for kind in ("aleatoric", "epistemic"))
    return np.hypot(aleatoric, epistemic), epistemic


@style.styled
def plot_confusion(run: Run) -> Figure:
    """Draw how often the posterior takes each class for each other, on test inputs."""
    targets, probability = run.predictions["targets"], run.predictions["posterior/probability"][: run.num_test]
    num_classes = probability.shape[-1]
    counts = np.zeros((num_classes, num_classes), int)
    np.add.at(counts, (targets, probability.argmax(axis=-1)), 1)
    shares = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    figure = style.new_figure(style.COLUMN_WIDTH, style.COLUMN_WIDTH, run.title, run.size)
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, label="share of the true class", shrink=0.8)
    axes.set_title(
        f"posterior: {np.trace(counts):,} of {run.num_test:,} right ({_score(run, 'posterior', 'accuracy'):.1%})"
    )
    axes.set(xlabel="predicted class", ylabel="true class")
    if num_classes <= MAX_LABELLED_CLASSES:
        axes.set_xticks(range(num_classes))
        axes.set_yticks(range(num_classes))
        for row, column in np.argwhere(counts):
            color = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, str(counts[row, column]), color=color, size=6, ha="center", va="center")
    return figure


@style.styled
def plot_predictions(run: Run) -> Figure:
    """Draw predicted means against targets on test inputs, in standardised units, with standard deviations."""
    figure = _panels_figure(run, height=2.9)
    panels = figure.subplots(1, len(run.predictors), sharex=True, sharey=True, squeeze=False)[0]
    targets = run.predictions["targets"].ravel()
    for (predictor, name), panel in zip(run.predictors.items(), panels, strict=True):
        color = style.PREDICTOR_COLORS[predictor]
        mean = run.predictions[f"{predictor}/mean"][: run.num_test].ravel()
        total, epistemic = (scale[: run.num_test].ravel() for scale in _scales(run, predictor))
        style.draw_diagonal(panel)
        panel.vlines(targets, mean - total, mean + total, color=color, alpha=0.35, linewidth=0.6, label="±1 sd, total")
        panel.vlines(
            targets, mean - epistemic, mean + epistemic, color=color, alpha=0.8, linewidth=1.4, label="±1 sd, epistemic"
        )
        panel.plot(targets, mean, "o", color=color, markersize=2, label="mean")
        panel.set_title(f"{name}: RMSE {_score(run, predictor, 'rmse'):.3f}")
        panel.set_xlabel("target (standardised)")
    panels[0].set_ylabel("prediction (standardised)")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


@style.styled
def plot_coverage(run: Run) -> Figure:
    """Draw the share of test targets inside central predictive intervals against the level of the intervals."""
    figure = style.new_figure(style.COLUMN_WIDTH, style.COLUMN_WIDTH, run.title, run.size)
    axes = figure.subplots()
    names = [name for name in run.summary["test"]["posterior"] if name.startswith("coverage_0")]
    levels = np.array([float(name.removeprefix("coverage_")) for name in names])
    grid = np.linspace(0, 1, 101)
    spread = Z95 * np.sqrt(grid * (1 - grid) / run.predictions["targets"].size)
    axes.fill_between(
        grid, grid - spread, grid + spread, color=style.GREY, alpha=0.15, linewidth=0, label="95 % if calibrated"
    )
    style.draw_diagonal(axes)
    for predictor, name in run.predictors.items():
        coverage = [_score(run, predictor, key) for key in names]
        label = f"{name}: error {_score(run, predictor, 'coverage_error'):.3f}"
        axes.plot(levels, coverage, "o-", color=style.PREDICTOR_COLORS[predictor], label=label)
    axes.set(xlabel="level of the central interval", ylabel="share of test targets inside", xlim=(0, 1), ylim=(0, 1))
    axes.set_aspect("equal")
    axes.legend(loc="upper left")
    return figure


def _panels_figure(run: Run, height: float) -> Figure:
    """Make a figure for one panel, or one column of panels, a predictor."""
    width = style.PAGE_WIDTH if len(run.predictors) > 1 else style.COLUMN_WIDTH
    return style.new_figure(width, height, run.title, run.size)


def _score(run: Run, predictor: str, metric: str) -> float:
    """Return a test metric; of the first network for MAP, which is the one in ``predictions``."""
    test = run.summary["test"]
    return test["map_by_seed"][metric][0] if predictor == "map" else test[predictor][metric]
